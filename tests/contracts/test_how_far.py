"""notebooks/run.py tells how far a profile is, from what its notebooks took the last time."""

import json
import os

from bad_input.table import load_runner


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
