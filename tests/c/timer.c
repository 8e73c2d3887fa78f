/*
 * EVFILT_TIMER: the units, absolute moments, never early, no drift, missed
 * periods counted, counting while disabled, what a second EV_ADD does, and
 * which values are refused.
 *
 * A timer is checked against two readings of the clock taken around EV_ADD:
 * it cannot have started before the first, nor after the second. Machines
 * may be slow, so there are floors everywhere and ceilings nowhere, unless
 * counted in periods that have certainly passed.
 */
#include <poll.h>
#include <sys/wait.h>

#include "support.h"

#define HOUR_MS 3600000

/* When a timer can have been started, and its period. */
struct started {
	int64_t before, after, period;
};

static struct started
start(int kq, uintptr_t ident, unsigned flags, unsigned fflags, intptr_t data,
    int64_t unit_ns)
{
	struct started s;
	s.period = (int64_t)data * unit_ns;
	s.before = now_ns();
	CHANGE(kq, ident, EVFILT_TIMER, EV_ADD | flags, fflags, data, NULL);
	s.after = now_ns();
	return s;
}

/* So many expirations cannot have been told yet: fails if early. */
static void
check_not_early(struct started s, int64_t told)
{
	int64_t now = now_ns();
	if (now - s.before < told * s.period)
		FAIL("%lld expirations after %lld ns of a period of %lld",
		    (long long)told, (long long)(now - s.before),
		    (long long)s.period);
}

/* A one-shot of data units: not early, told once, then gone. */
static void
check_unit(unsigned fflags, intptr_t data, int64_t unit_ns)
{
	int kq = open_queue();
	struct started s = start(kq, 1, EV_ONESHOT, fflags, data, unit_ns);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR | EV_ONESHOT, 0, 1,
	    NULL);
	check_not_early(s, 1);
	expect_none(kq);
	CHECK_ABSENT(kq, 1, EVFILT_TIMER);
	CHECK_EQ(close(kq), 0);
}

