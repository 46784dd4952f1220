"""Public keys in OpenPGP files, told apart by their fingerprints (RFC 9580).

Only framing is read here: which packets belong to which key. Whether a signature holds is for
gpgv (or sqv), which apt asks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator

_PUBLIC_KEY, _USER_ID, _SIGNATURE = 6, 13, 2
_ARMOUR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL
)


def keys(content: bytes) -> dict[str, bytes]:
    """Fingerprint (upper-case hexadecimal) -> the key with its user ids and their signatures, as
    a binary keyring. Subkeys are left out: nothing but a signature that nobody has checked yet
    would bind them to the fingerprint. Raises ValueError for what is no OpenPGP key file."""
    found: dict[str, bytes] = {}
    current, keeping = "", False
    for tag, packet, body in _packets(_binary(content)):
        if tag == _PUBLIC_KEY:
            current, keeping = _fingerprint(body), True
            found[current] = packet
        elif tag == _USER_ID:
            keeping = bool(current)
            if keeping:
                found[current] += packet
        elif tag == _SIGNATURE:
            if keeping:
                found[current] += packet
        else:
            keeping = False  # a subkey, a picture: its signatures go with it
    if not found:
        raise ValueError("it holds no public key")
    return found


def _binary(content: bytes) -> bytes:
    """`content` without its ASCII armour."""
    blocks = _ARMOUR.findall(content.replace(b"\r", b""))
    if not blocks:
        return content
    decoded = b""
    for block in blocks:
        data = block.partition(b"\n\n")[2] or block  # headers end with an empty line
        lines = [line.strip() for line in data.splitlines()]
        try:  # the last line, a checksum, begins with "="
            decoded += base64.b64decode(
                b"".join(line for line in lines if not line.startswith(b"=")), validate=True
            )
        except binascii.Error as error:
            raise ValueError(f"its ASCII armour is broken: {error}") from error
    return decoded


def _packets(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(type, whole packet, body) of each packet (RFC 9580, section 4.2)."""
    at = 0
    while at < len(data):
        first = data[at]
        if not first & 0x80:
            raise ValueError("it is not in OpenPGP's format")
        try:
            if first & 0x40:
                tag, (size, begin) = first & 0x3F, _new_length(data, at + 1)
            else:
                tag, (size, begin) = (first >> 2) & 0x0F, _old_length(data, at + 1, first & 0x03)
        except IndexError:
            raise ValueError("it is cut short") from None
        end = begin + size
        if end > len(data):
            raise ValueError("it is cut short")
        yield tag, data[at:end], data[begin:end]
        at = end


def _new_length(data: bytes, at: int) -> tuple[int, int]:
    """(length, where the body begins)."""
    first = data[at]
    if first < 192:
        return first, at + 1
    if first < 224:
        return ((first - 192) << 8) + data[at + 1] + 192, at + 2
    if first == 255:
        return int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
    raise ValueError("a packet of it has no length")  # partial ones are for data alone


def _old_length(data: bytes, at: int, kind: int) -> tuple[int, int]:
    if kind == 3:
        raise ValueError("a packet of it has no length")
    width = 1 << kind
    if at + width > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + width], "big"), at + width


def _fingerprint(body: bytes) -> str:
    """RFC 9580, section 5.5.4. "" for versions that no archive signs with."""
    version = body[0] if body else 0
    if version == 4:
        framed = b"\x99" + len(body).to_bytes(2, "big") + body
        return hashlib.sha1(framed, usedforsecurity=False).hexdigest().upper()
    if version == 6:
        framed = b"\x9b" + len(body).to_bytes(4, "big") + body
        return hashlib.sha256(framed).hexdigest().upper()
    return ""
