/* fcgi/filetree.c: what of a directory is there, for whoever lists it, reads it or guesses at it. */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fcgi/filetree.h"
#include "tests/lib/scratch.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static const struct slice nothing = {NULL, 0};

struct site {
	struct scratch scratch;
	struct filetree tree;
};

static int site_init(void **state)
{
	struct site *site = test_calloc(1, sizeof(*site));

	scratch_init(&site->scratch);
	scratch_write(&site->scratch, "docs/a.txt", SLICE("A"));
	scratch_write(&site->scratch, "docs/b/c.md", SLICE("C"));
	scratch_write(&site->scratch, "docs/b/d/e.txt", SLICE("E"));
	scratch_write(&site->scratch, "docs/b-file.txt", SLICE("minus sorts before slash"));
	scratch_write(&site->scratch, "docs/space %41 \xc3\xa9?#.txt", SLICE("odd"));
	scratch_write(&site->scratch, "docs/.hidden", SLICE("H"));
	scratch_write(&site->scratch, "docs/.git/config", SLICE("G"));
	scratch_write(&site->scratch, "docs/new\nline", SLICE("N"));
	scratch_write(&site->scratch, "docs/\xff.txt", SLICE("X"));
	scratch_write(&site->scratch, "secret", SLICE("S"));
	assert_int_equal(mkfifo(scratch_path(&site->scratch, "docs/fifo"), 0600), 0);
	assert_int_equal(symlink("../secret", scratch_path(&site->scratch, "docs/out")), 0);
	assert_int_equal(symlink("a.txt", scratch_path(&site->scratch, "docs/in")), 0);
	assert_int_equal(symlink("..", scratch_path(&site->scratch, "docs/up")), 0);
	assert_int_equal(symlink(".", scratch_path(&site->scratch, "docs/loop")), 0);
	site->tree.dir = strdup(scratch_path(&site->scratch, "docs"));
	site->tree.entries_max = 1000;
	*state = site;
	return 0;
}

static int site_release(void **state)
{
	struct site *site = *state;

	free(site->tree.dir);
	scratch_release(&site->scratch);
	test_free(site);
	return 0;
}

static enum err_code try_open(const struct filetree *tree, struct slice path)
{
	struct err err = {0};
	struct stat st;
	int fd = filetree_open(tree, path, &st, &err);

	if (fd >= 0)
		close(fd);
	assert_int_equal(fd < 0, err.code != ERR_NONE);
	return err.code;
}

static void test_open(void **state)
{
	static const struct {
		struct slice path;
		bool yes;
	} cases[] = {
	    {TEXT("a.txt"), true},
	    {TEXT("b/c.md"), true},
	    {TEXT("b/d/e.txt"), true},
	    {TEXT("space %41 \xc3\xa9?#.txt"), true},
	    {TEXT(""), false},
	    {TEXT("."), false},
	    {TEXT(".."), false},
	    {TEXT("/"), false},
	    {TEXT("b"), false},
	    {TEXT("b/"), false},
	    {TEXT("a.txt/"), false},
	    {TEXT("/a.txt"), false},
	    {TEXT("./a.txt"), false},
	    {TEXT("b//c.md"), false},
	    {TEXT("b/../a.txt"), false},
	    {TEXT("b/./c.md"), false},
	    {TEXT("../secret"), false},
	    {TEXT("b/../../secret"), false},
	    {TEXT("../docs/a.txt"), false},
	    {TEXT("a.txt\0.md"), false},
	    {TEXT("out"), false},
	    {TEXT("in"), false},
	    {TEXT("up/secret"), false},
	    {TEXT("up/docs/a.txt"), false},
	    {TEXT("loop/a.txt"), false},
	    {TEXT("fifo"), false},
	    {TEXT(".hidden"), false},
	    {TEXT(".git/config"), false},
	    {TEXT("new\nline"), false},
	    {TEXT("\xff.txt"), false},
	    {TEXT("none"), false},
	    {TEXT("none/a"), false},
	    {TEXT("a.txt/b"), false},
	};
	struct site *site = *state;
	struct slice deep;
	char text[5000];

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		enum err_code code = try_open(&site->tree, cases[i].path);

		if (code != (cases[i].yes ? ERR_NONE : ERR_NOT_FOUND))
			fail_msg("%.*s: %s", (int)cases[i].path.len, cases[i].path.p, err_name(code));
	}
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 2 ? '/' : 'x';
	deep = (struct slice){text, sizeof(text)};
	assert_int_equal(try_open(&site->tree, deep), ERR_NOT_FOUND);
	deep.len = 2 * FILETREE_DEPTH_MAX + 1;
	assert_true(filetree_has_file(&site->tree, deep));
	deep.len += 2;
	assert_false(filetree_has_file(&site->tree, deep));
	memset(text, 'y', sizeof(text));
	deep.len = 256;
	assert_int_equal(try_open(&site->tree, deep), ERR_NOT_FOUND);
}

