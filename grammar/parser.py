"""Text -> syntax tree, with Lark. Every error is a SpecError that points at its place."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grammar import syntax
from grammar.environment import Position
from grammar.errors import SpecError
from grammar.literals import string_value

if TYPE_CHECKING:
    from lark import Lark

_NOT_IN_STARLARK = {
    "import": "Starlark has no 'import'", "from": "Starlark has no 'from … import'",
    "class": "Starlark has no classes", "while": "Starlark has no 'while': use 'for'",
    "try": "Starlark has no exceptions", "except": "Starlark has no exceptions",
    "raise": "Starlark has no exceptions: use fail()", "with": "Starlark has no 'with'",
    "global": "Starlark has no 'global'", "nonlocal": "Starlark has no 'nonlocal'",
    "yield": "Starlark has no generators", "async": "Starlark has no 'async'",
    "await": "Starlark has no 'await'", "del": "Starlark has no 'del'",
    "assert": "Starlark has no 'assert': use fail()", "is": "Starlark has no 'is': use '=='",
    "finally": "Starlark has no exceptions", "as": "'as' is a reserved word",
}
_SHOWN = {
    "_NEWLINE": "the end of the line", "_INDENT": "an indented block", "_DEDENT": "a dedent",
    "$END": "the end of the file", "NAME": "a name",
}
MAX_SIZE = 1 << 20  # characters of a spec


@cache
def _lark() -> Lark:
    from lark import Lark
    from lark.indenter import Indenter

    class Indentation(Indenter):
        NL_type = "_NEWLINE"
        OPEN_PAREN_types = ["LPAR", "LSQB", "LBRACE"] # noqa: RUF012
        CLOSE_PAREN_types = ["RPAR", "RSQB", "RBRACE"] # noqa: RUF012
        INDENT_type = "_INDENT"
        DEDENT_type = "_DEDENT"
        tab_len = 8

    text = (Path(__file__).parent / "starlark.lark").read_text("utf-8")
    return Lark(
        text, parser="lalr", postlex=Indentation(), propagate_positions=True, maybe_placeholders=True
    )


def parse(text: str, filename: str) -> tuple[syntax.Node, ...]:
    """The statements of a file. Raises SpecError."""
    from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken
    from lark.indenter import DedentError

    if len(text) > MAX_SIZE:
        raise SpecError(f"the file is larger than {MAX_SIZE} characters", Position(filename, 1, 1))
    for character, name in (("\0", "NUL byte"), ("\f", "form feed")):
        if character in text:
            line = text[: text.index(character)].count("\n") + 1
            raise SpecError(f"a {name} in the file", Position(filename, line, 1), text)
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    try:
        tree = _lark().parse(text.rstrip() + "\n")
        return _Builder(filename).block(tree.children)
    except UnexpectedCharacters as error:
        where = Position(filename, error.line, error.column)
        raise SpecError(_about_character(text, error.pos_in_stream or 0), where, text) from None
    except UnexpectedToken as error:
        token = error.token
        end = text.rstrip().count("\n") + 1
        line, column = token.line or end, token.column or 1
        if token.type == "$END" or not token.line:
            line, column = end, len(text.rstrip().split("\n")[-1]) + 1
        raise SpecError(_about_token(token, text), Position(filename, line, column), text) from None
    except DedentError:
        where = Position(filename, *_bad_dedent(text))
        raise SpecError("the indentation fits no block above", where, text) from None
    except UnexpectedInput as error:
        raise SpecError("invalid syntax", Position(filename, error.line, error.column), text) \
            from None
    except AssertionError:
        raise SpecError("unbalanced brackets", Position(filename, 1, 1), text) from None
    except RecursionError:
        raise SpecError("nested too deeply", Position(filename, 1, 1), text) from None
    except SpecError as error:
        raise error.with_source(text) from None


def _about_character(text: str, position: int) -> str:
    character = text[position : position + 1]
    if character in "\"'":
        return "a string that does not end"
    return f"unexpected character {character!r}" if character else "unexpected end of the file"


def _about_token(token: Any, text: str) -> str:
    value = str(token)
    lines = text.split("\n")
    line = lines[token.line - 1] if token.line and token.line <= len(lines) else ""
    first = line.split()[0].rstrip(":") if line.split() else ""
    for word in (value, first):
        if word in _NOT_IN_STARLARK:
            return _NOT_IN_STARLARK[word]
    if token.type == "STRING":
        before = line[: (token.column or 1) - 1]
        if before.endswith(("f", "F")):
            return "Starlark has no f-strings: use '…'.format(…)"
        return "two strings side by side: join them with '+', or is a comma missing?"
    if token.type == "_INDENT":
        return "unexpected indentation"
    if token.type in ("_NEWLINE", "$END", "_DEDENT"):
        return f"unexpected {_SHOWN[token.type]}"
    return f"unexpected '{value}'"


def _bad_dedent(text: str) -> tuple[int, int]:
    levels = [0]
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        width = len(line.expandtabs(8)) - len(line.expandtabs(8).lstrip())
        while width < levels[-1]:
            levels.pop()
            if width > levels[-1]:
                return number, width + 1
        if width > levels[-1]:
            levels.append(width)
    return 1, 1


class _Builder:
    """Lark's tree -> our nodes."""

    def __init__(self, filename: str) -> None:
        self._file = filename

    def at(self, item: Any) -> Position:
        meta = getattr(item, "meta", item)
        return Position(self._file, getattr(meta, "line", 1) or 1, getattr(meta, "column", 1) or 1)

    def block(self, children: Any) -> tuple[syntax.Node, ...]:
        return tuple(self.build(c) for c in children if c is not None and hasattr(c, "data"))

    def build(self, tree: Any) -> Any:
        """The node of a Lark tree."""
        name = str(tree.data)
        return getattr(self, f"_{name}")(tree, tree.children, self.at(tree))

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
        if isinstance(node, syntax.Sequence) and node.items:
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
        raise SpecError("load() is not supported: put everything into one file", at)

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
        items = [self.target(self.build(x)) for x in c if x is not None]
        return items[0] if len(items) == 1 else syntax.Sequence(at, "tuple", tuple(items))

    def _def_stmt(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Def(at, str(c[1]), self.optional(c[2]) or (), self.build(c[3]))

    def _parameters(self, _: Any, c: Any, at: Position) -> tuple[syntax.Parameter, ...]:
        found = [self.build(x) for x in c if x is not None]
        seen: set[str] = set()
        state = 0  # 0 required, 1 defaults, 2 after *, 3 after **
        for parameter in found:
            if parameter.name and parameter.name in seen:
                raise SpecError(f"two parameters '{parameter.name}'", parameter.position)
            seen.add(parameter.name)
            if state == 3 or (parameter.kind == "*" and state == 2):
                raise SpecError("no parameter may follow here", parameter.position)
            if parameter.kind:
                state = 2 if parameter.kind == "*" else 3
            elif parameter.default is not None:
                state = max(state, 1)
            elif state == 1:
                raise SpecError(
                    "a parameter without a default after one with", parameter.position
                )
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

    def _expr_list(self, _: Any, c: Any, at: Position) -> syntax.Node:
        items = tuple(self.build(x) for x in c if hasattr(x, "data"))
        if len(items) == 1 and c[-1] is None:
            single: syntax.Node = items[0]
            return single
        return syntax.Sequence(at, "tuple", items)

    def _parenthesised(self, _: Any, c: Any, at: Position) -> syntax.Node:
        node: syntax.Node = self.build(c[0])
        return node

    def _empty_tuple(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Sequence(at, "tuple", ())

    def _list_expr(self, _: Any, c: Any, at: Position) -> syntax.Node:
        if c[0] is None:
            return syntax.Sequence(at, "list", ())
        items = tuple(self.build(x) for x in c[0].children if hasattr(x, "data"))
        return syntax.Sequence(at, "list", items)

    def _pairs(self, c: Any) -> list[tuple[Any, Any]]:
        return [(self.build(x.children[0]), self.build(x.children[1]))
                for x in c if x is not None and getattr(x, "data", "") == "pair"]

    def _dict_expr(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Dict(at, tuple(self._pairs(c)))

    def _clauses(self, c: Any) -> tuple[syntax.Clause, ...]:
        found = []
        for item in c:
            if item.data == "comp_for":
                found.append(syntax.Clause(
                    self.at(item), self.build(item.children[1]), self.build(item.children[3])))
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
        return syntax.Lambda(at, self.optional(c[1]) or (), self.build(c[2]))

    def _binary(self, _: Any, c: Any, at: Position) -> syntax.Node:
        operator = c[1]
        if getattr(operator, "data", "") == "compare_op":
            text = " ".join(str(x) for x in operator.children)
            at = self.at(operator)
            if getattr(c[0], "data", "") == "binary" and \
                    getattr(c[0].children[1], "data", "") == "compare_op":
                raise SpecError("comparisons cannot be chained: use 'and'", at)
        else:
            text, at = str(operator), self.at(operator)
        return syntax.Binary(at, text, self.build(c[0]), self.build(c[2]))

    def _operator(self, text: str, c: Any, at: Position) -> syntax.Node:
        return syntax.Binary(at, text, self.build(c[0]), self.build(c[1]))

    def _bit_or_op(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return self._operator("|", c, at)

    def _bit_xor_op(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return self._operator("^", c, at)

    def _bit_and_op(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return self._operator("&", c, at)

    def _unary(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Unary(at, str(c[0]), self.build(c[1]))

    def _attribute(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Attribute(self.at(c[1]), self.build(c[0]), str(c[1]))

    def _call(self, _: Any, c: Any, at: Position) -> syntax.Node:
        arguments = tuple(self.build(x) for x in c[1:] if x is not None)
        level = 0
        for argument in arguments:
            rank = {"": 0, "=": 1, "*": 2, "**": 3}[argument.kind]
            if rank < level:
                raise SpecError("arguments go in the order f(a, b=1, *c, **d)", argument.position)
            level = rank
        return syntax.Call(at, self.build(c[0]), arguments)

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
            return syntax.Index(at, value, self.build(inner.children[0]))
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
        text = str(c[0])
        if len(text) > 1 and text[0] == "0" and text.isdigit() and text.strip("0"):
            raise SpecError(f"an octal number is written 0o{text.lstrip('0')}", at)
        if len(text) > 4000:
            raise SpecError("a number of more than 4000 digits", at)
        return syntax.Literal(at, int(text, 0) if text.strip("0") else 0)

    def _float_number(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Literal(at, float(c[0]))

    def _string(self, _: Any, c: Any, at: Position) -> syntax.Node:
        return syntax.Literal(at, string_value(str(c[0]), at))
