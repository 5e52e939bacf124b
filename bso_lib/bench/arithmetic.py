"""A training step in exact arithmetic, beside the one in float32 and the float32 convolutions of both."""

import functools
import importlib.util

from bso_lib.bench.floor import convolutions_alone, training
from bso_lib.bench.timing import in_turn
from bso_lib.exact.integer import has_instructions

# (width, batch size, side, channels): full width as CIFAR images train it, and what the companion trains
SHAPES = ((1.0, 32, 32, 3), (1.0, 128, 32, 3), (1 / 8, 128, 28, 1), (1 / 16, 128, 28, 1))


def measure_exact(width, batch_size, side, channels, repeats, time_steps=2, device="cpu") -> dict:
    """Return medians in seconds of both steps and of the convolutions, and of their ratios within each round.

    ``integers``: whether the processor has 8-bit instructions; ``compiled``: whether numba is there.
    """
    scale = (width, batch_size, time_steps, side, channels, device)
    steps = {}
    for arithmetic in ("float32", "exact"):
        trainer, *batch = training(*scale, arithmetic=arithmetic)
        steps[arithmetic] = functools.partial(trainer.step, *batch)
        if arithmetic == "float32":
            trainer.step(*batch)  # the spikes of a network that trains
            steps["convolutions"] = convolutions_alone(trainer.model, batch[0], time_steps)
    seconds = in_turn(steps, repeats, device, f"exact, width {width:g}")
    of_convolutions = seconds.div(seconds["convolutions"], axis=0)
    of_float32 = seconds["exact"] / seconds["float32"]
    return {
        "width": width, "batch_size": batch_size, "time_steps": time_steps, "side": side,
        **{f"{name}_seconds": seconds[name].median() for name in steps},
        "exact_of_convolutions": of_convolutions["exact"].median(),
        "float32_of_convolutions": of_convolutions["float32"].median(),
        "exact_of_float32": of_float32.median(), "exact_of_float32_min": of_float32.min(),
        "exact_of_float32_max": of_float32.max(), "repeats": repeats,
        "integers": device == "cpu" and has_instructions(),
        "compiled": device == "cpu" and importlib.util.find_spec("numba") is not None,
    }  # fmt: skip
