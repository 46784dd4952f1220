"""Methods of strings and bytes (Starlark spec, "Built-in methods")."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from grammar.starlark import backwards
from grammar.starlark.arguments import bound, boundary, integer, positional, string
from grammar.starlark.limits import MAX_LENGTH, ValueProblem
from grammar.starlark.strings import braces
from grammar.starlark.text import SPACES, View, decoded, encoded, joined, whole
from grammar.starlark.values import Call, List, Value, elements, truth, type_name

Method = Callable[[Any, Any, Call], Value]


def _case(name: str, make: Callable[[str], Value]) -> Method:
    """A method without arguments. Changing case may make a string longer, at most threefold."""

    def method(interpreter: Any, text: str, call: Call) -> Value:
        positional(name, call, 0, 0)
        interpreter.meter.elements("string", len(text) * (1 if text.isascii() else 3), 1)
        return make(str(text))

    return method


def _view(name: str) -> Method:
    def method(_: Any, value: str | bytes, call: Call) -> Value:
        positional(name, call, 0, 0)
        return View(str(value) if isinstance(value, str) else value, name)

    return method


def _is_alnum(text: str) -> bool:
    # Python's isalnum() takes numbers such as "²" too, which are no digits.
    return text.isalnum() and all(c.isalpha() or c.isdecimal() for c in set(text))


def _is_space(text: str) -> bool:
    return bool(text) and not text.strip(SPACES)


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:].lower()


def _strip(name: str) -> Method:
    def method(interpreter: Any, text: str, call: Call) -> Value:
        args = positional(name, call, 0, 1)
        cutset = SPACES if not args or args[0] is None else string(name, args[0], "cutset")
        cutset = "".join(set(cutset))  # each character may be looked at for each of the text's
        interpreter.meter.elements("string", len(text), 1)
        interpreter.meter.work((len(text) >> 6) + (len(text) * len(cutset) >> 12))
        return getattr(str(text), name)(cutset)

    return method


def _region(name: str, text: str, args: Sequence[Value], *parts: str) -> tuple[Any, ...]:
    """What to search, for what, and the bounds: strings where an element is a character or no
    bounds matter, else their elements."""
    bounds = [boundary(name, x, what) for x, what in zip(args, ("start", "end"), strict=False)]
    if text.isascii() and all(map(whole, parts)):
        return (str(text), *parts, *bounds)
    return (encoded(text), *map(encoded, parts), *bounds)


def _search(name: str) -> Method:
    def method(interpreter: Any, text: str, call: Call) -> Value:
        args = positional(name, call, 1, 3)
        wanted = string(name, args[0], "sub")
        searched, sought, *bounds = _region(name, text, args[1:], wanted)
        interpreter.meter.scan(4 * len(searched))
        try:
            if name in ("rfind", "rindex"):
                return backwards.find(searched, sought, *bounds, must=name == "rindex")
            return getattr(searched, name)(sought, *bounds)
        except ValueError:
            raise ValueProblem(f"{name}: substring not found") from None

    return method


def _affix(name: str) -> Method:
    def method(interpreter: Any, text: str, call: Call) -> Value:
        args = positional(name, call, 1, 3)
        wanted = args[0] if isinstance(args[0], tuple) else (args[0],)
        for item in wanted:
            if not isinstance(item, str):
                kind = "string in tuple" if isinstance(args[0], tuple) else "string or tuple of strings"
                raise ValueProblem(f"{name}: got {type_name(item)}, want {kind}")
        interpreter.meter.work(len(wanted))
        interpreter.meter.scan(sum(map(len, wanted)) + (0 if text.isascii() else len(text) << 4))
        searched, *rest = _region(name, text, args[1:], *map(str, wanted))
        affixes, bounds = rest[: len(wanted)], rest[len(wanted) :]
        return getattr(searched, name)(tuple(affixes), *bounds)

    return method


def _remove(name: str) -> Method:
    def method(interpreter: Any, text: str, call: Call) -> Value:
        (affix,) = positional(name, call, 1, 1)
        interpreter.meter.elements("string", len(text), 1)
        searched, sought = _region(name, text, (), string(name, affix, "affix"))
        made = getattr(searched, name)(sought)
        return decoded(made) if isinstance(made, bytes) else made

    return method


def _split(name: str) -> Method:
    def method(interpreter: Any, text: str, call: Call) -> Value:
        separator, limit = bound(name, call, ("sep", None), ("maxsplit", None))
        number = -1 if limit is None else integer(name, limit, "maxsplit")
        number = max(-1, min(number, MAX_LENGTH))
        interpreter.meter.elements("string", len(text), 8)
        if separator is None:
            return List(_fields(str(text), number, name))
        separator = string(name, separator, "sep")
        if not separator:
            raise ValueProblem(f"{name}: empty separator")
        if whole(separator):
            of_text = backwards.split if name == "rsplit" else str.split
            made: Iterable[str] = of_text(str(text), separator, number)
        else:
            of_bytes = backwards.split if name == "rsplit" else bytes.split
            made = map(decoded, of_bytes(encoded(text), encoded(separator), number))
        found = List(made)
        interpreter.meter.elements("list", len(found), 60)
        return found

    return method


_FIELD = re.compile(f"[^{SPACES}]+")


def _fields(text: str, limit: int, name: str) -> list[str]:
    """A string split at white space, at most `limit` times (from the right for "rsplit"): what is
    left over keeps the white space at its far end."""
    if text.isascii() and not any(c in text for c in "\x1c\x1d\x1e\x1f"):
        parts: list[str] = getattr(text, name)(None, limit)
        return parts
    spans = [match.span() for match in _FIELD.finditer(text)]
    if limit < 0 or len(spans) <= limit:
        return [text[a:b] for a, b in spans]
    if name == "split":
        return [*(text[a:b] for a, b in spans[:limit]), text[spans[limit][0] :]]
    first = len(spans) - limit
    return [text[: spans[first - 1][1]], *(text[a:b] for a, b in spans[first:])]


def _partition(name: str) -> Method:
    def method(interpreter: Any, text: str, call: Call) -> Value:
        (separator,) = positional(name, call, 1, 1)
        separator = string(name, separator, "sep")
        if not separator:
            raise ValueProblem(f"{name}: empty separator")
        interpreter.meter.elements("string", len(text), 1)
        searched, sought = _region(name, text, (), separator)
        divide = backwards.partition if name == "rpartition" else type(searched).partition
        parts = divide(searched, sought)
        return tuple(decoded(x) if isinstance(x, bytes) else x for x in parts)

    return method


def _join(interpreter: Any, text: str, call: Call) -> Value:
    (parts,) = positional("join", call, 1, 1)
    items = [_joinable(x) for x in elements(parts, interpreter.meter)]
    interpreter.meter.work(len(items) >> 2)
    size = sum(map(len, items)) + len(text) * max(len(items) - 1, 0)
    interpreter.meter.elements("string", size, 1)
    return joined(str(text).join(items))


def _joinable(value: Value) -> str:
    if not isinstance(value, str):
        raise ValueProblem(f"join: in list: got {type_name(value)}, want string")
    return value


def _replace(interpreter: Any, text: str, call: Call) -> Value:
    args = positional("replace", call, 2, 3)
    old, new = string("replace", args[0], "old"), string("replace", args[1], "new")
    limit = -1 if len(args) < 3 or args[2] is None else integer("replace", args[2], "count")
    limit = max(-1, min(limit, MAX_LENGTH))
    interpreter.meter.scan(4 * len(text))
    times = text.count(old) if limit < 0 else min(limit, text.count(old))
    interpreter.meter.elements("string", len(text) + times * max(len(new) - len(old), 0), 1)
    if old and not whole(old):
        return decoded(encoded(text).replace(encoded(old), encoded(new), limit))
    return joined(str(text).replace(old, new, limit))


_LINE = re.compile(r"[^\n\r]*(?:\r\n|\n|\r)|[^\n\r]+\Z")


def _splitlines(interpreter: Any, text: str, call: Call) -> Value:
    (keep,) = bound("splitlines", call, ("keepends", False))
    interpreter.meter.elements("string", len(text), 8)
    lines = _LINE.findall(text)
    interpreter.meter.elements("list", len(lines), 60)
    return List(lines if truth(keep) else (line.rstrip("\r\n") for line in lines))


def _format(interpreter: Any, text: str, call: Call) -> Value:
    return braces(str(text), call.arguments, call.named, interpreter.meter)


STRING: dict[str, Method] = {
    "capitalize": _case("capitalize", _capitalize),
    "format": _format,
    "isalnum": _case("isalnum", _is_alnum),
    "isalpha": _case("isalpha", str.isalpha),
    "isdigit": _case("isdigit", str.isdecimal),
    "islower": _case("islower", str.islower),
    "isspace": _case("isspace", _is_space),
    "istitle": _case("istitle", str.istitle),
    "isupper": _case("isupper", str.isupper),
    "join": _join,
    "lower": _case("lower", str.lower),
    "replace": _replace,
    "splitlines": _splitlines,
    "title": _case("title", str.title),
    "upper": _case("upper", str.upper),
    **{n: _strip(n) for n in ("strip", "lstrip", "rstrip")},
    **{n: _search(n) for n in ("find", "rfind", "index", "rindex", "count")},
    **{n: _affix(n) for n in ("startswith", "endswith")},
    **{n: _remove(n) for n in ("removeprefix", "removesuffix")},
    **{n: _split(n) for n in ("split", "rsplit")},
    **{n: _partition(n) for n in ("partition", "rpartition")},
    **{n: _view(n) for n in ("elems", "elem_ords", "codepoints", "codepoint_ords")},
}

BYTES: dict[str, Method] = {"elems": _view("elems")}
