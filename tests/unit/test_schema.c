/* Texts and bounds; what is valid, the public suite knows (test_schema_suite.c). */
#include "config.h"

#include "common/jx.h"
#include "fcgi/schema.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static json_object *parse(const char *text)
{
	struct err err;
	json_object *val = jx_parse(slice_str(text), 200, &err);

	if (!val)
		fail_msg("%s: %s", text, err.msg);
	return val;
}

static const struct {
	const char *schema, *where, *why;
} refused[] = {
    {"{\"type\":\"strng\"}", "/type",
	"type must be string, integer, number, boolean, object, array or null, or an array of these"},
    {"{\"type\":[]}", "/type",
	"type must be string, integer, number, boolean, object, array or null, or an array of these"},
    {"{\"properties\":{\"a/b\":{\"minimum\":\"1\"}}}", "/properties/a~1b/minimum", "minimum must be a number"},
    {"{\"items\":[{}]}", "/items", "a schema must be an object, true or false"},
    {"{\"maxLength\":-1}", "/maxLength", "maxLength must be a whole number, 0 or more"},
    {"{\"maxLength\":1.5}", "/maxLength", "maxLength must be a whole number, 0 or more"},
    {"{\"multipleOf\":0}", "/multipleOf", "multipleOf must be more than 0"},
    {"{\"anyOf\":[]}", "/anyOf", "anyOf must be an array of at least one schema"},
    {"{\"enum\":1}", "/enum", "enum must be an array"},
    {"{\"required\":[1]}", "/required", "required must be an array of strings"},
    {"{\"pattern\":1}", "/pattern", "pattern must be a string"},
    {"{\"pattern\":\"a(\"}", "/pattern", "the pattern is no regular expression: missing closing parenthesis"},
    {"{\"patternProperties\":{\"/[\":{}}}", "/patternProperties/~1[",
	"the pattern is no regular expression: missing terminating ] for character class"},
    {"{\"patternProperties\":{\"a\":1}}", "/patternProperties/a", "a schema must be an object, true or false"},
    {"{\"not\":{\"unevaluatedItems\":0}}", "/not/unevaluatedItems", "a schema must be an object, true or false"},
    {"{\"$ref\":\"https://example.com/x\"}", "/$ref",
	"$ref \"https://example.com/x\": a reference out of this schema is not supported (to https://example.com/x)"},
    {"{\"$id\":\"https://example.com/a/b\",\"items\":{\"$dynamicRef\":\"../c#d\"}}", "/items/$dynamicRef",
	"$dynamicRef \"../c#d\": a reference out of this schema is not supported (to https://example.com/c)"},
    {"{\"items\":{\"$id\":\"x#y\"}}", "/items/$id", "$id must have no fragment; $anchor gives a place a name"},
    {"{\"$id\":1}", "/$id", "$id must be a string"},
    {"{\"items\":{\"$id\":\"x\",\"$ref\":\"#a\"},\"$anchor\":\"a\"}", "/items/$ref",
	"$ref \"#a\": there is no $anchor \"a\""},
    {"{\"$dynamicRef\":\"#\"}", NULL, "a $ref leads back to itself without looking deeper into the value"},
    {"{\"items\":{\"$ref\":\"#/$defs/x\"}}", "/items/$ref", "$ref \"#/$defs/x\": it leads nowhere"},
    {"{\"$ref\":\"#x\"}", "/$ref", "$ref \"#x\": there is no $anchor \"x\""},
    {"{\"$ref\":\"#\"}", "/$ref", "a $ref leads back to itself without looking deeper into the value"},
    {"{\"$defs\":{\"a\":{\"allOf\":[{\"$ref\":\"#/$defs/b\"}]},\"b\":{\"anyOf\":[{\"$ref\":\"#/$defs/a\"}]}}}", NULL,
	"a $ref leads back to itself without looking deeper into the value"},
    {"{\"$schema\":\"http://json-schema.org/draft-07/schema#\"}", "/$schema",
	"$schema must be \"https://json-schema.org/draft/2020-12/schema\", the only dialect that is supported"},
    {"{\"x\":{\"type\":\"no\"},\"$ref\":\"#/x\"}", "/x/type",
	"$ref \"#/x\": type must be string, integer, number, boolean, object, array or null, or an array of these"},
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		json_object *doc = parse(refused[i].schema);
		struct err err = {0};
		struct buf where;

		buf_init(&where, 1024);
		if (schema_new(doc, &where, &err))
			fail_msg("%s: was taken", refused[i].schema);
		if (err.code != ERR_CONFIG || strcmp(err.msg, refused[i].why) != 0 ||
		    (refused[i].where && strcmp(where.data ? where.data : "", refused[i].where) != 0))
			fail_msg("%s: %s at %s", refused[i].schema, err.msg, where.data ? where.data : "");
		buf_release(&where);
		json_object_put(doc);
	}
}

