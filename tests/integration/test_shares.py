"""A directory of packs, and the other programs that know OCI image layouts: skopeo, umoci."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from engine.cache.directory import Directory
from tests.unit.test_cache_directory import digest_of, pack


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_others_read_and_write_it(tmp_path: Path) -> None:
    share, copy = Directory(tmp_path / "share"), Directory(tmp_path / "copy")
    blobs, manifest = pack(b"layer")
    share.publish(blobs, [("plan-1", manifest)])
    assert _run("skopeo", "inspect", "--raw", f"oci:{share.path}:plan-1") == manifest.decode()
    # skopeo gives each pack to a stick, bytes as they are …
    _run("skopeo", "copy", f"oci:{share.path}:plan-1", f"oci:{copy.path}:plan-1")
    assert copy.manifest("plan-1") == manifest
    assert copy.read(digest_of(b"layer"), 5) == b"layer"
    # … and what one has put there the other keeps.
    _run("umoci", "new", "--image", f"{share.path}:image")
    blobs, other = pack(b"another")
    share.publish(blobs, [("plan-2", other)])
    assert sorted(_run("umoci", "ls", "--layout", share.path).split()) == ["image", "plan-1", "plan-2"]
    assert share.tags() == ["image", "plan-1", "plan-2"]
    assert share.manifest("plan-1") == manifest


READER = """
import sys
from pathlib import Path
from engine.cache.directory import Directory
from tests.unit.test_cache_directory import pack
share = Directory(Path(sys.argv[1]))
print(share.tags(), len(share.manifest("plan-1")))
blobs, manifest = pack(b"another")
try:
    share.publish(blobs, [("plan-2", manifest)])
except OSError as error:
    print(error.strerror, error.filename)
"""


def test_a_file_system_that_may_only_be_read(tmp_path: Path) -> None:
    share = Directory(tmp_path / "share")
    blobs, manifest = pack(b"layer")
    share.publish(blobs, [("plan-1", manifest)])
    mounted = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$0" -c "$2" "$1"'
    said = _run("unshare", "--mount", "sh", "-c", mounted, sys.executable, str(share.path), READER)
    assert said.splitlines() == [f"['plan-1'] {len(manifest)}", f"Read-only file system {share.path}"]
