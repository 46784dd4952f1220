"""R packages from source, each a layer of its own over base, apt and the packages it needs.

R's own `R CMD INSTALL` builds in the sandbox. What would differ between two builds is fixed: the
time in "Built:", the directory that sources lie in (R keeps it in help and line numbers), and
debugging symbols.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from engine.core.derivation import Derivation, Input
from engine.ecosystems.languages import cran_archive
from engine.errors import BuildError, UsageError
from engine.lock.packages import RSource
from engine.realise import confined, group, sandbox, tars
from engine.realise.context import BuildContext

KIND = "r-package"
VERSION = 1
LIBRARY = "usr/local/lib/R/site-library"
MAX_SINGLE = 30  # layers; beyond it small packages are grouped

_SOURCE = "/var/cache/envd-source"
_BUILT = "2024-01-01 00:00:00 UTC"


def derivations(packages: Sequence[RSource], below: Sequence[Derivation]) -> list[Derivation]:
    """The layers of `packages` over `below` (base and apt)."""
    made: dict[str, Derivation] = {}
    system = tuple(Input("layer", d) for d in below)
    for package, needs in closure(packages):
        file = package.file
        made[package.name] = Derivation(
            KIND,
            f"r-{package.name}-{package.version}",
            VERSION,
            (
                *system,
                *(Input("layer", made[name]) for name in needs),
                Input("file", file.fetch(fallback=cran_archive(package.name, file.url))),
            ),
            {"package": package.name},
        )
    sizes = {f"r-{p.name}-{p.version}": p.file.size for p in packages}
    return group.grouped(list(made.values()), sizes, MAX_SINGLE, "r-packages")


def closure(packages: Sequence[RSource]) -> Iterator[tuple[RSource, tuple[str, ...]]]:
    """Every package after those that it needs, with the names of all of these, in that order.

    Raises UsageError for a lock that goes in circles.
    """
    by_name = {p.name: p for p in packages}
    needs: dict[str, tuple[str, ...]] = {}
    visiting: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name in needs:
            return
        if name in visiting:
            raise UsageError(f"R package {name} needs itself", advice="run `envd lock --update`")
        visiting.add(name)
        words = re.findall(r"(?<!\S)[A-Za-z0-9.]+", by_name[name].depends or "")
        direct = [word for word in words if word in by_name]
        for dependency in direct:
            yield from visit(dependency)
        ordered = dict.fromkeys(n for d in direct for n in (*needs[d], d))
        needs[name] = tuple(ordered)
        yield name

    for start in sorted(by_name):
        for name in visit(start):
            yield by_name[name], needs[name]


def build(context: BuildContext) -> Path:
    """Install the package. Raises BuildError with R's log, and what the package says it needs."""
    package = str(context.parameters["package"])
    source = context.scratch / "source"
    source.mkdir()
    ((name, path),) = context.files
    _unpack(path, name, source)
    about = confined.read(source, f"{package}/DESCRIPTION")
    if about is None:
        raise BuildError(f"it holds no R package {package}", subject=name)
    try:
        upper = sandbox.run(
            [
                "R",
                "CMD",
                "INSTALL",
                "--no-lock",
                f"--built-timestamp={_BUILT}",
                f"--library=/{LIBRARY}",
                f"{_SOURCE}/{package}",
            ],
            layers=context.layers,
            scratch=context.scratch,
            # --no-lock goes with installing in place: nothing to move, no other path to patch.
            environment={"_R_SHLIB_STRIP_": "true", "R_INSTALL_STAGED": "false"},
            binds=(sandbox.Bind(source, _SOURCE, writable=True),),
            log=context.log,
            name=context.name,
        )
    except BuildError as error:
        if needs := _system_requirements(about):
            raise BuildError(
                f"{error}; {package} needs of the system: {needs}",
                error.log,
                advice="add what is lacking with install.apt_packages",
            ) from error
        raise
    if confined.read(upper, f"{LIBRARY}/{package}/DESCRIPTION", 0) is None:
        raise BuildError("R installed nothing", subject=context.name)
    _keep_only(upper, PurePosixPath(LIBRARY, package))
    return upper


def _unpack(path: Path, name: str, target: Path) -> None:
    def place(member: str) -> Path | None:
        parts = PurePosixPath(member).parts
        if ".." in parts or member.startswith("/"):
            raise BuildError(f"'{member}' leads outside of the archive", subject=name)
        return target.joinpath(*parts)

    try:
        tars.unpack(path, target, target, place, times=True)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BuildError(f"not an R source package: {error}", subject=name) from error


def _system_requirements(about: bytes) -> str:
    text = about.decode("utf-8", "replace")
    match = re.search(r"^SystemRequirements:[ \t]*(.*(?:\n[ \t].*)*)", text, re.MULTILINE)
    return " ".join(match[1].split()) if match else ""


def _keep_only(upper: Path, wanted: PurePosixPath) -> None:
    """Take away all but `wanted`: configure scripts and tests of loading leave traces."""
    for depth, part in enumerate(wanted.parts):
        directory = "/".join(wanted.parts[:depth])
        for path in confined.find(upper, f"{directory}/*"):
            if path.rpartition("/")[2] != part:
                confined.remove(upper, path)


BUILDERS = {KIND: build}
