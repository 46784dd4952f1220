"""Looking after a place of packs: what is there, and whether it is whole.

Nothing is taken on here, so packs that nobody trusted has signed are listed and read, too.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from engine.cache import pack, sources
from engine.cache.directory import Directory
from engine.cache.keys import TrustedKey
from engine.cache.pack import MalformedError, Pack
from engine.cache.place import Place
from engine.cache.record import Record, signers
from engine.cache.remote import Remote
from engine.oci.assemble import digest_of
from engine.realise import confined
from store import Store
from store.errors import StoreError
from store.threads import workers

PARALLEL = 6  # packs or layers that are asked for at once
_OURS = re.compile(r"plan-[0-9a-f]{32}(-\d+)?|head-[a-z0-9-]+-[0-9a-f]{12}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_SIZE = 1 << 50  # bytes


@dataclass(frozen=True)
class Listed:
    """A pack: its place and tag, how many layers it has and their bytes, how many entries, the names
    that have signed some, and how many of the entries a trusted key has signed. `problem`: why it cannot be
    read [""]."""

    place: str
    tag: str
    layers: int = 0
    bytes: int = 0
    entries: int = 0
    signed_by: tuple[str, ...] = ()
    trusted: int = 0
    problem: str = ""


@dataclass(frozen=True)
class _Read:
    """A pack that was read, and the layers of its manifests: digest -> bytes."""

    pack: Pack
    layers: Mapping[str, int]


@dataclass(frozen=True)
class Found:
    """The manifests of a place by their tags, each pack's first one alone: of `packs`, and of `sources` that
    were fetched. `digests` are those of all that is tagged there."""

    packs: Mapping[str, bytes]
    sources: Mapping[str, bytes]
    digests: Mapping[str, str]


def manifests(place: Place) -> Found:
    """What is in a place; other things that are tagged there are left out. Raises RegistryError, OSError."""

    def manifest(tag: str) -> tuple[str, bytes | None]:
        return tag, place.manifest(tag)

    with workers(PARALLEL) as pool:
        every = dict(pool.map(manifest, sorted(place.tags())))
    kinds = {tag: _kind(tag, data) for tag, data in every.items() if data is not None}
    packs = {tag: data for tag, data in every.items() if data and kinds[tag] == pack.ARTIFACT_TYPE}
    further = _further(packs)
    return Found(
        {tag: data for tag, data in packs.items() if tag not in further},
        {tag: data for tag, data in every.items() if data and kinds[tag] == sources.ARTIFACT_TYPE},
        {tag: digest_of(data) for tag, data in every.items() if data is not None},
    )


def _kind(tag: str, manifest: bytes) -> str:
    """The artifact type of a manifest; of one that is damaged, what it should be by its tag."""
    try:
        return str(json.loads(manifest).get("artifactType"))
    except (ValueError, RecursionError, AttributeError):
        return pack.ARTIFACT_TYPE if _OURS.fullmatch(tag) else ""


def _further(found: Mapping[str, bytes]) -> set[str]:
    """The tags that only keep further layers."""
    names: set[str] = set()
    for data in found.values():
        with suppress(MalformedError):
            names.update(pack.read_manifest(data).further)
    return names


def listed(place: Place, trusted: Sequence[TrustedKey], salt: str) -> list[Listed]:
    """The packs of a place, by tag. Raises RegistryError, OSError when the place does not answer."""

    def one(item: tuple[str, bytes]) -> Listed:
        tag = item[0]
        try:
            found = _read(place, *item)
        except MalformedError as error:
            return Listed(place.name, tag, problem=str(error))
        records = found.pack.records
        return Listed(
            place.name,
            tag,
            len(found.layers),
            sum(found.layers.values()),
            len(records),
            tuple(signers(records)),
            sum(r.signer(trusted, salt) is not None for r in records),
        )

    with workers(PARALLEL) as pool:
        return list(pool.map(one, manifests(place).packs.items()))


@dataclass(frozen=True)
class Verified:
    """How many packs of a place were looked at, and what is wrong with them, a line each."""

    packs: int
    problems: tuple[str, ...]


def verified(place: Place, trusted: Sequence[TrustedKey], salt: str, *, whole: bool) -> Verified:
    """What is wrong with the packs of a place: manifests and entries that cannot be read, entries that no
    trusted key has signed, layers that are not there. With `whole` every layer's bytes are read. Raises
    RegistryError, OSError when the place does not answer."""
    problems: list[str] = []
    layers: dict[str, int] = {}
    of: dict[str, list[str]] = {}
    found = manifests(place)
    for tag, manifest in found.packs.items():
        try:
            one = _read(place, tag, manifest)
        except (MalformedError, StoreError) as error:  # the others may be whole
            problems.append(f"{place.name}:{tag}: {error}")
            continue
        if strange := _not_trusted(one.pack.records, trusted, salt):
            problems.append(f"{place.name}:{tag}: {strange}")
        for digest, size in one.layers.items():
            layers[digest] = size
            of.setdefault(digest, []).append(tag)
    for tag, manifest in found.sources.items():
        try:
            files = _sizes(manifest)
        except MalformedError as error:
            problems.append(f"{place.name}:{tag}: {error}")
            continue
        layers |= files
        for digest in files:
            of.setdefault(digest, []).append(tag)
    with workers(PARALLEL) as pool:
        wrong = pool.map(lambda item: _of_layer(place, *item, whole=whole), layers.items())
        for digest, problem in zip(layers, wrong, strict=True):
            if problem:
                more = f" and {len(of[digest]) - 1} more" if len(of[digest]) > 1 else ""
                problems.append(f"{place.name}:{of[digest][0]}{more}: blob {digest[:19]}: {problem}")
    return Verified(len(found.packs), tuple(problems))


def _not_trusted(records: Sequence[Record], trusted: Sequence[TrustedKey], salt: str) -> str:
    """What is to be said of entries that no trusted key has signed, "" when there are none."""
    strange = [r for r in records if r.signer(trusted, salt) is None]
    if not strange:
        return ""
    names = signers(strange)
    return (
        f"{len(strange)} of {len(records)} entries are signed by no key that is trusted "
        f"({', '.join(names[:5]) or 'by nobody'})"
    )


def _of_layer(place: Place, digest: str, size: int, *, whole: bool) -> str:
    """What is wrong with a layer, "" when nothing is."""
    try:
        if not whole:
            return "" if _has(place, digest, size) else "is not there"
        with scratch_store() as store:
            return "" if place.bring(digest, size, store, lambda _: None) else "is not there"
    except StoreError as error:
        return str(error)


@contextmanager
def scratch_store() -> Iterator[Store]:
    """A store for as long as this lasts: looking at a place puts nothing into the user's."""
    with (
        tempfile.TemporaryDirectory(prefix="envd-cache-") as directory,
        Store.open(Path(directory) / "store") as store,
    ):
        yield store


