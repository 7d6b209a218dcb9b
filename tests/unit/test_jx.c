/* common/jx.c: what is JSON, what is not, and that nothing is changed between reading and writing. */
#include "config.h"

#include <math.h>
#include <stdio.h>

#include "common/jx.h"
#include "common/mem.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define DEPTH 4
#define MANY  100000

static void test_parse(void **state)
{
	static const struct { const char *name; struct slice text; enum err_code want; const char *written; } cases[] = {
	    {"object", TEXT("{\"a\":1}"), ERR_NONE, "{\"a\":1}"},
	    {"spaces of all kinds", TEXT(" \t\r\n{ \"a\" : [ 1 , 2 ] } \n"), ERR_NONE, "{\"a\":[1,2]}"},
	    {"empty object", TEXT("{ }"), ERR_NONE, "{}"},
	    {"empty array", TEXT("[ ]"), ERR_NONE, "[]"},
	    {"empty name", TEXT("{\"\":{}}"), ERR_NONE, "{\"\":{}}"},
	    {"words", TEXT("[true,false,null]"), ERR_NONE, "[true,false,null]"},
	    {"number at the top", TEXT("12"), ERR_NONE, "12"},
	    {"string at the top", TEXT("\"a\""), ERR_NONE, "\"a\""},
	    {"true at the top", TEXT("true"), ERR_NONE, "true"},
	    {"null at the top", TEXT("null"), ERR_INVALID, NULL},
	    {"as deep as may be", TEXT("[[[[1]]]]"), ERR_NONE, "[[[[1]]]]"},
	    {"too deep", TEXT("[[[[[]]]]]"), ERR_PARSE, NULL},
	    {"too deep, mixed", TEXT("{\"a\":[{\"a\":[{}]}]}"), ERR_PARSE, NULL},

	    {"empty", TEXT(""), ERR_PARSE, NULL},
	    {"only blanks", TEXT("  "), ERR_PARSE, NULL},
	    {"second value", TEXT("{}{}"), ERR_PARSE, NULL},
	    {"word behind", TEXT("{} x"), ERR_PARSE, NULL},
	    {"bytes hidden by a NUL", TEXT("{}\0{\"b\":2}"), ERR_PARSE, NULL},
	    {"NUL at the end", TEXT("{}\0"), ERR_PARSE, NULL},
	    {"byte order mark", TEXT("\xef\xbb\xbf{}"), ERR_PARSE, NULL},
	    {"truncated object", TEXT("{\"a\":1"), ERR_PARSE, NULL},
	    {"truncated after colon", TEXT("{\"a\":"), ERR_PARSE, NULL},
	    {"truncated name", TEXT("{\"a"), ERR_PARSE, NULL},
	    {"truncated escape", TEXT("\"\\"), ERR_PARSE, NULL},
	    {"comma before end of object", TEXT("{\"a\":1,}"), ERR_PARSE, NULL},
	    {"comma before end of array", TEXT("[1,]"), ERR_PARSE, NULL},
	    {"comma first", TEXT("[,1]"), ERR_PARSE, NULL},
	    {"no comma", TEXT("[1 2]"), ERR_PARSE, NULL},
	    {"no colon", TEXT("{\"a\" 1}"), ERR_PARSE, NULL},
	    {"colon in an array", TEXT("[\"a\":1]"), ERR_PARSE, NULL},
	    {"number as name", TEXT("{1:2}"), ERR_PARSE, NULL},
	    {"wrong bracket", TEXT("[1}"), ERR_PARSE, NULL},
	    {"wrong brace", TEXT("{\"a\":1]"), ERR_PARSE, NULL},
	    {"bracket too many", TEXT("[1]]"), ERR_PARSE, NULL},
	    {"single quotes", TEXT("{'a':1}"), ERR_PARSE, NULL},
	    {"single quotes, value", TEXT("{\"a\":'1'}"), ERR_PARSE, NULL},
	    {"bare name", TEXT("{a:1}"), ERR_PARSE, NULL},
	    {"C comment", TEXT("/* */{}"), ERR_PARSE, NULL},
	    {"line comment", TEXT("{} // x"), ERR_PARSE, NULL},
	    {"NaN", TEXT("[NaN]"), ERR_PARSE, NULL},
	    {"Infinity", TEXT("[Infinity]"), ERR_PARSE, NULL},
	    {"-Infinity", TEXT("[-Infinity]"), ERR_PARSE, NULL},
	    {"capital word", TEXT("[True]"), ERR_PARSE, NULL},
	    {"longer word", TEXT("[nullx]"), ERR_PARSE, NULL},
	    {"shorter word", TEXT("nul"), ERR_PARSE, NULL},

	    {"all escapes", TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\""), ERR_NONE, "\"\\\"\\\\/\\b\\f\\n\\r\\tA\""},
	    {"NUL in a string", TEXT("\"a\\u0000b\""), ERR_NONE, "\"a\\u0000b\""},
	    {"NUL in a name", TEXT("{\"a\\u0000b\":1}"), ERR_PARSE, NULL},
	    {"surrogate pair", TEXT("\"\\ud83d\\uDE00\""), ERR_NONE, "\"\xf0\x9f\x98\x80\""},
	    {"high surrogate alone", TEXT("\"\\ud83d\""), ERR_PARSE, NULL},
	    {"high surrogate twice", TEXT("\"\\ud83d\\ud83d\""), ERR_PARSE, NULL},
	    {"low surrogate alone", TEXT("\"\\ude00\""), ERR_PARSE, NULL},
	    {"short \\u", TEXT("\"\\u00\""), ERR_PARSE, NULL},
	    {"\\u of no digits", TEXT("\"\\u00g0\""), ERR_PARSE, NULL},
	    {"unknown escape", TEXT("\"\\x\""), ERR_PARSE, NULL},
	    {"escaped NUL byte", TEXT("\"\\\0\""), ERR_PARSE, NULL},
	    {"raw newline", TEXT("\"a\nb\""), ERR_PARSE, NULL},
	    {"raw tab", TEXT("\"\t\""), ERR_PARSE, NULL},
	    {"raw NUL", TEXT("\"a\0b\""), ERR_PARSE, NULL},
	    {"DEL is a character", TEXT("\"\x7f\""), ERR_NONE, "\"\x7f\""},
	    {"slash", TEXT("\"a/b\""), ERR_NONE, "\"a/b\""},
	    {"UTF-8 of 2, 3, 4 bytes", TEXT("\"\u00e9\u20ac\U0001f600\""), ERR_NONE, "\"\u00e9\u20ac\U0001f600\""},
	    {"overlong UTF-8", TEXT("\"\xc0\xaf\""), ERR_PARSE, NULL},
	    {"surrogate in UTF-8", TEXT("\"\xed\xa0\x80\""), ERR_PARSE, NULL},
	    {"past U+10FFFF", TEXT("\"\xf4\x90\x80\x80\""), ERR_PARSE, NULL},
	    {"cut UTF-8", TEXT("\"\xe2\x82\""), ERR_PARSE, NULL},
	    {"UTF-8 outside strings", TEXT("[\u00e9]"), ERR_PARSE, NULL},

	    {"zero", TEXT("[0,-0]"), ERR_NONE, "[0,0]"},
	    {"digits as written", TEXT("[1.10,1E5,1e+5,-0.0,0.1e-7]"), ERR_NONE, "[1.10,1E5,1e+5,-0.0,0.1e-7]"},
	    {"64 bits", TEXT("[-9223372036854775808,9223372036854775807,9223372036854775808,18446744073709551615]"), ERR_NONE,
	        "[-9223372036854775808,9223372036854775807,9223372036854775808,18446744073709551615]"},
	    {"beyond 64 bits", TEXT("{\"a\":[18446744073709551616, -9223372036854775809],\"b\":1}"), ERR_NONE,
	        "{\"a\":[18446744073709551616.0,-9223372036854775809.0],\"b\":1}"},
	    {"many digits of a double", TEXT("3.14159265358979323846264338327950288"), ERR_NONE,
	        "3.14159265358979323846264338327950288"},
	    {"beyond a double", TEXT("[1e400]"), ERR_PARSE, NULL},
	    {"leading zero", TEXT("01"), ERR_PARSE, NULL},
	    {"plus", TEXT("+1"), ERR_PARSE, NULL},
	    {"point first", TEXT(".5"), ERR_PARSE, NULL},
	    {"point last", TEXT("1."), ERR_PARSE, NULL},
	    {"exponent without digits", TEXT("1e"), ERR_PARSE, NULL},
	    {"exponent of a sign", TEXT("1e+"), ERR_PARSE, NULL},
	    {"minus alone", TEXT("-"), ERR_PARSE, NULL},
	    {"two minus", TEXT("--1"), ERR_PARSE, NULL},
	    {"hex", TEXT("0x10"), ERR_PARSE, NULL},

	    {"name twice", TEXT("{\"a\":1,\"a\":1}"), ERR_INVALID, NULL},
	    {"name twice, once escaped", TEXT("{\"a\":1,\"\\u0061\":1}"), ERR_INVALID, NULL},
	    {"name twice, deep", TEXT("[{\"x\":{\"a\":1,\"b\":2,\"a\":3}}]"), ERR_INVALID, NULL},
	    {"name twice, with members below", TEXT("{\"a\":{\"b\":1},\"a\":{\"b\":1,\"c\":2}}"), ERR_INVALID, NULL},
	    {"one name in two objects", TEXT("[{\"a\":1},{\"a\":{\"a\":1}}]"), ERR_NONE, "[{\"a\":1},{\"a\":{\"a\":1}}]"},
	};
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = {0};
		json_object *val;
		char *exact = mem_dup(cases[i].text.p, cases[i].text.len); /* so that a byte too far is seen by ASan */

		assert_non_null(exact);
		exact = mem_realloc(exact, cases[i].text.len > 0 ? cases[i].text.len : 1);
		assert_non_null(exact);
		val = jx_parse((struct slice){exact, cases[i].text.len}, DEPTH, &err);
		mem_free(exact);
		if (err.code != cases[i].want || (val != NULL) != (cases[i].want == ERR_NONE))
			fail_msg("%s: got %s (%s)", cases[i].name, err_name(err.code), err.msg);
		if (!val)
			continue;
		buf_clear(&out);
		jx_write(&out, val);
		if (!slice_is(buf_slice(&out), cases[i].written))
			fail_msg("%s: wrote %s", cases[i].name, out.data);
		json_object_put(val);
	}
	buf_release(&out);
}

