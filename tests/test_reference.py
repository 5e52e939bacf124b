"""The reference is Algorithm 1, imports nothing of the library, and the library's parts are equal to it."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bso_lib import reference
from bso_lib.layers import BinaryLinear
from bso_lib.neurons import LIF
from bso_lib.optim import TBSO
from bso_lib.surrogate import sigmoid_derivative

SOURCE = Path(reference.__file__).read_text()


def test_it_stands_alone_and_is_short():
    nodes = list(ast.walk(ast.parse(SOURCE)))
    assert {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names} == {"math", "numpy"}
    assert not [n for n in nodes if isinstance(n, ast.ImportFrom)]
    assert len(SOURCE.splitlines()) <= 120


halves = hnp.arrays(np.int64, (7, 4), elements=st.integers(-6, 6)).map(lambda a: a / 2)  # exact: ties are real ties


@given(halves)
def test_a_neuron_spikes_and_remembers_as_the_layer_does(currents):
    lif = LIF("ottt")
    u, s, a = np.zeros(4), np.zeros(4), np.zeros(4)
    for current in currents:
        out = lif(torch.from_numpy(current))
        u, s = reference.lif_step(u, s, current)
        a = reference.trace_step(a, s)
        assert np.array_equal(lif.potential.numpy(), u)
        assert np.array_equal(out.values.numpy(), s)
        assert np.array_equal(out.trace.numpy(), a)


def test_the_surrogate_is_the_librarys():
    u = np.linspace(-3, 5, 81)
    expected = sigmoid_derivative(torch.from_numpy(u) - 1.0).numpy()
    np.testing.assert_allclose(reference.surrogate_derivative(u), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_one_layer_trained_online_is_algorithm_1(gamma):
    steps, d, neurons = 6, 8, 3
    layer, hidden, seen = BinaryLinear(d, neurons).double(), LIF("ottt"), LIF("ottt")
    target = np.array([1.0, 0.0, 1.0])
    currents = torch.randn(steps, 1, d, dtype=torch.float64) + 1.0
    optimizer = TBSO([layer.weight], steps, gamma=gamma, beta1=0.5, beta2=0.75)
    W, M, v = layer.weight.detach().numpy().copy(), np.zeros(d * neurons), np.zeros(steps)
    inputs, out = [], []
    for t in range(steps):
        spikes = seen(currents[t])
        inputs.append(spikes.values[0].detach().numpy())
        fired = hidden(layer(spikes)).values
        ((fired - torch.from_numpy(target)) ** 2).sum().backward()
        optimizer.step(t=t)
        optimizer.zero_grad()
        out.append(fired[0].detach().numpy())
    start = W.copy()
    W, M, v, spiked = reference.train_online(W, M, v, np.array(inputs), lambda s, t: 2 * (s - target), gamma, 0.5, 0.75)
    assert np.array_equal(spiked, np.array(out))
    assert np.array_equal(layer.weight.detach().numpy(), W)
    np.testing.assert_allclose(optimizer.state[layer.weight]["momentum"].numpy().ravel(), M, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(optimizer.state[layer.weight]["v"].numpy(), v, rtol=1e-10)
    assert not np.array_equal(W, start)