def _has(place: Place, digest: str, size: int) -> bool:
    if isinstance(place, Directory):
        info = confined.lstat(place.path, f"blobs/sha256/{digest.removeprefix('sha256:')}")
        return info is not None and info.st_size == size
    assert isinstance(place, Remote)
    return place.has(digest)


def _read(place: Place, tag: str, data: bytes) -> _Read:
    """The pack of a manifest. Raises MalformedError, RegistryError, OSError."""
    head = pack.read_manifest(data)
    layers = _sizes(data)
    for other in head.further:
        if (more := place.manifest(other)) is None:
            raise MalformedError(f"it is incomplete: {other} is not there")
        pack.read_manifest(more)
        layers |= _sizes(more)
    config = place.read(head.config, pack.MOST_CONFIG)
    if config is None:
        raise MalformedError("its configuration is not there")
    return _Read(pack.read_config(config, head, frozenset(layers)), layers)


def _sizes(manifest: bytes) -> dict[str, int]:
    """The layers of a manifest: digest -> bytes. Raises MalformedError."""
    try:
        rows = [(row["digest"], row["size"]) for row in json.loads(manifest)["layers"]]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise MalformedError("its manifest is malformed") from error
    for digest, size in rows:
        if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
            raise MalformedError(f"{str(digest)[:80]!r} is not a valid sha256 digest")
        if type(size) is not int or not 0 <= size <= _MOST_SIZE:
            raise MalformedError(f"a layer is of {str(size)[:80]} bytes")
    return dict(rows)
