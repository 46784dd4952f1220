"""include(): real git repositories, by file and by HTTP, pinned in the lock."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration import web
from tests.integration.envd import Envd
from tests.integration.scratch import push_scratch

TOOLS = """
_hidden = ["tree"]
FLAVOUR = "{flavour}"

def tools(extra=[]):
    config.entrypoint(_hidden + extra)

def broken():
    greeting = "hello"
    install.apt_package([greeting])
"""
MORE = """
def greet(name):
    runtime.environ(env={"GREETING": "hello " + name})
"""


@dataclass(frozen=True)
class Repository:
    """A git repository in `path`, which can be served as it lies by a plain web server."""

    path: Path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.path), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, **files: str) -> str:
        for name, text in files.items():
            place = self.path / f"{name}.envd"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change")
        self.git("update-server-info")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def library(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "web/library")
    made.path.mkdir(parents=True)
    made.git("init", "-q", "-b", "trunk")
    made.commit(tools=TOOLS.format(flavour="plum"), more=MORE)
    (made.path / "inner").mkdir()
    (made.path / "inner/no.envd").write_text("this is no spec, and not at the root\n")
    made.git("add", "-A")
    made.git("commit", "-q", "-m", "inner")
    made.git("tag", "-a", "v1", "-m", "first")
    made.git("update-server-info")
    return made


def flavour(envd: Envd) -> str:
    return str(dict(json.loads(envd.run("parse", "-o", "json").stdout)["environ"])["FLAVOUR"])


def test_a_repository_is_pinned_until_it_is_asked_to_move(
    tmp_path: Path, library: Repository, registry: str
) -> None:
    push_scratch(tmp_path / "image", f"{registry}/sources/include:1", {"hello": b"hello"})
    envd = Envd(tmp_path / "store", tmp_path / "p")
    first = library.git("rev-parse", "HEAD")
    with web.serve(tmp_path / "web") as server:
        url = f"{server.url}/library/.git"
        envd.spec(
            f"""
lib = include("{url}")
old = include("{url}", ref="v1")

def build():
    base(image="{registry}/sources/include:1")
    lib.tools(["less"])
    lib.greet("you")
    runtime.environ(env={{"FLAVOUR": lib.FLAVOUR, "OLD": old.FLAVOUR}})
"""
        )
        envd.run("lock")
        text = (envd.project / "envd.lock").read_text()
        assert text.count(f'commit = "{first}"') == 2 and 'ref = "v1"' in text
        made = json.loads(envd.run("parse", "-o", "json").stdout)
        assert made["entrypoint"] == ["tree", "less"]
        second = library.commit(tools=TOOLS.format(flavour="cherry"))
        assert flavour(envd) == "plum"
    # nobody serves it now: the cache has what the lock pins
    envd.run("lock", "--check")
    assert flavour(envd) == "plum"
    assert (envd.project / "envd.lock").read_text() == text
    # a build that has nothing to do evaluates nothing, so it does without the cache
    image = envd.run("build", "--no-load").stdout
    (envd.store / "cache/git").rename(tmp_path / "cache")
    again = envd.run("build", "--no-load")
    assert again.stdout == image and "up to date" in again.stderr
    done = envd.run("parse", check=False)
    shutil.rmtree(envd.store / "cache/git")
    (tmp_path / "cache").rename(envd.store / "cache/git")
    assert done.code == 1 and "build.envd:2:15: " in done.stderr and "cannot include" in done.stderr
    library.path.rename(tmp_path / "library")
    moved = f"file://{tmp_path}/library"
    envd.spec((envd.project / "build.envd").read_text().replace(url, moved))
    envd.run("lock", "--update")
    text = (envd.project / "envd.lock").read_text()
    assert f'commit = "{first}"' in text and f'commit = "{second}"' in text
    environ = dict(json.loads(envd.run("parse", "-o", "json").stdout)["environ"])
    assert environ == {"FLAVOUR": "cherry", "GREETING": "hello you", "OLD": "plum"}


def test_errors_name_the_file_that_they_are_in(
    shared_store: Path, tmp_path: Path, library: Repository
) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    url = f"file://{library.path}"
    commit = library.git("rev-parse", "HEAD")[:12]

    def fails(spec: str) -> tuple[int, str]:
        envd.spec(spec)
        done = envd.run("parse", check=False)
        assert "Traceback" not in done.stderr
        return done.code, done.stderr

    code, text = fails(f'lib = include("{url}")\ndef build():\n    base()\n    lib.broken()\n')
    assert code == 2
    assert f"git {url}@{commit}:tools.envd:10:" in text
    assert "   10 |     install.apt_package([greeting])\n" in text and "did you mean" in text
    assert "called from" in text and "build.envd:4:" in text

    code, text = fails(f'lib = include("{url}", ref="v9")\ndef build():\n    base()\n')
    assert code == 1
    assert "build.envd:1:15:" in text and "no branch, tag or commit 'v9'; it has trunk, v1" in text
    code, text = fails(f'lib = include("{url}-none")\ndef build():\n    base()\n')
    assert code == 1 and "cannot include" in text
    code, text = fails(f'lib = include("{url}")\ndef build():\n    base()\n    lib.tolos()\n')
    assert code == 2 and "did you mean 'tools'" in text

    library.commit(third="def greet():\n    pass\n")
    code, text = fails(f'lib = include("{url}")\ndef build():\n    base()\n')
    assert code == 2 and "'greet' is in both more.envd and third.envd" in text
    itself = library.commit(third=f'again = include("{url}")\n')
    code, text = fails(f'lib = include("{url}")\ndef build():\n    base()\n')
    assert code == 2 and "includes itself" in text
    assert f"git {url}@{itself[:12]}:third.envd:1:17" in text
    library.commit(third="def f(:\n")
    code, text = fails(f'lib = include("{url}")\ndef build():\n    base()\n')
    assert code == 2 and ":third.envd:1:7" in text and "def f(:" in text


MISTAKES = """
def mistakes():
    install.apt_packages(["no-such-deb"])
    install.conda_packages(["numpy ==[", "six"])
