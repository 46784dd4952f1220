"""What starts with the container: Jupyter, daemons, init commands, under s6.

s6 (Debian's package) supervises: it restarts what dies, and ends everything on the container's
stop signal. Layout of a scan directory: s6-svscan(1), servicedir.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from engine import languages
from engine.build import firststart
from engine.build.context import BuildContext
from engine.derivation import Derivation
from grammar.environment import Environment, Jupyter

KIND = "services"
VERSION = 2

ENTRY = "/usr/local/bin/envd-init"
SERVICES = "/etc/envd/services"

# With a command, the container runs that; without one, the services, until it is stopped.
_INIT = f"""\
#!/bin/sh
# Made by envd.
[ ! -x {firststart.SCRIPT} ] || {firststart.SCRIPT}
[ $# -eq 0 ] || exec "$@"
for script in /etc/envd/init.d/*; do
    [ ! -e "$script" ] || sh "$script" || exit
done
# s6 writes beside its service definitions: they are used from a copy in /run.
rm -rf /run/envd && mkdir -p /run/envd && cp -r {SERVICES} /run/envd/services
exec s6-svscan /run/envd/services
"""

# As whoever runs it, with a directory of its own: neither root nor PAM is needed.
_RSTUDIO = f"""\
data=$(mktemp -d)
printf 'provider=sqlite\\ndirectory=%s\\n' "$data" >"$data/database.conf"
exec /usr/lib/rstudio-server/bin/rserver --server-daemonize=0 --auth-none=1 \
    --www-address="${{ENVD_LISTEN:-0.0.0.0}}" --www-port={languages.RSTUDIO_PORT} \
    --server-user="$(id -un)" --server-data-dir="$data" \
    --secure-cookie-key-file="$data/cookie-key" --database-config-file="$data/database.conf"
"""


def packages_for_services() -> tuple[str, ...]:
    """The Debian packages that supervision needs."""
    return ("s6",)


def jupyter_command(jupyter: Jupyter) -> list[str]:
    """The command line of a Jupyter server. An empty token means: no authentication."""
    return [
        "jupyter", "lab", "--allow-root", "--no-browser", "--ip=0.0.0.0",
        f"--port={jupyter.port}", f"--IdentityProvider.token={jupyter.token}",
        "--ServerApp.root_dir=/root",
    ]


# ">>FILE", "2>&1" and the like, which specs write among a daemon's words.
_REDIRECTION = re.compile(r"([0-9&]?>>?|[0-9]?<)(&[0-9]|(?![=&]).*)", re.DOTALL)


def command_line(argv: Sequence[str]) -> list[str]:
    """A daemon's words as what is executed: as they are, or by a shell when some are redirections
    or begin with "~/"."""
    words = []
    for word in argv:
        if match := _REDIRECTION.fullmatch(word):
            operator, target = match.groups()
            bare = not target or target.startswith("&")
            words.append(operator + (target if bare else _word(target)))
        else:
            words.append(_word(word))
    line = " ".join(words)
    return list(argv) if line == shlex.join(argv) else ["sh", "-c", f"exec {line}"]


def _word(text: str) -> str:
    if text == "~" or text.startswith("~/"):
        return text[:2] + (shlex.quote(text[2:]) if text[2:] else "")
    return shlex.quote(text)


def daemons(environment: Environment) -> dict[str, list[str]]:
    """The command line of each daemon, by the name of its service."""
    found = {}
    for number, daemon in enumerate(environment.daemons, start=1):
        name = daemon.name or f"{number}-{Path(daemon.argv[0]).name}"
        found[re.sub(r"[^A-Za-z0-9_-]", "-", f"daemon-{name}")] = command_line(daemon.argv)
    if environment.rstudio_server is not None:
        found[languages.RSTUDIO] = ["sh", "-c", _RSTUDIO]
    return found


def derivation(environment: Environment) -> Derivation | None:
    """The derivation of the services, or None when nothing starts with the container."""
    services: dict[str, list[str]] = {}
    if environment.jupyter is not None:
        services["jupyter"] = jupyter_command(environment.jupyter)
    services.update(daemons(environment))
    if not services and not environment.init:
        return None
    return Derivation(
        KIND, "services", VERSION, (),
        {"services": services, "init": list(environment.init)},
    )


def build(context: BuildContext) -> Path:
    """Write the service directories and the entry point."""
    upper = context.scratch / "upper"
    write(upper / ENTRY.lstrip("/"), _INIT, 0o755)
    for name, argv in sorted(context.parameters["services"].items()):
        run = f"#!/bin/sh\nexec 2>&1\ncd /root\nexec {shlex.join(argv)}\n"
        write(upper / SERVICES.lstrip("/") / name / "run", run, 0o755)
    finish(upper, context.parameters["init"])
    return upper


def finish(upper: Path, init: Sequence[str]) -> None:
    """What every layer of services ends with: s6's own script, the init commands, modes."""
    # Told to stop, s6-svscan brings every service down before it ends.
    write(upper / SERVICES.lstrip("/") / ".s6-svscan/finish", "#!/bin/sh\nexit 0\n", 0o755)
    for number, text in enumerate(init):
        write(upper / f"etc/envd/init.d/{number:03}", text + "\n", 0o644)
    for directory in [upper, *(p for p in upper.rglob("*") if p.is_dir())]:
        directory.chmod(0o755)


def write(path: Path, text: str, mode: int) -> None:
    """A file of a layer, with the directories that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
