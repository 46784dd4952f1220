"""What starts with the container: Jupyter, daemons, init commands, under s6.

s6 (Debian's package) supervises: it restarts what dies, and ends everything on the container's
stop signal. Layout of a scan directory: s6-svscan(1), servicedir.

What `runtime.init` asks for runs beside the others, once a start, as a service of its own. It writes
to the container's log and to INIT_LOG, and its state to INIT_STATE: "running", "done" or
"failed STATUS".
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.core.derivation import Derivation
from engine.ecosystems import languages
from engine.ecosystems.debian import first_start as firststart
from engine.ecosystems.inside import ENTRY as ENTRY
from engine.ecosystems.inside import INIT_LOG, INIT_STATE, JUPYTER_TOKEN, PRIVATE, RSTUDIO_PASSWORD
from engine.realise.context import BuildContext
from grammar.environment import Environment

KIND = "services"
VERSION = 4

SERVICES = "/etc/envd/services"
_SCRIPTS = "/etc/envd/init.d"

# With a command, the container runs that; without one, the services, until it is stopped.
_INIT = f"""\
#!/bin/sh
# Made by envd.
[ ! -x {firststart.SCRIPT} ] || {firststart.SCRIPT}
[ $# -eq 0 ] || exec "$@"
# s6 writes beside its service definitions: they are used from a copy in /run.
rm -rf /run/envd && mkdir -p /run/envd && cp -r {SERVICES} /run/envd/services
exec s6-svscan /run/envd/services
"""

# A script's first line: it says which command failed. sh has no such trap.
_TRAP = (
    '[ -z "${BASH_VERSION-}" ] || trap \'echo "envd: exit status $? of line $((LINENO - 1)): '
    "$BASH_COMMAND\" >&2' ERR\n"
)

# Both the log file and the container's log have it as it comes. What a script leaves running keeps the
# pipe open, so the log's reader is not waited for without end. Scripts that open /dev/stderr open the
# pipe anew, as the user.
_INIT_SERVICE = f"""\
mkdir -p {Path(INIT_LOG).parent}
printf 'running\\n' >{INIT_STATE}
mkfifo -m 666 {INIT_STATE}.pipe
tee {INIT_LOG} <{INIT_STATE}.pipe &
log=$!
exec </dev/null >{INIT_STATE}.pipe 2>&1
shell="bash -euo pipefail"
command -v bash >/dev/null 2>&1 || shell="sh -eu"
state=done
for script in {_SCRIPTS}/*; do
    AS_USER$shell "$script" || {{
        state="failed $?"
        echo "envd: runtime.init ${{state% *}} with exit status ${{state#* }}"
        break
    }}
done
exec >/dev/null 2>&1
tries=0
while kill -0 "$log" && [ $tries -lt 20 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
printf '%s\\n' "$state" >{INIT_STATE}.new
mv {INIT_STATE}.new {INIT_STATE}
"""


# Without a token Jupyter makes one up, and says it in the log.
_JUPYTER = f"""\
[ ! -s {JUPYTER_TOKEN} ] || {{ JUPYTER_TOKEN=$(cat {JUPYTER_TOKEN}) && export JUPYTER_TOKEN; }}
"""

# As whoever runs it, with a directory of its own: neither root nor PAM is needed, since the helper that
# rserver asks (its name, then the password on standard input) compares with the file.
_RSTUDIO = f"""\
user=$1
shift
umask 077
data=$(mktemp -d)
if [ -s {RSTUDIO_PASSWORD} ]; then
    cp {RSTUDIO_PASSWORD} "$data/password"
else
    head -c 18 /dev/urandom | base64 | tr '+/' '-_' >"$data/password"
    echo "RStudio Server: port {languages.RSTUDIO_PORT}, user $user, password $(cat "$data/password")"
fi
cat >"$data/helper" <<'END'
#!/bin/sh
IFS= read -r given || [ -n "$given" ] || exit 1
[ "$1" = "$(id -un)" ] && [ "$given" = "$(cat "${{0%/*}}/password")" ]
END
chmod 700 "$data/helper"
printf 'provider=sqlite\\ndirectory=%s\\n' "$data" >"$data/database.conf"
chown -R "$user" "$data"
exec "$@" /usr/lib/rstudio-server/bin/rserver --server-daemonize=0 --auth-none=0 \
    --auth-pam-helper-path="$data/helper" \
    --www-address="${{ENVD_LISTEN:-0.0.0.0}}" --www-port={languages.RSTUDIO_PORT} \
    --server-user="$user" --server-data-dir="$data" \
    --secure-cookie-key-file="$data/cookie-key" --database-config-file="$data/database.conf"
"""


def packages_for_services() -> tuple[str, ...]:
    """The Debian packages that supervision needs."""
    return ("s6",)


def jupyter(port: int, prefix: str = "", more: str = "") -> str:
    """The commands, of root, that become a Jupyter server; `prefix` is what it is run by, `more` are
    further options."""
    return _JUPYTER + (
        f'exec {prefix}jupyter lab --allow-root --no-browser --ip="${{ENVD_LISTEN:-0.0.0.0}}" \\\n'
        f'    --port="${{ENVD_JUPYTER_PORT:-{port}}}" {more}\n'
    )


def rstudio(user: str, prefix: Sequence[str] = ()) -> str:
    """The commands, of root, that become an RStudio server of `user`; `prefix` is what it is run by."""
    return f"exec {shlex.join(['sh', '-c', _RSTUDIO, 'sh', user, *prefix])}\n"


def tokens(environment: Environment) -> dict[str, str]:
    """What the spec itself says that a browser must show: files of the image, by their path."""
    if environment.jupyter is None or not environment.jupyter.token:
        return {}
    return {JUPYTER_TOKEN: environment.jupyter.token}


def write_private(upper: Path, contents: Mapping[str, str]) -> None:
    """The directory of tokens in a layer, when it has some: root's alone."""
    for path, text in contents.items():
        write(upper / path.lstrip("/"), f"{text}\n", 0o600)


# ">>FILE", "2>&1" and the like, which specs write among a daemon's words.
_REDIRECTION = re.compile(r"([0-9&]?>>?|[0-9]?<)(&[0-9]|(?![=&]).*)", re.DOTALL)


# A variable among a daemon's words; "$$" is a plain "$".
_VARIABLE = re.compile(r"\$(\$|[A-Za-z_]\w*|\{[A-Za-z_]\w*(:-[\w ./:,@%+-]*)?\})", re.ASCII)
_SHELL = re.compile(r"(.*/)?(ba|da|z|k|fi|a)?sh")
_SHELL_TEXT = re.compile(r"-[A-Za-z]*c")


