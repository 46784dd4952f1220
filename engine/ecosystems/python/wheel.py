"""One wheel, one layer: unpacked by `installer`, without running any of its code.

Where a wheel brings a file twice the later one counts, and a command that it declares counts more
than a script of the same name that it carries along: so pip and uv have it.

Format: the binary distribution format of PyPA's specifications (PEP 427).
"""

from __future__ import annotations

import configparser
import csv
import posixpath
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.core import zip_files
from engine.core.derivation import Derivation, Input
from engine.ecosystems.python import interpreter
from engine.ecosystems.python.interpreter import Interpreter
from engine.errors import BuildError
from engine.lock.packages import LockedPackage
from engine.realise.context import BuildContext
from store import archives
from store.libraries import installer

if TYPE_CHECKING:
    from installer.sources import WheelSource

KIND = "wheel"
VERSION = 1

_LARGEST_METADATA = 64 << 20  # bytes


def derivation(package: LockedPackage, python: Interpreter) -> Derivation:
    """The derivation of one wheel for the target's Python."""
    file = package.file
    return Derivation(
        KIND, f"{package.name}-{package.version}", VERSION, (Input("file", file.fetch()),), python.parameters
    )


def build(context: BuildContext) -> Path:
    """Unpack. Raises BuildError for a wheel that is malformed."""
    upper = context.new_upper()
    ((name, path),) = context.files
    unpack(path, name, upper, interpreter.of(context.parameters), context.scratch)
    return upper


def unpack(path: Path, name: str, root: Path, python: Interpreter, scratch: Path) -> None:
    """Install the wheel at `path`, called `name`, below `root`. Raises BuildError."""

    class Source(installer.sources.WheelFile):
        """The wheel, without the scripts that a declared command replaces."""

        def get_contents(self) -> Iterator[Any]:
            declared = _commands(self)
            for element in super().get_contents():
                path = element[0][0]
                # installer looks for the directory above these for ever.
                if posixpath.commonpath([self.data_dir, path]) == self.data_dir and not path.startswith(
                    f"{self.data_dir}/"
                ):
                    raise ValueError(f"'{archives.shown(path)}' is not a path of a wheel")
                if path not in declared:
                    yield element

    named = scratch / name  # its name says what it is
    named.symlink_to(path)
    destination = installer.destinations.SchemeDictionaryDestination(
        python.scheme(name.partition("-")[0]),
        interpreter=python.executable,
        script_kind="posix",
        destdir=str(root),
        overwrite_existing=True,
    )
    faults: tuple[type[Exception], ...] = (
        installer.exceptions.InstallerError,
        zipfile.BadZipFile,
        OSError,
        *_malformed(),
    )
    try:
        _check_size(path)
        with Source.open(named) as source:
            installer.install(source, destination, additional_metadata={"INSTALLER": b"envd\n"})
    except faults as error:
        reason = str(error).replace(f"{root}/", "/").replace(str(named), name)
        raise BuildError(f"cannot unpack the wheel: {reason}", subject=name) from error
    finally:
        named.unlink()


def _check_size(path: Path) -> None:
    """Raise zipfile.BadZipFile when it holds more than it may, or metadata (which is read at once)
    that is larger than any is."""
    with zip_files.opened(path) as archive:
        for member in archive.infolist():
            if ".dist-info/" in member.filename and member.file_size > _LARGEST_METADATA:
                raise zipfile.BadZipFile(f"'{archives.shown(member.filename)}' has {member.file_size} bytes")


def _malformed() -> tuple[type[Exception], ...]:
    """What `installer` and what it reads with raise for a wheel that makes no sense."""
    return (
        *zip_files.FAULTS,
        installer.records.InvalidRecordEntry,
        AssertionError,
        configparser.Error,
        csv.Error,
    )


def _commands(source: WheelSource) -> set[str]:
    """Where the wheel would carry a script of a name that its entry points declare too."""
    if "entry_points.txt" not in source.dist_info_filenames:
        return set()
    text = source.read_dist_info("entry_points.txt")
    return {f"{source.data_dir}/scripts/{name}" for name, *_ in installer.utils.parse_entrypoints(text)}
