"""System calls that Python has no function for, each for the calling thread. All raise OSError.

Numbers above 423 are the same on every architecture that matters here; glibc has no function for them
yet. See open_tree(2), mount_setattr(2), move_mount(2), capabilities(7), keyctl(2).
"""

from __future__ import annotations

import ctypes
import os
import struct

CLONE_NEWNS = 0x00020000
MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x4000, 0x40000

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_KEYCTL = {"x86_64": 250, "aarch64": 219}
_OPEN_TREE_CLONE = 1
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_MOUNT_ATTR_IDMAP = 0x00100000
_KEYCTL_JOIN_SESSION_KEYRING = 1
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def _syscall(number: int, what: str, *arguments: object) -> int:
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments), what)


def unshare(flags: int) -> None:
    """unshare(2). The thread has a directory of its own afterwards, too."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2); a relative `target`, and paths in `options`, are below the thread's directory."""
    _checked(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode(),
            ctypes.c_ulong(flags),
            os.fsencode(options),
        ),
        f"mount {target}",
    )


def clone_mount(path: str, recursive: bool) -> int:
    """A mount of what is at `path` that hangs nowhere yet: its descriptor. `recursive`: with the
    mounts below it."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return _syscall(_OPEN_TREE, path, ctypes.c_int(-100), os.fsencode(path), ctypes.c_uint(flags))


def map_owners(mount: int, user_namespace: int) -> None:
    """Show uid N on disk as what uid N of a user namespace is, in a mount and those below it, or in
    none. Raises EINVAL where a file system cannot, ENOSYS before Linux 5.12."""
    attributes = struct.pack("=QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, user_namespace)
    _syscall(
        _MOUNT_SETATTR,
        "mount_setattr",
        ctypes.c_int(mount),
        b"",
        ctypes.c_uint(_AT_EMPTY_PATH | _AT_RECURSIVE),
        attributes,
        ctypes.c_size_t(len(attributes)),
    )


def attach_mount(mount: int, target: str) -> None:
    """Hang a mount of `clone_mount` at `target`."""
    _syscall(
        _MOVE_MOUNT,
        target,
        ctypes.c_int(mount),
        b"",
        ctypes.c_int(-100),
        os.fsencode(target),
        ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH),
    )


def act_as_owner(identity: int) -> None:
    """Make and reach files as the uid and gid `identity`, with all the capabilities that there are."""
    _libc.setfsuid(ctypes.c_uint(identity))
    _libc.setfsgid(ctypes.c_uint(identity))
    # The kernel has dropped the capabilities that go with files: taken back from the permitted ones.
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    _checked(_libc.capget(header, data), "capget")
    effective, permitted, inherited, effective2, permitted2, inherited2 = struct.unpack("=6I", data.raw)
    del effective, effective2
    new = struct.pack("=6I", permitted, permitted, inherited, permitted2, permitted2, inherited2)
    _checked(_libc.capset(header, new), "capset")


def join_new_session_keyring() -> None:
    """A new session keyring, which programs that this thread starts inherit. Raises ENOSYS where the
    kernel keeps no keys."""
    number = _KEYCTL.get(os.uname().machine)
    if number is not None:
        _syscall(number, "keyctl", ctypes.c_int(_KEYCTL_JOIN_SESSION_KEYRING), ctypes.c_void_p(None))
