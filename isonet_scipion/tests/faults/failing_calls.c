/* Makes the n-th file operation below a folder fail; for LD_PRELOAD. Set by environment, armed by fault_arm(). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KILL = 100000 };  /* in the place of an error number: end the process */

static char root[PATH_MAX];
static long wanted = 0;
static int number = EIO, armed = 0;
static atomic_long count;
static char last[PATH_MAX];

long fault_count(void) { return count; }
const char *fault_place(void) { return last; }

void fault_arm(const char *folder, long n, int error) {
  snprintf(root, sizeof root, "%s/", folder);
  wanted = n;
  number = error;
  count = 0;
  armed = 1;
}

static int fails(const char *what, const char *path) {
  if (!armed || strncmp(path, root, strlen(root))) return 0;
  if (atomic_fetch_add(&count, 1) + 1 != wanted) return 0;
  snprintf(last, sizeof last, "%s %s", what, path + strlen(root));
  if (number == KILL) {
    kill(getpid(), SIGKILL);
    pause();
  }
  errno = number;
  return 1;
}

/* the path of an open file, or "" */
static const char *of(int file, char *path) {
  char link[64];
  int kept = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  path[length > 0 ? length : 0] = 0;
  errno = kept;
  return path;
}

/* a name below an open folder, as /proc/PID/fd/7/name, by the folder's own path */
static void without_descriptor(char *whole) {
  int process, folder, used = 0;
  char base[PATH_MAX], rest[2 * PATH_MAX];
  if (sscanf(whole, "/proc/%d/fd/%d/%n", &process, &folder, &used) < 2 || !used) return;
  snprintf(rest, sizeof rest, "%s", whole + used);
  snprintf(whole, 2 * PATH_MAX, "%s/%s", of(folder, base), rest);
}

static int at_path(const char *what, int folder, const char *name) {
  char whole[2 * PATH_MAX], base[PATH_MAX];
  int kept = errno;
  if (!armed || !name) return 0;
  if (name[0] == '/') {
    snprintf(whole, sizeof whole, "%s", name);
  } else {
    if (folder == AT_FDCWD) {
      if (!getcwd(base, sizeof base)) base[0] = 0;
    } else {
      of(folder, base);
    }
    snprintf(whole, sizeof whole, "%s/%s", base, name);
  }
  without_descriptor(whole);
  errno = kept;
  return fails(what, whole);
}

static int at_file(const char *what, int file) {
  char path[PATH_MAX];
  return armed && fails(what, of(file, path));
}

#define NEXT(type, name, ...) static type (*next)(__VA_ARGS__); if (!next) next = dlsym(RTLD_NEXT, name)

