/* Modules: every complaint about one, and what handlers with good and bad manners come to. */
#include "config.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/jx.h"
#include "fcgi/module_apart.h"
#include "tests/lib/fake_call.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/toolfile.h"
#include "common/banned.h"

#define MODULES     "${abs_top_builddir}/tests/modules/"
#define SITE(entry) "{\n\"modules\": {\n\"m\": " entry "\n}}"
#define BROKEN(how) SITE("{\"file\": \"" MODULES "broken_" how ".so\"}")
#define LAUNCHER    "{\"exec\": {\"launcher\": \"${abs_top_builddir}/mcp-launch\"},\n"
#define MANNERS                                                                                                        \
	LAUNCHER "\"modules\": {\"m\": {\"file\": \"" MODULES "manners.so\", \"settings\": {\"a\": [1, \"b\"]}}}}"
#define BAD(where, why) "DIR/mcp.json:3: /modules/m" where ": " why "\n"

/* Of a test that is for both: the handler runs in a process of its own. */
#define IS_JOB ((void *)1)

static struct toolfile file;

static const struct toolfile_complaint complaints[] = {
    {SITE("1"), BAD("", "a module is described by an object, as in {\"file\": \"hello.so\"}")},
    {SITE("null"), BAD("", "must be an object")},
    {SITE("{}"), BAD("/file", "file must be the name of a shared object")},
    {SITE("{\"file\": \"no.so\"}"), BAD("/file", "DIR/no.so: No such file or directory")},
    {SITE("{\"file\": \".\"}"), BAD("/file", "DIR/. is no shared object")},
    {SITE("{\"file\": \"text.so\"}"), BAD("/file", "invalid ELF header")},
    {SITE("{\"file\": \"empty.so\"}"), BAD("/file", "file too short")},
    {SITE("{\"file\": \"no.so\", \"setings\": 1, \"timeout_s\": 0}"),
	BAD("/setings", "unknown member \"setings\"; did you mean \"settings\"?")
	    BAD("/timeout_s", "timeout_s must be a whole number, 1 to 86400 s")},
    {BROKEN("symbol"), BAD("/file", "it is no module of mcp-fcgi: it exports no mcp_fcgi_module")},
    {BROKEN("abi"),
	BAD("/file", "it is built for ABI 99 of <mcp-fcgi/module.h>, and this is ABI 1: build it again with "
		     "the header of this version")},
    {BROKEN("undefined"), BAD("/file", "undefined symbol: nobody_has_this")},
    {BROKEN("crash"), BAD("/file", "it crashes or exits while it is loaded")},
    {BROKEN("exit"), BAD("/file", "it crashes or exits while it is loaded")},
    {BROKEN("function"), BAD("/file", "tools/broken has no function")},
    {BROKEN("twice"), BAD("/tools/broken", "there is a tool \"broken\" already")},
    {BROKEN("twice_resource"), BAD("/resources/broken:one", "there is a resource of this URI already")},
    {BROKEN("twice_prompt"), BAD("/prompts/broken", "there is a prompt \"broken\" already")},
    {BROKEN("schema"),
	BAD("/tools/no_json/input", "it is not JSON: end of text at byte 24") BAD("/tools/no_schema/input/a/type",
	    "type must be string, integer, number, boolean, object, array or null, or an "
	    "array of these") BAD("/tools/members/members", "its members are no JSON object")
	    BAD("/tools/member/titel", "unknown member \"titel\"; did you mean \"title\"?")
		BAD("/tools/bad name", "a tool's name is 1 to 128 of A-Z a-z 0-9 _ - .")
		    BAD("/tools/", "a tool's name is 1 to 128 of A-Z a-z 0-9 _ - .")
			BAD("/tools/\xff", "a tool's name is 1 to 128 of A-Z a-z 0-9 _ - .")},
    {BROKEN("endless"), BAD("/file", "it has more than 10000 tools; does their list end with an empty one?")},
    {BROKEN("larger"), BAD("/tools/large", "its entry in the list is longer than 1048576 bytes")},
    {BROKEN("largest"), BAD("/file", "a text of tools/large has no end, or more than 16777216 bytes")},
    {BROKEN("pointer"), BAD("/file", "it crashes or exits while it is loaded")},
    {"{\n\"modules\": {\n\"m\": {\"file\": \"" MODULES
     "manners.so\"}}, \"tools\": {\"tell\": {\"builtin\": \"echo\"}}}",
	BAD("/tools/tell", "there is a tool \"tell\" already")},
    {"{\n\"tools\": {\n\"t\": {\"module\": \"m\"}}}",
	"DIR/mcp.json:3: /tools/t/module: what a module offers is there as soon as \"modules\" names it, and is not "
	"defined here\n"},
};

