"""exp and log by the four operations, and the loss built on them."""

import pytest
import torch
import torch.nn.functional as F

from bso_lib.exact.loss import cross_entropy, exp, log
from bso_lib.experiment.published_code import mixed_loss


def test_exp_and_log_are_those_of_a_library():
    x = -torch.rand(10_000, dtype=torch.float64) * 700
    torch.testing.assert_close(exp(x), x.exp(), rtol=2e-13, atol=0)  # n log 2 of large n is rounded
    near = x / 70
    torch.testing.assert_close(exp(near), near.exp(), rtol=1e-15, atol=0)
    y = torch.rand(10_000, dtype=torch.float64) * 10 ** torch.empty(10_000, dtype=torch.float64).uniform_(-12, 12)
    torch.testing.assert_close(log(y), y.log(), rtol=1e-15, atol=1e-15)
    assert exp(torch.zeros(1, dtype=torch.float64)) == 1
    assert log(torch.ones(1, dtype=torch.float64)) == 0


@pytest.mark.parametrize("k", [0.0, 0.05])
def test_the_loss_and_its_gradient_are_pytorchs(k):
    logits, labels = (torch.randn(32, 10) * 5).requires_grad_(), torch.randint(10, (32,))
    plain = F.cross_entropy if k == 0 else lambda z, y: mixed_loss(z, y, k)
    expected = plain(logits, labels)
    (gradient,) = torch.autograd.grad(expected / 2, logits)
    loss = cross_entropy(logits, labels, k)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-6, atol=1e-7, check_dtype=True)
    (found,) = torch.autograd.grad(loss / 2, logits)
    torch.testing.assert_close(found, gradient, rtol=0, atol=2.0**-20 / 32)


def test_very_different_logits_do_no_harm():
    logits = torch.tensor([[0.0, -5000.0, 3.0e38]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([2]))
    assert loss == 0
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.equal(gradient, torch.zeros(1, 3))
