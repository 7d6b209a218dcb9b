/* The small modules of common/: err, buf, log, sse, utf8, link, opts. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/link.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/opts.h"
#include "common/rnd.h"
#include "common/sse.h"
#include "common/utf8.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static void test_err(void **state)
{
	struct err err = {0};
	char huge[1024];

	(void)state;
	assert_int_equal(err_set(&err, ERR_PARSE, "at %d", 3), -1);
	assert_int_equal(err.code, ERR_PARSE);
	assert_string_equal(err.msg, "at 3");
	assert_int_equal(err_wrap(&err, "read %s", "x"), -1);
	assert_string_equal(err.msg, "read x: at 3");
	assert_int_equal(err.code, ERR_PARSE);
	errno = ENOENT;
	assert_int_equal(err_sys(&err, "open"), -1);
	assert_int_equal(err.code, ERR_SYS);
	assert_int_equal(err.sys, ENOENT);
	assert_string_equal(err.msg, "open: No such file or directory");
	assert_int_equal(err_set(NULL, ERR_PARSE, "x"), -1);
	assert_int_equal(err_wrap(NULL, "x"), -1);
	memset(huge, 'x', sizeof(huge));
	huge[sizeof(huge) - 1] = '\0';
	err_set(&err, ERR_PARSE, "%s", huge); /* what is too long is cut */
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	err_wrap(&err, "%s", huge);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	errno = ENOENT;
	err_sys(&err, "%s", huge);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	for (unsigned code = 0; code < ERR__COUNT; code++) {
		int http = err_http((enum err_code)code);

		if (http < 200 || http > 599 || !err_name((enum err_code)code)[0])
			fail_msg("row %u: HTTP status %d", code, http);
		if (code != ERR_NONE && (err_rpc((enum err_code)code) >= 0 || !err_text((enum err_code)code)[0]))
			fail_msg("%s: no code or text", err_name((enum err_code)code));
	}
}

static void test_buf(void **state)
{
	struct err err = {0};
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	assert_null(b.data);
	buf_add(&b, NULL, 0);
	assert_int_equal(buf_check(&b, &err), 0);
	buf_adds(&b, "12345");
	buf_addf(&b, "%d", 67890);
	assert_string_equal(b.data, "1234567890");
	assert_int_equal(buf_check(&b, &err), 0);
	buf_adds(&b, "");
	assert_int_equal(buf_check(&b, &err), 0); /* max may be reached */
	buf_adds(&b, "1");
	assert_int_equal(buf_check(&b, &err), -1);
	assert_int_equal(err.code, ERR_TOO_BIG);
	assert_string_equal(b.data, "1234567890");
	buf_drop(&b, 4);
	buf_adds(&b, "x"); /* the fault stays: something is missing before it */
	assert_string_equal(b.data, "567890");
	buf_clear(&b);
	assert_string_equal(b.data, "");
	buf_add(&b, "a\0b", 3);
	assert_int_equal(b.len, 3);
	assert_int_equal(b.data[3], '\0');
	buf_drop(&b, 0);
	buf_drop(&b, 3);
	assert_int_equal(b.len, 0);
	buf_addf(&b, "%s", "12345678901");
	assert_int_equal(buf_check(&b, &err), -1);
	buf_release(&b);
	assert_int_equal(buf_check(&b, &err), 0);
	assert_int_equal(b.max, 10);
	assert_null(buf_reserve(&b, 11));
	buf_release(&b);
}

static void test_log_quote(void **state)
{
	static const struct { const char *name; struct slice in; size_t size; const char *want; } cases[] = {
	    {"plain", TEXT("abc d"), 64, "abc d"},
	    {"empty", TEXT(""), 64, ""},
	    {"quote and backslash", TEXT("\"\\"), 64, "\\x22\\x5c"},
	    {"line breaks", TEXT("a\r\nb"), 64, "a\\x0d\\x0ab"},
	    {"NUL, DEL, UTF-8", TEXT("\0\x7f\xc3\xa9"), 64, "\\x00\\x7f\\xc3\\xa9"},
	    {"cut", TEXT("abcdefghijklmnop"), 12, "abcde..."},
	    {"cut in escapes", TEXT("\n\n\n\n\n\n"), 16, "\\x0a\\x0a\\x0a..."},
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		memset(out, '#', sizeof(out));
		if (strcmp(log_quote(out, cases[i].size, cases[i].in), cases[i].want) != 0)
			fail_msg("%s: %s", cases[i].name, out);
	}
}

