"""What hostile tests share with the integration tests: one store, so that bases are made once."""

from tests.integration.conftest import shared_store

__all__ = ["shared_store"]
