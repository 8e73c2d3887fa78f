/*
 * A program whose libkqueue is linked in, or opened at run time (OPENED), or
 * both (BOTH): in each of them a socket that is closed, while a copy of it
 * stays open, is silent at once, and a signal is counted after its handler was
 * set anew. 1: it is not.
 *
 * With HOST it opens PLUGIN, which the library is linked into, has it watch
 * something, and closes first the plugin and then what it watches.
 *
 * With COPIES it opens as many copies of the library as it is given; with HEARD
 * a library that counts closes is behind the preload library.
 */
#include <sys/event.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

typedef int kqueue_fn(void);
typedef int kevent_fn(int, const struct kevent *, int, struct kevent *, int,
    const struct timespec *);

static void
check(int holds, const char *what)
{
	if (!holds) {
		fprintf(stderr, "%s\n", what);
		exit(2);
	}
}

__attribute__((unused)) static int
is_silent(kqueue_fn *make, kevent_fn *change)
{
	struct kevent k;
	struct pollfd p;
	int fds[2], other, silent;
	check(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
	p.fd = make();
	p.events = POLLIN;
	check(p.fd >= 0, "kqueue");
	EV_SET(&k, fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	check(change(p.fd, &k, 1, NULL, 0, NULL) == 0, "kevent");
	other = dup(fds[0]);
	check(write(fds[1], "", 1) == 1, "write");
	check(poll(&p, 1, 0) == 1, "poll");
	check(close(fds[0]) == 0, "close");
	silent = poll(&p, 1, 0) == 0;
	close(p.fd);
	close(fds[1]);
	close(other);
	return silent;
}

static void
ignore_it(int sig)
{
	(void)sig;
}

/* How often a queue says that a signal has come. */
__attribute__((unused)) static long
times(kevent_fn *wait, int kq)
{
	struct timespec none = {0, 0};
	struct kevent k;
	return wait(kq, NULL, 0, &k, 1, &none) == 1 ? (long)k.data : 0;
}

__attribute__((unused)) static int
watch_signal(kqueue_fn *make, kevent_fn *change, int sig)
{
	struct kevent k;
	int kq = make();
	check(kq >= 0, "kqueue");
	EV_SET(&k, sig, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
	check(change(kq, &k, 1, NULL, 0, NULL) == 0, "kevent");
	return kq;
}

__attribute__((unused)) static int
is_counted(kqueue_fn *make, kevent_fn *change, int sig)
{
	int kq = watch_signal(make, change, sig), counted;
	check(signal(sig, ignore_it) != SIG_ERR, "signal");
	check(raise(sig) == 0, "raise");
	counted = times(change, kq) == 1;
	check(close(kq) == 0, "close");
	return counted;
}

#ifdef PLUGIN

/* A watched descriptor; its queue stays open. */
int
watch_something(void)
{
	struct kevent k;
	int kq = kqueue(), fds[2];
	check(kq >= 0 && pipe(fds) == 0, "kqueue");
	EV_SET(&k, fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	check(kevent(kq, &k, 1, NULL, 0, NULL) == 0, "kevent");
	return fds[0];
}

#elif defined HOST

int
main(int argc, char **argv)
{
	void *plugin = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
	kqueue_fn *watch;
	int fd;
	check(plugin != NULL, "dlopen");
	*(void **)&watch = dlsym(plugin, "watch_something");
	check(watch != NULL, "dlsym");
	fd = watch();
	check(dlclose(plugin) == 0, "dlclose");
	return close(fd) == 0 ? 0 : 1;
}

#elif defined HEARD

int
main(void)
{
	int (*heard)(void), kq = kqueue(), fds[2], before;
	struct kevent k;
	*(void **)&heard = dlsym(RTLD_DEFAULT, "closes_heard");
	check(heard != NULL, "dlsym");
	check(kq >= 0 && pipe(fds) == 0, "kqueue");
	EV_SET(&k, fds[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
	check(kevent(kq, &k, 1, NULL, 0, NULL) == 0, "kevent");
	before = heard();
	check(close(fds[0]) == 0, "close a watched one");
	check(close(fds[1]) == 0, "close another one");
	check(close(kq) == 0, "close a queue");
	return heard() == before + 3 ? 0 : 1;
}

#elif defined COPIES

/* As many as are served, and one more, which does without. */
int
main(int argc, char **argv)
{
	kqueue_fn *make[COPIES + 1];
	kevent_fn *change[COPIES + 1];
	struct sigaction there;
	int i, kq[2], served = 0;
	check(argc == COPIES + 2, "usage: preload LIBRARY...");
	for (i = 0; i <= COPIES; i++) {
		void *library = dlopen(argv[i + 1], RTLD_NOW | RTLD_LOCAL);
		check(library != NULL, "dlopen");
		*(void **)&make[i] = dlsym(library, "kqueue");
		*(void **)&change[i] = dlsym(library, "kevent");
		check(make[i] != NULL && change[i] != NULL, "dlsym");
		if (is_silent(make[i], change[i]) &&
		    is_counted(make[i], change[i], SIGRTMIN + i)) {
			check(i < COPIES, "it is one too many");
			served++;
		}
	}
	/* Of two that watch the same, neither shows what the program set. */
	check(signal(SIGUSR1, ignore_it) != SIG_ERR, "signal");
	for (i = 0; i < 2; i++)
		kq[i] = watch_signal(make[i], change[i], SIGUSR1);
	check(sigaction(SIGUSR1, NULL, &there) == 0, "sigaction");
	check(there.sa_handler != ignore_it, "it is shown after all");
	/* A handler that is set takes a hook away, until the next wait. */
	check(signal(SIGUSR1, ignore_it) != SIG_ERR, "signal");
	check(raise(SIGUSR1) == 0, "raise");
	check(times(change[0], kq[0]) + times(change[1], kq[1]) == 1, "one");
	check(raise(SIGUSR1) == 0, "raise");
	for (i = 0; i < 2; i++)
		check(times(change[i], kq[i]) == 1, "both");
	return served == COPIES ? 0 : 1;
}

#else

int
main(int argc, char **argv)
{
	int silent = 1;
#if defined OPENED || defined BOTH
	void *library;
	kqueue_fn *make;
	kevent_fn *change;
	check(argc == 2, "usage: preload LIBRARY");
	library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	check(library != NULL, "dlopen");
	*(void **)&make = dlsym(library, "kqueue");
	*(void **)&change = dlsym(library, "kevent");
	check(make != NULL && change != NULL, "dlsym");
	silent &= is_silent(make, change) && is_counted(make, change, SIGUSR1);
#else
	(void)argc;
	(void)argv;
#endif
#ifndef OPENED
	silent &= is_silent(kqueue, kevent) &&
	    is_counted(kqueue, kevent, SIGUSR2);
#endif
	return silent ? 0 : 1;
}

#endif
