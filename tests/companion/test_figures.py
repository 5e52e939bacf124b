"""Figures: three files, written whole, the same bytes for the same content, with their provenance."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from bso_lib.companion import figures
from bso_lib.companion.figures import (
    MEMORY_LOOK,
    METHOD_LOOK,
    beside_published,
    by_use,
    caption,
    draw_grid,
    draw_seeds,
    memory_bars,
    provenance,
    same_scale,
    save,
)
from bso_lib.companion.paper import published
from bso_lib.companion.statistics import mean_of
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.evidence import entries, evidence_key
from bso_lib.experiment.paths import checkout
from bso_lib.experiment.result import RunResult
from bso_lib.measure.storage import CATEGORIES
from bso_lib.sweep.comparison import METHODS

ORIGIN = {"profile": "quick", "dataset": "fashion-mini", "seeds": "0, 1", "device": "cpu", "torch": "2", "python": "3",
          "runs": ""}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_FIGURES", str(tmp_path))
    plt.switch_backend("agg")
    figures.use_style()
    return tmp_path / "quick"


def draw():
    figure, axis = plt.subplots()
    axis.plot([1, 2], [3, 4])
    return figure


def test_save_writes_picture_pdf_and_numbers_with_provenance(folder, capsys):
    save(draw(), pd.DataFrame({"x": [1, 2]}), "04-a-b", ORIGIN)
    assert sorted(p.name for p in folder.iterdir()) == ["04-a-b.csv", "04-a-b.pdf", "04-a-b.png"]
    table = pd.read_csv(folder / "04-a-b.csv", dtype=str, keep_default_na=False)
    assert list(table.columns) == ["x", *ORIGIN]
    assert table.iloc[1].tolist() == ["2", *ORIGIN.values()]
    assert capsys.readouterr().out == "saved figures/quick/04-a-b.png, .pdf, .csv\n"


def test_the_same_content_gives_the_same_bytes(folder):
    found = []
    for _ in range(2):
        save(draw(), pd.DataFrame({"x": [1]}), "f", ORIGIN)
        found.append({p.name: p.read_bytes() for p in folder.iterdir()})
    assert found[0] == found[1]


def test_a_failure_leaves_the_old_figure_whole(folder, monkeypatch):
    save(draw(), pd.DataFrame({"x": [1]}), "f", ORIGIN)
    before = (folder / "f.png").read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save(draw(), pd.DataFrame({"x": [2]}), "f", ORIGIN)
    assert (folder / "f.png").read_bytes() == before


def test_a_column_that_provenance_would_overwrite_is_refused(folder):
    with pytest.raises(ValueError, match="the data of f has columns that provenance writes: dataset, seeds"):
        save(draw(), pd.DataFrame({"dataset": ["x"], "seeds": [1], "y": [2]}), "f", ORIGIN)
    assert not folder.exists()


def test_published_rows_carry_no_data_set_or_device_of_ours(folder):
    save(draw(), pd.DataFrame({"x": [1, 2], "source": ["ours", "published, CIFAR-10"]}), "f", ORIGIN)
    ours, theirs = pd.read_csv(folder / "f.csv", dtype=str, keep_default_na=False).to_dict("records")
    assert {name: ours[name] for name in ORIGIN} == ORIGIN
    assert {name: theirs[name] for name in ORIGIN if theirs[name]} == {"profile": "quick"}


def test_each_row_names_the_runs_behind_it(folder):
    runs = [
        RunResult(
            RunConfig(method=method, seed=seed), pd.DataFrame(), {"device": "cpu", "torch": "2", "python": "3"}, None
        )
        for method in ("bso", "t-bso")
        for seed in (0, 1)
    ]
    keys = [evidence_key(run.config) for run in runs]
    origin = provenance(runs, "quick")
    of_seed = {0: {keys[0], keys[2]}, 1: {keys[1], keys[3]}}
    save(draw(), pd.DataFrame({"seed": [1, 0, 7], "y": 0}), "f", origin)
    found = pd.read_csv(folder / "f.csv", keep_default_na=False)["runs"]
    assert [set(row.split()) for row in found] == [of_seed[1], of_seed[0], set()]
    published = pd.DataFrame({"seed": [1, None], "source": ["ours", "published"]})
    save(draw(), published, "f", origin)
    assert [set(row.split()) for row in pd.read_csv(folder / "f.csv", keep_default_na=False)["runs"]] == [
        of_seed[1],
        set(),
    ]
    save(draw(), pd.DataFrame({"y": [0]}), "f", origin)
    assert set(pd.read_csv(folder / "f.csv")["runs"][0].split()) == set(keys)
    save(draw(), pd.DataFrame({"runs": ["its own"]}), "f", origin)
    assert list(pd.read_csv(folder / "f.csv")["runs"]) == ["its own"]


def committed_rows():
    """Yield each committed csv: its name and its rows."""
    for path in sorted((checkout() / "figures" / "laptop").glob("*.csv")):
        yield path.stem, pd.read_csv(path, keep_default_na=False, low_memory=False)


ELSEWHERE = {"14-same-digits-machines", "15-regret-rates-network"}  # which compute theirs and keep none


def test_every_committed_csv_with_runs_leads_to_them(monkeypatch):
    monkeypatch.delenv("BSO_EVIDENCE")
    kept = {evidence_key(read().config) for read in entries()}
    named = {
        stem: {key for row in rows["runs"].astype(str).unique() for key in row.split()}
        for stem, rows in committed_rows()
    }
    assert len([stem for stem, keys in named.items() if keys]) > 20
    assert not {stem: keys - kept for stem, keys in named.items() if stem not in ELSEWHERE and keys - kept}


def test_a_committed_row_with_a_seed_names_the_one_run_of_it_with_its_accuracy(monkeypatch):
    monkeypatch.delenv("BSO_EVIDENCE")
    kept = {evidence_key(result.config): result for result in (read() for read in entries())}
    seen = set()
    for stem, rows in committed_rows():
        if "seed" not in rows or stem in ELSEWHERE:
            continue
        for row in rows[rows["runs"].astype(str) != ""].to_dict("records"):
            (key,) = row["runs"].split()
            assert kept[key].config.seed == float(row["seed"]), (stem, row)
            if "accuracy" in row:
                at = kept[key].history.set_index("epoch")["accuracy"] if "epoch" in row else None
                accuracy = kept[key].accuracy if at is None else at[row["epoch"]]
                assert accuracy == pytest.approx(float(row["accuracy"]), abs=1e-9), (stem, row)
            seen.add(stem)
    assert len(seen) > 14


def test_caption_and_provenance_name_data_set_profile_and_seeds():
    assert caption(ORIGIN) == "fashion-mini, seeds 0, 1, profile quick"
    origin = provenance([], "quick", dataset="generated input", seeds=3)
    assert caption(origin) == "generated input, seeds 3, profile quick"
    assert list(origin) == list(ORIGIN)
    with pytest.raises(ValueError, match="provenance lacks dataset, seeds"):
        provenance([], "quick")
    with pytest.raises(ValueError, match="provenance has no entry seed; it has profile, dataset, seeds"):
        provenance([], "quick", dataset="x", seed=1)


def test_every_method_has_its_own_marker():
    assert set(METHOD_LOOK) == set(METHODS)
    assert len({look["marker"] for look in METHOD_LOOK.values()}) == len(METHODS)


def test_each_seed_is_a_dot_with_mean_and_interval_and_a_single_one_stands_alone(folder):
    figure, (axis, other) = plt.subplots(1, 2)
    assert draw_seeds(axis, 2, [1.0, 2.0, 6.0], METHOD_LOOK["BSO"], aside=0.5, label="BSO") == 3
    dots, interval, mean = (line.get_xydata().tolist() for line in axis.lines)
    assert dots == [[2.5, 1], [2.5, 2], [2.5, 6]]
    assert [y for _, y in interval] == list(mean_of([1.0, 2.0, 6.0]).interval())
    assert mean == [[2, 3]]
    assert axis.get_legend_handles_labels()[1] == ["BSO"]
    assert draw_seeds(other, 0, [50.0], METHOD_LOOK["T-BSO"]) == 50
    assert len(other.lines) == 1
    plt.close(figure)


def test_axes_of_the_same_scale_show_as_many_units_and_all_that_they_showed(folder):
    figure, axes = plt.subplots(1, 2)
    for axis, limits in zip(axes, [(70, 76), (-1, 1)], strict=True):
        axis.set_ylim(limits)
    same_scale(*axes)
    assert [axis.get_ylim() for axis in axes] == [(70, 76), (-3, 3)]
    plt.close(figure)


def test_every_seed_is_a_dot_and_two_seeds_have_an_interval():
    rows = [("BSO", 2, 80.0, 0.1), ("BSO", 2, 82.0, 0.1), ("T-BSO", 2, 81.0, 0.1)]
    table = pd.DataFrame(rows, columns=["method", "time_steps", "accuracy", "size_mb"])
    figure, both = beside_published(table, published("table5"), "fashion-mini", "Google Speech Commands")
    left, right = figure.axes
    drawn = [list(line.get_xdata()) for line in left.lines]
    interval = pytest.approx(mean_of([80.0, 82.0]).interval())
    assert drawn == [[80.0, 82.0], interval, [81.0], [81.0]]
    assert [label.get_text() for label in left.get_yticklabels()] == ["T-BSO (0.1 MB)", "BSO (0.1 MB)"]
    assert right.lines[0].get_fillstyle() == "none"
    assert set(both["source"]) == {"ours, fashion-mini", "published, Google Speech Commands"}


def test_bars_of_memory_show_every_byte_once_and_no_colour_of_a_method():
    memory = pd.DataFrame([range(1, 9), range(11, 19)], columns=list(CATEGORIES), index=["a", "b"])
    assert by_use(memory).sum(axis=1).tolist() == memory.sum(axis=1).tolist() == [36, 116]
    _, axis = plt.subplots()
    memory_bars(axis, memory)
    assert [sum(bars[row].get_width() for bars in axis.containers) for row in (0, 1)] == [36, 116]
    assert not {look["facecolor"] for look in MEMORY_LOOK.values()} & {look["color"] for look in METHOD_LOOK.values()}


def test_a_grid_is_read_on_bright_and_on_dark():
    _, axis = plt.subplots()
    values = pd.DataFrame({"a": [0.0, 1.0], "b": [0.9, float("nan")]}, index=["x", "y"])
    picture = draw_grid(axis, values, values.map("{:.1f}".format), vmin=0, vmax=1)
    assert {text.get_text(): text.get_color() for text in axis.texts} == {
        "0.0": "white", "0.9": "black", "1.0": "black", "nan": "black",
    }  # fmt: skip
    assert [(text.get_text(), text.get_position()) for text in axis.texts][1] == ("0.9", (1, 0))
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["x", "y"]
    assert picture.get_clim() == (0, 1)
    plt.close()
