/* broker/loop.h - the broker's one event loop: libuv, the timer wheel, and the order of work in a turn.
 *
 * libuv's callbacks only note that something is to be done. The work itself happens once per turn, just before the loop
 * would sleep, in this order: timers that are due, tasks (each kind of work with its quota, so that a flood of one kind
 * does not starve the others), objects that were doomed. If tasks are left, the loop does not sleep.
 *
 * Nothing here is thread-safe but loop_wake(). */
#ifndef MCP_BROKER_LOOP_H
#define MCP_BROKER_LOOP_H

#include <uv.h>

#include "broker/wheel.h"
#include "common/err.h"

#define LOOP_TASKS_PER_TURN 64 /* a fan-out to 10,000 streams is spread over many turns */

/* Something to do soon, once however often it is asked for. Embedded; zeroed with run set. */
struct loop_task {
	struct loop_task *next;
	void (*run)(struct loop_task *t); /* may ask for itself again */
	bool queued;
};

/* An object whose memory goes at the end of the turn. Embedded in it. */
struct loop_doom {
	struct loop_doom *next;
	void (*free)(struct loop_doom *d);
};

struct loop {
	uv_loop_t uv;
	uv_prepare_t prepare;
	uv_idle_t idle;
	uv_timer_t ticker;
	uv_async_t async;
	struct wheel wheel;
	struct loop_task *head, **tail;
	struct loop_doom *doomed;
	/* Called each turn before the tasks, and after them if there were some; returns whether there is more to do at
	 * once. */
	bool (*turn)(void *arg);
	void *turn_arg;
	bool ticking, open, gives_way;
};

int loop_init(struct loop *l, bool (*turn)(void *arg), void *turn_arg, struct err *err);
void loop_run(struct loop *l); /* until loop_stop() */
void loop_stop(struct loop *l);
void loop_release(struct loop *l); /* everything else that lives in the loop was closed before; frees the doomed */
void loop_wake(struct loop *l);    /* another turn, please: from any thread, from a signal handler */

uint64_t loop_now(const struct loop *l); /* ms of CLOCK_MONOTONIC, read once per turn */
void loop_soon(struct loop *l, struct loop_task *t);
void loop_unsoon(struct loop *l, struct loop_task *t); /* takes t back; harmless when it is not queued */
void loop_doom(struct loop *l, struct loop_doom *d, void (*free)(struct loop_doom *d));
void loop_timer(struct loop *l, struct wheel_timer *t, uint64_t after_ms); /* (re)starts */
void loop_untimer(struct loop *l, struct wheel_timer *t);
void loop_give_way(struct loop *l); /* others run before it sleeps next, once: they are about to say something */

#endif
