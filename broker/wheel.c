#include "config.h"

#include "broker/wheel.h"
#include "common/banned.h"

void wheel_init(struct wheel *w, uint64_t now)
{
	*w = (struct wheel){.tick = now / WHEEL_TICK_MS};
}

static void link_in(struct wheel_timer **head, struct wheel_timer *t)
{
	t->next = *head;
	t->at = head;
	if (t->next)
		t->next->at = &t->next;
	*head = t;
}

static void link_out(struct wheel_timer *t)
{
	*t->at = t->next;
	if (t->next)
		t->next->at = t->at;
	t->at = NULL;
	t->next = NULL;
}

void wheel_stop(struct wheel *w, struct wheel_timer *t)
{
	if (!t->at)
		return;
	link_out(t);
	w->count--;
}

void wheel_start(struct wheel *w, struct wheel_timer *t, uint64_t now, uint64_t after_ms)
{
	wheel_stop(w, t);
	t->due_tick = (now + after_ms + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
	if (t->due_tick <= w->tick)
		t->due_tick = w->tick + 1;
	link_in(&w->slots[t->due_tick % WHEEL_SLOTS], t);
	w->count++;
}

/* The slot is moved to a list of its own first: whatever its timers start or stop, in whichever slot, the walk only
 * ever takes the head of that list. */
static void serve_slot(struct wheel *w, uint64_t tick)
{
	struct wheel_timer **slot = &w->slots[tick % WHEEL_SLOTS], *todo = *slot, *t;

	*slot = NULL;
	if (todo)
		todo->at = &todo;
	while ((t = todo) != NULL) {
		link_out(t);
		if (t->due_tick > tick) { /* of a later turn */
			link_in(slot, t);
			continue;
		}
		w->count--;
		t->fire(t);
	}
}

void wheel_advance(struct wheel *w, uint64_t now)
{
	uint64_t target = now / WHEEL_TICK_MS;

	while (w->tick < target) {
		if (w->count == 0) {
			w->tick = target;
			return;
		}
		w->tick++;
		serve_slot(w, w->tick);
	}
}
