"""Julia, and a depot of its packages: unpacked as they are, no code runs.

A depot is where Julia looks for packages and artifacts, an environment (Project.toml and
Manifest.toml) says which version of each a program gets. Ours come after the user's own in
Julia's search paths: what a user adds goes to ~/.julia and comes first. Layout: Pkg's manual,
"Glossary"; slugs of directories: Base.version_slug.
"""

from __future__ import annotations

import json
import os
import stat
import tarfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

from engine.core.derivation import Derivation, Input
from engine.errors import BuildError
from engine.lock.packages import JuliaPackage, LockedPackage, ToolArchive
from engine.realise import confined, group, places, tars
from engine.realise.context import BuildContext
from grammar.environment import Request

KIND = "julia"
TREE = "julia-tree"
ENVIRONMENT = "julia-environment"
VERSION = 1
DEPOT = "usr/local/share/julia"
PROJECT = f"{DEPOT}/environments/envd"
MAX_SINGLE = 30  # layers; beyond it small packages are grouped

# Caches of Julia's own packages hold the times of their sources. They take 1 for any time, for
# the sake of Nix: so layers, which clamp times, do not make them stale.
_ANY_TIME = 1


def derivations(packages: Sequence[LockedPackage], requests: Sequence[Request]) -> list[Derivation]:
    """The layers of the lock's section: Julia, each package and artifact, the environment."""
    release = next((p for p in packages if p.name == "julia" and isinstance(p, ToolArchive)), None)
    if release is None:
        return []
    julia = Derivation(
        KIND,
        f"julia-{release.version}",
        VERSION,
        (_file(release),),
        {"place": f"/opt/julia-{release.version}"},
    )
    trees = [p for p in packages if p is not release]
    if not trees and not requests:
        return [julia]
    single = [
        Derivation(TREE, _name(p), VERSION, (_file(p),), {"place": place(p)})
        for p in sorted(trees, key=lambda p: (p.kind, p.name, p.version))
    ]
    rows = [
        {"name": p.name, "version": p.version, **p.facts()}
        for p in sorted(trees, key=lambda p: p.name)
        if isinstance(p, JuliaPackage)
    ]
    names = sorted({r.text.partition("@")[0] for r in requests})
    environment = Derivation(
        ENVIRONMENT,
        "julia-environment",
        VERSION,
        (Input("layer", julia),),
        {"julia": release.version, "packages": rows, "names": names},
    )
    sizes = {_name(p): p.file.size for p in trees}
    return [julia, *group.grouped(single, sizes, MAX_SINGLE, "julia-packages"), environment]


def variables(packages: Sequence[LockedPackage], server: str | None) -> dict[str, str]:
    """The image's variables: where Julia looks, after the user's own places."""
    found = {}
    if any(isinstance(p, JuliaPackage) for p in packages):
        # An empty entry stands for what is there by default.
        found = {"JULIA_DEPOT_PATH": f"~/.julia:/{DEPOT}:", "JULIA_LOAD_PATH": f":/{PROJECT}"}
    if server:
        found["JULIA_PKG_SERVER"] = server
    return found


def _file(package: LockedPackage) -> Input:
    file = package.file
    return Input("file", file.fetch())


def _name(package: LockedPackage) -> str:
    if not isinstance(package, JuliaPackage):
        return f"{package.name}-artifact-{package.version[:8]}"
    return f"{package.name}.jl-{package.version}"


def place(package: LockedPackage) -> str:
    """Where a package or an artifact goes in the image, without the leading slash."""
    if not isinstance(package, JuliaPackage):
        return f"{DEPOT}/artifacts/{package.version}"
    return f"{DEPOT}/packages/{package.name}/{slug(package.uuid, package.tree)}"


# -- builders ---------------------------------------------------------------------------------


def build(context: BuildContext) -> Path:
    """Unpack Julia, and put it on PATH. Raises BuildError."""
    at = str(context.parameters["place"])
    upper = _unpacked(context, at.lstrip("/"), strip=1)
    for path, _ in confined.walk(upper, at):
        os.utime(upper / path, (_ANY_TIME, _ANY_TIME), follow_symlinks=False)
    link = upper / "usr/local/bin/julia"
    places.make(link.parent, upper)
    link.symlink_to(f"{at}/bin/julia")
    if not _has_file(upper, f"{at}/bin/julia"):
        raise BuildError("its archive holds no bin/julia", subject=context.name)
    return upper


def _has_file(upper: Path, path: str) -> bool:
    found = confined.lstat(upper, path)
    return found is not None and stat.S_ISREG(found.st_mode)


def build_tree(context: BuildContext) -> Path:
    """Unpack a package or an artifact. Raises BuildError."""
    return _unpacked(context, str(context.parameters["place"]), strip=0)


def _unpacked(context: BuildContext, at: str, strip: int) -> Path:
    upper = context.scratch / "upper"
    into = upper / at
    places.make(into, upper)
    ((name, path),) = context.files

    def target(member: str) -> Path | None:
        parts = [p for p in PurePosixPath(member).parts if p != "."]
        if ".." in parts or member.startswith("/"):
            raise BuildError(f"'{member}' leads outside of the archive", subject=name)
        return into.joinpath(*parts[strip:]) if parts[strip:] else None

    try:
        tars.unpack(path, into, upper, target)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BuildError(f"cannot unpack it: {error}", subject=name) from error
    return upper


