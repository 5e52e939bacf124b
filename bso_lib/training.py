"""Training one batch online or by BPTT, and evaluation.

A batch is (N, C, H, W), shown unchanged at every time step, or (N, T, C, H, W), one frame per step.
"""

import torch
import torch.nn.functional as F

from bso_lib.neurons import LIF
from bso_lib.optim import TBSO

TRAININGS = ("online", "accumulated", "bptt")


def frame(images: torch.Tensor, t: int) -> torch.Tensor:
    """Return what the network sees at time step t: the static image, or frame t of (N, T, C, H, W)."""
    return images if images.dim() <= 4 else images[:, t]


def apply_gradients(optimizers, t: int):
    """Step each optimizer with the gradient of time step ``t`` and clear the gradients."""
    for optimizer in optimizers:
        if isinstance(optimizer, TBSO):
            optimizer.step(t=t)
        else:
            optimizer.step()
        optimizer.zero_grad()


def online_step(model, images, labels, optimizers, time_steps, real_time=True, autocast=None, loss=F.cross_entropy):
    """Train one batch online; return (loss, logits), detached, each summed over t.

    L[t] = ``loss`` / T, the cross entropy. Each time step's graph is freed by its own backward. ``real_time``: update
    at every t (Eq. 9); else the gradients are summed over t and applied once (Eq. 10), as time step 0.
    """
    model.reset_state()
    total_loss, total_logits = 0.0, 0.0
    for t in range(time_steps):
        loss_t, logits = loss_at(model, images, labels, t, time_steps, autocast, loss)
        loss_t.backward()
        if real_time:
            apply_gradients(optimizers, t)
        total_loss, total_logits = total_loss + loss_t.detach(), total_logits + logits.detach()
    if not real_time:
        apply_gradients(optimizers, 0)
    return total_loss, total_logits


def bptt_step(model, images, labels, optimizers, time_steps, autocast=None, loss=F.cross_entropy):
    """Train one batch by backpropagation through time (Eq. 5); return (loss, logits) as :func:`online_step`.

    The graphs of all T steps are kept until the one backward, so memory grows with T. Raises ValueError for a network
    built with ``online=True``, whose neurons cut the path through time.
    """
    if any(isinstance(module, LIF) and module.online for module in model.modules()):
        raise ValueError("training='bptt' needs the gradient through time: build the network with online=False")
    model.reset_state()
    total_loss, total_logits = 0.0, 0.0
    for t in range(time_steps):
        loss_t, logits = loss_at(model, images, labels, t, time_steps, autocast, loss)
        total_loss, total_logits = total_loss + loss_t, total_logits + logits.detach()
    total_loss.backward()
    apply_gradients(optimizers, 0)
    model.reset_state()  # the membranes hold the graph
    return total_loss.detach(), total_logits


def loss_at(model, images, labels, t, time_steps, autocast=None, loss=F.cross_entropy):
    """Return (loss, logits) of time step ``t`` alone: L[t] = ``loss`` / T, and the network's answer."""
    x = frame(images, t)
    with torch.autocast(x.device.type, dtype=autocast, enabled=autocast is not None):
        logits = model(x)
    logits = logits if autocast is None else logits.float()
    return loss(logits, labels) / time_steps, logits


def train_batch(model, images, labels, optimizers, time_steps, training="online", autocast=None, loss=F.cross_entropy):
    """Train one batch by ``training``: "online" (Eq. 9), "accumulated" (Eq. 10) or "bptt"; see the two steps above.

    ``autocast``: a lower precision for the forward pass, such as torch.bfloat16. ``loss``: of (logits,
    labels), the mean over the batch. Raises ValueError for an unknown name, or as :func:`bptt_step`.
    """
    if training not in TRAININGS:
        raise ValueError(f"training={training!r}: must be one of {', '.join(TRAININGS)}")
    if training == "bptt":
        return bptt_step(model, images, labels, optimizers, time_steps, autocast, loss)
    return online_step(model, images, labels, optimizers, time_steps, training == "online", autocast, loss)


@torch.no_grad()
def predict(model, images, time_steps, autocast=None):
    """Return the logits (N, classes) summed over ``time_steps``, in the model's present mode."""
    model.reset_state()
    total = 0.0
    for t in range(time_steps):
        x = frame(images, t)
        with torch.autocast(x.device.type, dtype=autocast, enabled=autocast is not None):
            total = total + model(x).to(x.dtype)
    model.reset_state()
    return total


def count_correct(model, batches, time_steps, autocast=None) -> torch.Tensor:
    """Return for how many images of ``batches`` the argmax of the logits summed over t is right; running statistics."""
    was_training = model.training
    model.eval()
    correct = 0
    for images, labels in batches:
        if len(labels):
            correct = correct + (predict(model, images, time_steps, autocast).argmax(1) == labels).sum()
    model.train(was_training)
    return torch.as_tensor(correct)


def evaluate(model, split, time_steps, batch_size=500, autocast=None) -> float:
    """Return the accuracy in percent on ``split``: argmax of the logits summed over t, running statistics."""
    return 100 * int(count_correct(model, split.batches(batch_size), time_steps, autocast)) / len(split)
