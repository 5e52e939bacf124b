"""The few networks that a notebook opens, kept beside the evidence of their runs, binary weights as one bit each.

00 opens the one it trains, 01 all snapshots, 02 the first and the last of each seed, 11a those of both phases, 13 of
each change; and of the first seed 07 opens T-BSO's, 09 that of each method and schedule, 10 and 12b of each method.

<key>.safetensors is the network a run ended with, <key>-0003.safetensors the one after epoch 3. Tensors are named as in
the model's state_dict. Those whose values are all -1 or +1 are bits, as in :mod:`bso_lib.deploy.network_file`; under
"signs" the header tells their shapes. Of latent weights, of which an answer depends on the signs alone, these are kept;
all of them where snapshots show how they move. The run's entry holds each file's SHA-256.
"""

import hashlib
import json
import math

import torch
from safetensors import safe_open
from safetensors.torch import load, save

from bso_lib.data.stored import write_atomically
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.evidence import DamagedEvidence, add_network, evidence_key, folder, network_digests
from bso_lib.fast.bits import expand_signs, pack_signs
from bso_lib.layers import ste_sign


def file_name(config: RunConfig, epoch: int | None) -> str:
    """Return the name of the file that keeps the network of ``config`` after ``epoch``; None: after the last one."""
    return evidence_key(config) + ("" if epoch is None else f"-{epoch:04d}") + ".safetensors"


def keep_network(config: RunConfig, epoch: int | None, weights: dict[str, torch.Tensor], signs_of=()):
    """Keep ``weights`` beside the evidence of ``config``, which must be kept already; of ``signs_of`` the signs."""
    weights = weights | {name: ste_sign(weights[name], False) for name in signs_of}
    signs = {n: list(w.shape) for n, w in weights.items() if w.dtype == torch.float32 and bool((w.abs() == 1).all())}
    tensors = {n: pack_signs(w.flatten()) if n in signs else w.contiguous() for n, w in weights.items()}
    content = save(tensors, {"signs": json.dumps(signs, sort_keys=True)})  # in one order, whichever they were read in
    write_atomically(folder() / file_name(config, epoch), content)
    add_network(config, _epoch(epoch), hashlib.sha256(content).hexdigest())


def kept_network(config: RunConfig, epoch: int | None) -> dict[str, torch.Tensor] | None:
    """Return the weights of ``config`` after ``epoch`` by name; None where they are not kept.

    Raises :class:`bso_lib.experiment.evidence.DamagedEvidence` for a file that is not the one its entry tells of.
    """
    digest = network_digests(config).get(_epoch(epoch))
    if digest is None:
        return None
    path = folder() / file_name(config, epoch)
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        why = "is damaged or another" if path.exists() else "is missing"
        raise DamagedEvidence(f"{path} {why}, though the entry {evidence_key(config)} tells of it: restore it with git")
    with safe_open(path, "pt") as file:
        signs = json.loads(file.metadata()["signs"])
    weights = load(path.read_bytes())
    return weights | {n: expand_signs(weights[n], math.prod(shape)).view(shape) for n, shape in signs.items()}


def _epoch(epoch):
    return "last" if epoch is None else str(epoch)
