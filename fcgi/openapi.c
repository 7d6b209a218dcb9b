/* A description is read as a whole; each of its operations is then converted on its own, and left out on its own. Names
 * are given to all operations before any is chosen, so that they don't depend on what is. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/ascii.h"
#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/definition.h"
#include "fcgi/openapi_priv.h"
#ifdef HAVE_LIBYAML
#include "fcgi/yaml.h"
#endif
#include "common/banned.h"

#define DEPTH_MAX       100
#define NODES_MAX       10000000 /* with what aliases stand for */
#define OPERATIONS_MAX  20000
#define TOOLS_MAX       2000
#define INPUT_MAX_BYTES 262144
#define TEXT_MAX        1024 /* bytes of a title or description */
#define URL_MAX         8192
#define PATTERNS_MAX    100 /* that are dropped of one operation */

static const struct {
	const char *key, *method; /* NULL: nobody can send it */
} methods[] = {
    {"get", "GET"},
    {"head", "HEAD"},
    {"post", "POST"},
    {"put", "PUT"},
    {"patch", "PATCH"},
    {"delete", "DELETE"},
    {"options", NULL},
    {"trace", NULL},
};

int openapi_refuse(struct err *err, const char *fmt, ...)
{
	char text[sizeof(err->msg)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(err, ERR_CONFIG, "%s", text);
}

int openapi_check(const struct buf *text, const char *what, struct err *err)
{
	return text->fault == ERR_TOO_BIG ? openapi_refuse(err, "%s is too long", what) : buf_check(text, err);
}

static void say_left_out(const struct operation *o, const char *text)
{
	const struct openapi_listener *l = o->api->listener;
	char line[512];

	snprintf(line, sizeof(line), "%s %.100s: %s", o->method, o->path, text);
	l->left_out(l->arg, o->at.data ? o->at.data : "", line);
}

void openapi_warn(const struct operation *o, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say_left_out(o, text);
}

static void wrong_file(const struct openapi *api, const char *pointer, const char *text)
{
	api->listener->wrong_file(api->listener->arg, pointer, text);
}

size_t openapi_enter(struct operation *o, const char *key)
{
	size_t mark = o->at.len;

	jx_add_pointer(&o->at, slice_str(key));
	return mark;
}

size_t openapi_enter_index(struct operation *o, size_t index)
{
	char key[24];

	snprintf(key, sizeof(key), "%zu", index);
	return openapi_enter(o, key);
}

void openapi_leave(struct operation *o, size_t mark)
{
	o->at.len = mark;
	o->at.fault = ERR_NONE;
	if (o->at.data)
		o->at.data[mark] = '\0';
}

size_t openapi_cut(struct slice text, size_t max)
{
	size_t len = text.len;

	if (len > max) {
		len = max;
		while (len && ((unsigned char)text.p[len] & 0xc0) == 0x80)
			len--;
	}
	return len;
}

/* ---- operations ---- */

static int add_entry(
    const struct openapi *api, struct openapi_entries *all, const struct openapi_entry *e, struct err *err)
{
	if (all->count == OPERATIONS_MAX) {
		wrong_file(api, "/paths", "it has too many operations");
		return err_set(err, ERR_CONFIG, "openapi");
	}
	if (all->count == all->cap) {
		size_t cap = all->cap ? 2 * all->cap : 64;
		struct openapi_entry *more = mem_realloc(all->items, cap * sizeof(*more));

		if (!more)
			return err_set(err, ERR_NOMEM, "openapi");
		all->items = more;
		all->cap = cap;
	}
	all->items[all->count] = *e;
	return openapi_name(api, &all->items[all->count++], err);
}

static void operation_release(struct operation *o)
{
	json_object *const objects[] = {o->properties, o->required, o->defs, o->def_names, o->def_pointers, o->query,
	    o->headers, o->header_names, o->json, o->form, o->text};

	for (size_t i = 0; i < COUNT_OF(objects); i++)
		json_object_put(objects[i]);
	buf_release(&o->at);
}

static void go_to_operation(struct operation *o)
{
	openapi_leave(o, 0);
	openapi_enter(o, "paths");
	openapi_enter(o, o->path);
	openapi_enter(o, o->key);
}

static int operation_init(struct operation *o, struct openapi *api, const struct openapi_entry *e, struct err *err)
{
	*o = (struct operation){.api = api,
	    .method = e->method ? e->method : e->key,
	    .path = e->path,
	    .key = e->key,
	    .item = e->item,
	    .op = e->op,
	    .properties = json_object_new_object(),
	    .required = json_object_new_array(),
	    .defs = json_object_new_object(),
	    .def_names = json_object_new_object(),
	    .def_pointers = json_object_new_array(),
	    .query = json_object_new_object(),
	    .headers = json_object_new_object(),
	    .header_names = json_object_new_object()};
	buf_init(&o->at, DEFINITION_POINTER_MAX);
	go_to_operation(o);
	return o->properties && o->required && o->defs && o->def_names && o->def_pointers && o->query && o->headers &&
		       o->header_names
		   ? 0
		   : err_set(err, ERR_NOMEM, "openapi");
}

/* ---- servers ---- */

/* {name} of a server's URL. */
static int put_variable(
    const struct operation *o, struct buf *url, json_object *variables, struct slice name, struct err *err)
{
	json_object *given = jx_get_object(o->api->def, "variables"), *variable;
	struct slice value;
	char key[128];

	snprintf(key, sizeof(key), "%.*s", name.len > 100 ? 100 : (int)name.len, name.p);
	variable = jx_get_object(variables, key);
	value = jx_get_str(given, key);
	if (!value.p)
		value = jx_get_str(variable, "default");
	if (!value.p)
		return openapi_refuse(err, "its server has {%s}, of which nobody says what it is: \"variables\"", key);
	openapi_put_plain(url, value);
	return 0;
}

static int put_server_url(
    const struct operation *o, struct buf *url, struct slice text, json_object *variables, struct err *err)
{
	struct buf made;
	int ret = 0;

	buf_init(&made, URL_MAX);
	for (size_t i = 0; i < text.len && ret == 0;) {
		const char *end = text.p[i] == '{' ? memchr(text.p + i, '}', text.len - i) : NULL;

		if (end) {
			ret = put_variable(
			    o, &made, variables, (struct slice){text.p + i + 1, (size_t)(end - text.p) - i - 1}, err);
			i = (size_t)(end - text.p) + 1;
		} else {
			openapi_put_plain(&made, (struct slice){text.p + i, 1});
			i++;
		}
	}
	if (ret == 0)
		ret = openapi_check(&made, "the URL of its server", err);
	while (made.len && made.data[made.len - 1] == '/')
		made.data[--made.len] = '\0';
	if (ret == 0 &&
	    (!made.len || (strncmp(made.data, "https://", 8) != 0 && strncmp(made.data, "http://", 7) != 0)))
		ret = openapi_refuse(err, "its server is not named: \"server\" must say https://...");
	if (ret == 0 && strpbrk(made.data, "?# \\{\t\r\n"))
		ret = openapi_refuse(err, "the URL of its server holds what none can");
	if (ret == 0)
		buf_add_slice(url, buf_slice(&made));
	buf_release(&made);
	return ret;
}

static int put_server(struct operation *o, struct buf *url, struct err *err)
{
	struct slice given = jx_get_str(o->api->def, "server"), text;
	json_object *list = jx_get_array(o->op, "servers"), *first;

	if (given.p)
		return put_server_url(o, url, given, NULL, err);
	if (!list)
		list = jx_get_array(o->item, "servers");
	if (!list)
		list = jx_get_array(o->api->root, "servers");
	first = list ? json_object_array_get_idx(list, 0) : NULL;
	text = jx_get_str(first, "url");
	return put_server_url(o, url, text.p ? text : SLICE(""), jx_get_object(first, "variables"), err);
}

/* ---- the tool ---- */

static int add_texts(const struct operation *o, json_object *tool, struct err *err)
{
	struct slice summary = jx_get_str(o->op, "summary"), text = jx_get_str(o->op, "description");
	bool is_deprecated = json_object_get_boolean(jx_get(o->op, "deprecated"));
	struct buf out;
	int bad = 0;

	buf_init(&out, 4 * TEXT_MAX);
	if (is_deprecated)
		buf_adds(&out, "Deprecated. ");
	if (summary.len)
		bad = jx_add(tool, "title", jx_new_str((struct slice){summary.p, openapi_cut(summary, TEXT_MAX)}), err);
	if (summary.len && !(text.len >= summary.len && memcmp(text.p, summary.p, summary.len) == 0)) {
		buf_add(&out, summary.p, openapi_cut(summary, TEXT_MAX));
		buf_adds(&out, text.len ? "\n\n" : "");
	}
	if (text.len)
		buf_add(&out, text.p, openapi_cut(text, TEXT_MAX));
	if (!summary.len && !text.len)
		buf_addf(&out, "%s %.900s", o->method, o->path);
	bad |= buf_check(&out, err) || jx_add(tool, "description", jx_new_str(buf_slice(&out)), err);
	buf_release(&out);
	return bad;
}

static int add_hints(const struct operation *o, json_object *tool, struct err *err)
{
	bool only_reads = strcmp(o->method, "GET") == 0 || strcmp(o->method, "HEAD") == 0;
	bool is_idempotent = strcmp(o->method, "PUT") == 0 || strcmp(o->method, "DELETE") == 0;
	json_object *hints = json_object_new_object();
	int bad = jx_add(hints, "readOnlyHint", json_object_new_boolean(only_reads), err);

	if (!only_reads)
		bad |= jx_add(hints, "idempotentHint", json_object_new_boolean(is_idempotent), err);
	return jx_add(tool, "annotations", hints, err) | bad;
}

/* obj is shared into to, unless it is NULL or has nothing. */
static int add_share(json_object *to, const char *name, json_object *obj, struct err *err)
{
	if (!obj || (json_object_is_type(obj, json_type_object) && json_object_object_length(obj) == 0) ||
	    (json_object_is_type(obj, json_type_array) && json_object_array_length(obj) == 0))
		return 0;
	return jx_add(to, name, json_object_get(obj), err);
}

static int add_http(const struct operation *o, json_object *tool, const struct buf *url, struct err *err)
{
	json_object *http = json_object_new_object();
	int bad = jx_add(http, "url", jx_new_str(buf_slice(url)), err);

	bad |= jx_add_str(http, "method", o->method, err);
	bad |= add_share(http, "query", o->query, err);
	bad |= add_share(http, "headers", o->headers, err);
	bad |= add_share(http, "json", o->json, err);
	bad |= add_share(http, "form", o->form, err);
	bad |= add_share(http, "body", o->text, err);
	return jx_add(tool, "http", http, err) | bad;
}

/* A pattern that can't be compiled is dropped, for the API to judge; true: there was one at that place. */
static bool drop_pattern(struct operation *o, json_object *input, struct buf *where, const struct err *why)
{
	const char *last = where->data ? strrchr(where->data, '/') : NULL;
	json_object *schema;

	if (!last || strcmp(last, "/pattern") != 0 ||
	    !jx_find(input, (struct slice){where->data, (size_t)(last - where->data)}, &schema) ||
	    !jx_has(schema, "pattern"))
		return false;
	json_object_object_del(schema, "pattern");
	openapi_warn(o, "a pattern is left out: %.200s", why->msg);
	return true;
}

/* Whether the schema is one, and not too large. */
static int check_input(struct operation *o, json_object *input, struct err *err)
{
	struct schema *schema = NULL;
	struct buf where, text;
	int ret;

	buf_init(&where, DEFINITION_POINTER_MAX);
	buf_init(&text, INPUT_MAX_BYTES);
	jx_write(&text, input);
	ret = openapi_check(&text, "its input schema", err);
	for (int i = 0; ret == 0 && !schema && i < PATTERNS_MAX; i++) {
		buf_clear(&where);
		schema = schema_new(input, &where, err);
		if (!schema && where.fault == ERR_NOMEM)
			buf_check(&where, err);
		if (!schema && (err->code != ERR_CONFIG || !drop_pattern(o, input, &where, err)))
			break;
	}
	if (ret == 0 && !schema && err->code == ERR_CONFIG) {
		char why[sizeof(err->msg)];

		snprintf(why, sizeof(why), "%s", err->msg);
		openapi_refuse(err, "its input schema, %.100s: %.130s", where.data ? where.data : "", why);
	}
	ret = ret == 0 && schema ? 0 : -1;
	schema_free(&schema);
	buf_release(&where);
	buf_release(&text);
	return ret;
}

static int add_input(struct operation *o, json_object *tool, struct err *err)
{
	json_object *input = json_object_new_object();
	int bad = jx_add_str(input, "type", "object", err);

	bad |= add_share(input, "properties", o->properties, err);
	bad |= add_share(input, "required", o->required, err);
	bad |= jx_add(input, "additionalProperties", json_object_new_boolean(false), err);
	bad |= add_share(input, "$defs", o->defs, err);
	bad = jx_add(tool, "input", input, err) | bad;
	return bad ? -1 : check_input(o, input, err);
}

static int add_passed_on(const struct operation *o, json_object *tool, struct err *err)
{
	static const char *const names[] = {"timeout_s", "retries", "output_max_bytes", "cache"};
	int bad = 0;

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		if (strcmp(names[i], "cache") != 0 || strcmp(o->method, "GET") == 0)
			bad |= add_share(tool, names[i], jx_get(o->api->def, names[i]), err);
	}
	return bad;
}

