/* What the cases are built from: queues, sockets, threads, limits. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "case.h"

int
lib_queue(void)
{
	int kq = lib.kqueue();
	if (kq < 0)
		FAIL("kqueue: %s", strerror(errno));
	return kq;
}

int
bare_set(void)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	MUST(ep >= 0);
	return ep;
}

void
lib_change(int kq, uintptr_t ident, int filter, unsigned flags,
    unsigned fflags, intptr_t data, uintptr_t udata)
{
	struct kevent k;
	kev_set(&k, ident, filter, flags, fflags, data, udata);
	if (lib.kevent(kq, &k, 1, NULL, 0, NULL) != 0)
		FAIL("change of ident %lu, filter %d, flags 0x%x: %s",
		    (unsigned long)ident, filter, flags, strerror(errno));
}

void
bare_ctl(int ep, int op, int fd, uint32_t events, uint64_t token)
{
	struct epoll_event ev = {.events = events, .data.u64 = token};
	MUST(epoll_ctl(ep, op, fd, &ev) == 0);
}

void
lib_none(int kq)
{
	static const struct timespec zero = {0, 0};
	struct kevent k;
	int n = lib.kevent(kq, NULL, 0, &k, 1, &zero);
	if (n < 0)
		FAIL("kevent: %s", strerror(errno));
	if (n > 0)
		FAIL("an event that must not be: ident %lu, filter %d, flags "
		     "0x%x, data %ld",
		    (unsigned long)k.ident, k.filter, k.flags, (long)k.data);
}

void
bare_none(int ep)
{
	struct epoll_event ev;
	MUST(epoll_wait(ep, &ev, 1, 0) == 0);
}

void
lib_next(int kq, uintptr_t ident, int filter, intptr_t data, uintptr_t udata)
{
	static const struct timespec generous = {5, 0};
	struct kevent k;
	int n = lib.kevent(kq, NULL, 0, &k, 1, &generous);
	if (n != 1)
		FAIL("no event of ident %lu, filter %d: kevent gave %d (%s)",
		    (unsigned long)ident, filter, n,
		    n < 0 ? strerror(errno) : "time-out");
	if (k.ident != ident || k.filter != filter || k.data != data ||
	    k.udata != (void *)udata || (k.flags & EV_ERROR) != 0)
		FAIL("event of ident %lu, filter %d, flags 0x%x, data %ld, "
		     "not ident %lu, filter %d, data %ld",
		    (unsigned long)k.ident, k.filter, k.flags, (long)k.data,
		    (unsigned long)ident, filter, (long)data);
}

void
bare_next(int ep, uint64_t token)
{
	struct epoll_event ev;
	MUST(epoll_wait(ep, &ev, 1, 5000) == 1);
	MUST(ev.data.u64 == token);
}

void
socket_pair(int *in, int *out)
{
	int fds[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
		 fds) == 0);
	*in = fds[0];
	*out = fds[1];
}

void
put_bytes(int fd, long count)
{
	static const char zeros[256];
	MUST(count <= (long)sizeof zeros);
	MUST(write(fd, zeros, (size_t)count) == count);
}

void
take_bytes(int fd, long count)
{
	char buf[256];
	MUST(count <= (long)sizeof buf);
	MUST(read(fd, buf, sizeof buf) == count);
}

long
descriptors_left(void)
{
	/* For the library's own, and for what a case opens besides. */
	const long reserve = 700;
	struct rlimit limit;
	struct dirent *entry;
	long open_now = 0, left;
	DIR *dir;
	MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	MUST((dir = opendir("/proc/self/fd")) != NULL);
	while ((entry = readdir(dir)) != NULL)
		open_now += entry->d_name[0] != '.';
	closedir(dir);
	if (limit.rlim_cur > 1000000)
		limit.rlim_cur = 1000000;
	left = (long)limit.rlim_cur - open_now - reserve;
	return left > 0 ? left : 0;
}

const int *
idle_descriptors(long want, long *got)
{
	static int *fds;
	static long count;
	if (fds == NULL) {
		int in, out;
		count = descriptors_left();
		if (count > want)
			count = want;
		else if (count < want)
			remark("%ld idle descriptors, not %ld: the limit on "
			       "open files", count, want);
		MUST((fds = calloc((size_t)count + 1, sizeof *fds)) != NULL);
		socket_pair(&in, &out);
		for (long i = 0; i < count; i++)
			MUST((fds[i] = fcntl(in, F_DUPFD_CLOEXEC, 0)) >= 0);
	}
	*got = count;
	return fds;
}

void
pin(int k)
{
	/* The mask as it was before the first call changed it. */
	static cpu_set_t given;
	static int known, cpus;
	cpu_set_t one;
	if (!known) {
		MUST(sched_getaffinity(0, sizeof given, &given) == 0);
		cpus = CPU_COUNT(&given);
		known = 1;
		if (cpus < bench->cpus)
			remark("both threads share the only CPU");
	}
	/* From the last: the first one serves most interrupts. */
	k %= cpus;
	for (size_t cpu = CPU_SETSIZE; cpu-- > 0;) {
		if (!CPU_ISSET(cpu, &given) || k-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		MUST(sched_setaffinity(0, sizeof one, &one) == 0);
		return;
	}
}

struct half {
	void (*body)(void *);
	void *arg;
	pthread_barrier_t *start;
	int cpu;
	int64_t ns;
};

static void *
run_half(void *arg)
{
	struct half *half = arg;
	int64_t begin;
	pin(half->cpu);
	pthread_barrier_wait(half->start);
	begin = now_ns();
	half->body(half->arg);
	half->ns = now_ns() - begin;
	return NULL;
}

void
two_threads(void (*first)(void *), void *first_arg, void (*second)(void *),
    void *second_arg, int64_t ns[2])
{
	pthread_barrier_t start;
	struct half halves[2] = {
	    {first, first_arg, &start, 0, 0},
	    {second, second_arg, &start, bench->cpus - 1, 0},
	};
	pthread_t thread;
	MUST(pthread_barrier_init(&start, NULL, 2) == 0);
	MUST(pthread_create(&thread, NULL, run_half, &halves[1]) == 0);
	run_half(&halves[0]);
	MUST(pthread_join(thread, NULL) == 0);
	pthread_barrier_destroy(&start);
	ns[0] = halves[0].ns;
	ns[1] = halves[1].ns;
}
