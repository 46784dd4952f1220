"""The sandbox, with real overlays and real bubblewrap."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from engine.core import command
from engine.errors import BuildError
from engine.realise import sandbox
from tests.integration import small_root


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_root.make(tmp_path_factory.mktemp("base") / "root")


def run(
    script: str,
    layers: Sequence[Path],
    scratch: Path,
    environment: Mapping[str, str] = {},
    binds: Sequence[sandbox.Bind] = (),
    network: bool = False,
) -> tuple[Path, list[str]]:
    scratch.mkdir(exist_ok=True)
    lines: list[str] = []
    upper = sandbox.run(
        ["sh", "-c", script],
        layers=layers,
        scratch=scratch,
        log=lines.append,
        name="test",
        environment=environment,
        binds=binds,
        network=network,
    )
    return upper, lines


def content(tree: Path) -> list[str]:
    return sorted(str(p.relative_to(tree)) for p in tree.rglob("*"))


def test_only_changes_are_in_the_upper_directory(base: Path, tmp_path: Path) -> None:
    upper, _ = run(
        "mkdir -p /srv/a; echo x >/srv/a/f; echo y >/tmp/g; echo z >/run/h", [base], tmp_path / "s"
    )
    assert content(upper) == ["srv", "srv/a", "srv/a/f"]


def test_scratch_has_nothing_left_but_upper(base: Path, tmp_path: Path) -> None:
    run("true", [base], tmp_path / "s")
    assert [p.name for p in (tmp_path / "s").iterdir()] == ["upper"]


def test_a_removed_file_is_a_whiteout(base: Path, tmp_path: Path) -> None:
    upper, _ = run("rm /usr/bin/sleep", [base], tmp_path / "s")
    info = (upper / "usr/bin/sleep").lstat()
    assert stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def test_fixed_environment_and_identity(base: Path, tmp_path: Path) -> None:
    _, lines = run(
        "env; id; umask; cat /proc/sys/kernel/hostname", [base], tmp_path / "s", environment={"EXTRA": "1"}
    )
    assert set(lines) == {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        "USER=root",
        "LANG=C.UTF-8",
        "TZ=UTC",
        "SOURCE_DATE_EPOCH=1704067200",
        "EXTRA=1",
        "DEBIAN_FRONTEND=noninteractive",
        "DEBCONF_NONINTERACTIVE_SEEN=true",
        "PYTHONHASHSEED=0",
        "PERL_HASH_SEED=0",
        "PERL_PERTURB_KEYS=0",
        "FORCE_SOURCE_DATE=1",
        "PWD=/",
        "uid=0 gid=0 groups=0",
        "0022",
        "envd",
    }


def test_capabilities_are_only_those_that_dpkg_needs(base: Path, tmp_path: Path) -> None:
    _, lines = run("cat /proc/self/status", [base], tmp_path / "s")
    effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    # capability(7) numbers: chown 0, dac_override 1, fowner 3, fsetid 4, kill 5, setgid 6,
    # setuid 7, net_bind_service 10, sys_chroot 18, setfcap 31
    assert effective == sum(1 << n for n in (0, 1, 3, 4, 5, 6, 7, 10, 18, 31))


def test_no_network_unless_asked(base: Path, tmp_path: Path) -> None:
    _, without = run("cat /proc/net/dev", [base], tmp_path / "s")
    names = [line.split(":")[0].strip() for line in without if ":" in line]
    assert names == ["lo"]
    _, given = run("cat /proc/net/dev", [base], tmp_path / "n", network=True)
    host = Path("/proc/net/dev").read_text().splitlines()
    assert len(given) == len(host)


def test_the_host_cannot_be_seen(base: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    with pytest.raises(BuildError):
        run(f"cat {secret}", [base], tmp_path / "s")
    _, lines = run("ls /proc", [base], tmp_path / "p")
    assert len([line for line in lines if line.isdigit()]) <= 3


def test_110_layers_the_top_one_wins(base: Path, tmp_path: Path) -> None:
    layers = [base]
    for number in range(109):
        layer = tmp_path / f"a-rather-long-name-of-a-layer-{number}"
        (layer / "etc").mkdir(parents=True)
        (layer / "etc" / f"n{number}").write_text(str(number))
        (layer / "etc/same").write_text(f"{number}\n")
        layers.append(layer)
    upper, lines = run("cat /etc/same; ls /etc; rm /etc/n5", layers, tmp_path / "s")
    assert lines[0] == "108"
    assert len(lines) == 1 + 109 + 1
    assert content(upper) == ["etc", "etc/n5"]


def test_without_layers_the_upper_directory_is_the_root(tmp_path: Path) -> None:
    scratch = tmp_path / "s"
    small_root.make(scratch / "upper")
    before = content(scratch / "upper")
    upper, _ = run("echo x >/f; rm /usr/bin/sleep", [], scratch)
    assert set(content(upper)) == (set(before) | {"f"}) - {"usr/bin/sleep"}


def test_prepared_upper_is_seen_and_kept(base: Path, tmp_path: Path) -> None:
    upper = tmp_path / "s/upper"
    (upper / "proc").mkdir(parents=True)
    (upper / "hello").write_text("hello\n")
    _, lines = run("cat /hello", [base], tmp_path / "s")
    assert lines == ["hello"]
    assert content(upper) == ["hello", "proc"]


def test_binds_leave_no_mount_points(base: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "f").write_text("inside\n")
    binds = [
        sandbox.Bind(source, "/opt/new/deep"),  # below a directory of the layer
        sandbox.Bind(source / "f", "/lib/new-file"),  # through a symlink of the layer
        sandbox.Bind(source, "/lib64/../lib/x"),
    ]
    upper, lines = run(
        "cat /opt/new/deep/f /usr/lib/new-file /usr/lib/x/f", [base], tmp_path / "s", binds=binds
    )
    assert lines == ["inside"] * 3
    assert content(upper) == []


def test_binds_keep_what_the_builder_made_beside_them(base: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    upper, _ = run(
        "echo x >/opt/new/mine", [base], tmp_path / "s", binds=[sandbox.Bind(source, "/opt/new/deep")]
    )
    assert content(upper) == ["opt", "opt/new", "opt/new/mine"]


def test_only_writable_binds_can_be_written(base: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(BuildError):
        run("echo x >/mnt/f", [base], tmp_path / "s", binds=[sandbox.Bind(source, "/mnt")])
    run("echo x >/mnt/f", [base], tmp_path / "s", binds=[sandbox.Bind(source, "/mnt", True)])
    assert (source / "f").read_text() == "x\n"


def test_absolute_symlinks_of_a_layer_stay_inside(base: Path, tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "data").symlink_to("/opt/real")
    source = tmp_path / "source"
    source.mkdir()
    (source / "f").write_text("inside\n")
    _, lines = run("cat /opt/real/f", [base, layer], tmp_path / "s", binds=[sandbox.Bind(source, "/data")])
    assert lines == ["inside"]
    assert not Path("/opt/real").exists()


def test_what_a_layer_has_in_tmp_is_seen_and_else_tmp_is_forgotten(base: Path, tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    (layer / "tmp").mkdir(parents=True)
    (layer / "tmp/given").write_text("given\n")
    upper, lines = run("cat /tmp/given; rm /tmp/given", [base, layer], tmp_path / "s")
    assert (lines, content(upper)) == (["given"], ["tmp", "tmp/given"])
    upper, _ = run("echo x >/tmp/mine", [base], tmp_path / "other")
    assert content(upper) == []


def test_failure_carries_the_end_of_the_log(base: Path, tmp_path: Path) -> None:
    script = "n=0; while [ $n -lt 50 ]; do n=$((n+1)); echo line $n; done; exit 3"
    with pytest.raises(BuildError) as caught:
        run(script, [base], tmp_path / "s")
    assert str(caught.value) == "test: failed with exit status 3"
    log = caught.value.log.splitlines()
    assert log == [f"line {n}" for n in range(11, 51)]


def test_nothing_is_left_mounted_or_running_after_a_kill(base: Path, tmp_path: Path) -> None:
    marker = f"31{os.getpid()}"  # a duration that names our sleep
    program = (
        "import sys; from pathlib import Path; from engine.realise import sandbox\n"
        "sandbox.run(['sh', '-c', 'echo up; sleep ' + sys.argv[3]], layers=[Path(sys.argv[1])],"
        " scratch=Path(sys.argv[2]), log=lambda line: print(line, flush=True), name='x')"
    )
    scratch = tmp_path / "s"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(base), str(scratch), marker], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    for _ in range(200):
        if not _running(marker):
            break
        time.sleep(0.05)
    assert not _running(marker)
    assert str(scratch) not in Path("/proc/self/mountinfo").read_text()


def _running(marker: str) -> bool:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_bytes() == f"sleep\0{marker}\0".encode():
                return True
        except OSError:
            continue
    return False


def test_a_cancelled_group_stops_a_running_command() -> None:
    group = command.Group()

    def log(_: str) -> None:
        group.cancel()

    with command.cancellable(group), pytest.raises(command.CancelledError):
        command.run(["sh", "-c", "echo up; exec sleep 1000"], log=log, name="x")
    with command.cancellable(group), pytest.raises(command.CancelledError):
        command.run(["true"], log=log, name="x")


def test_a_missing_command_says_so() -> None:
    with pytest.raises(BuildError, match="x: command not found: no-such-command"):
        command.run(["no-such-command"], log=print, name="x")


def test_a_file_of_an_id_that_steps_do_not_have(base: Path, tmp_path: Path) -> None:
    """Where it cannot be changed, the kernel's words alone say nothing."""
    lower = tmp_path / "lower"
    (lower / "opt").mkdir(parents=True)
    (lower / "opt/far").write_text("x")
    os.chown(lower / "opt/far", 1_500_000_000, 0)
    words = r"belongs to a user or group id .* ids end at \d+ here"
    with pytest.raises(BuildError, match=words) as caught:
        run("rm /opt/far", [base, lower], tmp_path / "s")
    assert "Value too large" in caught.value.log


def test_a_layer_of_an_id_that_a_user_does_not_have() -> None:
    script = (
        "import io, tarfile, tempfile, pathlib\n"
        "from store import trees\n"
        "made = io.BytesIO()\n"
        "with tarfile.open(fileobj=made, mode='w') as archive:\n"
        "    member = tarfile.TarInfo('f')\n"
        "    member.uid, member.gid = 100000, 7\n"
        "    archive.addfile(member)\n"
        "with tempfile.TemporaryDirectory() as name:\n"
        "    trees.unpack([made.getvalue()], pathlib.Path(name))\n"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", script], capture_output=True, text=True
    )
    assert "'f': it belongs to user 100000 and group 7, and your user namespace does not" in done.stderr
