/* EVFILT_WRITE: when there is room, how much, and when it is over. */
#include "io.h"

#include <sys/eventfd.h>
#include <sys/mman.h>

#define WRITE_ADD(kq, fd, flags)                                              \
	CHANGE(kq, (uintptr_t)(fd), EVFILT_WRITE, EV_ADD | (flags), 0, 0,     \
	    UDATA(8))
#define WRITE_DELETE(kq, fd)                                                  \
	CHANGE(kq, (uintptr_t)(fd), EVFILT_WRITE, EV_DELETE, 0, 0, NULL)
#define WRITE_CHANGE(kq, fd, flags)                                           \
	CHANGE(kq, (uintptr_t)(fd), EVFILT_WRITE, flags, 0, 0, UDATA(8))
#define WRITE_MARK(kq, fd, mark)                                              \
	CHANGE(kq, (uintptr_t)(fd), EVFILT_WRITE, EV_ADD, NOTE_LOWAT, mark,   \
	    UDATA(8))
#define EXPECT_WRITE(kq, fd, flags, fflags, data)                             \
	EXPECT(kq, (uintptr_t)(fd), EVFILT_WRITE, EV_ADD | (flags), fflags,   \
	    data, UDATA(8))

/* An event in all but its data, which is returned. */
static intptr_t
write_event_at(const char *file, int line, int kq, int fd, unsigned flags,
    unsigned fflags)
{
	struct kevent k = next_event_at(file, line, kq);
	check_kev_at(file, line, k,
	    kev((uintptr_t)fd, EVFILT_WRITE, EV_ADD | flags, fflags, k.data,
	    UDATA(8)));
	return k.data;
}
#define WRITE_EVENT(kq, fd, flags, fflags)                                    \
	write_event_at(__FILE__, __LINE__, kq, fd, flags, fflags)

/* There is room, so data must be more than nothing. */
#define EXPECT_ROOM(kq, fd, flags) CHECK(WRITE_EVENT(kq, fd, flags, 0) > 0)

/* A pipe the other way round: fds[0] is the end that writes. */
static void
pipe_writer_pair(int fds[2])
{
	int ends[2];
	pipe_pair(ends);
	fds[0] = ends[1];
	fds[1] = ends[0];
}

