"""Run in the sandbox, by a Python of the host's: what a source distribution's build backend says of it.

    backend.py ARCHIVE WHEELS OUTPUT

WHEELS is a directory of what its build needs. OUTPUT/requires.json is what the backend wants beside
build-system.requires; once that is importable, OUTPUT/METADATA are the core metadata. (PEP 517:
get_requires_for_build_wheel, then prepare_metadata_for_build_wheel, or build_wheel where there is no
such hook.) It imports nothing of envd's: nothing of that is there.
"""

from __future__ import annotations

import configparser
import importlib
import json
import os
import shutil
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

_TOOLS = Path("/tmp/tools")  # which PYTHONPATH names; commands are below it in bin


def main(archive: str, wheels: str, output: str) -> None:
    """Unpack, and ask. What fails ends this with a traceback, which is the package's own log."""
    for wheel in Path(wheels).iterdir():
        _install(wheel)
    sys.path_importer_cache.clear()
    source = Path("/tmp/source")
    name = Path(archive).name
    shutil.unpack_archive(archive, source, "zip" if name.endswith(".zip") else "gztar")
    (root,) = (p for p in source.iterdir() if p.is_dir())
    os.chdir(root)
    backend = _backend(root)
    wants = getattr(backend, "get_requires_for_build_wheel", None)
    required = list(wants({})) if wants else []
    Path(output, "requires.json").write_text(json.dumps(required))
    if not all(map(_is_there, required)):
        return
    built = Path("/tmp/built")
    built.mkdir()
    prepare = getattr(backend, "prepare_metadata_for_build_wheel", None)
    if prepare:
        content = (built / prepare(str(built), {}) / "METADATA").read_bytes()
    else:
        with zipfile.ZipFile(built / backend.build_wheel(str(built), {})) as made:
            (place,) = (n for n in made.namelist() if n.endswith(".dist-info/METADATA"))
            content = made.read(place)
    Path(output, "METADATA").write_bytes(content)


def _install(wheel: Path) -> None:
    """Unpack a wheel (PEP 427), for this once: nothing records it."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(_TOOLS)
        names = archive.namelist()
    commands = _TOOLS / "bin"
    commands.mkdir(exist_ok=True)
    for data in {n.split("/")[0] for n in names if n.split("/")[0].endswith(".data")}:
        for kind, target in (("purelib", _TOOLS), ("platlib", _TOOLS), ("scripts", commands)):
            if (_TOOLS / data / kind).is_dir():
                shutil.copytree(_TOOLS / data / kind, target, dirs_exist_ok=True)
    for place in (n for n in names if n.endswith(".dist-info/entry_points.txt")):
        told = configparser.ConfigParser(delimiters="=", interpolation=None)
        told.optionxform = str  # type: ignore[assignment,method-assign]
        told.read(_TOOLS / place)
        for name, value in told.items("console_scripts") if "console_scripts" in told else ():
            module, _, function = value.split("[")[0].strip().partition(":")
            code = f'import sys, {module}; sys.argv[0] = "{name}"; sys.exit({module}.{function}())'
            (commands / name).write_text(f"#!/bin/sh\nexec {sys.executable} -S -c '{code}' \"$@\"\n")
    for command in commands.iterdir():
        text = command.read_bytes()
        if text.startswith(b"#!python"):
            command.write_bytes(f"#!{sys.executable}".encode() + text[len("#!python") :])
        command.chmod(0o755)


def _backend(root: Path) -> Any:
    project, system = root / "pyproject.toml", {}
    if project.exists():
        system = tomllib.loads(project.read_text("utf-8")).get("build-system", {})
    sys.path[:0] = [str(root / place) for place in system.get("backend-path", [])]
    named = system.get("build-backend", "setuptools.build_meta:__legacy__")
    module, _, attributes = named.partition(":")
    found = importlib.import_module(module)
    for part in filter(None, attributes.split(".")):
        found = getattr(found, part)
    return found


def _is_there(requirement: str) -> bool:
    name = requirement.split(";")[0].split("[")[0]
    for mark in "<>=!~ @(":
        name = name.split(mark)[0]
    try:
        metadata.version(name.strip())
    except metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
