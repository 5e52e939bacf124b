"""What a network weighs, and a file that weighs as much: one bit per binary weight, float32 for everything else.

A packed network is a safetensors file. Its header carries, under "bso-packed", a JSON object with

    version   of this format, a whole number
    layers    the architecture, see ``bso_lib.deploy.architecture``
    channels_last   whether the weights lay so in memory: it decides which kernels run, and so the last digits
    sha256    of the whole file, with these 64 digits themselves read as zeros

Tensors are named as in the model's state_dict. The weights of binary layers are bits: weight i of the flattened tensor
is bit i % 8, counted from the lowest, of byte i // 8; 1 is +1, 0 is -1, and what is left over of the last byte is 0.
All others, the running statistics included, are stored as they are. The checksum finds damage; it is no signature.
"""

import hashlib
import json
import math
import os
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import nn

from bso_lib.data.stored import write_atomically
from bso_lib.deploy.architecture import DEPLOYED_AS, build, describe, described_layers
from bso_lib.fast.bits import expand_signs, pack_signs
from bso_lib.layers import BINARY_LAYERS
from bso_lib.models import split_parameters

MEGABYTE = 10**6
FORMAT = "bso-packed"
VERSION = 1
_NO_DIGEST = "0" * 64


class PackedFileError(ValueError):
    """A file is not a packed network that can be loaded; the message names the file and the reason."""


def packed_size_bytes(model: nn.Module) -> float:
    """Return the model size of Table 2 in bytes: binary weights / 8 + 4 bytes for each other learned parameter.

    Running statistics are not learned and, as in the paper's sizes, not counted. A latent-weight network is counted
    as it trains, in full precision; its signs alone weigh what the binary network does.
    """
    binary, real = split_parameters(model)
    return sum(p.numel() for p in binary) / 8 + 4 * sum(p.numel() for p in real)


def unpack_signs(bits: torch.Tensor, shape) -> torch.Tensor:
    """Return the float32 weights of ``shape`` of which :func:`bso_lib.fast.bits.pack_signs` made ``bits``.

    Raises ValueError if ``bits`` has another type or length than theirs.
    """
    count = math.prod(shape)
    if bits.dtype != torch.uint8 or bits.shape != ((count + 7) // 8,):
        raise ValueError(f"{tuple(bits.shape)} {bits.dtype} cannot hold the bits of {count} weights")
    return expand_signs(bits, count).view(tuple(shape))


def save_packed(model: nn.Sequential, path, latent_as_signs: bool = False):
    """Write ``model`` to ``path``, atomically, with one bit per weight of its binary layers.

    ``latent_as_signs``: store a latent network as the binary one of its signs, which computes the same but cannot go on
    training as it did. Raises ValueError for a latent network otherwise, a binary weight off {-1, +1} or another type
    than float32, TypeError for a model that is not a sequence of known layers and shortcuts.
    """
    path = _path(path)
    layers = describe(model)
    latent = next((name for name, layer in model.named_modules() if type(layer) in DEPLOYED_AS), None)
    if latent is not None and not latent_as_signs:
        raise ValueError(f"layer {latent} has latent weights, lost in bits: latent_as_signs=True keeps the signs")
    channels_last = any(
        p.dim() == 4 and not p.is_contiguous() and p.is_contiguous(memory_format=torch.channels_last)
        for p in model.parameters()
    )
    tensors = {}
    for place, described in described_layers(layers):
        layer = model.get_submodule(place)
        try:
            tensors |= {f"{place}.{name}": value for name, value in _stored(layer, described).items()}
        except ValueError as error:
            raise ValueError(f"layer {place} ({type(layer).__name__}): {error}") from error
    header = {"version": VERSION, "layers": layers, "channels_last": channels_last, "sha256": _NO_DIGEST}
    content = save(tensors, {FORMAT: json.dumps(header)})
    digest = hashlib.sha256(content).hexdigest()
    content = content.replace(_NO_DIGEST.encode(), digest.encode(), 1)
    _read(path, content)  # what cannot be read again is not written
    write_atomically(path, content)


def _stored(layer, described):
    """Return what the file keeps of ``layer``, by name: bits if it computes with signs, else its state."""
    if _is_binary(described):
        return {"weight": pack_signs(layer.used_weight().detach().flatten().cpu())}
    state = {name: value.detach().cpu().contiguous() for name, value in layer.state_dict().items()}
    for name, value in state.items():
        if value.is_floating_point() and value.dtype != torch.float32:
            raise ValueError(f"{name} is {value.dtype}: must be torch.float32")
    return state


def _is_binary(described):
    return described["kind"] in {kind.__name__ for kind in BINARY_LAYERS}


def load_packed(path) -> nn.Sequential:
    """Return the network in ``path``, on the CPU and in evaluation mode; its logits are the saved network's to the bit.

    It trains on as any other does. No code is unpickled. Raises :class:`PackedFileError` for a file that is damaged,
    cut short, not written by :func:`save_packed`, or of a newer format; FileNotFoundError if there is none.
    """
    path = _path(path)
    return _read(path, path.read_bytes())


def _path(path):
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path={path!r}: must be the path of a file")
    if Path(path).is_dir():
        raise PackedFileError(f"{path} is a folder: must be a file that save_packed wrote or writes")
    return Path(path)


def _read(path, content):
    header = _checked_header(path, content)
    try:
        model = build(header["layers"])
        tensors = load(content)
        for layer, described in described_layers(header["layers"]):
            if _is_binary(described):
                name = f"{layer}.weight"
                tensors[name] = unpack_signs(tensors[name], model.get_submodule(layer).weight.shape)
        model.load_state_dict(tensors, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())  # torch's are of several lines
        raise PackedFileError(f"{path} holds a network that cannot be built: {reason}") from error
    if header["channels_last"]:
        model.to(memory_format=torch.channels_last)
    return model.eval()


def _checked_header(path, content):
    """Return the JSON object under FORMAT, once the file is known to be whole and of a version that can be read."""
    length = int.from_bytes(content[:8], "little")
    if content[8:9] != b"{":
        reason = "no safetensors file, which save_packed writes" if content else "empty"
        raise PackedFileError(f"{path} is {reason}")
    if len(content) < 8 + length:
        raise PackedFileError(f"{path} is damaged: it ends within its header")
    try:
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        header = json.loads(metadata[FORMAT]) if FORMAT in metadata else None
    except ValueError as error:
        raise PackedFileError(f"{path} is damaged: its header cannot be read ({error})") from error
    if not isinstance(header, dict):
        raise PackedFileError(f"{path} is a safetensors file, but not one that save_packed wrote")
    digest = str(header.get("sha256"))
    if hashlib.sha256(content.replace(digest.encode(), _NO_DIGEST.encode(), 1)).hexdigest() != digest:
        raise PackedFileError(f"{path} is damaged: its content does not match its checksum")
    if header["version"] != VERSION:
        raise PackedFileError(f"{path} has format version {header['version']}, this bso_lib reads {VERSION}: update it")
    return header
