"""One look for all figures, and their files: picture, PDF and the very numbers, with their provenance, in a csv."""

import io
import logging
import platform
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch

from bso_lib.companion.statistics import mean_of
from bso_lib.data.stored import write_atomically
from bso_lib.experiment.evidence import evidence_key
from bso_lib.experiment.paths import dry_run, figures_folder
from bso_lib.experiment.result import RunResult

# Okabe-Ito colours told apart by the colour-blind, of rising lightness and with their own marker for greyscale.
METHOD_LOOK = {
    "T-BSO": {"color": "#000000", "marker": "o"},
    "BSO": {"color": "#0072B2", "marker": "s"},
    "STE + BPTT": {"color": "#D55E00", "marker": "v"},
    "STE + OTTT": {"color": "#E69F00", "marker": "^"},
    "FP, BPTT": {"color": "#999999", "marker": "P"},
    "FP, OTTT": {"color": "#999999", "marker": "X"},
    "FP, NDOT": {"color": "#999999", "marker": "D"},
    "Bop + BPTT": {"color": "#56B4E9", "marker": "p"},
    "STE + Adam": {"color": "#E69F00", "marker": "<"},
    "BOLD": {"color": "#009E73", "marker": "*"},
}
# The paper's numbers: hollow diamonds, in every figure, and nothing else is one.
PUBLISHED_LOOK = {"marker": "D", "color": "black", "fillstyle": "none", "linestyle": "none", "markersize": 7}
# What the memory of a training step is for; no colour of a method.
MEMORY_LOOK = {
    "weights": {"facecolor": "#444444"},
    "gradients": {"facecolor": "#ffffff", "hatch": "////"},
    "optimizer state": {"facecolor": "#5B3A9E"},
    "neuron state": {"facecolor": "#CC79A7", "hatch": "...."},
    "activations": {"facecolor": "#bbbbbb"},
    "rest": {"facecolor": "#eeeeee"},
}


def use_style():
    """Set the companion's matplotlib style from now on, and hush two warnings that tell a notebook's reader nothing."""
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # of a font's date, whenever it goes into a PDF
    warnings.filterwarnings("ignore", message="IProgress not found")  # of tqdm in libraries, which needs no widget
    sns.set_theme(context="notebook", style="ticks", palette=["#444444", "#777777", "#bbbbbb"])  # of no method
    plt.rcParams.update(
        {
            "figure.dpi": 100,
            "savefig.dpi": 150,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": "medium",
            "axes.grid": True,
            "grid.color": "#dddddd",
            "legend.frameon": False,
            "pdf.fonttype": 42,
        }
    )


def name_line(axis, text: str, line=None, shift: float = 0.0):
    """Write ``text`` at the right end of ``line`` (default: the last drawn), in its colour, ``shift`` points higher."""
    line = line or axis.lines[-1]
    end = line.get_xdata()[-1], line.get_ydata()[-1]
    look = {"color": line.get_color(), "fontsize": "small", "va": "center", "annotation_clip": False}
    axis.annotate(text, end, xytext=(7, shift), textcoords="offset points", **look)


def draw_seeds(
    axis, place: float, values, look: dict, aside: float = 0.0, label: str | None = None, across: bool = False
) -> float:
    """Draw ``values``, one of each seed, above ``place``, or ``across`` a row at that height; return their mean.

    From two on: each a dot, ``aside`` of it; at ``place`` the mean, with the marker of ``look`` (if it has one), and
    its 95 % interval. A single one is drawn as the mean.
    """
    values = list(values)
    estimate = mean_of(values)
    order = -1 if across else 1  # x and y
    if len(values) > 1:
        dots = {"color": look["color"], "alpha": 0.5, "markersize": 6}
        axis.plot(*([place + aside] * len(values), values)[::order], ".", **dots)
        axis.plot(*([place] * 2, estimate.interval())[::order], color=look["color"], linewidth=2, alpha=0.7)
    look = {"marker": "|" if across else "_", "markersize": 8, "linestyle": "none", **look}
    axis.plot(*([place], [estimate.value])[::order], label=label, **look)
    return estimate.value


