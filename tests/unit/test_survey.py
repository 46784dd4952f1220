"""`envd init`'s decisions: small projects and the specs that are written for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.ecosystems.python.imported import DISTRIBUTIONS
from engine.survey.decide import decide
from engine.survey.declared import _constraint, python_for
from engine.survey.distributions import distribution
from engine.survey.write import spec
from grammar.environment import Environment
from grammar.evaluate import evaluate


def project(root: Path, files: Mapping[str, str]) -> Path:
    """A project with these files."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def made(root: Path, files: Mapping[str, str], language: str | None = None) -> tuple[str, Environment]:
    """The spec's text for a project, and what the language reads in it."""
    text = spec(decide(project(root, files), language))
    return text, evaluate(text, str(root / "build.envd"), directory=root)


def packages(environment: Environment) -> list[str]:
    """The Python packages that are asked for."""
    return [request.text for request in environment.python_packages]


def notebook(*cells: str) -> str:
    """A notebook with these code cells."""
    rows = [{"cell_type": "code", "source": c.splitlines(keepends=True)} for c in cells]
    return json.dumps({"nbformat": 4, "cells": [{"cell_type": "markdown", "source": ["#"]}, *rows]})


def test_imports_become_packages(tmp_path: Path) -> None:
    text, environment = made(
        tmp_path,
        {
            "train.py": "import os, sys\nimport numpy as np\nfrom sklearn import svm\nimport cv2, yaml\n"
            "from PIL import Image\nimport helper\nimport pkg.part\nfrom . import x\n"
            "def f():\n    import requests.adapters\n",
            "helper.py": "from google.cloud import storage\nimport google.strange\nimport wandb\n",
            "src/pkg/part.py": "",
            "wandb/run-1/code.py": "import scrapy\n",
            ".venv/lib/x.py": "import scrapy\n",
            "node_modules/x.py": "import scrapy\n",
            "old.py": "print 'python 2'\n",
        },
    )
    assert packages(environment) == [
        "google-cloud-storage",
        "numpy",
        "opencv-python-headless",
        "pillow",
        "pyyaml",
        "requests",
        "scikit-learn",
        "wandb",
    ]
    assert environment.base.language == "python3"
    assert environment.cuda is None
    assert environment.jupyter is None
    assert (
        text
        == """\
# Written by `envd init`; it is yours to change. `envd build` builds the image, `envd up` starts it.


def build():
    base(os="debian12", language="python3")

    # What the code imports; pin versions as pip does: "numpy>=2".
    install.python_packages([
        "google-cloud-storage",
        "numpy",
        "opencv-python-headless",
        "pillow",
        "pyyaml",
        "requests",
        "scikit-learn",
        "wandb",
    ])
"""
    )


def test_imports_that_may_fail_are_not_installed(tmp_path: Path) -> None:
    text, environment = made(
        tmp_path,
        {
            "a.py": "try:\n    import ujson as json\nexcept ImportError:\n    import json\n"
            "try:\n    import six\nexcept ValueError:\n    pass\n"
            "if TYPE_CHECKING:\n    import pandas\nelse:\n    import attr\n"
        },
    )
    assert packages(environment) == ["attrs", "six"]
    assert "not installed:\n    #   ujson\n" in text


def test_notebooks_bring_jupyter(tmp_path: Path) -> None:
    text, environment = made(
        tmp_path,
        {
            "analysis/one.ipynb": notebook(
                "%matplotlib inline\n!pip install -q seaborn==0.13.0\nimport pandas as pd\ndf?\n",
                "%%bash\nimport nothing\n",
                "import polars\n",
            ),
            "broken.ipynb": "{",
        },
    )
    assert packages(environment) == ["pandas", "polars", "seaborn"]
    assert environment.jupyter is not None
    assert "# For analysis/one.ipynb, broken.ipynb: Jupyter starts" in text


