/*
 * kevent64(): Darwin's wider entries and its flags. What the entries mean is
 * kevent()'s affair; here is the conversion, both ways, and the flags.
 */
#include "common.h"

/* As kev(), and ext as garbage: it is ignored. */
static struct kevent64_s
kev64(uint64_t ident, int filter, unsigned flags, unsigned fflags,
    int64_t data, uint64_t udata)
{
	struct kevent64_s k;

	memset(&k, 0xa5, sizeof(k));
	k.ident = ident;
	k.filter = (int16_t)filter;
	k.flags = (uint16_t)flags;
	k.fflags = fflags;
	k.data = data;
	k.udata = udata;
	return (k);
}

static void
check_kev64_at(const char *file, int line, struct kevent64_s got,
    struct kevent64_s want)
{
	if (got.ident != want.ident || got.filter != want.filter ||
	    got.flags != want.flags || got.fflags != want.fflags ||
	    got.data != want.data || got.udata != want.udata) {
		fprintf(stderr,
		    "%s:%d: got ident 0x%llx filter %d flags 0x%x fflags "
		    "0x%x data %lld udata 0x%llx\n", file, line,
		    (unsigned long long)got.ident, got.filter, got.flags,
		    got.fflags, (long long)got.data,
		    (unsigned long long)got.udata);
		exit(1);
	}
	if (got.ext[0] != 0 || got.ext[1] != 0) {
		fprintf(stderr, "%s:%d: ext is 0x%llx, 0x%llx\n", file, line,
		    (unsigned long long)got.ext[0],
		    (unsigned long long)got.ext[1]);
		exit(1);
	}
}
#define CHECK_KEV64(got, ...)                                                 \
	check_kev64_at(__FILE__, __LINE__, got, kev64(__VA_ARGS__))

#define WIDE_IDENT 0xfedcba9876543210u
#define WIDE_UDATA 0x8123456789abcdefu
#define WIDE_DATA (-0x7123456789abcdefLL)

TEST(every_bit_goes_in_and_comes_out)
{
	int kq = kqueue();
	struct kevent64_s k[2], got[2];
	struct timespec generous = ms_to_ts(GENEROUS_MS);

	CHECK(kq >= 0);
	if (sizeof(uintptr_t) < 8)
		SKIP("idents are not this wide here");
	k[0] = kev64(WIDE_IDENT, EVFILT_USER, EV_ADD | EV_CLEAR, 0xabcdef, 0,
	    1);
	k[1] = kev64(WIDE_IDENT, EVFILT_USER, 0, NOTE_TRIGGER, WIDE_DATA,
	    WIDE_UDATA);
	memset(got, 0xa5, sizeof(got));
	CHECK_EQ(kevent64(kq, k, 2, got, 2, 0, &generous), 1);
	CHECK_KEV64(got[0], WIDE_IDENT, EVFILT_USER, EV_ADD | EV_CLEAR,
	    0xabcdef, WIDE_DATA, WIDE_UDATA);
	/* Nothing is written past what was counted. */
	CHECK_EQ(got[1].ident, 0xa5a5a5a5a5a5a5a5u);
	CHECK_EQ(got[1].ext[1], 0xa5a5a5a5a5a5a5a5u);
	expect_none(kq);
	CHECK(close(kq) == 0);
}

/* Both calls see one queue: a knote has no form of its own. */
TEST(meets_kevent_in_one_queue)
{
	int kq = kqueue();
	struct kevent64_s k, got;

	CHECK(kq >= 0);
	k = kev64(3, EVFILT_USER, EV_ADD | EV_CLEAR, 5, 0, 0x1234);
	CHECK_EQ(kevent64(kq, &k, 1, NULL, 0, 0, NULL), 0);
	CHANGE(kq, 3, EVFILT_USER, 0, NOTE_TRIGGER, -8, UDATA(0x5678));
	CHECK_EQ(kevent64(kq, NULL, 0, &got, 1, KEVENT_FLAG_IMMEDIATE, NULL),
	    1);
	CHECK_KEV64(got, 3, EVFILT_USER, EV_ADD | EV_CLEAR, 5, -8, 0x5678);
	k = kev64(3, EVFILT_USER, 0, NOTE_TRIGGER, -9, 0x9abc);
	CHECK_EQ(kevent64(kq, &k, 1, NULL, 0, 0, NULL), 0);
	EXPECT(kq, 3, EVFILT_USER, EV_ADD | EV_CLEAR, 5, -9, UDATA(0x9abc));
	expect_none(kq);
	CHECK(close(kq) == 0);
}

