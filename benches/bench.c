/*
 * kevent() beside the bare Linux calls that do the same work.
 *
 * Each case runs in a child process of its own, which loads one library, does
 * the work both ways in turns, and sends its medians back. So a case that
 * fails, hangs or crashes costs only its own row, and no library sees what
 * another left behind.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "case.h"
#include "child.h"

static const struct bench *const benches[] = {
    &bench_ready,
    &bench_many,
    &bench_add_delete,
    &bench_toggle_undo,
    &bench_toggle_apart,
    &bench_user,
    &bench_user_one_call,
    &bench_wake,
    &bench_wake_one_cpu,
    &bench_timers,
    &bench_two_queues,
    &bench_make_close,
    &bench_signal,
    &bench_signal_blocked,
    &bench_process,
    &bench_vnode,
    &bench_memory,
    &bench_descriptors,
    &bench_idle_100,
    &bench_idle_10k,
    &bench_rearm_1k,
    &bench_rearm_100k,
    &bench_due_1k,
    &bench_due_100k,
};
#define BENCHES (sizeof benches / sizeof *benches)

/* Fewer rounds than this are not called a median. */
#define LEAST_ROUNDS 5
#define MOST_ROUNDS 1001
/* A case that overruns its share by this much has lost an event. */
#define OVERRUN_NS INT64_C(10000000000)

static struct {
	const char *ours, *other;
	long rounds, round_ms, seconds;
	int bare_only;
} options = {.rounds = 41, .round_ms = 4, .seconds = 60};

/* --- the child ---------------------------------------------------------- */

/* How many operations make the bare side last one round. */
static long
calibrate(void)
{
	const int64_t wanted = options.round_ms * 1000000;
	long ops = bench->step;
	for (;;) {
		int64_t ns = bench->bare.run(ops);
		double factor = (double)wanted / (double)(ns > 0 ? ns : 1);
		if (factor < 2) {
			ops = (long)((double)ops * factor);
			break;
		}
		ops = (long)((double)ops * (factor < 20 ? factor : 20));
		ops -= ops % bench->step;
	}
	ops -= ops % bench->step;
	return ops > 0 ? ops : bench->step;
}

static int
by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double
quantile(double *sorted, long n, double q)
{
	double at = q * (double)(n - 1);
	long low = (long)at;
	double part = at - (double)low;
	return low + 1 < n
	    ? sorted[low] * (1 - part) + sorted[low + 1] * part
	    : sorted[low];
}

static void
measure(int64_t allowed_ns)
{
	static double bare[MOST_ROUNDS], ours[MOST_ROUNDS], ratio[MOST_ROUNDS];
	const int both = !options.bare_only;
	int64_t begin = now_ns();
	long ops, n = 0;
	bench->bare.open();
	if (both)
		bench->lib.open();
	ops = calibrate();
	/* The warm-up; and neither side is measured before it was proved. */
	bench->bare.run(ops);
	bench->bare.check();
	if (both) {
		bench->lib.run(ops);
		bench->lib.check();
	}
	for (; n < options.rounds; n++) {
		int64_t b, l = 0;
		if (n >= LEAST_ROUNDS && now_ns() - begin > allowed_ns)
			break;
		/* The order alternates, so that neither side owns a drift. */
		if (n % 2 == 0)
			b = bench->bare.run(ops);
		if (both)
			l = bench->lib.run(ops);
		if (n % 2 != 0)
			b = bench->bare.run(ops);
		bare[n] = (double)b / (double)ops;
		ours[n] = (double)l / (double)ops;
		ratio[n] = (double)l / (double)b;
	}
	bench->bare.check();
	if (both)
		bench->lib.check();
	qsort(bare, (size_t)n, sizeof *bare, by_size);
	qsort(ours, (size_t)n, sizeof *ours, by_size);
	qsort(ratio, (size_t)n, sizeof *ratio, by_size);
	result.bare = quantile(bare, n, 0.5);
	if (!both)
		return;
	result.lib = quantile(ours, n, 0.5);
	result.spread = (quantile(ratio, n, 0.75) - quantile(ratio, n, 0.25)) /
	    2 / quantile(ratio, n, 0.5);
}

_Noreturn static void
child(const struct bench *b, const char *path, int fd, int64_t allowed_ns)
{
	struct rlimit limit;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	bench = b;
	result_fd = fd;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (path != NULL)
		load(path);
	pin(0);
	if (bench->count == NULL)
		measure(allowed_ns);
	else
		result.lib = bench->count();
	result.done = 1;
	send_result();
}

/* --- the parent --------------------------------------------------------- */

