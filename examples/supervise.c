/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * supervise - keeps programs running, around one kqueue
 *
 *	supervise [-b ms] [-g ms] [-m ms] [-r ms] file
 *
 * The file has a line for each service: a name, blanks, and a command for
 * sh(1).  Empty lines and lines that begin with '#' mean nothing.  Every
 * service is started and, whenever it ends, started again: after -b
 * milliseconds (500), and after twice the last time, up to -m (60000), if it
 * ended without having run for -r (10000).
 *
 * SIGHUP reads the file again: new services are started, those that are gone
 * are stopped, those with another command are replaced, the rest is left
 * alone.  A file that cannot be understood changes nothing.  SIGTERM or SIGINT
 * stops everything: a service that is still there -g milliseconds (5000) after
 * its SIGTERM is killed.  A second one does not wait for that.
 *
 * A service is a process group of its own.  What its first process leaves
 * behind in the group is killed when that process ends.
 *
 * What is in the queue:
 *
 *	SIGNAL	SIGHUP, SIGINT and SIGTERM, all of them ignored otherwise
 *	PROC	each running service: NOTE_EXIT
 *	TIMER	each service, under its address: when to start it again, or
 *		when to kill it
 *
 * udata is the service, or NULL.  A service that is finished is freed only
 * after all events of the batch were looked at, as a later one may still
 * point to it.
 */

#include <sys/types.h>
#include <sys/event.h>
#include <sys/queue.h>
#include <sys/wait.h>

#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define	NEVENTS		16
#define	DAY_MS		86400000L

/* Without it macOS does not tell the status.  The others always do. */
#ifndef NOTE_EXITSTATUS
#define	NOTE_EXITSTATUS	0
#endif

enum state {
	WAITING,			/* no process; its timer starts it */
	RUNNING,
	STOPPING,			/* told to end; its timer kills it */
	DEAD				/* off the list, until the batch ends */
};

struct service {
	TAILQ_ENTRY(service) link;
	enum state	state;
	int		wanted;		/* the file has it, we are not ending */
	char		*name;
	char		*command;
	pid_t		pid;
	intptr_t	delay;		/* before the next start, in ms */
	struct timespec	started;
};

TAILQ_HEAD(services, service);

static struct services live = TAILQ_HEAD_INITIALIZER(live);
static struct services dead = TAILQ_HEAD_INITIALIZER(dead);

static int	kq;
static int	stopping;
static const char *config;
static intptr_t	backoff_ms = 500;
static intptr_t	backoff_max_ms = 60000;
static intptr_t	settled_ms = 10000;
static intptr_t	grace_ms = 5000;

static void	service_start(struct service *);

/* A line of the log. */
#if defined(__GNUC__)
__attribute__((__format__(__printf__, 2, 3)))
#endif
static void
say(const struct service *s, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (s == NULL)
		fprintf(stderr, "supervise: %s\n", text);
	else if (s->pid == 0)
		fprintf(stderr, "supervise: %s: %s\n", s->name, text);
	else
		fprintf(stderr, "supervise: %s[%ld]: %s\n", s->name,
		    (long)s->pid, text);
}

