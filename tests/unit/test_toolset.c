/* What definitions become, and every complaint about them with its line. */
#include "config.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <stdio.h>

#include "common/jx.h"
#include "tests/lib/toolfile.h"
#include "common/banned.h"

static struct toolfile file;

#define TOOLS(text)  "{\n\"tools\": {\n" text "\n}}"
#define INPUT(text)  TOOLS("\"t\": {\"builtin\": \"echo\",\n\"input\": " text "}")
#define HEADER(text) INPUT("{\"a\": {\"type\": \"string\",\n\"x-mcp-header\": " text "}}")

static const struct toolfile_complaint complaints[] = {
    {TOOLS("\"t\": 1"),
	"DIR/mcp.json:3: /tools/t: a tool is described by an object, as in {\"exec\": [\"/usr/bin/uptime\"]}\n"},
    {TOOLS("\"a b\": {\"builtin\": \"echo\"}"),
	"DIR/mcp.json:3: /tools/a b: a tool's name is 1 to 128 of A-Z a-z 0-9 _ - .\n"},
    {TOOLS("\"t\": {}"), "DIR/mcp.json:3: /tools/t: a tool needs exactly one of \"builtin\", \"exec\", \"http\" and \"sql\"\n"},
    {TOOLS("\"t\": {\"builtin\": \"echo\", \"exec\": [\"/bin/true\"]}"),
	"DIR/mcp.json:3: /tools/t: a tool needs exactly one of \"builtin\", \"exec\", \"http\" and \"sql\"\n"},
    {TOOLS("\"t\": {\n\"builtin\": \"ecko\"}"),
	"DIR/mcp.json:3: /tools/t: builtin must be the name of a builtin tool: did you mean echo?\n"},
    {TOOLS("\"t\": {\"builtin\": \"echo\",\n\"descripton\": \"x\"}"),
	"DIR/mcp.json:4: /tools/t/descripton: unknown member \"descripton\"; did you mean \"description\"?\n"},
    {TOOLS("\"t\": {\"builtin\": \"echo\",\n\"output\": \"text\"}"),
	"DIR/mcp.json:4: /tools/t/output: unknown member \"output\"; did you mean \"input\"?\n"},
    {TOOLS("\"t\": {\"exec\": [\"/bin/true\"],\n\"inputSchema\": {}}"),
	"DIR/mcp.json:4: /tools/t/inputSchema: unknown member \"inputSchema\"; did you mean \"input\"?\n"},
    {TOOLS("\"t\": {\"builtin\": \"echo\",\n\"title\": 1, \"icons\": {}}"),
	"DIR/mcp.json:4: /tools/t/title: title must be a string\nDIR/mcp.json:4: /tools/t/icons: icons must be an "
	"array\n"},
    {TOOLS("\"t\": {\"builtin\": \"echo\",\n\"annotations\": {\"readOnlyHint\": 1}}"),
	"DIR/mcp.json:4: /tools/t/annotations: annotations.readOnlyHint must be true or false\n"},
    {TOOLS("\"t\": {\"builtin\": \"echo\",\n\"icons\": [{\"src\": \"icon.png\"}]}"),
	"DIR/mcp.json:4: /tools/t/icons: icons[0].src must be an http, https or data URL\n"},
    {TOOLS("\"t\": {\"builtin\": \"echo\",\n\"input\": []}"),
	"DIR/mcp.json:4: /tools/t/input: input must be an object\n"},
    {TOOLS("\"t\": {\"builtin\": \"echo\",\n\"timeout_s\": 0}"),
	"DIR/mcp.json:4: /tools/t/timeout_s: timeout_s must be a whole number, 1 to 86400 s\n"},
    {INPUT("{\"a\": {},\n\"b\": 1}"),
	"DIR/mcp.json:5: /tools/t/input/b: an argument is described by an object, as in {\"type\": \"string\"}\n"},
    {INPUT("{\"a\": {\n\"optional\": 1}}"),
	"DIR/mcp.json:5: /tools/t/input/a/optional: optional must be true or false\n"},
    {INPUT("{\"a\": {\"type\": \"string\",\n\"minLength\": -1}}"),
	"DIR/mcp.json:5: /tools/t/input/a/minLength: minLength must be a whole number, 0 or more\n"},
    {INPUT("{\"type\": \"object\", \"properties\": {\"a\": {\n\"type\": \"text\"}}}"),
	"DIR/mcp.json:5: /tools/t/input/properties/a/type: type must be string, integer, number, boolean, object, "
	"array or "
	"null, or an array of these\n"},
    {INPUT("{\n\"type\": \"array\"}"),
	"DIR/mcp.json:5: /tools/t/input/type: a whole schema of the arguments has \"type\": \"object\"\n"},
    {TOOLS("\"t\": {\"builtin\": \"echo\",\n\"output_schema\": {\n\"pattern\": \"(\"}}"),
	"DIR/mcp.json:5: /tools/t/output_schema/pattern: the pattern is no regular expression: missing closing "
	"parenthesis\n"},
    {HEADER("\"\""), "DIR/mcp.json:4: /tools/t/input/a: x-mcp-header must be 1 to 100 letters, digits and '-'\n"},
    {HEADER("\"A_B\""), "DIR/mcp.json:4: /tools/t/input/a: x-mcp-header must be 1 to 100 letters, digits and '-'\n"},
    {HEADER("1"), "DIR/mcp.json:4: /tools/t/input/a: x-mcp-header must be 1 to 100 letters, digits and '-'\n"},
    {HEADER("\"A-b\"}, \"b\": {\"type\": \"integer\", \"x-mcp-header\": \"a-B\""),
	"DIR/mcp.json:5: /tools/t/input/b: two arguments have this x-mcp-header (case does not count)\n"},
    {INPUT("{\"a\": {\"type\": \"number\", \"x-mcp-header\": \"A\"}}"),
	"DIR/mcp.json:4: /tools/t/input/a: x-mcp-header needs \"type\": \"string\", \"integer\" or \"boolean\"\n"},
    {INPUT("{\"a\": {\"type\": \"array\", \"items\": {\"type\": \"string\", \"x-mcp-header\": \"A\"}}}"),
	"DIR/mcp.json:4: /tools/t/input/a/items: x-mcp-header only stands in arguments that are reached through "
	"properties "
	"alone\n"},
    {INPUT("{\"type\": \"object\", \"allOf\": [{\"properties\": {\"a\": {\"type\": \"string\", \"x-mcp-header\": "
	   "\"A\"}}}]}"),
	"DIR/mcp.json:4: /tools/t/input/allOf/0/properties/a: x-mcp-header only stands in arguments that are reached "
	"through "
	"properties alone\n"},
    {TOOLS("\"t\": {\"exec\": []}"),
	"DIR/mcp.json:3: /tools/t/exec: exec must be an array of strings, the program first\n"},
    {TOOLS("\"t\": {\"exec\": [\"/bin/true\", 1]}"),
	"DIR/mcp.json:3: /tools/t/exec: exec must be an array of strings, the program first\n"},
    {TOOLS("\"t\": {\"exec\": [\n\"./no-such-program\"]}"),
	"DIR/mcp.json:4: /tools/t/exec/0: ./no-such-program is no executable file\n"},
    {TOOLS("\"t\": {\"exec\": [\"{a}\"], \"input\": {\"a\": {}}}"),
	"DIR/mcp.json:3: /tools/t/exec/0: the program itself takes no {placeholder}\n"},
    {TOOLS("\"t\": {\"exec\": [\"/bin/true\",\n\"{b}\"], \"input\": {\"a\": {}}}"),
	"DIR/mcp.json:4: /tools/t/exec/1: {b} is not one of its arguments\n"},
    {TOOLS("\"t\": {\"exec\": [\"/bin/true\",\n\"{b\"], \"input\": {\"a\": {}}}"),
	"DIR/mcp.json:4: /tools/t/exec/1: a { begins a placeholder, as in {path}; a plain { is written {{\n"},
    {TOOLS("\"t\": {\"exec\": [\"/bin/true\"], \"input\": {\"a\": {}, \"b\": {\"default\": 1}},\n\"ask\": {\"q\": "
	   "{\"method\": \"elicitation/create\", \"params\": {\"message\": \"{a} {b}?\", \"requestedSchema\": "
	   "{\"type\": \"object\", \"properties\": {}}}}}}"),
	"DIR/mcp.json:4: /tools/t/ask/q: {b} is not one of its required arguments\n"},
    {TOOLS("\"t\": {\"exec\": [\"/bin/true\"], \"input\": {\"a\": {}, \"b\": {\"default\": 1}},\n\"ask\": {\"q\": "
	   "{\"method\": \"elicitation/create\", \"params\": {\"message\": \"{a\", \"requestedSchema\": "
	   "{\"type\": \"object\", \"properties\": {}}}}}}"),
	"DIR/mcp.json:4: /tools/t/ask/q: a { begins a placeholder, as in {path}; a plain { is written {{\n"},
    {TOOLS("\"t\": {\"exec\": [\"/bin/true\"], \"output\": \"xml\"}"),
	"DIR/mcp.json:3: /tools/t/output: output must be \"text\", \"json\" or \"result\"\n"},
    {TOOLS("\"t\": {\"exec\": [\"/bin/true\"], \"output_schema\": {}}"),
	"DIR/mcp.json:3: /tools/t/output_schema: output_schema needs \"output\": \"json\" or \"result\"\n"},
    {TOOLS("\"t\": {\"exec\": [\"/bin/true\"], \"cwd\": \"/no/such/place\"}"),
	"DIR/mcp.json:3: /tools/t/cwd: /no/such/place is no directory\n"},
    {TOOLS("\"t\": {\"exec\": [\"/bin/true\"], \"env\": {\"A\": 1}}"),
	"DIR/mcp.json:3: /tools/t/env: env must be an object of strings\n"},
    {TOOLS("\"t\": {\"exec\": [\"/bin/true\"], \"inherit_env\": [\"A=B\"]}"),
	"DIR/mcp.json:3: /tools/t/inherit_env: inherit_env must be an array of names\n"},
    {TOOLS("\"t\": {\"exec\": [\"/bin/true\"], \"output_max_bytes\": 1}"),
	"DIR/mcp.json:3: /tools/t/output_max_bytes: output_max_bytes must be a whole number, 1024 to 67108864\n"},
    {TOOLS("\"t\": {\"exec\": [\"/bin/true\"], \"limits\": {\"cpu\": 1}}"),
	"DIR/mcp.json:3: /tools/t/limits/cpu: unknown member \"cpu\"; known are cpu_s and memory_bytes\n"},
    {"{\n\"exec\": {\"dirs\": [\n\"no-such-dir\"]}}",
	"DIR/mcp.json:3: /exec/dirs/0: DIR/no-such-dir: No such file or directory\n"},
    {"{\n\"exec\": {\"dirs\": [\n\"bad\"]}}",
	"DIR/mcp.json:3: /exec/dirs/0/array.json: a manifest is an object\n"
	"DIR/mcp.json:3: /exec/dirs/0/broken.json: no member name at byte 1\n"
	"DIR/mcp.json:3: /exec/dirs/0/exec.json: a manifest names no program: it is the file beside it\n"
	"DIR/mcp.json:3: /exec/dirs/0/lonely.json: DIR/bad/lonely is no executable file\n"},
    {"{\n\"exec\": {\"dirs\": [\n\"good\"]}, \"tools\": {\"hello\": {\"builtin\": \"echo\"}}}",
	"DIR/mcp.json:3: /exec/dirs/0/hello.json: there is a tool \"hello\" already\n"},
};

