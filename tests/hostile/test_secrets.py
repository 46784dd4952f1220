"""Secrets of build steps: a file of that step alone; its value is nowhere else, whatever happens."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import stat
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.envd import ENVD, Envd

VALUE = f"hunter2-{uuid.uuid4()}/+value"  # found nowhere but where this run has put it
BEGIN = time.time() - 1
FORMS = (
    VALUE,
    base64.b64encode(VALUE.encode()).decode()[:32],
    VALUE.encode().hex(),
    base64.b64encode(f"user:{VALUE}".encode()).decode()[10:30],
)

SPEC = """
def build():
    base(os="debian12")
    run([": {salt}"] + {commands!r}, secrets=["TOKEN", "key.pem"])
"""
SALT = uuid.uuid4()  # a step that a kept store has is not run, whatever the value is by now
GIVEN = ("--secret", "TOKEN=env:THE_TOKEN", "--secret", "key.pem=file:key")
BUILD = ("build", "--no-load", "--progress=plain")


@pytest.fixture
def envd(shared_store: Path, tmp_path: Path) -> Envd:
    found = Envd(shared_store, tmp_path / "project", {"THE_TOKEN": VALUE})
    found.project.mkdir()
    (found.project / "key").write_bytes(b"\0binary\xff\n")
    return found


def held_in(directory: Path) -> list[Path]:
    """The files below a directory that hold the value, in whatever form: of those that are as new as
    this run, since other tests' bases may lie there."""
    needles = [form.encode() for form in FORMS]
    found = []
    for path in directory.rglob("*"):
        try:
            info = path.lstat()
            if not stat.S_ISREG(info.st_mode) or info.st_ctime < BEGIN:
                continue
            content = path.read_bytes()
        except OSError:  # another test's, gone by now
            continue
        found += [path] if any(n in content for n in needles) else []
    return found


def test_a_step_has_its_files_and_the_next_has_not(envd: Envd, tmp_path: Path) -> None:
    envd.spec(
        SPEC.format(
            salt=SALT,
            commands=[
                "stat -c '%a %u %g' /run/secrets/TOKEN /run/secrets/key.pem >/srv/modes",
                "wc -c </run/secrets/TOKEN >/srv/size",
                "sha256sum /run/secrets/* >/srv/sums",
                "env >/srv/env",
                "mount >/srv/mounts",
            ],
        )
        + '    run(["ls /run/secrets /run/envd/handed >/srv/next 2>&1 || true"])\n'
    )
    (tmp_path / "out").mkdir()
    root = envd.unpacked(tmp_path / "out", *GIVEN)
    assert (root / "srv/modes").read_text() == "400 0 0\n" * 2
    assert (root / "srv/size").read_text() == f"{len(VALUE)}\n"
    assert (root / "srv/sums").read_text() == "".join(
        f"{hashlib.sha256(value).hexdigest()}  /run/secrets/{name}\n"
        for name, value in (("TOKEN", VALUE.encode()), ("key.pem", b"\0binary\xff\n"))
    )
    assert "No such file" in (root / "srv/next").read_text()
    assert not (root / "run/secrets").exists()
    assert (root / "srv/env").read_text() and VALUE not in (root / "srv/env").read_text()
    assert held_in(envd.store) == [] and held_in(tmp_path) == []


def test_what_prints_it_is_redacted(envd: Envd) -> None:
    envd.spec(
        SPEC.format(
            salt=SALT,
            commands=[
                "set -x",
                "cat /run/secrets/TOKEN >&2",
                "base64 /run/secrets/TOKEN",
                'echo "Authorization: $(printf \'user:%s\' "$(cat /run/secrets/TOKEN)" | base64 -w0)"',
                "od -An -v -tx1 /run/secrets/TOKEN | tr -d ' \\n'; echo",
                'curl="$(cat /run/secrets/TOKEN)"; echo $curl >&2',
                "exit 7",
            ],
        )
    )
    for progress in ("plain", "json"):
        for debug in ((), ("--debug",)):
            outcome = envd.run(*debug, *BUILD[:2], f"--progress={progress}", *GIVEN, check=False)
            said = outcome.stdout + outcome.stderr
            assert outcome.code == 1 and "exit 7" in said and "***" in said
            assert [form for form in FORMS if form in said] == []


