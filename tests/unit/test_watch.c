/* runner/watch.c: what is told of changes of real files. The clock is the test's. */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner/watch.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/scratch.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

struct site {
	struct scratch scratch;
	struct filetree docs, logo;
	struct watch *watch;
	uint64_t now;
	struct buf told; /* "OWNER:PATH " each; "OWNER* ": its list */
};

static void hear(void *arg, const void *owner, struct slice path)
{
	struct site *site = arg;

	buf_addf(
	    &site->told, "%s%s%.*s ", (const char *)owner, path.p ? ":" : "*", (int)path.len, path.p ? path.p : "");
}

/* What is told of all that happened up to now, after some ms. */
static const char *told_after(struct site *site, uint64_t ms)
{
	buf_clear(&site->told);
	watch_take(site->watch, site->now, hear, site);
	site->now += ms;
	watch_take(site->watch, site->now, hear, site);
	return site->told.data ? site->told.data : "";
}

/* Long after the last walk: what that took on a busy machine would put the next one off. */
static const char *told(struct site *site)
{
	site->now += 2000;
	return told_after(site, WATCH_DELAY_MS);
}

static void set_mtime(const struct site *site, const char *path, time_t mtime)
{
	const struct timespec times[2] = {{mtime, 0}, {mtime, 0}};

	assert_int_equal(utimensat(AT_FDCWD, scratch_path(&site->scratch, path), times, 0), 0);
}

/* A file with a time of its own, old enough that its next change shows. */
static void write_file(const struct site *site, const char *path, const char *text)
{
	static time_t mtime = 1700000000;

	scratch_write(&site->scratch, path, slice_str(text));
	set_mtime(site, path, ++mtime);
}

static void move_file(const struct site *site, const char *from, const char *to)
{
	char old[4096];

	snprintf(old, sizeof(old), "%s", scratch_path(&site->scratch, from));
	assert_int_equal(rename(old, scratch_path(&site->scratch, to)), 0);
}

static void start(struct site *site, size_t dirs_max)
{
	struct err err = {0};

	watch_free(&site->watch);
	site->watch = watch_new(dirs_max, &err);
	if (!site->watch || watch_add(site->watch, &site->docs, "docs", &err) ||
	    watch_add(site->watch, &site->logo, "logo", &err))
		fail_msg("%s", err.msg);
	watch_take(site->watch, site->now, hear, site); /* the first check */
	told(site);
}

static int site_init(void **state)
{
	struct site *site = test_calloc(1, sizeof(*site));

	scratch_init(&site->scratch);
	site->now = 1000000;
	buf_init(&site->told, 1 << 20);
	write_file(site, "docs/a.txt", "a");
	write_file(site, "docs/b/c.txt", "c");
	write_file(site, "logo.png", "logo");
	site->docs.dir = strdup(scratch_path(&site->scratch, "docs"));
	site->docs.entries_max = 1000;
	site->logo.dir = strdup(site->scratch.dir);
	site->logo.only = strdup("logo.png");
	start(site, 100);
	*state = site;
	return 0;
}

static int site_release(void **state)
{
	struct site *site = *state;

	watch_free(&site->watch);
	watch_free(&site->watch);
	buf_release(&site->told);
	free(site->docs.dir);
	free(site->logo.dir);
	free(site->logo.only);
	scratch_release(&site->scratch);
	test_free(site);
	return 0;
}

static void test_changes(void **state)
{
	struct site *site = *state;

	assert_string_equal(told(site), "");
	write_file(site, "docs/a.txt", "A2");
	assert_string_equal(told(site), "docs:a.txt ");
	write_file(site, "docs/b/c.txt", "C2");
	assert_string_equal(told(site), "docs:b/c.txt ");
	write_file(site, "docs/new.txt", "");
	assert_string_equal(told(site), "docs:new.txt docs* ");
	unlink(scratch_path(&site->scratch, "docs/new.txt"));
	assert_string_equal(told(site), "docs:new.txt docs* ");
	write_file(site, "logo.png", "LOGO");
	assert_string_equal(told(site), "logo:logo.png ");
	write_file(site, "other.png", "");
	assert_string_equal(told(site), "");
	unlink(scratch_path(&site->scratch, "logo.png"));
	assert_string_equal(told(site), "logo:logo.png logo* ");
	assert_string_equal(told(site), "");
}