static int64_t
wall_ns(void)
{
	struct timespec ts;
	CHECK_EQ(clock_gettime(CLOCK_REALTIME, &ts), 0);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- Units ---- */

/*
 * Each value is above the floor of the next smaller unit and would take far
 * longer than the test waits in the next larger one.
 */
TEST(the_default_unit_is_the_millisecond)
{
	check_unit(0, 50, 1000000);
	check_unit(NOTE_MSECONDS, 50, 1000000);
}

TEST(seconds)
{
	check_unit(NOTE_SECONDS, 1, 1000000000);
}

TEST(microseconds)
{
	check_unit(NOTE_USECONDS, 60000, 1000);
}

TEST(nanoseconds)
{
	check_unit(NOTE_NSECONDS, 60000000, 1);
}

TEST(nanoseconds_are_never_early)
{
	static const intptr_t asked[] = {1, 2, 999, 1000, 1001, 12345, 50000,
	    99999, 250000, 499999, 999999, 1000000, 1000001, 1499999, 1500000,
	    1999999, 2000001, 9999999, 10000001, 33333333};
	size_t i, round;
	for (round = 0; round < 5; round++)
		for (i = 0; i < sizeof asked / sizeof *asked; i++)
			check_unit(NOTE_NSECONDS, asked[i], 1);
}

TEST(microseconds_are_never_early)
{
	static const intptr_t asked[] = {1, 2, 10, 499, 500, 501, 999, 1000,
	    1001, 1499, 1500, 1999, 2001, 9999, 10001};
	size_t i, round;
	for (round = 0; round < 5; round++)
		for (i = 0; i < sizeof asked / sizeof *asked; i++)
			check_unit(NOTE_USECONDS, asked[i], 1000);
}

TEST(milliseconds_are_never_early)
{
	intptr_t i;
	for (i = 1; i <= 30; i++)
		check_unit(0, i, 1000000);
}

/* The hints of other systems change nothing. */
TEST(hints_are_accepted_and_ignored)
{
	static const unsigned hints[] = {NOTE_CRITICAL, NOTE_BACKGROUND,
	    NOTE_LEEWAY, NOTE_CRITICAL | NOTE_LEEWAY,
	    NOTE_BACKGROUND | NOTE_LEEWAY};
	size_t i;
	for (i = 0; i < sizeof hints / sizeof *hints; i++) {
		check_unit(hints[i], 5, 1000000);
		check_unit(hints[i] | NOTE_USECONDS, 5000, 1000);
	}
}

TEST(ident_is_any_number)
{
	static const uintptr_t idents[] = {0, 1, 0x80000000u, 0xffffffffu,
	    UINTPTR_MAX / 2 + 1, UINTPTR_MAX};
	int kq = open_queue(), seen = 0, i;
	for (i = 0; i < 6; i++)
		CHANGE(kq, idents[i], EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1,
		    UDATA(i));
	for (i = 0; i < 6; i++) {
		struct kevent k = next_event(kq);
		uintptr_t n = (uintptr_t)k.udata;
		CHECK(n < 6);
		CHECK(k.ident == idents[n]);
		CHECK_EQ(seen & 1 << n, 0);
		seen |= 1 << n;
	}
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* ---- Periods ---- */

TEST(a_timer_is_periodic_and_clears_itself)
{
	int kq = open_queue();
	struct started s = start(kq, 1, 0, 0, 10, 1000000);
	int64_t told = 0;
	while (told < 10) {
		struct kevent k = next_event(kq);
		CHECK(k.data >= 1);
		CHECK_KEV(k, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR, 0, k.data,
		    NULL);
		told += k.data;
		check_not_early(s, told);
	}
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/*
 * One more event must bring the count to what has surely passed, less the
 * one whose interrupt may be under way.
 */
static int64_t
check_none_missed(int kq, struct started s, int64_t told)
{
	int64_t due = (now_ns() - s.after) / s.period;
	told += next_event(kq).data;
	if (told < due - 1)
		FAIL("%lld expirations told, %lld were due", (long long)told,
		    (long long)due);
	check_not_early(s, told);
	return told;
}

TEST(periods_do_not_drift)
{
	int kq = open_queue(), i;
	struct started s = start(kq, 1, 0, 0, 5, 1000000);
	int64_t told = 0;
	/*
	 * Each event is collected late by a part of a period. A period that
	 * began at the collection would have lost one in three by the end.
	 */
	for (i = 0; i < 60; i++) {
		told += next_event(kq).data;
		check_not_early(s, told);
		let_pass(7300000);
	}
	told = check_none_missed(kq, s, told);
	CHECK(told >= 80);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(missed_periods_are_counted)
{
	int kq = open_queue();
	struct started s = start(kq, 1, 0, 0, 10, 1000000);
	struct kevent k;
	let_pass(MS(105));
	k = next_event(kq);
	CHECK_EQ(k.filter, EVFILT_TIMER);
	CHECK(k.data >= 10);
	check_not_early(s, k.data);
	/* What was told once is not told again. */
	check_none_missed(kq, s, k.data);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_oneshot_counts_one_however_late)
{
	int kq = open_queue();
	start(kq, 1, EV_ONESHOT, 0, 2, 1000000);
	let_pass(MS(30));
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR | EV_ONESHOT, 0, 1,
	    NULL);
	expect_none(kq);
	CHECK_ABSENT(kq, 1, EVFILT_TIMER);
	CHECK_EQ(close(kq), 0);
}

TEST(a_stopped_process_catches_up)
{
	pid_t pid = fork();
	int status;
	CHECK(pid >= 0);
	if (pid == 0) {
		int kq = open_queue();
		struct started s = start(kq, 1, 0, 0, 10, 1000000);
		struct kevent k;
		CHECK_EQ(raise(SIGSTOP), 0);
		/* One event for all of them, not one after the other. */
		k = next_event(kq);
		CHECK(k.data >= 20);
		check_not_early(s, k.data);
		check_none_missed(kq, s, k.data);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECK(WIFSTOPPED(status));
	let_pass(MS(210));
	CHECK_EQ(kill(pid, SIGCONT), 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
}

/* ---- Odd values ---- */

TEST(a_period_of_zero_is_one_unit)
{
	int kq = open_queue();
	struct started s;
	int64_t told = 0;
	s = start(kq, 1, 0, 0, 0, 0);
	s.period = 1000000;
	while (told < 5) {
		struct kevent k = next_event(kq);
		CHECK_KEV(k, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR, 0, k.data,
		    NULL);
		CHECK(k.data >= 1);
		told += k.data;
		check_not_early(s, told);
	}
	/* In seconds too: one second, not one millisecond. */
	s = start(kq, 1, 0, NOTE_SECONDS, 0, 0);
	s.period = 1000000000;
	check_not_early(s, next_event(kq).data);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(the_shortest_period_leaves_the_queue_usable)
{
	int kq = open_queue(), i, user = 0;
	struct started s = start(kq, 1, 0, NOTE_NSECONDS, 0, 0);
	int64_t told = 0;
	s.period = 1;
	add_user(kq, 2, 0);
	trigger(kq, 2);
	for (i = 0; i < 200; i++) {
		struct kevent k = next_event(kq);
		if (k.filter == EVFILT_USER) {
			user++;
			continue;
		}
		CHECK(k.data >= 1);
		told += k.data;
		check_not_early(s, told);
	}
	CHECK(user > 0);
	CHECK(told > 0);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	delete_user(kq, 2);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_oneshot_of_zero_fires_at_once)
{
	static const unsigned units[] = {0, NOTE_SECONDS, NOTE_USECONDS,
	    NOTE_NSECONDS};
	int kq = open_queue(), i;
	for (i = 0; i < 4; i++) {
		struct kevent got, k = kev(1, EVFILT_TIMER,
		    EV_ADD | EV_ONESHOT, units[i], 0, NULL);
		CHECK_EQ(kevent(kq, &k, 1, &got, 1, NULL), 1);
		CHECK_KEV(got, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR | EV_ONESHOT,
		    0, 1, NULL);
		expect_none(kq);
		CHECK_ABSENT(kq, 1, EVFILT_TIMER);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(a_negative_value_is_einval)
{
	static const unsigned fflags[] = {0, NOTE_SECONDS, NOTE_USECONDS,
	    NOTE_NSECONDS, NOTE_ABSTIME, NOTE_ABSTIME | NOTE_SECONDS};
	static const intptr_t values[] = {-1, -1000, INTPTR_MIN};
	int kq = open_queue(), i, j;
	for (i = 0; i < 6; i++)
		for (j = 0; j < 3; j++) {
			CHECK_FAILS(change(kq, 1, EVFILT_TIMER, EV_ADD,
					fflags[i], values[j], NULL),
			    EINVAL);
			CHECK_FAILS(change(kq, 1, EVFILT_TIMER,
					EV_ADD | EV_ONESHOT | EV_DISABLE,
					fflags[i], values[j], NULL),
			    EINVAL);
			CHECK_ABSENT(kq, 1, EVFILT_TIMER);
		}
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(two_units_are_einval)
{
	static const unsigned fflags[] = {NOTE_SECONDS | NOTE_USECONDS,
	    NOTE_SECONDS | NOTE_NSECONDS, NOTE_USECONDS | NOTE_NSECONDS,
	    NOTE_SECONDS | NOTE_USECONDS | NOTE_NSECONDS,
	    NOTE_SECONDS | NOTE_NSECONDS | NOTE_ABSTIME};
	int kq = open_queue(), i;
	for (i = 0; i < 5; i++) {
		CHECK_FAILS(
		    change(kq, 1, EVFILT_TIMER, EV_ADD, fflags[i], 1, NULL),
		    EINVAL);
		CHECK_ABSENT(kq, 1, EVFILT_TIMER);
	}
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(unknown_fflags_are_einval)
{
	int kq = open_queue(), bit;
	for (bit = 10; bit < 32; bit++) {
		CHECK_FAILS(change(kq, 1, EVFILT_TIMER, EV_ADD, 1u << bit, 1,
				NULL),
		    EINVAL);
		CHECK_FAILS(change(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
				1u << bit | NOTE_USECONDS, 1, NULL),
		    EINVAL);
		CHECK_ABSENT(kq, 1, EVFILT_TIMER);
	}
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(huge_values_are_accepted_and_never_fire)
{
	static const unsigned fflags[] = {0, NOTE_SECONDS, NOTE_USECONDS,
	    NOTE_NSECONDS, NOTE_ABSTIME, NOTE_ABSTIME | NOTE_SECONDS,
	    NOTE_ABSTIME | NOTE_USECONDS, NOTE_ABSTIME | NOTE_NSECONDS};
	static const intptr_t values[] = {INTPTR_MAX, INTPTR_MAX - 1,
	    INTPTR_MAX / 2 + 1};
	int kq = open_queue(), i, j;
	uintptr_t ident = 10;
	struct timespec ts = ms_to_ts(30);
	struct kevent got;
	for (i = 0; i < 8; i++)
		for (j = 0; j < 3; j++) {
			CHANGE(kq, ident++, EVFILT_TIMER, EV_ADD, fflags[i],
			    values[j], NULL);
			CHANGE(kq, ident++, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
			    fflags[i], values[j], NULL);
		}
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, &ts), 0);
	/* They hold up no other timer. */
	start(kq, 1, EV_ONESHOT, 0, 5, 1000000);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR | EV_ONESHOT, 0, 1,
	    NULL);
	expect_none(kq);
	while (ident-- > 10)
		CHANGE(kq, ident, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
}

/* ---- Moments ---- */

TEST(abstime_is_a_moment_of_the_wall_clock)
{
	int kq = open_queue();
	int64_t moment = wall_ns() + MS(80);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
	    NOTE_ABSTIME | NOTE_NSECONDS, (intptr_t)moment, NULL);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, NULL);
	CHECK(wall_ns() >= moment);
	CHECK_ABSENT(kq, 1, EVFILT_TIMER);
	moment = wall_ns() / 1000 + 80000;
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
	    NOTE_ABSTIME | NOTE_USECONDS, (intptr_t)moment, NULL);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, NULL);
	CHECK(wall_ns() / 1000 >= moment);
	moment = wall_ns() / 1000000 + 80;
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_ABSTIME,
	    (intptr_t)moment, NULL);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, NULL);
	CHECK(wall_ns() / 1000000 >= moment);
	moment = wall_ns() / 1000000000 + 2;
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
	    NOTE_ABSTIME | NOTE_SECONDS, (intptr_t)moment, NULL);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, NULL);
	CHECK(wall_ns() / 1000000000 >= moment);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_past_abstime_fires_at_once_and_stays)
{
	static const intptr_t moments[] = {0, 1, 1000000000};
	int kq = open_queue(), i, round;
	for (i = 0; i < 3; i++) {
		CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, NOTE_ABSTIME | NOTE_SECONDS,
		    moments[i], UDATA(i));
		/* No EV_CLEAR of its own: the moment stays past. */
		for (round = 0; round < 5; round++)
			EXPECT(kq, 1, EVFILT_TIMER, EV_ADD, 0, 1, UDATA(i));
		CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
		expect_none(kq);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(an_abstime_is_silent_until_it_comes_and_then_stays)
{
	int kq = open_queue(), round;
	int64_t moment = wall_ns() / 1000000 + 60;
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, NOTE_ABSTIME, (intptr_t)moment,
	    NULL);
	for (round = 0; round < 5; round++) {
		EXPECT(kq, 1, EVFILT_TIMER, EV_ADD, 0, 1, NULL);
		CHECK(wall_ns() / 1000000 >= moment);
	}
	/* Until it is changed: a relative timer is an ordinary one again. */
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, 0, HOUR_MS, NULL);
	expect_none(kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
}

TEST(abstime_with_clear_oneshot_and_dispatch)
{
	unsigned past = NOTE_ABSTIME | NOTE_SECONDS;
	int kq = open_queue();
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR, past, 1, NULL);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR, 0, 1, NULL);
	expect_none(kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, past, 1, NULL);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, NULL);
	expect_none(kq);
	CHECK_ABSENT(kq, 1, EVFILT_TIMER);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_DISPATCH, past, 1, NULL);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_DISPATCH, 0, 1, NULL);
	expect_none(kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ENABLE, 0, 0, NULL);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_DISPATCH, 0, 1, NULL);
	expect_none(kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
}

