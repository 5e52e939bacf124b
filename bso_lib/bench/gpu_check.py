"""What only a GPU can show, in at most five minutes: ``python -m bso_lib.bench.gpu_check`` (make gpu-check).

Four checks, each in a process of its own, so that one that fails, hangs, dies or breaks the device leaves the others
be: the CUDA tests, the memory accounting against PyTorch's allocator, the first rows of the benchmarks, and the same
runs on CPU and GPU. A markdown file holds device, versions and what each found, and ends with what failed. The exit
status is 0 if nothing did, 1 if something did, and 2 without a GPU, unless ``--device cpu`` asks for the same checks
there.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import torch

import bso_lib.experiment.run as experiments
from bso_lib.bench.arithmetic import measure_exact
from bso_lib.bench.floor import measure
from bso_lib.bench.rivals import EXACT, GRAPHED, OURS, PACKED, TWO_FORWARD, compare, contestants, peak_bytes
from bso_lib.data.stored import write_atomically
from bso_lib.experiment.checksum import FIXED
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.machine import device_name, processor
from bso_lib.measure.memory import account_step, allocated_rise

ROOT = Path(__file__).parents[2]
TESTS = ("tests/test_cuda.py", "tests/experiment/test_devices.py")


@dataclass(frozen=True)
class Scale:
    """How large the checks are: ``width`` of the benchmarks' network, ``run_width`` and ``images`` of the runs.

    ``tests``: the files that are tested; ``patience``: factor on the seconds that each check may take.
    """

    width: float
    batch_size: int
    side: int
    repeats: int
    run_width: float
    images: int
    tests: tuple[str, ...]
    patience: float = 1.0


SCALES = {
    "full": Scale(1.0, 32, 32, 5, 1 / 16, 3_000, TESTS),
    "tiny": Scale(1 / 64, 4, 16, 1, 1 / 64, 100, TESTS[:1], 5.0),  # for the tests of this file
}


class Disagreement(Exception):
    """What was measured is not what it has to be."""


def hold(condition, line: str) -> str:
    """Return ``line``; raises Disagreement with it unless ``condition`` holds."""
    if not condition:
        raise Disagreement(line)
    return line


def cuda_tests(device: str, scale: Scale) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield (title, part) of this check, as all checks do: a part returns what it found in a line, or raises."""

    def part(file):
        import pytest  # of the checkout's environment, as the tests are

        tests = {"passed": [], "skipped": [], "failed": []}

        class Outcomes:
            def pytest_runtest_logreport(self, report):
                if report.when == "call" or not report.passed:
                    tests[report.outcome].append(report.nodeid.partition("::")[2])

        hold((ROOT / file).exists(), "not in this checkout")
        command = ["-q", "-o", "addopts=", "-p", "no:cacheprovider", "-k", f"cuda or {device}", str(ROOT / file)]
        status = pytest.main(command, [Outcomes()])
        hold(status in (0, 1), f"pytest ended with status {int(status)}")
        counts = f"{len(tests['passed'])} passed, {len(tests['skipped'])} skipped"
        failed = "".join(f", failed: {name}" for name in tests["failed"])
        return hold(status == 0 and (device == "cpu" or not tests["skipped"]), counts + failed)

    for file in scale.tests:
        yield file, lambda file=file: part(file)


