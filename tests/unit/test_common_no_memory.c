/* Each allocation of a module of common/ fails in turn: the failure is reported, and nothing leaks. json-c's own allocations
 * are not ours to fail. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cfg.h"
#include "common/jx.h"
#include "common/link.h"
#include "common/opts.h"
#include "common/sse.h"
#include "common/utf8.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static char main_file[] = "/tmp/mcp-test-no-memory.XXXXXX";

static int fill_buf(struct err *err)
{
	struct buf out;
	int ret;

	buf_init(&out, 1 << 20);
	for (int i = 0; i < 100; i++) {
		sse_add_event(&out, SLICE("1.2.3"), "message", SLICE("one\ntwo\nthree"));
		link_put_bytes(&out, SLICE("bytes"));
		utf8_add_repaired(&out, SLICE("a\xff"));
		jx_write_str(&out, SLICE("\"\n"));
		buf_addf(&out, "%d", i);
	}
	ret = buf_check(&out, err);
	buf_release(&out);
	return ret;
}

static int parse_wide(struct err *err)
{
	json_object *val = jx_parse(SLICE("[18446744073709551616]"), 4, err);

	json_object_put(val);
	return val ? 0 : -1;
}

static void on_complain(void *arg, const char *line)
{
	(void)line;
	*(bool *)arg = true;
}

static int load_cfg(struct err *err)
{
	static const char *const sets[] = {"cors_origins=a,b", "broker_program=x", "run_dir=/x"};
	struct cfg cfg;
	bool complained = false;
	int ret = cfg_init(&cfg, err);

	if (ret)
		return ret;
	cfg.complain = on_complain;
	cfg.complain_arg = &complained;
	ret = cfg_load(&cfg, main_file, sets, COUNT_OF(sets), err);
	if (ret == 0 && complained)
		fail_msg("a complaint, and success");
	cfg_release(&cfg);
	return ret;
}

static int read_opts(struct err *err)
{
	static const struct opts_row rows[] = {{NULL, NULL, NULL, NULL}};
	char *argv[] = {(char[]){"p"}, (char[]){"--conf=a"}, NULL};
	struct opts opts;
	int ret = opts_parse(&opts, 2, argv, "p", "Tests.", rows, NULL);

	if (ret)
		return err_set(err, ERR_NOMEM, "status %d", opts.status);
	opts_release(&opts);
	return 0;
}

static void test_each(void **state)
{
	static const struct { const char *name; int (*run)(struct err *err); } cases[] = {
	    {"buf", fill_buf}, {"jx", parse_wide}, {"cfg", load_cfg}, {"opts", read_opts},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		bool failed = true;

		for (long nth = 0; failed; nth++) {
			struct err err = {0};
			long before = mem_fault_live();
			int ret;

			mem_fault_at(nth, 1);
			ret = cases[i].run(&err);
			failed = mem_fault_end();
			if (ret != (failed ? -1 : 0) || (failed && err.code == ERR_NONE))
				fail_msg("%s, allocation %ld: got %d %s", cases[i].name, nth, ret, err.msg);
			if (mem_fault_live() != before)
				fail_msg("%s, allocation %ld: %ld leaked", cases[i].name, nth, mem_fault_live() - before);
			assert_true(nth < 1000);
		}
	}
}

static int make_file(void **state)
{
	static const char text[] = "{\"server\":{\"name\":\"$${x} ${HOME}\"},\"cors\":{\"origins\":[\"a\",\"b\"]},\"run\":{\"dir\":\"x\"},"
				   "\"tools\":{\"a\":{\"b\":\"${HOME}\"}},\"include\":\"/nonexistent/*\"}";
	int fd = mkstemp(main_file);
	ssize_t n;

	(void)state;
	setenv("HOME", "/root", 1);
	n = write(fd, text, sizeof(text) - 1);
	close(fd);
	return n == (ssize_t)sizeof(text) - 1 ? 0 : -1;
}

static int drop_file(void **state)
{
	(void)state;
	return unlink(main_file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_each)};

	return cmocka_run_group_tests_name("common without memory", tests, make_file, drop_file);
}
