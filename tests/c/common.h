/*
 * The harness that every file of tests/c shares.
 *
 * A file holds cases, TEST(name) { ... }, and nothing else; main() is here.
 * `prog --list` prints the names, `prog name` runs one case in this process.
 * Around each case the harness compares the process's open descriptors, so a
 * case must close what it opened, and the library must not leak.
 *
 * A CHECK that fails prints where and why, and ends the process with 1.
 * A case that cannot run here says so with SKIP("reason") and ends with 77.
 */
#ifndef TESTS_COMMON_H
#define TESTS_COMMON_H

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/event.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* How long a condition that must come may take, on a loaded machine. */
#define GENEROUS_MS 20000

struct test_case {
	const char *name;
	void (*run)(void);
	struct test_case *next;
};

static struct test_case *test_first, **test_last = &test_first;

#define TEST(id)                                                              \
	static void test_##id(void);                                          \
	__attribute__((constructor)) static void test_register_##id(void)     \
	{                                                                     \
		static struct test_case self = {#id, test_##id, NULL};        \
		*test_last = &self;                                           \
		test_last = &self.next;                                       \
	}                                                                     \
	static void test_##id(void)

#define FAIL(...)                                                             \
	do {                                                                  \
		fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);               \
		fprintf(stderr, __VA_ARGS__);                                 \
		fputc('\n', stderr);                                          \
		exit(1);                                                      \
	} while (0)

#define SKIP(reason)                                                          \
	do {                                                                  \
		printf("skipped: %s\n", reason);                              \
		exit(77);                                                     \
	} while (0)

#define NOT_UNDER_VALGRIND(reason)                                            \
	do {                                                                  \
		if (getenv("KQUEUE_VALGRIND") != NULL)                        \
			SKIP(reason);                                         \
	} while (0)

/* Of ci/threads.sh: ThreadSanitizer, which stands between program and libc. */
#define NOT_UNDER_THREAD_CHECKER(reason)                                      \
	do {                                                                  \
		if (getenv("KQUEUE_THREADS") != NULL)                         \
			SKIP(reason);                                         \
	} while (0)

#define CHECK(cond)                                                           \
	do {                                                                  \
		if (!(cond))                                                  \
			FAIL("not true: %s (errno %d, %s)", #cond, errno,     \
			    strerror(errno));                                 \
	} while (0)

#define CHECK_EQ(got, want)                                                   \
	do {                                                                  \
		long long got_ = (long long)(got), want_ = (long long)(want); \
		if (got_ != want_)                                            \
			FAIL("%s is %lld (0x%llx), not %lld (0x%llx)", #got,  \
			    got_, (unsigned long long)got_, want_,            \
			    (unsigned long long)want_);                       \
	} while (0)

