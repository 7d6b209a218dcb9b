/* The checks of DT-20 .. DT-36 in their order (differences.md 2.3a); the first that fails answers. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/jx.h"
#include "fcgi/ask_modern.h"
#include "fcgi/call_http.h"
#include "fcgi/guard.h"
#include "fcgi/level.h"
#include "fcgi/listen.h"
#include "fcgi/method.h"
#include "fcgi/modern.h"
#include "fcgi/revision.h"
#include "fcgi/task.h"
#include "common/banned.h"

#define KEY_VERSION  "io.modelcontextprotocol/protocolVersion"
#define KEY_CLIENT   "io.modelcontextprotocol/clientInfo"
#define KEY_LEVEL    "io.modelcontextprotocol/logLevel"
#define INTEGER_SAFE 9007199254740991.0
#define VALUE_MAX    8192 /* bytes of a decoded header; web servers take no longer ones */

/* What params._meta says of a request. */
enum { META_VERSION, META_CLIENT, META_CAPABILITIES, META_LEVEL, META_TOKEN, META_COUNT };

static const char *const meta_names[META_COUNT] = {
    KEY_VERSION, KEY_CLIENT, MODERN_CAPABILITIES, KEY_LEVEL, "progressToken"};

bool modern_has_claim(json_object *meta)
{
	return jx_has(meta, KEY_VERSION);
}

bool modern_claim_inside(json_object *array)
{
	size_t count = json_object_array_length(array);

	for (size_t i = 0; i < count; i++) {
		json_object *params = jx_get_object(json_object_array_get_idx(array, i), "params");

		if (modern_has_claim(jx_get_object(params, "_meta")))
			return true;
	}
	return false;
}

/* DT-20 .. DT-25 */
static int check_version(const struct exchange *x, const struct rpc *rpc, const struct jx_member *meta, struct err *err)
{
	const char *header = req_env(x->req, "HTTP_MCP_PROTOCOL_VERSION");
	struct slice claim = jx_str(meta[META_VERSION].val);

	if (!meta[META_VERSION].is_there) {
		if (rpc->kind == RPC_NOTIFICATION)
			return 0; /* DT-35: its header is the claim */
		if (slice_is(rpc->method, "initialize"))
			return err_set(err, ERR_MISMATCH,
			    "initialize belongs to revisions before 2026-07-28, the version header to that one");
		return err_set(err, ERR_PARAMS,
		    "missing _meta: " KEY_VERSION " and " MODERN_CAPABILITIES " are required in params._meta");
	}
	if (!claim.p)
		return err_set(err, ERR_PARAMS, "_meta: " KEY_VERSION " must be a string");
	if (!header)
		return err_set(err, ERR_MISMATCH, "header MCP-Protocol-Version is missing");
	if (!slice_is(claim, header))
		return err_set(err, ERR_MISMATCH, "header MCP-Protocol-Version and _meta name different versions");
	if (!slice_is(claim, revision_name(REV_2026_07)))
		return err_set(err, ERR_VERSION, "this version is not served this way");
	return 0;
}

/* DT-26 */
static int check_envelope(const struct jx_member *meta, struct err *err)
{
	json_object *client = meta[META_CLIENT].val, *token = meta[META_TOKEN].val;

	if (!json_object_is_type(meta[META_CAPABILITIES].val, json_type_object))
		return err_set(err, ERR_PARAMS, "_meta: " MODERN_CAPABILITIES " must be an object");
	if (meta[META_CLIENT].is_there && (!jx_get_str(client, "name").p || !jx_get_str(client, "version").p))
		return err_set(err, ERR_PARAMS, "_meta: " KEY_CLIENT " must be an object with name and version");
	if (meta[META_LEVEL].is_there && level_find(jx_str(meta[META_LEVEL].val)) < 0)
		return err_set(err, ERR_PARAMS, "_meta: " KEY_LEVEL " is not a level");
	if (meta[META_TOKEN].is_there && !json_object_is_type(token, json_type_string) &&
	    !json_object_is_type(token, json_type_int))
		return err_set(err, ERR_PARAMS, "_meta: progressToken must be a string or an integer");
	return 0;
}

