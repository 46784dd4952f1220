"""Taking what other machines have built: whose word counts, what the store is told, and how the bytes come.

A place that is down, slow or lying is off for the rest of the run, with one warning; what it was to give
is built here. Nothing of a pack is used but records that a trusted key has signed, unless its place
was named with trust=unsigned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from engine.cache import pack, telling
from engine.cache.keys import TrustedKey
from engine.cache.pack import Pack
from engine.cache.place import Place
from engine.cache.record import Record, signers
from engine.cache.taken import Taken
from engine.core.amounts import human_bytes, human_seconds
from engine.core.derivation import Derivation
from engine.core.events import Event, Sink
from store import Store, elsewhere, objects
from store.database import Statement
from store.errors import LostError, StoreError
from store.model import Object

_PARALLEL = 6  # layers that come at once


class Substituter:
    """What other machines have built, of the places that are given, in this order.

    It is a `engine.realise.substitution.Substituter`, and the store's `Supplier`. Used from many threads.
    """

    def __init__(
        self,
        places: Sequence[Place],
        trusted: Sequence[TrustedKey],
        store: Store,
        emit: Sink,
        *,
        salt: str = "",
        heads: Sequence[str] = (),
        unsigned: Collection[str] = (),
    ) -> None:
        self._places = {place.name: place for place in places}
        self._trusted = tuple(trusted)
        self._store = store
        self._emit = emit
        self._salt = salt
        self._heads = tuple(heads)  # tags to look at when the plan itself was built by nobody
        self._unsigned = frozenset(unsigned)  # names of places whose records count without signatures
        self._off: set[str] = set()  # names of places
        self._gone: set[str] = set()  # digests that no place has
        self._asked: set[str] = set()  # plans that were looked up
        self._took: dict[str, float] = {}
        self._came: dict[str, int] = {}  # place -> bytes
        self._from: dict[str, str] = {}  # ids of objects that others have built -> the place that says so
        self._said: set[str] = set()
        self._guard = threading.Lock()

    @property
    def took(self) -> Mapping[str, float]:
        """The ids of objects that others have built -> the seconds that it took."""
        return self._took

    # What is known

    def look_up(self, targets: Sequence[Derivation]) -> bool:
        """Tell the store what trusted machines have made of these; whether anything is new."""
        tag = pack.plan_tag([t.drv_id for t in targets], self._salt)
        if tag in self._asked:
            return False
        self._asked.add(tag)
        told = False
        for place in self._on():
            for wanted in (tag, *self._heads):
                found = self._read(place, wanted)
                if found is None:
                    continue
                if found.malformed:
                    self._warn(f"{place.name}: {found.malformed} malformed entries do not count")
                if records := self._verified(place, found):
                    self._tell(place, found, records)
                    told = True
                    break  # of this very plan, or the newest that comes near it
        return told

    def _on(self) -> list[Place]:
        return [place for name, place in self._places.items() if name not in self._off]

    def _read(self, place: Place, tag: str) -> Pack | None:
        """The pack under a tag; None when there is none, or when the place does not do what it should."""
        if place.name in self._off:
            return None
        try:
            data = place.manifest(tag)
            if data is None:
                return None
            head = pack.read_manifest(data)
            layers = head.layers
            for further in head.further:
                if (more := place.manifest(further)) is not None:
                    layers |= pack.read_manifest(more).layers
            config = place.read(head.config, pack.MOST_CONFIG)
            return None if config is None else pack.read_config(config, head, layers)
        except pack.MalformedError as error:
            self._warn(f"{place.name}:{tag} is not a pack that can be used: {error}")
        except (StoreError, OSError) as error:
            self._switch_off(place, error)
        return None

    def _verified(self, place: Place, found: Pack) -> list[Record]:
        """The records that a trusted key has signed; of the others it is said how many there are."""
        if place.name in self._unsigned:
            return list(found.records)
        good = [r for r in found.records if r.signer(self._trusted, self._salt) is not None]
        if bad := len(found.records) - len(good):
            names = signers(found.records)
            said = (
                f"they are signed by {', '.join(names[:3])}, and by no key that is trusted (`envd key trust "
                "NAME:KEY`)"
                if names
                else "nobody has signed them (a directory may be taken as it is: --import-cache "
                "type=local,src=DIR,trust=unsigned)"
            )
            self._warn(f"{place.name}: {bad} of {len(found.records)} entries do not count: {said}")
        return good

    def _tell(self, place: Place, found: Pack, records: Sequence[Record]) -> None:
        """Write what is known now into the store, in one transaction."""
        store = self._store
        statements: list[Statement] = []
        memos: dict[str, str] = {}
        for r in records:
            made = r.object
            own = store.get(made.id)
            if own is None or not store.has_blob(own):
                statements += objects.statements(made)
                here = made.digest in found.layers
                if here or elsewhere.place_of(store, made.digest) is None:
                    memos[elsewhere.MEMO + made.digest] = place.name if here else elsewhere.NOWHERE
                if here:
                    self._gone.discard(made.digest)
                if not r.is_placing:
                    self._took[made.id] = r.milliseconds / 1000
                    self._from[made.id] = place.name
        store.db.write([*statements, *telling.statements(records, store, memos)])

    # Bytes

    def has(self, item: Object) -> bool:
        """Whether a place that answers is said to have a layer's bytes."""
        if item.digest in self._gone:
            return False
        name = elsewhere.place_of(self._store, item.digest)
        return name in self._places and name not in self._off

    def bring(self, items: Sequence[Object]) -> None:
        """Bring layers into the store, side by side. Raises LostError."""
        with ThreadPoolExecutor(min(_PARALLEL, len(items)), "substitute") as pool:
            came = list(pool.map(self._brought, items))
        lost = [item for item, here in zip(items, came, strict=True) if not here]
        if lost:
            raise LostError(lost, "it was to be taken from a cache that no longer gives it; it is built here")

    def bring_file(self, digest: str, size: int, name: str) -> str | None:
        """Bring a file that somebody has kept (`engine.cache.sources`); the place that had it."""
        for place in self._on():
            begin = time.monotonic()
            try:
                there = place.bring(digest, size, self._store, lambda _: None)
            except (StoreError, OSError) as error:
                self._switch_off(place, error)
                continue
            if there:
                self._emit(
                    Event("fetch-finish", name, id=digest, bytes=size, seconds=time.monotonic() - begin)
                )
                return place.name
        return None

    def _brought(self, item: Object) -> bool:
        store = self._store
        name = elsewhere.place_of(store, item.digest)
        place = self._places.get(name or "")
        if place is None or place.name in self._off:
            return False
        with store.lock(f"fetch-{item.digest.partition(':')[2]}", f"fetches {item.name}"):
            if store.has_blob(item):
                return True  # another one was quicker
            begin = time.monotonic()
            self._emit(Event("fetch-start", item.name, id=item.digest, total=item.size))
            try:
                there = place.bring(item.digest, item.size, store, self._progress(item))
            except (StoreError, OSError) as error:
                self._switch_off(place, error)
                there = False
            else:
                if not there:
                    self._gone.add(item.digest)
                    self._warn(f"{place.name} no longer has the layer of {item.name}: it is built here")
        seconds = time.monotonic() - begin
        came = item.size if there else 0
        self._emit(Event("fetch-finish", item.name, id=item.digest, bytes=came, seconds=seconds))
        with self._guard:
            self._came[place.name] = self._came.get(place.name, 0) + came
        return there

    def _progress(self, item: Object) -> Callable[[int], None]:
        told = [0]

        def progress(bytes_: int) -> None:
            if bytes_ - told[0] >= 1 << 20:
                told[0] = bytes_
                self._emit(Event("fetch-progress", item.name, id=item.digest, bytes=bytes_, total=item.size))

        return progress

    # What is said

    def _switch_off(self, place: Place, error: Exception) -> None:
        with self._guard:
            if place.name in self._off:
                return
            self._off.add(place.name)
        self._warn(f"{place.name} is not used any more in this run: {error}")

    def _warn(self, text: str) -> None:
        with self._guard:
            if text in self._said:
                return
            self._said.add(text)
        self._emit(Event("message", "cache", text=f"warning: {text}"))

    def taken(self, used: Sequence[Object]) -> list[Taken]:
        """What was taken from each place, of which the layers in `used` are of use."""
        theirs = [self._from[x] for x in {item.id for item in used} & self._from.keys()]
        seconds: dict[str, float] = {}
        for object_id, name in self._from.items():
            seconds[name] = seconds.get(name, 0.0) + self._took[object_id]
        return [
            Taken(name, 1, theirs.count(name), self._came.get(name, 0), round(seconds.get(name, 0.0), 3))
            for name in sorted({*theirs, *(name for name, count in self._came.items() if count)})
        ]

    def say_what_came(self, used: Sequence[Object]) -> None:
        """One line: how many layers of `used` were built elsewhere, how long building what was taken took
        there, and the bytes that came."""
        theirs = {x.id for x in used} & self._took.keys()
        if not theirs and not self._came:
            return
        took = sum(self._took.values())
        saved = f"; it saved {human_seconds(took)} of building" if took else ""
        came = ", ".join(f"{human_bytes(n)} from {name}" for name, n in sorted(self._came.items()) if n)
        self._emit(
            Event(
                "message",
                "cache",
                text=f"{len(theirs)} of {len(used)} layers were built elsewhere{saved}; "
                f"{f'fetched {came}' if came else 'no bytes of them were needed'}",
            )
        )
