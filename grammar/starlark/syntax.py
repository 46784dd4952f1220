"""The syntax tree: frozen nodes, each with its position. A node equals only itself."""

from __future__ import annotations

from dataclasses import dataclass

from grammar.environment import Position


@dataclass(frozen=True, eq=False)
class Node:
    """One node. `position` is where its text begins."""

    position: Position


@dataclass(frozen=True, eq=False)
class Literal(Node):
    """A number, string or bytes literal, by its value."""

    value: int | float | str | bytes


@dataclass(frozen=True, eq=False)
class Name(Node):
    """A name that is read or bound."""

    name: str


@dataclass(frozen=True, eq=False)
class Sequence(Node):
    """A list (`kind` "list") or tuple display."""

    kind: str
    items: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Dict(Node):
    """A dict display: its (key, value) pairs in order."""

    pairs: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, eq=False)
class Unary(Node):
    """`operator operand`, where the operator is +, -, ~ or not."""

    operator: str
    operand: Node


@dataclass(frozen=True, eq=False)
class Binary(Node):
    """`left operator right`; also `and`, `or`, `in` and `not in`."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, eq=False)
class Conditional(Node):
    """`then if test else otherwise`."""

    test: Node
    then: Node
    otherwise: Node


@dataclass(frozen=True, eq=False)
class Attribute(Node):
    """`value.name`."""

    value: Node
    name: str


@dataclass(frozen=True, eq=False)
class Index(Node):
    """`value[index]`."""

    value: Node
    index: Node


@dataclass(frozen=True, eq=False)
class Slice(Node):
    """`value[start:stop:step]`; None for a part that is left out."""

    value: Node
    start: Node | None
    stop: Node | None
    step: Node | None


@dataclass(frozen=True, eq=False)
class Argument(Node):
    """`kind`: "" positional, "=" keyword, "*" or "**"."""

    kind: str
    name: str
    value: Node


@dataclass(frozen=True, eq=False)
class Call(Node):
    """`function(arguments)`."""

    function: Node
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, eq=False)
class Parameter(Node):
    """`kind`: "" plain, "*" (an empty name: keyword-only follow) or "**"."""

    kind: str
    name: str
    default: Node | None


@dataclass(frozen=True, eq=False)
class Lambda(Node):
    """`lambda parameters: body`."""

    parameters: tuple[Parameter, ...]
    body: Node


@dataclass(frozen=True, eq=False)
class Clause(Node):
    """`for target in value`, or `if value` when there is no target."""

    target: Node | None
    value: Node


@dataclass(frozen=True, eq=False)
class Comprehension(Node):
    """`key` is None for a list's."""

    key: Node | None
    value: Node
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, eq=False)
class Expression(Node):
    """An expression used as a statement."""

    value: Node


@dataclass(frozen=True, eq=False)
class Assign(Node):
    """`operator` is "" for plain assignment, "+" for += and so on."""

    target: Node
    operator: str
    value: Node


@dataclass(frozen=True, eq=False)
class If(Node):
    """`if test` with its blocks; `elif` is an If in `otherwise`."""

    branches: tuple[tuple[Node, tuple[Node, ...]], ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class For(Node):
    """`for target in value` with its block."""

    target: Node
    value: Node
    body: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Def(Node):
    """`def name(parameters)` with its block."""

    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Return(Node):
    """`return value`; None without a value."""

    value: Node | None


@dataclass(frozen=True, eq=False)
class Jump(Node):
    """`kind`: "break", "continue" or "pass"."""

    kind: str


@dataclass(frozen=True, eq=False)
class Loaded(Node):
    """`local = "name"` in a load statement."""

    local: str
    name: str


@dataclass(frozen=True, eq=False)
class Load(Node):
    """`load(module, …)`: the names that are bound, and what each is called in the module."""

    module: str
    names: tuple[Loaded, ...]
