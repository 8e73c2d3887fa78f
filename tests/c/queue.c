/* The queue's own descriptor, and the numbers of those it watches. */
#include "io.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>

#define USER_ADD(kq, id, flags)                                               \
	CHANGE(kq, id, EVFILT_USER, EV_ADD | (flags), 0, 0, UDATA(3))
#define TRIGGER(kq, id)                                                       \
	CHANGE(kq, id, EVFILT_USER, 0, NOTE_TRIGGER, 0, UDATA(3))
#define EXPECT_USER(kq, id, flags)                                            \
	EXPECT(kq, id, EVFILT_USER, EV_ADD | (flags), 0, 0, UDATA(3))

/*
 * The four ways to watch a queue. Each answers whether it sees the queue
 * readable within timeout_ms.
 */
struct watcher {
	int kq;
	int epoll;
	int outer;
};

static void
watch(struct watcher *w, int kq)
{
	struct epoll_event ee = {.events = EPOLLIN, .data.u64 = 42};
	w->kq = kq;
	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	CHECK(w->epoll >= 0);
	CHECK_EQ(epoll_ctl(w->epoll, EPOLL_CTL_ADD, kq, &ee), 0);
	w->outer = new_queue();
	READ_ADD(w->outer, kq, 0);
}

static void
unwatch(struct watcher *w)
{
	CHECK_EQ(close(w->epoll), 0);
	CHECK_EQ(close(w->outer), 0);
}

static bool
seen_by_poll(struct watcher *w, int timeout_ms)
{
	struct pollfd pfd = {.fd = w->kq, .events = POLLIN | POLLOUT};
	int n = poll(&pfd, 1, timeout_ms);
	CHECK(n >= 0);
	CHECK(n == 0 || pfd.revents == POLLIN);
	return n == 1;
}

static bool
seen_by_select(struct watcher *w, int timeout_ms)
{
	struct timeval tv = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
	fd_set set;
	int n;
	CHECK(w->kq < FD_SETSIZE);
	FD_ZERO(&set);
	FD_SET(w->kq, &set);
	n = select(w->kq + 1, &set, NULL, NULL, &tv);
	CHECK(n >= 0);
	return n == 1;
}

static bool
seen_by_epoll(struct watcher *w, int timeout_ms)
{
	struct epoll_event ee;
	int n = epoll_wait(w->epoll, &ee, 1, timeout_ms);
	CHECK(n >= 0);
	CHECK(n == 0 || ee.data.u64 == 42);
	return n == 1;
}

static bool
seen_by_queue(struct watcher *w, int timeout_ms)
{
	struct timespec ts = ms_to_ts(timeout_ms);
	struct kevent k;
	int n = kevent(w->outer, NULL, 0, &k, 1, &ts);
	CHECK(n >= 0);
	if (n == 1)
		CHECK_KEV(k, (uintptr_t)w->kq, EVFILT_READ, EV_ADD, 0, 1,
		    UDATA(3));
	return n == 1;
}

typedef bool seen_fn(struct watcher *w, int timeout_ms);

static seen_fn *const ways[] = {seen_by_poll, seen_by_select, seen_by_epoll,
    seen_by_queue};
static const char *const way_names[] = {"poll", "select", "epoll", "kevent"};

static void
all_see(int line, struct watcher *w, bool pending)
{
	size_t i;
	for (i = 0; i < sizeof ways / sizeof ways[0]; i++)
		if (ways[i](w, pending ? GENEROUS_MS : 0) != pending) {
			fprintf(stderr, "%s:%d: %s %s\n", __FILE__, line,
			    way_names[i], pending ? "sees nothing" :
			    "sees what is not there");
			exit(1);
		}
}
#define ALL_SEE(w) all_see(__LINE__, w, true)
#define NONE_SEES(w) all_see(__LINE__, w, false)

/* Nothing to retrieve, and then nothing to be seen from outside. */
#define DRAINED(w)                                                            \
	do {                                                                  \
		expect_none((w)->kq);                                         \
		NONE_SEES(w);                                                 \
	} while (0)

/* Who sees it, and when */

TEST(new_queue_is_quiet)
{
	struct watcher w;
	int kq = new_queue();
	watch(&w, kq);
	NONE_SEES(&w);
	DRAINED(&w);
	unwatch(&w);
	CHECK_EQ(close(kq), 0);
}

static void
level_stream_is_seen_until_drained(pair_fn make)
{
	struct watcher w;
	int fds[2], round, kq = new_queue();
	make(fds);
	watch(&w, kq);
	READ_ADD(kq, fds[0], 0);
	NONE_SEES(&w);
	for (round = 0; round < 3; round++) {
		put(fds[1], 5);
		ALL_SEE(&w);
		EXPECT_READ(kq, fds[0], 0, 0, 5);
		ALL_SEE(&w);
		take(fds[0], 5);
		DRAINED(&w);
	}
	unwatch(&w);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(level_stream_is_seen_until_drained)
ON_PIPE(level_stream_is_seen_until_drained)

static void
clear_stream_is_seen_until_retrieved(pair_fn make)
{
	struct watcher w;
	int fds[2], i, kq = new_queue();
	make(fds);
	watch(&w, kq);
	READ_ADD(kq, fds[0], EV_CLEAR);
	NONE_SEES(&w);
	for (i = 1; i <= 3; i++) {
		put(fds[1], 5);
		ALL_SEE(&w);
		ALL_SEE(&w);
		EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 5 * i);
		NONE_SEES(&w);
		DRAINED(&w);
	}
	unwatch(&w);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(clear_stream_is_seen_until_retrieved)
ON_PIPE(clear_stream_is_seen_until_retrieved)

static void
dispatched_stream_is_seen_again_when_enabled(pair_fn make)
{
	struct watcher w;
	int fds[2], kq = new_queue();
	make(fds);
	watch(&w, kq);
	READ_ADD(kq, fds[0], EV_DISPATCH);
	put(fds[1], 5);
	ALL_SEE(&w);
	EXPECT_READ(kq, fds[0], EV_DISPATCH, 0, 5);
	NONE_SEES(&w);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ENABLE, 0, 0, UDATA(3));
	ALL_SEE(&w);
	EXPECT_READ(kq, fds[0], EV_DISPATCH, 0, 5);
	DRAINED(&w);
	unwatch(&w);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(dispatched_stream_is_seen_again_when_enabled)

static void
disabled_stream_is_not_seen(pair_fn make)
{
	struct watcher w;
	int fds[2], kq = new_queue();
	make(fds);
	watch(&w, kq);
	READ_ADD(kq, fds[0], 0);
	put(fds[1], 5);
	ALL_SEE(&w);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_DISABLE, 0, 0, UDATA(3));
	NONE_SEES(&w);
	put(fds[1], 5);
	WAIT_FOR(unread(fds[0]) == 10);
	NONE_SEES(&w);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_ENABLE, 0, 0, UDATA(3));
	ALL_SEE(&w);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_DELETE, 0, 0, NULL);
	NONE_SEES(&w);
	DRAINED(&w);
	unwatch(&w);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(disabled_stream_is_not_seen)
ON_PIPE(disabled_stream_is_not_seen)

static void
second_filter_is_seen_too(pair_fn make)
{
	struct watcher w;
	struct kevent k;
	int fds[2], kq = new_queue();
	make(fds);
	watch(&w, kq);
	READ_ADD(kq, fds[0], EV_CLEAR);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD | EV_CLEAR, 0, 0,
	    UDATA(3));
	ALL_SEE(&w);
	k = next_event(kq);
	CHECK_EQ(k.filter, EVFILT_WRITE);
	DRAINED(&w);
	put(fds[1], 5);
	ALL_SEE(&w);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 5);
	DRAINED(&w);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ENABLE, 0, 0, UDATA(3));
	ALL_SEE(&w);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_DISABLE, 0, 0, UDATA(3));
	NONE_SEES(&w);
	unwatch(&w);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}
ON_STREAMS(second_filter_is_seen_too)

TEST(user_event_is_seen_until_it_is_cancelled)
{
	struct watcher w;
	int kq = new_queue();
	watch(&w, kq);
	USER_ADD(kq, 1, 0);
	NONE_SEES(&w);
	TRIGGER(kq, 1);
	ALL_SEE(&w);
	EXPECT_USER(kq, 1, 0);
	EXPECT_USER(kq, 1, 0);
	ALL_SEE(&w);
	/* A bare EV_CLEAR takes the trigger back. */
	CHANGE(kq, 1, EVFILT_USER, EV_CLEAR, 0, 0, UDATA(3));
	DRAINED(&w);
	TRIGGER(kq, 1);
	ALL_SEE(&w);
	CHANGE(kq, 1, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	DRAINED(&w);
	unwatch(&w);
	CHECK_EQ(close(kq), 0);
}

TEST(user_event_with_clear_is_seen_until_retrieved)
{
	struct watcher w;
	int round, kq = new_queue();
	watch(&w, kq);
	USER_ADD(kq, 1, EV_CLEAR);
	for (round = 0; round < 5; round++) {
		NONE_SEES(&w);
		TRIGGER(kq, 1);
		TRIGGER(kq, 1);
		ALL_SEE(&w);
		EXPECT_USER(kq, 1, EV_CLEAR);
		NONE_SEES(&w);
		DRAINED(&w);
	}
	unwatch(&w);
	CHECK_EQ(close(kq), 0);
}

TEST(user_event_disabled_is_not_seen)
{
	struct watcher w;
	int kq = new_queue();
	watch(&w, kq);
	USER_ADD(kq, 1, EV_CLEAR);
	TRIGGER(kq, 1);
	ALL_SEE(&w);
	CHANGE(kq, 1, EVFILT_USER, EV_DISABLE, 0, 0, UDATA(3));
	DRAINED(&w);
	CHANGE(kq, 1, EVFILT_USER, EV_ENABLE, 0, 0, UDATA(3));
	ALL_SEE(&w);
	CHANGE(kq, 1, EVFILT_USER, EV_DISABLE, 0, 0, UDATA(3));
	TRIGGER(kq, 1);
	DRAINED(&w);
	CHANGE(kq, 1, EVFILT_USER, EV_ENABLE, 0, 0, UDATA(3));
	ALL_SEE(&w);
	EXPECT_USER(kq, 1, EV_CLEAR);
	DRAINED(&w);
	unwatch(&w);
	CHECK_EQ(close(kq), 0);
}

TEST(user_oneshot_and_dispatch_are_seen_once)
{
	struct watcher w;
	int kq = new_queue();
	watch(&w, kq);
	USER_ADD(kq, 1, EV_ONESHOT);
	TRIGGER(kq, 1);
	ALL_SEE(&w);
	EXPECT_USER(kq, 1, EV_ONESHOT);
	DRAINED(&w);
	USER_ADD(kq, 2, EV_DISPATCH | EV_CLEAR);
	TRIGGER(kq, 2);
	ALL_SEE(&w);
	EXPECT_USER(kq, 2, EV_DISPATCH | EV_CLEAR);
	DRAINED(&w);
	unwatch(&w);
	CHECK_EQ(close(kq), 0);
}

TEST(timer_is_seen_from_its_expiry_until_retrieved)
{
	struct watcher w;
	int64_t start;
	int kq = new_queue();
	watch(&w, kq);
	start = now_ns();
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 20, UDATA(3));
	ALL_SEE(&w);
	CHECK(now_ns() - start >= 20000000);
	ALL_SEE(&w);
	EXPECT(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT | EV_CLEAR, 0, 1,
	    UDATA(3));
	DRAINED(&w);
	unwatch(&w);
	CHECK_EQ(close(kq), 0);
}

