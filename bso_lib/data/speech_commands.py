"""Google Speech Commands v2 (Table 5): 105,829 clips of 35 words, split by the set's own lists.

Read from the archive or from the folder it was extracted to, both under the data root; the archive need not be
extracted. What the two lists do not name is for training. ``_background_noise_`` holds no words and is left out.
"""

import hashlib
import io
import os
import tarfile
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from bso_lib.data.audio import SAMPLE_RATE, audio_splits, one_second, path_key, spectrogram_images
from bso_lib.data.images import DatasetMissing
from bso_lib.data.stored import stored_arrays
from bso_lib.terminal.progress import Progress

NAME = "speech-commands"
WORDS = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy",
    "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop",
    "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
)  # fmt: skip
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
FOLDERS = ("speech_commands_v0.02", "SpeechCommands/speech_commands_v0.02", NAME)
BATCH = 256
LARGEST = 10_000_000  # bytes of a list or a clip; the published ones have less than a tenth
_CODE = Path(__file__).read_bytes()  # at import, as in audio


class Official(NamedTuple):
    """What is published about the archive."""

    url: str = "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
    size: int = 2_428_923_189  # bytes
    sha256: str = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
    clips: int = 105_829

    @property
    def file(self) -> str:
        """Return the archive's file name."""
        return self.url.rpartition("/")[2]


OFFICIAL = Official()


def load_speech_commands(root: Path, download: bool = False, held_out: str = "test"):
    """Return the (train, ``held_out``) splits of 32x32 spectrograms; ``held_out`` is "test" or "validation".

    The clips are converted once (minutes) and the pictures kept in ``root``, about 100 MB. Raises
    :class:`DatasetMissing` if there is neither archive nor folder, or if clips are absent, unreadable or not at 16 kHz:
    one error that counts them and names the first.
    """
    if held_out not in LISTS:
        raise ValueError(f"held_out={held_out!r}: must be one of {', '.join(LISTS)}")
    kept = root / f"{NAME}-{path_key(_CODE)}.npz"
    if download and not kept.exists() and _source(root) is None:
        fetch(root)
    a = stored_arrays(kept, lambda: _convert(root))
    return audio_splits(
        a["train_images"], a["train_labels"], a[f"{held_out}_images"], a[f"{held_out}_labels"], WORDS
    )  # fmt: skip


def fetch(root: Path):
    """Download the archive (2.4 GB) into ``root``.

    Raises DatasetMissing if size or SHA-256 are not the published ones, OSError without network.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / OFFICIAL.file
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    digest, size = hashlib.sha256(), 0
    try:
        with (
            urllib.request.urlopen(OFFICIAL.url) as answer,
            open(partial, "wb") as file,
            Progress(total=OFFICIAL.size, unit="B", unit_scale=True, desc=path.name) as bar,
        ):
            while block := answer.read(1 << 20):
                file.write(block)
                digest.update(block)
                size += len(block)
                bar.update(len(block))
        if (size, digest.hexdigest()) != (OFFICIAL.size, OFFICIAL.sha256):
            raise DatasetMissing(
                f"{OFFICIAL.url} gave {size:,} bytes with SHA-256 {digest.hexdigest()}, not the published "
                f"{OFFICIAL.size:,} bytes with {OFFICIAL.sha256}: try again"
            )
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _source(root):
    """Return the extracted folder, else the archive, else None."""
    for folder in FOLDERS:
        if (root / folder).is_dir():
            return root / folder
    return root / OFFICIAL.file if (root / OFFICIAL.file).is_file() else None


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (path within the set, content) of every list and every clip of a word."""

    def wanted(path):
        return path in LISTS.values() or (path.endswith(".wav") and path.count("/") == 1 and path[0] != "_")

    if source.is_dir():
        for file in sorted(source.glob("*.txt")) + sorted(source.glob("*/*.wav")):
            if wanted(path := file.relative_to(source).as_posix()):
                yield path, file.read_bytes()
        return
    try:
        with tarfile.open(source, "r:gz") as archive:
            for member in archive:
                place = PurePosixPath(member.name)  # without the leading ./
                if place.is_absolute() or ".." in place.parts or not (member.isfile() or member.isdir()):
                    raise _damaged(source, [f"the archive holds {member.name!r}, a link or a place outside the set"])
                if member.size > LARGEST:
                    raise _damaged(source, [f"the archive's {member.name} would have {member.size:,} bytes"])
                if member.isfile() and wanted(str(place)):
                    yield str(place), archive.extractfile(member).read()
    except (tarfile.ReadError, EOFError, zlib.error, OSError) as error:
        raise _damaged(source, [f"the archive cannot be read to its end ({error})"]) from error


