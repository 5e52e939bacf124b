"""The recordings that the first notebook shows, against the rules they record."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.flips import FlipRecord
from bso_lib.experiment.result import RunResult
from bso_lib.experiment.run import load_splits, run
from bso_lib.measure.diagnostics import (
    accuracy_with_batch_statistics,
    cosine_similarity_over_time,
    flip_rates,
    flip_summary,
    gradients_over_time,
    over_layers,
    record_neuron,
    record_weight,
    second_moment_over_time,
)
from bso_lib.models import vgg11
from bso_lib.neurons import LIF
from bso_lib.training import evaluate, train_batch


def test_a_recorded_neuron_follows_its_equations():
    currents = [0.6, 0.9, 0.1, 1.4, 0.0]
    table = record_neuron(LIF(), currents)
    u, s, a = 0.0, 0.0, 0.0
    for row, current in zip(table.itertuples(), currents, strict=True):
        u = 0.5 * (u - s) + current
        s = float(u >= 1)
        a = 0.5 * a + s
        np.testing.assert_allclose([row.potential, row.spike, row.trace], [u, s, a], rtol=1e-6)
    assert table["spike"].sum() == 2


def test_a_recorded_weight_flips_exactly_above_the_threshold():
    gradients = np.random.default_rng(0).standard_normal(300)
    table = record_weight(gradients, gamma=0.1, beta=0.8)
    assert (table["flipped"] == (table["agreement"] > np.float32(0.1))).all()
    assert 5 < table["flipped"].sum() < 250
    before = table["weight"].shift(fill_value=1.0)
    assert ((table["weight"] != before) == table["flipped"]).all()


def test_gradients_over_time_sum_to_the_accumulated_gradient_and_touch_nothing(tiny_batch):
    images, labels = tiny_batch
    net = vgg11(10, 1, width=1 / 16, trace="ottt", batch_norm="per-step", time_steps=3)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    found = gradients_over_time(net, images, labels, 3)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert list(found) == [2, 3, 4, 5, 6, 7, 8]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    optimizer.zero_grad = lambda: None  # keep the accumulated gradient
    train_batch(net, images, labels, [optimizer], 3, "accumulated")
    torch.testing.assert_close(found[2].sum(0), net[3].weight.grad.flatten())
    assert found[8].shape == (3, 32 * 32 * 9)


def test_cosines_and_second_moments_over_time():
    gradients = {2: torch.tensor([[1.0, 0.0], [3.0, 4.0], [-2.0, 0.0]])}
    cosine = cosine_similarity_over_time(gradients).set_index(["t", "t_prime"])["cosine"]
    np.testing.assert_allclose([cosine[0, 0], cosine[0, 1], cosine[1, 0], cosine[0, 2]], [1, 0.6, 0.6, -1])
    moments = second_moment_over_time(gradients)
    np.testing.assert_allclose(moments["second_moment"], [0.5, 12.5, 2.0])
    np.testing.assert_allclose(moments["relative"], [1, 25, 4])


def test_flip_tables_by_hand():
    # Two layers of 10 and 30 weights, two epochs of 5 updates, one look in each epoch.
    epochs = [
        {"epoch": e, "layer": layer, "weights": weights, "updates": 5, "flips": flips, "looks": 1, "held": held}
        for e, layer, weights, flips, held in ((1, 2, 10, 20, 5), (1, 3, 30, 15, 0), (2, 2, 10, 5, 1), (2, 3, 30, 0, 3))
    ]
    layers = [
        {"layer": 2, "weights": 10, "never_flipped": 4, "flips": 25, "leaving": 10},
        {"layer": 3, "weights": 30, "never_flipped": 15, "flips": 15, "leaving": 0},
    ]
    record = FlipRecord(pd.DataFrame(epochs), pd.DataFrame(layers), pd.DataFrame({"layer": [2], "at_least": [1]}))
    rates = flip_rates(record)
    assert rates["ff_ratio"].tolist() == [40.0, 10.0, 10.0, 0.0]
    assert rates["held"].tolist() == [50.0, 0.0, 10.0, 10.0]
    by_epoch = over_layers(rates, "epoch")
    assert by_epoch["epoch"].tolist() == [1, 2]
    assert by_epoch["ff_ratio"].tolist() == pytest.approx([17.5, 2.5])
    assert by_epoch["held"].tolist() == pytest.approx([12.5, 10.0])
    summary = flip_summary(record)
    assert summary["flips_per_weight"].tolist() == [2.5, 0.5]
    assert summary["never_flipped"].tolist() == [40.0, 50.0]
    assert summary["c2i_ratio"].tolist() == [40.0, 0.0]
    whole = over_layers(summary).iloc[0]
    assert whole["c2i_ratio"] == pytest.approx(25.0)  # 10 of 40 flips
    assert whole["never_flipped"] == pytest.approx(47.5)
    assert whole["flips_per_weight"] == pytest.approx(1.0)


@pytest.mark.parametrize("arithmetic", ["float32", "exact"])
def test_batch_statistics_replace_running_ones(arithmetic, tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    config = RunConfig(
        width=1 / 32, train_size=500, epochs=3, batch_size=20, batch_norm="per-step", device="cpu", beta1=0.99,
        arithmetic=arithmetic,
    )  # fmt: skip
    result = run(config, progress=False)
    before = accuracy_with_batch_statistics(result)
    load = RunResult.load_model

    def nonsense(self, epoch=None):
        model = load(self, epoch)
        for name, buffer in model.named_buffers():
            if "running_mean" in name:
                buffer += 100.0  # that only evaluation with running statistics can notice
        return model

    monkeypatch.setattr(RunResult, "load_model", nonsense)
    assert accuracy_with_batch_statistics(result) == before
    _, test = load_splits(config)
    assert evaluate(result.load_model(), test, config.time_steps) < before - 5


def test_nothing_looked_at_is_not_zero():
    epochs = pd.DataFrame([{"epoch": 1, "layer": 2, "weights": 10, "updates": 3, "flips": 0, "looks": 0, "held": 0}])
    layers = pd.DataFrame([{"layer": 2, "weights": 10, "never_flipped": 10, "flips": 0, "leaving": 0}])
    record = FlipRecord(epochs, layers, pd.DataFrame())
    assert flip_rates(record)["held"].isna().all()
    assert flip_summary(record)["c2i_ratio"].isna().all()


def test_recording_flips_was_measured_below_a_twentieth_of_the_step():
    table = pd.read_csv(Path(__file__).parents[2] / "figures" / "bench" / "floor.csv")
    assert table["flip_recording_percent"].between(0, 5, inclusive="neither").all()
