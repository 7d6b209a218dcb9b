/* common/cfg.c, common/jpos.c: what a configuration may be, and exactly what is said about one that is wrong. */
#include "config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cfg.h"
#include "common/jpos.h"
#include "common/jx.h"
#include "common/mem.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define FILES_MAX 4

static char dir[] = "/tmp/mcp-test-cfg.XXXXXX";

struct file {
	const char *name, *text;
};

static void put_file(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void drop_file(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(unlink(path), 0);
}

/* Complaints, a line each, with the scratch directory left out. */
static void on_complain(void *arg, const char *line)
{
	struct buf *said = arg;
	size_t len = strlen(dir);

	for (; *line; line++) {
		if (strncmp(line, dir, len) == 0 && line[len] == '/')
			line += len;
		else
			buf_add(said, line, 1);
	}
	buf_adds(said, "\n");
}

/* Loads main.json among files with sets; the complaints are in *said. */
static int load(struct cfg *cfg, const struct file *files, const char *const *sets, struct buf *said, struct err *err)
{
	char path[256];
	size_t sets_count = 0;
	int ret;

	for (size_t i = 0; i < FILES_MAX && files[i].name; i++)
		put_file(files[i].name, files[i].text);
	while (sets && sets_count < 4 && sets[sets_count])
		sets_count++;
	snprintf(path, sizeof(path), "%s/main.json", dir);
	assert_int_equal(cfg_init(cfg, err), 0);
	cfg->complain = on_complain;
	cfg->complain_arg = said;
	ret = cfg_load(cfg, path, sets, sets_count, err);
	for (size_t i = 0; i < FILES_MAX && files[i].name; i++)
		drop_file(files[i].name);
	return ret;
}

static void test_bad(void **state)
{
	static const struct { const char *name; struct file files[FILES_MAX]; const char *sets[4], *said; } cases[] = {
	    {"below range", {{"main.json", "{\n \"stream\": {\n  \"after_ms\": 5\n }\n}"}}, {NULL},
	        "main.json:3: /stream/after_ms: 5 is out of range: 10 to 600000 ms\n"},
	    {"above range", {{"main.json", "{\"batch\":{\"max\":10001}}"}}, {NULL},
	        "main.json:1: /batch/max: 10001 is out of range: 1 to 10000 messages\n"},
	    {"beyond 64 bits", {{"main.json", "{\"batch\":{\"max\":99999999999999999999}}"}}, {NULL},
	        "main.json:1: /batch/max: out of range: 1 to 10000 messages\n"},
	    {"string for integer", {{"main.json", "{\"batch\":{\"max\":\"5\"}}"}}, {NULL},
	        "main.json:1: /batch/max: must be an integer, 1 to 10000 messages\n"},
	    {"fraction for integer", {{"main.json", "{\"batch\":{\"max\":1.5}}"}}, {NULL},
	        "main.json:1: /batch/max: must be an integer, 1 to 10000 messages\n"},
	    {"null", {{"main.json", "{\"batch\":{\"max\":null}}"}}, {NULL},
	        "main.json:1: /batch/max: must be an integer, 1 to 10000 messages\n"},
	    {"integer for bool", {{"main.json", "{\"broker\":{\"autostart\":1}}"}}, {NULL},
	        "main.json:1: /broker/autostart: must be true or false\n"},
	    {"integer for string", {{"main.json", "{\"server\":{\"name\":1}}"}}, {NULL},
	        "main.json:1: /server/name: must be a string\n"},
	    {"NUL in a string", {{"main.json", "{\"server\":{\"title\":\"a\\u0000b\"}}"}}, {NULL},
	        "main.json:1: /server/title: holds a NUL\n"},
	    {"string for list", {{"main.json", "{\"cors\":{\"origins\":\"x\"}}"}}, {NULL},
	        "main.json:1: /cors/origins: must be an array of strings\n"},
	    {"list of numbers", {{"main.json", "{\"cors\":{\"origins\":[1]}}"}}, {NULL},
	        "main.json:1: /cors/origins: must be an array of strings\n"},
	    {"unknown setting", {{"main.json", "{\"stream\":\n{\"aftr_ms\":500}}"}}, {NULL},
	        "main.json:2: /stream/aftr_ms: no such setting; did you mean {\"stream\": {\"after_ms\": ...}}?\n"},
	    {"setting as --set has it", {{"main.json", "{\"stream_after_ms\":500}"}}, {NULL},
	        "main.json:1: /stream_after_ms: no such setting; did you mean {\"stream\": {\"after_ms\": ...}}?\n"},
	    {"setting as texts have it", {{"main.json", "{\"exec.timeout_s\":500}"}}, {NULL},
	        "main.json:1: /exec.timeout_s: no such setting; did you mean {\"exec\": {\"timeout_s\": ...}}?\n"},
	    {"setting without its section", {{"main.json", "{\"public_url\":\"x\"}"}}, {NULL},
	        "main.json:1: /public_url: no such setting; did you mean {\"server\": {\"public_url\": ...}}?\n"},
	    {"unknown setting, nothing near", {{"main.json", "{\"run\":{\"xyzzyplugh\":500}}"}}, {NULL},
	        "main.json:1: /run/xyzzyplugh: no such setting\n"},
	    {"unknown section", {{"main.json", "{\"sever\":{}}"}}, {NULL},
	        "main.json:1: /sever: no such section; did you mean \"server\"?\n"},
	    {"unknown section, nothing near", {{"main.json", "{\"xyzzyplugh\":{}}"}}, {NULL},
	        "main.json:1: /xyzzyplugh: no such section\n"},
	    {"section is no object", {{"main.json", "{\"server\":\"x\"}"}}, {NULL}, "main.json:1: /server: must be an object\n"},
	    {"no such log level", {{"main.json", "{\"log\":{\"level\":\"loud\"}}"}}, {NULL},
	        "main.json:1: /log/level: must be error, warn, info or debug\n"},
	    {"no such store", {{"main.json", "{\"store\":{\"kind\":\"disk\",\n\"sync\":\"always\"}}"}}, {NULL},
	        "main.json:1: /store/kind: must be sqlite or memory\n"
	        "main.json:2: /store/sync: must be write or group\n"},
	    {"no URL", {{"main.json", "{\"server\":{\"public_url\":\"example.com\"}}"}}, {NULL},
	        "main.json:1: /server/public_url: must be a URL that begins with http:// or https://\n"},
	    {"several at once", {{"main.json", "{\"log\":{\"level\":\"loud\"},\n\"batch\":{\"max\":0}}"}}, {NULL},
	        "main.json:1: /log/level: must be error, warn, info or debug\n"
	        "main.json:2: /batch/max: 0 is out of range: 1 to 10000 messages\n"},
	    {"setting twice", {{"main.json", "{\"batch\":{\"max\":1,\n\"max\":2}}"}}, {NULL},
	        "main.json:2: /batch/max: stands twice in its object\n"},
	    {"section twice", {{"main.json", "{\"batch\":{\"max\":1},\n\n\"batch\":{\"max\":2}}"}}, {NULL},
	        "main.json:3: /batch: stands twice in its object\n"},
	    {"tool twice", {{"main.json", "{\"tools\":{\"a\":{},\n\"a\":{}}}"}}, {NULL},
	        "main.json:2: /tools/a: stands twice in its object\n"},
	    {"comments keep lines", {{"main.json", "// one\n/* two\nthree */ {\n\"batch\": // four\n{\"max\":\n0}}"}}, {NULL},
	        "main.json:5: /batch/max: 0 is out of range: 1 to 10000 messages\n"},

	    {"empty file", {{"main.json", ""}}, {NULL}, "main.json:1: unexpected end of data\n"},
	    {"truncated", {{"main.json", "{\n\"server\":{"}}, {NULL}, "main.json:2: unexpected end of data\n"},
	    {"no JSON", {{"main.json", "{\n\"server\": x}"}}, {NULL}, "main.json:2: unexpected character\n"},
	    {"an array", {{"main.json", "[]"}}, {NULL}, "main.json:1: must be one JSON object\n"},
	    {"text behind the end", {{"main.json", "{}\n}"}}, {NULL},
	        "main.json:2: something stands behind the end of the configuration\n"},

	    {"tools no object", {{"main.json", "{\"tools\":[]}"}}, {NULL},
	        "main.json:1: /tools: must be an object: name -> definition\n"},
	    {"tool null", {{"main.json", "{\"tools\":{\"a\":null}}"}}, {NULL}, "main.json:1: /tools/a: must be an object\n"},

	    {"variable not set", {{"main.json", "{\"server\":{\n\"name\":\"${MCP_NONE}\"}}"}}, {NULL},
	        "main.json:2: /server/name: the environment has no MCP_NONE; write $${ for a plain ${\n"},
	    {"variable without end", {{"main.json", "{\"server\":{\"name\":\"${MCP\"}}"}}, {NULL},
	        "main.json:1: /server/name: ${ without }; write $${ for a plain ${\n"},
	    {"variable in a list", {{"main.json", "{\"cors\":{\"origins\":[\"a\",\n\"${MCP_NONE}\"]}}"}}, {NULL},
	        "main.json:2: /cors/origins/1: the environment has no MCP_NONE; write $${ for a plain ${\n"},

	    {"include of nothing", {{"main.json", "{\"include\":\"none.json\"}"}}, {NULL},
	        "main.json:1: /include: none.json: no such file\n"},
	    {"include no string", {{"main.json", "{\"include\":[1]}"}}, {NULL},
	        "main.json:1: /include: must be a string or an array of strings\n"},
	    {"include of itself", {{"main.json", "{\"include\":\"main.json\"}"}}, {NULL}, "main.json:1: is included twice\n"},
	    {"include in a circle",
	        {{"main.json", "{\"include\":\"a.json\"}"}, {"a.json", "{\"include\":\"./b.json\"}"}, {"b.json", "{\"include\":\"a.json\"}"}},
	        {NULL}, "a.json:1: is included twice\n"},
	    {"include twice", {{"main.json", "{\"include\":[\"a.json\",\"./a.json\"]}"}, {"a.json", "{}"}}, {NULL},
	        "a.json:1: is included twice\n"},
	    {"setting in two files", {{"main.json", "{\"batch\":{\"max\":1},\"include\":\"a.json\"}"}, {"a.json", "{\n\"batch\":{\"max\":1}}"}},
	        {NULL}, "a.json:2: /batch/max: is set in another file too\n"},
	    {"tool in two files", {{"main.json", "{\"tools\":{\"x\":{}},\"include\":\"a.json\"}"}, {"a.json", "{\n\"tools\":{\n\"x\":{}}}"}},
	        {NULL}, "a.json:3: /tools/x: another file has a tool of this name\n"},
	    {"mistake in an included file", {{"main.json", "{\"include\":\"a.json\"}"}, {"a.json", "{\n\"batch\":{\"max\":0}}"}}, {NULL},
	        "a.json:2: /batch/max: 0 is out of range: 1 to 10000 messages\n"},
	    {"no JSON in an included file", {{"main.json", "{\"include\":\"a.json\"}"}, {"a.json", "\n?"}}, {NULL},
	        "a.json:2: unexpected character\n"},

	    {"--set of nothing", {{"main.json", "{}"}}, {"aftr_ms=1"}, "--set aftr_ms: no such setting\n"},
	    {"--set misspelt", {{"main.json", "{}"}}, {"stream_aftr_ms=1"},
	        "--set stream_aftr_ms: no such setting; did you mean stream_after_ms?\n"},
	    {"--set without value", {{"main.json", "{}"}}, {"stream_after_ms"}, "--set stream_after_ms: NAME=VALUE is needed\n"},
	    {"--set out of range", {{"main.json", "{}"}}, {"stream_after_ms=5"},
	        "--set stream_after_ms: 5 is out of range: 10 to 600000 ms\n"},
	    {"--set no number", {{"main.json", "{}"}}, {"stream_after_ms=5s"},
	        "--set stream_after_ms: must be an integer, 10 to 600000 ms\n"},
	    {"--set huge", {{"main.json", "{}"}}, {"stream_after_ms=99999999999999999999"},
	        "--set stream_after_ms: must be an integer, 10 to 600000 ms\n"},
	    {"--set empty number", {{"main.json", "{}"}}, {"stream_after_ms="},
	        "--set stream_after_ms: must be an integer, 10 to 600000 ms\n"},
	    {"--set no bool", {{"main.json", "{}"}}, {"broker_autostart=yes"}, "--set broker_autostart: must be true or false\n"},
	    {"--set no level", {{"main.json", "{}"}}, {"log_level=loud"}, "--set log_level: must be error, warn, info or debug\n"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = {0};
		struct cfg cfg;
		struct buf said;
		int ret;

		buf_init(&said, 8192);
		ret = load(&cfg, cases[i].files, cases[i].sets, &said, &err);
		if (ret != -1 || err.code != ERR_CONFIG || !said.data)
			fail_msg("%s: got %d, %s (%s)", cases[i].name, ret, err_name(err.code), err.msg);
		if (strcmp(said.data, cases[i].said) != 0)
			fail_msg("%s: said %s", cases[i].name, said.data);
		buf_release(&said);
		cfg_release(&cfg);
	}
}

static void test_good(void **state)
{
	static const struct file files[FILES_MAX] = {
	    {"main.json", "// A comment\n{\n"
	        "\"$schema\": \"x\",\n"
	        "\"server\": {\"name\": \"a ${MCP_TEST_NAME} $${b} $c\", \"title\": \"\\u00e9\"},\n"
	        "\"auth\": {\"api_keys_file\": \"keys\"},\n"
	        "\"run\": {\"dir\": \"/run/x\"},\n"
	        "\"http\": {\"ca_file\": \"${MCP_TEST_EMPTY}\"},\n"
	        "\"broker\": {\"autostart\": false}, /* of old */\n"
	        "\"stream\": {\"after_ms\": 10, \"max\": 1000000},\n"
	        "\"cors\": {\"origins\": [\"https://a\", \"https://b\"]},\n"
	        "\"tools\": {\"a\": {\"x\": [\"${MCP_TEST_NAME}\"]}},\n"
	        "\"include\": [\"more-*.json\", \"none-*.json\"]}\n// the end"},
	    {"more-1.json", "{\"tools\":{\"b\":{}},\"exec\":{\"launcher\":\"launch\"}}"},
	    {"more-2.json", "{\"tools\":{\n\"c\":{}}}"},
	};
	static const char *const sets[4] = {"batch_max=7", "cors_origins=https://c,https://d,", "broker_program=b", "log_level=debug"};
	char path[PATH_MAX], cwd[PATH_MAX];
	struct err err = {0};
	struct cfg cfg;
	struct buf said;

	(void)state;
	buf_init(&said, 8192);
	assert_int_equal(setenv("MCP_TEST_NAME", "site", 1), 0);
	assert_int_equal(setenv("MCP_TEST_EMPTY", "", 1), 0);
	if (load(&cfg, files, sets, &said, &err))
		fail_msg("%s %s", err.msg, said.data ? said.data : "");
	assert_string_equal(cfg.server_name, "a site ${b} $c");
	assert_string_equal(cfg.server_title, "\u00e9");
	snprintf(path, sizeof(path), "%s/keys", dir);
	assert_string_equal(cfg.auth_api_keys_file, path);
	assert_string_equal(cfg.run_dir, "/run/x");
	assert_string_equal(cfg.http_ca_file, "");
	assert_false(cfg.broker_autostart);
	assert_int_equal(cfg.stream_after_ms, 10);
	assert_int_equal(cfg.stream_max, 1000000);
	assert_int_equal(cfg.batch_max, 7);
	assert_int_equal(cfg.cors_origins.count, 2);
	assert_string_equal(cfg.cors_origins.items[0], "https://c");
	assert_string_equal(cfg.cors_origins.items[1], "https://d");
	assert_string_equal(cfg.log_level, "debug");
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_int_equal(strncmp(cfg.broker_program, cwd, strlen(cwd)), 0);
	assert_string_equal(cfg.broker_program + strlen(cwd), "/b");
	snprintf(path, sizeof(path), "%s/launch", dir);
	assert_string_equal(cfg.exec_launcher, path);
	snprintf(path, sizeof(path), "%s/main.json", dir);
	assert_string_equal(cfg.file, path);
	assert_int_equal(cfg.sets.count, 4);
	assert_string_equal(cfg.sets.items[0], "batch_max=7");
	assert_int_equal(json_object_object_length(cfg.tools), 3);
	assert_string_equal(jx_str(json_object_array_get_idx(jx_get(jx_get(cfg.tools, "a"), "x"), 0)).p, "site");
	assert_string_equal(cfg_dir_of(&cfg, "/tools/b"), dir);
	cfg_complain(&cfg, "/tools/c/none/deep", "%s", "late");
	assert_string_equal(said.data, "more-2.json:2: /tools/c/none/deep: late\n");
	assert_int_equal(cfg.complaint_count, 1);
	unsetenv("MCP_TEST_NAME");
	unsetenv("MCP_TEST_EMPTY");
	buf_release(&said);
	cfg_release(&cfg);
	cfg_release(&cfg); /* harmless */
}

/* Whose text is gone over when something is looked for: ld --wrap. */
unsigned __real_jpos_line(struct slice text, const char *pointer);
unsigned __wrap_jpos_line(struct slice text, const char *pointer);
static size_t texts_read;

unsigned __wrap_jpos_line(struct slice text, const char *pointer)
{
	texts_read++;
	return __real_jpos_line(text, pointer);
}

/* As many definitions as one likes, in several files: where one stands is known, and its line is looked for there alone. */
static void test_many_definitions(void **state)
{
	static char texts[2][40000];
	struct file files[FILES_MAX] = {
	    {"main.json", "{\"include\":[\"one.json\",\"two.json\"]}"}, {"one.json", texts[0]}, {"two.json", texts[1]}};
	struct err err = {0};
	struct cfg cfg;
	struct buf said;

	(void)state;
	for (int k = 0; k < 2; k++) {
		size_t len = (size_t)snprintf(texts[k], sizeof(texts[k]), "{\"tools\":{\"%d/~\":{}", k);

		for (int n = 0; n < 1000; n++)
			len += (size_t)snprintf(texts[k] + len, sizeof(texts[k]) - len, ",\n\"%d.%d\":{\"a\":1}", k, n);
		snprintf(texts[k] + len, sizeof(texts[k]) - len, "}}");
	}
	buf_init(&said, 8192);
	texts_read = 0;
	assert_int_equal(load(&cfg, files, NULL, &said, &err), 0);
	for (int n = 0; n < 1000; n++) {
		char pointer[64];

		snprintf(pointer, sizeof(pointer), "/tools/%d.%d/http/headers", n % 2, n);
		assert_string_equal(cfg_dir_of(&cfg, pointer), dir);
	}
	assert_string_equal(cfg_dir_of(&cfg, "/tools/1~1~0/a"), dir);
	assert_int_equal(texts_read, 0);
	cfg_complain(&cfg, "/tools/1.999/a", "wrong");
	assert_int_equal(texts_read, 1);
	assert_string_equal(said.data, "two.json:1001: /tools/1.999/a: wrong\n");
	buf_release(&said);
	cfg_release(&cfg);
}

/* Every row: its default is in range, its borders are taken, what is beyond them is not, and it comes back as it was written. */
static void test_rows(void **state)
{
	size_t count;
	const struct cfg_row *rows = cfg_rows(&count);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		const struct cfg_row *row = &rows[i];
		const char *rest = strchr(row->name, '_');
		char section[64], text[256];

		assert_non_null(rest);
		assert_true(row->help[0] && row->help[strlen(row->help) - 1] != '.');
		snprintf(section, sizeof(section), "%.*s", (int)(rest - row->name), row->name);
		for (int step = -1; strcmp(row->type, "int") == 0 && step <= 2; step++) {
			int64_t n = step <= 0 ? row->min + step : row->max + step - 1;
			struct file files[FILES_MAX] = {{"main.json", text}};
			struct err err = {0};
			struct buf said, value;
			struct cfg cfg;
			int ret;

			snprintf(text, sizeof(text), "{\"%s\":{\"%s\":%lld}}", section, rest + 1, (long long)n);
			buf_init(&said, 8192);
			buf_init(&value, 8192);
			ret = load(&cfg, files, NULL, &said, &err);
			if (ret != (step < 0 || step == 2 ? -1 : 0))
				fail_msg("%s: %d", text, ret);
			cfg_add_value(&value, &cfg, i);
			snprintf(text, sizeof(text), "%lld", (long long)n);
			if (ret == 0)
				assert_string_equal(value.data, text);
			else
				assert_string_equal(value.data, row->def);
			buf_release(&said);
			buf_release(&value);
			cfg_release(&cfg);
		}
	}
}

static void test_no_file(void **state)
{
	struct err err = {0};
	struct cfg cfg;
	struct buf said;

	(void)state;
	buf_init(&said, 8192);
	assert_int_equal(cfg_init(&cfg, &err), 0);
	cfg.complain = on_complain;
	cfg.complain_arg = &said;
	unsetenv("MCP_FCGI_CONF");
	if (access(CFG_FILE_DEFAULT, F_OK) != 0) {
		assert_int_equal(cfg_load(&cfg, NULL, NULL, 0, &err), -1);
		assert_int_equal(err.code, ERR_CONFIG);
		assert_non_null(strstr(err.msg, CFG_FILE_DEFAULT));
		assert_non_null(strstr(err.msg, "--conf"));
	}
	setenv("MCP_FCGI_CONF", "/nonexistent/mcp.json", 1);
	assert_int_equal(cfg_load(&cfg, NULL, NULL, 0, &err), -1);
	assert_non_null(strstr(err.msg, "/nonexistent/mcp.json: No such file"));
	unsetenv("MCP_FCGI_CONF");
	assert_int_equal(cfg_load(&cfg, "/", NULL, 0, &err), -1);
	assert_int_equal(err.code, ERR_CONFIG);
	assert_string_equal(said.data, "/:1: can't be read, is no regular file, or is larger than 16 MiB\n");
	buf_release(&said);
	cfg_release(&cfg);
}

static void test_nearest(void **state)
{
	static const char *const names[] = {"echo", "stream_after_ms", "stream_max", "server", NULL};
	static const struct { const char *name, *want; } cases[] = {
	    {"echo", "echo"}, {"ehco", "echo"}, {"ech", "echo"}, {"e", NULL}, {"sever", "server"}, {"stream_after", "stream_after_ms"},
	    {"stream_maxx", "stream_max"}, {"xyzzy", NULL}, {"", NULL},
	};
	char huge[4096];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const char *got = cfg_nearest(cases[i].name, names);

		if ((got == NULL) != (cases[i].want == NULL) || (got && strcmp(got, cases[i].want) != 0))
			fail_msg("%s: got %s", cases[i].name, got ? got : "nothing");
	}
	memset(huge, 'x', sizeof(huge));
	huge[sizeof(huge) - 1] = '\0';
	assert_null(cfg_nearest(huge, names));
}