TEST(timer_periodic_is_seen_at_each_period)
{
	struct watcher w;
	int64_t start = now_ns(), sum = 0;
	int kq = new_queue();
	watch(&w, kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, 0, 5, UDATA(3));
	while (sum < 10) {
		struct kevent k;
		CHECK(seen_by_poll(&w, GENEROUS_MS));
		k = next_event(kq);
		CHECK(k.data >= 1);
		sum += k.data;
		CHECK(now_ns() - start >= sum * 5000000);
	}
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	/* A stray wake-up of a timer that went is absorbed here. */
	expect_none(kq);
	DRAINED(&w);
	unwatch(&w);
	CHECK_EQ(close(kq), 0);
}

TEST(timer_disabled_or_deleted_is_not_seen)
{
	struct watcher w;
	struct kevent k;
	int kq = new_queue(), clock = new_queue();
	watch(&w, kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_DISABLE, 0, 1, UDATA(3));
	CHANGE(kq, 2, EVFILT_TIMER, EV_ADD, 0, 1, UDATA(3));
	CHANGE(kq, 2, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	/* Another queue tells when both have had time to expire. */
	CHANGE(clock, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 20, NULL);
	(void)next_event(clock);
	DRAINED(&w);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ENABLE, 0, 0, UDATA(3));
	ALL_SEE(&w);
	k = next_event(kq);
	CHECK_EQ(k.ident, 1);
	CHECK(k.data >= 20);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	DRAINED(&w);
	unwatch(&w);
	CHECK_EQ(close(clock), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(timer_expired_then_disabled_is_not_seen)
{
	struct watcher w;
	int kq = new_queue();
	watch(&w, kq);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, UDATA(3));
	ALL_SEE(&w);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DISABLE, 0, 0, UDATA(3));
	DRAINED(&w);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ENABLE, 0, 0, UDATA(3));
	ALL_SEE(&w);
	CHANGE(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
	DRAINED(&w);
	unwatch(&w);
	CHECK_EQ(close(kq), 0);
}

