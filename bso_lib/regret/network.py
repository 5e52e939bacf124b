"""The regret's empirical counterpart on a network in training: its online losses against those of the final network.

Evidence, not proof: a network's loss is not convex, its real-valued parameters learn as well, and the final network is
not the best fixed one, so this is at most the regret against the best.
"""

import pandas as pd
import torch
import torch.nn.functional as F

from bso_lib.config import RunConfig
from bso_lib.experiments import build_model, build_optimizers, load_splits
from bso_lib.training import frame, train_batch


def network_regret(config: RunConfig, root=None) -> pd.DataFrame:
    """Train as ``run(config)`` does, then show the final network the very same batches.

    Returns a row per batch: ``round`` from 1, ``online`` loss of the network as it was when the batch came, ``final``
    loss of the trained network on it, ``regret``, the sum of their differences so far. Both losses are the training
    loss, cross entropy / T summed over t, with the batch's own BatchNorm statistics. Nothing is cached.
    """
    device = config.resolved_device()
    train = load_splits(config, root)[0].to(device)
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        torch.manual_seed(config.seed)
        model = build_model(config, train.num_classes, train.images.shape[-3]).to(device).train()
        optimizers, schedulers = build_optimizers(config, model, train.number_of_batches(config.batch_size))
        online = []
        for images, labels in _batches(config, train, device):
            loss, _ = train_batch(model, images, labels, optimizers, config.time_steps, config.training)
            for scheduler in schedulers:
                scheduler.step()
            online.append(float(loss))
        final = [_loss(model, images, labels, config.time_steps) for images, labels in _batches(config, train, device)]
    table = pd.DataFrame({"round": range(1, len(online) + 1), "online": online, "final": final})
    return table.assign(regret=(table["online"] - table["final"]).cumsum())


def _batches(config, train, device):
    generator = torch.Generator(device).manual_seed(config.seed)
    for _ in range(config.epochs):
        yield from train.batches(config.batch_size, generator, config.augment)


@torch.no_grad()
def _loss(model, images, labels, time_steps):
    model.reset_state()
    losses = [F.cross_entropy(model(frame(images, t)), labels) / time_steps for t in range(time_steps)]
    model.reset_state()
    return float(sum(losses))