static void test_choice(void **state)
{
	struct site *site = *state;
	struct filetree tree = site->tree;
	char md[] = "*.md", e[] = "b/*/e.*", only[] = "in", nowhere[] = "/nonexistent";
	char *globs[] = {md, e, NULL};

	tree.hidden = true;
	assert_int_equal(try_open(&tree, SLICE(".hidden")), ERR_NONE);
	assert_int_equal(try_open(&tree, SLICE(".git/config")), ERR_NONE);
	assert_int_equal(try_open(&tree, SLICE("../secret")), ERR_NOT_FOUND);
	assert_int_equal(try_open(&tree, SLICE("./a.txt")), ERR_NOT_FOUND);
	tree.globs = globs;
	assert_int_equal(try_open(&tree, SLICE("b/c.md")), ERR_NONE);
	assert_int_equal(try_open(&tree, SLICE("b/d/e.txt")), ERR_NONE);
	assert_int_equal(try_open(&tree, SLICE("a.txt")), ERR_NOT_FOUND);
	assert_true(filetree_has_dir(&tree, SLICE("b/d")));
	assert_false(filetree_has_dir(&tree, SLICE("b/..")));
	tree.only = only; /* a link, but the configuration says so */
	assert_int_equal(try_open(&tree, SLICE("in")), ERR_NONE);
	assert_int_equal(try_open(&tree, SLICE("a.txt")), ERR_NOT_FOUND);
	assert_false(filetree_has_dir(&tree, SLICE("b")));
	tree.only = NULL;
	tree.dir = nowhere;
	assert_int_equal(try_open(&tree, SLICE("b/c.md")), ERR_NOT_FOUND);
}

/* Paths with a newline each; stops after the max-th file. */
struct seen {
	struct buf paths;
	bool is_walk; /* directories are left out */
	size_t count, max;
	char last[256];
};

static int see(void *arg, const struct filetree_entry *entry, struct err *err)
{
	struct seen *seen = arg;

	(void)err;
	if (seen->is_walk && !entry->st)
		return 0;
	assert_true(faccessat(entry->dir_fd, entry->name, F_OK, 0) == 0);
	buf_addf(&seen->paths, "%s%s\n", entry->path, entry->st ? "" : "/");
	snprintf(seen->last, sizeof(seen->last), "%s", entry->path);
	return ++seen->count == seen->max;
}

