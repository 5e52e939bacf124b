"""Write the students' version of the exercises: the same notebooks without their solutions and outputs.

    python notebooks/exercises/students.py              into build/exercises (make exercises)
    python notebooks/exercises/students.py --refresh    run the notebooks here, solutions and all; store the outputs

A solution stands between the lines ### BEGIN SOLUTION and ### END SOLUTION, nbgrader's marks; a proof is a cell of
prose that opens with a folded "Solution". Links lead somewhere from both folders, as both lie two below the root.
"""

import argparse
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
TARGET = FOLDER.parents[1] / "build" / "exercises"
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION$.*?^ *### END SOLUTION$", re.M | re.S)
PROOF = "<details><summary>Solution</summary>"


def exercises() -> list[Path]:
    """Return the notebooks, in order."""
    return sorted(FOLDER.glob("[0-9][0-9]-*.ipynb"))


def students_version(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return ``notebook`` without what answers it; raises ValueError for a mark without its partner."""
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith(PROOF)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = SOLUTION.sub(r'\1raise NotImplementedError("your code here")', cell.source)
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("tags", None)
        if "SOLUTION" in cell.source:
            raise ValueError(f"a mark ### BEGIN or ### END SOLUTION has no partner in this cell:\n{cell.source}")
    return notebook


def write(target: Path):
    """Write the students' version of every exercise into the folder ``target``."""
    target.mkdir(parents=True, exist_ok=True)
    for path in exercises():
        nbformat.write(students_version(nbformat.read(path, as_version=4)), target / path.name)


def refresh(path: Path):
    """Run the notebook at ``path`` and store its outputs in it."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, kernel_name="python3", resources=resources, record_timing=False).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":  # how far a run is, nobody wants to read later
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refresh", action="store_true")
    if parser.parse_args().refresh:
        for path in exercises():
            refresh(path)
    else:
        write(TARGET)
        print(f"the students' version: {TARGET}")


if __name__ == "__main__":
    main()
