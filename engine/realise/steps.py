"""Steps that may reach the network, `run(..., network=True)`: content-addressed by their result.

Nothing that is hashed beforehand says what such a step gives, so the lock pins it: the object, under a
key made of the commands, their environment and the layers below. Where the key is the same, the store
that has the object needs no network; building the step anew has to give the same bytes, and what
differs is said file by file. Where the key differs, the pin is for something else, and is renewed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from engine.core import differing
from engine.core.derivation import Derivation
from engine.core.events import Event, Sink
from engine.errors import BuildError, LockMismatch, UsageError
from engine.lock.model import Lock, LockedStep
from grammar.nearest import suggest
from store import Store
from store.hashing import hash_value

_UNLOCKED = "build without --locked once, and commit the lock"
DEVELOPMENT = "dev"  # the variant that `envd up` runs


class StepChangedError(BuildError):
    """A step was built anew, and gave other bytes than the lock pins."""


def is_step(derivation: Derivation) -> bool:
    """Whether the lock pins what this derivation gives."""
    return derivation.parameters.get("network") is True


def key_of(derivation: Derivation, outputs: Mapping[str, str]) -> str:
    """The key of its pin. Where the project lies is no part of it: another checkout has the same."""
    parameters = {k: v for k, v in derivation.parameters.items() if k != "directory"}
    parameters["environment"] = [pair for pair in parameters["environment"] if pair[0] != "ENVD_WORKDIR"]
    key = replace(derivation, parameters=parameters).build_key(outputs)
    return hash_value("envd step v1", key)


@dataclass(frozen=True)
class Steps:
    """The steps of one plan, and what the lock says of each.

    `names` maps a derivation's drv_id to the name of its pin, `pins` that name to its row; `locked`
    forbids to renew one; those of `anew` (names) are built again and taken as they come.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    pins: Mapping[str, LockedStep] = field(default_factory=dict)
    locked: bool = False
    anew: frozenset[str] = frozenset()

    def is_anew(self, derivation: Derivation) -> bool:
        """Whether it is to be built, whatever the store has."""
        return self.names.get(derivation.drv_id) in self.anew

    def pin(self, derivation: Derivation, outputs: Mapping[str, str]) -> LockedStep | None:
        """Its row of the lock, when that is for these inputs. Raises LockMismatch when it is not,
        and must not be renewed."""
        name = self.names.get(derivation.drv_id)
        if name is None or name in self.anew:
            return None
        row = self.pins.get(name)
        if row is not None and row.key == key_of(derivation, outputs):
            return row
        if self.locked:
            what = "is not pinned" if row is None else "is pinned for other layers below it"
            raise LockMismatch(
                f"what it gives {what}", position=derivation.where, subject=name, advice=_UNLOCKED
            )
        return None

    def check(self, derivation: Derivation, outputs: Mapping[str, str], made: str, store: Store) -> None:
        """Raise StepChangedError when the object `made` is not the one that the lock pins."""
        row = self.pin(derivation, outputs)
        if row is None or row.object == made:
            return
        if store.get(row.object) is None:
            lines = [
                "envd cannot tell which files differ: this store does not have what was pinned "
                f"({row.size} bytes)"
            ]
        else:
            lines = differing.lines(store, row.object, made)
        text = "\n".join(f"  {line}" for line in lines)
        raise StepChangedError(
            f"rebuilt, it differs from what the lock pins (was {row.object[:16]}, is {made[:16]}):\n"
            f"{text}\n  accept that with `envd lock --update-step {row.name}`, or restore the source",
            position=derivation.where,
            subject=row.name,
        )


def names_of(derivations: Iterable[Derivation]) -> dict[str, str]:
    """The name of each step's pin, by drv_id: the derivation's, numbered from its second time on."""
    found: dict[str, str] = {}
    times: dict[str, int] = {}
    for derivation in derivations:
        if is_step(derivation) and derivation.drv_id not in found:
            number = times[derivation.name] = times.get(derivation.name, 0) + 1
            found[derivation.drv_id] = derivation.name + (f"-{number}" if number > 1 else "")
    return found


def of(
    layers: Sequence[Derivation], lock: Lock, variant: str, *, locked: bool = False, anew: Iterable[str] = ()
) -> Steps:
    """The steps of a plan's `layers`. Raises LockMismatch when `locked` and one has no row at all."""
    names = names_of(layers)
    pins = {row.name: row for row in lock.steps if row.variant == variant}
    for layer in layers:
        name = names.get(layer.drv_id)
        if locked and name is not None and name not in pins:
            raise LockMismatch(
                "its result is not pinned", position=layer.where, subject=name, advice=_UNLOCKED
            )
    return Steps(names, pins, locked, frozenset(anew))


def renewed(
    layers: Sequence[Derivation],
    outputs: Mapping[str, str],
    steps: Steps,
    lock: Lock,
    variant: str,
    store: Store,
    emit: Sink,
) -> Lock:
    """The lock with what the steps gave; says what is new. Rows of steps that the spec does not have
    any more are left out."""
    rows: dict[tuple[str, str], LockedStep] = {
        (row.name, row.variant): row
        for row in lock.steps
        if row.variant != variant and row.name in steps.names.values()
    }
    for layer in layers:
        name = steps.names.get(layer.drv_id)
        if name is None:
            continue
        had = steps.pins.get(name)
        given = outputs.get(layer.drv_id)
        made = store.get(given) if given is not None else None
        if made is None:  # not built this time
            if had is not None:
                rows[name, variant] = had
            continue
        row = LockedStep(name, variant, key_of(layer, outputs), made.id, made.diff_id, made.tar_size)
        rows[name, variant] = row
        if row != had:
            emit(Event("message", name, text=_said(had, row, store)))
    return replace(lock, steps=tuple(rows[key] for key in sorted(rows)))


def _said(had: LockedStep | None, row: LockedStep, store: Store) -> str:
    is_now = f"{row.object[:16]} ({row.size} bytes)"
    if had is None:
        return f"pinned in the lock: {is_now}"
    if had.object == row.object:
        return "its pin is renewed: the layers below changed, its result did not"
    if had.key != row.key:
        return (
            "its pin is renewed: the layers below or its environment changed; was "
            f"{had.object[:16]}, is {is_now}"
        )
    lines = "".join(f"\n  {line}" for line in differing.lines(store, had.object, row.object))
    return f"accepted: was {had.object[:16]}, is {is_now}{lines}"


def chosen(wanted: Sequence[str], steps: Iterable[str]) -> frozenset[str]:
    """The names that `--update-step` means. Raises UsageError for one that the spec does not have."""
    there = sorted(set(steps))
    if not there:
        raise UsageError("--update-step: the spec has no run(..., network=True)")
    for name in wanted:
        if name != "all" and name not in there:
            raise UsageError(
                f"--update-step: no step '{name}'{suggest(name, there)}; there is {', '.join(there)}"
            )
    return frozenset(there if "all" in wanted else wanted)
