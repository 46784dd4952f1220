"""What a project needs besides Python: R, Julia, Node.js, Go and Rust, from their own files."""

from __future__ import annotations

import contextlib
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.ecosystems.r import bundled
from engine.survey.walk import read

# What R and Julia bring with them: nothing to install.
_R_BASE = frozenset({*bundled.BASE, "R", "translations"})
_JULIA_BASE = frozenset(
    {
        "Base",
        "Core",
        "Main",
        "ArgTools",
        "Artifacts",
        "Base64",
        "CRC32c",
        "Dates",
        "DelimitedFiles",
        "Distributed",
        "Downloads",
        "FileWatching",
        "Future",
        "InteractiveUtils",
        "LazyArtifacts",
        "LibGit2",
        "Libdl",
        "LinearAlgebra",
        "Logging",
        "Markdown",
        "Mmap",
        "Pkg",
        "Printf",
        "Profile",
        "REPL",
        "Random",
        "SHA",
        "Serialization",
        "SharedArrays",
        "Sockets",
        "SparseArrays",
        "Statistics",
        "SuiteSparse",
        "TOML",
        "Tar",
        "Test",
        "UUIDs",
        "Unicode",
    }
)


@dataclass(frozen=True)
class Language:
    """A language that a project uses: `name` as `install.NAME` has it (but "r" for R); `version`
    is "" for the usual one; `packages` are R's and Julia's; `why` names files."""

    name: str
    version: str
    packages: tuple[str, ...]
    why: str


def languages(root: Path, paths: Sequence[Path]) -> list[Language]:
    """The languages besides Python."""
    found = [_r(root, paths), _julia(root, paths), _node(root), _go(root), _rust(root)]
    return [language for language in found if language is not None]


def _some(root: Path, paths: Sequence[Path]) -> str:
    names = [p.relative_to(root).as_posix() for p in paths]
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _r(root: Path, paths: Sequence[Path]) -> Language | None:
    sources = [p for p in paths if p.suffix.lower() in (".r", ".rmd", ".qmd")]
    sources = [p for p in sources if p.suffix.lower() != ".qmd" or "```{r" in read(p)]
    description = read(root / "DESCRIPTION")
    if (lock := root / "renv.lock").is_file():
        try:
            packages = sorted(json.loads(read(lock))["Packages"])
        except (ValueError, LookupError, TypeError, RecursionError):
            packages = []
        return Language("r", "", tuple(p for p in packages if p not in _R_BASE), "renv.lock")
    if re.search(r"^Package:", description, re.MULTILINE):
        names: list[str] = []
        for field in ("Depends", "Imports", "LinkingTo"):
            match = re.search(rf"^{field}:(.*(?:\n[ \t].*)*)", description, re.MULTILINE)
            names += (
                re.findall(r"([A-Za-z][A-Za-z0-9.]*)\s*(?:\([^)]*\))?\s*(?:,|$)", match[1]) if match else []
            )
        return Language("r", "", tuple(sorted(set(names) - _R_BASE)), "DESCRIPTION")
    if not sources:
        return None
    used: set[str] = set()
    for path in sources:
        text = re.sub(r"#.*", "", read(path))
        used |= set(re.findall(r"""\b(?:library|require|requireNamespace)\(\s*["']?([A-Za-z][\w.]*)""", text))
        used |= set(re.findall(r"\b([A-Za-z][A-Za-z0-9.]*):::?[A-Za-z.]", text))
    return Language("r", "", tuple(sorted(used - _R_BASE)), _some(root, sources))


def _julia(root: Path, paths: Sequence[Path]) -> Language | None:
    if (root / "Project.toml").is_file():
        try:
            document = tomllib.loads(read(root / "Project.toml"))
        except (tomllib.TOMLDecodeError, RecursionError):
            document = {}
        names = document.get("deps") or {}
        return Language("julia", "", tuple(sorted(set(names) - _JULIA_BASE)), "Project.toml")
    sources = [p for p in paths if p.suffix == ".jl"]
    if not sources:
        return None
    used: set[str] = set()
    for path in sources:
        for match in re.finditer(r"^\s*(?:using|import)\s+([^#\n]+)", read(path), re.MULTILINE):
            text = match[1].partition(":")[0]
            used |= {w.strip().partition(".")[0] for w in text.split(",") if w.strip()[:1].isalpha()}
    own = {p.stem for p in sources}
    return Language("julia", "", tuple(sorted(used - _JULIA_BASE - own)), _some(root, sources))


def _node(root: Path) -> Language | None:
    path = root / "package.json"
    if not path.is_file():
        return None
    wanted = read(root / ".nvmrc") or read(root / ".node-version")
    with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
        wanted = wanted or str(json.loads(read(path))["engines"]["node"])
    match = re.match(r"\s*v?(?:>=|\^|~)?\s*(\d+)", wanted)
    return Language("nodejs", match[1] if match else "", (), "package.json")


def _go(root: Path) -> Language | None:
    if not (root / "go.mod").is_file():
        return None
    match = re.search(r"^go\s+(\d+\.\d+)", read(root / "go.mod"), re.MULTILINE)
    return Language("go", match[1] if match else "", (), "go.mod")


def _rust(root: Path) -> Language | None:
    if not (root / "Cargo.toml").is_file():
        return None
    text = read(root / "rust-toolchain.toml") or read(root / "rust-toolchain")
    match = re.search(r"(?:channel\s*=\s*[\"'])?(\d+\.\d+(?:\.\d+)?|stable)", text)
    version = match[1] if match and match[1] != "stable" else ""
    return Language("rust", version, (), "Cargo.toml")
