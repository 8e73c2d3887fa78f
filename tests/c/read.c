/* EVFILT_READ: what makes each kind of descriptor fire, and what it says. */
#include "io.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#define READ_DELETE(kq, fd)                                                   \
	CHANGE(kq, (uintptr_t)(fd), EVFILT_READ, EV_DELETE, 0, 0, NULL)
#define READ_CHANGE(kq, fd, flags)                                            \
	CHANGE(kq, (uintptr_t)(fd), EVFILT_READ, flags, 0, 0, UDATA(3))

/* Every kind of byte stream */

static void
data_is_all_that_is_unread(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], 0);
	EXPECT_QUIET(kq);
	put(fds[1], 5);
	put(fds[1], 7);
	WAIT_FOR(unread(fds[0]) == 12);
	EXPECT_READ(kq, fds[0], 0, 0, 12);
	EXPECT_READ(kq, fds[0], 0, 0, 12);
	take(fds[0], 5);
	EXPECT_READ(kq, fds[0], 0, 0, 7);
	take(fds[0], 7);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(data_is_all_that_is_unread)
ON_SEQPACKET(data_is_all_that_is_unread)
ON_PIPE(data_is_all_that_is_unread)

static void
what_came_before_ev_add_fires(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	put(fds[1], 9);
	WAIT_FOR(unread(fds[0]) == 9);
	READ_ADD(kq, fds[0], 0);
	EXPECT_READ(kq, fds[0], 0, 0, 9);
	take(fds[0], 9);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(what_came_before_ev_add_fires)
ON_SEQPACKET(what_came_before_ev_add_fires)
ON_PIPE(what_came_before_ev_add_fires)

static void
arrival_wakes_a_sleeper(pair_fn make)
{
	struct sleeper s;
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], 0);
	sleeper_start(&s, kq);
	put(fds[1], 3);
	CHECK_KEV(sleeper_join(&s), (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0,
	    3, UDATA(3));
	take(fds[0], 3);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(arrival_wakes_a_sleeper)
ON_SEQPACKET(arrival_wakes_a_sleeper)
ON_PIPE(arrival_wakes_a_sleeper)

static void
clear_gives_one_event_an_arrival(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 5);
	EXPECT_QUIET(kq);
	/* A partial read is no arrival. */
	take(fds[0], 2);
	EXPECT_QUIET(kq);
	put(fds[1], 4);
	WAIT_FOR(unread(fds[0]) == 7);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 7);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(clear_gives_one_event_an_arrival)
ON_PIPE(clear_gives_one_event_an_arrival)

static void
clear_merges_arrivals_before_retrieval(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], EV_CLEAR);
	put(fds[1], 5);
	put(fds[1], 5);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 15);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 15);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(clear_merges_arrivals_before_retrieval)
ON_SEQPACKET(clear_merges_arrivals_before_retrieval)
ON_PIPE(clear_merges_arrivals_before_retrieval)

static void
clear_drained_before_retrieval_is_silent(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], EV_CLEAR);
	put(fds[1], 5);
	take(fds[0], 5);
	expect_none(kq);
	put(fds[1], 6);
	WAIT_FOR(unread(fds[0]) == 6);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 6);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(clear_drained_before_retrieval_is_silent)
ON_PIPE(clear_drained_before_retrieval_is_silent)

static void
clear_asks_again_at_every_change(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	READ_ADD(kq, fds[0], EV_CLEAR);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 5);
	EXPECT_QUIET(kq);
	READ_ADD(kq, fds[0], EV_CLEAR);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 5);
	EXPECT_QUIET(kq);
	READ_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 5);
	EXPECT_QUIET(kq);
	/* Flags 0 is a plain update. */
	READ_CHANGE(kq, fds[0], 0);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 5);
	EXPECT_QUIET(kq);
	take(fds[0], 5);
	READ_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(clear_asks_again_at_every_change)
ON_PIPE(clear_asks_again_at_every_change)

static void
oneshot_comes_once_and_is_gone(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], EV_ONESHOT);
	EXPECT_QUIET(kq);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	EXPECT_READ(kq, fds[0], EV_ONESHOT, 0, 5);
	EXPECT_QUIET(kq);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 10);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_READ, EV_DELETE, 0, 0,
	    NULL), ENOENT);
	CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ENABLE, 0, 0,
	    NULL), ENOENT);
	READ_ADD(kq, fds[0], EV_ONESHOT);
	EXPECT_READ(kq, fds[0], EV_ONESHOT, 0, 10);
	EXPECT_QUIET(kq);
	/* The next registration is as new: it need not be a one-shot. */
	READ_ADD(kq, fds[0], 0);
	EXPECT_READ(kq, fds[0], 0, 0, 10);
	EXPECT_READ(kq, fds[0], 0, 0, 10);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(oneshot_comes_once_and_is_gone)
ON_PIPE(oneshot_comes_once_and_is_gone)

/* The kernel underneath is asked again, so a cause that went is not told. */
static void
oneshot_whose_cause_went_stays(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], EV_ONESHOT);
	put(fds[1], 5);
	take(fds[0], 5);
	expect_none(kq);
	put(fds[1], 6);
	WAIT_FOR(unread(fds[0]) == 6);
	EXPECT_READ(kq, fds[0], EV_ONESHOT, 0, 6);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(oneshot_whose_cause_went_stays)
ON_PIPE(oneshot_whose_cause_went_stays)

static void
dispatch_waits_for_enable(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], EV_DISPATCH);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	EXPECT_READ(kq, fds[0], EV_DISPATCH, 0, 5);
	EXPECT_QUIET(kq);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 10);
	EXPECT_QUIET(kq);
	/* The condition still holds: level, so it fires at once. */
	READ_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_READ(kq, fds[0], EV_DISPATCH, 0, 10);
	EXPECT_QUIET(kq);
	take(fds[0], 10);
	READ_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_QUIET(kq);
	put(fds[1], 1);
	EXPECT_READ(kq, fds[0], EV_DISPATCH, 0, 1);
	EXPECT_QUIET(kq);
	READ_DELETE(kq, fds[0]);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(dispatch_waits_for_enable)
ON_PIPE(dispatch_waits_for_enable)

static void
re_adding_does_not_enable(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	READ_ADD(kq, fds[0], EV_DISPATCH);
	EXPECT_READ(kq, fds[0], EV_DISPATCH, 0, 5);
	READ_ADD(kq, fds[0], EV_DISPATCH);
	EXPECT_QUIET(kq);
	READ_ADD(kq, fds[0], EV_ENABLE);
	EXPECT_READ(kq, fds[0], EV_DISPATCH, 0, 5);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(re_adding_does_not_enable)
ON_PIPE(re_adding_does_not_enable)

static void
disabled_is_silent_until_enabled(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	READ_ADD(kq, fds[0], EV_DISABLE);
	EXPECT_QUIET(kq);
	READ_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_READ(kq, fds[0], 0, 0, 5);
	READ_CHANGE(kq, fds[0], EV_DISABLE);
	EXPECT_QUIET(kq);
	put(fds[1], 2);
	WAIT_FOR(unread(fds[0]) == 7);
	EXPECT_QUIET(kq);
	READ_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_READ(kq, fds[0], 0, 0, 7);
	READ_CHANGE(kq, fds[0], EV_DISABLE);
	take(fds[0], 7);
	READ_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(disabled_is_silent_until_enabled)
ON_SEQPACKET(disabled_is_silent_until_enabled)
ON_PIPE(disabled_is_silent_until_enabled)

static void
edge_while_disabled_is_remembered(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], EV_CLEAR);
	READ_CHANGE(kq, fds[0], EV_DISABLE);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	EXPECT_QUIET(kq);
	READ_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 5);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(edge_while_disabled_is_remembered)
ON_PIPE(edge_while_disabled_is_remembered)

static void
deleted_is_silent(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], 0);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	READ_DELETE(kq, fds[0]);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_READ, EV_DELETE, 0, 0,
	    NULL), ENOENT);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(deleted_is_silent)
ON_PIPE(deleted_is_silent)

static void
two_queues_are_told_alike(pair_fn make)
{
	int fds[2], first = new_queue(), second = new_queue();
	make(fds);
	READ_ADD(first, fds[0], EV_CLEAR);
	READ_ADD(second, fds[0], 0);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	EXPECT_READ(first, fds[0], EV_CLEAR, 0, 5);
	EXPECT_QUIET(first);
	EXPECT_READ(second, fds[0], 0, 0, 5);
	EXPECT_READ(second, fds[0], 0, 0, 5);
	READ_DELETE(second, fds[0]);
	put(fds[1], 1);
	WAIT_FOR(unread(fds[0]) == 6);
	EXPECT_READ(first, fds[0], EV_CLEAR, 0, 6);
	EXPECT_QUIET(first);
	EXPECT_QUIET(second);
	close_pair(fds);
	CHECK_EQ(close(first), 0);
	CHECK_EQ(close(second), 0);
}
ON_STREAMS(two_queues_are_told_alike)
ON_PIPE(two_queues_are_told_alike)

