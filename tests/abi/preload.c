/*
 * A program whose libkqueue is linked in, or opened at run time (OPENED), or
 * both (BOTH): in each of them a socket that is closed, while a copy of it
 * stays open, is silent at once. 1: it is not.
 *
 * With HOST it opens PLUGIN, which the library is linked into, has it watch
 * something, and closes first the plugin and then what it watches.
 */
#include <sys/event.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
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
	silent &= is_silent(make, change);
#else
	(void)argc;
	(void)argv;
#endif
#ifndef OPENED
	silent &= is_silent(kqueue, kevent);
#endif
	return silent ? 0 : 1;
}

#endif
