/*
 * EVFILT_EXCEPT with NOTE_OOB: urgent data, on TCP and on UNIX streams.
 *
 * An urgent byte stands outside the stream, unless SO_OOBINLINE puts it back
 * in. poll() tells of it by POLLPRI until it has been read.
 */
#include "io.h"

static void
put_urgent(int fd)
{
	CHECK_EQ(send(fd, "!", 1, MSG_OOB), 1);
}

static void
take_urgent(int fd)
{
	char c = 0;
	CHECK_EQ(recv(fd, &c, 1, MSG_OOB), 1);
	CHECK_EQ(c, '!');
}

/* UNIX streams have it since Linux 5.15, if the kernel was built with it. */
static void
urgent_pair(pair_fn *pair, int pfd[2])
{
	int probe[2];
	if (pair == unix_pair) {
		unix_pair(probe);
		if (send(probe[1], "!", 1, MSG_OOB) == -1) {
			CHECK_EQ(errno, EOPNOTSUPP);
			SKIP("no urgent data on UNIX sockets here");
		}
		close_pair(probe);
	}
	pair(pfd);
}

static void
arrives(int fd, int peer)
{
	put_urgent(peer);
	wait_poll(fd, POLLPRI);
}

/* What the peer has sent is there. FIONREAD does not look past a mark. */
static void
delivered(int peer)
{
	int unsent;
	if (get_option(peer, SOL_SOCKET, SO_DOMAIN) != AF_UNIX)
		WAIT_FOR(ioctl(peer, SIOCOUTQ, &unsent) == 0 && unsent == 0);
}

static void
watch(int kq, int fd, unsigned flags)
{
	CHANGE(kq, (uintptr_t)fd, EVFILT_EXCEPT, EV_ADD | flags, NOTE_OOB, 0,
	    UDATA(7));
}

static void
is_urgent_at(const char *file, int line, struct kevent got, int fd,
    unsigned flags)
{
	/* What stands before the byte is another case's matter. */
	check_kev_at(file, line, got, kev((uintptr_t)fd, EVFILT_EXCEPT,
	    EV_ADD | flags, NOTE_OOB, got.data, UDATA(7)));
}
#define URGENT(kq, fd, flags)                                                 \
	is_urgent_at(__FILE__, __LINE__, next_event(kq), fd, flags)

/* A wait for nothing must sleep, whatever the kernel goes on reporting. */
static void
waits_asleep(int kq)
{
	struct timespec ts = ms_to_ts(300);
	struct kevent k;
	int64_t before = cpu_ns(), start = now_ns();
	CHECK_EQ(kevent(kq, NULL, 0, &k, 1, &ts), 0);
	CHECK(now_ns() - start >= 300 * 1000000LL);
	CHECK(cpu_ns() - before < 150 * 1000000LL);
}

static void
byte_fires_until_it_is_read(pair_fn *pair)
{
	int pfd[2], kq = new_queue();
	urgent_pair(pair, pfd);
	watch(kq, pfd[0], 0);
	EXPECT_QUIET(kq);
	arrives(pfd[0], pfd[1]);
	CHECK(readable(kq));
	URGENT(kq, pfd[0], 0);
	URGENT(kq, pfd[0], 0);
	take_urgent(pfd[0]);
	EXPECT_QUIET(kq);
	arrives(pfd[0], pfd[1]);
	URGENT(kq, pfd[0], 0);
	close_pair(pfd);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(byte_fires_until_it_is_read)

static void
byte_that_is_there_already_fires(pair_fn *pair)
{
	int pfd[2], kq = new_queue();
	urgent_pair(pair, pfd);
	arrives(pfd[0], pfd[1]);
	watch(kq, pfd[0], 0);
	CHECK(readable(kq));
	URGENT(kq, pfd[0], 0);
	CHANGE(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_DELETE, 0, 0, NULL);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_DELETE, 0,
	    0, NULL), ENOENT);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(byte_that_is_there_already_fires)

