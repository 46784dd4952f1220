"""Keys that sign, and keys that are trusted: their text forms, their files, and whose signature counts."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from engine.cache import keys
from engine.errors import UsageError

# RFC 8032, section 7.1, test 2: the seed, the public key, a message and its signature.
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_it_signs_as_the_standard_has_it() -> None:
    key = keys.SigningKey("team-1", SEED)
    assert key.public == keys.TrustedKey("team-1", PUBLIC)
    assert str(key.public) == f"team-1:{encoded(PUBLIC)}"
    assert key.sign(b"\x72") == f"team-1:{encoded(SIGNATURE)}"
    assert keys.signer([key.public], b"\x72", [key.sign(b"\x72")]) == "team-1"


def test_nothing_shows_the_secret(tmp_path: Path) -> None:
    key = keys.generate("mine")
    shown = repr(key) + str(key) + repr(key.public)
    for part in (encoded(key.seed), key.seed.hex(), repr(key.seed), key.secret().partition(":")[2]):
        assert part not in shown
    for text in (key.secret(), key.secret()[:-4], key.secret() + "="):
        with pytest.raises(UsageError) as error:
            keys.parse_trusted(text)
        assert key.secret().partition(":")[2][:8] not in str(error.value)
    file = tmp_path / "key"
    file.write_text(key.secret()[:-5])
    file.chmod(0o600)
    with pytest.raises(UsageError) as error:
        keys.read_signing_key(file)
    assert key.secret().partition(":")[2][:8] not in str(error.value)


@pytest.mark.parametrize("name", ["a", "team-1", "cache.example.org-1", "_", "x" * 64])
def test_names(name: str) -> None:
    assert keys.parse_trusted(str(keys.generate(name).public)).name == name


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a:b", "ä", "a\n", "a/b", "\x1b[31m", "'"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(UsageError, match="not a valid key name"):
        keys.generate(name)
    with pytest.raises(UsageError):
        keys.parse_trusted(f"{name}:{encoded(PUBLIC)}")


STRAY = encoded(PUBLIC)[:-2] + chr(ord(encoded(PUBLIC)[-2]) + 1) + "="  # a bit that belongs to no byte


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a public key; write NAME:BASE64"),
        (encoded(PUBLIC), "not a public key; write NAME:BASE64"),
        ("k:" + "A" * 500, "not a public key; write NAME:BASE64"),
        ("k:", "'k' is not a public key: it has 0 bytes, not 32"),
        (f"k:{encoded(PUBLIC[:31])}", "it has 31 bytes, not 32"),
        (f"k:{encoded(PUBLIC + b'x')}", "it has 33 bytes, not 32"),
        (f"k:{encoded(PUBLIC + PUBLIC)}", "'k' is the secret half of a key, or a signature"),
        (f"k: {encoded(PUBLIC)}", "what follows its name is not base64"),
        (f"k:{encoded(PUBLIC)}\n", "what follows its name is not base64"),
        (f"k:{encoded(PUBLIC)[:-1]}", "what follows its name is not base64"),
        (f"k:{STRAY}", "what follows its name is not base64"),
        ("k:ä", "what follows its name is not base64"),
        (f"k:{base64.urlsafe_b64encode(b'?' * 32).decode()}", "not base64"),
    ],
)
def test_public_keys_that_are_none(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        keys.parse_trusted(text)
    assert said in str(error.value)
    assert "`envd key show`" in str(error.value)


def test_whose_signature_counts() -> None:
    mine, theirs, other = keys.generate("mine"), keys.generate("theirs"), keys.generate("mine")
    message, trusted = b"this", [mine.public, theirs.public]
    assert keys.signer(trusted, message, [mine.sign(message)]) == "mine"
    assert keys.signer(trusted, message, [other.sign(message), theirs.sign(message)]) == "theirs"
    # a key of the same name, another message, a name that is somebody else's
    assert keys.signer(trusted, message, [other.sign(message)]) is None
    assert keys.signer(trusted, message, [mine.sign(b"that")]) is None
    assert keys.signer(trusted, message, [mine.sign(message).replace("mine", "theirs")]) is None
    assert keys.signer([], message, [mine.sign(message)]) is None
    # two trusted keys of one name
    assert keys.signer([mine.public, other.public], message, [other.sign(message)]) == "mine"


GARBAGE = (
    "",
    ":",
    "mine",
    "mine:",
    "mine:AAAA",
    "mine:" + "A" * 10_000,
    "mine:ä",
    "ä:b",
    "mine:\0",
    "\ud800",
)


@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_is_no_signature(text: str) -> None:
    key = keys.generate("mine")
    assert keys.signer([key.public], b"", [text]) is None
    assert keys.signer([key.public], b"", [text, key.sign(b"")]) == "mine"


def test_what_is_no_text_is_no_signature() -> None:
    key = keys.generate("mine")
    things: list[Any] = [None, 1, b"mine:AAAA", ["mine"], {}]
    assert keys.signer([key.public], b"", things) is None


def test_a_signature_that_was_changed() -> None:
    key = keys.generate("mine")
    signature = base64.b64decode(key.sign(b"x").partition(":")[2])
    for position in range(64):
        changed = bytearray(signature)
        changed[position] ^= 1
        assert keys.signer([key.public], b"x", [f"mine:{encoded(bytes(changed))}"]) is None
    # the same signature in other characters
    assert keys.signer([key.public], b"x", [key.sign(b"x").rstrip("=")]) is None
    assert keys.signer([key.public], b"x", [f"{key.sign(b'x')}\n"]) is None


def test_only_some_signatures_are_looked_at() -> None:
    key, other = keys.generate("mine"), keys.generate("other")
    many = [other.sign(b"x")] * 1000
    assert keys.signer([key.public], b"x", [*many[:15], key.sign(b"x")]) == "mine"
    assert keys.signer([key.public], b"x", [*many, key.sign(b"x")]) is None


def test_a_trusted_key_that_is_no_point_of_the_curve() -> None:
    key = keys.generate("mine")
    for data in (b"\xff" * 32, b"", b"\x02" + bytes(31)):
        assert keys.signer([keys.TrustedKey("mine", data)], b"x", [key.sign(b"x")]) is None


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_key_file(tmp_path: Path) -> None:
    key = keys.generate("team-1")
    path = written(tmp_path / "key", key.secret() + "\n")
    assert keys.read_signing_key(path) == key
    path.chmod(0o400)
    assert keys.read_signing_key(path) == key
    link = tmp_path / "link"
    link.symlink_to(path)  # as who keeps settings in a repository has it
    assert keys.read_signing_key(link) == key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666, 0o610])
def test_a_key_file_that_others_can_read(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "a key", keys.generate("k").secret(), mode)
    with pytest.raises(UsageError) as error:
        keys.read_signing_key(path)
    assert f"other users can read or write the signing key (mode {mode:04o})" in str(error.value)
    assert f"`chmod 600 '{path}'`" in str(error.value)


@pytest.mark.needs_root
def test_a_key_file_of_another_user(tmp_path: Path) -> None:
    path = written(tmp_path / "key", keys.generate("k").secret())
    os.chown(path, 12345, 12345)
    with pytest.raises(UsageError, match="belongs to another user; sign with a copy of your own"):
        keys.read_signing_key(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a signing key"),
        ("hello", "not a signing key"),
        (f"k:{encoded(SEED)}", "not a signing key: 'k' is a public key"),
        (f"k:{encoded(SEED + SEED)}", "its two halves do not belong together"),
        (f"k:{encoded(SEED + PUBLIC)}\nk:{encoded(SEED + PUBLIC)}", "not a signing key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "not a signing key"),
        ("k:ä", "not a signing key"),
        ("x" * 5000, "larger than 4 KiB"),
    ],
)
def test_a_key_file_that_is_none(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path / "key", text)
    with pytest.raises(UsageError) as error:
        keys.read_signing_key(path)
    assert said in str(error.value)
    assert str(error.value).startswith(f"{path}: ")


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory; `envd key generate` makes one"):
        keys.read_signing_key(tmp_path / "key")
    with pytest.raises(UsageError, match="cannot read the signing key: Is a directory"):
        keys.read_signing_key(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(
        UsageError, match="the signing key is not a regular file"
    ):  # and nobody waits for its other end
        keys.read_signing_key(tmp_path / "pipe")
    with pytest.raises(UsageError, match="a NUL in it"):
        keys.read_signing_key(Path("a\0b"))
