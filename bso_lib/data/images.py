"""Image data sets: whole splits as uint8 tensors, batched normalisation and augmentation on the device.

The sets of this companion fit in memory, so a batch is an index into a tensor that already lies on the device; there
are no worker processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from bso_lib.data.stored import embedded_arrays

FASHION_CLASSES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
AUGMENTATIONS = ("crop", "flip", "cutout")


class DatasetMissing(FileNotFoundError):
    """A data set is not on disk; the message says what was looked for, where, and how to get it."""


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) uint8, labels (N,) int64, class names; the training split's mean and std per channel.

    Where a sample is a sequence of frames, such as a recording of events, images are (N, T, C, H, W). Raises ValueError
    where :meth:`normalise` would make NaN or infinity: for such a mean, std or image, and for a std of 0.
    """

    images: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]
    mean: torch.Tensor
    std: torch.Tensor

    def __post_init__(self):
        if not bool((self.mean.isfinite() & self.std.isfinite() & (self.std > 0)).all()):
            given = f"mean={self.mean.tolist()}, std={self.std.tolist()}"
            raise ValueError(f"{given}: must be finite, and std above 0")
        if self.images.is_floating_point() and not bool(self.images.isfinite().all()):
            raise ValueError("images hold NaN or infinity: must be finite")

    def __len__(self):
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Return how many classes there are."""
        return len(self.classes)

    @property
    def channels(self) -> int:
        """Return how many channels an image has."""
        return self.images.shape[-3]

    def to(self, device):
        """Return the split on ``device``."""
        return replace(self, **{name: getattr(self, name).to(device) for name in ("images", "labels", "mean", "std")})

    def first_per_class(self, count: int):
        """Return (kept, rest): the first ``count`` images of each class, and all others, in their order.

        Raises ValueError if a class has fewer than ``count``.
        """
        kept = torch.zeros(len(self), dtype=torch.bool)
        labels = self.labels.cpu()
        for c in range(self.num_classes):
            (of_class,) = torch.where(labels == c)
            if len(of_class) < count:
                raise ValueError(f"{count} images per class asked for, class {c} has {len(of_class)}")
            kept[of_class[:count]] = True
        return tuple(replace(self, images=self.images[i], labels=self.labels[i]) for i in (kept, ~kept))

    def normalise(self, images):
        """Return uint8 ``images`` as float32 standardised by the training split, channels last; so is each frame."""
        shift, scale = self.mean.view(1, -1, 1, 1) * 255, 1 / (self.std.view(1, -1, 1, 1) * 255)
        if images.dim() == 5:  # time in front, so that frame t of all samples lies in one piece
            return torch.stack([self.normalise(frame) for frame in images.unbind(1)]).transpose(0, 1)
        return ((images.float() - shift) * scale).contiguous(memory_format=torch.channels_last)

    def batches(
        self, batch_size, generator=None, augment=(), share=lambda batch: batch, first=0
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (images, labels), normalised; shuffled and augmented when a ``generator`` is given.

        A shuffled pass drops the last incomplete batch unless it is the only one, as BatchNorm wants full batches.
        ``share`` cuts one rank's part from each batch, see :func:`bso_lib.experiment.ranks.share`; what is drawn is
        drawn for the whole batch. ``first``: batches to leave out at the start, for which all the same is drawn.
        """
        n = len(self)
        if generator is None:
            order = torch.arange(n, device=self.labels.device)
        else:
            order = torch.randperm(n, generator=generator, device=generator.device).to(self.labels.device)
            n = max(n // batch_size * batch_size, min(n, batch_size))
        for start in range(0, n, batch_size):
            index = order[start : min(start + batch_size, n)]
            images = self.images[index]
            if generator is not None:
                images = augment_batch(images, augment, generator)
            if start < first * batch_size:
                continue
            yield self.normalise(share(images)), self.labels[share(index)]

    def number_of_batches(self, batch_size):
        """Return how many batches a shuffled pass of :meth:`batches` yields."""
        return max(len(self) // batch_size, 1)


def augment_batch(images, augment, generator):
    """Return uint8 ``images`` (N, C, H, W) augmented, each image by its own draw.

    All frames of (N, T, C, H, W) are augmented alike.
    ``augment`` names any of "crop" (shift by up to an eighth of the side, zero padding), "flip" (horizontal, half the
    time), "cutout" (a square of half the side set to zero). Raises ValueError for another name.
    """
    for name in augment:
        if name not in AUGMENTATIONS:
            raise ValueError(f"augment={name!r}: must be one of {', '.join(AUGMENTATIONS)}")
    if images.dim() == 5:
        return augment_batch(images.flatten(1, 2), augment, generator).unflatten(1, images.shape[1:3])
    n, _, height, width = images.shape
    device = images.device

    def draw(high, size):
        return torch.randint(high, size, generator=generator, device=generator.device).to(device)

    rows = torch.arange(height, device=device).expand(n, -1)
    columns = torch.arange(width, device=device).expand(n, -1)
    if "flip" in augment:
        columns = torch.where(draw(2, (n, 1)).bool(), columns.flip(1), columns)
    if "crop" in augment:
        pad = height // 8
        images = F.pad(images, (pad, pad, pad, pad))
        rows = rows + draw(2 * pad + 1, (n, 1))
        columns = columns + draw(2 * pad + 1, (n, 1))
    if "crop" in augment or "flip" in augment:
        sample = torch.arange(n, device=device).view(n, 1, 1)
        # Advanced indices around a slice put the channels last: (N, H, W, C).
        images = images[sample, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)
    if "cutout" in augment:
        half = height // 4
        inside_rows = (torch.arange(height, device=device) - draw(height, (n, 1))).abs() < half
        inside_columns = (torch.arange(width, device=device) - draw(width, (n, 1))).abs() < half
        hole = inside_rows.unsqueeze(2) & inside_columns.unsqueeze(1)
        images = images.masked_fill(hole.unsqueeze(1), 0)
    return images


def _channel_statistics(images):
    """Return mean and std per channel, pixels in [0, 1], from histograms: exact and without a float copy of the set."""
    values = np.arange(256) / 255
    means, stds = [], []
    for c in range(images.shape[-3]):
        # Sample by sample: bincount makes an int64 copy of what it counts.
        counts = sum(torch.bincount(part.flatten(), minlength=256) for part in images[..., c, :, :].split(1000))
        counts = counts.double().numpy()
        mean = (counts * values).sum() / counts.sum()
        means.append(mean)
        spread = np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum())
        stds.append(spread if np.count_nonzero(counts) > 1 else 1.0)  # of one value: it is normalised to 0
    return torch.tensor(means, dtype=torch.float32), torch.tensor(stds, dtype=torch.float32)


def make_splits(train_images, train_labels, test_images, test_labels, classes):
    """Return the two :class:`Split`, normalised alike by the statistics of the training images."""
    mean, std = _channel_statistics(train_images)
    return (
        Split(train_images, train_labels.long(), tuple(classes), mean, std),
        Split(test_images, test_labels.long(), tuple(classes), mean, std),
    )


def load_fashion_mini():
    """Load the embedded set: 10,000 class-balanced training images of Fashion-MNIST and all 10,000 test images.

    1x28x28; MIT licence, Zalando SE.
    """
    arrays = embedded_arrays("fashion-mini.npz")
    train_images, train_labels, test_images, test_labels = (
        torch.from_numpy(arrays[name]) for name in ("train_images", "train_labels", "test_images", "test_labels")
    )
    return make_splits(train_images.unsqueeze(1), train_labels, test_images.unsqueeze(1), test_labels, FASHION_CLASSES)


_TORCHVISION = {  # the class, and where it keeps its files
    "fashion-mnist": ("FashionMNIST", "FashionMNIST/raw/*-ubyte"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
    "cifar100": ("CIFAR100", "cifar-100-python"),
}


def load_torchvision(name: str, root: Path, download: bool = False):
    """Load a torchvision set from ``root``; raises :class:`DatasetMissing` if it is absent or fails its checksum."""
    from torchvision import datasets  # takes seconds, which runs on the embedded sets need not wait

    kind, looked_for = _TORCHVISION[name]
    try:
        train, test = (getattr(datasets, kind)(str(root), train=t, download=download) for t in (True, False))
    except RuntimeError as error:
        raise DatasetMissing(
            f"{name} not found or damaged: looked for {root / looked_for} ({error}). "
            f"Download it with: python -m bso_lib.data {name} --root {root}"
        ) from error

    def tensors(split):
        images, labels = torch.as_tensor(split.data), torch.as_tensor(split.targets)
        images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2).contiguous()
        return images, labels

    return make_splits(*tensors(train), *tensors(test), train.classes)
