"""Event data: recordings (x, y, t, p) made into frames by tonic, once, and kept as one file of uint8 counts.

Two sets, one way from events to frames (:func:`to_frames`): ``fashion-events``, which ``bso_lib.data.event_camera``
simulates from fashion-mini, and ``dvs-cifar10``, the recordings of CIFAR10-DVS as tonic lays them out on disk.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from bso_lib.data import event_camera
from bso_lib.data.event_camera import EventCamera
from bso_lib.data.images import DatasetMissing, load_fashion_mini, make_splits
from bso_lib.data.stored import code_without_docstrings, stored_arrays
from bso_lib.terminal.progress import Progress

DVS_SIZE = 48  # of the frames, as in the paper; the sensor has 128 x 128 pixels
PER_CLASS = (900, 100)  # of CIFAR10-DVS: training and test recordings


def _tonic():
    try:
        import tonic
        import tonic.transforms
    except ImportError as error:
        raise ImportError(f"event data need tonic ({error}): pip install 'bso-lib[events]'") from error
    return tonic


def to_frames(sensor_size: tuple[int, int, int], frames: int, size: int | None = None) -> Callable:
    """Return the transform from a recording to (frames, 2, H, W) uint8: events per pixel, OFF then ON, at most 255.

    tonic's ToFrame divides the time from the first to the last event into ``frames`` equal parts. ``size``: the side
    that the frames are resized to (bilinear, antialiased), times the ratio of the areas, so that values remain counts.
    """
    transforms = _tonic().transforms
    counts = transforms.ToFrame(sensor_size=sensor_size, n_time_bins=frames)
    width, height, _ = sensor_size

    def resized(array):
        if size is None:
            return np.minimum(array, 255).astype(np.uint8)
        array = torch.from_numpy(np.asarray(array, np.float32))
        array = F.interpolate(array, (size, size), mode="bilinear", antialias=True) * (height * width / size**2)
        return array.round().clamp(0, 255).to(torch.uint8).numpy()

    return transforms.Compose([counts, resized])


def load_fashion_events(root: Path, frames: int):
    """Return fashion-mini as a moving event camera sees it: 10,000 + 2,000 recordings, (frames, 2, 20, 20) each.

    Simulated at first use, in seconds, and kept under ``root``. Raises ValueError for fewer than one frame, ImportError
    without tonic.
    """
    _check_frames(frames)
    train, test = load_fashion_mini()
    test, _ = test.first_per_class(200)
    camera = EventCamera()

    def convert():
        transform = to_frames((camera.size, camera.size, 2), frames)
        images = torch.cat([train.images, test.images])[:, 0].numpy()
        bar = Progress(range(0, len(images), 500), desc="fashion-events: simulating", leave=False)
        return [transform(events) for i in bar for events in camera.record(images[i : i + 500], first=i)]

    made_by = f"{asdict(camera)} {code_without_docstrings(event_camera.__file__)}"
    counts = _stored(root / "fashion-events", frames, made_by, convert)
    n = len(train)
    return make_splits(counts[:n], train.labels, counts[n:], test.labels, train.classes)


def load_dvs_cifar10(root: Path, frames: int, download: bool = False):
    """Return CIFAR10-DVS, 9,000 + 1,000 recordings, (frames, 2, 48, 48) each, from ``root``/CIFAR10DVS.

    The data set has no official split. Here the first 900 recordings of each class, by the number in their file name,
    are for training and the last 100 for test. Converted at first use, which takes a while, and kept under ``root``.
    Raises :class:`DatasetMissing` if recordings are missing, ValueError if some cannot be read, naming them,
    ImportError without tonic and aedat.
    """
    _check_frames(frames)
    tonic = _tonic()
    sensor_size = tonic.datasets.CIFAR10DVS.sensor_size
    classes = tuple(tonic.datasets.CIFAR10DVS.classes)

    def convert():
        if download:
            tonic.datasets.CIFAR10DVS(str(root))
        _check_recordings(root / "CIFAR10DVS", classes, root)

        class CIFAR10DVS(tonic.datasets.CIFAR10DVS):  # tonic names the folder after the class
            def _check_exists(self):
                return True  # checked above, and also without the archive that tonic would download again

        recordings = CIFAR10DVS(str(root), transform=to_frames(sensor_size, frames, DVS_SIZE))
        order = sorted(range(len(recordings)), key=lambda i: (recordings.targets[i], _number(recordings.data[i])))
        names = [Path(recordings.data[i]).name for i in order]
        return read_all(names, lambda i: recordings[order[i]][0])

    counts = _stored(root / "CIFAR10DVS", frames, f"{DVS_SIZE} x {DVS_SIZE}, {PER_CLASS}", convert)
    labels = torch.arange(len(classes)).repeat_interleave(sum(PER_CLASS))
    first = torch.arange(len(labels)) % sum(PER_CLASS) < PER_CLASS[0]
    return make_splits(counts[first], labels[first], counts[~first], labels[~first], classes)


def _check_frames(frames):
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise ValueError(f"frames={frames!r}: must be a whole number, at least 1")


def _number(path):
    digits = re.findall(r"\d+", Path(path).stem)
    return int(digits[-1]) if digits else -1


def _check_recordings(folder, classes, root):
    """Raise DatasetMissing unless ``folder`` has the recordings of each class, no more and no fewer."""
    wanted = sum(PER_CLASS)
    found = {name: len(list((folder / name).glob("*.aedat4"))) for name in classes}
    wrong = [f"{name}: {number} of {wanted}" for name, number in found.items() if number != wanted]
    if wrong:
        state = "half-extracted" if any(found.values()) else "not found or damaged"
        raise DatasetMissing(
            f"dvs-cifar10 {state}: looked for {folder} with a folder of {wanted} .aedat4 recordings per class; found "
            f"{', '.join(wrong)}. Download and extract it with: python -m bso_lib.data dvs-cifar10 --root {root}"
        )


def read_all(names: list[str], read: Callable) -> list[np.ndarray]:
    """Return ``read(i)`` for each of ``names``; if any fails, one ValueError counts and names those that did.

    A missing library is no fault of a recording: its ImportError is raised at once.
    """
    arrays, unreadable = [], []
    for i, name in enumerate(Progress(names, desc="recordings", leave=False)):
        try:
            arrays.append(read(i))
        except ImportError as error:
            raise ImportError(f"recordings cannot be read ({error}): pip install 'bso-lib[events]'") from error
        except Exception as error:  # the decoders raise whatever they come upon
            unreadable.append(f"{name} ({type(error).__name__}: {error})".replace("\n", " "))
    if unreadable:
        more = f" and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
        raise ValueError(f"{len(unreadable)} of {len(names)} recordings unreadable: {'; '.join(unreadable[:5])}{more}")
    return arrays


def _stored(folder, frames, made_by, convert):
    """Return the frames kept in ``folder`` under what they were ``made_by`` and this code, or make and keep them."""
    made_by = hashlib.sha256(f"{made_by} {code_without_docstrings(__file__)}".encode()).hexdigest()
    path = folder / f"{frames}-frames-{made_by[:16]}.npz"
    return torch.from_numpy(stored_arrays(path, lambda: {"frames": np.stack(convert())})["frames"])
