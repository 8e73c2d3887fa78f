/*
 * kevent() itself, whatever the filter: the order of work in one call,
 * receipts and errors, timeouts, signals and cancellation, the order and
 * number of collected events, several threads in one queue, and what each
 * EV_ flag does. User events and socket pairs serve as examples.
 */
#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "support.h"

/* An event list that shows what was not written to it. */
static void
poison(struct kevent *list, int count)
{
	memset(list, 0xa5, (size_t)count * sizeof *list);
}

/* ---- The order of work ---- */

TEST(a_call_without_changes_and_room_returns_zero_at_once)
{
	int kq = open_queue();
	struct kevent k;
	struct timespec hour = {3600, 0};
	add_user(kq, 1, 0);
	trigger(kq, 1);
	CHECK_EQ(kevent(kq, NULL, 0, NULL, 0, NULL), 0);
	CHECK_EQ(kevent(kq, NULL, 0, NULL, 0, &hour), 0);
	CHECK_EQ(kevent(kq, NULL, 0, &k, 0, NULL), 0);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
}

TEST(without_room_for_events_the_timeout_is_not_looked_at)
{
	int kq = open_queue();
	struct timespec bad = {0, 1000000000};
	struct kevent k = kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	CHECK_EQ(kevent(kq, NULL, 0, NULL, 0, &bad), 0);
	CHECK_EQ(kevent(kq, &k, 1, NULL, 0, &bad), 0);
	delete_user(kq, 1);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(an_invalid_timeout_is_found_after_the_changes)
{
	int kq = open_queue();
	struct timespec bad = {-1, 0};
	struct kevent got, k = kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	CHECK_FAILS(kevent(kq, &k, 1, &got, 1, &bad), EINVAL);
	delete_user(kq, 1);
	/* A receipt ends the call before the timeout is looked at. */
	k = kev(2, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL);
	CHECK_EQ(kevent(kq, &k, 1, &got, 1, &bad), 1);
	CHECK_KEV(got, 2, EVFILT_USER, EV_ADD | EV_RECEIPT | EV_ERROR, 0, 0,
	    NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(changes_are_applied_in_the_order_given)
{
	int kq = open_queue();
	struct kevent list[] = {
	    kev(1, EVFILT_USER, EV_ADD | EV_CLEAR, 1, 10, UDATA(1)),
	    kev(1, EVFILT_USER, 0, NOTE_FFOR | 2, 20, UDATA(2)),
	    kev(1, EVFILT_USER, EV_DELETE, 0, 0, NULL),
	    kev(1, EVFILT_USER, EV_ADD | EV_CLEAR, 0x10, 30, UDATA(3)),
	    kev(1, EVFILT_USER, 0, NOTE_TRIGGER | NOTE_FFOR | 4, 40, UDATA(4)),
	};
	CHECK_EQ(kevent(kq, list, 5, NULL, 0, NULL), 0);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0x14, 40, UDATA(4));
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(one_call_changes_and_collects)
{
	int kq = open_queue();
	struct kevent got[4], list[] = {
	    kev(1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL),
	    kev(1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL),
	};
	poison(got, 4);
	CHECK_EQ(kevent(kq, list, 2, got, 4, NULL), 1);
	CHECK_KEV(got[0], 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(no_events_come_in_a_call_that_returns_receipts)
{
	int kq = open_queue(), sv[2];
	struct kevent got[8], k;
	struct timespec hour = {3600, 0};
	open_pair(sv);
	put(sv[1], 1);
	add_user(kq, 1, EV_CLEAR);
	trigger(kq, 1);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0,
	    NULL);
	k = kev(2, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL);
	CHECK_EQ(kevent(kq, &k, 1, got, 8, &hour), 1);
	CHECK_KEV(got[0], 2, EVFILT_USER, EV_ADD | EV_RECEIPT | EV_ERROR, 0, 0,
	    NULL);
	/* They were not lost either. */
	CHECK_EQ(kevent(kq, NULL, 0, got, 8, &no_wait), 2);
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(no_events_come_in_a_call_that_returns_errors)
{
	int kq = open_queue();
	struct kevent got[8], k;
	add_user(kq, 1, EV_CLEAR);
	trigger(kq, 1);
	k = kev(2, EVFILT_USER, EV_DELETE, 0, 0, UDATA(7));
	CHECK_EQ(kevent(kq, &k, 1, got, 8, NULL), 1);
	CHECK_EQ(got[0].ident, 2);
	CHECK_EQ(got[0].flags, EV_DELETE | EV_ERROR);
	CHECK_EQ(got[0].data, ENOENT);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_call_that_returns_entries_does_not_wait)
{
	/* Nothing is pending and the timeout is endless: waiting would hang. */
	int kq = open_queue();
	struct kevent got[8], list[] = {
	    kev(1, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL),
	    kev(9, EVFILT_USER, EV_ENABLE, 0, 0, NULL),
	};
	CHECK_EQ(kevent(kq, list, 2, got, 8, NULL), 2);
	CHECK_EQ(got[0].data, 0);
	CHECK_EQ(got[1].data, ENOENT);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(an_entry_with_filter_zero_is_skipped)
{
	int kq = open_queue();
	struct kevent got[4], list[] = {
	    kev(1, 0, EV_DELETE | EV_RECEIPT, 0, 0, NULL),
	    kev(1, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL),
	    kev(~(uintptr_t)0, 0, EV_ENABLE | EV_DISABLE, ~0u, -1, NULL),
	    kev(2, EVFILT_USER, EV_ADD, 0, 0, NULL),
	};
	CHECK_EQ(kevent(kq, list, 4, got, 4, NULL), 1);
	CHECK_EQ(got[0].ident, 1);
	CHECK_EQ(got[0].filter, EVFILT_USER);
	delete_user(kq, 2);
	/* Alone, and without room: still nothing. */
	CHECK_EQ(kevent(kq, list, 1, NULL, 0, NULL), 0);
	CHECK_EQ(kevent(kq, list, 1, got, 4, &no_wait), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(system_bits_of_a_change_are_removed)
{
	int kq = open_queue();
	CHANGE(kq, 1, EVFILT_USER,
	    EV_ADD | EV_CLEAR | EV_EOF | EV_ERROR | EV_FLAG1 | 0x1000, 0, 0,
	    NULL);
	trigger(kq, 1);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	/* EV_ERROR in a change is no request for an entry. */
	CHANGE(kq, 1, EVFILT_USER, EV_ERROR, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(thousands_of_changes_with_failures_between)
{
	enum { COUNT = 5000 };
	static struct kevent list[COUNT], got[COUNT];
	int kq = open_queue(), i, n = 0;
	for (i = 0; i < COUNT; i++)
		list[i] = i % 7 == 3
		    ? kev((uintptr_t)i, EVFILT_USER, EV_DELETE, 0, 0, UDATA(i))
		    : kev((uintptr_t)i, EVFILT_USER, EV_ADD, 0, 0, UDATA(i));
	poison(got, COUNT);
	n = kevent(kq, list, COUNT, got, COUNT, NULL);
	CHECK_EQ(n, (COUNT + 3) / 7);
	for (i = 0; i < n; i++) {
		CHECK_EQ(got[i].ident, i * 7 + 3);
		CHECK_EQ(got[i].filter, EVFILT_USER);
		CHECK_EQ(got[i].flags, EV_DELETE | EV_ERROR);
		CHECK_EQ(got[i].data, ENOENT);
		CHECK(got[i].udata == UDATA(i * 7 + 3));
	}
	for (i = 0; i < COUNT; i++)
		if (i % 7 == 3)
			CHECK_ABSENT(kq, (uintptr_t)i, EVFILT_USER);
		else
			delete_user(kq, (uintptr_t)i);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_successful_call_leaves_errno_alone)
{
	int kq = open_queue(), sv[2];
	struct kevent got;
	struct kevent add = kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	struct kevent receipt = kev(1, EVFILT_USER, EV_RECEIPT, 0, 0, NULL);
	struct kevent bad = kev(9, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	struct timespec short_wait = {0, 1000000};
	open_pair(sv);
	errno = EXDEV;
	CHECK_EQ(kevent(kq, &add, 1, NULL, 0, NULL), 0);
	CHECK_EQ(errno, EXDEV);
	CHECK_EQ(kevent(kq, &receipt, 1, &got, 1, NULL), 1);
	CHECK_EQ(errno, EXDEV);
	/* A failure told by an entry is no failure of the call. */
	CHECK_EQ(kevent(kq, &bad, 1, &got, 1, NULL), 1);
	CHECK_EQ(errno, EXDEV);
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, &short_wait), 0);
	CHECK_EQ(errno, EXDEV);
	add = kev((uintptr_t)sv[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
	CHECK_EQ(kevent(kq, &add, 1, &got, 1, NULL), 1);
	CHECK_EQ(errno, EXDEV);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(two_queues_know_nothing_of_each_other)
{
	int a = open_queue(), b = open_queue();
	add_user(a, 1, EV_CLEAR);
	CHECK_FAILS(change(b, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL),
	    ENOENT);
	add_user(b, 1, 0);
	trigger(a, 1);
	expect_none(b);
	EXPECT(a, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHECK_EQ(close(a), 0);
	trigger(b, 1);
	EXPECT(b, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	CHECK_EQ(close(b), 0);
}

TEST(a_dup_is_the_same_queue)
{
	int kq = open_queue(), other;
	add_user(kq, 1, EV_CLEAR);
	other = dup(kq);
	CHECK(other >= 0);
	trigger(other, 1);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(other);
	/* The queue lives as long as either of them. */
	CHECK_EQ(close(kq), 0);
	trigger(other, 1);
	EXPECT(other, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(other);
	CHECK_EQ(close(other), 0);
}

/* ---- Receipts and errors ---- */

TEST(a_receipt_repeats_the_change)
{
	int kq = open_queue(), sv[2];
	struct kevent got, k;
	open_pair(sv);
	k = kev((uintptr_t)sv[0], EVFILT_READ,
	    EV_ADD | EV_CLEAR | EV_RECEIPT, 0, 0, UDATA(0xabcd));
	poison(&got, 1);
	CHECK_EQ(kevent(kq, &k, 1, &got, 1, NULL), 1);
	CHECK_EQ(got.ident, sv[0]);
	CHECK_EQ(got.filter, EVFILT_READ);
	CHECK_EQ(got.flags, EV_ADD | EV_CLEAR | EV_RECEIPT | EV_ERROR);
	CHECK_EQ(got.data, 0);
	CHECK(got.udata == UDATA(0xabcd));
	k = kev((uintptr_t)sv[0], EVFILT_READ, EV_DELETE | EV_RECEIPT, 0, 0,
	    UDATA(0x1234));
	CHECK_EQ(kevent(kq, &k, 1, &got, 1, NULL), 1);
	CHECK_EQ(got.flags, EV_DELETE | EV_RECEIPT | EV_ERROR);
	CHECK_EQ(got.data, 0);
	CHECK(got.udata == UDATA(0x1234));
	CHECK_ABSENT(kq, (uintptr_t)sv[0], EVFILT_READ);
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(an_error_entry_repeats_the_change)
{
	int kq = open_queue();
	struct kevent got, k = kev(0x7fffffff, EVFILT_READ, EV_ADD | EV_CLEAR,
	    0, 0, UDATA(0xabcd));
	poison(&got, 1);
	CHECK_EQ(kevent(kq, &k, 1, &got, 1, NULL), 1);
	CHECK_EQ(got.ident, 0x7fffffff);
	CHECK_EQ(got.filter, EVFILT_READ);
	CHECK_EQ(got.flags, EV_ADD | EV_CLEAR | EV_ERROR);
	CHECK_EQ(got.data, EBADF);
	CHECK(got.udata == UDATA(0xabcd));
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(receipts_come_with_room_to_spare)
{
	int kq = open_queue(), i;
	struct kevent got[10], list[3];
	for (i = 0; i < 3; i++)
		list[i] = kev((uintptr_t)i, EVFILT_USER, EV_ADD | EV_RECEIPT,
		    0, 0, UDATA(i));
	poison(got, 10);
	CHECK_EQ(kevent(kq, list, 3, got, 10, NULL), 3);
	for (i = 0; i < 3; i++) {
		CHECK_EQ(got[i].ident, i);
		CHECK_EQ(got[i].flags, EV_ADD | EV_RECEIPT | EV_ERROR);
		CHECK_EQ(got[i].data, 0);
		delete_user(kq, (uintptr_t)i);
	}
	/* The rest of the list was not touched. */
	CHECK_EQ((unsigned short)got[3].filter, 0xa5a5);
	CHECK_EQ(got[3].flags, 0xa5a5);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(receipts_fill_a_room_of_their_exact_size)
{
	int kq = open_queue(), i;
	struct kevent got[4], list[3];
	for (i = 0; i < 3; i++)
		list[i] = kev((uintptr_t)i, EVFILT_USER, EV_ADD | EV_RECEIPT,
		    0, 0, NULL);
	poison(got, 4);
	CHECK_EQ(kevent(kq, list, 3, got, 3, NULL), 3);
	for (i = 0; i < 3; i++) {
		CHECK_EQ(got[i].ident, i);
		CHECK_EQ(got[i].data, 0);
		delete_user(kq, (uintptr_t)i);
	}
	CHECK_EQ(got[3].flags, 0xa5a5);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(plain_changes_after_a_full_room_are_applied)
{
	int kq = open_queue();
	struct kevent got, list[] = {
	    kev(1, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL),
	    kev(2, EVFILT_USER, EV_ADD, 0, 0, NULL),
	    kev(3, EVFILT_USER, EV_ADD, 0, 0, NULL),
	};
	CHECK_EQ(kevent(kq, list, 3, &got, 1, NULL), 1);
	CHECK_EQ(got.ident, 1);
	delete_user(kq, 1);
	delete_user(kq, 2);
	delete_user(kq, 3);
	CHECK_EQ(close(kq), 0);
}

TEST(a_receipt_without_any_room_ends_the_call_with_zero)
{
	int kq = open_queue();
	struct kevent list[] = {
	    kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL),
	    kev(2, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL),
	    kev(3, EVFILT_USER, EV_ADD, 0, 0, NULL),
	};
	CHECK_EQ(kevent(kq, list, 3, NULL, 0, NULL), 0);
	delete_user(kq, 1);
	delete_user(kq, 2);
	CHECK_ABSENT(kq, 3, EVFILT_USER);
	CHECK_EQ(close(kq), 0);
}

TEST(a_receipt_beyond_the_room_ends_the_call_with_zero)
{
	int kq = open_queue();
	struct kevent got, list[] = {
	    kev(1, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL),
	    kev(2, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL),
	    kev(3, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL),
	};
	/* Nothing is pending: a call that went on to wait would hang. */
	CHECK_EQ(kevent(kq, list, 3, &got, 1, NULL), 0);
	delete_user(kq, 1);
	delete_user(kq, 2);
	CHECK_ABSENT(kq, 3, EVFILT_USER);
	CHECK_EQ(close(kq), 0);
}

TEST(a_failure_without_any_room_is_the_error_of_the_call)
{
	int kq = open_queue();
	struct kevent list[] = {
	    kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL),
	    kev(2, EVFILT_USER, EV_DELETE, 0, 0, NULL),
	    kev(3, EVFILT_USER, EV_ADD, 0, 0, NULL),
	};
	CHECK_FAILS(kevent(kq, list, 3, NULL, 0, NULL), ENOENT);
	delete_user(kq, 1);
	CHECK_ABSENT(kq, 3, EVFILT_USER);
	CHECK_EQ(close(kq), 0);
}

TEST(a_failure_beyond_the_room_is_the_error_of_the_call)
{
	int kq = open_queue();
	struct kevent got, list[] = {
	    kev(1, EVFILT_USER, EV_DELETE, 0, 0, NULL),
	    kev(2, EVFILT_USER, EV_ADD, 0, 0, NULL),
	    kev(0x7fffffff, EVFILT_READ, EV_ADD, 0, 0, NULL),
	    kev(3, EVFILT_USER, EV_ADD, 0, 0, NULL),
	};
	CHECK_FAILS(kevent(kq, list, 4, &got, 1, NULL), EBADF);
	delete_user(kq, 2);
	CHECK_ABSENT(kq, 3, EVFILT_USER);
	CHECK_EQ(close(kq), 0);
}

TEST(failures_and_receipts_mix_in_the_order_of_the_changes)
{
	int kq = open_queue();
	struct kevent got[8], list[] = {
	    kev(1, EVFILT_USER, EV_DELETE, 0, 0, UDATA(1)),
	    kev(2, EVFILT_USER, EV_ADD, 0, 0, UDATA(2)),
	    kev(3, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, UDATA(3)),
	    kev(0x7fffffff, EVFILT_WRITE, EV_ADD | EV_RECEIPT, 0, 0, UDATA(4)),
	    kev(5, EVFILT_TIMER, EV_ADD, 0, -1, UDATA(5)),
	    kev(6, EVFILT_USER, EV_ADD, 0, 0, UDATA(6)),
	    kev(3, EVFILT_USER, EV_DELETE | EV_RECEIPT, 0, 0, UDATA(7)),
	};
	static const struct {
		unsigned ident, flags, data, udata;
	} want[] = {
	    {1, EV_DELETE, ENOENT, 1},
	    {3, EV_ADD | EV_RECEIPT, 0, 3},
	    {0x7fffffff, EV_ADD | EV_RECEIPT, EBADF, 4},
	    {5, EV_ADD, EINVAL, 5},
	    {3, EV_DELETE | EV_RECEIPT, 0, 7},
	};
	int i;
	poison(got, 8);
	CHECK_EQ(kevent(kq, list, 7, got, 8, NULL), 5);
	for (i = 0; i < 5; i++) {
		CHECK_EQ(got[i].ident, want[i].ident);
		CHECK_EQ(got[i].flags, want[i].flags | EV_ERROR);
		CHECK_EQ(got[i].data, want[i].data);
		CHECK(got[i].udata == UDATA(want[i].udata));
	}
	delete_user(kq, 2);
	delete_user(kq, 6);
	CHECK_ABSENT(kq, 3, EVFILT_USER);
	CHECK_ABSENT(kq, 5, EVFILT_TIMER);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(one_array_may_hold_the_changes_and_take_the_entries)
{
	enum { COUNT = 50 };
	struct kevent list[COUNT];
	int kq = open_queue(), i;
	for (i = 0; i < COUNT; i++) {
		unsigned flags = i % 3 == 0 ? EV_ADD
		    : i % 3 == 1	    ? EV_ADD | EV_RECEIPT
					    : EV_DELETE;
		list[i] = kev((uintptr_t)i, EVFILT_USER, flags, 0, 0,
		    UDATA(i));
	}
	/* Two in three changes make an entry: 1, 2, 4, 5, 7, 8, ... */
	CHECK_EQ(kevent(kq, list, COUNT, list, COUNT, NULL), 33);
	for (i = 0; i < 33; i++) {
		int n = i / 2 * 3 + 1 + i % 2;
		CHECK_EQ(list[i].ident, n);
		CHECK(list[i].udata == UDATA(n));
		CHECK_EQ(list[i].data, n % 3 == 1 ? 0 : ENOENT);
		CHECK_EQ(list[i].flags,
		    n % 3 == 1 ? EV_ADD | EV_RECEIPT | EV_ERROR
			       : EV_DELETE | EV_ERROR);
	}
	/* Each change was read before an entry could overwrite it. */
	for (i = 0; i < COUNT; i++)
		if (i % 3 == 2)
			CHECK_ABSENT(kq, (uintptr_t)i, EVFILT_USER);
		else
			delete_user(kq, (uintptr_t)i);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(one_array_may_hold_the_changes_and_take_the_events)
{
	enum { COUNT = 20 };
	struct kevent list[COUNT];
	int kq = open_queue(), i;
	for (i = 0; i < COUNT; i++) {
		add_user(kq, (uintptr_t)i, EV_CLEAR);
		list[i] = kev((uintptr_t)i, EVFILT_USER, 0, NOTE_TRIGGER, i,
		    UDATA(i));
	}
	CHECK_EQ(kevent(kq, list, COUNT, list, COUNT, NULL), COUNT);
	for (i = 0; i < COUNT; i++)
		CHECK_KEV(list[i], (uintptr_t)i, EVFILT_USER,
		    EV_ADD | EV_CLEAR, 0, i, UDATA(i));
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(ev_receipt_of_the_first_add_stays_in_the_flags)
{
	int kq = open_queue();
	struct kevent got,
	    k = kev(1, EVFILT_USER, EV_ADD | EV_CLEAR | EV_RECEIPT, 0, 0, NULL);
	CHECK_EQ(kevent(kq, &k, 1, &got, 1, NULL), 1);
	/* A change without the flag gets no receipt, whatever the knote has. */
	k = kev(1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	CHECK_EQ(kevent(kq, &k, 1, &got, 1, NULL), 1);
	CHECK_KEV(got, 1, EVFILT_USER, EV_ADD | EV_CLEAR | EV_RECEIPT, 0, 0,
	    NULL);
	add_user(kq, 1, 0);
	trigger(kq, 1);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR | EV_RECEIPT, 0, 0, NULL);
	/* And one asked for later does not. */
	add_user(kq, 2, EV_CLEAR);
	k = kev(2, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL);
	CHECK_EQ(kevent(kq, &k, 1, &got, 1, NULL), 1);
	CHECK_EQ(got.flags, EV_ADD | EV_RECEIPT | EV_ERROR);
	trigger(kq, 2);
	EXPECT(kq, 2, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* ---- Timeouts ---- */

TEST(a_zero_timeout_only_looks)
{
	int kq = open_queue(), i;
	for (i = 0; i < 2000; i++)
		expect_none(kq);
	add_user(kq, 1, 0);
	trigger(kq, 1);
	for (i = 0; i < 100; i++) {
		struct kevent got;
		CHECK_EQ(kevent(kq, NULL, 0, &got, 1, &no_wait), 1);
		CHECK_EQ(got.ident, 1);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(a_timeout_never_ends_early)
{
	static const long long asked[] = {1, 2, 999, 1000, 1001, 10000, 99999,
	    100000, 250000, 499999, 500000, 500001, 900001, 999999, 1000000,
	    1000001, 1499999, 1500000, 1999999, 2000000, 2000001, 9999999,
	    10000001, 33333333, 100000007};
	int kq = open_queue();
	size_t i, round;
	for (round = 0; round < 3; round++)
		for (i = 0; i < sizeof asked / sizeof *asked; i++) {
			struct timespec ts = {0, (long)asked[i]};
			struct kevent got;
			int64_t start = now_ns(), took;
			CHECK_EQ(kevent(kq, NULL, 0, &got, 1, &ts), 0);
			took = now_ns() - start;
			if (took < asked[i])
				FAIL("asked for %lld ns, waited %lld",
				    asked[i], (long long)took);
		}
	CHECK_EQ(close(kq), 0);
}

TEST(a_timeout_beyond_a_second_never_ends_early)
{
	int kq = open_queue();
	struct timespec ts = {1, 1};
	struct kevent got;
	int64_t start = now_ns();
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, &ts), 0);
	CHECK(now_ns() - start >= 1000000001);
	CHECK_EQ(close(kq), 0);
}

TEST(a_wait_does_not_keep_the_processor_busy)
{
	int kq = open_queue(), sv[2];
	struct timespec ts = ms_to_ts(600);
	struct kevent got;
	int64_t before;
	open_pair(sv);
	/* Each of these is ready, and none may be told. */
	add_user(kq, 1, EV_DISABLE);
	trigger(kq, 1);
	put(sv[1], 10);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD | EV_DISABLE, 0, 0,
	    NULL);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_WRITE, EV_ADD | EV_DISPATCH, 0, 0,
	    NULL);
	CHANGE(kq, (uintptr_t)sv[1], EVFILT_WRITE, EV_ADD | EV_CLEAR, 0, 0,
	    NULL);
	CHANGE(kq, (uintptr_t)sv[1], EVFILT_READ, EV_ADD, NOTE_LOWAT, 100,
	    NULL);
	put(sv[0], 50);
	while (kevent(kq, NULL, 0, &got, 1, &no_wait) == 1)
		CHECK_EQ(got.filter, EVFILT_WRITE);
	before = cpu_ns();
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, &ts), 0);
	CHECK(cpu_ns() - before < MS(300));
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(no_timeout_waits_until_something_happens)
{
	int kq = open_queue();
	struct waiter w;
	add_user(kq, 1, EV_CLEAR);
	waiter_start(&w, kq, NULL);
	trigger(kq, 1);
	CHECK_KEV(waiter_event(&w), 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0,
	    NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(seconds_beyond_32_bits_wait_for_ever)
{
	static const struct timespec lengths[] = {
	    {INT32_MAX, 999999999},
	    {(time_t)INT32_MAX + 1, 0},
	    {(time_t)UINT32_MAX + 1, 0},
	    {(time_t)(INT64_MAX / 1000000000), 999999999},
	    {(time_t)(INT64_MAX / 1000000000) + 1, 0},
	    {(time_t)(INT64_MAX / 1000) + 1, 999999999},
	    {(time_t)INT64_MAX, 999999999},
	};
	int kq = open_queue();
	size_t i;
	add_user(kq, 1, EV_CLEAR);
	for (i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		struct waiter w;
		waiter_start(&w, kq, &lengths[i]);
		trigger(kq, 1);
		CHECK_KEV(waiter_event(&w), 1, EVFILT_USER,
		    EV_ADD | EV_CLEAR, 0, 0, NULL);
	}
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(invalid_timeouts_are_einval_and_nothing_is_lost)
{
	static const struct timespec bad[] = {{-1, 0}, {0, -1},
	    {0, 1000000000}, {1, 1000000000}, {-1, 999999999}, {-1, -1},
	    {0, LONG_MAX}, {0, LONG_MIN}, {(time_t)INT64_MIN, 0},
	    {(time_t)INT64_MAX, -1}};
	int kq = open_queue();
	struct kevent got;
	size_t i;
	add_user(kq, 1, EV_CLEAR);
	trigger(kq, 1);
	/* Also when an event is there already. */
	for (i = 0; i < sizeof bad / sizeof *bad; i++)
		CHECK_FAILS(kevent(kq, NULL, 0, &got, 1, &bad[i]), EINVAL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	for (i = 0; i < sizeof bad / sizeof *bad; i++)
		CHECK_FAILS(kevent(kq, NULL, 0, &got, 1, &bad[i]), EINVAL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_pending_event_ends_even_an_endless_wait_at_once)
{
	int kq = open_queue(), sv[2];
	struct kevent got;
	open_pair(sv);
	add_user(kq, 1, EV_ONESHOT);
	trigger(kq, 1);
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, NULL), 1);
	CHECK_EQ(got.ident, 1);
	put(sv[1], 1);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD | EV_ONESHOT, 0, 0,
	    NULL);
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, NULL), 1);
	CHECK_EQ(got.ident, sv[0]);
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(what_turned_out_false_does_not_end_the_wait)
{
	int kq = open_queue(), sv[2];
	struct timespec ts = ms_to_ts(60);
	struct kevent got;
	int64_t start;
	open_pair(sv);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	add_user(kq, 1, 0);
	put(sv[1], 1);
	trigger(kq, 1);
	take(sv[0], 1);
	CHANGE(kq, 1, EVFILT_USER, EV_CLEAR, 0, 0, NULL);
	start = now_ns();
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, &ts), 0);
	CHECK(now_ns() - start >= MS(60));
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

/* ---- Signals ---- */

static atomic_int handled;

static void
count_signal(int signo)
{
	(void)signo;
	atomic_fetch_add(&handled, 1);
}

/* Sends a signal to one thread again and again, as one may be too early. */
struct sender {
	pthread_t thread, target;
	atomic_int stop;
};

static void *
sender_main(void *arg)
{
	struct sender *s = arg;
	while (!atomic_load(&s->stop)) {
		CHECK_EQ(pthread_kill(s->target, SIGUSR1), 0);
		let_pass(3000000);
	}
	return NULL;
}

static void
sender_start(struct sender *s)
{
	s->target = pthread_self();
	atomic_store(&s->stop, 0);
	CHECK_EQ(pthread_create(&s->thread, NULL, sender_main, s), 0);
}

static void
sender_stop(struct sender *s)
{
	atomic_store(&s->stop, 1);
	CHECK_EQ(pthread_join(s->thread, NULL), 0);
}

static void
set_handler(void (*handler)(int), int flags)
{
	struct sigaction sa;
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = handler;
	sa.sa_flags = flags;
	sigemptyset(&sa.sa_mask);
	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
}

static void
interrupt_a_wait(int sa_flags)
{
	int kq = open_queue();
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	struct kevent got, list[] = {
	    kev(1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL),
	    kev(2, EVFILT_USER, EV_ADD, 0, 0, NULL),
	};
	struct sender s;
	set_handler(count_signal, sa_flags);
	sender_start(&s);
	CHECK_FAILS(kevent(kq, NULL, 0, &got, 1, &ts), EINTR);
	CHECK_FAILS(kevent(kq, NULL, 0, &got, 1, NULL), EINTR);
	/* The changes of an interrupted call are applied. */
	CHECK_FAILS(kevent(kq, list, 2, &got, 1, &ts), EINTR);
	sender_stop(&s);
	CHECK(atomic_load(&handled) >= 3);
	trigger(kq, 1);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	delete_user(kq, 2);
	expect_none(kq);
	set_handler(SIG_DFL, 0);
	CHECK_EQ(close(kq), 0);
}

TEST(a_handler_interrupts_the_wait)
{
	interrupt_a_wait(0);
}

TEST(a_handler_with_sa_restart_interrupts_the_wait)
{
	interrupt_a_wait(SA_RESTART);
}

TEST(a_signal_that_is_ignored_does_not_end_the_wait)
{
	int kq = open_queue();
	struct timespec ts = ms_to_ts(100);
	struct kevent got;
	struct sender s;
	int64_t start;
	set_handler(SIG_IGN, 0);
	sender_start(&s);
	start = now_ns();
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, &ts), 0);
	CHECK(now_ns() - start >= MS(100));
	sender_stop(&s);
	set_handler(SIG_DFL, 0);
	CHECK_EQ(close(kq), 0);
}

TEST(a_signal_that_is_blocked_does_not_end_the_wait)
{
	int kq = open_queue();
	struct timespec ts = ms_to_ts(100);
	struct kevent got;
	struct sender s;
	sigset_t set, old;
	int64_t start;
	set_handler(count_signal, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, &old), 0);
	sender_start(&s);
	start = now_ns();
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, &ts), 0);
	CHECK(now_ns() - start >= MS(100));
	sender_stop(&s);
	CHECK_EQ(atomic_load(&handled), 0);
	CHECK_EQ(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
	CHECK_EQ(atomic_load(&handled), 1);
	set_handler(SIG_DFL, 0);
	CHECK_EQ(close(kq), 0);
}

static int handler_writes_to;

static void
write_in_handler(int signo)
{
	int saved = errno;
	(void)signo;
	if (write(handler_writes_to, "x", 1) == 1)
		atomic_fetch_add(&handled, 1);
	errno = saved;
}

TEST(an_event_that_a_handler_makes_is_not_lost)
{
	int kq = open_queue(), sv[2], n, told = 0;
	struct kevent got;
	struct sender s;
	open_pair(sv);
	handler_writes_to = sv[1];
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0,
	    NULL);
	set_handler(write_in_handler, 0);
	sender_start(&s);
	n = kevent(kq, NULL, 0, &got, 1, NULL);
	if (n == 1)
		told++;
	else
		CHECK_EQ(errno, EINTR);
	sender_stop(&s);
	set_handler(SIG_IGN, 0);
	/* The rest, if the bytes came after the event or EINTR came first. */
	if (kevent(kq, NULL, 0, &got, 1, &no_wait) == 1)
		told++;
	CHECK(told >= 1);
	CHECK_EQ(got.ident, sv[0]);
	expect_none(kq);
	set_handler(SIG_DFL, 0);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

/* ---- Cancellation ---- */

TEST(a_thread_can_be_cancelled_while_it_waits)
{
	int kq = open_queue();
	struct waiter w;
	void *result;
	add_user(kq, 1, EV_CLEAR);
	waiter_start(&w, kq, NULL);
	CHECK_EQ(pthread_cancel(w.thread), 0);
	CHECK_EQ(pthread_join(w.thread, &result), 0);
	CHECK(result == PTHREAD_CANCELED);
	/* Nothing stayed locked, nothing was lost. */
	trigger(kq, 1);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

struct cancelled {
	int kq, nevents;
	struct kevent change;
	int returned;
};

/* Calls kevent() with its own cancellation pending. */
static void *
call_when_cancelled(void *arg)
{
	struct cancelled *c = arg;
	struct kevent got;
	CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL), 0);
	CHECK_EQ(pthread_cancel(pthread_self()), 0);
	CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL), 0);
	c->returned = kevent(c->kq, &c->change, 1, &got, c->nevents, &no_wait);
	CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL), 0);
	return NULL;
}

TEST(a_call_without_room_for_events_is_no_cancellation_point)
{
	int kq = open_queue();
	struct cancelled c = {kq, 0, kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL),
	    77};
	pthread_t thread;
	void *result;
	CHECK_EQ(pthread_create(&thread, NULL, call_when_cancelled, &c), 0);
	CHECK_EQ(pthread_join(thread, &result), 0);
	CHECK(result == NULL);
	CHECK_EQ(c.returned, 0);
	delete_user(kq, 1);
	CHECK_EQ(close(kq), 0);
}

TEST(a_cancelled_thread_applies_no_change)
{
	int kq = open_queue();
	struct cancelled c = {kq, 1, kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL),
	    77};
	pthread_t thread;
	void *result;
	CHECK_EQ(pthread_create(&thread, NULL, call_when_cancelled, &c), 0);
	CHECK_EQ(pthread_join(thread, &result), 0);
	CHECK(result == PTHREAD_CANCELED);
	CHECK_EQ(c.returned, 77);
	CHECK_ABSENT(kq, 1, EVFILT_USER);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_wait_that_applied_changes_is_no_cancellation_point)
{
	/* The caller would never learn that its changes were applied. */
	int kq = open_queue();
	struct kevent add = kev(1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	struct waiter w;
	void *result;
	memset(&w, 0, sizeof w);
	w.kq = kq;
	w.changes = &add;
	w.nchanges = 1;
	w.timeout = &ts;
	CHECK_EQ(pthread_create(&w.thread, NULL, waiter_main, &w), 0);
	wait_until_asleep(&w.tid);
	WAIT_FOR(change(kq, 1, EVFILT_USER, 0, 0, 0, NULL) == 0);
	CHECK_EQ(pthread_cancel(w.thread), 0);
	trigger(kq, 1);
	CHECK_EQ(pthread_join(w.thread, &result), 0);
	CHECK(result == NULL);
	CHECK_EQ(w.returned, 1);
	CHECK_KEV(w.event, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* ---- Collecting ---- */

TEST(more_than_512_user_events_come_in_one_call)
{
	enum { COUNT = 3000 };
	static struct kevent got[COUNT + 10];
	static char seen[COUNT];
	int kq = open_queue(), i;
	for (i = 0; i < COUNT; i++) {
		add_user(kq, (uintptr_t)i, EV_CLEAR);
		trigger(kq, (uintptr_t)i);
	}
	CHECK_EQ(kevent(kq, NULL, 0, got, COUNT + 10, NULL), COUNT);
	for (i = 0; i < COUNT; i++) {
		CHECK(got[i].ident < COUNT);
		CHECK_EQ(seen[got[i].ident]++, 0);
	}
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(more_than_512_descriptors_come_in_one_call)
{
	enum { COUNT = 700 };
	static struct kevent got[3 * COUNT];
	static int fds[COUNT];
	static char seen[100000];
	struct rlimit limit;
	int kq, i, n;
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur < COUNT + 400) {
		limit.rlim_cur = limit.rlim_max;
		CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	}
	if (limit.rlim_cur < COUNT + 400)
		SKIP("the limit of open descriptors is too low");
	kq = open_queue();
	for (i = 0; i < COUNT; i++) {
		fds[i] = eventfd(1, EFD_CLOEXEC);
		CHECK(fds[i] >= 0 && fds[i] < (int)sizeof seen);
		CHANGE(kq, (uintptr_t)fds[i], EVFILT_READ, EV_ADD, 0, 0, NULL);
	}
	n = kevent(kq, NULL, 0, got, 3 * COUNT, NULL);
	CHECK_EQ(n, COUNT);
	for (i = 0; i < COUNT; i++) {
		CHECK_EQ(got[i].filter, EVFILT_READ);
		CHECK_EQ(seen[got[i].ident]++, 0);
	}
	/* Together with as many that no descriptor stands for. */
	for (i = 0; i < COUNT; i++) {
		add_user(kq, (uintptr_t)i, EV_CLEAR);
		trigger(kq, (uintptr_t)i);
	}
	CHECK_EQ(kevent(kq, NULL, 0, got, 3 * COUNT, NULL), 2 * COUNT);
	for (i = 0; i < COUNT; i++)
		CHECK_EQ(close(fds[i]), 0);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_knote_comes_once_a_call)
{
	int kq = open_queue(), sv[2], round;
	struct kevent got[64];
	open_pair(sv);
	put(sv[1], 3);
	add_user(kq, 1, 0);
	trigger(kq, 1);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	for (round = 0; round < 20; round++) {
		CHECK_EQ(kevent(kq, NULL, 0, got, 64, NULL), 2);
		CHECK(got[0].filter != got[1].filter);
	}
	close_pair(sv);
	delete_user(kq, 1);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(read_and_write_of_one_descriptor_are_two_events)
{
	int kq = open_queue(), sv[2], i;
	struct kevent got[4];
	open_pair(sv);
	put(sv[1], 3);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD, 0, 0, UDATA(1));
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_WRITE, EV_ADD, 0, 0, UDATA(2));
	CHECK_EQ(kevent(kq, NULL, 0, got, 4, NULL), 2);
	for (i = 0; i < 2; i++) {
		CHECK_EQ(got[i].ident, sv[0]);
		CHECK(got[i].udata ==
		    UDATA(got[i].filter == EVFILT_READ ? 1 : 2));
	}
	CHECK(got[0].filter != got[1].filter);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_WRITE, EV_DELETE, 0, 0, NULL);
	CHECK_EQ(kevent(kq, NULL, 0, got, 4, NULL), 1);
	CHECK_KEV(got[0], (uintptr_t)sv[0], EVFILT_READ, EV_ADD, 0, 3,
	    UDATA(1));
	close_pair(sv);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(events_come_in_the_order_of_their_activation)
{
	static const unsigned order[] = {5, 1, 4, 2, 3, 0};
	int kq = open_queue();
	struct kevent got[8];
	size_t i;
	for (i = 0; i < 6; i++)
		add_user(kq, i, EV_CLEAR);
	for (i = 0; i < 6; i++)
		trigger(kq, order[i]);
	/* One that is waiting already keeps its place. */
	trigger(kq, 5);
	CHECK_EQ(kevent(kq, NULL, 0, got, 8, NULL), 6);
	for (i = 0; i < 6; i++)
		CHECK_EQ(got[i].ident, order[i]);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(what_finds_no_room_comes_in_the_next_call)
{
	int kq = open_queue(), i, n, next = 0;
	struct kevent got[3];
	for (i = 0; i < 10; i++) {
		add_user(kq, (uintptr_t)i, EV_CLEAR);
		trigger(kq, (uintptr_t)i);
	}
	while (next < 10) {
		n = kevent(kq, NULL, 0, got, 3, &no_wait);
		CHECK_EQ(n, next < 9 ? 3 : 1);
		for (i = 0; i < n; i++)
			CHECK_EQ(got[i].ident, next++);
	}
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

enum { MANY = 12 };

/*
 * One event a call, with so many user events and so many sockets ready and
 * staying so: each must come within so many calls.
 */
static void
rotate(int users, int pairs, int calls)
{
	int kq = open_queue(), sv[MANY][2], i, n, seen[2 * MANY] = {0};
	CHECK(users <= MANY && pairs <= MANY);
	for (i = 0; i < users; i++) {
		CHANGE(kq, (uintptr_t)i, EVFILT_USER, EV_ADD, 0, 0, NULL);
		CHANGE(kq, (uintptr_t)i, EVFILT_USER, 0, NOTE_TRIGGER, 0,
		    UDATA(i));
	}
	for (i = 0; i < pairs; i++) {
		open_pair(sv[i]);
		put(sv[i][1], 1);
		CHANGE(kq, (uintptr_t)sv[i][0], EVFILT_READ, EV_ADD, 0, 0,
		    UDATA(MANY + i));
	}
	for (n = 0; n < calls; n++) {
		uintptr_t who = (uintptr_t)next_event(kq).udata;
		CHECK(who < 2 * MANY);
		seen[who]++;
	}
	for (i = 0; i < users; i++)
		if (seen[i] == 0)
			FAIL("user event %d never came in %d calls", i, calls);
	for (i = 0; i < pairs; i++)
		if (seen[MANY + i] == 0)
			FAIL("socket %d never came in %d calls", i, calls);
	for (i = 0; i < users; i++)
		delete_user(kq, (uintptr_t)i);
	for (i = 0; i < pairs; i++)
		close_pair(sv[i]);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(user_events_take_turns)
{
	rotate(MANY, 0, MANY);
	rotate(MANY, 0, 3 * MANY);
}

TEST(descriptors_take_turns)
{
	rotate(0, MANY, MANY);
	rotate(0, MANY, 3 * MANY);
}

/* Both kinds share the room: neither starves, however unequal they are. */
TEST(user_events_and_descriptors_take_turns)
{
	rotate(MANY, MANY, 8 * MANY);
	rotate(1, MANY, 4 * (MANY + 1));
	rotate(MANY, 1, 4 * (MANY + 1));
	rotate(1, 1, 4);
}

TEST(timers_user_events_and_descriptors_take_turns)
{
	int kq = open_queue(), sv[2], i, seen[3] = {0};
	open_pair(sv);
	put(sv[1], 1);
	add_user(kq, 1, 0);
	CHANGE(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, UDATA(0));
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD, 0, 0, UDATA(1));
	/* A moment long past: due at every call. */
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, NOTE_SECONDS | NOTE_ABSTIME, 1,
	    UDATA(2));
	for (i = 0; i < 12; i++) {
		uintptr_t who = (uintptr_t)next_event(kq).udata;
		CHECK(who < 3);
		seen[who]++;
	}
	for (i = 0; i < 3; i++)
		CHECK(seen[i] > 0);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(a_cause_that_went_away_is_not_told)
{
	int kq = open_queue(), sv[2];
	open_pair(sv);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	put(sv[1], 2);
	take(sv[0], 2);
	expect_none(kq);
	put(sv[1], 3);
	EXPECT(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD, 0, 3, NULL);
	take(sv[0], 3);
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(many_changes_of_the_object_are_one_event)
{
	int kq = open_queue(), sv[2], i;
	open_pair(sv);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0,
	    NULL);
	for (i = 0; i < 5; i++)
		put(sv[1], 2);
	EXPECT(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 10,
	    NULL);
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

/* ---- Several threads in one queue ---- */

/*
 * A round may leave one byte unread, and a socket buffer takes fewer than 280
 * single bytes.
 */
enum { CREW = 4, ROUNDS = 200, STOP = 0x5709 };

/* Threads that collect one event a call until the level event STOP comes. */
struct crew {
	int kq;
	pthread_t thread[CREW];
	atomic_int tid[CREW], started, delivered;
};

static void *
crew_main(void *arg)
{
	struct crew *c = arg;
	atomic_store(&c->tid[atomic_fetch_add(&c->started, 1)],
	    (int)syscall(SYS_gettid));
	for (;;) {
		struct kevent k = next_event(c->kq);
		if (k.filter == EVFILT_USER && k.ident == STOP)
			return NULL;
		atomic_fetch_add(&c->delivered, 1);
	}
}

static void
crew_start(struct crew *c, int kq)
{
	int i;
	memset(c, 0, sizeof *c);
	c->kq = kq;
	add_user(kq, STOP, 0);
	for (i = 0; i < CREW; i++)
		CHECK_EQ(pthread_create(&c->thread[i], NULL, crew_main, c), 0);
	for (i = 0; i < CREW; i++)
		wait_until_asleep(&c->tid[i]);
}

/* All threads get the level event; nothing else may have come twice. */
static void
crew_stop(struct crew *c, int delivered)
{
	int i;
	trigger(c->kq, STOP);
	for (i = 0; i < CREW; i++)
		CHECK_EQ(pthread_join(c->thread[i], NULL), 0);
	CHECK_EQ(atomic_load(&c->delivered), delivered);
	delete_user(c->kq, STOP);
	expect_none(c->kq);
}

/* Each round applies cause and must be one event for one thread. */
static void
one_of_many(int kq, const struct kevent *cause, int count, int byte_to)
{
	struct crew c;
	int i;
	crew_start(&c, kq);
	for (i = 0; i < ROUNDS; i++) {
		if (byte_to >= 0)
			put(byte_to, 1);
		CHECK_EQ(kevent(kq, cause, count, NULL, 0, NULL), 0);
		WAIT_FOR(atomic_load(&c.delivered) > i);
		CHECK_EQ(atomic_load(&c.delivered), i + 1);
	}
	crew_stop(&c, ROUNDS);
}

TEST(a_clear_user_event_reaches_one_of_many_threads)
{
	int kq = open_queue();
	struct kevent cause = kev(1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	add_user(kq, 1, EV_CLEAR);
	one_of_many(kq, &cause, 1, -1);
	CHECK_EQ(close(kq), 0);
}

TEST(a_oneshot_user_event_reaches_one_of_many_threads)
{
	int kq = open_queue();
	struct kevent cause[] = {
	    kev(1, EVFILT_USER, EV_ADD | EV_ONESHOT, 0, 0, NULL),
	    kev(1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL),
	};
	one_of_many(kq, cause, 2, -1);
	CHECK_ABSENT(kq, 1, EVFILT_USER);
	CHECK_EQ(close(kq), 0);
}

TEST(a_dispatch_user_event_reaches_one_of_many_threads)
{
	int kq = open_queue();
	struct kevent cause =
	    kev(1, EVFILT_USER, EV_ENABLE, NOTE_TRIGGER, 0, NULL);
	CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_DISABLE | EV_DISPATCH, 0, 0,
	    NULL);
	one_of_many(kq, &cause, 1, -1);
	CHECK_EQ(close(kq), 0);
}

TEST(a_clear_descriptor_event_reaches_one_of_many_threads)
{
	int kq = open_queue(), sv[2];
	open_pair(sv);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0,
	    NULL);
	one_of_many(kq, NULL, 0, sv[1]);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(a_oneshot_descriptor_event_reaches_one_of_many_threads)
{
	int kq = open_queue(), sv[2];
	struct kevent cause;
	open_pair(sv);
	put(sv[1], 1);
	cause = kev((uintptr_t)sv[0], EVFILT_READ, EV_ADD | EV_ONESHOT, 0, 0,
	    NULL);
	one_of_many(kq, &cause, 1, -1);
	CHECK_ABSENT(kq, (uintptr_t)sv[0], EVFILT_READ);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(a_dispatch_descriptor_event_reaches_one_of_many_threads)
{
	int kq = open_queue(), sv[2];
	struct kevent cause;
	open_pair(sv);
	put(sv[1], 1);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ,
	    EV_ADD | EV_DISABLE | EV_DISPATCH, 0, 0, NULL);
	cause = kev((uintptr_t)sv[0], EVFILT_READ, EV_ENABLE, 0, 0, NULL);
	one_of_many(kq, &cause, 1, -1);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(a_oneshot_timer_reaches_one_of_many_threads)
{
	int kq = open_queue();
	struct kevent cause = kev(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
	    NOTE_USECONDS, 100, NULL);
	one_of_many(kq, &cause, 1, -1);
	CHECK_ABSENT(kq, 1, EVFILT_TIMER);
	CHECK_EQ(close(kq), 0);
}

TEST(a_level_event_reaches_every_thread)
{
	int kq = open_queue(), sv[2], i;
	struct waiter w[CREW];
	open_pair(sv);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	for (i = 0; i < CREW; i++)
		waiter_start(&w[i], kq, NULL);
	put(sv[1], 4);
	for (i = 0; i < CREW; i++)
		CHECK_KEV(waiter_event(&w[i]), (uintptr_t)sv[0], EVFILT_READ,
		    EV_ADD, 0, 4, NULL);
	close_pair(sv);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* No wake-up is lost: as many sleepers as events, each event for one. */
TEST(several_events_wake_several_threads)
{
	int round;
	for (round = 0; round < 20; round++) {
		int kq = open_queue(), sv[2], i, seen = 0;
		struct waiter w[CREW];
		open_pair(sv);
		for (i = 1; i < CREW; i++)
			add_user(kq, (uintptr_t)i, EV_CLEAR);
		CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0,
		    0, NULL);
		for (i = 0; i < CREW; i++)
			waiter_start(&w[i], kq, NULL);
		put(sv[1], 1);
		for (i = 1; i < CREW; i++)
			trigger(kq, (uintptr_t)i);
		for (i = 0; i < CREW; i++) {
			struct kevent k = waiter_event(&w[i]);
			int bit = k.filter == EVFILT_READ ? 0 : (int)k.ident;
			CHECK(bit < CREW);
			CHECK_EQ(seen & 1 << bit, 0);
			seen |= 1 << bit;
		}
		CHECK_EQ(seen, (1 << CREW) - 1);
		expect_none(kq);
		close_pair(sv);
		CHECK_EQ(close(kq), 0);
	}
}

/* Triggers that came in one call, while all slept, wake enough of them. */
TEST(one_call_with_several_triggers_wakes_several_threads)
{
	int round;
	for (round = 0; round < 20; round++) {
		int kq = open_queue(), i, seen = 0;
		struct waiter w[CREW];
		struct kevent cause[CREW];
		for (i = 0; i < CREW; i++) {
			add_user(kq, (uintptr_t)i, EV_CLEAR);
			cause[i] = kev((uintptr_t)i, EVFILT_USER, 0,
			    NOTE_TRIGGER, 0, NULL);
		}
		for (i = 0; i < CREW; i++)
			waiter_start(&w[i], kq, NULL);
		CHECK_EQ(kevent(kq, cause, CREW, NULL, 0, NULL), 0);
		for (i = 0; i < CREW; i++)
			seen |= 1 << waiter_event(&w[i]).ident;
		CHECK_EQ(seen, (1 << CREW) - 1);
		expect_none(kq);
		CHECK_EQ(close(kq), 0);
	}
}

TEST(changes_by_one_thread_wake_another)
{
	int kq = open_queue(), sv[2];
	struct waiter w;
	open_pair(sv);
	put(sv[1], 2);
	/* A knote that is ready when it is added, */
	waiter_start(&w, kq, NULL);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD | EV_DISPATCH, 0, 0,
	    NULL);
	CHECK_KEV(waiter_event(&w), (uintptr_t)sv[0], EVFILT_READ,
	    EV_ADD | EV_DISPATCH, 0, 2, NULL);
	/* one that is enabled, */
	waiter_start(&w, kq, NULL);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ENABLE, 0, 0, UDATA(5));
	CHECK_KEV(waiter_event(&w), (uintptr_t)sv[0], EVFILT_READ,
	    EV_ADD | EV_DISPATCH, 0, 2, UDATA(5));
	/* and one that is forced. */
	add_user(kq, 3, 0);
	waiter_start(&w, kq, NULL);
	CHANGE(kq, 3, EVFILT_USER, EV_FORCEONESHOT, 0, 0, NULL);
	CHECK_EQ(waiter_event(&w).ident, 3);
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

/* ---- Flags ---- */

TEST(unknown_flag_bits_are_kept)
{
	int kq = open_queue();
	add_user(kq, 1, EV_CLEAR | 0x0800);
	trigger(kq, 1);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR | 0x0800, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* A second EV_ADD turns CLEAR, ONESHOT and DISPATCH neither on nor off. */
TEST(a_second_add_does_not_turn_modes_on)
{
	static const unsigned modes[] = {EV_CLEAR, EV_ONESHOT, EV_DISPATCH};
	int kq = open_queue(), sv[2], i, round;
	open_pair(sv);
	put(sv[1], 2);
	for (i = 0; i < 3; i++) {
		uintptr_t fd = (uintptr_t)sv[0];
		CHANGE(kq, fd, EVFILT_READ, EV_ADD, 0, 0, NULL);
		CHANGE(kq, fd, EVFILT_READ, EV_ADD | modes[i], 0, 0, UDATA(i));
		for (round = 0; round < 3; round++)
			EXPECT(kq, fd, EVFILT_READ, EV_ADD, 0, 2, UDATA(i));
		CHANGE(kq, fd, EVFILT_READ, EV_DELETE, 0, 0, NULL);
		expect_none(kq);
	}
	for (i = 1; i < 3; i++) {
		add_user(kq, 7, 0);
		CHANGE(kq, 7, EVFILT_USER, EV_ADD | modes[i], NOTE_TRIGGER, 0,
		    NULL);
		for (round = 0; round < 3; round++)
			EXPECT(kq, 7, EVFILT_USER, EV_ADD, 0, 0, NULL);
		delete_user(kq, 7);
		expect_none(kq);
	}
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(a_second_add_does_not_turn_modes_off)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD, 0, 0, UDATA(1));
	put(sv[1], 2);
	EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 2, UDATA(1));
	expect_none(kq);
	CHANGE(kq, fd, EVFILT_READ, EV_DELETE, 0, 0, NULL);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_DISPATCH | EV_DISABLE, 0, 0,
	    NULL);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_ENABLE, 0, 0, UDATA(2));
	EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_DISPATCH, 0, 2, UDATA(2));
	expect_none(kq);
	CHANGE(kq, fd, EVFILT_READ, EV_DELETE, 0, 0, NULL);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_ONESHOT | EV_DISABLE, 0, 0,
	    NULL);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_ENABLE, 0, 0, UDATA(3));
	EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_ONESHOT, 0, 2, UDATA(3));
	expect_none(kq);
	CHECK_ABSENT(kq, fd, EVFILT_READ);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(a_second_add_of_a_plain_knote_is_an_update)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	put(sv[1], 5);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD, 0, 0, UDATA(1));
	CHANGE(kq, fd, EVFILT_READ, EV_ADD, 0, 0, UDATA(2));
	EXPECT(kq, fd, EVFILT_READ, EV_ADD, 0, 5, UDATA(2));
	/* The mark is the new one; what was pending is looked at again. */
	CHANGE(kq, fd, EVFILT_READ, EV_ADD, NOTE_LOWAT, 6, UDATA(3));
	expect_none(kq);
	put(sv[1], 1);
	EXPECT(kq, fd, EVFILT_READ, EV_ADD, 0, 6, UDATA(3));
	CHANGE(kq, fd, EVFILT_WRITE, EV_ADD, 0, 0, UDATA(4));
	CHANGE(kq, fd, EVFILT_WRITE, EV_ADD, 0, 0, UDATA(5));
	CHANGE(kq, fd, EVFILT_READ, EV_DELETE, 0, 0, NULL);
	CHECK(next_event(kq).udata == UDATA(5));
	close_pair(sv);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_pending_event_comes_with_the_newest_udata)
{
	int kq = open_queue(), sv[2];
	open_pair(sv);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0,
	    UDATA(1));
	put(sv[1], 5);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD, 0, 0, UDATA(2));
	EXPECT(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 5,
	    UDATA(2));
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(a_second_add_leaves_a_disabled_knote_disabled)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	put(sv[1], 2);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_DISABLE, 0, 0, NULL);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD, 0, 0, UDATA(1));
	expect_none(kq);
	add_user(kq, 1, EV_DISABLE);
	CHANGE(kq, 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, NULL);
	expect_none(kq);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_ENABLE, 0, 0, UDATA(2));
	EXPECT(kq, fd, EVFILT_READ, EV_ADD, 0, 2, UDATA(2));
	close_pair(sv);
	CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_ENABLE, 0, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
}

