"""What a lock may say: a strict grammar for every field, by the kind of its row.

A lock comes with a project, so it is untrusted: a pull request may change it, and its fields become
paths, URLs and arguments. The same rows come from galleries, registries, indexes and download
sites, which are no better known. Everything is checked here before any of it is used.

Sources: Debian Policy 5.6.1 and 5.6.12 (names, versions), PEP 503 and PEP 440, conda's CEP 26,
Open VSX's namespaces, "Writing R Extensions" 1.1.1, Julia's Pkg (names, UUIDs, git tree hashes).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from engine.lock.model import Lock, LockedBase, LockedInclude, LockedStep
    from engine.lock.packages import LockedPackage

MAX_SIZE = 1 << 50  # bytes of one file: more than any disk that a lock is built on
_MAX_TEXT = 1 << 20  # characters of one field

_HEX64 = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PYPI = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.!+_~-]*")
_DEBIAN_VERSION = re.compile(r"([0-9]+:)?[0-9A-Za-z][0-9A-Za-z.+~:-]*")
_MEDIA_TYPE = re.compile(r"application/[a-z0-9.+_-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Rule:
    """What a kind's rows must match as a whole: name, version, and the fields of its kind."""

    name: re.Pattern[str]
    version: re.Pattern[str] = _VERSION
    file: re.Pattern[str] | None = None  # beyond being one plain component
    facts: Mapping[str, re.Pattern[str]] = field(default_factory=dict)


_PYTHON_ROW = Rule(_PYPI)
_LAYER = {"diff_id": _DIGEST, "media_type": _MEDIA_TYPE, "position": re.compile(r"[0-9]{3,6}")}
_TOOL_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")

RULES: dict[str, Rule] = {
    "deb": Rule(
        re.compile(r"[a-z0-9][a-z0-9+.-]+"),
        _DEBIAN_VERSION,
        re.compile(r"[^-/].*\.deb"),
        {"arch": re.compile(r"[a-z0-9-]+"), "essential": re.compile(r"yes")},
    ),
    "wheel": Rule(_PYPI, _VERSION, re.compile(r"[A-Za-z0-9][^/]*\.whl")),
    "sdist": _PYTHON_ROW,
    "build-wheel": Rule(_PYPI, _VERSION, re.compile(r"[A-Za-z0-9][^/]*\.whl")),
    "conda": Rule(
        re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*"),
        _VERSION,
        re.compile(r"[A-Za-z0-9_][^/]*\.(conda|tar\.bz2)"),
        {
            "build": re.compile(r"[A-Za-z0-9_.+-]*"),
            "subdir": re.compile(r"[a-z0-9_-]+"),
            "python": re.compile(r"yes|no|"),
        },
    ),
    "vsix": Rule(
        re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\.[A-Za-z0-9][A-Za-z0-9_-]*"),
        re.compile(r"[0-9][0-9A-Za-z.+-]*"),
        None,
        {"target": re.compile(r"[a-z0-9-]+")},
    ),
    # its version is its manifest's digest, where a lock tells of more than one image
    "layer": Rule(_WORD, re.compile(r"[0-9A-Za-z.]*|sha256:[0-9a-f]{64}"), None, _LAYER),
    "config": Rule(_WORD, re.compile(r"[0-9A-Za-z.]*")),
    "file": Rule(re.compile(r"[^/]+"), re.compile(r"")),
    "tool": Rule(_WORD, _VERSION, None, {"key": _WORD, "toolchain": _WORD, "program": _TOOL_PATH}),
    "r-source": Rule(
        re.compile(r"[A-Za-z][A-Za-z0-9.]*"),
        re.compile(r"[0-9][0-9.-]*"),
        None,
        {"md5": re.compile(r"[0-9a-f]{32}"), "compiled": re.compile(r"yes|no")},
    ),
    "julia-package": Rule(
        re.compile(r"[^\W\d]\w*!?"), _VERSION, None, {"uuid": _UUID, "tree": re.compile(r"[0-9a-f]{40}")}
    ),
    "julia-artifact": Rule(re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+ -]*"), re.compile(r"[0-9a-f]{40}")),
}

_SCHEMES = frozenset({"http", "https", "file", "oci"})
_PATHS = ("prefix",)  # facts of a base that become paths in the image


def faults_of(package: LockedPackage) -> list[str]:
    """What is wrong with one row, each as "FIELD 'VALUE' is not …"; none when it is sound."""
    rule = RULES.get(package.kind)
    if rule is None:
        return [f"kind {shown(package.kind)} is not one that this envd knows"]
    found = []
    if not rule.name.fullmatch(package.name) or not _plain(package.name):
        found.append(f"name {shown(package.name)} is not a valid name of a {package.kind}")
    if not rule.version.fullmatch(package.version) or ".." in package.version.split("/"):
        found.append(f"version {shown(package.version)} is not a valid version of a {package.kind}")
    found += _file_faults(package, rule)
    for key, value in package.facts().items():
        wanted = rule.facts.get(key)
        if _CONTROL.search(value) or len(value) > _MAX_TEXT:
            found.append(f"{key} {shown(value)} holds control characters, or is too long")
        elif wanted is not None and not (wanted.fullmatch(value) and _climbs_not(value)):
            found.append(f"{key} {shown(value)} is not a valid {key} of a {package.kind}")
    return found


