"""What is imported is declared, what is declared is used, and what is private is known and there."""

from __future__ import annotations

import ast
import re
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import docker
import oras.auth
import pytest
import urllib3
from lark import Lark
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OURS = {"engine", "envd", "grammar", "store"}
# The bytes of a layer depend on these, so another version is another image.
EXACT = {"deflate", "zstandard"}
# Attributes that are somebody else's own affair, and whose.
PRIVATE = {
    "_load_from_dict": "lark",
    "_basic_auth": "oras",
    "_load_auth": "oras",
    "_response": "docker",
    "_sock": "docker",
    "_fp": "urllib3",
    "_exit": "",
    "_xoptions": "",
    "_run_exitfuncs": "",
    "_proc_member": "",
    "_block": "",
    "_asdict": "",
    "_replace": "",
}


def declared(*extras: str) -> dict[str, Requirement]:
    """Requirements by their canonical names: envd's own, or those of its extras."""
    texts = [t for e in extras for t in PROJECT["optional-dependencies"][e]] or PROJECT["dependencies"]
    found = [Requirement(text) for text in texts]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def modules(*tops: str) -> Iterator[tuple[Path, ast.Module]]:
    for top in tops:
        for path in sorted((ROOT / top).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text("utf-8"))


def imported(tree: ast.Module) -> set[str]:
    """Names of the top-level modules that a module imports, that are neither ours nor Python's."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - OURS - {"benchmarks", "tests"}


def distributions(*tops: str) -> dict[str, set[str]]:
    """Of what is imported: the distribution -> the modules that do."""
    of = metadata.packages_distributions()
    found: dict[str, set[str]] = {}
    for path, tree in modules(*tops):
        for name in imported(tree):
            for distribution in of.get(name, [f"{name} (not installed)"]):
                found.setdefault(canonicalize_name(distribution), set()).add(str(path))
    return found


def test_what_is_imported_is_declared() -> None:
    extra = declared("lsp").keys()
    for name, places in distributions(*OURS).items():
        if name in extra and all("language_server" in place for place in places):
            continue
        assert name in declared(), f"{name} is imported by {min(places)}: add it to pyproject.toml"
    known = declared().keys() | declared("dev", "lsp").keys()
    for name, places in distributions("tests", "benchmarks").items():
        assert name in known, f"{name} is imported by {min(places)}: add it to the extra 'dev'"


def test_what_is_declared_is_imported() -> None:
    unused = declared().keys() - distributions(*OURS).keys()
    assert not unused, f"nothing imports {', '.join(sorted(unused))}"


def test_what_makes_bytes_is_pinned() -> None:
    for name in EXACT:
        pins = [s.operator for s in declared()[name].specifier]
        assert pins == ["=="], f"layers depend on {name}'s version: pin it exactly"


def attributes(tree: ast.Module) -> set[str]:
    """Private attributes that are taken of others than `self` and `cls`."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and re.match(r"_[a-z]", node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    } | {
        str(node.args[1].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and len(node.args) > 1
        and node.func.id in ("getattr", "hasattr", "setattr")
        and isinstance(node.args[1], ast.Constant)
        and re.match(r"_[a-z]", str(node.args[1].value))
    }


def own(tree: ast.Module) -> set[str]:
    """Private names that a module defines."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        ):
            names.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # __slots__
            names.add(node.value)
    return names


def test_no_other_private_attribute_is_used() -> None:
    ours = set().union(*(own(tree) for _, tree in modules(*OURS))) - PRIVATE.keys()
    for path, tree in modules(*OURS):
        strange = attributes(tree) - ours - PRIVATE.keys()
        assert not strange, f"{path}: {', '.join(strange)}: do without, or add it to PRIVATE and a check"


@pytest.mark.parametrize("name", sorted({*PRIVATE.values()} - {""}))
def test_what_is_used_of_its_own_affairs_has_an_upper_bound(name: str) -> None:
    operators = {s.operator for s in declared()[name].specifier}
    assert operators & {"<", "==", "<=", "~="}, f"{name}: a release may change what we use of it"


def test_private_attributes_are_there() -> None:
    """With the newest release that pyproject.toml allows, these come first when one has changed."""
    changed = "has changed: look at its new sources, then move the upper bound in pyproject.toml"
    assert hasattr(Lark, "_load_from_dict"), f"lark {changed} (grammar/…/tables.py)"
    assert "_fp" in vars(urllib3.HTTPResponse(b"")), f"urllib3 {changed} (envd exec)"
    source = (Path(docker.__file__).parent / "api/client.py").read_text("utf-8")
    assert "sock._response = response" in source, f"docker {changed} (envd exec)"
    login = oras.auth.get_auth_backend("token")
    login.set_basic_auth("user", "password")
    assert hasattr(login, "_basic_auth"), f"oras {changed} (the registry client)"
    assert hasattr(login, "_load_auth"), f"oras {changed} (the registry client)"
    assert hasattr(tarfile.TarInfo, "_proc_member"), f"Python's tarfile {changed} (store/…/archives.py)"
    assert hasattr(tarfile.TarInfo, "_block"), f"Python's tarfile {changed} (store/…/archives.py)"


def test_the_version_is_the_one_that_is_installed() -> None:
    """pyproject.toml takes it from the module that has it."""
    from engine.core.version import VERSION

    assert "version" in PROJECT["dynamic"]
    assert metadata.version("envd") == VERSION, "install it again: `.venv/bin/pip install -e .`"


def test_what_is_public_is_typed() -> None:
    assert find_spec("envd") is not None
    assert (ROOT / "envd" / "py.typed").is_file()
