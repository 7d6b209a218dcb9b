/* fcgi/oldsse.c: HTTP+SSE of 2024-11-05, DT-110 .. DT-122 (differences.md 2.6) */
#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "common/sse.h"
#include "tests/lib/site.h"
#include "common/banned.h"

#define GET_SSE  "Accept: text/event-stream\n"
#define PING(id) REQUEST(id, "ping", "")
#define INIT     REQUEST("1", "initialize", INITIALIZE_PARAMS("2024-11-05"))
#define TO(id)   "/messages?sessionId=" id
#define NOTE     NOTIFICATION("notifications/initialized", "")

static void test_http(void **state)
{
	static const struct site_row rows[] = {
	    {"DT-110 event-stream", "GET", "/sse", GET_SSE, NULL, 200, SSE_TYPE, 0, NULL,
		"\r\n\r\nevent: endpoint\ndata: /messages?sessionId=", NULL},
	    {"DT-110 no Accept", "GET", "/sse", "", NULL, 200, SSE_TYPE, 0, NULL, NULL, NULL},
	    {"DT-110 anything", "GET", "/sse", "Accept: */*\n", NULL, 200, SSE_TYPE, 0, NULL, NULL, NULL},
	    {"DT-110 below mcp", "GET", "/acme/mcp/sse", GET_SSE, NULL, 200, SSE_TYPE, 0, NULL,
		"data: /acme/mcp/messages?sessionId=", NULL},
	    {"DT-110 below a mount", "GET", "/acme/sse/?x=1", GET_SSE, NULL, 200, SSE_TYPE, 0, NULL,
		"data: /acme/messages?sessionId=", NULL},
	    {"DT-110 a mount that looks like a host (L-05)", "GET", "//evil.example/sse", GET_SSE, NULL, 200, SSE_TYPE,
		0, NULL, "data: /evil.example/messages?sessionId=", NULL},
	    {"DT-110 with CORS", "GET", "/sse", "Origin: http://localhost\n", NULL, 200, SSE_TYPE, 0, NULL,
		"Access-Control-Allow-Origin: http://localhost\r", NULL},
	    {"DT-111 other Accept", "GET", "/sse", "Accept: application/json\n", NULL, TO_A_PERSON(406, "MCP server")},
	    {"DT-114 no query", "POST", "/messages", CONTENT, PING("1"), REFUSED(400, -32600, NULL)},
	    {"DT-114 another name", "POST", "/messages?session=S24", CONTENT, PING("1"), REFUSED(400, -32600, NULL)},
	    {"DT-114 empty", "POST", "/messages?sessionId=", CONTENT, PING("1"), REFUSED(400, -32600, NULL)},
	    {"DT-115 unknown", "POST", TO("dead"), CONTENT, PING("1"), REFUSED(404, -32001, NULL)},
	    {"DT-115 foreign", "POST", TO("SX"), CONTENT, PING("1"), REFUSED(404, -32001, NULL)},
	    {"DT-115 unknown, notification", "POST", TO("dead"), CONTENT, NOTE, REFUSED(404, -32001, NULL)},
	    {"DT-116 not JSON", "POST", TO("S24"), CONTENT, "{", REFUSED(400, -32700, NULL)},
	    {"DT-116 not JSON-RPC", "POST", TO("S24"), CONTENT, "{}", REFUSED(400, -32600, NULL)},
	    {"DT-116 scalar", "POST", TO("S24"), CONTENT, "7", REFUSED(400, -32600, NULL)},
	    {"DT-116 media type", "POST", TO("S24"), "Content-Type: text/plain\n", PING("1"), EMPTY(415)},
	    {"DT-117 claim", "POST", TO("S24"), CONTENT, REQUEST("1", "ping", META), REFUSED(400, -32600, NULL)},
	    {"DT-117 claim in a batch", "POST", TO("S24"), CONTENT, "[" REQUEST("1", "ping", META) "]",
		REFUSED(400, -32600, NULL)},
	    {"DT-117 modern header", "POST", TO("S24"), CONTENT VERSION26, PING("1"), REFUSED(400, -32600, NULL)},
	    {"DT-118 unknown version", "POST", TO("S24"), CONTENT "MCP-Protocol-Version: x\n", PING("1"),
		REFUSED(400, -32000, NULL)},
	    {"DT-119 request", "POST", TO("S24"), CONTENT, PING("1"), EMPTY(202)},
	    {"DT-119 Accept is not looked at (L-07)", "POST", TO("S24"), CONTENT "Accept: text/html\n", PING("1"),
		EMPTY(202)},
	    {"DT-119 notification", "POST", TO("S24"), CONTENT, NOTE, EMPTY(202)},
	    {"DT-119 response", "POST", TO("S24"), CONTENT, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}", EMPTY(202)},
	    {"DT-120 not negotiated", "POST", TO("S00"), CONTENT, "[" PING("1") "]", EMPTY(202)},
	    {"DT-120 notifications", "POST", TO("S24"), CONTENT, "[" NOTE "]", EMPTY(202)},
	    {"DT-68 empty array", "POST", TO("S24"), CONTENT, "[]", REFUSED(400, -32600, NULL)},
	    {"DT-68 initialize in an array", "POST", TO("S00"), CONTENT, "[" INIT "]", REFUSED(400, -32600, NULL)},
	    {"DT-121 2025-06-18", "POST", TO("S06"), CONTENT, "[" PING("1") "]", REFUSED(400, -32600, NULL)},
	    {"DT-121 2025-11-25", "POST", TO("S11"), CONTENT, "[" NOTE "]", REFUSED(400, -32600, NULL)},
	};
	struct site s;

	(void)state;
	site_init(&s);
	site_check(&s, rows, COUNT_OF(rows));
	site_release(&s);
}

