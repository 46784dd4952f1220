"""Registry images as bases and as sources of files, with a real registry and real images.

The images are our own: a Debian, in OCI's form and in Docker's schema 2; one with a Python of its
own below /usr/local, as Docker's python images have it; and one without any distribution.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration import servers, tokens, web
from tests.integration.envd import Envd
from tests.integration.scratch import push_scratch, scratch_image, skopeo

ORIGINAL = """
def build():
    base(os="debian12", language="python3")
    run(["echo original > /etc/original", "chown 7:8 /etc/original", "rm /etc/issue.net",
         "mkdir /srv/tree", "echo 1 > /srv/tree/one", "ln -s one /srv/tree/link"])
    run(["rm /srv/tree/one", "echo 2 > /srv/tree/two"])
    runtime.environ(env={"FLAVOUR": "plum"})
    config.entrypoint(["/bin/sh", "-c", "echo hello"])
"""
# Docker's python images have an interpreter below /usr/local that looks into site-packages. This
# one is Debian's, whose built-in site module insists on another name: hence the link.
PYTHON = """
def build():
    base(os="debian12", language="python3")
    run([
        "cp /usr/bin/python3.11 /usr/local/bin/",
        "ln -s python3.11 /usr/local/bin/python3",
        "ln -sf python3 /usr/local/bin/python",
        "rm -rf /usr/local/lib/python3.11",
        "cp -r /usr/lib/python3.11 /usr/local/lib/python3.11",
        "mkdir /usr/local/lib/python3.11/site-packages",
        "ln -s site-packages /usr/local/lib/python3.11/dist-packages",
    ])
"""


@dataclass(frozen=True)
class Images:
    """A registry with images in it."""

    server: servers.RegistryServer

    @property
    def registry(self) -> str:
        return self.server.address

    def copy(self, source: str, target: str, *options: str) -> None:
        skopeo(
            "copy",
            "-q",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            *options,
            source,
            f"docker://{self.registry}/{target}",
        )


@pytest.fixture(scope="module")
def images(
    shared_store: Path, tmp_path_factory: pytest.TempPathFactory, registry_server: servers.RegistryServer
) -> Images:
    directory = tmp_path_factory.mktemp("images")
    found = Images(registry_server)
    registry = found.registry
    for name, spec in (("original", ORIGINAL), ("python", PYTHON)):
        envd = Envd(shared_store, directory / name)
        envd.spec(spec)
        envd.run("push", f"{registry}/sources/{name}:1")
    original = f"docker://{registry}/sources/original:1"
    found.copy(original, "sources/docker:1", "--format", "v2s2")
    found.copy(original, "library/short:1")
    for number in (1, 2):
        nothing = scratch_image(directory / str(number), {"hello": b"hello %d\n" % number})
        found.copy(f"docker-archive:{nothing}", f"sources/scratch:{number}")
    return found


def config_of(layout: Path) -> dict[str, object]:
    inspected = json.loads(skopeo("inspect", "--config", f"oci:{layout}"))
    return dict(inspected["config"])


def run_in(root: Path, *argv: str) -> str:
    done = subprocess.run(["chroot", str(root), *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_packages_upon_an_image(shared_store: Path, tmp_path: Path, images: Images) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(
        f"""
def build():
    base(image="{images.registry}/sources/docker:1", language="python3")
    install.apt_packages(["tree"])
    install.python_packages(["six==1.16.0"])
    runtime.environ(env={{"OURS": "1"}})
    runtime.expose(envd_port=8000)