static void test_walk(void **state)
{
	static const struct {
		const char *after, *want;
	} cases[] = {
	    {NULL, "a.txt\nb/c.md\nb/d/e.txt\nb-file.txt\nspace %41 \xc3\xa9?#.txt\n"},
	    {"a.txt", "b/c.md\nb/d/e.txt\nb-file.txt\nspace %41 \xc3\xa9?#.txt\n"},
	    {"a.txt/x", "b/c.md\nb/d/e.txt\nb-file.txt\nspace %41 \xc3\xa9?#.txt\n"},
	    {"aa", "b/c.md\nb/d/e.txt\nb-file.txt\nspace %41 \xc3\xa9?#.txt\n"},
	    {"b", "b/c.md\nb/d/e.txt\nb-file.txt\nspace %41 \xc3\xa9?#.txt\n"},
	    {"b/c.md", "b/d/e.txt\nb-file.txt\nspace %41 \xc3\xa9?#.txt\n"},
	    {"b/c.md2", "b/d/e.txt\nb-file.txt\nspace %41 \xc3\xa9?#.txt\n"},
	    {"b/d/f", "b-file.txt\nspace %41 \xc3\xa9?#.txt\n"},
	    {"b-file.txt", "space %41 \xc3\xa9?#.txt\n"},
	    {"z/../..", ""},
	};
	struct site *site = *state;
	struct seen seen = {.is_walk = true};
	struct err err = {0};

	buf_init(&seen.paths, 4096);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		buf_clear(&seen.paths);
		assert_int_equal(filetree_walk(&site->tree, slice_str(cases[i].after), see, &seen, &err), 0);
		if (!slice_is(buf_slice(&seen.paths), cases[i].want))
			fail_msg("after %s: %s", cases[i].after, seen.paths.data);
	}
	buf_clear(&seen.paths); /* one by one it is the same */
	seen.count = 0;
	for (size_t n = 0; n < 6; n++) {
		struct slice after = n ? slice_str(seen.last) : nothing;

		seen.max = seen.count + 1;
		assert_int_equal(filetree_walk(&site->tree, after, see, &seen, &err), 0);
	}
	assert_string_equal(seen.paths.data, cases[0].want);
	buf_release(&seen.paths);
}

static void test_walk_bounded(void **state)
{
	struct site *site = *state;
	struct filetree tree = site->tree;
	struct seen seen = {.is_walk = true};
	struct err err = {0};
	struct buf path;

	buf_init(&seen.paths, 4096);
	tree.entries_max = 3;
	assert_int_equal(filetree_walk(&tree, nothing, see, &seen, &err), 0);
	assert_true(seen.count <= 3);
	tree.entries_max = 1000;
	buf_clear(&seen.paths);
	buf_init(&path, 4096);
	buf_adds(&path, "docs/");
	for (int i = 0; i < FILETREE_DEPTH_MAX; i++)
		buf_adds(&path, "0/");
	scratch_write(&site->scratch, (buf_adds(&path, "seen"), path.data), SLICE(""));
	path.len -= strlen("seen");
	scratch_write(&site->scratch, (buf_adds(&path, "0/too-deep"), path.data), SLICE(""));
	assert_int_equal(filetree_walk(&tree, nothing, see, &seen, &err), 0);
	assert_non_null(strstr(seen.paths.data, "0/seen\na.txt\n"));
	assert_null(strstr(seen.paths.data, "too-deep"));
	buf_release(&path);
	buf_release(&seen.paths);
}

static void test_list(void **state)
{
	struct site *site = *state;
	struct seen seen = {.is_walk = false};
	struct err err = {0};

	buf_init(&seen.paths, 4096);
	assert_int_equal(filetree_list(&site->tree, nothing, see, &seen, &err), 0);
	assert_string_equal(seen.paths.data, "a.txt\nb/\nb-file.txt\nspace %41 \xc3\xa9?#.txt\n");
	buf_clear(&seen.paths);
	assert_int_equal(filetree_list(&site->tree, SLICE("b"), see, &seen, &err), 0);
	assert_string_equal(seen.paths.data, "b/c.md\nb/d/\n");
	buf_clear(&seen.paths);
	assert_int_equal(filetree_list(&site->tree, SLICE("b/.."), see, &seen, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_int_equal(filetree_list(&site->tree, SLICE("up"), see, &seen, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_int_equal(filetree_list(&site->tree, SLICE("a.txt"), see, &seen, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	buf_release(&seen.paths);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_open, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_choice, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_walk, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_walk_bounded, site_init, site_release),
	    cmocka_unit_test_setup_teardown(test_list, site_init, site_release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
