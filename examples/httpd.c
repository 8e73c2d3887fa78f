/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * httpd - a small HTTP/1.1 server around one kqueue
 *
 *	httpd [-b address] [-d directory | -f file] [-p port] [-t seconds]
 *
 * GET and HEAD for the files under a directory, or for two built-in pages,
 * "/" and "/large".  With -f the page "/" is that file, kept in memory and
 * read again when it changes or is replaced.  -p 0 takes any free port; the
 * one in use is printed.  -t is how long a client may be silent.  SIGINT or
 * SIGTERM ends it: responses under way are finished first, a second signal
 * cuts them off.
 *
 * What is in the queue:
 *
 *	READ	the listening socket; data is how many clients wait
 *	READ	each client, off while a response waits for room to go out
 *	WRITE	each client, on only then
 *	TIMER	each client, under its socket's number: set anew whenever bytes
 *		move, so it fires after a silence
 *	TIMER	the listening socket's number, while accepting is paused
 *	SIGNAL	SIGINT and SIGTERM, which are ignored otherwise
 *	VNODE	the page's file, and its directory, where it may be replaced
 *	TIMER	the directory's number, from a change of the page until the
 *		page is read: a writer who has begun should get to finish
 *
 * udata is the client, or NULL for what belongs to the server.  Changes are
 * collected and go in with the next wait.  A client that is finished is closed
 * only after all events of the batch were looked at: a later event of the same
 * batch may still point to it, and its number must not be given to a new
 * client while a change for the old one is under way.
 */

#include <sys/types.h>
#include <sys/event.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define	BACKLOG		1024		/* the kernel cuts it to its own limit */
#define	NEVENTS		128
#define	NCHANGES	NEVENTS		/* room for an error each */
#define	REQUEST_MAX	8192		/* request line and headers */
#define	CHUNK		65536		/* of a file, for one write */
#define	TURN		(8 * CHUNK)	/* sent before others have a turn */
#define	LARGE		(8 * 1024 * 1024)	/* more than buffers hold */
#define	LARGE_LINE	64
#define	PAUSE_MS	100		/* before accepting is tried again */
#define	LINGER_MS	2000		/* for the client to close after us */
#define	SPARE_FILES	16		/* descriptors that no client has */
#define	SETTLE_MS	50		/* from a change until we look */
#define	PAGE_MAX	(64 * 1024 * 1024)

/* FreeBSD reports a truncation as NOTE_ATTRIB alone. */
#ifndef NOTE_TRUNCATE
#define	NOTE_TRUNCATE	0
#endif

enum state {
	READING,			/* waits for (the rest of) a request */
	SENDING,			/* a response is on its way out */
	DRAINING,			/* all is said; waits for the client's FIN */
	DEAD				/* on the dead list, until the batch ends */
};

/* The file at "/".  Who is being sent an old one keeps it until it is out. */
struct page {
	char		*text;
	off_t		len;
	const char	*type;
	int		users;
};

struct client {
	LIST_ENTRY(client) link;
	enum state	state;
	int		fd;
	int		eof;		/* the client will send no more */
	int		last;		/* close after this response */
	int		blocked;	/* WRITE is on and READ is off */
	uintmax_t	touched;	/* batch in which the timer was set */

	char		in[REQUEST_MAX + 1];
	size_t		inlen;

	char		head[512];	/* what goes out before the body */
	size_t		headpos;
	size_t		headlen;
	int		file;		/* the body: a file, or -1 and memory */
	char		*body;
	struct page	*page;		/* that the body is in, or NULL */
	off_t		pos;
	off_t		left;
};

struct request {
	char		*method;
	char		*target;
	int		minor;		/* of HTTP/1.x */
	int		close;
	int		keepalive;
	int		host;
	int		body;
};

LIST_HEAD(clients, client);

static struct clients live = LIST_HEAD_INITIALIZER(live);
static struct clients dead = LIST_HEAD_INITIALIZER(dead);

static int	kq;
static int	listener = -1;
static int	rootdir = -1;
static int	paused;			/* the listener's READ is off */
static int	stopping;
static intptr_t	idle_ms = 15000;
static size_t	nclients;
static size_t	maxclients = SIZE_MAX;
static uintmax_t batch = 1;

static struct kevent changes[NCHANGES];
static int	nchanges;