def memory(device: str, scale: Scale) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield the accounted memory of a step against what the allocator says."""
    shape = (3, scale.side, scale.side)

    def growth(settings):
        config = RunConfig(width=max(scale.width / 4, 1 / 64), batch_size=2 * scale.batch_size)
        configs = [replace(config, time_steps=steps, **settings) for steps in (2, 8)]
        counted = [account_step(config, shape, device=device).rise for config in configs]
        found = [allocated_rise(config, shape, device=device) for config in configs]
        # A kernel's workspace is of any size, but the same for every time step.
        apart = abs((found[1] - found[0]) - (counted[1] - counted[0])) / max(counted)
        line = "; ".join(
            f"T = {config.time_steps}: counted {a / 1e6:.2f} MB, allocated {b / 1e6:.2f} MB"
            for config, a, b in zip(configs, counted, found, strict=True)
        )
        held = apart <= 0.05 and all(b >= a for a, b in zip(counted, found, strict=True))
        return hold(held, f"{line}; their growth is {100 * apart:.1f} % apart (at most 5 %)")

    def peak():
        config = RunConfig(width=scale.width, batch_size=scale.batch_size, batch_norm="per-step", record_flips=False)
        counted = account_step(config, shape, device=device).peak_bytes
        found = peak_bytes(contestants(scale.width)[OURS], scale.batch_size, config.time_steps, scale.side, device)
        return hold(found >= counted, f"counted {counted / 1e6:.2f} MB, the benchmark's peak {found / 1e6:.2f} MB")

    for name, settings in {
        "STE, BPTT": {"method": "ste", "training": "bptt", "momentum": 0.9},
        "BSO, online": {"method": "bso"}, "T-BSO, online": {},
    }.items():  # fmt: skip
        yield name, lambda settings=settings: growth(settings)
    yield "a whole step at its peak", peak


def benchmark(device: str, scale: Scale) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield the first rows of floor, arithmetic and rivals, with few repeats."""
    width, batch_size, side, repeats = scale.width, scale.batch_size, scale.side, scale.repeats

    def floor():
        row = measure(width, batch_size, 2, repeats, side, device=device)
        return (
            f"{1e3 * row['step_seconds']:.2f} ms, {row['ratio']:.2f} times its convolutions "
            f"({row['ratio_min']:.2f} to {row['ratio_max']:.2f}); recording flips adds "
            f"{row['flip_recording_percent']:.1f} %"
        )

    def exact():
        row = measure_exact(width, batch_size, side, 3, repeats, device=device)
        return (
            f"{1e3 * row['exact_seconds']:.2f} ms, {row['exact_of_float32']:.2f} times the float32 step, "
            f"{row['exact_of_convolutions']:.2f} times the convolutions"
        )

    def rival(name):
        names = dict.fromkeys((OURS, name, TWO_FORWARD))
        table = compare(batch_size, 2, repeats, width, side, device, names).set_index("step")
        row = table.loc[name]
        return (
            f"{1e3 * row['seconds']:.2f} ms, {row['ratio']:.2f} times the plain step; "
            f"peak {row['peak_mb']:.1f} MB, {row['peak_ratio']:.2f} of two forward passes"
        )

    yield f"a step, width {width:g}, batch {batch_size}", floor
    yield "the step in exact arithmetic", exact
    for name in (OURS, PACKED, EXACT, TWO_FORWARD, *([GRAPHED] if device == "cuda" else [])):
        yield name, lambda name=name: rival(name)


def side_by_side(device: str, scale: Scale) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield the same runs on the CPU and on ``device``, each computed here and now."""

    def computed(config, where):
        with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, BSO_CACHE=folder):
            result = experiments.run(replace(config, device=where), progress=False)
            return result, result.checksum

    def exact():
        config = replace(FIXED, width=scale.run_width, train_size=scale.images)
        (a, expected), (b, found) = (computed(config, where) for where in ("cpu", device))
        hold(found == expected, f"SHA-256 on the CPU {expected}, on {device} {found}")
        hold(a.history.equals(b.history), f"SHA-256 {found} on both, but another loss or accuracy in an epoch")
        return f"SHA-256 {found} on both, and the same loss and accuracy in each epoch"

    def float32():
        config = replace(FIXED, arithmetic="float32", width=scale.run_width, train_size=scale.images, epochs=2)
        pairs = [(where, computed(config, where)[0]) for where in ("cpu", device)]
        line = "; ".join(
            f"{where}: accuracy {result.accuracy:.2f} % after {result.provenance['seconds']:.1f} s, "
            f"loss {' to '.join(f'{loss:.3f}' for loss in result.history['train_loss'])}"
            for where, result in pairs
        )
        return hold(all(r.history["train_loss"].is_monotonic_decreasing for _, r in pairs), f"{line} (must fall)")

    yield "exact arithmetic, the same bits", exact
    yield "float32, accuracy beside each other", float32


CHECKS = {
    "tests": ("The CUDA tests", cuda_tests, 120),
    "memory": ("The memory accounting against the allocator", memory, 40),
    "benchmark": ("The first rows of the benchmarks", benchmark, 50),
    "runs": ("The same runs on CPU and GPU", side_by_side, 80),
}  # title, parts, seconds that it may take: all together under five minutes


def outcome(title: str, part: Callable[[], str]) -> tuple[bool, str]:
    """Return whether ``part`` holds, and a line that says what it found, or which exception it raised."""
    try:
        return True, f"{title}: {part()}"
    except Exception as error:  # whatever it is, the others go on
        kind = "" if isinstance(error, Disagreement) else f"{type(error).__name__}: "
        return False, f"{title}: {kind}{(str(error).strip() or 'no message').splitlines()[0]}"


def run_check(command: list[str], seconds: float) -> list[tuple[bool, str]]:
    """Return the outcomes that ``command`` prints, a JSON list a line, with one more if it dies or takes too long."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        try:
            status = subprocess.run(command, stdout=out, stderr=errors, timeout=seconds).returncode
            errors.seek(0)
            last = (errors.read().strip() or "it said nothing").splitlines()[-1]
            end = [] if status == 0 else [(False, f"its process ended with status {status}: {last}")]
        except subprocess.TimeoutExpired:
            end = [(False, f"not done after {seconds:g} seconds")]
        out.seek(0)
        return [tuple(json.loads(line)) for line in out if line.endswith("\n")] + end


