"""The shell layer: login shell, its start-up files, git's settings, a `python` command."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from engine.core.derivation import Derivation, Input
from engine.ecosystems.debian import debs
from engine.realise import over, sandbox
from engine.realise.context import BuildContext
from grammar.environment import GitConfig

KIND = "shell"
VERSION = 2

PATHS = {"bash": "/bin/bash", "zsh": "/bin/zsh", "fish": "/usr/bin/fish"}

_ZSHRC = """\
# Made by envd. Put your own settings into ~/.zshrc.local.
HISTFILE=~/.zsh_history
HISTSIZE=10000
SAVEHIST=10000
setopt share_history hist_ignore_dups auto_cd interactive_comments
autoload -Uz compinit && compinit -d ~/.cache/zcompdump
bindkey -e
PROMPT='%F{cyan}envd%f %F{blue}%~%f %# '
[ ! -r ~/.zshrc.local ] || . ~/.zshrc.local
"""
_FISH = """\
# Made by envd.
set -g fish_greeting
"""
_BASHRC = """\
# Made by envd.
PS1='\\[\\e[36m\\]envd\\[\\e[0m\\] \\[\\e[34m\\]\\w\\[\\e[0m\\] \\$ '
"""
_START_FILES = {
    "bash": ("root/.bashrc", _BASHRC),
    "zsh": ("root/.zshrc", _ZSHRC),
    "fish": ("root/.config/fish/config.fish", _FISH),
}


def packages_for_shell(shell: str) -> tuple[str, ...]:
    """The Debian packages that a shell needs beyond the base."""
    return () if shell == "bash" else (shell,)


def derivation(
    shell: str, git: GitConfig | None, python: str, below: Sequence[Derivation], *, home: str = ""
) -> Derivation:
    """The derivation of the shell layer over `below` (base and apt: it edits /etc/passwd).

    `python` is the target's "X.Y", or "" for none; `home` is that of a user to be, which gets
    the start-up files too.
    """
    settings = (
        {} if git is None else {"user.name": git.name, "user.email": git.email, "core.editor": git.editor}
    )
    return Derivation(
        KIND,
        f"shell-{shell}",
        VERSION,
        tuple(Input("layer", d) for d in below),
        {
            "shell": shell,
            "git": {k: v for k, v in settings.items() if v},
            "python": python,
            **({"home": home} if home else {}),
        },
    )


def build(context: BuildContext) -> Path:
    """Make the layer. Raises BuildError."""
    shell = str(context.parameters["shell"])
    upper = context.new_upper()
    name, text = _START_FILES[shell]
    over.write(upper, context, name, text)
    home = context.parameters.get("home")
    if home:
        over.write(upper, context, f"etc/skel/{name.removeprefix('root/')}", text)
    if git := context.parameters["git"]:
        over.write(upper, context, "etc/gitconfig", _git_settings(git))
    if context.parameters["python"]:
        over.link(upper, context, "usr/local/bin/python", "/usr/bin/python3")
    # An image may be without the one or the other; Debian's base never is.
    if _exists("sbin/usermod", context.layers) and _exists(f"bin/{shell}", context.layers):
        sandbox.run(
            ["usermod", "--shell", PATHS[shell], "root"],
            layers=context.layers,
            scratch=context.scratch,
            log=context.log,
            name=context.name,
        )
    if home:
        sandbox.run(
            ["sh", "-c", 'mkdir -p "$1" && cp -a /etc/skel/. "$1"', "sh", home],
            layers=context.layers,
            scratch=context.scratch,
            log=context.log,
            name=context.name,
        )
    debs.clean(upper, context.log)
    return upper


def _exists(name: str, layers: Sequence[Path]) -> bool:
    """Whether a layer brings a program, below / or /usr."""
    return any(os.path.lexists(layer / at / name) for layer in layers for at in (".", "usr"))


def _git_settings(settings: dict[str, str]) -> str:
    lines = []
    for key, value in sorted(settings.items()):
        section, _, name = key.partition(".")
        # git-config(1), "Syntax": quotes and backslashes are escaped inside a quoted value.
        quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'[{section}]\n\t{name} = "{quoted}"\n')
    return "".join(lines)
