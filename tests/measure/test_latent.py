"""Latent weights act through their sign only, and BSO without a threshold is SGD on them."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from bso_lib.experiment.build import flipping_layers
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.run import load_splits, run
from bso_lib.measure.latent import compare_scales, compare_with_latent_sgd, flips_by_magnitude

STE = RunConfig(
    method="ste", width=1 / 32, train_size=200, epochs=2, batch_size=20, batch_norm="per-step", latent_lr=10.0,
    momentum=0.9, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def split():
    return load_splits(STE)[0]


def test_a_power_of_two_changes_no_sign_and_no_output_unless_the_gradient_is_clipped(split):
    free = compare_scales(STE, split, [2.0**12, 2.0**-12], 12)
    assert list(free["batch"]) == [*range(1, 13)] * 2
    assert bool(free["same_output"].all())
    assert set(free["differing"]) == {0.0}
    clipped = compare_scales(STE, split, [2.0**12], 12, clip=True)
    assert not bool(clipped["same_output"].all())
    assert clipped["differing"].iloc[-1] > 1


def test_bso_without_threshold_is_latent_sgd_with_weight_decay_one(split):
    table = compare_with_latent_sgd(replace(STE, beta1=0.99), split, 15)
    assert set(table["differing"]) == {0}
    assert bool(table["same_output"].all())
    assert table["distance"].max() < 1e-13


def test_flips_by_magnitude_counts_the_signs_that_differ(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    result = run(replace(STE, snapshot_every=1), progress=False)
    table = flips_by_magnitude(result, bins=5)
    assert list(table["magnitude"]) == [10, 30, 50, 70, 90] * 2
    before, after = (flipping_layers(result.load_model(epoch)) for epoch in (0, 1))
    signs = [torch.cat([(w >= 0).flatten() for w in found.values()]) for found in (before, after)]
    with pytest.raises(ValueError, match="kept no snapshots: give its RunConfig snapshot_every=1"):
        flips_by_magnitude(run(STE, progress=False))
    weights = sum(w.numel() for w in before.values())
    in_bins = pd.Series([20.0] * 5)  # percent of the weights, up to rounding of bin sizes
    share = float((table["flipped"].iloc[:5].reset_index(drop=True) * in_bins).sum() / 100)
    assert share == pytest.approx(100 * float((signs[0] != signs[1]).sum()) / weights, abs=0.2)
    assert table["flipped"].iloc[0] > table["flipped"].iloc[4]  # small ones flip more easily
