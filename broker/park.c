#include "config.h"

#include "broker/call.h"
#include "broker/park.h"
#include "broker/producer.h"
#include "broker/session.h"
#include "broker/stream.h"
#include "common/mem.h"
#include "common/banned.h"

struct ask {
	struct slice id;
	struct slice answer; /* owned; p NULL: not yet */
};

struct park {
	struct broker *broker; /* borrowed */
	struct call *call;     /* has this one */
	struct wheel_timer timer;
	struct slice too_late, head, tail, blob; /* of the same allocation, as the asks and their ids */
	uint64_t bytes;                          /* counted in broker->park_bytes */
	uint16_t asks_count, missing;
	uint32_t wait_ms;
	uint64_t until_ms; /* CLOCK_REALTIME: a later start has to know */
	struct ask asks[];
};

static struct ask *find(struct park *park, struct slice id)
{
	for (unsigned i = 0; i < park->asks_count; i++) {
		if (slice_eq(park->asks[i].id, id))
			return &park->asks[i];
	}
	return NULL;
}

struct call *park_find(struct session *session, struct slice ask_id)
{
	for (struct call *c = session->calls; c; c = c->next_of_session) {
		struct ask *ask = c->park ? find(c->park, ask_id) : NULL;

		if (ask && !ask->answer.p)
			return c;
	}
	return NULL;
}

/* Our requests that are still open: nobody waits for their answers any more. */
static void withdraw(struct park *park, struct stream *s)
{
	for (unsigned i = 0; s && park->head.len > 0 && i < park->asks_count; i++) {
		const struct ask *ask = &park->asks[i];
		struct buf event;

		if (ask->answer.p)
			continue;
		buf_init(&event, park->head.len + ask->id.len + park->tail.len);
		buf_add_slice(&event, park->head);
		buf_add_slice(&event, ask->id);
		buf_add_slice(&event, park->tail);
		if (!event.fault)
			stream_say(s, buf_slice(&event));
		buf_release(&event);
	}
}

static void on_too_late(struct wheel_timer *t)
{
	struct park *park = TABLE_OF(t, struct park, timer);

	withdraw(park, call_stream(park->call));
	call_end_with(park->call, park->too_late, "its client did not answer in time");
}

static struct slice keep(char **at, struct slice s)
{
	struct slice copy = {*at, s.len};

	if (s.len)
		memcpy(*at, s.p, s.len);
	*at += s.len;
	return copy;
}

static bool has_room(const struct broker *b, uint64_t bytes)
{
	uint64_t max = (uint64_t)b->cfg->broker_park_max_bytes;

	return b->is_loading || (bytes <= max && b->park_bytes <= max - bytes);
}

unsigned park_new(struct call *c, const struct park_order *order, struct park **park)
{
	struct broker *b = c->broker;
	size_t bytes = sizeof(**park) + order->asks_count * sizeof(struct ask), open = c->session->open_asks;
	struct slice in = order->asks;
	struct park *p;
	bool bad = false;
	char *at;

	if (!b->is_loading && open + order->asks_count > (size_t)b->cfg->session_calls_max)
		return LINK_NACK_LIMIT;
	bytes += order->too_late.len + order->head.len + order->tail.len + order->blob.len;
	for (unsigned i = 0; i < order->asks_count; i++) {
		bytes += link_get_bytes(&in, &bad).len;
		link_get_bytes(&in, &bad);
	}
	if (bad || in.len > 0)
		return LINK_NACK_BAD;
	if (!has_room(b, bytes))
		return LINK_NACK_LIMIT;
	p = mem_alloc(1, bytes);
	if (!p)
		return LINK_NACK_BUSY;
	at = (char *)&p->asks[order->asks_count];
	p->broker = b;
	p->call = c;
	p->timer.fire = on_too_late;
	p->too_late = keep(&at, order->too_late);
	p->head = keep(&at, order->head);
	p->tail = keep(&at, order->tail);
	p->blob = keep(&at, order->blob);
	p->bytes = bytes;
	p->wait_ms = order->wait_ms;
	b->park_bytes += bytes;
	in = order->asks;
	for (unsigned i = 0; i < order->asks_count; i++) {
		struct slice id = link_get_bytes(&in, &bad);

		link_get_bytes(&in, &bad);
		if (find(p, id) || park_find(c->session, id)) {
			park_free(p);
			return LINK_NACK_DUPLICATE_ID;
		}
		p->asks[p->asks_count++].id = keep(&at, id);
	}
	p->missing = p->asks_count;
	*park = p;
	return 0;
}

void park_begin(struct call *c, struct park *park)
{
	park_free(c->park);
	c->park = park;
	c->session->open_asks += park->missing;
	park->broker->parked_count++;
	call_give(c, NULL, 0);
	park->until_ms = clock_ms(CLOCK_REALTIME) + park->wait_ms;
	loop_timer(&park->broker->loop, &park->timer, park->wait_ms);
	call_keep(c);
}

