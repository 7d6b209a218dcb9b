/* http tools against a server that is told by the path how to behave (tests/lib/http_standin.py). */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/http_cache.h"
#include "tests/lib/fake_call.h"
#include "tests/lib/standin.h"
#include "tests/lib/toolfile.h"
#include "common/banned.h"

#define ANY ",\"input\":{\"type\":\"object\"}"
#define ABC ",\"input\":{\"a\":{\"optional\":true},\"b\":{\"optional\":true},\"c\":{\"default\":\"see\"}}"

static struct toolfile file;
static pid_t standin;

/* A set of one tool "t" with this definition. */
static const struct tool *load_all(const char *apis, const char *settings, const char *def)
{
	struct buf text;
	struct err err;

	buf_init(&text, 65536);
	buf_addf(&text,
	    "{\"run\":{\"dir\":\".\"},\"http\":{\"connections_max\":2%s%s},\"apis\":{%s},\"tools\":{\"t\":%s}}",
	    *settings ? "," : "", settings, apis, def);
	if (toolfile_load(&file, text.data, &err))
		fail_msg("%s: %s %s", def, err.msg, file.complaints.data ? file.complaints.data : "");
	buf_release(&text);
	return &file.set.tools[0];
}

static const struct tool *load_with(const char *settings, const char *def)
{
	return load_all("", settings, def);
}

static const struct tool *load_of(const char *apis, const char *def)
{
	return load_all(apis, "", def);
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

#define STYLED(name, style) "{\"value\":\"{" name "}\",\"style\":\"" style "\"}"
#define GET(target)         "{\"method\":\"GET\",\"target\":\"" target "\",\"headers\":{},\"body\":\"\"}"

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
	"{\"b\":\"1&c=2\"}", GET("/echo?b=x1%26c%3D2&c=see&n=10&t=true&s%20p=%26")},
    {"an array in a path and in a header",
	"{\"http\":{\"url\":\"${API}/echo/{a}\",\"headers\":{\"X-A\":\"{a}\"}},\"input\":{\"a\":{}}}",
	"{\"a\":[1,\"x,/\"]}",
	"{\"method\":\"GET\",\"target\":\"/echo/1,x%2C%2F\",\"headers\":{\"x-a\":\"1,x,/\"},\"body\":\"\"}"},
    {"values with a style",
	"{\"http\":{\"url\":\"${API}/echo\",\"query\":{\"c\":" STYLED("a", "comma") ",\"s\":" STYLED(
	    "a", "space") ",\"p\":" STYLED("a", "pipe") ",\"d\":" STYLED("b", "deep") ",\"j\":" STYLED("c",
	    "json") ",\"e\":" STYLED("c", "deep") "}}" ABC "}",
	"{\"a\":[1,\"x,&\"],\"b\":{\"k&\":\"v=\",\"l\":[true,{\"m\":null}]}}",
	GET("/echo?c=1,x%2C%26&s=1%20x%2C%26&p=1%7Cx%2C%26&d%5Bk%26%5D=v%3D&d%5Bl%5D%5B0%5D=true"
	    "&d%5Bl%5D%5B1%5D%5Bm%5D=null&j=%22see%22&e=see")},
    {"values with a style that are no arrays, or missing",
	"{\"http\":{\"url\":\"${API}/echo\",\"query\":{\"c\":" STYLED("b", "comma") ",\"s\":" STYLED(
	    "a", "deep") "}}" ABC "}",
	"{\"b\":\"1,2\"}", GET("/echo?c=1%2C2")},
    {"NUL", "{\"http\":{\"url\":\"${API}/echo\",\"query\":{\"a\":\"{a}\"},\"form\":{\"b\":\"{a}\"}}" ABC "}",
	"{\"a\":\"\\u0000\"}",
	"{\"method\":\"POST\",\"target\":\"/echo?a=%00\",\"headers\":{\"content-type\":\"application/"
	"x-www-form-urlencoded\"},"
	"\"body\":\"b=%00\"}"},
    {"query of nothing", "{\"http\":{\"url\":\"${API}/echo\",\"query\":{\"a\":\"{a}\"}}" ABC "}", "{}", GET("/echo")},
    {"query behind a query", "{\"http\":{\"url\":\"${API}/echo?x={c}\",\"query\":{\"a\":\"{a}\"}}" ABC "}",
	"{\"a\":[1,\"z&\",null]}", GET("/echo?x=see&a=1&a=z%26&a=null")},
    {"headers",
	"{\"http\":{\"url\":\"${API}/echo\",\"headers\":{\"X-A\":\"a {a}\",\"X-B\":\"{b}\",\"X-N\":1,\"X-E\":\"\"}}" ABC
	"}",
	"{\"a\":\"\\u00fc\"}",
	"{\"method\":\"GET\",\"target\":\"/echo\",\"headers\":{\"x-a\":\"a "
	"\\u00c3\\u00bc\",\"x-n\":\"1\"},\"body\":\"\"}"},
    {"a call on which nobody can report",
	"{\"http\":{\"url\":\"${API}/echo\",\"headers\":{\"X-Call\":\"{mcp:call}\"}}" ABC "}",
	"{\"a\":null,\"b\":1,\"mcp:call\":\"mine\"}",
	"{\"method\":\"GET\",\"target\":\"/echo\",\"headers\":{\"x-call\":\"none\"},\"body\":\"\"}"},
    {"a secret", "{\"http\":{\"url\":\"${API}/echo\",\"headers\":{\"Authorization\":\"Bearer {file:token}\"}}}", "{}",
	"{\"method\":\"GET\",\"target\":\"/echo\",\"headers\":{\"authorization\":\"Bearer s3cret\"},\"body\":\"\"}"},
    {"a password", "{\"http\":{\"url\":\"${API}/echo\",\"headers\":{\"Authorization\":\"Basic {basic:token}\"}}}", "{}",
	"{\"method\":\"GET\",\"target\":\"/echo\",\"headers\":{\"authorization\":\"Basic czNjcmV0\"},\"body\":\"\"}"},
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
    {"JSON that is missing",
	"{\"http\":{\"url\":\"${API}/echo\",\"method\":\"POST\",\"headers\":{\"Content-Type\":\"application/x+json\"},"
	"\"json\":\"{a}\"}" ABC "}",
	"{}", "{\"method\":\"POST\",\"target\":\"/echo\",\"headers\":{},\"body\":\"\"}"},
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
    {"a redirect to another origin",
	"{\"http\":{\"url\":\"${API}/redirect\",\"query\":{\"to\":\"${API_OTHER}/echo/there\"},"
	"\"headers\":{\"X-Key\":\"{file:token}\"}}}",
	"{}", GET("/echo/there")},
};

