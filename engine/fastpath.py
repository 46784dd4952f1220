"""The no-op build: decide that nothing has to be done without evaluating anything.

After a build we remember, under a key made of the request, the content hashes of every file
that the evaluation read (the spec, its requirements files, the lock, copied files) and the
image that came out: a depfile, as ninja and Nix's evaluation cache keep. When all hashes still
hold and Docker still has the image under its tag, the build is done. This module imports
neither the language nor the engine's builders: it is what `envd build` costs when idle.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from engine.docker import probe
from engine.project import Project, store_path
from engine.version import VERSION
from store.hashing import hash_value

# Settings that change what a spec resolves or builds to.
_SETTINGS_PREFIX = "ENVD_"
_IRRELEVANT = frozenset({"ENVD_STORE", "ENVD_DEBUG", "ENVD_OUTER_UID", "ENVD_USERNS"})


@dataclass(frozen=True)
class Request:
    """One `envd build`: what, under which tag, to where."""

    project: Project
    tag: str
    outputs: tuple[str, ...]
    load: bool

    @property
    def key(self) -> str:
        """The memo's key: everything but the contents of files."""
        settings = {
            k: v
            for k, v in os.environ.items()
            if k.startswith(_SETTINGS_PREFIX) and k not in _IRRELEVANT
        }
        return "build:" + hash_value(
            "envd build request v1",
            {
                "version": VERSION,
                "spec": str(self.project.spec.absolute()),
                "directory": str(self.project.directory),
                "function": self.project.function,
                "tag": self.tag,
                "settings": settings,
            },
        )


@dataclass(frozen=True)
class Done:
    """An image that is there already."""

    image_id: str
    message: str


def nothing_to_do(request: Request) -> Done | None:
    """The image, when this very build was done before and everything still holds."""
    if request.outputs:
        return None
    path = store_path()
    if not (path / "db.sqlite").exists():
        return None
    from store.memos import read_memo

    text = read_memo(path, request.key)
    if text is None:
        return None
    memo = json.loads(text)
    if not all(_unchanged(Path(p), fingerprint) for p, fingerprint in memo["inputs"]):
        return None
    image_id = str(memo["image"])
    if not request.load:
        return Done(image_id, f"{request.tag}: up to date")
    if probe.image_id(request.tag) != image_id:
        return None
    return Done(image_id, f"{request.tag}: up to date in Docker")


def _unchanged(path: Path, fingerprint: str) -> bool:
    from engine.fingerprint import fingerprint as take

    try:
        return take(path) == fingerprint
    except OSError:
        return False


def remember(request: Request, inputs: list[Path], image_id: str) -> str:
    """The memo text for a finished build. `inputs` are the files and trees that it read."""
    from engine.fingerprint import fingerprint as take

    return json.dumps(
        {"inputs": [[str(p.absolute()), take(p)] for p in inputs], "image": image_id}
    )
