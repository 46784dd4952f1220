"""The `envd` command's entry point: answers an `envd build` with nothing to do by itself, and
leaves all else to `engine.cli.main`.

Importing click takes longer than all that an idle build does, so its plain forms are read here.
Whatever is not plain (an option not named here, a mistake) goes to click, which reads it again.
"""

from __future__ import annotations

import signal
import sys

_VALUES = {
    "-t": "tag",
    "--tag": "tag",
    "-f": "file",
    "--from": "file",
    "-p": "path",
    "--path": "path",
    "--progress": "progress",
    "-j": "jobs",
    "--jobs": "jobs",
}
_FLAGS = frozenset({"--no-load", "--locked", "--dev"})


def main() -> None:
    """Run the command line."""
    # Until signals are listened to (`engine.core.signals`), Ctrl-C ends the process and nothing more:
    # Python would show where it was with its imports.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    speak_utf8()
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _fill_standard_streams()
    arguments = sys.argv[1:]
    if arguments[:1] == ["build"] and _idle(arguments[1:]):
        return
    from engine.cli.main import main as everything
    from engine.core import signals

    signals.install()
    try:
        everything(arguments)
    except SystemExit as stop:
        if stop.code:  # a thread that hangs must not hold what has failed
            signals.leave(stop.code if isinstance(stop.code, int) else 1)
        signals.done()
        raise
    signals.done()


def speak_utf8() -> None:
    """Begin again with file names, arguments and text in UTF-8 where the machine's locale has
    another encoding: specs, archives and images are in UTF-8 whatever that is.

    Python chooses its encoding once, when it starts (PEP 540).
    """
    if sys.getfilesystemencoding() == "utf-8" or "utf8" in sys._xoptions or not sys.executable:
        return
    import os

    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _fill_standard_streams() -> None:
    """Give a standard stream that was closed (`envd … >&-`) /dev/null: the next file that is opened
    would get its number, and what is printed."""
    import os

    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdin = sys.stdin or open(0)
    sys.stdout = sys.stdout or open(1, "w")
    sys.stderr = sys.stderr or open(2, "w")


def _plain(words: list[str]) -> dict[str, list[str]] | None:
    """The options of a plain `envd build`, or None when it is none."""
    found: dict[str, list[str]] = {}
    position = 0
    while position < len(words):
        word, equals, value = words[position].partition("=")
        position += 1
        if word in _FLAGS and not equals:
            found[word] = [""]
        elif word in _VALUES and (equals == "" or word.startswith("--")):
            if not equals:
                if position == len(words):
                    return None
                value = words[position]
                position += 1
            found.setdefault(_VALUES[word], []).append(value)
        else:
            return None
    for name in ("progress", "jobs"):
        if name in found and not _valid(name, found[name][-1]):
            return None
    return found


def _valid(name: str, value: str) -> bool:
    if name == "progress":
        return value in ("auto", "tree", "plain", "json")
    return value.isdecimal() and value.isascii() and 1 <= int(value[:4]) <= 256


def _idle(words: list[str]) -> bool:
    """Whether this build had nothing to do; then its answer is printed."""
    options = _plain(words)
    if options is None:
        return False
    from engine.app import fastpath
    from engine.core import paths as locate
    from engine.errors import EnvdError

    try:
        spec, function, directory, _ = locate.project(
            options["file"][-1] if "file" in options else None,
            options["path"][-1] if "path" in options else None,
        )
        tags = options.get("tag") or [f"{locate.image_name(directory)}:dev"]
        done = fastpath.nothing_to_do(
            fastpath.Request(
                spec,
                function,
                directory,
                [locate.full_tag(t) for t in tags],
                "--no-load" not in options,
                "--dev" in options,
            )
        )
        if done is None:
            return False
        print(done.message, file=sys.stderr)
        print(done.image_id, flush=True)
    except (OSError, ValueError, EnvdError):
        return False  # told properly by the command itself
    return True


if __name__ == "__main__":
    main()
