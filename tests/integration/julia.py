"""A real Julia in the shape of a release, and a package server with a registry of small packages.

Julia 1.5.3 is the one that Debian carried last (in bullseye): its .debs are put together as the
archive that Julia's own project would have made, with the libraries beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from engine.ecosystems.debian import apt
from engine.ecosystems.debian import releases as debian
from engine.net.fetch import fetch
from store import Store

VERSION = "1.5.3"
REGISTRY = "23338594-aafe-5451-b93e-139f81909106"
UUIDS = {
    "Hello": "10000000-0000-4000-8000-000000000001",
    "Words": "10000000-0000-4000-8000-000000000002",
    "Future2": "10000000-0000-4000-8000-000000000003",
}
# Of the target's own: a newer C library does for an older program.
_NOT = {"libc6", "libcrypt1", "libgcc-s1", "libstdc++6"}
_LAUNCHER = """\
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
lib=$here/../lib/x86_64-linux-gnu
LD_LIBRARY_PATH=$lib:$lib/julia exec "$here/julia.bin" "$@"
"""


def release(site: Path, store: Path) -> None:
    """Make `site` a download site: bin/versions.json, and the archive that it names."""
    tree = site / f"julia-{VERSION}"
    (tree / "debs").mkdir(parents=True)
    _debian(tree / "debs", store)
    for source, target in (
        ("usr/lib/x86_64-linux-gnu", "lib"),
        ("usr/share/julia", "share/julia"),
        ("lib/x86_64-linux-gnu", "lib"),
    ):
        into = tree / target / ("x86_64-linux-gnu" if target == "lib" else "")
        shutil.copytree(tree / "debs" / source, into, symlinks=True, dirs_exist_ok=True)
    (tree / "bin").mkdir()
    shutil.copy2(tree / "debs/usr/bin/julia", tree / "bin/julia.bin")
    (tree / "bin/julia").write_text(_LAUNCHER)
    (tree / "bin/julia").chmod(0o755)
    shutil.rmtree(tree / "debs")
    name = f"julia-{VERSION}-linux-x86_64.tar.gz"
    path = site / "bin/linux/x64/1.5" / name
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(tree, tree.name)
    shutil.rmtree(tree)
    # The official site's URLs: whoever asks a mirror gets the mirror's file.
    official = f"https://julialang-s3.julialang.org/bin/linux/x64/1.5/{name}"
    row = {
        "url": official,
        "triplet": "x86_64-linux-gnu",
        "kind": "archive",
        "os": "linux",
        "arch": "x86_64",
        "version": VERSION,
        "size": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    musl = {**row, "triplet": "x86_64-linux-musl", "url": official.replace("linux", "musl")}
    index = {
        VERSION: {"stable": True, "files": [musl, row]},
        "1.6.0-rc1": {"stable": False, "files": [{**row, "version": "1.6.0-rc1"}]},
    }
    (site / "bin/versions.json").write_text(json.dumps(index))


def _debian(root: Path, store: Path) -> None:
    keyring = debian.RELEASES["debian11"].keyring
    sources = [f"deb {debian.mirror('debian')} bullseye main"]
    cache = store / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    with apt.open_apt(sources, keyring, cache, lambda _: None) as lists:
        found = [lists.locked(n, v) for n, v in lists.solve(["julia"], "")]
    opened = Store.open(store)
    for package in found:
        if package.name in _NOT or not package.name.startswith(("lib", "julia")):
            continue
        file = package.file
        path = fetch(file.fetch(), opened)
        subprocess.run(["dpkg-deb", "-x", path, root], check=True)
    opened.close()


# -- a package server -------------------------------------------------------------------------


def _tree(directory: Path) -> str:
    """git's own hash of a directory."""
    environment = {**os.environ, "GIT_DIR": f"{directory}.git", "GIT_WORK_TREE": str(directory)}

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=directory, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q")
    git("add", "-A")
    return git("write-tree")


def _served(directory: Path, url: Path) -> str:
    """Serve a directory's content at URL/HASH; its hash."""
    tree = _tree(directory)
    url.mkdir(parents=True, exist_ok=True)
    with tarfile.open(url / tree, "w:gz") as archive:
        for path in sorted(directory.iterdir()):
            archive.add(path, path.name)
    return tree


def _write(directory: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


def server(site: Path, work: Path) -> None:
    """Make `site` a package server. Hello 1.1.0 needs Words 0.3 and, from the standard library,
    Dates; Words needs an artifact; Hello 2.0.0 and Future2 need a Julia to come."""
    artifact = _served(_write(work / "artifact", {"words.txt": "hello, world\n"}), site / "artifact")
    registry: dict[str, str] = {}
    rows = []
    deps = f'Words = "{UUIDS["Words"]}"\nDates = "ade2ca70-3891-5945-98fb-dc099432e06a"\n'
    packages = {
        "Words": {
            "0.2.0": 'module Words\nword() = "old"\nend\n',
            "0.3.1": (
                "module Words\nusing Pkg.Artifacts\n"
                'word() = strip(read(joinpath(artifact"words", "words.txt"), String))\nend\n'
            ),
        },
        "Hello": {
            version: (
                "module Hello\nusing Words, Dates\n"
                f'greet() = string(Words.word(), " {version} ", year(Date(2020)))\nend\n'
            )
            for version in ("1.0.0", "1.1.0", "2.0.0")
        },
        "Future2": {"1.0.0": "module Future2\nend\n"},
    }
    needs = {"Hello": deps, "Words": 'Pkg = "44cfe95a-1eb2-52ea-b672-e2afdf69b78f"\n'}
    compat = {
        "Hello": '["1.0"]\nWords = "0.2"\n["1.1"]\nWords = "0.3"\njulia = "1.3-1"\n[2]\njulia = "1.99-1"\n',
        "Future2": '[1]\njulia = "1.99-1"\n',
    }
    for name, versions in packages.items():
        listed = ""
        for version, code in versions.items():
            project = f'name = "{name}"\nuuid = "{UUIDS[name]}"\nversion = "{version}"\n'
            files = {"Project.toml": f"{project}\n[deps]\n{needs.get(name, '')}", f"src/{name}.jl": code}
            if name == "Words":
                files["Artifacts.toml"] = f'[words]\ngit-tree-sha1 = "{artifact}"\n'
            tree = _served(_write(work / f"{name}-{version}", files), site / "package" / UUIDS[name])
            listed += f'["{version}"]\ngit-tree-sha1 = "{tree}"\n'
        place = f"{name[0]}/{name}"
        rows.append(f'{UUIDS[name]} = {{ name = "{name}", path = "{place}" }}\n')
        registry[f"{place}/Package.toml"] = f'name = "{name}"\nuuid = "{UUIDS[name]}"\nrepo = ""\n'
        registry[f"{place}/Versions.toml"] = listed
        if name in needs:
            key = "0.3-0" if name == "Words" else "1-2"
            registry[f"{place}/Deps.toml"] = f'["{key}"]\n{needs[name]}'
        registry[f"{place}/Compat.toml"] = compat.get(name, "")
    registry["Registry.toml"] = f'name = "General"\nuuid = "{REGISTRY}"\n\n[packages]\n{"".join(rows)}'
    tree = _served(_write(work / "registry", registry), site / "registry" / REGISTRY)
    (site / "registries").write_text(f"/registry/{REGISTRY}/{tree}\n")
