"""`data.*`: where data sets live."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from grammar.api.signature import Api, Given, Parameter
from grammar.api.state import State
from grammar.errors import SpecError

# Where well-known libraries keep what they download (tensorchord/envd, data.path).
PATHS: Mapping[str, str] = {"huggingface": "~/.cache/huggingface", "dgl": "~/.dgl"}


@dataclass(frozen=True)
class DataSource:
    """A volume that envd keeps under a name, for `runtime.mount`."""

    name: str


def _envd(state: State, given: Given) -> DataSource:
    name = str(given["name"])
    # Docker's own rule for a volume's name.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise SpecError(f"'{name}' is no name of a data source", given.at("name"))
    return DataSource(name)


APIS = (Api("data.envd", (Parameter("name"),), _envd, "a named volume, kept between environments"),)
