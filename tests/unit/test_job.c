/* runner/job.c: what becomes of one task, with fake tools and a fake broker */
#include "config.h"

#include "common/jx.h"
#include "fcgi/result.h"
#include "fcgi/task.h"
#include "runner/job.h"
#include "tests/lib/fake_link.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define FORM                                                                                                           \
	"{\"mode\":\"form\",\"message\":\"?\",\"requestedSchema\":{\"type\":\"object\",\"properties\":{\"n\":{"        \
	"\"type\":"                                                                                                    \
	"\"string\"}},\"required\":[\"n\"]}}"

static struct job *running; /* for tools that meddle with their own job */

static int say(const char *text, bool is_error, json_object **result, struct err *err)
{
	*result = result_new_text(slice_str(text), is_error, err);
	return *result ? 0 : -1;
}

static int call_done(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	(void)tool, (void)args;
	if (call_notify(call, "notifications/progress",
		jx_parse(SLICE("{\"progress\":1,\"message\":\"half\"}"), 8, err), err) ||
	    call_notify(
		call, "notifications/message", jx_parse(SLICE("{\"level\":\"error\",\"data\":1}"), 8, err), err))
		return -1;
	return say("done", false, result, err);
}

/* More than any state may hold. */
static int call_chatters(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	struct buf text;

	(void)tool, (void)args;
	buf_init(&text, 1 << 20);
	buf_addf(&text, "{\"level\":\"error\",\"data\":\"%060000d\"}", 1);
	for (int i = 0; i < 32; i++) {
		if (call_notify(call, "notifications/message", jx_parse(buf_slice(&text), 8, err), err))
			return -1;
	}
	buf_release(&text);
	return say("chattered", false, result, err);
}

static int call_fails(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	(void)call, (void)tool, (void)args;
	return say("failed", true, result, err);
}

static int call_error(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	(void)call, (void)tool, (void)args, (void)result;
	return err_set(err, ERR_PARAMS, "not so");
}

/* Asks two things at once, then a third, and keeps a number in between. */
static int call_asks(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	int a = call_ask(call, "a", "elicitation/create", jx_parse(SLICE(FORM), 16, err), err);
	int b = call_ask(call, "b", "elicitation/create", jx_parse(SLICE(FORM), 16, err), err);

	(void)tool, (void)args;
	if (a == -1 || b == -1)
		return -1;
	if (a == 0 || b == 0)
		return call_keep(call, json_object_new_int(7), err);
	if (call_ask(call, "c", "elicitation/create", jx_parse(SLICE(FORM), 16, err), err) == 0)
		return call_keep(call, json_object_new_int(json_object_get_int(call->kept) + 1), err);
	return say(json_object_get_int(call->kept) == 8 ? "asked" : "forgot", false, result, err);
}

/* Waits alive for the answer to its one question. */
static int call_waits(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	(void)tool, (void)args;
	if (call_ask(call, "a", "elicitation/create", jx_parse(SLICE(FORM), 16, err), err) || call_publish(call, err))
		return -1;
	do { /* once more if there was no memory for it */
		job_add_answers(running, SLICE("{\"x\":{\"action\":\"accept\"},\"a\":{\"action\":\"decline\"}}"));
		if (call_poll(call, NULL, 0, 1000, err) == -1)
			return -1;
	} while (!jx_has(call->answers, "a"));
	call_drop_asks(call);
	return say("waited", false, result, err);
}

static int call_hangs(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	(void)tool, (void)args, (void)result;
	job_end(running, JOB_STOPPED);
	while (call_poll(call, NULL, 0, 10000, err) != -1)
		;
	return -1;
}

#define FAKE_PROVIDER(tool) static const struct provider provider_##tool = {.name = #tool, .call = call_##tool}
FAKE_PROVIDER(asks);
FAKE_PROVIDER(chatters);
FAKE_PROVIDER(done);
FAKE_PROVIDER(error);
FAKE_PROVIDER(fails);
FAKE_PROVIDER(hangs);
FAKE_PROVIDER(waits);

struct site {
	struct worker w;
	struct tool tools[7];
	struct link link;
};

