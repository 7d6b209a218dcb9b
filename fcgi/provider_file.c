/* Files as resources.
 *
 *   "test://logo": {"file": "logo.png"}          one file
 *   "docs:///{+path}": {"file": "/srv/docs"}     all files below a directory; the template's variable is the path
 *
 * Beside "file" a directory's definition may hold
 *   "match"       a glob or an array of them: without a slash about a file's name, with one about its path
 *   "hidden"      true: names that begin with a dot too
 *   "mime_types"  object: extension -> type, before those of fcgi/mime.c. A mime_type is that of all files
 * and both "watch": false, for files whose changes nobody shall be told.
 *
 * What is there is fcgi/filetree.h's business. A file is read as it is at that moment: nothing is kept. */
#include "config.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "common/ascii.h"
#include "common/base64.h"
#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/content.h"
#include "fcgi/filetree.h"
#include "fcgi/mime.h"
#include "fcgi/provider.h"
#include "fcgi/uri_template.h"
#include "common/banned.h"

#define SNIFF_LEN     1024 /* bytes that tell text from other files in a list */
#define EXTENSION_MAX 32
#define GLOBS_MAX     64

struct files {
	struct filetree tree;
	json_object *mime_types; /* borrowed from the configuration; NULL: none */
	bool is_watched;
};

static const char *const members[] = {"match", "hidden", "mime_types", "watch", NULL};

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "files");
}

/* ---- media types ---- */

/* By its extension; NULL: the bytes decide. Borrowed from the configuration. */
static const char *type_of_name(const struct resource *resource, const char *name)
{
	const struct files *files = resource->priv;
	const char *extension = mime_extension(name);
	char small[EXTENSION_MAX + 1];
	size_t len = strlen(extension);
	struct slice type;

	if (resource->mime_type)
		return resource->mime_type;
	if (len == 0 || len > EXTENSION_MAX)
		return NULL;
	for (size_t i = 0; i <= len; i++)
		small[i] = ascii_lower(extension[i]);
	type = jx_get_str(files->mime_types, small);
	return type.p ? type.p : mime_of_extension(small);
}

static const char *type_of_bytes(int dir_fd, const char *name)
{
	char bytes[SNIFF_LEN];
	int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	ssize_t len = fd < 0 ? 0 : read(fd, bytes, sizeof(bytes));

	if (fd >= 0)
		close(fd);
	return mime_of_text(mime_is_text((struct slice){bytes, len < 0 ? 0 : (size_t)len}, true));
}

/* ---- definitions ---- */

static int read_flag(json_object *def, const char *member, bool *flag, struct cfg *cfg, const char *pointer)
{
	json_object *val = jx_get(def, member);

	if (!jx_has(def, member))
		return 0;
	if (!json_object_is_type(val, json_type_boolean))
		return cfg_complain_at(cfg, pointer, member, "%s must be true or false", member);
	*flag = json_object_get_boolean(val);
	return 0;
}

static int read_globs(struct files *files, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	json_object *val = jx_get(def, "match");
	bool is_array = json_object_is_type(val, json_type_array);
	size_t count = is_array ? json_object_array_length(val) : 1;

	if (!jx_has(def, "match"))
		return 0;
	if (count == 0 || count > GLOBS_MAX)
		return cfg_complain_at(cfg, pointer, "match", "match must be 1 to %d globs", GLOBS_MAX);
	files->tree.globs = mem_alloc(count + 1, sizeof(*files->tree.globs));
	for (size_t i = 0; files->tree.globs && i < count; i++) {
		struct slice glob = jx_str(is_array ? json_object_array_get_idx(val, i) : val);

		if (glob.len == 0 || strlen(glob.p) != glob.len)
			return cfg_complain_at(
			    cfg, pointer, "match", "match must be a glob as in \"*.md\", or an array of them");
		files->tree.globs[i] = mem_dup(glob.p, glob.len);
		if (!files->tree.globs[i])
			return out_of_memory(err);
	}
	return files->tree.globs ? 0 : out_of_memory(err);
}

