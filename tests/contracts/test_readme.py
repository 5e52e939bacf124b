"""README's ten lines run as printed, and what it points to exists."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_ten_lines_run_as_printed(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len(code.splitlines()) == 10
    check = "print(sorted(binary[0].unique().tolist()), len(optimizers[0].state))"
    done = subprocess.run([sys.executable, "-c", code + check], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[-1.0, 1.0] 1\n"


def test_links_and_pictures_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_the_tree_is_the_tree():
    (tree,) = re.findall(r"```text\n(.*?)```", README, flags=re.S)
    named = set(re.findall(r"^    (\w+\.py)", tree, flags=re.M))
    modules = {p.name for p in (ROOT / "bso_lib").glob("*.py")} - {"__init__.py"}
    assert named == modules
    packages = {f"{p.parent.name}/" for p in (ROOT / "bso_lib").glob("*/__init__.py")}
    assert packages <= set(re.findall(r"^    (\w+/) ", tree, flags=re.M))
    for listed in re.findall(r"^    (\S+)", tree, flags=re.M):
        assert (ROOT / "bso_lib" / listed).exists(), listed
