/* tests/lib/broker_fixture.h - a real mcp-broker and one fake worker, for a test each, and what such tests say often.
 */
#ifndef MCP_TESTS_BROKER_FIXTURE_H
#define MCP_TESTS_BROKER_FIXTURE_H

#include "tests/lib/fake_worker.h"
#include "tests/lib/unit.h"

#define KEY  "session-1"
#define HIM  "alice"
#define WILL "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32603,\"message\":\"worker died\"}}"

extern const char *const one_id[]; /* the request 1, with WILL */

struct fixture {
	struct fake_broker_process broker;
	struct fake_worker w;
};

/* For a test's setup. fd_limit 0: as it is. */
int fixture_start(void **state, const char *const *sets, size_t count, unsigned fd_limit);
int fixture_setup(void **state);
int fixture_teardown(void **state); /* the broker must end well */

void make_session(struct fixture *f);
/* A legacy call with a stream of its own and a connection to it. */
void make_stream(struct fixture *f, uint64_t *call, uint64_t *stream, struct fake_server *s);
/* A connection to the session's own stream. */
void attach_own(struct fixture *f, uint64_t *own, struct fake_server *s);

void expect_text(struct fake_server *s, const char *text);
void expect_end(struct fake_server *s); /* a proper one */
void expect_cancelled(struct fake_worker *w, uint64_t call, const char *id);
void expect_message(struct fake_worker *w, enum link_type type, struct fake_answer *a);
void expect_silence(struct fake_worker *w);

#define TEST_WITH(name, setup_with) cmocka_unit_test_setup_teardown(name, setup_with, fixture_teardown)
#define TEST(name)                  TEST_WITH(name, fixture_setup)

#endif