static bool is_extension(const char *text)
{
	size_t len = strcspn(text, ".ABCDEFGHIJKLMNOPQRSTUVWXYZ");

	return len > 0 && len <= EXTENSION_MAX && !text[len];
}

static int read_mime_types(struct files *files, json_object *def, struct cfg *cfg, const char *pointer)
{
	files->mime_types = jx_get_object(def, "mime_types");
	if (!files->mime_types)
		return jx_has(def, "mime_types")
			   ? cfg_complain_at(cfg, pointer, "mime_types", "mime_types must be an object")
			   : 0;
	json_object_object_foreach(files->mime_types, extension, type) {
		if (!is_extension(extension) || !jx_str(type).p || !content_is_mime_type(jx_str(type)))
			return cfg_complain_at(cfg, pointer, "mime_types",
			    "mime_types must be as in {\"md\": \"text/markdown\"}, in small letters");
	}
	return 0;
}

/* The directory, or the file and the directory that it is in. */
static int read_path(struct files *files, bool is_tree, struct slice path, const char *base)
{
	char *full = cfg_path_join(base, path.p), *slash = full ? strrchr(full, '/') : NULL;

	files->tree.dir = full;
	if (!full || is_tree)
		return full ? 0 : -1;
	files->tree.only = mem_dup(slash + 1, strlen(slash + 1));
	slash[slash == full] = '\0';
	return files->tree.only ? 0 : -1;
}

static int check_path(struct files *files, bool is_tree, struct cfg *cfg, const char *pointer)
{
	struct stat st;
	int fd;

	if (is_tree)
		return stat(files->tree.dir, &st) == 0 && S_ISDIR(st.st_mode)
			   ? 0
			   : cfg_complain_at(cfg, pointer, "file", "%s is not a directory, as a URI template needs one",
				 files->tree.dir);
	fd = filetree_open(&files->tree, slice_str(files->tree.only), &st, NULL);
	if (fd < 0)
		return cfg_complain_at(cfg, pointer, "file",
		    "%s/%s is not a file that can be read; for a directory the URI needs a variable, as in "
		    "\"docs:///{+path}\"",
		    files->tree.dir, files->tree.only);
	close(fd);
	return 0;
}

/* One file's type is told in lists, if its name has one. */
static int set_type(struct resource *resource, const char *name, struct err *err)
{
	const char *type = resource->mime_type ? NULL : type_of_name(resource, name);

	if (type)
		resource->mime_type = mem_dup(type, strlen(type));
	return type && !resource->mime_type ? out_of_memory(err) : 0;
}

static void release(struct resource *resource)
{
	struct files *files = resource->priv;

	if (!files)
		return;
	filetree_release(&files->tree);
	mem_free(files);
	resource->priv = NULL;
}

static int init(struct resource *resource, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	struct slice path = jx_get_str(def, "file");
	bool is_tree = resource->template != NULL;
	struct files *files = resource->priv = mem_alloc(1, sizeof(*files));
	int bad = 0;

	if (!files)
		return out_of_memory(err);
	if (path.len == 0 || strlen(path.p) != path.len)
		return cfg_complain_at(cfg, pointer, "file", "file must be the path of a file or of a directory");
	if (is_tree && uri_template_variable(resource->template, 0) && uri_template_variable(resource->template, 1))
		return cfg_complain_at(
		    cfg, pointer, "file", "a directory's URI template has one variable, the path of a file in it");
	for (const char *const *member = members; !is_tree && strcmp(*member, "watch") != 0; member++) {
		if (jx_has(def, *member))
			bad = cfg_complain_at(cfg, pointer, *member, "%s is for a directory only", *member);
	}
	files->is_watched = true;
	files->tree.entries_max = (size_t)cfg->file_entries_max;
	if (read_path(files, is_tree, path, cfg_dir_of(cfg, pointer)))
		return out_of_memory(err);
	bad |= check_path(files, is_tree, cfg, pointer);
	bad |= is_tree ? 0 : set_type(resource, files->tree.only, err);
	bad |= read_globs(files, def, cfg, pointer, err);
	bad |= read_mime_types(files, def, cfg, pointer);
	bad |= read_flag(def, "hidden", &files->tree.hidden, cfg, pointer);
	bad |= read_flag(def, "watch", &files->is_watched, cfg, pointer);
	return bad;
}

