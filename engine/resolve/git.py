"""`include(...)`: *.envd files of git repositories, fetched by git itself.

Each repository has a bare cache of its own below the store's cache; a commit that is there needs
no network. Only transports that carry a repository are allowed (gitprotocol-*(7)): no remote
helpers (gitremote-helpers(7)), which could run commands, and nothing that reads as an option.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine import command
from engine.errors import ResolveError
from engine.fetch import shown
from grammar.environment import Include
from grammar.loader import Checkout
from store import retry
from store.hashing import hash_value

_LARGEST = 4 << 20  # bytes of an *.envd file
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# Of the user's GIT_… only what says how to reach a remote; GIT_DIR and its like are of another
# repository, when we run inside a hook.
_KEPT = re.compile(r"GIT_(SSH|SSL|PROXY|CONFIG|ASKPASS|HTTP|TRACE|CURL)")

# Nothing is checked out, so that no filter, hook or monitor has anything to do; whatever the user's own
# settings or a server ask for, none of them is run.
_HARMLESS = (
    "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.alternateRefsCommand=",
    "-c", "submodule.recurse=false", "-c", "fetch.recurseSubmodules=false",
    "-c", "protocol.ext.allow=never", "-c", "fetch.writeCommitGraph=false",
    "-c", "maintenance.auto=false",
)


def public_url(url: str) -> str:
    """`url` without a password or token."""
    return shown(url) if "://" in url and not url.startswith("ssh://") else url


def checkout(wanted: Include, commit: str, cache: Path) -> Checkout:
    """The *.envd files at the root of a repository, as of `commit`, or with "" as of what
    `wanted.ref` is at the remote now.

    Raises ResolveError naming the position of the include.
    """
    with _repository(wanted, cache) as repository:
        if not commit:
            commit = repository.fetch_ref()
        elif not repository.has(commit):
            repository.fetch_commit(commit)
        return Checkout(
            f"git {public_url(wanted.git)}@{commit[:12]}", commit, tuple(repository.files(commit))
        )


@contextmanager
def _repository(wanted: Include, cache: Path) -> Iterator[_Repository]:
    directory = cache / "git" / hash_value("envd git cache v1", wanted.git)[:32]
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "envd-lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        found = _Repository(wanted, directory)
        if not (directory / "HEAD").exists():
            found.git("init", "--quiet", "--bare")
        yield found


@dataclass(frozen=True)
class _Repository:
    """A bare repository that holds what was fetched from `wanted.git`."""

    wanted: Include
    directory: Path

    def git(self, *arguments: str, check: bool = True) -> bytes:
        """git's standard output. Raises ResolveError with its words, with `check`."""
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith("GIT_") or _KEPT.match(k)
        }
        environment |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}
        environment.setdefault(
            "GIT_SSH_COMMAND", f"ssh -o BatchMode=yes -o ConnectTimeout={retry.CONNECT:.0f}"
        )
        try:
            done = command.ask(
                ["git", "-C", str(self.directory), "-c", "gc.auto=0", *_HARMLESS,
                 "-c", "http.lowSpeedLimit=1", "-c", f"http.lowSpeedTime={retry.SILENCE:.0f}",
                 *self._protocols(), *arguments],
                environment=environment,
            )
        except FileNotFoundError as error:
            raise ResolveError(
                f"{self.wanted.position}: git not found; install git to use include()"
            ) from error
        if check and done.returncode != 0:
            raise self._error(done.stderr.decode("utf-8", "replace"))
        return done.stdout if done.returncode == 0 else b""

    def _protocols(self) -> list[str]:
        """What may be spoken: nothing that starts a program, and no plain http where the spec does
        not say so itself (a server that is asked by https may redirect to it)."""
        plain = "always" if self.wanted.git.startswith("http://") else "user"
        when = {"allow": "never", "ext.allow": "never", "fd.allow": "never", "file.allow": "always",
                "git.allow": "always", "ssh.allow": "always", "https.allow": "always",
                "http.allow": plain}
        return [word for name, value in when.items() for word in ("-c", f"protocol.{name}={value}")]

    def _error(self, words: str) -> ResolveError:
        lines = [
            re.sub(r"^(fatal|error): ", "", line.strip()) for line in words.splitlines()
            if line.strip() and not line.startswith(("hint:", "warning:"))
        ]
        reason = "; ".join(lines[:3]).replace(self.wanted.git, public_url(self.wanted.git))
        return ResolveError(
            f"{self.wanted.position}: cannot include {public_url(self.wanted.git)}: "
            f"{reason or 'git failed'}"
        )

    def has(self, commit: str) -> bool:
        """Whether a commit is here, with all that belongs to it."""
        return bool(self.git("rev-parse", "--verify", "--quiet", f"refs/envd/{commit}^{{commit}}",
                             check=False))

    def _keep(self, commit: str) -> None:
        self.git("update-ref", f"refs/envd/{commit}", commit)

    def fetch_ref(self) -> str:
        """Fetch what the ref is now; its commit."""
        ref = self.wanted.ref
        names = self._remote_refs()
        found = next(
            (names[n] for n in self._candidates(ref) if n in names),
            ref if _COMMIT.fullmatch(ref) else "",
        )
        if not found and re.fullmatch(r"[0-9a-f]{7,63}", ref):
            self._fetch_all()
            found = self.git(
                "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", check=False
            ).decode().strip()
        if not found:
            known = sorted(
                n.removeprefix("refs/heads/").removeprefix("refs/tags/")
                for n in names if n != "HEAD" and not n.endswith("^{}")
            )
            raise self._error(
                f"it has no branch, tag or commit '{ref}'; it has {', '.join(known[:10])}" if ref
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
        listing = self.git("ls-remote", "--", self.wanted.git).decode("utf-8", "replace")
        rows = (line.split("\t") for line in listing.splitlines())
        return {row[1]: row[0] for row in rows if len(row) == 2}

    def _fetch_all(self) -> None:
        self.git(
            "fetch", "--quiet", "--force", "--prune", "--no-tags", "--no-write-fetch-head",
            "--no-recurse-submodules", "--", self.wanted.git, "+refs/heads/*:refs/heads/*",
            "+refs/tags/*:refs/tags/*",
        )

    def fetch_commit(self, commit: str) -> None:
        """Fetch a commit: with all branches and tags, else by its name."""
        self._fetch_all()
        if not self.git("cat-file", "-t", commit, check=False):
            # Not every server gives what no branch leads to.
            self.git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--",
                     self.wanted.git, commit, check=False)
        if not self.git("cat-file", "-t", commit, check=False):
            raise self._error(f"it no longer has the commit {commit}; run `envd lock --update`")
        self._keep(commit)

    def files(self, commit: str) -> Iterator[tuple[str, bytes]]:
        """(name, content) of the *.envd files at the root, by name."""
        listing = self.git("ls-tree", "-z", "-l", commit)
        for row in filter(None, listing.split(b"\0")):
            about, _, raw = row.partition(b"\t")
            mode, kind, sha, size = about.split()
            name = raw.decode("utf-8", "replace")
            if kind != b"blob" or mode == b"120000" or not name.endswith(".envd"):
                continue
            if int(size) > _LARGEST:
                raise self._error(f"{name} has {int(size)} bytes: no spec is that long")
            yield name, self.git("cat-file", "blob", sha.decode())
