"""What a data-parallel step sends: bytes by formula for any number of ranks, and as counted by the kernel on gloo.

torchrun --nproc_per_node=2 -m bso_lib.measure.communication --weights 1048576
"""

import argparse
import json
import os
import socket
import struct
from dataclasses import dataclass

import pandas as pd
import torch
import torch.distributed as dist
from torch import nn

from bso_lib.experiment.ranks import process_group, world
from bso_lib.measure.exchange import EXCHANGES, momentum_size, step
from bso_lib.models import split_parameters

_SENT = 200  # offset of tcpi_bytes_sent in Linux' struct tcp_info, since version 4.19
WAYS = {  # exchange and bytes of a gradient's number
    "gradients, float32": ("gradients", 4),
    "gradients, bfloat16": ("gradients", 2),
    "owners, float32": ("owners", 4),
    "owners, bfloat16": ("owners", 2),
    "votes": ("votes", 4),
}


@dataclass(frozen=True)
class Sizes:
    """How many ``binary`` weights, ``real`` parameters and BatchNorm ``channels`` a network has."""

    binary: int
    real: int
    channels: int

    @classmethod
    def of(cls, model: nn.Module):
        """Count those of ``model``, which may lie on the "meta" device."""
        binary, real = split_parameters(model)
        norms = [m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        return cls(sum(p.numel() for p in binary), sum(p.numel() for p in real), sum(norms))


def bytes_sent(way: str, sizes: Sizes, ranks: int) -> float:
    """Return the bytes that each rank sends for one update, by ``way``, one of :data:`WAYS`.

    With N ranks, summing n bytes everywhere (a ring all-reduce) sends 2 (N - 1) / N n; handing out the sum in parts
    (a reduce-scatter), or collecting parts (an all-gather), half of that. Always with it go the gradients of the real
    parameters and BatchNorm's statistics: 16 bytes per channel forward and 8 backward.
    Raises ValueError for an unknown way or ranks < 1.
    """
    if way not in WAYS:
        raise ValueError(f"way={way!r}: must be one of {', '.join(WAYS)}")
    if ranks < 1:
        raise ValueError(f"ranks={ranks}: must be at least 1")
    exchange, number = WAYS[way]
    bits = sizes.binary / 8
    once = {
        "gradients": 2 * number * sizes.binary,
        "owners": number * sizes.binary + bits,
        "votes": 2 * bits,
    }[exchange]
    return (ranks - 1) / ranks * (once + 2 * number * sizes.real + 2 * 24 * sizes.channels)


def plan(networks: dict[str, Sizes], ranks: list[int], gigabytes_per_second: float, updates: int = 1) -> pd.DataFrame:
    """Return a row per network, way and number of ranks: network, way, ranks, megabytes, seconds.

    ``megabytes`` (10^6 bytes) that each rank sends for ``updates``, such as the T of one batch; ``seconds`` they take
    on a link of ``gigabytes_per_second``, the bandwidth alone: without latency, and nothing hidden behind computation.
    """
    rows = [
        (name, way, n, updates * bytes_sent(way, sizes, n) / 1e6)
        for name, sizes in networks.items()
        for way in WAYS
        for n in ranks
    ]
    table = pd.DataFrame(rows, columns=["network", "way", "ranks", "megabytes"])
    return table.assign(seconds=table["megabytes"] / 1e3 / gigabytes_per_second)


def socket_bytes() -> int:
    """Return how many bytes the open TCP sockets of this process have sent, by the kernel's count (Linux)."""
    total = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as copy:
                if copy.type == socket.SOCK_STREAM and copy.family in (socket.AF_INET, socket.AF_INET6):
                    information = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SENT + 8)
                    total += struct.unpack_from("=Q", information, _SENT)[0]
        except OSError:  # no socket, or closed meanwhile
            continue
    return total


def count(exchange: str, weights: int) -> float:
    """Return the bytes that a rank sends in one step of ``exchange`` on ``weights`` weights, averaged over the ranks.

    A collective call: every rank of the process group must make it.
    """
    generator = torch.Generator().manual_seed(world()[0])
    weight, gradient = torch.ones(weights), torch.randn(weights, generator=generator)
    momentum = torch.zeros(momentum_size(exchange, weights))
    step(exchange, weight, momentum, gradient, 0.0, 0.9)  # opens the sockets
    dist.barrier()
    before = socket_bytes()
    step(exchange, weight, momentum, gradient, 0.0, 0.9)
    sent = torch.tensor(socket_bytes() - before, dtype=torch.float64)
    dist.all_reduce(sent)
    return float(sent) / world()[1]


def main():
    parser = argparse.ArgumentParser(
        prog="python -m bso_lib.measure.communication",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", type=int, default=2**20, help="a multiple of 8 x processes")
    weights = parser.parse_args().weights
    with process_group("cpu"):
        if not dist.is_initialized():
            parser.error("start it with torchrun --nproc_per_node=N -m bso_lib.measure.communication")
        found = {exchange: count(exchange, weights) for exchange in EXCHANGES}
        if world()[0] == 0:
            print(json.dumps({"ranks": world()[1], "weights": weights, "bytes": found}))


if __name__ == "__main__":
    main()
