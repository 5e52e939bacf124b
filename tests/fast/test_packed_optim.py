"""Flips inside the backward pass are the plain optimizers', bit by bit; bfloat16 momentum is rounded without bias."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from bso_lib.fast.packed_layers import pack, packed_layers, unpack
from bso_lib.fast.packed_optim import PackedBSO, PackedTBSO, rounding_noise, stochastic_round_
from bso_lib.layers import BinaryLinear
from bso_lib.models import spiking_mlp, split_parameters, vgg11
from bso_lib.optim import BSO, TBSO, cosine
from bso_lib.reference import bso_step, tbso_step
from bso_lib.training import train_batch

GAMMA = {"bso": 1e-7, "t-bso": 0.5}  # where the threshold acts


def small_vgg(trace="ottt", channels_last=False):
    model = vgg11(10, 1, 1 / 16, trace=trace, batch_norm="per-step", time_steps=2)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def plain_optimizers(model, method):
    binary, real = split_parameters(model)
    flipping = BSO(binary, GAMMA[method]) if method == "bso" else TBSO(binary, 2, GAMMA[method])
    return [torch.optim.SGD(real, lr=0.1), flipping]


def packed_optimizers(model, method, **options):
    make = PackedBSO(model, GAMMA[method], **options) if method == "bso" else None
    flipping = make or PackedTBSO(model, 2, GAMMA[method], **options)
    return [torch.optim.SGD(split_parameters(model)[1], lr=0.1), flipping]


def batches(count, size=4):
    return [(torch.randn(size, 1, 8, 8), torch.randint(10, (size,))) for _ in range(count)]


def train(model, optimizers, data, autocast=None, schedulers=()):
    """Train on ``data`` and return the logits of every batch."""
    logits = []
    for images, labels in data:
        logits.append(train_batch(model, images, labels, optimizers, 2, autocast=autocast)[1])
        for scheduler in schedulers:
            scheduler.step()
    return logits


def assert_same(plain, plain_optimizer, packed, packed_optimizer):
    """Weights, momentum and v of both agree to the bit."""
    for p, layer in zip(split_parameters(plain)[0], packed_layers(packed), strict=True):
        assert torch.equal(p, layer.used_weight())
        expected, found = plain_optimizer.state[p], packed_optimizer.state[layer.bits]
        assert set(expected) == set(found)
        assert all(torch.equal(value, found[name]) for name, value in expected.items())
    for p, q in zip(split_parameters(plain)[1], split_parameters(packed)[1], strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("method", ["bso", "t-bso"])
@pytest.mark.parametrize("trace", ["ottt", "ndot", "none"])
def test_many_online_steps_are_the_plain_ones_to_the_bit(method, trace):
    plain = small_vgg(trace, channels_last=trace == "ndot")
    packed = pack(plain)
    before = [p.detach().clone() for p in split_parameters(plain)[0]]
    ours, theirs = packed_optimizers(packed, method), plain_optimizers(plain, method)
    factors = [[LambdaLR(o, cosine(40)) for o in optimizers] for optimizers in (ours, theirs)]
    data = batches(20)
    expected = train(plain, theirs, data, schedulers=factors[1])
    assert all(
        torch.equal(a, b) for a, b in zip(train(packed, ours, data, schedulers=factors[0]), expected, strict=True)
    )
    assert_same(plain, theirs[-1], packed, ours[-1])
    moved = sum(int((p != old).sum()) for p, old in zip(split_parameters(plain)[0], before, strict=True))
    held = sum(int((p * theirs[-1].state[p]["momentum"] > 0).sum()) for p in split_parameters(plain)[0])
    assert min(moved, held) > 100  # weights flipped, and the threshold kept others


@pytest.mark.parametrize("method", ["bso", "t-bso"])
def test_under_autocast_as_well(method):
    plain = small_vgg(channels_last=True)
    packed = pack(plain)
    ours, theirs, data = packed_optimizers(packed, method), plain_optimizers(plain, method), batches(6)
    train(plain, theirs, data, torch.bfloat16)
    train(packed, ours, data, torch.bfloat16)
    assert_same(plain, theirs[-1], packed, ours[-1])


exact = hnp.arrays(np.int64, st.tuples(st.integers(1, 8), st.just(6)), elements=st.integers(-8, 8)).map(lambda a: a / 8)


@given(exact, st.sampled_from([0.0, 0.125, 0.5]), st.booleans())
def test_a_packed_layer_is_the_reference_to_the_bit(gradients, gamma, temporal):
    plain = nn.Sequential(BinaryLinear(6, 1))
    W, M, v = plain[0].weight.detach().double().numpy().ravel(), np.zeros(6), np.zeros(1)
    packed = pack(plain)
    if temporal:
        optimizer = PackedTBSO(packed, 1, gamma=gamma, beta1=0.5, beta2=0.75)
    else:
        optimizer = PackedBSO(packed, gamma=gamma, beta=0.5)
    for g in gradients:  # with an upstream gradient of 1 the weight's gradient is the input
        packed[0].reset_state()
        packed(torch.from_numpy(g).float()[None]).sum().backward()
        optimizer.step(**({"t": 0} if temporal else {}))
        if temporal:
            W, M, v = tbso_step(W, M, v, g, 0, gamma, 0.5, 0.75)
        else:
            W, M = bso_step(W, M, g, gamma, 0.5)
    state = optimizer.state[packed[0].bits]
    assert np.array_equal(state["momentum"].numpy().ravel(), M)
    clear = ~np.isclose(W * M, gamma * np.sqrt(v[0] + 1e-20), rtol=1e-5) if temporal else np.ones(6, dtype=bool)
    assert np.array_equal(packed[0].used_weight().numpy().ravel()[clear], W[clear])


def test_a_layer_larger_than_one_piece_and_of_odd_size(monkeypatch):
    monkeypatch.setattr("bso_lib.fast.packed_optim._CHUNK", 64)
    plain = nn.Sequential(BinaryLinear(37, 11))
    packed = pack(plain)
    ours, theirs = PackedBSO(packed, gamma=0.01), BSO(plain.parameters(), gamma=0.01)
    for _ in range(10):
        x, upstream = torch.randn(5, 37), torch.randn(5, 11)
        for model, optimizer in ((packed, ours), (plain, theirs)):
            optimizer.zero_grad()
            model(x).backward(upstream)
            optimizer.step()
    assert_same(plain, theirs, packed, ours)


@pytest.mark.parametrize("method", ["bso", "t-bso"])
def test_a_plain_run_goes_on_packed_and_a_packed_one_plain(method):
    plain, data = small_vgg(), batches(9)
    theirs = plain_optimizers(plain, method)
    train(plain, theirs, data[:3])
    packed = pack(plain)
    ours = packed_optimizers(packed, method)
    ours[-1].load_state_dict(copy.deepcopy(theirs[-1].state_dict()))
    train(plain, theirs, data[3:6])
    train(packed, ours, data[3:6])
    assert_same(plain, theirs[-1], packed, ours[-1])
    again = unpack(packed)
    last = plain_optimizers(again, method)
    last[-1].load_state_dict(copy.deepcopy(ours[-1].state_dict()))
    train(again, last, data[6:])
    train(packed, ours, data[6:])
    assert_same(again, last[-1], packed, ours[-1])


@pytest.mark.parametrize("method", ["bso", "t-bso"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_state_dict_resumes_to_the_bit(method, dtype, tmp_path):
    model, data = pack(small_vgg()), batches(6)
    optimizers = packed_optimizers(model, method, momentum_dtype=dtype, seed=5)
    train(model, optimizers, data[:3])
    torch.save([model.state_dict(), *(o.state_dict() for o in optimizers)], tmp_path / "state.pt")
    twin = pack(small_vgg())
    resumed = packed_optimizers(twin, method, momentum_dtype=dtype)
    for part, state in zip((twin, *resumed), torch.load(tmp_path / "state.pt"), strict=True):
        part.load_state_dict(state)
    train(model, optimizers, data[3:])
    train(twin, resumed, data[3:])
    for layer, other in zip(packed_layers(model), packed_layers(twin), strict=True):
        assert torch.equal(layer.bits, other.bits)
        mine, loaded = optimizers[-1].state[layer.bits], resumed[-1].state[other.bits]
        assert mine["momentum"].dtype == loaded["momentum"].dtype == dtype
        assert all(torch.equal(value, loaded[name]) for name, value in mine.items())


@pytest.mark.parametrize("temporal", [False, True])
def test_what_stays_in_memory(temporal):
    for dtype, most in ((torch.float32, 4.2), (torch.bfloat16, 2.2)):
        model = pack(small_vgg())
        optimizers = packed_optimizers(model, "t-bso" if temporal else "bso", momentum_dtype=dtype)
        train(model, optimizers, batches(2))
        found = optimizers[-1].bytes_per_weight()
        assert set(found) == {"weight", "momentum"} | ({"v"} if temporal else set())
        assert found["weight"] == 1 / 8
        assert found["momentum"] == dtype.itemsize
        assert sum(found.values()) <= most
        kept = {id(p) for p in model.parameters()} | {id(b) for b in model.buffers()}
        assert all(id(layer.bits) in kept for layer in packed_layers(model))
        assert sum(layer.bits.nbytes * 8 for layer in packed_layers(model)) == sum(
            layer.shape.numel() for layer in packed_layers(model)
        )


def test_rounding_takes_a_neighbour_and_is_right_on_average():
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(200), torch.randn(200) * 1e-20, torch.tensor([0.0, -0.0, 1.0, -1.5])])
    below = x.view(torch.int32).bitwise_and(-0x10000).view(torch.float32)  # towards 0
    above = (x.view(torch.int32).bitwise_and(-0x10000) + 0x10000).view(torch.float32)
    draws = 4000
    total = torch.zeros(len(x), dtype=torch.float64)
    for _ in range(draws):
        rounded = stochastic_round_(x.clone(), rounding_noise(len(x), x.device, generator))
        assert torch.equal(rounded.bfloat16().float(), rounded)
        assert bool(((rounded == below) | (rounded == above)).all())
        total += rounded
    exact = below == x
    assert torch.equal(total[exact], x[exact].double() * draws)
    # The mean of so many draws lies within five standard errors of x; a draw's deviation is at most half the gap.
    gap = (above - below).abs().double()
    assert bool(((total / draws - x).abs() <= 5 * gap / 2 / draws**0.5).all())


def test_neighbouring_weights_are_rounded_independently():
    x = torch.full((4097,), 1 + 1 / 256)  # half way between two bfloat16
    noise = rounding_noise(len(x), x.device, torch.Generator().manual_seed(0))
    assert noise.min() >= 0
    assert noise.max() < 2**16
    up = (stochastic_round_(x, noise) > 1).double() - 0.5
    for lag in (1, 2, 3, 4):
        assert abs(float((up[lag:] * up[:-lag]).mean())) < 5 * 0.25 / len(x) ** 0.5


def test_bfloat16_momentum_follows_float32_where_rounding_to_nearest_stands_still():
    packed = pack(nn.Sequential(BinaryLinear(64, 64)))
    optimizer = PackedBSO(packed, gamma=0.0, beta=0.999, momentum_dtype=torch.bfloat16)
    (layer,) = packed_layers(packed)
    upstream = torch.ones(1, 64)
    for step in range(1000):
        x = torch.full((1, 64), 1.0 if step < 500 else 0.0)  # M rises to 1 - 0.999^500, then decays
        packed(x).backward(upstream)
        optimizer.step()
    momentum = optimizer.state[layer.bits]["momentum"].double()
    expected = (1 - 0.999**500) * 0.999**500
    assert abs(float(momentum.mean()) / expected - 1) < 0.01
    assert float((torch.ones((), dtype=torch.bfloat16) * 0.999).double()) == 1.0  # what rounding to nearest would do


@pytest.mark.parametrize("method", ["bso", "t-bso"])
def test_a_loss_that_is_not_finite_changes_nothing(method):
    model, data = pack(small_vgg()), batches(3)
    optimizers = packed_optimizers(model, method)
    train(model, optimizers, data[:1])
    bits = [layer.bits.clone() for layer in packed_layers(model)]
    state = copy.deepcopy(optimizers[-1].state_dict())
    model.reset_state()
    loss = model(data[1][0]).square().mean() * float("nan")
    with pytest.raises(ValueError, match="the gradient of a packed layer is not finite"):
        loss.backward()
    assert all(torch.equal(layer.bits, old) for layer, old in zip(packed_layers(model), bits, strict=True))
    for index, values in optimizers[-1].state_dict()["state"].items():
        assert all(torch.equal(value, state["state"][index][name]) for name, value in values.items())
    for optimizer in optimizers:
        optimizer.zero_grad()
    train(model, optimizers, data[2:])  # training goes on


@pytest.mark.parametrize("method", ["bso", "t-bso"])
def test_a_gradient_that_is_not_finite_half_way_stops_at_its_layer(method):
    model, (images, labels) = pack(small_vgg()), batches(1)[0]
    optimizers = packed_optimizers(model, method)
    layers = packed_layers(model)
    bits = [layer.bits.clone() for layer in layers]
    norm = model[list(model).index(layers[3]) + 1]
    norm.register_full_backward_hook(lambda _, into, __: (torch.full_like(into[0], torch.inf),))
    with pytest.raises(ValueError, match="is not finite"):
        train_batch(model, images, labels, optimizers, 2)
    assert ["momentum" in optimizers[-1].state[layer.bits] for layer in layers] == [False] * 4 + [True] * 3
    assert all(torch.equal(layer.bits, old) for layer, old in zip(layers[:4], bits[:4], strict=True))


def test_the_time_step_must_be_that_of_the_backward_pass():
    model = pack(spiking_mlp(5, hidden=8))
    optimizer = PackedTBSO(model, 2)
    model(torch.randn(3, 5)).sum().backward()
    with pytest.raises(ValueError, match="t=1: the backward pass was of time step 0"):
        optimizer.step(t=1)
    packed_layers(model)[0].t = 2
    loss = model(torch.randn(3, 5)).sum()
    with pytest.raises(ValueError, match="t=2: must be from 0 to time_steps - 1 = 1"):
        loss.backward()


def test_v_is_kept_for_the_time_step_that_was_set():
    model = pack(spiking_mlp(5, hidden=8))
    optimizer = PackedTBSO(model, 3)
    (layer,) = packed_layers(model)
    layer.t = 1
    (10 * model(torch.randn(3, 5)).square().sum()).backward()
    optimizer.step(t=1)
    assert [value > 0 for value in optimizer.state[layer.bits]["v"].tolist()] == [False, True, False]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda model: PackedBSO(model, gamma=-1.0), "gamma=-1.0"),
        (lambda model: PackedBSO(model, beta=1.0), "beta=1.0"),
        (lambda model: PackedTBSO(model, 0), "time_steps=0"),
        (lambda model: PackedTBSO(model, 2, eps=-1.0), "eps=-1.0"),
        (lambda model: PackedBSO(model, momentum_dtype=torch.float16), "momentum_dtype=torch.float16"),
        (lambda model: PackedBSO(unpack(model)), "the model has no packed layers"),
    ],
)
def test_wrong_options_are_refused_and_leave_the_model_alone(make, message):
    model = pack(spiking_mlp(5, hidden=8))
    with pytest.raises(ValueError, match=message):
        make(model)
    assert all(layer.update is None for layer in packed_layers(model))


def test_a_model_that_was_moved_asks_for_a_new_optimizer():
    model = pack(spiking_mlp(5, hidden=8))
    PackedBSO(model)
    (layer,) = packed_layers(model)
    layer.bits = layer.bits.clone()  # what .to(device) does
    with pytest.raises(RuntimeError, match="moved to another device since its optimizer was made"):
        model(torch.randn(3, 5)).sum().backward()


def test_a_closure_is_called():
    model = pack(nn.Sequential(BinaryLinear(6, 3)))
    optimizer = PackedBSO(model, gamma=0.0, beta=0.0)

    def closure():
        loss = model(torch.ones(2, 6)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert optimizer.step(closure).item() == -36.0


def test_several_ranks_are_refused(monkeypatch):
    model = pack(torch.nn.Sequential(BinaryLinear(8, 8)))
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    with pytest.raises(ValueError, match="train in one process"):
        PackedBSO(model)