static void site_init(struct site *s)
{
	static const struct provider *const providers[] = {&provider_asks, &provider_chatters, &provider_done,
	    &provider_error, &provider_fails, &provider_hangs, &provider_waits};
	json_object *any = json_object_new_object();
	struct err err;

	*s = (struct site){0};
	assert_int_equal(cfg_init(&s->w.cfg, &err), 0);
	for (size_t i = 0; i < COUNT_OF(providers); i++) {
		s->tools[i] = (struct tool){.name = (char *)providers[i]->name, .provider = providers[i]};
		s->tools[i].input = schema_new(any, NULL, &err);
	}
	s->w.tools = (struct toolset){.tools = s->tools, .count = COUNT_OF(providers)};
	s->w.server_info = (char *)"{}";
	s->w.link = link_new(&s->w.cfg);
	json_object_put(any);
}

static void site_release(struct site *s)
{
	for (size_t i = 0; i < COUNT_OF(s->tools); i++)
		schema_free(&s->tools[i].input);
	link_free(&s->w.link);
	cfg_release(&s->w.cfg);
}

#define JOB_OF(revision, session, tool)                                                                                \
	"{\"revision\":\"" revision "\",\"session\":\"" session "\",\"tool\":\"" tool                                  \
	"\",\"arguments\":{},\"capabilities\":{\"elicitation\":{}},\"logLevel\":1"
#define MODERN_JOB(tool) JOB_OF("2026-07-28", "", tool) "}"

static struct job *job_make(struct site *s, const char *text)
{
	struct err err;

	assert_int_equal(
	    link_task_new(s->w.link, SLICE("t"), "ann", SLICE(""), 60000, 0, SLICE("{}"), slice_str(text), &err), 0);
	running = job_new(&s->w, SLICE("t"), SLICE("ann"), slice_str(text));
	assert_non_null(running);
	return running;
}

static struct fake_task *task_of(struct site *s)
{
	return fake_link_task(s->w.link, SLICE("t"));
}

static void test_ends(void **state)
{
	static const struct {
		const char *text;
		enum link_task_state want;
		const char *says;
	} cases[] = {
	    {MODERN_JOB("done"), LINK_TASK_COMPLETED, "\"message\":\"half\",\"result\":{\"content\""},
	    {MODERN_JOB("fails"), LINK_TASK_COMPLETED, "\"isError\":true"},
	    {MODERN_JOB("error"), LINK_TASK_FAILED, "\"error\":\"PARAMS\",\"why\":\"tool error: not so\""},
	    {MODERN_JOB("hangs"), LINK_TASK_FAILED, "\"error\":\"INTERRUPTED\""},
	    {MODERN_JOB("waits"), LINK_TASK_COMPLETED, "waited"},
	    {"{}", LINK_TASK_FAILED, "\"error\":\"INTERNAL\""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct site s;
		struct job *job;

		site_init(&s);
		job = job_make(&s, cases[i].text);
		if (!job_work(job))
			fail_msg("%s: still waits", cases[i].text);
		if (task_of(&s)->state != cases[i].want || !strstr(task_of(&s)->blob.data, cases[i].says))
			fail_msg("%s: state %d, %s", cases[i].text, task_of(&s)->state, task_of(&s)->blob.data);
		job_free(&job);
		job_free(&job);
		site_release(&s);
	}
}

/* A worker was faster to read a new configuration: the job waits for the one of now, and takes what it says. */
static void test_site_of_before(void **state)
{
	for (int has_tool = 0; has_tool < 2; has_tool++) {
		struct site before, now;
		struct job *job;

		(void)state;
		site_init(&before);
		before.w.tools.count = 0;
		site_init(&now);
		if (!has_tool)
			now.w.tools.count = 0;
		job = job_make(&before, MODERN_JOB("done"));
		assert_false(job_work(job));
		assert_true(job_lacks_tool(job));
		assert_int_equal(task_of(&before)->state, LINK_TASK_WORKING);
		link_free(&now.w.link);
		now.w.link = before.w.link;
		job_use(job, &now.w);
		assert_true(job_work(job));
		assert_int_equal(task_of(&before)->state, has_tool ? LINK_TASK_COMPLETED : LINK_TASK_FAILED);
		if (!has_tool)
			assert_non_null(strstr(task_of(&before)->blob.data, "another configuration"));
		job_free(&job);
		now.w.link = NULL;
		site_release(&now);
		site_release(&before);
	}
}

/* It is cancelled while it waits for that. */
static void test_cancelled_before_it_has_a_tool(void **state)
{
	struct site s;
	struct job *job;

	(void)state;
	site_init(&s);
	job = job_make(&s, MODERN_JOB("nobody"));
	assert_false(job_work(job));
	job_end(job, JOB_CANCELLED);
	assert_true(job_has_news(job));
	assert_true(job_work(job));
	job_free(&job);
	site_release(&s);
}

/* TX-10, TX-11: partial answers, those that are none, those that nobody asked for. */
static void test_asks(void **state)
{
	static const struct {
		const char *answers;
		bool is_open[3]; /* a, b, c: afterwards */
		bool has_ended;
	} steps[] = {
	    {"{\"z\":{\"action\":\"accept\"}}", {true, true, false}, false},
	    {"{\"a\":{\"action\":\"accept\",\"content\":{}}}", {true, true, false}, false}, /* n is missing */
	    {"{\"a\":1}", {true, true, false}, false},
	    {"[]", {true, true, false}, false},
	    {"{\"a\":{\"action\":\"accept\",\"content\":{\"n\":\"x\"}}}", {false, true, false}, false},
	    {"{\"a\":{\"action\":\"decline\"},\"b\":{\"action\":\"decline\"}}", {false, false, true}, false},
	    {"{\"b\":{\"action\":\"decline\"}}", {false, false, true}, false},
	    {"{\"c\":{\"action\":\"cancel\"}}", {false, false, false}, true},
	};
	struct site s;
	struct job *job;

	(void)state;
	site_init(&s);
	job = job_make(&s, MODERN_JOB("asks"));
	assert_false(job_work(job));
	assert_int_equal(task_of(&s)->state, LINK_TASK_INPUT_REQUIRED);
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		const char *blob;

		assert_false(job_has_news(job));
		job_add_answers(job, slice_str(steps[i].answers));
		assert_true(job_has_news(job));
		if (job_work(job) != steps[i].has_ended)
			fail_msg("%s: %s", steps[i].answers, steps[i].has_ended ? "goes on" : "has ended");
		blob = task_of(&s)->blob.data;
		if (!strstr(blob, "\"a\":{\"params\"") == steps[i].is_open[0] ||
		    !strstr(blob, "\"b\":{\"params\"") == steps[i].is_open[1] ||
		    !strstr(blob, "\"c\":{\"params\"") == steps[i].is_open[2])
			fail_msg("%s: %s", steps[i].answers, blob);
	}
	assert_int_equal(task_of(&s)->state, LINK_TASK_COMPLETED);
	assert_non_null(strstr(task_of(&s)->blob.data, "asked"));
	job_free(&job);
	site_release(&s);
}

