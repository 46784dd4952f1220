"""`include(...)`: *.envd files of git repositories, fetched by git itself.

Each repository has a bare cache of its own below the store's cache; a commit that is there needs
no network, and one that was included before no git. What a remote answers is read in a sandbox that
shows nothing but that cache and what it takes to reach the remote (`engine.ecosystems.includes.reach`).
Only transports that carry a repository are allowed (gitprotocol-*(7)): no remote helpers
(gitremote-helpers(7)), which could run commands, and nothing that reads as an option.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine.core.atomic import write_text
from engine.core.command import LimitError
from engine.core.urls import redacted
from engine.ecosystems.includes import reach as git_reach
from engine.errors import OfflineError, ResolveError
from engine.net import patience
from engine.realise import jail
from grammar.environment import Include
from grammar.evaluate import Checkout
from store import offline, retry
from store.hashing import hash_value

_LARGEST = 4 << 20  # bytes of an *.envd file
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_AT_ONCE = 1000  # files that one git is asked for

# Nothing is checked out, so that no filter, hook or monitor has anything to do; whatever the user's own
# settings or a server ask for, none of them is run.
_HARMLESS = (
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.alternateRefsCommand=",
    "-c",
    "submodule.recurse=false",
    "-c",
    "fetch.recurseSubmodules=false",
    "-c",
    "protocol.ext.allow=never",
    "-c",
    "fetch.writeCommitGraph=false",
    "-c",
    "maintenance.auto=false",
)


def public_url(url: str) -> str:
    """`url` without a password or token."""
    return redacted(url) if "://" in url and not url.startswith("ssh://") else url


def checkout(wanted: Include, commit: str, cache: Path) -> Checkout:
    """The *.envd files at the root of a repository, as of `commit`, or with "" as of what
    `wanted.ref` is at the remote now.

    Raises ResolveError naming the position of the include.
    """
    with _repository(wanted, cache) as repository:
        files = repository.known(commit) if commit else None
        if files is None:
            repository.make()
            if not commit:
                commit = repository.fetch_ref()
            elif not repository.has(commit):
                repository.fetch_commit(commit)
            files = repository.files(commit)
            repository.remember(commit, files)
        return Checkout(f"git {public_url(wanted.git)}@{commit[:12]}", commit, tuple(files))


def repository(url: str) -> str:
    """What the cache calls the repository of a URL."""
    return hash_value("envd git cache v1", url)[:32]


def remembered(name: str, commit: str, cache: Path) -> bytes | None:
    """What is known of the files of a commit, of the repository that the cache calls `name`: a text that
    `remember` takes in another cache. None when it was never included."""
    try:
        return (cache / "git" / f"{name}.files" / commit).read_bytes()
    except FileNotFoundError:
        return None


def check(content: bytes) -> None:
    """Raise ValueError or TypeError for what is not a text of `remembered`."""
    for file, data in json.loads(content):
        if not (isinstance(file, str) and file.endswith(".envd") and "/" not in file):
            raise ValueError(f"{str(file)[:80]!r} is not the name of a spec")
        base64.b64decode(data, validate=True)


def remember(name: str, commit: str, content: bytes, cache: Path) -> None:
    """Have the files of a commit known, which were checked."""
    place = cache / "git" / f"{name}.files"
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / commit, content.decode("utf-8"))


@contextmanager
def _repository(wanted: Include, cache: Path) -> Iterator[_Repository]:
    place, name = cache / "git", repository(wanted.git)
    directory, scratch = place / name, cache.parent / "tmp"
    directory.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(exist_ok=True)
    with ExitStack() as stack:
        handle = stack.enter_context((place / f"{name}.lock").open("w"))
        fcntl.flock(handle, fcntl.LOCK_EX)
        own = stack.enter_context(
            tempfile.TemporaryDirectory(
                dir=scratch, prefix=f"include-{os.getpid()}-", ignore_cleanup_errors=True
            )
        )
        yield _Repository(wanted, directory.absolute(), Path(own).absolute(), stack)


@dataclass(frozen=True)
class _Repository:
    """A bare repository that holds what was fetched from `wanted.git`. `own` is a directory for what
    git is shown."""

    wanted: Include
    directory: Path
    own: Path
    stack: ExitStack

    def make(self) -> None:
        """Have a repository."""
        if not (self.directory / "HEAD").exists():
            self.git("init", "--quiet", "--bare")

    @property
    def _memory(self) -> Path:
        return self.directory.with_name(f"{self.directory.name}.files")

    def known(self, commit: str) -> list[tuple[str, bytes]] | None:
        """The files of a commit that was included before, None when it was not."""
        try:
            rows = json.loads((self._memory / commit).read_text("utf-8"))
            return [(name, base64.b64decode(content)) for name, content in rows]
        except (OSError, ValueError, TypeError):
            return None

    def remember(self, commit: str, files: Sequence[tuple[str, bytes]]) -> None:
        """Have them known the next time."""
        self._memory.mkdir(exist_ok=True)
        rows = [(name, base64.b64encode(content).decode("ascii")) for name, content in files]
        write_text(self._memory / commit, json.dumps(rows))

    @cached_property
    def _reach(self) -> git_reach.Reach:
        found = git_reach.reach(self.wanted.git, self.own)
        self.stack.callback(found.close)
        return found

    def git(self, *arguments: str, check: bool = True) -> bytes:
        """Standard output of a git that sees this repository, and no network. Raises ResolveError with
        its words, with `check`."""
        return self._said(self._run(arguments, ()), check=check)

    def _remote(self, *arguments: str, check: bool = True) -> bytes:
        """`git`, for what speaks to the remote: where that asks for a password, the user's credential
        helpers are asked in turn."""
        with self._no_git():
            reach = self._reach
            if reach.network and offline.is_on():
                raise OfflineError(
                    f"cannot include {public_url(self.wanted.git)}: it must not be asked offline",
                    position=self.wanted.position,
                    advice=offline.ADVICE,
                )
            done = patience.patiently(
                lambda: self._run(arguments, reach.files(None), reach),
                lambda done: (
                    None
                    if done.returncode == 0
                    else patience.of_git(done.stderr.decode("utf-8", "replace"), reach.url)
                ),
            )
            asked = done.returncode != 0 and reach.is_asked(done.stderr.decode("utf-8", "replace"))
            if asked and (known := reach.credential()):
                done = self._run(arguments, reach.files(known), reach)
                reach.tell(known, good=done.returncode == 0)
        return self._said(done, check=check)

    def _run(
        self, arguments: Sequence[str], binds: Sequence[jail.Bind], reach: git_reach.Reach | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        words = [
            "git",
            "-C",
            str(self.directory),
            "-c",
            "gc.auto=0",
            *_HARMLESS,
            "-c",
            "http.lowSpeedLimit=1",
            "-c",
            f"http.lowSpeedTime={retry.SILENCE:.0f}",
            *self._protocols(),
            *arguments,
        ]
        with self._no_git():
            return jail.ask(
                words,
                place=self.own.parent,
                binds=[*binds, jail.Bind(self.directory, str(self.directory), writable=True)],
                environment=reach.environment if reach is not None else git_reach.NOBODY,
                outside=git_reach.outside(),
                network=reach is not None and reach.network,
            )

    @contextmanager
    def _no_git(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise ResolveError(
                "git not found", position=self.wanted.position, advice="install git to use include()"
            ) from error
        except LimitError as error:
            raise ResolveError(
                f"cannot include {public_url(self.wanted.git)}: git: {error.reason}",
                position=self.wanted.position,
            ) from error

    def _said(self, done: subprocess.CompletedProcess[bytes], *, check: bool) -> bytes:
        if check and done.returncode != 0:
            raise self._error(done.stderr.decode("utf-8", "replace"))
        return done.stdout if done.returncode == 0 else b""

    def _protocols(self) -> list[str]:
        """What may be spoken: nothing that starts a program, and no plain http where the spec does
        not say so itself (a server that is asked by https may redirect to it)."""
        plain = "always" if self.wanted.git.startswith("http://") else "user"
        when = {
            "allow": "never",
            "ext.allow": "never",
            "fd.allow": "never",
            "file.allow": "always",
            "git.allow": "always",
            "ssh.allow": "always",
            "https.allow": "always",
            "http.allow": plain,
        }
        return [word for name, value in when.items() for word in ("-c", f"protocol.{name}={value}")]

    def _error(self, words: str) -> ResolveError:
        lines = [
            re.sub(r"^(fatal|error): ", "", line.strip())
            for line in words.splitlines()
            if line.strip() and not line.startswith(("hint:", "warning:"))
        ]
        reason = "; ".join(lines[:3])
        for url in {self.wanted.git, self._reach.url if "_reach" in self.__dict__ else ""} - {""}:
            reason = reason.replace(url, public_url(url))
        return ResolveError(
            f"cannot include {public_url(self.wanted.git)}: {reason or 'git failed'}",
            position=self.wanted.position,
        )

    def has(self, commit: str) -> bool:
        """Whether a commit is here, with all that belongs to it."""
        return bool(
            self.git("rev-parse", "--verify", "--quiet", f"refs/envd/{commit}^{{commit}}", check=False)
        )

    def _keep(self, commit: str) -> None:
        self.git("update-ref", f"refs/envd/{commit}", commit)

    def fetch_ref(self) -> str:
        """Fetch what the ref is now; its commit."""
        ref = self.wanted.ref
        names = self._remote_refs()
        found = next(
            (names[n] for n in self._candidates(ref) if n in names), ref if _COMMIT.fullmatch(ref) else ""
        )
        if not found and re.fullmatch(r"[0-9a-f]{7,63}", ref):
            self._fetch_all()
            found = (
                self.git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", check=False)
                .decode()
                .strip()
            )
        if not found:
            known = sorted(
                n.removeprefix("refs/heads/").removeprefix("refs/tags/")
                for n in names
                if n != "HEAD" and not n.endswith("^{}")
            )
            raise self._error(
                f"it has no branch, tag or commit '{ref}'; it has {', '.join(known[:10])}"
                if ref
                else "it has no commit yet"
            )
        if not self.has(found):
            self.fetch_commit(found)
        return found

    @staticmethod
    def _candidates(ref: str) -> list[str]:
        if not ref:
            return ["HEAD"]
        return [ref, f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}"]

    def _remote_refs(self) -> Mapping[str, str]:
        listing = self._remote("ls-remote", "--", self._reach.url).decode("utf-8", "replace")
        rows = (line.split("\t") for line in listing.splitlines())
        return {row[1]: row[0] for row in rows if len(row) == 2}

    def _fetch_all(self) -> None:
        self._remote(
            "fetch",
            "--quiet",
            "--force",
            "--prune",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--",
            self._reach.url,
            "+refs/heads/*:refs/heads/*",
            "+refs/tags/*:refs/tags/*",
        )

    def fetch_commit(self, commit: str) -> None:
        """Fetch a commit: with all branches and tags, else by its name."""
        self._fetch_all()
        if not self.git("cat-file", "-t", commit, check=False):
            # Not every server gives what no branch leads to.
            self._remote(
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--",
                self._reach.url,
                commit,
                check=False,
            )
        if not self.git("cat-file", "-t", commit, check=False):
            raise self._error(f"it no longer has the commit {commit}; run `envd lock --update`")
        self._keep(commit)

    def files(self, commit: str) -> list[tuple[str, bytes]]:
        """(name, content) of the *.envd files at the root, by name."""
        listing = self.git("ls-tree", "-z", "-l", commit)
        found: list[tuple[str, str, int]] = []
        for row in filter(None, listing.split(b"\0")):
            about, _, raw = row.partition(b"\t")
            mode, kind, sha, size = about.split()
            name = raw.decode("utf-8", "replace")
            if kind != b"blob" or mode == b"120000" or not name.endswith(".envd"):
                continue
            if int(size) > _LARGEST:
                raise self._error(f"{name} has {int(size)} bytes: no spec is that long")
            found.append((name, sha.decode(), int(size)))
        contents = b"".join(
            self._contents([sha for _, sha, _ in found[first : first + _AT_ONCE]])
            for first in range(0, len(found), _AT_ONCE)
        )
        files, place = [], 0
        for name, _, length in found:
            files.append((name, contents[place : place + length]))
            place += length
        return files

    def _contents(self, names: Sequence[str]) -> bytes:
        """Those of several blobs, one after the other: of one process, for each takes its time."""
        alias = 'alias.blobs=!f() { for b; do git cat-file blob "$b" || exit; done; }; f'
        return self.git("-c", alias, "blobs", *names)