/* DT-28: Mcp-Name repeats a member of params, also of methods that this server doesn't have (H-08). */
static int check_name(const struct exchange *x, const struct rpc *rpc, struct err *err)
{
	static const struct {
		const char *method, *member;
	} rows[] = {
	    {"tools/call", "name"},
	    {"prompts/get", "name"},
	    {"resources/read", "uri"},
	    {"tasks/cancel", "taskId"},
	    {"tasks/get", "taskId"},
	    {"tasks/update", "taskId"},
	};
	const char *member = NULL, *header = req_env(x->req, "HTTP_MCP_NAME");
	struct slice want;
	struct buf value;
	int ret;

	for (size_t i = 0; i < COUNT_OF(rows) && !member; i++)
		member = slice_is(rpc->method, rows[i].method) ? rows[i].member : NULL;
	if (!member)
		return 0;
	if (strcmp(member, "taskId") == 0 && !task_is_declared(jx_get_object(rpc->meta, MODERN_CAPABILITIES)))
		return 0; /* it is the extension that asks for the header */
	want = jx_get_str(rpc->params, member);
	if (!header)
		return err_set(err, ERR_MISMATCH, "header Mcp-Name is missing");
	buf_init(&value, VALUE_MAX);
	ret = header_decode(header, &value, err);
	if (ret)
		err_wrap(err, "header Mcp-Name");
	else if (!want.p || !slice_eq(buf_slice(&value), want))
		ret = err_set(err, ERR_MISMATCH, "header Mcp-Name and params.%s differ", member);
	buf_release(&value);
	return ret;
}

static json_object *at_path(json_object *args, const struct tool_header *h)
{
	for (size_t i = 0; args && i < h->path_count; i++)
		args = json_object_is_type(args, json_type_object) ? jx_get(args, h->path[i]) : NULL;
	return args;
}

static bool equals_argument(const struct tool_header *h, json_object *arg, const struct buf *value)
{
	switch (h->type) {
	case TOOL_HEADER_BOOLEAN:
		return slice_is(buf_slice(value), json_object_get_boolean(arg) ? "true" : "false");
	case TOOL_HEADER_INTEGER: { /* H-14: 42.0 is 42; H-22: where a double knows each integer */
		const char *text = value->data ? value->data : "";
		char *end;
		double n;

		if (value->len == 0 || text[strspn(text, "+-0123456789.eE")] != '\0')
			return false;
		n = strtod(text, &end);
		return *end == '\0' && n == json_object_get_double(arg) && n >= -INTEGER_SAFE && n <= INTEGER_SAFE;
	}
	case TOOL_HEADER_STRING:
		break;
	}
	return slice_eq(buf_slice(value), jx_str(arg));
}

static bool fits_type(const struct tool_header *h, json_object *arg)
{
	switch (h->type) {
	case TOOL_HEADER_BOOLEAN:
		return json_object_is_type(arg, json_type_boolean);
	case TOOL_HEADER_INTEGER:
		return jx_is_integer(arg);
	case TOOL_HEADER_STRING:
		break;
	}
	return json_object_is_type(arg, json_type_string);
}

/* DT-30: arguments that the schema marks are repeated in Mcp-Param-*. An argument of the wrong type is the schema's
 * business. */
static int check_params(const struct exchange *x, const struct rpc *rpc, struct err *err)
{
	const struct tool *tool = toolset_find(&x->w->tools, jx_get_str(rpc->params, "name"));
	json_object *args = jx_get_object(rpc->params, "arguments");

	for (size_t i = 0; tool && i < tool->headers_count; i++) {
		const struct tool_header *h = &tool->headers[i];
		json_object *arg = at_path(args, h);
		const char *header = req_env(x->req, h->env);
		struct buf value;
		int ret;

		if (!arg || !fits_type(h, arg))
			continue;
		if (!header && json_object_is_type(arg, json_type_string) && json_object_get_string_len(arg) == 0)
			continue; /* H-25: web servers drop headers without a value */
		if (!header)
			return err_set(err, ERR_MISMATCH, "header Mcp-Param-%s is missing", h->annotation);
		buf_init(&value, VALUE_MAX);
		ret = header_decode(header, &value, err);
		if (ret)
			err_wrap(err, "header Mcp-Param-%s", h->annotation);
		else if (!equals_argument(h, arg, &value))
			ret = err_set(err, ERR_MISMATCH, "header Mcp-Param-%s and the argument differ", h->annotation);
		buf_release(&value);
		if (ret)
			return ret;
	}
	return 0;
}

/* All that may refuse a request at 400 or 404 before its handler runs. *m is NULL for subscriptions/listen, which has
 * no result to write. */
