"""Other orders of the frames: what each variant changes, and that it changes nothing else."""

import pandas as pd
import pytest
import torch

from bso_lib.data.images import make_splits
from bso_lib.experiment.config import RunConfig
from bso_lib.measure import frame_order
from bso_lib.measure.frame_order import accuracy_by_order, logits_over_time
from bso_lib.models import vgg11
from bso_lib.training import evaluate, predict

STEPS = 4


class Result:
    """What accuracy_by_order needs of a finished run."""

    config = RunConfig(dataset="fashion-events", time_steps=STEPS)

    def __init__(self, model):
        self.model = model

    def load_model(self):
        return self.model


@pytest.fixture
def model():
    net = vgg11(10, 2, 1 / 16, batch_norm="per-step", time_steps=STEPS)
    for _ in range(30):  # running statistics that differ from step to step
        predict(net, torch.randn(16, STEPS, 2, 16, 16) * torch.arange(1, STEPS + 1).view(1, -1, 1, 1, 1), STEPS)
    return net.eval()


@pytest.fixture
def recordings(monkeypatch):
    images = torch.randint(0, 256, (60, STEPS, 2, 16, 16), dtype=torch.uint8)
    images = (images.float() * torch.arange(1, STEPS + 1).view(1, -1, 1, 1, 1) / STEPS).to(torch.uint8)
    train, test = make_splits(images, torch.arange(60) % 10, images, torch.arange(60) % 10, "abcdefghij")
    monkeypatch.setattr(frame_order, "load_splits", lambda config: (train, test))
    return test


def total(model, images, *how, **options):
    return sum(logits_over_time(model, images, *how, **options))


def test_the_recorded_order_is_what_evaluation_sees(model, recordings):
    images = recordings.normalise(recordings.images)
    assert torch.equal(total(model, images, range(STEPS)), predict(model, images, STEPS))
    assert torch.equal(total(model, images, range(STEPS), "frame"), predict(model, images, STEPS))
    orders, first = accuracy_by_order(Result(model))
    recorded = orders[(orders["order"] == "as recorded") & orders["memory"]]["accuracy"].item()
    assert recorded == pytest.approx(evaluate(model, recordings, STEPS), abs=1e-4)
    assert first["accuracy"].iloc[-1] == recorded


def test_the_first_frames_are_a_shorter_run(model, recordings):
    _, first = accuracy_by_order(Result(model))
    assert first["frames"].tolist() == [1, 2, 3, 4]
    for row in first.itertuples():
        assert row.accuracy == pytest.approx(evaluate(model, recordings, row.frames), abs=1e-4)


def test_without_memory_and_with_the_frames_statistics_order_is_nothing(model):
    images = torch.randn(8, STEPS, 2, 16, 16)
    alone = [
        torch.stack(list(logits_over_time(model, images, order, "frame", memory=False)))
        for order in ([0, 1, 2, 3], [2, 0, 3, 1])
    ]
    assert torch.equal(alone[0][[2, 0, 3, 1]], alone[1])
    # Either alone makes a difference.
    for how in ({"statistics": "frame"}, {"memory": False}):
        one, other = (total(model, images, order, **how) for order in ([0, 1, 2, 3], [2, 0, 3, 1]))
        assert not torch.allclose(one, other, atol=1e-3)


def test_the_table_has_each_variant_once_and_takes_part_of_the_recordings(model, recordings, monkeypatch):
    orders, _ = accuracy_by_order(Result(model), shuffles=2, per_class=2)
    assert not orders.duplicated(["order", "statistics", "memory"]).any()
    assert set(orders["order"]) == {"as recorded", "reversed", "shuffled"}
    assert len(orders) == 6
    shown = []
    real = frame_order._accuracies
    monkeypatch.setattr(
        frame_order, "_accuracies", lambda m, split, *a, **k: shown.append(len(split)) or real(m, split, *a, **k)
    )
    for per_class, expected in ((2, 20), (None, 60), (6, 60)):
        shown.clear()
        accuracy_by_order(Result(model), shuffles=1, per_class=per_class)
        assert set(shown) == {expected}
    pd.testing.assert_frame_equal(orders, accuracy_by_order(Result(model), shuffles=2, per_class=2)[0])


def test_still_images_and_unknown_statistics_are_refused(model, monkeypatch):
    images = torch.zeros(20, 2, 16, 16, dtype=torch.uint8)
    splits = make_splits(images, torch.arange(20) % 10, images, torch.arange(20) % 10, "abcdefghij")
    monkeypatch.setattr(frame_order, "load_splits", lambda config: splits)
    with pytest.raises(ValueError, match="still images have no order"):
        accuracy_by_order(Result(model))
    with pytest.raises(ValueError, match="statistics='batch': must be one of position, frame"):
        list(logits_over_time(model, images, [0], "batch"))
