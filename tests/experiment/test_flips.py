"""The flip recorder against a plain account that keeps every sign of every update."""

import itertools

import pandas as pd
import pytest
import torch
from device_reads import DeviceReads

from bso_lib.experiment.flips import HELD_EVERY, FlipRecord, FlipRecorder
from bso_lib.optim import BSO, TBSO


def plain_account(signs):
    """From the signs before and after each update, (updates + 1, weights): flips per update, never, leaving, gaps."""
    flips = signs[1:] != signs[:-1]
    leaving, gaps = 0, []
    for weight in range(signs.shape[1]):
        when = [k for k in range(len(flips)) if flips[k, weight]]
        leaving += sum(int(signs[k, weight] == signs[-1, weight]) for k in when)
        gaps += [b - a for a, b in itertools.pairwise(when)]
    return flips.sum(1), int((~flips.any(0)).sum()), leaving, gaps


def train(kind, updates=24, epochs=3, recorder_class=FlipRecorder, interrupt=None):
    """Give two layers random gradients; return (record, signs per layer, what the threshold held back per look)."""
    generator = torch.Generator().manual_seed(1)
    layers = {
        2: torch.nn.Parameter(torch.randn(4, 3, 3, 3, generator=generator).to(memory_format=torch.channels_last)),
        3: torch.nn.Parameter(torch.randn(7, 5, generator=generator)),
    }
    if kind == "latent":
        optimizer = torch.optim.SGD(layers.values(), lr=1.0)
    else:
        for p in layers.values():
            p.data.copy_(torch.where(p >= 0, 1.0, -1.0))
        settings = {"gamma": 0.3}
        if kind == "bso":
            optimizer = BSO(layers.values(), beta=0.5, **settings)
        else:
            optimizer = TBSO(layers.values(), 1, beta1=0.5, beta2=0.5, **settings)
    recorder = recorder_class(layers, optimizer)
    signs = {number: [p.detach().ge(0).flatten()] for number, p in layers.items()}
    held = {number: 0 for number in layers}
    for k in range(1, updates + 1):
        for p in layers.values():
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step(**({"t": 0} if kind == "t-bso" else {}))
        for number, p in layers.items():
            signs[number].append(p.detach().ge(0).flatten())
            if kind != "latent" and k % HELD_EVERY == 0:
                held[number] += int((p * optimizer.state[p]["momentum"] > 0).sum())
        if k % (updates // epochs) == 0:
            recorder.end_epoch()
        if k == interrupt:
            state = recorder.state_dict()
            optimizer._optimizer_step_post_hooks.clear()
            recorder = recorder_class(layers, optimizer)
            recorder.load_state_dict(state)
    return recorder.result(), {number: torch.stack(rows) for number, rows in signs.items()}, held


class DenseRecorder(FlipRecorder):
    """Counts as on a GPU."""

    def __init__(self, layers, optimizer):
        super().__init__(layers, optimizer)
        self.dense = True


@pytest.mark.parametrize("recorder", [FlipRecorder, DenseRecorder])
@pytest.mark.parametrize("kind", ["bso", "t-bso", "latent"])
def test_every_number_agrees_with_the_plain_account(kind, recorder):
    record, signs, held = train(kind, recorder_class=recorder)
    for number, own in signs.items():
        per_update, never, leaving, gaps = plain_account(own)
        epochs = record.epochs[record.epochs["layer"] == number]
        assert epochs["flips"].tolist() == per_update.view(3, 8).sum(1).tolist()
        assert epochs["updates"].tolist() == [8, 8, 8]
        assert epochs["held"].sum() == held[number]
        assert epochs["looks"].tolist() == [1, 1, 1]
        layer = record.layers.set_index("layer").loc[number]
        assert layer.to_dict() == {
            "weights": own.shape[1], "never_flipped": never, "flips": int(per_update.sum()), "leaving": leaving,
        }  # fmt: skip
        histogram = record.gaps[record.gaps["layer"] == number].set_index("at_least")["flips"]
        assert int(histogram.sum()) == len(gaps) > 0
        for least, flips in histogram.items():
            assert flips == sum(least <= gap < 2 * least for gap in gaps)
    assert sum(held.values()) > 0 or kind == "latent"


def test_the_way_of_a_gpu_asks_it_nothing():
    weight = torch.nn.Parameter(torch.randn(50))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    found = {}
    for kind in (FlipRecorder, DenseRecorder):
        optimizer._optimizer_step_post_hooks.clear()
        recorder = kind({1: weight}, optimizer)
        with DeviceReads() as reads:
            for _ in range(HELD_EVERY):
                weight.grad = torch.randn(50)
                optimizer.step()
        found[kind] = reads.count
        assert int(recorder.flips.sum()) > 0
    assert found[DenseRecorder] == 0 < found[FlipRecorder]


def test_a_resumed_recorder_ends_as_if_never_interrupted():
    whole, cut = train("bso")[0], train("bso", interrupt=12)[0]
    for name in ("epochs", "layers", "gaps"):
        pd.testing.assert_frame_equal(getattr(whole, name), getattr(cut, name))


def test_a_record_survives_json():
    import json

    record = train("bso")[0]
    again = FlipRecord.from_dict(json.loads(json.dumps(record.to_dict())))
    for name in ("epochs", "layers", "gaps"):
        pd.testing.assert_frame_equal(getattr(record, name), getattr(again, name))


def test_no_layer_is_refused():
    with pytest.raises(ValueError, match="needs at least one layer"):
        FlipRecorder({}, torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1))
