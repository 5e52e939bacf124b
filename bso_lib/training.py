"""Training one batch online or by BPTT, and evaluation.

A batch is (N, C, H, W), shown unchanged at every time step, or (N, T, C, H, W), one frame per step.
"""

import torch
import torch.nn.functional as F

from bso_lib.layers import require_whole
from bso_lib.neurons import LIF
from bso_lib.optim import TBSO

TRAININGS = ("online", "accumulated", "bptt")
_NO_LABEL = torch.iinfo(torch.int64).min


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
    try:
        # cross entropy would leave out samples of label -100, silently
        value = loss(logits, labels, **({"ignore_index": _NO_LABEL} if loss is F.cross_entropy else {}))
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        reason = _wrong_labels(labels, *logits.shape) if loss is F.cross_entropy else None
        if reason is None:
            raise
        raise ValueError(reason) from error
    return value / torch.full_like(value, time_steps), logits  # not by a number: a GPU would not divide


def _wrong_labels(labels, samples, classes):
    """Return what of ``labels`` cross entropy refused, in one line; None if it was something else."""
    needed = f"must be whole numbers (torch.int64) from 0 to {classes - 1}, one for each of {samples} samples"
    if not isinstance(labels, torch.Tensor):
        return f"labels are a {type(labels).__name__}: must be a tensor; they {needed}"
    if labels.shape != (samples,) or labels.dtype != torch.int64:
        return f"labels of shape {tuple(labels.shape)} are {labels.dtype}: {needed}"
    outside = labels[(labels < 0) | (labels >= classes)]
    return f"labels hold {int(outside[0])}: {needed}" if len(outside) else None


def _check_arguments(model, images, time_steps, autocast):
    """Refuse what a time step would fail on, or accept silently, before anything has changed; waits for no GPU."""
    if not callable(getattr(model, "reset_state", None)):
        raise TypeError(f"model={type(model).__name__}: must have reset_state(), as bso_lib.models.SpikingNet does")
    require_whole(time_steps=time_steps)
    if not isinstance(images, torch.Tensor):
        raise TypeError(f"images are a {type(images).__name__}: must be a tensor (N, C, H, W) or (N, T, C, H, W)")
    if not images.is_floating_point():
        raise ValueError(f"images are {images.dtype}: must be floating point")
    if images.dim() < 2 or not len(images):
        raise ValueError(
            f"images of shape {tuple(images.shape)}: must be (N, C, H, W) or (N, T, C, H, W), N at least 1"
        )
    _require_finite(images)
    if images.dim() == 5 and images.shape[1] < time_steps:
        raise ValueError(f"images have {images.shape[1]} frames: must be at least time_steps={time_steps}")
    if not (autocast is None or (isinstance(autocast, torch.dtype) and autocast.is_floating_point)):
        raise ValueError(f"autocast={autocast!r}: must be None or a floating point type such as torch.bfloat16")


def _require_finite(images):
    """Refuse NaN and infinity, for which no neuron fires: the loss would look sound, the real weights become NaN.

    Only on a CPU: a GPU would have to be waited for.
    """
    if type(images) is not torch.Tensor or images.device.type != "cpu":
        return
    # By numpy, as a tensor made here would be one of the step's in bso_lib.measure.memory; it knows no bfloat16.
    values = (images.float() if images.dtype == torch.bfloat16 else images).detach().numpy()
    if not float("-inf") < values.min() <= values.max() < float("inf"):  # no comparison holds for NaN
        raise ValueError("images hold NaN or infinity: must be finite")


def _check_optimizers(optimizers, time_steps):
    if not isinstance(optimizers, list | tuple):
        raise TypeError(f"optimizers are a {type(optimizers).__name__}: must be a list of optimizers")
    for optimizer in optimizers:
        if not (hasattr(optimizer, "step") and hasattr(optimizer, "zero_grad")):
            raise TypeError(f"optimizers hold a {type(optimizer).__name__}: must be a list of optimizers")
        if isinstance(optimizer, TBSO) and optimizer.time_steps < time_steps:
            raise ValueError(
                f"time_steps={time_steps}: TBSO was made for time_steps={optimizer.time_steps}, must be equal"
            )


def train_batch(model, images, labels, optimizers, time_steps, training="online", autocast=None, loss=F.cross_entropy):
    """Train one batch by ``training``: "online" (Eq. 9), "accumulated" (Eq. 10) or "bptt"; see the two steps above.

    ``autocast``: a lower precision for the forward pass, such as torch.bfloat16. ``loss``: of (logits,
    labels), the mean over the batch. Raises ValueError for an unknown name, as :func:`bptt_step`, for images, labels
    and time steps that do not fit, TypeError for other things than these; before any weight has changed. On a CUDA
    device the host does not look for NaN in images and for labels out of range, as it would have to wait; a
    :class:`bso_lib.data.Split` refuses NaN when it is made.
    """
    if training not in TRAININGS:
        raise ValueError(f"training={training!r}: must be one of {', '.join(TRAININGS)}")
    _check_arguments(model, images, time_steps, autocast)
    _check_optimizers(optimizers, time_steps if training == "online" else 1)
    if not callable(loss):
        raise TypeError(f"loss={loss!r}: must be a function of (logits, labels)")
    if isinstance(labels, torch.Tensor) and labels.shape[:1] != images.shape[:1]:
        raise ValueError(f"labels of shape {tuple(labels.shape)}: must be one for each of {len(images)} samples")
    if training == "bptt":
        return bptt_step(model, images, labels, optimizers, time_steps, autocast, loss)
    return online_step(model, images, labels, optimizers, time_steps, training == "online", autocast, loss)


@torch.no_grad()
def predict(model, images, time_steps, autocast=None):
    """Return the logits (N, classes) summed over ``time_steps``, in the model's present mode.

    Raises as :func:`train_batch` for images and time steps that do not fit.
    """
    _check_arguments(model, images, time_steps, autocast)
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
    try:
        for images, labels in batches:
            if len(labels):
                correct = correct + (predict(model, images, time_steps, autocast).argmax(1) == labels).sum()
    finally:
        model.train(was_training)
    return torch.as_tensor(correct)


def evaluate(model, split, time_steps, batch_size=500, autocast=None) -> float:
    """Return the accuracy in percent on ``split``: argmax of the logits summed over t, running statistics.

    Raises TypeError for a ``split`` or ``model`` that is none, ValueError for an empty split and as :func:`predict`.
    """
    if not (hasattr(split, "batches") and hasattr(split, "__len__")):
        raise TypeError(f"split={type(split).__name__}: must be a Split, such as load_dataset returns two of")
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model={type(model).__name__}: must be a torch.nn.Module")
    if not len(split):
        raise ValueError("split is empty: must hold at least 1 sample")
    require_whole(batch_size=batch_size)
    return 100 * int(count_correct(model, split.batches(batch_size), time_steps, autocast)) / len(split)
