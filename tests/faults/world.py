"""What trials share: a project, its lock, a prepared store that each trial gets a copy of, and how
the end of a command is judged. Nothing outside of this machine is asked once it is prepared."""

from __future__ import annotations

import copy
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.core.derivation import Fetch
from engine.net.fetch import fetch
from store import Store
from tests.faults.server import Bad
from tests.integration import archive, distribution, index, small_root
from tests.integration.scratch import push_scratch

ENVD = Path(sys.executable).parent / "envd"
HUNG = 420.0  # seconds after which a command counts as hanging
SUITE = "bookworm"
_KEY = "archive.asc"  # what a project calls the archive's key

_BASE = '    base(os="debian12", language="python3")\n'
_SMALL = '    base(image="{registry}/faults/small:1")\n'
_ARCHIVE = '    config.apt_source(source="deb http://{archive} {suite} main", key="{key}")\n'
_REST = """    config.pip_index(url="http://{index}/simple")
    install.python_packages(["six"])
"""
_STEPS = '    run(["echo {word} > /etc/word", "cat /etc/debian_version > /etc/copied"])\n'


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> str:
        """Its error in one line, shortened; else its last line."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        errors = [line for line in lines if re.match(_ERROR, line)]
        return (errors or lines or [""])[-1][:160]

    @property
    def clear(self) -> bool:
        """Whether it said in one error what is wrong, or that a signal ended it."""
        if "Traceback" in self.err or "internal error" in self.err or "<default>" in self.err:
            return False
        if self.code in (-1, -2, -15):  # by a signal before it had begun
            return not self.err
        if self.code == 130:
            return len(re.findall(r"^envd: \w", self.err, re.MULTILINE)) == 1
        return self.code in (1, 2) and len(re.findall(_ERROR, self.err, re.MULTILINE)) == 1

    @property
    def ended(self) -> str:
        """The kind of its end, in the table's words."""
        return "survived" if self.code == 0 else "clear" if self.clear else "unclear"

    def trial(self, what: str = "", *, lost: bool = False) -> Trial:
        """It as a trial that needs no more of a check."""
        said = self.said if self.ended == "clear" else f"code {self.code}: {self.err[-300:]!r}"
        remark = f"{what}: {said} ({self.seconds:.0f} s)" if self.code or lost else ""
        return Trial(self.ended, lost, remark)


_ERROR = r"^(?:error: |[^\n:> ]+:\d+:\d+: error: )"


@dataclass
class Trial:
    """One fault, and what came of it."""

    ended: str  # survived, clear, unclear
    lost: bool = False
    remark: str = ""


@dataclass
class Row:
    """A row of the table."""

    fault: str
    trials: list[Trial] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, ended: str) -> int:
        return sum(t.ended == ended for t in self.trials)


