"""Files that were cut short, or of which a bit flipped, are refused in one line or made anew: never wrong numbers."""

import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from faults.children import TINY, settle
from faults.fault import fault
from safetensors.torch import save

from bso_lib.data import stored
from bso_lib.deploy.network_file import PackedFileError, load_packed, save_packed
from bso_lib.experiment import evidence, kept_networks
from bso_lib.experiment import run as experiments
from bso_lib.experiment.checkpoint import DamagedCheckpoint, load_checkpoint, save_checkpoint

CUTS, BITS = (50, 50), (200, 200)  # quick and all: they take milliseconds
PLACES = ("cut short at a random place", CUTS), ("one bit flipped at a random place", BITS)


def damaged(content: bytes, cuts: int, bits: int, seed: int):
    """Yield ``content`` cut short at ``cuts`` places, then with one bit flipped at ``bits`` places."""
    draw = random.Random(seed)
    for _ in range(cuts):
        yield content[: draw.randrange(len(content))]
    for _ in range(bits):
        changed = bytearray(content)
        changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        yield bytes(changed)


REFUSED = "refused in one line"


class Kind:
    """A kind of file: ``path``, how to ``read`` it, what is raised when it is ``refused``."""

    def __init__(self, path, read, refused=()):
        self.path, self.read, self.refused = Path(path), read, refused

    def end(self):
        """Return what is read, None where it would be computed anew, or REFUSED if that is said in one line."""
        try:
            return self.read()
        except self.refused as error:
            return REFUSED if len(str(error).splitlines()) == 1 else error


def tensors(model):
    return save({name: value.contiguous() for name, value in model.state_dict().items()})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, and evidence of it."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BSO_CHECKPOINT_MINUTES", "BSO_EVIDENCE"):
            patch.setenv(name, "")
        patch.setenv("BSO_CACHE", str(folder / "runs"))
        settle(folder / "runs")
        result = experiments.run(TINY, progress=False)
        patch.setenv("BSO_EVIDENCE", str(folder / "evidence"))
        evidence.keep(result)
        kept_networks.keep_network(TINY, None, result.load_model().state_dict())
        yield result


@pytest.fixture(autouse=True)
def _evidence(finished, monkeypatch):
    monkeypatch.setenv("BSO_EVIDENCE", str(finished.folder.parents[1] / "evidence"))


