/* fcgi/ask_legacy.h - asking a client of the era of sessions: a JSON-RPC request on the stream of its call, answered by
 * a POST of its own, which may reach any worker.
 *
 * Nobody waits: the call is parked in the broker, with its request and what was asked and answered so far. Whoever
 * receives the last answer has the call from then on, runs the handler again and ends the stream. So it works from
 * plain CGI too, and survives the death of the worker that asked. */
#ifndef MCP_FCGI_ASK_LEGACY_H
#define MCP_FCGI_ASK_LEGACY_H

#include "fcgi/legacy.h"

/* Sends what call asks to the client of x, whose request is rpc. 0: x is over, the call is the broker's. -1: it is as
 * it was, except that an open exchange may be a stream now. */
int ask_legacy_park(struct exchange *x, const struct call *call, const struct rpc *rpc, struct err *err);

/* What one POST's responses led to. */
struct ask_legacy_taken {
	struct link_taken *items; /* owned; those that are ours to run */
	size_t count;
};

/* Hands the responses of batch to the calls that wait for them; those that wait for nothing more come back in taken,
 * also when it fails. To be released, by ask_legacy_run(), in any case. */
int ask_legacy_answer(
    struct exchange *x, const struct legacy_batch *batch, struct ask_legacy_taken *taken, struct err *err);

/* Runs the calls that x's POST has taken, and releases taken. session is theirs. x has been
 * answered. */
void ask_legacy_run(struct exchange *x, struct session *session, struct ask_legacy_taken *taken);

#endif
