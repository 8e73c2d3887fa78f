/*
 * A watched descriptor is closed without EV_DELETE, in every way, with its
 * event pending or told or to come, in two queues, while a thread waits. Its
 * knote goes with it: a change of the number is EBADF, and ENOENT once another
 * file has it, no event of the old file is told, and EV_ADD starts clean.
 */
#include "io.h"

#include <signal.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* One watched thing, and what else it takes. */
struct object {
	int fd, peer;
	pid_t pid;
};

struct kind {
	int filter;
	unsigned fflags;
	/* What the filter adds to the flags of its events. */
	unsigned adds;
	struct object (*open)(void);
	void (*make_ready)(struct object *);
};

static struct object
open_stream(void)
{
	int fds[2];
	unix_pair(fds);
	return (struct object){.fd = fds[0], .peer = fds[1]};
}

static void
make_readable(struct object *o)
{
	put(o->peer, 3);
}

static struct object
open_full_stream(void)
{
	struct object o = open_stream();
	fill(o.fd);
	return o;
}

static void
make_writable(struct object *o)
{
	char bytes[4096];
	set_nonblocking(o->peer);
	while (read(o->peer, bytes, sizeof bytes) > 0)
		continue;
	CHECK_EQ(errno, EAGAIN);
}

static struct object
open_tcp(void)
{
	int fds[2];
	tcp_pair(fds);
	return (struct object){.fd = fds[0], .peer = fds[1]};
}

static void
make_urgent(struct object *o)
{
	CHECK_EQ(send(o->peer, "u", 1, MSG_OOB), 1);
	wait_poll(o->fd, POLLPRI);
}

static struct object
open_file(void)
{
	return (struct object){.fd = nameless_file(4), .peer = -1};
}

static void
make_written(struct object *o)
{
	put(o->fd, 1);
}

static struct object
open_process(void)
{
	struct object o = {.peer = -1};
	o.pid = fork();
	CHECK(o.pid >= 0);
	if (o.pid == 0)
		for (;;)
			pause();
	o.fd = (int)syscall(SYS_pidfd_open, o.pid, 0);
	if (o.fd < 0 && errno == ENOSYS) {
		CHECK_EQ(kill(o.pid, SIGKILL), 0);
		SKIP("this kernel has no pidfd_open()");
	}
	CHECK(o.fd >= 0);
	return o;
}

static void
make_ended(struct object *o)
{
	CHECK_EQ(kill(o->pid, SIGKILL), 0);
	wait_poll(o->fd, POLLIN);
}

static const struct kind kinds[] = {
    {EVFILT_READ, 0, 0, open_stream, make_readable},
    {EVFILT_WRITE, 0, 0, open_full_stream, make_writable},
    {EVFILT_EXCEPT, NOTE_OOB, 0, open_tcp, make_urgent},
    {EVFILT_VNODE, NOTE_WRITE, 0, open_file, make_written},
    {EVFILT_PROCDESC, NOTE_EXIT, EV_CLEAR | EV_EOF | EV_ONESHOT, open_process,
	make_ended},
};

enum { READ, WRITE, EXCEPT, VNODE, PROCDESC };

/* All but the watched descriptor, which is closed by then. */
static void
end(struct object *o)
{
	if (o->peer >= 0)
		CHECK_EQ(close(o->peer), 0);
	if (o->pid != 0) {
		kill(o->pid, SIGKILL);
		CHECK_EQ(waitpid(o->pid, NULL, 0), o->pid);
	}
}

enum way {
	CLOSED,
	DUP_ALIVE,
	CHILD_ALIVE,
	REPLACED,
	REPLACED_DUP_ALIVE,
};

enum before { QUIET, PENDING, TOLD };

struct attempt {
	const struct kind *kind;
	enum way way;
	enum before before;
	/* Of the old knote, and of the new one. */
	unsigned mode, next_mode;
	int number;
};

static int
try(const struct attempt *a, int kq, unsigned flags, uintptr_t udata)
{
	return change(kq, (uintptr_t)a->number, a->kind->filter, flags,
	    a->kind->fflags, 0, UDATA(udata));
}

/* The event of the new knote: nothing of it is the old one's. */
static void
check_new(const struct attempt *a, struct kevent k)
{
	unsigned modes = a->next_mode | a->kind->adds;
	CHECK_EQ(k.ident, a->number);
	CHECK_EQ(k.filter, a->kind->filter);
	CHECK_EQ((uintptr_t)k.udata, 2);
	CHECK_EQ(k.flags, EV_ADD | modes);
}

/* Ready or not, the new file is nobody's before EV_ADD. */
static void
starts_clean(const struct attempt *a, struct object *o, const int kqs[2])
{
	struct sleeper sleeper;
	int i;
	for (i = 0; i < 2; i++) {
		CHECK_FAILS(try(a, kqs[i], EV_DELETE, 2), ENOENT);
		CHECK_FAILS(try(a, kqs[i], EV_ENABLE, 2), ENOENT);
		expect_none(kqs[i]);
		CHECK_EQ(try(a, kqs[i], EV_ADD | EV_DISABLE | a->next_mode, 2),
		    0);
	}
	a->kind->make_ready(o);
	sleeper_start(&sleeper, kqs[1]);
	for (i = 0; i < 2; i++) {
		if (i == 0)
			expect_none(kqs[i]);
		CHECK_EQ(try(a, kqs[i], EV_ENABLE, 2), 0);
		check_new(a, i == 0 ? next_event(kqs[i]) :
		    sleeper_join(&sleeper));
	}
}