TEST(file_is_seen_while_unread_and_when_it_grows)
{
	struct watcher w;
	int round, kq = new_queue(), fd = nameless_file(10);
	watch(&w, kq);
	READ_ADD(kq, fd, 0);
	ALL_SEE(&w);
	EXPECT_READ(kq, fd, 0, 0, 10);
	ALL_SEE(&w);
	take(fd, 10);
	DRAINED(&w);
	for (round = 1; round <= 3; round++) {
		CHECK_EQ(ftruncate(fd, 10 + round), 0);
		ALL_SEE(&w);
		EXPECT_READ(kq, fd, 0, 0, 1);
		ALL_SEE(&w);
		take(fd, 1);
		DRAINED(&w);
	}
	CHANGE(kq, (uintptr_t)fd, EVFILT_READ, EV_DISABLE, 0, 0, UDATA(3));
	CHECK_EQ(ftruncate(fd, 20), 0);
	DRAINED(&w);
	CHANGE(kq, (uintptr_t)fd, EVFILT_READ, EV_ENABLE, 0, 0, UDATA(3));
	ALL_SEE(&w);
	CHANGE(kq, (uintptr_t)fd, EVFILT_READ, EV_DELETE, 0, 0, NULL);
	DRAINED(&w);
	unwatch(&w);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(file_write_is_seen_until_deleted)
{
	struct watcher w;
	int kq = new_queue(), fd = nameless_file(0);
	watch(&w, kq);
	CHANGE(kq, (uintptr_t)fd, EVFILT_WRITE, EV_ADD, 0, 0, UDATA(3));
	ALL_SEE(&w);
	CHECK_EQ(next_event(kq).filter, EVFILT_WRITE);
	ALL_SEE(&w);
	CHANGE(kq, (uintptr_t)fd, EVFILT_WRITE, EV_DELETE, 0, 0, NULL);
	DRAINED(&w);
	CHANGE(kq, (uintptr_t)fd, EVFILT_WRITE, EV_ADD | EV_ONESHOT, 0, 0,
	    UDATA(3));
	ALL_SEE(&w);
	CHECK_EQ(next_event(kq).filter, EVFILT_WRITE);
	DRAINED(&w);
	unwatch(&w);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

/* A knote with EV_CLEAR: its event is seen until it is retrieved. */
static void
seen_until_retrieved(struct watcher *w, int filter)
{
	ALL_SEE(w);
	CHECK_EQ(next_event(w->kq).filter, filter);
	DRAINED(w);
}

TEST(events_of_the_other_filters_are_seen_until_retrieved)
{
	struct watcher w;
	int fds[2], kq = new_queue(), file = nameless_file(0), process;
	pid_t pid;
	NOT_UNDER_VALGRIND("it knows no pidfd");
	CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
	tcp_pair(fds);
	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	CHECK(pid > 0);
	watch(&w, kq);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_EXCEPT, EV_ADD | EV_CLEAR,
	    NOTE_OOB, 0, NULL);
	CHANGE(kq, (uintptr_t)file, EVFILT_VNODE, EV_ADD | EV_CLEAR,
	    NOTE_EXTEND, 0, NULL);
	CHANGE(kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
	CHANGE(kq, (uintptr_t)pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL);
	DRAINED(&w);
	CHECK_EQ(send(fds[1], "!", 1, MSG_OOB), 1);
	seen_until_retrieved(&w, EVFILT_EXCEPT);
	CHECK_EQ(ftruncate(file, 5), 0);
	seen_until_retrieved(&w, EVFILT_VNODE);
	CHECK_EQ(raise(SIGUSR1), 0);
	seen_until_retrieved(&w, EVFILT_SIGNAL);
	process = (int)syscall(SYS_pidfd_open, pid, 0);
	CHECK_EQ(kill(pid, SIGKILL), 0);
	seen_until_retrieved(&w, EVFILT_PROC);
	/* Of a process that has ended already. */
	if (process >= 0) {
		CHANGE(kq, (uintptr_t)process, EVFILT_PROCDESC, EV_ADD,
		    NOTE_EXIT, 0, NULL);
		seen_until_retrieved(&w, EVFILT_PROCDESC);
		CHECK_EQ(close(process), 0);
	}
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	unwatch(&w);
	close_pair(fds);
	CHECK_EQ(close(file), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(what_did_not_fit_is_still_seen)
{
	struct watcher w;
	int i, fds[2], kq = new_queue(), fd = nameless_file(0);
	watch(&w, kq);
	unix_pair(fds);
	put(fds[1], 1);
	READ_ADD(kq, fds[0], EV_ONESHOT);
	CHANGE(kq, (uintptr_t)fd, EVFILT_WRITE, EV_ADD | EV_ONESHOT, 0, 0,
	    UDATA(3));
	for (i = 0; i < 5; i++) {
		USER_ADD(kq, (uintptr_t)i, EV_CLEAR);
		TRIGGER(kq, (uintptr_t)i);
	}
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, UDATA(3));
	for (i = 0; i < 8; i++) {
		ALL_SEE(&w);
		(void)next_event(kq);
	}
	DRAINED(&w);
	unwatch(&w);
	CHECK_EQ(close(fd), 0);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* A call that adds and collects at once leaves no wake-up behind. */
TEST(collecting_in_the_same_call_leaves_it_quiet)
{
	struct watcher w;
	struct kevent ch[2], ev[4];
	int kq = new_queue();
	watch(&w, kq);
	ch[0] = kev(1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, UDATA(3));
	ch[1] = kev(1, EVFILT_USER, 0, NOTE_TRIGGER, 0, UDATA(3));
	CHECK_EQ(kevent(kq, ch, 2, ev, 4, NULL), 1);
	DRAINED(&w);
	CHECK_EQ(kevent(kq, &ch[1], 1, ev, 4, NULL), 1);
	DRAINED(&w);
	unwatch(&w);
	CHECK_EQ(close(kq), 0);
}

/* A thread blocked in one of the four ways, and the event that ends it. */
struct onlooker {
	pthread_t thread;
	_Atomic(pid_t) tid;
	struct watcher *w;
	seen_fn *way;
	bool saw;
};

static void *
onlooker_main(void *arg)
{
	struct onlooker *o = arg;
	atomic_store(&o->tid, (pid_t)syscall(SYS_gettid));
	o->saw = o->way(o->w, GENEROUS_MS);
	return NULL;
}

enum cause { BY_SOCKET, BY_USER, BY_TIMER, BY_FILE, BY_ENABLE, CAUSES };

TEST(blocked_onlookers_are_woken)
{
	struct watcher w;
	struct kevent k;
	int cause, fds[2], kq = new_queue(), fd = nameless_file(0);
	size_t way;
	watch(&w, kq);
	unix_pair(fds);
	READ_ADD(kq, fds[0], EV_CLEAR);
	READ_ADD(kq, fd, EV_CLEAR);
	USER_ADD(kq, 1, EV_CLEAR);
	USER_ADD(kq, 2, EV_CLEAR | EV_DISABLE);
	for (way = 0; way < sizeof ways / sizeof ways[0]; way++)
		for (cause = 0; cause < CAUSES; cause++) {
			struct onlooker o = {.w = &w, .way = ways[way]};
			struct stat st;
			TRIGGER(kq, 2);
			DRAINED(&w);
			CHECK_EQ(pthread_create(&o.thread, NULL, onlooker_main,
			    &o), 0);
			WAIT_FOR(is_asleep(atomic_load(&o.tid)));
			switch (cause) {
			case BY_SOCKET:
				put(fds[1], 1);
				break;
			case BY_USER:
				TRIGGER(kq, 1);
				break;
			case BY_TIMER:
				CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
				    0, 1, UDATA(3));
				break;
			case BY_FILE:
				CHECK_EQ(fstat(fd, &st), 0);
				CHECK_EQ(ftruncate(fd, st.st_size + 1), 0);
				break;
			case BY_ENABLE:
				CHANGE(kq, 2, EVFILT_USER, EV_ENABLE, 0, 0,
				    UDATA(3));
				break;
			}
			CHECK_EQ(pthread_join(o.thread, NULL), 0);
			if (!o.saw)
				FAIL("%s slept through cause %d",
				    way_names[way], cause);
			k = next_event(kq);
			if (cause == BY_ENABLE) {
				CHECK_EQ(k.ident, 2);
				CHANGE(kq, 2, EVFILT_USER, EV_DISABLE, 0, 0,
				    UDATA(3));
			}
			expect_none(kq);
		}
	unwatch(&w);
	close_pair(fds);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

/* The onlooker's own edge mode needs a fresh wake-up for every event. */
TEST(edge_triggered_epoll_hears_every_event)
{
	struct epoll_event ee = {.events = EPOLLIN | EPOLLET};
	int i, fds[2], kq = new_queue(), ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK(ep >= 0);
	CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, kq, &ee), 0);
	unix_pair(fds);
	USER_ADD(kq, 1, EV_CLEAR);
	READ_ADD(kq, fds[0], EV_CLEAR);
	for (i = 1; i <= 20; i++) {
		TRIGGER(kq, 1);
		CHECK_EQ(epoll_wait(ep, &ee, 1, GENEROUS_MS), 1);
		EXPECT_USER(kq, 1, EV_CLEAR);
		expect_none(kq);
		put(fds[1], 1);
		CHECK_EQ(epoll_wait(ep, &ee, 1, GENEROUS_MS), 1);
		EXPECT_READ(kq, fds[0], EV_CLEAR, 0, i);
		expect_none(kq);
	}
	close_pair(fds);
	CHECK_EQ(close(ep), 0);
	CHECK_EQ(close(kq), 0);
}

/* Queues in queues */

TEST(nested_level_fires_until_the_inner_is_drained)
{
	int inner = new_queue(), outer = new_queue();
	READ_ADD(outer, inner, 0);
	EXPECT_QUIET(outer);
	USER_ADD(inner, 1, EV_CLEAR);
	TRIGGER(inner, 1);
	EXPECT_READ(outer, inner, 0, 0, 1);
	EXPECT_READ(outer, inner, 0, 0, 1);
	EXPECT_USER(inner, 1, EV_CLEAR);
	EXPECT_QUIET(outer);
	CHANGE(outer, (uintptr_t)inner, EVFILT_READ, EV_DELETE, 0, 0, NULL);
	TRIGGER(inner, 1);
	EXPECT_QUIET(outer);
	CHECK_EQ(close(inner), 0);
	CHECK_EQ(close(outer), 0);
}

TEST(nested_clear_fires_at_each_activation)
{
	int i, inner = new_queue(), outer = new_queue();
	READ_ADD(outer, inner, EV_CLEAR);
	USER_ADD(inner, 1, EV_CLEAR);
	for (i = 0; i < 5; i++) {
		TRIGGER(inner, 1);
		EXPECT_READ(outer, inner, EV_CLEAR, 0, 1);
		EXPECT_QUIET(outer);
		EXPECT_USER(inner, 1, EV_CLEAR);
		EXPECT_QUIET(inner);
	}
	EXPECT_QUIET(outer);
	CHECK_EQ(close(inner), 0);
	CHECK_EQ(close(outer), 0);
}

TEST(nested_oneshot_and_dispatch)
{
	int inner = new_queue(), outer = new_queue();
	USER_ADD(inner, 1, 0);
	TRIGGER(inner, 1);
	READ_ADD(outer, inner, EV_ONESHOT);
	EXPECT_READ(outer, inner, EV_ONESHOT, 0, 1);
	EXPECT_QUIET(outer);
	READ_ADD(outer, inner, EV_DISPATCH);
	EXPECT_READ(outer, inner, EV_DISPATCH, 0, 1);
	EXPECT_QUIET(outer);
	CHANGE(outer, (uintptr_t)inner, EVFILT_READ, EV_ENABLE, 0, 0, UDATA(3));
	EXPECT_READ(outer, inner, EV_DISPATCH, 0, 1);
	EXPECT_QUIET(outer);
	CHECK_EQ(close(inner), 0);
	CHECK_EQ(close(outer), 0);
}

TEST(nested_activation_wakes_a_sleeper)
{
	struct sleeper s;
	int inner = new_queue(), outer = new_queue();
	USER_ADD(inner, 1, EV_CLEAR);
	READ_ADD(outer, inner, 0);
	sleeper_start(&s, outer);
	TRIGGER(inner, 1);
	CHECK_KEV(sleeper_join(&s), (uintptr_t)inner, EVFILT_READ, EV_ADD, 0,
	    1, UDATA(3));
	CHECK_EQ(close(inner), 0);
	EXPECT_QUIET(outer);
	CHECK_EQ(close(outer), 0);
}

TEST(nested_two_inner_queues_are_told_apart)
{
	struct kevent ev[4];
	int a = new_queue(), b = new_queue(), outer = new_queue();
	READ_ADD(outer, a, 0);
	READ_ADD(outer, b, 0);
	USER_ADD(a, 1, EV_CLEAR);
	USER_ADD(b, 1, EV_CLEAR);
	TRIGGER(a, 1);
	EXPECT_READ(outer, a, 0, 0, 1);
	TRIGGER(b, 1);
	CHECK_EQ(kevent(outer, NULL, 0, ev, 4, &no_wait), 2);
	CHECK(ev[0].ident != ev[1].ident);
	EXPECT_USER(a, 1, EV_CLEAR);
	EXPECT_READ(outer, b, 0, 0, 1);
	EXPECT_USER(b, 1, EV_CLEAR);
	EXPECT_QUIET(outer);
	CHECK_EQ(close(a), 0);
	CHECK_EQ(close(b), 0);
	CHECK_EQ(close(outer), 0);
}

TEST(watching_oneself_is_einval)
{
	int other, kq = new_queue();
	USER_ADD(kq, 1, EV_CLEAR);
	CHECK_FAILS(change(kq, (uintptr_t)kq, EVFILT_READ, EV_ADD, 0, 0, NULL),
	    EINVAL);
	CHECK_FAILS(change(kq, (uintptr_t)kq, EVFILT_WRITE, EV_ADD, 0, 0,
	    NULL), EINVAL);
	/* By its other name it is the same queue. */
	other = dup(kq);
	CHECK(other >= 0);
	CHECK_FAILS(change(kq, (uintptr_t)other, EVFILT_READ, EV_ADD, 0, 0,
	    NULL), EINVAL);
	CHECK_FAILS(change(other, (uintptr_t)kq, EVFILT_READ, EV_ADD, 0, 0,
	    NULL), EINVAL);
	CHECK_EQ(close(other), 0);
	EXPECT_QUIET(kq);
	TRIGGER(kq, 1);
	EXPECT_USER(kq, 1, EV_CLEAR);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(watching_in_a_circle_is_einval)
{
	int a = new_queue(), b = new_queue();
	READ_ADD(a, b, 0);
	CHECK_FAILS(change(b, (uintptr_t)a, EVFILT_READ, EV_ADD, 0, 0, NULL),
	    EINVAL);
	/* The refused one was not half made. */
	CHECK_FAILS(change(b, (uintptr_t)a, EVFILT_READ, EV_DELETE, 0, 0,
	    NULL), ENOENT);
	USER_ADD(b, 1, EV_CLEAR);
	TRIGGER(b, 1);
	EXPECT_READ(a, b, 0, 0, 1);
	EXPECT_USER(b, 1, EV_CLEAR);
	EXPECT_QUIET(a);
	EXPECT_QUIET(b);
	CHECK_EQ(close(a), 0);
	CHECK_EQ(close(b), 0);
}

TEST(nesting_too_deep_is_einval_and_the_rest_works)
{
	enum { MANY = 16 };
	int q[MANY], depth, i;
	for (i = 0; i < MANY; i++)
		q[i] = new_queue();
	USER_ADD(q[0], 1, EV_CLEAR);
	for (depth = 1; depth < MANY; depth++) {
		errno = 0;
		if (change(q[depth], (uintptr_t)q[depth - 1], EVFILT_READ,
		    EV_ADD, 0, 0, UDATA(3)) == -1)
			break;
	}
	/* Linux nests five deep; the library may use up one or two of them. */
	CHECK_EQ(errno, EINVAL);
	CHECK(depth < MANY);
	CHECK(depth > 2);
	CHECK_FAILS(change(q[depth], (uintptr_t)q[depth - 1], EVFILT_READ,
	    EV_DELETE, 0, 0, NULL), ENOENT);
	USER_ADD(q[depth], 1, EV_CLEAR);
	TRIGGER(q[depth], 1);
	EXPECT_USER(q[depth], 1, EV_CLEAR);
	EXPECT_QUIET(q[depth]);
	TRIGGER(q[0], 1);
	for (i = depth - 1; i > 0; i--)
		EXPECT_READ(q[i], q[i - 1], 0, 0, 1);
	EXPECT_USER(q[0], 1, EV_CLEAR);
	for (i = 0; i < MANY; i++) {
		EXPECT_QUIET(q[i]);
		CHECK_EQ(close(q[i]), 0);
	}
}

TEST(other_filters_on_a_queue_are_einval)
{
	int inner = new_queue(), outer = new_queue();
	int ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK(ep >= 0);
	CHECK_FAILS(change(outer, (uintptr_t)inner, EVFILT_WRITE, EV_ADD, 0, 0,
	    NULL), EINVAL);
	CHECK_FAILS(change(outer, (uintptr_t)inner, EVFILT_WRITE, EV_DELETE, 0,
	    0, NULL), ENOENT);
	CHECK_FAILS(change(outer, (uintptr_t)ep, EVFILT_WRITE, EV_ADD, 0, 0,
	    NULL), EINVAL);
	CHECK_FAILS(change(outer, (uintptr_t)inner, EVFILT_EXCEPT, EV_ADD,
	    NOTE_OOB, 0, NULL), EINVAL);
	CHECK_FAILS(change(outer, (uintptr_t)inner, EVFILT_VNODE, EV_ADD,
	    NOTE_WRITE, 0, NULL), EINVAL);
	CHECK_FAILS(change(outer, (uintptr_t)inner, EVFILT_PROCDESC, EV_ADD,
	    NOTE_EXIT, 0, NULL), EINVAL);
	/* Also beside a READ that is allowed. */
	READ_ADD(outer, inner, 0);
	CHECK_FAILS(change(outer, (uintptr_t)inner, EVFILT_WRITE, EV_ADD, 0, 0,
	    NULL), EINVAL);
	USER_ADD(inner, 1, EV_CLEAR);
	TRIGGER(inner, 1);
	EXPECT_READ(outer, inner, 0, 0, 1);
	EXPECT_USER(inner, 1, EV_CLEAR);
	EXPECT_QUIET(outer);
	CHECK_EQ(close(ep), 0);
	CHECK_EQ(close(inner), 0);
	CHECK_EQ(close(outer), 0);
}

TEST(closing_the_inner_queue_silences_the_outer)
{
	int inner = new_queue(), outer = new_queue();
	READ_ADD(outer, inner, 0);
	USER_ADD(inner, 1, 0);
	TRIGGER(inner, 1);
	EXPECT_READ(outer, inner, 0, 0, 1);
	CHECK_EQ(close(inner), 0);
	EXPECT_QUIET(outer);
	CHECK_FAILS(change(outer, (uintptr_t)inner, EVFILT_READ, EV_DELETE, 0,
	    0, NULL), EBADF);
	/* A new queue on the number starts with no one watching. */
	CHECK_EQ(new_queue(), inner);
	USER_ADD(inner, 1, 0);
	TRIGGER(inner, 1);
	EXPECT_QUIET(outer);
	CHECK_FAILS(change(outer, (uintptr_t)inner, EVFILT_READ, EV_DELETE, 0,
	    0, NULL), ENOENT);
	READ_ADD(outer, inner, 0);
	EXPECT_READ(outer, inner, 0, 0, 1);
	CHECK_EQ(close(inner), 0);
	CHECK_EQ(close(outer), 0);
}

/* dup() of a queue */

TEST(dup_is_the_same_queue)
{
	int fds[2], other, kq = new_queue();
	unix_pair(fds);
	other = dup(kq);
	CHECK(other >= 0);
	READ_ADD(other, fds[0], 0);
	USER_ADD(kq, 1, EV_CLEAR);
	TRIGGER(other, 1);
	EXPECT_USER(kq, 1, EV_CLEAR);
	EXPECT_QUIET(other);
	TRIGGER(kq, 1);
	EXPECT_USER(other, 1, EV_CLEAR);
	EXPECT_QUIET(kq);
	put(fds[1], 2);
	EXPECT_READ(kq, fds[0], 0, 0, 2);
	EXPECT_READ(other, fds[0], 0, 0, 2);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_READ, EV_DELETE, 0, 0, NULL);
	CHECK_FAILS(change(other, (uintptr_t)fds[0], EVFILT_READ, EV_DELETE, 0,
	    0, NULL), ENOENT);
	EXPECT_QUIET(other);
	CHECK_EQ(close(other), 0);
	CHECK_FAILS(change(other, 1, EVFILT_USER, EV_ADD, 0, 0, NULL), EBADF);
	TRIGGER(kq, 1);
	EXPECT_USER(kq, 1, EV_CLEAR);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
}

/* Each case of these: was the dup used before the original was closed? */
static void
dup_outlives_the_original(bool used_before)
{
	int fds[2], other, kq = new_queue();
	unix_pair(fds);
	READ_ADD(kq, fds[0], 0);
	USER_ADD(kq, 1, EV_CLEAR);
	other = dup(kq);
	CHECK(other >= 0);
	if (used_before)
		EXPECT_QUIET(other);
	CHECK_EQ(close(kq), 0);
	CHECK_FAILS(change(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL),
	    EBADF);
	TRIGGER(other, 1);
	EXPECT_USER(other, 1, EV_CLEAR);
	put(fds[1], 2);
	EXPECT_READ(other, fds[0], 0, 0, 2);
	take(fds[0], 2);
	EXPECT_QUIET(other);
	close_pair(fds);
	CHECK_EQ(close(other), 0);
}

/* What is tried by the dead number falls on nothing that lives by the other. */
TEST(a_change_by_the_closed_number_leaves_the_dup_its_knotes)
{
	static const unsigned flags[] = {EV_DELETE, EV_DISABLE, EV_ENABLE,
	    EV_ADD};
	int fds[2], other, i, kq = new_queue();
	unix_pair(fds);
	READ_ADD(kq, fds[0], 0);
	other = dup(kq);
	CHECK(other >= 0);
	CHECK_EQ(close(kq), 0);
	for (i = 0; i < 4; i++)
		CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_READ,
		    flags[i], 0, 0, NULL), EBADF);
	put(fds[1], 2);
	EXPECT_READ(other, fds[0], 0, 0, 2);
	CHANGE(other, (uintptr_t)fds[0], EVFILT_READ, EV_DELETE, 0, 0, NULL);
	EXPECT_QUIET(other);
	close_pair(fds);
	CHECK_EQ(close(other), 0);
}