static const char *pagename;		/* of -f */
static int	pagedir = -1;
static int	pagefile = -1;		/* the file that the page is from */
static struct stat pagestat;
static int	settling;		/* its timer is set */
static struct page *page;

static char	*large;
static char	welcome[] =
    "<!DOCTYPE html>\n"
    "<title>httpd</title>\n"
    "<p>Served by one kqueue. <a href=\"/large\">A large page</a>.\n";

static struct {
	uintmax_t	clients;
	uintmax_t	requests;
	uintmax_t	bytes;
	uintmax_t	partial;	/* writes for which room was short */
	uintmax_t	idle;
	uintmax_t	pauses;
	uintmax_t	reloads;
} total;

static void	client_kill(struct client *);

/* A change was refused: its client cannot be served any further. */
static void
change_failed(const struct kevent *kev)
{
	warnx("ident %ju, filter %d: %s", (uintmax_t)kev->ident,
	    (int)kev->filter, strerror((int)kev->data));
	if (kev->udata != NULL)
		client_kill(kev->udata);
}

/*
 * Applies what was collected, without waiting.  With a receipt for each change
 * there is no room for events, so none is taken out of the queue here.
 */
static void
flush_changes(void)
{
	int i, n;

	for (i = 0; i < nchanges; i++)
		changes[i].flags |= EV_RECEIPT;
	n = kevent(kq, changes, nchanges, changes, nchanges, NULL);
	if (n == -1)
		err(1, "kevent");
	nchanges = 0;
	for (i = 0; i < n; i++)
		if ((changes[i].flags & EV_ERROR) != 0 && changes[i].data != 0)
			change_failed(&changes[i]);
}

static void
change(int ident, short filter, unsigned short flags, intptr_t data,
    void *udata)
{
	if (nchanges == NCHANGES)
		flush_changes();
	EV_SET(&changes[nchanges], (uintptr_t)ident, filter, flags, 0, data,
	    udata);
	nchanges++;
}

/* No room for another client: look again when one has gone, or in a while. */
static void
accept_pause(void)
{
	if (paused)
		return;
	paused = 1;
	total.pauses++;
	change(listener, EVFILT_READ, EV_DISABLE, 0, NULL);
	change(listener, EVFILT_TIMER, EV_ADD | EV_ONESHOT, PAUSE_MS, NULL);
}

static void
accept_resume(void)
{
	if (!paused || listener == -1)
		return;
	paused = 0;
	change(listener, EVFILT_READ, EV_ENABLE, 0, NULL);
}

/* Bytes moved: the silence starts anew.  Once a batch is exact enough. */
static void
client_touch(struct client *c)
{
	if (c->touched == batch)
		return;
	c->touched = batch;
	change(c->fd, EVFILT_TIMER, EV_ADD, idle_ms, c);
}

static void
page_release(struct page *p)
{
	if (p == NULL || --p->users > 0)
		return;
	free(p->text);
	free(p);
}

static void
client_kill(struct client *c)
{
	if (c->state == DEAD)
		return;
	c->state = DEAD;
	LIST_REMOVE(c, link);
	LIST_INSERT_HEAD(&dead, c, link);
}

static void
client_reap(void)
{
	struct client *c;

	while ((c = LIST_FIRST(&dead)) != NULL) {
		LIST_REMOVE(c, link);
		/* close() takes READ and WRITE along, but not the timer. */
		change(c->fd, EVFILT_TIMER, EV_DELETE, 0, c);
		flush_changes();
		close(c->fd);
		if (c->file != -1)
			close(c->file);
		page_release(c->page);
		free(c);
		nclients--;
		accept_resume();
	}
}

static int
client_new(int fd)
{
	struct client *c;
	struct kevent kev[3];
	int one = 1;

	/* Some systems hand O_NONBLOCK down from the listener, some do not. */
	if (fcntl(fd, F_SETFL, O_NONBLOCK) == -1)
		return (-1);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));

	if ((c = calloc(1, sizeof(*c))) == NULL)
		return (-1);
	c->fd = fd;
	c->file = -1;
	EV_SET(&kev[0], (uintptr_t)fd, EVFILT_READ, EV_ADD, 0, 0, c);
	EV_SET(&kev[1], (uintptr_t)fd, EVFILT_WRITE, EV_ADD | EV_DISABLE, 0, 0,
	    c);
	EV_SET(&kev[2], (uintptr_t)fd, EVFILT_TIMER, EV_ADD, 0, idle_ms, c);
	if (kevent(kq, kev, 3, NULL, 0, NULL) == -1) {
		free(c);
		return (-1);
	}
	LIST_INSERT_HEAD(&live, c, link);
	nclients++;
	total.clients++;
	return (0);
}

