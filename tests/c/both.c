/* READ and WRITE on one descriptor: two knotes that leave each other alone. */
#include "io.h"

#include <sys/eventfd.h>

/* READ_ADD's. */
#define R_UDATA UDATA(3)
#define W_UDATA UDATA(0x2222)

#define ADD_WRITE(kq, fd, flags)                                              \
	CHANGE(kq, (uintptr_t)(fd), EVFILT_WRITE, EV_ADD | (flags), 0, 0,     \
	    W_UDATA)
#define DELETE(kq, fd, filter)                                                \
	CHANGE(kq, (uintptr_t)(fd), filter, EV_DELETE, 0, 0, NULL)
#define EXPECT_WRITE(kq, fd, flags)                                           \
	check_write_at(__FILE__, __LINE__, next_event(kq), fd, flags)

static void
check_write_at(const char *file, int line, struct kevent k, int fd,
    unsigned flags)
{
	check_kev_at(file, line, k,
	    kev((uintptr_t)fd, EVFILT_WRITE, EV_ADD | flags, k.fflags, k.data,
	    W_UDATA));
	if (k.data <= 0 && (flags & EV_EOF) == 0) {
		fprintf(stderr, "%s:%d: no room: %ld\n", file, line,
		    (long)k.data);
		exit(1);
	}
}

/* Exactly one event of each filter, in any order, in one call. */
static void
expect_both_at(const char *file, int line, int kq, int fd, unsigned rflags,
    intptr_t rdata, unsigned wflags)
{
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	struct kevent ev[4];
	int n = kevent(kq, NULL, 0, ev, 4, &ts), r;
	if (n != 2 || ev[0].filter == ev[1].filter) {
		fprintf(stderr, "%s:%d: %d events, not one of each filter\n",
		    file, line, n);
		exit(1);
	}
	r = ev[0].filter == EVFILT_READ ? 0 : 1;
	check_kev_at(file, line, ev[r],
	    kev((uintptr_t)fd, EVFILT_READ, EV_ADD | rflags, ev[r].fflags,
	    rdata, R_UDATA));
	check_write_at(file, line, ev[1 - r], fd, wflags);
}
#define EXPECT_BOTH(...) expect_both_at(__FILE__, __LINE__, __VA_ARGS__)

enum order { READ_FIRST, WRITE_FIRST };

static void
add_both(int kq, int fd, unsigned rflags, unsigned wflags, enum order order)
{
	if (order == READ_FIRST)
		READ_ADD(kq, fd, rflags);
	ADD_WRITE(kq, fd, wflags);
	if (order == WRITE_FIRST)
		READ_ADD(kq, fd, rflags);
}

/* Runs a case with the filters added in either order. */
#define IN_BOTH_ORDERS(body)                                                  \
	static void body##_##in_order(pair_fn make, enum order order);        \
	static void body(pair_fn make)                                        \
	{                                                                     \
		body##_##in_order(make, READ_FIRST);                          \
		body##_##in_order(make, WRITE_FIRST);                         \
	}                                                                     \
	ON_STREAMS(body)                                                      \
	static void body##_##in_order(pair_fn make, enum order order)

