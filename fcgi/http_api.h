/* fcgi/http_api.h - an HTTP API as a definition has it: its request (fcgi/http_def.h), and what becomes of the answer.
 *
 * Beside "http" a definition may hold
 *   "result"            a JSON pointer into the answer, as in "/data/0": what counts of it; "" is all of it
 *   "template"          a text: {/pointer} is a place of that result, {name} an argument; what is missing is empty
 *   "output_max_bytes"  of the answer, decompressed
 *   "retries"           how often a request that can be repeated (GET, HEAD, PUT, DELETE) is repeated: after 429, 502,
 *                       503 and 504, and when the connection breaks. One that could not be sent may be of any method
 *   "cache"             seconds for which an answer is kept, for all workers of this host; 0: none is; or an object:
 *       "ttl_s"                     these seconds
 *       "stale_while_revalidate_s"  so much longer it is given at once, while a new one is asked for
 *       "stale_if_error_s"          so much longer it is given when no new one comes
 *     Requests for the same are joined meanwhile. What counts is the complete request, and not what the answer's
 *     headers say about caches
 * The first two need an answer that is JSON. Which answers come out of the cache is told to clients: in _meta,
 * "mcp-fcgi/cache": {"age_s": N, "stale": true}. */
#ifndef MCP_FCGI_HTTP_API_H
#define MCP_FCGI_HTTP_API_H

#include "fcgi/call.h"
#include "fcgi/http_def.h"

#define HTTP_API_MEMBERS "result", "template", "output_max_bytes", "retries", "cache"

struct http_api; /* made when the configuration is read, then only read, by any thread */

/* What an API answered, from http_api_call() to http_answer_release(). */
struct http_answer {
	struct buf why;  /* empty: the answer is there. Else how it failed, in words for the client */
	bool is_refusal; /* it was a status below 500, but 408 and 429: what was asked for is not to be had */
	bool is_missing; /* it was 404 or 410 */
	bool is_unfit;   /* an argument can't be where it is to go: nobody was asked */
	char content_type[HTTP_CONTENT_TYPE_MAX];
	struct buf body;
	int64_t age_ms; /* -1: it is new. Else it was kept */
	bool is_stale;
	bool has_failed; /* it is stale, for no new one came */
};

/* Reads def, which stands at pointer; but *timeout_s is its caller's to read, and only set without one. NULL:
 * complained about, or *err is ERR_NOMEM. */
struct http_api *http_api_new(json_object *def, const struct http_names *names, int64_t *timeout_s, struct cfg *cfg,
    const char *pointer, struct err *err);
void http_api_free(struct http_api **apip);

/* Whether only an answer that is JSON will do. */
bool http_api_needs_json(const struct http_api *api);

/* Asks. name is for the log. 0: look at answer->why. -1: ERR_CANCELLED, or what went wrong inside us. answer is to be
 * released in any case. */
int http_api_call(const struct http_api *api, struct call *call, const char *name, json_object *args, int64_t timeout_s,
    struct http_answer *answer, struct err *err);
/* The answer was no good after all: sets why. Returns 1. */
int http_answer_fail(struct http_answer *answer, const char *fmt, ...) PRINTF_LIKE(2, 3);
void http_answer_release(struct http_answer *answer);

/* The answer as JSON, and in it what "result" points to: lent by *root, NULL for null. *root is the caller's. 1: it is
 * not, answer->why says why. */
int http_api_parse(const struct http_api *api, struct call *call, struct http_answer *answer, json_object **root,
    json_object **result, struct err *err);
/* Says in the _meta of obj, which has none, where the answer is from; nothing if it is new. */
int http_answer_add_meta(const struct http_answer *answer, json_object *obj, struct err *err);
/* Appends what clients read: the template, filled in; without one a string as it is, else JSON. */
void http_api_put_text(const struct http_api *api, json_object *args, json_object *result, struct buf *out);

#endif
