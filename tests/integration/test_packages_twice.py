"""Debian packages: built twice they give the same image, and what every machine has for itself is
made when a container starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.debian_packages import GROUPS
from tests.integration.envd import Envd, docker


def spec(packages: tuple[str, ...]) -> str:
    return f'def build():\n    base(os="debian12")\n    install.apt_packages({json.dumps(packages)})\n'


def build_twice(envd: Envd) -> None:
    """Build, build again with --force; fail with the files that differ."""
    first = envd.run("build", "--no-load").stdout
    again = envd.run("build", "--no-load", "--force", "--progress=json")
    said = [e["name"] + ": " + e.get("text", "") for e in again.events if e["kind"] == "message"]
    assert [line for line in said if "built again" in line] == [], "\n".join(said)
    assert again.stdout == first, "\n".join(said)


def test_two_hundred_packages_are_named() -> None:
    names = [name for group in GROUPS.values() for name in group]
    assert len(names) == len(set(names)) >= 200


@pytest.mark.parametrize(
    "group", [pytest.param(g, marks=pytest.mark.xdist_group(f"twice-{g}")) for g in sorted(GROUPS)]
)
def test_built_twice(shared_store: Path, tmp_path: Path, group: str) -> None:
    envd = Envd(shared_store, tmp_path / group)
    envd.spec(spec(GROUPS[group]))
    build_twice(envd)


@pytest.mark.xdist_group("debian11")
def test_an_old_python_is_compiled_alike(shared_store: Path, tmp_path: Path) -> None:
    """In the base and above it: Debian's scripts set PYTHONHASHSEED aside, which decides before 3.11."""
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(
        'def build():\n    base(os="debian11", language="python3")\n'
        '    install.apt_packages(["python3-distutils"])\n'
    )
    build_twice(envd)


def test_what_differs_is_named(shared_store: Path, tmp_path: Path) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    random = "/proc/sys/kernel/random/uuid"
    envd.spec(
        'def build():\n    base(os="debian12")\n'
        f'    run(["cp {random} /srv/id", "mkdir /srv/$(cut -c1-8 {random})", "echo 1 > /srv/same"])\n'
    )
    first = envd.run("build", "--no-load").stdout
    again = envd.run("build", "--no-load", "--force")
    assert again.stdout != first
    lines = [line.partition(": ")[2] for line in again.stderr.splitlines() if line[:4] == "run-"]
    at = next(n for n, line in enumerate(lines) if line.startswith("built again, it differs: was "))
    said = sorted(line[:4] + line.rpartition(":")[2] for line in lines[at + 1 :])
    assert said == ["srv/ added", "srv/ content", "srv/ removed"], lines
    assert "srv/id: content" in lines and "srv/same: content" not in lines


FIRST = """
set -eu
cd /
for file in /etc/ssh/ssh_host_ed25519_key /etc/munge/munge.key /etc/bind/rndc.key \\
    /etc/ssl/private/ssl-cert-snakeoil.key /etc/aliases.db /etc/xrdp/rsakeys.ini /etc/nvme/hostid \\
    /etc/iscsi/initiatorname.iscsi /etc/dropbear/dropbear_ed25519_host_key; do
    test -s "$file" || { echo "no $file"; exit 1; }
done
service postgresql start >&2
su postgres -c "psql -qtc 'show ssl'"
service mariadb start >&2
mysql -Ne "select 'mariadb'"
service munge start >&2
su munge -s /bin/sh -c 'munge -n | unmunge' | head -1
mkdir -p /run/sshd
/usr/sbin/sshd -p 2200
ssh-keyscan -T 120 -p 2200 127.0.0.1 2>/dev/null | wc -l
service slapd start >&2
slapcat -b cn=config | grep -c ^dn: >/dev/null && echo slapd
"""

LAZY = """
set -eu
cd /
ls /etc/ssh /var/lib/postgresql/15 /var/lib/mysql | grep -c -e host_ -e main -e ibdata || true
service ssh start >&2
service postgresql start >&2
su postgres -c "createdb mine && psql -qtc 'select 2' mine"
ls /etc/ssh /var/lib/mysql | grep -c -e ed25519_key.pub -e ibdata
"""


def test_first_start(shared_store: Path, tmp_path: Path, docker_engine: str) -> None:
    envd = Envd(shared_store, tmp_path / "servers", {"DOCKER_HOST": docker_engine})
    envd.spec(spec(GROUPS["servers"]))
    image = envd.run("build").stdout

    def run(*arguments: str) -> list[str]:
        return docker("run", "--rm", "--network=none", *arguments, host=docker_engine).split()

    # by the entry point: servers start by hand
    assert run(image, "sh", "-c", FIRST) == ["on", "mariadb", "STATUS:", "Success", "(0)", "3", "slapd"]
    # no two containers have the same keys
    keys = {tuple(run(image, "cat", "/etc/ssh/ssh_host_ed25519_key.pub")) for _ in range(2)}
    assert len(keys) == 2
    # without it: by an init script, what that one needs
    assert run("--entrypoint=sh", image, "-c", LAZY) == ["0", "2", "1"]
    # an ordinary user can make none of them, and gets the command all the same
    assert run("--user=1000", image, "id", "-u") == ["1000"]


def test_a_step_may_start_a_server_and_keeps_its_data_but_no_key(
    shared_store: Path, tmp_path: Path, docker_engine: str
) -> None:
    envd = Envd(shared_store, tmp_path / "servers", {"DOCKER_HOST": docker_engine})
    envd.spec(
        spec(GROUPS["servers"])
        + '    run(["service postgresql start", "su postgres -c \'cd / && createdb mine\'",'
        ' "service postgresql stop", "service ssh start && service ssh stop",'
        ' "openssl genrsa -out /srv/own.key 2048"])\n'
    )
    done = envd.run("build")
    assert "warning: /srv/own.key is a private key: whoever has the image has it" in done.stderr
    listed = docker(
        "run",
        "--rm",
        "--network=none",
        "--entrypoint=sh",
        done.stdout,
        "-c",
        "ls /etc/ssh | grep -c host_; service postgresql start >&2;"
        " su postgres -c \"cd / && psql -qtc 'select 3' mine\"",
        host=docker_engine,
    )
    assert listed.split() == ["0", "3"]
