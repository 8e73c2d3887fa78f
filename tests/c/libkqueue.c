/*
 * EVFILT_LIBKQUEUE: what a program can ask of, and set in, the library
 * itself. Replies are entries that end the call as receipts do, nothing is
 * registered, and settings are those of the process. The debug commands work
 * in every build.
 */
#include <ctype.h>
#include <spawn.h>
#include <sys/wait.h>

#include "support.h"

/* One command with room for the reply. */
static int
ask(int kq, unsigned flags, unsigned command, intptr_t data,
    struct kevent *reply)
{
	struct kevent k = kev(0, EVFILT_LIBKQUEUE, flags, command, data, NULL);
	memset(reply, 0xa5, sizeof *reply);
	return kevent(kq, &k, 1, reply, 1, &no_wait);
}

/* Sets a switch that had the value old. */
static void
set(int kq, unsigned command, intptr_t value, intptr_t old)
{
	struct kevent reply;
	CHECK_EQ(ask(kq, EV_ADD | EV_RECEIPT, command, value, &reply), 1);
	CHECK_EQ(reply.ident, 0);
	CHECK_EQ(reply.filter, EVFILT_LIBKQUEUE);
	/* Not EV_ERROR, or the old value would read as an errno. */
	CHECK_EQ(reply.flags, EV_ADD | EV_RECEIPT);
	CHECK_EQ(reply.data, old);
	expect_none(kq);
}

/* Sets something whose old value is of no interest, without a reply. */
static void
tell(int kq, unsigned command, intptr_t data)
{
	struct kevent reply;
	CHECK_EQ(ask(kq, EV_ADD, command, data, &reply), 0);
}

/* ---- The version ---- */