static void test_replaced(void **state)
{
	struct site *site = *state;

	write_file(site, "docs/.a.txt.swp", "A2"); /* what an editor does */
	move_file(site, "docs/.a.txt.swp", "docs/a.txt");
	assert_string_equal(told(site), "docs:a.txt ");
	write_file(site, "docs/sedXYZ", "A3");
	move_file(site, "docs/sedXYZ", "docs/a.txt");
	assert_string_equal(told(site), "docs:a.txt ");
	write_file(site, "docs/passing", "");
	unlink(scratch_path(&site->scratch, "docs/passing"));
	assert_string_equal(told(site), "");
	move_file(site, "docs/a.txt", "docs/a2.txt");
	assert_string_equal(told(site), "docs:a.txt docs:a2.txt docs* ");
	write_file(site, "docs/.hidden", "");
	assert_int_equal(mkdir(scratch_path(&site->scratch, "docs/.git"), 0755), 0);
	write_file(site, "docs/.git/x", "");
	assert_int_equal(watch_wait_ms(site->watch, site->now) > WATCH_DELAY_MS, true);
	assert_string_equal(told(site), "");
}

static void test_directories(void **state)
{
	struct site *site = *state;

	write_file(site, "docs/d/e/f.txt", "f");
	assert_string_equal(told(site), "docs:d/e/f.txt docs* ");
	write_file(site, "docs/d/e/g.txt", "g");
	assert_string_equal(told(site), "docs:d/e/g.txt docs* ");
	move_file(site, "docs/d", "docs/h");
	assert_string_equal(told(site), "docs:d/e/f.txt docs:d/e/g.txt docs:h/e/f.txt docs:h/e/g.txt docs* ");
	write_file(site, "docs/h/e/f.txt", "f2");
	assert_string_equal(told(site), "docs:h/e/f.txt ");
	move_file(site, "docs/h", "away");
	assert_string_equal(told(site), "docs:h/e/f.txt docs:h/e/g.txt docs* ");
	write_file(site, "away/e/f.txt", "f3");
	assert_string_equal(told(site), "");
	move_file(site, "away", "docs/i");
	assert_string_equal(told(site), "docs:i/e/f.txt docs:i/e/g.txt docs* ");
	unlink(scratch_path(&site->scratch, "docs/i/e/f.txt"));
	unlink(scratch_path(&site->scratch, "docs/i/e/g.txt"));
	rmdir(scratch_path(&site->scratch, "docs/i/e"));
	assert_string_equal(told(site), "docs:i/e/f.txt docs:i/e/g.txt docs* ");
	assert_int_equal(mkdir(scratch_path(&site->scratch, "docs/empty"), 0755), 0);
	assert_string_equal(told(site), "");
	write_file(site, "docs/empty/x", "");
	assert_string_equal(told(site), "docs:empty/x docs* ");
}

/* The directory is swapped as a whole, or away for a while: no sign, but the check sees it. */
static void test_root(void **state)
{
	struct site *site = *state;

	move_file(site, "docs", "old");
	assert_string_equal(told_after(site, WATCH_CHECK_MS), "docs:a.txt docs:b/c.txt docs* ");
	write_file(site, "new/a.txt", "n");
	move_file(site, "new", "docs");
	told_after(site, WATCH_CHECK_MS);
	assert_string_equal(told(site), "docs:a.txt docs* ");
	write_file(site, "docs/a.txt", "n2");
	assert_string_equal(told(site), "docs:a.txt ");

	unlink(scratch_path(&site->scratch, "logo.png"));
	told(site);
	write_file(site, "elsewhere/real.png", "1");
	assert_int_equal(symlink("elsewhere/real.png", scratch_path(&site->scratch, "logo.png")), 0);
	assert_string_equal(told(site), "logo:logo.png logo* ");
	write_file(site, "elsewhere/real.png", "22");
	told_after(site, WATCH_CHECK_MS);
	assert_string_equal(told(site), "logo:logo.png ");
}

