"""The notebook contract: order, parameters, profiles, stored outputs, figures; and what happens when one fails."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in PATHS]
PROFILES = ("quick", "laptop", "paper")
PROVENANCE = ["profile", "dataset", "seeds", "device", "torch", "python", "runs"]
PUBLISHED = ROOT / "bso_lib" / "companion" / "published"
MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.fixture
def runner():
    spec = importlib.util.spec_from_file_location("run", ROOT / "notebooks" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=NAMES)
def notebook(request):
    return nbformat.read(ROOT / "notebooks" / f"{request.param}.ipynb", as_version=4)


def code_cells(notebook):
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def figures_saved(name):
    source = "\n".join(c.source for c in code_cells(nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4)))
    return re.findall(rf'"({name}-[^"]+)"', source)


def test_every_cell_is_executed_in_order_and_none_failed(notebook):
    cells = code_cells(notebook)
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"


def test_a_notebook_is_prose_calls_and_figures(notebook):
    assert notebook.cells[0].source.startswith("# ")
    assert "**What the paper claims, and where.**" in notebook.cells[0].source or "ledger" in notebook.cells[0].source
    assert "## Exercises" in "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert re.search(r"\*\*(Next|Back to):\*\*", notebook.cells[-1].source)
    for cell in code_cells(notebook):
        assert not re.search(r"^\s*class |\.backward\(|^%|^!", cell.source, flags=re.M)
        # nbval heeds a marker only on a line of its own.
        assert not re.search(r"^[^#\n]+#\s*NBVAL_", cell.source, flags=re.M), cell.source
    assert notebook.metadata.kernelspec.name == "python3"
    assert str(ROOT) not in nbformat.writes(notebook)
    for link in re.findall(r"\]\(([^)#:]+\.ipynb)\)", "\n".join(c.source for c in notebook.cells)):
        assert (ROOT / "notebooks" / link).exists(), link


def test_what_a_profile_sets_in_every_notebook_holds_where_there_is_such_a_parameter(runner, tmp_path, monkeypatch):
    (tmp_path / "profiles").mkdir()
    for name, source in {"01-a": "profile = ''; recompute = 0; epochs = 3", "02-b": "profile = ''; epochs = 3"}.items():
        cell = nbformat.v4.new_code_cell(source.replace("; ", "\n"), metadata={"tags": ["parameters"]})
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / f"{name}.ipynb")
    monkeypatch.setattr(runner, "NOTEBOOKS", tmp_path)
    path = tmp_path / "profiles" / "evening.yaml"
    path.write_text("every: {recompute: all, epochs: 5}\n01-a: {epochs: 7}")
    assert runner.profile_parameters("01-a", "evening") == {"profile": "evening", "recompute": "all", "epochs": 7}
    assert runner.profile_parameters("02-b", "evening") == {"profile": "evening", "epochs": 5}
    path.write_text("every: {recompute: some}")
    with pytest.raises(ValueError, match="recompute='some' must be a whole number, as 0"):
        runner.profile_parameters("01-a", "evening")


def test_the_evening_computes_all_and_keeps_it_past_the_committed_figures():
    told = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "evening"], cwd=ROOT, capture_output=True, text=True, check=True,
        env={k: v for k, v in os.environ.items() if k != "BSO_EVIDENCE"},
    ).stdout  # fmt: skip
    ran = re.findall(r"notebooks/run.py (\S+) --profile (\S+)", told)
    assert [name for name, _ in ran] == [name for name in NAMES if name != "99-ledger"]
    assert {profile for _, profile in ran} == {"evening"}
    assert told.splitlines()[-1].endswith("-m bso_lib.experiment.vouch --sample 0")
    assert "figures/laptop" not in told
    rules = subprocess.run(
        ["make", "--print-data-base", "--dry-run", "PROFILE=evening", "help"], cwd=ROOT, capture_output=True, text=True
    ).stdout  # fmt: skip
    assert f"BSO_FIGURES := {ROOT}/build\n" in rules
    assert "BSO_KEEP_EVIDENCE := 1\n" in rules
    assert "build/evening/04-how-accurate-accuracy.png: build/evening/04-how-accurate.ipynb" in rules
    settings = yaml.safe_load((ROOT / "notebooks" / "profiles" / "evening.yaml").read_text())
    assert settings == {"every": {"recompute": "all"}, "99-ledger": {"ledger_of": "evening"}}


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_set_only_parameters_that_exist(profile, runner):
    settings = yaml.safe_load((ROOT / "notebooks" / "profiles" / f"{profile}.yaml").read_text())
    assert set(settings) <= {"every", *NAMES}
    for name in NAMES:
        values = runner.profile_parameters(name, profile)
        assert values["profile"] == profile
        assert not [k for k, v in values.items() if isinstance(v, str) and re.fullmatch(r"[\d.]+e-?\d+", v)], (
            "YAML reads 1e-3 as text: write 1.0e-3"
        )


def test_a_dry_run_sets_only_parameters_that_exist_and_comes_last(runner, monkeypatch):
    monkeypatch.setenv("DRY_RUN", "1")
    settings = yaml.safe_load((ROOT / "notebooks" / "profiles" / "dry-run.yaml").read_text())
    of_every = settings.pop("every")
    assert set(settings) <= set(NAMES)
    for name in NAMES:
        values = runner.profile_parameters(name, "paper")
        assert values["profile"] == "paper"
        assert values | settings.get(name, {}) == values
        assert {key: values.get(key, value) for key, value in of_every.items()} == of_every
        # Its runs have seed 0, whatever is asked: two seeds would be one run given twice.
        assert all(values[key] == [0] for key in values if key.endswith("seeds") and isinstance(values[key], list))


def test_a_profile_key_that_does_not_exist_is_refused(runner, tmp_path, monkeypatch):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "quick.yaml").write_text("04-how-accurate: {sedes: [0]}")
    (tmp_path / "04-how-accurate.ipynb").write_text((ROOT / "notebooks" / "04-how-accurate.ipynb").read_text())
    monkeypatch.setattr(runner, "NOTEBOOKS", tmp_path)
    with pytest.raises(ValueError, match="sets 'sedes', which 04-how-accurate does not have; it has profile, dataset"):
        runner.profile_parameters("04-how-accurate", "quick")


def test_make_knows_every_notebook_and_every_figure():
    listed = {name: figures.split() for name, figures in re.findall(r"^FIGURES_(\S+) := (.*)$", MAKEFILE, flags=re.M)}
    assert sorted(listed) == NAMES
    for name in NAMES:
        assert figures_saved(name) == [f"{name}-{figure}" for figure in listed[name]]


def test_the_laptop_figures_are_committed_with_their_provenance():
    folder = ROOT / "figures" / "laptop"
    stems = {stem for name in NAMES for stem in figures_saved(name)}
    assert {p.stem for p in folder.glob("*.png")} == {p.stem for p in folder.glob("*.pdf")} == stems
    for stem in stems:
        table = pd.read_csv(folder / f"{stem}.csv")
        assert list(table.columns[-len(PROVENANCE) :]) == PROVENANCE
        assert set(table["profile"]) == {"laptop"}
        assert len(table)
    tracked = subprocess.run(["git", "ls-files", "figures"], cwd=ROOT, capture_output=True, text=True).stdout
    assert "figures/quick" not in tracked


def write_notebook(folder, *sources):
    cells = [nbformat.v4.new_code_cell('profile = "notebook"', metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    (folder / "profiles").mkdir(parents=True, exist_ok=True)
    (folder / "profiles" / "quick.yaml").write_text("{}")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "01-x.ipynb")


def run_notebook(folder):
    """Run a copy of notebooks/run.py on the notebooks in ``folder``."""
    (folder / "run.py").write_text((ROOT / "notebooks" / "run.py").read_text())
    command = [sys.executable, str(folder / "run.py"), "01-x", "--profile", "quick"]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_failing_notebook_is_named_with_cell_and_error_and_leaves_nothing_half_made(tmp_path):
    folder = tmp_path / "notebooks"
    write_notebook(folder, "x = 1", "print(profile)\nraise ZeroDivisionError('no luck')", "y = 2")
    done = run_notebook(folder)
    assert done.returncode == 1
    assert re.search(r"notebooks/01-x.ipynb, cell \d, failed: ZeroDivisionError: no luck", done.stderr)
    assert "print(profile)" in done.stderr  # the cell's own source
    built = tmp_path / "build" / "quick"
    assert [p.name for p in built.iterdir()] == ["01-x.failed.ipynb"]

    write_notebook(folder, "import sys; print('shown'); print('progress', file=sys.stderr); profile")
    assert run_notebook(folder).returncode == 0
    assert [p.name for p in built.iterdir()] == ["01-x.ipynb"]
    outputs = nbformat.read(built / "01-x.ipynb", as_version=4).cells[-1].outputs
    assert [o.get("name") for o in outputs] == ["stdout", None]
    assert outputs[1].data["text/plain"] == "'quick'"


def test_the_paper_profile_tunes_first_what_the_paper_leaves_open(runner):
    told = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "PROFILE=paper", "reproduce"], cwd=ROOT, capture_output=True,
        text=True, check=True,
    ).stdout  # fmt: skip
    settings = runner.read_profile(ROOT / "notebooks" / "profiles" / "paper.yaml")
    tuned = {name: values for name, values in settings.items() if "tuning" in values}
    assert {values["dataset"] for values in tuned.values()} == {"cifar10", "speech-commands", "dvs-cifar10"}
    for name, values in tuned.items():
        assert values["tuning"] == f"../build/paper/tuning/{values['dataset']}.csv"
        asked = told.index(f"tuning --out build/paper/tuning/.{values['dataset']}.csv --dataset {values['dataset']} ")
        assert asked < told.index(f"notebooks/run.py {name} --profile paper")


@pytest.mark.parametrize("table", ["arithmetic", "machines", "random-threshold"])
def test_a_table_of_the_evidence_that_is_deleted_is_computed(table):
    out = f"notebooks/evidence/{table}.csv"
    told = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "--always-make", out], cwd=ROOT,
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert f"--out {out}\n" in told


def test_a_notebook_that_does_not_exist_is_refused():
    command = [sys.executable, str(ROOT / "notebooks" / "run.py"), "77-x", "--profile", "quick"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no notebook '77-x'; there are 00-start-here" in done.stderr


@pytest.mark.parametrize(
    ("goal", "expected"),
    [([], "make reproduce"), (["PROFILE=tiny"], "PROFILE=tiny: must be quick, laptop, evening or paper")],
)
def test_make_alone_lists_the_targets_and_refuses_an_unknown_profile(goal, expected):
    done = subprocess.run(["make", "--no-print-directory", *goal], cwd=ROOT, capture_output=True, text=True)
    assert expected in done.stdout + done.stderr
    assert (done.returncode == 0) == (goal == [])
    if not goal:
        for target in ("env", "lab", "reproduce", "notebooks", "book", "test", "lint", "bench", "clean"):
            assert f"make {target} " in done.stdout


def test_published_numbers_in_prose_are_the_tables():
    known = set()
    for table in ("table2", "table3", "table4", "table5", "figure5"):
        frame = pd.read_csv(PUBLISHED / f"{table}.csv")
        known |= {f"{v:.2f}" for c in ("accuracy_percent", "model_size_mb") if c in frame for v in frame[c].dropna()}
    quoted = []
    for path in PATHS:
        prose = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
        quoted += re.findall(r"(\d+\.\d\d) (?:%|MB)", prose)
    assert len(quoted) >= 9
    assert set(quoted) <= known


def test_the_paper_profile_has_the_published_hyperparameters():
    table = pd.read_csv(PUBLISHED / "hyperparameters.csv", dtype=str)
    profile = yaml.safe_load((ROOT / "notebooks" / "profiles" / "paper.yaml").read_text())
    names = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "dvs-cifar10": "DVS-CIFAR10", "speech-commands": "GSC"}
    checked = 0
    for settings in profile.values():
        for method in ("BSO", "T-BSO"):
            if method not in settings.get("overrides", {}):
                continue
            rows = table[(table["method"] == method) & (table["dataset"] == names[settings["dataset"]])]
            if rows.empty:
                continue  # nothing is published for BSO on GSC
            row = rows.iloc[0]
            own = settings["overrides"][method]
            assert own["gamma"] == float(row["gamma"])
            assert own["beta1"] == pytest.approx(1 - float(row["one_minus_beta1"]))
            assert pd.isna(row["epochs"]) or settings["epochs"] == int(row["epochs"])
            checked += 1
    assert checked == 13
    swept = profile["06-how-sensitive"]
    table3, table4 = (pd.read_csv(PUBLISHED / f"{name}.csv") for name in ("table3", "table4"))
    assert set(table3["gamma"]) <= set(swept["gammas"])
    assert {(r.one_minus_beta1, r.one_minus_beta2) for r in table4.itertuples()} == {tuple(p) for p in swept["betas"]}
    assert (swept["dataset"], swept["epochs"], swept["beta1"]) == ("cifar100", 400, 0.999)
    accurate = profile["04-how-accurate"]
    runs = {("cifar10", 6), *((name, steps) for name, steps, _ in accurate["also"])}
    assert runs == {(name, steps) for name in ("cifar10", "cifar100") for steps in (2, 4, 6)}
    scale, rows = profile["11a-scale"], table[table["dataset"] == "ImageNet"].set_index("phase")
    for key, phase in (("first", "pre-train"), ("second", "fine-tune")):
        own, row = scale[key]["T-BSO"], rows.loc[phase]
        assert own["gamma"] == float(row["gamma"])
        assert 1 - own["beta1"] == pytest.approx(float(row["one_minus_beta1"]), rel=1e-6)
        assert (scale[f"{key}_epochs"], scale["batch_size"]) == (int(row["epochs"]), int(row["batch_size"]))
