/* A case's child process: the library it measures and what it sends back. */
#ifndef BENCHES_CHILD_H
#define BENCHES_CHILD_H

#include "case.h"

/* What a child sends: one write, small enough to arrive whole. */
struct result {
	int done;
	double bare, lib, spread;
	char remark[160];
	char error[400];
};
_Static_assert(sizeof(struct result) <= 4096, "a write may be split");

extern struct result result;
/* Where to. */
extern int result_fd;

/* Loads the library by path; a case fails here if it cannot be had. */
void load(const char *path);
_Noreturn void send_result(void);

#endif