def same_scale(*axes):
    """Let a unit be equally high in all ``axes`` (of one height), each about the middle of what it shows."""
    limits = [axis.get_ylim() for axis in axes]
    half = max(high - low for low, high in limits) / 2
    for axis, (low, high) in zip(axes, limits, strict=True):
        axis.set_ylim((low + high) / 2 - half, (low + high) / 2 + half)


def draw_grid(axis, values: pd.DataFrame, texts: pd.DataFrame, **look):
    """Draw ``values`` as a grid of colours, ``texts`` in its cells: black on bright, white on dark; return the picture.

    What is NaN stays white. ``look``: of ``imshow``, such as vmin.
    """
    picture = axis.imshow(values, cmap="cividis", aspect="auto", **look)
    for (i, j), value in np.ndenumerate(values.to_numpy()):
        color = "white" if picture.norm(value) < 0.45 else "black"
        axis.text(j, i, texts.iloc[i, j], ha="center", va="center", fontsize=8, color=color)
    axis.set_xticks(range(values.shape[1]), values.columns)
    axis.set_yticks(range(len(values)), values.index)
    axis.grid(False)
    return picture


def by_use(memory: pd.DataFrame) -> pd.DataFrame:
    """Return bytes by category (columns) with buffers, input and temporary together as the rest, as MEMORY_LOOK."""
    rest = memory[["buffers", "input", "temporary"]].sum(axis=1)
    return memory.assign(rest=rest)[list(MEMORY_LOOK)]


def memory_bars(axis, memory: pd.DataFrame):
    """Draw a horizontal bar per row of ``memory``, the first on top, each made of what :func:`by_use` tells apart."""
    left = pd.Series(0.0, index=memory.index)
    for name, values in by_use(memory).items():
        axis.barh(memory.index, values, left=left, edgecolor="black", height=0.6, label=name, **MEMORY_LOOK[name])
        left += values
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)


def provenance(results: list[RunResult], profile: str, **given) -> dict[str, str]:
    """Return where ``results`` come from: profile, data sets, seeds, devices and versions, and the runs, each as text.

    ``runs``: "seed:key" of each, where ``bso_lib.companion.runs_behind`` finds it by its key; "" without runs.
    ``given`` replaces entries that no run tells, such as ``dataset`` and ``seeds`` of a figure without runs.
    Raises ValueError if data set or seeds are then still unknown, or for an entry of another name.
    """

    def values(items, otherwise=""):
        return ", ".join(sorted({str(item) for item in items})) or otherwise

    origin = {
        "profile": profile,
        "dataset": values(r.config.dataset + (" (dry run: random data)" if dry_run() else "") for r in results),
        "seeds": values(r.config.seed for r in results),
        "device": values((r.provenance["device"] for r in results), "cpu"),
        "torch": values((r.provenance["torch"] for r in results), torch.__version__),
        "python": values((r.provenance["python"] for r in results), platform.python_version()),
    }
    if unknown := set(given) - set(origin):
        raise ValueError(f"provenance has no entry {', '.join(sorted(unknown))}; it has {', '.join(origin)}")
    origin |= {name: str(value) for name, value in given.items()}
    if missing := [name for name, value in origin.items() if not value]:
        raise ValueError(f"provenance lacks {', '.join(missing)}: no run tells it, so give it")
    pairs = sorted({(r.config.seed, evidence_key(r.config)) for r in results})
    return origin | {"runs": " ".join(f"{seed}:{key}" for seed, key in pairs)}


def caption(origin: dict[str, str]) -> str:
    """Return the one-line source note that stands under a figure."""
    return f"{origin['dataset']}, seeds {origin['seeds']}, profile {origin['profile']}"


