"""``exact(model)``: the same network with exact layers, in the way of ``pack(model)``."""

import copy

import torch
from torch import nn

from bso_lib.exact import conv_norm, linear, pooling
from bso_lib.exact.lif import ExactLIF
from bso_lib.fast.packed_layers import PackedConv2d
from bso_lib.layers import (
    BinaryConv2d,
    BinaryLinear,
    LatentConv2d,
    LatentLinear,
    Shortcut,
    SpikingPool,
    TimeStepBatchNorm2d,
    TracedConv2d,
    TracedLinear,
    UnclippedLatentConv2d,
)
from bso_lib.models import SpikingNet
from bso_lib.neurons import LIF

_LARGEST_OUTPUT = 15  # bits of a binary convolution's whole numbers; A keeps at least 9 digits then


class Noise:
    """The seed of a network's random rounding and the number of the batch, of which each rounding is a function."""

    def __init__(self, seed: int):
        self.seed, self.batch = seed, 0

    def __deepcopy__(self, memo):
        return self  # also a copy of the network counts its batches here

    def state_dict(self) -> dict[str, int]:
        """Return what an exact resume needs."""
        return {"batch": self.batch}

    def load_state_dict(self, state: dict[str, int]):
        """Go on from ``state``."""
        self.batch = state["batch"]


class ExactNet(SpikingNet):
    """A spiking network with exact layers; ``noise`` counts the batches that it is trained with."""

    def reset_state(self):
        """Forget membranes and traces and go back to t = 0; the next batch is rounded by new random numbers."""
        super().reset_state()
        if self.training and torch.is_grad_enabled():
            self.noise.batch += 1


_KINDS = {
    BinaryConv2d: conv_norm.ExactBinaryConv2d,
    LatentConv2d: conv_norm.ExactLatentConv2d,
    UnclippedLatentConv2d: conv_norm.ExactUnclippedLatentConv2d,
    TracedConv2d: conv_norm.ExactRealConv2d,
    PackedConv2d: conv_norm.ExactPackedConv2d,
    nn.BatchNorm2d: conv_norm.ExactBatchNorm2d,
    TimeStepBatchNorm2d: conv_norm.ExactTimeStepBatchNorm2d,
    LIF: ExactLIF,
    SpikingPool: pooling.ExactSpikingPool,
    nn.AvgPool2d: pooling.ExactAvgPool2d,
    TracedLinear: linear.ExactRealLinear,
    BinaryLinear: linear.ExactBinaryLinear,
    LatentLinear: linear.ExactLatentLinear,
    SpikingNet: ExactNet,
}
_UNCHANGED = (nn.Sequential, Shortcut)


def exact(model: SpikingNet, seed: int = 0) -> SpikingNet:
    """Return a copy of ``model`` that trains and answers with the same bits on every machine.

    Parameters, buffers and their names stay. Train it with ``bso_lib.exact.loss.cross_entropy``, BSO and TBSO made with
    ``exact=True``, and :class:`bso_lib.exact.descent.ExactSGD`. ``seed``: of the rounding of gradients. In evaluation
    mode it gives no gradients.
    Raises ValueError for a layer or setting that has no exact form, and a convolution without its BatchNorm behind it.
    """
    model = copy.deepcopy(model)
    for name, module in list(model.named_modules()):
        if type(module) in _KINDS:
            module.__class__ = _KINDS[type(module)]  # same attributes, another forward
        elif type(module) not in _UNCHANGED:
            raise ValueError(f"{name} is a {type(module).__name__}, which has no exact form")
        _check(name, module)
    model.noise = Noise(seed)
    norms = [module for module in model.modules() if isinstance(module, conv_norm._ExactNorm)]
    for number, norm in enumerate(norms):
        norm.noise, norm.number = model.noise, number
    for module in model.modules():
        if isinstance(module, nn.Sequential):
            _connect(module)
    model.reset_state()
    return model


def _check(name, module):
    """Raise ValueError for a setting of a layer that has no exact form."""
    if isinstance(module, LIF) and module.decay != 0.5:
        raise ValueError(f"{name} has decay={module.decay!r}: exact arithmetic needs 0.5")
    if isinstance(module, nn.BatchNorm2d):
        for setting, missing in (("affine", False), ("track_running_stats", False), ("momentum", None)):
            if getattr(module, setting) is missing:
                raise ValueError(f"{name} has {setting}={missing}: it has no exact form")
    size = module.size if isinstance(module, SpikingPool) else getattr(module, "kernel_size", None)
    if isinstance(module, SpikingPool | nn.AvgPool2d) and size is not None and size & (size - 1):
        raise ValueError(f"{name} pools by {size}: exact arithmetic needs a power of two")


def _connect(layers):
    """Tell each convolution of a Sequential what comes in, and see that its BatchNorm follows."""
    bits, rounds = None, False  # real-valued, until neurons make it spikes
    following = [*layers, None]
    for layer, after in zip(layers, following[1:], strict=False):
        if isinstance(layer, LIF):
            bits = 0
            rounds = layer.trace_kind.startswith("ndot")
        elif isinstance(layer, SpikingPool) and layer.size is not None:
            if bits is None:
                raise ValueError(f"{layer} has no neurons before it: exact arithmetic pools spikes")
            bits += 2 * (layer.size.bit_length() - 1)
        elif isinstance(layer, conv_norm._ExactConv):
            if not isinstance(after, conv_norm._ExactNorm):
                raise ValueError(f"{layer} is not followed by its BatchNorm, which exact arithmetic needs")
            layer.input_bits, layer.rounds_trace = bits, rounds
            if not layer.real_weight and (bits is None or layer.output_bits > _LARGEST_OUTPUT):
                what = "real-valued input" if bits is None else "too many inputs for 15 bits"
                raise ValueError(f"{layer} has {what}: it has no exact form")
        elif isinstance(layer, conv_norm._ExactNorm):
            bits = None
