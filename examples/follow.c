/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * follow - prints what is appended to files, by their names
 *
 *	follow [-h] [-l seconds] [-n lines] file ...
 *
 * What tail -F does, around one kqueue.  Of each file the last -n lines (10)
 * are printed, then whatever is appended, until SIGINT or SIGTERM.  A name may
 * come to stand for another file (renamed and created anew, as log rotation
 * does), may be gone for a while, or never have been there: what takes its
 * place is printed from its beginning.  A file that became shorter is printed
 * from its beginning, too.
 *
 * A writer goes on with the old file until it opens the new one: so the old
 * one is followed on, until nothing came for -l seconds (60).  What one writer
 * wrote to both is printed in its order.
 *
 * A look in the middle of a write() sees half a line.  It is printed, but other
 * text of its name waits for the rest; for a second, as a writer may have died
 * there.
 *
 * What cannot be seen is lost, as for tail: a file that took the name and lost
 * it again between two looks, what is written to one that 16 newer have had the
 * name of, and what was cut off before it was read; and a file that was cut off
 * and has since grown past where we were passes for one that only grew.
 *
 * What is in the queue:
 *
 *	READ	each open file: true while its size is not where we are
 *	VNODE	each open file: that its name was taken away, that its size
 *		was changed other than by writing
 *	VNODE	each directory that a name is in: that something was made,
 *		removed or renamed there
 *	TIMER	each old file, under its address: closes it after the silence
 *	TIMER	a name, under its address: ends the wait for the rest of a line
 *	TIMER	0: looks at the names now and then while one of them cannot be
 *		watched, for its directory is not there or it is a link
 *	SIGNAL	SIGINT and SIGTERM, which are ignored otherwise
 *
 * A second queue has the signals and WRITE for standard output: who does not
 * read what we print can hold us up, but not keep us from ending.
 *
 * udata is what was opened, or NULL.  What was closed is freed only after all
 * events of the batch were looked at, as a later one may still point to it.
 */

#include <sys/types.h>
#include <sys/event.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define	NEVENTS		64
#define	CHUNK		65536
#define	TURN		(16 * CHUNK)	/* of one file, before others' turn */
#define	MAXOLD		16		/* old files that one name keeps open */
#define	REST_MS		1000		/* for the rest of a line */
#define	LOOK_MS		1000		/* between looks at what is not watched */
#define	PATIENCE	1		/* seconds for our reader, at the end */
#define	PIECE		4096		/* goes into any pipe with room at all */

/* FreeBSD reports a truncation as NOTE_ATTRIB alone. */
#ifndef NOTE_TRUNCATE
#define	NOTE_TRUNCATE	0
#endif

enum kind {
	DIRECTORY,
	CURRENT,			/* what the name stands for */
	OLD,				/* what it stood for */
	DEAD				/* closed */
};

struct name;

/* Something open: the udata of its knotes. */
struct node {
	TAILQ_ENTRY(node) link;		/* of its name, or the dead */
	enum kind	kind;
	int		fd;
	struct name	*name;		/* of a file */
	off_t		pos;
	off_t		limit;		/* of this turn */
	dev_t		dev;
	ino_t		ino;
};

TAILQ_HEAD(nodes, node);

struct directory {
	LIST_ENTRY(directory) link;
	char		*path;
	struct node	*node;		/* NULL: could not be opened */
};

struct name {
	TAILQ_ENTRY(name) link;
	const char	*path;
	struct directory *dir;
	struct nodes	files;		/* the oldest first */
	struct node	*current;	/* the last one, or NULL */
	struct node	*unfinished;	/* ended in mid-line, printed last */
	int		waiting;	/* for its rest: READ of others is off */
	int		overdue;	/* its rest did not come in time */
	int		islink;
	int		trouble;	/* errno of the last open(), or 0 */
};

TAILQ_HEAD(names, name);
LIST_HEAD(directories, directory);

static struct names names = TAILQ_HEAD_INITIALIZER(names);
static struct directories directories = LIST_HEAD_INITIALIZER(directories);
static struct nodes dead = TAILQ_HEAD_INITIALIZER(dead);

static int	kq;
static int	outq = -1;		/* or standard output never blocks */
static int	stopping;
static int	gaveup;			/* our reader has had its time */
static int	looking;		/* timer 0 is set */
static int	headers;
static const struct name *printed;	/* whose header was printed last */
static intptr_t	linger_ms = 60000;

