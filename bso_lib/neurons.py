"""Leaky integrate-and-fire neurons, with the presynaptic trace that online training needs."""

import math
from numbers import Real

import torch
from torch import nn

from bso_lib.surrogate import ALPHA, spike
from bso_lib.traced import Spikes

TRACES = ("ottt", "ndot", "none", "ndot-code")


class LIF(nn.Module):
    r"""A layer of LIF neurons with soft reset (Eq. 2, 3).

        u[t] = decay * (u[t-1] - V_th s[t-1]) + I[t],    s[t] = H(u[t] - V_th)

    ``forward(current)`` takes I[t] of any shape and returns :class:`Spikes` of that shape; call
    :meth:`reset_state` between samples.

    ``online=True`` detaches the membrane between time steps, so a step's graph ends with the step; the path through
    time is the trace a[t] = mu[t] a[t-1] + s[t] (Eq. 7) with, by ``trace``,

        "ottt"   mu[t] = decay
        "ndot"   mu[t] = (u[t] - V_th s[t]) / (u[t-1] - V_th s[t-1]), clamped to [-decay, decay]
        "none"   no trace (SLTT)
        "ndot-code"   as "ndot", with V_th s subtracted from the potential after the reset, so twice: the published code

    ``online=False`` keeps the membrane's graph for BPTT and no trace. The reset is detached in both.
    Between time steps the layer holds u[t], which its backward pass needs anyway, and works out the reset when the
    next step asks for it. Raises ValueError for an unknown ``trace``, ``decay`` outside [0, 1], and ``threshold`` or
    ``alpha`` not above 0.
    """

    def __init__(self, trace="ottt", online=True, decay=0.5, threshold=1.0, alpha=ALPHA):
        super().__init__()
        if trace not in TRACES:
            raise ValueError(f"trace={trace!r}: must be one of {', '.join(TRACES)}")
        if not isinstance(online, bool):
            raise ValueError(f"online={online!r}: must be True or False")
        if not (isinstance(decay, Real) and 0 <= decay <= 1):
            raise ValueError(f"decay={decay!r}: must be in [0, 1]")
        for name, value in (("threshold", threshold), ("alpha", alpha)):
            if not (isinstance(value, Real) and 0 < value < math.inf):
                raise ValueError(f"{name}={value!r}: must be a finite number above 0")
        self.trace_kind = trace
        self.online = online
        self.decay = decay
        self.threshold = threshold
        self.alpha = alpha
        self.reset_state()

    def extra_repr(self):
        return f"trace={self.trace_kind!r}, online={self.online}, decay={self.decay}, threshold={self.threshold}"

    def reset_state(self):
        """Forget membrane and trace: the next call is t = 0."""
        self.potential = None  # u[t], before the reset
        self.trace = None  # a[t]

    @property
    def membrane(self) -> torch.Tensor | None:
        """What the reset leaves of the last potential, u[t] - V_th s[t]; None before the first time step."""
        return None if self.potential is None else self._reset(self.potential)

    def _reset(self, potential):
        return torch.sub(potential, spike(potential.detach(), self.threshold), alpha=self.threshold)

    def forward(self, current: torch.Tensor) -> Spikes:
        previous = self.potential
        potential = current if previous is None else torch.add(current, self.membrane, alpha=self.decay)  # Eq. 2
        spikes = self.fire(potential)
        self.potential = potential.detach() if self.online else potential
        if not self.online or self.trace_kind == "none" or not torch.is_grad_enabled():
            return Spikes(spikes)
        self._update_trace(spikes.detach(), previous)
        return Spikes(spikes, self.trace)

    def fire(self, potential):
        """Return the spikes of ``potential`` (Eq. 3), differentiable through the surrogate."""
        return spike(potential, self.threshold, self.alpha)

    @torch.no_grad()
    def _update_trace(self, spikes, previous):
        if self.trace is None:
            self.trace = spikes  # a[-1] = 0
        elif self.trace_kind == "ottt":
            self.trace = torch.add(spikes, self.trace, alpha=self.decay)
        else:
            self.trace = torch.addcmul(spikes, self._ratio(spikes, previous), self.trace)

    def _ratio(self, spikes, previous):
        """Return mu[t] of NDOT."""
        now, before = (self._reset(potential) for potential in (self.potential, previous))
        if self.trace_kind == "ndot-code":
            now = torch.sub(now, spikes, alpha=self.threshold)
            before = torch.sub(before, spike(previous, self.threshold), alpha=self.threshold)
        # 0 / 0 means a silent neuron without input: only the leak acts, so its ratio is the decay.
        return torch.nan_to_num_(now / before, nan=self.decay).clamp_(-self.decay, self.decay)
