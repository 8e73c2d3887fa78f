/*
 * What the library does when the system says no.
 *
 * This program defines the system calls and the allocator functions that the
 * shared library uses. The dynamic linker finds its definitions first, so
 * every such call of the library comes here, is counted, and is passed on,
 * except the one that is to fail. (With the archive they would be the
 * program's own definitions twice: this program is for the shared library
 * alone.) Calls of the test itself are not counted: `inside` is set only
 * around kqueue() and kevent().
 *
 * Each case takes one kind of call and one errno and runs script() again and
 * again, with the first, the second, the third ... such call failing, until a
 * run is over before its number comes up. Each run is a forked process, since
 * the first kqueue() of a process is the one that allocates most. This process
 * itself never calls the library.
 *
 * In the script, a model knows which knotes there are and which of them are
 * ready. Whatever step the failure hits, it must have had no effect (or, if
 * the library could do without the call, its full one), the step must succeed
 * when done again, and every knote must go on being returned as modelled.
 */
#include "../c/common.h"

#include <dlfcn.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>

/* Declared by no header. */
void libkqueue_drain_pending_close(void);

/* --- the calls that can fail -------------------------------------------- */

enum call {
	NO_CALL,
	EPOLL_CREATE,
	EPOLL_ADD,
	EPOLL_MOD,
	EPOLL_WAIT,
	EPOLL_PWAIT2,
	EVENTFD,
	TIMERFD_CREATE,
	TIMERFD_SETTIME,
	INOTIFY_INIT,
	INOTIFY_ADD,
	FCNTL_DUP,
	FCNTL_MARK,
	FCNTL_ASK,
	IOCTL,
	GETSOCKOPT,
	FSTAT,
	LSEEK,
	POLL,
	PPOLL,
	READ,
	PREAD,
	READLINK,
	OPEN,
	MMAP,
	MADVISE,
	ATFORK,
	GETRANDOM,
	SIGACTION,
	SIGNALFD,
	SIGTIMEDWAIT,
	ALLOCATE,
	PIDFD_OPEN,
	PIDFD_SIGNAL,
	WAITID,
	SOCKET,
	BIND,
	SEND,
	RECV,
	SETSOCKOPT,
	CALLS
};

/* Set while the library runs on this thread's behalf. */
static _Thread_local bool inside;

/* The failure that is planned, and what came of it. */
static struct {
	enum call call;
	int code;
	/* 1: the next such call; 0: none. */
	long countdown;
	/* Every such call from then on, not one. */
	bool for_good;
	long fired;
} plan;

/* What the library did, by kind. */
static long made[CALLS];

/* Blocks that the library has and has not given back. */
static long blocks;

/* Another thread, that makes a number another file just before one of the
 * library's calls that put it into a set or ask for it there. */
static struct {
	int number, file;
	/* 1: the next such call; 0: none. */
	long countdown;
} replaced;

/* The same, that closes a number just before something is to be taken out of the
 * set that it is. */
static struct {
	int number;
	long countdown;
} closed;

/* What another thread does while this one is back from its next wait with
 * something, and has not looked at it. */
static void (*meanwhile)(void);

static int
back_from_wait(int count)
{
	void (*what)(void) = meanwhile;
	if (inside && count > 0 && what != NULL) {
		meanwhile = NULL;
		inside = false;
		what();
		inside = true;
	}
	return count;
}

/* Is this call of the library's the one that fails? */
static bool
fails(enum call call)
{
	if (!inside)
		return false;
	made[call]++;
	if (plan.call != call || plan.countdown == 0)
		return false;
	if (plan.countdown > 1) {
		plan.countdown--;
		return false;
	}
	if (!plan.for_good)
		plan.countdown = 0;
	plan.fired++;
	errno = plan.code;
	return true;
}

/*
 * dlsym() may allocate before the allocator below knows where to turn. It is
 * given memory from here, which is never given back.
 */
static _Alignas(16) char early[65536];
static size_t early_used;
static bool resolving;

static void *
real(const char *name)
{
	bool was_inside = inside, was_resolving = resolving;
	void *found;
	inside = false;
	resolving = true;
	found = dlsym(RTLD_NEXT, name);
	resolving = was_resolving;
	inside = was_inside;
	if (found == NULL)
		abort();
	return found;
}

static bool
is_early(const void *block)
{
	return (const char *)block >= early &&
	    (const char *)block < early + sizeof early;
}

static void *
early_block(size_t size)
{
	void *block = early + early_used;
	size = (size + 15) & ~(size_t)15;
	if (size > sizeof early - early_used)
		abort();
	early_used += size;
	return block;
}

/* The C library's function of this name, found once. */
#define REAL(type, name)                                                      \
	static __typeof__(type) *real_##name;                                 \
	if (real_##name == NULL)                                              \
		*(void **)&real_##name = real(#name)

static void *
counted(void *block)
{
	if (inside && block != NULL)
		blocks++;
	return block;
}

#define PUBLIC __attribute__((visibility("default")))

PUBLIC void *
malloc(size_t size)
{
	if (resolving)
		return early_block(size);
	REAL(void *(size_t), malloc);
	return fails(ALLOCATE) ? NULL : counted(real_malloc(size));
}

PUBLIC void *
calloc(size_t count, size_t size)
{
	/* Static memory is zero. */
	if (resolving)
		return early_block(count * size);
	REAL(void *(size_t, size_t), calloc);
	return fails(ALLOCATE) ? NULL : counted(real_calloc(count, size));
}

PUBLIC void *
realloc(void *block, size_t size)
{
	if (resolving || is_early(block))
		abort();
	REAL(void *(void *, size_t), realloc);
	if (fails(ALLOCATE))
		return NULL;
	return block == NULL ? counted(real_realloc(NULL, size))
			     : real_realloc(block, size);
}

PUBLIC int
posix_memalign(void **block, size_t alignment, size_t size)
{
	REAL(int(void **, size_t, size_t), posix_memalign);
	if (fails(ALLOCATE))
		return ENOMEM;
	int rv = real_posix_memalign(block, alignment, size);
	if (rv == 0)
		counted(*block);
	return rv;
}

PUBLIC void *
aligned_alloc(size_t alignment, size_t size)
{
	REAL(void *(size_t, size_t), aligned_alloc);
	return fails(ALLOCATE) ? NULL
			       : counted(real_aligned_alloc(alignment, size));
}

PUBLIC void
free(void *block)
{
	if (block == NULL || is_early(block))
		return;
	REAL(void(void *), free);
	if (inside)
		blocks--;
	real_free(block);
}

PUBLIC int
epoll_create1(int flags)
{
	REAL(int(int), epoll_create1);
	return fails(EPOLL_CREATE) ? -1 : real_epoll_create1(flags);
}

/*
 * Adding fails for want of memory only after the kernel has found the number
 * good and not in the set yet; so that much is tried first.
 */
PUBLIC int
epoll_ctl(int set, int op, int fd, struct epoll_event *event)
{
	REAL(int(int, int, int, struct epoll_event *), epoll_ctl);
	int rv = 0;
	if (inside && replaced.countdown != 0 && fd == replaced.number &&
	    --replaced.countdown == 0 && dup2(replaced.file, fd) != fd)
		abort();
	if (inside && op == EPOLL_CTL_DEL && closed.countdown != 0 &&
	    set == closed.number && --closed.countdown == 0 && close(set) != 0)
		abort();
	if (op == EPOLL_CTL_MOD && fails(EPOLL_MOD))
		return -1;
	rv = real_epoll_ctl(set, op, fd, event);
	if (op == EPOLL_CTL_ADD && rv == 0 && fails(EPOLL_ADD)) {
		int code = errno;
		if (real_epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL) != 0)
			abort();
		errno = code;
		return -1;
	}
	return rv;
}

/* The time-outs that came with the last waits, in nanoseconds. */
static int64_t asked_wait, asked_pwait2, asked_ppoll;

PUBLIC int
epoll_wait(int set, struct epoll_event *events, int most, int timeout)
{
	REAL(int(int, struct epoll_event *, int, int), epoll_wait);
	if (inside)
		asked_wait = timeout * INT64_C(1000000);
	if (fails(EPOLL_WAIT))
		return -1;
	return back_from_wait(real_epoll_wait(set, events, most, timeout));
}

PUBLIC int
epoll_pwait2(int set, struct epoll_event *events, int most,
    const struct timespec *timeout, const sigset_t *mask)
{
	REAL(int(int, struct epoll_event *, int, const struct timespec *,
	    const sigset_t *), epoll_pwait2);
	if (inside)
		asked_pwait2 = timeout->tv_sec * INT64_C(1000000000) +
		    timeout->tv_nsec;
	if (fails(EPOLL_PWAIT2))
		return -1;
	return back_from_wait(
	    real_epoll_pwait2(set, events, most, timeout, mask));
}

PUBLIC int
ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
    const sigset_t *mask)
{
	REAL(int(struct pollfd *, nfds_t, const struct timespec *,
	    const sigset_t *), ppoll);
	if (inside)
		asked_ppoll = timeout->tv_sec * INT64_C(1000000000) +
		    timeout->tv_nsec;
	return fails(PPOLL) ? -1 : real_ppoll(fds, count, timeout, mask);
}

/* As the kernel does it, a signal interrupts a poll that finds nothing. */
PUBLIC int
poll(struct pollfd *fds, nfds_t count, int timeout)
{
	REAL(int(struct pollfd *, nfds_t, int), poll);
	return fails(POLL) ? -1 : real_poll(fds, count, timeout);
}

PUBLIC int
eventfd(unsigned value, int flags)
{
	REAL(int(unsigned, int), eventfd);
	return fails(EVENTFD) ? -1 : real_eventfd(value, flags);
}

PUBLIC int
timerfd_create(int clock, int flags)
{
	REAL(int(int, int), timerfd_create);
	return fails(TIMERFD_CREATE) ? -1 : real_timerfd_create(clock, flags);
}

PUBLIC int
timerfd_settime(int fd, int flags, const struct itimerspec *to,
    struct itimerspec *was)
{
	REAL(int(int, int, const struct itimerspec *, struct itimerspec *),
	    timerfd_settime);
	return fails(TIMERFD_SETTIME)
	    ? -1
	    : real_timerfd_settime(fd, flags, to, was);
}

PUBLIC int
inotify_init1(int flags)
{
	REAL(int(int), inotify_init1);
	return fails(INOTIFY_INIT) ? -1 : real_inotify_init1(flags);
}

PUBLIC int
inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	REAL(int(int, const char *, uint32_t), inotify_add_watch);
	return fails(INOTIFY_ADD) ? -1
				  : real_inotify_add_watch(fd, path, mask);
}

#define FCNTL(name)                                                           \
	PUBLIC int name(int fd, int command, ...)                             \
	{                                                                     \
		REAL(int(int, int, ...), name);                               \
		va_list args;                                                 \
		long arg;                                                     \
		va_start(args, command);                                      \
		arg = va_arg(args, long);                                     \
		va_end(args);                                                 \
		if (fails(command == F_DUPFD_CLOEXEC ? FCNTL_DUP              \
			: command == F_SETSIG	     ? FCNTL_MARK             \
						     : FCNTL_ASK))            \
			return -1;                                            \
		return real_##name(fd, command, arg);                         \
	}
FCNTL(fcntl)
FCNTL(fcntl64)

PUBLIC int
ioctl(int fd, unsigned long request, ...)
{
	REAL(int(int, unsigned long, ...), ioctl);
	va_list args;
	void *arg;
	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	return fails(IOCTL) ? -1 : real_ioctl(fd, request, arg);
}

PUBLIC int
getsockopt(int fd, int level, int name, void *restrict value,
    socklen_t *restrict size)
{
	REAL(int(int, int, int, void *, socklen_t *), getsockopt);
	return fails(GETSOCKOPT) ? -1
				 : real_getsockopt(fd, level, name, value,
				       size);
}

