"""docs/faults.md, made of all faults that the tests of this folder inject: ``python tests/faults/table.py``."""

import importlib
import sys
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "faults.md"
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "tests")) if path not in sys.path]

from faults import fault  # noqa: E402

HEAD = """# Faults

What was done to runs, files, archives and processes, and how each must end: as if nothing had been, or refused with
one line. `make test` injects each fault as often as the third column says ({quick:,} in all, 2 minutes of processor
time), `make torture` as often as the fourth ({all:,} in all, some 35 minutes of it; run whole on two busy cores, it
took 84 minutes). Moments, places and bits are drawn from a seeded generator.

This page is generated (`python tests/faults/table.py`) from the tests in `tests/faults`.
"""


def all_faults():
    """Return every fault, in the order of the page."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"faults.{path.stem}")
    return sorted(dict.fromkeys(fault.FAULTS), key=lambda each: each.subject)


def render(faults) -> str:
    """Return the page."""
    parts = [HEAD.format(quick=sum(f.quick for f in faults), all=sum(f.all for f in faults))]
    for subject, group in groupby(faults, key=lambda each: each.subject):
        parts.append(f"\n## {subject}\n\n| fault | must end | in `make test` | in all |\n| --- | --- | ---: | ---: |\n")
        parts += [f"| {f.what} | {f.end} | {f.quick} | {f.all} |\n" for f in group]
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render(all_faults()), encoding="utf-8")