static void test_complaints(void **state)
{
	(void)state;
	toolfile_check_complaints(&file, complaints, COUNT_OF(complaints), NULL);
}

static void load(const char *text)
{
	struct err err = {0};

	if (toolfile_load(&file, text, &err))
		fail_msg("%s: %s", err.msg, file.complaints.data);
}

static void test_listing(void **state)
{
	const struct tool *tool;
	char digest[17];

	(void)state;
	load(TOOLS("\"zz\": {\"builtin\": \"echo\"},\n"
		   "\"Aa\": {\"_meta\": {\"m\": 1}, \"icons\": [], \"annotations\": {\"readOnlyHint\": true}, "
		   "\"title\": \"T\","
		   "\"description\": \"a/b\", \"exec\": [\"/bin/cat\"], \"output\": \"json\", \"timeout_s\": 7,"
		   "\"output_schema\": {\"type\": \"array\"},"
		   "\"input\": {\"b\": {\"type\": \"string\", \"optional\": true}, \"a\": {\"type\": \"number\"},"
		   "\"c\": {\"default\": 1.50}}},"
		   "\"none\": {\"exec\": [\"/bin/cat\"]}"));
	assert_int_equal(file.set.count, 3);
	tool = &file.set.tools[0];
	assert_string_equal(tool->name, "Aa");
	assert_int_equal(tool->timeout_s, 7);
	assert_string_equal(tool->listing[REV_2026_07],
	    "{\"name\":\"Aa\",\"title\":\"T\",\"description\":\"a/"
	    "b\",\"inputSchema\":{\"type\":\"object\",\"properties\":"
	    "{\"b\":{\"type\":\"string\"},\"a\":{\"type\":\"number\"},\"c\":{\"default\":1.50}},\"required\":[\"a\"],"
	    "\"additionalProperties\":false},\"outputSchema\":{\"type\":\"array\"},\"annotations\":{\"readOnlyHint\":"
	    "true},"
	    "\"icons\":[],\"_meta\":{\"m\":1}}");
	assert_null(strstr(tool->listing[REV_2025_11], "outputSchema")); /* there it must be an object's */
	assert_string_equal(file.set.tools[1].listing[REV_2025_11],
	    "{\"name\":\"none\",\"inputSchema\":{\"type\":\"object\",\"additionalProperties\":false}}");
	assert_string_equal(file.set.tools[2].name, "zz");
	assert_int_equal(file.set.tools[2].timeout_s, 60);
	assert_non_null(strstr(file.set.tools[2].listing[REV_2026_07], "\"description\":\"Answers with the text"));
	assert_int_equal(strlen(file.set.digest), 16);
	memcpy(digest, file.set.digest, sizeof(digest));

	load(TOOLS("\"zz\": {\"builtin\": \"echo\", \"description\": \"other\"}"));
	assert_non_null(strstr(file.set.tools[0].listing[REV_2026_07], "\"description\":\"other\""));
	assert_string_not_equal(file.set.digest, digest);
}

