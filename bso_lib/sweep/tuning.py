"""How each method got its settings: a search with the same effort for all, on held-out training images.

    python -m bso_lib.sweep.tuning --out notebooks/tuning/fashion-mini.csv --processes 2        (make tune)

Every method may try 12 candidates. The search begins at the centre that :data:`SEARCH` states and takes one coordinate
after another: its neighbours on both sides (two each at the very first stage), then the next one as long as the best
lies at the edge. It is over when every coordinate had its turn, or when the candidates are used up. A candidate
replaces the best only if it is strictly better: of equals, the first tried stays.

The test images are not used, and no seed that is reported. The candidates of one stage are computed side by side. Every
finished run is written at once, and rows that are there are not computed again.
"""

import argparse
import signal
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bso_lib.data import DatasetMissing
from bso_lib.data.images import AUGMENTATIONS
from bso_lib.data.stored import write_atomically
from bso_lib.experiment.config import ARITHMETICS, SCHEDULES, RunConfig
from bso_lib.experiment.run import run
from bso_lib.models import BATCH_NORMS
from bso_lib.sweep.comparison import METHODS, method_config
from bso_lib.sweep.pool import single_threads
from bso_lib.terminal.refusals import stoppable

CANDIDATES = 12  # of each method, at most


class Coordinate(NamedTuple):
    """A setting that is searched: where it begins, and by which factor a first step changes it.

    Of a decay, beta1 or beta2, it is 1 - beta that is multiplied. Values are rounded to two digits.
    """

    name: str
    centre: float
    factor: float = 10**0.5

    def value(self, steps: float) -> float:
        """Return the setting ``steps`` steps from the centre."""
        near = float(f"{self.centre * self.factor**steps:.1e}")
        return round(1 - near, 12) if self.name.startswith("beta") else near


_LR = Coordinate("lr", 0.1)  # all centres but those of latent weights are the paper's settings
SEARCH = {  # by method; what matters most comes first
    "fp": (_LR,),
    "ste": (Coordinate("latent_lr", 10.0, 10.0), _LR),
    "bso": (Coordinate("beta1", 1e-3), Coordinate("gamma", 5e-7, 10.0), _LR),
    "t-bso": (Coordinate("beta1", 1e-3), _LR, Coordinate("beta2", 1e-5, 10.0)),  # its gamma does next to nothing
    "ste-adam": (Coordinate("latent_lr", 0.01), _LR),
    "bold": (Coordinate("latent_lr", 1e4, 10.0), _LR),
}
SETTINGS = ("lr", "latent_lr", "gamma", "beta1", "beta2")  # what is searched
_SAME = (
    "dataset", "width", "time_steps", "epochs", "train_size", "batch_size", "batch_norm", "schedule", "augment",
    "arithmetic", "seed",
)  # fmt: skip
_ORIGIN = ("seconds", "device", "torch", "python")
COLUMNS = ("method", "stage", "coordinate", *SETTINGS, "validation_accuracy", *_SAME, *_ORIGIN)


class Trial(NamedTuple):
    """A candidate: the number of its stage, counted from 1, the coordinate that varied there, and its settings."""

    stage: int
    coordinate: str
    settings: tuple[float, ...]


def trials(search: tuple[Coordinate, ...], accuracy: Mapping[tuple, float], budget: int = CANDIDATES) -> list[Trial]:
    """Return the candidates of a search so far, in order: all those that ``accuracy`` decides, and the next stage.

    ``accuracy`` maps settings, in the order of ``search``, to percent (NaN: diverged). The search is over when all
    candidates have one.
    """

    def settings(steps):
        return tuple(c.value(s) for c, s in zip(search, steps, strict=True))

    def score(steps):
        found = accuracy[settings(steps)]
        return -1.0 if found != found else found

    best, tried, stage = (0.0,) * len(search), [], 0
    for i, coordinate in enumerate(search):
        while True:
            offsets = (0, -1, 1) if tried else (0, -1, 1, -2, 2)
            line = [(*best[:i], best[i] + k, *best[i + 1 :]) for k in offsets]
            known = {trial.settings for trial in tried}
            new = [steps for steps in line if settings(steps) not in known][: budget - len(tried)]
            if not new:
                break
            stage += 1
            tried += [Trial(stage, coordinate.name, settings(steps)) for steps in new]
            if any(settings(steps) not in accuracy for steps in new):
                return tried
            best = max([best, *new], key=score)  # the first of equals
    return tried


