"""What trials share: a project, its lock, a prepared store that each trial gets a copy of, and how
the end of a command is judged."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.server import Bad
from tests.integration import index

ENVD = Path(sys.executable).parent / "envd"
HUNG = 420.0  # seconds after which a command counts as hanging

BASE = '    base(os="debian12", language="python3")\n'
SPEC = f"""{BASE}    config.pip_index(url="http://{{index}}/simple")
    install.python_packages(["six"])
    run(["echo {{word}} > /etc/word", "cat /etc/debian_version > /etc/copied"])
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> str:
        """Its last line, shortened."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return lines[-1][:160] if lines else ""

    @property
    def clear(self) -> bool:
        """Whether it said in one error what is wrong, or that a signal ended it."""
        if "Traceback" in self.err or "internal error" in self.err or "<default>" in self.err:
            return False
        if self.code in (-1, -2, -15):  # by a signal before it had begun
            return not self.err
        if self.code == 130:
            return len(re.findall(r"^envd: \w", self.err, re.M)) == 1
        errors = re.findall(r"^(?:error: |[^\n:> ]+:\d+:\d+: error: )", self.err, re.M)
        return self.code in (1, 2) and len(errors) == 1


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
    """Everything lies in `directory`; `seed` makes what is random the same again."""

    def __init__(self, directory: Path, seed: int, bad: Bad, docker: str, registry: str) -> None:
        self.directory, self.bad, self.docker, self.registry = directory, bad, docker, registry
        self.random = random.Random(seed)
        self.prepared = directory / "prepared"
        self.project = directory / "p"
        self.image = ""
        self._number = 0

    def prepare(self) -> None:
        """The base and pip in a store, the lock of the project, and the image that it should give."""
        self.write(self.project, BASE)
        first = self.run("build", "--no-load", store=self.prepared, project=self.project)
        assert first.code == 0, first.err[-3000:]
        self.write(self.project)
        locked = self.run("lock", store=self.prepared, project=self.project)
        assert locked.code == 0, locked.err[-3000:]
        store = self.store("reference")
        done = self.run("build", "--no-load", "--locked", store=store, project=self.project)
        assert done.code == 0, done.err[-3000:]
        self.image = done.out.strip()

    def write(self, project: Path, body: str = "", word: str = "hello") -> None:
        """Write the spec."""
        project.mkdir(parents=True, exist_ok=True)
        text = body or SPEC.format(index=self.bad.address, word=word)
        (project / "build.envd").write_text(f"def build():\n{text}")

    def copy(self, word: str = "hello") -> Path:
        """A project of a trial's own, with the lock."""
        self._number += 1
        project = self.directory / f"p{self._number}" / "p"
        self.write(project, word=word)
        shutil.copy(self.project / "envd.lock", project)
        return project

    def store(self, name: str, *, of: Path | None = None) -> Path:
        """A copy of the prepared store: files are linked, never to be written in place."""
        self._number += 1
        store = self.directory / f"store-{self._number}-{name}"
        subprocess.run(["cp", "-al", str(of or self.prepared), str(store)], check=True)
        for path in store.glob("db.sqlite*"):
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)
        return store

    def drop(self, store: Path) -> None:
        """Forget a store."""
        subprocess.run(["rm", "-rf", str(store)], check=False)

    def start(
        self, *arguments: str, store: Path, project: Path, environment: Mapping[str, str] = {},
        prefix: Sequence[str] = (),
    ) -> subprocess.Popen[str]:
        """Begin a command."""
        return subprocess.Popen(
            [*prefix, str(ENVD), *arguments], cwd=project, text=True, stdin=subprocess.DEVNULL,
            env={**os.environ, "ENVD_STORE": str(store), "DOCKER_HOST": self.docker, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )

    def run(
        self, *arguments: str, store: Path, project: Path | None = None,
        environment: Mapping[str, str] = {}, prefix: Sequence[str] = (),
    ) -> Done:
        """Run a command to its end."""
        process = self.start(
            *arguments, store=store, project=project or self.project, environment=environment,
            prefix=prefix,
        )
        return self.end(process)

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
        self, done: Done, store: Path, project: Path, *, image: str = "", killed: bool = False,
        remark: str = "",
    ) -> Trial:
        """What a trial gave: the command's own end, then whether the store is clean and the build
        gives the same image once the fault is gone (it is by now)."""
        wanted = image or self.image
        ended = "survived" if done.code == 0 or killed else "clear" if done.clear else "unclear"
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
        # Half a download is kept on purpose, and so is a damaged tree, until the next gc.
        kept = ("partial-", "changed-")
        left = [p.name for p in (store / "tmp").iterdir() if not p.name.startswith(kept)]
        if left:
            remarks.append(f"left in tmp/: {left[:3]}")
            if not killed:
                ended = "unclear"
        return Trial(ended, lost, "; ".join(remarks))


def python_index(directory: Path) -> None:
    """An index of the two packages that the project's lock has."""
    directory.mkdir()
    index.download(directory, ["six==1.16.0", "pip"])
    index.lay_out(directory)