PUBLIC int
fstat(int fd, struct stat *st)
{
	REAL(int(int, struct stat *), fstat);
	return fails(FSTAT) ? -1 : real_fstat(fd, st);
}

PUBLIC int
fstat64(int fd, struct stat64 *st)
{
	REAL(int(int, struct stat64 *), fstat64);
	return fails(FSTAT) ? -1 : real_fstat64(fd, st);
}

PUBLIC off_t
lseek(int fd, off_t offset, int whence)
{
	REAL(off_t(int, off_t, int), lseek);
	return fails(LSEEK) ? -1 : real_lseek(fd, offset, whence);
}

PUBLIC off64_t
lseek64(int fd, off64_t offset, int whence)
{
	REAL(off64_t(int, off64_t, int), lseek64);
	return fails(LSEEK) ? -1 : real_lseek64(fd, offset, whence);
}

PUBLIC ssize_t
read(int fd, void *buffer, size_t size)
{
	REAL(ssize_t(int, void *, size_t), read);
	return fails(READ) ? -1 : real_read(fd, buffer, size);
}

PUBLIC ssize_t
pread(int fd, void *buffer, size_t size, off_t offset)
{
	REAL(ssize_t(int, void *, size_t, off_t), pread);
	return fails(PREAD) ? -1 : real_pread(fd, buffer, size, offset);
}

PUBLIC ssize_t
pread64(int fd, void *buffer, size_t size, off64_t offset)
{
	REAL(ssize_t(int, void *, size_t, off64_t), pread64);
	return fails(PREAD) ? -1 : real_pread64(fd, buffer, size, offset);
}

PUBLIC ssize_t
readlink(const char *restrict path, char *restrict buffer, size_t size)
{
	REAL(ssize_t(const char *, char *, size_t), readlink);
	return fails(READLINK) ? -1 : real_readlink(path, buffer, size);
}

#define OPEN_CALL(name)                                                       \
	PUBLIC int name(const char *path, int flags, ...)                     \
	{                                                                     \
		REAL(int(const char *, int, ...), name);                      \
		va_list args;                                                 \
		int mode;                                                     \
		va_start(args, flags);                                        \
		mode = va_arg(args, int);                                     \
		va_end(args);                                                 \
		return fails(OPEN) ? -1 : real_##name(path, flags, mode);     \
	}
OPEN_CALL(open)
OPEN_CALL(open64)

PUBLIC DIR *
opendir(const char *path)
{
	REAL(DIR *(const char *), opendir);
	return fails(OPEN) ? NULL : real_opendir(path);
}

PUBLIC void *
mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	REAL(void *(void *, size_t, int, int, int, off_t), mmap);
	return fails(MMAP) ? MAP_FAILED
			   : real_mmap(at, size, prot, flags, fd, offset);
}

PUBLIC void *
mmap64(void *at, size_t size, int prot, int flags, int fd, off64_t offset)
{
	REAL(void *(void *, size_t, int, int, int, off64_t), mmap64);
	return fails(MMAP) ? MAP_FAILED
			   : real_mmap64(at, size, prot, flags, fd, offset);
}

PUBLIC int
madvise(void *at, size_t size, int advice)
{
	REAL(int(void *, size_t, int), madvise);
	return fails(MADVISE) ? -1 : real_madvise(at, size, advice);
}

/* What pthread_atfork() is in a shared library on glibc. */
PUBLIC int
__register_atfork(void (*prepare)(void), void (*parent)(void),
    void (*child)(void), void *library)
{
	REAL(int(void (*)(void), void (*)(void), void (*)(void), void *),
	    __register_atfork);
	return fails(ATFORK) ? plan.code
			     : real___register_atfork(prepare, parent, child,
				   library);
}

PUBLIC ssize_t
getrandom(void *buffer, size_t size, unsigned flags)
{
	REAL(ssize_t(void *, size_t, unsigned), getrandom);
	return fails(GETRANDOM) ? -1 : real_getrandom(buffer, size, flags);
}

PUBLIC int
socket(int domain, int type, int protocol)
{
	REAL(int(int, int, int), socket);
	return fails(SOCKET) ? -1 : real_socket(domain, type, protocol);
}

PUBLIC int
bind(int fd, const struct sockaddr *address, socklen_t size)
{
	REAL(int(int, const struct sockaddr *, socklen_t), bind);
	return fails(BIND) ? -1 : real_bind(fd, address, size);
}

PUBLIC int
setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
	REAL(int(int, int, int, const void *, socklen_t), setsockopt);
	return fails(SETSOCKOPT) ? -1
				 : real_setsockopt(fd, level, name, value,
				       size);
}

PUBLIC int
sigaction(int sig, const struct sigaction *new, struct sigaction *old)
{
	REAL(int(int, const struct sigaction *, struct sigaction *), sigaction);
	return fails(SIGACTION) ? -1 : real_sigaction(sig, new, old);
}

/*
 * Calls that are no cancellation points come this way, and those that the C
 * library does not know.
 */
