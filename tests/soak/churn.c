/*
 * Descriptors that are opened, watched in several queues at once, written,
 * changed and closed in every way: with and without EV_DELETE, with a dup that
 * lives on, replaced by dup2(). Numbers are reused all the time.
 */
#include "soak.h"

#define SLOTS 6
#define GHOSTS 8

enum side { READ, WRITE, EXCEPT, VNODE, SIDES };

static const int filters[SIDES] = {EVFILT_READ, EVFILT_WRITE, EVFILT_EXCEPT,
    EVFILT_VNODE};

/* One knote. */
struct reg {
	bool there;
	unsigned flags, fflags;
	bool disabled;
	/* Never enabled so far: no event at all. */
	bool quiet_from_birth;
	/* Since then it is disabled or gone: 0 if it is not. */
	uint64_t quiet;
	/* How often it was armed, less how often it came. */
	int armed;
};

struct slot {
	struct watch *watch;
	struct thing thing;
	struct reg regs[ARENAS][SIDES];
	size_t put;
	atomic_size_t drained;
};

struct ghosts {
	int fds[GHOSTS];
	unsigned count;
};

static bool
fires_once(const struct reg *g)
{
	return (g->flags & (EV_ONESHOT | EV_DISPATCH)) != 0;
}

static void
silence(struct slot *s, struct arena *a, enum side side)
{
	struct reg *g = &s->regs[a->number][side];
	/* A oneshot that has fired is gone. */
	if (g->disabled || g->flags & EV_ONESHOT)
		return;
	change(a->kq, (uintptr_t)s->thing.fd, filters[side], EV_DISABLE,
	    g->fflags, 0, watch_udata(s->watch));
	g->disabled = true;
	g->quiet = stamp();
}

static void
churn_event(struct watch *w, struct arena *a, const struct kevent *ev,
    uint64_t began)
{
	struct slot *s = w->more;
	unsigned side = 0;
	struct reg *g;
	while (side < SIDES && filters[side] != ev->filter)
		side++;
	CHECK(side < SIDES);
	g = &s->regs[a->number][side];
	if (!g->there || ev->ident != (uintptr_t)s->thing.fd ||
	    (ev->flags & ~(unsigned)EV_EOF) != g->flags)
		FAIL("event of another knote: arena %d ident %lu filter %d "
		    "flags 0x%x; there %d, ident %d, flags 0x%x, %s",
		    a->number, (unsigned long)ev->ident, ev->filter, ev->flags,
		    g->there, s->thing.fd, g->flags,
		    kind_names[s->thing.kind]);
	if (g->quiet_from_birth)
		FAIL("event of a knote that was never enabled: ident %lu "
		    "filter %d flags 0x%x data %ld, %s",
		    (unsigned long)ev->ident, ev->filter, ev->flags,
		    (long)ev->data, kind_names[s->thing.kind]);
	if (g->quiet != 0 && g->quiet <= began)
		FAIL("event of a knote that is disabled or gone: ident %lu "
		    "filter %d flags 0x%x data %ld, %s, quiet since %llu, "
		    "call began %llu", (unsigned long)ev->ident, ev->filter,
		    ev->flags, (long)ev->data, kind_names[s->thing.kind],
		    (unsigned long long)g->quiet, (unsigned long long)began);
	if (fires_once(g)) {
		if (--g->armed < 0)
			FAIL("event came twice: ident %lu filter %d flags "
			    "0x%x data %ld, %s", (unsigned long)ev->ident,
			    ev->filter, ev->flags, (long)ev->data,
			    kind_names[s->thing.kind]);
		/* Unless it has been armed again meanwhile. */
		if (g->armed == 0) {
			g->disabled = true;
			g->quiet = stamp();
		}
	}
	if (side == READ) {
		size_t n = thing_drain(&s->thing);
		if (s->thing.kind == QUEUE && n != 0)
			atomic_store(&s->drained, n);
		else if (s->thing.kind != QUEUE)
			atomic_fetch_add(&s->drained, n);
		COUNT(T_BYTES, n);
	}
	/* What would come with every call from now on. */
	if ((ev->flags & EV_EOF || side != READ) && !(g->flags & EV_CLEAR))
		silence(s, a, side);
}

/* Makes a knote, or arms it again. */
static void
arm(struct slot *s, struct arena *a, enum side side, bool enable)
{
	struct reg *g = &s->regs[a->number][side];
	unsigned flags = g->flags | (enable ? EV_ENABLE : EV_DISABLE);
	if (enable) {
		/* First, for the event may be there before the call is over. */
		g->armed++;
		g->quiet = 0;
		g->disabled = false;
		g->quiet_from_birth = false;
	}
	change(a->kq, (uintptr_t)s->thing.fd, filters[side], flags,
	    g->fflags, 0, watch_udata(s->watch));
}

