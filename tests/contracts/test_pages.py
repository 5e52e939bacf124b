"""The pages of docs/ are true: their code runs, their links lead somewhere, and told defaults are true."""

import inspect
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from bso_lib import LIF, TBSO
from bso_lib.surrogate import ALPHA

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
MISTAKES = dict(re.findall(r"^#+ (.+?)\n(.*?)(?=^## |\Z)", (DOCS / "common-mistakes.md").read_text(), re.M | re.S))
RECIPES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", (DOCS / "recipes.md").read_text(), re.M | re.S))
SHARED = BLOCK.findall(MISTAKES.pop("Common mistakes"))


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Names of the page's first block: what all mistakes share."""
    names = {}
    exec("".join(SHARED), names)
    return names


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_code_of_a_mistake_does_what_it_says(mistake, session):
    assert len(SHARED) == 1
    (code,) = BLOCK.findall(MISTAKES[mistake])
    assert "assert" in code
    exec(compile(code, mistake, "exec"), dict(session))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_ends_with_flipped_weights(recipe, tmp_path):
    (package,) = re.findall(r"^pip install (\w+)$", RECIPES[recipe], re.M)
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    (code,) = BLOCK.findall(RECIPES[recipe])
    assert code.count("assert") == 2
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def anchors(path):
    """Return the anchors of the headings of a page, as GitHub and the book make them."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", sorted(p.name for p in DOCS.glob("*.md")))
def test_links_lead_somewhere(page):
    prose = re.sub(r"^```.*?^```", "", (DOCS / page).read_text(), flags=re.M | re.S)
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", re.sub(r"`[^`]*`", "", prose)):
        if "://" in target:
            continue
        path = (DOCS / target).resolve() if target else DOCS / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


def test_the_glossary_has_the_terms_of_the_notebooks():
    terms = set(re.findall(r"^## (.+)$", (DOCS / "glossary.md").read_text(), re.M))
    needed = {
        "Per-step BatchNorm", "STE", "OTTT", "NDOT", "Flip rate", "FP", "Trace", "Surrogate gradient", "Latent weight",
        "Exact arithmetic", "Regret", "BPTT", "LIF neuron", "Momentum", "BSO", "T-BSO",
    }  # fmt: skip
    assert needed <= terms


def test_the_defaults_in_the_notation_are_the_librarys():
    table = (DOCS / "notation.md").read_text()
    lif, tbso = (inspect.signature(kind).parameters for kind in (LIF, TBSO))
    assert f"leaves of a potential in one step: {lif['decay'].default:g} |" in table
    assert f"potential at which a neuron fires: {lif['threshold'].default:g} |" in table
    assert f"behind the surrogate gradient: {ALPHA:g} |" in table
    assert tbso["eps"].default == 1e-20
    assert "away from 0: $10^{-20}$ |" in table
