/* What definitions of resources and prompts become, for each revision, and every complaint about them with its line. */
#include "config.h"

#include <stdlib.h>

#include "common/jx.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/toolfile.h"
#include "common/banned.h"

static struct toolfile file;

#define RESOURCE(uri, text) "{\n\"resources\": {\n\"" uri "\": " text "\n}}"
#define PROMPT(text)        "{\n\"prompts\": {\n\"p\": " text "\n}}"
#define MESSAGES(content)   PROMPT("{\"messages\": [{\"role\": \"user\", \"content\": " content "}]}")

static const struct toolfile_complaint complaints[] = {
    {"{\n\"resources\": []}", "DIR/mcp.json:2: /resources: must be an object: name -> definition\n"},
    {RESOURCE("a:b", "1"),
	"DIR/mcp.json:3: /resources/a:b: a resource is described by an object, as in {\"text\": \"...\"}\n"},
    {RESOURCE("a:b", "{}"), "DIR/mcp.json:3: /resources/a:b: a resource needs exactly one of \"exec\", \"http\", \"sql\", \"file\", "
			    "\"text\" and \"base64\"\n"},
    {RESOURCE("a:b", "{\"text\": \"\",\n\"mime_typ\": \"\"}"),
	"DIR/mcp.json:4: /resources/a:b/mime_typ: unknown member \"mime_typ\"; did you mean \"mime_type\"?\n"},
    {RESOURCE("a/b", "{\"text\": \"\"}"),
	"DIR/mcp.json:3: /resources/a~1b: a resource is named by its URI, as in \"notes://today\"\n"},
    {RESOURCE("a:%2", "{\"text\": \"\"}"),
	"DIR/mcp.json:3: /resources/a:%2: a resource is named by its URI, as in \"notes://today\"\n"},
    {RESOURCE("a:b", "{\"text\": 1}"), "DIR/mcp.json:3: /resources/a:b/text: text must be a string\n"},
    {RESOURCE("a:{b}", "{\"text\": \"{c}\"}"),
	"DIR/mcp.json:3: /resources/a:{b}/text: there is no {c} to put in here\n"},
    {RESOURCE("a:{b}", "{\"text\": \"{\\\"a\\\": 1}\"}"),
	"DIR/mcp.json:3: /resources/a:{b}/text: there is no {\"a\": 1} to put in here\n"},
    {RESOURCE("a:{b}", "{\"text\": \"{b\"}"), "DIR/mcp.json:3: /resources/a:{b}/text: a { begins a placeholder, as in "
					      "{path}; a plain { is written {{\n"},
    {RESOURCE("a:b", "{\"base64\": \"QUI\"}"),
	"DIR/mcp.json:3: /resources/a:b/base64: base64 must be that encoding of something, with padding\n"},
    {RESOURCE("a:b", "{\"text\": \"\",\n\"name\": \"\",\n\"mime_type\": \"text\",\n\"size\": -1,\n\"timeout_s\": 0}"),
	"DIR/mcp.json:7: /resources/a:b/timeout_s: timeout_s must be a whole number, 1 to 86400 s\n"
	"DIR/mcp.json:4: /resources/a:b/name: name must be a string, and not empty\n"
	"DIR/mcp.json:5: /resources/a:b/mime_type: mime_type must be as in \"text/markdown\"\n"
	"DIR/mcp.json:6: /resources/a:b/size: size must be a whole number of bytes, and only one URI has a size\n"},
    {RESOURCE("a:{b}", "{\"text\": \"\", \"size\": 1}"),
	"DIR/mcp.json:3: /resources/a:{b}/size: size must be a whole number of bytes, and only one URI has a size\n"},
    {RESOURCE("a:b", "{\"text\": \"\", \"annotations\": {\"priority\": 2}}"),
	"DIR/mcp.json:3: /resources/a:b/annotations: resource.annotations.priority must be a number, 0 to 1\n"},
    {RESOURCE("a:b", "{\"text\": \"\", \"icons\": [{\"src\": \"file:///icon\"}]}"),
	"DIR/mcp.json:3: /resources/a:b/icons: icons[0].src must be an http, https or data URL\n"},
    {RESOURCE("a:b", "{\"text\": \"\", \"variables\": {\"b\": {}}}"),
	"DIR/mcp.json:3: /resources/a:b/variables: the URI has no {b}\n"},
    {RESOURCE("a:{b}", "{\"text\": \"\", \"variables\": {\n\"b\": {\"value\": []}}}"),
	"DIR/mcp.json:4: /resources/a:{b}/variables/b/value: unknown member \"value\"; did you mean \"values\"?\n"},
    {RESOURCE("a:{b}", "{\"text\": \"\", \"variables\": {\"b\": {\n\"values\": [1]}}}"),
	"DIR/mcp.json:4: /resources/a:{b}/variables/b/values: values must be an array of strings\n"},
    {RESOURCE("a:{b}", "{\"exec\": [\"/bin/echo\", \"{c}\"]}"),
	"DIR/mcp.json:3: /resources/a:{b}/exec/1: {c} is not one of its arguments\n"},
    {RESOURCE("a:b", "{\"exec\": [\"/bin/echo\"], \"output\": \"json\"}"),
	"DIR/mcp.json:3: /resources/a:b/output: output must be \"text\", \"binary\" or \"result\"\n"},
    {RESOURCE("a:b", "{\"exec\": [\"/bin/echo\"],\n\"complete\": []}"),
	"DIR/mcp.json:4: /resources/a:b/complete: complete must be an array of strings, the program first\n"},
    {"{\n\"prompts\": {\n\"a b\": {\"text\": \"\"}}}",
	"DIR/mcp.json:3: /prompts/a b: a prompt's name is 1 to 128 of A-Z a-z 0-9 _ - .\n"},
    {PROMPT("1"), "DIR/mcp.json:3: /prompts/p: a prompt is described by an object, as in {\"text\": \"Hello {name}\"}\n"},
    {PROMPT("{}"), "DIR/mcp.json:3: /prompts/p: a prompt needs exactly one of \"exec\", \"http\", \"sql\", \"text\" and \"messages\"\n"},
    {PROMPT("{\"text\": \"\", \"annotations\": {}}"),
	"DIR/mcp.json:3: /prompts/p/annotations: unknown member \"annotations\"\n"},
    {PROMPT("{\"text\": \"{a}\"}"), "DIR/mcp.json:3: /prompts/p/text: there is no {a} to put in here\n"},
    {PROMPT("{\"text\": \"\", \"arguments\": []}"),
	"DIR/mcp.json:3: /prompts/p/arguments: arguments must be an object: name -> description\n"},
    {PROMPT("{\"text\": \"\", \"arguments\": {\n\"a\": 1,\n\"b c\": {}}}"),
	"DIR/mcp.json:4: /prompts/p/arguments/a: it is described by an object, as in {\"values\": [\"...\"]}\n"
	"DIR/mcp.json:5: /prompts/p/arguments/b c: its name is 1 to 128 of A-Z a-z 0-9 _ - .\n"},
    {PROMPT("{\"text\": \"\", \"arguments\": {\"a\": {\n\"title\": 1,\n\"optional\": 1}}}"),
	"DIR/mcp.json:4: /prompts/p/arguments/a/title: title must be a string\n"
	"DIR/mcp.json:5: /prompts/p/arguments/a/optional: optional must be true or false\n"},
    {PROMPT("{\"messages\": {}}"), "DIR/mcp.json:3: /prompts/p/messages: messages must be an array\n"},
    {PROMPT("{\"messages\": [{\"role\": \"system\"}]}"),
	"DIR/mcp.json:3: /prompts/p/messages: messages[0].role must be \"user\" or \"assistant\"\n"},
    {MESSAGES("{\"type\": \"text\"}"),
	"DIR/mcp.json:3: /prompts/p/messages: messages[0].content.text must be a string\n"},
    {MESSAGES("{\"type\": \"text\", \"text\": null}"), "DIR/mcp.json:3: /prompts/p/messages: messages hold no null\n"},
    {MESSAGES("{\"type\": \"text\", \"text\": \"{a}\"}"),
	"DIR/mcp.json:3: /prompts/p/messages: there is no {a} to put in here\n"},
    {MESSAGES("{\"type\": \"image\", \"mimeType\": \"image/png\", \"data\": \"?\"}"),
	"DIR/mcp.json:3: /prompts/p/messages: messages[0].content.data must be base64 with padding\n"},
    {PROMPT("{\"exec\": [\"/bin/echo\"], \"output\": \"binary\"}"),
	"DIR/mcp.json:3: /prompts/p/output: output must be \"text\" or \"result\"\n"},
};