static void
a_dup_is_a_registration_of_its_own(pair_fn make)
{
	struct kevent k;
	int fds[2], other, kq = new_queue();
	make(fds);
	other = dup(fds[0]);
	CHECK(other >= 0);
	READ_ADD(kq, fds[0], 0);
	READ_ADD(kq, other, EV_CLEAR);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	k = next_event(kq);
	if (k.ident == (uintptr_t)other) {
		CHECK_KEV(k, (uintptr_t)other, EVFILT_READ, EV_ADD | EV_CLEAR,
		    0, 5, UDATA(3));
		EXPECT_READ(kq, fds[0], 0, 0, 5);
	} else {
		CHECK_KEV(k, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0, 5,
		    UDATA(3));
		EXPECT_READ(kq, other, EV_CLEAR, 0, 5);
	}
	READ_DELETE(kq, fds[0]);
	EXPECT_QUIET(kq);
	put(fds[1], 1);
	WAIT_FOR(unread(other) == 6);
	EXPECT_READ(kq, other, EV_CLEAR, 0, 6);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(other), 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(a_dup_is_a_registration_of_its_own)
ON_PIPE(a_dup_is_a_registration_of_its_own)

static void
unknown_fflags_are_ignored(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0x00ff0000, 100,
	    UDATA(3));
	EXPECT_QUIET(kq);
	put(fds[1], 1);
	EXPECT_READ(kq, fds[0], 0, 0, 1);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(unknown_fflags_are_ignored)
ON_PIPE(unknown_fflags_are_ignored)

/* The end of the stream */

static void
half_close_is_eof_with_what_is_left(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], 0);
	put(fds[1], 5);
	CHECK_EQ(shutdown(fds[1], SHUT_WR), 0);
	wait_poll(fds[0], POLLRDHUP);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 5);
	take(fds[0], 5);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	READ_DELETE(kq, fds[0]);
	EXPECT_QUIET(kq);
	/* The other direction lives. */
	put(fds[0], 3);
	take(fds[1], 3);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(half_close_is_eof_with_what_is_left)
ON_SEQPACKET(half_close_is_eof_with_what_is_left)

static void
peer_close_is_eof_with_what_is_left(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], 0);
	EXPECT_QUIET(kq);
	put(fds[1], 5);
	CHECK_EQ(close(fds[1]), 0);
	wait_poll(fds[0], POLLRDHUP | POLLHUP);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 5);
	take(fds[0], 3);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 2);
	take(fds[0], 2);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(peer_close_is_eof_with_what_is_left)
ON_PIPE(peer_close_is_eof_with_what_is_left)

static void
eof_before_ev_add_fires(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	CHECK_EQ(close(fds[1]), 0);
	wait_poll(fds[0], POLLRDHUP | POLLHUP);
	READ_ADD(kq, fds[0], 0);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(eof_before_ev_add_fires)
ON_SEQPACKET(eof_before_ev_add_fires)
ON_PIPE(eof_before_ev_add_fires)

static void
eof_wakes_a_sleeper(pair_fn make)
{
	struct sleeper s;
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], 0);
	sleeper_start(&s, kq);
	CHECK_EQ(close(fds[1]), 0);
	CHECK_KEV(sleeper_join(&s), (uintptr_t)fds[0], EVFILT_READ,
	    EV_ADD | EV_EOF, 0, 0, UDATA(3));
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(eof_wakes_a_sleeper)
ON_SEQPACKET(eof_wakes_a_sleeper)
ON_PIPE(eof_wakes_a_sleeper)

