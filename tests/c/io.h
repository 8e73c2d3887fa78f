/*
 * What the descriptor tests share: pairs of every kind, ways to fill, drain
 * and break them, and ways to wait for what the kernel does in its own time.
 */
#ifndef TESTS_IO_H
#define TESTS_IO_H

#include "common.h"

#include <arpa/inet.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>

#define UNUSED __attribute__((unused))

/* pfd[0] is the end under test, pfd[1] its peer. */
typedef void pair_fn(int pfd[2]);

UNUSED static int
new_queue(void)
{
	int kq = kqueue();
	CHECK(kq >= 0);
	return kq;
}

/* One case for each kind of pair: tcp_NAME, unix_NAME and so on. */
#define ON_TCP(name)                                                          \
	TEST(tcp_##name)                                                      \
	{                                                                     \
		name(tcp_pair);                                               \
	}
#define ON_UNIX(name)                                                         \
	TEST(unix_##name)                                                     \
	{                                                                     \
		name(unix_pair);                                              \
	}
#define ON_SEQPACKET(name)                                                    \
	TEST(seqpacket_##name)                                                \
	{                                                                     \
		name(seqpacket_pair);                                         \
	}
#define ON_PIPE(name)                                                         \
	TEST(pipe_##name)                                                     \
	{                                                                     \
		name(pipe_pair);                                              \
	}
#define ON_UDP(name)                                                          \
	TEST(udp_##name)                                                      \
	{                                                                     \
		name(udp_pair);                                               \
	}
#define ON_UNIX_DGRAM(name)                                                   \
	TEST(unix_dgram_##name)                                               \
	{                                                                     \
		name(unix_dgram_pair);                                        \
	}
#define ON_STREAMS(name)                                                      \
	ON_TCP(name)                                                          \
	ON_UNIX(name)

UNUSED static void
close_pair(int fds[2])
{
	CHECK_EQ(close(fds[0]), 0);
	CHECK_EQ(close(fds[1]), 0);
}

UNUSED static void
set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	CHECK(flags >= 0);
	CHECK_EQ(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
}

UNUSED static void
set_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	CHECK(flags >= 0);
	CHECK_EQ(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK), 0);
}

UNUSED static void
set_option(int fd, int level, int name, int value)
{
	CHECK_EQ(setsockopt(fd, level, name, &value, sizeof value), 0);
}

UNUSED static int
get_option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof value;
	CHECK_EQ(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

/* Takes the error out of the socket, as a program does after connect(). */
UNUSED static int
so_error(int fd)
{
	return get_option(fd, SOL_SOCKET, SO_ERROR);
}

UNUSED static struct sockaddr_in
loopback(unsigned port)
{
	struct sockaddr_in sin;
	memset(&sin, 0, sizeof sin);
	sin.sin_family = AF_INET;
	sin.sin_port = htons((uint16_t)port);
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sin;
}

/* An IPv4 socket with an address of its own on the loopback. */
UNUSED static int
bound_socket(int type)
{
	struct sockaddr_in sin = loopback(0);
	int fd = socket(AF_INET, type, 0);
	CHECK(fd >= 0);
	CHECK_EQ(bind(fd, (struct sockaddr *)&sin, sizeof sin), 0);
	return fd;
}

UNUSED static struct sockaddr_in
address_of(int fd)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof sin;
	CHECK_EQ(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	return sin;
}

UNUSED static int
connect_to(int fd, int listener)
{
	struct sockaddr_in sin = address_of(listener);
	return connect(fd, (struct sockaddr *)&sin, sizeof sin);
}

UNUSED static int
tcp_listener(int backlog)
{
	int fd = bound_socket(SOCK_STREAM);
	CHECK_EQ(listen(fd, backlog), 0);
	return fd;
}

/* A new client, already connected to the listener. */
UNUSED static int
tcp_client(int listener)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	CHECK_EQ(connect_to(fd, listener), 0);
	return fd;
}

/* buffers > 0 fixes the size of the buffers on both sides. */
UNUSED static void
tcp_pair_with(int pfd[2], int buffers)
{
	int listener = bound_socket(SOCK_STREAM);
	if (buffers > 0)
		set_option(listener, SOL_SOCKET, SO_RCVBUF, buffers);
	CHECK_EQ(listen(listener, 1), 0);
	pfd[0] = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(pfd[0] >= 0);
	if (buffers > 0)
		set_option(pfd[0], SOL_SOCKET, SO_SNDBUF, buffers);
	CHECK_EQ(connect_to(pfd[0], listener), 0);
	pfd[1] = accept(listener, NULL, NULL);
	CHECK(pfd[1] >= 0);
	set_option(pfd[0], IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(pfd[1], IPPROTO_TCP, TCP_NODELAY, 1);
	CHECK_EQ(close(listener), 0);
}

UNUSED static void
tcp_pair(int pfd[2])
{
	tcp_pair_with(pfd, 0);
}

/* Small enough to fill quickly. */
UNUSED static void
small_tcp_pair(int pfd[2])
{
	tcp_pair_with(pfd, 32768);
}

UNUSED static void
unix_pair(int pfd[2])
{
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pfd), 0);
}

UNUSED static void
seqpacket_pair(int pfd[2])
{
	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pfd), 0);
}

UNUSED static void
unix_dgram_pair(int pfd[2])
{
	CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, pfd), 0);
}

