// A library that is preloaded into a program under test and makes one of its system calls go wrong.
//
// It counts the calls of the program on files whose path contains FAULT_PATH. The call with number FAULT_NUMBER is
// changed as FAULT_ACTION says:
//   kill         the process is killed before the call
//   kill-after   the process is killed after the call
//   tear         a write writes half of its bytes, and then the process is killed; other calls as with kill
//   error=E      the call fails with the error number E
//   short        a write or a read moves half of its bytes; other calls are not changed
//   signal=S     the process receives the signal S before the call
//   exit=CODE    the process ends with this code before the call, without any cleaning up
// FAULT_CALLS limits this to some calls, "write,fsync" for instance. With FAULT_REPEAT=1 every later call is changed,
// too. FAULT_LOG is a file to which each counted call is appended as "NUMBER NAME PATH", and "hit " before those that
// were changed.
//
// The receives that a rank of MPI starts are counted, too, as the call "irecv" on the path "rank-R", and so is the end of
// its main(), as the call "end".
//
// A segmentation fault is logged, too, as "crash PATH" with the path of the library or program in which it happened.
//
// close fails only after it has closed the file, as on Linux. The stream functions are here because the C library does
// not go through open() and close() for them.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum action { kNone, kKill, kKillAfter, kTear, kError, kShort, kSignal, kExit };

static void die(void) {
  kill(getpid(), SIGKILL);
  while (1) pause();
}

static enum action parse_action(const char* text, int* value) {
  static const struct {
    const char* name;
    enum action action;
  } known[] = {{"kill-after", kKillAfter}, {"kill", kKill},   {"tear", kTear},
               {"error=", kError},         {"short", kShort}, {"signal=", kSignal},
               {"exit=", kExit}};
  for (size_t i = 0; text && i < sizeof known / sizeof known[0]; ++i) {
    const size_t length = strlen(known[i].name);
    if (strncmp(text, known[i].name, length) != 0) continue;
    *value = atoi(text + length);
    return known[i].action;
  }
  return kNone;
}

// Returns whether the list "write,fsync" has `call`. No list has every call.
static int is_listed(const char* list, const char* call) {
  if (!list || !*list) return 1;
  const size_t length = strlen(call);
  for (const char* item = list; item; item = strchr(item, ',')) {
    item += *item == ',';
    if (strncmp(item, call, length) == 0 && (item[length] == ',' || item[length] == '\0')) return 1;
  }
  return 0;
}

// Appends a line to the log by system calls alone, because the functions of the C library are intercepted.
__attribute__((format(printf, 1, 2))) static void append_to_log(const char* format, ...) {
  const char* log = getenv("FAULT_LOG");
  if (!log) return;
  char line[PATH_MAX + 64];
  va_list values;
  va_start(values, format);
  const int length = vsnprintf(line, sizeof line, format, values);
  va_end(values);
  const long file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (file < 0) return;
  syscall(SYS_write, file, line, (size_t)length);
  syscall(SYS_close, file);
}

// Returns the name of what has the code at this address: a library, or the program.
static const char* owner_of(void* address) {
  Dl_info info;
  return dladdr(address, &info) && info.dli_fname ? info.dli_fname : "unknown";
}

// Logs what the faulty code belongs to, or what called the C library if the fault is there. Then the instruction faults
// again and ends the process.
static void log_crash(int number) {
  (void)number;
  void* frames[32];
  const int count = backtrace(frames, 32);
  const char* own = owner_of((void*)log_crash);
  const char* owner = "unknown";
  for (int i = 0; i < count; ++i) {
    owner = owner_of(frames[i]);
    if (strcmp(owner, own) != 0 && !strstr(owner, "/libc.so")) break;
  }
  append_to_log("crash %s\n", owner);
}

__attribute__((constructor)) static void watch_crashes(void) {
  if (!getenv("FAULT_LOG")) return;
  void* frame;
  backtrace(&frame, 1);  // loads what it needs now, because there may be no memory later
  struct sigaction action = {0};
  action.sa_handler = log_crash;
  action.sa_flags = (int)SA_RESETHAND;
  sigaction(SIGSEGV, &action, NULL);
}

