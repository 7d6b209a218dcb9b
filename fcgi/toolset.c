/* Reading is one pass: for each definition its provider, its schemas, its mirrored headers, then its two listings as
 * text. A bad definition is complained about and the rest is read on, so that one check shows every mistake; a set with
 * a complaint is never served. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/ascii.h"
#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/ask.h"
#include "fcgi/content.h"
#include "fcgi/definition.h"
#include "fcgi/module.h"
#include "fcgi/openapi.h"
#include "fcgi/placeholder.h"
#include "fcgi/toolset.h"
#include "common/banned.h"

#define MANIFEST_MAX_BYTES    1048576
#define HEADER_NAME_MAX_LEN   100
#define HEADER_KEYWORD        "x-mcp-header"
#define INPUT_OF_NO_ARGUMENTS "{\"type\":\"object\",\"additionalProperties\":false}"

static const char *const own_members[] = {
    "input", "output_schema", "annotations", "task", "poll", "ask", "single_use", NULL};

/* One definition while it is read. */
struct reader {
	const struct definition *d;
	json_object *defaults; /* owned; NULL: none */
	json_object *input;    /* owned: the whole schema */
	bool input_is_short;   /* the definition gives properties, not a schema */
	struct tool *tool;
};

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "tools");
}

/* A member of the definition, else of its provider's defaults. */
static json_object *member_of(const struct reader *r, const char *name)
{
	return jx_has(r->d->def, name) ? jx_get(r->d->def, name) : jx_get(r->defaults, name);
}

static const char *const task_names[TOOL_TASK__COUNT] = {"no", "optional", "required"};

static int read_task(struct reader *r)
{
	struct slice name = jx_get_str(r->d->def, "task");
	int task = TOOL_TASK_NO;

	while (jx_has(r->d->def, "task") && task < TOOL_TASK__COUNT && !slice_is(name, task_names[task]))
		task++;
	if (task == TOOL_TASK__COUNT)
		return definition_complain(r->d, "task", NULL, "task must be \"no\", \"optional\" or \"required\"");
	r->tool->task = (enum tool_task)task;
	return 0;
}

/* What a user is asked may hold arguments that are always there. */
static int check_message(struct reader *r, const char *below, const char *text)
{
	struct slice part;
	size_t at = 0;

	while (text[at]) {
		int kind = placeholder_next(text, &at, &part);

		if (kind == -1)
			return definition_complain(r->d, "ask", below, "%s", PLACEHOLDER_SYNTAX);
		if (kind == 1 && !schema_requires_member(r->tool->input, part))
			return definition_complain(r->d, "ask", below, "{%.*s} is not one of its required arguments",
			    part.len > 100 ? 100 : (int)part.len, part.p);
	}
	return 0;
}

static int check_ask(struct reader *r, const char *key, json_object *ask)
{
	struct slice method = jx_get_str(ask, "method"), message = jx_get_str(jx_get(ask, "params"), "message");
	struct buf below;
	struct err err = {0};
	int bad = -1;

	buf_init(&below, DEFINITION_POINTER_MAX);
	jx_add_pointer(&below, slice_str(key));
	if (!ask_is_key(key))
		definition_complain(r->d, "ask", below.data, "the key of a question is " ASK_KEY_WORDS);
	else if (!json_object_is_type(ask, json_type_object) || !method.p)
		definition_complain(r->d, "ask", below.data,
		    "a question is an object, as in {\"method\": \"elicitation/create\", \"params\": {...}}");
	else if (jx_has(ask, "optional") && !json_object_is_type(jx_get(ask, "optional"), json_type_boolean))
		definition_complain(r->d, "ask", below.data, "optional must be true or false");
	else if (json_object_object_length(ask) > 1 + jx_has(ask, "params") + jx_has(ask, "optional"))
		definition_complain(
		    r->d, "ask", below.data, "a question has method, params and optional, nothing else");
	else if (ask_check(method.p, jx_get(ask, "params"), &err))
		definition_complain(r->d, "ask", below.data, "%s", err.msg);
	else
		bad = message.p ? check_message(r, below.data, message.p) : 0;
	buf_release(&below);
	return bad;
}