static void test_log_rate(void **state)
{
	struct log_rate rate = {0};
	unsigned dropped;

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_true(log_rate_ok(&rate, 3, 1000000, &dropped));
		assert_int_equal(dropped, 0);
	}
	for (int i = 0; i < 5; i++)
		assert_false(log_rate_ok(&rate, 3, 1000000, &dropped));
	rate.window_start_ms = now_ms() - 1000000; /* time passes */
	assert_true(log_rate_ok(&rate, 3, 1000000, &dropped));
	assert_int_equal(dropped, 5);
	assert_true(log_rate_ok(&rate, 3, 1000000, &dropped));
	assert_int_equal(dropped, 0);
}

/* What log_line() writes, with stderr taken away for a moment. */
static void test_log_line(void **state)
{
	char line[4096], huge[4096];
	int fds[2], saved = dup(STDERR_FILENO);
	enum log_level level;
	ssize_t len;

	(void)state;
	assert_true(saved >= 0 && pipe2(fds, O_CLOEXEC) == 0);
	memset(huge, 'x', sizeof(huge));
	huge[sizeof(huge) - 1] = '\0';
	log_init("mcp-test", LOG_LEVEL_INFO);
	dup2(fds[1], STDERR_FILENO);
	errno = EPIPE;
	LOG(WARN, "test.event", "a=%d b=\"%s\"", 1, "x");
	LOG(DEBUG, "test.hidden", "a=1");
	LOG(WARN, "test.bare", "%s", "");
	LOG(WARN, "test.forged", "why=\"%s\"", "a\n2026-01-01 WARN b\x1b[2J\xc3\xa9");
	level = errno == EPIPE ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR;
	len = read(fds[0], line, sizeof(line) - 1);
	LOG(WARN, "test.huge", "%s", huge);
	dup2(saved, STDERR_FILENO);
	close(saved);
	assert_int_equal(level, LOG_LEVEL_INFO); /* errno was kept */
	assert_true(len > 0);
	line[len] = '\0';
	assert_non_null(strstr(line, " WARN mcp-test["));
	assert_non_null(strstr(line, "] test.event a=1 b=\"x\"\n"));
	assert_null(strstr(line, "hidden"));
	assert_non_null(strstr(line, "why=\"a?2026-01-01 WARN b?[2J\xc3\xa9\"\n"));
	len = read(fds[0], line, sizeof(line) - 1);
	assert_true(len > 1000 && len < 4096 && line[len - 1] == '\n');
	close(fds[0]);
	close(fds[1]);
	assert_true(log_parse_level("debug", &level) && level == LOG_LEVEL_DEBUG);
	assert_true(log_parse_level("error", &level) && level == LOG_LEVEL_ERROR);
	assert_false(log_parse_level("loud", &level));
	assert_false(log_parse_level("", &level));
}

static void test_sse(void **state)
{
	static const struct { const char *name; struct slice id, data; const char *event, *want; } cases[] = {
	    {"plain", TEXT(""), TEXT("{}"), "message", "event: message\ndata: {}\n\n"},
	    {"with id", TEXT("1.2.3"), TEXT("{}"), "message", "id: 1.2.3\nevent: message\ndata: {}\n\n"},
	    {"no data", TEXT(""), TEXT(""), "endpoint", "event: endpoint\ndata: \n\n"},
	    {"LF", TEXT(""), TEXT("a\nid: 7"), "message", "event: message\ndata: a\ndata: id: 7\n\n"},
	    {"CR", TEXT(""), TEXT("a\revent: x"), "message", "event: message\ndata: a\ndata: event: x\n\n"},
	    {"CRLF is one", TEXT(""), TEXT("a\r\nb"), "message", "event: message\ndata: a\ndata: b\n\n"},
	    {"LFCR is two", TEXT(""), TEXT("a\n\rb"), "message", "event: message\ndata: a\ndata: \ndata: b\n\n"},
	    {"end in a break", TEXT(""), TEXT("a\n"), "message", "event: message\ndata: a\ndata: \n\n"},
	    {"CR at the end", TEXT(""), TEXT("a\r"), "message", "event: message\ndata: a\ndata: \n\n"},
	};
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		buf_clear(&out);
		sse_add_event(&out, cases[i].id, cases[i].event, cases[i].data);
		if (!slice_is(buf_slice(&out), cases[i].want))
			fail_msg("%s: %s", cases[i].name, out.data);
	}
	for (int at = 250; at < 260; at++) { /* lines are looked for in windows */
		char data[512], want[600];

		snprintf(data, sizeof(data), "%0*d\r\n%0*d\n", at, 1, 511 - 3 - at, 2);
		snprintf(
		    want, sizeof(want), "event: long\ndata: %0*d\ndata: %0*d\ndata: \n\n", at, 1, 511 - 3 - at, 2);
		buf_clear(&out);
		sse_add_event(&out, SLICE(""), "long", slice_str(data));
		assert_string_equal(out.data, want);
	}
	buf_release(&out);
}