TEST(dup_outlives_the_original)
{
	dup_outlives_the_original(true);
}

TEST(dup_not_used_before_outlives_the_original)
{
	dup_outlives_the_original(false);
}

static void
dup_survives_a_new_queue_on_the_number(bool used_before, bool pending)
{
	int fds[2], other, i, more[4], kq = new_queue(), next;
	unix_pair(fds);
	READ_ADD(kq, fds[0], 0);
	USER_ADD(kq, 1, EV_CLEAR);
	if (pending)
		TRIGGER(kq, 1);
	other = dup(kq);
	CHECK(other >= 0);
	if (used_before)
		CHANGE(other, 1, EVFILT_USER, EV_ENABLE, 0, 0, UDATA(3));
	CHECK_EQ(close(kq), 0);
	/* Making queues is when the library looks for those that went. */
	next = new_queue();
	CHECK_EQ(next, kq);
	for (i = 0; i < 4; i++)
		more[i] = new_queue();
	EXPECT_QUIET(next);
	if (!pending)
		TRIGGER(other, 1);
	EXPECT_USER(other, 1, EV_CLEAR);
	put(fds[1], 2);
	EXPECT_READ(other, fds[0], 0, 0, 2);
	EXPECT_QUIET(next);
	/* The new queue is another one. */
	CHECK_FAILS(change(next, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL),
	    ENOENT);
	USER_ADD(next, 5, EV_CLEAR);
	TRIGGER(next, 5);
	EXPECT_USER(next, 5, EV_CLEAR);
	CHECK_FAILS(change(other, 5, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL),
	    ENOENT);
	take(fds[0], 2);
	EXPECT_QUIET(other);
	for (i = 0; i < 4; i++)
		CHECK_EQ(close(more[i]), 0);
	CHECK_EQ(close(next), 0);
	TRIGGER(other, 1);
	EXPECT_USER(other, 1, EV_CLEAR);
	EXPECT_QUIET(other);
	close_pair(fds);
	CHECK_EQ(close(other), 0);
}

TEST(dup_survives_a_new_queue_on_the_number)
{
	dup_survives_a_new_queue_on_the_number(true, false);
}

TEST(dup_not_used_before_survives_a_new_queue_on_the_number)
{
	dup_survives_a_new_queue_on_the_number(false, false);
}

TEST(dup_keeps_what_was_pending_over_a_new_queue_on_the_number)
{
	dup_survives_a_new_queue_on_the_number(false, true);
}

TEST(dup2_moves_a_queue)
{
	int kq = new_queue(), moved = new_queue();
	USER_ADD(kq, 1, EV_CLEAR);
	USER_ADD(moved, 2, EV_CLEAR);
	/* The number used to be another queue, which ends here. */
	CHECK_EQ(dup2(kq, moved), moved);
	TRIGGER(moved, 1);
	CHECK_FAILS(change(moved, 2, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL),
	    ENOENT);
	CHECK_EQ(close(kq), 0);
	EXPECT_USER(moved, 1, EV_CLEAR);
	EXPECT_QUIET(moved);
	CHECK_EQ(close(moved), 0);
}

/*
 * The one number left of a queue is that of another one, which has not been
 * asked after: looking for closed queues must find it all the same. A queue
 * with a signal is looked for as soon as one of its numbers is given out anew.
 */
TEST(dup2_over_a_queue_is_found_though_nobody_used_it)
{
	int idle[16], i;
	for (i = 0; i < 16; i++)
		idle[i] = new_queue();
	for (i = 0; i < 16; i++) {
		int over = new_queue(), kq = new_queue(), next;
		USER_ADD(kq, 1, EV_CLEAR);
		CHANGE(kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
		CHECK_EQ(dup2(kq, over), over);
		CHECK_EQ(close(kq), 0);
		next = new_queue();
		CHECK_EQ(next, kq);
		TRIGGER(over, 1);
		EXPECT_USER(over, 1, EV_CLEAR);
		EXPECT_QUIET(over);
		CHECK_EQ(close(next), 0);
		CHECK_EQ(close(over), 0);
	}
	for (i = 0; i < 16; i++)
		CHECK_EQ(close(idle[i]), 0);
}

/* One of its numbers is closed under a waiter, which may be woken by that; who
 * watches the queue by edges goes on to hear each event. */
TEST(nested_clear_goes_on_when_a_dup_is_closed_under_a_waiter)
{
	int outer = new_queue(), kq = new_queue(), i, j;
	READ_ADD(outer, kq, EV_CLEAR);
	USER_ADD(kq, 1, EV_CLEAR);
	for (i = 0; i < 20; i++) {
		int number = dup(kq);
		struct sleeper sleeper;
		struct kevent k;
		CHECK(number >= 0);
		sleeper_start(&sleeper, number);
		CHECK_EQ(close(number), 0);
		TRIGGER(kq, 1);
		CHECK_EQ(pthread_join(sleeper.thread, NULL), 0);
		CHECK(kevent(kq, NULL, 0, &k, 1, &no_wait) >= 0);
		CHECK(kevent(outer, NULL, 0, &k, 1, &no_wait) >= 0);
		for (j = 0; j < 3; j++) {
			TRIGGER(kq, 1);
			EXPECT_READ(outer, kq, EV_CLEAR, 0, 1);
			EXPECT_USER(kq, 1, EV_CLEAR);
			EXPECT_QUIET(kq);
		}
	}
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(close(outer), 0);
}

/* Changes by a number that was one of two of a queue fall on what it is now. */
TEST(dup_on_the_number_of_another_dup_is_not_that_queue)
{
	int other = new_queue(), kq = new_queue(), number = dup(other), i;
	USER_ADD(other, 1, EV_CLEAR);
	USER_ADD(other, 2, EV_CLEAR);
	USER_ADD(kq, 1, EV_CLEAR);
	CHANGE(number, 1, EVFILT_USER, EV_ENABLE, 0, 0, UDATA(3));
	CHECK_EQ(close(number), 0);
	CHECK_EQ(fcntl(kq, F_DUPFD_CLOEXEC, number), number);
	for (i = 0; i < 3; i++) {
		TRIGGER(number, 1);
		EXPECT_USER(number, 1, EV_CLEAR);
		TRIGGER(other, 2);
		EXPECT_USER(other, 2, EV_CLEAR);
		EXPECT_QUIET(other);
	}
	CHECK_EQ(close(number), 0);
	CHECK_EQ(close(kq), 0);
	TRIGGER(other, 1);
	EXPECT_USER(other, 1, EV_CLEAR);
	CHECK_EQ(close(other), 0);
}

/* What a call finds out by taking an event is not lost. */
static void
number_of_another_queue_loses_nothing(unsigned mode, bool changes)
{
	int fds[2], other = new_queue(), kq = new_queue();
	struct kevent ch, ev[2];
	unix_pair(fds);
	READ_ADD(kq, fds[0], mode);
	USER_ADD(kq, 1, EV_CLEAR);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(fcntl(kq, F_DUPFD_CLOEXEC, other), other);
	put(fds[1], 2);
	ch = kev(1, EVFILT_USER, EV_CLEAR, 0, 0, UDATA(3));
	CHECK_EQ(kevent(other, &ch, changes, ev, 2, &no_wait), 1);
	CHECK_KEV(ev[0], (uintptr_t)fds[0], EVFILT_READ, EV_ADD | mode, 0, 2,
	    UDATA(3));
	TRIGGER(kq, 1);
	if (mode == 0)
		take(fds[0], 2);
	EXPECT_USER(other, 1, EV_CLEAR);
	EXPECT_QUIET(other);
	close_pair(fds);
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(close(other), 0);
}

TEST(number_of_another_queue_loses_no_level_event)
{
	number_of_another_queue_loses_nothing(0, false);
}

TEST(number_of_another_queue_loses_no_clear_event)
{
	number_of_another_queue_loses_nothing(EV_CLEAR, false);
	number_of_another_queue_loses_nothing(EV_CLEAR, true);
}

TEST(number_of_another_queue_loses_no_oneshot_event)
{
	number_of_another_queue_loses_nothing(EV_ONESHOT, false);
}

TEST(number_of_another_queue_loses_no_dispatch_event)
{
	number_of_another_queue_loses_nothing(EV_DISPATCH, false);
}

TEST(number_of_another_queue_loses_no_user_event)
{
	int other = new_queue(), kq = new_queue(), i;
	USER_ADD(kq, 1, EV_CLEAR);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(fcntl(kq, F_DUPFD_CLOEXEC, other), other);
	for (i = 0; i < 3; i++) {
		TRIGGER(kq, 1);
		EXPECT_USER(other, 1, EV_CLEAR);
		EXPECT_QUIET(other);
	}
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(close(other), 0);
}

TEST(dup_chain_works_at_every_link)
{
	int i, next, kq = new_queue();
	USER_ADD(kq, 1, EV_CLEAR);
	for (i = 0; i < 50; i++) {
		int spare = i % 3 == 0 ? new_queue() : -1;
		next = fcntl(kq, F_DUPFD_CLOEXEC, 10 + i % 7);
		CHECK(next >= 0);
		CHECK_EQ(close(kq), 0);
		TRIGGER(next, 1);
		EXPECT_USER(next, 1, EV_CLEAR);
		EXPECT_QUIET(next);
		if (spare >= 0)
			CHECK_EQ(close(spare), 0);
		kq = next;
	}
	CHECK_EQ(close(kq), 0);
}

/* Flags at creation */

static void
works_and_is_close_on_exec(int kq)
{
	CHECK(kq >= 0);
	CHECK((fcntl(kq, F_GETFD) & FD_CLOEXEC) != 0);
	USER_ADD(kq, 1, EV_CLEAR);
	TRIGGER(kq, 1);
	EXPECT_USER(kq, 1, EV_CLEAR);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(queues_are_close_on_exec)
{
	works_and_is_close_on_exec(kqueue());
	works_and_is_close_on_exec(kqueue1(0));
	works_and_is_close_on_exec(kqueue1(O_CLOEXEC));
	works_and_is_close_on_exec(kqueue1(O_NONBLOCK));
	works_and_is_close_on_exec(kqueue1(O_CLOEXEC | O_NONBLOCK));
	works_and_is_close_on_exec(kqueuex(0));
	works_and_is_close_on_exec(kqueuex(KQUEUE_CLOEXEC));
}

TEST(private_descriptors_are_close_on_exec)
{
	static char text[65536];
	char *p;
	int fds[2], kq = new_queue(), fd = nameless_file(0);
	tcp_pair(fds);
	/* One of each filter, for every private descriptor that needs no right. */
	READ_ADD(kq, fds[0], 0);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
	READ_ADD(kq, fd, 0);
	USER_ADD(kq, 1, 0);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, 0, 100000, NULL);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_EXCEPT, EV_ADD, NOTE_OOB, 0, NULL);
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_ADD, NOTE_EXTEND, 0, NULL);
	CHANGE(kq, (uintptr_t)getpid(), EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL);
	CHANGE(kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
	CHANGE(kq, 0, EVFILT_FS, EV_ADD, 0, 0, NULL);
	CHECK_EQ(next_event(kq).filter, EVFILT_WRITE);
	open_descriptors(text, sizeof text);
	for (p = text; *p != '\0'; p = strchr(p, ' ') + 1) {
		int n = atoi(p);
		if (n < PRIVATE_FLOOR)
			continue;
		CHECK((fcntl(n, F_GETFD) & FD_CLOEXEC) != 0);
	}
	close_pair(fds);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(unknown_creation_flags_are_einval)
{
	static const int kqueue1_bad[] = {O_APPEND, O_WRONLY, O_RDWR, O_CREAT,
	    O_CLOEXEC | O_APPEND, 1 << 30, -1};
	static const unsigned kqueuex_bad[] = {2 /* KQUEUE_CPONFORK */,
	    2 | KQUEUE_CLOEXEC, 4, 0x80000000U, ~0U};
	size_t i;
	for (i = 0; i < sizeof kqueue1_bad / sizeof kqueue1_bad[0]; i++)
		CHECK_FAILS(kqueue1(kqueue1_bad[i]), EINVAL);
	for (i = 0; i < sizeof kqueuex_bad / sizeof kqueuex_bad[0]; i++)
		CHECK_FAILS(kqueuex(kqueuex_bad[i]), EINVAL);
}

TEST(queue_takes_the_lowest_number)
{
	int first = open("/dev/null", O_RDONLY | O_CLOEXEC), kq;
	CHECK(first >= 0);
	CHECK_EQ(close(first), 0);
	kq = new_queue();
	CHECK_EQ(kq, first);
	CHECK_EQ(close(kq), 0);
}

/* Numbers that are no queue, or no longer */

static void
refused(int fd, int code)
{
	struct kevent ch = kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL), ev;
	struct kevent watch_0 = kev(0, EVFILT_READ, EV_ADD, 0, 0, NULL);
	CHECK_FAILS(kevent(fd, NULL, 0, NULL, 0, NULL), code);
	CHECK_FAILS(kevent(fd, NULL, 0, &ev, 1, &no_wait), code);
	CHECK_FAILS(kevent(fd, &ch, 1, NULL, 0, NULL), code);
	CHECK_FAILS(kevent(fd, &ch, 1, &ev, 1, &no_wait), code);
	CHECK_FAILS(kevent(fd, &watch_0, 1, NULL, 0, NULL), code);
}

