"""An image's file system from its layers' tars: whiteouts, links, and what is kept."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from engine.errors import BuildError
from engine.oci import filesystem as layers

# name -> content, "-> target" for a symlink, "= target" for a hard link, None for a directory
Files = dict[str, bytes | str | None]


def layer(path: Path, files: Files) -> Path:
    """A layer's blob."""
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
            elif isinstance(content, bytes):
                member.size = len(content)
            elif content.startswith("-> "):
                member.type, member.linkname = tarfile.SYMTYPE, content[3:]
            else:
                member.type, member.linkname = tarfile.LNKTYPE, content[2:]
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


def view(tmp_path: Path, *stack: Files) -> layers.View:
    """The view of layers, bottom first, with all contents."""
    blobs = [layer(tmp_path / f"{number}.tar", files) for number, files in enumerate(stack)]
    return layers.view(blobs, lambda name: True)


def test_upper_layers_win(tmp_path: Path) -> None:
    merged = view(
        tmp_path, {"etc": None, "etc/a": b"old", "etc/b": b"stays"}, {"etc/a": b"new", "./etc/c": b"more"}
    )
    assert merged.list("/etc") == ["a", "b", "c"]
    assert [merged.read(f"/etc/{name}") for name in "abc"] == [b"new", b"stays", b"more"]
    assert merged.list("/etc/a") == [] and merged.read("/etc") is None
    node = merged.find("etc/a")
    assert node is not None and node.layer == 1 and not node.is_directory


def test_whiteouts_hide_what_is_below_alone(tmp_path: Path) -> None:
    merged = view(
        tmp_path,
        {"d/one": b"1", "d/two": b"2", "e/deep/x": b"x", "gone": b"g"},
        {".wh.gone": b"", "d/.wh.one": b"", "d/new": b"n", "e/.wh..wh..opq": b"", "e/y": b"y"},
    )
    assert merged.list("/") == ["d", "e"]
    assert merged.list("/d") == ["new", "two"]
    assert merged.list("/e") == ["y"]
    # A name's whiteout in the layer that brings it hides the lower one, not this one.
    again = view(tmp_path, {"a": b"old"}, {".wh.a": b"", "a": b"new"})
    assert again.read("/a") == b"new"
    turned = view(tmp_path, {"a": b"old"}, {"a": b"new", ".wh.a": b""})
    assert turned.read("/a") == b"new"


def test_a_file_replaces_a_directory_and_the_other_way_round(tmp_path: Path) -> None:
    merged = view(tmp_path, {"a/x": b"x", "b": b"b"}, {"a": b"file", "b/y": b"y"})
    assert merged.read("/a") == b"file" and merged.read("/a/x") is None
    assert merged.read("/b/y") == b"y"


def test_links_are_followed_inside(tmp_path: Path) -> None:
    merged = view(
        tmp_path,
        {
            "usr/bin/sh": b"shell",
            "bin": "-> usr/bin",
            "abs": "-> /usr/bin/sh",
            "up": "-> ../../usr/../bin",
            "loop": "-> pool",
            "pool": "-> loop",
            "lost": "-> nowhere",
            "dir": None,
            "dir/l": "-> ../abs",
            "hard": "= usr/bin/sh",
        },
    )
    assert merged.resolve("/bin/sh") == "/usr/bin/sh"
    assert merged.resolve("/up/sh") == "/usr/bin/sh"
    assert merged.read("/dir/l") == merged.read("/abs") == merged.read("/hard") == b"shell"
    assert merged.resolve("/dir/l", follow=False) == "/dir/l"
    node = merged.find("/abs", follow=False)
    assert node is not None and node.link == "/usr/bin/sh"
    for path in ("/loop", "/pool/x", "/lost", "/usr/bin/sh/x", "/none"):
        assert merged.resolve(path) is None, path
    assert merged.resolve("/../../usr") == "/usr"


def test_names_that_lead_out_are_left_out(tmp_path: Path) -> None:
    merged = view(tmp_path, {"a": b"", "../b": b"", "c/../../d": b"", "/e": b"abs"})
    assert merged.list("/") == ["a", "e"]


def test_only_what_is_asked_for_is_kept(tmp_path: Path) -> None:
    blob = layer(tmp_path / "l.tar", {"a": b"1", "b": b"2"})
    merged = layers.view([blob], lambda name: name == "a")
    assert (merged.read("/a"), merged.read("/b")) == (b"1", None)
    wanted = [node for name in ("/a", "/b") if (node := merged.find(name)) is not None]
    found = {}
    for node, archive in layers.contents([blob], wanted):
        assert node.member is not None
        source = archive.extractfile(node.member)
        assert source is not None
        found[node.member.name] = source.read()
    assert found == {"a": b"1", "b": b"2"}


def test_a_layer_that_is_no_tar_is_named(tmp_path: Path) -> None:
    blob = tmp_path / "0123456789abcdef0123456789"
    blob.write_bytes(b"\x1f\x8b nonsense")
    with pytest.raises(BuildError, match="layer 0123456789abcdef012 cannot be read"):
        layers.view([blob])
