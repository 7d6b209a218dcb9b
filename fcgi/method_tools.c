#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/jx.h"
#include "fcgi/method_tools.h"
#include "fcgi/result.h"
#include "fcgi/worker.h"
#include "common/banned.h"

#define WHY_MAX 2000 /* bytes of what a model is told about bad arguments */

/* A cursor is DIGEST.OFFSET: of this very set of tools, so that a page of another configuration is refused, not skewed.
 */
static int read_cursor(const struct toolset *set, json_object *params, size_t *offset, struct err *err)
{
	struct slice cursor = jx_get_str(params, "cursor");
	size_t digest_len = strlen(set->digest);
	char *end;

	*offset = 0;
	if (!jx_has(params, "cursor"))
		return 0;
	if (!cursor.p || cursor.len <= digest_len + 1 || cursor.len > digest_len + 12 ||
	    memcmp(cursor.p, set->digest, digest_len) != 0 || cursor.p[digest_len] != '.' ||
	    cursor.p[digest_len + 1] < '0' || cursor.p[digest_len + 1] > '9')
		return err_set(err, ERR_PARAMS,
		    "cursor is not one of this server's, or the tools have changed since; list again without it");
	*offset = strtoul(cursor.p + digest_len + 1, &end, 10);
	if (end != cursor.p + cursor.len || *offset >= set->count)
		return err_set(err, ERR_PARAMS, "cursor is not one of this server's; list again without it");
	return 0;
}

int method_tools_list(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	const struct toolset *set = &call->w->tools;
	size_t from, to;

	(void)session;
	if (read_cursor(set, rpc->params, &from, err))
		return -1;
	to = set->count - from > (size_t)call->cfg->page_size ? from + (size_t)call->cfg->page_size : set->count;
	buf_adds(out, "\"tools\":[");
	for (size_t i = from; i < to; i++) {
		buf_adds(out, i > from ? "," : "");
		buf_adds(out, set->tools[i].listing[call->era]);
	}
	buf_adds(out, "]");
	if (to < set->count)
		buf_addf(out, ",\"nextCursor\":\"%s.%zu\"", set->digest, to);
	return 0;
}

/* from 2025-11-25 on, wrong values are the tool's answer, so that the model can correct itself. */
static int refuse_arguments(
    const struct call *call, const struct tool *tool, const struct buf *why, json_object **result, struct err *err)
{
	char text[WHY_MAX + 256];

	if (call->revision < REV_2025_11)
		return err_set(err, ERR_PARAMS, "arguments of %s: %s", tool->name, why->data ? why->data : "");
	snprintf(text, sizeof(text), "The arguments don't fit the input schema of %s: %s", tool->name,
	    why->data ? why->data : "");
	*result = result_new_text(slice_str(text), true, err);
	return *result ? 0 : -1;
}

int method_tools_run(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	json_object *none = args ? NULL : json_object_new_object();
	struct buf why;
	int ret;

	*result = NULL;
	args = args ? args : none;
	if (!args)
		return err_set(err, ERR_NOMEM, "no memory for arguments");
	buf_init(&why, WHY_MAX);
	if (schema_check(tool->input, args, &why, err)) {
		ret = err->code == ERR_PARAMS ? refuse_arguments(call, tool, &why, result, err) : -1;
	} else {
		struct err ignored; /* then the client waits */

		if (tool->is_polled)
			call_close_connection(call, &ignored);
		ret = tool->provider->call(call, tool, args, result, err);
		if (ret)
			err_wrap(err, "tool %s", tool->name);
	}
	buf_release(&why);
	json_object_put(none);
	return ret;
}

int method_tools_call(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	struct slice name = jx_get_str(rpc->params, "name");
	json_object *args = jx_get(rpc->params, "arguments"), *result;
	const struct tool *tool;
	int ret;

	(void)session;
	if (!name.p)
		return err_set(err, ERR_PARAMS, "params.name must be a string");
	if (args ? !json_object_is_type(args, json_type_object) : jx_has(rpc->params, "arguments"))
		return err_set(err, ERR_PARAMS, "params.arguments must be an object");
	tool = toolset_find(&call->w->tools, name);
	if (!tool)
		return err_set(err, ERR_PARAMS, "unknown tool \"%.*s\"", name.len > 128 ? 128 : (int)name.len, name.p);
	ret = method_tools_run(call, tool, args, &result, err);
	if (ret == 0 && result)
		result_put_members(out, result, call->era, call->w->server_info, SLICE(""));
	json_object_put(result);
	return ret;
}