"""
    )
    root = envd.unpacked(tmp_path)
    assert "tree" in run_in(root, "/usr/bin/tree", "--version")
    assert (
        run_in(root, "/usr/bin/python3", "-c", "import six; print(six.__file__)")
        == "/usr/local/lib/python3.11/dist-packages/six.py\n"
    )
    assert (root / "etc/original").read_text() == "original\n"
    assert (root / "etc/original").stat().st_uid == 7
    assert not (root / "etc/issue.net").exists()

    config = config_of(tmp_path / "layout")
    assert {"FLAVOUR=plum", "OURS=1"} <= set(config["Env"])  # type: ignore[call-overload]
    assert config["Entrypoint"] == ["/bin/sh", "-c", "echo hello"]
    assert config["ExposedPorts"] == {"8000/tcp": {}}
    labels = config["Labels"]
    assert isinstance(labels, dict)
    assert labels["org.opencontainers.image.base.name"] == f"{images.registry}/sources/docker:1"

    # the image's own layers are in ours as the registry has them
    theirs = json.loads(
        skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{images.registry}/sources/docker:1")
    )
    digest = json.loads((tmp_path / "layout/index.json").read_text())["manifests"][0]["digest"]
    ours = json.loads((tmp_path / f"layout/blobs/{digest.replace(':', '/')}").read_text())
    count = len(theirs["layers"])
    assert [x["digest"] for x in ours["layers"]][:count] == [x["digest"] for x in theirs["layers"]]
    assert {x["mediaType"] for x in ours["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    # and so they are not sent again
    before = len(images.server.requests())
    pushed = envd.run("push", f"{images.registry}/sources/docker:ours").stdout
    assert pushed.rpartition("@")[2] == digest
    uploads = [r[1] for r in images.server.requests()[before:] if r[0] == "PUT"]
    assert uploads
    assert not [u for u in uploads if any(x["digest"][7:] in u for x in theirs["layers"])]


def test_a_python_of_the_images_own(shared_store: Path, tmp_path: Path, images: Images) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(
        f"""
def build():
    base(image="{images.registry}/sources/python:1")
    install.python_packages(["markupsafe==2.1.5", "docopt==0.6.2"])
