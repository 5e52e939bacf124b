"""BSO and T-BSO, binary spiking online optimizers, and what it takes to reproduce their paper.

    from bso_lib import BSO, TBSO, vgg11, RunConfig, run

Equation, table and figure numbers are those of "BSO: Binary Spiking Online Optimization Algorithm", ICML 2025.

To read the method takes an hour, in this order; each file imports only from those before it, and the first nothing:

    reference    Algorithm 1 in plain numpy, loops and all; what everything else is tested against
    surrogate    the spike and its surrogate derivative
    traced       convolution and linear map whose weight gradient uses the trace
    neurons      leaky integrate-and-fire neurons and their trace
    layers       binary, latent and real layers; pooling, shortcuts, BatchNorm per time step
    models       the paper's VGG-11 and ResNet-18, and a small network for teaching
    optim        BSO and T-BSO, which read like Algorithm 1
    training     a batch online, accumulated or by BPTT; evaluation

Every other concern has a room of its own; each imports from the method and from rooms before it:

    terminal     what whoever runs a command sees: one line for what is wrong, and progress
    data         what networks see: images, events, speech, ImageNet
    fast         the same numbers sooner and in fewer bytes: packed bits, CUDA graphs
    deploy       a trained network leaves: one bit per weight, NIR, operations counted
    exact        training whose every sum is a sum of whole numbers: the same bits on every machine
    experiment   one run: RunConfig, checkpoints, cache, several ranks
    measure      instruments: flips, gradients over time, latent weights, memory, communication
    sweep        many runs: comparison, tuning, planning, cluster
    regret       online problems, learners, the bounds
    companion    what the notebooks call: figures, the ledger and its registry, the paper's numbers
    bench        time and memory beside the convolutions alone and other libraries
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # so that editors know what __getattr__ fetches
    from bso_lib.data import load_dataset
    from bso_lib.deploy.network_file import load_packed, packed_size_bytes, save_packed
    from bso_lib.experiment.config import RunConfig
    from bso_lib.experiment.run import run
    from bso_lib.fast.packed_layers import pack
    from bso_lib.layers import BinaryConv2d, BinaryLinear
    from bso_lib.models import resnet18, split_parameters, vgg11
    from bso_lib.neurons import LIF
    from bso_lib.optim import BSO, TBSO
    from bso_lib.traced import Spikes
    from bso_lib.training import evaluate, predict, train_batch

_HOME = {
    "bso_lib.data": ("load_dataset",),
    "bso_lib.deploy.network_file": ("load_packed", "packed_size_bytes", "save_packed"),
    "bso_lib.experiment.config": ("RunConfig",),
    "bso_lib.experiment.run": ("run",),
    "bso_lib.fast.packed_layers": ("pack",),
    "bso_lib.layers": ("BinaryConv2d", "BinaryLinear"),
    "bso_lib.models": ("resnet18", "split_parameters", "vgg11"),
    "bso_lib.neurons": ("LIF",),
    "bso_lib.optim": ("BSO", "TBSO"),
    "bso_lib.traced": ("Spikes",),
    "bso_lib.training": ("evaluate", "predict", "train_batch"),
}

__all__ = [
    "BSO", "LIF", "TBSO", "BinaryConv2d", "BinaryLinear", "RunConfig", "Spikes", "evaluate", "load_dataset",
    "load_packed", "pack", "packed_size_bytes", "predict", "resnet18", "run", "save_packed", "split_parameters",
    "train_batch", "vgg11",
]  # fmt: skip


def __getattr__(name: str):
    """Import a public name when it is first asked for (PEP 562), so that ``import bso_lib`` itself costs nothing."""
    for module, names in _HOME.items():
        if name in names:
            return globals().setdefault(name, getattr(import_module(module), name))
    raise AttributeError(f"module 'bso_lib' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return sorted({*globals(), *__all__})
