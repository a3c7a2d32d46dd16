/* A disk that fails at the nth change below a folder, or a process that dies at it: for LD_PRELOAD, so that what libraries write
   (tensorstore, safetensors, OpenEXR, NumPy) counts as well as what Python writes, in the process and in all that it starts.

   Counted are files and folders that are made, parts that are written, renamings, links, and what waits for the disk. What to do
   stands in a file that all processes map, faults.py writes it and reads there what happened. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PATH = 4096, KEPT = 256 };

typedef struct {
    char folder[PATH];   /* without links, without / at its end */
    long at;             /* number of the change, from 1; 0: only count */
    int code;            /* the error; 0: the process `owner` is killed */
    int once;            /* only this change fails, and not all from it on */
    int owner;
    int no_semaphores;   /* the error of sem_open and shm_open, as without /dev/shm; 0: they work */
    atomic_long count, failed, renamed;
    char failed_paths[KEPT][PATH], renamed_to[KEPT][PATH]; /* the first ones */
} Control;

static Control *control;

void faults_arm(const char *file) {
    static int (*real)(const char *, int, ...);
    if (!real) real = dlsym(RTLD_NEXT, "open64");
    int descriptor = real(file, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return;
    void *mapped = mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (mapped != MAP_FAILED) control = mapped;
}

/* From now on nothing happens in this process. */
void faults_disarm(void) { control = NULL; }

size_t faults_size(void) { return sizeof(Control); }

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("FAULTS_CONTROL");
    if (file) faults_arm(file);
}

static int is_below(const char *path) {
    size_t length = strlen(control->folder);
    return !strncmp(path, control->folder, length) && (path[length] == '/' || !path[length]);
}

/* Whether the change fails, with errno set. */
static int fails(const char *path) {
    if (!is_below(path)) return 0;
    long number = atomic_fetch_add(&control->count, 1) + 1;
    if (!control->at || number < control->at || (control->once && number > control->at)) return 0;
    long failed = atomic_fetch_add(&control->failed, 1);
    if (failed < KEPT) snprintf(control->failed_paths[failed], PATH, "%s", path);
    if (!control->code) {
        if (number == control->at) kill(control->owner, SIGKILL);
        return 0;
    }
    errno = control->code;
    return 1;
}

/* The whole of a path, which may be of a folder; empty if that cannot be found. */
static const char *whole_of(int folder, const char *path, char whole[2 * PATH]) {
    char link[64];
    if (path[0] == '/') {
        snprintf(whole, 2 * PATH, "%s", path);
        return whole;
    }
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, whole, PATH - 1);
    if (length < 0) length = 0;
    else snprintf(whole + length, PATH, "/%s", path);
    whole[length ? 2 * PATH - 1 : 0] = 0;
    return whole;
}

static int fails_at(int folder, const char *path) {
    int before = errno;
    char whole[2 * PATH];
    if (!control || !path) return 0;
    if (fails(whole_of(folder, path, whole))) return 1;
    errno = before;
    return 0;
}

static int renamed(int result, int folder, const char *path) {
    int before = errno;
    char whole[2 * PATH];
    if (!result && control && is_below(whole_of(folder, path, whole))) {
        long number = atomic_fetch_add(&control->renamed, 1);
        if (number < KEPT) snprintf(control->renamed_to[number], PATH, "%.*s", PATH - 1, whole);
    }
    errno = before;
    return result;
}

static int fails_of(int descriptor) {
    int before = errno;
    char link[64], path[PATH];
    if (!control) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH - 1);
    if (length > 0) {
        path[length] = 0;
        if (fails(path)) return 1;
    }
    errno = before;
    return 0;
}

