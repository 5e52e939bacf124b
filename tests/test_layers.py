"""Traced layers, the grid, the straight-through estimator and BatchNorm per time step."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bso_lib.layers import (
    BinaryConv2d,
    BinaryLinear,
    LatentConv2d,
    SpikingPool,
    TimeStepBatchNorm2d,
    TracedConv2d,
    TracedLinear,
    UnclippedLatentConv2d,
    grid_sign,
    ste_sign,
)
from bso_lib.neurons import LIF
from bso_lib.traced import Spikes


def spikes_of(*shape):
    return torch.randint(2, shape).double()


@pytest.mark.parametrize(
    "geometry", [{"padding": 1}, {"stride": 2}, {"padding": 2, "dilation": 2}, {"padding": 1, "groups": 2}]
)
def test_traced_conv_sends_the_trace_to_the_weight_and_the_spikes_forward(geometry):
    layer = TracedConv2d(4, 6, 3, **geometry).double()
    spikes, trace = spikes_of(2, 4, 8, 8).requires_grad_(), torch.rand(2, 4, 8, 8).double()
    out = layer(Spikes(spikes, trace))
    upstream = torch.randn_like(out)
    grad_spikes, grad_weight = torch.autograd.grad(out, (spikes, layer.weight), upstream)

    expected = F.conv2d(spikes, layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(grad_spikes, torch.autograd.grad(expected, spikes, upstream)[0])
    on_trace = F.conv2d(trace, layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
    torch.testing.assert_close(grad_weight, torch.autograd.grad(on_trace, layer.weight, upstream)[0])


def test_traced_linear_sends_the_trace_to_the_weight():
    layer = TracedLinear(5, 3).double()
    spikes, trace = spikes_of(4, 5).requires_grad_(), torch.rand(4, 5).double()
    upstream = torch.randn(4, 3).double()
    layer(Spikes(spikes, trace)).backward(upstream)
    torch.testing.assert_close(layer.weight.grad, upstream.t() @ trace)
    torch.testing.assert_close(layer.bias.grad, upstream.sum(0))
    torch.testing.assert_close(spikes.grad, upstream @ layer.weight)


def test_trace_gradient_of_a_layer_is_the_sum_over_past_spikes():
    lif, layer = LIF("ottt"), BinaryConv2d(3, 4, 3, padding=1).double()
    past = []
    for _ in range(5):
        x = lif(torch.randn(2, 3, 6, 6).double() + 0.5)
        past.append(x.values.detach())
        out = layer(x)
        zeta = torch.randn_like(out)
        layer.weight.grad = None
        out.backward(zeta)
        t = len(past) - 1
        closed_form = sum(
            0.5 ** (t - k) * torch.nn.grad.conv2d_weight(s, layer.weight.shape, zeta, padding=1)
            for k, s in enumerate(past)
        )
        torch.testing.assert_close(layer.weight.grad, closed_form)


def test_without_a_trace_a_layer_is_plain_autograd():
    layer, spikes = TracedConv2d(3, 4, 3), torch.randint(2, (2, 3, 6, 6)).float()
    for x in (spikes, Spikes(spikes)):
        torch.testing.assert_close(layer(x), F.conv2d(spikes, layer.weight))


def test_one_forward_conv_per_step(monkeypatch):
    calls = []
    real = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *a, **k: calls.append(1) or real(*a, **k))
    spikes = torch.randint(2, (2, 3, 6, 6)).float().requires_grad_()
    BinaryConv2d(3, 4, 3)(Spikes(spikes, spikes.detach())).sum().backward()
    assert len(calls) == 1


@pytest.mark.parametrize("layer", [BinaryConv2d(8, 8, 3), BinaryLinear(64, 8)])
def test_binary_layers_start_on_the_grid_with_both_signs_and_no_other_parameter(layer):
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    assert set(layer.weight.unique().tolist()) == {-1.0, 1.0}
    assert abs(layer.weight.mean()) < 0.2
    assert not list(layer.buffers())


def test_straight_through_estimator_is_equation_4():
    latent = torch.tensor([-1.5, -1.0, -0.2, 0.0, 0.3, 1.0, 2.0], requires_grad=True)
    upstream = torch.arange(1.0, 8.0)
    binary = ste_sign(latent)
    assert binary.tolist() == [-1, -1, -1, 1, 1, 1, 1]  # sign(0) = +1
    assert torch.autograd.grad(binary, latent, upstream)[0].tolist() == [0, 2, 3, 4, 5, 6, 0]
    unclipped = torch.autograd.grad(ste_sign(latent, clip=False), latent, upstream)[0]
    assert torch.equal(unclipped, upstream)
    assert torch.equal(grid_sign(latent), binary)


def test_latent_conv_shows_only_the_sign():
    layer, x = LatentConv2d(2, 3, 3), torch.randn(1, 2, 5, 5)
    before = layer(x)
    layer.weight.data.mul_(8)
    assert torch.equal(layer(x), before)


def test_unclipped_latent_weights_learn_at_any_magnitude():
    x = torch.randn(2, 1, 3, 3)
    gradients = {}
    for kind in (LatentConv2d, UnclippedLatentConv2d):
        conv = kind(1, 1, 3)
        conv.weight.data.copy_(torch.linspace(-2, 2, 9).view(1, 1, 3, 3))
        conv(x).sum().backward()
        gradients[kind] = conv.weight.grad.flatten()
    inside = torch.linspace(-2, 2, 9).abs() <= 1
    assert torch.equal(gradients[UnclippedLatentConv2d], x.sum(0).flatten())
    assert torch.equal(gradients[LatentConv2d], x.sum(0).flatten() * inside)


def test_pooling_pools_spikes_and_trace_alike():
    spikes, trace = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    pooled = SpikingPool(2)(Spikes(spikes, trace))
    assert torch.equal(pooled.values, F.avg_pool2d(spikes, 2))
    assert torch.equal(pooled.trace, F.avg_pool2d(trace, 2))
    whole = SpikingPool(None)(Spikes(spikes))
    torch.testing.assert_close(whole.values, spikes.mean((2, 3)))
    assert whole.trace is None


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_is_that_of_torch_to_the_bit(size, memory_format, dtype):
    spikes = torch.randint(2, (3, 5, 8, 7)).to(dtype).contiguous(memory_format=memory_format)
    results = []
    for pool in (lambda x: F.avg_pool2d(x, size), lambda x: SpikingPool(size)(Spikes(x)).values):
        values = spikes.clone().requires_grad_()
        out = pool(values)
        out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype))
        results.append((out, values.grad))
    for expected, found in zip(*results, strict=True):
        assert torch.equal(expected, found)


def test_pooling_keeps_nothing_for_the_backward_pass():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        SpikingPool(2)(Spikes(torch.rand(2, 3, 4, 4).requires_grad_()))
    assert kept == []


def test_batch_norm_per_step_is_one_batch_norm_per_step_with_shared_affine():
    norm, separate = TimeStepBatchNorm2d(4, 3), [nn.BatchNorm2d(4) for _ in range(3)]
    for _ in range(5):
        norm.reset_state()
        for t in range(3):
            x = torch.randn(6, 4, 3, 3) * (t + 1) + t
            torch.testing.assert_close(norm(x), separate[t](x))
    norm.eval()
    norm.reset_state()
    for t in range(3):
        x = torch.randn(6, 4, 3, 3)
        torch.testing.assert_close(norm(x), separate[t].eval()(x))
    assert sum(p.numel() for p in norm.parameters()) == 8


def test_batch_norm_refuses_a_time_step_too_many():
    norm = TimeStepBatchNorm2d(2, 1)
    norm(torch.randn(4, 2, 3, 3))
    with pytest.raises(RuntimeError, match=r"time step 1 of a network built for time_steps=1: call model.reset_state"):
        norm(torch.randn(4, 2, 3, 3))


def test_string_padding_is_refused():
    with pytest.raises(ValueError, match="padding='same'"):
        BinaryConv2d(2, 2, 3, padding="same")
