"""One wheel, one layer: unpacked by `installer`, without running any of its code.

Layout: Debian's for what is not Debian's own: /usr/local/lib/pythonX.Y/dist-packages and
/usr/local/bin. Format: the binary distribution format of PyPA's specifications (PEP 427).
"""

from __future__ import annotations

from pathlib import Path

from engine.build.context import BuildContext
from engine.derivation import Derivation, Fetch, Input
from engine.errors import BuildError
from engine.lock import LockedPackage

KIND = "wheel"
VERSION = 1
INTERPRETER = "/usr/bin/python3"


def site(python: str) -> str:
    """Where packages go, for a target's Python "X.Y"."""
    return f"/usr/local/lib/python{python}/dist-packages"


def derivation(package: LockedPackage, python: str) -> Derivation:
    """The derivation of one wheel for the target's Python "X.Y"."""
    file = package.file
    return Derivation(
        KIND,
        f"{package.name}-{package.version}",
        VERSION,
        (Input("file", Fetch(file.name, file.url, file.sha256, file.size)),),
        {"python": python},
    )


def build(context: BuildContext) -> Path:
    """Unpack. Raises BuildError for a wheel that is malformed."""
    upper = context.scratch / "upper"
    upper.mkdir()
    upper.chmod(0o755)
    (name, path), = context.files
    unpack(path, name, upper, str(context.parameters["python"]), context.scratch)
    return upper


def unpack(path: Path, name: str, root: Path, python: str, scratch: Path) -> None:
    """Install the wheel at `path`, called `name`, below `root`. Raises BuildError."""
    import zipfile

    from installer import install
    from installer.destinations import SchemeDictionaryDestination
    from installer.exceptions import InstallerError
    from installer.sources import WheelFile

    named = scratch / name  # its name says what it is
    named.symlink_to(path)
    distribution = name.partition("-")[0]
    scheme = {
        "purelib": site(python),
        "platlib": site(python),
        "headers": f"/usr/local/include/python{python}/{distribution}",
        "scripts": "/usr/local/bin",
        "data": "/usr/local",
    }
    destination = SchemeDictionaryDestination(
        scheme, interpreter=INTERPRETER, script_kind="posix", destdir=str(root),
    )
    try:
        with WheelFile.open(named) as source:
            install(source, destination, additional_metadata={"INSTALLER": b"envd\n"})
    except (InstallerError, zipfile.BadZipFile, ValueError, KeyError, OSError) as error:
        raise BuildError(f"{name}: cannot unpack the wheel: {error}") from error
    finally:
        named.unlink()