static const struct {
	const char *schema, *instance, *why; /* NULL: valid */
} checked[] = {
    {"true", "{}", NULL},
    {"false", "{}", "the value: is not allowed"},
    {"{\"type\":\"object\"}", "[]", "the value: must be an object, not an array"},
    {"{\"type\":[\"string\",\"null\"]}", "1", "the value: must be a string or null, not an integer"},
    {"{\"type\":\"integer\"}", "1.0", NULL},
    {"{\"type\":\"integer\"}", "1.5", "the value: must be an integer, not a number"},
    {"{\"type\":\"integer\"}", "\"12\"", "the value: must be an integer, not a string"},
    {"{\"properties\":{\"city\":{\"enum\":[\"bern\",\"thun\"]},\"days\":{\"maximum\":7}}}",
	"{\"city\":\"rome\",\"days\":8}", "/city: must be one of \"bern\", \"thun\"; /days: must be at most 7"},
    {"{\"required\":[\"a\",\"b\"]}", "{}", "/a: is required; /b: is required"},
    {"{\"properties\":{\"b\":true,\"a\":true},\"additionalProperties\":false}", "{\"c\":1}",
	"/c: is not known (known: a, b)"},
    {"{\"properties\":{\"a\":{\"items\":{\"type\":\"string\"}}}}", "{\"a\":[\"x\",1]}",
	"/a/1: must be a string, not an integer"},
    {"{\"exclusiveMinimum\":0.5}", "0.5", "the value: must be more than 0.5"},
    {"{\"minimum\":9007199254740993}", "9007199254740992", "the value: must be at least 9007199254740993"},
    {"{\"minimum\":18446744073709551615}", "18446744073709551614", "the value: must be at least 1.84467440737096e+19"},
    {"{\"minLength\":3}", "\"\xc3\xa4\xc3\xb6\"", "the value: must have at least 3 character(s)"},
    {"{\"maxLength\":2}", "\"\xf0\x9f\x98\x80\xf0\x9f\x98\x80\"", NULL},
    {"{\"uniqueItems\":true}", "[1,{\"a\":[1],\"b\":2},1.5,{\"b\":2.0,\"a\":[1.0]}]",
	"the value: must have no item twice (1 and 3 are the same)"},
    {"{\"uniqueItems\":true}", "[1,true,\"1\",[1],{\"a\":1},null,false,0,-1]", NULL},
    {"{\"uniqueItems\":true}", "[0,-0.0]", "the value: must have no item twice (0 and 1 are the same)"},
    {"{\"anyOf\":[{\"required\":[\"phone\"]},{\"required\":[\"email\"]}]}", "{}",
	"the value: fits none of 2 alternatives: 1) /phone: is required, 2) /email: is required"},
    {"{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":2}]}", "3",
	"the value: fits more than one of 2 alternatives, must fit exactly one"},
    {"{\"not\":{\"type\":\"integer\"}}", "3", "the value: must not be of the form that its schema excludes"},
    {"{\"const\":{\"a\":[1,\"x\"]}}", "{\"a\":[1.0,\"x\"]}", NULL},
    {"{\"const\":1}", "true", "the value: must be 1"},
    {"{\"propertyNames\":{\"maxLength\":2}}", "{\"abc\":1}", "/abc: is not an allowed name"},
    {"{\"dependentRequired\":{\"card\":[\"address\"]}}", "{\"card\":1}", "/address: is required with \"card\""},
    {"{\"contains\":{\"type\":\"string\"},\"maxContains\":1}", "[\"a\",\"b\"]",
	"the value: must have at most 1 item(s) of the kind that it must contain"},
    {"{\"$defs\":{\"tree\":{\"properties\":{\"kids\":{\"items\":{\"$ref\":\"#/$defs/"
     "tree\"}},\"v\":{\"type\":\"integer\"}}}},"
     "\"$ref\":\"#/$defs/tree\"}",
	"{\"kids\":[{\"kids\":[{\"v\":\"x\"}]}]}", "/kids/0/kids/0/v: must be an integer, not a string"},
    {"{\"$defs\":{\"a\":{\"$anchor\":\"here\",\"type\":\"string\"}},\"items\":{\"$ref\":\"#here\"}}", "[1]",
	"/0: must be a string, not an integer"},
    {"{\"if\":{\"properties\":{\"how\":{\"const\":\"phone\"}},\"required\":[\"how\"]},\"then\":{\"required\":["
     "\"phone\"]},"
     "\"else\":{\"required\":[\"email\"]}}",
	"{\"how\":\"phone\"}", "/phone: is required"},
    {"{\"multipleOf\":0.01}", "19.99", NULL},
    {"{\"multipleOf\":0.01}", "19.995", "the value: must be a multiple of 0.01"},
    {"{\"pattern\":\"^[a-z]+$\"}", "\"Bern\"", "the value: must match the pattern ^[a-z]+$"},
    {"{\"pattern\":\"^a$\"}", "\"a\\n\"", "the value: must match the pattern ^a$"},
    {"{\"pattern\":\"^\\\\d$\"}", "\"\xd9\xa3\"", "the value: must match the pattern ^\\d$"},
    {"{\"pattern\":\"^\\\\u00e4.\\\\u{1f600}$\"}", "\"\xc3\xa4\xc3\xb6\xf0\x9f\x98\x80\"", NULL},
    {"{\"pattern\":\"^[[:alpha:]\\\\s]\\\\S\\\\v\\\\p{gc=Uppercase_Letter}$\"}", "\"\xc2\xa0x\\u000b\xc3\x84\"",
	"the value: must match the pattern ^[[:alpha:]\\s]\\S\\v\\p{gc=Uppercase_Letter}$"},
    {"{\"pattern\":\"^[\\\\s]\\\\S\\\\v\\\\p{gc=Uppercase_Letter}$\"}", "\"\xc2\xa0x\\u000b\xc3\x84\"", NULL},
    {"{\"pattern\":\"^[[:x]\\\\S$\"}", "\":\xe2\x80\x83\"", "the value: must match the pattern ^[[:x]\\S$"},
    {"{\"pattern\":\"a\",\"maxLength\":1}", "\"xx\"",
	"the value: must match the pattern a; the value: must have at most 1 character(s)"},
    {"{\"patternProperties\":{\"^x-\":{\"type\":\"string\"}},\"properties\":{\"a\":{}},"
     "\"additionalProperties\":false}",
	"{\"x-1\":\"\",\"x-2\":1,\"y\":1}", "/x-2: must be a string, not an integer; /y: is not known (known: a)"},
    {"{\"allOf\":[{\"properties\":{\"a\":true}}],\"unevaluatedProperties\":false}", "{\"a\":1,\"b\":2,\"c\":3}",
	"/b: is not known to any part of the schema that applies here; "
	"/c: is not known to any part of the schema that applies here"},
    {"{\"allOf\":[{\"properties\":{\"a\":{\"type\":\"null\"}}}],\"unevaluatedProperties\":false}", "{\"a\":1,\"b\":2}",
	"/a: must be null, not an integer"},
    {"{\"prefixItems\":[true],\"unevaluatedItems\":{\"type\":\"null\"}}", "[1,null,2]",
	"/2: must be null, not an integer"},
    {"{\"unevaluatedItems\":false}", "[[1]]", "/0: is not known to any part of the schema that applies here"},
    {"{\"title\":\"t\",\"format\":\"email\",\"examples\":[1],\"x-mcp-header\":\"X\",\"nobody-knows\":{\"type\":3}}",
	"1", NULL},
};

