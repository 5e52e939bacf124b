"""Eight signs are a byte: there and back, in every length and type, and nothing but signs."""

import pytest
import torch

from bso_lib.fast.bits import expand_signs, pack_bools, pack_signs


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 64, 1001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_there_and_back(size, dtype):
    weights = torch.randint(2, (size,)).mul(2).sub(1).to(dtype)
    bits = pack_signs(weights)
    assert (bits.dtype, bits.numel()) == (torch.uint8, -(-size // 8))
    assert expand_signs(bits, size, dtype).dtype == dtype
    assert torch.equal(expand_signs(bits, size, dtype), weights)


def test_every_byte_by_hand():
    flags = torch.tensor([[value >> i & 1 for i in range(8)] for value in range(256)], dtype=torch.bool)
    assert pack_bools(flags.view(-1)).tolist() == list(range(256))


def test_what_fills_up_the_last_byte_is_zero():
    assert pack_bools(torch.ones(11, dtype=torch.bool)).tolist() == [255, 7]


@pytest.mark.parametrize("value", [0.0, 0.5, float("nan")])
def test_off_the_grid_is_refused(value):
    with pytest.raises(ValueError, match="1 of 3 weights are not exactly -1 or \\+1"):
        pack_signs(torch.tensor([1.0, value, -1.0]))
