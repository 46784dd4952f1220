"""Registry images at lock time: which one a name means now, and what is inside.

A name is pinned to the manifest of our platform, its configuration and its layers, each by
SHA-256. What is inside is read from the layers themselves, which the build needs anyway.
Formats: OCI image specification 1.1 (index, manifest, config); Docker image manifest V2,
schema 2; os-release(5); deb822(5) and sources.list(5).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.core import command
from engine.core.command import PATH
from engine.core.oci_model import LAYER_TYPES, ImageConfig
from engine.ecosystems.debian import releases as debian
from engine.errors import FetchError, ResolveError
from engine.lock.model import LockedBase
from engine.lock.packages import Config, Layer, LockedFile, LockedPackage
from engine.net import fetch
from engine.oci.filesystem import view
from grammar.environment import Position
from store import Store, archives, bodies, limits, pull, retry
from store.errors import BrokenOffError, RegistryError, TooLargeError

Log = Callable[[str], None]

_DIGEST = re.compile(r"[a-z0-9]+:[0-9a-f]{32,128}")
_FORMAT = 1  # of the remembered contents; raised when more is read from images


@dataclass(frozen=True)
class Pinned:
    """An image as its registry has it now: `packages` are its config and its layers, bottom
    first; `digest` is the manifest's, `manifest` its bytes."""

    name: str
    digest: str
    packages: tuple[LockedPackage, ...]
    manifest: bytes = b""


@dataclass(frozen=True)
class Contents:
    """What resolvers want to know of an image's inside.

    `facts` has "os" ("debian12"), "title", "suite", "glibc" or "musl", "python" ("3.12") with its
    "prefix" ("" for Debian's own), "apt" ("yes") and "shells"; a fact that is not so is left out.
    `status` is dpkg's, `sources` are sources.list lines, `keys` archive keys by file name.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    status: str = ""
    sources: tuple[str, ...] = ()
    keys: Mapping[str, bytes] = field(default_factory=dict)


def normalised(text: str, position: Position) -> pull.ImageName:
    """The whole name that an image's name stands for. Raises ResolveError."""
    try:
        return pull.parse_image(text)
    except ValueError as error:
        raise ResolveError(f"{error}", position=position) from error


def pin(text: str, position: Position, log: Log) -> Pinned:
    """Ask the registry what an image's name means. Raises ResolveError naming `position`."""
    name = normalised(text, position)
    try:
        return look_up(name, log)
    except (RegistryError, FetchError) as error:
        raise ResolveError(f"cannot resolve image '{text}': {error}", position=position) from error
    except ResolveError as error:
        raise ResolveError(f"image '{text}': {error}", position=position) from error


def look_up(name: pull.ImageName, log: Log) -> Pinned:
    """What an image's name means now, for our platform. Raises RegistryError, ResolveError."""
    log(f"looking up {name}")
    body = pull.manifest(name)
    document = _document(body, name)
    if "manifests" in document:
        digest = _for_platform(document["manifests"], name)
        body = pull.manifest(pull.ImageName(name.host, name.name, name.tag, digest))
        document = _document(body, name)
    return _pinned(name, body, document)


def _document(body: bytes, name: pull.ImageName) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
        if document["schemaVersion"] == 2:
            return dict(document)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ResolveError(
        f"{name.host} answers with a manifest that is neither OCI's nor Docker's schema 2",
        advice="push the image anew with a current tool",
    )


def _for_platform(entries: Sequence[Mapping[str, Any]], name: pull.ImageName) -> str:
    """The digest of the entry of an index that is for linux/amd64."""
    having = []
    try:
        for entry in entries:
            platform = entry.get("platform") or {}
            shown = "/".join(filter(None, (platform.get("os"), platform.get("architecture"))))
            if shown == "linux/amd64":
                digest = str(entry["digest"])
                if not _DIGEST.fullmatch(digest):
                    raise ValueError(f"the digest '{digest}'")
                return digest
            if shown and "unknown" not in shown:  # those are attestations
                having.append(archives.shown(shown))
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise ResolveError(f"its index is malformed ({error!r})") from error
    raise ResolveError(f"it has no variant for linux/amd64, only for {', '.join(having) or 'none'}")