/* Each proper beginning of a text is refused, at every length. */
static void test_truncated(void **state)
{
	static const char text[] = "{\"a\":[1.5e3,true,null,\"\\ud83d\\ude00\u20ac\"],\"b\":{\"c\":-12}}";

	(void)state;
	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		struct err err = {0};

		assert_null(jx_parse((struct slice){text, len}, DEPTH, &err));
		assert_int_equal(err.code, ERR_PARSE);
	}
}

static void test_many_members(void **state)
{
	struct err err = {0};
	struct buf text;
	json_object *val;
	uint64_t start_ms = now_ms();

	(void)state;
	buf_init(&text, MANY * 32);
	for (int i = 0; i < MANY; i++)
		buf_addf(&text, "%c\"name%d\":%d", i ? ',' : '{', i, i);
	buf_adds(&text, "}");
	val = jx_parse(buf_slice(&text), DEPTH, &err);
	assert_non_null(val);
	assert_int_equal(json_object_object_length(val), MANY);
	json_object_put(val);
	text.len--;
	buf_adds(&text, ",\"name0\":0}");
	assert_null(jx_parse(buf_slice(&text), DEPTH, &err));
	assert_int_equal(err.code, ERR_INVALID);
	buf_release(&text);
	assert_true(now_ms() - start_ms < 10000); /* not quadratic: that would be minutes */
}

