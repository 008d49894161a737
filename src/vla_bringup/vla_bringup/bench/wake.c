/* The reference for the servo's wake-up jitter: sleep to absolute deadlines, note how late each wake-up is.
 * usage: wake PERIOD_NS COUNT PRIORITY; prints one latency [ns] per line. PRIORITY 0: the normal scheduler. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  const long period = atol(argv[1]), count = atol(argv[2]);
  const struct sched_param priority = {.sched_priority = atoi(argv[3])};
  long *late = calloc(count, sizeof *late);
  if (!late) return 1;
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  mlockall(MCL_CURRENT);
  if (priority.sched_priority > 0 && sched_setscheduler(0, SCHED_FIFO, &priority)) return 3;
  struct timespec deadline, now;
  clock_gettime(CLOCK_MONOTONIC, &deadline);
  for (long i = 0; i < count; i++) {
    deadline.tv_nsec += period;
    while (deadline.tv_nsec >= 1000000000L) {
      deadline.tv_nsec -= 1000000000L;
      deadline.tv_sec++;
    }
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL);
    clock_gettime(CLOCK_MONOTONIC, &now);
    late[i] = (now.tv_sec - deadline.tv_sec) * 1000000000L + now.tv_nsec - deadline.tv_nsec;
  }
  for (long i = 0; i < count; i++) printf("%ld\n", late[i]);
  return 0;
}
