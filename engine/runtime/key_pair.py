"""A new key pair, in OpenSSH's formats (PROTOCOL.key; sshd(8), AUTHORIZED_KEYS)."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine.core import atomic


def generate(path: Path) -> None:
    """Write a new private key to `path`, and its public half beside it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    atomic.write(path.with_name(f"{path.name}.pub"), public + b" envd\n", 0o644)
    atomic.write(path, private, 0o600)
