"""RunConfig: everything that decides a run's result, checked when built."""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from bso_lib.data import DATASETS, FACTS
from bso_lib.data.images import AUGMENTATIONS
from bso_lib.models import BATCH_NORMS, MODELS
from bso_lib.neurons import TRACES
from bso_lib.terminal.refusals import did_you_mean
from bso_lib.training import TRAININGS

WEIGHTS = {
    "fp": "real", "ste": "latent", "bso": "binary", "t-bso": "binary", "ste-adam": "latent", "bold": "binary",
}  # fmt: skip
SCHEDULES = ("constant", "inverse-sqrt", "stepwise", "cosine")
MODEL_NAMES = {"vgg11": "VGG-11", "resnet18": "ResNet-18"}
PRECISIONS = ("float32", "bfloat16")
ARITHMETICS = ("float32", "exact")
EVALUATIONS = ("test", "validation")
REAL_SCHEDULES = ("cosine", "constant")
STARTS = ("grid", "kaiming")
EPS_PLACES = ("inside", "outside")
SIGNS_OF_ZERO = ("keep", "zero")
START_MOMENTA = ("keep", "zero")
PACKED = ("no", "float32", "bfloat16")
SWITCHES = {"start": "grid", "eps_place": "inside", "sign_of_zero": "keep"}  # of T-BSO, as the paper has them
ALIKE_IN_PHASES = ("model", "width", "dataset", "evaluate_on", "batch_norm")  # must not change from one to the next
# What the published code does where the paper's text says otherwise or nothing (see notebook 13).
PUBLISHED_CODE = {
    "trace": "ndot-code",
    "batch_norm": "shared",
    "schedule": "stepwise",
    "real_schedule": "constant",
    "start": "kaiming",
    "eps": 1e-10,
    "eps_place": "outside",
    "sign_of_zero": "zero",
    "mse_weight": 0.05,
}


def require_fields(names: Iterable[str]):
    """Raise ValueError for the first of ``names`` that is no field of RunConfig, with the nearest one that is."""
    known = tuple(RunConfig.__dataclass_fields__)
    for name in names:
        if name not in known:
            raise ValueError(f"RunConfig has no field {name!r}; it has {', '.join(known)}{did_you_mean(name, known)}")


def _checks_names(cls):
    """Let ``cls`` say itself which of its keyword arguments is no field, in place of Python."""
    init = cls.__init__

    @functools.wraps(init)
    def named(self, *args, **settings):
        require_fields(settings)
        init(self, *args, **settings)

    cls.__init__ = named
    return cls


