#include "config.h"

#include "common/log.h"
#include "fcgi/topic.h"
#include "runner/job_priv.h"
#include "common/banned.h"

#define NEWS_PAUSE_MS 200   /* between two states that differ in their message or events alone */
#define END_WAIT_MS   60000 /* how long a broker is waited for that takes the end of a job */
#define END_PAUSE_MS  500

uint64_t job_session_stream(struct job *job)
{
	struct err err;

	if (!job->session && !job->session_is_gone && job->spec.session[0] && !job->spec.is_hidden)
		job->session_is_gone = link_call_begin(job->w->link, slice_str(job->spec.session), job->principal, 0,
					   NULL, 0, &job->session, &err) != 0;
	return job->session ? job->session->session_stream : 0;
}

/* Who listens is told of the new state; times are the broker's. */
static void announce(struct job *job, const struct task_state *state)
{
	uint64_t stream = job_session_stream(job);
	struct link *link = job->w->link;
	struct link_task task;
	struct buf members, event;
	struct err err = {0};

	if (job->spec.is_hidden || link_task_get(link, slice_str(job->id), job->principal, 0, -1, &task, &err))
		return;
	buf_init(&members, (size_t)job->w->cfg.body_max_bytes);
	buf_init(&event, (size_t)job->w->cfg.body_max_bytes);
	if (stream) {
		buf_adds(&event, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tasks/status\",\"params\":{");
		task_put_members(job->w, ERA_LEGACY, &task, state, false, &event);
		buf_adds(&event, "}}");
		if (buf_check(&event, &err) == 0)
			link_append(link, stream, buf_slice(&event), false, &err);
	}
	task_put_members(job->w, ERA_MODERN, &task, state, true, &members);
	if (buf_check(&members, &err) == 0)
		topic_publish_task(link, slice_str(job->id), SLICE(""), buf_slice(&members), &err);
	if (err.code != ERR_NONE)
		LOG(DEBUG, "task.not_announced", "task=%.8s why=\"%s\"", job->id, err.msg);
	buf_release(&members);
	buf_release(&event);
	link_task_release(&task);
}

void job_drop_events(struct job *job, size_t count)
{
	json_object_array_del_idx(job->events, 0, count);
	job->events_seq += count;
}

static int keep_state(struct job *job, enum link_task_state to, struct task_state *state, struct err *err)
{
	struct buf text;
	int ret;

	if (job->spec.is_hidden) {
		state->events = job->events;
		state->events_seq = job->events_seq;
	}
	buf_init(&text, SIZE_MAX / 2); /* the link knows what is too much */
	task_put_state(state, &text);
	ret = buf_check(&text, err);
	if (ret == 0)
		ret = link_task_put(job->w->link, slice_str(job->id), to, buf_slice(&text), err);
	buf_release(&text);
	return ret;
}

static bool is_out_of_reach(const struct err *err)
{
	return err->code == ERR_BROKER || err->code == ERR_EXPIRED || err->code == ERR_BUSY;
}

/* An end is said to whichever broker comes, unless this process ends meanwhile. Where both don't fit, what it said
 * gives way to what it is. */
static int put_state(struct job *job, enum link_task_state to, struct task_state *state, struct err *err)
{
	bool is_end = to == LINK_TASK_COMPLETED || to == LINK_TASK_FAILED;
	uint64_t until_ms = now_ms() + END_WAIT_MS;
	int ret = keep_state(job, to, state, err);

	while (ret && is_end && is_out_of_reach(err) && job->end == JOB_GOES_ON && now_ms() < until_ms) {
		poll(NULL, 0, END_PAUSE_MS);
		ret = keep_state(job, to, state, err);
	}

	if (ret && err->code == ERR_TOO_BIG && job->events) {
		job_drop_events(job, json_object_array_length(job->events));
		ret = keep_state(job, to, state, err);
	}
	if (ret == 0)
		announce(job, state);
	else if (err->code == ERR_GONE || err->code == ERR_NO_TASK)
		job_end(job, JOB_CANCELLED);
	else
		LOG(WARN, "task.not_kept", "task=%.8s why=\"%s\"", job->id, err->msg);
	return ret;
}

void job_tell_error(struct job *job, const struct err *why)
{
	struct task_state state = {.error = *why, .error_data = job->priv.error_data};
	struct err err;

	job->has_failed = true;
	if (why->code >= ERR_CONFIG)
		LOG(WARN, "task.failed", "task=%.8s why=\"%s\"", job->id, why->msg);
	put_state(job, LINK_TASK_FAILED, &state, &err);
}

void job_tell(struct job *job)
{
	struct task_state state = {.message = buf_slice(&job->message), .asks = job_is_asking(job) ? job->asks : NULL};
	struct err err = {0};

	job->has_news = false;
	job->news_at_ms = now_ms() + NEWS_PAUSE_MS;
	if (put_state(job, state.asks ? LINK_TASK_INPUT_REQUIRED : LINK_TASK_WORKING, &state, &err) == 0 ||
	    err.code != ERR_TOO_BIG)
		return;
	err_set(&err, ERR_INTERNAL, "its questions are larger than this server keeps (task_blob_max_bytes)");
	job_tell_error(job, &err);
	job_end(job, JOB_FAILED);
}

void job_tell_result(struct job *job, json_object *result)
{
	struct task_state state = {.message = buf_slice(&job->message), .result = result};
	struct err err = {0};

	if (put_state(job, LINK_TASK_COMPLETED, &state, &err) && err.code == ERR_TOO_BIG) {
		err_set(&err, ERR_INTERNAL, "the result is larger than this server keeps (task_blob_max_bytes)");
		job_tell_error(job, &err);
	}
}

void job_tell_end(struct job *job)
{
	struct task_state state = {.message = buf_slice(&job->message)};
	struct err err;

	switch ((enum job_end)job->end) {
	case JOB_CANCELLED:
		announce(job, &state);
		break;
	case JOB_STOPPED:
		err_set(&err, ERR_INTERRUPTED, "the runner was stopped");
		job_tell_error(job, &err);
		break;
	case JOB_FAILED:
	case JOB_GOES_ON:
		break;
	}
}
