"""`envd bundle`: what one machine has built, another one builds without network."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.integration import machines, servers
from tests.integration.envd import Envd, Outcome
from tests.integration.test_offline import ALONE

BUILD = ("build", "--no-load", "--offline", "--progress=json")


@dataclass(frozen=True)
class Made:
    """A machine that has made the bundle `file`, signed by its team's key, and the image's ID."""

    machine: Envd
    team: machines.Team
    spec: str
    file: Path
    image: str

    def another(self, tmp_path: Path, name: str, *, trusting: bool = True) -> Envd:
        """A fresh machine without network that has a checkout of the project."""
        found = machines.reader(self.team, tmp_path / f"store-{name}", tmp_path / name / "project")
        variables = {"ENVD_SUBSTITUTERS": "", **({} if trusting else {"ENVD_TRUSTED_KEYS": ""})}
        found = replace(found, prefix=ALONE, environment={**found.environment, **variables})
        machines.checkout(found, self.spec, self.machine.project / "envd.lock")
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Upon a small image of a registry that is gone, with an included repository that is gone too."""
    tmp_path = tmp_path_factory.mktemp("bundle")
    repository = tmp_path / "shared"
    repository.mkdir()
    (repository / "lib.envd").write_text('def more():\n    run(["echo more >/srv/more"])\n')
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        who = ["-c", "user.name=x", "-c", "user.email=x@x"]
        subprocess.run(["git", *who, *command], cwd=repository, check=True)
    with servers.registry() as registry:
        team = machines.team(tmp_path, "")
        first = machines.writer(team, tmp_path / "store", tmp_path / "project")
        quiet = {"ENVD_SUBSTITUTERS": "", "ENVD_PUBLISH": ""}
        first = replace(first, environment={**first.environment, **quiet})
        base = machines.push_base(registry, tmp_path)
        spec = machines.SPEC.format(image=base, salt=uuid.uuid4())
        spec = f'lib = include("file://{repository}")\n{spec}    lib.more()\n'
        spec += '    run(["cat /proc/sys/kernel/random/uuid >/srv/chance"], network=True)\n'
        machines.checkout(first, spec)
        said = first.run("bundle", "create", str(tmp_path / "env.tar")).stdout
        assert "signed by team-1" in said and "fetched files" in said
        image = first.run("build", "--no-load").stdout
    repository.rename(tmp_path / "gone")
    yield Made(first, team, spec, tmp_path / "env.tar", image)


def started(done: Outcome) -> list[str]:
    return done.names("start")


def test_it_builds_without_network(made: Made, tmp_path: Path) -> None:
    second = made.another(tmp_path, "b")
    lacks = second.run(*BUILD, check=False)
    assert lacks.code == 1 and "cannot include file:///" in lacks.stderr
    said = second.run("bundle", "load", str(made.file))
    assert "signed by team-1" in said.stdout
    done = second.run(*BUILD)
    assert (done.stdout, started(done)) == (made.image, [])
    assert second.run("store", "verify").code == 0
    second.run("prune")
    second.run("store", "gc")
    done = second.run(*BUILD, "-o", f"oci-dir:{tmp_path}/layout")
    assert (done.stdout, started(done)) == (made.image, [])
    # Everything that is fetched is here, too; what a step with network gave is what the lock pins.
    second.spec(made.spec.replace("echo one", "echo one; echo two"))
    changed = second.run(*BUILD, check=False)
    assert changed.code == 1 and "may use the network" in changed.stderr
    second.spec(made.spec.replace("    lib.more()\n", "    lib.more()\n    # nothing\n"))
    assert second.run(*BUILD).stdout == made.image


def test_the_same_build_gives_the_same_bytes(made: Made, tmp_path: Path) -> None:
    again = tmp_path / "again.tar"
    made.machine.run("bundle", "create", str(again), "--offline")
    assert again.read_bytes() == made.file.read_bytes()
    # Another machine that has it makes the same.
    second = made.another(tmp_path, "b")
    second.run("bundle", "load", str(made.file))
    key = {"ENVD_SIGNING_KEY": str(made.team.key), "ENVD_OFFLINE": "1"}
    replace(second, environment={**second.environment, **key}).run("bundle", "create", f"{tmp_path}/b.tar")
    assert (tmp_path / "b.tar").read_bytes() == made.file.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.endswith("tar")) == ["again.tar", "b.tar"]
    # The image is in it, for others.
    shown = subprocess.run(
        ["skopeo", "inspect", "--config", f"oci-archive:{made.file}:image"], capture_output=True, text=True
    )
    assert json.loads(shown.stdout)["os"] == "linux", shown.stderr


