"""What a project's own files say of its Python: packages, versions, environments.

Formats: PEP 621 and PEP 735 (pyproject.toml), Poetry's tables, setup.cfg (setuptools), pip's
requirements files, environment.yml (conda), .python-version (pyenv, uv).
"""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from engine.survey.walk import read
from store.libraries import yaml


@dataclass
class Declared:
    """`source` says how to install: ("uv_lock" | "pylock" | "pyproject" | "requirements", file),
    ("packages", file) for `packages`, or None. `known` are the normalised names of everything that
    is declared anywhere; `also` are files that name packages too and are not used."""

    source: tuple[str, str] | None = None
    packages: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    requirements: list[str] = field(default_factory=list)
    also: list[str] = field(default_factory=list)
    own: str = ""
    python: str = ""  # a specifier such as ">=3.10", or ""
    python_from: str = ""
    conda: str = ""  # environment.yml


def declared(root: Path) -> Declared:
    """What the files in `root` declare."""
    found = Declared()
    pyproject = _toml(root / "pyproject.toml")
    project: dict[str, Any] = _table(pyproject, "project")
    poetry = _table(pyproject, "tool", "poetry")
    _pythons(root, project, poetry, found)
    found.own = _normal(str(project.get("name") or poetry.get("name") or ""))
    texts = [str(x) for x in project.get("dependencies") or ()]
    for extra in _table(project, "optional-dependencies").values():
        _learn(found, extra if isinstance(extra, list) else ())
    for group in _table(pyproject, "dependency-groups").values():
        _learn(found, [x for x in group if isinstance(x, str)] if isinstance(group, list) else ())
    candidates: list[tuple[str, str, list[str]]] = []
    if (root / "uv.lock").is_file() and pyproject:
        candidates.append(("uv_lock", "uv.lock", texts))
    if (root / "pylock.toml").is_file():
        names = [str(p.get("name")) for p in _toml(root / "pylock.toml").get("packages") or ()]
        candidates.append(("pylock", "pylock.toml", names))
    files = _requirements_files(root)
    main = [f for f in files if f in ("requirements.txt", "requirements/base.txt")] or files[:1]
    if main and not candidates:
        candidates.append(("requirements", main[0], _names(root / main[0])))
    if texts or "dependencies" in project:
        candidates.append(("pyproject", "pyproject.toml", texts))
    if poetry.get("dependencies"):
        wanted = [
            text
            for name, value in _table(poetry, "dependencies").items()
            if name.lower() != "python" and (text := _of_poetry(name, value))
        ]
        candidates.append(("packages", "pyproject.toml", wanted))
    if setup := _setup_cfg(root / "setup.cfg"):
        candidates.append(("packages", "setup.cfg", setup))
    for kind, name, wanted in candidates:
        _learn(found, wanted)
        if found.source is None:
            found.source = (kind, name)
            found.packages = list(wanted) if kind == "packages" else []
        elif name != found.source[1] and not (found.source[0] == "uv_lock" and name == "pyproject.toml"):
            found.also.append(name)
    for name in files:
        _learn(found, _names(root / name))
        if found.source is None or name != found.source[1]:
            found.also.append(name)
    for name in ("environment.yml", "environment.yaml", "conda.yml", "conda.yaml"):
        if (root / name).is_file():
            found.conda = found.conda or name
            _learn(found, _of_conda(root / name))
    found.also = list(dict.fromkeys(found.also))
    return found


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read(path)) if path.is_file() else {}
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _table(document: Any, *keys: str) -> dict[str, Any]:
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _learn(found: Declared, texts: Iterable[Any]) -> None:
    for text in texts:
        if match := re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", str(text)):
            found.known.add(_normal(match[1].rstrip("-._")))
            found.requirements.append(str(text).strip())


def _requirements_files(root: Path) -> list[str]:
    names = [p.name for p in root.glob("*requirements*.txt")]
    names += [f"requirements/{p.name}" for p in root.glob("requirements/*.txt")]
    return sorted(names, key=lambda n: (n != "requirements.txt", "/" in n, len(n), n))


