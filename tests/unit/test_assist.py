"""What editors are told, as functions of the text; "|" is the cursor."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammar import assist


def at(text: str) -> tuple[str, int, int]:
    before, after = text.split("|")
    return before + after, before.count("\n") + 1, len(before) - before.rfind("\n")


def labels(text: str, *kinds: str) -> list[str]:
    return [p.label for p in assist.complete(*at(text)) if p.kind in (kinds or (p.kind,))]


SPEC = "def build():\n    "


@pytest.mark.parametrize(
    ("text", "kinds", "expected"),
    [
        (SPEC + "shell('|", (), ["bash", "zsh", "fish"]),
        (SPEC + 'shell("z|")', (), ["bash", "zsh", "fish"]),
        (
            SPEC + "base(os='|')",
            (),
            ["debian11", "debian12", "debian13", "ubuntu20.04", "ubuntu22.04", "ubuntu24.04"],
        ),
        (SPEC + "base('debian12', '|", (), ["python", "python3", "r", "julia"]),
        (SPEC + "install.cuda('12.9', source='|", (), ["auto", "pypi", "apt"]),
        (SPEC + "base(|", ("parameter",), ["os=", "language=", "image=", "dev="]),
        (SPEC + "base('debian12', |)", ("parameter",), ["language=", "image=", "dev="]),
        (SPEC + "base(image='x', |)", ("parameter",), ["os=", "language=", "dev="]),
        (SPEC + "base(\n        dev=True,\n        |\n    )", ("parameter",), ["os=", "language=", "image="]),
        (SPEC + "base(dev=|", ("value",), ["True", "False"]),
        (SPEC + "shell(|", ("value",), ['"bash"', '"zsh"', '"fish"']),
        (SPEC + "install.python_packages(['|", (), []),
        (SPEC + "install.python_packages([|", ("parameter", "value"), []),
        (SPEC + "# base(|", (), []),
        (SPEC + "data.path.|", (), ["huggingface", "dgl"]),
        (SPEC + "data.|", (), ["envd", "path"]),
        (SPEC + "io.|", (), ["copy", "http"]),
        (SPEC + "nothing.|", (), []),
        (SPEC + "run(['echo \")\"'], |", ("parameter",), ["mount_host=", "network=", "secrets="]),
    ],
)
def test_completion(text: str, kinds: tuple[str, ...], expected: list[str]) -> None:
    assert labels(text, *kinds) == expected


def test_completion_of_modules_and_of_what_the_text_defines() -> None:
    found = labels("GPU = True\ndef tools(n):\n    '''Tools.'''\n    pass\ndef build():\n    |")
    assert {"install", "config", "base", "tools", "GPU", "len", "for"} <= set(found)
    assert "apt_packages" in labels(SPEC + "install.|") == labels(SPEC + "install.ap|")


def test_what_a_name_means() -> None:
    text = "def tools(n, m=1):\n    '''Tools\n    for all.'''\ndef build():\n    "
    assert assist.explain(*at(text + "install.apt_pack|ages(['a'])")).startswith(
        "```python\ninstall.apt_packages(name=[])\n```\nDebian packages"
    )
    assert "`install.cuda(" in assist.explain(*at(text + "inst|all.apt_packages(['a'])"))
    assert 'str = "debian12"' in assist.explain(*at(text + "base(o|s='debian12')"))
    assert assist.explain(*at(text + "too|ls(1)")) == ("```python\ntools(n, m=1)\n```\nTools\nfor all.")
    assert assist.explain(*at(text + "# ba|se")) == ""
    assert assist.explain(*at(text + "1 + | 2")) == ""


def test_definitions_and_where_they_are() -> None:
    text = "X = 1\ndef tools():\n    pass\n\n\ndef build():\n    tools()\n    run([X])\n"
    found = assist.definitions(text)
    assert [(d.name, d.position.line, d.last_line) for d in found] == [
        ("X", 1, 1),
        ("tools", 2, 3),
        ("build", 6, 8),
    ]
    defined = assist.define(text, 7, 6)
    assert defined is not None and (defined.position.line, defined.position.column) == (2, 5)
    assert assist.define(text, 8, 5) is None


def test_signatures_follow_the_argument() -> None:
    def active(text: str) -> int | None:
        shown = assist.signature_at(*at(SPEC + text))
        return shown.active if shown else -1

    assert active("runtime.expose(|") == active("runtime.expose(8|") == 0
    assert active("runtime.expose(80, |") == 1
    assert active("runtime.expose(80, service=|") == 2
    assert active("run(['a', 'b|") == 0
    assert active("f(|") == active("|") == -1


def test_diagnoses_of_a_spec_that_is_being_typed(tmp_path: Path) -> None:
    def found(text: str) -> list[tuple[int, int, int, str]]:
        made = assist.diagnose(text, str(tmp_path / "build.envd"), tmp_path)
        return [(d.position.line, d.position.column, d.end, d.severity) for d in made]

    assert found("def build():\n    base(os='debain12')\n    shell('zhs'\n") == [(3, 10, 11, "error")]
    assert found("def build():\n    base(os='debain12')\n    shel('zsh')\n") == [
        (2, 13, 23, "error"),
        (3, 5, 9, "error"),
    ]
    assert found("def build():\n    io.mount('a', '/b')\n") == [(2, 5, 7, "warning")]
    assert found("def tensorboard(port):\n    runtime.expose(port)\n") == []  # a library
    assert found("def biuld():\n    pass\n") == [(1, 1, 4, "error")]
    assert found("def build():\n    for i in range(10000000):\n        run(['a'])\n") == []
    assert found("""lib = include("https://git.example/x")
def build():
    lib.jupyter(lib.PORT)
    shell("zhs")
    x = lib.PORT + 1
""") == [(4, 11, 16, "error")]
    assert found("") == [(1, 1, 2, "error")]


@given(st.text(alphabet="def (ba)se.:='\"\n,[]{}#\\é install 🙂|", max_size=60))
def test_no_text_is_too_broken(text: str) -> None:
    clean, line, column = at(text.replace("|", "") + "|")
    assist.complete(clean, line, column)
    assist.explain(clean, line, column)
    assist.signature_at(clean, line, column)
    assist.definitions(clean)
    assist.diagnose(clean, "b.envd", Path())