static void test_depth_bounds(void **state)
{
	struct err err = {0};
	struct buf text;
	json_object *val;

	(void)state;
	buf_init(&text, 4096);
	for (int i = 0; i < 513; i++)
		buf_adds(&text, "[");
	for (int i = 0; i < 513; i++)
		buf_adds(&text, "]");
	assert_null(jx_parse(buf_slice(&text), 100000, &err)); /* 512 is the most, whatever is asked for */
	assert_int_equal(err.code, ERR_PARSE);
	val = jx_parse((struct slice){text.data + 1, text.len - 2}, 512, &err);
	assert_non_null(val);
	json_object_put(val);
	buf_release(&text);
}

static void test_write_made(void **state)
{
	static const struct { const char *name; double n; const char *want; } doubles[] = {
	    {"half", 0.5, "0.5"},
	    {"a tenth", 0.1, "0.1"},
	    {"needs 17 digits", 0.1 + 0.2, "0.30000000000000004"},
	    {"large", 1e300, "1e+300"},
	    {"infinity", INFINITY, "null"},
	    {"NaN", NAN, "null"},
	};
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	for (size_t i = 0; i < COUNT_OF(doubles); i++) {
		json_object *val = json_object_new_double(doubles[i].n);

		buf_clear(&out);
		jx_write(&out, val);
		if (!slice_is(buf_slice(&out), doubles[i].want))
			fail_msg("%s: wrote %s", doubles[i].name, out.data);
		json_object_put(val);
	}
	buf_release(&out);
}

static void test_write_str(void **state)
{
	static const struct { const char *name; struct slice in; const char *want; } cases[] = {
	    {"empty", {NULL, 0}, "\"\""},
	    {"plain", TEXT("abc"), "\"abc\""},
	    {"quotes and backslash", TEXT("\"\\"), "\"\\\"\\\\\""},
	    {"controls", TEXT("\0\x01\b\f\n\r\t\x1f"), "\"\\u0000\\u0001\\b\\f\\n\\r\\t\\u001f\""},
	    {"not UTF-8", TEXT("a\xff\xc3z"), "\"a\xef\xbf\xbd\xef\xbf\xbdz\""},
	    {"cut at the end", TEXT("\u20ac\xe2\x82"), "\"\u20ac\xef\xbf\xbd\xef\xbf\xbd\""},
	};
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		buf_clear(&out);
		jx_write_str(&out, cases[i].in);
		if (!slice_is(buf_slice(&out), cases[i].want))
			fail_msg("%s: wrote %s", cases[i].name, out.data);
	}
	buf_release(&out);
}

