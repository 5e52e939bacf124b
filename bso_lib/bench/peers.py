"""The same network in other libraries, for the benchmark: VGG-11 at full width, T time steps, a training step.

Needs the extra ``peers`` (SpikingJelly, snnTorch). Their weights are real-valued; the shapes of all convolutions, and
so the arithmetic that a step cannot avoid, are those of ``bso_lib.models.vgg11``.
"""

from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import nn

from bso_lib.models import VGG11

POOLS = [item if item != "pool" else "A" for item in VGG11]  # "A": average pooling, in SpikingJelly's configurations


def missing() -> list[str]:
    """Return the packages of the extra ``peers`` that are not installed."""
    return [name for name in ("spikingjelly", "snntorch") if find_spec(name) is None]


def _sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def spikingjelly_ottt(images, labels, time_steps):
    """Return a function that trains SpikingJelly's OTTT VGG one batch online, an update per time step."""
    from spikingjelly.activation_based import functional, neuron, surrogate
    from spikingjelly.activation_based.model.spiking_vggws_ottt import OTTTSpikingVGG

    lif = {"tau": 2.0, "surrogate_function": surrogate.Sigmoid(alpha=4.0)}
    model = OTTTSpikingVGG(cfg=POOLS, num_classes=10, spiking_neuron=neuron.OTTTLIFNode, **lif)
    model = model.to(images.device).to(memory_format=torch.channels_last)
    optimizer = _sgd(model)

    def step():
        for _ in range(time_steps):
            optimizer.zero_grad()
            (F.cross_entropy(model(images), labels) / time_steps).backward()
            optimizer.step()
        functional.reset_net(model)

    return step


def _convolutional(conv, norm, pool, neuron, flatten, linear):
    layers, previous = [], 3
    for item in VGG11:
        layers += (
            [pool(2)] if item == "pool" else [conv(previous, item, 3, padding=1, bias=False), norm(item), neuron()]
        )
        previous = previous if item == "pool" else item
    return nn.Sequential(*layers, flatten, linear(previous, 10))


def spikingjelly_bptt(images, labels, time_steps):
    """Return a function that trains the network of SpikingJelly's layers one batch by BPTT, all time steps at once."""
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    def lif():
        sigmoid = surrogate.Sigmoid(alpha=4.0)
        return neuron.LIFNode(2.0, decay_input=False, v_reset=None, surrogate_function=sigmoid, detach_reset=True)

    head = nn.Sequential(layer.AdaptiveAvgPool2d(1), layer.Flatten())
    model = _convolutional(layer.Conv2d, layer.BatchNorm2d, layer.AvgPool2d, lif, head, layer.Linear)
    functional.set_step_mode(model, "m")
    model = model.to(images.device).to(memory_format=torch.channels_last)
    optimizer = _sgd(model)

    def step():
        optimizer.zero_grad()
        logits = model(images.unsqueeze(0).expand(time_steps, *images.shape)).mean(0)
        F.cross_entropy(logits, labels).backward()
        optimizer.step()
        functional.reset_net(model)

    return step


def snntorch_bptt(images, labels, time_steps):
    """Return a function that trains the network of snnTorch's neurons one batch by BPTT, step after step."""
    import snntorch
    from snntorch import surrogate, utils

    def lif():
        sigmoid = surrogate.sigmoid(slope=4)
        return snntorch.Leaky(0.5, spike_grad=sigmoid, reset_mechanism="subtract", init_hidden=True)

    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = _convolutional(nn.Conv2d, nn.BatchNorm2d, nn.AvgPool2d, lif, head, nn.Linear)
    model = model.to(images.device).to(memory_format=torch.channels_last)
    optimizer = _sgd(model)

    def step():
        optimizer.zero_grad()
        utils.reset(model)
        loss = sum(F.cross_entropy(model(images), labels) for _ in range(time_steps)) / time_steps
        loss.backward()
        optimizer.step()

    return step


PEERS = {
    "SpikingJelly, OTTT": spikingjelly_ottt,
    "SpikingJelly, BPTT": spikingjelly_bptt,
    "snnTorch, BPTT": snntorch_bptt,
}