/* Behaviour is fixed at creation, but for EV_ONESHOT and EV_DISPATCH. */
TEST(a_second_add_leaves_ev_clear_as_it_was)
{
	int kq = open_queue();
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, 0, HOUR_MS, NULL);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, NOTE_ABSTIME | NOTE_SECONDS, 1,
	    NULL);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR, 0, 1, NULL);
	expect_none(kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
}

TEST(absolute_fires_once_clears_and_stays_registered)
{
	int kq = open_queue(), i;
	int64_t moment = wall_ns() / 1000000 + 60;
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, NOTE_ABSOLUTE, (intptr_t)moment,
	    NULL);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR, 0, 1, NULL);
	CHECK(wall_ns() / 1000000 >= moment);
	expect_none(kq);
	/* It is still there, and enabling it does not fire it again. */
	CHANGE(kq, 1, EVFILT_TIMER, EV_ENABLE, 0, 0, NULL);
	expect_none(kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	for (i = 0; i < 2; i++) {
		/* A past one fires at once. */
		CHANGE(kq, 1, EVFILT_TIMER, EV_ADD,
		    NOTE_ABSOLUTE | NOTE_SECONDS, i, NULL);
		EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR, 0, 1, NULL);
		expect_none(kq);
		CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	}
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_ABSOLUTE, 1,
	    NULL);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR | EV_ONESHOT, 0, 1,
	    NULL);
	expect_none(kq);
	CHECK_ABSENT(kq, 1, EVFILT_TIMER);
	CHECK_EQ(close(kq), 0);
}

