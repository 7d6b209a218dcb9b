#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/jx.h"
#include "ctl/import.h"
#include "fcgi/openapi.h"
#include "common/banned.h"

#define STRING_MAX 1048576

/* text at commas: an array; is_map: an object of NAME=VALUE, where an empty VALUE is null. NULL: no memory. */
static json_object *split(const char *text, bool is_map, struct err *err)
{
	json_object *out = is_map ? json_object_new_object() : json_object_new_array();
	int bad = out ? 0 : err_set(err, ERR_NOMEM, "import");

	while (*text && !bad) {
		struct slice part = {text, strcspn(text, ",")};
		const char *equals = memchr(part.p, '=', part.len);
		struct slice value = {equals ? equals + 1 : "", equals ? part.len - (size_t)(equals + 1 - part.p) : 0};
		char name[256];

		snprintf(name, sizeof(name), "%.*s", (int)(part.len - value.len - (equals != NULL)), part.p);
		if (!is_map)
			bad = jx_append(out, jx_new_str(part), err);
		else if (value.len)
			bad = jx_add(out, name, jx_new_str(value), err);
		else
			bad = json_object_object_add(out, name, NULL);
		text += part.len + (text[part.len] == ',');
	}
	if (!bad)
		return out;
	json_object_put(out);
	return NULL;
}

/* The definition that the options make. */
static json_object *make_definition(const struct import_options *options, struct err *err)
{
	const struct {
		const char *name, *value;
		enum { TEXT, LIST, MAP } kind;
	} rows[] = {
	    {"server", options->server, TEXT},
	    {"variables", options->variables, MAP},
	    {"prefix", options->prefix, TEXT},
	    {"tags", options->tags, LIST},
	    {"paths", options->paths, LIST},
	    {"methods", options->methods, LIST},
	    {"operations", options->operations, LIST},
	    {"secrets", options->secrets, MAP},
	};
	json_object *def = json_object_new_object();
	int bad = 0;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *value = rows[i].value;

		if (value)
			bad |= jx_add(def, rows[i].name,
			    rows[i].kind == TEXT ? json_object_new_string(value)
						 : split(value, rows[i].kind == MAP, err),
			    err);
	}
	if (!bad)
		return def;
	json_object_put(def);
	return NULL;
}

static void on_wrong_member(void *arg, const char *member, const char *text)
{
	(void)arg;
	fprintf(stderr, "mcpctl: --%s: %s\n", member, text);
}

static void on_wrong_file(void *arg, const char *pointer, const char *text)
{
	fprintf(stderr, "%s: %s%s%s\n", (const char *)arg, pointer, *pointer ? ": " : "", text);
}

static void on_left_out(void *arg, const char *pointer, const char *text)
{
	fprintf(stderr, "%s: %s: warning: %s\n", (const char *)arg, pointer, text);
}

/* "${" in a text of the description is no variable of the environment for whoever reads what is written here. */
static int escape_strings(json_object *val, struct buf *text, struct err *err)
{
	struct slice s = jx_str(val);
	int bad = 0;

	if (json_object_is_type(val, json_type_object)) {
		json_object_object_foreach(val, name, child) {
			(void)name;
			bad = bad ? bad : escape_strings(child, text, err);
		}
	} else if (json_object_is_type(val, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(val) && !bad; i++)
			bad = escape_strings(json_object_array_get_idx(val, i), text, err);
	} else if (s.p && memmem(s.p, s.len, "${", 2)) {
		buf_clear(text);
		for (size_t i = 0; i < s.len; i++) {
			buf_adds(text, i + 1 < s.len && s.p[i] == '$' && s.p[i + 1] == '{' ? "$" : "");
			buf_add(text, s.p + i, 1);
		}
		bad = buf_check(text, err);
		if (!bad && !json_object_set_string_len(val, text->data, (int)text->len))
			bad = err_set(err, ERR_NOMEM, "import");
	}
	return bad;
}

/* Each value is made one of its own first: what is shared would be escaped twice. */
static int print(json_object *tools, struct err *err)
{
	json_object *own = NULL, *out = json_object_new_object();
	const char *written = NULL;
	struct buf text;
	int bad;

	buf_init(&text, STRING_MAX);
	bad = json_object_deep_copy(tools, &own, NULL) ? err_set(err, ERR_NOMEM, "import")
						       : escape_strings(own, &text, err);
	bad = jx_add(out, "tools", own, err) | bad;
	if (!bad)
		written =
		    json_object_to_json_string_ext(out, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_PRETTY_TAB |
							    JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);
	if (!bad && !written)
		bad = err_set(err, ERR_NOMEM, "import");
	if (!bad && (puts(written) == EOF || fflush(stdout)))
		bad = err_sys(err, "write");
	buf_release(&text);
	json_object_put(out);
	return bad;
}

int import_openapi(const char *file, const struct import_options *options)
{
	char *arg = (char *)(uintptr_t)file;
	const struct openapi_listener listener = {on_wrong_member, on_wrong_file, on_left_out, arg};
	struct openapi_counts counts = {0};
	struct sources sources = {0};
	struct err err = {0};
	json_object *def = make_definition(options, &err), *tools = NULL;
	struct buf text;
	int ret = -1;

	buf_init(&text, OPENAPI_FILE_MAX_BYTES);
	if (def && sources_read(&sources, file, &text, &err) == 0)
		tools = openapi_convert(buf_slice(&text), def, &listener, &counts, &err);
	if (tools)
		ret = print(tools, &err);
	if (ret && err.code != ERR_CONFIG)
		fprintf(stderr, "%s: %s\n", file, err.code == ERR_TOO_BIG ? "it is too large" : err.msg);
	if (ret == 0)
		fprintf(stderr, "%s: %zu operations, %zu chosen, %d tools\n", file, counts.operations, counts.chosen,
		    json_object_object_length(tools));
	json_object_put(tools);
	json_object_put(def);
	sources_release(&sources);
	buf_release(&text);
	return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}
