"""Random numbers that are a function of where they are used: the same on every machine, number of ranks, and resume.

A gradient of R rows (sample and pixel) and C columns (channel) is rounded with r_ij = (a_i + b_j) mod 1, where a and b
are hashes of (seed, batch, time step, layer) and of the row or the column. Each r_ij is uniform, and any two of them
are independent, as they differ in at least one of the independent a_i and b_j. Pairwise independence is all that the
mean and the variance of a sum of rounding errors depend on; so R + C hashes do the work of R * C.
"""

from typing import NamedTuple

import torch

from bso_lib.exact.agreement import rank_and_ranks

_MASK = 0xFFFFFFFF


def mix(x):
    """Return a 32-bit hash of ``x``, an int or int64 tensor of 0 .. 2^32 - 1 (the finaliser of MurmurHash3)."""
    x = (x ^ (x >> 16)) * 0x85EBCA6B & _MASK
    x = (x ^ (x >> 13)) * 0xC2B2AE35 & _MASK
    return x ^ (x >> 16)


class Key(NamedTuple):
    """What a rounding's noise is a function of, besides row and column."""

    seed: int
    batch: int
    t: int
    layer: int

    def hashes(self) -> tuple[int, int]:
        """Return two 32-bit keys, for the rows and for the columns."""
        state = 0
        for part in self:
            for word in (part & _MASK, part >> 32):
                state = mix((state + 0x9E3779B9 ^ word) & _MASK)
        return mix(state ^ 0x52435753), mix(state ^ 0x434F4C53)


def fractions(key: int, size: int, first: int, device) -> torch.Tensor:
    """Return the noise of ``size`` rows or columns from number ``first`` on: whole numbers of 0 .. 65535, int32."""
    index = torch.arange(first, first + size, device=device)
    return (mix(mix(index & _MASK) ^ key) >> 16).int()


def rows_and_columns(key: Key, rows: int, columns: int, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a (rows,) and b (columns,) in units of 2^-16; this rank's rows come after those of the ranks before."""
    of_rows, of_columns = key.hashes()
    first = rank_and_ranks()[0] * rows
    return fractions(of_rows, rows, first, device), fractions(of_columns, columns, 0, device)
