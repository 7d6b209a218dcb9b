/* fcgi/task.c: a task's way through job and state, and what clients of both revisions see of it */
#include "config.h"

#include "common/jx.h"
#include "fcgi/task_call.h"
#include "fcgi/worker.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static void test_job(void **state)
{
	const struct task_job in = {
	    .revision = REV_2025_11,
	    .session = "abc",
	    .tool = SLICE("du \"x\""),
	    .log_level = MCP_LEVEL_WARNING,
	    .is_hidden = true,
	};
	static const char *const broken[] = {
	    "", "[]", "{}", "{\"revision\":\"2031-01-01\"}", "{\"revision\":\"2025-11-25\",\"logLevel\":99}"};
	struct task_job out;
	struct err err;
	struct buf text;

	(void)state;
	buf_init(&text, 4096);
	task_put_job(&in, &text);
	assert_int_equal(task_read_job(buf_slice(&text), &out, &err), 0);
	assert_int_equal(out.revision, in.revision);
	assert_string_equal(out.session, "abc");
	assert_true(slice_is(out.tool, "du \"x\""));
	assert_null(out.args);
	assert_int_equal(out.log_level, MCP_LEVEL_WARNING);
	assert_true(out.is_hidden);
	task_release_job(&out);
	task_release_job(&out);
	buf_release(&text);
	for (size_t i = 0; i < COUNT_OF(broken); i++) {
		if (task_read_job(slice_str(broken[i]), &out, &err) == 0)
			fail_msg("%s was read", broken[i]);
		assert_non_null(out.session);
		task_release_job(&out);
	}
}

#define TIMES          "\"createdAt\":\"2026-03-02T08:00:00.000Z\",\"lastUpdatedAt\":\"2026-03-02T08:00:31.250Z\","
#define LEGACY(status) "\"taskId\":\"t\",\"status\":\"" status "\"," TIMES "\"ttl\":600000,\"pollInterval\":1000"
#define MODERN(status) "\"taskId\":\"t\",\"status\":\"" status "\"," TIMES "\"ttlMs\":600000,\"pollIntervalMs\":1000"
#define RESULT(is_error)                                                                                               \
	"{\"resultType\":\"complete\",\"content\":[]" is_error ",\"_meta\":{\"io.modelcontextprotocol/"                \
							       "serverInfo\":{}}}"

/* TK-08, TK-09, TK-20, TX-04, TX-07, TX-08 */
static void test_views(void **state)
{
	static const struct {
		const char *name;
		enum link_task_state state;
		const char *blob, *legacy, *modern, *detailed; /* detailed: what comes behind modern */
	} cases[] = {
	    {"at work", LINK_TASK_WORKING, "{}", LEGACY("working"), MODERN("working"), ""},
	    {"with words", LINK_TASK_WORKING, "{\"message\":\"3\\n4\"}",
		LEGACY("working") ",\"statusMessage\":\"3\\n4\"", MODERN("working") ",\"statusMessage\":\"3\\n4\"", ""},
	    {"asking", LINK_TASK_INPUT_REQUIRED, "{\"asks\":{\"k\":{\"method\":\"roots/list\",\"params\":{}}}}",
		LEGACY("input_required"), MODERN("input_required"),
		",\"inputRequests\":{\"k\":{\"method\":\"roots/list\",\"params\":{}}}"},
	    {"done", LINK_TASK_COMPLETED, "{\"result\":{\"content\":[]}}", LEGACY("completed"), MODERN("completed"),
		",\"result\":" RESULT("")},
	    {"a tool that failed", LINK_TASK_COMPLETED, "{\"result\":{\"content\":[],\"isError\":true}}",
		LEGACY("failed"), MODERN("completed"), ",\"result\":" RESULT(",\"isError\":true")},
	    {"an error", LINK_TASK_FAILED, "{\"error\":\"PARAMS\",\"why\":\"no x\",\"errorData\":{\"a\":1}}",
		LEGACY("failed") ",\"statusMessage\":\"Invalid params: no x\"",
		MODERN("failed") ",\"statusMessage\":\"Invalid params: no x\"",
		",\"error\":{\"code\":-32602,\"message\":\"Invalid params: no x\",\"data\":{\"a\":1}}"},
	    {"ours is not told", LINK_TASK_FAILED, "{\"error\":\"SYS\",\"why\":\"secret\"}",
		LEGACY("failed") ",\"statusMessage\":\"Internal error\"",
		MODERN("failed") ",\"statusMessage\":\"Internal error\"",
		",\"error\":{\"code\":-32603,\"message\":\"Internal error\"}"},
	    {"of a runner that died", LINK_TASK_FAILED, "",
		LEGACY("failed") ",\"statusMessage\":\"What this ran in has ended\"",
		MODERN("failed") ",\"statusMessage\":\"What this ran in has ended\"",
		",\"error\":{\"code\":-32603,\"message\":\"What this ran in has ended\"}"},
	    {"cancelled", LINK_TASK_CANCELLED, "{}", LEGACY("cancelled"), MODERN("cancelled"), ""},
	};
	const struct worker w = {.cfg = {.task_poll_ms = 1000}, .server_info = (char *)"{}"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct link_task task = {.id = "t",
		    .state = cases[i].state,
		    .created_ms = 1772438400000,
		    .updated_ms = 1772438431250,
		    .ttl_ms = 600000};
		struct buf legacy, modern;
		struct task_state seen;
		struct err err;

		buf_init(&task.blob, 4096);
		buf_init(&legacy, 4096);
		buf_init(&modern, 4096);
		buf_adds(&task.blob, cases[i].blob);
		if (task_read_state(&task, &seen, &err))
			fail_msg("%s: %s", cases[i].name, err.msg);
		task_put_members(&w, ERA_LEGACY, &task, &seen, false, &legacy);
		task_put_members(&w, ERA_MODERN, &task, &seen, true, &modern);
		if (!slice_is(buf_slice(&legacy), cases[i].legacy))
			fail_msg("%s: legacy: %s", cases[i].name, legacy.data);
		if (strncmp(modern.data, cases[i].modern, strlen(cases[i].modern)) != 0 ||
		    strcmp(modern.data + strlen(cases[i].modern), cases[i].detailed) != 0)
			fail_msg("%s: modern: %s", cases[i].name, modern.data);
		task_release_state(&seen);
		buf_release(&task.blob);
		buf_release(&legacy);
		buf_release(&modern);
	}
}

