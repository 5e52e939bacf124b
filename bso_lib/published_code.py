"""T-BSO as the authors' published code runs it, where that differs from the paper's text.

The library follows the text. These are the code's choices, so that their effect can be measured (notebook 13); every
one is a switch of ``bso_lib.config.RunConfig``. Written from a description of the differences.
"""

import torch
from torch import nn

from bso_lib.layers import BINARY_LAYERS
from bso_lib.optim import TBSO


def kaiming_start_(model: nn.Module):
    """Give the binary layers of ``model`` torch's own real-valued initialisation, off the grid, in place."""
    for module in model.modules():
        if isinstance(module, BINARY_LAYERS):
            (nn.Conv2d if isinstance(module, nn.Conv2d) else nn.Linear).reset_parameters(module)


class PublishedTBSO(TBSO):
    """:class:`bso_lib.optim.TBSO`, with the published code's choices where asked for.

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

    def _threshold(self, group, v):
        if self.eps_place == "inside":
            return super()._threshold(group, v)
        return group["lr"] * group["gamma"] * (v.sqrt() + group["eps"])

    def _flip(self, p, momentum, threshold):
        sign = p.sign()
        agreement = sign * momentum - threshold
        kept_at_equality = agreement.sign() if self.sign_of_zero == "zero" else torch.where(agreement > 0, 1.0, -1.0)
        p.copy_(-kept_at_equality * sign)
