/* fcgi/seal.c: what comes back is what went out, or it is refused */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base64.h"
#include "common/jx.h"
#include "fcgi/seal.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define NOT_OURS "it is not from this server"
#define CHANGED  "it is not from this server, was changed, or belongs to another request"

static struct fixture {
	char dir[64], file[80];
	struct cfg cfg;
	struct seal *seal;
} f;

static int set_up(void **state)
{
	(void)state;
	snprintf(f.dir, sizeof(f.dir), "/tmp/mcp-test-seal.XXXXXX");
	assert_non_null(mkdtemp(f.dir));
	snprintf(f.file, sizeof(f.file), "%s/seal.key", f.dir);
	f.cfg.run_dir = f.dir;
	f.seal = seal_new(&f.cfg);
	assert_non_null(f.seal);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	seal_free(&f.seal);
	seal_free(&f.seal);
	unlink(f.file);
	assert_int_equal(rmdir(f.dir), 0); /* nothing else was left in it */
	return 0;
}

static struct buf closed(struct seal *seal, const char *purpose, const char *bound, uint32_t ttl_s, struct slice plain)
{
	struct buf token;
	struct err err = {0};

	buf_init(&token, 1 << 20);
	if (seal_close(seal, purpose, slice_str(bound), ttl_s, plain, &token, &err))
		fail_msg("%s", err.msg);
	return token;
}

static void refused(
    const char *name, struct seal *seal, const char *purpose, const char *bound, struct slice token, const char *says)
{
	struct buf plain;
	struct err err = {0};

	buf_init(&plain, 1 << 20);
	if (seal_open(seal, purpose, slice_str(bound), token, &plain, &err) != -1)
		fail_msg("%s: opened", name);
	if (err.code != ERR_PARAMS || strcmp(err.msg, says) != 0 || plain.len)
		fail_msg("%s: %s %s", name, err_name(err.code), err.msg);
	buf_release(&plain);
}

static void test_round_trip(void **state)
{
	static const struct slice texts[] = {
	    TEXT(""),
	    TEXT("x"),
	    TEXT("{\"a\":1}\0with a NUL"),
	    TEXT(
		"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"),
	};
	struct err err = {0};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct buf token = closed(f.seal, "state", i & 1 ? "bound" : "", 600, texts[i]), plain;

		assert_int_equal(
		    strspn(token.data, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), token.len);
		buf_init(&plain, 1 << 20);
		buf_adds(&plain, "before:");
		assert_int_equal(
		    seal_open(f.seal, "state", slice_str(i & 1 ? "bound" : ""), buf_slice(&token), &plain, &err), 0);
		buf_drop(&plain, 7);
		assert_true(slice_eq(buf_slice(&plain), texts[i]));
		buf_release(&plain);
		buf_release(&token);
	}
}

static void test_no_two_alike(void **state)
{
	struct buf a = closed(f.seal, "state", "", 600, SLICE("x")), b = closed(f.seal, "state", "", 600, SLICE("x"));

	(void)state;
	assert_false(slice_eq(buf_slice(&a), buf_slice(&b)));
	buf_release(&a);
	buf_release(&b);
}

static void test_every_bit_counts(void **state)
{
	struct buf token = closed(f.seal, "state", "b", 600, SLICE("secret")), bytes, forged;

	(void)state;
	buf_init(&bytes, 4096);
	buf_init(&forged, 4096);
	assert_true(base64_decode(&bytes, BASE64_URL, buf_slice(&token)));
	for (size_t i = 0; i < 8 * bytes.len; i++) {
		bytes.data[i / 8] = (char)(bytes.data[i / 8] ^ 1 << i % 8);
		buf_clear(&forged);
		base64_encode(&forged, BASE64_URL, buf_slice(&bytes));
		refused("a flipped bit", f.seal, "state", "b", buf_slice(&forged), i < 8 ? NOT_OURS : CHANGED);
		bytes.data[i / 8] = (char)(bytes.data[i / 8] ^ 1 << i % 8);
	}
	for (size_t len = 0; len < bytes.len; len++) {
		buf_clear(&forged);
		base64_encode(&forged, BASE64_URL, (struct slice){bytes.data, len});
		refused(
		    "cut off", f.seal, "state", "b", buf_slice(&forged), len < 1 + 24 + 8 + 16 ? NOT_OURS : CHANGED);
	}
	buf_clear(&forged);
	base64_encode(&forged, BASE64_URL, (struct slice){bytes.data, bytes.len + 1});
	refused("one byte more", f.seal, "state", "b", buf_slice(&forged), CHANGED);
	refused("not base64url", f.seal, "state", "b", SLICE("a b"), NOT_OURS);
	refused("padded", f.seal, "state", "b", SLICE("AQ=="), NOT_OURS);
	refused("empty", f.seal, "state", "b", SLICE(""), NOT_OURS);
	buf_release(&forged);
	buf_release(&bytes);
	buf_release(&token);
}

