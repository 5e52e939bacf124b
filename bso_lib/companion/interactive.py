"""Figures that move: self-contained pages of HTML and JavaScript, in a notebook, in the book or as a file.

The pages lie in ``moving/``: ``rules.js`` has the method's arithmetic, ``shared.js`` and ``shared.css`` have controls
and axes, and one file each the figure itself. Nothing is fetched from anywhere. Beside each stands a still picture of
the same numbers, for GitHub and for a notebook that JupyterLab does not trust.
"""

import base64
import html
import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bso_lib.companion.figures import METHOD_LOOK
from bso_lib.companion.stills import COLORS, STILLS
from bso_lib.data import FACTS
from bso_lib.deploy.network_file import packed_size_bytes
from bso_lib.experiment.config import WEIGHTS
from bso_lib.models import vgg11
from bso_lib.sweep.comparison import METHODS
from bso_lib.terminal.refusals import did_you_mean

FOLDER = Path(__file__).with_name("moving")
RULE = {"gamma": 5e-7, "beta": 0.9, "beta2": 0.99999, "eps": 1e-20}
PLAYERS = ("you", "BSO", "T-BSO")
SIZES = {"bytes": "of the network as deployed", "training_bytes": "of the network as it trains (no momenta)"}


class Moving(NamedTuple):
    """What a moving figure starts with: its title, what to do with it, and its data."""

    title: str
    task: str
    data: dict


FIGURES = {
    "neuron": Moving(
        "A leaky integrate-and-fire neuron",
        "Find an input at which it fires in the first half and is silent in the second. Then let hardly anything leak.",
        {"input": 0.7, "decay": 0.5, "threshold": 1.0},
    ),
    "flip-rule": Moving(
        "The flip rule on one weight",
        "The mean of the gradients changes its sign half-way. Move γ: from which value on does it do anything, for BSO "
        "and for T-BSO? Then change the size of the gradients.",
        {**RULE, "size": 1e-6, "spread": 1.5, "noise": np.random.default_rng(0).standard_normal(60).round(3).tolist()},
    ),
    "game": Moving(
        "The game that no rule without a coin wins",
        "One weight. The adversary answers your move W with the loss f(w) = W w. Try to keep the regret below the "
        "dashed line.",
        {**RULE, "gamma": 0.2, "rounds": 60, "player": "you", "moves": [1, -1, -1, 1, 1, -1, 1, 1]},
    ),
    "accuracy-bytes": Moving(
        "Accuracy against bytes",
        "Each hollow marker is one run, each filled one the mean over the seeds. Choose methods; touch a mark for its "
        "numbers.",
        {"table": None},
    ),
}  # fmt: skip


