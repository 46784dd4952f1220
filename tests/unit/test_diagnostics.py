"""All independent errors at once, each mistake once."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from grammar.environment import Environment
from grammar.errors import SpecError, SpecErrors
from grammar.evaluate import evaluate, load
from tests.unit.test_upstream import SHAPES


def errors(text: str, directory: Path | None = None) -> list[tuple[int, int, str]]:
    with pytest.raises(SpecError) as caught:
        evaluate(text, "b.envd", directory=directory)
    return [(e.position.line, e.position.column, e.message) for e in caught.value.errors]


def places(text: str) -> list[int]:
    return [line for line, _, _ in errors(text)]


def test_several_bad_calls_are_one_group_in_the_order_of_the_source() -> None:
    text = """\
def tools():
    shell("zhs")

def build():
    bse(os="debian12")
    base(os="debain12", language="pyton")
    tools()
    install.apt_package(["git"])
    install.python_packages(["a ==", "numpy", "b =="])
    config.jupyter(prt=1, token=5)
    install.apt_packages(["ok"])
"""
    found = errors(text)
    assert [(line, column) for line, column, _ in found] == [
        (2, 11),
        (5, 5),
        (6, 13),
        (6, 34),
        (8, 13),
        (9, 30),
        (9, 47),
        (10, 20),
        (10, 33),
    ]
    with pytest.raises(SpecErrors) as caught:
        evaluate(text, "b.envd")
    shown = str(caught.value)
    assert shown.count(": error: ") == shown.count("^") == 9
    assert "called from b.envd:7:5 in tools()" in shown


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("x = \ny = 2\nz = )\n", [1, 3]),
        ("def build():\n    base(os=\n    shell('zsh')\n    x = = 2\n", [2, 4]),
        ("def build():\n    a = [1,\n    base()\n    shell('zsh'\n    x()\n    y = 'a\n", [2, 4, 6]),
        ("def build():\n    run(\n        [\n            'a'\n    )\n    x = = 2\n", [5, 6]),
        ("def build():\n    run]\n    (\n    )\n", [2]),
        ('x = """a"\ny = 2 +\n', [1]),
        ("def f()\n    base()\n    x = 1 +\ndef build(:\n    base()\n", [1, 3, 4]),
        ("for x in [1]\n    pass\nif x\n    pass\nelse\n    pass\n", [1, 3, 5]),
        ("import os\nclass A:\n    def f(self):\n        pass\nwhile True:\n    pass\n", [1, 2, 5]),
        ('x = """\na\nb\n', [1]),
        ("def f():\nx = 1\n", [2]),
        ("x = 'a\ny = \"b\nz = 1\n", [1, 2]),
        ("x = f(a=1, 2)\ny = [1, 2 3]\n", [1, 2]),
        ("f(x\n", [1]),
        ("f(x]\ng(y)\nh(z\n", [1, 3]),
    ],
)
def test_syntax_errors_of_several_statements(text: str, lines: list[int]) -> None:
    assert places(text) == lines


def test_what_follows_from_a_mistake_is_no_error() -> None:
    assert places("def build():\n    v = oops\n    install.apt_packages(v)\n    shell(v)\n") == [2]
    text = "def build():\n    base(os=oops)\n    shell(oops)\n    run(['ls %s' % oops])\n"
    assert places(text) == [2]
    assert places("def build():\n    for i in range(9):\n        shell('zhs')\n") == [3]
    # What the failed call would have given is needed: nothing after it means anything.
    assert places("def build():\n    d = data.envd('/')\n    runtime.mount(d, 'x')\n") == [2]


def test_a_bad_argument_name_is_not_a_missing_argument_too() -> None:
    assert len(errors("def build():\n    runtime.expose(env_port=80)\n")) == 1


def test_a_flood_of_errors_is_cut() -> None:
    text = "def build():\n" + "".join(f"    shell('x{i}')\n" for i in range(500))
    with pytest.raises(SpecErrors) as caught:
        evaluate(text, "b.envd")
    assert len(caught.value.errors) == 20
    assert "and 80 more errors" in str(caught.value) or caught.value.left_out > 0


