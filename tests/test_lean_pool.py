"""The lean pool is the plain one, to the bit, and keeps nothing."""

import pytest
import torch

from bso_lib.layers import SpikingPool
from bso_lib.lean_pool import LeanSpikingPool
from bso_lib.traced import Spikes


@pytest.mark.parametrize("size", [2, 3, None])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_the_plain_pool_to_the_bit(size, memory_format, dtype):
    spikes = torch.randint(2, (3, 5, 8, 7)).to(dtype).contiguous(memory_format=memory_format)
    trace = torch.rand(3, 5, 8, 7).to(dtype)
    results = []
    for pool in (SpikingPool(size), LeanSpikingPool(size)):
        values = spikes.clone().requires_grad_()
        out = pool(Spikes(values, trace))
        upstream = torch.randn(out.values.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        out.values.backward(upstream)
        results.append((out.values, out.trace, values.grad))
    for expected, found in zip(*results, strict=True):
        assert torch.equal(expected, found)


def test_nothing_is_kept_for_the_backward_pass():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        LeanSpikingPool(2)(Spikes(torch.rand(2, 3, 4, 4).requires_grad_()))
    assert kept == []


def test_unpack_is_plain_again():
    assert type(LeanSpikingPool(2).unpack()) is SpikingPool
    assert LeanSpikingPool(None).unpack().size is None
