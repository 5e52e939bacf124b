"""A run under way: the network and optimizers of a RunConfig, an epoch of training, checkpoints and exact resume."""

import platform
import warnings
from dataclasses import asdict

import torch
from safetensors.torch import save
from torch.optim.lr_scheduler import LambdaLR

from bso_lib.checkpoint import (
    DamagedCheckpoint,
    generator_states,
    load_checkpoint,
    restore_generators,
    save_checkpoint,
)
from bso_lib.config import WEIGHTS, RunConfig
from bso_lib.flips import FlipRecorder
from bso_lib.graphed import GraphedStep
from bso_lib.layers import BinaryConv2d, LatentConv2d
from bso_lib.models import MODELS, split_parameters
from bso_lib.optim import BSO, TBSO, constant, cosine, inverse_sqrt, stepwise
from bso_lib.parallel.group import agreed, check_share, parallel, share, summed, world, writes
from bso_lib.paths import write_atomically
from bso_lib.published_code import PublishedTBSO, kaiming_start_
from bso_lib.training import train_batch

WEIGHTS_FILE, MOMENTUM_FILE = "weights.safetensors", "momentum.safetensors"


def build_model(config: RunConfig, num_classes: int, in_channels: int):
    """Return the untrained network of ``config``."""
    weights = WEIGHTS[config.method]
    if weights == "latent" and not config.ste_clip:
        weights = "latent-unclipped"
    model = MODELS[config.model](
        num_classes, in_channels, config.width, weights, config.trace, config.batch_norm,
        config.training != "bptt", config.time_steps,
    )  # fmt: skip
    if config.start == "kaiming":
        kaiming_start_(model)
    return model.to(memory_format=torch.channels_last)


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
            optimizer.state[p]["momentum"] = torch.empty_like(p).copy_(momentum[name])


def flipping_layers(model) -> dict[int, torch.Tensor]:
    """Return the binary or latent weights of ``model`` by the number of their conv, counted from 1."""
    convs = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    return {n: conv.weight for n, conv in enumerate(convs, 1) if isinstance(conv, BinaryConv2d | LatentConv2d)}


def build_optimizers(config: RunConfig, model, batches: int):
    """Return (optimizers, schedulers) of ``config``; ``batches`` per epoch, each scheduler steps once per batch."""
    binary, real = split_parameters(model)
    latent = [m.weight for m in model.modules() if isinstance(m, LatentConv2d)]
    ids = {id(p) for p in latent}
    total = config.epochs * batches
    factors = {
        "constant": constant,
        "inverse-sqrt": inverse_sqrt,
        "stepwise": stepwise(config.step_epochs * batches),
        "cosine": cosine(total),
    }
    groups = [{"params": [p for p in real if id(p) not in ids], "lr": config.lr}]
    sgd_factors = [factors[config.real_schedule]]
    if latent:
        groups.append({"params": latent, "lr": config.latent_lr})
        sgd_factors.append(factors[config.schedule])
    sgd = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    optimizers, schedulers = [sgd], [LambdaLR(sgd, sgd_factors)]
    if binary:
        flips = BSO(binary, config.gamma, config.beta1) if config.method == "bso" else _tbso(config, binary)
        optimizers.append(flips)
        schedulers.append(LambdaLR(flips, factors[config.schedule]))
    return optimizers, schedulers


def _tbso(config, binary):
    # A gradient accumulated over t is one gradient, with one second moment.
    steps = config.time_steps if config.training == "online" else 1
    settings = {"gamma": config.gamma, "beta1": config.beta1, "beta2": config.beta2, "eps": config.eps}
    if (config.start, config.eps_place, config.sign_of_zero) == ("grid", "inside", "keep"):
        return TBSO(binary, steps, **settings)
    return PublishedTBSO(binary, steps, config.eps_place, config.sign_of_zero, **settings)


def snapshot_name(epoch: int) -> str:
    """Return the file name of the weights kept after ``epoch``."""
    return f"weights-{epoch:04d}.safetensors"


