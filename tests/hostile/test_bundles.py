"""Bundles that somebody made to do harm, or that broke on their way: refused with one clear error."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.app import unbundle
from engine.cache import bundle, layout_archive
from engine.cache import pack as pack_format
from engine.cache.record import Record
from engine.ecosystems.includes import git
from engine.errors import UsageError
from store import Store
from store.hashing import object_hasher
from store.model import GZIP_LAYER, Object
from tests.unit.test_cache_directory import digest_of, pack

Members = list[tuple[tarfile.TarInfo, bytes]]
LAYER = b"layer" * 999


def good() -> bytes:
    """A whole archive, of one pack."""
    file = io.BytesIO()
    blobs, manifest = pack(LAYER)
    layout_archive.write(file, blobs, [("plan-1", manifest)])
    return file.getvalue()


def members(data: bytes) -> Members:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(m, (tar.extractfile(m) or io.BytesIO()).read()) for m in tar]


def packed(rows: Members, kind: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
        for member, content in rows:
            if member.isreg():
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return file.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


def with_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"x") -> bytes:
    return packed([*members(good()), (member(name, kind, link), content)])


def changed(name: str, change: Callable[[bytes], bytes]) -> bytes:
    return packed([(m, change(c) if m.name == name else c) for m, c in members(good())])


def instead(kind: bytes, link: str = "") -> bytes:
    """The layer's blob as something else than a file."""
    name = "blobs/" + digest_of(LAYER).replace(":", "/")
    return packed([(member(name, kind, link), b"") if m.name == name else (m, c) for m, c in members(good())])


def index(change: Callable[[dict[str, object]], object]) -> bytes:
    def rewritten(data: bytes) -> bytes:
        document = json.loads(data)
        change(document["manifests"][0])
        return json.dumps(document).encode()

    return changed("index.json", rewritten)


LAYER_NAME = "blobs/" + digest_of(LAYER).replace(":", "/")
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is not a bundle"),
    "zeros": (bytes(10240), "is not an OCI image layout"),
    "no archive": (b"PK\3\4" * 500, "is not a bundle"),
    "cut off in a header": (good()[:700], "is not a bundle"),
    "cut off in a file": (
        good()[: good().index(LAYER) + 100],
        "is not a bundle: it ends within|unexpected end",
    ),
    "cut off after a file": (good()[: 512 * 4], "is missing"),
    "compressed": (gzip.compress(good()), "is not a bundle"),
    "climbing": (with_member("../../../etc/passwd"), "does not belong there"),
    "absolute": (with_member("/etc/passwd"), "does not belong there"),
    "dots": (with_member("blobs/sha256/../../evil"), "does not belong there"),
    "extra": (with_member("README"), "does not belong there"),
    "terminal": (with_member("\x1b[2J"), r"x1b\[2J' does not belong there"),
    "unnamed blob": (with_member("blobs/sha256/" + "0" * 64), "nothing in it names sha256:000"),
    "wrong name": (with_member("blobs/sha256/" + "A" * 64), "does not belong there"),
    "other hash": (with_member("blobs/sha512/" + "0" * 128), "does not belong there"),
    "twice": (packed([*members(good()), members(good())[-1]]), "is there twice"),
    "a link": (instead(tarfile.SYMTYPE, "/etc/shadow"), "is not a regular file"),
    "a hard link": (instead(tarfile.LNKTYPE, "index.json"), "is not a regular file"),
    "a pipe": (instead(tarfile.FIFOTYPE), "is not a regular file"),
    "a device": (instead(tarfile.CHRTYPE), "is not a regular file"),
    "a directory": (instead(tarfile.DIRTYPE), "is not a regular file|does not belong"),
    "a folder that is a link": (with_member("blobs", tarfile.SYMTYPE, "/etc"), "does not belong there"),
    "wrong bytes": (changed(LAYER_NAME, lambda c: c[:-1] + b"!"), "are not those of its digest"),
    "shorter": (changed(LAYER_NAME, lambda c: c[:-1]), "has 4994 bytes, not 4995"),
    "longer": (changed(LAYER_NAME, lambda c: c + b"!"), "has 4996 bytes, not 4995"),
    "gone": (packed([r for r in members(good()) if r[0].name != LAYER_NAME]), "is missing"),
    "no index": (
        packed([r for r in members(good()) if r[0].name != "index.json"]),
        "is not an OCI image layout",
    ),
    "no layout": (
        packed([r for r in members(good()) if r[0].name != "oci-layout"]),
        "is not an OCI image layout",
    ),
    "index of nonsense": (changed("index.json", lambda _: b"{"), "its index is not JSON"),
    "deep index": (changed("index.json", lambda _: b"[" * 99999), "its index is not JSON"),
    "huge index": (changed("index.json", lambda c: c + b" " * (9 << 20)), "its index has"),
    "manifest elsewhere": (index(lambda e: e.update(digest="sha256:" + "0" * 64)), "is missing"),
    "manifest by path": (index(lambda e: e.update(digest="../../x")), "'../../x' is missing"),
    "manifest's size": (index(lambda e: e.update(size=3)), "bytes, not 3"),
    "no manifest": (index(lambda e: e.update(digest=digest_of(LAYER), size=len(LAYER))), "is malformed"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_it_is_refused(tmp_path: Path, what: str) -> None:
    data, says = HOSTILE[what]
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=says), layout_archive.opened(path) as archive:
        assert archive.read(digest_of(LAYER), len(LAYER)) == LAYER
        pytest.fail("it was read")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def test_a_good_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        path.write_bytes(packed(members(good()), kind))
        with layout_archive.opened(path) as archive:
            assert archive.read(digest_of(LAYER), len(LAYER)) == LAYER
            with pytest.raises(UsageError, match="and may have 9"):
                archive.read(digest_of(LAYER), 9)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, says in (
        (tmp_path / "pipe", "not a regular"),
        (tmp_path, "not a regular"),
        (Path("/dev/zero"), "not"),
    ):
        with pytest.raises(UsageError, match=says), layout_archive.opened(path):
            pass
    with pytest.raises(UsageError, match="No such file"), layout_archive.opened(tmp_path / "none"):
        pass


