"""Bad input gets one clear line, which says what is wrong and what is right; no weight changes and no file is left."""

import dataclasses
import json
import os
import shlex
import subprocess
import sys

import pytest
import torch
from bad_input import cases_commands, cases_method, cases_settings, table

import bso_lib
import bso_lib.data.__main__ as data_command
from bso_lib.data.images import make_splits
from bso_lib.experiment import command
from bso_lib.experiment.paths import dry_run


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=str)


class OwnSplit(list):
    """A user's own batches of four."""

    def batches(self, size):
        return iter(self)


def world(folder):
    """What the source in the tables may name, anew."""
    torch.manual_seed(0)
    model = bso_lib.vgg11(10, 1, width=1 / 64)
    off_grid = bso_lib.BinaryLinear(2, 2)
    off_grid.weight.data[0, 0] = 0.5
    x, y = torch.randn(4, 1, 8, 8), torch.tensor([3, 5, 0, 9])
    binary, real = bso_lib.split_parameters(model)
    split, _ = make_splits(*2 * (torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8), y), [str(c) for c in range(10)])

    def nan_gradient(kind, *arguments):
        model[3].weight.grad = torch.full_like(model[3].weight, float("nan"))
        return kind(binary, *arguments)

    def file(content):
        (folder / "given").write_bytes(content)
        return folder / "given"

    return {name: getattr(bso_lib, name) for name in bso_lib.__all__} | {
        "torch": torch, "bso_lib": bso_lib, "dataclasses": dataclasses, "folder": folder, "file": file,
        "W": torch.ones(3, requires_grad=True), "latent": torch.randn(3), "model": model, "x": x, "y": y,
        "latent_model": bso_lib.vgg11(10, 1, width=1 / 64, weights="latent"), "nan_gradient": nan_gradient,
        "optimizers": [torch.optim.SGD(real, lr=0.1, momentum=0.9), bso_lib.TBSO(binary, 2)],
        "off_grid": torch.nn.Sequential(off_grid), "split": split,
        "own": OwnSplit([(x, y), (x / 0, y)]),
        "empty": dataclasses.replace(split, images=split.images[:0], labels=split.labels[:0]),
    }  # fmt: skip


def kept(names):
    """What bad input must not change: weights, momenta, modes."""
    model, optimizers = names["model"], names["optimizers"]
    momenta = [v.clone() for o in optimizers for s in o.state.values() for v in s.values() if torch.is_tensor(v)]
    return [p.detach().clone().float() for p in (*model.parameters(), names["W"], *momenta)], model.training


def files(folder):
    found = (p.name for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in found if name != "given" and not name.endswith("lock"))


def check_line(case, line):
    assert len(line.strip().splitlines()) == 1, line
    for part in case.words:
        assert part in line, line


@each(cases_settings.FIELDS_CASES)
def test_a_bad_field_is_refused_in_one_line(case):
    with pytest.raises(ValueError, match="RunConfig") as caught:
        eval(case.given, {"RunConfig": bso_lib.RunConfig, "dataclasses": dataclasses})
    check_line(case, str(caught.value))


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")
@each([*cases_method.CASES, *cases_settings.CALLS])
def test_a_bad_argument_is_refused_in_one_line_and_changes_nothing(case, tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "cache"))
    names = world(tmp_path)
    before, mode = kept(names)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - type and line are compared below
        eval(case.given, names)
    assert type(caught.value).__name__ == case.refused, repr(caught.value)
    check_line(case, str(caught.value))
    after, same_mode = kept(names)
    assert mode == same_mode
    assert len(before) == len(after)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert files(tmp_path) == []