"""


def test_every_mistake_is_shown_with_its_line_wherever_it_is(
    shared_store: Path, tmp_path: Path, library: Repository
) -> None:
    """Of resolving, long after the files were read: in a directory whose name looks like a place, and in
    other repositories."""
    library.commit(more=MISTAKES)
    commit = library.git("rev-parse", "HEAD")[:12]
    envd = Envd(shared_store, tmp_path / "a:1:2: b\nc")
    with web.serve(tmp_path / "web") as server:
        for url in (f"file://{library.path}", f"{server.url}/library/.git"):
            envd.spec(
                f'lib = include("{url}")\n\ndef build():\n    base()\n    lib.mistakes()\n'
                '    install.apt_packages(["curll"])\n'
            )
            done = envd.run("lock", "-p", str(envd.project), check=False)
            said = done.stderr
            lib = f"git {url}@{commit}:more.envd"
            own = str(envd.project / "build.envd").replace("\n", "\\n")
            assert done.code == 1, said
            assert (
                f"\n{own}:6:27: error: no apt package 'curll'; did you mean 'curl'?\n"
                '    6 |     install.apt_packages(["curll"])\n'
                "      |                           ^\n" in said
            )
            assert (
                f"\n{lib}:3:27: error: no apt package 'no-such-deb'; check its name and "
                "config.apt_source\n"
                '    3 |     install.apt_packages(["no-such-deb"])\n'
                "      |                           ^\n" in said
            )
            assert f"\n{lib}:4:29: error: 'numpy ==[' is not a valid conda package: " in said
            assert (
                '\n    4 |     install.conda_packages(["numpy ==[", "six"])\n'
                "      |                             ^\n" in said
            )
            assert not (envd.project / "envd.lock").exists()
    envd.spec('lib = include("file:///nowhere")\n')
    told = envd.run("--debug", "parse", check=False).stderr
    assert "Traceback" in told and "ResolveError: " in told and "cannot include" in told


@pytest.mark.parametrize(
    "arguments",
    [
        '"ext::sh -c touch% pwned"',
        '"--upload-pack=touch pwned"',
        '"file::/x"',
        '"./library"',
        '"https://-x/y"',
        '"me@host:-oProxyCommand=touch"',
        '"https://h/x", ref="--output=x"',
    ],
)
def test_what_could_run_commands_is_no_url(shared_store: Path, tmp_path: Path, arguments: str) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(f"lib = include({arguments})\ndef build():\n    base()\n")
    done = envd.run("parse", check=False)
    assert done.code == 2 and "build.envd:1:" in done.stderr
    assert [p.name for p in envd.project.iterdir()] == ["build.envd"]
    shutil.rmtree(envd.project)
