"""`make faults`: do every row, print the table, fail when something was lost or an error unclear.

python -m tests.faults [--seed N] [--only PART …] [--output FILE]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

from tests.faults.rows import DEBIAN, ROWS, Do
from tests.faults.server import running
from tests.faults.world import Row, Trial, World, unmount
from tests.integration import distribution, servers

AT_ONCE = 6  # rows: most of them wait
MODULES = (  # each enters its rows, in this order
    "killed",
    "machine",
    "users",
    "damage",
    "crowd",
    "network",
    "archives",
    "registries",
    "engines",
)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--only", nargs="*", default=[], help="rows whose name holds one of these")
    parser.add_argument("--output", type=Path, help="where the table is written, too")
    options = parser.parse_args(arguments)
    if os.getuid() != 0:
        print("faults: mounts file systems and must be run as root", file=sys.stderr)
        return 2
    # In the background of a script it would be ignored, by all that we start too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and this one under nohup
    for name in MODULES:
        import_module(f"tests.faults.{name}")
    chosen = {
        name: do
        for name, do in ROWS.items()
        if not options.only or any(part in name for part in options.only)
    }
    directory = Path(tempfile.mkdtemp(prefix="envd-faults-", dir=os.environ.get("ENVD_FAULTS_DIR")))
    directory.chmod(0o755)  # another user's commands begin there, too
    begin = time.monotonic()
    key = distribution.make_key()
    try:
        with ExitStack() as stack:
            docker = stack.enter_context(servers.docker_engine())
            registry = stack.enter_context(servers.registry())
            bad, debs = (
                stack.enter_context(running(directory=directory / name)) for name in ("index", "debs")
            )
            world = World(directory, options.seed, bad, debs, docker, registry.address, key)
            _tell("preparing a store")
            world.prepare()
            if DEBIAN & set(chosen):
                threading.Thread(target=world.debian, daemon=True).start()
            _tell(f"prepared after {time.monotonic() - begin:.0f} s")
            done = _all(world, chosen, lambda rows: _write(rows, options, directory, begin))
    finally:
        distribution.remove_key(key)
        unmount(directory)
        subprocess.run(["rm", "-rf", "--one-file-system", str(directory)], check=False)
    print(_write(done, options, directory, begin))
    return int(any(t.lost or t.ended == "unclear" for row in done for t in row.trials))


def _all(world: World, chosen: dict[str, Do], so_far: Callable[[Sequence[Row]], object]) -> list[Row]:
    """Do the rows, some side by side; `so_far` gets those that are done whenever one ends."""
    done: dict[str, Row] = {}
    guard = threading.Lock()

    def one(name: str) -> None:
        row = _do(world, name, chosen[name])
        with guard:
            done[name] = row
            so_far([done[n] for n in chosen if n in done])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        # Those that wait for the network first, those that wait for Debian's base last.
        rows = [*chosen][::-1]
        list(pool.map(one, sorted(rows, key=lambda name: name in DEBIAN)))
    return [done[name] for name in chosen]


def _write(rows: Sequence[Row], options: argparse.Namespace, directory: Path, begin: float) -> str:
    text = table(rows, options.seed, time.monotonic() - begin).replace(str(directory), "DIR")
    if options.output:
        options.output.write_text(text + "\n")
    return text


def _tell(text: str) -> None:
    print(f"faults: {text}", file=sys.stderr, flush=True)


def _do(world: World, name: str, do: Do) -> Row:
    row, begin = Row(name), time.monotonic()
    try:
        for trial in do((world.debian() if name in DEBIAN else world).of_row(name)):
            row.trials.append(trial)
    except Exception as error:  # a fault of this script's is no survival
        row.trials.append(Trial("unclear", remark=f"the trial itself failed: {error!r}"))
    row.seconds = time.monotonic() - begin
    bad = [t for t in row.trials if t.lost or t.ended == "unclear"]
    _tell(f"{'BAD ' if bad else ''}{name}: {len(row.trials)} trials, {row.seconds:.0f} s")
    for trial in bad:
        _tell(f"    {trial.ended}{', LOST' if trial.lost else ''}: {trial.remark}")
    return row


def table(done: Sequence[Row], seed: int, seconds: float) -> str:
    """The table in Markdown."""
    lines = [
        "# What faults do",
        "",
        "Made by `make faults` (`tests/faults`): a trial is survived when the command ends well in "
        "spite of the fault; an error is clear when it is one message, with exit status 1 or 2 (130 "
        "for a signal), no traceback and no internal error. After each trial the fault is "
        "gone, the store must verify and the build must give the same image: else data is lost.",
        "",
        f"Seed {seed}; {sum(len(r.trials) for r in done)} trials in {seconds / 60:.0f} minutes.",
        "",
        "| fault | trials | survived | clear error | unclear | data lost | remarks |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in done:
        remarks = "<br>".join(
            t.remark.replace("|", "\\|").replace("\n", " ")[:200] for t in row.trials if t.remark
        )
        lines.append(
            f"| {row.fault} | {len(row.trials)} | {row.count('survived')} | {row.count('clear')} | "
            f"{row.count('unclear')} | {sum(t.lost for t in row.trials)} | {remarks} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
