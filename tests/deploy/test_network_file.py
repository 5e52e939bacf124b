"""Bits survive any shape; a loaded network is the saved one to the bit; nothing else is loaded at all."""

import hashlib
import json
import pickle
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save, save_file
from torch import nn

from bso_lib.deploy import network_file as packing
from bso_lib.deploy.architecture import DEPLOYED_AS
from bso_lib.deploy.network_file import PackedFileError, load_packed, packed_size_bytes, save_packed, unpack_signs
from bso_lib.exact.convert import exact
from bso_lib.fast.bits import pack_signs
from bso_lib.layers import CONVS, LINEARS, BinaryConv2d, BinaryLinear, grid_sign, random_grid_
from bso_lib.models import resnet18, spiking_mlp, split_parameters, vgg11
from bso_lib.optim import BSO
from bso_lib.training import online_step, predict

SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


def trained(model, images, labels, time_steps):
    """A few steps of training, so that running statistics and latent weights are not those of the start."""
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5) if p.dim() == 1 else None
    binary, real = split_parameters(model)
    optimizers = [torch.optim.SGD(real, lr=0.1)] + ([BSO(binary, gamma=0, beta=0.5)] if binary else [])
    for _ in range(2):
        online_step(model, images, labels, optimizers, time_steps)
    return model.eval()


@given(SHAPES, st.integers(0, 2**32))
def test_bits_survive_any_shape(shape, seed):
    torch.manual_seed(seed)
    weight = random_grid_(torch.empty(shape))
    bits = pack_signs(weight.flatten())
    assert bits.dtype == torch.uint8
    assert bits.numel() == (weight.numel() + 7) // 8
    assert torch.equal(unpack_signs(bits, shape), weight)


def test_the_order_of_the_bits_is_the_documented_one():
    weight = -torch.ones(2, 5)
    weight[0, 0] = weight[0, 3] = weight[1, 4] = 1  # 0, 3 and 9 of the flattened tensor
    assert pack_signs(weight.flatten()).tolist() == [0b0000_1001, 0b0000_0010]
    assert pack_signs(torch.ones(3)).tolist() == [0b111]


@given(st.integers(1, 40), st.sampled_from([0.0, -0.5, 2.0, float("nan")]), st.data())
def test_a_weight_off_the_grid_does_not_fit_into_a_bit(count, wrong, data):
    weight = torch.ones(count)
    weight[data.draw(st.integers(0, count - 1))] = wrong
    with pytest.raises(ValueError, match=f"1 of {count} weights are not exactly -1 or \\+1"):
        pack_signs(weight)


@pytest.mark.parametrize("bits", [torch.zeros(1, dtype=torch.uint8), torch.zeros(2), torch.zeros(2, 1)])
def test_bits_of_another_length_or_type_are_refused(bits):
    with pytest.raises(ValueError, match="cannot hold the bits of 9 weights"):
        unpack_signs(bits, (3, 3))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("batch_norm", "time_steps"), [("shared", 1), ("shared", 3), ("per-step", 2)])
@pytest.mark.parametrize("weights", CONVS)
def test_a_loaded_vgg11_gives_the_same_logits_to_the_bit(
    tmp_path, tiny_batch, weights, batch_norm, time_steps, channels_last
):
    model = vgg11(10, 1, 1 / 16, weights, batch_norm=batch_norm, time_steps=time_steps)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    model = trained(model, *tiny_batch, time_steps)
    save_packed(model, tmp_path / "net.safetensors", latent_as_signs=weights.startswith("latent"))
    loaded = load_packed(tmp_path / "net.safetensors")
    assert not loaded.training
    assert torch.equal(predict(loaded, tiny_batch[0], time_steps), predict(model, tiny_batch[0], time_steps))
    in_whole_numbers = [predict(exact(net).eval(), tiny_batch[0], time_steps) for net in (loaded, model)]
    assert torch.equal(*in_whole_numbers)
    binary, _ = split_parameters(loaded)
    assert len(binary) == (0 if weights == "real" else 7)
    assert loaded[3].weight.stride() == model[3].weight.stride()
    for name, value in model.state_dict().items():
        if not isinstance(model[int(name.split(".")[0])], tuple(DEPLOYED_AS)):
            assert torch.equal(loaded.state_dict()[name], value), name


