"""Which programs run outside of the sandbox: those that read what the user or envd itself wrote.

What others wrote is read by programs of the machine in `engine.realise.jail` alone. A call that starts a
program in another way has a line in HOST, with what it reads; `engine.core.command` starts them, and
`engine.realise.jail`, `sandbox` and `spawn` are the sandbox itself.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STARTS = {
    "subprocess": ["run", "Popen", "call", "check_call", "check_output", "getoutput", "getstatusoutput"],
    "command": ["run", "ask", "ask_text"],
    "held": ["ask"],
    "asyncio": ["create_subprocess_exec", "create_subprocess_shell"],
    "os": [
        "system",
        "popen",
        "execv",
        "execve",
        "execvp",
        "execvpe",
        "execl",
        "execlp",
        "execle",
        "execlpe",
        "spawnv",
        "spawnve",
        "spawnvp",
        "spawnl",
        "spawnlp",
        "posix_spawn",
        "posix_spawnp",
        "startfile",
    ],
}
NAMES = frozenset(["ask", "ask_text", "Popen"])  # imported by themselves

# file:function -> what it reads
HOST: dict[str, str] = {
    "engine/realise/jail.py:ask": "where no sandbox can be made; it is said",
    "engine/realise/spawn.py:_start.start": "the sandbox itself",
    "engine/realise/bubblewrap.py:_knows_size": "bwrap's help",
    "engine/realise/overlays.py:check": "nothing: mount tries an overlay of empty directories",
    "engine/net/held.py:ask": "uv and rattler: indexes and metadata, in memory-safe code, with limits",
    "engine/ecosystems/conda/asking.py:ask": "rattler, by engine.net.held",
    "engine/ecosystems/python/uv.py:_run": "uv, by engine.net.held",
    "engine/ecosystems/python/pythons.py:_builds": "uv's own list of Pythons",
    "engine/ecosystems/tools/npm.py:_configured": "the user's settings of npm",
    "engine/ecosystems/includes/reach.py:Reach._ask": "the user's credential helpers",
    "engine/ecosystems/includes/reach.py:_user_settings": "the user's settings of git",
    "engine/ecosystems/includes/reach.py:_ssh_settings": "the user's settings of ssh",
    "engine/net/apt_settings.py:_own": "the machine's settings of apt",
    "engine/realise/userns.py:_kernel_refuses": "nothing",
    "engine/realise/userns.py:enter": "envd again",
    "engine/cli/entry.py:speak_utf8": "envd again",
    "envd/child.py:answer": "envd again",
    "engine/realise/idmapped.py:_see_proc": "nothing",
    "engine/realise/idmapped.py:_namespace": "nothing",
    "engine/app/doctor.py:_bubblewrap": "bwrap's version",
    "engine/oci/logins.py:_call": "the user's credential helper of docker",
    "engine/docker/tunnel.py:socket_of.serve": "the user's ssh, to the user's engine",
    "engine/docker/tunnel.py:exchange": "the user's ssh, to the user's engine",
    "engine/cli/starting.py:attach_to": "the user's ssh, to the user's container",
    "engine/cli/starting.py:build": "envd again",
}


def is_start(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.attr in STARTS.get(node.value.id, ())
    if isinstance(node, ast.Name):
        return node.id in NAMES and isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.ImportFrom) and node.module in ("subprocess", "os", "asyncio"):
        return bool({x.name for x in node.names} & set(STARTS[node.module]))
    return False


def starts(source: str) -> Iterator[tuple[str, int]]:
    """(function, line) of each place of a module that may start a program."""

    def visit(node: ast.AST, function: str) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            inner = function
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{function}.{child.name}" if function else child.name
            if is_start(child):
                yield inner, child.lineno  # type: ignore[attr-defined]
            yield from visit(child, inner)

    return visit(ast.parse(source), "")


def test_no_other_program_runs_outside_of_the_sandbox() -> None:
    new, needed = [], set()
    for room in ("engine", "store", "grammar", "envd"):
        for path in sorted((ROOT / room).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name == "engine/core/command.py":
                continue
            for function, line in starts(path.read_text("utf-8")):
                if f"{name}:{function}" in HOST:
                    needed.add(f"{name}:{function}")
                else:
                    new.append(f"{name}:{line}: in {function or 'the module'}")
    assert not new, "use engine.realise.jail, or say in HOST what it reads:\n" + "\n".join(new)
    assert sorted(HOST.keys() - needed) == [], "no longer needed"


@pytest.mark.parametrize(
    "line",
    [
        "subprocess.run(['git'])",
        "command.run(['tar'], log=print)",
        "command.ask(['gpg'])",
        "ask_text(x)",
        "subprocess.Popen(x)",
        "os.execvp('ssh', x)",
        "starter = command.ask_text",
        "os.system('x')",
        "from subprocess import run as r",
    ],
)
def test_a_program_that_is_started_is_found(line: str) -> None:
    assert [function for function, _ in starts(f"def f(x):\n    {line}\n")] == ["f"]


def test_one_in_the_sandbox_is_none() -> None:
    assert not list(starts("def f(x):\n    jail.ask(x)\n    jail.run(x)\n    sandbox.run(x)\n"))
