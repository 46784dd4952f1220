"""A bundle: a lock and all that a build of it needs, in one OCI layout archive.

Under the tag `bundle` is an artifact whose layers are the lock, the fetched files and the files of included
repositories, and whose configuration says what they are; under `plan-…` a pack with the layers (see
`engine.cache.pack`), under `image` the image itself. They share blobs.

A fetched file needs no trust: a build compares it with the lock of its own project. What the lock is, what
an included repository holds and what a build key gave does: the first two are in the configuration, which is
signed as a pack's records are: "envd bundle v1", a line feed, and its canonical JSON without signatures,
with the salt of the namespace.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.cache.layout_archive import Archive
from engine.cache.place import Blob
from engine.oci.assemble import MANIFEST_TYPE, digest_of
from store.hashing import canonical

TAG, IMAGE_TAG = "bundle", "image"
ARTIFACT_TYPE = "application/vnd.envd.bundle.v1"
_CONFIG_TYPE = "application/vnd.envd.bundle.config.v1+json"
_LOCK_TYPE = "application/vnd.envd.lock.v1+toml"
_INCLUDE_TYPE = "application/vnd.envd.include.v1+json"
_SOURCE_TYPE = "application/octet-stream"
_TITLE = "org.opencontainers.image.title"
_CONTEXT = b"envd bundle v1\n"
_LARGEST_CONFIG = 1 << 20
LARGEST_LOCK = 64 << 20  # bytes
LARGEST_INCLUDE = 256 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY = re.compile(r"[0-9a-f]{32}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MOST_SIGNATURES, _MOST_INCLUDES = 16, 1000


@dataclass(frozen=True)
class Source:
    """A fetched file: what it is called, its digest, and its size in bytes."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True)
class Included:
    """The files of an included repository as of a commit, as the store's cache has them under the name
    `repository`: the digest of that text."""

    repository: str
    commit: str
    digest: str


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds besides packs. `lock` is the lock's digest, `project` what its project is called;
    `signatures` are "NAME:BASE64"."""

    project: str
    lock: str
    includes: tuple[Included, ...] = ()
    sources: tuple[Source, ...] = ()
    signatures: tuple[str, ...] = ()

    def message(self, salt: str) -> bytes:
        """The bytes that are signed."""
        return _CONTEXT + canonical({"salt": salt, **self._unsigned()})

    def signed(self, signature: str) -> Bundle:
        """Another like it, with one signature more."""
        return replace(self, signatures=(*self.signatures, signature))

    def _unsigned(self) -> dict[str, Any]:
        rows = [{"repository": x.repository, "commit": x.commit, "digest": x.digest} for x in self.includes]
        return {"version": 1, "project": self.project, "lock": self.lock, "includes": rows}

    def config(self) -> bytes:
        """The configuration."""
        return canonical({**self._unsigned(), "signatures": list(self.signatures)})


def write(bundle: Bundle, sizes: Mapping[str, int]) -> tuple[Blob, bytes]:
    """The configuration and the manifest of a bundle; `sizes` are in bytes, by digest."""
    config = bundle.config()
    rows = [_row(_LOCK_TYPE, bundle.lock, sizes[bundle.lock], "envd.lock")]
    rows += [_row(_INCLUDE_TYPE, x.digest, sizes[x.digest], x.commit) for x in bundle.includes]
    rows += [_row(_SOURCE_TYPE, x.digest, x.size, x.name) for x in bundle.sources]
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": {"mediaType": _CONFIG_TYPE, "digest": digest_of(config), "size": len(config)},
        "layers": rows,
    }
    manifest = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return Blob(digest_of(config), len(config), config), manifest


def _row(kind: str, digest: str, size: int, title: str) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest, "size": size, "annotations": {_TITLE: title}}


def read(archive: Archive) -> Bundle:
    """What an archive holds besides packs. Raises UsageError for whatever is not as `write` writes it."""
    manifest = archive.manifests.get(TAG)
    if manifest is None:
        raise archive.bad("is not a bundle: it is another OCI image layout")
    try:
        document = json.loads(manifest)
        if document["artifactType"] != ARTIFACT_TYPE:
            raise ValueError(f"it is {str(document['artifactType'])[:80]!r}")
        config = json.loads(archive.read(document["config"]["digest"], _LARGEST_CONFIG))
        if config["version"] != 1:
            raise ValueError(
                f"it is of version {str(config['version'])[:20]!r}, which this envd does not know"
            )
        bundle = Bundle(
            project=_text(config["project"], 200),
            lock=_matching(_DIGEST, config["lock"]),
            includes=tuple(_included(row) for row in _rows(config["includes"], _MOST_INCLUDES)),
            sources=tuple(_sources(document["layers"])),
            signatures=tuple(_text(x, 200) for x in _rows(config["signatures"], _MOST_SIGNATURES)),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        said = str(error) if type(error) is ValueError else "its configuration is malformed"
        raise archive.bad(f"is not a bundle that can be used: {said}") from error
    for digest in (bundle.lock, *(x.digest for x in bundle.includes)):
        if digest not in archive.places:
            raise archive.bad(f"{digest} is missing")
    return bundle


def _sources(rows: Sequence[Any]) -> list[Source]:
    found = []
    for row in rows:
        if row["mediaType"] == _SOURCE_TYPE:
            name = _text((row.get("annotations") or {}).get(_TITLE, "a file"), 1000)
            found.append(Source(name, _matching(_DIGEST, row["digest"]), int(row["size"])))
    return found


def _included(row: Any) -> Included:
    return Included(
        _matching(_REPOSITORY, row["repository"]),
        _matching(_COMMIT, row["commit"]),
        _matching(_DIGEST, row["digest"]),
    )


def _matching(pattern: re.Pattern[str], value: object) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise ValueError(f"{str(value)[:80]!r} is not {pattern.pattern}")
    return value


def _text(value: object, most: int) -> str:
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        raise ValueError(f"{str(value)[:80]!r} is not a line of text")
    return value


def _rows(value: object, most: int) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"it has no list of at most {most} where it should")
    return value


def text_blob(content: bytes) -> Blob:
    """A blob of bytes that are at hand."""
    return Blob(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), content)