UNUSED static void
udp_pair(int pfd[2])
{
	pfd[0] = bound_socket(SOCK_DGRAM);
	pfd[1] = bound_socket(SOCK_DGRAM);
	CHECK_EQ(connect_to(pfd[0], pfd[1]), 0);
	CHECK_EQ(connect_to(pfd[1], pfd[0]), 0);
}

/* pfd[0] reads what pfd[1] writes, as pipe() itself has it. */
UNUSED static void
pipe_pair(int pfd[2])
{
	CHECK_EQ(pipe(pfd), 0);
}

/* A connect() that is under way when it returns, and will be refused. */
UNUSED static void
begin_refused_connect(int fd)
{
	int holder = bound_socket(SOCK_STREAM);
	set_nonblocking(fd);
	/* The port is held but nobody listens: the answer is a reset. */
	CHECK_FAILS(connect_to(fd, holder), EINPROGRESS);
	CHECK_EQ(close(holder), 0);
}

UNUSED static struct tcp_info
tcp_state(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof info;
	memset(&info, 0, sizeof info);
	CHECK_EQ(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	return info;
}

/* The kernel is busy with it; look again in a moment. */
UNUSED static void
pause_briefly(void)
{
	struct timespec ts = {0, 200000};
	nanosleep(&ts, NULL);
}

/* Waits until cond holds; a condition that never comes is a failure. */
#define WAIT_FOR(cond)                                                        \
	do {                                                                  \
		int64_t until_ =                                              \
		    now_ns() + (int64_t)GENEROUS_MS * 1000000;                \
		while (!(cond)) {                                             \
			if (now_ns() > until_)                                \
				FAIL("never came true: %s", #cond);           \
			pause_briefly();                                      \
		}                                                             \
	} while (0)

/* What FIONREAD says, or -1. */
UNUSED static int
unread(int fd)
{
	int n = -1;
	return ioctl(fd, FIONREAD, &n) == 0 ? n : -1;
}

/* The connections a TCP listener has ready for accept(). */
UNUSED static unsigned
backlog(int fd)
{
	return tcp_state(fd).tcpi_unacked;
}

/* Waits for poll() to report one of events on fd, HUP and ERR included. */
UNUSED static void
wait_poll(int fd, int events)
{
	struct pollfd pfd = {.fd = fd, .events = (short)events};
	CHECK_EQ(poll(&pfd, 1, GENEROUS_MS), 1);
	CHECK((pfd.revents & events) != 0);
}

/* The private numbers, lowest first, if they are wanted; how many they are. */
UNUSED static int
private_numbers(int numbers[], int most)
{
	static char text[65536];
	char *word, *rest;
	int n = 0;
	open_descriptors(text, sizeof text);
	for (word = strtok_r(text, " ", &rest); word != NULL;
	    word = strtok_r(NULL, " ", &rest))
		if (atoi(word) >= PRIVATE_FLOOR) {
			if (numbers != NULL) {
				CHECK(n < most);
				numbers[n] = atoi(word);
			}
			n++;
		}
	return n;
}

/* A knote for what a descriptor has to read, and its event. */
#define READ_ADD(kq, fd, flags)                                               \
	CHANGE(kq, (uintptr_t)(fd), EVFILT_READ, EV_ADD | (flags), 0, 0,      \
	    UDATA(3))
#define EXPECT_READ(kq, fd, flags, fflags, data)                              \
	EXPECT(kq, (uintptr_t)(fd), EVFILT_READ, EV_ADD | (flags), fflags,    \
	    data, UDATA(3))

UNUSED static void
put(int fd, size_t n)
{
	static const char zeros[65536];
	while (n > 0) {
		size_t part = n < sizeof zeros ? n : sizeof zeros;
		ssize_t done = write(fd, zeros, part);
		CHECK(done > 0);
		n -= (size_t)done;
	}
}

/* Reads n bytes, waiting for them where need be. */
UNUSED static void
take(int fd, size_t n)
{
	char buf[65536];
	while (n > 0) {
		size_t part = n < sizeof buf ? n : sizeof buf;
		ssize_t done = read(fd, buf, part);
		if (done < 0 && errno == EAGAIN) {
			wait_poll(fd, POLLIN);
			continue;
		}
		CHECK(done > 0);
		n -= (size_t)done;
	}
}

/* Writes until the descriptor takes no more; its mode is kept. */
UNUSED static size_t
fill(int fd)
{
	static const char zeros[4096];
	int flags = fcntl(fd, F_GETFL);
	struct pollfd pfd = {.fd = fd, .events = POLLOUT};
	size_t total = 0;
	set_nonblocking(fd);
	do {
		ssize_t done;
		while ((done = write(fd, zeros, sizeof zeros)) > 0)
			total += (size_t)done;
		CHECK(done < 0 && errno == EAGAIN);
		/* TCP moves bytes on to the peer for a while. */
	} while (poll(&pfd, 1, 50) > 0);
	CHECK_EQ(fcntl(fd, F_SETFL, flags), 0);
	return total;
}

/* Closes with a reset instead of a farewell. */
UNUSED static void
reset_and_close(int fd)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};
	CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
	CHECK_EQ(close(fd), 0);
}

