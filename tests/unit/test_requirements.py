"""Requirements files, and what of a project's files a lock remembers."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.ecosystems.python import pypi, uv
from engine.ecosystems.python.known import hint
from engine.ecosystems.python.pypi import explained
from engine.ecosystems.python.requests import Wanted, project_requests
from engine.ecosystems.python.target import Target
from engine.ecosystems.python.uv import UvError
from engine.errors import UsageError
from engine.net.origins import Origins
from grammar.environment import PipIndex, Position, PythonInput, PythonOption, Request
from grammar.errors import SpecError
from grammar.vocabulary import requirements

AT = Position("build.envd", 3, 5)
HASH = "ab" * 32


def read(directory: Path, text: str) -> requirements.Collected:
    (directory / "r.txt").write_text(text)
    return requirements.read(directory / "r.txt", AT, directory)


def test_everything_that_a_file_may_say(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/own-1.0-py3-none-any.whl").write_bytes(b"")
    (tmp_path / "c.txt").write_text("urllib3<2  # why\n")
    found = read(
        tmp_path,
        "# a comment \\\n"
        "--index-url https://u:p@host/simple\n"
        "--extra-index-url=https://other/simple\n-f wheels\n--pre\n"
        "-c c.txt\n"
        "six==1.16.0 ; python_version > '3' \\\n"
        f"    --hash=sha256:{HASH} \\\n"
        f"    --hash=sha512:{HASH}\n"
        "./dist/own-1.0-py3-none-any.whl\n"
        "https://host/a_b-1.0-py3-none-any.whl\n"
        "  toolz\n",
    )
    assert [(r.text, r.position.line, r.position.column) for r in found.requests] == [
        ("six==1.16.0 ; python_version > '3'", 7, 1),
        ("a-b @ https://host/a_b-1.0-py3-none-any.whl", 11, 1),
        ("toolz", 12, 3),
    ]
    assert found.requests[0].hashes == (f"sha256:{HASH}",)
    assert [r.text for r in found.constraints] == ["urllib3<2"]
    assert [(i.kind, i.path) for i in found.inputs] == [("wheel", "dist/own-1.0-py3-none-any.whl")]
    assert [o.name for o in found.options] == ["index-url", "extra-index-url", "find-links", "pre"]
    assert found.options[2].value == str(tmp_path / "wheels")
    assert len(found.read) == 3


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("-e .", "editable"),
        ("--editable=git+https://host/x", "editable"),
        ("x @ git+https://host/x@v1", "version-control"),
        (".", "a directory cannot be locked"),
        ("./no.whl", "no such wheel"),
        ("https://host/x.tar.gz", "write NAME @"),
        ("x --hash=md5:abc", "only sha256"),
        ("x --install-option=y", "not supported"),
        ("--egg", "option '--egg'"),
        ("-r r.txt", "includes itself"),
        ("x = = 1", "not a valid Python requirement"),
        ("--require-hashes", "'six' has no --hash"),
    ],
)
def test_what_cannot_be_locked_is_refused_at_its_line(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        read(tmp_path, f"six\n\n{line}\n")
    assert caught.value.position.file == str(tmp_path / "r.txt")
    assert caught.value.position.line == (1 if line == "--require-hashes" else 3)


PROJECT = """
[project]
name = "x"
dependencies = ["six>=1"]
[project.optional-dependencies]
gpu = [
    "torch",
]
[dependency-groups]
base = ["toolz"]
dev = [{include-group = "base"}, "pytest"]
[tool.ruff]
line-length = %d
"""


def project(directory: Path, text: str, **more: tuple[str, ...]) -> PythonInput:
    (directory / "pyproject.toml").write_text(text)
    return PythonInput("pyproject", "pyproject.toml", AT, str(directory), **more)


def test_dependencies_of_a_project_keep_their_places(tmp_path: Path) -> None:
    given = project(tmp_path, PROJECT % 80, extras=("gpu",), groups=("dev",))
    found = {r.text: (r.position.line, r.position.column) for r in project_requests(given)}
    assert found == {"six>=1": (4, 18), "torch": (7, 6), "toolz": (10, 10), "pytest": (11, 35)}


def test_only_what_says_which_packages_is_remembered(tmp_path: Path) -> None:
    before = Wanted(inputs=(project(tmp_path, PROJECT % 80),)).texts()
    assert Wanted(inputs=(project(tmp_path, PROJECT % 100),)).texts() == before
    changed = Wanted(inputs=(project(tmp_path, (PROJECT % 80).replace("six>=1", "six>=2")),)).texts()
    assert changed != before
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert Wanted(inputs=(project(elsewhere, PROJECT % 80),)).texts() == before


@pytest.mark.parametrize(
    ("text", "more", "says"),
    [
        ("[tool.poetry]\n", {}, "poetry export"),
        ("[project]\nname = 'x'\ndynamic = ['dependencies']\n", {}, "dynamic"),
        (PROJECT % 80, {"extras": ("cpu",)}, "no extra 'cpu'; it has gpu"),
        (PROJECT % 80, {"groups": ("prod",)}, "no dependency group 'prod'; it has base, dev"),
        ("[project\n", {}, "not valid TOML"),
        ("project = 3\n", {}, "'project' is not a table"),
        ("[project]\ndependencies = 'six'\n", {}, "'dependencies' is not a list of strings"),
        ("[project]\noptional-dependencies = [1]\n", {}, "'optional-dependencies' is not a table"),
    ],
)
def test_projects_that_do_not_say_it(
    tmp_path: Path, text: str, more: dict[str, tuple[str, ...]], says: str
) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        list(project_requests(project(tmp_path, text, **more)))
    assert str(caught.value).startswith("build.envd:3:5: ")


def test_a_bad_requirement_of_a_project_is_shown_where_it_stands(tmp_path: Path) -> None:
    given = project(tmp_path, "[project]\ndependencies = [\n  'six = = 1',\n]\n")
    with pytest.raises(UsageError, match=r"pyproject\.toml:3:4: 'six = = 1' is not a valid Python"):
        list(project_requests(given))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["own-1.0-cp311-cp311-win_amd64.whl"], "is not for Python 3.11.2 on x86_64 Linux"),
        (["own-1.0-cp39-cp39-manylinux2014_x86_64.whl"], "is not for Python"),
        (["own-1.0-cp311-cp311-manylinux_2_40_x86_64.whl"], "with glibc 2.36"),
        (["own.whl"], "Invalid wheel filename"),
        (["a/own-1.0-py3-none-any.whl", "b/own-2.0-py3-none-any.whl"], "are both wheels of own"),
    ],
)
def test_local_wheels_that_the_target_cannot_take(tmp_path: Path, names: list[str], says: str) -> None:
    given = tuple(PythonInput("wheel", name, AT, str(tmp_path)) for name in names)
    with pytest.raises(UsageError, match=f"^build.envd:3:5: .*{says}"):
        pypi.resolve(Wanted(inputs=given), Target("3.11", "2.36", "3.11.2"), tmp_path, print)


def test_a_project_for_another_python(tmp_path: Path) -> None:
    given = project(tmp_path, "[project]\nrequires-python = '>=3.12'\ndependencies = ['six']\n")
    with pytest.raises(UsageError, match=r"it requires Python >=3\.12, and the environment has 3\.11"):
        pypi.resolve(Wanted(inputs=(given,)), Target("3.11", "2.36"), tmp_path, print)


def test_logins_are_kept_out_of_locks_and_put_back(tmp_path: Path) -> None:
    index = PipIndex("https://ann:s3cret@host:8443/simple", "https://other/simple", trust=True)
    options = (PythonOption("index-url", "https://bob:pw@third/simple"),)
    texts = " ".join(Wanted((Request("six"),), options=options, index=index).texts())
    assert "s3cret" not in texts and "pw" not in texts and "https://host:8443/simple" in texts
    sources = uv.sources(index, options)
    # what build.envd names wins over what a requirements file names
    assert sources.index == "https://ann:s3cret@host:8443/simple"
    origins = Origins(tmp_path, sources.urls, sources.trusted)
    assert origins.url("https://host:8443/f.whl") == "https+unchecked://ann:s3cret@host:8443/f.whl"
    assert origins.url("https://host/f.whl") == "https://host/f.whl"
    assert origins.url("dist/a%20b.whl") == (tmp_path / "dist/a b.whl").as_uri()


def test_hints_for_names_that_no_index_knows() -> None:
    assert "scikit-learn" in hint("sklearn")
    assert "'numpy'" in hint("numppy")
    assert "'mine-own'" in hint("mine-owm", ["mine-own"])
    assert "did you mean" not in hint("zzzzqqqq")
    words = "error: No solution found\n  cause: Because numppy was not found in the package registry"
    at = Position("r.txt", 7, 1)
    assert (
        str(explained(UvError(words), [Request("six", AT), Request("Numppy>1", at)]))
        == "r.txt:7:1: there is no Python package 'numppy'; did you mean 'numpy'?"
    )
