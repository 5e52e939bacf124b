"""Google Speech Commands on a small copy of its layout: lists, archive, download, and what is said of damage."""

import hashlib
import io
import shutil
import tarfile

import numpy as np
import pytest
import soundfile
import torch

from bso_lib.data import DatasetMissing, load_dataset, load_validation, speech_commands
from bso_lib.data.audio import SAMPLE_RATE, one_second, spectrogram_images

HELD_OUT = {"validation": "b1_nohash_0.wav", "test": "c1_nohash_1.wav"}


def tone(frequency, seconds=1.0, rate=SAMPLE_RATE):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def wav(wave, rate=SAMPLE_RATE):
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def build(folder):
    """Write three clips of each word, a background noise, and the two lists, as the archive has them."""
    for number, word in enumerate(speech_commands.WORDS):
        (folder / word).mkdir(parents=True)
        for step, name in enumerate(("a1_nohash_0.wav", *HELD_OUT.values())):
            (folder / word / name).write_bytes(wav(tone(200 + 150 * number + 20 * step, seconds=1 - 0.3 * step)))
    (folder / "_background_noise_").mkdir()
    (folder / "_background_noise_" / "hiss.wav").write_bytes(wav(tone(50, seconds=3)))
    for part, name in HELD_OUT.items():
        lines = [f"{word}/{name}\n" for word in speech_commands.WORDS]
        (folder / speech_commands.LISTS[part]).write_text("".join(lines))
    (folder / "README.md").write_text("read me")


@pytest.fixture
def extracted(tmp_path, monkeypatch):
    monkeypatch.setattr(speech_commands, "OFFICIAL", speech_commands.Official(clips=105))
    folder = tmp_path / "speech_commands_v0.02"
    build(folder)
    return folder


def pack(folder, archive):
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, arcname=".")


def test_speech_commands_follow_their_lists_from_folder_and_from_archive_alike(extracted, tmp_path):
    train, test = load_dataset("speech-commands", tmp_path)
    _, validation = load_validation("speech-commands", train, tmp_path)
    assert len(train) == len(test) == len(validation) == 35
    assert train.classes == speech_commands.WORDS
    for split in (train, test, validation):
        assert split.labels.tolist() == list(range(35))
    expected = spectrogram_images(
        np.stack([one_second(soundfile.read(extracted / w / HELD_OUT["test"])[0]) for w in ("cat", "zero")])
    )
    assert np.array_equal(test.images[[3, 34], 0].numpy(), expected)

    other = tmp_path / "other"
    other.mkdir()
    pack(extracted, other / "speech_commands_v0.02.tar.gz")
    for ours, theirs in zip((train, test), load_dataset("speech-commands", other), strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)

    shutil.rmtree(extracted)  # what was converted is kept
    assert torch.equal(load_dataset("speech-commands", tmp_path)[0].images, train.images)


def test_everything_wrong_is_counted_and_named_in_one_line(extracted, tmp_path):
    for word in ("backward", "bed", "bird", "cat"):
        (extracted / word / HELD_OUT["test"]).unlink()
    shutil.rmtree(extracted / "zero")
    (extracted / "yes" / "a1_nohash_0.wav").write_bytes(b"not a sound")
    (extracted / "wow" / "a1_nohash_0.wav").write_bytes(wav(tone(300, rate=8000), rate=8000))
    (extracted / "kitten").mkdir()
    (extracted / "kitten" / "a.wav").write_bytes(wav(tone(300)))
    with pytest.raises(DatasetMissing) as caught:
        load_dataset("speech-commands", tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for fault in (
        "1 word without clips (zero)",
        "6 clips named in the lists are absent (backward/c1_nohash_1.wav, bed/c1_nohash_1.wav, bird/c1_nohash_1.wav, .",
        "1 clip is unreadable (yes/a1_nohash_0.wav)",
        "1 clip is not at 16000 Hz (wow/a1_nohash_0.wav: 8000 Hz)",
        "1 clip is of no known word (kitten/a.wav)",
        "99 clips in all instead of 105",
    ):
        assert fault in message
    assert not list(tmp_path.glob("*.npz"))


def test_a_training_clip_that_no_list_names_is_missed_by_the_count(extracted, tmp_path):
    (extracted / "go" / "a1_nohash_0.wav").unlink()
    with pytest.raises(DatasetMissing, match="104 clips in all instead of 105"):
        load_dataset("speech-commands", tmp_path)


def test_an_absent_list_is_named(extracted, tmp_path):
    (extracted / "testing_list.txt").unlink()
    with pytest.raises(DatasetMissing, match=r"1 list absent \(testing_list.txt\)"):
        load_dataset("speech-commands", tmp_path)


def test_an_archive_cut_short_says_so(extracted, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    archive = other / "speech_commands_v0.02.tar.gz"
    pack(extracted, archive)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(DatasetMissing, match="the archive cannot be read to its end"):
        load_dataset("speech-commands", other)


def test_download_checks_size_and_checksum_before_it_keeps_the_archive(extracted, tmp_path, monkeypatch):
    served = tmp_path / "served" / "speech_commands_v0.02.tar.gz"
    served.parent.mkdir()
    pack(extracted, served)
    root, content = tmp_path / "root", served.read_bytes()
    good = speech_commands.Official(served.as_uri(), len(content), hashlib.sha256(content).hexdigest(), 105)
    monkeypatch.setattr(speech_commands, "OFFICIAL", good._replace(size=good.size + 1))
    with pytest.raises(DatasetMissing, match="not the published"):
        load_dataset("speech-commands", root, download=True)
    assert list(root.iterdir()) == []
    monkeypatch.setattr(speech_commands, "OFFICIAL", good)
    train, _ = load_dataset("speech-commands", root, download=True)
    assert len(train) == 35
    served.unlink()
    load_dataset("speech-commands", root, download=True)  # nothing is fetched twice
