"""The weights that an exact run starts with, from hashes: PyTorch's own draws differ between processors and devices."""

import math

import torch
from torch import nn

from bso_lib.exact.noise import Key, fractions
from bso_lib.layers import BINARY_LAYERS


def _uniform(key: int, size: int) -> torch.Tensor:
    """Return ``size`` numbers in [0, 1), multiples of 2^-16, float32."""
    return fractions(key, size, 0, "cpu").float() * 2**-16


@torch.no_grad()
def start_(model: nn.Module, seed: int) -> nn.Module:
    """Draw all weights of convolutions and linear layers anew, in place.

    As PyTorch does: +-1 for binary layers, else uniform in (-b, b), b = 1 / sqrt(inputs), also for the bias.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for number, layer in enumerate(layers):
        of_weight, of_bias = Key(seed, -1, 0, number).hashes()
        drawn = _uniform(of_weight, layer.weight.numel()).view(layer.weight.shape)
        bound = 1 / math.sqrt(layer.weight[0].numel())
        if isinstance(layer, BINARY_LAYERS):
            layer.weight.copy_(torch.where(drawn < 0.5, -1.0, 1.0))
        else:
            layer.weight.copy_((drawn + 2**-17 - 0.5) * (2 * bound))
        if layer.bias is not None:
            layer.bias.copy_((_uniform(of_bias, layer.bias.numel()) + 2**-17 - 0.5) * (2 * bound))
    return model
