"""A language server over stdio: `grammar.assist` in the Language Server Protocol's terms.

Places are converted with the document's own codec: LSP counts UTF-16 units unless the client and
server agree on others.
"""

from __future__ import annotations

from pathlib import Path

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path
from pygls.workspace import TextDocument

from engine.core.version import VERSION
from grammar import assist

_KINDS = {
    "module": types.CompletionItemKind.Module,
    "function": types.CompletionItemKind.Function,
    "parameter": types.CompletionItemKind.Field,
    "value": types.CompletionItemKind.EnumMember,
    "keyword": types.CompletionItemKind.Keyword,
    "variable": types.CompletionItemKind.Variable,
}
_SEVERITIES = {"error": types.DiagnosticSeverity.Error, "warning": types.DiagnosticSeverity.Warning}


def _units(document: TextDocument, line: int, column: int) -> types.Position:
    """A place (from 1, in characters) in the client's units."""
    lines = document.lines
    if line > len(lines):  # after the last line break
        return types.Position(max(0, line - 1), 0)
    position = types.Position(line - 1, min(column - 1, len(lines[line - 1])))
    return document.position_codec.position_to_client_units(lines, position)


def _place(document: TextDocument, position: types.Position) -> tuple[int, int]:
    """A place of the client's as line and column from 1, in characters."""
    found = document.position_codec.position_from_client_units(document.lines, position)
    return found.line + 1, found.character + 1


def _range(document: TextDocument, first: tuple[int, int], last: tuple[int, int]) -> types.Range:
    return types.Range(_units(document, *first), _units(document, *last))


def diagnostics(document: TextDocument) -> list[types.Diagnostic]:
    """What is wrong with a document."""
    path = Path(to_fs_path(document.uri) or document.uri)
    return [
        types.Diagnostic(
            range=_range(document, (d.position.line, d.position.column), (d.position.line, d.end)),
            message=d.message,
            severity=_SEVERITIES[d.severity],
            source="envd",
        )
        for d in assist.diagnose(document.source, str(path), path.parent)
    ]


def server() -> LanguageServer:
    """The server, with its features; `start_io()` runs it."""
    made = LanguageServer("envd", VERSION)
    _show_mistakes(made)
    _help_while_writing(made)
    _find_definitions(made)
    return made


def _document(made: LanguageServer, uri: str) -> TextDocument:
    return made.workspace.get_text_document(uri)


def _show_mistakes(made: LanguageServer) -> None:
    """Errors and warnings, whenever a file is opened, changed or saved."""

    def publish(uri: str) -> None:
        found = _document(made, uri)
        made.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(uri, diagnostics(found), found.version)
        )

    @made.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        publish(params.text_document.uri)

    @made.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeTextDocumentParams) -> None:
        publish(params.text_document.uri)

    @made.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: types.DidSaveTextDocumentParams) -> None:
        publish(params.text_document.uri)

    @made.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        made.text_document_publish_diagnostics(types.PublishDiagnosticsParams(params.text_document.uri, []))


def _help_while_writing(made: LanguageServer) -> None:
    """Completion, explanations and the arguments of a call."""

    @made.feature(
        types.TEXT_DOCUMENT_COMPLETION,
        types.CompletionOptions(trigger_characters=[".", "(", ",", '"', "'", "="]),
    )
    def completion(params: types.CompletionParams) -> types.CompletionList:
        found = _document(made, params.text_document.uri)
        proposals = assist.complete(found.source, *_place(found, params.position))
        return types.CompletionList(
            is_incomplete=False,
            items=[
                types.CompletionItem(
                    label=p.label,
                    kind=_KINDS[p.kind],
                    detail=p.detail or None,
                    documentation=types.MarkupContent(types.MarkupKind.Markdown, p.documentation)
                    if p.documentation
                    else None,
                    # Arguments and values before everything else that may stand there.
                    sort_text=f"{'0' if p.kind in ('parameter', 'value') else '1'}{p.label}",
                )
                for p in proposals
            ],
        )

    @made.feature(types.TEXT_DOCUMENT_HOVER)
    def hover(params: types.HoverParams) -> types.Hover | None:
        found = _document(made, params.text_document.uri)
        text = assist.explain(found.source, *_place(found, params.position))
        content = types.MarkupContent(types.MarkupKind.Markdown, text)
        return types.Hover(content) if text else None

    @made.feature(
        types.TEXT_DOCUMENT_SIGNATURE_HELP, types.SignatureHelpOptions(trigger_characters=["(", ","])
    )
    def signature(params: types.SignatureHelpParams) -> types.SignatureHelp | None:
        found = _document(made, params.text_document.uri)
        shown = assist.signature_at(found.source, *_place(found, params.position))
        if shown is None:
            return None
        parameters = [types.ParameterInformation(label, about) for label, about in shown.parameters]
        return types.SignatureHelp(
            [types.SignatureInformation(shown.label, shown.documentation, parameters, shown.active)],
            0,
            shown.active,
        )


def _find_definitions(made: LanguageServer) -> None:
    """Where a name is defined, and what a file defines."""

    @made.feature(types.TEXT_DOCUMENT_DEFINITION)
    def definition(params: types.DefinitionParams) -> types.Location | None:
        uri = params.text_document.uri
        found = _document(made, uri)
        defined = assist.define(found.source, *_place(found, params.position))
        return types.Location(uri, _name_range(found, defined)) if defined else None

    @made.feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def symbols(params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
        found = _document(made, params.text_document.uri)
        return [
            types.DocumentSymbol(
                d.name,
                types.SymbolKind.Function if d.kind == "function" else types.SymbolKind.Variable,
                _range(found, (d.position.line, 1), (d.last_line + 1, 1)),
                _name_range(found, d),
                d.signature or None,
            )
            for d in assist.definitions(found.source)
        ]


def _name_range(document: TextDocument, defined: assist.Definition) -> types.Range:
    line, column = defined.position.line, defined.position.column
    return _range(document, (line, column), (line, column + len(defined.name)))