def test_another_value_builds_nothing_anew(envd: Envd) -> None:
    envd.spec(SPEC.format(salt=SALT, commands=["test -s /run/secrets/TOKEN", "echo same >/srv/file"]))
    first = envd.run(*BUILD, *GIVEN)
    other = Envd(envd.store, envd.project, {"THE_TOKEN": "quite another one"})
    again = other.run(*BUILD, *GIVEN)
    assert first.stdout == again.stdout and "building run" not in again.stderr
    # nor is one needed where nothing is built
    assert envd.run(*BUILD).stdout == first.stdout


def test_one_that_is_missing_is_said_at_its_line_before_anything_is_built(envd: Envd) -> None:
    envd.spec(
        SPEC.format(salt=SALT, commands=["echo before anything"]).replace(
            'base(os="debian12")', 'base(os="debian12")\n    run(["echo first >/srv/first"])'
        )
    )
    outcome = envd.run(*BUILD, "--secret", "key.pem=file:key", "--force", check=False)
    assert outcome.code == 2
    assert "build.envd:5:5: error: run-" in outcome.stderr
    assert "needs the secret TOKEN; give --secret TOKEN=env:" in outcome.stderr
    assert "building" not in outcome.stderr


def test_one_that_nobody_wants_is_said_each_time(envd: Envd) -> None:
    envd.spec('def build():\n    base(os="debian12")\n')
    for _ in range(2):
        assert "warning: --secret TOKEN: no run(" in envd.run(*BUILD, *GIVEN[:2]).stderr