static void
accept_clients(intmax_t waiting)
{
	int fd;

	for (; waiting > 0; waiting--) {
		if (nclients >= maxclients) {
			accept_pause();
			return;
		}
		if ((fd = accept(listener, NULL, NULL)) == -1) {
			switch (errno) {
			case EAGAIN:
				return;
			case EINTR:
			case ECONNABORTED:
				continue;
			default:
				warn("accept");
				/* FALLTHROUGH */
			case EMFILE:
			case ENFILE:
			case ENOBUFS:
			case ENOMEM:
				/* READ stays true: without this we would spin. */
				accept_pause();
				return;
			}
		}
		if (client_new(fd) == -1) {
			warn("client refused");
			close(fd);
		}
	}
}

static const char *
reason(int status)
{
	switch (status) {
	case 200:
		return ("OK");
	case 400:
		return ("Bad Request");
	case 403:
		return ("Forbidden");
	case 404:
		return ("Not Found");
	case 431:
		return ("Request Header Fields Too Large");
	case 501:
		return ("Not Implemented");
	case 503:
		return ("Service Unavailable");
	case 505:
		return ("HTTP Version Not Supported");
	default:
		return ("Internal Server Error");
	}
}

static const char *
media_type(const char *path)
{
	static const struct {
		const char *suffix;
		const char *type;
	} types[] = {
		{ ".css", "text/css" },
		{ ".gif", "image/gif" },
		{ ".htm", "text/html; charset=utf-8" },
		{ ".html", "text/html; charset=utf-8" },
		{ ".jpg", "image/jpeg" },
		{ ".js", "text/javascript" },
		{ ".json", "application/json" },
		{ ".pdf", "application/pdf" },
		{ ".png", "image/png" },
		{ ".svg", "image/svg+xml" },
		{ ".txt", "text/plain; charset=utf-8" },
	};
	const char *dot;
	size_t i;

	if ((dot = strrchr(path, '.')) != NULL)
		for (i = 0; i < sizeof(types) / sizeof(types[0]); i++)
			if (strcasecmp(dot, types[i].suffix) == 0)
				return (types[i].type);
	return ("application/octet-stream");
}

static const char *
http_date(void)
{
	static char text[64];
	static time_t last = -1;
	struct tm tm;
	time_t now;

	now = time(NULL);
	if (now != last && gmtime_r(&now, &tm) != NULL) {
		strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		last = now;
	}
	return (text);
}

static void
respond(struct client *c, int status, const char *type, off_t length,
    const char *text)
{
	int n;

	n = snprintf(c->head, sizeof(c->head),
	    "HTTP/1.1 %d %s\r\n"
	    "Date: %s\r\n"
	    "Content-Type: %s\r\n"
	    "Content-Length: %jd\r\n"
	    "Connection: %s\r\n"
	    "\r\n"
	    "%s",
	    status, reason(status), http_date(), type, (intmax_t)length,
	    c->last ? "close" : "keep-alive", text);
	c->headpos = 0;
	c->headlen = (size_t)n;
	c->pos = 0;
	c->left = 0;
	c->state = SENDING;
	total.requests++;
}

static void
respond_error(struct client *c, int status, int headonly)
{
	char text[64];
	int n;

	n = snprintf(text, sizeof(text), "%d %s\n", status, reason(status));
	respond(c, status, "text/plain; charset=utf-8", n,
	    headonly ? "" : text);
}

static int
hex(char ch)
{
	if (ch >= '0' && ch <= '9')
		return (ch - '0');
	if (ch >= 'a' && ch <= 'f')
		return (ch - 'a' + 10);
	if (ch >= 'A' && ch <= 'F')
		return (ch - 'A' + 10);
	return (-1);
}

/* Turns %XX into what it stands for, in place. */
static int
decode(char *s)
{
	char *to;
	int high, low;

	for (to = s; *s != '\0'; s++) {
		if (*s != '%') {
			*to++ = *s;
			continue;
		}
		if ((high = hex(s[1])) == -1 || (low = hex(s[2])) == -1 ||
		    (high == 0 && low == 0))
			return (-1);
		*to++ = (char)(high << 4 | low);
		s += 2;
	}
	*to = '\0';
	return (0);
}