static void expect_sent(const char *name, const struct tool *tool, const char *args, const char *want_text)
{
	char *text = structured(tool, args);
	json_object *got, *want;
	struct err err;

	got = jx_parse(slice_str(text), 64, &err);
	want = jx_parse(slice_str(want_text), 64, &err);
	assert_non_null(want);
	if (!json_object_equal(got, want))
		fail_msg("%s:\n got %s\nwant %s", name, text, want_text);
	json_object_put(got);
	json_object_put(want);
	free(text);
}

static void test_sent(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(sent); i++)
		expect_sent(sent[i].name, load(sent[i].def), sent[i].args, sent[i].want);
}

/* By what an API has for all of its definitions. */
#define KEYED                                                                                                          \
	"\"river\":{\"url\":\"${API}/echo/\",\"query\":{\"k\":\"{file:token}\",\"v\":2},"                              \
	"\"headers\":{\"X-Key\":\"{file:token}\",\"X-Lang\":\"de\"},\"allow_addresses\":[\"127.0.0.1\"]}"

static const struct {
	const char *name, *def, *want;
} sent_by_api[] = {
    {"its url, query and headers", "{\"http\":\"/now\"}",
	"{\"method\":\"GET\",\"target\":\"/echo/"
	"now?k=s3cret&v=2\",\"headers\":{\"x-key\":\"s3cret\",\"x-lang\":\"de\"},"
	"\"body\":\"\"}"},
    {"its url alone", "{\"http\":{\"api\":\"river\"}}",
	"{\"method\":\"GET\",\"target\":\"/echo/?k=s3cret&v=2\",\"headers\":{\"x-key\":\"s3cret\",\"x-lang\":\"de\"},"
	"\"body\":\"\"}"},
    {"the definition wins",
	"{\"http\":{\"api\":\"river\",\"url\":\"?a=1\",\"query\":{\"v\":3,\"b\":\"x\"},\"headers\":{\"x-lang\":\"fr\"}}"
	"}",
	"{\"method\":\"GET\",\"target\":\"/echo/?a=1&k=s3cret&v=3&b=x\",\"headers\":{\"x-key\":\"s3cret\",\"x-lang\":"
	"\"fr\"},\"body\":\"\"}"},
};

