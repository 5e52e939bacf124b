"""From one second of sound to the 32x32 picture that a network sees: the one audio path, for every set of spoken words.

The paper says: mel spectrogram, resized to 32x32, normalised with mean 0.5 and standard deviation 0.5. What it leaves
open is chosen here: 16 kHz mono, exactly one second (shorter clips padded with silence at the end, longer ones cut);
Hann windows of 25 ms every 10 ms; 64 mel bands (Slaney's scale) of power from 20 Hz to 8 kHz; decibels below the
loudest cell of the clip, down to -80; bilinear resizing with antialiasing; -80 to 0 dB become the bytes 0 to 255.
"""

import hashlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from bso_lib.data.images import Split

SAMPLE_RATE = 16_000  # Hz; also the number of samples of a clip
SIDE = 32  # pixels of the picture
WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
MEL_BANDS = 64
LOWEST = 20.0  # Hz
RANGE = 80.0  # dB
# Taken at import: what a long-lived process computes belongs to the code it has loaded, not to a file edited since.
_CODE = Path(__file__).read_bytes()


def one_second(wave: np.ndarray) -> np.ndarray:
    """Return ``wave`` (samples,) as float32 of exactly one second: padded with silence at the end, or cut."""
    wave = np.asarray(wave, np.float32)[:SAMPLE_RATE]
    return np.pad(wave, (0, SAMPLE_RATE - len(wave)))


def mel_decibels(waves: np.ndarray) -> np.ndarray:
    """Return the mel spectrograms (N, 64 bands, 101 frames) of ``waves`` (N, 16000), in dB below each clip's maximum.

    In float64: sums of float32 depend on the processor's kernels by enough to change a picture's bytes.
    Low frequencies come first. Values reach from -80 to 0; a clip of pure silence is 0 everywhere.
    """
    import librosa  # takes seconds to import, and image sets do not need it

    bands = {"n_mels": MEL_BANDS, "fmin": LOWEST, "dtype": np.float64}
    power = librosa.feature.melspectrogram(
        y=np.asarray(waves, np.float64), sr=SAMPLE_RATE, n_fft=512, win_length=WINDOW, hop_length=HOP, **bands
    )
    return np.stack([librosa.power_to_db(clip, ref=np.max, top_db=RANGE) for clip in power])


def spectrogram_images(waves: np.ndarray) -> np.ndarray:
    """Return ``waves`` (N, 16000), float in [-1, 1], as uint8 (N, 32, 32): rows are mel bands, columns time."""
    decibels = torch.from_numpy(mel_decibels(waves)).unsqueeze(1)
    small = F.interpolate(decibels, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return ((small.squeeze(1) / RANGE + 1) * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def audio_splits(train_images, train_labels, test_images, test_labels, classes) -> tuple[Split, Split]:
    """Return (train, test) of uint8 arrays (N, 32, 32) and labels (N,), one channel, normalised by 0.5 and 0.5."""
    half = torch.tensor([0.5])

    def split(images, labels):
        pictures, classes_of = torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long()
        return Split(pictures, classes_of, tuple(classes), half, half)

    return split(train_images, train_labels), split(test_images, test_labels)


def path_key(*contents: bytes) -> str:
    """Return a hash of this module, ``contents`` and librosa's version: kept pictures of other code are not read."""
    digest = hashlib.sha256(version("librosa").encode())
    for content in (_CODE, *contents):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]