PUBLIC long
syscall(long number, ...)
{
	REAL(long(long, ...), syscall);
	va_list args;
	long a[6];
	int i;
	va_start(args, number);
	for (i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_epoll_pwait && fails(EPOLL_WAIT))
		return -1;
	if (number == SYS_pidfd_open && fails(PIDFD_OPEN))
		return -1;
	if (number == SYS_pidfd_send_signal && fails(PIDFD_SIGNAL))
		return -1;
	if (number == SYS_waitid && fails(WAITID))
		return -1;
	if (number == SYS_ppoll && fails(POLL))
		return -1;
	if (number == SYS_preadv && fails(PREAD))
		return -1;
	if (number == SYS_sendto && fails(SEND))
		return -1;
	if (number == SYS_recvfrom && fails(RECV))
		return -1;
	if (number == SYS_openat && fails(OPEN))
		return -1;
	if (number == SYS_read && fails(READ))
		return -1;
	if (number == SYS_signalfd4 && fails(SIGNALFD))
		return -1;
	if (number == SYS_rt_sigtimedwait && fails(SIGTIMEDWAIT))
		return -1;
	return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* --- calling the library ------------------------------------------------ */

static int
lib_kqueue(void)
{
	int rv;
	inside = true;
	rv = kqueue();
	inside = false;
	return rv;
}

static int
lib_kevent(int kq, const struct kevent *changes, int nchanges,
    struct kevent *events, int nevents, const struct timespec *timeout)
{
	int rv;
	inside = true;
	rv = kevent(kq, changes, nchanges, events, nevents, timeout);
	inside = false;
	return rv;
}

static void
lib_drain(void)
{
	inside = true;
	libkqueue_drain_pending_close();
	inside = false;
}

/* --- the model ---------------------------------------------------------- */

#define ROOM 512

struct held {
	uintptr_t ident;
	int filter;
	/* EV_ONESHOT, EV_CLEAR or EV_DISPATCH; 0: level. */
	unsigned flags;
	bool enabled, ready, seen;
	/* ANY, or what the event must say. */
	intptr_t data;
};
#define ANY INTPTR_MIN

struct queue {
	int fd;
	int count;
	struct held held[ROOM];
};

/* How changes are passed: alone, or in a call that collects as well. */
static bool collecting;

/* The kernel cannot fail so; a sandbox could. Then only the end counts. */
static bool unlikely;

/* Some failure has been: the library may have turned to slower means. */
static bool
degraded(void)
{
	return plan.fired > 0;
}

static void *
udata_of(uintptr_t ident, int filter)
{
	return UDATA(ident * 32 + (uintptr_t)-filter);
}

static struct held *
find(struct queue *q, uintptr_t ident, int filter)
{
	int i;
	for (i = 0; i < q->count; i++)
		if (q->held[i].ident == ident && q->held[i].filter == filter)
			return &q->held[i];
	return NULL;
}

static void
drop(struct queue *q, struct held *h)
{
	*h = q->held[--q->count];
}

/* Takes events that came, each of which the model must expect. */
static void
absorb(struct queue *q, const struct kevent *events, int n, bool fired)
{
	int i;
	for (i = 0; i < n; i++) {
		const struct kevent *e = &events[i];
		struct held *h = find(q, e->ident, e->filter);
		if (h == NULL || !h->enabled || !h->ready)
			FAIL("event of ident %lu filter %d, %s",
			    (unsigned long)e->ident, e->filter,
			    h == NULL ? "which is not there"
				      : "which is not ready");
		if (e->flags & EV_ERROR)
			FAIL("error entry among events: %ld", (long)e->data);
		CHECK(e->udata == udata_of(h->ident, h->filter));
		/* What could not be asked may be told less exactly, once. */
		if (!fired && h->data != ANY)
			CHECK_EQ(e->data, h->data);
		h->seen = true;
		if (h->flags & EV_CLEAR)
			h->ready = false;
		if (h->flags & EV_DISPATCH)
			h->enabled = false;
		if (h->flags & EV_ONESHOT)
			drop(q, h);
	}
}

static struct held *
missing(struct queue *q)
{
	int i;
	for (i = 0; i < q->count; i++) {
		struct held *h = &q->held[i];
		if (h->enabled && h->ready && !h->seen)
			return h;
	}
	return NULL;
}

static bool
one_of(int code, const int *allowed)
{
	for (; *allowed != 0; allowed++)
		if (*allowed == code)
			return true;
	return false;
}

static const int by_kqueue[] = {EMFILE, ENFILE, ENOMEM, 0};
static const int by_change[] = {EMFILE, ENFILE, ENOMEM, EINTR, EIO, 0};
static const int by_wait[] = {EINTR, ENOMEM, 0};

/* A step failed: it must be the planned failure, told in BSD's terms. */
static void
check_failure(const char *step, long fired_before, int code,
    const int *allowed)
{
	if (plan.fired == fired_before)
		FAIL("%s failed by itself: %s", step, strerror(code));
	if (!one_of(code, allowed))
		FAIL("%s: errno %d, %s", step, code, strerror(code));
}

/*
 * Everything that is ready must come, and nothing else. In one call, unless a
 * failure hits it, or has hit before and cost the library a notice.
 */
static void
collect(struct queue *q)
{
	static struct kevent events[ROOM];
	int64_t until = now_ns() + GENEROUS_MS * INT64_C(1000000);
	struct timespec soon = {0, 2000000};
	bool first = true;
	int i;
	for (i = 0; i < q->count; i++)
		q->held[i].seen = false;
	while (first || missing(q) != NULL) {
		long fired = plan.fired;
		int n;
		if (!first && !degraded()) {
			struct held *h = missing(q);
			FAIL("no event of ident %lu filter %d",
			    (unsigned long)h->ident, h->filter);
		}
		if (now_ns() > until) {
			struct held *h = missing(q);
			FAIL("lost: ident %lu filter %d",
			    (unsigned long)h->ident, h->filter);
		}
		n = lib_kevent(q->fd, NULL, 0, events, ROOM,
		    first ? &no_wait : &soon);
		if (n == -1)
			check_failure("a wait", fired, errno, by_wait);
		else
			absorb(q, events, n, plan.fired != fired);
		first = false;
	}
}

static void
open_queue(struct queue *q)
{
	long fired = plan.fired;
	q->count = 0;
	q->fd = lib_kqueue();
	if (q->fd == -1) {
		check_failure("kqueue", fired, errno, by_kqueue);
		q->fd = lib_kqueue();
	}
	CHECK(q->fd != -1);
	CHECK(fcntl(q->fd, F_GETFD) == FD_CLOEXEC);
}

/*
 * Applies a change, and once more if it failed. Events that came with it are
 * taken by the caller, after it brought the model up to date.
 */
static struct kevent came[ROOM];
static int came_count;
static bool came_fired;

static void
apply(struct queue *q, struct kevent k)
{
	int tries, n;
	bool added = (k.flags & EV_ADD) && find(q, k.ident, k.filter) == NULL;
	k.udata = udata_of(k.ident, k.filter);
	for (tries = 0;; tries++) {
		long fired = plan.fired;
		came_count = 0;
		if (collecting)
			n = lib_kevent(q->fd, &k, 1, came, ROOM, &no_wait);
		else
			n = lib_kevent(q->fd, &k, 1, NULL, 0, NULL);
		came_fired = plan.fired != fired;
		if (n == -1 && collecting) {
			/* The wait failed; the change has been applied. */
			check_failure("a wait", fired, errno, by_wait);
			return;
		}
		if (collecting && n > 0 && came[0].flags & EV_ERROR) {
			CHECK_EQ(n, 1);
			errno = (int)came[0].data;
			n = -1;
		}
		if (n != -1) {
			came_count = n;
			return;
		}
		if (unlikely && tries > 0 && errno == ENOENT &&
		    k.flags & EV_DELETE)
			return;
		check_failure("a change", fired, errno, by_change);
		if (unlikely)
			continue;
		if (added) {
			k.flags ^= EV_ADD | EV_DELETE;
			CHECK_FAILS(kevent(q->fd, &k, 1, NULL, 0, NULL),
			    ENOENT);
			k.flags ^= EV_ADD | EV_DELETE;
		}
		collect(q);
	}
}

/* Set for steps in bulk: looks at all knotes only where a failure struck. */
static bool in_bulk;

static void
settle(struct queue *q)
{
	absorb(q, came, came_count, came_fired);
	if (!in_bulk || came_fired)
		collect(q);
}

/* EV_ADD of a new knote. */
static void
add(struct queue *q, uintptr_t ident, int filter, unsigned flags,
    unsigned fflags, intptr_t data, bool ready, intptr_t want)
{
	struct held h = {ident, filter, flags, true, ready, false, want};
	CHECK(find(q, ident, filter) == NULL);
	apply(q, kev(ident, filter, EV_ADD | flags, fflags, data, NULL));
	CHECK(q->count < ROOM);
	q->held[q->count++] = h;
	settle(q);
}

/* EV_ENABLE, EV_DISABLE, or a trigger of a knote that is there. */
static void
touch(struct queue *q, uintptr_t ident, int filter, unsigned flags,
    unsigned fflags, bool ready)
{
	struct held *h;
	apply(q, kev(ident, filter, flags, fflags, 0, NULL));
	h = find(q, ident, filter);
	CHECK(h != NULL);
	if (flags & EV_ENABLE)
		h->enabled = true;
	if (flags & EV_DISABLE)
		h->enabled = false;
	h->ready = ready;
	settle(q);
}

static void
delete(struct queue *q, uintptr_t ident, int filter)
{
	struct held *h;
	apply(q, kev(ident, filter, EV_DELETE, 0, 0, NULL));
	h = find(q, ident, filter);
	CHECK(h != NULL);
	drop(q, h);
	settle(q);
}

/* --- the script --------------------------------------------------------- */

/* Knotes: more than the library's first tables hold. */
#define MANY 70
/* Queues: more dead ones than the library leaves alone. */
#define QUEUES 40

static struct queue queue, other;

static void
put(int fd, const char *text)
{
	CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
}

static void
listening_and_connected(int fds[3])
{
	struct sockaddr_in at = {.sin_family = AF_INET,
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof at;
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_EQ(bind(fds[0], (struct sockaddr *)&at, size), 0);
	CHECK_EQ(listen(fds[0], 8), 0);
	CHECK_EQ(getsockname(fds[0], (struct sockaddr *)&at, &size), 0);
	fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_EQ(connect(fds[1], (struct sockaddr *)&at, size), 0);
	fds[2] = accept4(fds[0], NULL, NULL, SOCK_CLOEXEC);
	CHECK(fds[2] != -1);
}

/* Both sides of each kind of descriptor, and what else can be watched. */
static void
descriptors(struct queue *q)
{
	int pair[2], tcp[3], ends[2], udp, file, event, null, loose;
	char buf[16];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	put(pair[1], "abc");
	add(q, (uintptr_t)pair[0], EVFILT_READ, 0, 0, 0, true, 3);
	add(q, (uintptr_t)pair[0], EVFILT_WRITE, 0, 0, 0, true, ANY);
	touch(q, (uintptr_t)pair[0], EVFILT_READ, EV_DISABLE, 0, true);
	touch(q, (uintptr_t)pair[0], EVFILT_WRITE, EV_DISABLE, 0, true);
	touch(q, (uintptr_t)pair[0], EVFILT_READ, EV_ENABLE, 0, true);
	touch(q, (uintptr_t)pair[0], EVFILT_WRITE, EV_ENABLE, 0, true);

	listening_and_connected(tcp);
	put(tcp[1], "abcd");
	while (recv(tcp[2], buf, sizeof buf, MSG_PEEK) < 4)
		;
	add(q, (uintptr_t)tcp[2], EVFILT_WRITE, 0, 0, 0, true, ANY);
	add(q, (uintptr_t)tcp[2], EVFILT_READ, 0, NOTE_LOWAT, 4, true, 4);
	add(q, (uintptr_t)tcp[0], EVFILT_READ, 0, 0, 0, false, ANY);
	add(q, (uintptr_t)tcp[1], EVFILT_READ, 0, NOTE_LOWAT, 0, true, 0);

	/* An urgent byte, which ends what FIONREAD counts. */
	add(q, (uintptr_t)tcp[2], EVFILT_EXCEPT, 0, NOTE_OOB, 0, false, 4);
	CHECK_EQ(send(tcp[1], "!", 1, MSG_OOB), 1);
	while (recv(tcp[2], buf, 1, MSG_OOB | MSG_PEEK) != 1)
		;
	find(q, (uintptr_t)tcp[2], EVFILT_EXCEPT)->ready = true;
	collect(q);
	touch(q, (uintptr_t)tcp[2], EVFILT_EXCEPT, EV_DISABLE, NOTE_OOB, true);
	touch(q, (uintptr_t)tcp[2], EVFILT_EXCEPT, EV_ENABLE, NOTE_OOB, true);

	loose = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	add(q, (uintptr_t)loose, EVFILT_READ, 0, 0, 0, false, ANY);
	udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	add(q, (uintptr_t)udp, EVFILT_WRITE, 0, 0, 0, true, ANY);

	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	put(ends[1], "ab");
	add(q, (uintptr_t)ends[0], EVFILT_READ, EV_DISPATCH, 0, 0, true, 2);
	touch(q, (uintptr_t)ends[0], EVFILT_READ, EV_ENABLE, 0, true);
	add(q, (uintptr_t)ends[1], EVFILT_WRITE, EV_CLEAR, 0, 0, true, 65534);
	delete(q, (uintptr_t)ends[1], EVFILT_WRITE);
	add(q, (uintptr_t)ends[1], EVFILT_WRITE, EV_ONESHOT, 0, 0, true,
	    65534);

	event = eventfd(5, EFD_CLOEXEC);
	add(q, (uintptr_t)event, EVFILT_READ, 0, 0, 0, true, 5);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	add(q, (uintptr_t)null, EVFILT_WRITE, 0, 0, 0, true, ANY);
	add(q, (uintptr_t)null, EVFILT_READ, EV_ONESHOT, 0, 0, true, 0);

	file = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	CHECK(file != -1);
	put(file, "1234567");
	add(q, (uintptr_t)file, EVFILT_READ, 0, 0, 0, false, ANY);
	touch(q, (uintptr_t)file, EVFILT_READ, EV_DISABLE, 0, false);
	touch(q, (uintptr_t)file, EVFILT_READ, EV_ENABLE, 0, false);
	CHECK_EQ(pwrite(file, "89", 2, 7), 2);
	find(q, (uintptr_t)file, EVFILT_READ)->ready = true;
	find(q, (uintptr_t)file, EVFILT_READ)->data = 2;
	collect(q);
	touch(q, (uintptr_t)file, EVFILT_READ, EV_DISABLE, 0, true);
	touch(q, (uintptr_t)file, EVFILT_READ, EV_ENABLE, 0, true);

	/* One closed without EV_DELETE, its number taken by another file. */
	delete(q, (uintptr_t)tcp[1], EVFILT_READ);
	CHECK(dup2(ends[0], tcp[1]) == tcp[1]);
	add(q, (uintptr_t)tcp[1], EVFILT_READ, 0, 0, 0, true, 2);
	drop(q, find(q, (uintptr_t)tcp[1], EVFILT_READ));
	CHECK(dup2(event, tcp[1]) == tcp[1]);
	add(q, (uintptr_t)tcp[1], EVFILT_READ, 0, 0, 0, true, 5);

	delete(q, (uintptr_t)pair[0], EVFILT_READ);
	delete(q, (uintptr_t)pair[0], EVFILT_WRITE);
	delete(q, (uintptr_t)tcp[2], EVFILT_WRITE);
	delete(q, (uintptr_t)file, EVFILT_READ);
	delete(q, (uintptr_t)event, EVFILT_READ);
	delete(q, (uintptr_t)null, EVFILT_WRITE);
	close(pair[0]);
	close(pair[1]);
	close(event);
	close(null);
	close(file);
	/* The others go by closing them. */
	drop(q, find(q, (uintptr_t)tcp[2], EVFILT_READ));
	drop(q, find(q, (uintptr_t)tcp[2], EVFILT_EXCEPT));
	drop(q, find(q, (uintptr_t)tcp[0], EVFILT_READ));
	drop(q, find(q, (uintptr_t)tcp[1], EVFILT_READ));
	drop(q, find(q, (uintptr_t)loose, EVFILT_READ));
	drop(q, find(q, (uintptr_t)udp, EVFILT_WRITE));
	drop(q, find(q, (uintptr_t)ends[0], EVFILT_READ));
	close(tcp[0]);
	close(tcp[1]);
	close(tcp[2]);
	close(loose);
	close(udp);
	close(ends[0]);
	close(ends[1]);
	collect(q);
}

static void
becomes_ready(struct queue *q, int fd)
{
	find(q, (uintptr_t)fd, EVFILT_VNODE)->ready = true;
}

/* What happens to files, told or looked at, in two queues at once. */
static void
files(struct queue *q)
{
	char name[] = "dir-XXXXXX";
	int file, twin, dir, closed;
	file = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	CHECK(file != -1);
	twin = fcntl(file, F_DUPFD_CLOEXEC, 0);
	closed = fcntl(file, F_DUPFD_CLOEXEC, 0);
	CHECK(twin != -1 && closed != -1);
	CHECK(mkdtemp(name) != NULL);
	dir = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(dir != -1);

	open_queue(&other);
	add(q, (uintptr_t)file, EVFILT_VNODE, 0, NOTE_WRITE, 0, false, 0);
	add(&other, (uintptr_t)file, EVFILT_VNODE, EV_CLEAR, NOTE_EXTEND, 0,
	    false, 0);
	put(file, "abc");
	becomes_ready(q, file);
	becomes_ready(&other, file);
	collect(q);
	collect(&other);
	/* It comes to a watch for which something may wait to be read. */
	put(file, "abc");
	becomes_ready(&other, file);
	add(q, (uintptr_t)twin, EVFILT_VNODE, EV_DISPATCH, NOTE_ATTRIB, 0,
	    false, 0);
	add(q, (uintptr_t)closed, EVFILT_VNODE, 0, NOTE_ATTRIB, 0, false, 0);
	collect(&other);
	CHECK_EQ(fchmod(file, 0640), 0);
	becomes_ready(q, twin);
	becomes_ready(q, closed);
	collect(q);
	drop(q, find(q, (uintptr_t)closed, EVFILT_VNODE));
	close(closed);
	touch(q, (uintptr_t)twin, EVFILT_VNODE, EV_ENABLE, NOTE_ATTRIB, true);

	add(q, (uintptr_t)dir, EVFILT_VNODE, EV_CLEAR,
	    NOTE_DELETE | NOTE_RENAME, 0, false, 0);
	CHECK_EQ(rmdir(name), 0);
	becomes_ready(q, dir);
	collect(q);
	touch(q, (uintptr_t)dir, EVFILT_VNODE, 0, NOTE_ATTRIB, false);

	delete(q, (uintptr_t)file, EVFILT_VNODE);
	delete(q, (uintptr_t)twin, EVFILT_VNODE);
	delete(q, (uintptr_t)dir, EVFILT_VNODE);
	put(file, "abc");
	collect(q);
	becomes_ready(&other, file);
	collect(&other);
	close(file);
	close(twin);
	close(dir);
	close(other.fd);
}

/* A time of day that has passed is reported by every call. */
#define PASSED NOTE_ABSTIME | NOTE_SECONDS

static void
timers_and_users(struct queue *q)
{
	add(q, 1, EVFILT_USER, 0, 0, 0, false, ANY);
	touch(q, 1, EVFILT_USER, 0, NOTE_TRIGGER, true);
	touch(q, 1, EVFILT_USER, EV_DISABLE, 0, true);
	touch(q, 1, EVFILT_USER, EV_ENABLE, 0, true);
	add(q, 2, EVFILT_USER, EV_CLEAR, 0, 0, false, ANY);
	touch(q, 2, EVFILT_USER, 0, NOTE_TRIGGER, true);
	add(q, 3, EVFILT_USER, EV_ONESHOT, 0, 0, false, ANY);
	touch(q, 3, EVFILT_USER, 0, NOTE_TRIGGER, true);
	add(q, 1, EVFILT_TIMER, 0, 0, 3600000, false, ANY);
	add(q, 2, EVFILT_TIMER, 0, PASSED, 1, true, 1);
	touch(q, 2, EVFILT_TIMER, EV_DISABLE, 0, true);
	touch(q, 2, EVFILT_TIMER, EV_ENABLE, 0, true);
	delete(q, 1, EVFILT_TIMER);
	delete(q, 2, EVFILT_TIMER);
	delete(q, 1, EVFILT_USER);
	delete(q, 2, EVFILT_USER);
}

/* Sends a watched signal, `times` since it was last collected. */
static void
raise_watched(struct queue *q, int sig, intptr_t times)
{
	struct held *h = find(q, (uintptr_t)sig, EVFILT_SIGNAL);
	CHECK_EQ(kill(getpid(), sig), 0);
	h->ready = true;
	h->data = times;
}

/* Of a signal that is ignored. */
static bool
is_hooked(int sig)
{
	struct sigaction sa;
	CHECK_EQ(sigaction(sig, NULL, &sa), 0);
	return sa.sa_handler != SIG_IGN;
}

/* Signals that are ignored, and one that this thread blocks. */
static void
signals(struct queue *q)
{
	sigset_t set;
	CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	CHECK_EQ(sigprocmask(SIG_BLOCK, &set, NULL), 0);

	add(q, SIGUSR1, EVFILT_SIGNAL, EV_CLEAR, 0, 0, false, ANY);
	raise_watched(q, SIGUSR1, 1);
	collect(q);
	touch(q, SIGUSR1, EVFILT_SIGNAL, EV_DISABLE, 0, false);
	raise_watched(q, SIGUSR1, 1);
	raise_watched(q, SIGUSR1, 2);
	touch(q, SIGUSR1, EVFILT_SIGNAL, EV_ENABLE, 0, true);
	/* The application sets the hook aside; the next wait that does not fail
	 * finds out. */
	CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
	do {
		long fired = plan.fired;
		collect(q);
		CHECK(is_hooked(SIGUSR1) || plan.fired > fired);
	} while (!is_hooked(SIGUSR1));
	raise_watched(q, SIGUSR1, 1);
	collect(q);

	add(q, SIGUSR2, EVFILT_SIGNAL, EV_CLEAR, 0, 0, false, ANY);
	raise_watched(q, SIGUSR2, 1);
	collect(q);
	raise_watched(q, SIGUSR2, 1);
	raise_watched(q, SIGUSR1, 1);
	collect(q);
	delete(q, SIGUSR1, EVFILT_SIGNAL);
	raise_watched(q, SIGUSR2, 1);
	collect(q);
	delete(q, SIGUSR2, EVFILT_SIGNAL);
	/* A hook that the system would not take back stays. (It always does.) */
	CHECK(!is_hooked(SIGUSR1) || plan.call == SIGACTION);
	CHECK(signal(SIGUSR1, SIG_DFL) != SIG_ERR);
	CHECK(signal(SIGUSR2, SIG_DFL) != SIG_ERR);
	CHECK_EQ(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
}

/* Tables grow; the knotes that stand in them are moved and kept. */
static void
many_knotes(struct queue *q)
{
	int ends[2], empty[2], fds[MANY], i;
	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(empty, O_CLOEXEC), 0);
	put(ends[1], "x");
	for (i = 0; i < MANY; i++) {
		in_bulk = i % 16 != 0;
		bool ready = i % 16 == 0;
		fds[i] = dup(ready ? ends[0] : empty[0]);
		CHECK(fds[i] != -1);
		add(q, (uintptr_t)fds[i], EVFILT_READ, 0, 0, 0, ready, 1);
		add(q, (uintptr_t)i, EVFILT_TIMER, 0, 0, 1000000 - i, false,
		    ANY);
		add(q, (uintptr_t)i, EVFILT_USER, 0, 0, 0, false, ANY);
	}
	for (i = 0; i < MANY; i++)
		touch(q, (uintptr_t)i, EVFILT_USER, 0, NOTE_TRIGGER, true);
	collect(q);
	for (i = 0; i < MANY; i++) {
		in_bulk = i % 16 != 0;
		delete(q, (uintptr_t)i, EVFILT_USER);
		delete(q, (uintptr_t)i, EVFILT_TIMER);
		delete(q, (uintptr_t)fds[i], EVFILT_READ);
		close(fds[i]);
	}
	in_bulk = false;
	collect(q);
	close(ends[0]);
	close(ends[1]);
	close(empty[0]);
	close(empty[1]);
}

/*
 * Mounts, where the test may make them; knotes, everywhere. A call that looks
 * at the list and fails has lost nothing.
 */
static void
mounts(struct queue *q)
{
	static const char place[] = "mounts";
	bool may;
	int i;
	may = unshare(CLONE_NEWNS) == 0 &&
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
	CHECK(mkdir(place, 0700) == 0 || errno == EEXIST);
	for (i = 1; i <= 3; i++)
		add(q, (uintptr_t)i, EVFILT_FS, EV_CLEAR, 0, 0, false, 0);
	for (i = 0; i < 4 && may; i++) {
		if (i % 2 == 0)
			CHECK_EQ(mount("test", place, "tmpfs", 0, NULL), 0);
		else
			CHECK_EQ(umount(place), 0);
		find(q, 1, EVFILT_FS)->ready = true;
		find(q, 2, EVFILT_FS)->ready = true;
		find(q, 3, EVFILT_FS)->ready = true;
		if (i == 0)
			touch(q, 1, EVFILT_FS, EV_DISABLE, 0, true);
		else if (i == 1)
			touch(q, 1, EVFILT_FS, EV_ENABLE, 0, true);
		else
			collect(q);
	}
	delete(q, 1, EVFILT_FS);
	delete(q, 3, EVFILT_FS);
	delete(q, 2, EVFILT_FS);
}

/* A wait that ends by its time, and one that a timer ends. */
static void
waits(struct queue *q)
{
	struct timespec ts = {0, 1500000};
	struct kevent got;
	int64_t start;
	long fired;
	int n;

	CHECK_EQ(q->count, 0);
	start = now_ns();
	fired = plan.fired;
	n = lib_kevent(q->fd, NULL, 0, &got, 1, &ts);
	if (n == -1)
		check_failure("a wait", fired, errno, by_wait);
	else
		CHECK(n == 0 && now_ns() - start >= 1500000);

	start = now_ns();
	apply(q, kev(9, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_USECONDS,
	    5000, NULL));
	/* It may have come with the change, on a busy machine. */
	n = came_count;
	got = came[0];
	while (n == 0) {
		fired = plan.fired;
		n = lib_kevent(q->fd, NULL, 0, &got, 1, NULL);
		CHECK(n != 0);
		if (n == -1) {
			check_failure("a wait", fired, errno, by_wait);
			n = 0;
		}
	}
	CHECK(n == 1 && now_ns() - start >= 5000000);
	CHECK_KEV(got, 9, EVFILT_TIMER, EV_ADD | EV_ONESHOT | EV_CLEAR, 0, 1,
	    udata_of(9, EVFILT_TIMER));
}

/*
 * A queue that is known by a dup of its descriptor alone stays, however many
 * others come and go, and whatever fails while the library looks for it.
 */
static void
many_queues(struct queue *q)
{
	static int fds[QUEUES];
	int alias, i, round;

	add(q, 5, EVFILT_USER, 0, 0, 0, false, ANY);
	touch(q, 5, EVFILT_USER, 0, NOTE_TRIGGER, true);
	for (round = 0; round < 2; round++) {
		/* A number that the library has not seen. */
		alias = fcntl(q->fd, F_DUPFD_CLOEXEC, 230 + round);
		CHECK(alias != -1);
		close(q->fd);
		q->fd = alias;
		if (round == 0)
			collect(q);
		for (i = 0; i < QUEUES; i++) {
			open_queue(&other);
			fds[i] = other.fd;
		}
		for (i = 0; i < QUEUES; i++)
			close(fds[i]);
	}
	collect(q);
	delete(q, 5, EVFILT_USER);
}

/* A queue in a queue, and numbers that are none. */
static void
nested(struct queue *q)
{
	struct kevent k = kev(6, EVFILT_USER, EV_ADD, 0, 0, NULL);
	int null;
	open_queue(&other);
	add(&other, 6, EVFILT_USER, 0, 0, 0, false, ANY);
	add(q, (uintptr_t)other.fd, EVFILT_READ, 0, 0, 0, false, ANY);
	touch(&other, 6, EVFILT_USER, 0, NOTE_TRIGGER, true);
	find(q, (uintptr_t)other.fd, EVFILT_READ)->ready = true;
	collect(q);
	if (!unlikely) {
		long fired = plan.fired;
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		CHECK_EQ(lib_kevent(null, &k, 1, NULL, 0, NULL), -1);
		CHECK(errno == EINVAL ||
		    (plan.fired != fired && errno == ENOMEM));
		close(null);
		CHECK_FAILS(lib_kevent(null, &k, 1, NULL, 0, NULL), EBADF);
	}
	drop(q, find(q, (uintptr_t)other.fd, EVFILT_READ));
	close(other.fd);
	collect(q);
}

/*
 * A file closed here and open elsewhere, of which the queue is rid when it is
 * made anew. Until that succeeds the queue may go on showing readable.
 */
static void
ghost(struct queue *q)
{
	static struct kevent events[ROOM];
	int64_t until = now_ns() + GENEROUS_MS * INT64_C(1000000);
	int pair[2], live[2], copy;
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, live), 0);
	copy = fcntl(pair[0], F_DUPFD_CLOEXEC, 0);
	CHECK(copy != -1);
	add(q, (uintptr_t)live[0], EVFILT_READ, 0, 0, 0, false, ANY);
	add(q, (uintptr_t)live[1], EVFILT_WRITE, 0, 0, 0, true, ANY);
	touch(q, (uintptr_t)live[1], EVFILT_WRITE, EV_DISABLE, 0, true);
	add(q, (uintptr_t)pair[0], EVFILT_READ, 0, 0, 0, false, ANY);
	add(q, 7, EVFILT_USER, EV_CLEAR, 0, 0, false, ANY);
	drop(q, find(q, (uintptr_t)pair[0], EVFILT_READ));
	CHECK_EQ(close(pair[0]), 0);
	put(pair[1], "abc");
	for (;;) {
		struct pollfd p = {q->fd, POLLIN, 0};
		long fired = plan.fired;
		int n = lib_kevent(q->fd, NULL, 0, events, ROOM, &no_wait);
		if (n == -1)
			check_failure("a wait", fired, errno, by_wait);
		else
			CHECK_EQ(n, 0);
		if (poll(&p, 1, 0) == 0)
			break;
		if (now_ns() > until)
			FAIL("the ghost stays");
	}
	put(live[1], "ab");
	find(q, (uintptr_t)live[0], EVFILT_READ)->ready = true;
	collect(q);
	touch(q, (uintptr_t)live[1], EVFILT_WRITE, EV_ENABLE, 0, true);
	delete(q, (uintptr_t)live[0], EVFILT_READ);
	delete(q, (uintptr_t)live[1], EVFILT_WRITE);
	delete(q, 7, EVFILT_USER);
	close(pair[1]);
	close(copy);
	close(live[0]);
	close(live[1]);
}

