"""What the fuzz targets of foreign input share: how libFuzzer is started, and what must hold.

    make fuzz                                     each for 20 s
    make fuzz FUZZ=-max_total_time=3600
    .venv/bin/python tests/fuzz/fuzz_tar.py FILE  one input again, such as a crash

What libFuzzer takes is an argument here too. An exception that is not one of the project's own, a file
written outside, an input that takes more than a minute or 2 GB: each ends it with a status other than
0, and leaves the input as crash-… or timeout-… in the current directory. Inputs that found something,
and small ones that reach far, are in tests/fuzz/corpus.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import atheris

T = TypeVar("T")
HERE = Path(__file__).parent
LARGEST = 32 << 20  # bytes of one file that a target may write: more is what a limit would refuse


def run(
    name: str,
    one_input: Callable[[bytes, Path], None],
    *,
    longest: int = 4096,
    mutate: Callable[[bytes, int, int], bytes] | None = None,
) -> None:
    """Fuzz `one_input(data, directory)`; `directory` is empty before each, and what it may write."""
    given = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
    with tempfile.TemporaryDirectory(dir=_memory()) as scratch:
        outside = Path(scratch)
        corpus, victim, inside = (outside / n for n in ("corpus", "victim", "inside"))
        for path in (corpus, victim, inside):
            path.mkdir()
        (victim / "file").write_text("the host's own\n")

        def once(data: bytes) -> None:
            with contextlib.redirect_stderr(io.StringIO()):
                one_input(data, inside)
            check(victim, outside)

        options = ["-timeout=60", "-report_slow_units=60", f"-max_len={longest}", "-rss_limit_mb=2048"]
        dictionary = HERE / f"{name}.dict"
        if dictionary.exists():
            options.append(f"-dict={dictionary}")
        if all(option.startswith("-") for option in given):
            given = [*given, str(corpus), str(HERE / "corpus" / name)]
        os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=0")
        custom = {} if mutate is None else {"custom_mutator": mutate}
        atheris.Setup([sys.argv[0], *options, *given], once, **custom)
        atheris.Fuzz()


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def check(victim: Path, outside: Path) -> None:
    """That nothing beside the target was touched."""
    info = (victim / "file").stat()
    assert (victim / "file").read_bytes() == b"the host's own\n", "the host's file was written"
    assert info.st_nlink == 1, "the host's file was linked to"
    assert sorted(p.name for p in victim.iterdir()) == ["file"], "a file of the host's is new or gone"
    assert sorted(p.name for p in outside.iterdir()) == ["corpus", "inside", "victim"], "one beside it"


def said(error: BaseException) -> None:
    """That an error is one that a person can be shown: some text, and not a page of it."""
    text = str(error)
    assert text, f"{type(error).__name__} without a word"
    assert len(text) < 20_000, f"an error of {len(text)} characters"


class Bits:
    """Choices out of an input's bytes, for input that is made up of parts."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        """The next byte, 0 at the end."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def one(self, choices: Sequence[T]) -> T:
        """One of these."""
        return choices[self.byte() % len(choices)]

    def take(self, most: int = 64) -> bytes:
        """The next few bytes: how many, and they."""
        size = self.byte() % (most + 1)
        found = self._data[self._at : self._at + size]
        self._at += size
        return found

    def text(self, most: int = 64) -> str:
        """The same as text."""
        return self.take(most).decode("utf-8", "replace")
