"""Plans of trivial layers, built in this process and shared through a place: what a cache does, in
milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.cache import keys, publisher
from engine.cache.keys import SigningKey
from engine.cache.place import Place, Sent
from engine.cache.substituter import Substituter
from engine.core.derivation import Derivation, Input
from engine.core.events import Event
from engine.realise import placed
from engine.realise.context import BuildContext
from engine.realise.scheduler import Work, realise
from store import Store
from store.elsewhere import layer_file
from store.errors import LostError

KEY = keys.generate("team-1")


def plan(count: int, salt: str = "") -> list[Derivation]:
    """A stack of layers: a base, and others that are placed upon it; one is built upon all below."""
    raw = [Derivation("file", f"layer-{n}", 1, (), {"text": f"{n} {salt}"}) for n in range(count - 1)]
    stack = placed.stacked(raw, (), ())
    top = Derivation("file", "top", 1, tuple(Input("layer", d) for d in stack), {"text": salt})
    return [*stack, top]


@dataclass
class Machine:
    """A store, and what its last build said and did."""

    store: Store
    built: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def _build(self, context: BuildContext) -> Path:
        self.built.append(context.name)
        for layer in context.layers:
            assert any(layer.iterdir())
        upper = context.scratch / "upper"
        upper.mkdir()
        (upper / context.name).write_text(str(context.parameters["text"]) * 2000)
        return upper

    def build(
        self,
        targets: Sequence[Derivation],
        places: Sequence[Place] = (),
        *,
        key: SigningKey = KEY,
        salt: str = "",
    ) -> dict[str, str]:
        """Build, from nothing but what the store and the places have, and have all bytes here."""
        self.built, self.events = [], []
        substituter = Substituter(places, [key.public], self.store, self.events.append, salt=salt)
        self.store.supplier = substituter
        while True:
            try:
                outputs = realise(
                    targets,
                    self.store,
                    {"file": self._build},
                    Work(substituter=substituter),
                    emit=self.events.append,
                )
                for target in targets:
                    found = self.store.get(outputs[target.drv_id])
                    assert found is not None
                    layer_file(self.store, found)
                return outputs
            except LostError:
                continue

    def publish(
        self,
        place: Place,
        targets: Sequence[Derivation],
        outputs: dict[str, str],
        key: SigningKey = KEY,
        salt: str = "",
    ) -> Sent:
        """Share what was built."""
        return publisher.publish(place, targets, outputs, self.store, key, salt=salt)

    def kinds(self, kind: str) -> list[str]:
        """The names of the events of that kind."""
        return [e.name for e in self.events if e.kind == kind]

    def warnings(self) -> list[str]:
        """What was warned of."""
        return [e.text for e in self.events if e.kind == "message" and e.text.startswith("warning")]
