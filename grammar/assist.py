"""What an editor asks about a spec: what is wrong, what may stand here, what a name means.

Plain functions of the text; places are lines and columns from 1, in characters. A text that is
being typed seldom parses, so what stands before the cursor is read as tokens only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from grammar.environment import Position
from grammar.errors import SpecError
from grammar.evaluate import OPAQUE, evaluate
from grammar.starlark.builtins import UNIVERSE
from grammar.starlark.keywords import KEYWORDS
from grammar.starlark.values import Builtin
from grammar.vocabulary import data
from grammar.vocabulary.reference import TYPES, default_of, described, signature
from grammar.vocabulary.registry import APIS
from grammar.vocabulary.signature import Api, Parameter

# An editor does not wait for what a build would.
MAX_STEPS = 1_000_000
_APIS = {api.name: api for api in APIS}
_MODULES = {name.rpartition(".")[0] for name in _APIS} - {""}
_DEF = re.compile(r"^([ \t]*)def[ \t]+([^\W\d]\w*)[ \t]*\(([^)]*)\)?", re.MULTILINE)
_VARIABLE = re.compile(r"^([^\W\d]\w*)[ \t]*=(?!=)", re.MULTILINE)
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*\.?")
# Errors of values that are functions only because nobody knows better.
_ON_FUNCTIONS = re.compile(
    r"\bfunction (value|is not|[-+*/%<>=|&])|[-+*/%<>=|&] function\b|(got|not) (the )?function\b"
)
_TOKEN = re.compile(
    r"""[rb]{0,2}(?P<quote>\"\"\"|'''|"|')|(?P<comment>\#[^\n]*)|(?P<open>[(\[{])"""
    r"""|(?P<close>[)\]}])|(?P<name>[^\W\d]\w*(?:[ \t]*\.[ \t]*[^\W\d]\w*)*)"""
    r"""|(?P<comma>,)|(?P<equal>=(?!=))""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Diagnosis:
    """Something wrong ("error") or suspicious ("warning") at a place, up to the column `end`."""

    position: Position
    end: int
    message: str
    severity: str = "error"


@dataclass(frozen=True)
class Proposal:
    """Something that may be written. `kind`: "module", "function", "parameter", "value",
    "keyword" or "variable"."""

    label: str
    kind: str
    detail: str = ""
    documentation: str = ""


@dataclass(frozen=True)
class Definition:
    """A function or variable of the text."""

    name: str
    kind: str
    position: Position
    signature: str = ""
    documentation: str = ""
    last_line: int = 0


# -- what is wrong


def diagnose(text: str, filename: str, directory: Path) -> list[Diagnosis]:
    """All errors and warnings of a spec, or of a library of functions."""
    functions = [d.name for d in definitions(text) if d.kind == "function"]
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found: list[Diagnosis] = []
    try:
        made = evaluate(text, filename, "build", directory, MAX_STEPS, include=OPAQUE)
    except SpecError as error:
        for one in error.errors:
            if one.position.file != filename:
                continue
            # A library has no build(), and an editor may not go on as long as a build may.
            library = one.message.startswith("no function 'build'; write") and functions
            # What an included module has is not known: its values are taken for functions.
            if "include(" in text and _ON_FUNCTIONS.search(one.message):
                continue
            if not library and " takes more than " not in one.message:
                found.append(_diagnosis(one.position, lines, one.message, "error"))
    else:
        found += [
            _diagnosis(n.position, lines, n.text, "warning")
            for n in made.notices
            if n.position.file == filename
        ]
    return found


def _diagnosis(position: Position, lines: list[str], message: str, severity: str) -> Diagnosis:
    line = lines[position.line - 1] if position.line <= len(lines) else ""
    match = re.compile(r"""\w+|"[^"]*"?|'[^']*'?|.""").match(line, position.column - 1)
    end = match.end() + 1 if match else position.column + 1
    return Diagnosis(position, end, message, severity)


# -- what stands before the cursor


@dataclass
class _Frame:
    """An open bracket: of a call of `callee`, with what was given so far."""

    bracket: str
    callee: str
    argument: int = 0
    keyword: str = ""
    given: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Cursor:
    """Where the cursor is: in brackets, in a string (then `string` is its text so far) or in a
    comment; `word` is the dotted name that ends there."""

    frames: tuple[_Frame, ...]
    word: str
    string: str | None = None
    comment: bool = False

    @property
    def call(self) -> tuple[_Frame, Api] | None:
        """The innermost call around the cursor that is one of envd's."""
        for frame in reversed(self.frames):
            if frame.bracket == "(":
                api = _APIS.get(frame.callee)
                return (frame, api) if api else None
        return None

    @property
    def parameter(self) -> Parameter | None:
        """The parameter that the cursor's argument is for."""
        if self.call is None:
            return None
        frame, api = self.call
        if frame.keyword:
            return api.by_name.get(frame.keyword)
        return api.parameters[frame.argument] if frame.argument < len(api.parameters) else None