/* ---- Disabled timers ---- */

TEST(a_disabled_timer_counts_on)
{
	int kq = open_queue();
	struct started s = start(kq, 1, 0, 0, 10, 1000000);
	struct kevent k;
	CHANGE(kq, 1, EVFILT_TIMER, EV_DISABLE, 0, 0, NULL);
	let_pass(MS(105));
	expect_none(kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ENABLE, 0, 0, UDATA(3));
	k = next_event(kq);
	CHECK_KEV(k, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR, 0, k.data, UDATA(3));
	CHECK(k.data >= 10);
	check_not_early(s, k.data);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_timer_added_disabled_runs_and_counts)
{
	int kq = open_queue();
	struct started s = start(kq, 1, EV_DISABLE, 0, 10, 1000000);
	struct kevent k;
	let_pass(MS(55));
	expect_none(kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ENABLE, 0, 0, NULL);
	k = next_event(kq);
	CHECK(k.data >= 5);
	check_not_early(s, k.data);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_oneshot_that_expires_while_disabled_waits_for_the_enable)
{
	int kq = open_queue();
	start(kq, 1, EV_ONESHOT | EV_DISABLE, 0, 5, 1000000);
	let_pass(MS(20));
	expect_none(kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ENABLE, 0, 0, NULL);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR | EV_ONESHOT, 0, 1,
	    NULL);
	expect_none(kq);
	CHECK_ABSENT(kq, 1, EVFILT_TIMER);
	CHECK_EQ(close(kq), 0);
}

