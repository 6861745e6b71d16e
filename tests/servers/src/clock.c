/* A machine's clock that can be set, for one process: the file that CLOCK_FILE names says how many seconds it is ahead. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  char text[32] = "";
  int result = syscall(SYS_gettimeofday, now, zone);
  int file = open(getenv("CLOCK_FILE"), O_RDONLY);
  if (file >= 0) {
    if (read(file, text, sizeof text - 1) > 0) now->tv_sec += atol(text);
    close(file);
  }
  return result;
}