def save(figure, data: pd.DataFrame, stem: str, origin: dict[str, str]):
    """Write ``figure`` and ``data`` to figures/<profile>/<stem>.png, .pdf and .csv, each atomically.

    ``origin``: what :func:`provenance` returns; its entries become columns of the csv, and its profile the folder.
    ``data`` may name the runs behind each row itself, in a column "runs"; else a row of one seed names the runs of
    that seed, another all. Rows whose "source" says "published" carry none of it but the profile: no data set, seed,
    device or run of ours.
    A note of it is put under the figure. Bytes depend on the content alone: no date is written.
    Raises ValueError if ``data`` has a column of the same name as another entry of ``origin``.
    """
    origin = {name: value for name, value in origin.items() if name != "runs" or "runs" not in data}
    if clash := set(data.columns) & set(origin):
        raise ValueError(f"the data of {stem} has columns that provenance writes: {', '.join(sorted(clash))}")
    folder = figures_folder(origin["profile"])
    folder.mkdir(parents=True, exist_ok=True)
    figure.supxlabel(caption(origin), fontsize="x-small", color="#555555", x=0.99, ha="right")
    for suffix, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, metadata=metadata)
        write_atomically(folder / f"{stem}.{suffix}", buffer.getvalue())
    table = data.assign(**origin)
    table["runs"] = table.pop("runs") if "runs" in data else _runs_of(data, origin["runs"])
    if "source" in table:
        theirs = table["source"].astype(str).str.startswith("published")
        table.loc[theirs, [name for name in origin if name != "profile"]] = ""
    write_atomically(folder / f"{stem}.csv", table.to_csv(index=False, lineterminator="\n").encode())
    print(f"saved figures/{origin['profile']}/{stem}.png, .pdf, .csv")


def _runs_of(data, runs):
    """Return, for each row of ``data``, the keys of ``runs`` ("seed:key") behind it: of its seed, or all."""
    pairs = [pair.split(":") for pair in runs.split()]
    if "seed" not in data or not pairs:
        return " ".join(key for _, key in pairs)
    own = {seed: " ".join(key for other, key in pairs if other == seed) for seed, _ in pairs}
    return [own.get(f"{seed:.0f}", "") for seed in data["seed"].astype(float)]


def seed_rows(axis, rows):
    """Draw ``rows`` of accuracies on ``axis``, the first on top: of each its name, a value per seed, and its look.

    See :func:`draw_seeds`. The axis does not start at 0, and says so.
    """
    names = [name for name, _, _ in rows]
    for place, (_, values, look) in zip(reversed(range(len(names))), rows, strict=True):
        draw_seeds(axis, place, values, look, aside=0.25, across=True)
    axis.set_yticks(range(len(names)), names[::-1])
    low, high = axis.get_xlim()  # an interval of few seeds may reach past what an accuracy can be
    axis.set(xlabel="test accuracy (%), axis cut", xlim=(max(low, 0), min(high, 100)), ylim=(-0.6, len(names) - 0.4))
    axis.xaxis.set_major_locator(plt.MaxNLocator(5))


def beside_published(table: pd.DataFrame, paper: pd.DataFrame, ours: str, theirs: str):
    """Return a figure and its data: the runs of ``table`` (see ``results_table``), beside the paper's numbers.

    Left, titled ``ours``: :func:`seed_rows`, a row per method, in brackets the network's size as it is trained. Right,
    titled ``theirs``: ``paper``, rows of the published table 2 or 5, as hollow diamonds.
    """
    rows = [
        (f"{method} ({own['size_mb'].iloc[0]:.3g} MB)", own["accuracy"].tolist(), METHOD_LOOK[method])
        for method, own in table.groupby("method", sort=False)
    ]
    paper = paper.rename(columns={"accuracy_percent": "accuracy", "model_size_mb": "size_mb"})
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 1.6 + 0.4 * max(5, len(rows), len(paper))))
    seed_rows(left, rows)
    left.set(title=f"ours: {ours}")
    names = [f"{row.method}, T = {row.time_steps} ({row.size_mb:.2f} MB)" for row in paper.itertuples()]
    right.plot(paper["accuracy"][::-1], names[::-1], **PUBLISHED_LOOK)
    right.set(xlabel="test accuracy (%), axis cut", title=f"published: {theirs}", ylim=(-0.6, len(paper) - 0.4))
    right.xaxis.set_major_locator(plt.MaxNLocator(5))
    told = paper[["method", "time_steps", "accuracy", "size_mb"]].assign(source=f"published, {theirs}")
    return figure, pd.concat([table.assign(source=f"ours, {ours}"), told])
