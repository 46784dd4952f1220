"""The key pair that environments are entered with, and the keys that may enter them.

Formats: OpenSSH's private key (PROTOCOL.key) and public key lines (sshd(8), AUTHORIZED_KEYS).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.core import paths as locate
from engine.errors import UsageError


@dataclass(frozen=True)
class Keys:
    """`private` is a file; `public` are the lines of authorized_keys."""

    private: Path
    public: tuple[str, ...]


def directory() -> Path:
    """Where envd keeps its key pair and the known hosts."""
    return Path(locate.configuration()) / "ssh"


def keys(private: str | None, public: str | None) -> Keys:
    """The pair of --private-key and --public-key; without them envd's own, made when it is not
    there, and with it the user's own public keys. Raises UsageError.

    envd's has no passphrase, so that entering an environment asks for none: it opens nothing but
    environments on this machine.
    """
    if private is None and public is not None:
        if not public.endswith(".pub"):
            raise UsageError("--public-key needs the --private-key that belongs to it")
        private = public.removesuffix(".pub")
    if private is not None:
        key = Path(private).expanduser().absolute()
        lines = _read(Path(public).expanduser() if public else key.with_name(f"{key.name}.pub"))
        if not key.is_file():
            raise UsageError(f"no such private key: {key}")
        return Keys(key, lines)
    key = directory() / "id_ed25519"
    if not key.exists():
        from engine.runtime import key_pair  # noqa: PLC0415 (cryptography, once in a user's life)

        key_pair.generate(key)
    own: list[str] = []
    for path in sorted((Path.home() / ".ssh").glob("id_*.pub")):
        own += _read(path)
    return Keys(key, (*_read(key.with_name("id_ed25519.pub")), *own))


def _read(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise UsageError(f"cannot read the public key {path}: {reason}") from None
    lines = tuple(line.strip() for line in text.splitlines())
    found = tuple(line for line in lines if line and not line.startswith("#"))
    if not found or any("PRIVATE KEY" in line or len(line.split()) < 2 for line in found):
        raise UsageError("not an OpenSSH public key", subject=str(path))
    return found
