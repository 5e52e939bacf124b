"""Which binary weights flip, and when: recorded beside a run, for any optimizer and at a few percent of a step.

A weight's sign is compared after every update with the one before. Kept per weight: its sign, the update of its last
flip and the number of its flips (9 bytes); kept per layer: flips per epoch and a histogram of the times between flips.
"""

import math
from dataclasses import dataclass

import pandas as pd
import torch
from torch.optim import Optimizer

from bso_lib import optim

HELD_EVERY = 8  # updates between two looks at what the threshold holds back
_BINS = 31  # of the times between flips: [1, 2), [2, 4), ... updates


@dataclass(frozen=True)
class FlipRecord:
    """What :class:`FlipRecorder` found, as three tables; ``layer`` is the number the caller gave.

    epochs   epoch, layer, weights, updates, flips, looks, held: ``flips`` summed over ``updates``; ``held`` summed over
             ``looks`` (every HELD_EVERY-th update): weights with w * M > 0 after it, which the threshold alone kept
    layers   layer, weights, never_flipped, flips, leaving: ``leaving`` counts flips away from the weight's final sign
    gaps     layer, at_least, flips: times between two flips of a weight, from at_least to below twice that, in updates
    """

    epochs: pd.DataFrame
    layers: pd.DataFrame
    gaps: pd.DataFrame

    def to_dict(self) -> dict[str, list[dict]]:
        """Return the tables as JSON-ready lists of rows."""
        return {name: getattr(self, name).to_dict("records") for name in ("epochs", "layers", "gaps")}

    @classmethod
    def from_dict(cls, stored: dict[str, list[dict]]):
        """Undo :meth:`to_dict`."""
        return cls(**{name: pd.DataFrame(rows) for name, rows in stored.items()})


