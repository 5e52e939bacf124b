"""What a reader sees of the notebooks' code: short cells, few imports, and mostly lines that compute or show the idea.

Counted are the lines of visible code cells that are neither blank nor a comment. Plumbing among them: imports, the cell
of parameters, and each statement that names a figure or a verdict. All other lines compute or show the idea.
"""

import ast
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
FIGURES = {"plt", "figure", "axis", "axes", "save", "use_style", "draw_seeds", "name_line", "provenance"}
VERDICTS = {"record", "describe", "judge", "judge_number", "judge_family", "Markdown", "display"}


def visible_cells(path):
    """Return the visible code cells of the notebook at ``path``."""
    cells = nbformat.read(path, as_version=4).cells
    hidden = ("hide-input", "hide-cell")
    return [c for c in cells if c.cell_type == "code" and not set(hidden) & set(c.metadata.get("tags", ()))]


def code_lines(source, node):
    """Return how many lines of ``node`` hold code."""
    lines = source.splitlines()[node.lineno - 1 : node.end_lineno]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)


def counted(path):
    """Return (lines that compute or show the idea, all visible lines) of the notebook at ``path``."""
    idea = every = 0
    for cell in visible_cells(path):
        for node in ast.parse(cell.source).body:
            names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            plumbing = isinstance(node, ast.Import | ast.ImportFrom) or names & (FIGURES | VERDICTS)
            lines = code_lines(cell.source, node)
            every += lines
            idea += 0 if plumbing or "parameters" in cell.metadata.get("tags", ()) else lines
    return idea, every


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_are_short_and_imports_few(path):
    for cell in visible_cells(path):
        nodes = ast.parse(cell.source).body
        given = "parameters" in cell.metadata.get("tags", ())
        assert given or sum(code_lines(cell.source, node) for node in nodes) <= 15, cell.source
        imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
        assert sum(code_lines(cell.source, node) for node in imports) <= 6, cell.source


def test_most_of_what_is_seen_computes_or_shows_the_idea():
    counts = {path.stem: counted(path) for path in NOTEBOOKS}
    assert sum(idea for idea, _ in counts.values()) >= 0.6 * sum(every for _, every in counts.values())
    assert min(idea / every for idea, every in counts.values()) >= 0.5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_line_that_does_it_is_shown_live_and_a_prediction_asked_for(path):
    calls = [n for c in visible_cells(path) for n in ast.walk(ast.parse(c.source)) if isinstance(n, ast.Call)]
    assert any(getattr(call.func, "id", "") == "source" for call in calls)
    prose = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"]
    assert "**Predict" in "\n".join(prose)