static void test_complaints(void **state)
{
	(void)state;
	toolfile_check_complaints(&file, complaints, COUNT_OF(complaints), NULL);
}

/* A struct whose size is another one: the number depends on the machine. */
static void test_size(void **state)
{
	struct err err = {0};

	(void)state;
	assert_int_equal(toolfile_load(&file, BROKEN("size"), &err), -1);
	assert_non_null(strstr(file.complaints.data, "its struct mcp_tool has 8 bytes and not "));
	assert_non_null(strstr(file.complaints.data, "must begin with MCP_MODULE_HEAD"));
}

static void load(const char *text)
{
	struct err err = {0};

	if (toolfile_load(&file, text, &err))
		fail_msg("%s: %s %s", text, err.msg, file.complaints.data ? file.complaints.data : "");
}

static void test_listing(void **state)
{
	(void)state;
	load(MANNERS);
	assert_string_equal(toolset_find(&file.set, SLICE("tell"))->listing[REV_2026_07],
	    "{\"name\":\"tell\",\"title\":\"Tell\",\"description\":\"Tells what is at a pointer\",\"inputSchema\":{"
	    "\"type\":\"object\",\"properties\":{\"pointer\":{}},\"required\":[\"pointer\"],"
	    "\"additionalProperties\":false}}");
	assert_int_equal(file.resources.templates_count, 1);
	assert_string_equal(file.resources.templates[0].listing[REV_2026_07],
	    "{\"uriTemplate\":\"manners:{kind}\",\"name\":\"kinds\",\"description\":\"Of some kind\",\"mimeType\":"
	    "\"text/plain\"}");
	assert_int_equal(file.prompts.count, 1);
}

/* A text may be long, and no UTF-8. */
static void test_large(void **state)
{
	const char *listing;

	(void)state;
	load(BROKEN("large"));
	listing = toolset_find(&file.set, SLICE("large"))->listing[REV_2026_07];
	assert_true(strlen(listing) > 1 << 18);
	assert_non_null(strstr(listing, "\"description\":\"\xef\xbf\xbd"
					"ddd"));
}

#define TEXT_BLOCK(text)   "{\"type\":\"text\",\"text\":\"" text "\"}"
#define GOOD(text)         "{\"content\":[" TEXT_BLOCK(text) "]}"
#define FAILED(tool, text) "{\"content\":[" TEXT_BLOCK(tool ": " text) "],\"isError\":true}"

/* The caller frees the JSON text of its result; NULL without one. */
static char *run(struct fake_call *call, const char *name, const char *args_text, struct err *err)
{
	const struct tool *tool = toolset_find(&file.set, slice_str(name));
	json_object *args = jx_parse(slice_str(args_text), 16, err), *result = NULL;
	struct buf text;
	int ret;

	assert_non_null(tool);
	assert_non_null(args);
	ret = tool->provider->call(&call->call, tool, args, &result, err);
	assert_true(ret == 0 || !result);
	buf_init(&text, 1 << 24);
	if (result)
		jx_write(&text, result);
	json_object_put(result);
	json_object_put(args);
	return text.data;
}

