"""What runs found, kept beside the notebooks: read without computing, recomputed to check.

notebooks/evidence/runs/<dataset>-<method>.jsonl holds a line of JSON per run, sorted by key:

    key          16 hex digits of the SHA-256 of what was asked: config with seed, and data
    config       the fields that differ from RunConfig's defaults, ``device`` left out
    data         checksum of the data set; null for the sets that are downloaded
    history, flips   of the RunResult, as tables by column
    checksum     ``RunResult.checksum``
    networks     SHA-256 of the networks that are kept beside it, by epoch
    provenance   where, when and by which code it was computed: recorded and shown, not looked up
    sha256       of all the rest: finds damage and edits by hand, and is no signature

The cache (build/runs) is named by all that decides a run's digits; evidence by what was asked alone. That the present
code still finds the same is what ``make vouch`` checks.

Environment: BSO_EVIDENCE=FOLDER reads and keeps entries elsewhere, BSO_EVIDENCE= (empty) nowhere. BSO_KEEP_EVIDENCE=1
lets ``bso_lib.run`` keep what it computed. A dry run does neither.
"""

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import filelock
import pandas as pd

from bso_lib.data.registry import MADE
from bso_lib.data.stored import sweep_parts, write_atomically
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.fingerprint import embedded_data
from bso_lib.experiment.flips import FlipRecord
from bso_lib.experiment.paths import checkout, dry_run
from bso_lib.experiment.result import RunResult

_HEAD = re.compile(r'\{"key":"([0-9a-f]{16})",')
_OUTCOME = ("history", "flips", "checksum")
_FIELDS = {"key", "config", "data", *_OUTCOME, "networks", "provenance"}


class DamagedEvidence(ValueError):
    """An entry of the evidence is damaged, forged or out of place; the message names its file and key."""


class DiffersFromEvidence(RuntimeError):
    """A run in exact arithmetic came out otherwise than its evidence says; the message names it and what differs."""


def folder() -> Path | None:
    """Return where the evidence lies: $BSO_EVIDENCE, else notebooks/evidence/runs of the checkout; None: nowhere."""
    asked_for = os.environ.get("BSO_EVIDENCE")
    if asked_for is not None:
        return Path(asked_for).expanduser() if asked_for else None
    return checkout() / "notebooks" / "evidence" / "runs" if checkout() else None


def keeping() -> bool:
    """Return whether BSO_KEEP_EVIDENCE asks to keep what is computed; raises ValueError for what is neither 0 nor 1."""
    keeps = os.environ.get("BSO_KEEP_EVIDENCE", "0")
    if keeps not in ("", "0", "1"):
        raise ValueError(f"BSO_KEEP_EVIDENCE={keeps!r}: must be 0 or 1")
    return keeps == "1" and not dry_run()


def asked(config: RunConfig) -> dict:
    """Return the fields of ``config`` that differ from RunConfig's defaults, JSON-ready, without ``device``.

    ``start_from`` is told in the same way. ``RunConfig(**asked(config))`` is ``config`` again, on any device.
    """
    found = {}
    for field in fields(RunConfig):
        value = getattr(config, field.name)
        if field.name == "device" or value == field.default:
            continue
        if isinstance(value, RunConfig):
            value = asked(value)
        elif isinstance(value, tuple):
            value = list(value)
        found[field.name] = float(value) if field.type is float else value  # 1 and 1.0 ask for the same
    return found


@functools.cache
def data_checksum(dataset: str) -> str | None:
    """Return the checksum of a data set that comes with the library, embedded or made on first use; else None.

    Those that are downloaded are checked by whoever publishes them, and may lie nowhere here.
    """
    if dataset in MADE:
        return MADE[dataset]
    embedded = {path.stem: path for path in embedded_data()}
    return hashlib.sha256(embedded[dataset].read_bytes()).hexdigest() if dataset in embedded else None


def evidence_key(config: RunConfig) -> str:
    """Return the 16 hex digits under which a run of ``config`` is kept, whatever computes it."""
    return _key(asked(config), data_checksum(config.dataset))


def find(config: RunConfig) -> RunResult | None:
    """Return the kept run of ``config``; None where there is none, or none is to be read.

    Raises :class:`DamagedEvidence`.
    """
    entry = _entry_of(config)
    return None if entry is None else _result(config, entry)


def entries() -> Iterator[Callable[[], RunResult]]:
    """Yield, for each entry there is, a function that returns its run or raises :class:`DamagedEvidence`."""
    for path in sorted(folder().glob("*.jsonl")):
        for key, line in _lines(path).items():
            yield functools.partial(_read, path, key, line)


def _read(path, key, line):
    entry = _checked(path, key, line)
    return _result(RunConfig(**entry["config"]), entry)


def _result(config, entry):
    flips = entry["flips"] and FlipRecord(**{name: pd.DataFrame(table) for name, table in entry["flips"].items()})
    history = pd.DataFrame(entry["history"])
    return RunResult(config, history, entry["provenance"], None, flips, "evidence", entry["checksum"])


