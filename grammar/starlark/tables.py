"""The parser: Lark's LALR(1) tables for starlark.lark, kept in tables.json.

Computing them takes about 100 ms, loading them 4. `python -m grammar.starlark.tables` (`make tables`) writes
the file anew; a file that does not fit the grammar or the installed Lark is ignored.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import lark
from lark import Lark
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from grammar.starlark.layout import Layout, LayoutError

# The parser, and what it raises: Lark comes with this module alone.
__all__ = ["LayoutError", "UnexpectedCharacters", "UnexpectedInput", "UnexpectedToken", "parser"]

_GRAMMAR = Path(__file__).parent / "starlark.lark"
_TABLES = Path(__file__).parent / "tables.json"


@cache
def parser() -> Lark:
    """The parser of Starlark files."""
    grammar = _GRAMMAR.read_bytes()
    try:
        kept = json.loads(_TABLES.read_bytes(), object_hook=_numbered)
        if kept["for"] == _identity(grammar):
            load: Any = Lark._load_from_dict  # what Lark's own stand-alone parsers call
            loaded: Lark = load(kept["data"], kept["memo"], postlex=Layout())
            return loaded
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return _computed(grammar, Layout())


def _numbered(table: dict[str, Any]) -> dict[str | int, Any]:
    """JSON has no numbers as keys, and Lark's tables have."""
    return {int(key) if key.isdigit() else key: value for key, value in table.items()}


def _identity(grammar: bytes) -> str:
    return f"lark {lark.__version__}, grammar {crc32(grammar):08x}"


def _computed(grammar: bytes, layout: Layout | None) -> Lark:
    return Lark(
        grammar.decode(),
        parser="lalr",
        lexer="basic",
        postlex=layout,
        propagate_positions=True,
        maybe_placeholders=True,
    )


def tables() -> str:
    """What tables.json has to contain."""
    grammar = _GRAMMAR.read_bytes()
    data, memo = _computed(grammar, None).memo_serialize([lark.lexer.TerminalDef, lark.grammar.Rule])
    content: dict[str, Any] = {"for": _identity(grammar), "data": data, "memo": memo}
    return json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    _TABLES.write_text(tables(), "utf-8")
