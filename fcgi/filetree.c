#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "fcgi/filetree.h"
#include "common/banned.h"

#define PATH_LEN_MAX 4096

struct name {
	char *text; /* owned */
	bool is_dir;
};

/* Names of a directory, sorted. */
struct names {
	struct name *items; /* owned */
	size_t count, cap;
};

struct walk {
	const struct filetree *tree;
	filetree_add *add;
	void *arg;
	bool is_deep; /* go into directories */
	size_t depth;
	size_t left;     /* names that may still be read */
	struct buf path; /* of the directory that is being read, with a slash at its end unless it is the tree's */
};

void filetree_release(struct filetree *tree)
{
	for (char **glob = tree->globs; glob && *glob; glob++)
		mem_free(*glob);
	mem_free(tree->globs);
	mem_free(tree->only);
	mem_free(tree->dir);
	*tree = (struct filetree){0};
}

/* ---- names and paths ---- */

static bool has_name(const struct filetree *tree, struct slice name)
{
	if (name.len == 0 || name.len > NAME_MAX || slice_is(name, ".") || slice_is(name, ".."))
		return false;
	if (name.p[0] == '.' && !tree->hidden)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f || name.p[i] == '/')
			return false;
	}
	return utf8_is_valid(name);
}

/* Cuts the first name off the front of *path, and the slash behind it. *more: there was one. */
static struct slice cut_name(struct slice *path, bool *more)
{
	const char *slash = path->len ? memchr(path->p, '/', path->len) : NULL;
	struct slice name = {path->p, slash ? (size_t)(slash - path->p) : path->len};
	size_t skip = name.len + (slash != NULL);

	path->p += skip;
	path->len -= skip;
	*more = slash != NULL;
	return name;
}

static bool has_path(const struct filetree *tree, struct slice path)
{
	size_t depth = 0;
	bool more;

	if (path.len >= PATH_LEN_MAX)
		return false;
	do {
		if (!has_name(tree, cut_name(&path, &more)))
			return false;
	} while (more && ++depth <= FILETREE_DEPTH_MAX);
	return !more;
}

static bool has_match(const struct filetree *tree, struct slice path)
{
	char text[PATH_LEN_MAX];
	const char *name;

	if (!tree->globs)
		return true;
	memcpy(text, path.p, path.len); /* shorter than that: has_path() */
	text[path.len] = '\0';
	name = strrchr(text, '/');
	name = name ? name + 1 : text;
	for (char **glob = tree->globs; *glob; glob++) {
		bool is_path = strchr(*glob, '/');

		if (fnmatch(*glob, is_path ? text : name, FNM_PATHNAME) == 0)
			return true;
	}
	return false;
}

bool filetree_has_file(const struct filetree *tree, struct slice path)
{
	return tree->only ? slice_is(path, tree->only) : has_path(tree, path) && has_match(tree, path);
}

bool filetree_has_dir(const struct filetree *tree, struct slice path)
{
	return !tree->only && has_path(tree, path);
}

/* ---- opening ---- */

/* Clients read this: it says the same whatever the reason. */
static int not_found(struct err *err)
{
	return err_set(err, ERR_NOT_FOUND, "no such file");
}

/* Only that the machine is out of something is another matter. */
static int open_failed(struct err *err)
{
	switch (errno) {
	case ENOENT:
	case ENOTDIR:
	case ELOOP:
	case EACCES:
	case EPERM:
	case ENXIO:
	case ENODEV:
	case ENAMETOOLONG:
		return not_found(err);
	default:
		return err_sys(err, "open a file of a resource");
	}
}

