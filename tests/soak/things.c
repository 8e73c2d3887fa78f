/*
 * Pairs of descriptors: one is watched, the other makes it ready. All are
 * close-on-exec and do not block.
 */
#include "soak.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>

const char *const kind_names[KINDS] = {"socket", "pipe", "eventfd", "pty",
    "tcp", "file", "queue"};

static void
open_tcp(int pfd[2])
{
	struct sockaddr_in sin = {.sin_family = AF_INET};
	socklen_t length = sizeof sin;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(listener >= 0);
	CHECK(bind(listener, (struct sockaddr *)&sin, sizeof sin) == 0);
	CHECK(listen(listener, 1) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)&sin, &length) == 0);
	pfd[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(pfd[1] >= 0);
	while (connect(pfd[1], (struct sockaddr *)&sin, sizeof sin) != 0)
		CHECK(errno == EINTR || errno == EALREADY);
	do
		pfd[0] = accept4(listener, NULL, NULL,
		    SOCK_CLOEXEC | SOCK_NONBLOCK);
	while (pfd[0] < 0 && errno == EINTR);
	CHECK(pfd[0] >= 0);
	CHECK(fcntl(pfd[1], F_SETFL, O_NONBLOCK) == 0);
	CHECK(close(listener) == 0);
}

static void
open_pty(int pfd[2])
{
	struct termios t;
	int zero = 0;
	pfd[0] = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	CHECK(pfd[0] >= 0);
	CHECK(ioctl(pfd[0], TIOCSPTLCK, &zero) == 0);
	pfd[1] = ioctl(pfd[0], TIOCGPTPEER,
	    O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	CHECK(pfd[1] >= 0);
	CHECK(tcgetattr(pfd[1], &t) == 0);
	cfmakeraw(&t);
	CHECK(tcsetattr(pfd[1], TCSANOW, &t) == 0);
}

/* The file keeps its name, and so its inode, until the round is over: one that
 * is given out again at once would be the same file to the library. */
static void
open_file(int pfd[2])
{
	char path[320];
	snprintf(path, sizeof path, "%s/file.%d.XXXXXX", scratch,
	    self->number);
	pfd[0] = mkostemp(path, O_CLOEXEC);
	CHECK(pfd[0] >= 0);
	pfd[1] = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	CHECK(pfd[1] >= 0);
}

static void
open_queue(int pfd[2])
{
	pfd[0] = kqueue();
	CHECK(pfd[0] >= 0);
	pfd[1] = -1;
	change(pfd[0], 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
}

struct thing
thing_open(struct rng *r, enum kind kind)
{
	struct thing t = {.kind = kind};
	int pfd[2] = {-1, -1};
	switch (kind) {
	case SOCKET:
		CHECK(socketpair(AF_UNIX, SOCK_CLOEXEC | SOCK_NONBLOCK |
		    (one_in(r, 2) ? SOCK_STREAM : SOCK_DGRAM), 0, pfd) == 0);
		break;
	case PIPE:
		CHECK(pipe2(pfd, O_CLOEXEC | O_NONBLOCK) == 0);
		break;
	case EVENTFD:
		pfd[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		CHECK(pfd[0] >= 0);
		break;
	case PTY:
		open_pty(pfd);
		break;
	case TCP:
		open_tcp(pfd);
		break;
	case FILE_:
		open_file(pfd);
		break;
	default:
		open_queue(pfd);
	}
	t.fd = pfd[0];
	t.peer = pfd[1];
	return t;
}

void
thing_close_peer(struct thing *t)
{
	if (t->peer >= 0)
		CHECK(close(t->peer) == 0);
	t->peer = -1;
}

size_t
thing_put(struct thing *t, size_t n)
{
	static const char bytes[64];
	uint64_t count = n;
	ssize_t put;
	if (n > sizeof bytes)
		n = sizeof bytes;
	if (t->kind == QUEUE) {
		change(t->fd, 1, EVFILT_USER, 0, NOTE_TRIGGER, (intptr_t)n,
		    NULL);
		return n;
	}
	if (t->kind == EVENTFD) {
		CHECK(write(t->fd, &count, sizeof count) == sizeof count);
		return n;
	}
	do
		put = write(t->peer, bytes, n);
	while (put < 0 && errno == EINTR);
	CHECK(put > 0 || errno == EAGAIN);
	return put > 0 ? (size_t)put : 0;
}

size_t
thing_drain(struct thing *t)
{
	char bytes[256];
	uint64_t count;
	size_t all = 0;
	if (t->kind == QUEUE) {
		static const struct timespec no_wait;
		struct kevent ev[2];
		int n = kevent(t->fd, NULL, 0, ev, 2, &no_wait);
		CHECK(n >= 0 && n < 2);
		return n == 1 ? (size_t)ev[0].data : 0;
	}
	for (;;) {
		ssize_t n;
		if (t->kind == EVENTFD)
			n = read(t->fd, &count, sizeof count);
		else
			n = read(t->fd, bytes, sizeof bytes);
		if (n > 0)
			all += t->kind == EVENTFD ? (size_t)count : (size_t)n;
		else if (n == 0 || errno != EINTR)
			break;
	}
	/* A terminal without its other end says EIO. */
	CHECK(errno == EAGAIN || errno == EIO || t->kind == FILE_ ||
	    t->peer < 0);
	return all;
}