def test_where_it_cannot_be_written_is_said_before_it_is_built(made: Made, tmp_path: Path) -> None:
    for place, says in (
        (tmp_path, "not a regular file"),
        ("/dev/null", "not a regular"),
        ("/no/x", "no dir"),
    ):
        refused = made.machine.run("bundle", "create", str(place), "--force", check=False)
        assert (refused.code, says in refused.stderr) == (2, True), refused.stderr
        assert refused.stderr.count("\n") == 1
    assert Path("/dev/null").is_char_device()


def test_whose_word_counts(made: Made, tmp_path: Path) -> None:
    second = made.another(tmp_path, "b", trusting=False)
    refused = second.run("bundle", "load", str(made.file), check=False)
    assert refused.code == 2 and "signed by team-1, and by no key that is trusted" in refused.stderr
    assert "envd key trust" in refused.stderr and "--trust" in refused.stderr
    assert second.run("store", "ls", "-f", "json").stdout in ("[]", "")
    # Files alone need no word.
    files = second.run("bundle", "load", str(made.file), "--files-only")
    assert " 0 layers" in files.stdout and "signed" not in files.stdout
    second = made.another(tmp_path, "c", trusting=False)
    trusted = second.run("bundle", "load", str(made.file), "--trust", "--lock", f"{tmp_path}/new.lock")
    assert "signed" not in trusted.stdout
    done = second.run(*BUILD)
    assert (done.stdout, started(done)) == (made.image, [])
    assert (tmp_path / "new.lock").read_bytes() == (made.machine.project / "envd.lock").read_bytes()
    (tmp_path / "new.lock").write_text("mine")
    again = second.run(
        "bundle", "load", str(made.file), "--trust", "--lock", f"{tmp_path}/new.lock", check=False
    )
    assert (again.code, "is another one" in again.stderr) == (2, True)
    assert (tmp_path / "new.lock").read_text() == "mine"


def test_files_alone_or_layers_alone_build_the_same(tmp_path: Path) -> None:
    with servers.registry() as registry:
        base = machines.push_base(registry, tmp_path)
        team = machines.team(tmp_path, "")
        first = Envd(
            tmp_path / "store-a",
            tmp_path / "a/project",
            {"HOME": str(tmp_path), "ENVD_SIGNING_KEY": str(team.key)},
        )
        machines.checkout(first, machines.SPEC.format(image=base, salt=uuid.uuid4()))
        first.run("bundle", "create", f"{tmp_path}/env.tar")
        image = first.run("build", "--no-load").stdout
    second = Envd(tmp_path / "store-b", tmp_path / "b/project", {"HOME": str(tmp_path)}, ALONE)
    machines.checkout(second, (first.project / "build.envd").read_text(), first.project / "envd.lock")
    second.run("bundle", "load", f"{tmp_path}/env.tar", "--files-only")
    done = second.run(*BUILD)
    assert done.stdout == image and len(started(done)) >= 4
    # Without the files it is less, and the layers are enough.
    first.run("bundle", "create", f"{tmp_path}/layers.tar", "--no-files")
    assert (tmp_path / "layers.tar").stat().st_size <= (tmp_path / "env.tar").stat().st_size
    third = replace(second, store=tmp_path / "store-c")
    assert ", 0 fetched files" in third.run("bundle", "load", f"{tmp_path}/layers.tar", "--trust").stdout
    done = third.run(*BUILD)
    assert (done.stdout, started(done)) == (image, [])
    # Who has built nothing of it, but has it from a share, makes the same bundle.
    first.run("build", "--no-load", "--export-cache", f"type=local,dest={tmp_path}/share")
    shared = {"ENVD_SUBSTITUTERS": f"dir:{tmp_path}/share", "ENVD_SIGNING_KEY": str(team.key)}
    fourth = replace(second, store=tmp_path / "store-d", environment={**second.environment, **shared})
    fourth.run("bundle", "create", f"{tmp_path}/d.tar", "--no-files")
    assert (tmp_path / "d.tar").read_bytes() == (tmp_path / "layers.tar").read_bytes()