/* Null and the scalars are no text that jx_parse() takes at the top, so each instance stands in an array. */
static json_object *parse_any(const char *text)
{
	struct buf wrapped;
	json_object *array, *val;

	buf_init(&wrapped, 1 << 20);
	buf_addf(&wrapped, "[%s]", text);
	array = parse(wrapped.data);
	val = json_object_get(json_object_array_get_idx(array, 0));
	json_object_put(array);
	buf_release(&wrapped);
	return val;
}

static void test_checked(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(checked); i++) {
		json_object *doc = parse_any(checked[i].schema), *val = parse_any(checked[i].instance);
		struct err err = {0};
		struct schema *schema = schema_new(doc, NULL, &err);
		struct buf why;
		int ret;

		if (!schema)
			fail_msg("%s: %s", checked[i].schema, err.msg);
		json_object_put(doc); /* a schema keeps nothing of it */
		buf_init(&why, 1000);
		ret = schema_check(schema, val, &why, &err);
		if (ret != (checked[i].why ? -1 : 0) || (ret && err.code != ERR_PARAMS) ||
		    strcmp(why.data ? why.data : "", checked[i].why ? checked[i].why : "") != 0)
			fail_msg("%s: %s: %d %s", checked[i].schema, checked[i].instance, ret, why.data);
		buf_release(&why);
		schema_free(&schema);
		json_object_put(val);
	}
}

