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

from engine.build.context import BuildContext
from engine.derivation import Derivation, Input
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
        (d for d in single if sizes.get(d.name, 0) >= _LARGE),
        key=lambda d: (-sizes[d.name], d.name),
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
    """Merge the layers' trees with hard links; a later one wins."""
    upper = context.scratch / "upper"
    upper.mkdir()
    upper.chmod(0o755)
    for layer in context.layers:
        shutil.copytree(
            layer, upper, symlinks=True, copy_function=_link, dirs_exist_ok=True
        )
    return upper


def _link(source: str, target: str) -> None:
    if os.path.lexists(target):
        Path(target).unlink()
    if Path(source).is_symlink():
        Path(target).symlink_to(Path(source).readlink())
    else:
        Path(target).hardlink_to(source)
