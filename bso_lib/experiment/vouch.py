"""Does the present code still find what the evidence says? Some of its runs, computed again and compared.

    python -m bso_lib.experiment.vouch --sample 3 --budget 60        (make vouch)

Every entry and every kept network is checked to be whole. The runs that are computed again are drawn by the commit's
hash, so that each commit vouches for others, among those in exact arithmetic, which must come out the same to the last
digit anywhere, unless their data set is made on first use and has other bytes here. If all do, the code's fingerprint
is written into vouched.json beside the entries; if one does not, it is named and the command ends with status 1.
Nothing is computed from the cache, and no entry is changed.
"""

import argparse
import hashlib
import json
import math
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from unittest import mock

from bso_lib.data import made_alike
from bso_lib.data.stored import write_atomically
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.evidence import DamagedEvidence, difference, entries, evidence_key, folder, network_digests
from bso_lib.experiment.fingerprint import commit, source_fingerprint
from bso_lib.experiment.kept_networks import kept_network
from bso_lib.experiment.machine import processor
from bso_lib.experiment.result import RunResult
from bso_lib.experiment.run import run
from bso_lib.terminal.refusals import OneLineParser, stoppable

RECORD = "vouched.json"


def read_all() -> tuple[list[RunResult], list[str]]:
    """Return all kept runs that are whole, networks included, and a line for each that is not."""
    whole, refused = [], []
    try:
        for read in entries():
            try:
                result = read()
                for epoch in network_digests(result.config):
                    kept_network(result.config, None if epoch == "last" else int(epoch))
                whole.append(result)
            except DamagedEvidence as error:
                refused.append(str(error))
    except DamagedEvidence as error:  # not even a file of entries
        refused.append(str(error))
    return whole, refused


def phases(config: RunConfig) -> list[RunConfig]:
    """Return the runs that ``config`` takes: itself, and those it starts from."""
    return [config, *(phases(config.start_from) if config.start_from else ())]


def draw(kept: list[RunResult], lot: str, sample: int, budget: float) -> list[RunResult]:
    """Return up to ``sample`` exact runs of ``kept``, in the order that ``lot`` draws, of ``budget`` seconds in all.

    A run costs what its entry says, and what those of its phases say; one that does not fit any more is left out, and
    so is one of a GPU, whose seconds are none of a CPU.
    """
    seconds = {evidence_key(result.config): result.cpu_seconds for result in kept}
    costs = {
        key: sum(seconds.get(evidence_key(phase), math.inf) for phase in phases(result.config))
        for key, result in zip(seconds, kept, strict=True)
        if all(phase.exact for phase in phases(result.config))
    }
    drawn, left = [], budget
    for key in sorted(costs, key=lambda key: hashlib.sha256(f"{lot} {key}".encode()).hexdigest()):
        if len(drawn) < sample and costs[key] <= left and math.isfinite(costs[key]):
            drawn.append(key)
            left -= costs[key]
    by_key = dict(zip(seconds, kept, strict=True))
    return [by_key[key] for key in drawn]


def compute_again(result: RunResult) -> str | None:
    """Compute the run of ``result`` past cache and evidence; return in one line what differs, None if nothing does."""
    with (
        tempfile.TemporaryDirectory() as cache,
        mock.patch.dict(os.environ, BSO_CACHE=cache, BSO_KEEP_EVIDENCE="0"),
    ):
        try:
            return difference(run(result.config, progress=False, recompute=True), result)
        except ArithmeticError as error:
            return f"run {evidence_key(result.config)}: {error}"


def write_down(vouched: list[RunResult]):
    """Add the present code to the record of those that found the same, with the runs that it computed again."""
    path, code = folder() / RECORD, source_fingerprint()
    record = json.loads(path.read_text()) if path.exists() else {}
    if code in record:
        return
    runs = sorted(evidence_key(result.config) for result in vouched)
    today = datetime.now(UTC).date().isoformat()
    record[code] = {"commit": commit(), "date": today, "processor": processor(), "runs": runs}
    write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())


def vouch(sample: int, budget: float) -> bool:
    """Check all entries, compute some runs again and tell what was found; return whether nothing is wrong."""
    kept, wrong = read_all()
    spent = sum(result.provenance["seconds"] for result in kept) / 3600
    print(f"{len(kept)} runs are kept in {folder()}, which took {spent:.2f} h to compute")
    drawn, began, done = draw(kept, commit() or source_fingerprint(), sample, budget), time.monotonic(), []
    for result in drawn:
        if done and time.monotonic() - began > budget:
            break  # a slower machine than the one that kept them
        config = result.config
        if not made_alike(config.dataset):
            print(f"{evidence_key(config)}  not computed: {config.dataset} has other bytes on this machine", flush=True)
            continue
        other = compute_again(result)
        done.append(result)
        wrong += [other] if other else []
        told = "differs" if other else "the same to the last digit"
        print(f"{evidence_key(config)}  {config.method}, {config.conditions()}, seed {config.seed}: {told}", flush=True)
    print(f"{len(done)} computed again in {time.monotonic() - began:.0f} s, {len(wrong)} entries are wrong")
    for line in wrong:
        print(line, file=sys.stderr)
    if done and not wrong:
        write_down(done)
    return not wrong


def main():
    parser = OneLineParser(
        prog="python -m bso_lib.experiment.vouch", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--sample", type=int, default=3, metavar="N", help="compute at most N runs again (default: 3)")
    parser.add_argument("--budget", type=float, default=60, metavar="SECONDS", help="for all of them (default: 60)")
    arguments = parser.parse_args()
    if arguments.sample < 0 or not arguments.budget >= 0:
        parser.error(f"--sample {arguments.sample} --budget {arguments.budget:g}: must not be negative")
    if folder() is None or not folder().exists():
        print("there is no evidence to vouch for")
        return
    sys.exit(0 if vouch(arguments.sample, arguments.budget) else 1)


if __name__ == "__main__":
    stoppable(main, "bso_lib.experiment.vouch")
