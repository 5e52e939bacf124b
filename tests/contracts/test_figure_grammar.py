"""The grammar of figures: a method alone has its colour and marker, by METHOD_LOOK; published numbers are diamonds."""

import ast
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from matplotlib.colors import is_color_like, to_hex

from bso_lib.companion.figures import MEMORY_LOOK, METHOD_LOOK, PUBLISHED_LOOK, use_style
from bso_lib.companion.stills import COLORS

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BLACK = "#000000"  # T-BSO's, and the ink of edges, letters and lines of reference
COLOURS = {look["color"].lower() for look in METHOD_LOOK.values()} - {BLACK}
MARKERS = {look["marker"] for look in METHOD_LOOK.values()} | {PUBLISHED_LOOK["marker"]}
COLOUR_NAMES = {"c", "color", "colors", "ecolor", "edgecolor", "facecolor", "markeredgecolor", "markerfacecolor"}


def literals(source: str) -> list[tuple[str, str]]:
    """Return (name, text) of every argument and dictionary entry in ``source`` whose value is a text written there."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
        elif isinstance(node, ast.Dict):
            pairs = [(getattr(key, "value", None), value) for key, value in zip(node.keys, node.values, strict=True)]
        else:
            continue
        found += [(name, v.value) for name, v in pairs if isinstance(v, ast.Constant) and isinstance(v.value, str)]
    return found


def formats(source: str) -> list[str]:
    """Return every short format, such as "o-", that ``source`` gives to a plot by its place."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    plots = [call for call in calls if getattr(call.func, "attr", "") in ("plot", "errorbar", "loglog", "semilogx")]
    values = [getattr(each, "value", None) for call in plots for each in call.args]
    return [value for value in values if isinstance(value, str) and len(value) <= 4]


def broken(source: str) -> list[tuple[str, str]]:
    """Return what ``source`` takes of a method's look without METHOD_LOOK."""
    found = [("format", text) for text in formats(source) if set(text) & (MARKERS | set("bgrcmykwC"))]
    for name, value in literals(source):
        colour = name in COLOUR_NAMES and value != "none" and is_color_like(value) and to_hex(value) in COLOURS
        if colour or (name == "marker" and value in MARKERS):
            found.append((name, value))
    return found


def test_what_breaks_the_grammar_is_found():
    assert broken('axis.plot(x, y, color="#0072B2", marker="o")') == [("color", "#0072B2"), ("marker", "o")]
    assert broken('look = {"marker": "D", "facecolor": "#999"}') == [("marker", "D"), ("facecolor", "#999")]
    assert broken('axis.plot(x, y, "D:", label="b")') == [("format", "D:")]
    assert broken('axis.plot(x, y, "k--")') == [("format", "k--")]
    assert not broken('axis.plot(x, y, "--", color="#777777", marker="_", markerfacecolor="none", edgecolor="black")')


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_no_figure_takes_the_look_of_a_method_for_anything_else(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert broken(cell.source) == []


def test_no_other_list_of_colours_has_one_of_a_method():
    others = [*COLORS.values(), *(look["facecolor"] for look in MEMORY_LOOK.values())]
    assert not {to_hex(colour) for colour in others} & COLOURS


def test_a_line_that_is_given_no_look_looks_like_no_method():
    use_style()
    assert not {to_hex(colour) for colour in plt.rcParams["axes.prop_cycle"].by_key()["color"]} & {*COLOURS, BLACK}
