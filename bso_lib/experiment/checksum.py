"""One fixed run in exact arithmetic, always computed, and the SHA-256 of all that it learned.

    python -m bso_lib.experiment.checksum        (make checksum)

Another processor, number of threads or set of instructions must print the same characters, which stand in README.
"""

import os
import tempfile

from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.run import run

FIXED = RunConfig(
    width=0.0625, batch_norm="per-step", epochs=1, train_size=3_000, beta1=0.997, schedule="cosine",
    arithmetic="exact", record_flips=False,
)  # fmt: skip


def checksum_past_cache(config: RunConfig = FIXED) -> str:
    """Return ``RunResult.checksum`` of ``config``, computed here and now, whatever is in the cache."""
    before = os.environ.get("BSO_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BSO_CACHE"] = folder
        try:
            return run(config, recompute=True).checksum
        finally:
            os.environ.pop("BSO_CACHE")
            if before is not None:
                os.environ["BSO_CACHE"] = before


if __name__ == "__main__":
    print(checksum_past_cache())
