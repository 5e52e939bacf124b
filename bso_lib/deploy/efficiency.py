"""What an inference costs, in the counts that NeuroBench defines (Yik et al. 2025, arXiv 2304.04640).

    activation sparsity     zeros among the outputs of all neurons, over time steps and samples
    synaptic operations     per sample, over its time steps and all conv and linear layers. Effective: a non-zero input
                            meets a non-zero weight; each is an accumulate (AC) where the layer's inputs all lie in
                            {-1, 0, 1}, else a multiply-accumulate (MAC). Dense: zeros count as well
    connection sparsity     zeros among the weights of those layers
    footprint               bytes of all parameters and buffers

Zero padding, biases, normalisation and the neurons' own updates are no synaptic operations. An average pool makes
fractions of spikes, so the layer after one counts MACs, as does the first, which sees the image; that a binary weight
needs no multiplication even then is not in these counts. They give no energy, which is the hardware's as much as the
network's.
"""

from contextlib import ExitStack
from dataclasses import dataclass

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from bso_lib.layers import BINARY_LAYERS, LatentConv2d, LatentLinear, TracedConv2d, TracedLinear
from bso_lib.neurons import LIF
from bso_lib.traced import Spikes
from bso_lib.training import predict

CONNECTIONS = (TracedConv2d, TracedLinear)
ONE_BIT = (*BINARY_LAYERS, LatentConv2d, LatentLinear)
OPERATIONS = ("macs", "acs", "dense")


@dataclass(frozen=True)
class Workload:
    """What a network did on a data set, per sample and inference of ``time_steps``.

    ``connections``: one row per conv or linear layer: its name in the model, its class, ``input_sparsity`` (share of
    zeros), ``macs`` and ``acs`` (effective operations) and ``dense`` ones. ``neurons``: one row per spiking layer: how
    many neurons, how many spikes they send in all, ``sparsity`` (share of neurons and time steps without one).
    """

    connections: pd.DataFrame
    neurons: pd.DataFrame
    time_steps: int

    @property
    def activation_sparsity(self) -> float:
        """Return the share of zeros among the outputs of all neurons at all time steps."""
        return float(1 - self.neurons["spikes"].sum() / (self.neurons["neurons"].sum() * self.time_steps))

    @property
    def synaptic_operations(self) -> dict[str, float]:
        """Return "macs", "acs" and "dense" of one inference, summed over the layers."""
        return {name: float(self.connections[name].sum()) for name in OPERATIONS}


def count_operations(layer: nn.Module, x: torch.Tensor) -> dict[str, int]:
    """Return "macs", "acs" and "dense" of ``layer``, one of CONNECTIONS, on the batch ``x``, summed over the batch."""
    used = layer.used_weight() != 0
    effective = _meetings(layer, x != 0, used)
    dense = len(x) * _meetings(layer, torch.ones_like(x[:1], dtype=torch.bool), torch.ones_like(used))
    spiking = bool(((x == 0) | (x.abs() == 1)).all())
    return {"macs": 0 if spiking else effective, "acs": effective if spiking else 0, "dense": dense}


def _meetings(layer, inputs, weight):
    """Return how often a True of ``inputs`` meets a True of ``weight`` in ``layer``; exact, in whole numbers."""
    if isinstance(layer, nn.Linear):
        return int((inputs.sum(0) * weight.sum(0)).sum())
    filters = weight.unflatten(0, (layer.groups, -1)).sum(1).flatten(0, 1)  # (C, kH, kW): met by one input at a tap
    (high, wide), (down, right), (dh, dw) = layer.padding, layer.stride, layer.dilation
    padded, met = F.pad(inputs.sum(0), (wide, wide, high, high)), 0  # how many samples have a True there
    rows = padded.shape[1] - dh * (filters.shape[1] - 1)  # where a filter's first row can lie, before the stride
    columns = padded.shape[2] - dw * (filters.shape[2] - 1)
    for i in range(filters.shape[1]):
        for j in range(filters.shape[2]):
            seen = padded[:, dh * i : dh * i + rows : down, dw * j : dw * j + columns : right]
            met = met + (seen.sum((1, 2)) * filters[:, i, j]).sum()
    return int(met)


