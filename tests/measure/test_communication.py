"""Bytes by formula against what the kernel counts on the sockets of real processes."""

import pytest
import torch
from ranks import together

from bso_lib.layers import BINARY_LAYERS
from bso_lib.measure.communication import WAYS, Sizes, bytes_sent, count, plan
from bso_lib.measure.exchange import EXCHANGES
from bso_lib.models import vgg11

WEIGHTS = 2**18


def count_all():
    return {exchange: count(exchange, WEIGHTS) for exchange in EXCHANGES}


@pytest.mark.parametrize("ranks", [2, 4])
def test_processes_send_what_the_formula_says(ranks, tmp_path):
    for found in together(count_all, ranks, tmp_path):
        for exchange, sent in found.items():
            way = next(way for way, (name, number) in WAYS.items() if name == exchange and number == 4)
            planned = bytes_sent(way, Sizes(WEIGHTS, 0, 0), ranks)
            assert planned <= sent < planned * 1.02 + 4000, exchange  # headers of some messages


def test_sizes_are_those_of_the_network():
    with torch.device("meta"):
        model = vgg11(num_classes=10)
    binary = sum(m.weight.numel() for m in model.modules() if isinstance(m, BINARY_LAYERS))
    sizes = Sizes.of(model)
    assert sizes == Sizes(9_216_000, sum(p.numel() for p in model.parameters()) - binary, 2752)


def test_the_formula_by_hand():
    sizes = Sizes(binary=800, real=10, channels=5)
    rest = 2 * 4 * 10 + 2 * 24 * 5
    assert bytes_sent("gradients, float32", sizes, 1) == 0
    assert bytes_sent("gradients, float32", sizes, 4) == 0.75 * (2 * 4 * 800 + rest)
    assert bytes_sent("owners, float32", sizes, 4) == 0.75 * (4 * 800 + 100 + rest)
    assert bytes_sent("owners, bfloat16", sizes, 2) == 0.5 * (2 * 800 + 100 + 2 * 2 * 10 + 2 * 24 * 5)
    assert bytes_sent("votes", sizes, 2) == 0.5 * (200 + rest)
    for arguments in (("gossip", sizes, 2), ("votes", sizes, 0)):
        with pytest.raises(ValueError, match=r"^(way='gossip'|ranks=0): must be "):
            bytes_sent(*arguments)


def test_the_plan_counts_updates_and_divides_by_the_bandwidth():
    table = plan({"net": Sizes(10**6, 0, 0)}, [2, 8], gigabytes_per_second=10.0, updates=3)
    assert len(table) == 2 * len(WAYS)
    row = table[(table["way"] == "gradients, float32") & (table["ranks"] == 8)].iloc[0]
    assert row["megabytes"] == pytest.approx(3 * 7 / 8 * 8)
    assert row["seconds"] == pytest.approx(row["megabytes"] / 1e4)
