"""A disk that is full, read only, gone, of another user or under an odd name: one line, and nothing half-written."""

import errno
import random
import resource
import shutil
import sys
import time

import pytest
from faults.children import TINY, WRITES, check_whole, do_runs, outcome, settle, start
from faults.fault import fault

from bso_lib.data import stored
from bso_lib.experiment import command, paths
from bso_lib.experiment import run as experiments
from bso_lib.experiment.job import Job
from bso_lib.terminal.refusals import stoppable

LINE = "one line names the file; nothing half-written; then the end equals an undisturbed run to the bit"
SAME = "the end equals an undisturbed run to the bit"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    cache = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        prepare(cache, patch)
        experiments.run(TINY, progress=False)
    return outcome(cache)


def prepare(cache, monkeypatch):
    for name in ("BSO_CACHE", "BSO_CHECKPOINT_MINUTES", "BSO_EVIDENCE"):
        monkeypatch.setenv(name, "")
    settle(cache)


def command_line(capsys, monkeypatch):
    """Run TINY by ``python -m bso_lib`` in this process; return its status and the line it ends with."""
    pairs = [(name, value) for name, value in vars(TINY).items() if value != TINY.__dataclass_fields__[name].default]
    words = [f"{name}={','.join(value) if name == 'augment' else value}" for name, value in pairs]
    monkeypatch.setattr(sys, "argv", ["bso_lib", *(part for word in words for part in ("--set", word))])
    with pytest.raises(SystemExit) as stopped:
        stoppable(command.main, "bso_lib")
    printed = capsys.readouterr()
    lines = [line for line in printed.err.replace("\r", "\n").splitlines() if "batch" not in line and line.strip()]
    assert printed.out == ""
    assert len(lines) == 1, printed.err
    return stopped.value.code, lines[0]


class Full:
    """Every write from number ``first`` on writes half and then finds the disk full."""

    def __init__(self, first):
        self.first, self.count = first, 0

    def open(self, path, mode):
        self.count += 1
        file = open(path, mode)  # noqa: SIM115 - for the caller to close
        return _FullFile(file) if self.count >= self.first else file


class _FullFile:
    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")


FULL = fault("The disk", "full from a random write of a run on", 4, WRITES, LINE)


def test_a_full_disk(undisturbed, tmp_path, monkeypatch, capsys):
    for first in random.Random(0).sample(range(1, WRITES + 1), FULL.times):
        cache = tmp_path / str(first)
        prepare(cache, monkeypatch)
        with monkeypatch.context() as patch:
            patch.setattr(stored, "open", Full(first).open, raising=False)
            status, line = command_line(capsys, monkeypatch)
        assert status == 2
        assert line.startswith("bso_lib: [Errno 28] No space left on device, nothing is written: ")
        assert not list(cache.rglob("*.part"))
        check_whole(cache)
        experiments.run(TINY, progress=False)
        assert outcome(cache) == undisturbed


LIMITED = fault("The disk", "a limit on the size of a file, lower than a checkpoint's", 1, 10, LINE)


def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


def test_a_limit_on_the_size_of_files(undisturbed, tmp_path):
    for number in range(LIMITED.times):
        cache = tmp_path / str(number)
        cache.mkdir()
        process = start(cache, (TINY,), limit)
        process.join(120)
        assert process.exitcode == 130
        line = (cache / "line").read_text()
        assert line.startswith("OSError: [Errno 27] File too large, nothing is written: ")
        assert len(line.splitlines()) == 1
        (cache / "line").unlink()
        assert not list(cache.rglob("*.part"))
        process = start(cache, (TINY,))
        process.join(120)
        assert outcome(cache) == undisturbed


NO_FOLDER = fault("The cache", "below a file, so that no folder can be made", 1, 1, "one line names it")


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    prepare(tmp_path / "file" / "cache", monkeypatch)
    status, line = command_line(capsys, monkeypatch)
    assert status == 2
    assert "Not a directory" in line
    assert str(tmp_path / "file" / "cache") in line