@torch.no_grad()
def measure_workload(model: nn.Module, split, time_steps: int, batch_size: int = 500) -> Workload:
    """Return the :class:`Workload` of ``model`` on all images of ``split``, in evaluation.

    Latent layers count by the signs that they compute with. Raises ValueError if ``time_steps`` is below 1, the split
    is empty or the model has no spiking neurons.
    """
    if time_steps < 1 or not len(split):
        raise ValueError(f"time_steps={time_steps} on {len(split)} images: must be at least one of each")
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, CONNECTIONS)]
    neurons = [(name, m) for name, m in model.named_modules() if isinstance(m, LIF)]
    if not neurons:
        raise ValueError(f"{type(model).__name__} has no LIF layer: there are no spikes to count")
    counts = {name: dict.fromkeys(("values", "nonzero", *OPERATIONS), 0) for name, _ in layers + neurons}

    def tally(name, x):
        counts[name]["values"] += x.numel()
        counts[name]["nonzero"] += int(torch.count_nonzero(x))

    def before_layer(name):
        def hook(layer, inputs):
            x = inputs[0].values if isinstance(inputs[0], Spikes) else inputs[0]
            tally(name, x)
            for kind, count in count_operations(layer, x).items():
                counts[name][kind] += count

        return hook

    was_training = model.training
    with ExitStack() as undo:
        undo.callback(model.train, was_training)
        for name, layer in layers:
            undo.callback(layer.register_forward_pre_hook(before_layer(name)).remove)
        for name, layer in neurons:
            undo.callback(layer.register_forward_hook(lambda _, __, out, name=name: tally(name, out.values)).remove)
        model.eval()
        for images, _ in split.batches(batch_size):
            predict(model, images, time_steps)
    return Workload(
        pd.DataFrame([_connection_row(name, layer, counts[name], len(split)) for name, layer in layers]),
        pd.DataFrame([_neuron_row(name, counts[name], len(split), time_steps) for name, _ in neurons]),
        time_steps,
    )


def _connection_row(name, layer, counts, samples):
    sparsity = {"input_sparsity": 1 - counts["nonzero"] / counts["values"]}
    return {"layer": name, "kind": type(layer).__name__} | sparsity | {k: counts[k] / samples for k in OPERATIONS}


def _neuron_row(name, counts, samples, time_steps):
    neurons, spikes = counts["values"] // (samples * time_steps), counts["nonzero"] / samples
    return {"layer": name, "neurons": neurons, "spikes": spikes, "sparsity": 1 - counts["nonzero"] / counts["values"]}


def connection_sparsity(model: nn.Module) -> float:
    """Return the share of zeros among the weights that conv and linear layers compute with; binary ones have none."""
    weights = [m.used_weight() for m in model.modules() if isinstance(m, CONNECTIONS)]
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)


def footprint_bytes(model: nn.Module, deployed: bool = False) -> int:
    """Return the bytes of all parameters and buffers of ``model`` as they lie in memory.

    ``deployed``: the weights of binary and latent layers as bits, as ``save_packed`` stores them.
    Unlike in ``packed_size_bytes``, running statistics count.
    """
    size = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    if not deployed:
        return size
    one_bit = [m.weight for m in model.modules() if isinstance(m, ONE_BIT)]
    return size + sum((w.numel() + 7) // 8 - w.numel() * w.element_size() for w in one_bit)


def efficiency(model: nn.Module, workload: Workload) -> dict[str, float]:
    """Return all of these numbers for ``model`` and its ``workload``, as a row for a table of several networks.

    "activation_sparsity"; "macs", "acs" and "dense" per inference; "connection_sparsity"; "footprint_bytes" and
    "deployed_bytes", see :func:`footprint_bytes`.
    """
    return {
        "activation_sparsity": workload.activation_sparsity,
        **workload.synaptic_operations,
        "connection_sparsity": connection_sparsity(model),
        "footprint_bytes": footprint_bytes(model),
        "deployed_bytes": footprint_bytes(model, deployed=True),
    }
