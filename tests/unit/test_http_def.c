/* What can be seen of http without a server: which addresses are refused, and which definitions. */
#include "config.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/jx.h"
#include "fcgi/http_address.h"
#include "tests/lib/toolfile.h"
#include "common/banned.h"

/* ---- addresses ---- */

static const struct {
	const char *text;
	bool is_allowed;
} addresses[] = {
    {"8.8.8.8", true},
    {"1.1.1.1", true},
    {"172.32.0.1", true},
    {"100.128.0.1", true},
    {"2606:4700::1111", true},
    {"::ffff:8.8.8.8", true},
    {"64:ff9b::8.8.8.8", true},
    {"2002:808:808::1", true},
    /* this host, its networks, its cloud */
    {"0.0.0.0", false},
    {"0.1.2.3", false},
    {"127.0.0.1", false},
    {"127.255.255.255", false},
    {"10.1.2.3", false},
    {"172.16.0.1", false},
    {"172.31.255.255", false},
    {"192.168.0.1", false},
    {"169.254.169.254", false},
    {"100.64.0.1", false},
    {"100.127.255.255", false},
    {"192.0.0.8", false},
    {"198.19.0.1", false},
    {"224.0.0.1", false},
    {"239.255.255.255", false},
    {"240.0.0.1", false},
    {"255.255.255.255", false},
    {"203.0.113.5", false},
    {"::", false},
    {"::1", false},
    {"fe80::1", false},
    {"fec0::1", false},
    {"fc00::1", false},
    {"fd00:ec2::254", false},
    {"ff02::1", false},
    {"2001:db8::1", false},
    {"2001::1", false},
    {"100::1", false},
    /* IPv4 in disguise */
    {"::ffff:127.0.0.1", false},
    {"::ffff:169.254.169.254", false},
    {"::127.0.0.1", false},
    {"::10.0.0.1", false},
    {"64:ff9b::127.0.0.1", false},
    {"64:ff9b::a9fe:a9fe", false},
    {"2002:7f00:1::", false},
    {"2002:a9fe:a9fe::", false},
    {"64:ff9b:1::1", false},
    /* as the setting says */
    {"10.99.0.1", true},
    {"::ffff:10.99.0.1", true},
    {"fd12::7", true},
    {"fd13::7", false},
};

static bool is_allowed(const char *text)
{
	char *items[] = {(char *)(uintptr_t) "10.99.0.0/16", (char *)(uintptr_t) "fd12::/16"};
	const struct cfg_list list = {items, COUNT_OF(items)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct address_nets nets;
	struct err err;
	bool allowed;

	assert_int_equal(address_nets_read(&nets, &list, &err), 0);
	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
		allowed = http_address_is_allowed((struct sockaddr *)(void *)&v4, &nets);
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
		allowed = http_address_is_allowed((struct sockaddr *)(void *)&v6, &nets);
	}
	address_nets_release(&nets);
	return allowed;
}

static void test_addresses(void **state)
{
	const struct sockaddr local = {.sa_family = AF_UNIX};
	const struct address_nets none = {0};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(addresses); i++) {
		if (is_allowed(addresses[i].text) != addresses[i].is_allowed)
			fail_msg("%s is %s", addresses[i].text, addresses[i].is_allowed ? "refused" : "allowed");
	}
	assert_false(http_address_is_allowed(&local, &none));
}

/* ---- pointers ---- */

static void test_pointers(void **state)
{
	/* RFC 6901, 5, and what it leaves out */
	static const struct {
		const char *pointer, *want; /* NULL: there is nothing */
	} rows[] = {
	    {"", NULL},
	    {"/foo/0", "\"bar\""},
	    {"/", "0"},
	    {"/a~1b", "1"},
	    {"/m~0n", "8"},
	    {"/foo/2", NULL},
	    {"/foo/-", NULL},
	    {"/foo/00", NULL},
	    {"/foo/", NULL},
	    {"/foo/0/x", NULL},
	    {"/nil", "null"},
	    {"/nil/x", NULL},
	    {"/foo/18446744073709551616", NULL},
	    {"/~01", "9"},
	};
	struct err err;
	json_object *root =
	    jx_parse(SLICE("{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"m~n\":8,\"~1\":9,\"nil\":null}"), 8, &err);
	json_object *val;
	struct buf text;

	(void)state;
	assert_true(jx_find(root, SLICE(""), &val) && val == root);
	buf_init(&text, 100);
	for (size_t i = 1; i < COUNT_OF(rows); i++) {
		bool is_there = jx_find(root, slice_str(rows[i].pointer), &val);

		if (is_there != (rows[i].want != NULL))
			fail_msg("%s is %s", rows[i].pointer, is_there ? "there" : "missing");
		buf_clear(&text);
		jx_write(&text, val);
		if (is_there)
			assert_string_equal(text.data, rows[i].want);
	}
	assert_true(jx_is_pointer(SLICE("")) && jx_is_pointer(SLICE("/a~0~1")));
	assert_false(jx_is_pointer(SLICE("a")) || jx_is_pointer(SLICE("/~")) || jx_is_pointer(SLICE("/~2")));
	buf_release(&text);
	json_object_put(root);
}