#define NOTHING "get 0, print -1, progress -2, wait -2, fd -1, why this is not the call of this thread"

static void call_init_for(struct fake_call *call, void *state)
{
	fake_call_init(call, &file.cfg, ERA_MODERN);
	call->call.is_job = state == IS_JOB;
}

static const struct {
	const char *tool, *args, *want, *notified;
} runs[] = {
    {"tell", "{\"pointer\":\"/arguments/pointer\"}", GOOD("started tell 18 /arguments/pointer"), NULL},
    {"tell", "{\"pointer\":\"/settings/a\"}", GOOD("started tell 7 [1,\\\"b\\\"]"), NULL},
    {"tell", "{\"pointer\":\"/settings/a/1\"}", GOOD("started tell 1 b"), NULL},
    {"tell", "{\"pointer\":\"/settingsa\"}", GOOD("started tell 0 nothing"), NULL},
    {"tell", "{\"pointer\":\"no pointer\"}", GOOD("started tell 0 nothing"), NULL},
    {"tell", "{\"pointer\":\"/client\"}",
	GOOD("started tell 49 {\\\"principal\\\":\\\"\\\",\\\"revision\\\":\\\"2026-07-28\\\",\\\"can\\\":\\\"\\\"}"),
	NULL},
    {"tell", "{\"pointer\":\"\\u0000/\"}",
	GOOD("started tell 121 {\\\"arguments\\\":{\\\"pointer\\\":\\\"\\\\u0000/\\\"},"
	     "\\\"answers\\\":null,\\\"kept\\\":null,\\\"client\\\":{\\\"principal\\\":\\\"\\\",\\\"revision\\\":"
	     "\\\"2026-07-28\\\",\\\"can\\\":\\\"\\\"}}"),
	NULL},
    {"add", "{\"a\":1,\"b\":2.5}", GOOD("1 3.5"), NULL},
    {"add", "{\"a\":1.5,\"b\":\"2\"}", GOOD("-1 0.5"), NULL},
    {"add", "{\"a\":9007199254740993}", GOOD("9007199254740993 9.0072e+15"), NULL},
    {"picture", "{}",
	"{\"content\":[" TEXT_BLOCK("before") ",{\"type\":\"image\",\"data\":\"iVBORwA=\",\"mimeType\":\"image/"
					      "png\"}," TEXT_BLOCK("behind") "]}",
	NULL},
    {"given", "{\"how\":\"\",\"json\":\"\"}", "{\"content\":[]}", NULL},
    {"given", "{\"how\":\"structured\",\"json\":\"{\\\"n\\\": 1.0}\"}",
	"{\"structuredContent\":{\"n\":1.0},\"content\":[" TEXT_BLOCK("{\\\"n\\\":1.0}") "]}", NULL},
    {"given", "{\"how\":\"result\",\"json\":\"{\\\"content\\\": [], \\\"isError\\\": true}\"}",
	"{\"content\":[],\"isError\":true}", NULL},
    {"given", "{\"how\":\"result\",\"json\":\"{\\\"content\\\": [{}]}\"}",
	FAILED("given", "its result is not one: content[0].type must be text, image, audio, resource_link or resource"),
	NULL},
    {"given", "{\"how\":\"result\",\"json\":\"{\\\"content\\\": [\"}",
	FAILED("given", "its result is not the JSON that it should be: end of text at byte 13"), NULL},
    {"given", "{\"how\":\"structured\",\"json\":\"{} {}\"}",
	FAILED(
	    "given", "its structured content is not the JSON that it should be: bytes after the JSON text at byte 3"),
	NULL},
    {"given", "{\"how\":\"notify\",\"json\":\"{\\\"level\\\": \\\"loud\\\", \\\"data\\\": 1}\"}",
	FAILED("given", "level must be one of debug, info, notice, warning, error, critical, alert, emergency"), NULL},
    {"given_schema", "{\"how\":\"structured\",\"json\":\"{\\\"m\\\": 1}\"}",
	FAILED("given_schema", "its structured content does not fit its schema: /n: is required"), NULL},
    {"given_schema", "{\"how\":\"result\",\"json\":\"{\\\"content\\\": []}\"}",
	FAILED("given_schema", "its structured content does not fit its schema: there is none"), NULL},
    {"bad_utf8", "{}", GOOD("a\xef\xbf\xbd\\u0000z"),
	"notifications/progress {\"progress\":1,\"total\":2,\"message\":\"\xef\xbf\xbd\"}\n"
	"notifications/message {\"level\":\"info\",\"data\":\"\xef\xbf\xbd(\\u0000x\"}\n"},
    {"huge", "{}", FAILED("huge", "its answer is larger than module_output_max_bytes"), NULL},
    {"null", "{\"how\":\"get\"}", GOOD("0 "), NULL},
    {"null", "{\"how\":\"data\"}", FAILED("null", "its data has no mime_type"), NULL},
    {"null", "{\"how\":\"log\"}",
	GOOD("-1 level must be one of debug, info, notice, warning, error, critical, alert, emergency"), NULL},
    {"null", "{\"how\":\"notify\"}", GOOD("-1 nothing that a tool may say"), NULL},
    {"null", "{\"how\":\"ask\"}", GOOD("-1 the key of a question is 1 to 64 of A-Z a-z 0-9 _ . -"), NULL},
    {"null", "{\"how\":\"key\"}",
	GOOD("-1 a client can be asked elicitation/create, sampling/createMessage and roots/list"), NULL},
    {"elsewhere", "{\"how\":\"at once\"}", GOOD(NOTHING), NULL},
    {"fail", "{}", FAILED("fail", "it failed"), NULL},
    {"fail", "{\"status\":77}", FAILED("fail", "it failed"), NULL},
    {"fail", "{\"status\":-2}", FAILED("fail", "it failed"), NULL},
    {"ask", "{}", GOOD("without: no client can be asked here: elicitation"), NULL},
};

