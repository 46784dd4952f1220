"""`io.*`: files of the project and of the web, and directories of the host."""

from __future__ import annotations

import re

from grammar.environment import Copy, Http
from grammar.errors import SpecError
from grammar.vocabulary.runtime import MOUNT, mount
from grammar.vocabulary.signature import Api, Given, Parameter
from grammar.vocabulary.state import State


def _http(state: State, given: Given) -> None:
    if not re.match(r"https?://", given["url"]):
        raise SpecError(f"'{given['url']}' is not an http or https URL", given.at("url"))
    checksum = str(given["checksum"] or "").lower()
    if checksum and not re.fullmatch(r"(sha256:)?[0-9a-f]{64}", checksum):
        raise SpecError("checksum must be 'sha256:' and 64 hex digits", given.at("checksum"))
    if checksum:
        checksum = f"sha256:{checksum.removeprefix('sha256:')}"
    filename = str(given["filename"] or "")
    if "/" in filename or filename in (".", ".."):
        raise SpecError("filename must be a plain name, without '/'", given.at("filename"))
    state.steps.append(Http(str(given["url"]), checksum, filename, given.position))


def _copy(state: State, given: Given) -> None:
    if not given["source"]:
        raise SpecError("io.copy(): 'source' is empty", given.at("source"))
    image = str(given["image"]) if given["image"] else None
    exclude = tuple(str(pattern) for pattern in given["exclude"])
    if exclude and image:
        raise SpecError(
            "io.copy(): 'exclude' is for files of the project, not of an image", given.at("exclude")
        )
    state.steps.append(Copy(str(given["source"]), str(given["target"]), image, exclude, given.position))


APIS = (
    Api(
        "io.copy",
        (
            Parameter(
                "source",
                "str",
                aliases=("host_path",),
                about="in the project, or in the image",
                deprecated=("src",),
            ),
            Parameter("target", "str", "./", ("envd_path",), "in the container", (), ("dest",)),
            Parameter("image", "str", None, about="an OCI image to copy from"),
            Parameter(
                "exclude",
                "str|list[str]",
                (),
                about="what not to copy: patterns as in .dockerignore, relative to the source",
            ),
        ),
        _copy,
        "Files of the project, or of an image. What is copied to a directory goes into it under its "
        'name, as with COPY and cp: a file, and a directory too. Of "." it is the contents.',
        differs="Copies and commands happen in the order in which they are written, not all copies "
        'first. "~" is the home (there, a directory of that name). A source that is a link '
        "is followed. Directories that are there keep their owner and mode, also below a "
        "copied directory, and links to directories are followed there too (there, an "
        "error); an image's files keep their owners. What .envdignore or .dockerignore "
        "names is not copied, nor are .git, .venv, .env, "
        "__pycache__ and envd.lock, unless they are the source itself or an ignore file "
        'takes them back ("!.env"); exclude is new.',
    ),
    Api(
        "io.http",
        (
            Parameter("url", about="http or https"),
            Parameter("checksum", "str", None, about='"sha256:…" [pinned by the lock]'),
            Parameter("filename", "str", None, about="its name [the URL's]"),
        ),
        _http,
        "A file from the web, at ~/extra_source.",
        differs="Of digests only sha256.",
    ),
    Api("io.mount", MOUNT, mount, "The old name of `runtime.mount`.", instead="runtime.mount"),
)