def with_bytes(runs: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Return ``runs`` (method, width, ...) of VGG-11 with ``bytes`` as deployed and ``training_bytes``, by arithmetic.

    A latent network is binary once it is deployed. Learned parameters are counted, as in :func:`packed_size_bytes`;
    momenta are not. ``dataset``, a name of FACTS, says how many channels and classes there are.
    """
    facts = FACTS[dataset]

    def size(method, width, deployed):
        weights = WEIGHTS[METHODS[method]["method"]]
        weights = "binary" if deployed and weights == "latent" else weights
        return packed_size_bytes(vgg11(facts.classes, facts.shape[0], width=width, weights=weights))

    sizes = {pair: (size(*pair, True), size(*pair, False)) for pair in zip(runs["method"], runs["width"], strict=True)}
    both = [sizes[pair] for pair in zip(runs["method"], runs["width"], strict=True)]
    return runs.assign(bytes=[first for first, _ in both], training_bytes=[second for _, second in both])


def _rows(table) -> dict:
    """Return the runs in ``table`` as the page of accuracy against bytes wants them; raises ValueError for others."""
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"table is a {type(table).__name__}: must be a DataFrame with a row per run")
    needed = ["method", "width", "accuracy", "bytes"]
    if missing := [name for name in needed if name not in table]:
        raise ValueError(f"the table lacks {', '.join(missing)}: a row per run has {', '.join(needed)}")
    if table.empty:
        raise ValueError("the table has no row")
    if unknown := sorted(set(table["method"]) - set(METHOD_LOOK)):
        hint = did_you_mean(unknown[0], METHOD_LOOK)
        raise ValueError(f"method {unknown[0]!r} has no colour: must be one of {'; '.join(METHOD_LOOK)}{hint}")
    sizes = [name for name in SIZES if name in table]
    for name in ("width", "accuracy", *sizes):
        values = pd.to_numeric(table[name], errors="coerce")
        if not np.isfinite(values).all() or (name != "accuracy" and (values <= 0).any()):
            raise ValueError(f"{name} has values that are no number{'' if name == 'accuracy' else ' above 0'}")
    rows = table[["method", "width", "accuracy", *sizes]].to_dict("records")
    return {"rows": rows, "sizes": [[name, SIZES[name]] for name in sizes]}


def _data(name: str, given: dict) -> dict:
    """Return the data of figure ``name`` with ``given`` in place of its own; raises ValueError for what it lacks."""
    if name not in FIGURES:
        raise ValueError(f"moving figure {name!r}: must be one of {', '.join(FIGURES)}{did_you_mean(name, FIGURES)}")
    own = FIGURES[name].data
    for key, value in given.items():
        if key not in own:
            raise ValueError(f"{name} has no {key!r}; it has {', '.join(own)}{did_you_mean(key, own)}")
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if isinstance(own[key], int | float) and not number:
            raise ValueError(f"{name}: {key}={value!r} must be a finite number")
        if key == "player" and value not in PLAYERS:
            raise ValueError(f"{name}: player={value!r} must be one of {', '.join(PLAYERS)}")
        if key == "moves" and not (isinstance(value, list) and all(move in (-1, 1) for move in value)):
            raise ValueError(f"{name}: moves={value!r} must be a list of 1 and -1")
        if key == "noise" and not (isinstance(value, list) and len(value) > 1 and np.isfinite(value).all()):
            raise ValueError(f"{name}: noise={value!r} must be a list of at least two finite numbers")
    data = {**own, **given}
    return _rows(data["table"]) if name == "accuracy-bytes" else data


def page(name: str, **given) -> str:
    """Return the moving figure ``name`` as a whole HTML page that needs nothing beside itself.

    ``given`` replaces what it starts with, see :data:`FIGURES` (sliders round it to their steps); "accuracy-bytes"
    needs ``table``, a DataFrame with a row per run: method (of METHOD_LOOK), width, accuracy (percent), bytes, and if
    known training_bytes, as :func:`with_bytes` adds them. Raises ValueError for an unknown figure or name, a number
    that is none, or a table that lacks something.
    """
    figure, data = FIGURES.get(name), _data(name, given)
    content = json.dumps({**data, "look": METHOD_LOOK, "colors": COLORS}, ensure_ascii=False, allow_nan=False)
    style, *scripts = (
        (FOLDER / file).read_text(encoding="utf-8") for file in ("shared.css", "rules.js", "shared.js", f"{name}.js")
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{figure.title}</title>\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n<h1>{figure.title}</h1>\n<p>{figure.task}</p>\n"
        f'<div id="controls"></div>\n<p id="reading" aria-live="polite"></p>\n'
        f'<svg id="picture" xmlns="http://www.w3.org/2000/svg" role="group" aria-label="{figure.title}"></svg>\n'
        f'<script type="application/json" id="data">{content.replace("<", chr(92) + "u003c")}</script>\n'
        + "".join(f"<script>\n{script}</script>\n" for script in scripts)
        + "</body>\n</html>\n"
    )


def frame(name: str, **given) -> str:
    """Return :func:`page` in an ``iframe`` that carries it with itself; it hides the still picture that follows."""
    outputs = {".jp-OutputArea-child": ".jp-OutputArea-child", ".cell_output > div": "*"}  # of JupyterLab, of the book
    behind = ", ".join(f"{own}:has(iframe.moving-figure) + {next_}" for own, next_ in outputs.items())
    title, source = html.escape(FIGURES[name].title), html.escape(page(name, **given))
    look = f'title="{title}" style="width: 100%; height: 640px; border: 1px solid #bbb; background: #fff"'
    return (
        f'<style>{behind} {{ display: none }}</style>\n<iframe class="moving-figure" {look} srcdoc="{source}"></iframe>'
    )


class Shown:
    """What :func:`show` returns: Jupyter displays it as two outputs, the figure and, unless that moves, its picture."""

    def __init__(self, title: str, frame: str, still: bytes):
        self.title, self.frame, self.still = title, frame, still

    def _ipython_display_(self):
        from IPython.display import display  # which calls this

        display({"text/html": self.frame, "text/plain": self.title}, raw=True)
        picture = base64.b64encode(self.still).decode()
        display({"image/png": picture, "text/plain": f"{self.title}, the still picture"}, raw=True)


def show(name: str, **given) -> Shown:
    """Return the moving figure ``name`` for the last line of a notebook's cell; for ``given`` see :func:`page`."""
    data = _data(name, given)  # first, so that bad input is refused in one line
    return Shown(FIGURES[name].title, frame(name, **given), STILLS[name](data))
