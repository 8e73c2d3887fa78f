/*
 * A program closes descriptors of the library's, and has their numbers again
 * for files of its own. The calls fail or go on, and those files are left as
 * they are: not closed, read, written, set or changed.
 */
#include "io.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#define SIGNAL SIGUSR1

/* What stands on the library's numbers. */

static int
make_file(void)
{
	return nameless_file(10);
}

/* Whatever reads these blocks, or takes what is there. */
static int
make_pipe(void)
{
	int fds[2];
	pipe_pair(fds);
	set_blocking(fds[0]);
	CHECK_EQ(close(fds[1]), 0);
	return fds[0];
}

static int other_end = -1;

static int
make_stream(void)
{
	int fds[2];
	unix_pair(fds);
	set_blocking(fds[0]);
	other_end = fds[1];
	put(other_end, 5);
	wait_poll(fds[0], POLLIN);
	return fds[0];
}

static int
make_datagram(void)
{
	int fds[2];
	unix_dgram_pair(fds);
	set_blocking(fds[0]);
	other_end = fds[1];
	CHECK_EQ(send(other_end, "abc", 3, 0), 3);
	wait_poll(fds[0], POLLIN);
	return fds[0];
}

static int
make_eventfd(void)
{
	return eventfd(1, EFD_CLOEXEC);
}

static int
make_timerfd(void)
{
	struct itimerspec at = {.it_value = {1, 0}, .it_interval = {7, 0}};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	/* In the past: it has run out, and shows the same for ever. */
	CHECK_EQ(timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL), 0);
	at.it_value.tv_sec = 0;
	CHECK_EQ(timerfd_settime(fd, 0, &at, NULL), 0);
	return fd;
}

