/* Each allocation of ours fails in turn while a definition of http is read and called: no crash, no leak, no request
 * with a part missing. Lost: 0. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/jx.h"
#include "tests/lib/fake_call.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/standin.h"
#include "tests/lib/toolfile.h"
#include "common/banned.h"

static struct toolfile file;
static pid_t standin;

#define ARGS "\"input\":{\"a\":{},\"b\":{\"optional\":true}}"
#define SETS                                                                                                           \
	"\"run\":{\"dir\":\".\"},\"http\":{\"allow_addresses\":[\"127.0.0.1\"],\"breaker_failures\":0,\"retries\":0}"
#define PLAIN                                                                                                          \
	"{\"http\":{\"url\":\"${API}/echo/{a}\",\"query\":{\"b\":\"{b}\"},\"headers\":{\"X-A\":\"{file:token}{a}\"},"  \
	"\"json\":{\"b\":\"{b}\",\"c\":[\"x{a}\"]}},\"result\":\"/body\",\"template\":\"{/"                            \
	"}{a}\",\"timeout_s\":5," ARGS "}"
#define KEPT   "{\"http\":\"${API}/say/scalar\",\"cache\":{\"ttl_s\":100,\"stale_if_error_s\":5},\"output_schema\":{}}"
#define FAILED "{\"http\":\"/status/401/secret\"}"
#define API                                                                                                            \
	"{\"url\":\"${API}\",\"query\":{\"a\":1},\"headers\":{\"Authorization\":\"{file:token}\"},"                      \
	"\"cache\":{\"ttl_s\":9},\"allow_addresses\":[\"127.0.0.1\"]}"

static void test_reading(void **state)
{
	bool reached = true;
	long live;

	(void)state;
	sources_release(&file.cfg.sources); /* a configuration that is read once more collects its files twice */
	live = mem_fault_live();
	for (long nth = 0; reached; nth++) {
		struct err err = {0};
		struct toolset set;
		int ret;

		buf_clear(&file.complaints);
		mem_fault_at(nth, 1);
		ret = toolset_init(&set, &file.cfg, &err);
		reached = mem_fault_end();
		if (ret == 0)
			assert_string_equal(set.digest, file.set.digest);
		assert_true(ret == 0 || (reached && err.code != ERR_NONE));
		toolset_release(&set);
		sources_release(&file.cfg.sources);
		buf_release(&file.complaints);
		assert_int_equal(mem_fault_live(), live);
	}
}

static void run(const char *name, const char *args_text, const char *want)
{
	const struct tool *tool = toolset_find(&file.set, slice_str(name));
	struct fake_call call;
	bool reached = true;

	fake_call_init(&call, &file.cfg, ERA_MODERN);
	for (long nth = 0; reached; nth++) {
		json_object *args = jx_parse(slice_str(args_text), 8, NULL), *result = NULL;
		struct err err = {0};
		struct buf text;
		int ret;

		mem_fault_at(nth, 1);
		ret = tool->provider->call(&call.call, tool, args, &result, &err);
		reached = mem_fault_end();
		assert_true(ret == 0 || (reached && !result && err.code != ERR_NONE));
		buf_init(&text, 10000);
		jx_write(&text, result);
		if (ret == 0 && !reached && !strstr(text.data, want))
			fail_msg("%s: %s", name, text.data);
		if (ret == 0 && reached && !strstr(text.data, want) && !strstr(text.data, "\"isError\":true"))
			fail_msg("%s, allocation %ld: %s", name, nth, text.data);
		buf_release(&text);
		json_object_put(result);
		json_object_put(args);
	}
	fake_call_release(&call);
}

static void test_calling(void **state)
{
	(void)state;
	run("plain", "{\"a\":\"x\",\"b\":2}", "\"text\":\"x\"");
	run("plain", "{\"a\":\"x\"}", "\"text\":\"x\"");
	run("kept", "{}", "13 degrees");
	run("failed", "{}", "[secret]");
}

static int set_up(void **state)
{
	struct err err;

	(void)state;
	toolfile_init(&file);
	toolfile_write(&file, "token", "s3cret\n", 0600);
	standin = standin_start(NULL);
	if (toolfile_load(&file,
		"{" SETS ",\"apis\":{\"api\":" API "},\"tools\":{\"plain\":" PLAIN ",\"kept\":" KEPT
		",\"failed\":" FAILED "}}",
		&err))
		fail_msg("%s: %s", err.msg, file.complaints.data);
	file.cfg.complain_arg = &file;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	standin_stop(standin);
	toolfile_release(&file);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reading),
	    cmocka_unit_test(test_calling),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
