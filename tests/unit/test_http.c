/* http tools against a server that is told by the path how to behave (tests/lib/http_standin.py). */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/jx.h"
#include "tests/lib/fake_call.h"
#include "tests/lib/standin.h"
#include "tests/lib/toolfile.h"
#include "common/banned.h"

#define ANY ",\"input\":{\"type\":\"object\"}"
#define ABC ",\"input\":{\"a\":{\"optional\":true},\"b\":{\"optional\":true},\"c\":{\"default\":\"see\"}}"

static struct toolfile file;
static pid_t standin;

/* A set of one tool "t" with this definition. */
static const struct tool *load_with(const char *settings, const char *def)
{
	struct buf text;
	struct err err;

	buf_init(&text, 65536);
	buf_addf(&text, "{\"http\":{%s},\"tools\":{\"t\":%s}}", settings, def);
	if (toolfile_load(&file, text.data, &err))
		fail_msg("%s: %s %s", def, err.msg, file.complaints.data ? file.complaints.data : "");
	buf_release(&text);
	return &file.set.tools[0];
}

static const struct tool *load(const char *def)
{
	return load_with("\"allow_addresses\":[\"127.0.0.1\"],\"timeout_s\":10", def);
}

/* The result as JSON; NULL: *err. The caller frees it. */
static char *run(const struct tool *tool, const char *args_text, struct err *err)
{
	json_object *args = jx_parse(slice_str(args_text), 64, err), *result = NULL;
	struct fake_call call;
	struct buf text;
	int ret;

	assert_non_null(args);
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	buf_init(&text, 1 << 22);
	ret = tool->provider->call(&call.call, tool, args, &result, err);
	assert_true((ret == 0) == (result != NULL));
	if (result)
		jx_write(&text, result);
	json_object_put(result);
	json_object_put(args);
	fake_call_release(&call);
	return text.data;
}

static char *structured(const struct tool *tool, const char *args)
{
	struct err err = {0};
	char *got = run(tool, args, &err), *at = got ? strstr(got, "\"structuredContent\":") : NULL;
	size_t len = at ? strlen(at) : 0;

	if (len < 21)
		fail_msg("no structured content: %s %s", err.msg, got ? got : "");
	memmove(got, at + 20, len - 20);
	got[len - 21] = '\0';
	return got;
}

#define GET(target) "{\"method\":\"GET\",\"target\":\"" target "\",\"headers\":{},\"body\":\"\"}"