/*
 * Opens a decoded path below the root.  No part of it may begin with a dot:
 * that keeps ".." out, and hidden files in.  Symbolic links are the
 * administrator's own and are followed.
 */
static int
open_page(struct client *c, char *path, struct stat *st)
{
	const char *p;

	for (p = path; *p != '\0'; p++)
		if (*p == '.' && (p == path || p[-1] == '/'))
			return (403);
	/* O_NONBLOCK: a FIFO without a writer must not hold up the others. */
	c->file = openat(rootdir, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (c->file == -1) {
		switch (errno) {
		case EACCES:
			return (403);
		case ELOOP:
		case ENAMETOOLONG:
		case ENOENT:
		case ENOTDIR:
		case ENXIO:
			return (404);
		case EMFILE:
		case ENFILE:
			return (503);
		default:
			return (500);
		}
	}
	if (fstat(c->file, st) == -1)
		return (500);
	return (S_ISREG(st->st_mode) ? 200 : 404);
}

static int
serve_file(struct client *c, const char *target, int headonly)
{
	char path[REQUEST_MAX + sizeof("index.html")];
	struct stat st;
	size_t len;
	int status;

	/* Not even "//etc" may be taken for an absolute path. */
	while (*target == '/')
		target++;
	len = strlen(target);
	memcpy(path, target, len + 1);
	if (len == 0 || path[len - 1] == '/')
		memcpy(path + len, "index.html", sizeof("index.html"));
	if ((status = open_page(c, path, &st)) == 200) {
		respond(c, 200, media_type(path), st.st_size, "");
		c->left = headonly ? 0 : st.st_size;
	}
	if (c->file != -1 && c->left == 0) {
		close(c->file);
		c->file = -1;
	}
	return (status);
}

static int
serve_builtin(struct client *c, const char *target, int headonly)
{
	const char *type;
	off_t length;

	if (strcmp(target, "/") == 0 && page != NULL) {
		page->users++;
		c->page = page;
		c->body = page->text;
		length = page->len;
		type = page->type;
	} else if (strcmp(target, "/") == 0) {
		c->body = welcome;
		length = (off_t)sizeof(welcome) - 1;
		type = "text/html; charset=utf-8";
	} else if (strcmp(target, "/large") == 0) {
		c->body = large;
		length = LARGE;
		type = "text/plain; charset=utf-8";
	} else
		return (404);
	respond(c, 200, type, length, "");
	c->left = headonly ? 0 : length;
	return (200);
}

/* Whether a comma-separated list has this word. */
static int
has_word(const char *list, const char *word)
{
	size_t len;

	while (*list != '\0') {
		list += strspn(list, ", \t");
		len = strcspn(list, ", \t");
		if (len == strlen(word) && strncasecmp(list, word, len) == 0)
			return (1);
		list += len;
	}
	return (0);
}

static int
parse_header(char *line, struct request *r)
{
	char *value;

	if (line[0] == ' ' || line[0] == '\t' ||
	    (value = strchr(line, ':')) == NULL)
		return (400);
	*value++ = '\0';
	value += strspn(value, " \t");
	if (strcasecmp(line, "Connection") == 0) {
		r->close |= has_word(value, "close");
		r->keepalive |= has_word(value, "keep-alive");
	} else if (strcasecmp(line, "Host") == 0)
		r->host = 1;
	else if (strcasecmp(line, "Content-Length") == 0)
		r->body |= strcmp(value, "0") != 0;
	else if (strcasecmp(line, "Transfer-Encoding") == 0)
		r->body = 1;
	return (200);
}

/* Takes the head of a request apart, in place; 200 or what is wrong. */
static int
parse_request(char *head, struct request *r)
{
	char *line, *version;
	size_t len;
	int status;

	memset(r, 0, sizeof(*r));
	line = strsep(&head, "\n");
	if ((len = strlen(line)) > 0 && line[len - 1] == '\r')
		line[len - 1] = '\0';
	r->method = strsep(&line, " ");
	r->target = strsep(&line, " ");
	version = strsep(&line, " ");
	if (version == NULL || line != NULL)
		return (400);
	if (strcmp(version, "HTTP/1.1") == 0)
		r->minor = 1;
	else if (strcmp(version, "HTTP/1.0") != 0)
		return (strncmp(version, "HTTP/", 5) == 0 ? 505 : 400);

	while ((line = strsep(&head, "\n")) != NULL) {
		if ((len = strlen(line)) > 0 && line[len - 1] == '\r')
			line[--len] = '\0';
		if (len == 0)
			break;
		if ((status = parse_header(line, r)) != 200)
			return (status);
	}
	return (r->minor == 1 && !r->host ? 400 : 200);
}

/* Answers the request that fills the first len bytes of c->in. */
static void
serve_request(struct client *c, size_t len)
{
	struct request r;
	char *target, next;
	int headonly, status;

	next = c->in[len];
	c->in[len] = '\0';
	status = strlen(c->in) == len ? parse_request(c->in, &r) : 400;
	c->in[len] = next;

	/* After a request that was not understood no other can be found. */
	if (status != 200) {
		c->last = 1;
		respond_error(c, status, 0);
		return;
	}
	/* What follows would be a body, which nothing here reads. */
	c->last = stopping || r.body || r.close ||
	    (r.minor == 0 && !r.keepalive);
	headonly = strcmp(r.method, "HEAD") == 0;
	if (!headonly && strcmp(r.method, "GET") != 0) {
		c->last = 1;
		respond_error(c, 501, 0);
		return;
	}

	target = r.target;
	if (strncasecmp(target, "http://", 7) == 0)
		target += 7 + strcspn(target + 7, "/");
	target[strcspn(target, "?#")] = '\0';
	if (target[0] != '/' || decode(target) == -1)
		status = 400;
	else if (rootdir != -1)
		status = serve_file(c, target, headonly);
	else
		status = serve_builtin(c, target, headonly);
	if (status != 200)
		respond_error(c, status, headonly);
}

/* The length of the first head in c->in with its empty line, or 0. */
static size_t
find_head(const struct client *c)
{
	const char *end, *p;

	end = c->in + c->inlen;
	for (p = c->in;
	    (p = memchr(p, '\n', (size_t)(end - p))) != NULL;) {
		p++;
		if (p < end && *p == '\n')
			return ((size_t)(p + 1 - c->in));
		if (end - p >= 2 && p[0] == '\r' && p[1] == '\n')
			return ((size_t)(p + 2 - c->in));
	}
	return (0);
}

static void
consume(struct client *c, size_t len)
{
	c->inlen -= len;
	memmove(c->in, c->in + len, c->inlen);
}

/* Starts the next response if a whole request is there. */
static void
next_request(struct client *c)
{
	size_t len;

	/* Empty lines ahead of a request are to be overlooked. */
	for (len = 0; len < c->inlen; len++)
		if (c->in[len] != '\r' && c->in[len] != '\n')
			break;
	consume(c, len);

	if ((len = find_head(c)) > 0) {
		serve_request(c, len);
		consume(c, len);
	} else if (c->inlen == REQUEST_MAX) {
		c->last = 1;
		respond_error(c, 431, 0);
	}
}

/* Sends what it can: 1 all is out, 0 more to come, -1 the client is lost. */
static int
send_some(struct client *c)
{
	static char chunk[CHUNK];
	struct iovec iov[2];
	size_t done, offered, sent;
	ssize_t n;
	int niov;

	sent = 0;
	while (c->headpos < c->headlen || c->left > 0) {
		if (sent >= TURN)
			return (0);
		niov = 0;
		if (c->headpos < c->headlen) {
			iov[niov].iov_base = c->head + c->headpos;
			iov[niov++].iov_len = c->headlen - c->headpos;
		}
		if (c->left > 0 && c->file != -1) {
			n = pread(c->file, chunk, (size_t)(c->left < CHUNK ?
			    c->left : CHUNK), c->pos);
			/* The file is shorter than was promised. */
			if (n <= 0)
				return (-1);
			iov[niov].iov_base = chunk;
			iov[niov++].iov_len = (size_t)n;
		} else if (c->left > 0) {
			iov[niov].iov_base = c->body + c->pos;
			iov[niov++].iov_len = (size_t)c->left;
		}
		offered = iov[0].iov_len + (niov == 2 ? iov[1].iov_len : 0);
		if ((n = writev(c->fd, iov, niov)) == -1) {
			if (errno == EINTR)
				continue;
			if (errno != EAGAIN)
				return (-1);
			total.partial++;
			return (0);
		}
		client_touch(c);
		sent += (size_t)n;
		total.bytes += (uintmax_t)n;
		done = c->headlen - c->headpos;
		if (done > (size_t)n)
			done = (size_t)n;
		c->headpos += done;
		c->pos += n - (off_t)done;
		c->left -= n - (off_t)done;
		/* No room for all of it: to ask again now would be in vain. */
		if ((size_t)n < offered) {
			total.partial++;
			return (0);
		}
	}
	return (1);
}

/* Chooses what the queue should tell us about: room, or more requests. */
static void
client_block(struct client *c, int blocked)
{
	if (c->blocked == blocked)
		return;
	c->blocked = blocked;
	change(c->fd, EVFILT_READ, blocked ? EV_DISABLE : EV_ENABLE, 0, c);
	change(c->fd, EVFILT_WRITE, blocked ? EV_ENABLE : EV_DISABLE, 0, c);
}

/*
 * Nothing more to say.  To close with unread bytes in the buffer would reset
 * the connection and could take the end of the response away from the client,
 * so let the client close first.
 */
static void
client_finish(struct client *c)
{
	if (c->eof || shutdown(c->fd, SHUT_WR) == -1) {
		client_kill(c);
		return;
	}
	client_block(c, 0);
	c->state = DRAINING;
	c->touched = batch;
	change(c->fd, EVFILT_TIMER, EV_ADD, LINGER_MS, c);
}

/* As far as it goes: finish the response, start on the next request. */
static void
client_run(struct client *c)
{
	for (;;) {
		if (c->state == SENDING) {
			switch (send_some(c)) {
			case -1:
				client_kill(c);
				return;
			case 0:
				client_block(c, 1);
				return;
			}
			if (c->file != -1) {
				close(c->file);
				c->file = -1;
			}
			page_release(c->page);
			c->page = NULL;
			if (c->last) {
				client_finish(c);
				return;
			}
			c->state = READING;
		}
		if (c->state != READING)
			return;
		next_request(c);
		if (c->state != SENDING)
			break;
	}
	if (c->eof)
		client_kill(c);
	else
		client_block(c, 0);
}

static void
client_readable(struct client *c)
{
	static char waste[CHUNK];
	ssize_t n;

	if (c->state == DRAINING)
		n = read(c->fd, waste, sizeof(waste));
	else if (c->state == READING)
		n = read(c->fd, c->in + c->inlen, REQUEST_MAX - c->inlen);
	else
		return;
	if (n == -1) {
		if (errno != EAGAIN && errno != EINTR)
			client_kill(c);
		return;
	}
	if (c->state == DRAINING) {
		if (n == 0)
			client_kill(c);
		return;
	}
	if (n == 0)
		c->eof = 1;
	else
		client_touch(c);
	c->inlen += (size_t)n;
	client_run(c);
}

static void
client_idle(struct client *c)
{
	/* It stirred in this very batch, after the timer had gone off. */
	if (c->touched == batch)
		return;
	if (c->state != DRAINING)
		total.idle++;
	client_kill(c);
}

/*
 * Puts the file behind a descriptor into memory.  Its size is where it ends
 * now; if that moves meanwhile, a note is on its way.
 */
static struct page *
page_read(int fd, off_t size)
{
	struct page *p;
	ssize_t n;

	if (size > PAGE_MAX) {
		errno = EFBIG;
		return (NULL);
	}
	if ((p = calloc(1, sizeof(*p))) == NULL ||
	    (p->text = malloc((size_t)size + 1)) == NULL) {
		free(p);
		return (NULL);
	}
	p->users = 1;
	p->type = media_type(pagename);
	while (p->len < size) {
		n = pread(fd, p->text + p->len, (size_t)(size - p->len),
		    p->len);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1) {
			page_release(p);
			return (NULL);
		}
		if (n == 0)
			break;
		p->len += n;
	}
	return (p);
}

