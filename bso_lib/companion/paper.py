"""The paper's published numbers, read from copies of its tables under ``published``."""

from pathlib import Path

import pandas as pd

FIGURE4_FACTOR = 20.3  # growth of BPTT's memory from T = 1 to 35, as the text on Fig. 4 states it
FIGURE4_PLOTTED_GB = 55.28  # BPTT at T = 35 in the data plotted in Fig. 4; the text says 58.18
APPENDIX_BETA1 = 0.001  # what Appendix B.2 calls beta1


def published(name: str) -> pd.DataFrame:
    """Return the paper's table ``name``: table2 to table5, figure4, figure5 or hyperparameters."""
    return pd.read_csv(Path(__file__).parent / "published" / f"{name}.csv")


def table2(dataset: str, method: str, time_steps: int, column: str = "accuracy_percent") -> float:
    """Return one number of Table 2; raises ValueError if it has no such row, or several."""
    table = published("table2")
    rows = table[(table["dataset"] == dataset) & (table["method"] == method) & (table["time_steps"] == time_steps)]
    if len(rows) != 1:
        raise ValueError(f"Table 2 has {len(rows)} rows for {dataset}, {method}, T = {time_steps}")
    return float(rows[column].iloc[0])


def table5(method: str, column: str = "accuracy_percent") -> float:
    """Return one number of Table 5: Google Speech Commands, T = 4."""
    return float(published("table5").set_index("method")[column][method])


def figure5(method: str, time_steps: int) -> float:
    """Return one accuracy of Fig. 5 in percent."""
    table = published("figure5").set_index(["method", "time_steps"])["accuracy_percent"]
    return float(table[method, time_steps])


def figure4(method: str, time_steps: int) -> float:
    """Return one training memory of Fig. 4 in GB: VGG-11, CIFAR-10, T = 1 or 35."""
    table = published("figure4").set_index(["method", "time_steps"])["memory_gb"]
    return float(table[method, time_steps])