/* What is sent. */
static const struct {
	const char *name, *def, *args, *want;
} sent[] = {
    {"a URL alone", "{\"http\":\"${API}/echo/x\"}", "{}", GET("/echo/x")},
    {"a path", "{\"http\":\"${API}/echo/{a}-{b}/{c}\",\"input\":{\"a\":{},\"b\":{},\"c\":{\"default\":true}}}",
	"{\"a\":\"x/../y?z#\\u00e9 %\",\"b\":-1.5}", GET("/echo/x%2F..%2Fy%3Fz%23%C3%A9%20%25--1.5/true")},
    {"{{ is a {", "{\"http\":\"${API}/echo/{{a}\"}", "{}", GET("/echo/{a}")},
    {"query",
	"{\"http\":{\"url\":\"${API}/echo\",\"query\":{\"a\":\"{a}\",\"b\":\"x{b}\",\"c\":\"{c}\",\"n\":10,\"t\":true,"
	"\"s p\":\"&\"}}" ABC "}",
	"{\"b\":\"1&c=2\"}", GET("/echo?b=x1%26c%3D2&c=see&n=10&t=true&s%20p=&")},
    {"query of nothing", "{\"http\":{\"url\":\"${API}/echo\",\"query\":{\"a\":\"{a}\"}}" ABC "}", "{}", GET("/echo")},
    {"query behind a query", "{\"http\":{\"url\":\"${API}/echo?x={c}\",\"query\":{\"a\":\"{a}\"}}" ABC "}",
	"{\"a\":[1,\"z&\",null]}", GET("/echo?x=see&a=1&a=z%26&a=null")},
    {"headers",
	"{\"http\":{\"url\":\"${API}/echo\",\"headers\":{\"X-A\":\"a {a}\",\"X-B\":\"{b}\",\"X-N\":1,\"X-E\":\"\"}}" ABC
	"}",
	"{\"a\":\"\\u00fc\"}",
	"{\"method\":\"GET\",\"target\":\"/echo\",\"headers\":{\"x-a\":\"a "
	"\\u00c3\\u00bc\",\"x-n\":\"1\"},\"body\":\"\"}"},
    {"a secret", "{\"http\":{\"url\":\"${API}/echo\",\"headers\":{\"Authorization\":\"Bearer {file:token}\"}}}", "{}",
	"{\"method\":\"GET\",\"target\":\"/echo\",\"headers\":{\"authorization\":\"Bearer s3cret\"},\"body\":\"\"}"},
    {"JSON",
	"{\"http\":{\"url\":\"${API}/"
	"echo\",\"json\":{\"a\":\"{a}\",\"b\":[\"{b}\",1,null],\"c\":\"<{c}>\",\"{\":true}}" ABC "}",
	"{\"a\":{\"x\":[1]}}",
	"{\"method\":\"POST\",\"target\":\"/echo\",\"headers\":{\"content-type\":\"application/json\"},"
	"\"body\":\"{\\\"a\\\":{\\\"x\\\":[1]},\\\"b\\\":[1,null],\\\"c\\\":\\\"<see>\\\",\\\"{\\\":true}\"}"},
    {"JSON, escaped", "{\"http\":{\"url\":\"${API}/echo\",\"method\":\"PUT\",\"json\":[\"x{a}\"]}" ABC "}",
	"{\"a\":\"\\\",1,\\\"\"}",
	"{\"method\":\"PUT\",\"target\":\"/echo\",\"headers\":{\"content-type\":\"application/json\"},"
	"\"body\":\"[\\\"x\\\\\\\",1,\\\\\\\"\\\"]\"}"},
    {"a form", "{\"http\":{\"url\":\"${API}/echo\",\"form\":{\"a\":\"{a}\",\"b\":\"{b}\"}}" ABC "}",
	"{\"a\":\"1&b=2\"}",
	"{\"method\":\"POST\",\"target\":\"/echo\",\"headers\":{\"content-type\":\"application/"
	"x-www-form-urlencoded\"},"
	"\"body\":\"a=1%26b%3D2\"}"},
    {"XML",
	"{\"http\":{\"url\":\"${API}/echo\",\"headers\":{\"Content-Type\":\"text/xml\"},\"body\":\"<a>{a}</a>\"}" ABC
	"}",
	"{\"a\":\"</a>&\"}",
	"{\"method\":\"POST\",\"target\":\"/echo\",\"headers\":{\"content-type\":\"text/xml\"},"
	"\"body\":\"<a>&lt;/a&gt;&amp;</a>\"}"},
    {"DELETE", "{\"http\":{\"url\":\"${API}/echo\",\"method\":\"DELETE\"}}", "{}",
	"{\"method\":\"DELETE\",\"target\":\"/echo\",\"headers\":{},\"body\":\"\"}"},
    {"a redirect to the same origin",
	"{\"http\":{\"url\":\"${API}/redirect\",\"query\":{\"to\":\"/echo/there\"},"
	"\"headers\":{\"X-Key\":\"{file:token}\"}}}",
	"{}", "{\"method\":\"GET\",\"target\":\"/echo/there\",\"headers\":{\"x-key\":\"s3cret\"},\"body\":\"\"}"},
};

static void test_sent(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(sent); i++) {
		struct err err;
		json_object *got, *want;
		char *text = structured(load(sent[i].def), sent[i].args);

		got = jx_parse(slice_str(text), 64, &err);
		want = jx_parse(slice_str(sent[i].want), 64, &err);
		assert_non_null(want);
		if (!json_object_equal(got, want))
			fail_msg("%s:\n got %s\nwant %s", sent[i].name, text, sent[i].want);
		json_object_put(got);
		json_object_put(want);
		free(text);
	}
}

#define ERROR(text)      "{\"content\":[{\"type\":\"text\",\"text\":\"t: " text "\"}],\"isError\":true}"
#define GOOD(text)       "{\"content\":[{\"type\":\"text\",\"text\":\"" text "\"}]}"
#define BOTH(text, json) "{\"content\":[{\"type\":\"text\",\"text\":\"" text "\"}],\"structuredContent\":" json "}"
#define RIVER            "{\"http\":\"${API}/river/{city}\",\"input\":{\"city\":{}}"
#define AT               "127.0.0.1:PORT"

