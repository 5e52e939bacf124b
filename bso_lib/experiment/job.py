"""A run under way: an epoch of training, what is stored of it, and an exact resume."""

import hashlib
import platform
import time
import warnings
from dataclasses import asdict

import torch
from safetensors.torch import save

from bso_lib.data.stored import write_atomically
from bso_lib.experiment.build import Trainer, build_model, flipping_layers
from bso_lib.experiment.checkpoint import (
    DamagedCheckpoint,
    generator_states,
    load_checkpoint,
    restore_generators,
    save_checkpoint,
)
from bso_lib.experiment.flips import FlipRecorder
from bso_lib.experiment.machine import device_name, digits_depend_on
from bso_lib.experiment.ranks import accuracy, agreed, check_alike, check_share, gathered, share, summed, world, writes
from bso_lib.experiment.watch import Watch

WEIGHTS_FILE, MOMENTUM_FILE = "weights.safetensors", "momentum.safetensors"
_OF_ALL = ("generator", "batches", "seen")  # what every rank holds alike of an epoch under way


def snapshot_name(epoch: int) -> str:
    """Return the file name of the weights kept after ``epoch``."""
    return f"weights-{epoch:04d}.safetensors"


def checkpoint_name(epoch: int, batches: int = 0) -> str:
    """Return the file name of the state after ``epoch`` and ``batches`` of the next one."""
    return f"checkpoint-{epoch:04d}{f'-{batches:07d}' if batches else ''}.pt"


def _checkpoints(folder):
    """Return the checkpoints in ``folder``, the last one last."""
    return sorted(folder.glob("checkpoint-*.pt"), key=lambda path: [int(n) for n in path.stem.split("-")[1:]])


