"""Heaviside step with a surrogate derivative.

The spike s = H(u - V_th) (Eq. 3) has no useful derivative. Forward uses the step itself, backward the derivative of a
sigmoid with slope ``alpha``, a smooth bump around the threshold.
"""

import torch

ALPHA = 4.0


def sigmoid_derivative(x: torch.Tensor, alpha: float = ALPHA) -> torch.Tensor:
    """Return d/dx sigmoid(alpha x) = alpha y (1 - y), y = sigmoid(alpha x); same shape as ``x``."""
    y = torch.sigmoid(alpha * x)
    return alpha * y * (1 - y)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, potential, threshold, alpha):
        ctx.save_for_backward(potential)
        ctx.threshold, ctx.alpha = threshold, alpha
        # Comparing straight into the potential's type is one vectorised pass; torch.heaviside is far slower on CPU.
        return torch.ge(potential, threshold, out=torch.empty_like(potential))

    @staticmethod
    def backward(ctx, grad_spikes):
        (potential,) = ctx.saved_tensors
        # sigmoid_derivative(potential - threshold) * grad, in place: elementwise passes are what a step's time is.
        y = torch.sub(potential, ctx.threshold).mul_(ctx.alpha).sigmoid_()
        return y.addcmul_(y, y, value=-1).mul_(ctx.alpha).mul_(grad_spikes), None, None


def spike(potential: torch.Tensor, threshold: float = 1.0, alpha: float = ALPHA) -> torch.Tensor:
    """Return H(potential - threshold) in {0, 1} with H(0) = 1 (Eq. 3), differentiable through the surrogate.

    ``potential``: membrane potential, any shape; ``alpha``: slope of the surrogate sigmoid.
    """
    return _Spike.apply(potential, threshold, alpha)
