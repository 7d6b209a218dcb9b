/* tests/lib/site.h - a worker with fake tools and a fake broker, and rows that say what it has to answer.
 *
 * Tools, in their order:
 *   big        a text of 100,000 bytes
 *   cancelled  has itself cancelled by its client, then works on until it notices
 *   echo       structuredContent is its arguments; {"text": string, "n"?: integer 0 .. 9}; may be a task
 *   fail       fails inside us
 *   meta       a result with an own _meta and resultType
 *   progress   three notifications/progress, one notifications/message, then a result
 *   region     {"region": string, "count": integer, "flag": boolean, "a": {"b": string}}, all mirrored in Mcp-Param-*
 *   slow       60 ms of silence; stream_after_ms is 20
 *   where      asks its client for its roots, then answers with them
 * Sessions: S24, S03, S06, S11 of the revisions with those ends, S00 before initialize, all of nobody, whose client has
 * roots; SX of "mallory".
 */
#ifndef MCP_TESTS_SITE_H
#define MCP_TESTS_SITE_H

#include "fcgi/exchange.h"
#include "tests/lib/fake_link.h"
#include "tests/lib/fake_req.h"
#include "tests/lib/unit.h"

#define SITE_TOOLS_COUNT 9

struct site {
	struct worker w;
	struct tool tools[SITE_TOOLS_COUNT];
	char run_dir[32];
	unsigned busy_count;           /* of the last request */
	bool client_leaves;            /* hangs up before the request is served */
	void (*on_serve)(bool begins); /* called just before and after the worker's code runs; may be NULL */
};

void site_init(struct site *s);
/* Definitions of resources and prompts, as in a configuration; a site has none by itself. */
void site_offer(struct site *s, const char *resources, const char *prompts);
void site_release(struct site *s);
void site_renew(struct site *s); /* what requests have left behind is gone; sessions as above */

/* What a client got: of the worker, or of the broker when the connection was handed over. */
struct site_answer {
	int status;
	char head[4096];
	struct buf body;     /* all bytes; of a stream the messages, one a line */
	json_object *last;   /* the only, or last, JSON value in it; owned; NULL: none */
	size_t events_count; /* of a handed-over stream */
	bool is_handed_over;
};
void site_answer_release(struct site_answer *a);
bool site_answer_header(const struct site_answer *a, const char *name, char *out, size_t size);

/* headers are "Name: value" lines; body NULL sends none. uri may have a query. */
void site_ask(
    struct site *s, const char *method, const char *uri, const char *headers, const char *body, struct site_answer *a);

struct site_row {
	const char *name, *method, *uri, *headers, *body;
	int status;
	const char *type; /* NULL: the answer has no body and no type */
	int code;         /* of the JSON-RPC error; 0: it is none */
	const char *id;   /* JSON text; NULL: the answer has none */
	const char *head; /* a header line of the answer, or NULL */
	const char *says; /* part of the body, or NULL */
};
/* Checks all, each with sessions as new; complains with the row's name, and fails in the end. */
void site_check(struct site *s, const struct site_row *rows, size_t count);

/* What rows are made of: what was asked, and the end of a row, what comes back. */
#define POST_MCP                  "POST", "/mcp"
#define REFUSED(status, code, id) status, JSON_TYPE, code, id, NULL, NULL
#define TO_A_PERSON(status, says) status, TEXT_TYPE, 0, NULL, NULL, says
#define EMPTY(status)             status, NULL, 0, NULL, NULL, NULL
#define EMPTY_WITH(status, head)  status, NULL, 0, NULL, head, NULL

#define JSON_TYPE "application/json"
#define SSE_TYPE  "text/event-stream"
#define TEXT_TYPE "text/plain; charset=utf-8"
#define CONTENT   "Content-Type: application/json\n"
#define ACCEPT    "Accept: application/json, text/event-stream\n"
#define POSTED    CONTENT ACCEPT
#define VERSION26 "MCP-Protocol-Version: 2026-07-28\n"

/* Messages as text. */
#define REQUEST(id, method, params)                                                                                    \
	"{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"" method "\",\"params\":{" params "}}"
#define NOTIFICATION(method, params) "{\"jsonrpc\":\"2.0\",\"method\":\"" method "\",\"params\":{" params "}}"
#define KEY(name)                    "\"io.modelcontextprotocol/" name "\""
#define META_OF(version)             "\"_meta\":{" KEY("protocolVersion") ":\"" version "\"," KEY("clientCapabilities") ":{}}"
#define META                         META_OF("2026-07-28")
#define INITIALIZE_PARAMS(version)                                                                                     \
	"\"protocolVersion\":\"" version "\",\"capabilities\":{},\"clientInfo\":{\"name\":\"t\",\"version\":\"1\"}"

#endif
