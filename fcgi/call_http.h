/* fcgi/call_http.h - a call that answers an HTTP exchange. For those who make calls from one (modern.c, legacy.c,
 * oldsse.c). */
#ifndef MCP_FCGI_CALL_HTTP_H
#define MCP_FCGI_CALL_HTTP_H

#include "fcgi/call_priv.h"
#include "fcgi/exchange.h"

struct call_http {
	struct call call; /* first: what handlers see is ours */
	struct call_priv priv;
	struct exchange *x;    /* borrowed */
	uint64_t stream_at_ms; /* when silence becomes a stream */
	uint64_t ends_at_ms;   /* when it has taken too long (call_timeout_s) */
	bool is_late;          /* that has been */
	uint64_t close_at_ms;  /* when the stream lets go of its connection (stream_poll_after_ms); 0: not known yet */
};

/* Fills h for the request rpc of exchange x. The caller sets capabilities and log level. To be released with
 * call_release(&h->call). */
void call_http_init(struct call_http *h, struct exchange *x, const struct rpc *rpc);

static inline struct call_http *call_http(struct call *call)
{
	return (struct call_http *)call;
}

#endif