/* What is asked before each run. */
static int read_asks(struct reader *r, struct err *err)
{
	json_object *asks = jx_get_object(r->d->def, "ask");
	struct buf text;
	int bad = 0;

	if (!jx_has(r->d->def, "ask"))
		return 0;
	if (!asks || json_object_object_length(asks) < 1 || json_object_object_length(asks) > ASK_MAX)
		return definition_complain(r->d, "ask", NULL, "ask must be an object of 1 to %d questions", ASK_MAX);
	json_object_object_foreach(asks, key, ask) {
		bad |= check_ask(r, key, ask);
	}
	if (bad)
		return -1;
	buf_init(&text, DEFINITION_LISTING_MAX);
	jx_write(&text, asks);
	bad = buf_check(&text, err);
	if (bad)
		buf_release(&text);
	r->tool->asks = text.data; /* the buffer's memory is the tool's now */
	return bad;
}

static bool read_flag(struct reader *r, const char *name, bool *bad)
{
	json_object *val = jx_get(r->d->def, name);

	if (jx_has(r->d->def, name) && !json_object_is_type(val, json_type_boolean))
		*bad = definition_complain(r->d, name, NULL, "%s must be true or false", name) != 0;
	return json_object_get_boolean(val);
}

/* One property of the short form: its schema less "optional". */
static int add_property(struct reader *r, const char *name, json_object *val, json_object *properties,
    json_object *required, struct err *err)
{
	json_object *optional = jx_get(val, "optional"), *copy;
	char below[DEFINITION_NAME_MAX + 32];

	if (!json_object_is_type(val, json_type_object)) {
		snprintf(below, sizeof(below), "/%.*s", DEFINITION_NAME_MAX, name);
		return definition_complain(
		    r->d, "input", below, "an argument is described by an object, as in {\"type\": \"string\"}");
	}
	if (jx_has(val, "optional") && !json_object_is_type(optional, json_type_boolean)) {
		snprintf(below, sizeof(below), "/%.*s/optional", DEFINITION_NAME_MAX, name);
		return definition_complain(r->d, "input", below, "optional must be true or false");
	}
	copy = json_object_new_object();
	if (!copy)
		return out_of_memory(err);
	json_object_object_foreach(val, key, child) {
		if (strcmp(key, "optional") != 0 && json_object_object_add(copy, key, json_object_get(child)) != 0) {
			json_object_put(copy);
			return out_of_memory(err);
		}
	}
	if (jx_add(properties, name, copy, err))
		return -1;
	if (jx_has(val, "default") || json_object_get_boolean(optional))
		return 0;
	return jx_append(required, json_object_new_string(name), err);
}

/* {"path": {...}} as a whole schema. */
static json_object *expand_short_input(struct reader *r, json_object *val, struct err *err)
{
	json_object *schema = json_object_new_object(), *properties = json_object_new_object();
	json_object *required = json_object_new_array();
	int bad = 0;

	json_object_object_foreach(val, name, property) {
		bad |= add_property(r, name, property, properties, required, err);
	}
	bad |= jx_add_str(schema, "type", "object", err);
	bad |= jx_add(schema, "properties", properties, err);
	if (required && json_object_array_length(required) > 0)
		bad |= jx_add(schema, "required", required, err);
	else
		json_object_put(required);
	bad |= jx_add(schema, "additionalProperties", json_object_new_boolean(false), err);
	if (!bad)
		return schema;
	json_object_put(schema);
	return NULL;
}

/* Compiles a schema of the definition; complaints name the place in the definition as it was written. */
static struct schema *compile(struct reader *r, const char *member, json_object *doc, struct err *err)
{
	static const char properties[] = "/properties/";
	struct schema *schema;
	struct buf where;
	const char *below;

	buf_init(&where, DEFINITION_POINTER_MAX);
	schema = schema_new(doc, &where, err);
	if (!schema && err->code == ERR_CONFIG) {
		below = where.data ? where.data : "";
		if (strcmp(member, "input") == 0 && r->input_is_short &&
		    strncmp(below, properties, sizeof(properties) - 1) == 0)
			below += sizeof(properties) - 2;
		definition_complain(r->d, member, below, "%s", err->msg);
	}
	buf_release(&where);
	return schema;
}

