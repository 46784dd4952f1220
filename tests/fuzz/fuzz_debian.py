"""Fuzzing of what reads Debian's files: package lists, sources in both formats, keys, a dpkg status."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))
with atheris.instrument_imports(include=["engine"]):
    from engine.ecosystems.debian import apt, openpgp, package_lists, system
    from engine.ecosystems.debian import releases as debian
    from engine.ecosystems.debian.apt import Apt
    from engine.ecosystems.images import resolver as image
    from engine.ecosystems.r import cran
    from engine.errors import ResolveError
    from engine.lock import rows as lock_rows
    from engine.lock.packages import Deb, LockedFile
from grammar.environment import Position, Request
from tests.fuzz import harness

HERE = Position("build.envd", 1, 1)
INSTALLED = Deb("bash", "5", LockedFile("b.deb", "http://h/b.deb", "a" * 64))


def one_input(data: bytes, inside: Path) -> None:
    path = inside / "h_Packages"
    path.write_bytes(data)
    try:
        _lists(path)
    finally:
        path.unlink()
    text = data.decode("utf-8", "replace")
    for line in (*debian.one_line(text), *debian.deb822(text)):
        assert "\n" not in line, "a source of two lines"
    system.status_with(text, [INSTALLED], "")
    image._os_release(text)
    try:
        openpgp.keys(data)
    except ValueError as error:
        harness.said(error)
    index = cran.Index(text)
    for name in index.names[:5]:
        for entry in index.entries(name):
            _ = entry.dependencies, entry.compiled, entry.r, entry.url("http://h")


def _lists(path: Path) -> None:
    lists = package_lists.PackageLists([path])
    private = Apt(path.parent)
    private.__dict__.update(_lists=lists, _bases={path.resolve(): "http://mirror/debian"})
    private.required()
    private.provides("bash")
    for name in lists.names[:5]:
        for entry in lists.entries(name):
            try:
                package = private.locked(name, entry.fields.get("Version", ""))
                lock_rows.check([package], ResolveError)
            except ResolveError as error:
                harness.said(error)
    apt.installed_status(private, [INSTALLED])
    try:
        apt.check_names(private, [Request("bash", HERE), Request("bsah", HERE)])
    except ResolveError as error:
        harness.said(error)


if __name__ == "__main__":
    harness.run("debian", one_input)
