"""Names of images as Docker takes them. Grammar: distribution/reference."""

from __future__ import annotations

import re

from engine.errors import UsageError
from engine.locate import full_tag

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
_TAGGED = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}")


def image_tag(text: str) -> str:
    """`text` as NAME:TAG, ":latest" where it has none. Raises UsageError."""
    tag = full_tag(text)
    if not _TAGGED.fullmatch(tag) or len(tag.rpartition(":")[0]) > 255:
        lower = text.lower()
        hint = f"; did you mean '{lower}'?" if _TAGGED.fullmatch(full_tag(lower)) else (
            "; write NAME:TAG in lower case, such as team/env:v1"
        )
        raise UsageError(f"'{text}' is no image name{hint}")
    return tag
