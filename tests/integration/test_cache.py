"""What one machine built, another one does not build: a cache in a real registry."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.integration import machines, servers, web
from tests.integration.envd import Envd, docker
from tests.integration.machines import Team, checkout, reader, writer

BUILD = ("build", "--no-load", "--progress=json")


@dataclass(frozen=True)
class Shared:
    """A registry with a base image, and a machine that has published a project."""

    registry: servers.RegistryServer
    base: str
    team: Team
    writer: Envd
    spec: str
    image: str

    def lock(self) -> Path:
        return self.writer.project / "envd.lock"

    def another(self, tmp_path: Path, name: str = "b") -> Envd:
        """A fresh machine with the same project."""
        machine = reader(self.team, tmp_path / f"store-{name}", tmp_path / name / "project")
        checkout(machine, self.spec, self.lock())
        return machine


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    with servers.registry() as registry:
        base = machines.push_base(registry, tmp_path)
        team = machines.team(tmp_path, f"{registry.address}/team/cache")
        first = writer(team, tmp_path / "store-a", tmp_path / "a/project")
        spec = machines.SPEC.format(image=base, salt=uuid.uuid4())
        checkout(first, spec)
        done = first.run(*BUILD, "--publish")
        assert "publish" in {e["kind"] for e in done.events}
        yield Shared(registry, base, team, first, spec, done.stdout)


def started(done: object) -> list[str]:
    return [e["name"] for e in done.events if e["kind"] == "start"]  # type: ignore[attr-defined]


def warnings(done: object) -> list[str]:
    return [
        e["text"]
        for e in done.events  # type: ignore[attr-defined]
        if e["kind"] == "message" and e["name"] == "cache" and e["text"].startswith("warning: ")
    ]


def layers_of(shared: Shared) -> set[str]:
    """The digests of the published pack's layers."""
    paths = {p for m, p, _ in shared.registry.requests() if m == "PUT" and "/manifests/plan-" in p}
    (path,) = paths
    revision = shared.registry.data / "docker/registry/v2/repositories/team/cache/_manifests/tags"
    link = (revision / path.rpartition("/")[2] / "current/link").read_text()
    algorithm, _, digest = link.partition(":")
    blob = shared.registry.data / f"docker/registry/v2/blobs/{algorithm}/{digest[:2]}/{digest}/data"
    return {layer["digest"] for layer in json.loads(blob.read_text())["layers"]}


def test_a_second_machine_builds_nothing_and_fetches_what_it_needs(shared: Shared, tmp_path: Path) -> None:
    second = shared.another(tmp_path)
    before = len(shared.registry.requests())
    done = second.run(*BUILD)
    assert done.stdout == shared.image
    assert started(done) == [] and done.names("finish") == [] and done.names("fetch-start") == []
    assert done.names("substituted") and not warnings(done)
    asked = shared.registry.requests()[before:]
    assert len(asked) <= 4, asked
    # again: what it knows it need not ask
    before = len(shared.registry.requests())
    assert second.run(*BUILD).stdout == shared.image
    assert shared.registry.requests()[before:] == []
    # the bytes come when they are wanted, and are the same ones
    second.run("build", "-o", f"oci-dir:{tmp_path}/b-layout")
    shared.writer.run("build", "-o", f"oci-dir:{tmp_path}/a-layout")
    a, b = (sorted(p.name for p in (tmp_path / f"{x}-layout/blobs/sha256").iterdir()) for x in "ab")
    assert a == b and len(a) > 4
    assert second.run("store", "verify").code == 0
    second.run("prune")
    assert second.run(*BUILD).stdout == shared.image


def test_a_changed_step_builds_on_what_is_shared(shared: Shared, tmp_path: Path) -> None:
    second = shared.another(tmp_path)
    second.spec(shared.spec.replace("cat /srv/one", "cat /srv/one /srv/one"))
    done = second.run(*BUILD)
    (only,) = started(done)
    assert only.startswith("run-") and done.names("finish") == [only]
    assert not warnings(done)
    own = replace(second, store=tmp_path / "store-c", environment={})
    assert own.run(*BUILD).stdout == done.stdout