static void test_sent_by_api(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(sent_by_api); i++)
		expect_sent(sent_by_api[i].name, load_of(KEYED, sent_by_api[i].def), "{}", sent_by_api[i].want);
}

#define ERROR(text)      "{\"content\":[{\"type\":\"text\",\"text\":\"t: " text "\"}],\"isError\":true}"
#define GOOD(text)       "{\"content\":[{\"type\":\"text\",\"text\":\"" text "\"}]}"
#define BOTH(text, json) "{\"content\":[{\"type\":\"text\",\"text\":\"" text "\"}],\"structuredContent\":" json "}"
#define RIVER            "{\"http\":\"${API}/river/{city}\",\"input\":{\"city\":{}}"
#define AT               "the API"

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
    {"a NUL in a header", "{\"http\":{\"url\":\"${API}/echo\",\"headers\":{\"X-A\":\"{a}\"}}" ABC "}",
	"{\"a\":\"x\\u0000y\"}", ERROR("a must not hold control characters")},
    {"a NUL in a path", RIVER "}", "{\"city\":\"be\\u0000rn\"}",
	ERROR(AT " answered with status 404: there is no such thing\\n{\\\"error\\\":\\\"no such city\\\"}")},
    {"up, in other writing", RIVER "}", "{\"city\":\"%2e%2e\"}",
	ERROR(AT " answered with status 404: there is no such thing\\n{\\\"error\\\":\\\"no such city\\\"}")},
    {"deep", "{\"http\":\"${API}/say/deep\",\"output\":\"json\"}", "{}",
	ERROR(AT ": its answer is not the JSON that it should be: too deep at byte 64")},
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
    {"no HTTP", "{\"http\":\"${API}/garbage\",\"retries\":0}", "{}", ERROR(AT ": it broke off: this is no HTTP")},
    {"redirects in a circle", "{\"http\":\"${API}/loop\"}", "{}", ERROR(AT ": it redirects too often")},
    {"redirected elsewhere", "{\"http\":{\"url\":\"${API}/redirect\",\"query\":{\"to\":\"http://127.0.0.2:1/\"}}}",
	"{}", ERROR(AT ": its address is not a public one (setting http.allow_addresses)")},
    {"redirected to a file", "{\"http\":{\"url\":\"${API}/redirect\",\"query\":{\"to\":\"file:///etc/passwd\"}}}", "{}",
	ERROR(AT ": it redirects to what is not https")},
    {"a POST that is redirected",
	"{\"http\":{\"url\":\"${API}/redirect/307\",\"method\":\"POST\",\"query\":{\"to\":\"/echo\"}}}", "{}",
	ERROR(AT ": it redirects a request that is not to be repeated elsewhere")},
    {"a certificate of its own", "{\"http\":\"${API_TLS}/echo\"}", "{}", ERROR(AT ": its certificate is not trusted")},
    {"nobody there", "{\"http\":\"http://127.0.0.1:1/\",\"retries\":0}", "{}",
	ERROR(AT ": it can't be reached: Couldn't connect to server")},
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

/* ---- cache ---- */

#define KEPT(text, age, stale)                                                                                         \
	"{\"content\":[{\"type\":\"text\",\"text\":\"" text "\"}],\"_meta\":{\"mcp-fcgi/cache\":{\"age_s\":" age       \
	",\"stale\":" stale "}}}"
#define STALE(text, age)                                                                                               \
	"{\"content\":[{\"type\":\"text\",\"text\":\"" text "\"},{\"type\":\"text\",\"text\":\"This is " age           \
	" s old: "                                                                                                     \
	"no newer answer can be had at the moment.\"}],\"_meta\":{\"mcp-fcgi/cache\":{\"age_s\":" age                  \
	",\"stale\":true}}}"

static void expect(const struct tool *tool, const char *args, const char *want)
{
	struct err err = {0};
	char *got = run(tool, args, &err);

	if (got)
		hide_ports(got);
	assert_string_equal(got ? got : err.msg, want);
	free(got);
}

/* Calls change for each file of the cache; returns their number. */
static int each_file(void (*change)(const char *path))
{
	char dir[128], path[400];
	struct dirent *entry;
	int count = 0;
	DIR *d;

	snprintf(dir, sizeof(dir), "%s/cache", file.dir);
	d = opendir(dir);
	while (d && (entry = readdir(d))) {
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lock") == 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		change(path);
		count++;
	}
	if (d)
		closedir(d);
	return count;
}

static int64_t older_ms;

