"""Retry-After as servers may write it (RFC 9110, 10.2.3), and as none should."""

from __future__ import annotations

import pytest

from store import retry


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("soon", None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("-1", None),
        ("1.5", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 0001 00:00:00 +2300", 0.0),
        ("Mon, 01 Jan 2001 00:00:00 +99999999999999", None),
        ("9" * 400, float("inf")),
    ],
)
def test_when_to_ask_again(text: str, seconds: float | None) -> None:
    error = retry.refused(503, {"Retry-After": text})
    assert error.after == seconds
    assert retry.wait(1, error, 0.5) == (None if seconds == float("inf") else max(0.5, seconds or 0))
