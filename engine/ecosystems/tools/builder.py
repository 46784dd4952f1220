"""A tool's release archives, unpacked as they are into a layer of their own: no code runs.

Archives are tars (gzip, xz, bzip2) and zips (wheels). Nothing leaves the directory that an
archive is unpacked into, and nothing is written through a symbolic link.
"""

from __future__ import annotations

import re
import tarfile
import zipfile
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from engine.core import zip_files
from engine.core.derivation import Derivation, Input
from engine.errors import BuildError
from engine.lock.packages import LockedFile
from engine.realise import confined, places, tars, zips
from engine.realise.context import BuildContext

KIND = "tool"
VERSION = 1


@dataclass(frozen=True)
class Unpack:
    """How one archive is unpacked: what `only` (a pattern of member names) and not `without` take
    goes `into` a directory (absolute) without its first `strip` path components. `executable`
    marks all files so, for archives that do not say."""

    file: LockedFile
    into: str
    strip: int = 0
    only: str = "*"
    without: tuple[str, ...] = ()
    executable: bool = False

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "file": self.file.name,
            "into": self.into,
            "strip": self.strip,
            "only": self.only,
            "without": list(self.without),
            "executable": self.executable,
        }


@dataclass(frozen=True)
class Layout:
    """What a tool's layer holds. `links` maps paths to what they point at, `files` paths to their
    text; a text that begins with "#!" is a program. `moved` is where the archives' own prefix
    /install (python-build-standalone's) now lies, "" for those that have none."""

    name: str
    unpack: tuple[Unpack, ...] = ()
    links: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    moved: str = ""


def derivation(layout: Layout) -> Derivation:
    """The derivation of a tool: it needs nothing below it."""
    fetches = [u.file.fetch() for u in layout.unpack]
    return Derivation(
        KIND,
        layout.name,
        VERSION,
        tuple(Input("file", f) for f in fetches),
        {
            "unpack": [u.parameters for u in layout.unpack],
            "links": dict(layout.links),
            "files": dict(layout.files),
            "moved": layout.moved,
        },
    )


def build(context: BuildContext) -> Path:
    """Unpack. Raises BuildError for an archive that is malformed or holds none of the files."""
    upper = context.new_upper()
    for (name, path), how in zip(context.files, context.parameters["unpack"], strict=True):
        into = upper / str(how["into"]).lstrip("/")
        places.make(into, upper)
        try:
            if zipfile.is_zipfile(path):
                count = _unzip(path, into, upper, how)
            else:
                place = partial(_place, into=into, how=how)
                count = tars.unpack(path, into, upper, place, executable=how["executable"])
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
            raise BuildError(f"cannot unpack it: {error}", subject=name) from error
        if not count:
            raise BuildError(f"it holds nothing of {context.name}", subject=name)
    if moved := str(context.parameters["moved"]):
        _move(upper, moved.strip("/"), moved)
    for place, target in sorted(context.parameters["links"].items()):
        link = upper / place.lstrip("/")
        places.make(link.parent, upper)
        link.symlink_to(target)
    for place, text in sorted(context.parameters["files"].items()):
        file = upper / place.lstrip("/")
        places.make(file.parent, upper)
        file.write_text(text, "utf-8")
        file.chmod(0o755 if text.startswith("#!") else 0o644)
    return upper


def _place(name: str, into: Path, how: dict[str, Any]) -> Path | None:
    """Where a member goes, None when it is not taken. Raises BuildError for one that leads out."""
    if not fnmatchcase(name, str(how["only"])) or any(
        fnmatchcase(name, pattern) for pattern in how["without"]
    ):
        return None
    parts = PurePosixPath(name).parts
    if parts[:1] == (".",):
        parts = parts[1:]
    if ".." in parts or name.startswith("/"):
        raise BuildError(f"'{name}' leads outside of the archive")
    kept = parts[int(how["strip"]) :]
    return into.joinpath(*kept) if kept else None


def _unzip(path: Path, into: Path, upper: Path, how: dict[str, Any]) -> int:
    count = 0
    with zip_files.opened(path) as archive:
        for member in archive.infolist():
            target = _place(member.filename, into, how)
            if target is not None and not member.is_dir():
                zips.extract(archive, member, target, upper, executable=how["executable"])
                count += 1
    return count


# -- python-build-standalone ------------------------------------------------------------------

# It is built below this prefix, with a toolchain that an image does not have.
_BUILT = re.compile(r"(?:(?<=-[IL])|(?<![\w/.-]))/install(?![\w.-])")
_TOOLCHAIN = tuple(
    (re.compile(rf"(?<![\w./+-])(?:[\w./+-]*/)?{re.escape(theirs)}(?![\w+-])"), plain)
    for theirs, plain in (("clang++", "c++"), ("clang", "cc"), ("llvm-ar", "ar"))
)


def _move(upper: Path, directory: str, prefix: str) -> None:
    """Say in a Python's build settings where it lies, as uv does for the Pythons it installs."""
    for pattern in ("lib/python3*/_sysconfigdata_*.py", "lib/pkgconfig/*.pc"):
        for path in confined.find(upper, f"{directory}/{pattern}"):
            content = confined.read(upper, path)
            if content is None:  # a link, such as python3.pc
                continue
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError as error:
                raise BuildError(f"it is not UTF-8: {error}", subject=path) from error
            text = _BUILT.sub(prefix, text)
            if path.endswith(".py"):
                for compiler, plain in _TOOLCHAIN:
                    text = compiler.sub(plain, text)
            mode = confined.lstat(upper, path)
            confined.write(
                upper, path, text.encode("utf-8"), 0o644 if mode is None else mode.st_mode & 0o7777
            )