/* The time stands behind a mark of eight bytes. */
static void make_older(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	int64_t at_ms;

	assert_int_equal(pread(fd, &at_ms, sizeof(at_ms), 8), sizeof(at_ms));
	at_ms -= older_ms;
	assert_int_equal(pwrite(fd, &at_ms, sizeof(at_ms), 8), sizeof(at_ms));
	close(fd);
}

static void grow_older(int64_t s)
{
	older_ms = 1000 * s;
	each_file(make_older);
}

static void tear(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size - 1), 0);
}

static void drop(const char *path)
{
	assert_int_equal(unlink(path), 0);
}

static const struct tool *load_kept(const char *def)
{
	each_file(drop);
	return load_with(
	    "\"allow_addresses\":[\"127.0.0.1\"],\"timeout_s\":10,\"retries\":0,\"breaker_failures\":0", def);
}

static void test_cache(void **state)
{
	const struct tool *tool = load_kept("{\"http\":{\"url\":\"${API}/count/{k}\",\"headers\":{\"X-A\":\"{a}\"}},"
					    "\"cache\":10,\"input\":{\"k\":{},\"a\":{\"optional\":true}}}");

	(void)state;
	expect(tool, "{\"k\":\"c1\"}", GOOD("1"));
	expect(tool, "{\"k\":\"c1\"}", KEPT("1", "0", "false"));
	expect(tool, "{\"k\":\"c1\",\"a\":1}", GOOD("2")); /* another request */
	grow_older(9);
	expect(tool, "{\"k\":\"c1\"}", KEPT("1", "9", "false"));
	grow_older(2);
	expect(tool, "{\"k\":\"c1\"}", GOOD("3"));
	assert_int_equal(each_file(tear), 2);
	expect(tool, "{\"k\":\"c1\"}", GOOD("4"));
	grow_older(-10); /* the clock was set back */
	expect(tool, "{\"k\":\"c1\"}", GOOD("5"));
}

static void test_policy_of_api(void **state)
{
	static const struct {
		const char *def, *first, *second;
	} rows[] = {
	    {"{\"http\":\"/count/b1\"}", GOOD("1"), KEPT("1", "0", "false")},
	    {"{\"http\":\"/count/b2\",\"cache\":0}", GOOD("1"), GOOD("2")},
	    {"{\"http\":{\"api\":\"river\",\"url\":\"/count/b3\",\"method\":\"POST\"}}", GOOD("1"), GOOD("2")},
	    {"{\"http\":\"/slow/3\"}", ERROR("river: it did not answer in time"),
		ERROR("river: it did not answer in time")},
	    {"{\"http\":\"/flaky/b4/1\"}",
		ERROR("river answered with status 503: it has a problem of its own; try again later\\n1"), GOOD("2")},
	    {"{\"http\":\"/flaky/b5/1\",\"retries\":1}", GOOD("2"), KEPT("2", "0", "false")},
	    /* To a connection that is open. */
	    {"{\"http\":\"${API}/count/b6\"}",
		ERROR(AT ": its address is not a public one (setting http.allow_addresses)"),
		ERROR(AT ": its address is not a public one (setting http.allow_addresses)")},
	    {"{\"http\":{\"api\":\"river\",\"url\":\"/redirect\",\"query\":{\"to\":\"${API_OTHER}/echo\"}}}",
		ERROR("river: its address is not a public one (setting http.allow_addresses)"),
		ERROR("river: its address is not a public one (setting http.allow_addresses)")},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const struct tool *tool = load_of("\"river\":{\"url\":\"${API}\",\"allow_addresses\":[\"127.0.0.1\"],"
						  "\"retries\":0,\"cache\":60,\"timeout_s\":1}",
		    rows[i].def);

		expect(tool, "{}", rows[i].first);
		expect(tool, "{}", rows[i].second);
	}
}

static void test_stale_if_error(void **state)
{
	const struct tool *tool =
	    load_kept("{\"http\":\"${API}/wanes/{k}/1/{s}\",\"cache\":{\"ttl_s\":10,\"stale_if_error_s\":"
		      "20},\"input\":{\"k\":{},\"s\":{}}}");

	(void)state;
	expect(tool, "{\"k\":\"e1\",\"s\":503}", GOOD("1"));
	grow_older(11);
	expect(tool, "{\"k\":\"e1\",\"s\":503}", STALE("1", "11"));
	grow_older(20);
	expect(tool, "{\"k\":\"e1\",\"s\":503}",
	    ERROR(AT " answered with status 503: it has a problem of its own; try again later\\n3"));
	/* What is gone is no failure of the API. */
	expect(tool, "{\"k\":\"e2\",\"s\":404}", GOOD("1"));
	grow_older(11);
	expect(tool, "{\"k\":\"e2\",\"s\":404}", ERROR(AT " answered with status 404: there is no such thing\\n2"));
}