TEST(number_that_is_not_open_is_ebadf)
{
	int kq = new_queue();
	CHECK_EQ(close(kq), 0);
	refused(kq, EBADF);
	refused(-1, EBADF);
	refused(INT_MIN, EBADF);
	refused(INT_MAX, EBADF);
	refused(1 << 20, EBADF);
}

TEST(number_closed_with_knotes_and_events_is_ebadf)
{
	int fds[2], kq = new_queue();
	unix_pair(fds);
	put(fds[1], 1);
	READ_ADD(kq, fds[0], 0);
	USER_ADD(kq, 1, 0);
	TRIGGER(kq, 1);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, 0, 1, NULL);
	CHECK_EQ(close(kq), 0);
	refused(kq, EBADF);
	close_pair(fds);
}

TEST(descriptor_that_is_no_queue_is_einval)
{
	int fds[2], fd;
	unix_pair(fds);
	put(fds[1], 5);
	refused(fds[0], EINVAL);
	CHECK_EQ(unread(fds[0]), 5);
	close_pair(fds);
	pipe_pair(fds);
	refused(fds[0], EINVAL);
	refused(fds[1], EINVAL);
	close_pair(fds);
	fd = nameless_file(3);
	refused(fd, EINVAL);
	CHECK_EQ(close(fd), 0);
	fd = eventfd(1, EFD_CLOEXEC);
	CHECK(fd >= 0);
	refused(fd, EINVAL);
	CHECK_EQ(close(fd), 0);
}

TEST(number_reused_by_another_kind_is_einval)
{
	int fds[2], kq = new_queue();
	USER_ADD(kq, 1, 0);
	TRIGGER(kq, 1);
	EXPECT_USER(kq, 1, 0);
	CHECK_EQ(close(kq), 0);
	pipe_pair(fds);
	CHECK_EQ(fds[0], kq);
	refused(fds[0], EINVAL);
	close_pair(fds);
	refused(kq, EBADF);
}

/* What /proc says of an epoll descriptor: its whole set. */
static void
epoll_set(int ep, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", ep);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	n = read(fd, buf, size - 1);
	CHECK(n > 0);
	buf[n] = '\0';
	CHECK_EQ(close(fd), 0);
}

/*
 * ep is the program's: kevent() refuses it, and all it held is still there.
 * It is asked both while it has nothing to report and while it has.
 */
static void
foreign_epoll_is_left_alone(int ep)
{
	char before[4096], after[4096];
	struct epoll_event ee;
	int level[2], edge[2];
	pipe_pair(level);
	pipe_pair(edge);
	ee.events = EPOLLIN;
	ee.data.u64 = 0;
	CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, level[0], &ee), 0);
	ee.events = EPOLLIN | EPOLLET;
	ee.data.u64 = 0x123456789abcdefULL;
	CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, edge[0], &ee), 0);
	epoll_set(ep, before, sizeof before);
	refused(ep, EINVAL);
	epoll_set(ep, after, sizeof after);
	CHECK_EQ(strcmp(before, after), 0);
	CHECK_EQ(epoll_wait(ep, &ee, 1, 0), 0);
	put(level[1], 1);
	refused(ep, EINVAL);
	epoll_set(ep, after, sizeof after);
	CHECK_EQ(strcmp(before, after), 0);
	CHECK_EQ(epoll_wait(ep, &ee, 1, 0), 1);
	CHECK_EQ(ee.data.u64, 0);
	take(level[0], 1);
	CHECK_EQ(epoll_wait(ep, &ee, 1, 0), 0);
	put(edge[1], 1);
	CHECK_EQ(epoll_wait(ep, &ee, 1, 0), 1);
	CHECK_EQ(ee.data.u64, 0x123456789abcdefULL);
	CHECK_EQ(epoll_wait(ep, &ee, 1, 0), 0);
	close_pair(level);
	close_pair(edge);
}

TEST(foreign_epoll_is_einval_and_left_alone)
{
	int kq = new_queue(), ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK(ep >= 0);
	foreign_epoll_is_left_alone(ep);
	CHECK_EQ(close(ep), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

/* Its edge must still be there to take: a look must not eat it. */
TEST(foreign_epoll_keeps_its_edge)
{
	struct epoll_event ee = {.events = EPOLLIN | EPOLLET, .data.u64 = 7};
	int fds[2], ep = epoll_create1(EPOLL_CLOEXEC), kq = new_queue();
	CHECK(ep >= 0);
	pipe_pair(fds);
	CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], &ee), 0);
	put(fds[1], 1);
	refused(ep, EINVAL);
	CHECK_EQ(epoll_wait(ep, &ee, 1, 0), 1);
	CHECK_EQ(ee.data.u64, 7);
	CHECK_EQ(epoll_wait(ep, &ee, 1, 0), 0);
	close_pair(fds);
	CHECK_EQ(close(ep), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(queue_number_now_a_foreign_epoll_is_einval_and_left_alone)
{
	int fds[2], ep, kq = new_queue();
	unix_pair(fds);
	READ_ADD(kq, fds[0], 0);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
	USER_ADD(kq, 1, EV_CLEAR);
	TRIGGER(kq, 1);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, 0, 100000, NULL);
	(void)next_event(kq);
	CHECK_EQ(close(kq), 0);
	ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK_EQ(ep, kq);
	foreign_epoll_is_left_alone(ep);
	/* Nor does what happens to the old queue's descriptors touch it. */
	put(fds[1], 1);
	close_pair(fds);
	foreign_epoll_is_left_alone(ep);
	/* A sweep for dead queues must not take it for one. */
	CHECK_EQ(close(new_queue()), 0);
	foreign_epoll_is_left_alone(ep);
	CHECK_EQ(close(ep), 0);
}

/* The first thing done with the stale number is a change, or is a wait. */
TEST(stale_number_is_found_out_by_whatever_comes_first)
{
	struct kevent ev, ch = kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	int first;
	for (first = 0; first < 5; first++) {
		char before[4096], after[4096];
		int kq = new_queue(), ep, fds[2];
		pipe_pair(fds);
		USER_ADD(kq, 1, EV_CLEAR);
		READ_ADD(kq, fds[0], 0);
		EXPECT_QUIET(kq);
		CHECK_EQ(close(kq), 0);
		ep = epoll_create1(EPOLL_CLOEXEC);
		CHECK_EQ(ep, kq);
		epoll_set(ep, before, sizeof before);
		switch (first) {
		case 0:
			CHECK_FAILS(change(ep, (uintptr_t)fds[0], EVFILT_READ,
			    EV_ADD, 0, 0, NULL), EINVAL);
			break;
		case 1:
			CHECK_FAILS(change(ep, (uintptr_t)fds[1], EVFILT_WRITE,
			    EV_ADD, 0, 0, NULL), EINVAL);
			break;
		case 2:
			CHECK_FAILS(kevent(ep, &ch, 1, &ev, 1, &no_wait),
			    EINVAL);
			break;
		case 3:
			CHECK_FAILS(kevent(ep, NULL, 0, &ev, 1, &no_wait),
			    EINVAL);
			break;
		default:
			CHECK_FAILS(change(ep, 1, EVFILT_USER, 0, NOTE_TRIGGER,
			    0, NULL), EINVAL);
			break;
		}
		epoll_set(ep, after, sizeof after);
		CHECK_EQ(strcmp(before, after), 0);
		CHECK_EQ(close(ep), 0);
		close_pair(fds);
	}
}

TEST(queue_on_a_reused_number_starts_empty)
{
	int fds[2], i, kq;
	unix_pair(fds);
	put(fds[1], 3);
	for (i = 0; i < 20; i++) {
		kq = new_queue();
		EXPECT_QUIET(kq);
		CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_READ,
		    EV_DELETE, 0, 0, NULL), ENOENT);
		CHECK_FAILS(change(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0,
		    NULL), ENOENT);
		CHECK_FAILS(change(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0,
		    NULL), ENOENT);
		READ_ADD(kq, fds[0], 0);
		USER_ADD(kq, 1, 0);
		EXPECT_READ(kq, fds[0], 0, 0, 3);
		CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, 0, 1, NULL);
		TRIGGER(kq, 1);
		CHECK_EQ(close(kq), 0);
	}
	close_pair(fds);
}

TEST(read_and_write_on_the_queue_fail)
{
	char byte = 0;
	int kq = new_queue();
	USER_ADD(kq, 1, 0);
	TRIGGER(kq, 1);
	CHECK_EQ(read(kq, &byte, 1), -1);
	CHECK_EQ(write(kq, &byte, 1), -1);
	EXPECT_USER(kq, 1, 0);
	CHECK_EQ(close(kq), 0);
}

/* fork */

