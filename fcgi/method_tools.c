#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "fcgi/cursor.h"
#include "fcgi/method_tools.h"
#include "fcgi/placeholder.h"
#include "fcgi/result.h"
#include "fcgi/task_call.h"
#include "fcgi/worker.h"
#include "common/banned.h"

#define NAME_TEXT_MAX 160  /* bytes of a tool's name and some words */
#define WHY_MAX       2000 /* bytes of what a model is told about bad arguments */

static const char *entry(const void *set, size_t i, enum revision revision)
{
	return ((const struct toolset *)set)->tools[i].listing[revision];
}

int method_tools_list(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	const struct toolset *set = &call->w->tools;
	struct cursor_list list = {"tools", set->digest, set->count, entry, set};

	(void)session;
	return cursor_put_page(&list, call, rpc->params, out, err);
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

/* A client of the era of sessions that can't be asked: the model is told, there is no error for it. Returns 1, or -1.
 */
static int excuse(struct call *call, const struct tool *tool, json_object **result, struct err *err)
{
	char text[sizeof(err->msg) + NAME_TEXT_MAX];

	if (err->code != ERR_CAPABILITY || call->era == ERA_MODERN)
		return -1;
	snprintf(text, sizeof(text), "%s: %s", tool->name, err->msg);
	*result = result_new_text(slice_str(text), true, err);
	return *result ? 1 : -1;
}

/* NULL: the client answered this as it has to be answered before a tool may run. Else why not. */
static const char *objection(json_object *answer)
{
	struct slice action = jx_get_str(answer, "action");

	if (jx_get_object(answer, "error"))
		return "was answered with an error";
	if (action.p && !slice_is(action, "accept"))
		return slice_is(action, "decline") ? "was declined" : "was cancelled";
	return NULL;
}

/* Puts the arguments into what a user is told; params may be NULL. */
static int fill_message(struct call *call, json_object *params, json_object *args, struct err *err)
{
	struct slice message = jx_get_str(params, "message");
	struct buf text;
	int ret;

	if (!message.p)
		return 0;
	buf_init(&text, message.len + (size_t)call->cfg->body_max_bytes);
	placeholder_expand(&text, message.p, args, false);
	ret = buf_check(&text, err);
	if (ret == 0)
		ret = jx_add(params, "message", jx_new_str(buf_slice(&text)), err);
	buf_release(&text);
	return ret;
}

static int ask_one(struct call *call, const struct tool *tool, const char *key, json_object *ask, json_object *args,
    json_object **result, struct err *err)
{
	bool is_optional = json_object_get_boolean(jx_get(ask, "optional"));
	json_object *params = jx_get(ask, "params");
	char text[2 * NAME_TEXT_MAX];
	const char *why;
	int ret;

	if (fill_message(call, params, args, err))
		return -1;
	ret = call_ask_early(call, key, jx_get_str(ask, "method").p, json_object_get(params), err);
	if (ret == -1 && err->code == ERR_CAPABILITY && is_optional) {
		call_set_error_data(call, NULL);
		return 0;
	}
	why = ret == 1 && !is_optional ? objection(jx_get(call->answers, key)) : NULL;
	if (!why || *result)
		return ret == -1 ? -1 : 0;
	snprintf(text, sizeof(text), "%.128s was not run: the question %.64s %s", tool->name, key, why);
	*result = result_new_text(slice_str(text), true, err);
	return *result ? 0 : -1;
}

/* What the definition has asked before the tool runs. 1: it does not run (now): the call asks, or *result says why. */
static int ask_first(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	json_object *asks = tool->asks ? jx_parse(slice_str(tool->asks), TOOL_ASKS_DEPTH_MAX, err) : NULL;
	int ret = tool->asks && !asks ? -1 : 0;

	if (asks) {
		json_object_object_foreach(asks, key, ask) {
			if (ret == 0)
				ret = ask_one(call, tool, key, ask, args, result, err);
		}
	}
	json_object_put(asks);
	if (ret == 0 && *result)
		call_drop_asks(call);
	return ret ? ret : *result || call_is_asking(call);
}

int method_tools_prepare(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	struct buf why;
	int ret;

	buf_init(&why, WHY_MAX);
	*result = NULL;
	if (schema_check(tool->input, args, &why, err) == 0)
		ret = ask_first(call, tool, args, result, err);
	else if (err->code == ERR_PARAMS)
		ret = refuse_arguments(call, tool, &why, result, err) ? -1 : 1;
	else
		ret = -1;
	buf_release(&why);
	return ret == -1 ? excuse(call, tool, result, err) : ret;
}

int method_tools_run(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	int ret = method_tools_prepare(call, tool, args, result, err);

	if (ret == 0) {
		struct err ignored; /* then the client waits */

		if (tool->is_polled)
			call_close_connection(call, &ignored);
		if (tool->waits && !call_can_wait(call) ? task_run_hidden(call, tool, args, result, err)
							: tool->provider->call(call, tool, args, result, err)) {
			err_wrap(err, "tool %s", tool->name);
			ret = excuse(call, tool, result, err);
		}
	}
	return ret == -1 ? -1 : 0;
}

/* As a task, if ttl_ms is not 0. TX-20: in 2026-07-28 what is asked first is asked before there is a task. */
static int call_tool(
    struct call *call, const struct tool *tool, json_object *args, uint64_t ttl_ms, struct buf *out, struct err *err)
{
	json_object *result = NULL;
	int ret = 0;

	if (!ttl_ms)
		ret = method_tools_run(call, tool, args, &result, err);
	else if (call->era == ERA_MODERN)
		ret = method_tools_prepare(call, tool, args, &result, err);
	if (ret != -1 && result)
		result_put_members(out, result, call->revision, call->w->server_info, SLICE(""));
	else if (ret == 0 && ttl_ms)
		ret = task_make(call, tool, args, ttl_ms, out, err);
	json_object_put(result);
	return ret == -1 ? -1 : 0;
}

int method_tools_call(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	const struct tool *tool;
	json_object *args;
	struct slice name;
	uint64_t ttl_ms;
	int ret;

	(void)session;
	if (method_read_call(rpc, &name, &args, err))
		return -1;
	tool = toolset_find(&call->w->tools, name);
	if (!tool)
		ret = err_set(err, ERR_PARAMS, "unknown tool \"%.*s\"", name.len > 128 ? 128 : (int)name.len, name.p);
	else
		ret = task_decide(call, tool, rpc->params, &ttl_ms, err);
	if (ret == 0)
		ret = call_tool(call, tool, args, ttl_ms, out, err);
	json_object_put(args);
	return ret;
}