/* The library gives back what it keeps of dead queues when descriptors run
 * out; then all that is open is the test's own. */
static void
check_no_leak(const char *before)
{
	static char after[65536];
	struct rlimit limit, none;
	lib_drain();
	plan.countdown = 0;
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 0;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	CHECK_EQ(lib_kqueue(), -1);
	CHECK_EQ(errno, EMFILE);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	open_descriptors(after, sizeof after);
	if (strcmp(before, after) != 0)
		FAIL("descriptors before: %s; after: %s", before, after);
}

/*
 * Blocks that the library keeps after the script when nothing fails. A failure
 * may spread the queues over more homes, which have a list each; that a
 * failure loses nothing is shown by failing often, below.
 */
static long *kept;

static void
script(void)
{
	static char before[65536];
	open_descriptors(before, sizeof before);
	open_queue(&queue);
	waits(&queue);
	descriptors(&queue);
	files(&queue);
	timers_and_users(&queue);
	mounts(&queue);
	signals(&queue);
	many_knotes(&queue);
	many_queues(&queue);
	nested(&queue);
	ghost(&queue);
	CHECK_EQ(queue.count, 0);
	close(queue.fd);
	check_no_leak(before);
	/* Where the kernel gives none, they cost a descriptor or the process. */
	if (made[GETRANDOM] != 0)
		FAIL("the library asked for random bytes");
	if (plan.call == NO_CALL)
		*kept = blocks;
	else if (blocks > *kept + QUEUES)
		FAIL("%ld blocks kept, not %ld", blocks, *kept);
}

