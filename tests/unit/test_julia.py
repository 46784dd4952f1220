"""Julia's packages: versions, the choice among them, artifacts, manifests, slugs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import pytest

from engine.ecosystems.julia import builder
from engine.ecosystems.julia import resolver as julia
from engine.ecosystems.julia import solver as juliapkg
from engine.ecosystems.julia.registry import Package, Registries
from engine.ecosystems.julia.versions import Ranges, Version
from engine.errors import ResolveError
from engine.lock.packages import LockedFile, LockedPackage
from grammar.environment import Position, Request
from tests.rows import package as package_row

AT = Position("build.envd", 5, 9)
V = Version.parse


def uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def test_versions_in_their_order() -> None:
    texts = ["0.9.10", "1.0.0-alpha.2", "1.0.0-alpha.10", "1.0.0-rc1", "1.0.0", "1.0.0+1", "1.2.0"]
    assert sorted(map(V, reversed(texts))) == [V(t) for t in texts]
    assert [str(V(t)) for t in texts] == texts
    with pytest.raises(ValueError, match="not a valid version"):
        V("1.2")


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("1.2", "1.2.0 1.2.99", "1.1.9 1.3.0"),
        ("0.5-1", "0.5.0 0.9.3 1.99.0", "0.4.9 2.0.0"),
        ("1.6.0 - 1", "1.6.0 1.10.4", "1.5.4 2.0.0"),
        ("0.3.2-0.3", "0.3.2 0.3.9", "0.3.1 0.4.0"),
        ("*", "0.0.1 9.9.9", ""),
    ],
)
def test_ranges(text: str, inside: str, outside: str) -> None:
    ranges = Ranges.parse(text)
    assert all(V(v) in ranges for v in inside.split())
    assert not any(V(v) in ranges for v in outside.split())


def package(number: int, name: str, **files: str) -> Package:
    return Package(name, uuid(number), {f"{k}.toml": v.encode() for k, v in files.items()})


def versions(*texts: str) -> str:
    return "".join(f'["{t}"]\ngit-tree-sha1 = "{n:040x}"\n' for n, t in enumerate(texts))


LIBRARY = {uuid(99): "Random"}
REGISTRIES = Registries(
    {
        p.uuid: p
        for p in (
            package(
                1,
                "Top",
                Versions=versions("1.0.0", "1.1.0"),
                Deps=f'[1]\nLow = "{uuid(2)}"\nRandom = "{uuid(99)}"\n',
                Compat='["1.0"]\nLow = "0.1-0.2"\njulia = "1"\n["1.1"]\nLow = ["0.2", "0.3"]\n',
            ),
            package(
                2,
                "Low",
                Versions=versions("0.1.0", "0.2.0", "0.3.0", "0.4.0"),
                Compat='["0.4"]\njulia = "1.9-1"\n',
            ),
            package(
                3,
                "Old",
                Versions=versions("2.0.0"),
                Deps=f'[2]\nLow = "{uuid(2)}"\n',
                Compat='[2]\nLow = "0.1"\n',
            ),
            package(4, "Gone", Versions=versions("1.0.0") + "yanked = true\n"),
            package(
                5,
                "Ext",
                Versions=versions("1.0.0", "1.1.0"),
                WeakDeps=f'[1]\nLow = "{uuid(2)}"\n',
                WeakCompat='["1.1"]\nLow = "0.4"\n',
            ),
            package(6, "Twin", Versions=versions("1.0.0")),
            package(7, "Twin", Versions=versions("1.0.0")),
        )
    }
)


def solved(*names: str, version: str = "1.5.3") -> dict[str, str]:
    requests = [Request(name, AT) for name in names]
    chosen = juliapkg.solve(requests, REGISTRIES, juliapkg.Julia(V(version), LIBRARY))
    return {c.package.name: str(c.version) for c in chosen}


def test_the_newest_that_go_together() -> None:
    assert solved("Low") == {"Low": "0.3.0"}  # 0.4 wants a newer Julia
    assert solved("Low", version="1.10.0") == {"Low": "0.4.0"}
    assert solved("Top", version="1.10.0") == {"Top": "1.1.0", "Low": "0.3.0"}
    assert solved("Top", "Old") == {"Top": "1.0.0", "Low": "0.1.0", "Old": "2.0.0"}  # goes back
    assert solved("Low@0.2", "Random") == {"Low": "0.2.0"}
    # 1.1 extends Low 0.4 only
    assert solved("Ext", "Low") == {"Ext": "1.0.0", "Low": "0.3.0"}


def test_an_earlier_locks_versions_stay_where_they_fit() -> None:
    def kept(*names: str) -> dict[str, str]:
        requests = [Request(name, AT) for name in names]
        chosen = juliapkg.solve(
            requests, REGISTRIES, juliapkg.Julia(V("1.5.3"), LIBRARY), {uuid(2): V("0.2.0")}
        )
        return {c.package.name: str(c.version) for c in chosen}

    assert kept("Low") == {"Low": "0.2.0"}
    assert kept("Top") == {"Top": "1.1.0", "Low": "0.2.0"}
    assert kept("Low@0.3") == {"Low": "0.3.0"}


def test_malformed_registries_are_named() -> None:
    for files in (
        {"Versions": '["1"]\ngit-tree-sha1 = "a"\n'},
        {"Versions": "["},
        {"Versions": versions("1.0.0"), "Compat": '["x"]\njulia = "1"\n'},
        {"Versions": versions("1.0.0"), "Compat": "[1]\njulia = 1\n"},
    ):
        bad = package(1, "Bad", **files)
        with pytest.raises(ResolveError, match=r"the registry's \w+.toml of Bad is malformed"):
            juliapkg.usable(bad, juliapkg.Julia(V("1.5.3"), LIBRARY))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("Topp", r"build.envd:5:9: no Julia package 'Topp' in the registry; did you mean 'Top'\?"),
        ("Twin", r"the registries have several packages 'Twin'"),
        ("Old Low@0.3", r"Old 2.0.0 needs Low 0.1; you ask for Low 0.3|you ask for Low 0.3; Old"),
        ("Low@0.4", r"you ask for Low 0.4; for Julia 1.5.3 there is Low 0.3.0, 0.2.0, 0.1.0"),
        ("Gone", r"no version of Gone is for Julia 1.5.3"),
    ],
)
def test_what_is_said_when_nothing_fits(names: str, says: str) -> None:
    with pytest.raises(ResolveError, match=says):
        solved(*names.split())


def test_artifacts_for_this_platform() -> None:
    listing = tomllib.loads(
        """
        [[lib]]
        arch = "x86_64"
        os = "linux"
        libc = "glibc"
        git-tree-sha1 = "good"
        [[lib]]
        arch = "x86_64"
        os = "linux"
        libc = "glibc"
        sanitize = "memory"
        git-tree-sha1 = "special"
        [[lib]]
        arch = "x86_64"
        os = "linux"
        libc = "musl"
        git-tree-sha1 = "musl"
        [[old]]
        os = "linux"
        julia_version = "1.6.0"
        git-tree-sha1 = "six"
        [[old]]
        os = "linux"
        julia_version = "1.10.0"
        git-tree-sha1 = "ten"
        [data]
        git-tree-sha1 = "any"
        [later]
        git-tree-sha1 = "lazy"
        lazy = true
        [[mac]]
        os = "macos"
        git-tree-sha1 = "mac"
        """
    )
    found = julia.needed_artifacts(listing, "1.10.4")
    assert {n: r["git-tree-sha1"] for n, r in found.items()} == {"lib": "good", "old": "ten", "data": "any"}


def test_slugs_are_those_of_julia() -> None:
    # Example.jl 0.5.3, as every Julia since 1.0 puts it
    assert (
        builder.slug("7876af07-990d-54b4-ab0e-23690620f79a", "46e44e869b4d90b96bd8ed1fdcf32244fddfb6cc")
        == "aqsx3"
    )


PACKAGES: list[Mapping[str, str]] = [
    {
        "name": "A",
        "version": "1.0.0",
        "uuid": uuid(1),
        "tree": "a" * 40,
        "deps": f"B={uuid(2)} Test={uuid(98)}",
        "weakdeps": f'{{"B": "{uuid(2)}"}}',
        "extensions": '{"ABExt": "B"}',
    },
    {"name": "B", "version": "2.0.0", "uuid": uuid(2), "tree": "b" * 40},
]
STANDARD: dict[str, dict[str, Any]] = {
    "Test": {"uuid": uuid(98), "deps": {"Random": uuid(99)}},
    "Random": {"uuid": uuid(99)},
    "Unused": {"uuid": uuid(97)},
}


def test_manifests_list_what_is_needed_of_the_standard_library() -> None:
    table = builder.manifest(PACKAGES, STANDARD, ["A"])
    assert list(table) == ["A", "B", "Random", "Test"]
    assert table["A"] == [
        {
            "git-tree-sha1": "a" * 40,
            "uuid": uuid(1),
            "version": "1.0.0",
            "deps": ["B", "Test"],
            "weakdeps": {"B": uuid(2)},
            "extensions": {"ABExt": "B"},
        }
    ]
    assert table["Test"] == [{"uuid": uuid(98), "deps": ["Random"]}]
    new, old = (builder.manifest_text(v, table) for v in ("1.10.4", "1.5.3"))
    assert tomllib.loads(new) == {"julia_version": "1.10.4", "manifest_format": "2.0", "deps": table}
    assert tomllib.loads(old) == table
    assert 'deps = ["B", "Test"]\n' in old  # Julia 1.5 reads it line by line


def locked(kind: str, name: str, version: str, **extra: str) -> LockedPackage:
    return package_row(
        kind, name, version, LockedFile(f"{name}.tar.gz", f"http://j/{name}", "ab" * 32), **extra
    )


def test_packages_are_siblings() -> None:
    rows = [
        locked("tool", "julia", "1.10.4"),
        locked("julia-package", "A", "1.0.0", uuid=uuid(1), tree="a" * 40),
        locked("julia-artifact", "lib", "c" * 40),
    ]
    layers = builder.derivations(rows, [Request("A")])
    below = {d.name: [i.derivation.name for i in d.inputs if i.role == "layer"] for d in layers}
    assert below == {
        "julia-1.10.4": [],
        "A.jl-1.0.0": [],
        "lib-artifact-cccccccc": [],
        "julia-environment": ["julia-1.10.4"],
    }
    assert [d.name for d in builder.derivations(rows[:1], ())] == ["julia-1.10.4"]
    assert builder.derivations((), ()) == []
    assert builder.variables(rows, None)["JULIA_DEPOT_PATH"].startswith("~/.julia:")
    assert builder.variables(rows[:1], "http://s") == {"JULIA_PKG_SERVER": "http://s"}