static void test_complaints(void **state)
{
	(void)state;
	toolfile_check_complaints(&file, complaints, COUNT_OF(complaints), NULL);
}

static const char site[] =
    "{\"resources\": {"
    "\"z:last\": {\"text\": \"{\"},"
    "\"a:first\": {\"base64\": \"AAEC\", \"title\": \"T\", \"description\": \"D\", \"icons\": [], \"_meta\": {\"m\": 1},"
    "\"annotations\": {\"priority\": 1, \"lastModified\": \"2026-01-01T00:00:00Z\"}},"
    "\"a:size\": {\"exec\": [\"/bin/true\"], \"size\": 7, \"mime_type\": \"text/html\", \"name\": \"N\", \"timeout_s\": 9},"
    "\"a:{x}\": {\"text\": \"{x}\", \"variables\": {\"x\": {\"values\": [\"1\", \"2\"]}}},"
    "\"a:{y}/z\": {\"text\": \"{y}{{}\"}"
    "}, \"prompts\": {"
    "\"q\": {\"text\": \"{a}\", \"title\": \"T\", \"arguments\": {\"a\": {\"title\": \"A\", \"values\": [\"v\"]}, \"b\": "
    "{\"optional\": true}}},"
    "\"p\": {\"messages\": [{\"role\": \"user\", \"content\": {\"type\": \"image\", \"mimeType\": \"image/{a}\", \"data\": \"{a}\"}}],"
    "\"arguments\": {\"a\": {}}}"
    "}}";

