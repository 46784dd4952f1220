"""Keys of archives that nobody installed here: fetched from beside the archive itself, and
believed only when their fingerprint is one that their owner has published."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.core.atomic import write
from engine.core.urls import redacted
from engine.ecosystems.debian import openpgp
from engine.errors import UsageError
from engine.net.answers import get
from grammar.environment import Position


@dataclass(frozen=True)
class Owner:
    """Who signs an archive. `fingerprints` are those published; `setting` is the environment
    variable that names others (for a mirror that signs anew)."""

    name: str
    fingerprints: tuple[str, ...]
    setting: str

    def trusted(self, position: Position) -> tuple[str, ...]:
        """The fingerprints to believe. Raises UsageError when the setting holds none."""
        given = os.environ.get(self.setting, "")
        if not given.strip():
            return self.fingerprints
        # gpg shows them in groups of four, with a wider gap in the middle
        rows = [re.sub(r"\s", "", row).upper() for row in given.split(",")]
        for row in rows:
            if not re.fullmatch(r"[0-9A-F]{40}|[0-9A-F]{64}", row):
                raise UsageError(
                    f"'{row}' is not a whole fingerprint (40 hexadecimal digits), as `gpg --show-keys "
                    "FILE` prints it",
                    position=position,
                    subject=self.setting,
                )
        return tuple(rows)


class NoKeyError(Exception):
    """No key that is believed. Its text says why."""


def fetched(owner: Owner, urls: Sequence[str], cache: Path, position: Position) -> Path:
    """A keyring of those keys in the files at `urls` that are the owner's, kept under `cache`.

    Raises NoKeyError when there is none, ResolveError when the archive cannot be reached.
    """
    trusted = owner.trusted(position)
    name = hashlib.sha256("\n".join([*trusted, "", *urls]).encode()).hexdigest()[:16]
    path = cache / f"archive-keys-{name}.gpg"
    if path.is_file():
        return path.absolute()
    strangers: list[str] = []
    broken: list[str] = []
    for url in urls:
        answer = get(url, position)
        if answer is None:
            continue
        try:
            there = openpgp.keys(answer.body)
        except ValueError as error:
            broken.append(f"{redacted(url)} is not a key: {error}")
            continue
        if good := [there[f] for f in trusted if f in there]:
            # Whatever else the file holds is nobody's whom we know.
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, b"".join(good), 0o644)
            return path.absolute()
        strangers.append(f"{redacted(url)} holds the key {', '.join(filter(None, there))}")
    if strangers:
        raise NoKeyError(f"{'; '.join(strangers)}, where {owner.name}'s is {' or '.join(trusted)}")
    raise NoKeyError("; ".join(broken) or f"there is no {' and no '.join(map(redacted, urls))}")
