"""The content-addressed store. Knows nothing of environments."""

from store.errors import CorruptError, RegistryError, StoreError
from store.model import Object, Realisation, Root
from store.store import Store

__all__ = [
    "CorruptError", "Object", "Realisation", "RegistryError", "Root", "Store", "StoreError",
]