static void
child_makes_queues_of_its_own(void)
{
	struct kevent k;
	int fds[2], kq = new_queue(), outer = new_queue();
	int file = nameless_file(0);
	unix_pair(fds);
	READ_ADD(outer, kq, 0);
	READ_ADD(kq, fds[0], EV_CLEAR);
	USER_ADD(kq, 1, EV_CLEAR);
	EXPECT_QUIET(kq);
	put(fds[1], 4);
	EXPECT_READ(kq, fds[0], EV_CLEAR, 0, 4);
	TRIGGER(kq, 1);
	EXPECT_READ(outer, kq, 0, 0, 1);
	EXPECT_USER(kq, 1, EV_CLEAR);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, NULL);
	k = next_event(kq);
	CHECK_EQ(k.filter, EVFILT_TIMER);
	READ_ADD(kq, file, EV_CLEAR);
	CHECK_EQ(ftruncate(file, 6), 0);
	EXPECT_READ(kq, file, EV_CLEAR, 0, 6);
	EXPECT_QUIET(kq);
	EXPECT_QUIET(outer);
	close_pair(fds);
	CHECK_EQ(close(file), 0);
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(close(outer), 0);
}

/* Everything a child may try on the number of its parent's queue. */
static void
child_has_no_queue(int kq, int fd)
{
	struct kevent ev;
	CHECK_FAILS(kevent(kq, NULL, 0, &ev, 1, &no_wait), EBADF);
	CHECK_FAILS(kevent(kq, NULL, 0, &ev, 1, NULL), EBADF);
	CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_READ, EV_DELETE, 0, 0,
	    NULL), EBADF);
	CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_READ, EV_ADD | EV_CLEAR,
	    0, 0, NULL), EBADF);
	CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_READ, EV_DISABLE, 0, 0,
	    NULL), EBADF);
	CHECK_FAILS(change(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL),
	    EBADF);
	CHECK_FAILS(change(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL), EBADF);
}

struct family {
	int kq;
	int fds[2];
	int file;
};

static void
family_start(struct family *f)
{
	f->kq = new_queue();
	unix_pair(f->fds);
	f->file = nameless_file(0);
	READ_ADD(f->kq, f->fds[0], EV_CLEAR);
	CHANGE(f->kq, (uintptr_t)f->fds[0], EVFILT_WRITE, EV_ADD | EV_ONESHOT,
	    0, 0, UDATA(3));
	CHECK_EQ(next_event(f->kq).filter, EVFILT_WRITE);
	READ_ADD(f->kq, f->file, EV_CLEAR);
	USER_ADD(f->kq, 1, EV_CLEAR);
	CHANGE(f->kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 100000, NULL);
	EXPECT_QUIET(f->kq);
}

/* The parent's queue holds what it held, and says so. */
static void
family_end(struct family *f)
{
	int had = unread(f->fds[0]);
	EXPECT_QUIET(f->kq);
	put(f->fds[1], 5);
	EXPECT_READ(f->kq, f->fds[0], EV_CLEAR, 0, had + 5);
	EXPECT_QUIET(f->kq);
	CHECK_EQ(ftruncate(f->file, 8), 0);
	EXPECT_READ(f->kq, f->file, EV_CLEAR, 0, 8);
	TRIGGER(f->kq, 1);
	EXPECT_USER(f->kq, 1, EV_CLEAR);
	CHANGE(f->kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 1, UDATA(3));
	CHECK_EQ(next_event(f->kq).filter, EVFILT_TIMER);
	EXPECT_QUIET(f->kq);
	CHANGE(f->kq, (uintptr_t)f->fds[0], EVFILT_READ, EV_DELETE, 0, 0, NULL);
	close_pair(f->fds);
	CHECK_EQ(close(f->file), 0);
	CHECK_EQ(close(f->kq), 0);
}

TEST(forked_child_has_no_queue)
{
	struct family f;
	family_start(&f);
	IN_CHILD(child_has_no_queue(f.kq, f.fds[0]));
	family_end(&f);
}

TEST(forked_child_has_the_number_free)
{
	struct family f;
	family_start(&f);
	IN_CHILD({
		CHECK_FAILS(fcntl(f.kq, F_GETFD), EBADF);
		CHECK_FAILS(close(f.kq), EBADF);
	});
	family_end(&f);
}

TEST(forked_child_has_no_dup_of_a_queue)
{
	struct family f;
	int other;
	family_start(&f);
	other = dup(f.kq);
	CHECK(other >= 0);
	EXPECT_QUIET(other);
	IN_CHILD({
		CHECK_FAILS(fcntl(other, F_GETFD), EBADF);
		child_has_no_queue(other, f.fds[0]);
		child_has_no_queue(f.kq, f.fds[0]);
	});
	CHECK_EQ(close(other), 0);
	family_end(&f);
}

TEST(forked_child_makes_queues_that_work)
{
	struct family f;
	family_start(&f);
	IN_CHILD({
		child_makes_queues_of_its_own();
		child_has_no_queue(f.kq, f.fds[0]);
		child_makes_queues_of_its_own();
	});
	family_end(&f);
}

TEST(forked_child_may_watch_what_its_parent_watches)
{
	struct family f;
	int gate[2], done[2];
	pid_t pid;
	char byte;
	family_start(&f);
	pipe_pair(gate);
	pipe_pair(done);
	pid = fork();
	if (pid == 0) {
		int kq = new_queue();
		READ_ADD(kq, f.fds[0], EV_CLEAR);
		EXPECT_QUIET(kq);
		put(done[1], 1);
		EXPECT_READ(kq, f.fds[0], EV_CLEAR, 0, 6);
		EXPECT_QUIET(kq);
		take(gate[0], 1);
		exit(0);
	}
	take(done[0], 1);
	put(f.fds[1], 6);
	/* Both are told, whoever comes first. */
	EXPECT_READ(f.kq, f.fds[0], EV_CLEAR, 0, 6);
	EXPECT_QUIET(f.kq);
	byte = 0;
	CHECK_EQ(write(gate[1], &byte, 1), 1);
	wait_child(pid);
	close_pair(gate);
	close_pair(done);
	family_end(&f);
}

TEST(forked_grandchild_has_no_queue)
{
	struct family f;
	family_start(&f);
	IN_CHILD({
		int own = new_queue();
		USER_ADD(own, 1, EV_CLEAR);
		IN_CHILD({
			child_has_no_queue(f.kq, f.fds[0]);
			child_has_no_queue(own, f.fds[0]);
			child_makes_queues_of_its_own();
		});
		TRIGGER(own, 1);
		EXPECT_USER(own, 1, EV_CLEAR);
		EXPECT_QUIET(own);
	});
	family_end(&f);
}

TEST(fork_leaves_a_sleeping_parent_asleep_and_reachable)
{
	struct sleeper s;
	struct family f;
	int i;
	NOT_UNDER_THREAD_CHECKER("its epoll_pwait2() waits twice in the child"
	    " of several threads, and loses what the first one took");
	family_start(&f);
	sleeper_start(&s, f.kq);
	for (i = 0; i < 5; i++)
		IN_CHILD({
			child_has_no_queue(f.kq, f.fds[0]);
			child_makes_queues_of_its_own();
		});
	CHECK(is_asleep(atomic_load(&s.tid)));
	TRIGGER(f.kq, 1);
	CHECK_KEV(sleeper_join(&s), 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0,
	    UDATA(3));
	family_end(&f);
}

/* An event that is pending at fork() is the parent's still. */
TEST(fork_with_events_pending_loses_none)
{
	struct family f;
	family_start(&f);
	put(f.fds[1], 2);
	TRIGGER(f.kq, 1);
	CHECK(readable(f.kq));
	IN_CHILD({
		child_has_no_queue(f.kq, f.fds[0]);
		child_makes_queues_of_its_own();
	});
	{
		struct kevent ev[4];
		CHECK_EQ(kevent(f.kq, NULL, 0, ev, 4, &no_wait), 2);
		CHECK(ev[0].filter != ev[1].filter);
	}
	family_end(&f);
}

/* A fork that libc does not know of runs no handlers. */
TEST(raw_forked_child_has_no_queue)
{
#ifdef SYS_fork
	struct family f;
	pid_t pid;
	family_start(&f);
	pid = (pid_t)syscall(SYS_fork);
	if (pid == 0) {
		child_has_no_queue(f.kq, f.fds[0]);
		child_makes_queues_of_its_own();
		_exit(0);
	}
	wait_child(pid);
	family_end(&f);
#else
	SKIP("no fork system call on this machine");
#endif
}

/* Growth */

static long
resident_kib(void)
{
	char line[256];
	long kib = -1;
	FILE *f = fopen("/proc/self/status", "re");
	CHECK(f != NULL);
	while (fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	fclose(f);
	CHECK(kib > 0);
	return kib;
}

static int
descriptors(void)
{
	static char text[65536];
	open_descriptors(text, sizeof text);
	return count_fields(text);
}

/* Bounded reuse is no leak; what grows with every queue is. */
static void
check_growth(int fds_before, long kib_before)
{
	long kib = resident_kib() - kib_before;
	CHECK(descriptors() <= fds_before + KEPT_FOR_REUSE);
	/* valgrind keeps freed memory, to notice that it is used. */
	if (kib > 2048 && getenv("KQUEUE_VALGRIND") == NULL)
		FAIL("%ld KiB more resident memory", kib);
}

TEST(queues_made_and_closed_leave_nothing_behind)
{
	long kib = 0;
	int i, fds = descriptors();
	for (i = 0; i < 24000; i++) {
		int kq;
		/* What the allocator takes to begin with is not growth. */
		if (i == 4000)
			kib = resident_kib();
		kq = new_queue();
		CHECK_EQ(close(kq), 0);
	}
	check_growth(fds, kib);
}

TEST(queues_closed_with_knotes_leave_nothing_behind)
{
	long kib = 0;
	int i, sv[2], file = nameless_file(4), fds;
	unix_pair(sv);
	put(sv[1], 1);
	fds = descriptors();
	for (i = 0; i < 24000; i++) {
		int kq;
		if (i == 4000)
			kib = resident_kib();
		kq = new_queue();
		READ_ADD(kq, sv[0], 0);
		USER_ADD(kq, 1, EV_CLEAR);
		TRIGGER(kq, 1);
		/* The dearer ones less often, to be quick. */
		if (i % 8 == 0) {
			CHANGE(kq, (uintptr_t)sv[0], EVFILT_WRITE, EV_ADD, 0, 0,
			    NULL);
			CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, 0, 1000, NULL);
			READ_ADD(kq, file, 0);
			(void)next_event(kq);
		}
		CHECK_EQ(close(kq), 0);
	}
	check_growth(fds, kib);
	close_pair(sv);
	CHECK_EQ(close(file), 0);
}

TEST(queues_closed_in_batches_leave_nothing_behind)
{
	enum { BATCH = 100 };
	long kib = 0;
	int q[BATCH], i, round, fds = descriptors();
	for (round = 0; round < 240; round++) {
		if (round == 40)
			kib = resident_kib();
		for (i = 0; i < BATCH; i++) {
			q[i] = new_queue();
			USER_ADD(q[i], 1, EV_CLEAR);
		}
		TRIGGER(q[round % BATCH], 1);
		for (i = 0; i < BATCH; i++) {
			if (i == round % BATCH)
				EXPECT_USER(q[i], 1, EV_CLEAR);
			expect_none(q[i]);
		}
		for (i = 0; i < BATCH; i++)
			CHECK_EQ(close(q[(i * 37 + round) % BATCH]), 0);
	}
	check_growth(fds, kib);
}

