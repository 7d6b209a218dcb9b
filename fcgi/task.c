#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "fcgi/result.h"
#include "fcgi/revision.h"
#include "fcgi/rpc.h"
#include "fcgi/task.h"
#include "fcgi/worker.h"
#include "common/banned.h"

#define DEPTH_MAX 600 /* of what we wrote ourselves: what a client sent, with ours around it */

static void put_key(struct buf *out, const char *key)
{
	buf_adds(out, out->len > 1 ? ",\"" : "\"");
	buf_adds(out, key);
	buf_adds(out, "\":");
}

static void put_value(struct buf *out, const char *key, json_object *val)
{
	if (!val)
		return;
	put_key(out, key);
	jx_write(out, val);
}

static void put_text(struct buf *out, const char *key, struct slice text)
{
	if (text.len == 0)
		return;
	put_key(out, key);
	jx_write_str(out, text);
}

static void put_number(struct buf *out, const char *key, uint64_t number)
{
	put_key(out, key);
	buf_addf(out, "%llu", (unsigned long long)number);
}

/* The object that text is, owned by the caller. */
static json_object *read_object(struct slice text, const char *what, struct err *err)
{
	json_object *root = jx_parse(text, DEPTH_MAX, err);

	if (json_object_is_type(root, json_type_object))
		return root;
	if (root)
		err_set(err, ERR_INTERNAL, "%s is not one of ours", what);
	json_object_put(root);
	return NULL;
}

static uint64_t read_number(json_object *root, const char *key)
{
	json_object *val = jx_get(root, key);

	return json_object_is_type(val, json_type_int) && json_object_get_int64(val) > 0
		   ? (uint64_t)json_object_get_int64(val)
		   : 0;
}

void task_put_job(const struct task_job *job, struct buf *out)
{
	buf_adds(out, "{");
	put_text(out, "revision", slice_str(revision_name(job->revision)));
	put_text(out, "session", slice_str(job->session));
	put_text(out, "tool", job->tool);
	put_value(out, "arguments", job->args);
	put_value(out, "capabilities", job->capabilities);
	put_value(out, "progressToken", job->progress_token);
	put_value(out, "answers", job->answers);
	put_number(out, "logLevel", (uint64_t)job->log_level);
	put_number(out, "hidden", job->is_hidden);
	buf_adds(out, "}");
}

int task_read_job(struct slice text, struct task_job *job, struct err *err)
{
	json_object *root = read_object(text, "the job", err);
	struct slice session = jx_get_str(root, "session");
	int revision = revision_find(jx_get_str(root, "revision"));

	*job = (struct task_job){
	    .root = root,
	    .session = session.p ? session.p : "",
	    .tool = jx_get_str(root, "tool"),
	    .args = jx_get_object(root, "arguments"),
	    .capabilities = jx_get_object(root, "capabilities"),
	    .progress_token = jx_get(root, "progressToken"),
	    .answers = jx_get_object(root, "answers"),
	    .log_level = (int)read_number(root, "logLevel"),
	    .is_hidden = read_number(root, "hidden") == 1,
	};
	if (!root)
		return err_wrap(err, "job");
	if (revision < 0 || job->log_level > MCP_LEVEL__COUNT)
		return err_set(err, ERR_INTERNAL, "the job is not one of ours");
	job->revision = (enum revision)revision;
	return 0;
}

void task_release_job(struct task_job *job)
{
	json_object_put(job->root);
	*job = (struct task_job){0};
}

void task_put_state(const struct task_state *state, struct buf *out)
{
	buf_adds(out, "{");
	put_text(out, "message", state->message);
	put_value(out, "asks", state->asks);
	put_value(out, "result", state->result);
	if (state->error.code) {
		put_text(out, "error", slice_str(err_name(state->error.code)));
		put_text(out, "why", slice_str(state->error.msg));
		put_value(out, "errorData", state->error_data);
	}
	if (state->events) {
		put_value(out, "events", state->events);
		put_number(out, "eventsSeq", state->events_seq);
	}
	buf_adds(out, "}");
}

static void read_error(struct task_state *state)
{
	struct slice name = jx_get_str(state->root, "error"), why = jx_get_str(state->root, "why");

	if (!name.p)
		return;
	err_set(&state->error, err_find(name.p), "%.*s", (int)why.len, why.p ? why.p : "");
	state->error_data = jx_get(state->root, "errorData");
}