def machine(device: str) -> str:
    """Return a line with the device and the versions."""
    parts = [device_name(device), processor(), f"torch {torch.__version__}", f"Python {platform.python_version()}"]
    if device == "cuda":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        told = subprocess.run(query, capture_output=True, text=True).stdout.split() if shutil.which(query[0]) else []
        capability = "{}.{}".format(*torch.cuda.get_device_capability())
        memory = f"{torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB"
        parts[1:1] = [memory, f"capability {capability}", f"driver {told[0] if told else 'unknown'}"]
        parts += [f"CUDA {torch.version.cuda}", f"cuDNN {torch.backends.cudnn.version()}"]
    return ", ".join(parts)


def report(found: dict[str, list[tuple[bool, str]]], device: str) -> str:
    """Return the markdown file: a section for each title of ``found``, and at its end what failed, in words."""
    on_cpu = "\nAsked for with `--device cpu`: the way through the checks, no GPU.\n" if device == "cpu" else ""
    lines = [f"# What a GPU has to show\n{on_cpu}"]
    for title, outcomes in found.items():
        lines += [f"## {title}\n", *(f"- {'' if ok else '**failed** '}{line}" for ok, line in outcomes), ""]
    failed = [f"- {title}: {line}" for title, outcomes in found.items() for ok, line in outcomes if not ok]
    return "\n".join([*lines, "## What failed\n", *(failed or ["Nothing."])]) + "\n"


def check_all(device: str, scale: str, out: Path, checks=CHECKS) -> bool:
    """Run ``checks``, write the report to ``out`` after each, and return whether all of them hold."""
    found = {"Device and versions": [outcome(f"--device {device}", lambda: machine(device))]}
    found |= {title: [(False, "not run")] for title, *_ in checks.values()}
    out.parent.mkdir(parents=True, exist_ok=True)
    for name, (title, _, seconds) in checks.items():
        print(f"{title} ...", flush=True)
        command = [sys.executable, "-m", "bso_lib.bench.gpu_check", "--check", name, "--device", device]
        start = time.perf_counter()
        outcomes = run_check([*command, "--scale", scale], seconds * SCALES[scale].patience) or [
            (False, "it found nothing")
        ]
        found[title] = [*outcomes, (True, f"{time.perf_counter() - start:.0f} seconds")]
        write_atomically(out, report(found, device).encode())
    print(report(found, device))
    return all(ok for outcomes in found.values() for ok, _ in outcomes)


def main(arguments: list[str] | None = None) -> int:
    """Run all checks, or as a child one of them, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bso_lib.bench.gpu_check", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--out", type=Path, default=Path("build/gpu-check.md"), help="the report (default: %(default)s)"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: the same checks without a GPU")
    parser.add_argument("--scale", choices=SCALES, help="default: full on a GPU, tiny on the CPU")
    parser.add_argument("--check", choices=CHECKS, help="run this one alone, and print its outcomes as JSON lists")
    asked = parser.parse_args(arguments)
    if asked.device == "cuda" and not torch.cuda.is_available():
        titles = "; ".join(title for title, *_ in CHECKS.values())
        print(f"no CUDA device here, so nothing was checked of: {titles} (--device cpu: the same checks on the CPU)")
        return 2
    scale = asked.scale or ("full" if asked.device == "cuda" else "tiny")
    if asked.check is None:
        return 0 if check_all(asked.device, scale, asked.out) else 1
    _, parts, _ = CHECKS[asked.check]
    answer = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # whatever a test or a library prints
        for title, part in parts(asked.device, SCALES[scale]):
            print(json.dumps(outcome(title, part)), file=answer, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
