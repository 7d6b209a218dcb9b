/* fcgi/rate.c: as many as the limit says, whoever asks, from however many processes (DT-11) */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "fcgi/rate.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define ANNA      SLICE("anna")
#define PROCESSES 6
#define T0        UINT64_C(1000000) /* ms */
#define MINUTE    UINT64_C(60000)

static struct fixture {
	char dir[64], file[80], left[88];
	struct cfg cfg;
} f;

static int set_up(void **state)
{
	(void)state;
	snprintf(f.dir, sizeof(f.dir), "/tmp/mcp-test-rate.XXXXXX");
	assert_non_null(mkdtemp(f.dir));
	snprintf(f.file, sizeof(f.file), "%s/rate.shm", f.dir);
	snprintf(f.left, sizeof(f.left), "%s/rate.shm.new", f.dir);
	f.cfg = (struct cfg){.run_dir = f.dir, .rate_per_key = 60, .rate_burst = 5, .rate_buckets = 1024};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(f.file);
	assert_int_equal(rmdir(f.dir), 0); /* nothing else was left in it */
	return 0;
}

static struct rate *opened(void)
{
	struct rate *r;
	struct err err = {0};

	if (rate_open(&r, &f.cfg, &err))
		fail_msg("%s", err.msg);
	assert_non_null(r);
	return r;
}

/* How many of count tokens there are at that time. */
static unsigned taken(struct rate *r, enum rate_limit limit, struct slice who, unsigned count, uint64_t at_ms)
{
	unsigned n = 0;

	while (count-- > 0)
		n += rate_take(r, limit, who, at_ms) == 0;
	return n;
}

static void test_hash(void **state)
{
	static const struct {
		size_t len;
		uint64_t hash;
	} vectors[] = {/* of the authors: key 00 01 .. 0f, text 00 01 .. */
	    {0, UINT64_C(0x726fdb47dd0e0e31)}, {1, UINT64_C(0x74f839c593dc67fd)}, {8, UINT64_C(0x93f5f5799a932462)},
	    {15, UINT64_C(0xa129ca6149be45e5)}};
	unsigned char bytes[16];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)i;
	for (size_t i = 0; i < COUNT_OF(vectors); i++)
		assert_true(rate_hash(bytes, (struct slice){(char *)bytes, vectors[i].len}) == vectors[i].hash);
}

static void test_nothing_is_limited(void **state)
{
	struct rate *r = (struct rate *)&f;
	struct err err = {0};

	(void)state;
	f.cfg.rate_per_key = 0;
	assert_int_equal(rate_open(&r, &f.cfg, &err), 0);
	assert_null(r);
	assert_int_equal(taken(r, RATE_PER_KEY, ANNA, 1000, T0), 1000);
	assert_int_equal(access(f.file, F_OK), -1);
	rate_close(&r);
}

static void test_limit(void **state)
{
	struct rate *r = opened();

	(void)state;
	assert_int_equal(rate_look(r, RATE_PER_KEY, ANNA, T0), 0);
	assert_int_equal(taken(r, RATE_PER_KEY, ANNA, 100, T0), 5);
	assert_int_equal(rate_take(r, RATE_PER_KEY, ANNA, T0), 1);
	assert_int_equal(rate_look(r, RATE_PER_KEY, ANNA, T0), 1);
	assert_int_equal(taken(r, RATE_PER_KEY, ANNA, 100, T0 + 999), 0);
	assert_int_equal(taken(r, RATE_PER_KEY, ANNA, 100, T0 + 1000), 1);
	assert_int_equal(taken(r, RATE_PER_KEY, ANNA, 100, T0 + 4000), 3);
	assert_int_equal(taken(r, RATE_PER_KEY, ANNA, 100, T0 + MINUTE), 5); /* never more than the burst */
	assert_int_equal(taken(r, RATE_PER_ADDRESS, ANNA, 100, T0), 100);    /* is not limited */
	rate_close(&r);
	rate_close(&r);
}

static void test_seconds_are_rounded_up(void **state)
{
	struct rate *r;

	(void)state;
	f.cfg.rate_per_key = 2;
	f.cfg.rate_burst = 1;
	r = opened();
	assert_int_equal(taken(r, RATE_PER_KEY, ANNA, 2, T0), 1);
	assert_int_equal(rate_take(r, RATE_PER_KEY, ANNA, T0 + 1), 30);
	rate_close(&r);
}

