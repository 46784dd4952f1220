"""The syntax tree: frozen nodes, each with its position. A node equals only itself."""

from __future__ import annotations

from dataclasses import dataclass

from grammar.environment import Position


@dataclass(frozen=True, eq=False)
class Node:
    position: Position


@dataclass(frozen=True, eq=False)
class Literal(Node):
    value: int | float | str | bytes


@dataclass(frozen=True, eq=False)
class Name(Node):
    name: str


@dataclass(frozen=True, eq=False)
class Sequence(Node):
    """A list (`kind` "list") or tuple display."""

    kind: str
    items: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Dict(Node):
    pairs: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, eq=False)
class Unary(Node):
    operator: str
    operand: Node


@dataclass(frozen=True, eq=False)
class Binary(Node):
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, eq=False)
class Conditional(Node):
    test: Node
    then: Node
    otherwise: Node


@dataclass(frozen=True, eq=False)
class Attribute(Node):
    value: Node
    name: str


@dataclass(frozen=True, eq=False)
class Index(Node):
    value: Node
    index: Node


@dataclass(frozen=True, eq=False)
class Slice(Node):
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
    value: Node


@dataclass(frozen=True, eq=False)
class Assign(Node):
    """`operator` is "" for plain assignment, "+" for += and so on."""

    target: Node
    operator: str
    value: Node


@dataclass(frozen=True, eq=False)
class If(Node):
    branches: tuple[tuple[Node, tuple[Node, ...]], ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class For(Node):
    target: Node
    value: Node
    body: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Def(Node):
    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Return(Node):
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
    module: str
    names: tuple[Loaded, ...]
