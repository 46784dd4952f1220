"""Hashes and the canonical encoding that they are taken over.

Every BLAKE3 here is keyed by a context string (domain separation, as in the BLAKE3 paper,
section 6.2 `derive_key`), so a derivation can never be mistaken for a layer.
"""

from __future__ import annotations

import json

from blake3 import blake3

TYPE_CHECKING = False  # typing costs an idle build's start-up
if TYPE_CHECKING:
    from typing import Any

OBJECT_CONTEXT = "envd 2026 object: uncompressed canonical tar"


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8, no floats.

    Raises TypeError for floats and for anything that JSON does not hold.
    """
    _refuse_floats(value)
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode("utf-8")


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError("floats have no canonical encoding")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"keys must be str, not {type(key).__name__}")
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)


def hash_value(context: str, value: Any) -> str:
    """BLAKE3 of `canonical(value)` under `context`: 64 hex digits."""
    return str(blake3(canonical(value), derive_key_context=context).hexdigest())


def object_hasher() -> blake3:
    """A hasher for an object's address."""
    return blake3(derive_key_context=OBJECT_CONTEXT)
