"""One look for all figures, and their files: picture, PDF and the very numbers, with their provenance, in a csv."""

import io
import platform

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch

from bso_lib.companion.statistics import mean_of
from bso_lib.data.stored import write_atomically
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
COLORS = ("#000000", "#0072B2", "#D55E00", "#E69F00", "#999999")


def use_style():
    """Set the companion's matplotlib style from now on."""
    sns.set_theme(context="notebook", style="ticks", palette=list(COLORS))
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


def draw_seeds(axis, place: float, values, look: dict, aside: float = 0.0, label: str | None = None) -> float:
    """Draw ``values``, one of each seed, above ``place``; return their mean.

    From two on: each a dot, ``aside`` to the right, and at ``place`` the mean, with the marker of ``look`` (if it has
    one), and its 95 % interval. A single one is drawn as the mean.
    """
    values = list(values)
    estimate = mean_of(values)
    if len(values) > 1:
        axis.plot([place + aside] * len(values), values, ".", color=look["color"], alpha=0.5, markersize=6)
        axis.plot([place] * 2, estimate.interval(), color=look["color"], linewidth=2, alpha=0.7)
    look = {"marker": "_", "markersize": 8, "linestyle": "none", **look}
    axis.plot([place], [estimate.value], label=label, **look)
    return estimate.value


def same_scale(*axes):
    """Let a unit be equally high in all ``axes`` (of one height), each about the middle of what it shows."""
    limits = [axis.get_ylim() for axis in axes]
    half = max(high - low for low, high in limits) / 2
    for axis, (low, high) in zip(axes, limits, strict=True):
        axis.set_ylim((low + high) / 2 - half, (low + high) / 2 + half)


def provenance(results: list[RunResult], profile: str, **given) -> dict[str, str]:
    """Return where ``results`` come from: profile, data sets, seeds, devices and versions, each as text.

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
    return origin


def caption(origin: dict[str, str]) -> str:
    """Return the one-line source note that stands under a figure."""
    return f"{origin['dataset']}, seeds {origin['seeds']}, profile {origin['profile']}"


def save(figure, data: pd.DataFrame, stem: str, origin: dict[str, str]):
    """Write ``figure`` and ``data`` to figures/<profile>/<stem>.png, .pdf and .csv, each atomically.

    ``origin``: what :func:`provenance` returns; its entries become columns of the csv, and its profile the folder. Rows
    whose "source" says "published" carry none of it but the profile: no data set, seed or device of ours.
    A note of it is put under the figure. Bytes depend on the content alone: no date is written.
    Raises ValueError if ``data`` has a column of the same name as an entry of ``origin``.
    """
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
    if "source" in table:
        theirs = table["source"].astype(str).str.startswith("published")
        table.loc[theirs, [name for name in origin if name != "profile"]] = ""
    write_atomically(folder / f"{stem}.csv", table.to_csv(index=False, lineterminator="\n").encode())
    print(f"saved figures/{origin['profile']}/{stem}.png, .pdf, .csv")
