"""Integer kernels: the bits of float32, with the largest operands side by side; refused where they are wrong."""

import pytest
import torch

from bso_lib.exact import integer, kernels
from bso_lib.exact.kernels import PLANE, Geometry, in_worst_channel
from bso_lib.experiment.build import Trainer, build_model
from bso_lib.experiment.config import RunConfig

SHAPES = [  # input, weight, geometry
    ((3, 8, 14, 14), (16, 8, 3, 3), Geometry((1, 1), (1, 1), (1, 1), 1)),
    ((2, 32, 7, 7), (8, 32, 3, 3), Geometry((1, 1), (1, 1), (1, 1), 1)),
    ((2, 3, 9, 5), (4, 3, 1, 1), Geometry((1, 1), (0, 0), (1, 1), 1)),
    ((2, 3, 9, 5), (4, 3, 3, 3), Geometry((1, 1), (0, 0), (1, 1), 1)),
]


@pytest.mark.parametrize(("of_input", "of_weight", "geometry"), SHAPES)
@pytest.mark.parametrize("kind", ["convolve", "input gradient", "weight gradient"])
def test_the_largest_operands_come_out_right(kind, of_input, of_weight, geometry):
    """Without VNNI 255 * 1 + 255 * 1 and 127 * 127 * 2 still fit 16 bits: these operands are right everywhere."""
    assert integer.right(kind, of_input, of_weight, geometry)


@pytest.mark.parametrize(("of_input", "of_weight", "geometry"), SHAPES)
def test_real_operands_have_the_bits_of_float32(of_input, of_weight, geometry, monkeypatch):
    """As a layer calls them: pooled spikes, a gradient of 8 bits and a trace in 128ths, on a machine where they pay."""
    monkeypatch.setattr(integer, "has_instructions", lambda: True)
    monkeypatch.setattr(integer, "right_and_sooner", lambda *_: True)
    x = torch.randint(5, of_input, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    w = (torch.randint(2, of_weight) * 2.0 - 1).contiguous(memory_format=torch.channels_last)
    z = kernels.convolve(x.float(), w, geometry)
    assert torch.equal(integer.convolve(x, w, geometry), z)
    q = torch.randint(-PLANE, PLANE + 1, z.shape).to(torch.int8).contiguous(memory_format=torch.channels_last)
    unit = torch.tensor(2.0**-20, dtype=torch.float64)
    expected = kernels.input_gradient(q.float(), of_input, w, geometry) * 2**-20
    assert torch.equal(integer.input_gradient(q, of_input, w, geometry, unit), expected)
    a = torch.randint(13, of_input, dtype=torch.int16) * 64  # of two time steps, pooled
    magnitudes = in_worst_channel(q)
    expected = kernels.weight_gradient(q.float(), a.float(), w, geometry, magnitudes, 12 * 64)
    assert torch.equal(integer.weight_gradient(q, a, w, geometry, magnitudes, 12, 6), expected)


def test_what_integers_cannot_do_goes_to_float32(monkeypatch):
    monkeypatch.setattr(integer, "has_instructions", lambda: True)
    monkeypatch.setattr(integer, "right_and_sooner", lambda *_: pytest.fail("asked"))
    x, w = torch.ones(1, 2, 8, 8, dtype=torch.uint8), torch.ones(4, 2, 3, 3)
    plain = Geometry((1, 1), (1, 1), (1, 1), 1)
    for geometry in (plain._replace(stride=(2, 2)), plain._replace(dilation=(2, 2))):
        q = torch.ones_like(kernels.convolve(x.float(), w, geometry)).to(torch.int8)
        integer.input_gradient(q, x.shape, w, geometry, torch.tensor(1.0))
        integer.weight_gradient(q, x, w, geometry, 64, 1, 0)
    integer.convolve(x.to(torch.int16), w, plain)  # sums of spikes beyond a byte
    q = torch.ones(1, 4, 8, 8, dtype=torch.int8)
    integer.weight_gradient(q, x * 255, w, plain, 64, 255, 0)  # beyond an int8
    integer.weight_gradient(q, x.float() / 128, w, plain, 64, 1, 0)  # NDOT's


def test_a_kernel_that_saturates_is_found_out(monkeypatch):
    """A processor that adds pairs of products in 16 bits would cut 2 * 255; here at 2^8, so that it shows."""
    of_input, of_weight, geometry = SHAPES[0]
    convolve8 = integer.convolve8
    monkeypatch.setattr(integer, "convolve8", lambda *a: convolve8(*a).clamp(-1.0, 1.0))
    assert not integer.right("convolve", of_input, of_weight, geometry)
    monkeypatch.setattr(integer, "weight_gradient8", lambda *a: (_ for _ in ()).throw(RuntimeError("not supported")))
    assert not integer.right("weight gradient", of_input, of_weight, geometry)


def test_the_slower_way_is_not_taken(monkeypatch):
    of_input, of_weight, geometry = SHAPES[1]
    integer.right_and_sooner.cache_clear()
    for seconds, expected in (((2.0, 1.0), False), ((1.0, 2.0), True)):
        clock = iter(seconds)
        monkeypatch.setattr(integer, "_seconds", lambda function, clock=clock: next(clock))
        assert integer.right_and_sooner("convolve", of_input, of_weight, geometry, 1) is expected
        integer.right_and_sooner.cache_clear()


@pytest.mark.parametrize("changes", [{}, {"packed": "float32"}, {"method": "bso", "model": "resnet18"}])
def test_a_run_in_integers_has_the_bits_of_one_in_float32(changes, monkeypatch):
    config = RunConfig(
        width=1 / 64, batch_norm="per-step", arithmetic="exact", record_flips=False, gamma=1e-4, device="cpu",
        **changes,
    )  # fmt: skip
    images = torch.randn(4, 1, 16, 16).contiguous(memory_format=torch.channels_last)
    labels, found, asked = torch.randint(10, (4,)), [], set()
    for integers in (False, True):
        monkeypatch.setattr(integer, "has_instructions", lambda integers=integers: integers)
        monkeypatch.setattr(integer, "right_and_sooner", lambda kind, *_: asked.add(kind) or True)
        trainer = Trainer(config, build_model(config, 10, 1), batches=2)
        trainer.model.train()
        losses = [trainer.step(images, labels)[0].item() for _ in range(2)]
        found.append((losses, trainer.weights() | {f"{n} M": m for n, m in trainer.momentum().items()}))
    assert asked == {"convolve", "input gradient", "weight gradient"}
    assert found[0][0] == found[1][0]
    for name, value in found[0][1].items():
        assert torch.equal(value, found[1][1][name]), name