/* Of 100 names few meet others in 65536 buckets. */
static void test_names(void **state)
{
	struct rate *r;
	unsigned alone = 0;
	char name[16];

	(void)state;
	f.cfg.rate_buckets = 65536;
	r = opened();
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "name%d", i);
		alone += taken(r, RATE_PER_KEY, slice_str(name), 6, T0) == 5;
	}
	assert_in_range(alone, 95, 100);
	rate_close(&r);
}

static void test_limits_do_not_mix(void **state)
{
	struct rate *r;

	(void)state;
	f.cfg.rate_per_address = 120;
	f.cfg.rate_completions = 6000;
	r = opened();
	assert_int_equal(taken(r, RATE_PER_KEY, ANNA, 9, T0), 5);
	assert_int_equal(taken(r, RATE_PER_ADDRESS, ANNA, 9, T0), 5);
	assert_int_equal(taken(r, RATE_COMPLETIONS, ANNA, 9, T0), 5);
	assert_int_equal(taken(r, RATE_PER_ADDRESS, ANNA, 9, T0 + 1000), 2);
	assert_int_equal(taken(r, RATE_COMPLETIONS, ANNA, 9, T0 + 10), 1);
	rate_close(&r);
}

/* A worker that is started later, or again, finds what the others have counted. */
static void test_workers_share(void **state)
{
	struct rate *a = opened(), *b = opened();

	(void)state;
	assert_int_equal(taken(a, RATE_PER_KEY, ANNA, 3, T0), 3);
	assert_int_equal(taken(b, RATE_PER_KEY, ANNA, 3, T0), 2);
	rate_close(&a);
	rate_close(&b);
	a = opened();
	assert_int_equal(taken(a, RATE_PER_KEY, ANNA, 3, T0), 0);
	rate_close(&a);
}

/* Runs one in each of some processes, at the same time; returns the sum of what they return, 0 .. 255 each. */
static unsigned in_processes(unsigned (*one)(void))
{
	int start[2], status;
	pid_t pids[PROCESSES];
	unsigned sum = 0;
	char ignored;

	assert_int_equal(pipe2(start, O_CLOEXEC), 0);
	for (int i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0) {
			close(start[1]);
			if (read(start[0], &ignored, 1) == -1)
				_exit(255);
			_exit((int)one());
		}
	}
	close(start[1]); /* they all wake up */
	close(start[0]);
	for (int i = 0; i < PROCESSES; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_true(WIFEXITED(status));
		sum += (unsigned)WEXITSTATUS(status);
	}
	return sum;
}

static struct rate *inherited;

static unsigned take_many(void)
{
	return taken(inherited, RATE_PER_KEY, ANNA, 100000, T0);
}

static unsigned take_for_a_minute(void)
{
	unsigned n = 0;

	for (uint64_t ms = 0; ms <= MINUTE; ms++)
		n += taken(inherited, RATE_PER_KEY, ANNA, 2, T0 + ms);
	return n;
}

static void test_processes_at_once(void **state)
{
	(void)state;
	f.cfg.rate_burst = 200;
	inherited = opened();
	assert_int_equal(in_processes(take_many), 200);
	rate_close(&inherited);
	unlink(f.file);
	f.cfg.rate_burst = 5;
	inherited = opened();
	assert_int_equal(in_processes(take_for_a_minute), 65); /* whose clock is first there has them */
	rate_close(&inherited);
}

static unsigned open_and_take(void)
{
	struct rate *r;
	struct err err = {0};

	log_level_max = LOG_LEVEL_ERROR;
	if (rate_open(&r, &f.cfg, &err))
		return 255;
	return taken(r, RATE_PER_KEY, ANNA, 1000, T0);
}

static void put_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

/* Workers that start together with a file that is none end up with one and the same. */
static void test_processes_replace_at_once(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		put_file(f.file, "something else", 0600);
		assert_int_equal(in_processes(open_and_take), 5);
	}
}

static void spoil_nothing(void)
{
}

static void spoil_text(void)
{
	put_file(f.file, "something else", 0600);
}

static void spoil_empty(void)
{
	put_file(f.file, "", 0600);
}

static void overwrite(off_t at, const char *bytes, size_t len)
{
	int fd = open(f.file, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, bytes, len, at), len);
	close(fd);
}

static void spoil_magic(void)
{
	overwrite(0, "M", 1);
}

static void spoil_version(void)
{
	overwrite(8, "\2", 1);
}

static void spoil_count(void)
{
	overwrite(12, "\1", 1);
}