static int read_input(struct reader *r, struct err *err)
{
	json_object *val = member_of(r, "input");
	struct slice type = jx_get_str(val, "type");

	if (jx_has(r->d->def, "input") && !json_object_is_type(val, json_type_object))
		return definition_complain(r->d, "input", NULL, "input must be an object");
	if (!val)
		r->input = jx_parse(SLICE(INPUT_OF_NO_ARGUMENTS), DEFINITION_DEPTH_MAX, err);
	else if (type.p && !slice_is(type, "object"))
		return definition_complain(
		    r->d, "input", "/type", "a whole schema of the arguments has \"type\": \"object\"");
	else if (type.p)
		r->input = json_object_get(val);
	else
		r->input = expand_short_input(r, val, err);
	r->input_is_short = val && !type.p;
	if (!r->input)
		return -1;
	r->tool->input = compile(r, "input", r->input, err);
	return r->tool->input ? 0 : -1;
}

static int read_output(struct reader *r, struct err *err)
{
	json_object *val = member_of(r, "output_schema");

	if (r->tool->output || (!val && !jx_has(r->d->def, "output_schema")))
		return 0;
	r->tool->output = compile(r, "output_schema", val, err);
	return r->tool->output ? 0 : -1;
}

/* Mirrored headers. */

struct header_walk {
	struct reader *r;
	struct buf at;     /* pointer inside the schema */
	const char **path; /* names on the way here; borrowed */
	size_t path_count;
	struct err *err;
};

static int header_complain(struct header_walk *walk, const char *why)
{
	const char *below = walk->at.data ? walk->at.data : "";

	if (walk->r->input_is_short && strncmp(below, "/properties/", 12) == 0)
		below += 11;
	return definition_complain(walk->r->d, "input", below, "%s", why);
}

/* "Region-1" as web servers hand it on: HTTP_MCP_PARAM_REGION_1. Only letters, digits and '-' come through every
 * server unchanged. */
static char *fold_header(struct slice name)
{
	static const char prefix[] = "HTTP_MCP_PARAM_";
	size_t at = sizeof(prefix) - 1;
	char *env = mem_alloc(1, at + name.len + 1);

	if (!env)
		return NULL;
	memcpy(env, prefix, at);
	for (size_t i = 0; i < name.len; i++)
		env[at++] = name.p[i] == '-' ? '_' : ascii_upper(name.p[i]);
	return env;
}

static bool header_name_is_valid(struct slice name)
{
	if (name.len == 0 || name.len > HEADER_NAME_MAX_LEN)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		if (!ascii_is_letter(name.p[i]) && !ascii_is_digit(name.p[i]) && name.p[i] != '-')
			return false;
	}
	return true;
}

static void header_release(struct tool_header *header)
{
	for (size_t i = 0; i < header->path_count; i++)
		mem_free(header->path[i]);
	mem_free(header->path);
	mem_free(header->env);
	mem_free(header->annotation);
}

static int header_add(struct header_walk *walk, struct slice name, int type)
{
	struct tool *tool = walk->r->tool;
	struct tool_header *headers, *header;

	headers = mem_realloc(tool->headers, (tool->headers_count + 1) * sizeof(*headers));
	if (!headers)
		return out_of_memory(walk->err);
	tool->headers = headers;
	header = &headers[tool->headers_count++];
	*header = (struct tool_header){.env = fold_header(name), .annotation = mem_dup(name.p, name.len)};
	header->type = type == 's' ? TOOL_HEADER_STRING : type == 'i' ? TOOL_HEADER_INTEGER : TOOL_HEADER_BOOLEAN;
	header->path = mem_alloc(walk->path_count, sizeof(*header->path));
	if (!header->env || !header->annotation || !header->path)
		return out_of_memory(walk->err);
	for (; header->path_count < walk->path_count; header->path_count++) {
		const char *step = walk->path[header->path_count];

		header->path[header->path_count] = mem_dup(step, strlen(step));
		if (!header->path[header->path_count])
			return out_of_memory(walk->err);
	}
	for (size_t i = 0; i + 1 < tool->headers_count; i++) {
		if (strcmp(tool->headers[i].env, header->env) == 0)
			return header_complain(
			    walk, "two arguments have this " HEADER_KEYWORD " (case does not count)");
	}
	return 0;
}

