"""What Python files and notebooks import, and what they show of GPUs."""

from __future__ import annotations

import ast
import json
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.survey.walk import SKIPPED, read

_GPU = re.compile(
    r"""\.cuda\(|["']cuda(?::\d+)?["']|torch\.cuda\.|["']GPU["']|jax\.devices\(["']gpu|device_map="""
)
_PIP = re.compile(r"^\s*[%!]\s*(?:\w+\s+-m\s+)?pip3?\s+install\s+(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Imports:
    """`modules` maps dotted names to the files (relative) that import them; `optional` are those
    that are only imported where that may fail; `installed` are requirements that notebooks
    install themselves; `gpu` is "FILE:LINE" of code that wants a GPU, or ""; `unread` are files
    that are no Python 3."""

    modules: dict[str, list[str]]
    optional: dict[str, list[str]]
    installed: list[str]
    gpu: str
    unread: list[str]


def imports_of(root: Path, paths: Sequence[Path]) -> Imports:
    """The imports of *.py and *.ipynb among `paths`, without the standard library and without the
    project's own modules."""
    found = Imports({}, {}, [], "", [])
    gpu = ""
    for path in paths:
        if path.suffix not in (".py", ".ipynb"):
            continue
        name = path.relative_to(root).as_posix()
        for text in _sources(path, found.installed):
            if not gpu and (match := _GPU.search(text)):
                line = text.count("\n", 0, match.start()) + 1
                gpu = f"{name}:{line}" if path.suffix == ".py" else name
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # SyntaxWarning: not ours to tell
                    tree = ast.parse(text)
            except (SyntaxError, ValueError, RecursionError):
                if name not in found.unread:
                    found.unread.append(name)
                continue
            for module, optional in _imported(tree):
                if _foreign(module, path, root):
                    places = (found.optional if optional else found.modules).setdefault(module, [])
                    if name not in places:
                        places.append(name)
    for module in found.modules:
        found.optional.pop(module, None)
    return Imports(found.modules, found.optional, found.installed, gpu, found.unread)


def _sources(path: Path, installed: list[str]) -> Iterator[str]:
    text = read(path)
    if path.suffix == ".py":
        yield text
        return
    try:
        cells = json.loads(text)["cells"]
        codes = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return  # no notebook of format 4
    for code in codes:
        if code.lstrip().startswith("%%") and not code.lstrip().startswith(("%%time", "%%capture")):
            continue  # a cell in another language
        for match in _PIP.finditer(code):
            installed += [w for w in match[1].split() if re.match(r"[A-Za-z0-9]", w)]
        # IPython's magics are no Python.
        yield "\n".join(
            "pass" if re.match(r"\s*[%!?]", line) else line.rstrip("?") for line in code.splitlines()
        )


def _imported(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """(dotted name, whether it may fail) of every absolute import."""
    todo: list[tuple[ast.AST, bool]] = [(tree, False)]
    while todo:
        node, optional = todo.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, optional
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, optional
            for alias in node.names:  # google.cloud has storage: the name may be a module
                if alias.name != "*" and "." not in alias.name:
                    yield f"{node.module}.{alias.name}", optional
        elif isinstance(node, ast.Try):
            fails = optional or any(_catches_import_errors(h) for h in node.handlers)
            todo += [(child, fails) for child in node.body]
            rest = [*node.handlers, *node.orelse, *node.finalbody]
            todo += [(child, fails) for child in rest]
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            todo += [(child, optional) for child in node.orelse]
        else:
            todo += [(child, optional) for child in ast.iter_child_nodes(node)]


def _catches_import_errors(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    return bool(names & {"ImportError", "ModuleNotFoundError"})


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def _foreign(module: str, path: Path, root: Path) -> bool:
    """Whether a module is neither the standard library's nor the project's own."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == "__main__":
        return False
    places = {path.parent, root, root / "src", *path.parents[: len(path.relative_to(root).parts)]}
    return not any(_is_own(place, top) for place in places)


def _is_own(place: Path, top: str) -> bool:
    if (place / f"{top}.py").exists():
        return True
    # A directory such as "wandb" may hold what a library of that name wrote.
    return (
        top not in SKIPPED and (place / top).is_dir() and next((place / top).rglob("*.py"), None) is not None
    )
