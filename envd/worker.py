"""The other side of `envd.child`: run a command, and answer with what it gave, or what it raised."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import click

from engine.cli.entry import speak_utf8
from engine.cli.main import cli, explain
from engine.core import events, signals, terminal
from engine.core.project import find, store_path
from engine.core.redaction import visible
from engine.lock import model as lock
from engine.oci import kept
from engine.oci.reference import image_tag
from envd.errors import KINDS
from store import Store


def main() -> None:
    """Write the answer to the file descriptor that the first argument names. The second is the question,
    as JSON: the command, all its `words`, and what its answer is about: `file`, `path`, `tags`."""
    speak_utf8()
    signals.install()
    threading.Thread(target=_watch, daemon=True, name="the program that asked").start()
    target, question = int(sys.argv[1]), json.loads(sys.argv[2])
    heard = _Heard()
    try:
        with events.told(heard):
            found = _answer(question, heard)
        signals.done()
    except BaseException as error:
        found = {"error": _failure(error)}
    with open(target, "wb") as pipe:
        pipe.write(json.dumps(found).encode())
    if "error" in found:  # a thread that hangs must not hold what has failed
        signals.leave(found["error"]["exit_code"])


def _watch() -> None:
    """End as by a signal when the program that asked is gone."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


class _Heard:
    """The events that a result tells of."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {"finish": [], "cached": [], "substituted": [], "fetch-finish": []}
        self.messages: list[str] = []

    def __call__(self, event: Any) -> None:
        if event.kind in self.names:
            self.names[event.kind].append(event.name)
        elif event.kind == "message":
            self.messages.append(": ".join(filter(None, (event.name, event.text))))

    def done(self) -> dict[str, list[str]]:
        return {
            "built": self.names["finish"],
            "cached": self.names["cached"],
            "substituted": self.names["substituted"],
            "fetched": self.names["fetch-finish"],
        }


def _answer(question: Mapping[str, Any], heard: _Heard) -> dict[str, Any]:
    name = question["command"]
    before = _lock_file(question) if name == "lock" else b""
    printed = StringIO()
    with redirect_stdout(printed):
        cli.main(args=question["words"], prog_name="envd", standalone_mode=False)
    output = printed.getvalue().strip()
    if name == "lock":
        return {**_lock(question, before), "messages": heard.messages}
    done = {**heard.done(), "messages": heard.messages}
    if name == "push":
        return {"reference": output, "digest": output.rpartition("@")[2], **done}
    return {"image_id": output, **_image(output, question["tags"]), **done}


def _lock_file(question: Mapping[str, Any]) -> bytes:
    try:
        return find(question["file"], question["path"]).lock.read_bytes()
    except FileNotFoundError:
        return b""


def _lock(question: Mapping[str, Any], before: bytes) -> dict[str, Any]:
    path = find(question["file"], question["path"]).lock
    packages = [] if (found := lock.read(path)) is None else lock.all_packages(found)
    return {
        "path": str(path.absolute()),
        "files": len(packages),
        "size": sum(package.file.size for package in packages),
        "changed": path.read_bytes() != before,
    }


def _image(image_id: str, tags: Sequence[str]) -> dict[str, Any]:
    """An image that the store keeps: its manifest's digest, its names there, its layers."""
    store = Store.open(store_path(), reading=True)
    try:
        found = [item for item in kept.listed(store) if item.image.config_digest == image_id]
    finally:
        store.close()
    wanted = [image_tag(tag) for tag in tags]
    image = next((item.image for item in found if item.name in wanted), found[0].image)
    return {
        "digest": image.manifest_digest,
        "tags": [item.name for item in found],
        "layers": [[layer.digest, layer.size, layer.diff_id] for layer in image.layers],
    }


def _failure(error: BaseException) -> dict[str, Any]:
    """An exception, as `envd.errors` has it: the nearest of its classes that is there by name."""
    if isinstance(error, KeyboardInterrupt):
        return {
            "kind": "Error",
            "text": "interrupted",
            "exit_code": signals.EXIT_STATUS,
            "log": "",
            "problems": [],
        }
    text, exit_code = explain(error)
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__name__ in KINDS]
    usage = isinstance(error, click.ClickException)
    return {
        "kind": "UsageError" if usage else kinds[0] if kinds else "Error",
        "text": text.removeprefix("error: "),
        "exit_code": exit_code,
        "log": str(getattr(error, "log", "")),
        "problems": [_problem(single) for single in getattr(error, "errors", ())],
    }


def _problem(error: Any) -> list[Any]:
    """One error's fields, as `envd.errors.Problem` has them; without secrets, as the text is."""
    texts = [error.message, getattr(error, "subject", ""), getattr(error, "advice", "")]
    place = error.position
    where = ["", 0, 0] if place is None else [place.file, place.line, place.column]
    return [*(terminal.clean(visible(text)) for text in texts), *where]