IN_BOTH_ORDERS(level_and_level_come_in_every_call)
{
	int fds[2], i, kq = new_queue();
	make(fds);
	add_both(kq, fds[0], 0, 0, order);
	EXPECT_WRITE(kq, fds[0], 0);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	for (i = 0; i < 3; i++)
		EXPECT_BOTH(kq, fds[0], 0, 5, 0);
	take(fds[0], 5);
	for (i = 0; i < 3; i++)
		EXPECT_WRITE(kq, fds[0], 0);
	close_pair(fds);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

/* With room for one event a call, neither filter starves the other. */
IN_BOTH_ORDERS(level_events_take_turns)
{
	int fds[2], i, kq = new_queue();
	make(fds);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	add_both(kq, fds[0], 0, 0, order);
	short last = 0;
	for (i = 0; i < 10; i++) {
		struct kevent k = next_event(kq);
		CHECK(k.filter != last);
		CHECK(k.filter == EVFILT_READ || k.filter == EVFILT_WRITE);
		last = k.filter;
	}
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

IN_BOTH_ORDERS(level_read_makes_no_edge_of_write)
{
	int fds[2], i, kq = new_queue();
	make(fds);
	add_both(kq, fds[0], 0, EV_CLEAR, order);
	EXPECT_WRITE(kq, fds[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	for (i = 0; i < 20; i++) {
		put(fds[1], 3);
		WAIT_FOR(unread(fds[0]) == 3);
		EXPECT_READ(kq, fds[0], 0, 0, 3);
		EXPECT_READ(kq, fds[0], 0, 0, 3);
		take(fds[0], 3);
		EXPECT_QUIET(kq);
	}
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

IN_BOTH_ORDERS(clear_read_makes_no_edge_of_write)
{
	int fds[2], i, kq = new_queue();
	make(fds);
	add_both(kq, fds[0], EV_CLEAR, EV_CLEAR, order);
	EXPECT_WRITE(kq, fds[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	for (i = 1; i <= 20; i++) {
		put(fds[1], 3);
		WAIT_FOR(unread(fds[0]) == 3 * i);
		EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 3 * i);
		EXPECT_QUIET(kq);
	}
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

IN_BOTH_ORDERS(write_room_makes_no_edge_of_read)
{
	size_t queued;
	int fds[2], i, kq = new_queue();
	make(fds);
	put(fds[1], 4);
	WAIT_FOR(unread(fds[0]) == 4);
	add_both(kq, fds[0], EV_CLEAR, EV_CLEAR, order);
	EXPECT_BOTH(kq, fds[0], EV_CLEAR, 4, EV_CLEAR);
	EXPECT_QUIET(kq);
	for (i = 0; i < 3; i++) {
		queued = fill(fds[0]);
		expect_none(kq);
		EXPECT_QUIET(kq);
		take(fds[1], queued);
		EXPECT_WRITE(kq, fds[0], EV_CLEAR);
		EXPECT_QUIET(kq);
	}
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

IN_BOTH_ORDERS(clear_read_beside_level_write)
{
	int fds[2], i, kq = new_queue();
	make(fds);
	add_both(kq, fds[0], EV_CLEAR, 0, order);
	for (i = 1; i <= 5; i++) {
		put(fds[1], 2);
		WAIT_FOR(unread(fds[0]) == 2 * i);
		EXPECT_BOTH(kq, fds[0], EV_CLEAR, 2 * i, 0);
		EXPECT_WRITE(kq, fds[0], 0);
		EXPECT_WRITE(kq, fds[0], 0);
	}
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

IN_BOTH_ORDERS(oneshot_write_leaves_read)
{
	int fds[2], kq = new_queue();
	make(fds);
	add_both(kq, fds[0], 0, EV_ONESHOT, order);
	EXPECT_WRITE(kq, fds[0], EV_ONESHOT);
	EXPECT_QUIET(kq);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	EXPECT_READ(kq, fds[0], 0, 0, 5);
	EXPECT_READ(kq, fds[0], 0, 0, 5);
	CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_DELETE, 0,
	    0, NULL), ENOENT);
	ADD_WRITE(kq, fds[0], EV_ONESHOT);
	EXPECT_BOTH(kq, fds[0], 0, 5, EV_ONESHOT);
	EXPECT_READ(kq, fds[0], 0, 0, 5);
	take(fds[0], 5);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

IN_BOTH_ORDERS(oneshot_read_leaves_write)
{
	int fds[2], kq = new_queue();
	make(fds);
	add_both(kq, fds[0], EV_ONESHOT, 0, order);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	EXPECT_BOTH(kq, fds[0], EV_ONESHOT, 5, 0);
	EXPECT_WRITE(kq, fds[0], 0);
	EXPECT_WRITE(kq, fds[0], 0);
	CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_READ, EV_DELETE, 0, 0,
	    NULL), ENOENT);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

IN_BOTH_ORDERS(dispatch_of_one_leaves_the_other)
{
	int fds[2], kq = new_queue();
	make(fds);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	add_both(kq, fds[0], EV_DISPATCH, EV_CLEAR, order);
	EXPECT_BOTH(kq, fds[0], EV_DISPATCH, 5, EV_CLEAR);
	EXPECT_QUIET(kq);
	put(fds[1], 1);
	WAIT_FOR(unread(fds[0]) == 6);
	EXPECT_QUIET(kq);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ENABLE, 0, 0, R_UDATA);
	EXPECT_READ(kq, fds[0], EV_DISPATCH, 0, 6);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

IN_BOTH_ORDERS(disabling_one_leaves_the_other)
{
	int fds[2], kq = new_queue();
	make(fds);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	add_both(kq, fds[0], 0, 0, order);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_DISABLE, 0, 0, W_UDATA);
	EXPECT_READ(kq, fds[0], 0, 0, 5);
	EXPECT_READ(kq, fds[0], 0, 0, 5);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_DISABLE, 0, 0, R_UDATA);
	EXPECT_QUIET(kq);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ENABLE, 0, 0, W_UDATA);
	EXPECT_WRITE(kq, fds[0], 0);
	EXPECT_WRITE(kq, fds[0], 0);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ENABLE, 0, 0, R_UDATA);
	EXPECT_BOTH(kq, fds[0], 0, 5, 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

IN_BOTH_ORDERS(deleting_read_leaves_write)
{
	size_t queued;
	int fds[2], kq = new_queue();
	make(fds);
	add_both(kq, fds[0], 0, EV_CLEAR, order);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	DELETE(kq, fds[0], EVFILT_READ);
	EXPECT_WRITE(kq, fds[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	queued = fill(fds[0]);
	expect_none(kq);
	take(fds[1], queued);
	EXPECT_WRITE(kq, fds[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	READ_ADD(kq, fds[0], 0);
	EXPECT_READ(kq, fds[0], 0, 0, 5);
	take(fds[0], 5);
	EXPECT_QUIET(kq);
	DELETE(kq, fds[0], EVFILT_WRITE);
	CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_DELETE, 0,
	    0, NULL), ENOENT);
	DELETE(kq, fds[0], EVFILT_READ);
	CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_READ, EV_DELETE, 0, 0,
	    NULL), ENOENT);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

IN_BOTH_ORDERS(deleting_write_leaves_read)
{
	int fds[2], i, kq = new_queue();
	make(fds);
	add_both(kq, fds[0], EV_CLEAR, 0, order);
	EXPECT_WRITE(kq, fds[0], 0);
	DELETE(kq, fds[0], EVFILT_WRITE);
	EXPECT_QUIET(kq);
	for (i = 1; i <= 3; i++) {
		put(fds[1], 1);
		WAIT_FOR(unread(fds[0]) == i);
		EXPECT_READ(kq, fds[0], EV_CLEAR, 0, i);
		EXPECT_QUIET(kq);
	}
	ADD_WRITE(kq, fds[0], EV_CLEAR);
	EXPECT_WRITE(kq, fds[0], EV_CLEAR);
	EXPECT_QUIET(kq);
	put(fds[1], 1);
	WAIT_FOR(unread(fds[0]) == 4);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 4);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* Which of the two came first must not show, whatever is swapped around. */
static void
deletes_and_adds_in_turn(pair_fn make)
{
	int fds[2], i, kq = new_queue();
	make(fds);
	put(fds[1], 7);
	WAIT_FOR(unread(fds[0]) == 7);
	add_both(kq, fds[0], 0, 0, READ_FIRST);
	for (i = 0; i < 50; i++) {
		EXPECT_BOTH(kq, fds[0], 0, 7, 0);
		DELETE(kq, fds[0], EVFILT_READ);
		EXPECT_WRITE(kq, fds[0], 0);
		READ_ADD(kq, fds[0], 0);
		EXPECT_BOTH(kq, fds[0], 0, 7, 0);
		DELETE(kq, fds[0], EVFILT_WRITE);
		EXPECT_READ(kq, fds[0], 0, 0, 7);
		if (i % 2 == 0) {
			DELETE(kq, fds[0], EVFILT_READ);
			EXPECT_QUIET(kq);
			ADD_WRITE(kq, fds[0], 0);
			READ_ADD(kq, fds[0], 0);
		} else
			ADD_WRITE(kq, fds[0], 0);
	}
	close_pair(fds);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(deletes_and_adds_in_turn)

IN_BOTH_ORDERS(closing_the_descriptor_ends_both)
{
	int fds[2], next[2], kq = new_queue();
	make(fds);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	add_both(kq, fds[0], 0, EV_CLEAR, order);
	unix_pair(next);
	CHECK_EQ(close(fds[0]), 0);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_READ, EV_DELETE, 0, 0,
	    NULL), EBADF);
	CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_DELETE, 0,
	    0, NULL), EBADF);
	/* The same number again, another file. */
	CHECK_EQ(dup2(next[0], fds[0]), fds[0]);
	CHECK_EQ(close(next[0]), 0);
	next[0] = fds[0];
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)next[0], EVFILT_READ, EV_DELETE, 0,
	    0, NULL), ENOENT);
	CHECK_FAILS(change(kq, (uintptr_t)next[0], EVFILT_WRITE, EV_DELETE, 0,
	    0, NULL), ENOENT);
	add_both(kq, next[0], EV_CLEAR, 0, order);
	EXPECT_WRITE(kq, next[0], 0);
	put(next[1], 2);
	EXPECT_BOTH(kq, next[0], EV_CLEAR, 2, 0);
	EXPECT_WRITE(kq, next[0], 0);
	close_pair(next);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fds[1]), 0);
	CHECK_EQ(close(kq), 0);
}

