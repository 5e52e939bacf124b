"""Owners flip what everybody would; votes are another algorithm."""

import pytest
import torch
from ranks import together

from bso_lib.measure.exchange import momentum_size, step
from bso_lib.optim import BSO

RANKS, WEIGHTS, STEPS, GAMMA, BETA = 2, 64, 5, 0.25, 0.5


def gradients(rank):
    """Small whole numbers: their sums are exact in any order."""
    generator = torch.Generator().manual_seed(rank)
    return torch.randint(-3, 4, (STEPS, WEIGHTS), generator=generator).float()


def train(exchange, rank):
    weight, momentum = torch.ones(WEIGHTS), torch.zeros(momentum_size(exchange, WEIGHTS))
    seen = []
    for gradient in gradients(rank):
        weight = step(exchange, weight, momentum, gradient, GAMMA, BETA)
        seen.append(weight.clone())
    return torch.stack(seen), momentum


def in_all_ranks():
    rank = torch.distributed.get_rank()
    found = {exchange: train(exchange, rank) for exchange in ("gradients", "owners", "votes")}
    try:
        step("votes", torch.ones(8), torch.zeros(8), torch.zeros(8), GAMMA, BETA)
    except ValueError as error:
        found["refused"] = str(error)
    # A vote hears how many, not how much: one rank's loss falls by far more than the other's rises.
    one_sided = torch.full((16,), 8.0 if rank == 0 else -1.0)
    found["one-sided"] = {
        exchange: step(
            exchange, torch.ones(16), torch.zeros(momentum_size(exchange, 16)), one_sided, GAMMA, BETA
        ).clone()
        for exchange in ("gradients", "owners", "votes")
    }
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return together(in_all_ranks, RANKS, tmp_path_factory.mktemp("ranks"))


def test_gradients_and_owners_flip_as_bso_does_with_the_average_gradient(found):
    weight = torch.nn.Parameter(torch.ones(WEIGHTS))
    optimizer, expected = BSO([weight], GAMMA, BETA), []
    for pair in zip(*(gradients(rank) for rank in range(RANKS)), strict=True):
        weight.grad = sum(pair) / RANKS
        optimizer.step()
        expected.append(weight.detach().clone())
    expected = torch.stack(expected)
    assert 0 < int((expected[-1] < 0).sum()) < WEIGHTS
    for rank in found:
        for exchange in ("gradients", "owners"):
            assert torch.equal(rank[exchange][0], expected), exchange
        assert torch.equal(rank["gradients"][1], optimizer.state[weight]["momentum"])
    assert torch.equal(torch.cat([rank["owners"][1] for rank in found]), found[0]["gradients"][1])


def test_votes_agree_on_all_ranks_and_are_another_algorithm(found):
    assert torch.equal(found[0]["votes"][0], found[1]["votes"][0])
    assert not torch.equal(found[0]["votes"][0], found[0]["gradients"][0])
    for rank in found:
        assert torch.equal(rank["one-sided"]["gradients"], -torch.ones(16))
        assert torch.equal(rank["one-sided"]["owners"], -torch.ones(16))
        assert torch.equal(rank["one-sided"]["votes"], torch.ones(16))  # one of two is no majority


def test_what_cannot_be_done_is_refused(found):
    assert found[0]["refused"] == "8 weights: must be a multiple of 8 x 2 ranks"
    with pytest.raises(ValueError, match=r"^exchange='gossip': must be one of gradients, owners, votes$"):
        step("gossip", torch.ones(8), torch.zeros(8), torch.zeros(8), GAMMA, BETA)
