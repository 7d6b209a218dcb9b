/* fcgi/http_api_priv.h - what these share: http_api.c (a definition, and what an answer means), http_ask.c (an API is
 * asked: cache, breaker, retries). */
#ifndef MCP_FCGI_HTTP_API_PRIV_H
#define MCP_FCGI_HTTP_API_PRIV_H

#include "fcgi/http_api.h"
#include "fcgi/http_breaker.h"

struct http_api {
	struct http_def *def;         /* owned */
	struct http_breaker *breaker; /* owned: a share */
	struct slice result;          /* borrowed from the configuration, as template */
	const char *template;
	bool needs_json;
	struct http_policy policy;
};

#endif
