"""The scheduler, with a real store and builders that write a file."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from engine.core.closure import in_order
from engine.core.derivation import Derivation, Fetch, Input
from engine.core.events import Event
from engine.errors import BuildError, EnvdError
from engine.realise import scheduler
from engine.realise.context import BuildContext, Builder
from store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store")
    yield opened
    opened.close()


class Workshop:
    """A builder that keeps count, and the events that the scheduler tells."""

    def __init__(self) -> None:
        self.built: list[str] = []
        self.events: list[Event] = []
        self.contexts: dict[str, BuildContext] = {}

    def build(self, context: BuildContext) -> Path:
        """A layer of one file, which says the parameter "text"."""
        self.built.append(context.name)
        self.contexts[context.name] = context
        upper = context.scratch / "upper"
        upper.mkdir()
        (upper / context.name).write_text(str(context.parameters.get("text", context.name)))
        return upper

    def fail(self, context: BuildContext) -> Path:
        self.built.append(context.name)
        (context.scratch / "half").write_text("written")
        raise BuildError("it went wrong", "the log's end")

    def realise(
        self,
        store: Store,
        *targets: Derivation,
        jobs: int = 2,
        force: bool = False,
        more: Mapping[str, Builder] | None = None,
    ) -> dict[str, str]:
        builders = {"file": self.build, "fail": self.fail, **(more or {})}
        return scheduler.realise(
            targets, store, builders, scheduler.Work(jobs=jobs, force=force), emit=self.events.append
        )

    def kinds(self, kind: str) -> list[str]:
        return [event.name for event in self.events if event.kind == kind]


def derivation(name: str, *inputs: Derivation | Fetch, kind: str = "file", **parameters: str) -> Derivation:
    items = tuple(Input("file" if isinstance(i, Fetch) else "layer", i) for i in inputs)
    return Derivation(kind, name, 1, items, parameters)


def file_of(path: Path, content: bytes, sha256: str = "") -> Fetch:
    path.write_bytes(content)
    return Fetch(path.name, path.as_uri(), sha256 or hashlib.sha256(content).hexdigest(), len(content))


def test_inputs_come_first_and_everything_once() -> None:
    low, side = derivation("low"), derivation("side")
    middle = derivation("middle", low, side)
    top = derivation("top", middle, low)
    names = [d.name for d in in_order([top, middle, side])]
    assert names == ["low", "side", "middle", "top"]
    chain = derivation("0")
    for number in range(1, 3000):
        chain = derivation(str(number), chain)
        assert chain.drv_id  # as a plan does, from the bottom up
    assert [d.name for d in in_order([chain])] == [str(n) for n in range(3000)]


def test_what_is_built_is_not_built_again(store: Store) -> None:
    low = derivation("low")
    top = derivation("top", low, derivation("side"))
    first, second = Workshop(), Workshop()
    outputs = first.realise(store, top)
    assert first.built[-1] == "top" and sorted(first.built) == ["low", "side", "top"]
    assert set(outputs) == {d.drv_id for d in in_order([top])}
    assert [p.name for p in first.contexts["top"].layers[0].iterdir()] == ["low"]
    assert first.contexts["top"].layer_names == ("low", "side")
    assert second.realise(store, top) == outputs
    assert second.built == [] and sorted(second.kinds("cached")) == ["low", "side", "top"]
    assert not any((store.path / "tmp").glob("*-low-*")) and not first.contexts["low"].scratch.exists()


def test_a_change_that_gives_the_same_bytes_stops_there(store: Store) -> None:
    Workshop().realise(store, derivation("top", derivation("low", text="same", comment="one")))
    again = Workshop()
    again.realise(store, derivation("top", derivation("low", text="same", comment="two")))
    assert again.built == ["low"] and again.kinds("cached") == ["top"]
    other = Workshop()
    other.realise(store, derivation("top", derivation("low", text="other")))
    assert other.built == ["low", "top"]


def test_a_failure_names_its_derivation_and_stops_the_rest(store: Store) -> None:
    bad = derivation("bad", derivation("low"), kind="fail")
    workshop = Workshop()
    with pytest.raises(BuildError, match="bad: it went wrong") as caught:
        workshop.realise(store, derivation("top", bad))
    assert caught.value.log == "the log's end"
    assert workshop.built == ["low", "bad"] and workshop.kinds("failed") == ["bad"]
    assert not workshop.contexts["low"].scratch.parent.joinpath("half").exists()
    # What was done stays done.
    again = Workshop()
    with pytest.raises(BuildError):
        again.realise(store, derivation("top", bad))
    assert again.built == ["bad"]


def test_what_nobody_builds_is_said_before_anything_is_built(store: Store) -> None:
    workshop = Workshop()
    with pytest.raises(BuildError, match="strange: nothing builds kind 'unknown'"):
        workshop.realise(store, derivation("strange", derivation("low"), kind="unknown"))
    assert workshop.built == []


def test_files_are_fetched_once_and_only_for_what_is_built(store: Store, tmp_path: Path) -> None:
    shared = file_of(tmp_path / "shared.bin", b"content")
    one, two = derivation("one", shared), derivation("two", shared)
    workshop = Workshop()
    outputs = workshop.realise(store, one, two)
    assert workshop.kinds("fetch-finish") == ["shared.bin"]
    ((name, path),) = workshop.contexts["one"].files
    assert (name, path.read_bytes()) == ("shared.bin", b"content")
    assert outputs[shared.drv_id] == f"sha256:{shared.sha256}"
    # Where the layer is there, its file is not asked for: the source is gone.
    (tmp_path / "shared.bin").unlink()
    again = Workshop()
    again.realise(store, one, two)
    assert again.kinds("fetch-start") == [] and again.built == []


def test_a_file_that_is_another_one_is_never_built_with(store: Store, tmp_path: Path) -> None:
    wrong = file_of(tmp_path / "wrong.bin", b"content", "ab" * 32)
    workshop = Workshop()
    with pytest.raises(EnvdError, match=r"wrong\.bin: .* is not the file that the lock pins"):
        workshop.realise(store, derivation("top", wrong))
    assert workshop.built == []


def test_so_many_builders_run_at_once_as_there_are_jobs(store: Store) -> None:
    both = threading.Barrier(2)

    def together(context: BuildContext) -> Path:
        both.wait(60)  # each waits for the other
        return workshop.build(context)

    workshop = Workshop()
    more: dict[str, Builder] = {"pair": together}
    workshop.realise(store, derivation("a", kind="pair"), derivation("b", kind="pair"), more=more)
    assert sorted(workshop.built) == ["a", "b"]

    running: list[str] = []

    def alone(context: BuildContext) -> Path:
        assert running == []
        running.append(context.name)
        made = workshop.build(context)
        running.clear()
        return made

    targets = [derivation(f"c{n}", kind="single") for n in range(8)]
    workshop.realise(store, *targets, jobs=1, more={"single": alone})
    assert workshop.built[2:] == [f"c{n}" for n in range(8)]


def test_force_builds_again_and_says_what_differs(store: Store) -> None:
    def random(context: BuildContext) -> Path:
        upper = workshop.build(context)
        (upper / "random").write_bytes(os.urandom(16))
        return upper

    workshop = Workshop()
    low, odd = derivation("low"), derivation("odd", kind="random")
    workshop.realise(store, low, odd, more={"random": random})
    workshop.realise(store, low, odd, force=True, more={"random": random})
    assert sorted(workshop.built) == ["low", "low", "odd", "odd"]
    said = [event.text for event in workshop.events if event.kind == "message"]
    assert any("built again, it differs" in text for text in said)
    assert any("random" in text for text in said)
    assert {e.name for e in workshop.events if e.kind == "message"} == {"odd"}


def test_who_is_told_beforehand_may_refuse(store: Store) -> None:
    workshop, told = Workshop(), []

    def refuse(pending: object) -> None:
        told.append(pending)
        raise BuildError("no")

    with pytest.raises(BuildError, match="no"):
        scheduler.realise([derivation("low")], store, {"file": workshop.build}, scheduler.Work(before=refuse))
    assert len(told) == 1 and workshop.built == []