/* ---- reading ---- */

static int read_bytes(int fd, size_t max, struct buf *bytes, struct err *err)
{
	const size_t step = 65536;
	ssize_t len = 1;

	while (len > 0 && bytes->len <= max) {
		char *room = buf_reserve(bytes, step);

		len = room ? read(fd, room, step) : 0;
		if (len < 0)
			return err_sys(err, "read a file");
		bytes->len += (size_t)len;
	}
	if (bytes->len > max)
		return err_set(err, ERR_PARAMS, "the file has more than %zu bytes", max);
	return buf_check(bytes, err);
}

static int add_contents(json_object *contents, const char *type, struct slice bytes, struct err *err)
{
	bool is_text = !(type && mime_is_binary(slice_str(type))) && mime_is_text(bytes, false);
	json_object *item = json_object_new_object();
	struct buf blob;
	int bad;

	buf_init(&blob, bytes.len / 3 * 4 + 16);
	if (!is_text) {
		base64_encode(&blob, BASE64_PADDED, bytes);
		bytes = buf_slice(&blob);
	}
	bad = buf_check(&blob, err);
	if (!bad)
		bad = jx_add_str(item, "mimeType", type ? type : mime_of_text(is_text), err);
	if (!bad)
		bad = jx_add(item, is_text ? "text" : "blob", jx_new_str(bytes), err);
	buf_release(&blob);
	return jx_append(contents, item, err) || bad ? -1 : 0;
}

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int read_file(struct call *call, const struct resource *resource, struct slice uri, json_object *vars,
    json_object *contents, struct err *err)
{
	const struct files *files = resource->priv;
	const char *only = files->tree.only;
	struct slice path = only ? slice_str(only) : jx_get_str(vars, uri_template_variable(resource->template, 0));
	size_t max = (size_t)call->cfg->resource_max_bytes;
	struct stat st;
	struct buf bytes;
	int fd = filetree_open(&files->tree, path, &st, err), ret;

	(void)uri;
	if (fd < 0)
		return -1;
	buf_init(&bytes, 2 * max + 262144);
	ret = read_bytes(fd, max, &bytes, err);
	close(fd);
	if (ret == 0)
		ret = add_contents(contents, type_of_name(resource, name_of(path.p)), buf_slice(&bytes), err);
	buf_release(&bytes);
	return ret;
}

/* ---- listing ---- */

struct list {
	const struct call *call;
	const struct resource *resource;
	json_object *items; /* borrowed */
	size_t max;
};

static int uri_of(const struct resource *resource, struct slice path, struct buf *uri, struct err *err)
{
	const struct files *files = resource->priv;
	json_object *vars;
	int ret;

	if (!filetree_has_file(&files->tree, path))
		return err_set(err, ERR_NOT_FOUND, "no such file");
	if (!resource->template) {
		buf_adds(uri, resource->uri);
		return buf_check(uri, err);
	}
	vars = json_object_new_object();
	ret = jx_add(vars, uri_template_variable(resource->template, 0), jx_new_str(path), err);
	if (ret == 0)
		ret = uri_template_expand(resource->template, vars, uri, err);
	json_object_put(vars);
	return ret;
}

static int add_last_modified(json_object *item, const struct stat *st, struct err *err)
{
	json_object *annotations = json_object_new_object();
	char text[32] = "";
	struct tm tm;

	if (gmtime_r(&st->st_mtime, &tm))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return jx_add_str(annotations, "lastModified", text, err) | jx_add(item, "annotations", annotations, err);
}