static bool
can_have(enum kind kind, enum side side)
{
	switch (side) {
	case READ:
		return true;
	case WRITE:
		return kind == SOCKET || kind == TCP || kind == EVENTFD ||
		    kind == PTY || kind == FILE_;
	case EXCEPT:
		return kind == TCP;
	default:
		return kind == FILE_;
	}
}

static void
register_all(struct slot *s, struct rng *r)
{
	static const unsigned modes[] = {0, 0, EV_CLEAR, EV_CLEAR, EV_ONESHOT,
	    EV_DISPATCH, EV_DISPATCH | EV_CLEAR};
	unsigned i, side, home = below(r, now.arenas);
	memset(s->regs, 0, sizeof s->regs);
	for (i = 0; i < now.arenas; i++)
		for (side = 0; side < SIDES; side++) {
			struct reg *g = &s->regs[i][side];
			bool enable = !one_in(r, 4);
			if (!can_have(s->thing.kind, side))
				continue;
			/* At least one, for what is put in to come out. */
			if (one_in(r, 2) && !(side == READ && i == home))
				continue;
			g->there = true;
			g->flags = EV_ADD | modes[below(r, 7)];
			if (one_in(r, 4))
				g->flags |= EV_RECEIPT;
			if (side == VNODE) {
				g->flags |= EV_CLEAR;
				g->fflags = NOTE_WRITE | NOTE_ATTRIB |
				    NOTE_DELETE;
			}
			if (side == EXCEPT)
				g->fflags = NOTE_OOB;
			g->quiet_from_birth = !enable;
			g->disabled = !enable;
			arm(s, &arenas[i], side, enable);
		}
}

static void
open_slot(struct slot *s, struct rng *r)
{
	s->thing = thing_open(r, below(r, KINDS));
	s->put = 0;
	atomic_store(&s->drained, 0);
	watch_begin(s->watch);
	/* What is there before EV_ADD is told, too. */
	if (s->thing.kind != QUEUE && one_in(r, 3))
		s->put += thing_put(&s->thing, 1 + below(r, 8));
	register_all(s, r);
	COUNT(T_CHURNED, 1);
}

/* Enables every knote of READ, and some of the others. */
static void
rearm_all(struct slot *s, struct rng *r)
{
	unsigned i, side;
	for (i = 0; i < now.arenas; i++)
		for (side = 0; side < SIDES; side++) {
			struct reg *g = &s->regs[i][side];
			if (!g->there)
				continue;
			if (g->disabled || fires_once(g)) {
				if (side != READ && one_in(r, 2))
					continue;
				arm(s, &arenas[i], side, true);
			}
		}
}

/* Each knote: its arena, its side, its flags; for whoever finds one silent. */
static const char *
registered_as(const struct slot *s)
{
	static char text[ARENAS * SIDES * 20 + 1];
	unsigned i, side;
	char *end = text;
	for (i = 0; i < now.arenas; i++)
		for (side = 0; side < SIDES; side++)
			if (s->regs[i][side].there)
				end += sprintf(end, " %u/%u/%#x", i, side,
				    s->regs[i][side].flags);
	return text;
}

/* What is put in comes out, as long as somebody watches. */
static void
put_and_wait(struct slot *s, struct rng *r)
{
	unsigned n;
	pthread_mutex_lock(&s->watch->lock);
	for (n = 1 + below(r, 3); n > 0; n--) {
		if (s->thing.kind == QUEUE)
			s->put = thing_put(&s->thing, s->put % 60 + 1);
		else
			s->put += thing_put(&s->thing, 1 + below(r, 60));
	}
	rearm_all(s, r);
	pthread_mutex_unlock(&s->watch->lock);
	doing("waits until what was put in is out");
	WAIT_FOR(atomic_load(&s->drained) == s->put, "an event was lost: "
	    "watch %u, %s %d: %zu put, %zu drained, registered as%s",
	    s->watch->number, kind_names[s->thing.kind], s->thing.fd, s->put,
	    atomic_load(&s->drained), registered_as(s));
}

static void
delete_all(struct slot *s)
{
	unsigned i, side;
	for (i = 0; i < now.arenas; i++)
		for (side = 0; side < SIDES; side++) {
			struct reg *g = &s->regs[i][side];
			if (g->there)
				change_or(arenas[i].kq,
				    (uintptr_t)s->thing.fd, filters[side],
				    EV_DELETE, 0, 0, NULL,
				    g->flags & EV_ONESHOT ? ENOENT : 0);
		}
}

static void
haunt(struct ghosts *ghosts, int fd, struct rng *r)
{
	unsigned at;
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	CHECK(copy >= 0);
	if (ghosts->count < GHOSTS) {
		ghosts->fds[ghosts->count++] = copy;
		return;
	}
	at = below(r, GHOSTS);
	CHECK(close(ghosts->fds[at]) == 0);
	ghosts->fds[at] = copy;
}

