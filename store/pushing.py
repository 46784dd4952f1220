"""Pushing an image with as few requests as it takes.

What is addressed by its content is asked for by its content: a manifest that is there by its digest
has all that it names, so an image that is there costs one request, and one for each tag. Blobs that are
remembered to be in the repository are not asked for; those that are remembered to be in another one of
the registry are mounted from there without being asked for first. What is remembered may be wrong (a
registry that was emptied): then it refuses the manifest, and every blob is asked for. Bytes that are
not here are fetched only for a blob that nobody has.

Protocol: OCI distribution specification 1.1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from store import retry, uploads
from store.channel import Channel
from store.errors import RegistryError
from store.exchange import Answer, Body
from store.references import PushReport, count
from store.threads import workers

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
PARALLEL = 6
_AGAIN = 2  # times that a manifest which is refused is sent again, after its blobs were looked at
_DIGEST_HEADER = "Docker-Content-Digest"


@dataclass(frozen=True)
class Part:
    """One blob of what is pushed. `content` may be a function that gets the bytes here: it is called
    only when the registry has the blob nowhere. What is `new` is sent without asking for it."""

    digest: str
    size: int
    content: Path | bytes | Callable[[], Path]
    new: bool = False


@dataclass(frozen=True)
class Known:
    """What is remembered of blobs: `where` are the repositories of the registry that had one;
    `forget` is told of one that the repository that is pushed to has not."""

    where: Callable[[str], Sequence[str]] = lambda digest: ()
    forget: Callable[[str], None] = lambda digest: None


@dataclass(frozen=True)
class Watch:
    """Who is told of a push: of each blob that was sent (digest, bytes), and of how far one is
    (digest, bytes so far, of how many)."""

    sent: Callable[[str, int], None] = lambda digest, size: None
    moved: Callable[[str, int, int], None] = lambda digest, sent, size: None


def push(
    channel: Channel,
    parts: Iterable[Part],
    manifest: bytes,
    tags: Sequence[str],
    known: Known | None = None,
    watch: Watch | None = None,
) -> PushReport:
    """Push parts side by side, then the manifest that names them, under `tags`. Raises RegistryError,
    CorruptError, and what a part's function raises."""
    unique = {part.digest: part for part in parts}
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    if _head(channel, digest).status == 200:
        named = [tag for tag in tags if _head(channel, tag).headers.get(_DIGEST_HEADER) != digest]
        _name(channel, manifest, named)
        return _report(dict.fromkeys(unique, "skipped"), unique)
    done = _send(_Push(channel, known or Known(), watch or Watch()), unique, [(tags[0], manifest)])
    for tag in tags[1:]:
        put_manifest(channel, manifest, tag)
    for tag in tags:
        _check_kept(channel, tag)
    return _report(done, unique)


def push_tags(
    channel: Channel,
    parts: Iterable[Part],
    manifests: Sequence[tuple[str, bytes]],
    known: Known | None = None,
) -> PushReport:
    """Push parts side by side, then, one after the other, manifests (tag, bytes) that name them: with no
    request more than that takes. Raises as `push` does."""
    unique = {part.digest: part for part in parts}
    return _report(_send(_Push(channel, known or Known(), Watch()), unique, manifests), unique)


def _send(push: _Push, parts: dict[str, Part], manifests: Sequence[tuple[str, bytes]]) -> dict[str, str]:
    """Send what lacks, then the manifests; how each part got there, by its digest."""
    done = push.all(parts.values())
    for tag, manifest in manifests:
        answer = _put(push.channel, manifest, tag)
        for _ in range(_AGAIN):
            if answer.status not in (400, 404, 422):
                break
            # It is not as it was remembered (the registry has been emptied, perhaps), or what others sent
            # at the same time came in between.
            for digest, how in done.items():
                if how == "believed":
                    push.known.forget(digest)
            done |= push.all(parts.values(), anew=True)
            answer = _put(push.channel, manifest, tag)
        push.channel.expect(answer, _UPLOADING, 201)
    return done


def _report(done: dict[str, str], parts: dict[str, Part]) -> PushReport:
    kinds = {"sent": ("sent",), "skipped": ("skipped", "believed"), "mounted": ("mounted",)}
    return PushReport(
        **{k: count([parts[d].size for d, how in done.items() if how in v]) for k, v in kinds.items()}
    )


@dataclass(frozen=True)
class _Push:
    channel: Channel
    known: Known
    watch: Watch

    def all(self, parts: Iterable[Part], *, anew: bool = False) -> dict[str, str]:
        """How each part got there, by its digest. With `anew` nothing is believed."""
        wanted = list(parts)
        with workers(PARALLEL) as pool:
            done = list(pool.map(lambda part: self._one(part, anew), wanted))
        return {part.digest: how for part, how in zip(wanted, done, strict=True)}

    def _one(self, part: Part, anew: bool) -> str:
        channel, name = self.channel, self.channel.reference.name
        places = self.known.where(part.digest)
        if name in places and not anew:
            return "believed"
        upload = None
        elsewhere = next((place for place in places if place != name), "")
        if elsewhere:
            upload = uploads.begin(channel, part.digest, elsewhere)
            if upload is None:
                return "mounted"
        if (anew or not part.new) and has_blob(channel, part.digest):
            return "skipped"
        content = part.content() if callable(part.content) else part.content
        moved = self.watch.moved
        blob = uploads.Blob(part.digest, part.size, content, lambda sent: moved(part.digest, sent, part.size))
        uploads.send(channel, blob, upload)
        self.watch.sent(part.digest, part.size)
        return "sent"


def has_blob(channel: Channel, digest: str) -> bool:
    """Whether the repository has a blob. Raises RegistryError."""
    answer = channel.request("HEAD", channel.blob(digest))
    return channel.expect(answer, f"blob {digest[:19]}", 200, 404).status == 200


# -- manifests --------------------------------------------------------------------------------

_UPLOADING = "uploading the manifest"


def put_manifest(channel: Channel, manifest: bytes, tag: str) -> None:
    """Upload a manifest under a tag. Raises RegistryError."""
    channel.expect(_put(channel, manifest, tag), _UPLOADING, 201)


def _put(channel: Channel, manifest: bytes, tag: str) -> Answer:
    return channel.request(
        "PUT",
        channel.manifest(tag),
        headers={"Content-Type": json.loads(manifest).get("mediaType", MANIFEST_TYPE)},
        body=Body(len(manifest), lambda: manifest),
    )


def _head(channel: Channel, name: str) -> Answer:
    answer = channel.request("HEAD", channel.manifest(name), headers={"Accept": MANIFEST_TYPE})
    return channel.expect(answer, f"manifest {name}", 200, 404)


def _name(channel: Channel, manifest: bytes, tags: Sequence[str]) -> None:
    """Put a manifest that is there under more tags."""
    for tag in tags:
        put_manifest(channel, manifest, tag)
    for tag in tags:
        _check_kept(channel, tag)


def _check_kept(channel: Channel, tag: str) -> None:
    """Ask for a manifest that was just uploaded: some answer 201 and keep nothing (a full disk, a proxy
    in the registry's place). Raises RegistryError."""
    attempt = 1
    while _head(channel, tag).status != 200:
        reason = retry.TransientError(f"it has taken {channel.reference.name}:{tag}, and has it not")
        seconds = retry.wait(attempt, reason, of=channel.patience.attempts)
        if seconds is None:
            raise RegistryError(
                f"{channel.host}: {reason} ({retry.tried(attempt, reason)}); is its disk full, or "
                "does another server answer in its place?"
            )
        channel.wait(attempt, seconds, reason)
        attempt += 1