/* A schema comes through as it was written, keywords that nobody knows too. */
static void test_whole_schema(void **state)
{
	static const char schema[] =
	    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\",\"$defs\":{\"address\":{"
	    "\"$anchor\":\"addressDef\",\"type\":\"object\",\"properties\":{\"street\":{\"type\":\"string\"}}}},"
	    "\"properties\":{\"name\":{\"type\":\"string\"},\"address\":{\"$ref\":\"#/$defs/address\"}},"
	    "\"allOf\":[{\"anyOf\":[{\"required\":[\"phone\"]},{\"required\":[\"email\"]}]}],"
	    "\"if\":{\"properties\":{\"contactMethod\":{\"const\":\"phone\"}},\"required\":[\"contactMethod\"]},"
	    "\"then\":{\"required\":[\"phone\"]},\"else\":{\"required\":[\"email\"]},\"additionalProperties\":false,"
	    "\"x-own\":1.0}";
	char text[2000];

	(void)state;
	snprintf(text, sizeof(text), "{\"tools\":{\"t\":{\"builtin\":\"echo\",\"input\":%s}}}", schema);
	load(text);
	assert_non_null(strstr(file.set.tools[0].listing[REV_2026_07], schema));
	assert_non_null(strstr(file.set.tools[0].listing[REV_2025_11], schema));
}