/* --- the runs ----------------------------------------------------------- */

/* A run ends so if its failure did not come up. */
#define NOT_REACHED 3

static void
check_run(pid_t child, const char *what, long nth, int *code)
{
	int status;
	CHECK_EQ(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status))
		FAIL("%s number %ld%s: killed by %s", what, nth,
		    collecting ? ", collecting" : "",
		    strsignal(WTERMSIG(status)));
	*code = WEXITSTATUS(status);
	if (*code != 0 && *code != NOT_REACHED)
		FAIL("%s number %ld%s: see above", what, nth,
		    collecting ? ", collecting" : "");
}

/* Room for the descriptors of this test, and for those moved up. */
static void
raise_limit(void)
{
	struct rlimit limit;
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur < 1024)
		limit.rlim_cur = 1024;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static int
run(const char *what, enum call call, int failure, long nth, bool for_good)
{
	pid_t child;
	int code;
	fflush(NULL);
	child = fork();
	CHECK(child != -1);
	if (child == 0) {
		plan.call = call;
		plan.code = failure;
		plan.countdown = nth;
		plan.for_good = for_good;
		script();
		_exit(call == NO_CALL || plan.fired > 0 ? 0 : NOT_REACHED);
	}
	check_run(child, what, nth, &code);
	return code;
}

