"""README's example runs as printed, its numbers are the figures', and what it and the other pages point to exists."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from bso_lib.companion.ledger import ledger

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = ["README.md", "CHANGELOG.md", "docs/scale.md", "docs/contributing.md", "figures/laptop/README.md"]


def test_it_is_short():
    assert len(README.splitlines()) <= 150
    assert README.index("![") < README.index("## Two commands") < 2600  # one picture, on the first screen


def test_the_example_runs_as_printed(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    check = "print(sorted(binary[0].unique().tolist()), len(optimizers[1].state), tuple(logits.shape))"
    done = subprocess.run([sys.executable, "-c", code + check], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[-1.0, 1.0] 1 (32, 2)\n"


def test_the_result_is_that_of_the_figure_above_it():
    table = pd.read_csv(ROOT / "figures" / "laptop" / "04-how-accurate-accuracy.csv")
    ours = table[table["source"].str.startswith("ours") & (table["width"] == 0.125)]
    means = ours.groupby("method")["accuracy"].mean()
    (result,) = re.findall(r"\*\*The result in three sentences\.\*\*(.*?)\n\n", README, flags=re.S)
    quoted = [float(number) for number in re.findall(r"(\d+\.\d)\s%", result)]
    expected = [means["T-BSO"], means["BSO"], means["STE + OTTT"], means["FP, OTTT"]]
    assert quoted == pytest.approx(expected, abs=0.051)
    seeds = ours.groupby("method")["seed"].count()
    assert [seeds[m] for m in ("T-BSO", "BSO", "STE + OTTT", "FP, OTTT")] == [10, 10, 10, 10]
    verdicts = ledger("laptop").set_index("id")["verdict"]
    for words, claim, verdict in (
        ("BSO is the better of the two here, against the paper's order", "t-bso-above-bso", "contradicted"),
        ("T-BSO stays within a point of latent weights, as claimed", "latent-weights-not-needed", "supported"),
        ("Full precision trained online stays ahead", "t-bso-above-fp-ottt", "contradicted"),
    ):
        assert words in " ".join(result.split())
        assert verdicts[claim].startswith(verdict)


def test_minutes_and_levels_are_those_that_the_notebooks_tell():
    for name, minutes, level in re.findall(
        r"^\| \[\d\d[ab]?\]\(notebooks/(.*?)\.ipynb\) .*\| (\d+) \| (\w+) \|$", README, flags=re.M
    ):
        head = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells[0].source
        if told := re.search(r"computing all runs anew takes about (\w+) minutes? on two cores", head):
            assert {"a": "1", "three": "3", "four": "4"}.get(told[1], told[1]) == minutes, name
        assert f"**Level** {level}." in head, name


def test_what_is_said_of_a_gpu_is_in_its_report():
    report = (ROOT / "docs" / "gpu-check.md").read_text()
    plain, graphed = (
        float(re.search(rf"^- {name}: ([\d.]+) ms", report, flags=re.M)[1])
        for name in ("T-BSO, plain", "T-BSO, plain, CUDA graph")
    )
    assert f"{graphed:.1f} ms instead of {plain:.1f} on an H200" in README
    exact = float(re.search(r"the step in exact arithmetic: .*?, ([\d.]+) times the float32 step", report)[1])
    assert exact == pytest.approx(8, abs=0.5)
    assert "eight times a float32 step" in README
    same = re.search(r"exact arithmetic, the same bits: SHA-256 (\w{64}) on both", report)
    assert "H200\n  gives the same bits" in README
    assert same[1] in README


def test_what_is_said_of_exact_arithmetic_is_in_its_benchmark():
    table = pd.read_csv(ROOT / "figures" / "bench" / "arithmetic.csv").set_index(["width", "batch_size"])
    taken = [table.loc[shape, "exact_of_float32"] for shape in ((1.0, 32), (1.0, 128), (0.125, 128), (0.0625, 128))]
    full, large, narrow, narrowest = (f"{ratio:.2f}" for ratio in taken)
    told = (
        f"takes {full} to {large} of the time of float32's (batch 32 and 128), and one at the widths of the notebooks"
    )
    assert f"{told}\n  {narrow} to {narrowest} of it (`make bench`)" in README


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_exist(page):
    prose = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#]+)[)#]", prose):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target


def test_the_rooms_are_the_rooms():
    (tree,) = re.findall(r"```text\n(.*?)```", README, flags=re.S)
    files = {p.name for p in (ROOT / "bso_lib").glob("*.py")} - {"__init__.py", "__main__.py"}
    assert set(re.findall(r"(\w+\.py)", tree)) == files
    packages = {f"{p.parent.name}/" for p in (ROOT / "bso_lib").glob("*/__init__.py")}
    assert set(re.findall(r"^(\w+/)", tree, flags=re.M)) == packages


def test_every_notebook_is_in_the_table():
    listed = re.findall(r"^\| \[\d\d[ab]?\]\(notebooks/(\S+)\.ipynb\)", README, flags=re.M)
    assert listed == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
