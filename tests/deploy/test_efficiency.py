"""Counts against counting by hand, against brute force, and against the package that defines them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from bso_lib.data.images import make_splits
from bso_lib.deploy.efficiency import (
    OPERATIONS,
    connection_sparsity,
    count_operations,
    efficiency,
    footprint_bytes,
    measure_workload,
)
from bso_lib.deploy.network_file import load_packed, packed_size_bytes, save_packed
from bso_lib.layers import BinaryConv2d, BinaryLinear, LatentConv2d, SpikingPool, TracedConv2d, TracedLinear
from bso_lib.models import SpikingNet, resnet18, spiking_mlp, vgg11
from bso_lib.neurons import LIF


def split_of(images):
    """A split that holds uint8 ``images``, all of class 0."""
    return make_splits(images, torch.zeros(len(images)), images, torch.zeros(len(images)), ["only"])[0]


@pytest.fixture
def split():
    return split_of(torch.randint(256, (6, 1, 12, 12), dtype=torch.uint8))


def set_weight(layer, value):
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(value))
    return layer


def test_a_linear_layer_by_hand():
    layer = set_weight(TracedLinear(3, 2), [[1.0, 0.0, 2.0], [3.0, 4.0, 0.0]])
    spikes = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, -1.0]])
    # The first input meets two weights, the second one, the third one; a bias is no synapse.
    assert count_operations(layer, spikes) == {"macs": 0, "acs": 2 + (2 + 1 + 1), "dense": 2 * 6}
    assert count_operations(layer, spikes / 2) == {"macs": 6, "acs": 0, "dense": 12}
    assert connection_sparsity(nn.Sequential(layer)) == 2 / 6


def test_a_conv_by_hand_padding_is_no_synapse():
    layer = BinaryConv2d(1, 2, 3, padding=1)
    corner, centre = torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3)
    corner[0, 0, 0, 0] = centre[0, 0, 1, 1] = 1
    # A corner lies below 4 of the 9 places of each filter, the centre below all of them.
    assert count_operations(layer, corner) == {"macs": 0, "acs": 2 * 4, "dense": 2 * (4 * 4 + 4 * 6 + 9)}
    assert count_operations(layer, centre)["acs"] == 2 * 9
    assert count_operations(layer, torch.zeros(1, 1, 3, 3))["acs"] == 0


def pair_of(values):
    """One number for the rows and one for the columns."""
    return st.tuples(values, values)


@given(
    pair_of(st.integers(1, 3)), st.sampled_from([1, 2]), pair_of(st.integers(1, 2)), pair_of(st.integers(0, 2)),
    pair_of(st.integers(1, 2)), pair_of(st.integers(1, 7)), st.integers(0, 2**32),
)  # fmt: skip
def test_a_conv_of_any_geometry_by_brute_force(kernel, groups, stride, padding, dilation, sides, seed):
    assume(all(s + 2 * p > d * (k - 1) for s, p, d, k in zip(sides, padding, dilation, kernel, strict=True)))
    torch.manual_seed(seed)
    layer = TracedConv2d(2 * groups, 3 * groups, kernel, stride, padding, dilation, groups)
    set_weight(layer, layer.weight * (torch.rand_like(layer.weight) < 0.7))
    x = torch.randn(2, 2 * groups, *sides) * (torch.rand(2, 2 * groups, *sides) < 0.4)

    def conv(inputs, weight):
        return F.conv2d(inputs.double(), weight.double(), None, stride, padding, dilation, groups).sum().round()

    counted = count_operations(layer, x)
    assert counted["macs"] + counted["acs"] == conv(x != 0, layer.weight != 0)
    assert counted["dense"] == conv(torch.ones_like(x), torch.ones_like(layer.weight))
    assert counted["acs"] == 0 or counted["macs"] == 0


def test_a_latent_weight_of_zero_is_a_synapse_because_its_sign_is():
    layer = set_weight(LatentConv2d(1, 1, 1), 0.0)
    assert count_operations(layer, torch.ones(1, 1, 2, 2)) == {"macs": 0, "acs": 4, "dense": 4}
    assert connection_sparsity(nn.Sequential(layer)) == 0


def test_a_network_by_hand():
    # One pixel of value 1 or -1 (after normalisation), two neurons with weights 0.6 and 3, u[t] = u[t-1]/2 + I.
    split = split_of(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1))
    neurons, out = set_weight(TracedLinear(1, 2, bias=False), [[0.6], [3.0]]), set_weight(BinaryLinear(2, 2), 1.0)
    workload = measure_workload(SpikingNet(nn.Flatten(), neurons, LIF(), out), split, 3)
    # Dark: never a spike. Bright: 0.6, 0.9, 1.05 spikes at the last step alone; 3 spikes at every one.
    assert workload.neurons.to_dict("records") == [
        {"layer": "2", "neurons": 2, "spikes": (1 + 3) / 2, "sparsity": pytest.approx(8 / 12)}
    ]
    first, last = workload.connections.to_dict("records")
    assert first == {"layer": "1", "kind": "TracedLinear", "input_sparsity": 0, "macs": 0, "acs": 6, "dense": 6}
    assert last == {"layer": "3", "kind": "BinaryLinear", "input_sparsity": pytest.approx(8 / 12), "macs": 0,
                    "acs": (1 + 3) / 2 * 2, "dense": 12}  # fmt: skip
    assert workload.activation_sparsity == pytest.approx(8 / 12)
    assert workload.synaptic_operations == {"macs": 0, "acs": 10, "dense": 18}


@pytest.mark.parametrize("weights", ["binary", "latent", "real"])
def test_vgg11_accumulates_but_for_the_image_and_after_pools(weights):
    split = split_of(torch.randint(256, (6, 1, 24, 24), dtype=torch.uint8))
    model = vgg11(10, 1, 1 / 16, weights)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    workload = measure_workload(model.train(), split, 2, batch_size=4)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    layers = workload.connections.set_index("layer")
    after_pool = [str(i + 1) for i, m in enumerate(model) if isinstance(m, SpikingPool)]
    for name, row in layers.iterrows():
        assert row["acs" if name in ("0", *after_pool) else "macs"] == 0
        assert row["macs"] + row["acs"] <= row["dense"]
    assert layers.loc["0", "macs"] == layers.loc["0", "dense"]  # a normalised image has no zeros
    whole = measure_workload(model, split, 2, batch_size=6)
    assert whole.synaptic_operations == pytest.approx(workload.synaptic_operations)
    assert whole.neurons.equals(workload.neurons)


def test_resnet18_accumulates_in_its_binary_convs_and_nowhere_else():
    split = split_of(torch.randint(256, (4, 1, 64, 64), dtype=torch.uint8))
    workload = measure_workload(resnet18(10, 1, 1 / 16), split, 2)
    rows = workload.connections
    binary = rows["kind"] == "BinaryConv2d"
    assert (binary.sum(), len(rows), len(workload.neurons)) == (16, 21, 17)
    assert (rows[binary]["macs"] == 0).all()
    assert (rows[~binary]["acs"] == 0).all()  # the image, the currents of the shortcuts, pooled spikes
    stem, first = rows.iloc[0], rows.iloc[1]
    maps = sum(min(7, 64 - (2 * i - 3)) - max(0, 3 - 2 * i) for i in range(32))  # rows of the image met by each output
    assert stem["dense"] == 2 * 4 * maps**2
    assert first["dense"] == 2 * 4 * 4 * (3 * 16 - 2) ** 2  # 16 x 16 maps, 3 x 3 taps, without the padding


def test_per_step_batch_norm_and_event_frames_are_counted_per_time_step():
    model = vgg11(10, 2, 1 / 16, batch_norm="per-step", time_steps=3)

    class Frames:
        def __len__(self):
            return 4

        def batches(self, batch_size):
            frames = torch.zeros(4, 3, 2, 8, 8)
            frames[:, 1] = 1  # events at t = 1 alone
            yield frames, torch.zeros(4)

    workload = measure_workload(model, Frames(), 3)
    first = workload.connections.iloc[0]
    assert first["input_sparsity"] == pytest.approx(2 / 3)
    assert first["acs"] == pytest.approx(first["dense"] / 3)


def test_the_footprint_and_the_packed_file(tmp_path):
    for weights in ("binary", "latent", "real"):
        model = vgg11(10, 1, 1 / 16, weights)
        values = sum(p.numel() for p in model.parameters()) + sum(b.numel() for b in model.buffers())
        counters = 8  # one int64 per BatchNorm
        assert footprint_bytes(model) == 4 * values + 4 * counters
        save_packed(model, tmp_path / weights, latent_as_signs=weights == "latent")
        statistics = 4 * values - 4 * sum(p.numel() for p in model.parameters()) + 4 * counters
        deployed = footprint_bytes(model, deployed=True)
        assert deployed == packed_size_bytes(load_packed(tmp_path / weights)) + statistics
        header = int.from_bytes((tmp_path / weights).read_bytes()[:8], "little")
        assert (tmp_path / weights).stat().st_size == 8 + header + deployed
    assert connection_sparsity(vgg11(10, 1, 1 / 16, "latent")) == 0


def test_a_row_holds_all_of_it(split):
    model = vgg11(10, 1, 1 / 16)
    row = efficiency(model, measure_workload(model, split, 2))
    assert set(row) == {"activation_sparsity", *OPERATIONS, "connection_sparsity", "footprint_bytes", "deployed_bytes"}
    assert 0 < row["activation_sparsity"] <= 1
    assert row["deployed_bytes"] < row["footprint_bytes"]


def test_wrong_input_is_refused(split):
    with pytest.raises(ValueError, match="time_steps=0 on 6 images: must be at least one of each"):
        measure_workload(vgg11(10, 1, 1 / 16), split, 0)
    empty, _ = split.first_per_class(0)
    with pytest.raises(ValueError, match="time_steps=1 on 0 images"):
        measure_workload(vgg11(10, 1, 1 / 16), empty, 1)
    with pytest.raises(ValueError, match="Sequential has no LIF layer"):
        measure_workload(nn.Sequential(nn.Flatten(), TracedLinear(144, 2)), split, 1)


class Values(nn.Module):
    """A layer of ours that hands on tensors, as NeuroBench expects of an activation."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x).values