/* What comes back. */
static const struct {
	const char *name, *def, *args, *want;
} results[] = {
    {"a place of the answer", RIVER ",\"result\":\"/data/0/temp\"}", "{\"city\":\"bern\"}", GOOD("13.5")},
    {"an object there", RIVER ",\"result\":\"/data/0\"}", "{\"city\":\"bern\"}",
	BOTH("{\\\"city\\\":\\\"bern\\\",\\\"temp\\\":13.5,\\\"note\\\":null,\\\"a/b\\\":\\\"x\\\"}",
	    "{\"city\":\"bern\",\"temp\":13.5,\"note\":null,\"a/b\":\"x\"}")},
    {"nothing there", RIVER ",\"result\":\"/data/1\"}", "{\"city\":\"bern\"}",
	ERROR(AT ": its answer has nothing at /data/1")},
    {"a template",
	RIVER ",\"result\":\"/data/0\",\"output\":\"text\",\"template\":\"{/temp} in {city} ({/a~1b}{/none}{/note})\"}",
	"{\"city\":\"bern\"}", GOOD("13.5 in bern (x)")},
    {"a schema that fits", RIVER ",\"result\":\"/data/0/temp\",\"output_schema\":{\"type\":\"number\"}}",
	"{\"city\":\"bern\"}", BOTH("13.5", "13.5")},
    {"a schema that doesn't", RIVER ",\"result\":\"/data/0/temp\",\"output_schema\":{\"type\":\"string\"}}",
	"{\"city\":\"bern\"}", ERROR("the answer does not fit its schema: the value: must be a string, not a number")},
    {"404", RIVER "}", "{\"city\":\"oslo\"}",
	ERROR(AT " answered with status 404: there is no such thing\\n{\\\"error\\\":\\\"no such city\\\"}")},
    {"text", "{\"http\":\"${API}/say/text\"}", "{}", GOOD("caf\xc3\xa9\\n")},
    {"no UTF-8", "{\"http\":\"${API}/say/latin\",\"output\":\"text\"}", "{}", GOOD("caf\xef\xbf\xbd")},
    {"a picture", "{\"http\":\"${API}/say/png\"}", "{}",
	"{\"content\":[{\"type\":\"image\",\"data\":\"iVBORw0KGgoA\",\"mimeType\":\"image/png\"}]}"},
    {"bytes", "{\"http\":\"${API}/say/pdf\"}", "{}",
	ERROR("the answer is 6 bytes of application/pdf, which is no text")},
    {"an empty answer", "{\"http\":\"${API}/say/nothing\"}", "{}", GOOD("")},
    {"an empty answer that should be JSON", "{\"http\":\"${API}/say/nothing\",\"output\":\"json\"}", "{}",
	ERROR(AT ": its answer is not the JSON that it should be: end of text at byte 0")},
    {"no type", "{\"http\":\"${API}/say/untyped\"}", "{}", GOOD("plain")},
    {"a string", "{\"http\":\"${API}/say/scalar\"}", "{}", GOOD("13 degrees")},
    {"HTTP/1.0", "{\"http\":\"${API}/http10\"}", "{}", GOOD("old")},
    {"gzip", "{\"http\":\"${API}/gzip\",\"result\":\"/zipped\"}", "{}", GOOD("true")},
    {"a page for people", "{\"http\":\"${API}/status/500/html\"}", "{}",
	ERROR(AT " answered with status 500: it has a problem of its own; try again later")},
    {"a secret comes back",
	"{\"http\":{\"url\":\"${API}/status/401/secret\",\"headers\":{\"Authorization\":\"K {file:token}\"}}}", "{}",
	ERROR(AT
	    " answered with status 401: this server may not do that there; trying again will not help\\nK [secret]")},
    {"retried until it works", "{\"http\":\"${API}/flaky/r1/2\"}", "{}", GOOD("3")},
    {"retried, but no more", "{\"http\":\"${API}/flaky/r2/2\",\"retries\":1}", "{}",
	ERROR(AT " answered with status 503: it has a problem of its own; try again later\\n2")},
    {"a POST is not", "{\"http\":{\"url\":\"${API}/flaky/r3/1\",\"method\":\"POST\"}}", "{}",
	ERROR(AT " answered with status 503: it has a problem of its own; try again later\\n1")},
    {"500 is not", "{\"http\":\"${API}/flaky/r4/1/500\"}", "{}",
	ERROR(AT " answered with status 500: it has a problem of its own; try again later\\n1")},
    {"Retry-After", "{\"http\":\"${API}/later/r5/1\"}", "{}", GOOD("2")},
    {"Retry-After is too late", "{\"http\":\"${API}/later/r6/1000\"}", "{}",
	ERROR(AT " answered with status 429: it was asked too often; try again later (in 1000 s)")},
    {"a connection that breaks", "{\"http\":\"${API}/breaks/r7\"}", "{}", GOOD("2")},
    /* Arguments that can't be. */
    {"up", RIVER "}", "{\"city\":\"..\"}", ERROR("an argument must not be \\\".\\\" or \\\"..\\\"")},
    {"an empty segment", RIVER "}", "{\"city\":\"\"}", ERROR("city must not be empty")},
    {"a null", RIVER "}", "{\"city\":null}", ERROR("city is missing")},
    {"a header that ends", "{\"http\":{\"url\":\"${API}/echo\",\"headers\":{\"X-A\":\"{a}\"}}" ABC "}",
	"{\"a\":\"x\\r\\nX-B: y\"}", ERROR("a must not hold control characters")},
    /* Bad manners. */
    {"an endless body", "{\"http\":\"${API}/endless\"}", "{}", ERROR(AT ": its answer is too big")},
    {"endless headers", "{\"http\":\"${API}/headers\"}", "{}", ERROR(AT ": its answer is too big")},
    {"a bomb", "{\"http\":\"${API}/bomb\"}", "{}", ERROR(AT ": its answer is too big")},
    {"a slow loris", "{\"http\":\"${API}/loris\",\"timeout_s\":1}", "{}", ERROR(AT ": it did not answer in time")},
    {"silence", "{\"http\":\"${API}/slow/3\",\"timeout_s\":1}", "{}", ERROR(AT ": it did not answer in time")},
    {"less than it says", "{\"http\":\"${API}/short\",\"retries\":0}", "{}",
	ERROR(AT ": it broke off: Transferred a partial file")},
    {"broken gzip", "{\"http\":\"${API}/badgzip\",\"retries\":0}", "{}",
	ERROR(AT ": it broke off: Unrecognized or bad HTTP Content or Transfer-Encoding")},
    {"more than it says", "{\"http\":\"${API}/long\",\"output\":\"text\"}", "{}", GOOD("ok")},
    {"and then", "{\"http\":\"${API}/count/after\"}", "{}", GOOD("1")},
    {"no HTTP", "{\"http\":\"${API}/garbage\",\"retries\":0}", "{}",
	ERROR(AT ": it broke off: this is no HTTP")},
    {"redirects in a circle", "{\"http\":\"${API}/loop\"}", "{}", ERROR(AT ": it redirects too often")},
    {"redirected elsewhere", "{\"http\":{\"url\":\"${API}/redirect\",\"query\":{\"to\":\"http://127.0.0.2:1/\"}}}",
	"{}", ERROR(AT ": its address is not a public one (setting http.allow_addresses)")},
    {"redirected to a file", "{\"http\":{\"url\":\"${API}/redirect\",\"query\":{\"to\":\"file:///etc/passwd\"}}}", "{}",
	ERROR(AT ": it redirects to what is not https")},
    {"a POST that is redirected",
	"{\"http\":{\"url\":\"${API}/redirect/307\",\"method\":\"POST\",\"query\":{\"to\":\"/echo\"}}}", "{}",
	ERROR(AT ": it redirects a request that is not to be repeated elsewhere")},
    {"a certificate of its own", "{\"http\":\"${API_TLS}/echo\"}", "{}",
	ERROR("127.0.0.1:TLSPORT: its certificate is not trusted")},
    {"nobody there", "{\"http\":\"http://127.0.0.1:1/\",\"retries\":0}", "{}",
	ERROR("127.0.0.1:1: it can't be reached: Couldn't connect to server")},
};