static void
ordinary_data_is_silent(pair_fn *pair)
{
	int pfd[2], kq = new_queue();
	urgent_pair(pair, pfd);
	watch(kq, pfd[0], 0);
	put(pfd[1], 10);
	wait_poll(pfd[0], POLLIN);
	EXPECT_QUIET(kq);
	/* Of another knote with EV_CLEAR the same. */
	CHANGE(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_DELETE, 0, 0, NULL);
	watch(kq, pfd[0], EV_CLEAR);
	put(pfd[1], 10);
	delivered(pfd[1]);
	EXPECT_QUIET(kq);
	waits_asleep(kq);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(ordinary_data_is_silent)

TEST(tcp_data_is_what_can_be_read_before_the_byte)
{
	int pfd[2], kq = new_queue();
	tcp_pair(pfd);
	watch(kq, pfd[0], 0);
	put(pfd[1], 5);
	arrives(pfd[0], pfd[1]);
	put(pfd[1], 3);
	WAIT_FOR(unread(pfd[0]) == 5);
	EXPECT(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB, 5,
	    UDATA(7));
	take(pfd[0], 2);
	EXPECT(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB, 3,
	    UDATA(7));
	take(pfd[0], 3);
	/* At the mark: nothing before it, and the byte is still there. */
	EXPECT(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB, 0,
	    UDATA(7));
	take_urgent(pfd[0]);
	EXPECT_QUIET(kq);
	take(pfd[0], 3);
	EXPECT_QUIET(kq);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_byte_that_is_read_past_is_over)
{
	int pfd[2], kq = new_queue();
	tcp_pair(pfd);
	watch(kq, pfd[0], 0);
	arrives(pfd[0], pfd[1]);
	put(pfd[1], 3);
	URGENT(kq, pfd[0], 0);
	/* Ordinary reads leave the byte out, and with it behind them it is
	 * lost. */
	take(pfd[0], 3);
	EXPECT_QUIET(kq);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_byte_in_the_stream_fires_until_the_read_goes_past_it)
{
	int pfd[2], kq = new_queue();
	tcp_pair(pfd);
	set_option(pfd[0], SOL_SOCKET, SO_OOBINLINE, 1);
	watch(kq, pfd[0], 0);
	put(pfd[1], 2);
	arrives(pfd[0], pfd[1]);
	put(pfd[1], 4);
	WAIT_FOR(unread(pfd[0]) == 7);
	EXPECT(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB, 7,
	    UDATA(7));
	take(pfd[0], 2);
	EXPECT(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB, 5,
	    UDATA(7));
	take(pfd[0], 1);
	EXPECT_QUIET(kq);
	CHECK_EQ(unread(pfd[0]), 4);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}

static void
second_byte_takes_the_place_of_the_first(pair_fn *pair)
{
	int pfd[2], kq = new_queue();
	char c = 0;
	urgent_pair(pair, pfd);
	watch(kq, pfd[0], 0);
	arrives(pfd[0], pfd[1]);
	URGENT(kq, pfd[0], 0);
	CHECK_EQ(send(pfd[1], "?", 1, MSG_OOB), 1);
	/* The first is ordinary data now (TCP) or dropped. */
	WAIT_FOR(recv(pfd[0], &c, 1, MSG_OOB | MSG_PEEK) == 1 && c == '?');
	URGENT(kq, pfd[0], 0);
	CHECK_EQ(recv(pfd[0], &c, 1, MSG_OOB), 1);
	EXPECT_QUIET(kq);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(second_byte_takes_the_place_of_the_first)

static void
without_the_note_the_byte_is_silent(pair_fn *pair)
{
	int pfd[2], kq = new_queue();
	urgent_pair(pair, pfd);
	CHANGE(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ADD, 0, 0, UDATA(7));
	arrives(pfd[0], pfd[1]);
	expect_none(kq);
	EXPECT_QUIET(kq);
	waits_asleep(kq);
	/* A change replaces what is wanted. */
	watch(kq, pfd[0], 0);
	URGENT(kq, pfd[0], 0);
	CHANGE(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ENABLE, 0, 0,
	    UDATA(7));
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHANGE(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, 0, NOTE_OOB, 0, UDATA(7));
	URGENT(kq, pfd[0], 0);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(without_the_note_the_byte_is_silent)

static void
other_notes_are_ignored(pair_fn *pair)
{
	int pfd[2], kq = new_queue();
	urgent_pair(pair, pfd);
	/* Bits that mean something to READ among them, and its mark of 0. */
	CHANGE(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ADD, ~(unsigned)NOTE_OOB,
	    0, UDATA(7));
	EXPECT_QUIET(kq);
	arrives(pfd[0], pfd[1]);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHANGE(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ADD, ~0U, 100,
	    UDATA(7));
	URGENT(kq, pfd[0], 0);
	take_urgent(pfd[0]);
	EXPECT_QUIET(kq);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(other_notes_are_ignored)

static void
half_close_is_eof_whatever_is_wanted(pair_fn *pair)
{
	int pfd[2], kq = new_queue();
	pair(pfd);
	CHANGE(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ADD, 0, 0, UDATA(7));
	put(pfd[1], 4);
	CHECK_EQ(shutdown(pfd[1], SHUT_WR), 0);
	wait_poll(pfd[0], POLLRDHUP);
	EXPECT(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ADD | EV_EOF, 0, 4,
	    UDATA(7));
	CHECK(readable(kq));
	take(pfd[0], 4);
	watch(kq, pfd[0], 0);
	EXPECT(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ADD | EV_EOF, 0, 0,
	    UDATA(7));
	close_pair(pfd);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(half_close_is_eof_whatever_is_wanted)

TEST(tcp_eof_behind_the_byte_has_both)
{
	int pfd[2], kq = new_queue();
	tcp_pair(pfd);
	watch(kq, pfd[0], 0);
	arrives(pfd[0], pfd[1]);
	CHECK_EQ(shutdown(pfd[1], SHUT_WR), 0);
	wait_poll(pfd[0], POLLRDHUP);
	EXPECT(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ADD | EV_EOF,
	    NOTE_OOB, 0, UDATA(7));
	take_urgent(pfd[0]);
	EXPECT(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ADD | EV_EOF, 0, 0,
	    UDATA(7));
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}

static void
own_shutdown_of_reading_is_eof(pair_fn *pair)
{
	int pfd[2], kq = new_queue();
	pair(pfd);
	watch(kq, pfd[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	CHECK_EQ(shutdown(pfd[0], SHUT_RD), 0);
	EXPECT(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT,
	    EV_ADD | EV_CLEAR | EV_EOF, 0, 0, UDATA(7));
	EXPECT_QUIET(kq);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(own_shutdown_of_reading_is_eof)

TEST(tcp_reset_is_eof_with_the_error_and_leaves_it)
{
	int pfd[2], kq = new_queue();
	tcp_pair(pfd);
	watch(kq, pfd[0], 0);
	reset_and_close(pfd[1]);
	wait_poll(pfd[0], POLLRDHUP);
	EXPECT(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ADD | EV_EOF,
	    ECONNRESET, 0, UDATA(7));
	CHECK_EQ(so_error(pfd[0]), ECONNRESET);
	EXPECT(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ADD | EV_EOF, 0, 0,
	    UDATA(7));
	CHECK_EQ(close(pfd[0]), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_unconnected_is_silent_and_works_once_connected)
{
	int kq = new_queue(), listener = tcp_listener(1), peer;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	watch(kq, fd, 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	waits_asleep(kq);
	CHECK_EQ(connect_to(fd, listener), 0);
	peer = accept(listener, NULL, NULL);
	CHECK(peer >= 0);
	expect_none(kq);
	EXPECT_QUIET(kq);
	arrives(fd, peer);
	URGENT(kq, fd, 0);
	URGENT(kq, fd, 0);
	take_urgent(fd);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(peer), 0);
	CHECK_EQ(close(listener), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_refused_connect_is_eof_and_leaves_the_error)
{
	int kq = new_queue();
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	watch(kq, fd, 0);
	begin_refused_connect(fd);
	EXPECT(kq, (uintptr_t)fd, EVFILT_EXCEPT, EV_ADD | EV_EOF,
	    ECONNREFUSED, 0, UDATA(7));
	CHECK_EQ(so_error(fd), ECONNREFUSED);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_listener_is_silent)
{
	int kq = new_queue(), listener = tcp_listener(4), client;
	watch(kq, listener, 0);
	EXPECT_QUIET(kq);
	client = tcp_client(listener);
	wait_poll(listener, POLLIN);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(client), 0);
	CHECK_EQ(close(listener), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(udp_is_silent_with_an_error_too)
{
	int pfd[2], kq = new_queue();
	udp_pair(pfd);
	watch(kq, pfd[0], 0);
	put(pfd[1], 3);
	wait_poll(pfd[0], POLLIN);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(pfd[1]), 0);
	/* Nobody there: an answer that says so becomes the socket's error. */
	put(pfd[0], 1);
	wait_poll(pfd[0], POLLERR);
	expect_none(kq);
	EXPECT_QUIET(kq);
	waits_asleep(kq);
	CHECK_EQ(so_error(pfd[0]), ECONNREFUSED);
	CHECK_EQ(close(pfd[0]), 0);
	CHECK_EQ(close(kq), 0);
}

static void
clear_fires_once_a_change(pair_fn *pair)
{
	int pfd[2], kq = new_queue();
	urgent_pair(pair, pfd);
	watch(kq, pfd[0], EV_CLEAR);
	arrives(pfd[0], pfd[1]);
	URGENT(kq, pfd[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	/* What arrives while the byte is there is a change: natively it is
	 * told of too. */
	put(pfd[1], 1);
	wait_poll(pfd[0], POLLIN);
	URGENT(kq, pfd[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	/* A change of the knote looks afresh. */
	CHANGE(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ENABLE, NOTE_OOB, 0,
	    UDATA(7));
	URGENT(kq, pfd[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	take_urgent(pfd[0]);
	put(pfd[1], 1);
	delivered(pfd[1]);
	EXPECT_QUIET(kq);
	arrives(pfd[0], pfd[1]);
	URGENT(kq, pfd[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(clear_fires_once_a_change)

static void
oneshot_fires_once_and_is_gone(pair_fn *pair)
{
	int pfd[2], kq = new_queue();
	urgent_pair(pair, pfd);
	watch(kq, pfd[0], EV_ONESHOT);
	arrives(pfd[0], pfd[1]);
	URGENT(kq, pfd[0], EV_ONESHOT);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_DELETE, 0,
	    0, NULL), ENOENT);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(oneshot_fires_once_and_is_gone)

static void
oneshot_whose_cause_went_stays(pair_fn *pair)
{
	int pfd[2], kq = new_queue();
	urgent_pair(pair, pfd);
	watch(kq, pfd[0], EV_ONESHOT);
	arrives(pfd[0], pfd[1]);
	take_urgent(pfd[0]);
	EXPECT_QUIET(kq);
	arrives(pfd[0], pfd[1]);
	URGENT(kq, pfd[0], EV_ONESHOT);
	EXPECT_QUIET(kq);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(oneshot_whose_cause_went_stays)

static void
dispatch_sleeps_until_enabled(pair_fn *pair)
{
	int pfd[2], kq = new_queue();
	urgent_pair(pair, pfd);
	watch(kq, pfd[0], EV_DISPATCH);
	arrives(pfd[0], pfd[1]);
	URGENT(kq, pfd[0], EV_DISPATCH);
	EXPECT_QUIET(kq);
	CHANGE(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ENABLE, NOTE_OOB, 0,
	    UDATA(7));
	URGENT(kq, pfd[0], EV_DISPATCH);
	EXPECT_QUIET(kq);
	take_urgent(pfd[0]);
	CHANGE(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ENABLE, NOTE_OOB, 0,
	    UDATA(7));
	EXPECT_QUIET(kq);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(dispatch_sleeps_until_enabled)

static void
disabled_is_silent_and_forgets_nothing(pair_fn *pair)
{
	int pfd[2], kq = new_queue();
	urgent_pair(pair, pfd);
	watch(kq, pfd[0], EV_CLEAR | EV_DISABLE);
	arrives(pfd[0], pfd[1]);
	EXPECT_QUIET(kq);
	CHANGE(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ENABLE, NOTE_OOB, 0,
	    UDATA(7));
	URGENT(kq, pfd[0], EV_CLEAR);
	CHANGE(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_DISABLE, NOTE_OOB, 0,
	    UDATA(7));
	take_urgent(pfd[0]);
	CHANGE(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_ENABLE, NOTE_OOB, 0,
	    UDATA(7));
	EXPECT_QUIET(kq);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(disabled_is_silent_and_forgets_nothing)

static void
wakes_a_sleeper(pair_fn *pair)
{
	int pfd[2], kq = new_queue();
	struct sleeper s;
	urgent_pair(pair, pfd);
	watch(kq, pfd[0], EV_CLEAR);
	sleeper_start(&s, kq);
	put_urgent(pfd[1]);
	is_urgent_at(__FILE__, __LINE__, sleeper_join(&s), pfd[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(wakes_a_sleeper)

static const int filters[3] = {EVFILT_READ, EVFILT_WRITE, EVFILT_EXCEPT};
static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0},
    {2, 0, 1}, {2, 1, 0}};

/* Collects; a bit for each filter that came. */
static unsigned
came(int kq, int fd)
{
	struct kevent k[4];
	unsigned bits = 0;
	int i, n = kevent(kq, NULL, 0, k, 4, &no_wait);
	CHECK(n >= 0 && n <= 3);
	for (i = 0; i < n; i++) {
		CHECK_EQ(k[i].ident, fd);
		CHECK_EQ(bits >> -k[i].filter & 1, 0);
		if (k[i].filter == EVFILT_EXCEPT)
			CHECK_EQ(k[i].fflags, NOTE_OOB);
		bits |= 1u << -k[i].filter;
	}
	return bits;
}

#define R (1u << 1)
#define W (1u << 2)
#define X (1u << 15)

/*
 * READ fires if the socket is readable: of UNIX streams poll() calls it so
 * when an urgent byte has been there, too.
 */
static unsigned
r(int fd)
{
	return readable(fd) ? R : 0;
}

static void
three_filters_of_one_socket_live_side_by_side(pair_fn *pair)
{
	int pfd[2], kq = new_queue(), i, j, n;
	for (i = 0; i < 6; i++)
		for (j = 0; j < 6; j++) {
			unsigned left = R | W | X;
			urgent_pair(pair, pfd);
			for (n = 0; n < 3; n++)
				CHANGE(kq, (uintptr_t)pfd[0],
				    filters[orders[i][n]], EV_ADD,
				    orders[i][n] == 2 ? NOTE_OOB : 0, 0, NULL);
			CHECK_EQ(came(kq, pfd[0]), W);
			put(pfd[1], 1);
			wait_poll(pfd[0], POLLIN);
			CHECK_EQ(came(kq, pfd[0]), R | W);
			arrives(pfd[0], pfd[1]);
			CHECK_EQ(came(kq, pfd[0]), R | W | X);
			take(pfd[0], 1);
			CHECK_EQ(came(kq, pfd[0]), r(pfd[0]) | W | X);
			put(pfd[1], 1);
			wait_poll(pfd[0], POLLIN);
			for (n = 0; n < 3; n++) {
				int filter = filters[orders[j][n]];
				CHECK_EQ(came(kq, pfd[0]), left);
				CHANGE(kq, (uintptr_t)pfd[0], filter,
				    EV_DELETE, 0, 0, NULL);
				left &= ~(1u << -filter);
			}
			EXPECT_QUIET(kq);
			close_pair(pfd);
		}
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(three_filters_of_one_socket_live_side_by_side)

static void
three_filters_keep_their_own_modes(pair_fn *pair)
{
	static const unsigned modes[3] = {EV_DISPATCH, EV_CLEAR, 0};
	int pfd[2], kq = new_queue(), i, n;
	for (i = 0; i < 6; i++) {
		urgent_pair(pair, pfd);
		for (n = 0; n < 3; n++) {
			int which = orders[i][n];
			CHANGE(kq, (uintptr_t)pfd[0], filters[which],
			    EV_ADD | modes[which], which == 2 ? NOTE_OOB : 0,
			    0, NULL);
		}
		CHECK_EQ(came(kq, pfd[0]), W);
		EXPECT_QUIET(kq);
		put(pfd[1], 1);
		wait_poll(pfd[0], POLLIN);
		CHECK_EQ(came(kq, pfd[0]), R);
		arrives(pfd[0], pfd[1]);
		CHECK_EQ(came(kq, pfd[0]), X);
		CHECK_EQ(came(kq, pfd[0]), X);
		take_urgent(pfd[0]);
		EXPECT_QUIET(kq);
		CHANGE(kq, (uintptr_t)pfd[0], EVFILT_READ, EV_ENABLE, 0, 0,
		    NULL);
		CHECK_EQ(came(kq, pfd[0]), R);
		EXPECT_QUIET(kq);
		close_pair(pfd);
		EXPECT_QUIET(kq);
	}
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(three_filters_keep_their_own_modes)

static void
many_sockets_come_in_one_call(pair_fn *pair)
{
	enum { PAIRS = 200 };
	static int pfd[PAIRS][2];
	static char seen[65536];
	struct kevent k[PAIRS];
	int kq = new_queue(), i, n;
	for (i = 0; i < PAIRS; i++) {
		urgent_pair(pair, pfd[i]);
		watch(kq, pfd[i][0], EV_CLEAR);
		arrives(pfd[i][0], pfd[i][1]);
	}
	n = kevent(kq, NULL, 0, k, PAIRS, &no_wait);
	CHECK_EQ(n, PAIRS);
	for (i = 0; i < n; i++) {
		CHECK(k[i].ident < sizeof seen && !seen[k[i].ident]);
		seen[k[i].ident] = 1;
		CHECK_EQ(k[i].fflags, NOTE_OOB);
	}
	EXPECT_QUIET(kq);
	for (i = 0; i < PAIRS; i++)
		close_pair(pfd[i]);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(many_sockets_come_in_one_call)

static void
each_queue_is_told(pair_fn *pair)
{
	int pfd[2], a = new_queue(), b = new_queue();
	urgent_pair(pair, pfd);
	watch(a, pfd[0], EV_CLEAR);
	watch(b, pfd[0], EV_CLEAR);
	arrives(pfd[0], pfd[1]);
	URGENT(a, pfd[0], EV_CLEAR);
	EXPECT_QUIET(a);
	URGENT(b, pfd[0], EV_CLEAR);
	EXPECT_QUIET(b);
	close_pair(pfd);
	CHECK_EQ(close(a), 0);
	CHECK_EQ(close(b), 0);
}
ON_STREAMS(each_queue_is_told)

static void
queue_with_one_can_be_watched(pair_fn *pair)
{
	int pfd[2], inner = new_queue(), outer = new_queue();
	urgent_pair(pair, pfd);
	watch(inner, pfd[0], 0);
	CHANGE(outer, (uintptr_t)inner, EVFILT_READ, EV_ADD, 0, 0, NULL);
	EXPECT_QUIET(outer);
	arrives(pfd[0], pfd[1]);
	EXPECT(outer, (uintptr_t)inner, EVFILT_READ, EV_ADD, 0, 1, NULL);
	URGENT(inner, pfd[0], 0);
	take_urgent(pfd[0]);
	EXPECT_QUIET(outer);
	EXPECT_QUIET(inner);
	close_pair(pfd);
	CHECK_EQ(close(inner), 0);
	CHECK_EQ(close(outer), 0);
}
ON_STREAMS(queue_with_one_can_be_watched)

static void
closed_socket_takes_its_knote_along(pair_fn *pair)
{
	int pfd[2], other[2], kq = new_queue();
	urgent_pair(pair, pfd);
	urgent_pair(pair, other);
	watch(kq, pfd[0], 0);
	arrives(pfd[0], pfd[1]);
	CHECK(readable(kq));
	CHECK_EQ(close(pfd[0]), 0);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_DELETE, 0,
	    0, NULL), EBADF);
	/* Another socket on the number starts clean. */
	CHECK_EQ(dup2(other[0], pfd[0]), pfd[0]);
	CHECK_FAILS(change(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_DELETE, 0,
	    0, NULL), ENOENT);
	arrives(other[0], other[1]);
	EXPECT_QUIET(kq);
	watch(kq, pfd[0], EV_CLEAR);
	URGENT(kq, pfd[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	close_pair(pfd);
	close_pair(other);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(closed_socket_takes_its_knote_along)

/* The number is reused before anything asks about the old socket. */
static void
reused_number_starts_clean(pair_fn *pair)
{
	int pfd[2], other[2], kq = new_queue();
	urgent_pair(pair, pfd);
	urgent_pair(pair, other);
	CHANGE(kq, (uintptr_t)pfd[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	watch(kq, pfd[0], EV_ONESHOT);
	arrives(pfd[0], pfd[1]);
	CHECK_EQ(dup2(other[0], pfd[0]), pfd[0]);
	EXPECT_QUIET(kq);
	watch(kq, pfd[0], 0);
	EXPECT_QUIET(kq);
	arrives(other[0], other[1]);
	URGENT(kq, pfd[0], 0);
	URGENT(kq, pfd[0], 0);
	close_pair(pfd);
	close_pair(other);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(reused_number_starts_clean)

static void
closed_though_a_dup_lives_gives_no_event(pair_fn *pair)
{
	int pfd[2], copy, kq = new_queue();
	urgent_pair(pair, pfd);
	watch(kq, pfd[0], 0);
	copy = dup(pfd[0]);
	CHECK(copy >= 0);
	arrives(pfd[0], pfd[1]);
	CHECK_EQ(close(pfd[0]), 0);
	expect_none(kq);
	CHECK_EQ(close(copy), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(pfd[1]), 0);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(closed_though_a_dup_lives_gives_no_event)

TEST(what_is_no_socket_is_einval)
{
	static const char *const paths[] = {"/dev/null", "/dev/zero", "/",
	    "/proc/self/mountinfo"};
	int kq = new_queue(), other = new_queue(), pfd[2], file, i;
	struct fifo fifo;
	pipe_pair(pfd);
#define REFUSED(fd, error)                                                    \
	CHECK_FAILS(change(kq, (uintptr_t)(fd), EVFILT_EXCEPT, EV_ADD,        \
	    NOTE_OOB, 0, NULL), error)
	REFUSED(pfd[0], EINVAL);
	REFUSED(pfd[1], EINVAL);
	REFUSED(kq, EINVAL);
	REFUSED(other, EINVAL);
	file = nameless_file(1);
	REFUSED(file, EINVAL);
	CHECK_EQ(close(file), 0);
	for (i = 0; i < (int)(sizeof paths / sizeof *paths); i++) {
		file = open(paths[i], O_RDONLY | O_CLOEXEC);
		CHECK(file >= 0);
		REFUSED(file, EINVAL);
		CHECK_EQ(close(file), 0);
		REFUSED(file, EBADF);
	}
	make_fifo(&fifo);
	file = open_fifo(&fifo, O_RDWR);
	REFUSED(file, EINVAL);
	CHECK_EQ(close(file), 0);
	remove_fifo(&fifo);
	REFUSED(-1, EBADF);
	REFUSED((uintptr_t)INT_MAX + 1, EBADF);
	REFUSED(INT_MAX, EBADF);
	/* Nothing was left of it: no descriptor, no knote. */
	CHECK_FAILS(change(kq, (uintptr_t)pfd[0], EVFILT_EXCEPT, EV_DELETE, 0,
	    0, NULL), ENOENT);
	EXPECT_QUIET(kq);
	close_pair(pfd);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(adding_and_deleting_costs_no_descriptors)
{
	static char before[65536], after[65536];
	int pfd[2], kq = new_queue(), i;
	tcp_pair(pfd);
	watch(kq, pfd[0], 0);
	open_descriptors(before, sizeof before);
	for (i = 0; i < 1000; i++) {
		watch(kq, pfd[1], 0);
		CHANGE(kq, (uintptr_t)pfd[i % 2], EVFILT_EXCEPT, EV_DELETE, 0,
		    0, NULL);
		watch(kq, pfd[i % 2], 0);
		CHANGE(kq, (uintptr_t)pfd[1], EVFILT_EXCEPT, EV_DELETE, 0, 0,
		    NULL);
	}
	open_descriptors(after, sizeof after);
	CHECK_EQ(strcmp(before, after), 0);
	close_pair(pfd);
	CHECK_EQ(close(kq), 0);
}
