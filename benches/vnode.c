/*
 * A file that is written, and its NOTE_WRITE collected.
 *
 * Bare: inotify, and an fstat, which it takes to tell a write that extended
 * the file.
 */
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "case.h"

static int bare_file, bare_ep, bare_fd, lib_file, lib_kq;

static int
temporary(char path[static 32])
{
	int fd = mkstemp(path);
	MUST(fd >= 0);
	MUST(pwrite(fd, "x", 1, 0) == 1);
	return fd;
}

static void
bare_open(void)
{
	char path[32] = "/tmp/bench-XXXXXX";
	bare_file = temporary(path);
	bare_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	MUST(bare_fd >= 0 && inotify_add_watch(bare_fd, path, IN_MODIFY) >= 0);
	MUST(unlink(path) == 0);
	bare_ep = bare_set();
	bare_ctl(bare_ep, EPOLL_CTL_ADD, bare_fd, EPOLLIN, 1);
}

static void
lib_open(void)
{
	char path[32] = "/tmp/bench-XXXXXX";
	lib_file = temporary(path);
	MUST(unlink(path) == 0);
	lib_kq = lib_queue();
	lib_change(lib_kq, (uintptr_t)lib_file, EVFILT_VNODE, EV_ADD | EV_CLEAR,
	    NOTE_WRITE, 0, 5);
}

static int64_t
bare_run(long ops)
{
	int64_t begin = now_ns();
	for (long i = 0; i < ops; i++) {
		struct epoll_event events[BATCH];
		struct stat st;
		char notes[1024];
		MUST(pwrite(bare_file, "y", 1, 0) == 1);
		MUST(epoll_wait(bare_ep, events, BATCH, -1) == 1);
		MUST(read(bare_fd, notes, sizeof notes) > 0);
		MUST(fstat(bare_file, &st) == 0 && st.st_size == 1);
	}
	return now_ns() - begin;
}

static int64_t
lib_run(long ops)
{
	int64_t begin = now_ns();
	for (long i = 0; i < ops; i++) {
		struct kevent events[BATCH];
		MUST(pwrite(lib_file, "y", 1, 0) == 1);
		MUST(lib.kevent(lib_kq, NULL, 0, events, BATCH, NULL) == 1);
		MUST(events[0].ident == (uintptr_t)lib_file);
		MUST(events[0].fflags == NOTE_WRITE);
	}
	return now_ns() - begin;
}

static void
bare_check(void)
{
	bare_none(bare_ep);
}

static void
lib_check(void)
{
	lib_none(lib_kq);
}

const struct bench bench_vnode = {
    .name = "vnode",
    .what = "write a file in place, collect the note",
    .unit = "ns",
    .step = 1,
    .cpus = 1,
    .bare = {bare_open, bare_run, bare_check},
    .lib = {lib_open, lib_run, lib_check},
};
