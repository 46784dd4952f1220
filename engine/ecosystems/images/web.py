"""Files from the web and from other images, pinned: the sections "files" and "images" of a lock.

What an earlier lock pins for the same words is kept, so that adding one moves no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.core.urls import redacted
from engine.ecosystems.images import resolver as image
from engine.ecosystems.includes.git import public_url
from engine.errors import ResolveError
from engine.lock.model import LockedInclude
from engine.lock.packages import Layer, LockedFile, WebFile
from engine.net.pin import pin
from grammar.environment import Copy, Environment, Http
from store import Store

Log = Callable[[str], None]


def filename(step: Http) -> str:
    """The file's name: the one given, or the URL's last part. Raises ResolveError for none."""
    found = step.filename or unquote(urlsplit(step.url).path).rstrip("/").rpartition("/")[2]
    if not found or found in (".", ".."):
        raise ResolveError(
            f"io.http: {redacted(step.url)} names no file",
            position=step.position,
            advice="give it one with filename=",
        )
    return found


def files(environment: Environment) -> list[Http]:
    """The files asked for. Raises ResolveError when two would have one name."""
    found: dict[str, Http] = {}
    for step in environment.steps:
        if not isinstance(step, Http):
            continue
        name = filename(step)
        other = found.setdefault(name, step)
        if text_of(other) != text_of(step):
            raise ResolveError(
                f"io.http: another file is called '{name}', at line {other.position.line}",
                position=step.position,
                advice="give one another name with filename=",
            )
    return list(found.values())


def text_of(step: Http) -> str:
    """The request string of a file."""
    return " ".join(filter(None, (redacted(step.url), step.checksum, step.filename)))


def file_requests(environment: Environment) -> tuple[str, ...]:
    """The request strings of the section "files"."""
    return tuple(sorted(text_of(step) for step in files(environment)))


def image_requests(environment: Environment) -> tuple[str, ...]:
    """The request strings of the section "images"."""
    return tuple(sorted({s.image for s in _copies(environment) if s.image}))


def includes(environment: Environment) -> tuple[LockedInclude, ...]:
    """The included repositories, at the commits that were evaluated."""
    found = {
        (public_url(i.git), i.ref): LockedInclude(public_url(i.git), i.ref, i.commit)
        for i in environment.includes
    }
    return tuple(row for _, row in sorted(found.items()))


def include_requests(environment: Environment) -> tuple[str, ...]:
    """The request strings of the section "includes"."""
    return tuple(" ".join(filter(None, (row.git, row.ref))) for row in includes(environment))


def _copies(environment: Environment) -> list[Copy]:
    return [s for s in environment.steps if isinstance(s, Copy)]


def resolve_files(environment: Environment, kept: Sequence[WebFile], store: Path, log: Log) -> list[WebFile]:
    """The files asked for, each pinned by what came, or by its checksum. Raises ResolveError."""
    old = {p.request: p for p in kept}
    found = []
    with Store.open(store) as opened:
        for step in files(environment):
            request = text_of(step)
            if request in old:
                found.append(old[request])
                continue
            file = _pinned(step, opened, log)
            found.append(WebFile(file.name, "", file, request=request))
    return found


def _pinned(step: Http, store: Store, log: Log) -> LockedFile:
    name = filename(step)
    if step.checksum and (there := store.blob(step.checksum)) is not None:
        return LockedFile(
            name, redacted(step.url), step.checksum.removeprefix("sha256:"), there.stat().st_size
        )
    log(f"fetching {redacted(step.url)}")
    file, _ = pin(name, step.url, store, step.position)
    if step.checksum and step.checksum != f"sha256:{file.sha256}":
        raise ResolveError(
            f"io.http: {redacted(step.url)} has the checksum sha256:{file.sha256} "
            f"({file.size} bytes), not {step.checksum}",
            position=step.position,
        )
    return replace(file, url=redacted(step.url))  # a login is nobody else's business


def resolve_images(environment: Environment, kept: Sequence[Layer], log: Log) -> list[Layer]:
    """The layers of every image that files come from. Raises ResolveError."""
    found: list[Layer] = []
    done: set[str] = set()
    for step in _copies(environment):
        if not step.image or step.image in done:
            continue
        done.add(step.image)
        rows = [p for p in kept if p.image == step.image]
        if not rows:
            pinned = image.pin(step.image, step.position, log)
            layers = [p for p in pinned.packages if isinstance(p, Layer)]
            rows = [
                replace(layer, version=pinned.digest, image=step.image, position=number)
                for number, layer in enumerate(layers)
            ]
        found += rows
    return found


def layers_of(name: str, packages: Sequence[Layer]) -> list[Layer]:
    """The layers of one image of the section "images", bottom first."""
    rows = [p for p in packages if p.image == name]
    return sorted(rows, key=lambda p: p.position or 0)