class Job:
    """A run under way: everything that changes as it trains, and how that is stored and taken up again.

    ``start``: (weights, momentum) that the phase before ended with, if ``config.start_from`` is one. Every rank of a
    process group has a Job of its own, with the same state; rank 0's is stored. Raises ValueError if the ranks cannot
    share a batch equally.
    """

    def __init__(self, config, train, device, start=None):
        check_share(min(config.batch_size, len(train)))
        self.config, self.device = config, device
        self.generator = torch.Generator(device).manual_seed(config.seed)
        self.shape = (train.num_classes, train.channels)
        self.model = build_model(config, *self.shape).to(device)
        if start is not None:
            load_start_(self.model, start[0])
        self.network = parallel(self.model)  # what is trained: the model, its gradients averaged over the ranks
        self.batches = train.number_of_batches(config.batch_size)
        self.optimizers, self.schedulers = build_optimizers(config, self.model, self.batches)
        if start is not None and config.start_momentum == "keep":
            load_momentum_(self.optimizers[-1], self.model, start[1])
        layers = flipping_layers(self.model)
        # The last optimizer is the one that moves them: BSO or TBSO, or the SGD of latent weights.
        self.recorder = FlipRecorder(layers, self.optimizers[-1]) if layers and config.record_flips else None
        self.graph = None  # of a step; made in the first epoch
        self.history, self.seconds = [], 0.0

    def train_epoch(self, train, autocast, bar):
        """Train one epoch and return its row of the history; sums stay on the device until its end."""
        config = self.config
        self.model.train()
        arguments = (self.optimizers, config.time_steps, config.training, autocast, config.mse_weight)
        if config.graphed and self.graph is None:
            self.graph = GraphedStep(self.network, *arguments)
        step = self.graph or (lambda images, labels: train_batch(self.network, images, labels, *arguments))
        loss_sum, correct, seen, batches = 0.0, 0, 0, 0
        for images, labels in train.batches(config.batch_size, self.generator, config.augment, share):
            loss, logits = step(images, labels)
            for scheduler in self.schedulers:
                scheduler.step()
            loss_sum, correct = loss_sum + loss, correct + (logits.argmax(1) == labels).sum()
            seen, batches = seen + len(labels), batches + 1
            bar.update()
        if self.recorder:
            self.recorder.end_epoch()
        if self.graph:
            self.graph.raise_if_refused()
        ranks = world()[1]
        return {
            "train_loss": float(summed(loss_sum)) / (ranks * batches),
            "train_accuracy": 100 * int(summed(correct)) / (ranks * seen),
        }

    def _parts(self):
        """What has a state_dict, by name."""
        parts = {"model": self.model}
        parts |= {f"optimizer {i}": part for i, part in enumerate(self.optimizers)}
        parts |= {f"scheduler {i}": part for i, part in enumerate(self.schedulers)}
        return parts | ({"recorder": self.recorder} if self.recorder else {})

    def checkpoint(self, folder, epoch):
        """Store the state after ``epoch``, which is the same on every rank."""
        if not writes():
            return
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"generators": generator_states(self.generator), "history": self.history, "seconds": self.seconds}
        save_checkpoint(folder / f"checkpoint-{epoch:04d}.pt", state)
        for old in sorted(folder.glob("checkpoint-*.pt"))[:-2]:  # one spare, should the last be damaged
            old.unlink()

    def resume(self, folder):
        """Load the last good checkpoint, if there is one, into everything; rank 0 reads it for all."""
        state = agreed(self._last_state(folder) if writes() else None)
        if state is None:
            return
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        restore_generators(state["generators"], self.generator)
        self.history, self.seconds = state["history"], state["seconds"]

    @staticmethod
    def _last_state(folder):
        for path in sorted(folder.glob("checkpoint-*.pt"), reverse=True):
            try:
                return load_checkpoint(path)
            except DamagedCheckpoint as error:
                warnings.warn(f"{error}; falling back to the one before", stacklevel=5)
                path.unlink()
        return None

    def _weights(self):
        return _safetensors(self.model.state_dict())

    def _momentum(self):
        """M of BSO and T-BSO by name of the parameter; nothing for other optimizers."""
        state = self.optimizers[-1].state if isinstance(self.optimizers[-1], BSO | TBSO) else {}
        named = self.model.named_parameters()
        return _safetensors({name: state[p]["momentum"] for name, p in named if p in state})

    def snapshot(self, folder, epoch):
        """Keep the weights after ``epoch``, if the config asks for it."""
        every = self.config.snapshot_every
        if writes() and every and epoch % every == 0:
            write_atomically(folder / snapshot_name(epoch), self._weights())

    def outcome(self) -> tuple[dict, dict[str, bytes]]:
        """Return what is to be stored of the finished run: a JSON-ready dict, and files by name."""
        cpu = f"cpu, {torch.get_num_threads()} threads"
        provenance = {
            "device": torch.cuda.get_device_name() if self.device == "cuda" else cpu,
            "processes": world()[1],
            "torch": torch.__version__,
            "python": platform.python_version(),
            "seconds": round(self.seconds, 2),
            "num_classes": self.shape[0],
            "in_channels": self.shape[1],
        }
        flips = self.recorder.result().to_dict() if self.recorder else None
        stored = {"config": asdict(self.config), "history": self.history, "provenance": provenance, "flips": flips}
        return stored, {WEIGHTS_FILE: self._weights(), MOMENTUM_FILE: self._momentum()}


def _safetensors(tensors):
    return save({name: value.cpu().contiguous() for name, value in tensors.items()})