static int is_there(int folder, const char *path) {
    int before = errno;
    struct stat found;
    int there = !fstatat(folder, path, &found, AT_SYMLINK_NOFOLLOW);
    errno = before;
    return there;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

static int needs_room(int folder, const char *path, int flags) {
    return control && (flags & (O_CREAT | __O_TMPFILE)) && !((flags & O_CREAT) && is_there(folder, path));
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        MODE(flags) REAL(int, #name, const char *, int, ...); \
        return needs_room(AT_FDCWD, path, flags) && fails_at(AT_FDCWD, path) ? -1 : real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        MODE(flags) REAL(int, #name, int, const char *, int, ...); \
        return needs_room(folder, path, flags) && fails_at(folder, path) ? -1 : real(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(FILE *, #name, const char *, const char *); \
        int flags = strpbrk(mode, "wa") ? O_CREAT : 0; \
        return needs_room(AT_FDCWD, path, flags) && fails_at(AT_FDCWD, path) ? NULL : real(path, mode); \
    }
FOPEN(fopen)
FOPEN(fopen64)

size_t fwrite(const void *content, size_t size, size_t count, FILE *file) {
    REAL(size_t, "fwrite", const void *, size_t, size_t, FILE *);
    return control && fails_of(fileno(file)) ? 0 : real(content, size, count, file);
}

/* Of a descriptor: the change fails, or the real function is called. */
#define OF(type, name, parameters, ...) \
    type name parameters { \
        static type (*real) parameters; \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name); \
        return fails_of(descriptor) ? -1 : real(__VA_ARGS__); \
    }
OF(ssize_t, write, (int descriptor, const void *content, size_t size), descriptor, content, size)
OF(ssize_t, pwrite, (int descriptor, const void *content, size_t size, off_t at), descriptor, content, size, at)
OF(ssize_t, pwrite64, (int descriptor, const void *content, size_t size, off64_t at), descriptor, content, size, at)
OF(ssize_t, writev, (int descriptor, const struct iovec *parts, int count), descriptor, parts, count)
OF(ssize_t, pwritev, (int descriptor, const struct iovec *parts, int count, off_t at), descriptor, parts, count, at)
OF(ssize_t, pwritev64, (int descriptor, const struct iovec *parts, int count, off64_t at), descriptor, parts, count, at)
OF(int, fsync, (int descriptor), descriptor)
OF(int, fdatasync, (int descriptor), descriptor)
OF(int, fallocate, (int descriptor, int mode, off_t at, off_t size), descriptor, mode, at, size)
OF(int, fallocate64, (int descriptor, int mode, off64_t at, off64_t size), descriptor, mode, at, size)
OF(ssize_t, copy_file_range, (int from, off64_t *from_at, int descriptor, off64_t *at, size_t size, unsigned flags),
   from, from_at, descriptor, at, size, flags)
OF(ssize_t, sendfile, (int descriptor, int from, off_t *at, size_t size), descriptor, from, at, size)
OF(ssize_t, sendfile64, (int descriptor, int from, off64_t *at, size_t size), descriptor, from, at, size)

/* Of a new path. */
#define MOVE(name, parameters, folder, path, ...) \
    int name parameters { \
        static int (*real) parameters; \
        if (!real) real = (int(*) parameters)dlsym(RTLD_NEXT, #name); \
        return control && fails_at(folder, path) ? -1 : renamed(real(__VA_ARGS__), folder, path); \
    }
#define NEW(name, parameters, folder, path, ...) \
    int name parameters { \
        static int (*real) parameters; \
        if (!real) real = (int(*) parameters)dlsym(RTLD_NEXT, #name); \
        return control && !is_there(folder, path) && fails_at(folder, path) ? -1 : real(__VA_ARGS__); \
    }
NEW(mkdir, (const char *path, mode_t mode), AT_FDCWD, path, path, mode)
NEW(mkdirat, (int folder, const char *path, mode_t mode), folder, path, folder, path, mode)
NEW(symlink, (const char *to, const char *path), AT_FDCWD, path, to, path)
NEW(symlinkat, (const char *to, int folder, const char *path), folder, path, to, folder, path)
NEW(link, (const char *from, const char *path), AT_FDCWD, path, from, path)
NEW(linkat, (int old, const char *from, int folder, const char *path, int flags), folder, path, old, from, folder, path, flags)
MOVE(rename, (const char *from, const char *path), AT_FDCWD, path, from, path)
MOVE(renameat, (int old, const char *from, int folder, const char *path), folder, path, old, from, folder, path)
MOVE(renameat2, (int old, const char *from, int folder, const char *path, unsigned flags), folder, path, old, from, folder, path, flags)

sem_t *sem_open(const char *name, int flags, ...) {
    REAL(sem_t *, "sem_open", const char *, int, ...);
    if (control && control->no_semaphores) { errno = control->no_semaphores; return SEM_FAILED; }
    if (!(flags & O_CREAT)) return real(name, flags);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    unsigned value = va_arg(rest, unsigned);
    va_end(rest);
    return real(name, flags, mode, value);
}

int shm_open(const char *name, int flags, mode_t mode) {
    REAL(int, "shm_open", const char *, int, mode_t);
    if (control && control->no_semaphores) { errno = control->no_semaphores; return -1; }
    return real(name, flags, mode);
}
