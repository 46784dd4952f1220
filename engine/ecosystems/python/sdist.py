"""A source distribution: built into a wheel in the sandbox, then unpacked like any other.

Its PEP 517 backend and what that needs are wheels that the lock pins; the base and its apt
packages (compilers, headers) are the layers below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from engine.core.derivation import Derivation, Input
from engine.ecosystems.python import interpreter, wheel
from engine.ecosystems.python.interpreter import Interpreter
from engine.errors import BuildError
from engine.lock.packages import BuildWheel, Sdist
from engine.realise import confined, hints, sandbox
from engine.realise.context import BuildContext

KIND = "sdist"
VERSION = 1

_TOOLS = "/var/cache/envd-tools"  # build wheels, installed
_SOURCE = "/var/cache/envd-source"
_OUTPUT = "/var/cache/envd-wheels"


def derivation(
    package: Sdist, tools: Sequence[BuildWheel], python: Interpreter, below: Sequence[Derivation]
) -> Derivation:
    """The derivation of one sdist; `tools` are all build wheels of the lock."""
    needed = set(package.build or ())
    files = [package.file, *(t.file for t in tools if f"{t.name}=={t.version}" in needed)]
    return Derivation(
        KIND,
        f"{package.name}-{package.version}",
        VERSION,
        tuple(Input("layer", d) for d in below) + tuple(Input("file", f.fetch()) for f in files),
        {**python.parameters, "sdist": package.file.name},
    )


def build(context: BuildContext) -> Path:
    """Build the wheel and unpack it. Raises BuildError with the backend's log."""
    python = interpreter.of(context.parameters)
    files = dict(context.files)
    name = str(context.parameters["sdist"])
    tools, output = (context.scratch / n for n in ("tools", "wheels"))
    for directory in (tools, output):
        directory.mkdir()
    for tool, path in files.items():
        if tool != name:
            wheel.unpack(path, tool, tools, python, context.scratch)
    inner = context.scratch / "build"
    inner.mkdir()
    said: list[str] = []

    def log(line: str) -> None:
        said.append(line)
        context.log(line)

    try:
        _make(context, python, name, tools, output, inner, log)
    except BuildError as error:
        advice = hints.advice(said, headers_of_python=not python.prefix)
        raise BuildError(f"{error}{advice}", error.log) from error
    made = confined.regular(output, "*.whl")  # files alone: the backend could leave a link there
    if len(made) != 1:
        raise BuildError(f"its build made {len(made)} wheels, not one", subject=context.name)
    upper = context.new_upper()
    wheel.unpack(output / made[0], made[0], upper, python, context.scratch)
    return upper


def _make(
    context: BuildContext,
    python: Interpreter,
    name: str,
    tools: Path,
    output: Path,
    inner: Path,
    log: Callable[[str], None],
) -> None:
    """Have the backend make the wheel of the file `name`, in `output`."""
    source = dict(context.files)[name]
    sandbox.run(
        [
            python.executable,
            "-m",
            "pip",
            "wheel",
            "--no-index",
            "--no-deps",
            "--no-build-isolation",
            "--no-cache-dir",
            "--disable-pip-version-check",
            "--wheel-dir",
            _OUTPUT,
            f"{_SOURCE}/{name}",
        ],
        layers=context.layers,
        scratch=inner,
        environment={
            "PYTHONPATH": f"{_TOOLS}{python.site}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": f"{_TOOLS}{python.scripts}:{python.scripts}:/usr/local/bin:/usr/bin:/bin",
        },
        binds=(
            sandbox.Bind(tools, _TOOLS),
            sandbox.Bind(source, f"{_SOURCE}/{name}"),
            sandbox.Bind(output, _OUTPUT, writable=True),
        ),
        log=log,
        name=context.name,
    )
