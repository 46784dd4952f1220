"""io.copy: where files go, and what stays as it is below. As BuildKit's copy does it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

from tests.integration import servers
from tests.integration.envd import Envd
from tests.integration.scratch import skopeo
from tests.integration.specs import Specs

FILES = {"main.py": "print('main')\n", "src/a.txt": "a", "models/deep/m": "m", "conf/app.ini": "x"}

LIST = "find {} -printf '%y %m %U:%G %p %l\\n' | sed 's/ $//' | sort -k 4"


def test_where_copies_go(specs: Specs) -> None:
    image = specs.image(
        """
        def build():
            base()
            io.copy("main.py", "/")
            io.copy("main.py", "/root")
            io.copy("main.py", "/usr/local/bin")
            io.copy("main.py", "/opt/renamed.py")
            io.copy("main.py", "/opt/fresh/")
            io.copy("main.py", "~")
            io.copy("src", "/srv")
            io.copy("src", "/")
            io.copy("src", "/opt/renamed")
            io.copy("src", "/opt/slash/")
            io.copy("models", "models")
            io.copy("models/deep", "here/there")
            io.copy("conf", "~/settings")
            io.copy("conf/app.ini")
            io.copy(".", "/app")
            io.copy(".", "/")
            io.copy("models", "/app")
            run(["mkdir /made"])
            io.copy("src", "/made")
            io.copy("src", "/made")
            io.copy("src/a.txt", "/etc/hostname.d/../issue")
        """,
        FILES,
    )
    wanted = """\
        /main.py /root/main.py /usr/local/bin/main.py /opt/renamed.py /opt/fresh/main.py
        /srv/src/a.txt /src/a.txt /opt/renamed/a.txt /opt/slash/src/a.txt /models/deep/m
        /here/there/m /root/settings/app.ini /app.ini /app/main.py /app/src/a.txt /app/models/deep/m
        /app/conf/app.ini /conf/app.ini /made/src/a.txt
    """
    assert image.sh(f"for f in {' '.join(wanted.split())}; do test -f $f || echo $f; done") == ""
    assert image.sh("test ! -e /made/src/src; test ! -e /app/models/models; cat /etc/issue") == "a"
    # what was there is there still
    assert (
        image.sh("stat -c '%a %F' /root /srv /usr/local/bin; readlink /bin; ls /bin/sh")
        == "700 directory\n755 directory\n755 directory\nusr/bin\n/bin/sh"
    )


def test_links_and_modes_of_the_layers_below(specs: Specs) -> None:
    """Of the distribution, and of a command."""
    image = specs.image(
        """
        def build():
            base()
            io.copy("main.py", "/bin/mytool")
            run(["mkdir -p /srv/drop /srv/kept && chmod 3777 /srv/drop && chown 1000:50 /srv/kept",
                 "ln -s drop /srv/link && ln -s /srv/link /srv/chain && ln -s nowhere /srv/dangling",
                 "echo old > /srv/kept/target && ln -s kept/target /srv/file"])
            io.copy("main.py", "/srv/drop")
            io.copy("main.py", "/srv/chain/again.py")
            io.copy("src", "/srv/link")
            io.copy("src", "/srv/kept")
            io.copy("main.py", "/srv/dangling/new.py")
            io.copy("main.py", "/srv/file")
            run(["cat /srv/file > /srv/seen && python=1 && rm /srv/drop/main.py"])
            io.copy("main.py", "/srv/drop/main.py/inner.py")
        """,
        FILES,
    )
    assert (
        image.run("sh", "-c", "readlink /bin; cat /usr/bin/mytool /srv/seen")
        == "usr/bin\nprint('main')\nprint('main')"
    )
    assert image.sh(LIST.format("/srv")).splitlines() == [
        "d 755 0:0 /srv",
        "l 777 0:0 /srv/chain /srv/link",
        "l 777 0:0 /srv/dangling nowhere",
        "d 3777 0:0 /srv/drop",
        "f 644 0:0 /srv/drop/again.py",
        "d 2755 0:0 /srv/drop/main.py",
        "f 644 0:0 /srv/drop/main.py/inner.py",
        "d 755 0:0 /srv/drop/src",
        "f 644 0:0 /srv/drop/src/a.txt",
        "l 777 0:0 /srv/file kept/target",
        "d 755 1000:50 /srv/kept",
        "d 755 0:0 /srv/kept/src",
        "f 644 0:0 /srv/kept/src/a.txt",
        "f 644 0:0 /srv/kept/target",
        "l 777 0:0 /srv/link drop",
        "d 755 0:0 /srv/nowhere",
        "f 644 0:0 /srv/nowhere/new.py",
        "f 644 0:0 /srv/seen",
    ]


def test_what_cannot_be_is_one_sentence(specs: Specs) -> None:
    text = specs.fails('def build():\n    base()\n    io.copy("src", "/etc/passwd")\n', FILES)
    assert (
        "build.envd:3:5: error: io.copy: copy-src: it needs a directory at /etc/passwd, where "
        "base-debian12 has a file; choose another target" in text
    )
    text = specs.fails(
        'def build():\n    base()\n    run(["ln -s b /a && ln -s a /b"])\n    io.copy("main.py", "/a/x")\n',
        FILES,
    )
    assert (
        "build.envd:4:5: error: io.copy: copy-main.py: symbolic links of the layers below "
        "go round in circles at /a/x" in text
    )


JO = (
    # name, type, mode, owner and group, link
    ("home", tarfile.DIRTYPE, 0o755, 0, ""),
    ("home/jo", tarfile.DIRTYPE, 0o755, 1000, ""),
    ("data", tarfile.DIRTYPE, 0o755, 0, ""),
    ("data/cfg", tarfile.DIRTYPE, 0o2770, 1000, ""),
    ("cfg", tarfile.SYMTYPE, 0o777, 0, "data/cfg"),
    ("usr/local/lib/python3.11/dist-packages", tarfile.DIRTYPE, 0o2775, 1000, ""),
)


def _push(place: Path, reference: str) -> None:
    """An image whose user owns directories, by skopeo."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for name, kind, mode, owner, link in JO:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid, member.gid = kind, mode, owner, owner
            member.linkname = link
            archive.addfile(member)
    content = layer.getvalue()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"User": "1000"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
    }
    with tarfile.open(place, "w") as archive:
        for name, data in (
            ("layer.tar", content),
            ("config.json", json.dumps(config).encode()),
            (
                "manifest.json",
                json.dumps([{"Config": "config.json", "Layers": ["layer.tar"], "RepoTags": None}]).encode(),
            ),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    skopeo("copy", "-q", "--dest-tls-verify=false", f"docker-archive:{place}", f"docker://{reference}")


def test_an_image_whose_user_owns_directories(
    shared_store: Path, tmp_path: Path, registry_server: servers.RegistryServer
) -> None:
    reference = f"{registry_server.address}/copies/jo:1"
    _push(tmp_path / "jo.tar", reference)
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(f"""
def build():
    base(image="{reference}")
    io.copy("main.py", "/home/jo")
    io.copy("main.py", "/cfg/main.py")
    io.copy("main.py", "/cfg/below/main.py")
    io.copy("/home/jo", "/home/jo/copied", image="{reference}")
""")
    (envd.project / "main.py").write_text("x")
    root = envd.unpacked(tmp_path)

    def status(name: str) -> tuple[int, int, int]:
        info = (root / name).lstat()
        return info.st_mode & 0o7777, info.st_uid, info.st_gid

    assert status("home/jo") == (0o755, 1000, 1000)
    assert status("home/jo/copied") == (0o755, 1000, 1000)
    assert status("data/cfg") == (0o2770, 1000, 1000)
    assert status("data/cfg/below") == (0o2755, 0, 0)
    assert (root / "cfg").readlink() == Path("data/cfg")
    assert status("data/cfg/main.py") == status("home/jo/main.py") == (0o644, 0, 0)
