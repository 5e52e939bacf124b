"""From events to frames, the simulated set, CIFAR10-DVS on disk, and the file that keeps what was converted."""

import struct
import sys

import numpy as np
import pytest
import torch

from bso_lib.data import FACTS, DatasetMissing, events, load_dataset
from bso_lib.data.event_camera import EVENT_DTYPE, EventCamera
from bso_lib.data.images import Split, load_fashion_mini, make_splits

tonic = pytest.importorskip("tonic")
CLASSES = tuple(tonic.datasets.CIFAR10DVS.classes)


def recording(times, x=0, y=0, p=True):
    array = np.empty(len(times), EVENT_DTYPE)
    array["t"], array["x"], array["y"], array["p"] = times, x, y, p
    return array


def test_frames_count_events_by_time_polarity_and_place():
    seen = np.concatenate([recording([0, 10, 20]), recording([40, 50, 60], 3, 1, False), recording([99, 100], 2, 4)])
    frames = events.to_frames((6, 5, 2), 2)(seen)
    assert frames.shape == (2, 2, 5, 6)
    assert frames.dtype == np.uint8
    assert frames[0, 1, 0, 0] == 3
    assert frames[0, 0, 1, 3] == 1  # 40; the first half ends at 50
    assert frames[1, 0, 1, 3] == 2
    assert frames[1, 1, 4, 2] == 1  # tonic leaves out the last moment
    assert frames.sum() == 7


def test_counts_stop_at_255_and_resizing_keeps_their_sum():
    busy = events.to_frames((4, 4, 2), 1)(recording(np.arange(1000)))
    assert busy.max() == 255
    rng = np.random.default_rng(0)
    many = recording(
        np.sort(rng.integers(0, 10**6, 200_000)), rng.integers(0, 128, 200_000), 0, rng.random(200_000) > 0.5
    )
    many["y"] = rng.integers(0, 128, 200_000)
    whole, small = (events.to_frames((128, 128, 2), 10, size)(many) for size in (None, 48))
    assert small.shape == (10, 2, 48, 48)
    assert abs(small.sum() / whole.sum() - 1) < 0.02
    assert small[:, :, :24].sum() / small.sum() == pytest.approx(0.5, abs=0.02)


@pytest.fixture
def small_set(monkeypatch):
    """fashion-mini cut down to 3 + 3 images a class, of which 2 are taken for 200: return the 3 + 2."""
    train, test = load_fashion_mini()
    train, test = train.first_per_class(3)[0], test.first_per_class(3)[0]
    small = make_splits(train.images, train.labels, test.images, test.labels, train.classes)
    monkeypatch.setattr(events, "load_fashion_mini", lambda: small)
    taken = small[1].first_per_class(2)[0]
    first_per_class = Split.first_per_class
    monkeypatch.setattr(Split, "first_per_class", lambda split, count: first_per_class(split, {200: 2}[count]))
    return small[0], taken


def test_fashion_events_are_fashion_mini_through_the_camera(small_set, tmp_path):
    train, test = load_dataset("fashion-events", tmp_path, frames=4)
    assert train.images.shape == (30, 4, 2, *FACTS["fashion-events"].shape[1:])
    assert test.images.shape == (20, *train.images.shape[1:])
    assert torch.equal(train.labels, small_set[0].labels)
    assert torch.equal(test.labels, small_set[1].labels)
    (seen,) = EventCamera().record(small_set[1].images[7].numpy(), first=37)  # test images are numbered after training
    assert np.array_equal(
        test.images[7].numpy(), events.to_frames((EventCamera().size, EventCamera().size, 2), 4)(seen)
    )
    with pytest.raises(ValueError, match="frames=0: must be a whole number, at least 1"):
        load_dataset("fashion-events", tmp_path, frames=0)


def test_a_second_start_converts_nothing_unless_the_file_is_damaged_or_of_another_camera(
    small_set, tmp_path, monkeypatch
):
    first, _ = load_dataset("fashion-events", tmp_path, frames=2)
    (path,) = (tmp_path / "fashion-events").glob("*.npz")
    original, made = EventCamera.record, []
    monkeypatch.setattr(EventCamera, "record", lambda self, *a, **k: made.append(1) or original(self, *a, **k))
    assert torch.equal(load_dataset("fashion-events", tmp_path, frames=2)[0].images, first.images)
    assert not made
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.warns(UserWarning, match="is damaged"):
        assert torch.equal(load_dataset("fashion-events", tmp_path, frames=2)[0].images, first.images)
    assert len(made) == 1
    monkeypatch.setattr(events, "EventCamera", lambda: EventCamera(seed=1))
    assert not torch.equal(load_dataset("fashion-events", tmp_path, frames=2)[0].images, first.images)


def aedat4(recorded):
    """Return the bytes of an AEDAT4 file with one packet: text line, flatbuffer header, flatbuffer of events."""
    attributes = {"compression": "NONE", "typeIdentifier": "EVTS"}
    info = '<node name="info"><attr key="sizeX" type="int">128</attr><attr key="sizeY" type="int">128</attr></node>'
    lines = "".join(f'<attr key="{k}" type="string">{v}</attr>' for k, v in attributes.items())
    xml = f'<dv version="2.0"><node name="outInfo"><node name="0">{lines}{info}</node></node></dv>'.encode()
    header = struct.pack("<I4s5H6x", 24, b"IOHE", 10, 20, 4, 12, 8)  # root, kind, field offsets
    header += struct.pack("<iiIqI", 16, 0, 12, -1, len(xml)) + xml + b"\0"
    header += bytes(-len(header) % 4)
    packet = struct.pack("<I4s3H2xiII", 16, b"EVTS", 6, 8, 4, 8, 4, len(recorded))
    for event in recorded:
        packet += struct.pack("<qhh?3x", event["t"], event["x"], event["y"], event["p"])
    packet = struct.pack("<I", len(packet)) + packet
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(header)) + header + struct.pack("<ii", 0, len(packet)) + packet