static const char *const replaced[KINDS] = {"socket, replaced",
    "pipe, replaced", "eventfd, replaced", "pty, replaced", "tcp, replaced",
    "file, replaced", "queue, replaced"};

/* Another file on the same number. */
static void
replace(struct slot *s, struct rng *r, struct ghosts *ghosts)
{
	struct thing next = thing_open(r, below(r, KINDS));
	int fd = s->thing.fd;
	if (now.ghosts && one_in(r, 2))
		haunt(ghosts, fd, r);
	thing_close_peer(&s->thing);
	CHECK(dup3(next.fd, fd, O_CLOEXEC) == fd);
	if (next.kind == QUEUE)
		CHECK(kevent(fd, NULL, 0, NULL, 0, NULL) == 0);
	CHECK(close(next.fd) == 0);
	watch_end(s->watch, CLOSED, replaced[s->thing.kind]);
	s->thing = next;
	s->thing.fd = fd;
	s->put = 0;
	atomic_store(&s->drained, 0);
	watch_begin(s->watch);
	register_all(s, r);
	COUNT(T_CHURNED, 1);
}

static void
close_slot(struct slot *s, struct rng *r, struct ghosts *ghosts)
{
	enum ending how = CLOSED;
	bool peer_first = one_in(r, 2);
	switch (below(r, 4)) {
	case 0:
		delete_all(s);
		how = DELETED;
		break;
	case 1:
	case 2:
		if (now.ghosts)
			haunt(ghosts, s->thing.fd, r);
		break;
	}
	/* Often with an event pending. */
	if (one_in(r, 2) && s->thing.kind != QUEUE)
		thing_put(&s->thing, 1);
	if (peer_first)
		thing_close_peer(&s->thing);
	if (how == DELETED)
		watch_end(s->watch, how, kind_names[s->thing.kind]);
	CHECK(close(s->thing.fd) == 0);
	if (how == CLOSED)
		watch_end(s->watch, how, kind_names[s->thing.kind]);
	thing_close_peer(&s->thing);
}

/* New names for the same knotes: the old one is never told again. */
static void
rename_slot(struct slot *s)
{
	unsigned i, side;
	uint64_t before;
	s->watch->generation++;
	before = s->watch->generation - 1;
	s->watch->endings[s->watch->generation % ENDINGS].stamp = 0;
	for (i = 0; i < now.arenas; i++)
		for (side = 0; side < SIDES; side++) {
			struct reg *g = &s->regs[i][side];
			/* What has fired once for all would be made anew. */
			if (g->there && !(g->flags & EV_ONESHOT))
				change(arenas[i].kq, (uintptr_t)s->thing.fd,
				    filters[side], g->flags, g->fflags, 0,
				    watch_udata(s->watch));
		}
	for (i = 0; i < now.arenas; i++)
		for (side = 0; side < SIDES; side++)
			if (s->regs[i][side].flags & EV_ONESHOT)
				return;
	s->watch->endings[before % ENDINGS].deleted = true;
	s->watch->endings[before % ENDINGS].what = "renamed";
	s->watch->endings[before % ENDINGS].stamp = stamp();
}

void
churn_run(struct worker *me, void *unused)
{
	struct slot *slots = calloc(SLOTS, sizeof *slots);
	struct ghosts ghosts = {.count = 0};
	struct rng *r = &me->rng;
	unsigned i;
	(void)unused;
	CHECK(slots != NULL);
	for (i = 0; i < SLOTS; i++)
		slots[i].watch = watch_new(churn_event, &slots[i]);
	while (!atomic_load(&now.stop)) {
		struct slot *s = &slots[below(r, SLOTS)];
		unsigned what = below(r, 8);
		doing("changes a descriptor");
		if (s->watch->live && what < 3) {
			put_and_wait(s, r);
			continue;
		}
		pthread_mutex_lock(&s->watch->lock);
		if (!s->watch->live)
			open_slot(s, r);
		else if (what == 3)
			rename_slot(s);
		else if (what == 4)
			replace(s, r, &ghosts);
		else
			close_slot(s, r, &ghosts);
		pthread_mutex_unlock(&s->watch->lock);
		if (ghosts.count > 0 && one_in(r, 4))
			CHECK(close(ghosts.fds[--ghosts.count]) == 0);
		if (one_in(r, 8))
			pause_ns(below(r, 2000000));
	}
	doing("closes everything");
	for (i = 0; i < SLOTS; i++) {
		pthread_mutex_lock(&slots[i].watch->lock);
		if (slots[i].watch->live)
			close_slot(&slots[i], r, &ghosts);
		pthread_mutex_unlock(&slots[i].watch->lock);
	}
	while (ghosts.count > 0)
		CHECK(close(ghosts.fds[--ghosts.count]) == 0);
	free(slots);
}
