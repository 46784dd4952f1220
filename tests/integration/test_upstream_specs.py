"""Specs as tensorchord/envd's users write them (its documentation, examples and tests), built and
run: each test is one behaviour that they rely on.

The harness is `tests.integration.specs`. `base()` without more is one base for all of them.
"""

from __future__ import annotations

import re
import tomllib
import urllib.request

import pytest

from tests.integration import servers
from tests.integration.specs import Specs, sdist, wheel
from tests.integration.test_up import eventually

EXTENSION = """\
#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *none) { return PyLong_FromLong(42); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "cext", "", -1, methods};
PyMODINIT_FUNC PyInit_cext(void) { return PyModule_Create(&module); }
"""
WHERE_NUMPY_IS = "import numpy, sys; print(sys.version_info[:2], numpy.array([1, 2]) + 1)"


# -- Python (docs: "getting started", e2e/v1: minimal, quick-start, hybrid) --------------------


def test_a_plain_base_has_no_python(specs: Specs) -> None:
    image = specs.image("""
        def build():
            base()
    """)
    assert image.sh(". /etc/os-release; echo $ID-$VERSION_ID; ls /usr/local/bin") == "debian-12"
    assert image.docker("python3", "-V", check=False).returncode == 127
    assert image.dangling() == []


@pytest.mark.parametrize(
    "call",
    [
        "base()\n    install.python()",
        'base(dev=True)\n    install.python("3.11")',
        'base(os="debian12", language="python3")\n    install.python(version="3")',
    ],
)
def test_install_python_brings_python_and_pip(specs: Specs, call: str) -> None:
    image = specs.image(f"""
def build():
    {call}
    install.python_packages(name=["numpy"])
""")
    for name in ("python", "python3"):
        assert image.run(name, "-c", WHERE_NUMPY_IS) == "(3, 11) [2 3]"
    assert "(python 3.11)" in image.run("pip", "--version")
    assert image.run("python", "-m", "pip", "check") == "No broken requirements found."
    assert image.dangling() == []


def test_uv_of_the_distributions_python(specs: Specs) -> None:
    """install.uv(python_version=…) of the release's own version: that is there, too."""
    image = specs.image("""
        def build():
            base()
            install.uv(python_version="3.11")
    """)
    found = image.run("uv", "python", "list", "--only-installed")
    assert re.search(r"cpython-3\.11\.\d+-linux-x86_64-gnu +/usr/bin/python3", found), found


def test_pip_starts_on_an_older_python(specs: Specs) -> None:
    """Debian keeps most of distutils in a package of its own, which pip needs before 3.10."""
    image = specs.image("""
        def build():
            base(os="debian11")
            install.python()
            install.python_packages(name=["six"])
    """)
    assert "(python 3.9)" in image.run("pip", "--version")
    assert image.run("python", "-m", "pip", "check") == "No broken requirements found."
    assert image.run("python", "-c", "import six; print(six.moves.range(3)[2])") == "2"
    image.sh("python -m pip uninstall -y six; ! python -c 'import six'")


def test_a_requirements_file(specs: Specs) -> None:
    image = specs.image(
        """
        def build():
            base()
            install.python()
            install.python_packages(requirements="requirements.txt")
        """,
        {"requirements.txt": "# what it needs\nrequests>=2.31  # the web\nsix==1.16.0\n"},
    )
    said = image.run("python", "-c", "import requests, six; print(six.__version__)")
    assert said == "1.16.0"


def test_a_lock_of_yesterday_that_pinned_nothing_is_renewed(specs: Specs) -> None:
    """Commit a632704 locked base() with install.python() without any Python."""
    envd = specs.project("""
        def build():
            base()
            install.python()
    """)
    envd.run("lock")
    lock = envd.project / "envd.lock"
    whole = lock.read_text()
    # as it wrote it: without the list of what is provided, and without the .debs of Python
    head, *debs = re.split(r"^(?=\[\[apt\]\]|\[\[wheels\]\])", whole, flags=re.MULTILINE)
    bare = "".join([head, *(d for d in debs if d.startswith("[[wheels]]"))])
    bare = re.sub(r"^provided = .*\n", "", bare, flags=re.MULTILINE)
    assert len(bare) < len(whole) and tomllib.loads(bare)["requests"]["apt"] == ["python3"]
    lock.write_text(bare)
    refused = envd.run("build", "--locked", check=False)
    assert refused.code == 2 and "apt: nothing pinned for python3" in refused.stderr
    image = specs.build(envd)
    assert "renewing apt: nothing pinned for python3" in image.outcome.stderr
    assert image.run("python", "-c", "print(1)") == "1"
    assert lock.read_text() == whole


# -- Jupyter (docs: "jupyter", e2e/v1/docs/testdata/jupyter) -----------------------------------


