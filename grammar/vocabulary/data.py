"""`data.*`: where data sets live."""

from __future__ import annotations

import re
from collections.abc import Mapping

from grammar.errors import SpecError
from grammar.vocabulary.signature import Api, Given, Parameter
from grammar.vocabulary.state import DataSource, State

# Where well-known libraries keep what they download (tensorchord/envd, data.path).
PATHS: Mapping[str, str] = {"huggingface": "~/.cache/huggingface", "dgl": "~/.dgl"}


def _envd(state: State, given: Given) -> DataSource:
    name = str(given["name"])
    # Docker's own rule for a volume's name.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise SpecError(f"'{name}' is not a valid name of a data source", given.at("name"))
    return DataSource(name)


APIS = (
    Api(
        "data.envd",
        (Parameter("name", about="the volume's name"),),
        _envd,
        "A named volume that is kept between environments, for `runtime.mount`.",
    ),
)
