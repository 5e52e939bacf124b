"""A plan counts what is cached, grows with what is left, and says so in words."""

from dataclasses import replace

import pytest

from bso_lib.experiment.build import build_model
from bso_lib.experiment.config import WEIGHTS, RunConfig
from bso_lib.experiment.run import run
from bso_lib.experiment.shortage import memory_bytes
from bso_lib.measure.memory import account_step
from bso_lib.sweep.planning import duration, layer_table, multiply_accumulates, plan

TINY = RunConfig(width=1 / 32, train_size=100, epochs=1, batch_size=50, batch_norm="per-step", device="cpu")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))


def test_cached_runs_cost_nothing_and_a_config_counts_once():
    run(TINY, progress=False)
    assert str(plan([TINY, TINY])) == "1 runs, all cached"
    both = plan([TINY, replace(TINY, seed=1)])
    assert (both.runs, both.cached) == (2, 1)
    assert both.seconds > 0
    assert str(both).startswith("2 runs, 1 of them cached; the others take about ")


def test_the_phase_before_is_planned_too():
    second = replace(TINY, time_steps=3, start_from=replace(TINY, time_steps=1))
    assert plan([second]).runs == plan([second, second.start_from]).runs == 2
    assert plan([second]).seconds > 0


def test_time_is_that_of_one_step_times_their_number(monkeypatch):
    monkeypatch.setattr("bso_lib.sweep.planning._seconds_per_time_step", lambda config, facts: 2.0)
    # 50,000 images trained and a third of 10,000 evaluated, in batches of 100, 3 time steps, 7 epochs
    config = RunConfig(dataset="cifar10", width=1 / 32, batch_size=100, time_steps=3, epochs=7, device="cpu")
    assert plan([config]).seconds == pytest.approx(2.0 * 7 * 3 * (50_000 + 10_000 / 3) / 100)


def test_memory_is_that_of_the_largest_step():
    configs = [replace(TINY, training="bptt", method="ste", time_steps=t) for t in (1, 3)]
    assert plan(configs).peak_bytes == account_step(configs[1], (1, 28, 28), 10).peak_bytes


@pytest.mark.parametrize("method", WEIGHTS)
def test_every_method_can_be_planned(method):
    assert plan([replace(TINY, method=method)]).seconds > 0


def test_a_step_that_does_not_fit_is_not_tried_and_warned_of(monkeypatch):
    huge = RunConfig(dataset="imagenet", batch_size=100_000, training="bptt", time_steps=6, device="cpu")
    monkeypatch.setattr("bso_lib.sweep.planning._seconds_per_time_step", lambda *_: pytest.fail("tried"))
    line = str(plan([huge]))
    assert len(line.splitlines()) == 1
    assert "WARNING: a training step of the others holds up to " in line
    assert line.endswith(": lower batch_size=100000 or time_steps=6 (or take training='online', whose memory does not "
                         "grow with it) or width=1")  # fmt: skip
    assert 10**8 < memory_bytes("cpu") < 10**14


@pytest.mark.parametrize("weights", ["t-bso", "ste", "fp"])
def test_multiply_accumulates_by_hand(weights):
    config = RunConfig(method=weights, width=1 / 64)  # 1, 2, 4, 4, 8, 8, 8, 8 channels
    convs = [(3, 1, 16), (1, 2, 16), (2, 4, 8), (4, 4, 8), (4, 8, 4), (8, 8, 4), (8, 8, 2), (8, 8, 2)]
    forward = [9 * i * o * side**2 for i, o, side in convs] + [8 * 5]
    counted = multiply_accumulates(config, (3, 16, 16), 5)
    # Each layer has the gradient of its weight and, but for the first, of its input: as many operations as forward.
    assert counted == {"forward": sum(forward), "backward": 2 * sum(forward) - forward[0]}


def test_the_table_of_layers_agrees_with_the_counts():
    for model in ("vgg11", "resnet18"):
        config = RunConfig(model=model, width=1 / 16)
        table, net = layer_table(config, (3, 64, 64), 7), build_model(config, 7, 3)
        assert table["macs"].sum() == multiply_accumulates(config, (3, 64, 64), 7)["forward"]
        assert table["weights"].sum() == sum(p.numel() for p in net.parameters() if p.dim() > 1)
        assert [net.get_submodule(name).weight.numel() for name in table["layer"]] == table["weights"].tolist()
    stem, first, *_ = table.to_dict("records")
    assert (stem["kind"], stem["kernel"], stem["stride"], stem["map"]) == ("TracedConv2d", 7, 2, (4, 32, 32))
    assert (first["kind"], first["kernel"], first["stride"], first["map"]) == ("BinaryConv2d", 3, 1, (4, 16, 16))
    assert table["map"].iloc[-1] == (7,)


def test_resnet18_on_imagenet_takes_the_operations_that_it_is_known_for():
    counted = multiply_accumulates(RunConfig(model="resnet18"), (3, 224, 224), 1000)
    assert round(counted["forward"] / 1e9, 2) == 1.81


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5.4, "5 s"), (65, "1 min 5 s"), (3600 * 2.5, "2 h 30 min"), (86400 * 3 + 7200, "3 d 2 h")],
)
def test_duration_in_two_units(seconds, words):
    assert duration(seconds) == words


def test_exact_runs_are_timed_as_such_and_held_as_float_ones(monkeypatch):
    timed = []
    monkeypatch.setattr(
        "bso_lib.sweep.planning._seconds_per_time_step", lambda config, facts: timed.append(config.arithmetic) or 1.0
    )
    exact = replace(TINY, arithmetic="exact")
    assert plan([exact]).peak_bytes == plan([TINY]).peak_bytes
    plan([TINY, exact])
    assert sorted(timed) == ["exact", "exact", "float32", "float32"]
    with pytest.raises(ValueError, match="device='fake': must be one of cpu, cuda"):
        account_step(exact, (1, 28, 28), 10, "fake")
    assert account_step(exact, (1, 28, 28), 10, "cpu").peak_bytes > 0
