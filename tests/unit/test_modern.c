/* fcgi/modern.c, method.c, method_tools.c: 2026-07-28, DT-20 .. DT-44 in their order (differences.md 2.3a) */
#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "tests/lib/site.h"
#include "common/banned.h"

#define TO(method)       POSTED VERSION26 "Mcp-Method: " method "\n"
#define TO_CALL(name)    TO("tools/call") "Mcp-Name: " name "\n"
#define CALL(name, more) REQUEST("\"q\"", "tools/call", "\"name\":\"" name "\"," more META)
#define LIST             TO("tools/list")
#define META_WITH(more)                                                                                                \
	"\"_meta\":{" KEY("protocolVersion") ":\"2026-07-28\"," KEY("clientCapabilities") ":{}," more "}"
#define REGION_HEADS                                                                                                   \
	TO_CALL("region") "Mcp-Param-Region: bern\nMcp-Param-Count: 42\nMcp-Param-Flag: true\nMcp-Param-Nested: x\n"
#define REGION(args) CALL("region", "\"arguments\":{" args "},")
#define CLEANED      "\"_meta\":{\"io.modelcontextprotocol/serverInfo\":{\"name\":\"test\",\"version\":\"1\"}"

static void test_rows(void **state)
{
	static const struct site_row rows[] = {
	    {"DT-20 initialize under a modern header", POST_MCP, TO("initialize"),
		REQUEST("1", "initialize", INITIALIZE_PARAMS("2025-11-25")), REFUSED(400, -32020, "1")},
	    {"DT-21 no claim", POST_MCP, LIST, REQUEST("\"q\"", "tools/list", ""), 400, JSON_TYPE, -32602, "\"q\"",
		NULL, "missing _meta"},
	    {"DT-21 no params", POST_MCP, LIST, "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"tools/list\"}",
		REFUSED(400, -32602, "0")},
	    {"DT-22 claim a number", POST_MCP, LIST,
		REQUEST("1", "tools/list", "\"_meta\":{" KEY("protocolVersion") ":20260728}"),
		REFUSED(400, -32602, "1")},
	    {"DT-22 claim null", POST_MCP, LIST,
		REQUEST("1", "tools/list", "\"_meta\":{" KEY("protocolVersion") ":null}"), REFUSED(400, -32602, "1")},
	    {"DT-22 before DT-23", POST_MCP, POSTED,
		REQUEST("1", "tools/list", "\"_meta\":{" KEY("protocolVersion") ":[]}"), REFUSED(400, -32602, "1")},
	    {"DT-23 no version header", POST_MCP, POSTED "Mcp-Method: tools/list\n", REQUEST("1", "tools/list", META),
		REFUSED(400, -32020, "1")},
	    {"DT-24 another version header", POST_MCP,
		POSTED "MCP-Protocol-Version: 2025-11-25\nMcp-Method: tools/list\n", REQUEST("1", "tools/list", META),
		REFUSED(400, -32020, "1")},
	    {"DT-24 values count by case", POST_MCP, POSTED "MCP-Protocol-Version: 2026-07-28X\n",
		REQUEST("1", "tools/list", META_OF("2026-07-28x")), REFUSED(400, -32020, "1")},
	    {"DT-25 unknown", POST_MCP, POSTED "MCP-Protocol-Version: 2030-01-01\n",
		REQUEST("1", "tools/list", META_OF("2030-01-01")), 400, JSON_TYPE, -32022, "1", NULL,
		"\"data\":{\"supported\":[\"2026-07-28\",\"2025-11-25\",\"2025-06-18\",\"2025-03-26\",\"2024-11-05\"],"
		"\"requested\":\"2030-01-01\"}"},
	    {"DT-25 legacy", POST_MCP, POSTED "MCP-Protocol-Version: 2025-11-25\n",
		REQUEST("1", "tools/list", META_OF("2025-11-25")), 400, JSON_TYPE, -32022, "1", NULL,
		"\"requested\":\"2025-11-25\""},
	    {"DT-25 before DT-26", POST_MCP, POSTED "MCP-Protocol-Version: 2030-01-01\n",
		REQUEST("1", "tools/list", "\"_meta\":{" KEY("protocolVersion") ":\"2030-01-01\"}"),
		REFUSED(400, -32022, "1")},
	    {"DT-26 no capabilities", POST_MCP, LIST,
		REQUEST("1", "tools/list", "\"_meta\":{" KEY("protocolVersion") ":\"2026-07-28\"}"),
		REFUSED(400, -32602, "1")},
	    {"DT-26 capabilities an array", POST_MCP, LIST,
		REQUEST("1", "tools/list",
		    "\"_meta\":{" KEY("protocolVersion") ":\"2026-07-28\"," KEY("clientCapabilities") ":[]}"),
		REFUSED(400, -32602, "1")},
	    {"DT-26 clientInfo a string", POST_MCP, LIST,
		REQUEST("1", "tools/list", META_WITH(KEY("clientInfo") ":\"x\"")), REFUSED(400, -32602, "1")},
	    {"DT-26 clientInfo without version", POST_MCP, LIST,
		REQUEST("1", "tools/list", META_WITH(KEY("clientInfo") ":{\"name\":\"x\"}")),
		REFUSED(400, -32602, "1")},
	    {"DT-26 unknown level", POST_MCP, LIST, REQUEST("1", "tools/list", META_WITH(KEY("logLevel") ":\"loud\"")),
		REFUSED(400, -32602, "1")},
	    {"DT-26 level a number", POST_MCP, LIST, REQUEST("1", "tools/list", META_WITH(KEY("logLevel") ":3")),
		REFUSED(400, -32602, "1")},
	    {"DT-26 progressToken an object", POST_MCP, LIST,
		REQUEST("1", "tools/list", META_WITH("\"progressToken\":{}")), REFUSED(400, -32602, "1")},
	    {"DT-26 before DT-27", POST_MCP, POSTED VERSION26,
		REQUEST("1", "tools/list", META_WITH("\"progressToken\":1.5")), REFUSED(400, -32602, "1")},
	    {"DT-26 all of it", POST_MCP, LIST,
		REQUEST("1", "tools/list",
		    META_WITH(KEY("clientInfo") ":{\"name\":\"x\",\"version\":\"1\"}," KEY(
			"logLevel") ":\"debug\",\"progressToken\":\"p\",\"x/y\":[]")),
		200, JSON_TYPE, 0, "1", NULL, NULL},
	    {"DT-27 no Mcp-Method", POST_MCP, POSTED VERSION26, REQUEST("1", "tools/list", META),
		REFUSED(400, -32020, "1")},
	    {"DT-27 another", POST_MCP, TO("tools/call"), REQUEST("1", "tools/list", META), REFUSED(400, -32020, "1")},
	    {"DT-27 byte for byte", POST_MCP, TO("Tools/List"), REQUEST("1", "tools/list", META),
		REFUSED(400, -32020, "1")},
	    {"DT-27 before DT-29", POST_MCP, TO("nope"), REQUEST("1", "no/such", META), REFUSED(400, -32020, "1")},
	    {"DT-28 no Mcp-Name", POST_MCP, TO("tools/call"), CALL("echo", ""), REFUSED(400, -32020, "\"q\"")},
	    {"DT-28 another", POST_MCP, TO_CALL("fail"), CALL("echo", ""), REFUSED(400, -32020, "\"q\"")},
	    {"DT-28 case", POST_MCP, TO_CALL("Echo"), CALL("echo", ""), REFUSED(400, -32020, "\"q\"")},
	    {"DT-28 undecodable", POST_MCP, TO_CALL("=?base64?ZWNobw=?="), CALL("echo", ""),
		REFUSED(400, -32020, "\"q\"")},
	    {"DT-28 encoded", POST_MCP, TO_CALL("=?base64?ZWNobw==?="), CALL("echo", "\"arguments\":{\"text\":\"x\"},"),
		200, JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-28 params.name missing", POST_MCP, TO_CALL("echo"), REQUEST("1", "tools/call", META),
		REFUSED(400, -32020, "1")},
	    {"DT-28 params.name a number", POST_MCP, TO_CALL("1"), REQUEST("1", "tools/call", "\"name\":1," META),
		REFUSED(400, -32020, "1")},
	    {"DT-28 prompts/get, before DT-29", POST_MCP, TO("prompts/get"),
		REQUEST("1", "prompts/get", "\"name\":\"p\"," META), REFUSED(400, -32020, "1")},
	    {"DT-28 resources/read repeats the URI", POST_MCP, TO("resources/read") "Mcp-Name: b\n",
		REQUEST("1", "resources/read", "\"uri\":\"a\"," META), REFUSED(400, -32020, "1")},
	    {"DT-28 on other methods it is ignored", POST_MCP, LIST "Mcp-Name: =?base64?x?=\n",
		REQUEST("1", "tools/list", META), 200, JSON_TYPE, 0, "1", NULL, NULL},
	    {"DT-29 unknown", POST_MCP, TO("no/such"), REQUEST("1", "no/such", META), REFUSED(404, -32601, "1")},
	    {"DT-29 empty", POST_MCP, TO(""), REQUEST("1", "", META), REFUSED(404, -32601, "1")},
	    {"DT-29 initialize", POST_MCP, TO("initialize"),
		REQUEST("1", "initialize", META "," INITIALIZE_PARAMS("2025-11-25")), REFUSED(404, -32601, "1")},
	    {"DT-29 ping", POST_MCP, TO("ping"), REQUEST("1", "ping", META), REFUSED(404, -32601, "1")},
	    {"DT-29 logging/setLevel", POST_MCP, TO("logging/setLevel"),
		REQUEST("1", "logging/setLevel", "\"level\":\"info\"," META), REFUSED(404, -32601, "1")},
	    {"DT-29 resources/subscribe", POST_MCP, TO("resources/subscribe"),
		REQUEST("1", "resources/subscribe", META), REFUSED(404, -32601, "1")},
	    {"DT-29 tasks/list", POST_MCP, TO("tasks/list"), REQUEST("1", "tasks/list", META),
		REFUSED(404, -32601, "1")},
	    {"DT-29 server to client only", POST_MCP, TO("roots/list"), REQUEST("1", "roots/list", META),
		REFUSED(404, -32601, "1")},
	    {"DT-29 capability not advertised", POST_MCP, TO("prompts/get") "Mcp-Name: p\n",
		REQUEST("1", "prompts/get", "\"name\":\"p\"," META), REFUSED(404, -32601, "1")},
	    {"DT-29 a notification's name", POST_MCP, TO("notifications/initialized"),
		REQUEST("1", "notifications/initialized", META), REFUSED(404, -32601, "1")},
	    {"DT-30 all agree", POST_MCP, REGION_HEADS,
		REGION("\"region\":\"bern\",\"count\":42,\"flag\":true,\"a\":{\"b\":\"x\"}"), 200, JSON_TYPE, 0,
		"\"q\"", NULL, NULL},
	    {"DT-30 string differs", POST_MCP, REGION_HEADS, REGION("\"region\":\"thun\""),
		REFUSED(400, -32020, "\"q\"")},
	    {"DT-30 42.0 is 42", POST_MCP, REGION_HEADS, REGION("\"count\":42.0"), 200, JSON_TYPE, 0, "\"q\"", NULL,
		NULL},
	    {"DT-30 integer differs", POST_MCP, REGION_HEADS, REGION("\"count\":43"), REFUSED(400, -32020, "\"q\"")},
	    {"DT-30 header 42.0", POST_MCP, TO_CALL("region") "Mcp-Param-Count: 42.0\n", REGION("\"count\":42"), 200,
		JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-30 integer of 53 bits (H-22)", POST_MCP, TO_CALL("region") "Mcp-Param-Count: -9007199254740991\n",
		REGION("\"count\":-9007199254740991"), 200, JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-30 integer beyond them (H-22)", POST_MCP, TO_CALL("region") "Mcp-Param-Count: 9007199254740993\n",
		REGION("\"count\":9007199254740992"), REFUSED(400, -32020, "\"q\"")},
	    {"DT-30 header not a number", POST_MCP, TO_CALL("region") "Mcp-Param-Count: 0x2a\n", REGION("\"count\":42"),
		REFUSED(400, -32020, "\"q\"")},
	    {"DT-30 header half a number", POST_MCP, TO_CALL("region") "Mcp-Param-Count: 42 \t1\n",
		REGION("\"count\":42"), REFUSED(400, -32020, "\"q\"")},
	    {"DT-30 header of a number empty", POST_MCP,
		TO_CALL("region") "Mcp-Param-Count: =?base64?"
				  "?=\n",
		REGION("\"count\":0"), REFUSED(400, -32020, "\"q\"")},
	    {"DT-30 boolean differs", POST_MCP, REGION_HEADS, REGION("\"flag\":false"), REFUSED(400, -32020, "\"q\"")},
	    {"DT-30 boolean by case", POST_MCP, TO_CALL("region") "Mcp-Param-Flag: True\n", REGION("\"flag\":true"),
		REFUSED(400, -32020, "\"q\"")},
	    {"DT-30 nested differs", POST_MCP, REGION_HEADS, REGION("\"a\":{\"b\":\"y\"}"),
		REFUSED(400, -32020, "\"q\"")},
	    {"DT-30 missing", POST_MCP, TO_CALL("region"), REGION("\"region\":\"bern\""), 400, JSON_TYPE, -32020,
		"\"q\"", NULL, "Mcp-Param-Region"},
	    {"DT-30 bad encoding", POST_MCP, TO_CALL("region") "Mcp-Param-Region: =?base64?YmVybg?=\n",
		REGION("\"region\":\"bern\""), REFUSED(400, -32020, "\"q\"")},
	    {"DT-30 not ASCII", POST_MCP, TO_CALL("region") "Mcp-Param-Region: Z\303\274rich\n",
		REGION("\"region\":\"Z\303\274rich\""), REFUSED(400, -32020, "\"q\"")},
	    {"DT-30 encoded", POST_MCP, TO_CALL("region") "Mcp-Param-Region: =?base64?WsO8cmljaA==?=\n",
		REGION("\"region\":\"Z\303\274rich\""), 200, JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-30 empty string, no header (H-25)", POST_MCP, TO_CALL("region"), REGION("\"region\":\"\""), 200,
		JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-30 empty string, another value", POST_MCP, TO_CALL("region") "Mcp-Param-Region: x\n",
		REGION("\"region\":\"\""), REFUSED(400, -32020, "\"q\"")},
	    {"DT-30 argument absent (H-13)", POST_MCP, REGION_HEADS, REGION(""), 200, JSON_TYPE, 0, "\"q\"", NULL,
		NULL},
	    {"DT-30 argument null (H-13)", POST_MCP, TO_CALL("region"), REGION("\"region\":null"), 200, JSON_TYPE, 0,
		"\"q\"", NULL, NULL},
	    {"DT-30 no arguments", POST_MCP, TO_CALL("region"), CALL("region", ""), 200, JSON_TYPE, 0, "\"q\"", NULL,
		NULL},
	    {"DT-30 unknown Mcp-Param-* (H-16)", POST_MCP, TO_CALL("echo") "Mcp-Param-X: \377\n",
		CALL("echo", "\"arguments\":{\"text\":\"\"},"), 200, JSON_TYPE, 0, "\"q\"", NULL, NULL},
	    {"DT-33 unknown tool", POST_MCP, TO_CALL("nope"), CALL("nope", ""), 200, JSON_TYPE, -32602, "\"q\"", NULL,
		"nope"},
	    {"DT-33 arguments an array", POST_MCP, TO_CALL("echo"), CALL("echo", "\"arguments\":[],"),
		REFUSED(200, -32602, "\"q\"")},
	    {"DT-33 arguments null", POST_MCP, TO_CALL("echo"), CALL("echo", "\"arguments\":null,"),
		REFUSED(200, -32602, "\"q\"")},
	    {"DT-33 cursor of another set", POST_MCP, LIST,
		REQUEST("1", "tools/list", "\"cursor\":\"fedcba9876543210.3\"," META), REFUSED(200, -32602, "1")},
	    {"DT-33 cursor empty", POST_MCP, LIST, REQUEST("1", "tools/list", "\"cursor\":\"\"," META),
		REFUSED(200, -32602, "1")},
	    {"DT-33 cursor a number", POST_MCP, LIST, REQUEST("1", "tools/list", "\"cursor\":3," META),
		REFUSED(200, -32602, "1")},
	    {"DT-33 cursor past the end", POST_MCP, LIST,
		REQUEST("1", "tools/list", "\"cursor\":\"0123456789abcdef.9\"," META), REFUSED(200, -32602, "1")},
	    {"DT-33 cursor and a sign", POST_MCP, LIST,
		REQUEST("1", "tools/list", "\"cursor\":\"0123456789abcdef.-3\"," META), REFUSED(200, -32602, "1")},
	    {"DT-33 cursor and more", POST_MCP, LIST,
		REQUEST("1", "tools/list", "\"cursor\":\"0123456789abcdef.3x\"," META), REFUSED(200, -32602, "1")},
	    {"DT-33 wrong values are the tool's answer (X-19)", POST_MCP, TO_CALL("echo"),
		CALL("echo", "\"arguments\":{\"text\":\"x\",\"n\":10},"), 200, JSON_TYPE, 0, "\"q\"", NULL,
		"\"isError\":true"},
	    {"DT-34 handler failed", POST_MCP, TO_CALL("fail"), CALL("fail", ""), 200, JSON_TYPE, -32603, "\"q\"", NULL,
		"\"Internal error\""},
	    {"DT-35 notification, by its header", POST_MCP, POSTED VERSION26,
		NOTIFICATION("notifications/cancelled", "\"requestId\":1"), EMPTY(202)},
	    {"DT-35 notification, with claim", POST_MCP, TO("notifications/x"), NOTIFICATION("notifications/x", META),
		EMPTY(202)},
	    {"DT-35 unknown one", POST_MCP, POSTED VERSION26, NOTIFICATION("whatever", ""), EMPTY(202)},
	    {"DT-36 claim without header", POST_MCP, POSTED, NOTIFICATION("notifications/x", META),
		REFUSED(400, -32020, NULL)},
	    {"DT-36 claim and header differ", POST_MCP, POSTED VERSION26,
		NOTIFICATION("notifications/x", META_OF("2025-11-25")), REFUSED(400, -32020, NULL)},
	    {"DT-36 Mcp-Method differs", POST_MCP, TO("notifications/y"), NOTIFICATION("notifications/x", META),
		REFUSED(400, -32020, NULL)},
	    {"DT-37 result", POST_MCP, TO_CALL("echo"), CALL("echo", "\"arguments\":{\"text\":\"x\",\"n\":9},"), 200,
		JSON_TYPE, 0, "\"q\"", NULL, "\"structuredContent\":{\"text\":\"x\",\"n\":9}," CLEANED "}}}"},
	    {"DT-37 resultType", POST_MCP, TO_CALL("echo"), CALL("echo", "\"arguments\":{\"text\":\"x\"},"), 200,
		JSON_TYPE, 0, "\"q\"", NULL, "\"resultType\":\"complete\""},
	    {"DT-37 the tool's _meta joins ours", POST_MCP, TO_CALL("meta"), CALL("meta", ""), 200, JSON_TYPE, 0,
		"\"q\"", NULL, "{\"resultType\":\"complete\",\"content\":[]," CLEANED ",\"a/b\":1}}}"},
	    {"DT-37 discover", POST_MCP, TO("server/discover"), REQUEST("1", "server/discover", META), 200, JSON_TYPE,
		0, "1", NULL,
		"\"supportedVersions\":[\"2026-07-28\",\"2025-11-25\",\"2025-06-18\",\"2025-03-26\",\"2024-11-05\"],"
		"\"capabilities\":{\"tools\":{\"listChanged\":true}"},
	    {"CA-01 discover may be cached", POST_MCP, TO("server/discover"), REQUEST("1", "server/discover", META),
		200, JSON_TYPE, 0, "1", NULL, "\"ttlMs\":60000,\"cacheScope\":\"public\""},
	    {"CA-01 tools/list may be cached", POST_MCP, LIST, REQUEST("1", "tools/list", META), 200, JSON_TYPE, 0, "1",
		NULL, "\"ttlMs\":60000,\"cacheScope\":\"public\""},
	    {"MR-01 a state means nothing to a list", POST_MCP, LIST,
		REQUEST("1", "tools/list", "\"requestState\":\"x\",\"inputResponses\":7," META), 200, JSON_TYPE, 0, "1",
		NULL, "\"tools\":["},
	    {"tools/list, first page", POST_MCP, LIST, REQUEST("1", "tools/list", META), 200, JSON_TYPE, 0, "1", NULL,
		"\"tools\":[{\"name\":\"big\",\"era\":1},{\"name\":\"cancelled\",\"era\":1},{\"name\":\"echo\",\"era\":"
		"1}],\"nextCursor\":\"0123456789abcdef.3\"}}"},
	    {"tools/list, last page", POST_MCP, LIST,
		REQUEST("1", "tools/list", "\"cursor\":\"0123456789abcdef.6\"," META), 200, JSON_TYPE, 0, "1", NULL,
		"\"tools\":[{\"name\":\"region\",\"era\":1},{\"name\":\"slow\",\"era\":1},{\"name\":\"where\",\"era\":"
		"1}]}}"},
	    {"DT-38 no token, no level: nothing to stream", POST_MCP, TO_CALL("progress"), CALL("progress", ""), 200,
		JSON_TYPE, 0, "\"q\"", NULL, "done"},
	    {"DT-38 progress", POST_MCP, TO_CALL("progress"),
		REQUEST("1", "tools/call", "\"name\":\"progress\"," META_WITH("\"progressToken\":\"p\"")), 200,
		SSE_TYPE, 0, "1", "X-Accel-Buffering: no\r", "done"},
	    {"DT-38 silence", POST_MCP, TO_CALL("slow"), CALL("slow", ""), 200, SSE_TYPE, 0, "\"q\"", NULL, "slow"},
	    {"DT-38 for those who take streams", POST_MCP,
		CONTENT "Accept: application/json\n" VERSION26 "Mcp-Method: tools/call\nMcp-Name: slow\n",
		CALL("slow", ""), 200, JSON_TYPE, 0, "\"q\"", NULL, "slow"},
	    {"DT-38 progress without streams is dropped", POST_MCP,
		CONTENT "Accept: application/json\n" VERSION26 "Mcp-Method: tools/call\nMcp-Name: progress\n",
		REQUEST("1", "tools/call", "\"name\":\"progress\"," META_WITH("\"progressToken\":7")), 200, JSON_TYPE,
		0, "1", NULL, "done"},
	    {"DT-42 response", POST_MCP, POSTED VERSION26, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}",
		REFUSED(400, -32600, NULL)},
	    {"DT-42 error response", POST_MCP, POSTED VERSION26,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1,\"message\":\"m\"}}", REFUSED(400, -32600, NULL)},
	    {"DT-43 array", POST_MCP, POSTED VERSION26, "[]", REFUSED(400, -32600, NULL)},
	    {"DT-43 claim in a later element", POST_MCP, POSTED "Mcp-Session-Id: S03\n",
		"[1,null,{}," REQUEST("1", "ping", "") "," REQUEST("2", "ping", META) "]", REFUSED(400, -32600, NULL)},
	    {"sessions are not looked at (S-10)", POST_MCP, LIST "Mcp-Session-Id: dead\nLast-Event-ID: x\n",
		REQUEST("1", "tools/list", META), 200, JSON_TYPE, 0, "1", NULL, NULL},
	    {"an unknown member is ignored (J-16)", POST_MCP, LIST,
		REQUEST("1", "tools/list", "\"x\":{\"y\":[]}," META), 200, JSON_TYPE, 0, "1", NULL, NULL},
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
	site_ask(&s, POST_MCP, TO_CALL("echo"), CALL("echo", "\"arguments\":{\"text\":\"x\"},"), &a);
	assert_int_equal(a.status, 200);
	assert_false(site_answer_header(&a, "Mcp-Session-Id", text, sizeof(text)));
	for (size_t i = 0; i < FAKE__COUNT; i++)
		assert_int_equal(s.w.link->asked[i], 0);
	assert_int_equal(s.busy_count, 0);
	site_answer_release(&a);
	site_release(&s);
}

