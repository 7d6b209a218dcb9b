/* Each allocation of a request fails in turn, alone and with all that follow: one answer comes all the same, it is a
 * true one or an error, and nothing leaks. */
#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/site.h"
#include "common/banned.h"

#define CALL(id, name, more) REQUEST(id, "tools/call", "\"name\":\"" name "\"" more)
#define ECHO                 CALL("1", "echo", ",\"arguments\":{\"text\":\"x\"}")
#define TO_CALL(name)        POSTED VERSION26 "Mcp-Method: tools/call\nMcp-Name: " name "\n"
#define IN(session)          POSTED "Mcp-Session-Id: " session "\n"

static long nth, count;

static void on_serve(bool begins)
{
	if (begins)
		mem_fault_at(nth, count);
	else
		nth = mem_fault_end() ? nth : -1; /* -1: it needs no more allocations than that */
}

static bool is_answer(json_object *msg)
{
	return jx_get_object(msg, "result") || jx_get_object(msg, "error");
}

/* What a stream of subscriptions/listen begins with. */
static bool is_acknowledgement(json_object *msg)
{
	return slice_is(jx_get_str(msg, "method"), "notifications/subscriptions/acknowledged");
}

static bool is_question(json_object *msg)
{
	return slice_is(jx_get_str(msg, "method"), "roots/list");
}

/* What a client can make sense of. */
static bool is_sound(const struct site_answer *a, bool is_post, bool is_batch)
{
	char type[64];

	if (a->status >= 400)
		return !site_answer_header(a, "Content-Type", type, sizeof(type)) || is_answer(a->last);
	if (a->status == 202 || a->status == 204)
		return a->body.len == 0;
	if (a->is_handed_over)
		return strstr(a->head, "\r\n\r\n") != NULL &&
		       (!is_post || is_answer(a->last) || is_acknowledgement(a->last) || is_question(a->last));
	if (is_batch)
		return json_object_is_type(a->last, json_type_array) && json_object_array_length(a->last) == 2;
	return is_answer(a->last) || strstr(a->body.data, "\"status\":\"ok\"");
}

/* Each makes what has been before its request, and the request's body, in text. */

static void ask_legacy(struct site *s, char *text, size_t size)
{
	struct site_answer a;

	site_ask(s, "POST", "/mcp", IN("S11"), CALL("1", "where", ""), &a);
	snprintf(text, size, "{\"jsonrpc\":\"2.0\",\"id\":\"%s\",\"result\":{\"roots\":[{\"uri\":\"file:///\"}]}}",
	    jx_get_str(a.last, "id").p);
	site_answer_release(&a);
}

/* What went on because of an answer has come to an end, or asks again. */
static bool is_ended(const struct site *s)
{
	return s->w.link->parked || strstr(s->w.link->streams[s->w.link->streams_count].events.data, "\"id\":1,");
}

#define META_ROOTS "\"_meta\":{" KEY("protocolVersion") ":\"2026-07-28\"," KEY("clientCapabilities") ":{\"roots\":{}}}"

static void ask_modern(struct site *s, char *text, size_t size)
{
	struct site_answer a;

	site_ask(s, "POST", "/mcp", TO_CALL("where"), CALL("1", "where", "," META_ROOTS), &a);
	snprintf(text, size,
	    "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/"
	    "call\",\"params\":{\"name\":\"where\",\"requestState\":\"%s\","
	    "\"inputResponses\":{\"roots\":{\"roots\":[]}}," META_ROOTS "}}",
	    jx_get_str(jx_get(a.last, "result"), "requestState").p);
	site_answer_release(&a);
}

#define META_TASKS                                                                                                     \
	"\"_meta\":{" KEY("protocolVersion") ":\"2026-07-28\"," KEY("clientCapabilities") ":{\"extensions\":{" KEY(    \
	    "tasks") ":{}}}}"

