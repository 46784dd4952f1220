"""Run in the sandbox, by a Python of the host's with rattler: conda packages linked into one prefix.

    conda_link.py PACKAGES ARCHIVES WORK TARGET SUBDIRS

PACKAGES is where rattler is importable from, ARCHIVES a directory of packages, WORK one that may be
written (the prefix comes into WORK/upper, and what is opened beside it, so that it can be linked),
TARGET where the prefix will be, SUBDIRS JSON: an archive's name -> its subdirectory. What a package
says of its own paths is not to be trusted; outside of WORK nothing can be written. It imports nothing
of envd's: nothing of that is there.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path, PurePosixPath
from typing import Any


class BadPackageError(Exception):
    """A package is not what it must be."""


async def link(archives: Path, work: Path, target: str, subdirs: dict[str, str]) -> None:
    """Link all `archives`. Raises BadPackageError, and rattler's own exceptions."""
    from rattler import BuildString, PackageRecord, RepoDataRecord, Subdir, install, package_streaming  # noqa: PLC0415 (main() has said where it is)

    records = []
    for name, subdir in subdirs.items():
        opened = work / "opened" / name
        opened.mkdir(parents=True)
        package_streaming.extract(archives / name, opened)
        about = _json(opened / "info/index.json", name)
        _check_paths(opened, name)
        shutil.rmtree(opened)
        package = PackageRecord(
            name=about["name"],
            version=about["version"],
            build=BuildString(about["build"]),
            build_number=about.get("build_number", 0),
            subdir=subdir,
            noarch=about.get("noarch") or None,
            depends=about.get("depends", []),
            constrains=about.get("constrains", []),
            license=about.get("license"),
            python_site_packages_path=about.get("python_site_packages_path"),
        )
        records.append(RepoDataRecord(package, name, (archives / name).as_uri(), archives.as_uri()))
    await install(
        records,
        target_prefix=work / "upper" / target.lstrip("/"),
        cache_dir=work / "cache",
        alternative_target_prefix=target,
        platform=Subdir("linux-64"),
        execute_link_scripts=False,
        show_progress=False,
    )


def _json(path: Path, name: str) -> Any:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadPackageError(f"{name}: info/{path.name} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise BadPackageError(f"{name}: info/{path.name} is malformed")
    return found


def _check_paths(opened: Path, name: str) -> None:
    """Every path stays in the package, and is of what lies there itself: a link leads elsewhere."""
    listing = opened / "info/paths.json"
    if listing.exists():
        rows = _json(listing, name).get("paths", [])
        paths: list[object] = [row.get("_path") for row in rows if isinstance(row, dict)]
    elif (opened / "info/files").exists():  # packages of before 2017
        paths = list((opened / "info/files").read_text("utf-8", "replace").split("\n"))
    else:
        paths = []
    for path in filter(None, paths):
        parts = PurePosixPath(str(path)).parts
        if not isinstance(path, str) or path.startswith("/") or ".." in parts or "\0" in path:
            raise BadPackageError(f"{name}: the path '{path}' leads out of the package")
        place = opened
        for part in parts[:-1]:
            place = place / part
            if place.is_symlink():
                raise BadPackageError(f"{name}: the path '{path}' leads through a link")


def main(packages: str, archives: str, work: str, target: str, subdirs: str) -> None:
    """Link; what goes wrong is said in one line."""
    sys.path.insert(0, packages)
    try:
        asyncio.run(link(Path(archives), Path(work), target, json.loads(subdirs)))
    except Exception as error:  # rattler's exceptions have no common base
        print(" ".join(str(error).split()) or type(error).__name__, flush=True)
        os._exit(1)
    # rattler's threads run on: one that wakes while the interpreter is taken down crashes the process
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
