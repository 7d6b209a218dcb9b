/* fcgi/keys.c: the file of API keys */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fcgi/keys.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define P64  "0123456789012345678901234567890123456789012345678901234567890123"
#define K256 P64 P64 P64 P64

static int load(struct keys *keys, struct slice text, mode_t mode, char file[64], struct err *err)
{
	int fd, ret;

	snprintf(file, 64, "/tmp/mcp-test-keys.XXXXXX");
	fd = mkstemp(file);
	assert_true(fd >= 0 && write(fd, text.p, text.len) == (ssize_t)text.len && fchmod(fd, mode) == 0);
	close(fd);
	ret = keys_load(keys, file, err);
	unlink(file);
	return ret;
}

static void test_load(void **state)
{
	static const struct {
		const char *name;
		struct slice text;
		size_t count;     /* keys; 0: refused */
		const char *says; /* part of the complaint, after the file's name */
	} cases[] = {
	    {"one", TEXT("alice:0123456789abcdef\n"), 1, NULL},
	    {"no line feed at the end", TEXT("alice:0123456789abcdef"), 1, NULL},
	    {"CRLF", TEXT("alice:0123456789abcdef\r\nbob:fedcba9876543210\r\n"), 2, NULL},
	    {"comments and empty lines", TEXT("# a\n\n#b:c\nalice:0123456789abcdef\n\n"), 1, NULL},
	    {"a colon in the key", TEXT("alice:0123:456789abcdef\n"), 1, NULL},
	    {"two keys of one principal", TEXT("alice:0123456789abcdef\nalice:0123456789abcdeg\n"), 2, NULL},
	    {"longest principal and key", TEXT(P64 ":" K256 "\n"), 1, NULL},
	    {"all characters of a principal", TEXT("aZ09_-.@:0123456789abcdef\n"), 1, NULL},
	    {"empty file", TEXT(""), 0, " holds no key"},
	    {"only comments", TEXT("# nothing\n"), 0, " holds no key"},
	    {"no colon", TEXT("alice:0123456789abcdef\nbob\n"), 0, ":2: expected principal:key"},
	    {"no principal", TEXT("\n:0123456789abcdef\n"), 0, ":2: expected principal:key"},
	    {"principal too long", TEXT("x" P64 ":0123456789abcdef\n"), 0, ":1: expected principal:key"},
	    {"principal with a blank", TEXT("# c\n\nal ice:0123456789abcdef\n"), 0, ":3: a principal holds"},
	    {"blank in front", TEXT(" alice:0123456789abcdef\n"), 0, ":1: a principal holds"},
	    {"key too short", TEXT("alice:0123456789abcde\n"), 0, ":1: a key has 16 to 256 characters, this one 15"},
	    {"key too long", TEXT("alice:" K256 "x\n"), 0, ":1: a key has 16 to 256 characters, this one 257"},
	    {"blank in the key", TEXT("alice:0123456789 abcdef\n"), 0, ":1: a key holds visible ASCII"},
	    {"blank behind the key", TEXT("alice:0123456789abcdef \n"), 0, ":1: a key holds visible ASCII"},
	    {"key not ASCII", TEXT("alice:0123456789abcd\303\274\n"), 0, ":1: a key holds visible ASCII"},
	    {"NUL hides the rest", TEXT("alice:0123456789abcdef\0ghij\n"), 0, ":1: a key holds visible ASCII"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = {0};
		struct keys keys;
		char file[64];
		int ret = load(&keys, cases[i].text, 0640, file, &err);

		if (keys.count != cases[i].count || (ret == 0) != (cases[i].count > 0))
			fail_msg("%s: got %d and %zu keys (%s)", cases[i].name, ret, keys.count, err.msg);
		if (ret && (err.code != ERR_CONFIG || strncmp(err.msg, file, strlen(file)) != 0 ||
			       strncmp(err.msg + strlen(file), cases[i].says, strlen(cases[i].says)) != 0))
			fail_msg("%s: complaint is \"%s\"", cases[i].name, err.msg);
		if (ret && strstr(err.msg, "0123456789"))
			fail_msg("%s: a key is in the complaint", cases[i].name);
		keys_release(&keys);
	}
}

static void test_file(void **state)
{
	struct err err = {0};
	struct keys keys;
	char file[64];

	(void)state;
	assert_int_equal(keys_load(&keys, "/nonexistent/keys", &err), -1);
	assert_int_equal(err.code, ERR_SYS);
	assert_non_null(strstr(err.msg, "/nonexistent/keys"));
	assert_int_equal(load(&keys, SLICE("alice:0123456789abcdef\n"), 0644, file, &err), -1);
	assert_int_equal(err.code, ERR_CONFIG);
	assert_non_null(strstr(err.msg, "chmod o-rwx"));
	assert_int_equal(keys.count, 0);
	assert_int_equal(load(&keys, SLICE("alice:0123456789abcdef\n"), 0600, file, &err), 0);
	keys_release(&keys);
	keys_release(&keys);
}

static void test_find(void **state)
{
	struct err err = {0};
	struct keys keys;
	char file[64];

	(void)state;
	assert_int_equal(load(&keys, SLICE("alice:0123456789abcdef\nbob:0123456789abcdeg\nalice:0123456789abcdefgh\n"),
			     0600, file, &err),
	    0);
	assert_string_equal(keys_find(&keys, SLICE("0123456789abcdef")), "alice");
	assert_string_equal(keys_find(&keys, SLICE("0123456789abcdeg")), "bob");
	assert_string_equal(keys_find(&keys, SLICE("0123456789abcdefgh")), "alice");
	assert_null(keys_find(&keys, SLICE("0123456789abcdeh")));
	assert_null(keys_find(&keys, SLICE("0123456789abcdefg")));
	assert_null(keys_find(&keys, SLICE("")));
	keys_release(&keys);
	assert_null(keys_find(&keys, SLICE("0123456789abcdef")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_load),
	    cmocka_unit_test(test_file),
	    cmocka_unit_test(test_find),
	};

	return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