static void test_runs(void **state)
{
	int failures = 0;

	load(MANNERS);
	for (size_t i = 0; i < COUNT_OF(runs); i++) {
		struct fake_call call;
		struct err err = {0};
		const char *notified;
		char *got;

		call_init_for(&call, *state);
		got = run(&call, runs[i].tool, runs[i].args, &err);
		notified = call.notified.data ? call.notified.data : "";
		if (!got || strcmp(got, runs[i].want) != 0 ||
		    strcmp(notified, runs[i].notified ? runs[i].notified : "") != 0) {
			print_message("# %s %s\n# got  %s %s\n# want %s\n# said %s\n", runs[i].tool, runs[i].args,
			    got ? got : "nothing", err.msg, runs[i].want, notified);
			failures++;
		}
		mem_free(got);
		fake_call_release(&call);
	}
	assert_int_equal(failures, 0);
}

/* A thread that has a call which is over, while another one runs. */
static void test_after_end(void **state)
{
	static const char *const steps[][2] = {
	    {"{\"how\":\"begin\"}", GOOD("begun")}, {"{\"how\":\"end\"}", GOOD(NOTHING)}};

	(void)state;
	load(MANNERS);
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		struct fake_call call;
		struct err err = {0};
		char *got;

		fake_call_init(&call, &file.cfg, ERA_MODERN);
		got = run(&call, "elsewhere", steps[i][0], &err);
		assert_string_equal(got, steps[i][1]);
		assert_int_equal(call.notified.len, 0);
		mem_free(got);
		fake_call_release(&call);
	}
}

