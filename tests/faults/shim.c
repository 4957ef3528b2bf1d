/* Death and disk errors on order: preloaded (LD_PRELOAD), it watches what a process does to the files below one folder.

Every call that changes something there is an event: opening for writing, write, fsync, rename, unlink, mkdir, and so on.
Events are numbered from 1 in each process; at event FAULT_AT it does what FAULT_HOW says:

    before, after   kill the process (SIGKILL) before or after the call
    torn            of a write: the first half of the bytes, then kill; of any other call: as before
    ENOSPC          the call fails once with this errno (also EDQUOT, EIO, EROFS, ESTALE, EACCES)
    ENOSPC+         from there on every call fails: the disk stays full, the network folder stays lost

An errno strikes only calls that can have it: a full disk refuses what needs room (and lets files be removed and renamed), a
read-only one refuses every change but lets open files be synced. A lost folder (EIO+, ESTALE+) can no longer be read either:
opening, listing and stat fail as well, though reading is no event.

With FAULT_CALL (write, fsync, ...) and FAULT_PATH (a pattern with `*` for either path below the root) only the events that fit are
counted for FAULT_AT, and an errno that stays still strikes every later event.

FAULT_ROOT names the folder, absolute and resolved. FAULT_LOG names a file outside of it that gets one line an event: process,
number, call, bytes, path below the root, and of rename and link the other path, with tabs between. Without FAULT_ROOT nothing is
watched until `fault_arm` is called.

A child made by fork starts with its parent's number and counts on its own from there; a program started anew with the same
environment counts from 1. A death is that of one process: nobody else is killed.

It is not a complete file system: links and `..` in paths are not followed; what is written through a memory map or C's FILE, and
calls made past libc, are not seen (safetensors renames its temporary file that way; the write before and the mkdir behind it are
seen). Whether the bytes of a run are written in a way it sees is tested: every byte of every file is accounted for. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BEFORE, AFTER, TORN, FAIL, FAIL_ON };
enum { CHANGES, GROWS, SYNCS }; /* what an event asks of the disk: any change, room, only what is written already */
enum { PASS = 0, DIE_AFTER = -1, DIE_TORN = -2 }; /* verdicts on an event; a positive one is an errno */

static char root[PATH_MAX], log_file[PATH_MAX], only_path[PATH_MAX], only_call[32];
static size_t root_length;
static long strike_at;
static int how, error;
static atomic_long events, fitting;
static atomic_int struck;

#define REAL(name) ((__typeof__(&name))real_call(#name, &real_##name))
#define SLOT(name) static void *real_##name

static void *real_call(const char *name, void **slot) {
    if (!*slot) *slot = dlsym(RTLD_NEXT, name);
    return *slot;
}

