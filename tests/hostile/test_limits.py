"""Build steps that want all of the machine: each ends in its limits, with one clear error, and leaves
neither a process nor anything in the store. The same where no control group can be made."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.envd import Envd, Outcome

# (limit, what the step does, what the error says)
STEPS = {
    "memory": ("memory=100M", "tail /dev/zero", "100M of memory"),
    "memory of many": (
        "memory=100M",
        "for i in 1 2 3 4; do head -c 60000000 /dev/zero | tail -n 1 | { sleep 9; cat; } & done; wait",
        "100M of memory",
    ),
    "memory, and it goes on": ("memory=100M", "tail /dev/zero || sleep 9999; echo 2", "100M of memory"),
    "files in memory": ("memory=100M", "cat /dev/zero > /tmp/file", "in memory, and each may hold 50M"),
    "files in /dev/shm": ("memory=100M", "cat /dev/zero > /dev/shm/f", "in memory, and each may hold"),
    "files in /run": ("memory=100M", "cat /dev/zero > /run/file", "in memory, and each may hold 50M"),
    "fork bomb": ("processes=150", ":(){ :|:& };:; sleep 9999", "more than 150 processes"),
    "fork bomb in sessions": (
        "processes=150",
        "f() { setsid sh -c 'sleep 9999' & f; }; f",
        "more than 150 processes",
    ),
    "one file": ("disk=20M", "yes > /file", "more than 20M to disk"),
    "many files": (
        "disk=20M",
        "n=0; while :; do n=$((n+1)); head -c 100000 /dev/zero > /file$n; done",
        "more than 20M to disk",
    ),
    "files without a name": (
        "disk=20M",
        'for i in 3 4 5 6 7 8; do eval "exec $i>/file$i"; rm /file$i; done; '
        'for i in 3 4 5 6 7 8; do eval "head -c 9000000 /dev/zero >&$i"; done; sleep 9999',
        "more than 20M to disk",
    ),
    "time": ("time=2s", "while :; do echo still here; sleep 0.1; done", "longer than 2s"),
    "time, signals ignored": (
        "time=2s",
        "trap '' TERM INT HUP QUIT; while :; do echo no; sleep 0.1; done",
        "longer than 2s",
    ),
    "silence": ("silence=2s", "sleep 9999", "said nothing for 2s"),
    "silence without output": (
        "silence=2s",
        "setsid sleep 9999 >/dev/null 2>&1 & exec >/dev/null 2>&1 <&-; wait",
        "said nothing for 2s",
    ),
    "log": ("log=200K", "yes", "more than 200K of output"),
    "log of empty lines": ("log=200K", "yes ''", "more than 200K of output"),
    "log of one line": ("log=200K", "cat /dev/zero", "more than 200K of output"),
    "log of carriage returns": ("log=200K", "tr '\\0' '\\r' </dev/zero", "more than 200K of output"),
}
# They differ in how memory and processes are held: there each process is refused more than it may
# have, and what it then does is its own affair.
GROUPS_ONLY = "memory, and it goes on"
ELSEWHERE = [
    name
    for name in STEPS
    if STEPS[name][0].startswith(("memory", "processes", "time")) and name != GROUPS_ONLY
]
# An ordinary user here has no control groups anyway: once without them is enough.
CASES = [
    pytest.param(
        name,
        elsewhere,
        id=f"{name}{' elsewhere' * elsewhere}",
        marks=[pytest.mark.needs_root] if elsewhere or name == GROUPS_ONLY else [],
    )
    for elsewhere, names in ((False, STEPS), (True, ELSEWHERE))
    for name in names
]
WITHOUT_GROUPS = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh")


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of this file's own: what is in it is compared before and after."""
    return tmp_path_factory.mktemp("limits") / "store"


