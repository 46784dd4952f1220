"""Changing what a user's settings say of sharing (`engine.cache.settings`): the user's comments and order
stay, and a file that is not understood is not touched."""

from __future__ import annotations

import fcntl
import getpass
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import tomlkit
from tomlkit.items import Array, Table

from engine.cache import keys, settings
from engine.cache.keys import SigningKey, TrustedKey
from engine.core import atomic
from engine.errors import UsageError
from grammar.nearest import suggest


@dataclass(frozen=True)
class Known:
    """A key whose signatures count: its text form, and who says so: a variable, a file, or, of the user's
    own, the file of the key that signs."""

    name: str
    key: str
    source: str


def known() -> list[Known]:
    """The keys whose signatures count. Raises UsageError."""
    found = settings.read()
    own = keys.read_signing_key(found.signing).public if found.signing is not None else None
    said = "ENVD_TRUSTED_KEYS" if "ENVD_TRUSTED_KEYS" in os.environ else str(settings.file())
    return [Known(key.name, str(key), str(found.signing) if key == own else said) for key in found.trusted]


def own() -> tuple[TrustedKey, Path]:
    """The public half of the key that this user signs with, and its file. Raises UsageError."""
    found = settings.read().signing
    if found is None:
        raise UsageError(
            "there is no signing key",
            advice="make one with `envd key generate`, or name its file with ENVD_SIGNING_KEY",
        )
    return keys.read_signing_key(found).public, found


def trust(key: TrustedKey) -> bool:
    """Have a key's signatures count from now on; whether they did not before. Raises UsageError when
    another key of that name is trusted."""

    def edit(table: Table) -> None:
        texts = _array(table, "trusted-keys")
        names = {str(text).partition(":")[0]: str(text) for text in texts}
        if (other := names.get(key.name)) is not None:
            if other != str(key):
                raise UsageError(
                    f"another key named '{key.name}' is trusted",
                    subject=str(settings.file()),
                    advice=f"take it out first with `envd key trust --remove {key.name}`",
                )
            return
        texts.append(str(key))

    return _change(edit)


def distrust(name: str) -> None:
    """Have a key's signatures not count any more. Raises UsageError for a name that is not there."""

    def edit(table: Table) -> None:
        texts = _array(table, "trusted-keys")
        names = [str(text).partition(":")[0] for text in texts]
        if name not in names:
            hint = suggest(name, names) or "; `envd key ls` lists those that are"
            raise UsageError(f"no key named '{name}' is trusted{hint}", subject=str(settings.file()))
        del texts[names.index(name)]

    _change(edit)


def use(place: str, *, publish: bool) -> bool:
    """Take packs from a place (in the form of `settings.place`), and put them there with `publish`;
    whether anything of that is new. Raises UsageError."""

    def edit(table: Table) -> None:
        texts = _array(table, "substituters")
        if place not in _canonical(texts):
            texts.append(place)
        if publish and table.get("publish") != place:
            table["publish"] = place

    return _change(edit)


def leave(place: str) -> None:
    """Neither take packs from a place nor put them there. Raises UsageError when neither is done."""

    def edit(table: Table) -> None:
        texts = _array(table, "substituters")
        places = _canonical(texts)
        publishes = settings.check(tomlkit.dumps({"cache": table}), settings.file()).publish == place
        if place not in places and not publishes:
            hint = suggest(place, places) or "; `envd cache use` lists those that are used"
            raise UsageError(f"'{place}' is not used", subject=str(settings.file()), advice=hint[2:])
        if place in places:
            del texts[places.index(place)]
        if publishes:
            del table["publish"]

    _change(edit)


def generate(name: str, output: Path | None) -> tuple[SigningKey, Path]:
    """Make a key that signs, in a file for this user alone; never over another. Raises UsageError."""
    key = keys.generate(name or _own_name())
    path = (output if output is not None else settings.file().with_name(settings.DEFAULT_KEY)).absolute()
    if output is None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(
            "is there already, and a key that is lost cannot be made again",
            subject=str(path),
            advice="`envd key show` prints its public half; make another with --output FILE",
        ) from None
    except ValueError as error:
        raise UsageError(f"not a path: {error}", subject="--output") from None
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key.secret() + "\n")
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
    return key, path


def _own_name() -> str:
    """USER-HOST, as far as that can be a key's name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name
        user = str(os.getuid())
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{user}-{socket.gethostname()}")[:64]


def _array(table: Table, name: str) -> Array:
    found = table.get(name)
    if found is None:
        table[name] = tomlkit.array()
        found = table[name]
    assert isinstance(found, Array)  # checked before
    return found


def _canonical(texts: Array) -> list[str]:
    return [settings.place(str(text)) for text in texts]


def _change(edit: Callable[[Table], None]) -> bool:
    """Let `edit` change the table [cache]; whether it did. Raises UsageError, and OSError for a file that
    cannot be written."""
    path = settings.file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(path.parent):
        before = settings.content(path)
        settings.check(before, path)
        document = tomlkit.parse(before)
        if "cache" not in document:
            document["cache"] = tomlkit.table()
        edit(document["cache"])
        after = tomlkit.dumps(document)
        if settings.check(after, path) == settings.check(before, path):
            return False
        target = path.resolve()  # a link into a repository of settings stays one
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o644
        atomic.write_text(target, after, mode)
    return True


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Change files of a directory while no other envd does."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
