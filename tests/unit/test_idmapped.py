"""Which uids a build of root's gets. The namespace itself is tried in tests/hostile/test_root.py."""

from __future__ import annotations

import pytest

from engine.realise import idmapped

FIRST, END = 0x70000000, 0x7FFE0000


def test_all_of_the_range_when_nobody_has_any_of_it() -> None:
    assert idmapped.free_range([(0, 1), (1000, 1), (100000, 65536)]) == (FIRST, END - FIRST)


@pytest.mark.parametrize(
    ("taken", "found"),
    [
        ([(FIRST, 65536)], (FIRST + 65536, END - FIRST - 65536)),
        ([(FIRST - 10, 20)], (FIRST + 10, END - FIRST - 10)),
        ([(END - 5, 100)], (FIRST, END - FIRST - 5)),
        ([(FIRST + 100000, 1), (FIRST + 50, 1)], (FIRST + 100001, END - FIRST - 100001)),
        ([(0, 0xFFFFFFFF - 1), (FIRST, 1)], None),
        ([(FIRST, END - FIRST - 65535)], None),
        ([(FIRST, END - FIRST - 65536)], (END - 65536, 65536)),
    ],
)
def test_the_widest_part_that_is_nobodys(taken: list[tuple[int, int]], found: tuple[int, int] | None) -> None:
    if found is None:
        with pytest.raises(idmapped.UnavailableError, match="65536"):
            idmapped.free_range(taken)
    else:
        assert idmapped.free_range(taken) == found


def test_what_a_thread_raises_is_raised() -> None:
    def fail() -> int:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        idmapped.in_thread(fail)
    assert idmapped.in_thread(lambda: 3) == 3
