#include "config.h"

#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/rnd.h"
#include "fcgi/call_priv.h"
#include "fcgi/result.h"
#include "fcgi/task_call.h"
#include "fcgi/worker.h"
#include "common/banned.h"

#define TTL_MIN_MS   1000
#define TAKEN_MAX_MS 1000 /* how long answers may be under way to the job: then it does not want them */

static atomic_int waiting; /* threads, for tasks */

int task_refuse_undeclared(struct call *call, struct err *err)
{
	call_set_error_data(
	    call, jx_parse(SLICE("{\"requiredCapabilities\":{\"extensions\":{\"" TASK_EXTENSION "\":{}}}}"), 8, err));
	return err_set(err, ERR_CAPABILITY, TASK_EXTENSION);
}

static uint64_t clamp_ttl(const struct cfg *cfg, double ttl_ms)
{
	if (ttl_ms < TTL_MIN_MS)
		return TTL_MIN_MS;
	return (uint64_t)(ttl_ms < (double)cfg->task_ttl_max_ms ? ttl_ms : (double)cfg->task_ttl_max_ms);
}

/* What the client asked for, or the default. */
static int read_ttl(const struct call *call, json_object *task, uint64_t *ttl_ms, struct err *err)
{
	json_object *val = jx_get(task, "ttl");

	if (!json_object_is_type(task, json_type_object))
		return err_set(err, ERR_PARAMS, "params.task must be an object");
	if (val && !jx_is_number(val))
		return err_set(err, ERR_PARAMS, "params.task.ttl must be a number of milliseconds");
	*ttl_ms = clamp_ttl(call->cfg, val ? json_object_get_double(val) : (double)call->cfg->task_ttl_ms);
	return 0;
}

int task_decide(struct call *call, const struct tool *tool, json_object *params, uint64_t *ttl_ms, struct err *err)
{
	bool is_asked_for = jx_has(params, "task");

	*ttl_ms = 0;
	if (call->era == ERA_MODERN) { /* TX-15: it is ours to decide */
		if (tool->task == TOOL_TASK_NO)
			return 0;
		if (task_is_declared(call->capabilities))
			*ttl_ms = clamp_ttl(call->cfg, (double)call->cfg->task_ttl_ms);
		else if (tool->task == TOOL_TASK_REQUIRED)
			return task_refuse_undeclared(call, err);
		return 0;
	}
	if (call->revision < REV_2025_11 || !call->w->tools.has_tasks) /* TK-02 */
		return 0;
	if (is_asked_for && tool->task == TOOL_TASK_NO)
		return err_set(err, ERR_METHOD, "%s can't be called as a task", tool->name);
	if (!is_asked_for && tool->task == TOOL_TASK_REQUIRED)
		return err_set(err, ERR_METHOD, "%s can only be called as a task", tool->name);
	return is_asked_for ? read_ttl(call, jx_get(params, "task"), ttl_ms, err) : 0;
}

/* Leaves the job with the broker, which keeps it before it answers (TX-05). */
static int new_task(struct call *call, const struct tool *tool, json_object *args, uint64_t ttl_ms, unsigned flags,
    char id[TASK_ID_LEN + 1], struct err *err)
{
	const struct task_job job = {
	    .revision = call->revision,
	    .session = call->session,
	    .tool = slice_str(tool->name),
	    .args = args,
	    .capabilities = call->capabilities,
	    .progress_token = call->progress_token,
	    .answers = call->answers,
	    .log_level = call->log_level,
	    .is_hidden = flags & LINK_TASK_HIDDEN,
	};
	const struct task_state nothing = {0};
	struct buf text, state;
	int ret;

	rnd_token(id, TASK_ID_LEN + 1);
	buf_init(&text, SIZE_MAX / 2); /* the link knows what is too much */
	buf_init(&state, 64);
	task_put_job(&job, &text);
	task_put_state(&nothing, &state);
	ret = buf_check(&text, err) || buf_check(&state, err) ? -1 : 0;
	if (ret == 0)
		ret = link_task_new(call->w->link, slice_str(id), call->principal, call->owner, ttl_ms, flags,
		    buf_slice(&state), buf_slice(&text), err);
	buf_release(&text);
	buf_release(&state);
	return ret;
}

int task_make(
    struct call *call, const struct tool *tool, json_object *args, uint64_t ttl_ms, struct buf *out, struct err *err)
{
	const struct task_state nothing = {0};
	struct link_task task;
	char id[TASK_ID_LEN + 1];

