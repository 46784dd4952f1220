"""A root file system of a few commands, copied from this machine: a layer to test upon."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

COMMANDS = ("sh", "ls", "cat", "id", "env", "chown", "chmod", "mkdir", "rm", "ln", "sleep", "mknod")


def make(root: Path) -> Path:
    """Make it at `root`, merged-/usr as Debian's."""
    (root / "usr/bin").mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "opt").mkdir()
    for name in COMMANDS:
        program = shutil.which(name)
        assert program is not None
        shutil.copy2(Path(program).resolve(), root / "usr/bin" / name)
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
        for word in listed.stdout.split():
            if word.startswith("/"):
                target = root / ("usr" + word.removeprefix("/usr"))
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(word, target)
    return root
