"""Cross entropy from the four operations alone: the exp and log of two libraries may differ in their last digit.

exp(x) = 2^n exp(r) and log(m 2^n) = n log 2 + log m, with a short series each; every product and sum is an operation of
its own in float64. Errors are below 1e-15, and gradients are rounded to multiples of 2^-20.
"""

import math

import torch
import torch.nn.functional as F

from bso_lib.exact.agreement import rank_and_ranks, total
from bso_lib.exact.fixed_point import divided

_LOG2 = math.log(2)
_UNIT = 2**-20  # of the gradient of the logits of a sample
_PARTS = 2**40  # whole numbers in which exponentials are added up


def exp(x: torch.Tensor) -> torch.Tensor:
    """Return exp(x), float64, for x from -700 to 0."""
    n = divided(x, _LOG2).round()
    r = x - n * _LOG2
    series = torch.ones_like(r)
    terms = torch.arange(14, 0, -1, dtype=r.dtype, device=r.device)  # |r| <= log(2) / 2: the next is below 1e-18
    for k in terms.unbind():
        series = series * r / k + 1
    return series * ((n.long() + 1023) << 52).view(torch.float64)


def log(x: torch.Tensor) -> torch.Tensor:
    """Return log(x), float64, for x > 0."""
    m, n = torch.frexp(x)
    low = m < math.sqrt(0.5)
    m, n = torch.where(low, 2 * m, m), n - low.int()
    s = (m - 1) / (m + 1)  # log m = 2 artanh s, |s| < 0.172
    square = s * s
    series = torch.zeros_like(s)
    for k in range(23, 0, -2):
        series = series * square + 1 / k
    return n.double() * _LOG2 + 2 * s * series


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, labels, mse_weight):
        z = logits.double()
        one_hot = F.one_hot(labels, z.shape[1]).double()
        lowered = (z - z.amax(1, keepdim=True)).clamp_min(-700)
        whole = (exp(lowered) * _PARTS).round()
        p = whole / whole.sum(1, keepdim=True)
        loss = log(whole.sum(1) / _PARTS) - (lowered * one_hot).sum(1)
        grad = p - one_hot
        if mse_weight:
            off = z - one_hot
            squares = divided((off * off * 2**32).round().sum(1) * 2**-32, z.shape[1])
            loss = (1 - mse_weight) * loss + mse_weight * squares
            grad = (1 - mse_weight) * grad + mse_weight * divided(off * 2, z.shape[1])
        ctx.save_for_backward((grad * (1 / _UNIT)).round().float() * _UNIT)
        loss = total((loss * 2**32).round().sum()) * 2**-32
        return divided(loss, len(labels) * rank_and_ranks()[1]).float()

    @staticmethod
    def backward(ctx, grad_loss):
        (grad,) = ctx.saved_tensors
        return grad * divided(grad_loss, len(grad) * rank_and_ranks()[1]), None, None


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, mse_weight: float = 0.0) -> torch.Tensor:
    """Return the mean of (1 - k) cross entropy + k MSE(logits, one-hot), k = ``mse_weight``, over all ranks' samples.

    ``logits`` (N, classes) float32, ``labels`` (N,): this rank's.
    """
    return _CrossEntropy.apply(logits, labels, mse_weight)
