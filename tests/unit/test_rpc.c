/* fcgi/rpc.c: what a JSON value is as JSON-RPC (DT-09), ids as text, answers as text */
#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "fcgi/rpc.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static void test_read(void **state)
{
	static const struct {
		const char *name, *text;
		int kind;       /* enum rpc_kind, or -1: refused */
		const char *id; /* also of what is refused, when it could be read */
	} cases[] = {
	    {"request", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\"}", RPC_REQUEST, "1"},
	    {"request with params", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":{}}", RPC_REQUEST, "1"},
	    {"members in any order", "{\"params\":{},\"method\":\"a\",\"id\":\"x\",\"jsonrpc\":\"2.0\"}", RPC_REQUEST,
		"\"x\""},
	    {"unknown members are ignored", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"x\":[1]}", RPC_REQUEST,
		"1"},
	    {"notification", "{\"jsonrpc\":\"2.0\",\"method\":\"a\"}", RPC_NOTIFICATION, ""},
	    {"result", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}", RPC_RESPONSE, "1"},
	    {"error", "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-1,\"message\":\"m\"}}", RPC_RESPONSE, "1"},
	    {"error without id", "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-1,\"message\":\"m\"}}", RPC_RESPONSE, ""},
	    {"error with data", "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-1,\"message\":\"m\",\"data\":[]}}",
		RPC_RESPONSE, "1"},
	    {"DT-09 string", "\"a\"", -1, ""},
	    {"DT-09 number", "7", -1, ""},
	    {"DT-09 true", "true", -1, ""},
	    {"DT-09 empty object", "{}", -1, ""},
	    {"DT-09 no jsonrpc", "{\"id\":1,\"method\":\"a\"}", -1, "1"},
	    {"DT-09 jsonrpc 1.0", "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"a\"}", -1, "1"},
	    {"DT-09 jsonrpc a number", "{\"jsonrpc\":2.0,\"id\":1,\"method\":\"a\"}", -1, "1"},
	    {"DT-09 id null", "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"a\"}", -1, ""},
	    {"DT-09 id a fraction", "{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"a\"}", -1, ""},
	    {"DT-09 id with an exponent", "{\"jsonrpc\":\"2.0\",\"id\":1e3,\"method\":\"a\"}", -1, ""},
	    {"DT-09 id true", "{\"jsonrpc\":\"2.0\",\"id\":true,\"method\":\"a\"}", -1, ""},
	    {"DT-09 id an object", "{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"a\"}", -1, ""},
	    {"DT-09 id an array", "{\"jsonrpc\":\"2.0\",\"id\":[],\"method\":\"a\"}", -1, ""},
	    {"DT-09 method a number", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":1}", -1, "1"},
	    {"DT-09 method null", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":null}", -1, "1"},
	    {"DT-09 params an array", "{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":\"a\",\"params\":[]}", -1, "\"q\""},
	    {"DT-09 params a string", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":\"x\"}", -1, "1"},
	    {"DT-09 params null", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":null}", -1, "1"},
	    {"DT-09 params of a notification an array", "{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"params\":[]}", -1, ""},
	    {"DT-09 result and error",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{},\"error\":{\"code\":1,\"message\":\"\"}}", -1, "1"},
	    {"DT-09 method and result", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"result\":{}}", -1, "1"},
	    {"DT-09 method and error",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"error\":{\"code\":1,\"message\":\"\"}}", -1, "1"},
	    {"DT-09 nothing recognisable", "{\"jsonrpc\":\"2.0\",\"id\":1}", -1, "1"},
	    {"DT-64 result without id", "{\"jsonrpc\":\"2.0\",\"result\":{}}", -1, ""},
	    {"DT-64 result not an object", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}", -1, "1"},
	    {"DT-64 result null", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":null}", -1, "1"},
	    {"DT-64 error not an object", "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":\"x\"}", -1, "1"},
	    {"DT-64 error without code", "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"message\":\"m\"}}", -1, "1"},
	    {"DT-64 error code a string", "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":\"1\",\"message\":\"m\"}}",
		-1, "1"},
	    {"DT-64 error code a fraction", "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1.5,\"message\":\"m\"}}",
		-1, "1"},
	    {"DT-64 error without message", "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1}}", -1, "1"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = {0};
		json_object *msg = jx_parse(slice_str(cases[i].text), 64, &err);
		struct rpc rpc;
		int ret;

		if (!msg)
			fail_msg("%s: %s", cases[i].name, err.msg);
		ret = rpc_read(msg, &rpc, &err);
		if ((ret == 0) != (cases[i].kind >= 0) || (ret == 0 && (int)rpc.kind != cases[i].kind))
			fail_msg("%s: got %d, kind %d (%s)", cases[i].name, ret, rpc.kind, err.msg);
		if (ret && err.code != ERR_INVALID)
			fail_msg("%s: got %s", cases[i].name, err_name(err.code));
		if (strcmp(rpc.id, cases[i].id) != 0)
			fail_msg("%s: id is \"%s\"", cases[i].name, rpc.id);
		json_object_put(msg);
	}
}

static void test_read_meta(void **state)
{
	static const struct {
		const char *name, *params;
		bool has_meta;
	} cases[] = {
	    {"object", "{\"_meta\":{}}", true},
	    {"absent", "{}", false},
	    {"null", "{\"_meta\":null}", false},
	    {"array", "{\"_meta\":[]}", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = {0};
		json_object *msg;
		struct rpc rpc;
		char text[256];

		snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m/n\",\"params\":%s}",
		    cases[i].params);
		msg = jx_parse(slice_str(text), 64, &err);
		assert_int_equal(rpc_read(msg, &rpc, &err), 0);
		assert_true(slice_is(rpc.method, "m/n"));
		assert_non_null(rpc.params);
		if ((rpc.meta != NULL) != cases[i].has_meta)
			fail_msg("%s: meta is %p", cases[i].name, (void *)rpc.meta);
		json_object_put(msg);
	}
}

/* J-05: an answer carries the id as it came, also beyond what a double holds. */
static void test_id_text(void **state)
{
	static const struct {
		const char *name, *json, *want;
	} cases[] = {
	    {"zero", "0", "0"},
	    {"negative", "-1", "-1"},
	    {"53 bits and one", "9007199254740993", "9007199254740993"},
	    {"greatest int64", "9223372036854775807", "9223372036854775807"},
	    {"least int64", "-9223372036854775808", "-9223372036854775808"},
	    {"greatest uint64", "18446744073709551615", "18446744073709551615"},
	    {"empty string", "\"\"", "\"\""},
	    {"string of digits", "\"7\"", "\"7\""},
	    {"quote and backslash", "\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\""},
	    {"slash", "\"a/b\"", "\"a/b\""},
	    {"slash, escaped needlessly", "\"a\\/b\"", "\"a/b\""},
	    {"letter, escaped needlessly", "\"\\u0041\"", "\"A\""},
	    {"UTF-8", "\"\303\274\"", "\"\303\274\""},
	    {"UTF-8, escaped", "\"\\u00fc\"", "\"\303\274\""},
	    {"beyond the plane", "\"\\ud83d\\ude00\"", "\"\360\237\230\200\""},
	    {"line feed", "\"a\\nb\"", "\"a\\nb\""},
	    {"NUL", "\"a\\u0000b\"", "\"a\\u0000b\""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = {0};
		json_object *id = jx_parse(slice_str(cases[i].json), 4, &err);
		char text[RPC_ID_MAX + 1];

		if (!id || rpc_id_text(id, text, &err))
			fail_msg("%s: %s", cases[i].name, err.msg);
		if (strcmp(text, cases[i].want) != 0)
			fail_msg("%s: got %s", cases[i].name, text);
		json_object_put(id);
	}
}

static void test_id_length(void **state)
{
	char json[RPC_ID_MAX + 2], text[RPC_ID_MAX + 1];

	(void)state;
	for (size_t len = RPC_ID_MAX - 1; len <= RPC_ID_MAX + 1; len++) {
		struct err err = {0};
		json_object *id;
		int ret;

		memset(json, 'a', len);
		json[0] = json[len - 1] = '"';
		id = jx_parse((struct slice){json, len}, 4, &err);
		assert_non_null(id);
		ret = rpc_id_text(id, text, &err);
		assert_int_equal(ret, len > RPC_ID_MAX ? -1 : 0);
		assert_int_equal(err.code, len > RPC_ID_MAX ? ERR_INVALID : ERR_NONE);
		json_object_put(id);
	}
}

static void test_put_error(void **state)
{
	static const struct {
		const char *name, *id;
		struct err err;
		const char *data, *want;
	} cases[] = {
	    {"peer's mistake, with what", "7", {ERR_PARAMS, 0, "no \"x\""}, NULL,
		"{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":-32602,\"message\":\"Invalid params: no "
		"\\\"x\\\"\"}}"},
	    {"no id", "", {ERR_PARSE, 0, ""}, NULL,
		"{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32700,\"message\":\"Parse error\"}}"},
	    {"ours stays ours", "\"a\"", {ERR_SYS, 2, "open /secret: No such file"}, NULL,
		"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}"},
	    {"data", "1", {ERR_VERSION, 0, ""}, "{\"a\":[1]}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32022,\"message\":\"Unsupported protocol "
		"version\",\"data\":{\"a\":[1]}}}"},
	};
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		buf_clear(&out);
		rpc_put_error(&out, cases[i].id, &cases[i].err, cases[i].data);
		if (!slice_is(buf_slice(&out), cases[i].want))
			fail_msg("%s: got %s", cases[i].name, out.data);
	}
	buf_release(&out);
}

/* A message that was cut inside a character, or that repeats bytes of a peer, is still JSON in UTF-8. */
static void test_error_is_always_json(void **state)
{
	struct err err = {0}, bad = {0};
	struct buf out;
	json_object *json;
	char text[300];

	(void)state;
	memset(text, 'a', sizeof(text));
	for (size_t i = 0; i + 2 < sizeof(text); i += 2)
		memcpy(text + i, "\303\274", 2);
	text[sizeof(text) - 1] = '\0';
	buf_init(&out, 65536);
	for (size_t skip = 0; skip < 2; skip++) {
		buf_clear(&out);
		err_set(&err, ERR_PARAMS, "%s%s", skip ? "x" : "", text);
		rpc_put_error(&out, "1", &err, NULL);
		json = jx_parse(buf_slice(&out), 8, &bad);
		if (!json)
			fail_msg("skip %zu: %s", skip, bad.msg);
		json_object_put(json);
	}
	buf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_read),
	    cmocka_unit_test(test_read_meta),
	    cmocka_unit_test(test_id_text),
	    cmocka_unit_test(test_id_length),
	    cmocka_unit_test(test_put_error),
	    cmocka_unit_test(test_error_is_always_json),
	};

	return cmocka_run_group_tests_name("rpc", tests, NULL, NULL);
}
