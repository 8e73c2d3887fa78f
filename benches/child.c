/* A case's child process: see child.h. */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "child.h"

struct library lib;
const struct bench *bench;
struct result result;
int result_fd = -1;

_Noreturn void
send_result(void)
{
	ssize_t n = write(result_fd, &result, sizeof result);
	_exit(n == (ssize_t)sizeof result && result.done ? 0 : 1);
}

void
fail_at(const char *file, int line, const char *fmt, ...)
{
	va_list args;
	const char *slash = strrchr(file, '/');
	int used = snprintf(result.error, sizeof result.error, "%s:%d: ",
	    slash != NULL ? slash + 1 : file, line);
	va_start(args, fmt);
	vsnprintf(result.error + used, sizeof result.error - (size_t)used, fmt,
	    args);
	va_end(args);
	result.done = 0;
	send_result();
}

void
remark(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(result.remark, sizeof result.remark, fmt, args);
	va_end(args);
}

void
load(const char *path)
{
	char with_slash[4096];
	void *handle;
	/* A bare name would be looked for in the system's directories. */
	snprintf(with_slash, sizeof with_slash, "%s%s",
	    strchr(path, '/') != NULL ? "" : "./", path);
	handle = dlopen(with_slash, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL)
		FAIL("%s", dlerror());
	*(void **)&lib.kqueue = dlsym(handle, "kqueue");
	*(void **)&lib.kevent = dlsym(handle, "kevent");
	if (lib.kqueue == NULL || lib.kevent == NULL)
		FAIL("%s has no kqueue() or kevent()", path);
}
