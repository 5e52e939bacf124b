"""BSO is Bop but for ties, BOLD flips as written, and both train."""

import itertools
from dataclasses import replace

import pytest
import torch

from bso_lib.exact.descent import ExactAdam
from bso_lib.experiment.ancestors import Bold, Bop
from bso_lib.experiment.build import Trainer, build_model, build_optimizers
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.run import run
from bso_lib.models import split_parameters
from bso_lib.optim import BSO

TINY = RunConfig(width=1 / 32, train_size=100, batch_size=50, epochs=1, batch_norm="per-step", device="cpu")


def weights(*values):
    return torch.nn.Parameter(torch.tensor(values))


def both(start, gradients, gamma, beta):
    """Return the weights and momenta of BSO and of Bop after each of ``gradients``."""
    found = []
    for kind in (BSO, Bop):
        w = torch.nn.Parameter(start.clone())
        optimizer, own = kind([w], gamma=gamma, beta=beta), []
        for gradient in gradients:
            w.grad = gradient.clone()
            optimizer.step()
            own.append((w.detach().clone(), optimizer.state[w]["momentum"].clone()))
        found.append(own)
    return found


@pytest.mark.parametrize("gamma", [0.0, 0.03, 0.2])
def test_bso_is_bop_to_the_bit_on_random_gradients(gamma):
    generator = torch.Generator().manual_seed(3)
    gradients = torch.randn(200, 50, generator=generator)
    ours, bops = both(torch.randn(50, generator=generator).sign(), gradients, gamma, 0.9)
    for (w, m), (other_w, other_m) in zip(ours, bops, strict=True):
        assert torch.equal(w, other_w)
        assert torch.equal(m, other_m)
    changes = sum(int((a[0] != b[0]).sum()) for a, b in itertools.pairwise(ours))
    assert changes > 100


def test_bso_and_bop_differ_at_a_tie_and_there_alone():
    # (1 - beta) g = g / 2: m is exactly 0.25, just above and just below it, and the opposite sign
    start = torch.ones(4)
    gradient = torch.tensor([0.5, 0.5000001, 0.4999999, -0.5])
    ((ours, m),), ((bops, _),) = both(start, [gradient], 0.25, 0.5)
    assert m[0] == 0.25
    assert ours.tolist() == [1.0, -1.0, 1.0, 1.0]
    assert bops.tolist() == [-1.0, -1.0, 1.0, 1.0]
    ((ours, _),), ((bops, _),) = both(start, [torch.zeros(4)], 0.0, 0.5)
    assert ours.tolist() == bops.tolist() == [1.0] * 4  # sign(0) is no weight's sign


def test_bold_by_hand():
    w = weights(1.0, -1.0, 1.0)
    optimizer = Bold([w], lr=0.5)
    seen = []
    for gradient in ([2.0, 2.0, 1.0], [1.0, -1.0, 1.5], [0.0, 0.0, 0.5]):
        w.grad = torch.tensor(gradient)
        optimizer.step()
        state = optimizer.state[w]
        seen.append((w.tolist(), state["momentum"].tolist(), float(state["kept"])))
    two_thirds = float(torch.tensor(2 / 3))
    # m = (1, 1, 0.5): the first flips; beta is 2/3 for the next
    assert seen[0] == ([-1.0, -1.0, 1.0], [0.0, 1.0, 0.5], two_thirds)
    # m = (0.5, 2/3 - 0.5, 1/3 + 0.75): m w = (-0.5, -1/6, 1.08), the third flips
    assert seen[1][0] == [-1.0, -1.0, -1.0]
    assert seen[1][1] == pytest.approx([0.5, 1 / 6, 0.0], abs=1e-6)
    assert seen[1][2] == two_thirds
    # m = (1/3, 1/9, 0.25), all of them against w: nothing flips, and beta is 1 again
    assert seen[2][0] == [-1.0, -1.0, -1.0]
    assert seen[2][1] == pytest.approx([1 / 3, 1 / 9, 0.25], abs=1e-6)
    assert seen[2][2] == 1.0


def test_bolds_state_resumes_and_its_errors_are_those_of_bso():
    w = weights(1.0, -1.0, 1.0)
    first, second = Bold([w], lr=0.5), Bold([w], lr=0.5)
    w.grad = torch.tensor([2.0, 2.0, 1.0])
    first.step()
    second.load_state_dict(first.state_dict())
    assert second.state[w]["kept"] == first.state[w]["kept"] < 1
    with pytest.raises(ValueError, match="not exactly -1 or"):
        Bold([weights(0.5)], lr=1.0)
    w.grad = torch.tensor([float("nan"), 0.0, 0.0])
    with pytest.raises(ValueError, match="not finite"):
        first.step()


@pytest.mark.parametrize("arithmetic", ["float32", "exact"])
@pytest.mark.parametrize("method", ["bold", "ste-adam"])
def test_they_train_and_resume(method, arithmetic, tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "runs"))
    config = replace(TINY, method=method, arithmetic=arithmetic, latent_lr=0.01 if method == "ste-adam" else 1e5)
    result = run(config, progress=False)
    assert result.flips.epochs["flips"].sum() > 0
    if method == "bold":
        assert all(bool((w.abs() == 1).all()) for w in split_parameters(result.load_model())[0])
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "again"))
    assert run(config, progress=False).checksum == result.checksum


def test_adam_moves_the_latent_weights_alone():
    config = replace(TINY, method="ste-adam", latent_lr=0.02, lr=0.3, schedule="constant")
    model = build_model(config, 10, 1)
    (sgd, adam), schedulers = build_optimizers(config, model, batches=2)
    assert isinstance(adam, ExactAdam)
    assert len(schedulers) == 2
    moved = [{id(p) for group in o.param_groups for p in group["params"]} for o in (sgd, adam)]
    assert not moved[0] & moved[1]
    assert moved[0] | moved[1] == {id(p) for p in model.parameters()}
    assert (adam.param_groups[0]["lr"], sgd.param_groups[0]["lr"]) == (0.02, 0.3)
    trainer = Trainer(config, model, batches=2)
    assert len(trainer.optimizers[1].param_groups[0]["params"]) == 7


@pytest.mark.parametrize("method", ["bold", "ste-adam"])
def test_they_are_neither_packed_nor_graphed(method):
    with pytest.raises(ValueError, match=r"RunConfig\.packed='float32': needs method 'bso' or 't-bso'"):
        RunConfig(method=method, packed="float32", record_flips=False)
    with pytest.raises(ValueError, match=rf"RunConfig\.graphed=True: must be False for method '{method}'"):
        RunConfig(method=method, graphed=True, record_flips=False)
