"""Fetching package lists with apt: again when what went wrong passes by, and by one envd at a time."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TextIO

from engine.core.command import HOST_ENVIRONMENT, pause
from engine.errors import ResolveError
from engine.net import patience
from engine.realise import confined
from store import notices, retry


class Run(Protocol):
    """How one of apt's commands is run."""

    def __call__(self, *argv: str, network: bool) -> subprocess.CompletedProcess[str]: ...


def are_fresh(handle: TextIO, fresh: Path) -> bool:
    """Hold the lists, and say whether they are up to date: they are when somebody else is at work
    with them, who has seen to that. Else nobody else holds them."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        pass
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        notices.say("apt", "waiting for another envd that fetches the package lists")
        fcntl.flock(handle, fcntl.LOCK_SH)
    if fresh.exists():
        return True
    fcntl.flock(handle, fcntl.LOCK_EX)
    return False


# What passes by, in apt's words: it tries again itself only where no connection came about.
_LATER = "(?:408|425|429|500|502|503|504)"
_PASSING = re.compile(
    rf"Failed to fetch .*(\b{_LATER} |[Tt]imed out|[Tt]imeout|Connection|"
    r"connect|Temporary failure|reset|closed|Undetermined|unexpected size|Hash Sum mismatch|"
    r"Bad header|Error reading)"
)
_UPDATES = 3


def update(directory: Path, run: Run, advice: str) -> None:
    """Fetch the lists of the private apt in `directory`, whose commands `run` runs. Raises ResolveError,
    with apt's words."""
    if not any(shutil.which(name, path=HOST_ENVIRONMENT["PATH"]) for name in ("gpgv", "sqv")):
        fault = "neither gpgv nor sqv is installed, and envd verifies archives with one of them"
        raise ResolveError(fault, advice="install gpgv")
    for attempt in range(1, _UPDATES + 1):
        # No hash tells whether what is left of a release file fits to the rest of a newer one: apt
        # would continue it, and then find the archive not signed, each time again.
        lists = directory / "lists"
        for left in confined.find(lists, "partial/*Release*"):
            confined.remove(lists, left)
        confined.make_directory(lists, "partial")
        done = run("apt-get", "update", "-q", network=True)
        problems = [
            line for line in done.stderr.splitlines() if line.startswith(("E: ", "W: Failed", "W: GPG error"))
        ]
        failed = [line for line in problems if "Failed to fetch" in line]
        if done.returncode == 0 and not failed:
            return
        if attempt == _UPDATES or not failed or not all(map(_PASSING.search, failed)):
            break
        stumble = retry.TransientError(_words(failed), _asked(failed))
        seconds = retry.wait(attempt, stumble, 2.0)
        if seconds is None:
            break
        retry.announce("apt", attempt, seconds, stumble, _UPDATES)
        pause(seconds, "apt")
    expired = [line for line in problems if "is expired" in line]
    if expired:
        raise ResolveError(
            f"cannot trust the apt sources: {_words(expired)}",
            advice="a maintained archive is signed again before then: ask for a snapshot by its date "
            "(a URL with a date in its path), or accept what may be old with --allow-expired-apt",
        )
    fault = f"cannot read the apt sources: {_words(failed or problems) or ending(done)}"
    raise ResolveError(fault, advice=advice)


def _asked(failed: Sequence[str]) -> float | None:
    """Seconds that the archive asks to be left alone, when it says so: apt does not tell."""
    later = re.search(rf"Failed to fetch (https?://\S+)\s+{_LATER} ", "\n".join(failed))
    return patience.asked(later[1]) if later else None


def _words(lines: Sequence[str]) -> str:
    """Each of apt's complaints once, without what it says of all of them."""
    found = dict.fromkeys(re.sub(r"^[EW]: |\s+(?=\s)", "", line).strip() for line in lines)
    return "; ".join([*found][:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def ending(done: subprocess.CompletedProcess[str]) -> str:
    """What is said of an apt that had nothing to complain of itself."""
    if done.returncode < 0 or done.returncode > 128:  # as a shell puts it
        return f"apt-get was killed by signal {abs(done.returncode) % 128}"
    said = done.stderr.strip()[-800:]
    return said or f"apt-get failed with exit status {done.returncode}"
