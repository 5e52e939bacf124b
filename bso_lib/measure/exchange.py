"""Three ways in which ranks can agree on the flips of BSO (Eq. 11, 12), on flat tensors; each sends other bytes.

    gradients   every rank gets the average gradient, keeps all of M and flips by itself       what training does
    owners      every rank owns a part of M: it gets the average gradient of that part, flips it and sends the new
                weights to all as bits                                                         the same flips
    votes       every rank keeps an M of its own gradients and votes on each flip; one bit per weight is sent, to where
                votes are counted, and one comes back                                          another algorithm

``weight`` (n,) of {-1, +1} and ``gradient`` (n,) of this rank's share of the batch; n a multiple of 8 x ranks.
"""

import torch
import torch.distributed as dist

from bso_lib.experiment.ranks import world
from bso_lib.fast.bits import expand_signs, pack_bools, pack_signs
from bso_lib.optim import flips, momentum_

EXCHANGES = ("gradients", "owners", "votes")


def momentum_size(exchange: str, weights: int) -> int:
    """Return of how many weights a rank keeps M."""
    return weights // world()[1] if exchange == "owners" else weights


def step(exchange, weight, momentum, gradient, gamma, beta):
    """Take one step of BSO by one of :data:`EXCHANGES`; ``momentum`` changes in place, the new weights are returned.

    Raises ValueError for another name, or a number of weights that is no multiple of 8 x ranks.
    """
    if exchange not in EXCHANGES:
        raise ValueError(f"exchange={exchange!r}: must be one of {', '.join(EXCHANGES)}")
    if weight.numel() % (8 * world()[1]):
        raise ValueError(f"{weight.numel()} weights: must be a multiple of 8 x {world()[1]} ranks")
    return {"gradients": _gradients, "owners": _owners, "votes": _votes}[exchange](
        weight, momentum, gradient, gamma, beta
    )


def _wants_to_flip(weight, momentum, gradient, gamma, beta):
    return flips(weight, momentum_(momentum, gradient, beta), gamma).bool()  # Eq. 11, 12


def _gradients(weight, momentum, gradient, gamma, beta):
    average = gradient / world()[1]
    dist.all_reduce(average)
    return torch.where(_wants_to_flip(weight, momentum, average, gamma, beta), -weight, weight)


def _owners(weight, momentum, gradient, gamma, beta):
    rank, ranks = world()
    parts = torch.empty_like(gradient)
    dist.all_to_all_single(parts, gradient)  # a reduce-scatter; gloo's own sends as much as an all-reduce
    average = parts.view(ranks, -1).sum(0) / ranks
    own = weight.view(ranks, -1)[rank]
    flipped = torch.where(_wants_to_flip(own, momentum, average, gamma, beta), -own, own)
    return expand_signs(_gathered(pack_signs(flipped)), weight.numel(), weight.dtype)


def _votes(weight, momentum, gradient, gamma, beta):
    ranks = world()[1]
    ballots = pack_bools(_wants_to_flip(weight, momentum, gradient, gamma, beta))
    received = torch.empty_like(ballots)
    dist.all_to_all_single(received, ballots)  # each rank counts the votes on a part of the weights
    votes = torch.stack([expand_signs(part, part.numel() * 8) for part in received.view(ranks, -1)]).sum(0)
    flips = expand_signs(_gathered(pack_bools(votes > 0)), weight.numel(), weight.dtype) > 0
    return torch.where(flips, -weight, weight)


def _gathered(part):
    whole = part.new_empty(part.numel() * world()[1])
    dist.all_gather_into_tensor(whole, part)
    return whole