static void load(void)
{
	struct err err = {0};

	if (toolfile_load(&file, site, &err))
		fail_msg("%s: %s", err.msg, file.complaints.data);
}

static void test_listings(void **state)
{
	const struct resource *r;
	const struct prompt *p;

	(void)state;
	load();
	assert_int_equal(file.resources.fixed_count, 3);
	assert_int_equal(file.resources.templates_count, 2);
	r = &file.resources.fixed[0];
	assert_string_equal(r->listing[REV_2026_07],
	    "{\"uri\":\"a:first\",\"name\":\"a:first\",\"title\":\"T\",\"description\":\"D\",\"mimeType\":\"application/"
	    "octet-stream\",\"size\":3,\"annotations\":{\"priority\":1,\"lastModified\":\"2026-01-01T00:00:00Z\"},"
	    "\"icons\":[],\"_meta\":{\"m\":1}}");
	assert_string_equal(r->listing[REV_2025_03],
	    "{\"uri\":\"a:first\",\"name\":\"a:first\",\"description\":\"D\",\"mimeType\":\"application/octet-stream\","
	    "\"size\":3,\"annotations\":{\"priority\":1}}");
	assert_int_equal(r->ttl_ms, file.cfg.cache_ttl_ms);
	r = &file.resources.fixed[1];
	assert_string_equal(
	    r->listing[REV_2024_11], "{\"uri\":\"a:size\",\"name\":\"N\",\"mimeType\":\"text/html\",\"size\":7}");
	assert_int_equal(r->timeout_s, 9);
	assert_int_equal(r->ttl_ms, 0);
	assert_string_equal(file.resources.fixed[2].uri, "z:last");
	assert_string_equal(file.resources.templates[0].listing[REV_2025_11],
	    "{\"uriTemplate\":\"a:{x}\",\"name\":\"a:{x}\",\"mimeType\":\"text/plain\"}");
	assert_string_equal(file.resources.templates[1].listing[REV_2025_11],
	    "{\"uriTemplate\":\"a:{y}/z\",\"name\":\"z\",\"mimeType\":\"text/plain\"}");
	assert_int_equal(file.prompts.count, 2);
	p = &file.prompts.prompts[1];
	assert_string_equal(p->listing[REV_2025_06],
	    "{\"name\":\"q\",\"title\":\"T\",\"arguments\":[{\"name\":\"a\",\"title\":\"A\",\"required\":true},{\"name\":"
	    "\"b\"}]}");
	assert_string_equal(p->listing[REV_2025_03],
	    "{\"name\":\"q\",\"arguments\":[{\"name\":\"a\",\"required\":true},{\"name\":\"b\"}]}");
}

