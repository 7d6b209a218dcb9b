/* runner/job.h - one task at work: runs its tool, tells the broker what becomes of it, and gives it what clients
 * answer.
 *
 * A tool that asks is run again when the answers are there (fcgi/call.h); between two runs a job needs no thread. A
 * tool that waits alive keeps its thread and its program. */
#ifndef MCP_RUNNER_JOB_H
#define MCP_RUNNER_JOB_H

#include "fcgi/worker.h"

/* Why a job ends before its tool did. */
enum job_end {
	JOB_GOES_ON,
	JOB_CANCELLED, /* by its client, or it expired: the broker knows */
	JOB_STOPPED,   /* this process ends */
	JOB_FAILED,    /* it asks more than the broker keeps, which has been told */
};

struct job; /* opaque */

/* text is what the worker wrote (fcgi/task.h), unread. w is borrowed. NULL: no memory or no descriptor. */
struct job *job_new(const struct worker *w, struct slice id, struct slice principal, struct slice text);
void job_free(struct job **jobp);
const char *job_id(const struct job *job);

/* From any thread, and never waiting: */
void job_end(struct job *job, enum job_end why);          /* the first reason counts */
void job_add_answers(struct job *job, struct slice text); /* JSON text of an object: results by key */
bool job_has_news(struct job *job);                       /* answers or an end that job_work() has not seen yet */

/* Works on it, in one thread at a time. true: it has ended, and the broker was told. false: it waits for answers, or
 * for job_use(); call it again when there is news. */
bool job_work(struct job *job);

/* Its tool is not of its site: a worker has read a configuration that we have not. */
bool job_lacks_tool(const struct job *job);
/* The one that we have by now; if that has no such tool either the job fails. While nobody works on it. */
void job_use(struct job *job, const struct worker *w);

#endif
