"""Execute a notebook under a profile, or refresh the outputs it is committed with.

    python notebooks/run.py 04-how-accurate --profile laptop     into build/laptop/04-how-accurate.ipynb
    python notebooks/run.py 04-how-accurate --refresh            in place, with its own parameters
    python notebooks/run.py --compared laptop                    say what the notebooks of a profile computed anew

Nothing half-made is left behind: the result is moved into place when every cell has run. A failure names the notebook,
the cell and the error, keeps what was executed as build/<profile>/<name>.failed.ipynb, and exits with status 1. Ctrl-C
and SIGTERM let a run under way write a checkpoint and end with one line, which says how to go on.
"""

import argparse
import ast
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import NoneType

import nbformat
import papermill
import yaml
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from bso_lib.experiment.paths import dry_run
from bso_lib.terminal.refusals import OneLineParser, did_you_mean

NOTEBOOKS = Path(__file__).parent
BUILD = NOTEBOOKS.parent / "build"
PROFILES = ("quick", "laptop", "evening", "paper")
EVERY = "every"  # a profile's settings of every notebook that has such a parameter


def known_notebooks() -> list[str]:
    """Return the names of all notebooks."""
    return sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]*-*.ipynb"))


def read_notebook(name: str) -> nbformat.NotebookNode:
    """Return notebook ``name``; raises ValueError, in one line, for a file that is none."""
    try:
        notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        nbformat.validate(notebook)
        parameter_defaults(notebook)
    except OSError:
        raise
    except Exception as error:  # nbformat, JSON and Python raise whatever they come upon
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{name}.ipynb cannot be read, restore it with git: {reason}") from error
    return notebook


def parameter_defaults(notebook: nbformat.NotebookNode) -> dict:
    """Return what the cell tagged ``parameters`` assigns; None for what is no literal."""
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{len(cells)} cells are tagged 'parameters': there must be one")
    assigned = [node for node in ast.parse(cells[0].source).body if isinstance(node, ast.Assign)]
    return {node.targets[0].id: _literal(node.value) for node in assigned}


def _literal(node):
    try:
        return ast.literal_eval(node)
    except ValueError:  # an expression, such as 1 - 1e-8
        return None


def read_profile(path: Path) -> dict:
    """Return the settings of the profile in ``path`` by notebook; raises ValueError for what is no such file."""
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path.name} holds a {type(settings).__name__}: must be settings by notebook")
    for name, values in settings.items():
        if name not in (EVERY, *known_notebooks()):
            raise ValueError(
                f"{path.name} has settings of {name!r}, no notebook{did_you_mean(name, known_notebooks())}"
            )
        if not isinstance(values, dict | NoneType):
            raise ValueError(f"{path.name}, {name}: {values!r} must be values by parameter, as in epochs: 3")
    return settings


def check_value(where: str, parameter: str, value, default):
    """Raise ValueError if ``value`` is of another kind than ``default``, the notebook's own; None fits always.

    YAML reads 5e-7 as text and 5.0e-7 as a number, which would only show when the notebook has run for a while.
    """
    kinds = {bool: bool, int: int, float: int | float, str: str, list: list, dict: dict}
    words = {bool: "True or False", int: "a whole number", float: "a number", str: "text", list: "a list",
             dict: "a mapping"}  # fmt: skip
    if value is None or type(default) not in kinds or (parameter, value) == ("recompute", "all"):
        return
    if not isinstance(value, kinds[type(default)]) or isinstance(value, bool) != isinstance(default, bool):
        hint = "; write 5.0e-7 for 5e-7" if isinstance(value, str) and "e" in value else ""
        raise ValueError(f"{where}: {parameter}={value!r} must be {words[type(default)]}, as {default!r}{hint}")


