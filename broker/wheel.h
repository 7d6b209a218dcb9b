/* broker/wheel.h - timers by the ten thousand: a wheel of 100 ms ticks.
 *
 * Starting and stopping a timer costs a list operation, whatever their number; a timer fires in the tick in which it is
 * due or up to one tick later, never earlier. A timer further away than one turn of the wheel stays in its slot and is
 * looked at once per turn. Time is given by the caller, in ms of CLOCK_MONOTONIC, so tests own the clock. */
#ifndef MCP_BROKER_WHEEL_H
#define MCP_BROKER_WHEEL_H

#include "common/util.h"

#define WHEEL_TICK_MS 100
#define WHEEL_SLOTS   512 /* a turn is 51.2 s */

/* Embedded in what it belongs to; zeroed is "not running". */
struct wheel_timer {
	struct wheel_timer *next, **at; /* at: what points here; NULL when it doesn't run */
	uint64_t due_tick;
	void (*fire)(struct wheel_timer *t); /* the timer is stopped then, and may be started again from within */
};

struct wheel {
	struct wheel_timer *slots[WHEEL_SLOTS];
	uint64_t tick; /* the last one that was served */
	size_t count;
};

void wheel_init(struct wheel *w, uint64_t now);
/* (Re)starts t to fire after_ms from now. */
void wheel_start(struct wheel *w, struct wheel_timer *t, uint64_t now, uint64_t after_ms);
void wheel_stop(struct wheel *w, struct wheel_timer *t); /* of one that doesn't run: harmless */
/* Fires what is due. Timers may start and stop any timer, this one and the next one too. */
void wheel_advance(struct wheel *w, uint64_t now);

static inline bool wheel_is_running(const struct wheel_timer *t)
{
	return t->at != NULL;
}

#endif
