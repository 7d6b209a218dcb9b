/* What a module may call, in its handler's thread. */
#include "config.h"

#include <stdio.h>

#include "common/base64.h"
#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/module_priv.h"
#include "common/banned.h"

#define KEEP_MAX_BYTES 4096

static _Thread_local struct module_run *let_in;
static struct log_rate misuse_rate;

void module_let_in(struct module_run *run)
{
	let_in = run;
}

static void serve_nobody(struct module_run *run, struct module_op *op)
{
	json_object_put(op->params);
	op->ret = -1;
	op->err = run->answer.fault;
}

static int wait_for_nobody(struct module_run *run, int64_t timeout_ms)
{
	(void)run;
	(void)timeout_ms;
	return MCP_CANCELLED;
}

static int cancel_fd_of_nobody(struct module_run *run)
{
	(void)run;
	return -1;
}

/* For who calls from another thread, or when its call is over: a run that knows nothing and takes nothing. */
static struct module_run *nobodys_run(void)
{
	static const struct module_way by_nobody = {serve_nobody, wait_for_nobody, cancel_fd_of_nobody};
	static char no_settings[] = "";
	static struct module no_module = {.settings = no_settings};
	static _Thread_local struct module_run run;
	unsigned dropped;

	if (log_rate_ok(&misuse_rate, 5, 1000, &dropped))
		LOG(ERROR, "module.misuse",
		    "dropped=%u what=\"a call is used by another thread than its own, or after its end\"", dropped);
	run.module = &no_module;
	run.way = &by_nobody;
	run.depth_max = 1;
	err_set(&run.answer.fault, ERR_CANCELLED, "this is not the call of this thread");
	run.why = run.answer.fault;
	return &run;
}

static struct module_run *run_of(struct mcp_call *pub)
{
	return let_in && &let_in->shell->pub == pub ? let_in : nobodys_run();
}

/* A module's mistake, which whoever looks at the text refuses. */
static const char *or_empty(const char *text)
{
	return text ? text : "";
}

/* What the call is about. */

static json_object *read_once(json_object **doc, struct slice text, struct module_run *run)
{
	if (!*doc && text.len)
		*doc = jx_parse(text, run->depth_max, &run->why);
	return *doc;
}

static json_object *find(struct module_run *run, const char *pointer)
{
	static const char settings[] = "/settings";
	size_t len = sizeof(settings) - 1;
	json_object *val = NULL, *doc;

	if (strncmp(pointer, settings, len) == 0 && (pointer[len] == '/' || pointer[len] == '\0')) {
		doc = read_once(&run->settings_doc, slice_str(run->module->settings), run);
		pointer += len;
	} else {
		doc = read_once(&run->info_doc, buf_slice(&run->info), run);
	}
	return doc && jx_find(doc, slice_str(pointer), &val) ? val : NULL;
}

static const char *host_get(struct mcp_call *pub, const char *pointer, size_t *len)
{
	json_object *val = find(run_of(pub), or_empty(pointer));
	struct slice text = jx_str(val);

	if (val && !text.p) /* this thread alone has the document: json-c may keep the text in it */
		text.p = json_object_to_json_string_length(
		    val, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &text.len);
	if (len)
		*len = text.len;
	return text.p;
}

static int host_get_int(struct mcp_call *pub, const char *pointer, int64_t *value)
{
	json_object *val = find(run_of(pub), or_empty(pointer));

	if (!val || !jx_is_integer(val))
		return MCP_FAILED;
	*value = json_object_get_int64(val); /* of what is beyond it the nearest */
	return MCP_OK;
}

static int host_get_double(struct mcp_call *pub, const char *pointer, double *value)
{
	json_object *val = find(run_of(pub), or_empty(pointer));

	if (!jx_is_number(val))
		return MCP_FAILED;
	*value = json_object_get_double(val);
	return MCP_OK;
}

/* The answer. A fault stays: what comes after it would be an answer with a hole. */

static int fault(struct module_run *run, const struct err *err)
{
	if (run->answer.fault.code == ERR_NONE)
		run->answer.fault = *err;
	run->why = run->answer.fault;
	return MCP_FAILED;
}

