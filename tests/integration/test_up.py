"""Development environments with a real engine: `up` to `destroy`, as a new user would try them."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.integration import gallery, servers
from tests.integration.conftest import ROOT
from tests.integration.envd import ENVD, Envd, Outcome, docker

UID, GID = 4321, 4322
TAG, SMALL_TAG, PLAIN_TAG = "envd-test:up", "envd-test:up-small", "envd-test:up-plain"
# What a developer has there already; the first line is for every host.
SSH_CONFIG = "ServerAliveInterval 60\n\nHost elsewhere\n  Port 2200\n  User me"
# The shipped example, and what it has no use for. Port 8321 is everybody's: another one here.
ADDED = """
    install.vscode_extensions(["acme.helper"])
    install.apt_packages(["file"])
    run(["echo 'alias built=true' >> ~/.zshrc", "mkdir ~/made", "touch ~/made/here"])
    config.owner(uid=%d, gid=%d)
    runtime.mount(host_path=data.envd("%s"), envd_path="/data")
    runtime.mount(host_path="~/notes", envd_path="~/deep/notes")
    config.shm_size(size=128)
    runtime.daemon(commands=[["sleep", "86399"]])
    runtime.environ(env={"GREETING": "it's me"}, extra_path=["/opt/tools/bin"])
    runtime.command(commands={"fail": "echo $GREETING; echo bad >&2; exit 7"})
"""


SMALL = """
def build():
    shell("bash")
    {more}
"""


@dataclass(frozen=True)
class Up:
    """A running environment: its command, name, home of the developer, and what `up` printed."""

    envd: Envd
    name: str
    home: Path
    before: Path  # the ssh config as it was
    printed: str

    def ssh(self, *arguments: str, text: str = "", check: bool = True) -> str:
        """Run the stock ssh client with the config that `up` wrote."""
        done = subprocess.run(
            ["ssh", "-F", str(self.home / ".ssh/config"), f"{self.name}.envd", *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def described(self) -> dict[str, Any]:
        """What `envd envs list -f json` says of it."""
        rows = json.loads(self.envd.run("envs", "list", "-f", "json").stdout)
        (row,) = [r for r in rows if r["name"] == self.name]
        return dict(row)

    def url(self) -> str:
        """Jupyter's address, as `up` printed it, once it answers."""
        match = re.search(r"jupyter +(http://\S+)", self.printed)
        assert match is not None
        assert eventually(lambda: servers.status(match[1]) == 200)
        return match[1]


def eventually(true: Any) -> bool:
    end = time.monotonic() + servers.PATIENCE
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.2)
    return False


def vsix(directory: Path) -> Path:
    """An extension, as vsce lays it out."""
    path = directory / "acme.helper-1.0.0.vsix"
    about = {**gallery.MANIFEST, "publisher": "acme", "name": "helper", "version": "1.0.0"}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("extension/package.json", json.dumps(about))
        archive.writestr("extension/main.js", "exports.activate = function () {};\n")
    return path


@pytest.fixture(scope="module")
def up(shared_store: Path, tmp_path_factory: pytest.TempPathFactory, docker_engine: str) -> Iterator[Up]:
    """The shipped example, up, for whoever is UID:GID."""
    place = tmp_path_factory.mktemp("up")
    home, project, name = place / "home", place / "work", f"up-test-{os.getpid()}"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/config").write_text(SSH_CONFIG)
    before = place / "before"
    shutil.copy(home / ".ssh/config", before)
    shutil.copytree(ROOT / "examples/dev", project, ignore=shutil.ignore_patterns("*.lock", "results"))
    spec = (project / "build.envd").read_text().replace("8321", str(servers.free_port()))
    (project / "build.envd").write_text(spec + ADDED % (UID, GID, name))
    subprocess.run(["chown", "-R", f"{UID}:{GID}", str(project)], check=True)
    with gallery.serve([vsix(place)]) as url:
        settings = {"DOCKER_HOST": docker_engine, "HOME": str(home), "ENVD_VSCODE_GALLERY": url}
        envd = Envd(shared_store, project, settings)
        done = envd.run("up", "--detach", "--name", name, "-t", TAG, "--timeout", "2m")
    try:
        yield Up(envd, name, home, before, done.stdout)
    finally:
        docker("rm", "-fv", name, host=docker_engine, check=False)
        docker("volume", "rm", f"envd-data-{name}", host=docker_engine, check=False)