static int add_item(const struct list *list, const struct filetree_entry *entry, struct slice uri, struct err *err)
{
	const char *type = type_of_name(list->resource, entry->name);
	json_object *item = json_object_new_object();
	int bad = jx_add(item, "uri", jx_new_str(uri), err);

	bad |= jx_add_str(item, "name", entry->path, err);
	bad |= jx_add_str(item, "mimeType", type ? type : type_of_bytes(entry->dir_fd, entry->name), err);
	bad |= jx_add(item, "size", json_object_new_int64(entry->st->st_size), err);
	if (list->call->revision >= REV_2025_06)
		bad |= add_last_modified(item, entry->st, err);
	return jx_append(list->items, item, err) | bad;
}

static int list_one(void *arg, const struct filetree_entry *entry, struct err *err)
{
	const struct list *list = arg;
	struct err why = {0};
	struct buf uri;
	int ret = 0;

	if (!entry->st)
		return 0;
	buf_init(&uri, 3 * URI_TEMPLATE_URI_MAX);
	if (uri_of(list->resource, slice_str(entry->path), &uri, &why) == 0)
		ret = add_item(list, entry, buf_slice(&uri), err);
	else if (why.code == ERR_NOMEM)
		ret = out_of_memory(err);
	buf_release(&uri); /* a name that makes too long a URI can't be asked for */
	if (ret == 0)
		ret = json_object_array_length(list->items) >= list->max;
	return ret;
}

static int list_files(struct call *call, const struct resource *resource, struct slice after, size_t max,
    json_object *items, struct err *err)
{
	const struct files *files = resource->priv;
	struct list list = {call, resource, items, json_object_array_length(items) + max};
	json_object *vars = json_object_new_object();
	struct slice path = {NULL, 0};
	int ret = vars ? 0 : out_of_memory(err);

	if (ret == 0 && after.p) {
		ret = uri_template_match(resource->template, after, vars, err);
		path = jx_get_str(vars, uri_template_variable(resource->template, 0));
	}
	if (ret == 0)
		ret = filetree_walk(&files->tree, path, list_one, &list, err);
	json_object_put(vars);
	return ret;
}

/* ---- completing ---- */

static int complete_one(void *arg, const struct filetree_entry *entry, struct err *err)
{
	json_object *values = arg;
	struct buf value;
	int ret;

	buf_init(&value, PATH_MAX + 2);
	buf_addf(&value, "%s%s", entry->path, entry->st ? "" : "/");
	ret = buf_check(&value, err);
	if (ret == 0)
		ret = jx_append(values, jx_new_str(buf_slice(&value)), err);
	buf_release(&value);
	if (ret == 0)
		ret = json_object_array_length(values) >= COMPLETION_CANDIDATES_MAX;
	return ret;
}

/* All that stands in the directory whose path has been typed so far. */
static int complete(struct call *call, const struct resource *resource, struct slice variable, struct slice typed,
    json_object *others, json_object *values, struct err *err)
{
	const struct files *files = resource->priv;
	struct slice dir = typed;
	struct err why = {0};

	(void)call;
	(void)variable;
	(void)others;
	while (dir.len && dir.p[dir.len - 1] != '/')
		dir.len--;
	if (dir.len == 1)
		return 0; /* a path that begins with a slash */
	dir.len -= dir.len > 0;
	if (filetree_list(&files->tree, dir, complete_one, values, &why) && why.code != ERR_NOT_FOUND)
		return err_set(err, why.code, "%s", why.msg);
	return 0;
}

/* ---- watching ---- */

static const struct filetree *tree_to_watch(const struct resource *resource)
{
	const struct files *files = resource->priv;

	return files->is_watched ? &files->tree : NULL;
}

const struct provider provider_file = {
    .name = "file",
    .resource_members = members,
    .resource_init = init,
    .resource_release = release,
    .read = read_file,
    .list = list_files,
    .resource_complete = complete,
    .resource_watch = tree_to_watch,
    .resource_uri = uri_of,
};
