/* What content has to be, and what of it each revision gets. */
#include "config.h"

#include "common/jx.h"
#include "fcgi/content.h"
#include "fcgi/cursor.h"
#include "fcgi/result.h"
#include "fcgi/shape.h"
#include "fcgi/uri.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static json_object *json(const char *text)
{
	struct err err = {0};
	json_object *val = jx_parse(slice_str(text), 32, &err);

	if (!val)
		fail_msg("%s: %s", text, err.msg);
	return val;
}

#define LINK "\"type\":\"resource_link\",\"uri\":\"a:b\",\"name\":\"n\""

static void test_blocks(void **state)
{
	static const struct {
		const char *block, *want; /* NULL: it is good */
	} cases[] = {
	    {"{\"type\":\"text\",\"text\":\"\"}", NULL},
	    {"1", "x must be an object"},
	    {"{\"text\":\"\"}", "x.type must be text, image, audio, resource_link or resource"},
	    {"{\"type\":\"video\"}", "x.type must be text, image, audio, resource_link or resource"},
	    {"{\"type\":\"text\"}", "x.text must be a string"},
	    {"{\"type\":\"text\",\"text\":\"\",\"_meta\":1}", "x._meta must be an object"},
	    {"{\"type\":\"image\",\"data\":\"AAAA\",\"mimeType\":\"image/svg+xml; charset=utf-8\"}", NULL},
	    {"{\"type\":\"image\",\"data\":\"AAA\",\"mimeType\":\"image/png\"}", "x.data must be base64 with padding"},
	    {"{\"type\":\"image\",\"data\":\"AAB=\",\"mimeType\":\"image/png\"}", "x.data must be base64 with padding"},
	    {"{\"type\":\"audio\",\"data\":\"\",\"mimeType\":\"wav\"}",
		"x.mimeType must be a MIME type, as in \"image/png\""},
	    {"{\"type\":\"audio\",\"data\":\"\",\"mimeType\":\"audio/\"}",
		"x.mimeType must be a MIME type, as in \"image/png\""},
	    {"{" LINK "}", NULL},
	    {"{\"type\":\"resource_link\",\"uri\":\"b\",\"name\":\"n\"}", "x.uri must be a URI, as in \"notes://today\""},
	    {"{\"type\":\"resource_link\",\"uri\":\"a: b\",\"name\":\"n\"}",
		"x.uri must be a URI, as in \"notes://today\""},
	    {"{" LINK ",\"size\":\"5\"}", "x.size must be a whole number of bytes"},
	    {"{" LINK ",\"title\":5}", "x.title must be a string"},
	    {"{" LINK ",\"icons\":{}}", "x.icons must be an array"},
	    {"{" LINK ",\"icons\":[1]}", "x.icons[0] must be an object"},
	    {"{" LINK ",\"icons\":[{\"src\":\"https:\"}]}", "x.icons[0].src must be an http, https or data URL"},
	    {"{" LINK ",\"icons\":[{\"src\":\"https://a\",\"sizes\":\"any\"}]}",
		"x.icons[0].sizes must be an array of strings, as in [\"48x48\"]"},
	    {"{" LINK ",\"icons\":[{\"src\":\"https://a\",\"theme\":\"blue\"}]}",
		"x.icons[0].theme must be \"light\" or \"dark\""},
	    {"{" LINK ",\"icons\":[{\"src\":\"https://a\",\"mimeType\":1}]}",
		"x.icons[0].mimeType must be a MIME type, as in \"image/png\""},
	    {"{" LINK ",\"annotations\":[]}", "x.annotations must be an object"},
	    {"{" LINK ",\"annotations\":{\"audience\":[\"user\",\"all\"]}}",
		"x.annotations.audience must be an array of \"user\" and \"assistant\""},
	    {"{" LINK ",\"annotations\":{\"priority\":\"1\"}}", "x.annotations.priority must be a number, 0 to 1"},
	    {"{" LINK ",\"annotations\":{\"lastModified\":1}}",
		"x.annotations.lastModified must be a time as in \"2025-01-12T15:00:58Z\""},
	    {"{\"type\":\"resource\"}", "x.resource must be an object"},
	    {"{\"type\":\"resource\",\"resource\":{\"uri\":\"a:b\"}}", "x.resource must have either text or blob"},
	    {"{\"type\":\"resource\",\"resource\":{\"uri\":\"a:b\",\"text\":\"\",\"blob\":\"\"}}",
		"x.resource must have either text or blob"},
	    {"{\"type\":\"resource\",\"resource\":{\"text\":\"\"}}", "x.resource.uri must be a string"},
	    {"{\"type\":\"resource\",\"resource\":{\"uri\":\"a:b\",\"blob\":\"?\"}}",
		"x.resource.blob must be base64 with padding"},
	    {"{\"type\":\"resource\",\"resource\":{\"uri\":\"a:b\",\"text\":\"\",\"mimeType\":\"a\"}}",
		"x.resource.mimeType must be a MIME type, as in \"image/png\""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		json_object *block = json(cases[i].block);
		struct err err = {0};
		int ret = content_check_block(block, "x", false, &err);

		if (ret != (cases[i].want ? -1 : 0) || (cases[i].want && strcmp(err.msg, cases[i].want) != 0))
			fail_msg("%s: %d %s", cases[i].block, ret, err.msg);
		json_object_put(block);
	}
}

/* What is only the shape of strings waits until placeholders have their values. */
static void test_draft(void **state)
{
	json_object *block = json("{\"type\":\"resource\",\"resource\":{\"uri\":\"{u}\",\"blob\":\"{b}\",\"mimeType\":\"{m}\"}}");
	struct err err;

	(void)state;
	assert_int_equal(content_check_block(block, "x", true, &err), 0);
	assert_int_equal(content_check_block(block, "x", false, &err), -1);
	json_object_put(block);
}

static void test_uris(void **state)
{
	static const struct {
		const char *text;
		bool is_uri;
	} cases[] = {
	    {"a:", true}, {"docs:///a/b%20c?d=e#f", true}, {"urn:isbn:1", true}, {"a+b-c.d:1", true}, {"http://[::1]/", true},
	    {"", false}, {":a", false}, {"a", false}, {"1a:b", false}, {"a:%", false}, {"a:%4g", false}, {"a:\"", false},
	    {"a:\xc3\xa9", false}, {"a:{b}", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		if (uri_is_valid(slice_str(cases[i].text)) != cases[i].is_uri)
			fail_msg("%s", cases[i].text);
	}
}

static void expect(enum shape kind, const char *text, enum revision revision, const char *want)
{
	json_object *val = json(text);
	struct buf out;

	buf_init(&out, 65536);
	shape_put(&out, kind, val, revision);
	if (strcmp(out.data, want) != 0)
		fail_msg("%s in revision %d is %s", text, (int)revision, out.data);
	buf_release(&out);
	json_object_put(val);
}

static void test_shapes(void **state)
{
	static const char tool[] = "{\"name\":\"t\",\"title\":\"T\",\"inputSchema\":{},\"outputSchema\":{\"type\":\"object\"},"
				   "\"annotations\":{\"title\":\"A\"},\"icons\":[],\"_meta\":{},\"execution\":{}}";
	static const char result[] =
	    "{\"content\":[{\"type\":\"audio\",\"data\":\"\",\"mimeType\":\"audio/wav\",\"_meta\":{}},"
	    "{" LINK ",\"title\":\"T\",\"description\":\"d\"}],\"structuredContent\":{},\"resultType\":\"x\",\"_meta\":{}}";

	(void)state;
	expect(SHAPE_TOOL, tool, REV_2024_11, "{\"name\":\"t\",\"inputSchema\":{}}");
	expect(SHAPE_TOOL, tool, REV_2025_03, "{\"name\":\"t\",\"inputSchema\":{},\"annotations\":{\"title\":\"A\"}}");
	expect(SHAPE_TOOL, tool, REV_2025_06,
	    "{\"name\":\"t\",\"title\":\"T\",\"inputSchema\":{},\"outputSchema\":{\"type\":\"object\"},"
	    "\"annotations\":{\"title\":\"A\"},\"_meta\":{}}");
	expect(SHAPE_TOOL, tool, REV_2025_11, tool);
	expect(SHAPE_TOOL, tool, REV_2026_07,
	    "{\"name\":\"t\",\"title\":\"T\",\"inputSchema\":{},\"outputSchema\":{\"type\":\"object\"},"
	    "\"annotations\":{\"title\":\"A\"},\"icons\":[],\"_meta\":{}}");
	expect(SHAPE_TOOL, "{\"outputSchema\":{\"type\":\"array\"}}", REV_2025_11, "{}");
	expect(SHAPE_TOOL, "{\"outputSchema\":{\"type\":\"array\"}}", REV_2026_07, "{\"outputSchema\":{\"type\":\"array\"}}");
	expect(SHAPE_RESULT, "{\"structuredContent\":[]}", REV_2025_11, "{}");
	expect(SHAPE_RESULT, "{\"structuredContent\":[]}", REV_2026_07, "{\"structuredContent\":[]}");
	expect(SHAPE_RESULT, result, REV_2024_11,
	    "{\"content\":[{\"type\":\"text\",\"text\":\"[audio/wav: this revision of the protocol has no audio]\"},"
	    "{\"type\":\"text\",\"text\":\"n: a:b\\nd\"}]}");
	expect(SHAPE_RESULT, result, REV_2025_03,
	    "{\"content\":[{\"type\":\"audio\",\"data\":\"\",\"mimeType\":\"audio/wav\"},"
	    "{\"type\":\"text\",\"text\":\"n: a:b\\nd\"}]}");
	expect(SHAPE_RESULT, result, REV_2025_06,
	    "{\"content\":[{\"type\":\"audio\",\"data\":\"\",\"mimeType\":\"audio/wav\",\"_meta\":{}},"
	    "{" LINK ",\"title\":\"T\",\"description\":\"d\"}],\"structuredContent\":{}}");
}

static void test_cursor(void **state)
{
	static const struct {
		const char *params, *after;
		size_t index;
		bool is_good;
	} cases[] = {
	    {"{}", "", 0, true},
	    {"{\"cursor\":\"0123.4\"}", "", 4, true},
	    {"{\"cursor\":\"0123.4.YTpi\"}", "a:b", 4, true},
	    {"{\"cursor\":\"0123.5\"}", "", 0, false},
	    {"{\"cursor\":\"0124.4\"}", "", 0, false},
	    {"{\"cursor\":\"0123.\"}", "", 0, false},
	    {"{\"cursor\":\"0123.4.\"}", "", 0, false},
	    {"{\"cursor\":\"0123.4.=\"}", "", 0, false},
	    {"{\"cursor\":\"0123.4x\"}", "", 0, false},
	    {"{\"cursor\":\"0123.-1\"}", "", 0, false},
	    {"{\"cursor\":\"0123.1000000000000000000000\"}", "", 0, false},
	    {"{\"cursor\":\"\"}", "", 0, false},
	    {"{\"cursor\":null}", "", 0, false},
	    {"{\"cursor\":4}", "", 0, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		json_object *params = json(cases[i].params);
		struct err err = {0};
		struct cursor c;
		int ret = cursor_read(&c, params, "0123", 5, &err);

		if (ret != (cases[i].is_good ? 0 : -1) || (ret && err.code != ERR_PARAMS))
			fail_msg("%s: %d %s", cases[i].params, ret, err.msg);
		if (ret == 0) {
			assert_int_equal(c.index, cases[i].index);
			assert_true(slice_is(buf_slice(&c.after), cases[i].after));
		}
		cursor_release(&c);
		json_object_put(params);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_blocks),
	    cmocka_unit_test(test_draft),
	    cmocka_unit_test(test_uris),
	    cmocka_unit_test(test_shapes),
	    cmocka_unit_test(test_cursor),
	};

	return cmocka_run_group_tests_name("content", tests, NULL, NULL);
}
