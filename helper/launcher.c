/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * tapdraft-helper: starts the helper's Python side with one privilege, CAP_NET_ADMIN. This file carries
 * cap_net_admin=p; whoever may execute it chooses all else about the start. Each stage takes some of that
 * choice away and relies on the stages before it:
 *
 * 1. arguments    must refuse any number, length or byte that no request needs;
 *                 must not print them back, nor interpret any but --fd=N, which stage 3 needs.
 * 2. privilege    must have net_admin from this very file and nothing else, or say why not;
 *                 must not go on for a caller who holds it already: nothing here confines those;
 *                 must not start from a file that has been replaced and that somebody kept open.
 * 3. descriptors  must have 0 to 2 open and all others shut, or a file opened later is standard error;
 *                 must not keep what --fd names unless it is a Unix stream socket.
 * 4. process      must undo timers, signals, mask and folder, and have limits that let it finish;
 *                 must not loosen a limit that the caller has set.
 * 5. environment  must be made from nothing; must not copy a variable, not even TERM.
 * 6. files        must be root's and closed to others: all that can be imported, compiled files too, and
 *                 the folders above it; must not import by a symbolic link to anybody else's file.
 * 7. confinement  must make it final: no new privileges, Landlock, then the system call filter;
 *                 must not fail open: only "this kernel has none" goes on, and Python is told so.
 * 8. Python       must be told every path; must not look at site, .pth, PYTHON* or the folder.
 *
 * Nothing is ever executed, so nothing is ambient or inheritable and AT_SECURE stays, as does being
 * undumpable. Effective is empty: the Python side raises it for its netlink calls and no longer. */
#define _GNU_SOURCE
#include <Python.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <linux/landlock.h>
#include <linux/netlink.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "paths.h" /* what the chosen Python imports from, as the build found it */

enum { CANNOT_CHECK = 1, USAGE = 2, IN_THE_WAY = 4 };
#ifndef REPLACED_SECONDS
#define REPLACED_SECONDS 60 /* who was started as it was replaced may go on */
#endif
#define REINSTALL "as root, install it again"
#define EACH(i, array) (size_t i = 0; i < sizeof(array) / sizeof *(array); i++)

static void refuse_if(int bad, int status, const char *error, const char *about, const char *hint)
{
    if (!bad)
        return;
    dprintf(STDERR_FILENO, "error: %s%s\nhint: %s\n", error, about, hint);
    _exit(status);
}

static void need(int done, const char *what)
{
    refuse_if(!done, CANNOT_CHECK, "could not ", what, "nothing was changed; a sandbox may forbid it");
}

/* 1: returns N of --fd=N, by which qemu names its socket to the helper that it starts, or -1. */
static int check_arguments(int argc, char **argv)
{
    size_t bytes = 0;
    int keep = -1;
    for (int i = 0; i < argc; i++) {
        bytes += strlen(argv[i]) + 1;
        for (const char *byte = argv[i]; *byte; byte++)
            refuse_if(*byte < ' ' || *byte > '~', USAGE, "an argument is not all printable ASCII", "",
                      "a request is made of the characters a-z A-Z 0-9 . : / = _ -");
        if (strncmp(argv[i], "--fd=", 5) != 0)
            continue;
        char *end = argv[i];
        long number = -1;
        if (argv[i][5] >= '1' && argv[i][5] <= '9')
            number = strtol(argv[i] + 5, &end, 10);
        refuse_if(keep != -1 || *end || number < 3 || number > 1023, USAGE, "--fd= is not one descriptor", "",
                  "give it once, as --fd=N with N from 3 to 1023");
        keep = (int)number;
    }
    refuse_if(argc < 1 || argc > 64 || bytes > 4096, USAGE, "not 1 to 64 arguments of 4096 bytes in all", "",
              "many requests go to standard input, one a line: tapdraft-helper -");
    return keep;
}