/* After the 202: what comes on the session's stream. */
static void test_on_the_stream(void **state)
{
	static const struct {
		const char *name, *session, *body, *want;
		unsigned busy_count;
	} cases[] = {
	    {"DT-119 result", "S24", PING("\"p\""), "{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"result\":{}}\n", 1},
	    {"DT-119 error", "S24", REQUEST("1", "no/such", ""),
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"Method not found: "
		"no/such\"}}\n",
		1},
	    {"DT-119 notification", "S24", NOTE, "", 0},
	    {"DT-119 log, then result", "S24", REQUEST("1", "tools/call", "\"name\":\"progress\""),
		"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"
		"message\",\"params\":{\"level\":\"warning\",\"data\":\"line\\nbreak\"}}\n"
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"done\"}]}}\n",
		1},
	    {"DT-119 silence opens no stream", "S24", REQUEST("1", "tools/call", "\"name\":\"slow\""),
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"slow\"}]}}\n", 1},
	    {"DT-120 one by one", "S24", "[" PING("1") "," NOTE "," PING("2") "]",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n", 1},
	    {"DT-122 request before initialize", "S00", REQUEST("9", "tools/list", ""),
		"{\"jsonrpc\":\"2.0\",\"id\":9,\"error\":{\"code\":-32000,\"message\":\"Bad Request: this stream has "
		"no session yet: initialize comes first\"}}\n",
		1},
	    {"DT-122 ping before initialize", "S00", PING("9"), "{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{}}\n", 1},
	    {"K-07 cancelled", "S24", REQUEST("1", "tools/call", "\"name\":\"cancelled\""), "", 1},
	    {"initialize", "S00", INIT,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocolVersion\":\"2024-11-05\","
		"\"capabilities\":{\"tools\":{\"listChanged\":true},\"logging\":{}},\"serverInfo\":{\"name\":\"test\","
		"\"version\":\"1\"}}}"
		"\n",
		1},
	    {"initialize again", "S24", INIT,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32600,\"message\":\"Invalid Request: this session "
		"is initialized already\"}}\n",
		1},
	    {"initialize, malformed", "S00", REQUEST("1", "initialize", ""),
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32602,\"message\":\"Invalid params: "
		"protocolVersion must be a string\"}}\n",
		1},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct fake_stream *stream;
		struct site_answer a;
		struct site s;
		char uri[100];

		site_init(&s);
		snprintf(uri, sizeof(uri), "/messages?sessionId=%s", cases[i].session);
		site_ask(&s, "POST", uri, CONTENT, cases[i].body, &a);
		if (a.status != 202 || a.body.len)
			fail_msg("%s: status %d", cases[i].name, a.status);
		stream = &s.w.link->streams[fake_link_session(s.w.link, slice_str(cases[i].session))->stream];
		if (!slice_is(buf_slice(&stream->events), cases[i].want))
			fail_msg("%s: got %s", cases[i].name, stream->events.len ? stream->events.data : "nothing");
		if (s.busy_count != cases[i].busy_count || stream->is_finished)
			fail_msg("%s: busy %u, finished %d", cases[i].name, s.busy_count, stream->is_finished);
		site_answer_release(&a);
		site_release(&s);
	}
}

/* DT-121: what was refused with a status is not answered on the stream as well. */
static void test_refused_once(void **state)
{
	struct site_answer a;
	struct site s;

	(void)state;
	site_init(&s);
	site_ask(&s, "POST", TO("S11"), CONTENT, "[" PING("1") "]", &a);
	assert_int_equal(a.status, 400);
	assert_int_equal(s.w.link->streams[fake_link_session(s.w.link, SLICE("S11"))->stream].events_count, 0);
	site_answer_release(&a);
	site_release(&s);
}

/* From GET to the first call, as a client does it. */
static void test_whole(void **state)
{
	struct fake_session *session;
	struct fake_stream *stream;
	struct site_answer a;
	struct site s;
	char where[200];
	const char *data;

	(void)state;
	site_init(&s);
	site_ask(&s, "GET", "/mcp/sse", GET_SSE, NULL, &a);
	assert_true(a.is_handed_over);
	data = strstr(a.head, "data: ");
	assert_non_null(data);
	snprintf(where, sizeof(where), "%.*s", (int)strcspn(data + 6, "\n"), data + 6);
	assert_string_equal(data + 6 + strlen(where), "\n\n");
	session = fake_link_session(s.w.link, slice_str(strchr(where, '=') + 1));
	assert_non_null(session);
	assert_int_equal(strlen(session->id), 32);
	assert_int_equal(session->flags, LINK_SESSION_ENDS_WITH_CONN);
	stream = &s.w.link->streams[session->stream];
	assert_true(stream->is_adopted);
	assert_int_equal(stream->heartbeat_ms, s.w.cfg.stream_heartbeat_ms);
	site_answer_release(&a);
	site_ask(&s, "POST", where, CONTENT, INIT, &a);
	assert_int_equal(a.status, 202);
	site_answer_release(&a);
	site_ask(&s, "POST", where, CONTENT "MCP-Protocol-Version: 2024-11-05\n", NOTE, &a);
	assert_int_equal(a.status, 202);
	site_answer_release(&a);
	assert_int_equal(stream->events_count, 1);
	site_ask(&s, "POST", where, CONTENT,
	    REQUEST("2", "tools/call", "\"name\":\"echo\",\"arguments\":{\"text\":\"x\"}"), &a);
	assert_int_equal(a.status, 202);
	assert_int_equal(stream->events_count, 2);
	assert_non_null(strstr(stream->events.data, "\"result\":{\"content\":["));
	assert_null(strstr(stream->events.data, "structuredContent")); /* W-61: not in 2024-11-05 */
	site_answer_release(&a);
	site_release(&s);
}

/* A stream that can't be had leaves no session behind. */
static void test_get_fails(void **state)
{
	static const struct {
		enum fake_op op;
		enum err_code code;
		int status;
	} cases[] = {
	    {FAKE_SESSION_PUT, ERR_BROKER, 503},
	    {FAKE_SESSION_PUT, ERR_LIMIT, 503},
	    {FAKE_ATTACH, ERR_LIMIT, 503},
	    {FAKE_ADOPT, ERR_BUSY, 503},
	};
	struct site s;

	(void)state;
	site_init(&s);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		size_t before = 0, after = 0;
		struct site_answer a;

		fake_link_forget(s.w.link);
		s.w.link->fail[cases[i].op] = cases[i].code;
		for (size_t k = 0; k < FAKE_SESSIONS_MAX; k++)
			before += s.w.link->sessions[k].id[0] != '\0';
		site_ask(&s, "GET", "/sse", GET_SSE, NULL, &a);
		for (size_t k = 0; k < FAKE_SESSIONS_MAX; k++)
			after += s.w.link->sessions[k].id[0] != '\0';
		assert_int_equal(a.status, cases[i].status);
		assert_int_equal(a.body.len, 0);
		assert_int_equal(after, before);
		site_answer_release(&a);
	}
	site_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_http),
	    cmocka_unit_test(test_on_the_stream),
	    cmocka_unit_test(test_refused_once),
	    cmocka_unit_test(test_whole),
	    cmocka_unit_test(test_get_fails),
	};

	return cmocka_run_group_tests_name("oldsse", tests, NULL, NULL);
}
