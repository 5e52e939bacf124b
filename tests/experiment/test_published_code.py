"""The published code's choices: each does what it says, and without them PublishedTBSO is TBSO to the bit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bso_lib.experiment.published_code import PublishedTBSO, kaiming_start_
from bso_lib.models import split_parameters, vgg11
from bso_lib.optim import TBSO


def weight(*values):
    return torch.nn.Parameter(torch.tensor(values))


@given(seed=st.integers(0, 1000), gamma=st.sampled_from([0.0, 0.1, 3.0]))
def test_with_the_papers_choices_it_is_tbso_to_the_bit(seed, gamma):
    generator = torch.Generator().manual_seed(seed)
    start = torch.where(torch.randn(5, 3, generator=generator) >= 0, 1.0, -1.0)
    pair = [torch.nn.Parameter(start.clone()) for _ in "ab"]
    optimizers = [kind([p], 2, gamma=gamma, beta2=0.9) for kind, p in zip((TBSO, PublishedTBSO), pair, strict=True)]
    for k in range(6):
        gradient = torch.randn(5, 3, generator=generator)
        for p, optimizer in zip(pair, optimizers, strict=True):
            p.grad = gradient.clone()
            optimizer.step(t=k % 2)
        assert torch.equal(*pair)
    for name in ("momentum", "v"):
        assert torch.equal(*(o.state[p][name] for p, o in zip(pair, optimizers, strict=True)))


def test_eps_outside_the_root_adds_gamma_eps_to_the_threshold():
    # M = 0.5 g, v = 0.5 mean(g^2): with g = (2, 2), M = 1 and sqrt(v) = sqrt(2).
    for eps_place, threshold in (("outside", 0.5 * (2**0.5 + 1.0)), ("inside", 0.5 * 3**0.5)):
        for shift, flips in ((-1e-3, True), (1e-3, False)):
            p = weight(1.0, 1.0)
            scale = threshold + shift  # makes w * M = threshold / (threshold + shift)
            optimizer = PublishedTBSO([p], 1, eps_place, gamma=0.5 / scale, beta1=0.5, beta2=0.5, eps=1.0)
            p.grad = torch.tensor([2.0, 2.0])
            optimizer.step(t=0)
            assert (p.tolist() == [-1.0, -1.0]) == (not flips), (eps_place, shift)
            assert (p.tolist() == [1.0, 1.0]) == flips


def test_sign_of_zero_puts_a_zero_that_stays():
    p = weight(1.0, -1.0)
    optimizer = PublishedTBSO([p], 1, sign_of_zero="zero", gamma=0.0)
    p.grad = torch.tensor([0.0, 1.0])
    optimizer.step(t=0)
    assert p.tolist() == [0.0, -1.0]
    for _ in range(3):
        p.grad = torch.tensor([1.0, 1.0])
        optimizer.step(t=0)
    assert p.tolist() == [0.0, -1.0]


def test_a_kaiming_start_is_off_the_grid_until_the_first_update():
    model = vgg11(width=1 / 16)
    binary, real = split_parameters(model)
    before = [p.clone() for p in real]
    kaiming_start_(model)
    assert all(torch.equal(a, b) for a, b in zip(before, real, strict=True))
    assert all(float(p.detach().abs().max()) < 1 for p in binary)
    with pytest.raises(ValueError, match="not exactly -1 or \\+1"):
        TBSO(binary, 1)
    optimizer = PublishedTBSO(binary, 1)
    for p in binary:
        p.grad = torch.randn_like(p)
    optimizer.step(t=0)
    assert all(bool((p.abs() == 1).all()) for p in binary)


@pytest.mark.parametrize(("name", "value"), [("eps_place", "above"), ("sign_of_zero", "one")])
def test_unknown_choices_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}='{value}': must be one of"):
        PublishedTBSO([weight(1.0)], 1, **{name: value})
