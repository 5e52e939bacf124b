"""Where results lie (under the checkout or, for an installed package, the user's folders) and how they are written."""

import os
from pathlib import Path

_CHECKOUT = Path(__file__).parents[1]


def dry_run() -> bool:
    """Return whether DRY_RUN is set: runs then take a few steps on random data, and no result of theirs counts."""
    return os.environ.get("DRY_RUN", "0") not in ("", "0")


def runs_folder() -> Path:
    """Return the cache of runs: $BSO_CACHE, else build/runs of the checkout, else ~/.cache/bso-runs.

    A dry run has its own, build/dry-run.
    """
    if dry_run():
        return _dry_folder() / "runs"
    if os.environ.get("BSO_CACHE"):
        return Path(os.environ["BSO_CACHE"]).expanduser()
    return _CHECKOUT / "build" / "runs" if (_CHECKOUT / "Makefile").exists() else Path.home() / ".cache" / "bso-runs"


def figures_folder(profile: str) -> Path:
    """Return where the figures of ``profile`` go: $BSO_FIGURES, else figures/ of the checkout, else ./figures.

    Those of a dry run go to build/dry-run.
    """
    if dry_run():
        return _dry_folder() / "figures" / profile
    root = os.environ.get("BSO_FIGURES")
    base = _CHECKOUT if (_CHECKOUT / "Makefile").exists() else Path.cwd()
    return (Path(root).expanduser() if root else base / "figures") / profile


def _dry_folder():
    return (_CHECKOUT if (_CHECKOUT / "Makefile").exists() else Path.cwd()) / "build" / "dry-run"


def write_atomically(path: Path, content: bytes):
    """Write ``content`` so that ``path`` holds the old bytes or the new ones, at any moment."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
