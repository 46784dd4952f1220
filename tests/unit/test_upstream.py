"""Specs as tensorchord/envd's users write them: the shapes of its examples, templates and tests.

The texts are ours; what they call, and how, is what that project's own files do.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine.cli.main import main

DIGEST = "0" * 64


def parse(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> dict[str, Any]:
    """What `envd parse` prints for a spec."""
    spec = tmp_path / "build.envd"
    spec.write_text(text)
    main(["parse", "-f", str(spec)])
    made: dict[str, Any] = json.loads(capsys.readouterr().out)
    return made


def names(made: dict[str, Any], field: str) -> list[str]:
    return [x["text"] for x in made[field]]


def toolchains(made: dict[str, Any]) -> list[str]:
    return [x["name"] for x in made["toolchains"]]


SHAPES = {
    # examples/envd-lang-v1, pkg/lang/…/test.envd
    "v1_basic": """# syntax=v1

def build():
    base(dev=True)
    install.conda()
    install.python()
    install.python_packages(name=["rich"])
    install.apt_packages(name=["jq"])
""",
    # examples/mnist: one function builds upon another
    "two_functions": """def build():
    base(os="ubuntu20.04", language="python3")
    install.vscode_extensions([
        "ms-python.python",
    ])
    #config.pip_index(url = "https://mirror.example/simple")
    install.python_packages([
        "keras",
        "numpy",
    ])
    shell("zsh")
    config.jupyter()

def build_gpu():
    build()
    install.cuda(version="11.2.0", cudnn="8")
""",
    # e2e/v1/docs/testdata/complex
    "complex": '''# syntax=v1


def build():
    base(dev=True)
    install.conda()
    install.python()
    config.apt_source(
        source="""
deb https://mirror.example/ubuntu focal main restricted
deb https://mirror.example/ubuntu focal-updates main restricted
"""
    )
    config.pip_index(url="https://mirror.example/simple", trust=True)
    install.vscode_extensions(
        [
            "ms-python.python-2021.12.1559732655",
        ]
    )
    install.cuda(version="11.2.2", cudnn="8")
    shell("zsh")
    git_config(name="A B", email="a@b.example", editor="vim")
    run(["ls -la"])
''',
    # pkg/app/template/torch.envd: helpers, options of pip in a name, an image with CUDA
    "torch_template": """def default():
    shell("fish")
    install.conda()
    install.python()
    install.apt_packages(name=["build-essential"])


def gpu():
    base(dev=True, image="nvidia/cuda:12.6.3-cudnn-devel-ubuntu22.04")
    default()
    install.python_packages(
        name=["torch --index-url https://wheels.example/whl/cu126"]
    )


def cpu():
    base(dev=True)
    default()
    install.python_packages(
        name=["torch --index-url https://wheels.example/whl/cpu"]
    )


def build():
    cpu()
""",
    # examples/llm-inference, examples/dgl: options alone, links
    "pip_options": """# syntax=v1
def build():
    base(dev=True)
    install.conda()
    install.python()
    install.python_packages(
        [
            "torch",
            "--extra-index-url https://wheels.example/whl/cu113",
        ]
    )
    install.python_packages(["dgl-cu113 -f https://data.example/wheels/repo.html"])
""",
    # examples/dgl
    "data_sources": """def build():
    base(os="ubuntu20.04", language="python3")
    runtime.mount(host_path=data.envd("dgl"), envd_path=data.path.dgl)
    runtime.mount(host_path="~/.cache/huggingface", envd_path=data.path.huggingface)
""",
    # pkg/app/template/codex.envd
    "codex_template": """def build():
    base(dev=True)
    shell("fish")
    install.codex()
    install.rust()
    install.uv()
    runtime.mount("~/.codex", "~/.codex")
""",
    "codex_versions": """def build():
    base(dev=True)
    install.codex(version="0.55.0")
    install.go("1.25.3")
    install.rust(version=None)
    install.nodejs()
    install.uv(python_version="3.11")
""",
    # pkg/app/template/pixi.envd
    "pixi_template": """def build():
    base(dev=True)
    install.pixi(use_pixi_mirror=True, pypi_index=None)
    shell("fish")
""",
    # examples/streamlit-mnist
    "serving": """def build():
    base(os="ubuntu22.04", language="python3")
    configure()

def serve():
    base(os="ubuntu22.04", language="python3")
    configure_streamlit(8501)
    configure()

def configure_streamlit(port):
    install.python_packages(["streamlit"])
    runtime.expose(envd_port=port, host_port=port, service="streamlit")
    runtime.daemon(commands=[["streamlit", "run", "~/streamlit-mnist/app.py"]])

def configure():
    install.apt_packages(["libgl1"])
""",
    # examples/dpgen2
    "runtime": """def cluster(env_name):
    run(
        [
            'curl -Lo ./kind https://kind.example/kind',
            "chmod +x ./kind",
        ]
    )
    runtime.init(
        [
            "sudo kind create cluster",
            "sudo docker network connect kind {}".format(env_name),
        ]
    )
    runtime.environ(env={"KUBECONFIG": "/home/envd/.kindkubeconfig"})