"""
    )
    root = envd.unpacked(tmp_path)
    found = run_in(
        root,
        "/usr/local/bin/python3",
        "-c",
        "import markupsafe, docopt; print(markupsafe.__version__, docopt.__version__)",
    )
    assert found == "2.1.5 0.6.2\n"
    site = root / "usr/local/lib/python3.11/site-packages"
    assert (site / "markupsafe/_speedups.cpython-311-x86_64-linux-gnu.so").exists()
    assert (site / "docopt.py").exists()
    assert (root / "usr/local/bin/pip").read_text().startswith("#!/usr/local/bin/python3.11\n")


def test_a_tag_that_moves_moves_the_lock_only_when_asked(
    shared_store: Path, tmp_path: Path, images: Images
) -> None:
    images.copy(f"docker://{images.registry}/sources/scratch:1", "sources/moving:1")
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(f'def build():\n    base(image="{images.registry}/sources/moving:1")\n')
    first = envd.run("build", "--no-load").stdout
    before = (envd.project / "envd.lock").read_text()
    assert f'image = "{images.registry}/sources/moving:1"' in before
    images.copy(f"docker://{images.registry}/sources/scratch:2", "sources/moving:1")
    assert envd.run("build", "--no-load").stdout == first
    assert (envd.project / "envd.lock").read_text() == before
    # another section is resolved: the image stays where it was
    envd.spec(
        f'def build():\n    base(image="{images.registry}/sources/moving:1")\n'
        f'    io.copy("hello", "/moved", image="{images.registry}/sources/moving:1")\n'
        '    config.apt_source("deb http://127.0.0.1:9 suite main")\n'
    )
    envd.run("lock")
    assert "[[images]]" in (envd.project / "envd.lock").read_text()
    digest = next(x for x in before.splitlines() if x.startswith("digest = "))
    assert digest in (envd.project / "envd.lock").read_text()
    envd.spec(f'def build():\n    base(image="{images.registry}/sources/moving:1")\n')
    envd.run("lock", "--update")
    assert digest not in (envd.project / "envd.lock").read_text()
    # images of no distribution, without a shell: they are built all the same
    done = envd.run("build", "-o", f"oci-dir:{tmp_path}/layout")
    assert done.stdout != first
    assert config_of(tmp_path / "layout")["Cmd"] == ["/hello"]
    assert "SHELL=" not in str(config_of(tmp_path / "layout")["Env"])


def test_what_needs_apt_says_so_where_there_is_none(
    shared_store: Path, tmp_path: Path, images: Images
) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    reference = f"{images.registry}/sources/scratch:1"
    envd.spec(f'def build():\n    base(image="{reference}")\n    install.apt_packages(["tree"])\n')
    done = envd.run("lock", check=False)
    assert done.code == 1
    assert "build.envd:3:" in done.stderr and "has no apt" in done.stderr
    envd.spec(f'def build():\n    base(image="{reference}", language="python3")\n')
    done = envd.run("lock", check=False)
    assert done.code == 1 and "cannot add python3" in done.stderr
    assert [p.name for p in envd.project.iterdir()] == ["build.envd"]


def test_wheels_for_another_c_library(shared_store: Path, tmp_path: Path, registry: str) -> None:
    """An image as Alpine's are, made of the files that tell: musl says its version in a string."""
    files = {
        "lib/ld-musl-x86_64.so.1": b"\x7fELF\0musl libc (x86_64)\nVersion %s\n\0" + b"1.2.3\0",
        "usr/local/bin/python3.12": b"\x7fELF",
        "usr/local/bin/python3": b"\x7fELF",
        "usr/local/lib/python3.12/os.py": b"",
        "etc/os-release": b'ID=alpine\nVERSION_ID=3.20.1\nPRETTY_NAME="Alpine Linux v3.20"\n',
    }
    push_scratch(tmp_path / "image", f"{registry}/sources/musl:1", files)
    envd = Envd(shared_store, tmp_path / "p")
    spec = f'def build():\n    base(image="{registry}/sources/musl:1")\n'
    envd.spec(f'{spec}    install.python_packages(["markupsafe==3.0.2"])\n')
    envd.run("lock")
    lock = (envd.project / "envd.lock").read_text()
    assert "MarkupSafe-3.0.2-cp312-cp312-musllinux_1_2_x86_64.whl" in lock
    assert 'musl = "1.2"' in lock and 'prefix = "/usr/local"' in lock
    root = envd.unpacked(tmp_path)
    site = root / "usr/local/lib/python3.12/site-packages"
    assert (site / "markupsafe/_speedups.cpython-312-x86_64-linux-musl.so").exists()
    envd.spec(f'{spec}    install.conda_packages(["zlib"])\n')
    done = envd.run("lock", check=False)
    assert done.code == 1 and "build.envd:3:" in done.stderr and "has musl" in done.stderr


def test_mirrors_and_short_names(shared_store: Path, tmp_path: Path, images: Images) -> None:
    mirrors = f"ghcr.io=http://127.0.0.1:9,docker.io=http://{images.registry}"
    envd = Envd(shared_store, tmp_path / "p", {"ENVD_REGISTRY_MIRRORS": mirrors})
    envd.spec('def build():\n    base(image="short:1")\n')
    image = envd.run("build", "--no-load").stdout
    lock = (envd.project / "envd.lock").read_text()
    assert 'image = "docker.io/library/short:1"' in lock
    assert 'url = "oci://docker.io/library/short"' in lock
    assert images.registry not in lock
    # another store has to fetch the layers: from the mirror too
    fresh = Envd(tmp_path / "store", envd.project, envd.environment)
    assert fresh.run("build", "--no-load", "--locked").stdout == image
    wrong = Envd(shared_store, tmp_path / "p", {"ENVD_REGISTRY_MIRRORS": "docker.io"})
    done = wrong.run("lock", "--update", check=False)
    assert done.code == 1 and "ENVD_REGISTRY_MIRRORS: 'docker.io' is not REGISTRY=URL" in done.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("{registry}/sources/original:none", "has no image {registry}/sources/original:none"),
        ("{registry}/sources/nothing:1", "has no image"),
        ("{registry}/Sources:1", "is not a valid image name"),
        ("127.0.0.1:9/x/y:1", "cannot reach the registry 127.0.0.1:9"),
    ],
)
def test_images_that_are_not_there(
    shared_store: Path, tmp_path: Path, images: Images, name: str, says: str
) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    name = name.format(registry=images.registry)
    envd.spec(f'def build():\n    base(image="{name}")\n')
    done = envd.run("lock", check=False)
    assert (done.code, "Traceback" in done.stderr) == (1, False)
    assert "build.envd:2:" in done.stderr
    assert says.format(registry=images.registry) in done.stderr
    assert [p.name for p in envd.project.iterdir()] == ["build.envd"]