static void test_broken_state(void **state)
{
	static const struct {
		enum link_task_state state;
		const char *blob;
	} cases[] = {
	    {LINK_TASK_WORKING, ""},
	    {LINK_TASK_WORKING, "x"},
	    {LINK_TASK_WORKING, "[]"},
	    {LINK_TASK_INPUT_REQUIRED, "{}"},
	    {LINK_TASK_COMPLETED, "{\"result\":1}"},
	    {LINK_TASK_FAILED, "{}"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct link_task task = {.id = "t", .state = cases[i].state};
		struct task_state seen;
		struct err err;

		buf_init(&task.blob, 4096);
		buf_adds(&task.blob, cases[i].blob);
		if (task_read_state(&task, &seen, &err) == 0)
			fail_msg("%s was read", cases[i].blob);
		task_release_state(&seen);
		buf_release(&task.blob);
	}
}

/* TK-07, TX-15: how long a task is kept. */
static void test_ttl(void **state)
{
	static const struct {
		enum revision revision;
		const char *params;
		int64_t ttl_ms, ttl_max_ms; /* settings */
		uint64_t want;
	} cases[] = {
	    {REV_2025_11, "{}", 60000, 90000, 0},
	    {REV_2025_11, "{\"task\":{}}", 60000, 90000, 60000},
	    {REV_2025_11, "{\"task\":{\"ttl\":70000}}", 60000, 90000, 70000},
	    {REV_2025_11, "{\"task\":{\"ttl\":1e300}}", 60000, 90000, 90000},
	    {REV_2025_11, "{\"task\":{\"ttl\":-1}}", 60000, 90000, 1000},
	    {REV_2025_11, "{\"task\":{}}", 60000, 30000, 30000},
	    {REV_2025_06, "{\"task\":{}}", 60000, 90000, 0},
	    {REV_2026_07, "{}", 60000, 90000, 60000},
	    {REV_2026_07, "{}", 60000, 30000, 30000},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct tool tool = {.task = TOOL_TASK_OPTIONAL};
		struct worker w = {.tools.has_tasks = true, .cfg.task_ttl_ms = cases[i].ttl_ms};
		struct err err = {0};
		json_object *params = jx_parse(slice_str(cases[i].params), 8, &err);
		json_object *declared = jx_parse(SLICE("{\"extensions\":{\"" TASK_EXTENSION "\":{}}}"), 8, &err);
		struct call call = {.w = &w, .cfg = &w.cfg, .revision = cases[i].revision, .capabilities = declared};
		uint64_t ttl_ms;

		w.cfg.task_ttl_max_ms = cases[i].ttl_max_ms;
		call.era = call.revision >= REV_2026_07 ? ERA_MODERN : ERA_LEGACY;
		if (task_decide(&call, &tool, params, &ttl_ms, &err))
			fail_msg("%s: %s", cases[i].params, err.msg);
		if (ttl_ms != cases[i].want)
			fail_msg("case %zu: %llu ms", i, (unsigned long long)ttl_ms);
		json_object_put(params);
		json_object_put(declared);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_job),
	    cmocka_unit_test(test_views),
	    cmocka_unit_test(test_broken_state),
	    cmocka_unit_test(test_ttl),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
