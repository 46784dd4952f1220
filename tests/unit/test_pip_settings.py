"""pip's settings as pip itself takes them, and uv's; what is made of both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.net import machine, pip_settings, uv_settings
from engine.net.pip_settings import PipSettings
from engine.net.uv_settings import UvSettings

# What the real pip's `install` makes of its settings.
ASK = """
import json
from pip._internal.commands import create_command
found = create_command("install").parser.get_default_values()
print(json.dumps([found.index_url, found.extra_index_urls, found.find_links, found.no_index,
                  found.trusted_hosts, found.proxy]))
"""
Files = Mapping[str, str]
A, B, C = "http://a.example/simple", "http://b.example/simple", "http://c.example/simple"

CASES: dict[str, tuple[Files, Mapping[str, str], str]] = {
    "nothing": ({}, {}, ""),
    "global section": ({"home/.config/pip/pip.conf": f"[global]\nindex-url = {A}\n"}, {}, A),
    "install section": ({"home/.config/pip/pip.conf": f"[install]\nindex-url = {A}\n"}, {}, A),
    "install wins": (
        {"home/.config/pip/pip.conf": f"[install]\nindex-url={A}\n[global]\nindex-url={B}\n"},
        {},
        A,
    ),
    "install of a weaker file wins": (
        {
            "etc/pip/pip.conf": f"[install]\nindex-url = {A}\n",
            "prefix/pip.conf": f"[global]\nindex-url = {B}\n",
        },
        {},
        A,
    ),
    "another command's": ({"home/.config/pip/pip.conf": f"[download]\nindex-url = {A}\n"}, {}, ""),
    "global, user, site": (
        {
            "etc/pip/pip.conf": f"[global]\nindex-url = {A}\n",
            "home/.config/pip/pip.conf": f"[global]\nindex-url = {B}\n",
            "prefix/pip.conf": f"[global]\nindex-url = {C}\n",
        },
        {},
        C,
    ),
    "global, user": (
        {
            "etc/pip/pip.conf": f"[global]\nindex-url = {A}\n",
            "home/.config/pip/pip.conf": f"[global]\nindex-url = {B}\n",
        },
        {},
        B,
    ),
    "legacy": ({"home/.pip/pip.conf": f"[global]\nindex_url = {A}\n"}, {}, A),
    "new over legacy": (
        {
            "home/.pip/pip.conf": f"[global]\nindex-url = {A}\n",
            "home/.config/pip/pip.conf": f"[global]\nindex-url = {B}\n",
        },
        {},
        B,
    ),
    "XDG_CONFIG_HOME": (
        {"xdg/pip/pip.conf": f"[global]\nindex-url = {A}\n"},
        {"XDG_CONFIG_HOME": "{}/xdg"},
        A,
    ),
    "PIP_CONFIG_FILE": (
        {
            "own.conf": f"[global]\nindex-url = {A}\n",
            "home/.config/pip/pip.conf": f"[global]\nextra-index-url = {C}\n",
            "prefix/pip.conf": f"[global]\nindex-url = {B}\n",
        },
        {"PIP_CONFIG_FILE": "{}/own.conf"},
        A,
    ),
    "PIP_CONFIG_FILE is not there": (
        {"home/.config/pip/pip.conf": f"[global]\nindex-url = {B}\n"},
        {"PIP_CONFIG_FILE": "{}/own.conf"},
        B,
    ),
    "PIP_CONFIG_FILE=/dev/null": (
        {"home/.config/pip/pip.conf": f"[global]\nindex-url = {B}\n"},
        {"PIP_CONFIG_FILE": "/dev/null"},
        "",
    ),
    "variable": ({"prefix/pip.conf": f"[install]\nindex-url = {B}\n"}, {"PIP_INDEX_URL": A}, A),
    "empty variable": ({"prefix/pip.conf": f"[install]\nindex-url = {B}\n"}, {"PIP_INDEX_URL": ""}, B),
    "old names": ({"prefix/pip.conf": f"[global]\npypi-url = {A}\n"}, {}, A),
    "lists": (
        {
            "prefix/pip.conf": f"[global]\nindex-url = {A}\nextra-index-url =\n    {B}\n    {C}\n"
            "trusted-host = a.example b.example:8443\nproxy = http://p:1\n"
            f"[install]\nfind-links = {C} {B}\n"
        },
        {},
        A,
    ),
    "a list is replaced": (
        {"prefix/pip.conf": f"[global]\nextra-index-url = {A}\n[install]\nextra-index-url = {B}\n"},
        {"PIP_EXTRA_INDEX_URL": f"{C} {A}"},
        "",
    ),
    "no index": ({"prefix/pip.conf": "[global]\nno-index = on\n"}, {"PIP_NO_INDEX": "false"}, ""),
    "no index, variable": ({"prefix/pip.conf": "[global]\nno-index = off\n"}, {"PIP_NO_INDEX": "1"}, ""),
}


def world(place: Path, files: Files, given: Mapping[str, str]) -> dict[str, str]:
    """The files, and the environment in which they are pip's."""
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    (place / "home").mkdir(exist_ok=True)
    (place / "prefix").mkdir(exist_ok=True)
    plain = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("PIP_", "UV_", "XDG_")) and not k.lower().endswith("_proxy")
    }
    return (
        plain
        | {"HOME": str(place / "home"), "XDG_CONFIG_DIRS": str(place / "etc")}
        | {name: value.replace("{}", str(place)) for name, value in given.items()}
    )