def build():
    base(dev=True)
    runtime.mount("/var/run/docker.sock", "/var/run/docker.sock")
    cluster("dpgen2")
""",
    # e2e/language/testdata/others
    "commands": """# syntax=v1
def build():
    base(dev=True)
    install.go()
    install.rust()
    install.nodejs()
    runtime.command(
        commands={
            "go version": "go version",
            "root": "sudo ls /root",
        }
    )
""",
    # examples/resnet-serving-v1: no base() at all
    "no_base": """# syntax=v1


def build():
    install.cuda(version="11.6.2")
    install.python()
    io.copy("main.py", "/")
    config.entrypoint(["python", "main.py"])
""",
    # examples/custom-image
    "custom_image": """def build():
    base(language="python", image="python:3.11-slim")
    install.python_packages(name=["via"])
    config.entrypoint(["date", "-u"])
""",
    # examples/download_files
    "http": f"""def build():
    base(os="ubuntu22.04", language="python")
    io.http(
        url="https://files.example/tool_Linux_x86_64",
        checksum="sha256:{DIGEST}",
        filename="tool",
    )
    io.http("https://files.example/other", None, None)
""",
    # e2e/v1/docs/testdata/{julia,julia_mnist}
    "julia": """# syntax=v1
def build():
    base(dev=True)
    install.julia()
    install.julia_packages(names=["Example"])
    install.julia_packages(name=["JSON", "Random"])
    config.julia_pkg_server(url="https://pkg.example")
    runtime.command(commands={"julia-mnist": "julia mnist.jl"})
""",
    # examples/r-basic, e2e/v1/docs/testdata/rlang_mnist
    "r": """def build():
    base(os="ubuntu22.04", language="r")
    config.cran_mirror("https://cran.example/")
    install.r_packages(
        [
            "remotes",
            "rlang",
        ]
    )
    config.rstudio_server()
    shell("zsh")
""",
    "r_v1": """# syntax=v1
def build():
    base(dev=True)
    install.r_lang()
    install.r_packages(name=["keras"])
""",
    # base-images/remote-cache: docstrings
    "docstrings": '''def build():
    base(os="ubuntu22.04", language="python3")


def build_gpu_11_2():
    """tensorflow"""
    base(os="ubuntu22.04", language="python3")
    install.cuda(version="11.2.2", cudnn="8")
''',
    # envdlib's shapes, in one file
    "library": '''PYPI = {
    # one
    "a": "https://a.example/simple",
}
CONDA = """
channels:
  - defaults
show_channel_urls: true
default_channels:
  - {url}/pkgs/main
  - {url}/pkgs/r
custom_channels:
  conda-forge: {url}/cloud
"""


def mirror(pip="a", conda="https://c.example/anaconda"):
    """Mirrors.

    Args:
        pip (Optional[str]): alias
    """
    config.pip_index(url=PYPI[pip])
    config.conda_channel(channel=CONDA.format(url=conda))


def tensorboard(envd_port=6006, envd_dir="/home/envd/logs",
        host_port=0, host_dir="/var/log/tensorboard"):
    install.python_packages(["tensorboard"])
    io.mount(host_path=host_dir, envd_path=envd_dir)
    runtime.daemon(
        commands=[
            [
                "tensorboard",
                "--port",
                str(envd_port),
                ">>tensorboard.log",
                "2>&1",
            ],
        ]
    )
    runtime.expose(envd_port=envd_port, host_port=host_port, service="tensorboard")


def build():
    base(os="ubuntu20.04", language="python")
    mirror()
    tensorboard(8888)
''',
    "settings": """def build():
    base(image="ubuntu:22.04", dev=True)
    config.gpu(count=2)
    config.shm_size(size=1024)
    config.owner(uid=1000, gid=1000)
    config.repo(url="https://git.example/x", description="what")
    config.jupyter(token="", port=8889)
    config.conda_channel(channel="https://c.example/conda-forge")
    git_config(name=None, email="a@b.example")
    runtime.expose(envd_port=80, host_port=None, service=None, listen_addr=None)
    runtime.environ(env={"A": "b"}, extra_path=["/opt/x/bin"])
    io.copy(source="/bin/micromamba", target="/usr/local/bin/", image="mambaorg/micromamba:1.0")
    io.copy(host_path="a", envd_path="/b")
""",
    # e2e/language/testdata/run
    "run": """def build():
    base(dev=True)
    run(
        commands=[
            "mkdir test",
            "cd test",
        ],
        mount_host=True,
    )
