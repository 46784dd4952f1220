"""RStudio Server: its .deb, which no archive of Debian's carries, pinned by hash."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.core.command import LimitError
from engine.core.urls import redacted
from engine.errors import ResolveError
from engine.lock.packages import Deb, LockedPackage
from engine.net.fetch import fetch
from engine.net.pin import pin
from engine.realise import jail
from grammar.environment import NOWHERE, Environment
from store import Store

PACKAGE = "rstudio-server"
# Posit builds for Ubuntu's releases, and names those builds that Debian's take.
_LATEST = "https://rstudio.org/download/latest/stable/server/{build}/rstudio-server-latest-amd64.deb"
_BUILDS = {"debian11": "focal", "ubuntu20.04": "focal"}


def url(os_name: str) -> str:
    """Where the .deb is: ENVD_RSTUDIO_SERVER_DEB, or Posit's latest."""
    given = os.environ.get("ENVD_RSTUDIO_SERVER_DEB")
    return given or _LATEST.format(build=_BUILDS.get(os_name, "jammy"))


def resolve(environment: Environment, os_name: str, store: Path, log: Callable[[str], None]) -> LockedPackage:
    """The .deb. Raises ResolveError when it is no rstudio-server for amd64."""
    position = environment.rstudio_server or NOWHERE
    source = url(os_name)
    log(f"downloading {redacted(source)}")
    with Store.open(store) as opened:
        file, path = pin(f"{PACKAGE}.deb", source, opened, position, latest=True)
    try:
        fields = _control(path, store / "tmp", redacted(source))
    except ResolveError as error:
        raise error.at(position) from error
    if fields.get("Package") != PACKAGE or fields.get("Architecture") not in ("amd64", "all"):
        found = " ".join(filter(None, map(fields.get, ("Package", "Architecture")))) or "no .deb"
        raise ResolveError(
            f"{redacted(source)} is {found}, not {PACKAGE} for amd64",
            position=position,
            advice="check ENVD_RSTUDIO_SERVER_DEB",
        )
    return Deb(PACKAGE, fields["Version"], file, arch=fields["Architecture"])


def _control(path: Path, place: Path, title: str) -> dict[str, str]:
    """Fields of a .deb's control file: read in the sandbox, for dpkg-deb unpacks what nobody has looked
    at. `title` is what an error calls it. Raises ResolveError when it is no .deb."""
    archive = path.absolute()
    try:
        done = jail.ask(
            ["dpkg-deb", "--field", str(archive), "Package", "Version", "Architecture"],
            binds=[jail.Bind(archive, str(archive))],
            place=place,
        )
    except FileNotFoundError as error:
        raise ResolveError("dpkg-deb not found", advice="install dpkg (Debian, Ubuntu)") from error
    except LimitError as error:
        raise ResolveError(f"dpkg-deb: {error.reason}", subject=title) from error
    if done.returncode != 0:
        words = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise ResolveError(
            f"{title} is no .deb: {words}", subject=title, advice="check ENVD_RSTUDIO_SERVER_DEB"
        )
    rows = (line.partition(": ") for line in done.stdout.decode("utf-8", "replace").splitlines())
    return {key: value for key, _, value in rows}


@contextmanager
def named(packages: Sequence[LockedPackage], store: Path) -> Iterator[dict[str, Path]]:
    """The .debs under names that apt takes for files; gone afterwards."""
    with Store.open(store) as opened:
        paths = {p.name: fetch(p.file.fetch(), opened) for p in packages}
    with tempfile.TemporaryDirectory(prefix="envd-debs-") as name:
        found = {}
        for package, path in paths.items():
            found[package] = Path(name) / f"{package}.deb"
            found[package].symlink_to(path)
        yield found
