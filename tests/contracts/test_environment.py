"""pyproject.toml, requirements.lock, environment.yml and the Makefile describe the same environment."""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11.0", "3.12.0", "3.13.0")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = [Requirement(r) for r in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["companion"]]
LOCKED = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines()]
BOOK = [Requirement(r) for r in PROJECT["optional-dependencies"]["book"]]
BOOK_LOCKED = [Requirement(line) for line in (ROOT / "docs" / "book" / "requirements.lock").read_text().splitlines()]


def locked_for(python, lock=LOCKED):
    """Return name to version of what ``lock`` installs on Linux under ``python``."""
    environment = {"python_version": python[:4], "python_full_version": python, "sys_platform": "linux",
                   "platform_machine": "x86_64", "platform_system": "Linux", "implementation_name": "cpython",
                   "platform_python_implementation": "CPython", "os_name": "posix", "extra": ""}  # fmt: skip
    chosen = {}
    for requirement in lock:
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name not in chosen, f"{name} is locked twice under Python {python}"
            chosen[name] = next(iter(requirement.specifier)).version
    return chosen


@pytest.mark.parametrize(
    ("file", "lock"), [("requirements.lock", LOCKED), ("docs/book/requirements.lock", BOOK_LOCKED)]
)
def test_the_lock_holds_exact_versions_and_no_address(file, lock):
    text = (ROOT / file).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-", text, flags=re.M)  # no option such as an index
    for requirement in lock:
        assert [s.operator for s in requirement.specifier] == ["=="], str(requirement)
        assert requirement.url is None


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_lies_in_the_ranges_for_every_python(python):
    chosen = {**locked_for(python, BOOK_LOCKED), **locked_for(python)}
    for requirement in DECLARED + BOOK:
        version = chosen[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} locked as {version}"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_books_lock_has_the_same_versions_of_what_both_install(python):
    book, own = locked_for(python, BOOK_LOCKED), locked_for(python)
    assert {name: version for name, version in book.items() if own.get(name, version) != version} == {}
    assert {"ipykernel", "pygments"} <= set(book) & set(own)


def test_the_ranges_admit_python_3_11_to_3_13_and_torch_from_2_9():
    ranges = {canonicalize_name(r.name): r.specifier for r in DECLARED}
    python = Requirement("python" + PROJECT["requires-python"]).specifier
    assert all(python.contains(p) for p in PYTHONS)
    assert not python.contains("3.10.9")
    assert ranges["torch"].contains("2.9.0")
    assert not ranges["torch"].contains("2.8.0")
    assert ranges["torchvision"].contains("0.24.0")  # the one that belongs to torch 2.9
    for fixed in ("torch", "torchvision", "jupyterlab", "papermill", "pandas", "seaborn", "pytest", "nbval"):
        assert fixed in ranges


def test_conda_and_venv_install_the_lock_and_the_package():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert [d for d in conda if isinstance(d, str)] == ["python>=3.11,<3.14", "pip"]
    assert [d["pip"] for d in conda if isinstance(d, dict)] == [["-r requirements.lock", "-e ."]]
    makefile = (ROOT / "Makefile").read_text()
    installs = re.findall(r"pip install --quiet (.*)", makefile)
    assert installs == [
        "--requirement requirements.lock",
        "--no-deps --editable .",
        "--requirement docs/book/requirements.lock",
    ]


def test_every_package_is_installed():
    found = [".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "bso_lib").rglob("__init__.py")]
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setuptools["packages"] == sorted(found)


def test_the_lock_is_complete():
    # Everything that a locked package needs here is locked too, so nothing floats.
    chosen, missing = locked_for(".".join(map(str, sys.version_info[:3]))), []
    for name in chosen:
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another platform
        for need in map(Requirement, needs):
            needed = need.marker is None or need.marker.evaluate({"extra": ""})
            if needed and canonicalize_name(need.name) not in chosen:
                missing.append(f"{name} needs {need}")
    assert missing == []


@pytest.mark.skipif(Path(sys.prefix).resolve() != (ROOT / ".venv").resolve(), reason="not the locked environment")
def test_what_is_installed_is_what_is_locked():
    for name, version in locked_for(".".join(map(str, sys.version_info[:3]))).items():
        assert metadata.version(name).split("+")[0] == version.split("+")[0], name


def test_what_is_installed_lies_in_the_ranges():
    for requirement in DECLARED:
        assert requirement.specifier.contains(metadata.version(requirement.name), prereleases=True), str(requirement)


def test_every_import_of_the_library_is_declared():
    optional = PROJECT["optional-dependencies"]["compiled"]  # of one module, which is imported where it is installed
    declared = {canonicalize_name(Requirement(d).name) for d in PROJECT["dependencies"] + optional}
    found = set()
    for path in (ROOT / "bso_lib").rglob("*.py"):
        if path.name.startswith("make_"):
            continue  # scripts that made the embedded data; they say what they need
        for module in re.findall(r"^(?:from|import) (\w+)", path.read_text(), flags=re.M):
            if module not in sys.stdlib_module_names and module != "bso_lib":
                found.add(canonicalize_name(module))
    assert found == declared
