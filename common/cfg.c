#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cfg_priv.h"
#include "common/jpos.h"
#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define FILE_MAX_BYTES    (16 << 20)
#define INCLUDE_DEPTH_MAX 8
#define DEPTH_MAX         64

enum row_type { TYPE_INT, TYPE_BOOL, TYPE_STR, TYPE_PATH, TYPE_LIST };

/* Where a row's value lies in struct cfg, beside what everybody may know of it (struct cfg_row). */
static const struct {
	enum row_type type;
	size_t offset;
} places[] = {
#define CFG_INT(name, def, min, max, unit, help) {TYPE_INT, offsetof(struct cfg, name)},
#define CFG_BOOL(name, def, help)                {TYPE_BOOL, offsetof(struct cfg, name)},
#define CFG_STR(name, def, help)                 {TYPE_STR, offsetof(struct cfg, name)},
#define CFG_PATH(name, def, help)                {TYPE_PATH, offsetof(struct cfg, name)},
#define CFG_LIST(name, help)                     {TYPE_LIST, offsetof(struct cfg, name)},
#include "common/cfg_tbl.h"
#undef CFG_INT
#undef CFG_BOOL
#undef CFG_STR
#undef CFG_PATH
#undef CFG_LIST
};

static const struct cfg_row rows[] = {
#define CFG_INT(name, def, min, max, unit, help) {#name, "int", #def, unit, help, min, max},
#define CFG_BOOL(name, def, help)                {#name, "bool", #def, NULL, help, 0, 0},
#define CFG_STR(name, def, help)                 {#name, "str", def, NULL, help, 0, 0},
#define CFG_PATH(name, def, help)                {#name, "path", def, NULL, help, 0, 0},
#define CFG_LIST(name, help)                     {#name, "list", "", NULL, help, 0, 0},
#include "common/cfg_tbl.h"
#undef CFG_INT
#undef CFG_BOOL
#undef CFG_STR
#undef CFG_PATH
#undef CFG_LIST
};

#define ROWS COUNT_OF(rows)

/* Objects of definitions that stand beside the sections. */
static const struct {
	const char *name, *in_two_files;
	size_t offset; /* of its json_object * in struct cfg */
} catalogs[] = {
    {"tools", "another file has a tool of this name", offsetof(struct cfg, tools)},
    {"resources", "another file has a resource of this URI", offsetof(struct cfg, resources)},
    {"prompts", "another file has a prompt of this name", offsetof(struct cfg, prompts)},
    {"databases", "another file has a database of this name", offsetof(struct cfg, databases)},
    {"apis", "another file has an API of this name", offsetof(struct cfg, apis)},
    {"openapi", "another file has a description of this name", offsetof(struct cfg, openapi)},
    {"modules", "another file has a module of this name", offsetof(struct cfg, modules)},
};

/* While a configuration is read. */
struct reader {
	struct cfg *cfg;
	bool given[ROWS]; /* by a file: a setting stands in one place */
	unsigned depth;   /* of includes */
};

const struct cfg_row *cfg_rows(size_t *count)
{
	*count = ROWS;
	return rows;
}

static void *place(struct cfg *cfg, size_t row)
{
	return (char *)cfg + places[row].offset;
}

static json_object **catalog(struct cfg *cfg, size_t i)
{
	return (json_object **)(void *)((char *)cfg + catalogs[i].offset);
}

void cfg_add_value(struct buf *out, const struct cfg *cfg, size_t row)
{
	const void *at = (const char *)cfg + places[row].offset;
	const struct cfg_list *list = at;

	switch (places[row].type) {
	case TYPE_INT:
		buf_addf(out, "%" PRId64, *(const int64_t *)at);
		break;
	case TYPE_BOOL:
		buf_adds(out, *(const bool *)at ? "true" : "false");
		break;
	case TYPE_STR:
	case TYPE_PATH:
		jx_write_str(out, slice_str(*(char *const *)at));
		break;
	case TYPE_LIST:
		buf_adds(out, "[");
		for (size_t i = 0; i < list->count; i++) {
			buf_adds(out, i ? "," : "");
			jx_write_str(out, slice_str(list->items[i]));
		}
		buf_adds(out, "]");
		break;
	}
}

