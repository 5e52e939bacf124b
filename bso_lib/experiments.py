"""``run(RunConfig(...))``: one training run, seeded, cached and resumable. What the notebooks call.

A run's folder under build/runs is named by the hash of its configuration, device, torch version and of the bso_lib
sources that compute it, so that a stale result is never served: change the code and it is computed again.
"""

import hashlib
import json
import math
import platform
import time
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import filelock
import pandas as pd
import torch
from safetensors.torch import load_file, save
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from bso_lib.checkpoint import (
    DamagedCheckpoint,
    generator_states,
    load_checkpoint,
    restore_generators,
    save_checkpoint,
)
from bso_lib.config import WEIGHTS, RunConfig
from bso_lib.data import load_dataset
from bso_lib.fingerprint import source_fingerprint
from bso_lib.layers import LatentConv2d
from bso_lib.models import split_parameters, vgg11
from bso_lib.optim import BSO, TBSO, constant, cosine, inverse_sqrt, stepwise
from bso_lib.paths import runs_folder, write_atomically
from bso_lib.training import evaluate, train_batch

__all__ = ["RunConfig", "RunResult", "build_model", "build_optimizers", "load_splits", "run", "run_key"]

# Taken at import: what a long-lived kernel computes belongs to the code it has loaded, not to a file edited since.
_CODE = source_fingerprint()


@dataclass(frozen=True)
class RunResult:
    """A finished run: ``config``, ``history`` (a row per epoch), final ``accuracy`` (percent), ``provenance``."""

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
        shape = (self.provenance["num_classes"], self.provenance["in_channels"])
        model = build_model(self.config, *shape)
        model.load_state_dict(load_file(self.folder / "weights.safetensors"))
        return model.eval()


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


def run_key(config: RunConfig) -> str:
    """Return the name of the run's folder: readable head, then the hash of all that decides the result."""
    device = config.resolved_device()
    content = json.dumps(
        {"config": asdict(replace(config, device=device)), "torch": torch.__version__, "code": _CODE},
        sort_keys=True,
    )
    return f"{config.method}-{config.training}-{config.dataset}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def run(config: RunConfig, root=None, progress: bool = True) -> RunResult:
    """Return the result of ``config``: from the cache, or resumed from its last checkpoint, or computed.

    ``root``: where data sets lie (see ``bso_lib.data.data_root``). Two processes that ask for the same run do it once:
    the second waits. Raises DatasetMissing without data, ArithmeticError if training diverges.
    """
    folder = runs_folder() / run_key(config)
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "lock")  # the system frees it when its holder dies
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        tqdm.write(f"another process computes {folder.name}: waiting for its result")
        lock.acquire()
    try:
        return _finished(config, folder) or _train(config, folder, root, progress)
    finally:
        lock.release()


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
        shape = (train.num_classes, train.images.shape[-3])
        model = build_model(config, *shape).to(device)
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
    return _finish(config, folder, model, history, seconds, device, shape)


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
            "model": model.state_dict(),
            "optimizers": [part.state_dict() for part in optimizers],
            "schedulers": [part.state_dict() for part in schedulers],
            "generators": generator_states(generator),
            "history": history,
            "seconds": seconds,
        },
    )
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


def _finish(config, folder, model, history, seconds, device, shape):
    weights = save({name: value.cpu().contiguous() for name, value in model.state_dict().items()})
    provenance = {
        "device": torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seconds": round(seconds, 2),
        "num_classes": shape[0],
        "in_channels": shape[1],
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