def build_environment(context: BuildContext) -> Path:
    """Write Project.toml and Manifest.toml. Raises BuildError."""
    version = str(context.parameters["julia"])
    packages = context.parameters["packages"]
    library = _library(context.layers[-1], f"opt/julia-{version}/share/julia/stdlib")
    uuids = {p["name"]: p["uuid"] for p in packages} | {n: p["uuid"] for n, p in library.items()}
    names = context.parameters["names"]
    if lacking := [name for name in names if name not in uuids]:
        raise BuildError(
            f"the lock has no {', '.join(lacking)}", subject=context.name, advice="run `envd lock`"
        )
    upper = context.scratch / "upper"
    directory = upper / PROJECT
    places.make(directory, upper)
    project = "[deps]\n" + "".join(f"{name} = {json.dumps(uuids[name])}\n" for name in names)
    text = manifest_text(version, manifest(packages, library, names))
    for name, content in (("Project.toml", project), ("Manifest.toml", text)):
        (directory / name).write_text(content, "utf-8")
        (directory / name).chmod(0o644)
    return upper


def _library(layer: Path, directory: str) -> dict[str, dict[str, Any]]:
    """The Project.toml of each package of the standard library."""
    found = {}
    for path in confined.regular(layer, f"{directory}/v*/*/Project.toml"):
        try:
            project = tomllib.loads((confined.read(layer, path) or b"").decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BuildError(f"Julia's {path} is malformed: {error}") from error
        if "uuid" in project:
            found[str(project.get("name", path.split("/")[-2]))] = project
    return found


def manifest(
    packages: Sequence[Mapping[str, str]], library: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """The table of a manifest: `packages`, and what they and the project (`names`) need of Julia's
    `library`."""
    deps: dict[str, list[dict[str, Any]]] = {}
    wanted = list(names)
    shared = [name for name, count in Counter(p["name"] for p in packages).items() if count > 1]
    for package in packages:
        needs = dict(word.split("=") for word in package.get("deps", "").split())
        row: dict[str, Any] = {
            "git-tree-sha1": package["tree"],
            "uuid": package["uuid"],
            "version": package["version"],
        }
        if needs:
            # a name is enough where it is only one package's
            row["deps"] = needs if needs.keys() & set(shared) else sorted(needs)
        for key in ("weakdeps", "extensions"):
            if key in package:
                row[key] = json.loads(package[key])
        deps.setdefault(package["name"], []).append(row)
        wanted += needs
    for name in _closure(wanted, library, set(deps)):
        row = {"uuid": library[name]["uuid"]}
        if needed := sorted(library[name].get("deps", {})):
            row["deps"] = needed
        if "version" in library[name]:
            row["version"] = library[name]["version"]
        deps[name] = [row]
    return dict(sorted(deps.items()))


def manifest_text(julia: str, table: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Manifest.toml. Julia reads format 2 from 1.6.2 on.

    Written as Pkg writes it, an array on one line: before 1.6, Julia reads it line by line.
    """
    new = tuple(int(n) for n in julia.split("-")[0].split(".")[:3]) >= (1, 6, 2)
    prefix = "deps." if new else ""
    lines = [f'julia_version = "{julia}"', 'manifest_format = "2.0"', ""] if new else []
    for name, rows in table.items():
        for row in rows:
            lines.append(f"[[{prefix}{name}]]")
            below = {key: value for key, value in row.items() if isinstance(value, dict)}
            # a JSON string or array of strings is a TOML one
            lines += [f"{k} = {json.dumps(row[k])}" for k in sorted(row) if k not in below]
            for key, pairs in sorted(below.items()):
                lines.append(f"    [{prefix}{name}.{key}]")
                lines += [f"    {k} = {json.dumps(v)}" for k, v in sorted(pairs.items())]
            lines.append("")
    return "\n".join(lines)


def _closure(
    names: Sequence[str], library: Mapping[str, Mapping[str, Any]], others: set[str]
) -> Iterator[str]:
    todo, seen = list(names), set(others)
    while todo:
        name = todo.pop()
        if name not in seen and name in library:
            seen.add(name)
            todo += library[name].get("deps", {})
            yield name


# -- slugs ------------------------------------------------------------------------------------

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def slug(uuid: str, tree: str) -> str:
    """The name of a package version's directory: Base.version_slug of its UUID and tree hash."""
    number = _crc32c(UUID(uuid).int.to_bytes(16, "little") + bytes.fromhex(tree))
    text = ""
    for _ in range(5):
        number, digit = divmod(number, len(_LETTERS))
        text += _LETTERS[digit]
    return text


@cache
def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


def _crc32c(data: bytes) -> int:
    """CRC-32C (RFC 3720, appendix B.4)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _crc_table()[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


BUILDERS = {KIND: build, TREE: build_tree, ENVIRONMENT: build_environment}