/* A task "T", of this state. */
static void make_task(struct site *s, enum link_task_state state, const char *blob)
{
	struct err err;

	assert_int_equal(link_task_new(s->w.link, SLICE("T"), "", SLICE(""), 60000, 0, SLICE("{}"), SLICE("{}"), &err), 0);
	assert_int_equal(link_task_put(s->w.link, SLICE("T"), state, slice_str(blob), &err), 0);
}

static void ask_task(struct site *s, char *text, size_t size)
{
	make_task(s, LINK_TASK_COMPLETED, "{\"message\":\"m\",\"result\":{\"content\":[],\"_meta\":{\"a\":1}}}");
	snprintf(text, size, "%s", REQUEST("1", "tasks/get", "\"taskId\":\"T\"," META_TASKS));
}

static void ask_failed_task(struct site *s, char *text, size_t size)
{
	make_task(s, LINK_TASK_FAILED, "{\"error\":\"PARAMS\",\"why\":\"x\",\"errorData\":[1]}");
	snprintf(text, size, "%s", REQUEST("1", "tasks/get", "\"taskId\":\"T\"," META_TASKS));
}

static void ask_result(struct site *s, char *text, size_t size)
{
	make_task(s, LINK_TASK_COMPLETED, "{\"result\":{\"content\":[],\"_meta\":{\"a\":1}}}");
	snprintf(text, size, "%s", REQUEST("1", "tasks/result", "\"taskId\":\"T\""));
}

static void ask_asking(struct site *s, char *text, size_t size)
{
	make_task(s, LINK_TASK_INPUT_REQUIRED, "{\"asks\":{\"k\":{\"method\":\"roots/list\",\"params\":{}}}}");
	snprintf(text, size, "%s", REQUEST("1", "tasks/result", "\"taskId\":\"T\""));
}

static void update_task(struct site *s, char *text, size_t size)
{
	make_task(s, LINK_TASK_INPUT_REQUIRED, "{\"asks\":{}}");
	snprintf(text, size, "%s",
	    REQUEST("1", "tasks/update", "\"taskId\":\"T\",\"inputResponses\":{\"k\":{\"roots\":[]}}," META_TASKS));
}

static void cancel_task(struct site *s, char *text, size_t size)
{
	make_task(s, LINK_TASK_WORKING, "{}");
	snprintf(text, size, "%s", REQUEST("1", "tasks/cancel", "\"taskId\":\"T\""));
}

#define TO_TASK(method) POSTED VERSION26 "Mcp-Method: " method "\nMcp-Name: T\n"

struct asked {
	const char *name, *method, *uri, *headers, *body;
};

/* One request, over and over. prepare makes what has been before it, and its body; NULL: nothing, and it has one. */
static void torture(
    struct site *s, const struct asked *c, long count_each, void (*prepare)(struct site *s, char *text, size_t size))
{
	long tries = 0;

	count = count_each;
	do {
		const char *body = c->body;
		struct site_answer a;
		char text[2048];
		long live;

		site_renew(s);
		live = mem_fault_live();
		s->on_serve = NULL;
		if (prepare) {
			prepare(s, text, sizeof(text));
			body = text;
		}
		s->on_serve = on_serve;
		nth = tries;
		site_ask(s, c->method, c->uri, c->headers, body, &a);
		if (!is_sound(&a, body != NULL, body && body[0] == '['))
			fail_msg("%s, allocation %ld%s:\n%s\n%s", c->name, tries, count > 1 ? " and all behind it" : "",
			    a.head, a.body.len ? a.body.data : "(no body)");
		if (prepare && a.status == 202 && !is_ended(s))
			fail_msg("%s, allocation %ld: no end", c->name, tries);
		site_answer_release(&a);
		site_renew(s);
		if (mem_fault_live() != live)
			fail_msg("%s, allocation %ld: %ld leaked", c->name, tries, mem_fault_live() - live);
		tries++;
	} while (nth >= 0 && tries < 1000);
	if (tries < 2 || nth >= 0)
		fail_msg("%s: %ld allocations", c->name, tries);
	s->on_serve = NULL;
}

