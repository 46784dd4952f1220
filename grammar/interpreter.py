"""Evaluation of a syntax tree, with limits on steps and on depth.

Scoping, argument binding and the ban on recursion follow the Starlark specification. Every
failure is a SpecError with the position of the innermost expression and the calls above it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from typing import Any

from grammar import operators, syntax
from grammar.environment import Position
from grammar.errors import SpecError, suggest
from grammar.methods import methods_of
from grammar.values import (
    Builtin,
    Call,
    Function,
    Module,
    Value,
    ValueProblem,
    checked,
    iterable,
    keyed,
    truth,
    type_name,
)

MAX_STEPS = 10_000_000
MAX_DEPTH = 60  # of calls


class _Jump(Exception):  # noqa: N818 - control flow
    pass


class _Break(_Jump):
    pass


class _Continue(_Jump):
    pass


class _Return(_Jump):
    def __init__(self, value: Value) -> None:
        self.value = value


class _Scope:
    """Variables of a function call (or of the module), and the scope around them."""

    def __init__(self, parent: _Scope | None, names: frozenset[str] = frozenset()) -> None:
        self.parent = parent
        self.names = names  # that are local here, bound or not
        self.values: dict[str, Value] = {}


def assigned(body: tuple[syntax.Node, ...]) -> frozenset[str]:
    """The names that statements bind in their own scope."""
    found: set[str] = set()

    def targets(node: syntax.Node) -> None:
        if isinstance(node, syntax.Name):
            found.add(node.name)
        elif isinstance(node, syntax.Sequence):
            for item in node.items:
                targets(item)

    def walk(statements: tuple[syntax.Node, ...]) -> None:
        for node in statements:
            if isinstance(node, syntax.Assign):
                targets(node.target)
            elif isinstance(node, syntax.For):
                targets(node.target)
                walk(node.body)
            elif isinstance(node, syntax.If):
                for _, block in node.branches:
                    walk(block)
                walk(node.otherwise)
            elif isinstance(node, syntax.Def):
                found.add(node.name)

    walk(body)
    return frozenset(found)


class Interpreter:
    """One evaluation."""

    def __init__(
        self,
        universe: Mapping[str, Value],
        max_steps: int = MAX_STEPS,
        requests: Set[str] = frozenset(),
        report: Callable[[SpecError], None] | None = None,
    ) -> None:
        """`requests` are names of `universe` whose calls only ask for something: when one fails as
        a statement, `report` gets the error and evaluation goes on, for nothing depends on it."""
        self._universe = universe
        self._requests = requests
        self._report = report
        self._steps = 0
        self._max_steps = max_steps
        self._calls: list[tuple[Function, Position]] = []
        self._iterating: Counter[int] = Counter()
        self._frozen: set[int] = set()
        self.globals = _Scope(None)

    # -- entry

    def run(self, statements: tuple[syntax.Node, ...]) -> Mapping[str, Value]:
        """Execute a file; its globals. Raises SpecError."""
        self.globals = _Scope(None, assigned(statements))
        self._top(statements)
        return self.globals.values

    def _top(self, statements: tuple[syntax.Node, ...]) -> None:
        try:
            self.block(statements, self.globals)
        except _Return:
            raise SpecError("'return' outside of a function", statements[0].position) from None
        except _Jump:
            raise SpecError("'break' or 'continue' outside of a loop", statements[0].position) \
                from None

    def mutable(self, value: Value) -> None:
        """Raise ValueProblem when `value` may not be changed now."""
        if self._iterating[id(value)]:
            raise ValueProblem(f"the {type_name(value)} is being iterated over")

    def _step(self, position: Position) -> None:
        self._steps += 1
        if self._steps > self._max_steps:
            raise SpecError(
                f"the evaluation takes more than {self._max_steps} steps", position
            )

    # -- statements

    def block(self, statements: tuple[syntax.Node, ...], scope: _Scope) -> None:
        """Execute statements."""
        for node in statements:
            self._step(node.position)
            getattr(self, f"_run_{type(node).__name__}")(node, scope)

    def _run_Expression(self, node: syntax.Expression, scope: _Scope) -> None:  # noqa: N802
        try:
            self.evaluate(node.value, scope)
        except SpecError as error:
            if self._report is None or not self._is_request(node.value, scope):
                raise
            self._report(error)

    def _is_request(self, node: syntax.Node, scope: _Scope) -> bool:
        """Whether a statement calls one of `requests`, or what was meant as one."""
        if not isinstance(node, syntax.Call):
            return False
        node = node.function
        while isinstance(node, syntax.Attribute):
            node = node.value
        if not isinstance(node, syntax.Name):
            return False
        here: _Scope | None = scope
        while here is not None:
            if node.name in here.values or node.name in here.names:
                return False
            here = here.parent
        return node.name in self._requests or node.name not in self._universe

    def _run_Assign(self, node: syntax.Assign, scope: _Scope) -> None:  # noqa: N802
        if not node.operator:
            self._assign(node.target, self.evaluate(node.value, scope), scope)
            return
        target = node.target
        if isinstance(target, syntax.Index):
            holder = self.evaluate(target.value, scope)
            key = self.evaluate(target.index, scope)
            with self._at(target.position):
                old = operators.index(holder, key)
            new = self._augmented(node, old, self.evaluate(node.value, scope))
            with self._at(target.position):
                self._store(holder, key, new)
            return
        old = self.evaluate(target, scope)
        self._assign(target, self._augmented(node, old, self.evaluate(node.value, scope)), scope)

    def _augmented(self, node: syntax.Assign, old: Value, value: Value) -> Value:
        with self._at(node.position):
            if isinstance(old, list) and node.operator == "+":
                self.mutable(old)
                old.extend(list(iterable(value)))
                return checked(old)
            if isinstance(old, dict) and isinstance(value, dict) and node.operator == "|":
                self.mutable(old)
                old.update(value)
                return old
            return operators.binary(node.operator, old, value)

    def _assign(self, target: syntax.Node, value: Value, scope: _Scope) -> None:
        if isinstance(target, syntax.Name):
            scope.values[target.name] = value
        elif isinstance(target, syntax.Index):
            holder = self.evaluate(target.value, scope)
            key = self.evaluate(target.index, scope)
            with self._at(target.position):
                self._store(holder, key, value)
        elif isinstance(target, syntax.Sequence):
            with self._at(target.position):
                items = list(iterable(value))
                if len(items) != len(target.items):
                    raise ValueProblem(
                        f"{len(items)} values for {len(target.items)} variables"
                    )
            for one, item in zip(target.items, items, strict=True):
                self._assign(one, item, scope)
        else:
            raise SpecError("cannot assign to an attribute", target.position)

    def _store(self, holder: Value, key: Value, value: Value) -> None:
        self.mutable(holder)
        if isinstance(holder, dict):
            holder[keyed(key)] = value
            checked(holder)
        elif isinstance(holder, list):
            operators.index(holder, key)
            holder[key] = value
        else:
            raise ValueProblem(f"{type_name(holder)} cannot be changed")

    def _run_If(self, node: syntax.If, scope: _Scope) -> None:  # noqa: N802
        for test, body in node.branches:
            if truth(self.evaluate(test, scope)):
                self.block(body, scope)
                return
        self.block(node.otherwise, scope)

    @contextmanager
    def _loop(self, value: Value, position: Position) -> Iterator[Any]:
        with self._at(position):
            items = iterable(value)
        self._iterating[id(value)] += 1
        try:
            yield items
        finally:
            self._iterating[id(value)] -= 1

    def _run_For(self, node: syntax.For, scope: _Scope) -> None:  # noqa: N802
        value = self.evaluate(node.value, scope)
        with self._loop(value, node.value.position) as items:
            for item in items:
                self._step(node.position)
                self._assign(node.target, item, scope)
                try:
                    self.block(node.body, scope)
                except _Break:
                    break
                except _Continue:
                    continue

    def _run_Def(self, node: syntax.Def, scope: _Scope) -> None:  # noqa: N802
        scope.values[node.name] = self._function(node.name, node.parameters, node.body, scope)

    def _function(
        self,
        name: str,
        parameters: tuple[syntax.Parameter, ...],
        body: tuple[syntax.Node, ...] | syntax.Node,
        scope: _Scope,
    ) -> Function:
        defaults = {
            p.name: self.evaluate(p.default, scope) for p in parameters if p.default is not None
        }
        names = {p.name for p in parameters}
        if isinstance(body, tuple):
            names |= assigned(body)
        return Function(name, parameters, defaults, body, scope, frozenset(names))

    def _run_Return(self, node: syntax.Return, scope: _Scope) -> None:  # noqa: N802
        raise _Return(None if node.value is None else self.evaluate(node.value, scope))

    def _run_Jump(self, node: syntax.Jump, scope: _Scope) -> None:  # noqa: N802
        if node.kind == "break":
            raise _Break
        if node.kind == "continue":
            raise _Continue

    # -- expressions

    @contextmanager
    def _at(self, position: Position) -> Iterator[None]:
        try:
            yield
        except ValueProblem as problem:
            raise self._error(str(problem), position) from None

    def _error(self, message: str, position: Position, once: str = "") -> SpecError:
        return SpecError(message, position, stack=self._stack(), once=once)

    def _stack(self) -> tuple[str, ...]:
        """The calls that led here, but for the outermost, which the user did not write."""
        calls = [f"{at} in {function.name}()" for function, at in reversed(self._calls)]
        return tuple(calls[:-1])

    def evaluate(self, node: syntax.Node, scope: _Scope) -> Value:
        """The value of an expression. Raises SpecError."""
        self._step(node.position)
        return getattr(self, f"_eval_{type(node).__name__}")(node, scope)

    def _eval_Literal(self, node: syntax.Literal, scope: _Scope) -> Value:  # noqa: N802
        return node.value

    def _eval_Name(self, node: syntax.Name, scope: _Scope) -> Value:  # noqa: N802
        here: _Scope | None = scope
        known: set[str] = set(self._universe)
        while here is not None:
            if node.name in here.values:
                return here.values[node.name]
            if node.name in here.names:
                raise self._error(
                    f"'{node.name}' is used before it has a value", node.position,
                    once=f"name {node.name}",
                )
            known |= here.names
            here = here.parent
        if node.name in self._universe:
            return self._universe[node.name]
        hint = self._elsewhere(node.name) or suggest(node.name, known)
        raise self._error(
            f"unknown name '{node.name}'{hint}", node.position, once=f"name {node.name}"
        )

    def _elsewhere(self, name: str) -> str:
        """A hint at the module that has `name`, when just one has."""
        found = [
            f"{value.name}.{name}" for value in self._universe.values()
            if isinstance(value, Module) and name in value.members
        ]
        return f"; did you mean '{found[0]}'?" if len(found) == 1 else ""

    def _eval_Sequence(self, node: syntax.Sequence, scope: _Scope) -> Value:  # noqa: N802
        items = [self.evaluate(x, scope) for x in node.items]
        return items if node.kind == "list" else tuple(items)

    def _eval_Dict(self, node: syntax.Dict, scope: _Scope) -> Value:  # noqa: N802
        made: dict[Value, Value] = {}
        for key_node, value_node in node.pairs:
            key = self.evaluate(key_node, scope)
            value = self.evaluate(value_node, scope)
            with self._at(key_node.position):
                if keyed(key) in made:
                    raise ValueProblem("the same key twice")
                made[keyed(key)] = value
        return made

    def _eval_Unary(self, node: syntax.Unary, scope: _Scope) -> Value:  # noqa: N802
        value = self.evaluate(node.operand, scope)
        with self._at(node.position):
            return operators.unary(node.operator, value)

    def _eval_Binary(self, node: syntax.Binary, scope: _Scope) -> Value:  # noqa: N802
        left = self.evaluate(node.left, scope)
        if node.operator == "and":
            return self.evaluate(node.right, scope) if truth(left) else left
        if node.operator == "or":
            return left if truth(left) else self.evaluate(node.right, scope)
        right = self.evaluate(node.right, scope)
        with self._at(node.position):
            return operators.binary(node.operator, left, right)

    def _eval_Conditional(self, node: syntax.Conditional, scope: _Scope) -> Value:  # noqa: N802
        chosen = node.then if truth(self.evaluate(node.test, scope)) else node.otherwise
        return self.evaluate(chosen, scope)

    def _eval_Attribute(self, node: syntax.Attribute, scope: _Scope) -> Value:  # noqa: N802
        return self.attribute(self.evaluate(node.value, scope), node.name, node.position)

    def attribute(self, value: Value, name: str, position: Position) -> Value:
        """value.name. Raises SpecError."""
        if isinstance(value, Module):
            if name in value.members:
                return value.members[name]
            hint = suggest(name, value.members) or self._elsewhere(name)
            if not hint and value.members:
                hint = f"; it has {', '.join(sorted(value.members))}"
            raise self._error(f"{value.name} has no function '{name}'{hint}", position)
        methods = methods_of(value)
        if name not in methods:
            hint = suggest(name, methods)
            raise self._error(f"{type_name(value)} has no method '{name}'{hint}", position)
        method = methods[name]
        return Builtin(name, lambda interpreter, call: method(interpreter, value, call))

    def _eval_Index(self, node: syntax.Index, scope: _Scope) -> Value:  # noqa: N802
        value, key = self.evaluate(node.value, scope), self.evaluate(node.index, scope)
        with self._at(node.position):
            return operators.index(value, key)

    def _eval_Slice(self, node: syntax.Slice, scope: _Scope) -> Value:  # noqa: N802
        value = self.evaluate(node.value, scope)
        bounds = [
            None if x is None else self.evaluate(x, scope)
            for x in (node.start, node.stop, node.step)
        ]
        with self._at(node.position):
            return operators.part(value, *bounds)

    def _eval_Lambda(self, node: syntax.Lambda, scope: _Scope) -> Value:  # noqa: N802
        return self._function("lambda", node.parameters, node.body, scope)

    def _eval_Comprehension(  # noqa: N802
        self, node: syntax.Comprehension, scope: _Scope
    ) -> Value:
        items: list[Value] = []
        table: dict[Value, Value] = {}
        inner = _Scope(scope)

        def run(number: int) -> None:
            if number == len(node.clauses):
                value_first = node.key is None
                key = None if node.key is None else self.evaluate(node.key, inner)
                value = self.evaluate(node.value, inner)
                if value_first:
                    items.append(value)
                else:
                    with self._at(node.position):
                        table[keyed(key)] = value
                return
            clause = node.clauses[number]
            # The first iterable is evaluated outside: the loop's variables are not visible in it.
            value = self.evaluate(clause.value, scope if number == 0 else inner)
            if clause.target is None:
                if truth(value):
                    run(number + 1)
                return
            with self._loop(value, clause.value.position) as elements:
                for element in elements:
                    self._step(clause.position)
                    self._assign(clause.target, element, inner)
                    run(number + 1)

        run(0)
        return items if node.key is None else table

    # -- calls

    def _eval_Call(self, node: syntax.Call, scope: _Scope) -> Value:  # noqa: N802
        function = self.evaluate(node.function, scope)
        arguments: list[Value] = []
        named: dict[str, Value] = {}
        places: dict[int | str, Position] = {}
        for argument in node.arguments:
            value = self.evaluate(argument.value, scope)
            with self._at(argument.position):
                if argument.kind == "":
                    places[len(arguments)] = argument.value.position
                    arguments.append(value)
                elif argument.kind == "*":
                    for item in iterable(value):
                        places[len(arguments)] = argument.value.position
                        arguments.append(item)
                else:
                    pairs = {argument.name: value} if argument.kind == "=" else value
                    if not isinstance(pairs, dict):
                        raise ValueProblem(f"** wants a dict, not {type_name(pairs)}")
                    for key, item in pairs.items():
                        if not isinstance(key, str):
                            raise ValueProblem("** wants a dict with string keys")
                        if key in named:
                            raise ValueProblem(f"the argument '{key}' is given twice")
                        named[str(key)] = item
                        places[str(key)] = argument.value.position
                        places[f"{key}="] = argument.position
        return self.call(function, Call(node.position, tuple(arguments), named, places))

    def call(self, function: Value, call: Call) -> Value:
        """Call a value. Raises SpecError."""
        if isinstance(function, Builtin):
            with self._at(call.position):
                try:
                    return function.run(self, call)
                except SpecError as error:
                    for one in error.errors:
                        one.stack = one.stack or self._stack()
                    raise
        if not isinstance(function, Function):
            raise self._error(f"{type_name(function)} cannot be called", call.position)
        if any(active.body is function.body for active, _ in self._calls):
            raise self._error(
                f"{function.name}() calls itself: Starlark has no recursion", call.position
            )
        if len(self._calls) >= MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} calls inside each other", call.position)
        scope = _Scope(function.scope, function.locals)
        with self._at(call.position):
            scope.values.update(_bind(function, call))
        self._calls.append((function, call.position))
        try:
            if isinstance(function.body, tuple):
                self.block(function.body, scope)
                return None
            return self.evaluate(function.body, scope)
        except _Return as answer:
            return answer.value
        except _Jump:
            raise self._error("'break' or 'continue' outside of a loop", call.position) from None
        finally:
            self._calls.pop()


def _bind(function: Function, call: Call) -> dict[str, Value]:
    """Parameters -> values (Starlark spec, "Functions"). Raises ValueProblem."""
    bound: dict[str, Value] = {}
    named = dict(call.named)
    plain: list[syntax.Parameter] = []
    only_named: list[syntax.Parameter] = []
    star: str | None = None
    keywords: str | None = None
    after_star = False
    for parameter in function.parameters:
        if parameter.kind == "*":
            after_star, star = True, parameter.name
        elif parameter.kind == "**":
            keywords = parameter.name
        else:
            (only_named if after_star else plain).append(parameter)
    for parameter, value in zip(plain, call.arguments, strict=False):
        bound[parameter.name] = value
    extra = call.arguments[len(plain) :]
    if star:
        bound[star] = tuple(extra)
    elif extra:
        raise ValueProblem(
            f"{function.name}() takes {len(plain)} positional arguments, not {len(call.arguments)}"
        )
    missing = []
    for parameter in plain + only_named:
        if parameter.name in named:
            if parameter.name in bound:
                raise ValueProblem(
                    f"{function.name}() gets '{parameter.name}' twice"
                )
            bound[parameter.name] = named.pop(parameter.name)
        elif parameter.name not in bound:
            if parameter.name in function.defaults:
                bound[parameter.name] = function.defaults[parameter.name]
            else:
                missing.append(parameter.name)
    if keywords:
        bound[keywords] = named
    elif named:
        name = sorted(named)[0]
        hint = suggest(name, (p.name for p in plain + only_named))
        raise ValueProblem(f"{function.name}() has no parameter '{name}'{hint}")
    if missing:
        raise ValueProblem(f"{function.name}() lacks the argument '{missing[0]}'")
    return bound
