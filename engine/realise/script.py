"""The commands of a `run` as one script, and what is known when it fails: which command it was, and
whether it looked for a network that is not there.

The script is bash's where the image has bash, as upstream's is: `-euo pipefail`, all commands in one
shell. Elsewhere it is sh's, and there a command at a time is read, when each is one by itself: sh has
no ERR trap that would say which of them failed.

Whether something looked for a network is read from the kernel's own counters of the sandbox's network
namespace (proc(5), /proc/net/snmp), so it needs to know no program's words. Every packet without a
route is counted there, and every question to a name server that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.realise.handed import PLACE as HANDED
from engine.realise.sandbox import Bind

PLACE = "/run/envd/run"  # where the sandbox sees the script
_REPORT = "/run/envd/report"  # a file that the script writes: it says where it stopped
_MOST = 1 << 16  # bytes of a report that are read
_SHOWN = 200  # characters of a command that an error shows

ARGV = ("sh", f"{PLACE}/start")

# Which shell there is, and after it the counters. The exit status is the commands'; on a full disk
# the last words are theirs, too.
_START = f"""\
here={PLACE}
if [ -d {HANDED}/secrets ]; then
    mkdir -p /run/secrets || exit
    for file in {HANDED}/secrets/*; do
        (umask 0377 && cat "$file" >"/run/secrets/${{file##*/}}") || exit
    done
fi
[ ! -p {HANDED}/variables ] || eval "$(cat {HANDED}/variables)"
if command -v bash >/dev/null 2>&1; then
    bash -euo pipefail "$here/commands"
else
    script=$here/commands.sh
    for part in "$here"/parts/*; do
        sh -n "$part" 2>/dev/null || script=$here/whole.sh
    done
    [ -e "$here/parts" ] || script=$here/whole.sh
    sh -eu "$script"
fi
code=$?
for file in snmp snmp6; do
    [ ! -r "/proc/net/$file" ] || while IFS= read -r line; do
        printf '\\n%s' "$line" || break
    done <"/proc/net/$file" 2>/dev/null >>{_REPORT}
done
exit $code
"""

# Written before the commands: one line, so that theirs are counted from 2.
_TRAPS = (
    f'trap \'case $- in *e*) printf "%s %s" "$LINENO" "$BASH_COMMAND" >{_REPORT};; esac\' ERR; '
    f'trap \'[ $? = 0 ] || [ -s {_REPORT} ] || printf "0 %s" "$BASH_COMMAND" >{_REPORT}\' EXIT\n'
)
_PIPEFAIL = (
    "(set -o pipefail) 2>/dev/null && set -o pipefail || echo 'envd: the image has no bash, and its "
    "sh no pipefail: what fails before a | does not end the step' >&2\n"
)


@dataclass(frozen=True)
class Failure:
    """`command` is the one that failed, "" when that is not known; `network`: something looked for
    a network that is not there."""

    command: str
    network: bool


def write(directory: Path, commands: Sequence[str]) -> tuple[Bind, ...]:
    """Write the script below `directory`; what the sandbox has to see of it."""
    here = directory / "script"
    here.mkdir()
    text = "\n".join(commands) + "\n"
    files = {"start": _START, "commands": _TRAPS + text, "whole.sh": _PIPEFAIL + text}
    if _separable(commands):
        (here / "parts").mkdir()
        files |= {f"parts/{n:05}": f"{command}\n" for n, command in enumerate(commands)}
        files["commands.sh"] = _PIPEFAIL + "".join(
            f"printf 'part %s' {n} >{_REPORT}; . {PLACE}/parts/{n:05}\n" for n in range(len(commands))
        )
    for name, content in files.items():
        # As they were written: a spec may hold what is no text (surrogates).
        (here / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    report = directory / "report"
    report.touch()
    report.chmod(0o666)  # commands that become another user have their say, too
    return Bind(here, PLACE), Bind(report, _REPORT, writable=True)


def _separable(commands: Sequence[str]) -> bool:
    """Whether no command can go on in the next one without sh noticing."""
    return not any("<<" in c or c.rstrip(" \t").endswith("\\") for c in commands)


def failure(directory: Path, commands: Sequence[str]) -> Failure:
    """What is known of the script that failed."""
    # It is a mount point of its own: no command could make it a link, or anything but a file.
    with (directory / "report").open("rb") as file:
        first, _, counters = file.read(_MOST).decode("utf-8", "replace").partition("\nIp: ")
    return Failure(_command(first, commands), _looked_for_network(f"Ip: {counters}"))


def _command(report: str, commands: Sequence[str]) -> str:
    where, _, text = report.partition(" ")
    if where == "part" and text.isdecimal() and int(text) < len(commands):
        return shown(commands[int(text)])
    if where.isdecimal() and int(where) > 1:
        line = int(where) - 1
        for command in commands:
            count = command.count("\n") + 1
            if line <= count:
                return shown(command.split("\n")[line - 1].strip() or text)
            line -= count
    if len(commands) == 1 and "\n" not in commands[0].strip():
        return shown(commands[0])
    return shown(text) if where.isdecimal() else ""


def shown(command: str) -> str:
    """A command on one line, shortened."""
    line = " ".join(command.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _looked_for_network(counters: str) -> bool:
    values: dict[str, int] = {}
    names: list[str] = []
    for line in counters.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0].endswith(":"):  # snmp: a line of names, then one of numbers
            numbers = words[1:]
            if all(n.lstrip("-").isdecimal() for n in numbers):
                values |= {f"{words[0]}{k}": int(v) for k, v in zip(names, numbers, strict=False)}
            else:
                names = numbers
        elif len(words) == 2 and words[1].isdecimal():  # snmp6
            values[words[0]] = int(words[1])
    return any(
        values.get(name, 0) for name in ("Ip:OutNoRoutes", "Udp:NoPorts", "Ip6OutNoRoutes", "Udp6NoPorts")
    )


# What programs say when a name server or a host cannot be reached.
_WORDS = re.compile(
    r"could not resolve|couldn't resolve|temporary failure (in name resolution|resolving)|"
    r"name or service not known|network is unreachable|network unreachable|no such host|"
    r"failed to lookup address|EAI_AGAIN|ENETUNREACH|ENOTFOUND|bad address '|unable to resolve host|"
    r"no route to host|nodename nor servname|failed to resolve|dns error",
    re.IGNORECASE,
)


def speaks_of_network(log: str) -> bool:
    """Whether a program's words are those of one without network."""
    return _WORDS.search(log) is not None


__all__ = ["ARGV", "PLACE", "Failure", "failure", "shown", "speaks_of_network", "write"]
