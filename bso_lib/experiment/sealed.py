"""The files of a finished run, sealed: result.json holds the SHA-256 of each of them and of itself.

So what a disk or a copy has changed is noticed before a number is read from it.
"""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load

from bso_lib.data.stored import write_atomically

RESULT = "result.json"


def seal(folder: Path, stored: dict, files: dict[str, bytes]):
    """Write ``files`` by name and ``stored``, JSON-ready, into ``folder``; result.json comes last.

    ``stored["snapshots"]``: the SHA-256 of files that lie there already, by name.
    """
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    stored = stored | {"sha256": stored["snapshots"] | digests, "final": sorted(files)}
    for name, content in files.items():
        write_atomically(folder / name, content)
    write_atomically(folder / RESULT, json.dumps(stored | {"seal": _seal(stored)}, indent=1).encode())


def unsealed(folder: Path) -> dict:
    """Return what :func:`seal` stored; raises ValueError if it, or one of the final files, is damaged."""
    try:
        stored = json.loads((folder / RESULT).read_bytes())
        whole = stored.pop("seal") == _seal(stored)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{RESULT} cannot be read: {error}") from error
    if not whole:
        raise ValueError(f"{RESULT} does not match its checksum")
    for name in stored["final"]:
        _content(folder, name, stored)
    return stored


def tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a file of the finished run in ``folder``; raises ValueError if it is damaged."""
    try:
        return load(_content(folder, name, unsealed(folder)))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}; delete the folder to compute the run again") from error


def _content(folder, name, stored):
    try:
        content = (folder / name).read_bytes()
    except FileNotFoundError as error:
        raise ValueError(f"{name} is not there") from error
    if hashlib.sha256(content).hexdigest() != stored["sha256"].get(name):
        raise ValueError(f"{name} does not match its checksum")
    return content


def _seal(stored):
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()
