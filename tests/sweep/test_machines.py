"""Machines that one plays: their environment, and a table that is added to."""

from pathlib import Path

import pandas as pd

from bso_lib.experiment.config import RunConfig
from bso_lib.sweep.machines import EVIDENCE, MACHINES, Machine, collect, play

EVIDENCE_FOLDER = Path(__file__).parents[2] / "notebooks" / "evidence"
TINY = RunConfig(
    width=1 / 64, train_size=20, batch_size=10, epochs=1, batch_norm="per-step", record_flips=False, device="cpu",
    arithmetic="exact",
)  # fmt: skip


def test_a_machine_is_an_environment():
    assert Machine(3).environment() == {"OMP_NUM_THREADS": "3", "GOMP_SPINCOUNT": "1000", "BSO_KEEP_EVIDENCE": "0"}
    assert Machine(instructions="SSE").environment()["ATEN_CPU_CAPABILITY"] == "default"
    assert Machine(instructions="AVX2").environment()["ONEDNN_MAX_CPU_ISA"] == "AVX2"


def test_the_evidence_meets_each_value_twice():
    machines = [*EVIDENCE.values()]
    for field, values in (("threads", (1, 2)), ("instructions", ("all", "AVX2")), ("processes", (1, 2, 4))):
        for value in values:
            assert sum(getattr(machine, field) == value for machine in machines) >= 2, (field, value)
    assert sum(machine.packed for machine in machines) >= 2
    assert len(set(MACHINES.values())) == len(MACHINES)


def test_a_table_is_added_to_and_machines_agree(tmp_path):
    out = tmp_path / "machines.csv"
    first = {"one": Machine(), "packed, SSE": Machine(1, "SSE", packed=True)}
    collect({"T-BSO": TINY}, first, out)
    table = pd.read_csv(out)
    assert table["machine"].tolist() == list(first)
    assert table["checksum"].nunique() == 1
    table.loc[0, "accuracy"] = -1  # would be computed anew, if rows were
    table.to_csv(out, index=False)
    collect({"T-BSO": TINY}, first, out)
    assert pd.read_csv(out)["accuracy"][0] == -1


def test_committed_runs_have_one_checksum_on_all_machines_played_or_real():
    played, real = (pd.read_csv(EVIDENCE_FOLDER / f"{name}.csv") for name in ("machines", "arithmetic"))
    both = pd.concat([played, real[(real["arithmetic"] == "exact") & real["seed"].isin(played["seed"])]])
    assert set(both["method"]) == {"BSO", "T-BSO", "STE + OTTT"}
    assert (both.groupby(["method", "seed"])["checksum"].nunique() == 1).all()
    assert both["processor"].nunique() >= 2
    assert set(played["machine"]) <= set(EVIDENCE)


def test_what_cannot_be_packed_stays_plain():
    result, checksum = play(RunConfig(**{**vars(TINY), "method": "ste"}), Machine(packed=True))
    assert result.config.packed == "no"
    assert len(checksum) == 64
