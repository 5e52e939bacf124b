"""The benchmarks run, on the shapes that they say, and their rivals compute what they should; nothing is timed here."""

import pandas as pd
import pytest
import torch
from device_reads import DeviceReads

from bso_lib.bench import arithmetic, floor, growth, inference, rivals
from bso_lib.bench.peers import PEERS, missing
from bso_lib.bench.timing import in_turn, ratios, store
from bso_lib.bench.two_forward import two_forward_training
from bso_lib.models import split_parameters, vgg11
from bso_lib.optim import TBSO
from bso_lib.training import train_batch


def test_ratios_are_taken_within_each_round():
    seconds = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [3.0, 2.0, 8.0]})
    table = ratios(seconds, "a")
    assert table.loc["b"].tolist() == [3.0, 2.0, 1.0, 3.0, 3]
    assert table.loc["a", ["ratio_min", "ratio", "ratio_max"]].tolist() == [1, 1, 1]


def test_in_turn_warms_up_and_alternates():
    calls = []
    table = in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2)
    assert calls == ["a", "b"] * 3
    assert table.shape == (2, 2)


def test_a_table_is_stored_with_device_and_versions(tmp_path, capsys):
    store([{"step": "x", "seconds": 1 / 3}], tmp_path / "new" / "t.csv", "cpu")
    (row,) = pd.read_csv(tmp_path / "new" / "t.csv").to_dict("records")
    assert row["seconds"] == 0.3333
    assert row["torch"] == torch.__version__
    assert "cpu" in row["device"]
    assert "0.3333" in capsys.readouterr().out


def test_the_floor_has_the_shapes_of_the_step():
    row = floor.measure(1 / 16, batch_size=4, time_steps=2, repeats=3, side=16)
    assert row["ratio_min"] <= row["ratio"] <= row["ratio_max"]
    assert row["step_seconds"] > 0 < row["convolutions_seconds"]
    trainer, images, labels = floor.training(1 / 16, 4, 2, 16, 3, "cpu")
    trainer.step(images, labels)
    shapes = []
    real = torch.autograd.grad
    run = floor.convolutions_alone(trainer.model, images, 2)
    torch.autograd.grad = lambda out, inputs, *rest: shapes.append(tuple(out.shape)) or real(out, inputs, *rest)
    try:
        run()
    finally:
        torch.autograd.grad = real
    assert len(shapes) == 2 * 8
    assert shapes[0] == (4, 4, 16, 16)
    assert shapes[7] == (4, 32, 2, 2)


def test_exact_steps_stand_beside_float32_and_the_convolutions():
    row = arithmetic.measure_exact(1 / 16, 2, 8, 1, repeats=3)
    assert row["exact_of_float32_min"] <= row["exact_of_float32"] <= row["exact_of_float32_max"]
    assert row["exact_seconds"] > row["convolutions_seconds"] > 0
    assert row["compiled"]


@pytest.mark.parametrize("lean", [False, True])
def test_the_two_forward_scheme_trains_as_the_library_does(lean):
    torch.manual_seed(0)
    ours = vgg11(10, 1, 1 / 16, batch_norm="per-step", time_steps=3).double()
    theirs, optimizers = two_forward_training(10, 1, 1 / 16, 3, lean)
    theirs = theirs.double()
    for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
        p.data.copy_(q.data)
    binary, real = split_parameters(ours)
    start = [w.clone() for w in binary]
    for part in optimizers[1].param_groups:
        part["beta1"] = 0.9
    own = [torch.optim.SGD(real, lr=0.1), TBSO(binary, 3, beta1=0.9)]
    for _ in range(3):
        images, labels = torch.randn(4, 1, 16, 16).double(), torch.randint(10, (4,))
        expected, _ = train_batch(ours, images, labels, own, 3)
        found, _ = train_batch(theirs, images, labels, optimizers, 3)
        torch.testing.assert_close(found, expected)
    for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    assert sum(int((w != s).sum()) for w, s in zip(binary, start, strict=True)) > 100


def test_rivals_and_growth_have_a_row_each():
    table = rivals.compare(2, 2, repeats=1, width=1 / 16, side=8).set_index("step")
    assert list(table.index) == list(rivals.contestants(1 / 16))
    assert table.loc[rivals.OURS, ["ratio", "ratio_min", "ratio_max"]].tolist() == [1, 1, 1]
    assert table.loc[rivals.TWO_FORWARD, "peak_ratio"] == 1
    assert table.loc[rivals.PACKED, "peak_mb"] < table.loc[rivals.OURS, "peak_mb"]
    grown = growth.growth({"time_steps": (1, 2), "width": (1 / 16,)}, repeats=1, width=1 / 16, batch_size=2, side=8)
    assert grown.groupby("varied").size().to_dict() == {"time_steps": 6, "width": 3}
    plain = grown[grown["step"] == rivals.OURS].set_index("time_steps")["peak_mb"]
    assert plain.loc[2].iloc[0] < 2 * plain.loc[1]


def test_the_peak_counts_weights_momentum_and_gradients():
    def make(images, labels, time_steps):
        weight = torch.zeros(1000, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)

        def step():
            ((weight * 1).sum() + images.sum()).backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    input_bytes = 4 * 3 * 8 * 8  # the labels are dropped
    peak = rivals.peak_bytes(make, 1, 1, side=8)
    assert 3 * 4000 + input_bytes <= peak <= 4 * 4000 + input_bytes + 100


def test_the_packed_file_is_the_smaller_one_and_answers_alike():
    table = inference.measure_inference(1 / 16, 2, 2, repeats=1, side=8).set_index("file")
    assert table.loc["packed", "megabytes"] < table.loc["float32", "megabytes"] / 4
    assert (table[["load_seconds", "images_per_second"]] > 0).all(axis=None)


@pytest.mark.parametrize("time_steps", [1, 3])
def test_a_step_waits_for_the_device_once_per_update(time_steps):
    trainer, images, labels = floor.training(1 / 16, 2, time_steps, 8, 3, "cpu")
    trainer.step(images, labels)
    with DeviceReads() as reads:
        trainer.step(images, labels)
    assert reads.count == time_steps  # whether all gradients are finite, before anything changes


@pytest.mark.parametrize("name", PEERS)
def test_another_library_trains_the_same_network(name):
    if missing():
        pytest.skip(f"not installed: {', '.join(missing())}")
    step = PEERS[name](torch.randn(2, 3, 16, 16), torch.randint(10, (2,)), 2)
    step()
    step()
