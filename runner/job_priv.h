/* runner/job_priv.h - a job as its files see it: job.c (its work, what it asks and is answered) and job_tell.c (what
 * the broker, and through it the client, is told of it). */
#ifndef MCP_RUNNER_JOB_PRIV_H
#define MCP_RUNNER_JOB_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "fcgi/ask_round.h"
#include "fcgi/call_priv.h"
#include "fcgi/task.h"
#include "runner/job.h"

struct job {
	struct call call; /* first: what handlers see is ours */
	struct call_priv priv;
	const struct worker *w; /* borrowed */
	bool is_of_last_site;   /* w is as new as can be */
	char id[LINK_KEY_MAX + 1];
	char *principal;
	struct buf text;
	uint64_t begun_us;
	int wake_fd; /* eventfd: there is news */
	atomic_int end;

	pthread_mutex_t mtx;
	struct buf inbox; /* by mtx: answers, each as bytes of the link */

	/* Of the thread that works on it: */
	struct task_job spec;
	const struct tool *tool;
	json_object *token; /* owned; stands for a progress token when the client gave none */
	struct ask_round round;
	json_object *asks;   /* owned; open questions; NULL or empty: none */
	json_object *events; /* owned; the last ones of a hidden task; NULL: none */
	uint64_t events_seq; /* of the first */
	struct buf message;
	bool has_news;             /* the broker does not know message or events yet */
	uint64_t news_at_ms;       /* when it may be told */
	struct link_call *session; /* NULL: not asked for yet, or none */
	bool session_is_gone;
	bool has_failed;
};

static inline bool job_is_asking(const struct job *job)
{
	return job->asks && json_object_object_length(job->asks) > 0;
}

/* The session's own stream, where what is said about a task goes under 2025-11-25. 0: it has none. */
uint64_t job_session_stream(struct job *job);
void job_drop_events(struct job *job, size_t count); /* the oldest count of them */

/* While it works or asks. What can't be told now is told with the next state, but nobody would ever hear of questions
 * that the broker can't keep: then the job ends. */
void job_tell(struct job *job);
void job_tell_result(struct job *job, json_object *result);
void job_tell_error(struct job *job, const struct err *why);
void job_tell_end(struct job *job); /* the end that came from elsewhere */

#endif
