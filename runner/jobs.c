#include "config.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/queue.h>

#include "common/log.h"
#include "common/mem.h"
#include "runner/job.h"
#include "runner/jobs.h"
#include "common/banned.h"

#define END_MS 5000 /* for a job that was told to end: its program's group is killed, the broker hears of it */

enum phase { PHASE_QUEUED, PHASE_WORKING, PHASE_WAITING };

struct entry {
	struct job *job; /* owned */
	enum phase phase;
	LIST_ENTRY(entry) all;
	TAILQ_ENTRY(entry) queued;
};

struct jobs {
	int lost_fd, stale_fd; /* borrowed */
	pthread_mutex_t mtx;
	const struct worker *w; /* borrowed; by mtx */
	pthread_cond_t ended;   /* a job or a thread */
	LIST_HEAD(, entry) all; /* by mtx, as the rest */
	TAILQ_HEAD(, entry) queue;
	size_t threads;
	bool is_ending; /* new ones end at once */
	bool is_closed; /* there are no new ones */
};

struct jobs *jobs_new(const struct worker *w)
{
	struct jobs *jobs = mem_alloc(1, sizeof(*jobs));
	pthread_condattr_t attr;

	if (!jobs)
		return NULL;
	jobs->w = w;
	LIST_INIT(&jobs->all);
	TAILQ_INIT(&jobs->queue);
	pthread_mutex_init(&jobs->mtx, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&jobs->ended, &attr);
	pthread_condattr_destroy(&attr);
	return jobs;
}

/* With mtx held, as all that follows but can_go_on() and thread_main(). */
static void drop(struct jobs *jobs, struct entry *e)
{
	LIST_REMOVE(e, all);
	job_free(&e->job);
	mem_free(e);
	pthread_cond_broadcast(&jobs->ended);
}

void jobs_free(struct jobs **jobsp)
{
	struct jobs *jobs = *jobsp;

	if (!jobs)
		return;
	*jobsp = NULL;
	while (!LIST_EMPTY(&jobs->all))
		drop(jobs, LIST_FIRST(&jobs->all));
	pthread_cond_destroy(&jobs->ended);
	pthread_mutex_destroy(&jobs->mtx);
	mem_free(jobs);
}

static bool can_go_on(struct job *job)
{
	return job_has_news(job) && !job_lacks_tool(job);
}

static void *thread_main(void *arg)
{
	struct jobs *jobs = arg;
	struct entry *e;

	pthread_mutex_lock(&jobs->mtx);
	while ((e = TAILQ_FIRST(&jobs->queue))) {
		bool has_ended;

		TAILQ_REMOVE(&jobs->queue, e, queued);
		e->phase = PHASE_WORKING;
		pthread_mutex_unlock(&jobs->mtx);
		do
			has_ended = job_work(e->job);
		while (!has_ended && can_go_on(e->job));
		pthread_mutex_lock(&jobs->mtx);
		if (has_ended) {
			drop(jobs, e);
		} else if (can_go_on(e->job)) { /* it came in between */
			e->phase = PHASE_QUEUED;
			TAILQ_INSERT_TAIL(&jobs->queue, e, queued);
		} else {
			e->phase = PHASE_WAITING;
			pthread_cond_broadcast(&jobs->ended);
			if (job_lacks_tool(e->job))
				eventfd_write(jobs->stale_fd, 1);
		}
	}
	jobs->threads--;
	pthread_cond_broadcast(&jobs->ended);
	pthread_mutex_unlock(&jobs->mtx);
	return NULL;
}

static void enqueue(struct jobs *jobs, struct entry *e)
{
	pthread_t thread;

	e->phase = PHASE_QUEUED;
	TAILQ_INSERT_TAIL(&jobs->queue, e, queued);
	if (jobs->threads >= (size_t)jobs->w->cfg.runner_jobs_max)
		return;
	if (pthread_create(&thread, NULL, thread_main, jobs)) {
		LOG(ERROR, "runner.no_thread", "running=%zu", jobs->threads);
		return;
	}
	pthread_detach(thread);
	jobs->threads++;
}

static struct entry *find(struct jobs *jobs, struct slice id)
{
	struct entry *e;

	LIST_FOREACH(e, &jobs->all, all)
	{
		if (slice_is(id, job_id(e->job)))
			return e;
	}
	return NULL;
}

static void end_all(struct jobs *jobs, enum job_end why)
{
	struct entry *e;

	LIST_FOREACH(e, &jobs->all, all)
	{
		job_end(e->job, why);
		if (e->phase == PHASE_WAITING)
			enqueue(jobs, e);
	}
}