/* Takes so many bytes of what may be answered. */
static int take_room(struct module_run *run, size_t len)
{
	struct err err;

	if (run->answer.fault.code != ERR_NONE)
		return fault(run, &run->answer.fault);
	if (len <= run->room) {
		run->room -= len;
		return MCP_OK;
	}
	err_set(&err, ERR_TOO_BIG, "its answer is larger than module_output_max_bytes");
	return fault(run, &err);
}

static int host_add_text(struct mcp_call *pub, const char *text, size_t len)
{
	struct module_run *run = run_of(pub);
	struct err err;

	if (take_room(run, len))
		return MCP_FAILED;
	buf_add(&run->text, text, len);
	return buf_check(&run->text, &err) ? fault(run, &err) : MCP_OK;
}

static int host_add_print(struct mcp_call *pub, const char *format, va_list args)
{
	struct module_run *run = run_of(pub);
	struct err err;
	va_list again;
	char *text;
	int len;

	va_copy(again, args);
	len = vsnprintf(NULL, 0, format, again);
	va_end(again);
	if (len < 0) {
		err_set(&err, ERR_INVALID, "what it prints can't be printed");
		return fault(run, &err);
	}
	if (take_room(run, (size_t)len))
		return MCP_FAILED;
	text = buf_reserve(&run->text, (size_t)len + 1);
	if (!text)
		return buf_check(&run->text, &err) ? fault(run, &err) : MCP_FAILED;
	vsnprintf(text, (size_t)len + 1, format, args);
	run->text.len += (size_t)len;
	return MCP_OK;
}

static int add_piece(struct module_run *run, json_object *piece, struct err *err)
{
	if (!run->answer.pieces)
		run->answer.pieces = json_object_new_array();
	return jx_append(run->answer.pieces, piece, err);
}

int module_end_text(struct module_run *run, struct err *err)
{
	json_object *piece;
	int ret;

	if (run->text.len == 0)
		return 0;
	piece = json_object_new_object();
	ret = jx_add(piece, "text", jx_new_str(buf_slice(&run->text)), err);
	buf_clear(&run->text);
	return add_piece(run, piece, err) | ret;
}

static int host_add_data(struct mcp_call *pub, const char *mime_type, const void *data, size_t len)
{
	struct module_run *run = run_of(pub);
	json_object *piece;
	struct err err;
	int bad;

	if (!mime_type) {
		err_set(&err, ERR_PARAMS, "its data has no mime_type");
		return fault(run, &err);
	}
	if (take_room(run, len))
		return MCP_FAILED;
	bad = module_end_text(run, &err);
	buf_clear(&run->base64);
	base64_encode(&run->base64, BASE64_PADDED, (struct slice){data, len});
	bad = bad || buf_check(&run->base64, &err);
	if (bad)
		return fault(run, &err);
	piece = json_object_new_object();
	bad = jx_add(piece, "data", jx_new_str(buf_slice(&run->base64)), &err);
	bad |= jx_add_str(piece, "mimeType", mime_type, &err);
	return add_piece(run, piece, &err) | bad ? fault(run, &err) : MCP_OK;
}

/* NULL: *err says why not, in the module's words. */
static json_object *read_json(struct module_run *run, const char *what, const char *json, size_t len, struct err *err)
{
	json_object *val = jx_parse((struct slice){json, len}, run->depth_max, err);

	if (!val)
		err_wrap(err, "%s is not the JSON that it should be", what);
	return val;
}

static int set_json(struct mcp_call *pub, json_object **at, const char *what, const char *json, size_t len)
{
	struct module_run *run = run_of(pub);
	struct err err;

	if (take_room(run, len))
		return MCP_FAILED;
	json_object_put(*at);
	*at = read_json(run, what, json, len, &err);
	return *at ? MCP_OK : fault(run, &err);
}

static int host_set_structured(struct mcp_call *pub, const char *json, size_t len)
{
	return set_json(pub, &run_of(pub)->answer.structured, "its structured content", json, len);
}

static int host_set_result(struct mcp_call *pub, const char *json, size_t len)
{
	return set_json(pub, &run_of(pub)->answer.whole, "its result", json, len);
}

/* What only who has the call may do. */

/* Takes params. Returns what the call's function did, or MCP_CANCELLED. */
static int do_op(struct module_run *run, struct module_op *op)
{
	run->way->serve(run, op);
	if (op->ret != -1)
		return op->ret;
	run->why = op->err;
	return op->err.code == ERR_CANCELLED || op->err.code == ERR_EXPIRED ? MCP_CANCELLED : MCP_FAILED;
}

