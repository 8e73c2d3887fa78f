/*
 * soak [-m minutes] [-s seed] [-r round] [-n rounds] [-x]
 *
 * Mixes what the library can do at random, from many threads, and checks all
 * the time that events in equal events out, that no event is stale, that no
 * thread is stuck, and after each round that no descriptor, memory, child or
 * thread is left. Ends with 1 at the first thing that is not so, and says with
 * which seed, and in which round, which can be run alone with -r.
 *
 * -x: no limit that BEHAVIOUR.md documents for closed descriptors is borne.
 */
#include "soak.h"

#include <dirent.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ROUND_MS 3000
/* So many rounds show how much memory the process needs. */
#define WARM_UP 8
#define HEAP_SLACK (2L << 20)
#define RSS_SLACK (48L << 20)

#define STOP ((uintptr_t)0x570)

_Thread_local struct worker *self;
struct round now;
struct arena arenas[ARENAS];
bool exact;
char own_path[4096];
char scratch[256];
atomic_ulong tally[T_COUNT];

static uint64_t seed;
static struct worker workers[WORKERS];
static unsigned worker_count, arena_workers;
static struct watch watches[WATCHES];
static unsigned watch_count;
static atomic_uint_fast64_t clock_;
static atomic_flag failing = ATOMIC_FLAG_INIT;

/* Numbers. */

uint64_t
rng_next(struct rng *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

unsigned
below(struct rng *r, unsigned n)
{
	return (unsigned)(rng_next(r) >> 32) % n;
}

static uint64_t
mix(uint64_t a, uint64_t b)
{
	struct rng r = {a ^ b * 0xd1342543de82ef95};
	return rng_next(&r);
}

int64_t
now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

void
pause_ns(int64_t ns)
{
	/* To a moment: a storm of signals would stretch a span for ever. */
	int64_t end = now_ns() + ns;
	struct timespec ts = {end / 1000000000, end % 1000000000};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) ==
	    EINTR)
		continue;
}

uint64_t
stamp(void)
{
	return atomic_fetch_add(&clock_, 1) + 1;
}

/* What is wrong, and what everybody was doing. */