static int
change(int queue, uintptr_t ident, short filter, unsigned short flags,
    unsigned int fflags, intptr_t data, void *udata)
{
	struct kevent kev;

	EV_SET(&kev, ident, filter, flags, fflags, data, udata);
	return (kevent(queue, &kev, 1, NULL, 0, NULL));
}

static struct node *
node_new(enum kind kind, int fd, struct name *name)
{
	struct node *o;

	if ((o = calloc(1, sizeof(*o))) == NULL)
		err(1, NULL);
	o->kind = kind;
	o->fd = fd;
	o->name = name;
	return (o);
}

/* close() takes READ and VNODE along, but no timer. */
static void
node_close(struct node *o)
{
	if (o->kind == OLD)
		(void)change(kq, (uintptr_t)o, EVFILT_TIMER, EV_DELETE, 0, 0,
		    NULL);
	close(o->fd);
	o->kind = DEAD;
	TAILQ_INSERT_TAIL(&dead, o, link);
}

static void
free_dead(void)
{
	struct node *o;

	while ((o = TAILQ_FIRST(&dead)) != NULL) {
		TAILQ_REMOVE(&dead, o, link);
		free(o);
	}
}

/* Waits for room, and returns how much may be written; 0: never any more. */
static size_t
output_room(size_t len)
{
	static const struct timespec patience = { PATIENCE, 0 };
	struct kevent events[3];
	size_t room;
	int i, n;

	/* Pipes of some systems count room that only fits small pieces. */
	if (len > PIECE)
		len = PIECE;
	for (;;) {
		n = kevent(outq, NULL, 0, events, 3,
		    stopping ? &patience : NULL);
		if (n == -1 && errno != EINTR)
			err(1, "kevent");
		if (n == 0)
			return (0);
		room = 0;
		for (i = 0; i < n; i++)
			if (events[i].filter == EVFILT_SIGNAL)
				stopping = 1;
			/* With EV_EOF write() will say what is wrong. */
			else if ((events[i].flags & EV_EOF) != 0 ||
			    events[i].data <= 0)
				room = len;
			else
				room = (size_t)events[i].data;
		if (room > 0)
			return (room < len ? room : len);
	}
}

