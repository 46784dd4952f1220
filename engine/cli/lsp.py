"""`envd lsp`: a language server for editors, and stubs for those that know Python only."""

from __future__ import annotations

import click

from engine.errors import UsageError


@click.command()
@click.option(
    "--stubs",
    is_flag=True,
    help="Print Python stubs of the language instead (write them to __builtins__.pyi).",
)
@click.option("--stdio", is_flag=True, help="Accepted for editors; it always uses standard input and output.")
def lsp(stubs: bool, stdio: bool) -> None:
    """Run the language server for editors, over standard input and output.

    It shows what is wrong as it is typed, completes functions, arguments and known values, and
    explains them.
    """
    if stubs:
        from grammar.vocabulary.reference import stubs as text

        click.echo(text(), nl=False)
        return
    try:
        from engine.editors.language_server import server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("pygls", "lsprotocol", "cattrs"):
            raise
        raise UsageError(
            "the language server needs pygls", advice="install it with: pip install 'envd[lsp]'"
        ) from None
    server().start_io()