/* 48 bytes apart, in and out. */
TEST(lists_of_many)
{
	int kq = kqueue(), i;
	struct kevent64_s list[64];
	unsigned char seen[32] = {0};

	CHECK(kq >= 0);
	for (i = 0; i < 32; i++) {
		list[i] = kev64((uint64_t)i, EVFILT_USER, EV_ADD | EV_ONESHOT,
		    0, 0, 0);
		list[32 + i] = kev64((uint64_t)i, EVFILT_USER, 0,
		    NOTE_TRIGGER, i - 16, (uint64_t)i << 32);
	}
	/* The same memory for both. */
	CHECK_EQ(kevent64(kq, list, 64, list, 64, 0, NULL), 32);
	for (i = 0; i < 32; i++) {
		CHECK(list[i].ident < 32 && !seen[list[i].ident]);
		seen[list[i].ident] = 1;
		CHECK_KEV64(list[i], list[i].ident, EVFILT_USER,
		    EV_ADD | EV_ONESHOT, 0, (int)list[i].ident - 16,
		    sizeof(uintptr_t) < 8 ? 0 : list[i].ident << 32);
	}
	expect_none(kq);
	CHECK(close(kq) == 0);
}

TEST(answers_have_the_wide_form)
{
	int kq = kqueue();
	struct kevent64_s k[3], got[3];

	CHECK(kq >= 0);
	k[0] = kev64(7, EVFILT_USER, EV_DELETE, 0, -1, 0x77);
	k[1] = kev64(8, EVFILT_USER, EV_ADD | EV_RECEIPT, 2, -1, 0x88);
	k[2] = kev64(9, -100, EV_ADD, 1, -1, 0x99);
	memset(got, 0xa5, sizeof(got));
	CHECK_EQ(kevent64(kq, k, 3, got, 3, 0, NULL), 3);
	CHECK_KEV64(got[0], 7, EVFILT_USER, EV_DELETE | EV_ERROR, 0, ENOENT,
	    0x77);
	CHECK_KEV64(got[1], 8, EVFILT_USER, EV_ADD | EV_RECEIPT | EV_ERROR, 2,
	    0, 0x88);
	CHECK_KEV64(got[2], 9, -100, EV_ADD | EV_ERROR, 1, EINVAL, 0x99);
	/* Without room, as kevent(). */
	CHECK_FAILS(kevent64(kq, k, 1, NULL, 0, 0, NULL), ENOENT);
	expect_none(kq);
	CHECK(close(kq) == 0);
}

/* ident is 64 bits wide and a descriptor is not: no bit may be dropped. */
TEST(a_wide_ident_is_no_descriptor)
{
	int kq = kqueue(), fds[2];
	struct kevent64_s k;

	CHECK(kq >= 0 && pipe(fds) == 0);
	k = kev64((uint64_t)fds[0] | 1ull << 32, EVFILT_READ, EV_ADD, 0, 0, 0);
	CHECK_FAILS(kevent64(kq, &k, 1, NULL, 0, 0, NULL), EBADF);
	CHECK(write(fds[1], "x", 1) == 1);
	expect_none(kq);
	CHECK(close(fds[0]) == 0 && close(fds[1]) == 0 && close(kq) == 0);
}

TEST(waits_as_kevent_does)
{
	int kq = kqueue();
	struct kevent64_s k, got;
	struct timespec ts = ms_to_ts(30), wrong = {0, -1};
	int64_t began;

	CHECK(kq >= 0);
	began = now_ns();
	CHECK_EQ(kevent64(kq, NULL, 0, &got, 1, 0, &ts), 0);
	CHECK(now_ns() - began >= 30000000);
	CHECK_FAILS(kevent64(kq, NULL, 0, &got, 1, 0, &wrong), EINVAL);
	k = kev64(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 30, 5);
	began = now_ns();
	CHECK_EQ(kevent64(kq, &k, 1, &got, 1, 0, NULL), 1);
	CHECK(now_ns() - began >= 30000000);
	CHECK_KEV64(got, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT | EV_CLEAR, 0, 1,
	    5);
	expect_none(kq);
	CHECK(close(kq) == 0);
}

