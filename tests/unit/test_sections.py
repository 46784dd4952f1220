"""Sections of a lock register themselves: what does not fit together is an error at once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UsageError
from engine.lock.model import Lock, LockedBase
from engine.lock.packages import Deb, LockedFile, LockedPackage, ToolArchive
from engine.sections import debian, registry, tools
from engine.sections.section import Section, SectionError, no_layers, no_variables
from engine.sections.tool import Release, Tool
from engine.sections.toolchains.golang import GO
from grammar.environment import Environment, Position, Toolchain
from grammar.errors import SpecError
from grammar.vocabulary.tools import TOOLCHAINS


class Unruled(LockedPackage):
    kind = "unruled"


PIECES = {f.name: getattr(debian.APT, f.name) for f in fields(Section)}


def section(name: str = "fake", **given: Any) -> Section:
    return replace(
        Section(
            name="x",
            holds=(),
            requests=lambda _: (),
            places=lambda _: (),
            resolve=lambda _, __: [],
            unpinned=lambda _, __, ___: (),
            derivations=no_layers,
            variables=no_variables,
            builders={},
        ),
        name=name,
        table=given.pop("table", name),
        **given,
    )


@pytest.mark.parametrize(
    "piece",
    ["name", "requests", "holds", "places", "resolve", "unpinned", "derivations", "variables", "builders"],
)
def test_a_section_that_lacks_a_piece_is_an_error(piece: str) -> None:
    with pytest.raises(TypeError, match=piece):
        Section(**{name: value for name, value in PIECES.items() if name != piece})


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (section("apt"), "the name 'apt' .* is taken"),
        (section("includes"), "the name 'includes' .* is taken"),
        (section(table="wheels"), "the table 'wheels' .* is taken"),
        (section(table="requests"), "the table 'requests' .* is taken"),
        (section(follows=("nothing",)), "'fake' comes after 'nothing', which is none"),
        (section(builders=debian.APT.builders), "'apt' and 'fake' both have a builder for 'apt'"),
        (section(kinds={Deb: None}), "both have a rule for 'deb'"),
        (section(holds=(Unruled,)), "section 'fake' holds unruled rows without a rule"),
        (section(needs=("fake",)), "in a circle: fake -> fake"),
    ],
)
def test_a_section_that_does_not_fit_in_is_an_error(made: Section, says: str) -> None:
    before = registry.sections()
    with pytest.raises(SectionError, match=says):
        registry.register(made)
    assert registry.sections() == before


def test_the_name_of_a_section_is_a_word() -> None:
    with pytest.raises(SectionError, match="'Fa ke' is not a valid name"):
        section("Fa ke")


def test_sections_are_resolved_after_what_they_look_at() -> None:
    order = [s.name for s in registry.resolve_order()]
    assert sorted(order) == sorted(s.name for s in registry.sections())
    for made in registry.sections():
        for other in made.sources:
            assert order.index(other) < order.index(made.name)
    assert order.index("r") < order.index("apt") and order.index("rstudio") < order.index("apt")


@pytest.mark.parametrize("piece", ["name", "release", "distributed"])
def test_a_tool_that_lacks_a_piece_is_an_error(piece: str) -> None:
    pieces: dict[str, Any] = {"name": "fake", "release": GO.release, "distributed": None}
    with pytest.raises(TypeError, match=piece):
        Tool(**{name: value for name, value in pieces.items() if name != piece})


@pytest.mark.parametrize("piece", ["resolve", "layout", "is_of_glibc"])
def test_a_release_that_lacks_a_piece_is_an_error(piece: str) -> None:
    pieces: dict[str, Any] = {"resolve": list, "layout": list, "is_of_glibc": False}
    with pytest.raises(TypeError, match=piece):
        Release(**{name: value for name, value in pieces.items() if name != piece})


@pytest.mark.parametrize(
    ("name", "asker", "says"),
    [
        ("go", "", "two tools called 'go'"),
        ("A b", "", "'A b' is not a valid name"),
        ("fake", "nothing", "is asked for by 'nothing', which is none"),
    ],
)
def test_a_tool_that_does_not_fit_in_is_an_error(name: str, asker: str, says: str) -> None:
    before = tools.names()
    with pytest.raises(SectionError, match=says):
        tools.register(Tool(name=name, asker=asker, release=GO.release, distributed=None))
    assert tools.names() == before


def test_a_toolchain_that_nothing_takes_is_an_error() -> None:
    assert registry.unclaimed({*TOOLCHAINS, "fake"}) == ["fake"]
    asked = Environment(toolchains=(Toolchain("fake", position=Position("build.envd", 2, 3)),))
    with pytest.raises(SpecError, match=r"build\.envd:2:3: error: this envd has no tool 'fake'"):
        registry.check(asked)


def test_a_lock_that_names_a_tool_that_there_is_not_is_an_error() -> None:
    file = LockedFile("x.tar.gz", "https://e.example/x", "ab" * 32)
    row = ToolArchive("go", "1", file, toolchain="nothing")
    lock = Lock(LockedBase("debootstrap", "debian12"), packages={"tools": (row,)})
    with pytest.raises(UsageError, match=r"\[\[tools\]\] nothing: this envd has no such tool"):
        tools.derivations(Environment(), lock)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("apt", r"\[\[apt\]\] go: a tool does not belong there"),
        ("unheard", r"\[\[unheard\]\]: this envd knows no such section"),
    ],
)
def test_rows_where_they_do_not_belong_are_an_error(table: str, says: str) -> None:
    row = ToolArchive("go", "1", LockedFile("x.tar.gz", "https://e.example/x", "ab" * 32))
    base = LockedBase("debootstrap", "debian12")
    registry.check_rows(Lock(base, packages={"tools": (row,)}))
    with pytest.raises(UsageError, match=says):
        registry.check_rows(Lock(base, packages={table: (row,)}))


def test_an_idle_build_knows_of_no_ecosystem(tmp_path: Path) -> None:
    text = (
        "import sys\nfrom engine.app import fastpath\nfrom engine.cli import entry\n"
        "assert not [m for m in sys.modules if m.startswith(('engine.ecosystems', 'engine.resolve'))]"
    )
    subprocess.run([sys.executable, "-c", text], check=True, cwd=tmp_path)
