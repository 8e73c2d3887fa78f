/*
 * EVFILT_USER: an event that the program itself causes. What an EV_ADD
 * stores, what each later change does to the flags, the data and the
 * trigger, what an event carries, and that triggers from many threads merge
 * but are never lost.
 */
#include <poll.h>

#include "support.h"

/* A change without any action flag, which is how a program triggers. */
static void
touch(int kq, unsigned flags, unsigned fflags, intptr_t data, void *udata)
{
	CHANGE(kq, 1, EVFILT_USER, flags, fflags, data, udata);
}

TEST(ident_is_any_number)
{
	static const uintptr_t idents[] = {0, 1, 0x7fffffff, 0x80000000u,
	    0xffffffffu, UINTPTR_MAX / 2, UINTPTR_MAX / 2 + 1, UINTPTR_MAX};
	int kq = open_queue();
	size_t i, count = sizeof idents / sizeof *idents;
	for (i = 0; i < count; i++)
		add_user(kq, idents[i], EV_CLEAR);
	for (i = 0; i < count; i++) {
		CHANGE(kq, idents[i], EVFILT_USER, 0, NOTE_TRIGGER, 0,
		    UDATA(i));
		EXPECT(kq, idents[i], EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0,
		    UDATA(i));
		expect_none(kq);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(the_first_add_does_not_trigger)
{
	int kq = open_queue();
	touch(kq, EV_ADD, NOTE_TRIGGER, 0, NULL);
	expect_none(kq);
	delete_user(kq, 1);
	touch(kq, EV_ADD | EV_CLEAR, NOTE_TRIGGER | NOTE_FFCOPY | 5, 0, NULL);
	expect_none(kq);
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 5, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(the_first_add_stores_the_flags_whatever_the_operation)
{
	static const unsigned ops[] = {NOTE_FFNOP, NOTE_FFAND, NOTE_FFOR,
	    NOTE_FFCOPY};
	int kq = open_queue(), i;
	for (i = 0; i < 4; i++) {
		touch(kq, EV_ADD, ops[i] | 0xabcdef, 0, NULL);
		expect_none(kq);
		touch(kq, 0, NOTE_TRIGGER, 0, NULL);
		EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0xabcdef, 0, NULL);
		delete_user(kq, 1);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(only_the_24_flag_bits_are_stored)
{
	int kq = open_queue();
	touch(kq, EV_ADD, 0xffffffff, 0, NULL);
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, NOTE_FFLAGSMASK, 0, NULL);
	touch(kq, 0, NOTE_FFCOPY, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	touch(kq, 0, NOTE_FFCOPY | 0x3fffffff, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, NOTE_FFLAGSMASK, 0, NULL);
	touch(kq, 0, NOTE_FFAND | 0x3e000000, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	touch(kq, 0, NOTE_FFOR | 0x3e000001, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 1, 0, NULL);
	CHECK_EQ(close(kq), 0);
}

/* The four operations, in changes of every kind. */
static void
operations(unsigned flags)
{
	static const struct {
		unsigned op, bits, result;
	} steps[] = {
	    {NOTE_FFNOP, 0x00ff00, 0x0f0f0f},
	    {NOTE_FFAND, 0x00ff00, 0x000f00},
	    {NOTE_FFOR, 0xf00001, 0xf00f01},
	    {NOTE_FFCOPY, 0x123456, 0x123456},
	    {NOTE_FFNOP, 0xffffff, 0x123456},
	    {NOTE_FFOR, 0, 0x123456},
	    {NOTE_FFAND, 0xffffff, 0x123456},
	    {NOTE_FFAND, 0, 0},
	    {NOTE_FFOR, 0xffffff, 0xffffff},
	    {NOTE_FFCOPY, 0, 0},
	};
	int kq = open_queue();
	size_t i;
	touch(kq, EV_ADD | EV_CLEAR, 0x0f0f0f, 0, NULL);
	for (i = 0; i < sizeof steps / sizeof *steps; i++) {
		touch(kq, flags, NOTE_TRIGGER | steps[i].op | steps[i].bits, 0,
		    NULL);
		if (flags & EV_DISABLE) {
			expect_none(kq);
			touch(kq, EV_ENABLE, 0, 0, NULL);
		}
		EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, steps[i].result,
		    0, NULL);
		expect_none(kq);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(operations_in_a_bare_change)
{
	operations(0);
}

TEST(operations_in_an_add)
{
	operations(EV_ADD);
}

TEST(operations_in_an_enable)
{
	operations(EV_ENABLE);
}

TEST(operations_in_a_disable)
{
	operations(EV_DISABLE);
}

TEST(changed_flags_fire_nothing_but_show_in_the_next_event)
{
	int kq = open_queue();
	touch(kq, EV_ADD | EV_CLEAR, 1, 0, NULL);
	touch(kq, 0, NOTE_FFOR | 2, 0, NULL);
	touch(kq, EV_ADD, NOTE_FFOR | 4, 0, NULL);
	touch(kq, EV_ENABLE, NOTE_FFOR | 8, 0, NULL);
	expect_none(kq);
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 15, 0, NULL);
	expect_none(kq);
	/* They stay for the event after that. */
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 15, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_pending_event_shows_the_newest_flags_data_and_udata)
{
	int kq = open_queue();
	touch(kq, EV_ADD | EV_CLEAR, 1, 10, UDATA(1));
	touch(kq, 0, NOTE_TRIGGER, 20, UDATA(2));
	touch(kq, 0, NOTE_FFOR | 6, 30, UDATA(3));
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 7, 30, UDATA(3));
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(data_is_that_of_the_last_change)
{
	static const intptr_t values[] = {1, -1, 0, INTPTR_MAX, INTPTR_MIN, 42};
	int kq = open_queue();
	size_t i;
	touch(kq, EV_ADD | EV_CLEAR, 0, 5, NULL);
	for (i = 0; i < sizeof values / sizeof *values; i++) {
		touch(kq, 0, NOTE_TRIGGER, values[i], NULL);
		EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, values[i],
		    NULL);
		expect_none(kq);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(udata_is_that_of_the_last_change)
{
	int kq = open_queue();
	touch(kq, EV_ADD | EV_CLEAR, 0, 0, UDATA(1));
	touch(kq, 0, NOTE_TRIGGER, 0, UDATA(2));
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, UDATA(2));
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	touch(kq, EV_DISABLE, 0, 0, UDATA(3));
	touch(kq, EV_ENABLE | EV_KEEPUDATA, NOTE_TRIGGER, 0, UDATA(4));
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, UDATA(3));
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_knote_without_clear_is_level)
{
	int kq = open_queue(), i;
	touch(kq, EV_ADD, 3, 4, UDATA(5));
	expect_none(kq);
	touch(kq, 0, NOTE_TRIGGER, 4, UDATA(5));
	for (i = 0; i < 10; i++)
		EXPECT(kq, 1, EVFILT_USER, EV_ADD, 3, 4, UDATA(5));
	delete_user(kq, 1);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_bare_clear_cancels)
{
	int kq = open_queue();
	touch(kq, EV_ADD, 0, 0, NULL);
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	touch(kq, EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	/* It cancelled one trigger; the knote did not become an EV_CLEAR one. */
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	/* With any other action it cancels too. */
	touch(kq, EV_ENABLE | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	touch(kq, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_bare_clear_cancels_what_is_pending_on_a_clear_knote)
{
	int kq = open_queue();
	touch(kq, EV_ADD | EV_CLEAR, 0, 0, NULL);
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	touch(kq, EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	touch(kq, EV_DISABLE, 0, 0, NULL);
	touch(kq, EV_CLEAR, 0, 0, NULL);
	touch(kq, EV_ENABLE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(trigger_wins_over_clear_in_one_change)
{
	int kq = open_queue();
	touch(kq, EV_ADD, 0, 0, NULL);
	touch(kq, EV_CLEAR, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	delete_user(kq, 1);
	touch(kq, EV_ADD | EV_CLEAR, 0, 0, NULL);
	touch(kq, EV_ADD | EV_CLEAR, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_clear_knote_fires_once_a_trigger)
{
	int kq = open_queue(), i;
	touch(kq, EV_ADD | EV_CLEAR, 0, 0, NULL);
	for (i = 0; i < 10; i++) {
		touch(kq, 0, NOTE_TRIGGER, i, NULL);
		EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, i, NULL);
		expect_none(kq);
	}
	/* A change that looks again finds nothing. */
	touch(kq, EV_ENABLE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(triggers_while_pending_merge)
{
	int kq = open_queue(), i;
	touch(kq, EV_ADD | EV_CLEAR, 0, 0, NULL);
	for (i = 0; i < 10; i++)
		touch(kq, 0, NOTE_TRIGGER | NOTE_FFOR | 1u << i, i, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0x3ff, 9, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_oneshot_event_carries_what_was_stored)
{
	int kq = open_queue();
	touch(kq, EV_ADD | EV_ONESHOT, 0x11, 1, UDATA(1));
	expect_none(kq);
	touch(kq, 0, NOTE_TRIGGER | NOTE_FFOR | 0x22, 77, UDATA(2));
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_ONESHOT, 0x33, 77, UDATA(2));
	expect_none(kq);
	CHECK_ABSENT(kq, 1, EVFILT_USER);
	CHECK_FAILS(change(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL),
	    ENOENT);
	CHECK_EQ(close(kq), 0);
}

TEST(a_trigger_while_disabled_is_remembered)
{
	static const unsigned modes[] = {0, EV_CLEAR, EV_ONESHOT, EV_DISPATCH};
	int kq = open_queue(), i;
	for (i = 0; i < 4; i++) {
		touch(kq, EV_ADD | modes[i], 0, 0, NULL);
		touch(kq, EV_DISABLE, 0, 0, NULL);
		touch(kq, 0, NOTE_TRIGGER, 3, NULL);
		expect_none(kq);
		touch(kq, EV_ENABLE, 0, 4, NULL);
		EXPECT(kq, 1, EVFILT_USER, EV_ADD | modes[i], 0, 4, NULL);
		if (modes[i] != 0)
			expect_none(kq);
		if (modes[i] == EV_ONESHOT)
			CHECK_ABSENT(kq, 1, EVFILT_USER);
		else
			delete_user(kq, 1);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(a_disable_may_carry_the_trigger)
{
	int kq = open_queue();
	touch(kq, EV_ADD | EV_CLEAR, 0, 0, NULL);
	touch(kq, EV_DISABLE, NOTE_TRIGGER, 0, NULL);
	expect_none(kq);
	touch(kq, EV_ENABLE, 0, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(added_disabled_then_triggered_fires_when_enabled)
{
	int kq = open_queue();
	touch(kq, EV_ADD | EV_DISABLE | EV_CLEAR, 0, 0, NULL);
	touch(kq, EV_ENABLE, 0, 0, NULL);
	expect_none(kq);
	touch(kq, EV_DISABLE, 0, 0, NULL);
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	expect_none(kq);
	touch(kq, EV_ENABLE, 0, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_disabled_level_event_is_back_after_enable)
{
	int kq = open_queue();
	touch(kq, EV_ADD, 0, 0, NULL);
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	touch(kq, EV_DISABLE, 0, 0, NULL);
	expect_none(kq);
	touch(kq, EV_ENABLE, 0, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
}

TEST(dispatch_without_clear_fires_again_at_enable)
{
	int kq = open_queue(), i;
	touch(kq, EV_ADD | EV_DISPATCH, 0, 0, NULL);
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	for (i = 0; i < 5; i++) {
		EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_DISPATCH, 0, 0, NULL);
		expect_none(kq);
		touch(kq, EV_ENABLE, 0, 0, NULL);
	}
	/* Unless the trigger is cancelled in the same change. */
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_DISPATCH, 0, 0, NULL);
	touch(kq, EV_ENABLE | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_DISPATCH, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(dispatch_with_clear_needs_a_new_trigger)
{
	int kq = open_queue();
	touch(kq, EV_ADD | EV_DISPATCH | EV_CLEAR, 0, 0, NULL);
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_DISPATCH | EV_CLEAR, 0, 0,
	    NULL);
	touch(kq, EV_ENABLE, 0, 0, NULL);
	expect_none(kq);
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_DISPATCH | EV_CLEAR, 0, 0,
	    NULL);
	/* Disabled by the delivery: a trigger waits for the enable. */
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	expect_none(kq);
	touch(kq, EV_ENABLE, 0, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_DISPATCH | EV_CLEAR, 0, 0,
	    NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_knote_added_anew_remembers_nothing)
{
	int kq = open_queue();
	touch(kq, EV_ADD, 0xff, 5, UDATA(5));
	touch(kq, EV_DISABLE, NOTE_TRIGGER, 6, UDATA(6));
	delete_user(kq, 1);
	touch(kq, EV_ADD | EV_CLEAR, 1, 0, NULL);
	expect_none(kq);
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 1, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(the_same_ident_of_another_filter_is_another_knote)
{
	int kq = open_queue(), sv[2];
	uintptr_t fd;
	open_pair(sv);
	fd = (uintptr_t)sv[0];
	CHANGE(kq, fd, EVFILT_READ, EV_ADD, 0, 0, UDATA(1));
	CHANGE(kq, fd, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, UDATA(2));
	CHANGE(kq, fd, EVFILT_TIMER, EV_ADD, 0, 3600000, UDATA(3));
	CHANGE(kq, fd, EVFILT_USER, 0, NOTE_TRIGGER, 0, UDATA(2));
	EXPECT(kq, fd, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, UDATA(2));
	CHANGE(kq, fd, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	put(sv[1], 1);
	EXPECT(kq, fd, EVFILT_READ, EV_ADD, 0, 1, UDATA(1));
	/* Closing the descriptor concerns the descriptor's knotes alone. */
	CHANGE(kq, fd, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	close_pair(sv);
	CHANGE(kq, fd, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	EXPECT(kq, fd, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHANGE(kq, fd, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(poll_follows_the_trigger)
{
	int kq = open_queue();
	struct pollfd p = {kq, POLLIN, 0};
	touch(kq, EV_ADD, 0, 0, NULL);
	CHECK_EQ(poll(&p, 1, 0), 0);
	touch(kq, 0, NOTE_TRIGGER, 0, NULL);
	CHECK_EQ(poll(&p, 1, GENEROUS_MS), 1);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	CHECK_EQ(poll(&p, 1, GENEROUS_MS), 1);
	touch(kq, EV_CLEAR, 0, 0, NULL);
	CHECK_EQ(poll(&p, 1, 0), 0);
	touch(kq, EV_DISABLE, NOTE_TRIGGER, 0, NULL);
	CHECK_EQ(poll(&p, 1, 0), 0);
	touch(kq, EV_ENABLE, 0, 0, NULL);
	CHECK_EQ(poll(&p, 1, GENEROUS_MS), 1);
	delete_user(kq, 1);
	CHECK_EQ(poll(&p, 1, 0), 0);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(many_user_events_take_no_descriptors)
{
	enum { COUNT = 10000 };
	static char before[65536], after[65536];
	int kq = open_queue(), i;
	open_descriptors(before, sizeof before);
	for (i = 0; i < COUNT; i++)
		add_user(kq, (uintptr_t)i, EV_CLEAR);
	for (i = 0; i < COUNT; i += 97)
		trigger(kq, (uintptr_t)i);
	open_descriptors(after, sizeof after);
	CHECK(count_fields(after) <= count_fields(before) + 2);
	for (i = 0; i < COUNT; i += 97)
		EXPECT(kq, (uintptr_t)i, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0,
		    NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* ---- Threads ---- */

TEST(a_trigger_wakes_a_waiting_thread)
{
	int kq = open_queue(), round;
	touch(kq, EV_ADD | EV_CLEAR, 0, 0, NULL);
	for (round = 0; round < 30; round++) {
		struct waiter w;
		waiter_start(&w, kq, NULL);
		touch(kq, 0, NOTE_TRIGGER, round, UDATA(round));
		CHECK_KEV(waiter_event(&w), 1, EVFILT_USER, EV_ADD | EV_CLEAR,
		    0, round, UDATA(round));
	}
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

enum { TURNS = 5000 };

struct player {
	int mine, theirs;
};

/* Waits for its own event, then causes the other's. */
static void *
play(void *arg)
{
	struct player *p = arg;
	int i;
	for (i = 0; i < TURNS; i++) {
		struct kevent k = next_event(p->mine);
		CHECK_EQ(k.data, i);
		CHANGE(p->theirs, 1, EVFILT_USER, 0, NOTE_TRIGGER, i, NULL);
	}
	return NULL;
}

TEST(no_trigger_is_lost_between_two_threads)
{
	int a = open_queue(), b = open_queue(), i;
	struct player p = {a, b};
	pthread_t thread;
	add_user(a, 1, EV_CLEAR);
	add_user(b, 1, EV_CLEAR);
	CHECK_EQ(pthread_create(&thread, NULL, play, &p), 0);
	for (i = 0; i < TURNS; i++) {
		CHANGE(a, 1, EVFILT_USER, 0, NOTE_TRIGGER, i, NULL);
		CHECK_EQ(next_event(b).data, i);
	}
	CHECK_EQ(pthread_join(thread, NULL), 0);
	expect_none(a);
	expect_none(b);
	CHECK_EQ(close(a), 0);
	CHECK_EQ(close(b), 0);
}

enum { THREADS = 4, TRIGGERS = 3000 };

struct shooter {
	int kq;
	unsigned bit;
};

static void *
shoot(void *arg)
{
	struct shooter *s = arg;
	int i;
	for (i = 0; i < TRIGGERS; i++) {
		/* The last one leaves its mark; it may not be merged away. */
		unsigned last = i == TRIGGERS - 1 ? NOTE_FFOR | s->bit : 0;
		CHANGE(s->kq, 1, EVFILT_USER, 0, NOTE_TRIGGER | last, 0, NULL);
	}
	return NULL;
}

TEST(triggers_of_many_threads_merge_and_none_is_lost)
{
	int kq = open_queue(), i, events = 0;
	struct shooter s[THREADS];
	pthread_t thread[THREADS];
	unsigned seen = 0;
	add_user(kq, 1, EV_CLEAR);
	for (i = 0; i < THREADS; i++) {
		s[i].kq = kq;
		s[i].bit = 1u << i;
		CHECK_EQ(pthread_create(&thread[i], NULL, shoot, &s[i]), 0);
	}
	while (seen != (1u << THREADS) - 1) {
		seen = next_event(kq).fflags;
		events++;
	}
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(thread[i], NULL), 0);
	CHECK(events <= THREADS * TRIGGERS);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

struct counter {
	int kq;
	atomic_int *counted;
};

static void *
count_until_stopped(void *arg)
{
	struct counter *c = arg;
	for (;;) {
		struct kevent k = next_event(c->kq);
		if (k.ident == 2)
			return NULL;
		atomic_fetch_add(c->counted, 1);
	}
}

/* Several triggering and several waiting threads: never more events. */
TEST(events_never_outnumber_triggers)
{
	int kq = open_queue(), i;
	atomic_int counted = 0;
	struct counter c = {kq, &counted};
	struct shooter s = {kq, 1};
	pthread_t waiting[THREADS], firing[THREADS];
	add_user(kq, 1, EV_CLEAR);
	add_user(kq, 2, 0);
	for (i = 0; i < THREADS; i++) {
		CHECK_EQ(pthread_create(&waiting[i], NULL,
			     count_until_stopped, &c), 0);
		CHECK_EQ(pthread_create(&firing[i], NULL, shoot, &s), 0);
	}
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(firing[i], NULL), 0);
	trigger(kq, 2);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(waiting[i], NULL), 0);
	delete_user(kq, 2);
	/* The stop may have overtaken one merged event, no more. */
	if (atomic_load(&counted) == 0)
		next_event(kq);
	CHECK(atomic_load(&counted) <= THREADS * TRIGGERS);
	CHANGE(kq, 1, EVFILT_USER, EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}