static void test_counted(void **state)
{
	static const struct {
		const char *headers, *body, *name;
		enum link_outcome outcome;
	} cases[] = {
	    {LIST, REQUEST("1", "tools/list", META), "tools/list", LINK_OUTCOME_OK},
	    {LIST, REQUEST("1", "tools/list", "\"cursor\":\"x\"," META), "tools/list", LINK_OUTCOME_ERROR},
	    {TO("no/such"), REQUEST("1", "no/such", META), "none", LINK_OUTCOME_REFUSED},
	};
	struct site_answer a;
	struct site s;

	(void)state;
	site_init(&s);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		site_ask(&s, POST_MCP, cases[i].headers, cases[i].body, &a);
		site_answer_release(&a);
		assert_int_equal(s.w.link->counted_count, i + 1);
		assert_string_equal(s.w.link->counted, cases[i].name);
		assert_int_equal(s.w.link->counted_outcome, cases[i].outcome);
	}
	site_release(&s);
}

/* DT-38: the messages of a stream, in order, the response last; the will was left. */
static void test_stream(void **state)
{
	static const char want[] =
	    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"
	    "progress\",\"params\":{\"progressToken\":9007199254740993,\"progress\":1,\"total\":3}}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"
	    "progress\",\"params\":{\"progressToken\":9007199254740993,\"progress\":2,\"total\":3}}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"
	    "progress\",\"params\":{\"progressToken\":9007199254740993,\"progress\":3,\"total\":3}}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"
	    "message\",\"params\":{\"level\":\"warning\",\"data\":\"line\\nbreak\"}}\n"
	    "{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":";
	struct site_answer a;
	struct site s;

	(void)state;
	site_init(&s);
	site_ask(&s, POST_MCP, TO_CALL("progress"),
	    REQUEST("5", "tools/call",
		"\"name\":\"progress\"," META_WITH("\"progressToken\":9007199254740993," KEY("logLevel") ":\"info\"")),
	    &a);
	assert_true(a.is_handed_over);
	assert_int_equal(s.busy_count, 1);
	assert_int_equal(a.events_count, 5);
	if (strncmp(a.body.data, want, sizeof(want) - 1) != 0)
		fail_msg("got %s", a.body.data);
	assert_string_equal(s.w.link->wills.data,
	    "{\"jsonrpc\":\"2.0\",\"id\":5,\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}\n");
	for (uint64_t i = 1; i <= s.w.link->streams_count; i++) {
		if (s.w.link->streams[i].is_adopted) {
			assert_true(s.w.link->streams[i].is_modern && s.w.link->streams[i].is_finished);
			assert_int_equal(s.w.link->streams[i].heartbeat_ms, s.w.cfg.stream_heartbeat_modern_ms);
		}
	}
	site_answer_release(&a);
	site_release(&s);
}

