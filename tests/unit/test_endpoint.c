/* fcgi/endpoint.c: what is checked before the era is known, in its order, and how the era is found
 * (differences.md 2.1, 2.2, 2.3c, 2.5, 2.7, 2.8) */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/link.h"
#include "tests/lib/site.h"
#include "common/banned.h"

#define EVIL    "Origin: https://evil.example\n"
#define OURS    "Origin: http://localhost:3000\n"
#define CALL    REQUEST("1", "tools/list", "")
#define INIT    REQUEST("1", "initialize", INITIALIZE_PARAMS("2025-11-25"))
#define REPLY   "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}"
#define NOTE    NOTIFICATION("notifications/initialized", "")
#define BATCH   "[" CALL "]"
#define LIST26  REQUEST("1", "tools/list", META)
#define HEADS26 POSTED VERSION26 "Mcp-Method: tools/list\n"

static void test_before_the_era(void **state)
{
	static const struct site_row rows[] = {
	    /* DT-133, and the path comes before everything else */
	    {"DT-133 unknown path", "GET", "/other", "", NULL, TO_A_PERSON(404, "/mcp")},
	    {"DT-133 unknown path before Host", "POST", "/other", "Host: evil.example\n", "{",
		TO_A_PERSON(404, "/mcp")},
	    {"DT-130 no OAuth, no document", "GET", "/.well-known/oauth-protected-resource", "", NULL,
		TO_A_PERSON(404, "/mcp")},
	    {"DT-132 default path of 2025-03-26", "GET", "/authorize", "", NULL, TO_A_PERSON(404, "/mcp")},
	    /* methods */
	    {"DT-107 PUT", "PUT", "/mcp", "", "x", EMPTY_WITH(405, "Allow: GET, POST, DELETE, OPTIONS\r")},
	    {"DT-107 PATCH", "PATCH", "/mcp", "", NULL, EMPTY_WITH(405, "Allow: GET, POST, DELETE, OPTIONS\r")},
	    {"DT-107 TRACE", "TRACE", "/mcp", "", NULL, EMPTY_WITH(405, "Allow: GET, POST, DELETE, OPTIONS\r")},
	    {"DT-107 invented", "GE", "/mcp", "", NULL, EMPTY_WITH(405, "Allow: GET, POST, DELETE, OPTIONS\r")},
	    {"DT-107 two methods", "GET, POST", "/mcp", "", NULL,
		EMPTY_WITH(405, "Allow: GET, POST, DELETE, OPTIONS\r")},
	    {"DT-107 lower case", "post", "/mcp", "", NULL, EMPTY_WITH(405, "Allow: GET, POST, DELETE, OPTIONS\r")},
	    {"DT-107 modern (T-18)", "PUT", "/mcp", VERSION26, NULL, EMPTY_WITH(405, "Allow: POST\r")},
	    {"DT-107 before Host and Origin", "PUT", "/mcp", "Host: evil.example\n" EVIL, NULL, EMPTY(405)},
	    {"DT-92 HEAD", "HEAD", "/mcp", ACCEPT, NULL, EMPTY_WITH(405, "Allow: GET, POST, DELETE, OPTIONS\r")},
	    {"DT-112 POST /sse", "POST", "/sse", POSTED, INIT, EMPTY_WITH(405, "Allow: GET\r")},
	    {"DT-112 POST /mcp/sse by a modern client", "POST", "/mcp/sse", HEADS26, LIST26,
		EMPTY_WITH(405, "Allow: GET\r")},
	    {"DT-113 GET /messages", "GET", "/messages", ACCEPT, NULL, EMPTY_WITH(405, "Allow: POST\r")},
	    {"DT-113 DELETE /mcp/messages", "DELETE", "/mcp/messages", "", NULL, EMPTY_WITH(405, "Allow: POST\r")},
	    {"DT-134 POST /health", "POST", "/health", POSTED, "{}", EMPTY_WITH(405, "Allow: GET, HEAD\r")},
	    /* Host and Origin */
	    {"DT-01 foreign Host", POST_MCP, "Host: evil.example\n" POSTED, CALL, REFUSED(403, -32600, NULL)},
	    {"DT-01 foreign Host on a GET", "GET", "/mcp", "Host: evil.example\n" ACCEPT, NULL,
		REFUSED(403, -32600, NULL)},
	    {"DT-01 before the body is looked at", POST_MCP, "Host: evil.example\n", "{", REFUSED(403, -32600, NULL)},
	    {"DT-02 foreign Origin", POST_MCP, EVIL POSTED, CALL, REFUSED(403, -32600, NULL)},
	    {"DT-02 null", POST_MCP, "Origin: null\n" POSTED, CALL, REFUSED(403, -32600, NULL)},
	    {"DT-02 unparseable", POST_MCP, "Origin: ://\n" POSTED, CALL, REFUSED(403, -32600, NULL)},
	    {"DT-02 on HTTP+SSE", "GET", "/sse", EVIL ACCEPT, NULL, REFUSED(403, -32600, NULL)},
	    {"DT-02 on its posts", "POST", "/messages?sessionId=S11", EVIL CONTENT, CALL, REFUSED(403, -32600, NULL)},
	    {"DT-02 before the size", POST_MCP, EVIL POSTED "Content-Length: 9999999\n", NULL,
		REFUSED(403, -32600, NULL)},
	    {"DT-02 allowed Origin is echoed", POST_MCP, OURS HEADS26, LIST26, 200, JSON_TYPE, 0, "1",
		"Access-Control-Allow-Origin: http://localhost:3000\r\nVary: Origin\r\nAccess-Control-Expose-Headers: "
		"Mcp-Session-Id, Retry-After, WWW-Authenticate\r\n",
		NULL},
	    {"DT-105 OPTIONS", "OPTIONS", "/mcp", OURS, NULL,
		EMPTY_WITH(204, "Access-Control-Allow-Methods: GET, POST, DELETE, OPTIONS\r")},
	    {"DT-105 its headers", "OPTIONS", "/mcp", OURS, NULL,
		EMPTY_WITH(204, "Access-Control-Allow-Headers: Authorization, Mcp-Param-Region\r")},
	    {"DT-105 its origin", "OPTIONS", "/mcp/sse", OURS, NULL,
		EMPTY_WITH(204, "Access-Control-Allow-Origin: http://localhost:3000\r")},
	    {"DT-105 of messages", "OPTIONS", "/messages", OURS, NULL, EMPTY(204)},
	    {"DT-105 of health", "OPTIONS", "/health", OURS, NULL, EMPTY(204)},
	    {"DT-105 without Origin", "OPTIONS", "/mcp", "", NULL,
		EMPTY_WITH(204, "Allow: GET, POST, DELETE, OPTIONS\r")},
	    {"DT-106 OPTIONS, foreign Origin", "OPTIONS", "/mcp", EVIL, NULL, REFUSED(403, -32600, NULL)},
	    /* health */
	    {"DT-134 GET", "GET", "/health", "Host: 192.0.2.7\n", NULL, 200, JSON_TYPE, 0, NULL, NULL,
		"{\"status\":\"ok\",\"service\":\"test\",\"version\":\"1\""},
	    {"DT-134 below mcp", "GET", "/a/mcp/health", "", NULL, 200, JSON_TYPE, 0, NULL, NULL, "\"status\":\"ok\""},
	    /* size, media type, Accept */
	    {"DT-03 announced size", POST_MCP, POSTED "Content-Length: 65537\n", NULL, REFUSED(413, -32600, NULL)},
	    {"DT-03 absurd size", POST_MCP, POSTED "Content-Length: 99999999999999999999999\n", NULL,
		REFUSED(413, -32600, NULL)},
	    {"DT-03 before the media type", POST_MCP, "Content-Length: 65537\n", NULL, REFUSED(413, -32600, NULL)},
	    {"DT-06 no media type", POST_MCP, ACCEPT, CALL, EMPTY(415)},
	    {"DT-06 text/plain", POST_MCP, "Content-Type: text/plain\n" ACCEPT, CALL, EMPTY(415)},
	    {"DT-06 form", POST_MCP, "Content-Type: application/x-www-form-urlencoded\n" ACCEPT, CALL, EMPTY(415)},
	    {"DT-06 before Accept", POST_MCP, "Accept: text/html\n", CALL, EMPTY(415)},
	    {"DT-06 charset is ignored", POST_MCP,
		"Content-Type: Application/JSON; charset=latin1\n" ACCEPT VERSION26 "Mcp-Method: tools/list\n", LIST26,
		200, JSON_TYPE, 0, "1", NULL, NULL},
	    {"DT-06 encoding", POST_MCP, POSTED "Content-Encoding: gzip\n", CALL, EMPTY(415)},
	    {"DT-06 identity is none", POST_MCP, HEADS26 "Content-Encoding: identity\n", LIST26, 200, JSON_TYPE, 0, "1",
		NULL, NULL},
	    {"DT-07 neither type", POST_MCP, CONTENT "Accept: text/html\n", CALL, EMPTY(406)},
	    {"DT-07 both excluded", POST_MCP, CONTENT "Accept: application/json;q=0, text/*;q=0\n", CALL, EMPTY(406)},
	    {"DT-07 before the JSON", POST_MCP, CONTENT "Accept: text/html\n", "{", EMPTY(406)},
	    {"DT-07 absent admits all", POST_MCP, CONTENT VERSION26 "Mcp-Method: tools/list\n", LIST26, 200, JSON_TYPE,
		0, "1", NULL, NULL},
	    {"DT-07 JSON only", POST_MCP, CONTENT "Accept: application/json\n" VERSION26 "Mcp-Method: tools/list\n",
		LIST26, 200, JSON_TYPE, 0, "1", NULL, NULL},
	    {"DT-07 SSE only gets SSE", POST_MCP,
		CONTENT "Accept: text/event-stream\n" VERSION26 "Mcp-Method: tools/list\n", LIST26, 200, SSE_TYPE, 0,
		"1", NULL, NULL},
	    {"DT-07 SSE only gets errors in SSE", POST_MCP,
		CONTENT "Accept: text/event-stream\n" VERSION26 "Mcp-Method: tools/call\nMcp-Name: x\n",
		REQUEST("1", "tools/call", "\"name\":\"x\"," META), 200, SSE_TYPE, -32602, "1", NULL, NULL},
	    /* JSON */
	    {"DT-08 no body", POST_MCP, POSTED, NULL, REFUSED(400, -32700, NULL)},
	    {"DT-08 empty body", POST_MCP, POSTED, "", REFUSED(400, -32700, NULL)},
	    {"DT-08 not JSON", POST_MCP, POSTED, "hello", REFUSED(400, -32700, NULL)},
	    {"DT-08 cut short", POST_MCP, POSTED, "{\"jsonrpc\":\"2.0\",\"id\":1", REFUSED(400, -32700, NULL)},
	    {"DT-08 two values", POST_MCP, POSTED, CALL CALL, REFUSED(400, -32700, NULL)},
	    {"DT-08 not UTF-8", POST_MCP, POSTED, "{\"jsonrpc\":\"2.0\",\"id\":\"\377\",\"method\":\"ping\"}",
		REFUSED(400, -32700, NULL)},
	    {"DT-08 single quotes", POST_MCP, POSTED, "{'jsonrpc':'2.0','id':1,'method':'ping'}",
		REFUSED(400, -32700, NULL)},
	    {"DT-09 null", POST_MCP, POSTED, "null", REFUSED(400, -32600, NULL)},
	    {"DT-09 number", POST_MCP, POSTED, "7", REFUSED(400, -32600, NULL)},
	    {"DT-09 name twice", POST_MCP, POSTED,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"method\":\"x\"}", REFUSED(400, -32600, NULL)},
	    {"DT-09 no jsonrpc, id is repeated", POST_MCP, POSTED, "{\"id\":\"a\",\"method\":\"ping\"}",
		REFUSED(400, -32600, "\"a\"")},
	    {"DT-09 id null", POST_MCP, POSTED, "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}",
		REFUSED(400, -32600, NULL)},
	    {"DT-09 params an array", POST_MCP, POSTED,
		"{\"jsonrpc\":\"2.0\",\"id\":9007199254740993,\"method\":\"ping\",\"params\":[]}",
		REFUSED(400, -32600, "9007199254740993")},
	    {"DT-09 before the session is asked for", POST_MCP, POSTED "Mcp-Session-Id: dead\n", "{}",
		REFUSED(400, -32600, NULL)},
	    {"DT-10 two versions", POST_MCP, POSTED "MCP-Protocol-Version: 2025-11-25, 2025-11-25\n", CALL,
		REFUSED(400, -32600, NULL)},
	    {"DT-10 two sessions", POST_MCP, POSTED "Mcp-Session-Id: S11, S06\n", CALL, REFUSED(400, -32600, NULL)},
	    {"DT-10 two sessions on GET", "GET", "/mcp", ACCEPT "Mcp-Session-Id: S11, S06\n", NULL,
		REFUSED(400, -32600, NULL)},
	    {"DT-10 two event ids", "GET", "/mcp", ACCEPT "Mcp-Session-Id: S11\nLast-Event-ID: a, b\n", NULL,
		REFUSED(400, -32600, NULL)},
	    {"DT-10 two methods", POST_MCP, POSTED VERSION26 "Mcp-Method: a, b\n", LIST26, REFUSED(400, -32600, NULL)},
	};
	struct site s;

	(void)state;
	site_init(&s);
	site_check(&s, rows, COUNT_OF(rows));
	site_release(&s);
}