TEST(a_dispatch_timer_counts_between_events)
{
	int kq = open_queue(), round;
	struct started s = start(kq, 1, EV_DISPATCH, 0, 10, 1000000);
	int64_t told = 0;
	for (round = 0; round < 3; round++) {
		struct kevent k = next_event(kq);
		CHECK_KEV(k, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR | EV_DISPATCH,
		    0, k.data, NULL);
		CHECK(k.data >= (round == 0 ? 1 : 5));
		told += k.data;
		check_not_early(s, told);
		let_pass(MS(65));
		expect_none(kq);
		CHANGE(kq, 1, EVFILT_TIMER, EV_ENABLE, 0, 0, NULL);
	}
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_disabled_timer_leaves_the_processor_alone)
{
	int kq = open_queue();
	struct timespec ts = ms_to_ts(500);
	struct kevent got;
	int64_t before;
	start(kq, 1, EV_DISABLE, NOTE_USECONDS, 10, 1000);
	start(kq, 2, EV_DISABLE | EV_ONESHOT, NOTE_USECONDS, 10, 1000);
	start(kq, 3, EV_DISABLE, NOTE_ABSTIME, 1, 1000000);
	before = cpu_ns();
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, &ts), 0);
	CHECK(cpu_ns() - before < MS(250));
	CHECK_EQ(close(kq), 0);
}

