/* fcgi/legacy.c: 2025-03-26 to 2025-11-25 over Streamable HTTP, DT-50 .. DT-104 (differences.md 2.3b, 2.4, 2.5) */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/log.h"
#include "tests/lib/site.h"
#include "common/banned.h"

#define SESSION(id)          POSTED "Mcp-Session-Id: " id "\n"
#define IN11                 SESSION("S11")
#define PING(id)             REQUEST(id, "ping", "")
#define CALL(id, name, more) REQUEST(id, "tools/call", "\"name\":\"" name "\"" more)
#define NOTE                 NOTIFICATION("notifications/initialized", "")
#define REPLY(id)            "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"result\":{}}"
#define INIT(version)        REQUEST("1", "initialize", INITIALIZE_PARAMS(version))
#define PROTOCOL(v)          "MCP-Protocol-Version: " v "\n"
#define GET_SSE              "Accept: text/event-stream\n"

static void test_post(void **state)
{
	static const struct site_row rows[] = {
	    {"DT-50 initialize", POST_MCP, POSTED PROTOCOL("2030-01-01"), INIT("2025-11-25"), 400, JSON_TYPE, -32000,
		NULL, NULL, "2025-11-25"},
	    {"DT-50 in a session", POST_MCP, IN11 PROTOCOL("x"), PING("1"), REFUSED(400, -32000, NULL)},
	    {"DT-50 before DT-55", POST_MCP, SESSION("dead") PROTOCOL("x"), PING("1"), REFUSED(400, -32000, NULL)},
	    {"DT-51 2025-11-25", POST_MCP, POSTED, INIT("2025-11-25"), 200, JSON_TYPE, 0, "1",
		"Mcp-Session-Id: ", "\"protocolVersion\":\"2025-11-25\""},
	    {"DT-51 2025-06-18", POST_MCP, POSTED, INIT("2025-06-18"), 200, JSON_TYPE, 0, "1",
		"Mcp-Session-Id: ", "\"protocolVersion\":\"2025-06-18\""},
	    {"DT-51 2025-03-26", POST_MCP, POSTED, INIT("2025-03-26"), 200, JSON_TYPE, 0, "1",
		"Mcp-Session-Id: ", "\"protocolVersion\":\"2025-03-26\""},
	    {"DT-51 2024-11-05", POST_MCP, POSTED, INIT("2024-11-05"), 200, JSON_TYPE, 0, "1",
		"Mcp-Session-Id: ", "\"protocolVersion\":\"2024-11-05\""},
	    {"DT-51 SSE only", POST_MCP, CONTENT GET_SSE, INIT("2025-11-25"), 200, SSE_TYPE, 0, "1",
		"Mcp-Session-Id: ", "\"protocolVersion\":\"2025-11-25\""},
	    {"DT-51 members of the result", POST_MCP, POSTED, INIT("2025-11-25"), 200, JSON_TYPE, 0, "1", NULL,
		"\"result\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{\"tools\":{\"listChanged\":true},"
		"\"logging\":{},\"tasks\":{\"cancel\":{},\"requests\":{\"tools\":{\"call\":{}}}}},"
		"\"serverInfo\":{\"name\":\"test\",\"version\":\"1\"}}}"},
	    {"DT-52 unknown", POST_MCP, POSTED, INIT("2024-10-07"), 200, JSON_TYPE, 0, "1",
		"Mcp-Session-Id: ", "\"protocolVersion\":\"2025-11-25\""},
	    {"DT-52 modern is not named (V-02)", POST_MCP, POSTED, INIT("2026-07-28"), 200, JSON_TYPE, 0, "1",
		"Mcp-Session-Id: ", "\"protocolVersion\":\"2025-11-25\""},
	    {"DT-53 no params", POST_MCP, POSTED, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}",
		REFUSED(200, -32602, "1")},
	    {"DT-53 version a number", POST_MCP, POSTED,
		REQUEST("1", "initialize",
		    "\"protocolVersion\":1,\"capabilities\":{},\"clientInfo\":{\"name\":\"t\",\"version\":\"1\"}"),
		REFUSED(200, -32602, "1")},
	    {"DT-53 no capabilities", POST_MCP, POSTED,
		REQUEST("1", "initialize",
		    "\"protocolVersion\":\"2025-11-25\",\"clientInfo\":{\"name\":\"t\",\"version\":\"1\"}"),
		REFUSED(200, -32602, "1")},
	    {"DT-53 no clientInfo", POST_MCP, POSTED,
		REQUEST("\"a\"", "initialize", "\"protocolVersion\":\"2025-11-25\",\"capabilities\":{}"),
		REFUSED(200, -32602, "\"a\"")},
	    {"DT-53 clientInfo without version", POST_MCP, POSTED,
		REQUEST("1", "initialize",
		    "\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\"clientInfo\":{\"name\":\"t\"}"),
		REFUSED(200, -32602, "1")},
	    {"DT-54 request", POST_MCP, POSTED, PING("1"), REFUSED(400, -32000, NULL)},
	    {"DT-54 notification", POST_MCP, POSTED, NOTE, REFUSED(400, -32000, NULL)},
	    {"DT-54 initialize as notification", POST_MCP, POSTED,
		NOTIFICATION("initialize", INITIALIZE_PARAMS("2025-11-25")), REFUSED(400, -32000, NULL)},
	    {"DT-54 reply", POST_MCP, POSTED, REPLY("1"), REFUSED(400, -32000, NULL)},
	    {"DT-54 batch", POST_MCP, POSTED, "[" PING("1") "]", REFUSED(400, -32000, NULL)},
	    {"DT-54 empty batch", POST_MCP, POSTED, "[]", REFUSED(400, -32000, NULL)},
	    {"DT-55 unknown session", POST_MCP, SESSION("dead"), PING("1"), REFUSED(404, -32001, NULL)},
	    {"DT-55 of another principal", POST_MCP, SESSION("SX"), PING("1"), REFUSED(404, -32001, NULL)},
	    {"DT-55 empty", POST_MCP, SESSION(""), PING("1"), REFUSED(404, -32001, NULL)},
	    {"DT-55 with a blank", POST_MCP, SESSION("S11 x"), PING("1"), REFUSED(404, -32001, NULL)},
	    {"DT-55 not ASCII", POST_MCP, SESSION("S11\303\274"), PING("1"), REFUSED(404, -32001, NULL)},
	    {"DT-55 too long", POST_MCP,
		SESSION("0123456789012345678901234567890123456789012345678901234567890123456789"
			"0123456789012345678901234567890123456789012345678901234567890123456789"),
		PING("1"), REFUSED(404, -32001, NULL)},
	    {"DT-55 initialize", POST_MCP, SESSION("dead"), INIT("2025-11-25"), REFUSED(404, -32001, NULL)},
	    {"DT-55 batch", POST_MCP, SESSION("dead"), "[" PING("1") "]", REFUSED(404, -32001, NULL)},
	    {"DT-55 bad batch", POST_MCP, SESSION("dead"), "[]", REFUSED(404, -32001, NULL)},
	    {"DT-55 notification", POST_MCP, SESSION("dead"), NOTE, REFUSED(404, -32001, NULL)},
	    {"DT-56 initialize again", POST_MCP, IN11, INIT("2025-11-25"), REFUSED(400, -32600, NULL)},
	    {"DT-57 ping has no members (R-37)", POST_MCP, IN11, PING("\"p\""), 200, JSON_TYPE, 0, "\"p\"", NULL,
		"{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"result\":{}}"},
	    {"DT-57 id of 64 bits", POST_MCP, IN11, PING("9223372036854775807"), 200, JSON_TYPE, 0,
		"9223372036854775807", NULL, NULL},
	    {"DT-57 list", POST_MCP, IN11, REQUEST("1", "tools/list", ""), 200, JSON_TYPE, 0, "1", NULL,
		"{\"tools\":[{\"name\":\"big\",\"era\":0},{\"name\":\"cancelled\",\"era\":0},{\"name\":\"echo\","
		"\"era\":0}],\"nextCursor\":\"0123456789abcdef.3\"}"},
	    {"DT-57 call", POST_MCP, IN11, CALL("1", "echo", ",\"arguments\":{\"text\":\"x\"}"), 200, JSON_TYPE, 0, "1",
		NULL, "{\"content\":[{\"type\":\"text\",\"text\":\"echo\"}],\"structuredContent\":{\"text\":\"x\"}}"},
	    {"DT-57 SSE only", POST_MCP, CONTENT GET_SSE "Mcp-Session-Id: S11\n", PING("1"), 200, SSE_TYPE, 0, "1",
		NULL, "data: {"},
	    {"DT-57 no session id on later answers (S-12)", POST_MCP, IN11, PING("1"), 200, JSON_TYPE, 0, "1",
		"Status: 200 OK\r\nContent-Type: application/json\r\nContent-Length: 36\r\n", NULL},
	    {"DT-57 the tool's _meta", POST_MCP, IN11, CALL("1", "meta", ""), 200, JSON_TYPE, 0, "1", NULL,
		"\"_meta\":{\"a/b\":1}}"},
	    {"DT-57 level", POST_MCP, IN11, REQUEST("1", "logging/setLevel", "\"level\":\"error\""), 200, JSON_TYPE, 0,
		"1", NULL, "\"result\":{}"},
	    {"DT-58 unknown method", POST_MCP, IN11, REQUEST("1", "no/such", ""), REFUSED(200, -32601, "1")},
	    {"DT-58 capability not offered", POST_MCP, IN11, REQUEST("1", "prompts/list", ""),
		REFUSED(200, -32601, "1")},
	    {"DT-59 bad params", POST_MCP, IN11, REQUEST("1", "logging/setLevel", "\"level\":\"loud\""),
		REFUSED(200, -32602, "1")},
	    {"DT-59 no params", POST_MCP, IN11, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\"}",
		REFUSED(200, -32602, "1")},
	    {"DT-59 bad cursor", POST_MCP, IN11, REQUEST("1", "tools/list", "\"cursor\":\"x\""),
		REFUSED(200, -32602, "1")},
	    {"DT-59 unknown tool (X-17)", POST_MCP, IN11, CALL("1", "nope", ""), REFUSED(200, -32602, "1")},
	    {"X-18 arguments before 2025-11-25", POST_MCP, SESSION("S06"), CALL("1", "echo", ""),
		REFUSED(200, -32602, "1")},
	    {"X-19 arguments from 2025-11-25 on", POST_MCP, IN11, CALL("1", "echo", ""), 200, JSON_TYPE, 0, "1", NULL,
		"\"isError\":true"},
	    {"X-20 handler failed", POST_MCP, IN11, CALL("1", "fail", ""), 200, JSON_TYPE, -32603, "1", NULL,
		"\"Internal error\""},
	    {"DT-61 known", POST_MCP, IN11, NOTE, EMPTY_WITH(202, "Content-Length: 0\r")},
	    {"DT-61 unknown", POST_MCP, IN11, NOTIFICATION("notifications/x", ""), EMPTY(202)},
	    {"DT-61 a request's name", POST_MCP, IN11, NOTIFICATION("tools/call", "\"name\":\"fail\""), EMPTY(202)},
	    {"DT-63 late answer", POST_MCP, IN11, REPLY("77"), EMPTY(202)},
	    {"DT-63 error answer", POST_MCP, IN11,
		"{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"error\":{\"code\":-1,\"message\":\"\"}}", EMPTY(202)},
	    {"DT-64 neither", POST_MCP, IN11, "{\"jsonrpc\":\"2.0\",\"id\":1}", REFUSED(400, -32600, "1")},
	    {"DT-64 result a string", POST_MCP, IN11, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"x\"}",
		REFUSED(400, -32600, "1")},
	    {"DT-65 batch in 2025-06-18", POST_MCP, SESSION("S06"), "[" PING("1") "]", REFUSED(400, -32600, NULL)},
	    {"DT-65 batch in 2025-11-25", POST_MCP, IN11, "[" NOTE "]", REFUSED(400, -32600, NULL)},
	    {"DT-66 requests", POST_MCP, SESSION("S03"), "[" PING("1") "," PING("\"1\"") "]", 200, JSON_TYPE, 0, NULL,
		NULL,
		"[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}},{\"jsonrpc\":\"2.0\",\"id\":\"1\",\"result\":{}}]"},
	    {"DT-66 one request is an array still", POST_MCP, SESSION("S24"), "[" PING("1") "]", 200, JSON_TYPE, 0,
		NULL, NULL, "[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}]"},
	    {"DT-66 with a notification", POST_MCP, SESSION("S03"), "[" NOTE "," PING("1") "]", 200, JSON_TYPE, 0, NULL,
		NULL, "[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}]"},
	    {"DT-66 an error among them", POST_MCP, SESSION("S03"), "[" PING("1") "," REQUEST("2", "no/such", "") "]",
		200, JSON_TYPE, 0, NULL, NULL, "\"id\":2,\"error\""},
	    {"DT-66 SSE", POST_MCP, CONTENT GET_SSE "Mcp-Session-Id: S03\n", "[" PING("1") "," PING("2") "]", 200,
		SSE_TYPE, 0, "2", NULL,
		"event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\nevent: message\ndata: "
		"{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n\n"},
	    {"DT-67 notifications only", POST_MCP, SESSION("S03"), "[" NOTE "," NOTE "]", EMPTY(202)},
	    {"DT-67 responses only", POST_MCP, SESSION("S03"), "[" REPLY("1") "," REPLY("2") "]", EMPTY(202)},
	    {"DT-68 empty", POST_MCP, SESSION("S03"), "[]", REFUSED(400, -32600, NULL)},
	    {"DT-68 at the limit", POST_MCP, SESSION("S03"), "[" NOTE "," NOTE "," NOTE "]", EMPTY(202)},
	    {"DT-68 over the limit", POST_MCP, SESSION("S03"), "[" NOTE "," NOTE "," NOTE "," NOTE "]",
		REFUSED(400, -32600, NULL)},
	    {"DT-68 invalid element", POST_MCP, SESSION("S03"), "[" PING("1") ",7]", REFUSED(400, -32600, NULL)},
	    {"DT-68 array in the array", POST_MCP, SESSION("S03"), "[[" PING("1") "]]", REFUSED(400, -32600, NULL)},
	    {"DT-68 null", POST_MCP, SESSION("S03"), "[null]", REFUSED(400, -32600, NULL)},
	    {"DT-68 initialize", POST_MCP, SESSION("S03"), "[" INIT("2025-03-26") "]", REFUSED(400, -32600, NULL)},
	    {"DT-68 duplicate ids", POST_MCP, SESSION("S03"), "[" PING("1") "," PING("2") "," PING("1") "]",
		REFUSED(400, -32600, NULL)},
	    {"DT-68 duplicate ids, written differently", POST_MCP, SESSION("S03"),
		"[" PING("\"A\"") "," PING("\"\\u0041\"") "]", REFUSED(400, -32600, NULL)},
	    {"DT-68 responses and requests", POST_MCP, SESSION("S03"), "[" PING("1") "," REPLY("2") "]",
		REFUSED(400, -32600, NULL)},
	    {"DT-69 another legacy version header", POST_MCP, IN11 PROTOCOL("2025-03-26"), CALL("1", "echo", ""), 200,
		JSON_TYPE, 0, "1", NULL, "\"isError\":true"},
	    {"DT-69 batch, by the negotiated one", POST_MCP, SESSION("S03") PROTOCOL("2025-11-25"), "[" PING("1") "]",
		200, JSON_TYPE, 0, NULL, NULL, "[{"},
	    {"DT-70 no version header", POST_MCP, SESSION("S06"), PING("1"), 200, JSON_TYPE, 0, "1", NULL, NULL},
	    {"DT-71 before initialized", POST_MCP, IN11, REQUEST("1", "tools/list", ""), 200, JSON_TYPE, 0, "1", NULL,
		NULL},
	    {"DT-72 cancelled", POST_MCP, IN11, CALL("1", "cancelled", ""), 200, SSE_TYPE, 0, NULL, NULL, NULL},
	    {"DT-73 cancel of an unknown id", POST_MCP, IN11,
		NOTIFICATION("notifications/cancelled", "\"requestId\":99"), EMPTY(202)},
	    {"DT-73 malformed cancel", POST_MCP, IN11, NOTIFICATION("notifications/cancelled", "\"requestId\":[]"),
		EMPTY(202)},
	    {"DT-73 cancel without params", POST_MCP, IN11,
		"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\"}", EMPTY(202)},
	    {"DT-74 server/discover", POST_MCP, IN11, REQUEST("1", "server/discover", ""), REFUSED(200, -32601, "1")},
	    {"lazy stream by progress", POST_MCP, IN11,
		REQUEST("1", "tools/call", "\"name\":\"progress\",\"_meta\":{\"progressToken\":0}"), 200, SSE_TYPE, 0,
		"1", NULL, "\"progressToken\":0,"},
	    {"lazy stream by a log of the session's level", POST_MCP, IN11, CALL("1", "progress", ""), 200, SSE_TYPE, 0,
		"1", NULL, "notifications/message"},
	    {"lazy stream by silence", POST_MCP, IN11, CALL("1", "slow", ""), 200, SSE_TYPE, 0, "1", NULL, "slow"},
	    {"no stream for a client of JSON", POST_MCP, CONTENT "Accept: application/json\nMcp-Session-Id: S11\n",
		CALL("1", "progress", ""), 200, JSON_TYPE, 0, "1", NULL, "done"},
	};
	struct site s;

	(void)state;
	site_init(&s);
	site_check(&s, rows, COUNT_OF(rows));
	site_release(&s);
}

