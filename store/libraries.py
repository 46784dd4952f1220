"""Libraries that cost start-up: each is imported when something of it is first used.

`from store.libraries import urllib3` is what `import urllib3` would be, later. A build whose parts are
all there uses none of these; together they would add half to what it takes. Milliseconds of processor time
that each adds to such a build: oras 71, requests 28, urllib3 16, rattler 15, yaml 6, packaging.metadata 5,
installer 5, packaging.pylock 3, resolvelib 2, pyseccomp 2.
What costs less than that is imported as usual.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import installer.destinations
    import installer.exceptions
    import installer.records
    import installer.sources
    import installer.utils
    import oras.auth as oras_auth
    import oras.auth.utils as oras_challenges
    import oras.container as oras_names
    import pyseccomp
    import rattler
    import requests
    import resolvelib
    import urllib3
    import yaml
    from packaging import metadata, pylock
else:
    from importlib import import_module
    from types import ModuleType

    class _Library:
        """Stands for a module until it is asked for something."""

        def __init__(self, name: str) -> None:
            self._name = name
            self._module: ModuleType | None = None

        def __getattr__(self, attribute: str) -> object:
            if self._module is None:  # not what sys.modules has: another thread may have but begun
                self._module = import_module(self._name)
            return getattr(self._module, attribute)

    installer = _Library("installer")
    metadata = _Library("packaging.metadata")
    oras_auth = _Library("oras.auth")
    oras_challenges = _Library("oras.auth.utils")
    oras_names = _Library("oras.container")
    pylock = _Library("packaging.pylock")
    pyseccomp = _Library("pyseccomp")
    rattler = _Library("rattler")
    requests = _Library("requests")
    resolvelib = _Library("resolvelib")
    urllib3 = _Library("urllib3")
    yaml = _Library("yaml")

__all__ = [
    "installer",
    "metadata",
    "oras_auth",
    "oras_challenges",
    "oras_names",
    "pylock",
    "pyseccomp",
    "rattler",
    "requests",
    "resolvelib",
    "urllib3",
    "yaml",
]