@pytest.fixture(autouse=True, scope="module")
def base(shared_store: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert built(Envd(shared_store, tmp_path_factory.mktemp("base")), "true").code == 0


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    before = left()
    yield
    assert left() == before


def left() -> set[str]:
    """Processes of this run's steps: all of this may run as another user at the same time."""
    found = set()
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                variables = (place / "environ").read_bytes()
            except OSError:
                continue
            if f"OF_RUN={os.getpid()}".encode() in variables.split(b"\0"):
                found.add((place / "cmdline").read_bytes().decode())
    return found


def spec(command: str) -> str:
    marked = f"export OF_RUN={os.getpid()}; {command}"
    return f'def build():\n    base(os="debian12")\n    run([{marked!r}])\n'


def built(envd: Envd, command: str, *arguments: str) -> Outcome:
    envd.spec(spec(command))
    return envd.run(
        "build", "-o", f"oci:{envd.project}/out.tar", "--progress", "plain", *arguments, check=False
    )


def objects(envd: Envd) -> str:
    return envd.run("store", "ls").stdout


@pytest.mark.parametrize(("name", "elsewhere"), CASES)
def test_a_step_ends_in_its_limits(name: str, elsewhere: bool, shared_store: Path, tmp_path: Path) -> None:
    limit, command, words = STEPS[name]
    envd = Envd(shared_store, tmp_path / "project", prefix=WITHOUT_GROUPS if elsewhere else ())
    envd.project.mkdir()
    before = objects(envd)
    outcome = built(envd, command, "--limit", limit)
    assert outcome.code == 1, outcome.stderr[-2000:]
    errors = [line for line in outcome.stderr.splitlines() if "error: " in line]
    assert len(errors) >= 1, outcome.stderr[-2000:]
    last = errors[-1]
    assert re.match(r"build\.envd:3:5: error: run-[0-9a-f]{8}: ended at `", last), last
    assert words in last
    assert f"`--limit {limit.partition('=')[0]}=" in last
    assert "Traceback" not in outcome.stderr
    assert objects(envd) == before
    assert not (envd.project / "out.tar").exists()
    assert not [p for p in (shared_store / "tmp").iterdir() if "run-" in p.name]


@pytest.mark.parametrize("name", ["one file", "many files", "files without a name"])
def test_a_disk_that_others_empty_meanwhile(name: str, shared_store: Path, tmp_path: Path) -> None:
    """What the file system has lost says nothing then."""
    ballast = shared_store.parent / f"ballast-{tmp_path.name}"
    ballast.write_bytes(bytes(200 << 20))
    limit, command, words = STEPS[name]
    envd = Envd(shared_store, tmp_path / "project")
    envd.spec(spec(f"echo begun; sleep 1; {command}"))
    process = subprocess.Popen(
        [*envd_command(), "build", "-o", "oci:out.tar", "--progress", "plain", "--limit", limit],
        cwd=envd.project,
        env={**os.environ, "ENVD_STORE": str(shared_store)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "> begun" in line:
            ballast.unlink()
    assert process.wait() == 1
    process.stderr.close()
    assert words in "".join(said)


def test_a_line_without_end_is_cut(shared_store: Path, tmp_path: Path) -> None:
    """It would have been in memory whole: 1.5 GB of it."""
    envd = Envd(
        shared_store, tmp_path / "project", prefix=("/bin/sh", "-c", 'ulimit -d 600000; exec "$@"', "sh")
    )
    command = f"head -c 1500000000 /dev/zero | tr '\\0' a; echo; echo after # {tmp_path}"
    outcome = built(envd, command, "--limit", "log=none")
    assert outcome.code == 0, outcome.stderr[-2000:]
    assert "(the rest of this line is left out)" in outcome.stderr
    assert "> after" in outcome.stderr
    assert len(outcome.stderr) < 200_000


def test_what_a_limit_allows_goes_through(shared_store: Path, tmp_path: Path) -> None:
    """And a limit is no part of a hash: what was built under another is there."""
    envd = Envd(shared_store, tmp_path / "project")
    command = (
        f"head -c 30000000 /dev/zero | tail -n 1 > /file; (sleep 0.1 & wait); echo went through; : {tmp_path}"
    )
    generous = "memory=300M,processes=50,disk=100M,time=10m,silence=10m,log=1M"
    first = built(envd, command, "--limit", generous)
    assert first.code == 0, first.stderr[-2000:]
    assert "> went through" in first.stderr
    second = built(envd, command, "--limit", "memory=299M,log=2M")
    assert second.code == 0, second.stderr[-2000:]
    assert "> went through" not in second.stderr


@pytest.mark.parametrize(
    "text",
    [
        "memory",
        "memory=",
        "memory=-1",
        "memory=0",
        "memory=much",
        "memory=200%",
        "size=3",
        "time=1 week",
        "processes=1e3",
        "processes=0",
        "disk=0%",
        "memory=8G,=",
        "silence=nan",
        "log=inf",
    ],
)
@pytest.mark.parametrize("place", ["option", "environment"])
def test_a_limit_that_is_none_is_refused(text: str, place: str, tmp_path: Path) -> None:
    envd = Envd(
        tmp_path / "store", tmp_path / "project", {"ENVD_LIMITS": text} if place == "environment" else {}
    )
    outcome = built(envd, "true", *(["--limit", text] if place == "option" else []))
    assert outcome.code == 2
    assert "Traceback" not in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1, outcome.stderr


def test_killed_envd_leaves_no_group_for_long(shared_store: Path, tmp_path: Path) -> None:
    envd = Envd(shared_store, tmp_path / "project")
    envd.spec(spec("echo begun; sleep 9999"))
    process = subprocess.Popen(
        [*envd_command(), "build", "-o", "oci:out.tar", "--progress", "plain"],
        cwd=envd.project,
        env={**os.environ, "ENVD_STORE": str(shared_store)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "> begun" in line:
            break
    process.kill()
    process.wait()
    process.stderr.close()
    assert built(envd, f"echo {tmp_path}").code == 0
    assert not list(Path("/sys/fs/cgroup").rglob(f"envd-{process.pid}"))


def envd_command() -> list[str]:
    from tests.integration.envd import ENVD

    return [str(ENVD)]
