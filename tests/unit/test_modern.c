/* fcgi/modern.c, method.c, method_tools.c: 2026-07-28, DT-20 .. DT-44 in their order (differences.md 2.3a) */
#include "config.h"

#include "common/jx.h"
#include "tests/lib/site.h"
#include "common/banned.h"

#define TO(method) POSTED VERSION26 "Mcp-Method: " method "\n"
#define TO_CALL(name) TO("tools/call") "Mcp-Name: " name "\n"
#define CALL(name, more) REQUEST("\"q\"", "tools/call", "\"name\":\"" name "\"," more META)
#define LIST TO("tools/list")
#define META_WITH(more) "\"_meta\":{" KEY("protocolVersion") ":\"2026-07-28\"," KEY("clientCapabilities") ":{}," more "}"
#define REGION_HEADS TO_CALL("region") "Mcp-Param-Region: bern\nMcp-Param-Count: 42\nMcp-Param-Flag: true\nMcp-Param-Nested: x\n"
#define REGION(args) CALL("region", "\"arguments\":{" args "},")
#define CLEANED "\"_meta\":{\"io.modelcontextprotocol/serverInfo\":{\"name\":\"test\",\"version\":\"1\"}"

static void test_rows(void **state)
{
	static const struct site_row rows[] = {
	    {"DT-20 initialize under a modern header", "POST", "/mcp", TO("initialize"), REQUEST("1", "initialize", INITIALIZE_PARAMS("2025-11-25")),
		400, JSON_TYPE, -32020, "1", NULL, NULL},
	    {"DT-21 no claim", "POST", "/mcp", LIST, REQUEST("\"q\"", "tools/list", ""), 400, JSON_TYPE, -32602, "\"q\"", NULL, "missing _meta"},
	    {"DT-21 no params", "POST", "/mcp", LIST, "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"tools/list\"}", 400, JSON_TYPE, -32602, "0", NULL, NULL},
	    {"DT-22 claim a number", "POST", "/mcp", LIST, REQUEST("1", "tools/list", "\"_meta\":{" KEY("protocolVersion") ":20260728}"),
		400, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-22 claim null", "POST", "/mcp", LIST, REQUEST("1", "tools/list", "\"_meta\":{" KEY("protocolVersion") ":null}"), 400, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-22 before DT-23", "POST", "/mcp", POSTED, REQUEST("1", "tools/list", "\"_meta\":{" KEY("protocolVersion") ":[]}"), 400, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-23 no version header", "POST", "/mcp", POSTED "Mcp-Method: tools/list\n", REQUEST("1", "tools/list", META), 400, JSON_TYPE, -32020, "1", NULL, NULL},
	    {"DT-24 another version header", "POST", "/mcp", POSTED "MCP-Protocol-Version: 2025-11-25\nMcp-Method: tools/list\n",
		REQUEST("1", "tools/list", META), 400, JSON_TYPE, -32020, "1", NULL, NULL},
	    {"DT-24 values count by case", "POST", "/mcp", POSTED "MCP-Protocol-Version: 2026-07-28X\n", REQUEST("1", "tools/list", META_OF("2026-07-28x")),
		400, JSON_TYPE, -32020, "1", NULL, NULL},
	    {"DT-25 unknown", "POST", "/mcp", POSTED "MCP-Protocol-Version: 2030-01-01\n", REQUEST("1", "tools/list", META_OF("2030-01-01")),
		400, JSON_TYPE, -32022, "1", NULL,
		"\"data\":{\"supported\":[\"2026-07-28\",\"2025-11-25\",\"2025-06-18\",\"2025-03-26\",\"2024-11-05\"],\"requested\":\"2030-01-01\"}"},
	    {"DT-25 legacy", "POST", "/mcp", POSTED "MCP-Protocol-Version: 2025-11-25\n", REQUEST("1", "tools/list", META_OF("2025-11-25")),
		400, JSON_TYPE, -32022, "1", NULL, "\"requested\":\"2025-11-25\""},
	    {"DT-25 before DT-26", "POST", "/mcp", POSTED "MCP-Protocol-Version: 2030-01-01\n",
		REQUEST("1", "tools/list", "\"_meta\":{" KEY("protocolVersion") ":\"2030-01-01\"}"), 400, JSON_TYPE, -32022, "1", NULL, NULL},
	    {"DT-26 no capabilities", "POST", "/mcp", LIST, REQUEST("1", "tools/list", "\"_meta\":{" KEY("protocolVersion") ":\"2026-07-28\"}"),
		400, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-26 capabilities an array", "POST", "/mcp", LIST,
		REQUEST("1", "tools/list", "\"_meta\":{" KEY("protocolVersion") ":\"2026-07-28\"," KEY("clientCapabilities") ":[]}"), 400, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-26 clientInfo a string", "POST", "/mcp", LIST, REQUEST("1", "tools/list", META_WITH(KEY("clientInfo") ":\"x\"")), 400, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-26 clientInfo without version", "POST", "/mcp", LIST, REQUEST("1", "tools/list", META_WITH(KEY("clientInfo") ":{\"name\":\"x\"}")),
		400, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-26 unknown level", "POST", "/mcp", LIST, REQUEST("1", "tools/list", META_WITH(KEY("logLevel") ":\"loud\"")), 400, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-26 level a number", "POST", "/mcp", LIST, REQUEST("1", "tools/list", META_WITH(KEY("logLevel") ":3")), 400, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-26 progressToken an object", "POST", "/mcp", LIST, REQUEST("1", "tools/list", META_WITH("\"progressToken\":{}")), 400, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-26 before DT-27", "POST", "/mcp", POSTED VERSION26, REQUEST("1", "tools/list", META_WITH("\"progressToken\":1.5")), 400, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-26 all of it", "POST", "/mcp", LIST,
		REQUEST("1", "tools/list", META_WITH(KEY("clientInfo") ":{\"name\":\"x\",\"version\":\"1\"}," KEY("logLevel") ":\"debug\",\"progressToken\":\"p\",\"x/y\":[]")),
		200, JSON_TYPE, 0, "1", NULL, NULL},
	    {"DT-27 no Mcp-Method", "POST", "/mcp", POSTED VERSION26, REQUEST("1", "tools/list", META), 400, JSON_TYPE, -32020, "1", NULL, NULL},
	    {"DT-27 another", "POST", "/mcp", TO("tools/call"), REQUEST("1", "tools/list", META), 400, JSON_TYPE, -32020, "1", NULL, NULL},
	    {"DT-27 byte for byte", "POST", "/mcp", TO("Tools/List"), REQUEST("1", "tools/list", META), 400, JSON_TYPE, -32020, "1", NULL, NULL},
	    {"DT-27 before DT-29", "POST", "/mcp", TO("nope"), REQUEST("1", "no/such", META), 400, JSON_TYPE, -32020, "1", NULL, NULL},
	    {"DT-28 no Mcp-Name", "POST", "/mcp", TO("tools/call"), CALL("echo", ""), 400, JSON_TYPE, -32020, "\"q\"", NULL, NULL},
	    {"DT-28 another", "POST", "/mcp", TO_CALL("fail"), CALL("echo", ""), 400, JSON_TYPE, -32020, "\"q\"", NULL, NULL},
	    {"DT-28 case", "POST", "/mcp", TO_CALL("Echo"), CALL("echo", ""), 400, JSON_TYPE, -32020, "\"q\"", NULL, NULL},
	    {"DT-28 undecodable", "POST", "/mcp", TO_CALL("=?base64?ZWNobw=?="), CALL("echo", ""), 400, JSON_TYPE, -32020, "\"q\"", NULL, NULL},
	    {"DT-28 encoded", "POST", "/mcp", TO_CALL("=?base64?ZWNobw==?="), CALL("echo", "\"arguments\":{\"text\":\"x\"},"), 200, JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-28 params.name missing", "POST", "/mcp", TO_CALL("echo"), REQUEST("1", "tools/call", META), 400, JSON_TYPE, -32020, "1", NULL, NULL},
	    {"DT-28 params.name a number", "POST", "/mcp", TO_CALL("1"), REQUEST("1", "tools/call", "\"name\":1," META), 400, JSON_TYPE, -32020, "1", NULL, NULL},
	    {"DT-28 prompts/get, before DT-29", "POST", "/mcp", TO("prompts/get"), REQUEST("1", "prompts/get", "\"name\":\"p\"," META), 400, JSON_TYPE, -32020, "1", NULL, NULL},
	    {"DT-28 resources/read repeats the URI", "POST", "/mcp", TO("resources/read") "Mcp-Name: b\n", REQUEST("1", "resources/read", "\"uri\":\"a\"," META),
		400, JSON_TYPE, -32020, "1", NULL, NULL},
	    {"DT-28 on other methods it is ignored", "POST", "/mcp", LIST "Mcp-Name: =?base64?x?=\n", REQUEST("1", "tools/list", META), 200, JSON_TYPE, 0, "1", NULL, NULL},
	    {"DT-29 unknown", "POST", "/mcp", TO("no/such"), REQUEST("1", "no/such", META), 404, JSON_TYPE, -32601, "1", NULL, NULL},
	    {"DT-29 empty", "POST", "/mcp", TO(""), REQUEST("1", "", META), 404, JSON_TYPE, -32601, "1", NULL, NULL},
	    {"DT-29 initialize", "POST", "/mcp", TO("initialize"), REQUEST("1", "initialize", META "," INITIALIZE_PARAMS("2025-11-25")), 404, JSON_TYPE, -32601, "1", NULL, NULL},
	    {"DT-29 ping", "POST", "/mcp", TO("ping"), REQUEST("1", "ping", META), 404, JSON_TYPE, -32601, "1", NULL, NULL},
	    {"DT-29 logging/setLevel", "POST", "/mcp", TO("logging/setLevel"), REQUEST("1", "logging/setLevel", "\"level\":\"info\"," META), 404, JSON_TYPE, -32601, "1", NULL, NULL},
	    {"DT-29 resources/subscribe", "POST", "/mcp", TO("resources/subscribe"), REQUEST("1", "resources/subscribe", META), 404, JSON_TYPE, -32601, "1", NULL, NULL},
	    {"DT-29 tasks/list", "POST", "/mcp", TO("tasks/list"), REQUEST("1", "tasks/list", META), 404, JSON_TYPE, -32601, "1", NULL, NULL},
	    {"DT-29 server to client only", "POST", "/mcp", TO("roots/list"), REQUEST("1", "roots/list", META), 404, JSON_TYPE, -32601, "1", NULL, NULL},
	    {"DT-29 capability not advertised", "POST", "/mcp", TO("prompts/get") "Mcp-Name: p\n", REQUEST("1", "prompts/get", "\"name\":\"p\"," META), 404, JSON_TYPE, -32601, "1", NULL, NULL},
	    {"DT-29 a notification's name", "POST", "/mcp", TO("notifications/initialized"), REQUEST("1", "notifications/initialized", META), 404, JSON_TYPE, -32601, "1", NULL, NULL},
	    {"DT-30 all agree", "POST", "/mcp", REGION_HEADS, REGION("\"region\":\"bern\",\"count\":42,\"flag\":true,\"a\":{\"b\":\"x\"}"), 200, JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-30 string differs", "POST", "/mcp", REGION_HEADS, REGION("\"region\":\"thun\""), 400, JSON_TYPE, -32020, "\"q\"", NULL, NULL},
	    {"DT-30 42.0 is 42", "POST", "/mcp", REGION_HEADS, REGION("\"count\":42.0"), 200, JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-30 integer differs", "POST", "/mcp", REGION_HEADS, REGION("\"count\":43"), 400, JSON_TYPE, -32020, "\"q\"", NULL, NULL},
	    {"DT-30 header 42.0", "POST", "/mcp", TO_CALL("region") "Mcp-Param-Count: 42.0\n", REGION("\"count\":42"), 200, JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-30 header not a number", "POST", "/mcp", TO_CALL("region") "Mcp-Param-Count: 0x2a\n", REGION("\"count\":42"), 400, JSON_TYPE, -32020, "\"q\"", NULL, NULL},
	    {"DT-30 header half a number", "POST", "/mcp", TO_CALL("region") "Mcp-Param-Count: 42 \t1\n", REGION("\"count\":42"), 400, JSON_TYPE, -32020, "\"q\"", NULL, NULL},
	    {"DT-30 header of a number empty", "POST", "/mcp", TO_CALL("region") "Mcp-Param-Count: =?base64?" "?=\n", REGION("\"count\":0"), 400, JSON_TYPE, -32020, "\"q\"", NULL, NULL},
	    {"DT-30 boolean differs", "POST", "/mcp", REGION_HEADS, REGION("\"flag\":false"), 400, JSON_TYPE, -32020, "\"q\"", NULL, NULL},
	    {"DT-30 boolean by case", "POST", "/mcp", TO_CALL("region") "Mcp-Param-Flag: True\n", REGION("\"flag\":true"), 400, JSON_TYPE, -32020, "\"q\"", NULL, NULL},
	    {"DT-30 nested differs", "POST", "/mcp", REGION_HEADS, REGION("\"a\":{\"b\":\"y\"}"), 400, JSON_TYPE, -32020, "\"q\"", NULL, NULL},
	    {"DT-30 missing", "POST", "/mcp", TO_CALL("region"), REGION("\"region\":\"bern\""), 400, JSON_TYPE, -32020, "\"q\"", NULL, "Mcp-Param-Region"},
	    {"DT-30 bad encoding", "POST", "/mcp", TO_CALL("region") "Mcp-Param-Region: =?base64?YmVybg?=\n", REGION("\"region\":\"bern\""), 400, JSON_TYPE, -32020, "\"q\"", NULL, NULL},
	    {"DT-30 not ASCII", "POST", "/mcp", TO_CALL("region") "Mcp-Param-Region: Z\303\274rich\n", REGION("\"region\":\"Z\303\274rich\""), 400, JSON_TYPE, -32020, "\"q\"", NULL, NULL},
	    {"DT-30 encoded", "POST", "/mcp", TO_CALL("region") "Mcp-Param-Region: =?base64?WsO8cmljaA==?=\n", REGION("\"region\":\"Z\303\274rich\""), 200, JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-30 empty string, no header (H-25)", "POST", "/mcp", TO_CALL("region"), REGION("\"region\":\"\""), 200, JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-30 empty string, another value", "POST", "/mcp", TO_CALL("region") "Mcp-Param-Region: x\n", REGION("\"region\":\"\""), 400, JSON_TYPE, -32020, "\"q\"", NULL, NULL},
	    {"DT-30 argument absent (H-13)", "POST", "/mcp", REGION_HEADS, REGION(""), 200, JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-30 argument null (H-13)", "POST", "/mcp", TO_CALL("region"), REGION("\"region\":null"), 200, JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-30 no arguments", "POST", "/mcp", TO_CALL("region"), CALL("region", ""), 200, JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-30 unknown Mcp-Param-* (H-16)", "POST", "/mcp", TO_CALL("echo") "Mcp-Param-X: \377\n", CALL("echo", "\"arguments\":{\"text\":\"\"},"), 200, JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-33 unknown tool", "POST", "/mcp", TO_CALL("nope"), CALL("nope", ""), 200, JSON_TYPE, -32602, "\"q\"", NULL, "nope"},
	    {"DT-33 arguments an array", "POST", "/mcp", TO_CALL("echo"), CALL("echo", "\"arguments\":[],"), 200, JSON_TYPE, -32602, "\"q\"", NULL, NULL},
	    {"DT-33 arguments null", "POST", "/mcp", TO_CALL("echo"), CALL("echo", "\"arguments\":null,"), 200, JSON_TYPE, -32602, "\"q\"", NULL, NULL},
	    {"DT-33 cursor of another set", "POST", "/mcp", LIST, REQUEST("1", "tools/list", "\"cursor\":\"fedcba9876543210.3\"," META), 200, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-33 cursor empty", "POST", "/mcp", LIST, REQUEST("1", "tools/list", "\"cursor\":\"\"," META), 200, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-33 cursor a number", "POST", "/mcp", LIST, REQUEST("1", "tools/list", "\"cursor\":3," META), 200, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-33 cursor past the end", "POST", "/mcp", LIST, REQUEST("1", "tools/list", "\"cursor\":\"0123456789abcdef.8\"," META), 200, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-33 cursor and a sign", "POST", "/mcp", LIST, REQUEST("1", "tools/list", "\"cursor\":\"0123456789abcdef.-3\"," META), 200, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-33 cursor and more", "POST", "/mcp", LIST, REQUEST("1", "tools/list", "\"cursor\":\"0123456789abcdef.3x\"," META), 200, JSON_TYPE, -32602, "1", NULL, NULL},
	    {"DT-33 wrong values are the tool's answer (X-19)", "POST", "/mcp", TO_CALL("echo"), CALL("echo", "\"arguments\":{\"text\":\"x\",\"n\":10},"),
		200, JSON_TYPE, 0, "\"q\"", NULL, "\"isError\":true"},
	    {"DT-34 handler failed", "POST", "/mcp", TO_CALL("fail"), CALL("fail", ""), 200, JSON_TYPE, -32603, "\"q\"", NULL, "\"Internal error\""},
	    {"DT-35 notification, by its header", "POST", "/mcp", POSTED VERSION26, NOTIFICATION("notifications/cancelled", "\"requestId\":1"), 202, NULL, 0, NULL, NULL, NULL},
	    {"DT-35 notification, with claim", "POST", "/mcp", TO("notifications/x"), NOTIFICATION("notifications/x", META), 202, NULL, 0, NULL, NULL, NULL},
	    {"DT-35 unknown one", "POST", "/mcp", POSTED VERSION26, NOTIFICATION("whatever", ""), 202, NULL, 0, NULL, NULL, NULL},
	    {"DT-36 claim without header", "POST", "/mcp", POSTED, NOTIFICATION("notifications/x", META), 400, JSON_TYPE, -32020, NULL, NULL, NULL},
	    {"DT-36 claim and header differ", "POST", "/mcp", POSTED VERSION26, NOTIFICATION("notifications/x", META_OF("2025-11-25")), 400, JSON_TYPE, -32020, NULL, NULL, NULL},
	    {"DT-36 Mcp-Method differs", "POST", "/mcp", TO("notifications/y"), NOTIFICATION("notifications/x", META), 400, JSON_TYPE, -32020, NULL, NULL, NULL},
	    {"DT-37 result", "POST", "/mcp", TO_CALL("echo"), CALL("echo", "\"arguments\":{\"text\":\"x\",\"n\":9},"), 200, JSON_TYPE, 0, "\"q\"", NULL,
		"\"structuredContent\":{\"text\":\"x\",\"n\":9}," CLEANED "}}}"},
	    {"DT-37 resultType", "POST", "/mcp", TO_CALL("echo"), CALL("echo", "\"arguments\":{\"text\":\"x\"},"), 200, JSON_TYPE, 0, "\"q\"", NULL, "\"resultType\":\"complete\""},
	    {"DT-37 the tool's _meta joins ours", "POST", "/mcp", TO_CALL("meta"), CALL("meta", ""), 200, JSON_TYPE, 0, "\"q\"", NULL, "{\"resultType\":\"complete\",\"content\":[]," CLEANED ",\"a/b\":1}}}"},
	    {"DT-37 discover", "POST", "/mcp", TO("server/discover"), REQUEST("1", "server/discover", META), 200, JSON_TYPE, 0, "1", NULL,
		"\"supportedVersions\":[\"2026-07-28\",\"2025-11-25\",\"2025-06-18\",\"2025-03-26\",\"2024-11-05\"],\"capabilities\":{\"tools\":{}"},
	    {"CA-01 discover may be cached", "POST", "/mcp", TO("server/discover"), REQUEST("1", "server/discover", META), 200, JSON_TYPE, 0, "1", NULL, "\"ttlMs\":60000,\"cacheScope\":\"public\""},
	    {"CA-01 tools/list may be cached", "POST", "/mcp", LIST, REQUEST("1", "tools/list", META), 200, JSON_TYPE, 0, "1", NULL, "\"ttlMs\":60000,\"cacheScope\":\"public\""},
	    {"tools/list, first page", "POST", "/mcp", LIST, REQUEST("1", "tools/list", META), 200, JSON_TYPE, 0, "1", NULL,
		"\"tools\":[{\"name\":\"big\",\"era\":1},{\"name\":\"cancelled\",\"era\":1},{\"name\":\"echo\",\"era\":1}],\"nextCursor\":\"0123456789abcdef.3\"}}"},
	    {"tools/list, last page", "POST", "/mcp", LIST, REQUEST("1", "tools/list", "\"cursor\":\"0123456789abcdef.6\"," META), 200, JSON_TYPE, 0, "1", NULL,
		"\"tools\":[{\"name\":\"region\",\"era\":1},{\"name\":\"slow\",\"era\":1}]}}"},
	    {"DT-38 no token, no level: nothing to stream", "POST", "/mcp", TO_CALL("progress"), CALL("progress", ""), 200, JSON_TYPE, 0, "\"q\"", NULL, "done"},
	    {"DT-38 progress", "POST", "/mcp", TO_CALL("progress"), REQUEST("1", "tools/call", "\"name\":\"progress\"," META_WITH("\"progressToken\":\"p\"")),
		200, SSE_TYPE, 0, "1", "X-Accel-Buffering: no\r", "done"},
	    {"DT-38 silence", "POST", "/mcp", TO_CALL("slow"), CALL("slow", ""), 200, SSE_TYPE, 0, "\"q\"", NULL, "slow"},
	    {"DT-38 for those who take streams", "POST", "/mcp", CONTENT "Accept: application/json\n" VERSION26 "Mcp-Method: tools/call\nMcp-Name: slow\n", CALL("slow", ""),
		200, JSON_TYPE, 0, "\"q\"", NULL, "slow"},
	    {"DT-38 progress without streams is dropped", "POST", "/mcp", CONTENT "Accept: application/json\n" VERSION26 "Mcp-Method: tools/call\nMcp-Name: progress\n",
		REQUEST("1", "tools/call", "\"name\":\"progress\"," META_WITH("\"progressToken\":7")), 200, JSON_TYPE, 0, "1", NULL, "done"},
	    {"DT-42 response", "POST", "/mcp", POSTED VERSION26, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}", 400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"DT-42 error response", "POST", "/mcp", POSTED VERSION26, "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1,\"message\":\"m\"}}", 400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"DT-43 array", "POST", "/mcp", POSTED VERSION26, "[]", 400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"DT-43 claim in a later element", "POST", "/mcp", POSTED "Mcp-Session-Id: S03\n", "[1,null,{}," REQUEST("1", "ping", "") "," REQUEST("2", "ping", META) "]",
		400, JSON_TYPE, -32600, NULL, NULL, NULL},
	    {"sessions are not looked at (S-10)", "POST", "/mcp", LIST "Mcp-Session-Id: dead\nLast-Event-ID: x\n", REQUEST("1", "tools/list", META), 200, JSON_TYPE, 0, "1", NULL, NULL},
	    {"an unknown member is ignored (J-16)", "POST", "/mcp", LIST, REQUEST("1", "tools/list", "\"x\":{\"y\":[]}," META), 200, JSON_TYPE, 0, "1", NULL, NULL},
	};
	struct site s;

	(void)state;
	site_init(&s);
	site_check(&s, rows, COUNT_OF(rows));
	site_release(&s);
}