def _offset(text: str, line: int, column: int) -> int:
    lines = text.split("\n")
    before = sum(len(x) + 1 for x in lines[: line - 1])
    return before + min(column - 1, len(lines[line - 1]) if line <= len(lines) else 0)


def _cursor(text: str, line: int, column: int) -> _Cursor:
    end = _offset(text, line, column)
    frames: list[_Frame] = []
    at, name = 0, ""
    while match := _TOKEN.search(text, at, end):
        at = match.end()
        if match["quote"]:
            close = _close(text, at, match["quote"], end)
            if close is None:
                return _Cursor(tuple(frames), "", text[at:end])
            at, name = close, ""
        elif match["comment"]:
            if at == end and "\n" not in text[match.start() : end]:
                return _Cursor(tuple(frames), "", comment=True)
        elif match["name"]:
            name = re.sub(r"\s", "", match["name"])
        elif match["open"]:
            frames.append(_Frame(match["open"], name if match["open"] == "(" else ""))
            name = ""
        elif match["close"]:
            if frames:
                frames.pop()
            name = ""
        elif frames and match["comma"]:
            frames[-1].argument += 1
            frames[-1].keyword, name = "", ""
        elif frames and match["equal"]:
            frames[-1].keyword = name
            frames[-1].given.append(name)
    start = text.rfind("\n", 0, end) + 1
    words = [m[0] for m in _DOTTED.finditer(text[start:end]) if m.end() == end - start]
    return _Cursor(tuple(frames), words[-1] if words else "")


def _close(text: str, at: int, quote: str, end: int) -> int | None:
    """Where a string ends that begins before `at`, or None when that is not before `end`."""
    while at < end:
        if text[at] == "\\":
            at += 2
        elif text.startswith(quote, at):
            return at + len(quote) if at + len(quote) <= end else None
        elif text[at] == "\n" and len(quote) == 1:
            return at
        else:
            at += 1
    return None


# -- what may stand there


def complete(text: str, line: int, column: int) -> list[Proposal]:
    """What may be written at a place."""
    cursor = _cursor(text, line, column)
    if cursor.comment:
        return []
    parameter = cursor.parameter
    if cursor.string is not None:
        choices = parameter.choices if parameter else ()
        return [Proposal(c, "value", parameter.about if parameter else "") for c in choices]
    head, dot, _ = cursor.word.rpartition(".")
    if dot:
        return _members(head)
    found = _arguments(cursor)
    if parameter is not None and _at_value(cursor):
        found += [Proposal(f'"{c}"', "value", parameter.about) for c in parameter.choices]
        if parameter.kind == "bool":
            found += [Proposal(v, "value", parameter.about) for v in ("True", "False")]
    return [*found, *_names(text)]


def _members(module: str) -> list[Proposal]:
    if module == "data.path":
        return [Proposal(name, "value", path) for name, path in data.PATHS.items()]
    found = [_function(api) for api in APIS if api.name.rpartition(".")[0] == module and not api.instead]
    if module == "data":
        found.append(Proposal("path", "module", "where libraries keep what they download"))
    return found


def _function(api: Api) -> Proposal:
    name = api.name.rpartition(".")[2]
    return Proposal(name, "function", signature(api), "\n\n".join(described(api)))


def _at_value(cursor: _Cursor) -> bool:
    """Whether the argument's own brackets are the innermost: not in a list in it."""
    return bool(cursor.frames) and cursor.frames[-1].bracket == "("


def _arguments(cursor: _Cursor) -> list[Proposal]:
    if cursor.call is None or not _at_value(cursor) or cursor.frames[-1].keyword:
        return []
    frame, api = cursor.call
    given = {api.by_name[g].name for g in frame.given if g in api.by_name}
    return [
        Proposal(f"{p.name}=", "parameter", _typed(p), p.about)
        for p in api.parameters[frame.argument - len(frame.given) :]
        if p.name not in given
    ]


def _typed(parameter: Parameter) -> str:
    default = "" if parameter.required else f" = {default_of(parameter)}"
    return TYPES[parameter.kind] + default


