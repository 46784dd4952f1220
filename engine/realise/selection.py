"""Which of the project's files `io.copy` and `run(mount_host=True)` take.

What an ignore file names is left out, and so is what is of this machine or of the tools that work
on the project (`BUILTIN`), unless a spec or an ignore file names it. A file that is left out is no
part of any fingerprint: changing it rebuilds nothing.

Without pathlib and dataclasses: an idle build takes fingerprints.
"""

from __future__ import annotations

import os

from engine.core.fingerprint import fingerprint
from engine.core.patterns import Pattern, PatternError, Rules, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# The first that is there counts alone, as a Dockerfile's own ignore file does beside .dockerignore.
IGNORE_FILES = (".envdignore", ".dockerignore")

# git's own files change with every command of its; the lock is ours, and what it says is in the
# plan already; .venv holds this machine's paths, .env its secrets, __pycache__ what ran last.
BUILTIN = ("**/.git", "**/.venv", "**/.env", "**/__pycache__", "envd.lock")

_WHITEOUT = b".wh."
_SHOWN = 6  # names of what is left out, in one message


class SelectionError(ValueError):
    """A source that is left out itself, or rules that mean nothing. One sentence for the user."""


class Selection:
    """What is taken of `source`, which is relative to `directory`, less what fits `exclude` (paths
    relative to the source)."""

    __slots__ = ("directory", "exclude", "source")

    def __init__(self, directory: str, source: str = ".", exclude: Sequence[str] = ()) -> None:
        self.directory, self.source, self.exclude = directory, source, tuple(exclude)

    @property
    def path(self) -> str:
        """The file or directory itself, with links followed."""
        return os.path.realpath(os.path.join(self.directory, self.source))

    def left_out(self) -> frozenset[bytes]:
        """What is not taken, as paths relative to the source; of a directory nothing is then.

        Raises SelectionError, and OSError for what cannot be read.
        """
        top = os.fsencode(self.path)
        rules, below, reason = self._rules()
        if not os.path.isdir(top):
            if reason is not None:
                raise self._refused(reason)
            return frozenset()
        prefix = "" if below == "." else f"{below}/"
        above: Sequence[bool] = ()
        parts = [] if below == "." else below.split("/")
        for depth in range(1, len(parts) + 1):
            _, above = rules.match("/".join(parts[:depth]), above)
        found: set[bytes] = set()
        taken = self._walk(top, b"", prefix, rules, above, found)
        if reason is not None and not taken:
            raise self._refused(reason)
        return frozenset(found)

    def fingerprint(self) -> str:
        """BLAKE3 of what is taken; see `engine.core.fingerprint`. Raises SelectionError, OSError."""
        return fingerprint(self.path, self.left_out())

    def whiteouts(self) -> list[bytes]:
        """Paths that are taken and that a layer cannot hold; see `store.layers.check_name`."""
        omit, found = self.left_out(), []
        top = os.fsencode(self.path)
        for directory, names, files in os.walk(top):
            inside = os.path.relpath(directory, top)
            kept = {n: n if inside == b"." else inside + b"/" + n for n in (*names, *files)}
            names[:] = [n for n in names if kept[n] not in omit]
            found += [kept[n] for n in (*names, *files) if n.startswith(_WHITEOUT) and kept[n] not in omit]
        return sorted(found)

    def _rules(self) -> tuple[Rules, str, Pattern | None]:
        """The rules; the path of the source that they are asked about; by what the ignore file leaves
        the source itself out, if it does (something below it may be taken all the same)."""
        named = os.path.normpath(self.source)
        top = os.path.realpath(self.directory)
        real = os.path.relpath(self.path, top)
        builtin = [Pattern(text) for text in BUILTIN]
        # What is named is wanted: the project's .venv, or a file inside it.
        builtin = [p for p in builtin if not any(Rules([p]).reason(x) for x in (named, real))]
        given = self._ignore_file()
        reason = Rules(given).reason(named) or Rules(given).reason(real)
        base = "" if real == "." else f"{real}/"
        try:
            excluded = [Pattern(text, base=base) for text in self.exclude]
        except PatternError as error:
            raise SelectionError(f"exclude: {error}") from None
        return Rules([*builtin, *given, *excluded]), real, reason

    def _refused(self, reason: Pattern) -> SelectionError:
        return SelectionError(
            f"'{self.source}' is left out by {reason.where} ('{reason}'); write "
            f"'!{os.path.normpath(self.source)}' below it, or take that line out"
        )

    def _ignore_file(self) -> list[Pattern]:
        for name in IGNORE_FILES:
            try:
                with open(os.path.join(self.directory, name), "rb") as file:
                    text = file.read().decode("utf-8", "surrogateescape")
            except FileNotFoundError:
                continue
            except OSError as error:
                raise SelectionError(f"cannot read {name}: {error.strerror}") from error
            try:
                return parse(text, name)
            except PatternError as error:
                raise SelectionError(str(error)) from None
        return []

    def _walk(
        self,
        directory: bytes,
        inside: bytes,
        prefix: str,
        rules: Rules,
        above: Sequence[bool],
        found: set[bytes],
    ) -> bool:
        """Add what is left out below a directory; whether anything is taken."""
        taken = False
        with os.scandir(directory) as listing:
            children = [(c.name, c.path, c.is_dir(follow_symlinks=False)) for c in listing]
        for name, path, is_directory in children:
            relative = inside + b"/" + name if inside else name
            text = prefix + relative.decode("utf-8", "surrogateescape")
            out, fits = rules.match(text, above)
            if is_directory and (not out or rules.takes_back_below(text)):
                here: set[bytes] = set()
                some = self._walk(path, relative, prefix, rules, fits, here)
                if not out or some:
                    found |= here
                    taken = True
                    continue
            if out:
                found.add(relative)
            else:
                taken = True
        return taken


def sentence(left_out: frozenset[bytes]) -> str:
    """What is left out, in one line; "" for nothing."""
    if not left_out:
        return ""
    names = sorted(left_out, key=lambda name: (name.count(b"/"), name))
    shown = [name.decode("utf-8", "backslashreplace") for name in names[:_SHOWN]]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"left out {', '.join(shown)}{more}"