static void list_release(struct cfg_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		mem_free(list->items[i]);
	mem_free(list->items);
	*list = (struct cfg_list){0};
}

static int list_add(struct cfg_list *list, struct slice item, struct err *err)
{
	char **more = mem_realloc(list->items, (list->count + 1) * sizeof(*more));
	char *copy;

	if (more)
		list->items = more;
	copy = more ? mem_dup(item.p, item.len) : NULL;
	if (!copy)
		return err_set(err, ERR_NOMEM, "no memory for the configuration");
	list->items[list->count++] = copy;
	return 0;
}

static int set_string(char **at, struct slice value, struct err *err)
{
	char *copy = mem_dup(value.p, value.len);

	if (!copy)
		return err_set(err, ERR_NOMEM, "no memory for the configuration");
	mem_free(*at);
	*at = copy;
	return 0;
}

int cfg_init(struct cfg *cfg, struct err *err)
{
	*cfg = (struct cfg){
#define CFG_INT(name, def, min, max, unit, help) .name = def,
#define CFG_BOOL(name, def, help)                .name = def,
#define CFG_STR(name, def, help)
#define CFG_PATH(name, def, help)
#define CFG_LIST(name, help)
#include "common/cfg_tbl.h"
#undef CFG_INT
#undef CFG_BOOL
#undef CFG_STR
#undef CFG_PATH
#undef CFG_LIST
	};
	for (size_t i = 0; i < ROWS; i++) {
		if ((places[i].type == TYPE_STR || places[i].type == TYPE_PATH) &&
		    set_string(place(cfg, i), slice_str(rows[i].def), err))
			goto bad;
	}
	cfg->file = mem_dup("", 0);
	cfg->definition_files = json_object_new_object();
	for (size_t i = 0; i < COUNT_OF(catalogs); i++) {
		*catalog(cfg, i) = json_object_new_object();
		if (!*catalog(cfg, i))
			goto out_of_memory;
	}
	if (cfg->file && cfg->definition_files)
		return 0;
out_of_memory:
	err_set(err, ERR_NOMEM, "no memory for the configuration");
bad:
	cfg_release(cfg);
	return -1;
}

void cfg_release(struct cfg *cfg)
{
	for (size_t i = 0; i < ROWS; i++) {
		if (places[i].type == TYPE_STR || places[i].type == TYPE_PATH)
			mem_free(*(char **)place(cfg, i));
		else if (places[i].type == TYPE_LIST)
			list_release(place(cfg, i));
	}
	while (cfg->origins) {
		struct cfg_origin *o = cfg->origins;

		cfg->origins = o->next;
		mem_free(o->file);
		mem_free(o->dir);
		mem_free(o->text);
		mem_free(o);
	}
	list_release(&cfg->sets);
	sources_release(&cfg->sources);
	for (size_t i = 0; i < COUNT_OF(catalogs); i++)
		json_object_put(*catalog(cfg, i));
	json_object_put(cfg->definition_files);
	mem_free(cfg->file);
	*cfg = (struct cfg){0};
}

char *cfg_path_join(const char *dir, const char *path)
{
	size_t dir_len = path[0] == '/' ? 0 : strlen(dir), path_len = strlen(path);
	char *joined = mem_alloc(1, dir_len + path_len + 2);

	if (joined)
		snprintf(joined, dir_len + path_len + 2, "%.*s%s%s", (int)dir_len, dir, dir_len ? "/" : "", path);
	return joined;
}

