"""Whether runs are the paper's own: every setting that the paper fixes (Tables 6, 7, Sec. 5, App. B) is compared."""

import math
from collections.abc import Collection

from bso_lib.companion.paper import published
from bso_lib.experiment.config import SWITCHES, WEIGHTS, RunConfig

PAPER_SETS = {
    "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet", "dvs-cifar10": "DVS-CIFAR10",
    "speech-commands": "GSC",
}  # fmt: skip
_AUGMENT = {"cifar10": ("crop", "flip", "cutout"), "cifar100": ("crop", "flip", "cutout"), "dvs-cifar10": ("crop",),
            "imagenet": ("crop", "flip")}  # fmt: skip
_TEXT = {"schedule": "constant", "real_schedule": "cosine", "training": "online", "mse_weight": 0.0, **SWITCHES}


def departures(config: RunConfig, free: Collection[str] = ()) -> tuple[str, ...]:
    """Return the fields in which ``config`` departs from the paper's settings, ``free`` ones left out; () for none.

    Of every run: data set, all of its images, test images, width, network, time steps, epochs (not fewer), batch,
    augmentation, float32. Of BSO and T-BSO also what Tables 6 and 7 and the text fix: gamma, both betas, the SGD of the
    real-valued parameters, no schedule, an update at every step, the loss, the start on the grid; on ImageNet both
    phases. What the paper does not say (BatchNorm statistics, momentum of SGD, eps, the batch and epochs on Google
    Speech Commands, for which 400 are asked) is not compared.
    """
    return tuple(name for name, alike in _compared(config, False) if not alike and name not in free)


def _compared(config, first_phase):
    yield "dataset", config.dataset in PAPER_SETS
    if config.dataset not in PAPER_SETS:
        return
    name = PAPER_SETS[config.dataset]
    table = published("hyperparameters")
    phase = ("pre-train" if first_phase else "fine-tune") if name == "ImageNet" else "train"
    tuned = table[(table["dataset"] == name) & (table["phase"] == phase)]
    epochs, batch = tuned["epochs"].max(), tuned["batch_size"].max()
    yield "train_size", config.train_size is None
    yield "evaluate_on", config.evaluate_on == "test"
    yield "width", config.width == 1
    yield "model", config.model == ("resnet18" if name == "ImageNet" else "vgg11")
    yield "time_steps", config.time_steps in ({1} if first_phase else _time_steps(name))
    yield "epochs", config.epochs >= (400 if math.isnan(epochs) else epochs)
    yield "batch_size", math.isnan(batch) or config.batch_size == batch
    yield "augment", set(config.augment) == set(_AUGMENT.get(config.dataset, ()))
    yield "precision", config.precision == "float32" and config.packed != "bfloat16"
    if WEIGHTS[config.method] != "binary":
        return
    own = tuned[tuned["method"] == ("BSO" if config.method == "bso" else "T-BSO")]
    yield "method", len(own) == 1
    for field, value in _TEXT.items():
        yield field, getattr(config, field) == value
    yield "trace", config.trace in ("ottt", "ndot")
    for row in own.itertuples():
        for field, ours, theirs in (
            ("gamma", config.gamma, row.gamma), ("lr", config.lr, row.lr),
            ("beta1", 1 - config.beta1, row.one_minus_beta1), ("beta2", 1 - config.beta2, row.one_minus_beta2),
        ):  # fmt: skip
            yield field, math.isnan(theirs) or math.isclose(ours, theirs, rel_tol=1e-6)
    if name == "ImageNet" and not first_phase:
        before = config.start_from
        yield "start_from", before is not None and all(alike for _, alike in _compared(before, True))


def _time_steps(name):
    if name == "GSC":
        return {4}
    table = published("table2")
    steps = set(table[(table["dataset"] == name) & table["method"].isin(["BSO", "T-BSO"])]["time_steps"])
    return steps | (set(published("figure5")["time_steps"]) if name == "CIFAR-100" else set())
