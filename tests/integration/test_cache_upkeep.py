"""Looking after a directory of packs: what is listed, what is found to be wrong, what is removed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.app import sharing
from engine.cache import keys, pack, sources, taken, tidy, upkeep
from engine.cache.directory import Directory
from engine.cache.substituter import Substituter
from engine.cache.taken import Taken
from engine.core.derivation import Derivation, Input
from engine.errors import UsageError
from store import Store
from store.verify import verify
from tests.integration import workshop
from tests.integration.workshop import KEY, Machine

TRUSTED = (KEY.public,)
DAY = 86400.0


@dataclass
class Share:
    """A directory, and a machine that publishes there."""

    place: Directory
    machine: Machine

    def published(self, salt: str, head: str = "", count: int = 3) -> str:
        """Publish a small plan; its tag."""
        targets = workshop.plan(count, salt)
        outputs = self.machine.build(targets)
        self.machine.publish(self.place, targets, outputs)
        tag = pack.plan_tag([t.drv_id for t in targets], "")
        if head:
            manifest = self.place.manifest(tag)
            assert manifest is not None
            self.place.publish([], [(head, manifest)])
        return tag

    def blob(self, digest: str) -> Path:
        return self.place.path / "blobs/sha256" / digest.removeprefix("sha256:")

    def layers(self, tag: str) -> list[str]:
        manifest = self.place.manifest(tag)
        assert manifest is not None
        return [layer["digest"] for layer in json.loads(manifest)["layers"]]

    def age(self, days: float) -> None:
        """Let some days pass."""
        for path in self.place.path.rglob("*"):
            if path.is_file():
                then = path.stat().st_mtime - days * DAY
                os.utime(path, (then, then))

    def blobs(self) -> set[str]:
        return {path.name for path in (self.place.path / "blobs/sha256").iterdir()}

    def verified(self, *, whole: bool = False) -> tuple[str, ...]:
        return upkeep.verified(self.place, TRUSTED, "", whole=whole).problems

    def tidied(self, days: int = 30, tags: tuple[str, ...] = (), *, dry_run: bool = False) -> sharing.Tidied:
        reached = sharing.tidied(str(self.place.path), days=days, tags=tags, dry_run=dry_run)
        if reached.error is not None:
            raise reached.error
        (done,) = reached.rows
        return done


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Share]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with Store.open(tmp_path / "store") as store:
        yield Share(Directory(tmp_path / "share"), Machine(store))


def put_image(share: Share, name: str) -> set[str]:
    """Put an image there that is none of ours; the names of its blobs."""
    share.place.publish([], [])
    config, layer = b'{"architecture":"amd64"}', f"layer of {name}".encode()
    digests = [f"sha256:{hashlib.sha256(x).hexdigest()}" for x in (config, layer)]
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"digest": digests[0], "size": len(config), "mediaType": "x"},
            "layers": [{"digest": digests[1], "size": len(layer), "mediaType": "y"}],
        }
    ).encode()
    for digest, content in zip(digests, (config, layer), strict=True):
        share.blob(digest).write_bytes(content)
    share.place.publish([], [(name, manifest)])
    return {x.removeprefix("sha256:") for x in (*digests, f"{hashlib.sha256(manifest).hexdigest()}")}


def test_packs_are_listed(share: Share) -> None:
    plan = share.published("a", head="head-x-main-0123456789ab")
    put_image(share, "v1")
    rows = {row.tag: row for row in upkeep.listed(share.place, TRUSTED, "")}
    assert set(rows) == {plan, "head-x-main-0123456789ab"}
    row = rows[plan]
    sizes = [share.blob(x).stat().st_size for x in share.layers(plan)]
    assert (row.layers, row.bytes, row.signed_by, row.problem) == (len(sizes), sum(sizes), ("team-1",), "")
    assert row.entries == row.trusted > 0
    # another key, another salt: nothing of it counts
    assert upkeep.listed(share.place, [keys.generate("team-1").public], "")[0].trusted == 0
    assert upkeep.listed(share.place, TRUSTED, "2")[0].trusted == 0


def test_a_pack_of_several_manifests_is_one(share: Share) -> None:
    plan = share.published("a", count=pack.MOST_LAYERS + 5)
    (row,) = upkeep.listed(share.place, TRUSTED, "")
    assert (row.tag, row.layers) == (plan, pack.MOST_LAYERS + 5)
    assert set(share.place.tags()) == {plan, f"{plan}-2"}
    assert share.verified() == ()
    share.age(40)
    assert set(share.tidied().tags) == {plan, f"{plan}-2"}
    assert share.place.tags() == []


def test_what_keeps_layers_of_two_tags_goes_with_the_last(share: Share) -> None:
    head = "head-x-main-0123456789ab"
    plan = share.published("a", head=head, count=pack.MOST_LAYERS + 5)
    assert share.tidied(tags=(head,)).tags == (head,)  # the plan is young
    assert share.place.tags() == [plan, f"{plan}-2"] and share.verified() == ()
    share.age(40)
    assert share.tidied().tags == (plan, f"{plan}-2")


def test_what_is_wrong_is_found(share: Share) -> None:
    plan, other = share.published("a"), share.published("b")
    assert share.verified() == share.verified(whole=True) == ()
    gone, cut, changed = share.layers(plan)
    share.blob(gone).unlink()
    share.blob(cut).write_bytes(share.blob(cut).read_bytes()[:-1])
    content = bytearray(share.blob(changed).read_bytes())
    content[20] ^= 1
    share.blob(changed).write_bytes(content)
    problems = share.verified()
    assert len(problems) == 2 and all(f":{plan}: blob " in p and "is not there" in p for p in problems)
    problems = share.verified(whole=True)
    assert len(problems) == 3 and f"blobs/sha256/{changed.removeprefix('sha256:')}" in "".join(problems)
    manifest = share.place.manifest(other)
    assert manifest is not None
    share.blob(json.loads(manifest)["config"]["digest"]).unlink()
    assert f"dir:{share.place.path}:{other}: its configuration is not there" in share.verified()
    rows = {row.tag: row.problem for row in upkeep.listed(share.place, TRUSTED, "")}
    assert rows[other] == "its configuration is not there"


def test_whose_word_counts_is_said(share: Share) -> None:
    plan = share.published("a")
    found = upkeep.verified(share.place, [], "", whole=False)
    (problem,) = found.problems
    assert f":{plan}: " in problem and "are signed by no key that is trusted (team-1)" in problem
    assert found.packs == 1


@pytest.mark.parametrize(
    "manifest",
    [
        {"layers": "x"},
        {"layers": [{"digest": "sha256:../..", "size": 1}]},
        {"layers": [{"digest": "sha256:" + "0" * 64, "size": -1}]},
        {"layers": [{"digest": "sha256:" + "0" * 64, "size": "1"}]},
        {"layers": [1]},
        {"layers": []},
        {"config": {"digest": 7}},
    ],
)
@pytest.mark.parametrize("kind", [pack.ARTIFACT_TYPE, sources.ARTIFACT_TYPE])
def test_hostile_manifests(share: Share, manifest: dict[str, object], kind: str) -> None:
    document = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": kind, **manifest}
    content = json.dumps(document).encode()
    whole = share.published("a")
    share.place.publish([], [("plan-" + "0" * 32, content)])
    rows = {row.tag: row for row in upkeep.listed(share.place, TRUSTED, "")}
    assert rows[whole].problem == ""
    problems = share.verified()
    assert all("plan-" + "0" * 32 in p for p in problems)
    assert problems or (kind == sources.ARTIFACT_TYPE and manifest == {"layers": []})


def test_what_no_branch_names_goes(share: Share) -> None:
    head = "head-x-main-0123456789ab"
    old, new = share.published("old", head=head), share.published("new", head=head)
    image = put_image(share, "v1")
    before = share.blobs()
    sizes = {name: share.blob(name).stat().st_size for name in before}
    # young
    assert share.tidied() == sharing.Tidied(share.place.name, ())
    share.age(31)
    dry = share.tidied(dry_run=True)
    assert (dry.tags, share.blobs(), share.place.tags()) == ((old,), before, sorted({head, new, old, "v1"}))
    done = share.tidied()
    assert done == dry and done.blobs > 0
    assert share.place.tags() == sorted([head, new, "v1"])
    assert share.verified(whole=True) == ()
    left = share.blobs()
    assert image <= left and len(before - left) == done.blobs
    assert done.bytes == sum(sizes[name] for name in before - left)
    # the branch itself
    with pytest.raises(UsageError, match=r"no pack 'head-x-main'; did you mean 'head-x-main-0123456789ab'"):
        share.tidied(tags=("head-x-main",))
    assert set(share.tidied(tags=(head,)).tags) == {head, new}
    assert share.place.tags() == ["v1"] and share.blobs() == image


def test_what_is_young_stays(share: Share) -> None:
    """A blob that nothing names yet may be of a pack that is about to be published."""
    share.published("a")
    share.age(40)
    young = share.blob("sha256:" + "a" * 64)
    young.write_bytes(b"x")
    (share.place.path / "blobs/sha256/notes.txt").write_bytes(b"x")
    done = share.tidied(days=0)
    assert len(done.tags) == 1 and young.exists()


def test_what_others_put_there_is_not_guessed_at(share: Share) -> None:
    """An entry that cannot be read may name anything."""
    share.published("a")
    share.place.publish([], [("odd", b'{"mediaType":"x","layers":7}')])
    share.age(40)
    before = share.blobs()
    done = share.tidied()
    assert len(done.tags) == 1 and share.blobs() == before
    assert "no file is removed: sha256:" in done.note and "cannot be read" in done.note


def test_an_index_in_an_index_is_followed(share: Share) -> None:
    image = put_image(share, "v1")
    manifest = share.place.manifest("v1")
    assert manifest is not None
    inner = {"digest": f"sha256:{hashlib.sha256(manifest).hexdigest()}", "size": len(manifest)}
    whole = json.dumps(
        {"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [inner]}
    ).encode()
    share.place.publish([], [("all", whole)])
    tidy.remove(share.place, ["v1"], dry_run=False)
    share.age(40)
    plan = share.published("a")
    share.age(40)
    assert share.tidied().tags == (plan,)
    assert image <= share.blobs() and share.place.tags() == ["all"]


def test_links_are_not_followed(share: Share, tmp_path: Path) -> None:
    share.published("a")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ("b" * 64)).write_bytes(b"x")
    (share.place.path / "blobs/sha256" / ("c" * 64)).symlink_to(outside / ("b" * 64))
    share.age(40)
    share.tidied(days=0)
    assert (outside / ("b" * 64)).exists()


def test_sources_go_with_their_plan(share: Share) -> None:
    targets: list[Derivation] = workshop.plan(3, "a")
    plan = share.published("a")
    tag = plan.replace("plan-", "sources-")
    content = b"a file"
    share.blob(f"sha256:{hashlib.sha256(content).hexdigest()}").write_bytes(content)
    document = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": sources.ARTIFACT_TYPE,
        "layers": [{"digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}],
    }
    share.place.publish([], [(tag, json.dumps(document).encode())])
    assert share.verified(whole=True) == () and len(targets) == 3
    share.blob(f"sha256:{hashlib.sha256(content).hexdigest()}").write_bytes(b"b file")
    assert len(share.verified()) == 0 and len(share.verified(whole=True)) == 1
    share.age(40)
    assert set(share.tidied().tags) == {plan, tag}


def test_a_place_that_is_none(tmp_path: Path, share: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no place is used; name one, or use one with"):
        sharing.packs(None)
    found = sharing.tidied("127.0.0.1:1/a", days=3, tags=(), dry_run=True)
    assert "a registry does not say when a pack came" in str(found.error) and found.rows == []
    nothing = sharing.packs(str(tmp_path / "nothing"))
    assert "nothing: no such directory; is it mounted?" in str(nothing.error)
    assert isinstance(nothing.error, UsageError)
    # the others are shown all the same
    share.published("a")
    monkeypatch.setenv("ENVD_SUBSTITUTERS", f"dir:{tmp_path}/nothing dir:{share.place.path}")
    both = sharing.packs(None)
    assert "is it mounted?" in str(both.error) and [len(rows) for rows in both.rows] == [1]
    assert [row.packs for row in sharing.verified(None, whole=False).rows] == [1]
    with pytest.raises(UsageError, match="--remove: several places are used; name the one that is meant"):
        sharing.tidied(None, days=None, tags=("x",), dry_run=True)


def test_what_was_taken_adds_up(share: Share) -> None:
    store = share.machine.store
    assert taken.read(store) == []
    for _ in range(2):
        taken.remember(store, [Taken("b", 1, 2, 30, 0.1), Taken("a", 1, 5, 0, 0.2)])
    assert taken.read(store) == [Taken("a", 2, 10, 0, 0.4), Taken("b", 2, 4, 60, 0.2)]
    for other in ("[", "{}", "[1]", '[{"place": "a", "more": 1}]'):
        store.set_memo("taken from places", other)
        assert taken.read(store) == []


def test_whom_it_was_taken_from(share: Share, tmp_path: Path) -> None:
    """Of two places, the one that had it."""
    targets = workshop.plan(3, "a")
    share.published("a")
    empty = Directory(tmp_path / "empty")
    empty.publish([], [])
    with Store.open(tmp_path / "other") as store:
        other = Machine(store)
        outputs = other.build(targets, [empty, share.place])
        layers = [x for t in targets if (x := store.get(outputs[t.drv_id])) is not None]
        supplier = store.supplier
        assert isinstance(supplier, Substituter)
        (row,) = supplier.taken(layers)
    assert other.built == []
    assert (row.place, row.builds, row.layers) == (share.place.name, 1, len({x.id for x in layers}))
    assert row.bytes == sum({x.digest: x.size for x in layers}.values())


def test_a_layer_is_shared_as_built_upon_what_is_shared(share: Share, tmp_path: Path) -> None:
    """The writer has built the same bytes before, upon layers that the reader will never have."""

    def upon(text: str) -> list[Derivation]:
        below = Derivation("file", "below", 1, (), {"text": text})
        return [below, Derivation("file", "top", 1, (Input("layer", below),), {"text": "same"})]

    machine = share.machine
    before, after = (machine.build(upon(text)) for text in ("before", "after"))
    assert before[upon("before")[1].drv_id] == after[upon("after")[1].drv_id]
    machine.publish(share.place, upon("after"), after)
    with Store.open(tmp_path / "other") as store:
        other = Machine(store)
        assert other.build(upon("after"), [share.place]) == after
        assert other.built == [] and verify(store) == []
        (top,) = (x for x in store.objects() if x.name == "top")
        assert top.references == (after[upon("after")[0].drv_id],)
