"""Compression of layers: bytes that depend on the input and on constants alone.

gzip is written as independent members (RFC 1952, section 2.2 allows their concatenation) of
fixed input size, so that threads can share the work without changing a byte. libdeflate
and libzstd are pinned by version in pyproject.toml, since another one may choose other matches.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import deflate
import zstandard

from store import limits
from store.model import GZIP_LAYER, ZSTD_LAYER

MEMBER = 4 << 20  # input bytes of one gzip member
PIECE = 4 << 20  # bytes that are decompressed at once, at most
GZIP_LEVEL = 3
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # of a member: RFC 1952, section 2.3
_READ = 2 * MEMBER  # bytes of a file at once: what is left of them is copied before the next
_LONGEST = MEMBER + (1 << 18)  # bytes of a member: what does not compress is stored, in blocks
ZSTD_LEVEL = 3


def chosen_media_type() -> str:
    """The layer media type of ENVD_COMPRESSION (gzip by default)."""
    return ZSTD_LAYER if os.environ.get("ENVD_COMPRESSION") == "zstd" else GZIP_LAYER


class Compressor:
    """Compresses a stream in order, in threads; gives compressed chunks to `sink`."""

    def __init__(self, sink: Callable[[bytes], None], media_type: str) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
        self._pending: deque[Future[bytes]] = deque()
        self._compress = _zstd if media_type == ZSTD_LAYER else _gzip

    def write(self, data: bytes) -> None:
        """Compress bytes and hand on what is ready."""
        self._buffer += data
        while len(self._buffer) >= MEMBER:
            self._submit(bytes(self._buffer[:MEMBER]))
            del self._buffer[:MEMBER]

    def _submit(self, chunk: bytes) -> None:
        self._pending.append(self._pool.submit(self._compress, chunk))
        while len(self._pending) > 16:
            self._sink(self._pending.popleft().result())

    def close(self) -> None:
        """Compress what is left: the stream is complete afterwards."""
        if self._buffer:
            self._submit(bytes(self._buffer))
        while self._pending:
            self._sink(self._pending.popleft().result())
        self._pool.shutdown()


def _gzip(chunk: bytes) -> bytes:
    # deflate.gzip_compress would write the time into the header: build the member by hand.
    body = bytes(deflate.deflate_compress(chunk, GZIP_LEVEL))
    trailer = zlib.crc32(chunk).to_bytes(4, "little") + len(chunk).to_bytes(4, "little")
    return _HEADER + body + trailer


def _zstd(chunk: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL, threads=0).compress(chunk)


def decompressed(path: Path, *, foreign: bool = False) -> Iterator[bytes]:
    """`buffers`, as bytes."""
    return map(bytes, buffers(path, foreign=foreign))


def buffers(path: Path, *, foreign: bool = False) -> Iterator[bytes | bytearray]:
    """The uncompressed bytes of a gzip, zstd or plain tar blob, in chunks of bounded size, which are
    not copied once more.

    What is `foreign` is held to the limits of what is unpacked. Raises TooLargeError, EOFError when
    it is cut off, and what zlib and zstandard raise.
    """
    chunks = _decompressed(path)
    if not foreign:
        yield from chunks
        return
    counted = limits.Unpacking(path.stat().st_size)
    for chunk in chunks:
        counted.bytes(len(chunk))
        yield chunk


def _decompressed(path: Path) -> Iterator[bytes | bytearray]:
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        if magic[:2] == b"\x1f\x8b":
            yield from _inflated_members(file)
        elif magic == b"\x28\xb5\x2f\xfd":
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            while chunk := reader.read(1 << 20):
                yield chunk
        else:
            while chunk := file.read(1 << 20):
                yield chunk


def _inflated_members(file: BinaryIO) -> Iterator[bytes | bytearray]:
    """A gzip file, decompressed: members as `_gzip` writes them side by side, and by libdeflate, which
    is some times as fast as zlib; all that is not such a member, from there on as a stream.

    Where a member ends is found by where the next one seems to begin. That is a guess, which its
    length and checksum confirm; when they do not, zlib says what is really there.
    """
    done = 0  # bytes of the file whose content was handed out
    threads = min(4, os.cpu_count() or 1)  # of each layer; several are decompressed at a time
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[tuple[int, Future[bytearray | None]]] = deque()
        for member in _members(file):
            ahead.append((len(member), pool.submit(_inflated_member, member)))
            while len(ahead) > threads + 1 or (ahead and ahead[0][1].done()):
                size, inflating = ahead.popleft()
                if (content := inflating.result()) is None:
                    ahead.clear()
                    break
                done += size
                yield content
            else:
                continue
            break
        for size, inflating in ahead:
            if (content := inflating.result()) is None:
                break
            done += size
            yield content
    file.seek(done)
    # Little at once: what is left of it is copied at the end of every member.
    yield from inflated(iter(lambda: file.read(1 << 16), b""))


def _members(file: BinaryIO) -> Iterator[memoryview]:
    """What seem to be the members of a gzip file that was written here, while they do."""
    data, at = b"", 0
    while True:
        most = at + _LONGEST + len(_HEADER)
        if len(data) < most and (more := file.read(_READ)):
            data, at = data[at:] + more, 0
            most = _LONGEST + len(_HEADER)
        end = data.find(_HEADER, at + len(_HEADER), most)
        if end < 0:
            end = len(data)
        if not data.startswith(_HEADER, at) or not len(_HEADER) + 8 < end - at <= _LONGEST:
            return
        yield memoryview(data)[at:end]
        at = end


def _inflated_member(member: memoryview) -> bytearray | None:
    """The content of one member; None when it is none that was written here."""
    size = int.from_bytes(member[-4:], "little")
    if not 0 < size <= MEMBER:
        return None
    try:
        content: bytearray = deflate.gzip_decompress(member, size)
    except (deflate.DeflateError, ValueError, MemoryError):
        return None
    return content


def inflated(chunks: Iterable[bytes], wbits: int = 31) -> Iterator[bytes]:
    """A gzip stream of any number of members, decompressed in pieces of at most PIECE bytes,
    whatever is in it (with other `wbits`: zlib's or a bare deflate stream). Chunks should be small:
    what is left of one is copied for each piece. Raises zlib.error, EOFError.
    """
    inflater = zlib.decompressobj(wbits=wbits)
    begun = False
    for chunk in chunks:
        data = chunk
        while data:
            begun = True
            out = inflater.decompress(data, PIECE)
            if out:
                yield out
            data = inflater.unconsumed_tail
            if inflater.eof:
                data = inflater.unused_data
                inflater = zlib.decompressobj(wbits=wbits)
                begun = False
                if data and not data.lstrip(b"\0"):
                    data = b""  # padding after the last member
    if begun:
        raise EOFError("compressed data ended too early")
