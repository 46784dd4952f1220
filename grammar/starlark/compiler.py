"""Syntax tree -> closures that evaluate it.

An expression becomes a function of a frame (the list of a call's variables) that returns its value;
a statement one that returns None, or how it left its block (`BREAK`, `CONTINUE`, `RETURN`; the value
that is returned is then in slot 0). Every statement counts the nodes below it as steps before it
runs, which bounds the time that an evaluation takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from grammar.environment import Position
from grammar.errors import SpecError
from grammar.starlark import operators, syntax
from grammar.starlark.limits import Meter
from grammar.starlark.printing import brief
from grammar.starlark.resolver import Code, Resolution, Variable, children
from grammar.starlark.values import (
    Call,
    Cell,
    Dict,
    Function,
    List,
    Set,
    Value,
    ValueProblem,
    elements,
    equal,
    iterable,
    keyed,
    type_name,
)

if TYPE_CHECKING:
    from grammar.starlark.interpreter import Interpreter

Frame = list[Value]
Run = Callable[[Frame], Value]
Statement = Callable[[Frame], object]
Store = Callable[[Frame, Value], None]

BREAK, CONTINUE, RETURN = object(), object(), object()


class _Unbound:
    """What a variable is before it has a value."""


UNBOUND = _Unbound()


class Compiler:
    """Compiles for one module of one interpreter."""

    def __init__(self, interpreter: Interpreter, resolution: Resolution) -> None:
        self._interpreter = interpreter
        self._meter: Meter = interpreter.meter
        self._resolution = resolution
        self._globals = interpreter.globals
        self._code = resolution.module

    def module(self, statements: tuple[syntax.Node, ...]) -> Statement:
        """The module's statements."""
        return self._block(statements)

    # -- statements

    def _block(self, statements: tuple[syntax.Node, ...]) -> Statement:
        compiled = [self._statement(node) for node in statements]
        if len(compiled) == 1:
            return compiled[0]

        def run(frame: Frame) -> object:
            for statement in compiled:
                left = statement(frame)
                if left is not None:
                    return left
            return None

        return run

    def _statement(self, node: syntax.Node) -> Statement:
        made: Statement = getattr(self, f"_statement_{type(node).__name__}")(node)
        return made

    def _counted(self, node: syntax.Node, *parts: syntax.Node | None) -> Callable[[], None]:
        """Counts the steps of a statement."""
        weight = 1 + sum(weigh(part) for part in parts if part is not None)
        meter, fail, position = self._meter, self._interpreter.error, node.position

        def count() -> None:
            meter.steps += weight
            if meter.steps > meter.steps_left_at:
                try:
                    meter.work(0)
                except ValueProblem as problem:
                    raise fail(str(problem), position) from None

        return count

    def _statement_Expression(self, node: syntax.Expression) -> Statement:  # noqa: N802
        count, value = self._counted(node, node.value), self.expression(node.value)
        interpreter = self._interpreter
        if interpreter.reports and self._is_request(node.value):

            def run_request(frame: Frame) -> None:
                count()
                try:
                    value(frame)
                except SpecError as error:
                    interpreter.report(error)

            return run_request

        def run(frame: Frame) -> None:
            count()
            value(frame)

        return run

    def _is_request(self, node: syntax.Node) -> bool:
        """Whether a statement calls one of the interpreter's `requests`, or what was meant as one:
        nothing depends on such a call."""
        if not isinstance(node, syntax.Call):
            return False
        node = node.function
        while isinstance(node, syntax.Attribute):
            node = node.value
        if not isinstance(node, syntax.Name) or id(node) in self._resolution.uses:
            return False
        universe = self._interpreter.universe
        return node.name in self._interpreter.requests or node.name not in universe

    def _statement_Assign(self, node: syntax.Assign) -> Statement:  # noqa: N802
        if node.operator:
            return self._augmented(node)
        count = self._counted(node, node.value, node.target)
        value, store = self.expression(node.value), self._store(node.target)

        def run(frame: Frame) -> None:
            count()
            store(frame, value(frame))

        return run

    def _augmented(self, node: syntax.Assign) -> Statement:
        """`target op= value`: what is in the target is evaluated once, before the value."""
        count = self._counted(node, node.target, node.value)
        meter, error, at, operator = (self._meter, self._interpreter.error, node.position, node.operator)
        target, value = node.target, self.expression(node.value)

        def changed(old: Value, more: Value) -> Value:
            try:
                return operators.augmented(operator, old, more, meter)
            except ValueProblem as problem:
                raise error(str(problem), at) from None

        if isinstance(target, syntax.Index):
            holder, key = self.expression(target.value), self.expression(target.index)
            place = target.position

            def run_index(frame: Frame) -> None:
                count()
                held, index = holder(frame), key(frame)
                try:
                    old = operators.index(held, index, meter)
                except ValueProblem as problem:
                    raise error(str(problem), place) from None
                made = changed(old, value(frame))
                try:
                    operators.store(held, index, made, meter)
                except ValueProblem as problem:
                    raise error(str(problem), place) from None

            return run_index
        current, store = self.expression(target), self._store(target)

        def run(frame: Frame) -> None:
            count()
            old = current(frame)
            store(frame, changed(old, value(frame)))

        return run

    def _statement_If(self, node: syntax.If) -> Statement:  # noqa: N802
        count = self._counted(node, *(test for test, _ in node.branches))
        branches = [(self.expression(test), self._block(body)) for test, body in node.branches]
        otherwise = self._block(node.otherwise) if node.otherwise else None

        def run(frame: Frame) -> object:
            count()
            for test, body in branches:
                if test(frame):
                    return body(frame)
            return otherwise(frame) if otherwise is not None else None

        return run

    def _statement_For(self, node: syntax.For) -> Statement:  # noqa: N802
        count = self._counted(node, node.value)
        turn = self._counted(node, node.target)
        value, store, body = (self.expression(node.value), self._store(node.target), self._block(node.body))
        loop = self._loop(node.value.position)

        def run(frame: Frame) -> object:
            count()
            looped = value(frame)
            items = loop(looped)
            try:
                for item in items:
                    turn()
                    store(frame, item)
                    left = body(frame)
                    if left is not None and left is not CONTINUE:
                        return None if left is BREAK else left
                return None
            finally:
                if isinstance(looped, _CHANGEABLE):
                    looped.iterators -= 1

        return run

    def _loop(self, position: Position) -> Callable[[Value], Value]:
        """Begins a loop over a value, which may then not be changed."""
        error = self._interpreter.error

        def begin(value: Value) -> Value:
            try:
                items = iterable(value)
            except ValueProblem as problem:
                raise error(str(problem), position) from None
            if isinstance(value, _CHANGEABLE):
                value.iterators += 1
            return items

        return begin

    def _statement_Def(self, node: syntax.Def) -> Statement:  # noqa: N802
        count = self._counted(node, *(p.default for p in node.parameters))
        make = self._function(node)
        use = (
            self._resolution.globals.get(node.name)
            if self._code is self._resolution.module
            else next(v for v in self._code.own if v.name == node.name)
        )
        assert use is not None
        store = self._bind(use)

        def run(frame: Frame) -> None:
            count()
            store(frame, make(frame))

        return run

    def _statement_Return(self, node: syntax.Return) -> Statement:  # noqa: N802
        count = self._counted(node, node.value)
        if node.value is None:

            def run_empty(frame: Frame) -> object:
                count()
                return RETURN

            return run_empty
        value = self.expression(node.value)

        def run(frame: Frame) -> object:
            count()
            frame[0] = value(frame)
            return RETURN

        return run

    def _statement_Jump(self, node: syntax.Jump) -> Statement:  # noqa: N802
        count = self._counted(node)
        left = {"break": BREAK, "continue": CONTINUE, "pass": None}[node.kind]

        def run(frame: Frame) -> object:
            count()
            return left

        return run

    def _statement_Load(self, node: syntax.Load) -> Statement:  # noqa: N802
        interpreter = self._interpreter

        def run(frame: Frame) -> None:
            interpreter.load(node)

        return run

    # -- assignment

    def _bind(self, variable: Variable) -> Store:
        if variable.code is None:
            values, name = self._globals, variable.name

            def store_global(frame: Frame, value: Value) -> None:
                values[name] = value

            return store_global
        slot = self._code.slots[variable]
        if variable.captured:

            def store_cell(frame: Frame, value: Value) -> None:
                frame[slot].value = value

            return store_cell

        def store(frame: Frame, value: Value) -> None:
            frame[slot] = value

        return store

    def _store(self, target: syntax.Node) -> Store:
        """How a value is assigned to `target`."""
        meter, error, position = self._meter, self._interpreter.error, target.position
        if isinstance(target, syntax.Name):
            return self._bind(self._resolution.uses[id(target)])
        if isinstance(target, syntax.Index):
            holder, key = self.expression(target.value), self.expression(target.index)

            def store_index(frame: Frame, value: Value) -> None:
                held, index = holder(frame), key(frame)
                try:
                    operators.store(held, index, value, meter)
                except ValueProblem as problem:
                    raise error(str(problem), position) from None

            return store_index
        if isinstance(target, syntax.Sequence):
            stores = [self._store(item) for item in target.items]

            def unpack(frame: Frame, value: Value) -> None:
                try:
                    items = elements(value, meter, "cannot unpack")
                except ValueProblem as problem:
                    raise error(str(problem), position) from None
                if len(items) != len(stores):
                    few = "few" if len(items) < len(stores) else "many"
                    raise error(
                        f"too {few} values to unpack (got {len(items)}, want {len(stores)})", position
                    )
                for store, item in zip(stores, items, strict=True):
                    store(frame, item)

            return unpack
        assert isinstance(target, syntax.Attribute)
        owner, name = self.expression(target.value), target.name

        def refuse(frame: Frame, value: Value) -> None:
            raise error(f"cannot assign to .{name} field of {type_name(owner(frame))}", position)

        return refuse

    # -- functions

    def _function(self, node: syntax.Def | syntax.Lambda) -> Run:
        code = self._resolution.codes[id(node)]
        defaults = [(p.name, self.expression(p.default)) for p in node.parameters if p.default is not None]
        taken = [self._code.slots[variable] for variable in code.free]
        outer, self._code = self._code, code
        run = self._body(code)
        self._code = outer
        name = code.name

        def make(frame: Frame) -> Function:
            return Function(
                name,
                code,
                {key: default(frame) for key, default in defaults},
                tuple([frame[slot] for slot in taken]),
                run,
            )

        return make

    def _body(self, code: Code) -> Run:
        if isinstance(code.body, tuple):
            body = self._block(code.body)

            def run(frame: Frame) -> Value:
                body(frame)
                return frame[0]

            return run
        count = self._counted(code.body, code.body)
        value = self.expression(code.body)

        def run_expression(frame: Frame) -> Value:
            count()
            return value(frame)

        return run_expression

    # -- expressions

    def expression(self, node: syntax.Node) -> Run:
        """An expression."""
        made: Run = getattr(self, f"_{type(node).__name__}")(node)
        return made

    def _Literal(self, node: syntax.Literal) -> Run:  # noqa: N802
        value = node.value
        return lambda frame: value

    def _Name(self, node: syntax.Name) -> Run:  # noqa: N802
        variable = self._resolution.uses.get(id(node))
        name, position, error = node.name, node.position, self._interpreter.error
        if variable is None:
            return self._predeclared(node)
        if variable.code is None:
            values = self._globals

            def run_global(frame: Frame) -> Value:
                try:
                    return values[name]
                except KeyError:
                    raise error(f"global variable '{name}' referenced before assignment", position) from None

            return run_global
        slot = self._code.slots[variable]
        if variable.captured:

            def run_cell(frame: Frame) -> Value:
                value = frame[slot].value
                if value is UNBOUND:
                    raise error(f"local variable '{name}' referenced before assignment", position)
                return value

            return run_cell

        def run(frame: Frame) -> Value:
            value = frame[slot]
            if value is UNBOUND:
                raise error(f"local variable '{name}' referenced before assignment", position)
            return value

        return run

    def _predeclared(self, node: syntax.Name) -> Run:
        interpreter = self._interpreter
        if node.name in interpreter.universe:
            value = interpreter.universe[node.name]
            return lambda frame: value

        def run(frame: Frame) -> Value:
            raise interpreter.unknown(node)

        return run

    def _Sequence(self, node: syntax.Sequence) -> Run:  # noqa: N802
        items = [self.expression(item) for item in node.items]
        if node.kind == "list":
            return lambda frame: List([item(frame) for item in items])
        return lambda frame: tuple([item(frame) for item in items])

    def _Dict(self, node: syntax.Dict) -> Run:  # noqa: N802
        meter, error = self._meter, self._interpreter.error
        pairs = [(self.expression(key), self.expression(value), key.position) for key, value in node.pairs]

        def run(frame: Frame) -> Value:
            made = Dict()
            for key, value, position in pairs:
                original = key(frame)
                content = value(frame)
                try:
                    ready = keyed(original, meter)
                except ValueProblem as problem:
                    raise error(str(problem), position) from None
                if ready in made:
                    raise error(f"duplicate key: {brief(original)}", position)
                made[ready] = content
            return made

        return run

    def _Unary(self, node: syntax.Unary) -> Run:  # noqa: N802
        operand, operator, position = self.expression(node.operand), node.operator, node.position
        error = self._interpreter.error
        if operator == "not":
            return lambda frame: not operand(frame)

        def run(frame: Frame) -> Value:
            value = operand(frame)
            try:
                return operators.unary(operator, value)
            except ValueProblem as problem:
                raise error(str(problem), position) from None

        return run

    def _Binary(self, node: syntax.Binary) -> Run:  # noqa: N802
        chain: list[syntax.Binary] = []
        first: syntax.Node = node
        while isinstance(first, syntax.Binary):
            chain.append(first)
            first = first.left
        chain.reverse()
        start = self.expression(first)
        if len(chain) == 1:
            return self._operation(chain[0], start)
        # Long chains, and such that need not evaluate all of their operands.
        steps = [(one.operator, self.expression(one.right), one.position) for one in chain]
        apply = self._applied

        def run(frame: Frame) -> Value:
            value = start(frame)
            for operator, right, position in steps:
                if operator == "and":
                    if value:
                        value = right(frame)
                elif operator == "or":
                    if not value:
                        value = right(frame)
                else:
                    value = apply(operator, value, right(frame), position)
            return value

        return run

    def _applied(self, operator: str, a: Value, b: Value, position: Position) -> Value:
        try:
            return operators.binary(operator, a, b, self._meter)
        except ValueProblem as problem:
            raise self._interpreter.error(str(problem), position) from None

    def _operation(self, node: syntax.Binary, left: Run) -> Run:
        right, position, operator = self.expression(node.right), node.position, node.operator
        meter, error = self._meter, self._interpreter.error
        if operator == "and":
            return lambda frame: right(frame) if (value := left(frame)) else value
        if operator == "or":
            return lambda frame: value if (value := left(frame)) else right(frame)
        if operator in ("==", "!="):
            wanted = operator == "=="

            def run_equal(frame: Frame) -> Value:
                a, b = left(frame), right(frame)
                try:
                    return equal(a, b, meter) is wanted
                except ValueProblem as problem:
                    raise error(str(problem), position) from None

            return run_equal
        apply = operators.BINARY[operator]

        def run(frame: Frame) -> Value:
            a, b = left(frame), right(frame)
            try:
                return apply(a, b, meter)
            except ValueProblem as problem:
                raise error(str(problem), position) from None
            except OverflowError:
                raise error("int too large to convert to float", position) from None

        return run

    def _Conditional(self, node: syntax.Conditional) -> Run:  # noqa: N802
        test, then, otherwise = (
            self.expression(node.test),
            self.expression(node.then),
            self.expression(node.otherwise),
        )
        return lambda frame: then(frame) if test(frame) else otherwise(frame)

    def _Attribute(self, node: syntax.Attribute) -> Run:  # noqa: N802
        value, name, position = self.expression(node.value), node.name, node.position
        attribute = self._interpreter.attribute
        return lambda frame: attribute(value(frame), name, position)

    def _Index(self, node: syntax.Index) -> Run:  # noqa: N802
        value, key, position = (self.expression(node.value), self.expression(node.index), node.position)
        meter, error = self._meter, self._interpreter.error

        def run(frame: Frame) -> Value:
            held, index = value(frame), key(frame)
            try:
                return operators.index(held, index, meter)
            except ValueProblem as problem:
                raise error(str(problem), position) from None

        return run

    def _Slice(self, node: syntax.Slice) -> Run:  # noqa: N802
        value, position = self.expression(node.value), node.position
        start, stop, step = (
            self.expression(x) if x is not None else None for x in (node.start, node.stop, node.step)
        )
        meter, error = self._meter, self._interpreter.error

        def run(frame: Frame) -> Value:
            held = value(frame)
            first = start(frame) if start is not None else None
            last = stop(frame) if stop is not None else None
            stride = step(frame) if step is not None else None
            try:
                return operators.part(held, first, last, stride, meter)
            except ValueProblem as problem:
                raise error(str(problem), position) from None

        return run

    def _Lambda(self, node: syntax.Lambda) -> Run:  # noqa: N802
        return self._function(node)

    # -- comprehensions

    def _Comprehension(self, node: syntax.Comprehension) -> Run:  # noqa: N802
        """Clauses become functions that run what is inside of them; `fill` is the innermost."""
        meter, error = self._meter, self._interpreter.error
        variables = self._resolution.bound[id(node)]
        fresh = [(self._code.slots[v], v.captured) for v in variables]
        first = self.expression(node.clauses[0].value)
        value = self.expression(node.value)
        count = self._counted(node, node.value, node.key)
        key = self.expression(node.key) if node.key is not None else None
        place = node.key.position if node.key is not None else node.position
        fill: Callable[[Frame, Value], None]

        if key is None:

            def fill_list(frame: Frame, made: Value) -> None:
                count()
                made.append(value(frame))

            fill = fill_list
        else:
            make_key = key

            def fill_dict(frame: Frame, made: Value) -> None:
                count()
                original = make_key(frame)
                content = value(frame)
                try:
                    made[keyed(original, meter)] = content
                except ValueProblem as problem:
                    raise error(str(problem), place) from None

            fill = fill_dict
        for clause in reversed(node.clauses[1:]):
            fill = self._clause(clause, fill)
        begin = self._each(node.clauses[0], fill)
        empty = List if key is None else Dict

        def run(frame: Frame) -> Value:
            looped = first(frame)
            for slot, captured in fresh:
                frame[slot] = Cell(UNBOUND) if captured else UNBOUND
            made = empty()
            begin(frame, made, looped)
            return made

        return run

    def _clause(
        self, clause: syntax.Clause, inner: Callable[[Frame, Value], None]
    ) -> Callable[[Frame, Value], None]:
        value = self.expression(clause.value)
        if clause.target is None:

            def run_if(frame: Frame, made: Value) -> None:
                if value(frame):
                    inner(frame, made)

            return run_if
        each = self._each(clause, inner)
        return lambda frame, made: each(frame, made, value(frame))

    def _each(
        self, clause: syntax.Clause, inner: Callable[[Frame, Value], None]
    ) -> Callable[[Frame, Value, Value], None]:
        """`inner` for each element of a value."""
        assert clause.target is not None
        store, loop = self._store(clause.target), self._loop(clause.value.position)
        turn = self._counted(clause, clause.target, clause.value)

        def run(frame: Frame, made: Value, looped: Value) -> None:
            items = loop(looped)
            try:
                for item in items:
                    turn()
                    store(frame, item)
                    inner(frame, made)
            finally:
                if isinstance(looped, _CHANGEABLE):
                    looped.iterators -= 1

        return run

    # -- calls

    def _Call(self, node: syntax.Call) -> Run:  # noqa: N802
        function, position = self.expression(node.function), node.position
        call = self._interpreter.call
        plain = [self.expression(a.value) for a in node.arguments if a.kind == ""]
        named = [(a.name, self.expression(a.value)) for a in node.arguments if a.kind == "="]
        places: dict[int | str, Position] = {}
        for argument in node.arguments:
            if argument.kind == "":
                places[len(places)] = argument.value.position
            elif argument.kind == "=":
                places[argument.name] = argument.value.position
                places[f"{argument.name}="] = argument.position
        if all(argument.kind in ("", "=") for argument in node.arguments):
            if not named:
                return lambda frame: call(
                    function(frame), Call(position, tuple([x(frame) for x in plain]), {}, places)
                )
            return lambda frame: call(
                function(frame),
                Call(position, tuple([x(frame) for x in plain]), {k: x(frame) for k, x in named}, places),
            )
        star = next((a for a in node.arguments if a.kind == "*"), None)
        stars = next((a for a in node.arguments if a.kind == "**"), None)
        more = self.expression(star.value) if star is not None else None
        others = self.expression(stars.value) if stars is not None else None

        def run(frame: Frame) -> Value:
            called = function(frame)
            arguments = [x(frame) for x in plain]
            by_name = {k: x(frame) for k, x in named}
            where = dict(places)
            if star is not None and more is not None:
                added = self._starred(more(frame), star)
                where["*"] = star.value.position
                arguments.extend(added)
            if stars is not None and others is not None:
                self._keywords(others(frame), stars, by_name, where)
            return call(called, Call(position, tuple(arguments), by_name, where))

        return run

    def _starred(self, value: Value, argument: syntax.Argument) -> list[Value]:
        try:
            return list(elements(value, self._meter, "argument after * must be iterable"))
        except ValueProblem as problem:
            raise self._interpreter.error(str(problem), argument.position) from None

    def _keywords(
        self,
        value: Value,
        argument: syntax.Argument,
        named: dict[str, Value],
        places: dict[int | str, Position],
    ) -> None:
        error, position = self._interpreter.error, argument.position
        if not isinstance(value, Dict):
            raise error(f"argument after ** must be a mapping, not {type_name(value)}", position)
        self._meter.steps += 4 * len(value)
        for key, item in value.items():
            if not isinstance(key, str):
                raise error("keywords must be strings: argument after ** has other keys", position)
            if key in named:
                raise error(f"multiple values for keyword argument '{key}'", position)
            named[str(key)] = item
            places[str(key)] = argument.value.position


_CHANGEABLE = (List, Dict, Set)


def weigh(node: syntax.Node) -> int:
    """The steps that evaluating an expression takes, without what it may do several times."""
    total = 0
    waiting = [node]
    while waiting:
        node = waiting.pop()
        total += 1
        if isinstance(node, syntax.Binary):
            waiting += (node.left, node.right)
        elif isinstance(node, syntax.Lambda):
            waiting.extend(p.default for p in node.parameters if p.default is not None)
        elif isinstance(node, syntax.Comprehension):
            waiting.append(node.clauses[0].value)
        else:
            waiting.extend(children(node))
    return total