/* ---- definitions ---- */

#define AT            "DIR/mcp.json:1: /tools/t"
#define IN_API        "DIR/mcp.json:1: /apis/river"
#define HTTP(members) "{\"http\":{\"url\":\"https://h/\"," members "}}"

static const struct {
	const char *def, *want;
} complaints[] = {
    {"{\"http\":1}", AT "/http: http must be a URL, or an object with \"url\"\n"},
    {"{\"http\":{}}", AT "/http/url: url must be a URL as in \"https://api.example/v1/{city}\"\n"},
    {"{\"http\":\"ftp://h/\"}", AT "/http: url must be a URL as in \"https://api.example/v1/{city}\"\n"},
    {"{\"http\":\"file:///etc/passwd\"}", AT "/http: url must be a URL as in \"https://api.example/v1/{city}\"\n"},
    {"{\"http\":\"http://{h}/\",\"input\":{\"h\":{}}}",
	AT "/http: the host of a URL is a name or an address, without {placeholder}, user or password\n"},
    {"{\"http\":\"http://u:p@h/\"}",
	AT "/http: the host of a URL is a name or an address, without {placeholder}, user or password\n"},
    {"{\"http\":\"http://\"}",
	AT "/http: the host of a URL is a name or an address, without {placeholder}, user or password\n"},
    {"{\"http\":\"http://h/a b\"}", AT "/http: a URL holds no space, \\, # or control character\n"},
    {"{\"http\":\"http://h/#{a}\"}", AT "/http: a URL holds no space, \\, # or control character\n"},
    {"{\"http\":\"http://h/{a}\"}", AT "/http: {a} is not one of its arguments\n"},
    {"{\"http\":\"http://h/{a\"}", AT "/http: a { begins a placeholder, as in {path}; a plain { is written {{\n"},
    {"{\"http\":\"http://h/{a}\",\"input\":{\"a\":{\"optional\":true}}}",
	AT "/http: {a} may be missing: what the URL needs must be required, or have a default\n"},
    {HTTP("\"methode\":\"GET\""), AT "/http/methode: unknown member \"methode\"; did you mean \"method\"?\n"},
    {HTTP("\"method\":\"get\""),
	AT "/http/method: method must be GET, HEAD, POST, PUT, PATCH or DELETE, in capitals\n"},
    {HTTP("\"method\":\"GET\",\"json\":{}"), AT "/http/method: GET sends nothing: no json, form or body\n"},
    {HTTP("\"query\":[]"), AT "/http/query: query must be an object\n"},
    {HTTP("\"query\":{\"a\":null}"), AT "/http/query/a: a must be a string, a number, true or false\n"},
    {HTTP("\"query\":{\"a\":{\"value\":\"x{b}\",\"style\":\"comma\"},\"b\":{\"value\":\"{b}\",\"style\":\"dot\"}}"),
	AT "/http/query/a: a value with a style is written {\"value\": \"{name}\", \"style\": \"comma\"}; "
	   "styles are comma, space, pipe, deep and json\n" AT
	   "/http/query/b: a value with a style is written {\"value\": \"{name}\", \"style\": \"comma\"}; "
	   "styles are comma, space, pipe, deep and json\n"},
    {HTTP("\"headers\":{\"A\":\"{basic:none}\"}"), AT "/http/headers/A: DIR/none: No such file or directory\n"},
    {HTTP("\"query\":{\"a\":\"{b}\"}"), AT "/http/query/a: {b} is not one of its arguments\n"},
    {HTTP("\"headers\":{\"A B\":\"x\"}"), AT "/http/headers/A B: \"A B\" is no name of a header\n"},
    {HTTP("\"headers\":{\"A\":\"x\\r\\nB: y\"}"), AT "/http/headers/A: a header holds no control character\n"},
    {HTTP("\"headers\":{\"content-length\":\"1\"}"),
	AT "/http/headers/content-length: content-length is not for you to set\n"},
    {HTTP("\"headers\":{\"A\":\"{file:none}\"}"), AT "/http/headers/A: DIR/none: No such file or directory\n"},
    {HTTP("\"headers\":{\"A\":\"{file:empty}\"}"),
	AT "/http/headers/A: DIR/empty: a secret is one line of at most 8192 bytes\n"},
    {HTTP("\"headers\":{\"A\":\"{file:lines}\"}"),
	AT "/http/headers/A: DIR/lines: a secret is one line of at most 8192 bytes\n"},
    {HTTP("\"json\":[{\"a\":\"{b}\"}]"), AT "/http/json: {b} is not one of its arguments\n"},
    {HTTP("\"json\":1,\"form\":{}"), AT "/http/body: only one of \"json\", \"form\" and \"body\" can be sent\n"},
    {"{\"http\":{\"url\":\"http://h/\",\"headers\":{\"content-type\":\"application/"
     "json\"},\"body\":\"[{a}]\"},\"input\":{\"a\":{}}}",
	AT "/http/body: arguments would not be escaped here: write \"json\" or \"form\" instead of \"body\"\n"},
    {"{\"http\":\"http://h/\",\"reslt\":\"\"}", AT "/reslt: unknown member \"reslt\"; did you mean \"result\"?\n"},
    {"{\"http\":\"http://h/\",\"result\":\"a\"}", AT "/result: result must be a JSON pointer as in \"/data/0\"\n"},
    {"{\"http\":\"http://h/\",\"template\":\"{a}\"}",
	AT "/template: {a} is not one of its arguments; a place of the answer begins with /\n"},
    {"{\"http\":\"http://h/\",\"template\":\"{/~}\"}", AT "/template: {/~} is no JSON pointer as in {/data/0}\n"},
    {"{\"http\":\"http://h/\",\"output\":\"jsn\"}", AT "/output: output must be \"auto\", \"json\" or \"text\"\n"},
    {"{\"http\":\"http://h/\",\"output\":\"text\",\"output_schema\":{}}",
	AT "/output_schema: output_schema needs \"output\": \"json\"\n"},
    {"{\"http\":\"http://h/\",\"retries\":11}", AT "/retries: retries must be a whole number, 0 to 10\n"},
    {"{\"http\":\"http://h/\",\"output_max_bytes\":1}",
	AT "/output_max_bytes: output_max_bytes must be a whole number, 1024 to 67108864\n"},
    {"{\"http\":\"http://h/\",\"cache\":-1}", AT "/cache: cache must be a whole number, 0 to 31536000\n"},
    {"{\"http\":\"http://h/\",\"cache\":{\"ttl\":1}}",
	AT "/cache/ttl: unknown member \"ttl\"; did you mean \"ttl_s\"?\n" AT "/cache: cache needs ttl_s\n"},
    {"{\"http\":{\"url\":\"http://h/\",\"method\":\"PUT\"},\"cache\":1}",
	AT "/cache: only answers to GET, HEAD and POST can be kept\n"},
    {"{\"http\":\"http://h/{mcp:call}\",\"cache\":1}",
	AT "/cache: what was asked with {mcp:call} is of one call only\n"},
    {"{\"http\":\"http://h/{mcp:name}\"}", AT "/http: {mcp:name} is not one of its arguments\n"},
};