/* As read(), but -1 when nothing came by the deadline. */
static ssize_t
read_until(int fd, void *buf, size_t size, int64_t deadline)
{
	for (;;) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		int64_t left = deadline - now_ns();
		if (left <= 0)
			return -1;
		if (poll(&ready, 1, (int)(left / 1000000) + 1) == 1)
			return read(fd, buf, size);
	}
}

/* Runs one case with one library; what came back, or why nothing did. */
static struct result
run_case(const struct bench *b, const char *path, int64_t allowed_ns,
    int64_t deadline)
{
	struct result got = {0};
	int fds[2], status;
	ssize_t n;
	pid_t pid;
	if (now_ns() >= deadline) {
		snprintf(got.error, sizeof got.error,
		    "not run: the %ld seconds are over", options.seconds);
		return got;
	}
	if (deadline > now_ns() + allowed_ns + OVERRUN_NS)
		deadline = now_ns() + allowed_ns + OVERRUN_NS;
	fflush(NULL);
	if (pipe2(fds, O_CLOEXEC) != 0 || (pid = fork()) < 0) {
		perror("bench");
		exit(2);
	}
	if (pid == 0) {
		close(fds[0]);
		child(b, path, fds[1], allowed_ns);
	}
	close(fds[1]);
	n = read_until(fds[0], &got, sizeof got, deadline);
	close(fds[0]);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (n == (ssize_t)sizeof got)
		return got;
	memset(&got, 0, sizeof got);
	if (n < 0)
		snprintf(got.error, sizeof got.error,
		    "no end in sight: an event that does not come?");
	else if (WIFSIGNALED(status))
		snprintf(got.error, sizeof got.error, "killed: %s",
		    strsignal(WTERMSIG(status)));
	else
		snprintf(got.error, sizeof got.error, "exited with %d",
		    WEXITSTATUS(status));
	return got;
}

static char *
amount_text(char buf[24], double amount, const char *unit)
{
	const char *form = strcmp(unit, "fd") == 0 || amount >= 100 ? "%.0f %s"
	    : "%.1f %s";
	snprintf(buf, 24, form, amount, unit);
	return buf;
}

static char *
ratio_text(char buf[24], double ratio)
{
	snprintf(buf, 24, ratio >= 10 ? "%.1f" : "%.2f", ratio);
	return buf;
}

#define ROW "%-13s %-52s %9s %9s %6s %4s %8s %-4s %9s\n"

/* A ratio where there are two sides, otherwise the figure itself. */
static char *
figure_text(char buf[24], const struct bench *b, double figure)
{
	return b->count != NULL ? amount_text(buf, figure, b->unit)
	    : ratio_text(buf, figure);
}

static double
figure(const struct bench *b, const struct result *r)
{
	return b->count != NULL ? r->lib : r->lib / r->bare;
}

/* As printed, or a row would be over by what no one sees. */
static int
over_budget(const struct bench *b, const struct result *r)
{
	double unseen = b->budget >= 10 ? 0.05 : 0.005;
	return r->done && !options.bare_only && b->budget > 0 &&
	    figure(b, r) > b->budget + unseen;
}

static void
print_row(const struct bench *b, const struct result *ours,
    const struct result *other)
{
	char mine[24] = "-", bare[24] = "-", ratio[24] = "-", budget[24] = "-",
	     theirs[26] = "-", spread[24] = "";
	if (!ours->done)
		strcpy(options.bare_only ? bare : mine, "failed");
	else if (b->count == NULL)
		amount_text(bare, ours->bare, b->unit);
	if (ours->done && !options.bare_only) {
		amount_text(mine, ours->lib, b->unit);
		if (b->count == NULL) {
			ratio_text(ratio, figure(b, ours));
			snprintf(spread, sizeof spread, "%.0f%%",
			    ours->spread * 100);
		}
	}
	if (b->budget > 0)
		figure_text(budget, b, b->budget);
	if (other != NULL) {
		strcpy(theirs, "n/a");
		if (other->done)
			figure_text(theirs, b, figure(b, other));
	} else if (b->recorded > 0) {
		char text[24];
		snprintf(theirs, sizeof theirs, "(%s)",
		    figure_text(text, b, b->recorded));
	}
	printf(ROW, b->name, b->what, mine, bare, ratio, spread, budget,
	    over_budget(b, ours) ? "over" : "", theirs);
}

static void
usage(FILE *to)
{
	fprintf(to,
	    "usage: bench [-b | -l library [-o other]] [-r rounds] [-m ms] "
	    "[-s seconds] [-L] [case ...]\n"
	    "  -l  the library to measure, by path\n"
	    "  -o  another one, for the last column\n"
	    "  -b  only the bare side; needs no library\n"
	    "  -r  rounds a case (%ld)\n"
	    "  -m  milliseconds a round of the bare side (%ld)\n"
	    "  -s  seconds in all (%ld)\n"
	    "  -L  list the cases\n"
	    "A case is a name or a pattern such as 'timers' or 'idle-*'.\n",
	    options.rounds, options.round_ms, options.seconds);
}