/* Opens, watches and reads what has the page's name now: 0 or -1. */
static int
page_load(void)
{
	struct kevent kev;
	struct page *fresh;
	struct stat st;
	int fd, saved;

	/* O_NONBLOCK: a FIFO must not hold us up. */
	fd = open(pagename, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1)
		return (-1);
	fresh = NULL;
	/* Watched before it is read: what changes after that is told. */
	EV_SET(&kev, (uintptr_t)fd, EVFILT_VNODE, EV_ADD | EV_CLEAR,
	    NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB | NOTE_TRUNCATE |
	    NOTE_DELETE | NOTE_RENAME | NOTE_LINK, 0, NULL);
	if (kevent(kq, &kev, 1, NULL, 0, NULL) == -1 || fstat(fd, &st) == -1)
		;
	else if (!S_ISREG(st.st_mode))
		errno = EINVAL;
	else
		fresh = page_read(fd, st.st_size);
	if (fresh == NULL) {
		saved = errno;
		close(fd);
		errno = saved;
		return (-1);
	}
	/* close() takes the knote of the old file along. */
	if (pagefile != -1)
		close(pagefile);
	page_release(page);
	pagefile = fd;
	pagestat = st;
	page = fresh;
	return (0);
}

/* A while ago something happened to the page. */
static void
page_settled(void)
{
	settling = 0;
	if (page_load() == 0)
		total.reloads++;
	else
		warn("%s: the old page stays", pagename);
}

