"""The scheduler: brings derivations to their outputs, with as little work as possible.

First everything that is known already is looked up, bottom up, in the store alone, and then, if
something is missing, where other machines share what they have built. The bytes of a layer are
needed only of what is asked for, and of what something is built upon. What is left is built in
threads; before each build its key is looked up again, now that its inputs are known, so a change
that rebuilt to the same bytes stops there (early cutoff). The files of a derivation are fetched
only when that derivation is really built.

A placed layer (`engine.realise.placed`) needs no builder. What came of placing one layer upon certain
others is remembered, so that doing it again is one look-up.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from engine.core import differing
from engine.core.closure import in_order
from engine.core.command import Group, cancellable, raise_if_cancelled
from engine.core.derivation import Derivation, Fetch
from engine.core.events import Event, Sink, silent
from engine.errors import BuildError, FetchError
from engine.net import fetch
from engine.realise import placed, sandbox, warnings_kept
from engine.realise.context import BuildContext, Builder, Imported
from engine.realise.failures import failure_events, without_scratch
from engine.realise.placing import Placing
from engine.realise.steps import Steps
from engine.realise.substitution import Substituter, kept_file, took_memo
from store import Store, connections
from store.model import Object

_PATIENCE = 2.0  # seconds that stopped downloads may take to notice


@dataclass(frozen=True)
class Work:
    """How derivations are to be realised.

    `jobs` is how many builders run at once (default: the number of cores); `force` builds again what
    the store has; `steps` says what the lock pins of those that may reach the network; `before` is told
    what is about to be built, and may raise; layers that somebody else has built are taken from
    `substituter`.
    """

    jobs: int | None = None
    force: bool = False
    steps: Steps = field(default_factory=Steps)
    before: Callable[[Sequence[Derivation]], None] = lambda _: None
    substituter: Substituter | None = None


def realise(
    targets: Sequence[Derivation],
    store: Store,
    builders: Mapping[str, Builder],
    work: Work = Work(),
    *,
    emit: Sink = silent,
) -> dict[str, str]:
    """Realise `targets` and all that they need: drv_id -> object id ("sha256:…" of a fetch).

    The first failure stops everything else; it is raised as an EnvdError whose text names the
    derivation. Garbage collection is kept away meanwhile; make a root for the outputs, under
    `store.in_use()`, to keep them. Where a layer was promised whose bytes cannot be had, LostError is
    raised, and the next call builds it.
    """
    plan = in_order(targets)
    for derivation in plan:
        if derivation.kind not in builders and derivation.kind != placed.KIND:
            raise BuildError(f"nothing builds kind '{derivation.kind}'", subject=derivation.name)
    with store.in_use():
        store.sweep()  # what killed builds left
        run = _Run(store, builders, work, emit)
        pending = run.look_up(targets, plan)
        substituter = None if work.force else work.substituter
        if pending and substituter is not None and substituter.look_up(targets):
            run.took = substituter.took
            pending = run.look_up(targets, plan)
        run.say_known(plan, pending)
        try:
            if pending:
                work.before(pending)
                run.build(pending)
        finally:
            run.placing.remember()
    return run.outputs


class _Run:
    """One call of `realise`. Only the calling thread changes its state; workers return values."""

    def __init__(self, store: Store, builders: Mapping[str, Builder], work: Work, emit: Sink) -> None:
        self.outputs: dict[str, str] = {}
        self.took: Mapping[str, float] = {}  # ids of objects that others built -> seconds that it took
        self._objects: dict[str, Object] = {}  # drv_id -> what is known of its output
        self.placing = Placing(store)
        self._store = store
        self._builders = builders
        self._jobs = work.jobs or os.cpu_count() or 1
        self._emit = emit
        self._force = work.force
        self._steps = work.steps
        self._group = Group()
        self._finished: SimpleQueue[tuple[Callable[[Any], None], Future[Any]]] = SimpleQueue()
        self._futures: dict[ThreadPoolExecutor, list[Future[Any]]] = {}
        self._running = 0
        self._ready: deque[Derivation] = deque()
        self._lacking: dict[str, set[str]] = {}  # drv_id -> drv_ids of unrealised inputs
        self._users: dict[str, list[Derivation]] = {}  # drv_id -> who waits for it
        self._unfetched: dict[str, set[str]] = {}  # drv_id -> digests on their way
        self._fetching: dict[str, list[Derivation]] = {}  # digest -> who waits for it

    # What is known already

    def look_up(self, targets: Sequence[Derivation], plan: Sequence[Derivation]) -> list[Derivation]:
        """Find what the store knows; return what is to be built, inputs first: `targets` without bytes,
        and whatever these are built upon that has none."""
        for derivation in plan:
            for item in derivation.inputs:
                if isinstance(item.derivation, Fetch):
                    self.outputs[item.derivation.drv_id] = item.derivation.output
            known = all(i.derivation.drv_id in self.outputs for i in derivation.inputs)
            found = self._known(derivation) if known else None
            if found is not None:
                self._objects[derivation.drv_id] = found
                self.outputs[derivation.drv_id] = found.id
        lacking: set[str] = set()
        todo = list(targets)
        while todo:
            derivation = todo.pop()
            known_as = self._objects.get(derivation.drv_id)
            if derivation.drv_id in lacking or (known_as is not None and self._store.can_have(known_as)):
                continue
            lacking.add(derivation.drv_id)
            todo += [i.derivation for i in derivation.inputs if isinstance(i.derivation, Derivation)]
        return [d for d in plan if d.drv_id in lacking]

    def say_known(self, plan: Sequence[Derivation], pending: Sequence[Derivation]) -> None:
        """Say of what is known already that it is not built."""
        built = {d.drv_id for d in pending}
        for derivation in plan:
            if derivation.drv_id not in built and (found := self._objects.get(derivation.drv_id)) is not None:
                self._cached(derivation, found)

    def _known(self, derivation: Derivation) -> Object | None:
        """What came of a derivation whose inputs are known, though its bytes may be gone."""
        if derivation.kind == placed.KIND:
            return None if self._force else self.placing.before(derivation, self.outputs)
        return self._realised(derivation.build_key(self.outputs), derivation, self.outputs)

    def _found(self, derivation: Derivation) -> Object | None:
        """What the store has of a derivation whose inputs are known."""
        return self._whole(self._known(derivation))

    def _whole(self, found: Object | None) -> Object | None:
        # Without its bytes it is as good as not built.
        return found if found is not None and self._store.can_have(found) else None

    def _realised(self, key: str, derivation: Derivation, outputs: Mapping[str, str]) -> Object | None:
        """What the store knows under a build key; of a step that the lock pins, what that says."""
        pin = self._steps.pin(derivation, outputs)
        if self._force or self._steps.is_anew(derivation):
            return None
        if pin is not None:
            return self._store.get(pin.object)
        realisation = self._store.realisation(key)
        return None if realisation is None else self._store.get(realisation.output)

    def _cached(self, derivation: Derivation, found: Object) -> None:
        if derivation.kind == placed.KIND:
            return  # its raw layer has been said
        seconds = self.took.get(found.id)
        self._emit(
            Event(
                "cached" if seconds is None else "substituted",
                derivation.name,
                id=derivation.drv_id,
                text=derivation.kind,
                bytes=found.size,
                seconds=seconds or 0.0,
            )
        )
        for text in warnings_kept.known(self._store, found.id):
            self._sayer(derivation)(f"warning: {text}")

    # The loop

    def build(self, pending: Sequence[Derivation]) -> None:
        """Realise `pending`, whose other inputs are known."""
        waiting = {d.drv_id for d in pending}
        for derivation in pending:
            lacking = {i.derivation.drv_id for i in derivation.inputs} & waiting
            self._lacking[derivation.drv_id] = lacking
            for drv_id in lacking:
                self._users.setdefault(drv_id, []).append(derivation)
            if not lacking:
                self._ready.append(derivation)
        sandbox.check(self._store.path)
        self._fetchers = ThreadPoolExecutor(fetch.CONNECTIONS, "fetch")
        self._workers = ThreadPoolExecutor(self._jobs, "build")
        self._futures = {self._fetchers: [], self._workers: []}
        try:
            while self._ready or self._running:
                while self._ready:
                    self._begin(self._ready.popleft())
                if self._running:
                    then, future = self._finished.get()
                    self._running -= 1
                    then(future.result())
        except BaseException as error:
            # KeyboardInterrupt too: no command outlives this call, and no thread does that is
            # not caught in a system call (a name that is being looked up, say).
            self._group.cancel()
            connections.stop()
            self._shut_down(_PATIENCE if isinstance(error, Exception) else _PATIENCE / 4)
            raise
        self._fetchers.shutdown()
        self._workers.shutdown()

    def _shut_down(self, patience: float) -> None:
        """Wait for what runs: what has a scratch removes it, within ten times `patience`."""
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        self._workers.shutdown(wait=False, cancel_futures=True)
        wait(self._futures[self._workers], 10 * patience)
        wait(self._futures[self._fetchers], patience)

    def _submit(
        self, pool: ThreadPoolExecutor, function: Callable[[], Any], then: Callable[[Any], None]
    ) -> None:
        """Run `function` in `pool`, then `then` with its result in the calling thread."""

        def guarded() -> Any:
            with cancellable(self._group):
                return function()

        self._running += 1
        future = pool.submit(guarded)
        self._futures[pool].append(future)
        future.add_done_callback(lambda done: self._finished.put((then, done)))

    def _begin(self, derivation: Derivation) -> None:
        """All inputs are realised."""
        if (found := self._found(derivation)) is not None:
            self._cached(derivation, found)
            self._settle(derivation, found)
            return
        key = derivation.build_key(self.outputs)
        if derivation.kind == placed.KIND:
            self._start(derivation, key)
        else:
            self._need_files(derivation, key)

    def _settle(self, derivation: Derivation, made: Object) -> None:
        self.outputs[derivation.drv_id] = made.id
        for user in self._users.pop(derivation.drv_id, ()):
            lacking = self._lacking[user.drv_id]
            lacking.discard(derivation.drv_id)
            if not lacking:
                self._ready.append(user)

    # Files

    def _need_files(self, derivation: Derivation, key: str) -> None:
        missing = {
            i.derivation.output: i.derivation
            for i in derivation.inputs
            if isinstance(i.derivation, Fetch) and self._store.blob(i.derivation.output) is None
        }
        if not missing:
            self._start(derivation, key)
            return
        self._unfetched[derivation.drv_id] = set(missing)
        for digest, wanted in missing.items():
            if digest in self._fetching:
                self._fetching[digest].append(derivation)
                continue
            self._fetching[digest] = [derivation]
            self._submit(self._fetchers, self._fetcher(wanted), self._fetched(digest))

    def _fetcher(self, wanted: Fetch) -> Callable[[], Path]:
        def run() -> Path:
            with failure_events(self._emit, wanted.name, wanted.drv_id, self._group, self._store):
                try:
                    return fetch.fetch(wanted, self._store, self._emit)
                except FetchError as error:
                    return kept_file(wanted, error, self._store, self._emit)

        return run

    def _fetched(self, digest: str) -> Callable[[Path], None]:
        def then(_: Path) -> None:
            for derivation in self._fetching.pop(digest):
                unfetched = self._unfetched[derivation.drv_id]
                unfetched.discard(digest)
                if not unfetched:
                    self._start(derivation, derivation.build_key(self.outputs))

        return then

    # Work, in threads

    def _start(self, derivation: Derivation, key: str) -> None:
        outputs = dict(self.outputs)

        def work() -> Object:
            with failure_events(self._emit, derivation.name, derivation.drv_id, self._group, self._store):
                if derivation.kind == placed.KIND:
                    return self._place(derivation, outputs)
                return self._build(derivation, key, outputs)

        self._submit(self._workers, work, lambda made: self._settle(derivation, made))

    def _place(self, derivation: Derivation, outputs: Mapping[str, str]) -> Object:
        raw = outputs[derivation.inputs[0].derivation.drv_id]
        placement = self.placing.fit(derivation, outputs)
        if placement.unchanged:
            made = self._store.get(raw)
            if made is None:
                raise BuildError(f"object {raw[:16]} is not in the store", subject=derivation.name)
        else:
            made = self._placed(derivation, raw, placement, outputs)
        self.placing.done(derivation, outputs, made)
        return made

    def _placed(
        self, derivation: Derivation, raw: str, placement: placed.Placement, outputs: Mapping[str, str]
    ) -> Object:
        store, key = self._store, placement.key(raw)
        with store.lock(
            f"build-{key}", f"builds {derivation.name}", lambda: raise_if_cancelled(derivation.name)
        ):
            found = self._whole(self._realised(key, derivation, outputs))
            if found is not None:
                return found
            begin = time.monotonic()
            self._emit(Event("start", derivation.name, id=derivation.drv_id, text=derivation.kind))
            with store.scratch("placed") as scratch:
                upper = scratch / "upper"
                placed.rewrite(store.tree(raw), placement, upper, derivation.name)
                made = store.capture(upper, derivation.name, (raw,))
            self._compare(derivation, key, made)
            store.realise(key, made.id, placed.raw_of(derivation).kind)
        return self._told(derivation, made, begin)

    def _build(self, derivation: Derivation, key: str, outputs: Mapping[str, str]) -> Object:
        store = self._store
        with store.lock(
            f"build-{key}", f"builds {derivation.name}", lambda: raise_if_cancelled(derivation.name)
        ):
            # another process was quicker
            if (found := self._whole(self._realised(key, derivation, outputs))) is not None:
                self._cached(derivation, found)
                return found
            begin = time.monotonic()
            self._emit(Event("start", derivation.name, id=derivation.drv_id, text=derivation.kind))
            below = [i.derivation for i in derivation.inputs if i.role == "layer"]
            references = tuple(outputs[d.drv_id] for d in below)
            warnings: list[str] = []
            with store.scratch(re.sub(r"[^A-Za-z0-9._-]+", "-", derivation.name)) as scratch:
                context = BuildContext(
                    name=derivation.name,
                    parameters=derivation.parameters,
                    layers=tuple(store.tree(r) for r in references),
                    files=self._files(derivation),
                    scratch=scratch,
                    log=self._logger(derivation),
                    layer_names=tuple(d.name for d in below),
                    origin=derivation.where,
                    say=self._sayer(derivation),
                    warn=warnings.append,
                )
                with without_scratch(scratch):
                    result = self._builders[derivation.kind](context)
                if isinstance(result, Imported):
                    made = self._import(derivation, result)
                else:
                    made = store.capture(result, derivation.name, references)
            self._steps.check(derivation, outputs, made.id, store)
            self._compare(derivation, key, made)
            memos = took_memo(made.id, time.monotonic() - begin) | warnings_kept.memo(made.id, warnings)
            store.realise(key, made.id, derivation.kind, memos)
        for text in warnings:
            self._sayer(derivation)(f"warning: {text}")
        return self._told(derivation, made, begin)

    def _told(self, derivation: Derivation, made: Object, begin: float) -> Object:
        """`made`, which is said; its building began at `begin` (of the monotonic clock)."""
        seconds = time.monotonic() - begin
        self._emit(
            Event(
                "finish",
                derivation.name,
                id=derivation.drv_id,
                text=derivation.kind,
                bytes=made.size,
                seconds=seconds,
            )
        )
        return made

    def _import(self, derivation: Derivation, layer: Imported) -> Object:
        made = self._store.import_layer(layer.digest, layer.media_type, derivation.name)
        if made.diff_id != layer.diff_id:
            raise BuildError(
                f"its uncompressed content is {made.diff_id}, but its image says {layer.diff_id}: "
                "the image is damaged",
                subject=derivation.name,
            )
        return made

    def _files(self, derivation: Derivation) -> tuple[tuple[str, Path], ...]:
        files = []
        for item in derivation.inputs:
            if isinstance(item.derivation, Fetch) and item.role == "file":
                # Here already; asked for again in case that it was taken away meanwhile.
                path = fetch.fetch(item.derivation, self._store, self._emit)
                files.append((item.derivation.name, path))
        return tuple(files)

    def _logger(self, derivation: Derivation) -> Callable[[str], None]:
        return lambda line: self._emit(Event("log", derivation.name, id=derivation.drv_id, text=line))

    def _sayer(self, derivation: Derivation) -> Callable[[str], None]:
        return lambda text: self._emit(Event("message", derivation.name, id=derivation.drv_id, text=text))

    def _compare(self, derivation: Derivation, key: str, made: Object) -> None:
        """After a forced build: say when the same inputs gave other bytes, and in which files."""
        before = self._store.realisation(key) if self._force else None
        if before is not None and before.output != made.id:
            text = f"built again, it differs: was {before.output[:16]}, is {made.id[:16]}"
            for line in (text, *differing.lines(self._store, before.output, made.id)):
                self._emit(Event("message", derivation.name, id=derivation.drv_id, text=line))
