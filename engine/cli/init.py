"""`envd init`: a build.envd for the project in a directory."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli import complete
from engine.core.atomic import write_text
from engine.core.project import SPEC_NAME
from engine.errors import UsageError
from grammar.errors import SpecError

if TYPE_CHECKING:
    from engine.survey.decide import Choice

LANGUAGES = ("python", "r", "julia")


@click.command()
@click.option("-l", "--lang", type=click.Choice(LANGUAGES), help="The language [default: detected].")
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing build.envd.")
@click.option(
    "-p",
    "--path",
    metavar="DIR",
    default=".",
    shell_complete=complete.directory,
    help="The project's directory [default: this one].",
)
@click.option("-y", "--yes", is_flag=True, help="Ask no questions, even on a terminal.")
@click.option("--dry-run", is_flag=True, help="Print what would be written.")
def init(lang: str | None, force: bool, path: str, yes: bool, dry_run: bool) -> None:
    """Read a project and write a build.envd for it.

    Looks at requirements files, pyproject.toml, uv.lock, pylock.toml, setup.cfg, environment.yml, the
    imports of Python files and notebooks, and the project files of R, Julia, Node.js, Go and Rust. It
    runs none of them. On a terminal it asks where there is a choice.

    \b
    Examples:
      envd init
      envd init --dry-run -p ~/project
    """
    from engine.survey import decide, write

    root = Path(path)
    if not root.is_dir():
        raise UsageError("not a directory", subject=str(root), advice="give the project's with -p")
    target = root / SPEC_NAME
    if target.exists() and not force and not dry_run:
        raise UsageError("already exists; --force overwrites it", subject=str(target))
    choice = decide.decide(root.resolve(), lang)
    _tell(choice)
    if not yes and not dry_run and sys.stdin.isatty() and sys.stdout.isatty():
        choice = _ask(choice)
    text = write.spec(choice)
    if dry_run:
        click.echo(text, nl=False)
        return
    write_text(target, text)
    click.echo(f"wrote {target}; next: envd build", err=True)
    _check(target)


def _tell(choice: Choice) -> None:
    if not choice.findings:
        click.echo("no project files that envd knows; starting with a plain Python", err=True)
    width = max((len(f.what) for f in choice.findings), default=0)
    for finding in choice.findings:
        click.echo(f"found {finding.what:<{width}}  {finding.why}", err=True)
    if choice.cuda:
        click.echo(f"CUDA {choice.cuda}: {choice.cuda_why}", err=True)
    for name, why in choice.undeclared:
        click.echo(f"note: '{name}' is imported but not declared ({why})", err=True)


def _ask(choice: Choice) -> Choice:
    shell = click.prompt("shell", type=click.Choice(["bash", "zsh", "fish"]), default=choice.shell, err=True)
    choice = replace(choice, shell=shell)
    if choice.notebooks and not click.confirm("start Jupyter with it?", default=True, err=True):
        choice = replace(choice, notebooks="")
    if choice.cuda:
        version = click.prompt('CUDA version ("none" for none)', default=choice.cuda, err=True)
        choice = replace(choice, cuda="" if version == "none" else version)
    if choice.undeclared and click.confirm(
        f"install what is not declared ({', '.join(n for n, _ in choice.undeclared)})?",
        default=False,
        err=True,
    ):
        names = tuple(name for name, _ in choice.undeclared)
        choice = replace(choice, undeclared=(), added=names)
    return choice


def _check(target: Path) -> None:
    """Say at once what the language would refuse: a requirements file with a git URL, say."""
    from grammar.evaluate import load

    try:
        load(target)
    except SpecError as error:
        click.echo(f"{error}\nnote: `envd build` will refuse this; fix it, or {target}", err=True)
