/*
 * A queue known by several numbers, of which one is closed under a thread that
 * waits by it, and may be something else by the time that an event comes. The
 * thread, or whoever asks by a number that is left, gets it: one of them.
 */
#include "support.h"

#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/wait.h>

/* What the closed number becomes. */
enum next { NOTHING, DEVICE, EPOLL, QUEUE, OTHER_DUP, WAYS };

static int
put_there(enum next next, int number, int other_queue)
{
	int made = -1;
	switch (next) {
	case DEVICE:
		made = open("/dev/null", O_RDONLY | O_CLOEXEC);
		break;
	case EPOLL:
		made = epoll_create1(EPOLL_CLOEXEC);
		break;
	case QUEUE:
		made = kqueue();
		break;
	case OTHER_DUP:
		made = dup(other_queue);
		break;
	default:
		return -1;
	}
	CHECK_EQ(made, number);
	return made;
}

static bool
shows(int kq)
{
	struct pollfd p = {.fd = kq, .events = POLLIN};
	CHECK(poll(&p, 1, 0) >= 0);
	return p.revents & POLLIN;
}

/* A thread waits by a dup, which has been closed. */
struct scene {
	int kq, other_queue, next;
	bool joined;
	struct timespec timeout;
	struct waiter waiter;
};

static void
set_scene(struct scene *s, enum next next)
{
	int copy;
	s->kq = open_queue();
	s->other_queue = open_queue();
	copy = dup(s->kq);
	CHECK(copy >= 0);
	/* If the number becomes another queue's, it goes on there. */
	s->timeout = ms_to_ts(500);
	s->joined = false;
	waiter_start(&s->waiter, copy, &s->timeout);
	/* Past the preload library, which wakes the thread. */
	CHECK_EQ(syscall(SYS_close, copy), 0);
	s->next = put_there(next, copy, s->other_queue);
}

static void
join(struct scene *s)
{
	if (!s->joined)
		CHECK_EQ(pthread_join(s->waiter.thread, NULL), 0);
	s->joined = true;
}

static void
end_scene(struct scene *s)
{
	join(s);
	CHECK_EQ(close(s->kq), 0);
	CHECK_EQ(close(s->other_queue), 0);
	if (s->next != -1)
		CHECK_EQ(close(s->next), 0);
}

/* The one event, whoever gets it. */
static struct kevent
event_of_either(struct scene *s)
{
	struct timespec briefly = ms_to_ts(10);
	int64_t until = now_ns() + MS(GENEROUS_MS);
	struct kevent k;
	for (;;) {
		int n = kevent(s->kq, NULL, 0, &k, 1, &briefly);
		CHECK(n >= 0);
		if (n == 1)
			return k;
		if (!s->joined)
			s->joined =
			    pthread_tryjoin_np(s->waiter.thread, NULL) == 0;
		if (s->joined && s->waiter.returned == 1)
			return s->waiter.event;
		if (now_ns() > until)
			FAIL("nobody gets it");
	}
}

static void
oneshot_is_told_once(enum next next, short filter, bool in_second)
{
	struct scene s;
	struct kevent k;
	int fds[2];
	open_pair(fds);
	set_scene(&s, next);
	if (in_second)
		CHANGE(s.kq, (uintptr_t)fds[0],
		    filter == EVFILT_READ ? EVFILT_WRITE : EVFILT_READ,
		    EV_ADD | EV_DISABLE, 0, 0, NULL);
	CHANGE(s.kq, (uintptr_t)fds[0], filter, EV_ADD | EV_ONESHOT, 0, 0,
	    NULL);
	if (filter == EVFILT_READ)
		put(fds[1], 3);
	k = event_of_either(&s);
	CHECK_EQ(k.ident, fds[0]);
	CHECK_EQ(k.filter, filter);
	expect_none(s.kq);
	CHECK_ABSENT(s.kq, (uintptr_t)fds[0], filter);
	/* Wakes the thread, if it was not the one. */
	add_user(s.kq, 1, 0);
	trigger(s.kq, 1);
	end_scene(&s);
	close_pair(fds);
}

TEST(oneshot_of_read_is_told_once)
{
	for (int next = 0; next < WAYS; next++)
		oneshot_is_told_once((enum next)next, EVFILT_READ, false);
}

TEST(oneshot_of_read_in_the_second_set_is_told_once)
{
	for (int next = 0; next < WAYS; next++)
		oneshot_is_told_once((enum next)next, EVFILT_READ, true);
}

TEST(oneshot_of_write_is_told_once)
{
	for (int next = 0; next < WAYS; next++)
		oneshot_is_told_once((enum next)next, EVFILT_WRITE, false);
}

/* The thread takes one, and cannot tell by its number that there is another. */
TEST(what_is_left_is_shown_to_others)
{
	for (int next = 0; next < WAYS; next++) {
		struct timespec ts = ms_to_ts(GENEROUS_MS);
		struct kevent changes[2], k;
		struct scene s;
		set_scene(&s, (enum next)next);
		add_user(s.kq, 1, EV_CLEAR);
		add_user(s.kq, 2, EV_CLEAR);
		EV_SET(&changes[0], 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
		EV_SET(&changes[1], 2, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
		CHECK_EQ(kevent(s.kq, changes, 2, NULL, 0, NULL), 0);
		join(&s);
		/* Or it has found out before it took any. */
		if (s.waiter.returned != 1)
			CHECK_EQ(kevent(s.kq, NULL, 0, &k, 1, &ts), 1);
		CHECK(shows(s.kq));
		CHECK_EQ(kevent(s.kq, NULL, 0, &k, 1, &ts), 1);
		CHECK_EQ(k.filter, EVFILT_USER);
		expect_none(s.kq);
		end_scene(&s);
	}
}

TEST(level_goes_on)
{
	for (int next = 0; next < WAYS; next++) {
		struct timespec ts = ms_to_ts(GENEROUS_MS);
		struct kevent k;
		struct scene s;
		set_scene(&s, (enum next)next);
		add_user(s.kq, 1, 0);
		trigger(s.kq, 1);
		join(&s);
		if (!shows(s.kq))
			FAIL("the number is %d: returned %d", next, s.waiter.returned);
		for (int i = 0; i < 3; i++) {
			CHECK_EQ(kevent(s.kq, NULL, 0, &k, 1, &ts), 1);
			CHECK_EQ(k.ident, 1);
		}
		end_scene(&s);
	}
}

TEST(timers_go_on)
{
	for (int next = 0; next < WAYS; next++) {
		struct timespec ts = ms_to_ts(GENEROUS_MS);
		struct kevent k;
		struct scene s;
		set_scene(&s, (enum next)next);
		CHANGE(s.kq, 1, EVFILT_TIMER, EV_ADD, 0, 5, NULL);
		join(&s);
		for (int i = 0; i < 3; i++) {
			CHECK_EQ(kevent(s.kq, NULL, 0, &k, 1, &ts), 1);
			CHECK_EQ(k.ident, 1);
		}
		end_scene(&s);
	}
}

/* No number is left: the thread is the only one that can be told. */
TEST(oneshot_is_told_to_who_waits_in_a_closed_queue)
{
	struct waiter w;
	struct kevent k;
	int fds[2], kq = open_queue();
	open_pair(fds);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD | EV_ONESHOT, 0, 0,
	    NULL);
	waiter_start(&w, kq, NULL);
	CHECK_EQ(syscall(SYS_close, kq), 0);
	put(fds[1], 3);
	k = waiter_event(&w);
	CHECK_EQ(k.ident, fds[0]);
	CHECK_EQ(k.data, 3);
	close_pair(fds);
}
