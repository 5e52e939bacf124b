"""BSO and T-BSO without a word between host and device, as a CUDA graph needs it.

The plain optimizers ask the device once per update whether all gradients are finite, and refuse before anything
changes. Here the device decides: a gradient that is not finite leaves weights, M and v as they are and is counted, and
the host asks when it likes. A graph's numbers are fixed when it is captured, so ``lr``, which schedules move, may be a
0-dim tensor.
"""

import math

import torch

from bso_lib.optim import BSO, TBSO


class _Capturable:
    """What CapturableBSO and CapturableTBSO change: see the module."""

    refused = None  # updates left out so far, a tensor on the device

    def _require_finite(self, parameters):
        self._finite = self._extremes(parameters).isfinite().all()
        if self.refused is None:
            self.refused = torch.zeros((), dtype=torch.int64, device=self._finite.device)
        self.refused += ~self._finite

    def raise_if_refused(self):
        """Raise ValueError if updates were left out since the last call; waits for the device."""
        refused = 0 if self.refused is None else int(self.refused)
        if refused:
            self.refused.zero_()
            raise ValueError(
                f"the gradients of binary parameters were not finite (NaN or infinity) in {refused} "
                f"update{'s' * (refused > 1)}: these changed no weight and no momentum"
            )

    def _update_momentum(self, state, p, decay):
        before = state["momentum"].clone() if "momentum" in state else 0.0
        if isinstance(decay, torch.Tensor):
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(p)
            momentum = state["momentum"].mul_(decay).add_(p.grad * (1 - decay))
        else:
            momentum = super()._update_momentum(state, p, decay)
        return momentum.copy_(torch.where(self._finite, momentum, before))

    def _flip(self, p, momentum, threshold):
        if not isinstance(threshold, torch.Tensor):
            threshold = torch.full((), threshold, dtype=p.dtype, device=p.device)
        super()._flip(p, momentum, threshold.masked_fill(~self._finite, math.inf))


class CapturableBSO(_Capturable, BSO):
    """:class:`bso_lib.optim.BSO` that never waits for the device; see :func:`make_capturable_`."""


class CapturableTBSO(_Capturable, TBSO):
    """:class:`bso_lib.optim.TBSO` that never waits for the device; see :func:`make_capturable_`."""

    def _second_moment(self, state, p, t, beta2):
        before = state["v"][t].clone() if "v" in state else 0.0
        v = super()._second_moment(state, p, t, beta2)
        return v.copy_(torch.where(self._finite, v, before))


_CAPTURABLE = {BSO: CapturableBSO, TBSO: CapturableTBSO}


def make_capturable_(optimizer):
    """Let a BSO or TBSO never wait for the device again, in place: same parameters, options, hooks and state.

    Its ``step()`` does not raise for a gradient that is not finite; ``raise_if_refused()`` does, when it is called.
    Raises ValueError for another optimizer.
    """
    if type(optimizer) in _CAPTURABLE.values():
        return optimizer
    if type(optimizer) not in _CAPTURABLE:
        raise ValueError(f"{type(optimizer).__name__} cannot be made capturable: must be BSO or TBSO")
    optimizer.__class__ = _CAPTURABLE[type(optimizer)]  # the same attributes, other methods
    return optimizer