TEST(added_disabled_is_silent_until_enabled)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	put(sv[1], 2);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_DISABLE, 0, 0, NULL);
	CHANGE(kq, fd, EVFILT_WRITE, EV_ADD | EV_DISABLE | EV_ONESHOT, 0, 0,
	    NULL);
	expect_none(kq);
	put(sv[1], 3);
	expect_none(kq);
	CHANGE(kq, fd, EVFILT_READ, EV_ENABLE, 0, 0, UDATA(1));
	EXPECT(kq, fd, EVFILT_READ, EV_ADD, 0, 5, UDATA(1));
	CHANGE(kq, fd, EVFILT_READ, EV_DELETE, 0, 0, NULL);
	CHANGE(kq, fd, EVFILT_WRITE, EV_ENABLE, 0, 0, UDATA(2));
	CHECK_EQ(next_event(kq).flags, EV_ADD | EV_ONESHOT);
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(enable_fires_at_once_when_the_cause_is_there)
{
	int kq = open_queue(), sv[2], i;
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	put(sv[1], 2);
	for (i = 0; i < 2; i++) {
		unsigned mode = i == 0 ? 0 : EV_CLEAR;
		CHANGE(kq, fd, EVFILT_READ, EV_ADD | mode, 0, 0, NULL);
		EXPECT(kq, fd, EVFILT_READ, EV_ADD | mode, 0, 2, NULL);
		CHANGE(kq, fd, EVFILT_READ, EV_DISABLE, 0, 0, NULL);
		expect_none(kq);
		/* Nothing new happened: that the level stands is enough. */
		CHANGE(kq, fd, EVFILT_READ, EV_ENABLE, 0, 0, NULL);
		EXPECT(kq, fd, EVFILT_READ, EV_ADD | mode, 0, 2, NULL);
		CHANGE(kq, fd, EVFILT_READ, EV_DELETE, 0, 0, NULL);
		expect_none(kq);
	}
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

/* Any change of an EV_CLEAR knote looks at the object again. */
TEST(a_change_of_a_cleared_knote_looks_again)
{
	static const unsigned changes[] = {EV_ENABLE, EV_ADD, 0,
	    EV_ADD | EV_CLEAR, EV_ENABLE | EV_KEEPUDATA};
	int kq = open_queue(), sv[2];
	size_t i;
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	put(sv[1], 2);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0, UDATA(9));
	EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 2, UDATA(9));
	expect_none(kq);
	for (i = 0; i < sizeof changes / sizeof *changes; i++) {
		CHANGE(kq, fd, EVFILT_READ, changes[i], 0, 0, UDATA(9));
		EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 2,
		    UDATA(9));
		expect_none(kq);
	}
	/* With the cause gone there is nothing to see. */
	take(sv[0], 2);
	for (i = 0; i < sizeof changes / sizeof *changes; i++)
		CHANGE(kq, fd, EVFILT_READ, changes[i], 0, 0, NULL);
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(a_pending_event_waits_out_a_disable)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0, NULL);
	put(sv[1], 2);
	CHANGE(kq, fd, EVFILT_READ, EV_DISABLE, 0, 0, NULL);
	expect_none(kq);
	CHANGE(kq, fd, EVFILT_READ, EV_ENABLE, 0, 0, NULL);
	EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 2, NULL);
	expect_none(kq);
	/* The same, but the cause goes away meanwhile. */
	put(sv[1], 1);
	CHANGE(kq, fd, EVFILT_READ, EV_DISABLE, 0, 0, NULL);
	take(sv[0], 3);
	CHANGE(kq, fd, EVFILT_READ, EV_ENABLE, 0, 0, NULL);
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(what_happens_while_disabled_is_remembered)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHANGE(kq, fd, EVFILT_READ, EV_DISABLE, 0, 0, NULL);
	put(sv[1], 2);
	expect_none(kq);
	put(sv[1], 2);
	CHANGE(kq, fd, EVFILT_READ, EV_DISABLE, 0, 0, NULL);
	expect_none(kq);
	CHANGE(kq, fd, EVFILT_READ, EV_ENABLE, 0, 0, NULL);
	EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 4, NULL);
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(neither_enable_nor_disable_leaves_the_state)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	put(sv[1], 2);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_DISABLE, 0, 0, NULL);
	CHANGE(kq, fd, EVFILT_READ, 0, 0, 0, NULL);
	expect_none(kq);
	CHANGE(kq, fd, EVFILT_READ, EV_ENABLE, 0, 0, NULL);
	CHANGE(kq, fd, EVFILT_READ, 0, 0, 0, UDATA(1));
	EXPECT(kq, fd, EVFILT_READ, EV_ADD, 0, 2, UDATA(1));
	close_pair(sv);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(delete_drops_the_pending_event)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	CHANGE(kq, fd, EVFILT_READ, EV_ADD, 0, 0, NULL);
	add_user(kq, 1, 0);
	put(sv[1], 2);
	trigger(kq, 1);
	CHANGE(kq, fd, EVFILT_READ, EV_DELETE, 0, 0, NULL);
	delete_user(kq, 1);
	expect_none(kq);
	CHECK_ABSENT(kq, fd, EVFILT_READ);
	CHECK_ABSENT(kq, 1, EVFILT_USER);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(oneshot_is_deleted_when_it_is_collected)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_ONESHOT, 0, 0, NULL);
	expect_none(kq);
	put(sv[1], 2);
	EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_ONESHOT, 0, 2, NULL);
	expect_none(kq);
	CHECK_ABSENT(kq, fd, EVFILT_READ);
	CHECK_FAILS(change(kq, fd, EVFILT_READ, EV_ENABLE, 0, 0, NULL),
	    ENOENT);
	/* It can be added anew, with other flags. */
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0, NULL);
	EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 2, NULL);
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(oneshot_wins_over_dispatch_and_clear)
{
	static const unsigned modes[] = {EV_DISPATCH, EV_CLEAR,
	    EV_DISPATCH | EV_CLEAR};
	int kq = open_queue(), sv[2], i;
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	put(sv[1], 2);
	for (i = 0; i < 3; i++) {
		CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_ONESHOT | modes[i], 0,
		    0, NULL);
		EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_ONESHOT | modes[i], 0,
		    2, NULL);
		expect_none(kq);
		CHECK_ABSENT(kq, fd, EVFILT_READ);
		add_user(kq, 1, EV_ONESHOT | modes[i]);
		trigger(kq, 1);
		EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_ONESHOT | modes[i], 0,
		    0, NULL);
		expect_none(kq);
		CHECK_ABSENT(kq, 1, EVFILT_USER);
	}
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(add_with_delete_creates_what_is_absent)
{
	int kq = open_queue();
	add_user(kq, 1, EV_DELETE);
	trigger(kq, 1);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
}

