/* fcgi/legacy.c: 2025-03-26 to 2025-11-25 over Streamable HTTP, DT-50 .. DT-104 (differences.md 2.3b, 2.4, 2.5) */
#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "tests/lib/site.h"
#include "common/banned.h"

#define SESSION(id) POSTED "Mcp-Session-Id: " id "\n"
#define IN11	    SESSION("S11")
#define PING(id)    REQUEST(id, "ping", "")
#define CALL(id, name, more) REQUEST(id, "tools/call", "\"name\":\"" name "\"" more)
#define NOTE	    NOTIFICATION("notifications/initialized", "")
#define REPLY(id)   "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"result\":{}}"
#define INIT(version) REQUEST("1", "initialize", INITIALIZE_PARAMS(version))
#define PROTOCOL(v) "MCP-Protocol-Version: " v "\n"
#define GET_SSE	    "Accept: text/event-stream\n"

static void test_post(void **state)
{
	static const struct site_row rows[] = {
	    {"DT-50 initialize", "POST", "/mcp", POSTED PROTOCOL("2030-01-01"), INIT("2025-11-25"), 400, JSON_TYPE, -32000, NULL, NULL, "2025-11-25"},
	    {"DT-50 in a session", "POST", "/mcp", IN11 PROTOCOL("x"), PING("1"), 400, JSON_TYPE, -32000, NULL, NULL, NULL},
	    {"DT-50 before DT-55", "POST", "/mcp", SESSION("dead") PROTOCOL("x"), PING("1"), 400, JSON_TYPE, -32000, NULL, NULL, NULL},
	    {"DT-51 2025-11-25", "POST", "/mcp", POSTED, INIT("2025-11-25"), 200, JSON_TYPE, 0, "1", "Mcp-Session-Id: ", "\"protocolVersion\":\"2025-11-25\""},
	    {"DT-51 2025-06-18", "POST", "/mcp", POSTED, INIT("2025-06-18"), 200, JSON_TYPE, 0, "1", "Mcp-Session-Id: ", "\"protocolVersion\":\"2025-06-18\""},
	    {"DT-51 2025-03-26", "POST", "/mcp", POSTED, INIT("2025-03-26"), 200, JSON_TYPE, 0, "1", "Mcp-Session-Id: ", "\"protocolVersion\":\"2025-03-26\""},
	    {"DT-51 2024-11-05", "POST", "/mcp", POSTED, INIT("2024-11-05"), 200, JSON_TYPE, 0, "1", "Mcp-Session-Id: ", "\"protocolVersion\":\"2024-11-05\""},
	    {"DT-51 SSE only", "POST", "/mcp", CONTENT GET_SSE, INIT("2025-11-25"), 200, SSE_TYPE, 0, "1", "Mcp-Session-Id: ", "\"protocolVersion\":\"2025-11-25\""},
	    {"DT-51 members of the result", "POST", "/mcp", POSTED, INIT("2025-11-25"), 200, JSON_TYPE, 0, "1", NULL,
		"\"result\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{\"tools\":{},\"logging\":{}},\"serverInfo\":{\"name\":\"test\",\"version\":\"1\"}}}"},
	    {"DT-52 unknown", "POST", "/mcp", POSTED, INIT("2024-10-07"), 200, JSON_TYPE, 0, "1", "Mcp-Session-Id: ", "\"protocolVersion\":\"2025-11-25\""},
	    {"DT-52 modern is not named (V-02)", "POST", "/mcp", POSTED, INIT("2026-07-28"), 200, JSON_TYPE, 0, "1", "Mcp-Session-Id: ", "\"protocolVersion\":\"2025-11-25\""},
	    {"DT-53 no params", "POST", "/mcp", POSTED, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}", 200, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-53 version a number", "POST", "/mcp", POSTED,
		REQUEST("1", "initialize", "\"protocolVersion\":1,\"capabilities\":{},\"clientInfo\":{\"name\":\"t\",\"version\":\"1\"}"), 200, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-53 no capabilities", "POST", "/mcp", POSTED,
		REQUEST("1", "initialize", "\"protocolVersion\":\"2025-11-25\",\"clientInfo\":{\"name\":\"t\",\"version\":\"1\"}"), 200, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-53 no clientInfo", "POST", "/mcp", POSTED, REQUEST("\"a\"", "initialize", "\"protocolVersion\":\"2025-11-25\",\"capabilities\":{}"),
		200, JSON_TYPE, -32602, "\"a\"", NULL, NULL},
	    {"DT-53 clientInfo without version", "POST", "/mcp", POSTED,
		REQUEST("1", "initialize", "\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\"clientInfo\":{\"name\":\"t\"}"), 200, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-54 request", "POST", "/mcp", POSTED, PING("1"), 400, JSON_TYPE, -32000, NULL, NULL, NULL},
	    {"DT-54 notification", "POST", "/mcp", POSTED, NOTE, 400, JSON_TYPE, -32000, NULL, NULL, NULL},
	    {"DT-54 initialize as notification", "POST", "/mcp", POSTED, NOTIFICATION("initialize", INITIALIZE_PARAMS("2025-11-25")), 400, JSON_TYPE, -32000, NULL, NULL, NULL},
	    {"DT-54 reply", "POST", "/mcp", POSTED, REPLY("1"), 400, JSON_TYPE, -32000, NULL, NULL, NULL},
	    {"DT-54 batch", "POST", "/mcp", POSTED, "[" PING("1") "]", 400, JSON_TYPE, -32000, NULL, NULL, NULL},
	    {"DT-54 empty batch", "POST", "/mcp", POSTED, "[]", 400, JSON_TYPE, -32000, NULL, NULL, NULL},
	    {"DT-55 unknown session", "POST", "/mcp", SESSION("dead"), PING("1"), 404, JSON_TYPE, -32001, NULL, NULL, NULL},
	    {"DT-55 of another principal", "POST", "/mcp", SESSION("SX"), PING("1"), 404, JSON_TYPE, -32001, NULL, NULL, NULL},
	    {"DT-55 empty", "POST", "/mcp", SESSION(""), PING("1"), 404, JSON_TYPE, -32001, NULL, NULL, NULL},
	    {"DT-55 with a blank", "POST", "/mcp", SESSION("S11 x"), PING("1"), 404, JSON_TYPE, -32001, NULL, NULL, NULL},
	    {"DT-55 not ASCII", "POST", "/mcp", SESSION("S11\303\274"), PING("1"), 404, JSON_TYPE, -32001, NULL, NULL, NULL},
	    {"DT-55 too long", "POST", "/mcp", SESSION("0123456789012345678901234567890123456789012345678901234567890123456789"
		"0123456789012345678901234567890123456789012345678901234567890123456789"), PING("1"), 404, JSON_TYPE, -32001, NULL, NULL, NULL},
	    {"DT-55 initialize", "POST", "/mcp", SESSION("dead"), INIT("2025-11-25"), 404, JSON_TYPE, -32001, NULL, NULL, NULL},
	    {"DT-55 batch", "POST", "/mcp", SESSION("dead"), "[" PING("1") "]", 404, JSON_TYPE, -32001, NULL, NULL, NULL},
	    {"DT-55 bad batch", "POST", "/mcp", SESSION("dead"), "[]", 404, JSON_TYPE, -32001, NULL, NULL, NULL},
	    {"DT-55 notification", "POST", "/mcp", SESSION("dead"), NOTE, 404, JSON_TYPE, -32001, NULL, NULL, NULL},
	    {"DT-56 initialize again", "POST", "/mcp", IN11, INIT("2025-11-25"), 400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"DT-57 ping has no members (R-37)", "POST", "/mcp", IN11, PING("\"p\""), 200, JSON_TYPE, 0, "\"p\"", NULL, "{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"result\":{}}"},
	    {"DT-57 id of 64 bits", "POST", "/mcp", IN11, PING("9223372036854775807"), 200, JSON_TYPE, 0, "9223372036854775807", NULL, NULL},
	    {"DT-57 list", "POST", "/mcp", IN11, REQUEST("1", "tools/list", ""), 200, JSON_TYPE, 0, "1", NULL,
		"{\"tools\":[{\"name\":\"big\",\"era\":0},{\"name\":\"cancelled\",\"era\":0},{\"name\":\"echo\",\"era\":0}],\"nextCursor\":\"0123456789abcdef.3\"}"},
	    {"DT-57 call", "POST", "/mcp", IN11, CALL("1", "echo", ",\"arguments\":{\"text\":\"x\"}"), 200, JSON_TYPE, 0, "1", NULL,
		"{\"content\":[{\"type\":\"text\",\"text\":\"echo\"}],\"structuredContent\":{\"text\":\"x\"}}"},
	    {"DT-57 SSE only", "POST", "/mcp", CONTENT GET_SSE "Mcp-Session-Id: S11\n", PING("1"), 200, SSE_TYPE, 0, "1", NULL, "data: {"},
	    {"DT-57 no session id on later answers (S-12)", "POST", "/mcp", IN11, PING("1"), 200, JSON_TYPE, 0, "1",
		"Status: 200 OK\r\nContent-Type: application/json\r\nContent-Length: 36\r\n", NULL},
	    {"DT-57 the tool's _meta", "POST", "/mcp", IN11, CALL("1", "meta", ""), 200, JSON_TYPE, 0, "1", NULL, "\"_meta\":{\"a/b\":1}}"},
	    {"DT-57 level", "POST", "/mcp", IN11, REQUEST("1", "logging/setLevel", "\"level\":\"error\""), 200, JSON_TYPE, 0, "1", NULL, "\"result\":{}"},
	    {"DT-58 unknown method", "POST", "/mcp", IN11, REQUEST("1", "no/such", ""), 200, JSON_TYPE, -32601, "1", NULL, NULL},
	    {"DT-58 capability not offered", "POST", "/mcp", IN11, REQUEST("1", "prompts/list", ""), 200, JSON_TYPE, -32601, "1", NULL, NULL},
	    {"DT-59 bad params", "POST", "/mcp", IN11, REQUEST("1", "logging/setLevel", "\"level\":\"loud\""), 200, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-59 no params", "POST", "/mcp", IN11, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\"}", 200, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-59 bad cursor", "POST", "/mcp", IN11, REQUEST("1", "tools/list", "\"cursor\":\"x\""), 200, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-59 unknown tool (X-17)", "POST", "/mcp", IN11, CALL("1", "nope", ""), 200, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"X-18 arguments before 2025-11-25", "POST", "/mcp", SESSION("S06"), CALL("1", "echo", ""), 200, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"X-19 arguments from 2025-11-25 on", "POST", "/mcp", IN11, CALL("1", "echo", ""), 200, JSON_TYPE, 0, "1", NULL, "\"isError\":true"},
	    {"X-20 handler failed", "POST", "/mcp", IN11, CALL("1", "fail", ""), 200, JSON_TYPE, -32603, "1", NULL, "\"Internal error\""},
	    {"DT-61 known", "POST", "/mcp", IN11, NOTE, 202, NULL, 0, NULL, "Content-Length: 0\r", NULL},
	    {"DT-61 unknown", "POST", "/mcp", IN11, NOTIFICATION("notifications/x", ""), 202, NULL, 0, NULL, NULL, NULL},
	    {"DT-61 a request's name", "POST", "/mcp", IN11, NOTIFICATION("tools/call", "\"name\":\"fail\""), 202, NULL, 0, NULL, NULL, NULL},
	    {"DT-63 late answer", "POST", "/mcp", IN11, REPLY("77"), 202, NULL, 0, NULL, NULL, NULL},
	    {"DT-63 error answer", "POST", "/mcp", IN11, "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"error\":{\"code\":-1,\"message\":\"\"}}", 202, NULL, 0, NULL, NULL, NULL},
	    {"DT-64 neither", "POST", "/mcp", IN11, "{\"jsonrpc\":\"2.0\",\"id\":1}", 400, JSON_TYPE, -32600, "1", NULL, NULL},
	    {"DT-64 result a string", "POST", "/mcp", IN11, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"x\"}", 400, JSON_TYPE, -32600, "1", NULL, NULL},
	    {"DT-65 batch in 2025-06-18", "POST", "/mcp", SESSION("S06"), "[" PING("1") "]", 400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"DT-65 batch in 2025-11-25", "POST", "/mcp", IN11, "[" NOTE "]", 400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"DT-66 requests", "POST", "/mcp", SESSION("S03"), "[" PING("1") "," PING("\"1\"") "]", 200, JSON_TYPE, 0, NULL, NULL,
		"[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}},{\"jsonrpc\":\"2.0\",\"id\":\"1\",\"result\":{}}]"},
	    {"DT-66 one request is an array still", "POST", "/mcp", SESSION("S24"), "[" PING("1") "]", 200, JSON_TYPE, 0, NULL, NULL, "[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}]"},
	    {"DT-66 with a notification", "POST", "/mcp", SESSION("S03"), "[" NOTE "," PING("1") "]", 200, JSON_TYPE, 0, NULL, NULL, "[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}]"},
	    {"DT-66 an error among them", "POST", "/mcp", SESSION("S03"), "[" PING("1") "," REQUEST("2", "no/such", "") "]", 200, JSON_TYPE, 0, NULL, NULL, "\"id\":2,\"error\""},
	    {"DT-66 SSE", "POST", "/mcp", CONTENT GET_SSE "Mcp-Session-Id: S03\n", "[" PING("1") "," PING("2") "]", 200, SSE_TYPE, 0, "2", NULL,
		"event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n\n"},
	    {"DT-67 notifications only", "POST", "/mcp", SESSION("S03"), "[" NOTE "," NOTE "]", 202, NULL, 0, NULL, NULL, NULL},
	    {"DT-67 responses only", "POST", "/mcp", SESSION("S03"), "[" REPLY("1") "," REPLY("2") "]", 202, NULL, 0, NULL, NULL, NULL},
	    {"DT-68 empty", "POST", "/mcp", SESSION("S03"), "[]", 400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"DT-68 at the limit", "POST", "/mcp", SESSION("S03"), "[" NOTE "," NOTE "," NOTE "]", 202, NULL, 0, NULL, NULL, NULL},
	    {"DT-68 over the limit", "POST", "/mcp", SESSION("S03"), "[" NOTE "," NOTE "," NOTE "," NOTE "]", 400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"DT-68 invalid element", "POST", "/mcp", SESSION("S03"), "[" PING("1") ",7]", 400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"DT-68 array in the array", "POST", "/mcp", SESSION("S03"), "[[" PING("1") "]]", 400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"DT-68 null", "POST", "/mcp", SESSION("S03"), "[null]", 400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"DT-68 initialize", "POST", "/mcp", SESSION("S03"), "[" INIT("2025-03-26") "]", 400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"DT-68 duplicate ids", "POST", "/mcp", SESSION("S03"), "[" PING("1") "," PING("2") "," PING("1") "]", 400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"DT-68 duplicate ids, written differently", "POST", "/mcp", SESSION("S03"), "[" PING("\"A\"") "," PING("\"\\u0041\"") "]", 400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"DT-68 responses and requests", "POST", "/mcp", SESSION("S03"), "[" PING("1") "," REPLY("2") "]", 400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"DT-69 another legacy version header", "POST", "/mcp", IN11 PROTOCOL("2025-03-26"), CALL("1", "echo", ""), 200, JSON_TYPE, 0, "1", NULL, "\"isError\":true"},
	    {"DT-69 batch, by the negotiated one", "POST", "/mcp", SESSION("S03") PROTOCOL("2025-11-25"), "[" PING("1") "]", 200, JSON_TYPE, 0, NULL, NULL, "[{"},
	    {"DT-70 no version header", "POST", "/mcp", SESSION("S06"), PING("1"), 200, JSON_TYPE, 0, "1", NULL, NULL},
	    {"DT-71 before initialized", "POST", "/mcp", IN11, REQUEST("1", "tools/list", ""), 200, JSON_TYPE, 0, "1", NULL, NULL},
	    {"DT-72 cancelled", "POST", "/mcp", IN11, CALL("1", "cancelled", ""), 200, SSE_TYPE, 0, NULL, NULL, NULL},
	    {"DT-73 cancel of an unknown id", "POST", "/mcp", IN11, NOTIFICATION("notifications/cancelled", "\"requestId\":99"), 202, NULL, 0, NULL, NULL, NULL},
	    {"DT-73 malformed cancel", "POST", "/mcp", IN11, NOTIFICATION("notifications/cancelled", "\"requestId\":[]"), 202, NULL, 0, NULL, NULL, NULL},
	    {"DT-73 cancel without params", "POST", "/mcp", IN11, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\"}", 202, NULL, 0, NULL, NULL, NULL},
	    {"DT-74 server/discover", "POST", "/mcp", IN11, REQUEST("1", "server/discover", ""), 200, JSON_TYPE, -32601, "1", NULL, NULL},
	    {"lazy stream by progress", "POST", "/mcp", IN11, REQUEST("1", "tools/call", "\"name\":\"progress\",\"_meta\":{\"progressToken\":0}"), 200, SSE_TYPE, 0, "1", NULL, "\"progressToken\":0,"},
	    {"lazy stream by a log of the session's level", "POST", "/mcp", IN11, CALL("1", "progress", ""), 200, SSE_TYPE, 0, "1", NULL, "notifications/message"},
	    {"lazy stream by silence", "POST", "/mcp", IN11, CALL("1", "slow", ""), 200, SSE_TYPE, 0, "1", NULL, "slow"},
	    {"no stream for a client of JSON", "POST", "/mcp", CONTENT "Accept: application/json\nMcp-Session-Id: S11\n", CALL("1", "progress", ""), 200, JSON_TYPE, 0, "1", NULL, "done"},
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
	    {"DT-80 no Accept", "GET", "/mcp", "Mcp-Session-Id: S11\n", NULL, 406, NULL, 0, NULL, NULL, NULL},
	    {"DT-80 wildcard", "GET", "/mcp", "Accept: */*\nMcp-Session-Id: S11\n", NULL, 406, NULL, 0, NULL, NULL, NULL},
	    {"DT-80 a browser", "GET", "/mcp", "Accept: text/html,application/xhtml+xml,*/*;q=0.8\n", NULL, 406, NULL, 0, NULL, NULL, NULL},
	    {"DT-80 before DT-81", "GET", "/mcp", VERSION26, NULL, 406, NULL, 0, NULL, NULL, NULL},
	    {"DT-81 modern", "GET", "/mcp", GET_SSE VERSION26, NULL, 405, NULL, 0, NULL, "Allow: POST\r", NULL},
	    {"DT-81 modern, in a session", "GET", "/mcp", GET_SSE VERSION26 "Mcp-Session-Id: S11\n", NULL, 405, NULL, 0, NULL, "Allow: POST\r", NULL},
	    {"DT-82 unknown version", "GET", "/mcp", GET_SSE PROTOCOL("x") "Mcp-Session-Id: S11\n", NULL, 400, JSON_TYPE, -32000, NULL, NULL, NULL},
	    {"DT-83 nothing: 2024-11-05", "GET", "/mcp", GET_SSE, NULL, 200, SSE_TYPE, 0, NULL, "event: endpoint\ndata: /mcp/messages?sessionId=", NULL},
	    {"DT-84 no session", "GET", "/mcp", GET_SSE PROTOCOL("2025-06-18"), NULL, 400, JSON_TYPE, -32000, NULL, NULL, NULL},
	    {"DT-84 no session, event id", "GET", "/mcp", GET_SSE "Last-Event-ID: known\n", NULL, 400, JSON_TYPE, -32000, NULL, NULL, NULL},
	    {"DT-85 unknown session", "GET", "/mcp", GET_SSE "Mcp-Session-Id: dead\n", NULL, 404, JSON_TYPE, -32001, NULL, NULL, NULL},
	    {"DT-85 foreign session", "GET", "/mcp", GET_SSE "Mcp-Session-Id: SX\n", NULL, 404, JSON_TYPE, -32001, NULL, NULL, NULL},
	    {"DT-86 the session's stream", "GET", "/mcp", GET_SSE "Mcp-Session-Id: S11\n", NULL, 200, SSE_TYPE, 0, NULL,
		"Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n\r\n", NULL},
	    {"DT-86 both types", "GET", "/mcp", ACCEPT "Mcp-Session-Id: S11\n" PROTOCOL("2025-11-25"), NULL, 200, SSE_TYPE, 0, NULL, NULL, NULL},
	    {"DT-87 resumed", "GET", "/mcp", GET_SSE "Mcp-Session-Id: S11\nLast-Event-ID: known\n", NULL, 200, SSE_TYPE, 0, NULL, NULL, NULL},
	    {"DT-88 delivered", "GET", "/mcp", GET_SSE "Mcp-Session-Id: S11\nLast-Event-ID: delivered\n", NULL, 405, NULL, 0, NULL, "Allow: POST, DELETE\r", NULL},
	    {"DT-90 unknown event", "GET", "/mcp", GET_SSE "Mcp-Session-Id: S11\nLast-Event-ID: 7\n", NULL, 400, JSON_TYPE, -32000, NULL, NULL, NULL},
	    {"DT-91 negotiated 2024-11-05", "GET", "/mcp", GET_SSE "Mcp-Session-Id: S24\n", NULL, 200, SSE_TYPE, 0, NULL, NULL, NULL},
	    {"DT-100 ended", "DELETE", "/mcp", "Mcp-Session-Id: S11\n", NULL, 200, NULL, 0, NULL, "Content-Length: 0\r", NULL},
	    {"DT-100 with a version", "DELETE", "/mcp", "Mcp-Session-Id: S11\n" PROTOCOL("2025-11-25"), NULL, 200, NULL, 0, NULL, NULL, NULL},
	    {"DT-101 no session", "DELETE", "/mcp", "", NULL, 400, JSON_TYPE, -32000, NULL, NULL, NULL},
	    {"DT-102 unknown", "DELETE", "/mcp", "Mcp-Session-Id: dead\n", NULL, 404, JSON_TYPE, -32001, NULL, NULL, NULL},
	    {"DT-102 foreign", "DELETE", "/mcp", "Mcp-Session-Id: SX\n", NULL, 404, JSON_TYPE, -32001, NULL, NULL, NULL},
	    {"DT-103 modern", "DELETE", "/mcp", "Mcp-Session-Id: S11\n" VERSION26, NULL, 405, NULL, 0, NULL, "Allow: POST\r", NULL},
	    {"DT-104 unknown version", "DELETE", "/mcp", "Mcp-Session-Id: S11\n" PROTOCOL("x"), NULL, 400, JSON_TYPE, -32000, NULL, NULL, NULL},
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
	    {"DT-75 cancel", FAKE_CANCEL, ERR_BROKER, "POST", IN11, NOTIFICATION("notifications/cancelled", "\"requestId\":1"), 503, 0, NULL},
	    {"DT-75 initialize", FAKE_SESSION_PUT, ERR_BROKER, "POST", POSTED, INIT("2025-11-25"), 503, 0, NULL},
	    {"DT-75 GET", FAKE_ATTACH, ERR_BROKER, "GET", GET_SSE "Mcp-Session-Id: S11\n", NULL, 503, 0, NULL},
	    {"DT-75 GET at a limit", FAKE_ATTACH, ERR_LIMIT, "GET", GET_SSE "Mcp-Session-Id: S11\n", NULL, 503, 0, NULL},
	    {"DT-75 GET, handoff refused", FAKE_ADOPT, ERR_BUSY, "GET", GET_SSE "Mcp-Session-Id: S11\n", NULL, 503, 0, NULL},
	    {"DT-75 DELETE", FAKE_SESSION_DEL, ERR_BROKER, "DELETE", "Mcp-Session-Id: S11\n", NULL, 503, 0, NULL},
	    {"DT-77 open requests", FAKE_CALL_BEGIN, ERR_LIMIT, "POST", IN11, PING("\"a\""), 200, -32603, "\"a\""},
	    {"DT-77 sessions", FAKE_SESSION_PUT, ERR_LIMIT, "POST", POSTED, INIT("2025-11-25"), 200, -32603, "1"},
	    {"level not stored", FAKE_SESSION_PUT, ERR_BUSY, "POST", IN11, REQUEST("4", "logging/setLevel", "\"level\":\"error\""), 200, -32603, "4"},
	    {"capabilities too large", FAKE_SESSION_PUT, ERR_TOO_BIG, "POST", POSTED, INIT("2025-11-25"), 200, -32602, "1"},
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
		if (a.status != cases[i].status || code != cases[i].rpc || !slice_is(buf_slice(&id), cases[i].id ? cases[i].id : ""))
			fail_msg("%s: status %d, code %d\n%s", cases[i].name, a.status, code, a.body.len ? a.body.data : "");
		if (site_answer_header(&a, "Retry-After", text, sizeof(text)) != (a.status == 503) || (a.status == 503 && a.body.len))
			fail_msg("%s: %s", cases[i].name, a.head);
		if (a.is_handed_over || s.busy_count)
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
	site_ask(&s, "POST", "/mcp", IN11, PING("\"x\""), &a);
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
	site_ask(&s, "POST", "/mcp", POSTED, REQUEST("1", "initialize", "\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"roots\":{}},"
	    "\"clientInfo\":{\"name\":\"t\",\"version\":\"1\"}"), &a);
	assert_true(site_answer_header(&a, "Mcp-Session-Id", first, sizeof(first)));
	session = fake_link_session(s.w.link, slice_str(first));
	assert_non_null(session);
	assert_true(slice_is(buf_slice(&session->blob), "{\"revision\":\"2025-06-18\",\"logLevel\":1,\"capabilities\":{\"roots\":{}}}"));
	assert_int_equal(session->flags, 0);
	site_answer_release(&a);
	site_ask(&s, "POST", "/mcp", POSTED, INIT("2025-06-18"), &a);
	assert_true(site_answer_header(&a, "Mcp-Session-Id", second, sizeof(second)));
	assert_true(strlen(first) == 32 && strlen(second) == 32 && strcmp(first, second) != 0);
	site_answer_release(&a);
	site_ask(&s, "POST", "/mcp", POSTED, REQUEST("1", "initialize", ""), &a);
	assert_false(site_answer_header(&a, "Mcp-Session-Id", second, sizeof(second)));
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
	site_ask(&s, "POST", "/mcp", IN11, REQUEST("1", "logging/setLevel", "\"level\":\"error\""), &a);
	assert_int_equal(a.status, 200);
	site_answer_release(&a);
	site_ask(&s, "POST", "/mcp", IN11, CALL("2", "progress", ""), &a);
	assert_false(a.is_handed_over); /* its warning is below error, so there was nothing to send */
	site_answer_release(&a);
	site_ask(&s, "POST", "/mcp", IN11, REQUEST("3", "logging/setLevel", "\"level\":\"debug\""), &a);
	site_answer_release(&a);
	site_ask(&s, "POST", "/mcp", IN11, CALL("4", "progress", ""), &a);
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
	site_ask(&s, "POST", "/mcp", SESSION("S03"), "[" CALL("1", "cancelled", "") "," CALL("2", "echo", ",\"arguments\":{\"text\":\"x\"}") "," PING("3") "]", &a);
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
	site_ask(&s, "POST", "/mcp", SESSION("S03"), "[" PING("1") "," CALL("2", "slow", "") "," PING("\"3\"") "]", &a);
	assert_true(a.is_handed_over);
	assert_int_equal(a.events_count, 3);
	assert_string_equal(s.w.link->wills.data, "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}\n"
	    "{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}\n"
	    "{\"jsonrpc\":\"2.0\",\"id\":\"3\",\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}\n");
	site_answer_release(&a);
	site_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_post),
	    cmocka_unit_test(test_get_and_delete),
	    cmocka_unit_test(test_broker_failures),
	    cmocka_unit_test(test_duplicate),
	    cmocka_unit_test(test_session),
	    cmocka_unit_test(test_level),
	    cmocka_unit_test(test_cancel_in_batch),
	    cmocka_unit_test(test_batch_stream),
	};

	return cmocka_run_group_tests_name("legacy", tests, NULL, NULL);
}
