"""Requirements files: pip's format, as data.

Format: pip's documentation, "Requirements File Format". Line continuations, comments, `-r` and
`-c`, index options, per-requirement `--hash`, PEP 508 requirements, wheels by path or URL. What
cannot be locked (editable installs, directories) and what would be dropped silently is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from grammar.environment import Position, PythonInput, PythonOption, Request
from grammar.errors import Problems, SpecError
from grammar.vocabulary.inside import inside

# Options that are kept, by every spelling that pip takes: with a value, and without.
_VALUED = {
    "-i": "index-url",
    "--index-url": "index-url",
    "--pypi-url": "index-url",
    "--extra-index-url": "extra-index-url",
    "-f": "find-links",
    "--find-links": "find-links",
    "--trusted-host": "trusted-host",
    "--only-binary": "only-binary",
}
_FLAGS = {"--no-index": "no-index", "--pre": "pre", "--require-hashes": "require-hashes"}
# They change nothing here: a wheel is always preferred, and everything is hashed.
_IGNORED = frozenset({"--prefer-binary"})
_INCLUDES = {
    "-r": "requests",
    "--requirement": "requests",
    "-c": "constraints",
    "--constraint": "constraints",
}
_EDITABLE = frozenset({"-e", "--editable"})
_HASH = re.compile(r"--hash[= ]\s*([a-z0-9]+):([0-9a-fA-F]+)")


@dataclass
class Collected:
    """What a requirements file and those that it includes say. `read` holds absolute paths."""

    requests: list[Request] = field(default_factory=list)
    constraints: list[Request] = field(default_factory=list)
    options: list[PythonOption] = field(default_factory=list)
    inputs: list[PythonInput] = field(default_factory=list)
    read: list[str] = field(default_factory=list)


def requirement(text: str, position: Position, hashes: tuple[str, ...] = ()) -> Request:
    """A PEP 508 requirement. Raises SpecError."""
    try:
        parsed = Requirement(text)
    except InvalidRequirement as error:
        reason = _reason(text) or str(error).split("\n")[0]
        raise SpecError(f"'{text}' is not a valid Python requirement: {reason}", position) from None
    scheme = (parsed.url or "").partition(":")[0]
    if parsed.url and scheme not in ("http", "https"):
        what = "a version-control URL" if "+" in scheme else f"a {scheme or 'relative'} URL"
        raise SpecError(
            f"'{text}': {what} cannot be locked; build a wheel of it and name that in "
            "local_wheels, or give an https URL of an archive",
            position,
        )
    return Request(text, position, hashes)


def _reason(text: str) -> str:
    """What is wrong with a requirement that is none, where that can be said in plainer words."""
    if text.count("[") != text.count("]") or text.count("(") != text.count(")"):
        return "a bracket is not closed"
    if match := re.search(r"(===|[=<>!~]=|[<>])\s*($|,|;)", text):
        return f"a version is missing after '{match[1]}'"
    if re.match(r"[\w.-]+(\[[^]]*\])?\s*=[^=]", text):
        return f"a version is written '{text.replace('=', '==', 1)}'"
    if re.fullmatch(r"[\w.-]+(\s+[\w.-]+)+", text):
        return "each package is a string of its own"
    return ""


def entry(text: str, position: Position, directory: Path, allowed: Sequence[Path] = ()) -> Collected:
    """One name of install.python_packages: a requirement, options of pip's, or both.

    Files that it names are in `directory` or in those `allowed`. An index that is named beside a
    requirement is asked besides the others. Raises SpecError.
    """
    found = Collected()
    reader = _Reader(found, directory, allowed)
    wanted, *options = re.split(r"(?:^|\s+)(?=--?[A-Za-z])", text.strip())
    if not wanted and not options:
        raise SpecError("an empty requirement", position)
    hashes = [o for o in options if o.startswith("--hash")]
    for part in (" ".join([wanted, *hashes]), *options):
        if part and not part.startswith("--hash"):
            reader._line(part, position, directory / "build.envd", "requests", (), [])
    if wanted:
        found.options = [
            replace(o, name="extra-index-url") if o.name == "index-url" else o for o in found.options
        ]
    return found


def read(path: Path, asked: Position, directory: Path, allowed: Sequence[Path] = ()) -> Collected:
    """Read the file at `path`; `directory` is the project's, and files of it and of those `allowed`
    may be named. Raises SpecError at the line."""
    found = Collected()
    _Reader(found, directory, allowed).file(path, asked, "requests", ())
    return found


def logical_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """(line, column, content) of what a file says: continuations joined, comments taken away."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        first = number
        content = lines[number]
        while content.endswith("\\") and not content.lstrip().startswith("#"):
            number += 1
            content = content[:-1] + " " + (lines[number].lstrip() if number < len(lines) else "")
        number += 1
        bare = re.sub(r"(^|\s)#.*$", "", content)
        if stripped := bare.strip():
            yield first + 1, len(bare) - len(bare.lstrip()) + 1, stripped


