"""Build steps of root's envd: their uid 0 is nobody on this machine, and the kernel's door is shut.

A static program (probe.c) tries the system calls from within a step, for images may have no compiler.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from engine.realise import idmapped, sandbox, seccomp, syscalls
from tests.integration import small_root

PROJECT = Path(__file__).parents[2]
# Its own number for a call that is refused, whatever its arguments are.
ODD = {
    "clone3": errno.ENOSYS,
    "personality-exec": errno.ENOSYS,
    "personality-zero-page": errno.ENOSYS,
    "a-call-of-the-future": errno.ENOSYS,
    "x32-getpid": errno.ENOSYS,
    "x32-keyctl": errno.ENOSYS,
    "x32-unshare": errno.ENOSYS,
    "32-socket": errno.EAFNOSUPPORT,
    "32-socketcall": errno.EAFNOSUPPORT,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small root with the probe."""
    root = small_root.make(tmp_path_factory.mktemp("base") / "root")
    subprocess.run(
        [
            "gcc",
            "-O1",
            "-static",
            "-pthread",
            "-o",
            root / "usr/bin/probe",
            Path(__file__).with_name("probe.c"),
        ],
        check=True,
    )
    return root


def run(
    script: str,
    layers: Sequence[Path],
    scratch: Path,
    binds: Sequence[sandbox.Bind] = (),
    heard: Callable[[str], None] = lambda _: None,
) -> tuple[Path, list[str]]:
    scratch.mkdir()
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        heard(line)

    upper = sandbox.run(
        ["sh", "-ec", script], layers=layers, scratch=scratch, log=log, name="test", binds=binds
    )
    return upper, lines


def unexpected(lines: Sequence[str]) -> Mapping[str, str]:
    """What the probe found to be other than it should be."""
    wrong = {}
    results = dict(line.split() for line in lines)
    assert len(results) > 150
    for name, result in results.items():
        if name.startswith("fine-"):
            right = 0
        elif "socket-" in name:
            word, _, family = name.rpartition("-")
            right = errno.EAFNOSUPPORT
            if word == "socket" and int(family) in seccomp.FAMILIES:
                right = 0
        else:
            right = ODD.get(name, errno.EPERM)
        if int(result) != right:
            wrong[name] = result
    return wrong


def test_system_calls_that_no_step_needs_are_refused(base: Path, tmp_path: Path) -> None:
    _, lines = run("probe", [base], tmp_path / "s")
    assert unexpected(lines) == {}


def test_they_are_refused_to_an_ordinary_users_steps(
    base: Path, ordinary_user: str, readable_copy: Path
) -> None:
    shutil.copytree(base, readable_copy / "base", symlinks=True)
    (readable_copy / "s").mkdir()
    shutil.chown(readable_copy / "s", ordinary_user)
    done = in_python(
        """
        import sys
        from pathlib import Path
        from engine.realise import sandbox
        from engine.realise import userns
        userns.ensure()
        base, scratch = Path("base").absolute(), Path("s/t").absolute()
        sandbox.run(["sh", "-c", "probe; :"], layers=[base], scratch=scratch, log=print, name="x")
        """,
        readable_copy,
        "runuser",
        "-u",
        ordinary_user,
        "--",
        environment={"PYTHONPATH": f"{readable_copy}:{readable_copy}/site-packages"},
        python=str(Path(sys.executable).resolve()),
    )
    assert unexpected(done.stdout.splitlines()) == {}, done.stderr


def in_python(
    program: str,
    directory: Path,
    *prefix: str,
    environment: Mapping[str, str] = {},
    python: str = sys.executable,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, python, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        cwd=directory,
        env={**os.environ, **environment},
        check=False,
    )


def test_every_process_of_a_step_is_filtered(base: Path, tmp_path: Path) -> None:
    # bubblewrap's own process sets its filter beside the start of the step: not always before it.
    script = (
        "for t in $(seq 200); do grep -q '^Seccomp:.*2' /proc/1/status && break; sleep 0.1; done; "
        "for p in /proc/[0-9]*; do cat $p/status; done"
    )
    _, lines = run(script, [base], tmp_path / "s")
    modes = [line.split()[1] for line in lines if line.startswith("Seccomp:")]
    assert len(modes) >= 2 and set(modes) == {"2"}
    assert {line.split()[1] for line in lines if line.startswith("NoNewPrivs:")} == {"1"}


