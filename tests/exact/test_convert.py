"""exact(model): what it converts, what it refuses, and how near its layers are to the float ones."""

from dataclasses import replace

import pytest
import torch
from activations import activation_bytes_per_neuron
from torch import nn

from bso_lib.exact.convert import exact
from bso_lib.exact.lif import WholeSpikes
from bso_lib.exact.loss import cross_entropy
from bso_lib.experiment.build import Trainer, build_model
from bso_lib.experiment.config import RunConfig
from bso_lib.fast.packed_layers import pack, packed_layers, unpack
from bso_lib.layers import BinaryConv2d, SpikingPool, TimeStepBatchNorm2d, TracedConv2d, TracedLinear
from bso_lib.models import SpikingNet, resnet18, vgg11
from bso_lib.neurons import LIF

TINY = RunConfig(width=1 / 32, batch_norm="per-step", arithmetic="exact", record_flips=False, device="cpu")


def images(n=8, channels=1, side=16):
    return torch.randn(n, channels, side, side).contiguous(memory_format=torch.channels_last)


def block(conv, **lif):
    return SpikingNet(LIF(**lif), conv, TimeStepBatchNorm2d(5, 2)).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("weights", ["binary", "latent", "latent-unclipped", "real"])
@pytest.mark.parametrize("make", [vgg11, resnet18])
@pytest.mark.parametrize("batch_norm", ["shared", "per-step"])
def test_a_copy_answers_nearly_as_the_model(make, weights, batch_norm):
    model = make(10, 1, 1 / 16, weights, batch_norm=batch_norm, time_steps=2).to(memory_format=torch.channels_last)
    for module in model.modules():  # statistics of some training, so that neurons fire
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(9.0 if weights != "real" else 0.1)
    copy = exact(model)
    assert {n: v.shape for n, v in copy.state_dict().items()} == {n: v.shape for n, v in model.state_dict().items()}
    assert not any(a.data_ptr() == b.data_ptr() for a, b in zip(model.parameters(), copy.parameters(), strict=True))
    x = images(side=32)
    with torch.no_grad():
        for net in (model.eval(), copy.eval()):
            net.reset_state()
        a, b = model(x), copy(x)
    # A potential next to the threshold may come to lie on its other side, in a few samples.
    assert ((a - b).abs() < 0.05 * a.std() + 1e-3).double().mean() > 0.7


