"""BSO with a coin: a fresh random threshold for each weight and step.

    M <- beta M + (1 - beta) G                                                         (Eq. 11)
    W <- -sign(M - theta),   theta uniform in [-gamma, gamma], fresh for every weight and step

A weight whose |M| exceeds gamma takes the sign that M votes for. Below, it is drawn: E W = -M / gamma. That mean is
what follow-the-regularised-leader plays on the cube, and no sequence of losses that is written down beforehand can
exploit it (:mod:`bso_lib.regret.guarantees`).
"""

import torch

from bso_lib.optim import BSO, flip_, momentum_


class RandomThreshold(BSO):
    """The optimizer above; options and refusals as :class:`bso_lib.optim.BSO`'s, ``seed``: of the thresholds."""

    def __init__(self, params, gamma=5e-7, beta=0.999, *, seed=0, exact=False):
        super().__init__(params, gamma, beta, exact=exact)
        self.generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def step(self, closure=None):
        """Update M and draw the weights anew; returns the closure's loss, if one is given."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group, W, state in self._updates():
            M = momentum_(state["momentum"], W.grad, self._scheduled(group, "beta"))
            drawn = torch.rand(W.shape, generator=self.generator, dtype=W.dtype).to(W.device)
            flip_(W, M - group["lr"] * group["gamma"] * (2 * drawn - 1), 0.0)  # w = -sign(M - theta); a tie keeps w
        return loss
