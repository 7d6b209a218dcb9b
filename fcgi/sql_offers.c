#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/placeholder.h"
#include "fcgi/result.h"
#include "fcgi/sql_offers.h"
#include "fcgi/sql_query.h"
#include "fcgi/uri_template.h"
#include "common/banned.h"

#define LISTED_MAX      100000 /* rows that one list reads */
#define TEMPLATE_GROWTH 16     /* times that a template may name its longest value: a ceiling, not a goal */

/* A run's failure that a client is told, as an error of the whole request. */
static int fail(struct err *err)
{
	return err_set(err, err->code == ERR_PARAMS ? ERR_PARAMS : ERR_TOOL, "%.200s", err->msg);
}

/* Resources. */

static bool has_variable(const void *arg, struct slice name)
{
	const struct resource *resource = arg;

	return resource->template && uri_template_has_variable(resource->template, name);
}

void sql_resource_release(struct resource *resource)
{
	struct sql_query *query = resource->priv;

	sql_query_free(&query);
	resource->priv = NULL;
}

static bool has_none(const void *arg, struct slice name)
{
	(void)arg, (void)name;
	return false;
}

/* "list": every variable of the template is to be a column. */
static int read_list(
    struct sql_query *q, const struct resource *resource, const struct sql_source *source, struct err *err)
{
	struct sql_source own = *source;
	json_object *columns = NULL;
	int bad = 0;

	if (!resource->template)
		return cfg_complain_at(source->cfg, source->pointer, "list", "only a template has a list");
	own.is_known = has_none;
	q->list = sql_statement_new(&own, jx_get(source->def, "list"), "list", err);
	if (!q->list || sql_query_describe(source, q->list, "list", &columns))
		return -1;
	for (size_t i = 0; columns && uri_template_variable(resource->template, i); i++) {
		const char *name = uri_template_variable(resource->template, i);

		if (!jx_has(columns, name))
			bad = cfg_complain_at(source->cfg, source->pointer, "list", "it has no column %s", name);
	}
	json_object_put(columns);
	return bad;
}

int sql_resource_init(
    struct resource *resource, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	static const char type[] = "application/json";
	const struct sql_source source = {
	    .def = def, .cfg = cfg, .pointer = pointer, .is_known = has_variable, .arg = resource};
	struct sql_query *query;
	int bad = sql_query_read(&query, &source, err);

	resource->priv = query;
	if (query)
		bad |= sql_query_read_completions(query, &source, err);
	if (query && jx_has(def, "list"))
		bad |= read_list(query, resource, &source, err);
	if (!resource->mime_type)
		resource->mime_type = mem_dup(type, sizeof(type) - 1);
	return resource->mime_type ? bad : err_set(err, ERR_NOMEM, "sql");
}

int sql_resource_read(struct call *call, const struct resource *resource, struct slice uri, json_object *vars,
    json_object *contents, struct err *err)
{
	const struct sql_query *q = resource->priv;
	struct sql_run run;
	json_object *object = NULL;
	struct buf text;
	int ret = sql_query_run(call, q->statement, q->rows_max, resource->timeout_s, resource->uri, vars, &run, err);

	(void)uri;
	buf_init(&text, SIZE_MAX / 2);
	if (ret == 1) {
		ret = fail(err);
	} else if (ret == 0 && q->is_one && (!run.rows || json_object_array_length(run.rows) == 0)) {
		ret = err_set(err, ERR_NOT_FOUND, "there is nothing at this URI");
	} else if (ret == 0) {
		jx_write(&text, q->is_one ? json_object_array_get_idx(run.rows, 0) : run.rows);
		object = json_object_new_object();
		ret = buf_check(&text, err);
		if (ret == 0)
			ret = jx_add(object, "text", jx_new_str(buf_slice(&text)), err);
		ret = jx_append(contents, object, err) | ret;
	}
	buf_release(&text);
	sql_run_release(&run);
	return ret;
}

/* A row of the list as a Resource. *item NULL: a variable is missing, so it has no URI. */
static int make_item(const struct resource *resource, json_object *row, json_object **item, struct err *err)
{
	static const char *const members[] = {"name", "title", "description"};
	json_object *vars = json_object_new_object();
	struct slice text;
	struct buf uri;
	int bad = vars ? 0 : err_set(err, ERR_NOMEM, "sql");

	*item = NULL;
	buf_init(&uri, URI_TEMPLATE_URI_MAX);
	for (size_t i = 0; !bad && uri_template_variable(resource->template, i); i++) {
		const char *name = uri_template_variable(resource->template, i);
		json_object *val = jx_get(row, name);

		if (val)
			bad = jx_add(vars, name, json_object_new_string(json_object_get_string(val)), err);
	}
	if (!bad && uri_template_expand(resource->template, vars, &uri, err)) {
		json_object_put(vars);
		buf_release(&uri);
		return err->code == ERR_NOMEM ? -1 : 0;
	}
	json_object_put(vars);
	if (!bad) {
		*item = json_object_new_object();
		bad = jx_add(*item, "uri", jx_new_str(buf_slice(&uri)), err);
	}
	for (size_t i = 0; i < COUNT_OF(members) && !bad; i++) {
		text = jx_get_str(row, members[i]);
		if (text.len)
			bad = jx_add(*item, members[i], jx_new_str(text), err);
	}
	if (!bad && !jx_has(*item, "name"))
		bad = jx_add(*item, "name", jx_new_str(buf_slice(&uri)), err);
	if (!bad)
		bad = jx_add_str(*item, "mimeType", resource->mime_type, err);
	buf_release(&uri);
	return bad;
}

