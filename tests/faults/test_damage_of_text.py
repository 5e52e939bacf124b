"""Text that readers edit, tables, profiles and notebooks: one that is not as committed is named before it is used."""

import subprocess
import sys

import nbformat
import pytest
from bad_input.table import load_runner
from faults.fault import fault
from test_damage import damaged

END = "named as not as committed before anything runs; refused in one line where it cannot be read"
PLACES = ("cut short at a random place", 10, 50), ("one bit flipped at a random place", 40, 200)
FILES = {"table (csv)": "tuning/a.csv", "profile (yaml)": "profiles/quick.yaml", "notebook": "50-tiny.ipynb"}
DONE = {name: [fault(f"File: {name}", *place, END) for place in PLACES] for name in FILES}


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """notebooks/run.py over a small committed folder; it executes nothing, but reads all that it does before."""
    for name in ("profiles", "tuning"):
        (tmp_path / name).mkdir()
    (tmp_path / "tuning" / "a.csv").write_text("method,lr\nbso,0.1\nt-bso,0.03\n")
    (tmp_path / "profiles" / "quick.yaml").write_text("50-tiny:\n  epochs: 3\n  gamma: 5.0e-7\n")
    cell = nbformat.v4.new_code_cell("epochs = 1\ngamma = 5e-7", metadata={"tags": ["parameters"]}, id="a")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "50-tiny.ipynb")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "core.autocrlf=false"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    found = load_runner()
    listed = subprocess.run([*git, "ls-tree", "-r", "-z", "HEAD", "."], cwd=tmp_path, capture_output=True, text=True)
    monkeypatch.setattr(found, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(found.subprocess, "run", lambda *_, **__: listed)
    monkeypatch.setattr(found, "execute", found.profile_parameters)
    monkeypatch.setattr(found, "how_far", lambda profile: "")
    monkeypatch.setattr(sys, "argv", ["run.py", "50-tiny", "--profile", "quick"])
    return found


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")
def test_damaged_text_is_named(name, runner, capsys):
    runner.main()
    assert capsys.readouterr() == ("notebooks/50-tiny.ipynb: done; \n", "")
    path = runner.NOTEBOOKS / FILES[name]
    cuts, bits = DONE[name]
    for changed in damaged(path.read_bytes(), cuts.times, bits.times, seed=len(name)):
        path.write_bytes(changed)
        refused = ""
        try:
            runner.main()
        except SystemExit as stopped:
            refused = str(stopped)
        first = capsys.readouterr().err.splitlines()[0]
        assert first == f"notebooks/50-tiny.ipynb: not as committed: {FILES[name]}"
        assert len(refused.splitlines()) <= 1, refused


def test_without_git_nothing_is_said(tmp_path, monkeypatch):
    runner = load_runner()
    monkeypatch.setattr(runner, "NOTEBOOKS", tmp_path)
    assert runner.changed_inputs("50-tiny") == []