/* With one that lives all the while, and its dups. */
TEST(fifty_thousand_queues_leave_nothing_behind)
{
	long kib = 0;
	int i, fds, kept = new_queue();
	int rounds = getenv("KQUEUE_VALGRIND") == NULL ? 50000 : 1000;
	USER_ADD(kept, 1, EV_CLEAR);
	fds = descriptors();
	for (i = 0; i < rounds; i++) {
		int kq, copy;
		if (i == rounds / 10)
			kib = resident_kib();
		kq = new_queue();
		if (i % 4 == 0) {
			/* The first number goes, the other one is the last. */
			copy = dup(kq);
			CHECK(copy >= 0);
			CHECK_EQ(close(kq), 0);
			kq = copy;
			USER_ADD(kq, 2, EV_CLEAR);
		}
		if (i % 64 == 0) {
			copy = dup(kept);
			TRIGGER(copy, 1);
			CHECK_EQ(close(copy), 0);
			EXPECT_USER(kept, 1, EV_CLEAR);
		}
		CHECK_EQ(close(kq), 0);
	}
	check_growth(fds, kib);
	expect_none(kept);
	CHECK_EQ(close(kept), 0);
}

/* What the application misses of dead queues, its signals, it gets back at the
 * next kqueue(): of all of them. */
TEST(many_queues_that_are_missed_are_found_dead_at_once)
{
	enum { QUEUES = 200 };
	int q[QUEUES], i, fds = descriptors(), kq;
	struct sigaction action;
	for (i = 0; i < QUEUES; i++) {
		q[i] = new_queue();
		CHANGE(q[i], SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
	}
	for (i = 0; i < QUEUES; i++)
		CHECK_EQ(close(q[i]), 0);
	kq = new_queue();
	CHECK(descriptors() <= fds + KEPT_FOR_REUSE);
	CHECK_EQ(sigaction(SIGUSR1, NULL, &action), 0);
	CHECK(action.sa_handler == SIG_DFL);
	CHECK_EQ(close(kq), 0);
}

/* To find out whose dup a number is, the library asks every queue. */
TEST(looking_for_a_dup_wakes_nobody)
{
	enum { QUEUES = 20 };
	struct epoll_event ee = {.events = EPOLLIN | EPOLLET};
	int q[QUEUES], copy[QUEUES], i, ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK(ep >= 0);
	for (i = 0; i < QUEUES; i++) {
		q[i] = new_queue();
		copy[i] = dup(q[i]);
		CHECK(copy[i] >= 0);
		CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, q[i], &ee), 0);
		CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, copy[i], &ee), 0);
	}
	for (i = 0; i < QUEUES; i++)
		expect_none(copy[i]);
	CHECK_EQ(epoll_wait(ep, &ee, 1, 0), 0);
	for (i = 0; i < QUEUES; i++) {
		EXPECT_QUIET(q[i]);
		CHECK_EQ(close(q[i]), 0);
		CHECK_EQ(close(copy[i]), 0);
	}
	CHECK_EQ(close(ep), 0);
}

TEST(dups_closed_one_by_one_keep_the_queue_to_the_last)
{
	enum { COPIES = 20 };
	int copy[COPIES], i, j, kq = new_queue();
	USER_ADD(kq, 1, EV_CLEAR);
	for (i = 0; i < COPIES; i++) {
		copy[i] = dup(kq);
		CHECK(copy[i] >= 0);
	}
	CHECK_EQ(close(kq), 0);
	for (i = 0; i < COPIES; i++) {
		/* Dead queues are looked for meanwhile. */
		for (j = 0; j < 40; j++)
			CHECK_EQ(close(new_queue()), 0);
		if (i % 2 == 0)
			TRIGGER(copy[i], 1);
		else
			TRIGGER(copy[COPIES - 1], 1);
		EXPECT_USER(copy[COPIES - 1], 1, EV_CLEAR);
		CHECK_EQ(close(copy[i]), 0);
		CHECK_FAILS(change(copy[i], 1, EVFILT_USER, 0, NOTE_TRIGGER, 0,
		    NULL), EBADF);
	}
}

/* Out of descriptors, kqueue() says so; what is closed makes room again. */
static void
exhaust_descriptors(void)
{
	static int q[512];
	struct rlimit low;
	int n, i, round, first = 0, before = descriptors();
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &low), 0);
	low.rlim_cur = 128;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
	for (round = 0; round < 5; round++) {
		for (n = 0; n < 512; n++) {
			errno = 0;
			q[n] = kqueue();
			if (q[n] < 0)
				break;
			USER_ADD(q[n], 1, EV_CLEAR);
		}
		CHECK_EQ(errno, EMFILE);
		CHECK(n >= 40);
		/* Every round has as much room as the first. */
		if (round == 0)
			first = n;
		CHECK(n >= first - 1);
		for (i = 0; i < n; i++) {
			TRIGGER(q[i], 1);
			EXPECT_USER(q[i], 1, EV_CLEAR);
			expect_none(q[i]);
			CHECK_EQ(close(q[i]), 0);
		}
	}
	CHECK_EQ(close(new_queue()), 0);
	CHECK(descriptors() <= before + KEPT_FOR_REUSE);
}

/* In a child: under so low a limit the library's own numbers are low too. */
TEST(out_of_descriptors_is_emfile_and_is_over_after_a_close)
{
	IN_CHILD(exhaust_descriptors());
}

/* Watched numbers, closed and used again */

enum reuse { KEEP_NONE, KEEP_DUP };