class World:
    """Everything lies in `directory`. `bad` serves the Python index, `debs` the apt archive."""

    def __init__(
        self,
        directory: Path,
        seed: int,
        bad: Bad,
        debs: Bad,
        docker: str,
        registry: str,
        key: distribution.Key,
    ) -> None:
        self.directory, self.seed, self.bad, self.debs = directory, seed, bad, debs
        self.docker, self.registry, self.key = docker, registry, key
        self.random = random.Random(seed)
        self.prepared = directory / "prepared"
        self.project = directory / "p"
        self.image = ""
        self._base = _SMALL
        self._numbers = itertools.count(1)
        self._debian = _Later()

    def of_row(self, name: str) -> World:
        """The same with the row's own chance: rows run side by side, in any order."""
        mine = copy.copy(self)
        mine.random = random.Random(f"{self.seed} {name}")
        return mine

    def prepare(self) -> None:
        """A base of a few files and an index; a store with the base and pip, the lock of the
        project, and the image that it should give."""
        python_index(self.directory / "index")
        small = scratch_files(self.directory / "tools")
        push_scratch(self.directory / "small", f"{self.registry}/faults/small:1", small)
        self._prepare()

    def debian(self) -> World:
        """The same with a base of Debian's, bootstrapped from a signed archive of our own; made when
        it is first wanted. What costs a thousand files more for each trial is only done where .debs
        matter."""
        return self._debian.get(self._made_debian)

    def _made_debian(self) -> World:
        mine = copy.copy(self)
        mine.directory, mine._base = self.directory / "debian", _BASE + _ARCHIVE
        mine.prepared, mine.project = mine.directory / "prepared", mine.directory / "p"
        mine.directory.mkdir()
        (mine.directory / _KEY).write_bytes(self.key.gpg("--export", "--armor"))
        first = mine.directory / "first"
        first.mkdir()
        (first / "build.envd").write_text(f"def build():\n{_BASE}")
        elsewhere = mine.directory / "first-store"
        mine._fine(mine.run("lock", "--dev", store=elsewhere, project=first))
        fill_archive(
            self.directory / "debs",
            tomllib.loads((first / "envd.lock").read_text()),
            self.key,
            Store.open(elsewhere),
        )
        mine.drop(elsewhere)
        mine._prepare()
        return mine

    def _prepare(self) -> None:
        self.write(self.project, self.spec(self._base))
        self._fine(self.run("build", "--no-load", store=self.prepared, project=self.project))
        self.write(self.project)
        self._fine(self.run("lock", store=self.prepared, project=self.project))
        store = self.store("reference")
        self.image = self._fine(
            self.run("build", "--no-load", "--locked", store=store, project=self.project)
        ).out.strip()
        store.rename(self.directory / "reference")
        pushed = self.store("pushed", of=self.directory / "reference")
        self._fine(self.run("build", "--no-load", "--locked", "-t", "s:1", store=pushed))
        pushed.rename(self.directory / "pushed")
        Store.open(self.directory / "empty").close()

    def _fine(self, done: Done) -> Done:
        assert done.code == 0, done.err[-3000:]
        return done

    def spec(self, text: str = "", *, steps: str = "", word: str = "hello", more: str = "") -> str:
        """The project's spec with other steps, or another word in them."""
        text = text or self._base + _REST + more + (steps or _STEPS)
        return text.format(
            registry=self.registry,
            archive=self.debs.address,
            suite=SUITE,
            key=_KEY,
            index=self.bad.address,
            word=word,
        )

    def write(self, project: Path, body: str = "", word: str = "hello") -> None:
        """Write the spec, with the key that it names."""
        project.mkdir(parents=True, exist_ok=True)
        (project / "build.envd").write_text(f"def build():\n{body or self.spec(word=word)}")
        if (key := self.directory / _KEY).exists():
            shutil.copy(key, project)

    def copy(self, word: str = "hello", body: str = "") -> Path:
        """A project of a trial's own, with the lock."""
        project = self.directory / f"p{next(self._numbers)}" / "p"
        self.write(project, body, word=word)
        shutil.copy(self.project / "envd.lock", project)
        return project

    def store(self, name: str, *, of: Path | None = None, at: Path | None = None) -> Path:
        """A copy of the prepared store (or of the one `of`), below `at` if that is given: files are
        linked, never to be written in place."""
        store = (at or self.directory) / f"store-{next(self._numbers)}-{name}"
        subprocess.run(["cp", "-al", str(of or self.prepared), str(store)], check=True)
        for path in store.glob("db.sqlite*"):
            mode, data = path.stat().st_mode, path.read_bytes()
            path.unlink()
            path.write_bytes(data)
            path.chmod(mode & 0o777)
        return store

    def drop(self, store: Path) -> None:
        """Forget a store."""
        subprocess.run(["rm", "-rf", "--one-file-system", str(store)], check=False)

    def start(
        self,
        *arguments: str,
        store: Path,
        project: Path,
        environment: Mapping[str, str] = {},
        prefix: Sequence[str] = (),
    ) -> subprocess.Popen[str]:
        """Begin a command."""
        return subprocess.Popen(
            [*prefix, str(ENVD), *arguments],
            cwd=project,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "ENVD_STORE": str(store), "DOCKER_HOST": self.docker, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(
        self,
        *arguments: str,
        store: Path,
        project: Path | None = None,
        environment: Mapping[str, str] = {},
        prefix: Sequence[str] = (),
    ) -> Done:
        """Run a command to its end."""
        process = self.start(
            *arguments, store=store, project=project or self.project, environment=environment, prefix=prefix
        )
        return self.end(process)

    def told(self, process: subprocess.Popen[str], text: str) -> str:
        """Wait until a command says `text`, or ends; what it has said on standard error."""
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if text in line:
                break
        return said

    def end(self, process: subprocess.Popen[str]) -> Done:
        """Wait for a command. One that hangs is killed, and its code is 999."""
        begin = time.monotonic()
        try:
            out, err = process.communicate(timeout=HUNG)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            code = 999
        return Done(code, out, err, time.monotonic() - begin)

    def judge(
        self,
        done: Done,
        store: Path,
        project: Path,
        *,
        image: str = "",
        killed: bool = False,
        remark: str = "",
    ) -> Trial:
        """What a trial gave: the command's own end, then whether the store is clean and the build
        gives the same image once the fault is gone (it is by now)."""
        wanted = image or self.image
        ended = "survived" if killed else done.ended
        remarks = [remark] if remark else []
        if ended == "clear":
            remarks.append(f"{done.said} ({done.seconds:.0f} s)")
        if ended == "unclear":
            remarks.append(f"code {done.code}: {done.err[-300:]!r}")
        lost = done.code == 0 and bool(wanted) and wanted not in done.out and "sha256:" in done.out
        again = self.run("build", "--no-load", "--locked", store=store, project=project)
        if again.code != 0 or (wanted and again.out.strip() != wanted):
            lost = True
            remarks.append(f"building again: {again.code} {again.err[-300:]!r}")
        checked = self.run("store", "verify", store=store, project=project)
        if checked.code != 0:
            lost = True
            remarks.append(f"verify: {checked.out[-200:]!r}")
        if left := work_left(store):
            remarks.append(f"left in tmp/: {left[:3]}")
            if not killed:
                ended = "unclear"
        return Trial(ended, lost, "; ".join(remarks))


def unmount(directory: Path) -> None:
    """Unmount all that is mounted below a directory."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    for point in reversed([p for p in points if p.startswith(f"{directory}/")]):
        subprocess.run(["umount", "-l", point], check=False)


class _Later:
    """What is made once, by whoever wants it first; the others wait for it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._made: World | None = None

    def get(self, make: Callable[[], World]) -> World:
        with self._guard:
            if self._made is None:
                self._made = make()
            return self._made


def scratch_files(directory: Path) -> dict[str, bytes | str]:
    """What the small base holds: commands of this machine's, a Python to install for, bytes that do
    not compress, and many files. `directory` is for what is made meanwhile."""
    directory.mkdir()
    root = small_root.make(directory / "root")
    files: dict[str, bytes | str] = {
        "etc/os-release": b"ID=small\n",
        "etc/debian_version": b"12.0\n",
        "opt/noise": random.Random(1).randbytes(6_000_000),
        "usr/bin/python3": "python3.11",
        "usr/bin/python3.11": b"#!/bin/sh\nexit 1\n",
        "usr/lib/python3/dist-packages/README": b"\n",
        **{f"opt/many/{n}": f"{n}\n".encode() for n in range(300)},
    }
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            files[name] = str(path.readlink())
        elif path.is_file():
            files[name] = path.read_bytes()
    return files


def work_left(store: Path) -> list[str]:
    """What lies in a store's tmp/ and should not. Half a download is kept on purpose, and so is a
    damaged tree, until the next gc."""
    kept = ("partial-", "changed-")
    return [p.name for p in (store / "tmp").iterdir() if not p.name.startswith(kept)]


def python_index(directory: Path) -> None:
    """An index of the two packages that the project's lock has."""
    directory.mkdir(exist_ok=True)
    index.download(directory, ["six==1.16.0", "pip"])
    index.lay_out(directory)


def fill_archive(directory: Path, lock: Mapping[str, Any], key: distribution.Key, store: Store) -> None:
    """A signed archive of the .debs that a lock pins, and two more: "faulty", and "sleepy", whose
    installation takes some seconds. `store` is for what is fetched meanwhile."""
    pool = directory / "pool"
    pool.mkdir(parents=True, exist_ok=True)
    rows = [row for section in ("base", "apt", "dev") for row in _packages(lock.get(section))]

    def bring(row: Mapping[str, Any]) -> None:
        name = str(row["url"]).rpartition("/")[2]
        file = Fetch(str(row["file"]), str(row["url"]), str(row["sha256"]), int(row["size"]))
        shutil.copyfile(fetch(file, store), pool / name)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(bring, rows))
    store.close()
    noise = random.Random(1).randbytes(200_000)
    for name, scripts in (("faulty", {}), ("sleepy", {"postinst": "sleep 3"})):
        files = {f"opt/{name}": noise}
        archive.make_deb(pool, name, "1.0", files, scripts=scripts)
        shutil.rmtree(pool / f".{name}")
    distribution.write_indexes(directory, [SUITE], key)


def _packages(section: Any) -> list[Mapping[str, Any]]:
    rows = section.get("package", []) if isinstance(section, dict) else section or []
    return [row for row in rows if str(row.get("url", "")).endswith(".deb")]