static long
number(const char *text, long least, long most)
{
	char *end;
	long value = strtol(text, &end, 10);
	if (*text == '\0' || *end != '\0' || value < least || value > most) {
		fprintf(stderr, "bench: %s is not a number from %ld to %ld\n",
		    text, least, most);
		exit(2);
	}
	return value;
}

static int
chosen(const struct bench *b, int count, char **patterns)
{
	for (int i = 0; i < count; i++)
		if (fnmatch(patterns[i], b->name, 0) == 0)
			return 1;
	return count == 0 && !(options.bare_only && b->count != NULL);
}

/* A pattern that selects nothing is a mistake, not an empty success. */
static void
check_patterns(int count, char **patterns)
{
	for (int i = 0; i < count; i++) {
		size_t b = 0;
		while (b < BENCHES &&
		    (fnmatch(patterns[i], benches[b]->name, 0) != 0 ||
			(options.bare_only && benches[b]->count != NULL)))
			b++;
		if (b < BENCHES)
			continue;
		fprintf(stderr, "bench: no case is called %s\n", patterns[i]);
		exit(2);
	}
}

int
main(int argc, char **argv)
{
	struct {
		const struct bench *bench;
		struct result ours, other;
	} rows[BENCHES];
	size_t count = 0;
	int failed = 0, over = 0, option;
	struct utsname machine;
	int64_t deadline, share;
	while ((option = getopt(argc, argv, "bl:o:r:m:s:Lh")) != -1)
		switch (option) {
		case 'b':
			options.bare_only = 1;
			break;
		case 'l':
			options.ours = optarg;
			break;
		case 'o':
			options.other = optarg;
			break;
		case 'r':
			options.rounds = number(optarg, LEAST_ROUNDS,
			    MOST_ROUNDS);
			break;
		case 'm':
			options.round_ms = number(optarg, 1, 1000);
			break;
		case 's':
			options.seconds = number(optarg, 1, 86400);
			break;
		case 'L':
			for (size_t i = 0; i < BENCHES; i++)
				printf("%-13s %s\n", benches[i]->name,
				    benches[i]->what);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	if (options.bare_only ? options.ours != NULL || options.other != NULL
			      : options.ours == NULL) {
		usage(stderr);
		return 2;
	}
	check_patterns(argc - optind, argv + optind);
	for (size_t i = 0; i < BENCHES; i++)
		if (chosen(benches[i], argc - optind, argv + optind))
			rows[count++].bench = benches[i];

	/* A part is kept for setting up, and for what overruns. */
	deadline = now_ns() + options.seconds * 1000000000;
	share = options.seconds * INT64_C(600000000) / (int64_t)count /
	    (options.other != NULL ? 2 : 1);
	setvbuf(stdout, NULL, _IOLBF, 0);
	uname(&machine);
	printf("%s %s %s, %ld CPUs; up to %ld rounds of %ld ms, both sides in "
	       "turns, medians\n",
	    machine.sysname, machine.release, machine.machine,
	    sysconf(_SC_NPROCESSORS_ONLN), options.rounds, options.round_ms);
	if (options.ours != NULL)
		printf("ours:  %s\n", options.ours);
	if (options.other != NULL)
		printf("other: %s\n", options.other);
	putchar('\n');
	printf(ROW, "case", "what an operation is", "ours", "bare", "ratio",
	    "+-", "budget", "", options.other != NULL ? "other" : "(2.7)");
	for (size_t i = 0; i < count; i++) {
		const struct bench *b = rows[i].bench;
		rows[i].ours = run_case(b, options.ours, share, deadline);
		if (options.other != NULL)
			rows[i].other = run_case(b, options.other, share,
			    deadline);
		print_row(b, &rows[i].ours,
		    options.other != NULL ? &rows[i].other : NULL);
		failed += !rows[i].ours.done;
		over += over_budget(b, &rows[i].ours);
	}
	putchar('\n');
	for (size_t i = 0; i < count; i++) {
		const char *name = rows[i].bench->name;
		if (rows[i].ours.remark[0] != '\0')
			printf("%s: %s\n", name, rows[i].ours.remark);
		if (rows[i].ours.error[0] != '\0')
			printf("%s: failed: %s\n", name, rows[i].ours.error);
		if (options.other != NULL && rows[i].other.error[0] != '\0')
			printf("%s: other: n/a: %s\n", name,
			    rows[i].other.error);
	}
	if (!options.bare_only)
		printf("%d of %zu over budget\n", over, count);
	if (failed > 0)
		printf("%d of %zu failed\n", failed, count);
	return failed > 0;
}
