"""``run(RunConfig(...))``: one training run, seeded, cached and resumable. What the notebooks call.

A run's folder under build/runs is named by the hash of its configuration, device, torch version and of the bso_lib
sources that compute it, so that a stale result is never served: change the code and it is computed again.
"""

import ast
import hashlib
import json
import math
import os
import platform
import time
import warnings
from dataclasses import asdict, dataclass, fields, replace
from importlib import resources
from pathlib import Path

import filelock
import pandas as pd
import torch
from safetensors.torch import load_file, save
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm

from bso_lib.data import DATASETS, load_dataset
from bso_lib.data.images import AUGMENTATIONS
from bso_lib.layers import LatentConv2d
from bso_lib.models import BATCH_NORMS, split_parameters, vgg11
from bso_lib.neurons import TRACES
from bso_lib.optim import BSO, TBSO, constant, cosine, inverse_sqrt, stepwise
from bso_lib.training import (
    TRAININGS,
    DamagedCheckpoint,
    evaluate,
    generator_states,
    load_checkpoint,
    restore_generators,
    save_checkpoint,
    state_of,
    train_batch,
    write_atomically,
)

WEIGHTS = {"fp": "real", "ste": "latent", "bso": "binary", "t-bso": "binary"}
SCHEDULES = ("constant", "inverse-sqrt", "stepwise", "cosine")
PRECISIONS = ("float32", "bfloat16")
EVALUATIONS = ("test", "validation")
PACKAGE = resources.files("bso_lib")


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

    def resolved_device(self) -> str:
        """Return "cuda" or "cpu"; raises ValueError if CUDA is asked for and absent."""
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        self._require("device", self.device == "cpu" or torch.cuda.is_available(), "no CUDA device; use 'auto' or 'cpu'")
        return self.device


@dataclass(frozen=True)
class RunResult:
    """A finished run: its ``config``, ``history`` (one row per epoch), final ``accuracy`` (percent) and ``provenance``."""

    config: RunConfig
    history: pd.DataFrame
    provenance: dict
    folder: Path

    @property
    def accuracy(self) -> float:
        """Accuracy in percent after the last epoch (not the best one: that would select on the test set)."""
        return float(self.history["accuracy"].iloc[-1])

    def load_model(self):
        """Return the trained network, on the CPU, in evaluation mode."""
        model = build_model(self.config, *_shape(self.config, load_dataset(self.config.dataset)[0]))
        model.load_state_dict(load_file(self.folder / "weights.safetensors"))
        return model.eval()


def _shape(config, split):
    return split.num_classes, split.images.shape[-3]


def build_model(config: RunConfig, num_classes: int, in_channels: int):
    """Return the untrained network of ``config``."""
    return vgg11(
        num_classes, in_channels, config.width, WEIGHTS[config.method], config.trace, config.batch_norm,
        config.training != "bptt", config.time_steps,
    ).to(memory_format=torch.channels_last)  # fmt: skip


def build_optimizers(config: RunConfig, model, batches: int):
    """Return (optimizers, schedulers) of ``config``; ``batches`` per epoch, each scheduler steps once per batch."""
    binary, real = split_parameters(model)
    latent = [m.weight for m in model.modules() if isinstance(m, LatentConv2d)]
    ids = {id(p) for p in latent}
    groups = [{"params": [p for p in real if id(p) not in ids], "lr": config.lr}]
    if latent:
        groups.append({"params": latent, "lr": config.latent_lr})
    sgd = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    total = config.epochs * batches
    optimizers, schedulers = [sgd], [LambdaLR(sgd, cosine(total))]
    if binary:
        if config.method == "bso":
            flips = BSO(binary, config.gamma, config.beta1)
        else:
            # A gradient accumulated over t is one gradient, with one second moment.
            steps = config.time_steps if config.training == "online" else 1
            flips = TBSO(binary, steps, config.gamma, config.beta1, config.beta2)
        factor = {
            "constant": constant,
            "inverse-sqrt": inverse_sqrt,
            "stepwise": stepwise(config.step_epochs * batches),
            "cosine": cosine(total),
        }[config.schedule]
        optimizers.append(flips)
        schedulers.append(LambdaLR(flips, factor))
    return optimizers, schedulers


