/* tests/lib/scratch.h - a directory of a test, with files in it, that goes with the test. */
#ifndef MCP_TESTS_SCRATCH_H
#define MCP_TESTS_SCRATCH_H

#include "common/util.h"

struct scratch {
	char dir[64];
};

void scratch_init(struct scratch *s);
/* Writes a file at a path below it; directories on the way are made. */
void scratch_write(const struct scratch *s, const char *path, struct slice bytes);
/* Its path, good until the next call. */
const char *scratch_path(const struct scratch *s, const char *path);
void scratch_release(struct scratch *s);

#endif
