"""What a step is started with, and paths in the merged view of its layers."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from engine.core import command
from engine.errors import BuildError
from engine.realise import sandbox
from engine.realise.sandbox import Bind


class Started:
    """The command that the sandbox starts, in place of its run."""

    def __init__(self) -> None:
        self.argv: list[str] = []
        self.options: dict[str, Any] = {}

    def run(self, argv: Sequence[str], **options: Any) -> None:
        self.argv, self.options = list(argv), options

    @property
    def inner(self) -> list[str]:
        """bubblewrap's own arguments, up to the step's command."""
        return self.argv[self.argv.index("bwrap") :]

    def pairs(self, option: str) -> list[tuple[str, str]]:
        """The two arguments of each `option`."""
        words = self.inner
        return [(words[i + 1], words[i + 2]) for i, word in enumerate(words) if word == option]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    made = Started()
    monkeypatch.setattr(command, "run", made.run)
    monkeypatch.setenv("OF_THE_HOST", "secret")
    yield made


def run(tmp_path: Path, **options: Any) -> Path:
    (tmp_path / "scratch").mkdir(exist_ok=True)
    return sandbox.run(
        ["echo", "--", "x"],
        layers=options.pop("layers", ()),
        scratch=tmp_path / "scratch",
        log=lambda _: None,
        name="step",
        **options,
    )


def test_a_step_gets_nothing_that_it_is_not_given(started: Started, tmp_path: Path) -> None:
    run(tmp_path, environment={"A": "1"})
    words = started.inner
    for option in (
        "--unshare-net",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--new-session",
        "--die-with-parent",
    ):
        assert option in words
    assert words[words.index("--cap-drop") + 1] == "ALL"
    assert words.index("--cap-drop") < words.index("--cap-add")
    assert words.index("--clearenv") < words.index("--setenv")
    assert dict(started.pairs("--setenv")) == {**sandbox.ENVIRONMENT, "A": "1"}
    assert words[-4:] == ["--", "echo", "--", "x"]
    assert not any("secret" in word for word in started.argv)
    assert "OF_THE_HOST" not in started.options["environment"]
    # with a filter of system calls, in a pid namespace that ends with us
    assert words[1:3] == ["--seccomp", "9"]
    assert started.argv[0] == "unshare" and "--kill-child=KILL" in started.argv
    assert "--share-net" not in words


def test_what_of_the_machine_is_seen(started: Started, tmp_path: Path) -> None:
    """Nothing that can be written, but the layers' own."""
    run(tmp_path)
    bound = started.pairs("--bind")
    assert [target for _, target in bound] == ["/"]
    for source, target in started.pairs("--ro-bind"):
        assert target.startswith("/proc/") and source in (target, "/dev/null"), target
    assert ("/proc/sys", "/proc/sys") in started.pairs("--ro-bind")


def test_binds_are_read_only_unless_said(started: Started, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    upper = run(
        tmp_path, binds=(Bind(tmp_path / "a", "/in"), Bind(tmp_path / "b", "/deep/out", writable=True))
    )
    assert "/in" in [target for _, target in started.pairs("--ro-bind")]
    assert [target for _, target in started.pairs("--bind")] == ["/", "/deep/out"]
    # Places that were made for them are gone again.
    assert list(upper.iterdir()) == []


def test_the_network_is_for_those_who_may(started: Started, tmp_path: Path) -> None:
    run(tmp_path, network=True)
    assert "--unshare-net" not in started.inner


def test_a_root_that_cannot_be_written(started: Started, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run(tmp_path, read_only=True, binds=[Bind(tmp_path / "out", "/out", writable=True)])
    words = started.inner
    assert words[words.index("--remount-ro", words.index("/out")) + 1] == "/"


def test_the_capabilities_are_those_asked_for(started: Started, tmp_path: Path) -> None:
    run(tmp_path, capabilities=("CAP_CHOWN",))
    words = started.inner
    assert [words[i + 1] for i, w in enumerate(words) if w == "--cap-add"] == ["CAP_CHOWN"]


def test_where_it_runs(started: Started, tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    (layer / "usr/bin").mkdir(parents=True)
    (layer / "work").symlink_to("/srv/work")
    run(tmp_path, layers=(layer,), cwd="/work/here")
    words = started.inner
    assert words[words.index("--chdir") + 1] == "/srv/work/here"


@pytest.fixture
def stack(tmp_path: Path) -> list[Path]:
    """Two layers, the upper first."""
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for path in (lower / "usr/bin", lower / "gone/deep", upper / "usr/lib", upper / "etc"):
        path.mkdir(parents=True)
    (lower / "usr/bin/sh").write_text("")
    (lower / "bin").symlink_to("usr/bin")
    (lower / "up").symlink_to("../../../usr")
    (upper / "abs").symlink_to("/usr/bin")
    (upper / "a").symlink_to("b")
    (upper / "b").symlink_to("a")
    return [upper, lower]


def test_paths_are_looked_up_from_the_top(stack: list[Path]) -> None:
    upper, lower = stack
    assert sandbox.lookup(PurePosixPath("/usr/bin/sh"), stack) == lower / "usr/bin/sh"
    assert sandbox.lookup(PurePosixPath("/usr"), stack) == upper / "usr"
    assert sandbox.lookup(PurePosixPath("/nowhere/x"), stack) is None
    (upper / "usr/bin").write_text("a file hides the directory below")
    assert sandbox.lookup(PurePosixPath("/usr/bin/sh"), stack) is None


@pytest.mark.needs_root
def test_a_whiteout_hides(stack: list[Path]) -> None:
    upper, _ = stack
    os.mknod(upper / "gone", stat.S_IFCHR | 0o600, os.makedev(0, 0))
    assert sandbox.lookup(PurePosixPath("/gone/deep"), stack) is None


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/bin/sh", "/usr/bin/sh"),
        ("/abs/new", "/usr/bin/new"),
        ("/up/lib", "/usr/lib"),
        ("/nowhere/../etc", "/etc"),
        ("/../../x", "/x"),
        ("/bin/../lib", "/usr/lib"),
    ],
)
def test_links_are_the_images_own(stack: list[Path], path: str, wanted: str) -> None:
    assert sandbox.resolve(path, stack) == wanted


def test_links_in_a_circle_are_one_error(stack: list[Path]) -> None:
    with pytest.raises(BuildError, match="/a/x: too many levels of symbolic links"):
        sandbox.resolve("/a/x", stack)
