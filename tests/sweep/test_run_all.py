"""run_all: one origin for all runs, the evidence or this machine, and what is computed besides is compared."""

from dataclasses import replace

import pytest
import torch

from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.evidence import DamagedEvidence, DiffersFromEvidence, find, keep
from bso_lib.experiment.run import run
from bso_lib.sweep import comparison
from bso_lib.sweep.comparison import run_all

TINY = RunConfig(
    train_size=50, width=1 / 32, batch_norm="per-step", time_steps=1, epochs=1, batch_size=50, arithmetic="exact",
    device="cpu",
)  # fmt: skip
CONFIGS = {name: [replace(TINY, method=name, seed=seed) for seed in (0, 1, 2)] for name in ("bso", "t-bso")}
ALL = [config for group in CONFIGS.values() for config in group]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Keep all runs in a folder of their own, beside a cache that has them too."""
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BSO_EVIDENCE", str(tmp_path / "kept"))
    monkeypatch.setenv("BSO_KEEP_EVIDENCE", "1")
    for config in ALL:
        run(config, progress=False)
    monkeypatch.delenv("BSO_KEEP_EVIDENCE")
    return tmp_path / "kept"


def origins(results):
    return {result.origin for group in results.values() for result in group}


def alter(config, **changes):
    """Let the evidence of ``config`` tell something else than what was computed."""
    result = find(config)
    result.history.loc[0, "accuracy"] = 99.0
    keep(replace(result, origin="computed", provenance=result.provenance | changes))


@pytest.mark.parametrize(
    ("recompute", "origin", "line"),
    [
        (0, "evidence", "0 of 6 runs computed here, all read from the evidence\n"),
        (2, "evidence", "4 of 6 runs computed here, 4 equal to the last digit\n"),
        (9, "evidence", "6 of 6 runs computed here, 6 equal to the last digit\n"),
        ("all", "computed", "6 of 6 runs computed here, 6 equal to the last digit\n"),
    ],
)
def test_one_origin_and_one_line(recompute, origin, line, kept, capsys):
    results = run_all(CONFIGS, recompute)
    out, err = capsys.readouterr()
    assert (origins(results), out) == ({origin}, line)
    assert err == ("" if recompute == 0 else f"{line.split()[0]} runs, all cached\n")
    assert [[r.config for r in group] for group in results.values()] == list(CONFIGS.values())


def test_a_run_that_differs_is_named(kept):
    alter(CONFIGS["bso"][1])
    assert run_all(CONFIGS)["bso"][1].accuracy == 99.0  # not compared
    assert run_all(CONFIGS, 1)["bso"][1].accuracy == 99.0
    for recompute in (2, "all"):
        with pytest.raises(DiffersFromEvidence) as told:
            run_all(CONFIGS, recompute)
        assert "of fashion-mini-bso.jsonl differs in history: " in str(told.value)
        assert "% computed here, 99.00 % in the evidence (bso, fashion-mini (50 images)" in str(told.value)
        assert "seed 1)" in str(told.value)
        assert "\n" not in str(told.value)


def test_a_run_on_a_set_that_came_out_otherwise_is_counted(kept, capsys, monkeypatch):
    alter(CONFIGS["bso"][0])
    monkeypatch.setattr(comparison, "made_alike", lambda name: False)
    assert run_all(CONFIGS, 1)["bso"][0].accuracy == 99.0
    assert capsys.readouterr().out == "2 of 6 runs computed here, 1 equal to the last digit\n"


def test_a_forged_entry_stops_it(kept):
    path = kept / "fashion-mini-bso.jsonl"
    path.write_text(path.read_text().replace('"accuracy":[', '"accuracy":[1', 1))
    for recompute in (0, "all"):
        with pytest.raises(DamagedEvidence, match="its content does not match its sha256"):
            run_all(CONFIGS, recompute)


def test_float32_runs_that_differ_are_counted(kept, capsys, monkeypatch):
    rough = {"fp": [replace(TINY, arithmetic="float32", seed=seed) for seed in (0, 1)]}
    monkeypatch.setenv("BSO_KEEP_EVIDENCE", "1")
    run_all(rough)
    monkeypatch.delenv("BSO_KEEP_EVIDENCE")
    alter(rough["fp"][0])
    capsys.readouterr()
    assert run_all(rough, 2)["fp"][0].accuracy == 99.0
    assert capsys.readouterr().out == "2 of 2 runs computed here, 1 equal to the last digit\n"


@pytest.mark.parametrize("told", [{"seconds": comparison.SHORT + 1}, {"machine": {"gpu": "a GPU"}}])
def test_long_runs_and_those_of_a_gpu_are_not_computed_only_to_be_compared(told, kept, capsys):
    alter(CONFIGS["bso"][0], **told)
    run_all(CONFIGS, 1)
    assert capsys.readouterr().out == "1 of 6 runs computed here, 1 equal to the last digit\n"


def test_where_evidence_lacks_a_run_all_are_computed_here_unless_it_is_added(kept, capsys, monkeypatch):
    more = CONFIGS | {"bso": [*CONFIGS["bso"], replace(TINY, method="bso", seed=3)]}
    assert origins(run_all(more)) == {"computed"}
    out, err = capsys.readouterr()
    assert out == "7 of 7 runs computed here, 6 of 6 equal to their evidence to the last digit\n"
    assert err.startswith("no evidence of 1 runs: to compare like with like all are computed here\n")
    assert find(more["bso"][3]) is None
    monkeypatch.setenv("BSO_KEEP_EVIDENCE", "1")
    assert origins(run_all(more)) == {"evidence"}
    assert find(more["bso"][3]) is not None


def test_all_of_it_replaces_what_is_kept(kept, monkeypatch):
    alter(CONFIGS["bso"][1])
    monkeypatch.setenv("BSO_KEEP_EVIDENCE", "1")
    results = run_all(CONFIGS, "all")
    assert origins(results) == {"computed"}
    assert find(CONFIGS["bso"][1]).accuracy == results["bso"][1].accuracy != 99.0


def test_without_evidence_all_are_computed(kept, capsys, monkeypatch):
    monkeypatch.setenv("BSO_EVIDENCE", "")
    assert origins(run_all(CONFIGS, 1)) == {"computed"}
    assert capsys.readouterr().out == "6 of 6 runs computed here\n"
    assert run_all({}) == {}


def test_exact_runs_are_computed_side_by_side_with_one_thread_each(kept, capfd, tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "another"))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        rough = replace(TINY, method="fp", arithmetic="float32")  # whose digits the threads decide
        results = run_all(CONFIGS | {"fp": [rough]}, "all")
    finally:
        torch.set_num_threads(before)
    assert capfd.readouterr().out == "7 of 7 runs computed here, 6 of 6 equal to their evidence to the last digit\n"
    threads = {name: {r.provenance["device"] for r in group} for name, group in results.items()}
    assert threads == {"bso": {"cpu, 1 threads"}, "t-bso": {"cpu, 1 threads"}, "fp": {"cpu, 2 threads"}}


@pytest.mark.parametrize("recompute", [-1, True, 1.5, "some", None])
def test_another_recompute_is_refused(recompute):
    with pytest.raises(ValueError, match=r"recompute=.*: must be 0, a number of seeds, or 'all'"):
        run_all(CONFIGS, recompute)