def load_splits(config: RunConfig, root=None):
    """Return the (train, evaluation) splits of ``config``."""
    train, test = load_dataset(config.dataset, root)
    if config.evaluate_on == "validation":
        per_class = int(torch.bincount(train.labels).min()) * 9 // 10
        train, test = train.first_per_class(per_class)
    if config.train_size is not None:
        train, _ = train.first_per_class(max(1, config.train_size // train.num_classes))
    return train, test


def _without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None
        if documented:
            node.body = node.body[1:]
    return ast.dump(tree)


def sources_of(module: str = "bso_lib.experiments", package: Path | None = None) -> dict[str, Path]:
    """Return the bso_lib modules that ``module`` imports, directly or not, itself included: name to file."""
    package = Path(str(package or PACKAGE))

    def locate(name):
        path = package.parent.joinpath(*name.split("."))
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.exists():
                return candidate
        return None

    found, queue = {}, [module]
    while queue:
        name = queue.pop()
        path = locate(name)
        if path is None or name in found:
            continue
        found[name] = path
        queue.append(name.rpartition(".")[0])
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "bso_lib":
                queue += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                queue += [alias.name for alias in node.names if alias.name.split(".")[0] == "bso_lib"]
        queue = [name for name in queue if name]
    return found


def source_fingerprint(package: Path | None = None) -> str:
    """Return the SHA-256 of the code that computes a run, comments and docstrings aside, and of the embedded data."""
    digest = hashlib.sha256()
    for name, path in sorted(sources_of(package=package).items()):
        digest.update(f"{name}\n{_without_docstrings(path.read_text())}\n".encode())
    for path in sorted(Path(str(package or PACKAGE)).joinpath("data").glob("*.npz")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def cache_root() -> Path:
    """Return where runs are kept: $BSO_CACHE, else build/runs of the checkout, else ~/.cache/bso-runs."""
    if os.environ.get("BSO_CACHE"):
        return Path(os.environ["BSO_CACHE"]).expanduser()
    checkout = Path(str(PACKAGE)).parent
    return checkout / "build" / "runs" if (checkout / "Makefile").exists() else Path.home() / ".cache" / "bso-runs"


def run_key(config: RunConfig) -> str:
    """Return the name of the run's folder: readable head, then the hash of all that decides the result."""
    device = config.resolved_device()
    content = json.dumps(
        {"config": asdict(replace(config, device=device)), "torch": torch.__version__, "code": source_fingerprint()},
        sort_keys=True,
    )
    return f"{config.method}-{config.training}-{config.dataset}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def run(config: RunConfig, root=None, progress: bool = True) -> RunResult:
    """Return the result of ``config``: from the cache, or resumed from its last checkpoint, or computed.

    ``root``: where data sets lie (see ``bso_lib.data.data_root``). Two processes that ask for the same run do it once:
    the second waits. Raises DatasetMissing without data, ArithmeticError if training diverges.
    """
    folder = cache_root() / run_key(config)
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / "lock"):
        result = _finished(config, folder)
        return result or _train(config, folder, root, progress)


def _finished(config, folder):
    path = folder / "result.json"
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text())
        if hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest() != stored["weights_sha256"]:
            raise ValueError("the weights do not match their checksum")
        return RunResult(config, pd.DataFrame(stored["history"]), stored["provenance"], folder)
    except (ValueError, KeyError, FileNotFoundError) as error:
        warnings.warn(f"{path} is damaged ({error}): the run is computed again", stacklevel=3)
        return None


def _train(config, folder, root, progress):
    device = config.resolved_device()
    train, test = (split.to(device) for split in load_splits(config, root))
    autocast = torch.bfloat16 if config.precision == "bfloat16" else None
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        torch.manual_seed(config.seed)
        generator = torch.Generator(device).manual_seed(config.seed)
        model = build_model(config, *_shape(config, train)).to(device)
        batches = train.number_of_batches(config.batch_size)
        optimizers, schedulers = build_optimizers(config, model, batches)
        history, seconds = _resume(folder, model, optimizers, schedulers, generator, device)
        bar = tqdm(
            total=config.epochs * batches, initial=len(history) * batches, unit="batch", leave=False,
            desc=f"{config.method} {config.training} T={config.time_steps} seed {config.seed}", disable=not progress,
        )  # fmt: skip
        for epoch in range(len(history), config.epochs):
            start = time.perf_counter()
            row = _train_epoch(config, model, train, optimizers, schedulers, generator, autocast, bar)
            if not math.isfinite(row["train_loss"]):
                raise ArithmeticError(f"training diverged in epoch {epoch + 1} (loss {row['train_loss']}): {config}")
            row["accuracy"] = evaluate(model, test, config.time_steps, autocast=autocast)
            history.append({"epoch": epoch + 1, **row})
            seconds += time.perf_counter() - start
            _checkpoint(folder, epoch + 1, model, optimizers, schedulers, generator, history, seconds)
        bar.close()
    return _finish(config, folder, model, history, seconds, device)


def _train_epoch(config, model, train, optimizers, schedulers, generator, autocast, bar):
    """Train one epoch; sums stay on the device until its end."""
    model.train()
    loss_sum, correct, seen, batches = 0.0, 0, 0, 0
    for images, labels in train.batches(config.batch_size, generator, config.augment):
        loss, logits = train_batch(model, images, labels, optimizers, config.time_steps, config.training, autocast)
        for scheduler in schedulers:
            scheduler.step()
        loss_sum, correct = loss_sum + loss, correct + (logits.argmax(1) == labels).sum()
        seen, batches = seen + len(labels), batches + 1
        bar.update()
    return {"train_loss": float(loss_sum) / batches, "train_accuracy": 100 * int(correct) / seen}


def _checkpoint(folder, epoch, model, optimizers, schedulers, generator, history, seconds):
    save_checkpoint(
        folder / f"checkpoint-{epoch:04d}.pt",
        {
            "model": model.state_dict(), "optimizers": state_of(optimizers), "schedulers": state_of(schedulers),
            "generators": generator_states(generator), "history": history, "seconds": seconds,
        },
    )  # fmt: skip
    for old in sorted(folder.glob("checkpoint-*.pt"))[:-2]:  # one spare, should the last be damaged
        old.unlink()


def _resume(folder, model, optimizers, schedulers, generator, device):
    """Load the last good checkpoint into everything; return (history, seconds), empty and 0 without one."""
    for path in sorted(folder.glob("checkpoint-*.pt"), reverse=True):
        try:
            state = load_checkpoint(path, device)
        except DamagedCheckpoint as error:
            warnings.warn(f"{error}; falling back to the one before", stacklevel=4)
            path.unlink()
            continue
        model.load_state_dict(state["model"])
        for part, content in zip([*optimizers, *schedulers], [*state["optimizers"], *state["schedulers"]], strict=True):
            part.load_state_dict(content)
        restore_generators(state["generators"], generator)
        return state["history"], state["seconds"]
    return [], 0.0


def _finish(config, folder, model, history, seconds, device):
    weights = save({name: value.cpu().contiguous() for name, value in model.state_dict().items()})
    provenance = {
        "device": torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seconds": round(seconds, 2),
    }
    write_atomically(folder / "weights.safetensors", weights)
    stored = {
        "config": asdict(config), "history": history, "provenance": provenance,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }  # fmt: skip
    write_atomically(folder / "result.json", json.dumps(stored, indent=1).encode())
    for checkpoint in folder.glob("checkpoint-*.pt"):
        checkpoint.unlink()
    return RunResult(config, pd.DataFrame(history), provenance, folder)


def field_names() -> tuple[str, ...]:
    """Return the names of RunConfig's fields, in order."""
    return tuple(field.name for field in fields(RunConfig))
