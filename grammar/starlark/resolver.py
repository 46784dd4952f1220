"""Names -> variables, before anything is executed (Starlark spec, "Name binding and variables").

Every block that binds names is found, every use of a name is tied to its binding, and what the
specification calls a static error is collected: names without a binding, globals bound twice,
statements where they may not stand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from grammar.environment import Position
from grammar.errors import MAX_ERRORS, SpecError
from grammar.starlark import syntax


@dataclass(frozen=True)
class Dialect:
    """What the specification forbids and an application may allow."""

    top_level_control: bool = False  # `if` and `for` outside of functions
    global_reassign: bool = False
    recursion: bool = False


STANDARD = Dialect()


@dataclass(eq=False)
class Variable:
    """A binding. `code` is None for a global; `captured`: inner functions use it too."""

    name: str
    position: Position
    code: Code | None
    captured: bool = False


@dataclass(eq=False)
class Code:
    """A function, or the module: its variables and the slots that they have in its frames. Slot 0
    is for what it returns."""

    name: str
    parameters: tuple[syntax.Parameter, ...]
    body: tuple[syntax.Node, ...] | syntax.Node
    position: Position
    outer: Code | None = None
    slots: dict[Variable, int] = field(default_factory=dict)
    own: list[Variable] = field(default_factory=list)  # without what comprehensions bind
    free: list[Variable] = field(default_factory=list)  # of functions around it
    size: int = 1
    plain: int = 0  # parameters that can be given by position

    def __post_init__(self) -> None:
        kinds = [parameter.kind for parameter in self.parameters]
        self.plain = next((i for i, kind in enumerate(kinds) if kind), len(kinds))

    def add(self, variable: Variable) -> None:
        """Give a variable a slot."""
        self.slots[variable] = self.size
        self.size += 1


@dataclass(eq=False)
class _Block:
    """The names that a function or a comprehension binds."""

    code: Code
    outer: _Block | None
    names: dict[str, Variable] = field(default_factory=dict)


@dataclass(eq=False)
class Resolution:
    """What a module's names mean. Nodes are known by identity.

    `uses` ties Name nodes to variables (a name that is not in it is predeclared, or unknown);
    `codes` are those of Def and Lambda nodes; `bound` are the variables of a Comprehension.
    """

    module: Code
    globals: dict[str, Variable] = field(default_factory=dict)
    uses: dict[int, Variable] = field(default_factory=dict)
    codes: dict[int, Code] = field(default_factory=dict)
    bound: dict[int, list[Variable]] = field(default_factory=dict)
    errors: list[SpecError] = field(default_factory=list)
    unknown: list[SpecError] = field(default_factory=list)  # names without a binding


def names_in(target: syntax.Node) -> Iterator[syntax.Name]:
    """The names that an assignment to `target` binds."""
    if isinstance(target, syntax.Name):
        yield target
    elif isinstance(target, syntax.Sequence):
        for item in target.items:
            yield from names_in(item)


def bindings(body: tuple[syntax.Node, ...]) -> Iterator[tuple[str, syntax.Node]]:
    """The names that statements bind in their own block, with the nodes that do."""
    for node in body:
        if isinstance(node, syntax.Assign):
            yield from ((name.name, name) for name in names_in(node.target))
        elif isinstance(node, syntax.For):
            yield from ((name.name, name) for name in names_in(node.target))
            yield from bindings(node.body)
        elif isinstance(node, syntax.If):
            for _, block in node.branches:
                yield from bindings(block)
            yield from bindings(node.otherwise)
        elif isinstance(node, syntax.Def):
            yield node.name, node
        elif isinstance(node, syntax.Load):
            yield from ((loaded.local, loaded) for loaded in node.names)


def resolve(
    statements: tuple[syntax.Node, ...],
    predeclared: Collection[str],
    dialect: Dialect = STANDARD,
    unknown: Callable[[str, Collection[str]], str] = lambda name, known: "",
) -> Resolution:
    """The names of a module. `unknown` gives a hint at an unknown name, from the known ones."""
    return _Resolver(statements, predeclared, dialect, unknown).result


class _Resolver:
    def __init__(
        self,
        statements: tuple[syntax.Node, ...],
        predeclared: Collection[str],
        dialect: Dialect,
        hint: Callable[[str, Collection[str]], str],
    ) -> None:
        start = statements[0].position if statements else Position("", 1, 1)
        module = Code("<module>", (), statements, start)
        self.result = Resolution(module)
        self._predeclared = predeclared
        self._dialect = dialect
        self._hint = hint
        self._loops = 0
        self._block: _Block | None = None
        self._code = module
        self._globals(statements)
        self._statements(statements)
        self.result.errors.sort(key=lambda error: error.position)

    def _error(self, message: str, position: Position) -> None:
        self.result.errors.append(SpecError(message, position))

    def _globals(self, statements: tuple[syntax.Node, ...]) -> None:
        found = self.result.globals
        for name, node in bindings(statements):
            if name not in found:
                found[name] = Variable(name, node.position, None)
            elif not self._dialect.global_reassign or isinstance(node, syntax.Loaded):
                line = found[name].position.line
                self._error(f"cannot reassign global {name} declared on line {line}", node.position)

    # -- statements

    def _statements(self, statements: tuple[syntax.Node, ...]) -> None:
        for node in statements:
            self._statement(node)

    def _statement(self, node: syntax.Node) -> None:
        if isinstance(node, syntax.Expression):
            self._expression(node.value)
        elif isinstance(node, syntax.Assign):
            self._expression(node.value)
            self._expression(node.target)
        elif isinstance(node, syntax.If):
            self._control("if", node)
            for test, body in node.branches:
                self._expression(test)
                self._statements(body)
            self._statements(node.otherwise)
        elif isinstance(node, syntax.For):
            self._control("for", node)
            self._expression(node.value)
            self._expression(node.target)
            self._loops += 1
            self._statements(node.body)
            self._loops -= 1
        elif isinstance(node, syntax.Def):
            self._function(node, node.name, node.parameters, node.body)
        elif isinstance(node, syntax.Return):
            if self._block is None:
                self._error("return statement not within a function", node.position)
            if node.value is not None:
                self._expression(node.value)
        elif isinstance(node, syntax.Jump):
            if node.kind != "pass" and not self._loops:
                self._error(f"{node.kind} statement not within a loop", node.position)
        elif isinstance(node, syntax.Load) and (self._block or self._loops):
            self._error("load statement within a function", node.position)

    def _control(self, kind: str, node: syntax.Node) -> None:
        if self._block is None and not self._dialect.top_level_control:
            self._error(f"{kind} statement not within a function: move it into a `def`", node.position)

    def _function(
        self,
        node: syntax.Node,
        name: str,
        parameters: tuple[syntax.Parameter, ...],
        body: tuple[syntax.Node, ...] | syntax.Node,
    ) -> None:
        for parameter in parameters:
            if parameter.default is not None:
                self._expression(parameter.default)
        code = Code(name, parameters, body, node.position, self._code)
        self.result.codes[id(node)] = code
        outer, loops = self._block, self._loops
        self._block, self._code, self._loops = _Block(code, outer), code, 0
        for parameter in parameters:
            if parameter.name:
                self._bind(parameter.name, parameter.position)
        if isinstance(body, tuple):
            for local, place in bindings(body):
                if local not in self._block.names:
                    self._bind(local, place.position)
            self._statements(body)
        else:
            self._expression(body)
        assert code.outer is not None
        self._block, self._code, self._loops = outer, code.outer, loops

    def _bind(self, name: str, position: Position) -> Variable:
        assert self._block is not None
        variable = Variable(name, position, self._code)
        self._block.names[name] = variable
        self._code.add(variable)
        self._code.own.append(variable)
        return variable

    # -- expressions

    def _expression(self, node: syntax.Node) -> None:
        # A chain of operators is as deep as it is long.
        while isinstance(node, syntax.Binary):
            self._expression(node.right)
            node = node.left
        if isinstance(node, syntax.Name):
            self._use(node)
        elif isinstance(node, syntax.Lambda):
            self._function(node, "lambda", node.parameters, node.body)
        elif isinstance(node, syntax.Comprehension):
            self._comprehension(node)
        else:
            for child in children(node):
                self._expression(child)

    def _comprehension(self, node: syntax.Comprehension) -> None:
        # The first operand is outside of the block that the comprehension is.
        self._expression(node.clauses[0].value)
        self._block = _Block(self._code, self._block)
        bound: list[Variable] = []
        for clause in node.clauses:
            for name in names_in(clause.target) if clause.target is not None else ():
                if name.name not in self._block.names:
                    bound.append(self._bind(name.name, name.position))
                    self._code.own.pop()  # made anew by each evaluation of the comprehension
        self.result.bound[id(node)] = bound
        for number, clause in enumerate(node.clauses):
            if number:
                self._expression(clause.value)
            if clause.target is not None:
                self._expression(clause.target)
        if node.key is not None:
            self._expression(node.key)
        self._expression(node.value)
        self._block = self._block.outer

    def _use(self, node: syntax.Name) -> None:
        block = self._block
        while block is not None:
            variable = block.names.get(node.name)
            if variable is not None:
                self._capture(variable)
                self.result.uses[id(node)] = variable
                return
            block = block.outer
        if node.name in self.result.globals:
            self.result.uses[id(node)] = self.result.globals[node.name]
        elif node.name not in self._predeclared:
            # A hint compares with every name: only as many as anybody reads.
            hint = self._hint(node.name, self._known()) if len(self.result.unknown) < MAX_ERRORS else ""
            self.result.unknown.append(
                SpecError(f"unknown name '{node.name[:80]}'{hint}", node.position, once=f"name {node.name}")
            )

    def _known(self) -> set[str]:
        known = {*self._predeclared, *self.result.globals}
        block = self._block
        while block is not None:
            known.update(block.names)
            block = block.outer
        return known

    def _capture(self, variable: Variable) -> None:
        """Hand a variable of an outer function down to the current one."""
        code: Code | None = self._code
        while code is not None and code is not variable.code:
            variable.captured = True
            if variable not in code.slots:
                code.add(variable)
                code.free.append(variable)
            code = code.outer


def children(node: syntax.Node) -> Iterator[syntax.Node]:
    """The expressions right below an expression, in the order of evaluation."""
    if isinstance(node, syntax.Sequence):
        yield from node.items
    elif isinstance(node, syntax.Dict):
        for key, value in node.pairs:
            yield key
            yield value
    elif isinstance(node, syntax.Unary):
        yield node.operand
    elif isinstance(node, syntax.Conditional):
        yield from (node.test, node.then, node.otherwise)
    elif isinstance(node, syntax.Attribute):
        yield node.value
    elif isinstance(node, syntax.Index):
        yield from (node.value, node.index)
    elif isinstance(node, syntax.Slice):
        yield node.value
        yield from (x for x in (node.start, node.stop, node.step) if x is not None)
    elif isinstance(node, syntax.Call):
        yield node.function
        yield from (argument.value for argument in node.arguments)
