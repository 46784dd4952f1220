"""Methods of strings, bytes, lists and dicts (Starlark spec, "Built-in methods").

`METHODS[type][name]` is called with the interpreter, the value and the call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grammar.strings import braces
from grammar.values import (
    Call,
    Value,
    ValueProblem,
    checked,
    equal,
    iterable,
    keyed,
    type_name,
    unkeyed,
)

Method = Callable[[Any, Any, Call], Value]


def _no_named(call: Call, name: str) -> None:
    if call.named:
        raise ValueProblem(f"{name}() takes no keyword arguments")


def _args(call: Call, name: str, low: int, high: int) -> tuple[Value, ...]:
    _no_named(call, name)
    if not low <= len(call.arguments) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        raise ValueProblem(f"{name}() takes {wanted} arguments, not {len(call.arguments)}")
    return call.arguments


def _string(value: Value, what: str) -> str:
    if not isinstance(value, str):
        raise ValueProblem(f"{what} is a string, not {type_name(value)}")
    return str(value)


def _number(value: Value, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueProblem(f"{what} is an int, not {type_name(value)}")
    return value


def _bound(value: Value) -> int | None:
    return None if value is None else _number(value, "a bound")


# -- strings ----------------------------------------------------------------------------------


def _plain(name: str) -> Method:
    def method(_: Any, text: str, call: Call) -> Value:
        _args(call, name, 0, 0)
        return getattr(str(text), name)()

    return method


def _strip(name: str) -> Method:
    def method(_: Any, text: str, call: Call) -> Value:
        args = _args(call, name, 0, 1)
        chars = None if not args or args[0] is None else _string(args[0], "the cutset")
        return getattr(str(text), name)(chars)

    return method


def _search(name: str) -> Method:
    def method(_: Any, text: str, call: Call) -> Value:
        args = _args(call, name, 1, 3)
        bounds = [_bound(x) for x in args[1:]]
        wanted = _string(args[0], "the substring")
        try:
            return getattr(str(text), name)(wanted, *bounds)
        except ValueError:
            raise ValueProblem("substring not found") from None

    return method


def _affix(name: str) -> Method:
    def method(_: Any, text: str, call: Call) -> Value:
        args = _args(call, name, 1, 3)
        wanted = args[0]
        if isinstance(wanted, tuple):
            wanted = tuple(_string(x, "an affix") for x in wanted)
        else:
            wanted = _string(wanted, "the affix")
        return getattr(str(text), name)(wanted, *[_bound(x) for x in args[1:]])

    return method


def _remove(name: str) -> Method:
    def method(_: Any, text: str, call: Call) -> Value:
        (affix,) = _args(call, name, 1, 1)
        return getattr(str(text), name)(_string(affix, "the affix"))

    return method


def _split(name: str) -> Method:
    def method(_: Any, text: str, call: Call) -> Value:
        args = [*call.arguments]
        for key in call.named:
            if key not in ("sep", "maxsplit"):
                raise ValueProblem(f"{name}() has no parameter '{key}'")
        separator = args[0] if args else call.named.get("sep")
        limit = args[1] if len(args) > 1 else call.named.get("maxsplit", -1)
        if len(args) > 2:
            raise ValueProblem(f"{name}() takes 0 to 2 arguments, not {len(args)}")
        if separator is not None and not _string(separator, "the separator"):
            raise ValueProblem("the separator is empty")
        return getattr(str(text), name)(separator, -1 if limit is None else _number(limit, "maxsplit"))

    return method


def _partition(name: str) -> Method:
    def method(_: Any, text: str, call: Call) -> Value:
        (separator,) = _args(call, name, 1, 1)
        if not _string(separator, "the separator"):
            raise ValueProblem("the separator is empty")
        return getattr(str(text), name)(separator)

    return method


def _join(_: Any, text: str, call: Call) -> Value:
    (parts,) = _args(call, "join", 1, 1)
    items = [_string(x, "an element to join") for x in iterable(parts)]
    return checked(str(text).join(items))


def _replace(_: Any, text: str, call: Call) -> Value:
    args = _args(call, "replace", 2, 3)
    old, new = _string(args[0], "old"), _string(args[1], "new")
    count = -1 if len(args) < 3 or args[2] is None else _number(args[2], "count")
    if (len(text) + 1) * max(len(new), 1) > 100_000_000:
        raise ValueProblem("a string too large")
    return checked(str(text).replace(old, new, count))


def _splitlines(_: Any, text: str, call: Call) -> Value:
    import re

    keep = bool(call.arguments[0] if call.arguments else call.named.get("keepends", False))
    lines = re.findall(r"[^\n\r]*(?:\r\n|\n|\r)|[^\n\r]+\Z", str(text))
    return lines if keep else [line.rstrip("\r\n") for line in lines]


def _format(_: Any, text: str, call: Call) -> Value:
    return checked(braces(str(text), call.arguments, call.named))


def _elements(_: Any, text: str, call: Call) -> Value:
    _args(call, "elems", 0, 0)
    return list(str(text))


def _codepoints(_: Any, text: str, call: Call) -> Value:
    _args(call, "codepoints", 0, 0)
    return list(str(text))


def _title(_: Any, text: str, call: Call) -> Value:
    _args(call, "title", 0, 0)
    return str(text).title()


STRING: dict[str, Method] = {
    **{n: _plain(n) for n in (
        "capitalize", "isalnum", "isalpha", "isdigit", "islower", "isspace", "istitle", "isupper",
        "lower", "upper")},
    "title": _title,
    **{n: _strip(n) for n in ("strip", "lstrip", "rstrip")},
    **{n: _search(n) for n in ("find", "rfind", "index", "rindex", "count")},
    **{n: _affix(n) for n in ("startswith", "endswith")},
    **{n: _remove(n) for n in ("removeprefix", "removesuffix")},
    **{n: _split(n) for n in ("split", "rsplit")},
    **{n: _partition(n) for n in ("partition", "rpartition")},
    "join": _join, "replace": _replace, "splitlines": _splitlines, "format": _format,
    "elems": _elements, "codepoints": _codepoints,
}


# -- lists ------------------------------------------------------------------------------------


def _append(interpreter: Any, items: list[Value], call: Call) -> None:
    (item,) = _args(call, "append", 1, 1)
    interpreter.mutable(items)
    items.append(item)
    checked(items)


def _extend(interpreter: Any, items: list[Value], call: Call) -> None:
    (more,) = _args(call, "extend", 1, 1)
    interpreter.mutable(items)
    items.extend(list(iterable(more)))
    checked(items)


def _insert(interpreter: Any, items: list[Value], call: Call) -> None:
    place, item = _args(call, "insert", 2, 2)
    interpreter.mutable(items)
    items.insert(_number(place, "the index"), item)


def _pop(interpreter: Any, items: list[Value], call: Call) -> Value:
    args = _args(call, "pop", 0, 1)
    interpreter.mutable(items)
    place = _number(args[0], "the index") if args else -1
    if not -len(items) <= place < len(items):
        raise ValueProblem(f"pop index {place} is out of range: there are {len(items)} elements")
    return items.pop(place)


def _list_index(_: Any, items: list[Value], call: Call) -> Value:
    args = _args(call, "index", 1, 3)
    bounds = slice(*[_bound(x) for x in args[1:]]) if len(args) > 2 else slice(
        _bound(args[1]) if len(args) > 1 else None, None)
    for number in range(len(items))[bounds]:
        if equal(items[number], args[0]):
            return number
    raise ValueProblem("the list has no such element")


def _list_remove(interpreter: Any, items: list[Value], call: Call) -> None:
    (item,) = _args(call, "remove", 1, 1)
    interpreter.mutable(items)
    for number, found in enumerate(items):
        if equal(found, item):
            del items[number]
            return
    raise ValueProblem("the list has no such element")


def _clear(interpreter: Any, items: Any, call: Call) -> None:
    _args(call, "clear", 0, 0)
    interpreter.mutable(items)
    items.clear()


LIST: dict[str, Method] = {
    "append": _append, "extend": _extend, "insert": _insert, "pop": _pop, "index": _list_index,
    "remove": _list_remove, "clear": _clear,
}


# -- dicts ------------------------------------------------------------------------------------


def _get(_: Any, table: dict[Value, Value], call: Call) -> Value:
    args = _args(call, "get", 1, 2)
    return table.get(keyed(args[0]), args[1] if len(args) > 1 else None)


def _keys(_: Any, table: dict[Value, Value], call: Call) -> Value:
    _args(call, "keys", 0, 0)
    return [unkeyed(k) for k in table]


def _values(_: Any, table: dict[Value, Value], call: Call) -> Value:
    _args(call, "values", 0, 0)
    return list(table.values())


def _items(_: Any, table: dict[Value, Value], call: Call) -> Value:
    _args(call, "items", 0, 0)
    return [(unkeyed(k), v) for k, v in table.items()]


def _dict_pop(interpreter: Any, table: dict[Value, Value], call: Call) -> Value:
    args = _args(call, "pop", 1, 2)
    interpreter.mutable(table)
    key = keyed(args[0])
    if key in table:
        return table.pop(key)
    if len(args) > 1:
        return args[1]
    raise ValueProblem("the dict has no such key")


def _popitem(interpreter: Any, table: dict[Value, Value], call: Call) -> Value:
    _args(call, "popitem", 0, 0)
    interpreter.mutable(table)
    if not table:
        raise ValueProblem("popitem() of an empty dict")
    key = next(iter(table))
    return (unkeyed(key), table.pop(key))


def _setdefault(interpreter: Any, table: dict[Value, Value], call: Call) -> Value:
    args = _args(call, "setdefault", 1, 2)
    key = keyed(args[0])
    if key not in table:
        interpreter.mutable(table)
        table[key] = args[1] if len(args) > 1 else None
    return table[key]


def pairs_of(value: Value) -> list[tuple[Value, Value]]:
    """The pairs of a dict, or of an iterable of pairs, with keys ready. Raises ValueProblem."""
    if isinstance(value, dict):
        return list(value.items())
    found = []
    for item in iterable(value):
        pair = list(iterable(item))
        if len(pair) != 2:
            raise ValueProblem(f"a pair is wanted, not {len(pair)} elements")
        found.append((keyed(pair[0]), pair[1]))
    return found


def _update(interpreter: Any, table: dict[Value, Value], call: Call) -> None:
    if len(call.arguments) > 1:
        raise ValueProblem("update() takes at most one positional argument")
    interpreter.mutable(table)
    for argument in call.arguments:
        table.update(pairs_of(argument))
    table.update(call.named)
    checked(table)


DICT: dict[str, Method] = {
    "get": _get, "keys": _keys, "values": _values, "items": _items, "pop": _dict_pop,
    "popitem": _popitem, "setdefault": _setdefault, "update": _update, "clear": _clear,
}


def _bytes_elements(_: Any, data: bytes, call: Call) -> Value:
    _args(call, "elems", 0, 0)
    return list(data)


METHODS: dict[type, dict[str, Method]] = {
    str: STRING, list: LIST, dict: DICT, bytes: {"elems": _bytes_elements},
}


def methods_of(value: Value) -> dict[str, Method]:
    """The methods of a value's type."""
    if isinstance(value, str):
        return STRING
    return METHODS.get(type(value), {})
