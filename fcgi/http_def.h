/* fcgi/http_def.h - what a definition says about a request to an HTTP API, and the requests made of it.
 *
 *   "http": {
 *     "api": "river",                                   what it shares with others (fcgi/http_base.h): then url is what
 *                                                       follows that of the API
 *     "url": "https://api.example/v1/{city}/now",       or only this, as a string in the place of the object
 *     "method": "GET",                                  else POST when there is something to send, or GET
 *     "query": {"units": "{units}", "limit": 10},
 *     "headers": {"Authorization": "Bearer {file:token}"},
 *     "json": {...} | "form": {...} | "body": "..."     one of them: what is sent
 *   }
 *
 * {name} is an argument, {mcp:call} what others name the call by (fcgi/report.h), {file:PATH} the content of a file, less a newline at its end: a secret, read with the
 * configuration, never logged, and blotted out of whatever an API says; {basic:PATH} the same in base64, for "user:password". A missing argument has its
 * default. Each place
 * has its own escaping (fcgi/escape.h):
 *   url      percent-encoded; never in the scheme and host. Has to be there, and not to make a segment "." or ".."
 *   query    percent-encoded; a parameter whose argument is missing is left out, one that is exactly "{name}" is
 *            repeated for each item of an array. form is the same
 *            Instead of a text there may be {"value": TEXT, "style": STYLE}: "comma", "space" and "pipe" write an array
 *            with that between its items; "deep" writes NAME[MEMBER]=VALUE; "json" writes JSON
 *   headers  what holds a control character is refused; a header whose argument is missing is left out
 *            An array in a URL or a header is its items with commas between them
 *   json     any JSON: "{name}" alone is the value itself, whatever its type, and left out when missing: if it was all,
 *            nothing is sent; {name} within a string is text
 *   body     text as it is, in XML (by the header Content-Type) escaped for that */
#ifndef MCP_FCGI_HTTP_DEF_H
#define MCP_FCGI_HTTP_DEF_H

#include <json-c/json.h>

#include "fcgi/http_base.h"

#define HTTP_CALL "mcp:call"

struct http_def; /* made when the configuration is read, then only read, by any thread */

/* What can stand in a {placeholder}: whether it can ever, and whether it is there in every call. */
struct http_names {
	bool (*has)(const void *arg, struct slice name);
	bool (*has_always)(const void *arg, struct slice name);
	const void *arg;
};

/* Reads the member "http" of def, which stands at pointer. NULL: complained about, or *err is ERR_NOMEM. */
struct http_def *http_def_new(
    json_object *def, const struct http_names *names, struct cfg *cfg, const char *pointer, struct err *err);
void http_def_free(struct http_def **defp);

const char *http_def_host(const struct http_def *def);             /* with its port, for logs */
const char *http_def_name(const struct http_def *def);             /* for clients: says nothing of networks and ports */
const struct http_base *http_def_base(const struct http_def *def); /* NULL: none */
bool http_def_is_repeatable(const struct http_def *def);
bool http_def_may_be_cached(const struct http_def *def);
bool http_def_only_reads(const struct http_def *def);
/* Then HTTP_CALL is to be one of the arguments of http_def_make(): the caller's to add. */
bool http_def_names_call(const struct http_def *def);

/* The request of these arguments; request was initialised. 1: they can't be, why says in what way. */
int http_def_make(
    const struct http_def *def, json_object *args, struct http_request *request, struct buf *why, struct err *err);

/* The value of an argument or its default; NULL: missing, or null. Borrowed. */
json_object *http_def_value(const struct http_def *def, json_object *args, struct slice name);

/* Appends text with every secret blotted out. */
void http_def_put_clean(const struct http_def *def, struct buf *out, struct slice text);

#endif
