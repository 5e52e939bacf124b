"""The regret's empirical counterpart on a network in training: its online losses against those of the final network.

Evidence, not proof: a network's loss is not convex, its real-valued parameters learn as well, and the final network is
not the best fixed one, so this is at most the regret against the best.
"""

import pandas as pd
import torch

from bso_lib.experiment.build import Trainer, build_model
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.run import load_splits, load_start
from bso_lib.training import loss_at


def network_regret(config: RunConfig, root=None) -> pd.DataFrame:
    """Train as ``run(config)`` does, then show the final network the very same batches.

    Returns a row per batch: ``round`` from 1, ``online`` loss of the network as it was when the batch came, ``final``
    loss of the trained network on it, ``regret``, the sum of their differences so far. Both losses are the training
    loss, summed over t, with the batch's own BatchNorm statistics. Nothing is cached but the phase before, if there is
    one.
    """
    device = config.resolved_device()
    start = load_start(config, root)
    train = load_splits(config, root)[0].to(device)
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        torch.manual_seed(config.seed)
        model = build_model(config, train.num_classes, train.channels).to(device)
        trainer = Trainer(config, model, train.number_of_batches(config.batch_size), start)
        trainer.model.train()
        online = [float(trainer.step(images, labels)[0]) for images, labels in _batches(config, train, device)]
        final = [_loss(config, trainer, images, labels) for images, labels in _batches(config, train, device)]
    table = pd.DataFrame({"round": range(1, len(online) + 1), "online": online, "final": final})
    return table.assign(regret=(table["online"] - table["final"]).cumsum())


def _batches(config, train, device):
    generator = torch.Generator(device).manual_seed(config.seed)
    for _ in range(config.epochs):
        yield from train.batches(config.batch_size, generator, config.augment)


@torch.no_grad()
def _loss(config, trainer, images, labels):
    trainer.model.reset_state()
    losses = [
        loss_at(trainer.model, images, labels, t, config.time_steps, trainer.autocast, trainer.loss)[0]
        for t in range(config.time_steps)
    ]
    trainer.model.reset_state()
    return float(sum(losses))
