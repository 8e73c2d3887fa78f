/*
 * A library that stands before close() as well, behind ours: it counts.
 */
#include <dlfcn.h>
#include <unistd.h>

static int heard;

int closes_heard(void);

int
closes_heard(void)
{
	return heard;
}

int
close(int fd)
{
	int (*next)(int);
	*(void **)&next = dlsym(RTLD_NEXT, "close");
	heard++;
	return next(fd);
}
