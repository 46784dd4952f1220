"""What derivations are made of, in the order in which it can be built."""

from __future__ import annotations

from collections.abc import Iterable

from engine.core.derivation import Derivation


def in_order(targets: Iterable[Derivation]) -> list[Derivation]:
    """Every derivation that `targets` need, inputs first; each once. The order is stable."""
    ordered: dict[str, Derivation] = {}
    seen: set[str] = set()
    # No recursion: a chain may be deeper than Python's stack.
    todo: list[tuple[Derivation, bool]] = [(t, False) for t in reversed(list(targets))]
    while todo:
        derivation, inputs_done = todo.pop()
        if inputs_done:
            ordered.setdefault(derivation.drv_id, derivation)
        elif derivation.drv_id not in seen:
            seen.add(derivation.drv_id)
            todo.append((derivation, True))
            todo += [
                (i.derivation, False)
                for i in reversed(derivation.inputs)
                if isinstance(i.derivation, Derivation)
            ]
    return list(ordered.values())
