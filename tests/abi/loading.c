/*
 * No call waits for the dynamic loader: a plugin, built with -DPLUGIN, whose
 * constructor waits for a thread that uses a queue, and what opens it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/event.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void
check(int good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "%s: errno %d\n", what, errno);
	_exit(1);
}

#ifdef PLUGIN

static void
add(int kq, int ident, int filter, unsigned fflags)
{
	struct kevent k;
	EV_SET(&k, (uintptr_t)ident, (short)filter, EV_ADD, fflags, 100000,
	    NULL);
	check(kevent(kq, &k, 1, NULL, 0, NULL) == 0, "kevent: a change");
}

static void *
use_queues(void *arg)
{
	struct timespec short_wait = {0, 300000}, longer = {0, 2300000};
	struct kevent k;
	int kq = kqueue(), fds[2];
	pid_t child;
	check(kq >= 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0,
	    "kqueue");
	add(kq, fds[0], EVFILT_READ, 0);
	check(kevent(kq, NULL, 0, &k, 1, &short_wait) == 0, "a short wait");
	check(kevent(kq, NULL, 0, &k, 1, &longer) == 0, "a longer wait");
	add(kq, fds[0], EVFILT_EXCEPT, NOTE_OOB);
	add(kq, 1, EVFILT_TIMER, 0);
	add(kq, 1, EVFILT_USER, 0);
	add(kq, 0, EVFILT_FS, 0);
	add(kq, SIGUSR1, EVFILT_SIGNAL, 0);
	add(kq, getppid(), EVFILT_PROC, NOTE_EXIT);
	check(kevent(kq, NULL, 0, &k, 1, &short_wait) == 0, "all filters");
	check(write(fds[1], "x", 1) == 1, "write");
	check(kevent(kq, NULL, 0, &k, 1, NULL) == 1, "an event");
	/* The child has a first queue, too. */
	child = fork();
	if (child == 0) {
		kq = kqueue();
		check(kq >= 0, "kqueue in a child");
		check(kevent(kq, NULL, 0, &k, 1, &short_wait) == 0, "a wait");
		_exit(0);
	}
	check(waitpid(child, (int *)arg, 0) == child, "waitpid");
	check(close(fds[0]) == 0 && close(fds[1]) == 0 && close(kq) == 0,
	    "close");
	return NULL;
}

__attribute__((constructor)) static void
wait_for_a_thread(void)
{
	pthread_t thread;
	int status = -1;
	check(pthread_create(&thread, NULL, use_queues, &status) == 0,
	    "pthread_create");
	check(pthread_join(thread, NULL) == 0, "pthread_join");
	check(status == 0, "the child");
}

#else

int
main(int argc, char **argv)
{
	void *plugin;
	check(dlerror() == NULL, "a message from the start");
	plugin = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
	check(plugin != NULL, "dlopen");
	check(dlerror() == NULL, "a message from the plugin");
	return 0;
}

#endif