""",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_taken(shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    functions = re.findall(r"^def (\w+)\(\):", SHAPES[shape], re.MULTILINE)
    made = parse(tmp_path, capsys, SHAPES[shape])
    assert made["base"]
    for function in functions:
        main(["parse", "-f", f"{tmp_path}/build.envd:{function}"])
        assert json.loads(capsys.readouterr().out)


def test_python_shapes_mean_what_they_mean_upstream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = parse(tmp_path, capsys, SHAPES["torch_template"])
    assert names(made, "python_packages") == ["torch"]
    assert [(o["name"], o["value"]) for o in made["python_options"]] == [
        ("extra-index-url", "https://wheels.example/whl/cpu")
    ]
    assert (toolchains(made), made["shell"]) == (["conda", "python"], "fish")
    made = parse(tmp_path, capsys, SHAPES["pip_options"])
    assert names(made, "python_packages") == ["torch", "dgl-cu113"]
    assert [o["name"] for o in made["python_options"]] == ["extra-index-url", "find-links"]
    made = parse(tmp_path, capsys, SHAPES["custom_image"])
    assert (made["base"]["image"], made["base"]["dev"]) == ("python:3.11-slim", False)


def test_runtime_shapes_mean_what_they_mean_upstream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = parse(tmp_path, capsys, SHAPES["settings"])
    assert made["expose"] == [{"envd_port": 80, "host_port": None, "service": "", "listen_addr": ""}]
    assert made["git"] == {"name": "", "email": "a@b.example", "editor": ""}
    assert [(s["source"], s["target"]) for s in made["steps"]] == [
        ("/bin/micromamba", "/usr/local/bin/"),
        ("a", "/b"),
    ]
    assert (made["gpu"], made["shm_size"], made["owner"]) == (2, 1024, {"uid": 1000, "gid": 1000})
    made = parse(tmp_path, capsys, SHAPES["library"])
    assert made["expose"][0]["host_port"] is None  # 0: a free one
    assert made["mounts"][0]["host_path"] == "/var/log/tensorboard"
    assert made["conda_channels"] == [
        "https://c.example/anaconda/pkgs/main",
        "https://c.example/anaconda/pkgs/r",
    ]
    made = parse(tmp_path, capsys, SHAPES["data_sources"])
    assert [(m["host_path"], m["envd_path"], m["managed"]) for m in made["mounts"]] == [
        ("dgl", "~/.dgl", True),
        ("~/.cache/huggingface", "~/.cache/huggingface", False),
    ]
    made = parse(tmp_path, capsys, SHAPES["complex"])
    assert names(made, "vscode_extensions") == ["ms-python.python@2021.12.1559732655"]
    assert made["pip_index"]["trust"] is True
    assert made["apt_source"].count("deb ") == 2


@pytest.mark.parametrize("line", ["# syntax=v0", "# syntax=v1", "#syntax=v0", "# syntax = v1", ""])
def test_the_first_line_says_which_syntax(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = parse(tmp_path, capsys, f"{line}\ndef build():\n    base()\n")
    expected = "v0" if "v0" in line else "v1"
    assert (made["syntax"], made["base"]["dev"]) == (expected, expected == "v0")
    made = parse(tmp_path, capsys, f"{line}\ndef build():\n    base(dev=False)\n")
    assert made["base"]["dev"] is False


def test_v0_is_for_development_without_a_base_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(tmp_path, capsys, "# syntax=v0\ndef build(): pass\n")["base"]["dev"] is True


@pytest.mark.parametrize(
    "language", ["python", "python3", "python3.9", "python3.11.4", "r", "r4.2", "julia", "julia1.8"]
)
def test_languages_with_and_without_a_version(
    language: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = parse(tmp_path, capsys, f'def build():\n    base("ubuntu22.04", "{language}")\n')
    assert made["base"]["language"] == language


def test_a_condarc_says_where_named_channels_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '''def build():
    install.conda_packages(["x"], channel=["conda-forge", "pytorch/label/dev", "other"])
    config.conda_channel("""
channels:
  - defaults
  - conda-forge  # a comment
channel_alias: https://alias.example/
custom_channels:
  conda-forge: https://c.example/cloud
  pytorch: https://c.example/cloud/
""", use_mamba=True)
'''
    made = parse(tmp_path, capsys, text)
    assert made["conda_channels"] == [
        "https://c.example/cloud/conda-forge",
        "https://c.example/cloud/pytorch/label/dev",
        "https://alias.example/other",
        "https://alias.example/defaults",
    ]
    assert made["toolchains"][0]["options"] == [["use_mamba", "true"]]


def test_an_environment_file_of_condas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "env.yaml").write_text("""name: x
channels:
  - conda-forge
dependencies:
  - python=3.9
  - numpy>=1.2
  - conda-forge::dgllife
  - pip
  - pip:
      - rich
      - --extra-index-url https://wheels.example/simple
""")
    made = parse(tmp_path, capsys, 'def build():\n    install.conda_packages(env_file="env.yaml")\n')
    assert names(made, "conda_packages") == ["python=3.9", "numpy>=1.2", "conda-forge::dgllife", "pip"]
    assert made["conda_packages"][2]["position"]["line"] == 7
    assert made["conda_channels"] == ["conda-forge"]
    assert names(made, "conda_pip") == ["rich"]
    assert made["python_options"][0]["value"] == "https://wheels.example/simple"
    assert str(tmp_path / "env.yaml") in made["read_files"]


def test_asking_twice_for_the_same_is_asking_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """def tools():
    install.conda()
    install.cuda(version="12.9")
def build():
    base()
    tools()
    tools()
    base()
"""
    assert toolchains(parse(tmp_path, capsys, text)) == ["conda"]