static void test_headers(void **state)
{
	const struct tool_header *header;

	(void)state;
	load(INPUT(
	    "{\"region\": {\"type\": \"string\", \"x-mcp-header\": \"Region-1\"},"
	    "\"x-mcp-header\": {\"type\": \"string\"},"
	    "\"deep\": {\"type\": \"object\", \"properties\": {\"n\": {\"type\": \"integer\", \"x-mcp-header\": \"N\"},"
	    "\"b\": {\"type\": \"boolean\", \"x-mcp-header\": \"b\"}}}}"));
	assert_int_equal(file.set.tools[0].headers_count, 3);
	header = file.set.tools[0].headers;
	assert_string_equal(header->env, "HTTP_MCP_PARAM_REGION_1");
	assert_string_equal(header->annotation, "Region-1");
	assert_int_equal(header->type, TOOL_HEADER_STRING);
	assert_int_equal(header->path_count, 1);
	assert_string_equal(header->path[0], "region");
	header++;
	assert_string_equal(header->env, "HTTP_MCP_PARAM_N");
	assert_int_equal(header->type, TOOL_HEADER_INTEGER);
	assert_int_equal(header->path_count, 2);
	assert_string_equal(header->path[0], "deep");
	assert_string_equal(header->path[1], "n");
	header++;
	assert_int_equal(header->type, TOOL_HEADER_BOOLEAN);
}