def _names(text: str) -> Iterator[Proposal]:
    for module in sorted(_MODULES):
        members = [a.name.rpartition(".")[2] for a in APIS if a.name.startswith(f"{module}.")]
        yield Proposal(module, "module", ", ".join(members))
    for api in APIS:
        if "." not in api.name:
            yield _function(api)
    for found in definitions(text):
        yield Proposal(found.name, found.kind, found.signature, found.documentation)
    for name, value in UNIVERSE.items():
        yield Proposal(name, "function" if isinstance(value, Builtin) else "keyword")
    for keyword in KEYWORDS:
        yield Proposal(keyword, "keyword")


# -- what a name means


def name_at(text: str, line: int, column: int) -> str:
    """The dotted name at a place, up to the part that the place is in."""
    lines = text.split("\n")
    shown = lines[line - 1] if line <= len(lines) else ""
    for match in _DOTTED.finditer(shown):
        if match.start() <= column - 1 <= match.end():
            after = re.match(r"\w*", shown[column - 1 :])
            return shown[match.start() : column - 1 + (after.end() if after else 0)].rstrip(".")
    return ""


def explain(text: str, line: int, column: int) -> str:
    """Markdown on the name at a place, or ""."""
    if _cursor(text, line, column).comment:
        return ""
    name = name_at(text, line, column)
    if api := _APIS.get(name):
        return f"```python\n{signature(api)}\n```\n" + "\n\n".join(described(api))
    cursor = _cursor(text, line, column)
    if cursor.call and name in cursor.call[1].by_name:
        parameter = cursor.call[1].by_name[name]
        return f"```python\n{parameter.name}: {_typed(parameter)}\n```\n{parameter.about}"
    for found in definitions(text):
        if found.name == name and found.signature:
            return f"```python\n{found.signature}\n```\n{found.documentation}"
    if name in _MODULES:
        members = (f"- `{signature(a)}`" for a in APIS if a.name.startswith(f"{name}."))
        return f"**{name}**\n\n" + "\n".join(members)
    return ""


@dataclass(frozen=True)
class Signature:
    """A call around a place: its label, its parameters (label, documentation) and which of them
    the place is in (None for none)."""

    label: str
    documentation: str
    parameters: tuple[tuple[str, str], ...]
    active: int | None


def signature_at(text: str, line: int, column: int) -> Signature | None:
    """The signature of the innermost call of envd's around a place."""
    cursor = _cursor(text, line, column)
    if cursor.call is None:
        return None
    _, api = cursor.call
    parameter = cursor.parameter
    shown = tuple(
        (p.name if p.required else f"{p.name}={default_of(p)}", f"{TYPES[p.kind]}: {p.about}")
        for p in api.parameters
    )
    active = api.parameters.index(parameter) if parameter in api.parameters else None
    return Signature(signature(api), api.about, shown, active)


def define(text: str, line: int, column: int) -> Definition | None:
    """Where the name at a place is defined in this text."""
    name = name_at(text, line, column)
    return next((d for d in definitions(text) if d.name == name), None)


def definitions(text: str) -> list[Definition]:
    """The functions and global variables of a text, in its order."""
    found = []
    lines = text.split("\n")
    for match in _DEF.finditer(text):
        line, column = _place(text, match.start(2))
        last = _last_line(lines, line - 1, len(match[1].expandtabs(8)))
        body = text[match.end() :].split("\n", 1)
        doc = re.match(r"\s*[r]?(\"\"\"|''')(.*?)\1", body[1], re.DOTALL) if len(body) > 1 else None
        documentation = re.sub(r"\n[ \t]+", "\n", doc[2]).strip() if doc else ""
        parameters = re.sub(r"\s+", " ", match[3].strip())
        found.append(
            Definition(
                match[2],
                "function",
                Position("", line, column),
                f"{match[2]}({parameters})",
                documentation,
                last + 1,
            )
        )
    for match in _VARIABLE.finditer(text):
        line, column = _place(text, match.start(1))
        if not any(d.name == match[1] for d in found):
            found.append(Definition(match[1], "variable", Position("", line, column), last_line=line))
    return sorted(found, key=lambda d: d.position)


def _place(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _last_line(lines: list[str], first: int, indentation: int) -> int:
    """The last line (from 0) of a block that begins at `first`."""
    last = first
    for number in range(first + 1, len(lines)):
        shown = lines[number].expandtabs(8)
        if not shown.strip():
            continue
        if len(shown) - len(shown.lstrip()) <= indentation:
            break
        last = number
    return last
