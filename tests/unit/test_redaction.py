"""Values are taken out of texts in the forms in which programs show them."""

from __future__ import annotations

import base64
import json
import shlex
from urllib.parse import quote

import pytest

from engine.core.redaction import MARK, Forms

SECRET = "hunter2 s3cret/+'\"x"
SHOWN = {
    "plain": SECRET,
    "in a line": f"+ curl -H 'Authorization: token {SECRET}' https://host",
    "in a URL": f"https://user:{quote(SECRET, safe='')}@host/",
    "JSON": json.dumps({"token": SECRET}),
    "quoted by a shell": shlex.quote(SECRET),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 with a line's end": base64.b64encode(f"{SECRET}\n".encode()).decode(),
    "base64 of a login": base64.b64encode(f"user:{SECRET}".encode()).decode(),
    "base64 of another login": base64.b64encode(f"me:{SECRET}".encode()).decode(),
    "base64 of a third": base64.b64encode(f"x:{SECRET}!".encode()).decode(),
    "URL-safe base64": base64.urlsafe_b64encode(f"a?>{SECRET}".encode()).decode(),
    "hexadecimal": SECRET.encode().hex(),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_value_is_found(name: str) -> None:
    redacted = Forms.of([f"{SECRET}\n".encode()]).redact(SHOWN[name])
    assert MARK in redacted
    for piece in ("hunter2", SHOWN["base64"][4:20], base64.b64encode(b"hunter2 s3")[4:12].decode()):
        assert piece not in redacted


def test_lines_of_a_key_are_found_each() -> None:
    lines = [base64.b64encode(bytes([n] * 48)).decode() for n in range(40)]
    key = "\n".join(["-----BEGIN KEY-----", *lines, "-----END KEY-----", ""])
    forms = Forms.of([key.encode()])
    assert all(forms.redact(f"> {line}") == f"> {MARK}" for line in lines)
    encoded = base64.encodebytes(key.encode()).decode().splitlines()
    assert all(forms.redact(line) == MARK for line in encoded[:-1])


def test_what_is_short_or_empty_hides_nothing_else() -> None:
    assert Forms.of([b"a", b"", b"\n"]).redact("a plain text") == "a plain text"
    assert Forms().redact("a plain text") == "a plain text"


def test_a_large_value_leaves_room_for_others() -> None:
    forms = Forms.of([bytes(n * 7 % 251 for n in range(500_000)), b"the other value"])
    assert forms.redact("this is the other value, too") == f"this is {MARK}, too"