def _convert(root):
    """Return pictures and labels of the three parts; a clip's place is its name's, in alphabetical order."""
    import soundfile

    source = _source(root)
    if source is None:
        raise DatasetMissing(
            f"{NAME} not found or damaged: looked for {root / OFFICIAL.file} and for the folder {root / FOLDERS[0]}. "
            f"Download it with: python -m bso_lib.data {NAME} --root {root}"
        )
    lists, names, pictures, waves = {}, [], [], []
    unreadable, wrong_rate = [], []

    def flush():
        if waves:
            pictures.append(spectrogram_images(np.stack(waves)))
            waves.clear()

    for path, content in Progress(_files(source), total=OFFICIAL.clips, unit="clip", desc=f"{NAME}: spectrograms"):
        if not path.endswith(".wav"):
            lists[path] = content.decode().split()
            continue
        try:
            # One second is kept, and no more of it is decoded.
            wave, rate = soundfile.read(io.BytesIO(content), SAMPLE_RATE, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            unreadable.append(path)
            continue
        if rate != SAMPLE_RATE:
            wrong_rate.append(f"{path}: {rate} Hz")
            continue
        names.append(path)
        waves.append(one_second(wave.mean(axis=1)))
        if len(waves) == BATCH:
            flush()
    flush()
    _complain(source, lists, names, unreadable, wrong_rate)
    return _parts(lists, names, np.concatenate(pictures))


def _complain(source, lists, names, unreadable, wrong_rate):
    """Raise one error on everything that is not as it should be."""
    seen = {*names, *unreadable, *(entry.split(":")[0] for entry in wrong_rate)}
    missing_lists = [name for name in LISTS.values() if name not in lists]
    no_words = [word for word in WORDS if word not in {name.split("/")[0] for name in seen}]
    absent = sorted({name for listed in lists.values() for name in listed} - seen)
    foreign = sorted(name for name in seen if name.split("/")[0] not in WORDS)
    faults = [
        _first(missing_lists, "list absent", "lists absent"),
        _first(no_words, "word without clips", "words without clips"),
        _first(absent, "clip named in the lists is absent", "clips named in the lists are absent"),
        _first(unreadable, "clip is unreadable", "clips are unreadable"),
        _first(wrong_rate, f"clip is not at {SAMPLE_RATE} Hz", f"clips are not at {SAMPLE_RATE} Hz"),
        _first(foreign, "clip is of no known word", "clips are of no known word"),
    ]
    if len(seen) != OFFICIAL.clips:
        faults.append(f"{len(seen):,} clips in all instead of {OFFICIAL.clips:,}")
    if faults := [fault for fault in faults if fault]:
        raise _damaged(source, faults)


def _first(names, one, several, shown=3):
    if not names:
        return ""
    more = ", ..." if len(names) > shown else ""
    return f"{len(names):,} {one if len(names) == 1 else several} ({', '.join(names[:shown])}{more})"


def _damaged(source, faults):
    return DatasetMissing(
        f"{NAME} in {source} is incomplete or damaged: {'; '.join(faults)}. Extract or download it again "
        f"(python -m bso_lib.data {NAME})"
    )


def _parts(lists, names, pictures):
    held_out = {part: set(lists[file]) for part, file in LISTS.items()}
    parts = {"train": set(names) - held_out["validation"] - held_out["test"], **held_out}
    labels = np.array([WORDS.index(name.split("/")[0]) for name in names], np.uint8)
    order = np.argsort(names)
    arrays = {}
    for part, members in parts.items():
        index = np.array([i for i in order if names[i] in members], dtype=int)
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = pictures[index], labels[index]
    return arrays
