"""Imports stand at the top of modules, but for those that keep start-up short."""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("envd", "grammar", "store", "engine")

# How many imports inside functions a module has: the command line's, since a command imports its work when
# it runs; those on the path of a build that has nothing to do; and of what few commands use and all would
# pay for, as `noqa` says there. The numbers only shrink. Other libraries: `store.libraries`.
LAZY = {
    "engine/app/catalog.py": 1,
    "engine/app/deliver.py": 1,
    "engine/app/fastpath.py": 1,
    "engine/cli/build.py": 2,
    "engine/cli/bundle.py": 2,
    "engine/cli/complete.py": 4,
    "engine/cli/destroy.py": 1,
    "engine/cli/entry.py": 2,
    "engine/cli/envs.py": 2,
    "engine/cli/exec.py": 2,
    "engine/cli/explain.py": 1,
    "engine/cli/graph.py": 1,
    "engine/cli/image_commands.py": 2,
    "engine/cli/init.py": 2,
    "engine/cli/listing.py": 1,
    "engine/cli/lock.py": 1,
    "engine/cli/login.py": 2,
    "engine/cli/lsp.py": 2,
    "engine/cli/main.py": 2,
    "engine/cli/options.py": 2,
    "engine/cli/parse.py": 1,
    "engine/cli/pause.py": 1,
    "engine/cli/prune.py": 1,
    "engine/cli/pull.py": 1,
    "engine/cli/push.py": 2,
    "engine/cli/run.py": 1,
    "engine/cli/store.py": 2,
    "engine/cli/up.py": 1,
    "engine/cli/version.py": 1,
    "engine/core/progress.py": 1,
    "engine/docker/endpoint.py": 2,
    "engine/docker/probe.py": 3,
    "engine/ecosystems/conda/link.py": 1,
    "engine/realise/seccomp.py": 1,
    "engine/runtime/keys.py": 1,
    "envd/__init__.py": 1,
    "envd/__main__.py": 1,
    "grammar/starlark/parser.py": 1,
    "grammar/vocabulary/conda.py": 1,
    "store/__init__.py": 1,
}


def inner_imports(text: str) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports inside functions of a module's text."""
    found: dict[int, ast.Import | ast.ImportFrom] = {}
    for function in ast.walk(ast.parse(text)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            found |= {id(n): n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)}
    yield from found.values()


def _counted() -> Counter[str]:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return Counter(
        {
            path.relative_to(ROOT).as_posix(): count
            for path in paths
            if (count := sum(1 for _ in inner_imports(path.read_text("utf-8"))))
        }
    )


def test_imports_are_at_the_top() -> None:
    assert dict(_counted()) == LAZY, "move what is new to the top, and take out what went"
    assert sum(LAZY.values()) < 60


def test_ruff_refuses_others() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    assert "PLC0415" in settings["select"]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("import a\nfrom b import c\nif True:\n    import d\n", 0),
        ("def f():\n    import a\n    from b import c\n", 2),
        ("class C:\n    async def f(self):\n        def g():\n            import a\n", 1),
    ],
)
def test_what_is_counted(text: str, count: int) -> None:
    assert len(list(inner_imports(text))) == count
