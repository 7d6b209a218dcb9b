#include "config.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/method_tools.h"
#include "fcgi/result.h"
#include "fcgi/rpc.h"
#include "runner/job_priv.h"
#include "common/banned.h"

#define DEPTH_MAX         600
#define MESSAGE_MAX_BYTES 1000 /* of a task's statusMessage */
#define EVENTS_MAX        64   /* notifications that wait for the follower of a hidden task */

static struct job *job_of(struct call *call)
{
	return (struct job *)call;
}

struct job *job_new(const struct worker *w, struct slice id, struct slice principal, struct slice text)
{
	struct job *job = mem_alloc(1, sizeof(*job));

	if (!job)
		return NULL;
	DIE_UNLESS(id.len <= LINK_KEY_MAX);
	memcpy(job->id, id.p, id.len);
	job->w = w;
	job->begun_us = now_us();
	job->events_seq = 1;
	buf_init(&job->text, text.len + 1);
	buf_add_slice(&job->text, text);
	buf_init(&job->inbox, SIZE_MAX / 2); /* what it gets, the link has limited */
	buf_init(&job->message, MESSAGE_MAX_BYTES + 1);
	pthread_mutex_init(&job->mtx, NULL);
	job->principal = mem_dup(principal.p, principal.len);
	job->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (job->principal && job->wake_fd != -1 && !job->text.fault)
		return job;
	job_free(&job);
	return NULL;
}

void job_free(struct job **jobp)
{
	struct job *job = *jobp;

	if (!job)
		return;
	*jobp = NULL;
	link_call_end(job->w->link, &job->session);
	json_object_put(job->token);
	ask_round_release(&job->round);
	json_object_put(job->asks);
	json_object_put(job->events);
	task_release_job(&job->spec);
	buf_release(&job->text);
	buf_release(&job->inbox);
	buf_release(&job->message);
	pthread_mutex_destroy(&job->mtx);
	if (job->wake_fd != -1)
		close(job->wake_fd);
	mem_free(job->principal);
	mem_free(job);
}

const char *job_id(const struct job *job)
{
	return job->id;
}

void job_end(struct job *job, enum job_end why)
{
	int goes_on = JOB_GOES_ON;

	atomic_compare_exchange_strong(&job->end, &goes_on, (int)why);
	eventfd_write(job->wake_fd, 1);
}

void job_add_answers(struct job *job, struct slice text)
{
	pthread_mutex_lock(&job->mtx);
	link_put_bytes(&job->inbox, text);
	if (job->inbox.fault) /* these are lost: the client sees that its task still asks */
		buf_clear(&job->inbox);
	pthread_mutex_unlock(&job->mtx);
	eventfd_write(job->wake_fd, 1);
}

bool job_has_news(struct job *job)
{
	bool has_news;

	pthread_mutex_lock(&job->mtx);
	has_news = job->inbox.len > 0 || job->end != JOB_GOES_ON;
	pthread_mutex_unlock(&job->mtx);
	return has_news;
}

/* Questions and answers. */

/* What call asks is open from now on. */
static int open_asks(struct job *job, struct err *err)
{
	struct ask_round next = {0};
	json_object *val = NULL;
	struct buf text;
	int ret;

	buf_init(&text, SIZE_MAX / 2);
	ret = ask_round_put(&job->call, &text, err);
	if (ret == 0)
		val = jx_parse(buf_slice(&text), DEPTH_MAX, err);
	ret = val ? ask_round_read(val, &next, err) : -1;
	if (ret == 0) {
		ask_round_release(&job->round);
		job->round = next;
		ask_round_lend(&job->round, &job->call);
		json_object_put(job->asks);
		job->asks = json_object_get(job->priv.asks);
	} else {
		ask_round_release(&next);
	}
	json_object_put(val);
	buf_release(&text);
	return ret;
}

/* The question key is open; if val does not answer it, it stays so. */
static void take_answer(struct job *job, const char *key, json_object *val)
{
	json_object *error = job->call.era == ERA_LEGACY ? jx_get_object(val, "error") : NULL;
	struct err err;
	int ret;

	if (error)
		ret = ask_round_fail(&job->round, key, error, &err);
	else
		ret = ask_round_answer(&job->round, key, val, &err);
	if (ret)
		LOG(WARN, "task.answer_lost", "task=%.8s why=\"%s\"", job->id, err.msg);
	if (ret == 0 && jx_has(job->round.answers, key))
		json_object_object_del(job->asks, key);
}