TEST(enable_disable_and_bare_changes_leave_period_and_count)
{
	static const unsigned flags[] = {EV_DISABLE, EV_ENABLE, 0, EV_CLEAR};
	int kq = open_queue(), i, round;
	struct started s = start(kq, 1, 0, 0, 20, 1000000);
	int64_t told = 0;
	let_pass(MS(45));
	for (round = 0; round < 3; round++)
		for (i = 0; i < 4; i++)
			CHANGE(kq, 1, EVFILT_TIMER, flags[i], 0, HOUR_MS,
			    UDATA(i));
	while (told < 6) {
		struct kevent k = next_event(kq);
		CHECK_KEV(k, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR, 0, k.data,
		    UDATA(3));
		if (told == 0)
			CHECK(k.data >= 2);
		told += k.data;
		check_not_early(s, told);
	}
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(enable_makes_no_event_before_the_first_expiration)
{
	int kq = open_queue();
	start(kq, 1, 0, 0, HOUR_MS, 1000000);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ENABLE, 0, 0, NULL);
	CHANGE(kq, 1, EVFILT_TIMER, 0, 0, 0, NULL);
	expect_none(kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DISABLE, 0, 0, NULL);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ENABLE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(keepudata_keeps_the_udata)
{
	int kq = open_queue();
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 5, UDATA(1));
	CHANGE(kq, 1, EVFILT_TIMER, EV_ENABLE | EV_KEEPUDATA, 0, 0, UDATA(2));
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR | EV_ONESHOT, 0, 1,
	    UDATA(1));
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(forceoneshot_ends_a_timer)
{
	int kq = open_queue();
	struct kevent k;
	start(kq, 1, 0, 0, HOUR_MS, 1000000);
	CHANGE(kq, 1, EVFILT_TIMER, EV_FORCEONESHOT, 0, 0, UDATA(1));
	k = next_event(kq);
	CHECK_KEV(k, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR | EV_ONESHOT, 0, 0,
	    UDATA(1));
	expect_none(kq);
	CHECK_ABSENT(kq, 1, EVFILT_TIMER);
	CHECK_EQ(close(kq), 0);
}

/* ---- A second EV_ADD ---- */