def loaded(folder):
    """What a reader sees of the finished run in ``folder``, or None where it would be computed again."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = experiments.load_result(folder)
    if result is None:
        (line,) = said
        assert "is damaged" in str(line.message)
        assert len(str(line.message).splitlines()) == 1
        return None
    return repr(result.history.to_dict()), repr(result.flips.to_dict()), result.checksum


def kinds(finished, folder):
    """Return each kind of file by name."""
    run = finished.folder
    state = {"weights": finished.load_model().state_dict(), "history": finished.history.to_dict("list")}
    checkpoint = folder / "checkpoint-0001.pt"
    save_checkpoint(checkpoint, state)
    save_packed(finished.load_model(), folder / "network.bso")
    numbers = {"frames": np.arange(3000, dtype=np.uint8).reshape(30, 100)}
    stored.stored_arrays(folder / "set.npz", lambda: numbers)
    entry = evidence.folder() / "fashion-mini-t-bso.jsonl"
    embedded = folder / "embedded.npz"
    np.savez_compressed(embedded, **numbers)

    def found_evidence():
        evidence._lines_of.cache_clear()
        found = evidence.find(TINY)
        return found and (repr(found.history.to_dict()), found.checksum, repr(found.provenance))

    def of_package():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stored.resources, "files", lambda package: folder)
            return stored.embedded_arrays("embedded.npz")["frames"].tobytes()

    def kept():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return stored.stored_arrays(folder / "set.npz", lambda: numbers)["frames"].tobytes()

    def whole_run():
        return loaded(run)

    return {
        "checkpoint": Kind(checkpoint, lambda: repr(load_checkpoint(checkpoint)), DamagedCheckpoint),
        "result.json": Kind(run / "result.json", whole_run),
        "safetensors, final weights": Kind(run / "weights.safetensors", whole_run),
        "safetensors, momentum": Kind(run / "momentum.safetensors", whole_run),
        "safetensors, snapshot": Kind(
            run / "weights-0001.safetensors", lambda: tensors(finished.load_model(1)), ValueError
        ),
        "evidence": Kind(entry, found_evidence, evidence.DamagedEvidence),
        "network beside the evidence": Kind(
            evidence.folder() / kept_networks.file_name(TINY, None),
            lambda: save(kept_networks.kept_network(TINY, None)),
            evidence.DamagedEvidence,
        ),
        "packed network": Kind(
            folder / "network.bso", lambda: tensors(load_packed(folder / "network.bso")), PackedFileError
        ),
        "npz, made on first use": Kind(folder / "set.npz", kept),
        "npz, of the package": Kind(embedded, of_package, ValueError),
    }  # fmt: skip


ENDS = {
    "checkpoint": "refused; the one before serves",
    "result.json": "noticed; the run is computed again",
    "safetensors, final weights": "noticed; the run is computed again",
    "safetensors, momentum": "noticed; the run is computed again",
    "safetensors, snapshot": "refused in one line",
    "evidence": "refused in one line, or not found under its key and computed",
    "network beside the evidence": "refused in one line",
    "packed network": "refused in one line",
    "npz, made on first use": "made again",
    "npz, of the package": "refused in one line",
}
DONE = {name: [fault(f"File: {name}", what, *times, f"{end}; or the same numbers") for what, times in PLACES]
        for name, end in ENDS.items()}  # fmt: skip


@pytest.mark.parametrize("name", DONE)
def test_damage_is_refused_or_repaired(name, finished, tmp_path):
    kind = kinds(finished, tmp_path)[name]
    content, right = kind.path.read_bytes(), kind.read()
    assert right is not None
    ends = {"same": 0, "refused": 0, "anew": 0}
    try:
        for changed in damaged(content, *(each.times for each in DONE[name]), seed=len(name)):
            kind.path.write_bytes(changed)
            found = kind.end()
            assert found in (None, right, REFUSED)
            ends["anew" if found is None else "refused" if found == REFUSED else "same"] += 1
    finally:
        kind.path.write_bytes(content)
    assert ends["refused"] + ends["anew"] > 0 or name == "npz, made on first use", ends
    assert kind.read() == right


EMPTY = fault("File: any of these", "empty", 9, 9, "as when cut short")


def test_an_empty_file_is_refused_or_repaired(finished, tmp_path):
    for kind in kinds(finished, tmp_path).values():
        content, right = kind.path.read_bytes(), kind.read()
        kind.path.write_bytes(b"")
        assert kind.end() in (None, right, REFUSED)
        kind.path.write_bytes(content)


CHECKPOINTS = fault(
    "A run", "its last checkpoint with a flipped bit", 2, 20, "the one before serves, with a warning; same bits"
)


def test_a_run_goes_on_from_the_checkpoint_before(finished, tmp_path, monkeypatch):
    draw, checksum = random.Random(5), finished.checksum
    for number in range(CHECKPOINTS.times):
        monkeypatch.setenv("BSO_CACHE", str(tmp_path / str(number)))
        monkeypatch.setenv("BSO_EVIDENCE", "")
        monkeypatch.setenv("BSO_CHECKPOINT_MINUTES", "0")
        stop_at = draw.randrange(3, 8)
        interrupt(stop_at, monkeypatch)
        last = sorted(tmp_path.glob(f"{number}/*/checkpoint-*.pt"), key=lambda path: path.stat().st_mtime_ns)[-1]
        content = bytearray(last.read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        last.write_bytes(content)
        with pytest.warns(UserWarning, match="falling back to the one before"):
            assert experiments.run(TINY, progress=False).checksum == checksum


def interrupt(stop_at, monkeypatch):
    """Run TINY up to its checkpoint number ``stop_at``."""
    count, real = [], experiments.Job.checkpoint

    def checkpoint(job, *arguments):
        real(job, *arguments)
        count.append(1)
        if len(count) == stop_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiments.Job, "checkpoint", checkpoint)
        with pytest.raises(KeyboardInterrupt):
            experiments.run(TINY, progress=False)
