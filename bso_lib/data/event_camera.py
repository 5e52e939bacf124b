"""A simulated event camera that looks at a picture while it moves: from an image to (x, y, t, p) events.

A pixel of an event camera reports no brightness, only changes of it: it sends an event, ON or OFF, whenever the
logarithm of its intensity has moved by the contrast threshold C since its last event. A still picture in front of a
still camera is invisible. So the camera moves, in three saccades along a right-angled triangle:

    first third    to the right    only edges that are not horizontal change
    second third   down            only edges that are not vertical change
    last third     back, along the diagonal

The sensor is smaller than the picture and sees a part of it at a time, from its top left corner to its top right, its
bottom right and back. The path is the same in every recording, so what an event means depends on when it came.
"""

from dataclasses import dataclass

import numpy as np

EVENT_DTYPE = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])  # tonic's own
_AT_ONCE = 200  # images; what is computed on them then stays in the cache of a core


@dataclass(frozen=True)
class EventCamera:
    """What decides a recording besides the image.

    threshold   C, in units of the natural logarithm of intensity
    mismatch    standard deviation of C between the pixels, as a share of it; the same pattern in all recordings
    dark        intensity added to the image's, which is in [0, 1]: the darkest there is
    noise       rate of events without a cause, per pixel and second
    size        side of the square sensor, in pixels of the image
    reach       length of the two straight saccades, in pixels, centred on the image
    duration    of a recording, in microseconds
    steps       at which the image is sampled; between two, log intensity is taken to change linearly
    seed        of mismatch and noise

    Raises ValueError for a wrong value.
    """

    threshold: float = 0.3
    mismatch: float = 0.03
    dark: float = 0.1
    noise: float = 1.0
    size: int = 20
    reach: float = 8.0
    duration: int = 300_000
    steps: int = 120
    seed: int = 0

    def __post_init__(self):
        for name in ("threshold", "dark", "size", "duration", "steps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"EventCamera.{name}={getattr(self, name)!r}: must be above 0")
        for name in ("mismatch", "noise", "reach", "seed"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"EventCamera.{name}={getattr(self, name)!r}: must be at least 0")

    def path(self, moments) -> np.ndarray:
        """Return where the camera points, (len(moments), 2), x and y in pixels; ``moments`` are in [0, 1].

        Each saccade starts and ends at rest. The first position is (-reach / 2, -reach / 2).
        """
        corners = self.reach / 2 * np.array([[-1, -1], [1, -1], [1, 1], [-1, -1]])
        along = 3 * np.asarray(moments, dtype=float)
        saccade = np.minimum(along.astype(int), 2)
        done = (1 - np.cos(np.pi * (along - saccade))) / 2
        return corners[saccade] + done[:, None] * (corners[saccade + 1] - corners[saccade])

    def record(self, images: np.ndarray, first: int = 0) -> list[np.ndarray]:
        """Return the events of each of ``images`` (N, H, W) uint8, sorted by time, with the fields of tonic.

        Fields: x, y (pixels), t (microseconds), p (True: brighter). ``first`` is the number of the first image in its
        set; a recording depends on seed, image and that number, not on which images are recorded with it.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 3:
            raise ValueError(f"images must be uint8 (N, H, W), not {images.dtype} {images.shape}")
        recordings = []
        for start in range(0, len(images), _AT_ONCE):
            recordings += self._record(images[start : start + _AT_ONCE], first + start)
        return recordings

    def _record(self, images, first):
        count, pixels = len(images), self.size**2
        rng = np.random.default_rng([self.seed, 0])
        threshold = self.threshold * np.maximum(1 + self.mismatch * rng.standard_normal(pixels), 0.1)
        threshold = np.tile(threshold.astype(np.float32), count)
        # An event is one integer that sorts as it should: recording, time, pixel, polarity.
        times, places = np.int64(self.duration + 1), np.int64(2 * pixels)
        events = [self._noise(first + i, pixels) + i * times * places for i in range(count)]
        path = self.path(np.linspace(0, 1, self.steps + 1))
        views = (np.log(view).ravel() for view in self._views(images, path))
        before = next(views)
        level = before.copy()  # where the pixel last sent an event
        for step, now in enumerate(views, 1):
            crossed = ((now - level) / threshold).astype(np.int32)  # towards 0
            (where,) = np.nonzero(crossed)
            number = np.abs(crossed[where])
            each = np.repeat(where, number)
            sign = np.sign(crossed[each])
            rank = np.arange(len(each)) - np.repeat(np.cumsum(number) - number, number) + 1  # 1, 2, ... in a pixel
            reached = level[each] + sign * rank * threshold[each]
            change = now[each] - before[each]  # 0 where only rounding carried the pixel over the threshold
            share = np.divide(reached - before[each], change, out=np.zeros_like(change), where=change != 0).clip(0, 1)
            t = ((step - 1 + share) * (self.duration / self.steps)).astype(np.int64)
            recording, pixel = np.divmod(each, pixels)
            events.append((recording * times + t) * places + 2 * pixel + (sign > 0))
            level[where] += crossed[where] * threshold[where]
            before = now
        events = np.sort(np.concatenate(events))
        ends = np.searchsorted(events, np.arange(1, count) * times * places)
        return [self._decode(part % (times * places)) for part in np.split(events, ends)]

    def _noise(self, number, pixels):
        rng = np.random.default_rng([self.seed, 1, number])
        how_many = rng.poisson(self.noise * pixels * self.duration / 1e6)
        t = rng.integers(self.duration + 1, size=how_many)
        return t * (2 * pixels) + rng.integers(2 * pixels, size=how_many)

    def _views(self, images, path):
        """Yield the intensity (N, size, size) that the sensor sees from each position of ``path``: bilinear."""
        margin = self.size + int(np.ceil(self.reach))  # the sensor may look past the image, which is dark there
        scene = np.pad(images.astype(np.float32) / 255, ((0, 0), (margin, margin), (margin, margin)))
        scene += np.float32(self.dark)
        middle = (np.array(images.shape[2:0:-1]) - self.size) / 2 + margin
        for x, y in path + middle:
            left, top = int(np.floor(x)), int(np.floor(y))
            right_share, low_share = np.float32(x - left), np.float32(y - top)
            seen = scene[:, top : top + self.size + 1, left : left + self.size + 1]
            seen = seen[:, :, :-1] + right_share * (seen[:, :, 1:] - seen[:, :, :-1])
            yield seen[:, :-1] + low_share * (seen[:, 1:] - seen[:, :-1])

    def _decode(self, codes):
        recording = np.empty(len(codes), EVENT_DTYPE)
        recording["t"], place = np.divmod(codes, 2 * self.size**2)
        recording["p"] = place % 2
        recording["y"], recording["x"] = np.divmod(place // 2, self.size)
        return recording