static int by_uri(const void *a, const void *b)
{
	return strcmp(jx_get_str(*(json_object *const *)a, "uri").p, jx_get_str(*(json_object *const *)b, "uri").p);
}

int sql_resource_list(struct call *call, const struct resource *resource, struct slice after, size_t max,
    json_object *items, struct err *err)
{
	const struct sql_query *q = resource->priv;
	json_object *none, *all, *item;
	struct sql_run run;
	int ret;

	if (!q->list)
		return 0;
	none = json_object_new_object();
	all = json_object_new_array();
	ret = sql_query_run(call, q->list, LISTED_MAX, resource->timeout_s, resource->uri, none, &run, err);
	if (ret == 1)
		ret = fail(err);
	for (size_t i = 0; ret == 0 && run.rows && i < json_object_array_length(run.rows); i++) {
		ret = make_item(resource, json_object_array_get_idx(run.rows, i), &item, err);
		if (item && (ret || (after.p && strcmp(jx_get_str(item, "uri").p, after.p) <= 0)))
			json_object_put(item);
		else if (item)
			ret = jx_append(all, item, err);
	}
	if (ret == 0)
		json_object_array_sort(all, by_uri);
	for (size_t i = 0; ret == 0 && i < json_object_array_length(all) && i < max; i++)
		ret = jx_append(items, json_object_get(json_object_array_get_idx(all, i)), err);
	sql_run_release(&run);
	json_object_put(all);
	json_object_put(none);
	return ret;
}

int sql_resource_complete(struct call *call, const struct resource *resource, struct slice variable, struct slice value,
    json_object *others, json_object *values, struct err *err)
{
	return sql_query_complete(
	    call, resource->priv, resource->timeout_s, resource->uri, variable, value, others, values, err);
}

/* Prompts. */

static bool has_argument(const void *arg, struct slice name)
{
	return arguments_find(&((const struct prompt *)arg)->arguments, name) != NULL;
}

void sql_prompt_release(struct prompt *prompt)
{
	struct sql_query *query = prompt->priv;

	sql_query_free(&query);
	prompt->priv = NULL;
}

static int read_template(struct sql_query *q, const struct prompt *prompt, const struct sql_source *source)
{
	struct slice text = jx_get_str(source->def, "template"), part;
	char name[256];
	size_t at = 0;

	if (text.len == 0 || strlen(text.p) != text.len)
		return cfg_complain_at(source->cfg, source->pointer, "template",
		    "template must be the text of the prompt, with the {columns} of a row");
	q->template = text.p;
	while (text.p[at]) {
		int kind = placeholder_next(text.p, &at, &part);

		if (kind == -1)
			return cfg_complain_at(source->cfg, source->pointer, "template", "%s", PLACEHOLDER_SYNTAX);
		snprintf(name, sizeof(name), "%.*s", part.len > 255 ? 255 : (int)part.len, part.p);
		if (kind == 1 && q->columns && !jx_has(q->columns, name) && !has_argument(prompt, part))
			return cfg_complain_at(
			    source->cfg, source->pointer, "template", "{%s} is neither a column nor an argument", name);
	}
	return 0;
}

int sql_prompt_init(struct prompt *prompt, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	const struct sql_source source = {
	    .def = def, .cfg = cfg, .pointer = pointer, .is_known = has_argument, .arg = prompt};
	struct sql_query *query;
	int bad = sql_query_read(&query, &source, err);

	prompt->priv = query;
	if (!query)
		return -1;
	query->rows_max = 1;
	bad |= sql_query_read_completions(query, &source, err);
	return read_template(query, prompt, &source) | bad;
}

/* The template with a row's columns, and arguments where there is no such column. */
static int expand(struct call *call, const struct sql_query *q, json_object *row, json_object *args,
    json_object **result, struct err *err)
{
	struct buf text;
	int bad = 0;

	json_object_object_foreach(args, name, val) {
		if (!json_object_object_get_ex(row, name, NULL))
			bad |= jx_add(row, name, json_object_get(val), err);
	}
	buf_init(&text, strlen(q->template) + TEMPLATE_GROWTH * (size_t)call->cfg->sql_result_max_bytes);
	placeholder_expand(&text, q->template, row, false);
	if (!bad)
		bad = buf_check(&text, err);
	*result = bad ? NULL : result_new_prompt(buf_slice(&text), err);
	buf_release(&text);
	return *result ? 0 : -1;
}

int sql_prompt_get(
    struct call *call, const struct prompt *prompt, json_object *args, json_object **result, struct err *err)
{
	const struct sql_query *q = prompt->priv;
	struct sql_run run;
	int ret = sql_query_run(call, q->statement, q->rows_max, prompt->timeout_s, prompt->name, args, &run, err);

	*result = NULL;
	if (ret == 1)
		ret = fail(err);
	else if (ret == 0 && (!run.rows || json_object_array_length(run.rows) == 0))
		ret = err_set(err, ERR_PARAMS, "%s: nothing was found for these arguments", prompt->name);
	else if (ret == 0)
		ret = expand(call, q, json_object_array_get_idx(run.rows, 0), args, result, err);
	sql_run_release(&run);
	return ret;
}

int sql_prompt_complete(struct call *call, const struct prompt *prompt, struct slice argument, struct slice value,
    json_object *others, json_object *values, struct err *err)
{
	return sql_query_complete(
	    call, prompt->priv, prompt->timeout_s, prompt->name, argument, value, others, values, err);
}

const char *const sql_resource_members[] = {"rows", "list", "complete", SQL_QUERY_MEMBERS, NULL};
const char *const sql_prompt_members[] = {"template", "complete", SQL_QUERY_MEMBERS, NULL};
