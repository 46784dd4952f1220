"""`envd images`, `envd prune`, `envd store ls`: with a real engine and a store of small images."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from store import Store
from tests.integration.envd import Envd, docker
from tests.integration.tiny import load, tiny_image

NAME = f"cli-images-{os.getpid()}"


@pytest.fixture
def envd(tmp_path: Path, docker_engine: str) -> Iterator[Envd]:
    """The command over a store with NAME:one (also in Docker as :one and :same) and NAME:two."""
    (tmp_path / "p").mkdir()
    store = Store.open(tmp_path / "store")
    try:
        one = tiny_image(store, f"{NAME}:one")
        load(store, one, f"{NAME}:one", docker_engine)
        load(store, one, f"{NAME}:same", docker_engine)
        tiny_image(store, f"{NAME}:two")
    finally:
        store.close()
    yield Envd(tmp_path / "store", tmp_path / "p", {"DOCKER_HOST": docker_engine})
    for tag in ("one", "same"):
        with contextlib.suppress(AssertionError):
            docker("rmi", "-f", f"{NAME}:{tag}", host=docker_engine)


def rows(envd: Envd, *arguments: str) -> list[dict[str, Any]]:
    """A listing as JSON."""
    found = json.loads(envd.run(*arguments, "-f", "json").stdout)
    assert isinstance(found, list)
    return found


def mine(envd: Envd) -> dict[str, dict[str, Any]]:
    """Our images by tag."""
    return {
        row["name"].partition(":")[2]: row for row in rows(envd, "images") if row["name"].startswith(NAME)
    }


def test_images_are_listed_and_described(envd: Envd, docker_engine: str) -> None:
    found = mine(envd)
    where = {tag: (row["store"], row["docker"]) for tag, row in found.items()}
    assert where == {"one": (True, True), "same": (False, True), "two": (True, False)}
    assert found["one"]["id"] == docker("inspect", "-f", "{{.Id}}", f"{NAME}:one", host=docker_engine)
    assert found["one"]["layers"] == 1
    assert found["one"]["size"] > found["one"]["compressed"] > 0
    assert found["same"]["compressed"] is None
    table = envd.run("images").stdout.splitlines()
    assert table[0].split() == ["NAME", "IMAGE", "ID", "PYTHON", "LAYERS", "SIZE", "COMPRESSED", "IN"]
    assert any(line.startswith(f"{NAME}:one ") and line.endswith("store, docker") for line in table)

    from_store = json.loads(envd.run("images", "describe", f"{NAME}:one", "-f", "json").stdout)
    from_docker = json.loads(envd.run("images", "describe", f"{NAME}:same", "-f", "json").stdout)
    assert from_store["packages"] == from_docker["packages"] == ["numpy", "six>=1.16"]
    assert from_store["names"] == from_docker["names"] == [f"{NAME}:one", f"{NAME}:same"]
    for key in ("id", "entrypoint", "command", "workdir", "env", "ports", "labels"):
        assert from_store[key] == from_docker[key], key
    assert [layer["name"] for layer in from_docker["layers"]] == ["files-greeting"]
    text = envd.run("images", "describe", found["two"]["id"][7:19]).stdout
    assert "starts       /bin/sh -c 'exit 3'" in text
    wrong = envd.run("images", "describe", f"{NAME}:onne", check=False)
    assert wrong.code == 2
    assert f"did you mean '{NAME}:one'?" in wrong.stderr
    # Without an engine the store's are still there, and looking makes no store.
    off = Envd(envd.store, envd.project, {"DOCKER_HOST": "unix:///nonexistent"})
    assert set(mine(off)) == {"one", "two"}
    empty = Envd(envd.project / "none", envd.project, {"DOCKER_HOST": "unix:///nonexistent"})
    nothing = empty.run("images")
    assert (nothing.stdout, "`envd build` makes one" in nothing.stderr) == ("", True)
    assert not empty.store.exists()


def test_a_kept_image_is_loaded(envd: Envd, docker_engine: str) -> None:
    """What was built without Docker is brought into it later, also under another name."""
    try:
        image = envd.run("images", "load", f"{NAME}:two", "-t", f"{NAME}:three").stdout
        assert docker("inspect", "-f", "{{.Id}}", f"{NAME}:three", host=docker_engine) == image
        assert mine(envd)["three"]["store"]
        wrong = envd.run("images", "load", f"{NAME}:four", check=False)
        assert (wrong.code, "the store has no image" in wrong.stderr) == (2, True)
        off = Envd(envd.store, envd.project, {"DOCKER_HOST": "unix:///nonexistent"})
        nowhere = off.run("images", "load", f"{NAME}:two", check=False)
        assert (nowhere.code, "no Docker engine answers" in nowhere.stderr) == (1, True)
    finally:
        docker("rmi", "-f", f"{NAME}:three", host=docker_engine, check=False)


def test_images_are_removed(envd: Envd, docker_engine: str) -> None:
    gone = rows(envd, "images", "remove", f"{NAME}:two", f"{NAME}:same")
    assert {(row["kind"], row["name"]) for row in gone} == {
        ("root", f"{NAME}:two"),
        ("untagged", f"{NAME}:same"),
    }
    assert set(mine(envd)) == {"one"}
    container = docker("create", f"{NAME}:one", host=docker_engine)
    try:
        docker("tag", f"{NAME}:one", f"{NAME}:same", host=docker_engine)
        identity = mine(envd)["one"]["id"]
        held = envd.run("images", "remove", identity, check=False)
        # The first name goes; the last one is held by the container.
        assert held.code == 1
        assert "give --force" in held.stderr
        assert "Traceback" not in held.stderr
    finally:
        docker("rm", "-f", container, host=docker_engine)
    left = [row["name"] for row in mine(envd).values()]
    envd.run("images", "remove", *left)
    assert mine(envd) == {}


def test_prune(envd: Envd, docker_engine: str) -> None:
    listed = rows(envd, "store", "ls")
    assert sorted((row["name"], *row["roots"]) for row in listed) == [
        ("files-greeting", f"image:{NAME}:one"),
        ("files-greeting", f"image:{NAME}:two"),
    ]
    assert rows(envd, "store", "ls", "--garbage") == []
    # A lock that is gone keeps nothing; what is left is in use, or has a name.
    store = Store.open(envd.store)
    with store.blob_writer() as blob:
        blob.write(b"a wheel")
        blob.commit()
    store.add_root(f"lock:{envd.project}/envd.lock", [], [blob.digest])
    store.close()
    envd.run("images", "remove", f"{NAME}:two")
    would = rows(envd, "prune", "--dry-run")
    wanted = {"root": f"lock:{envd.project}/envd.lock", "objects": "1 layers", "files": "4 files"}
    assert {r["kind"]: r["name"] for r in would if r["kind"] in wanted} == wanted
    assert rows(envd, "store", "ls", "--garbage") != []
    assert len(rows(envd, "store", "roots")) == 2
    freed = next(row["bytes"] for row in would if row["kind"] == "files")
    assert freed > len(b"a wheel")
    # Not Docker's dangling images: this engine is shared.
    off = Envd(envd.store, envd.project, {"DOCKER_HOST": "unix:///nonexistent"})
    did = rows(off, "prune")
    assert {row["kind"]: row["name"] for row in did} == wanted
    again = off.run("prune")
    assert (again.stdout, "nothing to remove" in again.stderr) == ("", True)
    assert envd.run("store", "verify").stdout == "store is clean"
    assert rows(envd, "store", "verify") == []
    report = json.loads(envd.run("store", "gc", "--dry-run", "-f", "json").stdout)
    assert report == {"objects": 0, "blobs": 0, "bytes": 0}
    assert [row["roots"] for row in rows(envd, "store", "ls")] == [[f"image:{NAME}:one"]]
    # --all: caches, and images that Docker has not.
    (envd.store / "cache" / "uv").mkdir(parents=True)
    (envd.store / "cache" / "uv" / "x").write_bytes(b"12345")
    would = rows(envd, "prune", "--all", "--dry-run")
    assert ("cache", "uv", 5) in {(row["kind"], row["name"], row["bytes"]) for row in would}
    assert ("untagged", f"{NAME}:one", None) in {(row["kind"], row["name"], row["bytes"]) for row in would}
    assert (envd.store / "cache/uv/x").exists()


def test_dangling_images_are_pruned(envd: Envd, docker_engine: str, tmp_path: Path) -> None:
    identity = mine(envd)["one"]["id"]
    container = docker("create", identity, host=docker_engine)
    try:
        # Another image takes its tags: it is still there, under no name.
        store = Store.open(tmp_path / "other")
        try:
            other = tiny_image(store, f"{NAME}:other")
            for tag in ("one", "same"):
                load(store, other, f"{NAME}:{tag}", docker_engine)
        finally:
            store.close()
        # Docker keeps what a container uses, and so do we.
        would = {row["name"] for row in rows(envd, "images", "prune", "--dry-run")}
        assert identity not in would
    finally:
        docker("rm", container, host=docker_engine)
    try:
        would = {row["name"] for row in rows(envd, "images", "prune", "--dry-run")}
        assert identity in would
    finally:
        docker("rmi", identity, host=docker_engine, check=False)
