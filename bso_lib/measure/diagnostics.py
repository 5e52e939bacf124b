"""Look inside while it runs: a neuron, a weight, a network's gradients and flips, each recorded as a table.

Every run keeps its flips (``bso_lib.experiment.flips``, in ``RunResult.flips``); the tables at the end read them.
"""

import copy

import pandas as pd
import torch
import torch.nn.functional as F

from bso_lib.exact.convert import exact
from bso_lib.experiment.flips import FlipRecord
from bso_lib.experiment.result import RunResult
from bso_lib.experiment.run import load_splits
from bso_lib.layers import TracedConv2d
from bso_lib.measure.one_thread import one_thread
from bso_lib.optim import BSO
from bso_lib.training import frame, predict


def record_neuron(lif, currents) -> pd.DataFrame:
    """Feed ``currents`` (T,) to one LIF neuron; return a row per t: current, potential u[t], spike s[t], trace a[t].

    Spikes and trace are those ``lif`` itself puts out (Eq. 2, 3, 7); it must be one with a trace.
    """
    lif.reset_state()
    rows = []
    for t, current in enumerate(currents):
        out = lif(torch.as_tensor(current, dtype=torch.float32))
        spike, trace = float(out.values), float(out.trace)
        potential = float(lif.potential)
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


@one_thread()
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


@one_thread()
def accuracy_with_batch_statistics(result: RunResult, batch_size: int = 500) -> float:
    """Return the test accuracy in percent with BatchNorm normalising by the test batch, not by running statistics.

    Where it exceeds ``result.accuracy``, the running statistics lag behind the weights.
    """
    _, test = load_splits(result.config)
    model = result.load_model()
    model = (exact(model) if result.config.exact else model).train()
    correct = 0
    for images, labels in test.batches(batch_size):
        correct += int((predict(model, images, result.config.time_steps).argmax(1) == labels).sum())
    return 100 * correct / len(test)


def flip_rates(record: FlipRecord) -> pd.DataFrame:
    """Return, a row per epoch and layer, ``ff_ratio`` and ``held``, both in percent.

    ``ff_ratio``: share of the weights that flip in one update, mean over the epoch's updates. ``held``: share of the
    weights that would have flipped with gamma = 0 and that the threshold kept, mean over the updates looked at.
    """
    epochs = record.epochs
    ff_ratio = 100 * epochs["flips"] / (epochs["weights"] * epochs["updates"])
    held = 100 * epochs["held"] / (epochs["weights"] * epochs["looks"]).where(epochs["looks"] > 0)
    return epochs[["epoch", "layer", "weights"]].assign(ff_ratio=ff_ratio, held=held)


def flip_summary(record: FlipRecord) -> pd.DataFrame:
    """Return, a row per layer: flips_per_weight, never_flipped (percent of weights) and c2i_ratio (percent of flips).

    The C2I ratio is the share of flips that leave the sign which the weight finally has: flips in vain.
    """
    layers = record.layers
    return layers[["layer", "weights"]].assign(
        flips_per_weight=layers["flips"] / layers["weights"],
        never_flipped=100 * layers["never_flipped"] / layers["weights"],
        c2i_ratio=100 * layers["leaving"] / layers["flips"].where(layers["flips"] > 0),
    )


def over_layers(table: pd.DataFrame, by: str | None = None) -> pd.DataFrame:
    """Return the weighted mean of a table of :func:`flip_rates` or :func:`flip_summary`, by number of weights.

    ``by``: a column to keep apart, such as "epoch". The C2I ratio is weighted by the flips.
    """
    columns = [c for c in ("ff_ratio", "held", "flips_per_weight", "never_flipped", "c2i_ratio") if c in table]

    def mean(part):
        weights = part["weights"] / part["weights"].sum()
        found = {c: (part[c] * weights).sum() for c in columns}
        if "c2i_ratio" in found:
            flips = part["flips_per_weight"] * part["weights"]
            found["c2i_ratio"] = (part["c2i_ratio"] * flips).sum() / flips.sum()
        return pd.Series(found)

    if by is None:
        return mean(table).to_frame().T
    return table.groupby(by)[table.columns.tolist()].apply(mean).reset_index()