def _pinned(name: pull.ImageName, body: bytes, document: Mapping[str, Any]) -> Pinned:
    try:
        config, layers = document["config"], document["layers"]
        digest = str(config["digest"])
        text = _blob(name, digest)
        about = json.loads(text)
        _check_config(about)
        if (about.get("os"), about.get("architecture")) != ("linux", "amd64"):
            raise ResolveError(f"it is for {about.get('os')}/{about.get('architecture')}, not linux/amd64")
        diff_ids = about["rootfs"]["diff_ids"]
        if len(diff_ids) != len(layers):
            raise ResolveError(f"its config names {len(diff_ids)} layers, its manifest {len(layers)}")
        label, file = _file("config", name, digest, len(text))
        packages: list[LockedPackage] = [Config(label, "", file)]
        for layer, diff_id in zip(layers, diff_ids, strict=True):
            media_type = str(layer["mediaType"])
            if media_type not in LAYER_TYPES:
                raise ResolveError(f"it has a layer of type {media_type}, which envd does not read")
            label, file = _file("layer", name, str(layer["digest"]), int(layer["size"]))
            packages.append(Layer(label, "", file, diff_id=str(diff_id), media_type=LAYER_TYPES[media_type]))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ResolveError(f"its manifest or config is malformed ({error!r})") from error
    # A digest that was asked for stays part of the name: the pin below is what it led to.
    return Pinned(str(name), f"sha256:{hashlib.sha256(body).hexdigest()}", tuple(packages), body)


def _check_config(about: Any) -> None:
    """Raise TypeError or ValueError when a config is not of the form that the image specification
    gives it: it is read again later, by those who take that for granted."""

    def is_a(value: Any, kind: type, what: str) -> Any:
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{what} is not a {kind.__name__}")
        return value

    def text(value: Any, what: str) -> None:
        if "\0" in (is_a(value, str, what) or "").encode("utf-8").decode("utf-8"):
            raise ValueError(f"{what} holds a zero byte")

    is_a(about, dict, "the config")
    for row in is_a(about.get("history"), list, "history") or ():
        text(is_a(row, dict, "history").get("created_by"), "created_by")
    config = is_a(about.get("config"), dict, "config") or {}
    for key in ("Env", "Entrypoint", "Cmd"):
        for word in is_a(config.get(key), list, key) or ():
            text(word if word is not None else 0, key)
    for key in ("User", "WorkingDir", "StopSignal"):
        text(config.get(key), key)
    for key in ("Labels", "ExposedPorts", "Volumes"):
        for name, value in (is_a(config.get(key), dict, key) or {}).items():
            text(name, key)
            if key == "Labels":
                text(value, key)


def _file(kind: str, name: pull.ImageName, digest: str, size: int) -> tuple[str, LockedFile]:
    algorithm, _, sha256 = digest.partition(":")
    if algorithm != "sha256" or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ResolveError(f"its digest '{digest}' cannot be checked: only sha256 is supported")
    label = f"{kind}-{sha256[:12]}"
    return label, LockedFile(label, f"oci://{name.repository}", sha256, size)


def _blob(name: pull.ImageName, digest: str) -> bytes:
    """A small blob, verified."""
    for attempt in range(1, retry.ATTEMPTS + 1):
        try:
            with pull.blob(name, digest) as (_, chunks):
                body = bodies.whole(chunks, "manifest", limits.current().manifest)
            break
        except TooLargeError as error:
            raise ResolveError(f"its config: {error}") from error
        except BrokenOffError as error:
            seconds = retry.wait(attempt, retry.TransientError(str(error)))
            if seconds is None:
                raise
            retry.announce(str(name), attempt, seconds, error)
            command.pause(seconds, str(name))
    if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
        raise ResolveError(f"the registry's config is not the {digest} that its manifest names")
    return body


