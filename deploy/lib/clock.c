/* A wall clock of its own for one program, for tests of failures (deploy/cluster clock): preloaded, it
 * adds to every reading as many seconds as the file $OWN_CLOCK was changed after 1970. A file's time is
 * set in one step, and read without memory: allocators read the clock, too (libfaketime asks for memory
 * and does not get along with Redis's). Steady clocks stay true, as they do when a wall clock is set. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int file = -1;

__attribute__((constructor)) static void open_file(void) {
    const char *name = getenv("OWN_CLOCK");
    if (name) file = open(name, O_RDONLY | O_CLOEXEC);
}

static time_t off(void) {
    struct stat seen;
    return file >= 0 && fstat(file, &seen) == 0 ? seen.st_mtim.tv_sec : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int code = (int)syscall(SYS_clock_gettime, clock, now);
    if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += off();
    return code;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec read;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &read);
    now->tv_sec = read.tv_sec;
    now->tv_usec = read.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec read;
    clock_gettime(CLOCK_REALTIME, &read);
    if (now) *now = read.tv_sec;
    return read.tv_sec;
}
