#include "config.h"

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/method_tasks.h"
#include "fcgi/result.h"
#include "fcgi/revision.h"
#include "fcgi/task_call.h"
#include "fcgi/worker.h"
#include "common/banned.h"

/* Whether this client may know tasks. */
static int check_era(struct call *call, struct err *err)
{
	if (call->revision < REV_2025_11)
		return err_set(err, ERR_METHOD, "revision %s knows no tasks", revision_name(call->revision));
	if (call->era == ERA_MODERN && !task_is_declared(call->capabilities))
		return task_refuse_undeclared(call, err);
	return 0;
}

static int read_id(struct call *call, const struct rpc *rpc, struct slice *id, struct err *err)
{
	*id = jx_get_str(rpc->params, "taskId");
	if (check_era(call, err))
		return -1;
	return id->p ? 0 : err_set(err, ERR_PARAMS, "params.taskId must be a string");
}

/* The server's words about a task that is not there are for nobody but the log. */
static int refuse_unknown(struct err *err)
{
	return err->code == ERR_NO_TASK ? err_set(err, ERR_NO_TASK, "it never was, or has expired") : -1;
}

static int put_task(struct call *call, struct slice id, struct buf *out, struct err *err)
{
	struct task_state state;
	struct link_task task;
	int ret;

	if (link_task_get(call->w->link, id, call->principal, 0, -1, &task, err))
		return refuse_unknown(err);
	ret = task_read_state(&task, &state, err);
	if (ret == 0)
		task_put_members(call->w, call->era, &task, &state, call->era == ERA_MODERN, out);
	task_release_state(&state);
	link_task_release(&task);
	return ret;
}

int method_tasks_get(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	struct slice id;

	(void)session;
	return read_id(call, rpc, &id, err) ? -1 : put_task(call, id, out, err);
}

/* TK-14 refuses to cancel what has ended, TX-09 doesn't mind; TK-14 answers with the task, TX-09 with nothing. */
int method_tasks_cancel(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	bool is_modern = call->era == ERA_MODERN;
	struct slice id;

	(void)session;
	if (read_id(call, rpc, &id, err))
		return -1;
	if (link_task_send(call->w->link, id, call->principal, LINK_TASK_CANCEL, SLICE(""), err) == 0)
		return is_modern ? 0 : put_task(call, id, out, err);
	if (err->code != ERR_GONE)
		return refuse_unknown(err);
	return is_modern ? 0 : err_set(err, ERR_PARAMS, "the task has ended already");
}

/* TK-10. What the task asks meanwhile becomes this request's questions. */
int method_tasks_result(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	json_object *result = NULL;
	struct task_state state;
	struct link_task task;
	struct slice id;
	int ret = 0;

	(void)session;
	if (read_id(call, rpc, &id, err))
		return -1;
	if (task_follow(call, id, NULL, &task, &state, err))
		return refuse_unknown(err);
	if (!call_is_asking(call)) {
		ret = task_take_result(call, &task, &state, &result, err);
		if (ret == 0)
			result_put_members(out, result, call->revision, call->w->server_info, id);
		json_object_put(result);
	}
	task_release_state(&state);
	link_task_release(&task);
	return ret;
}

static int put_listed(struct call *call, const struct link_task *task, struct buf *out, struct err *err)
{
	struct task_state state;
	int ret = task_read_state(task, &state, err);

	if (ret == 0) {
		buf_adds(out, "{");
		task_put_members(call->w, ERA_LEGACY, task, &state, false, out);
		buf_adds(out, "}");
	}
	task_release_state(&state);
	return ret;
}

/* TK-17: without keys all clients are one, so nobody gets to see a list. A cursor is the last id of the page before:
 * the client has that anyway. */
int method_tasks_list(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	struct slice after = jx_get_str(rpc->params, "cursor");
	bool more = false;
	size_t count = 0;
	struct link_task *tasks;
	int ret = 0;

	(void)session;
	if (check_era(call, err))
		return -1;
	if (call->w->keys.count == 0)
		return err_set(err, ERR_METHOD, "this server lists no tasks");
	if (jx_has(rpc->params, "cursor") && !after.p)
		return err_set(err, ERR_PARAMS, "cursor must be a string");
	if (link_task_list(
		call->w->link, call->principal, after, (size_t)call->cfg->page_size, &tasks, &count, &more, err))
		return err->code == ERR_NO_TASK ? err_set(err, ERR_PARAMS, "cursor is not one of this server's") : -1;
	buf_adds(out, "\"tasks\":[");
	for (size_t i = 0; i < count && ret == 0; i++) {
		buf_adds(out, i ? "," : "");
		ret = put_listed(call, &tasks[i], out, err);
	}
	buf_adds(out, "]");
	if (more && count > 0) {
		buf_adds(out, ",\"nextCursor\":");
		jx_write_str(out, slice_str(tasks[count - 1].id));
	}
	for (size_t i = 0; i < count; i++)
		link_task_release(&tasks[i]);
	mem_free(tasks);
	return ret;
}

int method_tasks_update(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	json_object *answers = jx_get_object(rpc->params, "inputResponses");
	struct slice id;

	(void)session, (void)out;
	if (read_id(call, rpc, &id, err))
		return -1;
	if (!answers)
		return err_set(err, ERR_PARAMS, "params.inputResponses must be an object");
	return task_answer(call, id, answers, err) ? refuse_unknown(err) : 0;
}