static int header_read(struct header_walk *walk, json_object *schema, bool is_plain)
{
	struct slice name = jx_get_str(schema, HEADER_KEYWORD), type = jx_get_str(schema, "type");

	if (!is_plain || walk->path_count == 0)
		return header_complain(
		    walk, HEADER_KEYWORD " only stands in arguments that are reached through properties alone");
	if (!header_name_is_valid(name))
		return header_complain(walk, HEADER_KEYWORD " must be 1 to 100 letters, digits and '-'");
	if (!slice_is(type, "string") && !slice_is(type, "integer") && !slice_is(type, "boolean"))
		return header_complain(walk, HEADER_KEYWORD " needs \"type\": \"string\", \"integer\" or \"boolean\"");
	return header_add(walk, name, type.p[0]);
}

static int header_walk(struct header_walk *walk, json_object *schema, bool is_plain);

static int header_walk_step(struct header_walk *walk, const char *key, json_object *schema, bool is_plain)
{
	size_t mark = walk->at.len;
	int bad;

	jx_add_pointer(&walk->at, slice_str(key));
	bad = header_walk(walk, schema, is_plain);
	walk->at.len = mark;
	walk->at.fault = ERR_NONE;
	if (walk->at.data)
		walk->at.data[mark] = '\0';
	return bad;
}

/* A member of a schema whose value holds schemas by name ('{'), in a row ('[') or is one ('.'). */
static int header_walk_keyword(struct header_walk *walk, const char *key, char kind, json_object *val, bool is_plain)
{
	size_t mark = walk->at.len;
	int bad = 0;

	if (kind == '.')
		return header_walk_step(walk, key, val, false);
	jx_add_pointer(&walk->at, slice_str(key));
	if (kind == '{' && json_object_is_type(val, json_type_object)) {
		json_object_object_foreach(val, name, child) {
			walk->path[walk->path_count++] = name;
			bad |= header_walk_step(walk, name, child, is_plain);
			walk->path_count--;
		}
	} else if (kind == '[' && json_object_is_type(val, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(val); i++) {
			char index[24];

			snprintf(index, sizeof(index), "%zu", i);
			bad |= header_walk_step(walk, index, json_object_array_get_idx(val, i), false);
		}
	}
	walk->at.len = mark;
	if (walk->at.data)
		walk->at.data[mark] = '\0';
	return bad;
}

static int header_walk(struct header_walk *walk, json_object *schema, bool is_plain)
{
	static const struct {
		const char *name;
		char kind;
	} rows[] = {
	    {"properties", '{'},
	    {"$defs", '{'},
	    {"definitions", '{'},
	    {"dependentSchemas", '{'},
	    {"allOf", '['},
	    {"anyOf", '['},
	    {"oneOf", '['},
	    {"prefixItems", '['},
	    {"items", '.'},
	    {"additionalProperties", '.'},
	    {"propertyNames", '.'},
	    {"contains", '.'},
	    {"not", '.'},
	    {"if", '.'},
	    {"then", '.'},
	    {"else", '.'},
	};
	int bad = 0;

	if (!json_object_is_type(schema, json_type_object))
		return 0;
	if (jx_has(schema, HEADER_KEYWORD))
		bad = header_read(walk, schema, is_plain);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (jx_has(schema, rows[i].name))
			bad |= header_walk_keyword(
			    walk, rows[i].name, rows[i].kind, jx_get(schema, rows[i].name), is_plain && i == 0);
	}
	return bad;
}

static size_t depth_of(json_object *val)
{
	size_t deepest = 0, depth;

	if (json_object_is_type(val, json_type_object)) {
		json_object_object_foreach(val, name, child) {
			(void)name;
			depth = depth_of(child);
			deepest = depth > deepest ? depth : deepest;
		}
	} else if (json_object_is_type(val, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(val); i++) {
			depth = depth_of(json_object_array_get_idx(val, i));
			deepest = depth > deepest ? depth : deepest;
		}
	} else {
		return 0;
	}
	return deepest + 1;
}

