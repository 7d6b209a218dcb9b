/* The public test suite of JSON Schema 2020-12, which lies beside the project; without it this counts as skipped. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/jx.h"
#include "fcgi/schema.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static char dir[3000];

/* The public suite. unsupported: groups of the file whose schema is refused because it
 * leads out of itself, to a document or a dialect that would have to be fetched. */
static const struct {
	const char *file;
	int unsupported;
} suite[] = {
    {"additionalProperties", 0},
    {"allOf", 0},
    {"anchor", 0},
    {"anyOf", 0},
    {"boolean_schema", 0},
    {"const", 0},
    {"contains", 0},
    {"content", 0},
    {"default", 0},
    {"defs", 1},
    {"dependentRequired", 0},
    {"dependentSchemas", 0},
    {"dynamicRef", 5},
    {"enum", 0},
    {"exclusiveMaximum", 0},
    {"exclusiveMinimum", 0},
    {"format", 0},
    {"if-then-else", 0},
    {"infinite-loop-detection", 0},
    {"items", 0},
    {"maxContains", 0},
    {"maxItems", 0},
    {"maxLength", 0},
    {"maxProperties", 0},
    {"maximum", 0},
    {"minContains", 0},
    {"minItems", 0},
    {"minLength", 0},
    {"minProperties", 0},
    {"minimum", 0},
    {"multipleOf", 0},
    {"not", 0},
    {"oneOf", 0},
    {"optional/anchor", 0},
    {"optional/dynamicRef", 0},
    {"optional/ecmascript-regex", 0},
    {"optional/id", 0},
    {"optional/no-schema", 0},
    {"optional/non-bmp-regex", 0},
    {"optional/refOfUnknownKeyword", 0},
    {"optional/unknownKeyword", 0},
    {"pattern", 0},
    {"patternProperties", 0},
    {"prefixItems", 0},
    {"properties", 0},
    {"propertyNames", 0},
    {"ref", 1},
    {"refRemote", 15},
    {"required", 0},
    {"type", 0},
    {"unevaluatedItems", 0},
    {"unevaluatedProperties", 0},
    {"uniqueItems", 0},
    {"vocabulary", 2},
};

static json_object *suite_read(const char *name)
{
	char path[3100];
	json_object *val;
	struct err err;
	struct buf text;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.json", dir, name);
	file = fopen(path, "re");
	if (!file)
		fail_msg("%s is missing", path);
	buf_init(&text, 1 << 20);
	while (buf_reserve(&text, 4096)) {
		size_t got = fread(text.data + text.len, 1, 4096, file);

		if (got == 0)
			break;
		text.len += got;
	}
	fclose(file);
	val = jx_parse(buf_slice(&text), 200, &err);
	if (!val)
		fail_msg("%s: %s", path, err.msg);
	buf_release(&text);
	return val;
}

static int suite_group(const char *file, json_object *group)
{
	json_object *tests = jx_get_array(group, "tests");
	struct schema *schema;
	struct err err = {0};
	int failures = 0;

	schema = schema_new(jx_get(group, "schema"), NULL, &err);
	if (!schema && (strstr(err.msg, "out of this schema is not supported") || strstr(err.msg, "the only dialect")))
		return -1;
	if (!schema) {
		print_message("# %s: %s: %s\n", file, jx_get_str(group, "description").p, err.msg);
		return 1;
	}
	for (size_t i = 0; i < json_object_array_length(tests); i++) {
		json_object *test = json_object_array_get_idx(tests, i);
		bool valid = json_object_get_boolean(jx_get(test, "valid"));
		struct buf why;

		buf_init(&why, 500);
		if ((schema_check(schema, jx_get(test, "data"), &why, &err) == 0) != valid) {
			print_message("# %s: %s: %s\n", file, jx_get_str(group, "description").p,
			    jx_get_str(test, "description").p);
			failures++;
		}
		buf_release(&why);
	}
	schema_free(&schema);
	return failures;
}

static void test_suite(void **state)
{
	int failures = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(suite); i++) {
		json_object *groups = suite_read(suite[i].file);
		int unsupported = 0;

		for (size_t g = 0; g < json_object_array_length(groups); g++) {
			int failed = suite_group(suite[i].file, json_object_array_get_idx(groups, g));

			if (failed < 0)
				unsupported++;
			else
				failures += failed;
		}
		if (unsupported != suite[i].unsupported) {
			print_message("# %s: %d groups are not supported\n", suite[i].file, unsupported);
			failures++;
		}
		json_object_put(groups);
	}
	assert_int_equal(failures, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_suite),
	};
	const char *top = getenv("abs_top_srcdir");

	snprintf(dir, sizeof(dir), "%s/../shared/data/json-schema-2020-12/tests", top ? top : ".");
	if (access(dir, R_OK) == -1) {
		printf("1..0 # SKIP the JSON Schema test suite is not there\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
