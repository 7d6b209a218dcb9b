#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "runner/watch.h"
#include "common/banned.h"

#define SIGNS_MASK                                                                                                     \
	(IN_ONLYDIR | IN_EXCL_UNLINK | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY |               \
	    IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)
#define READS_MAX    64       /* buffers of signs that one turn takes */
#define RACY_NS      50000000 /* a file younger than this may change without its time changing */
#define WALK_SHARE   10
#define PATH_LEN_MAX 8192

struct file {
	char *path; /* owned */
	struct timespec mtime;
	off_t size;
	ino_t ino;
	dev_t dev;
	bool is_racy; /* was so young that its next change may not show */
};

/* Files in the order of filetree_walk(). */
struct snapshot {
	struct file *items;
	size_t count, cap;
};

struct tree {
	const struct filetree *tree; /* borrowed */
	const void *owner;
	struct snapshot files;
	dev_t root_dev; /* the directory that was walked; both 0: there was none */
	ino_t root_ino;
	uint64_t due_ms;   /* when to walk it; 0: nothing happened */
	uint64_t quiet_ms; /* not before */
};

/* A directory of a tree. */
struct row {
	int wd;
	unsigned round; /* in which it was last seen */
	size_t tree;
};

struct watch {
	int fd;
	size_t dirs_max;
	struct tree *trees;
	size_t trees_count;
	struct row *rows; /* sorted by wd; dirs_max of them have room */
	size_t rows_count;
	unsigned round;
	bool is_full; /* it was said already */
	uint64_t check_ms;
};

struct watch *watch_new(size_t dirs_max, struct err *err)
{
	struct watch *w = mem_alloc(1, sizeof(*w));

	if (!w) {
		err_set(err, ERR_NOMEM, "watching files");
		return NULL;
	}
	w->dirs_max = dirs_max;
	w->rows = mem_alloc(dirs_max + 1, sizeof(*w->rows));
	w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->fd >= 0 && w->rows)
		return w;
	if (w->fd < 0)
		err_sys(err, "inotify_init1");
	else
		err_set(err, ERR_NOMEM, "room for %zu watched directories", dirs_max);
	watch_free(&w);
	return NULL;
}

static void snapshot_release(struct snapshot *s)
{
	for (size_t i = 0; i < s->count; i++)
		mem_free(s->items[i].path);
	mem_free(s->items);
	*s = (struct snapshot){0};
}

void watch_free(struct watch **wp)
{
	struct watch *w = *wp;

	if (!w)
		return;
	*wp = NULL;
	for (size_t i = 0; i < w->trees_count; i++)
		snapshot_release(&w->trees[i].files);
	if (w->fd >= 0)
		close(w->fd);
	mem_free(w->trees);
	mem_free(w->rows);
	mem_free(w);
}

/* ---- directories ---- */

