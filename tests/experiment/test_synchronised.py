"""BatchNorm over the samples of all ranks against BatchNorm over the whole batch."""

import pytest
import torch
import torch.nn.functional as F
from ranks import together
from torch import nn

from bso_lib.experiment.ranks import share
from bso_lib.experiment.synchronised import synchronise_batch_norm_
from bso_lib.layers import TimeStepBatchNorm2d

RANKS = 2


def layers():
    """Return one BatchNorm of each kind, in float64, with affine parameters that are not the default."""
    torch.manual_seed(0)
    norms = nn.ModuleList([nn.BatchNorm2d(3), TimeStepBatchNorm2d(3, 2)]).double()
    for norm in norms:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norms


def passes(norms, take):
    """Two passes of each layer over ``take`` of a batch, and one in evaluation; return outputs, gradients, buffers."""
    found = []
    for norm in norms:
        generator = torch.Generator().manual_seed(2)
        outputs = []
        for _ in range(2):
            x = 5 + take(torch.randn(8, 3, 4, 5, generator=generator, dtype=torch.float64))
            x.requires_grad_()
            out = norm(x)
            (take(torch.randn(8, 3, 4, 5, generator=generator, dtype=torch.float64)) * out.square()).sum().backward()
            outputs += [out.detach(), x.grad]
        if hasattr(norm, "reset_state"):
            norm.reset_state()
        outputs.append(norm.eval()(x.detach()))
        found.append((outputs, [norm.weight.grad, norm.bias.grad], dict(norm.named_buffers())))
    return found


def in_all_ranks():
    fresh = synchronise_batch_norm_(nn.BatchNorm2d(3))
    images = 3 + torch.randn(8, 3, 4, 5, generator=torch.Generator().manual_seed(3))
    x = share(images).bfloat16().requires_grad_()
    low = fresh(x)
    low.float().square().sum().backward()
    return passes(synchronise_batch_norm_(layers()), share), low, x.grad, fresh.weight.grad


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return together(in_all_ranks, RANKS, tmp_path_factory.mktemp("ranks"))


def test_outputs_gradients_and_statistics_are_those_of_the_whole_batch(found):
    whole = passes(layers(), lambda x: x)
    for index, (outputs, gradients, buffers) in enumerate(whole):
        parts = [rank[0][index] for rank in found]
        for position, output in enumerate(outputs):
            joined = torch.cat([part[0][position] for part in parts])
            torch.testing.assert_close(joined, output, rtol=1e-9, atol=1e-11)
        for position, gradient in enumerate(gradients):
            torch.testing.assert_close(sum(part[1][position] for part in parts), gradient, rtol=1e-9, atol=1e-11)
        for name, buffer in buffers.items():
            for part in parts:
                torch.testing.assert_close(part[2][name], buffer, rtol=1e-12, atol=1e-13)
                assert torch.equal(part[2][name], parts[0][2][name])


def test_bfloat16_activations_keep_float32_statistics(found):
    images = (3 + torch.randn(8, 3, 4, 5, generator=torch.Generator().manual_seed(3))).bfloat16()
    low = torch.cat([rank[1] for rank in found])
    assert low.dtype == torch.bfloat16
    assert found[0][2].dtype == torch.bfloat16
    assert found[0][3].dtype == torch.float32
    torch.testing.assert_close(low, F.batch_norm(images, None, None, training=True), rtol=0.01, atol=0.01)


def test_a_normalisation_it_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"^0 is a BatchNorm1d: several processes cannot share its statistics$"):
        synchronise_batch_norm_(nn.Sequential(nn.BatchNorm1d(3)))
