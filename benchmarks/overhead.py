"""What a derivation costs beside its own work: N trivial ones, envd's engine against nix-build.

Each derivation runs `sh -c 'echo … >file'`, without a sandbox in both. Ours hashes, compresses and
records a layer with its tree; Nix hashes and registers a store path. Nix is Debian's, with a store
of its own in a temporary directory, without daemon and substituters.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.peers import environment
from benchmarks.timing import in_turn, seconds, show
from engine.core.command import run
from engine.core.derivation import Derivation
from engine.realise.context import BuildContext
from engine.realise.scheduler import realise
from store import Store

COUNT = 200

_NIX = """
{ n, salt }:
builtins.genList (i: derivation {
  name = "trivial-${toString i}";
  system = builtins.currentSystem;
  builder = "/bin/sh";
  args = [ "-c" "echo ${toString i} ${salt} >$out" ];
}) n
"""


def _build(context: BuildContext) -> Path:
    tree = context.scratch / "tree"
    tree.mkdir()
    run(["/bin/sh", "-c", f"echo {context.parameters['text']} >{tree}/file"], log=context.log)
    return tree


def engine(path: Path, salt: int) -> None:
    """COUNT derivations by the engine, in the store at `path`."""
    store = Store.open(path)
    try:
        realise(
            [Derivation("trivial", f"trivial-{i}", 1, (), {"text": f"{i} {salt}"}) for i in range(COUNT)],
            store,
            {"trivial": _build},
        )
    finally:
        store.close()


def main(rounds: int = 5) -> None:
    """Print the comparison."""
    if shutil.which("nix-build") is None:
        raise SystemExit("nix-build is not installed: apt-get install nix-bin")
    with tempfile.TemporaryDirectory(prefix="envd-bench-") as name:
        directory = Path(name)
        (directory / "many.nix").write_text(_NIX)
        (directory / "conf").mkdir()
        (directory / "conf/nix.conf").write_text("build-users-group =\nsandbox = false\nsubstitute = false\n")
        places = {
            f"NIX_{kind}_DIR": str(directory / "nix" / kind.lower())
            for kind in ("STORE", "STATE", "LOG", "LOCALSTATE", "DATA")
        }
        variables = environment(**places, NIX_CONF_DIR=str(directory / "conf"))
        jobs = str(os.cpu_count() or 1)

        def nix(salt: int) -> float:
            return seconds(
                [
                    "nix-build",
                    "many.nix",
                    "--arg",
                    "n",
                    str(COUNT),
                    "--argstr",
                    "salt",
                    str(salt),
                    "-j",
                    jobs,
                    "--no-out-link",
                ],
                variables,
                directory,
            )

        def ours(salt: int) -> float:
            return seconds(
                [sys.executable, "-m", "benchmarks.overhead", str(directory / "store"), str(salt)],
                environment(),
                Path.cwd(),
            )

        ours(-1)
        nix(-1)
        pair = in_turn(ours, nix, rounds)
        # What Nix stores is read-only.
        for top, _, _ in os.walk(directory):
            Path(top).chmod(0o700)
    show(
        f"{COUNT} trivial derivations",
        "envd's engine",
        "nix-build",
        pair,
        f"({pair.a / COUNT * 1000:.1f} ms and {pair.b / COUNT * 1000:.1f} ms each)",
    )


if __name__ == "__main__":
    if len(sys.argv) == 3:  # one side, as a process of its own
        engine(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
