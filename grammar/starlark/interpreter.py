"""Evaluation of a module, with limits on steps, memory and depth.

Scoping, argument binding and the ban on recursion follow the Starlark specification. Every
failure is a SpecError with the position of the innermost expression and the calls above it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Set

from grammar.environment import Position
from grammar.errors import SpecError, together
from grammar.nearest import suggest
from grammar.starlark import syntax
from grammar.starlark.binding import bind
from grammar.starlark.compiler import UNBOUND, Compiler
from grammar.starlark.limits import MAX_CALLS, MAX_STEPS, Meter, deep_stack
from grammar.starlark.methods import methods_of
from grammar.starlark.resolver import STANDARD, Code, Dialect, resolve
from grammar.starlark.values import (
    Builtin,
    Call,
    Cell,
    Function,
    Module,
    Value,
    ValueProblem,
    adopt,
    freeze,
    type_name,
)

# What load() gives: the globals of the module that it names.
Loader = Callable[[str, Position], Mapping[str, Value]]


class Interpreter:
    """One evaluation."""

    def __init__(
        self,
        universe: Mapping[str, Value],
        max_steps: int = MAX_STEPS,
        requests: Set[str] = frozenset(),
        report: Callable[[SpecError], None] | None = None,
        dialect: Dialect = STANDARD,
        loader: Loader | None = None,
    ) -> None:
        """`requests` are names of `universe` whose calls only ask for something: when one fails as
        a statement, `report` gets the error and evaluation goes on, for nothing depends on it.
        Without `loader`, load() is an error."""
        self.universe = universe
        self.requests = requests
        self.reports = report is not None
        self._report = report
        self._dialect = dialect
        self._loader = loader
        self.meter = Meter(max_steps)
        self.globals: dict[str, Value] = {}
        self._calls: list[tuple[Function, Position]] = []
        self._active: set[int] = set()  # ids of the code that is running

    # -- entry

    def another(self) -> Interpreter:
        """An interpreter for one more module of this evaluation: limits and calls are shared."""
        made = Interpreter(self.universe, 0, self.requests, self._report, self._dialect, self._loader)
        made.meter, made._calls, made._active = self.meter, self._calls, self._active
        return made

    def run(self, statements: tuple[syntax.Node, ...]) -> Mapping[str, Value]:
        """Execute a module, and freeze it; its globals. Raises SpecError."""
        with deep_stack():
            resolution = resolve(statements, self.universe, self._dialect, self._hint)
            if self._report is None:
                resolution.errors.extend(resolution.unknown)
            else:  # one name that means nothing need not hide what else is wrong
                for error in resolution.unknown:
                    self._report(error)
            if resolution.errors:
                raise together(resolution.errors)
            module = resolution.module
            try:
                execute = Compiler(self, resolution).module(statements) if statements else None
                if execute is not None:
                    execute(self._frame(module))
            except RecursionError:
                raise self._too_deep(module.position) from None
        freeze(self.globals.values())
        return self.globals

    def enter(self, function: Function) -> Value:
        """Call a function of the module without arguments, as its entry. Raises SpecError."""
        position = function.code.position
        with deep_stack():
            try:
                return self.call(function, Call(position, (), {}))
            except RecursionError:
                raise self._too_deep(position) from None

    def _too_deep(self, start: Position) -> SpecError:
        position = self._calls[-1][1] if self._calls else start
        self._calls.clear()
        self._active.clear()
        return SpecError("the evaluation is nested too deeply", position)

    # -- for what was compiled

    def error(self, message: str, position: Position, once: str = "") -> SpecError:
        """An error at `position`, with the calls above it."""
        return SpecError(message, position, stack=self._stack(), once=once)

    def _stack(self) -> list[str]:
        """The calls that led here, but for that of `enter`, which the user did not write."""
        stack = [f"{at} in {function.name}()" for function, at in reversed(self._calls)]
        if self._calls and self._calls[0][1] is self._calls[0][0].code.position:
            stack.pop()
        if len(stack) > 20:
            stack[10:-10] = ["…"]
        return stack

    def report(self, error: SpecError) -> None:
        """Hand an error to who collects them."""
        assert self._report is not None
        self._report(error)

    def unknown(self, node: syntax.Name) -> SpecError:
        """The error of a name that means nothing."""
        hint = self._hint(node.name, [*self.universe, *self.globals])
        return self.error(f"unknown name '{node.name[:80]}'{hint}", node.position, once=f"name {node.name}")

    def _hint(self, name: str, known: Collection[str]) -> str:
        return self._elsewhere(name) or suggest(name, known)

    def _elsewhere(self, name: str) -> str:
        """A hint at the module that has `name`, when just one has."""
        found = [
            f"{value.name}.{name}"
            for value in self.universe.values()
            if isinstance(value, Module) and name in value.members
        ]
        return f"; did you mean '{found[0]}'?" if len(found) == 1 else ""

    def attribute(self, value: Value, name: str, position: Position) -> Value:
        """value.name. Raises SpecError."""
        if isinstance(value, Module):
            if name in value.members:
                return value.members[name]
            hint = suggest(name, value.members) or self._elsewhere(name)
            if not hint and value.members:
                hint = f"; it has {', '.join(sorted(value.members))}"
            raise self.error(f"{value.name} has no function '{name}'{hint}", position)
        if isinstance(value, Builtin | Function):
            raise self.error(
                f"{value.name} is a function and has no '{name}': call it, {value.name}(…)", position
            )
        methods = methods_of(value)
        method = methods.get(name)
        if method is None:
            kind = type_name(value)
            hint = suggest(name, methods)
            raise self.error(f"{kind} has no .{name[:80]} field or method{hint}", position)
        return Builtin(name, lambda interpreter, call: method(interpreter, value, call), type_name(value))

    def load(self, node: syntax.Load) -> None:
        """Execute a load statement. Raises SpecError."""
        if self._loader is None:
            raise self.error("load() is not supported: put everything into one file", node.position)
        found = self._loader(node.module, node.position)
        for loaded in node.names:
            if loaded.name not in found:
                hint = suggest(loaded.name, found)
                raise self.error(
                    f"load: name '{loaded.name}' not found in module {node.module}{hint}", loaded.position
                )
            self.globals[loaded.local] = found[loaded.name]

    # -- calls

    def call(self, function: Value, call: Call) -> Value:
        """Call a value. Raises SpecError."""
        if isinstance(function, Builtin):
            try:
                self.meter.work(3)
                return adopt(function.run(self, call))
            except SpecError as error:
                for one in error.errors:
                    one.stack = one.stack or tuple(self._stack())
                raise
            except ValueProblem as problem:
                raise self.error(str(problem), call.position) from None
            except OverflowError:
                raise self.error("an int out of its range", call.position) from None
        if isinstance(function, Module):
            members = ", ".join(sorted(function.members))
            raise self.error(
                f"{function.name} is a module: call one of its functions, {members}", call.position
            )
        if not isinstance(function, Function):
            raise self.error(
                f"invalid call of non-function: {type_name(function)} is not callable", call.position
            )
        code = function.code
        if id(code) in self._active and not self._dialect.recursion:
            raise self.error(
                f"function {function.name} called recursively: Starlark has no recursion", call.position
            )
        if len(self._calls) >= MAX_CALLS:
            raise self.error(f"more than {MAX_CALLS} calls inside each other", call.position)
        frame = self._frame(code)
        try:
            self.meter.work(5 + code.size)
            values = bind(function, call)
        except ValueProblem as problem:
            raise self.error(str(problem), call.position) from None
        for number, variable in enumerate(code.own[: len(values)]):
            slot = code.slots[variable]
            if variable.captured:
                frame[slot].value = values[number]
            else:
                frame[slot] = values[number]
        for variable, cell in zip(code.free, function.free, strict=True):
            frame[code.slots[variable]] = cell
        self._calls.append((function, call.position))
        added = id(code) not in self._active
        self._active.add(id(code))
        try:
            return function.run(frame)
        finally:
            self._calls.pop()
            if added:
                self._active.discard(id(code))

    def _frame(self, code: Code) -> list[Value]:
        frame: list[Value] = [UNBOUND] * code.size
        frame[0] = None
        for variable in code.own:
            if variable.captured:
                frame[code.slots[variable]] = Cell(UNBOUND)
        return frame
