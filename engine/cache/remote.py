"""Packs in a repository of a registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.cache.place import Blob, Sent
from engine.oci import blob_memory
from engine.oci.assemble import MANIFEST_TYPE
from store import Store
from store.errors import CorruptError, RegistryError
from store.references import Reference, parse_reference
from store.registry import Known, Part, Registry
from store.retry import Patience

MOST_MANIFEST = 4 << 20  # bytes
# Nobody waits for a cache: what it has can be built. Seconds.
_PATIENCE = Patience(first=5, silent=5, attempts=1)


class Remote:
    """A repository ("HOST/REPOSITORY") as a place of packs; see `engine.cache.place.Place`."""

    def __init__(self, text: str, store: Store) -> None:
        found = parse_reference(text)
        self.reference = Reference(found.host, found.name)
        self._store = store
        self._registry = Registry(self.reference, patience=_PATIENCE)
        self._writing = Registry(self.reference)  # what is to be published is worth waiting for

    @property
    def name(self) -> str:
        """HOST/REPOSITORY."""
        return f"{self.reference.host}/{self.reference.name}"

    def manifest(self, tag: str) -> bytes | None:
        """The manifest under a tag; None when there is none."""
        found = self._registry.manifest(tag, (MANIFEST_TYPE,))
        if found is not None and len(found) > MOST_MANIFEST:
            raise RegistryError(f"{self.name}:{tag}: its manifest has {len(found)} bytes")
        return found

    def read(self, digest: str, limit: int) -> bytes | None:
        """A blob of at most `limit` bytes; None when it is not there."""
        with self._registry.blob(digest) as opened:
            if opened is None:
                return None
            data = bytearray()
            for part in opened[1]:
                data += part
                if len(data) > limit:
                    raise RegistryError(f"{self.name}: blob {digest[:19]} has more than {limit} bytes")
        return bytes(data)

    def bring(self, digest: str, size: int, store: Store, progress: Callable[[int], None]) -> bool:
        """Bring a blob into the store; whether it was there. Raises CorruptError for other bytes."""
        with self._registry.sized_blob(digest, 0, size) as opened:
            if opened is None:
                return False
            with store.blob_writer() as writer:
                for part in opened[1]:
                    writer.write(part)
                    if writer.size > size:
                        raise CorruptError(f"blob {digest[:19]} has more than {size} bytes")
                    progress(writer.size)
                if writer.size != size:
                    raise RegistryError(f"blob {digest[:19]} ended after {writer.size} of {size} bytes")
                writer.commit(digest)
        blob_memory.remember(store, self.reference.host, self.reference.name, [digest])
        return True

    def publish(self, blobs: Sequence[Blob], manifests: Sequence[tuple[str, bytes]]) -> Sent:
        """Keep blobs, then the manifests that name them. What another repository of the registry is
        known to have is mounted from there."""
        host, name, store = self.reference.host, self.reference.name, self._store
        parts = [Part(b.digest, b.size, b.content, new=isinstance(b.content, bytes)) for b in blobs]
        known = Known(
            lambda digest: blob_memory.places(store, host, digest),
            lambda digest: blob_memory.forget(store, host, name, digest),
        )
        # What keeps further layers comes first: who finds the first manifest finds all.
        report = self._writing.push_tags(parts, manifests[::-1], known)
        blob_memory.remember(store, host, name, [b.digest for b in blobs])
        return Sent(report.sent.blobs, report.sent.bytes, report.skipped.blobs, report.mounted.blobs)

    def remove(self, tag: str, digest: str, other: str = "") -> None:
        """Remove a tag; where a registry only removes manifests with all their tags, that one, unless
        the tag `other` names it, too. Raises RegistryError, too, when the registry does not allow it."""
        if self._registry.remove(tag, "" if other else digest):
            return
        if other:
            raise RegistryError(
                f"{self.name}: '{tag}' and '{other}' are one manifest, and the registry removes both or none"
            )
        raise RegistryError(
            f"{self.name}: the registry does not let packs be removed; let it remove old tags by a "
            "rule of its own, or allow it (docker-registry: `delete: enabled: true` in its `storage`)"
        )

    def has(self, digest: str) -> bool:
        """Whether a blob is there."""
        return self._registry.has_blob(digest)

    def tags(self) -> list[str]:
        """Every tag."""
        return self._registry.tags()
