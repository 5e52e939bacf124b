"""Real numbers as whole ones times a power of two: what can be added up in any order.

    whole, unit = fixed(x, bits)      x is about whole * unit, whole numbers of at most 2^bits, unit a power of two

The unit comes from the largest magnitude, which does not depend on the order in which it is looked for. Only
operations that IEEE 754 rounds correctly are used (+, -, *, /, sqrt, rounding to whole numbers), each on its own, so
that no machine can fuse two of them. A division by a number of the host is :func:`divided`.
"""

import torch

from bso_lib.exact.agreement import largest

_LOWEST = -90  # exponents below are cut: 2^-90 and its reciprocal are ordinary float32 numbers, with room to multiply


def power_of_two(exponent: torch.Tensor) -> torch.Tensor:
    """Return 2^exponent as float32, written into its bits, as a library's pow need not be exact; exponent > -127."""
    return ((exponent.to(torch.int32) + 127) << 23).view(torch.float32)


def unit_for(magnitude: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the power of two ``unit``, float32, with 2^(bits - 1) <= magnitude / unit < 2^bits."""
    exponent = torch.frexp(magnitude.float())[1]  # magnitude = f 2^exponent, 1/2 <= f < 1
    return power_of_two(exponent.clamp_min(_LOWEST) - bits)


def magnitude(x: torch.Tensor) -> torch.Tensor:
    """Return the largest magnitude in ``x``, which one pass finds."""
    return torch.stack(x.aminmax()).abs().amax()


def fixed(x: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (whole, unit) with x rounded to the nearest multiple of ``unit``; all ranks agree on the unit.

    ``whole``: float32 of ``x``'s shape, whole numbers of magnitude at most 2^bits, bits <= 23.
    """
    unit = unit_for(largest(magnitude(x)), bits)
    return (x * (1 / unit)).round_(), unit


def significant(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Return float32 ``x`` rounded to ``bits`` significant binary digits, halves away from zero."""
    cut = 24 - bits
    whole = x.float().view(torch.int32)
    return (((whole + (1 << cut >> 1)) >> cut) << cut).view(torch.float32)


def divided(x: torch.Tensor, number: float) -> torch.Tensor:
    """Return x / number, rounded once: by a number of the host a GPU multiplies with its reciprocal, rounded before."""
    return x / torch.full((), number, dtype=x.dtype, device=x.device)


def exact_sum(x: torch.Tensor) -> torch.Tensor:
    """Return the sum of ``x`` (n,), n < 2^20, numbers of at least 0: each rounded to 2^-32 of the largest; float64."""
    unit = unit_for(x.amax(), 32).double()
    return (x.double() / unit).round().sum() * unit