static void replace(char *text, const char *what, const char *by)
{
	char *at;

	while (*what && (at = strstr(text, what))) {
		memmove(at + strlen(by), at + strlen(what), strlen(at + strlen(what)) + 1);
		memcpy(at, by, strlen(by));
	}
}

/* The ports are different each time; their names are longer than they. */
static void hide_ports(char *text)
{
	replace(text, strrchr(getenv("API"), ':') + 1, "PORT");
	replace(text, strrchr(getenv("API_TLS"), ':') + 1, "TLSPORT");
}

static void test_results(void **state)
{
	int bad = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(results); i++) {
		struct err err = {0};
		char *got = run(load(results[i].def), results[i].args, &err), text[4096];

		snprintf(text, sizeof(text), "%s", got ? got : err.msg);
		hide_ports(text);
		if (strcmp(text, results[i].want) != 0) {
			print_error("%s:\n got %s\nwant %s\n", results[i].name, text, results[i].want);
			bad++;
		}
		free(got);
	}
	assert_int_equal(bad, 0);
}

static int set_up(void **state)
{
	(void)state;
	toolfile_init(&file);
	toolfile_write(&file, "token", "s3cret\n", 0600);
	standin = standin_start(file.dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	standin_stop(standin);
	toolfile_release(&file);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sent),
	    cmocka_unit_test(test_results),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
