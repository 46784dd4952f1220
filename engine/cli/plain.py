"""Reading the plain forms of `envd build`.

Importing click takes longer than all that a build with nothing to do does. Whatever is not plain (an
option not named here, a mistake) goes to click, which reads it again.
"""

from __future__ import annotations

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


def options(words: list[str]) -> dict[str, list[str]] | None:
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
        if name in found and not _is_valid(name, found[name][-1]):
            return None
    return found


def _is_valid(name: str, value: str) -> bool:
    if name == "progress":
        return value in ("auto", "tree", "plain", "json")
    return value.isdecimal() and value.isascii() and 1 <= int(value[:4]) <= 256
