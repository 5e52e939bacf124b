"""Descent with every operation on its own is torch's SGD, or Adam, but for the last digit."""

import pytest
import torch

from bso_lib.exact.descent import ExactAdam, ExactSGD


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.25), (0.9, 0.25)])
def test_it_descends_as_torchs(momentum, decay):
    start, gradients = torch.randn(200), torch.randn(30, 200)
    found = []
    for kind in (ExactSGD, torch.optim.SGD):
        p = torch.nn.Parameter(start.clone())
        optimizer = kind([p], lr=0.05, momentum=momentum, weight_decay=decay)
        for gradient in gradients:
            p.grad = gradient.clone()
            optimizer.step()
        found.append(p.detach())
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)
    expected, buffer = start.numpy().copy(), 0 * start.numpy()
    for gradient in gradients.numpy():  # numpy fuses nothing either
        decayed = gradient + torch.tensor(decay).numpy() * expected
        buffer = torch.tensor(momentum).numpy() * buffer + decayed
        expected -= torch.tensor(0.05).numpy() * buffer
    assert torch.equal(found[0], torch.from_numpy(expected))


def test_adam_descends_as_torchs_and_resumes():
    start, gradients = torch.randn(200), torch.randn(30, 200) * 1e-3
    found = []
    for kind in (ExactAdam, torch.optim.Adam):
        p = torch.nn.Parameter(start.clone())
        optimizer = kind([p], lr=0.05)
        for i, gradient in enumerate(gradients):
            if i == 12:
                before, optimizer = optimizer, kind([p], lr=0.05)
                optimizer.load_state_dict(before.state_dict())
            p.grad = gradient.clone()
            optimizer.step()
        found.append(p.detach())
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_an_optimizers_state_resumes():
    p = torch.nn.Parameter(torch.ones(3))
    first = ExactSGD([p], lr=0.1, momentum=0.9)
    p.grad = torch.ones(3)
    first.step()
    second = ExactSGD([p], lr=0.1, momentum=0.9)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.state[p]["momentum_buffer"], torch.ones(3))
    with pytest.raises(TypeError, match="nesterov"):
        ExactSGD([p], lr=0.1, nesterov=True)
