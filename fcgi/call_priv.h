/* fcgi/call_priv.h - how a handler's call is made from an exchange. For those who make calls (modern.c, legacy.c,
 * oldsse.c). */
#ifndef MCP_FCGI_CALL_PRIV_H
#define MCP_FCGI_CALL_PRIV_H

#include "fcgi/exchange.h"

struct call_priv {
	struct exchange *x;   /* borrowed */
	const char *id;       /* JSON text of the request's id; borrowed */
	double progress_last; /* the last one sent; progress has to grow */
	bool progress_started;
	uint64_t stream_at_ms; /* when silence becomes a stream */
};

/* Fills call and priv for the request rpc of exchange x. The caller sets capabilities and log level. */
void call_init(struct call *call, struct call_priv *priv, struct exchange *x, const struct rpc *rpc);

#endif
