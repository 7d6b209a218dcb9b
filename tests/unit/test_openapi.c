/* Descriptions of APIs: what becomes of each part of one, what is left out, and why. What such tools send is seen in
 * test_http.c. */
#include "config.h"

#include <limits.h>
#include <stdio.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/openapi.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/toolfile.h"
#ifdef HAVE_LIBYAML
#include "fcgi/yaml.h"
#endif
#include "common/banned.h"

static void note(void *arg, const char *place, const char *text)
{
	buf_addf(arg, "%s%s%s\n", place, *place ? ": " : "", text);
}

/* The tools as JSON; NULL: none. words gets all that was said. */
static char *convert(const char *description, const char *def_text, struct buf *words)
{
	const struct openapi_listener listener = {note, note, note, words};
	struct openapi_counts counts;
	struct err err = {0};
	json_object *def = jx_parse(slice_str(def_text), 16, &err), *tools;
	struct buf text;

	assert_non_null(def);
	tools = openapi_convert(slice_str(description), def, &listener, &counts, &err);
	assert_true(tools || err.code != ERR_NONE);
	json_object_put(def); /* the tools need neither */
	buf_init(&text, 1 << 22);
	if (tools)
		jx_write(&text, tools);
	json_object_put(tools);
	return text.data;
}

#define API(more)   "{\"openapi\":\"3.0.3\",\"servers\":[{\"url\":\"https://h/v1/\"}]," more "}"
#define API31(more) "{\"openapi\":\"3.1.0\",\"servers\":[{\"url\":\"https://h/v1/\"}]," more "}"
#define GET(op)     API("\"paths\":{\"/a\":{\"get\":{\"operationId\":\"t\"" op "}}}")
#define PARAM(p)    GET(",\"parameters\":[{\"name\":\"p\"," p "}]")
#define SCHEMA(s)   PARAM("\"in\":\"query\",\"schema\":" s)
#define SCHEMA31(s)                                                                                                    \
	API31("\"paths\":{\"/"                                                                                         \
	      "a\":{\"get\":{\"operationId\":\"t\",\"parameters\":[{\"name\":\"p\",\"in\":\"query\",\"schema\":" s     \
	      "}]}}}")
#define POST(op)   API("\"paths\":{\"/a\":{\"post\":{\"operationId\":\"t\"" op "}}}")
#define BODY(body) POST(",\"requestBody\":" body)
#define REFS(ref, defs)                                                                                                \
	API("\"paths\":{\"/a\":{\"post\":{\"operationId\":\"t\",\"requestBody\":{\"content\":{\"application/json\":"   \
	    "{\"schema\":{\"$ref\":\"" ref "\"}}}}}}},\"components\":{\"schemas\":{" defs "}}")
#define AUTH(security, schemes)                                                                                        \
	API("\"paths\":{\"/a\":{\"get\":{\"operationId\":\"t\"}}},\"security\":" security                              \
	    ",\"components\":{\"securitySchemes\":{" schemes "}}")
#define OUT "/paths/~1a/get: GET /a: left out: "

