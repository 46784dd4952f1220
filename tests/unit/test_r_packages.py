"""R packages and R itself: versions, what is chosen, and what is said when nothing fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.ecosystems.debian.apt import Apt
from engine.ecosystems.debian.system import System
from engine.ecosystems.r import builder as rpackage
from engine.ecosystems.r import cran, cran_versions
from engine.ecosystems.r import resolver as r
from engine.errors import ResolveError, UsageError
from engine.lock.model import Lock, LockedBase
from engine.lock.packages import LockedFile, RSource
from engine.sections import registry
from engine.sections.r import needed
from grammar.environment import Base, Environment, Position, Request, Toolchain
from grammar.errors import SpecError

AT = Position("build.envd", 4, 9)
SYSTEM = System("debian12", "debian12", None, "2.36", "3.11")
TARGET = cran.Target("debian12", "4.2.2", {"stats": "4.2.2", "MASS": "7.3-58"})

INDEX = """\
Package: top
Version: 1.0
Imports: middle (>= 1.0), stats, MASS (>= 7.3)

Package: middle
Version: 2.0
Depends: R (>= 4.0.0), low

Package: middle
Version: 1.5
Imports: low

Package: strict
Version: 1.0
Imports: middle (< 2.0),
  low

Package: low
Version: 0.10-2

Package: low
Version: 0.9

Package: new
Version: 3.0
Depends: R (>= 4.3)

Package: MASS
Version: 7.3-65
Depends: R (>= 4.4.0)

Package: fussy
Version: 1.0
Imports: MASS (>= 7.3-60)

Package: elsewhere
Version: 1.0
OS_type: windows
"""


def solved(*names: str) -> dict[str, str]:
    requests = [Request(name, AT) for name in names]
    chosen = cran_versions.solve(requests, cran.Index(INDEX), TARGET, "http://cran")
    return {name: entry.version for name, (entry, _) in chosen.items()}


def test_versions_are_compared_as_r_does() -> None:
    assert cran.Dependency("x", ">=", "0.9").allows("0.10-2")
    assert not cran.Dependency("x", ">", "1.0").allows("1.0")
    assert cran.Dependency("x", ">=", "1.5-3").allows("1.5.3")
    assert cran.Dependency("x", "<", "1.0").allows("0.99.9")


def test_the_newest_that_all_allow() -> None:
    assert solved("top") == {"top": "1.0", "middle": "2.0", "low": "0.10-2"}
    # what is asked later still counts
    assert solved("top", "strict") == {"top": "1.0", "strict": "1.0", "middle": "1.5", "low": "0.10-2"}
    assert solved("MASS") == {}


SEVERAL = """\
Package: top
Version: 2.0
Imports: low (>= 3.0), side

Package: top
Version: 1.0
Imports: low

Package: side
Version: 1.0
Imports: low (< 3.0)

Package: low
Version: 3.0
Imports: gone

Package: low
Version: 2.0

Package: loop
Version: 1.0
Imports: pool (>= 1.0)

Package: pool
Version: 1.0
Imports: loop

