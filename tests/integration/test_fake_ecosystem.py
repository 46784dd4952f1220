"""An ecosystem and a tool that envd does not have, added from here without touching anything else:
words in the language, a section in the lock, layers with a builder of their own, variables.

`python -c "from tests.integration.test_fake_ecosystem import main; main()" ARGUMENTS` is an envd that
has them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.core.derivation import Derivation, Input
from engine.ecosystems.tools.builder import Layout, Unpack
from engine.errors import ResolveError
from engine.lock.model import Lock
from engine.lock.packages import LockedFile, LockedPackage, ToolArchive, needed
from engine.lock.rows import Rule
from engine.net.origins import Origins
from engine.realise.context import BuildContext
from engine.sections import registry, tools
from engine.sections.section import Draft, Section, Variables, names, places_of, texts
from engine.sections.session import Session
from engine.sections.tool import Order, Placed, Release, Tool, title
from grammar.environment import Environment, Request
from grammar.vocabulary import registry as vocabulary
from grammar.vocabulary.signature import Api, Given, Parameter, each
from grammar.vocabulary.state import State
from grammar.vocabulary.tools import toolchain
from tests.integration.envd import Envd, Outcome
from tests.integration.scratch import push_scratch

ROOT = Path(__file__).parents[2]
FRUIT = ("apple", "pear", "plum")

# -- install.fake: files of a project's orchard/, each a layer in /opt/fake -------------------


@dataclass(frozen=True)
class Fruit(LockedPackage):
    """A row of the section."""

    kind = "fruit"
    colour: str = needed()


def _fake(state: State, given: Given) -> None:
    each(given, "name", lambda text, where: state.want("fake", Request(text, where)))


def _row(name: str, project: Path) -> LockedPackage:
    data = (project / "orchard" / name).read_bytes()
    file = LockedFile(name, f"orchard/{name}", hashlib.sha256(data).hexdigest(), len(data))
    return Fruit(name, "1.0", file, colour="green")


def _resolve(session: Session, lock: Lock) -> Sequence[LockedPackage]:
    for request in session.environment.wanted("fake"):
        if request.text not in FRUIT:
            raise ResolveError(f"no orchard has '{request.text}'", position=request.position)
    asked = {r.text for r in session.environment.wanted("fake")}
    return [_row(name, Path.cwd()) for name in sorted(asked)]


def _unpinned(lock: Lock, asked: Sequence[str], implied: Iterable[str]) -> Iterable[str]:
    return set(asked) - names(lock["fruits"])


def _layers(draft: Draft) -> Sequence[Derivation]:
    return [
        Derivation("fake", f"fake-{p.name}", 1, (Input("file", p.file.fetch()),), {"colour": p.colour})
        for p in draft.lock.rows("fruits", Fruit)
    ]


def _build(context: BuildContext) -> Path:
    upper = context.scratch / "upper"
    place = upper / "opt/fake"
    place.mkdir(parents=True)
    ((name, path),) = context.files
    (place / name).write_text(f"{context.parameters['colour']} {path.read_text()}")
    for directory in (upper, upper / "opt", place):
        directory.chmod(0o755)
    return upper


def _variables(environment: Environment, lock: Lock) -> Variables:
    if not lock["fruits"]:
        return Variables()
    return Variables({"FAKE_HOME": "/opt/fake"}, ("/opt/fake/bin",))


def _located(
    environment: Environment, directory: Path, rows: Sequence[LockedPackage]
) -> Sequence[LockedPackage]:
    return Origins(directory).packages(rows)


FAKE = Section(
    name="fake",
    table="fruits",
    holds=(Fruit,),
    requests=lambda environment: texts(environment.wanted("fake")),
    places=lambda environment: places_of(environment.wanted("fake")),
    resolve=_resolve,
    unpinned=_unpinned,
    derivations=_layers,
    variables=_variables,
    builders={"fake": _build},
    kinds={Fruit: Rule(re.compile("[a-z]+"), facts={"colour": re.compile("[a-z]+")})},
    located=_located,
)

# -- install.faketool: a tool with an archive of the project's --------------------------------


def _release(order: Order) -> Sequence[ToolArchive]:
    if order.version not in ("", "1.2"):
        raise ResolveError(f"there is no faketool {order.version}", position=order.toolchain.position)
    data = Path("orchard/faketool.tar.gz").read_bytes()
    file = LockedFile(
        "faketool.tar.gz", "orchard/faketool.tar.gz", hashlib.sha256(data).hexdigest(), len(data)
    )
    return [ToolArchive("faketool", "1.2", file)]


def _layout(rows: Sequence[ToolArchive]) -> Placed:
    place = "/opt/faketool"
    layout = Layout(title("faketool", rows), (Unpack(rows[0].file, place, 1),))
    return Placed(layout, (f"{place}/bin",), {"FAKETOOL": place})


FAKETOOL = Tool(
    name="faketool", release=Release(resolve=_release, layout=_layout, is_of_glibc=False), distributed=None
)


def main() -> None:
    """envd, with both."""
    names = Parameter("name", "list[str]", about="fruit")
    vocabulary.register(Api("install.fake", (names,), _fake, "Fruit of an orchard."))
    version = Parameter("version", "str", "", about="its version")
    vocabulary.register(Api("install.faketool", (version,), toolchain("faketool"), "A tool."))
    registry.register(FAKE, below="vscode")
    tools.register(FAKETOOL)
    from engine.cli import entry

    entry.main()


# -- the tests --------------------------------------------------------------------------------

MAIN = f"from {__name__} import main; main()"


@dataclass(frozen=True)
class FakeEnvd(Envd):
    """The command, with the fake ecosystem and the fake tool."""

    def run(self, *arguments: str, check: bool = True) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, *arguments],
            cwd=self.project,
            env={**os.environ, "ENVD_STORE": str(self.store), "PYTHONPATH": str(ROOT), **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stderr[-6000:]
        return Outcome(done.returncode, done.stdout.strip(), done.stderr)


@pytest.fixture
def envd(tmp_path: Path, registry_server: object, registry: str) -> FakeEnvd:
    image = f"{registry}/fake/base:{os.getpid()}"
    push_scratch(tmp_path / "image", image, {"hello": b"hello"})
    made = FakeEnvd(tmp_path / "store", tmp_path / "project")
    orchard = made.project / "orchard"
    orchard.mkdir(parents=True)
    for name in FRUIT:
        (orchard / name).write_text(f"{name}s\n")
    with tarfile.open(orchard / "faketool.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("faketool-1.2/bin/faketool")
        member.size, member.mode = 5, 0o755
        tar.addfile(member, io.BytesIO(b"tool\n"))
    made.spec(f"""
