"""One wheel, one layer: unpacked by `installer`, without running any of its code.

Format: the binary distribution format of PyPA's specifications (PEP 427).
"""

from __future__ import annotations

from pathlib import Path

from engine.build import interpreter
from engine.build.context import BuildContext
from engine.build.interpreter import Interpreter
from engine.derivation import Derivation, Fetch, Input
from engine.errors import BuildError
from engine.lock import LockedPackage

KIND = "wheel"
VERSION = 1


def derivation(package: LockedPackage, python: Interpreter) -> Derivation:
    """The derivation of one wheel for the target's Python."""
    file = package.file
    return Derivation(
        KIND,
        f"{package.name}-{package.version}",
        VERSION,
        (Input("file", Fetch(file.name, file.url, file.sha256, file.size)),),
        python.parameters,
    )


def build(context: BuildContext) -> Path:
    """Unpack. Raises BuildError for a wheel that is malformed."""
    upper = context.scratch / "upper"
    upper.mkdir()
    upper.chmod(0o755)
    (name, path), = context.files
    unpack(path, name, upper, interpreter.of(context.parameters), context.scratch)
    return upper


def unpack(path: Path, name: str, root: Path, python: Interpreter, scratch: Path) -> None:
    """Install the wheel at `path`, called `name`, below `root`. Raises BuildError."""
    import zipfile

    from installer import install
    from installer.destinations import SchemeDictionaryDestination
    from installer.exceptions import InstallerError
    from installer.sources import WheelFile

    named = scratch / name  # its name says what it is
    named.symlink_to(path)
    destination = SchemeDictionaryDestination(
        python.scheme(name.partition("-")[0]), interpreter=python.executable,
        script_kind="posix", destdir=str(root),
    )
    try:
        with WheelFile.open(named) as source:
            install(source, destination, additional_metadata={"INSTALLER": b"envd\n"})
    except (InstallerError, zipfile.BadZipFile, ValueError, KeyError, OSError) as error:
        raise BuildError(f"{name}: cannot unpack the wheel: {error}") from error
    finally:
        named.unlink()
