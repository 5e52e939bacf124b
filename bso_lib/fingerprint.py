"""A hash of the code that computes a run, so that a cached result of other code is never served."""

import ast
import hashlib
from pathlib import Path

PACKAGE = Path(__file__).parent


def _without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None
        )
        if documented:
            node.body = node.body[1:]
    return ast.dump(tree)


def sources_of(module: str = "bso_lib.experiments", package: Path | None = None) -> dict[str, Path]:
    """Return the bso_lib modules that ``module`` imports, directly or not, itself included: name to file."""
    package = package or PACKAGE

    def locate(name):
        path = package.parent.joinpath(*name.split("."))
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.exists():
                return candidate
        return None

    found, queue = {}, [module]
    while queue:
        name = queue.pop()
        path = locate(name)
        if path is None or name in found:
            continue
        found[name] = path
        queue.append(name.rpartition(".")[0])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "bso_lib":
                queue += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                queue += [alias.name for alias in node.names if alias.name.split(".")[0] == "bso_lib"]
        queue = [name for name in queue if name]
    return found


def source_fingerprint(package: Path | None = None) -> str:
    """Return the SHA-256 of the code that computes a run, comments and docstrings aside, and of the embedded data."""
    digest = hashlib.sha256()
    for name, path in sorted(sources_of(package=package).items()):
        digest.update(f"{name}\n{_without_docstrings(path.read_text(encoding='utf-8'))}\n".encode())
    for path in sorted((package or PACKAGE).joinpath("data").glob("*.npz")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
