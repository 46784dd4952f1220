"""The language server, spoken to over stdio by a real client."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from lsprotocol import types
from pygls.lsp.client import LanguageClient

from tests.integration.envd import ENVD

SPEC = """\
def tools(names):
    "Packages."
    install.apt_packages(names)

def build():
    base(os="debian12")
    tools(["git"])
    shell("🙂"); shell(nam="zsh")
"""


class Editor:
    """A client with one document open."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.client = LanguageClient("editor", "1")
        self.diagnostics: asyncio.Queue[types.PublishDiagnosticsParams] = asyncio.Queue()
        self.version = 1

        @self.client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)  # type: ignore[untyped-decorator]
        def published(params: types.PublishDiagnosticsParams) -> None:
            self.diagnostics.put_nowait(params)

    async def open(self, text: str) -> types.InitializeResult:
        await self.client.start_io(str(ENVD), "lsp")
        found = await self.client.initialize_async(
            types.InitializeParams(capabilities=types.ClientCapabilities())
        )
        self.client.initialized(types.InitializedParams())
        self.client.text_document_did_open(
            types.DidOpenTextDocumentParams(types.TextDocumentItem(self.uri, "envd", self.version, text))
        )
        return found

    async def type(self, text: str) -> list[types.Diagnostic]:
        self.version += 1
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(self.version, self.uri),
                [types.TextDocumentContentChangeWholeDocument(text)],
            )
        )
        return await self.published()

    async def published(self) -> list[types.Diagnostic]:
        found = await asyncio.wait_for(self.diagnostics.get(), 30)
        assert found.uri == self.uri and found.version == self.version
        return list(found.diagnostics)

    async def close(self) -> int | None:
        await self.client.shutdown_async(None)
        self.client.exit(None)
        server = self.client._server
        return await server.wait() if server else None


def talk(tmp_path: Path, run: Callable[[Editor], Awaitable[None]]) -> None:
    async def session() -> None:
        editor = Editor((tmp_path / "build.envd").as_uri())
        await editor.open(SPEC)
        await run(editor)
        assert await editor.close() == 0

    asyncio.run(session())


def test_a_session(tmp_path: Path) -> None:
    async def run(editor: Editor) -> None:
        client, document = editor.client, types.TextDocumentIdentifier(editor.uri)
        first, second = await editor.published()
        assert first.message.startswith("no shell '🙂'")
        assert (first.range.start.line, first.range.start.character) == (7, 10)
        # That character is two units of UTF-16.
        assert second.message == "shell() has no parameter 'nam'; did you mean 'name'?"
        assert (second.range.start.character, second.range.end.character) == (23, 26)
        assert second.severity == types.DiagnosticSeverity.Error
        # what may stand at the end of `install.`
        text = SPEC.replace('shell("🙂"); shell(nam="zsh")', "install.")
        assert [d.range.start.line for d in await editor.type(text)] == [7]
        found = await client.text_document_completion_async(
            types.CompletionParams(document, types.Position(7, 12))
        )
        assert isinstance(found, types.CompletionList)
        assert {"apt_packages", "cuda"} <= {item.label for item in found.items}
        cuda = next(item for item in found.items if item.label == "cuda")
        assert isinstance(cuda.documentation, types.MarkupContent)
        assert "cuDNN" in cuda.documentation.value
        # what names mean, and where they are defined
        hover = await client.text_document_hover_async(types.HoverParams(document, types.Position(2, 20)))
        assert hover and isinstance(hover.contents, types.MarkupContent)
        assert "install.apt_packages(name=[])" in hover.contents.value
        where = await client.text_document_definition_async(
            types.DefinitionParams(document, types.Position(6, 5))
        )
        assert isinstance(where, types.Location)
        assert (where.range.start.line, where.range.start.character) == (0, 4)
        help_ = await client.text_document_signature_help_async(
            types.SignatureHelpParams(document, types.Position(5, 12))
        )
        assert help_ and help_.signatures[0].label.startswith("base(os=")
        symbols = await client.text_document_document_symbol_async(types.DocumentSymbolParams(document))
        assert symbols and [s.name for s in symbols] == ["tools", "build"]
        # put right, nothing is wrong; closed, nothing is shown
        assert await editor.type(SPEC.replace('shell("🙂"); shell(nam="zsh")', 'shell("zsh")')) == []
        client.text_document_did_close(types.DidCloseTextDocumentParams(document))
        assert not (await asyncio.wait_for(editor.diagnostics.get(), 30)).diagnostics

    talk(tmp_path, run)
    assert list(tmp_path.iterdir()) == []


def test_stubs_are_printed_without_pygls(tmp_path: Path) -> None:
    code = "import sys; sys.modules['pygls'] = None; from envd.__main__ import main; main()"

    def envd(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, "lsp", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    done = envd("--stubs")
    assert done.returncode == 0 and "def apt_packages(self, name: list[str]" in done.stdout
    done = envd()
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == (
        "error: the language server needs pygls; install it with: pip install 'envd[lsp]'\n"
    )