TEST(version_is_one_entry_without_ev_error)
{
	int kq = open_queue();
	struct kevent reply;
	unsigned long version;
	CHECK_EQ(ask(kq, EV_ADD, NOTE_VERSION, 0, &reply), 1);
	CHECK_EQ(reply.ident, 0);
	CHECK_EQ(reply.filter, EVFILT_LIBKQUEUE);
	CHECK_EQ(reply.flags, EV_ADD | EV_RECEIPT);
	version = (unsigned long)reply.data;
	CHECK_EQ(version >> 32, 0);
	CHECK(version >> 24 >= 3);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(version_string_is_static_and_agrees_with_the_number)
{
	int kq = open_queue();
	struct kevent reply;
	unsigned major, minor, patch;
	const char *text;
	CHECK_EQ(ask(kq, EV_ADD, NOTE_VERSION_STR, 0, &reply), 1);
	CHECK_EQ(reply.filter, EVFILT_LIBKQUEUE);
	CHECK_EQ(reply.flags, EV_ADD | EV_RECEIPT);
	text = reply.udata;
	CHECK(text != NULL);
	CHECK_EQ(sscanf(text, "%u.%u.%u", &major, &minor, &patch), 3);
	CHECK_EQ(ask(kq, EV_ADD, NOTE_VERSION, 0, &reply), 1);
	CHECK_EQ(reply.data >> 8, major << 16 | minor << 8 | patch);
	CHECK_EQ(ask(kq, EV_ADD, NOTE_VERSION_STR, 0, &reply), 1);
	CHECK(reply.udata == (const void *)text);
	CHECK_EQ(close(kq), 0);
	/* It outlives the queue. */
	CHECK(isdigit((unsigned char)text[0]));
}

TEST(a_reply_needs_room)
{
	int kq = open_queue();
	struct kevent got, list[] = {
	    kev(1, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL),
	    kev(0, EVFILT_LIBKQUEUE, EV_ADD, NOTE_VERSION, 0, NULL),
	    kev(2, EVFILT_USER, EV_ADD, 0, 0, NULL),
	};
	CHECK_FAILS(change(kq, 0, EVFILT_LIBKQUEUE, EV_ADD, NOTE_VERSION, 0,
			NULL),
	    EFAULT);
	CHECK_FAILS(change(kq, 0, EVFILT_LIBKQUEUE, EV_ADD, NOTE_VERSION_STR,
			0, NULL),
	    EFAULT);
	CHECK_FAILS(change(kq, 0, EVFILT_LIBKQUEUE, EV_ADD | EV_RECEIPT,
			NOTE_THREAD_SAFE, 1, NULL),
	    EFAULT);
	/* Used up by a receipt before it. */
	CHECK_FAILS(kevent(kq, list, 3, &got, 1, NULL), EFAULT);
	delete_user(kq, 1);
	CHECK_ABSENT(kq, 2, EVFILT_USER);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_reply_ends_the_call_without_events)
{
	int kq = open_queue();
	struct kevent got[4],
	    k = kev(0, EVFILT_LIBKQUEUE, EV_ADD, NOTE_VERSION, 0, NULL);
	add_user(kq, 1, EV_CLEAR);
	trigger(kq, 1);
	CHECK_EQ(kevent(kq, &k, 1, got, 4, NULL), 1);
	CHECK_EQ(got[0].filter, EVFILT_LIBKQUEUE);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	/* Nothing is pending now, and still it does not wait. */
	CHECK_EQ(kevent(kq, &k, 1, got, 4, NULL), 1);
	CHECK_EQ(got[0].filter, EVFILT_LIBKQUEUE);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(replies_keep_their_place_among_receipts_and_errors)
{
	int kq = open_queue();
	struct kevent list[] = {
	    kev(1, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL),
	    kev(0, EVFILT_LIBKQUEUE, EV_ADD, NOTE_VERSION, 0, NULL),
	    kev(9, EVFILT_USER, EV_DELETE, 0, 0, NULL),
	    kev(0, EVFILT_LIBKQUEUE, EV_ADD, NOTE_VERSION_STR, 0, NULL),
	    kev(0, EVFILT_LIBKQUEUE, EV_ADD, NOTE_THREAD_SAFE, 1, NULL),
	    kev(2, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL),
	};
	/* The same array, as everywhere. */
	CHECK_EQ(kevent(kq, list, 6, list, 6, NULL), 5);
	CHECK_EQ(list[0].ident, 1);
	CHECK_EQ(list[0].data, 0);
	CHECK_EQ(list[1].flags, EV_ADD | EV_RECEIPT);
	CHECK(list[1].data >> 24 >= 3);
	CHECK_EQ(list[2].ident, 9);
	CHECK_EQ(list[2].data, ENOENT);
	CHECK_EQ(list[3].flags, EV_ADD | EV_RECEIPT);
	CHECK(list[3].udata != NULL);
	CHECK_EQ(list[4].ident, 2);
	CHECK_EQ(list[4].filter, EVFILT_USER);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* ---- Switches ---- */

TEST(thread_safe_is_on_and_can_be_switched)
{
	int kq = open_queue(), other = open_queue();
	set(kq, NOTE_THREAD_SAFE, 0, 1);
	set(kq, NOTE_THREAD_SAFE, -5, 0);
	set(kq, NOTE_THREAD_SAFE, 7, 0);
	/* Of the process, not of the queue. */
	set(other, NOTE_THREAD_SAFE, 0, 1);
	set(kq, NOTE_THREAD_SAFE, 1, 0);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(fork_cleanup_is_on_and_can_be_switched)
{
	int kq = open_queue(), other = open_queue();
	set(kq, NOTE_FORK_CLEANUP, 0, 1);
	set(other, NOTE_FORK_CLEANUP, INTPTR_MIN, 0);
	set(other, NOTE_FORK_CLEANUP, 1, 0);
	set(kq, NOTE_FORK_CLEANUP, INTPTR_MAX, 1);
	set(kq, NOTE_THREAD_SAFE, 1, 1);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(without_a_receipt_a_switch_makes_no_entry)
{
	int kq = open_queue();
	struct kevent got[2],
	    k = kev(0, EVFILT_LIBKQUEUE, EV_ADD, NOTE_THREAD_SAFE, 0, NULL);
	CHECK_EQ(change(kq, 0, EVFILT_LIBKQUEUE, EV_ADD, NOTE_FORK_CLEANUP, 0,
		     NULL),
	    0);
	/* The call goes on to collect, as after any change. */
	add_user(kq, 1, EV_CLEAR);
	trigger(kq, 1);
	CHECK_EQ(kevent(kq, &k, 1, got, 2, NULL), 1);
	CHECK_EQ(got[0].filter, EVFILT_USER);
	set(kq, NOTE_FORK_CLEANUP, 1, 0);
	set(kq, NOTE_THREAD_SAFE, 1, 0);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

/* ---- Refusals ---- */

TEST(an_unknown_command_is_einval)
{
	static const unsigned commands[] = {0, 9, 10, 0x10, 0x80, 0x100,
	    0x7fffffff, 0x80000000, 0x80000001, 0xffffffff};
	int kq = open_queue();
	struct kevent reply;
	size_t i;
	for (i = 0; i < sizeof commands / sizeof *commands; i++) {
		CHECK_EQ(ask(kq, EV_ADD, commands[i], 0, &reply), 1);
		CHECK_EQ(reply.flags, EV_ADD | EV_ERROR);
		CHECK_EQ(reply.data, EINVAL);
		CHECK_FAILS(change(kq, 0, EVFILT_LIBKQUEUE, EV_ADD,
				commands[i], 0, NULL),
		    EINVAL);
		expect_none(kq);
	}
	CHECK_EQ(close(kq), 0);
}

TEST(the_file_poll_interval_is_enosys)
{
	int kq = open_queue();
	struct kevent reply;
	CHECK_EQ(ask(kq, EV_ADD, NOTE_FILE_POLL_INTERVAL, 1000000, &reply), 1);
	CHECK_EQ(reply.flags, EV_ADD | EV_ERROR);
	CHECK_EQ(reply.data, ENOSYS);
	CHECK_FAILS(change(kq, 0, EVFILT_LIBKQUEUE, EV_ADD,
			NOTE_FILE_POLL_INTERVAL, 1000000, NULL),
	    ENOSYS);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(delete_enable_and_disable_succeed_and_do_nothing)
{
	static const unsigned flags[] = {EV_DELETE, EV_ENABLE, EV_DISABLE};
	int kq = open_queue(), i;
	struct kevent reply;
	for (i = 0; i < 3; i++) {
		CHECK_EQ(change(kq, 0, EVFILT_LIBKQUEUE, flags[i],
			     NOTE_VERSION, 0, NULL),
		    0);
		CHECK_EQ(ask(kq, flags[i], NOTE_VERSION, 0, &reply), 0);
		CHECK_EQ(ask(kq, flags[i], NOTE_THREAD_SAFE, 0, &reply), 0);
		CHECK_EQ(ask(kq, flags[i], 0, 0, &reply), 0);
		CHECK_EQ(ask(kq, flags[i], NOTE_FILE_POLL_INTERVAL, 0,
			     &reply),
		    0);
	}
	set(kq, NOTE_THREAD_SAFE, 1, 1);
	expect_none(kq);
	CHECK_EQ(close(kq), 0);
}

TEST(a_command_needs_a_queue)
{
	struct kevent reply;
	CHECK_FAILS(ask(-1, EV_ADD, NOTE_VERSION, 0, &reply), EBADF);
	CHECK_FAILS(ask(0, EV_ADD, NOTE_VERSION, 0, &reply), EINVAL);
}

/* ---- Debugging ---- */

/* Standard error, into a file and back. */
static int
divert_stderr(FILE **file)
{
	int saved = fcntl(2, F_DUPFD_CLOEXEC, 3);
	CHECK(saved >= 0);
	*file = tmpfile();
	CHECK(*file != NULL);
	CHECK_EQ(dup2(fileno(*file), 2), 2);
	return saved;
}

static void
restore_stderr(int saved, FILE *file, char *text, size_t size)
{
	size_t used;
	fflush(stderr);
	CHECK_EQ(dup2(saved, 2), 2);
	CHECK_EQ(close(saved), 0);
	rewind(file);
	used = fread(text, 1, size - 1, file);
	text[used] = '\0';
	CHECK_EQ(fclose(file), 0);
}

/* Every line of text begins with it, and there is a line. */
static void
check_prefix(const char *text, const char *prefix)
{
	const char *line = text;
	CHECK(*line != '\0');
	while (*line != '\0') {
		const char *end = strchr(line, '\n');
		if (strncmp(line, prefix, strlen(prefix)) != 0)
			FAIL("no prefix '%s' in: %s", prefix, text);
		line = end == NULL ? line + strlen(line) : end + 1;
	}
}

TEST(debug_is_off_and_can_be_switched)
{
	int kq = open_queue(), other = open_queue(), saved;
	static char text[65536];
	FILE *file;
	saved = divert_stderr(&file);
	set(kq, NOTE_DEBUG, 0, 0);
	set(kq, NOTE_DEBUG, 1, 0);
	set(other, NOTE_DEBUG, 5, 1);
	set(other, NOTE_DEBUG, -1, 1);
	set(kq, NOTE_DEBUG, 0, 0);
	restore_stderr(saved, file, text, sizeof text);
	CHECK_EQ(close(other), 0);
	CHECK_EQ(close(kq), 0);
}

TEST(debug_traces_calls_to_standard_error)
{
	int kq = open_queue(), saved;
	static char text[65536];
	FILE *file;
	saved = divert_stderr(&file);
	tell(kq, NOTE_DEBUG, 1);
	CHANGE(kq, 4711, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHECK_FAILS(change(kq, 4712, EVFILT_TIMER, EV_DELETE, 0, 0, NULL),
	    ENOENT);
	tell(kq, NOTE_DEBUG, 0);
	delete_user(kq, 4711);
	CHECK_EQ(change(kq, 4713, EVFILT_USER, EV_ADD, 0, 0, NULL), 0);
	restore_stderr(saved, file, text, sizeof text);
	CHECK(strstr(text, "kevent") != NULL);
	CHECK(strstr(text, "4711") != NULL);
	CHECK(strstr(text, "EVFILT_USER") != NULL);
	CHECK(strstr(text, "EV_ADD") != NULL);
	CHECK(strstr(text, "EV_CLEAR") != NULL);
	CHECK(strstr(text, "4712") != NULL);
	CHECK(strstr(text, "EVFILT_TIMER") != NULL);
	CHECK(strstr(text, "ENOENT") != NULL);
	/* Nothing after it was switched off. */
	CHECK(strstr(text, "4713") == NULL);
	CHECK(text[strlen(text) - 1] == '\n');
	CHECK_EQ(close(kq), 0);
}

TEST(without_debug_nothing_is_printed)
{
	int kq, saved;
	static char text[65536];
	FILE *file;
	saved = divert_stderr(&file);
	kq = open_queue();
	add_user(kq, 1, EV_CLEAR);
	trigger(kq, 1);
	next_event(kq);
	CHECK_FAILS(change(kq, 2, EVFILT_USER, 0, 0, 0, NULL), ENOENT);
	CHECK_EQ(close(kq), 0);
	restore_stderr(saved, file, text, sizeof text);
	if (text[0] != '\0')
		FAIL("printed: %s", text);
}

TEST(the_debug_prefix_is_copied_and_stands_before_each_line)
{
	int kq = open_queue(), saved;
	static char text[65536];
	char prefix[] = "a porter's program";
	FILE *file;
	saved = divert_stderr(&file);
	tell(kq, NOTE_DEBUG_PREFIX, (intptr_t)prefix);
	memset(prefix, 'X', sizeof prefix - 1);
	tell(kq, NOTE_DEBUG, 1);
	add_user(kq, 1, 0);
	delete_user(kq, 1);
	tell(kq, NOTE_DEBUG, 0);
	restore_stderr(saved, file, text, sizeof text);
	check_prefix(text, "a porter's program");
	CHECK_EQ(close(kq), 0);
}

static atomic_int debug_calls;
static char debug_format[4096], debug_text[4096];

/* Each % of the text the function gets must be one of a pair. */
static void
note_format(const char *format)
{
	const char *p;
	CHECK(format != NULL);
	for (p = format; *p != '\0'; p++)
		if (*p == '%') {
			if (p[1] != '%')
				FAIL("a lone %% in: %s", format);
			p++;
		}
	snprintf(debug_format, sizeof debug_format, "%s", format);
	atomic_fetch_add(&debug_calls, 1);
}

/* The function as the README of libkqueue describes it, */
__attribute__((format(printf, 1, 2))) static void
debug_variadic(const char *format, ...)
{
	va_list args;
	note_format(format);
	va_start(args, format);
	vsnprintf(debug_text, sizeof debug_text, format, args);
	va_end(args);
}

/* and as its header does. */
__attribute__((format(printf, 1, 0))) static void
debug_va_list(const char *format, va_list args)
{
	note_format(format);
	vsnprintf(debug_text, sizeof debug_text, format, args);
}

static void
debug_function(intptr_t function)
{
	int kq = open_queue(), saved, calls;
	static char text[65536];
	FILE *file;
	saved = divert_stderr(&file);
	tell(kq, NOTE_DEBUG_PREFIX, (intptr_t) "100%s sure %n");
	tell(kq, NOTE_DEBUG_FUNC, function);
	/* It says what is traced, not whether. */
	add_user(kq, 1, 0);
	CHECK_EQ(atomic_load(&debug_calls), 0);
	tell(kq, NOTE_DEBUG, 1);
	delete_user(kq, 1);
	calls = atomic_load(&debug_calls);
	CHECK(calls > 0);
	CHANGE(kq, 4711, EVFILT_USER, EV_ADD, 0, 0, NULL);
	CHECK(atomic_load(&debug_calls) > calls);
	/* Doubled for the function, single once it was formatted. */
	CHECK(strstr(debug_format, "100%%s sure %%n") != NULL);
	CHECK(strstr(debug_text, "100%s sure %n") != NULL);
	/* 0 resets: standard error again. */
	tell(kq, NOTE_DEBUG_FUNC, 0);
	calls = atomic_load(&debug_calls);
	delete_user(kq, 4711);
	CHECK_EQ(atomic_load(&debug_calls), calls);
	tell(kq, NOTE_DEBUG, 0);
	restore_stderr(saved, file, text, sizeof text);
	check_prefix(text, "100%s sure %n");
	CHECK_EQ(close(kq), 0);
}

TEST(a_variadic_debug_function_is_called)
{
	debug_function((intptr_t)debug_variadic);
}

TEST(a_va_list_debug_function_is_called)
{
	debug_function((intptr_t)debug_va_list);
}

static void
debug_spoils_errno(const char *format, ...)
{
	(void)format;
	atomic_fetch_add(&debug_calls, 1);
	errno = EXDEV;
}

TEST(tracing_leaves_results_and_errno_as_they_are)
{
	int kq = open_queue();
	struct kevent got, k = kev(0x7fffffff, EVFILT_READ, EV_ADD, 0, 0, NULL);
	struct timespec bad = {-1, 0};
	tell(kq, NOTE_DEBUG_FUNC, (intptr_t)debug_spoils_errno);
	tell(kq, NOTE_DEBUG, 1);
	errno = 0;
	add_user(kq, 1, EV_CLEAR);
	trigger(kq, 1);
	EXPECT(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	expect_none(kq);
	CHECK_EQ(errno, 0);
	CHECK_FAILS(change(kq, 2, EVFILT_USER, EV_DELETE, 0, 0, NULL), ENOENT);
	CHECK_FAILS(kevent(kq, &k, 1, NULL, 0, NULL), EBADF);
	CHECK_FAILS(kevent(kq, NULL, 0, &got, 1, &bad), EINVAL);
	CHECK_EQ(kevent(kq, &k, 1, &got, 1, NULL), 1);
	CHECK_EQ(got.data, EBADF);
	CHECK_FAILS(kevent(-1, NULL, 0, &got, 1, &no_wait), EBADF);
	CHECK(atomic_load(&debug_calls) > 0);
	tell(kq, NOTE_DEBUG, 0);
	tell(kq, NOTE_DEBUG_FUNC, 0);
	CHECK_EQ(close(kq), 0);
}

/* What another case of this file prints when run with that environment. */
static void
trace_of(char *setting, char *text, size_t size)
{
	char *argv[] = {"libkqueue", "version_is_one_entry_without_ev_error",
	    NULL};
	char *envp[] = {setting, NULL};
	posix_spawn_file_actions_t actions;
	char program[4096];
	FILE *file = tmpfile();
	int status;
	ssize_t length;
	size_t used;
	pid_t pid;
	CHECK(file != NULL);
	/* Its name: under valgrind the link itself leads to valgrind. */
	length = readlink("/proc/self/exe", program, sizeof program - 1);
	CHECK(length > 0);
	program[length] = '\0';
	CHECK_EQ(posix_spawn_file_actions_init(&actions), 0);
	CHECK_EQ(posix_spawn_file_actions_adddup2(&actions, fileno(file), 2),
	    0);
	CHECK_EQ(posix_spawn(&pid, program, &actions, NULL, argv, envp), 0);
	CHECK_EQ(posix_spawn_file_actions_destroy(&actions), 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	rewind(file);
	used = fread(text, 1, size - 1, file);
	text[used] = '\0';
	CHECK_EQ(fclose(file), 0);
}

TEST(kqueue_debug_in_the_environment_traces_from_the_start)
{
	static char text[65536];
	trace_of("KQUEUE_DEBUG=1", text, sizeof text);
	CHECK(strstr(text, "kqueue") != NULL);
	CHECK(strstr(text, "kevent") != NULL);
	CHECK(strstr(text, "EVFILT_LIBKQUEUE") != NULL);
	CHECK(strstr(text, "NOTE_VERSION") != NULL);
	trace_of("HOME=/", text, sizeof text);
	CHECK_EQ(text[0], '\0');
}
