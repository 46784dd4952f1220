"""Methods of sets (Starlark spec, "Built-in methods")."""

from __future__ import annotations

from typing import Any

from grammar.starlark.arguments import positional
from grammar.starlark.limits import MAX_LENGTH, Meter
from grammar.starlark.string_methods import Method
from grammar.starlark.values import (
    Call,
    Set,
    Value,
    ValueProblem,
    elements,
    fill_holes,
    grown,
    keyed,
    mutable,
    unkeyed,
)

_Table = dict[Value, None]


def table_of(value: Value, meter: Meter) -> _Table:
    """The elements of an iterable, as a set has them. Raises ValueProblem."""
    if isinstance(value, Set):
        meter.elements("set", len(value), 8)
        return value.table
    items = elements(value, meter)
    meter.elements("set", len(items), 100)
    return {keyed(item, meter): None for item in items}


def _others(name: str, call: Call, meter: Meter) -> list[_Table]:
    return [table_of(x, meter) for x in positional(name, call, 0, MAX_LENGTH)]


def _one(name: str, call: Call) -> Value:
    return positional(name, call, 1, 1)[0]


def _union(table: _Table, others: list[_Table]) -> _Table:
    made = dict(table)
    for other in others:
        made.update(other)
    return made


def _intersection(table: _Table, others: list[_Table]) -> _Table:
    return {k: None for k in table if all(k in other for other in others)}


def _difference(table: _Table, others: list[_Table]) -> _Table:
    return {k: None for k in table if not any(k in other for other in others)}


def _symmetric(table: _Table, others: list[_Table]) -> _Table:
    (other,) = others
    return {**_difference(table, others), **_difference(other, [table])}


def _new(name: str, make: Any, single: bool = False) -> Method:
    """A method that makes a set of this one and others."""

    def method(interpreter: Any, value: Set, call: Call) -> Value:
        if single:
            _one(name, call)
        others = _others(name, call, interpreter.meter)
        interpreter.meter.elements("set", len(value), 100)
        interpreter.meter.work(len(value) * len(others) >> 3)
        return Set(make(value.table, others))

    return method


def _in_place(name: str, make: Any, doing: str, single: bool = False) -> Method:
    """A method that changes this set by others."""
    made = _new(name, make, single)

    def method(interpreter: Any, value: Set, call: Call) -> None:
        mutable(value, doing)
        value.table = made(interpreter, value, call).table

    return method


def _add(interpreter: Any, value: Set, call: Call) -> None:
    item = _one("add", call)
    mutable(value, "insert into")
    grown("set", value)
    value.table[keyed(item, interpreter.meter)] = None


def _clear(_: Any, value: Set, call: Call) -> None:
    positional("clear", call, 0, 0)
    mutable(value, "clear")
    value.table = {}


def _discard(interpreter: Any, value: Set, call: Call) -> None:
    item = _one("discard", call)
    mutable(value, "delete from")
    value.table.pop(keyed(item, interpreter.meter), None)
    fill_holes(value, value.table)


def _remove(interpreter: Any, value: Set, call: Call) -> None:
    item = _one("remove", call)
    mutable(value, "delete from")
    key = keyed(item, interpreter.meter)
    if key not in value.table:
        raise ValueProblem("remove: element not found in set")
    del value.table[key]
    fill_holes(value, value.table)


def _pop(_: Any, value: Set, call: Call) -> Value:
    positional("pop", call, 0, 0)
    mutable(value, "delete from")
    if not value.table:
        raise ValueProblem("pop: empty set")
    fill_holes(value, value.table, first=True)
    key = next(iter(value.table))
    del value.table[key]
    return unkeyed(key)


def _is_disjoint(interpreter: Any, value: Set, call: Call) -> Value:
    other = table_of(_one("isdisjoint", call), interpreter.meter)
    interpreter.meter.work(len(value) >> 2)
    return not any(k in other for k in value.table)


def _is_subset(interpreter: Any, value: Set, call: Call) -> Value:
    other = table_of(_one("issubset", call), interpreter.meter)
    interpreter.meter.work(len(value) >> 2)
    return all(k in other for k in value.table)


def _is_superset(interpreter: Any, value: Set, call: Call) -> Value:
    other = table_of(_one("issuperset", call), interpreter.meter)
    return all(k in value.table for k in other)


SET: dict[str, Method] = {
    "add": _add,
    "clear": _clear,
    "discard": _discard,
    "pop": _pop,
    "remove": _remove,
    "difference": _new("difference", _difference),
    "difference_update": _in_place("difference_update", _difference, "delete from"),
    "intersection": _new("intersection", _intersection),
    "intersection_update": _in_place("intersection_update", _intersection, "delete from"),
    "isdisjoint": _is_disjoint,
    "issubset": _is_subset,
    "issuperset": _is_superset,
    "symmetric_difference": _new("symmetric_difference", _symmetric, single=True),
    "symmetric_difference_update": _in_place(
        "symmetric_difference_update", _symmetric, "change", single=True
    ),
    "union": _new("union", _union),
    "update": _in_place("update", _union, "insert into"),
}
