"""Stochastic gradient descent, and Adam, with every multiplication and addition on its own."""

import torch
from torch.optim import SGD, Optimizer


class ExactSGD(SGD):
    """``torch.optim.SGD`` with ``lr``, ``momentum`` and ``weight_decay``, whose own step lets the machine fuse them."""

    def __init__(self, params, lr, momentum=0.0, weight_decay=0.0):
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay)

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
                moved = p.grad + p * group["weight_decay"] if group["weight_decay"] else p.grad
                if group["momentum"]:
                    state = self.state[p]
                    if "momentum_buffer" not in state:
                        state["momentum_buffer"] = torch.zeros_like(p)
                    moved = state["momentum_buffer"].mul_(group["momentum"]).add_(moved)
                p.sub_(moved * group["lr"])
        return loss


class ExactAdam(Optimizer):
    """``torch.optim.Adam`` with ``lr`` and its other defaults, each operation on its own."""

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure=None):
        """Take one step; returns the closure's loss, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            (beta1, beta2), eps = group["betas"], group["eps"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state |= {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p), "bias": (1.0, 1.0)}
                # Products step by step: the power of a number is the C library's.
                state["bias"] = (state["bias"][0] * beta1, state["bias"][1] * beta2)
                first, second = (1 - bias for bias in state["bias"])
                m = state["exp_avg"].mul_(beta1).add_(p.grad * (1 - beta1))
                v = state["exp_avg_sq"].mul_(beta2).add_(p.grad.square() * (1 - beta2))
                p.sub_(m / (v / second).sqrt_().add_(eps) * (group["lr"] / first))
        return loss
