"""Committed notebooks, ledger and gallery tell the same: every row that the ledger has, a notebook shows."""

import json
from pathlib import Path

import nbformat
import pytest
import yaml

from bso_lib.companion.ledger import describe
from bso_lib.companion.row import Row

ROOT = Path(__file__).parents[2]
RECORDED = sorted((ROOT / "figures" / "laptop").glob("*.claims.json"))
LARGER = {
    name for name in yaml.safe_load((ROOT / "notebooks" / "profiles" / "laptop.yaml").read_text()) if name != "every"
}


def shown(name):
    """Return the lines that describe a finding in the committed outputs of notebook ``name``."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    texts = [o["data"].get("text/markdown", "") for o in outputs if "data" in o]
    return {line for text in texts for line in text.splitlines() if line.startswith("- **")}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name.removesuffix(".claims.json"))
def test_a_committed_notebook_shows_what_the_ledger_says(path):
    name = path.name.removesuffix(".claims.json")
    rows = [Row(**entry | {"runs": tuple(entry["runs"])}) for entry in json.loads(path.read_text())]
    lines = shown(name)
    assert rows
    assert lines
    for row in rows:
        told = describe([row])
        if name in LARGER:  # played in other sizes: other numbers, and the smaller may leave it undecided
            head = told.partition(". Ours: ")[0]
            heads = head, head.replace(row.verdict, "undecided", 1)
            assert any(line.startswith(heads) for line in lines), f"{name} does not say: {head}"
        else:
            assert told in lines, f"{name} does not say: {told}"