/* The first row of wd, or where it would stand. */
static size_t find_row(const struct watch *w, int wd)
{
	size_t low = 0, high = w->rows_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (w->rows[mid].wd < wd)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void remove_row(struct watch *w, size_t i)
{
	memmove(&w->rows[i], &w->rows[i + 1], (w->rows_count - i - 1) * sizeof(*w->rows));
	w->rows_count--;
}

static bool has_wd(const struct watch *w, size_t i, int wd)
{
	return i < w->rows_count && w->rows[i].wd == wd;
}

/* Every unnoticed change has one of these as its reason; the first one is said. */
static void say_full(struct watch *w, const struct tree *t, const char *path, const char *why)
{
	char dir[512], text[512];

	if (w->is_full)
		return;
	w->is_full = true;
	LOG(WARN, "watch.full", "dir=\"%s\" path=\"%s\" watched=%zu why=\"%s\" effect=\"changes go unnoticed\"",
	    log_quote(dir, sizeof(dir), slice_str(t->tree->dir)), log_quote(text, sizeof(text), slice_str(path)),
	    w->rows_count, why);
}

static void watch_dir(struct watch *w, struct tree *t, const char *path)
{
	uint32_t mask = SIGNS_MASK | (*path ? IN_DONT_FOLLOW : 0);
	size_t tree = (size_t)(t - w->trees), i;
	char full[PATH_LEN_MAX];
	int wd;

	if ((size_t)snprintf(full, sizeof(full), "%s/%s", t->tree->dir, path) >= sizeof(full))
		return;
	if (w->rows_count == w->dirs_max) {
		say_full(w, t, path, "file_watches_max");
		return;
	}
	wd = inotify_add_watch(w->fd, full, mask); /* the same one for a directory that is watched already */
	if (wd < 0) {
		if (errno == ENOSPC || errno == ENOMEM)
			say_full(w, t, path, "the kernel's fs.inotify.max_user_watches");
		return;
	}
	for (i = find_row(w, wd); has_wd(w, i, wd); i++) {
		if (w->rows[i].tree == tree) {
			w->rows[i].round = w->round;
			return;
		}
	}
	memmove(&w->rows[i + 1], &w->rows[i], (w->rows_count - i) * sizeof(*w->rows));
	w->rows[i] = (struct row){wd, w->round, tree};
	w->rows_count++;
}

/* Directories of the tree that this round didn't see are not its any more. */
static void sweep(struct watch *w, const struct tree *t)
{
	for (size_t i = w->rows_count; i-- > 0;) {
		int wd = w->rows[i].wd;

		if (w->rows[i].tree != (size_t)(t - w->trees) || w->rows[i].round == w->round)
			continue;
		remove_row(w, i);
		if (!has_wd(w, find_row(w, wd), wd))
			inotify_rm_watch(w->fd, wd);
	}
}

/* ---- walks ---- */

struct walk {
	struct watch *w;
	struct tree *t;
	struct timespec start; /* as files have their times */
};

static bool is_racy(struct timespec mtime, struct timespec now)
{
	int64_t age_s = (int64_t)now.tv_sec - mtime.tv_sec;

	return age_s >= -1 && age_s <= 1 && llabs(age_s * 1000000000 + now.tv_nsec - mtime.tv_nsec) < RACY_NS;
}

static int add_file(struct walk *walk, const char *path, const struct stat *st, struct err *err)
{
	struct snapshot *s = &walk->t->files;
	struct file *file;

	if (s->count == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 16;
		struct file *items = mem_realloc(s->items, cap * sizeof(*items));

		if (!items)
			return err_set(err, ERR_NOMEM, "%zu files", cap);
		s->items = items;
		s->cap = cap;
	}
	file = &s->items[s->count];
	*file = (struct file){mem_dup(path, strlen(path)), st->st_mtim, st->st_size, st->st_ino, st->st_dev,
	    is_racy(st->st_mtim, walk->start)};
	if (!file->path)
		return err_set(err, ERR_NOMEM, "the path of a file");
	s->count++;
	return 0;
}

/* A directory is watched before it is read, so that nothing falls in between. */
static int see(void *arg, const struct filetree_entry *entry, struct err *err)
{
	struct walk *walk = arg;

	if (entry->st)
		return add_file(walk, entry->path, entry->st, err);
	watch_dir(walk->w, walk->t, entry->path);
	return 0;
}

static int see_only(struct walk *walk, struct err *err)
{
	const struct filetree *tree = walk->t->tree;
	struct stat st;
	int fd = filetree_open(tree, slice_str(tree->only), &st, err);

	if (fd < 0)
		return -1;
	close(fd);
	return add_file(walk, tree->only, &st, err);
}

static void find_root(const struct tree *t, dev_t *dev, ino_t *ino)
{
	struct stat st;
	bool yes = stat(t->tree->dir, &st) == 0;

	*dev = yes ? st.st_dev : 0;
	*ino = yes ? st.st_ino : 0;
}

/* Names hold no control characters: with the slash below all others paths sort as filetree_walk() goes. */
static int compare_paths(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (*a == '/' ? 1 : (unsigned char)*a) - (*b == '/' ? 1 : (unsigned char)*b);
}

static bool is_same(const struct file *a, const struct file *b)
{
	return !a->is_racy && a->size == b->size && a->ino == b->ino && a->dev == b->dev &&
	       a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec;
}

static void tell(const struct tree *t, const struct snapshot *was, watch_changed *changed, void *arg)
{
	const struct snapshot *is = &t->files;
	bool list_changed = false;
	size_t i = 0, k = 0;

	while (i < was->count || k < is->count) {
		int order = i == was->count  ? 1
			    : k == is->count ? -1
					     : compare_paths(was->items[i].path, is->items[k].path);
		const char *path = order <= 0 ? was->items[i].path : is->items[k].path;

		list_changed |= order != 0;
		if (order != 0 || !is_same(&was->items[i], &is->items[k]))
			changed(arg, t->owner, slice_str(path));
		i += order <= 0;
		k += order >= 0;
	}
	if (list_changed)
		changed(arg, t->owner, (struct slice){NULL, 0});
}

/* Sees what is there now; *was is what was there before. After a failure nothing has changed. */
static int walk_tree(struct watch *w, struct tree *t, struct snapshot *was, struct err *err)
{
	struct walk walk = {.w = w, .t = t};
	struct err why = {0};
	int ret;

	*was = t->files;
	t->files = (struct snapshot){0};
	w->round++;
	clock_gettime(CLOCK_REALTIME, &walk.start);
	find_root(t, &t->root_dev, &t->root_ino);
	watch_dir(w, t, "");
	if (t->tree->only)
		ret = see_only(&walk, &why);
	else
		ret = filetree_walk(t->tree, (struct slice){NULL, 0}, see, &walk, &why);
	if (ret && why.code != ERR_NOT_FOUND) {
		snapshot_release(&t->files);
		t->files = *was;
		*was = (struct snapshot){0};
		return err_set(err, why.code, "%s", why.msg);
	}
	sweep(w, t);
	return 0;
}

int watch_add(struct watch *w, const struct filetree *tree, const void *owner, struct err *err)
{
	struct tree *trees = mem_realloc(w->trees, (w->trees_count + 1) * sizeof(*trees));
	struct snapshot none;

	if (!trees)
		return err_set(err, ERR_NOMEM, "a tree of files");
	w->trees = trees;
	trees[w->trees_count] = (struct tree){.tree = tree, .owner = owner};
	return walk_tree(w, &trees[w->trees_count++], &none, err);
}

static void walk_and_tell(struct watch *w, struct tree *t, uint64_t now, watch_changed *changed, void *arg)
{
	uint64_t start = now_ms();
	struct err err = {0};
	struct snapshot was;

	t->due_ms = 0;
	if (walk_tree(w, t, &was, &err)) {
		LOG(WARN, "watch.failed", "dir=\"%s\" why=\"%s\"", t->tree->dir, err.msg);
		t->due_ms = now + WATCH_CHECK_MS;
		return;
	}
	tell(t, &was, changed, arg);
	snapshot_release(&was);
	t->quiet_ms = now + WALK_SHARE * (now_ms() - start);
}

/* ---- signs ---- */

static void make_due(struct tree *t, uint64_t now)
{
	uint64_t due = now + WATCH_DELAY_MS;

	if (!t->due_ms)
		t->due_ms = due > t->quiet_ms ? due : t->quiet_ms;
}

static bool concerns(const struct filetree *tree, struct slice name)
{
	return name.len == 0 || (tree->only ? slice_is(name, tree->only) : filetree_has_dir(tree, name));
}

static void take_sign(struct watch *w, const struct inotify_event *sign, uint64_t now)
{
	struct slice name = slice_str(sign->len ? sign->name : NULL);
	size_t i = find_row(w, sign->wd);

	if (sign->mask & IN_Q_OVERFLOW) {
		for (size_t k = 0; k < w->trees_count; k++)
			make_due(&w->trees[k], now);
	} else if (sign->mask & IN_IGNORED) {
		while (has_wd(w, i, sign->wd))
			remove_row(w, i);
	} else {
		for (; has_wd(w, i, sign->wd); i++) {
			struct tree *t = &w->trees[w->rows[i].tree];

			if (concerns(t->tree, name))
				make_due(t, now);
		}
	}
}

static void take_signs(struct watch *w, uint64_t now)
{
	_Alignas(struct inotify_event) char bytes[16384];

	for (int n = 0; n < READS_MAX; n++) {
		ssize_t len = read(w->fd, bytes, sizeof(bytes));

		for (ssize_t at = 0; at < len;) {
			const struct inotify_event *sign = (const void *)(bytes + at);

			take_sign(w, sign, now);
			at += (ssize_t)(sizeof(*sign) + sign->len);
		}
		if (len <= 0)
			return; /* EAGAIN: no more */
	}
}

/* What gives no sign: another directory at the same path, and the file behind a link. */
static void check(struct tree *t, uint64_t now)
{
	dev_t dev;
	ino_t ino;

	find_root(t, &dev, &ino);
	if (t->tree->only || dev != t->root_dev || ino != t->root_ino)
		make_due(t, now);
}

int watch_fd(const struct watch *w)
{
	return w->fd;
}

int watch_wait_ms(const struct watch *w, uint64_t now)
{
	uint64_t due = w->check_ms;

	if (!w->trees_count)
		return -1;
	for (size_t i = 0; i < w->trees_count; i++) {
		if (w->trees[i].due_ms && w->trees[i].due_ms < due)
			due = w->trees[i].due_ms;
	}
	return due > now ? (int)(due - now) : 0;
}

void watch_take(struct watch *w, uint64_t now, watch_changed *changed, void *arg)
{
	take_signs(w, now);
	if (now >= w->check_ms) {
		for (size_t i = 0; i < w->trees_count; i++)
			check(&w->trees[i], now);
		w->check_ms = now + WATCH_CHECK_MS;
	}
	for (size_t i = 0; i < w->trees_count; i++) {
		if (w->trees[i].due_ms && now >= w->trees[i].due_ms)
			walk_and_tell(w, &w->trees[i], now, changed, arg);
	}
}
