"""VS Code extensions: each one's files in a layer, and an index that editors read.

A .vsix is a zip; what lies in its `extension/` is what editors install. The index is the
extensions.json of VS Code and code-server (extensionsScannerService).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from engine.core import zip_files
from engine.core.derivation import Derivation, Input
from engine.errors import BuildError
from engine.lock.packages import Vsix
from engine.realise import places, zips
from engine.realise.context import BuildContext
from store import archives

KIND = "vscode"
INDEX = "vscode-index"
VERSION = 1
DIRECTORY = "opt/envd/extensions"
# Where servers look: VS Code Remote's, and code-server's.
_LINKS = ("root/.vscode-server/extensions", "root/.local/share/code-server/extensions")


def _place(package: Vsix) -> str:
    return f"{package.name}-{package.version}".lower()


def derivations(packages: Sequence[Vsix]) -> list[Derivation]:
    """One derivation for each extension, and one for the index."""
    ordered = sorted(packages, key=lambda p: p.name.lower())
    extensions = [
        Derivation(
            KIND,
            f"{p.name}-{p.version}",
            VERSION,
            (Input("file", p.file.fetch()),),
            {"name": p.name, "version": p.version, "place": _place(p)},
        )
        for p in ordered
    ]
    rows = [[p.name, p.version, _place(p), p.target or "universal"] for p in ordered]
    return [*extensions, Derivation(INDEX, "vscode-extensions", VERSION, (), {"extensions": rows})]


def build(context: BuildContext) -> Path:
    """Unpack one extension. Raises BuildError when it is not what the lock says."""
    upper = context.scratch / "upper"
    target = upper / DIRECTORY / str(context.parameters["place"])
    places.make(target, upper)
    ((name, path),) = context.files
    try:
        with zip_files.opened(path) as archive:
            _check(archive, context)
            for member in archive.infolist():
                parts = PurePosixPath(member.filename).parts
                if member.is_dir() or len(parts) < 2 or parts[0] != "extension":
                    continue
                if ".." in parts:
                    raise BuildError("it holds a path that leads outside", subject=name)
                zips.extract(archive, member, target.joinpath(*parts[1:]), upper)
    except zipfile.BadZipFile as error:
        raise BuildError(f"not a valid .vsix: {error}", subject=name) from error
    except BuildError as error:
        raise BuildError(f"{name}: {error}" if name not in str(error) else str(error)) from error
    return upper


def _check(archive: zipfile.ZipFile, context: BuildContext) -> None:
    try:
        about = json.loads(zip_files.read(archive, "extension/package.json").decode("utf-8-sig"))
        found = f"{about['publisher']}.{about['name']}"
        version = str(about["version"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise zipfile.BadZipFile(f"its extension/package.json is malformed: {error!r}") from error
    if found.lower() != str(context.parameters["name"]).lower() or version != context.parameters["version"]:
        raise BuildError(
            f"the .vsix holds {archives.shown(f'{found} {version}')}",
            subject=context.name,
            advice="run `envd lock --update`",
        )


def build_index(context: BuildContext) -> Path:
    """Write extensions.json, and the links that make servers find it."""
    upper = context.scratch / "upper"
    directory = upper / DIRECTORY
    places.make(directory, upper)
    rows = [
        {
            "identifier": {"id": name.lower()},
            "version": version,
            "location": {"$mid": 1, "path": f"/{DIRECTORY}/{place}", "scheme": "file"},
            "relativeLocation": place,
            "metadata": {"targetPlatform": target, "isApplicationScoped": False},
        }
        for name, version, place, target in context.parameters["extensions"]
    ]
    index = directory / "extensions.json"
    index.write_text(json.dumps(rows, sort_keys=True), encoding="utf-8")
    index.chmod(0o644)
    for link in _LINKS:
        places.make((upper / link).parent, upper)
        (upper / link).symlink_to(f"/{DIRECTORY}")
    return upper


BUILDERS = {KIND: build, INDEX: build_index}