def plain(layer):
    """The layer of torch that computes as ``layer`` does."""
    if isinstance(layer, TracedConv2d):
        copy = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding, bias=False)
        return set_weight(copy, layer.used_weight().detach())
    if isinstance(layer, TracedLinear):
        copy = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        if layer.bias is not None:
            copy.bias = layer.bias
        return set_weight(copy, layer.used_weight().detach())
    if isinstance(layer, SpikingPool):
        return nn.AvgPool2d(layer.size) if layer.size else nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Values(layer) if isinstance(layer, LIF) else layer


@pytest.mark.parametrize("weights", ["binary", "latent", "real"])
@pytest.mark.parametrize("network", ["vgg11", "mlp"])
def test_neurobench_counts_the_same(split, weights, network):
    metrics = pytest.importorskip("neurobench.metrics.workload")
    static = pytest.importorskip("neurobench.metrics.static")
    from neurobench.models import TorchModel

    model = vgg11(10, 1, 1 / 16, weights) if network == "vgg11" else spiking_mlp(144, 24, 5, weights)
    with torch.no_grad():
        for module in model:
            if isinstance(module, TracedConv2d | TracedLinear) and not isinstance(module, BinaryConv2d | LatentConv2d):
                module.weight.mul_(3)  # or a network this small is silent
        next(m for m in model if isinstance(m, TracedLinear)).weight[0, ::2] = 0  # connection sparsity
    model.eval()
    copy = nn.Sequential(*map(plain, model))

    class OverTime(TorchModel):
        def __call__(self, images):
            for module in self.net.modules():
                if isinstance(module, LIF):
                    module.reset_state()
            return sum(self.net(images) for _ in range(3))

    theirs = OverTime(copy.eval())
    theirs.add_activation_module(Values)
    theirs.register_hooks()
    operations, outputs, zeros = metrics.SynapticOperations(), [], metrics.ActivationSparsity()
    with torch.no_grad():
        for images, labels in split.batches(4):
            predictions = theirs(images)
            counted = operations(theirs, predictions, (images, labels))
            outputs.append((zeros(theirs, predictions, (images, labels)), len(images)))
            theirs.reset_hooks()
    theirs.cleanup_hooks()
    ours = efficiency(model, measure_workload(model, split, 3, batch_size=4))
    assert ours["macs"] == pytest.approx(counted["Effective_MACs"], rel=1e-12)
    assert ours["acs"] == pytest.approx(counted["Effective_ACs"], rel=1e-12)
    assert ours["dense"] == pytest.approx(counted["Dense"], rel=1e-12)
    assert ours["acs"] > 0
    assert ours["activation_sparsity"] == pytest.approx(sum(s * n for s, n in outputs) / len(split), rel=1e-12)
    assert ours["footprint_bytes"] == static.Footprint()(theirs)
    assert round(ours["connection_sparsity"], 4) == pytest.approx(static.ConnectionSparsity()(theirs), abs=1e-12)
