"""A described network is built again with every setting, as JSON carries it, and without values."""

import inspect
import json

import pytest
import torch
from torch import nn

from bso_lib.deploy.architecture import ARGUMENTS, DEPLOYED_AS, build, describe, described_layers
from bso_lib.layers import (
    BinaryConv2d,
    BinaryLinear,
    LatentConv2d,
    LatentLinear,
    Shortcut,
    SpikingPool,
    TimeStepBatchNorm2d,
    TracedConv2d,
    TracedLinear,
)
from bso_lib.models import SpikingNet, resnet18, spiking_mlp, vgg11
from bso_lib.neurons import LIF

GEOMETRY = {"stride": (1, 2), "padding": (2, 0), "dilation": 2, "groups": 2}
# One of each kind, with as little as possible left at its default.
LAYERS = [
    BinaryConv2d(4, 6, (3, 5), **GEOMETRY),
    TracedConv2d(4, 6, (3, 5), **GEOMETRY),
    nn.Conv2d(4, 6, (3, 5), **GEOMETRY, bias=False, padding_mode="circular"),
    BinaryLinear(3, 5),
    TracedLinear(3, 5, bias=False),
    nn.Linear(3, 5, bias=False),
    nn.BatchNorm1d(5, 1e-3, 0.2, False, False),
    nn.BatchNorm2d(5, 1e-3, None, False, True),
    TimeStepBatchNorm2d(5, 3, 1e-3, 0.2),
    nn.LayerNorm((2, 3), 1e-3, True, bias=False),
    LIF("ndot", False, 0.75, 0.5, 2.0),
    SpikingPool(None),
    nn.AvgPool2d(3, 2, 1, True, False, 5),
    nn.Flatten(2, 3),
    nn.ReLU(),
    nn.Tanh(),
]


def through_json(model):
    return build(json.loads(json.dumps(describe(model))))


def test_every_kind_is_built_again_with_its_settings():
    assert [type(layer) for layer in LAYERS] == list(ARGUMENTS)
    model = SpikingNet(*LAYERS)
    built = through_json(model)
    assert repr(built) == repr(model)
    assert describe(built) == describe(model)
    assert {n: v.shape for n, v in built.state_dict().items()} == {n: v.shape for n, v in model.state_dict().items()}
    assert all(value.is_meta for value in built.state_dict().values())


@pytest.mark.parametrize("kind", ARGUMENTS, ids=lambda kind: kind.__name__)
def test_no_argument_of_a_kind_is_left_out(kind):
    exempt = {"self", "device", "dtype", "inplace", "args", "kwargs"}
    if kind in (nn.BatchNorm1d, nn.BatchNorm2d):
        exempt.add("bias")  # of recent torch alone; save_packed refuses a norm without one
    assert set(ARGUMENTS[kind]) == set(inspect.signature(kind.__init__).parameters) - exempt


@pytest.mark.parametrize("weights", ["binary", "latent", "latent-unclipped", "real"])
def test_the_networks_of_the_paper_are_described(weights):
    deployed = "binary" if weights.startswith("latent") else weights
    built = through_json(vgg11(7, 2, 1 / 16, weights, "ndot", "per-step", False, 4))
    assert repr(built) == repr(vgg11(7, 2, 1 / 16, deployed, "ndot", "per-step", False, 4))
    if weights != "latent-unclipped":
        assert repr(through_json(spiking_mlp(5, 3, 2, weights))) == repr(spiking_mlp(5, 3, 2, deployed))


@pytest.mark.parametrize("weights", ["binary", "latent", "real"])
def test_shortcuts_are_described_with_both_ways(weights):
    deployed = "binary" if weights == "latent" else weights
    model = resnet18(7, 2, 1 / 16, weights, "ndot", "per-step", False, 4)
    built = through_json(model)
    assert repr(built) == repr(resnet18(7, 2, 1 / 16, deployed, "ndot", "per-step", False, 4))
    names = dict(described_layers(describe(model)))
    assert {name: layer["kind"] for name, layer in names.items()} == {
        name: type(built.get_submodule(name)).__name__ for name in names
    }
    owners = {name.rpartition(".")[0] for name in built.state_dict()}
    assert owners <= set(names)


def test_latent_layers_are_deployed_as_binary_ones():
    assert {type(layer) for layer in (LatentConv2d(2, 2, 3), LatentLinear(2, 2))} <= set(DEPLOYED_AS)
    assert [layer["kind"] for layer in describe(nn.Sequential(LatentConv2d(2, 2, 3), LatentLinear(2, 2)))] == [
        "BinaryConv2d",
        "BinaryLinear",
    ]


def test_building_draws_no_random_number():
    described = describe(vgg11(width=1 / 16))
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    build(described)
    assert torch.equal(torch.rand(3), expected)


def test_what_is_not_known_is_refused():
    with pytest.raises(TypeError, match=r"ModuleDict is not a plain sequence of layers \(torch.nn.Sequential\)"):
        describe(nn.ModuleDict())
    with pytest.raises(TypeError, match="layer 1 is a GELU: must be one of BinaryConv2d, "):
        describe(nn.Sequential(nn.ReLU(), nn.GELU()))
    nested = nn.Sequential(Shortcut(nn.Sequential(nn.ReLU(), nn.GELU()), nn.Sequential()))
    with pytest.raises(TypeError, match=r"layer 0\.body\.1 is a GELU: must be one of .*, Shortcut$"):
        describe(nested)
    with pytest.raises(ValueError, match=r"layer 0\.shortcut\.0 is a 'Module'"):
        build([{"kind": "Shortcut", "body": [], "shortcut": [{"kind": "Module"}]}])
    with pytest.raises(ValueError, match="layer 0 is a 'Module': must be one of BinaryConv2d, "):
        build([{"kind": "Module"}])