def command_line(argv: Sequence[str]) -> list[str]:
    """A daemon's words as what is executed: as they are, or by a shell when some are redirections,
    name variables or begin with "~/". The text of `sh -c` is left to that sh."""
    words: list[str] = []
    for number, word in enumerate(argv):
        if number > 1 and _SHELL.fullmatch(argv[0]) and _SHELL_TEXT.fullmatch(argv[number - 1]):
            words.append(shlex.quote(word))
        elif match := _REDIRECTION.fullmatch(word):
            operator, target = match.groups()
            bare = not target or target.startswith("&")
            words.append(operator + (target if bare else _word(target)))
        else:
            words.append(_word(word))
    line = " ".join(words)
    # -u: a variable that is not set is said, instead of a word that is missing
    return list(argv) if line == shlex.join(argv) else ["sh", "-uc", f"exec {line}"]


def _word(text: str) -> str:
    if text == "~" or text.startswith("~/"):
        return text[:2] + (_expanded(text[2:]) if text[2:] else "")
    return _expanded(text)


def _expanded(text: str) -> str:
    """A word in which only variables mean something."""
    if not _VARIABLE.search(text):
        return shlex.quote(text)
    parts, end = [], 0
    for match in _VARIABLE.finditer(text):
        parts.append(re.sub(r'([\\"`$])', r"\\\1", text[end : match.start()]))
        parts.append("\\$" if match[0] == "$$" else match[0])
        end = match.end()
    parts.append(re.sub(r'([\\"`$])', r"\\\1", text[end:]))
    return f'"{"".join(parts)}"'