static void
eof_after_a_cleared_event_comes_once(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], EV_CLEAR);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 5);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fds[1]), 0);
	wait_poll(fds[0], POLLRDHUP | POLLHUP);
	EXPECT_READ(kq, fds[0], EV_CLEAR | EV_EOF, 0, 5);
	EXPECT_QUIET(kq);
	take(fds[0], 5);
	EXPECT_QUIET(kq);
	READ_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_READ(kq, fds[0], EV_CLEAR | EV_EOF, 0, 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(eof_after_a_cleared_event_comes_once)
ON_PIPE(eof_after_a_cleared_event_comes_once)

static void
oneshot_and_dispatch_tell_of_eof(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	CHECK_EQ(close(fds[1]), 0);
	wait_poll(fds[0], POLLRDHUP | POLLHUP);
	READ_ADD(kq, fds[0], EV_ONESHOT);
	EXPECT_READ(kq, fds[0], EV_ONESHOT | EV_EOF, 0, 0);
	EXPECT_QUIET(kq);
	READ_ADD(kq, fds[0], EV_DISPATCH);
	EXPECT_READ(kq, fds[0], EV_DISPATCH | EV_EOF, 0, 0);
	EXPECT_QUIET(kq);
	READ_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_READ(kq, fds[0], EV_DISPATCH | EV_EOF, 0, 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(oneshot_and_dispatch_tell_of_eof)
ON_PIPE(oneshot_and_dispatch_tell_of_eof)

/* A hang-up cannot be masked in Linux: the knote must be quiet all the same. */
static void
disabled_is_silent_at_eof(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], EV_DISABLE);
	CHECK_EQ(close(fds[1]), 0);
	wait_poll(fds[0], POLLRDHUP | POLLHUP);
	expect_none(kq);
	EXPECT_QUIET(kq);
	READ_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	READ_CHANGE(kq, fds[0], EV_DISABLE);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(disabled_is_silent_at_eof)
ON_PIPE(disabled_is_silent_at_eof)

static void
own_shutdown_of_reading_is_eof(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(shutdown(fds[0], SHUT_RD), 0);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(own_shutdown_of_reading_is_eof)
ON_SEQPACKET(own_shutdown_of_reading_is_eof)

/* TCP has no way to tell the peer that one has stopped reading. */
TEST(tcp_peers_shutdown_of_reading_is_silent)
{
	int fds[2], kq = new_queue();
	tcp_pair(fds);
	READ_ADD(kq, fds[0], 0);
	CHECK_EQ(shutdown(fds[1], SHUT_RD), 0);
	EXPECT_QUIET(kq);
	put(fds[1], 2);
	EXPECT_READ(kq, fds[0], 0, 0, 2);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_own_shutdown_of_writing_is_silent)
{
	int fds[2], kq = new_queue();
	tcp_pair(fds);
	READ_ADD(kq, fds[0], 0);
	CHECK_EQ(shutdown(fds[0], SHUT_WR), 0);
	EXPECT_QUIET(kq);
	put(fds[1], 2);
	EXPECT_READ(kq, fds[0], 0, 0, 2);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_reset_is_eof_with_the_error_and_what_is_left)
{
	int fds[2], kq = new_queue();
	tcp_pair(fds);
	READ_ADD(kq, fds[0], 0);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	reset_and_close(fds[1]);
	wait_poll(fds[0], POLLERR);
	EXPECT_READ(kq, fds[0], EV_EOF, ECONNRESET, 5);
	EXPECT_READ(kq, fds[0], EV_EOF, ECONNRESET, 5);
	take(fds[0], 5);
	EXPECT_READ(kq, fds[0], EV_EOF, ECONNRESET, 0);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_reset_error_is_left_for_the_program_and_gone_once_read)
{
	int fds[2], kq = new_queue();
	tcp_pair(fds);
	READ_ADD(kq, fds[0], 0);
	reset_and_close(fds[1]);
	wait_poll(fds[0], POLLERR);
	EXPECT_READ(kq, fds[0], EV_EOF, ECONNRESET, 0);
	EXPECT_READ(kq, fds[0], EV_EOF, ECONNRESET, 0);
	CHECK_EQ(so_error(fds[0]), ECONNRESET);
	/* EV_EOF on a socket never clears; the error is asked each time. */
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_reset_is_left_for_read_too)
{
	char byte;
	int fds[2], kq = new_queue();
	tcp_pair(fds);
	READ_ADD(kq, fds[0], EV_CLEAR);
	reset_and_close(fds[1]);
	wait_poll(fds[0], POLLERR);
	EXPECT_READ(kq, fds[0], EV_CLEAR | EV_EOF, ECONNRESET, 0);
	EXPECT_QUIET(kq);
	CHECK_FAILS(read(fds[0], &byte, 1), ECONNRESET);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

/* Linux calls the error of a reset after a half close EPIPE. */
TEST(tcp_reset_after_a_half_close_is_told_as_the_program_will_see_it)
{
	int fds[2], kq = new_queue();
	tcp_pair(fds);
	READ_ADD(kq, fds[0], 0);
	CHECK_EQ(shutdown(fds[1], SHUT_WR), 0);
	wait_poll(fds[0], POLLRDHUP);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	reset_and_close(fds[1]);
	wait_poll(fds[0], POLLERR);
	EXPECT_READ(kq, fds[0], EV_EOF, EPIPE, 0);
	CHECK_EQ(so_error(fds[0]), EPIPE);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

/* A UNIX peer that closes over unread bytes leaves an error behind. */
TEST(unix_close_over_unread_bytes_is_told_as_the_program_will_see_it)
{
	int fds[2], kq = new_queue();
	unix_pair(fds);
	READ_ADD(kq, fds[0], 0);
	put(fds[0], 3);
	put(fds[1], 5);
	CHECK_EQ(close(fds[1]), 0);
	EXPECT_READ(kq, fds[0], EV_EOF, ECONNRESET, 5);
	CHECK_EQ(so_error(fds[0]), ECONNRESET);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 5);
	take(fds[0], 5);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

/* Before a connection */

static void
unconnected_is_silent(int domain, int type)
{
	int kq = new_queue(), fd = socket(domain, type, 0);
	CHECK(fd >= 0);
	READ_ADD(kq, fd, 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	READ_ADD(kq, fd, 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	READ_DELETE(kq, fd);
	READ_ADD(kq, fd, EV_CLEAR);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(unconnected_tcp_is_silent)
{
	unconnected_is_silent(AF_INET, SOCK_STREAM);
}

TEST(unconnected_unix_is_silent)
{
	unconnected_is_silent(AF_UNIX, SOCK_STREAM);
}

TEST(unconnected_seqpacket_is_silent)
{
	unconnected_is_silent(AF_UNIX, SOCK_SEQPACKET);
}

TEST(tcp_knote_from_before_connect_hears_the_data)
{
	int server, kq = new_queue(), listener = tcp_listener(1);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	READ_ADD(kq, fd, 0);
	expect_none(kq);
	CHECK_EQ(connect_to(fd, listener), 0);
	EXPECT_QUIET(kq);
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	put(server, 4);
	EXPECT_READ(kq, fd, 0, 0, 4);
	take(fd, 4);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(server), 0);
	EXPECT_READ(kq, fd, EV_EOF, 0, 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(listener), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(unix_knote_from_before_connect_hears_the_data)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	socklen_t len = sizeof sun;
	int server, kq = new_queue();
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(listener >= 0 && fd >= 0);
	/* An address without a name: the kernel picks an abstract one. */
	CHECK_EQ(bind(listener, (struct sockaddr *)&sun, sizeof(sa_family_t)),
	    0);
	CHECK_EQ(listen(listener, 4), 0);
	CHECK_EQ(getsockname(listener, (struct sockaddr *)&sun, &len), 0);
	READ_ADD(kq, fd, 0);
	expect_none(kq);
	CHECK_EQ(connect(fd, (struct sockaddr *)&sun, len), 0);
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	expect_none(kq);
	put(server, 4);
	EXPECT_READ(kq, fd, 0, 0, 4);
	take(fd, 4);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(server), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(listener), 0);
	CHECK_EQ(close(kq), 0);
}

/* One connection fills the queue of the listener; the next must wait. */
TEST(tcp_connecting_is_silent)
{
	int first, second, server, kq = new_queue(), listener = tcp_listener(0);
	first = tcp_client(listener);
	WAIT_FOR(backlog(listener) == 1);
	second = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(second >= 0);
	set_nonblocking(second);
	READ_ADD(kq, second, 0);
	CHECK_FAILS(connect_to(second, listener), EINPROGRESS);
	CHECK_EQ(tcp_state(second).tcpi_state, TCP_SYN_SENT);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(tcp_state(second).tcpi_state, TCP_SYN_SENT);
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	wait_poll(second, POLLOUT);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(server), 0);
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	put(server, 4);
	EXPECT_READ(kq, second, 0, 0, 4);
	CHECK_EQ(close(server), 0);
	CHECK_EQ(close(first), 0);
	CHECK_EQ(close(second), 0);
	CHECK_EQ(close(listener), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_refused_connect_is_eof_and_leaves_the_error)
{
	int kq = new_queue(), fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	READ_ADD(kq, fd, 0);
	expect_none(kq);
	begin_refused_connect(fd);
	wait_poll(fd, POLLERR);
	EXPECT_READ(kq, fd, EV_EOF, ECONNREFUSED, 0);
	EXPECT_READ(kq, fd, EV_EOF, ECONNREFUSED, 0);
	CHECK_EQ(so_error(fd), ECONNREFUSED);
	EXPECT_READ(kq, fd, EV_EOF, 0, 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_refused_connect_added_afterwards_is_eof)
{
	int kq = new_queue(), fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	begin_refused_connect(fd);
	wait_poll(fd, POLLERR);
	READ_ADD(kq, fd, EV_CLEAR);
	EXPECT_READ(kq, fd, EV_CLEAR | EV_EOF, ECONNREFUSED, 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(so_error(fd), ECONNREFUSED);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

/* Listening sockets */

TEST(tcp_listener_data_is_the_length_of_its_queue)
{
	int i, client[3], kq = new_queue(), listener = tcp_listener(8);
	READ_ADD(kq, listener, 0);
	EXPECT_QUIET(kq);
	for (i = 0; i < 3; i++) {
		client[i] = tcp_client(listener);
		WAIT_FOR(backlog(listener) == (unsigned)i + 1);
		EXPECT_READ(kq, listener, 0, 0, i + 1);
	}
	for (i = 2; i >= 0; i--) {
		CHECK_EQ(close(accept(listener, NULL, NULL)), 0);
		if (i > 0)
			EXPECT_READ(kq, listener, 0, 0, i);
	}
	EXPECT_QUIET(kq);
	for (i = 0; i < 3; i++)
		CHECK_EQ(close(client[i]), 0);
	CHECK_EQ(close(listener), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_listener_clear_gives_one_event_a_connection)
{
	int first, second, kq = new_queue(), listener = tcp_listener(8);
	READ_ADD(kq, listener, EV_CLEAR);
	EXPECT_QUIET(kq);
	first = tcp_client(listener);
	WAIT_FOR(backlog(listener) == 1);
	EXPECT_READ(kq, listener, EV_CLEAR, 0, 1);
	EXPECT_QUIET(kq);
	second = tcp_client(listener);
	WAIT_FOR(backlog(listener) == 2);
	EXPECT_READ(kq, listener, EV_CLEAR, 0, 2);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(first), 0);
	CHECK_EQ(close(second), 0);
	CHECK_EQ(close(listener), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_listen_may_come_after_ev_add)
{
	int client, kq = new_queue(), listener = bound_socket(SOCK_STREAM);
	READ_ADD(kq, listener, 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(listen(listener, 4), 0);
	EXPECT_QUIET(kq);
	client = tcp_client(listener);
	WAIT_FOR(backlog(listener) == 1);
	EXPECT_READ(kq, listener, 0, 0, 1);
	EXPECT_READ(kq, listener, 0, 0, 1);
	CHECK_EQ(close(accept(listener, NULL, NULL)), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(client), 0);
	CHECK_EQ(close(listener), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_listener_ignores_the_low_water_mark)
{
	int client, kq = new_queue(), listener = tcp_listener(4);
	CHANGE(kq, (uintptr_t)listener, EVFILT_READ, EV_ADD, NOTE_LOWAT, 100,
	    UDATA(3));
	EXPECT_QUIET(kq);
	client = tcp_client(listener);
	WAIT_FOR(backlog(listener) == 1);
	EXPECT_READ(kq, listener, 0, 0, 1);
	CHECK_EQ(close(client), 0);
	CHECK_EQ(close(listener), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_connection_wakes_a_sleeper_on_the_listener)
{
	struct sleeper s;
	int client, kq = new_queue(), listener = tcp_listener(4);
	READ_ADD(kq, listener, EV_ONESHOT);
	sleeper_start(&s, kq);
	client = tcp_client(listener);
	CHECK_KEV(sleeper_join(&s), (uintptr_t)listener, EVFILT_READ,
	    EV_ADD | EV_ONESHOT, 0, 1, UDATA(3));
	EXPECT_QUIET(kq);
	CHECK_EQ(close(client), 0);
	CHECK_EQ(close(listener), 0);
	CHECK_EQ(close(kq), 0);
}

static void
unix_listener(int type)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	socklen_t len = sizeof sun;
	int i, client[2], kq = new_queue();
	int listener = socket(AF_UNIX, type, 0);
	CHECK(listener >= 0);
	CHECK_EQ(bind(listener, (struct sockaddr *)&sun, sizeof(sa_family_t)),
	    0);
	READ_ADD(kq, listener, 0);
	expect_none(kq);
	CHECK_EQ(listen(listener, 4), 0);
	CHECK_EQ(getsockname(listener, (struct sockaddr *)&sun, &len), 0);
	expect_none(kq);
	/* Linux does not tell how many wait: 1 means some. */
	for (i = 0; i < 2; i++) {
		client[i] = socket(AF_UNIX, type, 0);
		CHECK(client[i] >= 0);
		CHECK_EQ(connect(client[i], (struct sockaddr *)&sun, len), 0);
		EXPECT_READ(kq, listener, 0, 0, 1);
	}
	CHECK_EQ(close(accept(listener, NULL, NULL)), 0);
	EXPECT_READ(kq, listener, 0, 0, 1);
	CHECK_EQ(close(accept(listener, NULL, NULL)), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(client[0]), 0);
	CHECK_EQ(close(client[1]), 0);
	CHECK_EQ(close(listener), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(unix_listener_fires_while_connections_wait)
{
	unix_listener(SOCK_STREAM);
}

TEST(seqpacket_listener_fires_while_connections_wait)
{
	unix_listener(SOCK_SEQPACKET);
}

/* Low-water marks */

#define READ_MARK(kq, fd, mark)                                               \
	CHANGE(kq, (uintptr_t)(fd), EVFILT_READ, EV_ADD, NOTE_LOWAT, mark,    \
	    UDATA(3))

static void
mark_holds_back_what_is_below(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_MARK(kq, fds[0], 10);
	EXPECT_QUIET(kq);
	put(fds[1], 4);
	WAIT_FOR(unread(fds[0]) == 4);
	expect_none(kq);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 9);
	expect_none(kq);
	EXPECT_QUIET(kq);
	put(fds[1], 1);
	WAIT_FOR(unread(fds[0]) == 10);
	EXPECT_READ(kq, fds[0], 0, 0, 10);
	EXPECT_READ(kq, fds[0], 0, 0, 10);
	put(fds[1], 3);
	WAIT_FOR(unread(fds[0]) == 13);
	EXPECT_READ(kq, fds[0], 0, 0, 13);
	take(fds[0], 4);
	expect_none(kq);
	EXPECT_QUIET(kq);
	put(fds[1], 1);
	WAIT_FOR(unread(fds[0]) == 10);
	EXPECT_READ(kq, fds[0], 0, 0, 10);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(mark_holds_back_what_is_below)

static void
mark_reached_wakes_a_sleeper(pair_fn make)
{
	struct sleeper s;
	int fds[2], kq = new_queue();
	make(fds);
	READ_MARK(kq, fds[0], 10);
	sleeper_start(&s, kq);
	put(fds[1], 4);
	WAIT_FOR(unread(fds[0]) == 4);
	WAIT_FOR(is_asleep(atomic_load(&s.tid)));
	put(fds[1], 6);
	CHECK_KEV(sleeper_join(&s), (uintptr_t)fds[0], EVFILT_READ, EV_ADD, 0,
	    10, UDATA(3));
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(mark_reached_wakes_a_sleeper)

/* Byte by byte, a mark is neither passed early nor missed. */
static void
mark_is_exact_over_many_rounds(pair_fn make)
{
	int fds[2], i, round, kq = new_queue();
	make(fds);
	READ_MARK(kq, fds[0], 5);
	for (round = 0; round < 200; round++) {
		for (i = 1; i < 5; i++) {
			put(fds[1], 1);
			WAIT_FOR(unread(fds[0]) == i);
			expect_none(kq);
		}
		put(fds[1], 1);
		WAIT_FOR(unread(fds[0]) == 5);
		EXPECT_READ(kq, fds[0], 0, 0, 5);
		take(fds[0], 5);
	}
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(mark_is_exact_over_many_rounds)

static void
mark_belongs_to_the_knote(pair_fn make)
{
	int fds[2], rcvlowat, low = new_queue(), high = new_queue();
	int plain = new_queue();
	make(fds);
	rcvlowat = get_option(fds[0], SOL_SOCKET, SO_RCVLOWAT);
	READ_MARK(low, fds[0], 5);
	READ_MARK(high, fds[0], 10);
	READ_ADD(plain, fds[0], 0);
	CHECK_EQ(get_option(fds[0], SOL_SOCKET, SO_RCVLOWAT), rcvlowat);
	put(fds[1], 1);
	WAIT_FOR(unread(fds[0]) == 1);
	CHECK(readable(fds[0]));
	EXPECT_READ(plain, fds[0], 0, 0, 1);
	expect_none(low);
	expect_none(high);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 6);
	EXPECT_READ(low, fds[0], 0, 0, 6);
	expect_none(high);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 11);
	EXPECT_READ(high, fds[0], 0, 0, 11);
	EXPECT_READ(low, fds[0], 0, 0, 11);
	READ_DELETE(high, fds[0]);
	CHECK_EQ(get_option(fds[0], SOL_SOCKET, SO_RCVLOWAT), rcvlowat);
	close_pair(fds);
	CHECK_EQ(close(low), 0);
	CHECK_EQ(close(high), 0);
	CHECK_EQ(close(plain), 0);
}
ON_STREAMS(mark_belongs_to_the_knote)

static void
mark_is_replaced_by_every_change(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_MARK(kq, fds[0], 10);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	expect_none(kq);
	READ_MARK(kq, fds[0], 5);
	EXPECT_READ(kq, fds[0], 0, 0, 5);
	READ_MARK(kq, fds[0], 6);
	expect_none(kq);
	EXPECT_QUIET(kq);
	/* Without NOTE_LOWAT there is no mark any more. */
	READ_ADD(kq, fds[0], 0);
	EXPECT_READ(kq, fds[0], 0, 0, 5);
	READ_MARK(kq, fds[0], 6);
	expect_none(kq);
	/* A bare EV_ENABLE replaces fflags too. */
	READ_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_READ(kq, fds[0], 0, 0, 5);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(mark_is_replaced_by_every_change)

static void
mark_of_zero_always_fires(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_MARK(kq, fds[0], 0);
	EXPECT_READ(kq, fds[0], 0, 0, 0);
	EXPECT_READ(kq, fds[0], 0, 0, 0);
	put(fds[1], 2);
	WAIT_FOR(unread(fds[0]) == 2);
	EXPECT_READ(kq, fds[0], 0, 0, 2);
	READ_ADD(kq, fds[0], 0);
	take(fds[0], 2);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(mark_of_zero_always_fires)

static void
mark_does_not_hold_back_eof(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_MARK(kq, fds[0], 10);
	put(fds[1], 4);
	WAIT_FOR(unread(fds[0]) == 4);
	expect_none(kq);
	CHECK_EQ(shutdown(fds[1], SHUT_WR), 0);
	wait_poll(fds[0], POLLRDHUP);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 4);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 4);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(mark_does_not_hold_back_eof)

static void
mark_goes_with_clear_oneshot_and_dispatch(pair_fn make)
{
	static const unsigned modes[] = {EV_CLEAR, EV_ONESHOT, EV_DISPATCH};
	int fds[2], kq = new_queue();
	size_t i;
	make(fds);
	for (i = 0; i < sizeof modes / sizeof modes[0]; i++) {
		CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD | modes[i],
		    NOTE_LOWAT, 10, UDATA(3));
		put(fds[1], 9);
		WAIT_FOR(unread(fds[0]) == 9);
		expect_none(kq);
		put(fds[1], 1);
		WAIT_FOR(unread(fds[0]) == 10);
		EXPECT_READ(kq, fds[0], modes[i], 0, 10);
		expect_none(kq);
		if (modes[i] != EV_ONESHOT)
			READ_DELETE(kq, fds[0]);
		take(fds[0], 10);
	}
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(mark_goes_with_clear_oneshot_and_dispatch)

/* An EV_CLEAR event below the mark has not been delivered: it must not count
 * as the one event of later arrivals. */
static void
clear_with_a_mark_fires_at_each_arrival_above_it(pair_fn make)
{
	int fds[2], i, kq = new_queue();
	make(fds);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ADD | EV_CLEAR,
	    NOTE_LOWAT, 10, UDATA(3));
	put(fds[1], 10);
	WAIT_FOR(unread(fds[0]) == 10);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 10);
	expect_none(kq);
	for (i = 1; i <= 5; i++) {
		put(fds[1], 1);
		WAIT_FOR(unread(fds[0]) == 10 + i);
		EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 10 + i);
		expect_none(kq);
	}
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(clear_with_a_mark_fires_at_each_arrival_above_it)

TEST(tcp_so_rcvlowat_counts_where_no_mark_is_given)
{
	int fds[2], kq = new_queue();
	tcp_pair(fds);
	set_option(fds[0], SOL_SOCKET, SO_RCVLOWAT, 10);
	READ_ADD(kq, fds[0], 0);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	EXPECT_QUIET(kq);
	put(fds[1], 5);
	EXPECT_READ(kq, fds[0], 0, 0, 10);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* Linux has poll() of a UNIX socket ignore SO_RCVLOWAT, so it can be done. */
TEST(unix_mark_replaces_so_rcvlowat_downward)
{
	int fds[2], kq = new_queue();
	unix_pair(fds);
	set_option(fds[0], SOL_SOCKET, SO_RCVLOWAT, 10);
	READ_MARK(kq, fds[0], 5);
	put(fds[1], 4);
	expect_none(kq);
	put(fds[1], 1);
	EXPECT_READ(kq, fds[0], 0, 0, 5);
	CHECK_EQ(get_option(fds[0], SOL_SOCKET, SO_RCVLOWAT), 10);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(pipe_ignores_the_low_water_mark)
{
	int fds[2], kq = new_queue();
	pipe_pair(fds);
	READ_MARK(kq, fds[0], 100);
	EXPECT_QUIET(kq);
	put(fds[1], 1);
	EXPECT_READ(kq, fds[0], 0, 0, 1);
	take(fds[0], 1);
	/* A mark of 0 does not make an empty pipe fire either. */
	READ_MARK(kq, fds[0], 0);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* Datagrams */

static void
data_is_the_next_datagram(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], 0);
	EXPECT_QUIET(kq);
	put(fds[1], 5);
	wait_poll(fds[0], POLLIN);
	put(fds[1], 7);
	EXPECT_READ(kq, fds[0], 0, 0, 5);
	EXPECT_READ(kq, fds[0], 0, 0, 5);
	take(fds[0], 5);
	EXPECT_READ(kq, fds[0], 0, 0, 7);
	take(fds[0], 7);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_UDP(data_is_the_next_datagram)
ON_UNIX_DGRAM(data_is_the_next_datagram)

static void
empty_datagram_fires_with_data_0(pair_fn make)
{
	char byte;
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], 0);
	CHECK_EQ(send(fds[1], "", 0, 0), 0);
	EXPECT_READ(kq, fds[0], 0, 0, 0);
	EXPECT_READ(kq, fds[0], 0, 0, 0);
	CHECK_EQ(recv(fds[0], &byte, 1, 0), 0);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_UDP(empty_datagram_fires_with_data_0)
ON_UNIX_DGRAM(empty_datagram_fires_with_data_0)

static void
datagram_mark_holds_back_smaller_ones(pair_fn make)
{
	char byte;
	int fds[2], kq = new_queue();
	make(fds);
	READ_MARK(kq, fds[0], 1);
	CHECK_EQ(send(fds[1], "", 0, 0), 0);
	wait_poll(fds[0], POLLIN);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(recv(fds[0], &byte, 1, 0), 0);
	put(fds[1], 3);
	EXPECT_READ(kq, fds[0], 0, 0, 3);
	take(fds[0], 3);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_UDP(datagram_mark_holds_back_smaller_ones)
ON_UNIX_DGRAM(datagram_mark_holds_back_smaller_ones)

static void
datagram_clear_gives_one_event_an_arrival(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], EV_CLEAR);
	put(fds[1], 5);
	wait_poll(fds[0], POLLIN);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 5);
	EXPECT_QUIET(kq);
	put(fds[1], 7);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 5);
	EXPECT_QUIET(kq);
	take(fds[0], 5);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_UDP(datagram_clear_gives_one_event_an_arrival)
ON_UNIX_DGRAM(datagram_clear_gives_one_event_an_arrival)

TEST(udp_pending_error_fires_without_eof_and_is_left)
{
	int fds[2], kq = new_queue();
	udp_pair(fds);
	READ_ADD(kq, fds[0], 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fds[1]), 0);
	put(fds[0], 1);
	wait_poll(fds[0], POLLERR);
	EXPECT_READ(kq, fds[0], 0, 0, 0);
	EXPECT_READ(kq, fds[0], 0, 0, 0);
	CHECK_EQ(so_error(fds[0]), ECONNREFUSED);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

/* Pipes and FIFOs */

TEST(pipe_write_of_nothing_is_silent)
{
	int fds[2], kq = new_queue();
	pipe_pair(fds);
	READ_ADD(kq, fds[0], 0);
	CHECK_EQ(write(fds[1], "", 0), 0);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(pipe_eof_waits_for_the_last_writer)
{
	int fds[2], other, kq = new_queue();
	pipe_pair(fds);
	other = dup(fds[1]);
	CHECK(other >= 0);
	READ_ADD(kq, fds[0], 0);
	CHECK_EQ(close(fds[1]), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(other), 0);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(pipe_write_end_is_silent_always)
{
	int fds[2], kq = new_queue();
	pipe_pair(fds);
	READ_ADD(kq, fds[1], 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	put(fds[1], 5);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fds[0]), 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	READ_ADD(kq, fds[1], 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	READ_DELETE(kq, fds[1]);
	CHECK_EQ(close(fds[1]), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(fifo_has_no_eof_before_a_writer_came_and_went)
{
	struct fifo f;
	int r, w, kq = new_queue();
	make_fifo(&f);
	r = open_fifo(&f, O_RDONLY);
	READ_ADD(kq, r, 0);
	EXPECT_QUIET(kq);
	w = open_fifo(&f, O_WRONLY);
	EXPECT_QUIET(kq);
	put(w, 5);
	EXPECT_READ(kq, r, 0, 0, 5);
	CHECK_EQ(close(w), 0);
	EXPECT_READ(kq, r, EV_EOF, 0, 5);
	take(r, 5);
	EXPECT_READ(kq, r, EV_EOF, 0, 0);
	EXPECT_READ(kq, r, EV_EOF, 0, 0);
	CHECK_EQ(close(r), 0);
	remove_fifo(&f);
	CHECK_EQ(close(kq), 0);
}

TEST(fifo_eof_is_taken_back_by_a_new_writer)
{
	struct fifo f;
	int r, w, round, kq = new_queue();
	make_fifo(&f);
	r = open_fifo(&f, O_RDONLY);
	READ_ADD(kq, r, 0);
	for (round = 0; round < 3; round++) {
		w = open_fifo(&f, O_WRONLY);
		EXPECT_QUIET(kq);
		put(w, 3);
		EXPECT_READ(kq, r, 0, 0, 3);
		take(r, 3);
		EXPECT_QUIET(kq);
		CHECK_EQ(close(w), 0);
		EXPECT_READ(kq, r, EV_EOF, 0, 0);
		EXPECT_READ(kq, r, EV_EOF, 0, 0);
	}
	CHECK_EQ(close(r), 0);
	remove_fifo(&f);
	CHECK_EQ(close(kq), 0);
}

TEST(fifo_clear_tells_eof_once_a_departure)
{
	struct fifo f;
	int r, w, round, kq = new_queue();
	make_fifo(&f);
	r = open_fifo(&f, O_RDONLY);
	READ_ADD(kq, r, EV_CLEAR);
	for (round = 0; round < 3; round++) {
		w = open_fifo(&f, O_WRONLY);
		EXPECT_QUIET(kq);
		CHECK_EQ(close(w), 0);
		EXPECT_READ(kq, r, EV_CLEAR | EV_EOF, 0, 0);
		EXPECT_QUIET(kq);
	}
	CHECK_EQ(close(r), 0);
	remove_fifo(&f);
	CHECK_EQ(close(kq), 0);
}

/* The old manuals' way to take EOF back; it must do no harm. */
TEST(fifo_re_adding_with_clear_is_accepted)
{
	struct fifo f;
	int r, w, kq = new_queue();
	make_fifo(&f);
	r = open_fifo(&f, O_RDONLY);
	READ_ADD(kq, r, 0);
	w = open_fifo(&f, O_WRONLY);
	CHECK_EQ(close(w), 0);
	EXPECT_READ(kq, r, EV_EOF, 0, 0);
	READ_ADD(kq, r, EV_CLEAR);
	w = open_fifo(&f, O_WRONLY);
	EXPECT_QUIET(kq);
	put(w, 2);
	EXPECT_READ(kq, r, 0, 0, 2);
	CHECK_EQ(close(w), 0);
	CHECK_EQ(close(r), 0);
	remove_fifo(&f);
	CHECK_EQ(close(kq), 0);
}

TEST(fifo_opened_after_the_writer_left_has_no_eof)
{
	struct fifo f;
	int early, late, w, kq = new_queue();
	make_fifo(&f);
	early = open_fifo(&f, O_RDONLY);
	w = open_fifo(&f, O_WRONLY);
	CHECK_EQ(close(w), 0);
	late = open_fifo(&f, O_RDONLY);
	READ_ADD(kq, late, 0);
	EXPECT_QUIET(kq);
	READ_ADD(kq, early, 0);
	EXPECT_READ(kq, early, EV_EOF, 0, 0);
	EXPECT_READ(kq, early, EV_EOF, 0, 0);
	READ_DELETE(kq, early);
	w = open_fifo(&f, O_WRONLY);
	CHECK_EQ(close(w), 0);
	EXPECT_READ(kq, late, EV_EOF, 0, 0);
	CHECK_EQ(close(early), 0);
	CHECK_EQ(close(late), 0);
	remove_fifo(&f);
	CHECK_EQ(close(kq), 0);
}

TEST(fifo_departure_of_the_writer_wakes_a_sleeper)
{
	struct sleeper s;
	struct fifo f;
	int r, w, kq = new_queue();
	make_fifo(&f);
	r = open_fifo(&f, O_RDONLY);
	READ_ADD(kq, r, 0);
	w = open_fifo(&f, O_WRONLY);
	sleeper_start(&s, kq);
	CHECK_EQ(close(w), 0);
	CHECK_KEV(sleeper_join(&s), (uintptr_t)r, EVFILT_READ, EV_ADD | EV_EOF,
	    0, 0, UDATA(3));
	CHECK_EQ(close(r), 0);
	remove_fifo(&f);
	CHECK_EQ(close(kq), 0);
}

/* Terminals */

TEST(tty_data_is_whole_lines_in_canonical_mode)
{
	int fds[2], kq = new_queue();
	pty_pair(fds, TTY_LINES);
	READ_ADD(kq, fds[0], 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(write(fds[1], "abc", 3), 3);
	EXPECT_QUIET(kq);
	CHECK_EQ(write(fds[1], "\n", 1), 1);
	EXPECT_READ(kq, fds[0], 0, 0, 4);
	CHECK_EQ(write(fds[1], "de\n", 3), 3);
	WAIT_FOR(unread(fds[0]) == 7);
	EXPECT_READ(kq, fds[0], 0, 0, 7);
	take(fds[0], 4);
	take(fds[0], 3);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(tty_data_is_every_byte_in_raw_mode)
{
	int fds[2], kq = new_queue();
	pty_pair(fds, TTY_RAW);
	READ_ADD(kq, fds[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	CHECK_EQ(write(fds[1], "abc", 3), 3);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 3);
	EXPECT_QUIET(kq);
	CHECK_EQ(write(fds[1], "d", 1), 1);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 4);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(pty_master_data_is_what_the_slave_wrote)
{
	int fds[2], kq = new_queue();
	pty_pair(fds, TTY_RAW);
	READ_ADD(kq, fds[1], 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(write(fds[0], "hello", 5), 5);
	WAIT_FOR(unread(fds[1]) == 5);
	EXPECT_READ(kq, fds[1], 0, 0, 5);
	take(fds[1], 5);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(pty_master_hears_the_last_slave_go)
{
	int fds[2], kq = new_queue();
	pty_pair(fds, TTY_RAW);
	READ_ADD(kq, fds[1], 0);
	CHECK_EQ(write(fds[0], "left", 4), 4);
	WAIT_FOR(unread(fds[1]) == 4);
	CHECK_EQ(close(fds[0]), 0);
	EXPECT_READ(kq, fds[1], EV_EOF, 0, 4);
	take(fds[1], 4);
	EXPECT_READ(kq, fds[1], EV_EOF, 0, 0);
	EXPECT_READ(kq, fds[1], EV_EOF, 0, 0);
	CHECK_EQ(close(fds[1]), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tty_hang_up_is_eof)
{
	int fds[2], kq = new_queue();
	pty_pair(fds, TTY_LINES);
	READ_ADD(kq, fds[0], 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fds[1]), 0);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	EXPECT_READ(kq, fds[0], EV_EOF, 0, 0);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tty_input_wakes_a_sleeper)
{
	struct sleeper s;
	int fds[2], kq = new_queue();
	pty_pair(fds, TTY_LINES);
	READ_ADD(kq, fds[0], EV_ONESHOT);
	sleeper_start(&s, kq);
	CHECK_EQ(write(fds[1], "go\n", 3), 3);
	CHECK_KEV(sleeper_join(&s), (uintptr_t)fds[0], EVFILT_READ,
	    EV_ADD | EV_ONESHOT, 0, 3, UDATA(3));
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* The part of the next case that needs a controlling terminal of its own. */
static void
read_controlling_terminal(int master, const char *slave)
{
	int first, tty, kq;
	CHECK(signal(SIGHUP, SIG_IGN) != SIG_ERR);
	CHECK(setsid() >= 0);
	first = open(slave, O_RDWR | O_NOCTTY);
	CHECK(first >= 0);
	CHECK_EQ(ioctl(first, TIOCSCTTY, 0), 0);
	tty = open("/dev/tty", O_RDWR | O_NONBLOCK);
	CHECK(tty >= 0);
	kq = new_queue();
	READ_ADD(kq, tty, 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(write(master, "hi\n", 3), 3);
	EXPECT_READ(kq, tty, 0, 0, 3);
	take(tty, 3);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(first), 0);
	CHECK_EQ(close(master), 0);
	EXPECT_READ(kq, tty, EV_EOF, 0, 0);
	EXPECT_READ(kq, tty, EV_EOF, 0, 0);
	CHECK_EQ(close(tty), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(dev_tty_is_a_terminal_like_any_other)
{
	char slave[SCRATCH_PATH];
	pid_t pid;
	int fds[2];
	pty_pair(fds, TTY_LINES);
	snprintf(slave, sizeof slave, "%s", ptsname(fds[1]));
	pid = fork();
	if (pid == 0) {
		CHECK_EQ(close(fds[0]), 0);
		read_controlling_terminal(fds[1], slave);
		exit(0);
	}
	/* The child's close of the master must be the last. */
	close_pair(fds);
	wait_child(pid);
}

/* Regular files */

TEST(file_data_is_what_lies_before_the_offset)
{
	int kq = new_queue(), fd = nameless_file(100);
	READ_ADD(kq, fd, 0);
	EXPECT_READ(kq, fd, 0, 0, 100);
	EXPECT_READ(kq, fd, 0, 0, 100);
	take(fd, 30);
	EXPECT_READ(kq, fd, 0, 0, 70);
	take(fd, 70);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_queued_is_asked_again_at_retrieval)
{
	int kq = new_queue(), fd = nameless_file(100);
	READ_ADD(kq, fd, 0);
	EXPECT_READ(kq, fd, 0, 0, 100);
	CHECK_EQ(lseek(fd, 60, SEEK_SET), 60);
	EXPECT_READ(kq, fd, 0, 0, 40);
	CHECK_EQ(lseek(fd, 10, SEEK_SET), 10);
	EXPECT_READ(kq, fd, 0, 0, 90);
	CHECK_EQ(lseek(fd, 0, SEEK_END), 100);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_offset_is_shared_with_a_dup)
{
	int other, kq = new_queue(), fd = nameless_file(100);
	other = dup(fd);
	CHECK(other >= 0);
	READ_ADD(kq, fd, 0);
	EXPECT_READ(kq, fd, 0, 0, 100);
	take(other, 25);
	EXPECT_READ(kq, fd, 0, 0, 75);
	take(other, 75);
	expect_none(kq);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_reads_at_a_place_do_not_count)
{
	char buf[10];
	int kq = new_queue(), fd = nameless_file(100);
	READ_ADD(kq, fd, 0);
	EXPECT_READ(kq, fd, 0, 0, 100);
	CHECK_EQ(pread(fd, buf, sizeof buf, 20), 10);
	EXPECT_READ(kq, fd, 0, 0, 100);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_at_its_end_fires_when_it_grows)
{
	char path[SCRATCH_PATH];
	int other, i, kq = new_queue(), fd = scratch_file(path, 10);
	other = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	CHECK(other >= 0);
	take(fd, 10);
	READ_ADD(kq, fd, 0);
	EXPECT_QUIET(kq);
	for (i = 0; i < 3; i++) {
		put(other, 5);
		EXPECT_READ(kq, fd, 0, 0, 5);
		EXPECT_READ(kq, fd, 0, 0, 5);
		take(fd, 5);
		expect_none(kq);
		EXPECT_QUIET(kq);
	}
	CHECK_EQ(close(other), 0);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_growth_wakes_a_sleeper)
{
	struct sleeper s;
	char path[SCRATCH_PATH];
	int other, kq = new_queue(), fd = scratch_file(path, 0);
	other = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	CHECK(other >= 0);
	READ_ADD(kq, fd, 0);
	sleeper_start(&s, kq);
	put(other, 5);
	CHECK_KEV(sleeper_join(&s), (uintptr_t)fd, EVFILT_READ, EV_ADD, 0, 5,
	    UDATA(3));
	take(fd, 5);
	expect_none(kq);
	/* And again, after it has once gone silent. */
	sleeper_start(&s, kq);
	CHECK_EQ(ftruncate(other, 12), 0);
	CHECK_KEV(sleeper_join(&s), (uintptr_t)fd, EVFILT_READ, EV_ADD, 0, 7,
	    UDATA(3));
	CHECK_EQ(close(other), 0);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_without_a_name_grows_too)
{
	char path[SCRATCH_PATH];
	int other, kq = new_queue(), fd = scratch_file(path, 4);
	other = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	CHECK(other >= 0);
	CHECK_EQ(unlink(path), 0);
	READ_ADD(kq, fd, 0);
	EXPECT_READ(kq, fd, 0, 0, 4);
	take(fd, 4);
	expect_none(kq);
	put(other, 6);
	EXPECT_READ(kq, fd, 0, 0, 6);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_renamed_grows_too)
{
	char path[SCRATCH_PATH], moved[SCRATCH_PATH + 8];
	int other, kq = new_queue(), fd = scratch_file(path, 0);
	READ_ADD(kq, fd, 0);
	EXPECT_QUIET(kq);
	snprintf(moved, sizeof moved, "%s.moved", path);
	CHECK_EQ(rename(path, moved), 0);
	EXPECT_QUIET(kq);
	other = open(moved, O_WRONLY | O_APPEND | O_CLOEXEC);
	CHECK(other >= 0);
	put(other, 6);
	EXPECT_READ(kq, fd, 0, 0, 6);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(unlink(moved), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_written_through_its_own_descriptor_stays_at_its_end)
{
	int kq = new_queue(), fd = nameless_file(0);
	READ_ADD(kq, fd, 0);
	EXPECT_QUIET(kq);
	put(fd, 10);
	expect_none(kq);
	EXPECT_QUIET(kq);
	/* A write at a place leaves the offset where it is. */
	CHECK_EQ(pwrite(fd, "abc", 3, 10), 3);
	EXPECT_READ(kq, fd, 0, 0, 3);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_truncated_below_the_offset_gives_negative_data)
{
	int kq = new_queue(), fd = nameless_file(10);
	take(fd, 10);
	READ_ADD(kq, fd, 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(ftruncate(fd, 4), 0);
	EXPECT_READ(kq, fd, 0, 0, -6);
	EXPECT_READ(kq, fd, 0, 0, -6);
	CHECK_EQ(ftruncate(fd, 0), 0);
	EXPECT_READ(kq, fd, 0, 0, -10);
	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_truncation_wakes_a_sleeper)
{
	struct sleeper s;
	int kq = new_queue(), fd = nameless_file(10);
	take(fd, 10);
	READ_ADD(kq, fd, 0);
	sleeper_start(&s, kq);
	CHECK_EQ(ftruncate(fd, 7), 0);
	CHECK_KEV(sleeper_join(&s), (uintptr_t)fd, EVFILT_READ, EV_ADD, 0, -3,
	    UDATA(3));
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_offset_past_the_end_gives_negative_data)
{
	int kq = new_queue(), fd = nameless_file(10);
	CHECK_EQ(lseek(fd, 25, SEEK_SET), 25);
	READ_ADD(kq, fd, 0);
	EXPECT_READ(kq, fd, 0, 0, -15);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

/* Moving the offset is no event of the file; the next change of it, or of
 * the knote, makes the queue look again. */
TEST(file_gone_silent_is_not_told_of_lseek)
{
	int kq = new_queue(), fd = nameless_file(10);
	take(fd, 10);
	READ_ADD(kq, fd, 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	EXPECT_QUIET(kq);
	READ_CHANGE(kq, fd, 0);
	EXPECT_READ(kq, fd, 0, 0, 10);
	CHECK_EQ(lseek(fd, 10, SEEK_SET), 10);
	expect_none(kq);
	CHECK_EQ(lseek(fd, 2, SEEK_SET), 2);
	EXPECT_QUIET(kq);
	CHECK_EQ(pwrite(fd, "abc", 3, 10), 3);
	EXPECT_READ(kq, fd, 0, 0, 11);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_data_beyond_2_gib_is_exact)
{
	const intptr_t gib = 1 << 30;
	int kq, fd;
	if (sizeof(intptr_t) < 8)
		SKIP("data is 32 bits wide here");
	fd = nameless_file(0);
	if (ftruncate(fd, 5 * gib) != 0)
		SKIP("no file of 5 GiB here");
	kq = new_queue();
	READ_ADD(kq, fd, 0);
	EXPECT_READ(kq, fd, 0, 0, 5 * gib);
	CHECK_EQ(lseek(fd, 1, SEEK_SET), 1);
	EXPECT_READ(kq, fd, 0, 0, 5 * gib - 1);
	CHECK_EQ(lseek(fd, 4 * gib, SEEK_SET), 4 * gib);
	EXPECT_READ(kq, fd, 0, 0, gib);
	/* A distance of 4 GiB is 0 in 32 bits. */
	CHECK_EQ(lseek(fd, gib, SEEK_SET), gib);
	EXPECT_READ(kq, fd, 0, 0, 4 * gib);
	CHECK_EQ(lseek(fd, 8 * gib, SEEK_SET), 8 * gib);
	EXPECT_READ(kq, fd, 0, 0, -3 * gib);
	CHECK_EQ(lseek(fd, 5 * gib, SEEK_SET), 5 * gib);
	expect_none(kq);
	CHECK_EQ(ftruncate(fd, 5 * gib + 3), 0);
	EXPECT_READ(kq, fd, 0, 0, 3);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_poll_note_always_fires)
{
	int kq = new_queue(), fd = nameless_file(10);
	take(fd, 10);
	CHANGE(kq, (uintptr_t)fd, EVFILT_READ, EV_ADD, NOTE_FILE_POLL, 0,
	    UDATA(3));
	EXPECT_READ(kq, fd, 0, 0, 0);
	EXPECT_READ(kq, fd, 0, 0, 0);
	CHECK(readable(kq));
	CHECK_EQ(lseek(fd, 4, SEEK_SET), 4);
	EXPECT_READ(kq, fd, 0, 0, 6);
	CHECK_EQ(lseek(fd, 10, SEEK_SET), 10);
	/* A change without the note takes it back. */
	READ_ADD(kq, fd, 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_ignores_the_low_water_mark)
{
	int kq = new_queue(), fd = nameless_file(3);
	READ_MARK(kq, fd, 100);
	EXPECT_READ(kq, fd, 0, 0, 3);
	take(fd, 3);
	expect_none(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_clear_gives_one_event_a_change)
{
	char path[SCRATCH_PATH];
	int other, kq = new_queue(), fd = scratch_file(path, 10);
	other = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	CHECK(other >= 0);
	READ_ADD(kq, fd, EV_CLEAR);
	EXPECT_READ(kq, fd, EV_CLEAR, 0, 10);
	EXPECT_QUIET(kq);
	take(fd, 3);
	EXPECT_QUIET(kq);
	put(other, 5);
	EXPECT_READ(kq, fd, EV_CLEAR, 0, 12);
	EXPECT_QUIET(kq);
	READ_CHANGE(kq, fd, EV_ENABLE);
	EXPECT_READ(kq, fd, EV_CLEAR, 0, 12);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_oneshot_comes_once_and_is_gone)
{
	int kq = new_queue(), fd = nameless_file(10);
	READ_ADD(kq, fd, EV_ONESHOT);
	EXPECT_READ(kq, fd, EV_ONESHOT, 0, 10);
	EXPECT_QUIET(kq);
	CHECK_EQ(ftruncate(fd, 20), 0);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_READ, EV_DELETE, 0, 0,
	    NULL), ENOENT);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_dispatch_and_disable_are_silent_until_enabled)
{
	int kq = new_queue(), fd = nameless_file(10);
	READ_ADD(kq, fd, EV_DISPATCH);
	EXPECT_READ(kq, fd, EV_DISPATCH, 0, 10);
	EXPECT_QUIET(kq);
	CHECK_EQ(ftruncate(fd, 20), 0);
	EXPECT_QUIET(kq);
	READ_CHANGE(kq, fd, EV_ENABLE);
	EXPECT_READ(kq, fd, EV_DISPATCH, 0, 20);
	EXPECT_QUIET(kq);
	READ_DELETE(kq, fd);
	READ_ADD(kq, fd, 0);
	EXPECT_READ(kq, fd, 0, 0, 20);
	READ_CHANGE(kq, fd, EV_DISABLE);
	EXPECT_QUIET(kq);
	READ_CHANGE(kq, fd, EV_ENABLE);
	EXPECT_READ(kq, fd, 0, 0, 20);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_growth_while_disabled_is_remembered)
{
	int kq = new_queue(), fd = nameless_file(0);
	READ_ADD(kq, fd, EV_CLEAR);
	READ_CHANGE(kq, fd, EV_DISABLE);
	CHECK_EQ(ftruncate(fd, 20), 0);
	EXPECT_QUIET(kq);
	READ_CHANGE(kq, fd, EV_ENABLE);
	EXPECT_READ(kq, fd, EV_CLEAR, 0, 20);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_deleted_knote_is_silent)
{
	int kq = new_queue(), fd = nameless_file(10);
	READ_ADD(kq, fd, 0);
	READ_DELETE(kq, fd);
	EXPECT_QUIET(kq);
	CHECK_EQ(ftruncate(fd, 20), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

/* One file, two open descriptions: each has its own offset and its event. */
TEST(file_opened_twice_tells_both)
{
	char path[SCRATCH_PATH];
	struct kevent ev[4];
	int other, n, i, seen = 0, kq = new_queue();
	int fd = scratch_file(path, 10);
	other = open(path, O_RDWR | O_CLOEXEC);
	CHECK(other >= 0);
	take(fd, 10);
	take(other, 10);
	READ_ADD(kq, fd, 0);
	READ_ADD(kq, other, 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(ftruncate(fd, 15), 0);
	CHECK(readable(kq));
	n = kevent(kq, NULL, 0, ev, 4, &no_wait);
	CHECK_EQ(n, 2);
	for (i = 0; i < n; i++) {
		CHECK_EQ(ev[i].data, 5);
		seen |= ev[i].ident == (uintptr_t)fd ? 1 : 2;
	}
	CHECK_EQ(seen, 3);
	/* The watch of the one must outlive the other. */
	READ_DELETE(kq, other);
	take(fd, 5);
	expect_none(kq);
	CHECK_EQ(ftruncate(other, 16), 0);
	EXPECT_READ(kq, fd, 0, 0, 1);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

/*
 * Newer kernels tell nobody of changes made through a memfd itself, so a silent
 * one is looked at by the clock: the change is heard, a little later, and the
 * queue may be readable for a moment with nothing in it.
 */
TEST(memfd_data_is_as_for_a_file)
{
	int kq = new_queue(), fd = memfd_create("test", MFD_CLOEXEC);
	CHECK(fd >= 0);
	READ_ADD(kq, fd, 0);
	expect_none(kq);
	CHECK_EQ(pwrite(fd, "abcde", 5, 0), 5);
	READ_CHANGE(kq, fd, 0);
	EXPECT_READ(kq, fd, 0, 0, 5);
	take(fd, 2);
	EXPECT_READ(kq, fd, 0, 0, 3);
	take(fd, 3);
	expect_none(kq);
	CHECK_EQ(ftruncate(fd, 2), 0);
	READ_CHANGE(kq, fd, 0);
	EXPECT_READ(kq, fd, 0, 0, -3);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

static void
memfd_growth_is_heard(int through_another_open)
{
	struct sleeper s;
	char path[64];
	int other, kq = new_queue(), fd = memfd_create("test", MFD_CLOEXEC);
	CHECK(fd >= 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	other = through_another_open
	    ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
	    : dup(fd);
	CHECK(other >= 0);
	READ_ADD(kq, fd, 0);
	sleeper_start(&s, kq);
	CHECK_EQ(pwrite(other, "abcde", 5, 0), 5);
	CHECK_KEV(sleeper_join(&s), (uintptr_t)fd, EVFILT_READ, EV_ADD, 0, 5,
	    UDATA(3));
	take(fd, 5);
	expect_none(kq);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(memfd_growth_is_heard)
{
	memfd_growth_is_heard(0);
}

TEST(memfd_growth_through_another_open_is_heard)
{
	memfd_growth_is_heard(1);
}

TEST(directory_data_is_its_size)
{
	char path[SCRATCH_PATH];
	struct stat st;
	int fd, kq = new_queue();
	scratch_directory(path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(fstat(fd, &st), 0);
	READ_ADD(kq, fd, 0);
	/* Some file systems give an empty directory no size. */
	if (st.st_size > 0) {
		EXPECT_READ(kq, fd, 0, 0, st.st_size);
		EXPECT_READ(kq, fd, 0, 0, st.st_size);
	} else
		EXPECT_QUIET(kq);
	READ_DELETE(kq, fd);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(rmdir(path), 0);
	CHECK_EQ(close(kq), 0);
}

/* Devices and the descriptors only Linux has */

static void
device_is_always_ready(const char *path)
{
	int kq = new_queue(), fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	READ_ADD(kq, fd, 0);
	EXPECT_READ(kq, fd, 0, 0, 0);
	EXPECT_READ(kq, fd, 0, 0, 0);
	CHECK(readable(kq));
	READ_CHANGE(kq, fd, EV_DISABLE);
	EXPECT_QUIET(kq);
	READ_DELETE(kq, fd);
	READ_ADD(kq, fd, EV_CLEAR);
	EXPECT_READ(kq, fd, EV_CLEAR, 0, 0);
	EXPECT_QUIET(kq);
	READ_DELETE(kq, fd);
	READ_ADD(kq, fd, EV_ONESHOT);
	EXPECT_READ(kq, fd, EV_ONESHOT, 0, 0);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_READ, EV_DELETE, 0, 0,
	    NULL), ENOENT);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(dev_null_is_always_ready)
{
	device_is_always_ready("/dev/null");
}

TEST(dev_zero_is_always_ready)
{
	device_is_always_ready("/dev/zero");
}

TEST(eventfd_data_is_the_counter)
{
	uint64_t value;
	int kq = new_queue(), fd = eventfd(0, EFD_CLOEXEC);
	CHECK(fd >= 0);
	READ_ADD(kq, fd, 0);
	EXPECT_QUIET(kq);
	value = 5;
	CHECK_EQ(write(fd, &value, sizeof value), 8);
	EXPECT_READ(kq, fd, 0, 0, 5);
	value = 1000000;
	CHECK_EQ(write(fd, &value, sizeof value), 8);
	EXPECT_READ(kq, fd, 0, 0, 1000005);
	CHECK_EQ(read(fd, &value, sizeof value), 8);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(eventfd_clear_fires_at_each_write)
{
	uint64_t value = 2;
	int i, kq = new_queue(), fd = eventfd(0, EFD_CLOEXEC);
	CHECK(fd >= 0);
	READ_ADD(kq, fd, EV_CLEAR);
	EXPECT_QUIET(kq);
	for (i = 1; i <= 3; i++) {
		CHECK_EQ(write(fd, &value, sizeof value), 8);
		EXPECT_READ(kq, fd, EV_CLEAR, 0, 2 * i);
		EXPECT_QUIET(kq);
	}
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(timerfd_fires_until_it_is_read)
{
	struct itimerspec soon = {.it_value = {0, 1000000}};
	uint64_t count;
	int kq = new_queue(), fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	CHECK(fd >= 0);
	READ_ADD(kq, fd, 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(timerfd_settime(fd, 0, &soon, NULL), 0);
	EXPECT_READ(kq, fd, 0, 0, 0);
	EXPECT_READ(kq, fd, 0, 0, 0);
	CHECK_EQ(read(fd, &count, sizeof count), 8);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(signalfd_fires_while_a_signal_is_pending)
{
	struct signalfd_siginfo info;
	sigset_t set, old;
	int fd, kq = new_queue();
	CHECK_EQ(sigemptyset(&set), 0);
	CHECK_EQ(sigaddset(&set, SIGUSR1), 0);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, &old), 0);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	CHECK(fd >= 0);
	READ_ADD(kq, fd, 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(kill(getpid(), SIGUSR1), 0);
	EXPECT_READ(kq, fd, 0, 0, 0);
	EXPECT_READ(kq, fd, 0, 0, 0);
	CHECK_EQ(read(fd, &info, sizeof info), sizeof info);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(inotify_data_is_the_bytes_of_its_events)
{
	char path[SCRATCH_PATH], child[SCRATCH_PATH + 8];
	char buf[4096] __attribute__((aligned(8)));
	int n, wd, kq = new_queue(), fd = inotify_init1(IN_CLOEXEC);
	if (fd < 0 && errno == EMFILE)
		SKIP("no inotify instance to be had here");
	CHECK(fd >= 0);
	scratch_directory(path);
	snprintf(child, sizeof child, "%s/child", path);
	wd = inotify_add_watch(fd, path, IN_CREATE | IN_DELETE);
	CHECK(wd >= 0);
	READ_ADD(kq, fd, 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(mkdir(child, 0700), 0);
	n = unread(fd);
	CHECK(n >= (int)sizeof(struct inotify_event));
	EXPECT_READ(kq, fd, 0, 0, n);
	CHECK_EQ(rmdir(child), 0);
	CHECK(unread(fd) > n);
	EXPECT_READ(kq, fd, 0, 0, unread(fd));
	CHECK(read(fd, buf, sizeof buf) > 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(inotify_rm_watch(fd, wd), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(rmdir(path), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(pidfd_fires_when_the_process_has_ended)
{
#ifdef SYS_pidfd_open
	int fd, hold[2], kq = new_queue();
	pid_t pid;
	pipe_pair(hold);
	pid = fork();
	if (pid == 0) {
		char byte;
		close(hold[1]);
		_exit(read(hold[0], &byte, 1) != 0);
	}
	CHECK(pid > 0);
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd >= 0) {
		READ_ADD(kq, fd, 0);
		EXPECT_QUIET(kq);
	} else
		CHECK(errno == ENOSYS || errno == EPERM);
	CHECK_EQ(close(hold[1]), 0);
	if (fd >= 0) {
		EXPECT_READ(kq, fd, 0, 0, 0);
		EXPECT_READ(kq, fd, 0, 0, 0);
		READ_DELETE(kq, fd);
		EXPECT_QUIET(kq);
		CHECK_EQ(close(fd), 0);
	}
	wait_child(pid);
	CHECK_EQ(close(hold[0]), 0);
	CHECK_EQ(close(kq), 0);
	if (fd < 0)
		SKIP("no pidfd_open() here");
#else
	SKIP("no pidfd_open() here");
#endif
}

/* The program's own epoll set is a queue in this sense too. */
TEST(foreign_epoll_fires_while_it_is_readable)
{
	struct epoll_event ee = {.events = EPOLLIN};
	struct kevent k;
	int fds[2], kq = new_queue(), ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK(ep >= 0);
	pipe_pair(fds);
	CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], &ee), 0);
	READ_ADD(kq, ep, 0);
	EXPECT_QUIET(kq);
	put(fds[1], 1);
	k = next_event(kq);
	CHECK_EQ(k.ident, ep);
	CHECK_EQ(k.filter, EVFILT_READ);
	CHECK_EQ(k.flags, EV_ADD);
	take(fds[0], 1);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(ep), 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* Idents */

TEST(descriptor_that_is_not_open_is_ebadf)
{
	static const unsigned actions[] = {EV_ADD, EV_DELETE, EV_ENABLE,
	    EV_DISABLE, 0};
	int fds[2], kq = new_queue();
	struct rusage before, after;
	size_t i;
	CHECK_EQ(getrusage(RUSAGE_SELF, &before), 0);
	pipe_pair(fds);
	close_pair(fds);
	for (i = 0; i < sizeof actions / sizeof actions[0]; i++) {
		CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_READ,
		    actions[i], 0, 0, NULL), EBADF);
		CHECK_FAILS(change(kq, (uintptr_t)-1, EVFILT_READ, actions[i],
		    0, 0, NULL), EBADF);
		CHECK_FAILS(change(kq, (uintptr_t)INT_MAX, EVFILT_READ,
		    actions[i], 0, 0, NULL), EBADF);
		CHECK_FAILS(change(kq, (uintptr_t)INT_MAX + 1, EVFILT_READ,
		    actions[i], 0, 0, NULL), EBADF);
	}
	/* A number that is not open must not be given a place first. */
	CHECK_EQ(getrusage(RUSAGE_SELF, &after), 0);
	CHECK(after.ru_maxrss - before.ru_maxrss < 64 * 1024);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(ident_above_int_max_is_not_cut_to_a_descriptor)
{
	uintptr_t wide;
	int fds[2], kq = new_queue();
	if (sizeof(uintptr_t) < 8)
		SKIP("ident is 32 bits wide here");
	pipe_pair(fds);
	put(fds[1], 1);
	wide = (uintptr_t)fds[0] | (uintptr_t)1 << (sizeof wide * 4);
	CHECK_FAILS(change(kq, wide, EVFILT_READ, EV_ADD, 0, 0, NULL), EBADF);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(open_descriptor_without_a_knote_is_enoent)
{
	static const unsigned actions[] = {EV_DELETE, EV_ENABLE, EV_DISABLE, 0};
	int fds[2], kq = new_queue(), file = nameless_file(3);
	size_t i;
	pipe_pair(fds);
	for (i = 0; i < sizeof actions / sizeof actions[0]; i++) {
		CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_READ,
		    actions[i], 0, 0, NULL), ENOENT);
		CHECK_FAILS(change(kq, (uintptr_t)file, EVFILT_READ,
		    actions[i], 0, 0, NULL), ENOENT);
	}
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(file), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(many_descriptors_each_fire_once_a_call)
{
	enum { PAIRS = 200 };
	static int fds[PAIRS][2];
	static struct kevent ev[PAIRS + 1];
	static bool seen[PAIRS * 4 + 64];
	int i, n, round, kq = new_queue();
	for (i = 0; i < PAIRS; i++) {
		unix_pair(fds[i]);
		READ_ADD(kq, fds[i][0], 0);
		put(fds[i][1], (size_t)i + 1);
	}
	for (round = 0; round < 3; round++) {
		memset(seen, 0, sizeof seen);
		n = kevent(kq, NULL, 0, ev, PAIRS + 1, &no_wait);
		CHECK_EQ(n, PAIRS);
		for (i = 0; i < n; i++) {
			CHECK(ev[i].ident < sizeof seen);
			CHECK(!seen[ev[i].ident]);
			seen[ev[i].ident] = true;
			CHECK_EQ(ev[i].data, unread((int)ev[i].ident));
		}
	}
	/* A few at a time: every one has its turn. */
	memset(seen, 0, sizeof seen);
	for (round = 0; round < PAIRS / 10; round++) {
		n = kevent(kq, NULL, 0, ev, 10, &no_wait);
		CHECK_EQ(n, 10);
		for (i = 0; i < n; i++) {
			CHECK(!seen[ev[i].ident]);
			seen[ev[i].ident] = true;
		}
	}
	for (i = 0; i < PAIRS; i++)
		close_pair(fds[i]);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}
