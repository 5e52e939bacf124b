"""A run under way: an epoch of training, what is stored of it, and an exact resume."""

import platform
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
from bso_lib.experiment.ranks import accuracy, agreed, check_share, share, summed, world, writes

WEIGHTS_FILE, MOMENTUM_FILE = "weights.safetensors", "momentum.safetensors"


def snapshot_name(epoch: int) -> str:
    """Return the file name of the weights kept after ``epoch``."""
    return f"weights-{epoch:04d}.safetensors"


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
        self.history, self.seconds = [], 0.0

    def train_epoch(self, train, bar):
        """Train one epoch and return its row of the history; sums stay on the device until its end."""
        config = self.config
        self.trainer.model.train()
        loss_sum, correct, seen, batches = 0.0, 0, 0, 0
        for images, labels in train.batches(config.batch_size, self.generator, config.augment, share):
            loss, logits = self.trainer.step(images, labels)
            loss_sum, correct = loss_sum + loss, correct + (logits.argmax(1) == labels).sum()
            seen, batches = seen + len(labels), batches + 1
            bar.update()
        if self.recorder:
            self.recorder.end_epoch()
        self.trainer.raise_if_refused()
        ranks = world()[1]
        return {
            "train_loss": float(summed(loss_sum)) / (ranks * batches),
            "train_accuracy": 100 * int(summed(correct)) / (ranks * seen),
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
        """Store the state after ``epoch``, which is the same on every rank."""
        if not writes():
            return
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"generators": generator_states(self.generator), "history": self.history, "seconds": self.seconds}
        save_checkpoint(folder / f"checkpoint-{epoch:04d}.pt", state)
        for old in sorted(folder.glob("checkpoint-*.pt"))[:-2]:  # one spare, should the last be damaged
            old.unlink()

    def resume(self, folder):
        """Load the last good checkpoint, if there is one, into everything; rank 0 reads it for all."""
        state = agreed(self._last_state(folder) if writes() else None)
        if state is None:
            return
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        restore_generators(state["generators"], self.generator)
        self.history, self.seconds = state["history"], state["seconds"]

    @staticmethod
    def _last_state(folder):
        for path in sorted(folder.glob("checkpoint-*.pt"), reverse=True):
            try:
                return load_checkpoint(path)
            except DamagedCheckpoint as error:
                warnings.warn(f"{error}; falling back to the one before", stacklevel=5)
                path.unlink()
        return None

    def snapshot(self, folder, epoch):
        """Keep the weights after ``epoch``, if the config asks for it."""
        every = self.config.snapshot_every
        if writes() and every and epoch % every == 0:
            write_atomically(folder / snapshot_name(epoch), _safetensors(self.trainer.weights()))

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
        files = {WEIGHTS_FILE: self.trainer.weights(), MOMENTUM_FILE: self.trainer.momentum()}
        return stored, {name: _safetensors(tensors) for name, tensors in files.items()}


def _safetensors(tensors):
    return save({name: value.cpu().contiguous() for name, value in tensors.items()})
