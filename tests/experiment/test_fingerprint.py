"""The fingerprint: what it sees, what it does not, and what it refuses."""

import os
import runpy
import shutil
import sys
from pathlib import Path

import pytest

import bso_lib
from bso_lib.experiment.fingerprint import PACKAGE, embedded_data, library_fingerprint, source_fingerprint, sources_of


def test_the_fingerprint_sees_code_that_computes_and_nothing_else(tmp_path):
    copy = tmp_path / "bso_lib"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    before = source_fingerprint(package=copy)
    assert before == source_fingerprint()

    def after(name, change):
        path = copy / name
        original = path.read_text()
        assert change(original) != original
        path.write_text(change(original))
        changed = source_fingerprint(package=copy)
        path.write_text(original)
        return changed

    for name in ("optim.py", "neurons.py", "data/images.py", "fast/packed_optim.py", "experiment/run.py"):
        assert after(name, lambda text: text + "\nEXTRA = 1\n") != before, name
    assert after("optim.py", lambda text: text.replace("torch.gt(agreement", "torch.ge(agreement")) != before
    assert after("optim.py", lambda text: text + "\n# a comment\n") == before
    assert after("optim.py", lambda text: text.replace("Eq. 11-14", "Eq. 11 to 14")) == before
    for name in ("companion/figures.py", "companion/ledger.py", "deploy/network_file.py", "reference.py"):
        assert after(name, lambda text: text + "\nEXTRA = 1\n") == before, name
    assert "bso_lib.data.images" in sources_of()


def test_the_door_does_not_make_it_grow():
    # bso_lib/__init__.py is behind every module; what it offers is not.
    assert "bso_lib" in sources_of()
    assert not {"bso_lib.deploy.network_file", "bso_lib.sweep.planning", "bso_lib.reference"} & set(sources_of())
    assert set(sources_of("bso_lib.optim")) == {"bso_lib", "bso_lib.optim"}


def test_a_relative_import_is_refused(tmp_path):
    package = tmp_path / "bso_lib"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "optim.py").write_text("from . import traced\n")
    with pytest.raises(ValueError, match=r"optim.py, line 1: a relative import; write out the module's whole name"):
        sources_of("bso_lib.optim", package)


def test_missing_data_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no embedded data set"):
        embedded_data(tmp_path)
    assert {path.name for path in embedded_data()} == {"fashion-mini.npz", "spoken-mini.npz"}
    assert Path(bso_lib.__file__).parent == PACKAGE


@pytest.mark.filterwarnings("ignore:'bso_lib.experiment.fingerprint' found in sys.modules")
def test_the_file_for_make_keeps_its_date_unless_code_changes(tmp_path, monkeypatch):
    out = tmp_path / "build" / "code"
    monkeypatch.setattr(sys, "argv", ["fingerprint", str(out)])

    def make():
        runpy.run_module("bso_lib.experiment.fingerprint", run_name="__main__")
        return out.read_text()

    now = make()
    os.utime(out, (1, 1))
    assert make() == now
    assert out.stat().st_mtime == 1
    out.write_text("of other code")
    assert make() == now == library_fingerprint()


def test_a_docstring_does_not_change_it_and_code_does(tmp_path):
    copy = tmp_path / "bso_lib"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    figures = copy / "companion" / "figures.py"
    text = figures.read_text()
    figures.write_text(f"# a comment\n{text}".replace("One look for all figures", "Another docstring"))
    assert library_fingerprint(copy) == library_fingerprint()
    figures.write_text(text.replace('"savefig.dpi": 150', '"savefig.dpi": 151'))
    assert library_fingerprint(copy) != library_fingerprint()
