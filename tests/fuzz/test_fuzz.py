"""A short run of the fuzzer: crashes and hangs are failures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "fuzz_starlark.py"


def test_twenty_seconds_of_fuzzing(tmp_path: Path) -> None:
    seconds = os.environ.get("ENVD_TEST_FUZZ_SECONDS", "20")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), f"-max_total_time={seconds}", "-seed=1"],
        cwd=tmp_path, capture_output=True, text=True, timeout=float(seconds) + 120, check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(tmp_path.iterdir())
    assert "Done " in done.stderr  # libFuzzer came to its end