static int errno_named(const char *name) {
    static const struct { const char *name; int value; } known[] = {
        {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EIO", EIO}, {"EROFS", EROFS}, {"ESTALE", ESTALE}, {"EACCES", EACCES}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t length = strlen(known[i].name);
        if (!strncmp(name, known[i].name, length) && (!name[length] || !strcmp(name + length, "+"))) return known[i].value;
    }
    return 0;
}

/* Watch `folder` from now on, counting from 1. Returns 0, or -1 for a `what` that is not known. */
int fault_arm(const char *folder, long at, const char *what, const char *log, const char *call, const char *path) {
    root_length = 0; /* nothing is watched while the rest changes */
    if (!strcmp(what, "before")) how = BEFORE;
    else if (!strcmp(what, "after")) how = AFTER;
    else if (!strcmp(what, "torn")) how = TORN;
    else if ((error = errno_named(what))) how = what[strlen(what) - 1] == '+' ? FAIL_ON : FAIL;
    else return -1;
    strike_at = at;
    events = fitting = 0;
    struck = 0;
    snprintf(log_file, sizeof log_file, "%s", log ? log : "");
    snprintf(only_call, sizeof only_call, "%s", call ? call : "");
    snprintf(only_path, sizeof only_path, "%s", path ? path : "");
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    return 0;
}

__attribute__((constructor)) static void arm_from_environment(void) {
    const char *folder = getenv("FAULT_ROOT"), *at = getenv("FAULT_AT"), *what = getenv("FAULT_HOW");
    if (!folder || !*folder) return;
    if (fault_arm(folder, at ? atol(at) : 0, what ? what : "before", getenv("FAULT_LOG"), getenv("FAULT_CALL"),
                  getenv("FAULT_PATH"))) {
        fprintf(stderr, "shim: FAULT_HOW %s is not known\n", what);
        _exit(97);
    }
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* The path below the root (a pointer into `full`), "." for the root itself, NULL where it lies elsewhere. */
static const char *below(int folder, const char *path, char *full) {
    if (!root_length || !path) return NULL;
    if (*path == '/') {
        snprintf(full, PATH_MAX, "%s", path);
    } else {
        char link[64];
        if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        long length = syscall(SYS_readlinkat, AT_FDCWD, link, full, (size_t)PATH_MAX - 1);
        if (length < 0) return NULL;
        snprintf(full + length, PATH_MAX - length, "%s%s", *path ? "/" : "", path);
    }
    if (strncmp(full, root, root_length)) return NULL;
    if (!full[root_length]) return ".";
    return full[root_length] == '/' ? full + root_length + 1 : NULL;
}

static const char *of_file(int fd, char *full) { return fd < 0 ? NULL : below(fd, "", full); }

static int applies(int kind) {
    if (error == ENOSPC || error == EDQUOT) return kind != CHANGES;
    if (error == EROFS || error == EACCES) return kind != SYNCS;
    return 1;
}

static void put_down(long number, const char *call, long bytes, const char *path, const char *other) {
    char line[2 * PATH_MAX + 128];
    if (!*log_file) return;
    int length = snprintf(line, sizeof line, "%d\t%ld\t%s\t%ld\t%s\t%s\n", (int)getpid(), number, call, bytes, path, other);
    int fd = syscall(SYS_openat, AT_FDCWD, log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) return;
    syscall(SYS_write, fd, line, (size_t)length); /* in one call, so that lines of two processes do not mix */
    syscall(SYS_close, fd);
}

/* One event: counted, put down, judged. The errno of the caller is kept unless the verdict is one. */
static int event(const char *call, int kind, long bytes, const char *path, const char *other) {
    int kept = errno;
    long number = ++events;
    put_down(number, call, bytes, path, other ? other : "");
    errno = kept;
    if (!strike_at) return PASS;
    if (struck) return how == FAIL_ON && applies(kind) ? error : PASS;
    if (*only_call && strcmp(only_call, call)) return PASS;
    if (*only_path && fnmatch(only_path, path, 0) && (!other || fnmatch(only_path, other, 0))) return PASS;
    number = ++fitting;
    errno = kept;
    if (how == FAIL || how == FAIL_ON) {
        /* from the one asked for, the first that can have this errno */
        if (number < strike_at || !applies(kind) || atomic_exchange(&struck, 1)) return PASS;
        return error;
    }
    if (number != strike_at) return PASS;
    if (how == AFTER) return DIE_AFTER;
    if (how == TORN && !strcmp(call, "write")) return DIE_TORN;
    die();
    return PASS;
}

/* Whether the folder is lost by now, so that it cannot even be read. */
static int lost(int folder, const char *path) {
    char full[PATH_MAX];
    if (!struck || how != FAIL_ON || (error != EIO && error != ESTALE)) return 0;
    if (!below(folder, path, full)) return 0;
    errno = error;
    return 1;
}

#define AROUND(call, kind, bytes, path, other, failed, real)      \
    do {                                                          \
        int verdict = event(call, kind, bytes, path, other);      \
        if (verdict > 0) { errno = verdict; return failed; }      \
        __auto_type result = real;                                \
        if (verdict == DIE_AFTER) die();                          \
        return result;                                            \
    } while (0)

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)); }

static mode_t mode_of(int flags, va_list rest) { return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; }

#define OPENER(name, parameters, folder, call_real)                                     \
    SLOT(name);                                                                         \
    int name parameters {                                                               \
        char full[PATH_MAX];                                                            \
        va_list rest;                                                                   \
        va_start(rest, flags);                                                          \
        mode_t mode = mode_of(flags, rest);                                             \
        va_end(rest);                                                                   \
        const char *path = writes(flags) ? below(folder, file, full) : NULL;            \
        if (!path) return lost(folder, file) ? -1 : call_real;                          \
        AROUND("open", GROWS, 0, path, flags & O_TRUNC ? "truncated" : "", -1, call_real); \
    }

OPENER(open, (const char *file, int flags, ...), AT_FDCWD, REAL(open)(file, flags, mode))
OPENER(open64, (const char *file, int flags, ...), AT_FDCWD, REAL(open64)(file, flags, mode))
OPENER(openat, (int at, const char *file, int flags, ...), at, REAL(openat)(at, file, flags, mode))
OPENER(openat64, (int at, const char *file, int flags, ...), at, REAL(openat64)(at, file, flags, mode))

