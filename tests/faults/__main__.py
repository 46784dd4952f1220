"""`make faults`: do every row, print the table, fail when something was lost or an error unclear.

    python -m tests.faults [--seed N] [--only PART …] [--output FILE]
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults import rows
from tests.faults.server import running
from tests.faults.world import Row, Trial, World, python_index
from tests.integration import servers

AT_ONCE = 5  # rows: most of them wait


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
    chosen = {
        name: do for name, do in rows.ROWS.items()
        if not options.only or any(part in name for part in options.only)
    }
    directory = Path(tempfile.mkdtemp(prefix="envd-faults-", dir=os.environ.get("ENVD_FAULTS_DIR")))
    begin = time.monotonic()
    try:
        with servers.docker_engine() as docker, servers.registry() as registry:
            python_index(directory / "index")
            with running(directory=directory / "index") as bad:
                world = World(directory, options.seed, bad, docker, registry.address)
                _tell("preparing a store")
                world.prepare()
                rows.make_pushed(world)
                with ThreadPoolExecutor(AT_ONCE) as pool:
                    done = list(pool.map(lambda item: _do(world, *item), chosen.items()))
    finally:
        subprocess.run(["rm", "-rf", str(directory)], check=False)
        shutil.rmtree(directory, ignore_errors=True)
    text = table(done, options.seed, time.monotonic() - begin).replace(str(directory), "DIR")
    print(text)
    if options.output:
        options.output.write_text(text + "\n")
    return int(any(t.lost or t.ended == "unclear" for row in done for t in row.trials))


def _tell(text: str) -> None:
    print(f"faults: {text}", file=sys.stderr, flush=True)


def _do(world: World, name: str, do: rows.Do) -> Row:
    row, begin = Row(name), time.monotonic()
    try:
        for trial in do(world):
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
        "# What faults do", "",
        "Made by `make faults` (`tests/faults`): a trial is survived when the command ends well in "
        "spite of the fault; an error is clear when it is one message, with exit status 1 or 2 (130 "
        "for a signal), no traceback and no internal error. After each trial the fault is "
        "gone, the store must verify and the build must give the same image: else data is lost.", "",
        f"Seed {seed}; {sum(len(r.trials) for r in done)} trials in {seconds / 60:.0f} minutes.", "",
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
