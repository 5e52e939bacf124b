"""Signs as bits: eight weights of {-1, +1} in a byte, and back.

Bit i of byte k is weight 8 k + i, set for +1; the last byte is filled up with zeros.
"""

import torch

_GATHER = sum(1 << (56 - 7 * i) for i in range(8))  # moves the lowest bit of byte i of a 64-bit word to bit 56 + i


def pack_bools(flags: torch.Tensor) -> torch.Tensor:
    """Return ``flags`` (n,), bool, as uint8 bits, (ceil(n / 8),)."""
    missing = -flags.numel() % 8
    if missing:
        flags = torch.cat([flags, flags.new_zeros(missing)])
    return ((flags.view(torch.int64) * _GATHER) >> 56).to(torch.uint8)


def pack_signs(weights: torch.Tensor) -> torch.Tensor:
    """Return ``weights`` (n,) of {-1, +1} as uint8 bits, (ceil(n / 8),); raises ValueError for any other value."""
    off_grid = int((weights.abs() != 1).sum())
    if off_grid:
        raise ValueError(f"{off_grid} of {weights.numel()} weights are not exactly -1 or +1: they do not fit into bits")
    return pack_bools(weights > 0)


def expand_signs(bits: torch.Tensor, size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return the first ``size`` weights of {-1, +1} in ``bits``, (size,), as ``dtype``."""
    # A byte's eight weights are looked up among those of all 256 bytes: faster than shifting bits.
    shifted = torch.arange(256, device=bits.device)[:, None] >> torch.arange(8, device=bits.device)
    table = ((shifted & 1) * 2 - 1).to(dtype)
    return table.index_select(0, bits.int()).view(-1)[:size]
