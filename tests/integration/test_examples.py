"""Every shipped example builds here, or says which host it needs that cannot be reached from here."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.integration.envd import Envd

ROOT = Path(__file__).resolve().parents[2]

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/build.envd"))


def needs(example: Path) -> str:
    """What the example's own comment says that it needs, or ""."""
    found = re.search(r"^# Needs: (.+)$", (example / "build.envd").read_text(), re.MULTILINE)
    return found[1] if found else ""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example(example: Path, shared_store: Path, tmp_path: Path) -> None:
    shutil.copytree(example, tmp_path / "p", ignore=shutil.ignore_patterns("envd.lock"))
    envd = Envd(shared_store, tmp_path / "p")
    envd.run("parse")
    if not needs(example):
        envd.run("build", "--no-load")
