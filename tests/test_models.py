"""vgg11 and resnet18 against the paper's architecture and sizes; the parameter split; refusals."""

import pytest
import torch
import torchvision
from torch import nn

from bso_lib.deploy.network_file import MEGABYTE, packed_size_bytes
from bso_lib.layers import BinaryConv2d, LatentConv2d, Shortcut, SpikingPool, TimeStepBatchNorm2d, TracedConv2d
from bso_lib.models import resnet18, spiking_mlp, split_parameters, vgg11
from bso_lib.neurons import LIF


@pytest.mark.parametrize(("classes", "packed", "full"), [(10, 1.20, 36.91), (100, 1.39, 37.10)])
def test_full_width_has_the_published_sizes(classes, packed, full):
    binary, _ = split_parameters(vgg11(classes))
    assert sum(p.numel() for p in binary) == 9_216_000
    assert len(binary) == 7
    assert round(packed_size_bytes(vgg11(classes)) / MEGABYTE, 2) == packed
    assert round(packed_size_bytes(vgg11(classes, weights="real")) / MEGABYTE, 2) == full


def test_architecture_is_the_papers():
    layers = list(vgg11())
    shape = [
        "AP" if isinstance(m, SpikingPool) else m.out_channels for m in layers if isinstance(m, SpikingPool | nn.Conv2d)
    ]
    assert shape == [64, 128, "AP", 256, 256, "AP", 512, 512, "AP", 512, 512, "AP"]
    convs = [m for m in layers if isinstance(m, nn.Conv2d)]
    assert type(convs[0]) is TracedConv2d
    assert all(type(m) is BinaryConv2d for m in convs[1:])
    for index, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d):
            assert isinstance(layers[index + 1], nn.BatchNorm2d)
            assert isinstance(layers[index + 2], LIF)
    assert layers[-1].in_features == 512


def test_width_and_weights(tiny_batch):
    images, _ = tiny_batch
    for weights, kind in (("binary", BinaryConv2d), ("latent", LatentConv2d), ("real", TracedConv2d)):
        net = vgg11(7, 1, width=1 / 16, weights=weights)
        assert net(images).shape == (8, 7)
        assert [m.out_channels for m in net if isinstance(m, nn.Conv2d)] == [4, 8, 16, 16, 32, 32, 32, 32]
        assert type(net[3]) is kind


def test_split_parameters_covers_each_parameter_once():
    net = vgg11(width=1 / 16)
    binary, real = split_parameters(net)
    assert {id(p) for p in binary} | {id(p) for p in real} == {id(p) for p in net.parameters()}
    assert len(binary) + len(real) == len(list(net.parameters()))
    assert all(bool((p.abs() == 1).all()) for p in binary)
    assert split_parameters(vgg11(width=1 / 16, weights="latent"))[0] == []


def test_reset_state_makes_batches_independent(tiny_batch):
    images, _ = tiny_batch
    net = vgg11(10, 1, width=1 / 16, batch_norm="per-step", time_steps=2).eval()
    with torch.no_grad():
        first = [net(images) for _ in range(2)]
        net.reset_state()
        second = [net(images) for _ in range(2)]
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert any(isinstance(m, TimeStepBatchNorm2d) for m in net)


def test_spiking_mlp_runs_on_one_sample():
    for weights in ("binary", "latent", "real"):
        assert spiking_mlp(12, 8, 3, weights)(torch.randn(1, 3, 4)).shape == (1, 3)
    binary, _ = split_parameters(spiking_mlp(12, 8))
    assert [tuple(p.shape) for p in binary] == [(8, 8)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "ternary"}, "weights='ternary': must be one of binary, latent, latent-unclipped, real"),
        ({"trace": "x"}, "trace='x': must be one of ottt, ndot, none"),
        ({"batch_norm": "none"}, "batch_norm='none': must be one of shared, per-step"),
        ({"batch_norm": "per-step"}, "time_steps=None: must be a whole number"),
        ({"time_steps": 0}, "time_steps=0"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"width": 0.001}, "width=0.001"),
    ],
)
def test_vgg11_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        vgg11(**arguments)


def test_resnet18_has_the_published_size_within_one_percent():
    net = resnet18()
    binary, _ = split_parameters(net)
    assert (len(binary), sum(p.numel() for p in binary)) == (16, 10_985_472)
    assert packed_size_bytes(net) / MEGABYTE == pytest.approx(4.22, rel=0.01)
    usual = torchvision.models.resnet18()
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in usual.parameters())


def test_each_binary_conv_gets_spikes_with_a_trace_and_has_its_own_shortcut():
    net = resnet18(7, 2, 1 / 16, time_steps=2)
    seen = []
    for module in net.modules():
        if isinstance(module, BinaryConv2d):
            module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for _ in range(2):
        assert net(torch.randn(3, 2, 64, 64)).shape == (3, 7)
    assert len(seen) == 2 * 16
    for spikes in seen:
        assert set(spikes.values.unique().tolist()) <= {0.0, 1.0}
        assert spikes.trace is not None
    assert any(float(spikes.trace.max()) > 1 for spikes in seen[16:])
    blocks = [layer for layer in net if isinstance(layer, Shortcut)]
    assert [sum(isinstance(m, BinaryConv2d) for m in block.modules()) for block in blocks] == [1] * 16
    assert [len(block.shortcut) for block in blocks] == [0, 0, 0, 0, *[3, 0, 0, 0] * 3]
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d) and not isinstance(m, BinaryConv2d)]
    assert [(c.kernel_size, c.stride) for c in convs] == [((7, 7), (2, 2)), *[((1, 1), (1, 1))] * 3]


def test_a_block_computes_its_equation():
    block = resnet18(3, 1, 1 / 16)[7]  # the first of the second stage: stride 2
    current = torch.randn(2, 4, 9, 9)
    spikes = (current >= 1).float()  # at the first time step
    pooled = torch.stack(
        [current[:, :, i : i + 2, j : j + 2].mean((2, 3)) for i in range(0, 9, 2) for j in range(0, 9, 2)]
    )
    pooled = pooled.permute(1, 2, 0).view(2, 4, 5, 5)

    def norm(x):
        return (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()

    body = norm(nn.functional.conv2d(spikes, block.body[1].weight, stride=2, padding=1))
    side = norm(nn.functional.conv2d(pooled, block.shortcut[1].weight))
    torch.testing.assert_close(block(current), body + side, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "last"), [(28, 1), (32, 1), (64, 2), (224, 7)])
def test_resnet18_takes_images_of_any_size(size, last):
    net, maps = resnet18(5, 1, 1 / 64), []
    net[-3].register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0].shape))
    assert net(torch.randn(2, 1, size, size)).shape == (2, 5)
    assert maps == [(2, 8, last, last)]


@pytest.mark.parametrize(
    "arguments", [{"weights": "ternary"}, {"trace": "x"}, {"batch_norm": "per-step"}, {"width": 0}]
)
def test_resnet18_refuses_what_vgg11_refuses(arguments):
    with pytest.raises(ValueError, match=f"{'time_steps' if 'batch_norm' in arguments else next(iter(arguments))}="):
        resnet18(**arguments)
