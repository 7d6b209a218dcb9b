/* fcgi/listen.c, topic.c: subscriptions/listen (SU-01 .. SU-13), and what its streams are told of */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/jx.h"
#include "fcgi/changes.h"
#include "fcgi/topic.h"
#include "tests/lib/site.h"
#include "common/banned.h"

#define TO_LISTEN          POSTED VERSION26 "Mcp-Method: subscriptions/listen\n"
#define SID(id)            "\"_meta\":{" KEY("subscriptionId") ":" id "}"
#define LISTEN(id, filter) REQUEST(id, "subscriptions/listen", "\"notifications\":{" filter "}," META)
#define META_TASKS                                                                                                     \
	"\"_meta\":{" KEY("protocolVersion") ":\"2026-07-28\"," KEY("clientCapabilities") ":{\"extensions\":{" KEY(    \
	    "tasks") ":{}}}}"
#define ACK(id, honoured)                                                                                              \
	"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{" SID(               \
	    id) ",\"notifications\":{" honoured "}}}"
#define END(id)                                                                                                        \
	"{\"jsonrpc\":\"2.0\",\"id\":" id ",\"result\":{\"resultType\":\"complete\",\"_meta\":{" KEY(                  \
	    "subscriptionId") ":" id "," KEY("serverInfo") ":{\"name\":\"test\",\"version\":\"1\"}}}}"

static void test_rows(void **state)
{
	static const struct site_row rows[] = {
	    {"SU-05 no filter", POST_MCP, TO_LISTEN, REQUEST("1", "subscriptions/listen", META),
		REFUSED(200, -32602, "1")},
	    {"SU-05 a filter that is none", POST_MCP, TO_LISTEN,
		REQUEST("1", "subscriptions/listen", "\"notifications\":[]," META), REFUSED(200, -32602, "1")},
	    {"not a boolean", POST_MCP, TO_LISTEN, LISTEN("1", "\"toolsListChanged\":\"yes\""),
		REFUSED(200, -32602, "1")},
	    {"not an array", POST_MCP, TO_LISTEN, LISTEN("1", "\"resourceSubscriptions\":\"a:b\""),
		REFUSED(200, -32602, "1")},
	    {"not an array of strings", POST_MCP, TO_LISTEN, LISTEN("1", "\"resourceSubscriptions\":[\"a:b\",1]"),
		REFUSED(200, -32602, "1")},
	    {"SU-13 tasks without the extension", POST_MCP, TO_LISTEN, LISTEN("1", "\"taskIds\":[]"), 400, JSON_TYPE,
		-32021, "1", NULL,
		"\"data\":{\"requiredCapabilities\":{\"extensions\":{\"io.modelcontextprotocol/tasks\":{}}}}"},
	    {"no event stream", POST_MCP,
		CONTENT "Accept: application/json\n" VERSION26 "Mcp-Method: subscriptions/listen\n",
		LISTEN("1", "\"toolsListChanged\":true"), REFUSED(406, -32600, "1")},
	    {"SU-11 nothing is honoured", POST_MCP, TO_LISTEN, LISTEN("\"x\"", ""), 200, SSE_TYPE, 0, "\"x\"", NULL,
		"event: message\ndata: " ACK("\"x\"", "") "\n\nevent: message\ndata: " END("\"x\"") "\n\n"},
	    {"SU-11 nothing is honoured of what is not asked for", POST_MCP, TO_LISTEN,
		LISTEN("7", "\"toolsListChanged\":false,\"unknown\":{}"), 200, SSE_TYPE, 0, "7", NULL, ACK("7", "")},
	};
	struct site s;

	(void)state;
	site_init(&s);
	site_check(&s, rows, COUNT_OF(rows));
	site_release(&s);
}