#define OPEN(name)                                                      \
  int name(const char *path, int flags, ...) {                          \
    va_list rest;                                                       \
    va_start(rest, flags);                                              \
    mode_t mode = va_arg(rest, mode_t);                                 \
    va_end(rest);                                                       \
    NEXT(int, #name, const char *, int, ...);                           \
    return at_path("open", AT_FDCWD, path) ? -1 : next(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)
#define OPENAT(name)                                                    \
  int name(int folder, const char *path, int flags, ...) {              \
    va_list rest;                                                       \
    va_start(rest, flags);                                              \
    mode_t mode = va_arg(rest, mode_t);                                 \
    va_end(rest);                                                       \
    NEXT(int, #name, int, const char *, int, ...);                      \
    return at_path("open", folder, path) ? -1 : next(folder, path, flags, mode); \
  }
OPENAT(openat)
OPENAT(openat64)
#define PATHCALL(name)                                                  \
  int name(const char *path) {                                          \
    NEXT(int, #name, const char *);                                     \
    return at_path(#name, AT_FDCWD, path) ? -1 : next(path);            \
  }
PATHCALL(unlink)
PATHCALL(rmdir)
int unlinkat(int folder, const char *path, int flags) {
  NEXT(int, "unlinkat", int, const char *, int);
  return at_path("unlink", folder, path) ? -1 : next(folder, path, flags);
}
int mkdir(const char *path, mode_t mode) {
  NEXT(int, "mkdir", const char *, mode_t);
  return at_path("mkdir", AT_FDCWD, path) ? -1 : next(path, mode);
}
int rename(const char *from, const char *to) {
  NEXT(int, "rename", const char *, const char *);
  return at_path("rename", AT_FDCWD, to) ? -1 : next(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
  NEXT(int, "renameat", int, const char *, int, const char *);
  return at_path("rename", b, to) ? -1 : next(a, from, b, to);
}
int fchmodat(int folder, const char *path, mode_t mode, int flags) {
  NEXT(int, "fchmodat", int, const char *, mode_t, int);
  return at_path("chmod", folder, path) ? -1 : next(folder, path, mode, flags);
}
#define STAT(name, kind)                                                \
  int name(const char *path, struct kind *found) {                      \
    NEXT(int, #name, const char *, struct kind *);                      \
    return at_path("stat", AT_FDCWD, path) ? -1 : next(path, found);    \
  }
STAT(stat, stat)
STAT(lstat, stat)
STAT(stat64, stat64)
STAT(lstat64, stat64)
ssize_t read(int file, void *data, size_t size) {
  NEXT(ssize_t, "read", int, void *, size_t);
  return at_file("read", file) ? -1 : next(file, data, size);
}
ssize_t write(int file, const void *data, size_t size) {
  NEXT(ssize_t, "write", int, const void *, size_t);
  return at_file("write", file) ? -1 : next(file, data, size);
}
#define PWRITE(name, offset)                                            \
  ssize_t name(int file, const void *data, size_t size, offset at) {    \
    NEXT(ssize_t, #name, int, const void *, size_t, offset);            \
    return at_file("write", file) ? -1 : next(file, data, size, at);    \
  }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
#define PREAD(name, offset)                                             \
  ssize_t name(int file, void *data, size_t size, offset at) {          \
    NEXT(ssize_t, #name, int, void *, size_t, offset);                  \
    return at_file("read", file) ? -1 : next(file, data, size, at);     \
  }
PREAD(pread, off_t)
PREAD(pread64, off64_t)
#define FILECALL(name)                                                  \
  int name(int file) {                                                  \
    NEXT(int, #name, int);                                              \
    return at_file(#name, file) ? -1 : next(file);                      \
  }
FILECALL(fsync)
FILECALL(fdatasync)
int close(int file) {
  NEXT(int, "close", int);
  int failed = at_file("close", file), kept = errno;
  int status = next(file);
  if (failed) errno = kept;
  return failed ? -1 : status;
}
int flock(int file, int operation) {
  NEXT(int, "flock", int, int);
  return at_file("flock", file) ? -1 : next(file, operation);
}
#define LENGTH(name, length)                                            \
  int name(int file, length size) {                                     \
    NEXT(int, #name, int, length);                                      \
    return at_file("truncate", file) ? -1 : next(file, size);           \
  }
LENGTH(ftruncate, off_t)
LENGTH(ftruncate64, off64_t)
#define ALLOCATE(name, length)                                          \
  int name(int file, length start, length size) {                       \
    NEXT(int, #name, int, length, length);                              \
    return at_file("allocate", file) ? number : next(file, start, size); \
  }
ALLOCATE(posix_fallocate, off_t)
ALLOCATE(posix_fallocate64, off64_t)
#define MAP(name, offset)                                               \
  void *name(void *address, size_t size, int access, int flags, int file, offset at) { \
    NEXT(void *, #name, void *, size_t, int, int, int, offset);         \
    return file >= 0 && at_file("map", file) ? MAP_FAILED : next(address, size, access, flags, file, at); \
  }
MAP(mmap, off_t)
MAP(mmap64, off64_t)