def _file_faults(package: LockedPackage, rule: Rule) -> list[str]:
    file, found = package.file, []
    if not _plain(file.name):
        found.append(f"file {shown(file.name)} is not a plain file name")
    elif rule.file is not None and not rule.file.fullmatch(file.name):
        found.append(f"file {shown(file.name)} is not the file name of a {package.kind}")
    if not _HEX64.fullmatch(file.sha256):
        found.append(f"sha256 {shown(file.sha256)} is not 64 hexadecimal digits in lower case")
    if isinstance(file.size, bool) or not 0 <= file.size <= MAX_SIZE:
        found.append(f"size {file.size} is not a size of a file in bytes")
    if problem := _url_fault(file.url):
        found.append(f"url {shown(file.url)} {problem}")
    return found


def _url_fault(url: str) -> str:
    """What is wrong with the URL of a row, or "". Without a scheme it is a file of the project."""
    if not url or len(url) > _MAX_TEXT or _CONTROL.search(url) or " " in url:
        return "is not a URL"
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return "is not a URL"
    if not parts.scheme:
        path = unquote(parts.path)
        if parts.netloc or path.startswith("/") or "\0" in path or ".." in path.split("/"):
            return "is not a path inside of the project"
        return ""
    if parts.scheme not in _SCHEMES:
        return f"has the scheme '{parts.scheme}'; a lock has http, https, oci and file URLs"
    if parts.scheme != "file" and not host:
        return "names no server"
    return ""


def _plain(name: str) -> bool:
    """Whether `name` is one component of a path that means nothing to a shell's eye."""
    return (
        0 < len(name.encode("utf-8", "surrogateescape")) <= 255
        and name not in (".", "..")
        and "/" not in name
        and not _CONTROL.search(name)
        and not name.startswith(".wh.")
    )


def _climbs_not(value: str) -> bool:
    return ".." not in value.split("/")


def shown(value: str) -> str:
    """What a message shows of a value that a row has."""
    text = value if len(value) <= 60 else f"{value[:57]}..."
    return repr(text) if _CONTROL.search(text) else f"'{text}'"


def faults(lock: Lock, sections: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Everything that is wrong with a lock of these `sections` of packages, as (where, what)."""
    yield from _base_faults(lock.base)
    for section in sections:
        for package in lock[section]:
            for fault in faults_of(package):
                yield f"[[{section}]] {name_of(package.name)}", fault
    for include in lock.includes:
        for fault in _include_faults(include):
            yield "[[includes]]", fault
    for step in lock.steps:
        for fault in _step_faults(step):
            yield "[[steps]]", fault
    if not re.fullmatch(r"([0-9]+\.[0-9]+)?", lock.python):
        yield "python", f"{shown(lock.python)} is not a version of Python such as 3.11"
    if not re.fullmatch(r"[a-z0-9_]+-[a-z]+", lock.system):
        yield "system", f"{shown(lock.system)} is not a system such as x86_64-linux"


def _step_faults(step: LockedStep) -> Iterable[str]:
    for key, pattern in (
        ("name", _WORD),
        ("variant", re.compile("(dev)?")),
        ("key", _HEX64),
        ("object", _HEX64),
        ("diff_id", _DIGEST),
    ):
        if not pattern.fullmatch(value := getattr(step, key)):
            yield f"{key} {shown(value)} is not a valid {key} of a step"
    if not 0 <= step.size <= MAX_SIZE:
        yield f"size {step.size} is not a size of a layer in bytes"


def name_of(name: str) -> str:
    """What a message calls a row of that name."""
    return name if _plain(name) and len(name) <= 60 else "of an unfit name"


def _base_faults(base: LockedBase) -> Iterable[tuple[str, str]]:
    for package in base.packages:
        for fault in faults_of(package):
            yield f"[[base.package]] {name_of(package.name)}", fault
    if base.kind not in ("debootstrap", "image"):
        yield "[base]", f"kind {shown(base.kind)} is neither 'debootstrap' nor 'image'"
    for key, pattern in (
        ("os", r"[a-z0-9.-]*"),
        ("suite", r"[a-z0-9-]*"),
        ("digest", r"(sha256:[0-9a-f]{64})?"),
        ("image", r"([A-Za-z0-9][^\s]*)?"),
    ):
        if not re.fullmatch(pattern, value := getattr(base, key)):
            yield "[base]", f"{key} {shown(value)} is not a valid {key}"
    for line in base.sources:
        if _CONTROL.search(line.replace("\t", " ")):
            yield "[base]", f"sources: {shown(line)} is not one line"
    for name in base.keys:
        if not _plain(name) or not _WORD.fullmatch(name):
            yield "[base.keys]", f"{shown(name)} is not a plain file name"
    for key, value in base.facts.items():
        if "\0" in value or (key in _PATHS and not _image_path(value)):
            yield "[base.facts]", f"{key} {shown(value)} is not a valid {key}"


def _image_path(value: str) -> bool:
    return not value or (value.startswith("/") and not _CONTROL.search(value) and _climbs_not(value))


def _include_faults(include: LockedInclude) -> Iterable[str]:
    if not _COMMIT.fullmatch(include.commit):
        yield f"commit {shown(include.commit)} is not a commit's hash"
    for key, value in (("git", include.git), ("ref", include.ref)):
        if _CONTROL.search(value) or value.startswith("-"):
            yield f"{key} {shown(value)} is not a valid {key}"


def check(rows: Iterable[LockedPackage], refuse: Callable[[str], Exception]) -> None:
    """Raise `refuse(text)` for the first row that is not sound: what a source answered."""
    for package in rows:
        for fault in faults_of(package):
            raise refuse(f"{package.kind} {name_of(package.name)}: {fault}")