static void test_each(void **state)
{
	static const struct asked cases[] = {
	    {"health", "GET", "/health", "", NULL},
	    {"preflight", "OPTIONS", "/mcp", "Origin: http://localhost\n", NULL},
	    {"refused", "POST", "/mcp", POSTED, "{"},
	    {"modern call", "POST", "/mcp", TO_CALL("echo"),
		CALL("1", "echo", ",\"arguments\":{\"text\":\"x\"}," META)},
	    {"modern call, SSE only", "POST", "/mcp",
		CONTENT "Accept: text/event-stream\n" VERSION26 "Mcp-Method: tools/call\nMcp-Name: echo\n",
		CALL("1", "echo", ",\"arguments\":{\"text\":\"x\"}," META)},
	    {"modern call, encoded headers", "POST", "/mcp",
		TO_CALL("=?base64?cmVnaW9u?=") "Mcp-Param-Region: =?base64?YmVybg==?=\n",
		CALL("1", "region", ",\"arguments\":{\"region\":\"bern\"}," META)},
	    {"modern bad arguments", "POST", "/mcp", TO_CALL("echo"), CALL("1", "echo", "," META)},
	    {"modern version", "POST", "/mcp", POSTED "MCP-Protocol-Version: x\n", REQUEST("1", "ping", META_OF("x"))},
	    {"modern stream", "POST", "/mcp", TO_CALL("progress"),
		CALL("1", "progress",
		    ",\"_meta\":{" KEY("protocolVersion") ":\"2026-07-28\"," KEY(
			"clientCapabilities") ":{},\"progressToken\":1}")},
	    {"listen", "POST", "/mcp", POSTED VERSION26 "Mcp-Method: subscriptions/listen\n",
		REQUEST("1", "subscriptions/listen", "\"notifications\":{\"toolsListChanged\":true}," META)},
	    {"listen to nothing", "POST", "/mcp", POSTED VERSION26 "Mcp-Method: subscriptions/listen\n",
		REQUEST("1", "subscriptions/listen", "\"notifications\":{}," META)},
	    {"modern list", "POST", "/mcp", POSTED VERSION26 "Mcp-Method: tools/list\n",
		REQUEST("1", "tools/list", META)},
	    {"resources", "POST", "/mcp", IN("S11"), REQUEST("1", "resources/list", "")},
	    {"templates", "POST", "/mcp", IN("S11"), REQUEST("1", "resources/templates/list", "")},
	    {"a text", "POST", "/mcp", IN("S11"), REQUEST("1", "resources/read", "\"uri\":\"a:1\"")},
	    {"bytes", "POST", "/mcp", IN("S24"), REQUEST("1", "resources/read", "\"uri\":\"a:2\"")},
	    {"a template's", "POST", "/mcp", POSTED VERSION26 "Mcp-Method: resources/read\nMcp-Name: a:x%22y/z\n",
		REQUEST("1", "resources/read", "\"uri\":\"a:x%22y/z\"," META)},
	    {"no resource", "POST", "/mcp", IN("S11"), REQUEST("1", "resources/read", "\"uri\":\"b:1\"")},
	    {"prompts", "POST", "/mcp", IN("S11"), REQUEST("1", "prompts/list", "\"cursor\":\"x\"")},
	    {"a prompt of text", "POST", "/mcp", IN("S11"),
		REQUEST("1", "prompts/get", "\"name\":\"text\",\"arguments\":{\"a\":\"x\"}")},
	    {"a prompt of messages", "POST", "/mcp", IN("S03"),
		REQUEST("1", "prompts/get", "\"name\":\"messages\",\"arguments\":{\"a\":\"x\"}")},
	    {"completion", "POST", "/mcp", IN("S11"),
		REQUEST("1", "completion/complete",
		    "\"ref\":{\"type\":\"ref/"
		    "prompt\",\"name\":\"text\"},\"argument\":{\"name\":\"a\",\"value\":\"x\"}")},
	    {"modern question", "POST", "/mcp", TO_CALL("where"), CALL("1", "where", "," META_ROOTS)},
	    {"modern client that can't", "POST", "/mcp", TO_CALL("where"), CALL("1", "where", "," META)},
	    {"modern task", "POST", "/mcp", TO_CALL("echo"),
		CALL("1", "echo", ",\"arguments\":{\"text\":\"x\"}," META_TASKS)},
	    {"legacy task", "POST", "/mcp", IN("S11"), CALL("1", "echo", ",\"task\":{\"ttl\":1}")},
	    {"legacy question", "POST", "/mcp", IN("S11"), CALL("1", "where", "")},
	    {"initialize", "POST", "/mcp", POSTED, REQUEST("1", "initialize", INITIALIZE_PARAMS("2025-11-25"))},
	    {"legacy call", "POST", "/mcp", IN("S11"), ECHO},
	    {"legacy level", "POST", "/mcp", IN("S11"), REQUEST("1", "logging/setLevel", "\"level\":\"error\"")},
	    {"legacy stream", "POST", "/mcp", IN("S11"), CALL("1", "progress", ",\"_meta\":{\"progressToken\":\"p\"}")},
	    {"legacy notification", "POST", "/mcp", IN("S11"),
		NOTIFICATION("notifications/cancelled", "\"requestId\":1")},
	    {"legacy GET", "GET", "/mcp", "Accept: text/event-stream\nMcp-Session-Id: S11\n", NULL},
	    {"batch", "POST", "/mcp", IN("S03"), "[" ECHO "," REQUEST("2", "ping", "") "]"},
	    {"HTTP+SSE stream", "GET", "/sse", "", NULL},
	    {"HTTP+SSE call", "POST", "/messages?sessionId=S24", CONTENT, ECHO},
	    {"HTTP+SSE initialize", "POST", "/messages?sessionId=S00", CONTENT,
		REQUEST("1", "initialize", INITIALIZE_PARAMS("2024-11-05"))},
	};
	struct site s;

	(void)state;
	site_init(&s);
	site_offer(&s,
	    "{\"a:1\":{\"text\":\"x\",\"icons\":[]},\"a:2\":{\"base64\":\"AAEC\"},"
	    "\"a:{x}/z\":{\"text\":\"{x}\",\"mime_type\":\"application/json\"}}",
	    "{\"text\":{\"text\":\"{a}\",\"arguments\":{\"a\":{\"values\":[\"x\",\"y\"]}}},"
	    "\"messages\":{\"messages\":[{\"role\":\"user\",\"content\":"
	    "{\"type\":\"resource_link\",\"uri\":\"a:{a}\",\"name\":\"{a}\",\"size\":1}}],\"arguments\":{\"a\":{}}}}");
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		torture(&s, &cases[i], 1, NULL);
		torture(&s, &cases[i], 100000, NULL);
	}
	site_release(&s);
	assert_int_equal(mem_fault_live(), 0);
}

