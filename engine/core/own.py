"""Starting a Python that runs a module of ours, whatever PYTHONPATH or a project's own modules say."""

from __future__ import annotations

import os
import sys

import engine


def command(module: str, *arguments: str) -> list[str]:
    """The command line that calls `main()` of `module` with `arguments`; see `envd/paths.py`."""
    root = os.path.dirname(os.path.abspath(engine.__path__[0]))
    return [sys.executable, "-P", os.path.join(root, "envd", "paths.py"), module, *arguments]
