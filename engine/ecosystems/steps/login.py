"""What shells that start afresh would lose: the image's variables, and conda's activation.

A login shell (`bash -l`, `su - USER`, what editors probe with) begins with the distribution's PATH
and often with no other variable. Files that its start-up scripts read on their own
(/etc/profile.d, fish's conf.d; zsh has no such directory, so its zprofile gets a line) set the image's
again: PATH in front of what is there, other variables where they are not set.

conda activates an environment by sourcing PREFIX/etc/conda/activate.d. That is done here once, in
the sandbox; variables that come out the same for two users are plain values, and the image
has them, whatever it runs. The scripts themselves are sourced by bash, zsh and fish.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.core.derivation import Derivation, Input
from engine.ecosystems.conda import builder as conda
from engine.errors import BuildError
from engine.realise import confined, places, sandbox
from engine.realise.context import BuildContext

KIND = NAME = "login"
VERSION = 1

PROFILE = "etc/profile.d/00-envd.sh"
ACTIVATE = "etc/envd/activate.sh"
ACTIVATED = "etc/envd/activated.json"  # variables that activation gives
_FISH = "etc/fish/conf.d/00-envd.fish"
_ZPROFILES = ("etc/zsh/zprofile", "etc/zprofile")
# What interactive shells read, whoever's they are.
_INTERACTIVE = {
    "bash": ("etc/bash.bashrc", "etc/bash/bashrc", "etc/bashrc"),
    "zsh": ("etc/zsh/zshrc", "etc/zshrc"),
}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCRIPTS = f"{conda.PREFIX.lstrip('/')}/etc/conda/activate.d"
_OUTPUT = "envd-activated"
_CAPTURE = f"""\
for script in "$@"; do
    . "$script" || echo "$script: failed"
done
cat /proc/self/environ >/{_OUTPUT}
"""
# What a shell has of its own, or of whoever runs it.
_OWN = re.compile(r"PWD|OLDPWD|SHLVL|_|HOME|USER|LOGNAME|HOSTNAME|TERM|BASH.*|ENVD_.*|CONDA_BACKUP_.*")


def variables() -> dict[str, str]:
    """What `conda activate` sets for every environment; here it is the base one."""
    return {"CONDA_PREFIX": conda.PREFIX, "CONDA_DEFAULT_ENV": "base", "CONDA_SHLVL": "1"}


def derivation(
    environment: Sequence[tuple[str, str]],
    shells: Sequence[str],
    system: Sequence[Derivation],
    activated: Sequence[Derivation],
    fixed: Sequence[str],
) -> Derivation:
    """The derivation of the layer. `environment` is the image's; `shells` are those of zsh and fish
    that it has; `system` is what zsh's files are in, and what conda's scripts run with; `activated`
    is conda's layer, if there is one. Variables called in `fixed` stay as they are."""
    below = (*system, *activated) if activated or "zsh" in shells else ()
    return Derivation(
        KIND,
        NAME,
        VERSION,
        tuple(Input("layer", d) for d in below),
        {
            "environment": [list(pair) for pair in environment],
            "shells": sorted(shells),
            "conda": bool(activated),
            "fixed": sorted(fixed),
        },
    )


def build(context: BuildContext) -> Path:
    """Write the files. Raises BuildError."""
    upper = context.new_upper()
    environment = {str(k): str(v) for k, v in context.parameters["environment"]}
    scripts: list[str] = []
    if context.parameters["conda"]:
        scripts = _scripts(context.layers[-1])
        given = _activation([s for s in scripts if s.endswith(".sh")], environment, context)
        environment.update(given)
        _write(upper, ACTIVATED, json.dumps(given, sort_keys=True, indent=1) + "\n")
    posix = "".join(f". {shlex.quote(s)}\n" for s in scripts if s.endswith(".sh"))
    if posix:
        _write(upper, ACTIVATE, _ONCE.format(scripts=posix))
    _write(upper, PROFILE, _profile(environment))
    if "fish" in context.parameters["shells"]:
        own = "".join(f"source {_fish(s)}\n" for s in scripts if s.endswith(".fish"))
        _write(upper, _FISH, _fish_settings(environment) + own)
    if "zsh" in context.parameters["shells"]:
        _append(upper, _ZPROFILES, PROFILE, context.layers)
    for shell, names in _INTERACTIVE.items():
        if posix and shell in context.parameters["shells"]:
            _append(upper, names, ACTIVATE, context.layers)
    return upper


def completed(environment: Sequence[tuple[str, str]], tree: Path) -> tuple[tuple[str, str], ...]:
    """`environment` with the variables that activation gave; `tree` is this layer's."""
    return tuple(sorted({**dict(environment), **given(tree)}.items()))


