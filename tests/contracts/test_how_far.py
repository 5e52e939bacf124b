"""notebooks/run.py tells how far a profile is, from what its notebooks took the last time, and what they computed."""

import json
import os

import nbformat
from bad_input.table import load_runner

from bso_lib.experiment.config import RunConfig
from bso_lib.sweep.comparison import run_all


def test_it_counts_what_is_up_to_date_and_adds_up_what_is_not(tmp_path, monkeypatch):
    runner = load_runner()
    notebooks, build = tmp_path / "notebooks", tmp_path / "build"
    (build / "quick").mkdir(parents=True)
    (notebooks / "profiles").mkdir(parents=True)
    (notebooks / "profiles" / "quick.yaml").write_text("")
    monkeypatch.setattr(runner, "NOTEBOOKS", notebooks)
    monkeypatch.setattr(runner, "BUILD", build)
    monkeypatch.setattr(runner, "__file__", str(notebooks / "profiles" / "quick.yaml"))

    def built(name, seconds, age):
        path = build / "quick" / f"{name}.ipynb"
        path.write_text(json.dumps({"metadata": {"papermill": {"duration": seconds}}}))
        os.utime(path, (2_000_000_000 - age,) * 2)

    for number in range(4):
        path = notebooks / f"0{number}-x.ipynb"
        path.write_text("{}")
        os.utime(path, (1_900_000_000,) * 2)
    os.utime(notebooks / "profiles" / "quick.yaml", (1_900_000_000,) * 2)
    built("00-x", 120.0, 0)
    built("01-x", 360.0, 200_000_000)  # before its notebook changed
    assert runner.how_far("quick") == "1 of 4 of profile quick are up to date, about 14 min left"  # 6, and 4 each
    (build / "quick" / "02-x.ipynb").write_text("{")
    assert runner.how_far("quick").startswith("1 of 4")
    for number in range(4):
        built(f"0{number}-x", 60.0, 0)
    assert runner.how_far("quick") == "all 4 of profile quick are up to date"


def test_it_tells_what_was_computed_and_that_it_is_equal(tmp_path, monkeypatch, capsys):
    tiny = RunConfig(
        train_size=50, width=1 / 32, batch_norm="per-step", time_steps=1, epochs=1, batch_size=50, device="cpu"
    )
    monkeypatch.setenv("BSO_EVIDENCE", str(tmp_path / "kept"))
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BSO_KEEP_EVIDENCE", "1")
    run_all({"kept": [tiny]})
    monkeypatch.delenv("BSO_KEEP_EVIDENCE")
    capsys.readouterr()
    run_all({"kept": [tiny]}, 1)
    run_all({"kept": [tiny]}, 0)
    run_all({"kept": [tiny], "new": [RunConfig(**{**vars(tiny), "seed": 1})]}, 1)
    monkeypatch.setenv("BSO_EVIDENCE", "")
    run_all({"kept": [tiny]}, 1)
    lines = capsys.readouterr().out.splitlines(keepends=True)
    runner = load_runner()
    monkeypatch.setattr(runner, "BUILD", tmp_path)
    (tmp_path / "laptop").mkdir()
    for name, said in (("04-x", lines[:2]), ("05-x", lines[2:])):
        cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("stream", name="stdout", text="".join(said))])
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "laptop" / f"{name}.ipynb")
    assert runner.compared("laptop").splitlines() == [
        "computed here for profile laptop:",
        "  04-x: 1 of 1 runs computed here, 1 equal",
        "  05-x: 2 of 2 runs computed here, 1 of 1 equal",
        "  05-x: 1 of 1 runs computed here",
        "  in all 4 of 5 runs; of 2 with evidence 2 are equal to it to the last digit",
    ]
    cell.outputs[0]["text"] = "14 of 70 runs computed here, 10 equal to the last digit\n"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "laptop" / "05-x.ipynb")
    assert runner.compared("laptop").endswith(
        "of 15 with evidence 11 are equal to it to the last digit; "
        "float32 may differ, and runs on a set that is made with other bytes here"
    )
    assert runner.compared("quick").endswith("  in all 0 of 0 runs; none has evidence")