static void test_get_and_delete(void **state)
{
	static const struct site_row rows[] = {
	    {"DT-80 no Accept", "GET", "/mcp", "Mcp-Session-Id: S11\n", NULL, TO_A_PERSON(406, "MCP server")},
	    {"DT-80 wildcard", "GET", "/mcp", "Accept: */*\nMcp-Session-Id: S11\n", NULL,
		TO_A_PERSON(406, "MCP server")},
	    {"DT-80 a browser", "GET", "/mcp", "Accept: text/html,application/xhtml+xml,*/*;q=0.8\n", NULL,
		TO_A_PERSON(406, "MCP server")},
	    {"DT-80 before DT-81", "GET", "/mcp", VERSION26, NULL, TO_A_PERSON(406, "MCP server")},
	    {"DT-81 modern", "GET", "/mcp", GET_SSE VERSION26, NULL, EMPTY_WITH(405, "Allow: POST\r")},
	    {"DT-81 modern, in a session", "GET", "/mcp", GET_SSE VERSION26 "Mcp-Session-Id: S11\n", NULL,
		EMPTY_WITH(405, "Allow: POST\r")},
	    {"DT-82 unknown version", "GET", "/mcp", GET_SSE PROTOCOL("x") "Mcp-Session-Id: S11\n", NULL,
		REFUSED(400, -32000, NULL)},
	    {"DT-83 nothing: 2024-11-05", "GET", "/mcp", GET_SSE, NULL, 200, SSE_TYPE, 0, NULL,
		"event: endpoint\ndata: /mcp/messages?sessionId=", NULL},
	    {"DT-84 no session", "GET", "/mcp", GET_SSE PROTOCOL("2025-06-18"), NULL, REFUSED(400, -32000, NULL)},
	    {"DT-84 no session, event id", "GET", "/mcp", GET_SSE "Last-Event-ID: known\n", NULL,
		REFUSED(400, -32000, NULL)},
	    {"DT-85 unknown session", "GET", "/mcp", GET_SSE "Mcp-Session-Id: dead\n", NULL,
		REFUSED(404, -32001, NULL)},
	    {"DT-85 foreign session", "GET", "/mcp", GET_SSE "Mcp-Session-Id: SX\n", NULL, REFUSED(404, -32001, NULL)},
	    {"DT-86 the session's stream", "GET", "/mcp", GET_SSE "Mcp-Session-Id: S11\n", NULL, 200, SSE_TYPE, 0, NULL,
		"Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n\r\n", NULL},
	    {"DT-86 both types", "GET", "/mcp", ACCEPT "Mcp-Session-Id: S11\n" PROTOCOL("2025-11-25"), NULL, 200,
		SSE_TYPE, 0, NULL, NULL, NULL},
	    {"DT-87 resumed", "GET", "/mcp", GET_SSE "Mcp-Session-Id: S11\nLast-Event-ID: known\n", NULL, 200, SSE_TYPE,
		0, NULL, NULL, NULL},
	    {"DT-88 delivered", "GET", "/mcp", GET_SSE "Mcp-Session-Id: S11\nLast-Event-ID: delivered\n", NULL,
		EMPTY_WITH(405, "Allow: POST, DELETE\r")},
	    {"DT-90 unknown event", "GET", "/mcp", GET_SSE "Mcp-Session-Id: S11\nLast-Event-ID: 7\n", NULL,
		REFUSED(400, -32000, NULL)},
	    {"DT-91 negotiated 2024-11-05", "GET", "/mcp", GET_SSE "Mcp-Session-Id: S24\n", NULL, 200, SSE_TYPE, 0,
		NULL, NULL, NULL},
	    {"DT-100 ended", "DELETE", "/mcp", "Mcp-Session-Id: S11\n", NULL, EMPTY_WITH(200, "Content-Length: 0\r")},
	    {"DT-100 with a version", "DELETE", "/mcp", "Mcp-Session-Id: S11\n" PROTOCOL("2025-11-25"), NULL,
		EMPTY(200)},
	    {"DT-101 no session", "DELETE", "/mcp", "", NULL, REFUSED(400, -32000, NULL)},
	    {"DT-102 unknown", "DELETE", "/mcp", "Mcp-Session-Id: dead\n", NULL, REFUSED(404, -32001, NULL)},
	    {"DT-102 foreign", "DELETE", "/mcp", "Mcp-Session-Id: SX\n", NULL, REFUSED(404, -32001, NULL)},
	    {"DT-103 modern", "DELETE", "/mcp", "Mcp-Session-Id: S11\n" VERSION26, NULL,
		EMPTY_WITH(405, "Allow: POST\r")},
	    {"DT-104 unknown version", "DELETE", "/mcp", "Mcp-Session-Id: S11\n" PROTOCOL("x"), NULL,
		REFUSED(400, -32000, NULL)},
	};
	struct site s;

	(void)state;
	site_init(&s);
	site_check(&s, rows, COUNT_OF(rows));
	site_release(&s);
}