static void test_utf8(void **state)
{
	static const struct { const char *name; struct slice in; size_t len; } cases[] = {
	    {"none", TEXT(""), 0},
	    {"ASCII", TEXT("ab"), 1},
	    {"NUL", TEXT("\0"), 1},
	    {"2, least", TEXT("\xc2\x80"), 2},
	    {"2, overlong", TEXT("\xc1\xbf"), 0},
	    {"3, least", TEXT("\xe0\xa0\x80"), 3},
	    {"3, overlong", TEXT("\xe0\x9f\xbf"), 0},
	    {"before surrogates", TEXT("\xed\x9f\xbf"), 3},
	    {"surrogate", TEXT("\xed\xa0\x80"), 0},
	    {"after surrogates", TEXT("\xee\x80\x80"), 3},
	    {"4, least", TEXT("\xf0\x90\x80\x80"), 4},
	    {"4, overlong", TEXT("\xf0\x8f\xbf\xbf"), 0},
	    {"U+10FFFF", TEXT("\xf4\x8f\xbf\xbf"), 4},
	    {"past it", TEXT("\xf4\x90\x80\x80"), 0},
	    {"5 bytes", TEXT("\xf8\x88\x80\x80\x80"), 0},
	    {"tail alone", TEXT("\x80"), 0},
	    {"cut", TEXT("\xf0\x90\x80"), 0},
	    {"bad tail", TEXT("\xe2\x82\x41"), 0},
	};
	struct buf out;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		if (utf8_len(cases[i].in) != cases[i].len)
			fail_msg("%s: %zu", cases[i].name, utf8_len(cases[i].in));
	}
	assert_true(utf8_is_valid(SLICE("a\u00e9\u20ac\U0001f600")));
	assert_false(utf8_is_valid(SLICE("a\u00e9\xe2\x82")));
	buf_init(&out, 64);
	utf8_add_repaired(&out, SLICE("a\xff\u00e9\xe2\x82"));
	assert_string_equal(out.data, "a\ufffd\u00e9\ufffd\ufffd");
	buf_release(&out);
}

static void test_link_fields(void **state)
{
	struct buf out;
	struct slice in;
	bool bad = false;

	(void)state;
	buf_init(&out, 4096);
	link_put_u8(&out, 0xfe);
	link_put_u16(&out, 0xfedc);
	link_put_u32(&out, 0xfedcba98);
	link_put_u64(&out, 0xfedcba9876543210);
	link_put_bytes(&out, SLICE("a\0b"));
	link_put_bytes(&out, (struct slice){NULL, 0});
	assert_int_equal((unsigned char)out.data[1], 0xdc); /* little-endian on every machine */
	in = buf_slice(&out);
	assert_int_equal(link_get_u8(&in, &bad), 0xfe);
	assert_int_equal(link_get_u16(&in, &bad), 0xfedc);
	assert_int_equal(link_get_u32(&in, &bad), 0xfedcba98);
	assert_true(link_get_u64(&in, &bad) == 0xfedcba9876543210);
	assert_true(slice_eq(link_get_bytes(&in, &bad), SLICE("a\0b")));
	assert_int_equal(link_get_bytes(&in, &bad).len, 0);
	assert_false(bad);
	assert_int_equal(in.len, 0);
	assert_int_equal(link_get_u8(&in, &bad), 0);
	assert_true(bad);

	/* Shorter, at each length: the last field that does not fit is seen, and all after it are empty. */
	for (size_t len = 0; len < out.len; len++) {
		in = (struct slice){out.data, len};
		bad = false;
		link_get_u8(&in, &bad);
		link_get_u16(&in, &bad);
		link_get_u32(&in, &bad);
		link_get_u64(&in, &bad);
		link_get_bytes(&in, &bad);
		link_get_bytes(&in, &bad);
		assert_true(bad);
		assert_int_equal(in.len, 0);
	}
	in = SLICE("\xff\xff\xff\xff" "abc"); /* a length that is a lie */
	bad = false;
	assert_int_equal(link_get_bytes(&in, &bad).len, 0);
	assert_true(bad);
	buf_release(&out);
}