static int
make_inotify(void)
{
	char path[SCRATCH_PATH];
	int fd = inotify_init1(IN_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(close(scratch_file(path, 1)), 0);
	CHECK(inotify_add_watch(fd, path, IN_ATTRIB | IN_DELETE_SELF) >= 0);
	CHECK_EQ(unlink(path), 0);
	return fd;
}

static int
make_quiet_inotify(void)
{
	int fd = inotify_init1(IN_CLOEXEC);
	CHECK(fd >= 0);
	CHECK(inotify_add_watch(fd, "/", IN_MOVE_SELF) >= 0);
	return fd;
}

static int
make_signalfd(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int
make_pidfd(void)
{
	return (int)syscall(SYS_pidfd_open, getpid(), 0);
}

static int
make_mountinfo(void)
{
	return open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
}

static int
make_epoll(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

typedef int make_fn(void);

static make_fn *const strangers[] = {make_file, make_pipe, make_stream,
    make_datagram, make_eventfd, make_timerfd, make_inotify,
    make_quiet_inotify, make_signalfd, make_pidfd, make_mountinfo, make_epoll};
#define STRANGERS (sizeof strangers / sizeof strangers[0])

/* All that can be told of a descriptor without touching it. */
static void
describe(int fd, char *text, size_t size)
{
	char path[64];
	int info, unread_bytes = -1;
	ssize_t n;
	(void)ioctl(fd, FIONREAD, &unread_bytes);
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(info >= 0);
	n = read(info, text, size - 32);
	CHECK(n > 0);
	CHECK_EQ(close(info), 0);
	snprintf(text + n, 32, "unread: %d signal: %d\n", unread_bytes,
	    fcntl(fd, F_GETSIG));
}

/* Whose numbers are taken: a queue with one kind of knote. */
struct scene {
	int kq;
	int fds[2];
	int file;
	int process;
	pid_t child;
};

/* A change that may fail, for want of what is gone, and in no other way. */
static void
try(struct scene *s, uintptr_t ident, int filter, unsigned flags,
    unsigned fflags, intptr_t data)
{
	int n = change(s->kq, ident, filter, flags, fflags, data, NULL);
	CHECK(n == 0 || errno == EBADF || errno == ENOENT || errno == EINVAL ||
	    errno == ESRCH || errno == EPERM || errno == ENOTSUP);
}

static void
look(struct scene *s)
{
	static const struct timespec moment = {0, 2000000};
	struct kevent k[8];
	int n = kevent(s->kq, NULL, 0, k, 8, &no_wait);
	CHECK(n >= 0 || errno == EBADF);
	n = kevent(s->kq, NULL, 0, k, 8, &moment);
	CHECK(n >= 0 || errno == EBADF);
}

/* Every change there is, of a knote that is there and of one that is not. */
static void
try_all(struct scene *s, uintptr_t ident, int filter, unsigned fflags,
    intptr_t data)
{
	look(s);
	try(s, ident, filter, EV_DISABLE, fflags, data);
	try(s, ident, filter, EV_ENABLE, fflags, data);
	look(s);
	try(s, ident, filter, EV_ADD | EV_CLEAR, fflags, data);
	look(s);
	try(s, ident, filter, EV_DELETE, 0, 0);
	try(s, ident, filter, EV_ADD | EV_DISPATCH, fflags, data);
	look(s);
	try(s, ident, filter, EV_ENABLE, fflags, data);
	look(s);
}

typedef void act_fn(struct scene *s);

static void
add_user(struct scene *s)
{
	CHANGE(s->kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
}

static void
play_user(struct scene *s)
{
	try(s, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0);
	try_all(s, 1, EVFILT_USER, NOTE_TRIGGER, 0);
}

static void
add_timer(struct scene *s)
{
	CHANGE(s->kq, 1, EVFILT_TIMER, EV_ADD, 0, 1, NULL);
	CHECK_EQ(next_event(s->kq).filter, EVFILT_TIMER);
	CHANGE(s->kq, 1, EVFILT_TIMER, EV_ADD, 0, 100000, NULL);
}

static void
play_timer(struct scene *s)
{
	try_all(s, 1, EVFILT_TIMER, 0, 1);
	try_all(s, 1, EVFILT_TIMER, 0, 100000);
}

static void
add_both(struct scene *s)
{
	CHANGE(s->kq, (uintptr_t)s->fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	CHANGE(s->kq, (uintptr_t)s->fds[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
	CHECK_EQ(next_event(s->kq).filter, EVFILT_WRITE);
}

static void
play_both(struct scene *s)
{
	put(s->fds[1], 1);
	try_all(s, (uintptr_t)s->fds[0], EVFILT_WRITE, 0, 0);
	try_all(s, (uintptr_t)s->fds[0], EVFILT_READ, 0, 0);
}

static void
add_except(struct scene *s)
{
	CHANGE(s->kq, (uintptr_t)s->fds[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB, 0,
	    NULL);
}

static void
play_except(struct scene *s)
{
	CHECK_EQ(send(s->fds[1], "!", 1, MSG_OOB), 1);
	try_all(s, (uintptr_t)s->fds[0], EVFILT_EXCEPT, NOTE_OOB, 0);
}

static void
add_file(struct scene *s)
{
	CHANGE(s->kq, (uintptr_t)s->file, EVFILT_READ, EV_ADD, 0, 0, NULL);
	expect_none(s->kq);
	CHANGE(s->kq, (uintptr_t)s->file, EVFILT_VNODE, EV_ADD | EV_CLEAR,
	    NOTE_WRITE | NOTE_EXTEND, 0, NULL);
}

static void
play_file(struct scene *s)
{
	CHECK_EQ(ftruncate(s->file, 7), 0);
	try_all(s, (uintptr_t)s->file, EVFILT_VNODE, NOTE_WRITE | NOTE_ATTRIB,
	    0);
	CHECK_EQ(fchmod(s->file, 0600), 0);
	look(s);
	CHECK_EQ(lseek(s->file, 0, SEEK_END), 7);
	try_all(s, (uintptr_t)s->file, EVFILT_READ, 0, 0);
	CHECK_EQ(ftruncate(s->file, 9), 0);
	look(s);
}

/* Blocked, so that there is a descriptor for it; and not, for the hook. */
static void
add_signal(struct scene *s)
{
	sigset_t set;
	CHECK(signal(SIGNAL, SIG_IGN) != SIG_ERR);
	sigemptyset(&set);
	sigaddset(&set, SIGNAL);
	CHECK_EQ(sigprocmask(SIG_BLOCK, &set, NULL), 0);
	CHANGE(s->kq, SIGNAL, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
	expect_none(s->kq);
}

static void
play_signal(struct scene *s)
{
	sigset_t set;
	CHECK_EQ(raise(SIGNAL), 0);
	try_all(s, SIGNAL, EVFILT_SIGNAL, 0, 0);
	try(s, SIGUSR2, EVFILT_SIGNAL, EV_ADD, 0, 0);
	try_all(s, SIGNAL, EVFILT_SIGNAL, 0, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGNAL);
	CHECK_EQ(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
	CHECK_EQ(raise(SIGNAL), 0);
	try_all(s, SIGNAL, EVFILT_SIGNAL, 0, 0);
}

static void
start_child(struct scene *s)
{
	s->child = fork();
	CHECK(s->child >= 0);
	if (s->child == 0) {
		pause();
		_exit(0);
	}
}

static void
end_child(struct scene *s)
{
	siginfo_t info;
	CHECK_EQ(kill(s->child, SIGKILL), 0);
	CHECK_EQ(waitid(P_PID, (id_t)s->child, &info, WEXITED | WNOWAIT), 0);
}

static void
add_proc(struct scene *s)
{
	start_child(s);
	CHANGE(s->kq, (uintptr_t)s->child, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0,
	    NULL);
	expect_none(s->kq);
}

static void
play_proc(struct scene *s)
{
	try_all(s, (uintptr_t)s->child, EVFILT_PROC, NOTE_EXIT, 0);
	end_child(s);
	try_all(s, (uintptr_t)s->child, EVFILT_PROC, NOTE_EXIT, 0);
}

static void
add_follower(struct scene *s)
{
	start_child(s);
	(void)change(s->kq, (uintptr_t)s->child, EVFILT_PROC, EV_ADD,
	    NOTE_FORK | NOTE_EXIT, 0, NULL);
	expect_none(s->kq);
}

static void
play_follower(struct scene *s)
{
	try_all(s, (uintptr_t)s->child, EVFILT_PROC, NOTE_FORK | NOTE_EXIT, 0);
	end_child(s);
	look(s);
	try_all(s, (uintptr_t)s->child, EVFILT_PROC, NOTE_FORK | NOTE_EXIT, 0);
}

static void
add_procdesc(struct scene *s)
{
	start_child(s);
	s->process = (int)syscall(SYS_pidfd_open, s->child, 0);
	if (s->process >= 0)
		CHANGE(s->kq, (uintptr_t)s->process, EVFILT_PROCDESC, EV_ADD,
		    NOTE_EXIT, 0, NULL);
}

static void
play_procdesc(struct scene *s)
{
	end_child(s);
	if (s->process >= 0)
		try_all(s, (uintptr_t)s->process, EVFILT_PROCDESC, NOTE_EXIT,
		    0);
}

static void
add_fs(struct scene *s)
{
	CHANGE(s->kq, 0, EVFILT_FS, EV_ADD, 0, 0, NULL);
	expect_none(s->kq);
}

static void
play_fs(struct scene *s)
{
	try_all(s, 0, EVFILT_FS, 0, 0);
	try_all(s, 0, EVFILT_FS, 0, 0);
}

static void
scene_start(struct scene *s)
{
	NOT_UNDER_VALGRIND("it has descriptors of its own up there");
	memset(s, 0, sizeof *s);
	s->process = -1;
	tcp_pair(s->fds);
	s->file = nameless_file(0);
	s->kq = new_queue();
}

static void
scene_end(struct scene *s)
{
	close_pair(s->fds);
	CHECK_EQ(close(s->file), 0);
	if (s->process >= 0)
		CHECK_EQ(close(s->process), 0);
	if (s->child > 0) {
		(void)kill(s->child, SIGKILL);
		CHECK_EQ(waitpid(s->child, NULL, 0), s->child);
	}
}

enum { MOST = 32 };

/* Which numbers the program takes. */
enum taken { ALL, ALL_BUT_THE_FIRST, TAKINGS };

static void
left_alone(act_fn *add, act_fn *play, make_fn *make, enum taken taken)
{
	char before[4096], after[4096];
	int numbers[MOST], count, spared, stranger, i;
	struct scene s;
	scene_start(&s);
	/* The queue's first: without it the queue is not known again. */
	spared = taken == ALL ? 0 : private_numbers(numbers, MOST);
	add(&s);
	count = private_numbers(numbers, MOST);
	CHECK(count >= spared);
	stranger = make();
	CHECK(stranger >= 0);
	CHECK_EQ(fcntl(stranger, F_SETFD, FD_CLOEXEC), 0);
	for (i = spared; i < count; i++)
		CHECK_EQ(dup3(stranger, numbers[i], O_CLOEXEC), numbers[i]);
	describe(stranger, before, sizeof before);
	play(&s);
	CHECK_EQ(close(s.kq), 0);
	for (i = 0; i < 40; i++) {
		int kq = new_queue();
		CHANGE(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
		CHANGE(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
		CHECK_EQ(next_event(kq).filter, EVFILT_USER);
		CHECK_EQ(close(kq), 0);
	}
	libkqueue_drain_pending_close();
	for (i = spared; i < count; i++) {
		describe(numbers[i], after, sizeof after);
		if (strcmp(before, after) != 0)
			FAIL("number %d of %d: before:\n%safter:\n%s", i,
			    count, before, after);
		CHECK_EQ(close(numbers[i]), 0);
	}
	describe(stranger, after, sizeof after);
	if (strcmp(before, after) != 0)
		FAIL("before:\n%safter:\n%s", before, after);
	CHECK_EQ(close(stranger), 0);
	if (other_end >= 0)
		CHECK_EQ(close(other_end), 0);
	other_end = -1;
	scene_end(&s);
	libkqueue_drain_pending_close();
	CHECK_EQ(private_numbers(numbers, MOST), 0);
}

#define TAKEN(filter)                                                         \
	TEST(filter##_numbers_taken_by_others_are_left_alone)                 \
	{                                                                     \
		enum taken taken;                                             \
		size_t i;                                                     \
		for (taken = ALL; taken < TAKINGS; taken++)                   \
			for (i = 0; i < STRANGERS; i++)                       \
				left_alone(add_##filter, play_##filter,       \
				    strangers[i], taken);                     \
	}
TAKEN(user)
TAKEN(timer)
TAKEN(both)
TAKEN(except)
TAKEN(file)
TAKEN(signal)
TAKEN(proc)
TAKEN(follower)
TAKEN(procdesc)
TAKEN(fs)

/* The queue's number too. */

static void
close_all_from(int first)
{
	static char text[65536];
	char *word, *rest;
	open_descriptors(text, sizeof text);
	for (word = strtok_r(text, " ", &rest); word != NULL;
	    word = strtok_r(NULL, " ", &rest))
		if (atoi(word) >= first && close(atoi(word)) != 0)
			CHECK(has_preload() && errno == EBADF);
}

/* Every kind of knote whose descriptors can be had here. */
static void
add_all(struct scene *s)
{
	add_user(s);
	add_timer(s);
	add_both(s);
	add_except(s);
	CHANGE(s->kq, (uintptr_t)s->fds[0], EVFILT_WRITE, EV_DISABLE, 0, 0,
	    NULL);
	CHANGE(s->kq, 1, EVFILT_TIMER, EV_ADD, 0, 100000, NULL);
	add_file(s);
	add_signal(s);
	add_fs(s);
}

static void
play_all(struct scene *s)
{
	play_user(s);
	play_timer(s);
	play_both(s);
	play_except(s);
	play_file(s);
	play_signal(s);
	play_fs(s);
}

/*
 * The worst that can come: the queue's number is the program's epoll, and each
 * private number is one of its eventfds in that epoll, so that any change by
 * the old numbers would be one of the program's.
 */
TEST(all_numbers_are_an_epoll_and_its_members)
{
	char before[4096], after[4096];
	int numbers[MOST], count, ep, i;
	struct scene s;
	NOT_WITH_PRELOAD();
	scene_start(&s);
	add_all(&s);
	count = private_numbers(numbers, MOST);
	CHECK(count > 3);
	/* Past the preload library, here and above, which would not let it. */
	for (i = 0; i < count; i++)
		CHECK_EQ(syscall(SYS_close, numbers[i]), 0);
	CHECK_EQ(close(s.kq), 0);
	ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK_EQ(ep, s.kq);
	for (i = 0; i < count; i++) {
		struct epoll_event ee = {.events = EPOLLET | EPOLLOUT};
		int fd = eventfd(1, EFD_CLOEXEC);
		CHECK(fd >= 0);
		CHECK_EQ(dup3(fd, numbers[i], O_CLOEXEC), numbers[i]);
		CHECK_EQ(close(fd), 0);
		ee.data.u64 = (uint64_t)i;
		CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, numbers[i], &ee), 0);
	}
	{
		struct epoll_event ee = {.events = EPOLLET | EPOLLPRI};
		CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, s.fds[0], &ee), 0);
	}
	describe(ep, before, sizeof before);
	CHECK_FAILS(change(ep, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL),
	    EINVAL);
	describe(ep, after, sizeof after);
	CHECK_EQ(strcmp(before, after), 0);
	CHECK_FAILS(change(ep, (uintptr_t)s.fds[0], EVFILT_READ, EV_DISABLE, 0,
	    0, NULL), EINVAL);
	CHECK_EQ(raise(SIGNAL), 0);
	CHECK_EQ(close(new_queue()), 0);
	libkqueue_drain_pending_close();
	describe(ep, after, sizeof after);
	if (strcmp(before, after) != 0)
		FAIL("before:\n%safter:\n%s", before, after);
	for (i = 0; i < count; i++)
		CHECK_EQ(close(numbers[i]), 0);
	CHECK_EQ(close(ep), 0);
	scene_end(&s);
}

/* The number of a queue that held it is the program's epoll, with the very
 * sockets that the queue watched. Each change is the first that finds out. */
TEST(epoll_with_the_same_sockets_on_the_queues_number_is_left_alone)
{
	static const unsigned flags[] = {EV_ADD, EV_DISABLE, EV_ENABLE,
	    EV_DELETE, EV_ADD | EV_CLEAR, EV_ADD | EV_ONESHOT};
	static const int filters[] = {EVFILT_READ, EVFILT_WRITE,
	    EVFILT_EXCEPT};
	size_t i, j;
	for (i = 0; i < sizeof flags / sizeof flags[0]; i++)
		for (j = 0; j < sizeof filters / sizeof filters[0]; j++) {
			struct epoll_event ee = {.events = EPOLLIN | EPOLLET};
			char before[4096], after[4096];
			struct scene s;
			int ep;
			scene_start(&s);
			add_both(&s);
			add_except(&s);
			CHECK_EQ(close(s.kq), 0);
			ep = epoll_create1(EPOLL_CLOEXEC);
			CHECK_EQ(ep, s.kq);
			CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, s.fds[0], &ee),
			    0);
			describe(ep, before, sizeof before);
			CHECK_FAILS(change(ep, (uintptr_t)s.fds[0], filters[j],
			    flags[i], 0, 0, NULL), EINVAL);
			describe(ep, after, sizeof after);
			CHECK_EQ(strcmp(before, after), 0);
			CHECK_EQ(close(ep), 0);
			scene_end(&s);
		}
}

/* Without its first own descriptor a queue is not known again. */
TEST(queue_whose_descriptors_were_closed_is_ebadf)
{
	struct scene s;
	struct kevent k;
	int fds[2], kq;
	NOT_WITH_PRELOAD();
	scene_start(&s);
	add_all(&s);
	close_all_from(PRIVATE_FLOOR);
	CHECK_FAILS(change(s.kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL),
	    EBADF);
	CHECK_FAILS(change(s.kq, (uintptr_t)s.fds[0], EVFILT_READ, EV_ADD, 0, 0,
	    NULL), EBADF);
	CHECK_FAILS(kevent(s.kq, NULL, 0, &k, 1, &no_wait), EBADF);
	CHECK_FAILS(change(s.kq, 2, EVFILT_TIMER, EV_ADD, 0, 1, NULL), EBADF);
	/* The others, and new ones, are as good as ever. */
	kq = new_queue();
	unix_pair(fds);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	put(fds[1], 3);
	EXPECT(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0, 3, NULL);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(close(s.kq), 0);
	scene_end(&s);
}

/* It sleeps on, for what could wake it is closed; but for what is watched in
 * the queue itself. */
TEST(waiter_in_a_queue_whose_descriptors_were_closed_wakes_by_what_it_watches)
{
	static const struct timespec moment = {0, 50000000};
	struct sleeper sleeper;
	struct scene s;
	NOT_WITH_PRELOAD();
	scene_start(&s);
	add_all(&s);
	sleeper_start(&sleeper, s.kq);
	close_all_from(PRIVATE_FLOOR);
	CHECK_FAILS(change(s.kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL),
	    EBADF);
	CHECK_EQ(send(s.fds[1], "!", 1, MSG_OOB), 1);
	CHECK_EQ(ftruncate(s.file, 7), 0);
	nanosleep(&moment, NULL);
	CHECK(is_asleep(atomic_load(&sleeper.tid)));
	put(s.fds[1], 1);
	CHECK_EQ(pthread_join(sleeper.thread, NULL), 0);
	CHECK_EQ(sleeper.result, -1);
	CHECK_EQ(sleeper.error, EBADF);
	CHECK_EQ(close(s.kq), 0);
	scene_end(&s);
}

/* Of a queue with these knotes, the program closes all but the first of the
 * library's own. How many they were. */
static int
lose(struct scene *s, act_fn *add)
{
	int numbers[MOST], count, i;
	NOT_WITH_PRELOAD();
	/* What the last scene's queue left must not count. */
	libkqueue_drain_pending_close();
	scene_start(s);
	add(s);
	count = private_numbers(numbers, MOST);
	CHECK(count >= 2);
	for (i = 1; i < count; i++)
		CHECK_EQ(close(numbers[i]), 0);
	return count;
}

static void
end(struct scene *s)
{
	CHECK_EQ(close(s->kq), 0);
	scene_end(s);
}

TEST(closed_descriptors_are_made_again_where_they_are_needed)
{
	struct scene s;
	int count = lose(&s, add_timer);
	CHANGE(s.kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, NULL);
	CHECK_EQ(next_event(s.kq).filter, EVFILT_TIMER);
	CHECK_EQ(private_numbers(NULL, 0), count);
	end(&s);

	count = lose(&s, add_both);
	CHANGE(s.kq, (uintptr_t)s.fds[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
	CHECK_EQ(next_event(s.kq).filter, EVFILT_WRITE);
	CHECK_EQ(private_numbers(NULL, 0), count);
	end(&s);

	count = lose(&s, add_except);
	CHANGE(s.kq, (uintptr_t)s.fds[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB, 0,
	    NULL);
	CHECK_EQ(send(s.fds[1], "!", 1, MSG_OOB), 1);
	CHECK_EQ(next_event(s.kq).filter, EVFILT_EXCEPT);
	CHECK_EQ(private_numbers(NULL, 0), count);
	end(&s);

	/* These by the next look alone. */
	count = lose(&s, add_fs);
	expect_none(s.kq);
	CHECK_EQ(private_numbers(NULL, 0), count);
	end(&s);

	lose(&s, add_signal);
	CHECK_EQ(raise(SIGNAL), 0);
	CHECK_EQ(next_event(s.kq).filter, EVFILT_SIGNAL);
	end(&s);
}

/* Long enough for all that could tell. */
static void
expect_silence(struct scene *s)
{
	static const struct timespec while_ = {0, 250000000};
	struct kevent k;
	CHECK_EQ(kevent(s->kq, NULL, 0, &k, 1, &while_), 0);
}

TEST(what_hung_on_a_closed_descriptor_is_lost_until_it_is_added_again)
{
	struct scene s;
	lose(&s, add_both);
	expect_silence(&s);
	CHECK_FAILS(change(s.kq, (uintptr_t)s.fds[0], EVFILT_WRITE, EV_ENABLE,
	    0, 0, NULL), ENOENT);
	end(&s);

	lose(&s, add_except);
	CHECK_EQ(send(s.fds[1], "!", 1, MSG_OOB), 1);
	expect_silence(&s);
	end(&s);

	lose(&s, add_proc);
	end_child(&s);
	expect_silence(&s);
	CHANGE(s.kq, (uintptr_t)s.child, EVFILT_PROC, EV_DELETE, 0, 0, NULL);
	CHANGE(s.kq, (uintptr_t)s.child, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0,
	    NULL);
	CHECK_EQ(next_event(s.kq).filter, EVFILT_PROC);
	end(&s);
}

static void
add_one_timer(struct scene *s)
{
	CHANGE(s->kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 20, NULL);
}

/* The alarm is set for the earliest, and nobody sees that it will not ring. */
TEST(timers_wait_for_the_one_that_hung_on_a_closed_descriptor)
{
	struct scene s;
	lose(&s, add_one_timer);
	expect_silence(&s);
	CHANGE(s.kq, 2, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, NULL);
	expect_silence(&s);
	CHANGE(s.kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	CHECK_EQ(next_event(s.kq).ident, 2);
	end(&s);
}

/* Is one of the private descriptors of this kind? */
static bool
has_private(const char *kind)
{
	int numbers[MOST], count = private_numbers(numbers, MOST), i;
	for (i = 0; i < count; i++) {
		char path[64], name[64];
		ssize_t n;
		snprintf(path, sizeof path, "/proc/self/fd/%d", numbers[i]);
		n = readlink(path, name, sizeof name - 1);
		CHECK(n > 0);
		name[n] = '\0';
		if (strstr(name, kind) != NULL)
			return true;
	}
	return false;
}

TEST(file_that_hung_on_a_closed_descriptor_is_looked_at_by_the_clock)
{
	struct scene s;
	lose(&s, add_file);
	CHECK_EQ(ftruncate(s.file, 7), 0);
	expect_silence(&s);
	CHANGE(s.kq, (uintptr_t)s.file, EVFILT_VNODE, EV_ADD | EV_CLEAR,
	    NOTE_EXTEND, 0, NULL);
	CHECK_EQ(ftruncate(s.file, 9), 0);
	CHECK_EQ(next_event(s.kq).filter, EVFILT_VNODE);
	CHECK_EQ(ftruncate(s.file, 11), 0);
	CHECK_EQ(next_event(s.kq).filter, EVFILT_VNODE);
	CHECK(!has_private("inotify"));
	CHECK(has_private("timerfd"));
	end(&s);
}

TEST(everything_is_closed_and_begun_anew)
{
	int round;
	for (round = 0; round < 20; round++) {
		struct scene s;
		scene_start(&s);
		add_all(&s);
		play_all(&s);
		CHECK_EQ(close(s.file), 0);
		close_pair(s.fds);
		CHECK_EQ(close(s.kq), 0);
		close_all_from(PRIVATE_FLOOR);
	}
}
