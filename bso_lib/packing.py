"""What a network weighs: one bit per binary weight, four bytes for every other learned parameter."""

from torch import nn

from bso_lib.models import split_parameters

MEGABYTE = 10**6


def packed_size_bytes(model: nn.Module) -> float:
    """Return the model size of Table 2 in bytes: binary weights / 8 + 4 bytes for each other learned parameter.

    Running statistics are not learned and, as in the paper's sizes, not counted. A latent-weight network is counted
    as it trains, in full precision; its signs alone weigh what the binary network does.
    """
    binary, real = split_parameters(model)
    return sum(p.numel() for p in binary) / 8 + 4 * sum(p.numel() for p in real)
