"""Tars as no honest tool writes them: each header by hand."""

from __future__ import annotations

import tarfile

BLOCK = 512
FILE, HARD, LINK, CHARACTER, DISK, DIRECTORY, PIPE = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
LONG_NAME, LONG_LINK, SPARSE, PAX, GLOBAL = b"L", b"K", b"S", b"x", b"g"
END = b"\0" * (2 * BLOCK)


def number(value: int, width: int) -> bytes:
    """A field of a header: octal, or in base 256 what does not fit (GNU tar's manual)."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return (0x80 if value >= 0 else 0xFF).to_bytes(1, "big") + (value % (1 << 8 * (width - 1))).to_bytes(
        width - 1, "big"
    )


def header(
    name: bytes,
    kind: bytes = FILE,
    size: int = 0,
    link: bytes = b"",
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: int = 0,
    device: tuple[int, int] = (0, 0),
    tail: bytes = b"",
) -> bytes:
    """One block. `tail` is what comes in place of the prefix, for old GNU tar's own kinds."""

    def made(check: bytes) -> bytes:
        return (
            name[:100].ljust(100, b"\0")
            + number(mode, 8)
            + number(uid, 8)
            + number(gid, 8)
            + number(size, 12)
            + number(mtime, 12)
            + check
            + kind
            + link[:100].ljust(100, b"\0")
            + b"ustar\x0000"
            + b"\0" * 64
            + number(device[0], 8)
            + number(device[1], 8)
            + tail
        ).ljust(BLOCK, b"\0")

    return made(b"%06o\0 " % sum(made(b" " * 8)))


def padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % BLOCK)


def file(name: bytes, content: bytes = b"theirs\n", **facts: int) -> bytes:
    return header(name, FILE, len(content), **facts) + padded(content)  # type: ignore[arg-type]


def record(key: bytes, value: bytes) -> bytes:
    """A record of a PAX header: its own length first."""
    rest = b" " + key + b"=" + value + b"\n"
    size = len(rest) + 1
    while len(b"%d" % size) + len(rest) != size:
        size += 1
    return b"%d" % size + rest


def pax(records: dict[bytes, bytes], then: bytes = b"", kind: bytes = PAX) -> bytes:
    body = b"".join(record(k, v) for k, v in records.items())
    return header(b"pax", kind, len(body)) + padded(body) + then


def long(name: bytes, kind: bytes = LONG_NAME) -> bytes:
    """GNU tar's way of a name of any length, before the entry of that name."""
    return header(b"././@LongLink", kind, len(name) + 1) + padded(name + b"\0")


def link(name: bytes, target: bytes) -> bytes:
    before = long(target, LONG_LINK) if len(target) > 100 else b""
    return before + header(name, LINK, link=target)


def hard(name: bytes, target: bytes) -> bytes:
    before = long(target, LONG_LINK) if len(target) > 100 else b""
    return before + header(name, HARD, link=target)


def directory(name: bytes, **facts: int) -> bytes:
    return header(name, DIRECTORY, mode=0o755, **facts)  # type: ignore[arg-type]


def plain(content: dict[str, bytes]) -> bytes:
    """A tar of these files as tarfile writes it, without its end."""
    rows = []
    for name, data in content.items():
        member = tarfile.TarInfo(name)
        member.size = len(data)
        rows.append(member.tobuf(tarfile.PAX_FORMAT) + padded(data))
    return b"".join(rows)