static int make_tool(struct operation *o, bool can_send, json_object *tool, struct err *err)
{
	struct buf url;
	int ret;

	if (!can_send)
		return openapi_refuse(err, "such a request can't be sent");
	buf_init(&url, URL_MAX);
	ret = put_server(o, &url, err) || openapi_add_security(o, err) || openapi_add_request(o, &url, err);
	ret = ret || openapi_check(&url, "its URL", err) || openapi_add_defs(o, err) ? -1 : 0;
	if (ret == 0)
		go_to_operation(o);
	ret = ret || add_texts(o, tool, err) || add_http(o, tool, &url, err) || add_input(o, tool, err) ||
		      add_hints(o, tool, err) || add_passed_on(o, tool, err)
		  ? -1
		  : 0;
	buf_release(&url);
	return ret;
}

/* 0 also when it was left out. */
static int add_tool(struct openapi *api, const struct openapi_entry *e, json_object *tools, struct err *err)
{
	json_object *tool = json_object_new_object();
	struct operation o;
	int ret = operation_init(&o, api, e, err);

	if (ret == 0 && !tool)
		ret = err_set(err, ERR_NOMEM, "openapi");
	if (ret == 0)
		ret = make_tool(&o, e->method != NULL, tool, err);
	if (ret == 0 && jx_has(tools, e->name))
		ret = openapi_refuse(err, "another tool is named %s", e->name);
	if (ret && err->code == ERR_CONFIG) {
		char text[sizeof(err->msg) + 32];

		snprintf(text, sizeof(text), "left out: %s", err->msg);
		say_left_out(&o, text);
		ret = 0;
	} else if (ret == 0) {
		ret = jx_add(tools, e->name, json_object_get(tool), err);
	}
	operation_release(&o);
	json_object_put(tool);
	return ret;
}

