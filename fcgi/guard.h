/* fcgi/guard.h - who may ask at all: Host, Origin, API key, before a byte of the body is read (differences.md 2.1,
 * steps 3-6). */
#ifndef MCP_FCGI_GUARD_H
#define MCP_FCGI_GUARD_H

#include "fcgi/exchange.h"

/* Host and Origin. 0: x->origin is set if there is one. -1: ERR_FORBIDDEN, and the log says which setting would allow
 * it. */
int guard_origin(struct exchange *x, struct err *err);

/* API key. 0: x->principal is set. -1: ERR_UNAUTHORIZED, or ERR_INVALID for a malformed header; challenge is then the
 * value for WWW-Authenticate. */
int guard_key(struct exchange *x, const char **challenge, struct err *err);

/* The same, and the limits on requests: x->who is set. ERR_RATE: too many, wait_s seconds from now there may be one more;
 * then the key was not even looked at, or it was wrong too often, or its holder asks too much. */
int guard_client(struct exchange *x, const char **challenge, unsigned *wait_s, struct err *err);

/* What one message counts beside the HTTP request that brought it: each but the first of a batch as one more request, a
 * completion as a completion. ERR_RATE. */
int guard_message(const struct exchange *x, struct slice method, bool is_first, struct err *err);

/* Reads scheme, host and port of an http(s) URL: *host lower case, without port, with the brackets of IPv6; *origin as
 * browsers write it (scheme://host[:port], default port left out). Owned by the caller; NULL on failure: ERR_CONFIG. */
int guard_split_url(const char *url, char **host, char **origin, struct err *err);

#endif
