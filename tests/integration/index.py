"""A Python index of real packages, served over HTTP: the simple repository API (PEP 503)."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.integration import web

USER, PASSWORD = "ann", "s3cret/pass"
LOGIN = "ann:s3cret%2Fpass"  # as a URL has it


# Thirty pure packages without dependencies, so that each is one small wheel.
THIRTY = (
    "attrs",
    "certifi",
    "chardet",
    "click",
    "colorama",
    "decorator",
    "docutils",
    "filelock",
    "idna",
    "iniconfig",
    "itsdangerous",
    "jmespath",
    "markdown",
    "markupsafe",
    "more-itertools",
    "mpmath",
    "networkx",
    "packaging",
    "pathspec",
    "platformdirs",
    "ply",
    "pluggy",
    "pyasn1",
    "pycparser",
    "pygments",
    "pyparsing",
    "pytz",
    "six",
    "toolz",
    "wheel",
)


def download(directory: Path, requirements: Sequence[str]) -> None:
    """Real files from the machine's own index into `directory`."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--disable-pip-version-check",
            "-d",
            str(directory),
            *requirements,
        ],
        check=True,
        capture_output=True,
    )


def lay_out(directory: Path) -> None:
    """Make `directory` an index of the files in it."""
    files = [p for p in directory.iterdir() if p.is_file()]
    for path in files:
        name = path.name.partition("-")[0].lower().replace("_", "-")
        place = directory / "simple" / name
        place.mkdir(parents=True, exist_ok=True)
        path.rename(place / path.name)
        rows = "".join(f'<a href="{p.name}">{p.name}</a>' for p in place.iterdir())
        (place / "index.html").write_text(f"<!DOCTYPE html><html><body>{rows}</body></html>")


@contextmanager
def serve(directory: Path, *, login: bool = False) -> Iterator[str]:
    """Serve an index; gives "127.0.0.1:PORT". With `login` it wants USER and PASSWORD."""
    wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if login and self.headers.get("Authorization") != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="index"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            super().do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    with web.running(partial(Handler, directory=str(directory))) as address:
        yield address