/* differences.md 2.8: body by version header, without a session header. */
static void test_matrix(void **state)
{
	static const char *const headers[] = {
	    "", "MCP-Protocol-Version: 2025-06-18\n", VERSION26, "MCP-Protocol-Version: 2099-01-01\n"};
	static const struct {
		const char *name, *body;
		struct {
			int status, code;
			const char *dt;
		} want[4];
	} cases[] = {
	    {"initialize, no claim", INIT,
		{{200, 0, "DT-51"}, {200, 0, "DT-51"}, {400, -32020, "DT-20"}, {400, -32000, "DT-50"}}},
	    {"request, no claim", CALL,
		{{400, -32000, "DT-54"}, {400, -32000, "DT-54"}, {400, -32602, "DT-21"}, {400, -32000, "DT-50"}}},
	    {"notification, no claim", NOTE,
		{{400, -32000, "DT-54"}, {400, -32000, "DT-54"}, {202, 0, "DT-35"}, {400, -32000, "DT-50"}}},
	    {"response", REPLY,
		{{400, -32000, "DT-54"}, {400, -32000, "DT-54"}, {400, -32600, "DT-42"}, {400, -32000, "DT-50"}}},
	    {"batch", BATCH,
		{{400, -32000, "DT-54"}, {400, -32000, "DT-54"}, {400, -32600, "DT-43"}, {400, -32000, "DT-50"}}},
	    {"batch with a claim", "[" LIST26 "]",
		{{400, -32600, "DT-43"}, {400, -32600, "DT-43"}, {400, -32600, "DT-43"}, {400, -32600, "DT-43"}}},
	    {"request, claim 26", LIST26,
		{{400, -32020, "DT-23"}, {400, -32020, "DT-24"}, {200, 0, "DT-37"}, {400, -32020, "DT-24"}}},
	    {"request, claim unknown", REQUEST("1", "tools/list", META_OF("2099-01-01")),
		{{400, -32020, "DT-23"}, {400, -32020, "DT-24"}, {400, -32020, "DT-24"}, {400, -32022, "DT-25"}}},
	    {"request, claim legacy", REQUEST("1", "tools/list", META_OF("2025-06-18")),
		{{400, -32020, "DT-23"}, {400, -32022, "DT-25"}, {400, -32020, "DT-24"}, {400, -32020, "DT-24"}}},
	    {"other _meta is no claim", REQUEST("1", "tools/list", "\"_meta\":{\"progressToken\":1}"),
		{{400, -32000, "DT-54"}, {400, -32000, "DT-54"}, {400, -32602, "DT-21"}, {400, -32000, "DT-50"}}},
	    {"params without claim in a string",
		REQUEST("1", "tools/list",
		    "\"_meta\":\""
		    "x\""),
		{{400, -32000, "DT-54"}, {400, -32000, "DT-54"}, {400, -32602, "DT-21"}, {400, -32000, "DT-50"}}},
	};
	struct site s;

	(void)state;
	site_init(&s);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		for (size_t h = 0; h < COUNT_OF(headers); h++) {
			char lines[512];
			struct site_answer a;
			int code;

			snprintf(lines, sizeof(lines), "%s%sMcp-Method: tools/list\n", POSTED, headers[h]);
			site_ask(&s, POST_MCP, lines, cases[i].body, &a);
			code = json_object_get_int(jx_get(jx_get_object(a.last, "error"), "code"));
			/* H-20: a notification's Mcp-Method, if there is one, has to match; this one's doesn't */
			if (cases[i].want[h].status == 202) {
				assert_int_equal(code, -32020);
				site_answer_release(&a);
				site_ask(&s, POST_MCP, POSTED VERSION26, cases[i].body, &a);
				code = 0;
			}
			if (a.status != cases[i].want[h].status || code != cases[i].want[h].code)
				fail_msg("%s, %s, header %zu: status %d, code %d", cases[i].want[h].dt, cases[i].name,
				    h, a.status, code);
			site_answer_release(&a);
		}
	}
	site_release(&s);
}

