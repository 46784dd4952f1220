"""OCI layouts as archives: the same bytes for the same content, read again as they were written."""

from __future__ import annotations

import io
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cache import layout_archive
from engine.cache.place import Blob
from store import Store
from store.errors import CorruptError
from tests.unit.test_cache_directory import digest_of, pack


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(random.Random(1).randbytes(3 << 20))
    blobs, manifest = pack(b"one", b"two" * 5000)
    lazy = Blob(digest_of(big.read_bytes()), big.stat().st_size, lambda: big)
    written = []
    for order in (1, -1):
        file = io.BytesIO()
        tagged = [("plan-1", manifest), ("head-a", manifest)][::order]
        layout_archive.write(file, [*blobs, lazy][::order], tagged)
        written.append(file.getvalue())
    assert written[0] == written[1]
    big.write_bytes(b"!" * lazy.size)
    with pytest.raises(CorruptError):
        layout_archive.write(io.BytesIO(), [*blobs, lazy], [("plan-1", manifest)])


def test_what_was_written_is_read_again(tmp_path: Path, store: Store) -> None:
    blobs, manifest = pack(b"one", b"two" * 5000)
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        layout_archive.write(file, blobs, [("plan-1", manifest), ("head-a", manifest)])
    with layout_archive.opened(path) as archive:
        assert archive.manifests == {"plan-1": manifest, "head-a": manifest}
        assert archive.places.keys() == {digest_of(manifest), *(b.digest for b in blobs)}
        assert archive.read(blobs[1].digest, 3) == b"one"
        told: list[int] = []
        there = archive.bring(blobs[2].digest, store, told.append)
        assert there.read_bytes() == b"two" * 5000 and told == [15000]
    # other programs read it …
    listed = subprocess.run(["tar", "-tf", path], capture_output=True, text=True, check=True).stdout.split()
    assert listed[:2] == ["oci-layout", "index.json"] and len(listed) == 6
    shown = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci-archive:{path}:plan-1"], capture_output=True, check=True
    )
    assert shown.stdout == manifest
    # … and write one, which is read here: with directories, and in another order.
    subprocess.run(
        ["skopeo", "copy", f"oci-archive:{path}:plan-1", f"oci-archive:{tmp_path}/b.tar:plan-1"],
        check=True,
        capture_output=True,
    )
    with layout_archive.opened(tmp_path / "b.tar") as archive:
        assert json.loads(archive.manifests["plan-1"]) == json.loads(manifest)
