"""File names, whatever they are and whatever the machine's locale; what a copy of the project takes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import zipfile
from contextlib import closing
from pathlib import Path

from engine.realise.selection import Selection
from store import Store
from tests.integration import buildkit
from tests.integration.envd import Envd

SPEC = """
def build():
    base(os="debian12", language="python3")
    install.python_packages(local_wheels=["dist/grosse-1.0-py3-none-any.whl"])
    io.copy("d", "/opt/d")
    run(["touch /opt/d/$(printf 'na\\\\303\\\\257ve')", "touch /opt/d/$(printf 'caf\\\\351')"])
"""


def _wheel(directory: Path) -> None:
    directory.mkdir()
    about = "grosse-1.0.dist-info"
    files = {
        "größe/__init__.py": "",
        "größe/straße.txt": "ß",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: grosse\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{about}/RECORD"))
    with zipfile.ZipFile(directory / "grosse-1.0-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def test_one_digest_in_every_locale(shared_store: Path, tmp_path: Path) -> None:
    """The same build, each layer above the base built again, with three encodings of names."""
    locales = tmp_path / "locales"
    locales.mkdir()
    subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(locales / "de_DE.ISO-8859-1")], check=True
    )
    project = tmp_path / "straße"
    utf8 = Envd(shared_store, project, {"LC_ALL": "C.UTF-8"})
    utf8.spec(SPEC)
    _wheel(project / "dist")
    (project / "d").mkdir()
    (project / "d/straße").write_text("1")
    Path(os.fsdecode(os.fsencode(project) + b"/d/\xff\xfe")).write_text("2")
    root = utf8.unpacked(tmp_path)
    assert {os.fsencode(p.name) for p in (root / "opt/d").iterdir()} == {
        "straße".encode(),
        b"\xff\xfe",
        b"na\xc3\xafve",
        b"caf\xe9",
    }
    (packaged,) = (root / "usr").glob("**/größe/straße.txt")
    assert packaged.read_text("utf-8") == "ß"
    first = utf8.run("build", "--no-load").stdout
    for locale in ("C", "de_DE.ISO-8859-1"):
        store = tmp_path / f"store-{locale}"
        _with_base_alone(shared_store, store)
        other = Envd(store, project, {"LC_ALL": locale, "LOCPATH": str(locales)})
        again = other.run("build", "--no-load", "--progress=json")
        assert {n.partition("-")[0] for n in again.names("finish")} >= {"grosse", "copy", "run"}
        assert again.stdout == first


def _with_base_alone(store: Path, copy: Path) -> None:
    """A store that has of another one the bytes, but of what was made only the Debian part."""
    Store.open(copy).close()
    subprocess.run(["cp", "-rlT", str(store / "blobs"), str(copy / "blobs")], check=True)
    with (
        closing(sqlite3.connect(store / "db.sqlite")) as source,
        closing(sqlite3.connect(copy / "db.sqlite")) as target,
    ):
        source.backup(target)
        target.execute("DELETE FROM realisation WHERE name NOT IN ('base', 'apt')")
        target.execute("DELETE FROM memo")
        target.commit()


def test_names_that_would_remove_other_files_are_refused(shared_store: Path, tmp_path: Path) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec('def build():\n    base(os="debian12")\n    io.copy("etc", "/etc")\n')
    (envd.project / "etc").mkdir()
    (envd.project / "etc/.wh.passwd").touch()
    refused = envd.run("build", "--no-load", check=False)
    assert refused.code == 2
    said = "build.envd:3:5: error: io.copy: 'etc/.wh.passwd': a file whose name begins with"
    assert said in refused.stderr
    envd.spec('def build():\n    base(os="debian12")\n    run(["touch /srv/.wh.x"])\n')
    refused = envd.run("build", "--no-load", check=False)
    assert refused.code == 1
    assert "error: run-" in refused.stderr
    assert "'srv/.wh.x': a file whose name begins with" in refused.stderr


# Lines of an ignore file over the files of `_tree`. (Whether a directory of which all is left out but
# might have been taken back is there, empty, differs from BuildKit to BuildKit: no case has that.)
_IGNORE_FILES = (
    "*.md\n!README.md\n",
    "**\n!src\nsrc/**/gen*\n",
    "src/*\n!src/a/deep\n",
    "/docs\n**/*.p?\n[a-c]*\n",
    "# all but\n*\n!src/a/x.py\n!docs/\ndocs/b*\n",
    "src\n!src/a/x.py\nsrc/a/d*\n",
    "**/gen.txt\nsrc/**\n",
)


def _tree(root: Path) -> None:
    for name in (
        "README.md",
        "b.md",
        "src/a/x.py",
        "src/a/deep/y.py",
        "src/gen.txt",
        "src/a/gen.txt",
        "docs/b.txt",
        "docs/c/d.md",
        "xgen.txt",
        "empty/",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).mkdir() if name.endswith("/") else (root / name).write_text(name)


def test_ignore_files_leave_out_what_they_do_for_docker(docker_engine: str, tmp_path: Path) -> None:
    for number, lines in enumerate(_IGNORE_FILES):
        context = tmp_path / f"{number}"
        context.mkdir()
        (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
        (context / ".dockerignore").write_text(lines + ".dockerignore\nDockerfile\n")
        _tree(context)
        built = buildkit.build(context, f"ignored:{number}", docker_engine)
        assert built.returncode == 0, built.stderr
        theirs = set(buildkit.tree(f"ignored:{number}", docker_engine))
        left_out = Selection(str(context)).left_out()
        ours = {
            str(path.relative_to(context))
            for path in context.rglob("*")
            if not any(
                os.fsencode(str(p)) in left_out
                for p in [path.relative_to(context), *path.relative_to(context).parents]
            )
        }
        assert (lines, ours) == (lines, theirs)


def test_what_is_left_out_is_said_and_rebuilds_nothing(shared_store: Path, tmp_path: Path) -> None:
    envd = Envd(shared_store, tmp_path / "p")
    envd.spec(
        'def build():\n    base(os="debian12")\n    io.copy(".", "/srv/all")\n'
        '    io.copy("src", "/srv/src", exclude=["*.log"])\n    io.copy(".env", "/srv/named")\n'
        '    run(["cd /srv/src && stat -c %Y main.py >/srv/time"])\n'
    )
    for name in (
        ".git/HEAD",
        ".venv/bin/python",
        ".env",
        "data/big",
        "src/main.py",
        "src/a.log",
        "src/__pycache__/main.pyc",
    ):
        (envd.project / name).parent.mkdir(parents=True, exist_ok=True)
        (envd.project / name).write_text(name)
    (envd.project / ".dockerignore").write_text("data\n")
    first = envd.run("build", "--no-load", "-t", "ignores:dev")
    assert "io.copy('.'): left out .env, .git, .venv, data, envd.lock, src/__pycache__" in first.stderr
    root = envd.unpacked(tmp_path)
    assert sorted(p.name for p in (root / "srv/all").iterdir()) == [".dockerignore", "build.envd", "src"]
    assert [p.name for p in (root / "srv/src").iterdir()] == ["main.py"]
    assert (root / "srv/named").read_text() == ".env"
    # SOURCE_DATE_EPOCH: zip, for one, knows no time before 1980
    assert (root / "srv/time").read_text() == "1704067200\n"
    for name in ("data/big", "data/more", ".git/HEAD", "src/__pycache__/other.pyc"):
        (envd.project / name).write_text("changed")
    again = envd.run("build", "--no-load", "-t", "ignores:dev")
    assert (again.stdout, "up to date" in again.stderr) == (first.stdout, True), again.stderr
    (envd.project / "src/main.py").write_text("changed")
    assert envd.run("build", "--no-load", "-t", "ignores:dev").stdout != first.stdout
    (envd.project / "build.envd").write_text(
        'def build():\n    base(os="debian12")\n    io.copy("data", "/srv")\n'
    )
    refused = envd.run("build", "--no-load", check=False)
    assert refused.code == 2
    said = "build.envd:3:5: error: io.copy: 'data' is left out by .dockerignore:1 ('data')"
    assert said in refused.stderr
