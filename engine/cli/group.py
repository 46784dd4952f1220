"""The classes of envd's command groups, and how a mistake on the command line is told."""

from __future__ import annotations

from importlib import import_module

import click

from grammar.nearest import suggest


class Group(click.Group):
    """A group that suggests the command that was meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            hint = suggest(args[0], known) or f"; see `{ctx.command_path} --help`"
            raise click.UsageError(f"no command '{args[0]}'{hint}", ctx)
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """A group whose commands are imported when they are looked up.

    `sections` maps a heading of the group's help to its commands: each to its module, its attribute
    there, and its line in the help ("" hides it).
    """

    def __init__(self, *args: object, sections: dict[str, dict[str, tuple[str, str, str]]], **kwargs: object):
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._sections = sections
        self._table = {name: row for rows in sections.values() for name, row in rows.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._table:
            return None
        module, attribute, _ = self._table[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # From the table, so that help imports nothing.
        width = max(len(name) for name, (_, _, text) in self._table.items() if text)
        for heading, rows in self._sections.items():
            with formatter.section(heading):
                formatter.write_dl(
                    [(f"{name:<{width}}", text) for name, (_, _, text) in rows.items() if text]
                )


def usage_message(error: click.ClickException) -> str:
    """One line that says what is wrong with a command line, and what to do."""
    context = getattr(error, "ctx", None)
    see = f"; see `{context.command_path} --help`" if context is not None else ""
    if isinstance(error, click.NoSuchOption):
        known = error.possibilities or (
            [o for p in context.command.params for o in p.opts] if context is not None else []
        )
        # Compared without dashes, in which all options are alike.
        bare = {option.lstrip("-"): option for option in known}
        close = suggest(error.option_name.lstrip("-"), bare)
        for name, option in bare.items():
            close = close.replace(f"'{name}'", f"'{option}'")
        return f"no option '{error.option_name}'{close or see}"
    text = " ".join(error.format_message().split()).rstrip(".")
    if text[:1].isupper() and not text.startswith(("OCI", "URL")):
        text = text[0].lower() + text[1:]
    return text if "; " in text else f"{text}{see}"