static int check_text(const char *schema_text, const char *text, size_t max, struct buf *why, struct err *err)
{
	json_object *doc = parse_any(schema_text), *val = parse_any(text);
	struct schema *schema = schema_new(doc, NULL, err);
	int ret;

	assert_non_null(schema);
	buf_init(why, max);
	ret = schema_check(schema, val, why, err);
	schema_free(&schema);
	json_object_put(doc);
	json_object_put(val);
	return ret;
}

static void test_ceiling_of_why(void **state)
{
	struct err err = {0};
	struct buf why;

	(void)state;
	assert_int_equal(check_text("{\"required\":[\"a\",\"b\",\"c\"]}", "{}", 40, &why, &err), -1);
	assert_int_equal(err.code, ERR_PARAMS);
	assert_string_equal(why.data, "/a: is required; /b: is required; ...");
	buf_release(&why);
	assert_int_equal(check_text("{\"required\":[\"a\"]}", "{}", 2, &why, &err), -1);
	assert_int_equal(err.code, ERR_PARAMS);
	buf_release(&why);
}

static void test_bounds(void **state)
{
	struct err err = {0};
	struct buf text, why;

	(void)state;
	buf_init(&text, 1 << 20);
	for (int i = 0; i < 70; i++)
		buf_adds(&text, "{\"not\":");
	buf_adds(&text, "{}");
	for (int i = 0; i < 70; i++)
		buf_adds(&text, "}");
	{
		json_object *doc = parse(text.data);

		assert_null(schema_new(doc, NULL, &err));
		assert_int_equal(err.code, ERR_CONFIG);
		json_object_put(doc);
	}
	/* Alternatives within alternatives: each level doubles the work, until the bound. */
	buf_clear(&text);
	buf_adds(&text, "{\"$defs\":{\"n\":{\"anyOf\":[");
	for (int i = 0; i < 8; i++)
		buf_adds(&text, "{\"items\":{\"$ref\":\"#/$defs/n\"},\"type\":\"array\"},");
	buf_adds(&text, "false]}},\"$ref\":\"#/$defs/n\"}");
	assert_int_equal(check_text(text.data, "[[[[[[[[[1]]]]]]]]]", 100, &why, &err), -1);
	assert_int_equal(err.code, ERR_LIMIT);
	buf_release(&why);
	/* A pattern that tries all ways to cut the text, one that starts anew at each character, and one that needs
	 * memory. */
	for (int kind = 0; kind < 3; kind++) {
		static const char *const patterns[] = {"^(a+)+$", "a*[bc]", "^(?:(a)|b)*$"};
		struct buf schema;

		buf_init(&schema, 100);
		buf_addf(&schema, "{\"pattern\":\"%s\"}", patterns[kind]);
		buf_clear(&text);
		buf_adds(&text, "\"");
		for (int i = 0; i < (kind ? 400000 : 60); i++)
			buf_adds(&text, "a");
		buf_adds(&text, "!\"");
		assert_int_equal(check_text(schema.data, text.data, 200, &why, &err), -1);
		assert_int_equal(err.code, ERR_LIMIT);
		assert_string_equal(err.msg, "a text of the value takes too long to be compared with its pattern");
		buf_release(&why);
		buf_release(&schema);
	}
	buf_release(&text);
}

/* A $dynamicRef that leads back to itself, by the way that the check takes, is ended by the bounds. */
static void test_dynamic_cycle(void **state)
{
	struct err err = {0};
	struct buf why;

	(void)state;
	assert_int_equal(
	    check_text("{\"$dynamicAnchor\":\"x\",\"$ref\":\"b\",\"$defs\":{\"b\":{\"$id\":\"b\",\"$dynamicRef\":"
		       "\"#x\",\"$defs\":{\"x\":{\"$dynamicAnchor\":\"x\"}}}}}",
		"1", 100, &why, &err),
	    -1);
	assert_int_equal(err.code, ERR_LIMIT);
	buf_release(&why);
}

static void test_allows_member(void **state)
{
	json_object *doc =
	    parse("{\"properties\":{\"a\":{}},\"patternProperties\":{\"^x\":{}},\"additionalProperties\":false}");
	struct schema *schema = schema_new(doc, NULL, NULL);

	(void)state;
	assert_true(schema_allows_member(schema, SLICE("a")));
	assert_false(schema_allows_member(schema, SLICE("b")));
	assert_true(schema_allows_member(schema, SLICE("x1")));
	schema_free(&schema);
	json_object_put(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_checked),
	    cmocka_unit_test(test_ceiling_of_why),
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_dynamic_cycle),
	    cmocka_unit_test(test_allows_member),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
