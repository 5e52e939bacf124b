"""Layers whose weights are stored as bits and flipped inside the backward pass.

    model = pack(model)                                    bits for the weights of every binary layer
    optimizers = [PackedTBSO(model, time_steps), SGD(split_parameters(model)[1], lr=0.1)]
    train_batch(model, images, labels, optimizers, time_steps)

A layer expands its bits to the type it computes in while it runs, forward and again backward. As soon as its weight
gradient is there, the optimizer (``bso_lib.fast.packed_optim``) moves momentum and bits, and the gradient is gone
before that of the next layer exists. Forward, gradients and flips are those of the plain layers, bit by bit.

So there is one update for each backward pass and each backward pass is of one time step: BPTT and gradients that are
summed over time (Eq. 5, 10) need the plain layers, and are refused.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from bso_lib.fast.bits import expand_signs, pack_signs
from bso_lib.layers import BinaryConv2d, BinaryLinear
from bso_lib.traced import Spikes

_UPDATED = "updated"


class _Packed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, presynaptic, anchor, layer, ticket, t):
        ctx.layer, ctx.ticket, ctx.t = layer, ticket, t
        ctx.save_for_backward(presynaptic)
        return layer.apply_weight(values, layer.used_weight(_compute_type(values)))

    @staticmethod
    def backward(ctx, grad_out):
        layer = ctx.layer
        (presynaptic,) = ctx.saved_tensors
        layer.check(ctx.ticket)
        weight = layer.used_weight(grad_out.dtype)
        wanted = (ctx.needs_input_grad[0], ctx.ticket is not None)
        grad_values, grad_weight = layer.gradients(grad_out, presynaptic.to(grad_out.dtype), weight, wanted)
        if grad_weight is not None:
            layer.finish(weight, grad_weight, ctx.t)
        return grad_values, None, None, None, None, None


def _compute_type(values):
    """Return the type in which autocast will convolve ``values``."""
    kind = values.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else values.dtype


class PackedLayer(nn.Module):
    """What packed layers share: ``bits`` (uint8, eight weights a byte), and one update for each forward pass.

    ``t``: the time step of the next forward pass with gradient, counted from :meth:`reset_state`, or set by hand.
    Without an optimizer the weights stay as they are. A forward pass raises RuntimeError if the update of the one
    before is still to come.
    """

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        weight = weight.detach().clone()  # dense, and in the same memory order: channels_last stays channels_last
        self.shape, self.strides = weight.shape, weight.stride()
        self.register_buffer("bits", pack_signs(flat(weight)))
        self.update = None  # set by an optimizer: update(layer, weight, gradient, t)
        self.pending = None  # None; the ticket of the forward pass whose backward is to come; or _UPDATED
        self.reset_state()

    def __getstate__(self):
        return self.__dict__ | {"update": None, "pending": None}  # a copy has no optimizer

    def extra_repr(self):
        return f"shape={tuple(self.shape)}"

    def reset_state(self):
        """Go back to t = 0; a graph that was not used is given up."""
        self.t = 0
        if self.pending is not _UPDATED:
            self.pending = None

    def used_weight(self, dtype=torch.float32):
        """The weight that the forward pass sees, expanded from the bits: +-1 of type ``dtype``, in ``self.shape``."""
        return expand_signs(self.bits, self.shape.numel(), dtype).as_strided(self.shape, self.strides)

    def begin(self, device):
        """Return (ticket, anchor) of a forward pass: what its backward must show, and what asks autograd for one.

        Both are None where nothing is to be updated. Raises RuntimeError if the update before is still to come.
        """
        ticket = anchor = None
        if self.update is not None and torch.is_grad_enabled():
            if self.pending is not None:
                done = "optimizer.step()" if self.pending is _UPDATED else "the backward pass"
                raise RuntimeError(
                    f"{self}: a second forward pass before {done} of the first; packed layers are updated at every "
                    "time step (Eq. 9): for BPTT or accumulated gradients use the plain layers"
                )
            self.pending = ticket = object()
            anchor = torch.empty(0, device=device, requires_grad=True)
            self.t += 1
        return ticket, anchor

    def check(self, ticket):
        """Raise RuntimeError unless ``ticket`` is that of the last forward pass, still to be updated."""
        if ticket is not None and ticket is not self.pending:
            raise RuntimeError(
                f"{self}: a second backward pass for one update; a packed layer flips in each backward pass"
            )

    def finish(self, weight, grad_weight, t):
        """Let the optimizer move momentum and bits by the gradient of time step ``t``."""
        self.update(self, weight, grad_weight, t)
        self.pending = _UPDATED

    def forward(self, x):
        values, trace = (x.values, x.trace) if isinstance(x, Spikes) else (x, None)
        t = self.t
        ticket, anchor = self.begin(values.device)
        return _Packed.apply(values, values if trace is None else trace, anchor, self, ticket, t)


class PackedConv2d(PackedLayer):
    """The packed counterpart of a :class:`bso_lib.layers.BinaryConv2d`; raises ValueError off the grid."""

    def __init__(self, conv: BinaryConv2d):
        super().__init__(conv.weight)
        self.stride, self.padding, self.dilation, self.groups = conv.stride, conv.padding, conv.dilation, conv.groups

    def apply_weight(self, values, weight):
        """Convolve ``values`` (N, C, H, W) with ``weight``."""
        return F.conv2d(values, weight, None, self.stride, self.padding, self.dilation, self.groups)

    def gradients(self, grad_out, presynaptic, weight, wanted):
        """Return the gradients of the spikes and of the weight (Eq. 6), None for what is not ``wanted``."""
        geometry = (self.stride, self.padding, self.dilation, False, [0, 0], self.groups)
        return torch.ops.aten.convolution_backward(grad_out, presynaptic, weight, None, *geometry, (*wanted, False))[:2]

    def unpack(self):
        """Return the plain layer with the same weights."""
        out_channels, in_channels, *kernel_size = self.shape
        conv = BinaryConv2d(
            in_channels * self.groups, out_channels, kernel_size, self.stride, self.padding, self.dilation, self.groups
        )
        conv.weight = nn.Parameter(self.used_weight())
        return conv


class PackedLinear(PackedLayer):
    """The packed counterpart of a :class:`bso_lib.layers.BinaryLinear`; raises ValueError off the grid."""

    def __init__(self, linear: BinaryLinear):
        super().__init__(linear.weight)

    def apply_weight(self, values, weight):
        """Map ``values`` (N, in) by ``weight``."""
        return F.linear(values, weight)

    def gradients(self, grad_out, presynaptic, weight, wanted):
        """Return the gradients of the spikes and of the weight (Eq. 6), None for what is not ``wanted``."""
        return grad_out @ weight if wanted[0] else None, grad_out.t() @ presynaptic if wanted[1] else None

    def unpack(self):
        """Return the plain layer with the same weights."""
        linear = BinaryLinear(*reversed(self.shape))
        linear.weight = nn.Parameter(self.used_weight())
        return linear


def flat(x: torch.Tensor) -> torch.Tensor:
    """Return the numbers of a dense tensor in their order in memory, (n,), without a copy."""
    return x.as_strided((x.numel(),), (1,))


def packed_layers(model: nn.Module) -> list[PackedLayer]:
    """List the packed layers of ``model``."""
    return [module for module in model.modules() if isinstance(module, PackedLayer)]


def pack(model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` whose binary layers store bits.

    Raises ValueError if there is no binary layer, TypeError for what is no ``torch.nn.Module``.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model={type(model).__name__}: must be a torch.nn.Module")
    kinds = {BinaryConv2d: PackedConv2d, BinaryLinear: PackedLinear}
    packed = _converted(model, lambda layer: kinds[type(layer)](layer) if type(layer) in kinds else None)
    if not packed_layers(packed):
        raise ValueError("the model has no binary layers")
    return packed


def unpack(model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` made of plain layers again; raises ValueError if none is packed."""
    if not packed_layers(model):
        raise ValueError("the model has no packed layers")
    return _converted(model, lambda layer: layer.unpack() if isinstance(layer, PackedLayer) else None)


def _converted(model, convert):
    """Return a copy of ``model`` with ``convert(layer)`` in place of each layer for which it is not None."""
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if (new := convert(child)) is not None:
                setattr(parent, name, new.train(child.training))
    return model