/* What the broker says, and what the client hears of it. */
static void test_broker_failures(void **state)
{
	static const struct {
		const char *name;
		enum fake_op op;
		enum err_code code;
		const char *method, *headers, *body;
		int status, rpc;
		const char *id;
	} cases[] = {
	    {"DT-60 id is open", FAKE_CALL_BEGIN, ERR_DUPLICATE, "POST", IN11, PING("1"), 400, -32600, NULL},
	    {"DT-75 no broker", FAKE_CALL_BEGIN, ERR_BROKER, "POST", IN11, PING("1"), 503, 0, NULL},
	    {"DT-75 late broker", FAKE_CALL_BEGIN, ERR_EXPIRED, "POST", IN11, PING("1"), 503, 0, NULL},
	    {"DT-75 busy broker", FAKE_CALL_BEGIN, ERR_BUSY, "POST", IN11, PING("1"), 503, 0, NULL},
	    {"DT-75 out of memory", FAKE_CALL_BEGIN, ERR_NOMEM, "POST", IN11, PING("1"), 503, 0, NULL},
	    {"DT-75 notification", FAKE_CALL_BEGIN, ERR_BROKER, "POST", IN11, NOTE, 503, 0, NULL},
	    {"DT-75 cancel", FAKE_CANCEL, ERR_BROKER, "POST", IN11,
		NOTIFICATION("notifications/cancelled", "\"requestId\":1"), 503, 0, NULL},
	    {"DT-75 initialize", FAKE_SESSION_PUT, ERR_BROKER, "POST", POSTED, INIT("2025-11-25"), 503, 0, NULL},
	    {"DT-75 GET", FAKE_ATTACH, ERR_BROKER, "GET", GET_SSE "Mcp-Session-Id: S11\n", NULL, 503, 0, NULL},
	    {"DT-75 GET at a limit", FAKE_ATTACH, ERR_LIMIT, "GET", GET_SSE "Mcp-Session-Id: S11\n", NULL, 503, 0,
		NULL},
	    {"DT-75 GET, handoff refused", FAKE_ADOPT, ERR_BUSY, "GET", GET_SSE "Mcp-Session-Id: S11\n", NULL, 503, 0,
		NULL},
	    {"DT-75 DELETE", FAKE_SESSION_DEL, ERR_BROKER, "DELETE", "Mcp-Session-Id: S11\n", NULL, 503, 0, NULL},
	    {"DT-77 open requests", FAKE_CALL_BEGIN, ERR_LIMIT, "POST", IN11, PING("\"a\""), 200, -32603, "\"a\""},
	    {"DT-77 sessions", FAKE_SESSION_PUT, ERR_LIMIT, "POST", POSTED, INIT("2025-11-25"), 200, -32603, "1"},
	    {"level not stored", FAKE_SESSION_PUT, ERR_BUSY, "POST", IN11,
		REQUEST("4", "logging/setLevel", "\"level\":\"error\""), 200, -32603, "4"},
	    {"capabilities too large", FAKE_SESSION_PUT, ERR_TOO_BIG, "POST", POSTED, INIT("2025-11-25"), 200, -32602,
		"1"},
	    {"an answer that nobody can take", FAKE_ANSWER, ERR_BROKER, "POST", IN11, REPLY("\"x\""), 503, 0, NULL},
	    {"no stream for a question", FAKE_OPEN_STREAM, ERR_LIMIT, "POST", IN11, CALL("1", "where", ""), 200, -32603,
		"1"},
	    {"no stream: JSON", FAKE_OPEN_STREAM, ERR_LIMIT, "POST", IN11, CALL("1", "progress", ""), 200, 0, "1"},
	    {"stream not handed over: JSON", FAKE_ADOPT, ERR_BUSY, "POST", IN11, CALL("1", "slow", ""), 200, 0, "1"},
	};
	struct site s;

	(void)state;
	site_init(&s);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct site_answer a;
		struct buf id;
		char text[64];
		int code;

		fake_link_forget(s.w.link);
		s.w.link->fail[cases[i].op] = cases[i].code;
		site_ask(&s, cases[i].method, "/mcp", cases[i].headers, cases[i].body, &a);
		buf_init(&id, 100);
		if (jx_has(a.last, "id"))
			jx_write(&id, jx_get(a.last, "id"));
		code = json_object_get_int(jx_get(jx_get_object(a.last, "error"), "code"));
		if (a.status != cases[i].status || code != cases[i].rpc ||
		    !slice_is(buf_slice(&id), cases[i].id ? cases[i].id : ""))
			fail_msg(
			    "%s: status %d, code %d\n%s", cases[i].name, a.status, code, a.body.len ? a.body.data : "");
		if (site_answer_header(&a, "Retry-After", text, sizeof(text)) != (a.status == 503) ||
		    (a.status == 503 && a.body.len))
			fail_msg("%s: %s", cases[i].name, a.head);
		if (a.is_handed_over)
			fail_msg("%s: handed over", cases[i].name);
		buf_release(&id);
		site_answer_release(&a);
	}
	site_release(&s);
}