/* No session header is ever sent, and no broker is asked for what doesn't stream. */
static void test_touches_no_broker(void **state)
{
	struct site_answer a;
	char text[64];
	struct site s;

	(void)state;
	site_init(&s);
	memset(s.w.link->asked, 0, sizeof(s.w.link->asked));
	site_ask(&s, "POST", "/mcp", TO_CALL("echo"), CALL("echo", "\"arguments\":{\"text\":\"x\"},"), &a);
	assert_int_equal(a.status, 200);
	assert_false(site_answer_header(&a, "Mcp-Session-Id", text, sizeof(text)));
	for (size_t i = 0; i < FAKE__COUNT; i++)
		assert_int_equal(s.w.link->asked[i], 0);
	assert_int_equal(s.busy_count, 0);
	site_answer_release(&a);
	site_release(&s);
}

/* DT-38: the messages of a stream, in order, the response last; the will was left. */
static void test_stream(void **state)
{
	static const char want[] =
	    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":9007199254740993,\"progress\":1,\"total\":3}}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":9007199254740993,\"progress\":2,\"total\":3}}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":9007199254740993,\"progress\":3,\"total\":3}}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"warning\",\"data\":\"line\\nbreak\"}}\n"
	    "{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":";
	struct site_answer a;
	struct site s;

	(void)state;
	site_init(&s);
	site_ask(&s, "POST", "/mcp", TO_CALL("progress"),
	    REQUEST("5", "tools/call", "\"name\":\"progress\"," META_WITH("\"progressToken\":9007199254740993," KEY("logLevel") ":\"info\"")), &a);
	assert_true(a.is_handed_over);
	assert_int_equal(s.busy_count, 1);
	assert_int_equal(a.events_count, 5);
	if (strncmp(a.body.data, want, sizeof(want) - 1) != 0)
		fail_msg("got %s", a.body.data);
	assert_string_equal(s.w.link->wills.data, "{\"jsonrpc\":\"2.0\",\"id\":5,\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}\n");
	for (uint64_t i = 1; i <= s.w.link->streams_count; i++) {
		if (s.w.link->streams[i].is_adopted) {
			assert_true(s.w.link->streams[i].is_modern && s.w.link->streams[i].is_finished);
			assert_int_equal(s.w.link->streams[i].heartbeat_ms, s.w.cfg.stream_heartbeat_modern_ms);
		}
	}
	site_answer_release(&a);
	site_release(&s);
}

