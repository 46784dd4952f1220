"""conda packages: one prefix, /opt/conda, linked by rattler from local files, in the sandbox."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from engine.core.command import CancelledError, LimitError
from engine.core.derivation import Derivation, Input
from engine.core.urls import redacted
from engine.ecosystems.debian import debs
from engine.ecosystems.python.interpreter import Interpreter
from engine.errors import BuildError
from engine.lock.packages import Conda
from engine.realise import confined, jail
from engine.realise.context import BuildContext

KIND = "conda"
VERSION = 2
PREFIX = "/opt/conda"
_PREFIX = PREFIX.lstrip("/")  # below the layer's root
_SCRIPT = Path(__file__).with_name("link.py")
_HERE = "/envd"  # where the sandbox sees what it is given
_ASIDE = "__clobbers__/"  # where rattler puts a file whose place another package's has taken
_LARGEST = 1 << 28  # bytes of a record, which lists every file of its package
# What a record says of where and when it was installed: it differs by machine.
_LOCAL = ("extracted_package_dir", "package_tarball_full_path", "link", "requested_spec", "requested_specs")


def derivation(packages: Sequence[Conda]) -> Derivation:
    """The derivation of the prefix."""
    ordered = sorted(packages, key=lambda p: p.name)
    return Derivation(
        KIND,
        "conda",
        VERSION,
        tuple(Input("file", p.file.fetch()) for p in ordered),
        {"urls": [[p.file.name, redacted(p.file.url), p.subdir or "noarch"] for p in ordered]},
    )


def interpreter(packages: Sequence[Conda]) -> Interpreter | None:
    """The Python that the packages bring, or None."""
    version = next((p.version for p in packages if p.name == "python"), "")
    return Interpreter(".".join(version.split(".")[:2]), PREFIX) if version else None


def build(context: BuildContext) -> Path:
    """Link the packages. Raises BuildError."""
    upper = _linked(context)
    urls = {name: url for name, url, _ in context.parameters["urls"]}
    try:
        _settle(upper, context.say)
        _normalise(upper, urls)
    except (KeyError, TypeError, AttributeError) as error:
        # rattler's own are well-formed; a package may bring another's
        raise BuildError(f"conda: {PREFIX}/conda-meta: a malformed record: {error}") from error
    for name in ("", _PREFIX.partition("/")[0], _PREFIX):
        with confined.directory(upper, name) as directory:
            if directory is None:
                raise BuildError(f"conda: the packages leave no directory {PREFIX}")
            os.fchmod(directory, 0o755)
    return upper


def _linked(context: BuildContext) -> Path:
    """The directory that holds the linked prefix, made by rattler in the sandbox."""
    work, archives = context.scratch / "work", context.scratch / "archives"
    (work / "upper" / _PREFIX).mkdir(parents=True)
    debs.bring(context.files, archives)
    subdirs = {name: subdir for name, _, subdir in context.parameters["urls"]}
    python, binds = jail.python()
    packages = _packages()
    try:
        jail.run(
            [
                python,
                "-I",
                "-S",
                "-B",
                f"{_HERE}/link.py",
                f"{_HERE}/packages",
                f"{_HERE}/archives",
                f"{_HERE}/work",
                PREFIX,
                json.dumps({n: subdirs[n] for n, _ in context.files}),
            ],
            binds=(
                *binds,
                jail.Bind(_SCRIPT, f"{_HERE}/link.py"),
                jail.Bind(packages, f"{_HERE}/packages"),
                jail.Bind(archives, f"{_HERE}/archives"),
                jail.Bind(work, f"{_HERE}/work", writable=True),
            ),
            # rattler begins with a client of TLS, though there is no network: that wants some roots
            environment={"HOME": "/tmp", "SSL_CERT_FILE": f"{_HERE}/packages/certifi/cacert.pem"},
            scratch=context.scratch / "link",
            log=context.log,
            name=context.name,
        )
    except (CancelledError, LimitError):
        raise
    except BuildError as error:
        raise BuildError(f"conda: {error.last_line or error}", error.log) from error
    upper = work / "upper"
    if not stat.S_ISDIR(upper.lstat().st_mode):
        raise BuildError(f"conda: the packages leave no directory {PREFIX}")
    return upper


def _packages() -> Path:
    """The directory that rattler is installed in."""
    found = find_spec("rattler")
    if found is None or found.origin is None:
        raise BuildError("conda: the Python package py-rattler, which envd depends on, is not here")
    return Path(found.origin).resolve().parent.parent


def _records(upper: Path) -> dict[str, Any]:
    """What conda-meta says of each package: path -> record. Raises BuildError."""
    found = {}
    for name in confined.find(upper, f"{_PREFIX}/conda-meta/*.json"):
        try:
            record = json.loads(confined.read(upper, name, _LARGEST) or b"{}")
        except (ValueError, RecursionError) as error:
            raise BuildError(f"conda: /{name}: not JSON: {error}") from error
        if not isinstance(record, dict):
            raise BuildError(f"conda: /{name}: malformed")
        found[name] = record
    return found


def _write(upper: Path, name: str, text: str) -> None:
    try:
        confined.write(upper, name, text.encode())
    except OSError as error:
        raise BuildError(f"conda: /{name}: {error.strerror}") from error


def _settle(upper: Path, say: Callable[[str], None]) -> None:
    """Say where packages bring the same path, and keep of it what is in place alone: rattler puts
    the others' aside. Raises BuildError where one has a file and another a directory."""
    records = _records(upper)
    owners: dict[str, list[str]] = {}
    aside: dict[str, list[str]] = {}
    for _, record in sorted(records.items()):
        for row in record.get("paths_data", {}).get("paths", []):
            losing = row["_path"].startswith(_ASIDE)
            where = aside if losing else owners
            where.setdefault(row.get("original_path") or row["_path"], []).append(record["name"])
    brought = {path: sorted({*owners.get(path, []), *aside.get(path, [])}) for path in {**owners, **aside}}
    for path in sorted(brought):
        for parent in map(str, PurePosixPath(path).parents):
            if parent in brought:
                raise BuildError(
                    f"conda: '{parent}' is a file in {' and '.join(brought[parent])}, and a directory "
                    f"in {' and '.join(brought[path])}",
                    advice="leave one of them out",
                )
    for path in sorted(aside):
        chosen = owners.get(path, ["none"])[-1]
        say(f"conda: {' and '.join(brought[path])} have '{path}'; that of {chosen} is taken")
    for place, record in records.items():
        data = record.get("paths_data", {})
        if any(row["_path"].startswith(_ASIDE) for row in data.get("paths", [])):
            data["paths"] = [r for r in data["paths"] if not r["_path"].startswith(_ASIDE)]
            record["files"] = [f for f in record.get("files", []) if not f.startswith(_ASIDE)]
            _write(upper, place, json.dumps(record))
    confined.remove(upper, f"{_PREFIX}/{_ASIDE}")
    if "CACHEDIR.TAG" not in owners:  # rattler's, which marks what backups leave out
        confined.remove(upper, f"{_PREFIX}/CACHEDIR.TAG")


def _normalise(upper: Path, urls: dict[str, str]) -> None:
    caches = [
        path
        for path, info in confined.walk(upper)
        if path.rpartition("/")[2] == "__pycache__" and stat.S_ISDIR(info.st_mode)
    ]
    for path in caches:
        confined.remove(upper, path)
    for name, record in _records(upper).items():
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
        _write(upper, name, text)
    _write(upper, f"{_PREFIX}/conda-meta/history", "")