static void
page_changed(const struct kevent *kev)
{
	struct stat st;

	/* Other files come and go in its directory, too. */
	if (kev->ident == (uintptr_t)pagedir && (stat(pagename, &st) == -1 ||
	    (st.st_dev == pagestat.st_dev && st.st_ino == pagestat.st_ino)))
		return;
	if (settling)
		return;
	settling = 1;
	change(pagedir, EVFILT_TIMER, EV_ADD | EV_ONESHOT, SETTLE_MS, NULL);
}

/* The first time lets responses under way finish, the second does not. */
static void
stop(void)
{
	struct client *c, *next;

	if (listener != -1) {
		flush_changes();
		close(listener);
		listener = -1;
	}
	for (c = LIST_FIRST(&live); c != NULL; c = next) {
		next = LIST_NEXT(c, link);
		if (stopping || c->state == READING)
			client_kill(c);
		else
			c->last = 1;
	}
	stopping = 1;
}

static void
dispatch(const struct kevent *kev)
{
	struct client *c = kev->udata;

	if ((kev->flags & EV_ERROR) != 0) {
		change_failed(kev);
		return;
	}
	if (c != NULL && c->state == DEAD)
		return;
	switch (kev->filter) {
	case EVFILT_READ:
		if (c != NULL)
			client_readable(c);
		else if (listener != -1)
			accept_clients(kev->data);
		break;
	case EVFILT_WRITE:
		client_run(c);
		break;
	case EVFILT_TIMER:
		if (c != NULL)
			client_idle(c);
		else if (pagedir != -1 && kev->ident == (uintptr_t)pagedir)
			page_settled();
		else
			accept_resume();
		break;
	case EVFILT_VNODE:
		page_changed(kev);
		break;
	case EVFILT_SIGNAL:
		stop();
		/* data is how many came since we last looked. */
		if (kev->data > 1)
			stop();
		break;
	}
}

