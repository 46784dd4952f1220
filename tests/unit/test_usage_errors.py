"""Mistakes on the command line: one line, what was meant, exit code 2."""

from __future__ import annotations

import pytest

from engine.cli.main import main


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("biuld", "no command 'biuld'; did you mean 'build'?"),
        ("xyzzy", "no command 'xyzzy'; see `envd --help`"),
        ("context us", "no command 'us'; did you mean 'use'?"),
        ("build --forc", "no option '--forc'; did you mean '--force'?"),
        ("build --qqq", "no option '--qqq'; see `envd build --help`"),
        ("build extra", "got unexpected extra argument (extra); see `envd build --help`"),
        ("push", "missing argument 'REF'; see `envd push --help`"),
        ("build --platform linux/arm64", "'linux/arm64' is not supported; envd builds only for linux/amd64"),
        ("build -j 0", "invalid value for '-j' / '--jobs'"),
        ("lock --progress loud", "'loud' is not one of"),
        ("graph --format", "option '--format' requires an argument"),
    ],
)
def test_one_line_and_exit_2(words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    told = capsys.readouterr()
    assert stop.value.code == 2
    assert told.out == ""
    assert told.err.startswith("error: ") and told.err.count("\n") == 1
    assert says in told.err