/* What has ended elsewhere is not touched any more. */
static void test_cancelled(void **state)
{
	static const enum job_end ends[] = {JOB_CANCELLED, JOB_STOPPED};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(ends); i++) {
		struct site s;
		struct job *job;
		unsigned puts;

		site_init(&s);
		job = job_make(&s, MODERN_JOB("asks"));
		assert_false(job_work(job));
		puts = s.w.link->asked[FAKE_TASK_PUT];
		job_end(job, ends[i]);
		job_end(job, JOB_STOPPED); /* comes too late */
		assert_true(job_work(job));
		assert_int_equal(s.w.link->asked[FAKE_TASK_PUT] - puts, ends[i] == JOB_STOPPED);
		job_free(&job);
		site_release(&s);
	}
}

/* TK-11, TK-19, TK-22 */
static void test_session_hears(void **state)
{
	struct site s;
	struct job *job;
	struct err err;
	uint64_t version;
	const struct fake_stream *stream;

	(void)state;
	site_init(&s);
	assert_int_equal(
	    link_session_put(s.w.link, SLICE("S"), "ann", SLICE(""), 0, 0, SLICE("{}"), &version, &err), 0);
	job = job_make(&s, JOB_OF("2025-11-25", "S", "done") ",\"progressToken\":\"p\"}");
	assert_true(job_work(job));
	stream = &s.w.link->streams[fake_link_session(s.w.link, SLICE("S"))->stream];
	assert_string_equal(stream->events.data,
	    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"
	    "progress\",\"params\":{\"progressToken\":\"p\",\"progress\":1,"
	    "\"message\":\"half\",\"_meta\":{\"io.modelcontextprotocol/related-task\":{\"taskId\":\"t\"}}}}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"error\",\"data\":1,"
	    "\"_meta\":{\"io.modelcontextprotocol/related-task\":{\"taskId\":\"t\"}}}}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tasks/status\",\"params\":{\"taskId\":\"t\",\"status\":"
	    "\"completed\",\"createdAt\":\"2025-10-09T08:53:20.000Z\",\"lastUpdatedAt\":\"2025-10-09T08:53:20.001Z\","
	    "\"ttl\":60000,\"pollInterval\":1000,\"statusMessage\":\"half\"}}\n");
	job_free(&job);
	site_release(&s);
}