class FlipRecorder:
    """Follow the signs of ``layers`` (number to weight, binary or latent) through every step of ``optimizer``.

    ``flips`` counts from the weights as they are now. Call :meth:`end_epoch` after each epoch and :meth:`result` at the
    end; :meth:`state_dict` and :meth:`load_state_dict` serve an exact resume. Raises ValueError without layers.
    """

    def __init__(self, layers: dict[int, torch.Tensor], optimizer: Optimizer):
        if not layers:
            raise ValueError("FlipRecorder needs at least one layer with binary or latent weights")
        self.layers, self.optimizer = layers, optimizer
        parameters = list(layers.values())
        device = parameters[0].device
        sizes = [p.numel() for p in parameters]
        self.bounds = torch.tensor(sizes, device=device).cumsum(0)
        total = sum(sizes)
        self.positive, self._now, self._changed = (torch.empty(total, dtype=torch.bool, device=device) for _ in "abc")
        self.last = torch.zeros(total, dtype=torch.int32, device=device)  # update of the last flip; 0: none yet
        self.count = torch.zeros(total, dtype=torch.int32, device=device)
        self.flips = torch.zeros(len(layers), dtype=torch.int64, device=device)  # of this epoch
        self.held = torch.zeros(len(layers), dtype=torch.int64, device=device)
        self.gaps = torch.zeros(len(layers) * _BINS, dtype=torch.int64, device=device)
        self._powers = 2 ** torch.arange(_BINS, dtype=torch.int64, device=device)
        self.updates, self.epoch_start, self.looks, self.rows = 0, 0, 0, []
        self.dense = device.type != "cpu"
        self._signs(self.positive)
        optimizer.register_step_post_hook(lambda *_: self._observe())

    def _signs(self, flat):
        """Write w >= 0 of all layers into ``flat``, each in its own memory order, so that nothing is copied."""
        start = 0
        for p in self.layers.values():
            torch.ge(p.detach(), 0, out=flat.as_strided(p.size(), p.stride(), start))
            start += p.numel()

    @torch.no_grad()
    def _observe(self):
        self.updates += 1
        self._signs(self._now)
        torch.logical_xor(self._now, self.positive, out=self._changed)
        self.positive, self._now = self._now, self.positive
        (self._count_each if self.dense else self._count_flipped)()
        if self.updates % HELD_EVERY == 0:
            self._look()

    def _count_flipped(self):
        """Visit the weights that flipped, which are few. Finding them waits for the device: for a CPU, that is free."""
        (index,) = self._changed.nonzero(as_tuple=True)
        layer = torch.bucketize(index, self.bounds, right=True)
        self.flips += torch.bincount(layer, minlength=len(self.layers))
        last = self.last[index]
        again = last > 0
        bins = torch.bucketize(self.updates - last[again].long(), self._powers, right=True) - 1
        self.gaps += torch.bincount(layer[again] * _BINS + bins, minlength=len(self.gaps))
        self.last[index] = self.updates
        self.count[index] += 1

    def _count_each(self):
        """Do the same for every weight, without a question to the device: for a GPU, which would wait for the host."""
        again = self._changed & (self.last > 0)
        # Times between flips are whole: frexp's exponent tells exactly between which powers of 2 one lies.
        bins = torch.frexp((self.updates - self.last).double())[1] - 1
        start = 0
        for number, p in enumerate(self.layers.values()):
            part = slice(start, start + p.numel())
            start += p.numel()
            self.flips[number] += self._changed[part].sum()
            own = bins[part].masked_fill(~again[part], -1).double()  # histc leaves out what lies below its range
            self.gaps[number * _BINS : (number + 1) * _BINS] += own.histc(_BINS, -0.5, _BINS - 0.5).long()
        self.last.masked_fill_(self._changed, self.updates)
        self.count += self._changed

    def _look(self):
        """Count the weights with w * M > 0: they would have flipped with gamma = 0."""
        self.looks += 1
        for number, p in enumerate(self.layers.values()):
            momentum = self.optimizer.state.get(p, {}).get("momentum")
            if momentum is not None:
                self.held[number] += optim.flips(p, momentum, 0.0).count_nonzero()

    def end_epoch(self):
        """Close the books of an epoch."""
        updates = self.updates - self.epoch_start
        epoch = len(self.rows) // len(self.layers) + 1
        for (number, p), flips, held in zip(self.layers.items(), self.flips.tolist(), self.held.tolist(), strict=True):
            self.rows.append(
                {"epoch": epoch, "layer": number, "weights": p.numel(), "updates": updates, "flips": flips,
                 "looks": self.looks, "held": held}
            )  # fmt: skip
        self.flips.zero_()
        self.held.zero_()
        self.epoch_start, self.looks = self.updates, 0

    def result(self) -> FlipRecord:
        """Return the tables, with the present signs as the final ones."""
        layers, start = [], 0
        for number, p in self.layers.items():
            count = self.count[start : start + p.numel()]
            start += p.numel()
            # Signs alternate and the last flip arrives at the final one: of n flips, floor(n / 2) leave it.
            layers.append(
                {"layer": number, "weights": p.numel(), "never_flipped": int((count == 0).sum()),
                 "flips": int(count.sum()), "leaving": int((count // 2).sum())}
            )  # fmt: skip
        gaps = [
            {"layer": number, "at_least": 2**power, "flips": flips}
            for number, histogram in zip(self.layers, self.gaps.view(-1, _BINS).tolist(), strict=True)
            for power, flips in enumerate(histogram[: max(1, math.ceil(math.log2(self.updates + 1)))])
        ]
        return FlipRecord(pd.DataFrame(self.rows), pd.DataFrame(layers), pd.DataFrame(gaps))

    _TENSORS = ("positive", "last", "count", "flips", "held", "gaps")
    _NUMBERS = ("updates", "epoch_start", "looks", "rows")

    def state_dict(self) -> dict:
        """Return all that :meth:`load_state_dict` needs."""
        return {name: getattr(self, name) for name in (*self._TENSORS, *self._NUMBERS)}

    def load_state_dict(self, state: dict):
        """Go on from ``state``; the layers' weights must be those of that moment."""
        for name in self._TENSORS:
            getattr(self, name).copy_(state[name])
        for name in self._NUMBERS:
            setattr(self, name, state[name])
