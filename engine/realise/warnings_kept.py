"""What people should know of a layer: said when it is built, and kept to be said whenever it is used."""

from __future__ import annotations

import json
from collections.abc import Sequence

from store import Store

_KEY = "envd warnings v1:"


def keep(store: Store, object_id: str, texts: Sequence[str]) -> None:
    """Have `texts` known of an object; nothing where there are none."""
    if texts:
        store.set_memos(memo(object_id, texts))


def memo(object_id: str, texts: Sequence[str]) -> dict[str, str]:
    """The memo that has `texts` known of an object; none where there are none."""
    return {_KEY + object_id: json.dumps(list(texts))} if texts else {}


def known(store: Store, object_id: str) -> list[str]:
    """What is known of an object."""
    text = store.memo(_KEY + object_id)
    return [] if text is None else [str(x) for x in json.loads(text)]