static void test_delay(void **state)
{
	struct site *site = *state;

	write_file(site, "docs/a.txt", "1");
	assert_string_equal(told_after(site, WATCH_DELAY_MS - 1), "");
	assert_int_equal(watch_wait_ms(site->watch, site->now), 1);
	write_file(site, "docs/a.txt", "2");
	write_file(site, "docs/b/c.txt", "2");
	assert_string_equal(told_after(site, 1), "docs:a.txt docs:b/c.txt ");
	assert_true(watch_wait_ms(site->watch, site->now) > WATCH_DELAY_MS);
	/* A time to come is a time like others. */
	write_file(site, "docs/b/c.txt", "3");
	set_mtime(site, "docs/b/c.txt", time(NULL) + 3600);
	assert_string_equal(told(site), "docs:b/c.txt ");
	write_file(site, "docs/a.txt", "3");
	assert_string_equal(told(site), "docs:a.txt ");
	/* Writes within a tick of the disk's clock, the first of which was seen. */
	for (int i = 0; i < 5; i++) {
		scratch_write(&site->scratch, "docs/a.txt", SLICE("3"));
		assert_string_equal(told(site), "docs:a.txt ");
	}
}

static void test_overflow(void **state)
{
	struct site *site = *state;
	char path[64];
	FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
	int max = 0;

	if (f) {
		if (fscanf(f, "%d", &max) != 1)
			max = 0;
		fclose(f);
	}
	if (max <= 0 || max > 100000)
		skip();
	for (int i = 0; i < max + 10; i++) {
		snprintf(path, sizeof(path), "docs/%d", i % 2);
		write_file(site, path, "");
		unlink(scratch_path(&site->scratch, path));
	}
	write_file(site, "docs/lost.txt", "");
	write_file(site, "logo.png", "");
	assert_non_null(strstr(told(site), "docs:lost.txt docs* "));
	assert_non_null(strstr(site->told.data, "logo:logo.png "));
	write_file(site, "docs/lost.txt", "found");
	assert_non_null(strstr(told_after(site, 60000), "docs:lost.txt "));
}

static void test_limit(void **state)
{
	struct site *site = *state;

	start(site, 1); /* the tree's own directory alone */
	write_file(site, "docs/b/c.txt", "unnoticed");
	assert_string_equal(told(site), "");
	write_file(site, "docs/a.txt", "a2");
	assert_string_equal(told(site), "docs:a.txt docs:b/c.txt "); /* for the walk saw it */
}

/* A walk that fails changes nothing, is told in the log, and comes again. */
static void test_no_memory(void **state)
{
	struct site *site = *state;
	struct err err;
	bool failed = true;

	for (long nth = 0; failed; nth++) {
		long before;

		watch_free(&site->watch);
		before = mem_fault_live();
		mem_fault_at(nth, 1);
		err = (struct err){0};
		site->watch = watch_new(100, &err);
		if (site->watch)
			watch_add(site->watch, &site->docs, "docs", &err);
		failed = mem_fault_end();
		assert_int_equal(err.code, failed ? ERR_NOMEM : ERR_NONE);
		if (failed)
			watch_free(&site->watch);
		if (failed && mem_fault_live() != before)
			fail_msg("allocation %ld: %ld leaked", nth, mem_fault_live() - before);
	}
	told(site);
	failed = true;
	for (long nth = 0; failed; nth++) {
		const char *got;

		write_file(site, "docs/a.txt", "again");
		mem_fault_at(nth, 1);
		got = told(site);
		failed = mem_fault_end();
		if (failed)
			got = told_after(site, WATCH_CHECK_MS);
		assert_string_equal(got, "docs:a.txt ");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_changes, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_replaced, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_directories, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_root, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_delay, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_overflow, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_limit, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_no_memory, site_init, site_release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