def test_requirements_files(tmp_path: Path) -> None:
    text, environment = made(
        tmp_path,
        {
            "requirements.txt": "numpy>=1.20  # arrays\n-r more.txt\n",
            "more.txt": "opencv-python==4.9.0.80\n",
            "requirements-dev.txt": "pytest\n",
            "a.py": "import numpy, cv2, pandas\n",
            "test_a.py": "import pytest\n",
        },
    )
    assert packages(environment) == ["numpy>=1.20", "opencv-python==4.9.0.80"]
    assert 'install.python_packages(requirements="requirements.txt")' in text
    assert '    #     "pandas",  # a.py\n' in text
    assert "#   requirements-dev.txt\n" in text
    assert [r.text for r in environment.apt_packages] == ["libgl1", "libglib2.0-0"]


PYPROJECT = """\
[project]
name = "My_Thing"
version = "1"
requires-python = ">=3.12"
dependencies = ["httpx>=0.27"]
[dependency-groups]
dev = ["pytest"]
"""


def test_pyproject(tmp_path: Path) -> None:
    text, environment = made(
        tmp_path,
        {"pyproject.toml": PYPROJECT, "my_thing/__init__.py": "import httpx\n", "t.py": "import my_thing"},
    )
    assert [i.kind for i in environment.python_inputs] == ["pyproject"]
    # Debian 13 carries 3.13: no other Python has to be brought.
    assert environment.base.os == "debian13"
    assert "# pyproject.toml requires Python >=3.12.\n" in text
    (tmp_path / "uv.lock").write_text("version = 1\n")
    _, locked = made(tmp_path, {})
    assert [i.kind for i in locked.python_inputs] == ["uv.lock"]


def test_a_python_that_no_base_carries(tmp_path: Path) -> None:
    _, environment = made(tmp_path, {".python-version": "3.12.4\n", "a.py": ""})
    assert [(t.name, t.version) for t in environment.toolchains] == [("python", "3.12")]


def test_poetry_and_setup_cfg(tmp_path: Path) -> None:
    _, environment = made(
        tmp_path,
        {
            "pyproject.toml": "[tool.poetry]\nname='x'\n[tool.poetry.dependencies]\npython='^3.9'\n"
            "requests='^2.28.1'\nrich={version='~13.7',extras=['jupyter']}\nclick='*'\n"
            "own={path='../own'}\nflask={version='1',optional=true}\n"
        },
    )
    assert packages(environment) == ["requests>=2.28.1,<3", "rich[jupyter]>=13.7,<13.8", "click"]
    other = tmp_path / "other"
    _, environment = made(
        other, {"setup.cfg": "[options]\npython_requires = >=3.8\ninstall_requires =\n    six\n    idna>=3\n"}
    )
    assert packages(environment) == ["six", "idna>=3"]


def test_conda(tmp_path: Path) -> None:
    text, environment = made(
        tmp_path,
        {
            "environment.yml": "name: x\nchannels: [conda-forge]\ndependencies:\n  - python=3.11\n"
            "  - conda-forge::numpy\n  - pip:\n    - six\n",
            "a.py": "import numpy, six, pandas\n",
        },
    )
    assert 'install.conda_packages(env_file="environment.yml")' in text
    assert environment.base.language == ""
    assert any(request.text.endswith("numpy") for request in environment.conda_packages)
    assert '#     "pandas",  # a.py' in text


@pytest.mark.parametrize(
    ("files", "cuda"),
    [
        ({"requirements.txt": "torch==2.1.0+cu118\n"}, "11.8"),
        ({"requirements.txt": "torch==2.3.1+cu121\n"}, "12.1"),
        ({"requirements.txt": "jax[cuda12]\n"}, "12.9"),
        ({"requirements.txt": "tensorflow[and-cuda]\n"}, "12.9"),
        ({"requirements.txt": "vllm\n"}, "12.9"),
        ({"a.py": "import torch\nm = torch.nn.Linear(1, 1).cuda()\n"}, "12.9"),
        ({"a.py": "import torch\nd = 'cuda' if torch.cuda.is_available() else 'cpu'\n"}, "12.9"),
        ({"a.py": "import tensorflow as tf\ntf.config.list_physical_devices('GPU')\n"}, "12.9"),
        ({"a.py": "import torch\n"}, None),
        ({"a.py": "x = 'cuda'\n"}, None),
    ],
)
def test_cuda(tmp_path: Path, files: dict[str, str], cuda: str | None) -> None:
    _, environment = made(tmp_path, files)
    assert (environment.cuda.version if environment.cuda else None) == cuda


