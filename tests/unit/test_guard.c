/* fcgi/guard.c: whose requests are taken at all: Host, Origin, API key (DT-01, DT-02, DT-04, DT-05) */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "fcgi/guard.h"
#include "tests/lib/fake_req.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static char *listed[] = {(char *)"https://app.example", (char *)"https://other.example:8443"};

static void test_origin(void **state)
{
	static const struct {
		const char *name;
		bool is_public, is_listed; /* server_public_url https://Acme.example/mcp; cors_origins as above */
		const char *host, *origin;
		bool ok;
	} cases[] = {
	    {"DT-01 no Host", false, false, NULL, NULL, true},
	    {"DT-01 localhost", false, false, "localhost", NULL, true},
	    {"DT-01 localhost, any case and port", false, false, "LocalHost:8080", NULL, true},
	    {"DT-01 127.0.0.1", false, false, "127.0.0.1:80", NULL, true},
	    {"DT-01 127/8", false, false, "127.9.8.7", NULL, true},
	    {"DT-01 ::1", false, false, "[::1]", NULL, true},
	    {"DT-01 ::1 with port", false, false, "[::1]:8080", NULL, true},
	    {"DT-01 another host", false, false, "acme.example", NULL, false},
	    {"DT-01 another host's address", false, false, "192.0.2.1", NULL, false},
	    {"DT-01 any address", false, false, "0.0.0.0", NULL, false},
	    {"DT-01 another IPv6 host", false, false, "[2001:db8::1]", NULL, false},
	    {"DT-01 lookalike behind", false, false, "localhost.evil.example", NULL, false},
	    {"DT-01 lookalike before", false, false, "evil-localhost", NULL, false},
	    {"DT-01 lookalike address", false, false, "127.0.0.1.evil.example", NULL, false},
	    {"DT-01 half an address", false, false, "127.1", NULL, false},
	    {"DT-01 user part", false, false, "localhost@evil.example", NULL, false},
	    {"DT-01 empty Host", false, false, "", NULL, false},
	    {"DT-01 port only", false, false, ":80", NULL, false},
	    {"DT-01 port not a number", false, false, "localhost:80x", NULL, false},
	    {"DT-01 port empty", false, false, "localhost:", NULL, false},
	    {"DT-01 port too long", false, false, "localhost:123456", NULL, false},
	    {"DT-01 bracket left open", false, false, "[::1", NULL, false},
	    {"DT-01 text behind the bracket", false, false, "[::1]x", NULL, false},
	    {"DT-01 two hosts", false, false, "localhost, evil.example", NULL, false},
	    {"DT-01 public host", true, false, "acme.example", NULL, true},
	    {"DT-01 public host, any case and port", true, false, "ACME.example:444", NULL, true},
	    {"DT-01 public host's subdomain", true, false, "x.acme.example", NULL, false},
	    {"DT-01 public host with a dot", true, false, "acme.example.", NULL, false},
	    {"DT-01 loopback beside the public host", true, false, "localhost", NULL, true},
	    {"DT-02 loopback origin", false, false, "localhost", "http://localhost:3000", true},
	    {"DT-02 loopback origin, https", false, false, "localhost", "https://127.0.0.1", true},
	    {"DT-02 loopback origin, IPv6", false, false, "localhost", "http://[::1]:5173", true},
	    {"DT-02 foreign origin", false, false, "localhost", "http://evil.example", false},
	    {"DT-02 null", false, false, "localhost", "null", false},
	    {"DT-02 empty", false, false, "localhost", "", false},
	    {"DT-02 another scheme", false, false, "localhost", "chrome-extension://localhost", false},
	    {"DT-02 no scheme", false, false, "localhost", "localhost", false},
	    {"DT-02 with a path", false, false, "localhost", "http://localhost/", false},
	    {"DT-02 lookalike", false, false, "localhost", "http://localhost.evil.example", false},
	    {"DT-02 user part", false, false, "localhost", "http://localhost@evil.example", false},
	    {"DT-02 two origins", false, false, "localhost", "http://localhost http://evil.example", false},
	    {"DT-02 public origin", true, false, "acme.example", "https://acme.example", true},
	    {"DT-02 public origin with its default port", true, false, "acme.example", "https://acme.example:443",
		true},
	    {"DT-02 public origin, any case", true, false, "acme.example", "HTTPS://ACME.example", true},
	    {"DT-02 public origin, another port", true, false, "acme.example", "https://acme.example:444", false},
	    {"DT-02 public origin, another scheme", true, false, "acme.example", "http://acme.example", false},
	    {"DT-02 public origin without server_public_url", false, false, "localhost", "https://acme.example", false},
	    {"DT-02 listed", false, true, "localhost", "https://app.example", true},
	    {"DT-02 listed, default port", false, true, "localhost", "https://app.example:443", true},
	    {"DT-02 listed with a port", false, true, "localhost", "https://other.example:8443", true},
	    {"DT-02 listed with a port, without", false, true, "localhost", "https://other.example", false},
	    {"DT-02 listed, as prefix", false, true, "localhost", "https://app.example.evil.example", false},
	    {"DT-02 not listed", false, false, "localhost", "https://app.example", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct worker w = {.public_host = (char *)"", .public_origin = (char *)""};
		struct fake_req req;
		struct exchange x = {.w = &w, .req = &req.base, .route = {.kind = ROUTE_MCP}};
		struct err err = {0};
		int ret;

		if (cases[i].is_public)
			assert_int_equal(
			    guard_split_url("https://Acme.example/mcp", &w.public_host, &w.public_origin, &err), 0);
		if (cases[i].is_listed)
			w.cfg.cors_origins = (struct cfg_list){listed, COUNT_OF(listed)};
		fake_req_init(&req);
		fake_req_set(&req, "HTTP_HOST", cases[i].host);
		fake_req_set(&req, "HTTP_ORIGIN", cases[i].origin);
		ret = guard_origin(&x, &err);
		if ((ret == 0) != cases[i].ok || (ret && err.code != ERR_FORBIDDEN))
			fail_msg("%s: got %d (%s)", cases[i].name, ret, err.msg);
		if ((x.origin != NULL) != (cases[i].ok && cases[i].origin))
			fail_msg("%s: x->origin is %s", cases[i].name, x.origin ? x.origin : "not set");
		fake_req_release(&req);
		if (cases[i].is_public) {
			mem_free(w.public_host);
			mem_free(w.public_origin);
		}
	}
}

/* A load balancer asks for /health by address. */
static void test_health_takes_any_host(void **state)
{
	struct worker w = {.public_host = (char *)"", .public_origin = (char *)""};
	struct fake_req req;
	struct exchange x = {.w = &w, .req = &req.base, .route = {.kind = ROUTE_HEALTH}};
	struct err err = {0};

	(void)state;
	fake_req_init(&req);
	fake_req_set(&req, "HTTP_HOST", "192.0.2.1");
	assert_int_equal(guard_origin(&x, &err), 0);
	fake_req_set(&req, "HTTP_ORIGIN", "https://evil.example");
	assert_int_equal(guard_origin(&x, &err), -1);
	fake_req_release(&req);
}

static void test_split_url(void **state)
{
	static const struct {
		const char *name, *url, *host, *origin;
	} cases[] = {
	    {"plain", "https://acme.example/mcp", "acme.example", "https://acme.example"},
	    {"no path", "https://acme.example", "acme.example", "https://acme.example"},
	    {"case", "HTTPS://Acme.Example/MCP", "acme.example", "https://acme.example"},
	    {"port", "https://acme.example:8443/x", "acme.example", "https://acme.example:8443"},
	    {"default port", "https://acme.example:443/x", "acme.example", "https://acme.example"},
	    {"default port of http", "http://acme.example:80", "acme.example", "http://acme.example"},
	    {"the other's default port", "http://acme.example:443", "acme.example", "http://acme.example:443"},
	    {"IPv6", "http://[2001:DB8::1]:8080/mcp", "[2001:db8::1]", "http://[2001:db8::1]:8080"},
	    {"no scheme", "acme.example/mcp", NULL, NULL},
	    {"another scheme", "ftp://acme.example/", NULL, NULL},
	    {"scheme only", "https://", NULL, NULL},
	    {"no host", "https:///mcp", NULL, NULL},
	    {"user part", "https://me@acme.example/", NULL, NULL},
	    {"query behind the host", "https://acme.example?x", NULL, NULL},
	    {"bad port", "https://acme.example:x/", NULL, NULL},
	    {"empty", "", NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = {0};
		char *host, *origin;
		int ret = guard_split_url(cases[i].url, &host, &origin, &err);

		if ((ret == 0) != (cases[i].host != NULL) || (ret && err.code != ERR_CONFIG))
			fail_msg("%s: got %d (%s)", cases[i].name, ret, err.msg);
		if (ret == 0 && (strcmp(host, cases[i].host) != 0 || strcmp(origin, cases[i].origin) != 0))
			fail_msg("%s: got %s and %s", cases[i].name, host, origin);
		if (ret && (host || origin))
			fail_msg("%s: failed, but something is set", cases[i].name);
		mem_free(host);
		mem_free(origin);
	}
}

static void test_key(void **state)
{
	static const struct {
		const char *name, *key, *authorization, *principal,
		    *challenge; /* principal NULL: refused with challenge */
		enum err_code code;
	} cases[] = {
	    {"DT-04 none", NULL, NULL, NULL, "Bearer", ERR_UNAUTHORIZED},
	    {"DT-04 X-API-Key", "alice-0123456789abcdef", NULL, "alice", NULL, ERR_NONE},
	    {"DT-04 Bearer", NULL, "Bearer bob-0123456789abcdef", "bob", NULL, ERR_NONE},
	    {"DT-04 bearer, any case and blanks", NULL, "bEARER   bob-0123456789abcdef", "bob", NULL, ERR_NONE},
	    {"DT-04 X-API-Key before Bearer", "alice-0123456789abcdef", "Bearer bob-0123456789abcdef", "alice", NULL,
		ERR_NONE},
	    {"DT-04 empty X-API-Key is none", "", "Bearer bob-0123456789abcdef", "bob", NULL, ERR_NONE},
	    {"DT-04 only an empty X-API-Key", "", NULL, NULL, "Bearer", ERR_UNAUTHORIZED},
	    {"DT-04 wrong X-API-Key", "alice-0123456789abcdeX", NULL, NULL, "Bearer error=\"invalid_token\"",
		ERR_UNAUTHORIZED},
	    {"DT-04 wrong Bearer", NULL, "Bearer x", NULL, "Bearer error=\"invalid_token\"", ERR_UNAUTHORIZED},
	    {"DT-04 a key's beginning", "alice-0123456789abcde", NULL, NULL, "Bearer error=\"invalid_token\"",
		ERR_UNAUTHORIZED},
	    {"DT-04 a key and more", "alice-0123456789abcdeff", NULL, NULL, "Bearer error=\"invalid_token\"",
		ERR_UNAUTHORIZED},
	    {"DT-04 a key of the other case", "ALICE-0123456789ABCDEF", NULL, NULL, "Bearer error=\"invalid_token\"",
		ERR_UNAUTHORIZED},
	    {"DT-04 the principal", "alice", NULL, NULL, "Bearer error=\"invalid_token\"", ERR_UNAUTHORIZED},
	    {"DT-04 another scheme", NULL, "Basic YTpi", NULL, "Bearer", ERR_UNAUTHORIZED},
	    {"DT-04 a scheme that begins with Bearer", NULL, "Bearerx bob-0123456789abcdef", NULL, "Bearer",
		ERR_UNAUTHORIZED},
	    {"DT-05 Bearer without token", NULL, "Bearer", NULL, "Bearer error=\"invalid_request\"", ERR_INVALID},
	    {"DT-05 Bearer and blanks", NULL, "Bearer  ", NULL, "Bearer error=\"invalid_request\"", ERR_INVALID},
	    {"DT-05 two tokens", NULL, "Bearer a b", NULL, "Bearer error=\"invalid_request\"", ERR_INVALID},
	    {"DT-05 two headers", NULL, "Bearer bob-0123456789abcdef, Bearer x", NULL,
		"Bearer error=\"invalid_request\"", ERR_INVALID},
	};
	static const char text[] = "alice:alice-0123456789abcdef\nbob:bob-0123456789abcdef\n";
	struct worker w = {.public_host = (char *)"", .public_origin = (char *)""};
	char file[] = "/tmp/mcp-test-guard.XXXXXX";
	int fd = mkstemp(file);
	struct err err = {0};

	(void)state;
	assert_true(fd >= 0 && write(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1);
	close(fd);
	assert_int_equal(keys_load(&w.keys, file, &err), 0);
	unlink(file);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct fake_req req;
		struct exchange x = {.w = &w, .req = &req.base};
		const char *challenge = NULL;
		int ret;

		err = (struct err){0};
		fake_req_init(&req);
		fake_req_set(&req, "HTTP_X_API_KEY", cases[i].key);
		fake_req_set(&req, "HTTP_AUTHORIZATION", cases[i].authorization);
		ret = guard_key(&x, &challenge, &err);
		if ((ret == 0) != (cases[i].principal != NULL) || err.code != cases[i].code)
			fail_msg("%s: got %d (%s)", cases[i].name, ret, err.msg);
		if (ret == 0 && strcmp(x.principal, cases[i].principal) != 0)
			fail_msg("%s: principal is \"%s\"", cases[i].name, x.principal);
		if (ret && strcmp(challenge, cases[i].challenge) != 0)
			fail_msg("%s: challenge is \"%s\"", cases[i].name, challenge);
		if (cases[i].key && cases[i].key[0] && strstr(err.msg, cases[i].key))
			fail_msg("%s: the key is in the message", cases[i].name);
		fake_req_release(&req);
	}
	keys_release(&w.keys);
}

/* Without a file of keys nobody is asked for one, and nobody has a name. */
static void test_no_keys(void **state)
{
	struct worker w = {0};
	struct fake_req req;
	struct exchange x = {.w = &w, .req = &req.base};
	const char *challenge;
	struct err err = {0};

	(void)state;
	fake_req_init(&req);
	fake_req_set(&req, "HTTP_AUTHORIZATION", "Bearer a b");
	assert_int_equal(guard_key(&x, &challenge, &err), 0);
	assert_string_equal(x.principal, "");
	fake_req_release(&req);
}

/* A worker with keys of Anna and Bert, and limits of two requests at once; its directory goes with release_limited().
 */
static char limited_dir[64];

static void init_limited(struct worker *w, bool has_keys)
{
	static const char text[] = "anna:anna-0123456789abcdef\nbert:bert-0123456789abcdef\n";
	char file[96];
	struct err err = {0};
	int fd;

	snprintf(limited_dir, sizeof(limited_dir), "/tmp/mcp-test-guard.XXXXXX");
	assert_non_null(mkdtemp(limited_dir));
	*w = (struct worker){.cfg = {.run_dir = limited_dir,
				 .rate_per_key = 60,
				 .rate_per_address = 6,
				 .rate_completions = 1,
				 .rate_burst = 2,
				 .rate_buckets = 1048576}};
	assert_int_equal(rate_open(&w->rate, &w->cfg, &err), 0);
	if (!has_keys)
		return;
	snprintf(file, sizeof(file), "%s/keys", limited_dir);
	fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0 && write(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1);
	close(fd);
	assert_int_equal(keys_load(&w->keys, file, &err), 0);
	unlink(file);
}

static void release_limited(struct worker *w)
{
	char file[96];

	keys_release(&w->keys);
	rate_close(&w->rate);
	snprintf(file, sizeof(file), "%s/rate.shm", limited_dir);
	unlink(file);
	assert_int_equal(rmdir(limited_dir), 0);
}

struct asked {
	const char *name, *address, *key;
	uint64_t at_ms;
	enum err_code code;
	unsigned wait_s;
};

static void check_asked(struct worker *w, const struct asked *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct fake_req req;
		struct exchange x = {.w = w, .req = &req.base, .started_ms = 1000000 + cases[i].at_ms};
		const char *challenge;
		unsigned wait_s;
		struct err err = {0};

		fake_req_init(&req);
		fake_req_set(&req, "REMOTE_ADDR", cases[i].address);
		fake_req_set(&req, "HTTP_X_API_KEY", cases[i].key);
		if (guard_client(&x, &challenge, &wait_s, &err) != (cases[i].code ? -1 : 0) ||
		    err.code != cases[i].code || wait_s != cases[i].wait_s)
			fail_msg("%s: %s, %u s (%s)", cases[i].name, err_name(err.code), wait_s, err.msg);
		fake_req_release(&req);
	}
}

static void test_rate_of_addresses(void **state)
{
	static const struct asked cases[] = {
	    {"DT-11 first", "192.0.2.1", NULL, 0, ERR_NONE, 0},
	    {"DT-11 second", "192.0.2.1", NULL, 0, ERR_NONE, 0},
	    {"DT-11 third", "192.0.2.1", NULL, 0, ERR_RATE, 10},
	    {"DT-11 another address", "192.0.2.2", NULL, 0, ERR_NONE, 0},
	    {"DT-11 later", "192.0.2.1", NULL, 10000, ERR_NONE, 0},
	    {"DT-11 and again", "192.0.2.1", NULL, 10000, ERR_RATE, 10},
	    {"DT-11 a key that nobody asks for", "192.0.2.1", "anna-0123456789abcdef", 10000, ERR_RATE, 10},
	    {"DT-11 IPv6", "2001:db8::1", NULL, 0, ERR_NONE, 0},
	    {"DT-11 IPv6, the same network", "2001:db8::2", NULL, 0, ERR_NONE, 0},
	    {"DT-11 IPv6, third", "2001:db8:0:0:ffff::3", NULL, 0, ERR_RATE, 10},
	    {"DT-11 IPv6, another network", "2001:db8:0:1::1", NULL, 0, ERR_NONE, 0},
	};
	struct worker w;

	(void)state;
	init_limited(&w, false);
	check_asked(&w, cases, COUNT_OF(cases));
	release_limited(&w);
}

static void test_rate_of_keys(void **state)
{
	static const struct asked cases[] = {
	    {"DT-11 first", "192.0.2.1", "anna-0123456789abcdef", 0, ERR_NONE, 0},
	    {"DT-11 from elsewhere", "192.0.2.2", "anna-0123456789abcdef", 0, ERR_NONE, 0},
	    {"DT-11 third", "192.0.2.3", "anna-0123456789abcdef", 0, ERR_RATE, 1},
	    {"DT-11 another key", "192.0.2.1", "bert-0123456789abcdef", 0, ERR_NONE, 0},
	    {"DT-04 no key", "192.0.2.1", NULL, 0, ERR_UNAUTHORIZED, 0},
	    {"DT-04 wrong key", "192.0.2.1", "carl-0123456789abcdef", 0, ERR_UNAUTHORIZED, 0},
	    {"DT-11 too many wrong ones", "192.0.2.1", "carl-0123456789abcdef", 0, ERR_RATE, 10},
	    {"DT-11 a right one is not looked at", "192.0.2.1", "bert-0123456789abcdef", 0, ERR_RATE, 10},
	    {"DT-11 elsewhere it is", "192.0.2.2", "bert-0123456789abcdef", 0, ERR_NONE, 0},
	    {"DT-11 later", "192.0.2.1", "bert-0123456789abcdef", 10000, ERR_NONE, 0},
	};
	struct worker w;

	(void)state;
	init_limited(&w, true);
	check_asked(&w, cases, COUNT_OF(cases));
	release_limited(&w);
}

/* Each request of a batch counts, but the one that its HTTP request was; completions count twice (CM-04). */
static void test_rate_of_messages(void **state)
{
	static const struct slice list = {"tools/list", 10}, complete = {"completion/complete", 19};
	struct worker w, unlimited = {0};
	struct exchange x = {.w = &w, .principal = "anna", .who = SLICE("anna"), .limit = RATE_PER_KEY}, y = x;
	struct err err = {0};

	(void)state;
	init_limited(&w, true);
	for (int i = 0; i < 10; i++)
		assert_int_equal(guard_message(&x, list, true, &err), 0);
	assert_int_equal(guard_message(&x, list, false, &err), 0);
	assert_int_equal(guard_message(&x, complete, false, &err), 0);
	assert_int_equal(guard_message(&x, list, false, &err), -1);
	assert_int_equal(err.code, ERR_RATE);
	assert_int_equal(guard_message(&x, complete, true, &err), 0);
	assert_int_equal(guard_message(&x, complete, true, &err), -1);
	assert_string_equal(err.msg, "try again in 60 s");
	y.w = &unlimited;
	for (int i = 0; i < 10; i++)
		assert_int_equal(guard_message(&y, complete, false, &err), 0);
	release_limited(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_origin),
	    cmocka_unit_test(test_health_takes_any_host),
	    cmocka_unit_test(test_split_url),
	    cmocka_unit_test(test_key),
	    cmocka_unit_test(test_no_keys),
	    cmocka_unit_test(test_rate_of_addresses),
	    cmocka_unit_test(test_rate_of_keys),
	    cmocka_unit_test(test_rate_of_messages),
	};

	log_init("test_guard", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
