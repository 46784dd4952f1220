"""Reading from OCI registries by an image's name, through mirrors.

Names follow Docker's rules (distribution/reference, normalize.go): "ubuntu:22.04" means
docker.io/library/ubuntu:22.04. ENVD_REGISTRY_MIRRORS="docker.io=http://127.0.0.1:5000,…" names
registries to ask first, in the order given; the registry itself comes last.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache

from store.errors import RegistryError
from store.references import Reference
from store.registry import Registry

DEFAULT_HOST = "docker.io"
SETTING = "ENVD_REGISTRY_MIRRORS"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MEDIA_TYPES = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)

_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?")
_NAME = re.compile(r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class ImageName:
    """A whole image name. With a `digest`, the tag says nothing any more."""

    host: str
    name: str
    tag: str = "latest"
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"

    @property
    def repository(self) -> str:
        """HOST/NAME."""
        return f"{self.host}/{self.name}"


def parse_image(text: str) -> ImageName:
    """The parts of "[HOST/]NAME[:TAG][@DIGEST]". Raises ValueError."""
    rest, _, digest = text.partition("@")
    first, slash, tail = rest.partition("/")
    if slash and (set(".:") & set(first) or first == "localhost"):
        host, rest = first, tail
    else:
        host = DEFAULT_HOST
    if host in ("index.docker.io", "registry-1.docker.io"):
        host = DEFAULT_HOST
    name, _, tag = rest.partition(":")
    if host == DEFAULT_HOST and "/" not in name:
        name = f"library/{name}"
    fits = (
        _HOST.fullmatch(host)
        and _NAME.fullmatch(name)
        and (_TAG.fullmatch(tag) if ":" in rest else True)
        and (_DIGEST.fullmatch(digest) if "@" in text else True)
    )
    if not fits:
        raise ValueError(
            f"'{text}' is not a valid image name; write [HOST/]NAME[:TAG], such as python:3.12-slim"
        )
    return ImageName(host, name, tag or "latest", digest)


def mirrors(host: str) -> list[str]:
    """The mirrors of a registry that ENVD_REGISTRY_MIRRORS names. Raises RegistryError."""
    found = []
    for part in filter(None, re.split(r"[,\s]+", os.environ.get(SETTING, ""))):
        registry, _, url = part.partition("=")
        if not re.fullmatch(r"https?://[^/?#]+/?", url):
            raise RegistryError(
                f"{SETTING}: '{part}' is not REGISTRY=URL, such as docker.io=http://127.0.0.1:5000"
            )
        if registry == host:
            found.append(url.rstrip("/"))
    return found


@cache
def _registry(image: ImageName, endpoint: str) -> Registry:
    return Registry(Reference(image.host, image.name, image.tag), endpoint)


def _sources(image: ImageName) -> Iterator[Registry]:
    bare = ImageName(image.host, image.name)
    for endpoint in (*mirrors(image.host), ""):
        yield _registry(bare, endpoint)


def manifest(image: ImageName) -> bytes:
    """The manifest (or index) that a name means now. Raises RegistryError.

    With a digest it is checked against it.
    """
    problems = []
    for registry in _sources(image):
        try:
            found = registry.manifest(image.digest or image.tag, MEDIA_TYPES)
        except RegistryError as error:
            problems.append(str(error))
            continue
        if found is None:
            problems.append(f"{registry.place} has no image {image}")
        elif image.digest and f"sha256:{hashlib.sha256(found).hexdigest()}" != image.digest:
            problems.append(f"{registry.place} answers with another manifest than {image.digest}")
        else:
            return found
    raise RegistryError("; ".join(problems))


@contextmanager
def blob(
    image: ImageName, digest: str, offset: int = 0, size: int = 0
) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Open a blob of `size` bytes (0: unknown): where its bytes begin (0 or `offset`), and the bytes; not
    verified.

    Raises RegistryError, also while the bytes are read.
    """
    problems = []
    with ExitStack() as stack:
        for registry in _sources(image):
            try:
                found = stack.enter_context(registry.sized_blob(digest, offset, size))
            except RegistryError as error:
                problems.append(str(error))
                continue
            if found is not None:
                yield found
                return
            problems.append(f"{registry.place} has no blob {digest[:19]} of {image.repository}")
    raise RegistryError("; ".join(problems))