/* SU-01, SU-02, SU-04, SU-10: the connection is given away, the thread is free, and two clients may have one id. */
static void test_stream(void **state)
{
	struct fake_stream *one, *two;
	struct site_answer a;
	struct err err = {0};
	struct site s;

	(void)state;
	site_init(&s);
	site_ask(&s, POST_MCP, TO_LISTEN,
	    LISTEN("\"listen:0\"", "\"toolsListChanged\":true,\"resourceSubscriptions\":[]"), &a);
	assert_true(a.is_handed_over);
	assert_int_equal(s.busy_count, 0);
	assert_string_equal(s.w.link->wills.data, END("\"listen:0\"") "\n");
	assert_string_equal(a.body.data, ACK("\"listen:0\"", "\"toolsListChanged\":true") "\n");
	assert_non_null(strstr(a.head, "X-Accel-Buffering: no\r\n"));
	one = &s.w.link->streams[s.w.link->streams_count];
	assert_string_equal(one->topics.data, "tools\n");
	site_answer_release(&a);
	site_ask(&s, POST_MCP, TO_LISTEN, LISTEN("0", "\"toolsListChanged\":true"), &a);
	two = &s.w.link->streams[s.w.link->streams_count];
	site_answer_release(&a);

	buf_clear(&one->events);
	buf_clear(&two->events);
	assert_int_equal(topic_publish_list(s.w.link, TOPIC_TOOLS, NULL, NULL, &err), 0);
	assert_int_equal(topic_publish_list(s.w.link, TOPIC_PROMPTS, NULL, NULL, &err), 0);
	assert_string_equal(
	    one->events.data, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\",\"params\":{" SID(
				  "\"listen:0\"") "}}\n");
	assert_string_equal(two->events.data,
	    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\",\"params\":{" SID("0") "}}\n");
	site_release(&s);
}

/* SU-12: in-band, and nothing is left behind. */
static void test_refused(void **state)
{
	static const struct {
		enum fake_op op;
		enum err_code code;
	} cases[] = {
	    {FAKE_OPEN_STREAM, ERR_LIMIT},
	    {FAKE_OPEN_STREAM, ERR_BROKER},
	    {FAKE_APPEND, ERR_TOO_BIG},
	    {FAKE_SUBSCRIBE, ERR_LIMIT},
	    {FAKE_ADOPT, ERR_BUSY},
	};
	struct site_answer a;
	struct site s;

	(void)state;
	site_init(&s);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct link *l = s.w.link;

		site_renew(&s);
		l->fail[cases[i].op] = cases[i].code;
		site_ask(&s, POST_MCP, TO_LISTEN, LISTEN("9", "\"toolsListChanged\":true"), &a);
		if (a.is_handed_over || a.status != 200 || !jx_has(a.last, "error") ||
		    json_object_get_int(jx_get(a.last, "id")) != 9)
			fail_msg("case %zu: status %d\n%s", i, a.status, a.body.data ? a.body.data : "");
		site_answer_release(&a);
	}
	site_release(&s);
}

/* SU-13, TX: a task is of its principal; of the others nobody hears. */
static void test_tasks(void **state)
{
	static const struct {
		const char *id, *principal;
	} tasks[] = {{"t1", ""}, {"t2", "mallory"}, {"t3", ""}};
	struct site_answer a;
	struct err err = {0};
	struct site s;

	(void)state;
	site_init(&s);
	for (size_t i = 0; i < COUNT_OF(tasks); i++)
		assert_int_equal(link_task_new(s.w.link, slice_str(tasks[i].id), tasks[i].principal, SLICE(""), 1000, 0,
				     SLICE("{}"), SLICE("job"), &err),
		    0);
	site_ask(&s, POST_MCP, TO_LISTEN,
	    REQUEST("1", "subscriptions/listen",
		"\"notifications\":{\"taskIds\":[\"t3\",\"t2\",\"none\",\"t1\"]}," META_TASKS),
	    &a);
	assert_true(a.is_handed_over);
	assert_string_equal(a.body.data, ACK("1", "\"taskIds\":[\"t3\",\"t1\"]") "\n");
	assert_string_equal(s.w.link->streams[s.w.link->streams_count].topics.data, "task:t3\ntask:t1\n");
	assert_int_equal(topic_publish_task(s.w.link, SLICE("t1"), SLICE("\"taskId\":\"t1\",\"ttl\":1"),
			     SLICE("\"taskId\":\"t1\",\"ttlMs\":1"), &err),
	    0);
	assert_non_null(strstr(s.w.link->streams[s.w.link->streams_count].events.data,
	    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tasks\",\"params\":{" SID(
		"1") ",\"taskId\":\"t1\",\"ttlMs\":1}}\n"));
	site_answer_release(&a);

	site_renew(&s);
	s.w.link->fail[FAKE_TASK_GET] = ERR_BROKER;
	site_ask(&s, POST_MCP, TO_LISTEN,
	    REQUEST("1", "subscriptions/listen", "\"notifications\":{\"taskIds\":[\"t1\"]}," META_TASKS), &a);
	assert_int_equal(json_object_get_int(jx_get(jx_get_object(a.last, "error"), "code")), -32603);
	site_answer_release(&a);
	site_release(&s);
}

