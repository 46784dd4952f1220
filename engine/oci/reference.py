"""Names of images as Docker takes them. Grammar: distribution/reference."""

from __future__ import annotations

import re

from engine.core.paths import full_tag
from engine.errors import UsageError

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
_TAGGED = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}")


def image_tag(text: str) -> str:
    """`text` as NAME:TAG, ":latest" where it has none. Raises UsageError."""
    tag = full_tag(text)
    if not _TAGGED.fullmatch(tag) or len(tag.rpartition(":")[0]) > 255:
        raise UsageError(f"'{text}' is not a valid image name{_hint(text)}")
    return tag


def _hint(text: str) -> str:
    """What is wrong with a name, as closely as that can be said."""
    lower = text.lower()
    if _TAGGED.fullmatch(full_tag(lower)):
        return f"; did you mean '{lower}'?"
    name, _, label = full_tag(text).rpartition(":")
    if _TAGGED.fullmatch(f"{name}:x"):
        if len(label) > 128:
            return f": its tag has {len(label)} characters, and 128 is the most"
        wrong = dict.fromkeys(re.findall(r"[^A-Za-z0-9_.-]", label))
        if wrong:
            which = " ".join(f"'{c}'" for c in wrong)
            better = re.sub(r"[^A-Za-z0-9_.-]+", "-", label)
            return f": a tag cannot hold {which}; did you mean '{name}:{better}'?"
        if label:
            return f": a tag cannot begin with '{label[0]}'"
        return ": its tag is empty"
    if len(name) > 255:
        return f": its name has {len(name)} characters, and 255 is the most"
    return "; write NAME:TAG in lower case, such as team/env:v1"
