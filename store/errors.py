"""What can go wrong in the store."""

from __future__ import annotations


class StoreError(Exception):
    """Base of the store's errors. Its text is one clear sentence for the user."""


class CorruptError(StoreError):
    """Stored bytes do not match their address."""


class UnstorableError(StoreError):
    """A file that cannot be in a layer. Names the file."""


class RegistryError(StoreError):
    """A registry refused, or answered something unusable. Names the registry and the reference."""


class DeniedError(RegistryError):
    """A registry refuses access to a repository."""
