"""Building without network (`--offline`): what is missing is said at once, and all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from engine.core.amounts import human_bytes
from engine.core.derivation import Derivation, Fetch
from engine.errors import EnvdError, LockMismatch, OfflineError, together
from engine.net.fetch import is_local
from engine.realise.steps import is_step
from store import Store, offline


def check_lock(lock: Path, what: str) -> None:
    """Raise LockMismatch when a lock has to be made or renewed, for which `what` is the reason."""
    if offline.is_on():
        raise LockMismatch(
            f"{what}, and nothing can be resolved offline",
            subject=str(lock),
            advice="run `envd lock` where the network may be used, and bring the lock along",
        )


def then(
    check: Callable[[Sequence[Derivation]], None], store: Store
) -> Callable[[Sequence[Derivation]], None]:
    """What looks at what is about to be built: `check_files`, then `check`."""

    def both(pending: Sequence[Derivation]) -> None:
        check_files(pending, store)
        check(pending)

    return both


def check_files(pending: Sequence[Derivation], store: Store) -> None:
    """Raise OfflineError when something of `pending`, which are about to be built, needs the network for
    certain: what is built upon others of them may come out as something that is here, and a directory of
    packs may have files."""
    if not offline.is_on():
        return
    waiting = {derivation.drv_id for derivation in pending}
    problems: list[EnvdError] = []
    for derivation in pending:
        if any(item.derivation.drv_id in waiting for item in derivation.inputs):
            continue
        if is_step(derivation):
            problems.append(_missing(derivation, "what it gave"))
        elif store.supplier is None and (files := _lacking(derivation, store)):
            size = sum(file.size for file in files)
            names = ", ".join(file.name for file in files[:3]) + (", …" if len(files) > 3 else "")
            about = f"{len(files)} file{'s' * (len(files) > 1)} of it ({names}; {human_bytes(size)})"
            problems.append(_missing(derivation, about))
    if problems:
        raise together(problems)


def _lacking(derivation: Derivation, store: Store) -> list[Fetch]:
    files = [item.derivation for item in derivation.inputs if isinstance(item.derivation, Fetch)]
    return [file for file in files if store.blob(file.output) is None and not is_local(file.url)]


def _missing(derivation: Derivation, what: str) -> OfflineError:
    return OfflineError(
        f"{derivation.name}: the store has neither the layer nor {what}, and nothing may be fetched offline",
        position=derivation.where,
        subject=derivation.name,
        advice=offline.ADVICE,
    )
