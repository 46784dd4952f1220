"""envd's own version: the one place that has it (pyproject.toml takes it from here); part of locks'
messages and of evaluation cache keys."""

from __future__ import annotations

VERSION = "0.1.0"