static void test_stale_while_revalidate(void **state)
{
	const struct tool *tool =
	    load_kept("{\"http\":\"${API}/count/w1\",\"cache\":{\"ttl_s\":10,\"stale_while_revalidate_s\":20}}");
	const struct timespec nap = {.tv_nsec = 5000000};
	struct err err;
	char *got = NULL;

	(void)state;
	expect(tool, "{}", GOOD("1"));
	grow_older(11);
	expect(tool, "{}", KEPT("1", "11", "true"));
	for (int n = 0; n < 1000 && !(got && strstr(got, "false")); n++) { /* until the new one is there */
		free(got);
		nanosleep(&nap, NULL);
		got = run(tool, "{}", &err);
	}
	assert_string_equal(got, KEPT("2", "0", "false"));
	free(got);
}

static void *ask_slowly(void *tool)
{
	struct err err;

	return run(tool, "{}", &err);
}

static void test_joined(void **state)
{
	const struct tool *tool = load_kept("{\"http\":\"${API}/slow/0.3/j1\",\"cache\":10}");
	pthread_t threads[6];
	void *got;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_slowly, (void *)(uintptr_t)tool), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++) {
		pthread_join(threads[i], &got);
		assert_non_null(strstr(got, "\"text\":\"1\"")); /* all of them from one request */
		free(got);
	}
}

/* Somebody else, another process for what we know, asks for the same. */
static void test_locked(void **state)
{
	const struct tool *tool = load_kept("{\"http\":\"${API}/count/l1\",\"cache\":10,\"timeout_s\":1}");
	struct http_response response = {.status = 200, .content_type = "application/json"};
	struct http_request request;
	struct http_cache_key key;
	pthread_t thread;
	char url[100], *dir = http_cache_dir(&file.cfg);
	struct err err;
	void *got;
	int fd;

	(void)state;
	http_request_init(&request);
	snprintf(url, sizeof(url), "%s/count/l1", getenv("API"));
	buf_adds(&request.url, url);
	assert_true(http_cache_make_key(&key, &request));
	http_request_release(&request);
	fd = http_cache_lock(&file.cfg, &key, &err);
	assert_true(fd != -1);
	expect(tool, "{}", ERROR(AT ": it did not answer in time"));
	assert_int_equal(pthread_create(&thread, NULL, ask_slowly, (void *)(uintptr_t)tool), 0);
	buf_init(&response.body, 100);
	buf_adds(&response.body, "7");
	http_cache_write(dir, 1 << 24, &key, &response);
	pthread_join(thread, &got);
	assert_non_null(strstr(got, "\"text\":\"7\""));
	free(got);
	close(fd);
	buf_release(&response.body);
	mem_free(dir);
}

static void test_cache_bound(void **state)
{
	struct http_response response = {.status = 200, .content_type = "text/plain"};
	char *dir = http_cache_dir(&file.cfg);
	struct http_cache_key key = {{0}};
	int64_t max_bytes = 1 << 20;

	(void)state;
	each_file(drop);
	buf_init(&response.body, 1 << 20);
	for (int i = 0; i < 1000; i++)
		buf_adds(&response.body, "0123456789");
	for (int i = 0; i < 500; i++) { /* five times too much */
		memcpy(key.bytes, &i, sizeof(i));
		http_cache_write(dir, max_bytes, &key, &response);
	}
	assert_in_range(each_file(drop), max_bytes / 2 / 10000, (max_bytes + max_bytes / 16) / 10000);
	for (int i = 0; i < 10000; i++)
		buf_adds(&response.body, "0123456789");
	http_cache_write(dir, max_bytes, &key, &response); /* more than a sixteenth */
	assert_int_equal(each_file(drop), 0);
	buf_release(&response.body);
	mem_free(dir);
}

/* ---- breaker ---- */

