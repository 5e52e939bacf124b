"""What is recorded of momentum is of the very training that ``run`` does."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.run import run
from bso_lib.measure.network_tracking import network_tracking
from bso_lib.optim import BSO


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    return RunConfig(
        method="bso", width=1 / 64, train_size=120, batch_size=50, epochs=2, time_steps=2, batch_norm="per-step",
        schedule="cosine", device="cpu",
    )  # fmt: skip


@pytest.mark.parametrize("method", ["bso", "t-bso"])
def test_it_is_the_run(config, method):
    config = replace(config, method=method)
    table = network_tracking(config)
    result = run(config, progress=False)
    np.testing.assert_allclose(table.groupby("epoch")["accuracy"].first(), result.history["accuracy"])
    assert len(table) == 2 * table["layer"].nunique()
    assert table["flips"].between(0, 1).all()
    assert table["flips"].sum() > 0
    assert (table["tracking"] > 0).all()
    assert table["cosine"].abs().max() < 1
    assert (table["cosine"] != 0).all()


def test_another_optimizer_keeps_the_schedule(config):
    own = network_tracking(config)
    pd.testing.assert_frame_equal(own, network_tracking(config, lambda p: BSO(p, config.gamma, config.beta1)))


def test_before_the_first_update_momentum_predicts_nothing(config):
    one = network_tracking(replace(config, train_size=50, epochs=1, time_steps=1))
    assert one["tracking"].tolist() == [1.0] * len(one)
    assert one["cosine"].tolist() == [0.0] * len(one)
    with pytest.raises(ValueError, match=r"method='fp'.*must be bso or t-bso"):
        network_tracking(replace(config, method="fp"))