static void test_bound_to(void **state)
{
	struct buf token = closed(f.seal, "state", "alice", 600, SLICE("x"));

	(void)state;
	refused("another principal", f.seal, "state", "bob", buf_slice(&token), CHANGED);
	refused("none", f.seal, "state", "", buf_slice(&token), CHANGED);
	refused("another purpose", f.seal, "cursor", "alice", buf_slice(&token), CHANGED);
	refused("purpose and bound, cut elsewhere", f.seal, "statealice", "", buf_slice(&token), CHANGED);
	refused("purpose and bound, cut elsewhere", f.seal, "stat", "ealice", buf_slice(&token), CHANGED);
	buf_release(&token);
	token = closed(f.seal, "state", "alice", 0, SLICE("x"));
	refused("past its time", f.seal, "state", "alice", buf_slice(&token), "it has expired");
	buf_release(&token);
}

static void test_key(void **state)
{
	struct buf token = closed(f.seal, "state", "", 600, SLICE("x")), plain;
	struct seal *other = seal_new(&f.cfg);
	struct stat st;
	struct err err = {0};

	(void)state;
	assert_int_equal(stat(f.file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_size, 32);
	buf_init(&plain, 4096);
	assert_int_equal(seal_open(other, "state", SLICE(""), buf_slice(&token), &plain, &err), 0); /* the same file */
	seal_free(&other);
	buf_release(&plain);
	unlink(f.file);
	other = seal_new(&f.cfg);
	refused("another key", other, "state", "", buf_slice(&token), CHANGED);
	seal_free(&other);
	buf_release(&token);
}

static void test_bad_files(void **state)
{
	static const struct {
		const char *name;
		mode_t mode;
		size_t len;
		const char *says; /* after the path */
	} rows[] = {
	    {"readable by others", 0644, 32, " may be read by others, or is another user's: remove it"},
	    {"writable by a group", 0620, 32, " may be read by others, or is another user's: remove it"},
	    {"too short", 0600, 31, " is not a key of 32 bytes: remove it"},
	    {"empty", 0600, 0, " is not a key of 32 bytes: remove it"},
	    {"too long", 0600, 33, " is not a key of 32 bytes: remove it"},
	};
	static const char bytes[33];
	static char nowhere[] = "/nowhere/at/all";
	struct buf token;
	struct err err;

	(void)state;
	buf_init(&token, 4096);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		int fd = open(f.file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

		assert_true(
		    fd != -1 && write(fd, bytes, rows[i].len) == (ssize_t)rows[i].len && fchmod(fd, rows[i].mode) == 0);
		close(fd);
		err = (struct err){0};
		if (seal_close(f.seal, "state", SLICE(""), 600, SLICE("x"), &token, &err) != -1)
			fail_msg("%s: taken", rows[i].name);
		if (err.code != ERR_SYS || strcmp(err.msg + strlen(f.file), rows[i].says) != 0)
			fail_msg("%s: %s", rows[i].name, err.msg);
		unlink(f.file);
	}
	assert_int_equal(symlink("/dev/zero", f.file), 0);
	assert_int_equal(seal_close(f.seal, "state", SLICE(""), 600, SLICE("x"), &token, &err), -1);
	assert_int_equal(err.sys, ELOOP);
	unlink(f.file);
	f.cfg.run_dir = nowhere;
	assert_int_equal(seal_close(f.seal, "state", SLICE(""), 600, SLICE("x"), &token, &err), -1);
	assert_int_equal(err.sys, ENOENT);
	f.cfg.run_dir = f.dir;
	assert_int_equal(seal_close(f.seal, "state", SLICE(""), 600, SLICE("x"), &token, &err), 0); /* it tries again */
	buf_release(&token);
}

/* A plain CGI process may ask before there was ever a broker to make run_dir. */
static void test_no_run_dir(void **state)
{
	char run_dir[sizeof(f.dir) + 8], file[sizeof(run_dir) + 16];
	struct buf token;
	struct err err = {0};
	struct stat st;

	(void)state;
	buf_init(&token, 4096);
	snprintf(run_dir, sizeof(run_dir), "%s/run", f.dir);
	snprintf(file, sizeof(file), "%s/seal.key", run_dir);
	f.cfg.run_dir = run_dir;
	f.cfg.broker_autostart = true;
	if (seal_close(f.seal, "state", SLICE(""), 600, SLICE("x"), &token, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(stat(run_dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0770);
	unlink(file);
	rmdir(run_dir);
	f.cfg.run_dir = f.dir;
	f.cfg.broker_autostart = false;
	buf_release(&token);
}

static void test_race(void **state)
{
	enum { CHILDREN = 8 };
	struct buf token, plain;
	struct err err = {0};
	int go[2], back[2];
	char c;

	(void)state;
	buf_init(&token, 4096);
	buf_init(&plain, 4096);
	assert_true(pipe2(go, O_CLOEXEC) == 0 && pipe2(back, O_CLOEXEC) == 0);
	for (int i = 0; i < CHILDREN; i++) {
		pid_t pid = fork();

		assert_true(pid != -1);
		if (pid == 0) { /* waits for all; makes or reads the key */
			close(go[1]);
			if (read(go[0], &c, 1) != 0 ||
			    seal_close(f.seal, "state", SLICE(""), 600, SLICE("x"), &token, &err))
				_exit(1);
			_exit(write(back[1], token.data, token.len) == (ssize_t)token.len ? 0 : 2);
		}
	}
	close(go[0]);
	close(go[1]);
	close(back[1]);
	for (int i = 0, status; i < CHILDREN; i++) {
		assert_true(wait(&status) != -1);
		assert_int_equal(status, 0);
	}
	token = closed(f.seal, "state", "", 600, SLICE("x"));
	for (int i = 0; i < CHILDREN; i++) { /* all are of one key, so all of one length */
		assert_int_equal(read(back[0], token.data, token.len), token.len);
		buf_clear(&plain);
		if (seal_open(f.seal, "state", SLICE(""), buf_slice(&token), &plain, &err))
			fail_msg("%s", err.msg);
	}
	close(back[0]);
	buf_release(&token);
	buf_release(&plain);
}

static void test_base64(void **state)
{
	static const struct {
		struct slice text, bytes;
		enum base64_kind kind;
		bool bad;
	} rows[] = {
	    {TEXT(""), TEXT(""), BASE64_PADDED, false},
	    {TEXT("Zg=="), TEXT("f"), BASE64_PADDED, false},
	    {TEXT("Zm8="), TEXT("fo"), BASE64_PADDED, false},
	    {TEXT("Zm9v"), TEXT("foo"), BASE64_PADDED, false},
	    {TEXT("Zm9vYg=="), TEXT("foob"), BASE64_PADDED, false},
	    {TEXT("+/+/"), TEXT("\373\377\277"), BASE64_PADDED, false},
	    {TEXT("-_-_"), TEXT("\373\377\277"), BASE64_URL, false},
	    {TEXT("Zg"), TEXT("f"), BASE64_URL, false},
	    {TEXT("Zm8"), TEXT("fo"), BASE64_URL, false},
	    {TEXT("Zg"), TEXT(""), BASE64_PADDED, true},
	    {TEXT("Zg=="), TEXT(""), BASE64_URL, true},
	    {TEXT("Zh=="), TEXT(""), BASE64_PADDED, true},
	    {TEXT("Zm9="), TEXT(""), BASE64_PADDED, true},
	    {TEXT("Zm9"), TEXT(""), BASE64_URL, true},
	    {TEXT("Z"), TEXT(""), BASE64_URL, true},
	    {TEXT("Z==="), TEXT(""), BASE64_PADDED, true},
	    {TEXT("===="), TEXT(""), BASE64_PADDED, true},
	    {TEXT("Zm=v"), TEXT(""), BASE64_PADDED, true},
	    {TEXT("Zm9v-_-_"), TEXT(""), BASE64_PADDED, true},
	    {TEXT("Zm9v+/+/"), TEXT(""), BASE64_URL, true},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf out;

		buf_init(&out, 64);
		if (base64_decode(&out, rows[i].kind, rows[i].text) == rows[i].bad ||
		    (!rows[i].bad && !slice_eq(buf_slice(&out), rows[i].bytes)))
			fail_msg("%s: decoded", rows[i].text.p);
		buf_clear(&out);
		if (!rows[i].bad) {
			base64_encode(&out, rows[i].kind, rows[i].bytes);
			if (!slice_eq(buf_slice(&out), rows[i].text))
				fail_msg("%s: encoded as %s", rows[i].text.p, out.data);
		}
		buf_release(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_base64),
	    cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_no_two_alike, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_every_bit_counts, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_bound_to, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_key, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_bad_files, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_no_run_dir, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_race, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
