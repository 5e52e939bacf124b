"""T-BSO as the authors' published code runs it, where that differs from the paper's text.

The library follows the text. These are the code's choices, so that their effect can be measured (notebook 13); every
one is a switch of ``bso_lib.RunConfig``. Written from a description of the differences.
"""

import torch.nn.functional as F
from torch import nn

from bso_lib.layers import BINARY_LAYERS
from bso_lib.optim import TBSO, flip_, momentum_, threshold


def kaiming_start_(model: nn.Module):
    """Give the binary layers of ``model`` torch's own real-valued initialisation, off the grid, in place."""
    for module in model.modules():
        if isinstance(module, BINARY_LAYERS):
            (nn.Conv2d if isinstance(module, nn.Conv2d) else nn.Linear).reset_parameters(module)


def mixed_loss(logits, labels, mse_weight):
    """Return (1 - k) cross entropy + k MSE(logits, one-hot), k = ``mse_weight``."""
    one_hot = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return (1 - mse_weight) * F.cross_entropy(logits, labels) + mse_weight * F.mse_loss(logits, one_hot)


class PublishedTBSO(TBSO):
    """:class:`bso_lib.TBSO`, with the published code's choices where asked for.

    ``eps_place``: "inside" the root as in Eq. 14, or "outside": gamma (sqrt(v[t]) + eps).
    ``sign_of_zero``: "keep" the weight at equality, or "zero": W <- -sign(W * M - threshold) * W taken
    literally puts a 0 there, which no later update moves. Weights may start anywhere: the first update puts them on
    the grid.
    Raises ValueError for another name.
    """

    def __init__(self, params, time_steps, eps_place="inside", sign_of_zero="keep", **settings):
        for name, value, allowed in (
            ("eps_place", eps_place, ("inside", "outside")),
            ("sign_of_zero", sign_of_zero, ("keep", "zero")),
        ):
            if value not in allowed:
                raise ValueError(f"{name}={value!r}: must be one of {', '.join(allowed)}")
        self.eps_place, self.sign_of_zero = eps_place, sign_of_zero
        super().__init__(params, time_steps, **settings)

    def _check_grid(self, parameters):
        """Accept any start."""

    def _update(self, group, W, state, t):
        M = momentum_(state["momentum"], W.grad, self._scheduled(group, "beta1"))
        v = self._second_moment_(state["v"][t], W.grad, group)
        gamma, eps = group["lr"] * group["gamma"], group["eps"]
        bound = threshold(gamma, v, eps) if self.eps_place == "inside" else gamma * (v.sqrt() + eps)
        W.sign_()
        if self.sign_of_zero == "zero":
            W.masked_fill_(bound == W * M, 0.0)
        flip_(W, M, bound)
