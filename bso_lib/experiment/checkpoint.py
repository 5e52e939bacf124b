"""Checkpoints that resume exactly: written atomically, led by a checksum, read without unpickling code."""

import hashlib
import io
from pathlib import Path

import torch

from bso_lib.data.stored import write_atomically


class DamagedCheckpoint(ValueError):
    """A checkpoint file does not match its own checksum."""


def save_checkpoint(path: Path, state: dict):
    """Write ``state`` (nested dicts and lists of tensors, numbers, strings), led by its SHA-256, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    write_atomically(path, hashlib.sha256(payload).digest() + payload)


def load_checkpoint(path: Path, device="cpu") -> dict:
    """Read what :func:`save_checkpoint` wrote; no code is unpickled. Raises :class:`DamagedCheckpoint`."""
    content = path.read_bytes()
    digest, payload = content[:32], content[32:]
    if hashlib.sha256(payload).digest() != digest:
        raise DamagedCheckpoint(f"{path} is damaged: its content does not match its checksum")
    return torch.load(io.BytesIO(payload), map_location=device, weights_only=True)


def generator_states(generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Return the state of every random generator a run uses: torch's CPU and CUDA ones and its own ``generator``."""
    states = {"torch": torch.get_rng_state(), "run": generator.get_state()}
    if generator.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(generator.device)
    return states


def restore_generators(states: dict[str, torch.Tensor], generator: torch.Generator):
    """Undo the draws since :func:`generator_states`."""
    torch.set_rng_state(states["torch"].cpu())
    generator.set_state(states["run"].cpu())
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), generator.device)
