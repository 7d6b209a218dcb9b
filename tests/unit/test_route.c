/* fcgi/route.c: which resource a path is, below any mount, and what the query says */
#include "config.h"

#include "fcgi/route.h"
#include "tests/lib/fake_req.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static void test_find(void **state)
{
	static const struct {
		const char *name, *uri, *script, *info;
		enum route_kind kind;
		const char *mount; /* NULL: not looked at */
	} cases[] = {
	    {"root", "/mcp", NULL, NULL, ROUTE_MCP, "/mcp"},
	    {"trailing slash", "/mcp/", NULL, NULL, ROUTE_MCP, "/mcp"},
	    {"two trailing slashes", "/mcp//", NULL, NULL, ROUTE_NONE, NULL},
	    {"query", "/mcp?sessionId=/sse", NULL, NULL, ROUTE_MCP, "/mcp"},
	    {"trailing slash and query", "/mcp/?a=b", NULL, NULL, ROUTE_MCP, "/mcp"},
	    {"fragment", "/mcp#x", NULL, NULL, ROUTE_MCP, "/mcp"},
	    {"below a mount", "/acme/tools/mcp", NULL, NULL, ROUTE_MCP, "/acme/tools/mcp"},
	    {"CGI program", "/cgi-bin/x.fcgi/mcp", "/cgi-bin/x.fcgi", "/mcp", ROUTE_MCP, "/cgi-bin/x.fcgi/mcp"},
	    {"sse below mcp", "/mcp/sse", NULL, NULL, ROUTE_SSE, "/mcp"},
	    {"sse below mcp, below a mount", "/a/mcp/sse", NULL, NULL, ROUTE_SSE, "/a/mcp"},
	    {"messages below mcp", "/mcp/messages?sessionId=x", NULL, NULL, ROUTE_MESSAGES, "/mcp"},
	    {"sse at the root", "/sse", NULL, NULL, ROUTE_SSE, ""},
	    {"sse below a mount", "/a/sse", NULL, NULL, ROUTE_SSE, "/a"},
	    {"messages at the root", "/messages", NULL, NULL, ROUTE_MESSAGES, ""},
	    {"messages below a mount", "/a/messages/", NULL, NULL, ROUTE_MESSAGES, "/a"},
	    {"health", "/health", NULL, NULL, ROUTE_HEALTH, NULL},
	    {"health below mcp", "/a/mcp/health", NULL, NULL, ROUTE_HEALTH, NULL},
	    {"unknown", "/other", NULL, NULL, ROUTE_NONE, NULL},
	    {"only the end of a name", "/xmcp", NULL, NULL, ROUTE_NONE, NULL},
	    {"only the beginning of a name", "/mcpx", NULL, NULL, ROUTE_NONE, NULL},
	    {"names count by case", "/MCP", NULL, NULL, ROUTE_NONE, NULL},
	    {"something behind", "/mcp/other", NULL, NULL, ROUTE_NONE, NULL},
	    {"metadata about us", "/.well-known/oauth-protected-resource/mcp", NULL, NULL, ROUTE_NONE, NULL},
	    {"slash only", "/", NULL, NULL, ROUTE_NONE, NULL},
	    {"empty", "", NULL, NULL, ROUTE_NONE, NULL},
	    {"nothing at all", NULL, NULL, NULL, ROUTE_NONE, NULL},
	    {"tail in the query only", "/other?x=/mcp", NULL, NULL, ROUTE_NONE, NULL},
	    {"rewritten", "/pretty", "/cgi-bin/x.fcgi", "/mcp", ROUTE_MCP, "/cgi-bin/x.fcgi/mcp"},
	    {"rewritten sse", "/pretty?x", "/x.fcgi", "/mcp/sse", ROUTE_SSE, "/x.fcgi/mcp"},
	    {"script name only", NULL, "/mcp", NULL, ROUTE_MCP, "/mcp"},
	    {"path info only", NULL, NULL, "/mcp", ROUTE_MCP, "/mcp"},
	    {"the request's own path wins", "/a/mcp", "/b/mcp/sse", "", ROUTE_MCP, "/a/mcp"},
	    {"absolute form of the target", "http://evil.example/mcp/sse", "/mcp", "/sse", ROUTE_SSE, "/mcp"},
	    {"rewritten to something unknown", "/pretty", "/x.fcgi", "/other", ROUTE_NONE, NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct fake_req req;
		struct route route;

		fake_req_init(&req);
		fake_req_set(&req, "REQUEST_URI", cases[i].uri);
		fake_req_set(&req, "SCRIPT_NAME", cases[i].script);
		fake_req_set(&req, "PATH_INFO", cases[i].info);
		route_find(&req.base, &route);
		if (route.kind != cases[i].kind)
			fail_msg("%s: got kind %d", cases[i].name, route.kind);
		if (cases[i].mount && !slice_is(route.mount, cases[i].mount))
			fail_msg("%s: got mount \"%.*s\"", cases[i].name, (int)route.mount.len, route.mount.p);
		fake_req_release(&req);
	}
}

/* A path longer than route.store is not found, and not written past it. */
static void test_long_path(void **state)
{
	char info[4096];
	struct fake_req req;
	struct route route;

	(void)state;
	memset(info, 'a', sizeof(info));
	info[0] = '/';
	memcpy(info + sizeof(info) - 5, "/mcp", 5);
	fake_req_init(&req);
	fake_req_set(&req, "SCRIPT_NAME", "/x");
	fake_req_set(&req, "PATH_INFO", info);
	route_find(&req.base, &route);
	assert_int_equal(route.kind, ROUTE_NONE);
	fake_req_set(&req, "REQUEST_URI", info);
	route_find(&req.base, &route);
	assert_int_equal(route.kind, ROUTE_MCP);
	assert_int_equal(route.mount.len, sizeof(info) - 1);
	fake_req_release(&req);
}

static void test_query(void **state)
{
	static const struct {
		const char *name, *query, *want;
	} cases[] = {
	    {"alone", "sessionId=abc", "abc"},
	    {"second", "x=1&sessionId=abc&y=2", "abc"},
	    {"first of two", "sessionId=a&sessionId=b", "a"},
	    {"decoded", "sessionId=a%2Db%5f", "a-b_"},
	    {"broken escape is literal", "sessionId=a%2", "a%2"},
	    {"broken escape at the end", "sessionId=a%", "a%"},
	    {"not hex", "sessionId=a%zz", "a%zz"},
	    {"escaped name is another name", "session%49d=abc", NULL},
	    {"absent query", NULL, NULL},
	    {"empty query", "", NULL},
	    {"other names", "sessionid=a&xsessionId=b&sessionIdx=c", NULL},
	    {"no value", "sessionId", NULL},
	    {"empty value", "sessionId=&x", NULL},
	    {"NUL", "sessionId=a%00b", NULL},
	    {"just fits", "sessionId=123456789", "123456789"},
	    {"too long", "sessionId=1234567890", NULL},
	    {"ampersands", "&&sessionId=a", "a"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct fake_req req;
		char out[10];
		bool found;

		fake_req_init(&req);
		fake_req_set(&req, "QUERY_STRING", cases[i].query);
		found = route_query(&req.base, "sessionId", out, sizeof(out));
		if (found != (cases[i].want != NULL))
			fail_msg("%s: found %d", cases[i].name, found);
		if (found && strcmp(out, cases[i].want) != 0)
			fail_msg("%s: got \"%s\"", cases[i].name, out);
		fake_req_release(&req);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_find),
	    cmocka_unit_test(test_long_path),
	    cmocka_unit_test(test_query),
	};

	return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