/* Moves the answers to open questions from the inbox to the round; others are nobody's (TX-11). True: there were such:
 * who sent them waits for the state that comes of it, whether they were any good or not. */
static bool take_answers(struct job *job)
{
	bool has_taken = false;
	struct slice rest;
	struct buf inbox;
	bool bad = false;

	pthread_mutex_lock(&job->mtx);
	inbox = job->inbox;
	buf_init(&job->inbox, inbox.max);
	pthread_mutex_unlock(&job->mtx);
	for (rest = buf_slice(&inbox); rest.len > 0 && !bad;) {
		struct slice text = link_get_bytes(&rest, &bad);
		struct err err;
		json_object *given = jx_parse(text, DEPTH_MAX, &err);

		if (json_object_is_type(given, json_type_object)) {
			json_object_object_foreach(given, key, val) {
				if (jx_has(job->asks, key)) {
					take_answer(job, key, val);
					has_taken = true;
				}
			}
		}
		json_object_put(given);
	}
	buf_release(&inbox);
	job->call.answers = job->round.answers;
	return has_taken;
}

/* The handler's call. */

static bool job_is_cancelled(struct call *call)
{
	return job_of(call)->end != JOB_GOES_ON;
}

/* For the follower of a hidden task to send. */
static int keep_event(struct job *job, json_object *event, struct err *err)
{
	if (!job->events)
		job->events = json_object_new_array();
	if (jx_append(job->events, json_object_get(event), err))
		return -1;
	if (json_object_array_length(job->events) > EVENTS_MAX)
		job_drop_events(job, 1);
	job->has_news = true;
	return 0;
}

static void keep_message(struct job *job, struct slice message)
{
	if (message.len > MESSAGE_MAX_BYTES)
		message.len = MESSAGE_MAX_BYTES;
	if (!message.p || slice_eq(message, buf_slice(&job->message)))
		return;
	buf_clear(&job->message);
	buf_add_slice(&job->message, message);
	job->has_news = true;
}

static int send_to_session(struct job *job, json_object *event, uint64_t stream, struct err *err)
{
	struct buf text;
	int ret = result_add_related(jx_get_object(event, "params"), slice_str(job->id), err);

	buf_init(&text, (size_t)job->w->cfg.body_max_bytes);
	jx_write(&text, event);
	if (ret == 0)
		ret = buf_check(&text, err);
	if (ret == 0)
		ret = link_append(job->w->link, stream, buf_slice(&text), false, err);
	buf_release(&text);
	return ret;
}

/* A notification of the tool. TX-18: in 2026-07-28 a task has none; its progress shows in what its state says. */
static int job_send(struct call *call, struct slice text, struct err *err)
{
	struct job *job = job_of(call);
	json_object *event = jx_parse(text, DEPTH_MAX, err);
	bool is_progress = slice_is(jx_get_str(event, "method"), "notifications/progress");
	uint64_t stream = job_session_stream(job);
	int ret = 0;

	if (!event)
		return -1;
	if (job->spec.is_hidden)
		ret = keep_event(job, event, err);
	else if (is_progress)
		keep_message(job, jx_get_str(jx_get_object(event, "params"), "message"));
	if (ret == 0 && stream && (!is_progress || job->spec.progress_token))
		ret = send_to_session(job, event, stream, err);
	json_object_put(event);
	if (ret && err->code == ERR_GONE) { /* the session has ended; its task goes on */
		job->session_is_gone = true;
		link_call_end(job->w->link, &job->session);
		ret = 0;
	}
	return ret;
}

static int job_poll(struct call *call, struct pollfd *fds, nfds_t count, int timeout_ms, struct err *err)
{
	struct job *job = job_of(call);
	uint64_t end_ms = timeout_ms < 0 ? UINT64_MAX : now_ms() + (uint64_t)timeout_ms, now = now_ms();
	struct pollfd all[CALL_OPS_POLL_MAX + 1];
	eventfd_t ignored;

	for (;;) {
		uint64_t until = job->has_news && job->news_at_ms < end_ms ? job->news_at_ms : end_ms;
		int ready;

		if (job_is_cancelled(call))
			return err_set(err, ERR_CANCELLED, "the task was cancelled");
		if (count)
			memcpy(all, fds, count * sizeof(*fds));
		all[count] = (struct pollfd){.fd = job->wake_fd, .events = POLLIN};
		ready = poll(all, count + 1, ms_until(until, now));
		if (ready < 0 && errno != EINTR)
			return err_sys(err, "poll");
		for (nfds_t i = 0; i < count; i++)
			fds[i].revents = ready > 0 ? all[i].revents : 0;
		if (ready > 0 && all[count].revents) {
			eventfd_read(job->wake_fd, &ignored);
			ready--;
			if (take_answers(job)) {
				job_tell(job);
				return ready;
			}
		}
		now = now_ms();
		if (job->has_news && now >= job->news_at_ms)
			job_tell(job);
		if (ready > 0)
			return ready;
		if (now >= end_ms)
			return 0;
	}
}