WRONG = {
    "a value": ("TOKEN=hunter2", "say where the value is"),
    "a value with a colon": ("TOKEN=hunter2:x", "say where the value is"),
    "Docker's words": ("id=hunter2,env=THE_TOKEN", "say where the value is"),
    "no such variable": ("TOKEN=env:NOT_SET", "NOT_SET is not set"),
    "an empty variable": ("TOKEN=env:EMPTY", "EMPTY is empty"),
    "no such file": ("TOKEN=file:nothing", "nothing: No such file"),
    "a directory": ("TOKEN=file:/", "/ is not a regular file"),
    "a pipe": ("TOKEN=file:pipe", "pipe is not a regular file"),
    "a device": ("TOKEN=file:/dev/zero", "/dev/zero is not a regular file"),
    "too large": ("TOKEN=file:large", "large is larger than 500 KiB"),
    "an empty file": ("TOKEN=file:empty", "empty is empty"),
    "a path": ("../x=env:THE_TOKEN", "the name is not one"),
    "hidden": (".x=env:THE_TOKEN", "the name is not one"),
    "an option": ("-x=env:THE_TOKEN", "the name is not one"),
    "a line": ("a\nb=env:THE_TOKEN", "the name is not one"),
    "long": (f"{'x' * 65}=env:THE_TOKEN", "the name is not one"),
    "nothing": ("", "the name is not one"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_option_is_one_error(name: str, envd: Envd) -> None:
    option, expected = WRONG[name]
    envd.spec('def build():\n    base(os="debian12")\n')
    os.mkfifo(envd.project / "pipe")
    (envd.project / "empty").touch()
    (envd.project / "large").write_bytes(b"x" * (500 * 1024 + 1))
    envd = Envd(envd.store, envd.project, {**envd.environment, "EMPTY": ""})
    commands: list[tuple[str, ...]] = [("build", "--no-load")]
    if name == "a value":
        commands += [("push", "127.0.0.1:1/x"), ("up",), ("lock",)]
    for command in commands:
        outcome = envd.run(*command, f"--secret={option}", check=False)
        assert outcome.code == 2 and outcome.stdout == ""
        assert outcome.stderr.startswith("error: ") and outcome.stderr.count("\n") == 1
        assert expected in outcome.stderr and "hunter2" not in outcome.stderr
    assert not (envd.project / "envd.lock").exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc/passwd", "-x", "a b", "x" * 65, "ä"])
def test_a_wrong_name_in_a_spec_is_one_error(name: str, envd: Envd) -> None:
    envd.spec(f'def build():\n    base(os="debian12")\n    run(["true"], secrets=["{name}"])\n')
    outcome = envd.run("parse", check=False)
    assert outcome.code == 2
    assert "build.envd:3:" in outcome.stderr and "is not a valid name of a secret" in outcome.stderr


def test_what_a_step_keeps_is_said(envd: Envd) -> None:
    envd.spec(SPEC.format(salt=SALT, commands=["cp /run/secrets/TOKEN /root/.netrc"]))
    other = Envd(envd.store, envd.project, {"THE_TOKEN": f"kept-{uuid.uuid4()}"})
    outcome = other.run(*BUILD, *GIVEN)
    assert "/root/.netrc holds the value of the secret TOKEN" in outcome.stderr
    assert other.environment["THE_TOKEN"] not in outcome.stderr


@pytest.fixture
def running(envd: Envd) -> Iterator[tuple[Envd, subprocess.Popen[str]]]:
    """A build in the middle of a step that has its secrets."""
    commands = ["cat /run/secrets/* >/dev/null; echo has it", "sleep 300"]
    envd.spec(SPEC.format(salt=SALT, commands=commands).replace('"key.pem"]', '"key.pem"], network=True'))
    process = subprocess.Popen(
        [str(ENVD), "build", "--no-load", "--progress=json", *GIVEN],
        cwd=envd.project,
        text=True,
        env={
            **os.environ,
            **envd.environment,
            "ENVD_STORE": str(envd.store),
            "https_proxy": f"http://user:{quote(VALUE, safe='')}@127.0.0.1:9",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        assert line.startswith("{"), line + process.stderr.read()
        if json.loads(line).get("text") == "has it":
            break
    yield envd, process
    process.kill()
    process.wait()
    process.stderr.close()


def test_no_command_line_shows_it_and_a_kill_leaves_nothing(
    running: tuple[Envd, subprocess.Popen[str]],
) -> None:
    envd, process = running
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:
            continue
    assert any(b"bwrap" in line for line in lines)
    for spelling in (VALUE, quote(VALUE, safe="")):
        assert not any(spelling.encode() in line for line in lines)
    assert held_in(envd.store) == []
    children = [pid for pid in _processes() if _parent(pid) == process.pid]
    assert children
    process.send_signal(signal.SIGKILL)
    process.wait()
    end = time.monotonic() + 60
    while any(pid in _processes() for pid in children):
        assert time.monotonic() < end, "the step outlived its build"
        time.sleep(0.1)
    assert held_in(envd.store) == [] and held_in(envd.project) == []


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_a_private_key_in_a_layer_is_told_each_time(shared_store: Path, tmp_path: Path) -> None:
    """Not only by the build that makes it, whose output nobody may have read."""
    envd = Envd(shared_store, tmp_path / "project")
    pem = "-----BEGIN PRIVATE KEY-----\\n" + "A" * 64 + "\\n"  # for printf
    made = f"/srv/{uuid.uuid4().hex}.key"  # of no step that is there already
    command = f"printf -- '{pem}' >{made}".replace("\\", "\\\\")
    spec = f'\ndef build():\n    base()\n    run(["{command}"])\n'
    envd.spec(spec)
    warning = f": warning: {made} is a private key: whoever has the image has it\n"
    first = envd.run("build", "--no-load")
    assert first.stderr.count(warning) == 1
    idle = envd.run("build", "--no-load")
    assert "up to date" in idle.stderr and idle.stderr.count(warning) == 1
    envd.spec(spec + '    runtime.environ(env={"X": "y"})\n')
    other = envd.run("build", "--no-load")
    assert "up to date" not in other.stderr and other.stderr.count(warning) == 1
    envd.run("build", "--no-load", "--tag", "told:1")
    again = envd.run("build", "--no-load", "--progress=json", "--tag", "told:2")
    assert again.stderr.count(f"{made} is a private key") == 1