static void
print_file(const char *name, int tid)
{
	char path[64], line[256];
	FILE *f;
	snprintf(path, sizeof path, "/proc/self/task/%d/%s", tid, name);
	f = fopen(path, "re");
	if (f == NULL)
		return;
	if (fgets(line, sizeof line, f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		fprintf(stderr, " %s %s", name, line);
	}
	fclose(f);
}

/* What each epoll set of the process holds: masks of old entries show. */
static void
print_sets(void)
{
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *entry;
	char path[300], line[300];
	ssize_t length;
	FILE *f;
	while (folder != NULL && (entry = readdir(folder)) != NULL) {
		snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
		length = readlink(path, line, sizeof line - 1);
		line[length < 0 ? 0 : length] = '\0';
		if (strcmp(line, "anon_inode:[eventpoll]") != 0)
			continue;
		fprintf(stderr, "  set %s\n", entry->d_name);
		snprintf(path, sizeof path, "/proc/self/fdinfo/%s",
		    entry->d_name);
		if ((f = fopen(path, "r")) == NULL)
			continue;
		while (fgets(line, sizeof line, f) != NULL)
			if (strncmp(line, "tfd", 3) == 0)
				fprintf(stderr, "    %s", line);
		fclose(f);
	}
	if (folder != NULL)
		closedir(folder);
}

static void
dump(void)
{
	unsigned i;
	for (i = 0; i < worker_count; i++) {
		struct worker *w = &workers[i];
		fprintf(stderr, "  %s %d: %s%s, steps %lu,", w->role,
		    w->number, atomic_load(&w->done) ? "done: " : "",
		    atomic_load(&w->doing), atomic_load(&w->steps));
		print_file("wchan", w->tid);
		print_file("syscall", w->tid);
		fputc('\n', stderr);
	}
	for (i = 0; i < now.arenas; i++)
		fprintf(stderr, "  arena %u: kq %d\n", i, arenas[i].kq);
	relay_dump();
	print_sets();
}

void
fail_at(const char *file, int line, const char *format, ...)
{
	va_list list;
	/* The first to fail says so; the others wait for the end. */
	while (atomic_flag_test_and_set(&failing))
		pause();
	fprintf(stderr, "soak: FAILED: %s:%d: ", file, line);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fprintf(stderr, "\n  by %s %d, while: %s\n",
	    self != NULL ? self->role : "main", self != NULL ? self->number : 0,
	    self != NULL ? atomic_load(&self->doing) : "rounds");
	fprintf(stderr, "  seed %llu round %u: make soak SEED=%llu ROUND=%u\n",
	    (unsigned long long)seed, now.number, (unsigned long long)seed,
	    now.number);
	dump();
	/* For a debugger. */
	if (getenv("SOAK_HOLD") != NULL)
		raise(SIGSTOP);
	_exit(1);
}

/* Workers. */

void
doing(const char *what)
{
	atomic_store(&self->doing, what);
	atomic_fetch_add(&self->steps, 1);
}

static void *
worker_main(void *arg)
{
	self = arg;
	self->tid = (int)syscall(SYS_gettid);
	prctl(PR_SET_NAME, self->role);
	self->run(self, self->arg);
	atomic_store(&self->done, true);
	return NULL;
}

void
worker_start(const char *role, void (*run)(struct worker *, void *), void *arg,
    bool may_idle)
{
	struct worker *w;
	CHECK(worker_count < WORKERS);
	w = &workers[worker_count];
	memset(w, 0, sizeof *w);
	w->role = role;
	w->run = run;
	w->arg = arg;
	w->may_idle = may_idle;
	w->number = (int)worker_count;
	w->rng.state = mix(now.seed, worker_count + 1);
	atomic_store(&w->doing, "start");
	worker_count++;
	errno = pthread_create(&w->thread, NULL, worker_main, w);
	CHECK(errno == 0);
}

/* Ends the round if a worker makes no step for long. */
static void
look_after(unsigned from, unsigned to, bool ending, int64_t ms)
{
	static unsigned long steps[WORKERS];
	static int64_t since[WORKERS];
	int64_t end = now_ns() + MS(ms);
	unsigned i;
	for (i = from; i < to; i++)
		since[i] = now_ns();
	for (;;) {
		bool all = true;
		for (i = from; i < to; i++) {
			struct worker *w = &workers[i];
			unsigned long made = atomic_load(&w->steps);
			if (atomic_load(&w->done))
				continue;
			all = false;
			if (made != steps[i] || (w->may_idle && !ending)) {
				steps[i] = made;
				since[i] = now_ns();
			}
			if (now_ns() - since[i] > MS(STUCK_MS + 5000))
				FAIL("%s %d is stuck: %s", w->role, w->number,
				    atomic_load(&w->doing));
		}
		if (all || (!ending && now_ns() > end))
			return;
		pause_ns(MS(ending ? 1 : 20));
	}
}

static void
join_all(unsigned from, unsigned to)
{
	unsigned i;
	look_after(from, to, true, 0);
	for (i = from; i < to; i++) {
		errno = pthread_join(workers[i].thread, NULL);
		CHECK(errno == 0);
	}
}

/* Watches. */

#define GENERATION_SHIFT 10
_Static_assert(WATCHES <= 1 << GENERATION_SHIFT, "the number fits");

struct watch *
watch_new(void (*event)(struct watch *, struct arena *, const struct kevent *,
    uint64_t), void *more)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct watch *w;
	pthread_mutex_lock(&lock);
	CHECK(watch_count < WATCHES);
	w = &watches[watch_count];
	memset(w, 0, sizeof *w);
	pthread_mutex_init(&w->lock, NULL);
	w->number = watch_count++;
	w->event = event;
	w->more = more;
	pthread_mutex_unlock(&lock);
	return w;
}

void *
watch_udata(const struct watch *w)
{
	return (void *)((uintptr_t)w->generation << GENERATION_SHIFT |
	    w->number);
}

void
watch_begin(struct watch *w)
{
	w->generation++;
	w->live = true;
	w->endings[w->generation % ENDINGS].stamp = 0;
}

void
watch_end(struct watch *w, enum ending how, const char *what)
{
	w->endings[w->generation % ENDINGS].what = what;
	w->endings[w->generation % ENDINGS].at = now_ns();
	w->endings[w->generation % ENDINGS].deleted = how == DELETED;
	w->endings[w->generation % ENDINGS].stamp = stamp();
	w->live = false;
}

