"""BSO and T-BSO for packed layers: momentum and bits move inside the backward pass, one layer at a time.

The rules are those of ``bso_lib.optim`` (Eq. 11-14), and so are options, schedules and, with float32 momentum, state:
a plain optimizer's ``state_dict()`` loads. What differs is when a layer is updated: in ``loss.backward()``, as soon as
its gradient is there. :meth:`step` then only closes the time step, so the calls are those of any optimizer.

Persistent state is one bit and the momentum: 4.125 bytes for each weight, 2.125 with ``momentum_dtype=torch.bfloat16``,
which is rounded up or down at random: rounded to the nearest, it would not move at all by a thousandth of itself.

A gradient that is not finite raises ValueError before its layer changes. Layers nearer to the output have then taken
their own, finite gradients. Where the loss is not finite, no gradient is, so nothing has changed. Call ``zero_grad()``
to go on. Do not scale the loss (``torch.amp.GradScaler``): there is no moment at which gradients could be unscaled.
"""

import torch
import torch.distributed as dist

from bso_lib.fast.bits import pack_bools
from bso_lib.fast.packed_layers import flat, packed_layers
from bso_lib.optim import BSO, TBSO, flips, momentum_, threshold

# Weights that a CPU updates at a time: they stay in its cache, and PyTorch does not split so few among threads, which
# costs more than it gains as soon as another process is at work.
_CHUNK = 1 << 15