/* place: a pointer into the tools; want: what is there. */
static const struct {
	const char *name, *description, *def, *place, *want, *words;
} rows[] = {
    {"a tool", GET(",\"summary\":\"S\",\"description\":\"D ${HOME}\""), "{}", "/t",
	"{\"title\":\"S\",\"description\":\"S\\n\\nD "
	"${HOME}\",\"http\":{\"url\":\"https://h/v1/a\",\"method\":\"GET\"},"
	"\"input\":{\"type\":\"object\",\"additionalProperties\":false},\"annotations\":{\"readOnlyHint\":true}}",
	""},
    {"no texts", GET(""), "{\"prefix\":\"x_\"}", "/x_t/description", "\"GET /a\"", ""},
    {"what is passed on", GET(""), "{\"timeout_s\":3,\"cache\":60}", "/t/cache", "60", ""},
    {"only a GET is cached", POST(""), "{\"timeout_s\":3,\"cache\":60}", "/t",
	"{\"description\":\"POST /a\",\"http\":{\"url\":\"https://h/v1/a\",\"method\":\"POST\"},"
	"\"input\":{\"type\":\"object\",\"additionalProperties\":false},"
	"\"annotations\":{\"readOnlyHint\":false,\"idempotentHint\":false},\"timeout_s\":3}",
	""},
    /* names */
    {"no operationId", API("\"paths\":{\"/a/{b}/c\":{\"get\":{\"parameters\":[{\"in\":\"path\",\"name\":\"b\"}]}}}"),
	"{}", "/get_a_b_c/http/url", "\"https://h/v1/a/{b}/c\"", ""},
    {"what no name can hold", API("\"paths\":{\"/a\":{\"get\":{\"operationId\":\"Pets/get all\\u00e9..x\"}}}"), "{}",
	"/Pets_get_all_x/http/method", "\"GET\"", ""},
    {"a long name",
	API("\"paths\":{\"/a\":{\"get\":{\"operationId\":"
	    "\"0123456789012345678901234567890123456789012345678901234567890123456789\"}}}"),
	"{}", "/0123456789012345678901234567890123456789012345678901234_b56fdbf1/http/method", "\"GET\"", ""},
    {"a name twice, of which one is chosen",
	API("\"paths\":{\"/a\":{\"get\":{\"operationId\":\"t\"}},\"/b\":{\"get\":{\"operationId\":\"t\"}}}"),
	"{\"paths\":\"/b\"}", "", "{\"t_b56fde84\":~}", ""},
    /* choices */
    {"by tag", API("\"paths\":{\"/a\":{\"get\":{\"tags\":[\"x\",\"y\"]},\"put\":{\"tags\":[\"y\"]},\"post\":{}}}"),
	"{\"tags\":[\"y\",\"!x\"]}", "", "{\"put_a\":~}", ""},
    {"by method and path", API("\"paths\":{\"/a\":{\"get\":{},\"put\":{}},\"/b\":{\"get\":{}}}"),
	"{\"methods\":\"GET\",\"paths\":\"/a*\"}", "", "{\"get_a\":~}", ""},
    {"by operation",
	API("\"paths\":{\"/a\":{\"get\":{\"operationId\":\"a.get\"},\"put\":{\"operationId\":\"a.put\"}}}"),
	"{\"operations\":[\"a.*\",\"!*put\"]}", "", "{\"a_get\":~}", ""},
    /* servers */
    {"variables",
	"{\"openapi\":\"3.0.0\",\"servers\":[{\"url\":\"https://{r}.h/{v}\",\"variables\":{\"r\":{\"default\":\"eu\"},"
	"\"v\":{\"default\":\"1\"}}}],\"paths\":{\"/a\":{\"get\":{}}}}",
	"{\"variables\":{\"v\":\"2\"}}", "/get_a/http/url", "\"https://eu.h/2/a\"", ""},
    {"a server of its own",
	API("\"paths\":{\"/a\":{\"servers\":[{\"url\":\"https://p\"}],\"get\":{\"servers\":[{\"url\":\"http://"
	    "o\"}]}}}"),
	"{}", "/get_a/http/url", "\"http://o/a\"", ""},
    {"a server that is given", GET(""), "{\"server\":\"http://g/x\"}", "/t/http/url", "\"http://g/x/a\"", ""},
    {"a relative server", "{\"openapi\":\"3.0.0\",\"servers\":[{\"url\":\"/v1\"}],\"paths\":{\"/a\":{\"get\":{}}}}",
	"{}", "", "{}", OUT "its server is not named: \"server\" must say https://...\n"},
    {"no server", "{\"openapi\":\"3.0.0\",\"paths\":{\"/a\":{\"get\":{}}}}", "{}", "", "{}",
	OUT "its server is not named: \"server\" must say https://...\n"},
    {"a variable of nobody",
	"{\"openapi\":\"3.0.0\",\"servers\":[{\"url\":\"https://{r}/\"}],\"paths\":{\"/a\":{\"get\":{}}}}", "{}", "",
	"{}", OUT "its server has {r}, of which nobody says what it is: \"variables\"\n"},
    /* parameters */
    {"a path",
	API("\"paths\":{\"/a/"
	    "{x}.{f}#note\":{\"parameters\":[{\"in\":\"path\",\"name\":\"x\"}],\"get\":{\"operationId\":\"t\","
	    "\"parameters\":[{\"in\":\"path\",\"name\":\"f\",\"schema\":{\"type\":\"string\"}}]}}}"),
	"{}", "/t",
	"{\"description\":~,\"http\":{\"url\":\"https://h/v1/a/"
	"{x}.{f}\",\"method\":\"GET\"},\"input\":{\"type\":\"object\","
	"\"properties\":{\"x\":{},\"f\":{\"type\":\"string\"}},\"required\":[\"x\",\"f\"],\"additionalProperties\":"
	"false},"
	"\"annotations\":~}",
	""},
    {"label and matrix",
	API("\"paths\":{\"/"
	    "a{x}{y}\":{\"get\":{\"operationId\":\"t\",\"parameters\":[{\"in\":\"path\",\"name\":\"x\",\"style\":"
	    "\"label\"},{\"in\":\"path\",\"name\":\"y\",\"style\":\"matrix\"}]}}}"),
	"{}", "/t/http/url", "\"https://h/v1/a.{x};y={y}\"", ""},
    {"a path of nobody", API("\"paths\":{\"/a/{x}\":{\"get\":{}}}"), "{}", "", "{}",
	"/paths/~1a~1{x}/get: GET /a/{x}: left out: its path has {x}, which is no parameter in the path\n"},
    {"a parameter replaced",
	API("\"paths\":{\"/"
	    "a\":{\"parameters\":[{\"in\":\"query\",\"name\":\"x\",\"required\":true}],\"get\":{\"operationId\":\"t\","
	    "\"parameters\":[{\"in\":\"query\",\"name\":\"x\",\"description\":\"own\"}]}}}"),
	"{}", "/t/input/properties", "{\"x\":{\"description\":\"own\"}}", ""},
    {"one name in two places",
	GET(",\"parameters\":[{\"in\":\"query\",\"name\":\"x\"},{\"in\":\"header\",\"name\":\"x\",\"required\":true}]"),
	"{}", "/t/http", "{\"url\":~,\"method\":\"GET\",\"query\":{\"x\":\"{x}\"},\"headers\":{\"x\":\"{x_2}\"}}", ""},
    {"a name is no placeholder of another kind",
	PARAM("\"in\":\"query\"},{\"in\":\"query\",\"name\":\"file:/etc/passwd\""), "{}", "/t/http/query",
	"{\"p\":\"{p}\",\"file:/etc/passwd\":\"{file_etc_passwd}\"}", ""},
    {"a default is told, not sent", SCHEMA("{\"type\":\"integer\",\"default\":30,\"description\":\"How many\"}"), "{}",
	"/t/input/properties/p", "{\"type\":\"integer\",\"description\":\"How many (default: 30)\"}", ""},
    {"items with commas", PARAM("\"in\":\"query\",\"explode\":false,\"schema\":{\"type\":\"array\"}"), "{}",
	"/t/http/query/p", "{\"value\":\"{p}\",\"style\":\"comma\"}", ""},
    {"items with |", PARAM("\"in\":\"query\",\"style\":\"pipeDelimited\",\"schema\":{\"type\":\"array\"}"), "{}",
	"/t/http/query/p", "{\"value\":\"{p}\",\"style\":\"pipe\"}", ""},
    {"a deep object", PARAM("\"in\":\"query\",\"style\":\"deepObject\",\"schema\":{\"type\":\"object\"}"), "{}",
	"/t/http/query/p", "{\"value\":\"{p}\",\"style\":\"deep\"}", ""},
    {"JSON in a query", PARAM("\"in\":\"query\",\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\"}}}"),
	"{}", "/t/http/query/p", "{\"value\":\"{p}\",\"style\":\"json\"}", ""},
    {"an object that would be spread", PARAM("\"in\":\"query\",\"schema\":{\"type\":\"object\"}"), "{}",
	"/t/input/properties", NULL,
	"/paths/~1a/get/parameters/0: GET /a: parameter p is left out: an object can only be written as deepObject or "
	"JSON\n"},
    {"a cookie that is needed", PARAM("\"in\":\"cookie\",\"required\":true"), "{}", "", "{}",
	"/paths/~1a/get/parameters/0: GET /a: left out: parameter p: cookies are not sent\n"},
    {"a header that can't be set", PARAM("\"in\":\"header\"},{\"in\":\"header\",\"name\":\"Host\""), "{}",
	"/t/http/headers", "{\"p\":\"{p}\"}",
	"/paths/~1a/get/parameters/1: GET /a: parameter Host is left out: such a header can't be set\n"},
    {"a header twice", PARAM("\"in\":\"header\"},{\"in\":\"header\",\"name\":\"P\""), "{}", "/t/http/headers",
	"{\"p\":\"{p}\"}",
	"/paths/~1a/get/parameters/1: GET /a: parameter P is left out: the header is there already\n"},
    {"headers that have other places", PARAM("\"in\":\"header\"},{\"in\":\"header\",\"name\":\"accept\""), "{}",
	"/t/http/headers", "{\"p\":\"{p}\"}", ""},
    {"what answers are", GET(",\"responses\":{\"200\":{\"content\":{\"text/html\":{},\"application/json\":{}}}}"), "{}",
	"/t/http/headers", "{\"Accept\":\"application/json\"}", ""},
    /* schemas */
    {"nullable", SCHEMA("{\"type\":\"string\",\"nullable\":true,\"enum\":[\"a\"]}"), "{}", "/t/input/properties/p",
	"{\"type\":[\"string\",\"null\"],\"enum\":[\"a\",null]}", ""},
    {"nullable of another", SCHEMA("{\"nullable\":true,\"allOf\":[{\"type\":\"string\"}]}"), "{}",
	"/t/input/properties/p", "{\"anyOf\":[{\"allOf\":[{\"type\":\"string\"}]},{\"type\":\"null\"}]}", ""},
    {"bounds of 3.0", SCHEMA("{\"minimum\":1,\"exclusiveMinimum\":true,\"maximum\":9,\"exclusiveMaximum\":false}"),
	"{}", "/t/input/properties/p", "{\"maximum\":9,\"exclusiveMinimum\":1}", ""},
    {"example", SCHEMA("{\"type\":\"string\",\"example\":\"bern\",\"x-mcp-header\":\"A\",\"xml\":{}}"), "{}",
	"/t/input/properties/p", "{\"type\":\"string\",\"examples\":[\"bern\"]}", ""},
    {"3.1", SCHEMA31("{\"type\":[\"integer\",\"null\"],\"exclusiveMinimum\":1,\"const\":2}"), "{}",
	"/t/input/properties/p", "{\"type\":[\"integer\",\"null\"],\"const\":2,\"exclusiveMinimum\":1}", ""},
    {"what is only for answers",
	BODY("{\"content\":{\"application/"
	     "json\":{\"schema\":{\"type\":\"object\",\"required\":[\"id\",\"n\"],\"properties\":{"
	     "\"id\":{\"readOnly\":true},\"n\":{}}}}}}"),
	"{}", "/t/input/properties/body", "{\"type\":\"object\",\"required\":[\"n\"],\"properties\":{\"n\":{}}}", ""},
    {"a circle",
	REFS("#/components/schemas/A", "\"A\":{\"properties\":{\"a\":{\"$ref\":\"#/components/schemas/A\"},"
				       "\"b\":{\"$ref\":\"#/components/schemas/A~1B\"}}},\"A/B\":{\"type\":\"array\"}"),
	"{}", "/t/input",
	"{\"type\":\"object\",\"properties\":{\"body\":{\"$ref\":\"#/$defs/"
	"A\"}},\"additionalProperties\":false,\"$defs\":{\"A\":{"
	"\"properties\":{\"a\":{\"$ref\":\"#/$defs/A\"},\"b\":{\"$ref\":\"#/$defs/"
	"A_1B\"}}},\"A_1B\":{\"type\":\"array\"}}}",
	""},
    {"a circle of nothing but references",
	REFS("#/components/schemas/A",
	    "\"A\":{\"$ref\":\"#/components/schemas/B\"},\"B\":{\"$ref\":\"#/components/schemas/A\"}"),
	"{}", "", "{}",
	"/paths/~1a/post: POST /a: left out: its input schema, /properties/body/$ref: "
	"a $ref leads back to itself without looking deeper into the value\n"},
    {"a reference to nothing",
	REFS("#/components/schemas/A", "\"A\":{\"items\":{\"$ref\":\"#/components/schemas/B\"}}"), "{}", "", "{}",
	"/components/schemas/A/items: POST /a: left out: $ref #/components/schemas/B: nothing is there\n"},
    {"a reference to elsewhere", REFS("https://evil.example/a.json", ""), "{}", "", "{}",
	"/paths/~1a/post/requestBody/content/application~1json/schema: POST /a: left out: "
	"$ref https://evil.example/a.json: only references within the file are followed\n"},
    {"a parameter that refers to itself",
	API("\"paths\":{\"/a\":{\"get\":{\"parameters\":[{\"$ref\":\"#/components/parameters/A\"}]}}},"
	    "\"components\":{\"parameters\":{\"A\":{\"$ref\":\"#/components/parameters/A\"}}}"),
	"{}", "", "{}", "/paths/~1a/get/parameters/0: GET /a: left out: $ref leads round in circles\n"},
    {"a pattern that is none", SCHEMA("{\"type\":\"string\",\"pattern\":\"(\"}"), "{}", "/t/input/properties/p",
	"{\"type\":\"string\"}",
	"/paths/~1a/get: GET /a: a pattern is left out: the pattern is no regular expression: missing closing "
	"parenthesis\n"},
    {"a schema that is none", SCHEMA("{\"type\":\"text\"}"), "{}", "", "{}",
	OUT "its input schema, /properties/p/type: type must be string, integer, number, boolean, object, array or "
	    "null, or an "
	    "array of these\n"},
    /* bodies */
    {"the best of several",
	BODY("{\"required\":true,\"content\":{\"text/plain\":{},\"application/x-www-form-urlencoded\":{},"
	     "\"application/json\":{\"schema\":{}},\"application/merge-patch+json\":{}}}"),
	"{}", "/t/http", "{\"url\":~,\"method\":\"POST\",\"json\":\"{body}\"}", ""},
    {"JSON Patch last", BODY("{\"content\":{\"application/json-patch+json\":{},\"application/merge-patch+json\":{}}}"),
	"{}", "/t/http/headers", "{\"Content-Type\":\"application/merge-patch+json\"}", ""},
    {"JSON Patch alone", BODY("{\"content\":{\"application/json-patch+json\":{}}}"), "{}", "/t/http/headers",
	"{\"Content-Type\":\"application/json-patch+json\"}", ""},
    {"a kind of JSON", BODY("{\"content\":{\"application/merge-patch+json\":{}}}"), "{}", "/t/http",
	"{\"url\":~,\"method\":\"POST\",\"headers\":{\"Content-Type\":\"application/"
	"merge-patch+json\"},\"json\":\"{body}\"}",
	""},
    {"a form",
	BODY("{\"required\":true,\"content\":{\"application/"
	     "x-www-form-urlencoded\":{\"schema\":{\"required\":[\"a\"],\"properties\":{"
	     "\"a\":{\"type\":\"string\"},\"b\":{\"type\":\"array\"},\"c\":{\"type\":\"object\"},\"d\":{\"type\":"
	     "\"object\"}}},"
	     "\"encoding\":{\"d\":{\"style\":\"deepObject\"}}}}}"),
	"{}", "/t/http/form",
	"{\"a\":\"{a}\",\"b\":\"{b}\",\"c\":{\"value\":\"{c}\",\"style\":\"json\"},\"d\":{\"value\":\"{d}\",\"style\":"
	"\"deep\"}}",
	""},
    {"a body that can't be sent", BODY("{\"content\":{\"multipart/form-data\":{}}}"), "{}", "", "{}",
	"/paths/~1a/post/requestBody: POST /a: left out: its body: of its media types none can be sent\n"},
    {"a body that is none",
	GET(",\"requestBody\":{\"content\":{\"application/x-www-form-urlencoded\":{\"schema\":{\"type\":\"object\","
	    "\"properties\":{}}}}}"),
	"{}", "/t/http", "{\"url\":~,\"method\":\"GET\"}", ""},
    {"a form that is none",
	BODY("{\"content\":{\"application/x-www-form-urlencoded\":{\"schema\":{\"properties\":{}}}}}"), "{}", "/t/http",
	"{\"url\":~,\"method\":\"POST\"}", ""},
    {"a body of a GET", GET(",\"requestBody\":{\"content\":{\"application/json\":{}}}"), "{}", "/t/http/method",
	"\"GET\"", "/paths/~1a/get/requestBody: GET /a: its body is left out: GET and HEAD send none\n"},
    /* who asks */
    {"a key in a header", AUTH("[{\"k\":[]}]", "\"k\":{\"type\":\"apiKey\",\"in\":\"header\",\"name\":\"X-Key\"}"),
	"{\"secrets\":{\"k\":\"key\"}}", "/t/http/headers", "{\"X-Key\":\"{file:key}\"}", ""},
    {"a key in the query", AUTH("[{\"k\":[]}]", "\"k\":{\"type\":\"apiKey\",\"in\":\"query\",\"name\":\"key\"}"),
	"{\"secrets\":{\"k\":\"key\"}}", "/t/http/query", "{\"key\":\"{file:key}\"}", ""},
    {"a key in a cookie", AUTH("[{\"k\":[]}]", "\"k\":{\"type\":\"apiKey\",\"in\":\"cookie\",\"name\":\"sid\"}"),
	"{\"secrets\":{\"k\":\"key\"}}", "/t/http/headers", "{\"Cookie\":\"sid={file:key}\"}", ""},
    {"a password", AUTH("[{\"b\":[]}]", "\"b\":{\"type\":\"http\",\"scheme\":\"Basic\"}"),
	"{\"secrets\":{\"b\":\"pw\"}}", "/t/http/headers", "{\"Authorization\":\"Basic {basic:pw}\"}", ""},
    {"the first that can be met",
	AUTH("[{\"b\":[],\"k\":[]},{},{\"o\":[]}]",
	    "\"b\":{\"type\":\"http\",\"scheme\":\"basic\"},\"k\":{\"type\":\"mutualTLS\"},"
	    "\"o\":{\"type\":\"oauth2\"}"),
	"{\"secrets\":{\"o\":\"tok\",\"b\":\"pw\"}}", "/t/http/headers", "{\"Authorization\":\"Bearer {file:tok}\"}",
	""},
    {"nobody asks", AUTH("[{\"b\":[]},{}]", "\"b\":{\"type\":\"http\",\"scheme\":\"basic\"}"), "{}", "/t/http",
	"{\"url\":~,\"method\":\"GET\"}", ""},
    {"going without", AUTH("[{\"b\":[]}]", "\"b\":{\"type\":\"http\",\"scheme\":\"basic\"}"),
	"{\"secrets\":{\"b\":null}}", "/t/http", "{\"url\":~,\"method\":\"GET\"}", ""},
    {"a secret is missing", AUTH("[{\"b\":[]}]", "\"b\":{\"type\":\"http\",\"scheme\":\"basic\"}"), "{}", NULL, NULL,
	"secrets: 1 operations need \"b\": name the file with its secret, or null to go without it\n"},
    {"a scheme that is not there", AUTH("[{\"b\":[]}]", ""), "{}", "", "{}",
	OUT "the description has no security scheme b\n"},
    {"a scheme that can't be spoken", AUTH("[{\"b\":[]}]", "\"b\":{\"type\":\"http\",\"scheme\":\"digest\"}"),
	"{\"secrets\":{\"b\":\"x\"}}", "", "{}",
	OUT "its security scheme can't be spoken: only apiKey, basic, bearer and tokens are\n"},
    {"a secret of nothing", GET(""), "{\"secrets\":{\"b\":\"x\"}}", NULL, NULL,
	"secrets: the description has no security scheme \"b\"\n"},
    {"a secret that is no file", AUTH("[]", "\"b\":{\"type\":\"http\",\"scheme\":\"basic\"}"),
	"{\"secrets\":{\"b\":\"a}b\"}}", NULL, NULL,
	"secrets: the secret of \"b\" must be the name of a file, or null\n"},
    /* what is no description */
    {"no JSON", "{\"openapi\":", "{}", NULL, NULL, "end of text at byte 11\n"},
    {"Swagger", "{\"swagger\":\"2.0\",\"paths\":{}}", "{}", NULL, NULL,
	"/swagger: this is Swagger 2.0, and OpenAPI 3.0 and 3.1 are read: convert it first, as swagger2openapi does\n"},
    {"another version", "{\"openapi\":\"4.0.0\"}", "{}", NULL, NULL, "/openapi: this must be \"3.0.x\" or \"3.1.x\"\n"},
    {"no paths", "{\"openapi\":\"3.0.0\"}", "{}", NULL, NULL, "/paths: there must be an object of paths\n"},
    {"no path", "{\"openapi\":\"3.0.0\",\"paths\":{\"a\":{},\"/b\":1,\"x-c\":1}}", "{}", "", "{}",
	"/paths/a: left out: a path begins with /\n/paths/~1b: this must be an object\n"},
    {"what nobody can send", API("\"paths\":{\"/a\":{\"trace\":{}}}"), "{}", "", "{}",
	"/paths/~1a/trace: trace /a: left out: such a request can't be sent\n"},
    {"wrong members", GET(""),
	"{\"server\":\"h\",\"tags\":1,\"prefix\":\"a b\",\"variables\":{\"a\":1},\"secrets\":[]}", NULL, NULL,
	"server: server must be a URL as in \"https://api.example/v1\"\nvariables: variables must be an object of "
	"strings\n"
	"prefix: prefix is at most 32 of A-Z a-z 0-9 _ -\ntags: tags must be a string or an array of strings\n"
	"secrets: secrets must be an object: security scheme -> file\n"},
};

