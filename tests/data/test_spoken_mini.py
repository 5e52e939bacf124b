"""The embedded spoken words: recordings, the clips made of them, speakers kept apart."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from make_spoken_mini import SHA256, SPEAKERS, Synthesiser

from bso_lib.data import load_dataset, load_validation, spoken_mini
from bso_lib.data.audio import SAMPLE_RATE, spectrogram_images
from bso_lib.data.stored import content_checksum


@pytest.fixture(scope="module")
def recordings():
    return {part: spoken_mini.load_recordings(part) for part in ("train", "test")}


def test_spoken_mini_has_every_word_by_every_speaker_and_no_speaker_in_both_parts(recordings):
    for part, found in recordings.items():
        assert len(found.waves) == len(found.labels) == len(found.speakers) == 10 * len(SPEAKERS[part])
        assert list(dict.fromkeys(found.speakers)) == SPEAKERS[part]
        assert np.bincount(found.labels).tolist() == [len(SPEAKERS[part])] * 10
        for wave in found.waves:
            assert 0.1 < len(wave) / SAMPLE_RATE < 0.8  # so that a slowed one fits into the second
            assert 0.9 < np.abs(wave).max() <= 1
    assert not set(recordings["train"].speakers) & set(recordings["test"].speakers)
    with pytest.raises(ValueError, match="part='dev': must be one of train, test"):
        spoken_mini.load_recordings("dev")


def test_the_recordings_are_the_checked_content():
    with np.load(spoken_mini.__file__.replace("spoken_mini.py", spoken_mini.FILE)) as arrays:
        assert content_checksum(dict(arrays)) == SHA256


def test_a_clip_is_the_same_again_and_another_copy_is_another(recordings):
    first, again, other = (spoken_mini.noisy_clip(recordings["train"], 3, copy) for copy in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (SAMPLE_RATE,)
    assert first.dtype == np.float32
    assert np.abs(first).max() == 1


def test_noise_has_unit_power_and_its_colour(recordings):
    generator = np.random.default_rng(0)
    low_share = {}
    for kind in spoken_mini.NOISES:
        sound = spoken_mini.noise(kind, recordings["test"], generator)
        assert np.mean(sound**2) == pytest.approx(1)
        power = np.abs(np.fft.rfft(sound)) ** 2
        low_share[kind] = power[:1000].sum() / power.sum()  # below 1 kHz of 8
    assert low_share["white"] == pytest.approx(1 / 8, abs=0.03)
    assert low_share["pink"] > 0.6
    assert low_share["babble"] > 0.3


def test_the_signal_to_noise_ratio_is_what_is_asked(recordings, monkeypatch):
    index = 12
    clips = {}
    for ratio in (0.0, 100.0):
        monkeypatch.setattr(spoken_mini, "SNR", (ratio, ratio))
        clips[ratio] = spoken_mini.noisy_clip(recordings["train"], index, 0).astype(float)
    clean = clips[100.0]
    scale = clips[0.0] @ clean / (clean @ clean)
    added = clips[0.0] - scale * clean
    length = np.ptp(np.flatnonzero(np.abs(clean) > 1e-3)) + 1
    word = scale**2 * (clean**2).sum() / length
    assert 10 * np.log10(word / np.mean(added**2)) == pytest.approx(0, abs=1)


def test_spoken_mini_becomes_pictures_in_the_order_of_its_speakers(tmp_path, monkeypatch):
    monkeypatch.setattr(spoken_mini, "COPIES", {"train": 1, "test": 1})
    with pytest.warns(UserWarning, match="other bytes"):  # fewer copies than the whole set's
        train, test = load_dataset("spoken-mini", tmp_path)
    assert train.images.shape == (600, 1, 32, 32)
    assert test.images.shape == (240, 1, 32, 32)
    assert train.classes == spoken_mini.WORDS
    assert train.labels[:20].tolist() == [*range(10), *range(10)]
    found = spoken_mini.load_recordings("train")
    clips = np.stack([spoken_mini.noisy_clip(found, i, 0) for i in (0, 599)])
    assert np.array_equal(train.images[[0, 599], 0].numpy(), spectrogram_images(clips))
    monkeypatch.setattr(spoken_mini, "_pictures", lambda: pytest.fail("made a second time"))
    again, _ = load_dataset("spoken-mini", tmp_path)
    assert torch.equal(again.images, train.images)
    kept, held_out = load_validation("spoken-mini", train, tmp_path)
    assert (len(kept), len(held_out)) == (540, 60)
    assert torch.equal(held_out.images, train.images[540:])  # the last six speakers, all their words


@pytest.mark.parametrize("played", [{}, {"OPENBLAS_CORETYPE": "Haswell", "ATEN_CPU_CAPABILITY": "default"}])
def test_spoken_mini_has_the_committed_bytes_with_other_kernels_too(played, tmp_path):
    command = "from bso_lib.data import made_alike; print(made_alike('spoken-mini'))"
    environment = os.environ | {"BSO_DATA": str(tmp_path), **played}
    done = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_the_builder_wants_its_library(tmp_path):
    with pytest.raises(FileNotFoundError, match="pip install --target espeak espeakng-loader"):
        Synthesiser(tmp_path)
