"""Packed layers compute what plain ones do, bit by bit, and refuse what they cannot do."""

import copy
import weakref

import pytest
import torch
from torch import nn

from bso_lib.fast.packed_layers import PackedConv2d, PackedLinear, pack, packed_layers, unpack
from bso_lib.fast.packed_optim import PackedBSO, PackedTBSO
from bso_lib.layers import BinaryConv2d, BinaryLinear
from bso_lib.models import resnet18, spiking_mlp, split_parameters, vgg11
from bso_lib.optim import TBSO
from bso_lib.traced import Spikes
from bso_lib.training import predict, train_batch


def small_vgg(**options):
    return vgg11(10, 1, 1 / 16, **{"time_steps": 2, "batch_norm": "per-step"} | options)


def test_pack_and_unpack_keep_the_weights_and_the_memory_order():
    for memory_format in (torch.contiguous_format, torch.channels_last):
        plain = small_vgg().to(memory_format=memory_format).eval()
        packed = pack(plain)
        again = unpack(packed)
        binary = split_parameters(plain)[0]
        assert len(packed_layers(packed)) == len(binary) == 7
        for layer, p, q in zip(packed_layers(packed), binary, split_parameters(again)[0], strict=True):
            assert torch.equal(layer.used_weight(), p)
            assert torch.equal(q, p)
            assert q.stride() == p.stride() == layer.used_weight().stride()
        assert [name for name, _ in again.named_parameters()] == [name for name, _ in plain.named_parameters()]
        assert not packed.training
        assert not any(module.training for module in again.modules())
        x = torch.randn(4, 1, 8, 8)
        assert torch.equal(predict(packed, x, 2), predict(plain, x, 2))
        assert torch.equal(predict(again, x, 2), predict(plain, x, 2))


def test_pack_leaves_the_model_alone_and_shares_nothing():
    plain = small_vgg()
    before = copy.deepcopy(plain.state_dict())
    packed = pack(plain)
    for value in (*packed.parameters(), *packed.buffers()):
        value.data.zero_()
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())


def test_a_state_dict_holds_bits_and_loads():
    first, second = (pack(small_vgg()) for _ in range(2))
    assert first.state_dict()["3.bits"].dtype == torch.uint8
    second.load_state_dict(first.state_dict())
    for a, b in zip(packed_layers(first), packed_layers(second), strict=True):
        assert torch.equal(a.used_weight(), b.used_weight())


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_forward_and_gradients_are_the_plain_layers(traced, autocast):
    conv = BinaryConv2d(6, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)
    for plain, packed, shape in (
        (conv, PackedConv2d(conv), (5, 6, 9, 7)),
        (linear := BinaryLinear(13, 5), PackedLinear(linear), (5, 13)),
    ):
        trace = torch.rand(shape) if traced else None
        seen = []
        packed.update = lambda layer, weight, grad, t, seen=seen: seen.append(grad.float())
        gradients = []
        for layer in (plain, packed):
            with torch.random.fork_rng(), torch.autocast("cpu", torch.bfloat16, enabled=autocast is not None):
                torch.manual_seed(3)
                values = torch.rand(shape).round().requires_grad_()
                out = layer(Spikes(values, trace) if traced else values)
                upstream = torch.randn(out.shape).to(out.dtype)
            out.backward(upstream)
            gradients.append((out, values.grad))
        for a, b in zip(*gradients, strict=True):
            assert torch.equal(a, b)
        assert torch.equal(plain.weight.grad, seen[0])


def test_a_packed_resnet18_trains_as_the_plain_one():
    plain = resnet18(10, 1, 1 / 16, batch_norm="per-step", time_steps=2)
    packed = pack(plain)
    images, labels = torch.randn(6, 1, 28, 28), torch.arange(6)
    flips = TBSO(split_parameters(plain)[0], 2), PackedTBSO(packed, 2)
    for model, flipping in zip((plain, packed), flips, strict=True):
        sgd = torch.optim.SGD(split_parameters(model)[1], lr=0.1)
        for _ in range(3):
            train_batch(model, images, labels, [sgd, flipping], 2)
    again = unpack(packed).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in plain.state_dict().items())


