"""Does the order of the frames matter? A trained network is shown its test recordings in other orders, or in part.

A spiking network can depend on order in two ways: its membranes carry something from frame to frame, and BatchNorm with
statistics per time step expects frame t at position t. The variants take the two apart.
"""

from collections.abc import Iterator

import pandas as pd
import torch

from bso_lib.experiment.result import RunResult
from bso_lib.experiment.run import load_splits
from bso_lib.layers import TimeStepBatchNorm2d
from bso_lib.measure.one_thread import one_thread
from bso_lib.training import frame

RECORDED, REVERSED, SHUFFLED = "as recorded", "reversed", "shuffled"
STATISTICS = ("position", "frame")


@torch.no_grad()
def logits_over_time(model, images, order, statistics="position", memory=True) -> Iterator[torch.Tensor]:
    """Yield the logits (N, classes) of each position as ``model`` sees frames ``order`` of ``images`` (N, T, C, H, W).

    ``statistics``: those of BatchNorm are of the "position", as always, or follow the "frame"; where all time steps
    share theirs it makes no difference. ``memory=False`` clears the membranes before each frame.
    Raises ValueError for other statistics.
    """
    if statistics not in STATISTICS:
        raise ValueError(f"statistics={statistics!r}: must be one of {', '.join(STATISTICS)}")
    norms = [module for module in model.modules() if isinstance(module, TimeStepBatchNorm2d)]
    model.reset_state()
    for position, t in enumerate(order):
        if not memory:
            model.reset_state()
        for norm in norms:
            norm.t = t if statistics == "frame" else position
        yield model(frame(images, t))
    model.reset_state()


def _accuracies(model, split, order, statistics="position", memory=True, batch_size=500):
    """Return the accuracy in percent after each position of ``order``: argmax of the logits summed so far."""
    correct = torch.zeros(len(order))
    for images, labels in split.batches(batch_size):
        total = 0.0
        for k, logits in enumerate(logits_over_time(model, images, order, statistics, memory)):
            total = total + logits
            correct[k] += float((total.argmax(1) == labels).sum())
    return (100 * correct / len(split)).tolist()


@one_thread()
def accuracy_by_order(result: RunResult, shuffles: int = 3, per_class: int | None = None, seed: int = 0):
    """Return two tables on a finished run on recordings: (orders, first frames), accuracies in percent.

    orders         a row per ``order``, ``statistics`` and ``memory``, with ``accuracy`` on all frames. "shuffled" is
                   the mean over ``shuffles`` orders drawn with ``seed``, each applied to all recordings.
    first frames   a row per ``frames`` = 1 .. T with the ``accuracy`` when only so many frames have been seen

    ``per_class``: take so many test recordings of each class, if there are more. Raises ValueError for a run on still
    images.
    """
    _, test = load_splits(result.config)
    if test.images.dim() != 5:
        raise ValueError(f"dataset={result.config.dataset!r}: still images have no order")
    if per_class is not None and torch.bincount(test.labels, minlength=test.num_classes).min() > per_class:
        test, _ = test.first_per_class(per_class)
    model, steps = result.load_model(), result.config.time_steps
    generator = torch.Generator().manual_seed(seed)
    shuffled = [torch.randperm(steps, generator=generator).tolist() for _ in range(shuffles)]
    recorded = list(range(steps))
    so_far = _accuracies(model, test, recorded)
    rows = [(RECORDED, "position", True, so_far[-1])]
    rows.append((RECORDED, "frame", False, _accuracies(model, test, recorded, "frame", memory=False)[-1]))
    for name, orders in ((REVERSED, [recorded[::-1]]), (SHUFFLED, shuffled)):
        for statistics in STATISTICS:
            found = [_accuracies(model, test, order, statistics)[-1] for order in orders]
            rows.append((name, statistics, True, sum(found) / len(found)))
    orders = pd.DataFrame(rows, columns=["order", "statistics", "memory", "accuracy"])
    return orders, pd.DataFrame({"frames": range(1, steps + 1), "accuracy": so_far})