#define SCRATCH_PATH 256

/* An empty directory of the case's own; end it with rmdir(). */
UNUSED static void
scratch_directory(char path[SCRATCH_PATH])
{
	const char *base = getenv("TMPDIR");
	int n = snprintf(path, SCRATCH_PATH, "%s/kqueue-test-XXXXXX",
	    base != NULL && *base != '\0' ? base : P_tmpdir);
	CHECK(n > 0 && n < SCRATCH_PATH - 16);
	CHECK(mkdtemp(path) != NULL);
}

/* A new, named file of size bytes, read and write; end it with unlink(). */
UNUSED static int
scratch_file(char path[SCRATCH_PATH], size_t size)
{
	const char *base = getenv("TMPDIR");
	int fd, n = snprintf(path, SCRATCH_PATH, "%s/kqueue-test-XXXXXX",
	    base != NULL && *base != '\0' ? base : P_tmpdir);
	CHECK(n > 0 && n < SCRATCH_PATH);
	fd = mkostemp(path, O_CLOEXEC);
	CHECK(fd >= 0);
	if (size > 0)
		put(fd, size);
	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

/* The same, without a name from the start. */
UNUSED static int
nameless_file(size_t size)
{
	char path[SCRATCH_PATH];
	int fd = scratch_file(path, size);
	CHECK_EQ(unlink(path), 0);
	return fd;
}

/* A FIFO in a directory of its own; end it with remove_fifo(). */
struct fifo {
	char dir[SCRATCH_PATH];
	char path[SCRATCH_PATH + 8];
};

UNUSED static void
make_fifo(struct fifo *f)
{
	scratch_directory(f->dir);
	snprintf(f->path, sizeof f->path, "%s/fifo", f->dir);
	CHECK_EQ(mkfifo(f->path, 0600), 0);
}

UNUSED static void
remove_fifo(struct fifo *f)
{
	CHECK_EQ(unlink(f->path), 0);
	CHECK_EQ(rmdir(f->dir), 0);
}

UNUSED static int
open_fifo(struct fifo *f, int mode)
{
	int fd = open(f->path, mode | O_NONBLOCK | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

enum tty_mode { TTY_LINES, TTY_RAW };

/* fds[0] is the slave, the terminal; fds[1] the master. No echo. */
UNUSED static void
pty_pair(int fds[2], enum tty_mode mode)
{
	struct termios t;
	fds[1] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fds[1] < 0)
		SKIP("no pseudo terminals here");
	CHECK_EQ(grantpt(fds[1]), 0);
	CHECK_EQ(unlockpt(fds[1]), 0);
	fds[0] = open(ptsname(fds[1]), O_RDWR | O_NOCTTY | O_CLOEXEC);
	CHECK(fds[0] >= 0);
	CHECK_EQ(tcgetattr(fds[0], &t), 0);
	if (mode == TTY_RAW)
		cfmakeraw(&t);
	t.c_lflag &= ~(tcflag_t)ECHO;
	CHECK_EQ(tcsetattr(fds[0], TCSANOW, &t), 0);
}

/*
 * Lowers a limit of inotify's for this process alone, by a user namespace of
 * its own: what a case used up of the user's would be missed by others. false:
 * it cannot be done here. Once a case.
 */
UNUSED static bool
limit_inotify(const char *what, int limit)
{
	char path[64], text[16];
	int fd, n = snprintf(text, sizeof text, "%d", limit);
	bool done;
	snprintf(path, sizeof path, "/proc/sys/user/max_inotify_%s", what);
	if (unshare(CLONE_NEWUSER) != 0)
		return false;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	done = write(fd, text, (size_t)n) == n;
	close(fd);
	return done;
}

/* Runs part of a case in a forked child, whose failure is the case's. */
UNUSED static void
wait_child(pid_t pid)
{
	int status = -1;
	CHECK(pid > 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 1)
		FAIL("the child ended with status 0x%x", (unsigned)status);
	if (WEXITSTATUS(status) == 77)
		exit(77);
	CHECK_EQ(WEXITSTATUS(status), 0);
}

#define IN_CHILD(...)                                                         \
	do {                                                                  \
		pid_t pid_ = fork();                                          \
		if (pid_ == 0) {                                              \
			__VA_ARGS__;                                          \
			exit(0);                                              \
		}                                                             \
		wait_child(pid_);                                             \
	} while (0)

/* A thread that waits in kevent() for one event. */
struct sleeper {
	pthread_t thread;
	_Atomic(pid_t) tid;
	int kq;
	int result;
	int error;
	struct kevent event;
};

UNUSED static void *
sleeper_main(void *arg)
{
	struct sleeper *s = arg;
	struct timespec ts = ms_to_ts(GENEROUS_MS);
	atomic_store(&s->tid, (pid_t)syscall(SYS_gettid));
	s->result = kevent(s->kq, NULL, 0, &s->event, 1, &ts);
	s->error = errno;
	return NULL;
}

UNUSED static int64_t
cpu_ns(void)
{
	struct timespec ts;
	CHECK_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts), 0);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Is the thread asleep in the kernel? */
UNUSED static bool
is_asleep(pid_t tid)
{
	char path[64], line[512], *end;
	ssize_t n;
	int fd;
	if (tid == 0)
		return false;
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, line, sizeof line - 1);
	close(fd);
	if (n <= 0)
		return false;
	line[n] = '\0';
	end = strrchr(line, ')');
	return end != NULL && end[1] == ' ' && end[2] == 'S';
}

UNUSED static void
sleeper_start(struct sleeper *s, int kq)
{
	memset(s, 0, sizeof *s);
	s->kq = kq;
	CHECK_EQ(pthread_create(&s->thread, NULL, sleeper_main, s), 0);
	WAIT_FOR(is_asleep(atomic_load(&s->tid)));
}

/* The event that woke it; one must have come. */
UNUSED static struct kevent
sleeper_join(struct sleeper *s)
{
	CHECK_EQ(pthread_join(s->thread, NULL), 0);
	if (s->result != 1)
		FAIL("the sleeper got %d (%s)", s->result,
		    s->result < 0 ? strerror(s->error) : "time-out");
	return s->event;
}

#endif
