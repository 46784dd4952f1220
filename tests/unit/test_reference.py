"""docs/language.md and the stubs are what the signatures say; every function has its test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from mypy import api as mypy

from grammar.vocabulary import reference
from grammar.vocabulary.reference import MODULES, TYPES, markdown, signature, stubs
from grammar.vocabulary.registry import APIS
from grammar.vocabulary.signature import KINDS

ROOT = Path(__file__).parents[2]


def test_the_reference_is_not_stale() -> None:
    made = markdown(reference.tests_of())
    assert (ROOT / "docs/language.md").read_text("utf-8") == made, "run `make docs`"


def test_every_function_has_a_test_and_no_other_has() -> None:
    assert set(reference.tests_of()) == {api.name for api in APIS}


@pytest.mark.parametrize("api", APIS, ids=[api.name for api in APIS])
def test_the_named_test_is_there_and_calls_the_function(api: object) -> None:
    name = getattr(api, "name", "")
    file, _, test = reference.tests_of()[name].partition("::")
    text = (ROOT / file).read_text("utf-8")
    defined = {n.name for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)}
    assert test in defined, f"{file} has no {test}"
    assert f"{name}(" in text, f"{file} does not call {name}"


def test_every_function_and_parameter_is_described() -> None:
    assert len({api.name for api in APIS}) == len(APIS)
    for api in APIS:
        assert api.about.endswith("."), api.name
        assert not api.differs or api.differs.endswith("."), api.name
        assert api.name.rpartition(".")[0] in MODULES
        assert not [p.name for p in api.parameters if not p.about], api.name
    assert set(TYPES) == set(KINDS)


def test_signatures_read_as_they_are_written() -> None:
    shown = {api.name: signature(api) for api in APIS}
    assert shown["shell"] == 'shell(name="bash")'
    assert shown["install.cuda"] == ('install.cuda(version, cudnn=None, components=[], source="auto")')


def test_the_stubs_type_a_spec(tmp_path: Path) -> None:
    (tmp_path / "envd.pyi").write_text(stubs())
    (tmp_path / "right.py").write_text("""from envd import *
def build() -> None:
    base(os="debian12", language="python3.11")
    shell("zsh")
    install.apt_packages(["git"])
    runtime.mount(data.envd("x"), data.path.dgl)
    runtime.expose(80, host_port=None)
    config.rstudio_server()
""")
    (tmp_path / "wrong.py").write_text("""from envd import *
def build() -> None:
    install.apt_package(["git"])
    install.apt_packages("git")
    shell("zhs")
    install.cuda()
""")
    options = ["--strict", "--no-incremental", "--follow-imports=silent", "--no-error-summary"]
    here = [str(tmp_path / name) for name in ("envd.pyi", "right.py", "wrong.py")]
    out, errors, _ = mypy.run([*options, *here])
    assert not errors
    found = [line.split(":")[:2] for line in out.splitlines() if ": error:" in line]
    assert [(Path(f).name, int(n)) for f, n in found] == [("wrong.py", n) for n in (3, 4, 5, 6)], out