static void test_answers(void **state)
{
	static const struct {
		struct asked asked;
		void (*prepare)(struct site *s, char *text, size_t size);
	} cases[] = {
	    {{"modern answer", "POST", "/mcp", TO_CALL("where"), NULL}, ask_modern},
	    {{"legacy answer", "POST", "/mcp", IN("S11"), NULL}, ask_legacy},
	    {{"a task", "POST", "/mcp", TO_TASK("tasks/get"), NULL}, ask_task},
	    {{"a task that failed", "POST", "/mcp", TO_TASK("tasks/get"), NULL}, ask_failed_task},
	    {{"a task's result", "POST", "/mcp", IN("S11"), NULL}, ask_result},
	    {{"a task's question", "POST", "/mcp", IN("S11"), NULL}, ask_asking},
	    {{"a task's answers", "POST", "/mcp", TO_TASK("tasks/update"), NULL}, update_task},
	    {{"a task's end", "POST", "/mcp", IN("S11"), NULL}, cancel_task},
	};
	struct site s;

	(void)state;
	site_init(&s);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		torture(&s, &cases[i].asked, 1, cases[i].prepare);
		torture(&s, &cases[i].asked, 100000, cases[i].prepare);
	}
	site_release(&s);
	assert_int_equal(mem_fault_live(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each),
	    cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests_name("no_memory", tests, NULL, NULL);
}