def test_what_is_cut_off_meanwhile_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(good())
    with layout_archive.opened(path) as archive:
        os.truncate(path, archive.places[digest_of(LAYER)][0] + 10)
        with pytest.raises(UsageError, match="it was cut off while it was read"):
            archive.read(digest_of(LAYER), len(LAYER))


def _bundle(config: object, artifact: str = bundle.ARTIFACT_TYPE) -> bytes:
    """An archive whose configuration says `config`."""
    content = json.dumps(config).encode() if not isinstance(config, bytes) else config
    blob = bundle.text_blob(content)
    lock = bundle.text_blob(b"lock")
    document = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": artifact,
        "config": {"mediaType": "x/y", "digest": blob.digest, "size": blob.size},
        "layers": [{"mediaType": "x/y", "digest": lock.digest, "size": lock.size}],
    }
    file = io.BytesIO()
    layout_archive.write(file, [blob, lock], [(bundle.TAG, json.dumps(document).encode())])
    return file.getvalue()


CONFIG = {"version": 1, "project": "p", "lock": digest_of(b"lock"), "includes": [], "signatures": []}


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[" * 99999,
        [],
        {},
        {**CONFIG, "version": 2},
        {**CONFIG, "project": 1},
        {**CONFIG, "project": "a\nb"},
        {**CONFIG, "lock": "../../etc/passwd"},
        {**CONFIG, "lock": digest_of(b"another")},
        {**CONFIG, "includes": {}},
        {**CONFIG, "includes": [1]},
        {**CONFIG, "includes": [{"repository": "../../x", "commit": "0" * 40, "digest": digest_of(b"lock")}]},
        {**CONFIG, "includes": [{"repository": "0" * 32, "commit": "../x", "digest": digest_of(b"lock")}]},
        {**CONFIG, "includes": [{"repository": "0" * 32, "commit": "0" * 40, "digest": digest_of(b"no")}]},
        {**CONFIG, "includes": [{"repository": "0" * 32, "commit": "0" * 40, "digest": "x"}] * 1001},
        {**CONFIG, "signatures": [1]},
        {**CONFIG, "signatures": ["x"] * 17},
    ],
    ids=range(17),
)
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path: Path, config: object) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(_bundle(config))
    with layout_archive.opened(path) as archive, pytest.raises(UsageError, match=r"a\.tar: "):
        bundle.read(archive)
    path.write_bytes(_bundle(CONFIG))
    with layout_archive.opened(path) as archive:
        assert bundle.read(archive) == bundle.Bundle("p", digest_of(b"lock"))
    for other in (good(), _bundle(CONFIG, "application/vnd.envd.cache.v1")):
        path.write_bytes(other)
        with layout_archive.opened(path) as archive, pytest.raises(UsageError, match="is not a bundle"):
            bundle.read(archive)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"1",
        b"[1]",
        b"[[1, 2]]",
        b'[["a.envd"]]',
        b'[["../a.envd", ""]]',
        b'[["a.envd", "!"]]',
        b'{"a": 1}',
    ],
)
def test_included_files_that_make_no_sense_are_refused(content: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        git.check(content)
    git.check(b'[["a.envd", "YQ=="]]')


@dataclass(frozen=True)
class Home:
    """A user's store and settings, and where a bundle is put."""

    store: Path
    file: Path

    def bundled(self, layer: bytes, **facts: object) -> None:
        """Write a bundle whose only record says that `layer` is what its `facts` say."""
        blob, lock = bundle.text_blob(layer), bundle.text_blob(b"lock")
        about = {"id": "1" * 64, "name": "evil", "diff_id": digest_of(b""), "tar_size": 1, **facts}
        made = Object(digest=blob.digest, size=blob.size, media_type=GZIP_LAYER, **about)  # type: ignore[arg-type]
        config, manifests = pack_format.write([Record("2" * 64, "run", made)], [made], "plan-1")
        whole, manifest = bundle.write(bundle.Bundle("p", lock.digest), {lock.digest: lock.size})
        tagged = [("plan-1", manifests[0]), (bundle.TAG, manifest)]
        with self.file.open("wb") as file:
            layout_archive.write(file, [blob, lock, whole, bundle.text_blob(config)], tagged)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("ENVD_STORE", str(tmp_path / "store"))
    for name in ("ENVD_TRUSTED_KEYS", "ENVD_SIGNING_KEY", "ENVD_SUBSTITUTERS"):
        monkeypatch.delenv(name, raising=False)
    return Home(tmp_path / "store", tmp_path / "a.tar")


def test_a_layer_that_unpacks_to_too_much_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVD_LIMITS", "unpacked=1M")
    home.bundled(gzip.compress(bytes(40 << 20)))
    with pytest.raises(UsageError, match=r"the layer of evil cannot be read: .*unpacks to more than"):
        unbundle.load(home.file, trust=True)
    home.bundled(b"no gzip")
    with pytest.raises(UsageError, match="the layer of evil is not what is said of it"):
        unbundle.load(home.file, trust=True)
    with Store.open(home.store) as store:
        assert store.realisation("2" * 64) is None and not store.roots()


def test_what_is_said_of_a_layer_is_compared(home: Home) -> None:
    tar = bytes(10240)
    identity = object_hasher()
    identity.update(tar)
    facts = {"id": identity.hexdigest(), "diff_id": digest_of(tar), "tar_size": len(tar)}
    for wrong in ({"id": "1" * 64}, {"diff_id": digest_of(b"")}, {"tar_size": 1}):
        home.bundled(gzip.compress(tar, mtime=0), **{**facts, **wrong})
        with pytest.raises(UsageError, match="the layer of evil is not what is said of it"):
            unbundle.load(home.file, trust=True)
    home.bundled(gzip.compress(tar, mtime=0), **facts)
    with pytest.raises(UsageError, match="is not signed; trust the key"):
        unbundle.load(home.file)
    assert unbundle.load(home.file, files_only=True).layers == 0
    with Store.open(home.store) as store:
        assert store.realisation("2" * 64) is None
    assert unbundle.load(home.file, trust=True).layers == 1
    with Store.open(home.store) as store:
        found = store.realisation("2" * 64)
        assert found is not None and store.whole(found.output) is not None


def test_an_own_realisation_is_not_replaced(home: Home) -> None:
    with Store.open(home.store) as store, store.scratch("x") as scratch:
        (scratch / "tree").mkdir()
        (scratch / "tree/mine").write_text("mine")
        own = store.capture(scratch / "tree", "mine")
        store.realise("2" * 64, own.id, "run")
    tar = bytes(10240)
    identity = object_hasher()
    identity.update(tar)
    home.bundled(gzip.compress(tar), id=identity.hexdigest(), diff_id=digest_of(tar), tar_size=len(tar))
    unbundle.load(home.file, trust=True)
    with Store.open(home.store) as store:
        found = store.realisation("2" * 64)
        assert found is not None and found.output == own.id
