"""Look inside while it runs: a neuron, a weight, a network's flips, each recorded as a table."""

import pandas as pd
import torch

from bso_lib.optim import BSO
from bso_lib.training import train_batch


@torch.no_grad()
def record_neuron(lif, currents) -> pd.DataFrame:
    """Feed ``currents`` (T,) to one LIF neuron; return a row per t: current, potential u[t], spike s[t], trace a[t].

    The trace is the OTTT one, a[t] = decay a[t-1] + s[t] (Eq. 7).
    """
    lif.reset_state()
    rows, trace = [], 0.0
    for t, current in enumerate(currents):
        spike = float(lif(torch.as_tensor(current, dtype=torch.float32)).values)
        trace = lif.decay * trace + spike
        potential = float(lif.membrane) + lif.threshold * spike  # membrane is kept after the reset
        rows.append({"t": t, "current": float(current), "potential": potential, "spike": spike, "trace": trace})
    lif.reset_state()
    return pd.DataFrame(rows)


def record_weight(gradients, gamma: float, beta: float, weight: float = 1.0) -> pd.DataFrame:
    """Give BSO one weight and ``gradients`` (K,); return a row per step: gradient, momentum M, w * M, weight, flipped.

    ``w * M`` is taken before the flip, so ``flipped`` is where it exceeds ``gamma`` (Eq. 12).
    """
    w = torch.nn.Parameter(torch.tensor([weight]))
    optimizer = BSO([w], gamma=gamma, beta=beta)
    rows = []
    for step, gradient in enumerate(gradients):
        before = w.item()
        w.grad = torch.as_tensor([gradient], dtype=torch.float32)
        optimizer.step()
        momentum = optimizer.state[w]["momentum"].item()
        rows.append(
            {"step": step, "gradient": float(gradient), "momentum": momentum, "agreement": before * momentum,
             "weight": w.item(), "flipped": w.item() != before}
        )  # fmt: skip
    return pd.DataFrame(rows)


def record_training(model, split, binary, optimizers, time_steps, steps, batch_size=128, seed=0) -> pd.DataFrame:
    """Train ``model`` online for ``steps`` batches of ``split``; return a row per batch: loss, accuracy, flipped.

    ``accuracy``: percent, on the batch it was trained on. ``flipped``: percent of the weights in ``binary`` whose sign
    after the batch differs from before.
    """
    generator = torch.Generator(split.images.device).manual_seed(seed)
    total = sum(p.numel() for p in binary)
    rows = []
    model.train()
    while len(rows) < steps:
        for images, labels in split.batches(batch_size, generator):
            before = [p.detach().clone() for p in binary]
            loss, logits = train_batch(model, images, labels, optimizers, time_steps)
            flips = sum(int((p != b).sum()) for p, b in zip(binary, before, strict=True))
            accuracy = 100 * float((logits.argmax(1) == labels).float().mean())
            rows.append({"step": len(rows), "loss": float(loss), "accuracy": accuracy, "flipped": 100 * flips / total})
            if len(rows) == steps:
                break
    return pd.DataFrame(rows)