// Counts a call, and returns what is to happen to it. kKill and kSignal have happened when it returns; with kError,
// errno is set.
static enum action begin(const char* call, const char* path) {
  static long count = 0;
  const char *filter = getenv("FAULT_PATH"), *number = getenv("FAULT_NUMBER"),
             *repeat = getenv("FAULT_REPEAT");
  if (!filter || !path || !strstr(path, filter) || !is_listed(getenv("FAULT_CALLS"), call)) return kNone;
  const long current = __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED), wanted = number ? atol(number) : 0;
  const int hit = wanted > 0 && (current == wanted || (current > wanted && repeat && *repeat == '1'));
  append_to_log("%s%ld %s %s\n", hit ? "hit " : "", current, call, path);
  int value = 0;
  const enum action action = hit ? parse_action(getenv("FAULT_ACTION"), &value) : kNone;
  const int writes = strstr(call, "write") != NULL;
  if (action == kKill || (action == kTear && !writes)) die();
  if (action == kSignal) kill(getpid(), value);
  if (action == kExit) syscall(SYS_exit_group, value);
  if (action == kError) errno = value;
  return action;
}

// Returns the path of an open file in a buffer of the thread.
static const char* path_of(int file) {
  static __thread char path[PATH_MAX];
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return NULL;
  path[length] = '\0';
  return path;
}