/* A pipe is watched, its number closed with an event pending, and reused. */
static void
reused_number_starts_clean(unsigned mode, enum reuse keep)
{
	int old[2], next[2], number, other = -1, kq = new_queue();
	pipe_pair(old);
	pipe_pair(next);
	number = old[0];
	READ_ADD(kq, number, mode);
	put(old[1], 5);
	CHECK(readable(kq));
	if (keep == KEEP_DUP) {
		other = dup(old[0]);
		CHECK(other >= 0);
	}
	CHECK_EQ(close(number), 0);
	expect_none(kq);
	CHECK_FAILS(change(kq, (uintptr_t)number, EVFILT_READ, EV_DELETE, 0, 0,
	    NULL), EBADF);
	CHECK_FAILS(change(kq, (uintptr_t)number, EVFILT_READ, EV_ADD, 0, 0,
	    NULL), EBADF);
	CHECK_EQ(dup2(next[0], number), number);
	CHECK_EQ(close(next[0]), 0);
	expect_none(kq);
	CHECK_FAILS(change(kq, (uintptr_t)number, EVFILT_READ, EV_DELETE, 0, 0,
	    NULL), ENOENT);
	CHECK_FAILS(change(kq, (uintptr_t)number, EVFILT_READ, EV_ENABLE, 0, 0,
	    NULL), ENOENT);
	/* Not registered, so its own news are none either. */
	put(next[1], 2);
	expect_none(kq);
	READ_ADD(kq, number, EV_DISPATCH);
	EXPECT_READ(kq, number, EV_DISPATCH, 0, 2);
	expect_none(kq);
	/* What becomes of the old file is nobody's business here. */
	if (keep == KEEP_DUP) {
		put(old[1], 3);
		expect_none(kq);
		CHECK_EQ(close(old[1]), 0);
		expect_none(kq);
		CHECK_EQ(close(other), 0);
	} else
		CHECK_EQ(close(old[1]), 0);
	CHANGE(kq, (uintptr_t)number, EVFILT_READ, EV_ENABLE, 0, 0, UDATA(3));
	EXPECT_READ(kq, number, EV_DISPATCH, 0, 2);
	EXPECT_QUIET(kq);
	CHANGE(kq, (uintptr_t)number, EVFILT_READ, EV_DELETE, 0, 0, NULL);
	CHECK_EQ(close(number), 0);
	CHECK_EQ(close(next[1]), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(reused_number_starts_clean)
{
	reused_number_starts_clean(0, KEEP_NONE);
}

TEST(reused_number_starts_clean_after_clear)
{
	reused_number_starts_clean(EV_CLEAR, KEEP_NONE);
}

TEST(reused_number_starts_clean_after_oneshot)
{
	reused_number_starts_clean(EV_ONESHOT, KEEP_NONE);
}

TEST(reused_number_starts_clean_after_dispatch)
{
	reused_number_starts_clean(EV_DISPATCH, KEEP_NONE);
}

TEST(reused_number_starts_clean_though_a_dup_lives)
{
	reused_number_starts_clean(0, KEEP_DUP);
}

TEST(reused_number_starts_clean_after_clear_though_a_dup_lives)
{
	reused_number_starts_clean(EV_CLEAR, KEEP_DUP);
}

TEST(reused_number_starts_clean_after_oneshot_though_a_dup_lives)
{
	reused_number_starts_clean(EV_ONESHOT, KEEP_DUP);
}

/* Added straight away, without any other touch of the number between. */
static void
reused_number_can_be_added_at_once(unsigned before, unsigned after,
    enum reuse keep)
{
	int old[2], next[2], number, other = -1, round, kq = new_queue();
	for (round = 0; round < 3; round++) {
		pipe_pair(old);
		pipe_pair(next);
		number = old[0];
		READ_ADD(kq, number, before);
		put(old[1], 5);
		if (keep == KEEP_DUP) {
			other = dup(old[0]);
			CHECK(other >= 0);
		}
		CHECK_EQ(dup2(next[0], number), number);
		CHECK_EQ(close(next[0]), 0);
		CHANGE(kq, (uintptr_t)number, EVFILT_READ, EV_ADD | after, 0, 0,
		    UDATA(9));
		expect_none(kq);
		put(next[1], 2);
		EXPECT(kq, (uintptr_t)number, EVFILT_READ, EV_ADD | after, 0,
		    2, UDATA(9));
		take(number, 2);
		expect_none(kq);
		if (keep == KEEP_DUP)
			CHECK_EQ(close(other), 0);
		CHECK_EQ(close(old[1]), 0);
		CHECK_EQ(close(next[1]), 0);
		CHECK_EQ(close(number), 0);
		expect_none(kq);
	}
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(reused_number_can_be_added_at_once)
{
	static const unsigned modes[] = {0, EV_CLEAR, EV_ONESHOT, EV_DISPATCH,
	    EV_DISABLE};
	size_t i, j;
	for (i = 0; i < sizeof modes / sizeof modes[0]; i++)
		for (j = 0; j < 4; j++)
			reused_number_can_be_added_at_once(modes[i], modes[j],
			    KEEP_NONE);
}

TEST(reused_number_can_be_added_at_once_though_a_dup_lives)
{
	static const unsigned modes[] = {0, EV_CLEAR, EV_ONESHOT, EV_DISPATCH,
	    EV_DISABLE};
	size_t i, j;
	for (i = 0; i < sizeof modes / sizeof modes[0]; i++)
		for (j = 0; j < 4; j++)
			reused_number_can_be_added_at_once(modes[i], modes[j],
			    KEEP_DUP);
}

TEST(reused_number_may_be_of_another_kind)
{
	enum { KINDS = 4 };
	int from, to, kq = new_queue();
	for (from = 0; from < KINDS; from++)
		for (to = 0; to < KINDS; to++) {
			int fd[2], peer[2] = {-1, -1}, i, pair[2];
			for (i = 0; i < 2; i++)
				switch (i == 0 ? from : to) {
				case 0:
					unix_pair(pair);
					put(pair[1], 1);
					fd[i] = pair[0];
					peer[i] = pair[1];
					break;
				case 1:
					fd[i] = nameless_file(1);
					break;
				case 2:
					fd[i] = eventfd(1, EFD_CLOEXEC);
					break;
				default:
					fd[i] = new_queue();
					USER_ADD(fd[i], 1, 0);
					TRIGGER(fd[i], 1);
					break;
				}
			READ_ADD(kq, fd[0], 0);
			EXPECT_READ(kq, fd[0], 0, 0, 1);
			CHECK_EQ(dup2(fd[1], fd[0]), fd[0]);
			CHECK_EQ(close(fd[1]), 0);
			expect_none(kq);
			CHECK_FAILS(change(kq, (uintptr_t)fd[0], EVFILT_READ,
			    EV_DELETE, 0, 0, NULL), ENOENT);
			READ_ADD(kq, fd[0], 0);
			EXPECT_READ(kq, fd[0], 0, 0, 1);
			EXPECT_READ(kq, fd[0], 0, 0, 1);
			CHECK_EQ(close(fd[0]), 0);
			EXPECT_QUIET(kq);
			CHECK_FAILS(change(kq, (uintptr_t)fd[0], EVFILT_READ,
			    EV_DELETE, 0, 0, NULL), EBADF);
			for (i = 0; i < 2; i++)
				if (peer[i] >= 0)
					CHECK_EQ(close(peer[i]), 0);
		}
	CHECK_EQ(close(kq), 0);
}

/* The kernel keeps no entry for a file that could vanish with it: the queue
 * itself must notice that the number stands for another file. */
TEST(file_closed_has_no_event_though_its_number_is_another_file)
{
	int kq = new_queue(), fd = nameless_file(10), next = nameless_file(20);
	READ_ADD(kq, fd, 0);
	EXPECT_READ(kq, fd, 0, 0, 10);
	CHECK_EQ(dup2(next, fd), fd);
	CHECK_EQ(close(next), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(ftruncate(fd, 30), 0);
	EXPECT_QUIET(kq);
	READ_ADD(kq, fd, EV_CLEAR);
	EXPECT_READ(kq, fd, EV_CLEAR, 0, 30);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(file_closed_at_its_end_is_silent_when_it_grows)
{
	char path[SCRATCH_PATH];
	int other, kq = new_queue(), fd = scratch_file(path, 10);
	other = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	CHECK(other >= 0);
	take(fd, 10);
	READ_ADD(kq, fd, 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(fd), 0);
	put(other, 5);
	expect_none(kq);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(close(kq), 0);
}

/* A level file kept open elsewhere goes on firing inside Linux. */
TEST(closed_though_a_dup_lives_gives_no_event)
{
	static const unsigned modes[] = {0, EV_CLEAR, EV_ONESHOT, EV_DISPATCH};
	size_t i;
	int round;
	for (i = 0; i < sizeof modes / sizeof modes[0]; i++) {
		int fds[2], other, kq = new_queue();
		unix_pair(fds);
		other = dup(fds[0]);
		CHECK(other >= 0);
		READ_ADD(kq, fds[0], modes[i]);
		put(fds[1], 1);
		CHECK_EQ(close(fds[0]), 0);
		for (round = 0; round < 5; round++) {
			expect_none(kq);
			put(fds[1], 1);
		}
		CHECK_FAILS(change(kq, (uintptr_t)fds[0], EVFILT_READ,
		    EV_DELETE, 0, 0, NULL), EBADF);
		/* Others are heard beside it. */
		USER_ADD(kq, 1, EV_CLEAR);
		TRIGGER(kq, 1);
		EXPECT_USER(kq, 1, EV_CLEAR);
		READ_ADD(kq, other, EV_CLEAR);
		EXPECT_READ(kq, other, EV_CLEAR, 0, 6);
		expect_none(kq);
		CHECK_EQ(close(other), 0);
		CHECK_EQ(close(fds[1]), 0);
		EXPECT_QUIET(kq);
		CHECK_EQ(close(kq), 0);
	}
}

/* Time must pass as asked, ghost or no ghost: not early, not without end. */
TEST(closed_though_a_dup_lives_does_not_shorten_a_wait)
{
	struct timespec ts = ms_to_ts(50);
	struct kevent k;
	int64_t start;
	int fds[2], other, kq = new_queue();
	unix_pair(fds);
	other = dup(fds[0]);
	CHECK(other >= 0);
	READ_ADD(kq, fds[0], 0);
	put(fds[1], 1);
	CHECK_EQ(close(fds[0]), 0);
	start = now_ns();
	CHECK_EQ(kevent(kq, NULL, 0, &k, 1, &ts), 0);
	CHECK(now_ns() - start >= 50000000);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(close(fds[1]), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

/* A server's life: numbers come back all the time, knotes are not deleted. */
TEST(connections_come_and_go_on_the_same_numbers)
{
	int i, kq = new_queue();
	for (i = 0; i < 2000; i++) {
		int fds[2];
		unix_pair(fds);
		READ_ADD(kq, fds[0], i % 2 ? EV_CLEAR : 0);
		if (i % 3 == 0) {
			CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE,
			    EV_ADD | EV_ONESHOT, 0, 0, UDATA(3));
			CHECK_EQ(next_event(kq).filter, EVFILT_WRITE);
		}
		expect_none(kq);
		put(fds[1], (size_t)(1 + i % 7));
		EXPECT_READ(kq, fds[0], i % 2 ? EV_CLEAR : 0, 0, 1 + i % 7);
		close_pair(fds);
	}
	EXPECT_QUIET(kq);
	CHECK_EQ(close(kq), 0);
}

/*
 * A program that closes every number it sees closes the library's too, and gets
 * those numbers again for files of its own. Clearing up must not close them.
 */
TEST(private_numbers_that_were_closed_are_not_closed_again)
{
	int fds[2], kq = new_queue(), fd, file, i, first = -1, last = -1;
	unix_pair(fds);
	READ_ADD(kq, fds[0], 0);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
	CHANGE(kq, 1, EVFILT_TIMER, EV_ADD, 0, 3600000, NULL);
	/* Past the preload library, which would not let it. */
	for (fd = PRIVATE_FLOOR; fd < PRIVATE_FLOOR + 64; fd++)
		if (syscall(SYS_close, fd) == 0) {
			first = first < 0 ? fd : first;
			last = fd;
		}
	CHECK(first >= 0);
	file = open("/dev/null", O_RDWR | O_CLOEXEC);
	CHECK(file >= 0);
	for (fd = first; fd <= last; fd++)
		CHECK_EQ(dup2(file, fd), fd);
	CHECK_EQ(close(kq), 0);
	/* So many that what was kept of the first comes round again. */
	for (i = 0; i < 100; i++) {
		kq = new_queue();
		USER_ADD(kq, 1, EV_CLEAR);
		TRIGGER(kq, 1);
		EXPECT_USER(kq, 1, EV_CLEAR);
		EXPECT_QUIET(kq);
		CHECK_EQ(close(kq), 0);
	}
	libkqueue_drain_pending_close();
	for (fd = first; fd <= last; fd++)
		CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(file), 0);
	close_pair(fds);
}

static int
threads_of_this_process(void)
{
	struct dirent *entry;
	DIR *dir = opendir("/proc/self/task");
	int count = 0;
	CHECK(dir != NULL);
	while ((entry = readdir(dir)) != NULL)
		count += entry->d_name[0] != '.';
	CHECK_EQ(closedir(dir), 0);
	return count;
}

/* Not when it is added, nor when it is waited for, nor when it is gone. */
TEST(no_filter_starts_a_thread)
{
	int kq = new_queue(), fds[2], file = nameless_file(0), i;
	const struct {
		uintptr_t ident;
		int filter;
		unsigned flags, fflags;
	} changes[] = {
	    {0, EVFILT_READ, EV_CLEAR, 0},
	    {0, EVFILT_WRITE, EV_CLEAR, 0},
	    {0, EVFILT_EXCEPT, 0, NOTE_OOB},
	    {(uintptr_t)file, EVFILT_READ, 0, 0},
	    {(uintptr_t)file, EVFILT_VNODE, EV_CLEAR, NOTE_WRITE},
	    {SIGUSR1, EVFILT_SIGNAL, 0, 0},
	    {SIGCHLD, EVFILT_SIGNAL, 0, 0},
	    {(uintptr_t)getpid(), EVFILT_PROC, 0, NOTE_EXIT},
	    {(uintptr_t)getppid(), EVFILT_PROC, 0, NOTE_EXIT},
	    {0, EVFILT_FS, 0, 0},
	    {1, EVFILT_TIMER, 0, 0},
	    {1, EVFILT_USER, EV_CLEAR, 0},
	};
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	for (i = 0; i < (int)(sizeof changes / sizeof *changes); i++)
		CHANGE(kq, changes[i].ident ? changes[i].ident :
		    (uintptr_t)fds[0], changes[i].filter,
		    EV_ADD | changes[i].flags, changes[i].fflags, 1, NULL);
	CHECK_EQ(threads_of_this_process(), 1);
	for (i = 0; i < 5; i++) {
		struct kevent ev[4];
		struct timespec ts = ms_to_ts(GENEROUS_MS);
		CHECK(kevent(kq, NULL, 0, ev, 4, &ts) > 0);
		CHECK_EQ(threads_of_this_process(), 1);
	}
	CHECK_EQ(close(kq), 0);
	kq = new_queue();
	CHECK_EQ(threads_of_this_process(), 1);
	CHECK_EQ(close(kq), 0);
	CHECK_EQ(close(file), 0);
	close_pair(fds);
}

/* The library still takes the number for the queue that had it before. */
TEST(dup_on_the_number_of_another_queue_loses_no_event)
{
	static const unsigned modes[] = {0, EV_CLEAR, EV_ONESHOT, EV_DISPATCH};
	size_t i;
	for (i = 0; i < sizeof modes / sizeof modes[0]; i++) {
		int fds[2], first = new_queue(), second = new_queue();
		unix_pair(fds);
		/* The first one has been waited on, and holds something, too. */
		USER_ADD(first, 7, EV_CLEAR);
		TRIGGER(first, 7);
		EXPECT_USER(first, 7, EV_CLEAR);
		READ_ADD(second, fds[0], modes[i]);
		USER_ADD(second, 1, EV_CLEAR);
		CHECK_EQ(dup2(second, first), first);
		put(fds[1], 4);
		EXPECT_READ(first, fds[0], modes[i], 0, 4);
		take(fds[0], 4);
		EXPECT_QUIET(first);
		TRIGGER(second, 1);
		EXPECT_USER(first, 1, EV_CLEAR);
		EXPECT_QUIET(second);
		close_pair(fds);
		CHECK_EQ(close(first), 0);
		CHECK_EQ(close(second), 0);
	}
}

/* The inner one was held readable for what found no room, and fell silent. */
TEST(nested_clear_is_told_of_what_comes_after_leftovers)
{
	struct kevent k;
	int round, inner = new_queue(), outer = new_queue();
	USER_ADD(inner, 1, EV_CLEAR);
	USER_ADD(inner, 2, EV_CLEAR);
	READ_ADD(outer, inner, EV_CLEAR);
	for (round = 0; round < 3; round++) {
		TRIGGER(inner, 1);
		TRIGGER(inner, 2);
		EXPECT_READ(outer, inner, EV_CLEAR, 0, 1);
		CHECK_EQ(kevent(inner, NULL, 0, &k, 1, &no_wait), 1);
		EXPECT_READ(outer, inner, EV_CLEAR, 0, 1);
		CHECK_EQ(kevent(inner, NULL, 0, &k, 1, &no_wait), 1);
		TRIGGER(inner, 1);
		EXPECT_READ(outer, inner, EV_CLEAR, 0, 1);
		EXPECT_USER(inner, 1, EV_CLEAR);
		/* Taken back before anybody looked, and another one. */
		TRIGGER(inner, 2);
		EXPECT_READ(outer, inner, EV_CLEAR, 0, 1);
		CHANGE(inner, 2, EVFILT_USER, EV_DELETE, 0, 0, NULL);
		TRIGGER(inner, 1);
		EXPECT_READ(outer, inner, EV_CLEAR, 0, 1);
		EXPECT_USER(inner, 1, EV_CLEAR);
		USER_ADD(inner, 2, EV_CLEAR);
		EXPECT_QUIET(inner);
		EXPECT_QUIET(outer);
	}
	CHECK_EQ(close(inner), 0);
	CHECK_EQ(close(outer), 0);
}
