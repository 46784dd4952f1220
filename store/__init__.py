"""The content-addressed store. Knows nothing of environments: it keeps layers and files.

`Store` is imported when it is first asked for: a build that has nothing to do only needs
`store.hashing` and `store.memos`, and sqlite and compression cost start-up.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing costs start-up too
if TYPE_CHECKING:
    from typing import Any

    from store.store import Store

__all__ = ["Store"]


def __getattr__(name: str) -> Any:
    if name == "Store":
        from store.store import Store  # noqa: PLC0415 (an idle build)

        return Store
    raise AttributeError(f"module 'store' has no attribute '{name}'")
