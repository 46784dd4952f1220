"""Whether the network may be used at all: ENVD_OFFLINE=1, which `--offline` sets."""

from __future__ import annotations

import os

from store.errors import SettingError

VARIABLE = "ENVD_OFFLINE"
ADVICE = "build without --offline (or ENVD_OFFLINE), or bring what is missing with `envd bundle load`"
_MEANS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


def is_on() -> bool:
    """Whether every network access is forbidden. Raises SettingError."""
    given = os.environ.get(VARIABLE, "")
    try:
        return _MEANS[given.lower()]
    except KeyError:
        raise SettingError(f"{VARIABLE}: '{given}' is neither 1 nor 0") from None