@pytest.mark.needs_root
def test_root_inside_is_nobody_outside(base: Path, tmp_path: Path) -> None:
    marker = f"29{os.getpid()}"
    found: list[dict[str, list[str]]] = []

    def heard(line: str) -> None:
        if line != "up":
            return
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if entry.joinpath("cmdline").read_bytes() == f"sleep\0{marker}\0".encode():
                    words = (row.split() for row in entry.joinpath("status").read_text().splitlines())
                    found.append({w[0]: w[1:] for w in words if w})
                    os.kill(int(entry.name), 9)
            except OSError:
                continue

    script = f'id; sleep {marker} & until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done; echo up; wait || :'
    _, lines = run(script, [base], tmp_path / "s", heard=heard)
    assert lines[0] == "uid=0 gid=0 groups=0"
    (status,) = found
    owner = idmapped.namespace()
    assert set(status["Uid:"]) == set(status["Gid:"]) == {str(owner.base)}
    assert set(status["Groups:"]) <= {str(owner.base)}
    assert owner.base > 65535 and owner.count >= 65536
    assert_is_nobody(owner.base, tmp_path)


def assert_is_nobody(uid: int, directory: Path) -> None:
    """Who gets out as `uid` can neither read what is root's alone nor write what root owns."""
    (directory / "secret").write_text("x")
    (directory / "secret").chmod(0o600)
    directory.chmod(0o755)
    for command in ("cat secret", "echo x >secret", "echo x >new"):
        done = subprocess.run(
            ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "sh", "-c", command],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Permission denied" in done.stderr, command


@pytest.fixture
def key() -> Iterator[int]:
    """A key in root's own keyring, as a mounted share or a login has one."""
    libc = ctypes.CDLL(None, use_errno=True)
    add_key, keyctl, unlink, user_keyring = 248, 250, 9, -4
    if os.uname().machine == "aarch64":
        add_key, keyctl = 217, 219
    serial = libc.syscall(add_key, b"user", b"envd-hostile", b"secret", 6, user_keyring)
    assert serial > 0, ctypes.get_errno()
    yield serial
    libc.syscall(keyctl, unlink, serial, user_keyring)


LOOK = """
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int count, char **words) {
    char text[32] = "";
    long read = syscall(SYS_keyctl, 11, atol(words[1]), text, sizeof text - 1);
    printf("read %d%s\\n", read > 0, text);
    for (long keyring = -5; keyring < 0; keyring++)
        printf("found %d\\n", syscall(SYS_keyctl, 10, keyring, "user", "envd-hostile", 0) > 0);
}
"""