def keep(result: RunResult):
    """Add ``result`` to the evidence, in place of an entry that found something else; one that is evidence stays.

    Several processes may add at once. Raises ValueError where no folder is known, :class:`DamagedEvidence` for a file
    that is none of evidence.
    """
    path = _path(result.config)
    if path is None:
        raise ValueError("there is no folder to keep evidence in: name one, BSO_EVIDENCE=FOLDER, or use a checkout")
    if result.origin == "evidence":
        return
    entry = _entry(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        lines = dict(_lines(path)) if path.exists() else {}
        if _outcome_of(path, entry["key"], lines) != [entry[name] for name in _OUTCOME]:
            _write(path, lines, entry)


def difference(computed: RunResult, kept: RunResult) -> str | None:
    """Return in one line what of ``computed`` is another than in ``kept``; None where they agree to the last digit."""
    here, there = _entry(computed), _entry(kept)
    parts = [name for name in _OUTCOME if here[name] != there[name]]
    if not parts:
        return None
    config = computed.config
    return (
        f"run {here['key']} of {_path(config).name} differs in {', '.join(parts)}: {computed.accuracy:.2f} % computed "
        f"here, {kept.accuracy:.2f} % in the evidence ({config.method}, {config.conditions()}, seed {config.seed})"
    )


def network_digests(config: RunConfig) -> dict[str, str]:
    """Return the SHA-256 of the networks kept of ``config``, by epoch; see :mod:`bso_lib.experiment.kept_networks`."""
    return (_entry_of(config) or {"networks": {}})["networks"]


def add_network(config: RunConfig, epoch: str, digest: str):
    """Write down that a network of ``config`` is kept; raises KeyError where its run is not."""
    path, key = _path(config), evidence_key(config)
    with _locked(path):
        lines = dict(_lines(path))
        entry = _checked(path, key, lines[key])
        if entry["networks"].get(epoch) != digest:
            entry["networks"][epoch] = digest
            _write(path, lines, entry)


def _path(config):
    return folder() and folder() / f"{config.dataset}-{config.method}.jsonl"


def _entry_of(config):
    """Return the checked entry of ``config``; None where there is none, or none is to be read."""
    path, key = _path(config), evidence_key(config)
    if path is None or dry_run() or not path.exists() or key not in _lines(path):
        return None
    return _checked(path, key, _lines(path)[key])


def _locked(path):
    return filelock.FileLock(path.with_name(f".{path.name}.lock"))


def _write(path, lines, entry):
    """Put ``entry`` among ``lines`` and write them; the file must be locked."""
    sweep_parts(path.parent, path.name)
    lines = lines | {entry["key"]: _text(entry | {"sha256": _digest(entry)})}
    write_atomically(path, "".join(f"{lines[key]}\n" for key in sorted(lines)).encode())


def _text(content, sort_keys=False):
    return json.dumps(content, sort_keys=sort_keys, separators=(",", ":"), allow_nan=False)


def _digest(content):
    return hashlib.sha256(_text(content, sort_keys=True).encode()).hexdigest()


def _key(told, data):
    return _digest({"config": {"seed": 0} | told, "data": data})[:16]


def _entry(result):
    config, flips = result.config, result.flips
    told, data = asked(config), data_checksum(config.dataset)
    tables = flips and {name: getattr(flips, name).to_dict("list") for name in ("epochs", "layers", "gaps")}
    return {
        "key": _key(told, data), "config": told, "data": data, "history": result.history.to_dict("list"),
        "flips": tables, "checksum": result.checksum, "networks": {}, "provenance": result.provenance,
    }  # fmt: skip


def _outcome_of(path, key, lines):
    """Return what the entry ``key`` found; None without one, or where it must be replaced."""
    try:
        entry = _checked(path, key, lines[key])
    except (KeyError, DamagedEvidence):
        return None
    return [entry[name] for name in _OUTCOME]


def _lines(path):
    """Return the lines of the file at ``path`` by key, read again when it has changed."""
    stat = path.stat()
    return _lines_of(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


@functools.lru_cache(maxsize=32)
def _lines_of(path, *_):
    found = {}
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), 1):
        head = _HEAD.match(line)
        if head is None or head[1] in found:
            why = "there twice" if head else "no entry of the evidence"
            raise DamagedEvidence(f"{path}, line {number}, {line[:26]!r}, is {why}: restore the file with git")
        found[head[1]] = line
    return found


def _checked(path, key, line):
    """Return the entry of ``line``, if it is whole, belongs to ``key`` and lies in its own file."""

    def refuse(why):
        advice = "restore the file with git, or delete the line and compute the run anew"
        raise DamagedEvidence(f"{path}, entry {key}: {why}; {advice}")

    try:
        entry = json.loads(line)
        sha256 = entry.pop("sha256")
        if sha256 != _digest(entry):
            refuse("its content does not match its sha256, it is damaged or was edited")
        if set(entry) != _FIELDS:
            refuse(f"it has not the fields of an entry, {', '.join(sorted(_FIELDS))}")
        if _key(entry["config"], entry["data"]) != key:
            refuse("its config is another than its key says")
        told = {name: entry["config"].get(name, getattr(RunConfig, name)) for name in ("dataset", "method")}
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        refuse(f"it cannot be read ({error})")
    own = "{dataset}-{method}.jsonl".format(**told)
    if path.name != own:
        refuse(f"it belongs in {own}")
    return entry