/* ---- the description ---- */

static int read_item(
    const struct openapi *api, struct openapi_entries *all, const char *path, json_object *item, struct err *err)
{
	struct buf pointer;
	struct err why = {0};

	if (strncmp(path, "x-", 2) == 0)
		return 0;
	if (path[0] == '/' && openapi_resolve(api, &item, &why) == 0) {
		for (size_t i = 0; i < COUNT_OF(methods); i++) {
			struct openapi_entry e = {
			    .path = path, .key = methods[i].key, .method = methods[i].method, .item = item};

			e.op = jx_get_object(item, e.key);
			if (e.op && add_entry(api, all, &e, err))
				return -1;
		}
		return 0;
	}
	buf_init(&pointer, DEFINITION_POINTER_MAX);
	buf_adds(&pointer, "/paths");
	jx_add_pointer(&pointer, slice_str(path));
	api->listener->left_out(api->listener->arg, pointer.data ? pointer.data : "/paths",
	    path[0] == '/' ? why.msg : "left out: a path begins with /");
	buf_release(&pointer);
	return why.code == ERR_NOMEM ? err_set(err, ERR_NOMEM, "openapi") : 0;
}

static int check_unmet(const struct openapi *api)
{
	int bad = 0;

	json_object_object_foreach(api->unmet, name, count) {
		char text[512];

		snprintf(text, sizeof(text),
		    "%lld operations need \"%.80s\": name the file with its secret, or null to go without it",
		    (long long)json_object_get_int64(count), name);
		api->listener->wrong_member(api->listener->arg, "secrets", text);
		bad = -1;
	}
	return bad;
}