static const struct filetree *watches(const struct resource *resource)
{
	return strcmp(resource->uri, "test://file") == 0 ? (const struct filetree *)resource : NULL;
}

static const struct provider provider_watched = {.name = "watched", .resource_watch = watches};
static struct resource resources[] = {
    {.uri = (char *)"test://file", .provider = &provider_watched},
    {.uri = (char *)"test://text", .provider = &provider_watched},
};

static void site_init_with_resources(struct site *s)
{
	site_init(s);
	s->w.resources.fixed = resources;
	s->w.resources.fixed_count = COUNT_OF(resources);
}

/* RS-04: what is no resource of ours is left out; a runner is wanted when files are to be watched. */
static void test_resources(void **state)
{
	static const struct {
		const char *filter, *honoured, *topics;
		unsigned runners;
	} cases[] = {
	    {"\"resourceSubscriptions\":[\"test://text\",\"test://none\"]",
		"\"resourceSubscriptions\":[\"test://text\"]", "resource:test://text\n", 0},
	    {"\"resourceSubscriptions\":[\"test://file\",\"test://text\"]",
		"\"resourceSubscriptions\":[\"test://file\",\"test://text\"]",
		"resource:test://file\nresource:test://text\n", 1},
	    {"\"resourcesListChanged\":true,\"promptsListChanged\":true", "\"resourcesListChanged\":true",
		"resources\n", 1},
	};
	struct site s;

	(void)state;
	site_init_with_resources(&s);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct site_answer a;
		char body[1024], ack[1024];

		site_renew(&s);
		snprintf(body, sizeof(body), LISTEN("1", "%s"), cases[i].filter);
		snprintf(ack, sizeof(ack), ACK("1", "%s") "\n", cases[i].honoured);
		site_ask(&s, POST_MCP, TO_LISTEN, body, &a);
		assert_true(a.is_handed_over);
		assert_string_equal(a.body.data, ack);
		assert_string_equal(s.w.link->streams[s.w.link->streams_count].topics.data, cases[i].topics);
		assert_int_equal(s.w.link->asked[FAKE_RUNNER_ENSURE], cases[i].runners);
		site_answer_release(&a);
	}
	s.w.resources = (struct resourceset){0};
	site_release(&s);
}

/* RS-03 */
static void test_subscribe(void **state)
{
#define IN11 POSTED "Mcp-Session-Id: S11\n"
	static const struct site_row rows[] = {
	    {"of no resource", POST_MCP, IN11, REQUEST("1", "resources/subscribe", "\"uri\":\"test://none\""), 200,
		JSON_TYPE, -32002, "1", NULL, "\"data\":{\"uri\":\"test://none\"}"},
	    {"of no URI", POST_MCP, IN11, REQUEST("1", "resources/subscribe", "\"uri\":7"), REFUSED(200, -32602, "1")},
	    {"end of no URI", POST_MCP, IN11, REQUEST("1", "resources/unsubscribe", ""), REFUSED(200, -32602, "1")},
	    {"end of what never was", POST_MCP, IN11, REQUEST("1", "resources/unsubscribe", "\"uri\":\"test://none\""),
		200, JSON_TYPE, 0, "1", NULL, "\"result\":{}"},
	};
	const struct fake_session *session;
	struct site_answer a;
	struct site s;

	(void)state;
	site_init_with_resources(&s);
	site_check(&s, rows, COUNT_OF(rows));
	site_renew(&s);
	session = fake_link_session(s.w.link, SLICE("S11"));
	site_ask(&s, POST_MCP, IN11, REQUEST("1", "resources/subscribe", "\"uri\":\"test://file\""), &a);
	assert_string_equal(a.body.data, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}");
	site_answer_release(&a);
	assert_string_equal(session->topics.data, "resource:test://file\n");
	assert_int_equal(s.w.link->asked[FAKE_RUNNER_ENSURE], 1);
	site_ask(&s, POST_MCP, IN11, REQUEST("2", "resources/unsubscribe", "\"uri\":\"test://file\""), &a);
	assert_string_equal(a.body.data, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}");
	site_answer_release(&a);
	assert_int_equal(session->topics.len, 0);
	s.w.resources = (struct resourceset){0};
	site_release(&s);
}