/* Eight bytes are looked at together: each byte at each place among others is written and read back. */
static void test_runs(void **state)
{
	static const char others[] = "abcdefghijklmnopqrstuvwx\x7f~ !#[]^_";
	char bytes[sizeof(others)];
	struct err err = {0};
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	for (unsigned c = 0; c < 0x80; c++) {
		for (size_t at = 0; at + 1 < sizeof(others); at++) {
			struct slice want = {bytes, sizeof(others) - 1};
			json_object *val;

			memcpy(bytes, others, sizeof(others));
			bytes[at] = (char)c;
			buf_clear(&out);
			jx_write_str(&out, want);
			val = jx_parse(buf_slice(&out), DEPTH, &err);
			if (!slice_eq(jx_str(val), want))
				fail_msg("%u at %zu: %s (%s)", c, at, out.data, err.msg);
			json_object_put(val);
			if (c == '\\') /* with what follows it means something */
				continue;
			buf_clear(&out);
			buf_addf(&out, "\"%.*s%c%s\"", (int)at, bytes, (int)c, bytes + at + 1);
			val = jx_parse(buf_slice(&out), DEPTH, &err);
			if (c >= 0x20 && c != '"' ? !slice_eq(jx_str(val), want) : val != NULL)
				fail_msg("%u at %zu, as it is: %s", c, at, out.data);
			json_object_put(val);
		}
	}
	buf_release(&out);
}

static void test_get(void **state)
{
	struct err err = {0};
	json_object *obj = jx_parse(SLICE("{\"s\":\"a\\u0000b\",\"n\":null,\"o\":{},\"l\":[],\"i\":1}"), DEPTH, &err);

	(void)state;
	assert_non_null(obj);
	assert_true(slice_eq(jx_get_str(obj, "s"), (struct slice){"a\0b", 3}));
	assert_null(jx_get_str(obj, "i").p);
	assert_null(jx_get_str(obj, "missing").p);
	assert_null(jx_get(obj, "n"));
	assert_true(jx_has(obj, "n"));
	assert_false(jx_has(obj, "missing"));
	assert_non_null(jx_get_object(obj, "o"));
	assert_null(jx_get_object(obj, "l"));
	assert_null(jx_get_object(obj, "n"));
	assert_non_null(jx_get_array(obj, "l"));
	assert_null(jx_get_array(obj, "o"));
	assert_null(jx_get(NULL, "a"));
	assert_null(jx_get(jx_get(obj, "l"), "a"));
	assert_false(jx_has(NULL, "a"));
	json_object_put(obj);
}

static void test_add(void **state)
{
	struct err err = {0};
	json_object *obj = json_object_new_object(), *list = json_object_new_array();

	(void)state;
	assert_int_equal(jx_add_str(obj, "a", "b", &err), 0);
	assert_int_equal(jx_append(list, json_object_new_int(1), &err), 0);
	assert_int_equal(jx_append(list, NULL, &err), -1);
	assert_int_equal(err.code, ERR_NOMEM);
	assert_int_equal(jx_add(obj, "list", list, &err), 0);
	assert_int_equal(jx_add(obj, "x", NULL, &err), -1);
	assert_int_equal(err.code, ERR_NOMEM);
	assert_false(jx_has(obj, "x"));
	assert_int_equal(jx_add(NULL, "x", json_object_new_int(1), &err), -1); /* the value was freed, says LeakSanitizer */
	assert_int_equal(jx_append(NULL, json_object_new_int(1), &err), -1);
	json_object_put(obj);
}

static void test_is_integer(void **state)
{
	static const struct { const char *text; bool want; } cases[] = {
	    {"1", true}, {"-1", true}, {"1.0", true}, {"1e3", true}, {"18446744073709551616", true}, {"1.5", false}, {"1e-3", false},
	    {"\"1\"", false}, {"true", false}, {"[]", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = {0};
		json_object *val = jx_parse(slice_str(cases[i].text), DEPTH, &err);

		if (jx_is_integer(val) != cases[i].want)
			fail_msg("%s: not %d", cases[i].text, cases[i].want);
		json_object_put(val);
	}
	assert_false(jx_is_integer(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse),      cmocka_unit_test(test_truncated),  cmocka_unit_test(test_many_members),
	    cmocka_unit_test(test_depth_bounds), cmocka_unit_test(test_write_made), cmocka_unit_test(test_write_str),
	    cmocka_unit_test(test_runs),       cmocka_unit_test(test_get),        cmocka_unit_test(test_add),
	    cmocka_unit_test(test_is_integer),
	};

	return cmocka_run_group_tests_name("jx", tests, NULL, NULL);
}