def given(tree: Path) -> dict[str, str]:
    """The variables that activation gave; none when `tree` is another layer's."""
    text = confined.read(tree, ACTIVATED)
    try:
        return {str(k): str(v) for k, v in json.loads(text or b"{}").items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise BuildError(f"/{ACTIVATED}: an activation script has damaged it: {error}") from error


# -- conda ------------------------------------------------------------------------------------


def _scripts(prefix: Path) -> list[str]:
    """The activation scripts of a layer, in the order in which conda sources them."""
    found = confined.find(prefix, f"{_SCRIPTS}/*")
    return [f"/{path}" for path in found if path.endswith((".sh", ".fish"))]


def _activation(
    scripts: Sequence[str], environment: Mapping[str, str], context: BuildContext
) -> dict[str, str]:
    """What the scripts set, the same whoever runs them, and is not fixed."""
    if not scripts:
        return {}
    runs = []
    for number, home in enumerate(("/root", "/home/envd-nobody")):
        scratch = context.scratch / f"activation-{number}"
        scratch.mkdir()
        shell = "bash" if _has(context.layers, "bash") else "sh"
        try:
            upper = sandbox.run(
                [shell, "-c", _CAPTURE, shell, *scripts],
                layers=context.layers,
                scratch=scratch,
                environment={**environment, "HOME": home, "USER": Path(home).name},
                log=context.log,
                name=context.name,
            )
            runs.append(_variables(confined.read(upper, _OUTPUT) or b""))
        except BuildError:
            context.say("conda: activation scripts failed; the image has none of their variables")
            return {}
    first, second = runs
    before = {**sandbox.ENVIRONMENT, **environment}
    fixed = set(context.parameters["fixed"])
    found = {
        name: value
        for name, value in first.items()
        if second.get(name) == value != before.get(name) and name not in fixed and not _OWN.fullmatch(name)
    }
    if lost := sorted(n for n in first if n in second and first[n] != second[n] and not _OWN.fullmatch(n)):
        context.log(f"conda: {', '.join(lost)}: set by shells alone, as it differs by user")
    return found


def _has(layers: Sequence[Path], program: str) -> bool:
    return any(
        confined.lstat(layer, f"{at}/{program}") is not None for layer in layers for at in ("bin", "usr/bin")
    )


def _variables(block: bytes) -> dict[str, str]:
    """A block of variables, as the kernel keeps it; those with names that shells take."""
    pairs = (row.decode("utf-8", "replace").partition("=") for row in block.split(b"\0"))
    return {name: value for name, _, value in pairs if _NAME.fullmatch(name)}


# -- what shells read -------------------------------------------------------------------------

_ONCE = """\
# Made by envd: what conda's `activate` does, once in each shell. Plain sh has the variables alone.
if [ -n "${{BASH_VERSION-}}${{ZSH_VERSION-}}" ] && [ -z "${{_envd_activated-}}" ]; then
_envd_activated=1
{scripts}fi
"""

_PATH = """\
_envd_path() {
    _envd_all=%s
    _envd_rest=$PATH:
    while [ -n "$_envd_rest" ]; do
        _envd_one=${_envd_rest%%%%:*}
        _envd_rest=${_envd_rest#*:}
        case ":$_envd_all:" in
            *":$_envd_one:"*) ;;
            *) [ -z "$_envd_one" ] || _envd_all=$_envd_all:$_envd_one ;;
        esac
    done
    export PATH="$_envd_all"
    unset _envd_all _envd_rest _envd_one
}
_envd_path
"""


def _profile(environment: Mapping[str, str]) -> str:
    """What POSIX shells read."""
    lines = ["# Made by envd: what the image sets, which a login shell begins without.\n"]
    path = environment.get("PATH", "")
    if path:
        lines.append(_PATH % shlex.quote(path))
    lines += [
        f'[ -n "${{{name}+set}}" ] || export {name}={shlex.quote(value)}\n'
        for name, value in sorted(environment.items())
        if name != "PATH" and _NAME.fullmatch(name)
    ]
    lines.append(f"[ ! -r /{ACTIVATE} ] || . /{ACTIVATE}\n")
    if path:  # scripts put the same in front once more
        lines.append("_envd_path\nunset -f _envd_path\n")
    return "".join(lines)


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_settings(environment: Mapping[str, str]) -> str:
    """The image's variables in the syntax of fish, which reads them in every shell."""
    lines = ["# Made by envd: what the image sets, which a login shell begins without.\n"]
    path = environment.get("PATH", "")
    if parts := " ".join(_fish(p) for p in path.split(":") if p):
        lines.append(
            f"if status is-login\n    set -l own {parts}\n"
            "    for one in $PATH\n        contains -- $one $own; or set own $own $one\n    end\n"
            "    set -gx PATH $own\nend\n"
        )
    lines += [
        f"set -q {name}; or set -gx {name} {_fish(value)}\n"
        for name, value in sorted(environment.items())
        if name != "PATH" and _NAME.fullmatch(name)
    ]
    return "".join(lines)


def _append(upper: Path, names: Sequence[str], script: str, layers: Sequence[Path]) -> None:
    """Let the first of the files `names` that is there end with reading `script`, too."""
    line = f"[ ! -r /{script} ] || . /{script}  # envd\n"
    for name in names:
        for layer in reversed(layers):
            info, content = confined.lstat(layer, name), confined.read(layer, name)
            if info is None:
                continue
            if content is None:
                break
            text = content.decode("utf-8", "surrogateescape")
            if line not in text:
                text += ("" if text.endswith("\n") or not text else "\n") + line
            places.make_parents(upper, upper / name)
            (upper / name).write_text(text, "utf-8", "surrogateescape")
            os.chown(upper / name, info.st_uid, info.st_gid)
            (upper / name).chmod(stat.S_IMODE(info.st_mode))
            return


def _write(upper: Path, name: str, text: str) -> None:
    places.make_parents(upper, upper / name)
    (upper / name).write_text(text, "utf-8")
    (upper / name).chmod(0o644)
