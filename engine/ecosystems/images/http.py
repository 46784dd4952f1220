"""`io.http(...)`: a file from the web, as a layer of its own, where envd has always put it."""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.core.derivation import Derivation, Input
from engine.lock.packages import LockedPackage
from engine.realise.context import BuildContext
from engine.realise.places import make_parents

KIND = "http"
VERSION = 1
DIRECTORY = "/home/envd/extra_source"


def derivation(package: LockedPackage, url: str) -> Derivation:
    """The derivation of one file; `url` is its URL with the login that a lock does not keep."""
    file = package.file
    return Derivation(KIND, f"http-{file.name}", VERSION, (Input("file", file.fetch(url)),))


def build(context: BuildContext) -> Path:
    """Put the file where it belongs."""
    upper = context.scratch / "upper"
    ((name, path),) = context.files
    target = upper / DIRECTORY.lstrip("/") / name
    make_parents(upper, target)
    shutil.copyfile(path, target)
    target.chmod(0o644)
    return upper
