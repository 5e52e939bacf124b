"""BSO and T-BSO: optimizers for weights in {-1, +1} (Eq. 11-14, Algorithm 1).

    BSO     M    <- beta M + (1 - beta) G                            (Eq. 11)
            W    <- -sign(W * M - gamma) * W                         (Eq. 12)

    T-BSO   M    <- beta1 M + (1 - beta1) G[t]                       (Eq. 13)
            v[t] <- beta2 v[t] + (1 - beta2) mean(G[t]^2)            one number per parameter and time step
            W    <- -sign(W * M - gamma sqrt(v[t] + eps)) * W        (Eq. 14)

Read: flip a weight exactly when w * M > threshold. sign(0) would put a 0 on the grid, so equality keeps the weight.
The functions below are these lines; every other place of the library that moves M or flips calls them.

Schedules. Every param group has a factor ``lr`` (1 at the start) so that ``torch.optim.lr_scheduler`` works as it is:
the step uses gamma_k = lr * gamma and 1 - beta_k = lr * (1 - beta). The factors of the theory (1/sqrt(k)) and of the
published code (0.1 every 50 epochs) are below, for ``LambdaLR``.

No other buffer exists: there is no latent weight, and M is the only real number kept per weight.
"""

import math
from numbers import Real

import torch
from torch.optim import Optimizer


def momentum_(M, G, beta):
    """M <- beta M + (1 - beta) G, in place (Eq. 11, 13)."""
    if isinstance(beta, torch.Tensor):  # two operations: alpha has to be the host's, and a machine may fuse it
        return M.mul_(beta).add_(G * (1 - beta))
    return M.mul_(beta).add_(G, alpha=1 - beta)


def second_moment_(v, G, beta2, dim=None):
    """v <- beta2 v + (1 - beta2) mean(G^2), in place: one number, or one for each row with ``dim`` = 1 (Eq. 14)."""
    return v.mul_(beta2).add_(G.square().mean(dim, keepdim=dim is not None), alpha=1 - beta2)


def exact_second_moment_(v, G, beta2):
    """Do the same with a mean whose digits no machine decides: G in whole 4096ths of its largest magnitude."""
    largest = G.abs().amax().clamp_min(1e-30)
    whole = (G / largest).mul_(4096).round_()
    squares = whole.square_().sum(dtype=torch.float64) * (largest.double() / 4096).square()
    mean = squares / torch.full_like(squares, G.numel())  # a GPU multiplies by the reciprocal of a host's number
    return v.mul_(beta2).add_(mean.to(v.dtype) * (1 - beta2))


def threshold(gamma, v, eps):
    """gamma sqrt(v + eps), what w * M has to exceed in T-BSO (Eq. 14); in BSO it is gamma itself (Eq. 12)."""
    return gamma * (v + eps).sqrt()


def flips(W, M, threshold):
    """1 where w * M > threshold, else 0, in the type of W: far faster on a CPU than bools (Eq. 12, 14)."""
    agreement = W * M
    return torch.gt(agreement, threshold, out=agreement)


def flip_(W, M, threshold):
    """W <- -W where w * M > threshold, in place (Eq. 12, 14)."""
    return W.addcmul_(W, flips(W, M, threshold), value=-2)  # w - 2 w is -w exactly


def scheduled(beta, lr):
    """beta_k with 1 - beta_k = lr (1 - beta)."""
    return 1 - lr * (1 - beta)


def inverse_sqrt(k: int) -> float:
    """Factor 1/sqrt(k) of Theorem 4.1, for update (or epoch) k counted from 0."""
    return 1 / math.sqrt(k + 1)


