"""Specs to start from: those that come with envd, and the user's own.

A template is a build.envd called NAME.envd. The user's lie in $XDG_CONFIG_HOME/envd/templates and
go before ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.core import paths as locate
from engine.errors import UsageError
from grammar.nearest import suggest


@dataclass(frozen=True)
class Template:
    """A template: `about` is its first comment, `source` is "envd" or "user"."""

    name: str
    about: str
    source: str
    path: Path


def listed() -> list[Template]:
    """Every template, by name."""
    found: dict[str, Template] = {}
    for source, directory in (
        ("envd", Path(__file__).parent),
        ("user", Path(locate.configuration()) / "templates"),
    ):
        for path in directory.glob("*.envd"):
            found[path.stem] = Template(path.stem, _about(path), source, path)
    return [found[name] for name in sorted(found)]


def _about(path: Path) -> str:
    first = path.read_text("utf-8", errors="replace").partition("\n")[0]
    return first.lstrip("# ").rstrip() if first.startswith("#") else ""


def find(name: str) -> Template:
    """The template of that name. Raises UsageError."""
    found = {template.name: template for template in listed()}
    if name not in found:
        hint = suggest(name, found) or f"; there are {', '.join(found)}"
        raise UsageError(f"no template '{name}'{hint}")
    return found[name]
