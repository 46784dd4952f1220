"""What one evaluation may use: steps, memory, depth. A spec cannot make envd hang."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

MAX_SOURCE = 1 << 20  # characters of a file
MAX_TOKENS = 100_000  # of a file
MAX_NESTING = 200  # of expressions and blocks in a file, of brackets, and of values in each other
MAX_STEPS = 5_000_000  # about: nodes of the syntax tree that are evaluated
MAX_CALLS = 200  # inside each other
MAX_LENGTH = 4_000_000  # elements or characters of one value
MAX_KEY = 50_000  # elements and characters of a dict's key
MAX_BITS = 1 << 18  # of an int
MAX_MEMORY = 1 << 30  # bytes of all values that an evaluation makes, kept or not, about


class ValueProblem(Exception):  # noqa: N818 - becomes a SpecError once its place is known
    """An operation that its operands do not allow."""


class Meter:
    """Counts what an evaluation uses. All methods raise ValueProblem beyond a limit."""

    __slots__ = ("memory", "steps", "steps_left_at")

    def __init__(self, max_steps: int = MAX_STEPS) -> None:
        self.steps = 0
        self.steps_left_at = max_steps
        self.memory = 0

    def work(self, steps: int) -> None:
        """Count `steps`."""
        self.steps += steps
        if self.steps > self.steps_left_at:
            raise ValueProblem(f"the evaluation takes more than {self.steps_left_at} steps")

    def scan(self, size: int) -> None:
        """Count a look at `size` bytes."""
        if size > 256:
            self.work(size >> 8)

    def recode(self, text: str) -> None:
        """Count looking at the elements of a string, which are characters in ASCII only."""
        if not text.isascii():
            self.work(len(text) >> 4)

    def bytes(self, size: int) -> None:
        """Count a copy of `size` bytes."""
        self.memory += size
        if self.memory > MAX_MEMORY:
            raise ValueProblem("the evaluation needs too much memory")
        self.work(size >> 9)

    def elements(self, kind: str, number: int, size: int = 8) -> None:
        """Count a new value with `number` elements of `size` bytes each."""
        if number > MAX_LENGTH:
            raise ValueProblem(f"a {kind} of more than {MAX_LENGTH} elements")
        if number > 8:
            if size > 1:
                self.work(number >> 3)
            self.bytes(number * size)

    def integer(self, bits: int) -> None:
        """Count an int of `bits` bits."""
        if bits > MAX_BITS:
            raise ValueProblem(f"an int of more than {MAX_BITS} bits")
        self.bytes(bits >> 3)

    def quadratic(self, bits: int, other: int) -> None:
        """Count a multiplication or division of ints with so many bits."""
        self.work((bits >> 5) * (other >> 5) >> 7)


@contextmanager
def deep_stack() -> Iterator[None]:
    """Room on Python's stack for what the limits allow: its own limit is meant for bugs."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 20_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
