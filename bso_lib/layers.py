"""Layers on the +-1 grid, their latent (STE) and real-valued counterparts, and BatchNorm per time step."""

import torch
import torch.nn.functional as F
from torch import nn

from bso_lib.traced import Spikes, traced_conv2d, traced_linear


def require_whole(least: int = 1, **values):
    """Raise ValueError, in one line, for the first of ``values`` that is not a whole number of at least ``least``."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}={value!r}: must be a whole number, at least {least}")


def _require_pair(name, value, least):
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or any(isinstance(v, bool) or not isinstance(v, int) or v < least for v in pair):
        raise ValueError(f"{name}={value!r}: must be a whole number, at least {least}, or two of them")


def grid_sign(x: torch.Tensor) -> torch.Tensor:
    """Return the nearest point of the grid {-1, +1}^d: sign(x) with sign(0) = +1, same shape and type."""
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


@torch.no_grad()
def random_grid_(weight: torch.Tensor) -> torch.Tensor:
    """Fill ``weight`` with fair coin flips in {-1, +1}, in place."""
    return weight.bernoulli_(0.5).mul_(2).sub_(1)


class _SignSTE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, latent, clip):
        ctx.clip = clip
        if clip:
            ctx.save_for_backward(latent)
        return grid_sign(latent)

    @staticmethod
    def backward(ctx, grad):
        if ctx.clip:
            (latent,) = ctx.saved_tensors
            grad = grad * (latent.abs() <= 1)
        return grad, None


def ste_sign(latent: torch.Tensor, clip: bool = True) -> torch.Tensor:
    """Return sign(latent) with the straight-through gradient (Eq. 4), cut to |latent| <= 1 when ``clip``."""
    return _SignSTE.apply(latent, clip)


class TracedConv2d(nn.Conv2d):
    """A real-valued conv without bias, ``nn.Conv2d``'s arguments; takes a tensor or :class:`Spikes`, returns a tensor.

    Raises ValueError for a size that is no whole number, and for padding given as a string, which the trace gradient
    does not cover.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1):
        if isinstance(padding, str):
            raise ValueError(f"padding={padding!r}: give the number of pixels")
        require_whole(in_channels=in_channels, out_channels=out_channels, groups=groups)
        for name, value, least in (
            ("kernel_size", kernel_size, 1), ("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1),
        ):  # fmt: skip
            _require_pair(name, value, least)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"groups={groups!r}: must divide in_channels={in_channels}, out_channels={out_channels}")
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False)

    def used_weight(self):
        """The weight that the forward pass sees."""
        return self.weight

    def forward(self, x):
        return traced_conv2d(x, self.used_weight(), self.stride, self.padding, self.dilation, self.groups)


class BinaryConv2d(TracedConv2d):
    """A conv whose weight lies on {-1, +1} from initialisation on and has no latent copy; train it with BSO or TBSO."""

    def reset_parameters(self):
        random_grid_(self.weight)


class LatentConv2d(TracedConv2d):
    """The usual baseline: a real latent weight, its sign in the forward pass, straight-through gradient (Eq. 4)."""

    clip = True  # no gradient where |latent| > 1

    def used_weight(self):
        return ste_sign(self.weight, self.clip)


class UnclippedLatentConv2d(LatentConv2d):
    """The same with the gradient passed on at any magnitude: then only the signs of the latent weights matter."""

    clip = False


class TracedLinear(nn.Linear):
    """A real-valued linear layer that takes a tensor or :class:`Spikes` (N, in) and returns a tensor (N, out)."""

    def used_weight(self):
        """The weight that the forward pass sees."""
        return self.weight

    def forward(self, x):
        return traced_linear(x, self.used_weight(), self.bias)


class BinaryLinear(TracedLinear):
    """A linear layer without bias on {-1, +1}; train it with BSO or TBSO. Raises ValueError for no whole size."""

    def __init__(self, in_features, out_features):
        require_whole(in_features=in_features, out_features=out_features)
        super().__init__(in_features, out_features, bias=False)

    def reset_parameters(self):
        random_grid_(self.weight)