/* Only one filter is added again on the number: the other must stay away. */
IN_BOTH_ORDERS(a_reused_number_gets_only_what_it_asked_for)
{
	int fds[2], next[2], kq = new_queue();
	make(fds);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 5);
	add_both(kq, fds[0], 0, 0, order);
	EXPECT_BOTH(kq, fds[0], 0, 5, 0);
	unix_pair(next);
	CHECK_EQ(dup2(next[0], fds[0]), fds[0]);
	CHECK_EQ(close(next[0]), 0);
	put(next[1], 2);
	EXPECT_QUIET(kq);
	if (order == READ_FIRST) {
		READ_ADD(kq, fds[0], 0);
		EXPECT_READ(kq, fds[0], 0, 0, 2);
		EXPECT_READ(kq, fds[0], 0, 0, 2);
		CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_WRITE,
		    EV_ENABLE, 0, 0, NULL), ENOENT);
	} else {
		ADD_WRITE(kq, fds[0], 0);
		EXPECT_WRITE(kq, fds[0], 0);
		EXPECT_WRITE(kq, fds[0], 0);
		CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_READ,
		    EV_ENABLE, 0, 0, NULL), ENOENT);
	}
	CHECK_EQ(close(next[1]), 0);
	close_pair(fds);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

IN_BOTH_ORDERS(peers_half_close_is_eof_for_read_alone)
{
	int fds[2], i, kq = new_queue();
	make(fds);
	add_both(kq, fds[0], 0, 0, order);
	EXPECT_WRITE(kq, fds[0], 0);
	put(fds[1], 5);
	CHECK_EQ(shutdown(fds[1], SHUT_WR), 0);
	wait_poll(fds[0], POLLRDHUP);
	for (i = 0; i < 3; i++)
		EXPECT_BOTH(kq, fds[0], EV_EOF, 5, 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(unix_peers_close_is_eof_for_both)
{
	static const unsigned modes[] = {0, EV_CLEAR, EV_ONESHOT, EV_DISPATCH};
	size_t r, w;
	for (r = 0; r < 4; r++)
		for (w = 0; w < 4; w++) {
			int fds[2], kq = new_queue();
			unix_pair(fds);
			put(fds[1], 5);
			CHECK_EQ(close(fds[1]), 0);
			add_both(kq, fds[0], modes[r], modes[w], READ_FIRST);
			EXPECT_BOTH(kq, fds[0], modes[r] | EV_EOF, 5,
			    modes[w] | EV_EOF);
			if (modes[r] != 0 && modes[w] != 0)
				EXPECT_QUIET(kq);
			else if (modes[r] != 0)
				EXPECT_WRITE(kq, fds[0], EV_EOF);
			else if (modes[w] != 0)
				EXPECT_READ(kq, fds[0], EV_EOF, 0, 5);
			else
				EXPECT_BOTH(kq, fds[0], EV_EOF, 5, EV_EOF);
			CHECK_EQ(close(fds[0]), 0);
			CHECK_EQ(close(kq), 0);
		}
}

TEST(tcp_reset_is_told_to_both_with_the_error)
{
	struct kevent ev[4];
	int fds[2], i, round, kq = new_queue();
	tcp_pair(fds);
	add_both(kq, fds[0], 0, 0, READ_FIRST);
	reset_and_close(fds[1]);
	wait_poll(fds[0], POLLERR);
	for (round = 0; round < 3; round++) {
		CHECK_EQ(kevent(kq, NULL, 0, ev, 4, &no_wait), 2);
		CHECK(ev[0].filter != ev[1].filter);
		for (i = 0; i < 2; i++) {
			CHECK_EQ(ev[i].flags, EV_ADD | EV_EOF);
			CHECK_EQ(ev[i].fflags, ECONNRESET);
		}
	}
	CHECK_EQ(so_error(fds[0]), ECONNRESET);
	CHECK_EQ(kevent(kq, NULL, 0, ev, 4, &no_wait), 2);
	for (i = 0; i < 2; i++) {
		CHECK_EQ(ev[i].flags, EV_ADD | EV_EOF);
		CHECK_EQ(ev[i].fflags, 0);
	}
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(tcp_refused_connect_is_told_to_both_with_the_error)
{
	struct kevent ev[4];
	int i, kq = new_queue(), fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	add_both(kq, fd, 0, 0, READ_FIRST);
	expect_none(kq);
	EXPECT_QUIET(kq);
	begin_refused_connect(fd);
	wait_poll(fd, POLLERR);
	CHECK_EQ(kevent(kq, NULL, 0, ev, 4, &no_wait), 2);
	CHECK(ev[0].filter != ev[1].filter);
	for (i = 0; i < 2; i++) {
		CHECK_EQ(ev[i].flags, EV_ADD | EV_EOF);
		CHECK_EQ(ev[i].fflags, ECONNREFUSED);
	}
	CHECK_EQ(so_error(fd), ECONNREFUSED);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(unconnected_is_silent_for_both)
{
	static const int domains[] = {AF_INET, AF_UNIX};
	size_t i;
	for (i = 0; i < 2; i++) {
		int kq = new_queue();
		int fd = socket(domains[i], SOCK_STREAM, 0);
		CHECK(fd >= 0);
		add_both(kq, fd, 0, EV_CLEAR, READ_FIRST);
		expect_none(kq);
		EXPECT_QUIET(kq);
		CHECK_EQ(close(fd), 0);
		CHECK_EQ(close(kq), 0);
	}
}

/* A server's life: it reads a request, then waits for room, many times. */
static void
disable_and_enable_in_turn(pair_fn make)
{
	int fds[2], i, kq = new_queue();
	make(fds);
	READ_ADD(kq, fds[0], 0);
	ADD_WRITE(kq, fds[0], EV_DISABLE);
	for (i = 0; i < 200; i++) {
		EXPECT_QUIET(kq);
		put(fds[1], 9);
		WAIT_FOR(unread(fds[0]) == 9);
		EXPECT_READ(kq, fds[0], 0, 0, 9);
		take(fds[0], 9);
		CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_DISABLE, 0, 0,
		    R_UDATA);
		CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ENABLE, 0, 0,
		    W_UDATA);
		EXPECT_WRITE(kq, fds[0], 0);
		put(fds[0], 9);
		take(fds[1], 9);
		CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_DISABLE, 0, 0,
		    W_UDATA);
		CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ENABLE, 0, 0,
		    R_UDATA);
	}
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(disable_and_enable_in_turn)

TEST(eventfd_has_both_without_crosstalk)
{
	uint64_t value = 3;
	int i, kq = new_queue(), fd = eventfd(0, EFD_CLOEXEC);
	struct kevent k;
	CHECK(fd >= 0);
	add_both(kq, fd, EV_CLEAR, EV_CLEAR, READ_FIRST);
	k = next_event(kq);
	CHECK_EQ(k.filter, EVFILT_WRITE);
	EXPECT_QUIET(kq);
	for (i = 1; i <= 3; i++) {
		CHECK_EQ(write(fd, &value, sizeof value), 8);
		EXPECT_READ(kq, fd, EV_CLEAR, 0, 3 * i);
		EXPECT_QUIET(kq);
	}
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_has_both_without_crosstalk)
{
	struct kevent k;
	int kq = new_queue(), fd = nameless_file(10);
	add_both(kq, fd, 0, EV_ONESHOT, WRITE_FIRST);
	struct kevent ev[4];
	CHECK_EQ(kevent(kq, NULL, 0, ev, 4, &no_wait), 2);
	CHECK(ev[0].filter != ev[1].filter);
	EXPECT_READ(kq, fd, 0, 0, 10);
	take(fd, 10);
	expect_none(kq);
	EXPECT_QUIET(kq);
	ADD_WRITE(kq, fd, 0);
	k = next_event(kq);
	CHECK_KEV(k, (uintptr_t)fd, EVFILT_WRITE, EV_ADD, 0, 0, W_UDATA);
	DELETE(kq, fd, EVFILT_WRITE);
	EXPECT_QUIET(kq);
	CHECK_EQ(ftruncate(fd, 12), 0);
	EXPECT_READ(kq, fd, 0, 0, 2);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(pty_has_both)
{
	int fds[2], kq = new_queue();
	pty_pair(fds, TTY_RAW);
	add_both(kq, fds[0], EV_CLEAR, EV_ONESHOT, READ_FIRST);
	EXPECT_WRITE(kq, fds[0], EV_ONESHOT);
	EXPECT_QUIET(kq);
	CHECK_EQ(write(fds[1], "abc", 3), 3);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 3);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

TEST(two_queues_hold_both_filters_each)
{
	int fds[2], first = new_queue(), second = new_queue();
	unix_pair(fds);
	add_both(first, fds[0], 0, EV_CLEAR, READ_FIRST);
	add_both(second, fds[0], EV_CLEAR, 0, WRITE_FIRST);
	EXPECT_WRITE(first, fds[0], EV_CLEAR);
	EXPECT_QUIET(first);
	EXPECT_WRITE(second, fds[0], 0);
	put(fds[1], 4);
	EXPECT_READ(first, fds[0], 0, 0, 4);
	EXPECT_READ(first, fds[0], 0, 0, 4);
	EXPECT_BOTH(second, fds[0], EV_CLEAR, 4, 0);
	EXPECT_WRITE(second, fds[0], 0);
	CHECK_EQ(close(second), 0);
	EXPECT_READ(first, fds[0], 0, 0, 4);
	take(fds[0], 4);
	EXPECT_QUIET(first);
	close_pair(fds);
	CHECK_EQ(close(first), 0);
}

TEST(many_descriptors_with_both_come_in_one_call)
{
	enum { PAIRS = 100 };
	static int fds[PAIRS][2];
	static struct kevent ev[2 * PAIRS + 1];
	static unsigned char seen[PAIRS * 4 + 64];
	int i, n, round, kq = new_queue();
	for (i = 0; i < PAIRS; i++) {
		unix_pair(fds[i]);
		put(fds[i][1], 3);
		add_both(kq, fds[i][0], 0, 0, i % 2 ? READ_FIRST : WRITE_FIRST);
	}
	for (round = 0; round < 3; round++) {
		memset(seen, 0, sizeof seen);
		n = kevent(kq, NULL, 0, ev, 2 * PAIRS + 1, &no_wait);
		CHECK_EQ(n, 2 * PAIRS);
		for (i = 0; i < n; i++) {
			unsigned char bit = ev[i].filter == EVFILT_READ ? 1 : 2;
			CHECK(ev[i].ident < sizeof seen);
			CHECK((seen[ev[i].ident] & bit) == 0);
			seen[ev[i].ident] |= bit;
		}
	}
	/* A few at a time, everyone is heard all the same. */
	memset(seen, 0, sizeof seen);
	for (round = 0, n = 0; n < 2 * PAIRS; round++) {
		int k = kevent(kq, NULL, 0, ev, 7, &no_wait);
		CHECK_EQ(k, 7);
		CHECK(round < 4 * PAIRS);
		for (i = 0; i < k; i++) {
			unsigned char bit = ev[i].filter == EVFILT_READ ? 1 : 2;
			n += (seen[ev[i].ident] & bit) == 0;
			seen[ev[i].ident] |= bit;
		}
	}
	for (i = 0; i < PAIRS; i++)
		close_pair(fds[i]);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

/* More of the second set than one look at it brings. */
TEST(hundreds_of_second_filters_come_in_one_call)
{
	enum { PAIRS = 300 };
	static int fds[PAIRS][2];
	static struct kevent ev[PAIRS + 1];
	static char seen[65536];
	int i, n, kq = new_queue();
	for (i = 0; i < PAIRS; i++) {
		unix_pair(fds[i]);
		add_both(kq, fds[i][0], 0, 0, READ_FIRST);
	}
	n = kevent(kq, NULL, 0, ev, PAIRS + 1, &no_wait);
	CHECK_EQ(n, PAIRS);
	for (i = 0; i < n; i++) {
		CHECK_EQ(ev[i].filter, EVFILT_WRITE);
		CHECK(ev[i].ident < sizeof seen && !seen[ev[i].ident]);
		seen[ev[i].ident] = 1;
	}
	for (i = 0; i < PAIRS; i++)
		close_pair(fds[i]);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(adding_and_deleting_costs_no_descriptors)
{
	static char text[65536];
	int fds[2], i, before, kq = new_queue();
	unix_pair(fds);
	add_both(kq, fds[0], 0, 0, READ_FIRST);
	DELETE(kq, fds[0], EVFILT_READ);
	DELETE(kq, fds[0], EVFILT_WRITE);
	open_descriptors(text, sizeof text);
	before = count_fields(text);
	for (i = 0; i < 1000; i++) {
		add_both(kq, fds[0], EV_CLEAR, EV_ONESHOT,
		    i % 2 ? READ_FIRST : WRITE_FIRST);
		EXPECT_WRITE(kq, fds[0], EV_ONESHOT);
		if (i % 3 == 0)
			ADD_WRITE(kq, fds[0], 0);
		DELETE(kq, fds[0], EVFILT_READ);
		if (i % 3 == 0)
			DELETE(kq, fds[0], EVFILT_WRITE);
	}
	open_descriptors(text, sizeof text);
	CHECK_EQ(count_fields(text), before);
	EXPECT_QUIET(kq);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
