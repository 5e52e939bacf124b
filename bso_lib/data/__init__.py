"""Data sets: ``load_dataset(name, root=None)`` returns (train, test); ``DATASETS`` lists the names."""

import os
from pathlib import Path

from bso_lib.data.images import DatasetMissing, Split, load_fashion_mini, load_torchvision

__all__ = ["DATASETS", "DatasetMissing", "Split", "data_root", "load_dataset"]

DATASETS = ("fashion-mini", "fashion-mnist", "cifar10", "cifar100")


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
