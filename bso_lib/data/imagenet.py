"""ImageNet (ILSVRC 2012) from folders of JPEG files, read while training: decoded, it does not fit in memory.

    <root>/imagenet/train/n01440764/*.JPEG, ...      1,000 folders, one per class
    <root>/imagenet/val/n01440764/*.JPEG, ...        the same: the validation images sorted into class folders

A training pass is random in three ways: the order, the crop and the mirroring. The run's generator draws the order and
a seed for each image, which decides the other two. So a resumed run sees the very images that it would have seen,
whatever the number of worker processes and whichever of them reads an image. What may differ between machines is the
last bit of a decoded or resized pixel, which is the image library's.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS, default_loader, make_dataset
from torchvision.transforms import v2

from bso_lib.data.images import DatasetMissing, Split
from bso_lib.terminal.progress import Progress

CLASSES = 1000
IMAGES = {"train": 1_281_167, "val": 50_000}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in [0, 1], in general use for this set
SIDE, RESIZED = 224, 256  # pixels
_NAMED = 10  # unreadable files named in a message; all are counted


class UnreadableImage(OSError):
    """Image files of a set cannot be decoded; the message names them."""


class _Files(Dataset):
    """Decoded images by (position, seed); the reason, as text, where a file cannot be decoded."""

    def __init__(self, files, transform):
        self.files, self.transform = files, transform

    def __getitem__(self, item):
        position, seed = item
        try:
            image = default_loader(self.files[position])
        except Exception as error:  # Pillow has several for damaged files, and one for a bomb
            return f"{self.files[position]} ({error})"
        with torch.random.fork_rng(devices=[]):  # the transforms draw from torch's own generator
            torch.manual_seed(seed)
            return self.transform(image)


def _transform(augment):
    """Return the transform from a PIL image to (3, 224, 224) uint8; random as far as ``augment`` says."""
    if unknown := [name for name in augment if name not in ("crop", "flip")]:
        raise ValueError(f"augment={unknown[0]!r}: must be one of crop, flip for imagenet")
    cut = [v2.RandomResizedCrop(SIDE)] if "crop" in augment else [v2.Resize(RESIZED), v2.CenterCrop(SIDE)]
    mirrored = [v2.RandomHorizontalFlip()] if "flip" in augment else []
    return v2.Compose([*cut, *mirrored, v2.PILToTensor()])


def _nothing(image):
    return torch.empty(0)


def _collate(items):
    """Return the batch, or the list of reasons why some of its images cannot be had."""
    if not items:  # a share may be empty
        return torch.empty(0, 3, SIDE, SIDE, dtype=torch.uint8)
    return [item for item in items if isinstance(item, str)] or torch.stack(items)


@dataclass(frozen=True)
class StreamedSplit(Split):
    """A :class:`Split` whose ``images`` are positions (N,) in ``files``, which ``workers`` processes read.

    ``batches`` raises :class:`UnreadableImage` where a file cannot be decoded, and ValueError for an augmentation other
    than "crop" (a part of random size and shape, resized to 224 x 224) and "flip". Without "crop" the image is resized
    to 256 and its middle taken. With ``workers`` 0 this process reads.
    """

    files: tuple[str, ...] = ()
    workers: int = 0

    @property
    def channels(self) -> int:
        """Return how many channels an image has."""
        return len(self.mean)

    def batches(
        self, batch_size, generator=None, augment=(), share=lambda batch: batch, first=0
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (images, labels) as :meth:`Split.batches`, of shape (N, 3, 224, 224).

        ``share`` cuts from the (N,) positions of each batch those that are read.
        """
        n, device = len(self), self.labels.device
        order, seeds = torch.arange(n, device=device), torch.zeros(n, dtype=torch.int64)
        if generator is not None:
            order = torch.randperm(n, generator=generator, device=device)
            seeds = torch.randint(2**62, (n,), generator=generator, device=device)
            n = max(n // batch_size * batch_size, min(n, batch_size))
        order, seeds = ([share(part) for part in values[:n].split(batch_size)][first:] for values in (order, seeds))
        items = (list(zip(self.images[i].tolist(), s.tolist(), strict=True)) for i, s in zip(order, seeds, strict=True))
        loaded = self._load(items, _transform(augment if generator is not None else ()))
        for index, images in zip(order, loaded, strict=True):
            if isinstance(images, list):
                raise UnreadableImage(
                    f"{_named(images)}: python -m bso_lib.data imagenet lists all such files; replace them"
                )
            yield self.normalise(images.to(device, non_blocking=True)), self.labels[index]

    def _load(self, batches, transform):
        return DataLoader(
            _Files(self.files, transform), batch_sampler=batches, num_workers=self.workers, collate_fn=_collate,
            pin_memory=self.labels.device.type == "cuda",
            generator=torch.Generator(),  # or it would draw from torch's own
        )  # fmt: skip

    def unreadable(self, progress: bool = True) -> list[str]:
        """Decode every image and return the files that cannot be, each with the reason."""
        batches = ([(position, 0) for position in part.tolist()] for part in self.images.split(64))
        loaded, found = self._load(batches, _nothing), []
        for images in Progress(loaded, total=math.ceil(len(self) / 64), unit="batch", disable=not progress):
            found += images if isinstance(images, list) else []
        return found


def _named(reasons):
    more = f" and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    return f"{len(reasons)} unreadable: {', '.join(reasons[:_NAMED])}{more}"


def load_imagenet(root: Path, workers: int | None = None, classes: int = CLASSES, images: dict[str, int] | None = None):
    """Return the (train, test) splits in ``root``/imagenet; the test images are those of val, as everywhere.

    ``workers``: processes that read and decode, for each pass (None: as many as this process may use cores).
    ``classes``, ``images``: how many there must be. Raises :class:`DatasetMissing` for a folder that is not there, not
    sorted into classes, or not whole; nothing is decoded yet.
    """
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    folder = Path(root) / "imagenet"
    names = None
    splits = []
    for part, expected in (images or IMAGES).items():
        try:
            names, files = _scan(folder / part, classes, expected, names)
        except ValueError as error:
            raise DatasetMissing(
                f"imagenet not found or damaged: looked for {folder / part} ({error}). It cannot be downloaded freely: "
                "extract ILSVRC2012_img_train.tar, each class archive in it, and ILSVRC2012_img_val.tar, sort the "
                f"latter into class folders, and check with: python -m bso_lib.data imagenet --root {root}"
            ) from error
        labels = torch.tensor([label for _, label in files])
        positions = torch.arange(len(files))
        paths = tuple(path for path, _ in files)
        splits.append(StreamedSplit(positions, labels, names, torch.tensor(MEAN), torch.tensor(STD), paths, workers))
    return tuple(splits)


def _scan(folder, classes, expected, train_names):
    """Return (class names, [(path, label)]) of ``folder``; raises ValueError with the reason if it is not whole."""
    if not folder.is_dir():
        raise ValueError("there is no such folder")
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    names = tuple(entry.name for entry in entries if entry.is_dir())
    loose = [entry.name for entry in entries if entry.name.lower().endswith(IMG_EXTENSIONS)]
    if loose:
        raise ValueError(f"{len(loose)} images such as {loose[0]} lie in no class folder: sort them into class folders")
    if archives := [entry.name for entry in entries if entry.name.endswith(".tar")]:
        raise ValueError(f"half extracted: {len(archives)} archives such as {archives[0]} must become folders")
    if len(names) != classes:
        raise ValueError(f"half extracted: {len(names)} class folders of {classes}")
    if train_names is not None and names != train_names:
        other = sorted(set(names) ^ set(train_names))[0]
        raise ValueError(f"its class folders are not those of train: {other} is in one only")
    files = make_dataset(str(folder), {name: i for i, name in enumerate(names)}, IMG_EXTENSIONS, allow_empty=True)
    empty = [name for i, name in enumerate(names) if i not in {label for _, label in files}]
    if empty:
        raise ValueError(f"half extracted: {len(empty)} class folders without an image, such as {empty[0]}")
    if len(files) != expected:
        raise ValueError(f"half extracted: {len(files)} images of {expected}")
    return names, files


def check_imagenet(root: Path, progress: bool = True) -> str:
    """Decode all images under ``root`` and say how many there are; raises :class:`UnreadableImage` for damaged ones."""
    splits = load_imagenet(root)
    reasons = [reason for split in splits for reason in split.unreadable(progress)]
    if reasons:
        raise UnreadableImage(f"imagenet: {_named(reasons)}")
    return f"all {sum(len(split) for split in splits)} images can be read"