/* As many calls as there may be take long: nothing else that might begins. */
static void test_full(void **state)
{
	struct site_answer a;
	struct site s;

	(void)state;
	site_init(&s);
	s.w.is_full = true;
	site_ask(&s, POST_MCP, TO_CALL("slow"), CALL("slow", ""), &a);
	assert_int_equal(json_object_get_int(jx_get(jx_get(a.last, "error"), "code")), -32603);
	site_answer_release(&a);
	site_ask(&s, POST_MCP, TO("tools/list"), REQUEST("5", "tools/list", META), &a);
	assert_true(jx_has(a.last, "result"));
	site_answer_release(&a);
	site_release(&s);
}

/* What a client reads of a tool that takes too long; and of one whose client has its share of those that do. */
static void test_too_long(void **state)
{
	struct site_answer a;
	struct site s;

	(void)state;
	site_init(&s);
	s.w.cfg.call_timeout_s = 0;
	site_ask(&s, POST_MCP, TO_CALL("slow"), CALL("slow", ""), &a);
	assert_int_equal(json_object_get_int(jx_get(jx_get(a.last, "error"), "code")), -32603);
	assert_true(slice_is(jx_get_str(jx_get(a.last, "error"), "message"), "Deadline passed"));
	site_answer_release(&a);
	site_release(&s);
}