# -- its configuration ------------------------------------------------------------------------


def config_of(pinned: Pinned, cache: Path) -> ImageConfig:
    """How the image starts containers: the basis of what is built on it. Raises FetchError."""
    (path,) = _fetched([p for p in pinned.packages if isinstance(p, Config)], cache)
    about = json.loads(path.read_bytes()).get("config") or {}

    def words(key: str) -> tuple[str, ...]:
        return tuple(str(word) for word in about.get(key) or ())

    pairs = (word.partition("=") for word in words("Env"))
    return ImageConfig(
        env=tuple((key, value) for key, _, value in pairs),
        entrypoint=words("Entrypoint"),
        cmd=words("Cmd"),
        user=str(about.get("User") or ""),
        workdir=str(about.get("WorkingDir") or ""),
        labels=tuple(sorted((str(k), str(v)) for k, v in (about.get("Labels") or {}).items())),
        exposed_ports=tuple(sorted(words("ExposedPorts"))),
        volumes=tuple(sorted(words("Volumes"))),
        stop_signal=str(about.get("StopSignal") or ""),
    )


def _fetched(packages: Sequence[LockedPackage], cache: Path) -> list[Path]:
    """The packages' blobs. `cache` is STORE/cache: they are kept for the build."""
    with Store.open(cache.parent) as store:
        return [fetch.fetch(p.file.fetch(), store) for p in packages]


# -- what is inside ---------------------------------------------------------------------------


def contents(digest: str, packages: Sequence[LockedPackage], cache: Path, log: Log) -> Contents:
    """What is inside an image. Remembered under `cache`, so that layers are read once.

    Raises FetchError, and BuildError for a layer that is no tar.
    """
    memory = cache / "images" / f"{digest.removeprefix('sha256:')}.json"
    try:
        found = json.loads(memory.read_text("utf-8"))
        if found["format"] == _FORMAT:
            keys = {k: base64.b64decode(v) for k, v in found["keys"].items()}
            return Contents(found["facts"], found["status"], tuple(found["sources"]), keys)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    log("reading the image's layers")
    layers = [p for p in packages if isinstance(p, Layer)]
    read = _read(_fetched(layers, cache), _search_path(packages, cache))
    memory.parent.mkdir(parents=True, exist_ok=True)
    temporary = memory.with_name(f".{memory.name}.{os.getpid()}")
    temporary.write_text(
        json.dumps(
            {
                "format": _FORMAT,
                "facts": dict(read.facts),
                "status": read.status,
                "sources": list(read.sources),
                "keys": {k: base64.b64encode(v).decode() for k, v in read.keys.items()},
            }
        ),
        "utf-8",
    )
    temporary.replace(memory)
    return read


_KEPT = re.compile(
    r"(etc|usr/lib)/os-release|var/lib/dpkg/status|etc/apt/sources\.list"
    r"|etc/apt/sources\.list\.d/[^/]+\.(list|sources)"
    r"|(etc/apt/trusted\.gpg\.d|etc/apt/keyrings|usr/share/keyrings)/[^/]+\.(gpg|asc)"
    r"|.*/libc(\.so\.6|-2\.\d+\.so)|(usr/)?lib/ld-musl-x86_64\.so\.1"
)
_SHELLS = {"sh": "/bin/sh", "bash": "/bin/bash", "zsh": "/bin/zsh", "fish": "/usr/bin/fish"}


def _search_path(packages: Sequence[LockedPackage], cache: Path) -> list[str]:
    pinned = Pinned("", "", tuple(packages))
    path = dict(config_of(pinned, cache).env).get("PATH") or PATH
    return [part for part in path.split(":") if part.startswith("/")]


