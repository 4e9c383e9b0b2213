/* Faults of a disk for any program: a library that is loaded before the C library (LD_PRELOAD) and replaces its calls.

FAULT_PATH   only files whose path begins with this text are concerned
FAULT_KIND   eio: calls fail; short: reads and writes transfer fewer bytes; slow: calls take 5 ms longer;
             full: writes fail after the first FAULT_EVERY of them, as on a full disk
FAULT_EVERY  on average, one call of this number is concerned
FAULT_SEED   other numbers concern other calls */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static atomic_ullong calls, writes;

static uint64_t draw(void) { /* splitmix64 */
  uint64_t z = (strtoull(getenv("FAULT_SEED"), 0, 10) + 1) * 0x9e3779b97f4a7c15 + atomic_fetch_add(&calls, 1) * 0xd1342543de82ef95;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

/* Return the number of bytes to transfer, or -1 after a fault. */
static ssize_t size(int file, size_t count, int is_write) {
  char link[64], path[4096];
  const char *kind = getenv("FAULT_KIND"), *prefix = getenv("FAULT_PATH");
  if (!kind || !prefix) return count;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0 || strncmp(path, prefix, strlen(prefix))) return count;
  uint64_t every = strtoull(getenv("FAULT_EVERY"), 0, 10), number = draw();
  if (!strcmp(kind, "full")) {
    if (!is_write || atomic_fetch_add(&writes, 1) < every) return count;
    errno = ENOSPC;
    return -1;
  }
  if (number % every) return count;
  if (!strcmp(kind, "slow")) nanosleep(&(struct timespec){0, 5000000}, 0);
  if (!strcmp(kind, "short") && count > 1) return 1 + (number >> 20) % (count - 1);
  if (!strcmp(kind, "eio")) {
    errno = EIO;
    return -1;
  }
  return count;
}

#define REPLACE(name, parameters, arguments, is_write)                                        \
  ssize_t name parameters {                                                                   \
    static ssize_t(*original) parameters;                                                     \
    if (!original) original = dlsym(RTLD_NEXT, #name);                                        \
    ssize_t allowed = size(file, count, is_write);                                            \
    if (allowed < 0) return -1;                                                               \
    count = allowed;                                                                          \
    return original arguments;                                                                \
  }

REPLACE(read, (int file, void *data, size_t count), (file, data, count), 0)
REPLACE(pread, (int file, void *data, size_t count, off_t place), (file, data, count, place), 0)
REPLACE(pread64, (int file, void *data, size_t count, off_t place), (file, data, count, place), 0)
REPLACE(write, (int file, const void *data, size_t count), (file, data, count), 1)
REPLACE(pwrite, (int file, const void *data, size_t count, off_t place), (file, data, count, place), 1)
REPLACE(pwrite64, (int file, const void *data, size_t count, off_t place), (file, data, count, place), 1)

int fsync(int file) {
  static int (*original)(int);
  if (!original) original = dlsym(RTLD_NEXT, "fsync");
  return size(file, 0, 0) < 0 ? -1 : original(file);
}
