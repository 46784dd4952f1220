"""What others wrote reaches no terminal as it is: it would move the cursor, set the title, fill the
clipboard or hide what was said."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.listing import Column, show, show_one
from engine.core import terminal
from engine.core.events import Event
from engine.core.progress import open_sink
from tests.integration.envd import ENVD, Envd

# What must not come out, of each kind. (Their letters may: "]0;owned" is no title by itself.)
ATTACKS = {
    "title": "\x1b]0;owned\x07",
    "title st": "\x1b]2;owned\x1b\\",
    "title c1": "\x9d0;owned\x9c",
    "clipboard": "\x1b]52;c;b3duZWQ=\x07",
    "link": "\x1b]8;;http://evil\x07x\x1b]8;;\x07",
    "clear": "\x1b[2J\x1b[H",
    "clear c1": "\x9b2J",
    "cursor": "\x1b[10A\x1b[K",
    "reset": "\x1bc",
    "keys": "\x1b[>4;2m\x1b[?1049h",
    "report": "\x1b[6n\x1b[c",
    "dcs": '\x1bP$q"p\x1b\\',
    "apc": "\x1b_Gx\x1b\\",
    "pm": "\x1b^x\x1b\\",
    "charset": "\x1b(0",
    "shift": "\x0e",
    "bell": "\x07",
    "back": "ok\x08\x08bad",
    "return": "bad\rok ",
    "delete": "\x7f",
    "nul": "\x00",
    "vt": "\x0b\x0c",
    "nel": "\x85",
    "bidi": "\u202egnp.exe\u202c",
    "isolate": "\u2066x\u2069",
    "line": "\u2028x",
    "unfinished": "\x1b]0;no end",
    "unfinished csi": "\x1b[",
    "alone": "\x1b",
    "nested": "\x1b\x1b[2J",
    "split": "\x1b[\x1b[0m2J",
    "alm": "\u061c",
}
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u2028\u2029\u202a-\u202e\u2066-\u2069]|\r(?!\n)"
)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
def test_text_is_cleaned(attack: str) -> None:
    for text in (attack, f"before {attack} after", attack * 3, f"{attack}\n{attack}"):
        for safe in (terminal.clean(text), terminal.escape(text), terminal.one_line(text)):
            assert not FORBIDDEN.search(safe), safe
        assert "\n" not in terminal.one_line(text)
        assert json.loads(terminal.escape(json.dumps([text], ensure_ascii=False))) == [text]
    if attack not in ("ok\x08\x08bad", "bad\rok "):
        assert terminal.clean(f"before {attack} after").startswith("before ")
        assert terminal.clean(f"before {attack} after").endswith("fter")


def test_good_text_is_left_as_it_is() -> None:
    for text in ("plain", "a\tb\nc", "naïve façade", "日本語 🎉", "עברית", "\u200fmark", "100 %\r\n"):
        assert terminal.clean(text) == terminal.escape(text) == text
    assert terminal.clean("\x1b[31mred\x1b[0m \x1b[1;38:5:1mx") == "red x"


@pytest.mark.parametrize(
    "text",
    [
        "\x1b]" * 200_000,
        "\x1b[" + "0" * 1_000_000,
        "\x9d" * 1_000_000,
        "\x1b[" * 300_000,
        "\x1b" + " " * 1_000_000,
        "\x1bP" + "x" * 1_000_000,
    ],
)
def test_cleaning_takes_no_more_than_a_while(text: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from engine.core.terminal import clean; print(len(clean(sys.stdin.read())))",
        ],
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert int(done.stdout) <= 6 * len(text)


@pytest.mark.parametrize("mode", ["plain", "tree", "json"])
def test_progress_shows_none_of_it(mode: str) -> None:
    for name, attack in ATTACKS.items():
        out = io.StringIO()
        with open_sink(mode, out) as sink:
            for kind in ("start", "log", "message", "resolve", "fetch-start", "finish", "failed"):
                sink(Event(kind, f"n{attack}", id="x", text=f"t{attack}", seconds=1.0))
        shown = out.getvalue()
        if mode == "tree":  # rich's own way to draw
            shown = re.sub(r"\x1b\[(?:\d+A|2K|1A|\?25[lh]|[\d;]*m)|\r", "", shown)
        assert not FORBIDDEN.search(shown), (name, shown)
        assert "owned\x07" not in shown
        if mode == "json":
            assert json.loads(shown.splitlines()[1])["text"] is not None


def test_tables_show_none_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    for name, attack in ATTACKS.items():
        rows = [{"a": attack, "b": f"x{attack}\nfake row"}]
        show(rows, (Column("a", "A"), Column("b", "B")), "table")
        show_one(rows[0] | {"c": [attack]}, {"a": "A", "b": "B", "c": "C"}, "table")
        shown = capsys.readouterr().out
        assert not FORBIDDEN.search(shown), (name, shown)
        assert not [line for line in shown.splitlines() if line.startswith("fake")]


def on_a_terminal(command: list[str], cwd: Path, **environment: str) -> str:
    """What a command writes to a terminal that is its standard output and error."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
        close_fds=True,
        env={**os.environ, "TERM": "xterm", **environment},
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:
            break
        if not data:
            break
        said += data
    process.wait()
    os.close(ours)
    return said.decode("utf-8", "surrogateescape").replace("\r\n", "\n")


COLOURS = re.compile(r"\x1b\[[0-9;:]*m")


SPECS = """
def build():
    base()
    print({text})
    {statement}
"""


@pytest.mark.parametrize(
    ("arguments", "statement"),
    [
        ("parse", "fail({text})"),
        ("build --locked", "install.apt_packages([{text}])"),
        ("parse", "x = 1 + {text}  # {raw}"),
        ("parse -f json", "runtime.environ({{'A': {text}}})"),
    ],
)
def test_errors_and_print_of_a_spec_show_none_of_it(tmp_path: Path, arguments: str, statement: str) -> None:
    attack = "".join(ATTACKS[name] for name in ("title", "clear", "cursor", "clear c1", "bidi", "reset"))
    text = json.dumps(attack)
    envd = Envd(tmp_path / "store", tmp_path / "p")
    envd.spec(SPECS.format(text=text, statement=statement.format(text=text, raw=attack)))
    done = envd.run(*arguments.split(), check=False)
    shown = on_a_terminal([str(ENVD), *arguments.split()], envd.project, ENVD_STORE=str(envd.store))
    assert done.stderr and not FORBIDDEN.search(done.stdout + done.stderr), done
    assert len(shown) > 10 and not FORBIDDEN.search(COLOURS.sub("", shown)), shown


PRINTED = r"begin\033]0;owned\007\033[2J\033[10A\302\2332J\342\200\256end\r\nbar\rlast\n"
STEP = f"""
def build():
    base(os="debian12")
    run([r"printf '{PRINTED}'; exit 3"])
"""


def test_output_of_a_step_shows_none_of_it(shared_store: Path, tmp_path: Path) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(STEP)
    envd.run("lock")
    for mode in ("plain", "json"):
        done = envd.run("build", "--no-load", "--progress", mode, check=False)
        assert done.code == 1
        assert not FORBIDDEN.search(done.stdout + done.stderr), done
        assert "begin" in done.stderr and "end" in done.stderr
    shown = on_a_terminal(
        [str(ENVD), "build", "--no-load", "--progress", "plain"], envd.project, ENVD_STORE=str(envd.store)
    )
    assert "begin" in shown
    assert not FORBIDDEN.search(COLOURS.sub("", shown)), shown
