"""The system calls that a build step may make: a filter for bubblewrap's --seccomp, by libseccomp.

A list of what is allowed, as container runtimes have it, for what a future kernel adds is not known to
be harmless. What is not on it does not exist (ENOSYS), so that a libc takes its older way; what is known
and refused says so (EPERM). Allowed is what compilers, package scripts and test suites do to their own
processes and files; refused is what reaches the kernel's global state or its larger attack surfaces
(keys, bpf, perf, io_uring, userfaultfd, new namespaces and mounts), which no step needs and which a
capability alone does not keep. The 32-bit system calls of the machine have the same rules, x32 has none.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import fcntl
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from engine.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType

    import pyseccomp

_ALLOWED = """
    _llseek _newselect accept accept4 access adjtimex alarm arch_prctl arm_fadvise64_64
    arm_sync_file_range bind breakpoint brk cachestat cacheflush capget capset chdir chmod chown chown32
    chroot clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve
    execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat
    fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork
    fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex
    futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_mempolicy get_robust_list
    get_thread_area get_tls getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid
    getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority
    getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname
    getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
    io_setup io_submit ioctl ioprio_get ioprio_set ipc kcmp kill landlock_add_rule
    landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listxattr
    listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack mbind
    membarrier memfd_create memfd_secret migrate_pages mincore mkdir mkdirat mknod mknodat mlock mlock2
    mlockall mmap mmap2 modify_ldt move_pages mprotect mq_getsetattr mq_notify mq_open mq_timedreceive
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv
    msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat nice oldfstat oldlstat
    oldolduname oldstat olduname open openat openat2 pause pidfd_getfd pidfd_open pidfd_send_signal pipe
    pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2
    prlimit64 process_madvise process_mrelease process_vm_readv process_vm_writev pselect6
    pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readdir readlink readlinkat readv
    recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename
    renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop
    semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_mempolicy
    set_mempolicy_home_node set_robust_list set_thread_area set_tid_address set_tls setfsgid setfsgid32
    setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid
    setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid
    setsockopt setuid setuid32 setxattr setxattrat sgetmask shmat shmctl shmdt shmget shutdown sigaction
    sigaltstack signal signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend splice ssetmask
    stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range sync_file_range2 syncfs
    sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
    timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
    timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe
    usr26 usr32 utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev
"""

_REFUSED = """
    add_key keyctl request_key
    bpf perf_event_open userfaultfd io_uring_enter io_uring_register io_uring_setup
    mount umount umount2 pivot_root fsopen fsconfig fsmount fspick move_mount open_tree mount_setattr
    setns open_by_handle_at fanotify_init fanotify_mark lookup_dcookie
    init_module finit_module delete_module kexec_load kexec_file_load reboot
    swapon swapoff acct quotactl quotactl_fd syslog vhangup sethostname setdomainname
    settimeofday stime clock_settime clock_settime64
    ioperm iopl pciconfig_iobase pciconfig_read pciconfig_write vm86 vm86old
"""
ALLOWED = frozenset(_ALLOWED.split())
REFUSED = frozenset(_REFUSED.split())

# clone(2), unshare(2); clone3, whose flags a filter cannot see, is not there.
_NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
_TIME_NAMESPACE = 0x80  # unshare(2) alone: a signal's number in clone
# personality(2): Linux's own, 32 bits, an old name, no random addresses; and the question what it is.
_PERSONALITIES = (
    *(a | b | c for a in (0, 0x8) for b in (0, 0x20000) for c in (0, 0x40000)),
    0xFFFFFFFF,
    0xFFFFFFFFFFFFFFFF,
)
# Others are protocols of devices and clusters, much of the kernel's old code, or (vsock) a way to the
# host that no network namespace closes.
FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)

_lock = threading.Lock()


def program() -> int | None:
    """The descriptor of a file with this process's one filter (struct sock_filter[], see seccomp(2));
    None where the kernel has no filters. Raises UsageError when libseccomp is not there."""
    with _lock:
        return _program()


def is_supported() -> bool:
    """Whether the kernel filters system calls."""
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        return any(line.startswith("Seccomp:") for line in file)


@cache
def _program() -> int | None:
    if not is_supported():
        return None
    with _found():
        try:
            import pyseccomp  # noqa: PLC0415 (it may not be there)
        except ImportError as error:
            raise UsageError(
                "build steps need the Python package pyseccomp, which envd depends on and which is not here",
                advice=f"run `{sys.executable} -m pip install pyseccomp`",
            ) from error
        except (OSError, RuntimeError) as error:
            raise UsageError(
                "build steps need libseccomp", advice="run `apt-get install libseccomp2` as root"
            ) from error
    made = _filter(pyseccomp, None)
    compatible = {"x86_64": pyseccomp.Arch.X86, "aarch64": pyseccomp.Arch.ARM}.get(os.uname().machine)
    if compatible is not None:
        made.merge(_filter(pyseccomp, compatible))
    descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(os.dup(descriptor), "r+b") as file:
        made.export_bpf(file)
    fcntl.fcntl(
        descriptor,
        fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE,
    )
    return descriptor


@contextmanager
def _found() -> Iterator[None]:
    """The binding looks for its libraries by running ldconfig and gcc, which takes longer than all the
    rest: names that every distribution has are tried first."""
    find = ctypes.util.find_library

    def found(name: str) -> str | None:
        if name == "c":
            return None  # this very process's
        try:
            ctypes.CDLL(f"lib{name}.so.2")
        except OSError:
            return find(name)
        return f"lib{name}.so.2"

    ctypes.util.find_library = found
    try:
        yield
    finally:
        ctypes.util.find_library = find


def _filter(library: ModuleType, other: int | None) -> pyseccomp.SyscallFilter:
    """The rules for this machine's own system calls, or for those of an `other` architecture."""
    no_such_call = library.ERRNO(errno.ENOSYS)
    refused = library.ERRNO(errno.EPERM)
    made = library.SyscallFilter(no_such_call)
    made.set_attr(library.Attr.ACT_BADARCH, no_such_call)
    made.set_attr(library.Attr.CTL_OPTIMIZE, 2)  # a tree: the last call costs what the first one does
    if other is not None:
        made.remove_arch(library.Arch.NATIVE)
        made.add_arch(other)

    def add(action: int, name: str, *arguments: pyseccomp.Arg) -> None:
        number = library.resolve_syscall(library.Arch.NATIVE, name)
        if number != -1:  # else the library is older than the call, which stays unknown
            made.add_rule(action, number, *arguments)

    for name in sorted(ALLOWED):
        add(library.ALLOW, name)
    for name in sorted(REFUSED):
        add(refused, name)
    for name, flags in (("clone", _NAMESPACES), ("unshare", (*_NAMESPACES, _TIME_NAMESPACE))):
        add(library.ALLOW, name, library.Arg(0, library.MASKED_EQ, sum(flags), 0))
        for flag in flags:
            add(refused, name, library.Arg(0, library.MASKED_EQ, flag, flag))
    for value in _PERSONALITIES:
        add(library.ALLOW, "personality", library.Arg(0, library.EQ, value))
    no_such_family = library.ERRNO(errno.EAFNOSUPPORT)
    for name in ("socket", "socketpair"):
        if other == library.Arch.X86:
            # Its programs make sockets by socketcall(2), which keeps the family where no filter sees.
            add(no_such_family, name)
            continue
        for family in range(max(FAMILIES) + 1):
            action = library.ALLOW if family in FAMILIES else no_such_family
            add(action, name, library.Arg(0, library.EQ, family))
        add(no_such_family, name, library.Arg(0, library.GT, max(FAMILIES)))
    return made