/* DT-60 for real: the id is open while another request has it. */
static void test_duplicate(void **state)
{
	static const struct link_will will = {{"\"x\"", 3}, {"{}", 2}};
	struct link_call *call;
	struct site_answer a;
	struct err err;
	struct site s;

	(void)state;
	site_init(&s);
	assert_int_equal(link_call_begin(s.w.link, SLICE("S11"), "", 0, &will, 1, &call, &err), 0);
	assert_int_equal(link_cancel(s.w.link, SLICE("S11"), "", SLICE("1"), &err), 0);
	assert_false(link_call_id_cancelled(s.w.link, call, SLICE("\"x\"")));
	link_call_end(s.w.link, &call);
	site_ask(&s, POST_MCP, IN11, PING("\"x\""), &a);
	assert_int_equal(a.status, 200);
	site_answer_release(&a);
	site_release(&s);
}

/* DT-51: the id is unguessable, and what it stands for is what was negotiated. */
static void test_session(void **state)
{
	char first[256], second[256];
	struct fake_session *session;
	struct site_answer a;
	struct site s;

	(void)state;
	site_init(&s);
	site_ask(&s, POST_MCP, POSTED,
	    REQUEST("1", "initialize",
		"\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"roots\":{}},"
		"\"clientInfo\":{\"name\":\"t\",\"version\":\"1\"}"),
	    &a);
	assert_true(site_answer_header(&a, "Mcp-Session-Id", first, sizeof(first)));
	session = fake_link_session(s.w.link, slice_str(first));
	assert_non_null(session);
	assert_true(slice_is(
	    buf_slice(&session->blob), "{\"revision\":\"2025-06-18\",\"logLevel\":1,\"capabilities\":{\"roots\":{}}}"));
	assert_int_equal(session->flags, LINK_SESSION_HEARS_LISTS | LINK_LEVEL(MCP_LEVEL_INFO));
	site_answer_release(&a);
	site_ask(&s, POST_MCP, POSTED, INIT("2025-06-18"), &a);
	assert_true(site_answer_header(&a, "Mcp-Session-Id", second, sizeof(second)));
	assert_true(strlen(first) == 32 && strlen(second) == 32 && strcmp(first, second) != 0);
	site_answer_release(&a);
	site_ask(&s, POST_MCP, POSTED, REQUEST("1", "initialize", ""), &a);
	assert_false(site_answer_header(&a, "Mcp-Session-Id", second, sizeof(second)));
	site_answer_release(&a);
	site_release(&s);
}