def test_a_real_base_builds_without_network(shared_store: Path, tmp_path: Path) -> None:
    first = Envd(shared_store, tmp_path / "a/project", {"HOME": str(tmp_path)})
    first.spec('def build():\n    base(os="debian12")\n    run(["dpkg -l >/srv/packages"])\n')
    said = first.run("bundle", "create", f"{tmp_path}/env.tar").stdout
    assert "unsigned" in said
    image = first.run("build", "--no-load").stdout
    second = Envd(tmp_path / "store", tmp_path / "b/project", {"HOME": str(tmp_path)}, ALONE)
    second.spec((first.project / "build.envd").read_text())
    (second.project / "envd.lock").write_bytes((first.project / "envd.lock").read_bytes())
    second.run("bundle", "load", f"{tmp_path}/env.tar", "--trust")
    done = second.run(*BUILD)
    assert (done.stdout, started(done)) == (image, [])
    # Upon the base goes what is new.
    second.spec((first.project / "build.envd").read_text().replace("dpkg -l", "dpkg -l | cat"))
    assert len(started(second.run(*BUILD))) == 1


Change = Callable[[list[dict[str, Any]]], None]


def _changed(file: Path, to: Path, change: Change) -> None:
    """A copy of a bundle with another pack: `change` is told its records."""
    with tarfile.open(file) as tar:
        rows = {m.name: (tar.extractfile(m) or io.BytesIO()).read() for m in tar}
    index = json.loads(rows["index.json"])
    for entry in index["manifests"]:
        if entry["annotations"]["org.opencontainers.image.ref.name"].startswith("plan-"):
            manifest = json.loads(rows.pop(_place(entry["digest"])))
            config = rows.pop(_place(manifest["config"]["digest"]))
            document = json.loads(zstandard.ZstdDecompressor().decompressobj().decompress(config))
            change(document["records"])
            config = zstandard.ZstdCompressor().compress(json.dumps(document).encode())
            manifest["config"] |= _described(config)
            content = json.dumps(manifest).encode()
            entry |= _described(content)
            rows |= {_place(_described(x)["digest"]): x for x in (config, content)}
    rows["index.json"] = json.dumps(index).encode()
    with tarfile.open(to, "w") as tar:
        for name, content in rows.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _place(digest: object) -> str:
    return "blobs/" + str(digest).replace(":", "/")


def _described(content: bytes) -> dict[str, object]:
    return {"digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}


def test_what_somebody_changed_is_found(made: Made, tmp_path: Path) -> None:
    def swapped(records: list[dict[str, Any]]) -> None:
        records[0]["object"], records[1]["object"] = records[1]["object"], records[0]["object"]

    def other_key(records: list[dict[str, Any]]) -> None:
        records[0]["key"] = "0" * 64

    def unsigned(records: list[dict[str, Any]]) -> None:
        records[0]["signatures"] = []

    def wrong(field: str, value: object) -> Change:
        def change(records: list[dict[str, Any]]) -> None:
            for record in records:
                if record["object"]["name"] == records[0]["object"]["name"]:
                    record["object"][field] = value

        return change

    second = made.another(tmp_path, "b")
    bad = tmp_path / "bad.tar"
    changes: list[Change] = [swapped, other_key, unsigned]
    for change in changes:
        _changed(made.file, bad, change)
        refused = second.run("bundle", "load", str(bad), check=False)
        says = "is not signed" if change is unsigned else "it was changed"
        assert (refused.code, says in refused.stderr) == (2, True), refused.stderr
    for change in (wrong("id", "1" * 64), wrong("diffId", f"sha256:{'1' * 64}"), wrong("tarSize", 7)):
        _changed(made.file, bad, change)
        refused = second.run("bundle", "load", str(bad), "--trust", check=False)
        assert refused.code == 2 and "is not what is said of it" in refused.stderr, refused.stderr
    assert second.run(*BUILD, check=False).code == 1  # nothing of it is known
    cut = tmp_path / "cut.tar"
    cut.write_bytes(made.file.read_bytes()[: made.file.stat().st_size // 2])
    refused = second.run("bundle", "load", str(cut), "--trust", check=False)
    assert refused.code == 2 and "Traceback" not in refused.stderr and refused.stderr.count("\n") == 1