/* A question that its client can't be asked, and without which the handler does nothing: the protocol's error. */
static void test_lacking(void **state)
{
	struct fake_call call;
	struct err err = {0};

	load(MANNERS);
	call_init_for(&call, *state);
	assert_null(run(&call, "ask", "{\"needed\":1}", &err));
	assert_int_equal(err.code, ERR_CAPABILITY);
	assert_non_null(call.priv.error_data);
	fake_call_release(&call);
}

static void test_asking(void **state)
{
	struct fake_call call;
	struct err err = {0};
	char *got;

	load(MANNERS);
	call_init_for(&call, *state);
	call.priv.may_ask = true;
	call.call.capabilities = jx_parse(SLICE("{\"elicitation\":{}}"), 8, &err);
	got = run(&call, "ask", "{\"needed\":1}", &err);
	assert_null(got);
	assert_true(call_is_asking(&call.call));
	assert_string_equal(json_object_to_json_string_ext(call.priv.keep, JSON_C_TO_STRING_PLAIN), "{\"asked\":1}");
	call_drop_asks(&call.call);

	call.call.answers =
	    jx_parse(SLICE("{\"colour\":{\"action\":\"accept\",\"content\":{\"colour\":\"blue\"}}}"), 8, &err);
	call.call.kept = jx_parse(SLICE("{\"asked\":1}"), 8, &err);
	got = run(&call, "ask", "{\"needed\":1}", &err);
	assert_string_equal(got, GOOD("blue 1"));
	mem_free(got);
	json_object_put(call.call.answers);
	json_object_put(call.call.kept);
	json_object_put(call.call.capabilities);
	fake_call_release(&call);
}

static void test_timeout(void **state)
{
	static const char *const args[] = {"{\"how\":\"poll\"}", "{\"how\":\"wait\"}", "{\"how\":\"look\"}"};
	struct fake_call call;
	struct err err = {0};
	char *got;

	load(MANNERS);
	file.cfg.module_grace_ms = 20000;
	for (size_t i = 0; i < COUNT_OF(args); i++) {
		call_init_for(&call, *state);
		got = run(&call, "doze", args[i], &err);
		assert_string_equal(got, FAILED("doze", "it took longer than its timeout_s"));
		mem_free(got);
		fake_call_release(&call);
	}
	call_init_for(&call, *state);
	got = run(&call, "doze", "{\"how\":\"late\"}", &err);
	assert_string_equal(got, GOOD("late, but here"));
	mem_free(got);
	fake_call_release(&call);
}

static void test_cancelled(void **state)
{
	static const char *const args[] = {
	    "{\"how\":\"poll\"}", "{\"how\":\"wait\"}", "{\"how\":\"look\"}", "{\"how\":\"late\"}"};
	struct err err = {0};

	load(MANNERS);
	file.cfg.module_grace_ms = 20000;
	for (size_t i = 0; i < COUNT_OF(args); i++) {
		struct fake_call call;

		call_init_for(&call, *state);
		call.cancel_on_notify = true;
		assert_null(run(&call, "doze_long", args[i], &err));
		assert_int_equal(err.code, ERR_CANCELLED);
		fake_call_release(&call);
	}
}

/* What hangs is given up, and counts until it returns. */
static void test_hang(void **state)
{
	struct fake_call call;
	struct err err = {0};
	char args[256], *got;
	uint64_t end_ms = now_ms() + 20000;
	bool is_full;

	(void)state;
	load(MANNERS);
	file.cfg.module_grace_ms = 10;
	file.cfg.module_hung_max = 2;
	snprintf(args, sizeof(args), "{\"until\":\"%s/enough\"}", file.dir);
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	for (int i = 0; i < 2; i++) {
		got = run(&call, "hang", args, &err);
		assert_string_equal(got, FAILED("hang", "it took longer than its timeout_s"));
		mem_free(got);
	}
	got = run(&call, "version", "{}", &err);
	assert_string_equal(
	    got, FAILED("version", "2 calls of modules hang in this process (module_hung_max); no more are begun"));
	mem_free(got);
	assert_false(module_stop_all());

	toolfile_write(&file, "enough", "", 0600);
	do {
		poll(NULL, 0, 10);
		got = run(&call, "version", "{}", &err);
		is_full = strcmp(got, GOOD("version 1")) != 0;
		mem_free(got);
	} while (is_full && now_ms() < end_ms);
	assert_false(is_full);
	fake_call_release(&call);
	while (!module_stop_all() && now_ms() < end_ms) /* the other one */
		poll(NULL, 0, 10);
	assert_true(module_stop_all());
}

