"""Data sets: ``load_dataset(name, root=None)`` returns (train, test); ``DATASETS`` lists the names."""

import os
from pathlib import Path

from bso_lib.data.images import DatasetMissing, Split, load_fashion_mini, load_torchvision
from bso_lib.data.random import FACTS, random_splits

__all__ = ["DATASETS", "FACTS", "DatasetMissing", "Split", "data_root", "load_dataset", "random_splits"]

DATASETS = tuple(FACTS)


def data_root(root=None) -> Path:
    """Return where data sets lie: ``root``, else $BSO_DATA, else ~/.cache/bso-data."""
    return Path(root or os.environ.get("BSO_DATA") or Path.home() / ".cache" / "bso-data").expanduser()


def load_dataset(name: str, root=None, download: bool = False) -> tuple[Split, Split]:
    """Return the (train, test) splits of the set ``name``, one of :data:`DATASETS`.

    fashion-mini is part of the package; the others are read from files under :func:`data_root`, and fetched there
    first only if ``download``. Raises ValueError for an unknown name, :class:`DatasetMissing` if there are no files.
    """
    if name not in DATASETS:
        raise ValueError(f"dataset={name!r}: must be one of {', '.join(DATASETS)}")
    if name == "fashion-mini":
        return load_fashion_mini()
    return load_torchvision(name, data_root(root), download)
