"""The networks of the paper, and small ones for teaching."""

import math
from numbers import Real

from torch import nn

from bso_lib.layers import (
    BINARY_LAYERS,
    CONVS,
    LINEARS,
    Shortcut,
    SpikingPool,
    TimeStepBatchNorm2d,
    TracedConv2d,
    TracedLinear,
    require_whole,
)
from bso_lib.neurons import LIF

BATCH_NORMS = ("shared", "per-step")
VGG11 = (64, 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512)
RESNET18 = (64, 128, 256, 512)  # channels of the stages, four binary convs each


class SpikingNet(nn.Sequential):
    """A spiking network run one time step at a time: layers in order, logits out.

    ``reset_state()`` before each batch; then ``logits = net(x_t)`` for t = 0, 1, ...
    """

    def reset_state(self):
        """Forget membranes and traces and go back to t = 0."""
        for module in self.modules():
            if module is not self and hasattr(module, "reset_state"):
                module.reset_state()


def _check(name, value, allowed):
    if value not in tuple(allowed):
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(map(str, allowed))}")


def _check_arguments(num_classes, in_channels, width, weights, batch_norm, time_steps):
    _check("weights", weights, CONVS)
    _check("batch_norm", batch_norm, BATCH_NORMS)
    require_whole(num_classes=num_classes, in_channels=in_channels)
    if batch_norm == "per-step" or time_steps is not None:
        require_whole(time_steps=time_steps)
    if not (isinstance(width, Real) and 1 / 64 <= width < math.inf):
        raise ValueError(f"width={width!r}: must be at least 1/64, so that every layer keeps a channel")


def _norm(channels, batch_norm, time_steps):
    return TimeStepBatchNorm2d(channels, time_steps) if batch_norm == "per-step" else nn.BatchNorm2d(channels)


def vgg11(
    num_classes=10, in_channels=3, width=1.0, weights="binary", trace="ottt", batch_norm="shared", online=True,
    time_steps=None,
):  # fmt: skip
    """Return the paper's VGG-11: 64C3-128C3-AP2-256C3-256C3-AP2-512C3-512C3-AP2-512C3-512C3-GAP-FC.

    Each conv is followed by BatchNorm and LIF. The first conv and the classifier are real-valued; the seven convs
    between are ``weights``: "binary" (+-1, no latent copy), "latent" (STE), "latent-unclipped" or "real". ``width``
    multiplies every channel count. ``batch_norm``: "shared" running statistics or one set "per-step", which needs
    ``time_steps``. ``trace``, ``online``: see :class:`bso_lib.neurons.LIF`. Input (N, in_channels, H, W), H and W at
    least 8. Raises ValueError for anything else.
    """
    _check_arguments(num_classes, in_channels, width, weights, batch_norm, time_steps)
    layers, previous = [], in_channels
    for item in VGG11:
        if item == "pool":
            layers.append(SpikingPool(2))
            continue
        channels = int(item * width)
        conv = TracedConv2d if not layers else CONVS[weights]
        layers += [conv(previous, channels, 3, padding=1), _norm(channels, batch_norm, time_steps), LIF(trace, online)]
        previous = channels
    return SpikingNet(*layers, SpikingPool(None), TracedLinear(previous, num_classes))


def resnet18(
    num_classes=1000, in_channels=3, width=1.0, weights="binary", trace="ottt", batch_norm="shared", online=True,
    time_steps=None,
):  # fmt: skip
    r"""Return the spiking ResNet-18 in the shape of Bi-Real Net: each of the 16 binary convs has its own shortcut.

        s_l[t] = LIF(I_l)[t],      I_{l+1}[t] = BN(W_l * s_l[t]) + S_l(I_l[t])

    S_l is the identity or, where the conv has stride 2 and doubles the channels, average pooling, a real 1x1 conv and
    BatchNorm. What enters every binary conv are spikes with their trace; the shortcuts carry the real-valued currents
    past the neurons, as Bi-Real Net's carry what its signs lose. I_1 comes from a real 7x7 conv of stride 2, BatchNorm
    and average pooling; the spikes of the last sum are pooled over whole maps and enter a real classifier.

    Odd sides of a map are rounded up. Arguments, and what is raised, as for :func:`vgg11`.
    """
    _check_arguments(num_classes, in_channels, width, weights, batch_norm, time_steps)
    previous = int(RESNET18[0] * width)
    stem = [TracedConv2d(in_channels, previous, 7, 2, 3), _norm(previous, batch_norm, time_steps)]
    layers = [*stem, nn.AvgPool2d(2, ceil_mode=True)]
    for stage in RESNET18:
        channels = int(stage * width)
        for number in range(4):
            stride = 2 if number == 0 and stage != RESNET18[0] else 1
            conv = CONVS[weights](previous, channels, 3, stride, padding=1)
            body = nn.Sequential(LIF(trace, online), conv, _norm(channels, batch_norm, time_steps))
            shortcut = nn.Sequential()
            if stride == 2:
                shortcut.append(nn.AvgPool2d(2, ceil_mode=True))
                shortcut.append(TracedConv2d(previous, channels, 1))
                shortcut.append(_norm(channels, batch_norm, time_steps))
            layers.append(Shortcut(body, shortcut))
            previous = channels
    return SpikingNet(*layers, LIF(trace, online), SpikingPool(None), TracedLinear(previous, num_classes))


MODELS = {"vgg11": vgg11, "resnet18": resnet18}


def spiking_mlp(in_features, hidden=64, num_classes=10, weights="binary", trace="ottt", online=True):
    """Return a small network for teaching: a real input layer, LIF, one ``weights`` layer, LIF, real classifier.

    Input of any shape with ``in_features`` numbers per sample; layer norm stands in for BatchNorm, so that it also
    runs on a single sample.
    """
    _check("weights", weights, LINEARS)
    require_whole(in_features=in_features, hidden=hidden, num_classes=num_classes)
    middle = TracedLinear(hidden, hidden, bias=False) if weights == "real" else LINEARS[weights](hidden, hidden)
    return SpikingNet(
        nn.Flatten(),
        TracedLinear(in_features, hidden), nn.LayerNorm(hidden), LIF(trace, online),
        middle, nn.LayerNorm(hidden), LIF(trace, online),
        TracedLinear(hidden, num_classes),
    )  # fmt: skip


def split_parameters(model: nn.Module):
    """Return (binary, real): the +-1 weights, for BSO or TBSO, and all other parameters, for any usual optimizer.

    Raises TypeError for what is no ``torch.nn.Module``.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model={type(model).__name__}: must be a torch.nn.Module")
    binary = [module.weight for module in model.modules() if isinstance(module, BINARY_LAYERS)]
    ids = {id(p) for p in binary}
    return binary, [p for p in model.parameters() if id(p) not in ids]