@dataclass(frozen=True)
class _Reader:
    found: Collected
    directory: Path
    allowed: Sequence[Path]

    def file(self, path: Path, asked: Position, kind: str, parents: tuple[Path, ...]) -> None:
        if path in parents:
            raise SpecError(f"{path} includes itself", asked)
        inside(path, self.directory, self.allowed, asked)
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise SpecError(f"cannot read {path}: {reason}", asked) from None
        self.found.read.append(str(path.resolve()))
        hashed: list[tuple[Request, bool]] = []
        problems = Problems()
        for line, column, content in logical_lines(text):
            where = Position(str(path), line, column)
            with problems:
                self._line(content, where, path, kind, (*parents, path), hashed)
        for problem in problems.errors:
            problem.with_source(text, str(path))
        problems.check()
        if any(o.name == "require-hashes" for o in self.found.options):
            for request, has in hashed:
                if not has:
                    raise SpecError(
                        f"--require-hashes is set, and '{request.text}' has no --hash", request.position
                    ).with_source(text)

    def _line(
        self,
        content: str,
        where: Position,
        path: Path,
        kind: str,
        parents: tuple[Path, ...],
        hashed: list[tuple[Request, bool]],
    ) -> None:
        if content.startswith("-"):
            option, value = _split(content)
            if option in _INCLUDES:
                self.file(path.parent / value, where, _INCLUDES[option], parents)
            else:
                self._option(option, value, where)
            return
        text, *rest = re.split(r"\s+(?=--)", content)
        hashes = _hashes(rest, where)
        if local := self._wheel(text, where, path):
            self.found.inputs.append(local)
            return
        made = requirement(_named(text, where), where, hashes)
        hashed.append((made, bool(hashes)))
        (self.found.requests if kind == "requests" else self.found.constraints).append(made)

    def _option(self, option: str, value: str, where: Position) -> None:
        if option in _EDITABLE:
            raise SpecError(
                f"'{option} {value}': an editable install cannot be locked; mount the project when "
                "it runs, or build a wheel and name it in local_wheels",
                where,
            )
        if option in _VALUED and value:
            literally(value, where)
            if option in ("-f", "--find-links") and "://" not in value:
                value = str(Path(where.file).parent.absolute() / value)
            self.found.options.append(
                PythonOption(_VALUED[option], value, where, str(self.directory.absolute()))
            )
        elif option in _FLAGS and not value:
            self.found.options.append(PythonOption(_FLAGS[option], "", where))
        elif option not in _IGNORED:
            raise SpecError(
                f"option '{option}' is not supported in requirements files; what it says belongs "
                "into build.envd (config.pip_index)",
                where,
            )

    def _wheel(self, text: str, where: Position, path: Path) -> PythonInput | None:
        """A wheel named by its path: relative to the project, as for pip, or to the file."""
        if "://" in text or not re.search(r"(^\.|/|\.whl$)", text.partition("@")[0].strip()):
            return None
        try:
            return self._local_wheel(text, where, path)
        except (OSError, ValueError):  # too long for a name, or with a zero byte
            raise SpecError(f"no such wheel: {text[:200]!r}", where) from None

    def _local_wheel(self, text: str, where: Position, path: Path) -> PythonInput:
        for base in (self.directory, path.parent):
            wheel = base / text
            if wheel.is_file():
                inside(wheel, self.directory, self.allowed, where)
            if wheel.is_file() and wheel.suffix == ".whl":
                self.found.read.append(str(wheel.resolve()))
                relative = os.path.relpath(wheel, self.directory)
                return PythonInput("wheel", relative, where, str(self.directory.absolute()))
        if (self.directory / text).is_dir() or (path.parent / text).is_dir():
            raise SpecError(
                f"'{text}': a directory cannot be locked; build a wheel of it and name that", where
            )
        raise SpecError(f"no such wheel: {text}", where)


def literally(text: str, where: Position) -> str:
    """`text`, which holds no variable: what a spec may read of the machine would reach the server that
    the spec names. Raises SpecError."""
    if match := re.search(r"\$(\w+|\{[^}]*\})", text):
        raise SpecError(
            f"'{match[0]}' is not replaced: a spec cannot read your environment; keep a login in "
            "~/.netrc or in uv's or pip's own configuration (a dollar sign itself is written %24)",
            where,
        )
    return text


def _split(content: str) -> tuple[str, str]:
    """An option and its value: "-r x", "-rx", "--requirement=x", "--requirement x"."""
    if content.startswith("--"):
        match = re.fullmatch(r"(--[a-z-]+)(?:[= ]\s*(.*))?", content)
    else:
        match = re.fullmatch(r"(-[A-Za-z])[= ]?\s*(.*)", content)
    return (match[1], (match[2] or "").strip()) if match else (content, "")


def _hashes(options: list[str], where: Position) -> tuple[str, ...]:
    """The sha256 hashes among a requirement's options. Raises SpecError for any other option."""
    found, weaker = [], False
    for option in options:
        match = _HASH.fullmatch(option.strip())
        if match is None:
            raise SpecError(f"option '{option}' of a requirement is not supported", where)
        if match[1] == "sha256" and len(match[2]) == 64:
            found.append(f"sha256:{match[2].lower()}")
        else:
            weaker = True
    if weaker and not found:
        raise SpecError("only sha256 hashes can be checked against an index", where)
    return tuple(sorted(found))


def _named(text: str, where: Position) -> str:
    """A bare URL of an archive, with the name that PEP 508 wants in front."""
    if not re.match(r"[a-z+]+://", text):
        return text
    url, _, fragment = text.partition("#")
    if egg := re.search(r"(?:^|&)egg=([A-Za-z0-9._-]+)", fragment):
        return f"{egg[1]} @ {url}"
    name = url.rpartition("/")[2]
    if name.endswith(".whl"):
        return f"{name.partition('-')[0].replace('_', '-')} @ {text}"
    raise SpecError(f"'{text}' does not say which package it is: write NAME @ {text}", where)