unsigned park_answer(struct call *c, struct slice ask_id, struct slice answer, struct producer *p, uint64_t number,
    enum link_answer_state *state)
{
	struct park *park = c->park;
	struct ask *ask = find(park, ask_id);
	char *copy;

	if (park->bytes + c->wills.len + answer.len > link_body_max(park->broker->cfg))
		return LINK_NACK_TOO_BIG; /* for the ACK that has it all */
	if (!has_room(park->broker, answer.len))
		return LINK_NACK_LIMIT;
	copy = mem_dup(answer.p, answer.len);
	if (!copy)
		return LINK_NACK_BUSY;
	ask->answer = (struct slice){copy, answer.len};
	park->bytes += answer.len;
	park->broker->park_bytes += answer.len;
	park->missing--;
	c->session->open_asks--;
	*state = LINK_ANSWER_KEPT;
	if (park->missing == 0) {
		*state = LINK_ANSWER_TAKEN;
		park->broker->parked_count--;
		park_stop(park);
		call_give(c, p, number);
	}
	call_keep(c);
	return 0;
}

void park_put(const struct park *park, struct buf *out)
{
	link_put_bytes(out, park->blob);
	link_put_u16(out, park->asks_count);
	for (unsigned i = 0; i < park->asks_count; i++) {
		link_put_bytes(out, park->asks[i].id);
		link_put_bytes(out, park->asks[i].answer);
	}
}

bool park_is_open(const struct park *park)
{
	return park->missing > 0;
}

/* An order as for park_new(), when it ends, and what was answered. */
void park_keep(const struct park *park, struct buf *out)
{
	link_put_u64(out, park->until_ms);
	link_put_bytes(out, park->too_late);
	link_put_bytes(out, park->head);
	link_put_bytes(out, park->tail);
	link_put_bytes(out, park->blob);
	link_put_u16(out, park->asks_count);
	for (unsigned i = 0; i < park->asks_count; i++) {
		link_put_bytes(out, park->asks[i].id);
		link_put_bytes(out, SLICE("")); /* its event is in the log */
	}
	for (unsigned i = 0; i < park->asks_count; i++) {
		link_put_u8(out, park->asks[i].answer.p != NULL);
		link_put_bytes(out, park->asks[i].answer);
	}
}

/* The part of asks that a park_order has; the rest stays in *value. */
static struct slice cut_asks(struct slice *value, uint16_t n, bool *bad)
{
	struct slice asks = *value;

	for (unsigned i = 0; i < n; i++) {
		link_get_bytes(value, bad);
		link_get_bytes(value, bad);
	}
	asks.len -= value->len;
	return asks;
}

void park_restore(struct call *c, struct slice value)
{
	bool bad = false;
	uint64_t until_ms = link_get_u64(&value, &bad), now = clock_ms(CLOCK_REALTIME);
	uint64_t left_ms = until_ms <= now ? 0 : until_ms - now, most_ms = (uint64_t)c->broker->cfg->ask_wait_s * 1000;
	/* The clock may have been set back meanwhile: nobody waits longer than from now on. */
	struct park_order order = {.wait_ms = (uint32_t)(left_ms < most_ms ? left_ms : most_ms)};
	struct park *park;

	order.too_late = link_get_bytes(&value, &bad);
	order.head = link_get_bytes(&value, &bad);
	order.tail = link_get_bytes(&value, &bad);
	order.blob = link_get_bytes(&value, &bad);
	order.asks_count = link_get_u16(&value, &bad);
	order.asks = cut_asks(&value, order.asks_count, &bad);
	if (bad || park_new(c, &order, &park))
		return;
	for (unsigned i = 0; i < park->asks_count; i++) {
		bool is_answered = link_get_u8(&value, &bad);
		struct slice answer = link_get_bytes(&value, &bad);
		char *copy = is_answered && !bad ? mem_dup(answer.p, answer.len) : NULL;

		if (!copy) /* no memory: it is asked for again, by whoever asks again */
			continue;
		park->asks[i].answer = (struct slice){copy, answer.len};
		park->bytes += answer.len;
		park->broker->park_bytes += answer.len;
		park->missing--;
	}
	if (park->missing > 0)
		park_begin(c, park);
	else if (c->producer) /* for a retry of the last ANSWER */
		c->park = park;
	else
		c->park = park; /* its last answer is here: somebody runs it */
}

void park_stop(struct park *park)
{
	if (!park)
		return;
	loop_untimer(&park->broker->loop, &park->timer);
	park->call->session->open_asks -= park->missing;
	park->broker->parked_count -= park->missing > 0;
	park->missing = 0;
}

void park_free(struct park *park)
{
	if (!park)
		return;
	park->broker->park_bytes -= park->bytes;
	for (unsigned i = 0; i < park->asks_count; i++)
		mem_free((char *)(uintptr_t)park->asks[i].answer.p);
	mem_free(park);
}
