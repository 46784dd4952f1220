"""Fuzzing of the lock's reader: any text is a lock or one error, and what was read is written alike."""

from __future__ import annotations

import re
import sys
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))
with atheris.instrument_imports(include=["engine", "tomllib"]):
    from engine.errors import UsageError
    from engine.lock import model as locks
    from engine.sections import debian, registry
import tomli_w

from tests.fuzz import harness
from tests.fuzz.harness import Bits

CORPUS = harness.HERE / "corpus/lock"
# What fields are replaced by: what would do harm as a path, a URL or an argument, and other types.
NASTY: list[Any] = [
    "",
    ".",
    "..",
    "../../x",
    "/etc/passwd",
    "a/b",
    "-x",
    "--upload-pack=x",
    "\0",
    "\n",
    "\x1b[2J",
    "é",
    "\ud7ff",
    "x" * 300,
    "a" * 64,
    "A" * 64,
    "file:///etc/passwd",
    "https+unchecked://h/x",
    "ext::sh",
    "http://",
    "http://[",
    "http://h:x/",
    "//h/x",
    "%2e%2e/x",
    "oci://",
    0,
    -1,
    1 << 60,
    1.5,
    True,
    [],
    {},
    [[]],
    ["x"],
    [1],
    {"a": 1},
    float("inf"),
    "yes",
    ".wh.x",
    "sha256:" + "a" * 64,
    "a" * 40,
]


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path] if path else []
    if isinstance(node, dict):
        for key, value in node.items():
            found += places(value, (*path, key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            found += places(value, (*path, number))
    return found


def edited(bits: Bits) -> str:
    """A sound lock of the corpus with some of its fields replaced, taken away, or new."""
    base = (CORPUS / bits.one(["good.toml", "image.toml"])).read_text("utf-8")
    document: Any = tomllib.loads(base)
    while bits:
        known = places(document)
        if not known:
            break
        *above, last = known[(bits.byte() << 8 | bits.byte()) % len(known)]
        node = document
        for part in above:
            node = node[part]
        match bits.byte() % 4:
            case 0 if isinstance(node, dict):
                del node[last]
            case 1 if isinstance(node, dict):
                node[bits.text(12)] = deepcopy(bits.one(NASTY))
            case 2:
                node[last] = bits.text(70)
            case _:
                node[last] = deepcopy(bits.one(NASTY))
    return tomli_w.dumps(document)


def one_input(data: bytes, inside: Path) -> None:
    bits = Bits(data[1:])
    try:
        text = edited(bits) if data[:1] == b"\1" else data.decode("utf-8")
    except UnicodeDecodeError:
        (inside / "envd.lock").write_bytes(data)
        try:
            locks.read(inside / "envd.lock")
        except UsageError as error:
            harness.said(error)
        return
    try:
        lock = locks.loads(text)
    except UsageError as error:
        harness.said(error)
        assert str(error).startswith("envd.lock: ")
        return
    for package in locks.all_packages(lock):
        assert re.fullmatch(r"[0-9a-f]{64}", package.file.sha256)
        assert package.file.name not in ("", ".", "..")
        assert not set("/\0") & set(package.file.name)
    registry.unpinned(lock)
    debian.satisfied_elsewhere(lock)
    written = locks.dumps(lock)
    again = locks.loads(written)
    assert locks.dumps(again) == written


if __name__ == "__main__":
    harness.run("lock", one_input, longest=8192)
