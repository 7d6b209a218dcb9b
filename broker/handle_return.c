/* A worker or a runner is back, at this broker or at the one after it: what it still works on. */
#include "config.h"

#include "broker/bus.h"
#include "broker/call.h"
#include "broker/handle_priv.h"
#include "broker/task.h"
#include "common/banned.h"

/* The number of what follows, each of at least len bytes. */
static uint32_t get_count(struct message *m, size_t len)
{
	uint32_t n = link_get_u32(&m->body, &m->bad);

	m->bad |= n > m->body.len / len;
	return m->bad ? 0 : n;
}

static void tell_cancelled(struct producer *p, uint64_t number)
{
	static const char empty_id[sizeof(uint32_t)];
	struct link_header h = {.type = LINK_CANCELLED, .corr = number};

	bus_send(p, &h, SLICE(""), (struct slice){empty_id, sizeof(empty_id)});
}

static void take_back_calls(struct message *m, struct slice in, uint32_t n)
{
	struct producer *p = m->producer;
	struct call *next;

	for (; n > 0; n--) {
		uint64_t number = link_get_u64(&in, &m->bad), stream = link_get_u64(&in, &m->bad);
		struct call *c = call_find(m->broker, p, number);

		if (c)
			c->is_held = true;
		if (c ? c->is_cancelled : stream != 0)
			tell_cancelled(p, number);
	}
	for (struct call *c = p->calls; c; c = next) {
		next = c->next_of_producer;
		if (!c->is_held && c->number < m->h->seq) /* else it was begun since, by the control channel */
			call_end(c, "its worker has ended it");
		c->is_held = false;
	}
}

static void take_back_tasks(struct message *m, struct slice in, uint32_t n)
{
	struct producer *p = m->producer;
	struct task *next;

	for (; n > 0; n--) {
		struct slice id = link_get_bytes(&in, &m->bad);
		struct task *t = task_find(m->broker, id, NULL);

		if (t && t->runner == p)
			task_held(t);
		else if (!t || t->state != LINK_TASK_COMPLETED)
			task_cancel_at(p, id);
	}
	for (struct task *t = p->tasks; t; t = next) {
		next = t->next_of_runner;
		if (!t->is_held)
			task_run(t);
		t->is_held = false;
	}
}

unsigned do_return(struct message *m)
{
	struct slice calls, tasks;
	uint32_t calls_count, tasks_count;

	calls_count = get_count(m, 2 * sizeof(uint64_t));
	calls = m->body;
	for (uint32_t i = 0; i < 2 * calls_count; i++)
		link_get_u64(&m->body, &m->bad);
	tasks_count = get_count(m, sizeof(uint32_t));
	tasks = m->body;
	for (uint32_t i = 0; i < tasks_count; i++)
		link_get_bytes(&m->body, &m->bad);
	if (m->bad || m->body.len > 0)
		return LINK_NACK_BAD;
	take_back_calls(m, calls, calls_count);
	take_back_tasks(m, tasks, tasks_count);
	return 0;
}