static void test_link_header(void **state)
{
	const struct link_header h = {LINK_VERSION, LINK_ADOPT, LINK_DURABLE | LINK_RETRY, 1, UINT64_MAX - 2, 3, 4, 5, UINT32_MAX, 6};
	static const struct { const char *name; size_t at; char byte; } bad[] = {
	    {"magic", 0, 'x'}, {"version", 4, 99}, {"type 0", 5, 0}, {"type between", 5, 9}, {"type 255", 5, (char)0xff},
	};
	struct link_header got;
	struct err err = {0};
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	link_put_header(&out, &h);
	assert_int_equal(out.len, LINK_HEADER_LEN);
	assert_int_equal(link_get_header(buf_slice(&out), &got, &err), 0);
	assert_true(got.version == h.version && got.type == h.type && got.flags == h.flags && got.producer == h.producer &&
	    got.seq == h.seq && got.corr == h.corr && got.deadline_ms == h.deadline_ms && got.stream == h.stream &&
	    got.body_len == h.body_len && got.count == h.count);
	for (size_t len = 0; len < LINK_HEADER_LEN; len++) {
		err.code = ERR_NONE;
		assert_int_equal(link_get_header((struct slice){out.data, len}, &got, &err), -1);
		assert_int_equal(err.code, ERR_LINK);
	}
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		char saved = out.data[bad[i].at];

		out.data[bad[i].at] = bad[i].byte;
		if (link_get_header(buf_slice(&out), &got, &err) != -1 || err.code != ERR_LINK)
			fail_msg("%s was taken", bad[i].name);
		out.data[bad[i].at] = saved;
	}
	buf_release(&out);
}

static void test_link_names(void **state)
{
	unsigned char id[LINK_ROUTING_LEN];

	(void)state;
	assert_string_equal(link_type_name(LINK_CALL_BEGIN), "CALL_BEGIN");
	assert_string_equal(link_type_name(0), "?");
	assert_string_equal(link_type_name(12345), "?");
	for (unsigned code = 1; code < LINK_NACK__COUNT; code++) {
		if (!link_nack_name(code) || strcmp(link_nack_name(code), "none") == 0 || link_nack_err(code) == ERR_NONE)
			fail_msg("NACK %u has no name or no error", code);
	}
	assert_string_equal(link_nack_name(LINK_NACK__COUNT), "none");
	assert_int_equal(link_nack_err(UINT32_MAX), ERR_LINK);
	link_routing_id(0x0102030405060708, 0x11121314, id);
	assert_memory_equal(id, "P\x08\x07\x06\x05\x04\x03\x02\x01\x14\x13\x12\x11", LINK_ROUTING_LEN);
}