@pytest.mark.parametrize("case", CASES)
def test_settings_as_pip_takes_them(case: str, tmp_path: Path) -> None:
    files, given, index = CASES[case]
    environment = world(tmp_path, files, given)
    found = pip_settings.read(environment, tmp_path / "prefix")
    assert not index or found.index == index  # the machine's own /etc/pip.conf may have one
    script = f"import sys; sys.prefix = {str(tmp_path / 'prefix')!r}\n{ASK}"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    url, extra, links, no_index, trusted, proxy = json.loads(done.stdout)
    assert (found.index or machine.PYPI) == url
    assert [list(found.extra), list(found.links), found.no_index] == [extra, links, bool(no_index)]
    assert [list(found.trusted), found.proxy] == [trusted, proxy or ""]


def test_they_are_read_where_there_is_no_pip(tmp_path: Path) -> None:
    """As in what `uv tool install` makes."""
    environment = world(tmp_path, {"home/.config/pip/pip.conf": f"[install]\nindex-url = {A}\n"}, {})
    script = (
        "import sys; sys.modules['pip'] = None\nfrom engine.net import machine\n"
        "print(machine.current().index)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == A


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("index-url = x\n", "not a file of pip's settings: .*no section headers"),
        ("[global]\nindex-url = x\nindex-url = y\n", "not a file of pip's settings: .*already exists"),
        ("[global]\nno-index = perhaps\n", "no-index = perhaps: neither yes nor no"),
    ],
)
def test_a_file_that_pip_refuses_is_refused(tmp_path: Path, text: str, says: str) -> None:
    environment = world(tmp_path, {"home/.config/pip/pip.conf": text}, {})
    with pytest.raises(UsageError, match=says) as caught:
        pip_settings.read(environment, tmp_path / "prefix")
    assert str(caught.value).startswith(f"{tmp_path}/home/.config/pip/pip.conf: ")


def test_what_is_of_use_here_alone_is_not_taken(tmp_path: Path) -> None:
    text = f"[global]\nextra-index-url = file:///srv/simple {B}\nfind-links = wheels\npre = true\n"
    environment = world(tmp_path, {"prefix/pip.conf": text}, {"PIP_CONSTRAINT": "c.txt"})
    found = pip_settings.read(environment, tmp_path / "prefix")
    where = f"({tmp_path}/prefix/pip.conf)"
    assert (found.extra, found.links) == ((B,), ())
    assert found.not_taken == (
        "constraint (PIP_CONSTRAINT)",
        f"pre {where}",
        f"extra-index-url = file:///srv/simple {where}",
        f"find-links = wheels {where}",
    )
    # In the index's place nothing else may be asked.
    alone = pip_settings.read(environment | {"PIP_NO_INDEX": "1"}, tmp_path / "prefix")
    assert alone.links == (f"{Path.cwd()}/wheels",) and alone.no_index


def test_uv_settings(tmp_path: Path) -> None:
    own = f"""
        index-strategy = "unsafe-first-match"
        exclude-newer = "2024-01-01"
        find-links = ["{C}", "/srv/wheels"]
        [[index]]
        name = "corp"
        url = "{A}"
        [[index]]
        url = "http://explicit.example/simple"
        name = "explicit"
        explicit = true
        [pip]
        no-index = false
    """
    shared = f"""
        allow-insecure-host = ["a.example"]
        extra-index-url = ["{C}"]
        [[index]]
        url = "{B}"
        default = true
    """
    environment = world(tmp_path, {"home/.config/uv/uv.toml": own, "etc/uv/uv.toml": shared}, {})
    found = uv_settings.read(environment)
    assert found == UvSettings(
        index=B,
        extra=(f"corp={A}", C),
        links=(C,),
        trusted=("a.example",),
        strategy="unsafe-first-match",
        not_taken=(
            f"exclude-newer ({tmp_path}/home/.config/uv/uv.toml)",
            f"/srv/wheels ({tmp_path}/home/.config/uv/uv.toml)",
        ),
    )
    assert found.urls == (B, A, C, C)
    assert uv_settings.read(environment | {"UV_NO_CONFIG": "1"}) == UvSettings()
    (tmp_path / "home/.config/uv/uv.toml").write_text("index = 7")
    with pytest.raises(UsageError, match=r"uv\.toml.*not uv's settings as uv has them"):
        uv_settings.read(environment)
    (tmp_path / "home/.config/uv/uv.toml").write_text("index = [")
    with pytest.raises(UsageError, match=r"uv\.toml: uv's settings cannot be read"):
        uv_settings.read(environment)


def test_uv_comes_before_pip() -> None:
    pip = PipSettings(index=A, extra=(B,), trusted=("a.example",), proxy="http://p:1")
    assert machine.merged({}, UvSettings(), pip) == machine.Machine(
        index=A,
        extra=(B,),
        strategy="unsafe-best-match",
        trusted=("a.example",),
        proxy="http://p:1",
        known=(A, B),
    )
    for environment, uv in (({"UV_DEFAULT_INDEX": C}, UvSettings()), ({}, UvSettings(index=C))):
        found = machine.merged(environment, uv, pip)
        assert (found.index, found.extra, found.strategy) == (C, (), "")
        assert found.known == (C, A, B)  # for their logins
    beside = machine.merged({"UV_INDEX": f"corp={C}"}, UvSettings(), pip)
    assert (beside.index, beside.extra) == (A, (f"corp={C}", B))
    told = machine.merged({"UV_INDEX_STRATEGY": "first-index"}, UvSettings(), pip)
    assert told.strategy == "first-index"
