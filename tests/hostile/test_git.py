"""`include()` of repositories that bring more than files: nothing of theirs is run or followed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from engine.core import command
from engine.ecosystems.includes import git
from engine.ecosystems.includes import reach as git_reach
from engine.errors import ResolveError
from grammar.environment import Include, Position
from tests.hostile import canary

AT = Position("build.envd", 1, 1)
SPEC = b"def x():\n    pass\n"


def run(directory: Path, *arguments: str, text: bytes = b"") -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always", *arguments],
        cwd=directory,
        input=text,
        capture_output=True,
        check=True,
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
    script = f'#!/bin/sh\ntouch {ran}\nexec "$@"\n'
    for name in ("post-upload-pack", "pre-receive", "reference-transaction", "post-checkout"):
        (remote / ".git/hooks" / name).write_text(script)
        (remote / ".git/hooks" / name).chmod(0o755)
    (tmp_path / "script").write_text(script)
    (tmp_path / "script").chmod(0o755)
    for name in (
        "uploadpack.packObjectsHook",
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.gitProxy",
        "core.alternateRefsCommand",
        "credential.helper",
        "gpg.program",
        "core.editor",
        "diff.external",
    ):
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


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c 'touch {ran}'",
        "fd::17",
        "file://{remote} --upload-pack=touch",
        "--upload-pack=touch {ran}",
        "-oProxyCommand=touch {ran}",
        "ssh://-oProxyCommand=touch%20{ran}/x",
        "-u./x:y",
        "transport::file://{remote}",
        "https://127.0.0.1:9/x",
        "file:///no/such/repository",
    ],
)
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


def test_git_sees_nothing_of_the_machine(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a git that is taken over by an answer could reach: the program that it runs for ssh looks."""
    victim = canary.make(tmp_path)
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / "private").write_text("x")
    store = tmp_path / "db.sqlite"  # beside the cache, as in a store
    store.write_text("x")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("MY_SECRET", "hunter2")
    # What is written is what was there, lest a machine be harmed by a git that is in no sandbox.
    (home / "looks").write_text(
        "; ".join(
            [
                "found=looked",
                *(
                    f'test -e {path} && found="$found SEEN {path}"'
                    for path in (
                        victim.directory,
                        home / "private",
                        store,
                        "/etc/shadow",
                        "/root/.bashrc",
                        "/home",
                        "/var/lib",
                        "/etc/ssl/private",
                        "/sys/kernel",
                        __file__,
                        remote,
                        f"/proc/{os.getpid()}/exe",
                    )
                ),
                *(
                    f'old=$(cat {path}) && {{ echo "$old" >{path}; }} 2>&- && found="$found WROTE {path}"'
                    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory")
                ),
                # there is an empty /tmp, which goes away
                *(f"{{ printf '' >{path}; }} 2>&-" for path in (victim.directory / "new", home / "new")),
                'test -w /usr && found="$found WRITABLE"',
                'test -n "$MY_SECRET" && found="$found ENVIRONMENT"',
                'unshare -U true 2>&- && found="$found NAMESPACE"',
                'echo "$found" >&2; exit 1',
            ]
        )
    )
    monkeypatch.setenv("GIT_SSH_COMMAND", f"sh {home}/looks")
    with pytest.raises(ResolveError) as caught:
        git.checkout(Include("ssh://nowhere.invalid/x", "", AT), "", tmp_path / "cache")
    assert str(caught.value).partition("; ")[0].endswith(": looked")
    assert victim.unharmed() and not (home / "new").exists() and store.read_text() == "x"


def test_directories_that_are_no_repositories_are_not_shown(remote: Path, tmp_path: Path) -> None:
    """An address, a .git file and alternates that name the machine's own directories."""
    commit(remote)
    assert git_reach.repository(Path("/")) == []
    assert git_reach.repository(tmp_path) == []
    for target in ("/", "/etc", str(tmp_path)):
        place = tmp_path / f"at-{hash(target)}"
        place.mkdir()
        (place / ".git").write_text(f"gitdir: {target}\n")
        assert git_reach.repository(place) == [str(place / ".git")]
        (remote / ".git/objects/info/alternates").write_text(f"{target}\n")
        assert git_reach.repository(remote) == [str(remote / ".git")]


def test_a_listing_without_end_is_too_long(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(remote)
    head = run(remote, "rev-parse", "HEAD")
    names = "".join(f"create refs/heads/{'x' * 200}-{number} {head}\n" for number in range(500))
    run(remote, "update-ref", "--stdin", text=names.encode())
    monkeypatch.setenv("ENVD_LIMITS", "answer=64K")
    with pytest.raises(ResolveError, match="git: it says more than 64K"):
        files(remote, tmp_path / "cache")


def test_what_was_included_once_needs_no_git(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(remote)
    pinned = git.checkout(Include(f"file://{remote}", "", AT), "", tmp_path / "cache")
    monkeypatch.setattr(command, "HOST_ENVIRONMENT", {"PATH": "/nonexistent"})
    again = git.checkout(Include(f"file://{remote}", "", AT), pinned.commit, tmp_path / "cache")
    assert again == pinned
