"""Stochastic gradient descent with every multiplication and addition on its own."""

import torch
from torch.optim import SGD


class ExactSGD(SGD):
    """``torch.optim.SGD`` with ``lr`` and ``momentum``, whose own step lets the machine fuse ``p - lr * grad``."""

    def __init__(self, params, lr, momentum=0.0):
        super().__init__(params, lr=lr, momentum=momentum)

    @torch.no_grad()
    def step(self, closure=None):
        """Take one step; returns the closure's loss, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                moved = p.grad
                if group["momentum"]:
                    state = self.state[p]
                    if "momentum_buffer" not in state:
                        state["momentum_buffer"] = torch.zeros_like(p)
                    moved = state["momentum_buffer"].mul_(group["momentum"]).add_(p.grad)
                p.sub_(moved * group["lr"])
        return loss
