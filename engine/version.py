"""envd's own version: part of locks' messages and of evaluation cache keys."""

from __future__ import annotations

VERSION = "0.1.0"