int cfg_make_run_dir(const struct cfg *cfg, struct err *err)
{
	if (mkdir(cfg->run_dir, 0770) == 0)
		return chmod(cfg->run_dir, 0770) ? err_sys(err, "%s", cfg->run_dir) : 0; /* whatever the umask was */
	return errno == EEXIST ? 0 : err_sys(err, "make run_dir %s", cfg->run_dir);
}

/* text with each ${NAME} replaced; -1 after a complaint. */
static int expand_text(struct cfg *cfg, struct slice text, const char *pointer, struct buf *out)
{
	const char *end = text.p + text.len;

	for (const char *p = text.p; p < end;) {
		char name[CFG_NAME_MAX];
		const char *close, *value;

		if (end - p >= 3 && memcmp(p, "$${", 3) == 0) {
			buf_adds(out, "${");
			p += 3;
			continue;
		}
		if (end - p < 2 || p[0] != '$' || p[1] != '{') {
			buf_add(out, p++, 1);
			continue;
		}
		close = memchr(p, '}', (size_t)(end - p));
		if (!close || (size_t)(close - p) >= sizeof(name)) {
			cfg_complain(cfg, pointer, "${ without }; write $${ for a plain ${");
			return -1;
		}
		snprintf(name, sizeof(name), "%.*s", (int)(close - p - 2), p + 2);
		value = getenv(name);
		if (!value) {
			cfg_complain(cfg, pointer, "the environment has no %s; write $${ for a plain ${", name);
			return -1;
		}
		buf_adds(out, value);
		p = close + 1;
	}
	return 0;
}

static int expand_string(struct cfg *cfg, json_object *value, const char *pointer)
{
	struct slice text = jx_str(value);
	struct buf out;
	int ret;

	if (!memchr(text.p, '$', text.len))
		return 0;
	buf_init(&out, 1 << 20);
	ret = expand_text(cfg, text, pointer, &out);
	if (ret == 0 && (out.fault || !json_object_set_string_len(value, out.len ? out.data : "", (int)out.len))) {
		cfg_complain(cfg, pointer, "no room for the value with its variables");
		ret = -1;
	}
	buf_release(&out);
	return ret;
}

int cfg_expand_env(struct cfg *cfg, json_object *value, const char *pointer)
{
	char at[JPOS_POINTER_MAX];
	int ret = 0;

	if (json_object_is_type(value, json_type_string))
		return expand_string(cfg, value, pointer);
	if (json_object_is_type(value, json_type_object)) {
		json_object_object_foreach(value, key, member) {
			snprintf(at, sizeof(at), "%s/%s", pointer, key);
			ret |= cfg_expand_env(cfg, member, at);
		}
	} else if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++) {
			snprintf(at, sizeof(at), "%s/%zu", pointer, i);
			ret |= cfg_expand_env(cfg, json_object_array_get_idx(value, i), at);
		}
	}
	return ret;
}

/* What a value has to be beyond its type; NULL: fine. */
static const char *check_value(size_t row, const char *value)
{
	enum log_level level;

	if (strcmp(rows[row].name, "log_level") == 0 && !log_parse_level(value, &level))
		return "must be error, warn, info or debug";
	if (strcmp(rows[row].name, "store_kind") == 0 && strcmp(value, "sqlite") != 0 && strcmp(value, "memory") != 0)
		return "must be sqlite or memory";
	if (strcmp(rows[row].name, "store_sync") == 0 && strcmp(value, "write") != 0 && strcmp(value, "group") != 0)
		return "must be write or group";
	if (strcmp(rows[row].name, "server_public_url") == 0 && *value && strncmp(value, "http://", 7) != 0 &&
	    strncmp(value, "https://", 8) != 0)
		return "must be a URL that begins with http:// or https://";
	if (strcmp(rows[row].name, "server_name") == 0 && !*value)
		return "must not be empty";
	return NULL;
}

