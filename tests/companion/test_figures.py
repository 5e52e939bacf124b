"""Figures: three files, written whole, the same bytes for the same content, with their provenance."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from bso_lib.companion import figures
from bso_lib.companion.figures import METHOD_LOOK, caption, draw_seeds, provenance, same_scale, save
from bso_lib.companion.statistics import mean_of
from bso_lib.sweep.comparison import METHODS

ORIGIN = {"profile": "quick", "dataset": "fashion-mini", "seeds": "0, 1", "device": "cpu", "torch": "2", "python": "3"}


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
    table = pd.read_csv(folder / "04-a-b.csv", dtype=str)
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
