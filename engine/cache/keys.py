"""Keys that sign what a machine shares, and keys whose signatures are trusted.

Ed25519 (RFC 8032). The text forms are Nix's ("Signing keys", `nix key`), so that keys of either serve the
other: "NAME:BASE64", of 64 bytes for a key that signs (its seed and its public key), of 32 for one that
is trusted, of 64 for a signature. A name says whose key it is; it is no secret and proves nothing.

Nothing here shows a key that signs: not its repr, no message, not even that of a malformed one.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import shlex
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from engine.cache import files
from engine.errors import UsageError

_MOST_NAME = 64  # characters
_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{_MOST_NAME}}}")
_PUBLIC, _SIGNING, _SIGNATURE = 32, 64, 64  # bytes
_LARGEST = 4096  # bytes of a key's file: a key is one line of about 100
_SEVERAL = 16  # signatures of one message that are looked at


@dataclass(frozen=True)
class TrustedKey:
    """A public key, and the name that its signatures bear."""

    name: str
    key: bytes

    def __str__(self) -> str:
        return f"{self.name}:{base64.b64encode(self.key).decode('ascii')}"


@dataclass(frozen=True)
class SigningKey:
    """A key that signs. `seed`, of 32 bytes, is the secret."""

    name: str
    seed: bytes = field(repr=False)

    @property
    def public(self) -> TrustedKey:
        """Who trusts this, trusts what the key signs."""
        return TrustedKey(self.name, self._key().public_key().public_bytes_raw())

    def sign(self, message: bytes) -> str:
        """The signature of a message, as "NAME:BASE64"."""
        return f"{self.name}:{base64.b64encode(self._key().sign(message)).decode('ascii')}"

    def secret(self) -> str:
        """The text form, for the file that keeps it and nothing else."""
        whole = self.seed + self.public.key
        return f"{self.name}:{base64.b64encode(whole).decode('ascii')}"

    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def generate(name: str) -> SigningKey:
    """A new key. Raises UsageError for a name that is none."""
    check_name(name)
    return SigningKey(name, Ed25519PrivateKey.generate().private_bytes_raw())


def check_name(name: str) -> None:
    """Raises UsageError for what cannot be a key's name."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name[:70]}' is not a valid key name",
            advice="use at most 64 letters, digits, '.', '_' and '-', such as team-1",
        )


def parse_trusted(text: str) -> TrustedKey:
    """The key of "NAME:BASE64". Raises UsageError, which repeats no more of the text than its name: it may
    be a secret that was put in the wrong place."""
    name, data = _parts(text)
    if not name:
        raise UsageError("not a public key", advice="write NAME:BASE64, as `envd key show` prints it")
    if data is not None and len(data) == _SIGNING:
        raise UsageError(
            f"'{name}' is the secret half of a key, or a signature",
            advice="keep it to yourself, and write its public half, as `envd key show` prints it",
        )
    if data is None or len(data) != _PUBLIC:
        what = "what follows its name is not base64" if data is None else f"it has {len(data)} bytes, not 32"
        raise UsageError(
            f"'{name}' is not a public key: {what}", advice="write NAME:BASE64, as `envd key show` prints it"
        )
    return TrustedKey(name, data)


def is_secret(text: str) -> bool:
    """Whether a text is a key that signs, which belongs into a file."""
    name, data = _parts(text)
    return bool(name) and data is not None and len(data) == _SIGNING


def read_signing_key(path: Path) -> SigningKey:
    """The key in a file, which has to be this user's own and closed to all others. Raises UsageError."""
    text = _own_file(path)
    try:
        name, data = _parts(text.decode("ascii").strip())
    except UnicodeDecodeError:
        name, data = "", None
    if not name or data is None or len(data) != _SIGNING:
        public = f": '{name}' is a public key" if name and data is not None and len(data) == _PUBLIC else ""
        raise UsageError(
            f"not a signing key{public}",
            subject=str(path),
            advice="`envd key generate` makes one; name its file with ENVD_SIGNING_KEY or signing-key",
        )
    key = SigningKey(name, data[:32])
    if key.public.key != data[32:]:
        raise UsageError(
            "the signing key is damaged: its two halves do not belong together",
            subject=str(path),
            advice="take it from where it was kept, or make another with `envd key generate`",
        )
    return key


def signer(trusted: Sequence[TrustedKey], message: bytes, signatures: Sequence[str]) -> str | None:
    """The name of the trusted key that has signed a message; None when none has. What is no signature,
    or somebody else's, counts for nothing; only the first 16 are looked at."""
    for signature in signatures[:_SEVERAL]:
        name, data = _parts(signature)
        if not name or data is None or len(data) != _SIGNATURE:
            continue
        for key in trusted:
            if key.name == name and _signed(key, message, data):
                return name
    return None


def names(signatures: Iterable[str]) -> list[str]:
    """The names that signatures bear, each once; whether they are these keys' is another question."""
    return sorted({signature.partition(":")[0][:_MOST_NAME] for signature in signatures})


def _signed(key: TrustedKey, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key.key).verify(signature, message)
    except (InvalidSignature, ValueError):  # ValueError: not a point of the curve
        return False
    return True


def _parts(text: object) -> tuple[str, bytes | None]:
    """The name and the bytes of "NAME:BASE64"; no name, or no bytes, where there is none. One text
    alone stands for some bytes: base64 with stray bits or characters is none."""
    if not isinstance(text, str) or len(text) > 200:
        return "", None
    name, colon, encoded = text.partition(":")
    if not colon or not _NAME.fullmatch(name):
        return "", None
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return name, None
    return name, data if base64.b64encode(data).decode("ascii") == encoded else None


def _own_file(path: Path) -> bytes:
    """What is in a file that nobody else can read or has made. Raises UsageError."""
    try:
        status, data = files.read(path, _LARGEST, "the signing key")
    except OSError as error:
        raise UsageError(
            f"cannot read the signing key: {error.strerror}",
            subject=str(path),
            advice="`envd key generate` makes one",
        ) from None
    if status.st_uid != os.getuid():
        raise UsageError(
            "the signing key belongs to another user",
            subject=str(path),
            advice="sign with a copy of your own, that only you can read",
        )
    if status.st_mode & 0o077:
        raise UsageError(
            f"other users can read or write the signing key (mode {stat.S_IMODE(status.st_mode):04o})",
            subject=str(path),
            advice=f"close it with `chmod 600 {shlex.quote(str(path))}`; if somebody may have read it, "
            "make another",
        )
    return data