/* Whether got is want, where "~" as a value (a bare ~, made a string before) is anything. */
static bool is_like(json_object *got, json_object *want)
{
	struct slice any = jx_str(want);

	if (any.p && slice_is(any, "~"))
		return got;
	if (!json_object_is_type(want, json_type_object))
		return json_object_equal(got, want);
	if (!json_object_is_type(got, json_type_object) ||
	    json_object_object_length(got) != json_object_object_length(want))
		return false;
	json_object_object_foreach(want, key, val) {
		if (!jx_has(got, key) || !is_like(jx_get(got, key), val))
			return false;
	}
	return true;
}

static json_object *parse_wanted(const char *text)
{
	struct err err;
	struct buf quoted;
	json_object *val;

	buf_init(&quoted, 65536);
	for (; *text; text++)
		buf_adds(&quoted, *text == '~' ? "\"~\"" : (char[]){*text, '\0'});
	val = jx_parse(buf_slice(&quoted), 64, &err);
	buf_release(&quoted);
	assert_non_null(val);
	return val;
}

static void test_conversion(void **state)
{
	int bad = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		json_object *tools, *got = NULL, *want = rows[i].want ? parse_wanted(rows[i].want) : NULL;
		struct err err;
		struct buf words;
		char *text;

		buf_init(&words, 65536);
		text = convert(rows[i].description, rows[i].def, &words);
		tools = text ? jx_parse(slice_str(text), 64, &err) : NULL;
		if (strcmp(words.data ? words.data : "", rows[i].words) != 0 ||
		    (tools != NULL) != (rows[i].place != NULL)) {
			print_error("%s:\n said %s\n want %s\n", rows[i].name, words.data, rows[i].words);
			bad++;
		}
		if (tools && rows[i].place)
			jx_find(tools, slice_str(rows[i].place), &got);
		if (want ? !is_like(got, want)
			 : tools && jx_find(tools, slice_str(rows[i].place ? rows[i].place : ""), &got)) {
			print_error("%s:\n got %s\nwant %s\n", rows[i].name, text, rows[i].want);
			bad++;
		}
		json_object_put(want);
		json_object_put(tools);
		buf_release(&words);
		mem_free(text);
	}
	assert_int_equal(bad, 0);
}

