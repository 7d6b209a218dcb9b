/* fcgi/http_breaker.h - a host that fails is left alone for a while.
 *
 *   closed     everybody may ask. http_breaker_failures failures in a row open it
 *   open       nobody may ask, for http_breaker_open_s
 *   half open  then one may, and all others go on as if it was open: if that is answered it is closed, else open anew
 *
 * One for each host, of one process: definitions of the same host share it. */
#ifndef MCP_FCGI_HTTP_BREAKER_H
#define MCP_FCGI_HTTP_BREAKER_H

#include "common/cfg.h"

struct http_breaker;

enum http_outcome {
	HTTP_OUTCOME_GOOD, /* it answered, if only that it does not want to */
	HTTP_OUTCOME_BAD,
	HTTP_OUTCOME_NONE, /* cancelled: nobody knows */
};

/* A share of the one for host ("api.example:8443"). NULL: no memory. */
struct http_breaker *http_breaker_get(const struct cfg *cfg, const char *host);
void http_breaker_release(struct http_breaker **bp);

/* True: who asks may do so, and says afterwards by http_breaker_leave() how it went. False: not for *wait_ms. */
bool http_breaker_enter(struct http_breaker *b, uint64_t *wait_ms);
void http_breaker_leave(struct http_breaker *b, enum http_outcome outcome);

#endif