def build():
    base(image="{image}")
    install.fake(["pear", "apple"])
    install.faketool("1.2")
""")
    return made


def test_an_ecosystem_and_a_tool_from_outside(envd: FakeEnvd, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    root = envd.unpacked(tmp_path / "out", "--progress=json")
    assert (root / "opt/fake/apple").read_text() == "green apples\n"
    assert (root / "opt/fake/pear").read_text() == "green pears\n"
    assert (root / "opt/faketool/bin/faketool").read_text() == "tool\n"
    config = json.loads((tmp_path / "out/bundle/config.json").read_text())["process"]
    variables = dict(pair.split("=", 1) for pair in config["env"])
    assert (variables["FAKE_HOME"], variables["FAKETOOL"]) == ("/opt/fake", "/opt/faketool")
    assert variables["PATH"].startswith("/opt/faketool/bin:/opt/fake/bin:")
    lock = tomllib.loads((envd.project / "envd.lock").read_text())
    assert lock["requests"]["fake"] == ["apple", "pear"]
    assert lock["requests"]["tools"] == ["faketool=1.2"]
    assert [(row["name"], row["colour"]) for row in lock["fruits"]] == [("apple", "green"), ("pear", "green")]
    assert [row["name"] for row in lock["tools"]] == ["faketool"]
    assert "fake-apple" in envd.run("graph").stdout
    assert "apple" in envd.run("parse").stdout


def test_its_section_is_kept_and_renewed_as_others_are(envd: FakeEnvd) -> None:
    first = envd.run("build", "--no-load", "--progress=json")
    assert {"fake-apple", "fake-pear", "faketool-1.2"} <= set(first.names("finish"))
    again = envd.run("build", "--no-load", "--progress=json", "--locked")
    assert not again.names("resolve") and not again.names("finish")
    spec = (envd.project / "build.envd").read_text()
    (envd.project / "build.envd").write_text(spec.replace('"pear"', '"plum"'))
    refused = envd.run("build", "--no-load", "--locked", check=False)
    assert refused.code == 2 and "fake: +plum -pear" in refused.stderr
    changed = envd.run("build", "--no-load", "--progress=json")
    assert changed.names("resolve") == ["fake"]
    assert "fake-plum" in changed.names("finish") and "fake-apple" not in changed.names("finish")


@pytest.mark.parametrize(
    ("call", "code", "says"),
    [
        ('install.fake("pear")', 2, "install.fake(): 'name' is a list of strings"),
        ('install.fakes(["pear"])', 2, "fakes"),
        ('install.fake(["stone"])', 1, "build.envd:3:19: error: no orchard has 'stone'"),
        ('install.faketool("9")', 1, "build.envd:3:5: error: there is no faketool 9"),
    ],
)
def test_its_errors_are_those_of_others(envd: FakeEnvd, call: str, code: int, says: str) -> None:
    base = re.search(r"base\(.*\)", (envd.project / "build.envd").read_text())
    assert base is not None
    envd.spec(f"def build():\n    {base[0]}\n    {call}\n")
    done = envd.run("lock", check=False)
    assert done.code == code and says in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not (envd.project / "envd.lock").exists()


def test_a_row_that_does_not_keep_its_rule_is_refused(envd: FakeEnvd) -> None:
    envd.run("lock")
    text = (envd.project / "envd.lock").read_text()
    (envd.project / "envd.lock").write_text(text.replace('colour = "green"', 'colour = "../x"'))
    done = envd.run("build", "--no-load", check=False)
    assert done.code == 2 and "colour '../x' is not a valid colour of a fruit" in done.stderr


def test_an_envd_without_it_says_so(envd: FakeEnvd) -> None:
    envd.run("lock")
    plain = Envd(envd.store, envd.project)
    done = plain.run("build", "--no-load", check=False)
    assert done.code == 2 and "install has no" in done.stderr and "fake" in done.stderr
    spec = (envd.project / "build.envd").read_text()
    (envd.project / "build.envd").write_text(re.sub(r"    install.*\n", "", spec))
    done = plain.run("build", "--no-load", check=False)
    assert done.code == 2 and "kind 'fruit' is not one that this envd knows" in done.stderr