TEST(add_with_delete_deletes_what_is_there)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	put(sv[1], 1);
	add_user(kq, 1, 0);
	trigger(kq, 1);
	add_user(kq, 1, EV_DELETE);
	expect_none(kq);
	CHECK_ABSENT(kq, 1, EVFILT_USER);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD, 0, 0, NULL);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_DELETE | EV_ENABLE, 0, 0,
	    NULL);
	expect_none(kq);
	CHECK_ABSENT(kq, fd, EVFILT_READ);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(dispatch_disables_after_each_event)
{
	int kq = open_queue(), sv[2], round;
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	put(sv[1], 2);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_DISPATCH, 0, 0, NULL);
	for (round = 0; round < 5; round++) {
		EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_DISPATCH, 0,
		    2 + round, NULL);
		expect_none(kq);
		put(sv[1], 1);
		expect_none(kq);
		CHANGE(kq, fd, EVFILT_READ, EV_ENABLE, 0, 0, NULL);
	}
	EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_DISPATCH, 0, 7, NULL);
	/* With the cause gone, enabling brings nothing until it is back. */
	take(sv[0], 7);
	CHANGE(kq, fd, EVFILT_READ, EV_ENABLE, 0, 0, NULL);
	expect_none(kq);
	put(sv[1], 4);
	EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_DISPATCH, 0, 4, NULL);
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(dispatch_and_clear_both_apply)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	put(sv[1], 2);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_DISPATCH | EV_CLEAR, 0, 0,
	    NULL);
	EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_DISPATCH | EV_CLEAR, 0, 2,
	    NULL);
	put(sv[1], 2);
	expect_none(kq);
	CHANGE(kq, fd, EVFILT_READ, EV_ENABLE, 0, 0, NULL);
	EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_DISPATCH | EV_CLEAR, 0, 4,
	    NULL);
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(flags_zero_is_an_update)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	put(sv[1], 2);
	CHECK_FAILS(change(kq, fd, EVFILT_READ, 0, 0, 0, NULL), ENOENT);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD, NOTE_LOWAT, 10, UDATA(1));
	expect_none(kq);
	CHANGE(kq, fd, EVFILT_READ, 0, NOTE_LOWAT, 1, UDATA(2));
	EXPECT(kq, fd, EVFILT_READ, EV_ADD, 0, 2, UDATA(2));
	close_pair(sv);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* Every filter but TIMER and USER takes fflags and data from any change. */