/* 0, or -1 if it did not all go out because we are to end. */
static int
output(const char *text, size_t len)
{
	size_t room;
	ssize_t n;

	while (len > 0 && !gaveup) {
		room = len;
		if (outq != -1 && (room = output_room(len)) == 0) {
			gaveup = 1;
			break;
		}
		n = write(STDOUT_FILENO, text, room);
		if (n == -1 && errno != EINTR && errno != EAGAIN)
			err(1, "standard output");
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return (gaveup ? -1 : 0);
}

static void
output_header(const struct name *name)
{
	char *text;
	size_t size;

	if (!headers || printed == name)
		return;
	size = strlen(name->path) + sizeof("\n==>  <==\n");
	if ((text = malloc(size)) == NULL)
		err(1, NULL);
	snprintf(text, size, "%s==> %s <==\n", printed == NULL ? "" : "\n",
	    name->path);
	(void)output(text, strlen(text));
	free(text);
	printed = name;
}

/* READ of all that must wait for the rest of a line. */
static void
name_switch_others(struct name *name, unsigned short flags)
{
	struct node *o;

	TAILQ_FOREACH(o, &name->files, link)
		if (o != name->unfinished && change(kq, (uintptr_t)o->fd,
		    EVFILT_READ, flags, 0, 0, o) == -1)
			err(1, "%s", name->path);
}

/* There is something to print behind the half of a line. */
static void
name_wait(struct name *name)
{
	/* Also of what was opened since. */
	name_switch_others(name, EV_DISABLE);
	if (!name->waiting && change(kq, (uintptr_t)name, EVFILT_TIMER,
	    EV_ADD | EV_ONESHOT, 0, REST_MS, name->unfinished) == -1)
		err(1, "timer");
	name->waiting = 1;
}

/* The rest came, or will not. */
static void
name_go_on(struct name *name)
{
	if (name->waiting) {
		/* It may have gone off. */
		(void)change(kq, (uintptr_t)name, EVFILT_TIMER, EV_DELETE, 0, 0,
		    NULL);
		name_switch_others(name, EV_ENABLE);
	}
	name->waiting = 0;
	name->overdue = 0;
}

/* Its name has it no more. */
static void
file_leave(struct node *o)
{
	struct name *name = o->name;

	if (name->current == o)
		name->current = NULL;
	if (name->unfinished == o) {
		name_go_on(name);
		name->unfinished = NULL;
	}
	TAILQ_REMOVE(&name->files, o, link);
}

static void
file_close(struct node *o)
{
	file_leave(o);
	node_close(o);
}

/* The descriptor's offset is what READ compares the size to. */
static void
file_seek(struct node *o, off_t pos)
{
	o->pos = pos;
	if (lseek(o->fd, pos, SEEK_SET) == -1)
		err(1, "%s", o->name->path);
}

static void
file_linger(struct node *o)
{
	if (change(kq, (uintptr_t)o, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0,
	    linger_ms, o) == -1)
		err(1, "timer");
}

/* Prints the file up to its limit: 0, or -1 if we are to end. */
static int
file_print(struct node *o)
{
	static char chunk[CHUNK];
	size_t want;
	ssize_t n;

	while (o->pos < o->limit) {
		want = o->limit - o->pos < CHUNK ?
		    (size_t)(o->limit - o->pos) : CHUNK;
		n = read(o->fd, chunk, want);
		if (n == -1 && errno == EINTR)
			continue;
		/* READ would be true for ever: it is given up. */
		if (n == -1) {
			warn("%s", o->name->path);
			file_close(o);
			return (0);
		}
		/* It became shorter in this moment. */
		if (n == 0)
			break;
		o->pos += n;
		o->name->unfinished = chunk[n - 1] == '\n' ? NULL : o;
		output_header(o->name);
		if (output(chunk, (size_t)n) == -1)
			return (-1);
	}
	return (0);
}

/*
 * Prints the rest of a line that a turn, or a look in the middle of a write(),
 * has cut in two, before another file's: 0, or -1 if we are to end.
 */
static int
name_finish_line(struct name *name)
{
	char piece[PIECE], *end;
	struct node *o;
	ssize_t n;

	while ((o = name->unfinished) != NULL && o->pos < o->limit) {
		n = read(o->fd, piece, o->limit - o->pos < PIECE ?
		    (size_t)(o->limit - o->pos) : PIECE);
		if (n == -1 && errno == EINTR)
			continue;
		/* file_print() will say what is wrong. */
		if (n <= 0)
			break;
		if ((end = memchr(piece, '\n', (size_t)n)) != NULL) {
			n = end - piece + 1;
			name->unfinished = NULL;
		}
		file_seek(o, o->pos + n);
		output_header(name);
		if (output(piece, (size_t)n) == -1)
			return (-1);
	}
	return (0);
}

/* Finds out how far there is something to print. */
static void
file_measure(struct node *o)
{
	struct stat st;

	o->limit = o->pos;
	if (fstat(o->fd, &st) == -1) {
		warn("%s", o->name->path);
		return;
	}
	if (st.st_size < o->pos) {
		warnx("%s: became shorter, is printed from its beginning",
		    o->name->path);
		file_seek(o, 0);
		if (o->name->unfinished == o) {
			name_go_on(o->name);
			o->name->unfinished = NULL;
		}
	}
	o->limit = st.st_size;
}

/*
 * Prints what is new behind a name, the oldest file first.  The sizes are
 * taken in the opposite order: what a writer wrote to an older file before it
 * wrote to a newer one is then counted if the latter is.
 */
static void
name_print(struct name *name)
{
	struct node *next, *o;
	int cut;

	TAILQ_FOREACH_REVERSE(o, &name->files, nodes, link)
		file_measure(o);
	if (name_finish_line(name) == -1)
		return;
	for (o = TAILQ_FIRST(&name->files); o != NULL; o = next) {
		next = TAILQ_NEXT(o, link);
		if (o->pos == o->limit)
			continue;
		if (name->unfinished != NULL && name->unfinished != o &&
		    !name->overdue && !stopping) {
			name_wait(name);
			return;
		}
		name_go_on(name);
		if (o->kind == OLD)
			file_linger(o);
		cut = !stopping && o->limit - o->pos > TURN;
		if (cut)
			o->limit = o->pos + TURN;
		/* After a cut READ is still true: there will be a next turn. */
		if (file_print(o) == -1 || cut)
			return;
	}
	name_go_on(name);
}

/* The name stands for something else, or for nothing. */
static void
name_retire(struct name *name)
{
	struct node *o;
	size_t count;

	if ((o = name->current) == NULL)
		return;
	name->current = NULL;
	o->kind = OLD;
	file_linger(o);
	count = 0;
	TAILQ_FOREACH(o, &name->files, link)
		count++;
	if (count <= MAXOLD)
		return;
	if (name->unfinished != NULL)
		file_measure(name->unfinished);
	o = TAILQ_FIRST(&name->files);
	file_measure(o);
	if (name_finish_line(name) == 0)
		(void)file_print(o);
	if (o->kind != DEAD)
		file_close(o);
}

static int
same_file(const struct node *o, const struct stat *st)
{
	return (o->dev == st->st_dev && o->ino == st->st_ino);
}

/* An old file, of whatever name, that is still open.  As it is, its number
 * cannot have been given to another. */
static struct node *
find_old(const struct stat *st)
{
	struct name *name;
	struct node *o;

	TAILQ_FOREACH(name, &names, link)
		TAILQ_FOREACH(o, &name->files, link)
			if (o->kind == OLD && same_file(o, st))
				return (o);
	return (NULL);
}

/* Opens what has the name now; -1 and errno if there is nothing to follow. */
static int
name_open(const struct name *name, struct stat *st)
{
	int fd, saved;

	/* O_NONBLOCK: a FIFO must not hold us up. */
	fd = open(name->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1)
		return (-1);
	saved = 0;
	if (fstat(fd, st) == -1)
		saved = errno;
	else if (S_ISDIR(st->st_mode))
		saved = EISDIR;
	else if (!S_ISREG(st->st_mode))
		saved = EINVAL;
	if (saved != 0) {
		close(fd);
		errno = saved;
		return (-1);
	}
	return (fd);
}

static void
file_watch(struct node *o)
{
	if (change(kq, (uintptr_t)o->fd, EVFILT_VNODE, EV_ADD | EV_CLEAR,
	    NOTE_DELETE | NOTE_RENAME | NOTE_ATTRIB | NOTE_TRUNCATE |
	    NOTE_REVOKE, 0, o) == -1 ||
	    change(kq, (uintptr_t)o->fd, EVFILT_READ, EV_ADD, 0, 0, o) == -1)
		err(1, "cannot watch %s", o->name->path);
}

/* Where the last lines of a file begin. */
static off_t
last_lines(int fd, off_t size, long lines)
{
	static char chunk[CHUNK];
	off_t start;
	size_t i, want;

	if (lines == 0)
		return (size);
	for (start = size; start > 0;) {
		want = start < CHUNK ? (size_t)start : CHUNK;
		start -= (off_t)want;
		if (pread(fd, chunk, want, start) != (ssize_t)want)
			return (start);
		for (i = want; i > 0; i--)
			/* The newline at the very end begins no line. */
			if (chunk[i - 1] == '\n' &&
			    start + (off_t)i != size && --lines == 0)
				return (start + (off_t)i);
	}
	return (0);
}

/*
 * Follows what has the name now.  It is printed from its last lines; all of it
 * if lines is -1.
 */
static void
name_look(struct name *name, long lines)
{
	struct node *o;
	struct stat st;
	int fd;

	name->islink = lstat(name->path, &st) == 0 && S_ISLNK(st.st_mode);
	if ((fd = name_open(name, &st)) == -1) {
		if (errno != name->trouble)
			warn("%s", name->path);
		name->trouble = errno;
		return;
	}
	o = name->current;
	if (o != NULL && same_file(o, &st)) {
		close(fd);
		name->trouble = 0;
		return;
	}
	if (lines == -1)
		warnx("%s: follows what is there now", name->path);
	name->trouble = 0;
	name_retire(name);
	if ((o = find_old(&st)) != NULL) {
		/* Seen under another name, or put back: goes on from there. */
		close(fd);
		(void)change(kq, (uintptr_t)o, EVFILT_TIMER, EV_DELETE, 0, 0,
		    NULL);
		file_leave(o);
		o->kind = CURRENT;
		o->name = name;
		/* It may have had to wait for another. */
		if (change(kq, (uintptr_t)o->fd, EVFILT_READ, EV_ENABLE, 0, 0,
		    o) == -1)
			err(1, "%s", name->path);
	} else {
		o = node_new(CURRENT, fd, name);
		o->dev = st.st_dev;
		o->ino = st.st_ino;
		file_seek(o, lines == -1 ? 0 :
		    last_lines(fd, st.st_size, lines));
		file_watch(o);
	}
	name->current = o;
	TAILQ_INSERT_TAIL(&name->files, o, link);
}

/* Something happened to the names in a directory. */
static void
directory_look(struct directory *dir)
{
	struct name *name;
	struct stat st;

	/*
	 * First all are given up that are not what they were, then all are
	 * opened: so one whose file now has another of our names is taken
	 * over by that.
	 */
	TAILQ_FOREACH(name, &names, link)
		if (name->dir == dir && name->current != NULL &&
		    (stat(name->path, &st) == -1 ||
		    !same_file(name->current, &st)))
			name_retire(name);
	TAILQ_FOREACH(name, &names, link)
		if (name->dir == dir)
			name_look(name, -1);
}

static void
directory_close(struct directory *dir)
{
	if (dir->node != NULL)
		node_close(dir->node);
	dir->node = NULL;
}

/* Opens and watches it; timer 0 stands in for it if that fails. */
static void
directory_open(struct directory *dir)
{
	int fd;

	fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		return;
	dir->node = node_new(DIRECTORY, fd, NULL);
	if (change(kq, (uintptr_t)fd, EVFILT_VNODE, EV_ADD | EV_CLEAR,
	    NOTE_WRITE | NOTE_DELETE | NOTE_RENAME | NOTE_REVOKE, 0,
	    dir->node) == -1) {
		warn("cannot watch %s", dir->path);
		directory_close(dir);
	}
}

static struct directory *
directory_of(const char *path)
{
	struct directory *dir;
	const char *slash;
	char *text;

	slash = strrchr(path, '/');
	if (slash == NULL)
		text = strdup(".");
	else
		text = strndup(path, (size_t)(slash - path) + 1);
	if (text == NULL)
		err(1, NULL);
	LIST_FOREACH(dir, &directories, link)
		if (strcmp(dir->path, text) == 0) {
			free(text);
			return (dir);
		}
	if ((dir = calloc(1, sizeof(*dir))) == NULL)
		err(1, NULL);
	dir->path = text;
	LIST_INSERT_HEAD(&directories, dir, link);
	directory_open(dir);
	return (dir);
}

static void
name_add(const char *path)
{
	struct name *name;

	if ((name = calloc(1, sizeof(*name))) == NULL)
		err(1, NULL);
	name->path = path;
	TAILQ_INIT(&name->files);
	/* The directory first: what happens once we have looked is told. */
	name->dir = directory_of(path);
	TAILQ_INSERT_TAIL(&names, name, link);
}

/* Sets timer 0 while there is a name of which nothing would be told. */
static void
set_looking(void)
{
	struct name *name;
	int needed;

	needed = 0;
	TAILQ_FOREACH(name, &names, link)
		if (name->dir->node == NULL || name->islink ||
		    (name->trouble != 0 && name->trouble != ENOENT))
			needed = 1;
	if (needed == looking)
		return;
	looking = needed;
	if (change(kq, 0, EVFILT_TIMER, needed ? EV_ADD : EV_DELETE, 0,
	    LOOK_MS, NULL) == -1)
		err(1, "timer");
}

static void
look_around(void)
{
	struct directory *dir;

	LIST_FOREACH(dir, &directories, link) {
		if (dir->node == NULL)
			directory_open(dir);
		directory_look(dir);
	}
}

static void
directory_event(struct node *node, const struct kevent *kev)
{
	struct directory *dir;

	LIST_FOREACH(dir, &directories, link)
		if (dir->node == node)
			break;
	if (dir == NULL)
		return;
	if ((kev->flags & EV_EOF) != 0 || (kev->fflags &
	    (NOTE_DELETE | NOTE_RENAME | NOTE_REVOKE)) != 0) {
		/* Another may have its path by now. */
		directory_close(dir);
		directory_open(dir);
	}
	directory_look(dir);
}

static void
file_event(struct node *o, const struct kevent *kev)
{
	struct name *name = o->name;

	if (kev->filter == EVFILT_TIMER && kev->ident == (uintptr_t)name) {
		name->overdue = name->waiting;
	} else if (kev->filter == EVFILT_TIMER) {
		if (o->kind != OLD)
			return;
		file_measure(o);
		if (o->pos == o->limit) {
			file_close(o);
			return;
		}
		file_linger(o);
	}
	name_print(name);
	/* Revoked, or its file system is gone. */
	if ((kev->flags & EV_EOF) != 0 && o->kind != DEAD)
		file_close(o);
	if ((kev->flags & EV_EOF) != 0 || (kev->filter == EVFILT_VNODE &&
	    (kev->fflags & (NOTE_DELETE | NOTE_RENAME)) != 0))
		directory_look(name->dir);
}

static void
dispatch(const struct kevent *kev)
{
	struct node *o = kev->udata;

	if ((kev->flags & EV_ERROR) != 0)
		errx(1, "filter %d: %s", (int)kev->filter,
		    strerror((int)kev->data));
	if (kev->filter == EVFILT_SIGNAL)
		stopping = 1;
	else if (o == NULL)
		look_around();
	else if (o->kind == DIRECTORY)
		directory_event(o, kev);
	else if (o->kind != DEAD)
		file_event(o, kev);
}

static void
follow(void)
{
	struct kevent events[NEVENTS];
	struct name *name;
	int i, n;

	while (!stopping) {
		set_looking();
		n = kevent(kq, NULL, 0, events, NEVENTS, NULL);
		if (n == -1 && errno != EINTR)
			err(1, "kevent");
		for (i = 0; i < n && !stopping; i++)
			dispatch(&events[i]);
		free_dead();
	}
	/* What happened before the signal still belongs to it. */
	look_around();
	TAILQ_FOREACH(name, &names, link)
		name_print(name);
}

static void
watch_signals(int queue)
{
	if (change(queue, SIGINT, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL) == -1 ||
	    change(queue, SIGTERM, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL) == -1)
		err(1, "signals");
}

static void
open_queues(void)
{
	struct stat st;

	/* The queues count what is ignored, too. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	if ((kq = kqueue()) == -1)
		err(1, "kqueue");
	watch_signals(kq);

	if (fstat(STDOUT_FILENO, &st) == -1)
		err(1, "standard output");
	/* Only what has a reader can make us wait. */
	if (!S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode) &&
	    !isatty(STDOUT_FILENO))
		return;
	if ((outq = kqueue()) == -1)
		err(1, "kqueue");
	watch_signals(outq);
	if (change(outq, STDOUT_FILENO, EVFILT_WRITE, EV_ADD, 0, 0,
	    NULL) == -1)
		err(1, "standard output");
}

