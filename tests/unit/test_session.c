/* fcgi/session.c: what a session remembers survives its way through the broker */
#include "config.h"

#include "common/jx.h"
#include "fcgi/session.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static void test_round_trip(void **state)
{
	static const struct {
		const char *name;
		bool initialized;
		enum revision revision;
		int level;
		const char *capabilities;
	} cases[] = {
	    {"before initialize", false, REV_2024_11, MCP_LEVEL_INFO, NULL},
	    {"oldest", true, REV_2024_11, MCP_LEVEL_DEBUG, "{}"},
	    {"newest", true, REV_2025_11, MCP_LEVEL_EMERGENCY, "{\"roots\":{\"listChanged\":true},\"sampling\":{}}"},
	    {"numbers and odd names", true, REV_2025_06, MCP_LEVEL_INFO,
		"{\"experimental\":{\"a\\\"b\":[1.50,12345678901234567890,null]}}"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct session in = {
		    .initialized = cases[i].initialized, .revision = cases[i].revision, .log_level = cases[i].level};
		struct session out;
		struct err err = {0};
		struct buf first, second;

		buf_init(&first, 4096);
		buf_init(&second, 4096);
		if (cases[i].capabilities)
			in.capabilities = jx_parse(slice_str(cases[i].capabilities), 16, &err);
		session_put(&in, &first);
		if (session_read(buf_slice(&first), &out, &err))
			fail_msg("%s: %s", cases[i].name, err.msg);
		if (out.initialized != in.initialized || out.revision != in.revision || out.log_level != in.log_level)
			fail_msg("%s: got %d, revision %d, level %d", cases[i].name, out.initialized, out.revision,
			    out.log_level);
		session_put(&out, &second);
		if (!slice_eq(buf_slice(&first), buf_slice(&second)))
			fail_msg("%s: %s became %s", cases[i].name, first.data, second.data);
		session_release(&in);
		session_release(&out);
		session_release(&out);
		buf_release(&first);
		buf_release(&second);
	}
}

static void test_broken(void **state)
{
	static const struct {
		const char *name;
		struct slice blob;
		bool ok, initialized;
	} cases[] = {
	    {"empty", TEXT(""), false, false},
	    {"not JSON", TEXT("{\"revision\":"), false, false},
	    {"scalar", TEXT("7"), false, false},
	    {"array", TEXT("[]"), false, false},
	    {"unknown revision", TEXT("{\"revision\":\"2099-01-01\"}"), false, false},
	    {"level out of range", TEXT("{\"revision\":\"2025-11-25\",\"logLevel\":99,\"capabilities\":{}}"), false,
		false},
	    {"level missing", TEXT("{\"revision\":\"2025-11-25\",\"capabilities\":{}}"), false, false},
	    {"before initialize", TEXT("{}"), true, false},
	    {"sound", TEXT("{\"revision\":\"2025-11-25\",\"logLevel\":1,\"capabilities\":{}}"), true, true},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct session out;
		struct err err = {0};
		int ret = session_read(cases[i].blob, &out, &err);

		if ((ret == 0) != cases[i].ok || out.initialized != cases[i].initialized)
			fail_msg("%s: got %d, initialized %d (%s)", cases[i].name, ret, out.initialized, err.msg);
		if (ret && (err.code == ERR_NONE || strncmp(err.msg, "session blob", 12) != 0))
			fail_msg("%s: %s", cases[i].name, err.msg);
		session_release(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_broken),
	};

	return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
