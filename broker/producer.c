#include "config.h"

#include <inttypes.h>

#include "broker/bus.h"
#include "broker/bus_line.h"
#include "broker/call.h"
#include "broker/ctl.h"
#include "broker/handle.h"
#include "broker/producer.h"
#include "broker/snapshot.h"
#include "broker/task.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

static void free_producer(struct loop_doom *d)
{
	struct producer *p = TABLE_OF(d, struct producer, doom);

	mem_free(p->window);
	mem_free(p);
}

static void send_credit(struct producer *p)
{
	struct link_header h = {.type = LINK_CREDIT};
	struct buf body;

	loop_untimer(&p->broker->loop, &p->credit_timer);
	if (p->credit_owed == 0 || !p->ctl)
		return;
	buf_init(&body, sizeof(uint64_t));
	link_put_u64(&body, p->credit_owed);
	if (buf_check(&body, NULL)) { /* no memory: later */
		loop_timer(&p->broker->loop, &p->credit_timer, WHEEL_TICK_MS);
		return;
	}
	p->credit_spent -= p->credit_owed;
	p->credit_owed = 0;
	bus_send(p, &h, SLICE(""), buf_slice(&body));
	buf_release(&body);
}

static void on_credit_timer(struct wheel_timer *t)
{
	send_credit(TABLE_OF(t, struct producer, credit_timer));
}

static void on_last_timer(struct wheel_timer *t)
{
	producer_close(TABLE_OF(t, struct producer, last_timer));
}

static struct producer *make(struct broker *b, uint64_t id)
{
	struct producer *p = mem_alloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->window = mem_alloc((size_t)b->cfg->link_window, sizeof(*p->window));
	if (!p->window) {
		mem_free(p);
		return NULL;
	}
	p->broker = b;
	p->id = id;
	p->waiting_tail = &p->waiting;
	p->credit_timer.fire = on_credit_timer;
	p->last_timer.fire = on_last_timer;
	table_add(&b->producers, &p->node, table_hash_u64(&b->producers, id, 0));
	return p;
}

struct producer *producer_connect(
    struct broker *b, uint64_t id, uint32_t connection, struct ctl *ctl, uint32_t pid, enum link_role role)
{
	struct producer *p = producer_find(b, id);
	struct ctl *older;

	if (p && connection <= p->connection)
		return NULL;
	if (!p)
		p = make(b, id);
	if (!p)
		return NULL;
	older = p->ctl;
	p->ctl = ctl;
	if (older)
		ctl_close(older, "the producer connected anew");
	loop_untimer(&b->loop, &p->last_timer);
	p->connection = connection;
	p->is_away = false;
	p->hold = PRODUCER_FREE;
	p->pid = pid;
	p->role = role;
	p->credit_spent -= p->credit_owed; /* WELCOME grants all again; what is under way comes back later */
	p->credit_owed = 0;
	if (role == LINK_ROLE_RUNNER)
		producer_queue_runner(p);
	LOG(INFO, "producer.up", "producer=%016" PRIx64 " connection=%" PRIu32 " pid=%" PRIu32 " role=%s producers=%zu",
	    id, connection, pid, role == LINK_ROLE_RUNNER ? "runner" : "worker", b->producers.count);
	return p;
}

static void unqueue_runner(struct producer *p)
{
	if (!p->at_runner)
		return;
	*p->at_runner = p->next_runner;
	if (p->next_runner)
		p->next_runner->at_runner = p->at_runner;
	else
		p->broker->last_runner = p->at_runner;
	p->at_runner = NULL;
	p->next_runner = NULL;
}

void producer_queue_runner(struct producer *p)
{
	unqueue_runner(p);
	p->at_runner = p->broker->last_runner;
	*p->at_runner = p;
	p->broker->last_runner = &p->next_runner;
}

struct producer *producer_find(struct broker *b, uint64_t id)
{
	struct table_node *n = table_find(&b->producers, table_hash_u64(&b->producers, id, 0));

	for (; n; n = table_find_next(n)) {
		struct producer *p = TABLE_OF(n, struct producer, node);

		if (p->id == id)
			return p;
	}
	return NULL;
}

