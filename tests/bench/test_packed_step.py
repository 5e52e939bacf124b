"""The benchmark of packed layers runs and counts what it says; nothing is timed here."""

from activations import activation_bytes_per_neuron

from bso_lib.bench.floor import training
from bso_lib.bench.packed import measure_packed
from bso_lib.fast.packed_layers import pack


def test_every_kind_of_step_has_its_row():
    for precision in ("float32", "bfloat16"):
        rows = measure_packed(precision, 1 / 16, 2, 2, repeats=1, side=8, channels=1)
        assert [row["step"] for row in rows] == ["plain", "packed, float32 momentum", "packed, bfloat16 momentum"]
        for row in rows:
            assert row["precision"] == precision
            assert 0 < row["optimizer_percent"] < 100
            assert row["ratio_min"] == row["ratio"] == row["ratio_max"] == row["ratio_of_fastest"] > 0


def test_activations_are_those_counted_by_hand():
    trainer, images, _ = training(1 / 16, 2, 2, 16, 1, "cpu")
    plain = trainer.model
    sizes = ((4, 16), (8, 16), (16, 8), (16, 8), (32, 4), (32, 4), (32, 2), (32, 2))  # channels, side of each LIF layer
    neurons = sum(c * s * s for c, s in sizes)
    pooled = sum(sizes[i][0] * sizes[i][1] ** 2 for i in (1, 3, 5))
    last = sizes[-1][0] * sizes[-1][1] ** 2
    # Kept: what a BatchNorm and what a LIF see, and the trace that a conv sees (a quarter of it after a
    # pool); the first conv's input, the classifier's trace, and BatchNorm's mean and deviation for each channel.
    small = 16 * 16 + sizes[-1][0] + 2 * sum(c for c, _ in sizes) / 2
    expected = 4 * (2 * neurons + (neurons - pooled - last) + pooled / 4 + small) / neurons
    assert activation_bytes_per_neuron(plain, images, 2) == expected
    assert activation_bytes_per_neuron(pack(plain), images, 2) == expected


def test_activations_do_not_depend_on_the_time_steps():
    trainer, images, _ = training(1 / 16, 2, 5, 16, 1, "cpu")
    two, five = (activation_bytes_per_neuron(trainer.model, images, steps) for steps in (2, 5))
    assert two == five
