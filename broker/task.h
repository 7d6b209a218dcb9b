/* broker/task.h - work that outlives its request: who may ask for it, what a runner says of it, and until when.
 *
 * A task is made before its client is answered, and given to a runner, in turn, once the store has it. What it is, its
 * blob says, which the broker doesn't read; of its state only whether it has ended matters here. A task that has not
 * ended has a runner, whose death ends it. ttl_ms after its creation it is forgotten, ended or not. */
#ifndef MCP_BROKER_TASK_H
#define MCP_BROKER_TASK_H

#include "broker/broker.h"
#include "common/link.h"

struct owner;
struct producer;

struct task {
	struct table_node node;
	struct broker *broker;           /* borrowed */
	struct slice id, principal;      /* owned, one allocation at id.p */
	struct owner *owner;             /* held: whose share it uses */
	struct slice blob, job;          /* owned; job.p is NULL when the runner is known to have it */
	uint64_t version;                /* from 1, of each change */
	enum link_task_state state;      /* assigned by task_go() only */
	uint64_t created_ms, updated_ms; /* CLOCK_REALTIME */
	uint64_t ttl_ms;
	bool is_hidden;
	bool is_held;            /* while RETURN is handled: its runner has it */
	struct producer *runner; /* borrowed; NULL: it has ended */
	struct task *next_of_runner, **at_runner;
	struct task *next, **at; /* in broker->first_task, in the order of creation */
	uint64_t *watchers;      /* owned: ids of producers that are to be told of the next change */
	size_t watchers_count, watchers_cap;
	struct wheel_timer timer; /* ttl */
	bool is_closed;
	struct loop_doom doom;
};

bool task_may_go(enum link_task_state from, enum link_task_state to);
const char *task_state_name(enum link_task_state state);
bool task_is_over(const struct task *t);

struct task_order {
	struct slice id, principal, blob, job;
	struct slice owner; /* the name of whose share it uses, or empty */
	uint64_t ttl_ms;
	unsigned flags; /* enum link_task_flag */
};
/* 0, or LINK_NACK_*: DUPLICATE_ID, LIMIT, NO_RUNNER, BUSY. Its runner does not know of it yet. */
unsigned task_new(struct broker *b, const struct task_order *order, struct task **task);
void task_run(struct task *t);                                 /* gives the job to its runner; without one it fails */
void task_held(struct task *t);                                /* its runner says that it has it */
void task_cancel_at(struct producer *runner, struct slice id); /* a task that is over, or not known any more */
/* NULL: unknown, or of another principal (any principal if that is NULL). */
struct task *task_find(struct broker *b, struct slice id, const struct slice *principal);
/* Out of everything; a runner that works on it is told to stop, watchers that it changed. t is good until the end of
 * the turn. */
void task_close(struct task *t, const char *why);

/* A change. 0, or LINK_NACK_*: CLOSED (it has ended), TOO_BIG (for all tasks together), BUSY. blob NULL: it stays. */
unsigned task_change(struct task *t, enum link_task_state state, const struct slice *blob, const char *why);
int task_watch(struct task *t, const struct producer *p); /* TASK_CHANGED at the next change, once. -1: no memory */
/* To its runner: TASK_INPUT. Of one that has ended: nothing happens. -1: no memory. */
int task_input(const struct task *t, enum link_task_what what, struct slice body);
void task_runner_lost(struct producer *runner); /* its tasks become FAILED */

/* As the store has it; its runner is away. Those that had not ended and have none fail when all are there. */
bool task_restore(struct broker *b, struct slice key, struct slice value);
void task_keep_all(struct broker *b);
void task_runners_lost(struct broker *b);
/* For the program that takes our place (snapshot.h), and from the one before, its runner being there. */
void task_save(const struct task *t, struct buf *out);
int task_load(struct broker *b, struct slice in);

#endif
