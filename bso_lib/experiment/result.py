"""What a finished run leaves: its history, flips, provenance, the checksum of its weights, and its network."""

import hashlib
import math
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bso_lib.experiment.build import build_model, flipping_layers
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.flips import FlipRecord
from bso_lib.experiment.job import MOMENTUM_FILE, WEIGHTS_FILE, snapshot_name
from bso_lib.experiment.sealed import tensors


@dataclass(frozen=True)
class RunResult:
    """A finished run: ``config``, ``history`` (a row per epoch), final ``accuracy`` (percent), ``provenance``.

    ``folder``: where its files lie; None for one read from the evidence.
    ``flips``: a :class:`bso_lib.experiment.flips.FlipRecord` by number of the conv, or None where nothing flips or none
    was kept.
    ``origin``: "computed" here (now, or before and cached), or "evidence", see :mod:`bso_lib.experiment.evidence`.
    """

    config: RunConfig
    history: pd.DataFrame
    provenance: dict
    folder: Path | None
    flips: FlipRecord | None = None
    origin: str = "computed"
    kept_checksum: str | None = None

    @property
    def accuracy(self) -> float:
        """Accuracy in percent after the last epoch (not the best one: that would select on the test set)."""
        return float(self.history["accuracy"].iloc[-1])

    @property
    def cpu_seconds(self) -> float:
        """Seconds that it took a CPU; infinite where a GPU computed it, which tells nothing of a CPU."""
        return math.inf if "gpu" in self.provenance["machine"] else self.provenance["seconds"]

    @property
    def checksum(self) -> str:
        """SHA-256 of all final weights, statistics and momenta, by name; of an exact run the same on every machine."""
        if self.folder is None:
            return self.kept_checksum
        digest = hashlib.sha256()
        for name in (WEIGHTS_FILE, MOMENTUM_FILE):
            for key, value in sorted(tensors(self.folder, name).items()):
                digest.update(key.encode() + value.numpy().tobytes())
        return digest.hexdigest()

    def load_model(self, epoch: int | None = None):
        """Return the trained network, or the one after ``epoch`` (0: before training), on the CPU, in evaluation mode.

        In plain layers; ``exact(model)`` of one trained in exact arithmetic answers to the bit as it was scored.
        Of a run read from the evidence it is the network kept there (:mod:`bso_lib.experiment.kept_networks`), with
        the signs of its latent weights unless there are snapshots; where none is, the run is computed, which is said on
        stderr. With BSO_KEEP_EVIDENCE=1 what was computed is kept.
        Raises ValueError for an epoch that ``RunConfig.snapshot_every`` did not keep, and for a damaged file.
        """
        epoch = None if epoch == self.config.epochs else epoch  # what a run ended with is kept once
        model = build_model(self.config, self.provenance["num_classes"], self.provenance["in_channels"])
        model.load_state_dict(self._weights(epoch, model))
        return model.eval()

    def _weights(self, epoch, model):
        # These modules know of results: they are imported when needed.
        from bso_lib.experiment.evidence import keeping
        from bso_lib.experiment.kept_networks import keep_network, kept_network

        if self.folder is None:
            kept = kept_network(self.config, epoch)
            return self._recomputed()._weights(epoch, model) if kept is None else kept
        path = self.folder / (WEIGHTS_FILE if epoch is None else snapshot_name(epoch))
        if not path.exists():
            raise ValueError(f"no weights of epoch {epoch!r}: the run has snapshot_every={self.config.snapshot_every}")
        weights = tensors(self.folder, path.name)
        if keeping():
            flipping = {id(w) for w in flipping_layers(model).values()}
            names = [name for name, p in model.named_parameters() if id(p) in flipping]
            keep_network(self.config, epoch, weights, signs_of=() if self.config.snapshot_every else names)
        return weights

    def _recomputed(self):
        from bso_lib.experiment.run import run

        seconds = self.provenance["seconds"]
        print(f"the evidence keeps no network of this run: it is computed, in about {seconds:.0f} s", file=sys.stderr)
        computed = run(self.config, recompute=True)
        if computed.checksum != self.checksum:
            warnings.warn("the network computed here is another than the evidence tells of", stacklevel=4)
        return computed
