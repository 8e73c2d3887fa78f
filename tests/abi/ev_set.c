/*
 * EV_SET as a caller meets it. Plain C89, which is C++ as well: it is built
 * as each. Ends with 0, or names the line that is not true and ends with 1.
 */
#include <sys/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRUE_HERE(cond)                                                       \
	do {                                                                  \
		if (!(cond)) {                                                \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__,    \
			    __LINE__, #cond);                                 \
			exit(1);                                              \
		}                                                             \
	} while (0)

#define HOLDS(k, i, fi, fl, ff, d, u)                                         \
	TRUE_HERE((k).ident == (i) && (k).filter == (fi) &&                   \
	    (k).flags == (fl) && (k).fflags == (ff) && (k).data == (d) &&     \
	    (k).udata == (u))

static int calls[7];
static struct kevent made[3];

static struct kevent *
which(void)
{
	calls[0]++;
	return (&made[1]);
}

static int
number(int place, int value)
{
	calls[place]++;
	return (value);
}

static void *
pointer(void)
{
	calls[6]++;
	return (made);
}

static void
each_argument_is_evaluated_once(void)
{
	struct kevent untouched, *next = made;
	int i, ident = 1, data = -5;

	memset(made, 0xa5, sizeof(made));
	memset(&untouched, 0xa5, sizeof(untouched));
	EV_SET(which(), number(1, 41), number(2, EVFILT_USER),
	    number(3, EV_ADD | EV_CLEAR), number(4, 7), number(5, -9),
	    pointer());
	for (i = 0; i < 7; i++)
		TRUE_HERE(calls[i] == 1);
	HOLDS(made[1], 41, EVFILT_USER, (EV_ADD | EV_CLEAR), 7, -9, made);
	TRUE_HERE(memcmp(&made[0], &untouched, sizeof(untouched)) == 0);
	TRUE_HERE(memcmp(&made[2], &untouched, sizeof(untouched)) == 0);

	EV_SET(next++, ident++, EVFILT_READ, EV_ADD, 0, data++, NULL);
	EV_SET(next++, ident++, EVFILT_READ, EV_ADD, 0, data++, NULL);
	TRUE_HERE(next == made + 2 && ident == 3 && data == -3);
	HOLDS(made[0], 1, EVFILT_READ, EV_ADD, 0, -5, NULL);
	HOLDS(made[1], 2, EVFILT_READ, EV_ADD, 0, -4, NULL);
}

/* The name in each place by itself, then as a part of an expression. */
#define SURVIVES(name)                                                        \
	static void                                                           \
	survives_##name(void)                                                 \
	{                                                                     \
		struct kevent out[2];                                         \
		{                                                             \
			struct kevent *name = out;                            \
			EV_SET(name, 1, 2, 3, 4, 5, out);                     \
			HOLDS(out[0], 1, 2, 3, 4, 5, out);                    \
			EV_SET(name + 1, 6, 7, 8, 9, 10, name);               \
			HOLDS(out[1], 6, 7, 8, 9, 10, out);                   \
			EV_SET(&name[0], name[1].ident, name[1].filter,       \
			    name[1].flags, name[1].fflags, name[1].data,      \
			    name[1].udata);                                   \
			HOLDS(out[0], 6, 7, 8, 9, 10, out);                   \
		}                                                             \
		{                                                             \
			int name = 11;                                        \
			EV_SET(out, name, name, name, name, name, out);       \
			HOLDS(out[0], 11, 11, 11, 11, 11, out);               \
			EV_SET(&out[name - 10], name + 1, name + 2, name + 3, \
			    name + 4, name + 5, &out[name - 11]);             \
			HOLDS(out[1], 12, 13, 14, 15, 16, out);               \
		}                                                             \
	}

/*
 * libkqueue's and the kernels' own names for the local, those of our macro
 * and our function, the fields, and what people call such things.
 */
#define NAMES(DO)                                                             \
	DO(kevp) DO(_kevp) DO(kevp_) DO(kevp__) DO(__kevp) DO(kev_)           \
	DO(ident_) DO(filter_) DO(flags_) DO(fflags_) DO(data_) DO(udata_)    \
	DO(ident) DO(filter) DO(flags) DO(fflags) DO(data) DO(udata)          \
	DO(kev) DO(kevent) DO(kqueue) DO(_kev) DO(ke) DO(ev) DO(event)        \
	DO(k) DO(p) DO(x) DO(tmp) DO(a) DO(b) DO(c) DO(d) DO(e) DO(f)

NAMES(SURVIVES)

#define CALL(name) survives_##name();

static void
all_parameter_names_at_once(void)
{
	struct kevent out, *kev_ = &out;
	int ident_ = 1, filter_ = 2, flags_ = 3, fflags_ = 4, data_ = 5;
	void *udata_ = &out;

	EV_SET(kev_, ident_, filter_, flags_, fflags_, data_, udata_);
	HOLDS(out, 1, 2, 3, 4, 5, &out);
	/* Askew: a parameter that took another's place would show. */
	EV_SET(kev_, data_, fflags_, ident_, filter_, flags_, udata_);
	HOLDS(out, 5, 4, 1, 2, 3, &out);
}

static void
arguments_are_read_before_any_field_is_written(void)
{
	struct kevent k;

	EV_SET(&k, 1, 2, 3, 4, 5, &k);
	EV_SET(&k, k.data, k.ident, k.filter, k.flags, k.fflags, k.udata);
	HOLDS(k, 5, 1, 2, 3, 4, &k);
}

static void
any_expression_of_a_fitting_kind(void)
{
	static const char text[] = "constant";
	struct kevent k[2];
	int yes = 1;
	unsigned long wide = ~0UL;

	/* Operators that bind less than a cast. */
	EV_SET(yes ? &k[0] : &k[1], yes ? 3 : 4,
	    yes ? EVFILT_READ : EVFILT_WRITE, yes ? EV_ADD : EV_DELETE,
	    yes ? NOTE_LOWAT : 0, yes ? -1 : 1, yes ? k : NULL);
	HOLDS(k[0], 3, EVFILT_READ, EV_ADD, NOTE_LOWAT, -1, k);

	/* A statement as any other, and a value of type void. */
	if (yes)
		EV_SET(&k[0], 5, EVFILT_USER, 0, 0, 0, NULL);
	else
		EV_SET(&k[1], 6, EVFILT_USER, 0, 0, 0, NULL);
	TRUE_HERE(k[0].ident == 5);
	yes ? EV_SET(&k[1], 7, 0, 0, 0, 0, NULL) : (void)0;
	TRUE_HERE(k[1].ident == 7);

	/* Pointers as ident, and to what is constant; every bit kept. */
	EV_SET(&k[0], text, EVFILT_USER, 0xffff, 0xffffffff, ~0, text);
	TRUE_HERE(k[0].ident == (uintptr_t)text && k[0].flags == 0xffff);
	TRUE_HERE(k[0].fflags == 0xffffffff && k[0].data == -1);
	TRUE_HERE(k[0].udata == (const void *)text);
	EV_SET(&k[0], wide, 0, 0, 0, wide >> 1, NULL);
	TRUE_HERE(k[0].ident == ~(uintptr_t)0);
	TRUE_HERE(k[0].data == (intptr_t)(wide >> 1));
	EV_SET(&k[0], wide, 0, 0, 0, 0, 0);
	TRUE_HERE(k[0].udata == NULL);
}

int
main(void)
{
	each_argument_is_evaluated_once();
	NAMES(CALL)
	all_parameter_names_at_once();
	arguments_are_read_before_any_field_is_written();
	any_expression_of_a_fitting_kind();
	return (0);
}
