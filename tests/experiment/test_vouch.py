"""``make vouch``: passes where the present code finds what is kept, and names the run that it does not find."""

import json
from dataclasses import replace

import pytest

from bso_lib.experiment import vouch
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.evidence import evidence_key, find, keep
from bso_lib.experiment.fingerprint import source_fingerprint
from bso_lib.experiment.run import run

TINY = RunConfig(
    train_size=50, width=1 / 32, batch_norm="per-step", time_steps=1, epochs=1, batch_size=50, arithmetic="exact",
    device="cpu",
)  # fmt: skip
SECOND = replace(TINY, epochs=2, start_from=TINY)
ROUGH = replace(TINY, arithmetic="float32")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BSO_EVIDENCE", str(tmp_path / "kept"))
    monkeypatch.setenv("BSO_KEEP_EVIDENCE", "1")
    for config in (SECOND, ROUGH, replace(TINY, seed=1)):  # SECOND brings TINY
        run(config, progress=False).load_model()
    return tmp_path / "kept"


def vouched(monkeypatch, *arguments):
    """Return the exit status of the command."""
    monkeypatch.setattr("sys.argv", ["vouch", *arguments])
    with pytest.raises(SystemExit) as left:
        vouch.main()
    return left.value.code


def record(kept):
    path = kept / "vouched.json"
    return json.loads(path.read_text()) if path.exists() else {}


def test_runs_that_come_out_the_same_vouch_for_the_code(kept, monkeypatch, capsys):
    before = {path: path.read_bytes() for path in kept.iterdir()}
    assert vouched(monkeypatch, "--sample", "9", "--budget", "600") == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"4 runs are kept in {kept}, which took 0.00 h to compute\n")
    assert out.count(": the same to the last digit\n") == 3  # the exact ones
    assert err == ""
    (entry,) = record(kept).values()
    assert set(record(kept)) == {source_fingerprint()}
    assert entry["runs"] == sorted(evidence_key(c) for c in (TINY, SECOND, replace(TINY, seed=1)))
    assert {path: path.read_bytes() for path in before} == before
    written = (kept / "vouched.json").read_bytes()
    assert vouched(monkeypatch, "--sample", "1", "--budget", "600") == 0
    assert (kept / "vouched.json").read_bytes() == written


def test_a_forged_accuracy_is_named_with_and_without_a_new_sha256(kept, monkeypatch, capsys):
    result = find(SECOND)
    result.history.loc[1, "accuracy"] = 99.0
    keep(replace(result, origin="computed"))
    assert vouched(monkeypatch, "--sample", "9", "--budget", "600") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith(f"run {evidence_key(SECOND)} of fashion-mini-t-bso.jsonl differs in history: ")
    assert "99.00 % in the evidence" in err
    assert record(kept) == {}

    path = kept / "fashion-mini-t-bso.jsonl"
    path.write_text(path.read_text().replace("99.0", "98.0"))
    assert vouched(monkeypatch, "--sample", "0") == 1
    assert f"entry {evidence_key(SECOND)}: its content does not match its sha256" in capsys.readouterr().err


def test_a_damaged_network_and_a_line_that_is_no_entry_are_named(kept, monkeypatch, capsys):
    network = kept / f"{evidence_key(ROUGH)}.safetensors"
    network.write_bytes(network.read_bytes()[:-1])
    assert vouched(monkeypatch, "--sample", "0") == 1
    assert f"{network} is damaged or another" in capsys.readouterr().err
    (kept / "fashion-mini-fp.jsonl").write_text("<<<<<<< HEAD\n")
    assert vouched(monkeypatch, "--sample", "0") == 1
    assert "fashion-mini-fp.jsonl, line 1" in capsys.readouterr().err


def test_the_draw_follows_the_commit_and_keeps_to_its_budget(kept):
    runs, refused = vouch.read_all()
    assert refused == []
    slow = [replace(r, provenance=r.provenance | {"seconds": 10.0}) for r in runs]
    exact = {evidence_key(c) for c in (TINY, SECOND, replace(TINY, seed=1))}

    def drawn(lot, sample, budget):
        return [evidence_key(result.config) for result in vouch.draw(slow, lot, sample, budget)]

    assert set(drawn("a", 9, 100)) == exact
    assert drawn("a", 2, 100) == drawn("a", 9, 100)[:2]
    assert len({tuple(drawn(lot, 9, 100)) for lot in "abcdefgh"}) > 1
    assert evidence_key(SECOND) not in drawn("a", 9, 15)  # its first phase costs 10 s besides
    assert len(drawn("a", 9, 15)) == 1
    assert drawn("a", 9, 5) == []
    alone = [result for result in slow if evidence_key(result.config) == evidence_key(SECOND)]
    assert len(alone) == 1
    assert vouch.draw(alone, "a", 9, 100) == []  # nobody knows what its first phase takes
    of_gpu = [replace(r, provenance=r.provenance | {"machine": {"gpu": "a GPU"}}) for r in slow]
    assert vouch.draw(of_gpu, "a", 9, float("inf")) == []  # nor what a CPU takes for what a GPU computed


def test_runs_on_a_set_that_came_out_otherwise_are_told_and_left_out(kept, monkeypatch, capsys):
    monkeypatch.setattr(vouch, "made_alike", lambda name: name != "fashion-mini")
    assert vouched(monkeypatch, "--sample", "2", "--budget", "600") == 0
    out = capsys.readouterr().out
    assert out.count("not computed: fashion-mini has other bytes on this machine") == 2
    assert "0 computed again" in out
    assert record(kept) == {}


def test_nothing_to_vouch_for_passes(tmp_path, monkeypatch, capsys):
    for folder in ("", str(tmp_path / "none")):
        monkeypatch.setenv("BSO_EVIDENCE", folder)
        monkeypatch.setattr("sys.argv", ["vouch"])
        vouch.main()
        assert capsys.readouterr().out == "there is no evidence to vouch for\n"
    (tmp_path / "none").mkdir()
    assert vouched(monkeypatch) == 0
    assert "0 computed again" in capsys.readouterr().out
    assert list((tmp_path / "none").iterdir()) == []
    assert vouched(monkeypatch, "--sample", "-1") == 2
    assert "must not be negative" in capsys.readouterr().err