def test_errors_of_a_requirements_file_stand_beside_those_of_the_spec(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("ok\nbad ==\n--egg\n")
    (tmp_path / "build.envd").write_text(
        'def build():\n    shell("zhs")\n    install.python_packages(requirements="r.txt")\n'
    )
    with pytest.raises(SpecErrors) as caught:
        load(tmp_path / "build.envd")
    shown = str(caught.value)
    assert [e.position.line for e in caught.value.errors] == [2, 2, 3]
    assert f"{tmp_path}/r.txt:3:1: error: option '--egg'" in shown
    assert "\n    2 | bad ==\n" in shown and '\n    2 |     shell("zhs")\n' in shown


def test_hints_name_the_module() -> None:
    assert (
        "did you mean 'install.python_packages'" in errors("def build():\n    python_packages(['a'])\n")[0][2]
    )
    assert "did you mean 'config.jupyter'" in errors("def build():\n    install.jupyter()\n")[0][2]


def test_deprecated_names_warn_and_change_nothing() -> None:
    old = 'def build():\n    io.mount(src="~/a", dest="/b")\n    config.jupyter(password="p")\n'
    new = 'def build():\n    runtime.mount("~/a", "/b")\n    config.jupyter(token="p")\n'

    def made(text: str) -> Environment:
        return evaluate(text, "b.envd")

    assert made(old) == made(new)
    assert [n.position.line for n in made(old).notices] == [2, 2, 2, 3]
    assert "io.mount() is deprecated; write runtime.mount" in str(made(old).notices[0])
    assert not made(new).notices


def test_one_slip_of_a_finger_is_one_error() -> None:
    """A character less or more, or a line less, in specs that are right: hardly ever two errors."""
    slips = random.Random(7)
    counts: Counter[int] = Counter()
    for _ in range(600):
        text = SHAPES[slips.choice(sorted(SHAPES))]
        place = slips.randrange(len(text))
        lines = text.split("\n")
        del lines[slips.randrange(len(lines))]
        text = slips.choice(
            [
                text[:place] + text[place + 1 :],
                text[:place] + slips.choice("()[]{}\"',:=.x ") + text[place:],
                "\n".join(lines),
            ]
        )
        try:
            evaluate(text, "b.envd")
            counts[0] += 1
        except SpecError as error:
            counts[len(error.errors)] += 1
    wrong = sum(number for errors, number in counts.items() if errors)
    assert wrong > 200 and counts[1] >= 0.98 * wrong, counts


# What stands in a file beside the spec: name, text, where, what is said.
BESIDE = [
    ("r.txt", "numpy\nscipy==\n", "2:1", "a version is missing after '=='"),
    ("r.txt", "numpy\n\n  scipy[\n", "3:3", "a bracket is not closed"),
    ("r.txt", "# a\nnumpy scipy\n", "2:1", "each package is a string of its own"),
    ("r.txt", "numpy --hash=md5:00\n", "1:1", "only sha256"),
    ("r.txt", "-e .\n", "1:1", "an editable install cannot be locked"),
    ("r.txt", "-r nope.txt\n", "1:1", "nope.txt: No such file"),
    ("r.txt", "-r r.txt\n", "1:1", "includes itself"),
    ("r.txt", "git+https://x.example/y\n", "1:1", "does not say which package"),
    ("r.txt", "https://x.example/y.tar.gz\n", "1:1", "does not say which package"),
    ("r.txt", "./src\n", "1:1", "no such wheel"),
    ("env.yml", "dependencies: [\n", "2:1", "invalid YAML"),
    ("env.yml", "dependencies:\n\t- a\n", "2:1", "invalid YAML"),
    ("env.yml", "- a\n", "1:1", "an environment file is a mapping"),
    ("env.yml", "name: x\n", "1:1", "an environment file needs 'dependencies'"),
    ("env.yml", "dependencies: numpy\n", "1:15", "dependencies is a list"),
    ("env.yml", "dependencies:\n  - numpy\n  -\n", "3:4", "a dependency is a string"),
    ("env.yml", "dependencies:\n  - numpy=>1 =\n  - '-y'\n", "3:5", "is not a valid conda package"),
    ("env.yml", "dependencies:\n  - npm: [a]\n", "2:5", "'npm' is not an installer"),
    ("env.yml", "dependencies:\n  - pip: rich\n", "2:10", "pip is a list"),
    ("env.yml", "dependencies:\n  - pip:\n    - rich==\n", "3:7", "a version is missing"),
    ("env.yml", "channels: [a b]\ndependencies: []\n", "1:12", "not the name or URL of a conda channel"),
]


@pytest.mark.parametrize(("name", "text", "where", "says"), BESIDE)
def test_errors_in_files_beside_the_spec(name: str, text: str, where: str, says: str, tmp_path: Path) -> None:
    call = "python_packages(requirements=" if name == "r.txt" else "conda_packages(env_file="
    (tmp_path / name).write_text(text)
    (tmp_path / "build.envd").write_text(f'def build():\n    install.{call}"{name}")\n')
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "build.envd")
    first, source, caret = str(caught.value).split("\n")
    line, column = (int(x) for x in where.split(":"))
    assert first.startswith(f"{tmp_path / name}:{where}: error: ") and says in first
    assert source.startswith(f"{line:>5} | ") and caret == "      | " + " " * (column - 1) + "^"


@pytest.mark.parametrize(
    "call",
    [
        'python_packages(requirements="x")',
        'python_packages(requirements=".")',
        'conda_packages(env_file="x")',
        'conda_packages(env_file="empty")',
        'python_packages(requirements="latin")',
    ],
)
def test_files_beside_the_spec_that_cannot_be_read(call: str, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "latin").write_bytes(b"gr\xfcn\n")
    (tmp_path / "build.envd").write_text(f"def build():\n    install.{call}\n")
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "build.envd")
    assert str(caught.value).startswith(f"{tmp_path}/build.envd:2:")
    assert "^" in str(caught.value)
