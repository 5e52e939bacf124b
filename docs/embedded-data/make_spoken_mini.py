"""Build the recordings of the embedded set spoken-mini with the speech synthesiser eSpeak NG.

    pip install --target espeak espeakng-loader==0.2.4
    python docs/embedded-data/make_spoken_mini.py --espeak espeak/espeakng_loader --out spoken-mini.npz

The wheel brings the library of eSpeak NG 1.52 and its voices. A speaker is one of its voice variants with an accent of
English, a rate and a pitch of its own; each says every word once. What is kept is 16 kHz, 8 bits, FLAC.
"""

import argparse
import ctypes
import io
from pathlib import Path

import librosa
import numpy as np
import soundfile

from bso_lib.data.audio import SAMPLE_RATE
from bso_lib.data.spoken_mini import WORDS
from bso_lib.data.stored import content_checksum, write_atomically

ACCENTS = (
    "en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbclan", "en-us-nyc", "en-gb-x-gbcwmd",
)  # fmt: skip
_TRAIN = (
    "f1 f2 f3 m1 m2 m3 m4 m5 Alex Alicia Andy AnxiousAndy Annie Denis Diogo Henrique Jacky Marco Mario Mike Nguyen "
    "Reed RicishayMax RicishayMax2 adam anika announcer antonio aunty benjamin boris caleb david ed edward edward2 "
    "grandma grandpa ian iven iven2 iven3 john kaukovalta klatt klatt2 klatt3 klatt4 klatt6 marcelo michel miguel "
    "norbert paul pedro quincy sandro shelby travis victor"
)
_TEST = (
    "f4 f5 m6 m7 m8 Andrea Gene Gene2 Hugo Lee Michael Storm belinda gustave linda max pablo rob robert steph steph2 "
    "steph3 whisperf zac"
)
SPEAKERS = {"train": _TRAIN.split(), "test": _TEST.split()}
RATES, PITCHES = (130, 200), (30, 70)  # words per minute; eSpeak's scale of 0 to 99
SHA256 = "594509b181fb817c9c0d1c666631c4f2ce8e744d5dbdd1013899a1e36349d59f"

_SYNCHRONOUS, _RATE, _PITCH, _UTF8 = 2, 1, 3, 1  # of espeak-ng/speak_lib.h
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Synthesiser:
    """eSpeak NG through its C library in ``folder``; raises FileNotFoundError if it is not there."""

    def __init__(self, folder: Path):
        library = next(folder.glob("libespeak-ng.*"), None)
        if library is None:
            raise FileNotFoundError(f"no libespeak-ng in {folder}: pip install --target espeak espeakng-loader")
        self._library = ctypes.CDLL(str(library))
        self._pieces = []
        self._callback = _CALLBACK(self._receive)  # kept: the library holds only its address
        self.sample_rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, str(folder).encode(), 0)
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples, count, _events):
        if count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, word: str, voice: str, rate: int, pitch: int) -> np.ndarray:
        """Return ``word`` as float samples at ``sample_rate``; raises ValueError if there is no such ``voice``."""
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"eSpeak NG has no voice {voice!r}")
        self._library.espeak_ng_SetRandSeed(0)
        self._library.espeak_SetParameter(_RATE, rate, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        self._pieces.clear()
        text = word.encode() + b"\0"
        self._library.espeak_Synth(text, len(text), 0, 0, 0, _UTF8, None, None)
        return np.concatenate(self._pieces) / 32768


def record(synthesiser: Synthesiser) -> dict[str, np.ndarray]:
    """Return, for train and test: FLAC bytes of all recordings, one after the other, where each ends, and speakers."""
    generator = np.random.default_rng(0)
    arrays = {}
    for part, variants in SPEAKERS.items():
        waves = []
        for number, variant in enumerate(variants):
            voice = f"{ACCENTS[number % len(ACCENTS)]}+{variant}"
            rate, pitch = int(generator.integers(*RATES)), int(generator.integers(*PITCHES))
            for word in WORDS:
                wave = synthesiser.say(word, voice, rate, pitch)
                wave = librosa.resample(wave, orig_sr=synthesiser.sample_rate, target_sr=SAMPLE_RATE)
                wave, _ = librosa.effects.trim(wave, top_db=40, frame_length=256, hop_length=64)
                waves.append(wave / np.abs(wave).max())
        buffer = io.BytesIO()
        eight_bits = np.round(np.concatenate(waves) * 127) / 128
        soundfile.write(buffer, eight_bits, SAMPLE_RATE, format="FLAC", subtype="PCM_S8", compression_level=1.0)
        arrays[f"{part}_flac"] = np.frombuffer(buffer.getvalue(), np.uint8)
        arrays[f"{part}_ends"] = np.cumsum([len(wave) for wave in waves]).astype(np.int32)
        arrays[f"{part}_speakers"] = np.array(variants)
    return arrays


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--espeak", type=Path, required=True, help="folder with libespeak-ng and espeak-ng-data")
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    arguments = parser.parse_args()
    arrays = record(Synthesiser(arguments.espeak))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # FLAC is compressed already
    write_atomically(arguments.out, buffer.getvalue())
    checksum = content_checksum(arrays)
    print(f"{arguments.out}: {checksum} ({'as' if checksum == SHA256 else 'NOT as'} expected)")


if __name__ == "__main__":
    main()