	if (new_task(call, tool, args, ttl_ms, 0, id, err) ||
	    link_task_get(call->w->link, slice_str(id), call->principal, 0, -1, &task, err))
		return -1;
	task.state = LINK_TASK_WORKING; /* TK-08: as it began, whatever became of it since */
	task.updated_ms = task.created_ms;
	call->priv->is_task = true;
	if (call->era == ERA_LEGACY)
		buf_adds(out, "\"task\":{");
	task_put_members(call->w, call->era, &task, &nothing, false, out);
	if (call->era == ERA_LEGACY)
		buf_adds(out, "}");
	else
		buf_addf(out, ",\"_meta\":{\"" RESULT_SERVER_INFO "\":%s}", call->w->server_info);
	link_task_release(&task);
	return 0;
}

/* Following. */

/* A task that has ended meanwhile takes none: its reader sees that by himself (TX-11). */
static int send_answers(struct call *call, struct slice id, json_object *answers, struct err *err)
{
	struct buf text;
	int ret;

	buf_init(&text, SIZE_MAX / 2);
	jx_write(&text, answers);
	ret = buf_check(&text, err);
	if (ret == 0)
		ret = link_task_send(call->w->link, id, call->principal, LINK_TASK_ANSWERS, buf_slice(&text), err);
	buf_release(&text);
	return ret && err->code != ERR_GONE ? -1 : 0;
}

/* 1: the task has an open question that one of the answers is for, and fd is written once that has changed. */
static int watch_questions(struct call *call, struct slice id, json_object *answers, int fd, struct err *err)
{
	struct task_state state;
	struct link_task task;
	bool is_awaited = false;
	uint64_t seen;
	int ret;

	if (link_task_get(call->w->link, id, call->principal, 0, -1, &task, err))
		return -1;
	seen = task.version;
	ret = task_read_state(&task, &state, err);
	if (ret == 0 && task.state == LINK_TASK_INPUT_REQUIRED) {
		json_object_object_foreach(answers, key, answer) {
			(void)answer;
			is_awaited = is_awaited || jx_has(state.asks, key);
		}
	}
	task_release_state(&state);
	link_task_release(&task);
	if (ret || !is_awaited)
		return ret;
	if (link_task_get(call->w->link, id, call->principal, seen, fd, &task, err))
		return -1;
	is_awaited = task.version == seen;
	link_task_release(&task);
	return is_awaited;
}

int task_answer(struct call *call, struct slice id, json_object *answers, struct err *err)
{
	struct pollfd changed = {.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .events = POLLIN};
	int ret;

	if (changed.fd == -1)
		return err_sys(err, "eventfd");
	ret = watch_questions(call, id, answers, changed.fd, err);
	if (ret != -1 && send_answers(call, id, answers, err))
		ret = -1;
	if (ret == 1 && call_poll(call, &changed, 1, TAKEN_MAX_MS, err) == -1)
		ret = -1;
	link_task_unwatch(call->w->link, id, changed.fd);
	close(changed.fd);
	return ret == -1 ? -1 : 0;
}

static int ask_all(struct call *call, struct slice id, bool is_related, json_object *asks, struct err *err)
{
	json_object_object_foreach(asks, key, ask) {
		json_object *params = json_object_get(jx_get(ask, "params"));
		struct slice method = jx_get_str(ask, "method");

		if (is_related && params && result_add_related(params, id, err)) {
			json_object_put(params);
			return -1;
		}
		if (call_ask(call, key, method.p ? method.p : "", params, err) == -1)
			return -1;
	}
	return 0;
}

/* The task once it is another than version seen. */
static int get_next(struct call *call, struct slice id, int fd, uint64_t seen, struct link_task *task, struct err *err)
{
	struct pollfd changed = {.fd = fd, .events = POLLIN};
	eventfd_t ignored;

	for (;;) {
		eventfd_read(fd, &ignored); /* so that it says what happens from here on */
		if (link_task_get(call->w->link, id, call->principal, seen, seen ? fd : -1, task, err))
			return -1;
		if (task->version != seen)
			return 0;
		link_task_release(task);
		if (call_poll(call, &changed, 1, -1, err) == -1)
			return -1;
	}
}

/* The notifications of a hidden task that call has not sent yet. */
static int send_events(struct call *call, const struct task_state *state, uint64_t *next_event, struct err *err)
{
	size_t count = state->events ? json_object_array_length(state->events) : 0;

	for (size_t i = 0; i < count; i++) {
		json_object *event = json_object_array_get_idx(state->events, i);
		struct slice method = jx_get_str(event, "method");

		if (state->events_seq + i < *next_event || !method.p)
			continue;
		*next_event = state->events_seq + i + 1;
		if (call_notify(call, method.p, json_object_get(jx_get(event, "params")), err) &&
		    err->code != ERR_PARAMS)
			return -1;
	}
	return 0;
}

