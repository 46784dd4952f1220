"""Whether a lock pins what was asked for: no request of it may have led to nothing.

What a section's requests are is the spec's; that each of them is there as a package, in the
section or in what lies below it, is looked at here, when a lock was made and when one is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from engine.lock import Lock, LockedPackage
from engine.resolve import r

_DEB = re.compile(r"[^:=/]+")
_CONDA = re.compile(r"(?:[^\s=]+::)?([A-Za-z0-9_][A-Za-z0-9_.-]*)")


def unpinned(lock: Lock, implied: Iterable[str] = ()) -> dict[str, tuple[str, ...]]:
    """The requests that pinned nothing, by section; `implied` are the .debs that envd itself asks
    for, whose names are those of packages. A lock that is as it should be has none."""
    found = {}
    for section, texts in lock.requests.items():
        check = _CHECKS.get(section)
        lost = check(lock, texts, implied) if check else ()
        if lost:
            found[section] = tuple(lost)
    return found


def satisfied_elsewhere(lock: Lock) -> tuple[str, ...]:
    """The .debs asked for that no package of the lock is called: apt found that a package of
    another name provides them, or that the image has them. For `Lock.provided`."""
    names = _debs(lock, lock.apt, lock.dev)
    asked = {*lock.requests.get("apt", ()), *lock.requests.get("dev", ())}
    return tuple(sorted(text for text in asked if _deb(text) not in names))


def _names(packages: Iterable[LockedPackage]) -> set[str]:
    return {p.name for p in packages}


def _deb(text: str) -> str:
    match = _DEB.match(text)
    return match[0] if match else text


def _debs(lock: Lock, *sections: Sequence[LockedPackage]) -> set[str]:
    below = lock.base.packages if lock.base.kind != "image" else ()
    return _names(below).union(*map(_names, sections))


def _apt(lock: Lock, texts: Sequence[str], implied: Iterable[str]) -> list[str]:
    return _missing_debs(lock, texts, _debs(lock, lock.apt), set(implied))


def _dev(lock: Lock, texts: Sequence[str], implied: Iterable[str]) -> list[str]:
    return _missing_debs(lock, texts, _debs(lock, lock.apt, lock.dev), set(texts))


def _missing_debs(
    lock: Lock, texts: Sequence[str], there: set[str], implied: set[str]
) -> list[str]:
    """A lock without `provided` is of an older envd: there, what the user asked for may have been
    provided by a package of another name."""
    missing = [text for text in texts if _deb(text) not in there]
    strict = {text for text in missing if text in implied and not _in_image(lock, text)}
    if lock.provided is None:
        return [text for text in missing if text in strict]
    return [text for text in missing if text in strict or text not in lock.provided]


def _in_image(lock: Lock, name: str) -> bool:
    """Whether an image may have what a .deb is for: of its Python and shells we know."""
    if lock.base.kind != "image":
        return False
    facts = lock.base.facts
    known = {"python3": bool(facts.get("python"))}
    known |= {shell: shell in facts.get("shells", "").split() for shell in ("zsh", "fish")}
    return known.get(name, True)


def _python(lock: Lock, texts: Sequence[str], implied: Iterable[str]) -> list[str]:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    there = _names(lock.wheels)
    missing = []
    for text in texts:
        try:
            requirement = Requirement(text.split(" --hash=")[0])
        except InvalidRequirement:  # a file, an index, an option
            continue
        if requirement.marker is None and canonicalize_name(requirement.name) not in there:
            missing.append(text)
    return missing


def _conda(lock: Lock, texts: Sequence[str], implied: Iterable[str]) -> list[str]:
    there = {name.lower() for name in _names(lock.conda)}
    asked = [(t, match[1]) for t in texts if not t.startswith("channel=")
             and (match := _CONDA.match(t)) is not None]
    return [text for text, name in asked if name.lower() not in there]


def _cuda(lock: Lock, texts: Sequence[str], implied: Iterable[str]) -> list[str]:
    from_apt = "source=apt" in texts or any(p.name.startswith("cuda-") for p in lock.apt)
    return [] if lock.cuda or from_apt else list(texts)


def _vscode(lock: Lock, texts: Sequence[str], implied: Iterable[str]) -> list[str]:
    there = {name.lower() for name in _names(lock.vscode)}
    return [text for text in texts if text.partition("@")[0].lower() not in there]


def _r(lock: Lock, texts: Sequence[str], implied: Iterable[str]) -> list[str]:
    there = {*_names(lock.r), *r.BASE, *r.RECOMMENDED}
    return [text for text in texts if "=" not in text and text not in there]


def _includes(lock: Lock, texts: Sequence[str], implied: Iterable[str]) -> list[str]:
    there = {" ".join(filter(None, (row.git, row.ref))) for row in lock.includes}
    return [text for text in texts if text not in there]


def _by_request(field: str, key: str) -> _Check:
    def check(lock: Lock, texts: Sequence[str], implied: Iterable[str]) -> list[str]:
        there = {p.extra.get(key) for p in getattr(lock, field)}
        return [text for text in texts if text not in there]

    return check


def _any(field: str) -> _Check:
    def check(lock: Lock, texts: Sequence[str], implied: Iterable[str]) -> list[str]:
        return [] if getattr(lock, field) else list(texts)

    return check


_Check = Callable[[Lock, Sequence[str], Iterable[str]], list[str]]
_CHECKS: Mapping[str, _Check] = {
    "base": lambda lock, texts, _: [] if lock.base.packages else list(texts),
    "apt": _apt, "dev": _dev, "python": _python, "conda": _conda, "cuda": _cuda, "vscode": _vscode,
    "r": _r, "julia": _any("julia"), "rstudio": _any("rstudio"), "includes": _includes,
    "tools": _by_request("tools", "request"), "files": _by_request("files", "request"),
    "images": _by_request("images", "image"),
}
