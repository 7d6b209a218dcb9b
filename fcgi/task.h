/* fcgi/task.h - tasks as bytes: the job that a runner is given, the state that the broker keeps of it (both are nobody
 * else's business), and how the two revisions that know tasks show it to a client.
 *
 * The state that the broker knows is that of the work: a tool that failed has COMPLETED, with a result that says so.
 * Under 2025-11-25 clients are told "failed" then, under 2026-07-28 "completed" (TK-20, TX-08). */
#ifndef MCP_FCGI_TASK_H
#define MCP_FCGI_TASK_H

#include "fcgi/call.h"
#include "fcgi/link_client.h"

#define TASK_EXTENSION "io.modelcontextprotocol/tasks"
#define TASK_ID_LEN    32 /* 192 random bits: who knows it was told (TK-17, TX-17) */

/* What a runner has to do: one tools/call. All but root is borrowed, from root once it was read. */
struct task_job {
	json_object *root; /* owned; NULL in a job that is to be written */
	enum revision revision;
	const char *session; /* "" in the modern era */
	struct slice tool;
	json_object *args;
	json_object *capabilities;   /* of the client; NULL: none */
	json_object *progress_token; /* NULL: none */
	json_object *answers;        /* to questions that were asked before the task; NULL: none */
	int log_level;
	bool is_hidden; /* LINK_TASK_HIDDEN: it works for a call that somebody follows */
};
void task_put_job(const struct task_job *job, struct buf *out); /* out is empty */
/* ERR_INTERNAL: not what task_put_job() wrote. job is to be released in any case. */
int task_read_job(struct slice text, struct task_job *job, struct err *err);
void task_release_job(struct task_job *job);

/* What is kept beside its enum link_task_state. Borrowed members, from root once it was read. */
struct task_state {
	json_object *root;    /* owned; NULL in a state that is to be written */
	struct slice message; /* for people; empty: none */
	json_object *asks;    /* INPUT_REQUIRED: the open questions, by key */
	json_object *result;  /* COMPLETED: a CallToolResult */
	struct err error;     /* FAILED */
	json_object *error_data;
	/* Of a hidden task: notifications that its call has to send, an array of {"method", "params"}; events_seq is
	 * the number of the first. */
	json_object *events;
	uint64_t events_seq;
};
void task_put_state(const struct task_state *state, struct buf *out); /* out is empty */
/* ERR_INTERNAL: not one of ours, or not all that the task's state needs. A task whose runner died has none: that is an
 * error that says so. state is to be released in any case. */
int task_read_state(const struct link_task *task, struct task_state *state, struct err *err);
void task_release_state(struct task_state *state);

/* Appends the members of a Task: "taskId":...,"status":... detailed adds what tasks/get and notifications/tasks of
 * 2026-07-28 tell beside them: inputRequests, result, error. */
void task_put_members(const struct worker *w, enum era era, const struct link_task *task,
    const struct task_state *state, bool is_detailed, struct buf *out);

/* Whether a client of 2026-07-28 that declares these capabilities can handle tasks (TX-01, TX-02). NULL: none. */
bool task_is_declared(json_object *capabilities);

bool task_is_final(enum link_task_state state);

#endif
