/* Queues made and closed. */
#include <fcntl.h>
#include <unistd.h>

#include "case.h"

static void
nothing(void)
{
}

static int64_t
bare_run(long ops)
{
	int64_t begin = now_ns();
	for (long i = 0; i < ops; i++) {
		int ep = epoll_create1(EPOLL_CLOEXEC);
		MUST(ep >= 0 && close(ep) == 0);
	}
	return now_ns() - begin;
}

static int64_t
lib_run(long ops)
{
	int64_t begin = now_ns();
	for (long i = 0; i < ops; i++) {
		int kq = lib.kqueue();
		MUST(kq >= 0 && close(kq) == 0);
	}
	return now_ns() - begin;
}

static void
bare_check(void)
{
	int ep = bare_set();
	MUST(close(ep) == 0 && fcntl(ep, F_GETFD) == -1);
}

/* After all those, a queue is new and works. */
static void
lib_check(void)
{
	int in, out, kq = lib_queue();
	lib_none(kq);
	socket_pair(&in, &out);
	lib_change(kq, (uintptr_t)in, EVFILT_READ, EV_ADD, 0, 0, 3);
	lib_none(kq);
	put_bytes(out, 5);
	lib_next(kq, (uintptr_t)in, EVFILT_READ, 5, 3);
	MUST(close(kq) == 0 && close(in) == 0 && close(out) == 0);
}

const struct bench bench_make_close = {
    .name = "make-close",
    .what = "make and close a queue",
    .unit = "ns",
    .budget = 2.5,
    .recorded = 20,
    .step = 1,
    .cpus = 1,
    .bare = {nothing, bare_run, bare_check},
    .lib = {nothing, lib_run, lib_check},
};
