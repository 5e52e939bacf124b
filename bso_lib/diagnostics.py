"""Look inside while it runs: a neuron, a weight, a network's flips and gradients, each recorded as a table."""

import copy

import pandas as pd
import torch
import torch.nn.functional as F

from bso_lib.layers import TracedConv2d
from bso_lib.optim import BSO
from bso_lib.training import frame, train_batch


def record_neuron(lif, currents) -> pd.DataFrame:
    """Feed ``currents`` (T,) to one LIF neuron; return a row per t: current, potential u[t], spike s[t], trace a[t].

    Spikes and trace are those ``lif`` itself puts out (Eq. 2, 3, 7); it must be one with a trace.
    """
    lif.reset_state()
    rows = []
    for t, current in enumerate(currents):
        out = lif(torch.as_tensor(current, dtype=torch.float32))
        spike, trace = float(out.values), float(out.trace)
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


def gradients_over_time(model, images, labels, time_steps) -> dict[int, torch.Tensor]:
    """Return G[t] of each conv behind the first, by its number (2, 3, ...): (time_steps, weights), online, float32.

    One batch in training mode, no update between the steps (Eq. 10 without the sum); ``model`` itself is not touched.
    """
    model = copy.deepcopy(model).train()
    convs = [layer for layer in model.modules() if isinstance(layer, TracedConv2d)][1:]
    found = {number: [] for number in range(2, 2 + len(convs))}
    model.reset_state()
    for t in range(time_steps):
        model.zero_grad()
        (F.cross_entropy(model(frame(images, t)), labels) / time_steps).backward()
        for number, conv in zip(found, convs, strict=True):
            found[number].append(conv.weight.grad.flatten().clone())
    return {number: torch.stack(steps) for number, steps in found.items()}


def cosine_similarity_over_time(gradients: dict[int, torch.Tensor]) -> pd.DataFrame:
    """Return the cosine of G[t] and G[t'] (Fig. 3): a row per conv, t and t_prime, for :func:`gradients_over_time`."""
    rows = []
    for number, steps in gradients.items():
        directions = F.normalize(steps.double(), dim=1)
        for t, line in enumerate((directions @ directions.t()).tolist()):
            rows += [{"conv": number, "t": t, "t_prime": other, "cosine": value} for other, value in enumerate(line)]
    return pd.DataFrame(rows)


def second_moment_over_time(gradients: dict[int, torch.Tensor]) -> pd.DataFrame:
    """Return mean(G[t]^2), whose running mean is T-BSO's v[t]: a row per conv and t; ``relative`` to its t = 0."""
    rows = []
    for number, steps in gradients.items():
        moments = steps.double().square().mean(1)
        for t, moment in enumerate(moments.tolist()):
            relative = moment / float(moments[0])
            rows.append({"conv": number, "t": t, "second_moment": moment, "relative": relative})
    return pd.DataFrame(rows)