/* Each such call of the script fails once. At least `least` there must be. */
static void
sweep(const char *what, enum call call, int failure, long least)
{
	long nth;
	raise_limit();
	kept = mmap(NULL, sizeof *kept, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(kept != MAP_FAILED);
	for (int mode = 0; mode < 2; mode++) {
		collecting = mode == 1;
		CHECK_EQ(run("no failure", NO_CALL, 0, 0, false), 0);
		nth = 1;
		while (run(what, call, failure, nth, false) == 0)
			nth++;
		printf("%s: %ld failures, %s\n", what, nth - 1,
		    collecting ? "with events" : "changes alone");
		if (nth - 1 < least)
			FAIL("%s: only %ld calls", what, nth - 1);
	}
	munmap(kept, sizeof *kept);
}

#define SWEEP(name, call, failure, least)                                     \
	TEST(name)                                                            \
	{                                                                     \
		sweep(#name, call, failure, least);                           \
	}

/* For want of descriptors or memory. */
SWEEP(epoll_create1_emfile, EPOLL_CREATE, EMFILE, QUEUES)
SWEEP(epoll_create1_enfile, EPOLL_CREATE, ENFILE, QUEUES)
SWEEP(epoll_create1_enomem, EPOLL_CREATE, ENOMEM, QUEUES)
SWEEP(epoll_add_enomem, EPOLL_ADD, ENOMEM, 2 * MANY)
SWEEP(epoll_add_enospc, EPOLL_ADD, ENOSPC, 2 * MANY)
SWEEP(eventfd_emfile, EVENTFD, EMFILE, QUEUES)
SWEEP(eventfd_enfile, EVENTFD, ENFILE, QUEUES)
SWEEP(eventfd_enomem, EVENTFD, ENOMEM, QUEUES)
SWEEP(timerfd_create_emfile, TIMERFD_CREATE, EMFILE, 1)
SWEEP(timerfd_create_enfile, TIMERFD_CREATE, ENFILE, 1)
SWEEP(timerfd_create_enomem, TIMERFD_CREATE, ENOMEM, 1)
SWEEP(inotify_init1_emfile, INOTIFY_INIT, EMFILE, 3)
SWEEP(inotify_init1_enomem, INOTIFY_INIT, ENOMEM, 3)
SWEEP(inotify_add_watch_enospc, INOTIFY_ADD, ENOSPC, 6)
SWEEP(inotify_add_watch_enomem, INOTIFY_ADD, ENOMEM, 6)
SWEEP(fcntl_dup_emfile, FCNTL_DUP, EMFILE, QUEUES)
SWEEP(fcntl_setsig_enomem, FCNTL_MARK, ENOMEM, 2 * QUEUES)
SWEEP(open_emfile, OPEN, EMFILE, 2)
SWEEP(open_enfile, OPEN, ENFILE, 2)
SWEEP(pread_enomem, PREAD, ENOMEM, 2)
SWEEP(readlink_enomem, READLINK, ENOMEM, 2)
SWEEP(mmap_enomem, MMAP, ENOMEM, 1)
SWEEP(madvise_enomem, MADVISE, ENOMEM, 1)
SWEEP(atfork_enomem, ATFORK, ENOMEM, 1)
SWEEP(signalfd_emfile, SIGNALFD, EMFILE, 1)
SWEEP(signalfd_enomem, SIGNALFD, ENOMEM, 1)
SWEEP(allocations, ALLOCATE, ENOMEM, 30)

/* Interrupted, or not there. */
SWEEP(epoll_wait_eintr, EPOLL_WAIT, EINTR, QUEUES)
SWEEP(epoll_pwait2_eintr, EPOLL_PWAIT2, EINTR, 1)
SWEEP(epoll_pwait2_enosys, EPOLL_PWAIT2, ENOSYS, 1)
SWEEP(epoll_pwait2_eperm, EPOLL_PWAIT2, EPERM, 1)
SWEEP(poll_eintr, POLL, EINTR, 1)
SWEEP(poll_enomem, POLL, ENOMEM, 3)
SWEEP(read_eintr, READ, EINTR, 1)
SWEEP(pread_eintr, PREAD, EINTR, 2)
SWEEP(sigtimedwait_eintr, SIGTIMEDWAIT, EINTR, 3)

/* Questions that a file system may fail to answer; the rest for the sake of
 * what stands behind them. */
SWEEP(fstat_enomem, FSTAT, ENOMEM, 40)
SWEEP(fstat_eintr, FSTAT, EINTR, 40)
SWEEP(lseek_eio, LSEEK, EIO, 1)
SWEEP(ioctl_enomem, IOCTL, ENOMEM, 10)
SWEEP(sigaction_enomem, SIGACTION, ENOMEM, 10)
SWEEP(getsockopt_enomem, GETSOCKOPT, ENOMEM, 10)

/* --- descriptors run out for real --------------------------------------- */

/* How many more descriptors can be opened: just so many. */
static struct rlimit usual;

static void
leave_room_for(int more)
{
	struct rlimit limit = usual;
	int fd, last = -1;
	rlim_t n;
	/* The numbers below the limit must all be taken but for those. */
	for (n = 0; more >= 0; n++) {
		fd = fcntl((int)n, F_GETFD);
		if (fd == -1)
			last = (int)n, more--;
	}
	limit.rlim_cur = (rlim_t)last;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void
enough_room(void)
{
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &usual), 0);
}

/* Runs `what` in a process that has not called the library yet. */
static void
alone(void (*what)(void))
{
	pid_t child;
	int code;
	raise_limit();
	fflush(NULL);
	child = fork();
	CHECK(child != -1);
	if (child == 0) {
		CHECK_EQ(getrlimit(RLIMIT_NOFILE, &usual), 0);
		what();
		_exit(0);
	}
	check_run(child, "alone", 0, &code);
	CHECK_EQ(code, 0);
}

static void
kqueue_without_descriptors(void)
{
	static char before[65536], after[65536];
	int room, kq;
	open_descriptors(before, sizeof before);
	/* One for the queue and one behind it. */
	for (room = 0; room < 2; room++) {
		leave_room_for(room);
		kq = lib_kqueue();
		CHECK(kq == -1 && errno == EMFILE);
		enough_room();
		open_descriptors(after, sizeof after);
		CHECK(strcmp(before, after) == 0);
	}
	leave_room_for(2);
	open_queue(&queue);
	/* And no more: the rest is made at first need. */
	add(&queue, 1, EVFILT_USER, EV_ONESHOT, 0, 0, false, ANY);
	touch(&queue, 1, EVFILT_USER, 0, NOTE_TRIGGER, true);
	enough_room();
	close(queue.fd);
	check_no_leak(before);
}

TEST(kqueue_answers_emfile)
{
	alone(kqueue_without_descriptors);
}

static void
changes_without_descriptors(void)
{
	static char before[65536];
	struct kevent timer = kev(2, EVFILT_TIMER, EV_ADD, PASSED, 1,
	    udata_of(2, EVFILT_TIMER));
	struct kevent side, urgent, fs;
	int pair[2], file;
	open_descriptors(before, sizeof before);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	put(pair[1], "abc");
	file = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	CHECK(file != -1);
	put(file, "1234567");
	open_queue(&queue);
	add(&queue, (uintptr_t)pair[0], EVFILT_READ, 0, 0, 0, true, 3);
	side = kev((uintptr_t)pair[0], EVFILT_WRITE, EV_ADD, 0, 0,
	    udata_of((uintptr_t)pair[0], EVFILT_WRITE));

	leave_room_for(0);
	CHECK_FAILS(lib_kevent(queue.fd, &timer, 1, NULL, 0, NULL), EMFILE);
	CHECK_FAILS(lib_kevent(queue.fd, &side, 1, NULL, 0, NULL), EMFILE);
	/* Told by an entry if there is room for one. */
	CHECK_EQ(lib_kevent(queue.fd, &side, 1, came, ROOM, &no_wait), 1);
	CHECK_KEV(came[0], (uintptr_t)pair[0], EVFILT_WRITE,
	    EV_ADD | EV_ERROR, 0, EMFILE, side.udata);
	collect(&queue);
	urgent = side;
	urgent.filter = EVFILT_EXCEPT;
	CHECK_FAILS(lib_kevent(queue.fd, &urgent, 1, NULL, 0, NULL), EMFILE);
	fs = kev(1, EVFILT_FS, EV_ADD, 0, 0, NULL);
	CHECK_FAILS(lib_kevent(queue.fd, &fs, 1, NULL, 0, NULL), EMFILE);
	leave_room_for(2);
	CHECK_FAILS(lib_kevent(queue.fd, &fs, 1, NULL, 0, NULL), EMFILE);
	leave_room_for(0);
	fs.flags = EV_DELETE;
	CHECK_FAILS(lib_kevent(queue.fd, &fs, 1, NULL, 0, NULL), ENOENT);
	side.flags = timer.flags = urgent.flags = EV_DELETE;
	CHECK_FAILS(lib_kevent(queue.fd, &timer, 1, NULL, 0, NULL), ENOENT);
	CHECK_FAILS(lib_kevent(queue.fd, &side, 1, NULL, 0, NULL), ENOENT);
	CHECK_FAILS(lib_kevent(queue.fd, &urgent, 1, NULL, 0, NULL), ENOENT);
	enough_room();

	add(&queue, 2, EVFILT_TIMER, 0, PASSED, 1, true, 1);
	add(&queue, (uintptr_t)pair[0], EVFILT_WRITE, 0, 0, 0, true, ANY);

	/* A file whose growth the kernel cannot tell is looked at by the
	 * clock. */
	leave_room_for(0);
	add(&queue, (uintptr_t)file, EVFILT_READ, 0, 0, 0, false, ANY);
	CHECK_EQ(pwrite(file, "89", 2, 7), 2);
	delete(&queue, 2, EVFILT_TIMER);
	delete(&queue, (uintptr_t)pair[0], EVFILT_READ);
	delete(&queue, (uintptr_t)pair[0], EVFILT_WRITE);
	CHECK_KEV(next_event(queue.fd), (uintptr_t)file, EVFILT_READ, EV_ADD,
	    0, 2, udata_of((uintptr_t)file, EVFILT_READ));
	enough_room();
	close(pair[0]);
	close(pair[1]);
	close(file);
	close(queue.fd);
	check_no_leak(before);
}

TEST(changes_answer_emfile)
{
	alone(changes_without_descriptors);
}

/*
 * Not one descriptor is free, those of closed queues not counted. The library
 * must find and free them, and must not take for closed a queue that lives
 * under a number it has not seen.
 */
static void
closed_queues_make_room(void)
{
	static char before[65536];
	static int fillers[1024];
	struct rlimit limit = usual;
	int fds[8], i, alias, filled = 0;
	open_descriptors(before, sizeof before);
	open_queue(&queue);
	add(&queue, 5, EVFILT_USER, 0, 0, 0, false, ANY);
	touch(&queue, 5, EVFILT_USER, 0, NOTE_TRIGGER, true);
	for (i = 0; i < 8; i++)
		CHECK((fds[i] = lib_kqueue()) != -1);
	alias = fcntl(queue.fd, F_DUPFD_CLOEXEC, 240);
	CHECK(alias != -1);
	close(queue.fd);
	queue.fd = alias;
	for (i = 0; i < 8; i++)
		close(fds[i]);
	limit.rlim_cur = 512;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	while ((fillers[filled] = dup(0)) != -1)
		filled++;
	CHECK(errno == EMFILE);
	open_queue(&other);
	collect(&queue);
	while (filled > 0)
		close(fillers[--filled]);
	enough_room();
	close(other.fd);
	close(queue.fd);
	check_no_leak(before);
}

TEST(kqueue_frees_descriptors_of_closed_queues)
{
	alone(closed_queues_make_room);
}

/* --- what fails again and again ----------------------------------------- */

#define OFTEN 300

static void
fail_from_now_on(enum call call, int code)
{
	plan.call = call;
	plan.code = code;
	plan.countdown = 1;
	plan.for_good = true;
}

static void
keeps_nothing(const char *what, enum call call, int code, struct kevent k)
{
	static char before[65536], after[65536];
	long had = 0;
	int i, rv;
	fail_from_now_on(call, code);
	for (i = 0; i < OFTEN; i++) {
		if (i == 1) {
			/* The first may have made room, and keep it. */
			had = blocks;
			open_descriptors(before, sizeof before);
		}
		if (k.filter == 0)
			rv = lib_kqueue();
		else
			rv = lib_kevent(queue.fd, &k, 1, NULL, 0, NULL);
		if (rv != -1 || errno != (code == ENOSPC ? ENOMEM : code))
			FAIL("%s: %d, errno %d", what, rv, errno);
	}
	plan.countdown = 0;
	if (plan.fired < OFTEN)
		FAIL("%s: failed %ld times only", what, plan.fired);
	plan.fired = 0;
	open_descriptors(after, sizeof after);
	if (strcmp(before, after) != 0)
		FAIL("%s: descriptors before: %s; after: %s", what, before,
		    after);
	if (blocks != had)
		FAIL("%s: %ld blocks kept, not %ld", what, blocks, had);
}

static void
failing_often(void)
{
	static char before[65536];
	struct kevent make = kev(0, 0, 0, 0, 0, NULL);
	struct kevent timer = kev(1, EVFILT_TIMER, EV_ADD, 0, 1, NULL);
	struct kevent sig = kev(SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
	struct kevent side, file, mounts;
	sigset_t set;
	int pair[2], fd;
	open_descriptors(before, sizeof before);
	keeps_nothing("first page", MMAP, ENOMEM, make);
	keeps_nothing("fork page", MADVISE, ENOMEM, make);
	keeps_nothing("fork handler", ATFORK, ENOMEM, make);
	keeps_nothing("first queue", EPOLL_CREATE, EMFILE, make);
	open_queue(&queue);
	keeps_nothing("epoll", EPOLL_CREATE, ENFILE, make);
	keeps_nothing("doorbell", EVENTFD, EMFILE, make);
	keeps_nothing("hanging it", EPOLL_ADD, ENOSPC, make);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	CHECK(fd != -1);
	side = kev((uintptr_t)pair[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	mounts = kev(1, EVFILT_FS, EV_ADD, 0, 0, NULL);
	keeps_nothing("mounts", OPEN, EMFILE, mounts);
	keeps_nothing("reading them", PREAD, EIO, mounts);
	keeps_nothing("hanging them", EPOLL_ADD, ENOSPC, mounts);
	file = kev((uintptr_t)fd, EVFILT_READ, EV_ADD, 0, 0, NULL);
	keeps_nothing("timer", TIMERFD_CREATE, ENFILE, timer);
	keeps_nothing("hanging it", EPOLL_ADD, ENOSPC, timer);
	keeps_nothing("side", EPOLL_ADD, ENOMEM, side);
	keeps_nothing("file", FSTAT, ENOMEM, file);
	keeps_nothing("file's timer", TIMERFD_CREATE, EMFILE, file);
	file.filter = EVFILT_VNODE;
	keeps_nothing("vnode", FSTAT, ENOMEM, file);
	CHECK_EQ(lib_kevent(queue.fd, &side, 1, NULL, 0, NULL), 0);
	side.filter = EVFILT_WRITE;
	keeps_nothing("second set", EPOLL_CREATE, EMFILE, side);
	keeps_nothing("second side", EPOLL_ADD, ENOSPC, side);
	side.filter = EVFILT_EXCEPT;
	keeps_nothing("third set", EPOLL_CREATE, EMFILE, side);
	keeps_nothing("third side", EPOLL_ADD, ENOSPC, side);
	keeps_nothing("what it is", FSTAT, ENOMEM, side);
	keeps_nothing("knocker", EPOLL_CREATE, EMFILE, sig);
	keeps_nothing("hanging it", EPOLL_ADD, ENOSPC, sig);
	keeps_nothing("hook", SIGACTION, ENOMEM, sig);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK_EQ(sigprocmask(SIG_BLOCK, &set, NULL), 0);
	keeps_nothing("signal descriptor", SIGNALFD, EMFILE, sig);
	keeps_nothing("hanging it", EPOLL_ADD, ENOSPC, sig);
	CHECK(signal(SIGUSR1, SIG_DFL) == SIG_DFL);
	side.flags = timer.flags = file.flags = EV_DELETE;
	mounts.flags = sig.flags = EV_DELETE;
	CHECK_FAILS(lib_kevent(queue.fd, &sig, 1, NULL, 0, NULL), ENOENT);
	CHECK_FAILS(lib_kevent(queue.fd, &mounts, 1, NULL, 0, NULL), ENOENT);
	CHECK_FAILS(lib_kevent(queue.fd, &side, 1, NULL, 0, NULL), ENOENT);
	CHECK_FAILS(lib_kevent(queue.fd, &timer, 1, NULL, 0, NULL), ENOENT);
	CHECK_FAILS(lib_kevent(queue.fd, &file, 1, NULL, 0, NULL), ENOENT);
	close(pair[0]);
	close(pair[1]);
	close(fd);
	close(queue.fd);
	check_no_leak(before);
}

TEST(failing_often_keeps_nothing)
{
	alone(failing_often);
}

/* --- forks after a failure ---------------------------------------------- */

/* A first kqueue() that failed must not leave later queues to children. */
static void
fork_has_no_queue(enum call call, int code)
{
	pid_t child;
	int status;
	fail_from_now_on(call, code);
	CHECK_FAILS(lib_kqueue(), ENOMEM);
	plan.countdown = 0;
	CHECK(plan.fired > 0);
	open_queue(&queue);
	child = fork();
	CHECK(child != -1);
	if (child == 0) {
		CHECK_FAILS(fcntl(queue.fd, F_GETFD), EBADF);
		CHECK_FAILS(kevent(queue.fd, NULL, 0, came, 1, &no_wait),
		    EBADF);
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	add(&queue, 1, EVFILT_USER, EV_ONESHOT, 0, 0, false, ANY);
	touch(&queue, 1, EVFILT_USER, 0, NOTE_TRIGGER, true);
	close(queue.fd);
}

static void
fork_after_atfork_failed(void)
{
	fork_has_no_queue(ATFORK, ENOMEM);
}

static void
fork_after_madvise_failed(void)
{
	fork_has_no_queue(MADVISE, ENOMEM);
}

TEST(child_has_no_queue_though_atfork_failed_once)
{
	alone(fork_after_atfork_failed);
}

TEST(child_has_no_queue_though_madvise_failed_once)
{
	alone(fork_after_madvise_failed);
}

/* --- processes ------------------------------------------------------------ */

/*
 * A child forks and ends, watched. With the one failure either the change is
 * refused so, and then succeeds, or nothing shows of it.
 */
static void
follow(int refusal)
{
	static char before[65536];
	int orders[2], answers[2], kq, status;
	struct timespec ts = {GENEROUS_MS / 1000, 0};
	struct kevent k;
	unsigned seen = 0;
	char byte = 0;
	pid_t pid;
	enum call planned = plan.call;
	CHECK_EQ(pipe(orders), 0);
	CHECK_EQ(pipe(answers), 0);
	pid = fork();
	if (pid == 0) {
		read(orders[0], &byte, 1);
		pid = fork();
		if (pid == 0)
			_exit(0);
		waitpid(pid, NULL, 0);
		write(answers[1], &byte, 1);
		read(orders[0], &byte, 1);
		_exit(9);
	}
	open_descriptors(before, sizeof before);
	plan.call = NO_CALL;
	kq = lib_kqueue();
	CHECK(kq >= 0);
	/* The clock, which is to be had when a process cannot be watched. */
	EV_SET(&k, 1, EVFILT_TIMER, EV_ADD | EV_DISABLE, 0, 1000, NULL);
	CHECK_EQ(lib_kevent(kq, &k, 1, NULL, 0, NULL), 0);
	plan.call = planned;
	EV_SET(&k, pid, EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_FORK, 0, NULL);
	if (lib_kevent(kq, &k, 1, NULL, 0, NULL) == -1) {
		CHECK_EQ(errno, refusal);
		CHECK_EQ(plan.fired, 1);
		CHECK_FAILS(change(kq, (uintptr_t)pid, EVFILT_PROC, EV_DELETE,
		    0, 0, NULL), ENOENT);
		CHECK_EQ(lib_kevent(kq, &k, 1, NULL, 0, NULL), 0);
	}
	CHECK_EQ(write(orders[1], &byte, 1), 1);
	CHECK_EQ(read(answers[0], &byte, 1), 1);
	while (!(seen & NOTE_EXIT)) {
		int n = lib_kevent(kq, NULL, 0, &k, 1, &ts);
		if (n == -1 && plan.fired > 0 && errno == plan.code)
			continue;
		CHECK_EQ(n, 1);
		CHECK_EQ(k.ident, pid);
		seen |= k.fflags;
		if (k.fflags & NOTE_EXIT)
			CHECK_EQ(k.data, 9 << 8);
		else
			CHECK_EQ(write(orders[1], &byte, 1), 1);
	}
	CHECK(seen & NOTE_FORK);
	CHECK(!(seen & NOTE_TRACKERR) || planned == RECV);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(lib_kevent(kq, NULL, 0, &k, 1, &(struct timespec){0, 0}), 0);
	CHECK_EQ(close(kq), 0);
	check_no_leak(before);
}

static void
sweep_follow(const char *what, enum call call, int failure, int refusal,
    long least)
{
	int code = 0, kq = kqueue();
	long nth;
	raise_limit();
	/* Is there a connector at all? */
	CHECK(kq >= 0);
	if (change(kq, (uintptr_t)getpid(), EVFILT_PROC, EV_ADD, NOTE_FORK, 0,
	    NULL) == -1) {
		CHECK(errno == EPERM || errno == ENOTSUP);
		SKIP("the process connector cannot be had here");
	}
	CHECK_EQ(close(kq), 0);
	libkqueue_drain_pending_close();
	for (nth = 1; code == 0; nth++) {
		pid_t child;
		fflush(NULL);
		child = fork();
		CHECK(child != -1);
		if (child == 0) {
			plan.call = call;
			plan.code = failure;
			plan.countdown = nth;
			follow(refusal);
			_exit(plan.fired > 0 ? 0 : NOT_REACHED);
		}
		check_run(child, what, nth, &code);
	}
	printf("%s: %ld failures\n", what, nth - 2);
	if (nth - 2 < least)
		FAIL("%s: only %ld calls", what, nth - 2);
}

#define FOLLOW(name, call, failure, refusal, least)                           \
	TEST(name)                                                            \
	{                                                                     \
		sweep_follow(#name, call, failure, refusal, least);           \
	}

FOLLOW(follow_allocations, ALLOCATE, ENOMEM, ENOMEM, 2)
FOLLOW(follow_epoll_add_enomem, EPOLL_ADD, ENOMEM, ENOMEM, 2)
FOLLOW(follow_fcntl_dup_emfile, FCNTL_DUP, EMFILE, 0, 2)
FOLLOW(follow_fcntl_setsig_enomem, FCNTL_MARK, ENOMEM, ENOMEM, 2)
FOLLOW(follow_poll_eintr, POLL, EINTR, 0, 1)
FOLLOW(follow_epoll_wait_eintr, EPOLL_PWAIT2, EINTR, 0, 1)
FOLLOW(follow_pidfd_open_emfile, PIDFD_OPEN, EMFILE, 0, 1)
FOLLOW(follow_pidfd_open_enfile, PIDFD_OPEN, ENFILE, 0, 1)
FOLLOW(follow_pidfd_open_enosys, PIDFD_OPEN, ENOSYS, 0, 1)
FOLLOW(follow_pidfd_open_eperm, PIDFD_OPEN, EPERM, 0, 1)
FOLLOW(follow_pidfd_open_enomem, PIDFD_OPEN, ENOMEM, ENOMEM, 1)
FOLLOW(follow_pidfd_open_einval, PIDFD_OPEN, EINVAL, ESRCH, 1)
FOLLOW(follow_waitid_einval, WAITID, EINVAL, 0, 1)
FOLLOW(follow_waitid_echild, WAITID, ECHILD, 0, 1)
FOLLOW(follow_waitid_eperm, WAITID, EPERM, 0, 1)
FOLLOW(follow_socket_emfile, SOCKET, EMFILE, EMFILE, 1)
FOLLOW(follow_socket_enfile, SOCKET, ENFILE, ENFILE, 1)
FOLLOW(follow_socket_enomem, SOCKET, ENOMEM, ENOMEM, 1)
FOLLOW(follow_socket_eperm, SOCKET, EPERM, EPERM, 1)
FOLLOW(follow_socket_eprotonosupport, SOCKET, EPROTONOSUPPORT, ENOTSUP, 1)
FOLLOW(follow_socket_eafnosupport, SOCKET, EAFNOSUPPORT, ENOTSUP, 1)
FOLLOW(follow_bind_eperm, BIND, EPERM, EPERM, 1)
FOLLOW(follow_send_econnrefused, SEND, ECONNREFUSED, ENOTSUP, 1)
FOLLOW(follow_send_enobufs, SEND, ENOBUFS, ENOBUFS, 1)
FOLLOW(follow_recv_no_answer, RECV, EAGAIN, ENOTSUP, 1)
FOLLOW(follow_recv_overflow, RECV, ENOBUFS, 0, 1)
FOLLOW(follow_recv_eintr, RECV, EINTR, 0, 1)
FOLLOW(follow_setsockopt_eperm, SETSOCKOPT, EPERM, 0, 1)

/* --- waiting without epoll_pwait2() ------------------------------------- */

static void
waits_without_exact(int code)
{
	static const long spans[] = {1, 50000, 300000, 999999, 1000000,
	    1000001, 1500000, 2300000, 7999999, 20000000};
	struct kevent got;
	size_t i;
	int round;
	open_queue(&queue);
	fail_from_now_on(EPOLL_PWAIT2, code);
	for (round = 0; round < 5; round++)
		for (i = 0; i < sizeof spans / sizeof *spans; i++) {
			struct timespec ts = {0, spans[i]};
			int64_t start = now_ns(), took;
			asked_wait = asked_ppoll = 0;
			CHECK_EQ(lib_kevent(queue.fd, NULL, 0, &got, 1, &ts),
			    0);
			took = now_ns() - start;
			if (took < spans[i])
				FAIL("%ld ns asked, %lld ns waited", spans[i],
				    (long long)took);
			/* Never asked for more than was left, so what is late
			 * is late by the kernel's doing. */
			CHECK(asked_wait <= spans[i]);
			CHECK(asked_ppoll < 1000000);
			CHECK(asked_wait + asked_ppoll <= spans[i]);
		}
	/* It is tried once, and not again. */
	CHECK_EQ(plan.fired, 1);
	CHECK(made[PPOLL] > 0 && made[EPOLL_WAIT] > 0);
	add(&queue, 1, EVFILT_TIMER, EV_ONESHOT, NOTE_USECONDS, 1500, false,
	    1);
	got = next_event(queue.fd);
	CHECK_KEV(got, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT | EV_CLEAR, 0, 1,
	    udata_of(1, EVFILT_TIMER));
	queue.count = 0;

	/* Interrupted in either part, it says so; what came first is kept. */
	plan.call = PPOLL;
	plan.code = EINTR;
	CHECK_FAILS(lib_kevent(queue.fd, NULL, 0, &got, 1,
	    &(struct timespec){0, 500000}), EINTR);
	plan.call = EPOLL_WAIT;
	CHECK_FAILS(lib_kevent(queue.fd, NULL, 0, &got, 1,
	    &(struct timespec){0, 5000000}), EINTR);
	CHECK_FAILS(lib_kevent(queue.fd, NULL, 0, &got, 1, NULL), EINTR);
	plan.countdown = 0;
	CHECK_EQ(lib_kevent(queue.fd, NULL, 0, &got, 1, &no_wait), 0);
	close(queue.fd);
}

static void
waits_without_enosys(void)
{
	waits_without_exact(ENOSYS);
}

static void
waits_without_eperm(void)
{
	waits_without_exact(EPERM);
}

TEST(waits_are_exact_without_epoll_pwait2)
{
	alone(waits_without_enosys);
}

TEST(waits_are_exact_with_epoll_pwait2_forbidden)
{
	alone(waits_without_eperm);
}

/* A change and a wait in one call: interrupted, the change stands. */
static void
interrupted_after_changes(void)
{
	struct kevent k = kev(1, EVFILT_USER, EV_ADD, 0, 0, NULL);
	struct kevent got;
	open_queue(&queue);
	fail_from_now_on(EPOLL_WAIT, EINTR);
	CHECK_FAILS(lib_kevent(queue.fd, &k, 1, &got, 1, NULL), EINTR);
	plan.countdown = 0;
	k.flags = EV_DELETE;
	CHECK_EQ(lib_kevent(queue.fd, &k, 1, NULL, 0, NULL), 0);
	close(queue.fd);
}

TEST(eintr_leaves_the_changes_applied)
{
	alone(interrupted_after_changes);
}

/* --- another file, just then -------------------------------------------- */

/* A ready file whose number is closed and that lives on in a copy, which is
 * returned: the queue is made anew to be rid of it. */
static int
haunt(int kq, int pair[2])
{
	struct kevent k;
	int copy;
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	copy = dup(pair[0]);
	CHECK(copy != -1);
	k = kev((uintptr_t)pair[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	CHECK_EQ(lib_kevent(kq, &k, 1, NULL, 0, NULL), 0);
	CHECK_EQ(close(pair[0]), 0);
	put(pair[1], "abc");
	return copy;
}

/* A queue is made anew, and at the n-th call that names a number of it the
 * number is replaced. `false`: there was no such call. */
static bool
replaced_in_a_renewal(long n)
{
	int64_t until = now_ns() + GENEROUS_MS * INT64_C(1000000);
	int kq = lib_kqueue(), haunting[2], old[2], new[2], copies[2];
	struct kevent k, got;
	struct pollfd p = {kq, POLLIN, 0};
	bool reached;
	CHECK(kq != -1);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, old), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, new), 0);
	copies[1] = dup(old[0]);
	CHECK(copies[1] != -1);
	k = kev((uintptr_t)old[0], EVFILT_READ, EV_ADD, 0, 0, UDATA(1));
	CHECK_EQ(lib_kevent(kq, &k, 1, NULL, 0, NULL), 0);
	copies[0] = haunt(kq, haunting);
	replaced.number = old[0];
	replaced.file = new[0];
	replaced.countdown = n;
	while (poll(&p, 1, 0) != 0) {
		CHECK_EQ(lib_kevent(kq, NULL, 0, &got, 1, &no_wait), 0);
		if (now_ns() > until)
			FAIL("the ghost stays");
	}
	reached = replaced.countdown == 0;
	replaced.countdown = 0;
	if (reached) {
		/* The new file starts clean, the old one says nothing. */
		k = kev((uintptr_t)old[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0,
		    0, UDATA(2));
		CHECK_EQ(lib_kevent(kq, &k, 1, NULL, 0, NULL), 0);
		put(old[1], "a");
		CHECK_EQ(lib_kevent(kq, NULL, 0, &got, 1, &no_wait), 0);
		put(new[1], "ab");
		CHECK_EQ(lib_kevent(kq, NULL, 0, &got, 1, &no_wait), 1);
		CHECK_KEV(got, (uintptr_t)old[0], EVFILT_READ,
		    EV_ADD | EV_CLEAR, 0, 2, UDATA(2));
		CHECK_EQ(lib_kevent(kq, NULL, 0, &got, 1, &no_wait), 0);
	}
	close(kq);
	close(haunting[1]);
	close(copies[0]);
	close(copies[1]);
	close(old[0]);
	close(old[1]);
	close(new[0]);
	close(new[1]);
	return reached;
}

static void
replaced_anywhere_in_a_renewal(void)
{
	long n = 1;
	while (replaced_in_a_renewal(n))
		n++;
	/* It is asked for, put into the new set, and asked for once more. */
	CHECK(n > 3);
}

/* The same with the number of the queue itself, which another one watches. */
static bool
queue_replaced_in_a_renewal(long n)
{
	int64_t until = now_ns() + GENEROUS_MS * INT64_C(1000000);
	int kq = lib_kqueue(), outer = lib_kqueue();
	int haunting[2], new[2], copy;
	struct kevent k, got;
	struct pollfd p = {kq, POLLIN, 0};
	bool reached;
	CHECK(kq != -1 && outer != -1);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, new), 0);
	k = kev((uintptr_t)kq, EVFILT_READ, EV_ADD, 0, 0, UDATA(1));
	CHECK_EQ(lib_kevent(outer, &k, 1, NULL, 0, NULL), 0);
	copy = haunt(kq, haunting);
	replaced.number = kq;
	replaced.file = new[0];
	replaced.countdown = n;
	while (poll(&p, 1, 0) != 0) {
		/* Once it is a socket: no queue. */
		if (lib_kevent(kq, NULL, 0, &got, 1, &no_wait) == -1)
			CHECK_EQ(errno, EINVAL);
		if (now_ns() > until)
			FAIL("the ghost stays");
	}
	reached = replaced.countdown == 0;
	replaced.countdown = 0;
	if (reached) {
		k = kev((uintptr_t)kq, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0,
		    UDATA(2));
		CHECK_EQ(lib_kevent(outer, &k, 1, NULL, 0, NULL), 0);
		put(new[1], "ab");
		CHECK_EQ(lib_kevent(outer, NULL, 0, &got, 1, &no_wait), 1);
		CHECK_KEV(got, (uintptr_t)kq, EVFILT_READ, EV_ADD | EV_CLEAR,
		    0, 2, UDATA(2));
		CHECK_EQ(lib_kevent(outer, NULL, 0, &got, 1, &no_wait), 0);
	}
	close(kq);
	close(outer);
	close(haunting[1]);
	close(copy);
	close(new[0]);
	close(new[1]);
	return reached;
}

static void
queue_replaced_anywhere_in_a_renewal(void)
{
	long n = 1;
	while (queue_replaced_in_a_renewal(n))
		n++;
	/* It is taken out, looked for, and put in. */
	CHECK(n > 3);
}

TEST(a_queue_replaced_in_the_middle_of_its_renewal_is_watched_no_more)
{
	alone(queue_replaced_anywhere_in_a_renewal);
}

static int
queue_with(uintptr_t ident)
{
	struct kevent k = kev(ident, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	int kq = lib_kqueue();
	CHECK(kq != -1);
	CHECK_EQ(lib_kevent(kq, &k, 1, NULL, 0, NULL), 0);
	return kq;
}

/* Is it still the one that was made with this, and is that told once? */
static void
tells_of(int kq, uintptr_t ident)
{
	struct kevent got, k = kev(ident, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	CHECK_EQ(lib_kevent(kq, &k, 1, NULL, 0, NULL), 0);
	CHECK_EQ(lib_kevent(kq, NULL, 0, &got, 1, &no_wait), 1);
	CHECK_EQ(got.ident, ident);
	CHECK_EQ(lib_kevent(kq, NULL, 0, &got, 1, &no_wait), 0);
}

/* A queue is made anew twice, and the first time a number of another one, which
 * has more, is closed while the library asks whether it is the first one's: one
 * that it knows, or one of dups that it does not know yet. */
static bool
number_of_another_closed_in_a_renewal(bool known, long n)
{
	int64_t until = now_ns() + GENEROUS_MS * INT64_C(1000000);
	int kq = queue_with(1), numbers[4], victim = known ? 0 : 1, i;
	struct kevent got;
	struct pollfd p = {kq, POLLIN, 0};
	bool reached = false;
	numbers[0] = queue_with(2);
	for (i = 1; i < 4; i++) {
		CHECK((numbers[i] = dup(numbers[0])) != -1);
		if (known)
			CHECK_EQ(lib_kevent(numbers[i], NULL, 0, NULL, 0, NULL),
			    0);
	}
	closed.number = numbers[victim];
	closed.countdown = n;
	for (i = 0; i < 2; i++) {
		int haunting[2], copy = haunt(kq, haunting);
		while (poll(&p, 1, 0) != 0) {
			CHECK_EQ(lib_kevent(kq, NULL, 0, &got, 1, &no_wait), 0);
			if (now_ns() > until)
				FAIL("the ghost stays");
		}
		close(haunting[1]);
		close(copy);
		if (i == 0)
			reached = closed.countdown == 0;
		closed.countdown = 0;
	}
	if (!reached)
		close(numbers[victim]);
	for (i = 0; i < 4; i++)
		if (i != victim)
			tells_of(numbers[i], 2);
	tells_of(kq, 1);
	for (i = 0; i < 4; i++)
		if (i != victim)
			close(numbers[i]);
	close(kq);
	return reached;
}

static void
number_of_another_closed_anywhere_in_a_renewal(void)
{
	int known;
	for (known = 0; known < 2; known++) {
		long n = 1;
		while (number_of_another_closed_in_a_renewal(known != 0, n))
			n++;
		CHECK(n > 1);
	}
}

TEST(a_queue_keeps_its_numbers_when_one_is_closed_in_anothers_renewal)
{
	alone(number_of_another_closed_anywhere_in_a_renewal);
}

TEST(a_number_replaced_in_the_middle_of_a_renewal_starts_clean)
{
	alone(replaced_anywhere_in_a_renewal);
}

/* --- what is gone when a hint of it is looked at ------------------------ */

static struct {
	int kq, fd;
	void (*drain)(int);
} stale;

static void
drain_queue(int fd)
{
	CHECK_EQ(next_event(fd).ident, 1);
}

static void
drain_listener(int fd)
{
	int got = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	CHECK(got != -1);
	CHECK_EQ(close(got), 0);
}

static void
drain_count(int fd)
{
	uint64_t count;
	CHECK_EQ(read(fd, &count, sizeof count), sizeof count);
}

/* Takes what there was, and has the knote armed anew. */
static void
take_it(void)
{
	struct kevent k;
	k = kev((uintptr_t)stale.fd, EVFILT_READ, EV_DISABLE, 0, 0, NULL);
	CHECK_EQ(kevent(stale.kq, &k, 1, NULL, 0, NULL), 0);
	stale.drain(stale.fd);
	k.flags = EV_ENABLE;
	CHECK_EQ(kevent(stale.kq, &k, 1, NULL, 0, NULL), 0);
}

/* There is something, twice: it is gone when the first wait is looked at. */
static void
goes_meanwhile(int fd, void (*fill)(int), void (*drain)(int))
{
	static const unsigned short modes[] = {0, EV_CLEAR, EV_DISPATCH,
	    EV_ONESHOT};
	unsigned i;
	for (i = 0; i < sizeof modes / sizeof *modes; i++) {
		struct kevent got, k = kev((uintptr_t)fd, EVFILT_READ,
		    EV_ADD | modes[i], 0, 0, NULL);
		int kq = lib_kqueue(), turn;
		CHECK(kq != -1);
		stale.kq = kq;
		stale.fd = fd;
		stale.drain = drain;
		CHECK_EQ(lib_kevent(kq, &k, 1, NULL, 0, NULL), 0);
		for (turn = 0; turn < 2; turn++) {
			fill(fd);
			meanwhile = take_it;
			CHECK_EQ(lib_kevent(kq, NULL, 0, &got, 1, &no_wait),
			    0);
			CHECK(meanwhile == NULL);
		}
		fill(fd);
		CHECK_EQ(lib_kevent(kq, NULL, 0, &got, 1, &no_wait), 1);
		CHECK_EQ(got.ident, fd);
		drain(fd);
		CHECK_EQ(close(kq), 0);
	}
	CHECK_EQ(close(fd), 0);
}

static void
fill_queue(int fd)
{
	struct kevent k = kev(1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	CHECK_EQ(kevent(fd, &k, 1, NULL, 0, NULL), 0);
}

static void
queue_goes_meanwhile(void)
{
	struct kevent k = kev(1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	int inner = lib_kqueue();
	CHECK(inner != -1);
	CHECK_EQ(lib_kevent(inner, &k, 1, NULL, 0, NULL), 0);
	goes_meanwhile(inner, fill_queue, drain_queue);
}

TEST(a_nested_queue_that_was_drained_since_the_hint_is_no_event)
{
	alone(queue_goes_meanwhile);
}

static int client = -1;
static struct sockaddr_un unix_name;

static void
fill_listener(int fd)
{
	(void)fd;
	if (client != -1)
		close(client);
	client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(client != -1);
	CHECK_EQ(connect(client, (struct sockaddr *)&unix_name,
	    sizeof unix_name), 0);
}

static void
listener_goes_meanwhile(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd != -1);
	unix_name.sun_family = AF_UNIX;
	/* A name that is no file's. */
	snprintf(unix_name.sun_path + 1, sizeof unix_name.sun_path - 1,
	    "kqueue-faults-%d", (int)getpid());
	CHECK_EQ(bind(fd, (struct sockaddr *)&unix_name, sizeof unix_name), 0);
	CHECK_EQ(listen(fd, 8), 0);
	goes_meanwhile(fd, fill_listener, drain_listener);
}

TEST(a_connection_that_was_accepted_since_the_hint_is_no_event)
{
	alone(listener_goes_meanwhile);
}

static void
fill_count(int fd)
{
	uint64_t one = 1;
	CHECK_EQ(write(fd, &one, sizeof one), sizeof one);
}

static void
count_goes_meanwhile(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(fd != -1);
	goes_meanwhile(fd, fill_count, drain_count);
}

TEST(a_count_that_was_read_since_the_hint_is_no_event)
{
	alone(count_goes_meanwhile);
}

static void
fill_timer(int fd)
{
	struct itimerspec soon = {.it_value = {0, 1}};
	struct pollfd p = {fd, POLLIN, 0};
	CHECK_EQ(timerfd_settime(fd, 0, &soon, NULL), 0);
	CHECK_EQ(poll(&p, 1, GENEROUS_MS), 1);
}

static void
timer_goes_meanwhile(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	CHECK(fd != -1);
	goes_meanwhile(fd, fill_timer, drain_count);
}

TEST(a_timer_that_was_read_since_the_hint_is_no_event)
{
	alone(timer_goes_meanwhile);
}

/* The writing end of a FIFO. Without one there is an end to be read. */
static struct {
	char path[64];
	int fd;
} writer;

static void
close_writer(int fd)
{
	(void)fd;
	CHECK_EQ(close(writer.fd), 0);
}

static void
open_writer(int fd)
{
	(void)fd;
	writer.fd = open(writer.path, O_WRONLY | O_CLOEXEC);
	CHECK(writer.fd != -1);
}

static void
end_goes_meanwhile(void)
{
	int fd;
	snprintf(writer.path, sizeof writer.path, "fifo-%d", (int)getpid());
	CHECK_EQ(mkfifo(writer.path, 0600), 0);
	fd = open(writer.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	CHECK(fd != -1);
	open_writer(fd);
	goes_meanwhile(fd, close_writer, open_writer);
	CHECK_EQ(close(writer.fd), 0);
	CHECK_EQ(unlink(writer.path), 0);
}

TEST(an_end_that_has_a_writer_since_the_hint_is_no_event)
{
	alone(end_goes_meanwhile);
}
