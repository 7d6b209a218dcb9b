/* fcgi/provider_file.c: definitions and what is complained about, and what clients get: contents, lists page by page,
 * completions. Which files there are is test_filetree's. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/filetree.h"
#include "fcgi/provider.h"
#include "fcgi/uri_template.h"
#include "tests/lib/fake_call.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/scratch.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

struct site {
	struct scratch scratch;
	struct cfg cfg;
	struct buf complaints;
	struct fake_call fake;
	json_object *def;
	struct resource resource;
	struct err err;
};

static void keep_complaint(void *arg, const char *line)
{
	struct site *site = arg;

	buf_addf(&site->complaints, "%s\n", line);
}

static int site_init(void **state)
{
	struct site *site = test_calloc(1, sizeof(*site));

	scratch_init(&site->scratch);
	assert_int_equal(cfg_init(&site->cfg, NULL), 0);
	site->cfg.complain = keep_complaint;
	site->cfg.complain_arg = site;
	buf_init(&site->complaints, 4096);
	fake_call_init(&site->fake, &site->cfg, ERA_MODERN);
	*state = site;
	return 0;
}

static void undefine(struct site *site)
{
	provider_file.resource_release(&site->resource);
	uri_template_free(&site->resource.template);
	mem_free(site->resource.mime_type);
	json_object_put(site->def);
	site->resource = (struct resource){0};
	site->def = NULL;
	buf_clear(&site->complaints);
	site->err = (struct err){0};
}

static int site_release(void **state)
{
	struct site *site = *state;

	undefine(site);
	fake_call_release(&site->fake);
	buf_release(&site->complaints);
	cfg_release(&site->cfg);
	scratch_release(&site->scratch);
	test_free(site);
	return 0;
}

/* A resource whose "file" is path in the scratch directory, with further members. */
static int define(struct site *site, char *uri, const char *path, const char *rest)
{
	char text[1024];

	undefine(site);
	snprintf(text, sizeof(text), "{\"file\":\"%s\"%s}", scratch_path(&site->scratch, path), rest);
	site->def = jx_parse(slice_str(text), 8, &site->err);
	if (!site->def)
		return -1;
	site->resource.uri = uri;
	site->resource.provider = &provider_file;
	if (strchr(uri, '{')) {
		site->resource.template = uri_template_new(slice_str(uri), &site->err);
		if (!site->resource.template)
			return -1;
	}
	return provider_file.resource_init(&site->resource, site->def, &site->cfg, "/resources/x", &site->err);
}

