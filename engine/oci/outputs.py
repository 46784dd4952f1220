"""Where a built image goes: `envd build -o`.

Two ways to write it: our short TYPE:FILE, and the comma-separated attributes of BuildKit
(`type=oci,dest=FILE`) that tensorchord/envd takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UsageError
from grammar.nearest import suggest
from store import offline
from store.references import parse_reference

FILES = ("oci", "oci-dir", "docker")
HOW = (
    "write oci:FILE.tar, oci-dir:DIR or docker:FILE.tar; or type=oci,dest=FILE.tar, "
    "type=docker[,dest=FILE.tar] or type=image,name=HOST/NAME:TAG,push=true"
)
_ATTRIBUTES = ("type", "dest", "name", "push", "tar")


@dataclass(frozen=True)
class Output:
    """One destination. `kind` is "oci", "oci-dir" or "docker" (a file or directory at `path`),
    "load" (the Docker engine) or "push" (the registry reference `name`). `name` is also the tag
    that goes into a file, "" for the build's own."""

    kind: str
    path: Path | None = None
    name: str = ""


def parse(texts: Sequence[str]) -> list[Output]:
    """The outputs of each `-o TEXT`. Raises UsageError."""
    return [found for text in texts for found in _parse(text)]


def _parse(text: str) -> list[Output]:
    if "=" not in text.partition(",")[0]:
        kind, _, name = text.partition(":")
        if kind not in FILES or not name:
            hint = suggest(kind, FILES) if name else None
            raise UsageError(f"-o {text}: not an output{hint or '; ' + HOW}")
        return [Output(kind, _place(text, name))]
    return _long(text)


def _long(text: str) -> list[Output]:
    given: dict[str, str] = {}
    for pair in text.split(","):
        key, equals, value = pair.partition("=")
        if not equals or key not in _ATTRIBUTES:
            hint = suggest(key, _ATTRIBUTES) or f"; {HOW}"
            raise UsageError(f"-o {text}: no attribute '{key}'{hint}")
        if key in given:
            raise UsageError(f"-o {text}: '{key}' is given twice")
        given[key] = value
    for key in ("push", "tar"):
        if given.get(key, "true") not in ("true", "false"):
            raise UsageError(f"-o {text}: {key} is true or false")
    kind, place, name = given.get("type", ""), given.get("dest", ""), given.get("name", "")
    if kind in ("image", "registry"):
        if kind == "registry" or given.get("push") == "true":
            if not name:
                raise UsageError(f"-o {text}: no name to push to", advice="add name=HOST/NAME:TAG")
            try:
                parse_reference(name)  # now, not after the build
            except ValueError as error:
                raise UsageError(f"-o {text}: {error}") from None
            if offline.is_on():
                raise UsageError(f"-o {text}: nothing is pushed offline", advice=HOW.partition(";")[0])
            return [Output("push", None, name)]
        return [Output("load", None, name)]
    if kind == "docker" and not place:
        return [Output("load", None, name)]
    if kind == "oci" and given.get("tar") == "false":
        kind = "oci-dir"
    if kind not in FILES:
        hint = suggest(kind, (*FILES, "image", "registry")) or f"; {HOW}"
        raise UsageError(f"-o {text}: no output type '{kind}'{hint}")
    if not place:
        raise UsageError(f"-o {text}: no file to write to", advice="add dest=FILE")
    return [Output(kind, _place(text, place), name)]


def _place(text: str, name: str) -> Path:
    path = Path(name).absolute()
    if not path.parent.is_dir():
        raise UsageError(f"-o {text}: no directory {path.parent}")
    if path.exists() and not (path.is_file() or path.is_dir()):  # what is put there is a new file
        raise UsageError(f"-o {text}: {path} is neither a file nor a directory", advice="name another")
    return path