static int check_request(const struct exchange *x, const struct rpc *rpc, const struct jx_member *meta,
    const struct method **m, struct err *err)
{
	const char *method = req_env(x->req, "HTTP_MCP_METHOD");

	if (check_version(x, rpc, meta, err) || check_envelope(meta, err))
		return -1;
	if (!method)
		return err_set(err, ERR_MISMATCH, "header Mcp-Method is missing");
	if (!slice_is(rpc->method, method))
		return err_set(err, ERR_MISMATCH, "header Mcp-Method and the method differ");
	if (check_name(x, rpc, err))
		return -1;
	*m = method_find(x->w, ERA_MODERN, rpc->method);
	if (!*m && !slice_is(rpc->method, LISTEN_METHOD))
		return err_set(err, ERR_METHOD, "this server has no such method in 2026-07-28");
	return slice_is(rpc->method, "tools/call") ? check_params(x, rpc, err) : 0;
}

static void refuse(struct exchange *x, const struct rpc *rpc, const struct err *err)
{
	struct slice requested = jx_get_str(rpc->meta, KEY_VERSION);
	struct buf data;

	buf_init(&data, 65536);
	if (err->code == ERR_VERSION) {
		buf_adds(&data, "{\"supported\":" REVISION_LIST_JSON ",\"requested\":");
		jx_write_str(&data, requested);
		buf_adds(&data, "}");
	}
	exchange_reply_error(x, err_http(err->code), NULL, rpc->kind == RPC_REQUEST ? rpc->id : "", err,
	    data.len && !data.fault ? data.data : NULL);
	buf_release(&data);
}

/* DT-35, DT-36: nothing that a client may notify has an effect over HTTP. */
static void serve_notification(struct exchange *x, const struct rpc *rpc, const struct jx_member *meta)
{
	const char *method = req_env(x->req, "HTTP_MCP_METHOD");
	struct err err = {0};
	int ret = check_version(x, rpc, meta, &err);

	if (ret == 0 && method && !slice_is(rpc->method, method))
		ret = err_set(&err, ERR_MISMATCH, "header Mcp-Method and the method differ");
	if (ret)
		refuse(x, rpc, &err);
	else
		exchange_reply(x, 202, NULL, NULL, SLICE(""));
}

/* -1: cancelled. Otherwise answer has the answer, and err what it is if it is an error. */
static int run(const struct exchange *x, const struct method *m, struct call *call, const struct rpc *rpc,
    struct buf *answer, struct err *err)
{
	struct ask_round round = {0};
	int ret = guard_message(x, rpc->method, true, err);

	call->priv->may_ask = true;
	if (ret == 0 && method_may_ask(m))
		ret = ask_modern_begin(call, rpc, &round, err);
	if (ret == 0) {
		ret = method_run(m, call, rpc, NULL, answer, err);
		if (ret == 1)
			ret = ask_modern_put(call, rpc, answer, err);
	}
	if (ret && err->code != ERR_CANCELLED) {
		buf_clear(answer);
		method_put_error(call, rpc, err, answer);
		ret = 0;
	}
	ask_round_release(&round);
	return ret;
}

void modern_serve(struct exchange *x, struct rpc *rpc)
{
	const struct method *m = NULL;
	const char *ids[1] = {rpc->id};
	struct jx_member meta[META_COUNT];
	struct call_http h;
	struct call *call = &h.call;
	struct err err = {0};
	struct buf answer;
	struct slice message;
	int ret;

	x->era = ERA_MODERN;
	x->revision = REV_2026_07;
	jx_find_members(rpc->meta, meta_names, META_COUNT, meta);
	if (rpc->kind == RPC_NOTIFICATION) {
		serve_notification(x, rpc, meta);
		return;
	}
	if (check_request(x, rpc, meta, &m, &err)) {
		refuse(x, rpc, &err);
		return;
	}
	if (!m) {
		listen_serve(x, rpc);
		return;
	}
	x->ids = ids;
	x->ids_count = 1;
	call_http_init(&h, x, rpc);
	call->capabilities = meta[META_CAPABILITIES].val;
	if (meta[META_LEVEL].is_there)
		call->log_level = level_find(jx_str(meta[META_LEVEL].val));
	buf_init(&answer, METHOD_ANSWER_MAX);
	ret = run(x, m, call, rpc, &answer, &err);
	message = exchange_message(&answer);
	if (err.code == ERR_CAPABILITY && x->phase == EXCHANGE_OPEN && message.len) /* */
		exchange_reply(x, err_http(err.code), "application/json", NULL, message);
	else
		exchange_finish(x, &message, ret == 0 ? 1 : 0); /* cancelled: nobody is there */
	buf_release(&answer);
	call_release(call);
	link_call_end(x->w->link, &x->lcall);
	x->ids = NULL;
}
