"""The `envd` command's entry point: answers an `envd build` with nothing to do by itself, and
leaves all else to `engine.cli.main`."""

from __future__ import annotations

import os
import signal
import sys

from engine.cli import plain


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
    from engine.cli import main as everything

    everything.run(arguments)


def _idle(words: list[str]) -> bool:
    if (options := plain.options(words)) is None:
        return False
    from engine.cli import idle

    return idle.answered(options)


def speak_utf8() -> None:
    """Begin again with file names, arguments and text in UTF-8 where the machine's locale has
    another encoding: specs, archives and images are in UTF-8 whatever that is.

    Python chooses its encoding once, when it starts (PEP 540).
    """
    if sys.getfilesystemencoding() == "utf-8" or "utf8" in sys._xoptions or not sys.executable:
        return
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _fill_standard_streams() -> None:
    """Give a standard stream that was closed (`envd … >&-`) /dev/null: the next file that is opened
    would get its number, and what is printed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdin = sys.stdin or open(0)
    sys.stdout = sys.stdout or open(1, "w")
    sys.stderr = sys.stderr or open(2, "w")


if __name__ == "__main__":
    main()
