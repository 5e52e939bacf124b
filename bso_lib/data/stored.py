"""Files that are whole or not there, and arrays kept in them: checked when read, computed again when damaged."""

import ast
import contextlib
import hashlib
import io
import os
import warnings
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import filelock
import numpy as np


def write_atomically(path: Path, content: bytes):
    """Write ``content`` so that ``path`` holds the old bytes or the new ones, at any moment.

    Raises OSError that names ``path``, for a full disk too, and leaves nothing behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno is not None:
            raise type(error)(error.errno, f"{error.strerror}, nothing is written", str(path)) from error
        raise


def sweep_parts(folder: Path, name: str = "*"):
    """Delete what processes that were killed within :func:`write_atomically` left of the file ``name``, or of any.

    Only for whoever holds the lock of those files: the part of a living process must stay.
    """
    for part in folder.glob(f".{name}.*.part"):
        part.unlink(missing_ok=True)


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
        sweep_parts(path.parent, path.name)
        if path.exists():
            try:
                return _read(path)
            except OSError as error:
                if error.errno is not None:  # the file cannot be read, which says nothing about what is in it
                    raise
                warnings.warn(f"{path} is damaged ({error}): it is computed again", stacklevel=2)
            except Exception as error:  # a zip archive fails in many ways
                warnings.warn(f"{path} is damaged ({error}): it is computed again", stacklevel=2)
        arrays = compute()
        buffer = io.BytesIO()
        np.savez_compressed(buffer, checksum=np.array(content_checksum(arrays)), **arrays)
        write_atomically(path, buffer.getvalue())
        return arrays


def embedded_arrays(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of the file ``name`` that comes with the package; raises ValueError if it is damaged."""
    source = resources.files("bso_lib.data").joinpath(name)
    try:
        with source.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # a zip archive fails in many ways
        raise ValueError(
            f"{source} is damaged ({error}): install bso_lib again, or restore the file with git"
        ) from error


def _read(path):
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if str(arrays.pop("checksum")) != content_checksum(arrays):
        raise ValueError("its content does not match its checksum")
    return arrays