static void test_find(void **state)
{
	static const struct {
		const char *uri, *found, *vars;
	} cases[] = {
	    {"a:first", "a:first", "{}"},
	    {"a:other", "a:{x}", "{\"x\":\"other\"}"},
	    {"a:x/z", "a:{y}/z", "{\"y\":\"x\"}"},
	    {"a:%41", "a:{x}", "{\"x\":\"A\"}"},
	    {"z:las", NULL, NULL},
	    {"z:lasts", NULL, NULL},
	    {"", NULL, NULL},
	};

	(void)state;
	load();
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = {0};
		json_object *vars = NULL;
		const struct resource *r = resourceset_find(&file.resources, slice_str(cases[i].uri), &vars, &err);
		struct buf text;

		buf_init(&text, 1024);
		if (!r && !cases[i].found)
			assert_int_equal(err.code, ERR_NOT_FOUND);
		else if (!r || !cases[i].found || strcmp(r->uri, cases[i].found) != 0)
			fail_msg("%s: found %s", cases[i].uri, r ? r->uri : "nothing");
		if (r) {
			jx_write(&text, vars);
			assert_string_equal(text.data, cases[i].vars);
		}
		json_object_put(vars);
		buf_release(&text);
	}
	assert_non_null(resourceset_find_template(&file.resources, SLICE("a:{y}/z")));
	assert_null(resourceset_find_template(&file.resources, SLICE("a:first")));
	assert_non_null(promptset_find(&file.prompts, SLICE("p")));
	assert_null(promptset_find(&file.prompts, SLICE("pp")));
	assert_int_equal(arguments_find(&file.resources.templates[0].variables, SLICE("x"))->values_count, 2);
	assert_false(arguments_find(&file.prompts.prompts[1].arguments, SLICE("b"))->is_required);
}

/* Each allocation fails in turn: nothing is half there, nothing leaks. */
static void test_no_memory(void **state)
{
	bool reached = true;
	struct err err;

	(void)state;
	load();
	for (long nth = 0; reached; nth++) {
		struct resourceset resources;
		struct promptset prompts;
		long live = mem_fault_live();
		int ret;

		err = (struct err){0};
		buf_clear(&file.complaints);
		mem_fault_at(nth, 1);
		ret = resourceset_init(&resources, &file.cfg, &err);
		if (ret == 0) {
			ret = promptset_init(&prompts, &file.cfg, &err);
			if (ret == 0)
				promptset_release(&prompts);
			resourceset_release(&resources);
		}
		reached = mem_fault_end();
		if (ret != (reached ? -1 : 0) && file.complaints.len == 0)
			fail_msg("allocation %ld: %d %s", nth, ret, err.msg);
		assert_int_equal(mem_fault_live(), live);
	}
}

static int setup(void **state)
{
	(void)state;
	toolfile_init(&file);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	toolfile_release(&file);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_complaints),
	    cmocka_unit_test(test_listings),
	    cmocka_unit_test(test_find),
	    cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests_name("offers", tests, setup, teardown);
}