/* Two that change a session at the same time both succeed, unless that never ends. */
static void test_levels_at_once(void **state)
{
	struct site_answer a;
	struct site s;

	(void)state;
	site_init(&s);
	s.w.link->conflicts_count = 3;
	site_ask(&s, POST_MCP, IN11, REQUEST("1", "logging/setLevel", "\"level\":\"error\""), &a);
	assert_true(jx_has(a.last, "result"));
	assert_int_equal(s.w.link->conflicts_count, 0);
	site_answer_release(&a);
	site_ask(&s, POST_MCP, IN11, CALL("2", "progress", ""), &a);
	assert_false(a.is_handed_over);
	site_answer_release(&a);
	s.w.link->conflicts_count = 1000;
	site_ask(&s, POST_MCP, IN11, REQUEST("3", "logging/setLevel", "\"level\":\"debug\""), &a);
	assert_int_equal(json_object_get_int(jx_get(jx_get_object(a.last, "error"), "code")), -32603);
	assert_int_equal(s.w.link->conflicts_count, 990);
	site_answer_release(&a);
	site_release(&s);
}

/* logging/setLevel is remembered, and rules what a later call sends. */
static void test_level(void **state)
{
	struct site_answer a;
	struct site s;

	(void)state;
	site_init(&s);
	site_ask(&s, POST_MCP, IN11, REQUEST("1", "logging/setLevel", "\"level\":\"error\""), &a);
	assert_int_equal(a.status, 200);
	site_answer_release(&a);
	site_ask(&s, POST_MCP, IN11, CALL("2", "progress", ""), &a);
	assert_false(a.is_handed_over); /* its warning is below error, so there was nothing to send */
	site_answer_release(&a);
	site_ask(&s, POST_MCP, IN11, REQUEST("3", "logging/setLevel", "\"level\":\"debug\""), &a);
	site_answer_release(&a);
	site_ask(&s, POST_MCP, IN11, CALL("4", "progress", ""), &a);
	assert_int_equal(a.events_count, 3); /* debug, warning, the result */
	site_answer_release(&a);
	site_release(&s);
}

