#include "config.h"

#include "common/jx.h"
#include "fcgi/ask.h"
#include "fcgi/exec_priv.h"
#include "fcgi/report.h"
#include "common/banned.h"

/* MCP_ANSWER_<KEY>_<FIELD> = val, if it is short and of one value. */
static int set_answer(struct exec_run *run, const char *key, const char *field, json_object *val, struct err *err)
{
	struct buf name, text;
	int ret = 0;

	buf_init(&name, 512);
	buf_init(&text, EXEC_SCALAR_MAX_BYTES);
	buf_adds(&name, "MCP_ANSWER_");
	exec_put_name(&name, key);
	buf_adds(&name, "_");
	exec_put_name(&name, field);
	if (!name.fault && exec_scalar_text(val, &text))
		ret = exec_run_set(run, name.data, buf_slice(&text), err);
	buf_release(&name);
	buf_release(&text);
	return ret;
}

/* The first text of a message that a model wrote. */
static json_object *text_of(json_object *content)
{
	size_t count = json_object_is_type(content, json_type_array) ? json_object_array_length(content) : 1;

	for (size_t i = 0; i < count; i++) {
		json_object *block =
		    json_object_is_type(content, json_type_array) ? json_object_array_get_idx(content, i) : content;

		if (slice_is(jx_get_str(block, "type"), "text"))
			return jx_get(block, "text");
	}
	return NULL;
}

static int set_answers(struct exec_run *run, const char *key, json_object *answer, struct err *err)
{
	json_object *content = jx_get(answer, "content"), *error = jx_get_object(answer, "error");
	bool is_form = jx_has(answer, "action");

	if (is_form && json_object_is_type(content, json_type_object)) {
		json_object_object_foreach(content, field, val) {
			if (set_answer(run, key, field, val, err))
				return -1;
		}
	}
	/* Last, so that no field passes for these. */
	if (is_form && set_answer(run, key, "ACTION", jx_get(answer, "action"), err))
		return -1;
	if (!is_form && content && set_answer(run, key, "TEXT", text_of(content), err))
		return -1;
	return error ? set_answer(run, key, "ERROR", jx_get(error, "message"), err) : 0;
}

int exec_ask_prepare(struct exec_run *run, struct err *err)
{
	struct call *call = run->call;
	const char *handle;
	struct buf text;
	int ret;

	if (report_open(call, &handle, err) || (handle && exec_run_set(run, "MCP_CALL", slice_str(handle), err)))
		return -1;
	buf_init(&text, EXEC_SCALAR_MAX_BYTES);
	ask_put_abilities(call, &text);
	ret = exec_run_set(run, "MCP_CAN", buf_slice(&text), err);
	buf_clear(&text);
	if (ret == 0 && call->kept) {
		if (!exec_scalar_text(call->kept, &text)) {
			buf_clear(&text);
			jx_write(&text, call->kept);
		}
		ret = buf_check(&text, err) ? -1 : exec_run_set(run, "MCP_STATE", buf_slice(&text), err);
	}
	buf_release(&text);
	if (ret || !call->answers)
		return ret;
	json_object_object_foreach(call->answers, key, answer) {
		if (set_answers(run, key, answer, err))
			return -1;
	}
	return exec_run_set(run, "MCP_ANSWERS", SLICE("/dev/fd/4"), err);
}

/* {"method": "state", "params": ANY} */
static int take_state(struct exec_run *run, json_object *message, struct err *err)
{
	json_object *val = jx_get(message, "params");
	struct buf text;
	int ret;

	if (!val) {
		err_set(err, ERR_PARAMS, "state needs params that are not null");
		return 1;
	}
	buf_init(&text, EXEC_SCALAR_MAX_BYTES);
	jx_write(&text, val);
	ret = buf_check(&text, err) ? 1 : call_keep(run->call, json_object_get(val), err);
	buf_release(&text);
	if (ret == 1)
		exec_run_fail(run, "its state has more than %d bytes", EXEC_SCALAR_MAX_BYTES);
	return ret;
}

/* A program that asks in a wrong way must not pass for one that asks nothing: it fails, however it ends. */
static int take_question(struct exec_run *run, struct slice method, json_object *message, struct err *err)
{
	bool is_optional = json_object_get_boolean(jx_get(message, "optional"));
	struct slice key = jx_get_str(message, "id");
	json_object *params = json_object_get(jx_get(message, "params"));
	int asked = -1;

	if (key.p && strlen(key.p) != key.len) /* a key has no NUL */
		key.p = NULL;
	if (key.p) {
		asked = call_ask(run->call, key.p, method.p, params, err);
	} else {
		json_object_put(params);
		err_set(err, ERR_PARAMS, "a question needs an id, a string of its own");
	}
	if (asked != -1)
		return run->waits ? exec_wait_ask(run, key.p, asked == 0, err) : 0;
	if (err->code != ERR_PARAMS && err->code != ERR_CAPABILITY)
		return -1;
	if (run->waits && key.p) {
		struct err why = *err;

		call_set_error_data(run->call, NULL);
		return exec_wait_refuse(run, key.p, &why, err);
	}
	if (err->code == ERR_CAPABILITY && !is_optional)
		return -1;
	if (err->code == ERR_CAPABILITY) {
		call_set_error_data(run->call, NULL);
		return 0;
	}
	exec_run_fail(run, "it asked in a wrong way: %s", err->msg);
	return 1;
}

/* 1: it makes no sense. */
static int take(struct exec_run *run, struct slice method, json_object *message, struct err *err)
{
	if (slice_is(method, "state"))
		return take_state(run, message, err);
	if (ask_is_method(method))
		return take_question(run, method, message, err);
	if (jx_has(message, "params") && !jx_get_object(message, "params")) {
		err_set(err, ERR_PARAMS, "params must be an object");
		return 1;
	}
	if (call_notify(run->call, method.p, json_object_get(jx_get(message, "params")), err) == 0)
		return 0;
	return err->code == ERR_CANCELLED ? -1 : 1;
}

int exec_ask_take(struct exec_run *run, struct slice method, json_object *message, struct slice line, struct err *err)
{
	struct err why;
	int ret = take(run, method, message, &why);

	if (ret == 1)
		exec_log_bad_message(run, why.msg, line);
	else if (ret == -1)
		*err = why;
	return ret == -1 ? -1 : 0;
}
