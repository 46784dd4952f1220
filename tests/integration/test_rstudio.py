"""An RStudio server: its .deb pinned, its dependencies from the archive, supervised on its port."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
import tomllib
from pathlib import Path

from tests.integration import servers, web
from tests.integration.envd import Envd, docker

SPEC = """
def build():
    base(os="debian12", language="r")
    config.rstudio_server()
"""
# Stands in for the real one, whose host cannot be reached: it takes the same options, and needs a
# program of another package to answer.
_RSERVER = """\
#!/bin/sh
for option; do
    case $option in
        --www-port=*) port=${option#*=} ;;
        --www-address=*) address=${option#*=} ;;
        --server-daemonize=0) foreground=1 ;;
        --database-config-file=*) [ -r "${option#*=}" ] || exit 3 ;;
        --auth-pam-helper-path=/*) helper=${option#*=} ;;
        --server-user=?*) user=${option#*=} ;;
        --auth-none=0|--server-data-dir=/*|--secure-cookie-key-file=/*) ;;
        *) echo "rserver: unknown option $option" >&2; exit 2 ;;
    esac
done
[ "$foreground" ] || exit 4
# It asks the helper: the user's name as an argument, the password on standard input.
[ "$(id -un)" = "$user" ] || exit 5
mkdir -p /tmp/www/cgi-bin && R --version >/tmp/www/index.html
cat >/tmp/www/cgi-bin/login <<END
#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
head -c "\\$CONTENT_LENGTH" | "$helper" "\\$QUERY_STRING" rstudio 0 && echo welcome || echo no
END
chmod 755 /tmp/www/cgi-bin/login
exec busybox httpd -f -p "$address:$port" -h /tmp/www
"""
_CONTROL = """\
Package: {name}
Version: 2024.12.1+563
Architecture: amd64
Maintainer: Tests <tests@example.org>
Depends: libc6 (>= 2.7), no-such-package | busybox, psmisc
Description: stands in for RStudio Server
"""


def make_deb(directory: Path, name: str = "rstudio-server") -> Path:
    """A real .deb in the shape of RStudio Server's."""
    tree = directory / name
    program = tree / "usr/lib/rstudio-server/bin/rserver"
    program.parent.mkdir(parents=True)
    program.write_text(_RSERVER)
    program.chmod(0o755)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(_CONTROL.format(name=name))
    script = tree / "DEBIAN/postinst"
    script.write_text("#!/bin/sh\nset -e\nuseradd -r rstudio-server\n")
    script.chmod(0o755)
    made = directory / f"{name}-latest-amd64.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(made)], check=True, capture_output=True
    )
    return made


def test_it_answers_on_its_port(shared_store: Path, tmp_path: Path, docker_engine: str) -> None:
    deb = make_deb(tmp_path)
    with web.serve(tmp_path) as served:
        envd = Envd(
            shared_store,
            tmp_path / "p",
            {"ENVD_RSTUDIO_SERVER_DEB": f"{served.url}/{deb.name}", "DOCKER_HOST": docker_engine},
        )
        envd.spec(SPEC)
        image = envd.run("build").stdout
    lock = tomllib.loads((envd.project / "envd.lock").read_text())
    (row,) = lock["rstudio"]
    assert row["version"] == "2024.12.1+563"
    assert row["sha256"] == hashlib.sha256(deb.read_bytes()).hexdigest()
    # what it depends on, with the alternative that the archive has; itself it is in no archive
    names = {package["name"] for package in lock["apt"]}
    assert {"busybox", "psmisc", "s6", "r-base-core"} <= names
    assert "rstudio-server" not in names
    config = json.loads(docker("inspect", "-f", "{{json .Config}}", image, host=docker_engine))
    assert "8787/tcp" in config["ExposedPorts"]
    status = docker(
        "run",
        "--rm",
        "--network=none",
        image,
        "dpkg-query",
        "-W",
        "-f",
        "${Status} ${Version}",
        "rstudio-server",
        host=docker_engine,
    )
    assert status == "install ok installed 2024.12.1+563"
    container = docker("run", "-d", "--network=none", image, host=docker_engine)
    try:
        end = time.monotonic() + servers.PATIENCE
        answer = ""
        while "R version 4.2" not in answer and time.monotonic() < end:
            time.sleep(0.2)
            answer = docker(
                "exec",
                container,
                "busybox",
                "wget",
                "-q",
                "-O-",
                "http://127.0.0.1:8787/",
                host=docker_engine,
                check=False,
            )
        logs = docker("logs", container, host=docker_engine)
        assert "R version 4.2" in answer, logs
        # a password of this container's own, in its log and nowhere else
        match = re.search(r"RStudio Server: port 8787, user root, password (\S+)", logs)
        assert match is not None and len(match[1]) == 24

        def login(user: str, password: str) -> str:
            return docker(
                "exec",
                container,
                "busybox",
                "wget",
                "-q",
                "-O-",
                f"--post-data={password}",
                f"http://127.0.0.1:8787/cgi-bin/login?{user}",
                host=docker_engine,
            )

        assert login("root", match[1]) == "welcome"
        assert [login("root", "wrong"), login("root", ""), login("envd", match[1])] == ["no"] * 3
        shown = docker("inspect", container, image, host=docker_engine)
        shown += docker(
            "exec",
            container,
            "sh",
            "-c",
            "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ",
            host=docker_engine,
            check=False,
        )
        assert match[1] not in shown and "--auth-none=1" not in shown
    finally:
        docker("rm", "-f", container, host=docker_engine)


def test_another_package_is_refused(shared_store: Path, tmp_path: Path) -> None:
    deb = make_deb(tmp_path, "something-else")
    with web.serve(tmp_path) as served:
        envd = Envd(shared_store, tmp_path / "p", {"ENVD_RSTUDIO_SERVER_DEB": f"{served.url}/{deb.name}"})
        envd.spec(SPEC)
        done = envd.run("lock", check=False)
        assert done.code == 1
        assert "build.envd:4:5:" in done.stderr
        assert "is something-else amd64, not rstudio-server" in done.stderr
        gone = Envd(shared_store, tmp_path / "p", {"ENVD_RSTUDIO_SERVER_DEB": f"{served.url}/no"})
        done = gone.run("lock", check=False)
        assert done.code == 1 and "HTTP status 404" in done.stderr
    assert not (envd.project / "envd.lock").exists()