int task_read_state(const struct link_task *task, struct task_state *state, struct err *err)
{
	*state = (struct task_state){0};
	if (task->blob.len == 0 && task->state == LINK_TASK_FAILED) {
		err_set(&state->error, ERR_INTERRUPTED, "the runner ended");
		return 0;
	}
	state->root = read_object(buf_slice(&task->blob), "the state of a task", err);
	if (!state->root)
		return err_wrap(err, "state of a task");
	state->message = jx_get_str(state->root, "message");
	state->asks = jx_get_object(state->root, "asks");
	state->result = jx_get_object(state->root, "result");
	read_error(state);
	state->events = jx_get_array(state->root, "events");
	state->events_seq = read_number(state->root, "eventsSeq");
	if ((task->state == LINK_TASK_INPUT_REQUIRED && !state->asks) ||
	    (task->state == LINK_TASK_COMPLETED && !state->result) ||
	    (task->state == LINK_TASK_FAILED && !state->error.code))
		return err_set(err, ERR_INTERNAL, "the state of a task is not complete");
	return 0;
}

void task_release_state(struct task_state *state)
{
	json_object_put(state->root);
	*state = (struct task_state){0};
}

bool task_is_declared(json_object *capabilities)
{
	return jx_has(jx_get_object(capabilities, "extensions"), TASK_EXTENSION);
}

bool task_is_final(enum link_task_state state)
{
	return state == LINK_TASK_COMPLETED || state == LINK_TASK_FAILED || state == LINK_TASK_CANCELLED;
}

static const char *status_name(enum era era, enum link_task_state state, json_object *result)
{
	static const char *const names[LINK_TASK__COUNT] = {
	    [LINK_TASK_WORKING] = "working",
	    [LINK_TASK_INPUT_REQUIRED] = "input_required",
	    [LINK_TASK_COMPLETED] = "completed",
	    [LINK_TASK_FAILED] = "failed",
	    [LINK_TASK_CANCELLED] = "cancelled",
	};

	if (era == ERA_LEGACY && state == LINK_TASK_COMPLETED && json_object_get_boolean(jx_get(result, "isError")))
		return names[LINK_TASK_FAILED];
	return names[state];
}

/* ISO 8601 */
static void put_time(struct buf *out, const char *key, uint64_t ms)
{
	time_t s = (time_t)(ms / 1000);
	struct tm tm;

	gmtime_r(&s, &tm);
	buf_addf(out, ",\"%s\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03uZ\"", key, tm.tm_year + 1900, tm.tm_mon + 1,
	    tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(ms % 1000));
}

static void put_error(const struct task_state *state, struct buf *out)
{
	struct buf data;

	buf_init(&data, out->max);
	if (state->error_data)
		jx_write(&data, state->error_data);
	rpc_put_error_object(out, &state->error, data.len && !data.fault ? data.data : NULL);
	buf_release(&data);
}

static void put_details(
    const struct worker *w, enum link_task_state status, const struct task_state *state, struct buf *out)
{
	switch (status) {
	case LINK_TASK_INPUT_REQUIRED:
		buf_adds(out, ",\"inputRequests\":");
		jx_write(out, state->asks);
		break;
	case LINK_TASK_COMPLETED:
		buf_adds(out, ",\"result\":{\"resultType\":\"complete\",");
		result_put_members(out, state->result, REV_2026_07, w->server_info, SLICE(""));
		buf_adds(out, "}");
		break;
	case LINK_TASK_FAILED:
		buf_adds(out, ",\"error\":");
		put_error(state, out);
		break;
	default:
		break;
	}
}

void task_put_members(const struct worker *w, enum era era, const struct link_task *task,
    const struct task_state *state, bool is_detailed, struct buf *out)
{
	bool is_modern = era == ERA_MODERN;
	char why[RPC_ERROR_TEXT_SIZE] = "";

	buf_adds(out, "\"taskId\":");
	jx_write_str(out, slice_str(task->id));
	buf_addf(out, ",\"status\":\"%s\"", status_name(era, task->state, state->result));
	put_time(out, "createdAt", task->created_ms);
	put_time(out, "lastUpdatedAt", task->updated_ms);
	buf_addf(out, ",\"%s\":%llu,\"%s\":%lld", is_modern ? "ttlMs" : "ttl", (unsigned long long)task->ttl_ms,
	    is_modern ? "pollIntervalMs" : "pollInterval", (long long)w->cfg.task_poll_ms);
	if (task->state == LINK_TASK_FAILED)
		rpc_error_text(&state->error, why);
	if (state->message.len || why[0]) {
		buf_adds(out, ",\"statusMessage\":");
		jx_write_str(out, state->message.len ? state->message : slice_str(why));
	}
	if (is_detailed)
		put_details(w, task->state, state, out);
}