/* What ends the process of a handler, or makes nothing of it, is told, and the call is over. */
static void test_dies(void **state)
{
	static const struct {
		const char *tool, *want;
	} ends[] = {
	    {"crash", FAILED("crash", "its process was ended by signal 11 (Segmentation fault)")},
	    {"leave", FAILED("leave", "its process exited with status 3")},
	    {"noise", FAILED("noise", "its process said what makes no sense: not a part")},
	};

	(void)state;
	load(MANNERS);
	for (size_t i = 0; i < COUNT_OF(ends); i++) {
		struct fake_call call;
		struct err err = {0};
		char *got;

		call_init_for(&call, IS_JOB);
		got = run(&call, ends[i].tool, "{}", &err);
		assert_string_equal(got, ends[i].want);
		mem_free(got);
		fake_call_release(&call);
	}
}

/* Nothing in it can be asked to stop: it is gone soon after its time, and counts nowhere. */
static void test_loops(void **state)
{
	struct fake_call call;
	struct err err = {0};
	uint64_t end_ms;
	const char *said;
	pid_t pid;
	char *got;

	(void)state;
	load(MANNERS);
	file.cfg.module_grace_ms = 10;
	file.cfg.module_hung_max = 1;
	call_init_for(&call, IS_JOB);
	got = run(&call, "loop", "{}", &err);
	assert_string_equal(got, FAILED("loop", "it took longer than its timeout_s"));
	mem_free(got);
	said = strstr(call.notified.data, "\"data\":\"");
	assert_non_null(said);
	pid = (pid_t)strtol(said + strlen("\"data\":\""), NULL, 10);
	assert_true(pid > 1);
	for (end_ms = now_ms() + 20000; kill(pid, 0) == 0 && now_ms() < end_ms;)
		poll(NULL, 0, 10);
	assert_int_equal(kill(pid, 0), -1);
	got = run(&call, "version", "{}", &err);
	assert_string_equal(got, GOOD("version 1"));
	mem_free(got);
	fake_call_release(&call);
}

static void test_start(void **state)
{
	struct fake_call call;
	struct err err = {0};
	char path[128], *got;

	(void)state;
	toolfile_write(&file, "obstacle", "", 0600);
	load(SITE("{\"file\": \"" MODULES "manners.so\", \"settings\": {\"fails_while_there_is\": \"obstacle\"}}"));
	assert_int_equal(chdir(file.dir), 0);
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	got = run(&call, "version", "{}", &err);
	assert_string_equal(got, FAILED("version", "obstacle is in the way"));
	mem_free(got);
	snprintf(path, sizeof(path), "%s/obstacle", file.dir);
	assert_int_equal(unlink(path), 0);
	got = run(&call, "version", "{}", &err);
	assert_string_equal(got, GOOD("version 1"));
	mem_free(got);
	fake_call_release(&call);
	assert_int_equal(chdir("/"), 0);
}

/* Resources and prompts: the JSON text of what is there, or the error's words. The caller frees it. */

static char *read_uri(struct fake_call *call, const char *uri, struct err *err)
{
	json_object *contents = json_object_new_array(), *vars;
	const struct resource *resource = resourceset_find(&file.resources, slice_str(uri), &vars, err);
	struct buf text;

	buf_init(&text, 65536);
	assert_non_null(resource);
	if (resource->provider->read(&call->call, resource, slice_str(uri), vars, contents, err))
		buf_addf(&text, "%s: %s", err_name(err->code), err->msg);
	else
		jx_write(&text, contents);
	json_object_put(vars);
	json_object_put(contents);
	return text.data;
}

