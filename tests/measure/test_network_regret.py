"""The regret of a network in training is that of the very training that ``run`` does."""

from dataclasses import replace

import numpy as np
import pytest

from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.run import run
from bso_lib.measure.network_regret import network_regret


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    return RunConfig(
        width=1 / 64, train_size=120, batch_size=50, epochs=2, time_steps=2, batch_norm="per-step", augment=("flip",)
    )


def test_the_online_losses_are_those_of_the_cached_run(config):
    table = network_regret(config)
    history = run(config, progress=False).history
    per_epoch = len(table) // 2
    online = table["online"].to_numpy().reshape(2, per_epoch).mean(1)
    np.testing.assert_allclose(online, history["train_loss"], rtol=1e-5)
    assert table["round"].tolist() == list(range(1, 2 * per_epoch + 1))
    np.testing.assert_allclose(table["regret"], (table["online"] - table["final"]).cumsum())
    np.testing.assert_allclose(table, network_regret(config))


def test_without_learning_there_is_nothing_to_regret(config):
    still = network_regret(replace(config, method="fp", lr=0.0))
    np.testing.assert_allclose(still["online"], still["final"], rtol=1e-6)
    assert not np.allclose(still["online"], still["online"].iloc[0])
