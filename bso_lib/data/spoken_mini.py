"""The embedded set spoken-mini: ten command words in many synthetic voices, in noise.

The package holds clean recordings by eSpeak NG (see docs/embedded-data), one for each speaker and word. When the set is
loaded, each recording becomes several clips: another speed (and with it pitch), another place within the second, and
noise of another kind and level. No speaker of the test clips is heard in training.
"""

import io
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from bso_lib.data.audio import SAMPLE_RATE, audio_splits, one_second, path_key, spectrogram_images
from bso_lib.data.stored import embedded_arrays, stored_arrays

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
COPIES = {"train": 7, "test": 5}  # clips made from one recording
SPEEDS = (0.85, 1.2)  # factor of speed and pitch
SNR = (10.0, 30.0)  # dB, speech against noise
NOISES = ("white", "pink", "babble")
BABBLERS = 4  # other recordings that make up babble
FILE = "spoken-mini.npz"
_CODE = Path(__file__).read_bytes()  # at import, as in audio


@dataclass(frozen=True)
class Recordings:
    """Clean recordings of one part of the set: ``waves`` (float32, 16 kHz, some half a second each), ``labels``,
    ``speakers`` (names) for each of them, ordered by speaker, then word."""

    waves: tuple[np.ndarray, ...]
    labels: np.ndarray
    speakers: tuple[str, ...]


def load_recordings(part: str) -> Recordings:
    """Return the clean recordings of ``part``, "train" or "test"; raises ValueError for another name."""
    if part not in COPIES:
        raise ValueError(f"part={part!r}: must be one of {', '.join(COPIES)}")
    import soundfile

    arrays = embedded_arrays(FILE)
    flac, ends, names = (arrays[f"{part}_{name}"] for name in ("flac", "ends", "speakers"))
    samples, _ = soundfile.read(io.BytesIO(flac.tobytes()), dtype="float32")
    waves = tuple(np.split(samples, ends[:-1]))
    labels = np.tile(np.arange(len(WORDS)), len(names))
    return Recordings(waves, labels, tuple(str(name) for name in np.repeat(names, len(WORDS))))


def noise(kind: str, recordings: Recordings, generator: np.random.Generator) -> np.ndarray:
    """Return one second of noise (16000,) of unit power: "white", "pink" (1/f) or "babble" (several at once)."""
    if kind == "babble":
        sound = np.zeros(SAMPLE_RATE)
        for index in generator.integers(len(recordings.waves), size=BABBLERS):
            wave = np.resize(recordings.waves[index], SAMPLE_RATE)  # said again and again
            sound += np.roll(wave, generator.integers(SAMPLE_RATE)) / np.sqrt(np.mean(wave**2))
    else:
        sound = generator.standard_normal(SAMPLE_RATE)
        if kind == "pink":
            spectrum = np.fft.rfft(sound)
            sound = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), SAMPLE_RATE)
    return sound / np.sqrt(np.mean(sound**2))


def noisy_clip(recordings: Recordings, index: int, copy: int) -> np.ndarray:
    """Return clip ``copy`` of recording ``index``, (16000,) float32: sped, placed in the second, in noise.

    The same arguments give the same clip. The signal-to-noise ratio compares the powers of word and noise.
    """
    import librosa

    generator = np.random.default_rng([index, copy, len(recordings.waves)])
    speed = generator.uniform(*SPEEDS)
    wave = librosa.resample(recordings.waves[index], orig_sr=round(SAMPLE_RATE * speed), target_sr=SAMPLE_RATE)
    wave = wave[:SAMPLE_RATE]
    start = generator.integers(SAMPLE_RATE - len(wave) + 1)
    kind = NOISES[generator.integers(len(NOISES))]
    level = np.sqrt(np.mean(wave**2) / 10 ** (generator.uniform(*SNR) / 10))
    clip = one_second(np.pad(wave, (start, 0))) + level * noise(kind, recordings, generator)
    return (clip / np.abs(clip).max()).astype(np.float32)


def _pictures():
    arrays = {}
    for part, copies in COPIES.items():
        recordings = load_recordings(part)
        clips = [noisy_clip(recordings, i, copy) for i in range(len(recordings.waves)) for copy in range(copies)]
        arrays[f"{part}_images"] = np.concatenate(
            [spectrogram_images(np.stack(clips[i : i + 100])) for i in range(0, len(clips), 100)]
        )
        arrays[f"{part}_labels"] = recordings.labels.repeat(copies).astype(np.uint8)
    return arrays


def load_spoken_mini(root: Path):
    """Load the embedded set as (train, test) of 32x32 spectrograms; made on first use (seconds), then kept in ``root``.

    Samples are ordered by speaker, so that the last ones of each class, which ``evaluate_on="validation"`` holds out,
    are by speakers whom the others are not.
    """
    recordings = resources.files("bso_lib.data").joinpath(FILE).read_bytes()
    a = stored_arrays(root / f"spoken-mini-{path_key(_CODE, recordings)}.npz", _pictures)
    return audio_splits(a["train_images"], a["train_labels"], a["test_images"], a["test_labels"], WORDS)