static void explain_missing_capability(void) /* the kernel withholds it without a word */
{
    struct statvfs mount = { 0 };
    const char *self = "/proc/self/exe";
    const struct { int found; const char *cause, *hint; } causes[] = {
        { prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, "no_new_privs is set", "leave the sandbox that set it" },
        { !prctl(PR_CAPBSET_READ, CAP_NET_ADMIN), "the bounding set has no net_admin", "leave that container" },
        { !statvfs(self, &mount) && mount.f_flag & ST_NOSUID, "the mount is nosuid", "install it on another" },
        { getxattr(self, "security.capability", NULL, 0) < 0, "this file has none, as a copy has", REINSTALL },
        { ptrace(PTRACE_TRACEME, 0, 0, 0) == -1, "the process is being traced", "trace it as root, or not at all" },
        { 1, "the kernel did not grant this file's", "see that it was not booted with no_file_caps" } };
    for EACH(i, causes)
        refuse_if(causes[i].found, IN_THE_WAY, "no capability: ", causes[i].cause, causes[i].hint);
}

/* Who has a file open can start it after its name is gone, also one with a fault that was mended long ago. */
static void refuse_replaced(void)
{
    struct stat self;
    need(stat("/proc/self/exe", &self) == 0, "look at this file");
    refuse_if(self.st_nlink == 0 && time(NULL) - self.st_ctime > REPLACED_SECONDS, IN_THE_WAY,
              "this file was replaced or removed a while ago", "", "start the one that is installed");
}

/* 2: without AT_SECURE it was not this file that gave the capability, and the loader has obeyed LD_PRELOAD. */
static void check_privilege(int without)
{
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct set[2];
    refuse_replaced();
    need(syscall(SYS_capget, &header, set) == 0, "read the capabilities");
    if (WRAPPED) {
        /* NixOS's wrapper has to make the capability ambient: keep Permitted alone. */
        set[0].effective = 0;
        set[0].inheritable = 0;
        need(syscall(SYS_capset, &header, set) == 0, "empty the ambient set");
    }
    refuse_if(getuid() != geteuid() || getgid() != getegid(), IN_THE_WAY, "real and effective ids differ", "",
              "this file must be neither setuid nor setgid: as root, chmod ug-s FILE");
    if (without) { /* only the policy is to be told, to root as well */
        memset(set, 0, sizeof set);
        need(syscall(SYS_capset, &header, set) == 0, "give up the capabilities");
        need(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "become undumpable");
        return;
    }
    if (!set[0].permitted && !set[1].permitted)
        explain_missing_capability();
    refuse_if(getuid() == 0 || !(WRAPPED || getauxval(AT_SECURE)), IN_THE_WAY,
              "the caller already holds the privilege that this file gives", "", RUN_DIRECTLY);
    refuse_if(set[0].permitted != 1U << CAP_NET_ADMIN || set[1].permitted || set[0].effective || set[1].effective,
              IN_THE_WAY, "this file gives more than net_admin=p", "", "as root: setcap cap_net_admin=p FILE");
    refuse_if(set[0].inheritable || set[1].inheritable, IN_THE_WAY,
              "the caller has inheritable capabilities", "", "start it with setpriv --inh-caps=-all");
    need(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "become undumpable");
}

static int socket_option(int fd, int option)
{
    int value = -1;
    socklen_t size = sizeof value;
    if (getsockopt(fd, SOL_SOCKET, option, &value, &size) != 0)
        return -1;
    return value;
}

static void close_descriptors(int keep) /* 3 */
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        need(fcntl(fd, F_GETFD) != -1 || open("/dev/null", O_RDWR) == fd, "open /dev/null");
    int stream = socket_option(keep, SO_DOMAIN) == AF_UNIX && socket_option(keep, SO_TYPE) == SOCK_STREAM;
    refuse_if(keep != -1 && !stream, USAGE, "--fd= names no Unix stream socket", "", "qemu's helper= does");
    need(keep <= 3 || syscall(SYS_close_range, 3, keep - 1, 0) == 0, "close descriptors");
    need(syscall(SYS_close_range, keep == -1 ? 3 : keep + 1, ~0U, 0) == 0, "close descriptors");
}