static void
say_status(const struct service *s, int status)
{
	if (WIFEXITED(status))
		say(s, "exited with status %d", WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		say(s, "ended by signal %d (%s)", WTERMSIG(status),
		    strsignal(WTERMSIG(status)));
	else
		say(s, "ended with wait status %#x", (unsigned)status);
}

/* One change, applied at once: 0 or what was wrong. */
static int
change(uintptr_t ident, short filter, unsigned short flags,
    unsigned int fflags, intptr_t data, void *udata)
{
	struct kevent kev;

	EV_SET(&kev, ident, filter, flags, fflags, data, udata);
	return (kevent(kq, &kev, 1, NULL, 0, NULL) == -1 ? errno : 0);
}

/* Sets the service's only timer.  EV_ADD sets it anew if it is running. */
static void
timer_set(struct service *s, intptr_t ms)
{
	int error;

	error = change((uintptr_t)s, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0,
	    ms, s);
	if (error != 0)
		errx(1, "timer: %s", strerror(error));
}

static void
timer_clear(struct service *s)
{
	/* ENOENT: it has gone off, or was never set. */
	(void)change((uintptr_t)s, EVFILT_TIMER, EV_DELETE, 0, 0, NULL);
}

static struct service *
service_new(const char *name, const char *command)
{
	struct service *s;

	if ((s = calloc(1, sizeof(*s))) == NULL ||
	    (s->name = strdup(name)) == NULL ||
	    (s->command = strdup(command)) == NULL)
		err(1, NULL);
	s->state = WAITING;
	s->wanted = 1;
	return (s);
}

static void
service_free(struct service *s)
{
	free(s->name);
	free(s->command);
	free(s);
}

static void
service_bury(struct service *s)
{
	s->state = DEAD;
	TAILQ_REMOVE(&live, s, link);
	TAILQ_INSERT_TAIL(&dead, s, link);
}

static struct service *
service_find(const struct services *list, const char *name)
{
	struct service *s;

	TAILQ_FOREACH(s, list, link)
		if (strcmp(s->name, name) == 0)
			return (s);
	return (NULL);
}

static void
service_signal(const struct service *s, int sig)
{
	/* The group has the number of its first process, which is not reaped
	 * yet: the number cannot be anyone else's. */
	if (kill(-s->pid, sig) == -1 && errno != ESRCH && errno != EPERM)
		say(s, "kill: %s", strerror(errno));
}

static intptr_t
milliseconds_since(const struct timespec *then)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now) == -1)
		err(1, "clock_gettime");
	return ((intptr_t)(now.tv_sec - then->tv_sec) * 1000 +
	    (intptr_t)(now.tv_nsec - then->tv_nsec) / 1000000);
}

/* Twice the last time, unless it had settled. */
static void
service_retry(struct service *s, int settled)
{
	if (settled || s->delay == 0)
		s->delay = backoff_ms;
	else if (s->delay < backoff_max_ms / 2)
		s->delay *= 2;
	else
		s->delay = backoff_max_ms;
	s->state = WAITING;
	say(s, "starts again in %jd ms", (intmax_t)s->delay);
	timer_set(s, s->delay);
}

/*
 * Its process has ended: reap it, and see what is to become of it.  kev is the
 * event that told so, or NULL.
 */
static void
service_ended(struct service *s, const struct kevent *kev)
{
	int settled, status;

	/* Nothing of the group is to outlive its first process. */
	service_signal(s, SIGKILL);
	/*
	 * kevent() told of the end but reaps nothing.  Some kernels tell a
	 * moment before there is a zombie: so wait for it.
	 */
	while (waitpid(s->pid, &status, 0) == -1)
		if (errno != EINTR)
			err(1, "waitpid");
	say_status(s, status);
	if (kev != NULL && (int)kev->data != status)
		say(s, "but kevent() said %#jx", (uintmax_t)kev->data);
	s->pid = 0;
	settled = milliseconds_since(&s->started) >= settled_ms;
	if (!s->wanted) {
		timer_clear(s);
		service_bury(s);
	} else if (s->state == STOPPING) {
		/* The file took it back, or has another command for it. */
		timer_clear(s);
		s->delay = 0;
		service_start(s);
	} else
		service_retry(s, settled);
}

/* In the child: becomes the service.  Returns only with an errno. */
static int
service_exec(const struct service *s)
{
	sigset_t none;
	int fd, sig;

	if (setpgid(0, 0) == -1)
		return (errno);
	/* What is ignored would stay so, whoever it was that ignored it. */
	for (sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_DFL);
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) == -1 ||
	    (fd = open("/dev/null", O_RDONLY)) == -1)
		return (errno);
	if (fd != STDIN_FILENO) {
		if (dup2(fd, STDIN_FILENO) == -1)
			return (errno);
		close(fd);
	}
	execl("/bin/sh", "sh", "-c", s->command, (char *)NULL);
	return (errno);
}

/*
 * Forks, and returns when the child is the service: it has its own group then,
 * and takes signals as they come.  The pipe is closed by that exec, or brings
 * the errno of what went wrong.
 */
static int
service_fork(struct service *s)
{
	int error, gate[2];
	ssize_t n;

	if (pipe(gate) == -1)
		return (errno);
	if (fcntl(gate[1], F_SETFD, FD_CLOEXEC) == -1 ||
	    (s->pid = fork()) == -1) {
		error = errno;
		close(gate[0]);
		close(gate[1]);
		s->pid = 0;
		return (error);
	}
	if (s->pid == 0) {
		close(gate[0]);
		error = service_exec(s);
		n = write(gate[1], &error, sizeof(error));
		_exit(n == -1 ? 126 : 127);
	}
	close(gate[1]);
	do
		n = read(gate[0], &error, sizeof(error));
	while (n == -1 && errno == EINTR);
	close(gate[0]);
	return (n == (ssize_t)sizeof(error) ? error : 0);
}

