r"""Export to NIR, the neuromorphic intermediate representation that other spiking frameworks and simulators read.

A NIR graph holds differential equations. Its LIF neuron,

    tau dv/dt = v_leak - v + r I,    a spike when v passes v_threshold, then v = v_reset,

becomes ours (Eq. 2, 3) by one forward Euler step of size dt per time step,

    v[t] = (1 - dt/tau) v[t-1] + (r dt/tau) I[t],    tau = dt / (1 - decay), r = tau / dt, v_leak = 0.

In continuous time v stands at the threshold when it spikes, so resetting to v_reset = 0 and subtracting the threshold
are the same. In steps v passes the threshold and they differ; NIR leaves the choice to whoever runs the graph, and
**this graph wants the threshold subtracted, once per spike**: its metadata says so. NIR's spike is v > v_threshold,
ours v >= V_th: they differ on exact ties alone.

BatchNorm in evaluation is a scale and a shift per channel, folded into the layer before it: each filter of a binary
conv then holds one number and its negative, still one bit per weight.
"""

import io
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bso_lib.data.stored import write_atomically
from bso_lib.layers import Shortcut, SpikingPool, TimeStepBatchNorm2d, TracedConv2d, TracedLinear
from bso_lib.neurons import LIF

TIME_STEP = 1e-4  # seconds; what snnTorch and SpikingJelly assume when they read a graph


def _nir():
    try:
        import nir
    except ImportError as error:
        raise ImportError("the export to NIR needs the package nir: pip install 'bso-lib[deploy]'") from error
    return nir


def nir_graph(model: nn.Sequential, input_shape, dt: float = TIME_STEP):
    """Return ``model``, as it evaluates, as a ``nir.NIRGraph`` for inputs of ``input_shape``, (C, H, W) or (features,).

    A sequence of TracedConv2d and TracedLinear of any weights, each perhaps followed by BatchNorm, of LIF, SpikingPool
    and Flatten. One time step lasts ``dt`` seconds; the logits are the output, to be summed over the time steps. Raises
    ImportError without the package nir, TypeError for any other layer, such as BatchNorm per time step (no one graph
    holds several normalisations) and layer norm (it depends on the input), ValueError for BatchNorm without a layer
    before it or an ``input_shape`` that does not fit.
    """
    nir = _nir()
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"{type(model).__name__} is not a plain sequence of layers (torch.nn.Sequential)")
    layers, shape = list(model), tuple(input_shape)
    nodes = [nir.Input(input_type=np.array(shape))]
    for number, layer in enumerate(layers):
        if type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d):
            if not number or not isinstance(layers[number - 1], TracedConv2d | TracedLinear):
                raise ValueError(f"layer {number} is a {type(layer).__name__} without a conv or linear layer before it")
            continue  # folded into the layer before
        following = layers[number + 1] if number + 1 < len(layers) else None
        norm = following if type(following) in (nn.BatchNorm1d, nn.BatchNorm2d) else None
        for node in _nodes(number, layer, norm, shape, dt):
            nodes.append(node)
            shape = _shape_after(node, shape)
    nodes.append(nir.Output(output_type=np.array(shape)))
    graph = nir.NIRGraph.from_list(*nodes)
    graph.metadata = {"dt": dt, "reset": "subtract v_threshold", "readout": "sum over time steps"}
    return graph


def export_nir(model: nn.Sequential, path, input_shape, dt: float = TIME_STEP):
    """Write :func:`nir_graph` of ``model`` to ``path`` (HDF5), atomically; ``nir.read(path)`` reads it."""
    graph, buffer = nir_graph(model, input_shape, dt), io.BytesIO()
    _nir().write(buffer, graph)
    write_atomically(Path(path), buffer.getvalue())


def _nodes(number, layer, norm, shape, dt):
    """Return the NIR nodes of ``layer``, with ``norm`` folded in, for an input of ``shape``."""
    nir = _nir()
    if isinstance(layer, TracedConv2d | TracedLinear):
        _check_shape(number, layer, shape)
    if isinstance(layer, TracedConv2d):
        if layer.groups != 1 or layer.kernel_size[0] != layer.kernel_size[1]:
            raise TypeError(f"layer {number}: NIR infers no shape for groups or a kernel that is not square")
        weight, bias = _folded(layer, norm)
        return [nir.Conv2d(shape[1:], weight, layer.stride, layer.padding, layer.dilation, 1, bias)]
    if isinstance(layer, TracedLinear):
        return [nir.Affine(*_folded(layer, norm))]
    if isinstance(layer, LIF):
        gain = 1 / (1 - layer.decay)
        values = {"tau": gain * dt, "r": gain, "v_leak": 0, "v_threshold": layer.threshold, "v_reset": 0}
        return [nir.LIF(**{name: np.full(shape, value, np.float32) for name, value in values.items()})]
    if isinstance(layer, SpikingPool):
        size = np.array(shape[1:] if layer.size is None else (layer.size, layer.size))
        pool = nir.AvgPool2d(kernel_size=size, stride=size, padding=np.array((0, 0)))
        if layer.size is not None:
            return [pool]
        return [pool, nir.Flatten({"input": np.array((shape[0], 1, 1))}, start_dim=0, end_dim=-1)]
    if isinstance(layer, nn.Flatten):
        return [nir.Flatten({"input": np.array(shape)}, start_dim=0, end_dim=-1)]
    why = ""
    if isinstance(layer, TimeStepBatchNorm2d):
        why = ": one graph cannot normalise each time step differently, train with batch_norm='shared'"
    elif isinstance(layer, nn.LayerNorm):
        why = ": it depends on the input, and NIR has no such node; use BatchNorm"
    elif isinstance(layer, Shortcut | nn.AvgPool2d):
        why = ": this export writes plain sequences of spiking layers, such as vgg11, and no shortcuts"
    raise TypeError(f"layer {number}, a {type(layer).__name__}, cannot be exported{why}")


def _check_shape(number, layer, shape):
    channels = layer.in_channels if isinstance(layer, TracedConv2d) else layer.in_features
    dimensions = 3 if isinstance(layer, TracedConv2d) else 1
    if len(shape) != dimensions or shape[0] != channels:
        wanted = f"({channels}, H, W)" if dimensions == 3 else f"({channels},)"
        raise ValueError(
            f"layer {number}, a {type(layer).__name__}, takes {wanted}: with this input_shape it gets {shape}"
        )


@torch.no_grad()
def _folded(layer, norm):
    """Return the weight and bias, float32, of ``layer`` followed by ``norm`` (or None) in evaluation."""
    weight = layer.used_weight().double()
    bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias
    bias = bias.to(weight)
    if norm is not None:
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        shift = -norm.running_mean.double() * scale
        if norm.affine:
            scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
        weight, bias = weight * scale.view(-1, *[1] * (weight.dim() - 1)), bias * scale + shift
    return weight.float().cpu().numpy(), bias.float().cpu().numpy()


def _shape_after(node, shape):
    """Return the shape that comes out of ``node``; pooling does not know its own before the graph is whole."""
    if type(node).__name__ == "AvgPool2d":
        return shape[0], *(int(side // size) for side, size in zip(shape[1:], node.kernel_size, strict=True))
    return tuple(int(n) for n in node.output_type["output"])
