"""The parser's tables on disk are those of the grammar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grammar.starlark import tables
from grammar.starlark.layout import Layout

GRAMMAR = Path(tables.__file__).parent / "starlark.lark"
SEEDS = sorted((Path(__file__).parents[1] / "fuzz" / "seeds").glob("*.*"))


def test_the_tables_are_not_stale() -> None:
    kept = json.loads((GRAMMAR.parent / "tables.json").read_text())["for"]
    wanted = tables._identity(GRAMMAR.read_bytes())
    assert kept.split(", ")[1] == wanted.split(", ")[1], "run `make tables`"


def test_kept_and_computed_tables_parse_alike() -> None:
    computed = tables._computed(GRAMMAR.read_bytes(), Layout())
    parsed = 0
    for seed in SEEDS:
        text = seed.read_text() + "\n"
        if "errors" not in seed.name:
            assert tables.parser().parse(text) == computed.parse(text)
            parsed += 1
    assert parsed >= 3


def test_tables_that_cannot_be_used_are_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in ("", "{", "[]", '{"for": "lark 0, grammar 0"}', '{"for": 1}'):
        (tmp_path / "tables.json").write_text(content)
        monkeypatch.setattr(tables, "_TABLES", tmp_path / "tables.json")
        assert tables.parser.__wrapped__().parse("x = 1\n").data == "start"