static void reset_process(void) /* 4 */
{
    const struct { int resource; rlim_t least; const char *option; } limits[] = {
        { RLIMIT_NOFILE, 128, "-n" }, { RLIMIT_AS, 512 << 20, "-v" }, { RLIMIT_DATA, 256 << 20, "-d" },
        { RLIMIT_STACK, 1 << 20, "-s" }, { RLIMIT_CPU, 10, "-t" } };
    struct rlimit limit = { 0, 0 };
    for (int timer = ITIMER_REAL; timer <= ITIMER_PROF; timer++)
        need(setitimer(timer, &(struct itimerval){ 0 }, NULL) == 0, "stop a timer");
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL); /* fails for those that no caller can change either */
    umask(077);
    need(sigprocmask(SIG_SETMASK, &(sigset_t){ 0 }, NULL) == 0, "unblock signals");
    need(chdir("/") == 0 && setrlimit(RLIMIT_CORE, &limit) == 0, "go to / and forbid core files");
    for EACH(i, limits)
        refuse_if(getrlimit(limits[i].resource, &limit) != 0 || limit.rlim_cur < limits[i].least, IN_THE_WAY,
                  "too small: ulimit ", limits[i].option, "raise it, so that what is begun can be finished");
}

static void refuse_others(const char *path, const struct stat *found, int plain)
{
    refuse_if(!plain || found->st_uid != 0 || found->st_mode & 022, IN_THE_WAY,
              "not root's alone, or not a plain file or folder: ", path, REINSTALL);
}

static int check_owner(const char *path, const struct stat *found, int kind, struct FTW *where) /* 6 */
{
    (void)where;
    int folder = kind == FTW_D && S_ISDIR(found->st_mode);
    int file = kind == FTW_F && S_ISREG(found->st_mode);
    refuse_others(path, found, folder || file);
    return FTW_CONTINUE;
}

/* Python's own library has a few symbolic links; and folders of other packages, of which only those that are
 * trees of their own are imported from. */
static int check_library(const char *path, const struct stat *found, int kind, struct FTW *where)
{
    const char *name = path + where->base;
    struct stat target;
    if (kind == FTW_SL) {
        if (stat(path, &target) == 0)
            refuse_others(path, &target, 1);
        return FTW_CONTINUE;
    }
    check_owner(path, found, kind, where);
    if (strcmp(name, "dist-packages") == 0 || strcmp(name, "site-packages") == 0)
        return FTW_SKIP_SUBTREE;
    return FTW_CONTINUE;
}

static void check_files(void)
{
    const char *const folders[] = { TRUSTED_FOLDERS }, *const trees[] = { TRUSTED_TREES };
    const char *const libraries[] = { TRUSTED_LIBRARIES }, *const compiled[] = { TRUSTED_IF_THERE };
    struct stat found;
    for EACH(i, folders)
        refuse_if(lstat(folders[i], &found) != 0 || check_owner(folders[i], &found, FTW_D, NULL), IN_THE_WAY,
                  "missing: ", folders[i], REINSTALL);
    for EACH(i, trees)
        refuse_if(nftw(trees[i], check_owner, 16, FTW_PHYS | FTW_ACTIONRETVAL) != 0, IN_THE_WAY,
                  "missing: ", trees[i], REINSTALL);
    for EACH(i, libraries)
        refuse_if(nftw(libraries[i], check_library, 16, FTW_PHYS | FTW_ACTIONRETVAL) != 0, IN_THE_WAY,
                  "missing: ", libraries[i], REINSTALL);
    for EACH(i, compiled) {
        if (lstat(compiled[i], &found) == 0) {
            int kind = S_ISDIR(found.st_mode) ? FTW_D : FTW_F;
            check_owner(compiled[i], &found, kind, NULL);
        } else {
            refuse_if(errno != ENOENT, IN_THE_WAY, "cannot be looked at: ", compiled[i], REINSTALL);
        }
    }
}

