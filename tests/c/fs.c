/*
 * EVFILT_FS: mounts that come and go, real ones, in a mount namespace of the
 * case's own; it ends with the case's process.
 */
#include "io.h"
#include "mounts.h"

#include <sys/epoll.h>

/* Nothing to collect, and poll() says so, asked before and after. */
static void
silent_at(const char *file, int line, int kq)
{
	bool shows = readable(kq);
	expect_none_at(file, line, kq);
	if (shows || readable(kq)) {
		fprintf(stderr, "%s:%d: readable without an event\n", file,
		    line);
		exit(1);
	}
}
#define SILENT(kq) silent_at(__FILE__, __LINE__, kq)

#define BOTH (VQ_MOUNT | VQ_UNMOUNT)

static void
watch(int kq, uintptr_t ident, unsigned flags)
{
	CHANGE(kq, ident, EVFILT_FS, EV_ADD | flags, BOTH, 0, UDATA(9));
}

#define TOLD(kq, ident, flags, fflags)                                        \
	EXPECT(kq, ident, EVFILT_FS, EV_ADD | EV_CLEAR | (flags), fflags, 0,  \
	    UDATA(9))

TEST(mount_and_unmount_are_told_and_nothing_twice)
{
	struct place p;
	int kq = new_queue(), i;
	begin(&p);
	watch(kq, 1, 0);
	SILENT(kq);
	for (i = 0; i < 3; i++) {
		mount_at(p.at[0]);
		CHECK(readable(kq));
		TOLD(kq, 1, 0, VQ_MOUNT);
		SILENT(kq);
		unmount(p.at[0]);
		CHECK(readable(kq));
		TOLD(kq, 1, 0, VQ_UNMOUNT);
		SILENT(kq);
	}
	CHANGE(kq, 1, EVFILT_FS, EV_DELETE, 0, 0, NULL);
	mount_at(p.at[0]);
	SILENT(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

TEST(ident_is_any_number_and_the_knote_has_clear)
{
	static const uintptr_t idents[] = {0, 1, 99999, UINTPTR_MAX};
	int kq = new_queue(), i;
	for (i = 0; i < 4; i++) {
		CHECK_FAILS(change(kq, idents[i], EVFILT_FS, EV_DELETE, 0, 0,
		    NULL), ENOENT);
		watch(kq, idents[i], 0);
		/* Natively too: an event that the program forces shows it. */
		CHANGE(kq, idents[i], EVFILT_FS, EV_FORCEONESHOT, 0, 0,
		    UDATA(9));
		EXPECT(kq, idents[i], EVFILT_FS,
		    EV_ADD | EV_CLEAR | EV_ONESHOT, 0, 0, UDATA(9));
		CHECK_FAILS(change(kq, idents[i], EVFILT_FS, EV_DELETE, 0, 0,
		    NULL), ENOENT);
	}
	SILENT(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(what_is_wanted_is_not_asked)
{
	static const unsigned wants[] = {0, VQ_UNMOUNT, ~0U};
	struct place p;
	int kq = new_queue(), i;
	begin(&p);
	for (i = 0; i < 3; i++) {
		CHANGE(kq, 1, EVFILT_FS, EV_ADD, wants[i], 77, UDATA(9));
		mount_at(p.at[0]);
		TOLD(kq, 1, 0, VQ_MOUNT);
		unmount(p.at[0]);
		TOLD(kq, 1, 0, VQ_UNMOUNT);
		SILENT(kq);
	}
	CHECK_EQ(close(kq), 0);
	end(&p);
}

TEST(changes_since_the_last_event_are_one_event)
{
	struct place p;
	int kq = new_queue();
	begin(&p);
	mount_at(p.at[0]);
	watch(kq, 1, 0);
	/* What was there before is not told. */
	SILENT(kq);
	unmount(p.at[0]);
	mount_at(p.at[1]);
	mount_at(p.at[2]);
	TOLD(kq, 1, 0, BOTH);
	SILENT(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

/* The kernel gives the number of a mount that is gone to the next one. */
TEST(mount_with_the_number_of_the_last_is_told)
{
	struct place p;
	int kq = new_queue();
	begin(&p);
	mount_at(p.at[0]);
	watch(kq, 1, 0);
	unmount(p.at[0]);
	mount_at(p.at[1]);
	TOLD(kq, 1, 0, BOTH);
	SILENT(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

TEST(remount_is_neither)
{
	struct place p;
	int kq = new_queue();
	begin(&p);
	mount_at(p.at[0]);
	watch(kq, 1, 0);
	CHECK_EQ(mount("none", p.at[0], "none", MS_REMOUNT | MS_RDONLY, NULL), 0);
	/* The queue may look readable until then. */
	expect_none(kq);
	SILENT(kq);
	CHECK_EQ(mount("none", p.at[0], "none", MS_REMOUNT | MS_NOEXEC, NULL), 0);
	CHECK_EQ(mount("none", p.at[0], "none", MS_SHARED, NULL), 0);
	expect_none(kq);
	SILENT(kq);
	CHECK_EQ(mount("none", p.at[0], "none", MS_PRIVATE, NULL), 0);
	expect_none(kq);
	SILENT(kq);
	unmount(p.at[0]);
	TOLD(kq, 1, 0, VQ_UNMOUNT);
	SILENT(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

TEST(bind_is_a_mount_and_move_is_both)
{
	struct place p;
	int kq = new_queue();
	begin(&p);
	watch(kq, 1, 0);
	CHECK_EQ(mount(p.root, p.at[0], "none", MS_BIND, NULL), 0);
	TOLD(kq, 1, 0, VQ_MOUNT);
	SILENT(kq);
	CHECK_EQ(mount(p.at[0], p.at[1], "none", MS_MOVE, NULL), 0);
	TOLD(kq, 1, 0, BOTH);
	SILENT(kq);
	CHECK_EQ(umount2(p.at[1], MNT_DETACH), 0);
	TOLD(kq, 1, 0, VQ_UNMOUNT);
	SILENT(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

TEST(hundreds_at_once_are_one_event)
{
	enum { MOUNTS = 300 };
	char path[SCRATCH_PATH + 16];
	struct place p;
	int kq = new_queue(), i;
	begin(&p);
	watch(kq, 1, 0);
	for (i = 0; i < MOUNTS; i++) {
		snprintf(path, sizeof path, "%s/m%d", p.root, i);
		CHECK_EQ(mkdir(path, 0700), 0);
		mount_at(path);
	}
	TOLD(kq, 1, 0, VQ_MOUNT);
	SILENT(kq);
	for (i = 0; i < MOUNTS; i++) {
		snprintf(path, sizeof path, "%s/m%d", p.root, i);
		unmount(path);
		if (i % 100 == 99)
			TOLD(kq, 1, 0, VQ_UNMOUNT);
	}
	SILENT(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

TEST(each_queue_and_each_knote_is_told)
{
	struct place p;
	struct kevent k[4];
	int a = new_queue(), b = new_queue();
	begin(&p);
	watch(a, 1, 0);
	watch(a, 2, 0);
	watch(b, 1, 0);
	mount_at(p.at[0]);
	CHECK(readable(a) && readable(b));
	/* One knote at a time: the queue stays readable for the other. */
	CHECK_EQ(kevent(a, NULL, 0, k, 1, &no_wait), 1);
	CHECK(readable(a));
	CHECK_EQ(kevent(a, NULL, 0, k + 1, 1, &no_wait), 1);
	CHECK_EQ(k[0].ident + k[1].ident, 3);
	CHECK(k[0].fflags == VQ_MOUNT && k[1].fflags == VQ_MOUNT);
	SILENT(a);
	TOLD(b, 1, 0, VQ_MOUNT);
	SILENT(b);
	CHANGE(a, 1, EVFILT_FS, EV_DELETE, 0, 0, NULL);
	unmount(p.at[0]);
	TOLD(a, 2, 0, VQ_UNMOUNT);
	SILENT(a);
	CHECK_EQ(close(a), 0);
	TOLD(b, 1, 0, VQ_UNMOUNT);
	SILENT(b);
	CHECK_EQ(close(b), 0);
	end(&p);
}

/* A knote that is added hears nothing of what came before, and the others are
 * told of it all the same. */
TEST(knote_added_later_takes_nothing_from_the_first)
{
	struct place p;
	struct sleeper s;
	struct kevent k;
	int kq = new_queue();
	begin(&p);
	watch(kq, 1, 0);
	mount_at(p.at[0]);
	watch(kq, 2, 0);
	CHECK(readable(kq));
	TOLD(kq, 1, 0, VQ_MOUNT);
	SILENT(kq);
	/* Also if a thread is asleep already. */
	CHANGE(kq, 2, EVFILT_FS, EV_DELETE, 0, 0, NULL);
	sleeper_start(&s, kq);
	unmount(p.at[0]);
	watch(kq, 2, 0);
	k = sleeper_join(&s);
	CHECK_KEV(k, 1, EVFILT_FS, EV_ADD | EV_CLEAR, VQ_UNMOUNT, 0, UDATA(9));
	/* The sleeper had room for one, and the new knote was not asked yet. */
	expect_none(kq);
	SILENT(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

TEST(disabled_is_silent_and_remembers)
{
	struct place p;
	int kq = new_queue();
	begin(&p);
	watch(kq, 1, EV_DISABLE);
	mount_at(p.at[0]);
	expect_none(kq);
	SILENT(kq);
	CHANGE(kq, 1, EVFILT_FS, EV_ENABLE, 0, 0, UDATA(9));
	CHECK(readable(kq));
	TOLD(kq, 1, 0, VQ_MOUNT);
	CHANGE(kq, 1, EVFILT_FS, EV_DISABLE, 0, 0, UDATA(9));
	unmount(p.at[0]);
	expect_none(kq);
	SILENT(kq);
	mount_at(p.at[1]);
	expect_none(kq);
	SILENT(kq);
	CHANGE(kq, 1, EVFILT_FS, EV_ENABLE, 0, 0, UDATA(9));
	TOLD(kq, 1, 0, BOTH);
	SILENT(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

TEST(oneshot_is_gone_and_dispatch_sleeps)
{
	struct place p;
	int kq = new_queue();
	begin(&p);
	watch(kq, 1, EV_ONESHOT);
	watch(kq, 2, EV_DISPATCH);
	mount_at(p.at[0]);
	TOLD(kq, 1, EV_ONESHOT, VQ_MOUNT);
	CHECK_FAILS(change(kq, 1, EVFILT_FS, EV_DELETE, 0, 0, NULL), ENOENT);
	TOLD(kq, 2, EV_DISPATCH, VQ_MOUNT);
	unmount(p.at[0]);
	expect_none(kq);
	SILENT(kq);
	CHANGE(kq, 2, EVFILT_FS, EV_ENABLE, 0, 0, UDATA(9));
	TOLD(kq, 2, EV_DISPATCH, VQ_UNMOUNT);
	CHANGE(kq, 2, EVFILT_FS, EV_ENABLE, 0, 0, UDATA(9));
	SILENT(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

TEST(second_add_keeps_what_is_pending)
{
	struct place p;
	int kq = new_queue();
	begin(&p);
	watch(kq, 1, 0);
	mount_at(p.at[0]);
	CHANGE(kq, 1, EVFILT_FS, EV_ADD, 0, 0, UDATA(9));
	TOLD(kq, 1, 0, VQ_MOUNT);
	SILENT(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

/* Each poll of the queue takes a change from what hangs in its set. */
TEST(event_comes_though_others_looked_at_the_queue_first)
{
	struct place p;
	struct epoll_event ee = {.events = EPOLLIN};
	int kq = new_queue(), outer = new_queue(), i;
	int ep = epoll_create1(EPOLL_CLOEXEC);
	CHECK(ep >= 0);
	begin(&p);
	watch(kq, 1, 0);
	CHANGE(outer, (uintptr_t)kq, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0,
	    UDATA(9));
	CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, kq, &ee), 0);
	SILENT(outer);
	mount_at(p.at[0]);
	CHECK(readable(kq));
	for (i = 0; i < 10; i++)
		(void)readable(kq);
	TOLD(kq, 1, 0, VQ_MOUNT);
	SILENT(kq);
	unmount(p.at[0]);
	CHECK_EQ(epoll_wait(ep, &ee, 1, GENEROUS_MS), 1);
	for (i = 0; i < 10; i++)
		(void)epoll_wait(ep, &ee, 1, 0);
	TOLD(kq, 1, 0, VQ_UNMOUNT);
	CHECK_EQ(epoll_wait(ep, &ee, 1, 0), 0);
	mount_at(p.at[0]);
	EXPECT(outer, (uintptr_t)kq, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 1,
	    UDATA(9));
	for (i = 0; i < 10; i++)
		(void)readable(outer);
	TOLD(kq, 1, 0, VQ_MOUNT);
	SILENT(kq);
	SILENT(outer);
	CHECK_EQ(close(ep), 0);
	CHECK_EQ(close(outer), 0);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

/* The same for a call that would sleep. */
TEST(wait_ends_though_another_looked_first)
{
	struct place p;
	int kq = new_queue(), i, n;
	begin(&p);
	watch(kq, 1, 0);
	for (n = 0; n < 5; n++) {
		mount_at(p.at[0]);
		for (i = 0; i < 10; i++)
			(void)readable(kq);
		TOLD(kq, 1, 0, VQ_MOUNT);
		unmount(p.at[0]);
		for (i = 0; i < 10; i++)
			(void)readable(kq);
		TOLD(kq, 1, 0, VQ_UNMOUNT);
		SILENT(kq);
	}
	CHECK_EQ(close(kq), 0);
	end(&p);
}

/* One look from outside leaves enough for a queue that is never idle. */
TEST(event_comes_to_a_busy_queue_that_another_looked_at)
{
	struct place p;
	struct kevent k[2];
	int kq = new_queue(), i, told = 0, fds[2];
	begin(&p);
	unix_pair(fds);
	watch(kq, 1, 0);
	CHANGE(kq, (uintptr_t)fds[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL);
	mount_at(p.at[0]);
	CHECK(readable(kq));
	for (i = 0; i < 3 && !told; i++) {
		int j, n = kevent(kq, NULL, 0, k, 2, &no_wait);
		CHECK(n >= 1);
		for (j = 0; j < n; j++)
			told |= k[j].filter == EVFILT_FS;
	}
	CHECK(told);
	close_pair(fds);
	SILENT(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

TEST(wakes_a_sleeper)
{
	struct place p;
	struct sleeper s;
	int kq = new_queue();
	begin(&p);
	watch(kq, 1, 0);
	sleeper_start(&s, kq);
	mount_at(p.at[0]);
	CHECK_KEV(sleeper_join(&s), 1, EVFILT_FS, EV_ADD | EV_CLEAR, VQ_MOUNT,
	    0, UDATA(9));
	SILENT(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

static void *
poll_once(void *arg)
{
	wait_poll(*(int *)arg, POLLIN);
	return NULL;
}

/* A thread in kevent() and one in poll(), both asleep: both hear of it. */
TEST(wakes_a_sleeper_and_a_poll)
{
	struct place p;
	struct sleeper s;
	pthread_t poller;
	int kq = new_queue(), i;
	begin(&p);
	watch(kq, 1, 0);
	for (i = 0; i < 50; i++) {
		CHECK_EQ(pthread_create(&poller, NULL, poll_once, &kq), 0);
		sleeper_start(&s, kq);
		if (i % 2 == 0)
			mount_at(p.at[0]);
		else
			unmount(p.at[0]);
		CHECK_KEV(sleeper_join(&s), 1, EVFILT_FS, EV_ADD | EV_CLEAR,
		    i % 2 == 0 ? VQ_MOUNT : VQ_UNMOUNT, 0, UDATA(9));
		/* It may have come too late to see anything. */
		CHANGE(kq, 5, EVFILT_USER, EV_ADD, 0, 0, NULL);
		CHANGE(kq, 5, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
		CHECK_EQ(pthread_join(poller, NULL), 0);
		CHANGE(kq, 5, EVFILT_USER, EV_DELETE, 0, 0, NULL);
		SILENT(kq);
	}
	CHECK_EQ(close(kq), 0);
	end(&p);
}

/* Several threads: each change is told, to one of them. */
#define THREADS 4

struct crowd {
	int kq;
	atomic_int told;
};

static void *
collect_until_triggered(void *arg)
{
	struct crowd *c = arg;
	struct kevent k;
	for (;;) {
		CHECK_EQ(kevent(c->kq, NULL, 0, &k, 1, NULL), 1);
		if (k.filter == EVFILT_USER)
			return NULL;
		CHECK_EQ(k.filter, EVFILT_FS);
		CHECK(k.fflags != 0 && (k.fflags & ~(unsigned)BOTH) == 0);
		atomic_fetch_add(&c->told, 1);
	}
}

TEST(each_change_is_told_to_one_thread)
{
	struct place p;
	struct crowd c = {.told = 0};
	pthread_t threads[THREADS];
	int i;
	begin(&p);
	c.kq = new_queue();
	watch(c.kq, 1, 0);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL,
		    collect_until_triggered, &c), 0);
	for (i = 0; i < 200; i++) {
		if (i % 2 == 0)
			mount_at(p.at[0]);
		else
			unmount(p.at[0]);
		WAIT_FOR(atomic_load(&c.told) == i + 1);
	}
	CHANGE(c.kq, 5, EVFILT_USER, EV_ADD, 0, 0, NULL);
	CHANGE(c.kq, 5, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_EQ(atomic_load(&c.told), 200);
	CHECK_EQ(close(c.kq), 0);
	end(&p);
}

TEST(parent_goes_on_after_a_fork)
{
	struct place p;
	int kq = new_queue();
	begin(&p);
	watch(kq, 1, 0);
	mount_at(p.at[0]);
	IN_CHILD({
		CHECK_FAILS(kevent(kq, NULL, 0, NULL, 0, NULL), EBADF);
		int mine = new_queue();
		watch(mine, 1, 0);
		mount_at(p.at[1]);
		TOLD(mine, 1, 0, VQ_MOUNT);
		SILENT(mine);
		CHECK_EQ(close(mine), 0);
	});
	TOLD(kq, 1, 0, VQ_MOUNT);
	SILENT(kq);
	unmount(p.at[1]);
	TOLD(kq, 1, 0, VQ_UNMOUNT);
	SILENT(kq);
	CHECK_EQ(close(kq), 0);
	end(&p);
}

TEST(without_proc_it_is_enotsup)
{
	struct place p;
	begin(&p);
	IN_CHILD({
		int kq = new_queue();
		CHECK_EQ(mount("kqueue-test", "/proc", "tmpfs", 0, NULL), 0);
		CHECK_FAILS(change(kq, 1, EVFILT_FS, EV_ADD, 0, 0, NULL),
		    ENOTSUP);
		CHECK_FAILS(change(kq, 1, EVFILT_FS, EV_DELETE, 0, 0, NULL),
		    ENOENT);
		/* The queue works on. */
		CHANGE(kq, 5, EVFILT_USER, EV_ADD, 0, 0, NULL);
		CHANGE(kq, 5, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
		EXPECT(kq, 5, EVFILT_USER, EV_ADD, 0, 0, NULL);
		unmount("/proc");
		watch(kq, 1, 0);
		CHECK_EQ(close(kq), 0);
	});
	end(&p);
}

TEST(knotes_of_one_queue_share_their_descriptors)
{
	static char none[65536], one[65536], many[65536];
	int kq = new_queue(), i;
	open_descriptors(none, sizeof none);
	for (i = 0; i < 1000; i++) {
		watch(kq, 1, 0);
		if (i == 0)
			open_descriptors(one, sizeof one);
		CHANGE(kq, 1, EVFILT_FS, EV_DELETE, 0, 0, NULL);
	}
	open_descriptors(many, sizeof many);
	CHECK_EQ(strcmp(none, many), 0);
	for (i = 0; i < 1000; i++)
		watch(kq, (uintptr_t)i, 0);
	open_descriptors(many, sizeof many);
	CHECK_EQ(count_fields(many), count_fields(one));
	SILENT(kq);
	CHECK_EQ(close(kq), 0);
}

/* A program that closes every number it sees closes ours, and gets them again.
 * What stands there then is left alone. */
TEST(numbers_that_were_closed_and_taken_are_left_alone)
{
	static char before[65536], after[65536];
	int kq = new_queue(), pfd[2], mine[3], n = 0;
	char *word, *rest;
	char c;
	struct kevent k;
	open_descriptors(before, sizeof before);
	watch(kq, 1, 0);
	open_descriptors(after, sizeof after);
	for (word = strtok_r(after, " ", &rest); word != NULL;
	    word = strtok_r(NULL, " ", &rest)) {
		char name[16];
		snprintf(name, sizeof name, " %s ", word);
		if (atoi(word) > kq && strstr(before, name) == NULL) {
			CHECK(n < 3);
			mine[n++] = atoi(word);
		}
	}
	CHECK_EQ(n, 3);
	tcp_pair(pfd);
	put(pfd[1], 5);
	CHECK_EQ(send(pfd[1], "!", 1, MSG_OOB), 1);
	wait_poll(pfd[0], POLLPRI);
	for (n = 0; n < 3; n++)
		CHECK_EQ(dup2(pfd[0], mine[n]), mine[n]);
	CHECK_EQ(kevent(kq, NULL, 0, &k, 1, &no_wait), 0);
	watch(kq, 1, 0);
	CHECK_EQ(kevent(kq, NULL, 0, &k, 1, &no_wait), 0);
	CHANGE(kq, 1, EVFILT_FS, EV_DELETE, 0, 0, NULL);
	CHECK_EQ(close(kq), 0);
	libkqueue_drain_pending_close();
	take(pfd[0], 5);
	CHECK_EQ(recv(pfd[0], &c, 1, MSG_OOB), 1);
	for (n = 0; n < 3; n++)
		CHECK_EQ(close(mine[n]), 0);
	close_pair(pfd);
}
