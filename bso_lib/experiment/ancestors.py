"""Two earlier rules for flipping binary weights without latent ones, for comparison.

    Bop     m <- (1 - rate) m + rate g;   flip where |m| >= tau and sign(m) = sign(w)
    BOLD    m <- beta m + lr g;           flip where m w >= 1, and begin again there with m = 0

Bop: Helwegen et al., "Latent weights do not exist", 2019. With tau = gamma and rate = 1 - beta it is BSO (Eq. 11, 12),
to the bit wherever |m| is not exactly tau: there Bop flips and BSO keeps the weight. What BSO adds is the gradient, of
a spiking network and online in time. So BSO trained by BPTT is Bop, and ``bso_lib.sweep.comparison`` calls it so.

BOLD: Nguyen et al., "BOLD: Boolean logic deep learning", 2024. beta is the layer's share of weights that did not flip
in the step before, 1 at first.
"""

import torch

from bso_lib.optim import BSO, momentum_


class Bop(BSO):
    """Bop, with the parameters of :class:`bso_lib.BSO`: ``gamma`` is its tau, 1 - ``beta`` its rate."""

    @torch.no_grad()
    def step(self, closure=None):
        """Update m and flip, once; returns the closure's loss, if one is given."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group, w, state in self._updates():
            m = momentum_(state["momentum"], w.grad, self._scheduled(group, "beta"))
            flip = (m.abs() >= group["lr"] * group["gamma"]) & (m.sign() == w)
            w.copy_(torch.where(flip, -w, w))
        return loss


class Bold(BSO):
    """BOLD's rule. ``lr``: how fast m grows, per unit of the gradient. State: "momentum" m, and "kept", beta.

    Every multiplication and addition is on its own, so that for equal gradients no machine decides a digit. Raises
    ValueError as :class:`bso_lib.BSO` does.
    """

    def __init__(self, params, lr):
        super().__init__([{"params": list(params), "lr": lr}])

    def _start(self, p, state):
        super()._start(p, state)
        state["kept"] = torch.ones((), dtype=p.dtype, device=p.device)

    @torch.no_grad()
    def step(self, closure=None):
        """Update m, flip, and reset m where a weight flipped; returns the closure's loss, if one is given."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group, w, state in self._updates():
            m, kept = state["momentum"], state["kept"]
            m.mul_(kept).add_(w.grad * group["lr"])
            flip = m * w >= 1
            w.copy_(torch.where(flip, -w, w))
            m.masked_fill_(flip, 0.0)
            kept.copy_((~flip).sum() / flip.numel())
        return loss
