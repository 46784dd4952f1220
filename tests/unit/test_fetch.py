"""Fetching: from files and a server that stumbles; nothing but the file of the lock stays."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.core.derivation import Fetch
from engine.core.events import Event
from engine.errors import FetchError
from engine.net import fetch
from store import Store

CONTENT = bytes(range(256)) * 1000
WANTED = Fetch("data.bin", "", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store")
    yield opened
    opened.close()


class Server:
    """A server that gives one prepared answer after the other; `asked` are the ranges it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[str] = []
        self.url = ""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.headers.get("Range", ""))
            made.answers.pop(0)(self)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    made.url = f"http://127.0.0.1:{running.server_port}/data.bin"
    try:
        yield made
    finally:
        running.shutdown()
        running.server_close()


def whole(content: bytes = CONTENT, sent: int | None = None) -> Answer:
    """All of `content`, or the connection ends after `sent` bytes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:sent])

    return answer


def rest(handler: BaseHTTPRequestHandler) -> None:
    """The part that is asked for (RFC 9110, section 14)."""
    start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
    handler.send_header("Content-Length", str(len(CONTENT) - start))
    handler.end_headers()
    handler.wfile.write(CONTENT[start:])


def status(code: int) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Retry-After", "0")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def got(store: Store, wanted: Fetch, events: list[Event] | None = None) -> bytes:
    emit = (events if events is not None else []).append
    return fetch.fetch(wanted, store, emit, pause=0).read_bytes()


def nothing_is_left(store: Store) -> bool:
    left = [path for path in (store.path / "tmp").glob("partial-*") if path.stat().st_size]
    return store.blob(WANTED.output) is None and not left


def test_a_file_is_taken_once(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "a b.bin"
    source.write_bytes(CONTENT)
    events: list[Event] = []
    wanted = replace(WANTED, url=source.as_uri())
    assert got(store, wanted, events) == CONTENT
    assert [e.kind for e in events if e.kind != "fetch-progress"] == ["fetch-start", "fetch-finish"]
    assert events[-1].bytes == len(CONTENT)
    source.unlink()
    assert got(store, wanted) == CONTENT


def test_a_file_that_is_not_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"data\.bin: .*/none: No such file"):
        got(store, replace(WANTED, url=(tmp_path / "none").as_uri()))
    with pytest.raises(FetchError, match="only http, https, oci and file URLs"):
        got(store, replace(WANTED, url="ftp://localhost/x"))
    assert nothing_is_left(store)


def test_it_goes_on_where_it_was_broken_off(store: Store, server: Server) -> None:
    server.answers = [whole(sent=100_000), rest]
    events: list[Event] = []
    assert got(store, replace(WANTED, url=server.url), events) == CONTENT
    assert server.asked == ["", "bytes=100000-"]
    assert [e.kind for e in events].count("message") == 1


def test_a_server_that_sends_all_of_it_again(store: Store, server: Server) -> None:
    server.answers = [whole(sent=100_000), whole()]
    assert got(store, replace(WANTED, url=server.url)) == CONTENT


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_stumble_is_tried_again(store: Store, server: Server, code: int) -> None:
    server.answers = [status(code), whole()]
    assert got(store, replace(WANTED, url=server.url)) == CONTENT
    assert len(server.asked) == 2


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_a_refusal_is_not(store: Store, server: Server, code: int) -> None:
    server.answers = [status(code), whole()]
    with pytest.raises(FetchError, match=rf"data\.bin.*{code}"):
        got(store, replace(WANTED, url=server.url))
    assert len(server.asked) == 1 and nothing_is_left(store)


def test_another_place_where_the_first_has_it_no_longer(store: Store, server: Server) -> None:
    server.answers = [status(404), whole()]
    wanted = replace(WANTED, url=server.url, fallback=f"{server.url}?archive")
    assert got(store, wanted) == CONTENT


def test_another_file_never_gets_in(store: Store, server: Server) -> None:
    other = b"x" * len(CONTENT)
    server.answers = [whole(other)]
    with pytest.raises(FetchError, match="is not the file that the lock pins: its sha256 is"):
        got(store, replace(WANTED, url=server.url))
    assert nothing_is_left(store)


def test_more_than_the_lock_says_is_not_read(store: Store, server: Server) -> None:
    server.answers = [whole(CONTENT + b"more" * 1_000_000)]
    with pytest.raises(FetchError, match="is not the file that the lock pins"):
        got(store, replace(WANTED, url=server.url))
    assert nothing_is_left(store)


def test_what_an_earlier_run_left_is_checked(store: Store, server: Server) -> None:
    partial = store.path / "tmp" / f"partial-{WANTED.sha256}"
    partial.write_bytes(b"not the beginning")
    server.answers = [rest, whole()]
    assert got(store, replace(WANTED, url=server.url)) == CONTENT
    assert server.asked == ["bytes=17-", ""]


def test_secrets_are_in_no_message(store: Store, server: Server) -> None:
    server.answers = [status(404)]
    url = server.url.replace("http://", "http://me:s3cret@")
    with pytest.raises(FetchError) as caught:
        got(store, replace(WANTED, url=url))
    assert "s3cret" not in str(caught.value)
