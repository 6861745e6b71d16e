/* A machine's clock that can be set, for one process: the file that CLOCK_FILE names says how many seconds it is ahead. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead_secs(void) {
  char text[32] = "";
  long ahead = 0;
  int file = open(getenv("CLOCK_FILE"), O_RDONLY);
  if (file >= 0) {
    if (read(file, text, sizeof text - 1) > 0) ahead = atol(text);
    close(file);
  }
  return ahead;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  int result = syscall(SYS_gettimeofday, now, zone);
  now->tv_sec += ahead_secs();
  return result;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = syscall(SYS_clock_gettime, clock, now);
  if (clock == CLOCK_REALTIME) now->tv_sec += ahead_secs();
  return result;
}
