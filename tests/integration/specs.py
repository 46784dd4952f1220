"""Specs that are built and run: a few lines for each, one store and few bases for all.

    def test_numpy(specs: Specs) -> None:
        image = specs.image('''
            def build():
                base()
                install.python()
                install.python_packages(name=["numpy"])
        ''')
        assert image.run("python", "-c", "import numpy; print(numpy.arange(3))") == "[0 1 2]"

`specs.image` builds into a real engine; `image.run` is `docker run --network=none`. `specs.up` is
`envd up`, and what it gives runs commands in there with `envd exec`. What fails to build is tried
with `specs.fails`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import tarfile
import textwrap
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.integration.envd import Envd, Outcome, docker

Files = Mapping[str, str | bytes]
_NO_FILES: Files = MappingProxyType({})

_DANGLING = "find / -xdev -xtype l -printf '%p -> %l\\n'; cat /var/lib/dpkg/info/*.list >&2"


def wheel(name: str, files: Files) -> bytes:
    """A wheel of `name` 1.0 for any Python, with `files` (path -> content)."""
    about = f"{name}-1.0.dist-info"
    members: dict[str, str | bytes] = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in (*members, f"{about}/RECORD"))
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path, content in members.items():
            item = zipfile.ZipInfo(path)
            item.external_attr = (0o100755 if ".data/scripts/" in path else 0o100644) << 16
            archive.writestr(item, content)
    return data.getvalue()


def sdist(name: str, files: Files) -> bytes:
    """A source distribution of `name` 1.0 with `files`."""
    members = {"PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", **files}
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for path, content in members.items():
            body = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(f"{name}-1.0/{path}")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return data.getvalue()


@dataclass(frozen=True)
class Image:
    """An image in the engine at `host`, and the project that it was built from."""

    envd: Envd
    tag: str
    host: str
    outcome: Outcome

    def docker(
        self, *command: str, options: Sequence[str] = (), check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """`docker run --rm --network=none OPTIONS IMAGE COMMAND`."""
        done = subprocess.run(
            ["docker", "run", "--rm", "--network=none", *options, self.tag, *command],
            env={**os.environ, "DOCKER_HOST": self.host},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def run(self, *command: str, options: Sequence[str] = ()) -> str:
        """The standard output of a command in a container; without one, of the image's own."""
        return self.docker(*command, options=options).stdout.strip()

    def sh(self, script: str, options: Sequence[str] = ()) -> str:
        """The standard output of a script of sh."""
        return self.run("sh", "-ec", script, options=options)

    @property
    def config(self) -> dict[str, Any]:
        """The image's configuration, as the engine has it."""
        rows = json.loads(docker("image", "inspect", self.tag, host=self.host))
        return dict(rows[0]["Config"])

    def dangling(self) -> list[str]:
        """Links that lead nowhere and belong to no Debian package ("PATH -> TARGET")."""
        done = self.docker("-c", _DANGLING, options=("--entrypoint", "/bin/sh", "--user", "0"))
        # Debian's /var/lock leads to what its init makes
        owned = {*done.stderr.splitlines(), "/var/lock"}
        return [r for r in done.stdout.splitlines() if r.partition(" -> ")[0] not in owned]


@dataclass(frozen=True)
class Running:
    """What `envd up` started."""

    envd: Envd
    name: str
    outcome: Outcome

    def exec(self, *command: str, check: bool = True) -> Outcome:
        """`envd exec` of a command."""
        return self.envd.run("exec", "--name", self.name, *command, check=check)

    def sh(self, script: str) -> str:
        """The standard output of a script of sh in there."""
        return self.exec("sh", "-ec", script).stdout

    def url(self, service: str) -> str:
        """The address of a service, as `up` printed it."""
        match = re.search(rf"^ *{re.escape(service)} +(\S+)", self.outcome.stdout, re.MULTILINE)
        assert match is not None, self.outcome.stdout
        return match[1]


@dataclass(frozen=True)
class Specs:
    """Where specs are built: one store, one engine; `directory` holds a project for each."""

    store: Path
    directory: Path
    host: str
    settings: Mapping[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    def project(self, spec: str, files: Files = _NO_FILES, **settings: str) -> Envd:
        """A project of its own with that build.envd (its indent is taken off) and `files` (path ->
        content); `settings` are variables for envd."""
        number = next(self._numbers)
        place = self.directory / f"{number}/project"
        home = self.directory / f"{number}/home"
        home.mkdir(parents=True)
        envd = Envd(
            self.store, place, {"DOCKER_HOST": self.host, "HOME": str(home), **self.settings, **settings}
        )
        envd.spec(textwrap.dedent(spec))
        for name, content in files.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return envd

    def build(self, envd: Envd, *options: str) -> Image:
        """Build a project's image into the engine."""
        tag = f"envd-spec:{os.getpid()}-{envd.project.parent.name}"
        return Image(envd, tag, self.host, envd.run("build", "-t", tag, *options))

    def image(self, spec: str, files: Files = _NO_FILES, *options: str, **settings: str) -> Image:
        """The image of a spec; `options` are more words for `envd build`."""
        return self.build(self.project(spec, files, **settings), *options)

    def fails(self, spec: str, files: Files = _NO_FILES, *, code: int = 1, **settings: str) -> str:
        """What `envd build` says of a spec that it does not build, ending with `code`."""
        outcome = self.project(spec, files, **settings).run("build", check=False)
        assert outcome.code == code, outcome.stderr
        assert "Traceback" not in outcome.stderr and "internal error" not in outcome.stderr
        return outcome.stderr

    @contextlib.contextmanager
    def up(self, spec: str, files: Files = _NO_FILES, *options: str, **settings: str) -> Iterator[Running]:
        """What `envd up` starts, until the end of the block."""
        envd = self.project(spec, files, **settings)
        name = f"spec-{os.getpid()}-{envd.project.parent.name}"
        try:
            done = envd.run(
                "up", "--detach", "--name", name, "-t", f"envd-{name}:dev", "--timeout", "2m", *options
            )
            yield Running(envd, name, done)
        finally:
            docker("rm", "-fv", name, host=self.host, check=False)
