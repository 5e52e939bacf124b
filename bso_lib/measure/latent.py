"""What a latent weight does, and what it does not: three comparisons with networks that keep one (Sec. 4.1, Fig. 1)."""

import copy
from dataclasses import replace

import pandas as pd
import torch

from bso_lib.experiment.build import build_model, build_optimizers, flipping_layers
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.result import RunResult
from bso_lib.measure.one_thread import one_thread
from bso_lib.training import train_batch


def flips_by_magnitude(result: RunResult, bins: int = 10) -> pd.DataFrame:
    """Return how many latent weights change sign from snapshot to snapshot, by their magnitude at the earlier one.

    A row per snapshot and bin: ``epoch``, of the later snapshot; ``magnitude``, the bin's centre as a percentile of
    |latent| within its conv; ``flipped``, the percent of its weights whose sign differs at the later snapshot.
    Raises ValueError for a run without snapshots.
    """
    every = result.config.snapshot_every
    if not every:
        raise ValueError("the run kept no snapshots: give its RunConfig snapshot_every=1")
    rows = []
    before = flipping_layers(result.load_model(0))
    for epoch in range(every, result.config.epochs + 1, every):
        after = flipping_layers(result.load_model(epoch))
        flipped, bins_of = [], []
        for number, latent in before.items():
            rank = latent.detach().abs().flatten().argsort().argsort()
            bins_of.append(rank * bins // len(rank))
            flipped.append(((latent >= 0) != (after[number] >= 0)).flatten())
        table = pd.DataFrame({"bin": torch.cat(bins_of).numpy(), "flipped": torch.cat(flipped).numpy()})
        for number, share in table.groupby("bin")["flipped"].mean().items():
            rows.append({"epoch": epoch, "magnitude": 100 * (number + 0.5) / bins, "flipped": 100 * share})
        before = after
    return pd.DataFrame(rows, columns=["epoch", "magnitude", "flipped"])


@one_thread()
def compare_scales(config: RunConfig, split, scales, batches: int, clip: bool = False) -> pd.DataFrame:
    """Train one network of latent weights at several scales of these weights and of their learning rate, side by side.

    ``config``: of method "ste"; ``split``: what to train on. Return a row per scale and batch: ``differing``, the
    percent of signs that differ from those at scale 1, and ``same_output``, whether all logits of the batch are equal
    to the bit.
    """
    config = replace(config, ste_clip=clip)
    torch.manual_seed(config.seed)
    first = build_model(config, split.num_classes, split.images.shape[1])
    rows, reference = [], []
    for scale in [1.0, *scales]:
        model = copy.deepcopy(first).train()
        latent = list(flipping_layers(model).values())
        ids = {id(p) for p in latent}
        for p in latent:
            p.data.mul_(scale)
        groups = [
            {"params": [p for p in model.parameters() if id(p) not in ids], "lr": config.lr},
            {"params": latent, "lr": config.latent_lr * scale},
        ]
        optimizer = torch.optim.SGD(groups, momentum=config.momentum)
        for batch, (images, labels) in enumerate(_batches(config, split, batches)):
            _, logits = train_batch(model, images, labels, [optimizer], config.time_steps, config.training)
            signs = torch.cat([(p.detach() >= 0).flatten() for p in latent])
            if scale == 1.0 and len(reference) < batches:
                reference.append((signs, logits))
                continue
            differing = 100 * float((signs != reference[batch][0]).float().mean())
            same = torch.equal(logits, reference[batch][1])
            rows.append({"scale": scale, "batch": batch + 1, "differing": differing, "same_output": same})
    return pd.DataFrame(rows)


@one_thread()
def compare_with_latent_sgd(config: RunConfig, split, batches: int) -> pd.DataFrame:
    """Train with BSO at gamma = 0 and with SGD on latent weights, weight decay 1, learning rate 1 - beta1; in float64.

    The latent network starts from the same signs at a magnitude of 2^-400, as M starts at 0. Return a row per batch:
    ``differing`` binary weights, ``same_output`` (all logits equal to the bit), ``distance``, the largest
    |M - (-latent)| relative to the largest |M|.
    """
    shape = (split.num_classes, split.images.shape[1])
    bso = replace(config, method="bso", gamma=0.0, momentum=0.0)
    ste = replace(bso, method="ste", ste_clip=False, latent_lr=1 - config.beta1, latent_decay=1.0)
    torch.manual_seed(config.seed)
    bso_net, latent_net = (build_model(each, *shape).double().train() for each in (bso, ste))
    latent_net.load_state_dict(bso_net.state_dict())
    binary, latent = (list(flipping_layers(net).values()) for net in (bso_net, latent_net))
    for p in latent:
        p.data.mul_(2.0**-400)
    bso_side, latent_side = (build_optimizers(*pair, batches)[0] for pair in ((bso, bso_net), (ste, latent_net)))
    flips = bso_side[-1]
    rows = []
    for batch, (images, labels) in enumerate(_batches(config, split, batches), 1):
        images = images.double()
        _, ours = train_batch(bso_net, images, labels, bso_side, config.time_steps)
        _, theirs = train_batch(latent_net, images, labels, latent_side, config.time_steps)
        differing = sum(int(((w > 0) != (p >= 0)).sum()) for w, p in zip(binary, latent, strict=True))
        momenta = [flips.state[w]["momentum"] for w in binary]
        apart = max(float((m + p.detach()).abs().max()) for m, p in zip(momenta, latent, strict=True))
        largest = max(float(m.abs().max()) for m in momenta)
        rows.append(
            {"batch": batch, "differing": differing, "same_output": torch.equal(ours, theirs),
             "distance": apart / largest}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _batches(config, split, count):
    """The first ``count`` shuffled batches of ``config``'s seed, over as many passes as it takes."""
    generator = torch.Generator().manual_seed(config.seed)
    while count > 0:
        for batch in split.batches(config.batch_size, generator):
            yield batch
            count -= 1
            if count == 0:
                return
