"""Online and BPTT gradients against independent references; memory; evaluation."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from bso_lib.data.images import make_splits
from bso_lib.experiment.published_code import mixed_loss
from bso_lib.layers import LatentConv2d, TracedConv2d
from bso_lib.models import split_parameters, vgg11
from bso_lib.optim import BSO, TBSO
from bso_lib.traced import Spikes
from bso_lib.training import evaluate, predict, train_batch


class Recorder(torch.optim.SGD):
    """An optimizer that changes nothing and notes the gradients it was given."""

    def __init__(self, params):
        super().__init__(params, lr=0.0)
        self.seen = []

    def step(self, closure=None):
        self.seen.append([p.grad.clone() for group in self.param_groups for p in group["params"]])


def small_net(**options):
    torch.manual_seed(1)
    return vgg11(10, 1, width=1 / 16, **{"batch_norm": "per-step", "time_steps": 4, **options}).double()


def gradients(net, images, labels, time_steps, training):
    recorder = Recorder(net.parameters())
    loss, logits = train_batch(net, images.double(), labels, [recorder], time_steps, training)
    return recorder.seen, loss, logits


def unrolled_reference(net, images, labels, time_steps):
    """The same network written as one function of its weights, its surrogate by the detach trick; plain autograd."""
    parameters = list(net.parameters())

    def spike(u):
        smooth = torch.sigmoid(4 * (u - 1))
        return (u >= 1).double() + smooth - smooth.detach()

    plan = (64, 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512)
    membranes, loss = {}, 0.0
    for _ in range(time_steps):
        x, values = images.double(), iter(parameters)
        for index, item in enumerate(plan):
            if item == "pool":
                x = F.avg_pool2d(x, 2)
                continue
            weight, gain, offset = next(values), next(values), next(values)
            x = F.conv2d(x, weight, padding=1)
            mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
            x = (x - mean) / (var + 1e-5).sqrt() * gain.view(1, -1, 1, 1) + offset.view(1, -1, 1, 1)
            u = x + (0.5 * membranes[index] if index in membranes else 0.0)
            x = spike(u)
            membranes[index] = u - (u >= 1).double()
        loss = loss + F.cross_entropy(x.mean((2, 3)) @ next(values).t() + next(values), labels) / time_steps
    return torch.autograd.grad(loss, parameters), loss


@pytest.mark.parametrize("weights", ["binary", "real"])
def test_bptt_is_autograd_through_the_unrolled_network(tiny_batch, weights):
    net = small_net(weights=weights, online=False)
    seen, loss, _ = gradients(net, *tiny_batch, 4, "bptt")
    expected, expected_loss = unrolled_reference(net, *tiny_batch, 4)
    torch.testing.assert_close(loss, expected_loss.detach())
    assert len(seen) == 1
    for ours, reference in zip(seen[0], expected, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-7, atol=1e-12)
    assert max(float(g.abs().max()) for g in seen[0]) > 1e-4


def test_one_online_step_without_history_is_plain_autograd(tiny_batch):
    for trace in ("none", "ottt", "ndot"):
        seen, _, _ = gradients(small_net(trace=trace), *tiny_batch, 1, "online")
        expected, _ = unrolled_reference(small_net(online=False), *tiny_batch, 1)
        for ours, reference in zip(seen[0], expected, strict=True):
            torch.testing.assert_close(ours, reference, rtol=1e-7, atol=1e-12)


def test_sltt_sums_the_gradients_of_the_steps_through_space(tiny_batch):
    online, _, _ = gradients(small_net(trace="none"), *tiny_batch, 3, "online")
    assert len(online) == 3  # Recorder's zero_grad ran in between: one gradient per step
    accumulated, _, _ = gradients(small_net(trace="none"), *tiny_batch, 3, "accumulated")
    assert len(accumulated) == 1
    for total, *parts in zip(accumulated[0], *online, strict=True):
        torch.testing.assert_close(total, sum(parts))


def test_the_trace_changes_binary_gradients_and_leaves_the_first_conv_alone(tiny_batch):
    plain, _, _ = gradients(small_net(trace="none"), *tiny_batch, 3, "online")
    traced, _, _ = gradients(small_net(trace="ottt"), *tiny_batch, 3, "online")
    for a, b in zip(plain[0], traced[0], strict=True):
        torch.testing.assert_close(a, b)  # at t = 0 the trace is the spikes
    torch.testing.assert_close(plain[2][0], traced[2][0])  # analog input: no trace
    assert not torch.allclose(plain[2][3], traced[2][3])


def saved_bytes_peak(training, time_steps, images, labels):
    """Return the peak of bytes that autograd holds for backward during one training step."""
    live = {"now": 0, "peak": 0}

    class Held:
        def __init__(self, tensor):
            self.tensor, self.size = tensor, tensor.numel() * tensor.element_size()
            live["now"] += self.size
            live["peak"] = max(live["peak"], live["now"])

        def __del__(self):
            live["now"] -= self.size

    net = small_net(online=training != "bptt", time_steps=8)
    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        gradients(net, images, labels, time_steps, training)
    assert live["now"] == 0  # nothing is kept after the step
    return live["peak"]


def test_online_memory_does_not_depend_on_time_steps_and_bptt_grows(tiny_batch):
    online = [saved_bytes_peak("online", steps, *tiny_batch) for steps in (1, 2, 8)]
    assert online[0] == online[1] == online[2]
    bptt = [saved_bytes_peak("bptt", steps, *tiny_batch) for steps in (1, 2, 8)]
    assert 1.8 < bptt[1] / bptt[0] < 2.2
    assert 7 < bptt[2] / bptt[0] < 9


def test_neurons_hold_membrane_and_trace_only(tiny_batch):
    net = small_net()
    net(tiny_batch[0].double())
    held = [
        value
        for module in net.modules()
        for name, value in vars(module).items()
        if isinstance(value, torch.Tensor) and name not in ("potential", "trace")
    ]
    assert held == []


def test_bso_and_tbso_train_without_a_latent_copy(tiny_batch):
    for make in (lambda b: BSO(b, gamma=0.0, beta=0.9), lambda b: TBSO(b, 2, beta1=0.9)):
        net = small_net(time_steps=2)
        assert not any(isinstance(m, LatentConv2d) for m in net)
        binary, real = split_parameters(net)
        before = [p.detach().clone() for p in binary]
        optimizers = [torch.optim.SGD(real, lr=0.1), make(binary)]
        losses = [float(train_batch(net, tiny_batch[0].double(), tiny_batch[1], optimizers, 2)[0]) for _ in range(30)]
        assert all(bool((p.abs() == 1).all()) for p in binary)
        assert any(not torch.equal(p, b) for p, b in zip(binary, before, strict=True))
        assert sum(losses[-5:]) < sum(losses[:5])


def test_events_give_frame_t_at_step_t():
    net, frames = small_net(time_steps=3).eval(), torch.randn(2, 3, 1, 12, 12).double()
    with torch.no_grad():
        net.reset_state()
        expected = sum(net(frames[:, t]) for t in range(3))
    torch.testing.assert_close(predict(net, frames, 3), expected)


def test_bfloat16_gradients_of_a_traced_conv_are_float32_and_close():
    layer, spikes, trace = TracedConv2d(8, 8, 3), torch.randint(2, (4, 8, 6, 6)).float(), torch.rand(4, 8, 6, 6)
    upstream, found = torch.randn(4, 8, 4, 4), {}
    for autocast in (False, True):
        x = spikes.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = layer(Spikes(x, trace))
        found[autocast] = torch.autograd.grad(out, (x, layer.weight), upstream.to(out.dtype))
    assert out.dtype == torch.bfloat16
    for full, low in zip(found[False], found[True], strict=True):
        assert low.dtype == torch.float32
        assert float((full - low).norm() / full.norm()) < 0.02


def test_bfloat16_trains_and_keeps_float32_weights(tiny_batch):
    net = small_net(time_steps=2).float()
    binary, real = split_parameters(net)
    optimizers = [torch.optim.SGD(real, lr=0.1), TBSO(binary, 2, beta1=0.9)]
    losses = [float(train_batch(net, *tiny_batch, optimizers, 2, autocast=torch.bfloat16)[0]) for _ in range(30)]
    assert sum(losses[-5:]) < sum(losses[:5])
    assert all(p.dtype == torch.float32 for p in net.parameters())


def test_evaluate_counts_in_evaluation_mode_and_restores_training():
    images = torch.randint(0, 256, (40, 1, 12, 12), dtype=torch.uint8)
    split, _ = make_splits(images, torch.arange(40) % 10, images, torch.arange(40) % 10, "abcdefghij")
    net = small_net(time_steps=2).float()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    accuracy = evaluate(net, split, 2, batch_size=7)
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    net.eval()
    images, labels = next(split.batches(40))
    assert accuracy == 100 * int((predict(net, images, 2).argmax(1) == labels).sum()) / 40


@pytest.mark.parametrize("training", ["online", "bptt"])
def test_the_published_codes_loss_mixes_in_the_squared_error(tiny_batch, training):
    images, labels = tiny_batch
    net = small_net(weights="real", online=training != "bptt")
    recorder = Recorder(net.parameters())
    mixed = partial(mixed_loss, mse_weight=0.25)
    loss, _ = train_batch(net, images.double(), labels, [recorder], 2, training, loss=mixed)
    expected = 0.0
    net.reset_state()
    for _ in range(2):
        logits = net(images.double())
        squared = (logits - torch.eye(10).double()[labels]).square().mean()
        expected = expected + (0.75 * F.cross_entropy(logits, labels) + 0.25 * squared) / 2
    torch.testing.assert_close(loss, expected.detach())


def test_an_unknown_training_is_refused(tiny_batch):
    with pytest.raises(ValueError, match="training='rtrl': must be one of online, accumulated, bptt"):
        train_batch(small_net(), *tiny_batch, [], 1, "rtrl")


def test_bptt_refuses_a_network_that_cuts_the_path_through_time(tiny_batch):
    model = vgg11(10, 1, 1 / 16, online=True)
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=r"^training='bptt' needs the gradient through time: build"):
        train_batch(model, *tiny_batch, [torch.optim.SGD(model.parameters(), lr=0.1)], 2, "bptt")
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