@_checks_names
@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result. Wrong values raise one line that names field, value and what is allowed.

    method          "fp" real weights, "ste" latent weights, "ste-adam" these by Adam, "bso", "t-bso", or "bold", the
                    rule of ``bso_lib.experiment.ancestors``
    training        "online" update at every t (Eq. 9), "accumulated" once per batch (Eq. 10), "bptt"
    trace           "ottt", "ndot", "none"; without meaning under "bptt"
    dataset, train_size   name of the set; first train_size images, class-balanced (None: all)
    evaluate_on     "test", or "validation": images held out from training, see ``bso_lib.data.load_validation``
    augment         any of "crop", "flip", "cutout"
    model           "vgg11" or "resnet18"; width, batch_norm, time_steps: see ``bso_lib.models.vgg11``; recordings of
                     events become time_steps frames
    start_from      RunConfig of the phase before, or None: start with its final weights and BatchNorm statistics. Its
                     time_steps must be 1 or the same
    start_momentum  with start_from, BSO and T-BSO: "keep" M as the phase before left it, or "zero" (see
                     ``bso_lib.experiment.build``). All else, v and the momentum of SGD, starts anew
    batch_size      samples of a batch, of all processes together
    lr, momentum    SGD of the real-valued parameters
    real_schedule   factor on lr: "cosine" to 0 over the run, step by step, or "constant" (what the published code does)
    latent_lr, ste_clip   SGD or Adam of the latent weights, or "bold"; whether Eq. 4 is cut to |w| <= 1
    latent_momentum, latent_decay   "ste" only: momentum (None: that of the others) and weight decay of SGD there
    gamma, beta1, beta2, eps   BSO (beta = beta1) and T-BSO
    schedule        factor on gamma and 1 - beta1, or on latent_lr: "constant", "cosine" (to 0 over the run),
                    "inverse-sqrt" (of the number of batches), "stepwise" (0.1 every step_epochs epochs, published code)
    start, eps_place, sign_of_zero   "t-bso" only: see ``bso_lib.experiment.published_code``; start "grid" or "kaiming"
    mse_weight      k of the published code's loss, see ``bso_lib.experiment.published_code.mixed_loss``
    precision       "float32", or "bfloat16" for autocast
    arithmetic      "float32", or "exact": every sum one of whole numbers, so that all digits are the same on every
                    machine, see ``bso_lib.exact``; precision "float32", not graphed
    packed          BSO and T-BSO online only: "no", or binary weights as bits with an M of "float32" (the same digits)
                    or "bfloat16" (rounded at random), see ``bso_lib.fast``; one process, no record_flips
    record_flips    keep which binary or latent weights flip and when, see ``bso_lib.experiment.flips``
    snapshot_every  keep the weights at the start and after every so many epochs; 0: only the last ones
    device          "auto" (CUDA when present), "cpu" or "cuda"
    graphed         replay each step as a CUDA graph, see ``bso_lib.fast``; CUDA only, one process, no record_flips

    PUBLISHED_CODE holds all of the published code's choices, for ``replace(config, **PUBLISHED_CODE)``.
    """

    method: str = "t-bso"
    training: str = "online"
    trace: str = "ottt"
    dataset: str = "fashion-mini"
    train_size: int | None = None
    evaluate_on: str = "test"
    augment: tuple[str, ...] = ()
    model: str = "vgg11"
    width: float = 1.0
    batch_norm: str = "shared"
    time_steps: int = 2
    epochs: int = 400
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.0
    real_schedule: str = "cosine"
    latent_lr: float = 0.1
    latent_momentum: float | None = None
    latent_decay: float = 0.0
    ste_clip: bool = True
    gamma: float = 5e-7
    beta1: float = 0.999
    beta2: float = 0.99999
    eps: float = 1e-20
    schedule: str = "constant"
    step_epochs: int = 50
    start: str = "grid"
    eps_place: str = "inside"
    sign_of_zero: str = "keep"
    mse_weight: float = 0.0
    precision: str = "float32"
    arithmetic: str = "float32"
    packed: str = "no"
    record_flips: bool = True
    snapshot_every: int = 0
    start_from: "RunConfig | None" = None
    start_momentum: str = "keep"
    seed: int = 0
    device: str = "auto"
    graphed: bool = False

    def __post_init__(self):
        parts = isinstance(self.augment, tuple | list)
        self._require("augment", parts, f"must be a tuple of any of {', '.join(AUGMENTATIONS)}, such as ('flip',)")
        object.__setattr__(self, "augment", tuple(self.augment))
        if isinstance(self.start_from, dict):  # as dataclasses.asdict and JSON have it
            object.__setattr__(self, "start_from", RunConfig(**self.start_from))
        for name, allowed in {
            "method": tuple(WEIGHTS), "training": TRAININGS, "trace": TRACES, "dataset": DATASETS,
            "evaluate_on": EVALUATIONS, "model": tuple(MODELS), "batch_norm": BATCH_NORMS, "schedule": SCHEDULES,
            "precision": PRECISIONS, "arithmetic": ARITHMETICS, "packed": PACKED,
            "device": ("auto", "cpu", "cuda"), "real_schedule": REAL_SCHEDULES, "start": STARTS,
            "eps_place": EPS_PLACES, "sign_of_zero": SIGNS_OF_ZERO, "start_momentum": START_MOMENTA,
        }.items():  # fmt: skip
            value = getattr(self, name)
            if value not in allowed:
                self._require(name, False, f"must be one of {', '.join(allowed)}{did_you_mean(value, allowed)}")
        for name in self.augment:
            if name not in AUGMENTATIONS:
                hint = did_you_mean(name, AUGMENTATIONS)
                self._require("augment", False, f"must be any of {', '.join(AUGMENTATIONS)}{hint}")
        whole = ["time_steps", "epochs", "batch_size", "step_epochs"]
        for name in whole if self.train_size is None else [*whole, "train_size"]:
            value = getattr(self, name)
            ok = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            self._require(name, ok, "must be a whole number, at least 1")
        most = FACTS[self.dataset].train_images
        few = self.train_size is None or self.train_size <= most
        self._require("train_size", few, f"must be at most {most}, the training images of {self.dataset}")
        for name in ("seed", "snapshot_every"):
            value = getattr(self, name)
            ok = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
            self._require(name, ok, "must be a whole number, at least 0 and below 2^63")
        for name in ("ste_clip", "record_flips", "graphed"):
            self._require(name, isinstance(getattr(self, name), bool), "must be True or False")
        for name in ("lr", "latent_lr", "latent_decay", "gamma", "eps"):
            self._require(name, self._number(name) >= 0, "must be a finite number, at least 0")
        for name in ("momentum", "beta1", "beta2", "mse_weight"):
            self._require(name, 0 <= self._number(name) < 1, "must be in [0, 1)")
        if self.latent_momentum is not None:
            self._require("latent_momentum", 0 <= self._number("latent_momentum") < 1, "must be None or in [0, 1)")
        for name, other in {"latent_momentum": None, "latent_decay": 0}.items():
            allowed = self.method == "ste" or getattr(self, name) == other
            self._require(
                name, allowed, f"must be {other!r} for method {self.method!r}: it is for SGD of latent weights"
            )
        for name, paper in SWITCHES.items():
            allowed = self.method == "t-bso" or getattr(self, name) == paper
            self._require(name, allowed, f"must be {paper!r} for method {self.method!r}: it is a switch of T-BSO")
        self._require("width", 1 / 64 <= self._number("width") <= 1, "must be from 1/64 to 1")
        self._check_start_from()
        self._check_packed()
        self._check_graphed()
        self._check_exact()
        self.resolved_device()

    def _check_start_from(self):
        before = self.start_from
        in_use = before is not None and WEIGHTS[self.method] == "binary"
        allowed = "must be 'keep' without start_from, or for a method without M"
        self._require("start_momentum", in_use or self.start_momentum == "keep", allowed)
        if before is None:
            return
        self._require("start_from", isinstance(before, RunConfig), "must be a RunConfig or None")
        pairs = [(name, getattr(before, name), getattr(self, name)) for name in ALIKE_IN_PHASES]
        pairs.append(("kind of weights", WEIGHTS[before.method], WEIGHTS[self.method]))
        for name, first, second in pairs:
            if first != second:
                raise ValueError(f"RunConfig.start_from: {name} is {first!r} there, {second!r} here: must be the same")
        if before.time_steps not in (1, self.time_steps):
            allowed = " or ".join(str(n) for n in sorted({1, self.time_steps}))
            raise ValueError(f"RunConfig.start_from: time_steps is {before.time_steps} there: must be {allowed}")
        if self.start != "grid":
            raise ValueError(f"RunConfig.start={self.start!r}: must be 'grid' with start_from, which gives the weights")

    def _check_packed(self):
        if self.packed == "no":
            return
        for name, needed in {"training": "online", "start_from": None, "record_flips": False, **SWITCHES}.items():
            self._require("packed", getattr(self, name) == needed, f"needs {name}={needed!r}")
        self._require("packed", self.method in ("bso", "t-bso"), "needs method 'bso' or 't-bso'")

    def _check_graphed(self):
        if not self.graphed:
            return
        self._require("graphed", self.device != "cpu", "must be False with device='cpu'")
        self._require("graphed", self.method not in ("bold", "ste-adam"), f"must be False for method {self.method!r}")
        for name, needed in {"record_flips": False, "packed": "no", **SWITCHES}.items():
            self._require("graphed", getattr(self, name) == needed, f"needs {name}={needed!r}")

    def _check_exact(self):
        if self.exact:
            for name, needed in {"precision": "float32", "graphed": False, "start": "grid"}.items():
                self._require("arithmetic", getattr(self, name) == needed, f"needs {name}={needed!r}")

    @property
    def exact(self) -> bool:
        """Whether the run is computed in exact arithmetic."""
        return self.arithmetic == "exact"

    def _number(self, name):
        value = getattr(self, name)
        ok = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return value if ok else math.nan  # no comparison with nan holds

    def _require(self, name, ok, allowed):
        if not ok:
            raise ValueError(f"RunConfig.{name}={getattr(self, name)!r}: {allowed}")

    def conditions(self) -> str:
        """Return data set and scale in a few words, for the ledger; seeds and device stand beside it."""
        size = "" if self.train_size is None else f" ({self.train_size} images)"
        before, phases = self.start_from, ""
        while before:
            phases, before = f"{_training_in_words(before)}, then {phases}", before.start_from
        norm = f"{self.batch_norm} BatchNorm statistics"
        network = f"{MODEL_NAMES[self.model]} at width {self.width:g}"
        return f"{self.dataset}{size}, {network}, {phases}{_training_in_words(self)}, {norm}"

    def resolved_device(self) -> str:
        """Return "cuda" or "cpu"; raises ValueError if CUDA is asked for and absent."""
        present = torch.cuda.is_available()
        self._require("graphed", present or not self.graphed, "must be False without a CUDA device")
        if self.device == "auto":
            return "cuda" if present else "cpu"
        self._require("device", self.device == "cpu" or present, "no CUDA device; use 'auto' or 'cpu'")
        return self.device


def _training_in_words(config):
    return f"T = {config.time_steps}, {config.epochs} epoch{'s' * (config.epochs > 1)}"
