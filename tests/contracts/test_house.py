"""The shape of the house: which room may import from which, and one place for each idea."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bso_lib

PACKAGE = Path(bso_lib.__file__).parent
METHOD = ("reference", "surrogate", "traced", "neurons", "layers", "models", "optim", "training")  # in reading order
ROOMS = (
    "terminal",
    "data",
    "fast",
    "deploy",
    "exact",
    "experiment",
    "measure",
    "sweep",
    "regret",
    "companion",
    "bench",
)  # each from earlier
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def imports(path):
    """Yield what the file imports from the library, as tuples of a dotted name's parts; refuses relative imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (tuple(name.split(".")) for name in names if name.split(".")[0] == "bso_lib")


def test_there_are_these_rooms_and_no_other():
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} == set(ROOMS)
    assert {path.stem for path in PACKAGE.glob("*.py")} == {*METHOD, "__init__", "__main__"}
    for room in ROOMS:
        told = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))
        if room not in ("data", "bench"):
            for module in (PACKAGE / room).glob("[a-z]*.py"):
                assert re.search(rf"\b{module.stem}\b", told), f"{room} does not tell of {module.stem}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    inside = path.relative_to(PACKAGE).with_suffix("").parts
    if inside == ("__init__",):
        return  # the door
    for name in imports(path):
        assert len(name) > 1, f"{inside} imports the door"
        assert name[1] in METHOD + ROOMS, f"{inside} goes through the door for {name}"
        if len(inside) == 1 and inside[0] in METHOD:
            assert name[1] in METHOD, f"the method's {inside[0]} imports the room {name[1]}"
            assert METHOD.index(name[1]) < METHOD.index(inside[0]), f"{inside[0]} comes before {name[1]}"
        elif inside[0] in ROOMS:
            assert name[1] in METHOD + ROOMS[: ROOMS.index(inside[0]) + 1], f"{inside} imports {name}"
            assert name[1] != "reference", "nothing computes with the reference"


def test_the_method_is_read_in_an_hour():
    lines = [line for path in PACKAGE.glob("*.py") for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) <= 1000
    order = re.findall(r"^    (\w+)  ", bso_lib.__doc__, flags=re.M)
    assert tuple(order) == METHOD + ROOMS


def test_no_file_is_long():
    assert [str(p) for p in MODULES if len(p.read_text().splitlines()) > 300] == []


def test_the_update_rules_stand_in_two_places():
    """M <- beta M + (1 - beta) G and the flip, as they would be written anew: in optim.py, and in the reference."""
    anew = re.compile(r"alpha=1 - \w|value=-2|\+ \(1 - beta\w*\) \*|torch\.gt\(")
    assert {p.name for p in MODULES if anew.search(p.read_text())} == {"optim.py", "reference.py"}


def test_the_door_offers_what_it_says():
    found = {name: getattr(bso_lib, name) for name in bso_lib.__all__}
    assert set(bso_lib.__all__) == {name for names in bso_lib._HOME.values() for name in names} <= set(dir(bso_lib))
    block = next(n for n in ast.parse((PACKAGE / "__init__.py").read_text()).body if isinstance(n, ast.If))
    assert {(n.module, a.name) for n in block.body for a in n.names} == {
        (module, name) for module, names in bso_lib._HOME.items() for name in names
    }
    assert all(found[n].__module__.startswith(m) for m, names in bso_lib._HOME.items() for n in names)
    with pytest.raises(AttributeError, match="module 'bso_lib' has no attribute 'BOS'; it has BSO, LIF"):
        bso_lib.BOS  # noqa: B018


def test_opening_the_door_imports_nothing():
    code = "import sys, bso_lib; print(sorted(m for m in sys.modules if m.startswith(('torch', 'numpy', 'bso_lib.'))))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
