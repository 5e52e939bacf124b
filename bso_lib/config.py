"""RunConfig: everything that decides a run's result, checked when built."""

import math
from dataclasses import dataclass

import torch

from bso_lib.data import DATASETS
from bso_lib.data.images import AUGMENTATIONS
from bso_lib.models import BATCH_NORMS
from bso_lib.neurons import TRACES
from bso_lib.training import TRAININGS

WEIGHTS = {"fp": "real", "ste": "latent", "bso": "binary", "t-bso": "binary"}
SCHEDULES = ("constant", "inverse-sqrt", "stepwise", "cosine")
PRECISIONS = ("float32", "bfloat16")
EVALUATIONS = ("test", "validation")


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result. Wrong values raise one line that names field, value and what is allowed.

    method          "fp" real weights, "ste" latent weights, "bso", "t-bso"
    training        "online" update at every t (Eq. 9), "accumulated" once per batch (Eq. 10), "bptt"
    trace           "ottt", "ndot", "none"; without meaning under "bptt"
    dataset, train_size   name of the set; first train_size images, class-balanced (None: all)
    evaluate_on     "test", or "validation": the last tenth of the training images, which are then not trained on
    augment         any of "crop", "flip", "cutout"
    width, batch_norm, time_steps   see ``bso_lib.models.vgg11``
    lr, momentum    SGD of the real-valued parameters; cosine to 0 over the run, step by step
    latent_lr       "ste" only: SGD of the latent weights, same momentum and cosine
    gamma, beta1, beta2   BSO (beta = beta1) and T-BSO
    schedule        factor on gamma and 1 - beta1: "constant", "cosine" (to 0 over the run), "inverse-sqrt" (of the
                    number of batches), "stepwise" (0.1 every step_epochs epochs, as the published code)
    precision       "float32", or "bfloat16" for autocast
    device          "auto" (CUDA when present), "cpu" or "cuda"
    """

    method: str = "t-bso"
    training: str = "online"
    trace: str = "ottt"
    dataset: str = "fashion-mini"
    train_size: int | None = None
    evaluate_on: str = "test"
    augment: tuple[str, ...] = ()
    width: float = 1.0
    batch_norm: str = "shared"
    time_steps: int = 2
    epochs: int = 400
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.0
    latent_lr: float = 0.1
    gamma: float = 5e-7
    beta1: float = 0.999
    beta2: float = 0.99999
    schedule: str = "constant"
    step_epochs: int = 50
    precision: str = "float32"
    seed: int = 0
    device: str = "auto"

    def __post_init__(self):
        object.__setattr__(self, "augment", tuple(self.augment))
        for name, allowed in {
            "method": tuple(WEIGHTS), "training": TRAININGS, "trace": TRACES, "dataset": DATASETS,
            "evaluate_on": EVALUATIONS, "batch_norm": BATCH_NORMS, "schedule": SCHEDULES, "precision": PRECISIONS,
            "device": ("auto", "cpu", "cuda"),
        }.items():  # fmt: skip
            self._require(name, getattr(self, name) in allowed, f"must be one of {', '.join(allowed)}")
        for name in self.augment:
            self._require("augment", name in AUGMENTATIONS, f"must be any of {', '.join(AUGMENTATIONS)}")
        whole = ["time_steps", "epochs", "batch_size", "step_epochs"]
        for name in whole if self.train_size is None else [*whole, "train_size"]:
            value = getattr(self, name)
            ok = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            self._require(name, ok, "must be a whole number, at least 1")
        ok = isinstance(self.seed, int) and not isinstance(self.seed, bool) and self.seed >= 0
        self._require("seed", ok, "must be a whole number, at least 0")
        for name in ("lr", "latent_lr", "gamma"):
            self._require(name, self._number(name) >= 0, "must be a finite number, at least 0")
        for name in ("momentum", "beta1", "beta2"):
            self._require(name, 0 <= self._number(name) < 1, "must be in [0, 1)")
        self._require("width", 1 / 64 <= self._number("width") <= 1, "must be from 1/64 to 1")

    def _number(self, name):
        value = getattr(self, name)
        ok = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return value if ok else math.nan  # no comparison with nan holds

    def _require(self, name, ok, allowed):
        if not ok:
            raise ValueError(f"RunConfig.{name}={getattr(self, name)!r}: {allowed}")

    @property
    def paper_scale(self) -> bool:
        """Whether this is the paper's own scale: full width, its data sets, 400 epochs on all images (Table 6)."""
        whole = self.train_size is None and self.evaluate_on == "test"
        return whole and self.width == 1 and self.epochs >= 400 and self.dataset in ("cifar10", "cifar100")

    def conditions(self) -> str:
        """Return data set and scale in a few words, for the ledger; seeds and device stand beside it."""
        size = "" if self.train_size is None else f" ({self.train_size} images)"
        steps, epochs = f"T = {self.time_steps}", f"{self.epochs} epoch{'s' * (self.epochs > 1)}"
        norm = f"{self.batch_norm} BatchNorm statistics"
        return f"{self.dataset}{size}, VGG-11 at width {self.width:g}, {steps}, {epochs}, {norm}"

    def resolved_device(self) -> str:
        """Return "cuda" or "cpu"; raises ValueError if CUDA is asked for and absent."""
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        self._require(
            "device", self.device == "cpu" or torch.cuda.is_available(), "no CUDA device; use 'auto' or 'cpu'"
        )
        return self.device
