/* tests/lib/fake_req.h - a request without a web server: its variables and body are set by the test, its answer is
 * kept. */
#ifndef MCP_TESTS_FAKE_REQ_H
#define MCP_TESTS_FAKE_REQ_H

#include "fcgi/req_ops.h"

#define FAKE_REQ_ENV_MAX 48

struct fake_req {
	struct req base;
	char *env[FAKE_REQ_ENV_MAX + 1]; /* owned */
	size_t env_count;
	struct slice body; /* borrowed; what is still to be read */
	bool breaks_off;   /* after the body comes an error, not the end */
	int fd;            /* what a handoff passes; -1: none */
	struct buf head, answer;
	unsigned answers_count; /* replies and detachments: has to be 1 in the end */
	bool is_detached;
};

void fake_req_init(struct fake_req *r);
void fake_req_release(struct fake_req *r);
void fake_req_set(struct fake_req *r, const char *name, const char *value); /* value NULL: no such variable */
/* Header lines as a client sends them, "Name: value" each, separated by '\n'; folded to variables as web servers do it.
 */
void fake_req_set_headers(struct fake_req *r, const char *lines);
void fake_req_set_body(struct fake_req *r, struct slice body); /* with its CONTENT_LENGTH */

/* Value of a header in the head of an answer, whatever the name's case, into out; false: there is none. */
bool fake_head_get(const char *head, const char *name, char *out, size_t size);

#endif
