"""Algorithm 1 in plain numpy, one number at a time: read it aloud, run it on paper, hold everything else against it.

It imports nothing of the library, and nothing of the library computes with it: the tests do. One linear layer of
weights W (rows: outputs, columns: inputs) maps spikes to currents, and the optimizers move W between -1 and +1.
"""

import math

import numpy as np


def lif_step(u_before, s_before, current, decay=0.5, threshold=1.0):
    """Let a layer of neurons live through one time step; return their potentials u[t] and spikes s[t] (Eq. 2, 3).

    What the last spike left of the potential leaks, the current is added, and whoever reaches the threshold fires.
    """
    u, s = np.zeros_like(current), np.zeros_like(current)
    for i in range(len(current)):
        u[i] = decay * (u_before[i] - threshold * s_before[i]) + current[i]  # Eq. 2: leak, soft reset, input
        s[i] = 1.0 if u[i] >= threshold else 0.0  # Eq. 3
    return u, s


def surrogate_derivative(u, threshold=1.0, alpha=4.0):
    """Stand in for ds/du, which is 0 almost everywhere: the slope of a sigmoid around the threshold."""
    slope = np.zeros_like(u)
    for i in range(len(u)):
        y = 1 / (1 + math.exp(-alpha * (u[i] - threshold)))
        slope[i] = alpha * y * (1 - y)
    return slope


def trace_step(a_before, s, decay=0.5):
    """Remember the spikes of the past, the older the fainter: a[t] = decay a[t-1] + s[t] (Eq. 7)."""
    a = np.zeros_like(s)
    for j in range(len(s)):
        a[j] = decay * a_before[j] + s[j]
    return a


def layer_current(W, s):
    """Add up for each neuron the weights of the inputs that fire: I = W s."""
    current = np.zeros(len(W))
    for i in range(len(W)):
        for j in range(len(s)):
            current[i] += W[i, j] * s[j]
    return current


def online_gradient(grad_s, u, a):
    """Return G[t] = zeta[t] a[t]^T, the gradient of W at this time step (Eq. 6), from dL/ds[t], u[t] and the trace.

    zeta[t] = dL/ds[t] ds/du goes through space alone; what came through time is in the trace of the inputs.
    """
    slope = surrogate_derivative(u)
    G = np.zeros((len(u), len(a)))
    for i in range(len(u)):
        for j in range(len(a)):
            G[i, j] = grad_s[i] * slope[i] * a[j]
    return G


def flip(w, m, threshold):
    """Return the weight after Eq. 12 or 14: turned round exactly when it agrees with M by more than the threshold."""
    return -w if w * m > threshold else w


def bso_step(W, M, G, gamma, beta):
    """Take one step of BSO; return the new W and M, all of shape (d,)."""
    W, M = W.copy(), M.copy()
    for i in range(len(W)):
        M[i] = beta * M[i] + (1 - beta) * G[i]  # Eq. 11
        W[i] = flip(W[i], M[i], gamma)  # Eq. 12
    return W, M


def tbso_step(W, M, v, G, t, gamma, beta1, beta2, eps=1e-20):
    """Take one step of T-BSO at time step t; return the new W, M, (d,), and v, one number for each time step."""
    W, M, v = W.copy(), M.copy(), v.copy()
    mean_square = sum(g * g for g in G) / len(G)
    v[t] = beta2 * v[t] + (1 - beta2) * mean_square
    for i in range(len(W)):
        M[i] = beta1 * M[i] + (1 - beta1) * G[i]  # Eq. 13
        W[i] = flip(W[i], M[i], gamma * math.sqrt(v[t] + eps))  # Eq. 14
    return W, M, v


def train_online(W, M, v, inputs, grad_of, gamma, beta1, beta2):
    """Run Algorithm 1 over the T time steps of one sample: spike, trace, gradient and flip at every t (Eq. 9).

    ``inputs`` (T, d): the spikes that come in. ``grad_of(s, t)``: dL/ds[t] of the loss at this time step.
    Returns the new W, M, v and the spikes that went out, (T, neurons).
    """
    u, s, a = np.zeros(len(W)), np.zeros(len(W)), np.zeros(W.shape[1])
    out = []
    for t in range(len(inputs)):
        a = trace_step(a, inputs[t])
        u, s = lif_step(u, s, layer_current(W, inputs[t]))
        G = online_gradient(grad_of(s, t), u, a)
        flat, M, v = tbso_step(W.ravel(), M, v, G.ravel(), t, gamma, beta1, beta2)
        W = flat.reshape(W.shape)
        out.append(s)
    return W, M, v, np.array(out)