static int read_headers(struct reader *r, struct err *err)
{
	struct header_walk walk = {.r = r, .err = err};
	int bad;

	walk.path = mem_alloc(depth_of(r->input) + 1, sizeof(*walk.path));
	if (!walk.path)
		return out_of_memory(err);
	buf_init(&walk.at, DEFINITION_POINTER_MAX);
	bad = header_walk(&walk, r->input, true);
	buf_release(&walk.at);
	mem_free(walk.path);
	return bad;
}

/* What the provider knows of its tool by now, for what the definition leaves out. */
static int read_late_defaults(struct reader *r, struct err *err)
{
	if (!r->tool->provider->tool_defaults)
		return 0;
	r->defaults = json_object_new_object();
	if (!r->defaults)
		return out_of_memory(err);
	return r->tool->provider->tool_defaults(r->tool, r->defaults, err) ? -1 : read_output(r, err);
}

static int make_listing(struct reader *r, struct err *err)
{
	static const struct {
		const char *member, *name;
	} rows[] = {
	    {"title", "title"},
	    {"description", "description"},
	    {"input", "inputSchema"},
	    {"output_schema", "outputSchema"},
	    {"annotations", "annotations"},
	    {"icons", "icons"},
	    {"_meta", "_meta"},
	};
	json_object *entry = json_object_new_object(), *execution;
	int bad = jx_add_str(entry, "name", r->tool->name, err);

	for (size_t i = 0; i < COUNT_OF(rows) && !bad; i++) {
		json_object *val = strcmp(rows[i].member, "input") == 0 ? r->input : member_of(r, rows[i].member);

		if (val)
			bad = jx_add(entry, rows[i].name, json_object_get(val), err);
	}
	if (r->tool->task != TOOL_TASK_NO && !bad) {
		execution = json_object_new_object();
		bad = jx_add_str(execution, "taskSupport", task_names[r->tool->task], err);
		bad |= jx_add(entry, "execution", execution, err);
	}
	if (!bad)
		bad = definition_make_listing(r->d, SHAPE_TOOL, entry, r->tool->listing, err);
	json_object_put(entry);
	return bad;
}

static int read_members(struct reader *r, struct err *err)
{
	const struct definition *d = r->d;
	bool bad = false;
	const char *text;
	struct err why;

	if (!json_object_is_type(d->def, json_type_object))
		return definition_complain(
		    d, NULL, NULL, "a tool is described by an object, as in {\"exec\": [\"/usr/bin/uptime\"]}");
	r->tool->provider = definition_provider(d, DEFINITION_TOOL, own_members, &bad);
	if (!r->tool->provider)
		return -1;
	text = r->tool->provider->defaults ? r->tool->provider->defaults(d->def) : NULL;
	if (text) {
		r->defaults = jx_parse(slice_str(text), DEFINITION_DEPTH_MAX, err);
		if (!r->defaults)
			return -1;
	}
	if (definition_check_common(d))
		return -1;
	if (content_check_hints(jx_get(d->def, "annotations"), "annotations", &why))
		bad = definition_complain(d, "annotations", NULL, "%s", why.msg) != 0;
	bad |= definition_read_timeout(d, &r->tool->timeout_s) != 0;
	bad |= read_task(r) != 0;
	r->tool->is_polled = read_flag(r, "poll", &bad);
	r->tool->single_use = read_flag(r, "single_use", &bad);
	if (read_input(r, err) || read_headers(r, err) || read_output(r, err))
		return -1;
	bad |= read_asks(r, err) != 0;
	bad |= r->tool->provider->tool_init(r->tool, d->def, d->cfg, d->pointer, err) != 0;
	return bad || read_late_defaults(r, err) ? -1 : make_listing(r, err);
}

static void tool_release(struct tool *tool)
{
	if (tool->provider)
		tool->provider->tool_release(tool);
	for (size_t i = 0; i < tool->headers_count; i++)
		header_release(&tool->headers[i]);
	mem_free(tool->headers);
	schema_free(&tool->input);
	schema_free(&tool->output);
	for (int i = 0; i < REV__COUNT; i++)
		mem_free(tool->listing[i]);
	mem_free(tool->asks);
	mem_free(tool->name);
}