static char *get_prompt(struct fake_call *call, const char *kind, struct err *err)
{
	const struct prompt *prompt = promptset_find(&file.prompts, SLICE("say"));
	json_object *args = json_object_new_object(), *result = NULL;
	struct buf text;

	buf_init(&text, 65536);
	assert_int_equal(jx_add_str(args, "kind", kind, err), 0);
	if (prompt->provider->get(&call->call, prompt, args, &result, err))
		buf_addf(&text, "%s: %s", err_name(err->code), err->msg);
	else
		jx_write(&text, result);
	json_object_put(result);
	json_object_put(args);
	return text.data;
}

static const struct {
	const char *uri, *kind, *want; /* uri NULL: the prompt */
} offers[] = {
    {"manners:text", NULL, "[{\"text\":\"text of manners:text\",\"uri\":\"manners:text\"}]"},
    {"manners:blob", NULL, "[{\"blob\":\"iVBORwA=\",\"mimeType\":\"image/png\",\"uri\":\"manners:blob\"}]"},
    {"manners:bad", NULL, "INTERNAL: contents of its result must be an array"},
    {"manners:params", NULL, "PARAMS: not like this"},
    {"manners:other", NULL, "NOT_FOUND: there is nothing at this URI"},
    {NULL, "hello", "{\"messages\":[{\"role\":\"user\",\"content\":{\"type\":\"text\",\"text\":\"Say hello\"}}]}"},
    {NULL, "bad", "INTERNAL: messages must be an array"},
    {NULL, "params", "PARAMS: not like this"},
};

static void test_offers(void **state)
{
	struct fake_call call;
	struct err err = {0};

	(void)state;
	load(MANNERS);
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	for (size_t i = 0; i < COUNT_OF(offers); i++) {
		char *got =
		    offers[i].uri ? read_uri(&call, offers[i].uri, &err) : get_prompt(&call, offers[i].kind, &err);

		assert_string_equal(got, offers[i].want);
		mem_free(got);
	}
	fake_call_release(&call);
}

static void *run_often(void *arg)
{
	struct fake_call call;
	struct err err = {0};

	(void)arg;
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	for (int i = 0; i < 50; i++) {
		char *got = run(&call, "picture", "{}", &err);

		assert_non_null(strstr(got, "iVBORwA="));
		mem_free(got);
	}
	fake_call_release(&call);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[8];

	(void)state;
	load(MANNERS);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_often, NULL), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		pthread_join(threads[i], NULL);
}

/* Writes over m.so, as cp does. */
/* when: of two that are written within one tick of the kernel's clock it would be the same. */
static void copy_module(const char *name, time_t when)
{
	char path[600], bytes[65536];
	size_t len;
	FILE *from, *to;

	snprintf(path, sizeof(path), "%s/tests/modules/%s", getenv("abs_top_builddir"), name);
	from = fopen(path, "re");
	snprintf(path, sizeof(path), "%s/m.so", file.dir);
	to = fopen(path, "we");
	assert_true(from && to);
	while ((len = fread(bytes, 1, sizeof(bytes), from)) > 0)
		assert_int_equal(fwrite(bytes, 1, len, to), len);
	fclose(from);
	assert_int_equal(fclose(to), 0);
	assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){{.tv_sec = when}, {.tv_sec = when}}, 0), 0);
}

static void expect_version(const char *want)
{
	struct fake_call call;
	struct err err = {0};
	char *got;

	fake_call_init(&call, &file.cfg, ERA_MODERN);
	got = run(&call, "version", "{}", &err);
	assert_string_equal(got, want);
	mem_free(got);
	fake_call_release(&call);
}

