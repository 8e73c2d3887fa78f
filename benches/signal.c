/*
 * Signals raised and collected.
 *
 * Bare, and for libkqueue, the signal is blocked and comes by a signalfd. Ours
 * is measured both ways: blocked as there, and ignored, as BSD programs mostly
 * have it, where it comes by the hook.
 */
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "case.h"

#define SIGNAL SIGUSR1

static int bare_ep, bare_fd, lib_kq;

/* What the other side needs is undone before this one runs, untimed. */
static void
block(int how)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGNAL);
	MUST(sigprocmask(how, &set, NULL) == 0);
}

static void
bare_open(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGNAL);
	block(SIG_BLOCK);
	bare_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	MUST(bare_fd >= 0);
	bare_ep = bare_set();
	bare_ctl(bare_ep, EPOLL_CTL_ADD, bare_fd, EPOLLIN, 1);
}

static int64_t
bare_run(long ops)
{
	int64_t begin;
	block(SIG_BLOCK);
	begin = now_ns();
	for (long i = 0; i < ops; i++) {
		struct epoll_event events[BATCH];
		struct signalfd_siginfo info;
		MUST(raise(SIGNAL) == 0);
		MUST(epoll_wait(bare_ep, events, BATCH, -1) == 1);
		MUST(events[0].data.u64 == 1);
		MUST(read(bare_fd, &info, sizeof info) == sizeof info);
		MUST(info.ssi_signo == SIGNAL);
	}
	return now_ns() - begin;
}

static void
bare_check(void)
{
	bare_none(bare_ep);
}

static void
lib_open(void)
{
	MUST(signal(SIGNAL, SIG_IGN) != SIG_ERR);
	lib_kq = lib_queue();
	lib_change(lib_kq, SIGNAL, EVFILT_SIGNAL, EV_ADD | EV_CLEAR, 0, 0, 5);
}

static int64_t
collect(long ops)
{
	int64_t begin = now_ns();
	for (long i = 0; i < ops; i++) {
		struct kevent events[BATCH];
		MUST(raise(SIGNAL) == 0);
		MUST(lib.kevent(lib_kq, NULL, 0, events, BATCH, NULL) == 1);
		MUST(events[0].ident == SIGNAL && events[0].data == 1);
		MUST((uintptr_t)events[0].udata == 5);
	}
	return now_ns() - begin;
}

static int64_t
lib_run_ignored(long ops)
{
	block(SIG_UNBLOCK);
	return collect(ops);
}

static int64_t
lib_run_blocked(long ops)
{
	block(SIG_BLOCK);
	return collect(ops);
}

static void
lib_check(void)
{
	lib_none(lib_kq);
}

const struct bench bench_signal = {
    .name = "signal",
    .what = "raise an ignored signal, collect it",
    .unit = "ns",
    .budget = 2.0,
    .recorded = 4.0,
    .step = 1,
    .cpus = 1,
    .bare = {bare_open, bare_run, bare_check},
    .lib = {lib_open, lib_run_ignored, lib_check},
};

const struct bench bench_signal_blocked = {
    .name = "signal-blocked",
    .what = "raise a blocked signal, collect it",
    .unit = "ns",
    .step = 1,
    .cpus = 1,
    .bare = {bare_open, bare_run, bare_check},
    .lib = {lib_open, lib_run_blocked, lib_check},
};
