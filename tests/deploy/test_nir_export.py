"""A NIR graph, written, read and run step by step by a reader of its own, spikes as the network does."""

import builtins

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bso_lib.deploy.nir_export import TIME_STEP, export_nir, nir_graph
from bso_lib.layers import BinaryConv2d, BinaryLinear, LatentConv2d, SpikingPool, TracedConv2d, TracedLinear
from bso_lib.models import SpikingNet, resnet18, spiking_mlp, vgg11
from bso_lib.neurons import LIF
from bso_lib.training import predict

AWAY_FROM_TIES = 1e-5  # |u - V_th| at which float32 and float64 must decide alike
TOLERANCE = 1e-4  # on the logits summed over time


def settled(model, shape):
    """``model`` with random affine parameters and running statistics of random inputs, in evaluation."""
    for layer in model:
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.affine:
            nn.init.uniform_(layer.weight, -1.5, 1.5)
            nn.init.normal_(layer.bias, 0.5, 0.5)
    with torch.no_grad():
        for _ in range(10):
            model.reset_state()
            model(torch.randn(32, *shape))
    model.reset_state()
    return model.eval()


class Reader:
    """Runs a NIR graph in float64 by forward Euler, subtracting the threshold once per spike."""

    def __init__(self, graph):
        self.graph, self.dt = graph, float(graph.metadata["dt"])
        self.state, self.margin = {}, None

    def step(self, x):
        """Return ({node: its output}, the graph's output) of one time step of the batch ``x``."""
        follower, values = dict(self.graph.edges), {}
        name = next(iter(self.graph.inputs))
        while name not in self.graph.outputs:
            x = values[name] = self.run(name, self.graph.nodes[name], x)
            name = follower[name]
        return values, x

    def run(self, name, node, x):
        kind = type(node).__name__
        tensor = {k: torch.as_tensor(v).double() for k, v in vars(node).items() if hasattr(v, "dtype") and v.ndim}
        if kind == "Conv2d":
            stride, padding, dilation = (tuple(map(int, v)) for v in (node.stride, node.padding, node.dilation))
            return F.conv2d(x, tensor["weight"], tensor["bias"], stride, padding, dilation, int(node.groups))
        if kind == "Affine":
            return x @ tensor["weight"].T + tensor["bias"]
        if kind == "AvgPool2d":
            return F.avg_pool2d(x, tuple(map(int, node.kernel_size)), tuple(map(int, node.stride)))
        if kind == "Flatten":
            return x.flatten(1 + int(node.start_dim))
        if kind == "LIF":
            v = self.state.get(name, torch.zeros_like(x))
            v = v + self.dt / tensor["tau"] * (tensor["v_leak"] - v + tensor["r"] * x)
            spikes = (v > tensor["v_threshold"]).double()
            self.state[name] = v - spikes * tensor["v_threshold"]
            margin = (v - tensor["v_threshold"]).abs().flatten(1).amin(1)
            self.margin = margin if self.margin is None else torch.minimum(self.margin, margin)
            return spikes
        assert kind == "Input", kind
        return x