TEST(a_second_add_discards_what_was_not_told)
{
	int kq = open_queue();
	start(kq, 1, 0, 0, 2, 1000000);
	let_pass(MS(20));
	start(kq, 1, 0, 0, HOUR_MS, 1000000);
	expect_none(kq);
	/* The same for an expired one-shot. */
	start(kq, 2, EV_ONESHOT, 0, 2, 1000000);
	let_pass(MS(20));
	start(kq, 2, EV_ONESHOT, 0, HOUR_MS, 1000000);
	expect_none(kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	CHANGE(kq, 2, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
}

TEST(a_second_add_starts_anew_from_now)
{
	int kq = open_queue(), i;
	struct started s = {0, 0, 0};
	struct kevent k;
	/* Each restart puts the expiration off; early means: not put off. */
	for (i = 0; i < 10; i++) {
		s = start(kq, 1, 0, 0, 50, 1000000);
		let_pass(MS(10));
		if (kevent(kq, NULL, 0, &k, 1, &no_wait) == 1)
			check_not_early(s, k.data);
	}
	s = start(kq, 1, 0, 0, 50, 1000000);
	k = next_event(kq);
	CHECK(k.data >= 1);
	check_not_early(s, k.data);
	/* Later or sooner, in another unit, with a new udata. */
	start(kq, 1, 0, 0, HOUR_MS, 1000000);
	s.before = now_ns();
	s.period = 5000000;
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 5000, UDATA(8));
	k = next_event(kq);
	CHECK_KEV(k, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR, 0, k.data, UDATA(8));
	check_not_early(s, k.data);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* Timers alone take the modes of the new EV_ADD. */
TEST(a_second_add_takes_the_new_modes)
{
	int kq = open_queue();
	struct kevent k;
	start(kq, 1, 0, 0, 5, 1000000);
	start(kq, 1, EV_ONESHOT, 0, 5, 1000000);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR | EV_ONESHOT, 0, 1,
	    NULL);
	expect_none(kq);
	CHECK_ABSENT(kq, 1, EVFILT_TIMER);
	start(kq, 1, EV_ONESHOT, 0, HOUR_MS, 1000000);
	start(kq, 1, 0, 0, 5, 1000000);
	k = next_event(kq);
	CHECK_EQ(k.flags, EV_ADD | EV_CLEAR);
	k = next_event(kq);
	CHECK_EQ(k.flags, EV_ADD | EV_CLEAR);
	start(kq, 1, EV_DISPATCH, 0, 5, 1000000);
	k = next_event(kq);
	CHECK_EQ(k.flags, EV_ADD | EV_CLEAR | EV_DISPATCH);
	let_pass(MS(12));
	expect_none(kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_second_add_leaves_a_disabled_timer_disabled)
{
	int kq = open_queue();
	struct kevent k;
	start(kq, 1, EV_DISABLE, 0, 5, 1000000);
	start(kq, 1, 0, 0, 5, 1000000);
	let_pass(MS(15));
	expect_none(kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ENABLE, 0, 0, NULL);
	k = next_event(kq);
	CHECK(k.data >= 2);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_bad_second_add_fails_and_leaves_the_timer_running)
{
	int kq = open_queue();
	struct started s = start(kq, 1, 0, 0, 10, 1000000);
	struct kevent k;
	let_pass(MS(35));
	CHECK_FAILS(change(kq, 1, EVFILT_TIMER, EV_ADD, 0, -1, NULL), EINVAL);
	CHECK_FAILS(change(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
			NOTE_SECONDS | NOTE_NSECONDS, 1, NULL),
	    EINVAL);
	CHECK_FAILS(change(kq, 1, EVFILT_TIMER, EV_ADD, 0x80000000, 1, NULL),
	    EINVAL);
	/* Its count is untouched, and it goes on. */
	k = next_event(kq);
	CHECK_EQ(k.flags, EV_ADD | EV_CLEAR);
	CHECK(k.data >= 3);
	check_not_early(s, k.data);
	check_none_missed(kq, s, k.data);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(delete_drops_a_pending_expiration)
{
	int kq = open_queue();
	start(kq, 1, 0, 0, 2, 1000000);
	start(kq, 2, EV_ONESHOT, 0, 2, 1000000);
	let_pass(MS(15));
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	CHANGE(kq, 2, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK_ABSENT(kq, 1, EVFILT_TIMER);
	CHECK_ABSENT(kq, 2, EVFILT_TIMER);
	let_pass(MS(5));
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* ---- Several timers, several threads ---- */

TEST(timers_come_in_the_order_of_their_moments)
{
	/* Far enough apart for a machine that is slow to set them. */
	static const intptr_t delay[] = {600, 200, 400, 800, 1};
	static const uintptr_t order[] = {4, 1, 2, 0, 3};
	int kq = open_queue(), i;
	struct started s[5];
	for (i = 0; i < 5; i++)
		s[i] = start(kq, (uintptr_t)i, EV_ONESHOT, 0, delay[i],
		    1000000);
	for (i = 0; i < 5; i++) {
		EXPECT(kq, order[i], EVFILT_TIMER,
		    EV_ADD | EV_CLEAR | EV_ONESHOT, 0, 1, NULL);
		check_not_early(s[order[i]], 1);
	}
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(many_timers_take_few_descriptors)
{
	enum { COUNT = 2000 };
	static char before[65536], after[65536], seen[COUNT];
	static struct started s[COUNT];
	int kq = open_queue(), i;
	open_descriptors(before, sizeof before);
	for (i = 0; i < COUNT; i++)
		s[i] = start(kq, (uintptr_t)i, EV_ONESHOT, NOTE_USECONDS,
		    (i * 7919) % 50000, 1000);
	open_descriptors(after, sizeof after);
	CHECK(count_fields(after) <= count_fields(before) + 3);
	for (i = 0; i < COUNT; i++) {
		struct kevent k = next_event(kq);
		CHECK(k.ident < COUNT);
		CHECK_EQ(seen[k.ident]++, 0);
		CHECK_KEV(k, k.ident, EVFILT_TIMER,
		    EV_ADD | EV_CLEAR | EV_ONESHOT, 0, 1, NULL);
		check_not_early(s[k.ident], 1);
	}
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(many_timers_come_in_one_call)
{
	enum { COUNT = 1000 };
	static struct kevent got[COUNT + 1];
	static char seen[COUNT];
	int kq = open_queue(), i;
	for (i = 0; i < COUNT; i++)
		start(kq, (uintptr_t)i, EV_ONESHOT, 0, 1, 1000000);
	let_pass(MS(20));
	CHECK_EQ(kevent(kq, NULL, 0, got, COUNT + 1, NULL), COUNT);
	for (i = 0; i < COUNT; i++) {
		CHECK(got[i].ident < COUNT);
		CHECK_EQ(seen[got[i].ident]++, 0);
	}
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_deleted_timer_among_many_takes_no_other_with_it)
{
	enum { COUNT = 300 };
	static char seen[COUNT];
	int kq = open_queue(), i;
	for (i = 0; i < COUNT; i++)
		start(kq, (uintptr_t)i, EV_ONESHOT, 0, 20 + i * 37 % 40,
		    1000000);
	for (i = 0; i < COUNT; i += 3)
		CHANGE(kq, (uintptr_t)i, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	for (i = 0; i < COUNT; i++)
		if (i % 3 != 0) {
			struct kevent k = next_event(kq);
			CHECK(k.ident < COUNT && k.ident % 3 != 0);
			CHECK_EQ(seen[k.ident]++, 0);
		}
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_timer_ends_a_longer_wait_and_not_a_shorter_one)
{
	int kq = open_queue();
	struct timespec shorter = ms_to_ts(30), longer = ms_to_ts(GENEROUS_MS);
	struct started s = start(kq, 1, EV_ONESHOT, 0, 1500, 1000000);
	struct kevent got;
	int64_t begun = now_ns();
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, &shorter), 0);
	CHECK(now_ns() - begun >= MS(30));
	CHECK_EQ(kevent(kq, NULL, 0, &got, 1, &longer), 1);
	CHECK_EQ(got.ident, 1);
	check_not_early(s, 1);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_sooner_timer_wakes_a_thread_that_waits_for_a_later_one)
{
	int kq = open_queue();
	struct waiter w;
	struct started s;
	start(kq, 1, EV_ONESHOT, 0, HOUR_MS, 1000000);
	waiter_start(&w, kq, NULL);
	s = start(kq, 2, EV_ONESHOT, 0, 10, 1000000);
	CHECK_KEV(waiter_event(&w), 2, EVFILT_TIMER,
	    EV_ADD | EV_CLEAR | EV_ONESHOT, 0, 1, NULL);
	check_not_early(s, 1);
	/* The same when the later one itself is brought forward. */
	waiter_start(&w, kq, NULL);
	s = start(kq, 1, EV_ONESHOT, 0, 10, 1000000);
	CHECK_EQ(waiter_event(&w).ident, 1);
	check_not_early(s, 1);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(each_expiration_is_told_to_one_thread)
{
	enum { THREADS = 4, EVENTS = 25 };
	int kq = open_queue(), i, round;
	int64_t told = 0;
	struct started s = start(kq, 1, 0, 0, 2, 1000000);
	for (round = 0; round < EVENTS; round++) {
		struct waiter w[THREADS];
		memset(w, 0, sizeof w);
		for (i = 0; i < THREADS; i++) {
			w[i].kq = kq;
			CHECK_EQ(pthread_create(&w[i].thread, NULL,
				     waiter_main, &w[i]), 0);
		}
		for (i = 0; i < THREADS; i++)
			told += waiter_event(&w[i]).data;
		check_not_early(s, told);
	}
	told = check_none_missed(kq, s, told);
	CHECK(told >= THREADS * EVENTS);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(poll_sees_an_expired_timer_until_it_is_told)
{
	int kq = open_queue();
	struct pollfd p = {kq, POLLIN, 0};
	struct started s = start(kq, 1, EV_ONESHOT, 0, 20, 1000000);
	CHECK_EQ(poll(&p, 1, GENEROUS_MS), 1);
	check_not_early(s, 1);
	CHECK_EQ(poll(&p, 1, 0), 1);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_CLEAR | EV_ONESHOT, 0, 1,
	    NULL);
	CHECK_EQ(poll(&p, 1, 0), 0);
	/* One that is stopped after it expired is seen no more. */
	start(kq, 1, EV_ONESHOT, 0, 2, 1000000);
	CHECK_EQ(poll(&p, 1, GENEROUS_MS), 1);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	CHECK_EQ(poll(&p, 1, 0), 0);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}
