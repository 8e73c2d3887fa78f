/*
 * What close() costs through the preload library, for descriptors that nobody
 * watches, beside the C library's own in the same process. Run with LD_PRELOAD
 * by ci/bench.sh; the library to attach is given by its path.
 *
 * A round opens so many copies of one descriptor, and closes them by the one or
 * by the other; only the closing is timed. The order changes every round.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../include/sys/event.h"

enum { COPIES = 400, ROUNDS = 2001, WATCHED = 100 };

typedef int close_fn(int);
typedef int kqueue_fn(void);
typedef int kevent_fn(int, const struct kevent *, int, struct kevent *, int,
    const struct timespec *);

static void
need(int holds, const char *what)
{
	if (!holds) {
		perror(what);
		exit(1);
	}
}

static void *
symbol(void *library, const char *name)
{
	void *found = dlsym(library, name);
	need(found != NULL, name);
	return found;
}

static double
now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* Nanoseconds for one close. */
static double
one_round(close_fn *by, int fd)
{
	static int copies[COPIES];
	double begin;
	int i;
	for (i = 0; i < COPIES; i++)
		need((copies[i] = dup(fd)) >= 0, "dup");
	begin = now();
	for (i = 0; i < COPIES; i++)
		by(copies[i]);
	return (now() - begin) / COPIES;
}

static int
by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double
median(double *of)
{
	qsort(of, ROUNDS, sizeof *of, by_size);
	return of[ROUNDS / 2];
}

/* A queue that watches something, so that the two libraries have met. */
static void
watch_others(const char *path)
{
	void *library = dlopen(path, RTLD_NOW);
	kqueue_fn *make;
	kevent_fn *change;
	int kq, i;
	if (library == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	*(void **)&make = symbol(library, "kqueue");
	*(void **)&change = symbol(library, "kevent");
	need((kq = make()) >= 0, "kqueue");
	for (i = 0; i < WATCHED; i++) {
		struct kevent k;
		int ends[2];
		need(pipe(ends) == 0, "pipe");
		EV_SET(&k, (uintptr_t)ends[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
		need(change(kq, &k, 1, NULL, 0, NULL) == 0, "kevent");
	}
}

int
main(int argc, char **argv)
{
	static double libc[ROUNDS], ours[ROUNDS], ratio[ROUNDS];
	close_fn *real;
	cpu_set_t one;
	void *c = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
	int fd, round;
	if (c == NULL)
		c = RTLD_NEXT;
	*(void **)&real = symbol(c, "close");
	if (argc != 2 || real == close) {
		fprintf(stderr, "usage: LD_PRELOAD=libkqueue-preload.so %s "
		    "libkqueue.so.0\n", argv[0]);
		return 2;
	}
	watch_others(argv[1]);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof one, &one);
	need((fd = open("/dev/null", O_RDONLY)) >= 0, "/dev/null");
	for (round = -20; round < ROUNDS; round++) {
		double a, b;
		if (round % 2) {
			a = one_round(real, fd);
			b = one_round(close, fd);
		} else {
			b = one_round(close, fd);
			a = one_round(real, fd);
		}
		if (round >= 0) {
			libc[round] = a;
			ours[round] = b;
			ratio[round] = b / a;
		}
	}
	printf("close() of what nobody watches: %.0f ns by the C library, "
	    "%.0f ns through the preload library, ratio %.3f, budget 1.05\n",
	    median(libc), median(ours), median(ratio));
	return 0;
}
