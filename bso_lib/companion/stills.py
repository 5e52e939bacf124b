"""The still pictures beside the figures that move: what each shows first, computed by the library itself."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from bso_lib.companion.figures import METHOD_LOOK
from bso_lib.measure.diagnostics import record_neuron
from bso_lib.neurons import LIF
from bso_lib.optim import BSO, TBSO

# Of what is no method: ink, input, thresholds and bounds, traces and means. No method has these colours.
COLORS = {"ink": "#444444", "current": "#777777", "limit": "#CC79A7", "trace": "#5B3A9E"}


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, facecolor="white", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def _panels(*heights, columns=1):
    return plt.subplots(
        len(heights), columns, figsize=(8, 0.6 + 1.25 * sum(heights)), sharex="col", height_ratios=heights,
        squeeze=False, layout="constrained",
    )  # fmt: skip


def neuron(data: dict) -> bytes:
    """Draw 40 steps of a LIF neuron, the input halved after 20."""
    currents = np.where(np.arange(40) < 20, data["input"], data["input"] / 2)
    table = record_neuron(LIF(decay=data["decay"], threshold=data["threshold"]), currents)
    figure, axes = _panels(0.8, 1.3, 1)
    top, middle, bottom = axes[:, 0]
    top.step(table["t"], table["current"], where="post", color=COLORS["current"])
    top.set(ylabel="input $I[t]$", ylim=(0, 1.1 * max(data["input"], 0.1)))
    middle.plot(table["t"], table["potential"], ".-", color=COLORS["ink"])
    middle.axhline(data["threshold"], color=COLORS["limit"], linestyle="--")
    middle.set(ylabel="potential $u[t]$")
    bottom.vlines(table["t"], 0, table["spike"], color=COLORS["ink"])
    bottom.plot(table["t"], table["trace"], "--", color=COLORS["trace"])
    bottom.set(xlabel="time step $t$", ylabel="spike, trace")
    return _png(figure)


def _updates(method, gradient_of, rounds, data):
    """Return a row per update of one weight, which starts at 1: weight before it, w * M, its threshold, and flipped.

    ``gradient_of(k, w)``: the gradient of update k.
    """
    w = torch.nn.Parameter(torch.ones(1))
    optimizer = (
        BSO([w], data["gamma"], data["beta"])
        if method == "BSO"
        else TBSO([w], 1, data["gamma"], data["beta"], data["beta2"], data["eps"])
    )
    rows = []
    for k in range(rounds):
        before = w.item()
        w.grad = torch.tensor([float(gradient_of(k, before))])
        optimizer.step(**({} if method == "BSO" else {"t": 0}))
        state = optimizer.state[w]
        scale = 1.0 if method == "BSO" else (state["v"][0].item() + data["eps"]) ** 0.5
        agreement = before * state["momentum"].item()
        rows.append((before, agreement, data["gamma"] * scale, w.item() != before))
    return pd.DataFrame(rows, columns=["weight", "agreement", "threshold", "flipped"])


def flip_rule(data: dict) -> bytes:
    """Draw one weight under BSO and under T-BSO: w * M with its threshold, and the weight."""
    noise = np.array(data["noise"])
    means = np.where(np.arange(len(noise)) < len(noise) / 2, 1, -1)
    gradients = data["size"] * (means + data["spread"] * noise)
    figure, axes = _panels(1.4, 0.7, columns=2)
    for (top, bottom), method in zip(axes.T, ("BSO", "T-BSO"), strict=True):
        table, look = _updates(method, lambda k, w: gradients[k], len(gradients), data), METHOD_LOOK[method]
        flips = table[table["flipped"]]
        top.plot(table["agreement"], color=look["color"])
        top.plot(table["threshold"], "--", color=COLORS["limit"])
        top.plot(flips["agreement"], linestyle="none", **look)
        top.set_title(f"{method}: {len(flips)} flips", loc="left")
        bottom.step(table.index, table["weight"], where="post", color=look["color"])
        bottom.set(xlabel="update", yticks=[-1, 1], ylim=(-1.4, 1.4))
    axes[0, 0].set(ylabel="$w M$, threshold")
    axes[1, 0].set(ylabel="weight")
    return _png(figure)


def game(data: dict) -> bytes:
    """Draw the regret of the given moves, or of a rule's, against the adversary that answers each move with itself."""
    if data["player"] == "you":
        moves, look = data["moves"], {"color": COLORS["ink"], "marker": "o"}
    else:
        moves = _updates(data["player"], lambda k, w: w, data["rounds"], data)["weight"]
        look = METHOD_LOOK[data["player"]]
    rounds = np.arange(1, len(moves) + 1)
    best = -np.abs(np.cumsum(moves))
    figure, axes = _panels(2.4)
    axis = axes[0, 0]
    axis.plot(rounds, rounds - best, label="regret $R(K)$", markevery=max(1, len(moves) // 30), **look)
    axis.plot(rounds, rounds, "--", color=COLORS["limit"], label="its lower bound, $K$")
    axis.plot(rounds, best, ":", color=COLORS["trace"], label="best fixed weight")
    axis.set(xlabel="rounds $K$", ylabel="sum of losses")
    axis.legend()
    return _png(figure)


def accuracy_bytes(data: dict) -> bytes:
    """Draw accuracy against bytes: a hollow marker per run, a filled one at the mean of a method and width."""
    table = pd.DataFrame(data["rows"]).assign(kilobytes=lambda t: t["bytes"] / 1000)
    figure, axes = _panels(3.2)
    axis = axes[0, 0]
    for (method, _), runs in table.groupby(["method", "width"], sort=False):
        look = {"linestyle": "none", **METHOD_LOOK[method]}
        axis.plot(runs["kilobytes"], runs["accuracy"], fillstyle="none", markersize=5, **look)
        label = None if method in axis.get_legend_handles_labels()[1] else method
        axis.plot(runs["kilobytes"].mean(), runs["accuracy"].mean(), markersize=9, label=label, **look)
    for kilobytes, runs in table.groupby("kilobytes"):
        axis.annotate(f"width {runs['width'].iloc[0]:g}", (kilobytes, 1), (0, 4), xycoords=("data", "axes fraction"),
                      textcoords="offset points", ha="center", fontsize="small")  # fmt: skip
    axis.set(xscale="log", xlabel=f"kB {dict(data['sizes'])['bytes']}", ylabel="test accuracy (%)")
    axis.legend()
    return _png(figure)


STILLS = {"neuron": neuron, "flip-rule": flip_rule, "game": game, "accuracy-bytes": accuracy_bytes}