READ_ONLY = fault("The cache", "read only, or another user's", 2, 2, "results are read; a run that has none: one line")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_read_only_cache(number, undisturbed, tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise OSError(number, "no writing", str(tmp_path / "cache"))

    prepare(tmp_path / "cache", monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(experiments.filelock.FileLock, "acquire", refuse)
        status, line = command_line(capsys, monkeypatch)
    assert (status, line) == (2, f"bso_lib: [Errno {number}] no writing: '{tmp_path / 'cache'}'")
    checksum = experiments.run(TINY, progress=False).checksum
    monkeypatch.setattr(experiments.filelock.FileLock, "acquire", refuse)
    monkeypatch.setattr(experiments, "_train", lambda *_: pytest.fail("computed again"))
    assert experiments.run(TINY, progress=False).checksum == checksum
    assert outcome_of(tmp_path / "cache") == [files["sha256"] for files in undisturbed.values()]


def outcome_of(cache):
    return [experiments.unsealed(path.parent)["sha256"] for path in cache.glob("*/result.json")]


GONE = fault("The cache", "deleted while a run goes on", 3, 8, LINE)


def test_a_cache_that_disappears(undisturbed, tmp_path, monkeypatch, capsys):
    real = Job.checkpoint
    for batch in random.Random(1).sample(range(1, 9), GONE.times):
        cache, count = tmp_path / str(batch), []
        prepare(cache, monkeypatch)

        def checkpoint(job, *arguments, count=count, cache=cache, batch=batch):
            count.append(1)
            if len(count) == batch:
                shutil.rmtree(cache)
            real(job, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Job, "checkpoint", checkpoint)
            status, line = command_line(capsys, monkeypatch)
        assert status == 2
        assert line.startswith("bso_lib: [Errno 2] No such file or directory, nothing is written: ")
        assert not cache.exists()
        experiments.run(TINY, progress=False)
        assert outcome(cache) == undisturbed


NAMES = ("with space", "ümläut", "quote'\"s", "漢字", "-x", "a" * 200, "new\nline", "per%cent")
NAMED = fault("The cache", "under a path with spaces, umlauts, quotes or a line break", 2, len(NAMES), SAME)


def test_a_cache_under_an_odd_path(undisturbed, tmp_path, monkeypatch):
    for name in NAMES[: NAMED.times]:
        prepare(tmp_path / name / "runs", monkeypatch)
        experiments.run(TINY, progress=False)
        assert outcome(tmp_path / name / "runs") == undisturbed


CLOCK = fault("The clock", "jumps by days, back and forth, whenever it is asked", 1, 3, SAME)


def test_a_clock_that_jumps(undisturbed, tmp_path, monkeypatch):
    draw, now = random.Random(2), time.time
    for number in range(CLOCK.times):
        prepare(tmp_path / str(number), monkeypatch)
        monkeypatch.setenv("BSO_CHECKPOINT_MINUTES", "0.0001")
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: now() + draw.uniform(-1e6, 1e6))
            experiments.run(TINY, progress=True)
        assert outcome(tmp_path / str(number)) == undisturbed


PARTS = fault("The cache", "with half-written files of processes that were killed", 1, 1, "they are swept up")


def test_parts_are_swept_up(undisturbed, tmp_path, monkeypatch):
    cache = tmp_path / "runs"
    prepare(cache, monkeypatch)
    folder = paths.runs_folder() / experiments.run_key(TINY)
    folder.mkdir(parents=True)
    for name in (".result.json.77.part", ".checkpoint-0001.pt.123.part"):
        (folder / name).write_bytes(b"half a write")
    (tmp_path / ".set.npz.99.part").write_bytes(b"half a write")
    (tmp_path / ".other.npz.99.part").write_bytes(b"of someone else, who may be alive")
    experiments.run(TINY, progress=False)
    assert outcome(cache) == undisturbed
    stored.stored_arrays(tmp_path / "set.npz", dict)
    assert [path.name for path in tmp_path.glob(".*.part")] == [".other.npz.99.part"]


def test_the_harness_itself_runs_a_child_to_its_end(tmp_path, monkeypatch):
    prepare(tmp_path, monkeypatch)
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    do_runs(tmp_path, (TINY,))
    assert len(outcome(tmp_path)) == 1