TEST(a_bare_enable_or_disable_replaces_fflags_data_and_udata)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	put(sv[1], 2);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD, NOTE_LOWAT, 10, UDATA(1));
	expect_none(kq);
	CHANGE(kq, fd, EVFILT_READ, EV_ENABLE, 0, 0, UDATA(2));
	EXPECT(kq, fd, EVFILT_READ, EV_ADD, 0, 2, UDATA(2));
	CHANGE(kq, fd, EVFILT_READ, EV_DISABLE, NOTE_LOWAT, 3, UDATA(3));
	CHANGE(kq, fd, EVFILT_READ, EV_ENABLE | EV_KEEPUDATA, NOTE_LOWAT, 3,
	    UDATA(4));
	expect_none(kq);
	put(sv[1], 1);
	EXPECT(kq, fd, EVFILT_READ, EV_ADD, 0, 3, UDATA(3));
	CHANGE(kq, fd, EVFILT_READ, EV_ENABLE, 0, 0, NULL);
	EXPECT(kq, fd, EVFILT_READ, EV_ADD, 0, 3, NULL);
	close_pair(sv);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(keepudata_keeps_the_udata)
{
	static const unsigned changes[] = {0, EV_ENABLE, EV_DISABLE,
	    EV_ENABLE | EV_CLEAR};
	int kq = open_queue(), sv[2];
	size_t i;
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	put(sv[1], 2);
	CHANGE(kq, fd, EVFILT_READ, EV_ADD, 0, 0, UDATA(0xfeed));
	for (i = 0; i < sizeof changes / sizeof *changes; i++)
		CHANGE(kq, fd, EVFILT_READ, changes[i] | EV_KEEPUDATA, 0, 0,
		    UDATA(0xdead));
	EXPECT(kq, fd, EVFILT_READ, EV_ADD, 0, 2, UDATA(0xfeed));
	CHANGE(kq, fd, EVFILT_READ, EV_DELETE | EV_KEEPUDATA, 0, 0, NULL);
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(forceoneshot_fires_a_quiet_knote_once)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	CHANGE(kq, fd, EVFILT_READ, EV_ADD, 0, 0, NULL);
	expect_none(kq);
	CHANGE(kq, fd, EVFILT_READ, EV_FORCEONESHOT, 0, 0, UDATA(1));
	EXPECT(kq, fd, EVFILT_READ, EV_ADD | EV_ONESHOT, 0, 0, UDATA(1));
	expect_none(kq);
	CHECK_ABSENT(kq, fd, EVFILT_READ);
	add_user(kq, 1, 0);
	CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_FORCEONESHOT, 0, 0, UDATA(2));
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_ONESHOT, 0, 0, UDATA(2));
	expect_none(kq);
	CHECK_ABSENT(kq, 1, EVFILT_USER);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(forceoneshot_waits_while_disabled)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	CHANGE(kq, fd, EVFILT_READ, EV_ADD | EV_DISABLE, 0, 0, NULL);
	CHANGE(kq, fd, EVFILT_READ, EV_FORCEONESHOT, 0, 0, NULL);
	expect_none(kq);
	CHANGE(kq, fd, EVFILT_READ, EV_ENABLE, 0, 0, NULL);
	CHECK_EQ(next_event(kq).ident, fd);
	expect_none(kq);
	CHECK_ABSENT(kq, fd, EVFILT_READ);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}