static void test_rnd(void **state)
{
	char a[33], b[33];

	(void)state;
	rnd_token(a, sizeof(a));
	rnd_token(b, sizeof(b));
	assert_int_equal(strlen(a), 32);
	assert_int_equal(strspn(a, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"), 32);
	assert_string_not_equal(a, b);
	assert_true(rnd_u64() != rnd_u64());
	for (int i = 0; i < 2000; i++) { /* were all equally likely, 31 of these would begin so */
		rnd_token(a, sizeof(a));
		assert_true(a[0] != '-');
	}
}

static void test_opts(void **state)
{
	static const char *socket, *verbose;
	static const struct opts_row rows[] = {
	    {"socket", "PATH", "x", &socket}, {"verbose", NULL, "x", &verbose}, {NULL, NULL, NULL, NULL}};
	static const struct {
		const char *name, *argv[8], *rest_names;
		int ret;
		const char *conf, *socket, *verbose, *first_set, *rest[3];
	} cases[] = {
	    {"nothing", {"p"}, NULL, 0, NULL, NULL, NULL, NULL, {NULL}},
	    {"value behind", {"p", "--conf", "a"}, NULL, 0, "a", NULL, NULL, NULL, {NULL}},
	    {"value with =", {"p", "--conf=a=b"}, NULL, 0, "a=b", NULL, NULL, NULL, {NULL}},
	    {"empty value", {"p", "--conf="}, NULL, 0, "", NULL, NULL, NULL, {NULL}},
	    {"own", {"p", "--socket", "s", "--verbose"}, NULL, 0, NULL, "s", "", NULL, {NULL}},
	    {"sets", {"p", "--set", "a=1", "--set=b=2"}, NULL, 0, NULL, NULL, NULL, "a=1", {NULL}},
	    {"no value", {"p", "--conf"}, NULL, -1, NULL, NULL, NULL, NULL, {NULL}},
	    {"value of a switch", {"p", "--verbose=1"}, NULL, -1, NULL, NULL, NULL, NULL, {NULL}},
	    {"unknown", {"p", "--none"}, NULL, -1, NULL, NULL, NULL, NULL, {NULL}},
	    {"shorter name", {"p", "--con", "a"}, NULL, -1, NULL, NULL, NULL, NULL, {NULL}},
	    {"one dash", {"p", "-h"}, NULL, -1, NULL, NULL, NULL, NULL, {NULL}},
	    {"argument too many", {"p", "x"}, NULL, -1, NULL, NULL, NULL, NULL, {NULL}},
	    {"arguments around options", {"p", "x", "--conf", "a", "y", "--verbose"}, "X", 0, "a", NULL, "", NULL, {"x", "y"}},
	    {"all behind -- are arguments", {"p", "--", "--conf", "a"}, "X", 0, NULL, NULL, NULL, NULL, {"--conf", "a"}},
	    {"a dash is an argument", {"p", "-"}, "X", 0, NULL, NULL, NULL, NULL, {"-"}},
	};
	int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	(void)state;
	dup2(null, STDERR_FILENO);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char *argv[9] = {NULL}, *owned[9];
		struct opts opts;
		int argc = 0, ret;

		socket = verbose = NULL;
		for (; cases[i].argv[argc]; argc++)
			argv[argc] = mem_dup(cases[i].argv[argc], strlen(cases[i].argv[argc]));
		memcpy(owned, argv, sizeof(argv));
		ret = opts_parse(&opts, argc, argv, "p", "Tests.", rows, cases[i].rest_names);
		if (ret != cases[i].ret || (ret && opts.status != 2))
			fail_msg("%s: %d, status %d", cases[i].name, ret, opts.status);
		if (ret == 0) {
			int rest_count = 0;

			while (cases[i].rest[rest_count])
				rest_count++;
			if ((cases[i].conf == NULL) != (opts.conf == NULL) || (opts.conf && strcmp(opts.conf, cases[i].conf) != 0) ||
			    (cases[i].socket == NULL) != (socket == NULL) || (socket && strcmp(socket, cases[i].socket) != 0) ||
			    (cases[i].verbose == NULL) != (verbose == NULL) || opts.rest_count != rest_count ||
			    (cases[i].first_set == NULL) != (opts.sets_count == 0) ||
			    (cases[i].first_set && strcmp(opts.sets[0], cases[i].first_set) != 0))
				fail_msg("%s: read wrong", cases[i].name);
			for (int n = 0; n < rest_count; n++)
				assert_string_equal(opts.rest[n], cases[i].rest[n]);
			opts_release(&opts);
		}
		for (int n = 0; n < argc; n++)
			mem_free(owned[n]);
	}
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(null);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_err),		cmocka_unit_test(test_buf),	    cmocka_unit_test(test_log_quote),
	    cmocka_unit_test(test_log_rate),	cmocka_unit_test(test_log_line),    cmocka_unit_test(test_sse),
	    cmocka_unit_test(test_utf8),	cmocka_unit_test(test_link_fields), cmocka_unit_test(test_link_header),
	    cmocka_unit_test(test_link_names),	cmocka_unit_test(test_rnd),	    cmocka_unit_test(test_opts),
	};

	return cmocka_run_group_tests_name("common", tests, NULL, NULL);
}
