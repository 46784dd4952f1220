/* Run by a build step: tries system calls, and prints "name result" for each, 0 or an errno's number.
   Those of 32-bit programs are made by int 0x80, those of x32 by their bit, as a 64-bit program may.
   Arguments are such that no call does anything where it is allowed, and outside of a sandbox (whose
   host name is "envd") nothing is tried. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *name, long result) {
    printf("%s %d\n", name, result < 0 ? errno : 0);
}

#define TRY(name, number, ...) \
    do { errno = 0; tell(name, syscall(number, ##__VA_ARGS__, 0, 0, 0, 0)); } while (0)

static void try_clone(const char *name, unsigned long flags) {
    errno = 0;
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
    tell(name, pid);
    if (pid > 0) waitpid(pid, NULL, __WALL);
}

static void *thread(void *given) { return given; }

#ifdef __x86_64__
static void try_32(const char *name, long number, long a, long b, long c) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c)
                     : "memory", "r8", "r9", "r10", "r11");
    printf("%s %ld\n", name, result < 0 ? -result : 0);
}
#endif

int main(void) {
    char host[64] = "";
    if (gethostname(host, sizeof host) != 0 || strcmp(host, "envd") != 0) return 2;
    setvbuf(stdout, NULL, _IONBF, 0);
    char buffer[256] = "x";

    TRY("add_key", SYS_add_key, 0, 0, 0, 0, 0);
    TRY("keyctl", SYS_keyctl, 0, -4, 0);
    TRY("request_key", SYS_request_key, "user", "envd-hostile", 0, -5);
    TRY("bpf", SYS_bpf, 5, buffer, sizeof buffer);
    TRY("perf_event_open", SYS_perf_event_open, buffer, 0, -1, -1);
    TRY("userfaultfd", SYS_userfaultfd, 1);
    TRY("io_uring_setup", SYS_io_uring_setup, 4, buffer);
    TRY("io_uring_enter", SYS_io_uring_enter, 0);
    TRY("io_uring_register", SYS_io_uring_register, 0);
    TRY("mount", SYS_mount, "none", "/nowhere", "tmpfs");
    TRY("umount2", SYS_umount2, "/nowhere", 0);
    TRY("pivot_root", SYS_pivot_root, "/nowhere", "/nowhere");
    TRY("fsopen", 430, "nothing");
    TRY("open_tree", 428, -100, "/");
    TRY("move_mount", 429, -100, "/nowhere", -100, "/nowhere");
    TRY("mount_setattr", 442, -100, "/");
    TRY("setns", SYS_setns, 0);
    TRY("open_by_handle_at", SYS_open_by_handle_at, 0, buffer);
    TRY("fanotify_init", SYS_fanotify_init, 0);
    TRY("init_module", SYS_init_module, buffer, 1, "");
    TRY("finit_module", SYS_finit_module, 0, "");
    TRY("kexec_load", SYS_kexec_load, 0);
    TRY("reboot", SYS_reboot, 0, 0, 0);
    TRY("swapon", SYS_swapon, "/nowhere");
    TRY("acct", SYS_acct, "/nowhere");
    TRY("quotactl", SYS_quotactl, 0, "/nowhere");
    TRY("syslog", SYS_syslog, 3, buffer, -1);
    TRY("settimeofday", SYS_settimeofday, 0);
    TRY("sethostname", SYS_sethostname, "x", -1);
    TRY("unshare-user", SYS_unshare, CLONE_NEWUSER);
    TRY("unshare-mount", SYS_unshare, CLONE_NEWNS);
    TRY("unshare-time", SYS_unshare, 0x80);
    TRY("unshare-all", SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_FILES);
    try_clone("clone-user", CLONE_NEWUSER);
    try_clone("clone-user-net", CLONE_NEWUSER | CLONE_NEWNET);
    try_clone("clone-mount", CLONE_NEWNS);
    TRY("clone3", SYS_clone3, buffer, 64);
    TRY("personality-exec", SYS_personality, 0x400000);
    TRY("personality-zero-page", SYS_personality, 0x100000);
    TRY("a-call-of-the-future", 999);
    for (int family = 0; family < 64; family++) {
        sprintf(buffer, "socket-%d", family);
        TRY(buffer, SYS_socket, family, SOCK_DGRAM | SOCK_CLOEXEC);
        sprintf(buffer, "wide-socket-%d", family);
        TRY(buffer, SYS_socket, 0x100000000L + family, SOCK_DGRAM | SOCK_CLOEXEC);
    }
#ifdef __x86_64__
    /* their numbers: Linux, arch/x86/entry/syscalls/syscall_32.tbl */
    try_32("32-add_key", 286, 0, 0, 0);
    try_32("32-keyctl", 288, 0, -4, 0);
    try_32("32-bpf", 357, 0, 0, 0);
    try_32("32-mount", 21, 0, 0, 0);
    try_32("32-umount", 22, 0, 0, 0);
    try_32("32-unshare", 310, CLONE_NEWUSER, 0, 0);
    try_32("32-clone", 120, CLONE_NEWUSER | SIGCHLD, 0, 0);
    try_32("32-socket", 359, 40, 1, 0);
    try_32("32-socketcall", 102, 1, 0, 0);
    try_32("32-io_uring_setup", 425, 1, 0, 0);
    TRY("x32-getpid", 0x40000000 + SYS_getpid);
    TRY("x32-keyctl", 0x40000000 + SYS_keyctl, 0, -4, 0);
    TRY("x32-unshare", 0x40000000 + SYS_unshare, CLONE_NEWUSER);
#endif

    /* What has to work. */
    pthread_t other;
    errno = pthread_create(&other, NULL, thread, NULL);
    printf("fine-thread %d\n", errno);
    if (errno == 0) pthread_join(other, NULL);
    try_clone("fine-clone", 0);
    TRY("fine-unshare-files", SYS_unshare, CLONE_FILES | CLONE_FS);
    TRY("fine-personality", SYS_personality, 0xffffffff);
    TRY("fine-no-random-addresses", SYS_personality, 0x40000);
    TRY("fine-ptrace", SYS_ptrace, 0, 0, 0);
    TRY("fine-seccomp", SYS_prctl, 21, 0);
    int pair[2];
    TRY("fine-socketpair", SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, pair);
#ifdef __x86_64__
    try_32("fine-32-getpid", 20, 0, 0, 0);
#endif
    return 0;
}