/* A cancelled request of a batch has no answer, its neighbours have. */
static void test_cancel_in_batch(void **state)
{
	struct site_answer a;
	struct site s;

	(void)state;
	site_init(&s);
	site_ask(&s, POST_MCP, SESSION("S03"),
	    "[" CALL("1", "cancelled", "") "," CALL("2", "echo", ",\"arguments\":{\"text\":\"x\"}") "," PING("3") "]",
	    &a);
	assert_int_equal(a.status, 200);
	assert_true(json_object_is_type(a.last, json_type_array));
	assert_int_equal(json_object_array_length(a.last), 2);
	assert_int_equal(json_object_get_int(jx_get(json_object_array_get_idx(a.last, 0), "id")), 2);
	assert_int_equal(json_object_get_int(jx_get(json_object_array_get_idx(a.last, 1), "id")), 3);
	site_answer_release(&a);
	site_release(&s);
}

/* Each request of a batch that became a stream is answered by an event of its own; each left a will. */
static void test_batch_stream(void **state)
{
	struct site_answer a;
	struct site s;

	(void)state;
	site_init(&s);
	site_ask(&s, POST_MCP, SESSION("S03"), "[" PING("1") "," CALL("2", "slow", "") "," PING("\"3\"") "]", &a);
	assert_true(a.is_handed_over);
	assert_int_equal(a.events_count, 3);
	assert_string_equal(s.w.link->wills.data,
	    "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}\n"
	    "{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}\n"
	    "{\"jsonrpc\":\"2.0\",\"id\":\"3\",\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}\n");
	site_answer_release(&a);
	site_release(&s);
}