/* DT-44: without a broker, or with one that is full, the answer is one JSON object, whatever fails. */
static void test_stream_refused(void **state)
{
	static const struct { const char *name; enum fake_op op; enum err_code code; } cases[] = {
	    {"no broker", FAKE_OPEN_STREAM, ERR_BROKER},
	    {"at a limit", FAKE_OPEN_STREAM, ERR_LIMIT},
	    {"handoff refused", FAKE_ADOPT, ERR_BUSY},
	};
	static const char *const tools[] = {"progress", "slow"};
	struct site s;

	(void)state;
	site_init(&s);
	for (size_t i = 0; i < COUNT_OF(cases) * COUNT_OF(tools); i++) {
		const char *tool = tools[i % COUNT_OF(tools)];
		struct site_answer a;
		size_t at = i / COUNT_OF(tools);

		fake_link_forget(s.w.link);
		s.w.link->fail[cases[at].op] = cases[at].code;
		if (strcmp(tool, "slow") == 0)
			site_ask(&s, "POST", "/mcp", TO_CALL("slow"), CALL("slow", ""), &a);
		else
			site_ask(&s, "POST", "/mcp", TO_CALL("progress"), REQUEST("5", "tools/call", "\"name\":\"progress\"," META_WITH("\"progressToken\":1")), &a);
		if (a.status != 200 || a.is_handed_over || !jx_has(a.last, "result") || s.busy_count)
			fail_msg("%s, %s: status %d, busy %u\n%s", cases[at].name, tool, a.status, s.busy_count, a.body.len ? a.body.data : "");
		if (s.w.link->asked[cases[at].op] != 1)
			fail_msg("%s, %s: asked %u times", cases[at].name, tool, s.w.link->asked[cases[at].op]);
		site_answer_release(&a);
	}
	site_release(&s);
}