Package: stale
Version: 1.0
Imports: low (>= 9.0), gone
"""


def test_going_back_where_the_newest_do_not_go_together() -> None:
    """Where a repository has several versions: one that fits is found."""

    def chosen(*names: str) -> dict[str, str]:
        requests = [Request(name, AT) for name in names]
        found = cran_versions.solve(requests, cran.Index(SEVERAL), TARGET, "http://cran")
        return {name: entry.version for name, (entry, _) in sorted(found.items())}

    assert chosen("top", "side") == {"low": "2.0", "side": "1.0", "top": "1.0"}
    assert chosen("side", "low") == {"low": "2.0", "side": "1.0"}
    assert chosen("loop") == {"loop": "1.0", "pool": "1.0"}
    with pytest.raises(ResolveError) as caught:
        chosen("stale", "nowhere")
    assert [line.partition(": ")[2] for line in str(caught.value).splitlines()] == [
        "no R package 'gone', which stale 1.0 needs in http://cran; it may come from another "
        "repository (Bioconductor's, say), which envd cannot add",
        "no version of low does: stale 1.0 needs low >= 9.0; http://cran has 3.0, 2.0",
        "no R package 'nowhere' in http://cran",
    ]


def test_an_earlier_locks_versions_stay_where_they_fit() -> None:
    def kept(name: str, *old: RSource) -> dict[str, str]:
        index = cran.Index(INDEX, old)
        chosen = cran_versions.solve([Request(name, AT)], index, TARGET, "http://cran")
        return {name: entry.version for name, (entry, _) in chosen.items()}

    # CRAN's own index has it no longer
    gone = replace(package("middle", "low>=0.5 R>=4.0"), version="1.8")
    assert kept("top", gone) == {"top": "1.0", "middle": "1.8", "low": "0.10-2"}
    assert kept("top", gone, replace(package("low"), version="0.9"))["low"] == "0.9"
    assert kept("strict", replace(gone, version="2.0"))["middle"] == "1.5"
    assert kept("top", replace(gone, depends="R>=99"))["middle"] == "2.0"
    entry = cran.of_lock(gone)
    assert [str(d) for d in entry.dependencies] == ["low >= 0.5", "R >= 4.0"]
    assert entry.url("http://elsewhere") == gone.file.url


def test_logins_stay_out_of_the_lock_and_come_back_with_the_plan(tmp_path: Path) -> None:
    environment = Environment(
        base=Base(language="r"), r_packages=(Request("a"),), cran_mirror="https://ann:secret@cran.example/r"
    )
    assert registry.requests_of(environment)["r"] == ("a", "mirror=https://cran.example/r")
    row = package("a")
    row = replace(row, file=replace(row.file, url="https://cran.example/r/src/contrib/a_1.0.tar.gz"))
    lock = registry.located(environment, Lock(LockedBase("", ""), packages={"r": (row,)}), tmp_path)
    assert lock["r"][0].file.url == "https://ann:secret@cran.example/r/src/contrib/a_1.0.tar.gz"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("new", r"build.envd:4:9: new 3.0 needs R >= 4.3; debian12 has R 4.2.2: take a newer base"),
        ("fussy", r"MASS 7.3-65, which fussy 1.0 needs, needs R >= 4.4.0"),
        ("elsewhere", r"no R package 'elsewhere'"),
        ("midle", r"did you mean 'middle'\?"),
    ],
)
def test_what_is_said_when_nothing_fits(name: str, says: str) -> None:
    with pytest.raises(ResolveError, match=says):
        solved(name)


def package(name: str, depends: str = "", *, compiled: bool = False) -> RSource:
    file = LockedFile(f"{name}_1.0.tar.gz", f"http://cran/src/contrib/{name}_1.0.tar.gz", "ab" * 32)
    return RSource(name, "1.0", file, depends=depends or None, compiled=compiled)


def test_a_package_stands_on_what_it_needs_and_no_more() -> None:
    packages = [package("a", "b"), package("b", "c"), package("c"), package("d")]
    layers = {d.name: d for d in rpackage.derivations(packages, ())}
    below = {name: [i.derivation.name for i in d.inputs if i.role == "layer"] for name, d in layers.items()}
    assert below == {"r-c-1.0": [], "r-b-1.0": ["r-c-1.0"], "r-a-1.0": ["r-c-1.0", "r-b-1.0"], "r-d-1.0": []}
    with pytest.raises(UsageError, match="needs itself"):
        rpackage.derivations([package("a", "b"), package("b", "a")], ())


def test_many_packages_are_grouped() -> None:
    many = [package(f"p{n:03}") for n in range(100)]
    layers = rpackage.derivations(many, ())
    assert len(layers) <= rpackage.MAX_SINGLE
    assert layers[0].name.startswith("r-packages-")


@pytest.fixture
def lists(tmp_path: Path) -> Apt:
    (tmp_path / "lists").mkdir()
    rows = [
        ("r-base-core", "4.2.2.20221110-2"),
        ("r-base-core", "4.4.1-1~bookwormcran.0"),
        ("r-cran-mass", "7.3-58.2-1"),
        ("r-cran-nlme", "3.1.162-1"),
    ]
    text = "\n\n".join(f"Package: {name}\nVersion: {version}" for name, version in rows)
    (tmp_path / "lists/mirror_Packages").write_text(text)
    return Apt(tmp_path)


def test_which_r(lists: Apt) -> None:
    def version(asked: str) -> str:
        environment = Environment(base=Base(language=f"r{asked}", position=AT))
        (request, _) = r.requests(lists, environment, SYSTEM, registry.debs_of(environment))
        return request.text

    assert version("") == "r-base-core"
    assert version("4.2") == "r-base-core=4.2.2.20221110-2"
    assert version("4") == version("4.4.1") == "r-base-core=4.4.1-1~bookwormcran.0"
    with pytest.raises(ResolveError, match=r"build.envd:4:9: .*carry R 4.2.2, 4.4.1, not 4.5; deb"):
        version("4.5")
    image = replace(SYSTEM, status="Package: r-base-core\nVersion: 4.1.0-3\n")
    environment = Environment(base=Base(language="r"))
    assert r.version_of(lists, environment, image, ()) == "4.1.0"
    assert r.version_of(lists, environment, SYSTEM, ()) == "4.4.1"
    assert r.provided(lists, "4.2.2")["MASS"] == "7.3-58.2"
    assert cran.Dependency("nlme", ">=", "3.1-160").allows(r.provided(lists, "4.2.2")["nlme"])


def test_calls_that_need_a_language_say_so() -> None:
    asked = Environment(r_packages=(Request("x", AT),), julia_packages=(Request("Y", AT),), rstudio_server=AT)
    with pytest.raises(SpecError) as caught:
        registry.check(asked)
    assert str(caught.value).count("build.envd:4:9") == 3
    registry.check(Environment(toolchains=(Toolchain("r"),), r_packages=(Request("x"),)))
    clash = Environment(base=Base(language="r4.2"), toolchains=(Toolchain("r", "4.3"),))
    with pytest.raises(SpecError, match="differ"):
        registry.check(clash)


def test_compilers_come_with_the_first_compiled_package() -> None:
    base = LockedBase("debootstrap", "debian12")
    assert needed(Lock(base, packages={"r": (package("a"),)})) == ()
    assert needed(Lock(base, packages={"r": (package("a", compiled=True),)})) == ("r-base-dev",)