def test_other_languages(tmp_path: Path) -> None:
    text, environment = made(
        tmp_path / "mixed",
        {
            "a.py": "import numpy\n",
            "package.json": '{"engines": {"node": ">=20"}}',
            "go.mod": "module x\n\ngo 1.22.1\n",
            "Cargo.toml": "[package]\n",
            "rust-toolchain.toml": '[toolchain]\nchannel = "1.75.0"\n',
        },
    )
    assert [(t.name, t.version) for t in environment.toolchains] == [
        ("nodejs", "20"),
        ("go", "1.22"),
        ("rust", "1.75.0"),
    ]
    assert 'install.go(version="1.22")  # go.mod' in text
    _, environment = made(
        tmp_path / "r",
        {"a.R": "library(ggplot2)\nrequire('dplyr')  # library(no)\nstats::sd(x)\ntidyr::nest(x)\n"},
    )
    assert environment.base.language == "r"
    assert [r.text for r in environment.r_packages] == ["dplyr", "ggplot2", "tidyr"]
    _, environment = made(
        tmp_path / "description",
        {
            "DESCRIPTION": "Package: x\nDepends: R (>= 4.0), methods\nImports:\n    jsonlite (>= 1.0),\n"
            "    cli\n"
        },
    )
    assert [r.text for r in environment.r_packages] == ["cli", "jsonlite"]
    _, environment = made(
        tmp_path / "julia",
        {"a.jl": "using DataFrames, Query\nusing CSV: File\nimport Plots.PlotMeasures\nusing Random\n"},
    )
    assert environment.base.language == "julia"
    assert [r.text for r in environment.julia_packages] == ["CSV", "DataFrames", "Plots", "Query"]
    _, environment = made(tmp_path / "go", {"go.mod": "module x\n"})
    assert environment.base.language == ""


def test_nothing_known_is_a_python(tmp_path: Path) -> None:
    text, environment = made(tmp_path, {"README": "hello"})
    assert text.endswith('    base(os="debian12", language="python3")\n')
    assert environment.base.language == "python3"
    _, chosen = made(tmp_path, {}, "r")
    assert chosen.base.language == "r"


def test_hostile_files_do_not_stop_it(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "x.py").write_bytes(b"\xff\xfe\x00import numpy")
    project(
        tmp_path,
        {
            "pyproject.toml": "not toml",
            "setup.cfg": "[[",
            "environment.yml": "a: [",
            "renv.lock": "{",
            "package.json": "[]",
            "deep.py": "(" * 2000,
            "Project.toml": "=",
            "null.py": "a = '\0'",
            "requirements.txt": "-r requirements.txt\n",
            "n.ipynb": '{"cells": [{"cell_type": "code"}]}',
        },
    )
    choice = decide(tmp_path)
    assert choice.source == ("requirements", "requirements.txt")
    assert "def build():" in spec(choice)


@pytest.mark.parametrize(
    ("poetry", "pep440"),
    [
        ("^1.2.3", ">=1.2.3,<2"),
        ("^0.2.3", ">=0.2.3,<0.3"),
        ("^0.0.3", ">=0.0.3,<0.0.4"),
        ("^0", ">=0,<1"),
        ("~1.2.3", ">=1.2.3,<1.3"),
        ("~1", ">=1,<2"),
        ("*", ""),
        ("1.2", "==1.2"),
        (">=1", ">=1"),
    ],
)
def test_poetry_constraints(poetry: str, pep440: str) -> None:
    assert _constraint(poetry) == pep440


def test_the_python_of_a_specifier() -> None:
    candidates = ["3.11", "3.13", "3.9"]
    assert python_for(">=3.8", candidates) == "3.11"
    assert python_for(">=3.11.4", candidates) == "3.11"
    assert python_for("<3.11", candidates) == "3.9"
    assert python_for("==3.12.*", candidates) is None
    assert python_for("nonsense", candidates) == "3.11"


def test_the_table_holds_only_what_differs() -> None:
    for module, name in DISTRIBUTIONS.items():
        assert "." in module or name != module.replace("_", "-").lower(), module
        assert distribution(f"{module}.anything.below") == name