/* The new file gets the number, whatever has it now. */
static void
put_under(struct object *o, int number)
{
	CHECK_EQ(dup2(o->fd, number), number);
	CHECK_EQ(close(o->fd), 0);
	o->fd = number;
}

static void
attempt(struct attempt *a)
{
	int kqs[2] = {new_queue(), new_queue()}, other = -1, i;
	bool replaced = a->way == REPLACED || a->way == REPLACED_DUP_ALIVE;
	struct object old = a->kind->open(), new;
	struct sleeper sleeper;
	pid_t child = 0;
	a->number = old.fd;
	for (i = 0; i < 2; i++)
		CHECK_EQ(try(a, kqs[i], EV_ADD | a->mode, 1), 0);
	if (a->before != QUIET)
		a->kind->make_ready(&old);
	for (i = 0; i < 2 && a->before == TOLD; i++)
		CHECK_EQ((uintptr_t)next_event(kqs[i]).udata, 1);
	if (a->way == DUP_ALIVE || a->way == REPLACED_DUP_ALIVE) {
		other = fcntl(old.fd, F_DUPFD_CLOEXEC, 200);
		CHECK(other >= 0);
	}
	if (a->way == CHILD_ALIVE) {
		child = fork();
		CHECK(child >= 0);
		if (child == 0)
			for (;;)
				pause();
	}
	if (a->before == QUIET) {
		CHANGE(kqs[0], 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
		sleeper_start(&sleeper, kqs[0]);
	}
	new = a->kind->open();
	if (replaced) {
		put_under(&new, a->number);
	} else {
		CHECK_EQ(close(a->number), 0);
		for (i = 0; i < 2; i++) {
			CHECK_FAILS(try(a, kqs[i], EV_DELETE, 1), EBADF);
			CHECK_FAILS(try(a, kqs[i], EV_ENABLE, 1), EBADF);
			CHECK_FAILS(try(a, kqs[i], EV_ADD, 1), EBADF);
		}
	}
	if (a->before == QUIET) {
		/* By now the old file has something, and nobody hears. */
		if (other >= 0 && a->kind->filter != EVFILT_PROCDESC) {
			old.fd = other;
			a->kind->make_ready(&old);
		}
		CHANGE(kqs[0], 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
		CHECK_EQ(sleeper_join(&sleeper).filter, EVFILT_USER);
	}
	for (i = 0; i < 2; i++)
		expect_none(kqs[i]);
	if (!replaced)
		put_under(&new, a->number);
	starts_clean(a, &new, kqs);
	for (i = 0; i < 2; i++)
		CHECK_EQ(close(kqs[i]), 0);
	CHECK_EQ(close(a->number), 0);
	if (other >= 0)
		CHECK_EQ(close(other), 0);
	if (child != 0) {
		CHECK_EQ(kill(child, SIGKILL), 0);
		CHECK_EQ(waitpid(child, NULL, 0), child);
	}
	end(&old);
	end(&new);
}

static void
attempts(int kind, enum way way)
{
	static const unsigned modes[] = {0, EV_CLEAR, EV_ONESHOT, EV_DISPATCH};
	unsigned i;
	int before;
	for (before = QUIET; before <= TOLD; before++)
		for (i = 0; i < 4; i++) {
			struct attempt a = {.kind = &kinds[kind], .way = way,
			    .before = (enum before)before, .mode = modes[i],
			    .next_mode = modes[(i + 1) % 4]};
			attempt(&a);
		}
}

#define IN_EVERY_WAY(name, kind)                                              \
	TEST(name##_closed_starts_clean)                                      \
	{                                                                     \
		attempts(kind, CLOSED);                                       \
	}                                                                     \
	TEST(name##_closed_with_a_dup_alive_starts_clean)                     \
	{                                                                     \
		attempts(kind, DUP_ALIVE);                                    \
	}                                                                     \
	TEST(name##_closed_with_a_copy_in_a_child_starts_clean)               \
	{                                                                     \
		attempts(kind, CHILD_ALIVE);                                  \
	}                                                                     \
	TEST(name##_replaced_by_dup2_starts_clean)                            \
	{                                                                     \
		attempts(kind, REPLACED);                                     \
	}                                                                     \
	TEST(name##_replaced_by_dup2_with_a_dup_alive_starts_clean)           \
	{                                                                     \
		attempts(kind, REPLACED_DUP_ALIVE);                           \
	}

IN_EVERY_WAY(read, READ)
IN_EVERY_WAY(write, WRITE)
IN_EVERY_WAY(except, EXCEPT)
IN_EVERY_WAY(vnode, VNODE)
IN_EVERY_WAY(procdesc, PROCDESC)
