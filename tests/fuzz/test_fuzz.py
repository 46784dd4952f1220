"""A short run of each fuzzer: crashes and hangs are failures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TARGETS = sorted(path.stem for path in HERE.glob("fuzz_*.py"))


@pytest.mark.parametrize("target", [pytest.param(t, marks=pytest.mark.xdist_group(t)) for t in TARGETS])
def test_half_a_minute_of_fuzzing(target: str, tmp_path: Path) -> None:
    seconds = os.environ.get("ENVD_TEST_FUZZ_SECONDS", "30")
    done = subprocess.run(
        [sys.executable, str(HERE / f"{target}.py"), f"-max_total_time={seconds}", "-seed=1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=float(seconds) + 300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(tmp_path.iterdir())
    assert "Done " in done.stderr  # libFuzzer came to its end


def test_all_are_here() -> None:
    """What reads foreign input: the language, locks, archives, answers, requirements, Debian's files."""
    assert TARGETS == [
        "fuzz_debian",
        "fuzz_lock",
        "fuzz_registry",
        "fuzz_requirements",
        "fuzz_starlark",
        "fuzz_tar",
        "fuzz_zip",
    ]