static void test_breaker(void **state)
{
	const struct timespec second = {.tv_sec = 1, .tv_nsec = 50000000};
	const struct tool *tool = load_with("\"allow_addresses\":[\"127.0.0.1\"],\"retries\":0,\"breaker_failures\":2,"
					    "\"breaker_open_s\":1",
	    "{\"http\":\"${API}/status/{s}\",\"output\":\"text\",\"input\":{\"s\":{}}}");

	(void)state;
	for (int i = 0; i < 3; i++) /* refusals are answers */
		expect(tool, "{\"s\":409}",
		    ERROR(AT
			" answered with status 409: it contradicts what is there\\n{\\\"error\\\":\\\"because\\\"}"));
	for (int i = 0; i < 2; i++)
		expect(tool, "{\"s\":500}",
		    ERROR(AT " answered with status 500: it has a problem of its own; try again "
			     "later\\n{\\\"error\\\":\\\"because\\\"}"));
	expect(tool, "{\"s\":200}", ERROR(AT ": it failed too often just now; it is not asked for 1 s"));
	nanosleep(&second, NULL);
	expect(tool, "{\"s\":500}",
	    ERROR(AT " answered with status 500: it has a problem of its own; try again "
		     "later\\n{\\\"error\\\":\\\"because\\\"}"));
	expect(tool, "{\"s\":200}", ERROR(AT ": it failed too often just now; it is not asked for 1 s"));
	nanosleep(&second, NULL);
	expect(tool, "{\"s\":200}", GOOD("{\\\"error\\\":\\\"because\\\"}"));
	expect(tool, "{\"s\":500}",
	    ERROR(AT " answered with status 500: it has a problem of its own; try again "
		     "later\\n{\\\"error\\\":\\\"because\\\"}"));
	expect(tool, "{\"s\":200}", GOOD("{\\\"error\\\":\\\"because\\\"}"));
}

/* ---- cancelled ---- */

static void test_cancelled(void **state)
{
	const struct tool *tool = load("{\"http\":\"${API}/slow/5\"}");
	json_object *args = json_object_new_object(), *result;
	uint64_t begun_ms = now_ms();
	struct fake_call call;
	struct err err;

	(void)state;
	fake_call_init(&call, &file.cfg, ERA_MODERN);
	fake_call_cancel(&call);
	assert_int_equal(tool->provider->call(&call.call, tool, args, &result, &err), -1);
	assert_int_equal(err.code, ERR_CANCELLED);
	assert_null(result);
	assert_in_range(now_ms() - begun_ms, 0, 2000);
	fake_call_release(&call);
	json_object_put(args);
}

static void *ask_until_cancelled(void *arg)
{
	const struct tool *tool = arg;
	json_object *args = json_object_new_object(), *result = NULL;
	struct fake_call call;
	struct err err;
	int ret;

	fake_call_init(&call, &file.cfg, ERA_MODERN);
	fake_call_cancel(&call);
	ret = tool->provider->call(&call.call, tool, args, &result, &err);
	fake_call_release(&call);
	json_object_put(args);
	return ret == -1 && err.code == ERR_CANCELLED && !result ? NULL : (void *)"it was not cancelled";
}

/* There are two connections to this host: the others wait for one that another call has, which may go away. */
static void test_more_than_connections(void **state)
{
	const struct tool *tool = load("{\"http\":\"${API}/slow/0.1/m1\"}");
	pthread_t askers[12], cancelled[6];
	void *got;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(askers); i++) {
		assert_int_equal(pthread_create(&askers[i], NULL, ask_slowly, (void *)(uintptr_t)tool), 0);
		if (i < COUNT_OF(cancelled))
			assert_int_equal(
			    pthread_create(&cancelled[i], NULL, ask_until_cancelled, (void *)(uintptr_t)tool), 0);
	}
	for (size_t i = 0; i < COUNT_OF(cancelled); i++) {
		pthread_join(cancelled[i], &got);
		assert_null(got);
	}
	for (size_t i = 0; i < COUNT_OF(askers); i++) {
		pthread_join(askers[i], &got);
		assert_non_null(strstr(got, "\"type\":\"text\""));
		assert_null(strstr(got, "isError"));
		free(got);
	}
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
	    cmocka_unit_test(test_sent_by_api),
	    cmocka_unit_test(test_results),
	    cmocka_unit_test(test_cache),
	    cmocka_unit_test(test_policy_of_api),
	    cmocka_unit_test(test_stale_if_error),
	    cmocka_unit_test(test_stale_while_revalidate),
	    cmocka_unit_test(test_joined),
	    cmocka_unit_test(test_locked),
	    cmocka_unit_test(test_cache_bound),
	    cmocka_unit_test(test_breaker),
	    cmocka_unit_test(test_cancelled),
	    cmocka_unit_test(test_more_than_connections),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