/* An answer that the broker doesn't take is replaced by an error, not lost. */
static void test_answer_too_big_for_a_stream(void **state)
{
	struct site_answer a;
	struct site s;

	(void)state;
	site_init(&s);
	s.w.link->event_max = 160; /* the notifications fit, and the error; the result doesn't */
	site_ask(&s, "POST", "/mcp", TO_CALL("progress"), REQUEST("5", "tools/call", "\"name\":\"progress\"," META_WITH("\"progressToken\":1")), &a);
	assert_true(a.is_handed_over);
	s.w.link->event_max = 0;
	assert_true(jx_has(a.last, "error"));
	assert_int_equal(json_object_get_int(jx_get(a.last, "id")), 5);
	site_answer_release(&a);
	site_release(&s);
}

/* DT-41: the client hung up: the work ends, nothing is sent for it. */
static void test_client_left(void **state)
{
	struct site_answer a;
	struct site s;
	uint64_t from;

	(void)state;
	site_init(&s);
	s.client_leaves = true;
	from = now_ms();
	site_ask(&s, "POST", "/mcp", TO_CALL("cancelled"), CALL("cancelled", ""), &a);
	assert_true(now_ms() - from < 1000);
	assert_false(a.is_handed_over);
	assert_int_equal(a.body.len, 0);
	site_answer_release(&a);
	site_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_touches_no_broker),
	    cmocka_unit_test(test_stream),
	    cmocka_unit_test(test_stream_refused),
	    cmocka_unit_test(test_answer_too_big_for_a_stream),
	    cmocka_unit_test(test_client_left),
	};

	return cmocka_run_group_tests_name("modern", tests, NULL, NULL);
}