def _read(blobs: Sequence[Path], path: Sequence[str]) -> Contents:
    image = view(blobs, lambda name: _KEPT.fullmatch(name) is not None)

    def text(name: str) -> str:
        return (image.read(name) or b"").decode("utf-8", "replace")

    release = _os_release(text("/etc/os-release") or text("/usr/lib/os-release"))
    facts = {
        "os": release.get("ID", "") + release.get("VERSION_ID", ""),
        "title": release.get("PRETTY_NAME", ""),
        "suite": release.get("VERSION_CODENAME", ""),
        **_libc(image),
        **_python(image, path),
        "apt": "yes" if image.find("/usr/bin/apt-get") and image.find("/usr/bin/dpkg") else "",
        "shells": " ".join(n for n, place in _SHELLS.items() if image.find(place) is not None),
    }
    lines = list(debian.one_line(text("/etc/apt/sources.list")))
    for name in image.list("/etc/apt/sources.list.d"):
        found = text(f"/etc/apt/sources.list.d/{name}")
        lines += debian.one_line(found) if name.endswith(".list") else debian.deb822(found)
    keys = {
        name: content
        for directory in ("/usr/share/keyrings", "/etc/apt/keyrings", "/etc/apt/trusted.gpg.d")
        for name in image.list(directory)
        if (content := image.read(f"{directory}/{name}"))
    }
    return Contents({k: v for k, v in facts.items() if v}, text("/var/lib/dpkg/status"), tuple(lines), keys)


def _os_release(text: str) -> dict[str, str]:
    found = {}
    for match in re.finditer(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE):
        found[match[1]] = match[2].strip().strip("\"'")
    return found


def _libc(image: Any) -> dict[str, str]:
    """The C library's kind and version: it says so itself, in a string."""
    for place in ("/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib"):
        library = image.read(f"{place}/libc.so.6")
        version = re.search(rb"GNU C Library .*? version (2\.\d+)", library or b"")
        if version:
            return {"glibc": version[1].decode()}
    # Debian can have musl beside its own: it is the C library where there is no other.
    version = re.search(rb"\b(1\.\d+)\.\d+\0", image.read("/lib/ld-musl-x86_64.so.1") or b"")
    return {"musl": version[1].decode()} if version else {}


def _python(image: Any, path: Sequence[str]) -> dict[str, str]:
    """The Python that `python3` starts, and the prefix that its packages go below."""
    for directory in path:
        where = image.resolve(f"{directory}/python3")
        if where is None:
            continue
        prefix = str(Path(where).parent.parent)
        match = re.fullmatch(r"python(3\.\d+)", Path(where).name)
        versions = (
            [match[1]]
            if match
            else [
                name.removeprefix("python")
                for name in image.list(f"{prefix}/lib")
                if re.fullmatch(r"python3\.\d+", name)
            ]
        )
        if len(versions) != 1:
            continue
        command = any(image.find(f"{d}/python") is not None for d in path)
        debians = prefix == "/usr" and image.find("/usr/lib/python3/dist-packages") is not None
        return {
            "python": versions[0],
            "prefix": "" if debians else prefix,
            "python_command": "yes" if command else "",
        }
    return {}


# -- as a base --------------------------------------------------------------------------------


def base(text: str, position: Position, cache: Path, log: Log) -> LockedBase:
    """The locked base that an image's name means now. Raises ResolveError."""
    pinned = pin(text, position, log)
    try:
        inside = contents(pinned.digest, pinned.packages, cache, log)
        config = config_of(pinned, cache)
    except FetchError as error:
        raise ResolveError(f"image '{text}': {error}", position=position) from error
    facts = dict(inside.facts)
    return LockedBase(
        "image",
        facts.pop("os", ""),
        facts.pop("suite", ""),
        image=pinned.name,
        digest=pinned.digest,
        packages=pinned.packages,
        config=config,
        facts=facts,
    )