static int job_publish(struct call *call, struct err *err)
{
	struct job *job = job_of(call);

	if (open_asks(job, err))
		return -1;
	job_tell(job);
	return 0;
}

static const struct call_ops ops = {
    .is_cancelled = job_is_cancelled,
    .send = job_send,
    .poll = job_poll,
    .publish = job_publish,
};

/* Working. */

static int read_spec(struct job *job, struct err *err)
{
	if (task_read_job(buf_slice(&job->text), &job->spec, err))
		return -1;
	job->round.answers = json_object_get(job->spec.answers);
	job->token = json_object_new_string(job->id);
	return job->token ? 0 : err_set(err, ERR_NOMEM, "a task");
}

bool job_lacks_tool(const struct job *job)
{
	return job->spec.root && !job->tool;
}

void job_use(struct job *job, const struct worker *w)
{
	job->w = w;
	job->is_of_last_site = true;
}

/* -1: there is none. */
static int find_tool(struct job *job, struct err *err)
{
	if (!job->tool)
		job->tool = toolset_find(&job->w->tools, job->spec.tool);
	return job->tool ? 0
			 : err_set(err, ERR_INTERNAL, "no tool %.*s: this runner has another configuration",
			       (int)job->spec.tool.len, job->spec.tool.p);
}

static void make_call(struct job *job)
{
	static const struct rpc none;
	struct call *call = &job->call;

	call_init(call, &job->priv, &ops, job->w, &none);
	call->is_job = true;
	call->era = job->spec.revision >= REV_2026_07 ? ERA_MODERN : ERA_LEGACY;
	call->revision = job->spec.revision;
	call->principal = job->principal;
	call->session = job->spec.session;
	call->capabilities = job->spec.capabilities;
	call->progress_token = job->spec.progress_token ? job->spec.progress_token : job->token;
	call->log_level = job->spec.log_level;
	call->priv->may_ask = true;
	ask_round_lend(&job->round, call);
}

/* One run of the tool. True: it has ended, and the broker was told. */
static bool run_tool(struct job *job)
{
	json_object *result = NULL;
	struct err err = {0};
	bool has_ended = true;
	int ret;

	make_call(job);
	ret = method_tools_run(&job->call, job->tool, job->spec.args, &result, &err);
	if (job->end != JOB_GOES_ON) {
		job_tell_end(job);
	} else if (ret) {
		job_tell_error(job, &err);
	} else if (result) {
		job_tell_result(job, result);
	} else if (open_asks(job, &err)) {
		job_tell_error(job, &err);
	} else {
		has_ended = false;
		job_tell(job);
	}
	json_object_put(result);
	call_release(&job->call);
	return has_ended;
}

static bool work(struct job *job)
{
	struct err err;
	int ret = job->spec.root ? 0 : read_spec(job, &err);

	if (ret == 0 && job->end == JOB_GOES_ON) {
		ret = find_tool(job, &err);
		if (ret && !job->is_of_last_site)
			return false;
	}
	if (ret) {
		job_tell_error(job, &err);
		return true;
	}
	if (job_is_asking(job) && take_answers(job))
		job_tell(job);
	while (job->end == JOB_GOES_ON) {
		if (job_is_asking(job))
			return false;
		if (run_tool(job))
			return true;
	}
	job_tell_end(job);
	return true;
}

bool job_work(struct job *job)
{
	enum link_outcome outcome = LINK_OUTCOME_OK;

	if (!work(job))
		return false;
	if (job->end == JOB_CANCELLED || job->end == JOB_STOPPED)
		outcome = LINK_OUTCOME_CANCELLED;
	else if (job->end == JOB_FAILED || job->has_failed)
		outcome = LINK_OUTCOME_ERROR;
	link_count(job->w->link, LINK_STATS_JOB, outcome, now_us() - job->begun_us);
	return true;
}