/* An event of a generation that has ended: had it when the call began? */
static void
late(struct watch *w, unsigned generation, struct arena *a,
    const struct kevent *ev, uint64_t began)
{
	/* Of one long gone only the end of a later one is known. */
	unsigned known = w->generation - generation < ENDINGS - 1 ? generation :
	    w->generation - (ENDINGS - 2);
	uint64_t ended = w->endings[known % ENDINGS].stamp;
	bool deleted = known == generation &&
	    w->endings[known % ENDINGS].deleted;
	if (ended == 0 || ended > began) {
		COUNT(T_LATE, 1);
		return;
	}
	/*
	 * BEHAVIOUR.md D20: the old file lives on, and another has its number.
	 * It does for a moment in any case: while one thread waits, the kernel
	 * holds the files that it polls (since 6.10).
	 */
	if (!exact && !deleted && (now.ghosts || now.forks ||
	    now_ns() - w->endings[known % ENDINGS].at < MS(1000))) {
		COUNT(T_GHOST_TOLD, 1);
		return;
	}
	FAIL("stale event: ident %lu filter %d flags 0x%x fflags 0x%x data "
	    "%ld of generation %u of watch %u (%s; now %u), in arena %d, ended "
	    "%llu, call began %llu", (unsigned long)ev->ident, ev->filter,
	    ev->flags, ev->fflags, (long)ev->data, generation, w->number,
	    w->endings[known % ENDINGS].what, w->generation, a->number, (unsigned long long)ended,
	    (unsigned long long)began);
}

void
dispatch(struct arena *a, const struct kevent *ev, uint64_t began)
{
	uintptr_t udata = (uintptr_t)ev->udata;
	unsigned number = udata & (WATCHES - 1);
	unsigned generation = (unsigned)(udata >> GENERATION_SHIFT);
	struct watch *w = &watches[number];
	if (ev->flags & EV_ERROR)
		FAIL("an entry where no change failed: ident %lu filter %d "
		    "data %ld", (unsigned long)ev->ident, ev->filter,
		    (long)ev->data);
	if (generation == 0 || number >= watch_count)
		FAIL("an event of nobody's: ident %lu filter %d udata %p",
		    (unsigned long)ev->ident, ev->filter, ev->udata);
	COUNT(T_EVENTS, 1);
	pthread_mutex_lock(&w->lock);
	if (generation > w->generation)
		FAIL("an event of the future: udata %p", ev->udata);
	if (generation != w->generation || !w->live)
		late(w, generation, a, ev, began);
	else
		w->event(w, a, ev, began);
	pthread_mutex_unlock(&w->lock);
}

#define ROOM 64

void
waiter_run(struct worker *me, void *arg)
{
	struct arena *a = arg;
	struct kevent ev[ROOM];
	for (;;) {
		struct timespec ts = {0, 0}, *timeout = &ts;
		int room = one_in(&me->rng, 3) ? 1 :
		    1 + (int)below(&me->rng, ROOM);
		bool stop = false;
		uint64_t began;
		int i, n;
		switch (below(&me->rng, 4)) {
		case 0:
			ts.tv_nsec = (long)below(&me->rng, 3000000);
			break;
		case 1:
			sched_yield();
			break;
		default:
			timeout = NULL;
		}
		doing(timeout == NULL ? "waits" : "waits a while");
		began = atomic_load(&clock_);
		n = kevent(a->kq, NULL, 0, ev, room, timeout);
		if (n < 0 && errno != EINTR)
			FAIL("kevent() failed in arena %d: %s", a->number,
			    strerror(errno));
		doing("dispatches");
		for (i = 0; i < n; i++) {
			if (ev[i].filter == EVFILT_USER && ev[i].ident == STOP)
				stop = true;
			else
				dispatch(a, &ev[i], began);
		}
		if (stop)
			return;
	}
}

int
change_or(int kq, uintptr_t ident, int filter, unsigned flags, unsigned fflags,
    intptr_t data, void *udata, int error)
{
	struct kevent k, entry;
	bool receipt = flags & EV_RECEIPT;
	int n, got;
	EV_SET(&k, ident, (short)filter, (unsigned short)flags, fflags, data,
	    udata);
	n = kevent(kq, &k, 1, &entry, receipt ? 1 : 0, NULL);
	if (receipt && n == 1) {
		CHECK(entry.flags & EV_ERROR && entry.ident == ident &&
		    entry.filter == filter && entry.udata == udata);
		got = (int)entry.data;
	} else {
		got = n < 0 ? errno : n == 0 && !receipt ? 0 : -1;
	}
	if (got != 0 && got != error)
		FAIL("a change of kq %d, ident %lu, filter %d, flags 0x%x: "
		    "%d (%s)", kq, (unsigned long)ident, filter, flags, got,
		    strerror(got));
	return got;
}