class LatentLinear(TracedLinear):
    """Linear counterpart of :class:`LatentConv2d`, without bias."""

    def __init__(self, in_features, out_features):
        super().__init__(in_features, out_features, bias=False)

    def used_weight(self):
        return ste_sign(self.weight)


BINARY_LAYERS = (BinaryConv2d, BinaryLinear)
CONVS = {
    "binary": BinaryConv2d, "latent": LatentConv2d, "latent-unclipped": UnclippedLatentConv2d, "real": TracedConv2d,
}  # fmt: skip
LINEARS = {"binary": BinaryLinear, "latent": LatentLinear, "real": TracedLinear}


class _AveragePool(torch.autograd.Function):
    """``F.avg_pool2d`` that keeps nothing for its backward pass: a mean passes its gradient on in equal parts.

    PyTorch's own keeps its input, a spike for each neuron of the layer, only to know its shape.
    """

    @staticmethod
    def forward(ctx, x, size):
        ctx.size, ctx.shape = size, x.shape[2:]
        return F.avg_pool2d(x, size)

    @staticmethod
    def backward(ctx, grad_out):
        grad = F.interpolate(grad_out / ctx.size**2, scale_factor=ctx.size, mode="nearest")
        rest = [whole - part for whole, part in zip(ctx.shape, grad.shape[2:], strict=True)]
        return F.pad(grad, (0, rest[1], 0, rest[0])) if any(rest) else grad, None


class SpikingPool(nn.Module):
    """Average pooling of spikes and, as it is linear, of their trace; ``size=None`` pools whole maps to (N, C)."""

    def __init__(self, size: int | None):
        super().__init__()
        self.size = size

    def extra_repr(self):
        return f"size={self.size}"

    def _pool(self, x):
        return x.mean((2, 3)) if self.size is None else _AveragePool.apply(x, self.size)

    def forward(self, x: Spikes) -> Spikes:
        return Spikes(self._pool(x.values), None if x.trace is None else self._pool(x.trace))


class Shortcut(nn.Module):
    r"""A sum of two ways, a tensor: I'[t] = body(I[t]) + shortcut(I[t]); without layers the shortcut is the identity.

    ``body``, ``shortcut``: sequences of layers that take a tensor and return one, such as neurons, conv and BatchNorm.
    """

    def __init__(self, body: nn.Sequential, shortcut: nn.Sequential):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.shortcut(x)


class TimeStepBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm with one set of running statistics per time step; the affine parameters are shared.

    Every time step is normalised by its own batch statistics in training anyway. With one shared running estimate, a
    mixture over t, evaluation sees another normalisation than training did. Buffers ``running_mean`` and
    ``running_var`` have shape (time_steps, C). Calls are counted from :meth:`reset_state`; one call more than
    ``time_steps`` raises RuntimeError.
    """

    def __init__(self, num_features, time_steps, eps=1e-5, momentum=0.1):
        super().__init__(num_features, eps=eps, momentum=momentum)
        self.time_steps = time_steps
        self.running_mean = torch.zeros(time_steps, num_features)
        self.running_var = torch.ones(time_steps, num_features)
        self.reset_state()

    def extra_repr(self):
        return f"{self.num_features}, time_steps={self.time_steps}"

    def reset_state(self):
        """Start again at t = 0."""
        self.t = 0

    def next_statistics(self):
        """Return (mean, var) of this time step, which the call may update, and go on to the next."""
        if self.t >= self.time_steps:
            raise RuntimeError(
                f"time step {self.t} of a network built for time_steps={self.time_steps}: "
                "call model.reset_state() before each batch"
            )
        t, self.t = self.t, self.t + 1
        return self.running_mean[t], self.running_var[t]

    def forward(self, x):
        mean, var = self.next_statistics()
        return F.batch_norm(x, mean, var, self.weight, self.bias, self.training, self.momentum, self.eps)