def profile_parameters(name: str, profile: str) -> dict:
    """Return what ``profile`` sets in notebook ``name``, its own name included; smaller where DRY_RUN says so.

    What it sets under "every" holds for each notebook that has such a parameter.

    Raises ValueError for a parameter that the notebook does not have, of which papermill would only warn, and for a
    value of another kind than the notebook's own.
    """
    known = parameter_defaults(read_notebook(name))
    parameters = {"profile": profile}
    for file in (profile, "dry-run") if dry_run() else (profile,):
        path = NOTEBOOKS / "profiles" / f"{file}.yaml"
        profiled = read_profile(path)
        shared = {key: value for key, value in (profiled.get(EVERY) or {}).items() if key in known}
        settings = shared | (profiled.get(name) or {})
        for parameter, value in settings.items():
            if parameter not in known:
                raise ValueError(
                    f"{path.name} sets {parameter!r}, which {name} does not have; it has {', '.join(known)}"
                    f"{did_you_mean(parameter, known)}"
                )
            check_value(f"{path.name}, {name}", parameter, value, known[parameter])
        parameters |= settings
    return parameters


def without_stderr(notebook):
    """Drop progress bars and warnings from the stored outputs: they were for whoever watched."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    return notebook


def changed_inputs(notebook: str) -> list[str]:
    """Return what ``notebook`` may read and is not as committed: an editor's work, or a damaged disk's.

    The bytes are compared, not dates, which damage does not change. None where git, or its history, is absent.
    """
    try:
        listed = subprocess.run(
            ["git", "ls-tree", "-r", "-z", "HEAD", "."], cwd=NOTEBOOKS, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    changed = []
    for entry in listed.split("\0")[:-1]:
        (_, _, committed), name = entry.partition("\t")[0].split(), entry.partition("\t")[2]
        path = NOTEBOOKS / name
        if path.suffix == ".ipynb" and name != f"{notebook}.ipynb":
            continue
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() != committed:
            changed.append(name)
    return changed


def how_far(profile: str) -> str:
    """Return how many notebooks of ``profile`` are up to date, and how long the others took when they last ran."""
    sources = [NOTEBOOKS / "profiles" / f"{profile}.yaml", Path(__file__), BUILD / "code"]
    newest = max(path.stat().st_mtime for path in sources if path.exists())
    seconds, waiting = {}, []
    for name in known_notebooks():
        built = BUILD / profile / f"{name}.ipynb"
        try:
            told = json.loads(built.read_text(encoding="utf-8"))["metadata"]["papermill"]["duration"]
            seconds[name] = float(told)
            done = built.stat().st_mtime >= max(newest, (NOTEBOOKS / built.name).stat().st_mtime)
        except (OSError, ValueError, KeyError, TypeError):  # not built yet, or by hand
            done = False
        waiting += [] if done else [name]
    count = len(known_notebooks())
    if not waiting:
        return f"all {count} of profile {profile} are up to date"
    known = [seconds[name] for name in waiting if name in seconds]
    usual = sum(seconds.values()) / max(len(seconds), 1)  # for one that never ran here
    left = sum(known) + usual * (len(waiting) - len(known))
    return f"{count - len(waiting)} of {count} of profile {profile} are up to date, about {left / 60:.0f} min left"


def compared(profile: str) -> str:
    """Return what the built notebooks of ``profile`` computed here and how it came out, a line each and one of all.

    Read from the line that ``bso_lib.sweep.comparison.run_all`` prints.
    """
    told, lines = re.compile(r"(\d+) of (\d+) runs computed here(?:, (\d+)(?: of (\d+))? equal)?"), []
    total = [0, 0, 0, 0]  # computed, runs, equal, of those with evidence
    for path in sorted((BUILD / profile).glob("[0-9]*.ipynb")):
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        said = "".join(o.text for cell in cells for o in cell.outputs if o.get("name") == "stdout")
        for found in told.finditer(said):
            computed, runs, equal, both = found.groups()
            both = both or (computed if equal else 0)
            total = [a + int(b or 0) for a, b in zip(total, (computed, runs, equal, both), strict=True)]
            lines += [f"  {path.stem}: {found[0]}"] if int(computed) else []
    computed, runs, equal, both = total
    equals = f"of {both} with evidence {equal} are equal to it to the last digit" if both else "none has evidence"
    in_all = f"  in all {computed} of {runs} runs; {equals}"
    rest = "; float32 may differ, and runs on a set that is made with other bytes here" if equal < both else ""
    return "\n".join([f"computed here for profile {profile}:", *lines, in_all + rest])


def write(notebook, path: Path):
    """Write ``notebook`` so that ``path`` is never half-made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    nbformat.write(notebook, temporary)
    os.replace(temporary, path)


