"""`run(...)`: the user's own shell commands, over everything below, without network unless that is
asked for; `engine.steps` is about those that have it.

They run in the project's directory, as `envd up` has it. It is there and empty, or with
`mount_host` the project itself, and no part of the layer unless something is written into it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine import sandbox
from engine.build import debs, leftovers, login, script
from engine.build.context import BuildContext
from engine.build.snapshots import snapshot
from engine.command import CancelledError
from engine.derivation import Derivation, Input
from engine.errors import BuildError
from engine.selection import Selection
from grammar.environment import Run
from store.hashing import hash_value

KIND = "run"
VERSION = 3


def content_of(directory: Path) -> str:
    """The fingerprint of a project's files, as commands see them. Raises OSError."""
    return Selection(str(directory)).fingerprint()


def derivation(
    step: Run, below: Sequence[Derivation], environment: Sequence[tuple[str, str]],
    directory: str, content: str = "",
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
            "commands": commands, "environment": [list(pair) for pair in environment],
            "directory": directory, **({"content": content} if content else {}),
            **({"network": True} if step.network else {}),
        },
        where=str(step.position) if step.position.line else "",
    )


class BuilderOfRuns:
    """A builder that knows where the project is (`sources`: by the fingerprint of what is taken of
    it): its path is no part of a hash."""

    def __init__(self, sources: Mapping[str, Selection]) -> None:
        self._sources = sources

    def __call__(self, context: BuildContext) -> Path:
        """Run the commands; the first that fails ends the build. Raises BuildError, which says
        where in the spec and which command."""
        parameters = context.parameters
        commands, place = parameters["commands"], str(parameters["directory"])
        network = parameters.get("network") is True
        environment = _environment(context)
        if network:  # how this machine gets there is no part of what the step gives
            environment = {**_proxies(), **environment}
        binds = script.write(context.scratch, commands)
        if content := parameters.get("content"):
            binds = (*binds, sandbox.Bind(self._copied(content, context), place))
        try:
            upper = sandbox.run(
                script.ARGV, layers=context.layers, scratch=context.scratch, binds=binds,
                cwd=place, environment=environment, network=network, log=context.log,
                name=context.name,
            )
        except CancelledError:
            raise
        except BuildError as error:
            raise _explained(error, context) from error
        if not network and script.failure(context.scratch, commands).network:
            context.say(
                f"{context.origin}: it looked for the network, which `run` does not have, and went "
                "on without; if it matters, fetch files with io.http, or write run(..., network=True)"
            )
        debs.clean(upper, context.log, by_user=True)
        leftovers.clean(upper)
        return upper

    def _copied(self, content: str, context: BuildContext) -> Path:
        """A copy: what an editor writes meanwhile is not seen, nor whose files they are."""
        copy = context.scratch / "project"
        snapshot(self._sources[content], copy, content, context.name)
        return copy


def _explained(error: BuildError, context: BuildContext) -> BuildError:
    """The error with the place in the spec, the command that failed, and whether it is the network
    that it lacks."""
    known = script.failure(context.scratch, context.parameters["commands"])
    text = f"{context.origin}: {error}" if context.origin else str(error)
    if known.command:
        text += f" at `{known.command}`"
    if context.parameters.get("network"):
        return BuildError(text, error.log)
    if known.network or script.speaks_of_network(error.log):
        text += (
            "; it looked for the network, which `run` does not have: fetch files with io.http, or "
            "let this step use it with run(..., network=True)"
        )
    return BuildError(text, error.log)


# Each of them also in capitals. Programs in the step see them, and nothing else does.
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")


def _proxies() -> dict[str, str]:
    names = (*_PROXIES, *(name.upper() for name in _PROXIES))
    return {name: value for name in names if (value := os.environ.get(name))}


def _environment(context: BuildContext) -> dict[str, str]:
    """The image's variables, with those that conda's activation gave."""
    found = {str(k): str(v) for k, v in context.parameters["environment"]}
    for name, tree in zip(context.layer_names, context.layers, strict=True):
        if name == login.NAME:
            found.update(login.given(tree))
    return found