def init_service(prefix: str = "") -> str:
    """What runs the scripts of `runtime.init`; `prefix` is what each is run by."""
    return _INIT_SERVICE.replace("AS_USER", prefix)


def daemons(environment: Environment) -> dict[str, list[str]]:
    """The command line of each daemon, by the name of its service."""
    found = {}
    for number, daemon in enumerate(environment.daemons, start=1):
        name = f"{number}-{Path(daemon.argv[0]).name}"
        found[re.sub(r"[^A-Za-z0-9_-]", "-", f"daemon-{name}")] = command_line(daemon.argv)
    return found


def derivation(environment: Environment, workdir: str) -> Derivation | None:
    """The derivation of the services, or None when nothing starts with the container. All start in
    `workdir`."""
    services: dict[str, str] = {}
    if environment.jupyter is not None:
        more = shlex.quote(f"--ServerApp.root_dir={workdir}")
        services["jupyter"] = jupyter(environment.jupyter.port, more=more)
    if environment.rstudio_server is not None:
        services[languages.RSTUDIO] = rstudio("root")
    services |= {n: f"exec {shlex.join(argv)}\n" for n, argv in daemons(environment).items()}
    if not services and not environment.init:
        return None
    return Derivation(
        KIND,
        "services",
        VERSION,
        (),
        {
            "services": services,
            "init": list(environment.init),
            "directory": workdir,
            "init_service": init_service(),
            **_private(environment),
        },
    )


def _private(environment: Environment) -> dict[str, dict[str, str]]:
    found = tokens(environment)
    return {"private": found} if found else {}


def build(context: BuildContext) -> Path:
    """Write the service directories and the entry point."""
    upper = context.scratch / "upper"
    write(upper / ENTRY.lstrip("/"), _INIT, 0o755)
    place = shlex.quote(str(context.parameters["directory"]))
    write_private(upper, context.parameters.get("private", {}))
    for name, text in sorted(context.parameters["services"].items()):
        run = f"#!/bin/sh\nexec 2>&1\ncd {place}\n{text}"
        write(upper / SERVICES.lstrip("/") / name / "run", run, 0o755)
    finish(upper, context.parameters["init"], f"cd {place}\n{context.parameters['init_service']}")
    return upper


def finish(upper: Path, init: Sequence[str], init_service: str) -> None:
    """What every layer of services ends with: s6's own script, the init scripts and what runs them,
    modes."""
    # Told to stop, s6-svscan brings every service down before it ends.
    write(upper / SERVICES.lstrip("/") / ".s6-svscan/finish", "#!/bin/sh\nexit 0\n", 0o755)
    for number, text in enumerate(init):
        write(upper / _SCRIPTS.lstrip("/") / f"{number:03}", f"{_TRAP}{text}\n", 0o644)
    if init:
        service = upper / SERVICES.lstrip("/") / "init"
        write(service / "run", f"#!/bin/sh\n{init_service}", 0o755)
        # 125: done for good, it is not to be started again
        write(service / "finish", "#!/bin/sh\nexit 125\n", 0o755)
    for directory in [upper, *(p for p in upper.rglob("*") if p.is_dir())]:
        directory.chmod(0o700 if directory == upper / PRIVATE.lstrip("/") else 0o755)


def write(path: Path, text: str, mode: int) -> None:
    """A file of a layer, with the directories that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
