"""From a row of the ledger, or of a figure's csv, to the runs behind it: what each was asked, where and when it ran."""

import json

import pandas as pd

from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.evidence import asked, entries, evidence_key, folder

_TOLD = ("seconds", "device", "commit", "date")


def runs_behind(keys: str) -> pd.DataFrame:
    """Return a row per run of ``keys``, the entry ``runs`` of a row: key, seed, accuracy, config, provenance.

    ``config`` holds the fields that differ from RunConfig's defaults, without the seed. Runs of which no evidence is
    kept are left out. Raises DamagedEvidence for an entry that is damaged or forged.
    """
    wanted, rows = set(keys.split()), []
    for read in entries() if wanted and folder() else ():
        result = read()
        if (key := evidence_key(result.config)) in wanted:
            own = {name: value for name, value in asked(result.config).items() if name != "seed"}
            told = {name: result.provenance.get(name, "") for name in _TOLD}
            rows.append({"key": key, "seed": result.config.seed, "accuracy": result.accuracy, "config": own, **told})
    columns = ["key", "seed", "accuracy", "config", *_TOLD]
    return pd.DataFrame(rows, columns=columns).sort_values("seed", kind="stable", ignore_index=True)


def links(base: str = "evidence/runs") -> dict[str, str]:
    """Return, for the key of each run of the evidence, a Markdown link to its line: method and seed, as in "bso 0".

    ``base``: where the evidence lies, as seen from who shows the link; unless told, from a notebook.
    """
    found = {}
    for path in sorted(folder().glob("*.jsonl")) if folder() else ():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            entry = json.loads(line)
            config = RunConfig(**entry["config"])
            found[entry["key"]] = f"[{config.method} {config.seed}]({base}/{path.name}#L{number})"
    return found