static int add_tools(struct openapi *api, const struct openapi_entries *all, json_object *tools,
    struct openapi_counts *counts, struct err *err)
{
	for (size_t i = 0; i < all->count; i++) {
		if (!openapi_is_chosen(api, &all->items[i]))
			continue;
		if (++counts->chosen > TOOLS_MAX) {
			wrong_file(api, "/paths",
			    "it has too many operations for tools: choose some by tags, paths, methods or operations");
			return err_set(err, ERR_CONFIG, "openapi");
		}
		if (add_tool(api, &all->items[i], tools, err))
			return -1;
	}
	return check_unmet(api) ? err_set(err, ERR_CONFIG, "openapi") : 0;
}

static int check_version(struct openapi *api)
{
	struct slice version = jx_get_str(api->root, "openapi");

	if (jx_has(api->root, "swagger")) {
		wrong_file(api, "/swagger",
		    "this is Swagger 2.0, and OpenAPI 3.0 and 3.1 are read: convert it first, as swagger2openapi does");
		return -1;
	}
	if (!version.p || (strncmp(version.p, "3.0.", 4) != 0 && strncmp(version.p, "3.1.", 4) != 0)) {
		wrong_file(api, "/openapi", "this must be \"3.0.x\" or \"3.1.x\"");
		return -1;
	}
	api->is_30 = version.p[2] == '0';
	return 0;
}

