"""gzip that was written here is decompressed member by member, side by side; all other gzip as a stream,
and what is neither is the same error."""

from __future__ import annotations

import gzip
import random
import zlib
from pathlib import Path

import pytest

from store import compression
from store.compression import MEMBER, PIECE, Compressor, decompressed
from store.model import GZIP_LAYER

TEXT = b"".join(b"line %d of a file that compresses\n" % number for number in range(400_000))
NOISE = random.Random(3).randbytes(MEMBER + 5000)


def written(*contents: bytes) -> bytes:
    found: list[bytes] = []
    compressor = Compressor(found.append, GZIP_LAYER)
    for content in contents:
        compressor.write(content)
    compressor.close()
    return b"".join(found)


OURS = written(TEXT, NOISE)
# A stored block holds what looks like the beginning of a member.
_MISLEADING = (NOISE[: 1 << 20], compression._HEADER * 3, NOISE, compression._HEADER, TEXT[:5000])
WHOLE = {
    "ours": (OURS, TEXT + NOISE),
    "one member": (written(b"small"), b"small"),
    "misleading": (written(*_MISLEADING), b"".join(_MISLEADING)),
    "another's": (gzip.compress(TEXT), TEXT),
    "another's of many members": (gzip.compress(TEXT) + gzip.compress(NOISE), TEXT + NOISE),
    "ours, then another's": (OURS + gzip.compress(b"end"), TEXT + NOISE + b"end"),
    "another's, then ours": (gzip.compress(b"begin") + OURS, b"begin" + TEXT + NOISE),
    "an empty member between": (OURS + gzip.compress(b"") + OURS, 2 * (TEXT + NOISE)),
    "padding": (OURS + bytes(1000), TEXT + NOISE),
}


@pytest.mark.parametrize("case", WHOLE)
def test_what_was_compressed_comes_back(case: str, tmp_path: Path) -> None:
    data, content = WHOLE[case]
    (tmp_path / "layer").write_bytes(data)
    pieces = list(decompressed(tmp_path / "layer"))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= PIECE


@pytest.mark.parametrize("where", [20, 5000, len(OURS) // 2, len(OURS) - 6, len(OURS) - 2])
def test_damage_is_an_error(where: int, tmp_path: Path) -> None:
    """Of the content, of a checksum, of a length."""
    damaged = bytearray(OURS)
    damaged[where] ^= 0x55
    (tmp_path / "layer").write_bytes(damaged)
    with pytest.raises((zlib.error, EOFError)):
        list(decompressed(tmp_path / "layer"))


@pytest.mark.parametrize("length", [11, 5000, len(OURS) // 2, len(OURS) - 1])
def test_what_is_cut_off_is_an_error(length: int, tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(OURS[:length])
    with pytest.raises((zlib.error, EOFError)):
        list(decompressed(tmp_path / "layer"))


def test_a_member_that_says_it_is_large_is_not_believed(tmp_path: Path) -> None:
    """Its length is what libdeflate would take memory for."""
    large = bytearray(written(b"x" * 1000))
    large[-4:] = (0xFFFFFFF0).to_bytes(4, "little")
    (tmp_path / "layer").write_bytes(large)
    with pytest.raises(zlib.error):
        list(decompressed(tmp_path / "layer"))