static void
service_start(struct service *s)
{
	int error;

	if (clock_gettime(CLOCK_MONOTONIC, &s->started) == -1)
		err(1, "clock_gettime");
	s->state = RUNNING;
	if ((error = service_fork(s)) != 0) {
		say(s, "cannot start: %s", strerror(error));
		if (s->pid == 0)
			service_retry(s, 0);
		else
			service_ended(s, NULL);
		return;
	}
	say(s, "started");
	error = change((uintptr_t)s->pid, EVFILT_PROC, EV_ADD,
	    NOTE_EXIT | NOTE_EXITSTATUS, 0, s);
	if (error == 0)
		return;
	/* Some kernels refuse to watch what has ended already. */
	if (error != ESRCH)
		say(s, "cannot watch: %s", strerror(error));
	service_signal(s, SIGKILL);
	service_ended(s, NULL);
}

/* It is wanted no more, or not as it runs now. */
static void
service_stop(struct service *s)
{
	switch (s->state) {
	case WAITING:
		timer_clear(s);
		if (s->wanted)
			service_start(s);
		else {
			say(s, "stopped");
			service_bury(s);
		}
		break;
	case RUNNING:
		say(s, "stopping");
		s->state = STOPPING;
		service_signal(s, SIGTERM);
		/* A process that is stopped would not see it. */
		service_signal(s, SIGCONT);
		timer_set(s, grace_ms);
		break;
	case STOPPING:
	case DEAD:
		/* Nothing more can be asked of it. */
		break;
	}
}

static void
service_timer(struct service *s)
{
	switch (s->state) {
	case WAITING:
		service_start(s);
		break;
	case STOPPING:
		say(s, "killed, as it did not stop");
		service_signal(s, SIGKILL);
		break;
	case RUNNING:
	case DEAD:
		/* Went off in the very batch in which it was cleared. */
		break;
	}
}

