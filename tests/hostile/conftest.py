"""What hostile tests share with the integration tests: one store, so that bases are made once."""

from tests.integration.conftest import ordinary_user, readable_copy, shared_store

__all__ = ["ordinary_user", "readable_copy", "shared_store"]
