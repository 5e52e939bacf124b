"""Data sets: ``load_dataset(name, root=None)`` returns (train, test); ``DATASETS`` lists the names."""

import os
import warnings
from pathlib import Path

from bso_lib.data.events import load_dvs_cifar10, load_fashion_events
from bso_lib.data.images import DatasetMissing, Split, load_fashion_mini, load_torchvision
from bso_lib.data.registry import FACTS, MADE, random_splits
from bso_lib.data.speech_commands import load_speech_commands
from bso_lib.data.spoken_mini import load_spoken_mini
from bso_lib.data.stored import content_checksum
from bso_lib.layers import require_whole
from bso_lib.terminal.refusals import did_you_mean

__all__ = [
    "DATASETS", "FACTS", "DatasetMissing", "Split", "data_root", "load_dataset", "load_validation", "made_alike",
    "random_splits",
]  # fmt: skip

DATASETS = tuple(FACTS)


def data_root(root=None) -> Path:
    """Return where data sets lie: ``root``, else $BSO_DATA, else ~/.cache/bso-data."""
    if not (root is None or isinstance(root, str | os.PathLike)):
        raise TypeError(f"root={root!r}: must be the path of a folder, or None")
    return Path(root or os.environ.get("BSO_DATA") or Path.home() / ".cache" / "bso-data").expanduser()


def load_dataset(name: str, root=None, download: bool = False, frames: int = 10) -> tuple[Split, Split]:
    """Return the (train, test) splits of the set ``name``, one of :data:`DATASETS`.

    fashion-mini and spoken-mini are part of the package, and fashion-events is simulated from the first; the others are
    read from files under :func:`data_root`, and fetched there first only if ``download`` (imagenet has to be put there
    by hand). ``frames``: into how many the recordings of an event set are divided; images stay single. Raises
    ValueError for an unknown name or number of frames, :class:`DatasetMissing` if there are no files.
    """
    if name not in DATASETS:
        hint = did_you_mean(name, DATASETS)
        raise ValueError(f"dataset={name!r}: must be one of {', '.join(DATASETS)}{hint}")
    require_whole(frames=frames)
    data_root(root)  # a root that is none is refused also where nothing is read from it
    if name == "fashion-mini":
        return load_fashion_mini()
    if name == "fashion-events":
        splits = load_fashion_events(data_root(root), frames)
        return _as_made(name, splits) if frames == 10 else splits
    if name == "dvs-cifar10":
        return load_dvs_cifar10(data_root(root), frames, download)
    if name == "spoken-mini":
        return _as_made(name, load_spoken_mini(data_root(root)))
    if name == "speech-commands":
        return load_speech_commands(data_root(root), download)
    if name == "imagenet":
        from bso_lib.data.imagenet import load_imagenet  # and torchvision with it, which takes seconds

        return load_imagenet(data_root(root))
    return load_torchvision(name, data_root(root), download)


def made_alike(name: str, root=None) -> bool:
    """Return whether ``name`` has here the bytes that the committed results were computed with.

    Only a set that is made on first use, with real numbers, can have others: then no run on it can be compared.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whoever asks tells it
        return name not in MADE or _checksum(load_dataset(name, root)) == MADE[name]


def _checksum(splits):
    train, test = splits
    return content_checksum({"train": train.images.numpy(), "test": test.images.numpy()})


def _as_made(name, splits):
    """Return ``splits``, and warn if their bytes are not those that the committed results were computed with."""
    if _checksum(splits) != MADE[name]:
        warnings.warn(
            f"{name} came out with other bytes than those of the committed results (another version of a library, or "
            "another processor): runs on it have other digits, exact ones too",
            stacklevel=3,
        )
    return splits


def load_validation(name: str, train: Split, root=None) -> tuple[Split, Split]:
    """Return (train, validation) splits of the set ``name`` without its test images.

    speech-commands has a validation list of its own. For the others it is the last tenth of each class in ``train``,
    which is then not trained on; spoken-mini is ordered by speaker, so that those are other speakers.
    """
    if name == "speech-commands":
        return load_speech_commands(data_root(root), held_out="validation")
    return train.first_per_class(int(train.labels.bincount().min()) * 9 // 10)