#define STREAM(name)                                                                        \
    SLOT(name);                                                                             \
    FILE *name(const char *file, const char *mode) {                                        \
        char full[PATH_MAX];                                                                \
        const char *path = strpbrk(mode, "wa+") ? below(AT_FDCWD, file, full) : NULL;       \
        if (!path) return lost(AT_FDCWD, file) ? NULL : REAL(name)(file, mode);             \
        AROUND("open", GROWS, 0, path, *mode == 'w' ? "truncated" : "", NULL, REAL(name)(file, mode)); \
    }

STREAM(fopen) /* also by C++'s file streams, which then write with write and writev */
STREAM(fopen64)

SLOT(opendir);
DIR *opendir(const char *file) { return lost(AT_FDCWD, file) ? NULL : REAL(opendir)(file); }

#define STATTER(name, parameters, folder, arguments) \
    SLOT(name);                                      \
    int name parameters { return lost(folder, file) ? -1 : REAL(name) arguments; }

STATTER(stat, (const char *file, struct stat *to), AT_FDCWD, (file, to))
STATTER(stat64, (const char *file, struct stat64 *to), AT_FDCWD, (file, to))
STATTER(lstat, (const char *file, struct stat *to), AT_FDCWD, (file, to))
STATTER(lstat64, (const char *file, struct stat64 *to), AT_FDCWD, (file, to))
STATTER(fstatat, (int at, const char *file, struct stat *to, int flags), at, (at, file, to, flags))
STATTER(fstatat64, (int at, const char *file, struct stat64 *to, int flags), at, (at, file, to, flags))
STATTER(statx, (int at, const char *file, int flags, unsigned mask, struct statx *to), at, (at, file, flags, mask, to))

/* ---- writing ---------------------------------------------------------------------------------------------------- */

#define WRITER(name, parameters, bytes, arguments, torn_half)                                   \
    SLOT(name);                                                                                 \
    ssize_t name parameters {                                                                   \
        char full[PATH_MAX];                                                                    \
        const char *path = root_length ? of_file(fd, full) : NULL;                              \
        if (!path) return REAL(name) arguments;                                                 \
        int verdict = event("write", GROWS, bytes, path, NULL);                                 \
        if (verdict > 0) { errno = verdict; return -1; }                                        \
        if (verdict == DIE_TORN) { torn_half; die(); }                                          \
        ssize_t result = REAL(name) arguments;                                                  \
        if (verdict == DIE_AFTER) die();                                                        \
        return result;                                                                          \
    }

WRITER(write, (int fd, const void *data, size_t size), size, (fd, data, size), REAL(write)(fd, data, size / 2))
WRITER(pwrite, (int fd, const void *data, size_t size, off_t offset), size, (fd, data, size, offset),
       REAL(pwrite)(fd, data, size / 2, offset))
WRITER(pwrite64, (int fd, const void *data, size_t size, off64_t offset), size, (fd, data, size, offset),
       REAL(pwrite64)(fd, data, size / 2, offset))

static long total(const struct iovec *parts, int count) {
    long bytes = 0;
    for (int i = 0; i < count; i++) bytes += parts[i].iov_len;
    return bytes;
}

WRITER(writev, (int fd, const struct iovec *parts, int count), total(parts, count), (fd, parts, count),
       REAL(writev)(fd, parts, count / 2))
WRITER(pwritev, (int fd, const struct iovec *parts, int count, off_t offset), total(parts, count),
       (fd, parts, count, offset), REAL(pwritev)(fd, parts, count / 2, offset))
WRITER(sendfile, (int fd, int from, off_t *offset, size_t size), size, (fd, from, offset, size),
       REAL(sendfile)(fd, from, offset, size / 2))
WRITER(sendfile64, (int fd, int from, off64_t *offset, size_t size), size, (fd, from, offset, size),
       REAL(sendfile64)(fd, from, offset, size / 2))
WRITER(copy_file_range, (int from, off64_t *at, int fd, off64_t *to, size_t size, unsigned flags), size,
       (from, at, fd, to, size, flags), REAL(copy_file_range)(from, at, fd, to, size / 2, flags))

/* ---- everything else -------------------------------------------------------------------------------------------- */

