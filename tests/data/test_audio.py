"""The audio path: one second of sound to a 32x32 picture."""

import subprocess
import sys

import numpy as np
import pytest

from bso_lib.data.audio import (
    MEL_BANDS,
    SAMPLE_RATE,
    audio_splits,
    mel_decibels,
    one_second,
    path_key,
    spectrogram_images,
)

SECOND = np.arange(SAMPLE_RATE) / SAMPLE_RATE


def tone(frequency, seconds=1.0, rate=SAMPLE_RATE):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def test_a_second_is_padded_at_the_end_or_cut():
    short, long = one_second(np.ones(100)), one_second(np.arange(20_000))
    assert short.dtype == np.float32
    assert short.shape == long.shape == (SAMPLE_RATE,)
    assert short.sum() == 100 == short[:100].sum()
    assert long[-1] == SAMPLE_RATE - 1


def test_a_higher_tone_lies_in_a_higher_row_and_loudness_does_not_matter():
    tones = np.stack([tone(f) for f in (200, 800, 3200, 7000)])
    images = spectrogram_images(tones)
    assert images.shape == (4, 32, 32)
    assert images.dtype == np.uint8
    rows = images[:, :, 16].argmax(axis=1)
    assert (np.diff(rows) > 3).all()
    assert np.array_equal(spectrogram_images(0.25 * tones), images)


def test_a_tone_moves_along_the_columns_with_time():
    early = np.where(SECOND < 0.25, tone(1000), 0).astype(np.float32)
    image = spectrogram_images(np.stack([early, np.roll(early, SAMPLE_RATE // 2)])).astype(int)
    loud = image.max(axis=1) > 128
    assert np.flatnonzero(loud[0]).max() <= 9
    assert np.flatnonzero(loud[1]).min() >= 15


def test_decibels_are_below_the_loudest_cell_and_reach_to_minus_80():
    quiet = tone(1000)
    quiet[8000:] *= 0.1  # 20 dB
    decibels = mel_decibels(np.stack([quiet, np.zeros(SAMPLE_RATE, np.float32)]))
    assert decibels.shape == (2, MEL_BANDS, 101)
    assert decibels[0].max() == 0
    assert decibels[0].min() == pytest.approx(-80)
    band = decibels[0].max(axis=1).argmax()
    assert decibels[0, band, 80] - decibels[0, band, 20] == pytest.approx(-20, abs=0.1)
    assert np.isfinite(decibels).all()  # silence too


def test_pictures_are_normalised_with_a_half_and_a_half():
    images = np.array([[[0]], [[255]], [[51]]], np.uint8)
    train, _ = audio_splits(images, np.arange(3), images, np.arange(3), "abc")
    assert train.images.shape == (3, 1, 1, 1)
    assert train.normalise(train.images).flatten().tolist() == pytest.approx([-1.0, 1.0, -0.6])


def test_kept_pictures_are_named_by_what_they_were_made_of():
    names = {path_key(), path_key(b"a"), path_key(b"b"), path_key(b"a", b"b"), path_key(b"ab")}
    assert len(names) == 5
    assert path_key(b"a") == path_key(b"a")


def test_image_sets_do_without_the_audio_libraries():
    code = (
        "import sys; from bso_lib.data import load_dataset; load_dataset('fashion-mini'); "
        "print([name for name in ('librosa', 'soundfile') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
