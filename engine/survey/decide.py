"""Files of a project -> what its build.envd should say, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from engine.ecosystems.debian.releases import RELEASES
from engine.survey.declared import Declared, declared, python_for
from engine.survey.distributions import FRAMEWORKS, GPU_ONLY, debian_packages, distribution
from engine.survey.imports import Imports, imports_of
from engine.survey.languages import Language, languages
from engine.survey.walk import files

LANGUAGES = ("python", "r", "julia")  # what base(language=...) takes
# Debian's releases by the Python that each carries; the first is the default.
BASES = {RELEASES[os].python: os for os in ("debian12", "debian13", "debian11")}
OTHER_PYTHONS = ("3.12", "3.10", "3.14", "3.8")  # install.python's
DEFAULT_CUDA = "12.9"


@dataclass(frozen=True)
class Finding:
    """Something that was found, and where."""

    what: str
    why: str


@dataclass(frozen=True)
class Choice:
    """What build.envd will say.

    `language` is one of LANGUAGES or "" (none); `python` is the version that install.python is to
    bring, "" for the base's own. `source` and `packages` are as in `Declared`; `undeclared` maps
    imported distributions to the files that import them; `optional` are those that may be missing;
    `added` are installed beside what is declared.
    """

    language: str
    os: str = "debian12"
    python: str = ""
    python_why: str = ""
    source: tuple[str, str] | None = None
    packages: tuple[str, ...] = ()
    packages_why: str = ""
    undeclared: tuple[tuple[str, str], ...] = ()
    optional: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    conda: str = ""
    apt: tuple[str, ...] = ()
    others: tuple[Language, ...] = ()
    notebooks: str = ""
    cuda: str = ""
    cuda_why: str = ""
    shell: str = "bash"
    findings: tuple[Finding, ...] = ()


def decide(root: Path, language: str | None = None) -> Choice:
    """What a build.envd in `root` should say; `language` chooses one where it is given."""
    paths = files(root)
    said = declared(root)
    used = imports_of(root, paths)
    others = languages(root, paths)
    notebooks = [p.relative_to(root).as_posix() for p in paths if p.suffix == ".ipynb"]
    python = bool(
        said.source
        or said.conda
        or used.modules
        or used.optional
        or notebooks
        or any(p.suffix == ".py" for p in paths)
    )
    names = [o.name for o in others]
    chosen = language or (
        "python" if python else next((n for n in LANGUAGES if n in names), "" if names else "python")
    )
    choice = Choice(chosen, findings=tuple(_found(said, used, notebooks, others)))
    if python or chosen == "python":
        choice = _python(choice, said, used)
    if notebooks and chosen == "python":
        choice = replace(choice, notebooks=_some(notebooks))
    return replace(choice, others=tuple(o for o in others if o.name != chosen or o.packages))


def _some(names: list[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _found(said: Declared, used: Imports, notebooks: list[str], others: list[Language]) -> list[Finding]:
    found = []
    if said.source:
        found.append(Finding("Python packages", said.source[1]))
    for name in said.also:
        found.append(Finding("more Python packages, not used", name))
    if said.conda:
        found.append(Finding("conda packages", said.conda))
    if said.python:
        found.append(Finding(f"Python {said.python}", said.python_from))
    if used.modules:
        files = list(dict.fromkeys(f for places in used.modules.values() for f in places))
        found.append(Finding(f"imports of {len(_by_distribution(used.modules))} packages", _some(files)))
    if notebooks:
        found.append(Finding("notebooks", _some(notebooks)))
    for name in used.unread:
        found.append(Finding("no Python 3, not read", name))
    found += [Finding(_TITLES[o.name], o.why) for o in others]
    return found


_TITLES = {"r": "R", "julia": "Julia", "nodejs": "Node.js", "go": "Go", "rust": "Rust"}


def _by_distribution(modules: dict[str, list[str]]) -> dict[str, str]:
    """Distribution -> the files that import it."""
    found: dict[str, list[str]] = {}
    for module, places in sorted(modules.items()):
        if name := distribution(module):
            found.setdefault(name, []).extend(p for p in places if p not in found.get(name, ()))
    return {name: _some(places) for name, places in sorted(found.items())}


def _python(choice: Choice, said: Declared, used: Imports) -> Choice:
    imported = _by_distribution(used.modules)
    imported.pop(said.own, None)
    for text in used.installed:
        name = re.split(r"[<>=!~\[;]", text)[0].lower().replace("_", "-")
        imported.setdefault(name, "installed by a notebook")
    missing = {name: why for name, why in imported.items() if not _knows(said.known, name)}
    optional = sorted(
        name
        for name in _by_distribution(used.optional)
        if name not in imported and name != said.own and not _knows(said.known, name)
    )
    choice = replace(
        choice,
        source=said.source,
        packages=tuple(said.packages),
        conda=said.conda,
        also=tuple(said.also),
        optional=tuple(optional),
    )
    if said.source is None and not said.conda:
        choice = replace(choice, packages=tuple(missing), packages_why="what the code imports")
    else:
        choice = replace(choice, undeclared=tuple(missing.items()))
    everything = said.known | set(imported)
    choice = replace(choice, apt=tuple(debian_packages(everything)))
    if not said.conda:
        choice = _version(choice, said)
    return _gpu(choice, said, used, everything)


def _knows(known: set[str], name: str) -> bool:
    """Whether a distribution is declared, perhaps by the name of a variant of it."""
    stem = re.sub(r"(-headless|-binary|-cpu|-gpu|-cuda\d+x?)$", "", name)
    return bool(
        {
            name,
            stem,
            f"{stem}-cpu",
            f"{stem}-gpu",
            f"{stem}-binary",
            f"{stem}-headless",
            f"{stem}-contrib-python",
        }
        & known
    ) or any(k.startswith(f"{stem}-cuda") for k in known)


def _version(choice: Choice, said: Declared) -> Choice:
    wanted = said.python
    why = f"{said.python_from} requires Python {wanted}" if wanted else ""
    if not wanted or (found := python_for(wanted, list(BASES))) == "3.11":
        return replace(choice, python_why=why)
    if found is not None:
        return replace(choice, os=BASES[found], python_why=why)
    other = python_for(wanted, OTHER_PYTHONS)
    return replace(choice, python=other or "", python_why=why)


def _gpu(choice: Choice, said: Declared, used: Imports, names: set[str]) -> Choice:
    for text in said.requirements:
        if match := re.search(r"\+cu(\d\d)(\d)", text):
            return replace(choice, cuda=f"{match[1]}.{match[2]}", cuda_why=f"'{text}' is built for it")
        if match := re.search(r"\[[^]]*\b(?:cuda(\d\d)|and-cuda)", text):
            cuda = "11.8" if match[1] == "11" else DEFAULT_CUDA
            return replace(choice, cuda=cuda, cuda_why=f"'{text}' asks for it")
    if only := sorted(names & GPU_ONLY):
        return replace(choice, cuda=DEFAULT_CUDA, cuda_why=f"{only[0]} needs it")
    if used.gpu and names & FRAMEWORKS:
        framework = sorted(names & FRAMEWORKS)[0]
        return replace(choice, cuda=DEFAULT_CUDA, cuda_why=f"{framework} is used with a GPU ({used.gpu})")
    return choice
