"""A network described in plain data, layer by layer, and built again: no code has to travel with a file.

A network is a sequence of layers; among them may be shortcuts, whose two ways are sequences themselves.
"""

from collections.abc import Iterator

import torch
from torch import nn

from bso_lib import layers as ours
from bso_lib.models import SpikingNet
from bso_lib.neurons import LIF

_CONV = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
_LINEAR = ("in_features", "out_features")
_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
# Each kind of layer with the arguments that build it.
ARGUMENTS = {
    ours.BinaryConv2d: _CONV,
    ours.TracedConv2d: _CONV,
    nn.Conv2d: (*_CONV, "bias", "padding_mode"),
    ours.BinaryLinear: _LINEAR,
    ours.TracedLinear: (*_LINEAR, "bias"),
    nn.Linear: (*_LINEAR, "bias"),
    nn.BatchNorm1d: _NORM,
    nn.BatchNorm2d: _NORM,
    ours.TimeStepBatchNorm2d: ("num_features", "time_steps", "eps", "momentum"),
    nn.LayerNorm: ("normalized_shape", "eps", "elementwise_affine", "bias"),
    LIF: ("trace", "online", "decay", "threshold", "alpha"),
    ours.SpikingPool: ("size",),
    nn.AvgPool2d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.ReLU: (),
    nn.Tanh: (),
}
# A latent network computes with the signs of its weights alone, so that is what is left of it after training.
DEPLOYED_AS = {
    ours.LatentConv2d: ours.BinaryConv2d,
    ours.UnclippedLatentConv2d: ours.BinaryConv2d,
    ours.LatentLinear: ours.BinaryLinear,
}
_KINDS = {kind.__name__: kind for kind in ARGUMENTS}
_SHORTCUT, _WAYS = ours.Shortcut.__name__, ("body", "shortcut")
_ALL_KINDS = ", ".join((*_KINDS, _SHORTCUT))


def _argument(layer, name):
    if name == "bias":
        return layer.bias is not None
    return layer.trace_kind if name == "trace" else getattr(layer, name)


def describe(model: nn.Sequential) -> list[dict]:
    """Return the layers of ``model`` in order, each as {"kind": class name, argument: value, ...}, ready for JSON.

    The "body" and "shortcut" of a ``bso_lib.layers.Shortcut`` are such lists themselves. Latent layers are described as
    the binary layers that their signs are. Raises TypeError for a model that is not a sequence, and for a layer outside
    :data:`ARGUMENTS`.
    """
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"{type(model).__name__} is not a plain sequence of layers (torch.nn.Sequential)")
    return _described(model, "")


def _described(sequence, prefix):
    described = []
    for number, layer in enumerate(sequence):
        kind, path = DEPLOYED_AS.get(type(layer), type(layer)), f"{prefix}{number}"
        if kind is ours.Shortcut:
            arguments = {way: _described(getattr(layer, way), f"{path}.{way}.") for way in _WAYS}
        elif kind in ARGUMENTS:
            arguments = {name: _argument(layer, name) for name in ARGUMENTS[kind]}
        else:
            raise TypeError(f"layer {path} is a {kind.__name__}: must be one of {_ALL_KINDS}")
        described.append({"kind": kind.__name__} | arguments)
    return described


def described_layers(layers: list[dict], prefix: str = "") -> Iterator[tuple[str, dict]]:
    """Yield (name in the model, description) of each layer that :func:`describe` described, in order.

    Those within a shortcut in its place: "4.body.0" is the first layer of the body of layer 4.
    """
    for number, layer in enumerate(layers):
        path = f"{prefix}{number}"
        if layer["kind"] != _SHORTCUT:
            yield path, layer
            continue
        for way in _WAYS:
            yield from described_layers(layer[way], f"{path}.{way}.")


def build(layers: list[dict]) -> SpikingNet:
    """Return the network that :func:`describe` described, without values: its tensors are on the "meta" device.

    Raises ValueError for a kind of layer that is not known.
    """
    with torch.device("meta"):  # nothing is initialised and no random number drawn, as values are loaded next
        return SpikingNet(*_built(layers, ""))


def _built(layers, prefix):
    built = []
    for number, layer in enumerate(layers):
        arguments, path = dict(layer), f"{prefix}{number}"
        kind = arguments.pop("kind")
        if kind == _SHORTCUT:
            built.append(ours.Shortcut(*(nn.Sequential(*_built(arguments[way], f"{path}.{way}.")) for way in _WAYS)))
        elif kind in _KINDS:
            built.append(_KINDS[kind](**arguments))
        else:
            raise ValueError(f"layer {path} is a {kind!r}: must be one of {_ALL_KINDS}")
    return built