def test_a_development_environment(specs: Specs) -> None:
    """Jupyter answers as soon as `up` is done, a daemon at its port, commands run as the developer."""
    port = servers.free_port()
    spec = f"""
        def build():
            base(dev=True)
            install.python()
            install.python_packages(name=["numpy"])
            config.jupyter(token="secret")
            git_config(name="A B", email="a@b.example", editor="vim")
            shell("zsh")
            runtime.environ(env={{"GREETING": "hello there"}})
            runtime.command(commands={{"greet": "echo $GREETING from $(basename $PWD)"}})
            runtime.daemon(commands=[
                ["python3", "-m", "http.server", "{port}", ">>", "serve.log", "2>&1"],
            ])
            runtime.mount(host_path="~/notes", envd_path="~/notes")
    """
    with specs.up(spec, {"main.py": "print('main')\n"}) as running:
        url = running.url("jupyter")
        assert servers.status(url) == 200  # at once
        with urllib.request.urlopen(url.replace("/lab?", "/api/contents?"), timeout=120) as answer:
            assert b"main.py" in answer.read()
        assert running.sh("python -c 'import numpy; print(numpy.arange(3) + 2)'") == "[2 3 4]"
        assert running.exec("-c", "greet").stdout == "hello there from project"
        assert running.sh("vim --version | head -1").startswith("VIM - Vi IMproved")
        assert running.sh("git config user.name; git config core.editor") == "A B\nvim"
        assert running.sh("sudo ls -d /root; getent passwd envd | cut -d: -f7") == "/root\n/bin/zsh"
        assert running.sh("touch ~/notes/one") == "" and running.sh("ls ~/notes") == "one"
        # without a bridge its port is the machine's, which this engine has not
        fetch = "import urllib.request as r; print(b'main.py' in r.urlopen('http://127.0.0.1:%d').read())"
        fetch %= port
        assert eventually(lambda: running.exec("python", "-c", fetch, check=False).stdout == "True")
        assert (running.envd.project / "serve.log").exists()


def test_services_that_die_are_said(specs: Specs) -> None:
    spec = """
        def build():
            base(dev=True)
            install.python()
            runtime.daemon(commands=[["python3", "-c", "raise SystemExit('no such model')"],
                                     ["sleep", "1000"]])
    """
    with specs.up(spec) as running:
        said = running.outcome.stderr
        assert "daemon-1-python3 ends as soon as it is started (exit status 1)" in said, said
        assert "no such model" in said and "sleep" not in said


def test_jupyter_without_a_python_is_an_error(specs: Specs) -> None:
    said = specs.fails(
        """
        def build():
            base()
            config.jupyter()
        """,
        code=2,
    )
    assert "build.envd:4:5: error: config.jupyter needs a Python: write install.python()" in said


# -- images of applications (docs: "serving", examples: mosec, modelz templates) ----------------


def test_a_serving_spec(specs: Specs) -> None:
    """Two functions, a file, an entry point with arguments, a port and variables."""
    image = specs.image(
        """
        PORT = 8000

        def basic():
            install.python()
            install.python_packages(name=["msgspec"])

        def build():
            base()
            basic()
            io.copy("main.py", "/srv/")
            run(["python /srv/main.py build > /srv/built"])
            config.entrypoint(["python", "/srv/main.py"])
            runtime.environ(env={"WHERE": "here"}, extra_path=["/opt/own/bin"])
            runtime.expose(envd_port=PORT, host_port=PORT, service="app")
        """,
        {
            "main.py": "import os, sys, msgspec\n"
            "said = msgspec.json.encode([1]).decode()\n"
            "print(os.environ.get('WHERE'), sys.argv[1:], said)\n"
        },
    )
    assert image.run() == "here [] [1]"
    assert image.run("--port", "1") == "here ['--port', '1'] [1]"
    assert image.config["Entrypoint"] == ["python", "/srv/main.py"]
    assert "8000/tcp" in image.config["ExposedPorts"]
    script = "cat /srv/built; echo $PATH"
    built, path = image.run("-c", script, options=("--entrypoint", "/bin/sh")).splitlines()
    assert built.endswith("['build'] [1]") and "/opt/own/bin" in path.split(":")


def test_entrypoint_is_a_command_of_the_image(specs: Specs) -> None:
    image = specs.image("""
        def build():
            base()
            config.entrypoint(["date", "-u", "-d", "@0", "+%Y"])
    """)
    assert image.run() == "1970"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells(specs: Specs, shell: str) -> None:
    image = specs.image(f"""
def build():
    base()
    shell("{shell}")
""")
    assert image.sh("echo ${SHELL##*/}; getent passwd root | sed 's,.*/,,'").split() == [shell] * 2
    assert image.run(shell, "-ic", "echo it runs").endswith("it runs")
    assert image.config["Cmd"] == [f"/usr/bin/{shell}" if shell == "fish" else f"/bin/{shell}"]
    assert image.dangling() == []


def test_other_languages_of_the_distribution(specs: Specs) -> None:
    image = specs.image("""
        def build():
            base()
            install.go()
            install.nodejs()
            install.apt_packages(["jq"])
    """)
    said = image.sh("go version; node -p '[1, 2].length'; npm --version; echo '[3]' | jq '.[0]'")
    go, node, npm, jq = said.splitlines()
    assert go.startswith("go version go1.19") and (node, jq) == ("2", "3") and npm[0].isdigit()
    assert image.dangling() == []


