"""The whole table of bad input, and docs/bad-input.md made of it: ``python tests/bad_input/table.py``."""

import importlib.util
import sys
from itertools import groupby
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "bad-input.md"
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "tests")) if path not in sys.path]

from bad_input import cases_commands, cases_method, cases_settings  # noqa: E402

HEAD = """# Bad input

What was tried on the public names, the fields of `RunConfig`, the command lines, the profiles, the notebooks'
parameters and make, {count} values in all, and how each is refused: with one line that says what is wrong and what is
right. No weight and no momentum changes, and no file is left half-written. On a CUDA device alone, `train_batch` and
`predict` do not look for NaN in the images of a batch, as the host would have to wait for every one: a data set is
looked at once, when its `Split` is made, and all sets of `load_dataset` are whole numbers until then.

This page is generated (`python tests/bad_input/table.py`) from the tables in `tests/bad_input`, which `make test` tries
one by one. In the source that is given, `W` is a +-1 tensor, `latent` a real one, `model` a VGG-11, `x` images and `y`
labels of 10 classes, `split` a set of such images and `own` one of a user's making.
"""


def load_runner():
    """Return notebooks/run.py as a module."""
    spec = importlib.util.spec_from_file_location("run", ROOT / "notebooks" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parameter_cases(runner):
    """Return a case for each parameter of each notebook."""
    notebooks = {name: nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4) for name in runner.known_notebooks()}
    return cases_commands.parameter_cases({name: runner.parameter_defaults(nb) for name, nb in notebooks.items()})


def all_cases():
    """Return every case, in the order of the page."""
    commands = cases_commands
    lines = [*commands.RUN, *commands.FILES, *commands.DATA, *commands.NOTEBOOK, *commands.PROFILE]
    rest = [*parameter_cases(load_runner()), *commands.MAKE, *commands.ENVIRONMENT]
    return [*cases_method.CASES, *cases_settings.FIELDS_CASES, *cases_settings.CALLS, *lines, *rest]


def _code(text):
    shown = text.replace("\t", "\\t").replace("|", "\\|")
    return f"`{shown}`" if shown else "(nothing)"


def render(cases) -> str:
    """Return the page."""
    parts = [HEAD.format(count=len(cases))]
    for subject, group in groupby(cases, key=lambda case: case.subject):
        parts.append(f"\n## {subject}\n\n| given | refused with | its line holds |\n| --- | --- | --- |\n")
        for case in group:
            words = ", ".join(_code(part) for part in case.words)
            parts.append(f"| {_code(case.given)} | {case.refused} | {words} |\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render(all_cases()), encoding="utf-8")
