"""conda packages: one prefix, /opt/conda, linked by rattler from local files."""

from __future__ import annotations

import asyncio
import json
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from engine import confined
from engine.build.context import BuildContext
from engine.build.interpreter import Interpreter
from engine.derivation import Derivation, Fetch, Input
from engine.errors import BuildError
from engine.fetch import shown
from engine.lock import LockedPackage

KIND = "conda"
VERSION = 2
PREFIX = "/opt/conda"
_ASIDE = "__clobbers__/"  # where rattler puts a file whose place another package's has taken
# What a record says of where and when it was installed: it differs by machine.
_LOCAL = ("extracted_package_dir", "package_tarball_full_path", "link", "requested_spec",
          "requested_specs")


def derivation(packages: Sequence[LockedPackage]) -> Derivation:
    """The derivation of the prefix."""
    ordered = sorted(packages, key=lambda p: p.name)
    return Derivation(
        KIND, "conda", VERSION,
        tuple(
            Input("file", Fetch(p.file.name, p.file.url, p.file.sha256, p.file.size))
            for p in ordered
        ),
        {"urls": [[p.file.name, shown(p.file.url), p.extra.get("subdir", "noarch")] for p in ordered]},
    )


def interpreter(packages: Sequence[LockedPackage]) -> Interpreter | None:
    """The Python that the packages bring, or None."""
    version = next((p.version for p in packages if p.name == "python"), "")
    return Interpreter(".".join(version.split(".")[:2]), PREFIX) if version else None


def build(context: BuildContext) -> Path:
    """Link the packages. Raises BuildError."""
    upper = context.scratch / "upper"
    prefix = upper / PREFIX.lstrip("/")
    prefix.mkdir(parents=True)
    archives = context.scratch / "archives"
    archives.mkdir()
    try:
        asyncio.run(_install(context, archives, prefix))
    except BuildError:
        raise
    except Exception as error:  # rattler's exceptions have no common base
        raise BuildError(f"conda: {error}") from error
    _settle(prefix, context.say)
    urls = {name: url for name, url, _ in context.parameters["urls"]}
    _normalise(prefix, urls)
    for directory in (upper, upper / "opt", prefix):
        directory.chmod(0o755)
    return upper


async def _install(context: BuildContext, archives: Path, prefix: Path) -> None:
    from rattler import BuildString, PackageRecord, RepoDataRecord, Subdir, install
    from rattler.package_streaming import extract

    subdirs = {name: subdir for name, _, subdir in context.parameters["urls"]}
    records = []
    for name, path in context.files:
        (archives / name).symlink_to(path)
        opened = context.scratch / "opened" / name
        opened.mkdir(parents=True)
        extract(archives / name, opened)
        about = json.loads((opened / "info/index.json").read_text("utf-8"))
        shutil.rmtree(opened)
        package = PackageRecord(
            name=about["name"], version=about["version"], build=BuildString(about["build"]),
            build_number=about.get("build_number", 0), subdir=subdirs[name],
            noarch=about.get("noarch") or None, depends=about.get("depends", []),
            constrains=about.get("constrains", []), license=about.get("license"),
            python_site_packages_path=about.get("python_site_packages_path"),
        )
        url = (archives / name).absolute().as_uri()
        records.append(RepoDataRecord(package, name, url, archives.absolute().as_uri()))
    await install(
        records, target_prefix=prefix, cache_dir=context.scratch / "cache",
        alternative_target_prefix=PREFIX, platform=Subdir("linux-64"), execute_link_scripts=False,
        show_progress=False,
    )


def _settle(prefix: Path, say: Callable[[str], None]) -> None:
    """Say where packages bring the same path, and keep of it what is in place alone: rattler puts
    the others' aside. Raises BuildError where one has a file and another a directory."""
    records = {
        path: json.loads(confined.read(prefix, path, -1) or b"{}")
        for path in confined.regular(prefix, "conda-meta/*.json")
    }
    owners: dict[str, list[str]] = {}
    aside: dict[str, list[str]] = {}
    for _, record in sorted(records.items()):
        for row in record.get("paths_data", {}).get("paths", []):
            losing = row["_path"].startswith(_ASIDE)
            where = aside if losing else owners
            where.setdefault(row.get("original_path") or row["_path"], []).append(record["name"])
    brought = {path: sorted({*owners.get(path, []), *aside.get(path, [])})
               for path in {**owners, **aside}}
    for path in sorted(brought):
        for parent in map(str, PurePosixPath(path).parents):
            if parent in brought:
                raise BuildError(
                    f"conda: '{parent}' is a file in {' and '.join(brought[parent])}, and a "
                    f"directory in {' and '.join(brought[path])}; leave one of them out"
                )
    for path in sorted(aside):
        chosen = owners.get(path, ["none"])[-1]
        say(f"conda: {' and '.join(brought[path])} have '{path}'; that of {chosen} is taken")
    for place, record in records.items():
        data = record.get("paths_data", {})
        if any(row["_path"].startswith(_ASIDE) for row in data.get("paths", [])):
            data["paths"] = [r for r in data["paths"] if not r["_path"].startswith(_ASIDE)]
            record["files"] = [f for f in record.get("files", []) if not f.startswith(_ASIDE)]
            confined.write(prefix, place, json.dumps(record).encode())
    confined.remove(prefix, _ASIDE)
    if "CACHEDIR.TAG" not in owners:  # rattler's, which marks what backups leave out
        confined.remove(prefix, "CACHEDIR.TAG")


def _normalise(prefix: Path, urls: dict[str, str]) -> None:
    caches = [
        path for path, info in confined.walk(prefix)
        if path.rpartition("/")[2] == "__pycache__" and stat.S_ISDIR(info.st_mode)
    ]
    for path in caches:
        confined.remove(prefix, path)
    for name in confined.find(prefix, "conda-meta/*.json"):
        record = json.loads(confined.read(prefix, name, -1) or b"{}")
        for key in _LOCAL:
            record.pop(key, None)
        file_name = str(record.get("fn") or f"{Path(name).stem}.conda")
        record["url"] = urls.get(file_name, "")
        record["channel"] = record["url"].rpartition("/")[0].rpartition("/")[0]
        paths = record.get("paths_data", {}).get("paths", [])
        record["files"] = sorted(f for f in record.get("files", []) if "__pycache__" not in f)
        if paths:
            record["paths_data"]["paths"] = sorted(
                (p for p in paths if "__pycache__" not in p["_path"]), key=lambda p: p["_path"]
            )
        text = json.dumps(record, indent=2, sort_keys=True) + "\n"
        confined.write(prefix, name, text.encode())
    confined.write(prefix, "conda-meta/history", b"")
