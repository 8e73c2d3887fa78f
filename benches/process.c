/*
 * Processes watched for their exit.
 *
 * Bare: a pidfd each in the set.
 */
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"

static int bare_ep, lib_kq;

static int
open_process(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	MUST(fd >= 0);
	return fd;
}

static void
bare_open(void)
{
	bare_ep = bare_set();
}

static void
lib_open(void)
{
	lib_kq = lib_queue();
}

static int64_t
bare_run(long ops)
{
	pid_t pid = getppid();
	int64_t begin = now_ns();
	for (long i = 0; i < ops; i++) {
		int fd = open_process(pid);
		bare_ctl(bare_ep, EPOLL_CTL_ADD, fd, EPOLLIN, 1);
		MUST(close(fd) == 0);
	}
	return now_ns() - begin;
}

static int64_t
lib_run(long ops)
{
	uintptr_t pid = (uintptr_t)getppid();
	int64_t begin = now_ns();
	for (long i = 0; i < ops; i++) {
		lib_change(lib_kq, pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, 0);
		lib_change(lib_kq, pid, EVFILT_PROC, EV_DELETE, 0, 0, 0);
	}
	return now_ns() - begin;
}

static void
bare_check(void)
{
	bare_none(bare_ep);
}

/* After all those, an exit is told, with its status. */
static void
lib_check(void)
{
	pid_t pid = fork();
	int status;
	MUST(pid >= 0);
	if (pid == 0)
		_exit(7);
	lib_change(lib_kq, (uintptr_t)pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, 3);
	lib_next(lib_kq, (uintptr_t)pid, EVFILT_PROC, 7 << 8, 3);
	lib_none(lib_kq);
	MUST(waitpid(pid, &status, 0) == pid);
}

const struct bench bench_process = {
    .name = "process",
    .what = "watch a process, stop watching it",
    .unit = "ns",
    .step = 1,
    .cpus = 1,
    .bare = {bare_open, bare_run, bare_check},
    .lib = {lib_open, lib_run, lib_check},
};