def test_a_registry_that_wants_a_login(
    shared_store: Path, tmp_path: Path, images: Images, registry_auth: servers.RegistryServer
) -> None:
    skopeo(
        "copy",
        "-q",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--dest-creds",
        f"{servers.USER}:{servers.PASSWORD}",
        f"docker://{images.registry}/sources/scratch:1",
        f"docker://{registry_auth.address}/private/image:1",
    )
    envd = Envd(tmp_path / "store", tmp_path / "p", {"DOCKER_CONFIG": str(tmp_path)})
    envd.spec(f'def build():\n    base(image="{registry_auth.address}/private/image:1")\n')
    refused = envd.run("build", "--no-load", check=False)
    assert refused.code == 1
    assert f"docker login {registry_auth.address}" in refused.stderr
    login = base64.b64encode(f"{servers.USER}:{servers.PASSWORD}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry_auth.address: {"auth": login}}}))
    envd.run("build", "--no-load")
    # what came from there is mounted, not sent
    before = len(registry_auth.requests())
    envd.run("push", f"{registry_auth.address}/other/image:1")
    mounts = [r for r in registry_auth.requests()[before:] if "from=private" in r[1]]
    assert [(method, status) for method, _, status in mounts] == [("POST", 201)]


def test_a_registry_that_wants_tokens(shared_store: Path, tmp_path: Path) -> None:
    with tokens.registry(tmp_path / "tokens") as server:
        archive = scratch_image(tmp_path / "image", {"hello": b"hello\n"})
        for name in ("public/image:1", "private/image:1"):
            skopeo(
                "copy",
                "-q",
                "--dest-tls-verify=false",
                "--dest-creds",
                f"{servers.USER}:{servers.PASSWORD}",
                f"docker-archive:{archive}",
                f"docker://{server.address}/{name}",
            )
        envd = Envd(tmp_path / "store", tmp_path / "p", {"DOCKER_CONFIG": str(tmp_path)})
        spec = f'def build():\n    base(image="{server.address}/NAME/image:1")\n'
        envd.spec(spec.replace("NAME", "public"))
        image = envd.run("build", "--no-load").stdout
        envd.spec(spec.replace("NAME", "private"))
        refused = envd.run("lock", check=False)
        assert refused.code == 1 and f"docker login {server.address}" in refused.stderr
        login = base64.b64encode(f"{servers.USER}:{servers.PASSWORD}".encode()).decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {server.address: {"auth": login}}}))
        assert envd.run("build", "--no-load").stdout != image  # its label is another
        pushed = envd.run("push", f"{server.address}/private/ours:1", "--progress=json")
        # the base's layer is in another repository there, which the token is for, too
        assert "1 mounted" in pushed.stderr