/* What resources/read gives for uri, as JSON; NULL: err says why. Good until the next one. */
static const char *read_uri(struct site *site, const char *uri)
{
	static char text[8192];
	json_object *vars = json_object_new_object(), *contents = json_object_new_array();
	int ret = 0;

	site->err = (struct err){0};
	if (site->resource.template)
		ret = uri_template_match(site->resource.template, slice_str(uri), vars, &site->err);
	if (ret == 0)
		ret = provider_file.read(&site->fake.call, &site->resource, slice_str(uri), vars, contents, &site->err);
	snprintf(text, sizeof(text), "%s", json_object_to_json_string_ext(contents, JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(contents);
	json_object_put(vars);
	assert_int_equal(ret == 0, site->err.code == ERR_NONE);
	return ret ? NULL : text;
}

static char DOCS[] = "docs:///{+path}", LOGO[] = "test://logo";

static void test_read(void **state)
{
	static const struct {
		const char *name;
		struct slice bytes;
		const char *want;
	} cases[] = {
	    {"a.txt", TEXT("text"), "[{\"mimeType\":\"text/plain\",\"text\":\"text\"}]"},
	    {"b.MD", TEXT("# h\xc3\xa9"), "[{\"mimeType\":\"text/markdown\",\"text\":\"# h\xc3\xa9\"}]"},
	    {"c.png", TEXT("\x89PNG"), "[{\"mimeType\":\"image/png\",\"blob\":\"iVBORw==\"}]"},
	    {"ascii.png", TEXT("PNG"), "[{\"mimeType\":\"image/png\",\"blob\":\"UE5H\"}]"},
	    {"d.svg", TEXT("<svg/>"), "[{\"mimeType\":\"image/svg+xml\",\"text\":\"<svg/>\"}]"},
	    {"latin1.txt", TEXT("\xe9"), "[{\"mimeType\":\"text/plain\",\"blob\":\"6Q==\"}]"},
	    {"plain", TEXT("x"), "[{\"mimeType\":\"text/plain\",\"text\":\"x\"}]"},
	    {"binary", TEXT("x\0"), "[{\"mimeType\":\"application/octet-stream\",\"blob\":\"eAA=\"}]"},
	    {"empty", TEXT(""), "[{\"mimeType\":\"text/plain\",\"text\":\"\"}]"},
	    {"empty.png", TEXT(""), "[{\"mimeType\":\"image/png\",\"blob\":\"\"}]"},
	    {"own.foo", TEXT("x"), "[{\"mimeType\":\"text/x-foo\",\"text\":\"x\"}]"},
	    {"own.html", TEXT("x"), "[{\"mimeType\":\"text/x-mine\",\"text\":\"x\"}]"},
	    {"dot.", TEXT("x"), "[{\"mimeType\":\"text/plain\",\"text\":\"x\"}]"},
	};
	struct site *site = *state;
	char uri[256];

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		snprintf(uri, sizeof(uri), "docs/%s", cases[i].name);
		scratch_write(&site->scratch, uri, cases[i].bytes);
	}
	assert_int_equal(
	    define(site, DOCS, "docs", ",\"mime_types\":{\"foo\":\"text/x-foo\",\"html\":\"text/x-mine\"}"), 0);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const char *got;

		snprintf(uri, sizeof(uri), "docs:///%s", cases[i].name);
		got = read_uri(site, uri);
		if (!got || strcmp(got, cases[i].want) != 0)
			fail_msg("%s: %s", uri, got ? got : site->err.msg);
	}
	assert_null(read_uri(site, "docs:///none"));
	assert_int_equal(site->err.code, ERR_NOT_FOUND);
	assert_null(read_uri(site, "docs:///..%2fdocs/a.txt"));
	assert_int_equal(site->err.code, ERR_NOT_FOUND);

	assert_int_equal(define(site, LOGO, "docs/c.png", ""), 0);
	assert_string_equal(read_uri(site, "test://logo"), "[{\"mimeType\":\"image/png\",\"blob\":\"iVBORw==\"}]");
	assert_int_equal(unlink(scratch_path(&site->scratch, "docs/c.png")), 0);
	assert_null(read_uri(site, "test://logo"));
	assert_int_equal(site->err.code, ERR_NOT_FOUND);
}

static void test_read_large(void **state)
{
	struct site *site = *state;
	struct buf bytes;

	buf_init(&bytes, 1 << 20);
	for (int i = 0; i < 200000; i++)
		buf_adds(&bytes, "x");
	scratch_write(&site->scratch, "docs/large.txt", buf_slice(&bytes));
	assert_int_equal(define(site, DOCS, "docs", ""), 0);
	assert_non_null(read_uri(site, "docs:///large.txt"));
	site->cfg.resource_max_bytes = 200000;
	assert_non_null(read_uri(site, "docs:///large.txt"));
	site->cfg.resource_max_bytes = 199999;
	assert_null(read_uri(site, "docs:///large.txt"));
	assert_int_equal(site->err.code, ERR_PARAMS);
	buf_release(&bytes);
}

static json_object *list_after(struct site *site, const char *after, size_t max)
{
	json_object *items = json_object_new_array();

	if (provider_file.list(&site->fake.call, &site->resource, slice_str(after), max, items, &site->err))
		fail_msg("list: %s", site->err.msg);
	return items;
}

