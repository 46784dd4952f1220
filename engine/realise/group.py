"""Grouping: several layers as one, so that an image stays below Docker's limit of 127.

Each wheel stays an object of its own in the store; the group is those objects' trees in one
layer. Which group a wheel falls into depends on its name alone, so that one changed package
changes one group.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.core.derivation import Derivation, Input
from engine.errors import BuildError
from engine.realise import confined
from engine.realise.context import BuildContext
from store.hashing import hash_value

KIND = "group"
VERSION = 1
BUCKETS = 24
_LARGE = 8 << 20  # bytes: a file from this size on is worth a layer of its own


def grouped(
    single: Sequence[Derivation], sizes: Mapping[str, int], limit: int, prefix: str = "wheels"
) -> list[Derivation]:
    """`single` as it is when it has at most `limit` members; else the largest alone and the
    rest in BUCKETS groups called `prefix`-NN. `sizes` maps a derivation's name to its file's size in
    bytes."""
    if len(single) <= limit:
        return list(single)
    room = limit - BUCKETS
    large = sorted(
        (d for d in single if sizes.get(d.name, 0) >= _LARGE), key=lambda d: (-sizes[d.name], d.name)
    )[:room]
    alone = {d.drv_id for d in large}
    buckets: dict[int, list[Derivation]] = {}
    for derivation in single:
        if derivation.drv_id not in alone:
            name = derivation.name.rpartition("-")[0]
            number = int(hash_value("envd group v1", name)[:8], 16) % BUCKETS
            buckets.setdefault(number, []).append(derivation)
    groups = [
        Derivation(KIND, f"{prefix}-{number:02}", VERSION, tuple(Input("layer", d) for d in members))
        for number, members in sorted(buckets.items())
    ]
    return sorted(large, key=lambda d: d.name) + groups


def build(context: BuildContext) -> Path:
    """Merge the layers' trees with hard links; a later one wins. Raises BuildError when one has a
    file where another has a directory."""
    upper = context.new_upper()
    for number, (layer, name) in enumerate(zip(context.layers, context.layer_names, strict=True)):
        lower = list(zip(context.layers, context.layer_names, strict=True))[:number]
        _merge(layer, upper, Path("/"), name, lower)
    return upper


def _merge(source: Path, target: Path, at: Path, name: str, lower: Sequence[tuple[Path, str]]) -> None:
    """Put what the directory `source` has into `target`; `at` is their place in the image, `lower`
    are the layers that are there."""
    with os.scandir(source) as listing:
        children = list(listing)
    for child in children:
        made = target / child.name
        is_directory = child.is_dir(follow_symlinks=False)
        if os.path.lexists(made) and is_directory != (made.is_dir() and not made.is_symlink()):
            raise _clash(at / child.name, name, lower, is_directory=is_directory)
        if is_directory:
            if not made.exists():
                made.mkdir()
            _merge(Path(child.path), made, at / child.name, name, lower)
            shutil.copystat(child.path, made)
        else:
            made.unlink(missing_ok=True)
            os.link(child.path, made, follow_symlinks=False)


def _clash(path: Path, name: str, lower: Sequence[tuple[Path, str]], *, is_directory: bool) -> BuildError:
    other = next(
        other
        for layer, other in reversed(lower)
        if confined.lstat(layer, str(path.relative_to("/"))) is not None
    )
    kinds = ("a directory", "a file") if is_directory else ("a file", "a directory")
    return BuildError(
        f"{name} has {kinds[0]} at {path}, where {other} has {kinds[1]}; an image cannot have both: "
        "leave one of the two out"
    )