/* K-11 */
static void test_cancel_is_logged(void **state)
{
	int fds[2], saved = dup(STDERR_FILENO);
	struct site_answer a;
	char line[4096];
	struct site s;
	ssize_t len;

	(void)state;
	site_init(&s);
	assert_true(saved >= 0 && pipe2(fds, O_CLOEXEC) == 0);
	log_init("test", LOG_LEVEL_INFO);
	dup2(fds[1], STDERR_FILENO);
	site_ask(&s, POST_MCP, IN11,
	    NOTIFICATION("notifications/cancelled", "\"requestId\":\"a\",\"reason\":\"too\\nslow\""), &a);
	dup2(saved, STDERR_FILENO);
	log_init("test", LOG_LEVEL_ERROR);
	close(saved);
	close(fds[1]);
	len = read(fds[0], line, sizeof(line) - 1);
	close(fds[0]);
	assert_true(len > 0);
	line[len] = '\0';
	assert_non_null(strstr(line, "request.cancelled session=S11 id=\\x22a\\x22 why=\"too\\x0aslow\" dropped=0\n"));
	assert_int_equal(a.status, 202);
	site_answer_release(&a);
	site_release(&s);
}

/* Each client is told another time, so that they don't come back all at once. */
static bool is_retry(const char *text, const char *before, unsigned long least, const char *after)
{
	size_t len = strlen(before);
	unsigned long ms;
	char *end;

	if (!text || strncmp(text, before, len) != 0 || strncmp(text + len, "retry: ", 7) != 0)
		return false;
	ms = strtoul(text + len + 7, &end, 10);
	return ms >= least && ms <= 2 * least && strncmp(end, after, strlen(after)) == 0;
}

static const struct fake_stream *adopted(const struct site *s)
{
	for (size_t i = 1; i <= s->w.link->streams_count; i++) {
		if (s->w.link->streams[i].is_adopted)
			return &s->w.link->streams[i];
	}
	fail_msg("no connection was handed over");
	return s->w.link->streams; /* not reached, which the compiler can't know */
}

/* E-08: who listens is told too, by the header, and the broker what it was; an older client is not. */
static void test_retry_of_listeners(void **state)
{
	uint32_t least = UINT32_MAX, most = 0;
	struct site_answer a;
	struct site s;

	(void)state;
	site_init(&s);
	for (int i = 0; i < 100; i++) {
		uint32_t told;

		site_renew(&s);
		site_ask(&s, "GET", "/mcp",
		    SESSION("S11") "Accept: text/event-stream\nMCP-Protocol-Version: 2025-11-25\n", "", &a);
		told = adopted(&s)->retry_ms;
		if (!is_retry(strstr(a.head, "\r\n\r\n"), "\r\n\r\n", 3000, "\n\n") || told < 3000 || told > 6000)
			fail_msg("%u: %s", told, a.head);
		least = told < least ? told : least;
		most = told > most ? told : most;
		site_answer_release(&a);
	}
	assert_true(most - least > 1500);
	site_renew(&s);
	site_ask(
	    &s, "GET", "/mcp", SESSION("S06") "Accept: text/event-stream\nMCP-Protocol-Version: 2025-06-18\n", "", &a);
	assert_non_null(strstr(a.head, "\r\n\r\n: keepalive\n\n"));
	assert_int_equal(adopted(&s)->retry_ms, 0);
	site_answer_release(&a);
	site_release(&s);
}

/* E-07: the negotiated revision decides, whatever the header says. */
static void test_priming(void **state)
{
	static const struct {
		const char *session, *headers, *begin;
	} cases[] = {
	    {"S11", SESSION("S11"), "\r\n\r\nid: "},
	    {"S11 behind an old header", SESSION("S11") "MCP-Protocol-Version: 2025-03-26\n", "\r\n\r\nid: "},
	    {"S06", SESSION("S06"), "\r\n\r\n: keepalive\n\n"},
	    {"S06 behind a new header", SESSION("S06") "MCP-Protocol-Version: 2025-11-25\n", "\r\n\r\n: keepalive\n\n"},
	    {"S03", SESSION("S03"), "\r\n\r\n: keepalive\n\n"},
	};
	struct site s;

	(void)state;
	site_init(&s);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct site_answer a;
		const char *begin;

		site_renew(&s);
		site_ask(&s, POST_MCP, cases[i].headers, CALL("1", "slow", ""), &a);
		begin = strstr(a.head, cases[i].begin);
		if (!begin || (strstr(begin, "id: ") && !is_retry(strstr(begin, ".0\n"), ".0\n", 3000, "\ndata: \n\n")))
			fail_msg("%s: %s", cases[i].session, a.head);
		site_answer_release(&a);
	}
	site_release(&s);
}