/* A rule is for an inode, and /proc makes new ones when memory is short, unless a path is held: those stay open. */
static void allow_path(int ruleset, __u64 access, const char *path)
{
    struct landlock_path_beneath_attr rule = { access, open(path, O_PATH | O_CLOEXEC) };
    struct stat found;
    if (rule.parent_fd == -1 || fstat(rule.parent_fd, &found) != 0)
        return;
    if (!S_ISDIR(found.st_mode))
        rule.allowed_access &= ~LANDLOCK_ACCESS_FS_READ_DIR;
    need(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0, "allow a path");
    if (strncmp(path, "/proc/", 6) != 0)
        close(rule.parent_fd);
}

/* 7: returns the kernel's Landlock version, 0 for none. In numbers, as older headers lack names: a version's
 * rights are all bits below its highest, network 3 is TCP, scope 3 is abstract sockets and signals. */
static int confine_paths(void)
{
    const char *const readable[] = { IMPORT_FOLDERS, POLICY_FOLDER, "/usr/lib", "/usr/lib64", "/lib", "/lib64",
        "/etc/group", "/etc/ld.so.cache", "/etc/nsswitch.conf", "/etc/passwd", "/etc/userdb", "/proc/self",
        "/proc/sys/net", "/run/systemd/userdb", "/run/userdb", "/usr/share/zoneinfo/UTC", "/var/lib/extrausers",
        "/var/lib/sss/mc" };
    const char *const writable[] = { "/dev/net/tun", "/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf" };
    const __u64 reading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    const __u64 writing = reading | LANDLOCK_ACCESS_FS_WRITE_FILE | 1 << 14 | 1 << 15; /* truncate, ioctl */
    int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi == -1 && (errno == ENOSYS || errno == EOPNOTSUPP))
        return 0;
    int file_rights = 13;
    if (abi >= 5)
        file_rights = 16;
    else if (abi >= 3)
        file_rights = 15;
    else if (abi == 2)
        file_rights = 14;
    const __u64 known = (1 << file_rights) - 1;
    const struct { __u64 files, network, scope; } handled = {
        known,
        abi >= 4 ? 3 : 0,
        abi >= 6 ? 3 : 0,
    };
    int ruleset = -1; /* with this, the first rule fails */
    if (abi >= 1)
        ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
    for EACH(i, readable)
        allow_path(ruleset, reading, readable[i]);
    for EACH(i, writable)
        allow_path(ruleset, known & writing, writable[i]);
    need(syscall(SYS_landlock_restrict_self, ruleset, 0) == 0, "enter Landlock");
    need(close(ruleset) == 0, "enter Landlock");
    return abi;
}

#define ALLOW(call, ...) \
    need(seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(call), __VA_ARGS__) == 0, "filter " #call)

/* Returns "none" where the kernel has no filters. What is not listed fails with EPERM: no program, process or
 * thread is started, traced or signalled, no file is made or renamed, no memory is both written and executed. */