def test_a_binary_layer_and_its_gradients_are_near_the_float_ones():
    """One conv and BatchNorm: the outputs agree to the digits of A, the gradients on average over roundings."""
    conv = BinaryConv2d(4, 5, 3, padding=1)
    plain, copy = block(conv), exact(block(conv))
    current = torch.randn(16, 4, 9, 9).contiguous(memory_format=torch.channels_last)
    upstream = torch.randn(16, 5, 9, 9).contiguous(memory_format=torch.channels_last)

    def gradients(net, batch):
        x = current.clone().requires_grad_()
        net.noise = getattr(net, "noise", None)
        if net.noise is not None:
            net.noise.batch = batch
        for module in net.modules():
            if module is not net and hasattr(module, "reset_state"):
                module.reset_state()
        y = net(x)
        net.zero_grad()
        y.backward(upstream)
        return y.detach(), x.grad, net[1].weight.grad.clone(), net[2].weight.grad.clone(), net[2].bias.grad.clone()

    expected = gradients(plain, 0)
    found = [gradients(copy, k) for k in range(100)]
    torch.testing.assert_close(found[0][0], expected[0], rtol=0, atol=2e-3)
    assert all(torch.equal(f[0], found[0][0]) for f in found)
    torch.testing.assert_close(found[0][3], expected[3], rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(found[0][4], expected[4], rtol=1e-3, atol=1e-3)
    for i in (1, 2):
        mean = torch.stack([f[i] for f in found]).mean(0)
        error = (mean - expected[i]).abs().mean() / expected[i].abs().mean()
        assert error < (0.02 if i == 1 else 0.01)
    assert not torch.equal(found[0][2], found[1][2])  # each batch rounds anew


def test_weight_gradients_are_whole_multiples_of_one_power_of_two():
    trainer = Trainer(TINY, build_model(TINY, 10, 1), batches=1)
    gradients = []
    binary = trainer.optimizers[-1].param_groups[0]["params"]
    trainer.optimizers[-1].register_step_pre_hook(lambda *_: gradients.extend(p.grad.clone() for p in binary))
    trainer.model.train()
    trainer.step(images(32), torch.randint(10, (32,)))
    assert len(gradients) == 14
    for g in gradients:
        exponent = int(torch.frexp(g[g != 0].abs().min())[1])
        whole = (g.double() * 2.0 ** (24 - exponent)).long()  # whatever float32 numbers they are, these are whole
        lowest_bit = min(w & -w for w in whole.flatten().tolist() if w)
        assert (whole // lowest_bit).abs().max() < 2**20  # a sum of real numbers would need 2^24 and more
        assert g.unique().numel() > 10


def test_a_trace_is_a_byte_that_forgets_after_eight_steps():
    """The trace of LIF to the bit for eight time steps; then what is below 2^-7 is dropped."""
    plain, byte = LIF(), exact(SpikingNet(LIF()))[0]
    for t in range(20):
        current = torch.randn(50, 30) + 0.5
        a, b = plain(current).trace, byte(current).trace
        assert b.dtype == torch.uint8
        difference = a - b.float() / 128
        assert difference.min() >= 0
        assert difference.max() == 0 if t < 8 else difference.max() < 2**-6


@pytest.mark.parametrize("sizes", [(2,), (None,), (2, 2), (2, None)])
def test_pools_add_up_whole_numbers(sizes):
    """Means of spikes and traces over squares and whole maps; their gradient goes to the spikes in equal parts."""
    current = (torch.randn(4, 3, 7, 7) + 0.5).contiguous(memory_format=torch.channels_last)
    pools = [SpikingPool(size) for size in sizes]
    found = []
    for net in (nets := SpikingNet(LIF(), *pools), exact(nets)):
        x = current.clone().requires_grad_()
        for _ in range(3):
            out = net(x)
        values = out.graph if isinstance(out, WholeSpikes) else out.values
        values.backward(torch.arange(values.numel()).view(values.shape) / 16)
        found.append((out, x.grad))
    (plain, plain_grad), (whole, grad) = found
    if isinstance(whole, WholeSpikes):
        assert whole.graph.isnan().all()
        assert torch.equal(whole.whole * 2.0**-whole.bits, plain.values)
        assert torch.equal(whole.trace * whole.trace_unit, plain.trace)
    else:
        assert torch.equal(whole.values, plain.values)
        torch.testing.assert_close(whole.trace, plain.trace)
    assert (grad - plain_grad).abs().max() < 0.02 * plain_grad.abs().max()  # the surrogate is a table


@pytest.mark.parametrize("trace", ["ottt", "ndot", "none"])
def test_a_linear_layer_takes_spikes_without_a_pool(trace):
    layer = TracedLinear(20, 3)
    found = []
    for net in (plain := SpikingNet(LIF(trace), layer), exact(plain)):
        torch.manual_seed(1)
        for _ in range(3):
            x = (torch.randn(8, 20) + 0.5).requires_grad_()
            y = net(x)
        net.zero_grad()
        y.backward(torch.ones_like(y))
        found.append((y, net[1].weight.grad, x.grad))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0.02, atol=1e-2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_not_hidden_in_whole_numbers(bad):
    net = exact(block(BinaryConv2d(4, 5, 3)))
    y = net(torch.randn(2, 4, 9, 9).contiguous(memory_format=torch.channels_last).requires_grad_())
    upstream = torch.ones_like(y)
    upstream[0, 0, 0, 0] = bad
    y.backward(upstream)
    assert not net[1].weight.grad.isfinite().any()


def test_what_is_kept_for_the_backward_pass_is_small():
    """Per neuron 4 bytes of potential, 2 of a convolution's output (4 of the first), and 1 of the trace or less."""
    model = build_model(replace(TINY, width=0.25), 10, 3).train()  # wide enough that the image hardly counts
    assert activation_bytes_per_neuron(exact(model), images(4, 3, 32), 2) <= 7.5
    assert activation_bytes_per_neuron(model, images(4, 3, 32), 2) > 10


@pytest.mark.parametrize("trace", ["ottt", "ndot", "none"])
def test_traces_are_multiples_of_a_power_of_two_within_their_bound(trace):
    net = exact(SpikingNet(LIF(trace), BinaryConv2d(3, 4, 3), TimeStepBatchNorm2d(4, 5)))
    lif, conv, _ = net
    for t in range(5):
        spikes = lif(torch.randn(50, 3, 6, 6) + 0.5)
        a = spikes.whole.float() if spikes.trace is None else spikes.trace * spikes.trace_unit
        unit = 2.0 ** -(7 if trace == "ndot" else t)
        assert torch.equal(a / unit, (a / unit).round())
        assert a.abs().max() / unit <= conv.largest_trace(t)


def test_packed_and_plain_train_alike():
    x, labels = images(16), torch.randint(10, (16,))
    found = []
    for packed in ("no", "float32"):
        config = replace(TINY, packed=packed, gamma=1e-4, beta1=0.9)
        trainer = Trainer(config, build_model(config, 10, 1), batches=2)
        trainer.model.train()
        for _ in range(3):
            trainer.step(x, labels)
        found.append(trainer.weights() | {f"{n} M": m for n, m in trainer.momentum().items()})
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


def test_a_packed_network_answers_exactly_as_the_plain_one():
    model = vgg11(10, 1, 1 / 16, batch_norm="per-step", time_steps=2).eval()
    packed = pack(model)
    a, b = exact(model), exact(packed)
    assert len(packed_layers(b)) == 7
    assert len(packed_layers(unpack(b))) == 0
    x = images(side=32)
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(a.eval()(x), b.eval()(x))


def test_each_batch_of_training_has_its_number():
    net = exact(vgg11(10, 1, 1 / 64, time_steps=1), seed=5)
    assert net.noise.seed == 5
    before = net.noise.batch
    net.reset_state()
    net.eval().reset_state()
    with torch.no_grad():
        net.train().reset_state()
    assert net.noise.batch == before + 1
    other = exact(vgg11(10, 1, 1 / 64, time_steps=1))
    other.noise.load_state_dict(net.noise.state_dict())
    assert other.noise.batch == net.noise.batch
    assert all(m.noise is net.noise for m in net.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)], "0 is a Conv2d, which has no exact form"),
        ([TracedConv2d(1, 2, 3), LIF()], "not followed by its BatchNorm"),
        ([LIF(), BinaryConv2d(1, 2, 3)], "not followed by its BatchNorm"),
        ([BinaryConv2d(1, 2, 3), nn.BatchNorm2d(2)], "real-valued input"),
        ([LIF(), BinaryConv2d(4000, 2, 3), nn.BatchNorm2d(2)], "too many inputs"),
        ([LIF(), SpikingPool(3), BinaryConv2d(1, 2, 3), nn.BatchNorm2d(2)], "1 pools by 3"),
        ([nn.AvgPool2d(3)], "0 pools by 3: exact arithmetic needs a power of two"),
        ([SpikingPool(2), LIF()], "no neurons before it"),
        ([LIF(), BinaryConv2d(1, 2, 3), nn.BatchNorm2d(2, affine=False)], "2 has affine=False"),
        ([LIF(), BinaryConv2d(1, 2, 3), nn.BatchNorm2d(2, momentum=None)], "2 has momentum=None"),
        ([LIF(decay=0.25)], "0 has decay=0.25: exact arithmetic needs 0.5"),
    ],
)
def test_what_has_no_exact_form_is_refused(layers, message):
    with pytest.raises(ValueError, match=message):
        exact(SpikingNet(*layers))


def test_inputs_out_of_all_proportion_are_named():
    net = exact(vgg11(10, 1, 1 / 64, time_steps=1)).eval()
    with (
        torch.no_grad(),
        pytest.raises(ArithmeticError, match="input of a convolution is not finite, or too large"),
    ):
        net(torch.full((1, 1, 8, 8), 1e12))


def test_evaluation_does_not_depend_on_what_else_is_in_the_batch():
    net = exact(resnet18(10, 1, 1 / 16, time_steps=1)).eval()
    x = images(6, side=32)
    with torch.no_grad():
        whole = net(x)
        net.reset_state()
        assert torch.equal(whole[2:4], net(x[2:4]))


def test_a_step_with_the_exact_loss_needs_nothing_of_a_run():
    net = exact(vgg11(10, 1, 1 / 32, time_steps=1)).train()
    loss = cross_entropy(net(images()), torch.randint(10, (8,)))
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())
