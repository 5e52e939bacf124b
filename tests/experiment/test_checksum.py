"""``make checksum`` prints README's characters, with any threads and instructions, past whatever is in the cache."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bso_lib.experiment.checksum import FIXED, checksum_past_cache
from bso_lib.experiment.run import run

README = (Path(__file__).parents[2] / "README.md").read_text()
MACHINES = {
    "2 threads": {"OMP_NUM_THREADS": "2"},
    "1 thread, no FMA": {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_checksum_is_readmes(machine):
    command = [sys.executable, "-m", "bso_lib.experiment.checksum"]
    environment = os.environ | {"GOMP_SPINCOUNT": "1000"} | MACHINES[machine]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"[0-9a-f]{64}\n", done.stdout)
    assert re.findall(r"\b[0-9a-f]{64}\b", README) == [done.stdout.strip()]


def test_it_is_computed_although_the_cache_has_it(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    tiny = replace(FIXED, train_size=100, batch_size=50, width=1 / 32)
    result = run(tiny, progress=False)
    for file in result.folder.glob("*.safetensors"):
        file.unlink()
    assert len(checksum_past_cache(tiny)) == 64
    assert os.environ["BSO_CACHE"] == str(tmp_path)
    assert not list(result.folder.glob("*.safetensors"))