void
change(int kq, uintptr_t ident, int filter, unsigned flags, unsigned fflags,
    intptr_t data, void *udata)
{
	change_or(kq, ident, filter, flags, fflags, data, udata, 0);
}

void
sem_take(sem_t *s, const char *what)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += STUCK_MS / 1000;
	while (sem_timedwait(s, &ts) != 0)
		if (errno != EINTR)
			FAIL("lost: %s", what);
}

/* Rounds. */

struct books {
	int descriptors, threads;
	long heap, rss;
};

static int
entries_of(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int n = 0;
	CHECK(dir != NULL);
	while ((entry = readdir(dir)) != NULL)
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static struct books
books(void)
{
	struct books b = {.heap = 0, .rss = 0};
	long pages = 0;
	FILE *f;
	libkqueue_drain_pending_close();
	b.descriptors = entries_of("/proc/self/fd");
	b.threads = entries_of("/proc/self/task");
#ifdef __GLIBC__
	struct mallinfo2 info = mallinfo2();
	b.heap = (long)(info.uordblks + info.hblkhd);
	malloc_trim(0);
#endif
	f = fopen("/proc/self/statm", "re");
	CHECK(f != NULL);
	CHECK(fscanf(f, "%*d %ld", &pages) == 1);
	fclose(f);
	b.rss = pages * sysconf(_SC_PAGESIZE);
	return b;
}

static void
empty_scratch(void)
{
	DIR *dir = opendir(scratch);
	struct dirent *entry;
	CHECK(dir != NULL);
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
}

static void
start_players(const char *role, void (*run)(struct worker *, void *),
    unsigned count)
{
	while (count-- > 0)
		worker_start(role, run, NULL, false);
}

static void
run_round(void)
{
	struct rng r = {now.seed};
	unsigned i, j, waiters = 0, relays, churns, families, queues;
	bool cancels, jumps, timers;
	now.arenas = 1 + below(&r, ARENAS);
	now.ghosts = one_in(&r, 2);
	now.forks = one_in(&r, 2);
	relays = 1 + below(&r, 4);
	churns = below(&r, 5);
	families = now.forks ? 1 + below(&r, 2) : 0;
	queues = below(&r, 3);
	cancels = one_in(&r, 2);
	jumps = one_in(&r, 2);
	timers = one_in(&r, 2);
	atomic_store(&now.stop, false);
	worker_count = watch_count = 0;
	relay_reset();
	memset(tally, 0, sizeof tally);
	for (i = 0; i < now.arenas; i++) {
		arenas[i].number = (int)i;
		arenas[i].kq = kqueue();
		CHECK(arenas[i].kq >= 0);
		change(arenas[i].kq, STOP, EVFILT_USER, EV_ADD, 0, 0, NULL);
	}
	for (i = 0; i < now.arenas; i++)
		for (j = 1 + below(&r, 4); j > 0; j--, waiters++)
			worker_start("waiter", waiter_run, &arenas[i], true);
	arena_workers = worker_count;
	start_players("relay", relay_run, relays);
	start_players("churn", churn_run, churns);
	start_players("family", family_run, families);
	start_players("queues", queues_run, queues);
	start_players("cancel", cancel_run, cancels);
	start_players("longjmp", longjmp_run, jumps);
	start_players("timers", timers_run, timers);
	look_after(0, worker_count, false, ROUND_MS);
	atomic_store(&now.stop, true);
	join_all(arena_workers, worker_count);
	for (i = 0; i < now.arenas; i++)
		change(arenas[i].kq, STOP, EVFILT_USER, 0, NOTE_TRIGGER, 0,
		    NULL);
	join_all(0, arena_workers);
	/* Half of the queues are closed empty, half as they are. */
	for (i = 0; i < now.arenas; i++)
		CHECK(close(arenas[i].kq) == 0);
	CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
	empty_scratch();
	printf("round %u: %u queues, %u waiters, %u players%s%s: events %lu, "
	    "relayed %lu, late %lu, descriptors %lu, bytes %lu, children %lu, "
	    "queues %lu, cancelled %lu, jumped %lu", now.number, now.arenas,
	    waiters, worker_count - waiters, now.ghosts ? ", ghosts" : "",
	    now.forks ? ", forks" : "", tally[T_EVENTS], tally[T_RELAYED],
	    tally[T_LATE], tally[T_CHURNED], tally[T_BYTES],
	    tally[T_CHILDREN], tally[T_QUEUES], tally[T_CANCELLED],
	    tally[T_JUMPED]);
	if (tally[T_GHOST_TOLD] != 0)
		printf(", told under an old name %lu", tally[T_GHOST_TOLD]);
	if (tally[T_TOLD_AGAIN] != 0)
		printf(", told again %lu", tally[T_TOLD_AGAIN]);
}

/* What the last rounds left, against what the first ones needed. */
static void
check_books(const struct books *first, unsigned done)
{
	static struct books most;
	struct books b = books();
	int tries;
	/* A thread that was joined may take a moment to leave /proc. */
	for (tries = 0; b.threads != first->threads && tries < 1000; tries++) {
		pause_ns(MS(5));
		b = books();
	}
	printf("; heap %ld KB, rss %ld KB\n", b.heap / 1024, b.rss / 1024);
	if (b.threads != first->threads)
		FAIL("threads: %d before, %d after", first->threads, b.threads);
	if (b.descriptors != first->descriptors) {
		if (system("ls -l /proc/$PPID/fd >&2") != 0)
			perror("ls");
		FAIL("descriptors: %d before, %d after", first->descriptors,
		    b.descriptors);
	}
	if (done <= WARM_UP) {
		if (b.heap > most.heap)
			most.heap = b.heap;
		if (b.rss > most.rss)
			most.rss = b.rss;
		return;
	}
	if (b.heap > most.heap + HEAP_SLACK)
		FAIL("the heap grows: %ld KB at most in the first rounds, "
		    "now %ld KB", most.heap / 1024, b.heap / 1024);
	if (b.rss > most.rss + RSS_SLACK)
		FAIL("memory grows: %ld KB at most in the first rounds, "
		    "now %ld KB", most.rss / 1024, b.rss / 1024);
}

static void
cleanup(void)
{
	empty_scratch();
	rmdir(scratch);
}

int
main(int argc, char **argv)
{
	double minutes = 2;
	unsigned first_round = 1, rounds = 0, done = 0;
	struct books first;
	struct rlimit files;
	int64_t end;
	ssize_t length;
	int option, fd;
	if (argc == 3 && strcmp(argv[1], "--after-exec") == 0)
		return main_after_exec(argv[2]);
	if (argc == 3 && strcmp(argv[1], "--exits") == 0)
		return main_exits(argv[2]);
	seed = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
	seed %= 1000000000;
	while ((option = getopt(argc, argv, "m:s:r:n:x")) != -1) {
		switch (option) {
		case 'm':
			minutes = atof(optarg);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 10);
			break;
		case 'r':
			first_round = (unsigned)atoi(optarg);
			break;
		case 'n':
			rounds = (unsigned)atoi(optarg);
			break;
		case 'x':
			exact = true;
			break;
		default:
			fprintf(stderr, "usage: %s [-m minutes] [-s seed] "
			    "[-r round] [-n rounds] [-x]\n", argv[0]);
			return 2;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	/* What the caller left open is none of ours after exec. */
	for (fd = 3; fd < 8192; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	length = readlink("/proc/self/exe", own_path, sizeof own_path - 1);
	CHECK(length > 0);
	snprintf(scratch, sizeof scratch, "%s/soak.XXXXXX",
	    getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
	CHECK(mkdtemp(scratch) != NULL);
	atexit(cleanup);
	CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
	files.rlim_cur = files.rlim_max < 8192 ? files.rlim_max : 8192;
	CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0);
	relay_signals();
	printf("seed %llu, %g minutes\n", (unsigned long long)seed, minutes);
	/* What the library keeps for good comes with its first queue. */
	CHECK(close(kqueue()) == 0);
	first = books();
	end = now_ns() + (int64_t)(minutes * 60e9);
	for (now.number = first_round; rounds != 0 ? done < rounds :
	    now_ns() < end; now.number++) {
		now.seed = mix(seed, now.number);
		run_round();
		check_books(&first, ++done);
	}
	printf("soak: %u rounds, all is well\n", done);
	return 0;
}
