"""The entry point: `envd`, and `python -m envd`."""

from __future__ import annotations

from envd.paths import own_first


def main() -> None:
    """Run the command line. Ends the process: 0 fine, 1 the build or a remote failed, 2 bad input or
    usage."""
    own_first()
    from engine.cli.entry import main as run  # noqa: PLC0415 (own_first() has said where it is)

    run()


if __name__ == "__main__":
    main()