void producer_lost(struct producer *p, bool may_return)
{
	if (p->is_closed || !p->ctl)
		return;
	p->ctl = NULL;
	p->is_away = may_return;
	bus_forget(p);
	loop_timer(
	    &p->broker->loop, &p->last_timer, may_return ? (uint64_t)p->broker->cfg->link_return_ms : PRODUCER_LAST_MS);
}

/* What an outcome is kept in: bit n of the masks is the window's part n. */
#define PARTS_MAX 64

/* Beside the type, what follows it: an event's ACK has neither. A row of 64 then needs no overflow page of SQLite's. */
enum { KEPT_STREAM = 64, KEPT_VALUE = 128 };
_Static_assert((unsigned)LINK_RETURN < (unsigned)KEPT_STREAM, "types leave these bits");

static uint64_t part_len(const struct producer *p)
{
	return ((uint64_t)p->broker->cfg->link_window + PARTS_MAX - 1) / PARTS_MAX;
}

static void put_part_key(struct buf *key, const struct producer *p, unsigned part)
{
	buf_init(key, sizeof(uint64_t) + 1);
	link_put_u64(key, p->id);
	link_put_u8(key, (uint8_t)part);
}

static void keep_part(struct producer *p, unsigned part)
{
	uint64_t len = part_len(p), window = (uint64_t)p->broker->cfg->link_window;
	struct buf key, value;

	put_part_key(&key, p, part);
	buf_init(&value, SIZE_MAX / 2);
	for (uint64_t i = part * len; i < (part + 1) * len && i < window; i++) {
		const struct outcome *o = &p->window[i];

		if (!o->is_kept)
			continue;
		link_put_u64(&value, o->seq);
		link_put_u8(&value, (uint8_t)(o->type | (o->stream ? KEPT_STREAM : 0) | (o->value ? KEPT_VALUE : 0)));
		if (o->stream)
			link_put_u64(&value, o->stream);
		if (o->value)
			link_put_u64(&value, o->value);
	}
	broker_keep(p->broker, STORE_OUTCOMES, buf_slice(&key), &value);
	buf_release(&key);
}

static void leave_unkept(struct producer *p)
{
	if (!p->at_unkept)
		return;
	*p->at_unkept = p->next_unkept;
	if (p->next_unkept)
		p->next_unkept->at_unkept = p->at_unkept;
	p->at_unkept = NULL;
	p->next_unkept = NULL;
	p->parts_unkept = 0;
}

void producer_keep(struct producer *p, struct outcome *o)
{
	struct broker *b = p->broker;

	if (!broker_keeps(b))
		return;
	o->is_kept = true;
	p->parts_unkept |= UINT64_C(1) << (uint64_t)(o - p->window) / part_len(p);
	if (p->at_unkept)
		return;
	p->next_unkept = b->unkept;
	p->at_unkept = &b->unkept;
	if (b->unkept)
		b->unkept->at_unkept = &p->next_unkept;
	b->unkept = p;
}

void producers_kept(struct broker *b)
{
	while (b->unkept) {
		struct producer *p = b->unkept;

		for (unsigned part = 0; part < PARTS_MAX; part++) {
			if (p->parts_unkept >> part & 1)
				keep_part(p, part);
		}
		p->parts_kept |= p->parts_unkept;
		leave_unkept(p);
	}
}

static void keep_again(struct table_node *n, void *arg)
{
	struct producer *p = TABLE_OF(n, struct producer, node);

	(void)arg;
	for (unsigned part = 0; part < PARTS_MAX; part++) {
		if (p->parts_kept >> part & 1)
			keep_part(p, part);
	}
}

void producers_keep_all(struct broker *b)
{
	table_each(&b->producers, keep_again, NULL);
}

static void forget_outcomes(struct producer *p)
{
	leave_unkept(p);
	for (unsigned part = 0; part < PARTS_MAX; part++) {
		struct buf key;

		if (!(p->parts_kept >> part & 1))
			continue;
		put_part_key(&key, p, part);
		broker_unkeep(p->broker, STORE_OUTCOMES, buf_slice(&key));
		buf_release(&key);
	}
}

struct producer *producer_restore(struct broker *b, uint64_t id)
{
	struct producer *p = producer_find(b, id);

	if (p)
		return p;
	p = make(b, id);
	if (p)
		p->is_away = true;
	return p;
}