def assert_read_as_it_runs(model, path, shape, time_steps=4, samples=24):
    nir = pytest.importorskip("nir")
    model = settled(model, shape)
    export_nir(model, path, shape)
    frames = torch.randn(samples, time_steps, *shape)
    reader, total, same = Reader(nir.read(path)), 0.0, torch.ones(samples, dtype=torch.bool)
    spikes = []
    hooks = [m.register_forward_hook(lambda _m, _i, o: spikes.append(o.values)) for m in model if isinstance(m, LIF)]
    with torch.no_grad():
        for t in range(time_steps):
            spikes.clear()
            model(frames[:, t])
            values, logits = reader.step(frames[:, t].double())
            total = total + logits
            read = [value for name, value in values.items() if type(reader.graph.nodes[name]).__name__ == "LIF"]
            assert len(read) == len(spikes)
            for ours, theirs in zip(spikes, read, strict=True):
                assert 0 < float(ours.mean()) < 1  # or the layer would not be tested
                same &= (ours == theirs).flatten(1).all(1)
    for hook in hooks:
        hook.remove()
    clear = reader.margin > AWAY_FROM_TIES
    assert int(clear.sum()) >= samples // 2
    assert bool(same[clear].all())
    expected = predict(model, frames, time_steps)
    assert torch.allclose(total[clear].float(), expected[clear], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("weights", ["binary", "latent", "real"])
def test_vgg11_round_trip(tmp_path, weights):
    assert_read_as_it_runs(vgg11(10, 2, 1 / 16, weights), tmp_path / "net.nir", (2, 16, 16))


def test_linear_layers_round_trip(tmp_path):
    model = SpikingNet(
        nn.Flatten(), TracedLinear(12, 16), nn.BatchNorm1d(16), LIF(decay=0.75), BinaryLinear(16, 16),
        nn.BatchNorm1d(16, affine=False), LIF(threshold=0.5), TracedLinear(16, 3),
    )  # fmt: skip
    assert_read_as_it_runs(model, tmp_path / "net.nir", (3, 2, 2))


def test_every_geometry_of_a_conv_round_trips(tmp_path):
    model = SpikingNet(
        TracedConv2d(2, 8, 5, stride=(1, 2), padding=(2, 1)), nn.BatchNorm2d(8), LIF(),
        BinaryConv2d(8, 12, 3, stride=2, padding=2, dilation=2), nn.BatchNorm2d(12), LIF(),
        LatentConv2d(12, 6, 1), nn.BatchNorm2d(6), LIF(threshold=0.5), SpikingPool(None), TracedLinear(6, 4),
    )  # fmt: skip
    assert_read_as_it_runs(model, tmp_path / "net.nir", (2, 12, 11))


def test_a_filter_of_a_binary_conv_keeps_one_bit_per_weight(tmp_path):
    nir = pytest.importorskip("nir")
    export_nir(settled(vgg11(10, 1, 1 / 16), (1, 8, 8)), tmp_path / "net.nir", (1, 8, 8))
    convs = [node for node in nir.read(tmp_path / "net.nir").nodes.values() if type(node).__name__ == "Conv2d"]
    kept = [all(len(set(abs(f).ravel().tolist())) == 1 for f in conv.weight) for conv in convs]
    assert len(kept) == 8
    assert kept.count(False) == 1  # the first conv is real-valued


def test_the_neuron_is_ours_in_one_euler_step_and_the_graph_says_what_to_do():
    pytest.importorskip("nir")
    graph = nir_graph(SpikingNet(LIF(decay=0.75, threshold=2.0), TracedLinear(3, 2)), (3,))
    lif = graph.nodes["lif"]
    assert 1 - TIME_STEP / lif.tau == pytest.approx(0.75)
    assert lif.r * TIME_STEP / lif.tau == pytest.approx(1.0)
    assert lif.v_threshold.tolist() == [2.0] * 3
    assert lif.v_leak.tolist() == lif.v_reset.tolist() == [0.0] * 3
    assert graph.metadata == {"dt": TIME_STEP, "reset": "subtract v_threshold", "readout": "sum over time steps"}


def test_another_tool_reads_and_runs_the_graph(tmp_path):
    nir, snntorch = pytest.importorskip("nir"), pytest.importorskip("snntorch")
    pytest.importorskip("nirtorch")
    from snntorch.import_nir import import_from_nir

    model = settled(vgg11(10, 1, 1 / 16), (1, 12, 12))
    export_nir(model, tmp_path / "net.nir", (1, 12, 12))
    net = import_from_nir(nir.read(tmp_path / "net.nir"))
    for module in net.modules():
        if isinstance(module, snntorch.Leaky):
            module.reset_mechanism = "subtract"
            module.mem_reset = torch.zeros_like  # else it subtracts twice where a potential stays above the threshold
    image = torch.randn(1, 1, 12, 12)
    with torch.no_grad():
        steps = [net(image[0]) for _ in range(4)]
        total = sum(step[0] if isinstance(step, tuple) else step for step in steps)
    assert torch.allclose(total, predict(model, image, 4)[0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("model", "shape", "error", "message"),
    [
        (vgg11(10, 1, 1 / 16, batch_norm="per-step", time_steps=2), (1, 8, 8), TypeError,
         "layer 1, a TimeStepBatchNorm2d, cannot be exported: one graph cannot normalise each time step differently"),
        (spiking_mlp(4, 3), (4,), TypeError, "layer 2, a LayerNorm, cannot be exported: it depends on the input"),
        (SpikingNet(nn.ReLU()), (4,), TypeError, "layer 0, a ReLU, cannot be exported$"),
        (SpikingNet(TracedConv2d(2, 2, 3, groups=2)), (2, 8, 8), TypeError, "layer 0: NIR infers no shape for groups"),
        (SpikingNet(TracedConv2d(2, 2, (1, 3))), (2, 8, 8), TypeError, "layer 0: .* kernel that is not square"),
        (resnet18(10, 1, 1 / 16), (1, 32, 32), TypeError, "layer 2, a AvgPool2d, cannot be exported: .* no shortcuts"),
        (nn.ModuleList(), (4,), TypeError, "ModuleList is not a plain sequence of layers"),
        (SpikingNet(LIF(), nn.BatchNorm1d(4)), (4,), ValueError, "layer 1 is a BatchNorm1d without a conv or linear"),
        (vgg11(10, 1, 1 / 16), (3, 8, 8), ValueError, r"layer 0, a TracedConv2d, takes \(1, H, W\): .* \(3, 8, 8\)"),
        (vgg11(10, 1, 1 / 16), (8, 8), ValueError, r"layer 0, a TracedConv2d, takes \(1, H, W\): .* \(8, 8\)"),
        (SpikingNet(TracedLinear(4, 2)), (2, 2), ValueError, r"layer 0, a TracedLinear, takes \(4,\): .* \(2, 2\)"),
    ],
)  # fmt: skip
def test_what_no_graph_can_hold_is_refused(model, shape, error, message, tmp_path):
    pytest.importorskip("nir")
    with pytest.raises(error, match=message):
        export_nir(model, tmp_path / "net.nir", shape)
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_the_extra_is_named(monkeypatch):
    found = builtins.__import__

    def without_nir(name, *arguments, **keywords):
        if name == "nir":
            raise ImportError("No module named 'nir'")
        return found(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_nir)
    with pytest.raises(ImportError, match=r"needs the package nir: pip install 'bso-lib\[deploy\]'"):
        nir_graph(vgg11(10, 1, 1 / 16), (1, 8, 8))
