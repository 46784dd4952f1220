"""openat2(2), which Python does not have: open a directory below another without leaving it.

Numbers: Linux, include/uapi/linux/openat2.h and asm-generic/unistd.h (437 on every architecture).
"""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache
from typing import Any

_NUMBER = 437
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_MAGIC_LINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
# A kernel before 5.6, a filter of system calls that does not know it, an open_how of another size; a
# path that is longer than one call takes, a rename that went on meanwhile.
_CANNOT = frozenset({errno.ENOSYS, errno.EPERM, errno.E2BIG, errno.EINVAL, errno.ENAMETOOLONG, errno.EAGAIN})


class _How(ctypes.Structure):
    """struct open_how."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@cache
def _library() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def directory(top: int, path: str) -> int | None:
    """A descriptor of the directory `path` below the descriptor `top`, through no link; None when the
    kernel cannot tell that in one call. Raises OSError."""
    how = _How(_FLAGS, 0, _NO_MAGIC_LINKS | _NO_SYMLINKS | _BENEATH)
    found = _library().syscall(
        ctypes.c_long(_NUMBER),
        ctypes.c_int(top),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if found >= 0:
        return int(found)
    number = ctypes.get_errno()
    if number in _CANNOT:
        return None
    raise OSError(number, os.strerror(number), path)
