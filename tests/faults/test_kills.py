"""Runs that are killed at any moment, told to stop, or asked for by many at once end as if nothing had been."""

import os
import random
import signal
import time
from dataclasses import replace

import pytest
from faults.children import TINY, WRITES, StopHalfWay, check_whole, outcome, start
from faults.fault import fault

SAME = "the end equals an undisturbed run to the bit, every file whole, nothing else left"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What TINY finds if nothing happens, and the seconds that takes."""
    cache = tmp_path_factory.mktemp("undisturbed")
    for _ in range(2):  # the first one starts the process that all are forked from
        began = time.monotonic()
        assert finish(cache) == 0
        seconds = time.monotonic() - began
        found = outcome(cache)
        (folder,) = (path for path in cache.iterdir() if path.is_dir())
        (folder / "result.json").unlink()
    return found, seconds


def finish(cache, configs=(TINY,)):
    process = start(cache, configs)
    process.join(300)
    return process.exitcode


def ended_by(process, number):
    process.join(120)
    assert process.exitcode == -number, process.exitcode


KILLED = fault("A run", "SIGKILL at a random moment", 5, 100, SAME)


def test_killed_at_random_moments(undisturbed, tmp_path):
    found, seconds = undisturbed
    draw, cache = random.Random(0), tmp_path / "0"
    for number in range(KILLED.times):
        cache.mkdir(exist_ok=True)
        process = start(cache, (TINY,))
        time.sleep(draw.uniform(0, seconds))
        process.kill()
        process.join()
        check_whole(cache)
        if list(cache.glob("*/result.json")) or number + 1 == KILLED.times:
            assert finish(cache) == 0
            assert outcome(cache) == found
            cache = tmp_path / str(number + 1)


IN_A_WRITE = fault(
    "A run", "SIGKILL within a write: after half of the bytes, or before the rename", 4, 2 * WRITES, SAME
)


def test_killed_within_a_write(undisturbed, tmp_path):
    found, _ = undisturbed
    every = [(number, half) for number in range(1, WRITES + 1) for half in (True, False)]
    for number, half in random.Random(1).sample(every, IN_A_WRITE.times):
        cache = tmp_path / f"{number}-{half}"
        cache.mkdir()
        ended_by(start(cache, (TINY,), StopHalfWay(number, half)), signal.SIGKILL)
        assert len(list(cache.glob("*/.*.part"))) == 1
        check_whole(cache)
        assert finish(cache) == 0
        assert outcome(cache) == found


STOPPED = {
    number: fault("A run", f"{name} at a random moment", 1, 20, f"one line says how to go on; then {SAME}")
    for number, name in ((signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"))
}


@pytest.mark.parametrize("number", STOPPED, ids=lambda number: number.name)
def test_told_to_stop_at_random_moments(number, undisturbed, tmp_path):
    found, _ = undisturbed
    draw = random.Random(2)
    for time_of_it in range(STOPPED[number].times):
        cache = tmp_path / str(time_of_it)
        cache.mkdir()
        process, batch = start(cache, (TINY,)), draw.randrange(1, 8)
        while process.is_alive() and len(batches_done(cache)) < batch:
            time.sleep(0.001)
        os.kill(process.pid, number)
        process.join(120)
        assert process.exitcode in (0, 130)
        check_whole(cache)
        if process.exitcode:
            line = (cache / "line").read_text()
            assert line.startswith(f"Interrupted: stopped by {number.name} ")
            assert line.endswith(": the same command goes on from there")
            assert len(line.splitlines()) == 1
            (cache / "line").unlink()
        assert finish(cache) == 0
        assert outcome(cache) == found


def batches_done(cache):
    """Return a list as long as the number of batches that the newest checkpoint has behind it."""
    names = [path.stem.split("-")[1:] for path in cache.glob("*/checkpoint-*.pt")]
    return range(max((4 * int(n[0]) + (int(n[1]) if n[1:] else 0) for n in names), default=0))


MANY = fault("A run", "asked for by eight processes at once", 1, 10, f"computed once; {SAME}")


def test_eight_processes_ask_for_one_run(undisturbed, tmp_path):
    for number in range(MANY.times):
        cache = tmp_path / str(number)
        cache.mkdir()
        processes = [start(cache, (TINY,)) for _ in range(8)]
        for process in processes:
            process.join(300)
        assert [process.exitcode for process in processes] == [0] * 8
        assert outcome(cache) == undisturbed[0]


SWEEP = fault("A sweep by two processes", "SIGKILL of either at random moments", 1, 20, SAME)
CONFIGS = tuple(replace(TINY, epochs=1, seed=seed) for seed in range(3))


def test_a_sweep_of_two_is_killed_again_and_again(undisturbed, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for cache in (whole, cut):
        cache.mkdir()
    assert finish(whole, CONFIGS) == 0
    draw = random.Random(3)
    for _ in range(SWEEP.times):
        pair = [start(cut, CONFIGS), start(cut, CONFIGS[::-1])]
        for process in draw.sample(pair, 2):
            time.sleep(draw.uniform(0, undisturbed[1]))
            process.kill()
        for process in pair:
            process.join()
        check_whole(cut)
    pair = [start(cut, CONFIGS), start(cut, CONFIGS[::-1])]
    for process in pair:
        process.join(300)
    assert [process.exitcode for process in pair] == [0, 0]
    assert outcome(cut) == outcome(whole)
