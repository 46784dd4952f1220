"""`envd bundle create`: all that a build needs, in one file (`engine.cache.bundle`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.app import pipeline
from engine.app.caches import signing_key
from engine.app.options import BuildOptions
from engine.cache import bundle, layout_archive, pack, publisher, settings, sources
from engine.cache.bundle import Bundle, Included, Source
from engine.cache.keys import SigningKey
from engine.cache.place import Blob
from engine.core.amounts import human_bytes
from engine.core.derivation import Derivation, Fetch
from engine.core.events import Event, Sink
from engine.core.progress import open_sink
from engine.core.project import Project, store_path
from engine.ecosystems.includes import git
from engine.errors import FetchError, UsageError
from engine.net.fetch import CONNECTIONS, fetch
from engine.oci.layout import replacing
from engine.realise import secrets
from engine.realise.substitution import kept_file
from grammar.environment import Environment
from store import Store
from store.elsewhere import layer_file
from store.model import Object
from store.threads import workers
from store.usage import in_use

_UNSIGNED = (
    "warning: there is no key to sign with (`envd key generate`): whoever loads the bundle has to say --trust"
)


@dataclass(frozen=True)
class Made:
    """A bundle that was written: its `layers` and fetched `files`, its size in bytes, and the name of the
    key that has signed it, or ""."""

    path: Path
    layers: int
    files: int
    size: int
    signer: str


def create(project: Project, destination: Path, options: BuildOptions, *, fetched: bool = True) -> Made:
    """Build the project, and write what its build needs into one file; without `fetched`, what was
    fetched is left out. Raises what `pipeline.build` raises, and OSError."""
    if not destination.absolute().parent.is_dir():
        raise UsageError(f"no directory {destination.absolute().parent}", subject=str(destination))
    if destination.exists() and not destination.is_file():
        raise UsageError("is not a regular file", subject=str(destination), advice="name another")
    values = secrets.read(options.secrets)
    found = settings.read()
    key = signing_key(found) if found.signing is not None else None
    environment = pipeline.checked(project, options, dev=options.dev)
    with (
        open_sink(options.progress) as emit,
        in_use(store_path()),
        pipeline.at_work(project, environment, options, values, emit) as (work, lock),
    ):
        if key is None:
            emit(Event("message", "bundle", text=_UNSIGNED))

        def written() -> Made:
            made = work.image(lock)
            writer = _Writer(work.store, key, found.salt)
            writer.add_pack(made.plan.stack, made.outputs)
            writer.add_image(made.image.layers, made.image.config, made.image.manifest)
            if fetched:
                writer.fetch(made.plan.stack, emit)
            writer.add_bundle(project, environment)
            with replacing(destination) as temporary, temporary.open("wb") as file:
                layout_archive.write(file, [*writer.blobs.values()], writer.manifests)
            size = destination.stat().st_size
            return Made(destination, writer.layers, len(writer.sources), size, key.name if key else "")

        return work.caches.until_whole(written)


class _Writer:
    """What goes into one bundle, as it is gathered."""

    def __init__(self, store: Store, key: SigningKey | None, salt: str) -> None:
        self.blobs: dict[str, Blob] = {}
        self.manifests: list[tuple[str, bytes]] = []
        self.sources: list[Source] = []
        self.layers = 0
        self._store, self._key, self._salt = store, key, salt

    def add_pack(self, stack: Sequence[Derivation], outputs: Mapping[str, str]) -> None:
        """What was realised. How long that took says nothing here, and would make every bundle another."""
        found = [replace(r, milliseconds=0) for r in publisher.records(stack, outputs, self._store)]
        if (key := self._key) is not None:
            found = [r.signed(key.sign(r.message(self._salt))) for r in found]
        # Not what was placed when that gave another layer: not every machine has it, and it can be built.
        needed = {outputs[layer.drv_id] for layer in stack}
        layers = list({r.object.id: r.object for r in found if r.object.id in needed}.values())
        tag = pack.plan_tag([layer.drv_id for layer in stack], self._salt)
        config, manifests = pack.write(found, layers, tag)
        self.manifests += zip(pack.tags(tag, len(manifests)), manifests, strict=True)
        self._add(bundle.text_blob(config))
        for layer in layers:
            self._add_layer(layer)
        self.layers = len({layer.digest for layer in layers})

    def add_image(self, layers: Sequence[Object], config: bytes, manifest: bytes) -> None:
        """The image itself, for whoever has no envd."""
        for layer in layers:
            self._add_layer(layer)
        self._add(bundle.text_blob(config))
        self.manifests.append((bundle.IMAGE_TAG, manifest))

    def fetch(self, stack: Sequence[Derivation], emit: Sink) -> None:
        """What is fetched for a plan; what is not in the store is fetched now."""
        files = sources.files(stack)

        def get(item: Fetch) -> Path:
            try:
                return fetch(item, self._store, emit)
            except FetchError as error:
                return kept_file(item, error, self._store, emit)

        with workers(CONNECTIONS) as pool:
            for item, path in zip(files, pool.map(get, files), strict=True):
                size = path.stat().st_size
                self._add(Blob(item.output, size, path))
                self.sources.append(Source(item.name, item.output, size))
        self.sources.sort(key=lambda source: (source.digest, source.name))

    def add_bundle(self, project: Project, environment: Environment) -> None:
        """The lock, the included files, and what says what all of it is."""
        lock = bundle.text_blob(project.lock.read_bytes())
        self._add(lock)
        rows = []
        for include in sorted(environment.includes, key=lambda x: (git.repository(x.git), x.commit)):
            content = git.remembered(git.repository(include.git), include.commit, store_path() / "cache")
            if content is None:
                raise UsageError(
                    f"the store has lost what {git.public_url(include.git)} holds", advice="try again"
                )
            blob = bundle.text_blob(content)
            self._add(blob)
            rows.append(Included(git.repository(include.git), include.commit, blob.digest))
        whole = Bundle(project.name, lock.digest, tuple(dict.fromkeys(rows)), tuple(self.sources))
        if (key := self._key) is not None:
            whole = whole.signed(key.sign(whole.message(self._salt)))
        config, manifest = bundle.write(whole, {blob.digest: blob.size for blob in self.blobs.values()})
        self._add(config)
        self.manifests.append((bundle.TAG, manifest))

    def _add(self, blob: Blob) -> None:
        self.blobs[blob.digest] = blob

    def _add_layer(self, layer: Object) -> None:
        self._add(Blob(layer.digest, layer.size, lambda: layer_file(self._store, layer)))


def said(made: Made) -> str:
    """What was written, in words."""
    signed = f"signed by {made.signer}" if made.signer else "unsigned"
    files = f"{made.files} fetched files" if made.files else "no fetched files"
    return f"{made.path}: {made.layers} layers, {files}, {human_bytes(made.size)}, {signed}"