TEST(forceoneshot_of_a_new_knote_is_a_plain_add)
{
	int kq = open_queue();
	CHECK_FAILS(change(kq, 1, EVFILT_USER, EV_FORCEONESHOT, 0, 0, NULL),
	    ENOENT);
	add_user(kq, 1, EV_FORCEONESHOT);
	expect_none(kq);
	trigger(kq, 1);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
}

TEST(poll_sees_the_queue_readable_only_while_something_is_pending)
{
	int kq = open_queue(), sv[2];
	struct pollfd p = {kq, POLLIN | POLLOUT, 0};
	open_pair(sv);
	CHECK_EQ(poll(&p, 1, 0), 0);
	add_user(kq, 1, EV_CLEAR);
	add_user(kq, 2, EV_CLEAR);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	CHECK_EQ(poll(&p, 1, 0), 0);
	trigger(kq, 1);
	trigger(kq, 2);
	CHECK_EQ(poll(&p, 1, GENEROUS_MS), 1);
	CHECK_EQ(p.revents, POLLIN);
	next_event(kq);
	/* One was collected, the other is still there. */
	CHECK_EQ(poll(&p, 1, GENEROUS_MS), 1);
	next_event(kq);
	CHECK_EQ(poll(&p, 1, 0), 0);
	put(sv[1], 1);
	CHECK_EQ(poll(&p, 1, GENEROUS_MS), 1);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_DISABLE, 0, 0, NULL);
	CHECK_EQ(poll(&p, 1, 0), 0);
	CHANGE(kq, (uintptr_t)sv[0], EVFILT_READ, EV_ENABLE, 0, 0, NULL);
	CHECK_EQ(poll(&p, 1, GENEROUS_MS), 1);
	next_event(kq);
	take(sv[0], 1);
	CHECK_EQ(poll(&p, 1, 0), 0);
	expect_none(kq);
	close_pair(sv);
	CHECK_EQ(close(kq), 0);
}
