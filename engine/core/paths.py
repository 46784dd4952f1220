"""Where things are: a project's spec and lock, the store. Strings only.

Every `envd build` goes through here, and one with nothing to do should cost little more than
starting Python: so neither pathlib nor dataclasses (they import half the standard library).
`engine.core.project` gives the same as frozen data and Paths.
"""

from __future__ import annotations

import os

from engine.errors import UsageError

SPEC_NAME = "build.envd"


def project(file: str | None, path: str | None) -> tuple[str, str, str, str]:
    """(spec, function, directory, lock) of `-f FILE[:FUNC]` and `-p DIR`; the directory is
    absolute. Raises UsageError when there is no spec."""
    directory = path or "."
    if not os.path.isdir(directory):
        raise UsageError("not a directory", subject=directory, advice="give the project's with -p")
    name, _, function = (file or SPEC_NAME).partition(":")
    spec = name or SPEC_NAME
    if not (file and path is None):
        spec = os.path.join(directory, spec)
    if not os.path.isfile(spec):
        what = "a directory" if os.path.isdir(spec) else "no such file"
        raise UsageError(str(what), subject=spec, advice="write one, or name it with -f FILE")
    parent, base = os.path.split(spec)
    if path is None:
        directory = parent or "."
    stem = "envd" if base == SPEC_NAME else base.removesuffix(".envd") + ".envd"
    return (spec, function or "build", os.path.realpath(directory), os.path.join(parent, f"{stem}.lock"))


def absolute(path: str) -> str:
    """`path`, absolute, as Path.absolute() would: ".." stays, for what is before it may be a
    symbolic link."""
    parts = os.path.join(os.getcwd(), path).split("/")
    return "/" + "/".join(part for part in parts if part not in ("", "."))


def image_name(directory: str) -> str:
    """The project's name: its directory's, as a valid image repository name."""
    name = os.path.basename(directory).lower()
    cleaned = "".join(c if c.isascii() and c.isalnum() else "-" for c in name)
    return cleaned.strip("-") or "envd"


def full_tag(tag: str) -> str:
    """`tag` with the ":latest" that it leaves out."""
    return tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest"


def store() -> str:
    """Where the store is: ENVD_STORE, else /var/lib/envd for root, else the user's data home."""
    if given := os.environ.get("ENVD_STORE"):
        return absolute(given)
    # Inside our own user namespace uid 0 is the calling user: ENVD_OUTER_UID tells.
    if os.getuid() == 0 and os.environ.get("ENVD_OUTER_UID", "0") == "0":
        return "/var/lib/envd"
    home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(home, "envd")


def configuration() -> str:
    """Where the user's settings are: $XDG_CONFIG_HOME/envd, else ~/.config/envd. A relative path counts
    for nothing, as the XDG Base Directory Specification has it: it would be one of any project's."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(home):
        home = os.path.expanduser("~/.config")
    return os.path.join(home, "envd")


def docker_directory() -> str:
    """Where docker(1) keeps its settings."""
    return os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
