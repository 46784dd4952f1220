"""What a build step costs beside its own work: `true` in envd's sandbox against a plain one.

The plain one is what envd had before its steps were kept from the machine's root: an overlay mounted
in a mount namespace, and bubblewrap with namespaces and capabilities upon it. Ours has a user
namespace, idmapped mounts, a system call filter and a keyring besides. Both run in one process, in
turn, over a small root; the first run of each is not counted, but ours is shown: it makes what the
process then keeps.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.timing import in_turn, show
from engine.core.command import HOST_ENVIRONMENT, run
from engine.realise import sandbox

LIMIT = 0.010  # seconds that a derivation may cost more than with the plain sandbox

_PLAIN = """\
mount -t overlay overlay -o "$1" merged || exit
shift
exec "$@"
"""
_OPTIONS = "lowerdir={},upperdir=upper,workdir=work,redirect_dir=nofollow,metacopy=off,index=off,xino=off"


def _root(directory: Path) -> Path:
    """A root directory with `true` and its libraries."""
    (directory / "usr/bin").mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (directory / name).symlink_to(f"usr/{name}")
    program = shutil.which("true") or "/usr/bin/true"
    shutil.copy2(program, directory / "usr/bin/true")
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    for word in filter(lambda w: w.startswith("/"), listed.stdout.split()):
        target = directory / ("usr" + word.removeprefix("/usr"))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(word, target)
    return directory


def _plain(layer: Path, scratch: Path) -> float:
    """Seconds that `true` takes in a plain sandbox."""
    start = time.perf_counter()
    for name in ("upper", "work", "merged"):
        (scratch / name).mkdir(parents=True, exist_ok=True)
    argv = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "sh",
        "-c",
        _PLAIN,
        "sh",
        _OPTIONS.format(layer),
        "bwrap",
        "--bind",
        str(scratch / "merged"),
        "/",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--unshare-net",
        "--hostname",
        "envd",
        "--die-with-parent",
        "--new-session",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--perms",
        "1777",
        "--tmpfs",
        "/tmp",
        "--perms",
        "0755",
        "--tmpfs",
        "/run",
        "--cap-drop",
        "ALL",
    ]
    for capability in sandbox.CAPABILITIES:
        argv += ["--cap-add", capability]
    run(
        [*argv, "--clearenv", "--chdir", "/", "--", "true"],
        log=print,
        cwd=scratch,
        environment={**HOST_ENVIRONMENT, "LIBMOUNT_FORCE_MOUNT2": "always"},
    )
    shutil.rmtree(scratch)
    return time.perf_counter() - start


def _ours(layer: Path, scratch: Path) -> float:
    """Seconds that `true` takes in ours."""
    start = time.perf_counter()
    scratch.mkdir()
    sandbox.run(["true"], layers=[layer], scratch=scratch, log=print, name="true")
    shutil.rmtree(scratch)
    return time.perf_counter() - start


def main(rounds: int = 41) -> None:
    """Print the comparison."""
    if os.geteuid() != 0:
        raise SystemExit("the plain sandbox needs root: run this as root")
    with tempfile.TemporaryDirectory(prefix="envd-bench-") as name:
        directory = Path(name)
        layer = _root(directory / "layer")
        first = _ours(layer, directory / "ours")
        _plain(layer, directory / "plain")
        took: dict[str, list[float]] = {"ours": [], "plain": []}

        def timed(name: str, function: Callable[[Path, Path], float]) -> float:
            took[name].append(function(layer, directory / name))
            return took[name][-1]

        pair = in_turn(lambda _: timed("ours", _ours), lambda _: timed("plain", _plain), rounds)
    # The fastest of each: a busy machine stretches what takes longer by more.
    more = min(took["ours"]) - min(took["plain"])
    show(
        "one sandboxed command",
        "envd's sandbox",
        "plain bubblewrap",
        pair,
        f"(the fastest: {more * 1000:+.1f} ms, {'within' if more <= LIMIT else 'ABOVE'} the limit of "
        f"{LIMIT * 1000:.0f} ms; a process's first: {first * 1000:.0f} ms)",
    )


if __name__ == "__main__":
    main()
