"""The section "vscode": extensions of VS Code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.core.derivation import Derivation
from engine.ecosystems.vscode import builder as layers
from engine.ecosystems.vscode import resolver as vscode
from engine.lock.model import Lock
from engine.lock.packages import Vsix
from engine.sections.section import Draft, Section, names, no_variables, places_of, texts


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
    resolve=lambda session, _: vscode.resolve(session.environment.vscode_extensions, session.log),
    unpinned=_unpinned,
    derivations=_layers,
    variables=no_variables,
    builders=layers.BUILDERS,
)