/* Reads one definition into the set. -1 with ERR_CONFIG: complained about; the set is as before. */
static int add_tool(void *arg, const struct definition *d, struct slice name, struct err *err)
{
	struct toolset *set = arg;
	struct tool *tools = mem_realloc(set->tools, (set->count + 1) * sizeof(*tools));
	struct reader r = {.d = d};
	int bad;

	if (!tools)
		return out_of_memory(err);
	set->tools = tools;
	err_set(err, ERR_CONFIG, "bad tool");
	if (!definition_name_is_valid(name))
		return definition_complain(d, NULL, NULL, "a tool's name is 1 to 128 of A-Z a-z 0-9 _ - .");
	r.tool = &tools[set->count];
	*r.tool = (struct tool){.name = mem_dup(name.p, name.len)};
	if (!r.tool->name)
		bad = out_of_memory(err);
	else if (jx_has(set->names, r.tool->name))
		bad = definition_complain(d, NULL, NULL, "there is a tool \"%s\" already", r.tool->name);
	else if (!(bad = read_members(&r, err)) && json_object_object_add(set->names, r.tool->name, NULL))
		bad = out_of_memory(err);
	if (bad) {
		tool_release(r.tool);
		r.tool = NULL;
	}
	json_object_put(r.input);
	json_object_put(r.defaults);
	set->count += r.tool != NULL;
	set->has_tasks = set->has_tasks || (r.tool && r.tool->task != TOOL_TASK_NO);
	return r.tool ? 0 : -1;
}

/* Directories of tools. */

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* "args" becomes the rest of "exec", "cwd" is relative to the directory and without it the directory itself. */
static int complete_manifest(json_object *def, const char *dir, const char *program, struct err *err)
{
	json_object *exec = json_object_new_array(), *args = jx_get_array(def, "args");
	struct slice cwd = jx_get_str(def, "cwd");
	char *path;
	int bad;

	bad = jx_append(exec, json_object_new_string(program), err);
	for (size_t i = 0; args && i < json_object_array_length(args); i++) {
		json_object *arg = json_object_array_get_idx(args, i);

		bad |= json_object_array_add(exec, json_object_get(arg));
	}
	json_object_object_del(def, "args");
	bad |= jx_add(def, "exec", exec, err);
	if (cwd.p || !jx_has(def, "cwd")) {
		path = cfg_path_join(dir, cwd.p ? cwd.p : dir);
		bad |= path ? jx_add_str(def, "cwd", path, err) : out_of_memory(err);
		mem_free(path);
	}
	return bad ? out_of_memory(err) : 0;
}

/* def: owned by the caller; changed. */
static int add_manifest(struct toolset *set, struct cfg *cfg, struct slice name, json_object *def, const char *dir,
    const char *program, const char *pointer, struct err *err)
{
	if (cfg_expand_env(cfg, def, pointer))
		return err_set(err, ERR_CONFIG, "bad tool");
	if (jx_has(def, "exec") || jx_has(def, "builtin"))
		cfg_complain(cfg, pointer, "a manifest names no program: it is the file beside it");
	else if (jx_has(def, "args") && !jx_get_array(def, "args"))
		cfg_complain(cfg, pointer, "args must be an array of strings");
	else if (!is_program(program))
		cfg_complain(cfg, pointer, "%s is no executable file", program);
	else if (complete_manifest(def, dir, program, err))
		return -1;
	else
		return add_tool(set, &(struct definition){.cfg = cfg, .pointer = pointer, .def = def}, name, err);
	return err_set(err, ERR_CONFIG, "bad tool");
}

/* file is NAME.json of dir. */
static int read_manifest(
    struct toolset *set, struct cfg *cfg, const char *dir, const char *file, const char *dir_pointer, struct err *err)
{
	struct slice name = {file, strlen(file) - 5};
	char *path = cfg_path_join(dir, file), *program = path ? mem_dup(path, strlen(path) - 5) : NULL;
	json_object *def = NULL;
	struct buf text, pointer;
	int ret = -1;

	buf_init(&text, MANIFEST_MAX_BYTES);
	buf_init(&pointer, DEFINITION_POINTER_MAX);
	buf_adds(&pointer, dir_pointer);
	jx_add_pointer(&pointer, slice_str(file));
	if (!program || buf_check(&pointer, err)) {
		out_of_memory(err);
	} else {
		if (sources_read(&cfg->sources, path, &text, err) == 0)
			def = jx_parse(buf_slice(&text), DEFINITION_DEPTH_MAX, err);
		if (!def || !json_object_is_type(def, json_type_object))
			cfg_complain(cfg, pointer.data, "%s", def ? "a manifest is an object" : err->msg);
		else
			ret = add_manifest(set, cfg, name, def, dir, program, pointer.data, err);
	}
	json_object_put(def);
	buf_release(&pointer);
	buf_release(&text);
	mem_free(program);
	mem_free(path);
	return ret;
}

