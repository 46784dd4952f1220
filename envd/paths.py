"""Where envd's own packages are: beside this one, whatever else has the name of one.

A project may have an `engine.py` or a directory `store` of its own, PYTHONPATH may lead there, another
distribution may have installed one. So these names are looked up beside this package, and the command
takes nothing from the current directory, nor anything from PYTHONPATH that is installed.

Run as a file (`python -P …/envd/paths.py MODULE ARGUMENT…`) it calls `main()` of one of our modules:
so envd starts a Python of its own (`engine.core.own`). It imports only what the interpreter has already.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing costs start-up
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OWN = frozenset({"engine", "envd", "grammar", "store"})


class _Beside:
    """A finder (importlib.abc.MetaPathFinder) of our packages."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or name not in OWN:
            return None
        for finder in sys.meta_path:
            if getattr(finder, "__name__", "") == "PathFinder":  # importing importlib.machinery costs
                return finder.find_spec(name, [ROOT], target)
        return None


def searched(paths: Sequence[str], pythonpath: str, here: str) -> list[str]:
    """What sys.path is to be for the command: `paths` (without the script's directory) with what
    PYTHONPATH named moved to the end, and without what it named by a relative path or as the current
    directory, `here`. Pure.

    Where PYTHONPATH is what leads to this package, its directories stay first: envd's dependencies
    come from there too.
    """
    named = pythonpath.split(os.pathsep) if pythonpath else []
    trusted = {os.path.normpath(word) for word in named if os.path.isabs(word)} - {here}
    leads_here = ROOT in trusted
    dropped = {os.path.normpath(os.path.join(here, word)) for word in named} - trusted - {ROOT}
    kept: list[str] = []
    later: list[str] = []
    for path in paths:
        where = os.path.normpath(os.path.join(here, path)) if named else path
        if where not in dropped:
            (later if where in trusted and not leads_here else kept).append(path)
    return [*([] if ROOT in kept else [ROOT]), *kept, *later]


def own_first() -> None:
    """Find our packages beside this one, and all else as `searched` says. For processes that are ours
    alone: a program that imports envd keeps its own sys.path."""
    named = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    try:
        here = os.getcwd() if named else ""
    except OSError:  # it is gone
        here = ""
    # The first is the script's directory, or with -m the current one: none of it is meant.
    sys.path[:] = searched(sys.path if sys.flags.safe_path else sys.path[1:], named, here)
    sys.meta_path.insert(0, _Beside)


def main() -> None:
    """Call the module that the first argument names with the others."""
    own_first()
    sys.argv[:2] = [sys.argv[1]]
    __import__(sys.argv[0])  # importlib costs
    sys.modules[sys.argv[0]].main()


if __name__ == "__main__":
    main()