@pytest.mark.parametrize(("weights", "batch_norm"), [("binary", "per-step"), ("latent", "shared"), ("real", "shared")])
def test_a_loaded_resnet18_gives_the_same_logits_to_the_bit(tmp_path, weights, batch_norm):
    images, labels = torch.randn(4, 1, 28, 28), torch.arange(4)
    model = resnet18(10, 1, 1 / 16, weights, batch_norm=batch_norm, time_steps=2).to(memory_format=torch.channels_last)
    model = trained(model, images, labels, 2)
    save_packed(model, tmp_path / "net", latent_as_signs=weights == "latent")
    loaded = load_packed(tmp_path / "net")
    assert torch.equal(predict(loaded, images, 2), predict(model, images, 2))
    assert len(split_parameters(loaded)[0]) == (0 if weights == "real" else 16)


def test_a_weight_off_the_grid_within_a_shortcut_is_named(tmp_path):
    net = resnet18(10, 1, 1 / 16)
    net[3].body[1].weight.data.view(-1)[0] = 0
    with pytest.raises(ValueError, match=r"layer 3\.body\.1 \(BinaryConv2d\): 1 of 144 weights are not"):
        save_packed(net, tmp_path / "net")


@pytest.mark.parametrize("weights", LINEARS)
def test_a_loaded_mlp_gives_the_same_logits_to_the_bit(tmp_path, tiny_batch, weights):
    model = trained(spiking_mlp(144, 9, 10, weights, trace="ndot"), *tiny_batch, 2)
    model[3].online = False
    save_packed(model, tmp_path / "net", latent_as_signs=weights == "latent")
    loaded = load_packed(tmp_path / "net")
    assert torch.equal(predict(loaded, tiny_batch[0], 2), predict(model, tiny_batch[0], 2))
    assert (loaded[3].trace_kind, loaded[3].online) == ("ndot", False)


def test_the_network_of_the_readme_is_packed_too(tmp_path):
    model = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), BinaryLinear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 2))
    model(torch.randn(32, 20))
    save_packed(model, tmp_path / "net")
    x = torch.randn(5, 20)
    assert torch.equal(load_packed(tmp_path / "net")(x), model.eval()(x))


def test_a_latent_network_is_refused_or_stored_as_its_signs(tmp_path):
    model = vgg11(10, 1, 1 / 16, "latent")
    with torch.no_grad():
        model[3].weight.view(-1)[0] = 0.0  # sign(0) = +1
    with pytest.raises(ValueError, match="layer 3 has latent weights, lost in bits: latent_as_signs=True keeps"):
        save_packed(model, tmp_path / "net")
    assert not (tmp_path / "net").exists()
    save_packed(model, tmp_path / "net", latent_as_signs=True)
    loaded = load_packed(tmp_path / "net")
    assert type(loaded[3]) is BinaryConv2d
    assert torch.equal(loaded[3].weight, grid_sign(model[3].weight))
    assert packed_size_bytes(loaded) == packed_size_bytes(vgg11(10, 1, 1 / 16)) < packed_size_bytes(model) / 10


def test_a_loaded_network_trains_on_as_the_saved_one(tmp_path, tiny_batch):
    model = trained(vgg11(10, 1, 1 / 16), *tiny_batch, 2)
    save_packed(model, tmp_path / "net")
    loaded = load_packed(tmp_path / "net").train()
    logits = []
    for net in (model.train(), loaded):
        binary, real = split_parameters(net)
        optimizers = [torch.optim.SGD(real, lr=0.1), BSO(binary, gamma=0, beta=0.5)]
        logits += [[online_step(net, *tiny_batch, optimizers, 2)[1] for _ in range(3)]]
    assert all(torch.equal(a, b) for a, b in zip(*logits, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))


def test_saving_and_loading_draw_no_random_number_and_repeat_to_the_byte(tmp_path):
    model = vgg11(10, 1, 1 / 16)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    save_packed(model, tmp_path / "a")
    save_packed(load_packed(tmp_path / "a"), tmp_path / "b")
    assert torch.equal(torch.rand(3), expected)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]  # no half-written file is left


def test_the_file_of_the_papers_network_weighs_what_is_counted(tmp_path):
    model = vgg11(10)
    save_packed(model, tmp_path / "net")
    statistics = sum(4 * b.numel() for b in model.buffers() if b.is_floating_point())
    counted = packed_size_bytes(model) + statistics
    assert counted < (tmp_path / "net").stat().st_size < 1.02 * counted