class Job:
    """A run under way: everything that changes as it trains, and how that is stored and taken up again.

    ``start``: (weights, momentum) that the phase before ended with, if ``config.start_from`` is one. Every rank of a
    process group has a Job of its own, with the same state; rank 0's is stored. Raises ValueError if the ranks cannot
    share a batch equally.
    """

    def __init__(self, config, train, device, start=None):
        check_share(min(config.batch_size, len(train)))
        self.config, self.device = config, device
        # A GPU draws other numbers than a CPU.
        self.generator = torch.Generator("cpu" if config.exact else device).manual_seed(config.seed)
        self.shape = (train.num_classes, train.channels)
        self.batches = train.number_of_batches(config.batch_size)
        self.trainer = Trainer(config, build_model(config, *self.shape).to(device), self.batches, start)
        layers = flipping_layers(self.trainer.model)
        recorded = layers and config.record_flips
        self.recorder = FlipRecorder(layers, self.trainer.optimizers[-1]) if recorded else None
        self.snapshots = {}  # SHA-256 by file name
        self.history, self.seconds, self._since = [], 0.0, time.perf_counter()
        self.begun = None  # of an epoch under way: the run generator at its start, batches done, sums over them
        self.watch = None

    def train_epoch(self, train, bar, between=lambda: None):
        """Train one epoch, or the rest of one, and return its row of the history.

        Sums stay on the device until its end. ``between`` is called after each batch but the last.
        """
        config = self.config
        self.trainer.model.train()
        self._since = time.perf_counter()
        self.begun = begun = self.begun or {"generator": self.generator.get_state(), "batches": 0, "seen": 0}
        self.generator.set_state(begun["generator"])  # as it was: the same order, less the batches that are done
        first, epoch = begun["batches"], len(self.history) + 1
        self.watch = self.watch or Watch(config, self.recorder, self.batches, self.shape[0])
        for images, labels in train.batches(config.batch_size, self.generator, config.augment, share, first):
            loss, logits = self.trainer.step(images, labels)
            begun["loss"] = begun.get("loss", 0.0) + loss
            begun["correct"] = begun.get("correct", 0) + (logits.argmax(1) == labels).sum()
            begun["seen"] += len(labels)
            begun["batches"] += 1
            bar.update()
            self.watch.after_batch(loss, epoch)
            if begun["batches"] < self.batches:
                between()
        if self.recorder:
            self.recorder.end_epoch()
        self.trainer.raise_if_refused()
        self.begun, ranks = None, world()[1]
        return {
            "train_loss": float(summed(begun["loss"])) / (ranks * begun["batches"]),
            "train_accuracy": 100 * int(summed(begun["correct"])) / (ranks * begun["seen"]),
        }

    def accuracy(self, split) -> float:
        """Return the accuracy in percent on ``split``, of which each rank sees a share."""
        return accuracy(self.trainer.model, split, self.config.time_steps, autocast=self.trainer.autocast)

    def _parts(self):
        """What has a state_dict, by name."""
        parts = {"model": self.trainer.model}
        parts |= {f"optimizer {i}": part for i, part in enumerate(self.trainer.optimizers)}
        parts |= {f"scheduler {i}": part for i, part in enumerate(self.trainer.schedulers)}
        parts |= {"noise": self.trainer.model.noise} if self.config.exact else {}
        return parts | ({"recorder": self.recorder} if self.recorder else {})

    def checkpoint(self, folder, epoch):
        """Store the state after ``epoch``, or within the next one; it is the same on every rank but for the sums.

        All of it is compared. Of a weight that flipped on one rank, and that training has flipped back, only the record
        of flips tells, and not where the next update did so: gradients are averaged, so that the momenta stay alike.
        """
        self.trainer.raise_if_refused()
        now = time.perf_counter()
        self.seconds += now - self._since
        check_alike([part.state_dict() for part in self._parts().values()], self.where())
        sums = self.begun and gathered((self.begun["loss"].cpu(), self.begun["correct"].cpu()))
        if writes():
            state = {name: part.state_dict() for name, part in self._parts().items()}
            state |= {"generators": generator_states(self.generator), "history": self.history, "seconds": self.seconds}
            state["snapshots"] = self.snapshots
            state["begun"] = self.begun and {name: self.begun[name] for name in _OF_ALL} | {"sums": sums}
            save_checkpoint(folder / checkpoint_name(epoch, self.begun["batches"] if self.begun else 0), state)
            for old in _checkpoints(folder)[:-2]:  # one spare, should the last be damaged
                old.unlink()
        self._since = time.perf_counter()

    def resume(self, folder):
        """Load the last good checkpoint, if there is one, into everything; rank 0 reads it for all."""
        state = agreed(self._last_state(folder) if writes() else None)
        if state is None:
            return
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        restore_generators(state["generators"], self.generator)
        self.history, self.seconds, self.begun = state["history"], state["seconds"], state["begun"]
        self.snapshots = state["snapshots"]
        if self.begun:
            self._share_sums(self.begun.pop("sums"))

    def _share_sums(self, sums):
        """Take up this rank's sums; of other ranks than there are now, rank 0 takes what they come to."""
        rank, ranks = world()
        if len(sums) == ranks:
            loss, correct = sums[rank]
        else:  # a loss is the mean over a rank's share
            mine = rank == 0
            loss = mine * ranks * sum(loss for loss, _ in sums) / len(sums)
            correct = mine * sum(correct for _, correct in sums)
            self.begun["seen"] = self.begun["seen"] * len(sums) // ranks
        self.begun |= {"loss": loss.to(self.device), "correct": correct.to(self.device)}

    @staticmethod
    def _last_state(folder):
        for path in reversed(_checkpoints(folder)):
            try:
                return load_checkpoint(path)
            except DamagedCheckpoint as error:
                warnings.warn(f"{error}; falling back to the one before", stacklevel=5)
                path.unlink()
        return None

    def where(self) -> str:
        """Return how far the run is, in words."""
        done = f"after epoch {len(self.history)}"
        if self.begun:
            done = f"in epoch {len(self.history) + 1}, after batch {self.begun['batches']} of {self.batches}"
        return f"{done} ({self.config.epochs} epochs in all)"

    def snapshot(self, folder, epoch):
        """Keep the weights after ``epoch``, if the config asks for it."""
        every = self.config.snapshot_every
        if writes() and every and epoch % every == 0:
            content = _safetensors(self.trainer.weights())
            write_atomically(folder / snapshot_name(epoch), content)
            self.snapshots[snapshot_name(epoch)] = hashlib.sha256(content).hexdigest()

    def outcome(self) -> tuple[dict, dict[str, bytes]]:
        """Return what is to be stored of the finished run: a JSON-ready dict, and files by name."""
        provenance = {
            "device": device_name(self.device),
            "machine": digits_depend_on(self.device),
            "processes": world()[1],
            "torch": torch.__version__,
            "python": platform.python_version(),
            "seconds": round(self.seconds, 2),
            "num_classes": self.shape[0],
            "in_channels": self.shape[1],
        }
        flips = self.recorder.result().to_dict() if self.recorder else None
        stored = {"config": asdict(self.config), "history": self.history, "provenance": provenance, "flips": flips}
        stored["snapshots"] = self.snapshots
        files = {WEIGHTS_FILE: self.trainer.weights(), MOMENTUM_FILE: self.trainer.momentum()}
        return stored, {name: _safetensors(tensors) for name, tensors in files.items()}


def _safetensors(tensors):
    return save({name: value.cpu().contiguous() for name, value in tensors.items()})
