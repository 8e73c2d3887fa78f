/*
 * Children, made in every way while other threads are in kevent(): they have
 * no queue of their parent's, make their own, hold nothing open across exec,
 * and their end is told once, with their status.
 */
#include "soak.h"

#include <sched.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define CHILDREN 6

struct child {
	struct watch *watch;
	struct arena *arena;
	pid_t pid;
	int pidfd, status;
	bool told;
	sem_t *ended;
};

/* A child may print and end, and little else. */
__attribute__((noreturn)) static void
child_fails(const char *what)
{
	char line[160];
	int n = snprintf(line, sizeof line, "soak: a child: %s (errno %d)\n",
	    what, errno);
	if (write(2, line, (size_t)n) != n)
		_exit(253);
	_exit(254);
}

#define CHILD_CHECK(cond)                                                     \
	do {                                                                  \
		if (!(cond))                                                  \
			child_fails(#cond);                                   \
	} while (0)

static void
child_has_no_queue(void)
{
	static const struct timespec no_wait;
	struct kevent ev;
	unsigned i;
	for (i = 0; i < now.arenas; i++) {
		errno = 0;
		CHILD_CHECK(kevent(arenas[i].kq, NULL, 0, &ev, 1, &no_wait) ==
		    -1 && errno == EBADF);
	}
}

static void
child_makes_queues(struct rng *r)
{
	struct kevent ev;
	int i, queues = 1 + (int)below(r, 3);
	for (i = 0; i < queues; i++) {
		int pfd[2], kq = kqueue();
		CHILD_CHECK(kq >= 0);
		CHILD_CHECK(pipe(pfd) == 0);
		EV_SET(&ev, pfd[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0,
		    &ev);
		CHILD_CHECK(kevent(kq, &ev, 1, NULL, 0, NULL) == 0);
		EV_SET(&ev, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT,
		    NOTE_USECONDS, 100, NULL);
		CHILD_CHECK(kevent(kq, &ev, 1, NULL, 0, NULL) == 0);
		CHILD_CHECK(write(pfd[1], "x", 1) == 1);
		CHILD_CHECK(kevent(kq, NULL, 0, &ev, 1, NULL) == 1);
		if (ev.filter == EVFILT_TIMER)
			CHILD_CHECK(kevent(kq, NULL, 0, &ev, 1, NULL) == 1);
		CHILD_CHECK(ev.filter == EVFILT_READ && ev.data == 1);
		if (one_in(r, 2))
			CHILD_CHECK(close(kq) == 0);
		CHILD_CHECK(close(pfd[0]) == 0 && close(pfd[1]) == 0);
	}
}

/* What of fork() has no handlers: the child must not allocate. */
static pid_t
raw_fork(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

#if defined __GLIBC__ && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 34)
#define bare_fork _Fork
#else
#define bare_fork raw_fork
#endif

static pid_t
spawn(char **argv)
{
	extern char **environ;
	pid_t pid;
	errno = posix_spawn(&pid, own_path, NULL, NULL, argv, environ);
	CHECK(errno == 0);
	return pid;
}

/* A child, and the status that it will have. */
static pid_t
make_child(struct rng *r, int *status)
{
	struct rng of_child = {rng_next(r)};
	int code = (int)below(r, 100), linger = (int)below(r, 20000000);
	char number[24];
	char *argv[] = {own_path, (char *)(one_in(r, 2) ? "--after-exec" :
	    "--exits"), number, NULL};
	pid_t pid;
	bool killed = one_in(r, 4);
	*status = killed ? SIGKILL : code << 8;
	snprintf(number, sizeof number, "%d", code);
	switch (below(r, 6)) {
	case 0:
	case 1:
		doing("forks");
		pid = fork();
		if (pid == 0) {
			child_has_no_queue();
			child_makes_queues(&of_child);
			/* Keeps what it inherited open a while. */
			if (one_in(&of_child, 2))
				pause_ns(linger);
			_exit(code);
		}
		break;
	case 2:
	case 3:
		doing("forks without handlers");
		pid = one_in(r, 2) ? bare_fork() : raw_fork();
		if (pid == 0) {
			child_has_no_queue();
			_exit(code);
		}
		break;
	case 4:
		doing("forks by vfork()");
		pid = vfork();
		if (pid == 0) {
			execv(own_path, argv);
			_exit(252);
		}
		break;
	default:
		doing("spawns");
		pid = spawn(argv);
	}
	CHECK(pid > 0);
	if (killed) {
		doing("kills a child");
		/* It may have ended in its own way before. */
		CHECK(kill(pid, SIGKILL) == 0);
		*status = -code - 1;
	}
	return pid;
}

static void
child_event(struct watch *w, struct arena *a, const struct kevent *ev,
    uint64_t began)
{
	struct child *c = w->more;
	bool by_pid = c->pidfd < 0;
	(void)began;
	CHECK(a == c->arena && ev->filter ==
	    (by_pid ? EVFILT_PROC : EVFILT_PROCDESC));
	CHECK(ev->ident == (uintptr_t)(by_pid ? c->pid : c->pidfd));
	CHECK(ev->fflags & NOTE_EXIT && ev->flags & EV_EOF);
	if (c->told)
		FAIL("the end of %d was told twice", c->pid);
	c->told = true;
	c->status = (int)ev->data;
	CHECK(sem_post(c->ended) == 0);
}

void
family_run(struct worker *me, void *unused)
{
	struct child *children = calloc(CHILDREN, sizeof *children);
	struct rng *r = &me->rng;
	sem_t ended;
	unsigned i;
	(void)unused;
	CHECK(children != NULL);
	CHECK(sem_init(&ended, 0, 0) == 0);
	for (i = 0; i < CHILDREN; i++) {
		children[i].watch = watch_new(child_event, &children[i]);
		children[i].ended = &ended;
	}
	while (!atomic_load(&now.stop)) {
		unsigned count = 1 + below(r, CHILDREN);
		int want[CHILDREN], status;
		for (i = 0; i < count; i++) {
			struct child *c = &children[i];
			struct watch *w = c->watch;
			pid_t pid = make_child(r, &want[i]);
			doing("watches a child");
			pthread_mutex_lock(&w->lock);
			c->arena = &arenas[below(r, now.arenas)];
			c->told = false;
			c->pid = pid;
			c->pidfd = one_in(r, 2) ? -1 :
			    (int)syscall(SYS_pidfd_open, pid, 0);
			watch_begin(w);
			if (c->pidfd < 0)
				change(c->arena->kq, (uintptr_t)pid,
				    EVFILT_PROC, EV_ADD, NOTE_EXIT, 0,
				    watch_udata(w));
			else
				change(c->arena->kq, (uintptr_t)c->pidfd,
				    EVFILT_PROCDESC, EV_ADD, NOTE_EXIT, 0,
				    watch_udata(w));
			pthread_mutex_unlock(&w->lock);
		}
		doing("waits for the end of a child");
		for (i = 0; i < count; i++)
			sem_take(&ended, "the end of a child");
		for (i = 0; i < count; i++) {
			struct child *c = &children[i];
			doing("reaps a child");
			while (waitpid(c->pid, &status, 0) != c->pid)
				CHECK(errno == EINTR);
			if (c->status != status)
				FAIL("status 0x%x was told as 0x%x", status,
				    c->status);
			if (status != want[i] && (want[i] >= 0 ||
			    (status != SIGKILL &&
			    status != (-want[i] - 1) << 8)))
				FAIL("a child ended with status 0x%x, not "
				    "0x%x", status, want[i]);
			pthread_mutex_lock(&c->watch->lock);
			if (c->pidfd >= 0)
				CHECK(close(c->pidfd) == 0);
			watch_end(c->watch, CLOSED, "child");
			pthread_mutex_unlock(&c->watch->lock);
			COUNT(T_CHILDREN, 1);
		}
	}
	CHECK(sem_destroy(&ended) == 0);
	free(children);
}

/* After exec nothing is open but what was before the soak began. */
int
main_after_exec(const char *status)
{
	int fd;
	for (fd = 3; fd < 8192; fd++)
		if (fcntl(fd, F_GETFD) != -1) {
			char path[64], name[128] = "";
			ssize_t n;
			snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
			n = readlink(path, name, sizeof name - 1);
			fprintf(stderr, "soak: open after exec: %d, %s\n", fd,
			    n > 0 ? name : "?");
			return 251;
		}
	return atoi(status);
}

/* Ends while threads are parked, woken, and making changes. */

#define EXITING 4

static int exit_queues[2];

static void *
park_main(void *arg)
{
	struct kevent ev[2];
	for (;;)
		if (kevent(exit_queues[(uintptr_t)arg % 2], NULL, 0, ev, 2,
		    NULL) < 0 && errno != EINTR)
			child_fails("kevent() of a thread that waits");
	return NULL;
}

static void *
stir_main(void *arg)
{
	struct kevent ev;
	uintptr_t i;
	for (i = 0;; i++) {
		EV_SET(&ev, i % 8, EVFILT_USER, EV_ADD | EV_CLEAR,
		    0, 0, NULL);
		kevent(exit_queues[i % 2], &ev, 1, NULL, 0, NULL);
		EV_SET(&ev, i % 8, EVFILT_USER, 0, NOTE_TRIGGER, 0, arg);
		kevent(exit_queues[i % 2], &ev, 1, NULL, 0, NULL);
	}
	return NULL;
}

int
main_exits(const char *seed)
{
	struct rng r = {strtoull(seed, NULL, 10)};
	pthread_t thread;
	uintptr_t i;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (i = 0; i < 2; i++)
		if ((exit_queues[i] = kqueue()) < 0)
			return 250;
	for (i = 0; i < EXITING; i++)
		if (pthread_create(&thread, NULL, i < 3 ? park_main :
		    stir_main, (void *)i) != 0)
			return 249;
	pause_ns(below(&r, 3000000));
	if (one_in(&r, 3))
		_exit(atoi(seed));
	exit(atoi(seed));
}