def test_a_session_is_the_users_in_the_project(up: Up) -> None:
    said = up.ssh("id -u; id -g; id -un; pwd; echo $HOME; echo $SHELL; sudo -n id -u").split()
    assert said == [str(UID), str(GID), "envd", "/home/envd/work", "/home/envd", "/bin/zsh", "0"]
    assert up.ssh("echo $GREETING; echo $PATH").splitlines() == [
        "it's me",
        "/home/envd/.local/bin:/opt/tools/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]
    # a login shell on a terminal is in the project, with the same PATH
    shown = up.ssh("-tt", text="echo in:$PWD: $PATH | cat; exit\n")
    assert "in:/home/envd/work:" in shown and "/opt/tools/bin" in shown
    assert "/opt/tools/bin" in up.ssh("bash -lc 'echo $PATH'")
    up.ssh("touch mine; python -c 'import numpy; numpy.save(\"array.npy\", numpy.arange(3))'")
    for name in ("mine", "array.npy"):
        found = (up.envd.project / name).stat()
        assert (found.st_uid, found.st_gid) == (UID, GID)
    assert up.ssh("git --version; file -v").startswith("git version")
    assert up.ssh("df -m --output=size /dev/shm | tail -1") == "128"


def test_home_and_mounts_are_the_users(up: Up) -> None:
    up.ssh("touch /data/a ~/deep/b ~/.cache/c ~/.cache/huggingface/.d || true; touch ~/e")
    assert up.ssh("stat -c %U /data/a ~/deep/b ~/.cache/c ~/.zshrc ~/e").split() == ["envd"] * 5
    # nothing of what is mounted there changes hands
    assert (up.envd.project / "envd.lock").stat().st_uid == os.getuid()
    # what run() made at build time in ~ is the user's, beside the shell's own
    assert up.ssh("stat -c %U ~/made ~/made/here; grep -c ^HISTFILE= ~/.zshrc; tail -1 ~/.zshrc").split(
        "\n"
    ) == ["envd", "envd", "1", "alias built=true"]
    assert (up.home / "notes").is_dir() and (up.home / ".cache/huggingface").is_dir()
    # made by runtime.init
    assert eventually(lambda: up.ssh("cat /run/envd/init; ls results") == "done")
    assert (up.envd.project / "results").stat().st_uid == UID


def test_the_host_key_is_known_and_strangers_stay_out(up: Up, tmp_path: Path) -> None:
    port = str(up.described()["ports"][0]["host_port"])
    base = ["ssh", "-F", "none", "-p", port, "-o", "BatchMode=yes", "-l", "envd"]
    stranger = subprocess.run(
        [
            *base,
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            f"UserKnownHostsFile={tmp_path}/none",
            "-i",
            str(tmp_path / "none"),
            "127.0.0.1",
            "true",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert stranger.returncode == 255
    assert "Permission denied (publickey)" in stranger.stderr
    known = (up.home / ".config/envd/ssh/known_hosts").read_text().split()
    assert known[:2] == [f"{up.name}.envd", "ssh-ed25519"]
    assert (up.home / ".config/envd/ssh/id_ed25519").stat().st_mode & 0o777 == 0o600


def test_sftp_and_port_forwarding(up: Up, tmp_path: Path) -> None:
    config = str(up.home / ".ssh/config")
    (tmp_path / "file").write_text("sent")
    subprocess.run(["scp", "-q", "-F", config, str(tmp_path / "file"), f"{up.name}.envd:sent"], check=True)
    assert (up.envd.project / "sent").read_text() == "sent"
    assert (up.envd.project / "sent").stat().st_uid == UID
    # as VS Code's Remote-SSH and `ssh -L` do it
    up.url()
    remote = up.described()["ports"][1]["container_port"]
    local = servers.free_port()
    forward = subprocess.Popen(
        ["ssh", "-F", config, "-N", "-L", f"{local}:127.0.0.1:{remote}", f"{up.name}.envd"]
    )
    try:
        assert eventually(lambda: servers.status(f"http://127.0.0.1:{local}/login") == 200)
    finally:
        forward.terminate()
        forward.wait()


def test_extensions_are_where_editors_look(up: Up) -> None:
    """VS Code's server and code-server find them, and the user can add more."""
    for place in (".vscode-server/extensions", ".local/share/code-server/extensions"):
        assert up.ssh(f"cd ~/{place} && ls && cat acme.helper-1.0.0/package.json").startswith(
            "acme.helper-1.0.0\nextensions.json\n{"
        )
        (row,) = json.loads(up.ssh(f"cat ~/{place}/extensions.json"))
        assert row["identifier"] == {"id": "acme.helper"}
        up.ssh(f"cd ~/{place} && mkdir another && echo '[]' > extensions.json && rmdir another")


def test_jupyter_wants_its_token_and_shows_the_project(up: Up, tmp_path: Path) -> None:
    url = up.url()
    assert servers.status(url.replace("/lab?", "/api/contents?")) == 200
    assert servers.status(url.partition("?")[0].replace("/lab", "/api/contents")) == 403
    # no token on any command line: those are everybody's to read on the host
    assert url.partition("token=")[2] not in up.ssh("ps axww -o args")
    page = subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            f"--user-data-dir={tmp_path}/chromium",
            "--virtual-time-budget=30000",
            "--dump-dom",
            url,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "<title>JupyterLab</title>" in page.stdout, page.stderr
    # drawn by its scripts: the launcher with its kernel, the project's files
    for drawn in ("jp-LauncherCard", "Python 3 (ipykernel)", "train.py"):
        assert drawn in page.stdout


def test_services_run_as_the_user(up: Up) -> None:
    rows = up.ssh("ps axww -o user,args").splitlines()
    for daemon in ("-m http.server", "sleep 86399"):
        (row,) = [r for r in rows if daemon in r and "s6-" not in r]
        assert row.split()[0] == "envd"
    up.envd.run("exec", "--name", up.name, "--command", "train")
    port = up.described()["ports"][2]
    assert port["name"] == "results"
    url = f"http://127.0.0.1:{port['host_port']}/line.txt"
    with urllib.request.urlopen(url, timeout=120) as answer:
        assert answer.read().startswith(b"slope 3.00")
    # it comes back when it dies
    up.ssh("pkill -f '[h]ttp.server'")
    assert eventually(lambda: servers.status(url) == 200)


def test_exec(up: Up) -> None:
    done = up.envd.run("exec", "-n", up.name, "--command", "fail", check=False)
    assert (done.code, done.stdout, done.stderr) == (7, "it's me", "bad\n")
    # without a name it is the project's
    raw = up.envd.run("exec", "--raw", "id -un; pwd; echo $0")
    assert raw.stdout.split() == ["envd", "/home/envd/work", "zsh"]
    piped = subprocess.run(
        [str(ENVD), "exec", "-n", up.name, "tr", "a-z", "A-Z"],
        input="x" * 300_000,
        env={**os.environ, **up.envd.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert piped.stdout == "X" * 300_000
    wrong = up.envd.run("exec", "-n", up.name, "--command", "trian", check=False)
    assert wrong.code == 2 and "did you mean 'train'?" in wrong.stderr
    missing = up.envd.run("exec", "-n", f"{up.name}x", "true", check=False)
    assert missing.code == 1 and f"did you mean '{up.name}'?" in missing.stderr


def test_envs(up: Up) -> None:
    row = up.described()
    assert row["ssh_target"] == f"{up.name}.envd" and row["status"] == "running"
    assert row["endpoint"] == re.findall(r"http://\S+token=\S+", up.printed)[0]
    assert row["project"] == str(up.envd.project) and row["gpu"] is False
    assert up.name in up.envd.run("envs").stdout
    assert row in json.loads(up.envd.run("envs", "-f", "json").stdout)
    described = up.envd.run("envs", "describe", "--env", up.name).stdout
    assert re.search(r"^jupyter +\d+ +tcp +127\.0\.0\.1 +\d+$", described, re.MULTILINE)
    assert re.search(r"^numpy +Python$", described, re.MULTILINE)
    assert re.search(r"^file +APT$", described, re.MULTILINE)


def test_pause_and_resume(up: Up) -> None:
    # another project of the same name is another project
    namesake = replace(up.envd, project=up.home / up.name)
    namesake.spec(SMALL.format(more=""))
    for command in ("pause", "destroy"):
        assert "no environment of" in namesake.run(command, check=False).stderr
    assert up.ssh("echo still there") == "still there"
    assert up.envd.run("pause", "--env", up.name).stdout == f"{up.name} is paused"
    assert up.described()["status"] == "paused"
    refused = up.envd.run("exec", "-n", up.name, "true", check=False)
    assert refused.code == 1 and "envd resume" in refused.stderr
    assert up.envd.run("resume", "--env", up.name).stdout == f"{up.name} runs"
    assert up.ssh("echo back") == "back"


def again(up: Up, *arguments: str, check: bool = True) -> Outcome:
    """`up` once more. The gallery is gone: the lock has all that is needed."""
    return up.envd.run("up", "--detach", "--name", up.name, "-t", TAG, *arguments, check=check)


def test_unchanged_is_used_again_and_changed_needs_force(up: Up) -> None:
    """Also after a stop: the same ports, the same host key."""
    engine = up.envd.environment["DOCKER_HOST"]
    identity = docker("inspect", "-f", "{{.Id}}", up.name, host=engine)
    had = up.described()["ports"]
    docker("stop", "-t", "30", up.name, host=engine)
    assert docker("inspect", "-f", "{{.State.ExitCode}}", up.name, host=engine) == "0"
    assert f"{up.name} is up\n" in again(up).stdout + "\n"
    assert f"{up.name} is up already" in again(up).stdout
    assert docker("inspect", "-f", "{{.Id}}", up.name, host=engine) == identity
    assert up.described()["ports"] == had
    assert up.ssh("echo in") == "in"
    # attaching is ssh: what it is told on its input runs there, and its exit status is ours
    attached = subprocess.run(
        [str(ENVD), "up", "--name", up.name, "-t", TAG],
        cwd=up.envd.project,
        input="pwd; exit 5\n",
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ENVD_STORE": str(up.envd.store), **up.envd.environment},
    )
    assert attached.returncode == 5 and attached.stdout.endswith("\n/home/envd/work\n")

    differs = again(up, "-e", "MORE=1", "--memory", "2g", check=False)
    assert differs.code == 1
    assert "with different environment variables and memory" in differs.stderr
    assert docker("inspect", "-f", "{{.Id}}", up.name, host=engine) == identity
    again(up, "-e", "MORE=1", "--memory", "2g", "--cpus", "0.5", "--shm-size", "100", "--force")
    assert docker("inspect", "-f", "{{.Id}}", up.name, host=engine) != identity
    assert up.ssh("echo $MORE; df -m --output=size /dev/shm | tail -1").split() == ["1", "100"]
    limits = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}"
    assert docker("inspect", "-f", limits, up.name, host=engine) == "2147483648 500000000"


def test_destroy_leaves_nothing(up: Up) -> None:
    engine = up.envd.environment["DOCKER_HOST"]
    assert up.ssh("echo here") == "here"
    # what stood before any Host of the developer's still is for every host
    for host in (f"{up.name}.envd", "elsewhere"):
        settings = subprocess.run(
            ["ssh", "-G", "-F", str(up.home / ".ssh/config"), host],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "serveraliveinterval 60\n" in settings
    processes = docker("top", up.name, "-eo", "pid", host=engine).split()[1:]
    done = up.envd.run("destroy")
    assert done.stdout == f"{up.name} is destroyed"
    assert (up.home / ".ssh/config").read_bytes() == up.before.read_bytes()
    assert not (up.home / ".config/envd/ssh/known_hosts").exists()
    assert docker("ps", "-aq", "-f", f"name={up.name}", host=engine) == ""
    assert not any(Path("/proc", pid).exists() for pid in processes)
    # the data volume is data
    assert docker("volume", "ls", "-q", "-f", f"name={up.name}", host=engine) == f"envd-data-{up.name}"
    for arguments in (("destroy", "--name", up.name), ("destroy",), ("pause",)):
        gone = up.envd.run(*arguments, check=False)
        assert gone.code == 1 and re.match(r"error: no environment .*\n$", gone.stderr)


# -- what goes wrong --------------------------------------------------------------------------


@pytest.fixture
def other(shared_store: Path, tmp_path: Path, docker_engine: str) -> Iterator[tuple[Envd, str]]:
    """A small project and a name for it; nothing of that name stays."""
    name = f"up-other-{os.getpid()}"
    settings = {"DOCKER_HOST": docker_engine, "HOME": str(tmp_path / "home")}
    envd = Envd(shared_store, tmp_path / "other", settings)
    envd.spec(SMALL.format(more=""))
    try:
        yield envd, name
    finally:
        docker("rm", "-fv", name, host=docker_engine, check=False)


def nothing_of(envd: Envd, name: str, home: Path) -> bool:
    """Whether neither the engine nor the ssh config knows of an environment."""
    listed = docker("ps", "-aq", "-f", f"name={name}", host=envd.environment["DOCKER_HOST"])
    return listed == "" and not (home / ".ssh/config").exists()


def test_two_who_start_it_at_once_get_one(other: tuple[Envd, str]) -> None:
    envd, name = other
    envd.run("build", "--dev", "-t", SMALL_TAG)
    arguments = ("up", "--detach", "--name", name, "-t", SMALL_TAG, "--timeout", "5m")
    both = [envd.start(*arguments) for _ in range(2)]
    for process in both:
        _, said = process.communicate()
        assert process.returncode == 0, said
    listed = docker("ps", "-q", "-f", f"name={name}", host=envd.environment["DOCKER_HOST"])
    assert len(listed.split()) == 1
    envd.run("destroy", "--name", name)


def test_no_engine(tmp_path: Path) -> None:
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/sock", "HOME": str(tmp_path)}
    envd = Envd(tmp_path / "store", tmp_path / "project", nowhere)
    envd.spec(SMALL.format(more=""))
    for arguments in (["up"], ["run"], ["envs", "list"], ["exec", "true"], ["destroy"], ["pause"]):
        done = envd.run(*arguments, check=False)
        assert done.code == 1 and done.stderr.count("\n") == 1, done.stderr
        assert f"no Docker engine answers at unix://{tmp_path}/sock" in done.stderr
    assert not (tmp_path / "store").exists()
    elsewhere = replace(envd, environment={**nowhere, "DOCKER_HOST": "tcp://192.0.2.1:2375"})
    done = elsewhere.run("up", check=False)
    assert done.code == 1 and "another machine's" in done.stderr


INIT = """
    runtime.init(["mkdir -p out", "cd out", "WHO=$USER", "echo $WHO $PWD >../where.txt"])
    runtime.init(["source /etc/os-release", "echo $ID >id.txt"])
    runtime.environ(env={"PORT": "86398"})
    runtime.daemon([["sleep", "${PORT}"], ["sh", "-c", "i=1; echo it is $i; sleep 86397", ">~/said"]])
"""


def test_init_is_one_bash_script_a_call_beside_sshd(other: tuple[Envd, str], tmp_path: Path) -> None:
    envd, name = other
    up = ("up", "--detach", "--name", name, "-t", SMALL_TAG)
    envd.spec(SMALL.format(more=INIT))
    envd.run(*up)

    def inside(command: str) -> str:
        return envd.run("exec", "-n", name, "sh", "-c", command, check=False).stdout

    assert eventually(lambda: inside("cat /run/envd/init") == "done")
    assert inside("cat where.txt id.txt") == "envd /home/envd/other/out\ndebian"
    # a daemon's words name variables, but not those of its own shell
    assert eventually(lambda: inside("cat ~/said") == "it is 1")
    assert inside("ps axww -o args").count("sleep 86398") == 1
    assert nothing_but_up(envd.run(*up).stdout, name)
    # one that fails is said with its own words, and the environment is there to look at
    failing = 'runtime.init(commands=["echo no such data", "ls /nowhere", "touch after"])'
    envd.spec(SMALL.format(more=failing))
    done = envd.run(*up, "--force")
    assert "runtime.init failed with exit status 2" in done.stderr
    assert "no such data" in done.stderr and "ls /nowhere" in done.stderr
    assert inside("cat /run/envd/init; ls after; cat /var/log/envd/init.log") == (
        "failed 2\nno such data\nls: cannot access '/nowhere': No such file or directory\n"
        "envd: exit status 2 of line 2: ls /nowhere\nenvd: runtime.init failed with exit status 2"
    )
    assert "no such data" in docker("logs", name, host=envd.environment["DOCKER_HOST"])


def nothing_but_up(printed: str, name: str) -> bool:
    return printed.startswith(f"{name} is up already\n") and "init" not in printed


def test_what_cannot_start_leaves_nothing(other: tuple[Envd, str], tmp_path: Path) -> None:
    envd, name = other
    home = tmp_path / "home"
    up = ("up", "--detach", "--name", name, "-t", SMALL_TAG)
    # an init script that takes long goes on, and is not waited for
    envd.spec(SMALL.format(more='runtime.init(commands=["echo waiting; sleep 600"])'))
    done = envd.run(*up)
    assert f"{name} is up" in done.stdout and "runtime.init is still running" in done.stderr
    assert envd.run("exec", "-n", name, "cat", "/var/log/envd/init.log").stdout == "waiting"
    assert "still running" in envd.run(*up).stderr
    envd.run("destroy", "--name", name)
    # sshd that does not answer: --timeout, and Ctrl-C
    envd.spec(SMALL.format(more='runtime.environ(env={"ENVD_SSH_PORT": "nowhere"})'))
    bad = ("-e", "ENVD_SSH_PORT=nowhere")
    done = envd.run(*up, *bad, "--timeout", "2s", check=False)
    assert done.code == 1 and "no ssh server answers after 2 s" in done.stderr
    assert "Bad port" in done.stderr
    assert nothing_of(envd, name, home)
    process = subprocess.Popen(
        [str(ENVD), *up, *bad, "--timeout", "2m"],
        cwd=envd.project,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ENVD_STORE": str(envd.store), **envd.environment},
    )
    assert process.stderr is not None
    assert any("Bad port" in line for line in process.stderr)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    process.stderr.close()
    assert nothing_of(envd, name, home)


def test_taken_names_and_ports_and_wrong_options(other: tuple[Envd, str], tmp_path: Path) -> None:
    envd, name = other
    engine = envd.environment["DOCKER_HOST"]
    up = ("up", "--detach", "--name", name, "-t", SMALL_TAG)
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        envd.spec(SMALL.format(more=f"runtime.expose(envd_port={port}, host_port={port})"))
        done = envd.run(*up, check=False)
        assert done.code == 1 and f"port {port} of 127.0.0.1" in done.stderr
        assert nothing_of(envd, name, tmp_path / "home")
    envd.spec("def build(:\n")
    done = envd.run(*up, check=False)
    assert done.code == 2 and "build.envd:1:" in done.stderr
    envd.spec(SMALL.format(more=""))
    for arguments, says in (
        (("--cpus", "1", "--cpu-set", "0"), "cannot be used together"),
        (("--memory", "lots"), "--memory lots"),
        (("-v", "/no/such/place:/x"), "/no/such/place"),
        (("-e", "NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE"),
        (("--timeout", "soon"), "soon"),
        (("--name", "no/name"), "no/name"),
    ):
        done = envd.run(*up, *arguments, check=False)
        assert done.code == 2 and says in done.stderr and "Traceback" not in done.stderr
    if "nvidia" not in docker("info", "-f", "{{.Runtimes}}", host=engine):
        done = envd.run(*up, "--gpus", "1", check=False)
        assert done.code == 1 and "no nvidia runtime" in done.stderr
    # somebody else's container of that name is left alone, even with --force
    image = docker("image", "inspect", "-f", "{{.Id}}", SMALL_TAG, host=engine)
    docker("create", "--name", name, image, "true", host=engine)
    done = envd.run(*up, "--force", check=False)
    assert done.code == 1 and "envd did not make" in done.stderr
    assert docker("ps", "-aq", "-f", f"name={name}", host=engine) != ""
    # an image that is no development one
    envd.run("build", "-t", PLAIN_TAG)
    done = envd.run("run", "--image", PLAIN_TAG, "--detach", "--name", f"{name}b", check=False)
    assert done.code == 2 and "not a development image" in done.stderr


def test_an_ordinary_user(
    other: tuple[Envd, str], tmp_path: Path, ordinary_user: str, readable_copy: Path
) -> None:
    """`up` from an empty store of his own, in a user namespace; the image is root's bit for bit."""
    envd, name = other
    engine = envd.environment["DOCKER_HOST"]
    root = replace(envd, environment={**envd.environment, "TZ": "Asia/Kolkata"})
    image = root.run("build", "--dev", "--no-load", "-t", SMALL_TAG).stdout
    home = Path(f"~{ordinary_user}").expanduser()
    project = home / "other"
    project.mkdir()
    for file in ("build.envd", "envd.lock"):
        shutil.copy(envd.project / file, project / file)
    subprocess.run(["chown", "-R", f"{ordinary_user}:", str(home)], check=True)
    _let_use(engine, ordinary_user)
    python = Path(sys.executable).resolve()
    command = f"{python} -m engine.cli.main up --locked --name {name} -t {SMALL_TAG}"
    done = subprocess.run(
        [
            "runuser",
            "-u",
            ordinary_user,
            "--",
            "env",
            "-i",
            "PATH=/usr/bin:/bin:/usr/sbin:/sbin",
            f"HOME={home}",
            f"DOCKER_HOST={engine}",
            "TZ=America/New_York",
            f"PYTHONPATH={readable_copy}:{readable_copy}/site-packages",
            *(f"{k}={v}" for k, v in os.environ.items() if k.endswith(("CERT_FILE", "CERT_DIR", "_proxy"))),
            "sh",
            "-c",
            f"umask 077; cd {project} && exec {command}",
        ],
        input="id -un; touch made; sudo -n touch roots\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.endswith("\nenvd\n")
    assert (project / "made").owner() == ordinary_user
    assert (project / "roots").owner() == "root"
    assert docker("inspect", "-f", "{{.Image}}", name, host=engine) == image


def _let_use(engine: str, user: str) -> None:
    """Let a user speak to the engine, as membership in the socket's group does."""
    sock = Path(engine.removeprefix("unix://"))
    group = grp.getgrgid(sock.stat().st_gid).gr_name
    if group == "root":
        group = user
        shutil.chown(sock, group=user)
    subprocess.run(["usermod", "-aG", group, user], check=True)
    for directory in sock.parents:
        directory.chmod(directory.stat().st_mode | 0o011)
