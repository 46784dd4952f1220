"""Locks that somebody else has written: each is one clear error before any of it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.lock import model as locks
from store.blobs import blob_path
from store.errors import CorruptError

GOOD = """\
version = 1
system = "x86_64-linux"
python = "3.11"

[requests]
base = ["os=debian12"]

[base]
kind = "debootstrap"
os = "debian12"
suite = "bookworm"
sources = ["deb http://mirror/debian bookworm main"]

[[base.package]]
name = "bash"
version = "5.2.15-2+b7"
kind = "deb"
file = "bash_5.2.15-2+b7_amd64.deb"
url = "http://mirror/debian/pool/main/b/bash/bash_5.2.15-2+b7_amd64.deb"
size = 1491208
sha256 = "DEADBEEF"
arch = "amd64"
essential = "yes"

[base.keys]
"archive.asc" = "aGVsbG8="

[base.facts]
prefix = "/opt/python"

[[wheels]]
name = "numpy"
version = "2.0.1"
kind = "wheel"
file = "numpy-2.0.1-cp311-cp311-manylinux_2_17_x86_64.whl"
url = "https://index.example/numpy-2.0.1-cp311-cp311-manylinux_2_17_x86_64.whl"
size = 19
sha256 = "DEADBEEF"

[[wheels]]
name = "mine"
version = "1!2.0.post1+cpu.1"
kind = "wheel"
file = "mine-2.0-py3-none-any.whl"
url = "wheels/mine%202.0-py3-none-any.whl"
size = 0
sha256 = "DEADBEEF"

[[conda]]
name = "_libgcc_mutex"
version = "0.1"
kind = "conda"
file = "_libgcc_mutex-0.1-conda_forge.tar.bz2"
url = "https://channel.example/linux-64/_libgcc_mutex-0.1-conda_forge.tar.bz2"
size = 19
sha256 = "DEADBEEF"
build = "conda_forge"
subdir = "linux-64"

[[vscode]]
name = "ms-python.python"
version = "2024.2.0"
kind = "vsix"
file = "ms-python.python-2024.2.0.vsix"
url = "https://gallery.example/api/ms-python.python-2024.2.0.vsix"
size = 19
sha256 = "DEADBEEF"
target = "universal"

[[tools]]
name = "uv-python"
version = "3.12.4"
kind = "tool"
file = "cpython-3.12.4.tar.gz"
url = "https://tools.example/cpython-3.12.4.tar.gz"
size = 19
sha256 = "DEADBEEF"
key = "cpython-3.12.4-linux-x86_64-gnu"

[[tools]]
name = "codex"
version = "0.1.0"
kind = "tool"
file = "codex-0.1.0.tgz"
url = "https://tools.example/codex-0.1.0.tgz"
size = 19
sha256 = "DEADBEEF"
program = "vendor/x86_64-unknown-linux-musl/codex/codex"

[[r]]
name = "data.table"
version = "1.15-4"
kind = "r-source"
file = "data.table_1.15-4.tar.gz"
url = "https://cran.example/data.table_1.15-4.tar.gz"
size = 19
sha256 = "DEADBEEF"
md5 = "0123456789abcdef0123456789abcdef"

[[julia]]
name = "Example"
version = "0.5.3"
kind = "julia-package"
file = "46e44e869b4d90b96bd8ed1fdcf32244fddfb6cc"
url = "https://julia.example/package/46e44e869b4d90b96bd8ed1fdcf32244fddfb6cc"
size = 19
sha256 = "DEADBEEF"
uuid = "7876af07-990d-54b4-ab0e-23690620f79a"
tree = "46e44e869b4d90b96bd8ed1fdcf32244fddfb6cc"

[[files]]
name = "data.csv"
version = ""
kind = "file"
file = "data.csv"
url = "https://web.example/data.csv"
size = 19
sha256 = "DEADBEEF"
request = "https://web.example/data.csv"

[[images]]
name = "layer-0123456789ab"
version = ""
kind = "layer"
file = "layer-0123456789ab"
url = "oci://registry.example/library/x"
size = 19
sha256 = "DEADBEEF"
diff_id = "sha256:DEADBEEF"
media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
image = "registry.example/library/x:1"
position = "001"

