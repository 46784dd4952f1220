"""What a builder is given, and the one shape that all builders have.

A builder is a function `build(context) -> Path`: it returns a directory whose content is the
layer, in overlayfs upper form (a character device 0:0 is a whiteout, the xattr that
`store.layers.opaque_mark` names = "y" an opaque directory). It never touches anything outside
`context.scratch`. Raising leaves nothing in the store. A layer that exists compressed already is
returned as `Imported`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grammar.environment import Position


@dataclass(frozen=True)
class BuildContext:
    """One build. `layers` are the unpacked trees of the "layer" inputs, bottom first, called
    `layer_names`; `files` are the fetched "file" inputs as (name, path), in the derivation's order;
    `scratch` is a fresh directory of this build's own, on the store's file system; `log` takes one
    line, `say` what people should see whatever they watch, `warn` what they should know whenever the
    layer is used, built now or before; `origin` is where the spec asks for it."""

    name: str
    parameters: Mapping[str, Any]
    layers: tuple[Path, ...]
    files: tuple[tuple[str, Path], ...]
    scratch: Path
    log: Callable[[str], None]
    layer_names: tuple[str, ...] = ()
    origin: Position | None = None
    say: Callable[[str], None] = field(default=lambda _: None)
    warn: Callable[[str], None] = field(default=lambda _: None)

    def new_upper(self) -> Path:
        """The directory of the layer to be built, made anew with the mode of a root directory."""
        upper = self.scratch / "upper"
        upper.mkdir()
        upper.chmod(0o755)  # whatever the umask
        return upper


@dataclass(frozen=True)
class Imported:
    """A layer that was made elsewhere and is kept as it came: the store's blob `digest`, of an
    OCI media type, whose uncompressed tar must hash to `diff_id` (both "sha256:…")."""

    digest: str
    media_type: str
    diff_id: str


Builder = Callable[[BuildContext], Path | Imported]
