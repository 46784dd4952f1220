"""The options of a build are one record, and what `envd up` hands to `envd build` is all of it."""

from __future__ import annotations

from dataclasses import fields

import pytest

from engine.app.options import BuildOptions
from engine.cli.build import build
from engine.realise.secrets import Source

EVERYTHING = BuildOptions(
    tags=("a:1", "b:2"),
    outputs=("oci:x.tar",),
    load=False,
    locked=True,
    force=True,
    jobs=3,
    dev=True,
    secrets=(Source("token", "env", "ENVD_TEST_TOKEN"),),
    progress="json",
    publish=True,
    imports=("type=local,src=x", "h.io/a:b"),
    exports=("type=local,dest=x",),
    sources=True,
)


@pytest.mark.parametrize("options", [EVERYTHING, BuildOptions(), BuildOptions(jobs=1, dev=True)])
def test_arguments_say_all_of_it(options: BuildOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVD_TEST_TOKEN", "x")
    given = build.make_context("build", options.arguments()).params
    assert (
        BuildOptions(
            load=not given["no_load"],
            **{f.name: given[f.name] for f in fields(BuildOptions) if f.name != "load"},
        )
        == options
    )


def test_the_case_has_every_option() -> None:
    for field in fields(BuildOptions):
        assert getattr(EVERYTHING, field.name) != field.default
