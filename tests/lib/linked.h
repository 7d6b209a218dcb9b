/* tests/lib/linked.h - a struct link in a directory of its own, with or without a broker that a test bends to its will.
 */
#ifndef MCP_TESTS_LINKED_H
#define MCP_TESTS_LINKED_H

#include "fcgi/link_client.h"
#include "tests/lib/fake_broker.h"
#include "tests/lib/unit.h"

#define LINKED_SESSION SLICE("the-session")

struct linked {
	char dir[64];
	struct cfg cfg;
	struct link *link;
	struct link_call *call; /* the test's */
	struct fake_broker *broker;
	struct fake_options options;
	char broker_program[128], runner_program[128];
};

extern const struct link_will linked_will; /* of request 1 */

/* For cmocka: *state is a struct linked. */
int linked_setup(void **state);
int linked_teardown(void **state);

void linked_start(
    struct linked *b, bool (*on)(struct fake_broker *, const struct fake_msg *, void *)); /* a broker; on's arg is b */
int linked_begin(struct linked *b, struct link_call **call, struct err *err);             /* a call of LINKED_SESSION */
/* Fails unless rc is what ends with want: 0 for ERR_NONE, else -1. */
void linked_expect(int rc, const struct err *err, enum err_code want, const char *what);
/* Writes a shell script into the directory, and its path to out. Each run adds a line to the file "starts". */
void linked_program(struct linked *b, const char *name, const char *script, char out[128]);
int linked_starts(struct linked *b); /* lines of "starts" */

#endif