static void test_list(void **state)
{
	struct site *site = *state;
	json_object *items, *item;
	char last[256] = "";
	size_t count = 0;

	for (int i = 0; i < 25; i++) {
		snprintf(last, sizeof(last), "docs/%c/f %d.txt", 'a' + i % 3, i);
		scratch_write(&site->scratch, last, SLICE("12345"));
	}
	scratch_write(&site->scratch, "docs/readme", SLICE("x"));
	scratch_write(&site->scratch, "docs/core",
	    SLICE("\x7f"
		  "ELF\0"));
	assert_int_equal(define(site, DOCS, "docs", ""), 0);
	items = list_after(site, NULL, 1);
	assert_int_equal(json_object_array_length(items), 1);
	item = json_object_array_get_idx(items, 0);
	assert_true(slice_is(jx_get_str(item, "uri"), "docs:///a/f%200.txt"));
	assert_true(slice_is(jx_get_str(item, "name"), "a/f 0.txt"));
	assert_true(slice_is(jx_get_str(item, "mimeType"), "text/plain"));
	assert_int_equal(json_object_get_int(jx_get(item, "size")), 5);
	assert_int_equal(jx_get_str(jx_get(item, "annotations"), "lastModified").len, strlen("2026-01-01T00:00:00Z"));
	json_object_put(items);

	for (last[0] = '\0'; count < 100;) { /* page by page, and the last one seen vanishes each time */
		size_t here;

		items = list_after(site, *last ? last : NULL, 4);
		here = json_object_array_length(items);
		for (size_t i = 0; i < here; i++) {
			struct slice uri = jx_get_str(json_object_array_get_idx(items, i), "uri");

			assert_true(strcmp(last, uri.p) < 0);
			snprintf(last, sizeof(last), "%s", uri.p);
			assert_non_null(read_uri(site, last));
		}
		count += here;
		json_object_put(items);
		if (here < 4)
			break;
		if (strstr(last, "docs:///a/f%20"))
			unlink(scratch_path(&site->scratch, "docs/a/f 0.txt"));
	}
	assert_int_equal(count, 27);
	items = list_after(site, "docs:///b/zzz", 100);
	assert_true(slice_is(jx_get_str(json_object_array_get_idx(items, 0), "uri"), "docs:///c/f%2011.txt"));
	json_object_put(items);
	items = list_after(site, "docs:///c/zzz", 100);
	assert_int_equal(json_object_array_length(items), 2);
	item = json_object_array_get_idx(items, 0);
	assert_true(slice_is(jx_get_str(item, "mimeType"), "application/octet-stream"));
	json_object_put(items);

	site->fake.call.revision = REV_2025_03;
	items = list_after(site, NULL, 1);
	assert_false(jx_has(json_object_array_get_idx(items, 0), "annotations"));
	json_object_put(items);
	assert_int_equal(define(site, DOCS, "docs", ",\"match\":[\"core\",\"b/*10*\"]"), 0);
	items = list_after(site, NULL, 100);
	assert_int_equal(json_object_array_length(items), 2);
	json_object_put(items);
}

static void test_complete(void **state)
{
	static const struct {
		struct slice typed;
		const char *want;
	} cases[] = {
	    {TEXT(""), "[\"guide.md\",\"guides/\",\"x.txt\"]"},
	    {TEXT("gui"), "[\"guide.md\",\"guides/\",\"x.txt\"]"},
	    {TEXT("guides/"), "[\"guides/a b.md\",\"guides/deep/\"]"},
	    {TEXT("guides/deep/x"), "[\"guides/deep/er\"]"},
	    {TEXT("none/x"), "[]"},
	    {TEXT("/"), "[]"},
	    {TEXT("/etc/pass"), "[]"},
	    {TEXT("../"), "[]"},
	    {TEXT("guides/../"), "[]"},
	    {TEXT("x.txt/"), "[]"},
	};
	struct site *site = *state;

	scratch_write(&site->scratch, "docs/guide.md", SLICE(""));
	scratch_write(&site->scratch, "docs/guides/a b.md", SLICE(""));
	scratch_write(&site->scratch, "docs/guides/deep/er", SLICE(""));
	scratch_write(&site->scratch, "docs/x.txt", SLICE(""));
	scratch_write(&site->scratch, "docs/.hidden", SLICE(""));
	assert_int_equal(define(site, DOCS, "docs", ""), 0);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		json_object *values = json_object_new_array();
		const char *got;

		assert_int_equal(provider_file.resource_complete(&site->fake.call, &site->resource, SLICE("path"),
				     cases[i].typed, NULL, values, &site->err),
		    0);
		got = json_object_to_json_string_ext(values, JSON_C_TO_STRING_NOSLASHESCAPE);
		if (strcmp(got, cases[i].want) != 0)
			fail_msg("%s: %s", cases[i].typed.p, got);
		json_object_put(values);
	}
}

static void test_watch(void **state)
{
	struct site *site = *state;
	const struct filetree *tree;
	struct buf uri;

	scratch_write(&site->scratch, "docs/a b.md", SLICE(""));
	buf_init(&uri, 1000);
	assert_int_equal(define(site, DOCS, "docs", ""), 0);
	tree = provider_file.resource_watch(&site->resource);
	assert_string_equal(tree->dir, scratch_path(&site->scratch, "docs"));
	assert_null(tree->only);
	assert_int_equal(provider_file.resource_uri(&site->resource, SLICE("new/a b?.md"), &uri, &site->err), 0);
	assert_string_equal(uri.data, "docs:///new/a%20b%3F.md");
	assert_int_equal(provider_file.resource_uri(&site->resource, SLICE("../x"), &uri, &site->err), -1);
	assert_int_equal(site->err.code, ERR_NOT_FOUND);

	assert_int_equal(define(site, LOGO, "docs/a b.md", ""), 0);
	tree = provider_file.resource_watch(&site->resource);
	assert_string_equal(tree->dir, scratch_path(&site->scratch, "docs"));
	assert_string_equal(tree->only, "a b.md");
	buf_clear(&uri);
	assert_int_equal(provider_file.resource_uri(&site->resource, SLICE("a b.md"), &uri, &site->err), 0);
	assert_string_equal(uri.data, "test://logo");
	assert_int_equal(provider_file.resource_uri(&site->resource, SLICE("other"), &uri, &site->err), -1);
	assert_int_equal(site->err.code, ERR_NOT_FOUND);
	buf_release(&uri);

	assert_int_equal(define(site, LOGO, "docs/a b.md", ",\"watch\":false"), 0);
	assert_null(provider_file.resource_watch(&site->resource));
}

