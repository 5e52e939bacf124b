"""What a run trains with, built from its RunConfig: network, optimizers, schedulers, precision and the step.

Whoever trains as ``run(config)`` does, to look inside, to count or to time, builds a :class:`Trainer`.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import LambdaLR

from bso_lib.exact.convert import exact
from bso_lib.exact.descent import ExactAdam, ExactSGD
from bso_lib.exact.loss import cross_entropy
from bso_lib.exact.start import start_
from bso_lib.experiment.ancestors import Bold
from bso_lib.experiment.config import WEIGHTS, RunConfig
from bso_lib.experiment.published_code import PublishedTBSO, kaiming_start_, mixed_loss
from bso_lib.experiment.ranks import parallel
from bso_lib.fast.graphed import GraphedStep
from bso_lib.fast.packed_layers import PackedLayer, pack, unpack
from bso_lib.fast.packed_optim import PackedBSO, PackedTBSO
from bso_lib.layers import BinaryConv2d, LatentConv2d
from bso_lib.models import MODELS, split_parameters
from bso_lib.optim import BSO, TBSO, constant, cosine, inverse_sqrt, stepwise
from bso_lib.training import train_batch


def build_model(config: RunConfig, num_classes: int, in_channels: int):
    """Return the untrained network of ``config``, in plain layers."""
    weights = WEIGHTS[config.method]
    if weights == "latent" and not config.ste_clip:
        weights = "latent-unclipped"
    model = MODELS[config.model](
        num_classes, in_channels, config.width, weights, config.trace, config.batch_norm,
        config.training != "bptt", config.time_steps,
    )  # fmt: skip
    if config.start == "kaiming":
        kaiming_start_(model)
    if config.exact:
        start_(model, config.seed)
    return model.to(memory_format=torch.channels_last)


def flipping_layers(model) -> dict[int, torch.Tensor]:
    """Return the binary or latent weights of ``model`` by the number of their conv, counted from 1."""
    convs = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    return {n: conv.weight for n, conv in enumerate(convs, 1) if isinstance(conv, BinaryConv2d | LatentConv2d)}


def load_start_(model, weights: dict[str, torch.Tensor]):
    """Load the state_dict ``weights`` that the phase before ended with into ``model``, in place.

    BatchNorm statistics of its one time step become those of every time step of ``model``.
    """
    expected = model.state_dict()
    model.load_state_dict({name: value.expand_as(expected[name]) for name, value in weights.items()})


def load_momentum_(optimizer, model, momentum: dict[str, torch.Tensor]):
    """Give BSO or T-BSO the M, by name of the parameter, that the phase before ended with.

    A threshold near 0 makes W = -sign(M) of any M, however small: were M to start from 0 again (Algorithm 1), the sign
    of the very first gradient would replace every weight that the phase before has learned.
    """
    for name, p in model.named_parameters():
        if name in momentum:
            optimizer._start(p, optimizer.state[p])
            optimizer.state[p]["momentum"].copy_(momentum[name])


def _bso(config, model):
    settings = {"gamma": config.gamma, "beta": config.beta1, "exact": config.exact}
    if config.packed != "no":
        return PackedBSO(model, **settings, momentum_dtype=getattr(torch, config.packed), seed=config.seed)
    return BSO(split_parameters(model)[0], **settings, capturable=config.graphed)


def _tbso(config, model):
    # A gradient accumulated over t is one gradient, with one second moment.
    steps = config.time_steps if config.training == "online" else 1
    settings = {"gamma": config.gamma, "beta1": config.beta1, "beta2": config.beta2, "eps": config.eps}
    settings["exact"] = config.exact
    if config.packed != "no":
        return PackedTBSO(model, steps, **settings, momentum_dtype=getattr(torch, config.packed), seed=config.seed)
    binary, _ = split_parameters(model)
    if (config.start, config.eps_place, config.sign_of_zero) == ("grid", "inside", "keep"):
        return TBSO(binary, steps, **settings, capturable=config.graphed)
    return PublishedTBSO(binary, steps, config.eps_place, config.sign_of_zero, **settings)


def _bold(config, model):
    return Bold(split_parameters(model)[0], config.latent_lr)


def build_loss(config: RunConfig):
    """Return the loss of ``config``, a function of (logits, labels)."""
    if config.exact:
        return partial(cross_entropy, mse_weight=config.mse_weight)
    return partial(mixed_loss, mse_weight=config.mse_weight) if config.mse_weight else F.cross_entropy


# Methods whose binary weights an optimizer of their own flips, and how it is made.
FLIPPING = {"bso": _bso, "t-bso": _tbso, "bold": _bold}


def build_optimizers(config: RunConfig, model, batches: int):
    """Return (optimizers, schedulers) of ``config``; ``batches`` per epoch, each scheduler steps once per batch.

    The last optimizer is the one that moves the binary or latent weights.
    """
    _, real = split_parameters(model)
    latent = [m.weight for m in model.modules() if isinstance(m, LatentConv2d)]
    ids = {id(p) for p in latent}
    factors = {
        "constant": constant,
        "inverse-sqrt": inverse_sqrt,
        "stepwise": stepwise(config.step_epochs * batches),
        "cosine": cosine(config.epochs * batches),
    }
    groups = [{"params": [p for p in real if id(p) not in ids], "lr": config.lr}]
    sgd_factors = [factors[config.real_schedule]]
    if latent and config.method == "ste":
        momentum = config.momentum if config.latent_momentum is None else config.latent_momentum
        own = {"momentum": momentum, "weight_decay": config.latent_decay}
        groups.append({"params": latent, "lr": config.latent_lr, **own})
        sgd_factors.append(factors[config.schedule])
    sgd = (ExactSGD if config.exact else torch.optim.SGD)(groups, lr=config.lr, momentum=config.momentum)
    optimizers, schedulers = [sgd], [LambdaLR(sgd, sgd_factors)]
    if config.method == "ste-adam":
        optimizers.append(ExactAdam(latent, lr=config.latent_lr))
    elif config.method in FLIPPING:
        optimizers.append(FLIPPING[config.method](config, model))
    if len(optimizers) > 1:
        schedulers.append(LambdaLR(optimizers[-1], factors[config.schedule]))
    return optimizers, schedulers


class Trainer:
    """What ``config`` trains with.

    ``model``: as :func:`build_model` returns it, on its device; packed and made exact here if the config says so.
    ``batches``: of an epoch. ``start``: (weights, momentum) that the phase before ended with, if ``config.start_from``
    is one.
    Has ``model``, ``optimizers``, ``schedulers``, ``loss``, ``autocast`` (a type or None) and :meth:`step`. On several
    ranks the gradients are averaged before the optimizers see them; exact layers do that themselves.
    """

    def __init__(self, config: RunConfig, model, batches: int, start=None):
        self.config = config
        if start is not None:
            load_start_(model, start[0])
        self.model = model if config.packed == "no" else pack(model)
        if config.exact:
            self.model = self._network = exact(self.model, config.seed)
        else:
            self._network = parallel(self.model, config.time_steps if config.training == "accumulated" else 1)
        self.optimizers, self.schedulers = build_optimizers(config, self.model, batches)
        if start is not None and config.start_momentum == "keep":
            load_momentum_(self.optimizers[-1], self.model, start[1])
        self.loss = build_loss(config)
        self.autocast = torch.bfloat16 if config.precision == "bfloat16" else None
        self._graph = None  # of a step; made at the first one

    def step(self, images, labels, time_steps: int | None = None):
        """Train one batch, with ``time_steps`` if not the config's; return (loss, logits), each summed over t."""
        config = self.config
        arguments = (time_steps or config.time_steps, config.training, self.autocast, self.loss)
        if config.graphed and self._graph is None:
            self._graph = GraphedStep(self._network, self.optimizers, *arguments)
        if self._graph:
            found = self._graph(images, labels)
        else:
            found = train_batch(self._network, images, labels, self.optimizers, *arguments)
        for scheduler in self.schedulers:
            scheduler.step()
        return found

    def raise_if_refused(self):
        """Raise ValueError if a graph's optimizers met gradients that were not finite; waits for the device."""
        if self._graph:
            self._graph.raise_if_refused()

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the state_dict of the network in plain layers."""
        return (self.model if self.config.packed == "no" else unpack(self.model)).state_dict()

    def momentum(self) -> dict[str, torch.Tensor]:
        """Return M of BSO and T-BSO by name of the parameter; nothing for other optimizers."""
        if self.config.method not in FLIPPING:
            return {}
        state = self.optimizers[-1].state
        if self.config.packed == "no":
            holders = self.model.named_parameters()
        else:
            layers = self.model.named_modules()
            holders = ((f"{name}.weight", layer.bits) for name, layer in layers if isinstance(layer, PackedLayer))
        return {name: state[p]["momentum"].float() for name, p in holders if p in state}
