"""torch.compile makes a faster step of the same network; the eager step is the reference."""

import copy

import pytest
import torch

from bso_lib.bench.rivals import can_compile
from bso_lib.models import split_parameters, vgg11
from bso_lib.optim import BSO, TBSO
from bso_lib.training import predict, train_batch

needs_compiler = pytest.mark.skipif(not can_compile(), reason="torch.compile needs a C++ compiler")


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def _training(model, optimizer):
    binary, real = split_parameters(model)
    flipping = TBSO(binary, 2, beta1=0.9) if optimizer is TBSO else BSO(binary, beta=0.9)
    return [torch.optim.SGD(real, lr=0.1), flipping]


@pytest.mark.parametrize(
    ("backend", "optimizer"),
    [("aot_eager", BSO), ("aot_eager", TBSO), pytest.param("inductor", TBSO, marks=needs_compiler)],
)
def test_a_compiled_network_flips_as_the_eager_one(backend, optimizer):
    torch.manual_seed(0)
    # In float64 a fused kernel's other rounding stays far below what a spike or a flip turns on.
    eager = vgg11(10, 1, 1 / 32, batch_norm="per-step", time_steps=2).double()
    compiled = copy.deepcopy(eager)
    compiled.compile(backend=backend, fullgraph=True)
    start = [w.detach().clone() for w in split_parameters(eager)[0]]
    both = [(model, _training(model, optimizer)) for model in (eager, compiled)]
    for _ in range(3):
        images, labels = torch.randn(4, 1, 16, 16).double(), torch.randint(10, (4,))
        (expected, _), (found, _) = [train_batch(m, images, labels, optimizers, 2) for m, optimizers in both]
        torch.testing.assert_close(found, expected)
    for p, q in zip(split_parameters(eager)[0], split_parameters(compiled)[0], strict=True):
        assert torch.equal(p, q)
        momenta = [optimizers[1].state[w]["momentum"] for w, (_, optimizers) in zip((p, q), both, strict=True)]
        torch.testing.assert_close(*momenta, rtol=1e-6, atol=1e-15)
    assert sum(int((w != s).sum()) for w, s in zip(split_parameters(eager)[0], start, strict=True)) > 100
    torch.testing.assert_close(predict(compiled.eval(), images, 2), predict(eager.eval(), images, 2))
