"""Packages of a lock for tests, from what a row of the file says."""

from __future__ import annotations

from engine.lock.packages import LockedFile, LockedPackage, package_of


def package(kind: str, name: str, version: str, file: LockedFile, **facts: str) -> LockedPackage:
    """A package of the kind; `facts` are as the file has them."""
    about = {"url": file.url, "size": file.size, "sha256": file.sha256}
    return package_of({"kind": kind, "name": name, "version": version, "file": file.name, **about, **facts})