static void test_share_of_calls(void **state)
{
	struct exchange ann[2] = {{.owner = SLICE("192.0.2.1")}, {.owner = SLICE("192.0.2.1")}};
	struct exchange bob = {.owner = SLICE("192.0.2.2")}, local = {.owner = SLICE("")};
	struct err err;
	struct site s;

	(void)state;
	site_init(&s);
	s.w.cfg.worker_calls_max = 3; /* half of that, rounded up: two */
	worker_add_slow(&bob);
	worker_add_slow(&ann[0]);
	assert_int_equal(worker_check_calls(&s.w, ann[0].owner, &err), 0);
	worker_add_slow(&ann[1]);
	worker_add_slow(&ann[1]);
	assert_int_equal(worker_check_calls(&s.w, ann[0].owner, &err), -1);
	assert_int_equal(err.code, ERR_LIMIT);
	assert_non_null(strstr(err.msg, "principal_share_percent"));
	assert_int_equal(worker_check_calls(&s.w, bob.owner, &err), 0);
	assert_int_equal(worker_check_calls(&s.w, local.owner, &err), 0);
	worker_drop_slow(&ann[0]);
	assert_int_equal(worker_check_calls(&s.w, ann[0].owner, &err), 0);
	worker_drop_slow(&ann[1]);
	worker_drop_slow(&bob);
	worker_drop_slow(&bob);
	site_release(&s);
}

