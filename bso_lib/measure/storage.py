"""The storage of every tensor, followed from its allocation to its release: bytes alive over time, by category."""

import weakref
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# A storage with several uses is counted once, under the first of these: the weight that a convolution saves for its
# backward is a weight, the trace that it saves is neuron state. "activations" is what is saved for the backward alone.
CATEGORIES = (
    "weights", "buffers", "gradients", "optimizer state", "neuron state", "input", "activations", "temporary",
)  # fmt: skip


@dataclass(eq=False)
class _Storage:
    bytes: int
    category: str = CATEGORIES[-1]
    alive: weakref.ref = field(default=None, repr=False)  # tells the tracker when the storage is freed


class StorageTracker(TorchDispatchMode):
    """A context in which the storage of every tensor that an operation returns is followed until it is freed.

    Views share a storage and count once. :meth:`mark` says what a storage is for; it may do so at any time, as
    categories are looked up when :meth:`timeline` is asked for. On a fake tensor, which has no value, ``bool(x)`` is
    answered with True and ``int(x)`` with 0: "is it finite?" and "how many are off the grid?".
    """

    def __init__(self):
        super().__init__()
        self._live = {}  # address of the storage -> _Storage
        self._events = []  # (_Storage, +1 or -1)
        self._start = 0  # number of events that only say what was alive at begin()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            return args[0].dtype == torch.bool
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self._follow(value)
        return result

    def _follow(self, tensor):
        try:
            owner = tensor.untyped_storage()
            key, size = owner._cdata, owner.nbytes()
        except NotImplementedError:  # a weight that a library has laid out its own way hides its storage
            owner, key, size = tensor, id(tensor), tensor.numel() * tensor.element_size()
        if key not in self._live:
            entry = self._live[key] = _Storage(size)
            entry.alive = weakref.ref(owner, lambda _: self._freed(key))
            self._events.append((entry, 1))
        return self._live[key]

    def _freed(self, key):
        self._events.append((self._live.pop(key), -1))

    def mark(self, category, tensors):
        """Count the storages of ``tensors`` as ``category``, unless they have one that comes first in CATEGORIES."""
        for tensor in tensors:
            entry = self._follow(tensor)
            entry.category = min(entry.category, category, key=CATEGORIES.index)

    def begin(self):
        """Forget what was: the timeline starts with the storages that are alive now."""
        self._events = [(entry, 1) for entry in self._live.values()]
        self._start = len(self._events)

    def timeline(self) -> pd.DataFrame:
        """Return the bytes alive in each category (columns) at :meth:`begin` and after each allocation and release."""
        change = np.zeros((len(self._events), len(CATEGORIES)), dtype=np.int64)
        for row, (entry, sign) in enumerate(self._events):
            change[row, CATEGORIES.index(entry.category)] = sign * entry.bytes
        alive = pd.DataFrame(change.cumsum(axis=0), columns=list(CATEGORIES))
        return alive.iloc[max(self._start - 1, 0) :].reset_index(drop=True)