/* A body that is longer than its announced length allows, or that ends before it. */
static void test_body(void **state)
{
	static const struct {
		const char *name, *length;
		size_t len;
		bool breaks_off;
		int status;
	} cases[] = {
	    {"just fits, not announced", NULL, 65536, false, 400},
	    {"one byte too long, not announced", NULL, 65537, false, 413},
	    {"just fits, announced", "65536", 65536, false, 400},
	    {"shorter than announced", "65536", 10, false, 400},
	    {"broken off", NULL, 10, true, 400},
	    {"length not a number", "x", 65537, false, 413},
	    {"length negative", "-1", 10, false, 413},
	};
	static char body[65537];
	struct site s;

	(void)state;
	memset(body, ' ', sizeof(body));
	site_init(&s);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct fake_req req;
		char status[64] = "";

		fake_req_init(&req);
		fake_req_set(&req, "REQUEST_METHOD", "POST");
		fake_req_set(&req, "REQUEST_URI", "/mcp");
		fake_req_set_headers(&req, POSTED);
		fake_req_set_body(&req, (struct slice){body, cases[i].len});
		fake_req_set(&req, "CONTENT_LENGTH", cases[i].length);
		req.breaks_off = cases[i].breaks_off;
		worker_serve(&s.w, &req.base, NULL, NULL);
		fake_head_get(req.head.data, "Status", status, sizeof(status));
		if (strtol(status, NULL, 10) != cases[i].status || req.answers_count != 1)
			fail_msg("%s: got %s", cases[i].name, status);
		fake_req_release(&req);
	}
	site_release(&s);
}

