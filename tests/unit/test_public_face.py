"""`import envd`: its functions, what they give, and what they raise."""

from __future__ import annotations

import inspect
import io
import os
import subprocess
import sys
import time
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

import engine.errors
import envd
import grammar.errors
import store.errors
from envd.errors import KINDS
from envd.functions import _FLAGS, BuildOptions, LockOptions, PullOptions, PushOptions


def test_every_name_is_there() -> None:
    assert set(envd.__all__) < set(dir(envd))
    for name in envd.__all__:
        assert getattr(envd, name).__doc__, name
    with pytest.raises(AttributeError):
        envd.nothing  # noqa: B018


def test_every_error_of_ours_has_a_kind() -> None:
    """What users' programs catch: a new exception must find its place."""
    for module in (engine.errors, store.errors, grammar.errors):
        for name, kind in inspect.getmembers(module, inspect.isclass):
            ours = kind.__module__ == module.__name__ and name != "EnvdError"
            if ours and issubclass(kind, Exception):
                nearest = next((k.__name__ for k in kind.__mro__ if k.__name__ in KINDS), None)
                assert nearest is not None, name
                public = KINDS[nearest]("text", exit_code=getattr(kind, "exit_code", 1))
                assert isinstance(public, envd.Error) and str(public) == "text"


def test_every_option_is_the_commands() -> None:
    from engine.cli import build, lock, pull, push

    for options, command in (
        (BuildOptions, build.build),
        (LockOptions, lock.lock),
        (PushOptions, push.push),
        (PullOptions, pull.pull),
    ):
        known = {option for parameter in command.params for option in parameter.opts}
        for name in options.__annotations__.keys() - {"load", "store"}:
            assert _FLAGS[name] in known, name


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match=r"lock.. has no option 'tags'; it has check, dev, file, limits"):
        envd.lock(tags=["a"])  # type: ignore[call-arg]
    with pytest.raises(envd.UsageError, match=r"no-such.envd: no such file") as caught:
        envd.build("no-such.envd")
    assert caught.value.exit_code == 2
    with pytest.raises(envd.UsageError, match="is not in the range"):
        envd.build(jobs=0)
    Path("build.envd").write_text("def build():\n    bose()\n")
    with pytest.raises(envd.SpecError, match=r"build\.envd:2:5") as caught:
        envd.lock()
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column) == ("build.envd", 2, 5)
    assert "bose" in problem.message
    Path("build.envd").write_text("def build():\n    base()\n    shell(1)\n    shell(nam='zsh')\n")
    with pytest.raises(envd.SpecError) as caught:
        envd.lock()
    assert [p.line for p in caught.value.problems] == [3, 4]
    Path("build.envd").write_text("def build():\n    base()\n")
    with pytest.raises(envd.LockMismatch, match="no such file"):
        envd.build(locked=True, store=tmp_path / "store")
    with pytest.raises(envd.RegistryError) as refused:
        envd.pull("127.0.0.1:1/none:v1", load=False, store=tmp_path / "store")
    assert refused.value.problems[0].message
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "store") == ["build.envd"]


def test_results_are_frozen() -> None:
    layer = envd.Layer("sha256:a", 3, "sha256:b")
    built = envd.Built("i", "d", ("t",), (layer, layer), (), (), (), (), ())
    assert built.size == 6
    with pytest.raises(FrozenInstanceError):
        built.tags = ()  # type: ignore[misc]


def test_what_is_said_comes_out_where_the_program_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook, sys.stderr is not file descriptor 2."""
    monkeypatch.chdir(tmp_path)
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    Path("build.envd").write_text("def build():\n    base(os='debian12')\n    config.pip_index('x')\n")
    with pytest.raises(envd.Error):
        envd.lock(progress="json", limits="memory=1G")
    assert "Traceback" not in said.getvalue()


def test_it_ends_with_the_program_that_asked(tmp_path: Path) -> None:
    """The process that works for it, too, and all that it has under way."""
    (tmp_path / "build.envd").write_text("def build():\n    while True:\n        pass\n")
    script = "import envd; envd.lock()"
    program = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
    try:
        worker = _worker(tmp_path)
    finally:
        program.kill()
        program.wait()
    for _ in range(300):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.1)
    os.kill(worker, 9)
    pytest.fail("the worker goes on")


def _worker(directory: Path) -> int:
    for _ in range(300):
        for place in Path("/proc").glob("[0-9]*"):
            try:
                words = (place / "cmdline").read_bytes().split(b"\0")
                if b"envd.worker" in words and (place / "cwd").readlink() == directory:
                    return int(place.name)
            except OSError:
                continue
        time.sleep(0.1)
    raise AssertionError("no worker began")
