"""What a command shows is imported without torch, which takes a second."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["bso_lib.terminal.progress", "bso_lib.terminal.refusals", "notebooks.run"])
def test_it_starts_without_torch(module):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