/* 1: there is nothing to wait for any more. */
static int look_at(
    struct call *call, const struct link_task *task, struct task_state *state, uint64_t *next_event, struct err *err)
{
	if (task_read_state(task, state, err) || (next_event && send_events(call, state, next_event, err)))
		return -1;
	if (task->state == LINK_TASK_INPUT_REQUIRED &&
	    ask_all(call, slice_str(task->id), next_event == NULL, state->asks, err))
		return -1;
	return task_is_final(task->state) || call_is_asking(call);
}

/* A task may take days, and a client with a session may leave without a word: those who wait leave half of all calls to
 * others. */
static int begin_to_wait(const struct call *call, struct err *err)
{
	if (atomic_fetch_add(&waiting, 1) < (call->cfg->worker_calls_max + 1) / 2)
		return 0;
	atomic_fetch_sub(&waiting, 1);
	return err_set(err, ERR_LIMIT, "too many wait for tasks: ask for its state instead");
}

int task_follow(struct call *call, struct slice id, uint64_t *next_event, struct link_task *task,
    struct task_state *state, struct err *err)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), ret;
	bool waits = false;
	uint64_t seen = 0;

	if (fd == -1)
		return err_sys(err, "eventfd");
	ret = call->answers ? send_answers(call, id, call->answers, err) : 0;
	while (ret == 0) {
		ret = get_next(call, id, fd, seen, task, err);
		if (ret)
			break;
		seen = task->version;
		ret = look_at(call, task, state, next_event, err);
		if (ret == 1)
			break;
		task_release_state(state);
		link_task_release(task);
		if (ret == 0 && !waits) {
			ret = begin_to_wait(call, err);
			waits = ret == 0;
		}
	}
	if (waits)
		atomic_fetch_sub(&waiting, 1);
	link_task_unwatch(call->w->link, id, fd);
	close(fd);
	return ret == 1 ? 0 : -1;
}

int task_take_result(struct call *call, const struct link_task *task, const struct task_state *state,
    json_object **result, struct err *err)
{
	switch (task->state) {
	case LINK_TASK_COMPLETED:
		*result = json_object_get(state->result);
		return 0;
	case LINK_TASK_FAILED:
		*err = state->error;
		call_set_error_data(call, json_object_get(state->error_data));
		return -1;
	default:
		return err_set(err, ERR_TASK_CANCELLED, "by its client");
	}
}

/* What a call whose tool waits carries from round to round. */
static int keep_place(struct call *call, const char *id, uint64_t next_event, struct err *err)
{
	json_object *place = json_object_new_object();

	if (jx_add_str(place, "task", id, err) ||
	    jx_add(place, "event", json_object_new_int64((int64_t)next_event), err)) {
		json_object_put(place);
		return -1;
	}
	return call_keep(call, place, err);
}

/* Longer than its program can take: what it may run, and wait for each answer. */
static uint64_t longest_ms(const struct call *call, const struct tool *tool)
{
	int64_t s = tool->timeout_s + call->cfg->ask_wait_s * call->cfg->ask_rounds_max;

	return clamp_ttl(call->cfg, (double)s * 1000);
}

int task_run_hidden(
    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err)
{
	struct slice place = jx_get_str(call->kept, "task");
	uint64_t next_event = (uint64_t)json_object_get_int64(jx_get(call->kept, "event"));
	char id[TASK_ID_LEN + 1] = "";
	struct task_state state;
	struct link_task task;
	struct err ignored;
	int ret;

	*result = NULL;
	if (place.len == TASK_ID_LEN)
		memcpy(id, place.p, place.len);
	else if (new_task(call, tool, args, longest_ms(call, tool), LINK_TASK_HIDDEN, id, err))
		return -1;
	ret = task_follow(call, slice_str(id), &next_event, &task, &state, err);
	if (ret == 0) {
		ret = call_is_asking(call) ? keep_place(call, id, next_event, err)
					   : task_take_result(call, &task, &state, result, err);
		task_release_state(&state);
		link_task_release(&task);
	}
	if (ret || *result) /* nobody comes back for it */
		link_task_send(call->w->link, slice_str(id), call->principal, LINK_TASK_CANCEL, SLICE(""), &ignored);
	return ret;
}