static void test_find(void **state)
{
	(void)state;
	load(
	    TOOLS("\"a\": {\"builtin\": \"echo\"}, \"ab\": {\"builtin\": \"echo\"}, \"b.c\": {\"builtin\": \"echo\"}"));
	assert_ptr_equal(toolset_find(&file.set, SLICE("a")), &file.set.tools[0]);
	assert_ptr_equal(toolset_find(&file.set, SLICE("ab")), &file.set.tools[1]);
	assert_ptr_equal(toolset_find(&file.set, SLICE("b.c")), &file.set.tools[2]);
	assert_null(toolset_find(&file.set, SLICE("A")));
	assert_null(toolset_find(&file.set, SLICE("a\0")));
	assert_null(toolset_find(&file.set, SLICE("")));
	load("{}");
	assert_null(toolset_find(&file.set, SLICE("a")));
}

static void test_manifests(void **state)
{
	const struct tool *tool;

	(void)state;
	load("{\"exec\": {\"dirs\": [\"good\"]}}");
	assert_int_equal(file.set.count, 2);
	tool = toolset_find(&file.set, SLICE("hello"));
	assert_non_null(tool);
	assert_string_equal(tool->listing[REV_2026_07],
	    "{\"name\":\"hello\",\"description\":\"says it\",\"inputSchema\":{\"type\":"
	    "\"object\",\"properties\":{\"who\":{\"type\":\"string\"}},\"required\":"
	    "[\"who\"],\"additionalProperties\":false}}");
	assert_non_null(toolset_find(&file.set, SLICE("other.sh")));
}

static int set_up(void **state)
{
	char path[128];

	(void)state;
	toolfile_init(&file);
	snprintf(path, sizeof(path), "%s/good", file.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/bad", file.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	toolfile_write(&file, "good/hello", "#!/bin/sh\n", 0755);
	toolfile_write(&file, "good/hello.json",
	    "{\"description\":\"says it\",\"args\":[\"{who}\"],\"input\":{\"who\":{\"type\":\"string\"}}}", 0644);
	toolfile_write(&file, "good/other.sh", "#!/bin/sh\n", 0755);
	toolfile_write(&file, "good/other.sh.json", "{}", 0644);
	toolfile_write(&file, "good/README", "no manifest, no tool\n", 0644);
	toolfile_write(&file, "bad/lonely.json", "{}", 0644);
	toolfile_write(&file, "bad/broken.json", "{x", 0644);
	toolfile_write(&file, "bad/array.json", "[]", 0644);
	toolfile_write(&file, "bad/exec.json", "{\"exec\":[\"/bin/true\"]}", 0644);
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
	    cmocka_unit_test(test_complaints),
	    cmocka_unit_test(test_listing),
	    cmocka_unit_test(test_whole_schema),
	    cmocka_unit_test(test_headers),
	    cmocka_unit_test(test_find),
	    cmocka_unit_test(test_manifests),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