/* Members of "apis", and the tools "t" and "u" of it. */
#define RIVER "\"river\":{\"url\":\"https://h/v1\"}"

static const struct {
	const char *apis, *http, *want;
} api_complaints[] = {
    {"", "\"/x\"",
	AT "/http: url must be a URL as in \"https://api.example/v1/{city}\", or \"apis\" define what it is of\n"},
    {"", "{\"api\":\"river\"}", AT "/http/api: there is no such API in \"apis\"\n"},
    {RIVER, "{\"api\":\"rivr\"}", AT "/http/api: there is no such API; did you mean \"river\"?\n"},
    {RIVER, "{\"api\":1}", AT "/http/api: there is no such API in \"apis\"\n"},
    {RIVER ",\"sea\":{\"url\":\"https://h/\"}", "\"/x\"",
	AT "/http: \"api\" must say which of the 2 the path belongs to\n"},
    {RIVER, "{\"api\":\"river\",\"url\":\"https://h/v1/x\"}",
	AT "/http/url: url must be what follows that of the API: it begins with / or ?, as in \"/v1/{city}\"\n"},
    {RIVER, "{\"api\":\"river\",\"url\":\".evil.example/\"}",
	AT "/http/url: url must be what follows that of the API: it begins with / or ?, as in \"/v1/{city}\"\n"},
    {RIVER, "{\"api\":\"river\",\"url\":\"/{x}\"}", AT "/http/url: {x} is not one of its arguments\n"},
    {"\"river\":[]", "{\"api\":\"river\"}",
	IN_API ": an API is described by an object, as in {\"url\": \"https://api.example/v1\"}\n"},
    {"\"river\":{\"urls\":\"https://h/\"}", "\"/x\"",
	IN_API "/urls: unknown member \"urls\"; did you mean \"url\"?\n" IN_API
	       "/url: url must be a URL as in \"https://api.example/v1/{city}\"\n"},
    {"\"river\":{\"url\":\"https://h/?a=1\"}", "\"/x\"", IN_API "/url: what follows ? goes into \"query\"\n"},
    {"\"river\":{\"url\":\"https://h/{mcp:call}\"}", "\"/x\"", IN_API "/url: {mcp:call} is not one of its arguments\n"},
    {"\"river\":{\"url\":\"https://h/{x}\"}", "\"/x\"", IN_API "/url: {x} is not one of its arguments\n"},
    {"\"river\":{\"url\":\"https://h/\",\"headers\":{\"A\":\"{file:none}\",\"Host\":\"h\"},\"query\":1}", "\"/x\"",
	IN_API "/query: query must be an object\n" IN_API "/headers/A: DIR/none: No such file or directory\n" IN_API
	       "/headers/Host: Host is not for you to set\n"},
    {"\"river\":{\"url\":\"https://h/\",\"timeout_s\":0,\"retries\":-1,\"cache\":{}}", "\"/x\"",
	IN_API "/cache: cache needs ttl_s\n" IN_API "/retries: retries must be a whole number, 0 to 10\n" IN_API
	       "/timeout_s: timeout_s must be a whole number, 1 to 86400\n"},
    {"\"river\":{\"url\":\"https://h/\",\"allow_addresses\":\"10.0.0.1\"}", "\"/x\"",
	IN_API "/allow_addresses: allow_addresses must be an array of at most 64 addresses or networks\n"},
    {"\"river\":{\"url\":\"https://h/\",\"allow_addresses\":[\"10.0.0.0/8\",7]}", "\"/x\"",
	IN_API "/allow_addresses: \"\" is no address and no network\n"},
};

