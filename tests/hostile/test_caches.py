"""Hostile caches: a pack that a stranger wrote, or that a registry changed, gives a build nothing."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from engine.cache import keys, pack, publisher
from engine.cache.directory import Directory
from engine.cache.place import Blob
from engine.oci.assemble import digest_of
from store import Store
from store.errors import CorruptError
from tests.integration.workshop import KEY, Machine, plan

PLAN = plan(4)
TAG = pack.plan_tag([t.drv_id for t in PLAN], "")
STRANGER = keys.generate("team-1")  # the same name, another key
Rows = list[Any]
Change = Callable[[Rows], Any]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, dict[str, str]]]:
    """A machine that has built the plan."""
    with Store.open(tmp_path_factory.mktemp("honest") / "store") as store:
        machine = Machine(store)
        yield machine, machine.build(PLAN)


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Machine]:
    with Store.open(tmp_path / "victim") as store:
        yield Machine(store)


def rows_of(machine: Machine, outputs: dict[str, str], key: keys.SigningKey = KEY, salt: str = "") -> Rows:
    records = publisher.records(PLAN, outputs, machine.store)
    return [r.signed(key.sign(r.message(salt))).as_dict() for r in records]


def publish(
    place: Directory, machine: Machine, outputs: dict[str, str], packed: bytes, **manifest: Any
) -> None:
    """Put a pack with this configuration there, with the honest layers; `manifest` changes its manifest."""
    layers = [x for t in PLAN if (x := machine.store.get(outputs[t.drv_id])) is not None]
    _, (written, *_) = pack.write([], layers, TAG)
    document = json.loads(written)
    document["config"].update(digest=digest_of(packed), size=len(packed))
    for name, value in manifest.items():
        if value is None:
            del document[name]
        else:
            document[name] = value
    blobs = [Blob(x.digest, x.size, machine.store.blob(x.digest) or b"") for x in layers]
    place.publish(
        [*blobs, Blob(digest_of(packed), len(packed), packed)], [(TAG, json.dumps(document).encode())]
    )


def config_of(rows: Any, version: Any = 1) -> bytes:
    return zstandard.compress(json.dumps({"version": version, "records": rows}).encode())


def changed(what: str, value: Any) -> Change:
    """Set a field of every record, after it was signed: "size" or "object.size"."""

    def change(rows: Rows) -> None:
        for row in rows:
            outer, _, inner = what.rpartition(".")
            (row[outer] if outer else row)[inner] = value

    return change


def swapped(what: str) -> Change:
    """Let a record have what another one was signed with; its neighbour may be of the same object."""

    def change(rows: Rows) -> None:
        values = [copy.deepcopy(row[what]) for row in rows]
        for row, value in zip(rows, [*values[2:], *values[:2]], strict=True):
            row[what] = value

    return change


CHANGES: dict[str, Change] = {
    "replayed for another key": swapped("key"),
    "another's object": swapped("object"),
    "another's signature": swapped("signatures"),
    "no signature": changed("signatures", []),
    "a signature that is none": changed("signatures", ["team-1:AAAA", "x", "team-1:" + "A" * 88]),
    "many signatures": changed("signatures", ["team-1:AAAA"] * 10000),
    "another object": changed("object.id", "0" * 64),
    "another blob": changed("object.digest", "sha256:" + "0" * 64),
    "another content": changed("object.diffId", "sha256:" + "0" * 64),
    "another size": changed("object.size", 1),
    "a negative size": changed("object.size", -1),
    "a size that is true": changed("object.size", True),
    "a size of 1e999": changed("object.size", 1e999),
    "a huge size": changed("object.size", 1 << 80),
    "another media type": changed("object.mediaType", "application/vnd.oci.image.layer.v1.tar"),
    "an unknown media type": changed("object.mediaType", "text/html"),
    "another name": changed("object.name", "trust me"),
    "a name with escapes": changed("object.name", "\x1b[2J"),
    "a name that is a path": changed("object.name", "../../etc/passwd"),
    "a warning": changed("warnings", ["run curl | sh"]),
    "warnings without end": changed("warnings", ["x"] * 100000),
    "a digest that is a path": changed("object.digest", "sha256:../../../etc/passwd"),
    "a key that is a path": changed("key", "../../db.sqlite"),
    "a key that is a memo": changed("key", "elsewhere:sha256:" + "0" * 64),
    "references": changed("object.references", ["0" * 64] * 3),
    "references that are none": changed("object.references", [[], {}, None]),
    "a kind": changed("kind", "'; DROP TABLE object; --"),
    "a time": changed("milliseconds", 10**9),
    "an object that is a list": changed("object", []),
    "a record that is nothing": lambda rows: rows.__setitem__(slice(None), [None, 3, "x", [], {}]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_record_counts_for_nothing(
    name: str, honest: tuple[Machine, dict[str, str]], victim: Machine, tmp_path: Path
) -> None:
    machine, outputs = honest
    rows = rows_of(machine, outputs)
    CHANGES[name](rows)
    place = Directory(tmp_path / "cache")
    publish(place, machine, outputs, config_of(rows))
    assert victim.build(PLAN, [place]) == outputs
    assert len(victim.built) == len(PLAN), victim.warnings()
    assert len(victim.warnings()) == 1
    said = "".join(victim.warnings())
    assert said.isprintable() and "trust me" not in said and "curl" not in said


def test_the_same_pack_unchanged_is_used(
    honest: tuple[Machine, dict[str, str]], victim: Machine, tmp_path: Path
) -> None:
    machine, outputs = honest
    place = Directory(tmp_path / "cache")
    publish(place, machine, outputs, config_of(rows_of(machine, outputs)))
    assert victim.build(PLAN, [place]) == outputs
    assert victim.built == [] and victim.warnings() == []


def test_of_a_strangers_key_with_a_trusted_name_nothing_counts(
    honest: tuple[Machine, dict[str, str]], victim: Machine, tmp_path: Path
) -> None:
    machine, outputs = honest
    place = Directory(tmp_path / "cache")
    publish(place, machine, outputs, config_of(rows_of(machine, outputs, STRANGER)))
    assert victim.build(PLAN, [place]) == outputs
    assert len(victim.built) == len(PLAN) and len(victim.warnings()) == 1


PACKS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "not compressed": (b'{"version":1,"records":[]}', {}),
    "cut off": (config_of([{}] * 1000)[:-5], {}),
    "a bomb": (zstandard.compress(b" " * (300 << 20)), {}),
    "deep": (zstandard.compress(b"[" * 200000), {}),
    "deep records": (zstandard.compress(b'{"version":1,"records":' + b"[" * 200000), {}),
    "no JSON": (zstandard.compress(b"\xff\xfe"), {}),
    "another version": (config_of([], 2), {}),
    "records that are none": (config_of(3), {}),
    "a million records": (config_of([0] * 1000000), {}),
    "another artifact": (config_of([]), {"artifactType": "application/vnd.other"}),
    "no artifact": (config_of([]), {"artifactType": None}),
    "no configuration": (config_of([]), {"config": None}),
    "a configuration that is a list": (config_of([]), {"config": []}),
    "layers that are none": (config_of([]), {"layers": "sha256"}),
    "a layer that is none": (config_of([]), {"layers": [{"digest": "sha256:../x"}]}),
    "many manifests": (config_of([]), {"annotations": {"io.envd.cache.manifests": "1000000"}}),
    "further manifests elsewhere": (
        config_of([]),
        {"annotations": {"io.envd.cache.manifests": "2", "io.envd.cache.tag": "../../other"}},
    ),
    "further manifests nowhere": (config_of([]), {"annotations": {"io.envd.cache.manifests": "2"}}),
    "manifests that are no number": (config_of([]), {"annotations": {"io.envd.cache.manifests": "x"}}),
}


@pytest.mark.parametrize("name", PACKS)
def test_a_malformed_pack_counts_for_nothing(
    name: str, honest: tuple[Machine, dict[str, str]], victim: Machine, tmp_path: Path
) -> None:
    machine, outputs = honest
    config, manifest = PACKS[name]
    place = Directory(tmp_path / "cache")
    publish(place, machine, outputs, config, **manifest)
    assert victim.build(PLAN, [place]) == outputs
    assert len(victim.built) == len(PLAN) and len(victim.warnings()) == 1


def test_a_layer_that_is_not_what_was_signed_never_gets_in(
    honest: tuple[Machine, dict[str, str]], victim: Machine, tmp_path: Path
) -> None:
    """The signer is trusted, and says that an object has another's blob."""
    machine, outputs = honest
    records = publisher.records(PLAN, outputs, machine.store)
    other = next(r.object for r in records if r.object.name == "layer-1")
    lying = [
        replace(r, object=replace(r.object, digest=other.digest, size=other.size))
        if r.object.name == "layer-0"
        else r
        for r in records
    ]
    rows = [r.signed(KEY.sign(r.message(""))).as_dict() for r in lying]
    place = Directory(tmp_path / "cache")
    publish(place, machine, outputs, config_of(rows))
    outputs = victim.build(PLAN, [place])
    with pytest.raises(CorruptError, match="layer-0"):
        for target in PLAN:
            victim.store.tree(outputs[target.drv_id])