#define ON_FILE(name, call, kind, parameters, arguments)                                        \
    SLOT(name);                                                                                 \
    int name parameters {                                                                       \
        char full[PATH_MAX];                                                                    \
        const char *path = root_length ? of_file(fd, full) : NULL;                              \
        if (!path) return REAL(name) arguments;                                                 \
        AROUND(call, kind, 0, path, NULL, -1, REAL(name) arguments);                            \
    }

ON_FILE(fsync, "fsync", SYNCS, (int fd), (fd))
ON_FILE(fdatasync, "fsync", SYNCS, (int fd), (fd))
ON_FILE(ftruncate, "truncate", GROWS, (int fd, off_t length), (fd, length))
ON_FILE(ftruncate64, "truncate", GROWS, (int fd, off64_t length), (fd, length))
ON_FILE(fallocate, "truncate", GROWS, (int fd, int mode, off_t offset, off_t length), (fd, mode, offset, length))
ON_FILE(fallocate64, "truncate", GROWS, (int fd, int mode, off64_t offset, off64_t length), (fd, mode, offset, length))
ON_FILE(fchmod, "chmod", CHANGES, (int fd, mode_t mode), (fd, mode))

#define ON_PATH(name, call, kind, parameters, folder, arguments)                                \
    SLOT(name);                                                                                 \
    int name parameters {                                                                       \
        char full[PATH_MAX];                                                                    \
        const char *path = below(folder, file, full);                                           \
        if (!path) return REAL(name) arguments;                                                 \
        AROUND(call, kind, 0, path, NULL, -1, REAL(name) arguments);                            \
    }

ON_PATH(creat, "open", GROWS, (const char *file, mode_t mode), AT_FDCWD, (file, mode))
ON_PATH(creat64, "open", GROWS, (const char *file, mode_t mode), AT_FDCWD, (file, mode))
ON_PATH(truncate, "truncate", GROWS, (const char *file, off_t length), AT_FDCWD, (file, length))
ON_PATH(truncate64, "truncate", GROWS, (const char *file, off64_t length), AT_FDCWD, (file, length))
ON_PATH(unlink, "unlink", CHANGES, (const char *file), AT_FDCWD, (file))
ON_PATH(remove, "unlink", CHANGES, (const char *file), AT_FDCWD, (file))
ON_PATH(unlinkat, flags & AT_REMOVEDIR ? "rmdir" : "unlink", CHANGES, (int at, const char *file, int flags), at,
        (at, file, flags))
ON_PATH(rmdir, "rmdir", CHANGES, (const char *file), AT_FDCWD, (file))
ON_PATH(mkdir, "mkdir", GROWS, (const char *file, mode_t mode), AT_FDCWD, (file, mode))
ON_PATH(mkdirat, "mkdir", GROWS, (int at, const char *file, mode_t mode), at, (at, file, mode))
ON_PATH(symlink, "link", GROWS, (const char *target, const char *file), AT_FDCWD, (target, file))
ON_PATH(symlinkat, "link", GROWS, (const char *target, int at, const char *file), at, (target, at, file))
ON_PATH(chmod, "chmod", CHANGES, (const char *file, mode_t mode), AT_FDCWD, (file, mode))
ON_PATH(fchmodat, "chmod", CHANGES, (int at, const char *file, mode_t mode, int flags), at, (at, file, mode, flags))

#define ON_TWO(name, call, kind, parameters, from_folder, to_folder, arguments)                 \
    SLOT(name);                                                                                 \
    int name parameters {                                                                       \
        char full[PATH_MAX], other_full[PATH_MAX];                                              \
        const char *path = below(from_folder, from, full), *other = below(to_folder, to, other_full); \
        if (!path && !other) return REAL(name) arguments;                                       \
        AROUND(call, kind, 0, path ? path : from, other ? other : to, -1, REAL(name) arguments); \
    }

ON_TWO(rename, "rename", CHANGES, (const char *from, const char *to), AT_FDCWD, AT_FDCWD, (from, to))
ON_TWO(renameat, "rename", CHANGES, (int at, const char *from, int in, const char *to), at, in, (at, from, in, to))
ON_TWO(renameat2, "rename", CHANGES, (int at, const char *from, int in, const char *to, unsigned flags), at, in,
       (at, from, in, to, flags))
ON_TWO(link, "link", GROWS, (const char *from, const char *to), AT_FDCWD, AT_FDCWD, (from, to))
ON_TWO(linkat, "link", GROWS, (int at, const char *from, int in, const char *to, int flags), at, in,
       (at, from, in, to, flags))
