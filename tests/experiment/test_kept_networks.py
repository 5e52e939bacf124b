"""Networks beside the evidence: the same to the bit, one bit a binary weight, refused when damaged."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bso_lib.experiment import run as experiments
from bso_lib.experiment.build import flipping_layers
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.evidence import DamagedEvidence, evidence_key, find
from bso_lib.experiment.kept_networks import keep_network
from bso_lib.experiment.run import run
from bso_lib.training import predict

TINY = RunConfig(
    train_size=100, width=1 / 16, batch_norm="per-step", time_steps=2, epochs=1, batch_size=50, arithmetic="exact",
    snapshot_every=1, device="cpu",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BSO_EVIDENCE", str(tmp_path / "kept"))
    monkeypatch.setenv("BSO_KEEP_EVIDENCE", "1")
    return tmp_path / "kept"


def assert_same(a, b):
    assert a.state_dict().keys() == b.state_dict().keys()
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name


@pytest.mark.parametrize("method", ["t-bso", "ste"])
def test_a_network_that_was_opened_is_kept_and_read(method, folder, monkeypatch):
    config = replace(TINY, method=method)
    computed = run(config, progress=False)
    assert not list(folder.glob("*.safetensors"))  # nobody opened one
    opened = {epoch: computed.load_model(epoch) for epoch in (None, 0, 1)}
    key = evidence_key(config)
    names = [f"{key}-0000.safetensors", f"{key}.safetensors"]  # epoch 1 is the last one
    assert sorted(path.name for path in folder.glob("*.safetensors")) == names
    monkeypatch.delenv("BSO_KEEP_EVIDENCE")
    monkeypatch.setattr(experiments, "_computed", lambda *_: pytest.fail("computed"))
    result = run(config)
    assert result.origin == "evidence"
    for epoch, model in opened.items():
        read = result.load_model(epoch)
        assert not read.training
        assert_same(read, model)
    bits, whole = (folder / names[-1]).stat().st_size, (computed.folder / "weights.safetensors").stat().st_size
    assert bits < whole / 5 if method == "t-bso" else bits > whole / 2


def test_of_latent_weights_the_signs_are_kept_where_no_snapshot_shows_them_move(folder, monkeypatch):
    config = replace(TINY, method="ste", snapshot_every=0)
    whole = run(config, progress=False).load_model()
    monkeypatch.delenv("BSO_KEEP_EVIDENCE")
    kept = run(config).load_model()
    images = torch.randn(20, 1, 28, 28)
    assert torch.equal(predict(kept, images, 2), predict(whole, images, 2))
    latent, signs = flipping_layers(whole), flipping_layers(kept)
    for number in latent:
        assert torch.equal(signs[number], torch.where(latent[number] >= 0, 1.0, -1.0))
    assert next(folder.glob("*.safetensors")).stat().st_size < 0.5 * 4 * sum(p.numel() for p in whole.parameters())


def test_keeping_twice_changes_no_byte_and_an_epoch_without_weights_is_refused(folder):
    result = run(TINY, progress=False)
    result.load_model(1)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    run(TINY, progress=False, recompute=True).load_model(1)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    with pytest.raises(ValueError, match="no weights of epoch 7: the run has snapshot_every=1"):
        find(TINY).load_model(7)
    with pytest.raises(KeyError):
        keep_network(replace(TINY, seed=8), None, {})  # no entry to tell of it


@pytest.mark.parametrize("damage", ["one bit", "missing"])
def test_a_damaged_network_is_refused_in_one_line(damage, folder):
    run(TINY, progress=False).load_model()
    path = folder / f"{evidence_key(TINY)}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content) if damage == "one bit" else path.unlink()
    with pytest.raises(DamagedEvidence, match=rf"{path.name} is (damaged or another|missing), though the entry"):
        run(TINY).load_model()
    run(TINY, progress=False, recompute=True).load_model()  # keeps it anew
    assert run(TINY).load_model() is not None


def test_all_evidence_of_the_checkout_is_small():
    folder = Path(__file__).parents[2] / "notebooks" / "evidence"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 10e6
