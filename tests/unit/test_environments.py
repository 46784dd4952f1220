"""Development environments without an engine: what a container should be, ports, the ssh config."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from engine.errors import DockerError, UsageError
from engine.runtime import ports, ssh_config
from engine.runtime.container import (
    Exposed,
    Mount,
    Options,
    Wanted,
    device_requests,
    differences,
    make_sources,
    runtime_of,
    wanted,
)
from engine.runtime.keys import keys

PROJECT = Path("/srv/work/my project")


def want(runtime: dict[str, Any] | None = None, **options: Any) -> Wanted:
    chosen = Options(project=PROJECT, name="work", **options)
    return wanted("sha256:1", runtime or {}, chosen, (1234, 50), {"MINE": "a=b c"})


# -- what it should be -------------------------------------------------------------------------


def test_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    rows = [["~/cache", "~/.cache/tool", False], ["data", "inside", False], ["set", "/data", True]]
    made = want({"mounts": rows}, volumes=(".:/here", "named:/named:ro"))
    assert made.workdir == "/home/envd/my project"
    assert made.mounts == (
        Mount("bind", str(PROJECT), made.workdir),
        Mount("bind", f"{tmp_path}/cache", "/home/envd/.cache/tool"),
        Mount("bind", f"{PROJECT}/data", f"{made.workdir}/inside"),
        Mount("volume", "envd-data-set", "/data"),
        Mount("bind", str(tmp_path), "/here"),
        Mount("volume", "named", "/named", True),
    )
    # never the project itself or what is in it: those are the caller's own
    assert made.owned == ("/data", "/home/envd/.cache")


def test_what_is_mounted_is_made_by_us(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    make_sources(
        [
            Mount("bind", f"{tmp_path}/project", "/p"),
            Mount("bind", f"{tmp_path}/a/b", "/p/in/it"),
            Mount("volume", "name", "/p/volume"),
            Mount("bind", f"{tmp_path}/file", "/p/one.txt"),
            Mount("volume", "other", "/else"),
        ]
    )
    made = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*"))
    assert made == [
        "a",
        "a/b",
        "file",
        "project",
        "project/in",
        "project/in/it",
        "project/one.txt",
        "project/volume",
    ]
    assert (tmp_path / "project/one.txt").is_file()
    with pytest.raises(DockerError, match="cannot make"):
        make_sources([Mount("bind", f"{tmp_path}/file/below", "/x")])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"volumes": ("nothing",)}, "SOURCE:TARGET"),
        ({"volumes": ("a:/b:rx",)}, "SOURCE:TARGET"),
        ({"volumes": ("a:/b", "c:/b")}, "two mounts"),
        ({"environ": ("1X=2",)}, "NAME=VALUE"),
        ({"environ": ("THEIRS",)}, "THEIRS"),
        ({"gpus": "some"}, "device=0,1"),
        ({"gpus": "1", "no_gpu": True}, "cannot be used together"),
        ({"cpus": 1.0, "cpu_set": "0"}, "cannot be used together"),
        ({"cpu_set": "0-"}, "0-3"),
        ({"memory": "much"}, "512m"),
    ],
)
def test_wrong_options(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        want(**options)


def test_names_that_docker_takes() -> None:
    for name in ("a", "-a", "a/b", "ä1", ""):
        with pytest.raises(UsageError):
            wanted("", {}, Options(PROJECT, name), (0, 0))


def test_gpus_come_from_the_spec_or_the_command_line() -> None:
    asked = [
        want({"cuda": "12.9"}),
        want({"cuda": "12.9", "gpu": 2}),
        want({"cuda": "12.9", "gpu": 0}),
        want({"cuda": "12.9"}, no_gpu=True),
        want({}, gpus="device=0,2"),
        want({"gpu": 1}, gpus="all"),
    ]
    assert [w.gpus for w in asked] == ["all", "2", "", "", "device=0,2", "all"]
    requests = [device_requests(w.gpus) for w in asked]
    assert [r and (r[0]["Count"], r[0]["DeviceIDs"]) for r in requests] == [
        (-1, None),
        (2, None),
        None,
        None,
        (0, ["0", "2"]),
        (-1, None),
    ]


def test_sizes_and_variables() -> None:
    made = want({"shm_size": 64}, memory="2Gb", cpus=0.5, environ=("MINE", "X="))
    assert (made.shm_size, made.memory, made.environ) == (64, 2 << 30, ("MINE=a=b c", "X="))
    assert want({"shm_size": 64}, shm_size=99).shm_size == 99
    assert want().shm_size == 2048


def test_what_differs_is_named() -> None:
    had = want().facts
    assert differences(had, want().facts) == []
    assert differences(had, want(memory="1g", environ=("A=1",)).facts) == ["environment variables", "memory"]


def test_an_owner_in_the_spec_is_over_the_caller() -> None:
    assert want().user == (1234, 50)
    assert want({"owner": [1, 2]}).user is None


def test_other_images_are_refused() -> None:
    with pytest.raises(UsageError, match="not a development image"):
        runtime_of({}, "alpine")


# -- ports -------------------------------------------------------------------------------------


def chosen(wanted: Wanted, *, bridged: bool) -> tuple[ports.Port, ...]:
    with ports.Claims() as claims:
        return ports.choose(wanted, claims, bridged=bridged)


def test_ports_are_published_or_shared() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        made = want({"jupyter": [port, ""], "expose": [[7001, None, "web", ""]]})
        ssh, jupyter, web = chosen(made, bridged=True)
        assert (ssh.service, ssh.container) == ("ssh", 2222)
        # Jupyter's port is taken: another one of the host's leads to it
        assert jupyter.container == port and jupyter.host not in (port, ssh.host)
        assert (web.container, web.listen, web.address) == (7001, "127.0.0.1", "127.0.0.1")
        ssh, jupyter, web = chosen(made, bridged=False)
        assert all(p.container == p.host for p in (ssh, jupyter, web))
        fixed = want({"expose": [[7001, port, "web", ""]]})
        assert fixed.exposed == (Exposed("web", 7001, port, "127.0.0.1"),)
        with pytest.raises(DockerError, match=f"port {port} of 127.0.0.1"):
            chosen(fixed, bridged=True)
    assert chosen(fixed, bridged=True)[1].host == port


def test_an_address_of_another_machine() -> None:
    with pytest.raises(DockerError, match=r"192\.0\.2\.1"):
        chosen(want(host="192.0.2.1"), bridged=True)


def test_what_another_envd_is_about_to_listen_on_is_not_chosen() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = want({"jupyter": [port, ""]})
    with ports.Claims() as others:
        assert ports.choose(made, others, bridged=False)[1].host == port
        assert chosen(made, bridged=False)[1].host != port
        fixed = want({"expose": [[7001, port, "web", ""]]})
        with pytest.raises(DockerError, match=f"port {port} of 127.0.0.1"):
            chosen(fixed, bridged=True)
    assert chosen(made, bridged=False)[1].host == port


def test_one_port_at_two_addresses() -> None:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port = probe.getsockname()[1]
    rows = [[7001, port, "web", "127.0.0.1"], [7001, port, "web", "127.0.0.2"]]
    assert [p.host for p in chosen(want({"expose": rows}), bridged=True)[1:]] == [port, port]


# -- keys and the ssh config -------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def entry(name: str, port: int = 22) -> ssh_config.Entry:
    return ssh_config.Entry(name, "127.0.0.1", port, Path("/keys/100% mine"), "ssh-ed25519 AAAA")


def test_a_key_pair_is_made_once(home: Path) -> None:
    made = keys(None, None)
    assert made.private.stat().st_mode & 0o777 == 0o600
    assert made.private.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert made.public[0].startswith("ssh-ed25519 AAAA")
    assert keys(None, None) == made
    (home / ".ssh").mkdir()
    (home / ".ssh/id_rsa.pub").write_text("ssh-rsa BBBB me\n")
    assert keys(None, None).public == (made.public[0], "ssh-rsa BBBB me")
    # a pair that is named is the only one
    assert keys(str(made.private), None).public == made.public
    for private, public in (("/none", None), (None, "/none.pub"), (str(made.private),) * 2):
        with pytest.raises(UsageError):
            keys(private, public)


@pytest.mark.parametrize(
    "before",
    [
        None,
        "",
        "\n",
        "Port 22",
        "User me\r\n\r\nHost *\r\n  Port 1\r\n",
        "# >>> other >>>\nHost a.envd\n  Port 9\n# <<< other <<<\n",
        "# caf\udce9\n",
    ],
)
def test_the_config_is_as_before_when_all_are_gone(home: Path, before: str | None) -> None:
    file = home / ".ssh/config"
    if before is not None:
        file.parent.mkdir()
        file.write_bytes(before.encode("utf-8", "surrogateescape"))
        file.chmod(0o640)
    for name, port in (("b", 1), ("a", 2), ("b", 3)):
        ssh_config.add(entry(name, port))
    text = file.read_bytes().decode("utf-8", "surrogateescape")
    assert text.endswith(before or "")
    assert text.index("Host a.envd\n") < text.index("Host b.envd\n") < text.index("\nHost *\n")
    assert "Port 3\n" in text and "Port 1\n" not in text
    assert '"/keys/100%% mine"' in text
    assert file.stat().st_mode & 0o777 == (0o600 if before is None else 0o640)
    assert ssh_config.known_hosts().read_text().count("\n") == 2
    assert ssh_config.remove("a") and not ssh_config.remove("a")
    assert "a.envd\n  HostName" not in file.read_text("utf-8", "surrogateescape")
    assert ssh_config.remove("b")
    assert not ssh_config.known_hosts().exists()
    if before is None:
        assert not file.exists()
    else:
        assert file.read_bytes() == before.encode("utf-8", "surrogateescape")
        assert file.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(home: Path) -> None:
    (home / ".ssh").mkdir()
    (home / "dotfiles").write_text("Host x\n")
    (home / ".ssh/config").symlink_to("../dotfiles")
    ssh_config.add(entry("a"))
    assert (home / ".ssh/config").is_symlink() and "a.envd" in (home / "dotfiles").read_text()
