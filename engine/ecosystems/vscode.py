"""The section "vscode": extensions of VS Code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.build import vscode as layers
from engine.derivation import Derivation
from engine.ecosystems.section import Draft, Section, names, no_variables, places_of, texts
from engine.lock import Lock
from engine.lock_packages import Vsix
from engine.resolve import vscode


def _unpinned(lock: Lock, asked: Sequence[str], implied: Iterable[str]) -> Iterable[str]:
    there = {name.lower() for name in names(lock["vscode"])}
    return [text for text in asked if text.partition("@")[0].lower() not in there]


def _layers(draft: Draft) -> Sequence[Derivation]:
    packages = draft.lock.rows("vscode", Vsix)
    return layers.derivations(packages) if packages else []


VSCODE = Section(
    name="vscode",
    holds=(Vsix,),
    requests=lambda environment: texts(environment.vscode_extensions),
    places=lambda environment: places_of(environment.vscode_extensions),
    resolve=lambda session, _: vscode.resolve(
        session.environment.vscode_extensions, session.log
    ),
    unpinned=_unpinned,
    derivations=_layers,
    variables=no_variables,
    builders=layers.BUILDERS,
)