static json_object *parse(struct slice text, struct err *err)
{
	const char *p = text.p, *end = text.p + text.len;

	while (p < end && ascii_is_among(*p, " \t\r\n"))
		p++;
	if (p < end && *p == '{')
		return jx_parse(text, DEPTH_MAX, err);
#ifdef HAVE_LIBYAML
	return yaml_parse(text, DEPTH_MAX, NODES_MAX, err);
#else
	err_set(err, ERR_PARSE, "it is no JSON object, and this program was built without YAML");
	return NULL;
#endif
}

/* Fills tools. */
static int convert(struct openapi *api, json_object *tools, struct openapi_counts *counts, struct err *err)
{
	json_object *paths = jx_get_object(api->root, "paths");
	struct openapi_entries all = {0};
	int ret = 0;

	if (check_version(api) | openapi_check_secrets(api))
		return err_set(err, ERR_CONFIG, "openapi");
	if (!paths) {
		wrong_file(api, "/paths", "there must be an object of paths");
		return err_set(err, ERR_CONFIG, "openapi");
	}
	json_object_object_foreach(paths, path, item) {
		ret = read_item(api, &all, path, item, err);
		if (ret)
			break;
	}
	counts->operations = all.count;
	if (ret == 0)
		ret = openapi_tell_apart(&all, err) ? -1 : add_tools(api, &all, tools, counts, err);
	mem_free(all.items);
	return ret;
}

json_object *openapi_convert(struct slice text, json_object *def, const struct openapi_listener *listener,
    struct openapi_counts *counts, struct err *err)
{
	struct openapi api = {.def = def, .listener = listener};
	json_object *tools = NULL;
	int ret = -1;

	*counts = (struct openapi_counts){0};
	*err = (struct err){0};
	if (openapi_check_members(&api)) {
		err_set(err, ERR_CONFIG, "openapi");
		return NULL;
	}
	api.root = parse(text, err);
	if (api.root) {
		tools = json_object_new_object();
		api.unmet = json_object_new_object();
		ret = tools && api.unmet ? convert(&api, tools, counts, err) : err_set(err, ERR_NOMEM, "openapi");
	} else if (err->code != ERR_NOMEM) {
		wrong_file(&api, "", err->msg);
		err_set(err, ERR_CONFIG, "openapi");
	}
	json_object_put(api.unmet);
	json_object_put(api.root);
	if (ret == 0)
		return tools;
	json_object_put(tools);
	return NULL;
}
