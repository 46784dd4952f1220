"""Timing whole processes, two of them in turn (A B A B …), so that a busy moment hits both."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """Medians of A and B in seconds, and the median of their ratios A / B."""

    a: float
    b: float
    ratio: float
    rounds: int


def seconds(
    argv: Sequence[str], environment: Mapping[str, str], directory: Path, show: bool = False
) -> float:
    """How long a process takes; raises RuntimeError with its output when it fails."""
    start = time.perf_counter()
    done = subprocess.run(argv, env=environment, cwd=directory, check=False, capture_output=True, text=True)
    took = time.perf_counter() - start
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {(done.stdout + done.stderr)[-4000:]}")
    return took


def in_turn(a: Callable[[int], float], b: Callable[[int], float], rounds: int) -> Pair:
    """Run A and B in turn; each is given the number of the round and says how long it took."""
    pairs = [(a(number), b(number)) for number in range(rounds)]
    return Pair(
        statistics.median(x for x, _ in pairs),
        statistics.median(y for _, y in pairs),
        statistics.median(x / y for x, y in pairs),
        rounds,
    )


def show(title: str, a: str, b: str, pair: Pair, note: str = "") -> None:
    """Print one comparison."""

    def human(value: float) -> str:
        return f"{value * 1000:8.1f} ms" if value < 1 else f"{value:8.2f} s "

    width = max(len(a), len(b), len("ratio")) + 2
    print(f"{title} (median of {pair.rounds}, in turn)")
    print(f"  {a:<{width}}{human(pair.a)}")
    print(f"  {b:<{width}}{human(pair.b)}")
    print(f"  {'ratio':<{width}}{pair.ratio:8.2f}{'   ' + note if note else ''}", flush=True)
