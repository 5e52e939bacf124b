"""Files that are whole or not there, and arrays kept in them: checked when read, computed again when damaged."""

import ast
import hashlib
import io
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import filelock
import numpy as np


def write_atomically(path: Path, content: bytes):
    """Write ``content`` so that ``path`` holds the old bytes or the new ones, at any moment."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def code_without_docstrings(path: Path) -> str:
    """Return what the Python file at ``path`` does, as text that comments, layout and docstrings do not change."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


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
