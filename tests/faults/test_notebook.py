"""A notebook, and make, that are told to stop or killed, and go on."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from faults.children import check_whole, outcome
from faults.fault import fault

ROOT = Path(__file__).parents[2]
TINY = """from bso_lib import RunConfig, run
result = run(RunConfig(train_size=120, width=1 / 64, epochs=epochs, batch_size=30, gamma=1e-4, device="cpu"))
print(profile, result.checksum)"""
ON = "one line says how to go on; no half-made notebook; then the same numbers as undisturbed"
STOPPED = {
    number: fault("A notebook", f"{name} while a run goes on", quick, 4, ON)
    for number, name, quick in ((signal.SIGINT, "Ctrl-C", 1), (signal.SIGTERM, "SIGTERM", 0))
}
KILLED = fault("A notebook", "SIGKILL while a run goes on", 0, 4, "the same numbers as undisturbed")


@pytest.fixture
def checkout(tmp_path):
    """A folder with notebooks/run.py and one small notebook."""
    folder = tmp_path / "check out ü"
    (folder / "notebooks" / "profiles").mkdir(parents=True)
    shutil.copy(ROOT / "notebooks" / "run.py", folder / "notebooks")
    (folder / "notebooks" / "profiles" / "quick.yaml").write_text("50-tiny: {epochs: 12}\n")
    cells = [nbformat.v4.new_code_cell('epochs = 1\nprofile = ""', metadata={"tags": ["parameters"]})]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell(TINY)], metadata=kernel)
    nbformat.write(notebook, folder / "notebooks" / "50-tiny.ipynb")
    return folder


def begin(folder, cache):
    environment = {**os.environ, "BSO_CACHE": str(cache), "BSO_EVIDENCE": "", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "notebooks/run.py", "50-tiny", "--profile", "quick"], cwd=folder, text=True,
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def printed(folder):
    cells = nbformat.read(folder / "build" / "quick" / "50-tiny.ipynb", 4).cells
    return [output.text for cell in cells for output in cell.outputs if output.get("name") == "stdout"]


def undisturbed(cache):
    """Return the checksum of the run in the notebook, computed by ``run`` in a process of its own."""
    code = f"epochs, profile = 12, ''\n{TINY}"
    environment = {**os.environ, "BSO_CACHE": str(cache), "BSO_EVIDENCE": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def disturb(folder, cache, number, draw):
    """Send signal ``number`` once the run has a checkpoint; return what run.py says."""
    process = begin(folder, cache)
    while not list(cache.glob("*/checkpoint-*.pt")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    time.sleep(draw.uniform(0, 0.5))
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_notebook_is_disturbed_and_goes_on(number, checkout, tmp_path):
    times, draw = STOPPED.get(number, KILLED).times, random.Random(number)
    if not times:
        pytest.skip("make torture does this")
    for each in range(times):
        cache = tmp_path / f"cache {each}"
        status, errors = disturb(checkout, cache, number, draw)
        last = errors.strip().splitlines()[-1:]
        if number != signal.SIGKILL and status:
            assert last == [
                "notebooks/50-tiny.ipynb stopped: the same command goes on, each run from its last checkpoint"
            ]
            assert "Traceback" not in errors
            assert "\r" not in errors
        # What a process was killed over stays under a hidden name until the next one has made it again.
        named = "[!.]*.ipynb" if number == signal.SIGKILL else "*.ipynb"
        left = [path.name for path in checkout.glob(f"build/quick/{named}")]
        assert left == (["50-tiny.ipynb"] if status == 0 else [])
        check_whole(cache)
        process = begin(checkout, cache)
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert out.endswith("50-tiny.ipynb: done; all 1 of profile quick are up to date\n")
        assert len(outcome(cache)) == 1
        assert [path.name for path in (checkout / "build" / "quick").iterdir()] == ["50-tiny.ipynb"]
        assert printed(checkout) == [f"quick {undisturbed(tmp_path / 'whole')}\n"]
        shutil.rmtree(checkout / "build")


MAKE = fault("make -j2 reproduce PROFILE=quick", "SIGKILL of all its processes at a random moment", 0, 5,
             "the next one goes on; the figures' numbers equal an undisturbed run's")  # fmt: skip
MEASURED = ("seconds", "ms", "memory")  # columns of a figure that no two runs share


@pytest.mark.skipif(float(os.environ.get("TORTURE") or 0) < 1, reason="make torture does this, in 20 minutes")
def test_make_is_killed_and_goes_on(tmp_path):
    found = []
    for kills in (0, MAKE.times):
        folder, draw = tmp_path / str(kills), random.Random(0)
        files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in files.splitlines():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
        shutil.rmtree(folder / "figures" / "quick", ignore_errors=True)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        for name in ("MAKEFLAGS", "MAKELEVEL", "TORTURE", "BSO_CACHE"):
            environment.pop(name, None)
        command = ["make", "-j2", "reproduce", "PROFILE=quick", f"VENV={folder / '.venv'}"]
        for _ in range(kills):
            process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)
            time.sleep(draw.uniform(5, 60))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(3)  # kernels, which have sessions of their own, end when their parent is gone
        subprocess.run(command, cwd=folder, env=environment, check=True)
        assert subprocess.run([*command, "--question"], cwd=folder, env=environment).returncode in (0, 1)
        found.append({path.name: path.read_text() for path in sorted((folder / "figures" / "quick").glob("*.csv"))})
    first, second = found
    assert first
    assert first.keys() == second.keys()
    differing = [name for name in first if first[name] != second[name]]
    assert all(any(word in first[name].splitlines()[0] for word in MEASURED) for name in differing), differing
