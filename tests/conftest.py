"""How the whole run is shared out among workers (`make test`: pytest-xdist, --dist loadgroup)."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# No test depends on speed.
settings.register_profile("envd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("envd")

# Files that take longest come first, so that no worker is left with one at the end.
FIRST = (
    "test_as_user.py",
    "test_packages_twice.py",
    "test_upstream_specs.py",
    "test_up.py",
    "test_tools.py",
    "test_seed.py",
    "test_build.py",
    "test_conda.py",
    "test_builders.py",
    "test_store_faults.py",
    "test_limits.py",
    "test_urls.py",
    "test_sizes.py",
)

# A run in the background of a script, or below nohup, ignores these, and so would every `envd` that a
# test wants to interrupt.
if threading.current_thread() is threading.main_thread():
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay together, for they share servers; those that say otherwise by a mark
    xdist_group may run beside the rest of their file."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


@pytest.fixture(autouse=True)
def _settings_of_this_test() -> Iterator[None]:
    """A command reads the machine's settings once; a test that changed them leaves nothing of that."""
    yield
    for name, functions in {
        "engine.net.machine": ("current", "of_uv"),
        "engine.net.pip_settings": ("current",),
        "engine.net.uv_settings": ("current",),
    }.items():
        for function in functions:
            if name in sys.modules:
                getattr(sys.modules[name], function).cache_clear()
