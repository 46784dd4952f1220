"""Methods of the built-in types (Starlark spec, "Built-in methods"), and those of lists and dicts.

`methods_of(value)[name]` is called with the interpreter, the value and the call.
"""

from __future__ import annotations

from typing import Any

from grammar.starlark.arguments import boundary, integer, positional
from grammar.starlark.limits import Meter
from grammar.starlark.printing import brief
from grammar.starlark.set_methods import SET
from grammar.starlark.string_methods import BYTES, STRING, Method
from grammar.starlark.values import (
    Call,
    Dict,
    List,
    Set,
    Value,
    ValueProblem,
    elements,
    equal,
    fill_holes,
    grown,
    iterable,
    keyed,
    mutable,
    type_name,
    unkeyed,
)

# -- lists ------------------------------------------------------------------------------------


def _append(interpreter: Any, items: List, call: Call) -> None:
    (item,) = positional("append", call, 1, 1)
    mutable(items, "append to")
    grown("list", items)
    items.append(item)


def _extend(interpreter: Any, items: List, call: Call) -> None:
    (more,) = positional("extend", call, 1, 1)
    mutable(items, "extend")
    added = elements(more, interpreter.meter)
    interpreter.meter.elements("list", len(items) + len(added), 0)
    items.extend(added)


def _insert(interpreter: Any, items: List, call: Call) -> None:
    place, item = positional("insert", call, 2, 2)
    mutable(items, "insert into")
    interpreter.meter.elements("list", len(items) + 1, 0)
    interpreter.meter.work(len(items) >> 6)
    number = integer("insert", place, "index")
    items.insert(max(-len(items), min(number, len(items))), item)


def _pop(interpreter: Any, items: List, call: Call) -> Value:
    args = positional("pop", call, 0, 1)
    mutable(items, "pop from")
    place = integer("pop", args[0], "index") if args else -1
    if not -len(items) <= place < len(items):
        count = f"{len(items)} element{'s' * (len(items) != 1)}"
        raise ValueProblem(f"pop: index {brief(place)} out of range: list has {count}")
    if place != -1:
        interpreter.meter.work(len(items) >> 6)
    return items.pop(place)


def _list_index(interpreter: Any, items: List, call: Call) -> Value:
    args = positional("index", call, 1, 3)
    start = boundary("index", args[1], "start") if len(args) > 1 else None
    end = boundary("index", args[2], "end") if len(args) > 2 else None
    for number in range(len(items))[start:end]:
        interpreter.meter.work(3)
        if equal(items[number], args[0], interpreter.meter):
            return number
    raise ValueProblem(f"index: value {brief(args[0])} not in list")


def _list_remove(interpreter: Any, items: List, call: Call) -> None:
    (item,) = positional("remove", call, 1, 1)
    mutable(items, "remove from")
    for number, found in enumerate(items):
        interpreter.meter.work(3)
        if equal(found, item, interpreter.meter):
            interpreter.meter.work(len(items) >> 6)
            del items[number]
            return
    raise ValueProblem("remove: element not found")


def _clear(_: Any, items: List | Dict, call: Call) -> None:
    positional("clear", call, 0, 0)
    mutable(items, "clear")
    items.clear()


LIST: dict[str, Method] = {
    "append": _append,
    "clear": _clear,
    "extend": _extend,
    "index": _list_index,
    "insert": _insert,
    "pop": _pop,
    "remove": _list_remove,
}


# -- dicts ------------------------------------------------------------------------------------


def _get(interpreter: Any, table: Dict, call: Call) -> Value:
    args = positional("get", call, 1, 2)
    return table.get(keyed(args[0], interpreter.meter), args[1] if len(args) > 1 else None)


def _keys(interpreter: Any, table: Dict, call: Call) -> Value:
    positional("keys", call, 0, 0)
    return List(elements(table, interpreter.meter))


def _values(interpreter: Any, table: Dict, call: Call) -> Value:
    positional("values", call, 0, 0)
    interpreter.meter.elements("list", len(table))
    return List(table.values())


def _items(interpreter: Any, table: Dict, call: Call) -> Value:
    positional("items", call, 0, 0)
    interpreter.meter.elements("list", len(table), 64)
    interpreter.meter.work(len(table) >> 1)
    return List((unkeyed(k), v) for k, v in table.items())


def _dict_pop(interpreter: Any, table: Dict, call: Call) -> Value:
    args = positional("pop", call, 1, 2)
    mutable(table, "delete from")
    key = keyed(args[0], interpreter.meter)
    if key in table:
        value = table.pop(key)
        fill_holes(table, table)
        return value
    if len(args) > 1:
        return args[1]
    raise ValueProblem(f"pop: missing key: {brief(args[0])} not in dict")


def _popitem(_: Any, table: Dict, call: Call) -> Value:
    positional("popitem", call, 0, 0)
    mutable(table, "delete from")
    if not table:
        raise ValueProblem("popitem: empty dict")
    fill_holes(table, table, first=True)
    key = next(iter(table))
    return (unkeyed(key), table.pop(key))


def _setdefault(interpreter: Any, table: Dict, call: Call) -> Value:
    args = positional("setdefault", call, 1, 2)
    mutable(table, "insert into")
    key = keyed(args[0], interpreter.meter)
    if key not in table:
        grown("dict", table)
        table[key] = args[1] if len(args) > 1 else None
    return table[key]


def pairs_of(name: str, value: Value, meter: Meter) -> list[tuple[Value, Value]]:
    """The pairs of a dict, or of an iterable of pairs, with keys ready. Raises ValueProblem."""
    if isinstance(value, Dict):
        meter.elements("dict", len(value), 100)
        return list(value.items())
    found = []
    for number, item in enumerate(elements(value, meter)):
        try:
            iterable(item)
        except ValueProblem:
            raise ValueProblem(
                f"{name}: element #{number} is not a pair: {type_name(item)} value is not iterable"
            ) from None
        if len(item) != 2:
            raise ValueProblem(
                f"{name}: element #{number} has length {len(item)}; 2 is required: it is not a pair"
            )
        key, content = iterable(item)
        meter.bytes(100)
        found.append((keyed(key, meter), content))
    return found


def _update(interpreter: Any, table: Dict, call: Call) -> None:
    if len(call.arguments) > 1:
        raise ValueProblem(f"update: got {len(call.arguments)} arguments, want at most 1")
    mutable(table, "insert into")
    for argument in call.arguments:
        if argument is not None:
            table.update(pairs_of("update", argument, interpreter.meter))
    table.update(call.named)
    interpreter.meter.elements("dict", len(table), 0)


DICT: dict[str, Method] = {
    "clear": _clear,
    "get": _get,
    "items": _items,
    "keys": _keys,
    "pop": _dict_pop,
    "popitem": _popitem,
    "setdefault": _setdefault,
    "update": _update,
    "values": _values,
}

_METHODS: dict[type, dict[str, Method]] = {str: STRING, bytes: BYTES, List: LIST, Dict: DICT, Set: SET}


def methods_of(value: Value) -> dict[str, Method]:
    """The methods of a value's type."""
    if isinstance(value, str):
        return STRING
    return _METHODS.get(type(value), {})