def test_the_first_layer_is_updated_although_its_input_needs_no_gradient():
    model = pack(nn.Sequential(BinaryLinear(6, 3)))
    before = packed_layers(model)[0].used_weight()
    PackedBSO(model, gamma=0.0, beta=0.0)
    model(torch.ones(2, 6)).sum().backward()
    assert bool((before == 1).any())
    assert bool((packed_layers(model)[0].used_weight() == -1).all())  # every gradient is 2: weights of +1 flip


def test_without_optimizer_the_weights_are_frozen_and_the_spikes_get_their_gradient():
    model = pack(spiking_mlp(5, hidden=8))
    before = packed_layers(model)[0].bits.clone()
    model(torch.randn(3, 5)).sum().backward()
    assert torch.equal(packed_layers(model)[0].bits, before)
    assert model[1].weight.grad is not None


def test_no_gradient_of_a_binary_weight_outlives_its_layer():
    model = pack(small_vgg())
    optimizer = PackedTBSO(model, 2)
    alive, sizes, original = [], [], optimizer._update

    def watched(layer, weight, grad, t):
        assert not any(reference() is not None for reference in alive)
        alive.append(weakref.ref(grad.untyped_storage()))
        sizes.append(grad.numel())
        original(layer, weight, grad, t)

    for layer in packed_layers(model):
        layer.update = watched
    train_batch(model, torch.randn(4, 1, 8, 8), torch.randint(10, (4,)), [optimizer], 2)
    assert len(sizes) == 14
    assert not any(reference() is not None for reference in alive)
    assert all(layer.bits.grad is None for layer in packed_layers(model))


@pytest.mark.parametrize(("training", "online"), [("bptt", False), ("accumulated", True)])
def test_bptt_and_accumulated_gradients_are_refused(training, online):
    model = pack(small_vgg(online=online))
    before = [layer.bits.clone() for layer in packed_layers(model)]
    optimizer = PackedTBSO(model, 2, gamma=0.0)
    with pytest.raises(RuntimeError, match=r"for BPTT or accumulated gradients use the plain layers"):
        train_batch(model, torch.randn(4, 1, 8, 8), torch.randint(10, (4,)), [optimizer], 2, training)
    if training == "bptt":  # refused before its only backward pass
        assert all(torch.equal(layer.bits, old) for layer, old in zip(packed_layers(model), before, strict=True))


def test_a_second_backward_pass_is_refused():
    model = pack(nn.Sequential(BinaryLinear(6, 3)))
    PackedBSO(model)
    loss = model(torch.ones(2, 6)).sum()
    loss.backward(retain_graph=True)
    bits = packed_layers(model)[0].bits.clone()
    with pytest.raises(RuntimeError, match="a second backward pass for one update"):
        loss.backward()
    assert torch.equal(packed_layers(model)[0].bits, bits)


def test_a_graph_that_reset_state_gave_up_no_longer_updates():
    model = pack(spiking_mlp(5, hidden=8))
    PackedBSO(model)
    stale = model(torch.randn(3, 5)).sum()
    model.reset_state()
    model(torch.randn(3, 5)).sum().backward()
    with pytest.raises(RuntimeError, match="a second backward pass for one update"):
        stale.backward()


def test_time_steps_are_counted_with_gradient_only():
    model = pack(spiking_mlp(5, hidden=8))
    optimizer = PackedTBSO(model, 3)
    (layer,) = packed_layers(model)
    predict(model, torch.randn(3, 5), 3)
    for t in range(3):
        assert layer.t == t
        model(torch.randn(3, 5)).sum().backward()
        optimizer.step(t=t)
    model.reset_state()
    assert layer.t == 0


def test_copies_do_not_train_with_the_original():
    model = pack(spiking_mlp(5, hidden=8))
    PackedBSO(model, gamma=0.0, beta=0.0)
    twin = copy.deepcopy(model)
    twin(torch.randn(3, 5)).sum().backward()
    assert torch.equal(packed_layers(twin)[0].bits, packed_layers(model)[0].bits)


@pytest.mark.parametrize(("convert", "kind"), [(pack, "binary"), (unpack, "packed")])
def test_a_model_without_such_layers_is_refused(convert, kind):
    with pytest.raises(ValueError, match=f"the model has no {kind} layers"):
        convert(vgg11(10, 1, 1 / 16, weights="real"))


def test_weights_off_the_grid_are_refused():
    plain = small_vgg()
    split_parameters(plain)[0][2].data[0, 0, 0, 0] = 0.5
    with pytest.raises(ValueError, match="are not exactly -1 or"):
        pack(plain)
