"""Where results lie: under the checkout or, for an installed package, the user's folders."""

import os
from importlib import resources
from pathlib import Path


def checkout() -> Path | None:
    """Return the folder of the Makefile and the notebooks that the library lies in; None for an installed package."""
    folder = Path(str(resources.files("bso_lib"))).parent
    return folder if (folder / "Makefile").exists() and (folder / "notebooks").exists() else None


def dry_run() -> bool:
    """Return whether DRY_RUN is set: runs then take a few steps on random data, and no result of theirs counts."""
    asked = os.environ.get("DRY_RUN", "0")
    if asked not in ("", "0", "1"):
        raise ValueError(f"DRY_RUN={asked!r}: must be 0 or 1")
    return asked == "1"


def dry_folder() -> Path:
    """Return where a dry run leaves what it writes."""
    return (checkout() or Path.cwd()) / "build" / "dry-run"


def runs_folder() -> Path:
    """Return the cache of runs: $BSO_CACHE, else build/runs of the checkout, else ~/.cache/bso-runs.

    A dry run has its own, build/dry-run.
    """
    if dry_run():
        return dry_folder() / "runs"
    if os.environ.get("BSO_CACHE"):
        return Path(os.environ["BSO_CACHE"]).expanduser()
    return checkout() / "build" / "runs" if checkout() else Path.home() / ".cache" / "bso-runs"


def figures_folder(profile: str) -> Path:
    """Return where the figures of ``profile`` go: $BSO_FIGURES, else figures/ of the checkout, else ./figures.

    Those of a dry run go to build/dry-run.
    """
    if dry_run():
        return dry_folder() / "figures" / profile
    root = os.environ.get("BSO_FIGURES")
    return (Path(root).expanduser() if root else (checkout() or Path.cwd()) / "figures") / profile
