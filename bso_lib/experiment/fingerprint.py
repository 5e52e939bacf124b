"""A hash of the code that computes a run, so that a cached result of other code is never served.

python -m bso_lib.experiment.fingerprint FILE     write the hash of the whole library to FILE, if it is another one
"""

import ast
import functools
import hashlib
import subprocess
import sys
from importlib import resources
from pathlib import Path

from bso_lib.data.stored import code_without_docstrings, write_atomically
from bso_lib.experiment.paths import checkout

PACKAGE = Path(str(resources.files("bso_lib")))
ENTRY = "bso_lib.experiment.run"


def _imports(path):
    """Yield the names of bso_lib modules, and perhaps of things within, that the file at ``path`` imports when it runs.

    Raises ValueError for a relative import, which this cannot follow.
    """
    queue = [ast.parse(path.read_text(encoding="utf-8"))]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue  # for editors alone
        queue += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}, line {node.lineno}: a relative import; write out the module's whole name")
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def sources_of(module: str = ENTRY, package: Path = PACKAGE) -> dict[str, Path]:
    """Return the bso_lib modules that ``module`` imports, directly or not, itself included: name to file."""

    def locate(name):
        path = package.parent.joinpath(*name.split("."))
        return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.exists()), None)

    found, queue = {}, [module]
    while queue:
        name = queue.pop()
        path = locate(name) if name.split(".")[0] == "bso_lib" else None
        if path is None or name in found:
            continue
        found[name] = path
        queue += [*_imports(path), name.rpartition(".")[0]]
    return found


def embedded_data(package: Path = PACKAGE) -> list[Path]:
    """Return the files of the embedded data sets; raises FileNotFoundError if there are none."""
    files = sorted((package / "data").glob("*.npz"))
    if not files:
        raise FileNotFoundError(f"no embedded data set (*.npz) in {package / 'data'}: install the package whole")
    return files


def source_fingerprint(module: str = ENTRY, package: Path = PACKAGE) -> str:
    """Return the SHA-256 of the code behind ``module``, comments and docstrings aside, and of the embedded data."""
    digest = hashlib.sha256()
    for name, path in sorted(sources_of(module, package).items()):
        digest.update(f"{name}\n{code_without_docstrings(path)}\n".encode())
    for path in embedded_data(package):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def library_fingerprint(package: Path = PACKAGE) -> str:
    """Return the SHA-256 of all code and data of the library, comments and docstrings aside: what notebooks rest on."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix == ".py":
            digest.update(code_without_docstrings(path).encode())
        elif path.suffix in (".csv", ".npz"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


@functools.cache
def commit() -> str | None:
    """Return the commit of this checkout, with "+" behind it if bso_lib differs from it; None where git knows none."""

    def git(*arguments):
        command = ["git", "-C", str(checkout()), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    try:
        head = git("rev-parse", "HEAD") if checkout() else None
        if head is None or head.returncode:
            return None
        return head.stdout.strip() + "+" * (git("diff", "--quiet", "HEAD", "--", "bso_lib").returncode != 0)
    except OSError:  # no git
        return None


if __name__ == "__main__":
    out, now = Path(sys.argv[1]), library_fingerprint()
    if not out.exists() or out.read_text() != now:  # a file that stays as it is keeps its date, which make looks at
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, now.encode())
