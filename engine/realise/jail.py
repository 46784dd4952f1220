"""Programs of the host (tar, Python, git, apt) at work on foreign data: in the sandbox, where they see
nothing else.

What runs there is the machine's own program, for the layers of an environment may not have it yet. Its
root directory holds the machine's /usr, read-only, and what the caller binds: no /etc, no home, and no
network but for who asks for it. A link in foreign files that leads out of them leads to nothing that
can be written.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from engine.core import command
from engine.core.command import CancelledError, LimitError
from engine.errors import BuildError
from engine.realise import confined, sandbox, userns
from engine.realise import limits as held
from engine.realise.sandbox import Bind
from store import limits, notices

__all__ = ["Bind", "ask", "python", "run", "shown"]

_PROGRAMS = Path("/usr")
_BESIDE = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")  # links into /usr, or directories
# Programs and libraries that are only found by these.
_FINDING = ("/etc/alternatives", "/etc/ld.so.cache")
# What it takes to find servers by name and to check their certificates: no directory that has private
# keys beside these (/etc/ssl/private, /etc/pki/tls/private).
_NETWORK = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/openssl.cnf",
    "/etc/crypto-policies",
    "/etc/gnutls",
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/avahi-daemon/socket",
)
# It reads what others own, as root may; else a program that only reads and fetches may do nothing.
_CAPABILITIES = ("CAP_DAC_READ_SEARCH",)
_SAID = "/run/envd"  # where it leaves what it said
_LONGEST = 16  # bytes of a status
# $1: how many bytes of standard output are kept. That this has begun tells a sandbox that cannot be made
# from a program that fails.
_SCRIPT = f"""\
: >{_SAID}/begun || exit 1
most=$1
shift
{{ "$@"; echo "$?" >{_SAID}/status; }} | head -c "$most" >{_SAID}/output
read -r status <{_SAID}/status && exit "$status"
exit 1
"""
_unavailable: list[str] = []  # why no sandbox can be made here, once that is known


def run(
    argv: Sequence[str],
    *,
    binds: Sequence[Bind],
    scratch: Path,
    log: Callable[[str], None],
    name: str,
    environment: Mapping[str, str] = {},
    cwd: str = "/",
) -> None:
    """Run `argv`, a program of the host's /usr or of `binds`. Its root is made in `scratch`, which is
    ours and goes away afterwards. Raises BuildError with the log's end."""
    root = scratch / "upper"
    root.mkdir(parents=True)
    shown = [*_programs(root), *binds]
    try:
        sandbox.run(
            argv,
            layers=(),
            scratch=scratch,
            binds=shown,
            environment=environment,
            cwd=cwd,
            log=log,
            name=name,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def ask(
    argv: Sequence[str],
    *,
    binds: Sequence[Bind],
    place: Path,
    environment: Mapping[str, str] = {},
    outside: Mapping[str, str] | None = None,
    network: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """Run `argv`, a program of the host's /usr, to its end and return what it said, whatever its exit
    status is; of its standard output no more than the limit of one answer.

    Nothing but `binds` can be written, and they are where they are on the host: where no sandbox can be
    made the program runs outside of one, which is said, with `outside` as its environment (default:
    `environment`, too). Its root is made in `place`, a directory of ours. With `network` it has the
    machine's, and what names and certificates need. Raises FileNotFoundError when there is no such
    program, LimitError, CancelledError, OSError.
    """
    if command.which(argv[0]) is None:
        raise FileNotFoundError(2, "No such file or directory", argv[0])
    if not _unavailable:
        place.mkdir(exist_ok=True, parents=True)
        with tempfile.TemporaryDirectory(
            dir=place, prefix=f"{argv[0]}-{os.getpid()}-", ignore_cleanup_errors=True
        ) as scratch:
            done = _asked(argv, binds, Path(scratch), environment, network)
        if done is not None:
            return done
    notices.once(argv[0], f"runs outside of a sandbox, which this machine cannot make: {_unavailable[0]}")
    chosen = environment if outside is None else outside
    return command.ask(argv, environment={**command.HOST_ENVIRONMENT, **chosen}, cwd=Path("/"))


def _asked(
    argv: Sequence[str], binds: Sequence[Bind], scratch: Path, environment: Mapping[str, str], network: bool
) -> subprocess.CompletedProcess[bytes] | None:
    """What it said; None where no sandbox can be made."""
    root, said = scratch / "upper", scratch / "said"
    (root / "etc").mkdir(parents=True)
    said.mkdir()
    _write_accounts(root / "etc")
    most = int(limits.current().answer)
    every = [
        *_programs(root),
        *shown(_FINDING),
        *(shown(_NETWORK) if network else ()),
        *binds,
        Bind(said, _SAID, writable=True),
    ]
    errors: list[str] = []
    try:
        sandbox.run(
            ["/bin/sh", "-c", _SCRIPT, "sh", str(most + 1), *argv],
            layers=(),
            scratch=scratch,
            binds=every,
            environment={"TMPDIR": "/tmp", **environment},
            network=network,
            log=errors.append,
            name=argv[0],
            capabilities=_CAPABILITIES,
            read_only=True,
            bounds=held.of_readers(),
            writes=[bind.source for bind in every if bind.writable],
        )
    except CancelledError:
        raise
    except BuildError as error:
        if confined.read(said, "begun") is None:
            _unavailable.append(error.last_line or str(error))
            return None
        if isinstance(error, LimitError):
            raise
    output = confined.read(said, "output", most + 1) or b""
    if len(output) > most:
        raise LimitError(
            argv[0], f"it says more than {limits.shown_size(most)}; {limits.advice('answer', most)}", ""
        )
    status = confined.read(said, "status", _LONGEST) or b""
    return subprocess.CompletedProcess(
        list(argv), int(status) if status.strip().isdigit() else 1, output, "\n".join(errors).encode()
    )


def shown(paths: Iterable[str | Path]) -> list[Bind]:
    """What is there of `paths`, to be read at the same place: of those that are absolute, and are not
    there anyway."""
    found = dict.fromkeys(os.path.normpath(path) for path in paths)
    return [
        Bind(Path(path).resolve(), path)
        for path in found
        if path.startswith("/") and not re.match(r"/+(proc|dev|sys|usr)?(/|$)", path) and os.path.exists(path)  # noqa: PTH110
    ]


def user() -> tuple[str, str]:
    """The name and the home, by the accounts of the machine, of who runs envd."""
    uid = int(os.environ.get(userns.OUTER_UID) or os.getuid())
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return str(uid), os.environ.get("HOME") or "/"
    return entry.pw_name, entry.pw_dir


def _write_accounts(directory: Path) -> None:
    """The user is uid 0 there, by the own name, which ssh takes for the remote's."""
    name, home = user()
    (directory / "passwd").write_text(f"{name}:x:0:0::{home}:/bin/sh\n", "utf-8")
    (directory / "group").write_text(f"{name}:x:0:\n", "utf-8")


def python() -> tuple[str, list[Bind]]:
    """The Python that runs us, without its packages: its path, and what it needs beside /usr."""
    prefix = Path(sys.base_prefix).resolve()
    beside = [] if prefix.is_relative_to(_PROGRAMS) else [Bind(prefix, str(prefix))]
    return str(Path(sys.executable).resolve()), beside


def _programs(root: Path) -> list[Bind]:
    """The host's programs and their libraries, laid out below `root` as they are on the host."""
    found = [Bind(_PROGRAMS, str(_PROGRAMS))]
    for name in _BESIDE:
        path = Path("/") / name
        if path.is_symlink():
            (root / name).symlink_to(path.readlink())
        elif path.is_dir():
            found.append(Bind(path, str(path)))
    return found
