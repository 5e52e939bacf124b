"""Arrays computed once and kept on disk: written atomically, checked when read, computed again when damaged."""

import hashlib
import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import filelock
import numpy as np

from bso_lib.paths import write_atomically


def content_checksum(arrays) -> str:
    """Return the SHA-256 over names, shapes and bytes of ``arrays``; independent of the compression."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}{arrays[name].dtype}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def stored_arrays(path: Path, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays kept in the .npz at ``path``; where there are none, or damaged ones, ``compute`` and keep them.

    Two processes that ask at the same time compute once: the second waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_name(f".{path.name}.lock")):
        if path.exists():
            try:
                return _read(path)
            except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                warnings.warn(f"{path} is damaged ({error}): it is computed again", stacklevel=2)
        arrays = compute()
        buffer = io.BytesIO()
        np.savez_compressed(buffer, checksum=np.array(content_checksum(arrays)), **arrays)
        write_atomically(path, buffer.getvalue())
        return arrays


def _read(path):
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if str(arrays.pop("checksum")) != content_checksum(arrays):
        raise ValueError("its content does not match its checksum")
    return arrays
