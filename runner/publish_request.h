/* runner/publish_request.h - what a script asks of the publishing socket: the head of POST /publish, read strictly. */
#ifndef MCP_RUNNER_PUBLISH_REQUEST_H
#define MCP_RUNNER_PUBLISH_REQUEST_H

#include "common/util.h"

#define PUBLISH_PATH     "/publish"
#define PUBLISH_HEAD_MAX 8192

struct publish_request {
	size_t head_len, body_len; /* bytes */
	struct slice key;          /* of X-API-Key or Authorization: Bearer, lent out of the head; empty: none */
	bool wants_continue;       /* its client sends the body when it was told to */
};

/* 200: *r; 0: the head is not complete yet; else the HTTP status of its refusal. Never 0 from PUBLISH_HEAD_MAX bytes
 * on. What follows the head doesn't matter. */
int publish_request_read(struct slice in, struct publish_request *r);

#endif
