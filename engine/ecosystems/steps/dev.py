"""The development variant of an image: what `envd up` needs in it, and nothing of who runs it.

Two layers: Debian packages (sshd, sudo, git, …), and an entry point that makes the user `envd`
with the uid and gid that the container is started with, then starts sshd, Jupyter, daemons and
init scripts under s6, all at once. So the image is the same for everybody, and files in a bound project
belong to the caller all the same.

What the entry point reads from its environment (`engine.runtime.start` sets it):

- ENVD_UID, ENVD_GID: the user's ids [1000];
- ENVD_WORKDIR: where sessions and services start [the image's own: /home/envd/PROJECT];
- ENVD_OWN: directories, one a line, that are to belong to the user;
- ENVD_SSH_LISTEN, ENVD_SSH_PORT: where sshd listens [0.0.0.0, 2222];
- ENVD_LISTEN, ENVD_JUPYTER_PORT: where Jupyter listens [0.0.0.0, the spec's port]; ENVD_LISTEN is
  for the user's own daemons, too: 127.0.0.1 where the host's network is shared;

and from files that are root's (`engine.ecosystems.steps.services`): Jupyter's token, RStudio's password.

Formats: sshd_config(5), sudoers(5), s6-svscan(1), servicedir.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.core.derivation import Derivation, Input
from engine.ecosystems import languages
from engine.ecosystems.debian import debs
from engine.ecosystems.debian import first_start as firststart
from engine.ecosystems.debian import install as apt
from engine.ecosystems.inside import AUTHORIZED_KEYS, HOST_KEY, PRIVATE
from engine.ecosystems.inside import HOME as HOME
from engine.ecosystems.inside import LABEL as LABEL
from engine.ecosystems.inside import SSH_PORT as SSH_PORT
from engine.ecosystems.inside import USER as USER
from engine.ecosystems.steps import services
from engine.lock.packages import LockedPackage
from engine.realise.context import BuildContext, Builder
from grammar.environment import Environment

KIND = "dev"
SERVICES = "dev-services"
VERSION = 2
_SERVICES_VERSION = 4


# Lean: a session (openssh-server with sftp), root's rights in it (sudo), a supervisor (s6), git
# with a pager and an editor for its messages, and what VS Code's server is installed with (curl,
# ps from procps).
PACKAGES = ("curl", "git", "less", "openssh-server", "procps", "s6", "sudo", "vim-tiny")

# Editors that config.git or git_config may name, and the packages that have them.
EDITORS = {
    "vim": "vim",
    "nano": "nano",
    "emacs": "emacs-nox",
    "nvim": "neovim",
    "joe": "joe",
    "micro": "micro",
    "ne": "ne",
    "mcedit": "mc",
    "jed": "jed",
}

_ENTRY = f"""\
#!/bin/sh
# Made by envd: the user, then what starts with the container.
[ "$(id -u)" = 0 ] || exec "$@"
[ ! -x {firststart.SCRIPT} ] || {firststart.SCRIPT}
set -eu
umask 022
home={HOME}
uid=${{ENVD_UID:-1000}}
gid=${{ENVD_GID:-1000}}
shell=$(getent passwd root | cut -d: -f7)
host=$(cat /proc/sys/kernel/hostname)
grep -qwF "$host" /etc/hosts || echo "127.0.1.1 $host" >>/etc/hosts  # sudo asks for it
if ! getent passwd {USER} >/dev/null; then
    getent group "$gid" >/dev/null || groupadd -g "$gid" {USER}
    # '*' is a password that nobody has; '!' would be a locked account, which sshd refuses
    useradd -M -N -o -u "$uid" -g "$gid" -p '*' -d "$home" -s "$shell" {USER} 2>/dev/null
    mkdir -p "$home"
    chown "$uid:$gid" "$home"
    # what the image has there is the user's, but nothing that is mounted
    (
        set --
        while read -r _ _ _ _ point _; do
            point=$(printf %b "$point")
            case $point in "$home"/*) set -- "$@" -path "$point" -prune -o ;; esac
        done </proc/self/mountinfo
        find "$home" -xdev "$@" -uid 0 -exec chown -h "$uid:$gid" {{}} +
    )
    for place in .vscode-server/extensions .local/share/code-server/extensions; do
        [ -e /opt/envd/extensions/extensions.json ] || break
        # links, so that more extensions can be installed beside them
        s6-setuidgid {USER} sh -ec 'mkdir -p "$1" && cd "$1" && ln -sf /opt/envd/extensions/* . &&
            rm extensions.json && cp /opt/envd/extensions/extensions.json .' sh "$home/$place"
    done
fi
printf '%s\\n' "${{ENVD_OWN:-}}" | while IFS= read -r directory; do
    [ -z "$directory" ] || chown "$uid:$gid" "$directory"
done
export HOME="$home" USER={USER} LOGNAME={USER} PATH="$home/.local/bin:$PATH"
export ENVD_WORKDIR="${{ENVD_WORKDIR:-$home}}"
# there unless it is mounted; Docker may have made it, as root's
[ -d "$ENVD_WORKDIR" ] || mkdir -p "$ENVD_WORKDIR"
case $ENVD_WORKDIR in
    "$home"/*) mountpoint -q "$ENVD_WORKDIR" || chown "$uid:$gid" "$ENVD_WORKDIR" ;;
esac
[ $# -eq 0 ] || exec s6-setuidgid {USER} "$@"

rm -rf /run/envd
mkdir -p /run/envd /run/sshd
[ -e {HOST_KEY} ] || ssh-keygen -q -t ed25519 -N '' -C {USER} -f {HOST_KEY}
(
    umask 077
    unset HOME USER LOGNAME PWD OLDPWD SHLVL HOSTNAME ENVD_OWN
    export -p >/run/envd/environment
    printf 'PATH=%s\\n' "'$(printf %s "$PATH" | sed "s/'/'\\\\\\\\''/g")'" >/run/envd/path
    chown "$uid:$gid" /run/envd/environment /run/envd/path
)
cd "$ENVD_WORKDIR"
# s6 writes beside its service definitions: they are used from a copy in /run.
cp -r {services.SERVICES} /run/envd/services
exec s6-svscan /run/envd/services
"""

_SESSION = """\
#!/bin/sh
# Made by envd. What sshd starts: in the project's directory, with the container's environment.
[ ! -r /run/envd/environment ] || . /run/envd/environment
cd "${ENVD_WORKDIR:-$HOME}" 2>/dev/null || cd
if [ -n "${SSH_ORIGINAL_COMMAND-}" ]; then
    command=$SSH_ORIGINAL_COMMAND
    unset SSH_ORIGINAL_COMMAND
    exec "$SHELL" -c "$command"
fi
exec "$SHELL" -l
"""

_SSHD_CONFIG = f"""\
# Made by envd.
HostKey {HOST_KEY}
AuthorizedKeysFile {AUTHORIZED_KEYS}
AllowUsers {USER}
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
PrintMotd no
PrintLastLog no
PidFile none
AcceptEnv COLORTERM
Subsystem sftp /usr/lib/openssh/sftp-server
ForceCommand /etc/envd/session
"""

_SUDOERS = f"""\
# Made by envd.
Defaults:{USER} !secure_path
{USER} ALL=(ALL:ALL) NOPASSWD:SETENV: ALL
"""

_PROFILE = """\
# Made by envd: /etc/profile has set PATH anew.
[ ! -r /run/envd/path ] || . /run/envd/path
"""

_SSHD = f"""\
exec /usr/sbin/sshd -D -e -f /etc/envd/sshd_config -p "${{ENVD_SSH_PORT:-{SSH_PORT}}}" \\
    -o ListenAddress="${{ENVD_SSH_LISTEN:-0.0.0.0}}"
"""

_JUPYTER = '--ServerApp.port_retries=0 --ServerApp.root_dir="$ENVD_WORKDIR"'


def wanted(environment: Environment) -> bool:
    """Whether the image is a development one: asked for, or of language v0, which knew no other."""
    return environment.base.dev or environment.syntax == "v0"


def project_directory(directory: Path) -> str:
    """Where a container has the project that is at `directory` of this machine."""
    return f"{HOME}/{directory.name or 'project'}"


def packages_for(environment: Environment) -> tuple[str, ...]:
    """The Debian packages of the development variant, with the editor that git is to use."""
    editor = environment.git.editor.split() if environment.git is not None else []
    package = EDITORS.get(editor[0].rpartition("/")[2]) if editor else None
    return tuple(sorted({*PACKAGES, *([package] if package else [])}))


def turned_on(environment: Environment) -> Environment:
    """The same environment, as if its spec said `base(dev=True)`."""
    return replace(environment, base=replace(environment.base, dev=True))


def packages(lock: Sequence[LockedPackage], below: Sequence[Derivation]) -> Derivation:
    """The derivation of the development packages over the layers `below`."""
    return Derivation(KIND, "dev", VERSION, tuple(Input("layer", d) for d in below) + debs.fetches(lock))


def build_packages(context: BuildContext) -> Path:
    """Install them. Raises BuildError with apt's log."""
    upper = apt.build(context)
    # Our sshd has a host key of its own: who did not ask for another does not wait for its keys.
    firststart.forget(upper, "20-ssh")
    return upper


def derivation(environment: Environment) -> Derivation:
    """The derivation of the entry point and of what it starts."""
    commands = {"sshd": _SSHD}
    if environment.jupyter is not None:
        commands["jupyter"] = services.jupyter(environment.jupyter.port, f"s6-setuidgid {USER} ", _JUPYTER)
    if environment.rstudio_server is not None:
        commands[languages.RSTUDIO] = services.rstudio(USER, ("s6-setuidgid", USER))
    for name, argv in services.daemons(environment).items():
        commands[name] = f"exec s6-setuidgid {USER} {shlex.join(argv)}\n"
    return Derivation(
        SERVICES,
        "dev-services",
        _SERVICES_VERSION,
        (),
        {
            "services": commands,
            "init": list(environment.init),
            "entry": _ENTRY,
            "init_service": services.init_service(f"s6-setuidgid {USER} "),
            "session": _SESSION,
            "sshd": _SSHD_CONFIG,
            "sudoers": _SUDOERS,
            "profile": _PROFILE,
            "private": services.tokens(environment),
        },
    )


def build_services(context: BuildContext) -> Path:
    """Write the entry point, the service directories and the settings of sshd and sudo."""
    upper = context.scratch / "upper"
    parameters = context.parameters
    for name, text, mode in (
        (services.ENTRY, parameters["entry"], 0o755),
        ("etc/envd/session", parameters["session"], 0o755),
        ("etc/envd/sshd_config", parameters["sshd"], 0o644),
        (AUTHORIZED_KEYS, "", 0o644),
        ("etc/sudoers.d/envd", parameters["sudoers"], 0o440),
        ("etc/profile.d/envd.sh", parameters["profile"], 0o644),
    ):
        services.write(upper / name.lstrip("/"), text, mode)
    (upper / PRIVATE.lstrip("/")).mkdir()  # `envd up` writes there
    services.write_private(upper, parameters["private"])
    for name, text in sorted(parameters["services"].items()):
        run = f'#!/bin/sh\nexec 2>&1\ncd "$ENVD_WORKDIR"\n{text}'
        services.write(upper / services.SERVICES.lstrip("/") / name / "run", run, 0o755)
    services.finish(upper, parameters["init"], f'cd "$ENVD_WORKDIR"\n{parameters["init_service"]}')
    return upper


def variables(environment: Environment, workdir: str) -> dict[str, str]:
    """Environment variables that the image sets for its entry point."""
    found = {"ENVD_WORKDIR": workdir}
    if environment.owner is not None:
        found |= {"ENVD_UID": str(environment.owner.uid), "ENVD_GID": str(environment.owner.gid)}
    return found


def label(environment: Environment) -> str:
    """What starting a container of the image needs to know: the value of LABEL."""
    facts: dict[str, Any] = {
        "shell": environment.shell,
        # the second was a token once; those are nobody's to read who has the image's configuration
        "jupyter": environment.jupyter and [environment.jupyter.port, ""],
        "owner": environment.owner and [environment.owner.uid, environment.owner.gid],
        "cuda": environment.cuda and environment.cuda.version,
        "cudnn": environment.cuda and environment.cuda.cudnn,
        "gpu": environment.gpu,
        "shm_size": environment.shm_size,
        "mounts": [[m.host_path, m.envd_path, m.managed] for m in environment.mounts],
        "expose": [
            *([e.envd_port, e.host_port, e.service, e.listen_addr] for e in environment.expose),
            *([[languages.RSTUDIO_PORT, None, "rstudio", ""]] if environment.rstudio_server else []),
        ],
        "commands": dict(environment.commands),
        "init": len(environment.init) or None,
        "apt": sorted(r.text for r in environment.apt_packages),
        "python": sorted(r.text for r in environment.python_packages),
        "conda": sorted(r.text for r in environment.conda_packages),
    }
    return json.dumps({k: v for k, v in facts.items() if v not in (None, [], {})}, sort_keys=True)


BUILDERS: dict[str, Builder] = {KIND: build_packages, SERVICES: build_services}
