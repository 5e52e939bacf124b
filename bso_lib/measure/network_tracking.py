"""How badly momentum predicts the next gradient while a network trains: the last term of theorem A (notebook 08).

R(K) <= <g_1, W_1 - W*> + 2 d sum gamma_k + 2 sum |g_k - M_{k-1}|_1 is proven for convex losses. A network's are not;
what can be looked at is where, by layer and epoch, the momentum is a bad forecast.
"""

import pandas as pd
import torch
from torch.optim.lr_scheduler import LambdaLR

from bso_lib.experiment.build import Trainer, build_model
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.run import load_splits, load_start
from bso_lib.training import evaluate


def network_tracking(config: RunConfig, flipper=None, root=None) -> pd.DataFrame:
    """Train as ``run(config)`` does; return a row per epoch and binary layer. Nothing is cached.

    ``tracking``   sum over the epoch's updates of |g_k - M_{k-1}|_1, by the sum of |g_k|_1: 0 for a perfect forecast, 1
                   for that of a momentum that stays 0
    ``cosine``     mean over the updates of the cosine between g_k and M_{k-1}: the direction, whatever the size
    ``flips``      share of the layer's weights that flip at an update
    ``accuracy``   of the network after the epoch, in percent, on what the config is evaluated on

    ``flipper``: a function of the list of binary weights that returns the optimizer to take in place of the config's.
    Raises ValueError for a config without BSO or T-BSO, or whose weights are packed.
    """
    if config.method not in ("bso", "t-bso") or config.packed != "no":
        raise ValueError(f"method={config.method!r}, packed={config.packed!r}: must be bso or t-bso, not packed")
    device = config.resolved_device()
    start = load_start(config, root)
    train, test = (split.to(device) for split in load_splits(config, root))
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        torch.manual_seed(config.seed)
        model = build_model(config, train.num_classes, train.channels).to(device)
        trainer = Trainer(config, model, train.number_of_batches(config.batch_size), start)
        if flipper is not None:
            _replace(trainer, flipper)
        recorder = _Recorder(trainer)
        generator = torch.Generator(device).manual_seed(config.seed)
        tables = []
        for epoch in range(1, config.epochs + 1):
            trainer.model.train()
            for images, labels in train.batches(config.batch_size, generator, config.augment):
                trainer.step(images, labels)
            accuracy = evaluate(trainer.model, test, config.time_steps, autocast=trainer.autocast)
            tables.append(recorder.end_epoch().assign(epoch=epoch, accuracy=accuracy))
    return pd.concat(tables, ignore_index=True)


def _replace(trainer, flipper):
    """Put what ``flipper`` makes in the place of the trainer's last optimizer, on the same schedule."""
    old = trainer.optimizers[-1]
    trainer.optimizers[-1] = flipper([p for group in old.param_groups for p in group["params"]])
    trainer.schedulers[-1] = LambdaLR(trainer.optimizers[-1], trainer.schedulers[-1].lr_lambdas)


class _Recorder:
    """Looks at gradient, momentum and weights before and after each step of the trainer's last optimizer."""

    def __init__(self, trainer):
        optimizer = trainer.optimizers[-1]
        flipping = {id(p) for group in optimizer.param_groups for p in group["params"]}
        self.layers = {n: p for n, p in trainer.model.named_parameters() if id(p) in flipping}
        self._restart()
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    def _restart(self):
        self.missed, self.sizes, self.cosines, self.flipped = (dict.fromkeys(self.layers, 0.0) for _ in range(4))
        self.updates = 0

    def _before(self, optimizer, args, kwargs):
        self.old = {name: p.detach().clone() for name, p in self.layers.items()}
        for name, p in self.layers.items():
            g = p.grad.double()  # squares of 1e-8 and less
            momentum = optimizer.state[p].get("momentum", torch.zeros_like(p)).double()
            self.missed[name] += (g - momentum).abs().sum()
            self.sizes[name] += g.abs().sum()
            self.cosines[name] += (g * momentum).sum() / (g.norm() * momentum.norm()).clamp_min(1e-300)

    def _after(self, optimizer, args, kwargs):
        self.updates += 1
        for name, p in self.layers.items():
            self.flipped[name] += (p.detach() != self.old[name]).sum()

    def end_epoch(self):
        rows = [
            {
                "layer": name,
                "tracking": float(self.missed[name] / self.sizes[name]),
                "cosine": float(self.cosines[name]) / self.updates,
                "flips": float(self.flipped[name]) / (self.updates * p.numel()),
            }
            for name, p in self.layers.items()
        ]
        self._restart()
        return pd.DataFrame(rows)