class StoppableKernel(AsyncKernelManager):
    """A kernel that Ctrl-C and SIGTERM stop as a reader of the notebook would, so that its run ends with a checkpoint.

    It has a session of its own, which no Ctrl-C reaches. A second signal ends this process and the kernel at once.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def _stop(self, number, frame):
        if self.asked or not self.has_kernel:
            raise KeyboardInterrupt
        self.asked = True
        os.kill(self.provisioner.pid, signal.SIGINT)


def execute(name: str, profile: str):
    """Run notebook ``name`` under ``profile`` into build/<profile>."""
    folder = BUILD / profile
    folder.mkdir(parents=True, exist_ok=True)
    partial, failed = folder / f".{name}.part.ipynb", folder / f"{name}.failed.ipynb"
    try:
        papermill.execute_notebook(
            NOTEBOOKS / f"{name}.ipynb", partial, profile_parameters(name, profile),
            cwd=NOTEBOOKS, kernel_name="python3", progress_bar=False, stderr_file=sys.stderr,
            kernel_manager_class=StoppableKernel,
        )  # fmt: skip
    except BaseException as error:
        if _stopped(error):
            partial.unlink(missing_ok=True)
        elif partial.exists():
            os.replace(partial, failed)
        raise
    write(without_stderr(nbformat.read(partial, as_version=4)), folder / f"{name}.ipynb")
    partial.unlink()
    failed.unlink(missing_ok=True)


def refresh(name: str):
    """Run notebook ``name`` with its own parameters and store the outputs in it."""
    path = NOTEBOOKS / f"{name}.ipynb"
    notebook = read_notebook(name)
    client = NotebookClient(
        notebook, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}},
        record_timing=False, coalesce_streams=True, kernel_manager_class=StoppableKernel,
    )  # fmt: skip
    client.reset_execution_trackers()
    with client.setup_kernel():  # not execute(), which takes Ctrl-C for a kernel that died
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index, execution_count=client.code_cells_executed + 1)
        client.set_widgets_metadata()
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata["language_info"] = {"name": "python"}
    write(without_stderr(notebook), path)


def _stopped(error):
    """Return whether ``error`` is that of a signal, in this process or in the cell that it stopped."""
    return isinstance(error, KeyboardInterrupt) or getattr(error, "ename", "") in ("KeyboardInterrupt", "Interrupted")


def main():
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="the notebook's file name without .ipynb")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--profile", choices=PROFILES)
    how.add_argument("--refresh", action="store_true")
    how.add_argument("--compared", choices=PROFILES, metavar="PROFILE")
    arguments = parser.parse_args()
    if arguments.compared:
        print(compared(arguments.compared))
        return
    if arguments.name is None:
        parser.error("the following arguments are required: name")
    known = known_notebooks()
    if arguments.name not in known:
        hint = did_you_mean(arguments.name, known)
        parser.error(f"no notebook {arguments.name!r}; there are {', '.join(known)}{hint}")
    where = f"notebooks/{arguments.name}.ipynb"
    if changed := changed_inputs(arguments.name) if arguments.profile else []:
        print(f"{where}: not as committed: {', '.join(changed)}", file=sys.stderr)
    if not sys.stderr.isatty():
        os.environ["BSO_PROGRESS"] = "lines"  # of the kernel, which cannot see where its stderr ends
    try:
        refresh(arguments.name) if arguments.refresh else execute(arguments.name, arguments.profile)
    except (KeyboardInterrupt, PapermillExecutionError, CellExecutionError) as error:
        if _stopped(error):
            sys.exit(f"{where} stopped: the same command goes on, each run from its last checkpoint")
        if isinstance(error, CellExecutionError):
            sys.exit(f"{error}\n\n{where} failed: {error.ename}: {error.evalue}")
        trace = "\n".join(error.traceback)
        sys.exit(f"{trace}\n\n{where}, cell {error.cell_index}, failed: {error.ename}: {error.evalue}")
    except (DeadKernelError, ValueError, OSError) as error:
        sys.exit(f"{where} failed: {type(error).__name__}: {error}")
    print(f"{where}: done" + (f"; {how_far(arguments.profile)}" if arguments.profile else ""))


if __name__ == "__main__":
    main()
