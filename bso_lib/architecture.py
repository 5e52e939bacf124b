"""A sequential network described in plain data, layer by layer, and built again: no code has to travel with a file."""

import torch
from torch import nn

from bso_lib.layers import (
    BinaryConv2d,
    BinaryLinear,
    LatentConv2d,
    LatentLinear,
    SpikingPool,
    TimeStepBatchNorm2d,
    TracedConv2d,
    TracedLinear,
    UnclippedLatentConv2d,
)
from bso_lib.models import SpikingNet
from bso_lib.neurons import LIF

_CONV = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
_LINEAR = ("in_features", "out_features")
_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
# Each kind of layer with the arguments that build it.
ARGUMENTS = {
    BinaryConv2d: _CONV,
    TracedConv2d: _CONV,
    nn.Conv2d: (*_CONV, "bias", "padding_mode"),
    BinaryLinear: _LINEAR,
    TracedLinear: (*_LINEAR, "bias"),
    nn.Linear: (*_LINEAR, "bias"),
    nn.BatchNorm1d: _NORM,
    nn.BatchNorm2d: _NORM,
    TimeStepBatchNorm2d: ("num_features", "time_steps", "eps", "momentum"),
    nn.LayerNorm: ("normalized_shape", "eps", "elementwise_affine", "bias"),
    LIF: ("trace", "online", "decay", "threshold", "alpha"),
    SpikingPool: ("size",),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.ReLU: (),
    nn.Tanh: (),
}
# A latent network computes with the signs of its weights alone, so that is what is left of it after training.
DEPLOYED_AS = {LatentConv2d: BinaryConv2d, UnclippedLatentConv2d: BinaryConv2d, LatentLinear: BinaryLinear}
_KINDS = {kind.__name__: kind for kind in ARGUMENTS}


def _argument(layer, name):
    if name == "bias":
        return layer.bias is not None
    return layer.trace_kind if name == "trace" else getattr(layer, name)


def describe(model: nn.Sequential) -> list[dict]:
    """Return the layers of ``model`` in order, each as {"kind": class name, argument: value, ...}, ready for JSON.

    Latent layers are described as the binary layers that their signs are. Raises TypeError for a model that is not a
    plain sequence, such as one with shortcuts, and for a layer outside :data:`ARGUMENTS`.
    """
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"{type(model).__name__} is not a plain sequence of layers (torch.nn.Sequential)")
    described = []
    for number, layer in enumerate(model):
        kind = DEPLOYED_AS.get(type(layer), type(layer))
        if kind not in ARGUMENTS:
            raise TypeError(f"layer {number} is a {kind.__name__}: must be one of {', '.join(_KINDS)}")
        described.append({"kind": kind.__name__} | {name: _argument(layer, name) for name in ARGUMENTS[kind]})
    return described


def build(layers: list[dict]) -> SpikingNet:
    """Return the network that :func:`describe` described, without values: its tensors are on the "meta" device.

    Raises ValueError for a kind of layer that is not known.
    """
    built = []
    with torch.device("meta"):  # nothing is initialised and no random number drawn, as values are loaded next
        for number, layer in enumerate(layers):
            arguments = dict(layer)
            kind = arguments.pop("kind")
            if kind not in _KINDS:
                raise ValueError(f"layer {number} is a {kind!r}: must be one of {', '.join(_KINDS)}")
            built.append(_KINDS[kind](**arguments))
    return SpikingNet(*built)