#define ON_WRITERS(name)                                                      \
	TEST(tcp_##name)                                                      \
	{                                                                     \
		name(small_tcp_pair);                                         \
	}                                                                     \
	TEST(unix_##name)                                                     \
	{                                                                     \
		name(unix_pair);                                              \
	}                                                                     \
	TEST(pipe_##name)                                                     \
	{                                                                     \
		name(pipe_writer_pair);                                       \
	}

/* Streams and pipes */

static void
room_fires_until_there_is_none(pair_fn make)
{
	size_t queued;
	int fds[2], kq = new_queue();
	make(fds);
	WRITE_ADD(kq, fds[0], 0);
	EXPECT_ROOM(kq, fds[0], 0);
	EXPECT_ROOM(kq, fds[0], 0);
	queued = fill(fds[0]);
	expect_none(kq);
	EXPECT_QUIET(kq);
	take(fds[1], queued);
	EXPECT_ROOM(kq, fds[0], 0);
	EXPECT_ROOM(kq, fds[0], 0);
	WRITE_DELETE(kq, fds[0]);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_WRITERS(room_fires_until_there_is_none)
ON_SEQPACKET(room_fires_until_there_is_none)
ON_UNIX_DGRAM(room_fires_until_there_is_none)

static void
full_at_ev_add_is_silent_until_drained(pair_fn make)
{
	size_t queued;
	int fds[2], kq = new_queue();
	make(fds);
	queued = fill(fds[0]);
	WRITE_ADD(kq, fds[0], 0);
	EXPECT_QUIET(kq);
	take(fds[1], queued);
	EXPECT_ROOM(kq, fds[0], 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_WRITERS(full_at_ev_add_is_silent_until_drained)
ON_SEQPACKET(full_at_ev_add_is_silent_until_drained)

static void
room_wakes_a_sleeper(pair_fn make)
{
	struct sleeper s;
	struct kevent k;
	size_t queued;
	int fds[2], kq = new_queue();
	make(fds);
	queued = fill(fds[0]);
	WRITE_ADD(kq, fds[0], 0);
	sleeper_start(&s, kq);
	take(fds[1], queued);
	k = sleeper_join(&s);
	CHECK(k.data > 0);
	CHECK_KEV(k, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD, 0, k.data,
	    UDATA(8));
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_WRITERS(room_wakes_a_sleeper)

static void
clear_fires_once_and_again_after_it_was_full(pair_fn make)
{
	size_t queued;
	int fds[2], round, kq = new_queue();
	make(fds);
	WRITE_ADD(kq, fds[0], EV_CLEAR);
	EXPECT_ROOM(kq, fds[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	/* Writing takes room away: no reason to fire. */
	put(fds[0], 10);
	EXPECT_QUIET(kq);
	take(fds[1], 10);
	(void)kevent(kq, NULL, 0, &(struct kevent){0}, 1, &no_wait);
	for (round = 0; round < 3; round++) {
		queued = fill(fds[0]);
		/* An edge from before it was full has no room behind it. */
		expect_none(kq);
		EXPECT_QUIET(kq);
		take(fds[1], queued);
		EXPECT_ROOM(kq, fds[0], EV_CLEAR);
		EXPECT_QUIET(kq);
	}
	WRITE_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_ROOM(kq, fds[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_WRITERS(clear_fires_once_and_again_after_it_was_full)

static void
oneshot_comes_once_and_is_gone(pair_fn make)
{
	size_t queued;
	int fds[2], kq = new_queue();
	make(fds);
	WRITE_ADD(kq, fds[0], EV_ONESHOT);
	EXPECT_ROOM(kq, fds[0], EV_ONESHOT);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_DELETE, 0,
	    0, NULL), ENOENT);
	queued = fill(fds[0]);
	WRITE_ADD(kq, fds[0], EV_ONESHOT);
	EXPECT_QUIET(kq);
	take(fds[1], queued);
	EXPECT_ROOM(kq, fds[0], EV_ONESHOT);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ENABLE, 0,
	    0, NULL), ENOENT);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_WRITERS(oneshot_comes_once_and_is_gone)

static void
dispatch_waits_for_enable(pair_fn make)
{
	size_t queued;
	int fds[2], kq = new_queue();
	make(fds);
	WRITE_ADD(kq, fds[0], EV_DISPATCH);
	EXPECT_ROOM(kq, fds[0], EV_DISPATCH);
	EXPECT_QUIET(kq);
	WRITE_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_ROOM(kq, fds[0], EV_DISPATCH);
	EXPECT_QUIET(kq);
	queued = fill(fds[0]);
	WRITE_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_QUIET(kq);
	take(fds[1], queued);
	EXPECT_ROOM(kq, fds[0], EV_DISPATCH);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_WRITERS(dispatch_waits_for_enable)

static void
disabled_is_silent_until_enabled(pair_fn make)
{
	size_t queued;
	int fds[2], kq = new_queue();
	make(fds);
	WRITE_ADD(kq, fds[0], EV_DISABLE);
	EXPECT_QUIET(kq);
	WRITE_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_ROOM(kq, fds[0], 0);
	WRITE_CHANGE(kq, fds[0], EV_DISABLE);
	EXPECT_QUIET(kq);
	queued = fill(fds[0]);
	WRITE_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_QUIET(kq);
	WRITE_CHANGE(kq, fds[0], EV_DISABLE);
	take(fds[1], queued);
	EXPECT_QUIET(kq);
	WRITE_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_ROOM(kq, fds[0], 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_WRITERS(disabled_is_silent_until_enabled)

static void
unknown_fflags_are_ignored(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD, 0x00ff0000,
	    1 << 30, UDATA(8));
	EXPECT_ROOM(kq, fds[0], 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_WRITERS(unknown_fflags_are_ignored)

/* What data says */

static void
data_is_the_free_part_of_the_send_buffer(pair_fn make)
{
	intptr_t empty, used, again;
	int fds[2], kq = new_queue();
	make(fds);
	WRITE_ADD(kq, fds[0], 0);
	empty = WRITE_EVENT(kq, fds[0], 0, 0);
	CHECK_EQ(empty, get_option(fds[0], SOL_SOCKET, SO_SNDBUF));
	put(fds[0], 10000);
	used = WRITE_EVENT(kq, fds[0], 0, 0);
	/* The kernel's own bookkeeping takes its share of the room too. */
	CHECK(used > 0);
	CHECK(used <= empty - 10000);
	put(fds[0], 10000);
	CHECK(WRITE_EVENT(kq, fds[0], 0, 0) <= used - 10000);
	take(fds[1], 20000);
	again = WRITE_EVENT(kq, fds[0], 0, 0);
	CHECK_EQ(again, empty);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_UNIX(data_is_the_free_part_of_the_send_buffer)
ON_SEQPACKET(data_is_the_free_part_of_the_send_buffer)
ON_UNIX_DGRAM(data_is_the_free_part_of_the_send_buffer)

TEST(tcp_data_is_the_free_part_of_the_send_buffer)
{
	intptr_t room;
	int fds[2], kq = new_queue();
	small_tcp_pair(fds);
	WRITE_ADD(kq, fds[0], 0);
	CHECK_EQ(WRITE_EVENT(kq, fds[0], 0, 0),
	    get_option(fds[0], SOL_SOCKET, SO_SNDBUF));
	/* What the peer has acknowledged is no longer in our buffer. */
	put(fds[0], 1000);
	take(fds[1], 1000);
	WAIT_FOR(tcp_state(fds[0]).tcpi_unacked == 0);
	room = WRITE_EVENT(kq, fds[0], 0, 0);
	CHECK_EQ(room, get_option(fds[0], SOL_SOCKET, SO_SNDBUF));
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* Linux sizes pipes in pages, and fires when one page, PIPE_BUF, is free. */
TEST(pipe_data_is_what_still_fits)
{
	int fds[2], size, kq = new_queue();
	pipe_writer_pair(fds);
	size = fcntl(fds[0], F_GETPIPE_SZ);
	CHECK(size >= 2 * PIPE_BUF);
	WRITE_ADD(kq, fds[0], 0);
	EXPECT_WRITE(kq, fds[0], 0, 0, size);
	put(fds[0], 100);
	EXPECT_WRITE(kq, fds[0], 0, 0, size - 100);
	take(fds[1], 100);
	EXPECT_WRITE(kq, fds[0], 0, 0, size);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(pipe_fires_from_pipe_buf_on)
{
	size_t queued;
	int fds[2], size, kq = new_queue();
	pipe_writer_pair(fds);
	size = fcntl(fds[0], F_GETPIPE_SZ);
	WRITE_ADD(kq, fds[0], 0);
	queued = fill(fds[0]);
	CHECK_EQ(queued, size);
	EXPECT_QUIET(kq);
	take(fds[1], PIPE_BUF - 1);
	EXPECT_QUIET(kq);
	take(fds[1], 1);
	EXPECT_WRITE(kq, fds[0], 0, 0, PIPE_BUF);
	EXPECT_WRITE(kq, fds[0], 0, 0, PIPE_BUF);
	put(fds[0], PIPE_BUF);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(pipe_data_follows_a_change_of_its_size)
{
	int fds[2], size, kq = new_queue();
	pipe_writer_pair(fds);
	WRITE_ADD(kq, fds[0], 0);
	EXPECT_WRITE(kq, fds[0], 0, 0, fcntl(fds[0], F_GETPIPE_SZ));
	size = fcntl(fds[0], F_SETPIPE_SZ, 2 * PIPE_BUF);
	CHECK(size >= 2 * PIPE_BUF);
	WRITE_DELETE(kq, fds[0]);
	WRITE_ADD(kq, fds[0], 0);
	EXPECT_WRITE(kq, fds[0], 0, 0, size);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* Low-water marks */

static void
mark_above_the_room_is_silent_until_there_is_as_much(pair_fn make)
{
	intptr_t all;
	int fds[2], kq = new_queue(), plain = new_queue();
	make(fds);
	WRITE_ADD(kq, fds[0], 0);
	all = WRITE_EVENT(kq, fds[0], 0, 0);
	put(fds[0], 10000);
	WRITE_MARK(kq, fds[0], all);
	expect_none(kq);
	expect_none(kq);
	/* The mark is the knote's: poll() and other queues see room. */
	wait_poll(fds[0], POLLOUT);
	WRITE_ADD(plain, fds[0], 0);
	CHECK(WRITE_EVENT(plain, fds[0], 0, 0) < all);
	/* It never was full, so draining it makes no noise by itself. */
	take(fds[1], 10000);
	CHECK_EQ(WRITE_EVENT(kq, fds[0], 0, 0), all);
	CHECK_EQ(WRITE_EVENT(kq, fds[0], 0, 0), all);
	/* Not capped at the size of the buffer. */
	WRITE_MARK(kq, fds[0], all + 1);
	expect_none(kq);
	expect_none(kq);
	WRITE_MARK(kq, fds[0], 1);
	CHECK_EQ(WRITE_EVENT(kq, fds[0], 0, 0), all);
	close_pair(fds);
	CHECK_EQ(close(plain), 0);
	CHECK_EQ(close(kq), 0);
}
ON_UNIX(mark_above_the_room_is_silent_until_there_is_as_much)
ON_SEQPACKET(mark_above_the_room_is_silent_until_there_is_as_much)

static void
mark_is_dropped_by_a_change_without_it(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	WRITE_MARK(kq, fds[0], 1 << 30);
	expect_none(kq);
	expect_none(kq);
	WRITE_CHANGE(kq, fds[0], EV_ENABLE);
	EXPECT_ROOM(kq, fds[0], 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(mark_is_dropped_by_a_change_without_it)

static void
mark_does_not_hold_back_eof(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	WRITE_MARK(kq, fds[0], 1 << 30);
	expect_none(kq);
	CHECK_EQ(shutdown(fds[0], SHUT_WR), 0);
	(void)WRITE_EVENT(kq, fds[0], EV_EOF, 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(mark_does_not_hold_back_eof)

TEST(pipe_ignores_the_low_water_mark)
{
	int fds[2], kq = new_queue();
	pipe_writer_pair(fds);
	WRITE_MARK(kq, fds[0], 1 << 30);
	EXPECT_WRITE(kq, fds[0], 0, 0, fcntl(fds[0], F_GETPIPE_SZ));
	(void)fill(fds[0]);
	WRITE_MARK(kq, fds[0], 0);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* When it is over */

static void
own_shutdown_of_writing_is_eof(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	WRITE_ADD(kq, fds[0], 0);
	EXPECT_ROOM(kq, fds[0], 0);
	CHECK_EQ(shutdown(fds[0], SHUT_WR), 0);
	(void)WRITE_EVENT(kq, fds[0], EV_EOF, 0);
	(void)WRITE_EVENT(kq, fds[0], EV_EOF, 0);
	WRITE_DELETE(kq, fds[0]);
	WRITE_ADD(kq, fds[0], EV_ONESHOT);
	(void)WRITE_EVENT(kq, fds[0], EV_ONESHOT | EV_EOF, 0);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(own_shutdown_of_writing_is_eof)

/* A farewell says only that the peer will not write. */
static void
peers_half_close_is_no_eof(pair_fn make)
{
	size_t queued;
	int fds[2], kq = new_queue();
	make(fds);
	WRITE_ADD(kq, fds[0], 0);
	CHECK_EQ(shutdown(fds[1], SHUT_WR), 0);
	wait_poll(fds[0], POLLRDHUP);
	EXPECT_ROOM(kq, fds[0], 0);
	EXPECT_ROOM(kq, fds[0], 0);
	queued = fill(fds[0]);
	expect_none(kq);
	EXPECT_QUIET(kq);
	take(fds[1], queued);
	EXPECT_ROOM(kq, fds[0], 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_UNIX(peers_half_close_is_no_eof)
TEST(tcp_peers_half_close_is_no_eof)
{
	peers_half_close_is_no_eof(small_tcp_pair);
}

TEST(tcp_peers_close_alone_is_no_eof)
{
	int fds[2], kq = new_queue();
	tcp_pair(fds);
	WRITE_ADD(kq, fds[0], 0);
	CHECK_EQ(close(fds[1]), 0);
	wait_poll(fds[0], POLLRDHUP);
	EXPECT_ROOM(kq, fds[0], 0);
	EXPECT_ROOM(kq, fds[0], 0);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

static void
peer_gone_is_eof(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	WRITE_ADD(kq, fds[0], 0);
	EXPECT_ROOM(kq, fds[0], 0);
	CHECK_EQ(close(fds[1]), 0);
	(void)WRITE_EVENT(kq, fds[0], EV_EOF, 0);
	(void)WRITE_EVENT(kq, fds[0], EV_EOF, 0);
	WRITE_DELETE(kq, fds[0]);
	/* Too late to say no: the registration is accepted and tells. */
	WRITE_ADD(kq, fds[0], EV_CLEAR);
	(void)WRITE_EVENT(kq, fds[0], EV_CLEAR | EV_EOF, 0);
	EXPECT_QUIET(kq);
	WRITE_DELETE(kq, fds[0]);
	WRITE_ADD(kq, fds[0], EV_DISPATCH);
	(void)WRITE_EVENT(kq, fds[0], EV_DISPATCH | EV_EOF, 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	WRITE_CHANGE(kq, fds[0], EV_ENABLE);
	(void)WRITE_EVENT(kq, fds[0], EV_DISPATCH | EV_EOF, 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}
ON_UNIX(peer_gone_is_eof)
ON_SEQPACKET(peer_gone_is_eof)
TEST(pipe_reader_gone_is_eof)
{
	peer_gone_is_eof(pipe_writer_pair);
}

TEST(pipe_full_hears_the_reader_go)
{
	struct sleeper s;
	struct kevent k;
	int fds[2], kq = new_queue();
	pipe_writer_pair(fds);
	(void)fill(fds[0]);
	WRITE_ADD(kq, fds[0], 0);
	EXPECT_QUIET(kq);
	sleeper_start(&s, kq);
	CHECK_EQ(close(fds[1]), 0);
	k = sleeper_join(&s);
	CHECK_KEV(k, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD | EV_EOF, 0,
	    k.data, UDATA(8));
	(void)WRITE_EVENT(kq, fds[0], EV_EOF, 0);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(unix_full_hears_the_peer_go)
{
	struct sleeper s;
	struct kevent k;
	int fds[2], kq = new_queue();
	unix_pair(fds);
	(void)fill(fds[0]);
	WRITE_ADD(kq, fds[0], 0);
	EXPECT_QUIET(kq);
	sleeper_start(&s, kq);
	CHECK_EQ(close(fds[1]), 0);
	k = sleeper_join(&s);
	CHECK_EQ(k.ident, fds[0]);
	CHECK_EQ(k.flags, EV_ADD | EV_EOF);
	/* Bytes were lost: the socket holds an error, and it is left there. */
	CHECK_EQ(k.fflags, ECONNRESET);
	CHECK_EQ(so_error(fds[0]), ECONNRESET);
	(void)WRITE_EVENT(kq, fds[0], EV_EOF, 0);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_reset_is_eof_and_leaves_the_error)
{
	int fds[2], kq = new_queue();
	tcp_pair(fds);
	WRITE_ADD(kq, fds[0], 0);
	EXPECT_ROOM(kq, fds[0], 0);
	reset_and_close(fds[1]);
	wait_poll(fds[0], POLLERR);
	(void)WRITE_EVENT(kq, fds[0], EV_EOF, ECONNRESET);
	(void)WRITE_EVENT(kq, fds[0], EV_EOF, ECONNRESET);
	CHECK_EQ(so_error(fds[0]), ECONNRESET);
	(void)WRITE_EVENT(kq, fds[0], EV_EOF, 0);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_reset_of_a_full_connection_is_eof)
{
	int fds[2], kq = new_queue();
	small_tcp_pair(fds);
	(void)fill(fds[0]);
	WRITE_ADD(kq, fds[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	reset_and_close(fds[1]);
	(void)WRITE_EVENT(kq, fds[0], EV_CLEAR | EV_EOF, ECONNRESET);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

static void
disabled_is_silent_at_eof(pair_fn make)
{
	int fds[2], kq = new_queue();
	make(fds);
	WRITE_ADD(kq, fds[0], EV_DISABLE);
	CHECK_EQ(close(fds[1]), 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	WRITE_CHANGE(kq, fds[0], EV_ENABLE);
	(void)WRITE_EVENT(kq, fds[0], EV_EOF, 0);
	WRITE_CHANGE(kq, fds[0], EV_DISABLE);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}
ON_UNIX(disabled_is_silent_at_eof)
TEST(pipe_disabled_is_silent_at_eof)
{
	disabled_is_silent_at_eof(pipe_writer_pair);
}

/* Before a connection */

static void
unconnected_is_silent(int domain, int type)
{
	int kq = new_queue(), fd = socket(domain, type, 0);
	CHECK(fd >= 0);
	WRITE_ADD(kq, fd, 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	WRITE_ADD(kq, fd, 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	WRITE_DELETE(kq, fd);
	WRITE_ADD(kq, fd, EV_ONESHOT);
	expect_none(kq);
	EXPECT_QUIET(kq);
	WRITE_DELETE(kq, fd);
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

TEST(unconnected_datagram_sockets_have_room)
{
	static const int domains[] = {AF_INET, AF_UNIX};
	size_t i;
	int kq = new_queue();
	for (i = 0; i < 2; i++) {
		int fd = socket(domains[i], SOCK_DGRAM, 0);
		CHECK(fd >= 0);
		WRITE_ADD(kq, fd, 0);
		CHECK_EQ(WRITE_EVENT(kq, fd, 0, 0),
		    get_option(fd, SOL_SOCKET, SO_SNDBUF));
		EXPECT_ROOM(kq, fd, 0);
		WRITE_DELETE(kq, fd);
		EXPECT_QUIET(kq);
		CHECK_EQ(close(fd), 0);
	}
	CHECK_EQ(close(kq), 0);
}

/* One connection fills the queue of the listener; the next must wait. */
static void
connecting(unsigned mode)
{
	int first, second, server, kq = new_queue(), listener = tcp_listener(0);
	first = tcp_client(listener);
	WAIT_FOR(backlog(listener) == 1);
	second = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(second >= 0);
	set_nonblocking(second);
	WRITE_ADD(kq, second, mode);
	expect_none(kq);
	CHECK_FAILS(connect_to(second, listener), EINPROGRESS);
	CHECK_EQ(tcp_state(second).tcpi_state, TCP_SYN_SENT);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(tcp_state(second).tcpi_state, TCP_SYN_SENT);
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0);
	/* The kernel tries again in a second or so. */
	EXPECT_ROOM(kq, second, mode);
	CHECK_EQ(so_error(second), 0);
	CHECK_EQ(tcp_state(second).tcpi_state, TCP_ESTABLISHED);
	if (mode == 0)
		EXPECT_ROOM(kq, second, mode);
	else
		EXPECT_QUIET(kq);
	CHECK_EQ(close(server), 0);
	CHECK_EQ(close(first), 0);
	CHECK_EQ(close(second), 0);
	CHECK_EQ(close(listener), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_connecting_is_silent_and_success_fires)
{
	connecting(0);
}

TEST(tcp_success_of_connect_is_one_event_with_clear)
{
	connecting(EV_CLEAR);
}

TEST(tcp_success_of_connect_is_one_event_with_oneshot)
{
	connecting(EV_ONESHOT);
}

static void
refused_connect(unsigned mode, bool add_first)
{
	int kq = new_queue(), fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	if (add_first) {
		WRITE_ADD(kq, fd, mode);
		expect_none(kq);
	}
	begin_refused_connect(fd);
	wait_poll(fd, POLLERR);
	if (!add_first)
		WRITE_ADD(kq, fd, mode);
	(void)WRITE_EVENT(kq, fd, mode | EV_EOF, ECONNREFUSED);
	if (mode == 0)
		(void)WRITE_EVENT(kq, fd, EV_EOF, ECONNREFUSED);
	else
		EXPECT_QUIET(kq);
	CHECK_EQ(so_error(fd), ECONNREFUSED);
	if (mode == 0)
		(void)WRITE_EVENT(kq, fd, EV_EOF, 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_refused_connect_is_eof_and_leaves_the_error)
{
	refused_connect(0, true);
}

TEST(tcp_refused_connect_with_clear_is_one_event)
{
	refused_connect(EV_CLEAR, true);
}

TEST(tcp_refused_connect_with_oneshot_is_one_event)
{
	refused_connect(EV_ONESHOT, true);
}

TEST(tcp_refused_connect_added_afterwards_is_eof)
{
	refused_connect(0, false);
}

TEST(tcp_listener_is_silent)
{
	int client, kq = new_queue(), listener = tcp_listener(4);
	WRITE_ADD(kq, listener, 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	client = tcp_client(listener);
	WAIT_FOR(backlog(listener) == 1);
	expect_none(kq);
	EXPECT_QUIET(kq);
	WRITE_DELETE(kq, listener);
	CHECK_EQ(close(client), 0);
	CHECK_EQ(close(listener), 0);
	CHECK_EQ(close(kq), 0);
}

/* A UNIX listener polls as writable in Linux, though nobody can write. */
TEST(unix_listener_is_silent)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	socklen_t len = sizeof sun;
	int client, kq = new_queue(), fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	CHECK_EQ(bind(fd, (struct sockaddr *)&sun, sizeof(sa_family_t)), 0);
	CHECK_EQ(listen(fd, 4), 0);
	CHECK_EQ(getsockname(fd, (struct sockaddr *)&sun, &len), 0);
	WRITE_ADD(kq, fd, 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(client >= 0);
	CHECK_EQ(connect(client, (struct sockaddr *)&sun, len), 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(client), 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

/* Datagrams */

TEST(udp_has_room)
{
	int fds[2], kq = new_queue();
	udp_pair(fds);
	WRITE_ADD(kq, fds[0], 0);
	CHECK_EQ(WRITE_EVENT(kq, fds[0], 0, 0),
	    get_option(fds[0], SOL_SOCKET, SO_SNDBUF));
	EXPECT_ROOM(kq, fds[0], 0);
	WRITE_DELETE(kq, fds[0]);
	WRITE_ADD(kq, fds[0], EV_CLEAR);
	EXPECT_ROOM(kq, fds[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(udp_pending_error_fires_without_eof_and_is_left)
{
	int fds[2], kq = new_queue();
	udp_pair(fds);
	CHECK_EQ(close(fds[1]), 0);
	put(fds[0], 1);
	wait_poll(fds[0], POLLERR);
	WRITE_ADD(kq, fds[0], 0);
	(void)WRITE_EVENT(kq, fds[0], 0, 0);
	(void)WRITE_EVENT(kq, fds[0], 0, 0);
	CHECK_EQ(so_error(fds[0]), ECONNREFUSED);
	EXPECT_ROOM(kq, fds[0], 0);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

/* FIFOs, and the end of a pipe that cannot write */

TEST(fifo_eof_is_taken_back_by_a_new_reader)
{
	struct fifo f;
	int r, w, size, round, kq = new_queue();
	make_fifo(&f);
	r = open_fifo(&f, O_RDONLY);
	w = open_fifo(&f, O_WRONLY);
	size = fcntl(w, F_GETPIPE_SZ);
	WRITE_ADD(kq, w, 0);
	for (round = 0; round < 3; round++) {
		EXPECT_WRITE(kq, w, 0, 0, size);
		EXPECT_WRITE(kq, w, 0, 0, size);
		CHECK_EQ(close(r), 0);
		(void)WRITE_EVENT(kq, w, EV_EOF, 0);
		(void)WRITE_EVENT(kq, w, EV_EOF, 0);
		r = open_fifo(&f, O_RDONLY);
	}
	(void)fill(w);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(r), 0);
	(void)WRITE_EVENT(kq, w, EV_EOF, 0);
	r = open_fifo(&f, O_RDONLY);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(r), 0);
	CHECK_EQ(close(w), 0);
	remove_fifo(&f);
	CHECK_EQ(close(kq), 0);
}

TEST(pipe_read_end_is_silent_always)
{
	int fds[2], kq = new_queue();
	pipe_pair(fds);
	WRITE_ADD(kq, fds[0], 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	put(fds[1], 5);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fds[1]), 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	WRITE_ADD(kq, fds[0], 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	WRITE_DELETE(kq, fds[0]);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

/* Files, devices, terminals, and what only Linux has */

static void
always_ready(int fd)
{
	int kq = new_queue();
	WRITE_ADD(kq, fd, 0);
	EXPECT_WRITE(kq, fd, 0, 0, 0);
	EXPECT_WRITE(kq, fd, 0, 0, 0);
	CHECK(readable(kq));
	WRITE_CHANGE(kq, fd, EV_DISABLE);
	EXPECT_QUIET(kq);
	WRITE_CHANGE(kq, fd, EV_ENABLE);
	EXPECT_WRITE(kq, fd, 0, 0, 0);
	WRITE_DELETE(kq, fd);
	EXPECT_QUIET(kq);
	WRITE_ADD(kq, fd, EV_CLEAR);
	EXPECT_WRITE(kq, fd, EV_CLEAR, 0, 0);
	EXPECT_QUIET(kq);
	WRITE_ADD(kq, fd, EV_CLEAR);
	EXPECT_WRITE(kq, fd, EV_CLEAR, 0, 0);
	EXPECT_QUIET(kq);
	WRITE_DELETE(kq, fd);
	WRITE_ADD(kq, fd, EV_DISPATCH);
	EXPECT_WRITE(kq, fd, EV_DISPATCH, 0, 0);
	EXPECT_QUIET(kq);
	WRITE_CHANGE(kq, fd, EV_ENABLE);
	EXPECT_WRITE(kq, fd, EV_DISPATCH, 0, 0);
	EXPECT_QUIET(kq);
	WRITE_DELETE(kq, fd);
	WRITE_ADD(kq, fd, EV_ONESHOT);
	EXPECT_WRITE(kq, fd, EV_ONESHOT, 0, 0);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_WRITE, EV_DELETE, 0, 0,
	    NULL), ENOENT);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_is_always_ready)
{
	always_ready(nameless_file(10));
}

TEST(memfd_is_always_ready)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	CHECK(fd >= 0);
	always_ready(fd);
}

TEST(directory_is_always_ready)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	always_ready(fd);
}

TEST(dev_null_is_always_ready)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	always_ready(fd);
}

TEST(dev_zero_is_always_ready)
{
	int fd = open("/dev/zero", O_WRONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	always_ready(fd);
}

TEST(always_ready_wakes_no_later_than_at_once)
{
	struct kevent ch, ev;
	int kq = new_queue(), fd = nameless_file(0);
	/* One call adds and collects, for ever if it must wait. */
	ch = kev((uintptr_t)fd, EVFILT_WRITE, EV_ADD, 0, 0, UDATA(8));
	CHECK_EQ(kevent(kq, &ch, 1, &ev, 1, NULL), 1);
	CHECK_KEV(ev, (uintptr_t)fd, EVFILT_WRITE, EV_ADD, 0, 0, UDATA(8));
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tty_has_room_until_it_is_gone)
{
	int fds[2], kq = new_queue();
	pty_pair(fds, TTY_RAW);
	WRITE_ADD(kq, fds[0], 0);
	EXPECT_ROOM(kq, fds[0], 0);
	EXPECT_ROOM(kq, fds[0], 0);
	CHECK_EQ(close(fds[1]), 0);
	(void)WRITE_EVENT(kq, fds[0], EV_EOF, 0);
	(void)WRITE_EVENT(kq, fds[0], EV_EOF, 0);
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

static bool
drained_makes_room(int master, int kq)
{
	char buf[4096];
	while (read(master, buf, sizeof buf) > 0)
		;
	return readable(kq);
}

TEST(tty_that_nobody_drains_is_silent)
{
	int fds[2], kq = new_queue();
	pty_pair(fds, TTY_RAW);
	(void)fill(fds[0]);
	WRITE_ADD(kq, fds[0], 0);
	EXPECT_QUIET(kq);
	set_nonblocking(fds[1]);
	WAIT_FOR(drained_makes_room(fds[1], kq));
	EXPECT_ROOM(kq, fds[0], 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(pty_master_has_room_until_the_slave_is_gone)
{
	int fds[2], kq = new_queue();
	pty_pair(fds, TTY_RAW);
	WRITE_ADD(kq, fds[1], EV_CLEAR);
	EXPECT_ROOM(kq, fds[1], EV_CLEAR);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fds[0]), 0);
	(void)WRITE_EVENT(kq, fds[1], EV_CLEAR | EV_EOF, 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fds[1]), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(eventfd_fires_while_its_counter_is_below_the_top)
{
	uint64_t value = UINT64_MAX - 1;
	int kq = new_queue(), fd = eventfd(0, EFD_CLOEXEC);
	CHECK(fd >= 0);
	WRITE_ADD(kq, fd, 0);
	(void)WRITE_EVENT(kq, fd, 0, 0);
	(void)WRITE_EVENT(kq, fd, 0, 0);
	CHECK_EQ(write(fd, &value, sizeof value), 8);
	EXPECT_QUIET(kq);
	CHECK_EQ(read(fd, &value, sizeof value), 8);
	(void)WRITE_EVENT(kq, fd, 0, 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(descriptor_that_is_not_open_is_ebadf)
{
	static const unsigned actions[] = {EV_ADD, EV_DELETE, EV_ENABLE,
	    EV_DISABLE, 0};
	int fds[2], kq = new_queue();
	size_t i;
	pipe_pair(fds);
	close_pair(fds);
	for (i = 0; i < sizeof actions / sizeof actions[0]; i++) {
		CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_WRITE,
		    actions[i], 0, 0, NULL), EBADF);
		CHECK_FAILS(change(kq, (uintptr_t)-1, EVFILT_WRITE, actions[i],
		    0, 0, NULL), EBADF);
		CHECK_FAILS(change(kq, (uintptr_t)INT_MAX + 1, EVFILT_WRITE,
		    actions[i], 0, 0, NULL), EBADF);
	}
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}