/* HEAD has the head of GET, and no body. */
static void test_head(void **state)
{
	struct site_answer get, head;
	char get_len[32], head_len[32];
	struct site s;

	(void)state;
	site_init(&s);
	site_ask(&s, "GET", "/health", "", NULL, &get);
	site_ask(&s, "HEAD", "/health", "", NULL, &head);
	assert_int_equal(head.status, 200);
	assert_int_equal(head.body.len, 0);
	assert_true(site_answer_header(&get, "Content-Length", get_len, sizeof(get_len)));
	if (site_answer_header(&head, "Content-Length", head_len, sizeof(head_len)))
		assert_string_equal(head_len, get_len);
	site_answer_release(&get);
	site_answer_release(&head);
	site_release(&s);
}

/* Keys are asked for before the body is looked at, but not of health and OPTIONS. */
static void test_key(void **state)
{
	static const char text[] = "alice:0123456789abcdef\n";
	static const struct site_row rows[] = {
	    {"DT-04 none", POST_MCP, POSTED, CALL, 401, JSON_TYPE, -32600, NULL, "WWW-Authenticate: Bearer\r", NULL},
	    {"DT-04 on GET", "GET", "/mcp", ACCEPT, NULL, 401, JSON_TYPE, -32600, NULL, "WWW-Authenticate: Bearer\r",
		NULL},
	    {"DT-04 on DELETE", "DELETE", "/mcp", "", NULL, REFUSED(401, -32600, NULL)},
	    {"DT-04 on /sse", "GET", "/sse", ACCEPT, NULL, REFUSED(401, -32600, NULL)},
	    {"DT-04 on /messages", "POST", "/messages?sessionId=S11", CONTENT, CALL, REFUSED(401, -32600, NULL)},
	    {"DT-04 before the media type", POST_MCP, "", "{", REFUSED(401, -32600, NULL)},
	    {"DT-04 wrong", POST_MCP, POSTED "X-API-Key: 0123456789abcdeX\n", CALL, 401, JSON_TYPE, -32600, NULL,
		"WWW-Authenticate: Bearer error=\"invalid_token\"\r", NULL},
	    {"DT-05 malformed", POST_MCP, POSTED "Authorization: Bearer\n", CALL, 400, JSON_TYPE, -32600, NULL,
		"WWW-Authenticate: Bearer error=\"invalid_request\"\r", NULL},
	    {"DT-04 behind Origin", POST_MCP, EVIL POSTED, CALL, REFUSED(403, -32600, NULL)},
	    {"DT-04 behind the size", POST_MCP, POSTED "Content-Length: 65537\n", NULL, REFUSED(413, -32600, NULL)},
	    {"DT-04 right", POST_MCP, HEADS26 "X-API-Key: 0123456789abcdef\n", LIST26, 200, JSON_TYPE, 0, "1", NULL,
		NULL},
	    {"DT-04 right, Bearer", POST_MCP, HEADS26 "Authorization: Bearer 0123456789abcdef\n", LIST26, 200,
		JSON_TYPE, 0, "1", NULL, NULL},
	    {"DT-55 another's session", POST_MCP, POSTED "X-API-Key: 0123456789abcdef\nMcp-Session-Id: SX\n", CALL,
		REFUSED(404, -32001, NULL)},
	    {"DT-134 no key for health", "GET", "/health", "", NULL, 200, JSON_TYPE, 0, NULL, NULL, NULL},
	    {"DT-105 no key for OPTIONS", "OPTIONS", "/mcp", OURS, NULL, EMPTY(204)},
	};
	char file[] = "/tmp/mcp-test-endpoint.XXXXXX";
	int fd = mkstemp(file);
	struct err err = {0};
	struct site s;

	(void)state;
	assert_true(fd >= 0 && write(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1);
	close(fd);
	site_init(&s);
	assert_int_equal(keys_load(&s.w.keys, file, &err), 0);
	unlink(file);
	site_check(&s, rows, COUNT_OF(rows));
	keys_release(&s.w.keys);
	site_release(&s);
}

/* Fills no bucket again within a test. */
/* A file of the broker says that its store can't write. */
static void test_not_ready(void **state)
{
	static const struct site_row stalled[] = {
	    {"stalled", "GET", "/health", "", NULL, 503, JSON_TYPE, 0, NULL, NULL, "\"status\":\"unavailable\""}};
	static const struct site_row ready[] = {
	    {"ready", "GET", "/health", "", NULL, 200, JSON_TYPE, 0, NULL, NULL, "\"status\":\"ok\""}};
	struct site s;
	char path[64];
	FILE *file;

	(void)state;
	site_init(&s);
	snprintf(path, sizeof(path), "%s/" LINK_STALLED_NAME, s.run_dir);
	file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
	site_check(&s, stalled, COUNT_OF(stalled));
	unlink(path);
	site_check(&s, ready, COUNT_OF(ready));
	site_release(&s);
}

static void limit(struct site *s, int64_t per_address, int64_t completions)
{
	char file[64];
	struct err err = {0};

	rate_close(&s->w.rate);
	snprintf(file, sizeof(file), "%s/rate.shm", s->run_dir);
	unlink(file);
	s->w.cfg.rate_per_address = per_address;
	s->w.cfg.rate_completions = completions;
	s->w.cfg.rate_burst = 1;
	assert_int_equal(rate_open(&s->w.rate, &s->w.cfg, &err), 0);
	if (s->w.rate)
		unlink(file);
}

static void test_health(void **state)
{
	struct site_answer a;
	struct site s;

	(void)state;
	site_init(&s);
	s.w.link->fail[FAKE_CHECK] = ERR_BROKER;
	site_ask(&s, "GET", "/health", "", NULL, &a);
	assert_int_equal(a.status, 503);
	assert_true(slice_is(jx_get_str(a.last, "status"), "unavailable"));
	assert_true(slice_is(jx_get_str(a.last, "reason"), "Broker is not reachable"));
	assert_non_null(strstr(a.head, "Retry-After: 1\r"));
	site_answer_release(&a);
	site_renew(&s);
	site_ask(&s, "GET", "/health", "", NULL, &a);
	assert_int_equal(a.status, 200);
	assert_true(slice_is(jx_get_str(a.last, "status"), "ok"));
	assert_false(jx_has(a.last, "reason"));
	site_answer_release(&a);
	site_release(&s);
}

#define COMPLETE26 POSTED VERSION26 "Mcp-Method: completion/complete\n"
#define REF(name)  "\"ref\":{\"type\":\"ref/prompt\",\"name\":\"" name "\"},\"argument\":{\"name\":\"a\",\"value\":\"\"}"

static void test_rate(void **state)
{
	static const struct site_row requests[] = {
	    {"DT-11 the one that may come", POST_MCP, HEADS26, LIST26, 200, JSON_TYPE, 0, "1", NULL, NULL},
	    {"DT-11 the next", POST_MCP, OURS HEADS26, LIST26, 429, JSON_TYPE, -32603, NULL,
		"Access-Control-Expose-Headers: Mcp-Session-Id, Retry-After,", "Too many requests: try again in"},
	    {"DT-11 says when", POST_MCP, HEADS26, LIST26, 429, JSON_TYPE, -32603, NULL, "Retry-After: 60\r", NULL},
	    {"DT-11 before the media type", POST_MCP, "", "{", 429, JSON_TYPE, -32603, NULL, NULL, NULL},
	    {"DT-11 GET", "GET", "/mcp", ACCEPT, NULL, 429, JSON_TYPE, -32603, NULL, NULL, NULL},
	    {"DT-11 HTTP+SSE", "GET", "/sse", ACCEPT, NULL, 429, JSON_TYPE, -32603, NULL, NULL, NULL},
	    {"DT-11 size first", POST_MCP, POSTED "Content-Length: 9999999\n", NULL, REFUSED(413, -32600, NULL)},
	    {"DT-11 not a preflight", "OPTIONS", "/mcp", OURS, NULL, EMPTY(204)},
	    {"DT-11 not health", "GET", "/health", "", NULL, 200, JSON_TYPE, 0, NULL, NULL, NULL},
	};
	static const struct site_row completions[] = {
	    {"CM-04 the one that may come", POST_MCP, COMPLETE26,
		REQUEST("1", "completion/complete", META "," REF("p")), 200, JSON_TYPE, 0, "1", NULL, "\"completion\""},
	    {"CM-04 the next", POST_MCP, COMPLETE26, REQUEST("2", "completion/complete", META "," REF("p")), 200,
		JSON_TYPE, -32603, "2", NULL, "Too many requests: try again in 60 s"},
	    {"CM-04 in a session", POST_MCP, POSTED "Mcp-Session-Id: S11\n",
		REQUEST("3", "completion/complete", REF("p")), 200, JSON_TYPE, -32603, "3", NULL, NULL},
	    {"CM-04 something else", POST_MCP, HEADS26, LIST26, 200, JSON_TYPE, 0, "1", NULL, NULL},
	};
	struct site s;

	(void)state;
	site_init(&s);
	site_offer(&s, "{}", "{\"p\":{\"text\":\"{a}\",\"arguments\":{\"a\":{}}}}");
	limit(&s, 1, 0);
	site_check(&s, requests, COUNT_OF(requests));
	limit(&s, 0, 1);
	site_check(&s, completions, COUNT_OF(completions));
	rate_close(&s.w.rate);
	site_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_before_the_era),
	    cmocka_unit_test(test_not_ready),
	    cmocka_unit_test(test_matrix),
	    cmocka_unit_test(test_body),
	    cmocka_unit_test(test_head),
	    cmocka_unit_test(test_key),
	    cmocka_unit_test(test_health),
	    cmocka_unit_test(test_rate),
	};

	return cmocka_run_group_tests_name("endpoint", tests, NULL, NULL);
}
