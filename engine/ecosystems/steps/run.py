"""`run(...)`: the user's own shell commands, over everything below, without network unless that is
asked for; `engine.realise.steps` is about those that have it.

They run in the project's directory, as `envd up` has it. It is there and empty, or with
`mount_host` the project itself, and no part of the layer unless something is written into it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.core.command import CancelledError, LimitError
from engine.core.derivation import Derivation, Input
from engine.ecosystems.debian import debs
from engine.ecosystems.steps import login
from engine.errors import BuildError, OfflineError
from engine.realise import confined, leftovers, sandbox, script
from engine.realise.context import BuildContext
from engine.realise.handed import handed
from engine.realise.selection import Selection
from engine.realise.snapshots import snapshot
from grammar.environment import Run
from store import offline
from store.hashing import hash_value

KIND = "run"
VERSION = 3


def content_of(directory: Path) -> str:
    """The fingerprint of a project's files, as commands see them. Raises OSError."""
    return Selection(str(directory)).fingerprint()


def derivation(
    step: Run,
    below: Sequence[Derivation],
    environment: Sequence[tuple[str, str]],
    directory: str,
    content: str = "",
) -> Derivation:
    """The derivation of one `run`. `environment` is the image's own; the commands run in
    `directory`, where with `content` (a project's fingerprint) they see the project."""
    commands = list(step.commands)
    return Derivation(
        KIND,
        f"run-{hash_value('envd run name v1', commands)[:8]}",
        VERSION,
        tuple(Input("layer", d) for d in below),
        {
            "commands": commands,
            "environment": [list(pair) for pair in environment],
            "directory": directory,
            **({"content": content} if content else {}),
            **({"network": True} if step.network else {}),
            **({"secrets": list(step.secrets)} if step.secrets else {}),
        },
        where=step.position if step.position.line else None,
    )


class BuilderOfRuns:
    """A builder that knows where the project is (`sources`: by the fingerprint of what is taken of
    it) and what the secrets are (`values`, by name): neither is part of a hash."""

    def __init__(self, sources: Mapping[str, Selection], values: Mapping[str, bytes] = {}) -> None:
        self._sources, self._values = sources, values

    def __call__(self, context: BuildContext) -> Path:
        """Run the commands; the first that fails ends the build. Raises BuildError, which says
        where in the spec and which command."""
        parameters = context.parameters
        commands, place = parameters["commands"], str(parameters["directory"])
        network = parameters.get("network") is True
        if network and offline.is_on():
            raise OfflineError(
                "the step may use the network, and what it gave is not in the store",
                position=context.origin,
                subject=context.name,
                advice=offline.ADVICE,
            )
        environment = _environment(context)
        wanted = [str(name) for name in parameters.get("secrets", ())]
        secrets = self._given(wanted, context)
        hidden = {f"secrets/{name}": value for name, value in secrets.items()}
        if network and (own := _proxies(environment)):
            # How this machine gets there is no part of what the step gives; it may hold a password,
            # and what a sandbox's command line says every user can read.
            hidden["variables"] = own
        binds = script.write(context.scratch, commands)
        if content := parameters.get("content"):
            binds = (*binds, sandbox.Bind(self._copied(content, context), place))
        try:
            with handed(context.scratch, hidden) as pipes:
                upper = sandbox.run(
                    script.ARGV,
                    layers=context.layers,
                    scratch=context.scratch,
                    binds=(*binds, *pipes),
                    cwd=place,
                    environment=environment,
                    network=network,
                    log=context.log,
                    name=context.name,
                )
        except CancelledError:
            raise
        except BuildError as error:
            raise _explained(error, context) from error
        if not network and script.failure(context.scratch, commands).network:
            context.say(
                f"{context.origin or context.name}: it tried to use the network, which `run` does not "
                "have, and went on without; if it matters, fetch files with io.http, or write run(..., "
                "network=True)"
            )
        debs.clean(upper, context.log, by_user=True, warn=context.warn)
        leftovers.clean(upper)
        for name, path in _kept(secrets, upper):
            context.say(
                f"warning: {context.origin or context.name}: {path} holds the value of the secret "
                f"{name}, and so will the image; let the step remove it"
            )
        return upper

    def _given(self, names: Sequence[str], context: BuildContext) -> dict[str, bytes]:
        for name in names:
            if name not in self._values:
                raise BuildError(
                    f"the step needs the secret {name}",
                    position=context.origin,
                    subject=context.name,
                    advice=f"give --secret {name}=env:VARIABLE (or =file:PATH)",
                )
        return {name: self._values[name] for name in names}

    def _copied(self, content: str, context: BuildContext) -> Path:
        """A copy: what an editor writes meanwhile is not seen, nor whose files they are."""
        copy = context.scratch / "project"
        snapshot(self._sources[content], copy, content, context.name)
        return copy


def _explained(error: BuildError, context: BuildContext) -> BuildError:
    """The error with the place in the spec, the command that failed, and whether it is the network
    that it lacks."""
    known = script.failure(context.scratch, context.parameters["commands"])
    if isinstance(error, LimitError):
        ended = f"ended at `{known.command}`" if known.command else "ended"
        return LimitError(context.name, error.reason, error.log, ended=ended, position=context.origin)
    at = f" at `{known.command}`" if known.command else ""
    advice = error.advice
    if not context.parameters.get("network") and (known.network or script.speaks_of_network(error.log)):
        advice = f"{advice}; " * bool(advice) + (
            "it tried to use the network, which `run` does not have: fetch files with io.http, or "
            "let this step use it with run(..., network=True)"
        )
    return BuildError(
        f"{error.message}{at}", error.log, position=context.origin, subject=error.subject, advice=advice
    )


# Each of them also in capitals. Programs in the step see them, and nothing else does.
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")


def _proxies(environment: Mapping[str, str]) -> bytes:
    """This machine's, but for what the image's `environment` says itself: commands of a shell."""
    names = (*_PROXIES, *(name.upper() for name in _PROXIES))
    found = {name: value for name in names if (value := os.environ.get(name)) and name not in environment}
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in found.items()]
    return "".join(lines).encode("utf-8", "surrogateescape")


_SHORTEST = 6  # bytes of a secret that a file is searched for: others are in many files
_SHOWN = 5  # files that are named
_PIECE = 1 << 20


def _kept(secrets: Mapping[str, bytes], upper: Path) -> list[tuple[str, str]]:
    """Which secret is in which file of a layer: (its name, the file's), not more than are shown."""
    needles = {name: value.strip() for name, value in secrets.items() if len(value.strip()) >= _SHORTEST}
    found: list[tuple[str, str]] = []
    for path in confined.files(upper) if needles else ():
        found += [(name, f"/{path}") for name in _held(upper, path, needles)]
        if len(found) >= _SHOWN:
            break
    return found[:_SHOWN]


def _held(upper: Path, path: str, needles: Mapping[str, bytes]) -> list[str]:
    overlap = max(map(len, needles.values())) - 1
    found: set[str] = set()
    before = b""
    with confined.opened(upper, path) as file:
        while file is not None and (piece := file.read(_PIECE)):
            window = before + piece
            found |= {name for name, value in needles.items() if value in window}
            before = window[-overlap:] if overlap else b""
    return sorted(found)


def _environment(context: BuildContext) -> dict[str, str]:
    """The image's variables, with those that conda's activation gave."""
    found = {str(k): str(v) for k, v in context.parameters["environment"]}
    for name, tree in zip(context.layer_names, context.layers, strict=True):
        if name == login.NAME:
            found.update(login.given(tree))
    return found