[[includes]]
git = "https://git.example/lib"
ref = "main"
commit = "0123456789abcdef0123456789abcdef01234567"
""".replace("DEADBEEF", "ab" * 32)

PADDED = "../" * 14 + "etc/shadow"
CHANGES = {
    # C3: a digest that is a path
    "a digest that climbs": ('sha256 = "' + "ab" * 32, f'sha256 = "{PADDED.rjust(64, "/")}'),
    "a digest that climbs, short": ('sha256 = "' + "ab" * 32, 'sha256 = "../../etc/passwd'),
    "a digest in upper case": ('sha256 = "' + "ab" * 32, 'sha256 = "' + "AB" * 32),
    "a digest with a newline": ('sha256 = "' + "ab" * 32, 'sha256 = "' + "ab" * 32 + "\\n"),
    "no digest": ('sha256 = "' + "ab" * 32, 'sha256 = "'),
    "digits that are not ASCII": ('sha256 = "' + "ab" * 32, 'sha256 = "' + "١" * 64),
    # C2: names of files and keys that are paths
    "an absolute file": ('file = "data.csv"', 'file = "/root/.bashrc"'),
    "a file in a directory": ('file = "data.csv"', 'file = "victim3/.bashrc"'),
    "a file that climbs": ('file = "data.csv"', 'file = "../../.bashrc"'),
    "the directory itself": ('file = "data.csv"', 'file = "."'),
    "the directory above": ('file = "data.csv"', 'file = ".."'),
    "no file name": ('file = "data.csv"', 'file = ""'),
    "a file name of two lines": ('file = "data.csv"', 'file = "data\\n.csv"'),
    "a file name with NUL": ('file = "data.csv"', 'file = "data\\u0000.csv"'),
    "a whiteout": ('file = "data.csv"', 'file = ".wh.passwd"'),
    "a very long file name": ('file = "data.csv"', f'file = "{"x" * 300}"'),
    "a .deb's absolute file": ('file = "bash_', 'file = "/host/bash_'),
    "a .deb that is an option": ('file = "bash_5.2.15-2+b7_amd64.deb"', 'file = "-oX.deb"'),
    "a .deb that is none": ('file = "bash_5.2.15-2+b7_amd64.deb"', 'file = "authorized_keys"'),
    "a wheel's file in a directory": ('file = "numpy-', 'file = "../numpy-'),
    "a wheel that is none": (
        'file = "numpy-2.0.1-cp311-cp311-manylinux_2_17_x86_64.whl"',
        'file = "numpy.sh"',
    ),
    "a key that climbs": ('"archive.asc"', '"../../etc/cron.d/x"'),
    "an absolute key": ('"archive.asc"', '"/etc/cron.d/x"'),
    "a key that is an option": ('"archive.asc"', '"-x"'),
    "a tool's key that climbs": ('key = "cpython', 'key = "../../cpython'),
    "an absolute tool's key": ('key = "cpython-3.12.4-linux-x86_64-gnu"', 'key = "/etc"'),
    "a program that climbs": ('program = "vendor/', 'program = "vendor/../../'),
    "a program with shell words": ('codex/codex"', 'codex/codex; id"'),
    "a prefix that climbs": ('prefix = "/opt', 'prefix = "/opt/../..'),
    "a relative prefix": ('prefix = "/opt', 'prefix = "opt'),
    # C4: what a gallery may have said
    "an extension's version that climbs": ('version = "2024.2.0"', 'version = "1/../../victim8"'),
    "an extension's name that climbs": ('name = "ms-python.python"', 'name = "../ms-python.python"'),
    "an extension without a publisher": ('name = "ms-python.python"', 'name = "python"'),
    # the same kind, elsewhere
    "a package's name that climbs": ('name = "numpy"', 'name = "../numpy"'),
    "a package's name that is an option": ('name = "numpy"', 'name = "--index-url=x"'),
    "a version that climbs": ('version = "2.0.1"', 'version = "../2.0.1"'),
    "a version with blanks": ('version = "2.0.1"', 'version = "2.0.1 --pre"'),
    "a .deb's name that is an option": ('name = "bash"', 'name = "-oDir=/"'),
    "a .deb's version with a slash": ('version = "5.2.15-2+b7"', 'version = "5/../../x"'),
    "a conda build that climbs": ('build = "conda_forge"', 'build = "../x"'),
    "a conda subdir that climbs": ('subdir = "linux-64"', 'subdir = "../x"'),
    "a conda package's name that climbs": ('name = "_libgcc_mutex"', 'name = "../x"'),
    "an R package's name that climbs": ('name = "data.table"', 'name = "../../x"'),
    "an R package's version that climbs": ('version = "1.15-4"', 'version = "../4"'),
    "a Julia package's name that climbs": ('name = "Example"', 'name = "../Example"'),
    "a UUID that is none": ('uuid = "7876af07', 'uuid = "../6af07'),
    "a tree that is none": ('tree = "46e4', 'tree = "../4'),
    "a tool's version that climbs": ('version = "3.12.4"', 'version = "3.12/../.."'),
    "a layer's diffID that climbs": ('diff_id = "sha256:ab', 'diff_id = "sha256:../ab'),
    "a media type that is none": ('media_type = "application/', 'media_type = "text/'),
    "a kind that there is not": ('kind = "vsix"', 'kind = "exe"'),
    "a field of two lines": ('arch = "amd64"', 'arch = "amd64\\nEssential: yes"'),
    # H4: URLs
    "unchecked certificates": ('url = "https://web', 'url = "https+unchecked://web'),
    "ssh": ('url = "https://web', 'url = "ssh://-oProxyCommand=x@web'),
    "git's ext": ('url = "https://web', 'url = "ext://web'),
    "ftp": ('url = "https://web', 'url = "ftp://web'),
    "no server": ('url = "https://web.example/data.csv"', 'url = "https:///data.csv"'),
    "a port that is none": ('url = "https://web.example/', 'url = "https://web.example:x/'),
    "a URL of two lines": ('url = "https://web.example/', 'url = "https://web.example/\\n'),
    "no URL": ('url = "https://web.example/data.csv"', 'url = ""'),
    "a file out of the project": ('url = "wheels/mine%20', 'url = "../wheels/mine'),
    "the same, escaped": ('url = "wheels/mine%20', 'url = "%2e%2e/mine'),
    "an absolute path": ('url = "wheels/mine%20', 'url = "/etc/mine'),
    "the same, escaped ": ('url = "wheels/mine%20', 'url = "%2Fetc/mine'),
    "another server's path": ('url = "wheels/mine%20', 'url = "//host/mine'),
    # numbers
    "a negative size": ("size = 1491208", "size = -1"),
    "a size beyond all disks": ("size = 1491208", f"size = {1 << 60}"),
    "a size that is none": ("size = 1491208", 'size = "big"'),
    # the rest
    "a commit that is a path": ('commit = "0123', 'commit = "../3'),
    "a commit that is an option": (
        'commit = "0123456789abcdef0123456789abcdef01234567"',
        'commit = "--upload-pack=x"',
    ),
    "a repository that is an option": ('git = "https://', 'git = "--upload-pack=x https://'),
    "a ref that is an option": ('ref = "main"', 'ref = "--exec=x"'),
    "a base's digest that climbs": ('os = "debian12"', 'os = "debian12"\ndigest = "sha256:../x"'),
    "an os that climbs": ('os = "debian12"', 'os = "../x"'),
    "a suite that climbs": ('suite = "bookworm"', 'suite = "../x"'),
    "sources of two lines": ("bookworm main", "bookworm main\\nssh-ed25519 AAAA"),
    "a Python that is a path": ('python = "3.11"', 'python = "3.11/../.."'),
    "a system that is a path": ('system = "x86', 'system = "../x86'),
    "a kind of base that there is not": ('kind = "debootstrap"', 'kind = "chroot"'),
    "requests that are a number": ('base = ["os=debian12"]', "base = 5"),
    "requests that are no table": ('[requests]\nbase = ["os=debian12"]', "requests = 5"),
    "a request that is no list": ('base = ["os=debian12"]', 'base = "os=debian12"'),
    "a section that is a number": ("version = 1\n", "version = 1\ndev = 5\n"),
    "a section that is text": ("version = 1\n", 'version = 1\ndev = "x"\n'),
    "a section of numbers": ("version = 1\n", "version = 1\ndev = [5]\n"),
}


def test_a_sound_lock_is_read() -> None:
    lock = locks.loads(GOOD)
    assert [p.name for p in lock["wheels"]] == ["numpy", "mine"]
    assert locks.loads(locks.dumps(lock)) == locks.loads(locks.dumps(locks.loads(locks.dumps(lock))))


@pytest.mark.parametrize("change", CHANGES)
def test_a_hostile_lock_is_one_error(change: str) -> None:
    old, new = CHANGES[change]
    assert old in GOOD
    with pytest.raises(UsageError) as caught:
        locks.loads(GOOD.replace(old, new, 1), "envd.lock")
    text = str(caught.value)
    assert text.startswith("envd.lock: ")
    assert "\n" not in text
    assert len(text) < 400


@pytest.mark.parametrize(
    "digest", [f"sha256:{PADDED.rjust(64, '/')}", "sha256:" + "AB" * 32, "sha256:" + "ab" * 32 + "\n"]
)
def test_no_digest_leads_out_of_the_store(digest: str, tmp_path: Path) -> None:
    with pytest.raises(CorruptError):
        blob_path(tmp_path, digest)
