"""The base: a root file system bootstrapped from exactly the .debs that the lock pins.

As debootstrap and mmdebstrap do it: the essential packages are unpacked by hand into a merged
/usr, then dpkg installs everything properly inside, without network.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.core.derivation import Derivation
from engine.ecosystems.debian import bytecode, debs
from engine.lock.model import LockedBase
from engine.lock.packages import Deb
from engine.realise import confined, jail, sandbox
from engine.realise.context import BuildContext

KIND = "base"
VERSION = 3
_KEYS = "etc/apt/keyrings"

_MERGED = ("bin", "lib", "lib64", "sbin")
_DIRECTORIES = (
    ("", 0o755),
    ("dev", 0o755),
    ("proc", 0o755),
    ("sys", 0o755),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("etc", 0o755),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/lib", 0o755),
    ("var/lib/dpkg", 0o755),
)

# `dpkg -i` of all at once: what is essential works already, as it lies unpacked, so that
# maintainer scripts can run; --force-depends because it unpacks in no order.
_INSTALL = """
set -e
rm -f /usr/sbin/policy-rc.d
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
dpkg --force-depends --force-unsafe-io --install "$@"
dpkg --configure --pending
rm -f /usr/sbin/policy-rc.d
"""

# A link that one package made may be on another's way (--keep-directory-symlink: /lib -> usr/lib). It
# leads nowhere else than here: `engine.realise.jail` shows tar nothing but this root that can be written.
_ROOT = "/base"
_UNPACK = f"""
for deb; do
    {{ dpkg-deb --fsys-tarfile "$deb" || : >/tmp/failed; }} |
        tar --keep-directory-symlink -xpf - -C {_ROOT} && [ ! -e /tmp/failed ] ||
        {{ echo "$deb: cannot be unpacked"; exit 1; }}
done
"""


def derivation(base: LockedBase) -> Derivation:
    """The derivation of a bootstrapped base."""
    keys = {f"{_KEYS}/{n}": base64.b64encode(k).decode() for n, k in sorted(base.keys.items())}
    return Derivation(
        KIND,
        f"base-{base.os}",
        VERSION,
        debs.fetches(base.packages),
        {
            "sources": list(base.sources),
            "essential": sorted(p.file.name for p in base.packages if isinstance(p, Deb) and p.essential),
            **({"keys": keys} if keys else {}),
        },
    )


def build(context: BuildContext) -> Path:
    """Bootstrap. Raises BuildError with dpkg's log."""
    root = context.scratch / "upper"
    _skeleton(root)
    place = context.scratch / "debs"
    names = debs.bring(context.files, place)
    essential = list(context.parameters["essential"])
    _extract(essential, place, root, context)
    bind = sandbox.Bind(place, debs.DEBS)

    def dpkg(packages: Sequence[str]) -> None:
        sandbox.run(
            ["sh", "-c", _INSTALL, "sh", *packages],
            layers=(),
            scratch=context.scratch,
            binds=(bind,),
            log=context.log,
            name=context.name,
        )

    first = [f"{debs.DEBS}/{name}" for name in essential]
    dpkg(first)
    if rest := [name for name in names if name not in first]:
        dpkg(rest)
    bytecode.compile_again(context, root, ())
    debs.clean(root, context.log)
    keys = {n: base64.b64decode(k) for n, k in context.parameters.get("keys", {}).items()}
    _finish(root, context.parameters["sources"], keys)
    return root


def _skeleton(root: Path) -> None:
    for name, mode in _DIRECTORIES:
        directory = root / name
        directory.mkdir(exist_ok=True)
        directory.chmod(mode)
    for name in _MERGED:
        (root / "usr" / name).mkdir()
        (root / "usr" / name).chmod(0o755)
        (root / name).symlink_to(f"usr/{name}")
    for name in ("status", "available"):
        path = root / "var/lib/dpkg" / name
        path.write_text("")
        path.chmod(0o644)


def _extract(names: Sequence[str], place: Path, root: Path, context: BuildContext) -> None:
    """Unpack the .debs `names` of the directory `place` into `root`."""
    jail.run(
        ["sh", "-c", _UNPACK, "sh", *names],
        binds=(jail.Bind(place, debs.DEBS), jail.Bind(root, _ROOT, writable=True)),
        scratch=context.scratch / "unpack",
        cwd=debs.DEBS,
        log=context.log,
        name=context.name,
    )


def _finish(root: Path, sources: Sequence[str], keys: Mapping[str, bytes]) -> None:
    signed = "".join(f"deb [signed-by=/{name}] " for name in keys) or "deb "
    lines = [re.sub(r"^deb (?!\[)", signed, line) for line in sources]
    files = {
        "etc/apt/sources.list": "".join(f"{line}\n" for line in lines).encode(),
        "etc/hostname": b"envd\n",
        "etc/resolv.conf": b"",
        **keys,
    }
    for name, content in files.items():
        # What the packages have left there is theirs: a link would lead to a file of the host.
        confined.make_directory(root, name.rpartition("/")[0])
        confined.write(root, name, content)
    # /var/lock leads there; where systemd runs, it makes it.
    confined.make_directory(root, "run/lock")
    with confined.directory(root, "run/lock") as lock:
        if lock is not None:
            os.fchmod(lock, 0o1777)