bool producer_restore_outcomes(struct broker *b, struct slice key, struct slice value)
{
	bool bad = false;
	uint64_t id = link_get_u64(&key, &bad);
	unsigned part = link_get_u8(&key, &bad);
	struct producer *p = bad || part >= PARTS_MAX ? NULL : producer_restore(b, id);

	if (!p)
		return false;
	p->parts_kept |= UINT64_C(1) << part;
	while (value.len > 0) {
		struct outcome o = {.state = OUTCOME_ACK, .want_answer = true, .is_kept = true}, *at;

		o.seq = link_get_u64(&value, &bad);
		o.type = link_get_u8(&value, &bad);
		o.stream = o.type & KEPT_STREAM ? link_get_u64(&value, &bad) : 0;
		o.value = o.type & KEPT_VALUE ? link_get_u64(&value, &bad) : 0;
		o.type &= KEPT_STREAM - 1;
		at = &p->window[o.seq % (uint64_t)b->cfg->link_window];
		if (bad || !handle_has(o.type) || at->seq > o.seq)
			continue;
		*at = o;
		if (o.seq > p->seq_max)
			p->seq_max = o.seq;
	}
	return true;
}

static void expect(struct table_node *n, void *arg)
{
	struct producer *p = TABLE_OF(n, struct producer, node);

	(void)arg;
	loop_timer(&p->broker->loop, &p->last_timer, (uint64_t)p->broker->cfg->link_return_ms);
}

void producers_expect(struct broker *b)
{
	table_each(&b->producers, expect, NULL);
}

void producer_close(struct producer *p)
{
	size_t calls = 0;

	if (p->is_closed)
		return;
	p->is_closed = true;
	table_remove(&p->broker->producers, &p->node);
	unqueue_runner(p);
	task_runner_lost(p);
	for (; p->calls; calls++)
		call_end(p->calls, p->is_away ? "its worker did not come back" : "its worker died");
	forget_outcomes(p);
	LOG(INFO, "producer.down", "producer=%016" PRIx64 " pid=%" PRIu32 " calls=%zu producers=%zu", p->id, p->pid,
	    calls, p->broker->producers.count);
	bus_forget(p);
	p->ctl = NULL;
	loop_untimer(&p->broker->loop, &p->credit_timer);
	loop_untimer(&p->broker->loop, &p->last_timer);
	loop_doom(&p->broker->loop, &p->doom, free_producer);
}

#define SAVED_OUTCOME_LEN 30 /* bytes */

static void save_outcome(const struct outcome *o, struct buf *out)
{
	link_put_u64(out, o->seq);
	link_put_u64(out, o->stream);
	link_put_u64(out, o->value);
	link_put_u8(out, o->state);
	link_put_u8(out, o->type);
	link_put_u16(out, o->nack);
	link_put_u8(out, o->want_answer);
	link_put_u8(out, o->is_kept);
}

void producer_save(const struct producer *p, struct buf *out)
{
	size_t window = (size_t)p->broker->cfg->link_window;
	uint32_t count = 0;

	link_put_u64(out, p->id);
	link_put_u32(out, p->connection);
	link_put_u32(out, p->pid);
	link_put_u8(out, (uint8_t)p->role);
	link_put_u8(out, (uint8_t)p->hold);
	link_put_u8(out, p->is_away);
	link_put_u64(out, p->parts_kept);
	link_put_u64(out, p->seq_max);
	link_put_u64(out, p->credit_spent);
	link_put_u64(out, p->credit_owed);
	snapshot_put_timer(out, &p->broker->loop, &p->credit_timer);
	snapshot_put_timer(out, &p->broker->loop, &p->last_timer);
	for (size_t i = 0; i < window; i++)
		count += p->window[i].seq != 0;
	link_put_u32(out, count);
	for (size_t i = 0; i < window; i++) {
		if (p->window[i].seq != 0)
			save_outcome(&p->window[i], out);
	}
	line_save(p, out);
}

