"""CUDA from NVIDIA's wheels, laid out as NVIDIA's own installer does: /usr/local/cuda-X.Y.

One layer for each component, so that cuDNN's 700 MB and cudart's 3 MB change apart.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from engine.core import zip_files
from engine.core.derivation import Derivation, Input
from engine.errors import BuildError
from engine.lock.packages import LockedPackage
from engine.realise import places, zips
from engine.realise.context import BuildContext

KIND = "cuda"
LINKS = "cuda-links"
VERSION = 1

_PLACES = {"lib": "lib64", "include": "include", "bin": "bin", "nvvm": "nvvm", "lib64": "lib64"}


def derivations(packages: Sequence[LockedPackage], version: str) -> list[Derivation]:
    """A derivation for each wheel of a CUDA `version` ("12.9"), and one for the links."""
    prefix = f"usr/local/cuda-{version}"
    return [
        *(
            Derivation(
                KIND, f"{p.name}-{p.version}", VERSION, (Input("file", p.file.fetch()),), {"prefix": prefix}
            )
            for p in packages
        ),
        Derivation(LINKS, f"cuda-{version}", VERSION, (), {"prefix": prefix}),
    ]


def environment(version: str) -> list[tuple[str, str]]:
    """The image's variables: where libraries are, and what NVIDIA's container runtime reads."""
    return [
        ("CUDA_HOME", "/usr/local/cuda"),
        ("CUDA_VERSION", version),
        ("LD_LIBRARY_PATH", "/usr/local/cuda/lib64"),
        ("NVIDIA_DRIVER_CAPABILITIES", "compute,utility"),
        ("NVIDIA_VISIBLE_DEVICES", "all"),
    ]


def build(context: BuildContext) -> Path:
    """Unpack one component. Raises BuildError when the wheel holds nothing of CUDA's."""
    upper = context.new_upper()
    prefix = upper / str(context.parameters["prefix"])
    ((name, path),) = context.files
    count = 0
    try:
        with zip_files.opened(path) as archive:
            for member in archive.infolist():
                target = place(member.filename)
                if target is None or member.is_dir():
                    continue
                zips.extract(archive, member, prefix / target, upper, executable="bin" in target.parts)
                count += 1
    except zipfile.BadZipFile as error:
        raise BuildError(f"not a wheel: {error}", subject=name) from error
    if not count:
        raise BuildError("it holds no CUDA libraries", subject=name)
    return upper


def place(member: str) -> PurePosixPath | None:
    """Where a wheel's member goes below the prefix; None when it is not CUDA's.

    "nvidia/cuda_runtime/lib/libcudart.so.12" (to CUDA 12) and "nvidia/cu13/lib/…" (from 13 on).
    """
    parts = PurePosixPath(member).parts
    if len(parts) < 4 or parts[0] != "nvidia" or ".." in parts or parts[2] not in _PLACES:
        return None
    if parts[-1] == "__init__.py" or "__pycache__" in parts:
        return None
    return PurePosixPath(_PLACES[parts[2]], *parts[3:])


def build_links(context: BuildContext) -> Path:
    """/usr/local/cuda, and lib beside lib64."""
    upper = context.new_upper()
    prefix = upper / str(context.parameters["prefix"])
    places.make(prefix, upper)
    (prefix / "lib").symlink_to("lib64")
    (prefix.parent / "cuda").symlink_to(prefix.name)
    return upper


BUILDERS = {KIND: build, LINKS: build_links}
