/* fcgi/header.c: Accept, media types, and values that may be written as =?base64?...?= */
#include "config.h"

#include "fcgi/header.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static void test_accept(void **state)
{
	static const struct {
		const char *name, *value;
		bool json, sse, sse_named;
	} cases[] = {
	    {"absent admits all", NULL, true, true, false},
	    {"empty admits all", "", true, true, false},
	    {"blank admits all", " \t ", true, true, false},
	    {"both", "application/json, text/event-stream", true, true, true},
	    {"both, no blank", "application/json,text/event-stream", true, true, true},
	    {"json only", "application/json", true, false, false},
	    {"stream only", "text/event-stream", false, true, true},
	    {"any case", "Application/JSON, TEXT/Event-Stream", true, true, true},
	    {"anything", "*/*", true, true, false},
	    {"type wildcard of json", "application/*", true, false, false},
	    {"type wildcard of text", "text/*", false, true, false},
	    {"others", "text/html, image/png", false, false, false},
	    {"parameters are skipped", "application/json; charset=utf-8; q=0.8", true, false, false},
	    {"q=0 excludes", "application/json;q=0", false, false, false},
	    {"q=0.000 excludes", "application/json;q=0.000, text/event-stream", false, true, true},
	    {"Q=0 excludes", "text/event-stream;Q=0, application/json", true, false, false},
	    {"q=0 among other parameters", "text/event-stream;v=1;q=0;x=y, */*", true, false, false},
	    {"q=0.001 admits", "application/json;q=0.001", true, false, false},
	    {"the specific range wins over */*, before it", "text/event-stream;q=0, */*", true, false, false},
	    {"the specific range wins over */*, behind it", "*/*, application/json;q=0", false, true, false},
	    {"the specific range wins over */* that excludes", "*/*;q=0, application/json", true, false, false},
	    {"application/* wins over */*", "*/*;q=0, application/*", true, false, false},
	    {"json wins over application/*", "application/*;q=0, application/json", true, false, false},
	    {"*/*;q=0 admits nothing", "*/*;q=0", false, false, false},
	    {"empty members", ",, application/json ,", true, false, false},
	    {"only commas", ",,", false, false, false},
	    {"longer name", "application/jsonx, xtext/event-stream", false, false, false},
	    {"shorter name", "application/jso, text/event-strea", false, false, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct header_accept got = header_accept(cases[i].value);

		if (got.json != cases[i].json || got.sse != cases[i].sse || got.sse_named != cases[i].sse_named)
			fail_msg(
			    "%s: got json %d, sse %d, sse_named %d", cases[i].name, got.json, got.sse, got.sse_named);
	}
}

static void test_media_type(void **state)
{
	static const struct {
		const char *name, *value;
		bool want;
	} cases[] = {
	    {"exact", "application/json", true},
	    {"any case", "Application/JSON", true},
	    {"charset", "application/json; charset=utf-8", true},
	    {"blanks", " application/json\t;charset=x", true},
	    {"empty", "", false},
	    {"longer", "application/json5", false},
	    {"suffix", "application/vnd.api+json", false},
	    {"another first", "text/plain; application/json", false},
	    {"list", "application/json, text/plain", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		if (header_is_media_type(cases[i].value, "application/json") != cases[i].want)
			fail_msg("%s: not %d", cases[i].name, cases[i].want);
	}
}

static void test_decode(void **state)
{
	static const struct {
		const char *name, *value;
		bool ok;
		struct slice want;
	} cases[] = {
	    {"plain", "echo", true, TEXT("echo")},
	    {"trimmed", " \techo\t ", true, TEXT("echo")},
	    {"blanks and tabs inside", "a \tb", true, TEXT("a \tb")},
	    {"empty", "", true, TEXT("")},
	    {"all visible ASCII", "!~ =?", true, TEXT("!~ =?")},
	    {"control character", "a\001b", false, TEXT("")},
	    {"DEL", "a\177", false, TEXT("")},
	    {"line feed", "a\nb", false, TEXT("")},
	    {"raw UTF-8", "Z\303\274rich", false, TEXT("")},
	    {"encoded", "=?base64?WsO8cmljaA==?=", true, TEXT("Z\303\274rich")},
	    {"encoded, no padding needed", "=?base64?YWJj?=", true, TEXT("abc")},
	    {"encoded, one pad", "=?base64?YWI=?=", true, TEXT("ab")},
	    {"encoded, two pads", "=?base64?YQ==?=", true, TEXT("a")},
	    {"encoded nothing",
		"=?base64?"
		"?=",
		true, TEXT("")},
	    {"encoded, trimmed outside", "  =?base64?YWJj?= ", true, TEXT("abc")},
	    {"encoded line break and NUL", "=?base64?YQoAYg==?=", true, TEXT("a\n\0b")},
	    {"encoded blanks stay", "=?base64?IGEg?=", true, TEXT(" a ")},
	    {"encoded marker is not decoded twice", "=?base64?PT9iYXNlNjQ/WVE9PT89?=", true, TEXT("=?base64?YQ==?=")},
	    {"62 and 63", "=?base64?Pj8+Pz8/?=", true, TEXT(">?>\?\?\?")},
	    {"padding missing", "=?base64?YQ?=", false, TEXT("")},
	    {"one pad of two", "=?base64?YQ=?=", false, TEXT("")},
	    {"one digit", "=?base64?Y?=", false, TEXT("")},
	    {"three pads", "=?base64?Y===?=", false, TEXT("")},
	    {"pads only", "=?base64?====?=", false, TEXT("")},
	    {"padding inside", "=?base64?YQ==YWJj?=", false, TEXT("")},
	    {"pad in front", "=?base64?=YWJ?=", false, TEXT("")},
	    {"unused bits, two pads", "=?base64?YR==?=", false, TEXT("")},
	    {"unused bits, one pad", "=?base64?YWJ=?=", false, TEXT("")},
	    {"foreign character", "=?base64?YW*j?=", false, TEXT("")},
	    {"blank inside", "=?base64?YW j?=", false, TEXT("")},
	    {"URL alphabet", "=?base64?Pj8-Pz8_?=", false, TEXT("")},
	    {"high bit character", "=?base64?YW\303j?=", false, TEXT("")},
	    {"not UTF-8", "=?base64?/w==?=", false, TEXT("")},
	    {"UTF-8 cut short", "=?base64?w7w=?=", true, TEXT("\303\274")},
	    {"UTF-8 lead byte alone", "=?base64?YcM=?=", false, TEXT("")},
	    {"overlong", "=?base64?wIA=?=", false, TEXT("")},
	    {"overlong, three bytes", "=?base64?4ICA?=", false, TEXT("")},
	    {"overlong, four bytes", "=?base64?8ICAgA==?=", false, TEXT("")},
	    {"surrogate", "=?base64?7aCA?=", false, TEXT("")},
	    {"last before surrogates", "=?base64?7Z+/?=", true, TEXT("\355\237\277")},
	    {"four bytes", "=?base64?8J+YgA==?=", true, TEXT("\360\237\230\200")},
	    {"last code point", "=?base64?9I+/vw==?=", true, TEXT("\364\217\277\277")},
	    {"past the last code point", "=?base64?9JCAgA==?=", false, TEXT("")},
	    {"opening marker only", "=?base64?YWJj", true, TEXT("=?base64?YWJj")},
	    {"closing marker only", "YWJj?=", true, TEXT("YWJj?=")},
	    {"upper-case marker is literal", "=?BASE64?YWJj?=", true, TEXT("=?BASE64?YWJj?=")},
	    {"another encoding is literal", "=?utf-8?Q?a?=", true, TEXT("=?utf-8?Q?a?=")},
	    {"markers overlap", "=?base64?=", true, TEXT("=?base64?=")},
	    {"text behind the closing marker", "=?base64?YWJj?=x", true, TEXT("=?base64?YWJj?=x")},
	};
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = {0};
		int ret;

		buf_clear(&out);
		ret = header_decode(cases[i].value, &out, &err);
		if ((ret == 0) != cases[i].ok || (ret && err.code != ERR_MISMATCH))
			fail_msg("%s: got %d (%s)", cases[i].name, ret, err.msg);
		if (ret == 0 && !slice_eq(buf_slice(&out), cases[i].want))
			fail_msg("%s: got \"%.*s\"", cases[i].name, (int)out.len, out.data);
	}
	buf_release(&out);
}

static void test_decode_ceiling(void **state)
{
	static const char *const values[] = {"four+", "=?base64?YWJjZGU=?="};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(values); i++) {
		struct err err = {0};
		struct buf out;

		buf_init(&out, 4);
		assert_int_equal(header_decode(values[i], &out, &err), -1);
		assert_int_equal(err.code, ERR_TOO_BIG);
		buf_release(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_accept),
	    cmocka_unit_test(test_media_type),
	    cmocka_unit_test(test_decode),
	    cmocka_unit_test(test_decode_ceiling),
	};

	return cmocka_run_group_tests_name("header", tests, NULL, NULL);
}