/* The alarm that ends a case that hangs is what notices a wait here. */
TEST(immediate_does_not_wait)
{
	int kq = kqueue();
	struct kevent64_s k, got;
	struct timespec ages = {1000000, 0};

	CHECK(kq >= 0);
	CHECK_EQ(kevent64(kq, NULL, 0, &got, 1, KEVENT_FLAG_IMMEDIATE, NULL),
	    0);
	CHECK_EQ(kevent64(kq, NULL, 0, &got, 1, KEVENT_FLAG_IMMEDIATE, &ages),
	    0);
	/* Changes are applied, and what is there is returned. */
	k = kev64(1, EVFILT_USER, EV_ADD, 0, 0, 0);
	CHECK_EQ(kevent64(kq, &k, 1, &got, 1, KEVENT_FLAG_IMMEDIATE, NULL),
	    0);
	k = kev64(1, EVFILT_USER, 0, NOTE_TRIGGER, 4, 6);
	CHECK_EQ(kevent64(kq, &k, 1, &got, 1, KEVENT_FLAG_IMMEDIATE, &ages),
	    1);
	CHECK_KEV64(got, 1, EVFILT_USER, EV_ADD, 0, 4, 6);
	CHECK(close(kq) == 0);
}

TEST(error_events_returns_answers_and_no_events)
{
	int kq = kqueue();
	struct kevent64_s k[2], got[2];
	unsigned both = KEVENT_FLAG_ERROR_EVENTS | KEVENT_FLAG_IMMEDIATE;

	CHECK(kq >= 0);
	CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHANGE(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	/* An event is pending, and stays so; nor is another waited for. */
	CHECK_EQ(kevent64(kq, NULL, 0, got, 2, KEVENT_FLAG_ERROR_EVENTS,
	    NULL), 0);
	CHECK_EQ(kevent64(kq, NULL, 0, got, 2, both, NULL), 0);
	/* A change that succeeds has no answer. */
	k[0] = kev64(2, EVFILT_USER, EV_ADD, 0, 0, 0);
	CHECK_EQ(kevent64(kq, k, 1, got, 2, KEVENT_FLAG_ERROR_EVENTS, NULL),
	    0);
	/* One that fails has, and so has one with EV_RECEIPT. */
	k[0] = kev64(3, EVFILT_USER, EV_DELETE, 0, 0, 33);
	k[1] = kev64(2, EVFILT_USER, EV_RECEIPT, 0, 0, 22);
	CHECK_EQ(kevent64(kq, k, 2, got, 2, KEVENT_FLAG_ERROR_EVENTS, NULL),
	    2);
	CHECK_KEV64(got[0], 3, EVFILT_USER, EV_DELETE | EV_ERROR, 0, ENOENT,
	    33);
	CHECK_KEV64(got[1], 2, EVFILT_USER, EV_RECEIPT | EV_ERROR, 0, 0, 22);
	CHECK_FAILS(kevent64(kq, k, 1, NULL, 0, KEVENT_FLAG_ERROR_EVENTS,
	    NULL), ENOENT);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	CHECK(close(kq) == 0);
}

TEST(an_unknown_flag_is_refused_before_anything_is_applied)
{
	int kq = kqueue();
	struct kevent64_s k = kev64(1, EVFILT_USER, EV_ADD, 0, 0, 0), got;
	unsigned flag;

	CHECK(kq >= 0);
	for (flag = 4; flag != 0; flag <<= 1) {
		CHECK_FAILS(kevent64(kq, &k, 1, &got, 1, flag, &no_wait),
		    EINVAL);
		CHECK_FAILS(kevent64(kq, &k, 1, &got, 1,
		    flag | KEVENT_FLAG_IMMEDIATE, NULL), EINVAL);
	}
	CHECK_FAILS(change(kq, 1, EVFILT_USER, EV_DELETE, 0, 0, NULL), ENOENT);
	CHECK(close(kq) == 0);
}

TEST(bad_arguments)
{
	int kq = kqueue();
	struct kevent64_s k = kev64(1, EVFILT_USER, EV_ADD, 0, 0, 0), got;

	CHECK(kq >= 0);
	CHECK_FAILS(kevent64(kq, &k, -1, &got, 1, 0, &no_wait), EINVAL);
	CHECK_FAILS(kevent64(kq, &k, 1, &got, -1, 0, &no_wait), EINVAL);
	CHECK_FAILS(kevent64(kq, NULL, 1, &got, 1, 0, &no_wait), EFAULT);
	CHECK_FAILS(kevent64(kq, &k, 1, NULL, 1, 0, &no_wait), EFAULT);
	CHECK_FAILS(change(kq, 1, EVFILT_USER, EV_DELETE, 0, 0, NULL), ENOENT);
	CHECK_FAILS(kevent64(-1, NULL, 0, &got, 1, 0, &no_wait), EBADF);
	CHECK_FAILS(kevent64(0, NULL, 0, &got, 1, 0, &no_wait), EINVAL);
	CHECK(close(kq) == 0);
	CHECK_FAILS(kevent64(kq, NULL, 0, &got, 1, 0, &no_wait), EBADF);
}