def test_whose_word_counts(shared: Shared, tmp_path: Path) -> None:
    stranger = machines.team(tmp_path, shared.team.place, "stranger")
    for name, trusted in (("nobody", ""), ("other", stranger.public)):
        machine = shared.another(tmp_path, name)
        machine = replace(machine, environment={**machine.environment, "ENVD_TRUSTED_KEYS": trusted})
        done = machine.run(*BUILD)
        assert done.stdout == shared.image
        assert done.names("substituted") == [] and len(started(done)) >= 3
        (text,) = warnings(done)
        assert "signed by team-1" in text and "envd key trust" in text


def test_a_blob_that_is_gone_is_built_and_published_again(shared: Shared, tmp_path: Path) -> None:
    for digest in layers_of(shared):
        algorithm, _, hexadecimal = digest.partition(":")
        link = shared.registry.data / "docker/registry/v2/repositories/team/cache/_layers"
        (link / algorithm / hexadecimal / "link").unlink()
    second = shared.another(tmp_path)
    second = replace(
        second,
        environment={
            **second.environment,
            "ENVD_SIGNING_KEY": str(shared.team.key),
            "ENVD_PUBLISH": shared.team.place,
        },
    )
    done = second.run("build", "-o", f"oci-dir:{tmp_path}/layout", "--progress=json", "--publish")
    assert done.stdout == shared.image
    assert warnings(done) and all("no longer has" in text for text in warnings(done))
    third = shared.another(tmp_path, "c")
    healed = third.run("build", "-o", f"oci-dir:{tmp_path}/healed", "--progress=json")
    assert healed.stdout == shared.image and started(healed) == [] and not warnings(healed)


def test_a_lock_stays_buildable_when_a_source_is_gone(shared: Shared, tmp_path: Path) -> None:
    shared.writer.run(*BUILD, "--publish", "--sources", "--force")
    with web.serve(tmp_path) as site:  # the base image's registry is gone, and its tags with it
        machine = shared.another(tmp_path)
        lock = machine.project / "envd.lock"
        elsewhere = shared.base.partition("/")[0]
        lock.write_text(lock.read_text().replace(elsewhere, site.url.removeprefix("http://")))
        machine.spec(shared.spec.replace(elsewhere, site.url.removeprefix("http://")))
        # nothing that was built counts, so that all of it is built here
        machine = replace(machine, environment={**machine.environment, "ENVD_TRUSTED_KEYS": ""})
        done = machine.run(*BUILD)
    assert started(done) and done.stdout
    texts = [e["text"] for e in done.events if e["kind"] == "message"]
    assert any(f"taken from {shared.team.place}, since: " in text for text in texts)


def test_a_kept_image_whose_layers_are_elsewhere_goes_to_docker_and_to_a_registry(
    shared: Shared, tmp_path: Path, docker_engine: str
) -> None:
    machine = shared.another(tmp_path)
    machine = replace(machine, environment={**machine.environment, "DOCKER_HOST": docker_engine})
    name = f"kept-{uuid.uuid4().hex[:8]}:v1"
    machine.run(*BUILD, "-t", name)
    assert not list((machine.store / "trees").iterdir())
    machine.run("image", "load", name)
    said = docker("run", "--rm", "--network=none", name, "/bin/cat", "/srv/both", host=docker_engine)
    assert said == "one\nhello"
    second = shared.another(tmp_path, "c")
    second.run(*BUILD, "-t", name)
    pushed = second.run("push", "-t", name, f"{shared.registry.address}/other/repository:v1")
    assert pushed.stdout.startswith(f"{shared.registry.address}/other/repository:v1@sha256:")
    # where nobody is asked any more, that is said
    third = shared.another(tmp_path, "d")
    third.run(*BUILD, "-t", name)
    alone = replace(third, environment={**third.environment, "ENVD_SUBSTITUTERS": ""})
    failed = alone.run("push", "-t", name, "127.0.0.1:1/other/repository:v1", check=False)
    assert failed.code == 1 and "Traceback" not in failed.stderr
    assert alone.run(*BUILD, "-t", name).stdout == shared.image
