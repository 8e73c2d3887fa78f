/* What is counted instead of timed: memory and descriptors. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "case.h"

#define MEMORY_KNOTES 100000

/* Resident bytes of this process, counted exactly by the kernel. */
static long
resident(void)
{
	char text[4096], *line;
	ssize_t n;
	int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		FAIL("/proc/self/smaps_rollup: %s", strerror(errno));
	n = read(fd, text, sizeof text - 1);
	close(fd);
	MUST(n > 0);
	text[n] = '\0';
	MUST((line = strstr(text, "\nRss:")) != NULL);
	return strtol(line + 5, NULL, 10) * 1024;
}

/* Collects until each of the n knotes, known by its udata, came. */
static void
all_come(int kq, const int *fds, long n)
{
	struct kevent events[BATCH];
	char *seen = calloc((size_t)n, 1);
	long left = n, got = 0;
	MUST(seen != NULL);
	while (left > 0) {
		int count = lib.kevent(kq, NULL, 0, events, BATCH, NULL);
		MUST(count > 0 && count <= BATCH);
		for (int i = 0; i < count; i++) {
			uintptr_t who = (uintptr_t)events[i].udata;
			MUST(who < (uintptr_t)n);
			MUST(events[i].ident == (uintptr_t)fds[who]);
			MUST(events[i].data == 1);
			left -= !seen[who];
			seen[who] = 1;
		}
		/* Level events come again, but only after the others. */
		if ((got += count) > 3 * n)
			FAIL("%ld of %ld knotes gave no event", left, n);
	}
	free(seen);
}

/*
 * The knotes are on dups of one socket: for an epoll set and for a queue each
 * number is another descriptor, and only half as many numbers are needed.
 */
static double
memory(void)
{
	struct kevent changes[BATCH];
	long n = descriptors_left(), before, after;
	int in, out, kq, *fds;
	if (n < 2000)
		FAIL("needs 2,000 descriptors, has %ld", n);
	if (n > MEMORY_KNOTES)
		n = MEMORY_KNOTES;
	else if (n < MEMORY_KNOTES)
		remark("%ld knotes: the limit on open files", n);
	MUST((fds = malloc((size_t)n * sizeof *fds)) != NULL);
	socket_pair(&in, &out);
	for (long i = 0; i < n; i++)
		MUST((fds[i] = fcntl(in, F_DUPFD_CLOEXEC, 0)) >= 0);
	/* Code and tables that every process pays once are not a knote's. */
	put_bytes(out, 1);
	kq = lib_queue();
	lib_change(kq, (uintptr_t)in, EVFILT_READ, EV_ADD, 0, 0, 0);
	lib_next(kq, (uintptr_t)in, EVFILT_READ, 1, 0);
	lib_change(kq, (uintptr_t)in, EVFILT_READ, EV_DELETE, 0, 0, 0);
	take_bytes(in, 1);

	before = resident();
	for (long i = 0; i < n;) {
		int count = 0;
		for (; count < BATCH && i < n; count++, i++)
			kev_set(&changes[count], (uintptr_t)fds[i], EVFILT_READ,
			    EV_ADD, 0, 0, (uintptr_t)i);
		if (lib.kevent(kq, changes, count, NULL, 0, NULL) != 0)
			FAIL("adding knotes up to %ld: %s", i,
			    strerror(errno));
	}
	after = resident();
	put_bytes(out, 1);
	all_come(kq, fds, n);
	return (double)(after - before) / (double)n;
}

const struct bench bench_memory = {
    .name = "memory",
    .what = "memory for a read knote",
    .unit = "B",
    .budget = 96,
    .recorded = 336,
    .cpus = 1,
    .count = memory,
};

static long
open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	/* Less the one that reads the directory. */
	long n = -1;
	MUST(dir != NULL);
	while ((entry = readdir(dir)) != NULL)
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

#define TIMERS 1000
#define FILES 20
#define USERS 20

/* Half of the files hold unread bytes; the others wait for growth. */
static double
descriptors(void)
{
	const struct timespec generous = {5, 0};
	struct kevent events[BATCH];
	char file_seen[FILES] = {0}, user_seen[USERS] = {0};
	const char *tmp = getenv("TMPDIR");
	int files[FILES], left = FILES / 2 + USERS + 1, timer_seen = 0, kq;
	long before, most;
	for (int i = 0; i < FILES; i++) {
		char path[4096];
		snprintf(path, sizeof path, "%s/bench-XXXXXX",
		    tmp != NULL ? tmp : "/tmp");
		if ((files[i] = mkstemp(path)) < 0)
			FAIL("%s: %s", path, strerror(errno));
		MUST(unlink(path) == 0);
		put_bytes(files[i], i + 1);
		if (i % 2 == 0)
			MUST(lseek(files[i], 0, SEEK_SET) == 0);
	}
	before = open_descriptors();
	kq = lib_queue();
	for (int i = 0; i < TIMERS; i++)
		lib_change(kq, (uintptr_t)i, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
		    0, i == 0 ? 1 : 100000 + i, 0);
	for (int i = 0; i < FILES; i++)
		lib_change(kq, (uintptr_t)files[i], EVFILT_READ, EV_ADD, 0, 0,
		    (uintptr_t)i);
	for (int i = 0; i < USERS; i++)
		lib_change(kq, (uintptr_t)i, EVFILT_USER, EV_ADD | EV_CLEAR, 0,
		    0, 0);
	most = open_descriptors();
	for (int i = 0; i < USERS; i++)
		lib_change(kq, (uintptr_t)i, EVFILT_USER, 0, NOTE_TRIGGER, 0,
		    0);
	for (int calls = 0; left > 0; calls++) {
		int n = lib.kevent(kq, NULL, 0, events, BATCH, &generous);
		if (n <= 0 || calls > 100000)
			FAIL("%d knotes gave no event", left);
		for (int i = 0; i < n; i++) {
			uintptr_t who = events[i].ident;
			char *seen;
			if (events[i].filter == EVFILT_READ) {
				who = (uintptr_t)events[i].udata;
				MUST(who < FILES && who % 2 == 0);
				MUST(events[i].ident == (uintptr_t)files[who]);
				MUST(events[i].data == (intptr_t)who + 1);
				seen = &file_seen[who];
			} else if (events[i].filter == EVFILT_USER) {
				MUST(who < USERS && !user_seen[who]);
				seen = &user_seen[who];
			} else {
				MUST(events[i].filter == EVFILT_TIMER);
				MUST(who == 0 && !timer_seen);
				left--, timer_seen = 1;
				continue;
			}
			left -= !*seen;
			*seen = 1;
		}
	}
	/* Some of them may be made only when they are first needed. */
	if (open_descriptors() > most)
		most = open_descriptors();
	return (double)(most - before);
}

const struct bench bench_descriptors = {
    .name = "descriptors",
    .what = "descriptors: 1,000 timers, 20 files, 20 user events",
    .unit = "fd",
    .budget = 4,
    .recorded = 1041,
    .cpus = 1,
    .count = descriptors,
};