def _names(path: Path, seen: tuple[Path, ...] = ()) -> list[str]:
    if path in seen:
        return []
    found = []
    for line in re.sub(r"\\\r?\n", " ", read(path)).splitlines():
        text = re.sub(r"(^|\s)#.*$", "", line).strip()
        if match := re.match(r"(?:-r|--requirement)[ =]?(\S+)", text):
            found += _names(path.parent / match[1], (*seen, path))
        elif text and not text.startswith("-"):
            found.append(re.sub(r"\s+--hash=\S+", "", text))
    return found


def _setup_cfg(path: Path) -> list[str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read(path))
        text = parser.get("options", "install_requires", fallback="")
    except configparser.Error:
        return []
    return [x.strip() for x in re.split(r"[\n]", text) if x.strip() and not x.startswith("#")]


def _of_poetry(name: str, value: Any) -> str:
    """A dependency of Poetry's as PEP 508 writes it; "" for what it does not hold."""
    extras = ""
    if isinstance(value, dict):
        if value.get("optional") or not ({"version"} & value.keys()):
            return ""
        extras = f"[{','.join(value['extras'])}]" if value.get("extras") else ""
        value = value["version"]
    if not isinstance(value, str):
        return ""
    parts = [_constraint(part.strip()) for part in value.split(",")]
    return f"{name}{extras}{','.join(p for p in parts if p)}"


def _constraint(text: str) -> str:
    """One constraint of Poetry's as PEP 440 writes it."""
    if text in ("", "*"):
        return ""
    match = re.fullmatch(r"([\^~])\s*(\d+(?:\.\d+)*)(\S*)", text)
    if match is None:
        return text if re.match(r"[<>=!~]", text) else f"=={text}"
    numbers = [int(n) for n in match[2].split(".")]
    if match[1] == "~":
        keep = 1 if len(numbers) == 1 else 2
    else:  # up to the first number that is not 0
        keep = next((i + 1 for i, n in enumerate(numbers) if n), len(numbers))
    upper = [*numbers[: keep - 1], numbers[keep - 1] + 1]
    return f">={match[2]}{match[3]},<{'.'.join(map(str, upper))}"


def _of_conda(path: Path) -> list[str]:
    try:
        document = yaml.safe_load(read(path))
    except (yaml.YAMLError, RecursionError):
        return []
    rows = document.get("dependencies") if isinstance(document, dict) else None
    found: list[str] = []
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("pip"), list):
            found += [str(x) for x in row["pip"]]
        elif isinstance(row, str):
            found.append(row.rpartition("::")[2])
    return found


def _pythons(root: Path, project: dict[str, Any], poetry: dict[str, Any], found: Declared) -> None:
    if match := re.match(r"\s*(?:cpython-?)?(3\.\d+)", read(root / ".python-version")):
        found.python, found.python_from = f"=={match[1]}.*", ".python-version"
    elif text := project.get("requires-python"):
        found.python, found.python_from = str(text), "pyproject.toml"
    elif isinstance(text := _table(poetry, "dependencies").get("python"), str):
        found.python = ",".join(_constraint(part.strip()) for part in text.split(","))
        found.python_from = "pyproject.toml"
    elif match := re.search(r"^python_requires\s*=\s*(.+)$", read(root / "setup.cfg"), re.MULTILINE):
        found.python, found.python_from = match[1].strip(), "setup.cfg"


def python_for(specifier: str, candidates: Sequence[str]) -> str | None:
    """The first of `candidates` ("3.11") that a specifier takes; None when none does."""
    try:
        wanted = SpecifierSet(specifier)
    except InvalidSpecifier:
        return candidates[0]
    # ".99": any patch of a series will do for ">=3.11.4"
    return next((c for c in candidates if wanted.contains(f"{c}.99")), None)
