"""The paper's own scale: every setting it fixes counts, and only those."""

from dataclasses import replace

import pytest

from bso_lib.companion.scale import departures
from bso_lib.experiment.config import PUBLISHED_CODE, RunConfig

CIFAR = RunConfig(dataset="cifar10", augment=("cutout", "flip", "crop"))
FIRST = RunConfig(model="resnet18", dataset="imagenet", time_steps=1, epochs=100, batch_size=64, gamma=1e-6,
                  augment=("crop", "flip"))  # fmt: skip
SECOND = replace(FIRST, time_steps=4, epochs=30, gamma=1e-11, beta1=1 - 1e-8, start_from=FIRST)


@pytest.mark.parametrize(
    "config",
    [
        CIFAR,
        replace(CIFAR, method="bso", time_steps=6, beta2=0.5),
        replace(CIFAR, method="fp", training="bptt", momentum=0.9, lr=0.05, gamma=1),
        replace(CIFAR, batch_norm="per-step", momentum=0.9, record_flips=False),
        replace(CIFAR, dataset="cifar100", time_steps=12),
        RunConfig(dataset="speech-commands", time_steps=4, batch_size=64),
        RunConfig(dataset="dvs-cifar10", time_steps=10, gamma=1e-6, augment=("crop",)),
        SECOND,
    ],
)
def test_the_papers_settings_depart_in_nothing(config):
    assert departures(config) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0.5}, {"train_size": 1000}, {"epochs": 399}, {"batch_size": 64}, {"augment": ("crop",)},
        {"gamma": 1e-6}, {"beta1": 0.997}, {"beta2": 0.999}, {"lr": 0.2}, {"schedule": "cosine"},
        {"real_schedule": "constant"}, {"training": "accumulated"}, {"mse_weight": 0.05}, {"start": "kaiming"},
        {"eps_place": "outside"}, {"sign_of_zero": "zero"}, {"trace": "ndot-code"}, {"time_steps": 3},
        {"evaluate_on": "validation"}, {"precision": "bfloat16"}, {"model": "resnet18"},
    ],
)  # fmt: skip
def test_each_setting_counts(change):
    assert departures(replace(CIFAR, **change)) == tuple(change)
    assert departures(replace(CIFAR, **change), free=tuple(change)) == ()


def test_another_data_set_is_another_scale():
    assert departures(RunConfig(dataset="fashion-mini")) == ("dataset",)
    assert "gamma" in departures(replace(CIFAR, dataset="dvs-cifar10", time_steps=10, augment=("crop",)))
    assert "schedule" in departures(replace(CIFAR, **PUBLISHED_CODE))


@pytest.mark.parametrize(
    "change",
    [{"epochs": 29}, {"start_from": None}, {"start_from": replace(FIRST, epochs=99)}, {"train_size": 9},
     {"start_from": replace(FIRST, beta1=0.9)}],
)  # fmt: skip
def test_imagenet_takes_both_phases(change):
    assert departures(replace(SECOND, **change)) == tuple(change)