static void test_complaints(void **state)
{
	static char two[] = "docs:///{a}/{b}";
	static const struct {
		char *uri;
		const char *path, *rest, *want;
	} cases[] = {
	    {DOCS, "docs", ",\"match\":[]", "match must be 1 to 64 globs"},
	    {DOCS, "docs", ",\"match\":[1]", "match must be a glob"},
	    {DOCS, "docs", ",\"match\":\"\"", "match must be a glob"},
	    {DOCS, "docs", ",\"hidden\":1", "hidden must be true or false"},
	    {DOCS, "docs", ",\"watch\":null", "watch must be true or false"},
	    {DOCS, "docs", ",\"mime_types\":[]", "mime_types must be an object"},
	    {DOCS, "docs", ",\"mime_types\":{\".md\":\"a/b\"}", "mime_types must be as in"},
	    {DOCS, "docs", ",\"mime_types\":{\"md\":1}", "mime_types must be as in"},
	    {DOCS, "docs", ",\"mime_types\":{\"md\":\"markdown\"}", "mime_types must be as in"},
	    {DOCS, "docs", ",\"mime_types\":{\"MD\":\"text/markdown\"}", "mime_types must be as in"},
	    {DOCS, "docs/a", "", "docs/a is not a directory"},
	    {DOCS, "none", "", "none is not a directory"},
	    {two, "docs", "", "has one variable"},
	    {LOGO, "docs", "", "docs is not a file"},
	    {LOGO, "none", "", "none is not a file"},
	    {LOGO, "docs/a/", "", "is not a file"},
	    {LOGO, "docs/a", ",\"match\":\"*\"", "match is for a directory only"},
	    {LOGO, "docs/a", ",\"hidden\":true", "hidden is for a directory only"},
	    {LOGO, "docs/\\u0000", "", "file must be the path"},
	};
	struct site *site = *state;

	scratch_write(&site->scratch, "docs/a", SLICE(""));
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		if (define(site, cases[i].uri, cases[i].path, cases[i].rest) != -1)
			fail_msg("%s %s: taken", cases[i].path, cases[i].rest);
		if (!site->complaints.data || !strstr(site->complaints.data, cases[i].want))
			fail_msg("%s: %s", cases[i].want, site->complaints.data);
	}
}

/* Definition, list, completion and read, with each of our allocations failing in turn. */
static int use_all(struct site *site)
{
	json_object *items = json_object_new_array();
	int ret = define(site, DOCS, "docs", ",\"match\":[\"*\"]");

	if (ret == 0)
		ret = provider_file.list(&site->fake.call, &site->resource, SLICE("docs:///a"), 10, items, &site->err);
	if (ret == 0)
		ret = provider_file.resource_complete(
		    &site->fake.call, &site->resource, SLICE("path"), SLICE("b/"), NULL, items, &site->err);
	if (ret == 0 && !read_uri(site, "docs:///b/c"))
		ret = -1;
	json_object_put(items);
	return ret;
}

static void test_no_memory(void **state)
{
	struct site *site = *state;
	bool failed = true;

	scratch_write(&site->scratch, "docs/a", SLICE("A"));
	scratch_write(&site->scratch, "docs/b/c", SLICE("\xff"));
	for (long nth = 0; failed; nth++) {
		long before = mem_fault_live();
		int ret;

		mem_fault_at(nth, 1);
		ret = use_all(site);
		failed = mem_fault_end();
		if (ret != (failed ? -1 : 0) || (failed && site->err.code != ERR_NOMEM))
			fail_msg("allocation %ld: %d, %s", nth, ret, site->err.msg);
		undefine(site);
		if (mem_fault_live() != before)
			fail_msg("allocation %ld: %ld leaked", nth, mem_fault_live() - before);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_read, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_read_large, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_list, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_complete, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_watch, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_complaints, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_no_memory, site_init, site_release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
