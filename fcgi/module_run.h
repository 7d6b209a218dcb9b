/* fcgi/module_run.h - one call of a module's handler, in a thread of its own.
 *
 * So a handler may block as it likes: its call is watched all the same, becomes a stream after stream_after_ms, and
 * ends in time. When the time is over or nobody waits any more, the handler is told (mcp_wait() and its kin) and has
 * module_grace_ms; a call whose handler hasn't returned by then ends without it. Its thread can't be ended: it is left
 * alone, and counts until it returns. With module_hung_max such threads no further handler is begun in this process. */
#ifndef MCP_FCGI_MODULE_RUN_H
#define MCP_FCGI_MODULE_RUN_H

#include "fcgi/module.h"

/* What a handler gave. */
struct module_answer {
	int status;              /* enum mcp_status that it returned */
	json_object *pieces;     /* owned; an array of {"text"} and {"data": base64, "mimeType"}; NULL: none */
	json_object *structured; /* owned; NULL: none */
	json_object *whole;      /* owned; NULL: none */
	struct err fault;        /* not ERR_NONE: what it gave could not be kept, and is not to be told */
};

struct module_input {
	const struct module_offer *offer;
	struct slice name; /* of the tool or prompt; the URI */
	json_object *args; /* borrowed */
	int64_t timeout_s;
};

/* 0: *answer is there, to be released. 1: err says why the handler gave none that counts (it hangs, was too late). -1:
 * ERR_CANCELLED, or what went wrong inside us. */
int module_run(struct call *call, const struct module_input *input, struct module_answer *answer, struct err *err);
void module_answer_release(struct module_answer *answer);

#endif