/* One operation more than can be tools, and one too many at all. */
static void test_limits(void **state)
{
	static const struct {
		int count;
		const char *want;
	} limits[] = {
	    {2001, "/paths: it has too many operations for tools: choose some by tags, paths, methods or operations\n"},
	    {20001, "/paths: it has too many operations\n"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(limits); i++) {
		struct buf text, words;

		buf_init(&text, 1 << 22);
		buf_init(&words, 65536);
		buf_adds(&text, "{\"openapi\":\"3.0.0\",\"servers\":[{\"url\":\"https://h\"}],\"paths\":{\"/0\":{}");
		for (int n = 0; n < limits[i].count; n++)
			buf_addf(&text, ",\"/a%d\":{\"get\":{}}", n);
		buf_adds(&text, "}}");
		assert_null(convert(text.data, "{}", &words));
		assert_string_equal(words.data, limits[i].want);
		buf_release(&text);
		buf_release(&words);
	}
}

/* Each schema twice the one before: more than a tool may have. */
static void test_large_schema(void **state)
{
	struct buf text, words;
	char *tools;

	(void)state;
	buf_init(&text, 1 << 22);
	buf_init(&words, 65536);
	buf_adds(&text,
	    "{\"openapi\":\"3.0.0\",\"servers\":[{\"url\":\"https://h\"}],\"paths\":{\"/a\":{\"put\":{\"requestBody\":"
	    "{\"content\":{\"application/json\":{\"schema\":{\"properties\":{\"p\":{}");
	for (int n = 0; n < 50000; n++)
		buf_addf(&text, ",\"p%d\":{}", n);
	buf_adds(&text, "}}}}}}}}}");
	tools = convert(text.data, "{}", &words);
	assert_string_equal(tools, "{}");
	assert_non_null(strstr(words.data, "PUT /a: left out: its parameters and schemas are too many\n"));
	mem_free(tools);
	buf_release(&text);
	buf_release(&words);
}

/* Many times what is many times the same: a few lines that would take years. */
static void test_endless(void **state)
{
#define TIMES_30(text) TIMES_10(text) "," TIMES_10(text) "," TIMES_10(text)
#define TIMES_10(text) text "," text "," text "," text "," text "," text "," text "," text "," text "," text
#define PART(n)        "{\"$ref\":\"#/components/schemas/" n "\"}"
#define ALL_OF(n)      "{\"allOf\":[" TIMES_30(PART(n)) "]}"
#define FORM           "{\"content\":{\"application/x-www-form-urlencoded\":{\"schema\":" PART("F") "}}}"
	static const char *const descriptions[] = {
	    API("\"paths\":{\"/a\":{\"get\":{\"parameters\":[{\"name\":\"p\",\"in\":\"query\",\"schema\":" PART(
		"A") "}]}}},\"components\":{\"schemas\":{\"A\":" ALL_OF("A") "}}"),
	    API("\"paths\":{\"/a\":{\"post\":{\"requestBody\":" FORM
		"}}},\"components\":{\"schemas\":{\"A\":{},\"B\":" ALL_OF("A") ",\"C\":" ALL_OF("B") ",\"D\":" ALL_OF(
		    "C") ",\"E\":" ALL_OF("D") ",\"F\":" ALL_OF("E") "}}"),
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(descriptions); i++) {
		struct buf words;
		char *tools;

		buf_init(&words, 65536);
		tools = convert(descriptions[i], "{}", &words);
		assert_string_equal(tools, "{}");
		assert_non_null(strstr(words.data, "left out: its parameters and schemas are too many\n"));
		mem_free(tools);
		buf_release(&words);
	}
}

/* As many parameters of a path as its operation has: each would be compared with each; and many that have one name. */
static void test_many_parameters(void **state)
{
	static const char *const places[] = {"parameters", "x"};

	(void)state;
	for (size_t k = 0; k < COUNT_OF(places); k++) {
		struct buf text, words;
		char *tools;

		buf_init(&text, 1 << 22);
		buf_init(&words, 65536);
		buf_addf(&text,
		    "{\"openapi\":\"3.0.0\",\"servers\":[{\"url\":\"https://h\"}],\"paths\":{\"/a\":{\"%s\":[",
		    places[k]);
		for (int n = 0; n < 450; n++)
			buf_addf(&text, "%s{\"name\":\"p%d\",\"in\":\"query\"}", n ? "," : "", n);
		buf_adds(&text, "],\"get\":{\"parameters\":[");
		for (int n = 0; n < 450; n++) {
			buf_addf(&text, "%s{\"name\":\"q", n ? "," : "");
			for (int bit = 0; bit < 9; bit++)
				buf_adds(&text, n >> bit & 1 ? "!" : "?");
			buf_adds(&text, "q\",\"in\":\"query\"}");
		}
		buf_adds(&text, "]}}}}");
		tools = convert(text.data, "{}", &words);
		assert_string_equal(tools, "{}");
		assert_non_null(strstr(words.data, "left out: its parameters and schemas are too many\n"));
		mem_free(tools);
		buf_release(&text);
		buf_release(&words);
	}
}

/* What is longer than anybody means: left out, and the rest is there. */
static void test_long_texts(void **state)
{
	static const struct {
		const char *before, *after, *words;
	} texts[] = {
	    {"{\"parameters\":[{\"$ref\":\"#/", "\"}]}", ": it is too long\n"},
	    {"{\"requestBody\":{\"content\":{\"text/plain;", "\":{}}}}", "a media type is too long\n"},
	    {"{\"servers\":[{\"url\":\"https://", "\"}]}", "the URL of its server is too long\n"},
	    {"{\"parameters\":[{\"in\":\"header\",\"required\":true,\"name\":\"", "\"}]}",
		"such a header can't be set\n"},
	    {"{\"parameters\":[{\"in\":\"path\",\"style\":\"matrix\",\"name\":\"", "\"}]}", "a name is too long\n"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct buf text, words;
		char *tools;

		buf_init(&text, 1 << 22);
		buf_init(&words, 1 << 22);
		buf_addf(&text,
		    "{\"openapi\":\"3.0.0\",\"servers\":[{\"url\":\"https://h\"}],\"paths\":{\"/"
		    "b\":{\"get\":{\"operationId\":"
		    "\"t\"}},\"/a\":{\"put\":%s",
		    texts[i].before);
		for (int n = 0; n < 70000; n++)
			buf_adds(&text, "x");
		buf_addf(&text, "%s}}}", texts[i].after);
		tools = convert(text.data, "{}", &words);
		if (!tools || !strstr(tools, "\"t\":") || strstr(tools, "PUT") || !words.data ||
		    !strstr(words.data, texts[i].words))
			fail_msg("%s: %.200s", texts[i].words, words.data ? words.data : "nothing");
		mem_free(tools);
		buf_release(&text);
		buf_release(&words);
	}
}

/* ---- without memory ---- */

static const char *const described[] = {
    "{\"openapi\":\"3.0.3\",\"servers\":[{\"url\":\"https://{r}.h/v1\",\"variables\":{\"r\":{\"default\":\"eu\"}}}],"
    "\"security\":[{\"k\":[],\"b\":[],\"q\":[],\"c\":[]}],\"paths\":{\"/a/{x}{y}\":{"
    "\"parameters\":[{\"name\":\"x\",\"in\":\"path\"},{\"$ref\":\"#/components/parameters/"
    "y\"}],\"get\":{\"summary\":\"S\","
    "\"operationId\":\"0123456789012345678901234567890123456789012345678901234567890123456789\",\"parameters\":["
    "{\"name\":\"deep\",\"in\":\"query\",\"style\":\"deepObject\",\"schema\":{\"$ref\":\"#/components/schemas/O\"}},"
    "{\"name\":\"deep\",\"in\":\"header\",\"schema\":{\"type\":\"string\",\"pattern\":\"(\"}},"
    "{\"name\":\"$ref\",\"in\":\"query\",\"schema\":{\"$ref\":\"#/components/schemas/L\"},\"explode\":false}],"
    "\"responses\":{\"200\":{\"$ref\":\"#/components/responses/R\"}}},"
    "\"post\":{\"tags\":[\"t\"],\"requestBody\":{\"required\":true,\"content\":{\"application/"
    "merge-patch+json\":{\"schema\":"
    "{\"$ref\":\"#/components/schemas/O\"}}}}},"
    "\"put\":{\"requestBody\":{\"content\":{\"application/x-www-form-urlencoded\":{\"schema\":{\"$ref\":"
    "\"#/components/schemas/O\"},\"encoding\":{\"o\":{\"style\":\"deepObject\"}}}}}},"
    "\"patch\":{\"requestBody\":{\"content\":{\"multipart/form-data\":{}}}}}},\"components\":{"
    "\"securitySchemes\":{\"k\":{\"type\":\"apiKey\",\"in\":\"header\",\"name\":\"X-Key\"},"
    "\"q\":{\"type\":\"apiKey\",\"in\":\"query\",\"name\":\"key\"},\"c\":{\"type\":\"apiKey\",\"in\":\"cookie\","
    "\"name\":\"sid\"},\"b\":{\"type\":\"http\",\"scheme\":\"basic\"}},"
    "\"parameters\":{\"y\":{\"name\":\"y\",\"in\":\"path\",\"style\":\"matrix\",\"schema\":{\"type\":\"integer\"}}},"
    "\"responses\":{\"R\":{\"content\":{\"application/json\":{}}}},"
    "\"schemas\":{\"L\":{\"type\":\"array\",\"items\":{\"nullable\":true,\"type\":\"string\",\"enum\":[\"a\"]}},"
    "\"O\":{\"type\":\"object\",\"required\":[\"s\"],\"properties\":{\"s\":{\"type\":\"string\",\"default\":\"d\"},"
    "\"o\":{\"$ref\":\"#/components/schemas/O\"},\"l\":{\"$ref\":\"#/components/schemas/L\"}}}}}}",
#ifdef HAVE_LIBYAML
    "openapi: 3.1.0\nservers: [{url: https://h}]\npaths:\n  /a: &a\n    get: {parameters: [{name: p, in: query, "
    "schema: {type: "
    "[integer, 'null']}}]}\n  /b: *a\ncomponents: {securitySchemes: {k: {type: http, scheme: bearer}, b: {}, q: {}, c: "
    "{}}}\n",
#endif
};
#define DESCRIBED_BY                                                                                                   \
	"\"prefix\":\"p_\",\"tags\":\"!none\",\"operations\":[\"*\"],\"secrets\":{\"k\":\"k\",\"b\":\"b\",\"q\":"      \
	"\"q\","                                                                                                       \
	"\"c\":\"c\"}"

static void ignore(void *arg, const char *place, const char *text)
{
	(void)arg, (void)place, (void)text;
}

/* One allocation fails, or all from that one on: the same tools, or none and the reason. */
static void test_no_memory(void **state)
{
	static const long counts[] = {1, LONG_MAX / 2};
	const struct openapi_listener listener = {ignore, ignore, ignore, NULL};
	struct err ignored;
	json_object *def = jx_parse(SLICE("{" DESCRIBED_BY "}"), 16, &ignored);

	(void)state;
	for (size_t i = 0; i < 2 * COUNT_OF(described); i++) {
		struct slice text = slice_str(described[i / 2]);
		struct openapi_counts n;
		struct err err;
		json_object *whole = openapi_convert(text, def, &listener, &n, &err);
		long live = mem_fault_live();
		bool reached = true;

		assert_non_null(whole);
		for (long nth = 0; reached; nth++) {
			json_object *tools;

			mem_fault_at(nth, counts[i % 2]);
			tools = openapi_convert(text, def, &listener, &n, &err);
			reached = mem_fault_end();
			if (tools ? !json_object_equal(tools, whole) : !reached || err.code != ERR_NOMEM)
				fail_msg(
				    "allocation %ld: %s", nth, tools ? json_object_to_json_string(tools) : err.msg);
			json_object_put(tools);
			assert_int_equal(mem_fault_live(), live);
		}
		json_object_put(whole);
	}
	json_object_put(def);
}

/* The same of a configuration, as a whole: what does not load says why. */
static void test_load_no_memory(void **state)
{
	struct toolfile file;
	bool reached = true;
	size_t count = 0;

	(void)state;
	toolfile_init(&file);
	for (const char *name = "kbqc"; *name; name++)
		toolfile_write(&file, (char[]){*name, '\0'}, "a:b", 0600);
	toolfile_write(&file, "api.json", described[0], 0600);
	for (long nth = -1; reached; nth++) {
		struct err err = {0};
		int ret;

		if (nth >= 0)
			mem_fault_at(nth, 1);
		ret = toolfile_load(&file, "{\"openapi\":{\"x\":{\"file\":\"api.json\"," DESCRIBED_BY "}}}", &err);
		reached = mem_fault_end() || nth < 0;
		if (nth < 0)
			count = file.set.count;
		if (ret == 0 ? file.set.count != count : nth < 0 || err.code == ERR_NONE)
			fail_msg("allocation %ld: %d, %zu tools, %s %s", nth, ret, file.set.count, err.msg,
			    file.complaints.data);
	}
	assert_int_equal(count, 3);
	toolfile_release(&file);
	assert_int_equal(mem_fault_live(), 0);
}

/* ---- YAML ---- */

#ifdef HAVE_LIBYAML
static const struct {
	const char *text, *want; /* JSON, or what is wrong */
} yamls[] = {
    {"a: 1\nb: [x, 'y', \"z\\n\"]\n", "{\"a\":1,\"b\":[\"x\",\"y\",\"z\\n\"]}"},
    {"{a: ~, b: null, c: , d: '', e: Null, f: nul}",
	"{\"a\":null,\"b\":null,\"c\":null,\"d\":\"\",\"e\":null,\"f\":\"nul\"}"},
    {"[true, False, yes, on, 'true', !!str true]", "[true,false,\"yes\",\"on\",\"true\",\"true\"]"},
    {"[0, -12, +3, 0x1f, 0o17, 0x0x5, 0x-1, 0o8, 0x, 1_0, 1.5, .5, 5., 1e3, -1.5E-3, ., -, 1.2.3, 1e]",
	"[0,-12,3,31,15,\"0x0x5\",\"0x-1\",\"0o8\",\"0x\",\"1_0\",1.5,0.5,5,1000,-0.0015,\".\",\"-\",\"1.2.3\","
	"\"1e\"]"},
    {"[2026-11-21, 12:30, 9223372036854775807, 9223372036854775808]",
	"[\"2026-11-21\",\"12:30\",9223372036854775807,9.223372036854776e+18]"},
    {"200: {true: x}\nnull: y\n", "{\"200\":{\"true\":\"x\"},\"null\":\"y\"}"},
    {"a: &x [1, {b: 2}]\nc: *x\nd: [*x, *x]\n",
	"{\"a\":[1,{\"b\":2}],\"c\":[1,{\"b\":2}],\"d\":[[1,{\"b\":2}],[1,{\"b\":2}]]}"},
    {"a: |\n  two\n  lines\nb: >-\n  one\n  line\n", "{\"a\":\"two\\nlines\\n\",\"b\":\"one line\"}"},
    {"\"\\u00e9\\U0001F600\": \xc3\xa9", "{\"\xc3\xa9\xf0\x9f\x98\x80\":\"\xc3\xa9\"}"},
    {"", "line 1: there is nothing in it"},
    {"# nothing\n", "line 1: there is nothing in it"},
    {"---\n", "line 1: it is null"},
    {"a: 1\na: 2\n", "line 2: a key that this mapping has already"},
    {"a: 1\n---\nb: 2\n", "line 2: a second document"},
    {"a: &x [*x]\n", "line 1: an alias of what is not there, or of itself"},
    {"a: *x\n", "line 1: an alias of what is not there, or of itself"},
    {"a: &x {b: 1}\nc:\n  <<: *x\n", "line 3: merge keys (<<) are not read"},
    {"? [a]\n: b\n", "line 1: a key must be a scalar"},
    {"a: !ruby/object {}\n", "{\"a\":{}}"},
    {"a: !mine x\n", "line 1: a tag that JSON does not know"},
    {"a: .inf\n", "line 1: infinities and .nan are no JSON"},
    {"a: 1e999\n", "line 1: a number out of range"},
    {"a: \"x\\0y\"\n", "line 1: a NUL in a string"},
    {"\"x\\0y\": 1\n", "line 1: a NUL in a key"},
    {"a: [1\nb: 2\n", "line 2: did not find expected ',' or ']'"},
    {"a: \"\xff\"\n", "line 1: invalid leading UTF-8 octet"},
    {"[[[[[[[[[[[]]]]]]]]]]]\n", "line 1: too deep, or too large"},
    {"a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n",
	"line 3: its aliases make it too deep or too large"},
    {"a: &a [[[[1]]]]\nb: &b [[[[*a]]]]\nc: [[[[*b]]]]\n", "line 3: its aliases make it too deep or too large"},
};

static void test_yaml(void **state)
{
	int bad = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(yamls); i++) {
		struct err err = {0};
		json_object *val = yaml_parse(slice_str(yamls[i].text), 10, 1000, &err);
		struct buf got;

		buf_init(&got, 65536);
		if (val)
			jx_write(&got, val);
		else
			buf_adds(&got, err.msg);
		if (strcmp(got.data, yamls[i].want) != 0) {
			print_error("%s:\n got %s\nwant %s\n", yamls[i].text, got.data, yamls[i].want);
			bad++;
		}
		buf_release(&got);
		json_object_put(val);
	}
	assert_int_equal(bad, 0);
}
#endif

/* ---- of a configuration ---- */

#define CONF "DIR/mcp.json:1: /openapi/x"

static const struct {
	const char *def, *want; /* NULL: it is fine */
} loads[] = {
    {"{\"file\":\"api.json\",\"secrets\":{\"k\":\"key\"}}", NULL},
    {"{\"file\":\"api.json\",\"secrets\":{\"k\":\"none\"}}",
	CONF "/t/http/headers/X-Key: DIR/none: No such file or directory\n"},
    {"{\"file\":\"api.json\"}",
	CONF "/secrets: 1 operations need \"k\": name the file with its secret, or null to go without it\n"},
    {"{\"file\":\"none.json\"}", CONF "/file: DIR/none.json: open: No such file or directory\n"},
    {"{\"file\":\"bad.json\"}", CONF "/file: DIR/bad.json: /openapi: this must be \"3.0.x\" or \"3.1.x\"\n"},
    {"{\"file\":\"api.json\",\"tag\":\"a\"}", CONF "/tag: unknown member \"tag\"; did you mean \"tags\"?\n"},
    {"{\"file\":\"api.json\",\"secrets\":{\"k\":null},\"retries\":11}",
	CONF "/t/retries: retries must be a whole number, 0 to 10\n"},
    {"\"api.json\"", CONF ": a description of an API is named by an object, as in {\"file\": \"api.json\"}\n"},
    {"{\"file\":\"api.json\",\"secrets\":{\"k\":null}},\"y\":{\"file\":\"api.json\",\"secrets\":{\"k\":null}}",
	"DIR/mcp.json:1: /openapi/y/t: there is a tool \"t\" already\n"},
};

static void test_load(void **state)
{
	struct toolfile file;
	struct buf text;
	int bad = 0;

	(void)state;
	toolfile_init(&file);
	toolfile_write(&file, "key", "s3cret", 0600);
	toolfile_write(&file, "bad.json", "{}", 0600);
	toolfile_write(&file, "api.json",
	    AUTH("[{\"k\":[]}]", "\"k\":{\"type\":\"apiKey\",\"in\":\"header\",\"name\":\"X-Key\"}"), 0600);
	buf_init(&text, 65536);
	for (size_t i = 0; i < COUNT_OF(loads); i++) {
		const char *want = loads[i].want ? loads[i].want : "", *got;
		struct err err = {0};
		int ret;

		buf_clear(&text);
		buf_addf(&text, "{\"openapi\":{\"x\":%s}}", loads[i].def);
		ret = toolfile_load(&file, text.data, &err);
		got = file.complaints.data ? file.complaints.data : "";
		if (ret != (loads[i].want ? -1 : 0) || strcmp(got, want) != 0) {
			print_error("%s:\n got %s\nwant %s\n", loads[i].def, got, want);
			bad++;
		}
		if (ret == 0)
			assert_non_null(toolset_find(&file.set, SLICE("t")));
	}
	assert_int_equal(bad, 0);
	/* what is only left out keeps nothing from being served */
	toolfile_write(&file, "api.json", API("\"paths\":{\"/a\":{\"trace\":{},\"get\":{}}}"), 0600);
	assert_int_equal(toolfile_load(&file, "{\"openapi\":{\"x\":{\"file\":\"api.json\"}}}", &(struct err){0}), 0);
	assert_string_equal(file.complaints.data, CONF ": warning: DIR/api.json: /paths/~1a/trace: trace /a: left out: "
						       "such a request can't be sent\n");
	assert_int_equal(file.set.count, 1);
	buf_release(&text);
	toolfile_release(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_conversion),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_large_schema),
	    cmocka_unit_test(test_endless),
	    cmocka_unit_test(test_many_parameters),
	    cmocka_unit_test(test_long_texts),
	    cmocka_unit_test(test_no_memory),
	    cmocka_unit_test(test_load),
	    cmocka_unit_test(test_load_no_memory),
#ifdef HAVE_LIBYAML
	    cmocka_unit_test(test_yaml),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
