"""One run from the command line, on one device or, under torchrun, on several.

python -m bso_lib --set method=bso --set epochs=3 --set train_size=1000 --set width=0.125
torchrun --nproc_per_node=2 -m bso_lib --config run.json --set seed=1
"""

import argparse
import ast
import json
import os
import sys
import time
from dataclasses import fields
from pathlib import Path

from bso_lib.experiment.config import RunConfig, require_fields
from bso_lib.experiment.ranks import LostRank, RanksDisagree, check_share, process_group, writes
from bso_lib.experiment.result import RunResult
from bso_lib.experiment.run import run
from bso_lib.terminal.refusals import OneLineParser, leave

PATIENCE = 3.0  # seconds in which torchrun ends a process if the first one has failed too, and says why for all
KEPT_AS = "kept as "  # stands before the name of the run's folder in what is printed
_DEFAULTS = {field.name: field.default for field in fields(RunConfig)}


def read_config(path: str | None, pairs: list[str]) -> RunConfig:
    """Return the RunConfig of a JSON object in ``path``, if given, changed by ``pairs``, each "field=value".

    Raises ValueError for what is no such file, pair, field or value.
    """
    settings = {}
    if path is not None:
        try:
            settings = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"--config {path}: not a readable JSON file ({error})") from error
        if not isinstance(settings, dict):
            raise ValueError(f"--config {path}: must be a JSON object of RunConfig's fields")
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"--set {pair}: must be field=value")
        require_fields([name])
        settings[name] = _value(name, text)
    return RunConfig(**settings)


def _value(name, text):
    """Read a Python literal, such as 0.1, None or True; any other text stands for itself."""
    if isinstance(_DEFAULTS.get(name), tuple) and not text.startswith(("(", "[")):
        return tuple(part for part in text.split(",") if part)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def result_line(result: RunResult) -> str:
    """Return a finished run in one line: accuracy, scale, cost and its folder's name in the cache."""
    origin, config = result.provenance, result.config
    processes = origin["processes"]
    return (
        f"{config.method}, {config.training}: {result.accuracy:.2f} % accuracy, {config.conditions()}, "
        f"seed {config.seed}; {origin['seconds']:g} s in {processes} process{'es' * (processes > 1)} on "
        f"{origin['device']}; {KEPT_AS}{result.folder.name}"
    )


def main():
    parser = OneLineParser(
        prog="python -m bso_lib", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", metavar="FILE", help="a JSON object of RunConfig's fields")
    parser.add_argument("--set", metavar="FIELD=VALUE", action="append", default=[], help="a field of RunConfig")
    parser.add_argument("--root", help="where data sets lie (default: $BSO_DATA, else ~/.cache/bso-data)")
    arguments = parser.parse_args()
    try:
        config = read_config(arguments.config, arguments.set)
        with process_group(config.resolved_device()):
            check_share(config.batch_size)
            result = run(config, arguments.root, recompute=True)
            if writes():
                print(result_line(result))
    except (ValueError, OSError) as error:
        if os.environ.get("RANK", "0") != "0":
            time.sleep(PATIENCE)
        print(f"bso_lib: {error}", file=sys.stderr)
        leave(2)
    except (ArithmeticError, LostRank, MemoryError, RanksDisagree) as error:
        print(f"bso_lib: {error}", file=sys.stderr)
        leave(1)
