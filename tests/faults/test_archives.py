"""Archives and pictures made to harm: refused in one line, nothing outside the set touched, no memory filled."""

import io
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
import soundfile
import torch
from faults.fault import fault
from PIL import Image

from bso_lib.data import DatasetMissing, events, load_dataset, speech_commands
from bso_lib.data.imagenet import UnreadableImage, load_imagenet

END = "refused in one line, nothing written outside the set"
SPEECH = {
    what: fault("Archive: speech-commands", what, 1, 1, END)
    for what in (
        "a clip with an absolute path", "a clip with an upward path", "an upward path within a folder",
        "a symbolic link", "a hard link", "a device", "a bomb of zeros as a clip", "a bomb of zeros beside the clips",
    )
}  # fmt: skip
MEGABYTE = 10**6


class Zeros(io.RawIOBase):
    """So many zeros, none of which is kept."""

    def __init__(self, size):
        self.left = size

    def read(self, count=-1):
        given = min(self.left, count if count >= 0 else self.left)
        self.left -= given
        return bytes(given)


def member(name, size=0, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, target
    return info


HARM = dict(
    zip(
        SPEECH,
        [
            member("/yes/a.wav", 10), member("../yes.wav", 10), member("yes/../../a.wav", 10),
            member("yes/a.wav", kind=tarfile.SYMTYPE, target="/etc/passwd"),
            member("yes/a.wav", kind=tarfile.LNKTYPE, target="../../a.wav"), member("yes/a.wav", kind=tarfile.CHRTYPE),
            member("yes/a.wav", 200 * MEGABYTE), member("notes.bin", 200 * MEGABYTE),
        ],
        strict=True,
    )
)  # fmt: skip


@pytest.mark.parametrize("what", SPEECH)
def test_the_speech_reader_refuses(what, tmp_path):
    info = HARM[what]
    with tarfile.open(tmp_path / speech_commands.OFFICIAL.file, "w:gz", compresslevel=1) as archive:
        archive.addfile(info, Zeros(info.size))
    before = sorted(tmp_path.rglob("*"))
    tracemalloc.start()
    with pytest.raises(DatasetMissing) as refused:
        load_dataset("speech-commands", tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(str(refused.value).splitlines()) == 1
    assert info.name in str(refused.value)
    assert peak < 20 * MEGABYTE
    assert [path for path in sorted(tmp_path.rglob("*")) if not path.name.endswith(".lock")] == before


CLIP = fault(
    "Archive: speech-commands", "a clip that decodes to an hour of silence", 1, 1, "one second of it is decoded"
)


def test_of_a_long_clip_one_second_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(speech_commands, "spectrogram_images", lambda waves: np.zeros((len(waves), 32, 32), np.uint8))
    folder = tmp_path / speech_commands.FOLDERS[0] / "yes"
    folder.mkdir(parents=True)
    with soundfile.SoundFile(folder / "a.wav", "w", 16_000, 1, format="FLAC") as clip:
        for _ in range(60):
            clip.write(np.zeros(960_000, np.float32))
    tracemalloc.start()
    with pytest.raises(DatasetMissing, match="34 words without clips"):
        load_dataset("speech-commands", tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * MEGABYTE  # the hour has 230


EVENTS = {
    what: fault("Recording: dvs-cifar10", what, 1, 1, "named in one line")
    for what in ("a bomb of zeros", "an archive in place of a recording", "a link to itself")
}


@pytest.mark.parametrize("what", EVENTS)
def test_the_events_reader_refuses(what, tmp_path, monkeypatch):
    tonic = pytest.importorskip("tonic")
    monkeypatch.setattr(events, "PER_CLASS", (1, 1))
    for name in tonic.datasets.CIFAR10DVS.classes:
        folder = tmp_path / "CIFAR10DVS" / name
        folder.mkdir(parents=True)
        for number in (0, 1):
            path = folder / f"cifar10_{name}_{number}.aedat4"
            if what == "a bomb of zeros":
                with open(path, "wb") as file:
                    file.truncate(500 * MEGABYTE)
            elif what == "a link to itself":
                path.symlink_to(path)
            else:
                with zipfile.ZipFile(path, "w") as archive:
                    archive.writestr("../../outside", "x")
    with pytest.raises((ValueError, DatasetMissing)) as refused:
        load_dataset("dvs-cifar10", tmp_path)
    assert len(str(refused.value).splitlines()) == 1
    assert "20 of 20 recordings unreadable: cifar10_airplane_0.aedat4 (" in str(refused.value)
    assert not list(tmp_path.rglob("outside"))
    assert not list(tmp_path.rglob("*.npz"))


PICTURES = {
    what: fault("Picture: imagenet", what, 1, 1, "named in one line")
    for what in ("a bomb of zeros: 400 megapixels in a small file", "an archive in place of a picture", "a broken link")
}


@pytest.mark.parametrize("what", PICTURES)
def test_the_imagenet_reader_refuses(what, tmp_path):
    for part in ("train", "val"):
        folder = tmp_path / "imagenet" / part / "n01"
        folder.mkdir(parents=True)
        path = folder / "a.JPEG"
        if what.startswith("a bomb"):
            Image.new("1", (20_000, 20_000)).save(path, format="PNG")
        elif what == "a broken link":
            path.symlink_to(tmp_path / "nowhere")
        else:
            with tarfile.open(path, "w:gz") as archive:
                archive.addfile(member("../outside", 3), io.BytesIO(b"out"))
    train, _ = load_imagenet(tmp_path, 0, classes=1, images={"train": 1, "val": 1})
    with pytest.raises(UnreadableImage, match=r"1 unreadable: .*a\.JPEG \(") as refused:
        next(train.batches(1, torch.Generator()))
    assert len(str(refused.value).splitlines()) == 1
    assert not list(tmp_path.rglob("outside"))
