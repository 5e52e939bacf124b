"""docs/contributing.md is true: each recipe, followed to the letter in a copy of the checkout, ends where it says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "contributing.md").read_text(), re.M | re.S))
ENDS = {  # what the recipe's last commands print
    "An optimizer": r"slow-bso, online: \d+\.\d\d % accuracy, fashion-mini \(200 images\)",
    "A data set": r"stripes: 200 training and 50 test images in .*\n.*t-bso, online: \d+\.\d\d % accuracy, stripes",
    "A notebook": r"notebooks/17-mine.ipynb: done\n(.*\n)*\d+ passed",
    "A claim": r"^holds\nsupported here \(reduced scale\)\n\+1.60 points \[",
}


@pytest.fixture
def copy(tmp_path):
    """The checkout as it would be committed, in a repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    folder = tmp_path / "copy"
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith("figures/laptop"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def test_every_recipe_is_followed():
    assert set(RECIPES) == set(ENDS)


@pytest.mark.parametrize("recipe", ENDS)
def test_a_recipe_ends_where_it_says(recipe, copy, tmp_path):
    printed = ""
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(copy), "BSO_CACHE": str(tmp_path / "runs")}
    for kind, text in re.findall(r"^```(diff|sh)\n(.*?)^```", RECIPES[recipe], re.M | re.S):
        if kind == "diff":
            done = subprocess.run(["git", "apply", "-"], input=text, cwd=copy, capture_output=True, text=True)
        else:
            command = ["bash", "-e", "-c", text]
            done = subprocess.run(command, env=environment, cwd=copy, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        printed += done.stdout
    assert re.search(ENDS[recipe], printed), printed
