/* Tools, resources and prompts that are queries: {"sql": "SELECT ... WHERE email = {email}", "database": "clients"}.
 * How a statement is read and run is fcgi/sql.h.
 *
 *   tools       "rows": "many" (else): {"rows": [...]}, and "truncated": true when there were more than "rows_max" or
 *               sql_result_max_bytes; "one": the first row itself. A statement that gives no rows: {"changed": N}.
 *               structuredContent, and the same as text. Without an output_schema of its own a tool has that of the
 *               statement's columns.
 *   resources   the rows as a JSON array, or with "rows": "one" the first row, without which there is no such resource.
 *               "list" of a template: a query whose columns are the template's variables, and perhaps name, title,
 *               description: the resources that there are.
 *   prompts     "template", one message that the user says, with the {columns} of the first row and {arguments} in it.
 *               Without a row these arguments can't be.
 *   "complete"  of resources and prompts: variable -> a query of one column, what completion suggests; {value} is what
 *               has been typed so far, and other variables can be named too.
 *
 * A database that can't be reached when the configuration is read is logged, and its statements are not checked. */
#include "config.h"

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/result.h"
#include "fcgi/sql_offers.h"
#include "fcgi/sql_query.h"
#include "common/banned.h"

#define WHY_MAX 2000

static bool has_argument(const void *arg, struct slice name)
{
	return schema_allows_member(((const struct tool *)arg)->input, name);
}

static void tool_release(struct tool *tool)
{
	struct sql_query *query = tool->priv;

	sql_query_free(&query);
	tool->priv = NULL;
}

static int tool_init(struct tool *tool, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	json_object *input = jx_get_object(def, "input");
	const struct sql_source source = {.def = def,
	    .cfg = cfg,
	    .pointer = pointer,
	    .is_known = has_argument,
	    .arg = tool,
	    .defaults = jx_get_str(input, "type").p ? jx_get_object(input, "properties") : input};
	struct sql_query *query;
	int ret = sql_query_read(&query, &source, err);

	tool->priv = query;
	return ret;
}

/* {"type":"object","properties":{columns},"required":[...]}: what a row is. */
static json_object *row_schema(json_object *columns, struct err *err)
{
	json_object *schema = json_object_new_object(), *required = json_object_new_array();
	int bad = jx_add_str(schema, "type", "object", err);

	json_object_object_foreach(columns, name, val) {
		(void)val;
		bad |= jx_append(required, json_object_new_string(name), err);
	}
	bad |= jx_add(schema, "properties", json_object_get(columns), err);
	bad |= jx_add(schema, "required", required, err);
	if (!bad)
		return schema;
	json_object_put(schema);
	return NULL;
}

static json_object *parse(const char *text, struct err *err)
{
	return jx_parse(slice_str(text), 16, err);
}

/* What its columns make of the result: the output schema, which json-c's references let stand in the listing too. */
static int tool_defaults(const struct tool *tool, json_object *defaults, struct err *err)
{
	const struct sql_query *q = tool->priv;
	json_object *schema, *properties = NULL;

	if (!sql_is_writable(q->statement->database) &&
	    jx_add(defaults, "annotations", parse("{\"readOnlyHint\":true,\"openWorldHint\":false}", err), err))
		return -1;
	if (!q->columns)
		return 0;
	schema = row_schema(q->columns, err);
	if (q->is_one || !schema)
		return jx_add(defaults, "output_schema", schema, err);
	properties = parse("{\"rows\":{\"type\":\"array\"},\"truncated\":{\"type\":\"boolean\","
			   "\"description\":\"There were more rows than these\"}}",
	    err);
	if (jx_add(jx_get(properties, "rows"), "items", schema, err)) {
		json_object_put(properties);
		return -1;
	}
	schema = parse("{\"type\":\"object\",\"required\":[\"rows\"]}", err);
	if (jx_add(schema, "properties", properties, err)) {
		json_object_put(schema);
		return -1;
	}
	return jx_add(defaults, "output_schema", schema, err);
}

/* What a run gave, as structuredContent. NULL with err->code ERR_NONE: no row, where one was wanted. */
static json_object *structured(const struct sql_query *q, struct sql_run *run, struct err *err)
{
	json_object *val;
	int bad;

	err->code = ERR_NONE;
	if (run->rows && q->is_one)
		return json_object_get(json_object_array_get_idx(run->rows, 0));
	val = json_object_new_object();
	if (run->rows)
		bad = jx_add(val, "rows", json_object_get(run->rows), err);
	else
		bad = jx_add(val, "changed", json_object_new_int64(run->changed), err);
	if (!bad && run->is_cut)
		bad = jx_add(val, "truncated", json_object_new_boolean(1), err);
	if (!bad)
		return val;
	json_object_put(val);
	return NULL;
}

static int fail_result(const struct tool *tool, const char *why, json_object **result, struct err *err)
{
	struct buf text;

	buf_init(&text, WHY_MAX + 256);
	buf_addf(&text, "%s: %s", tool->name, why);
	*result = result_new_text(buf_slice(&text), true, err);
	buf_release(&text);
	return *result ? 0 : -1;
}

static int good_result(const struct tool *tool, json_object *val, json_object **result, struct err *err)
{
	struct buf why, text;
	int ret = 0;

	buf_init(&why, WHY_MAX);
	if (tool->output && schema_check(tool->output, val, &why, err)) {
		ret = fail_result(tool, why.data ? why.data : err->msg, result, err);
		buf_release(&why);
		return ret;
	}
	buf_release(&why);
	buf_init(&text, SIZE_MAX / 2);
	jx_write(&text, val);
	*result = buf_check(&text, err) ? NULL : result_new_text(buf_slice(&text), false, err);
	buf_release(&text);
	if (!*result)
		return -1;
	if (jx_add(*result, "structuredContent", json_object_get(val), err) == 0)
		return 0;
	json_object_put(*result);
	*result = NULL;
	return -1;
}

static int call_tool(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	const struct sql_query *q = tool->priv;
	struct sql_run run;
	json_object *val = NULL;
	int ret = sql_query_run(call, q->statement, q->rows_max, tool->timeout_s, tool->name, args, &run, err);

	*result = NULL;
	if (ret == 1) {
		ret = fail_result(tool, err->msg, result, err);
	} else if (ret == 0) {
		val = structured(q, &run, err);
		if (val)
			ret = good_result(tool, val, result, err);
		else
			ret = err->code == ERR_NONE ? fail_result(tool, "nothing was found", result, err) : -1;
	}
	json_object_put(val);
	sql_run_release(&run);
	return ret;
}

static const char *const members[] = {"rows", SQL_QUERY_MEMBERS, NULL};

const struct provider provider_sql = {
    .name = "sql",
    .members = members,
    .tool_init = tool_init,
    .tool_defaults = tool_defaults,
    .tool_release = tool_release,
    .call = call_tool,
    .resource_members = sql_resource_members,
    .resource_init = sql_resource_init,
    .resource_release = sql_resource_release,
    .read = sql_resource_read,
    .list = sql_resource_list,
    .resource_complete = sql_resource_complete,
    .prompt_members = sql_prompt_members,
    .prompt_init = sql_prompt_init,
    .prompt_release = sql_prompt_release,
    .get = sql_prompt_get,
    .prompt_complete = sql_prompt_complete,
};
