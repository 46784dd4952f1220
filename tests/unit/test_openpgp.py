"""Keys of archives: told apart by fingerprint, and only the known ones kept."""

from __future__ import annotations

import base64
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from engine.ecosystems.debian import archive_keys, openpgp
from grammar.environment import Position
from tests.integration import web

DEBIANS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
AT = Position("build.envd", 2, 5)


def listed(keyring: bytes, place: Path) -> list[list[str]]:
    """What GnuPG sees in a keyring."""
    path = place / "keyring.gpg"
    path.write_bytes(keyring)
    done = subprocess.run(
        ["gpg", "--homedir", str(place), "--with-colons", "--show-keys", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [row.split(":") for row in done.stdout.splitlines()]
    return [row for row in rows if row[0] in ("pub", "sub", "uid", "fpr")]


def test_fingerprints_are_gnupgs_and_subkeys_stay_behind(tmp_path: Path) -> None:
    content = DEBIANS.read_bytes()
    rows = listed(content, tmp_path)
    own = [after[9] for row, after in pairwise(rows) if row[0] == "pub"]
    found = openpgp.keys(content)
    assert list(found) == own and "sub" in {row[0] for row in rows}
    for fingerprint, key in found.items():
        kept = listed(key, tmp_path)
        assert [r[9] for r in kept if r[0] == "fpr"] == [fingerprint]
        assert {r[0] for r in kept} == {"pub", "fpr", "uid"}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_armour_is_taken_off(end: str) -> None:
    content = DEBIANS.read_bytes()
    lines = base64.encodebytes(content).decode().splitlines()
    for head in ([], ["Version: GnuPG v2.0.22 (GNU/Linux)"]):
        text = end.join(
            [
                "-----BEGIN PGP PUBLIC KEY BLOCK-----",
                *head,
                "",
                *lines,
                "=AAAA",
                "-----END PGP PUBLIC KEY BLOCK-----",
                "",
            ]
        )
        assert openpgp.keys(text.encode()) == openpgp.keys(content)


@pytest.mark.parametrize("content", [b"", b"<html>no</html>", b"\x99", b"\x99\x01\x0d\x04", b"\xff\xff"])
def test_what_is_no_key_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"no public key|format|cut short|no length"):
        openpgp.keys(content)


def test_only_the_owners_keys_are_kept(tmp_path: Path) -> None:
    """A file with a known key and a stranger's gives the known one alone."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "all.gpg").write_bytes(DEBIANS.read_bytes())
    known, stranger, *_ = openpgp.keys(DEBIANS.read_bytes())
    owner = archive_keys.Owner("Ann", (known,), "ENVD_NOBODY_FINGERPRINT")
    with web.serve(site) as server:
        urls = [f"{server.url}/none.pub", f"{server.url}/all.gpg"]
        path = archive_keys.fetched(owner, urls, tmp_path / "cache", AT)
        assert list(openpgp.keys(path.read_bytes())) == [known] != [stranger]
        other = archive_keys.Owner("Ann", ("AB" * 20,), "ENVD_NOBODY_FINGERPRINT")
        with pytest.raises(archive_keys.NoKeyError, match=f"holds the key {known}, .*ABAB"):
            archive_keys.fetched(other, urls, tmp_path / "cache", AT)
