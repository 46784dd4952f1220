"""Text -> syntax tree, with Lark. Every error is a SpecError that points at its place."""

from __future__ import annotations

from typing import Any

from grammar.environment import Position
from grammar.errors import SpecError
from grammar.starlark import syntax
from grammar.starlark.keywords import KEYWORDS, RESERVED
from grammar.starlark.limits import MAX_SOURCE, deep_stack
from grammar.starlark.literals import float_value, integer_value, string_value
from grammar.starlark.wording import about_character, about_token

_MAX_TREE = 600  # levels of Lark's tree: a bracket takes two, an operator one


def parse(text: str, filename: str) -> tuple[syntax.Node, ...]:
    """The statements of a file. Raises SpecError."""
    from grammar.starlark import tables  # noqa: PLC0415 (Lark, to parse alone)

    if len(text) > MAX_SOURCE:
        raise SpecError(f"the file is larger than {MAX_SOURCE} characters", Position(filename, 1, 1))
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        before = text[: text.index("\0")]
        where = Position(filename, before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise SpecError("a NUL byte in the file", where, text, once="NUL")
    stripped = text.rstrip(" \t\n")
    try:
        text.encode()
        with deep_stack():
            tree = tables.parser().parse(stripped + "\n")
            return _Builder(filename).block(tree.children)
    except UnicodeEncodeError as error:
        line = text[: error.start].count("\n") + 1
        raise SpecError("a lone surrogate in the file", Position(filename, line, 1), text) from None
    except tables.UnexpectedCharacters as error:
        where = Position(filename, error.line, error.column)
        raise SpecError(about_character(stripped, error.pos_in_stream or 0), where, text) from None
    except tables.UnexpectedToken as error:
        token = error.token
        line, column = token.line or 0, token.column or 1
        if token.type in ("$END", "_DEDENT") or not line:
            line, column = stripped.count("\n") + 1, len(stripped.split("\n")[-1]) + 1
        message, better = about_token(token, text, error.accepts or error.expected)
        raise SpecError(message, Position(filename, line, better or column), text) from None
    except tables.LayoutError as error:
        raise SpecError(str(error), Position(filename, error.line, error.column), text) from None
    except tables.UnexpectedInput as error:
        raise SpecError("invalid syntax", Position(filename, error.line, error.column), text) from None
    except RecursionError:
        raise SpecError("nested too deeply", Position(filename, 1, 1), text) from None
    except SpecError as error:
        raise error.with_source(text) from None


_RANKS = {"": 0, "=": 1, "*": 2, "**": 3}
_ARGUMENTS = ("positional argument", "keyword argument", "*args", "**kwargs")


class _Builder:
    """Lark's tree -> our nodes."""

    def __init__(self, filename: str) -> None:
        self._file = filename
        self._depth = 0

    def at(self, item: Any) -> Position:
        meta = getattr(item, "meta", item)
        return Position(self._file, getattr(meta, "line", 1) or 1, getattr(meta, "column", 1) or 1)

    def block(self, children: Any) -> tuple[syntax.Node, ...]:
        return tuple([self.build(c) for c in children if c is not None and hasattr(c, "data")])

    def build(self, tree: Any) -> Any:
        """The node of a Lark tree."""
        self._depth += 1
        if self._depth > _MAX_TREE:
            raise SpecError("nested too deeply", self.at(tree))
        name = str(tree.data)
        made = getattr(self, f"_{name}")(tree, tree.children, self.at(tree))
        self._depth -= 1
        return made

    def optional(self, tree: Any) -> Any:
        return None if tree is None else self.build(tree)

    # statements

    def _expr_stmt(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Expression(at, self.build(c[0]))

    def _assign(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Assign(at, self.target(self.build(c[0])), "", self.build(c[1]))

    def _augmented(self, _: Any, c: Any, at: Position) -> syntax.Node:
        target = self.build(c[0])
        if isinstance(target, syntax.Sequence):
            raise SpecError("an augmented assignment takes one target", at)
        return syntax.Assign(at, self.target(target), str(c[1])[:-1], self.build(c[2]))

    def target(self, node: syntax.Node) -> syntax.Node:
        """`node`, when it can be assigned to."""
        if isinstance(node, syntax.Sequence):
            for item in node.items:
                self.target(item)
        elif not isinstance(node, syntax.Name | syntax.Index | syntax.Attribute):
            raise SpecError("cannot assign to this", node.position)
        return node

    def _return_stmt(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Return(at, self.optional(c[1]))

    def _break_stmt(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Jump(at, "break")

    def _continue_stmt(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Jump(at, "continue")

    def _pass_stmt(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Jump(at, "pass")

    def _load_stmt(self, _: Any, c: Any, at: Position) -> syntax.Node:
        arguments = [self.build(x) for x in c[1:] if x is not None]
        for argument in arguments:
            text = argument.value
            if (
                argument.kind not in ("", "=")
                or not isinstance(text, syntax.Literal)
                or not isinstance(text.value, str)
            ):
                raise SpecError("the arguments of load() are literal strings", argument.position)
        if not arguments or arguments[0].kind:
            raise SpecError("load() begins with the module, a literal string", at)
        if len(arguments) == 1:
            raise SpecError("load() needs at least one name to load", at)
        names = []
        for argument in arguments[1:]:
            name = str(argument.value.value)
            if not name.isidentifier() or name in RESERVED or name in KEYWORDS:
                raise SpecError(f"load: '{name}' is not a valid name", argument.value.position)
            if name.startswith("_"):
                raise SpecError(
                    f"load: names with leading underscores are not exported: {name}", argument.value.position
                )
            local = argument.name or name
            names.append(syntax.Loaded(argument.position, local, name))
        return syntax.Load(at, str(arguments[0].value.value), tuple(names))

    def _suite(self, _: Any, c: Any, at: Position) -> tuple[syntax.Node, ...]:
        return self.block(c)

    def _if_stmt(self, _: Any, c: Any, at: Position) -> syntax.Node:
        branches = [(self.build(c[1]), self.build(c[2]))]
        otherwise: tuple[syntax.Node, ...] = ()
        for part in c[3:]:
            if part is not None and part.data == "elif_part":
                branches.append((self.build(part.children[1]), self.build(part.children[2])))
            elif part is not None:
                otherwise = self.build(part.children[1])
        return syntax.If(at, tuple(branches), otherwise)

    def _for_stmt(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.For(at, self.build(c[1]), self.build(c[3]), self.build(c[4]))

    def _loop_vars(self, tree: Any, c: Any, at: Position) -> syntax.Node:
        if c[-1] is not None:
            raise SpecError("a trailing comma in a tuple without parentheses", self.at(c[-1]))
        items = [self.target(self.build(x)) for x in c if x is not None]
        return items[0] if len(items) == 1 else syntax.Sequence(at, "tuple", tuple(items))

    def _def_stmt(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Def(at, str(c[1]), self.optional(c[2]) or (), self.build(c[3]))

    def _parameters(self, _: Any, c: Any, at: Position) -> tuple[syntax.Parameter, ...]:
        found = [self.build(x) for x in c if hasattr(x, "data")]
        seen: set[str] = set()
        state = 0  # 0 required, 1 defaults, 2 after *, 3 after **
        for parameter in found:
            if parameter.name and parameter.name in seen:
                raise SpecError(f"duplicate parameter: {parameter.name}", parameter.position)
            seen.add(parameter.name)
            if state == 3 or (parameter.kind == "*" and state == 2):
                after = "**" if state == 3 else "another *"
                raise SpecError(f"this parameter may not follow {after}", parameter.position)
            if parameter.kind:
                state = 2 if parameter.kind == "*" else 3
            elif parameter.default is not None:
                state = max(state, 1)
            elif state == 1:
                raise SpecError(
                    "required parameter may not follow optional: give it a default", parameter.position
                )
        for parameter, following in zip(found, [*found[1:], None], strict=True):
            if parameter.kind == "*" and not parameter.name and (following is None or following.kind):
                raise SpecError("bare * must be followed by a keyword-only parameter", parameter.position)
        return tuple(found)

    def _plain_parameter(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Parameter(at, "", str(c[0]), None)

    def _default_parameter(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Parameter(at, "", str(c[0]), self.build(c[1]))

    def _star_parameter(self, _: Any, c: Any, at: Position) -> syntax.Node:
        name = c[-1] if c and c[-1] is not None and str(c[-1]) != "*" else ""
        return syntax.Parameter(at, "*", str(name), None)

    def _kwargs_parameter(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Parameter(at, "**", str(c[-1]), None)

    # expressions

    def _expr_list(self, tree: Any, c: Any, at: Position) -> syntax.Node:
        if c[-1] is not None:
            raise SpecError("a trailing comma in a tuple without parentheses", self.at(c[-1]))
        return self._bracketed(tree)

    def _bracketed(self, tree: Any) -> syntax.Node:
        """An expr_list where brackets allow a trailing comma, which makes a tuple of one."""
        items = tuple([self.build(x) for x in tree.children if hasattr(x, "data")])
        if len(items) == 1 and tree.children[-1] is None:
            single: syntax.Node = items[0]
            return single
        return syntax.Sequence(self.at(tree), "tuple", items)

    def _parenthesised(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return self._bracketed(c[0])

    def _empty_tuple(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Sequence(at, "tuple", ())

    def _list_expr(self, _: Any, c: Any, at: Position) -> syntax.Node:
        if c[0] is None:
            return syntax.Sequence(at, "list", ())
        items = tuple([self.build(x) for x in c[0].children if hasattr(x, "data")])
        return syntax.Sequence(at, "list", items)

    def _pairs(self, c: Any) -> list[tuple[Any, Any]]:
        return [
            (self.build(x.children[0]), self.build(x.children[1]))
            for x in c
            if x is not None and getattr(x, "data", "") == "pair"
        ]

    def _dict_expr(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Dict(at, tuple(self._pairs(c)))

    def _clauses(self, c: Any) -> tuple[syntax.Clause, ...]:
        found = []
        for item in c:
            if item.data == "comp_for":
                found.append(
                    syntax.Clause(self.at(item), self.build(item.children[1]), self.build(item.children[3]))
                )
            else:
                found.append(syntax.Clause(self.at(item), None, self.build(item.children[1])))
        if found[0].target is None:
            raise SpecError("a comprehension begins with 'for'", found[0].position)
        return tuple(found)

    def _list_comp(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Comprehension(at, None, self.build(c[0]), self._clauses(c[1:]))

    def _dict_comp(self, _: Any, c: Any, at: Position) -> syntax.Node:
        ((key, value),) = self._pairs(c[:1])
        return syntax.Comprehension(at, key, value, self._clauses(c[1:]))

    def _conditional(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Conditional(at, self.build(c[2]), self.build(c[0]), self.build(c[4]))

    def _lambda_expr(self, _: Any, c: Any, at: Position) -> syntax.Node:
        if c[1] is not None and c[1].children[-1] is not None and not hasattr(c[1].children[-1], "data"):
            raise SpecError("unexpected ',' after the parameters", self.at(c[1].children[-1]))
        return syntax.Lambda(at, self.optional(c[1]) or (), self.build(c[2]))

    def _binary(self, tree: Any, _: Any, __: Position) -> syntax.Node:
        """A chain of binary operators, which is as deep as it is long: without recursion."""
        chain = []
        while tree.data == "binary":
            chain.append(tree)
            tree = tree.children[0]
        node: syntax.Node = self.build(tree)
        compared = False
        for tree in reversed(chain):
            operator, at = tree.children[1], self.at(tree.children[1])
            comparison = getattr(operator, "data", "") == "compare_op"
            if comparison and compared:
                raise SpecError("comparisons cannot be chained: use 'and'", at)
            compared = comparison
            text = " ".join(operator.children) if comparison else str(operator)
            node = syntax.Binary(at, text, node, self.build(tree.children[2]))
        return node

    def _unary(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Unary(at, str(c[0]), self.build(c[1]))

    def _attribute(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Attribute(self.at(c[1]), self.build(c[0]), str(c[1]))

    def _call(self, _: Any, c: Any, at: Position) -> syntax.Node:
        function = self.build(c[0])
        arguments = tuple([self.build(x) for x in c[1:] if x is not None])
        level = 0
        names: set[str] = set()
        for argument in arguments:
            rank = _RANKS[argument.kind]
            if rank < level or (rank == level and rank > 1):
                raise SpecError(
                    f"{_ARGUMENTS[rank]} may not follow {_ARGUMENTS[level]}: arguments go in the "
                    "order f(a, b=1, *c, **d)",
                    argument.position,
                )
            level = rank
            if argument.name in names:
                raise SpecError(f"keyword argument '{argument.name}' is repeated", argument.position)
            if argument.kind == "=":
                names.add(argument.name)
        return syntax.Call(at, function, arguments)

    def _plain_argument(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Argument(at, "", "", self.build(c[0]))

    def _keyword_argument(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Argument(at, "=", str(c[0]), self.build(c[1]))

    def _star_argument(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Argument(at, "*", "", self.build(c[-1]))

    def _kwargs_argument(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Argument(at, "**", "", self.build(c[-1]))

    def _index(self, _: Any, c: Any, at: Position) -> syntax.Node:
        value, inner = self.build(c[0]), c[1]
        if inner.data == "plain_index":
            return syntax.Index(at, value, self._bracketed(inner.children[0]))
        parts: list[Any] = [None, None, None]
        number = 0
        for child in inner.children:
            if child is not None and not hasattr(child, "data"):
                number += 1
            elif child is not None:
                parts[number] = self.build(child)
        return syntax.Slice(at, value, *parts)

    def _name(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Name(at, str(c[0]))

    def _integer(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Literal(at, integer_value(str(c[0]), at))

    def _float_number(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Literal(at, float_value(str(c[0]), at))

    def _string(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Literal(at, string_value(str(c[0]), at))