/* E-06, E-08: a connection is let go of with a retry, but never that of an older client (E-05). */
static void test_polling(void **state)
{
	static const struct {
		const char *name, *headers;
		bool is_polled;
		int64_t after_ms;
		unsigned closings_min;
	} cases[] = {
	    {"neither", SESSION("S11"), false, 0, 0},
	    {"a tool to be polled", SESSION("S11"), true, 0, 1},
	    {"after a while", SESSION("S11"), false, 5, 2},
	    {"older", SESSION("S06"), true, 5, 0},
	    {"oldest", SESSION("S03"), true, 5, 0},
	};
	struct site s;

	(void)state;
	site_init(&s);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct tool *slow = &s.tools[SITE_TOOLS_COUNT - 2];
		struct site_answer a;
		struct fake_stream *stream;

		site_renew(&s);
		slow->is_polled = cases[i].is_polled;
		s.w.cfg.stream_poll_after_ms = cases[i].after_ms;
		site_ask(&s, POST_MCP, cases[i].headers, CALL("1", "slow", ""), &a);
		stream = &s.w.link->streams[s.w.link->streams_count];
		if (!a.is_handed_over || !jx_has(a.last, "result"))
			fail_msg("%s: no answer", cases[i].name);
		if (stream->closings_count < cases[i].closings_min ||
		    (stream->closings_count > 0) != (cases[i].closings_min > 0))
			fail_msg("%s: closed %u times", cases[i].name, stream->closings_count);
		if (stream->closings_count && !is_retry(stream->closings.data, "", 1000, "\n\n"))
			fail_msg("%s: %s", cases[i].name, stream->closings.data);
		site_answer_release(&a);
	}
	site_release(&s);
}

/* Asks, as the client of this session; the id of our request goes to id. */
static struct fake_stream *ask_where(struct site *s, const char *headers, char id[64], json_object **last)
{
	struct site_answer a;

	site_ask(s, POST_MCP, headers, CALL("1", "where", ""), &a);
	assert_true(a.is_handed_over);
	snprintf(id, 64, "\"%s\"", jx_get_str(a.last, "id").p);
	*last = json_object_get(a.last);
	site_answer_release(&a);
	return &s->w.link->streams[s->w.link->streams_count];
}

/* SA-03: the call is parked with its question, and goes on where the answer arrives. */
static void test_ask(void **state)
{
	static const char *const sessions[] = {SESSION("S24"), SESSION("S03"), SESSION("S06"), SESSION("S11")};
	struct site s;

	(void)state;
	site_init(&s);
	for (size_t i = 0; i < COUNT_OF(sessions); i++) {
		struct fake_stream *stream;
		struct site_answer a;
		json_object *ask;
		char id[64], body[256];

		site_renew(&s);
		stream = ask_where(&s, sessions[i], id, &ask);
		assert_true(slice_is(jx_get_str(ask, "method"), "roots/list"));
		json_object_put(ask);
		assert_non_null(s.w.link->parked);
		assert_int_equal(s.w.link->parked->wait_ms, s.w.cfg.ask_wait_s * 1000);
		assert_non_null(strstr(s.w.link->parked->too_late.data, "\"id\":1,\"error\""));
		assert_false(stream->is_finished);
		snprintf(body, sizeof(body), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"roots\":[]}}", id);
		site_ask(&s, POST_MCP, sessions[i], body, &a);
		assert_int_equal(a.status, 202);
		assert_int_equal(s.busy_count, 1);
		site_answer_release(&a);
		assert_true(stream->is_finished);
		assert_non_null(strstr(stream->events.data,
		    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"there\"}]"));
	}
	site_release(&s);
}

/* What can't be parked is answered by an error, on the stream that it has by now. */
static void test_park_failures(void **state)
{
	static const enum err_code codes[] = {ERR_BROKER, ERR_LIMIT, ERR_TOO_BIG, ERR_NOMEM};
	struct site s;

	(void)state;
	site_init(&s);
	for (size_t i = 0; i < COUNT_OF(codes); i++) {
		struct fake_stream *stream;
		json_object *last;
		char id[64];

		site_renew(&s);
		s.w.link->fail[FAKE_PARK] = codes[i];
		stream = ask_where(&s, IN11, id, &last);
		if (!jx_get_object(last, "error") || !stream->is_finished)
			fail_msg("%s: %s", err_name(codes[i]), json_object_to_json_string(last));
		json_object_put(last);
	}
	site_release(&s);
}

/* A parked call whose blob nobody can read ends by its will. */
static void test_lost(void **state)
{
	struct fake_stream *stream;
	struct site_answer a;
	json_object *ask;
	struct site s;
	char id[64], body[256];

	(void)state;
	site_init(&s);
	stream = ask_where(&s, IN11, id, &ask);
	json_object_put(ask);
	buf_clear(&s.w.link->parked->blob);
	buf_adds(&s.w.link->parked->blob, "{\"round\":{}}");
	snprintf(body, sizeof(body), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":1,\"message\":\"x\"}}", id);
	site_ask(&s, POST_MCP, IN11, body, &a);
	assert_int_equal(a.status, 202);
	site_answer_release(&a);
	assert_non_null(strstr(stream->events.data, "\"id\":1,\"error\":{\"code\":-32603"));
	site_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ask),
	    cmocka_unit_test(test_park_failures),
	    cmocka_unit_test(test_lost),
	    cmocka_unit_test(test_post),
	    cmocka_unit_test(test_get_and_delete),
	    cmocka_unit_test(test_broker_failures),
	    cmocka_unit_test(test_duplicate),
	    cmocka_unit_test(test_session),
	    cmocka_unit_test(test_levels_at_once),
	    cmocka_unit_test(test_level),
	    cmocka_unit_test(test_cancel_in_batch),
	    cmocka_unit_test(test_batch_stream),
	    cmocka_unit_test(test_cancel_is_logged),
	    cmocka_unit_test(test_priming),
	    cmocka_unit_test(test_retry_of_listeners),
	    cmocka_unit_test(test_polling),
	};

	return cmocka_run_group_tests_name("legacy", tests, NULL, NULL);
}