/* Takes a line apart: 1 if there is a service in it, 0 if not, -1 if bad. */
static int
config_line(char *line, char **name, char **command)
{
	char *end;

	while (isspace((unsigned char)*line))
		line++;
	if (*line == '\0' || *line == '#')
		return (0);
	end = line + strlen(line);
	while (isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	*name = line;
	while (*line != '\0' && !isspace((unsigned char)*line))
		line++;
	if (*line == '\0')
		return (-1);
	*line++ = '\0';
	while (isspace((unsigned char)*line))
		line++;
	*command = line;
	return (1);
}

static void
config_forget(struct services *list)
{
	struct service *s;

	while ((s = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, s, link);
		service_free(s);
	}
}

/* Reads the file into a list: 0, or -1 with nothing in it. */
static int
config_read(struct services *list)
{
	struct service *s;
	FILE *file;
	char *command, *line, *name;
	size_t number, size;
	int bad, found;

	if ((file = fopen(config, "r")) == NULL) {
		say(NULL, "%s: %s", config, strerror(errno));
		return (-1);
	}
	line = NULL;
	size = number = 0;
	bad = 0;
	while (!bad && getline(&line, &size, file) != -1) {
		number++;
		if ((found = config_line(line, &name, &command)) == 0)
			continue;
		if (found == -1) {
			say(NULL, "%s:%zu: no command", config, number);
			bad = 1;
		} else if (service_find(list, name) != NULL) {
			say(NULL, "%s:%zu: %s again", config, number, name);
			bad = 1;
		} else {
			s = service_new(name, command);
			TAILQ_INSERT_TAIL(list, s, link);
		}
	}
	if (!bad && ferror(file)) {
		say(NULL, "%s: %s", config, strerror(errno));
		bad = 1;
	}
	free(line);
	fclose(file);
	if (bad)
		config_forget(list);
	return (bad ? -1 : 0);
}

/* Makes what runs into what the file says. */
static int
config_apply(void)
{
	struct services list = TAILQ_HEAD_INITIALIZER(list);
	struct service *next, *old, *s;
	char *command;

	if (config_read(&list) == -1)
		return (-1);
	for (old = TAILQ_FIRST(&live); old != NULL; old = next) {
		next = TAILQ_NEXT(old, link);
		if ((s = service_find(&list, old->name)) == NULL) {
			old->wanted = 0;
			service_stop(old);
			continue;
		}
		TAILQ_REMOVE(&list, s, link);
		/* One that is stopping already may be taken back. */
		old->wanted = 1;
		command = old->command;
		old->command = s->command;
		s->command = command;
		if (strcmp(old->command, s->command) != 0) {
			old->delay = 0;
			service_stop(old);
		}
		service_free(s);
	}
	while ((s = TAILQ_FIRST(&list)) != NULL) {
		TAILQ_REMOVE(&list, s, link);
		TAILQ_INSERT_TAIL(&live, s, link);
		service_start(s);
	}
	return (0);
}

/* The first time asks everything to end, the second does not ask. */
static void
stop(void)
{
	struct service *next, *s;

	for (s = TAILQ_FIRST(&live); s != NULL; s = next) {
		next = TAILQ_NEXT(s, link);
		s->wanted = 0;
		if (stopping && s->state == STOPPING)
			service_signal(s, SIGKILL);
		else
			service_stop(s);
	}
	stopping = 1;
}

static void
dispatch(const struct kevent *kev)
{
	struct service *s = kev->udata;

	if ((kev->flags & EV_ERROR) != 0)
		errx(1, "filter %d: %s", (int)kev->filter,
		    strerror((int)kev->data));
	switch (kev->filter) {
	case EVFILT_PROC:
		/* It is reaped here alone, so it can only be this process. */
		if ((kev->fflags & NOTE_EXIT) != 0 && s->state != DEAD &&
		    (pid_t)kev->ident == s->pid)
			service_ended(s, kev);
		break;
	case EVFILT_TIMER:
		service_timer(s);
		break;
	case EVFILT_SIGNAL:
		if (kev->ident != SIGHUP) {
			say(NULL, "stopping");
			stop();
			/* data is how many came since we last looked. */
			if (kev->data > 1)
				stop();
		} else if (!stopping && config_apply() == 0)
			say(NULL, "read %s again", config);
		break;
	}
}

static void
supervise(void)
{
	struct kevent events[NEVENTS];
	int i, n;

	while (!stopping || !TAILQ_EMPTY(&live)) {
		n = kevent(kq, NULL, 0, events, NEVENTS, NULL);
		if (n == -1 && errno != EINTR)
			err(1, "kevent");
		for (i = 0; i < n; i++)
			dispatch(&events[i]);
		config_forget(&dead);
	}
}

static intptr_t
number(const char *text, const char *what)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value < 1 ||
	    value > DAY_MS)
		errx(1, "%s: bad %s", text, what);
	return ((intptr_t)value);
}

static void
usage(void)
{
	fprintf(stderr, "usage: supervise [-b ms] [-g ms] [-m ms] [-r ms] "
	    "file\n");
	exit(1);
}

int
main(int argc, char **argv)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGTERM };
	size_t i;
	int ch, error;

	while ((ch = getopt(argc, argv, "b:g:m:r:")) != -1)
		switch (ch) {
		case 'b':
			backoff_ms = number(optarg, "back-off");
			break;
		case 'g':
			grace_ms = number(optarg, "grace");
			break;
		case 'm':
			backoff_max_ms = number(optarg, "longest back-off");
			break;
		case 'r':
			settled_ms = number(optarg, "time to settle");
			break;
		default:
			usage();
		}
	if (optind != argc - 1)
		usage();
	config = argv[optind];
	if (backoff_max_ms < backoff_ms)
		backoff_max_ms = backoff_ms;

	/* A line at a time, also where the services write to. */
	setvbuf(stderr, NULL, _IOLBF, 0);
	if ((kq = kqueue()) == -1)
		err(1, "kqueue");
	/* An inherited SIG_IGN would reap our children for us. */
	signal(SIGCHLD, SIG_DFL);
	/* A log that nobody reads is no reason to leave the services alone. */
	signal(SIGPIPE, SIG_IGN);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		/* An ignored signal is counted by the queue all the same. */
		signal(signals[i], SIG_IGN);
		error = change((uintptr_t)signals[i], EVFILT_SIGNAL, EV_ADD,
		    0, 0, NULL);
		if (error != 0)
			errx(1, "signal %d: %s", signals[i], strerror(error));
	}
	if (config_apply() == -1)
		return (1);
	supervise();
	close(kq);
	say(NULL, "stopped");
	return (0);
}
