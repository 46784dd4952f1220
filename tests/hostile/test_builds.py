"""Build steps that leave links where the host cleans afterwards: its own files stay as they are."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from tests.hostile import canary
from tests.integration.envd import Envd

LINKS = [
    "ln -sfn {victim}/file /etc/machine-id",
    "rm -rf /var/cache/man && ln -s {victim}/dir /var/cache/man",
    "rm -rf /var/lib/apt/lists && ln -s {victim}/dir /var/lib/apt/lists",
    "rm -rf /var/log/apt && ln -s {victim}/dir /var/log/apt",
    "rm -rf /var/log && ln -s {victim}/dir /var/log",
    "rm -rf /root/.cache && ln -s {victim}/dir /root/.cache",
    "mkdir -p /home/x && ln -s {victim}/dir /home/x/.cache",
    "rm -rf /home && ln -s {victim} /home",
    "rm -rf /etc/ssh && ln -s {victim}/ssh /etc/ssh",
    "rm -rf /var/lib/dpkg/info && ln -s {victim}/dir /var/lib/dpkg/info",
    "ln -sfn {victim}/file /etc/shadow-",
    "ln -sfn {victim}/file /var/lib/dpkg/status-old",
    "ln -sfn {victim}/file /etc/shadow",
    "rm -f /etc/machine-id && mkfifo /etc/machine-id",
    "rm -f /etc/shadow && mkfifo /etc/shadow",
    "rm -rf /run && ln -s {victim}/dir /run || true",
    "rm -rf /tmp && ln -s {victim}/dir /tmp || true",
]


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """What belongs to the host; open to whoever follows a link to it."""
    return canary.make(tmp_path, ("ssh/ssh_host_key", ".cache/file", "x/.cache/f")).directory


def content(directory: Path) -> dict[str, str]:
    """Every file below it."""
    return {p.relative_to(directory).as_posix(): p.read_text() for p in directory.rglob("*") if p.is_file()}


@pytest.mark.parametrize("together", [True, False], ids=["one layer", "a layer each"])
def test_nothing_of_the_host_is_touched(
    together: bool, victim: Path, shared_store: Path, tmp_path: Path
) -> None:
    before = content(victim)
    commands = [line.format(victim=victim) for line in LINKS]
    if together:
        steps = f"    run({[c for c in commands if 'mkfifo' not in c]!r})\n"
    else:
        steps = "".join(f"    run([{c!r}])\n" for c in commands)
    envd = Envd(shared_store, tmp_path / "project")
    envd.spec(f'def build():\n    base(os="debian12")\n{steps}')
    outcome = envd.run("build", "-o", f"oci:{tmp_path}/out.tar", check=False)
    # Whether such an image is of any use is its maker's business: it ends, and says one thing.
    assert outcome.code in (0, 1), outcome.stderr[-2000:]
    assert "Traceback" not in outcome.stderr
    assert "internal error" not in outcome.stderr
    assert content(victim) == before


def test_a_steps_own_overlay_marks_mean_nothing(shared_store: Path, tmp_path: Path) -> None:
    """Overlayfs has its marks in attributes: of the same names, some of a step's own can be set."""
    setxattr = {"x86_64": 188, "aarch64": 5}[platform.machine()]
    names = " ".join(
        f"{space}.overlay.{name}"
        for space in ("user", "trusted")
        for name in ("opaque", "redirect", "metacopy", "whiteout", "origin", "impure")
    )
    program = (
        f'for my $d ("/", "/usr/share/perl5") {{ for my $n (qw({names})) '
        f'{{ my ($path, $name, $y) = ($d, $n, "y"); syscall({setxattr}, $path, $name, $y, 1, 0); }} }}'
    )
    envd = Envd(shared_store, tmp_path / "project")
    first = [f"touch /usr/share/perl5/own; : {tmp_path}", f"perl -e '{program}'"]
    second = ["ls /usr/share/perl5/own /usr/share/perl5/Debconf /etc/debian_version"]
    envd.spec(f'def build():\n    base(os="debian12")\n    run({first!r})\n    run({second!r})\n')
    root = envd.unpacked(tmp_path)
    for name in ("usr/share/perl5/own", "usr/share/perl5/Debconf", "etc/debian_version"):
        assert (root / name).exists(), name
    for path in (root, root / "usr/share/perl5"):
        assert not [name for name in os.listxattr(path) if "overlay" in name]
