"""`include()` of repositories that bring more than files: nothing of theirs is run or followed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from engine.errors import ResolveError
from engine.resolve import git
from grammar.environment import Include, Position

AT = Position("build.envd", 1, 1)
SPEC = b"def x():\n    pass\n"


def run(directory: Path, *arguments: str, text: bytes = b"") -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always",
         *arguments],
        cwd=directory, input=text, capture_output=True, check=True,
        env={**os.environ, "GIT_CONFIG_NOSYSTEM": "1"},
    )
    return done.stdout.decode().strip()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    directory = tmp_path / "remote"
    directory.mkdir()
    run(directory, "init", "--quiet", "-b", "main")
    (directory / "a.envd").write_bytes(SPEC)
    return directory


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """What a command that should not run would make."""
    return tmp_path / "ran"


def commit(directory: Path) -> None:
    run(directory, "add", "-A")
    run(directory, "commit", "--quiet", "-m", "x")


def files(remote: Path, cache: Path) -> dict[str, bytes]:
    return dict(git.checkout(Include(f"file://{remote}", "", AT), "", cache).files)


def test_hooks_and_settings_of_a_remote(remote: Path, ran: Path, tmp_path: Path) -> None:
    commit(remote)
    script = f"#!/bin/sh\ntouch {ran}\nexec \"$@\"\n"
    for name in ("post-upload-pack", "pre-receive", "reference-transaction", "post-checkout"):
        (remote / ".git/hooks" / name).write_text(script)
        (remote / ".git/hooks" / name).chmod(0o755)
    (tmp_path / "script").write_text(script)
    (tmp_path / "script").chmod(0o755)
    for name in ("uploadpack.packObjectsHook", "core.fsmonitor", "core.sshCommand", "core.pager",
                 "core.gitProxy", "core.alternateRefsCommand", "credential.helper", "gpg.program",
                 "core.editor", "diff.external"):
        run(remote, "config", name, str(tmp_path / "script"))
    assert files(remote, tmp_path / "cache") == {"a.envd": SPEC}
    assert not ran.exists()


def test_filters_of_the_user_are_not_fed(
    remote: Path, ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[filter "lfs"]\n\tsmudge = touch {ran}; cat\n\tprocess = touch {ran}\n\trequired = true\n'
        f'[diff "x"]\n\ttextconv = touch {ran}; cat\n[core]\n\thooksPath = {home}/hooks\n'
        f"\tfsmonitor = {home}/hooks/post-checkout\n"
    )
    (home / "hooks").mkdir()
    (home / "hooks/post-checkout").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (home / "hooks/reference-transaction").write_text(f"#!/bin/sh\ntouch {ran}\n")
    for path in (home / "hooks").iterdir():
        path.chmod(0o755)
    (remote / ".gitattributes").write_text("*.envd filter=lfs diff=x working-tree-encoding=UTF-16\n")
    blob = run(remote, "hash-object", "-w", "--stdin", text=SPEC)
    run(remote, "update-index", "--add", "--cacheinfo", f"100644,{blob},a.envd")
    run(remote, "commit", "--quiet", "-m", "x")
    monkeypatch.setenv("HOME", str(home))
    assert files(remote, tmp_path / "cache") == {"a.envd": SPEC}
    assert not ran.exists()


def test_submodules_links_and_odd_entries(remote: Path, ran: Path, tmp_path: Path) -> None:
    (remote / "link.envd").symlink_to("/etc/passwd")
    (remote / "directory.envd").mkdir()
    (remote / "directory.envd/x").write_text("x")
    (remote / ".gitmodules").write_text(
        f'[submodule "sub.envd"]\n\tpath = sub.envd\n\turl = "ext::sh -c touch% {ran}"\n'
        f'\tupdate = "!touch {ran}"\n'
    )
    commit(remote)
    head = run(remote, "rev-parse", "HEAD")
    run(remote, "update-index", "--add", "--cacheinfo", f"160000,{head},sub.envd")
    run(remote, "commit", "--quiet", "-m", "a submodule")
    run(remote, "config", "submodule.recurse", "true")
    assert files(remote, tmp_path / "cache") == {"a.envd": SPEC}
    assert not ran.exists()


@pytest.mark.parametrize("url", [
    "ext::sh -c 'touch {ran}'", "fd::17", "file://{remote} --upload-pack=touch",
    "--upload-pack=touch {ran}", "-oProxyCommand=touch {ran}", "ssh://-oProxyCommand=touch%20{ran}/x",
    "-u./x:y",
    "transport::file://{remote}", "https://127.0.0.1:9/x", "file:///no/such/repository",
])
def test_addresses_that_are_commands(url: str, remote: Path, ran: Path, tmp_path: Path) -> None:
    commit(remote)
    wanted = Include(url.format(ran=ran, remote=remote), "", AT)
    with pytest.raises(ResolveError, match=r"build\.envd:1:1: cannot include"):
        git.checkout(wanted, "", tmp_path / "cache")
    assert not ran.exists()


@pytest.mark.parametrize(
    "ref", ["--upload-pack=touch", "-x", "main:../x", "refs/heads/none", "a..b", "@{-1}"]
)
def test_refs_that_are_options(ref: str, remote: Path, ran: Path, tmp_path: Path) -> None:
    commit(remote)
    with pytest.raises(ResolveError, match="it has no branch, tag or commit"):
        git.checkout(Include(f"file://{remote}", ref, AT), "", tmp_path / "cache")
    assert not ran.exists()