@pytest.mark.parametrize("filtered", [True, False])
@pytest.mark.needs_root
def test_roots_keys_are_not_the_steps(
    base: Path, tmp_path: Path, key: int, filtered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither through the filter nor, were there none, in the keyrings that a step has."""
    if not filtered:
        monkeypatch.setattr(seccomp, "program", lambda: None)
    (tmp_path / "look.c").write_text(LOOK)
    subprocess.run(["gcc", "-static", "-o", tmp_path / "look", tmp_path / "look.c"], check=True)
    outside = subprocess.run([tmp_path / "look", str(key)], capture_output=True, text=True, check=True)
    assert "read 1secret" in outside.stdout and "found 1" in outside.stdout
    _, lines = run(f"/opt/look {key}", [base], tmp_path / "s", [sandbox.Bind(tmp_path / "look", "/opt/look")])
    assert set(lines) == {"read 0", "found 0"}


def test_each_run_has_a_session_keyring_of_its_own() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    keyctl = 219 if os.uname().machine == "aarch64" else 250

    def mine() -> int:
        return int(libc.syscall(keyctl, 0, -3, 0))

    def joined() -> int:
        syscalls.join_new_session_keyring()
        return mine()

    before = mine()
    first, second = idmapped.in_thread(joined), idmapped.in_thread(joined)
    assert len({before, first, second}) == 3
    assert mine() == before


@pytest.mark.needs_root
def test_files_have_their_real_owners_on_disk(base: Path, tmp_path: Path) -> None:
    script = """
    echo 1 >/opt/root; echo 2 >/opt/user; chown 1000:100 /opt/user; chmod 4755 /opt/user
    echo 3 >/opt/wide; chown 70000:70001 /opt/wide; chown 65534:65534 /opt
    rm /usr/bin/sleep; ls -ln /opt
    """
    upper, lines = run(script, [base], tmp_path / "s")
    owners = {
        p.name: (p.lstat().st_uid, p.lstat().st_gid)
        for p in (upper / "opt", *(upper / "opt").iterdir(), upper / "usr/bin/sleep", upper / "usr")
    }
    assert owners == {
        "opt": (65534, 65534),
        "root": (0, 0),
        "user": (1000, 100),
        "wide": (70000, 70001),
        "sleep": (0, 0),
        "usr": (0, 0),
    }
    assert (upper / "opt/user").stat().st_mode & 0o7777 == 0o4755
    assert any("70000 70001" in line for line in lines)


def test_file_capabilities_are_those_of_any_root(base: Path, tmp_path: Path) -> None:
    """Set by a step and in a layer: the bytes are not those of a namespace that will be gone."""
    capability = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw+ep, version 2
    layer = tmp_path / "layer"
    (layer / "opt").mkdir(parents=True)
    (layer / "opt/given").write_text("x")
    os.setxattr(layer / "opt/given", "security.capability", capability)
    setcap = subprocess.run(
        ["sh", "-c", "command -v setcap"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
        check=True,
    ).stdout.strip()
    libraries = subprocess.run(["ldd", setcap], capture_output=True, text=True, check=True).stdout
    binds = [sandbox.Bind(Path(setcap), "/opt/setcap")]
    binds += [
        sandbox.Bind(Path(word).resolve(), f"/usr/lib/{Path(word).name}")
        for word in libraries.split()
        if word.startswith("/") and "libcap" in word
    ]
    upper, _ = run(
        "echo x >/opt/mine; LD_LIBRARY_PATH=/usr/lib /opt/setcap cap_net_raw+ep /opt/mine; "
        "mkdir /opt/new; ln /opt/given /opt/copied",  # a link brings it up
        [base, layer],
        tmp_path / "s",
        binds,
    )
    for name in ("mine", "copied"):
        assert os.getxattr(upper / "opt" / name, "security.capability") == capability, name


def test_binds_belong_to_root_inside_and_outside(base: Path, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "file").write_text("mine\n")
    (private / "file").chmod(0o600)
    out = tmp_path / "out"
    out.mkdir(mode=0o700)
    _, lines = run(
        "cat /opt/private/file; ls -ln /opt/private/file; cat /opt/one; echo x >/opt/out/made; "
        "chown 1000 /opt/out/made",
        [base],
        tmp_path / "s",
        [
            sandbox.Bind(private, "/opt/private"),
            sandbox.Bind(private / "file", "/opt/one"),
            sandbox.Bind(out, "/opt/out", writable=True),
        ],
    )
    assert lines[0] == lines[2] == "mine"
    assert lines[1].split()[2:4] == ["0", "0"]
    assert (out / "made").stat().st_uid == 1000


def test_a_bind_of_a_file_system_that_cannot_show_other_owners_can_be_read(
    base: Path, tmp_path: Path
) -> None:
    """proc cannot, nor can tmpfs before Linux 6.3."""
    _, lines = run(
        "cat /opt/version", [base], tmp_path / "s", [sandbox.Bind(Path("/proc/version"), "/opt/version")]
    )
    assert lines == [Path("/proc/version").read_text().strip()]


def test_a_bind_shows_the_mounts_below_it(base: Path, tmp_path: Path) -> None:
    """As /usr/local may be one, where the machine's own programs are shown."""
    for name in ("source/mapped", "source/plain", "s"):
        (tmp_path / name).mkdir(parents=True)
    script = """
        import sys
        from pathlib import Path
        from engine.realise import sandbox
        base, place = Path(sys.argv[1]), Path(sys.argv[2])
        bind = sandbox.Bind(place / "source", "/opt/s")
        sandbox.run(["sh", "-c", "cat /opt/s/*/*"], layers=[base], scratch=place / "s", binds=[bind],
                    log=print, name="x")
    """
    for name, begin in (
        ("mapped", "mount -t tmpfs none mapped && echo below >mapped/file && "),
        ("plain", "mount --bind /proc/sys/kernel/random plain && "),
    ):
        done = subprocess.run(
            [
                "unshare",
                "--mount",
                "sh",
                "-c",
                f'cd {tmp_path}/source && {begin} cd "$0" && exec "$@"',
                str(PROJECT),
                sys.executable,
                "-c",
                textwrap.dedent(script),
                str(base),
                str(tmp_path),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "below" in done.stdout if name == "mapped" else done.stdout, done.stderr


def test_output_may_be_opened_by_its_name(base: Path, tmp_path: Path) -> None:
    _, lines = run(
        "echo out >/dev/stdout; echo err >/dev/stderr; echo self >/proc/self/fd/1", [base], tmp_path / "s"
    )
    assert lines == ["out", "err", "self"]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_is_left_of_threads_and_descriptors(base: Path, tmp_path: Path) -> None:
    run("true", [base], tmp_path / "first")
    before = descriptors(), threading.active_count(), Path.cwd()
    for number in range(3):
        run("true", [base], tmp_path / f"s{number}")
    assert (descriptors(), threading.active_count(), Path.cwd()) == before
    assert Path("/proc/thread-self/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink()


# Runs `sandbox.run` twice where root cannot have a user namespace.
FALLBACK = """
import os, sys
from pathlib import Path
from engine.realise import sandbox
base, place = Path(sys.argv[1]), Path(sys.argv[2])
for name in ("a", "b"):
    sandbox.run(["sh", "-c", "probe; echo x >/opt/x; chown 1000 /opt/x"], layers=[base],
                scratch=place / name, log=print, name="x")
"""


# What root cannot have in a container that covers parts of /proc, and in a chroot.
COVERED = 'mount -t tmpfs none /proc/fs && mount -t tmpfs none /proc/irq && exec "$@"'
CHROOT = 'mount --rbind / "$0" && exec chroot "$0" "$@"'


@pytest.mark.parametrize("way", [COVERED, CHROOT], ids=["covered", "chroot"])
@pytest.mark.needs_root
def test_without_a_user_namespace_a_step_has_the_rest_and_that_is_said_once(
    base: Path, tmp_path: Path, way: str
) -> None:
    place, root = tmp_path / "place", tmp_path / "root"
    place.mkdir()
    root.mkdir()
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            way,
            str(root),
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n{FALLBACK}",
            str(base),
            str(place),
        ],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (said,) = done.stderr.splitlines()
    assert said.startswith("sandbox: build steps run with root's own uid here: ")
    lines = done.stdout.splitlines()
    for half in (lines[: len(lines) // 2], lines[len(lines) // 2 :]):
        assert unexpected(half) == {}
    assert (place / "a/upper/opt/x").stat().st_uid == 1000


def test_a_container_s_root_is_told_so(base: Path, ordinary_user: str, readable_copy: Path) -> None:
    """In a user namespace that envd has not made for itself."""
    shutil.copytree(base, readable_copy / "base", symlinks=True)
    (readable_copy / "place").mkdir()
    for path in (readable_copy / "place", readable_copy / "base/opt"):
        shutil.chown(path, ordinary_user, ordinary_user)
    done = in_python(
        FALLBACK.replace("Path(sys.argv[1]), Path(sys.argv[2])", 'Path("base"), Path("place")'),
        readable_copy,
        "runuser",
        "-u",
        ordinary_user,
        "--",
        "unshare",
        "--map-root-user",
        "--map-auto",
        environment={"PYTHONPATH": f"{readable_copy}:{readable_copy}/site-packages"},
        python=str(Path(sys.executable).resolve()),
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    (said,) = done.stderr.splitlines()
    assert "root's own uid here: this root is one of a user namespace already" in said
