/* fcgi/task_call.h - calls that make tasks, and calls that follow one: the worker's side of what runner/ works on. */
#ifndef MCP_FCGI_TASK_CALL_H
#define MCP_FCGI_TASK_CALL_H

#include "fcgi/provider.h"
#include "fcgi/task.h"

/* ERR_CAPABILITY, with what the client would have to declare (TX-03, TX-13). */
int task_refuse_undeclared(struct call *call, struct err *err);

/* Whether this tools/call is to become a task: then *ttl_ms is not 0. ERR_METHOD, ERR_CAPABILITY, ERR_PARAMS: it can't
 * be served as it came. */
int task_decide(struct call *call, const struct tool *tool, json_object *params, uint64_t *ttl_ms, struct err *err);
/* Makes the task, and appends the members of the result that tells so. */
int task_make(
    struct call *call, const struct tool *tool, json_object *args, uint64_t ttl_ms, struct buf *out, struct err *err);

/* A tool that waits alive: runs it in the runner, as a hidden task, and follows that. As method_tools_run(). */
int task_run_hidden(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err);

/* Passes answers, an object, on to the task. Those to open questions have reached it, and its state says so, when this
 * returns: who asks for the task next must not read them again (TX-11). */
int task_answer(struct call *call, struct slice id, json_object *answers, struct err *err);

/* Passes call->answers on to the task, then waits until it is in a final state (0), or asks something that call, whose
 * questions these become, has no answer to (0, and call_is_asking()). -1: ERR_CANCELLED, ERR_NO_TASK, others.
 * next_event: the task is hidden, its notifications from this one on become call's; NULL: it is the client's, and
 * questions name it (TK-11). task and state are to be released when it returned 0. */
int task_follow(struct call *call, struct slice id, uint64_t *next_event, struct link_task *task,
    struct task_state *state, struct err *err);

/* What a call that was a task is answered with: *result is to be released. -1: the error. */
int task_take_result(struct call *call, const struct link_task *task, const struct task_state *state,
    json_object **result, struct err *err);

#endif