static void on_run(void *arg, struct slice id, struct slice principal, uint64_t ttl_ms, struct slice text)
{
	struct jobs *jobs = arg;
	struct entry *e = mem_alloc(1, sizeof(*e));

	(void)ttl_ms; /* the broker says when it is over */
	if (e)
		e->job = job_new(jobs->w, id, principal, text);
	if (!e || !e->job) { /* it stays as it is until it expires */
		LOG(ERROR, "runner.no_memory", "task=%.*s", id.len < 8 ? (int)id.len : 8, id.p);
		mem_free(e);
		return;
	}
	pthread_mutex_lock(&jobs->mtx);
	LIST_INSERT_HEAD(&jobs->all, e, all);
	if (jobs->is_ending)
		job_end(e->job, JOB_STOPPED);
	if (jobs->is_closed)
		drop(jobs, e);
	else
		enqueue(jobs, e);
	pthread_mutex_unlock(&jobs->mtx);
}

static void on_input(void *arg, struct slice id, enum link_task_what what, struct slice body)
{
	struct jobs *jobs = arg;
	struct entry *e;

	pthread_mutex_lock(&jobs->mtx);
	e = find(jobs, id);
	if (e) {
		if (what == LINK_TASK_CANCEL)
			job_end(e->job, JOB_CANCELLED);
		else
			job_add_answers(e->job, body);
		if (e->phase == PHASE_WAITING)
			enqueue(jobs, e);
	}
	pthread_mutex_unlock(&jobs->mtx);
}

static void on_lost(void *arg)
{
	struct jobs *jobs = arg;

	eventfd_write(jobs->lost_fd, 1);
}

static void on_list(void *arg, struct buf *out)
{
	struct jobs *jobs = arg;
	struct entry *e;
	uint32_t count = 0;

	pthread_mutex_lock(&jobs->mtx);
	LIST_FOREACH(e, &jobs->all, all)
	count++;
	link_put_u32(out, count);
	LIST_FOREACH(e, &jobs->all, all)
	link_put_bytes(out, slice_str(job_id(e->job)));
	pthread_mutex_unlock(&jobs->mtx);
}

struct link_runner jobs_runner(struct jobs *jobs, int lost_fd, int stale_fd)
{
	jobs->lost_fd = lost_fd;
	jobs->stale_fd = stale_fd;
	return (struct link_runner){.run = on_run, .input = on_input, .lost = on_lost, .list = on_list, .arg = jobs};
}

static bool is_working(const struct jobs *jobs)
{
	const struct entry *e;

	LIST_FOREACH(e, &jobs->all, all)
	{
		if (e->phase != PHASE_WAITING)
			return true;
	}
	return false;
}

static void wait_until(struct jobs *jobs, uint64_t until_ms, bool (*goes_on)(const struct jobs *jobs))
{
	struct timespec until = {.tv_sec = (time_t)(until_ms / 1000), .tv_nsec = (long)(until_ms % 1000) * 1000000};

	while (goes_on(jobs) && pthread_cond_timedwait(&jobs->ended, &jobs->mtx, &until) == 0)
		;
}

static bool has_any(const struct jobs *jobs)
{
	return !LIST_EMPTY(&jobs->all) || jobs->threads > 0;
}

bool jobs_has_any(struct jobs *jobs)
{
	bool has;

	pthread_mutex_lock(&jobs->mtx);
	has = !LIST_EMPTY(&jobs->all);
	pthread_mutex_unlock(&jobs->mtx);
	return has;
}

bool jobs_end(struct jobs *jobs, uint64_t drain_ms)
{
	bool has_ended;

	pthread_mutex_lock(&jobs->mtx);
	jobs->is_ending = true;
	wait_until(jobs, now_ms() + drain_ms, is_working);
	end_all(jobs, JOB_STOPPED);
	wait_until(jobs, now_ms() + END_MS, has_any);
	has_ended = jobs->is_closed = !has_any(jobs);
	pthread_mutex_unlock(&jobs->mtx);
	return has_ended;
}

void jobs_use(struct jobs *jobs, const struct worker *w)
{
	struct entry *e;

	pthread_mutex_lock(&jobs->mtx);
	jobs->w = w;
	LIST_FOREACH(e, &jobs->all, all)
	{
		if (e->phase == PHASE_WAITING && job_lacks_tool(e->job)) {
			job_use(e->job, w);
			enqueue(jobs, e);
		}
	}
	pthread_mutex_unlock(&jobs->mtx);
}