static int is_manifest(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return entry->d_name[0] != '.' && len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0;
}

static int read_dir(struct toolset *set, struct cfg *cfg, size_t index, struct err *err)
{
	char pointer[64], *dir;
	struct dirent **entries = NULL;
	int count, ret = 0;

	snprintf(pointer, sizeof(pointer), "/exec/dirs/%zu", index);
	dir = cfg_path_join(cfg_dir_of(cfg, pointer), cfg->exec_dirs.items[index]);
	if (!dir)
		return out_of_memory(err);
	if (sources_add(&cfg->sources, dir, err)) {
		mem_free(dir);
		return -1;
	}
	count = scandir(dir, &entries, is_manifest, alphasort);
	if (count == -1)
		cfg_complain(cfg, pointer, "%s: %s", dir, strerrordesc_np(errno));
	for (int i = 0; i < count; i++) {
		if (ret == 0 && read_manifest(set, cfg, dir, entries[i]->d_name, pointer, err) &&
		    err->code == ERR_NOMEM)
			ret = -1;
		free(entries[i]); /* scandir()'s own */
	}
	free(entries);
	mem_free(dir);
	return ret;
}

/* The tools of an API. */
static int add_api(void *arg, const struct definition *d, struct slice name, struct err *err)
{
	struct toolset *set = arg;
	json_object *tools = openapi_load(d->cfg, d->pointer, d->def, err);

	(void)name;
	if (!tools || jx_append(set->made, tools, err))
		return -1;
	return definition_each(d->cfg, tools, d->pointer, add_tool, set, err);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct tool *)a)->name, ((const struct tool *)b)->name);
}

static void digest(struct toolset *set)
{
	uint64_t hash = DEFINITION_HASH_SEED;

	for (size_t i = 0; i < set->count; i++)
		hash = definition_hash(hash, set->tools[i].listing[REV_2026_07]);
	snprintf(set->digest, sizeof(set->digest), "%016llx", (unsigned long long)hash);
}

int toolset_init(struct toolset *set, struct cfg *cfg, struct err *err)
{
	int complaints = cfg->complaint_count;

	*set = (struct toolset){0};
	set->made = json_object_new_array();
	set->names = json_object_new_object();
	if (!set->made || !set->names) {
		out_of_memory(err);
		goto fail;
	}
	if (definition_each(cfg, cfg->tools, "/tools", add_tool, set, err) ||
	    definition_each(cfg, cfg->openapi, "/openapi", add_api, set, err) ||
	    module_each(cfg, DEFINITION_TOOL, add_tool, set, err))
		goto fail;
	for (size_t i = 0; i < cfg->exec_dirs.count; i++) {
		if (read_dir(set, cfg, i, err))
			goto fail;
	}
	if (cfg->complaint_count != complaints) {
		err_set(err, ERR_CONFIG, "mistakes in the definitions of tools: %d", cfg->complaint_count - complaints);
		goto fail;
	}
	json_object_put(set->names);
	set->names = NULL;
	if (set->count)
		qsort(set->tools, set->count, sizeof(*set->tools), by_name);
	digest(set);
	return 0;
fail:
	toolset_release(set);
	return -1;
}

void toolset_release(struct toolset *set)
{
	for (size_t i = 0; i < set->count; i++)
		tool_release(&set->tools[i]);
	mem_free(set->tools);
	json_object_put(set->made);
	json_object_put(set->names);
	*set = (struct toolset){0};
}

static int by_key(const void *key, const void *tool)
{
	return definition_order(*(const struct slice *)key, ((const struct tool *)tool)->name);
}

const struct tool *toolset_find(const struct toolset *set, struct slice name)
{
	return set->count ? bsearch(&name, set->tools, set->count, sizeof(*set->tools), by_key) : NULL;
}