/* The window may be another one by now: of two for one place the newer stays. */
static void load_outcome(struct producer *p, struct slice *in, bool *bad)
{
	struct outcome o = {.seq = link_get_u64(in, bad)}, *slot;

	o.stream = link_get_u64(in, bad);
	o.value = link_get_u64(in, bad);
	o.state = link_get_u8(in, bad);
	o.type = link_get_u8(in, bad);
	o.nack = link_get_u16(in, bad);
	o.want_answer = link_get_u8(in, bad);
	o.is_kept = link_get_u8(in, bad);
	*bad = *bad || o.seq == 0 || o.seq > p->seq_max || (o.state != OUTCOME_ACK && o.state != OUTCOME_NACK) ||
	       !handle_has(o.type) || (o.state == OUTCOME_NACK && (o.nack == 0 || o.nack >= LINK_NACK__COUNT));
	slot = &p->window[o.seq % (uint64_t)p->broker->cfg->link_window];
	if (!*bad && slot->seq < o.seq)
		*slot = o;
}

int producer_load(struct broker *b, struct slice in)
{
	bool bad = false;
	uint64_t id = link_get_u64(&in, &bad);
	uint32_t connection = link_get_u32(&in, &bad), pid = link_get_u32(&in, &bad), count;
	unsigned role = link_get_u8(&in, &bad), hold = link_get_u8(&in, &bad);
	struct producer *p;

	if (bad || id == 0 || role >= LINK_ROLE__COUNT || hold > PRODUCER_HELD || producer_find(b, id))
		return -1;
	p = make(b, id);
	if (!p)
		return -1;
	p->connection = connection;
	p->pid = pid;
	p->role = (enum link_role)role; /* none: it has not come back yet */
	if (p->role == LINK_ROLE_RUNNER)
		producer_queue_runner(p);
	p->hold = (enum producer_hold)hold;
	p->is_away = link_get_u8(&in, &bad);
	p->parts_kept = link_get_u64(&in, &bad);
	p->seq_max = link_get_u64(&in, &bad);
	p->credit_spent = link_get_u64(&in, &bad);
	p->credit_owed = link_get_u64(&in, &bad);
	snapshot_get_timer(&in, &b->loop, &p->credit_timer, &bad);
	snapshot_get_timer(&in, &b->loop, &p->last_timer, &bad);
	count = snapshot_get_count(&in, SAVED_OUTCOME_LEN, &bad);
	for (uint32_t i = 0; i < count && !bad; i++)
		load_outcome(p, &in, &bad);
	return bad || line_load(p, &in) || in.len > 0 ? -1 : 0;
}

struct outcome *producer_find_seq(struct producer *p, uint64_t seq)
{
	struct outcome *o = &p->window[seq % (uint64_t)p->broker->cfg->link_window];

	return seq != 0 && o->seq == seq ? o : NULL;
}

void producer_forget_ctl(struct producer *p, const struct ctl *ctl)
{
	for (size_t i = 0; i < (size_t)p->broker->cfg->link_window; i++) {
		struct outcome *o = &p->window[i];

		if (o->by_ctl != ctl)
			continue;
		o->by_ctl = NULL;
		o->want_answer = false; /* until it comes by the data channel: what is answered there was read there */
	}
}

struct outcome *producer_take_seq(struct producer *p, uint64_t seq, bool *is_new)
{
	uint64_t window = (uint64_t)p->broker->cfg->link_window;
	struct outcome *o = &p->window[seq % window];

	*is_new = false;
	if (seq == 0 || (p->seq_max >= window && seq <= p->seq_max - window))
		return NULL;
	if (o->seq == seq)
		return o;
	*is_new = true;
	if (seq > p->seq_max)
		p->seq_max = seq;
	*o = (struct outcome){.seq = seq, .state = OUTCOME_PENDING};
	return o;
}

bool producer_spend_credit(struct producer *p, uint64_t bytes)
{
	uint64_t max = (uint64_t)p->broker->cfg->link_credit_bytes, before = p->credit_spent;

	p->credit_spent += bytes;
	/* One message is always let through, else one that is larger than the credit could never be sent. */
	return before <= p->credit_owed || bytes <= max - (before < max ? before : max);
}

void producer_return_credit(struct producer *p, uint64_t bytes)
{
	p->credit_owed += bytes;
	if (p->credit_owed >= (uint64_t)p->broker->cfg->link_credit_bytes / 8)
		send_credit(p);
	else if (p->credit_owed > 0 && !wheel_is_running(&p->credit_timer))
		loop_timer(&p->broker->loop, &p->credit_timer, WHEEL_TICK_MS);
}
