"""RunConfig refuses each wrong value in one line that names field, value and what is allowed."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bso_lib.experiment.config import PUBLISHED_CODE, RunConfig

WRONG = {
    "method": ["adam", None],
    "training": ["rtrl"],
    "trace": ["eprop"],
    "dataset": ["mnist", ""],
    "train_size": [0, -5, 2.5],
    "evaluate_on": ["train"],
    "augment": [("mixup",)],
    "model": ["vgg16"],
    "width": [0, 2, "wide", float("nan")],
    "batch_norm": ["none"],
    "time_steps": [0, -1, 1.5, True, None],
    "epochs": [0],
    "batch_size": [0],
    "lr": [-0.1, float("inf")],
    "momentum": [1.0, -0.1],
    "latent_lr": [-1],
    "latent_momentum": [1.0, -0.1, 0.5],  # 0.5: the default method is T-BSO
    "latent_decay": [-1, 0.1],
    "gamma": [-1e-9, float("nan"), "5e-7"],
    "beta1": [1.0, -0.1],
    "beta2": [1.0],
    "schedule": ["linear"],
    "step_epochs": [0],
    "precision": ["float16"],
    "arithmetic": ["fixed", True],
    "packed": ["float16", True],
    "seed": [-1, 0.5, 2**63],
    "device": ["tpu"],
    "real_schedule": ["stepwise"],
    "ste_clip": [1, None],
    "eps": [-1e-20],
    "start": ["zeros"],
    "eps_place": ["above"],
    "sign_of_zero": [0],
    "mse_weight": [1.0, -0.1],
    "record_flips": ["yes"],
    "graphed": ["yes"],
    "snapshot_every": [-1, 0.5, True],
    "start_from": ["x", 5],
    "start_momentum": ["half", "zero"],  # "zero" needs start_from
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in WRONG.items() for v in values])
def test_a_wrong_value_is_named(field, value):
    with pytest.raises(ValueError, match=r"RunConfig\.") as caught:
        RunConfig(**{field: value})
    message = str(caught.value)
    assert message.startswith(f"RunConfig.{field}={value!r}: ")
    assert "must be" in message
    assert "\n" not in message


def test_every_field_is_checked():
    assert set(WRONG) == set(RunConfig.__dataclass_fields__)


@pytest.mark.parametrize("field", ["start", "eps_place", "sign_of_zero"])
def test_switches_of_t_bso_are_refused_elsewhere(field):
    with pytest.raises(
        ValueError, match=rf"RunConfig\.{field}=.*: must be .* for method 'bso': it is a switch of T-BSO"
    ):
        RunConfig(method="bso", **{field: PUBLISHED_CODE[field]})


def test_the_published_codes_choices_are_a_valid_config_and_all_differ_from_ours():
    ours, theirs = RunConfig(batch_norm="per-step"), RunConfig(**PUBLISHED_CODE)
    assert all(getattr(ours, name) != getattr(theirs, name) for name in PUBLISHED_CODE)


@given(st.floats(allow_nan=True))
def test_beta1_is_accepted_exactly_in_its_range(beta):
    if 0 <= beta < 1:
        assert RunConfig(beta1=beta).beta1 == beta
    else:
        with pytest.raises(ValueError, match="beta1"):
            RunConfig(beta1=beta)


def test_lists_from_yaml_become_tuples_and_replace_checks_again():
    assert RunConfig(augment=["flip"]) == RunConfig(augment=("flip",))
    with pytest.raises(ValueError, match="epochs=0"):
        replace(RunConfig(), epochs=0)


FIRST = RunConfig(model="resnet18", time_steps=1, epochs=5, augment=("flip",))


def test_phases_survive_json():
    second = replace(FIRST, time_steps=4, start_from=FIRST)
    third = replace(FIRST, time_steps=4, start_from=second, start_momentum="zero")
    assert RunConfig(**json.loads(json.dumps(asdict(third)))) == third
    assert third.start_from.start_from == FIRST


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "vgg11"}, "start_from: model is 'resnet18' there, 'vgg11' here: must be the same"),
        ({"width": 0.5}, "start_from: width is 1.0 there, 0.5 here"),
        ({"dataset": "cifar10"}, "start_from: dataset is 'fashion-mini' there, 'cifar10' here"),
        ({"evaluate_on": "validation"}, "start_from: evaluate_on is 'test' there, 'validation' here"),
        ({"batch_norm": "per-step"}, "start_from: batch_norm is 'shared' there, 'per-step' here"),
        ({"method": "fp"}, "start_from: kind of weights is 'binary' there, 'real' here"),
        ({"start": "kaiming"}, "start='kaiming': must be 'grid' with start_from"),
        ({"start_from": replace(FIRST, time_steps=3)}, "start_from: time_steps is 3 there: must be 1 or 4"),
    ],
)
def test_phases_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=rf"^RunConfig\.{message}") as caught:
        replace(FIRST, **{"time_steps": 4, "start_from": FIRST} | changes)
    assert "\n" not in str(caught.value)


def test_the_momentum_of_a_phase_before_is_of_bso_and_t_bso():
    real = replace(FIRST, method="fp")
    with pytest.raises(ValueError, match="start_momentum='zero': must be 'keep' without start_from, or for a method"):
        replace(real, start_from=real, start_momentum="zero")
    assert replace(FIRST, method="bso", start_from=FIRST, start_momentum="zero").start_momentum == "zero"


def test_the_conditions_name_both_phases():
    first = RunConfig(model="resnet18", dataset="imagenet", time_steps=1, epochs=100)
    second = replace(first, time_steps=4, epochs=30, start_from=first)
    assert second.conditions() == (
        "imagenet, ResNet-18 at width 1, T = 1, 100 epochs, then T = 4, 30 epochs, shared BatchNorm statistics"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda_is_refused():
    assert RunConfig().resolved_device() == "cpu"
    with pytest.raises(ValueError, match=r"RunConfig\.device='cuda': no CUDA device"):
        RunConfig(device="cuda")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "cpu"}, "must be False with device='cpu'"),
        ({"record_flips": True}, "needs record_flips=False"),
        ({"start": "kaiming"}, "needs start='grid'"),
        ({"packed": "float32"}, "needs packed='no'"),
    ],
)
def test_a_graph_is_refused_where_it_cannot_be(changes, message):
    with pytest.raises(ValueError, match=f"RunConfig.graphed=True: {message}"):
        RunConfig(**{"graphed": True, "record_flips": False, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"record_flips": True}, "needs record_flips=False"),
        ({"training": "bptt"}, "needs training='online'"),
        ({"training": "accumulated"}, "needs training='online'"),
        ({"start": "kaiming"}, "needs start='grid'"),
        ({"sign_of_zero": "zero"}, "needs sign_of_zero='keep'"),
        ({"start_from": RunConfig()}, "needs start_from=None"),
        ({"method": "fp"}, "needs method 'bso' or 't-bso'"),
        ({"method": "ste"}, "needs method 'bso' or 't-bso'"),
    ],
)
def test_what_cannot_be_packed_is_refused(changes, message):
    with pytest.raises(ValueError, match=f"RunConfig.packed='float32': {message}"):
        RunConfig(**{"packed": "float32", "record_flips": False, **changes})


def test_seeds_have_63_bits():
    assert RunConfig(seed=2**63 - 1).seed == 2**63 - 1
    with pytest.raises(ValueError, match=r"RunConfig\.seed=9223372036854775808: must be .* below 2\^63"):
        RunConfig(seed=2**63)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA")
def test_a_graph_without_cuda_is_refused():
    with pytest.raises(ValueError, match=r"RunConfig\.graphed=True: must be False without a CUDA device"):
        RunConfig(graphed=True, record_flips=False)
