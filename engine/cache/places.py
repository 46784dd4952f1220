"""The place that a setting names."""

from __future__ import annotations

from pathlib import Path

from engine.cache.directory import Directory
from engine.cache.place import Place
from engine.cache.remote import Remote
from engine.cache.settings import DIRECTORY
from store import Store


def opened(text: str, store: Store) -> Place:
    """The place of "HOST/REPOSITORY" or "dir:/PATH", as `engine.cache.settings` checks it. Nothing is asked
    yet. Raises RegistryError."""
    if text.startswith(DIRECTORY):
        return Directory(Path(text.removeprefix(DIRECTORY)))
    return Remote(text, store)
