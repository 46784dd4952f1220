"""The sections "files" (io.http) and "images" (layers that io.copy takes files from)."""

from __future__ import annotations

from collections.abc import Sequence

from engine.core.derivation import Derivation
from engine.ecosystems.images import http, image_files, web
from engine.lock.packages import Layer, WebFile
from engine.sections.section import Draft, Section, by_fact, no_layers, no_variables
from grammar.environment import Environment, Position


def _places(environment: Environment) -> tuple[Position, ...]:
    return tuple(step.position for step in environment.steps)


def _files(draft: Draft) -> Sequence[Derivation]:
    # There before the first step, in whichever order they are written.
    pinned = {p.request: p for p in draft.lock.rows("files", WebFile)}
    return [
        http.derivation(pinned[web.text_of(wanted)], wanted.url) for wanted in web.files(draft.environment)
    ]


FILES = Section(
    name="files",
    holds=(WebFile,),
    requests=web.file_requests,
    places=_places,
    resolve=lambda session, lock: web.resolve_files(
        session.environment, lock.rows("files", WebFile), session.store, session.log
    ),
    unpinned=by_fact("files", "request"),
    derivations=_files,
    variables=no_variables,
    builders={http.KIND: http.build},
    is_topmost=True,
)

IMAGES = Section(
    name="images",
    holds=(Layer,),
    requests=web.image_requests,
    places=_places,
    resolve=lambda session, lock: web.resolve_images(
        session.environment, lock.rows("images", Layer), session.log
    ),
    unpinned=by_fact("images", "image"),
    derivations=no_layers,
    variables=no_variables,
    builders={image_files.KIND: image_files.build},
    is_topmost=True,
)
