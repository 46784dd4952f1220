"""What a user has said about sharing: where packs are taken from and put, and whose signatures count.

It is said in the user's own settings, table [cache] of ~/.config/envd/config.toml ($XDG_CONFIG_HOME), or
in the environment, which wins; never in a `build.envd` or in a project's directory: a project that could
say whose layers are trusted could put anything into an image. A variable that is set to nothing says
"none": a pull request's CI job, whose secrets are empty, reads and does not sign.

    [cache]
    substituters = ["ghcr.io/team/cache", "dir:/mnt/share/envd"]
    trusted-keys = ["team-1:BASE64"]
    signing-key = "~/.config/envd/signing-key"   # the default, when that file is there
    publish = "ghcr.io/team/cache"
    always-publish = true    # every build, not only those with --publish
    sources = true           # what was fetched, too
    salt = "2"               # another salt is another cache: what was signed with the old one is forgotten

Who has a key that signs trusts it.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.cache import files, keys
from engine.core import paths as locate
from engine.core.urls import hidden
from engine.errors import UsageError
from grammar.nearest import suggest
from store.references import parse_reference

DIRECTORY = "dir:"  # what the place of a directory begins with
DEFAULT_KEY = "signing-key"  # the file of the signing key, beside the settings

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_SALT = re.compile(r"[!-~]{0,64}")
_LARGEST = 1024 * 1024  # bytes of the file
_FORMS = "write HOST/REPOSITORY, such as ghcr.io/team/cache, or dir:PATH with an absolute path"


@dataclass(frozen=True)
class Settings:
    """`substituters` are the places that packs are taken from, the first one first: "HOST/REPOSITORY" or
    "dir:/PATH". `trusted` are the keys whose signatures count. `signing` is the file of the key that
    signs. `publish` is the place that packs are put to ("": nowhere), `always`: by every build; `sources`:
    with what was fetched. `salt` goes into what is signed."""

    substituters: tuple[str, ...] = ()
    trusted: tuple[keys.TrustedKey, ...] = ()
    signing: Path | None = None
    publish: str = ""
    always: bool = False
    sources: bool = False
    salt: str = ""


def file() -> Path:
    """The user's settings."""
    return Path(locate.configuration()) / "config.toml"


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """This user's. Raises UsageError, which names the file and the key, or the variable."""
    path = file()
    return _settings(_table(content(path), path), path, os.environ if environment is None else environment)