static void
close_all(void)
{
	struct directory *dir;
	struct name *name;

	while ((name = TAILQ_FIRST(&names)) != NULL) {
		TAILQ_REMOVE(&names, name, link);
		while (!TAILQ_EMPTY(&name->files))
			file_close(TAILQ_FIRST(&name->files));
		free(name);
	}
	while ((dir = LIST_FIRST(&directories)) != NULL) {
		LIST_REMOVE(dir, link);
		directory_close(dir);
		free(dir->path);
		free(dir);
	}
	free_dead();
	close(kq);
	if (outq != -1)
		close(outq);
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
usage(FILE *file)
{
	fprintf(file, "usage: follow [-h] [-l seconds] [-n lines] "
	    "file ...\n");
}

int
main(int argc, char **argv)
{
	struct name *name;
	long lines = 10;
	int ch;

	while ((ch = getopt(argc, argv, "hl:n:")) != -1)
		switch (ch) {
		case 'h':
			usage(stdout);
			return (0);
		case 'l':
			linger_ms = 1000 * number(optarg, 1, 86400, "time");
			break;
		case 'n':
			lines = number(optarg, 0, 1000000000, "number");
			break;
		default:
			usage(stderr);
			return (1);
		}
	if (optind == argc) {
		usage(stderr);
		return (1);
	}
	headers = argc - optind > 1;

	open_queues();
	for (; optind < argc; optind++)
		name_add(argv[optind]);
	TAILQ_FOREACH(name, &names, link) {
		name_look(name, lines);
		name_print(name);
	}
	follow();
	close_all();
	return (0);
}