def test_files_of_another_image_and_of_the_web(shared_store: Path, tmp_path: Path, images: Images) -> None:
    """Upon an image without anything, so that the copies are all that is there."""
    site = tmp_path / "web"
    for directory in (site, tmp_path / "first", tmp_path / "second"):
        directory.mkdir()
    (site / "data.bin").write_bytes(b"first")
    envd = Envd(shared_store, tmp_path / "p")
    original = f"{images.registry}/sources/original:1"
    with web.serve(site) as server:
        text = f"""
def build():
    base(image="{images.registry}/sources/scratch:1")
    io.copy("/srv/tree", "/copied", image="{original}")
    io.copy("etc/original", "/etc/", image="{original}")
    io.copy("/bin/sh", "/shell", image="{original}")
    io.http("{server.url}/data.bin")
    io.http("{server.url}/data.bin", filename="again",
            checksum="{hashlib.sha256(b"first").hexdigest()}")
"""
        envd.spec(text)
        root = envd.unpacked(tmp_path / "first")
        assert len(server.asked) == 1  # the checksum's file was there by then
        (site / "data.bin").write_bytes(b"second")
        assert "[[files]]" in (envd.project / "envd.lock").read_text()
        assert envd.run("build", "--progress=json", "--no-load").names("start") == []
        # one more file moves no other
        envd.spec(f'{text}    io.http("{server.url}/data.bin", filename="new")\n')
        both = envd.unpacked(tmp_path / "second")
        envd.spec(f'{text}    io.http("{server.url}/data.bin", "sha256:{"0" * 64}", "wrong")\n')
        wrong = envd.run("lock", check=False)
        envd.spec(f'{text}    io.http("{server.url}/none")\n')
        missing = envd.run("lock", check=False)
    # a file that went is fetched no more, but its source is named when it is wanted
    extra = root / "home/envd/extra_source"
    assert sorted(p.name for p in extra.iterdir()) == ["again", "data.bin"]
    assert (both / "home/envd/extra_source/data.bin").read_bytes() == b"first"
    assert (both / "home/envd/extra_source/new").read_bytes() == b"second"
    assert wrong.code == 1 and "build.envd:10:" in wrong.stderr
    assert f"has the checksum sha256:{hashlib.sha256(b'second').hexdigest()}" in wrong.stderr
    assert missing.code == 1 and "HTTP status 404" in missing.stderr

    assert sorted(p.name for p in (root / "copied").iterdir()) == ["link", "two"]
    assert (root / "copied/link").readlink() == Path("one")  # dangling, as it is there
    assert (root / "etc/original").read_text() == "original\n"
    assert ((root / "etc/original").stat().st_uid, (root / "etc/original").stat().st_gid) == (7, 8)
    assert (root / "shell").read_bytes()[:4] == b"\x7fELF" and not (root / "shell").is_symlink()
    assert (root / "hello").exists()

    envd.spec(
        f'def build():\n    base(image="{images.registry}/sources/scratch:1")\n'
        f'    io.copy("/srv/tree/one", "/x", image="{original}")\n'
    )
    gone = envd.run("build", "--no-load", check=False)
    assert gone.code == 1 and "the image has no /srv/tree/one" in gone.stderr


def test_an_ordinary_user_gets_the_same_image(
    shared_store: Path, tmp_path: Path, images: Images, ordinary_user: str, readable_copy: Path
) -> None:
    """The image's layers are unpacked in a user namespace then. One of them is put upon it again:
    the image has this very pip already."""
    root = Envd(shared_store, tmp_path / "p")
    root.spec(
        f"""
def build():
    base(image="{images.registry}/sources/original:1", language="python3")
    io.copy("/srv/tree", "/copied", image="{images.registry}/sources/docker:1")
    run(["cat /etc/original > /x", "chown 7:7 /x", "mkdir -m 3777 /drop", "chown 7:7 /drop"])
    io.copy("/srv/tree", "/drop", image="{images.registry}/sources/docker:1")
    io.copy("/etc/original", "/bin/original", image="{images.registry}/sources/docker:1")
"""
    )
    root.run("build", "-o", f"oci:{tmp_path}/root.tar")
    home = Path(f"~{ordinary_user}").expanduser()
    project = home / "p"
    shutil.copytree(root.project, project)
    subprocess.run(["chown", "-R", f"{ordinary_user}:", str(home)], check=True)
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
            f"ENVD_STORE={home}/store",
            f"PYTHONPATH={readable_copy}:{readable_copy}/site-packages",
            *(f"{k}={v}" for k, v in os.environ.items() if k.endswith(("CERT_FILE", "_proxy"))),
            "sh",
            "-c",
            f"umask 077; cd {project} && exec {Path(sys.executable).resolve()} -m "
            f"engine.cli.main build --locked -o oci:{home}/user.tar",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert (home / "user.tar").read_bytes() == (tmp_path / "root.tar").read_bytes()
