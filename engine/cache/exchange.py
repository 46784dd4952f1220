"""`--export-cache` and `--import-cache`: places of one run, beside those of the user's settings.

They are written as BuildKit and tensorchord/envd write them: comma-separated KEY=VALUE (a CSV row: a value
with a comma is quoted), or a bare HOST/REPOSITORY[:TAG] for `type=registry`.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.cache import settings
from engine.errors import UsageError
from grammar.nearest import suggest

EXPORT, IMPORT = "--export-cache", "--import-cache"
_HOW = {
    EXPORT: "write type=registry,ref=HOST/REPOSITORY[:TAG] or type=local,dest=DIR",
    IMPORT: "write type=registry,ref=HOST/REPOSITORY[:TAG] or type=local,src=DIR",
}
_KEYS = {
    (EXPORT, "registry"): ("ref", "mode", "oci-mediatypes", "image-manifest"),
    (EXPORT, "local"): ("dest", "mode", "oci-mediatypes", "image-manifest"),
    (IMPORT, "registry"): ("ref",),
    (IMPORT, "local"): ("src", "trust"),
}
# What BuildKit has besides, and why it is not here.
_OTHERS = {
    "inline": "what is shared is not part of an image",
    "gha": "it is a service of GitHub's that only BuildKit speaks to",
    "s3": "packs are kept in registries and directories",
    "azblob": "packs are kept in registries and directories",
    "gcs": "packs are kept in registries and directories",
}
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


@dataclass(frozen=True)
class Exchange:
    """One place of one run: as `engine.cache.settings` writes it, and a `tag` of its own [""]. `unsigned`:
    what is there counts without a trusted signature."""

    place: str
    tag: str = ""
    unsigned: bool = False


def exports(texts: Sequence[str]) -> list[Exchange]:
    """What each `--export-cache TEXT` means. Raises UsageError."""
    return [_parse(EXPORT, text) for text in texts]


def imports(texts: Sequence[str]) -> list[Exchange]:
    """What each `--import-cache TEXT` means. Raises UsageError."""
    return [_parse(IMPORT, text) for text in texts]


def _parse(option: str, text: str) -> Exchange:
    given = _attributes(option, text)
    kind = given.pop("type", "")
    if (option, kind) not in _KEYS:
        if kind in _OTHERS:
            raise _wrong(option, text, f"type={kind} is not supported: {_OTHERS[kind]}")
        what = f"no cache type '{kind}'" if kind else "has no type"
        raise _wrong(option, text, what, suggest(kind, ["registry", "local"]) if kind else "")
    known = _KEYS[option, kind]
    for key in given:
        if key not in known:
            hint = _instead(option, kind, key) or suggest(key, known)
            raise _wrong(option, text, f"type={kind} has no '{key}'", hint)
    if given.get("mode", "max") not in ("min", "max"):
        raise _wrong(option, text, f"mode is min or max, not '{given['mode']}'")
    for key in ("oci-mediatypes", "image-manifest"):
        if given.get(key, "true") != "true":
            raise _wrong(option, text, f"{key}=true is all that there is: packs are OCI image manifests")
    if given.get("trust", "unsigned") != "unsigned":
        raise _wrong(option, text, f"no trust '{given['trust']}'; write trust=unsigned, or leave it out")
    if not (where := given.get(known[0], "")):
        raise _wrong(option, text, f"type={kind} needs {known[0]}=")
    place, tag = _registry(option, text, where) if kind == "registry" else (_directory(where), "")
    return Exchange(place, tag, "trust" in given)


def _attributes(option: str, text: str) -> dict[str, str]:
    try:
        (fields,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as error:
        raise _wrong(option, text, "its quotes or lines make no sense") from error
    if len(fields) == 1 and "=" not in fields[0]:
        return {"type": "registry", "ref": fields[0]}
    given: dict[str, str] = {}
    for field in fields:
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals:
            raise _wrong(option, text, f"'{'…' if '@' in field else field}' is not KEY=VALUE")
        if key in given:
            raise _wrong(option, text, f"'{key}' is given twice")
        given[key] = value
    return given


def _instead(option: str, kind: str, key: str) -> str:
    """What to write in the place of a key that belongs elsewhere."""
    right = _KEYS[option, kind][0]
    if key in ("dest", "src", "ref", "path", "dir"):
        return f"; write {right}="
    if key == "trust":
        return "; what a registry has must be signed by a key that is trusted: `envd key trust NAME:KEY`"
    return ""


def _registry(option: str, text: str, reference: str) -> tuple[str, str]:
    repository, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:  # of a port
        repository, tag = reference, ""
    if colon and tag and not _TAG.fullmatch(tag):
        raise _wrong(option, text, f"'{tag}' is not a valid tag")
    if "://" not in reference and repository.startswith(("/", ".", "~", settings.DIRECTORY)):
        raise _wrong(option, text, "its ref is a directory", "; write type=local for one")
    try:
        return settings.place(repository), tag
    except UsageError as error:
        raise UsageError(error.message, subject=_shown(option, text), advice=error.advice) from None


def _directory(text: str) -> str:
    return settings.place(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100 - without following links


def _shown(option: str, text: str) -> str:
    """An option as it may be repeated: what has an '@' may hold a login."""
    return option if "@" in text else f"{option} {text}"


def _wrong(option: str, text: str, what: str, hint: str = "") -> UsageError:
    """The error of one option; `hint` begins with "; "."""
    return UsageError(what, subject=_shown(option, text), advice=hint.removeprefix("; ") or _HOW[option])
