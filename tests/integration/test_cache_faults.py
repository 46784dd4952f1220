"""A cache that is down, slow, lying or dying costs a warning, and never a build."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.cache import pack
from engine.cache.remote import Remote
from store import Store
from store.errors import RegistryError
from store.verify import verify
from tests.faults import server
from tests.faults.server import Bad, Fault
from tests.integration import servers
from tests.integration.workshop import KEY, Machine, plan

PLAN = plan(6)


@pytest.fixture(scope="module")
def registry() -> Iterator[servers.RegistryServer]:
    with servers.registry() as running:
        yield running


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[[str], Machine]]:
    stores: list[Store] = []

    def another(name: str) -> Machine:
        stores.append(Store.open(tmp_path / name))
        return Machine(stores[-1])

    yield another
    for store in stores:
        store.close()


@pytest.fixture
def front(registry: servers.RegistryServer) -> Iterator[Bad]:
    with server.running(behind=registry.address) as bad:
        yield bad


@pytest.fixture
def right(registry: servers.RegistryServer, machine: Callable[[str], Machine]) -> dict[str, str]:
    """What comes of the plan; it is published."""
    first = machine("writer")
    outputs = first.build(PLAN)
    first.publish(Remote(f"{registry.address}/team/cache", first.store), PLAN, outputs)
    return outputs


FAULTS = (
    Fault("hole", "/manifests/"),
    Fault("500", "/manifests/"),
    Fault("503after", "/v2/"),
    Fault("429after", "/blobs/"),
    Fault("401", "/manifests/"),
    Fault("403", "/blobs/"),
    Fault("drop", "/v2/"),
    Fault("html", "/manifests/"),
    Fault("html", "/blobs/"),
    Fault("empty", "/manifests/"),
    Fault("empty", "/blobs/"),
    Fault("loop", "/blobs/"),
    Fault("wrong", "/blobs/"),
    Fault("close", "/blobs/"),
    Fault("short", "/blobs/"),
    Fault("too-large", "/blobs/"),
    Fault("404", "/blobs/"),
    Fault("body", "/manifests/", body=b"[" * 100000),
    Fault("body", "/manifests/", body=b'{"artifactType": 3}'),
    Fault("body", "/blobs/", body=b"(\xb5/\xfd"),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.kind}{f.path}{f.body[:6]!r}")
def test_it_is_built_here(
    fault: Fault, front: Bad, right: dict[str, str], machine: Callable[[str], Machine]
) -> None:
    front.faults.append(fault)
    second = machine("reader")
    place = Remote(f"{front.address}/team/cache", second.store)
    assert second.build(PLAN, [place]) == right
    assert sorted(second.built) == sorted([f"layer-{n}" for n in range(5)] + ["top"])
    assert len(second.warnings()) == 1 or fault.kind == "404", second.warnings()
    assert fault.seen


@pytest.mark.parametrize("kind", ["wrong", "close", "404", "stall", "drop", "500"])
def test_layers_that_do_not_come_are_built_here(
    kind: str, front: Bad, right: dict[str, str], machine: Callable[[str], Machine]
) -> None:
    first = machine("reader")
    place = Remote(f"{front.address}/team/cache", first.store)
    data = place.manifest(pack.plan_tag([t.drv_id for t in PLAN], ""))
    assert data is not None
    digest = json.loads(data)["layers"][2]["digest"]
    front.faults.append(Fault(kind, digest))
    assert first.build(PLAN, [place]) == right
    assert "layer-2" in first.built and len(first.warnings()) == 1
    # one whose bytes are wanted by a builder, not by the end of the build
    other = machine("other")
    more = [*PLAN, *plan(2, "more")]
    front.faults[0].seen = 0
    outputs = other.build(more, [Remote(f"{front.address}/team/cache", other.store)])
    assert {t.drv_id: outputs[t.drv_id] for t in PLAN} == {t.drv_id: right[t.drv_id] for t in PLAN}


def test_nobody_listens(right: dict[str, str], machine: Callable[[str], Machine]) -> None:
    second = machine("reader")
    port = servers.free_port()
    assert second.build(PLAN, [Remote(f"127.0.0.1:{port}/team/cache", second.store)]) == right
    (text,) = second.warnings()
    assert f"127.0.0.1:{port}/team/cache" in text and "is not used any more in this run" in text


def test_the_registry_dies_while_layers_come_and_while_they_go(
    tmp_path: Path, machine: Callable[[str], Machine]
) -> None:
    mortal = server.Registry(tmp_path)
    mortal.start()
    mortal.wait()
    first = machine("writer")
    right = first.build(PLAN)
    try:
        with server.running(behind=mortal.address) as front:
            front.faults.append(Fault("", method="PUT", path="/manifests/", times=1, call=mortal.kill))
            with pytest.raises(RegistryError):
                first.publish(Remote(f"{front.address}/team/cache", first.store), PLAN, right)
            mortal.start()
            mortal.wait()
            first.publish(Remote(f"{front.address}/team/cache", first.store), PLAN, right)
            seen: list[int] = []

            def dies() -> None:
                seen.append(1)
                if len(seen) == 2:
                    mortal.kill()

            front.faults[:] = [Fault("", path="/blobs/", call=dies)]
            second = machine("reader")
            assert second.build(PLAN, [Remote(f"{front.address}/team/cache", second.store)]) == right
            assert len(second.warnings()) == 1
            mortal.start()
            mortal.wait()
            third = machine("third")
            assert third.build(PLAN, [Remote(f"{front.address}/team/cache", third.store)]) == right
            assert third.built == [] and third.warnings() == []
    finally:
        mortal.kill()


def test_racing_publishers_lose_nothing(
    registry: servers.RegistryServer, machine: Callable[[str], Machine]
) -> None:
    """Several publish plans of their own, and all of them one that they share."""
    shared = plan(4, "shared")
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            own = machine(f"racer-{number}")
            for round_ in range(6):
                mine = plan(3, f"{number} {round_}")
                for targets in (mine, shared):
                    place = Remote(f"{registry.address}/race/cache", own.store)
                    own.publish(place, targets, own.build(targets))
        except BaseException as error:  # shown by the main thread
            problems.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    reader = machine("reader")
    place = Remote(f"{registry.address}/race/cache", reader.store)
    for targets in (shared, *(plan(3, f"{n} {r}") for n in range(4) for r in range(6))):
        reader.build(targets, [place])
        assert reader.built == [] and reader.warnings() == []


def test_many_realisations_cost_few_requests(
    registry: servers.RegistryServer, machine: Callable[[str], Machine]
) -> None:
    targets = plan(300, "many")
    first = machine("writer")
    outputs = first.build(targets)
    place = Remote(f"{registry.address}/many/cache", first.store)
    before = len(registry.requests())
    first.publish(place, targets, outputs)
    asked = [(m, p) for m, p, _ in registry.requests()[before:]]
    layers = {x.digest for t in targets if (x := first.store.get(outputs[t.drv_id])) is not None}
    # an upload begins with a POST
    beside = [(m, p) for m, p in asked if not any(d in p for d in layers)]
    beside = [(m, p) for m, p in beside if not (m == "POST" and "/blobs/uploads/" in p)]
    assert len(beside) <= 6, beside
    second = machine("reader")
    before = len(registry.requests())
    reader = Remote(f"{registry.address}/many/cache", second.store)
    substituted = second.build(targets, [reader])
    assert substituted == outputs and second.built == []
    looked = [p for _, p, _ in registry.requests()[before:] if not any(d in p for d in layers)]
    assert len(looked) <= 4, looked


def test_a_salt_disowns_what_was_published(
    registry: servers.RegistryServer, machine: Callable[[str], Machine]
) -> None:
    targets = plan(3, "salted")
    first = machine("writer")
    outputs = first.build(targets)
    name = f"{registry.address}/salted/cache"
    first.publish(Remote(name, first.store), targets, outputs)
    second = machine("reader")
    assert second.build(targets, [Remote(name, second.store)], salt="2") == outputs
    assert len(second.built) == 3
    second.publish(Remote(name, second.store), targets, outputs, salt="2")
    third = machine("third")
    assert third.build(targets, [Remote(name, third.store)], salt="2") == outputs
    assert third.built == []
    assert KEY.name == "team-1"


def test_what_is_known_without_bytes_is_no_damage_and_is_built_when_it_is_needed(
    registry: servers.RegistryServer, machine: Callable[[str], Machine]
) -> None:
    *below, top = plan(3, "known")
    first = machine("writer")
    outputs = first.build([top])
    name = f"{registry.address}/known/cache"
    first.publish(Remote(name, first.store), [top], outputs)
    second = machine("reader")
    assert second.build([top], [Remote(name, second.store)]) == outputs and second.built == []
    assert verify(second.store) == []
    again = second.build([*below, top], [Remote(name, second.store)])
    assert sorted(second.built) == ["layer-0", "layer-1"] and again == outputs