static void test_path_join(void **state)
{
	static const struct { const char *dir, *path, *want; } cases[] = {
	    {"/a", "b", "/a/b"}, {"/a", "/b", "/b"}, {"/", "b", "//b"}, {".", "b/c", "./b/c"}, {"", "b", "b"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char *got = cfg_path_join(cases[i].dir, cases[i].path);

		assert_string_equal(got, cases[i].want);
		mem_free(got);
	}
}

static void test_jpos(void **state)
{
	static const char text[] = "// c\n{ \"a\": 1, /* \"b\": 2,\n */ \"b\": {\n \"c/d~\": [ 10,\n {\"x\": \"}\\\"]\"},\n [ ] ],\n\n"
				   "\"e\\n\": null } }\n";
	static const struct { const char *pointer; unsigned line; } cases[] = {
	    {"", 2}, {"/a", 2}, {"/b", 3}, {"/b/c~1d~0", 4}, {"/b/c~1d~0/0", 4}, {"/b/c~1d~0/1", 5}, {"/b/c~1d~0/1/x", 5},
	    {"/b/c~1d~0/2", 6}, {"/b/c~1d~0/3", 0}, {"/c", 0}, {"/a/b", 0}, {"/b/e\\n", 8}, {"x", 0},
	};
	char pointer[JPOS_POINTER_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		unsigned line = jpos_line((struct slice)TEXT(text), cases[i].pointer);

		if (line != cases[i].line)
			fail_msg("%s: line %u", cases[i].pointer, line);
	}
	assert_int_equal(jpos_line_of_byte(SLICE("a\nb"), 0), 1);
	assert_int_equal(jpos_line_of_byte(SLICE("a\nb"), 2), 2);
	assert_int_equal(jpos_line_of_byte(SLICE("a\nb"), 100), 2);
	assert_int_equal(jpos_count_members((struct slice)TEXT(text)), 5);
	assert_int_equal(jpos_find_duplicate((struct slice)TEXT(text), pointer), 0);
	assert_int_equal(jpos_find_duplicate(SLICE("{\"a\":[{\"x\":{\"b\":1,\"c\":{\"b\":2},\n\"b\":3}}]}"), pointer), 2);
	assert_string_equal(pointer, "/a/0/x/b");
	assert_true(jpos_is_blank(SLICE(" \n// x\n/* y */")));
	assert_false(jpos_is_blank(SLICE("// x\n}")));
	assert_true(jpos_is_blank(SLICE("")));
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int drop_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_bad),	    cmocka_unit_test(test_good),      cmocka_unit_test(test_many_definitions),
	    cmocka_unit_test(test_rows), cmocka_unit_test(test_no_file),
	    cmocka_unit_test(test_nearest), cmocka_unit_test(test_path_join), cmocka_unit_test(test_jpos),
	};

	return cmocka_run_group_tests_name("cfg", tests, make_dir, drop_dir);
}