/* Whose share a stream uses, as the broker is told. */
static void test_owner(void **state)
{
	static const struct {
		const char *address, *owner;
	} rows[] = {
	    {"192.0.2.7", "192.0.2.7"},
	    {"2001:db8:1:2:3::4", "2001:db8:1:2::/64"},
	    {"127.0.0.1", ""},
	    {"::1", ""},
	};
	struct site_answer a;
	struct site s;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char vars[512];

		site_init(&s);
		snprintf(vars, sizeof(vars), "%sRemote-Addr: %s\n", TO_CALL("progress"), rows[i].address);
		site_ask(&s, POST_MCP, vars,
		    REQUEST("5", "tools/call",
			"\"name\":\"progress\"," META_WITH("\"progressToken\":1," KEY("logLevel") ":\"info\"")),
		    &a);
		assert_true(a.is_handed_over);
		assert_string_equal(s.w.link->owner, rows[i].owner);
		site_answer_release(&a);
		site_release(&s);
	}
}

/* DT-44: without a broker, or with one that is full, the answer is one JSON object, whatever fails. */
static void test_stream_refused(void **state)
{
	static const struct {
		const char *name;
		enum fake_op op;
		enum err_code code;
	} cases[] = {
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
			site_ask(&s, POST_MCP, TO_CALL("slow"), CALL("slow", ""), &a);
		else
			site_ask(&s, POST_MCP, TO_CALL("progress"),
			    REQUEST("5", "tools/call", "\"name\":\"progress\"," META_WITH("\"progressToken\":1")), &a);
		/* what takes long leaves its place to others, whatever it will look like */
		if (a.status != 200 || a.is_handed_over || !jx_has(a.last, "result") ||
		    s.busy_count != (strcmp(tool, "slow") == 0))
			fail_msg("%s, %s: status %d, busy %u\n%s", cases[at].name, tool, a.status, s.busy_count,
			    a.body.len ? a.body.data : "");
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
	site_ask(&s, POST_MCP, TO_CALL("progress"),
	    REQUEST("5", "tools/call", "\"name\":\"progress\"," META_WITH("\"progressToken\":1")), &a);
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
	site_ask(&s, POST_MCP, TO_CALL("cancelled"), CALL("cancelled", ""), &a);
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
	    cmocka_unit_test(test_counted),
	    cmocka_unit_test(test_stream),
	    cmocka_unit_test(test_full),
	    cmocka_unit_test(test_too_long),
	    cmocka_unit_test(test_share_of_calls),
	    cmocka_unit_test(test_owner),
	    cmocka_unit_test(test_stream_refused),
	    cmocka_unit_test(test_answer_too_big_for_a_stream),
	    cmocka_unit_test(test_client_left),
	};

	return cmocka_run_group_tests_name("modern", tests, NULL, NULL);
}
