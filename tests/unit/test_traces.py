"""What is taken out of a layer after dpkg or a user's commands ran, and what never is touched."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from engine.ecosystems.debian import debs
from engine.ecosystems.debian import first_start as firststart
from engine.realise import confined, traces

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\n" + "b3BlbnNzaC1rZXk=\n" * 8
DAY = 19723  # 2024-01-01


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    tree = tmp_path / "upper"
    (tree / "etc").mkdir(parents=True)
    return tree


def put(upper: Path, name: str, content: str | bytes = "x") -> Path:
    path = upper / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def whiteout(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, stat.S_IFCHR, 0)


def clean(upper: Path, *, by_user: bool = False) -> list[str]:
    said: list[str] = []
    debs.clean(upper, said.append, by_user=by_user)
    return said


def test_keys_and_databases_are_left_to_the_first_start(upper: Path) -> None:
    gone = [
        put(upper, name, KEY)
        for name in (
            "etc/ssh/ssh_host_rsa_key",
            "etc/ssh/ssh_host_rsa_key.pub",
            "etc/munge/munge.key",
            "etc/ssl/private/ssl-cert-snakeoil.key",
            "etc/ssl/certs/ssl-cert-snakeoil.pem",
            "var/lib/mysql/ibdata1",
            "var/lib/postgresql/15/main/PG_VERSION",
            "etc/aliases.db",
        )
    ]
    link = upper / "etc/ssl/certs/961bfbf7.0"
    link.symlink_to("ssl-cert-snakeoil.pem")
    put(upper, "etc/postgresql/15/main/postgresql.conf", "settings")
    said = clean(upper)
    assert not [p for p in (*gone, link) if os.path.lexists(p)]
    assert (upper / "var/lib/mysql").is_dir()
    assert (upper / "etc/postgresql/15/main/postgresql.conf").read_text() == "settings"
    assert [line for line in said if "host keys of OpenSSH" in line and "MariaDB" in line]
    recipes = {p.name for p in (upper / firststart.RECIPES[1:]).iterdir()}
    assert recipes == {"10-snakeoil", "20-munge", "20-postfix", "20-ssh", "30-mariadb", "30-postgresql"}
    assert (upper / firststart.SCRIPT[1:]).stat().st_mode & 0o777 == 0o755


def test_what_the_user_made_stays_but_for_identities(upper: Path) -> None:
    data = put(upper, "var/lib/postgresql/15/main/PG_VERSION", "15")
    log = put(upper, "var/log/mine", "said")
    own = put(upper, "srv/own.key", KEY)
    key = put(upper, "etc/ssh/ssh_host_rsa_key", KEY)
    said = clean(upper, by_user=True)
    assert data.read_text() == "15" and log.read_text() == "said" and own.read_text() == KEY
    assert not key.exists()
    assert "warning: /srv/own.key is a private key: whoever has the image has it" in said


def test_unknown_private_keys_of_maintainer_scripts_are_left_out(upper: Path) -> None:
    made, brought = put(upper, "etc/thing/server.key", KEY), put(upper, "usr/lib/thing/test.pem", KEY)
    put(upper, "var/lib/dpkg/info/thing.list", "/.\n/lib\n/lib/thing\n/lib/thing/test.pem\n")
    said = clean(upper)
    assert not made.exists() and brought.exists()
    assert [line for line in said if line.startswith("warning: /etc/thing/server.key is left out")]


def test_a_package_asks_for_its_recipe_even_when_it_made_nothing(upper: Path) -> None:
    put(upper, "var/lib/dpkg/info/openssh-server.list", "/.\n")
    assert clean(upper) == []
    assert (upper / firststart.RECIPES[1:] / "20-ssh").exists()
    debs.clean(upper, print, packages=["munge"])
    assert (upper / firststart.RECIPES[1:] / "20-munge").exists()
    assert firststart.wanted(["tree", "postgresql-15"])
    assert not firststart.wanted(["tree", "postgresql-client-15", "mariadb-client", "libdbus-1-3"])


def test_nothing_of_the_host_is_reached_through_links(upper: Path, tmp_path: Path) -> None:
    host = tmp_path / "host"
    kept = [put(host, n) for n in ("machine-id", "apt/history.log", "ssh_host_rsa_key", "shadow")]
    (upper / "etc/machine-id").symlink_to(host / "machine-id")
    (upper / "etc/shadow").symlink_to(host / "shadow")
    (upper / "etc/ssh").symlink_to(host)
    (upper / "etc/envd").symlink_to(host)
    (upper / "var").mkdir()
    (upper / "var/log").symlink_to(host)
    clean(upper)
    assert [p.read_text() for p in kept] == ["x"] * 4
    assert sorted(p.name for p in host.iterdir()) == ["apt", "machine-id", "shadow", "ssh_host_rsa_key"]


def test_whiteouts_stay(upper: Path) -> None:
    for name in ("etc/ssh/ssh_host_rsa_key", "var/log/dpkg.log", "etc/machine-id"):
        whiteout(upper / name)
    clean(upper, by_user=True)
    for name in ("etc/ssh/ssh_host_rsa_key", "var/log/dpkg.log", "etc/machine-id"):
        assert stat.S_ISCHR((upper / name).lstat().st_mode)


def test_days_logs_and_ids(upper: Path) -> None:
    shadow = put(upper, "etc/shadow", f"root:*:{DAY + 900}:0:99999:7:::\nold:!:{DAY - 9}::::::\nx:y::\n")
    log, identity = put(upper, "var/log/thing/a.log"), put(upper, "etc/machine-id", "0" * 32)
    clean(upper)
    assert shadow.read_text() == f"root:*:{DAY}:0:99999:7:::\nold:!:{DAY - 9}::::::\nx:y::\n"
    assert log.read_bytes() == identity.read_bytes() == b""


def test_settings_of_git_lfs_have_one_order(upper: Path) -> None:
    path = upper / "etc/gitconfig"
    first = '[user]\n\tname = b\n\temail = a\n[filter "lfs"]\n\tsmudge = s\n\tclean = c\n[x]\n\ty = 1\n'
    put(upper, "etc/gitconfig", first)
    traces.clear(upper, logs=False)
    written, sorted_ = "\tsmudge = s\n\tclean = c\n", "\tclean = c\n\tsmudge = s\n"
    assert path.read_text() == first.replace(written, sorted_)


def test_popularity_contest(upper: Path) -> None:
    conf = put(upper, "etc/popularity-contest.conf", 'MY_HOSTID="5c77"\nUSEHTTP="yes"\nDAY="3"\n')
    cron = put(upper, "etc/cron.d/popularity-contest", "# daily\n17 5 * * *   root   true 17 5 x\n")
    traces.clear(upper, logs=False)
    assert conf.read_text() == 'USEHTTP="yes"\n'
    assert cron.read_text() == "# daily\n0 6 * * *   root   true 17 5 x\n"


def test_what_tex_and_octave_write(upper: Path) -> None:
    names = put(upper, "var/lib/texmf/ls-R", "% ls-R\n\n./:\n.:\nb\na\n\n./z:\nd\n\n./c:\nf\ne\n")
    octave = put(
        upper,
        "usr/share/octave/octave_packages",
        "# Created by Octave 7.3.0, Wed Nov 25 02:21:44 2026 UTC <root@envd>\n# name: x\n",
    )
    gone = put(upper, "var/lib/texmf/web2c/luahbtex/lualatex.fmt")
    traces.clear(upper, logs=False)
    assert names.read_text() == "% ls-R\n\n./:\n.:\na\nb\n\n./c:\ne\nf\n\n./z:\nd\n"
    assert octave.read_text() == "# Created by Octave 7.3.0\n# name: x\n"
    assert not gone.exists()


def keystore(entries: list[tuple[str, int]], password: str = "changeit") -> bytes:
    body = struct.pack(">III", 0xFEEDFEED, 2, len(entries))
    for alias, when in entries:
        name = alias.encode()
        certificate = b"certificate of " + name
        body += struct.pack(">IH", 2, len(name)) + name + struct.pack(">QH", when, 5) + b"X.509"
        body += struct.pack(">I", len(certificate)) + certificate
    return body + hashlib.sha1(password.encode("utf-16-be") + b"Mighty Aphrodite" + body).digest()


def test_java_keystores_have_one_time_and_order(upper: Path) -> None:
    path = put(upper, "etc/ssl/certs/java/cacerts", keystore([("b", 5), ("a", 17)]))
    traces.clear(upper, logs=False)
    when = 1704067200000
    assert path.read_bytes() == keystore([("a", when), ("b", when)])
    for other in (keystore([("b", 5)], "secret"), b"x" * 40, b""):
        path.write_bytes(other)
        traces.clear(upper, logs=False)
        assert path.read_bytes() == other


@pytest.mark.parametrize("recipe", firststart.RECIPES_BY_ORDER, ids=lambda r: r.name)
def test_recipes_are_shell_and_end_at_once_for_other_services(
    recipe: firststart.Recipe, tmp_path: Path
) -> None:
    script = tmp_path / "recipe"
    script.write_text(recipe.text)
    subprocess.run(["sh", "-n", str(script)], check=True)
    if recipe.services:
        subprocess.run(["/bin/sh", "-e", str(script), "another"], check=True, env={"PATH": "/nothing"})


def test_patterns(upper: Path) -> None:
    for name in ("a/b.1", "a/b.2", "a/c", "d/b.3"):
        put(upper, name)
    whiteout(upper / "a/b.4")
    (upper / "e").symlink_to("a")
    found = confined.find(upper, "*/b.[0-9]", whiteouts=False)
    assert found == ["a/b.1", "a/b.2", "d/b.3"]