static int send(struct module_run *run, const char *method, json_object *params)
{
	struct module_op op = {.kind = MODULE_NOTIFY, .method = method, .params = params};

	return do_op(run, &op);
}

/* Takes params. */
static int fail(struct module_run *run, json_object *params, const struct err *err)
{
	json_object_put(params);
	run->why = *err;
	return MCP_FAILED;
}

static int host_progress(struct mcp_call *pub, double progress, double total, const char *message)
{
	struct module_run *run = run_of(pub);
	json_object *params = json_object_new_object();
	struct err err;
	int bad;

	if (!(progress - progress == 0) || !(total - total == 0)) {
		err_set(&err, ERR_PARAMS, "progress and total must be numbers");
		return fail(run, params, &err);
	}
	bad = jx_add(params, "progress", json_object_new_double(progress), &err);
	if (total != 0)
		bad |= jx_add(params, "total", json_object_new_double(total), &err);
	if (message)
		bad |= jx_add(params, "message", jx_new_str(slice_str(message)), &err);
	return bad ? fail(run, params, &err) : send(run, "notifications/progress", params);
}

static int host_log(struct mcp_call *pub, const char *level, const char *text, size_t len)
{
	struct module_run *run = run_of(pub);
	json_object *params = json_object_new_object();
	struct err err;
	int bad;

	bad = jx_add_str(params, "level", or_empty(level), &err);
	bad |= jx_add(params, "data", jx_new_str((struct slice){text, len}), &err);
	return bad ? fail(run, params, &err) : send(run, "notifications/message", params);
}

static int host_notify(struct mcp_call *pub, const char *method, const char *params, size_t len)
{
	struct module_run *run = run_of(pub);
	json_object *val = params ? read_json(run, "params", params, len, &run->why) : NULL;

	return params && !val ? MCP_FAILED : send(run, or_empty(method), val);
}

static int host_ask(struct mcp_call *pub, const char *key, const char *method, const char *params, size_t len)
{
	struct module_run *run = run_of(pub);
	struct module_op op = {.kind = MODULE_ASK, .key = or_empty(key), .method = or_empty(method)};
	int ret;

	op.params = params ? read_json(run, "params", params, len, &run->why) : NULL;
	ret = params && !op.params ? MCP_FAILED : do_op(run, &op);
	return ret == 1 ? MCP_ANSWERED : ret;
}

static int host_keep(struct mcp_call *pub, const char *json, size_t len)
{
	struct module_run *run = run_of(pub);
	struct module_op op = {.kind = MODULE_KEEP};
	struct err err;

	if (len > KEEP_MAX_BYTES) {
		err_set(&err, ERR_TOO_BIG, "what it keeps has more than %d bytes", KEEP_MAX_BYTES);
		return fault(run, &err);
	}
	op.params = read_json(run, "what it keeps", json, len, &err);
	return op.params ? do_op(run, &op) : fault(run, &err);
}

/* Time. */

static int host_wait(struct mcp_call *pub, int64_t timeout_ms)
{
	return run_of(pub)->way->wait(run_of(pub), timeout_ms);
}

static int host_cancel_fd(struct mcp_call *pub)
{
	return run_of(pub)->way->cancel_fd(run_of(pub));
}

static int64_t host_time_left_ms(struct mcp_call *pub)
{
	return (int64_t)(run_of(pub)->ends_at_ms - now_ms());
}

static const char *host_why(struct mcp_call *pub)
{
	return run_of(pub)->why.msg;
}

const struct mcp_host module_host = {
    .size = sizeof(struct mcp_host),
    .get = host_get,
    .get_int = host_get_int,
    .get_double = host_get_double,
    .add_text = host_add_text,
    .add_print = host_add_print,
    .add_data = host_add_data,
    .set_structured = host_set_structured,
    .set_result = host_set_result,
    .progress = host_progress,
    .log = host_log,
    .notify = host_notify,
    .ask = host_ask,
    .keep = host_keep,
    .wait = host_wait,
    .cancel_fd = host_cancel_fd,
    .time_left_ms = host_time_left_ms,
    .why = host_why,
};
