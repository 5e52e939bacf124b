"""A run of ``bso_lib.experiments`` on packed layers: the same seeds, batches and schedules, one bit for each weight.

With float32 momentum its history is the plain run's to the bit; with bfloat16 momentum the question is what it costs.
"""

from dataclasses import replace

import pandas as pd
import torch
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from bso_lib.config import RunConfig
from bso_lib.experiments import load_splits
from bso_lib.job import Job, build_optimizers
from bso_lib.optim import BSO, TBSO
from bso_lib.packed.layers import pack
from bso_lib.packed.optim import PackedBSO, PackedTBSO
from bso_lib.training import evaluate


def packed_training(config: RunConfig, model, batches: int, momentum_dtype=torch.float32):
    """Return (packed model, optimizers, schedulers) of ``config`` for a plain ``model``, as ``build_optimizers`` does.

    Raises ValueError unless ``config`` trains BSO or T-BSO online, without the published code's switches.
    """
    plain, schedules = build_optimizers(config, model, batches)
    kinds = {BSO: PackedBSO, TBSO: PackedTBSO}
    if config.training != "online" or type(plain[-1]) not in kinds:
        raise ValueError(
            f"method={config.method!r}, training={config.training!r}: packed layers train by 'bso' or 't-bso', "
            "'online', with the paper's start, eps and sign of zero"
        )
    packed = pack(model)
    (sgd,), real_schedules = build_optimizers(config, packed, batches)  # of the real-valued parameters: no others exist
    settings = {name: value for name, value in plain[-1].defaults.items() if name not in ("lr", "differentiable")}
    steps = (config.time_steps,) if config.method == "t-bso" else ()
    flipping = kinds[type(plain[-1])](packed, *steps, **settings, momentum_dtype=momentum_dtype, seed=config.seed)
    return packed, [sgd, flipping], [*real_schedules, LambdaLR(flipping, schedules[-1].lr_lambdas)]


class PackedJob(Job):
    """A :class:`bso_lib.job.Job` whose network is packed; it records no flips."""

    def __init__(self, config, train, device, momentum_dtype=torch.float32):
        super().__init__(replace(config, record_flips=False), train, device)
        self.model, self.optimizers, self.schedulers = packed_training(config, self.model, self.batches, momentum_dtype)
        self.network = self.model


def packed_run(config: RunConfig, momentum_dtype=torch.float32, root=None, progress: bool = True) -> pd.DataFrame:
    """Return the history (epoch, train_loss, train_accuracy, accuracy in percent) of ``config`` on packed layers.

    Neither cached nor resumed. Raises as :func:`packed_training` and :func:`bso_lib.experiments.load_splits`, and
    ValueError for a second phase.
    """
    if config.start_from is not None:
        raise ValueError("a packed run has one phase: start_from must be None")
    device = config.resolved_device()
    train, test = (split.to(device) for split in load_splits(config, root))
    autocast = torch.bfloat16 if config.precision == "bfloat16" else None
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        torch.manual_seed(config.seed)
        job = PackedJob(config, train, device, momentum_dtype)
        for epoch in (bar := tqdm(range(1, config.epochs + 1), leave=False, unit="epoch", disable=not progress)):
            row = job.train_epoch(train, autocast, bar)
            accuracy = evaluate(job.model, test, config.time_steps, autocast=autocast)
            job.history.append({"epoch": epoch, **row, "accuracy": accuracy})
    return pd.DataFrame(job.history)
