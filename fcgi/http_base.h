/* fcgi/http_base.h - "apis" of the configuration: what the definitions of one HTTP API have in common.
 *
 *   "apis": {
 *     "river": {
 *       "url": "https://api.example/v1",       what stands before the url of each definition
 *       "query": {...}, "headers": {...},      beside those of the definition, which win
 *       "timeout_s", "retries", "output_max_bytes", "cache"     unless the definition says otherwise. The cache is for
 *                                              GET and HEAD only: what sends something says itself that it may be kept
 *       "allow_addresses": ["10.1.0.0/16"]     beside those of the setting http_allow_addresses, and for this API alone
 *     }
 *   }
 *
 * A definition names it, and its url begins with / or ?, or isn't there: {"http": {"api": "river", "url": "/{city}"}}.
 * If there is only one it need not be named: {"http": "/cities"}. In an API only {file:PATH} can be filled in, for
 * there are no arguments; paths are relative to the file that holds it. Clients see its name where something fails, and
 * nothing of its host. */
#ifndef MCP_FCGI_HTTP_BASE_H
#define MCP_FCGI_HTTP_BASE_H

#include "fcgi/http_client.h"

/* How an API is asked. */
struct http_policy {
	int64_t timeout_s, output_max_bytes, retries;
	int64_t ttl_ms; /* 0: nothing is kept */
	int64_t revalidate_ms, error_ms;
};

struct http_base {
	char *name;           /* owned */
	struct http_def *def; /* owned: url, query, headers */
	struct http_policy policy;
	struct address_nets allowed; /* owned */
};

struct http_policy http_policy_of(const struct cfg *cfg);
/* What def at pointer, a definition or an API, says of it; what it doesn't is left. -1: complained about. */
int http_policy_read(struct http_policy *policy, json_object *def, struct cfg *cfg, const char *pointer);

/* The API that def at pointer means, into *base, which the caller owns; NULL: its URL stands alone. -1: complained
 * about, once for an API however many ask it, or *err is ERR_NOMEM. */
int http_base_get(json_object *def, struct http_base **base, struct cfg *cfg, const char *pointer, struct err *err);
void http_base_free(struct http_base **basep);

#endif
