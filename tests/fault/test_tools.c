/* Each allocation fails in turn while tools are read, checked and run: no crash, no leak, and never a wrong answer. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/jx.h"
#include "tests/lib/fake_call.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/toolfile.h"
#include "common/banned.h"

static struct toolfile file;

static void load(void)
{
	const char *top = getenv("abs_top_builddir");
	struct err err = {0};
	struct buf text;
	char dir[128];

	snprintf(dir, sizeof(dir), "%s/d", file.dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	buf_init(&text, 4096);
	buf_addf(&text,
	    "{\"exec\":{\"launcher\":\"%s/mcp-launch\",\"dirs\":[\"d\"],\"resident_calls_max\":1},\"tools\":{\"a\":{\"builtin\":\"echo\"},"
	    "\"b\":{\"exec\":[\"cat\",\"--\",\"{n}\",\"-\"],\"env\":{\"X\":\"y\"},\"output\":\"text\",\"input\":{"
	    "\"n\":{\"type\":\"string\",\"x-mcp-header\":\"N\",\"optional\":true},"
	    "\"d\":{\"anyOf\":[{\"const\":1},{\"enum\":[2,3]}],\"default\":1}}},"
	    "\"r\":{\"exec\":[\"./stays\"],\"resident\":true,\"input\":{\"type\":\"object\"}}}}",
	    top ? top : ".");
	toolfile_write(&file, "stays", "#!/bin/sh\nwhile read -r line; do n=${line#*:}\n"
	    "echo \"{\\\"call\\\":${n%%,*},\\\"result\\\":\\\"x\\\"}\"; done\n", 0755);
	toolfile_write(&file, "d/m", "#!/bin/sh\n", 0755);
	toolfile_write(&file, "d/m.json", "{\"args\":[\"{x}\"],\"input\":{\"x\":{\"uniqueItems\":true,"
	    "\"contains\":{\"pattern\":\"\\\\s|a\"},\"minContains\":0,\"unevaluatedItems\":{\"type\":\"integer\"}},"
	    "\"p\":{\"$id\":\"http://h/p\",\"patternProperties\":{\"^x\":{\"$dynamicRef\":\"p#a\"}},"
	    "\"anyOf\":[true,false],\"unevaluatedProperties\":false,"
	    "\"$defs\":{\"a\":{\"$dynamicAnchor\":\"a\",\"pattern\":\"b\"}}}}}", 0644);
	if (toolfile_load(&file, text.data, &err))
		fail_msg("%s: %s", err.msg, file.complaints.data);
	buf_release(&text);
}

static void test_reading(void **state)
{
	bool reached = true;
	long live;

	(void)state;
	file.cfg.complain_arg = &file;
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
		else
			assert_int_not_equal(err.code, ERR_NONE);
		assert_true(ret == 0 || reached);
		toolset_release(&set);
		sources_release(&file.cfg.sources);
		buf_release(&file.complaints);
		assert_int_equal(mem_fault_live(), live);
	}
}

static void test_checking(void **state)
{
	const struct tool *tool = toolset_find(&file.set, SLICE("m"));
	struct err ignored;
	json_object *bad = jx_parse(SLICE("{\"x\":[1,{\"a\":2},1,\"a\"],\"y\":1,\"p\":{\"x\":\"a\",\"y\":1}}"), 8, &ignored);
	bool reached = true;
	long live = mem_fault_live();

	(void)state;
	for (long nth = 0; reached; nth++) {
		struct err err = {0};
		struct buf why;

		buf_init(&why, 1000);
		mem_fault_at(nth, 1);
		assert_int_equal(schema_check(tool->input, bad, &why, &err), -1);
		reached = mem_fault_end();
		assert_true(err.code == ERR_PARAMS || (reached && err.code == ERR_NOMEM));
		buf_release(&why);
		assert_int_equal(mem_fault_live(), live);
	}
	json_object_put(bad);
}

static void run(struct fake_call *call, const char *name, const char *want)
{
	const struct tool *tool = toolset_find(&file.set, slice_str(name));
	bool reached = true;
	long live = mem_fault_live();

	for (long nth = 0; reached; nth++) {
		json_object *args = jx_parse(SLICE("{\"text\":\"x\"}"), 8, NULL), *result = NULL;
		struct err err = {0};
		struct buf text;
		int ret;

		mem_fault_at(nth, 1);
		ret = tool->provider->call(&call->call, tool, args, &result, &err);
		reached = mem_fault_end();
		assert_true(ret == 0 || (reached && err.code == ERR_NOMEM && !result));
		buf_init(&text, 1000);
		jx_write(&text, result);
		if (ret == 0)
			assert_string_equal(text.data, want);
		buf_release(&text);
		json_object_put(result);
		json_object_put(args);
		assert_int_equal(mem_fault_live(), live);
	}
}

static void test_running(void **state)
{
	struct fake_call call;

	(void)state;
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	run(&call, "a", "{\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}");
	run(&call, "b", "{\"content\":[{\"type\":\"text\",\"text\":\"{\\\"text\\\":\\\"x\\\",\\\"d\\\":1}\\n\"}]}");
	/* Nothing is kept after one call. */
	run(&call, "r", "{\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}");
	fake_call_release(&call);
}

static int set_up(void **state)
{
	(void)state;
	toolfile_init(&file);
	load();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	toolfile_release(&file);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reading),
	    cmocka_unit_test(test_checking),
	    cmocka_unit_test(test_running),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
