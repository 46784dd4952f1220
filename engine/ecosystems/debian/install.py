"""Debian packages on a base, installed by the base's own apt from local files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.core.derivation import Derivation, Input
from engine.ecosystems.debian import bytecode, debs
from engine.lock.packages import LockedPackage
from engine.realise import sandbox
from engine.realise.context import BuildContext

KIND = "apt"
VERSION = 2

_INSTALL = """
set -e
if [ ! -e /usr/sbin/policy-rc.d ]; then
    made=1; printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
fi
apt-get -y -q -o Dpkg::Options::=--force-unsafe-io -o APT::Sandbox::User= \
    -o Dpkg::Use-Pty=0 --no-install-recommends --allow-downgrades install "$@"
[ -z "$made" ] || rm -f /usr/sbin/policy-rc.d
"""


def derivation(
    packages: Sequence[LockedPackage], below: Sequence[Derivation], name: str = "apt"
) -> Derivation:
    """The derivation of `packages` over the layers `below`."""
    layers = tuple(Input("layer", d) for d in below)
    return Derivation(KIND, name, VERSION, layers + debs.fetches(packages))


def build(context: BuildContext) -> Path:
    """Install. Raises BuildError with apt's log."""
    place = context.scratch / "debs"
    names = debs.bring(context.files, place)
    upper = sandbox.run(
        ["sh", "-c", _INSTALL, "sh", *names],
        layers=context.layers,
        scratch=context.scratch,
        binds=(sandbox.Bind(place, debs.DEBS),),
        log=context.log,
        name=context.name,
    )
    bytecode.compile_again(context, upper, context.layers)
    # By their names too: one that was there already leaves no trace here, but the image's entry
    # point counts on what the first start needs.
    debs.clean(upper, context.log, packages=[name.partition("_")[0] for name, _ in context.files])
    return upper