def test_a_network_that_is_no_sequence_of_known_layers_is_refused(tmp_path):
    with pytest.raises(TypeError, match="ModuleList is not a plain sequence of layers"):
        save_packed(nn.ModuleList([nn.Linear(2, 2)]), tmp_path / "net")
    with pytest.raises(TypeError, match="layer 1 is a GELU: must be one of BinaryConv2d, "):
        save_packed(nn.Sequential(nn.Linear(2, 2), nn.GELU()), tmp_path / "net")
    model = spiking_mlp(4, 3)
    with torch.no_grad():
        model[4].weight[0, 0] = 0
    with pytest.raises(ValueError, match=r"layer 4 \(BinaryLinear\): 1 of 9 weights are not"):
        save_packed(model, tmp_path / "net")
    with pytest.raises(ValueError, match=r"layer 1 \(TracedLinear\): weight is torch.float64: must be torch.float32"):
        save_packed(spiking_mlp(4, 3).double(), tmp_path / "net")
    unknown_setting = nn.BatchNorm1d(2)
    unknown_setting.bias = None
    with pytest.raises(PackedFileError, match=r'net holds a network that cannot be built: .* Missing key.* "0\.bias"'):
        save_packed(nn.Sequential(unknown_setting), tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def packed(tmp_path):
    """The path of a small packed network."""
    save_packed(spiking_mlp(5, 3, 2), tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def refused(path, content, reason):
    path.write_bytes(content)
    with pytest.raises(PackedFileError, match=reason) as caught:
        load_packed(path)
    assert str(caught.value).startswith(f"{path} ")
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_found_wherever_it_is(packed):
    content, draw = packed.read_bytes(), random.Random(0)
    load_packed(packed)
    for i in range(len(content)):
        damaged = bytearray(content)
        damaged[i] ^= 1 << draw.randrange(8)
        refused(packed, bytes(damaged), "is damaged|is no safetensors file|not one that save_packed wrote")


def test_a_file_that_is_cut_short_or_too_long_is_refused(packed):
    content = packed.read_bytes()
    refused(packed, b"", "is empty")
    refused(packed, content[:5], "is no safetensors file")
    refused(packed, content[:100], "is damaged: it ends within its header")
    refused(packed, content[:-1], "is damaged: its content does not match its checksum")
    refused(packed, content + b"\0", "is damaged: its content does not match its checksum")


def test_foreign_files_are_refused_and_nothing_is_unpickled(packed, tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("code of a pickle was run",))

    for protocol in (0, 2, 4):
        refused(packed, pickle.dumps(Trap(), protocol), "is no safetensors file, which save_packed writes")
    torch.save(spiking_mlp(5, 3, 2).state_dict(), tmp_path / "torch.pt")
    refused(packed, (tmp_path / "torch.pt").read_bytes(), "is no safetensors file")
    save_file({"weight": torch.ones(2)}, tmp_path / "other")
    refused(packed, (tmp_path / "other").read_bytes(), "is a safetensors file, but not one that save_packed wrote")
    refused(packed, save({"weight": torch.ones(2)}, {"format": "pt"}), "is a safetensors file, but not one")
    with pytest.raises(FileNotFoundError):
        load_packed(tmp_path / "absent")


def forged(content, **changes):
    """A file with a good checksum whose header says something else."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][packing.FORMAT])
    header |= changes | {"sha256": "0" * 64}
    new = save(load(content), {packing.FORMAT: json.dumps(header)})
    return new.replace(b"0" * 64, hashlib.sha256(new).hexdigest().encode(), 1)


def test_a_newer_version_and_another_network_are_refused(packed):
    content = packed.read_bytes()
    packed.write_bytes(forged(content))
    load_packed(packed)
    refused(packed, forged(content, version=2), "has format version 2, this bso_lib reads 1: update it")
    flatten = {"kind": "Flatten", "start_dim": 1, "end_dim": -1}
    for layers in ([flatten], [{"kind": "system"}], [{"kind": "LIF", "color": 1}], [flatten | {"kind": "Tanh"}]):
        refused(packed, forged(content, layers=layers), "holds a network that cannot be built: ")