/* What a legacy session reads of the same changes. */
static void test_legacy(void **state)
{
	static const struct slice topics[] = {{"resource:a:\"b", 13}, {"task:t", 6}};
	struct err err = {0};
	struct fake_stream *own;
	struct site s;

	(void)state;
	site_init(&s);
	own = &s.w.link->streams[fake_link_session(s.w.link, SLICE("S11"))->stream];
	assert_int_equal(
	    link_subscribe(s.w.link, 0, SLICE("S11"), "", false, SLICE(""), topics, COUNT_OF(topics), &err), 0);
	assert_int_equal(topic_publish_resource(s.w.link, SLICE("a:\"b"), NULL, NULL, &err), 0);
	assert_int_equal(topic_publish_resource(s.w.link, SLICE("a:"), NULL, NULL, &err), 0);
	assert_int_equal(topic_publish_task(s.w.link, SLICE("t"), SLICE("\"taskId\":\"t\""), SLICE(""), &err), 0);
	assert_string_equal(own->events.data,
	    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{\"uri\":\"a:\\\"b\"}}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tasks/status\",\"params\":{\"taskId\":\"t\"}}\n");
	site_release(&s);
}

static void start_with(struct site *s, const char *digest)
{
	snprintf(s->w.tools.digest, sizeof(s->w.tools.digest), "%s", digest);
	changes_tell(&s->w);
}

/* TL-02: a site that is started with other tools tells those who are still there, once. */
static void test_another_configuration(void **state)
{
	char ctl[80], offered[80];
	struct site s;
	int fd;

	(void)state;
	site_init(&s);
	snprintf(ctl, sizeof(ctl), "%s/" LINK_CTL_NAME, s.run_dir);
	snprintf(offered, sizeof(offered), "%s/offered", s.run_dir);
	start_with(&s, "00000000000000aa"); /* nothing is known before */
	start_with(&s, "00000000000000aa");
	start_with(&s, "00000000000000bb"); /* no broker, so nobody is there */
	assert_int_equal(s.w.link->asked[FAKE_NOTIFY], 0);
	fd = open(ctl, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	start_with(&s, "00000000000000cc");
	start_with(&s, "00000000000000cc");
	assert_int_equal(s.w.link->asked[FAKE_NOTIFY], 1);
	s.w.link->fail[FAKE_NOTIFY] = ERR_BROKER;
	start_with(&s, "00000000000000dd");
	assert_int_equal(s.w.link->asked[FAKE_NOTIFY], 2);
	assert_int_equal(truncate(offered, 20), 0); /* it is not what we write */
	start_with(&s, "00000000000000ee");
	assert_int_equal(s.w.link->asked[FAKE_NOTIFY], 2);
	assert_int_equal(unlink(ctl) | unlink(offered), 0);
	site_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_stream),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_tasks),
	    cmocka_unit_test(test_resources),
	    cmocka_unit_test(test_subscribe),
	    cmocka_unit_test(test_legacy),
	    cmocka_unit_test(test_another_configuration),
	};

	return cmocka_run_group_tests_name("listen", tests, NULL, NULL);
}
