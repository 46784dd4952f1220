"""envd from Python: build, lock, push and pull as functions with typed results.

    import envd

    built = envd.build("examples/demo/build.envd", tags=["demo:latest"], load=False)
    print(built.image_id, [layer.digest for layer in built.layers])

Each function does what the command of its name does, in a process of its own: an ordinary user's build
enters a user namespace, and that must not happen to the program that asks for it; nor does that program
get our modules, signal handlers or umask. Threads may call them side by side.

What goes wrong raises `Error` or one of its kinds; see `envd.errors`. Progress goes to standard error.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the command imports this package too, and must not pay for the functions
if TYPE_CHECKING:
    from typing import Any

    from envd.errors import (
        BuildError,
        DockerError,
        Error,
        FetchError,
        LockMismatch,
        Problem,
        RegistryError,
        ResolveError,
        SpecError,
        StoreError,
        UsageError,
    )
    from envd.functions import build, lock, pull, push
    from envd.results import Built, Layer, Locked, Pulled, Pushed

_FUNCTIONS = ("build", "lock", "pull", "push")
_RESULTS = ("Built", "Layer", "Locked", "Pulled", "Pushed")

__all__ = [
    "BuildError",
    "Built",
    "DockerError",
    "Error",
    "FetchError",
    "Layer",
    "LockMismatch",
    "Locked",
    "Problem",
    "Pulled",
    "Pushed",
    "RegistryError",
    "ResolveError",
    "SpecError",
    "StoreError",
    "UsageError",
    "build",
    "lock",
    "pull",
    "push",
]


def __getattr__(name: str) -> Any:
    if name != "__version__" and name not in __all__:
        raise AttributeError(f"module 'envd' has no attribute '{name}'")
    from envd import errors, functions, results  # noqa: PLC0415 (the command imports this too)

    if name == "__version__":
        return functions.installed_version()
    module = functions if name in _FUNCTIONS else results if name in _RESULTS else errors
    return getattr(module, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