/* The caller puts it. */
static struct module *module_in_use(void)
{
	const struct module_offer *offer = toolset_find(&file.set, SLICE("version"))->priv;

	return module_get(offer->module);
}

/* A file that has changed is another module, while the one of before works on. One that has not is the same. */
static void test_changed(void **state)
{
	struct module *first, *second, *again;

	(void)state;
	copy_module("manners.so", 1);
	load(SITE("{\"file\": \"m.so\"}"));
	expect_version(GOOD("version 1"));
	copy_module("manners_2.so", 2);
	expect_version(GOOD("version 1"));
	first = module_in_use();
	load(SITE("{\"file\": \"m.so\"}"));
	expect_version(GOOD("version 2"));
	second = module_in_use();
	load(SITE("{\"file\": \"m.so\"}"));
	again = module_in_use();
	assert_ptr_not_equal(first, second);
	assert_ptr_equal(again, second);
	module_put(first);
	module_put(second);
	module_put(again);
}

/* No crash, no leak, and never a wrong answer. */
static void test_no_memory(void **state)
{
	struct fake_call call;
	struct err err = {0};
	bool reached = true;
	long live;

	load(MANNERS);
	call_init_for(&call, *state);
	mem_free(run(&call, "picture", "{}", &err)); /* a thread is there from here on */
	live = mem_fault_live();
	for (long nth = 0; reached; nth++) {
		char *got;

		mem_fault_at(nth, 1);
		got = run(&call, "picture", "{}", &err);
		reached = mem_fault_end();
		if (got)
			assert_non_null(strstr(got, "iVBORwA="));
		else
			assert_true(reached);
		mem_free(got);
		assert_true(mem_fault_live() <= live + 1); /* one more thread, at most */
		live = mem_fault_live();
	}
	fake_call_release(&call);
}

static void test_load_no_memory(void **state)
{
	struct err err = {0};
	bool reached = true;

	(void)state;
	for (long nth = 0; reached; nth++) {
		mem_fault_at(nth, 1);
		toolfile_load(&file, MANNERS, &err);
		reached = mem_fault_end();
	}
}

static int set_up(void **state)
{
	(void)state;
	toolfile_init(&file);
	toolfile_write(&file, "empty.so", "", 0600);
	toolfile_write(
	    &file, "text.so", "/* GNU ld script */ INPUT(libm.so.6), or some other text of some length", 0600);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	toolfile_release(&file);
	return 0;
}

#define JOB_TEST(f)                                                                                                    \
	{                                                                                                              \
#f " in a process of its own", f, NULL, NULL, IS_JOB                                                   \
	}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_complaints),
	    cmocka_unit_test(test_size),
	    cmocka_unit_test(test_listing),
	    cmocka_unit_test(test_large),
	    cmocka_unit_test(test_runs),
	    JOB_TEST(test_runs),
	    cmocka_unit_test(test_after_end),
	    cmocka_unit_test(test_lacking),
	    JOB_TEST(test_lacking),
	    cmocka_unit_test(test_asking),
	    JOB_TEST(test_asking),
	    cmocka_unit_test(test_timeout),
	    JOB_TEST(test_timeout),
	    cmocka_unit_test(test_cancelled),
	    JOB_TEST(test_cancelled),
	    cmocka_unit_test(test_hang),
	    cmocka_unit_test(test_dies),
	    cmocka_unit_test(test_loops),
	    cmocka_unit_test(test_start),
	    cmocka_unit_test(test_offers),
	    cmocka_unit_test(test_threads),
	    cmocka_unit_test(test_changed),
	    cmocka_unit_test(test_no_memory),
	    JOB_TEST(test_no_memory),
	    cmocka_unit_test(test_load_no_memory),
	};

	if (argc == 2 && strcmp(argv[1], "--" MODULE_APART_OPTION) == 0)
		return module_serve_apart();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