def tune(base: RunConfig, out: Path, labels=tuple(METHODS), processes: int = 1, progress: bool = True) -> pd.DataFrame:
    """Search the settings of ``labels`` and keep the table in the csv ``out``: a row per candidate, in order.

    Its columns are :data:`COLUMNS`; validation_accuracy in percent, empty where training diverged. Raises ValueError
    for a csv of another scale or of another search.
    """
    base = replace(base, evaluate_on="validation")
    rows = _rows_of(out, base)
    with single_threads(processes) as pool:
        running = {}
        while True:
            for label in labels:
                for trial in _trials_of(label, rows):
                    name = (label, trial.settings)
                    if name not in rows and name not in running.values():
                        running[pool.submit(_compute, method_config(base, label, **_named(label, trial)))] = name
            if not running:
                return _table(rows)
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(done)
                rows[name] = done.result()
                write_atomically(out, _table(rows).to_csv(index=False, lineterminator="\n").encode())
                if progress:
                    print(f"{name[0]} {name[1]}: {rows[name]['validation_accuracy']:.1f} %", file=sys.stderr)


def read_candidates(path: str | Path) -> pd.DataFrame:
    """Return the table of :func:`tune` in the csv ``path``; raises FileNotFoundError, which says what makes it."""
    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        makes = "make tune makes the notebooks' own, make reproduce PROFILE=paper those of the paper's scale"
        raise FileNotFoundError(f"{path}: no such table of candidates; {makes}") from None


def tuned_settings(table: pd.DataFrame, labels: Iterable[str], overrides: Mapping[str, Mapping]) -> dict[str, dict]:
    """Return the settings of each of ``labels``: those of its best candidate, replaced by its ``overrides``.

    Where these say all that is searched, as those of the paper do, no candidate is needed.
    """
    found = {}
    for label in labels:
        own = overrides.get(label, {})
        given = all(c.name in own for c in SEARCH[METHODS[label]["method"]])
        found[label] = {**({} if given else best_settings(table, label)), **own}
    return found


def best_settings(table: pd.DataFrame, label: str) -> dict[str, float]:
    """Return the settings of the best candidate of ``label`` in a table of :func:`tune`; the first of equals.

    Raises ValueError if the table has none.
    """
    rows = table[(table["method"] == label) & table["validation_accuracy"].notna()]
    if rows.empty:
        raise ValueError(f"no tuned settings for {label!r} in the table: run make tune")
    best = rows.loc[rows["validation_accuracy"].idxmax()]
    return {name: _digits(best[name]) for name in SETTINGS if name in best and pd.notna(best[name])}


def at_the_edge(table: pd.DataFrame, label: str) -> list[str]:
    """Return the settings of ``label`` whose best value is the smallest or the largest of those that were tried."""
    own = table[table["method"] == label]
    best = best_settings(table, label)
    return [name for name in best if best[name] in (_digits(own[name].min()), _digits(own[name].max()))]


def _digits(value):
    """The number that was written: how the text of a csv is read differs in the last digit between versions."""
    return float(f"{value:.12g}")


def _told(config, name):
    """Return the field ``name`` of ``config`` as a csv has it."""
    value = getattr(config, name)
    return " ".join(value) or None if name == "augment" else value


def _named(label, trial):
    return dict(zip((c.name for c in SEARCH[METHODS[label]["method"]]), trial.settings, strict=True))


def _trials_of(label, rows):
    accuracy = {settings: row["validation_accuracy"] for (own, settings), row in rows.items() if own == label}
    return trials(SEARCH[METHODS[label]["method"]], accuracy)


