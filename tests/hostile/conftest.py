"""What hostile tests share with the integration tests: one store, so that bases are made once."""

import pytest

from tests.integration.conftest import ordinary_user, readable_copy, shared_store

__all__ = ["ordinary_user", "readable_copy", "shared_store"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who makes an ordinary user, or starts an engine, is root."""
    for item in items:
        if {"ordinary_user", "docker_engine"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.needs_root)