@pytest.fixture
def on_disk(tmp_path, monkeypatch):
    """CIFAR10-DVS as tonic extracts it, three recordings a class; number n of class c has 10 n + c + 20 events."""
    monkeypatch.setattr(events, "PER_CLASS", (2, 1))
    for c, name in enumerate(CLASSES):
        folder = tmp_path / "CIFAR10DVS" / name
        folder.mkdir(parents=True)
        for n in (9, 10, 2):  # by number 10 is the last, by name the first
            seen = recording(np.arange(10 * n + c + 20) * 100, x=64, y=64)
            (folder / f"cifar10_{name}_{n}.aedat4").write_bytes(aedat4(seen))
    return tmp_path


@pytest.fixture
def reader(monkeypatch):
    """Stand in for tonic's reader where aedat is not installed: it reads the events that aedat4() wrote last."""

    def read(path):
        with open(path, "rb") as file:
            content = file.read()
        start = content.index(b"EVTS", content.index(b"</dv>")) + 24
        raw = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "?"), ("pad", "V3")])
        return np.frombuffer(content, raw, offset=start)[["t", "x", "y", "on"]].copy()

    monkeypatch.setattr("tonic.datasets.cifar10dvs.read_aedat4", read)


def test_recordings_are_split_by_their_number_and_resized(on_disk, reader):
    train, test = load_dataset("dvs-cifar10", on_disk, frames=2)
    assert train.images.shape == (20, 2, 2, 48, 48)
    assert test.images.shape == (10, 2, 2, 48, 48)
    assert train.classes == CLASSES
    assert torch.bincount(train.labels).tolist() == [2] * 10
    assert test.labels.tolist() == list(range(10))
    counts = train.images.sum((1, 2, 3, 4))
    assert bool((counts[0::2] < counts[1::2]).all())  # 2 before 9
    assert bool((counts[1::2] < test.images.sum((1, 2, 3, 4))).all())  # 10 is for test
    assert int(train.images[:, :, 0].sum()) == 0  # all were ON


def test_kept_frames_are_those_of_the_code_that_converts(on_disk, reader, monkeypatch):
    load_dataset("dvs-cifar10", on_disk, frames=2)
    load_dataset("dvs-cifar10", on_disk, frames=2)
    assert len(list(on_disk.glob("CIFAR10DVS/*.npz"))) == 1
    monkeypatch.setattr(events, "code_without_docstrings", lambda path: "another way to convert")
    load_dataset("dvs-cifar10", on_disk, frames=2)
    assert len(list(on_disk.glob("CIFAR10DVS/*.npz"))) == 2


def test_the_real_decoder_reads_the_same(on_disk):
    pytest.importorskip("aedat")
    _, test = load_dataset("dvs-cifar10", on_disk, frames=2)
    one = recording(np.arange(120) * 100, x=64, y=64)  # number 10 of class 0
    assert np.array_equal(test.images[0].numpy(), events.to_frames((128, 128, 2), 2, 48)(one))


def test_unreadable_recordings_are_counted_and_named(on_disk, monkeypatch):
    def read(path):
        if "_9." in path:
            raise OSError("cut\nshort")
        return recording(np.arange(10))[["t", "x", "y", "p"]].copy()

    monkeypatch.setattr("tonic.datasets.cifar10dvs.read_aedat4", read)
    with pytest.raises(
        ValueError, match=r"10 of 30 recordings unreadable: cifar10_airplane_9.aedat4 \(OSError: cut short"
    ):
        load_dataset("dvs-cifar10", on_disk, frames=2)
    assert not list(on_disk.glob("CIFAR10DVS/*.npz"))


def test_a_half_extracted_archive_is_told_from_a_missing_one(on_disk, tmp_path):
    (on_disk / "CIFAR10DVS" / "cat" / "cifar10_cat_9.aedat4").unlink()
    with pytest.raises(
        DatasetMissing, match=r"dvs-cifar10 half-extracted: .* found cat: 2 of 3\. Download and extract"
    ):
        load_dataset("dvs-cifar10", on_disk)
    with pytest.raises(DatasetMissing, match=r"dvs-cifar10 not found.* airplane: 0 of 3, .* truck: 0 of 3"):
        load_dataset("dvs-cifar10", tmp_path / "elsewhere")


def test_missing_libraries_say_what_to_install(on_disk, monkeypatch):
    monkeypatch.setitem(sys.modules, "aedat", None)
    with pytest.raises(ImportError, match=r"recordings cannot be read \(.*aedat.*\): pip install 'bso-lib\[events\]'"):
        load_dataset("dvs-cifar10", on_disk)
    monkeypatch.setitem(sys.modules, "tonic", None)
    with pytest.raises(ImportError, match=r"event data need tonic \(.*\): pip install 'bso-lib\[events\]'"):
        load_dataset("fashion-events", on_disk)