def _compute(config):
    """Return the row of a run, without its place in the search."""
    row = {name: _told(config, name) for name in _SAME} | {"validation_accuracy": float("nan")}
    try:
        result = run(config, progress=False, recompute=True)
    except ArithmeticError:
        return row
    row |= {name: result.provenance[name] for name in _ORIGIN}
    return row | {"validation_accuracy": result.accuracy}


def _table(rows):
    """Return the rows in the order of the search."""
    table = [
        rows[label, trial.settings] | {"method": label} | trial._asdict() | _named(label, trial)
        for label in METHODS
        if any(own == label for own, _ in rows)
        for trial in _trials_of(label, rows)
        if (label, trial.settings) in rows
    ]
    return pd.DataFrame(table, columns=COLUMNS)


def _rows_of(out, base):
    """Return the rows that the csv ``out`` has, by label and settings."""
    if not out.exists():
        return {}
    table = pd.read_csv(out)
    for name in _SAME:
        wanted = _told(base, name)
        found = {None if pd.isna(value) else value for value in table[name]} if name in table else {"nothing"}
        if len(table) and found != {wanted}:
            raise ValueError(f"{out} has {name} {found.pop()!r}, asked is {wanted!r}: give another file or delete it")
    rows = {}
    for row in table.to_dict("records"):
        if row["method"] not in METHODS:
            raise ValueError(f"{out} has method {row['method']!r}: must be one of {', '.join(METHODS)}")
        search = SEARCH[METHODS[row["method"]]["method"]]
        rows[row["method"], tuple(_digits(row[c.name]) for c in search)] = row
    for label in dict.fromkeys(label for label, _ in rows):
        own, reached = {s for name, s in rows if name == label}, {t.settings for t in _trials_of(label, rows)}
        if not own <= reached:
            raise ValueError(f"{out} has candidates of {label!r} that this search does not try: delete their rows")
    return rows


def main():
    parser = argparse.ArgumentParser(
        prog="python -m bso_lib.sweep.tuning", description="Tune each method on validation data."
    )
    parser.add_argument("--out", type=Path, required=True, help="the .csv to write, or to go on with")
    parser.add_argument("--dataset", default="fashion-mini")
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--time-steps", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--train-size", type=int, help="images to train on, class-balanced (default: all)")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--batch-norm", choices=BATCH_NORMS, default="per-step", help="default: per-step")
    parser.add_argument("--schedule", choices=SCHEDULES, default="cosine", help="default: cosine")
    parser.add_argument("--augment", nargs="*", choices=AUGMENTATIONS, default=(), help="default: nothing")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=tuple(METHODS), metavar="METHOD",
                        help=f"any of {', '.join(repr(label) for label in METHODS)} (default: all)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=100, help="not one of the seeds that are reported")
    parser.add_argument("--arithmetic", choices=ARITHMETICS, default="exact", help="default: exact, on the CPU")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time, each of one thread")
    a = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated; the same command goes on from here"))
    base = RunConfig(
        dataset=a.dataset, width=a.width, time_steps=a.time_steps, epochs=a.epochs, train_size=a.train_size,
        batch_size=a.batch_size, seed=a.seed, batch_norm=a.batch_norm, schedule=a.schedule, augment=tuple(a.augment),
        arithmetic=a.arithmetic, device="cpu" if a.arithmetic == "exact" else "auto",
    )  # fmt: skip
    try:
        table = tune(base, a.out, a.methods, a.processes)
    except (ValueError, DatasetMissing) as error:
        sys.exit(f"bso_lib.sweep.tuning: {error}")
    for label in a.methods:
        edge = ", ".join(at_the_edge(table, label))
        print(f"{label}: {best_settings(table, label)}{f'; at the edge of what was tried: {edge}' if edge else ''}")


if __name__ == "__main__":
    stoppable(main, "bso_lib.sweep.tuning")