static void spoil_short(void)
{
	assert_int_equal(truncate(f.file, 4096), 0);
}

static void spoil_mode(void)
{
	assert_int_equal(chmod(f.file, 0660), 0);
}

static void spoil_link(void)
{
	assert_int_equal(rename(f.file, f.left), 0);
	assert_int_equal(symlink(f.left, f.file), 0);
}

static void spoil_fifo(void)
{
	unlink(f.file);
	assert_int_equal(mkfifo(f.file, 0600), 0);
}

static void spoil_owner(void)
{
	assert_int_equal(chown(f.file, 65534, 65534), 0);
}

static void test_wrong_file(void **state)
{
	static const struct {
		const char *name;
		void (*spoil)(void);
		unsigned count; /* tokens that are there after */
	} cases[] = {
	    {"as it was", spoil_nothing, 0},
	    {"a text", spoil_text, 5},
	    {"empty", spoil_empty, 5},
	    {"other magic", spoil_magic, 5},
	    {"other version", spoil_version, 5},
	    {"other count", spoil_count, 5},
	    {"shortened", spoil_short, 5},
	    {"written by the group", spoil_mode, 5},
	    {"a link to a good one", spoil_link, 5},
	    {"a FIFO", spoil_fifo, 5},
	    {"another user's", spoil_owner, 5},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct rate *before, *after;
		struct stat st;
		unsigned n;

		if (cases[i].spoil == spoil_owner && geteuid() != 0)
			continue;
		before = opened();
		taken(before, RATE_PER_KEY, ANNA, 100, T0);
		cases[i].spoil();
		log_level_max = LOG_LEVEL_ERROR;
		after = opened();
		log_level_max = LOG_LEVEL_INFO;
		n = taken(after, RATE_PER_KEY, ANNA, 100, T0);
		if (n != cases[i].count)
			fail_msg("%s: %u tokens", cases[i].name, n);
		assert_int_equal(lstat(f.file, &st), 0);
		if (!S_ISREG(st.st_mode) || (st.st_mode & 0777) != 0600 || st.st_uid != geteuid())
			fail_msg("%s: mode %o", cases[i].name, st.st_mode);
		if (access(f.left, F_OK) != -1)
			fail_msg("%s: something is left", cases[i].name);
		rate_close(&before);
		rate_close(&after);
		unlink(f.file);
	}
}

/* Settings of which a file can't be, name it. */
static void test_no_file(void **state)
{
	static char nowhere[] = "/proc/nowhere";
	struct rate *r;
	struct err err = {0};

	(void)state;
	assert_int_equal(mkdir(f.file, 0700), 0);
	assert_int_equal(rate_open(&r, &f.cfg, &err), -1);
	assert_non_null(strstr(err.msg, f.file));
	assert_null(r);
	assert_int_equal(access(f.left, F_OK), -1);
	assert_int_equal(rmdir(f.file), 0);
	f.cfg.run_dir = nowhere;
	assert_int_equal(rate_open(&r, &f.cfg, &err), -1);
	assert_null(r);
}

static void test_run_dir_is_made(void **state)
{
	struct rate *r;

	(void)state;
	assert_int_equal(rmdir(f.dir), 0);
	r = opened();
	rate_close(&r);
}

/* CLOCK_MONOTONIC starts anew with the machine, and threads read it before they come here. */
static void test_clock(void **state)
{
	struct rate *r = opened();

	(void)state;
	assert_int_equal(taken(r, RATE_PER_KEY, ANNA, 100, T0), 5);
	assert_int_equal(taken(r, RATE_PER_KEY, ANNA, 100, T0 - 5000), 0); /* a thread that was stopped for long */
	assert_int_equal(taken(r, RATE_PER_KEY, ANNA, 100, T0), 0);
	assert_int_equal(taken(r, RATE_PER_KEY, ANNA, 100, 1000), 5); /* another boot */
	assert_int_equal(taken(r, RATE_PER_KEY, ANNA, 100, 2000), 1);
	rate_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hash),
	    cmocka_unit_test_setup_teardown(test_nothing_is_limited, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_limit, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_seconds_are_rounded_up, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_limits_do_not_mix, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_workers_share, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_processes_at_once, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_processes_replace_at_once, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_wrong_file, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_no_file, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_run_dir_is_made, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_clock, set_up, tear_down),
	};

	log_init("test_rate", LOG_LEVEL_INFO);
	return cmocka_run_group_tests_name("rate", tests, NULL, NULL);
}
