"""What a run of dpkg, or of a user's commands, leaves behind that says when it was: taken away, or
given the one time that everything in an image has."""

from __future__ import annotations

import hashlib
import re
import stat
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.realise import confined
from store.model import SOURCE_DATE_EPOCH

# Written by dpkg, apt, ldconfig and maintainer scripts; with times, or of no use in an image.
_VOLATILE = (
    "var/log/dpkg.log",
    "var/log/alternatives.log",
    "var/log/bootstrap.log",
    "var/log/fontconfig.log",
    "var/log/apt/*",
    "var/cache/apt/*.bin",
    "var/cache/apt/archives/*.deb",
    "var/cache/apt/archives/lock",
    "var/cache/apt/archives/partial/*",
    "var/cache/ldconfig/aux-cache",
    "var/cache/debconf/*-old",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/lock*",
    "var/lib/dpkg/triggers/Lock",
    "var/lib/apt/lists/*",
    "var/lib/apt/extended_states",
    "var/lib/systemd/random-seed",
    "etc/*-",
    "var/cache/man/*",
    "var/lib/ucf/*.[0-9]",
    # Of TeX: logs; LuaTeX's formats, whose tables lie in another order each time; those of Knuth's
    # own programs, which know the time of the clock alone. kpathsea makes a format that is missing
    # when it is first used.
    "var/lib/texmf/web2c/*.log",
    "var/lib/texmf/web2c/*/*.log",
    "var/lib/texmf/web2c/lua*/*.fmt",
    "var/lib/texmf/web2c/tex/*.fmt",
    "var/lib/texmf/web2c/metafont/*.base",
)
_SHADOW = "etc/shadow"
_KEYSTORES = ("etc/ssl/certs/java/cacerts",)
_CRON = ("etc/cron.d/popularity-contest", "etc/cron.d/debsecan")  # at a minute by chance
_GIT = ("etc/gitconfig", "root/.gitconfig", "home/*/.gitconfig")
_TEX = ("var/lib/texmf/ls-R*", "usr/local/share/texmf/ls-R")
_OCTAVE = "usr/share/octave/octave_packages"
_LFS = b'[filter "lfs"]'
_POPCON = "etc/popularity-contest.conf"  # its own scripts add what is missing here
_DAY = 24 * 60 * 60


def clear(upper: Path, *, logs: bool) -> None:
    """Do so in `upper`; with `logs`, what is written below /var/log goes, too (the files stay)."""
    for pattern in _VOLATILE:
        for path in confined.find(upper, pattern, whiteouts=False):
            confined.remove(upper, path)
    for path in confined.regular(upper, "etc/machine-id"):
        confined.rewrite(upper, path, b"")
    _each(upper, (_SHADOW,), _shadow)
    _each(upper, (_POPCON,), _without_host)
    _each(upper, _CRON, lambda text: re.sub(rb"^[0-9]+ +[0-9]+ ", b"0 6 ", text, flags=re.MULTILINE))
    _each(upper, _GIT, _git)
    _each(upper, _TEX, _file_names)
    _each(upper, (_OCTAVE,), lambda text: re.sub(rb"^(# Created by Octave [^,]*),.*", rb"\1", text))
    _each(upper, _KEYSTORES, _keystore)
    for path, info in confined.walk(upper, "var/log") if logs else ():
        if stat.S_ISREG(info.st_mode) and info.st_size:
            confined.rewrite(upper, path, b"")


def _each(upper: Path, patterns: Iterable[str], change: Callable[[bytes], bytes | None]) -> None:
    """Give each file that matches what `change` makes of its content; None: it stays."""
    for pattern in patterns:
        for path in confined.regular(upper, pattern):
            content = confined.read(upper, path, -1)
            made = None if content is None else change(content)
            if made is not None:
                confined.rewrite(upper, path, made)


def _without_host(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith((b"MY_HOSTID=", b"DAY=")))


def _shadow(content: bytes) -> bytes:
    """/etc/shadow with no day of the last change (its third field) that is later than all times
    of an image. shadow(5)."""
    latest = SOURCE_DATE_EPOCH // _DAY
    lines = []
    for line in content.split(b"\n"):
        fields = line.split(b":")
        if len(fields) > 2 and fields[2].isdigit() and int(fields[2]) > latest:
            fields[2] = str(latest).encode()
        lines.append(b":".join(fields))
    return b"\n".join(lines)


def _git(content: bytes) -> bytes:
    """git's settings with those of `git lfs install` sorted: it writes them in an order by chance."""
    lines = content.splitlines(keepends=True)
    if _LFS not in (line.strip() for line in lines):
        return content
    begin = next(n for n, line in enumerate(lines) if line.strip() == _LFS) + 1
    end = begin
    while end < len(lines) and not lines[end].lstrip().startswith(b"["):
        end += 1
    return b"".join([*lines[:begin], *sorted(lines[begin:end]), *lines[end:]])


def _file_names(content: bytes) -> bytes:
    """kpathsea's ls-R with directories and names sorted, not as the disk happens to have them."""
    head, *blocks = content.rstrip(b"\n").split(b"\n\n")
    listed = []
    for block in blocks:
        lines = block.split(b"\n")
        headings = [line for line in lines if line.endswith(b":")]
        listed.append(b"\n".join(headings + sorted(n for n in lines if not n.endswith(b":"))))
    return b"\n\n".join([head, *sorted(listed)]) + b"\n"


# -- Java keystores ---------------------------------------------------------------------------
# The format "JKS" of sun.security.provider.JavaKeyStore: numbers are big-endian; an entry has the
# time at which it was added, and the digest at the end covers it.

_JKS, _CERTIFICATE = 0xFEEDFEED, 2
_WHITENER = b"Mighty Aphrodite"
_PASSWORD = "changeit"  # Debian's: it guards nothing, as there are certificates alone


def _keystore(data: bytes) -> bytes | None:
    """A keystore of certificates with the one time, sorted by alias; None for what is none, or
    has another password."""
    if len(data) < 12 + 20 or _digest(data[:-20]) != data[-20:]:
        return None
    magic, version, count = struct.unpack_from(">III", data)
    if magic != _JKS or version != 2:
        return None
    entries = []
    place = 12
    for _ in range(count):
        (tag,) = struct.unpack_from(">I", data, place)
        if tag != _CERTIFICATE:
            return None
        alias, place = _text(data, place + 4)
        place += 8  # the time, in milliseconds
        kind, place = _text(data, place)
        (size,) = struct.unpack_from(">I", data, place)
        certificate = data[place : place + 4 + size]
        place += 4 + size
        when = struct.pack(">Q", SOURCE_DATE_EPOCH * 1000)
        entries.append((alias, struct.pack(">I", tag) + alias + when + kind + certificate))
    body = data[:12] + b"".join(entry for _, entry in sorted(entries))
    return body + _digest(body)


def _text(data: bytes, place: int) -> tuple[bytes, int]:
    """A string with its length before it, as it lies there, and where it ends."""
    (size,) = struct.unpack_from(">H", data, place)
    end = place + 2 + size
    return data[place:end], end


def _digest(body: bytes) -> bytes:
    return hashlib.sha1(_PASSWORD.encode("utf-16-be") + _WHITENER + body).digest()