static void
serve(void)
{
	struct kevent events[NEVENTS];
	int i, n;

	while (!stopping || !LIST_EMPTY(&live)) {
		n = kevent(kq, changes, nchanges, events, NEVENTS, NULL);
		if (n == -1 && errno != EINTR)
			err(1, "kevent");
		/* The changes were applied even if a signal cut the wait. */
		nchanges = 0;
		batch++;
		for (i = 0; i < n; i++)
			dispatch(&events[i]);
		client_reap();
	}
}

static void
open_page_file(void)
{
	struct kevent kev;
	const char *slash;
	char *dir;

	slash = strrchr(pagename, '/');
	if (slash == NULL)
		dir = strdup(".");
	else
		dir = strndup(pagename, (size_t)(slash - pagename) + 1);
	if (dir == NULL)
		err(1, NULL);
	pagedir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (pagedir == -1)
		err(1, "%s", dir);
	free(dir);
	EV_SET(&kev, (uintptr_t)pagedir, EVFILT_VNODE, EV_ADD | EV_CLEAR,
	    NOTE_WRITE, 0, NULL);
	if (kevent(kq, &kev, 1, NULL, 0, NULL) == -1)
		err(1, "cannot watch the directory of %s", pagename);
	if (page_load() == -1)
		err(1, "%s", pagename);
}