// `real` is the function of the C library. PARAMETERS and ARGUMENTS are lists in brackets.
#define REAL(TYPE, NAME, PARAMETERS)    \
  static TYPE(*real) PARAMETERS = NULL; \
  if (!real) *(void**)&real = dlsym(RTLD_NEXT, #NAME)

// Defines the function NAME, which is counted as CALL and returns FAILURE when it is to fail.
#define INTERCEPT(TYPE, NAME, CALL, PARAMETERS, ARGUMENTS, PATH, FAILURE) \
  TYPE NAME PARAMETERS {                                                  \
    REAL(TYPE, NAME, PARAMETERS);                                         \
    const enum action action = begin(CALL, PATH);                         \
    if (action == kError) return FAILURE;                                 \
    TYPE result = real ARGUMENTS;                                         \
    if (action == kKillAfter) die();                                      \
    return result;                                                        \
  }

// The same for calls that move bytes, which can move half of them.
#define INTERCEPT_BYTES(NAME, CALL, PARAMETERS, ARGUMENTS)       \
  ssize_t NAME PARAMETERS {                                      \
    REAL(ssize_t, NAME, PARAMETERS);                             \
    const enum action action = begin(CALL, path_of(file));       \
    if (action == kError) return -1;                             \
    if (action == kTear || action == kShort) bytes -= bytes / 2; \
    const ssize_t result = real ARGUMENTS;                       \
    if (action == kTear || action == kKillAfter) die();          \
    return result;                                               \
  }

// The same for calls that close a file: they fail after it is closed.
#define INTERCEPT_CLOSE(NAME, PARAMETERS, ARGUMENTS, PATH, FAILURE) \
  int NAME PARAMETERS {                                             \
    REAL(int, NAME, PARAMETERS);                                    \
    const enum action action = begin("close", PATH);                \
    const int error = errno, result = real ARGUMENTS;               \
    if (action == kKillAfter) die();                                \
    if (action != kError) return result;                            \
    errno = error;                                                  \
    return FAILURE;                                                 \
  }

#define INTERCEPT_OPEN(NAME, CALL, PARAMETERS, ARGUMENTS) \
  int NAME PARAMETERS {                                   \
    REAL(int, NAME, PARAMETERS);                          \
    va_list list;                                         \
    va_start(list, flags);                                \
    const mode_t mode = va_arg(list, mode_t);             \
    va_end(list);                                         \
    const enum action action = begin(CALL, path);         \
    if (action == kError) return -1;                      \
    const int result = real ARGUMENTS;                    \
    if (action == kKillAfter) die();                      \
    return result;                                        \
  }

INTERCEPT_OPEN(open, "open", (const char* path, int flags, ...), (path, flags, mode))
INTERCEPT_OPEN(open64, "open", (const char* path, int flags, ...), (path, flags, mode))
INTERCEPT_OPEN(openat, "open", (int folder, const char* path, int flags, ...), (folder, path, flags, mode))
INTERCEPT_OPEN(openat64, "open", (int folder, const char* path, int flags, ...), (folder, path, flags, mode))
INTERCEPT(FILE*, fopen, "open", (const char* path, const char* mode), (path, mode), path, NULL)
INTERCEPT(FILE*, fopen64, "open", (const char* path, const char* mode), (path, mode), path, NULL)
INTERCEPT_CLOSE(close, (int file), (file), path_of(file), -1)
INTERCEPT_CLOSE(fclose, (FILE * file), (file), path_of(fileno(file)), EOF)
INTERCEPT_BYTES(write, "write", (int file, const void* data, size_t bytes), (file, data, bytes))
INTERCEPT_BYTES(pwrite, "write", (int file, const void* data, size_t bytes, off_t at),
                (file, data, bytes, at))
INTERCEPT_BYTES(pwrite64, "write", (int file, const void* data, size_t bytes, off64_t at),
                (file, data, bytes, at))
INTERCEPT_BYTES(read, "read", (int file, void* data, size_t bytes), (file, data, bytes))
INTERCEPT_BYTES(pread, "read", (int file, void* data, size_t bytes, off_t at), (file, data, bytes, at))
INTERCEPT_BYTES(pread64, "read", (int file, void* data, size_t bytes, off64_t at), (file, data, bytes, at))
INTERCEPT(ssize_t, writev, "write", (int file, const struct iovec* parts, int count), (file, parts, count),
          path_of(file), -1)
INTERCEPT(int, fsync, "fsync", (int file), (file), path_of(file), -1)
INTERCEPT(int, fdatasync, "fsync", (int file), (file), path_of(file), -1)
INTERCEPT(int, ftruncate, "ftruncate", (int file, off_t size), (file, size), path_of(file), -1)
INTERCEPT(int, ftruncate64, "ftruncate", (int file, off64_t size), (file, size), path_of(file), -1)
INTERCEPT(int, flock, "flock", (int file, int mode), (file, mode), path_of(file), -1)
INTERCEPT(int, fstat, "stat", (int file, struct stat* info), (file, info), path_of(file), -1)
INTERCEPT(int, stat, "stat", (const char* path, struct stat* info), (path, info), path, -1)
INTERCEPT(int, lstat, "stat", (const char* path, struct stat* info), (path, info), path, -1)
INTERCEPT(int, rename, "rename", (const char* path, const char* to), (path, to), path, -1)
INTERCEPT(int, unlink, "unlink", (const char* path), (path), path, -1)
INTERCEPT(int, unlinkat, "unlink", (int folder, const char* path, int flags), (folder, path, flags), path, -1)
INTERCEPT(int, remove, "unlink", (const char* path), (path), path, -1)
INTERCEPT(int, mkdir, "mkdir", (const char* path, mode_t mode), (path, mode), path, -1)

// Returns "rank-1" in a process that a launcher of MPI has started as its rank 1, else NULL.
static const char* rank_name(void) {
  static char name[32];
  const char* rank = getenv("OMPI_COMM_WORLD_RANK");
  if (!rank) rank = getenv("PMI_RANK");
  if (!rank) return NULL;
  snprintf(name, sizeof name, "rank-%s", rank);
  return name;
}

// The types and groups of MPI are pointers or ints, which are handed on alike. 16 is an error of MPI.
INTERCEPT(int, MPI_Irecv, "irecv",
          (void* data, int count, void* type, int from, int tag, void* group, void* request),
          (data, count, type, from, tag, group, request), rank_name(), 16)

__attribute__((destructor)) static void count_end(void) {
  begin("end", rank_name());
}
