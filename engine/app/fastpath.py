"""The no-op build: decide that nothing has to be done without evaluating anything.

After a build we remember, under a key made of the request, the content hashes of every file
that the evaluation read (the spec, its requirements files, the lock, copied files) and the
image that came out: a depfile, as ninja and Nix's evaluation cache keep. When all hashes still
hold and Docker still has the image under its tags, the build is done. This module imports
neither the language nor the engine's builders, nor dataclasses and pathlib: it is what
`envd build` costs when idle.
"""

from __future__ import annotations

import json
import os

from engine.core import paths as locate
from engine.core.fingerprint import fingerprint
from engine.core.version import VERSION
from engine.docker import probe
from store.hashing import hash_value
from store.memos import read_memo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.app.options import BuildOptions
    from engine.core.project import Project
    from engine.realise.selection import Selection

# Settings that change what a spec resolves or builds to.
_SETTINGS_PREFIX = "ENVD_"
_IRRELEVANT = frozenset(
    {"ENVD_STORE", "ENVD_DEBUG", "ENVD_OUTER_UID", "ENVD_USERNS", "ENVD_CONTEXT", "ENVD_OFFLINE"}
)


class Request:
    """One `envd build`: of what (absolute paths), under which tags, whether into Docker, with which
    secrets (their names)."""

    __slots__ = ("dev", "directory", "function", "load", "secrets", "spec", "tags")

    def __init__(
        self,
        spec: str,
        function: str,
        directory: str,
        tags: Sequence[str],
        load: bool,
        dev: bool = False,
        secrets: Sequence[str] = (),
    ) -> None:
        self.spec, self.function, self.directory = locate.absolute(spec), function, directory
        self.tags, self.load = tuple(tags), load
        self.dev = dev  # the variant that `envd up` runs
        self.secrets = sorted(secrets)

    @property
    def key(self) -> str:
        """The memo's key: everything but the contents of files."""
        settings = {
            k: v for k, v in os.environ.items() if k.startswith(_SETTINGS_PREFIX) and k not in _IRRELEVANT
        }
        return "build:" + hash_value(
            "envd build request v3",
            {
                "version": VERSION,
                "spec": self.spec,
                "directory": self.directory,
                "function": self.function,
                "tags": sorted(self.tags),
                "dev": self.dev,
                "settings": settings,
                **({"secrets": self.secrets} if self.secrets else {}),
            },
        )


def request_of(project: Project, options: BuildOptions) -> Request:
    """The request that a command's options mean."""
    return Request(
        str(project.spec),
        project.function,
        str(project.directory),
        options.names(project),
        options.load,
        options.dev,
        [source.name for source in options.secrets],
    )


class Done:
    """An image that is there already."""

    __slots__ = ("image_id", "message")

    def __init__(self, image_id: str, message: str) -> None:
        self.image_id, self.message = image_id, message


def nothing_to_do(request: Request) -> Done | None:
    """The image, when this very build was done before and everything still holds."""
    path = locate.store()
    if not os.path.exists(os.path.join(path, "db.sqlite")):
        return None
    text = read_memo(path, request.key)
    if text is None:
        return None
    memo = json.loads(text)
    if not all(_unchanged(*row) for row in memo["inputs"]):
        return None
    if not _there(path, memo.get("layers")):
        return None
    image_id = str(memo["image"])
    shown = ", ".join(request.tags)
    said = "".join(f"{line}\n" for line in memo.get("warnings", ()))
    if not request.load:
        return Done(image_id, f"{said}{shown}: up to date")
    if any(probe.image_id(tag) != image_id for tag in request.tags):
        return None
    return Done(image_id, f"{said}{shown}: up to date in Docker")


def _there(store: str, layers: Sequence[tuple[str, int]] | None) -> bool:
    """Whether the store still has the image's layers; a memo that names none is an old one."""
    try:
        return layers is not None and all(
            os.stat(f"{store}/blobs/{digest.replace(':', '/')}").st_size == size for digest, size in layers
        )
    except OSError:
        return False


def _unchanged(path: str, fingerprint: str, source: str = "", exclude: Sequence[str] = ()) -> bool:
    try:
        return _take(path, source, exclude) == fingerprint
    except (OSError, ValueError):  # gone, or rules that mean nothing by now
        return False


def _take(path: str, source: str, exclude: Sequence[str]) -> str:
    """The fingerprint of a file, or of what is taken of a project's `source`."""
    if source:
        from engine.realise.selection import Selection  # noqa: PLC0415 (an idle build)

        return Selection(path, source, exclude).fingerprint()
    return fingerprint(path)


def remember(
    inputs: Sequence[os.PathLike[str] | Selection],
    image_id: str,
    layers: Sequence[tuple[str, int]] = (),
    warnings: Sequence[str] = (),
) -> str:
    """The memo text for a finished build. `inputs` are the files and parts of projects that it
    read, `layers` the digests and sizes in bytes of the image's blobs, `warnings` what is to be said of
    it each time."""
    rows: list[list[str | list[str]]] = []
    for item in inputs:
        if isinstance(item, os.PathLike):
            path, source, exclude = os.fspath(item), "", []
        else:
            path, source, exclude = item.directory, item.source, list(item.exclude)
        path = locate.absolute(path)
        rows.append([path, _take(path, source, exclude), source, exclude])
    return json.dumps({"inputs": rows, "image": image_id, "layers": list(layers), "warnings": list(warnings)})
