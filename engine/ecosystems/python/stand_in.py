"""A Python for uv that tells it about itself, and runs nothing else.

To resolve, uv asks a Python what it is; for a source distribution without static metadata it would then
run that package's build with it, as whoever runs envd. This stand-in answers the question and refuses
the rest: uv then says which package it would have built, and `engine.ecosystems.python.builds` has
that done in the sandbox.
"""

from __future__ import annotations

import sys
from pathlib import Path

from engine.core.atomic import write_text

REFUSAL = "envd: no package is built here"

# uv runs `python -I -B -c CODE` (its crate uv-python, interpreter.rs), and believes the answer's
# sys_executable.
_SCRIPT = f"""\
#!/bin/sh
case "$*" in
    *"from python.get_interpreter_info import main"*) ;;
    *) echo "{REFUSAL}" >&2; exit 1 ;;
esac
exec "{{python}}" -I -S -B -c '
import json, subprocess, sys
own, *words = sys.argv[1:]
done = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE)
try:
    answer = json.loads(done.stdout)
    answer["sys_executable"] = answer["sys_base_executable"] = own
    print(json.dumps(answer))
except (ValueError, KeyError, TypeError):
    sys.exit(1)
' "$0" "$@"
"""


def stand_in(cache: Path) -> Path:
    """Where it is, in a directory of nothing else below `cache`: made when it is not there."""
    path = cache.absolute() / "uv-python" / "python"
    content = _SCRIPT.format(python=sys.executable)
    try:
        if path.read_text("utf-8") == content and path.stat().st_mode & 0o100:
            return path
    except OSError:
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, content)
    path.chmod(0o700)
    return path
