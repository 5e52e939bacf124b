"""Where results lie: under the checkout, or, for an installed package, under the user's own folders."""

import os
from pathlib import Path

_CHECKOUT = Path(__file__).parents[1]


def runs_folder() -> Path:
    """Return the cache of runs: $BSO_CACHE, else build/runs of the checkout, else ~/.cache/bso-runs."""
    if os.environ.get("BSO_CACHE"):
        return Path(os.environ["BSO_CACHE"]).expanduser()
    return _CHECKOUT / "build" / "runs" if (_CHECKOUT / "Makefile").exists() else Path.home() / ".cache" / "bso-runs"


def figures_folder(profile: str) -> Path:
    """Return where the figures of ``profile`` go: $BSO_FIGURES, else figures/ of the checkout, else ./figures."""
    root = os.environ.get("BSO_FIGURES")
    base = _CHECKOUT if (_CHECKOUT / "Makefile").exists() else Path.cwd()
    return (Path(root).expanduser() if root else base / "figures") / profile
