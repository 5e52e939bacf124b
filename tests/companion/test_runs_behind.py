"""From a row of the ledger to its runs: all of what its keys name, and nothing else."""

import re
from dataclasses import replace

import pandas as pd
import pytest

from bso_lib.companion.runs_behind import links, runs_behind
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.evidence import DamagedEvidence, evidence_key, keep
from bso_lib.experiment.result import RunResult

ASKED = RunConfig(method="bso", width=1 / 8, epochs=3, gamma=1e-7, augment=("flip",))


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Keep a run of each seed from 2 down to 0, and return their keys as a row of the ledger has them."""
    monkeypatch.setenv("BSO_EVIDENCE", str(tmp_path))
    for seed in (2, 1, 0):
        told = {"seconds": 10.0 + seed, "device": "cpu, 2 threads", "commit": f"c{seed}", "num_classes": 10}
        history = pd.DataFrame({"epoch": [1], "accuracy": [80.0 + seed]})
        keep(RunResult(replace(ASKED, seed=seed), history, told, None, kept_checksum="ab" * 32))
    return " ".join(evidence_key(replace(ASKED, seed=seed)) for seed in (2, 0))


def test_a_row_leads_to_its_runs(kept):
    found = runs_behind(kept)
    assert list(found["seed"]) == [0, 2]
    assert list(found["key"]) == kept.split()[::-1]
    assert found[["accuracy", "seconds", "commit"]].to_numpy().tolist() == [[80.0, 10.0, "c0"], [82.0, 12.0, "c2"]]
    assert [RunConfig(**row.config, seed=row.seed) for row in found.itertuples()] == [ASKED, replace(ASKED, seed=2)]


def test_each_run_has_a_link_to_its_line(kept, tmp_path, monkeypatch):
    lines = (tmp_path / "fashion-mini-bso.jsonl").read_text().splitlines()
    for key, link in links("runs").items():
        seed, number = re.fullmatch(r"\[bso (\d)\]\(runs/fashion-mini-bso.jsonl#L(\d)\)", link).groups()
        assert f'"key":"{key}"' in lines[int(number) - 1]
        assert key == evidence_key(replace(ASKED, seed=int(seed)))
    assert set(kept.split()) < set(links())
    monkeypatch.setenv("BSO_EVIDENCE", "")
    assert links() == {}


def test_what_is_not_kept_is_left_out(kept, monkeypatch):
    assert runs_behind("").empty
    assert list(runs_behind(f"{kept} {'0' * 16}")["seed"]) == [0, 2]
    monkeypatch.setenv("BSO_EVIDENCE", "")
    assert runs_behind(kept).empty
    assert {"config", "seed", "seconds", "commit"} <= set(runs_behind(kept).columns)


def test_a_forged_run_is_refused(kept, tmp_path):
    (path,) = tmp_path.glob("*.jsonl")
    path.write_text(path.read_text().replace("82.0", "92.0"))
    with pytest.raises(DamagedEvidence, match=r"fashion-mini-bso.jsonl, entry \w{16}: its content does not"):
        runs_behind(kept)
