"""docs/sharing.md: every command of it, run on machines of their own against a real registry."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration import machines, servers, tokens
from tests.integration.envd import ENVD

PAGE = (Path(__file__).parents[2] / "docs/sharing.md").read_text("utf-8")
_BLOCK = re.compile(r"^```(\S*)[ ]?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_KEY = re.compile(r"team-1:[A-Za-z0-9+/]{43}=")


def recipe(title: str) -> list[tuple[str, str]]:
    """The (machine, commands) of a section."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return [(machine, text) for kind, machine, text in _BLOCK.findall(section) if kind == "sh"]


@dataclass
class Team:
    """A registry, and machines that each have a home, a store and a checkout of one project."""

    registry: str
    directory: Path
    spec: str
    key: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    def home(self, machine: str) -> Path:
        return self.directory / machine

    def checkout(self, machine: str) -> Path:
        """The machine's checkout, with the lock that the first one made."""
        project = self.home(machine) / "project"
        if not project.exists():
            project.mkdir(parents=True)
            (project / "build.envd").write_text(self.spec)
            (project / "greeting").write_text("hello\n")
            (project / "token").write_text(servers.PASSWORD)
            locks = sorted(self.directory.glob("*/project/envd.lock"))
            if locks:
                shutil.copy(locks[0], project)
        return project

    def run(self, machine: str, text: str) -> str:
        """Run commands of the page on a machine; all that they say."""
        for before, after in (
            ("registry.example.org", self.registry),
            ("/mnt/share", f"{self.directory}/share"),
            ("/media/stick", f"{self.directory}/stick"),
            ("-u me", f"-u {servers.USER}"),
            ("team-1:…", self.key),
        ):
            text = text.replace(before, after)
        assert "example.org" not in text and "…" not in text
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ENVD_", "XDG_", "DOCKER_"))}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.checkout(machine),
            env={
                **kept,
                "PATH": f"{ENVD.parent}:{os.environ['PATH']}",
                "HOME": str(self.home(machine)),
                "ENVD_STORE": str(self.home(machine) / "store"),
                "DOCKER_HOST": "unix:///nowhere",
                **self.variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{machine}$ {text}\n{done.stdout[-4000:]}"
        if found := _KEY.search(done.stdout):
            self.key = self.key or found[0]
        return done.stdout


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    with servers.registry() as images, servers.registry(auth=True) as registry:
        spec = machines.SPEC.format(image=machines.push_base(images, tmp_path), salt=uuid.uuid4())
        for name in ("share", "stick", "runner"):
            (tmp_path / name).mkdir()
        team = Team(registry.address, tmp_path / "machines", spec)
        yield team


def digest(said: str) -> str:
    """The image that a build printed."""
    return [line for line in said.splitlines() if re.fullmatch(r"sha256:[0-9a-f]{64}", line)][-1]


def built(said: str) -> list[str]:
    return re.findall(r"^building (\S+)$", said, re.MULTILINE)


def test_ci_writes_and_people_read(team: Team, tmp_path: Path) -> None:
    steps = recipe("CI writes, people read")
    assert [machine for machine, _ in steps] == ["admin", "ci", "pull-request", "laptop", "laptop", "laptop"]
    team.checkout("ci")
    team.run("ci", "envd lock")
    team.run(*steps[0])
    secret = (team.home("admin") / "project/team-1.key").read_text().strip()
    team.variables = {
        "ENVD_KEY": secret,
        "REGISTRY_PASSWORD": servers.PASSWORD,
        "RUNNER_TEMP": str(tmp_path / "runner"),
    }
    ci = team.run(*steps[1])
    assert secret.partition(":")[2] not in ci
    assert "publish " in ci and "@sha256:" in ci
    team.variables = {}
    shutil.copytree(team.home("ci") / ".docker", team.home("pull-request") / ".docker")  # CI's own login
    pull_request = team.run(*steps[2])
    assert built(ci) and not built(pull_request) and "publish" not in pull_request
    laptop = [team.run(*step) for step in steps[3:]]
    assert not built("".join(laptop))
    assert digest(laptop[1]) == digest(laptop[2]) == digest(pull_request) == digest(ci)
    assert f"{team.registry}/team/cache" in laptop[1].splitlines()[-1]
    # What a branch's own code does is not signed.
    with pytest.raises(AssertionError, match="there is no place to publish to"):
        team.run("pull-request", "ENVD_SIGNING_KEY= ENVD_PUBLISH= envd build --publish")


def test_a_share_without_a_registry(team: Team) -> None:
    steps = recipe("A share without a registry")
    assert [machine for machine, _ in steps] == ["writer", "reader"]
    (team.directory / "share/envd").mkdir(parents=True)
    writer, reader = (team.run(*step) for step in steps)
    assert built(writer) and not built(reader)
    assert digest(writer) == digest(reader)
    assert "no key is trusted yet" in reader
    # An untrusted machine builds the same itself, and says why.
    other = team.run("other", "envd cache use /mnt/share/envd; envd build")
    assert built(other) and digest(other) == digest(writer)
    assert "signed by team-1, and by no key that is trusted" in other
    looked = [team.run(*step) for step in recipe("Looking after a place")]
    assert "team-1" in looked[0] and "whole: 2 packs" in looked[0] and "removed 0 tags" in looked[0]
    (team.directory / "stick").mkdir()
    once = [team.run(*step) for step in recipe("For one run")]
    assert not built(once[1]) and digest(once[0]) == digest(once[1]) == digest(writer)
    config = team.home("writer") / ".config/envd/config.toml"
    config.write_text(config.read_text() + "always-publish = true\n")
    (team.checkout("writer") / "greeting").write_text("hello again\n")
    assert "publish dir:" in team.run("writer", "envd build")


def test_a_machine_without_network(team: Team) -> None:
    steps = recipe("A machine without network")
    assert [machine for machine, _ in steps] == ["connected", "airgapped", "connected", "airgapped"]
    (team.directory / "stick").mkdir(parents=True)
    connected = team.run(*steps[0])
    airgapped = team.run(*steps[1])
    assert built(connected) and not built(airgapped)
    (team.checkout("connected") / "greeting").write_text("hello again\n")
    (team.checkout("airgapped") / "greeting").write_text("hello again\n")
    again = team.run(*steps[2])
    later = team.run(*steps[3])
    assert built(again) and not built(later)
    assert digest(later) != digest(airgapped)
    # A layer that is nowhere is built there, of what was fetched.
    shutil.rmtree(team.home("airgapped") / "store")
    (team.checkout("airgapped") / "greeting").write_text("hello there\n")
    forced = team.run("airgapped", "envd build --offline")
    assert len(built(forced)) >= 2


def two_builds(team: Team) -> None:
    """Publish a project, and a change of it, in team/cache."""
    login = f"envd cache login registry.example.org -u me -p {servers.PASSWORD}"
    team.run("a", f"{login}; envd key generate; envd cache push registry.example.org/team/cache")
    (team.checkout("a") / "greeting").write_text("hello again\n")
    team.run("a", "envd cache push registry.example.org/team/cache")


def test_what_no_branch_names_is_removed_from_a_registry(tmp_path: Path) -> None:
    """From one whose tokens say what may be done, and that removes by digest alone."""
    place = "registry.example.org/team/cache"
    with servers.registry() as images, tokens.registry(tmp_path / "tokens") as registry:
        spec = machines.SPEC.format(image=machines.push_base(images, tmp_path), salt=uuid.uuid4())
        team = Team(registry.address, tmp_path / "machines", spec)
        two_builds(team)
        said = team.run("a", f"envd cache gc {place}; envd cache ls {place}; envd cache verify {place}")
        assert "removed 1 tag\n" in said and said.count(" plan-") == 1 and "whole: 2 packs" in said
        plan, head = (re.findall(rf" ({kind}-\S+)", said)[0] for kind in ("plan", "head"))
        said = team.run("a", f"! envd cache gc {place} --remove {plan}")
        assert f"'{plan}' and '{head}' are one manifest, and the registry removes both or none" in said
        said = team.run("a", f"envd cache gc {place} --remove {head}; envd cache ls {place}")
        assert "removed 2 tags\n" in said and "no packs" in said


def test_a_registry_that_lets_nothing_be_removed(tmp_path: Path) -> None:
    place = "registry.example.org/team/cache"
    with servers.registry(delete=False) as registry:
        spec = machines.SPEC.format(image=machines.push_base(registry, tmp_path), salt=uuid.uuid4())
        team = Team(registry.address, tmp_path / "machines", spec)
        two_builds(team)
        said = team.run("a", f"! envd cache gc {place}")
        assert "the registry does not let packs be removed; let it remove old tags by a rule" in said
        assert said.count("\n") == 1
        assert "whole: 3 packs" in team.run("a", f"envd cache verify {place}")


def test_every_block_of_the_page_is_run() -> None:
    titles = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    blocks = [(kind, machine) for kind, machine, _ in _BLOCK.findall(PAGE) if kind == "sh"]
    run = [
        "CI writes, people read",
        "A share without a registry",
        "A machine without network",
        "Looking after a place",
        "For one run",
    ]
    assert set(run) <= set(titles)
    assert len(blocks) == sum(len(recipe(title)) for title in run)
    assert all(machine for _, machine in blocks)