static struct toolfile file;

static int set_up(void **state)
{
	(void)state;
	toolfile_init(&file);
	toolfile_write(&file, "empty", "\n", 0600);
	toolfile_write(&file, "lines", "a\nb\n", 0600);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	toolfile_release(&file);
	return 0;
}

/* Whether that is what is complained about. */
static bool complains(const char *config, const char *want)
{
	struct err err = {0};

	assert_int_equal(toolfile_load(&file, config, &err), -1);
	if (file.complaints.data && strcmp(file.complaints.data, want) == 0)
		return true;
	print_error("%s:\n got %s\nwant %s\n", config, file.complaints.data, want);
	return false;
}

static void test_complaints(void **state)
{
	struct buf text;
	int bad = 0;

	(void)state;
	buf_init(&text, 65536);
	for (size_t i = 0; i < COUNT_OF(complaints); i++) {
		buf_clear(&text);
		buf_addf(&text, "{\"tools\":{\"t\":%s}}", complaints[i].def);
		bad += !complains(text.data, complaints[i].want);
	}
	assert_int_equal(bad, 0);
	buf_release(&text);
}

/* One that is wrong is complained about once, not at each of those that ask it. */
static void test_api_complaints(void **state)
{
	struct buf text;
	int bad = 0;

	(void)state;
	buf_init(&text, 65536);
	for (size_t i = 0; i < COUNT_OF(api_complaints); i++) {
		const char *http = api_complaints[i].http;
		bool is_api_bad = strstr(api_complaints[i].want, " /apis/");

		buf_clear(&text);
		buf_addf(&text, "{\"apis\":{%s},\"tools\":{\"t\":{\"http\":%s},\"u\":{\"http\":%s}}}",
		    api_complaints[i].apis, http, is_api_bad ? http : "\"https://h/\"");
		bad += !complains(text.data, api_complaints[i].want);
	}
	assert_int_equal(bad, 0);
	buf_release(&text);
}

/* A mistake in the list of addresses is found before the first call. */
static void test_bad_setting(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(
	    toolfile_load(
		&file, "{\"http\":{\"allow_addresses\":[\"here\"]},\"tools\":{\"t\":{\"http\":\"http://h/\"}}}", &err),
	    -1);
	assert_string_equal(
	    file.complaints.data, "DIR/mcp.json:1: /http/allow_addresses: \"here\" is no address and no network\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_addresses),
	    cmocka_unit_test(test_pointers),
	    cmocka_unit_test(test_complaints),
	    cmocka_unit_test(test_api_complaints),
	    cmocka_unit_test(test_bad_setting),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