def refused_command(case, main, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BSO_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["command", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert f"status {stopped.value.code}" == case.refused
    printed = capsys.readouterr()
    assert printed.out == ""
    check_line(case, printed.err)


@each(cases_commands.RUN)
def test_a_bad_command_line_is_one_line_and_status_2(case, tmp_path, monkeypatch, capsys):
    refused_command(case, command.main, shlex.split(case.given), tmp_path, monkeypatch, capsys)
    assert files(tmp_path) == []


@each(cases_commands.FILES)
def test_a_bad_file_of_settings_is_one_line_and_status_2(case, tmp_path, monkeypatch, capsys):
    (tmp_path / "given").write_text(case.given)
    refused_command(case, command.main, ["--config", "given"], tmp_path, monkeypatch, capsys)
    assert files(tmp_path) == []


@each(cases_commands.DATA)
def test_a_bad_data_set_is_one_line_and_a_status(case, tmp_path, monkeypatch, capsys):
    refused_command(case, data_command.main, shlex.split(case.given), tmp_path, monkeypatch, capsys)
    assert files(tmp_path) == []


@pytest.fixture(scope="module")
def runner():
    return table.load_runner()


@each(cases_commands.NOTEBOOK)
def test_a_notebook_asked_for_badly_is_one_line_and_status_2(case, runner, tmp_path, monkeypatch, capsys):
    refused_command(case, runner.main, shlex.split(case.given), tmp_path, monkeypatch, capsys)


@each([*cases_commands.PROFILE, *table.parameter_cases(table.load_runner())])
def test_a_bad_profile_is_refused_before_the_notebook_runs(case, runner, tmp_path, monkeypatch):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "quick.yaml").write_text(case.given, encoding="utf-8")
    for path in (table.ROOT / "notebooks").glob("*.ipynb"):
        os.symlink(path, tmp_path / path.name)
    monkeypatch.setattr(runner, "NOTEBOOKS", tmp_path)
    name = case.given.partition(":")[0] if case.subject == "notebook parameters" else "04-how-accurate"
    with pytest.raises(ValueError, match=r"quick\.yaml") as caught:
        runner.profile_parameters(name, "quick")
    check_line(case, str(caught.value))


@each(cases_commands.MAKE)
def test_make_refuses_in_one_line(case):
    variable, equals, rest = case.given.partition("=")
    words = [f"{variable}={rest.removesuffix(' help').removesuffix('help')}", "help"] if equals else [case.given]
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(["make", *words], cwd=table.ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert f"status {done.returncode}" == case.refused
    assert done.stdout == ""
    check_line(case, done.stderr)


@each(cases_commands.ENVIRONMENT)
def test_a_bad_environment_is_refused(case, monkeypatch):
    monkeypatch.setenv("DRY_RUN", case.given)
    with pytest.raises(ValueError, match="DRY_RUN") as caught:
        dry_run()
    check_line(case, str(caught.value))


def test_the_table_is_long_names_everything_public_and_is_the_page():
    cases = table.all_cases()
    assert len({(case.subject, case.given) for case in cases}) == len(cases) >= 250
    subjects = {case.subject for case in cases}
    assert subjects >= set(bso_lib.__all__) - {"RunConfig"}
    assert subjects >= {f"RunConfig.{name}" for name in bso_lib.RunConfig.__dataclass_fields__}
    assert table.PAGE.read_text(encoding="utf-8") == table.render(cases), "run: python tests/bad_input/table.py"


def test_every_example_that_the_page_is_about_works_when_it_is_right(tmp_path):
    """Guard against refusals of what is right: the same calls with good values."""
    names = world(tmp_path)
    before = [w.clone() for w in bso_lib.split_parameters(names["model"])[1]]
    loss, logits = eval("train_batch(model, x, y, optimizers, 2)", names)
    assert torch.isfinite(loss)
    assert logits.shape == (4, 10)
    assert not all(torch.equal(a, b) for a, b in zip(before, bso_lib.split_parameters(names["model"])[1], strict=True))
    assert eval("predict(model, x, 2).shape", names) == (4, 10)
    assert 0 <= eval("evaluate(model, split, 2)", names) <= 100
    eval("save_packed(model, folder / 'n')", names)
    assert eval("load_packed(str(folder / 'n'))", names) is not None
    soft = torch.softmax(torch.randn(4, 10), 1)  # probabilities of the classes, as cross entropy takes them
    bso_lib.train_batch(names["model"], names["x"], soft, names["optimizers"], 2)
    config = bso_lib.RunConfig(augment=["crop"], train_size=10_000, start_from=None)
    assert bso_lib.RunConfig(**json.loads(json.dumps(dataclasses.asdict(config)))) == config