static int open_root(const struct filetree *tree, struct err *err)
{
	int fd = open(tree->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? open_failed(err) : fd;
}

/* Takes dir_fd. path was checked. flags are for the last name, the others are directories. */
static int open_below(int dir_fd, struct slice path, int flags, struct err *err)
{
	bool more = true;

	while (more && dir_fd >= 0) {
		struct slice name = cut_name(&path, &more);
		char text[NAME_MAX + 1];
		int fd;

		memcpy(text, name.p, name.len);
		text[name.len] = '\0';
		fd = openat(dir_fd, text, O_NOFOLLOW | O_CLOEXEC | (more ? O_RDONLY | O_DIRECTORY : flags));
		if (fd < 0)
			open_failed(err);
		close(dir_fd);
		dir_fd = fd;
	}
	return dir_fd;
}

int filetree_open(const struct filetree *tree, struct slice path, struct stat *st, struct err *err)
{
	int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, fd; /* a FIFO may lie there */

	if (!filetree_has_file(tree, path))
		return not_found(err);
	fd = open_root(tree, err);
	if (fd >= 0 && tree->only) {
		int dir_fd = fd;

		fd = openat(dir_fd, tree->only, flags); /* a link is as good as what the configuration names */
		if (fd < 0)
			open_failed(err);
		close(dir_fd);
	} else {
		fd = open_below(fd, path, flags, err);
	}
	if (fd < 0)
		return -1;
	if (fstat(fd, st) == 0 && S_ISREG(st->st_mode))
		return fd;
	close(fd);
	return not_found(err);
}

/* ---- reading directories ---- */

static void names_release(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		mem_free(names->items[i].text);
	mem_free(names->items);
}

static int names_add(struct names *names, const char *text, bool is_dir, struct err *err)
{
	if (names->count == names->cap) {
		size_t cap = names->cap ? 2 * names->cap : 64;
		struct name *items = mem_realloc(names->items, cap * sizeof(*items));

		if (!items)
			return err_set(err, ERR_NOMEM, "%zu names of files", cap);
		names->items = items;
		names->cap = cap;
	}
	names->items[names->count] = (struct name){mem_dup(text, strlen(text)), is_dir};
	if (!names->items[names->count].text)
		return err_set(err, ERR_NOMEM, "a file's name");
	names->count++;
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

/* False: neither a directory nor a regular file. */
static bool find_kind(int dir_fd, const struct dirent *entry, bool *is_dir)
{
	struct stat st;

	if (entry->d_type == DT_UNKNOWN) {
		if (fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
			return false;
		*is_dir = S_ISDIR(st.st_mode);
		return *is_dir || S_ISREG(st.st_mode);
	}
	*is_dir = entry->d_type == DT_DIR;
	return *is_dir || entry->d_type == DT_REG;
}

/* What stands in the way of an owner who wonders why a file can't be seen. A walk can say it for each client. */
static void tell(const struct walk *w, const char *event, const char *name)
{
	static struct log_rate rate;
	char dir[512], path[512], text[512];
	unsigned dropped;

	if (log_rate_ok(&rate, 10, 60000, &dropped))
		LOG(WARN, event, "dir=\"%s\" path=\"%s\" name=\"%s\" dropped=%u",
		    log_quote(dir, sizeof(dir), slice_str(w->tree->dir)),
		    log_quote(path, sizeof(path), buf_slice(&w->path)), log_quote(text, sizeof(text), slice_str(name)),
		    dropped);
}

/* Those that can be in the tree, as far as the walk may still read. */
static int read_names(struct walk *w, DIR *dir, struct names *names, struct err *err)
{
	const struct dirent *entry;
	int ret = 0;

	while (ret == 0 && (errno = 0, entry = readdir(dir)) != NULL) {
		bool is_dir;

		if (w->left == 0) {
			tell(w, "file.too_many", entry->d_name);
			break;
		}
		w->left--;
		if (entry->d_name[0] == '.' && !w->tree->hidden)
			continue;
		if (!find_kind(dirfd(dir), entry, &is_dir))
			continue;
		if (has_name(w->tree, slice_str(entry->d_name)))
			ret = names_add(names, entry->d_name, is_dir, err);
		else if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			tell(w, "file.bad_name", entry->d_name);
	}
	if (ret == 0 && errno && !entry)
		ret = err_sys(err, "read directory %s/%s", w->tree->dir, w->path.data ? w->path.data : "");
	if (ret == 0 && names->count)
		qsort(names->items, names->count, sizeof(*names->items), compare_names);
	return ret;
}

/* ---- walking ---- */

static int walk_dir(struct walk *w, int fd, struct slice after, struct err *err);

/* A directory of the directory dir_fd. One that can't be opened is gone by now, or not for us: it is not there. */
static int walk_into(struct walk *w, int dir_fd, const char *name, struct slice after, struct err *err)
{
	struct err why = {0};
	int fd, ret;

	if (w->depth == FILETREE_DEPTH_MAX) {
		tell(w, "file.too_deep", name);
		return 0;
	}
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		open_failed(&why);
		return why.code == ERR_NOT_FOUND ? 0 : err_set(err, why.code, "%s", why.msg);
	}
	buf_adds(&w->path, "/");
	w->depth++;
	ret = walk_dir(w, fd, after, err);
	w->depth--;
	return ret;
}

static int walk_name(struct walk *w, int dir_fd, const struct name *name, struct slice after, struct err *err)
{
	struct filetree_entry entry = {.path = w->path.data, .name = name->text, .dir_fd = dir_fd};
	struct stat st;
	int ret;

	if (name->is_dir) {
		ret = w->add(w->arg, &entry, err);
		return ret || !w->is_deep ? ret : walk_into(w, dir_fd, name->text, after, err);
	}
	if (!filetree_has_file(w->tree, buf_slice(&w->path)) || faccessat(dir_fd, name->text, R_OK, AT_EACCESS) ||
	    fstatat(dir_fd, name->text, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
		return 0;
	entry.st = &st;
	return w->add(w->arg, &entry, err);
}

static int compare_slices(struct slice a, struct slice b)
{
	int order = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);

	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int walk_names(struct walk *w, int dir_fd, const struct names *names, struct slice after, struct err *err)
{
	const struct slice none = {NULL, 0};
	size_t path_len = w->path.len;
	struct slice first, rest = after;
	bool more;
	int ret = 0;

	first = cut_name(&rest, &more);
	for (size_t i = 0; i < names->count && ret == 0; i++) {
		const struct name *name = &names->items[i];
		int order = after.p ? compare_slices(slice_str(name->text), first) : 1;

		if (order < 0 || (order == 0 && !name->is_dir))
			continue;
		w->path.len = path_len;
		buf_adds(&w->path, name->text);
		ret = buf_check(&w->path, err);
		if (ret == 0)
			ret = walk_name(w, dir_fd, name, order == 0 && more ? rest : none, err);
	}
	return ret;
}

/* Takes fd. after is relative to this directory. */
static int walk_dir(struct walk *w, int fd, struct slice after, struct err *err)
{
	struct names names = {0};
	DIR *dir = fdopendir(fd);
	int ret;

	if (!dir) {
		err_sys(err, "read a directory of %s", w->tree->dir);
		close(fd);
		return -1;
	}
	ret = read_names(w, dir, &names, err);
	if (ret == 0)
		ret = walk_names(w, fd, &names, after, err);
	names_release(&names);
	closedir(dir);
	return ret;
}

/* Takes fd, the directory at path. */
static int walk(struct walk *w, int fd, struct slice path, struct slice after, struct err *err)
{
	int ret = -1;

	if (fd < 0)
		return -1;
	w->left = w->tree->entries_max;
	buf_init(&w->path, (FILETREE_DEPTH_MAX + 1) * (NAME_MAX + 1) + PATH_LEN_MAX);
	buf_add_slice(&w->path, path);
	if (path.len)
		buf_adds(&w->path, "/");
	if (buf_check(&w->path, err))
		close(fd);
	else
		ret = walk_dir(w, fd, after, err);
	buf_release(&w->path);
	return ret < 0 ? -1 : 0;
}

int filetree_walk(const struct filetree *tree, struct slice after, filetree_add *add, void *arg, struct err *err)
{
	struct walk w = {.tree = tree, .add = add, .arg = arg, .is_deep = true};

	return walk(&w, open_root(tree, err), (struct slice){NULL, 0}, after, err);
}

int filetree_list(const struct filetree *tree, struct slice path, filetree_add *add, void *arg, struct err *err)
{
	struct walk w = {.tree = tree, .add = add, .arg = arg};
	int fd;

	if (path.len && !filetree_has_dir(tree, path))
		return not_found(err);
	fd = open_root(tree, err);
	if (path.len && fd >= 0)
		fd = open_below(fd, path, O_RDONLY | O_DIRECTORY, err);
	return walk(&w, fd, path, (struct slice){NULL, 0}, err);
}
