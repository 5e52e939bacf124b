"""The exercises: whole as they are committed (nbval runs them), and without their solutions they fail at the tasks.

The students' version runs here without a kernel, cell by cell in one dictionary.
"""

import importlib.util
import os
import re
from pathlib import Path
from unittest import mock

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks" / "exercises"
PATHS = sorted(FOLDER.glob("*.ipynb"))


def load_students():
    spec = importlib.util.spec_from_file_location("students", FOLDER / "students.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


students = load_students()


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


def code_of(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def kinds(notebook):
    """Return "task", "check" (the cell after a task) or "given" for each code cell."""
    told, before = [], None
    for cell in code_of(notebook):
        before = "task" if "### BEGIN SOLUTION" in cell.source else "check" if before == "task" else "given"
        told.append(before)
    return told


def outcomes(cells, monkeypatch):
    """Run the cells in one dictionary, in the folder of the exercises; return the error of each, or None."""
    monkeypatch.chdir(FOLDER)
    names, errors = {"__name__": "__main__"}, []
    with mock.patch.dict(os.environ):
        for cell in cells:
            try:
                exec(compile(cell.source, "cell", "exec"), names)
                errors.append(None)
            except Exception as error:
                errors.append(error)
    return errors


def test_there_are_eight_or_more():
    assert len(PATHS) >= 8
    assert students.exercises() == PATHS  # each has its number, and so a place in the book


def test_an_exercise_is_tasks_with_checks_and_was_run(path):
    notebook = nbformat.read(path, as_version=4)
    cells, told = code_of(notebook), kinds(notebook)
    assert 3 <= told.count("task") <= 5
    assert told.count("check") == told.count("task")
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    for cell, kind in zip(cells, told, strict=True):
        assert not [o for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"]
        assert ("assert " in cell.source) == (kind == "check")
        assert cell.metadata.get("tags", []) == (["hide-input"] if kind == "task" else [])  # the book folds solutions
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert notebook.cells[0].source.startswith("# Exercises: ")
    assert re.search(r"\]\(\.\./\.\./notebooks/\d\d-\S+\.ipynb\)", prose)
    assert "](../../docs/glossary.md#" in prose
    assert re.search(r"Eq\. \d|Table \d|Fig\. \d|Theorem \d|ledger", prose)
    assert len(re.findall(r"^## \d\. ", prose, re.M)) == told.count("task")
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert str(ROOT) not in nbformat.writes(notebook)


def test_without_solutions_it_fails_at_the_tasks_and_nowhere_else(path, monkeypatch):
    solved = nbformat.read(path, as_version=4)
    told = kinds(solved)
    empty = students.students_version(solved)
    errors = outcomes(code_of(empty), monkeypatch)
    for kind, error, after in zip(told, errors, [*errors[1:], None], strict=True):
        if kind == "given":
            assert error is None
        if kind == "task":  # a value is missing at once, a function when the check calls it
            assert isinstance(error or after, NotImplementedError)
            assert after is not None
    text = nbformat.writes(empty)
    assert "SOLUTION" not in text
    assert "<summary>Solution" not in text
    assert not any(c.outputs or c.execution_count for c in code_of(empty))


def test_a_check_is_not_passed_by_an_answer_that_is_none(path, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    told = kinds(notebook)
    for cell in code_of(notebook):
        cell.source = students.SOLUTION.sub(r"\1pass", cell.source)
    for kind, error in zip(told, outcomes(code_of(notebook), monkeypatch), strict=True):
        assert (error is not None) == (kind == "check")


def test_it_writes_them_all_where_their_links_lead_somewhere(tmp_path):
    students.write(tmp_path)
    assert [p.name for p in sorted(tmp_path.iterdir())] == [p.name for p in PATHS]
    assert students.TARGET.parents[1] == ROOT  # two below the root, as the exercises themselves
    for path in tmp_path.iterdir():
        for link in re.findall(r"\]\(([^)#:]+)[)#]", path.read_text()):
            assert (students.TARGET / link).resolve().exists() or (FOLDER / link).resolve().exists(), link
            assert link.startswith("../../"), link


def test_a_mark_without_its_partner_is_refused():
    cell = nbformat.v4.new_code_cell("def f():\n    ### BEGIN SOLUTION\n    return 1")
    with pytest.raises(ValueError, match="has no partner in this cell:\ndef f"):
        students.students_version(nbformat.v4.new_notebook(cells=[cell]))
