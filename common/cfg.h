/* common/cfg.h - the configuration: one JSON file with comments (// and C style), checked as a whole.
 *
 * Settings are the rows of cfg_tbl.h, in sections: {"stream": {"after_ms": 500}} sets stream_after_ms. Beside them stand
 *   "tools"      object: tool name -> definition (fcgi/toolset.h reads it)
 *   "resources"  object: URI or URI template -> definition (fcgi/resourceset.h)
 *   "prompts"    object: prompt name -> definition (fcgi/promptset.h)
 *   "databases"  object: name -> definition (fcgi/sql.h)
 *   "apis"       object: name -> definition (fcgi/http_base.h)
 *   "openapi"    object: name -> definition (fcgi/openapi.h)
 *   "modules"    object: name -> a shared object (fcgi/module.h)
 *   "include"    string or array of globs, relative to the file; each match is merged: settings may be given once in
 *                all, definitions are joined, a name twice is an error
 * In every string ${NAME} is the environment variable NAME (an unset one is an error), $${ is a plain ${.
 * Every complaint names file, line, the pointer, the range, and the nearest name where one is near. */
#ifndef MCP_COMMON_CFG_H
#define MCP_COMMON_CFG_H

#include <json-c/json.h>

#include "common/buf.h"
#include "common/source.h"

struct cfg_list {
	char **items; /* owned; count entries */
	size_t count;
};

struct cfg {
#define CFG_INT(name, def, min, max, unit, help) int64_t name;
#define CFG_BOOL(name, def, help)		 bool name;
#define CFG_STR(name, def, help)		 char *name;
#define CFG_PATH(name, def, help)		 char *name;
#define CFG_LIST(name, help)			 struct cfg_list name;
#include "common/cfg_tbl.h"
#undef CFG_INT
#undef CFG_BOOL
#undef CFG_STR
#undef CFG_PATH
#undef CFG_LIST
	char *file;	    /* the main file, absolute; "" when there is none */
	struct cfg_list sets; /* the "NAME=VALUE" texts that cfg_load() was given: a broker that a worker starts gets them too */
	json_object *tools, *resources, *prompts, *databases, *apis, *openapi, *modules; /* owned; objects, possibly empty */
	struct sources sources; /* what it was read from, by whoever reads more for it too */
	struct cfg_origin *origins; /* private: where each included text stands, for cfg_complain() */
	json_object *definition_files; /* private: pointer of a definition -> whose userdata is its origin */
	int complaint_count;
	void (*complain)(void *arg, const char *line); /* gets each complaint; NULL: LOG(ERROR, "config.bad", ...) */
	void *complain_arg;
};

#define CFG_FILE_DEFAULT SYSCONFDIR "/mcp-fcgi/mcp.json"

/* All rows at their defaults. */
int cfg_init(struct cfg *cfg, struct err *err);
void cfg_release(struct cfg *cfg);

/* Reads file (NULL: $MCP_FCGI_CONF, else CFG_FILE_DEFAULT), then applies sets ("NAME=VALUE", sets_count of them, as
 * --set gives them; relative paths there are relative to the working directory; lists are split at commas). Reports
 * every problem through complain and returns -1 with ERR_CONFIG and their number if there was one. */
int cfg_load(struct cfg *cfg, const char *file, const char *const *sets, size_t sets_count, struct err *err);

/* Reports a problem at a JSON pointer ("/tools/echo/timeout_s") of whichever file holds it; "" is the main file's top.
 * The line that comes out: "FILE:LINE: POINTER: message". Counts it. */
void cfg_complain(struct cfg *cfg, const char *pointer, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same at a member of the object there; member may be a path ("exec/0"). Returns -1. */
int cfg_complain_at(struct cfg *cfg, const char *pointer, const char *member, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* The same line with "warning: " before the message, of what does not keep the configuration from being served. Not
 * counted. */
void cfg_warn(struct cfg *cfg, const char *pointer, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Complains about each member of obj, which stands there, that is not among known (NULL-terminated), with the nearest
 * that is. -1: there was one. */
int cfg_complain_unknown(struct cfg *cfg, const char *pointer, json_object *obj, const char *const *known);

/* *number from the member of that name, which stays as it is without one. -1: complained. */
int cfg_read_number(struct cfg *cfg, const char *pointer, json_object *obj, const char *name, int64_t min, int64_t max,
    int64_t *number);

/* Directory of the file that holds this pointer, for relative paths in it. Borrowed. */
const char *cfg_dir_of(const struct cfg *cfg, const char *pointer);

/* path as it is when absolute, else dir/path. Owned by the caller. NULL: no memory. */
char *cfg_path_join(const char *dir, const char *path);

/* Makes run_dir unless it is there, for its user and group only: whoever may connect to the data channel's socket, whose
 * peers libzmq does not tell us, is in it. Workers of another user reach it by the group; broker_peer_uids admits them. */
int cfg_make_run_dir(const struct cfg *cfg, struct err *err);

/* The name of names (NULL-terminated) nearest to name, if it is near enough to be meant; else NULL. */
const char *cfg_nearest(const char *name, const char *const *names);

/* Replaces ${NAME} in every string of value, in place. Complains at pointer. */
int cfg_expand_env(struct cfg *cfg, json_object *value, const char *pointer);

/* For --help and the manual page: one call per row. type is "int", "bool", "str", "path" or "list"; def is text;
 * unit is NULL without one. */
struct cfg_row {
	const char *name, *type, *def, *unit, *help;
	int64_t min, max;
};
const struct cfg_row *cfg_rows(size_t *count);

/* Appends the value of a row, an index into cfg_rows(), as JSON. */
void cfg_add_value(struct buf *out, const struct cfg *cfg, size_t row);

#endif
