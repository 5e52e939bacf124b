"""How a training step's time and memory grow with the time steps, the batch and the width."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bso_lib.bench.rivals import OURS, PACKED, TWO_FORWARD, compare

SCALES = {"time_steps": (1, 2, 4, 8), "batch_size": (8, 16, 32, 64), "width": (0.125, 0.25, 0.5, 1.0)}


def growth(
    scales: Mapping[str, Sequence] = SCALES, repeats=3, width=0.5, batch_size=32, time_steps=2, side=32, device="cpu"
) -> pd.DataFrame:
    """Return rows of :func:`bso_lib.bench.rivals.compare`, with ``varied``: to which of ``scales`` each belongs.

    One scale at a time is varied, the others stay; plain and packed steps, and the two-forward scheme.
    """
    base = {"width": width, "batch_size": batch_size, "time_steps": time_steps}
    rows = [
        compare(**{**base, varied: value}, repeats=repeats, side=side, device=device, names=(OURS, PACKED, TWO_FORWARD))
        .assign(varied=varied)
        for varied, values in scales.items()
        for value in values
    ]  # fmt: skip
    return pd.concat(rows, ignore_index=True)
