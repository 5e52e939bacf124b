"""Random data of a real data set's shape, for dry runs: every path is taken, nothing is learned."""

from typing import NamedTuple

import torch

from bso_lib.data.images import make_splits


class Facts(NamedTuple):
    """What is known of a data set without its files: training images, shape of one (C, H, W), classes.

    ``frames``: whether a sample is a sequence of such images, one per time step. ``between``: test images, as many of
    each class, that are scored between epochs, and by runs on a part of the training images; None: all.
    """

    train_images: int
    shape: tuple[int, int, int]
    classes: int
    frames: bool = False
    between: int | None = None


FACTS = {
    "fashion-mini": Facts(10_000, (1, 28, 28), 10, between=2_000),
    "fashion-mnist": Facts(60_000, (1, 28, 28), 10),
    "cifar10": Facts(50_000, (3, 32, 32), 10),
    "cifar100": Facts(50_000, (3, 32, 32), 100),
    "fashion-events": Facts(10_000, (2, 20, 20), 10, frames=True),
    "dvs-cifar10": Facts(9_000, (2, 48, 48), 10, frames=True),
    "spoken-mini": Facts(4_200, (1, 32, 32), 10),
    "speech-commands": Facts(84_843, (1, 32, 32), 35),
    "imagenet": Facts(1_281_167, (3, 224, 224), 1000),
}


# SHA-256 of the bytes of the sets that are computed on first use, with real numbers; fashion-events of 10 frames.
MADE = {
    "spoken-mini": "20f55b163bd46482d86627fb9698a96157da614e3894661815309ba108f3a5a1",
    "fashion-events": "8dcecd808e4332328027290e0ba6f2f900bb7540c0be943675639b20c9d37be0",
}


def random_splits(name: str, images: int, frames: int = 10):
    """Return (train, test) splits of ``images`` random images each, shaped and labelled like the data set ``name``.

    ``frames``: as in :func:`bso_lib.data.load_dataset`.
    """
    facts = FACTS[name]
    shape = (frames, *facts.shape) if facts.frames else facts.shape
    generator = torch.Generator().manual_seed(0)

    def part():
        pixels = torch.randint(256, (images, *shape), generator=generator, dtype=torch.uint8)
        return pixels, torch.randint(facts.classes, (images,), generator=generator)

    return make_splits(*part(), *part(), [f"class {c}" for c in range(facts.classes)])
