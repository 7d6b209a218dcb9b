/* fcgi/ask_modern.h - asking a client of 2026-07-28: its answer is "input_required", and it sends the request again
 * with what was asked for (MR-01 .. MR-12). What lies between the rounds is in the client's hands, sealed: any worker
 * can go on with it, and nobody waits. */
#ifndef MCP_FCGI_ASK_MODERN_H
#define MCP_FCGI_ASK_MODERN_H

#include "fcgi/ask_round.h"
#include "fcgi/rpc.h"

/* Reads requestState and inputResponses of a request into round, and lends it to call. ERR_PARAMS: they can't be;
 * others: what went wrong. round is to be released in any case. */
int ask_modern_begin(struct call *call, const struct rpc *rpc, struct ask_round *round, struct err *err);

/* Appends the answer to rpc that asks what call asks. */
int ask_modern_put(const struct call *call, const struct rpc *rpc, struct buf *out, struct err *err);

#endif