def test_language_v0_has_python_without_being_asked(specs: Specs) -> None:
    image = specs.image("""
        # syntax=v0

        def build():
            install.python_packages(["six"])
    """)
    assert image.run("python", "-c", "import six; print(six.PY3)") == "True"


# -- packages -----------------------------------------------------------------------------------


def test_a_declared_command_counts_more_than_a_script(specs: Specs) -> None:
    """A wheel with both, as jupyter-contrib-nbextensions and awsebcli: pip and uv have the command."""
    image = specs.image(
        """
        def build():
            base()
            install.python()
            install.python_packages(local_wheels=["dupscript-1.0-py3-none-any.whl"])
        """,
        {
            "dupscript-1.0-py3-none-any.whl": wheel(
                "dupscript",
                {
                    "dupscript.py": "def main():\n    print('the command')\n",
                    "dupscript-1.0.data/scripts/dupcmd": "#!python\nprint('the script')\n",
                    "dupscript-1.0.data/scripts/another": "#!python\nprint('another')\n",
                    "dupscript-1.0.dist-info/entry_points.txt": (
                        "[console_scripts]\ndupcmd = dupscript:main\n"
                    ),
                },
            )
        },
    )
    assert image.run("dupcmd") == "the command" and image.run("another") == "another"
    assert image.run("pip", "check") == "No broken requirements found."


def test_a_build_that_lacks_a_compiler_says_what_to_add(specs: Specs) -> None:
    spec = """
        def build():
            base()
            install.python()
            MORE
            install.python_packages(name=["cext --find-links ."])
    """
    files = {
        "cext-1.0.tar.gz": sdist(
            "cext",
            {
                "setup.py": "from setuptools import Extension, setup\n"
                "setup(name='cext', version='1.0', ext_modules=[Extension('cext', ['cext.c'])])\n",
                "cext.c": EXTENSION,
            },
        )
    }
    said = specs.fails(spec.replace("MORE", ""), files)
    assert 'add install.apt_packages(["gcc", "python3-dev"])' in said
    assert "/tmp/run-" not in said
    added = spec.replace("MORE", 'install.apt_packages(["gcc", "python3-dev"])')
    image = specs.image(added, files)
    assert image.run("python", "-c", "import cext; print(cext.answer())") == "42"


def test_a_yanked_release_is_said(specs: Specs) -> None:
    envd = specs.project("""
        def build():
            base()
            install.python()
            install.python_packages(name=["requests==2.32.0"])
    """)
    said = envd.run("lock").stderr
    assert "build.envd:5:35: requests==2.32.0 was yanked by its authors: Yanked due to" in said
    assert 'version = "2.32.0"' in (envd.project / "envd.lock").read_text()


# -- run and io.copy (docs: "run commands", "copy files"; e2e/v1: run, serving) -----------------


@pytest.mark.parametrize(
    ("steps", "look", "says"),
    [
        ('run(commands=["source /etc/os-release", "echo $ID > /srv/id"])', "cat /srv/id", "debian"),
        ('run(["words=(one two)", "echo ${words[1]} > /srv/two"])', "cat /srv/two", "two"),
        ('run(["mkdir -p work; cd work; pwd > /srv/at"])', "cat /srv/at", "/home/envd/PROJECT/work"),
        ('io.copy("main.py", "/")', "cat /main.py", "print('main')"),
        ('io.copy("main.py", "/root")', "cat /root/main.py", "print('main')"),
        ('io.copy("main.py", "/usr/local/bin")', "cat /usr/local/bin/main.py", "print('main')"),
        ('io.copy("src", "/opt")', "cat /opt/src/a.txt", "a"),
        ('io.copy("src", "/")', "cat /src/a.txt", "a"),
        ('io.copy("src", "/opt/new")', "cat /opt/new/a.txt", "a"),
        ('io.copy("src", "models")', "cat /models/a.txt", "a"),
        (
            'io.copy("main.py", "/srv/app.py")\n    run(["cp /srv/app.py /srv/seen"])',
            "cat /srv/seen",
            "print('main')",
        ),
    ],
)
def test_steps_as_upstream(specs: Specs, steps: str, look: str, says: str) -> None:
    image = specs.image(
        f"def build():\n    base()\n    {steps}\n", {"main.py": "print('main')\n", "src/a.txt": "a\n"}
    )
    assert image.sh(look) == says.replace("PROJECT", image.envd.project.name)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("false | cat", "build.envd:3:5"),
        ("echo $UNSET_VARIABLE", "unbound variable"),
        ("getent hosts nothing.example || bash -c 'exec 3<>/dev/tcp/192.0.2.1/80'", "io.http"),
    ],
)
def test_a_step_that_fails_ends_the_build(specs: Specs, command: str, says: str) -> None:
    assert says in specs.fails(f"def build():\n    base()\n    run([{command!r}])\n")