/* A hidden task's notifications are its follower's to send. */
static void test_hidden(void **state)
{
	struct site s;
	struct job *job;
	const char *blob;

	(void)state;
	site_init(&s);
	job = job_make(&s, JOB_OF("2025-11-25", "S", "done") ",\"progressToken\":\"p\",\"hidden\":1}");
	assert_true(job_work(job));
	blob = task_of(&s)->blob.data;
	assert_non_null(strstr(blob, "\"events\":[{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\""));
	assert_non_null(strstr(blob, "\"eventsSeq\":1"));
	assert_int_equal(s.w.link->asked[FAKE_CALL_BEGIN] + s.w.link->asked[FAKE_NOTIFY], 0);
	job_free(&job);
	site_release(&s);
}

/* What it said gives way to what it is: else its follower would never hear that it has ended. */
static void test_hidden_says_too_much(void **state)
{
	struct site s;
	struct job *job;

	(void)state;
	site_init(&s);
	job = job_make(&s, JOB_OF("2025-11-25", "S", "chatters") ",\"hidden\":1}");
	assert_true(job_work(job));
	assert_int_equal(task_of(&s)->state, LINK_TASK_COMPLETED);
	assert_non_null(strstr(task_of(&s)->blob.data, "chattered"));
	assert_non_null(strstr(task_of(&s)->blob.data, "\"eventsSeq\":33"));
	job_free(&job);
	site_release(&s);
}

/* The broker says no: the task has ended there, or the state is too large. */
static void test_refused(void **state)
{
	static const enum err_code codes[] = {ERR_GONE, ERR_NO_TASK, ERR_TOO_BIG, ERR_BROKER};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(codes); i++) {
		struct site s;
		struct job *job;

		site_init(&s);
		job = job_make(&s, MODERN_JOB("asks"));
		s.w.link->fail[FAKE_TASK_PUT] = codes[i];
		if (job_work(job) != (codes[i] != ERR_BROKER)) /* what is too big once will be so the next time */
			fail_msg("%s", err_name(codes[i]));
		job_free(&job);
		site_release(&s);
	}
}

/* Each allocation fails in turn: the job ends or waits, and nothing leaks. */
static void test_no_memory(void **state)
{
	static const char *const texts[] = {
	    MODERN_JOB("done"),
	    MODERN_JOB("asks"),
	    MODERN_JOB("waits"),
	    JOB_OF("2025-11-25", "S", "done") ",\"progressToken\":\"p\"}",
	    JOB_OF("2025-11-25", "S", "done") ",\"hidden\":1}",
	};
	struct site s;
	struct err err;

	(void)state;
	site_init(&s);
	assert_int_equal(link_session_put(s.w.link, SLICE("S"), "ann", SLICE(""), 0, 0, SLICE("{}"), NULL, &err), 0);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		bool reached = true;

		for (long nth = 0; reached; nth++) {
			struct job *job;
			long live;

			fake_link_forget(s.w.link);
			live = mem_fault_live();
			assert_int_equal(link_task_new(s.w.link, SLICE("t"), "ann", SLICE(""), 60000, 0, SLICE("{}"),
					     SLICE("{}"), &err),
			    0);
			mem_fault_at(nth, 1);
			job = running = job_new(&s.w, SLICE("t"), SLICE("ann"), slice_str(texts[i]));
			if (job && !job_work(job)) {
				job_add_answers(
				    job, SLICE("{\"a\":{\"action\":\"decline\"},\"b\":{\"action\":\"decline\"}}"));
				job_work(job);
			}
			job_free(&job);
			reached = mem_fault_end();
			fake_link_forget(s.w.link);
			if (mem_fault_live() != live)
				fail_msg("%s: allocation %ld: %ld leaked", texts[i], nth, mem_fault_live() - live);
			assert_true(nth < 1000);
		}
	}
	site_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ends),
	    cmocka_unit_test(test_site_of_before),
	    cmocka_unit_test(test_cancelled_before_it_has_a_tool),
	    cmocka_unit_test(test_asks),
	    cmocka_unit_test(test_cancelled),
	    cmocka_unit_test(test_session_hears),
	    cmocka_unit_test(test_hidden),
	    cmocka_unit_test(test_hidden_says_too_much),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