static int apply_string(struct cfg *cfg, size_t row, struct slice value, const char *dir, struct err *err)
{
	const char *why;
	char *joined;
	int ret;

	if (memchr(value.p, '\0', value.len))
		return err_set(err, ERR_CONFIG, "holds a NUL");
	if (places[row].type == TYPE_PATH && value.len) {
		joined = cfg_path_join(dir, value.p);
		if (!joined)
			return err_set(err, ERR_NOMEM, "no memory for the configuration");
		ret = set_string(place(cfg, row), slice_str(joined), err);
		mem_free(joined);
		return ret;
	}
	why = check_value(row, value.p);
	return why ? err_set(err, ERR_CONFIG, "%s", why) : set_string(place(cfg, row), value, err);
}

static int apply_int(struct cfg *cfg, size_t row, int64_t n, struct err *err)
{
	if (n == INT64_MAX || n == INT64_MIN) /* what json-c makes of larger ones */
		return err_set(err, ERR_CONFIG, "out of range: %" PRId64 " to %" PRId64 " %s", rows[row].min,
		    rows[row].max, rows[row].unit);
	if (n < rows[row].min || n > rows[row].max)
		return err_set(err, ERR_CONFIG, "%" PRId64 " is out of range: %" PRId64 " to %" PRId64 " %s", n,
		    rows[row].min, rows[row].max, rows[row].unit);
	*(int64_t *)place(cfg, row) = n;
	return 0;
}

static int apply_json(struct cfg *cfg, size_t row, json_object *value, const char *dir, struct err *err)
{
	struct cfg_list *list;

	switch (places[row].type) {
	case TYPE_INT:
		if (!json_object_is_type(value, json_type_int))
			return err_set(err, ERR_CONFIG, "must be an integer, %" PRId64 " to %" PRId64 " %s",
			    rows[row].min, rows[row].max, rows[row].unit);
		return apply_int(cfg, row, json_object_get_int64(value), err);
	case TYPE_BOOL:
		if (!json_object_is_type(value, json_type_boolean))
			return err_set(err, ERR_CONFIG, "must be true or false");
		*(bool *)place(cfg, row) = json_object_get_boolean(value);
		return 0;
	case TYPE_STR:
	case TYPE_PATH:
		if (!json_object_is_type(value, json_type_string))
			return err_set(err, ERR_CONFIG, "must be a string");
		return apply_string(cfg, row, jx_str(value), dir, err);
	case TYPE_LIST:
		break;
	}
	if (!json_object_is_type(value, json_type_array))
		return err_set(err, ERR_CONFIG, "must be an array of strings");
	list = place(cfg, row);
	list_release(list);
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		struct slice item = jx_str(json_object_array_get_idx(value, i));

		if (!item.p)
			return err_set(err, ERR_CONFIG, "must be an array of strings");
		if (list_add(list, item, err))
			return -1;
	}
	return 0;
}

