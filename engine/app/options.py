"""`BuildOptions`: how a build is to go, whichever command asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.core.project import Project
    from engine.realise.secrets import Source


@dataclass(frozen=True)
class BuildOptions:
    """`tags` are the image's names [PROJECT:dev], under which it is loaded into Docker if it is to be
    (`load`); `outputs` is where else it is written (`engine.oci.outputs`). `locked` forbids to
    change the lock, `force` builds again what the store has, `jobs` is how many builders run at once
    [the cores], `dev` means the variant that `envd up` runs. `secrets` says where those of the spec's
    steps are, `progress` how progress is shown. `publish`: share what was built with other machines,
    with `sources` what was fetched for it, too; `imports` and `exports` say where else it is taken from
    and put (`engine.cache.exchange`)."""

    tags: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    load: bool = True
    locked: bool = False
    force: bool = False
    jobs: int | None = None
    dev: bool = False
    secrets: tuple[Source, ...] = ()
    progress: str = "auto"
    publish: bool = False
    imports: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()
    sources: bool = False

    def names(self, project: Project) -> tuple[str, ...]:
        """The image's names."""
        return self.tags or (f"{project.name}:dev",)

    def arguments(self) -> list[str]:
        """These options as arguments of `envd build`."""
        found = ["--progress", self.progress]
        for option, values in (
            ("--tag", self.tags),
            ("--output", self.outputs),
            ("--import-cache", self.imports),
            ("--export-cache", self.exports),
        ):
            found += [word for value in values for word in (option, value)]
        for option, on in (
            ("--no-load", not self.load),
            ("--locked", self.locked),
            ("--force", self.force),
            ("--dev", self.dev),
            ("--publish", self.publish),
            ("--sources", self.sources),
        ):
            found += [option] if on else []
        found += ["--jobs", str(self.jobs)] if self.jobs else []
        for source in self.secrets:
            found += ["--secret", f"{source.name}={source.kind}:{source.place}"]
        return found
