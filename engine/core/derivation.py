"""Derivations: immutable records of how one output is made, and their hashes.

A derivation's own hash (`drv_id`) covers its inputs' hashes, so it names a whole closure. The
*build key* is the hash after every input was replaced by the output that it realised: a
change that rebuilds to the same bytes stops there (early cutoff). The model is that of
content-addressed derivations in Nix (RFC 62).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from store.hashing import hash_value

if TYPE_CHECKING:
    from grammar.environment import Position

SYSTEM = "x86_64-linux"


@dataclass(frozen=True)
class Fetch:
    """Fixed-output derivation: one file, known by its SHA-256. The only kind with network.

    `sha256` is 64 hex digits, `size` is in bytes (0 when the source did not say). `fallback` is
    another URL, for a file that `url` no longer has.
    """

    name: str
    url: str
    sha256: str
    size: int = 0
    fallback: str = ""

    @cached_property
    def drv_id(self) -> str:
        """The hash of what is to be fetched: its name and SHA-256."""
        # The URL is how, not what: two mirrors of one file are one derivation.
        return hash_value("envd fetch v1", {"name": self.name, "sha256": self.sha256})

    @property
    def output(self) -> str:
        """The digest of the file: "sha256:…"."""
        return f"sha256:{self.sha256}"


@dataclass(frozen=True)
class Input:
    """A derivation used under a role. Roles: "file" (a fetched file) and "layer" (a tree, in
    order from the bottom up); of a placed layer (`engine.realise.placed`) "raw" (what is placed) and
    "below" (what it is placed upon, from the bottom up)."""

    role: str
    derivation: Derivation | Fetch


@dataclass(frozen=True)
class Derivation:
    """Content-addressed derivation: a builder, its inputs and its parameters; gives one layer.

    `kind` picks the builder; `version` is that builder's, raised when its output changes.
    `parameters` holds only str, int, bool, None, lists and dicts of these. `where` is the place in
    the spec that asks for it, for messages: it is part of no hash.
    """

    kind: str
    name: str
    version: int = 1
    inputs: tuple[Input, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    system: str = SYSTEM
    where: Position | None = field(default=None, compare=False)

    def _record(self, inputs: list[list[str]]) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "version": self.version,
            "system": self.system,
            "inputs": inputs,
            "parameters": dict(self.parameters),
        }

    @cached_property
    def drv_id(self) -> str:
        """The BLAKE3 of the canonical encoding, inputs included."""
        for below in _unnamed(self):
            _ = below.drv_id
        return hash_value(
            "envd derivation v1", self._record([[i.role, i.derivation.drv_id] for i in self.inputs])
        )

    def build_key(self, outputs: Mapping[str, str]) -> str:
        """The resolved hash. `outputs` maps each input's drv_id to its output's address."""
        return hash_value(
            "envd build key v1", self._record([[i.role, outputs[i.derivation.drv_id]] for i in self.inputs])
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Derivation) and self.drv_id == other.drv_id

    def __hash__(self) -> int:
        return hash(self.drv_id)


def _unnamed(top: Derivation) -> Iterator[Derivation]:
    """What `top` is made of and has no hash yet: each before what it is an input of. No recursion: a
    chain may be deeper than Python's stack."""
    seen: set[int] = set()
    todo = [(top, False)]
    while todo:
        derivation, inputs_done = todo.pop()
        if inputs_done:
            if derivation is not top:
                yield derivation
        elif id(derivation) not in seen:
            seen.add(id(derivation))
            todo.append((derivation, True))
            inputs = (item.derivation for item in derivation.inputs)
            todo += [(d, False) for d in inputs if isinstance(d, Derivation) and "drv_id" not in d.__dict__]