/* expr must return -1 and set errno to code. */
#define CHECK_FAILS(expr, code)                                               \
	do {                                                                  \
		errno = 0;                                                    \
		long long rv_ = (long long)(expr);                            \
		int err_ = errno;                                             \
		if (rv_ != -1 || err_ != (code))                              \
			FAIL("%s gave %lld, errno %d (%s), not -1, %s",       \
			    #expr, rv_, err_, strerror(err_), #code);         \
	} while (0)

#define UDATA(n) ((void *)(uintptr_t)(n))

/* Does the program run with the preload library? Then some limits are gone. */
__attribute__((unused)) static int
has_preload(void)
{
	return dlsym(RTLD_DEFAULT, "libkqueue_preload_attach") != NULL;
}

/* The case pins down a limit that is gone then; preload.c shows that it is. */
#define NOT_WITH_PRELOAD()                                                    \
	do {                                                                  \
		if (has_preload())                                            \
			SKIP("no limit with the preload library");            \
	} while (0)

#define NEEDS_PRELOAD()                                                       \
	do {                                                                  \
		if (!has_preload())                                           \
			SKIP("for the preload library");                      \
	} while (0)

__attribute__((unused)) static const struct timespec no_wait = {0, 0};

__attribute__((unused)) static struct timespec
ms_to_ts(long ms)
{
	struct timespec ts = {ms / 1000, (ms % 1000) * 1000000L};
	return ts;
}

__attribute__((unused)) static int64_t
now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* What the calling thread has had of a processor. */
__attribute__((unused)) static int64_t
thread_cpu_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

__attribute__((unused)) static struct kevent
kev(uintptr_t ident, int filter, unsigned flags, unsigned fflags,
    intptr_t data, void *udata)
{
	struct kevent k;
	EV_SET(&k, ident, (short)filter, (unsigned short)flags, fflags, data,
	    udata);
	return k;
}

/* One change, no events: what kevent() returned, errno as it left it. */
__attribute__((unused)) static int
change(int kq, uintptr_t ident, int filter, unsigned flags, unsigned fflags,
    intptr_t data, void *udata)
{
	struct kevent k = kev(ident, filter, flags, fflags, data, udata);
	return kevent(kq, &k, 1, NULL, 0, NULL);
}

#define CHANGE(...) CHECK_EQ(change(__VA_ARGS__), 0)

/* Waits at most GENEROUS_MS for one event, which must come. */
__attribute__((unused)) static struct kevent
next_event_at(const char *file, int line, int kq)
{
	struct kevent k;
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	int n;
	memset(&k, 0xa5, sizeof k);
	n = kevent(kq, NULL, 0, &k, 1, &ts);
	if (n != 1) {
		fprintf(stderr, "%s:%d: no event came: kevent gave %d (%s)\n",
		    file, line, n, n < 0 ? strerror(errno) : "time-out");
		exit(1);
	}
	return k;
}
#define next_event(kq) next_event_at(__FILE__, __LINE__, kq)

/* Nothing may be pending now. */
__attribute__((unused)) static void
expect_none_at(const char *file, int line, int kq)
{
	struct kevent k;
	int n = kevent(kq, NULL, 0, &k, 1, &no_wait);
	if (n == 0)
		return;
	if (n < 0)
		fprintf(stderr, "%s:%d: kevent failed: %s\n", file, line,
		    strerror(errno));
	else
		fprintf(stderr,
		    "%s:%d: unexpected event: ident %lu filter %d flags 0x%x "
		    "fflags 0x%x data %ld udata %p\n",
		    file, line, (unsigned long)k.ident, k.filter, k.flags,
		    k.fflags, (long)k.data, k.udata);
	exit(1);
}
#define expect_none(kq) expect_none_at(__FILE__, __LINE__, kq)

/* Is the descriptor readable at this moment? */
__attribute__((unused)) static bool
readable(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	int n = poll(&pfd, 1, 0);
	CHECK(n >= 0);
	CHECK((pfd.revents & POLLNVAL) == 0);
	return n == 1;
}

/* Silent, and poll() on the queue agrees. */
#define EXPECT_QUIET(kq)                                                      \
	do {                                                                  \
		expect_none(kq);                                              \
		CHECK(!readable(kq));                                         \
	} while (0)

/* Compares every field; flags is compared whole. */
__attribute__((unused)) static void
check_kev_at(const char *file, int line, struct kevent got,
    struct kevent want)
{
	if (got.ident == want.ident && got.filter == want.filter &&
	    got.flags == want.flags && got.fflags == want.fflags &&
	    got.data == want.data && got.udata == want.udata)
		return;
	fprintf(stderr,
	    "%s:%d:\n  got  ident %lu filter %d flags 0x%x fflags 0x%x data "
	    "%ld udata %p\n  want ident %lu filter %d flags 0x%x fflags 0x%x "
	    "data %ld udata %p\n",
	    file, line, (unsigned long)got.ident, got.filter, got.flags,
	    got.fflags, (long)got.data, got.udata, (unsigned long)want.ident,
	    want.filter, want.flags, want.fflags, (long)want.data,
	    want.udata);
	exit(1);
}
#define CHECK_KEV(got, ...)                                                   \
	check_kev_at(__FILE__, __LINE__, got, kev(__VA_ARGS__))

/* The next event must be exactly this one. */
#define EXPECT(kq, ...) CHECK_KEV(next_event(kq), __VA_ARGS__)

/* The open descriptors as text, "0 1 2 ", for comparison. */
__attribute__((unused)) static void
open_descriptors(char *buf, size_t size)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int fds[4096], count = 0, i, j;
	size_t used = 0;
	if (dir == NULL) {
		snprintf(buf, size, "unknown");
		return;
	}
	while ((entry = readdir(dir)) != NULL) {
		int fd = atoi(entry->d_name);
		if (entry->d_name[0] == '.' || fd == dirfd(dir))
			continue;
		if (count < 4096)
			fds[count++] = fd;
	}
	closedir(dir);
	for (i = 1; i < count; i++)
		for (j = i; j > 0 && fds[j] < fds[j - 1]; j--) {
			int swap = fds[j];
			fds[j] = fds[j - 1];
			fds[j - 1] = swap;
		}
	buf[0] = '\0';
	for (i = 0; i < count && used + 12 < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%d ",
		    fds[i]);
}

/* How many descriptors open_descriptors() wrote down. */
__attribute__((unused)) static int
count_fields(const char *s)
{
	int n = 0;
	for (; *s != '\0'; s++)
		n += *s == ' ';
	return n;
}

/*
 * The library learns of a closed queue late, at a later kqueue(), and keeps a
 * few private descriptors of closed queues for the next ones: so many at most,
 * until libkqueue_drain_pending_close().
 */
#define KEPT_FOR_REUSE 160

/* Descriptors from this number on are the library's, where the limit allows. */
#define PRIVATE_FLOOR 256

int
main(int argc, char **argv)
{
	static char before[65536], after[65536];
	struct test_case *t;
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (t = test_first; t != NULL; t = t->next)
			puts(t->name);
		return 0;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (t = test_first; t != NULL; t = t->next) {
		if (argc != 2 || strcmp(argv[1], t->name) != 0)
			continue;
		open_descriptors(before, sizeof before);
		t->run();
		/* What closed queues left is given back here at the latest. */
		libkqueue_drain_pending_close();
		open_descriptors(after, sizeof after);
		/* ThreadSanitizer opens pipes to what names a function. */
		if (strcmp(before, after) != 0 &&
		    getenv("KQUEUE_THREADS") == NULL)
			FAIL("descriptors before: %s; after: %s", before,
			    after);
		return 0;
	}
	fprintf(stderr, "usage: %s --list | case\n", argv[0]);
	return 2;
}

#endif