static const char *confine_calls(void)
{
    static const char *const harmless[] = {
        "access", "bind", "brk", "capget", "capset", "clock_getres", "clock_gettime", "clock_nanosleep",
        "close", "connect", "dup", "exit", "exit_group", "faccessat", "faccessat2", "fcntl", "fstat", "futex",
        "getcwd", "getdents64", "getegid", "geteuid", "getgid", "getgroups", "getitimer", "getpeername",
        "getpid", "getppid", "getrandom", "getresgid", "getresuid", "getsockname", "getsockopt", "gettid",
        "gettimeofday", "getuid", "lseek", "lstat", "madvise", "mremap", "munmap", "nanosleep", "newfstatat",
        "open", "openat", "poll", "ppoll", "pread64", "pselect6", "read", "readlink", "readlinkat", "readv",
        "recvfrom", "recvmsg", "restart_syscall", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
        "sched_yield", "select", "sendmsg", "sendto", "setsockopt", "shutdown", "sigaltstack", "stat", "statx",
        "sysinfo", "time", "umask", "uname", "write", "writev" };
    static const unsigned ioctls[] = { FIOCLEX, FIONBIO, TCGETS, TUNSETIFF, TUNSETOWNER, TUNSETPERSIST,
        TUNDETACHFILTER, TUNSETSTEERINGEBPF, TUNSETFILTEREBPF, TUNSETTXFILTER };
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (prctl(PR_SET_SECCOMP, 2, NULL) == -1 && errno == EINVAL) /* EFAULT, if it had them */
        return "none";
    need(seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) == 0, "make a filter");
    for EACH(i, harmless) {
        int call = seccomp_syscall_resolve_name(harmless[i]);
        need(seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0) == 0, harmless[i]);
    }
    for EACH(i, ioctls) /* the kernel looks at 32 bits */
        ALLOW(ioctl, 1, SCMP_A1(SCMP_CMP_MASKED_EQ, ~0U, ioctls[i]));
    ALLOW(prctl, 1, SCMP_A0(SCMP_CMP_MASKED_EQ, ~0U, PR_CAPBSET_READ));
    ALLOW(prctl, 1, SCMP_A0(SCMP_CMP_MASKED_EQ, ~0U, PR_GET_DUMPABLE));
    ALLOW(prctl, 2, SCMP_A0(SCMP_CMP_EQ, PR_SET_DUMPABLE), SCMP_A1(SCMP_CMP_EQ, 0));
    ALLOW(prlimit64, 1, SCMP_A0(SCMP_CMP_EQ, 0));
    ALLOW(mprotect, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    ALLOW(mmap, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    ALLOW(mmap, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_WRITE, 0));
    ALLOW(socket, 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
    ALLOW(socket, 2, SCMP_A0(SCMP_CMP_EQ, AF_NETLINK), SCMP_A2(SCMP_CMP_EQ, NETLINK_ROUTE));
    ALLOW(socket, 2, SCMP_A0(SCMP_CMP_EQ, AF_NETLINK), SCMP_A2(SCMP_CMP_EQ, NETLINK_NETFILTER));
    need(seccomp_load(filter) == 0, "load the system call filter");
    return "on";
}

static void started(PyStatus status)
{
    refuse_if(PyStatus_Exception(status), CANNOT_CHECK, "Python: ", status.err_msg, REINSTALL);
}

/* 8: Python looks for pyvenv.cfg unless it has a home. Left out, for 15 ms: runpy, garbage, socket's Python half. */
static int run_python(int argc, char **argv)
{
    const char *const folders[] = { IMPORT_FOLDERS };
    const wchar_t *code = L"import gc, sys, _socket; gc.disable(); sys.modules['socket'] = _socket\n"
                          L"import tapdraft.helper.__main__ as helper; helper.run()";
    PyConfig config;
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    started(Py_PreInitialize(&before));
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = config.write_bytecode = config.parse_argv = 0;
    config.safe_path = config.module_search_paths_set = 1;
    for EACH(i, folders)
        started(PyWideStringList_Append(&config.module_search_paths, Py_DecodeLocale(folders[i], NULL)));
    started(PyConfig_SetBytesString(&config, &config.home, PYTHON_HOME));
    started(PyConfig_SetBytesArgv(&config, argc, argv));
    started(PyConfig_SetString(&config, &config.run_command, code));
    started(Py_InitializeFromConfig(&config));
    return Py_RunMain();
}

int main(int argc, char **argv)
{
    static char landlock[16], hardening[64];
    int keep = check_arguments(argc, argv);
    if (argc == 2 && strcmp(argv[1], "--check-files") == 0) { /* the service's unit asks, before each process */
        check_files();
        return 0;
    }
    check_privilege(argc > 1 && strcmp(argv[1], "--check-policy") == 0);
    close_descriptors(keep);
    reset_process();
    environ = (char *[]){ "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC", hardening, NULL };
    check_files();
    need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "give up new privileges");
    int abi = confine_paths();
    const char *filter = confine_calls();
    if (abi == 0)
        snprintf(landlock, sizeof landlock, "none");
    else
        snprintf(landlock, sizeof landlock, "%d", abi);
    snprintf(hardening, sizeof hardening, "TAPDRAFT_HARDENING=landlock=%s seccomp=%s", landlock, filter);
    return run_python(argc, argv);
}
