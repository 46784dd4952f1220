"""The list of system calls. What the kernel makes of it is tried in tests/hostile/test_root.py."""

from __future__ import annotations

import os

from engine.realise import seccomp

# With rules of their own, or of kernels long gone: not there (ENOSYS).
SPECIAL = {"clone", "clone3", "unshare", "personality", "socket", "socketpair"}
GONE = {
    "_sysctl",
    "afs_syscall",
    "create_module",
    "epoll_ctl_old",
    "epoll_wait_old",
    "get_kernel_syms",
    "getpmsg",
    "nfsservctl",
    "putpmsg",
    "query_module",
    "security",
    "sysfs",
    "tuxcall",
    "uselib",
    "ustat",
    "vserver",
}


def test_no_call_is_in_both_lists() -> None:
    assert not seccomp.ALLOWED & seccomp.REFUSED
    assert not SPECIAL & (seccomp.ALLOWED | seccomp.REFUSED)


def test_no_call_of_this_machine_was_forgotten() -> None:
    seccomp.program()  # which finds the library
    import pyseccomp

    known = set()
    for number in range(462):  # what Linux 6.8 has; later ones are for a later version of the list
        try:
            known.add(pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, number).decode())
        except ValueError:
            continue
    assert len(known) > 250
    assert known - seccomp.ALLOWED - seccomp.REFUSED - SPECIAL - GONE == set()


def test_the_program_is_made_once_and_cannot_be_changed() -> None:
    descriptor = seccomp.program()
    assert descriptor is not None and descriptor == seccomp.program()
    assert os.fstat(descriptor).st_size % 8 == 0
    try:
        os.pwrite(descriptor, b"x", 0)
    except OSError:
        return
    raise AssertionError("it was written")