static void
listen_on(const char *address, const char *port)
{
	struct addrinfo hints, *ai;
	struct sockaddr_storage ss;
	socklen_t len;
	char host[NI_MAXHOST], serv[NI_MAXSERV];
	int error, one = 1;

	memset(&hints, 0, sizeof(hints));
	hints.ai_socktype = SOCK_STREAM;
	hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV;
	if ((error = getaddrinfo(address, port, &hints, &ai)) != 0)
		errx(1, "%s port %s: %s", address, port, gai_strerror(error));
	listener = socket(ai->ai_family, ai->ai_socktype, ai->ai_protocol);
	if (listener == -1)
		err(1, "socket");
	if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one,
	    sizeof(one)) == -1)
		err(1, "SO_REUSEADDR");
	if (bind(listener, ai->ai_addr, ai->ai_addrlen) == -1)
		err(1, "%s port %s", address, port);
	freeaddrinfo(ai);
	if (fcntl(listener, F_SETFL, O_NONBLOCK) == -1)
		err(1, "O_NONBLOCK");
	if (listen(listener, BACKLOG) == -1)
		err(1, "listen");

	len = sizeof(ss);
	if (getsockname(listener, (struct sockaddr *)&ss, &len) == -1)
		err(1, "getsockname");
	error = getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host),
	    serv, sizeof(serv), NI_NUMERICHOST | NI_NUMERICSERV);
	if (error != 0)
		errx(1, "getnameinfo: %s", gai_strerror(error));
	printf("listening on %s port %s\n", host, serv);
	fflush(stdout);
}

static void
open_root(const char *directory)
{
	struct rlimit rl;
	size_t i;

	if (directory == NULL) {
		if ((large = malloc(LARGE + 1)) == NULL)
			err(1, NULL);
		for (i = 0; i < LARGE / LARGE_LINE; i++)
			snprintf(large + i * LARGE_LINE, LARGE_LINE + 1,
			    "%0*zu\n", LARGE_LINE - 1, i);
		return;
	}
	rootdir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rootdir == -1)
		err(1, "%s", directory);
	/* A client can need two descriptors: the socket, and a file. */
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 &&
	    rl.rlim_cur != RLIM_INFINITY)
		maxclients = rl.rlim_cur > SPARE_FILES + 2 ?
		    (size_t)(rl.rlim_cur - SPARE_FILES) / 2 : 1;
}

static long
number(const char *text, long low, long high, const char *what)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value < low ||
	    value > high)
		errx(1, "%s: bad %s", text, what);
	return (value);
}

static void
usage(void)
{
	fprintf(stderr, "usage: httpd [-b address] [-d directory | -f file] "
	    "[-p port] [-t seconds]\n");
	exit(1);
}

int
main(int argc, char **argv)
{
	const char *address = "127.0.0.1", *directory = NULL, *port = "8080";
	struct kevent kev[2];
	int ch;

	while ((ch = getopt(argc, argv, "b:d:f:p:t:")) != -1)
		switch (ch) {
		case 'b':
			address = optarg;
			break;
		case 'd':
			directory = optarg;
			break;
		case 'f':
			pagename = optarg;
			break;
		case 'p':
			(void)number(optarg, 0, 65535, "port");
			port = optarg;
			break;
		case 't':
			idle_ms = 1000 * number(optarg, 1, 86400, "time");
			break;
		default:
			usage();
		}
	if (optind != argc || (directory != NULL && pagename != NULL))
		usage();

	/* The queue counts what is ignored, too. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);

	if ((kq = kqueue()) == -1)
		err(1, "kqueue");
	EV_SET(&kev[0], SIGINT, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
	EV_SET(&kev[1], SIGTERM, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
	if (kevent(kq, kev, 2, NULL, 0, NULL) == -1)
		err(1, "signals");
	if (pagename != NULL)
		open_page_file();
	open_root(directory);
	/* It says that we listen: by then all of the above must work. */
	listen_on(address, port);
	EV_SET(&kev[0], (uintptr_t)listener, EVFILT_READ, EV_ADD, 0, 0, NULL);
	if (kevent(kq, kev, 1, NULL, 0, NULL) == -1)
		err(1, "listener");
	serve();

	client_reap();
	close(kq);
	if (rootdir != -1)
		close(rootdir);
	if (pagedir != -1) {
		close(pagefile);
		close(pagedir);
	}
	page_release(page);
	free(large);
	printf("stopped: %ju clients, %ju requests, %ju bytes, %ju partial "
	    "writes, %ju silent clients, %ju pauses, %ju reloads\n",
	    total.clients, total.requests, total.bytes, total.partial,
	    total.idle, total.pauses, total.reloads);
	return (0);
}
