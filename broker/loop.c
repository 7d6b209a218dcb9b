#include "config.h"

#include <sched.h>

#include "broker/loop.h"
#include "common/banned.h"

uint64_t loop_now(const struct loop *l)
{
	return uv_now(&l->uv); /* libuv's clock is CLOCK_MONOTONIC in ms, as now_ms() */
}

static void free_doomed(struct loop *l)
{
	struct loop_doom *d;

	while ((d = l->doomed) != NULL) {
		l->doomed = d->next;
		d->free(d);
	}
}

/* False: there was none. */
static bool run_tasks(struct loop *l)
{
	struct loop_task *t;
	int n;

	for (n = 0; n < LOOP_TASKS_PER_TURN && (t = l->head) != NULL; n++) {
		l->head = t->next;
		if (!l->head)
			l->tail = &l->head;
		t->next = NULL;
		t->queued = false;
		t->run(t);
	}
	return n > 0;
}

static void on_idle(uv_idle_t *idle)
{
	(void)idle; /* that it runs keeps the loop from sleeping */
}

static void on_ticker(uv_timer_t *ticker)
{
	(void)ticker; /* wakes the loop; the turn looks at the wheel */
}

static void on_async(uv_async_t *async)
{
	(void)async;
}

static void on_prepare(uv_prepare_t *prepare)
{
	struct loop *l = prepare->data;
	bool more;

	wheel_advance(&l->wheel, loop_now(l));
	more = l->turn(l->turn_arg);
	if (run_tasks(l)) /* what they sent may have eaten the news of what came */
		more = l->turn(l->turn_arg) || more;
	free_doomed(l);
	if (more || l->head) {
		uv_idle_start(&l->idle, on_idle);
	} else {
		uv_idle_stop(&l->idle);
		if (l->gives_way)
			sched_yield(); /* who says something now need not wake us: one turn hears them all */
		l->gives_way = false;
	}
	if (l->ticking != (l->wheel.count > 0)) { /* without timers the broker sleeps */
		l->ticking = !l->ticking;
		if (l->ticking)
			uv_timer_start(&l->ticker, on_ticker, WHEEL_TICK_MS, WHEEL_TICK_MS);
		else
			uv_timer_stop(&l->ticker);
	}
}

int loop_init(struct loop *l, bool (*turn)(void *arg), void *turn_arg, struct err *err)
{
	int rc;

	memset(l, 0, sizeof(*l));
	l->tail = &l->head;
	l->turn = turn;
	l->turn_arg = turn_arg;
	rc = uv_loop_init(&l->uv);
	if (rc)
		return err_set(err, ERR_SYS, "event loop: %s", uv_strerror(rc));
	rc = uv_async_init(&l->uv, &l->async, on_async);
	if (rc) {
		uv_loop_close(&l->uv);
		return err_set(err, ERR_SYS, "event loop: %s", uv_strerror(rc));
	}
	uv_timer_init(&l->uv, &l->ticker); /* these three can't fail */
	uv_idle_init(&l->uv, &l->idle);
	uv_prepare_init(&l->uv, &l->prepare);
	l->prepare.data = l;
	uv_prepare_start(&l->prepare, on_prepare);
	wheel_init(&l->wheel, loop_now(l));
	l->open = true;
	return 0;
}

void loop_run(struct loop *l)
{
	uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *l)
{
	uv_stop(&l->uv);
}

void loop_release(struct loop *l)
{
	if (!l->open)
		return;
	l->open = false;
	uv_close((uv_handle_t *)&l->async, NULL);
	uv_close((uv_handle_t *)&l->ticker, NULL);
	uv_close((uv_handle_t *)&l->idle, NULL);
	uv_close((uv_handle_t *)&l->prepare, NULL);
	uv_run(&l->uv, UV_RUN_DEFAULT); /* runs the close callbacks, which doom their objects */
	free_doomed(l);
	DIE_UNLESS(uv_loop_close(&l->uv) == 0);
}

void loop_wake(struct loop *l)
{
	uv_async_send(&l->async);
}

void loop_soon(struct loop *l, struct loop_task *t)
{
	if (t->queued)
		return;
	t->queued = true;
	t->next = NULL;
	*l->tail = t;
	l->tail = &t->next;
}

void loop_unsoon(struct loop *l, struct loop_task *t)
{
	if (!t->queued)
		return;
	for (struct loop_task **at = &l->head; *at; at = &(*at)->next) {
		if (*at != t)
			continue;
		*at = t->next;
		if (l->tail == &t->next)
			l->tail = at;
		break;
	}
	t->queued = false;
	t->next = NULL;
}

void loop_doom(struct loop *l, struct loop_doom *d, void (*free)(struct loop_doom *d))
{
	d->free = free;
	d->next = l->doomed;
	l->doomed = d;
}

void loop_timer(struct loop *l, struct wheel_timer *t, uint64_t after_ms)
{
	wheel_start(&l->wheel, t, loop_now(l), after_ms);
}

void loop_untimer(struct loop *l, struct wheel_timer *t)
{
	wheel_stop(&l->wheel, t);
}

void loop_give_way(struct loop *l)
{
	l->gives_way = true;
}
