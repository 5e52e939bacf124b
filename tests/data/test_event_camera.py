"""The simulated event camera: where it looks, what a pixel reports and when, noise, and that recordings repeat."""

from dataclasses import replace

import numpy as np
import pytest

from bso_lib.data.event_camera import EVENT_DTYPE, EventCamera

EXACT = EventCamera(mismatch=0.0, noise=0.0, size=16, reach=3.0)


def bar(horizontal=False, size=16):
    """A bright bar across the picture on dark ground."""
    image = np.zeros((size, size), np.uint8)
    image[:, size // 2 - 2 : size // 2 + 2] = 255
    return image.T if horizontal else image


def by_third(events, camera=EXACT):
    return np.bincount(np.minimum(3 * events["t"] // camera.duration, 2), minlength=3)


def test_the_camera_goes_right_then_down_then_back():
    camera = EventCamera(reach=4.0)
    corners = camera.path([0, 1 / 3, 2 / 3, 1])
    assert np.allclose(corners, [[-2, -2], [2, -2], [2, 2], [-2, -2]])
    right, down, back = (np.diff(camera.path(np.linspace(a, a + 1 / 3, 50)), axis=0) for a in (0, 1 / 3, 2 / 3))
    assert np.allclose(right[:, 1], 0)
    assert np.allclose(down[:-1, 0], 0)
    assert np.allclose(back[:-1, 0], back[:-1, 1])
    assert right[0, 0] < right[25, 0] / 5  # at rest at the corner


def test_events_are_tonics_and_sorted():
    tonic = pytest.importorskip("tonic")
    (events,) = EventCamera(size=16).record(bar()[None])
    assert events.dtype == EVENT_DTYPE == tonic.io.events_struct
    assert (np.diff(events["t"]) >= 0).all()
    assert events["t"].min() >= 0
    assert events["t"].max() <= EventCamera().duration
    assert set(events["x"]) <= set(range(16))


def test_an_edge_shows_only_while_the_camera_moves_across_it():
    upright, lying = (EXACT.record(bar(horizontal)[None])[0] for horizontal in (False, True))
    inside = slice(4, 12)  # the bar's ends at the rim of the picture are edges as well
    upright = by_third(upright[(upright["y"] >= inside.start) & (upright["y"] < inside.stop)])
    lying = by_third(lying[(lying["x"] >= inside.start) & (lying["x"] < inside.stop)])
    assert upright[0] > 50
    assert upright[1] == 0
    assert lying[0] == 0
    assert lying[1] > 50
    assert upright[2] > 50
    assert lying[2] > 50


def test_on_and_off_add_up_to_the_change_of_log_intensity():
    image = np.full((1, 12, 12), 20, np.uint8)
    image[0, 4:8, 4:8] = 220
    camera = replace(EXACT, threshold=0.2, reach=2.0, size=12)
    sent = []
    for duration in (1 / 3, 2 / 3, 1.0):  # each saccade's end
        (events,) = camera.record(image)
        events = events[events["t"] <= duration * camera.duration]
        total = np.zeros((12, 12))
        np.add.at(total, (events["y"], events["x"]), np.where(events["p"], 1, -1))
        sent.append(camera.threshold * total)
    log = np.log(np.pad(image[0], 1) / 255 + camera.dark)
    start, right, down = log[:-2, :-2], log[:-2, 2:], log[2:, 2:]  # it looks at (-1, -1), (1, -1), (1, 1)
    for expected, measured in zip((right - start, down - start, 0 * start), sent, strict=True):
        assert np.abs(measured - expected).max() < camera.threshold + 1e-5
        assert np.abs(measured[1:-1, 1:-1]).max() > 1 or not expected.any()


def test_a_time_is_that_of_the_crossing_and_does_not_depend_on_the_steps():
    image = np.zeros((1, 8, 8), np.uint8)
    image[:, :, 4:] = 255
    times = {}
    for steps in (300, 1200):
        (events,) = replace(EXACT, steps=steps, size=8).record(image)
        times[steps] = events["t"][(events["y"] == 4) & (events["x"] == 3) & (events["t"] < EXACT.duration / 3)]
        assert len(times[steps]) == len(set(times[steps])) == 7  # log(1.1 / 0.1) / 0.3, each at its own time
    assert np.abs(times[300] - times[1200]).max() < EXACT.duration / 300
    assert (np.diff(times[300]) > 0).all()


def test_noise_has_its_rate_and_mismatch_is_the_same_in_every_recording():
    dark = np.zeros((40, 16, 16), np.uint8)
    camera = EventCamera(noise=20.0, size=16)
    events = camera.record(dark)
    per_recording = camera.noise * 16 * 16 * camera.duration / 1e6
    assert abs(np.mean([len(e) for e in events]) / per_recording - 1) < 0.05
    assert 0.4 < np.mean(np.concatenate(events)["p"]) < 0.6
    assert sum(map(len, EXACT.record(dark))) == 0
    uneven = replace(EXACT, mismatch=0.2)
    first, second = uneven.record(np.stack([bar(), bar()]))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, EXACT.record(bar()[None])[0])


def test_a_small_sensor_sees_the_part_of_the_picture_that_it_points_at():
    image = np.zeros((1, 24, 24), np.uint8)
    image[0, 3:6, 18:21] = 255  # top right
    camera = replace(EXACT, size=8, reach=16.0)  # from corner to corner
    (events,) = camera.record(image)
    arrives = camera.duration / 3
    assert by_third(events, camera)[0] > 0
    before = events[events["t"] <= arrives]
    total = np.zeros((8, 8))
    np.add.at(total, (before["y"], before["x"]), np.where(before["p"], 1, -1))
    assert np.argwhere(total > 0).tolist() == [[y, x] for y in (3, 4, 5) for x in (2, 3, 4)]
    unseen = np.zeros((1, 24, 24), np.uint8)
    unseen[0, 18:21, 3:6] = 255  # bottom left, where it never points
    assert len(camera.record(unseen)[0]) == 0


def test_a_recording_depends_on_seed_and_number_only():
    images = np.random.default_rng(0).integers(0, 256, (5, 10, 10), np.uint8)
    together = EventCamera().record(images)
    alone = EventCamera().record(images[3:4], first=3)
    assert np.array_equal(together[3], alone[0])
    assert not np.array_equal(EventCamera().record(images[3:4])[0], alone[0])  # other noise
    assert not np.array_equal(EventCamera(seed=1).record(images)[3], together[3])


def test_wrong_values_are_named():
    with pytest.raises(ValueError, match=r"EventCamera\.threshold=0: must be above 0"):
        EventCamera(threshold=0)
    with pytest.raises(ValueError, match=r"EventCamera\.noise=-1: must be at least 0"):
        EventCamera(noise=-1)
    with pytest.raises(ValueError, match=r"images must be uint8 \(N, H, W\), not float64 \(4, 4\)"):
        EventCamera().record(np.zeros((4, 4)))