def rounding_noise(size: int, device, generator: torch.Generator | None = None) -> torch.Tensor:
    """Return ``size`` whole numbers, int32, uniform from 0 to 65535."""
    words = torch.empty(-(-size // 4), dtype=torch.int64, device=device)
    quarters = words.random_(-(2**63), None, generator=generator).view(torch.int16)[:size]  # of 64 random bits
    return quarters.to(torch.int32).bitwise_and_(0xFFFF)


def stochastic_round_(x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Round ``x`` (n,), float32, in place to one of its two bfloat16 neighbours each, on average ``x``.

    ``noise``: at least n numbers from :func:`rounding_noise`.
    """
    # bfloat16 is the upper half of a float32: add noise to the lower half, then cut it off.
    x.view(torch.int32).add_(noise[: len(x)]).bitwise_and_(-0x10000)
    return x


class _InBackward:
    """What PackedBSO and PackedTBSO add to the plain optimizers."""

    def _attach(self, model, momentum_dtype, seed):
        """Take over the packed layers of ``model``; return their bits, which stand for them in the param groups."""
        if momentum_dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"momentum_dtype={momentum_dtype!r}: must be torch.float32 or torch.bfloat16")
        if dist.is_initialized() and dist.get_world_size() > 1:
            raise ValueError("packed layers flip before gradients can be averaged over ranks: train in one process")
        self.layers, self.momentum_dtype = packed_layers(model), momentum_dtype
        if not self.layers:
            raise ValueError("the model has no packed layers: see bso_lib.fast.packed_layers.pack")
        self.generator = torch.Generator(self.layers[0].bits.device).manual_seed(seed)
        return [layer.bits for layer in self.layers]

    def _take_over(self):
        self._times = set()  # the time steps of the updates since the last step()
        for layer in self.layers:
            layer.update = self._update

    def _check_grid(self, parameters):
        pass  # bits are nowhere else

    def state_dict(self):
        """Return what resumes exactly: the momentum (and v), the options, the state of the random rounding."""
        return super().state_dict() | {"generator": self.generator.get_state()}

    def load_state_dict(self, state_dict):
        """Undo :meth:`state_dict`; the state of a plain optimizer of the same layers serves as well."""
        super().load_state_dict(state_dict)
        if "generator" in state_dict:
            self.generator.set_state(state_dict["generator"].cpu())
        for layer in self.layers:
            if "momentum" in self.state.get(layer.bits, {}):
                loaded = self.state[layer.bits]["momentum"]
                self.state[layer.bits]["momentum"] = self._momentum(layer).copy_(loaded)

    def zero_grad(self, set_to_none=True):
        """Close the time step, as :meth:`step`, also where the backward pass was broken off; no gradient is kept."""
        self._times.clear()
        for layer in self.layers:
            layer.pending = None

    def bytes_per_weight(self) -> dict[str, float]:
        """Return what stays in memory between two steps, in bytes for each packed weight: "weight", "momentum", "v"."""
        found = {"weight": sum(layer.bits.untyped_storage().nbytes() for layer in self.layers)}
        for state in self.state.values():
            for name, value in state.items():
                found[name] = found.get(name, 0) + value.untyped_storage().nbytes()
        weights = sum(layer.shape.numel() for layer in self.layers)
        return {name: size / weights for name, size in found.items()}

    def _momentum(self, layer):
        return torch.empty_strided(layer.shape, layer.strides, dtype=self.momentum_dtype, device=layer.bits.device)

    @torch.no_grad()
    def _update(self, layer, weight, grad, t):
        """Move momentum and bits of ``layer`` by its gradient at time step ``t``."""
        group = next((g for g in self.param_groups if any(p is layer.bits for p in g["params"])), None)
        if group is None:
            raise RuntimeError(f"{layer} has been moved to another device since its optimizer was made: make a new one")
        grad = grad.float()
        if grad.stride() != layer.strides:
            grad = torch.empty_strided(layer.shape, layer.strides, device=grad.device).copy_(grad)
        grad = flat(grad)
        state = self.state[layer.bits]
        beta, bound = self._beta_and_threshold(group, state, grad, t)
        if "momentum" not in state:
            state["momentum"] = self._momentum(layer).zero_()
        layer.bits ^= pack_bools(self._move(flat(state["momentum"]), flat(weight), grad, beta, bound))
        self._times.add(t)

    def _move(self, momentum, weight, grad, beta, bound):
        """Update M (Eq. 11, 13) and return where w * M > ``bound`` (Eq. 12, 14); all of shape (n,)."""
        flipped = torch.empty(len(grad), dtype=torch.bool, device=grad.device)
        size = min(_CHUNK, len(grad)) if grad.device.type == "cpu" else len(grad)
        rounded = self.momentum_dtype == torch.bfloat16
        # One noise for all pieces: each weight's is new at every update, but weights ``size`` apart share it.
        noise = rounding_noise(size, grad.device, self.generator) if rounded else None
        for m, w, g, flip in zip(*(x.split(size) for x in (momentum, weight, grad, flipped)), strict=True):
            moved = momentum_(m.float(), g, beta)  # in place if M is float32
            if rounded:
                m.copy_(stochastic_round_(moved, noise))
            flip.copy_(flips(w, moved, bound))
        return flipped


def _require_finite(grad):
    if not bool(torch.stack(grad.aminmax()).isfinite().all()):
        raise ValueError(
            "the gradient of a packed layer is not finite (NaN or infinity): neither its weights and momentum nor "
            "those of the layers before it were changed"
        )


class PackedBSO(_InBackward, BSO):
    """BSO (Eq. 11, 12) for the packed layers of ``model``; options and errors as :class:`bso_lib.optim.BSO`.

    ``momentum_dtype``: torch.float32 or torch.bfloat16; ``seed``: of the latter's random rounding.
    Raises ValueError for a model without packed layers, another type, and several ranks.
    """

    def __init__(self, model, gamma=5e-7, beta=0.999, momentum_dtype=torch.float32, seed=0, exact=False):
        super().__init__(self._attach(model, momentum_dtype, seed), gamma, beta, exact=exact)
        self._take_over()

    def step(self, closure=None):
        """Close the time step: the weights were updated in the backward pass; returns the closure's loss, if given."""
        loss = None if closure is None else closure()
        self.zero_grad()
        return loss

    def _beta_and_threshold(self, group, state, grad, t):
        _require_finite(grad)
        return self._scheduled(group, "beta"), group["lr"] * group["gamma"]


class PackedTBSO(_InBackward, TBSO):
    """T-BSO (Eq. 13, 14) for the packed layers of ``model``; options and errors as :class:`bso_lib.optim.TBSO`.

    The time step is the layers' own count of forward passes since ``reset_state()`` (``PackedLayer.t``).
    ``momentum_dtype``, ``seed``: as for :class:`PackedBSO`.
    """

    def __init__(
        self, model, time_steps, gamma=5e-7, beta1=0.999, beta2=0.99999, eps=1e-20, momentum_dtype=torch.float32,
        seed=0, exact=False,
    ):  # fmt: skip
        super().__init__(self._attach(model, momentum_dtype, seed), time_steps, gamma, beta1, beta2, eps, exact=exact)
        self._take_over()

    def step(self, closure=None, *, t=None):
        """Close time step ``t``, as :meth:`PackedBSO.step`; raises ValueError if the backward pass was of another."""
        if t is None:
            raise ValueError("t=None: must be the time step of the backward pass, as in step(t=0)")
        loss = None if closure is None else closure()
        others = self._times - {t}
        self.zero_grad()
        if others:
            raise ValueError(f"t={t!r}: the backward pass was of time step {others.pop()}; call model.reset_state()")
        return loss

    def _beta_and_threshold(self, group, state, grad, t):
        if not 0 <= t < self.time_steps:
            raise ValueError(f"t={t!r}: must be from 0 to time_steps - 1 = {self.time_steps - 1}; call reset_state()")
        if "v" not in state:
            state["v"] = torch.zeros(self.time_steps, device=grad.device)
        v = self._second_moment_(state["v"][t].clone(), grad, group)
        if not bool(v.isfinite()):  # which may also be a finite gradient whose square is too large
            _require_finite(grad)
        state["v"][t] = v
        return self._scheduled(group, "beta1"), threshold(group["lr"] * group["gamma"], v, group["eps"])
