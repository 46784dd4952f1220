"""`envd build` with nothing to do.

Importing click takes longer than all that such a build does, so its plain forms are read here.
Whatever is not plain (an option not named here, a mistake) goes to click, which reads it again.
"""

from __future__ import annotations

import sys

from engine.app import fastpath
from engine.core import paths as locate
from engine.errors import EnvdError

_VALUES = {
    "-t": "tag",
    "--tag": "tag",
    "-f": "file",
    "--from": "file",
    "-p": "path",
    "--path": "path",
    "--progress": "progress",
    "-j": "jobs",
    "--jobs": "jobs",
}
_FLAGS = frozenset({"--no-load", "--locked", "--dev", "--offline"})


def _plain(words: list[str]) -> dict[str, list[str]] | None:
    """The options of a plain `envd build`, or None when it is none."""
    found: dict[str, list[str]] = {}
    position = 0
    while position < len(words):
        word, equals, value = words[position].partition("=")
        position += 1
        if word in _FLAGS and not equals:
            found[word] = [""]
        elif word in _VALUES and (equals == "" or word.startswith("--")):
            if not equals:
                if position == len(words):
                    return None
                value = words[position]
                position += 1
            found.setdefault(_VALUES[word], []).append(value)
        else:
            return None
    for name in ("progress", "jobs"):
        if name in found and not _valid(name, found[name][-1]):
            return None
    return found


def _valid(name: str, value: str) -> bool:
    if name == "progress":
        return value in ("auto", "tree", "plain", "json")
    return value.isdecimal() and value.isascii() and 1 <= int(value[:4]) <= 256


def answered(words: list[str]) -> bool:
    """Whether this build had nothing to do; then its answer is printed."""
    options = _plain(words)
    if options is None:
        return False
    try:
        spec, function, directory, _ = locate.project(
            options["file"][-1] if "file" in options else None,
            options["path"][-1] if "path" in options else None,
        )
        tags = options.get("tag") or [f"{locate.image_name(directory)}:dev"]
        done = fastpath.nothing_to_do(
            fastpath.Request(
                spec,
                function,
                directory,
                [locate.full_tag(t) for t in tags],
                "--no-load" not in options,
                "--dev" in options,
            )
        )
        if done is None:
            return False
        print(done.message, file=sys.stderr)
        print(done.image_id, flush=True)
    except (OSError, ValueError, EnvdError):
        return False  # told properly by the command itself
    return True
