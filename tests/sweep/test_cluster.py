"""Runs as jobs of submitit's local executor: the same cache, the same results, failures by name."""

import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from bso_lib.experiment import run as experiments
from bso_lib.experiment.config import RunConfig
from bso_lib.measure.one_thread import one_thread
from bso_lib.sweep import cluster, comparison
from bso_lib.sweep.cluster import JobsFailed, parse_executor, spread

TINY = RunConfig(method="bso", train_size=100, width=1 / 32, epochs=1, time_steps=1, batch_size=20, device="cpu")


@pytest.mark.parametrize(("executor", "told"), [("local", "logs in "), ("pool processes=2", "stderr has more. ")])
@one_thread()  # as the jobs have: spikes amplify another order of summation
def test_runs_spread_over_jobs_are_those_of_this_process_and_failures_are_named(executor, told, tmp_path, monkeypatch):
    configs = [TINY, replace(TINY, method="t-bso"), replace(TINY, dataset="cifar10")]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("BSO_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("BSO_EXECUTOR", executor)
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "spread" / "runs"))
    monkeypatch.setattr(comparison, "plan", lambda configs: "")
    with pytest.raises(JobsFailed) as failed:
        comparison.run_all({"all": configs})
    message = str(failed.value)
    assert message.startswith("1 of 3 jobs failed, the others are done; " + told)
    assert f"{experiments.run_key(configs[2])}: " in message
    assert "DatasetMissing: cifar10 not found" in message

    monkeypatch.setattr(cluster, "spread", lambda jobs, _: {} if not jobs else pytest.fail("computed again"))
    found = comparison.run_all({"both": configs[:2]})["both"]
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "here"))
    monkeypatch.delenv("BSO_EXECUTOR")
    for config, result in zip(configs, found, strict=False):
        here = experiments.run(config, progress=False)
        assert result.folder.parent == tmp_path / "spread" / "runs"
        assert result.folder.name == here.folder.name
        assert result.accuracy == here.accuracy


def test_a_run_of_another_name_is_refused(tmp_path, monkeypatch):
    """As a job on a GPU computes it, when the asking process has none."""
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "runs"))
    monkeypatch.setattr(cluster, "spread", lambda jobs, _: dict.fromkeys(jobs, "bso-online-other"))
    with pytest.raises(JobsFailed, match=r"^asked for bso-online-.*computed bso-online-other: its machine has another"):
        cluster.compute_missing([TINY], "local")


def test_nothing_is_submitted_where_nothing_is_missing_or_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "runs"))
    monkeypatch.setattr("submitit.AutoExecutor", lambda **_: pytest.fail("submitted"))
    experiments.run(TINY, progress=False)
    cluster.compute_missing([TINY], "slurm")
    monkeypatch.setenv("DRY_RUN", "1")
    cluster.compute_missing([replace(TINY, seed=5)], "slurm")


def test_out_of_time_a_job_is_submitted_again_as_it_was():
    job = cluster._Job(max, 1, 2)
    again = job.checkpoint().function
    assert again is job
    assert again() == (2, None)


class DeadJob:
    """What submitit returns for a job whose process was killed."""

    job_id = "7"

    def done(self):
        return True

    def exception(self):
        return RuntimeError("Job 7 (task: 0) has not produced any output (state: FAILED)\nError stream produced: ...")


def test_a_job_that_dies_is_named_and_the_others_finish(tmp_path, monkeypatch):
    class Executor:
        def __init__(self, folder, cluster):
            self.cluster = cluster

        def update_parameters(self, **options):
            assert options["timeout_min"] == 5

        def submit(self, job):
            if job.function is os._exit:
                return DeadJob()
            finished = SimpleNamespace(value=job())
            return SimpleNamespace(done=lambda: True, exception=lambda: None, result=lambda: finished.value, job_id="8")

    monkeypatch.setattr("submitit.AutoExecutor", Executor)
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "runs"))
    with pytest.raises(JobsFailed) as failed:
        spread({"dies": (os._exit, 3), "ends": ((tmp_path / "ended").touch,)}, "slurm timeout_min=5")
    assert str(failed.value).endswith(
        f"logs in {tmp_path / 'jobs'}. dies: Job 7 (task: 0) has not produced any output (state: FAILED) (job 7)"
    )
    assert (tmp_path / "ended").exists()


def test_executors_are_read_and_wrong_ones_refused():
    expected = ("slurm", {"slurm_partition": "gpu", "gpus_per_node": 1})
    assert parse_executor("slurm slurm_partition=gpu gpus_per_node=1") == expected
    with pytest.raises(ValueError, match=r"^executor 'pbs': must be one of slurm, local, pool$"):
        spread({}, "pbs")
    with pytest.raises(ValueError, match=r"^executor '': must be one of slurm, local, pool$"):
        parse_executor("")
    with pytest.raises(ValueError, match=r"^executor option 'gpus': must be name=value$"):
        spread({}, "local gpus")
    assert parse_executor("pool processes=3") == ("pool", {"processes": 3})
    for wrong in ("pool processes=0", "pool processes=many", "pool timeout_min=3"):
        with pytest.raises(
            ValueError, match=rf"^executor '{wrong}': a pool has processes=, a whole number of at least 1"
        ):
            parse_executor(wrong)


def test_a_notebook_is_a_job_and_what_does_not_exist_is_refused(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(cluster, "spread", lambda jobs, executor: seen.append((jobs, executor)))
    monkeypatch.delenv("BSO_EXECUTOR", raising=False)
    monkeypatch.setattr(sys, "argv", ["cluster", "04-how-accurate", "99-ledger", "--profile", "paper"])
    cluster.main()
    ((jobs, executor),) = seen
    assert executor == "slurm"
    assert jobs == {name: (cluster._execute, name, "paper") for name in ("04-how-accurate", "99-ledger")}
    monkeypatch.setattr(sys, "argv", ["cluster", "98-none", "--profile", "quick"])
    with pytest.raises(SystemExit) as stopped:
        cluster.main()
    assert stopped.value.code == 2
    assert "no notebook '98-none' in " in capsys.readouterr().err