def stepwise(every: int, factor: float = 0.1):
    """Return the published code's schedule: times ``factor`` after each ``every`` calls of the scheduler."""
    return lambda k: factor ** (k // every)


def cosine(total: int):
    """Return a cosine from 1 at k = 0 towards 0 at k = ``total``."""
    return lambda k: 0.5 * (1 + math.cos(math.pi * min(k, total) / total))


def constant(k: int) -> float:
    """Factor 1: the paper's text gives gamma and beta without a schedule."""
    return 1.0


class _GridOptimizer(Optimizer):
    """What BSO and T-BSO share: the checks before anything changes."""

    decays: tuple[str, ...] = ()  # names of the options that must lie in [0, 1)

    def add_param_group(self, param_group):
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self._check_group(group)
        except ValueError:
            self.param_groups.pop()
            raise

    def _check_group(self, group):
        for name in group.keys() - self.defaults.keys() - {"params", "param_names", "initial_lr"}:
            raise ValueError(f"a param group has {name!r}: must be one of params, {', '.join(self.defaults)}")
        for name in ("gamma", "eps", "lr"):
            if name in group and not _is_number(group[name]):
                raise ValueError(f"{name}={group[name]!r}: must be a finite number, at least 0")
        for name in self.decays:
            if not _is_number(group[name], below=1):
                raise ValueError(f"{name}={group[name]!r}: must be in [0, 1)")
        for name in ("capturable", "exact"):
            if not isinstance(group[name], bool):
                raise ValueError(f"{name}={group[name]!r}: must be True or False")
        if len(set(group["params"])) < len(group["params"]):
            raise ValueError("a parameter is given twice: it would be updated twice, give each once")
        self._check_grid(group["params"])

    def _check_grid(self, parameters):
        for i, p in enumerate(parameters):
            if not p.is_floating_point():
                raise ValueError(f"parameter {i} of shape {tuple(p.shape)} is {p.dtype}: must be floating point")
            off_grid = int((p.detach().abs() != 1).sum())
            if off_grid:
                raise ValueError(
                    f"parameter {i} of shape {tuple(p.shape)} has {off_grid} values that are not exactly -1 or +1: "
                    "pass only binary weights (see bso_lib.split_parameters)"
                )

    def _updates(self):
        """Yield (group, W, state) of each parameter with a gradient, once all gradients are known to be finite.

        Capturable, the host does not know: where one is not, what the update did is undone on the device.
        """
        pairs = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        finite = self._finite([p for _, p in pairs]) if pairs else None
        for group, p in pairs:
            state = self.state[p]
            if "momentum" not in state:
                self._start(p, state)
            before = [(x, x.clone()) for x in (p, *state.values())] if self.defaults["capturable"] else ()
            yield group, p, state
            for x, old in before:
                x.copy_(torch.where(finite, x, old))

    def _start(self, p, state):
        state["momentum"] = torch.zeros_like(p)  # M = 0

    def _scheduled(self, group, name):
        """Return beta_k of ``group``; a tensor if exact, for which M is multiplied and added to in two operations."""
        beta = scheduled(group[name], group["lr"])
        return torch.tensor(beta, dtype=torch.float64) if self.defaults["exact"] else beta

    def _finite(self, parameters):
        """Raise ValueError if a gradient is not finite; capturable, return whether all are, and count if not."""
        # The extremes carry any NaN or infinity; one read of each gradient and one synchronisation in all.
        extremes = torch.stack([torch.stack(_in_memory_order(p.grad).aminmax()).float() for p in parameters])
        finite = extremes.isfinite().all()
        if self.defaults["capturable"]:
            if not hasattr(self, "_refused"):
                self._refused = torch.zeros((), dtype=torch.int64, device=finite.device)
            self._refused += ~finite
        elif not bool(finite):
            bad = next(p for p, e in zip(parameters, extremes, strict=True) if not bool(e.isfinite().all()))
            raise ValueError(
                f"the gradient of a binary parameter of shape {tuple(bad.shape)} is not finite (NaN or infinity): "
                "no weight and no momentum was changed"
            )
        return finite

    def raise_if_refused(self):
        """Raise ValueError if a capturable optimizer left out updates since the last call; waits for the device."""
        refused = int(getattr(self, "_refused", 0))
        if refused:
            self._refused.zero_()
            raise ValueError(
                f"the gradients of binary parameters were not finite (NaN or infinity) in {refused} "
                f"update{'s' * (refused > 1)}: these changed no weight and no momentum"
            )


def _in_memory_order(x):
    """Return ``x``, as (n,) if its channels lie last, which reductions over all of it read several times faster."""
    return x.permute(0, 2, 3, 1).flatten() if x.is_contiguous(memory_format=torch.channels_last) else x


def _is_number(value, least=0.0, below=math.inf):
    """Return whether ``value`` is a number with least <= value < below: no text, no bool, no NaN."""
    number = isinstance(value, Real | torch.Tensor) and not isinstance(value, bool)
    return number and bool(least <= value < below)


def _closure_loss(closure):
    if closure is None:
        return None
    if not callable(closure):
        raise TypeError(f"closure={closure!r}: must be a function that returns the loss, or None")
    with torch.enable_grad():
        return closure()


class BSO(_GridOptimizer):
    """Binary Spiking Online optimizer (Eq. 11, 12).

    ``params``: tensors exactly on {-1, +1}, or param groups of them. ``gamma``: flip threshold, in units of the
    gradient. ``beta``: decay of the momentum M. State per parameter: "momentum", its shape. ``capturable``: never
    wait for the device, as a CUDA graph needs it: :meth:`step` then does not raise for a gradient that is not finite
    but changes nothing, and :meth:`raise_if_refused` tells. ``exact``: the same digits on every machine, for gradients
    that are (:mod:`bso_lib.exact`).
    Raises ValueError for gamma < 0, beta outside [0, 1), a parameter off the grid, or (in :meth:`step`, with nothing
    changed) a gradient that is not finite.
    """

    decays = ("beta",)

    def __init__(self, params, gamma=5e-7, beta=0.999, *, capturable=False, exact=False):
        options = {"gamma": gamma, "beta": beta, "lr": 1.0, "capturable": capturable, "exact": exact}
        super().__init__(params, options)

    @torch.no_grad()
    def step(self, closure=None):
        """Update M and flip, once; returns the closure's loss, if one is given."""
        loss = _closure_loss(closure)
        for group, W, state in self._updates():
            M = momentum_(state["momentum"], W.grad, self._scheduled(group, "beta"))  # Eq. 11
            flip_(W, M, group["lr"] * group["gamma"])  # Eq. 12
        return loss


class TBSO(_GridOptimizer):
    """Temporal-aware BSO (Eq. 13, 14): a threshold per time step, scaled by the gradient's second moment there.

    ``params``, ``capturable``, ``exact``: as for :class:`BSO`. ``time_steps``: number T of time steps. ``gamma``: flip
    threshold, in units of the root mean square gradient. ``beta1``, ``beta2``: decay of M and of v. ``eps``: inside the
    root; v is as small as 1e-14 in practice, so eps must be far below. State per parameter: "momentum", its shape, and
    "v", (time_steps,).
    Raises ValueError as :class:`BSO` does, and for time_steps < 1, eps < 0 or t outside 0 .. time_steps - 1.
    """

    decays = ("beta1", "beta2")
    _mean_over = None  # the dimensions of G that v[t] is a mean over: all

    def __init__(
        self, params, time_steps, gamma=5e-7, beta1=0.999, beta2=0.99999, eps=1e-20, *, capturable=False, exact=False
    ):
        if isinstance(time_steps, bool) or not isinstance(time_steps, int) or time_steps < 1:
            raise ValueError(f"time_steps={time_steps!r}: must be a whole number, at least 1")
        self.time_steps = time_steps
        options = {"gamma": gamma, "beta1": beta1, "beta2": beta2, "eps": eps, "lr": 1.0}
        super().__init__(params, options | {"capturable": capturable, "exact": exact})

    def _start(self, p, state):
        super()._start(p, state)
        state["v"] = torch.zeros(self.time_steps, dtype=p.dtype, device=p.device)

    def _second_moment_(self, v, G, group):
        if self.defaults["exact"]:
            return exact_second_moment_(v, G, group["beta2"])
        return second_moment_(v, G, group["beta2"], self._mean_over)

    @torch.no_grad()
    def step(self, closure=None, *, t=None):
        """Update M and v[t] and flip, with the gradient of time step ``t``; returns the closure's loss, if given."""
        if isinstance(t, bool) or not isinstance(t, int) or not 0 <= t < self.time_steps:
            last = self.time_steps - 1
            raise ValueError(f"t={t!r}: must be a whole number from 0 to time_steps - 1 = {last}, as in step(t=0)")
        loss = _closure_loss(closure)
        for group, W, state in self._updates():
            self._update(group, W, state, t)
        return loss

    def _update(self, group, W, state, t):
        M = momentum_(state["momentum"], W.grad, self._scheduled(group, "beta1"))  # Eq. 13
        v = self._second_moment_(state["v"][t], W.grad, group)
        flip_(W, M, threshold(group["lr"] * group["gamma"], v, group["eps"]))  # Eq. 14