def content(path: Path) -> str:
    """What is in the file of settings; "" where there is none. Raises UsageError for a file that every user
    can write, or that is not text."""
    try:
        status, data = files.read(path, _LARGEST, "the file of settings")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", subject=str(path)) from None
    if status.st_mode & stat.S_IWOTH:
        raise UsageError(
            "every user can write these settings, which say whose layers are trusted",
            subject=str(path),
            advice="look at them, then close them with `chmod o-w`",
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_toml(path, error) from None


def check(said: str, path: Path) -> Settings:
    """What a text says as the content of the file, and nothing else. The key that signs is not looked at.
    Raises UsageError."""
    return _settings(_table(said, path), path, {"ENVD_SIGNING_KEY": ""})


def _settings(table: Mapping[str, Any], path: Path, variables: Mapping[str, str]) -> Settings:
    def found(key: str, variable: str, understood: Callable[[Any, Path | None], Any], default: Any) -> Any:
        """What the variable or the file says, understood; `default` where neither says anything."""
        if variable and variable in variables:
            value = variables[variable]
            given: Any = re.split(r"[\s,]+", value.strip(" \t\r\n,")) if isinstance(default, tuple) else value
            return _told(lambda: understood([] if given == [""] else given, None), variable)
        if key in table:
            return _told(lambda: understood(table[key], path), f"{path}: [cache] {key}")
        return default

    signing = found("signing-key", "ENVD_SIGNING_KEY", _key_file, _default_key(path, variables))
    trusted = found("trusted-keys", "ENVD_TRUSTED_KEYS", _trusted, ())
    if signing is not None:
        own = keys.read_signing_key(signing).public
        trusted = trusted if own in trusted else (*trusted, own)
    return Settings(
        substituters=found("substituters", "ENVD_SUBSTITUTERS", _places, ()),
        trusted=trusted,
        signing=signing,
        publish=found("publish", "ENVD_PUBLISH", _publish, ""),
        always=found("always-publish", "", _switch, False),
        sources=found("sources", "", _switch, False),
        salt=found("salt", "", _salt, ""),
    )


def place(text: str, relative: Path | None = None) -> str:
    """A place as its settings say it: "HOST/REPOSITORY", or "dir:" and an absolute path without dots.
    A relative path is one of the directory `relative`, where that is given. Raises UsageError."""
    shown = hidden(text)
    if text.startswith((DIRECTORY, "/", "~", "./", "../")) or text in (".", ".."):
        path = Path(text.removeprefix(DIRECTORY))
        if "\0" in text or not str(text.removeprefix(DIRECTORY)):
            raise UsageError(f"'{shown}' is not a place for a cache", advice=_FORMS)
        path = _expanded(path)
        if not path.is_absolute():
            if relative is None:
                raise UsageError(f"'{shown}' is a relative path", advice="write an absolute one")
            path = relative / path
        return f"{DIRECTORY}{os.path.normpath(path)}"
    if "://" in text:
        better = text.partition("://")[2].rstrip("/")
        hint = f"write '{better}'" if _is_repository(better) else _FORMS
        raise UsageError(f"'{shown}' is a URL, not a place for a cache", advice=hint)
    if "@" in text:  # a login, or a digest: either may hold what nobody should see
        raise UsageError(
            "a place for a cache has no '@' in it",
            advice=f"{_FORMS}, and log in with `envd cache login HOST`",
        )
    if not _is_repository(text):
        raise UsageError(f"'{shown}' is not a place for a cache", advice=_FORMS)
    return text


def _is_repository(text: str) -> bool:
    """Whether a text is HOST/REPOSITORY, without a tag."""
    try:
        reference = parse_reference(text)
    except ValueError:
        return False
    name = text.removeprefix(f"{reference.host}/")
    return name == reference.name and _REPOSITORY.fullmatch(name) is not None and len(text) <= 255


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:  # ~nobody
        raise UsageError(f"'{path}': {error}", advice="write an absolute path") from None


def _default_key(path: Path, variables: Mapping[str, str]) -> Path | None:
    key = path.with_name(DEFAULT_KEY)
    return key if "ENVD_SIGNING_KEY" not in variables and key.exists() else None


def _told(understood: Callable[[], Any], where: str) -> Any:
    """What `understood` gives; its error says where."""
    try:
        return understood()
    except UsageError as error:
        raise UsageError(error.message, subject=where, advice=error.advice) from None


# What a value of the file (whose path is given) or of a variable (then it is None) says.


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise UsageError("not a list of texts", advice='write ["…", "…"]')
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError("not a text", advice='write "…"')
    return value


def _places(value: Any, path: Path | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(place(text) for text in _texts(value)))


def _publish(value: Any, path: Path | None) -> str:
    return place(text) if (text := _text(value).strip()) else ""


def _trusted(value: Any, path: Path | None) -> tuple[keys.TrustedKey, ...]:
    found: dict[str, keys.TrustedKey] = {}
    for text in _texts(value):
        key = keys.parse_trusted(text)
        if found.setdefault(key.name, key) != key:
            raise UsageError(
                f"two keys are named '{key.name}'", advice="leave out the one that is no longer trusted"
            )
    return tuple(found.values())


def _key_file(value: Any, path: Path | None) -> Path | None:
    """A relative path is one beside the settings, or one of the working directory in a variable."""
    if not (text := _text(value).strip()):
        return None
    if keys.is_secret(text):
        raise UsageError(
            "holds a signing key itself", advice="write it to a file of mode 0600, and name that"
        )
    if "\0" in text:
        raise UsageError("not a path")
    return (path.parent if path is not None else Path.cwd()) / _expanded(Path(text))


def _switch(value: Any, path: Path | None) -> bool:
    if not isinstance(value, bool):
        raise UsageError("neither true nor false", advice="write true or false, without quotes")
    return value


def _salt(value: Any, path: Path | None) -> str:
    if not _SALT.fullmatch(text := _text(value)):
        raise UsageError("not a salt", advice="use at most 64 printable ASCII characters without blanks")
    return text


_KEYS = ("substituters", "trusted-keys", "signing-key", "publish", "always-publish", "sources", "salt")


def _table(said: str, path: Path) -> Mapping[str, Any]:
    """Table [cache] of what the file says. Raises UsageError for what is not TOML, or not understood."""
    try:
        document = tomllib.loads(said)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _not_toml(path, error) from None
    for name in document:
        if name != "cache":
            hint = suggest(name, ["cache"]) or "; known is the table [cache]"
            raise UsageError(f"'{name}' is not a setting{hint}", subject=str(path))
    table = document.get("cache", {})
    if not isinstance(table, dict):
        raise UsageError(
            "'cache' is not a table", subject=str(path), advice="write [cache] on a line of its own"
        )
    for name in table:
        if name not in _KEYS:
            hint = suggest(name, _KEYS) or f"; known are {', '.join(_KEYS)}"
            raise UsageError(f"[cache] has no setting '{name}'{hint}", subject=str(path))
    return table


def _not_toml(path: Path, error: Exception) -> UsageError:
    return UsageError(f"not TOML: {error}", subject=str(path), advice="correct the file and try again")