static int find_row(const char *name)
{
	for (size_t i = 0; i < ROWS; i++) {
		if (strcmp(rows[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

static const char *nearest_row(const char *name)
{
	const char *names[ROWS + 1];

	for (size_t i = 0; i < ROWS; i++)
		names[i] = rows[i].name;
	names[ROWS] = NULL;
	return cfg_nearest(name, names);
}

static bool is_section(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < ROWS; i++) {
		if (strncmp(rows[i].name, name, len) == 0 && rows[i].name[len] == '_')
			return true;
	}
	return false;
}

/* near: of the table, or NULL. It is shown as the file has it. */
static void complain_setting(struct cfg *cfg, const char *pointer, const char *near)
{
	size_t len = near ? strcspn(near, "_") : 0;

	if (near)
		cfg_complain(cfg, pointer, "no such setting; did you mean {\"%.*s\": {\"%s\": ...}}?", (int)len, near,
		    near + len + 1);
	else
		cfg_complain(cfg, pointer, "no such setting");
}

/* The setting that a member of the top was to be: "public_url" without its section, "exec_timeout_s" as --set has it,
 * "exec.timeout_s" as texts do. NULL: none. */
static const char *row_meant(const char *name)
{
	for (size_t i = 0; i < ROWS; i++) {
		size_t len = strcspn(rows[i].name, "_");
		const char *member = rows[i].name + len + 1;

		if (strcmp(name, member) == 0)
			return rows[i].name;
		if (strncmp(name, rows[i].name, len) == 0 && (name[len] == '_' || name[len] == '.') &&
		    strcmp(name + len + 1, member) == 0)
			return rows[i].name;
	}
	return NULL;
}

static void complain_section(struct cfg *cfg, const char *pointer, const char *name)
{
	char sections[ROWS][CFG_NAME_MAX];
	const char *names[ROWS + COUNT_OF(catalogs) + 2];
	const char *near = row_meant(name);
	size_t n = 0;

	if (near) {
		complain_setting(cfg, pointer, near);
		return;
	}
	for (size_t i = 0; i < ROWS; i++) {
		snprintf(sections[i], sizeof(sections[i]), "%.*s", (int)strcspn(rows[i].name, "_"), rows[i].name);
		names[n++] = sections[i];
	}
	for (size_t i = 0; i < COUNT_OF(catalogs); i++)
		names[n++] = catalogs[i].name;
	names[n++] = "include";
	names[n] = NULL;
	near = cfg_nearest(name, names);
	cfg_complain(cfg, pointer, "no such section%s%s%s", near ? "; did you mean \"" : "", near ? near : "",
	    near ? "\"?" : "");
}

static void read_section(struct reader *r, const struct cfg_origin *o, const char *section, json_object *value)
{
	char pointer[JPOS_POINTER_MAX], name[2 * CFG_NAME_MAX];

	if (!json_object_is_type(value, json_type_object)) {
		snprintf(pointer, sizeof(pointer), "/%s", section);
		cfg_complain(r->cfg, pointer, "must be an object");
		return;
	}
	json_object_object_foreach(value, key, member) {
		struct err err = {0};
		int row;

		snprintf(pointer, sizeof(pointer), "/%s/%s", section, key);
		snprintf(name, sizeof(name), "%s_%s", section, key);
		row = find_row(name);
		if (row < 0) {
			complain_setting(r->cfg, pointer, nearest_row(name));
		} else if (r->given[row]) {
			cfg_report(r->cfg, o->file, jpos_line(cfg_origin_text(o), pointer), pointer,
			    "is set in another file too");
		} else {
			r->given[row] = true;
			if (apply_json(r->cfg, (size_t)row, member, o->dir, &err))
				cfg_complain(r->cfg, pointer, "%s", err.msg);
		}
	}
}

/* The catalog of this name, or COUNT_OF(catalogs). */
static size_t find_catalog(const char *name)
{
	size_t i = 0;

	while (i < COUNT_OF(catalogs) && strcmp(catalogs[i].name, name) != 0)
		i++;
	return i;
}

/* Looking for it in the text of each file would take long where there are many definitions. */
static int note_file(struct cfg *cfg, const char *pointer, const struct cfg_origin *o, struct err *err)
{
	json_object *mark = json_object_new_boolean(true);

	if (mark)
		json_object_set_userdata(mark, (void *)(uintptr_t)o, NULL);
	return jx_add(cfg->definition_files, pointer, mark, err);
}

static void read_definition(
    struct reader *r, const struct cfg_origin *o, size_t which, const char *name, json_object *def)
{
	json_object *all = *catalog(r->cfg, which);
	struct err err = {0};
	struct buf pointer;

	buf_init(&pointer, JPOS_POINTER_MAX - 1); /* a longer one is cut: what lies deeper is found at its parent */
	buf_addf(&pointer, "/%s", catalogs[which].name);
	jx_add_pointer(&pointer, slice_str(name));
	if (!pointer.data)
		cfg_complain(r->cfg, "", "out of memory");
	else if (jx_has(all, name))
		cfg_report(r->cfg, o->file, jpos_line(cfg_origin_text(o), pointer.data), pointer.data,
		    catalogs[which].in_two_files);
	else if (!def)
		cfg_complain(r->cfg, pointer.data, "must be an object");
	else if (jx_add(all, name, json_object_get(def), &err) || note_file(r->cfg, pointer.data, o, &err))
		cfg_complain(r->cfg, pointer.data, "%s", err.msg);
	buf_release(&pointer);
}

static void read_catalog(struct reader *r, const struct cfg_origin *o, size_t which, json_object *definitions)
{
	char pointer[CFG_NAME_MAX];

	if (!json_object_is_type(definitions, json_type_object)) {
		snprintf(pointer, sizeof(pointer), "/%s", catalogs[which].name);
		cfg_complain(r->cfg, pointer, "must be an object: name -> definition");
		return;
	}
	json_object_object_foreach(definitions, name, def) {
		read_definition(r, o, which, name, def);
	}
}

static void read_file(struct reader *r, const char *file);

/* Where files that match may come and go; a pattern of directories is seen as far as its first one. */
static void note_directory(struct cfg *cfg, const char *pattern)
{
	size_t plain = strcspn(pattern, "*?["), len = 0;
	char *dir;

	for (size_t i = 0; i < plain; i++) {
		if (pattern[i] == '/')
			len = i;
	}
	dir = mem_dup(len ? pattern : "/", len ? len : 1);
	if (!dir || sources_add(&cfg->sources, dir, NULL))
		cfg_complain(cfg, "/include", "out of memory");
	mem_free(dir);
}

static void read_glob(struct reader *r, const struct cfg_origin *o, struct slice pattern)
{
	char *path = pattern.p ? cfg_path_join(o->dir, pattern.p) : NULL;
	glob_t found;
	int rc;

	if (!path) {
		cfg_complain(r->cfg, "/include", "must be a string or an array of strings");
		return;
	}
	note_directory(r->cfg, path);
	rc = glob(path, 0, NULL, &found); /* sorted */
	if (rc == GLOB_NOMATCH && !strpbrk(path, "*?[")) {
		cfg_complain(r->cfg, "/include", "%s: no such file", path);
	} else if (rc == 0) {
		for (size_t i = 0; i < found.gl_pathc; i++) {
			char *real =
			    realpath(found.gl_pathv[i], NULL); /* a file has one name, so that a circle is seen */

			read_file(r, real ? real : found.gl_pathv[i]);
			free(real);
		}
		globfree(&found);
	}
	mem_free(path);
}

static void read_includes(struct reader *r, const struct cfg_origin *o, json_object *value)
{
	if (!json_object_is_type(value, json_type_array)) {
		read_glob(r, o, jx_str(value));
		return;
	}
	for (size_t i = 0; i < json_object_array_length(value); i++)
		read_glob(r, o, jx_str(json_object_array_get_idx(value, i)));
}

/* Reads the bytes of a file into a new origin at the end of the list; NULL after a complaint. */
static struct cfg_origin *load_origin(struct cfg *cfg, const char *file)
{
	struct cfg_origin *o = mem_alloc(1, sizeof(*o)), **at;
	const char *slash = strrchr(file, '/');
	bool is_noted = sources_add(&cfg->sources, file, NULL) == 0;
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t n = 0;

	if (o && is_noted && fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_MAX_BYTES) {
		o->file = mem_dup(file, strlen(file));
		o->dir = slash == file ? mem_dup("/", 1)
			 : slash       ? mem_dup(file, (size_t)(slash - file))
				       : mem_dup(".", 1);
		o->text = mem_alloc(1, (size_t)st.st_size + 1);
		if (o->file && o->dir && o->text) {
			while ((size_t)st.st_size > o->len &&
			       (n = read(fd, o->text + o->len, (size_t)st.st_size - o->len)) > 0)
				o->len += (size_t)n;
			if (n >= 0) {
				close(fd);
				for (at = &cfg->origins; *at; at = &(*at)->next)
					;
				return *at = o;
			}
		}
	}
	cfg_report(cfg, file, 1, "",
	    fd < 0 ? strerrordesc_np(errno) : "can't be read, is no regular file, or is larger than 16 MiB");
	if (fd >= 0)
		close(fd);
	if (o) {
		mem_free(o->file);
		mem_free(o->dir);
		mem_free(o->text);
		mem_free(o);
	}
	return NULL;
}

static json_object *parse_origin(struct cfg *cfg, const struct cfg_origin *o)
{
	struct slice text = {o->text, o->len};
	json_tokener *tok = json_tokener_new_ex(DEPTH_MAX);
	json_object *root;
	size_t at;

	if (!tok) {
		cfg_report(cfg, o->file, 1, "", "out of memory");
		return NULL;
	}
	json_tokener_set_flags(tok, JSON_TOKENER_VALIDATE_UTF8); /* not strict: comments are welcome */
	root = json_tokener_parse_ex(tok, o->text, (int)o->len + 1);
	at = json_tokener_get_parse_end(tok);
	if (json_tokener_get_error(tok) != json_tokener_success) {
		cfg_report(cfg, o->file, jpos_line_of_byte(text, at), "",
		    json_tokener_error_desc(json_tokener_get_error(tok)));
		json_object_put(root);
		root = NULL;
	} else if (!json_object_is_type(root, json_type_object)) {
		cfg_report(cfg, o->file, 1, "", "must be one JSON object");
		json_object_put(root);
		root = NULL;
	} else if (at < o->len && !jpos_is_blank((struct slice){o->text + at,
				      o->len - at})) { /* settings behind a '}' too many would count for nothing */
		cfg_report(cfg, o->file, jpos_line_of_byte(text, at), "",
		    "something stands behind the end of the configuration");
	}
	json_tokener_free(tok);
	return root;
}

static void read_members(struct reader *r, const struct cfg_origin *o, json_object *root)
{
	json_object_object_foreach(root, key, value) {
		char pointer[JPOS_POINTER_MAX];

		snprintf(pointer, sizeof(pointer), "/%s", key);
		if (cfg_expand_env(r->cfg, value, pointer))
			continue;
		if (strcmp(key, "include") == 0)
			read_includes(r, o, value);
		else if (find_catalog(key) < COUNT_OF(catalogs))
			read_catalog(r, o, find_catalog(key), value);
		else if (strcmp(key, "$schema") == 0)
			continue; /* for editors */
		else if (is_section(key))
			read_section(r, o, key, value);
		else
			complain_section(r->cfg, pointer, key);
	}
}

/* Members of all objects in val. */
static size_t count_members(json_object *val)
{
	size_t n = 0;

	if (json_object_is_type(val, json_type_object)) {
		json_object_object_foreach(val, name, member) {
			(void)name;
			n += 1 + count_members(member);
		}
	} else if (json_object_is_type(val, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(val); i++)
			n += count_members(json_object_array_get_idx(val, i));
	}
	return n;
}

static void read_file(struct reader *r, const char *file)
{
	char duplicate[JPOS_POINTER_MAX];
	struct cfg_origin *o;
	json_object *root;
	unsigned line;

	for (o = r->cfg->origins; o; o = o->next) {
		if (strcmp(o->file, file) == 0) {
			cfg_report(r->cfg, file, 1, "", "is included twice");
			return;
		}
	}
	if (r->depth == INCLUDE_DEPTH_MAX) {
		cfg_report(r->cfg, file, 1, "", "is included too deep");
		return;
	}
	o = load_origin(r->cfg, file);
	root = o ? parse_origin(r->cfg, o) : NULL;
	if (!root)
		return;
	if (jpos_count_members(cfg_origin_text(o)) != count_members(root)) {
		line = jpos_find_duplicate(cfg_origin_text(o), duplicate);
		if (line)
			cfg_report(r->cfg, o->file, line, duplicate, "stands twice in its object");
	}
	r->depth++;
	read_members(r, o, root);
	r->depth--;
	json_object_put(root);
}

static int apply_set_value(struct cfg *cfg, size_t row, const char *value, struct err *err)
{
	char cwd[PATH_MAX], *end;
	int64_t n;

	switch (places[row].type) {
	case TYPE_INT:
		errno = 0;
		n = strtoll(value, &end, 10);
		if (end == value || *end || errno)
			return err_set(err, ERR_CONFIG, "must be an integer, %" PRId64 " to %" PRId64 " %s",
			    rows[row].min, rows[row].max, rows[row].unit);
		return apply_int(cfg, row, n, err);
	case TYPE_BOOL:
		if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
			return err_set(err, ERR_CONFIG, "must be true or false");
		*(bool *)place(cfg, row) = value[0] == 't';
		return 0;
	case TYPE_STR:
	case TYPE_PATH:
		return apply_string(cfg, row, slice_str(value), getcwd(cwd, sizeof(cwd)) ? cwd : "", err);
	case TYPE_LIST:
		break;
	}
	list_release(place(cfg, row));
	while (*value) {
		size_t len = strcspn(value, ",");

		if (len && list_add(place(cfg, row), (struct slice){value, len}, err))
			return -1;
		value += len + (value[len] == ',');
	}
	return 0;
}

static void apply_set(struct cfg *cfg, const char *set)
{
	const char *equals = strchr(set, '=');
	char name[CFG_NAME_MAX], message[600];
	struct err err = {0};
	int row;

	snprintf(name, sizeof(name), "%.*s", equals ? (int)(equals - set) : (int)strlen(set), set);
	row = find_row(name);
	if (row >= 0 && equals && apply_set_value(cfg, (size_t)row, equals + 1, &err) == 0)
		return;
	if (!equals) {
		snprintf(message, sizeof(message), "--set %s: NAME=VALUE is needed", name);
	} else if (row < 0) {
		const char *near = nearest_row(name);

		snprintf(message, sizeof(message), "--set %s: no such setting%s%s%s", name,
		    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
	} else {
		snprintf(message, sizeof(message), "--set %s: %s", name, err.msg);
	}
	cfg->complaint_count++;
	if (cfg->complain)
		cfg->complain(cfg->complain_arg, message);
	else
		LOG(ERROR, "config.bad", "%s", message);
}

int cfg_load(struct cfg *cfg, const char *file, const char *const *sets, size_t sets_count, struct err *err)
{
	struct reader r = {.cfg = cfg};
	const char *named = file ? file : getenv("MCP_FCGI_CONF");
	char *path;

	if (!named && access(CFG_FILE_DEFAULT, F_OK) != 0)
		return err_set(err, ERR_CONFIG,
		    "no configuration: %s does not exist; name one with --conf FILE or MCP_FCGI_CONF=FILE",
		    CFG_FILE_DEFAULT);
	named = named ? named : CFG_FILE_DEFAULT;
	path = realpath(named, NULL);
	if (!path)
		return err_sys(err, "configuration %s", named);
	if (set_string(&cfg->file, slice_str(path), err)) {
		free(path); /* realpath's */
		return -1;
	}
	read_file(&r, path);
	free(path);
	for (size_t i = 0; i < sets_count; i++) {
		apply_set(cfg, sets[i]);
		if (list_add(&cfg->sets, slice_str(sets[i]), err))
			return -1;
	}
	if (cfg->complaint_count)
		return err_set(err, ERR_CONFIG, "%s: %d problem%s", cfg->file, cfg->complaint_count,
		    cfg->complaint_count == 1 ? "" : "s");
	return 0;
}
