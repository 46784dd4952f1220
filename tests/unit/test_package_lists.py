"""An archive's package lists."""

from __future__ import annotations

from pathlib import Path

from engine.ecosystems.debian.package_lists import PackageLists

MAIN = """\
Package: bash
Version: 5.2
Essential: yes
Depends: base-files (>= 2.1)
Filename: pool/b/bash.deb

Package: libc6
Version: 2.36
Priority: required
Provides: libc6-virtual (= 2.36),
 not-a-field
Description: a text
 Essential: yes

Package: bash
Version: 5.3
Filename: pool/b/bash2.deb
"""


def test_paragraphs_are_found_without_reading_all(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(MAIN)
    (tmp_path / "b").write_text("Package: only\nVersion: 1\nPriority: required\nProvides: bash-x")
    lists = PackageLists([tmp_path / "a", tmp_path / "b"])
    assert lists.names == ["bash", "libc6", "only"]
    assert [(e.fields["Version"], e.source.name) for e in lists.entries("bash")] == [
        ("5.2", "a"),
        ("5.3", "a"),
    ]
    assert lists.entries("only")[0].source == tmp_path / "b" and lists.entries("none") == []
    assert lists.holding("Essential: yes", "Priority: required") == ["bash", "libc6", "only"]
    assert lists.provides("libc6-virtual") and lists.provides("bash-x") and lists.provides("bash")
    assert not lists.provides("virtual")
