#include "config.h"

#include <inttypes.h>

#include "broker/bus.h"
#include "broker/call.h"
#include "broker/park.h"
#include "broker/producer.h"
#include "broker/session.h"
#include "broker/snapshot.h"
#include "broker/stream.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/rnd.h"
#include "common/banned.h"

static void free_call(struct loop_doom *d)
{
	struct call *c = TABLE_OF(d, struct call, doom);

	park_free(c->park);
	mem_free((char *)(uintptr_t)c->wills.p);
	mem_free(c);
}

static uint64_t producer_id(const struct call *c)
{
	return c->producer ? c->producer->id : 0; /* which is nobody's */
}

/* Its worker would have said so itself, link_timeout_ms ago: it hangs, or was stopped. */
static void on_late(struct wheel_timer *t)
{
	struct call *c = TABLE_OF(t, struct call, late_timer);

	LOG(WARN, "call.late", "producer=%016" PRIx64 " call=%" PRIu64 " why=\"call_timeout_s are over\"",
	    producer_id(c), c->number);
	call_cancel(c, SLICE(""), "call_timeout_s are over");
	call_end(c, "call_timeout_s are over");
}

static void give(struct call *c, struct producer *p, uint64_t number)
{
	struct broker *b = c->broker;

	c->producer = p;
	c->number = p ? number : ++b->last_unowned;
	if (p) {
		c->next_of_producer = p->calls;
		c->at_producer = &p->calls;
		if (p->calls)
			p->calls->at_producer = &c->next_of_producer;
		p->calls = c;
		c->late_timer.fire = on_late;
		loop_timer(&b->loop, &c->late_timer,
		    (uint64_t)b->cfg->call_timeout_s * 1000 + (uint64_t)b->cfg->link_timeout_ms);
	}
	table_add(&b->calls, &c->node, table_hash_u64(&b->calls, producer_id(c), c->number));
}

static void take(struct call *c)
{
	table_remove(&c->broker->calls, &c->node);
	loop_untimer(&c->broker->loop, &c->late_timer);
	if (!c->at_producer)
		return;
	*c->at_producer = c->next_of_producer;
	if (c->next_of_producer)
		c->next_of_producer->at_producer = c->at_producer;
	c->at_producer = NULL;
	c->producer = NULL;
}

void call_give(struct call *c, struct producer *p, uint64_t number)
{
	take(c);
	give(c, p, number);
}

unsigned call_new(struct broker *b, struct producer *p, uint64_t number, struct session *session, unsigned flags,
    uint16_t n, struct slice wills, struct call **call)
{
	struct slice in = wills;
	bool bad = false;
	struct call *c;

	for (unsigned i = 0; i < n; i++) {
		struct slice id = link_get_bytes(&in, &bad);

		link_get_bytes(&in, &bad);
		if (!bad && session && call_find_id(session, id))
			return LINK_NACK_DUPLICATE_ID;
	}
	if (bad || in.len > 0)
		return LINK_NACK_BAD;
	if (session && !b->is_loading && session->open_ids + n > (size_t)b->cfg->session_calls_max)
		return LINK_NACK_LIMIT;
	c = mem_alloc(1, sizeof(*c));
	if (!c)
		return LINK_NACK_BUSY;
	c->wills = (struct slice){mem_dup(wills.p, wills.len), wills.len};
	if (!c->wills.p) {
		mem_free(c);
		return LINK_NACK_BUSY;
	}
	c->broker = b;
	c->ids_count = n;
	c->on_session_stream = session && (flags & LINK_CALL_ON_SESSION_STREAM);
	if (session) {
		c->session = session;
		c->next_of_session = session->calls;
		c->at_session = &session->calls;
		if (session->calls)
			session->calls->at_session = &c->next_of_session;
		session->calls = c;
		session->open_ids += n;
	}
	give(c, p, number);
	*call = c;
	return 0;
}

struct call *call_find(struct broker *b, const struct producer *p, uint64_t number)
{
	struct table_node *n = table_find(&b->calls, table_hash_u64(&b->calls, p->id, number));

	for (; n; n = table_find_next(n)) {
		struct call *c = TABLE_OF(n, struct call, node);

		if (c->producer == p && c->number == number)
			return c;
	}
	return NULL;
}

struct call *call_find_id(struct session *session, struct slice id)
{
	for (struct call *c = session->calls; c; c = c->next_of_session) {
		struct slice in = c->wills;
		bool bad = false;

		for (unsigned i = 0; i < c->ids_count; i++) {
			if (slice_eq(link_get_bytes(&in, &bad), id))
				return c;
			link_get_bytes(&in, &bad);
		}
	}
	return NULL;
}

struct stream *call_stream(const struct call *c)
{
	return c->stream ? c->stream : c->on_session_stream && c->session ? c->session->own : NULL;
}

bool call_is_parked(const struct call *c)
{
	return c->park && park_is_open(c->park);
}

enum kept_flag { KEPT_ON_SESSION_STREAM = 1, KEPT_RUNS = 2 /* somebody runs it: producer and number follow */ };

void call_keep(struct call *c)
{
	struct stream *s = call_stream(c);
	struct buf key, value;

	if (!c->session || !s || !broker_keeps(c->broker))
		return;
	if (!c->kept_as)
		c->kept_as = rnd_u64() | 1; /* nothing counts calls over all starts */
	buf_init(&key, sizeof(uint64_t));
	buf_init(&value, SIZE_MAX / 2);
	link_put_u64(&key, c->kept_as);
	link_put_bytes(&value, c->session->id);
	link_put_u64(&value, s->handle);
	link_put_u8(
	    &value, (uint8_t)((c->on_session_stream ? KEPT_ON_SESSION_STREAM : 0) | (c->producer ? KEPT_RUNS : 0)));
	link_put_u16(&value, c->ids_count);
	link_put_bytes(&value, c->wills);
	if (c->producer) {
		link_put_u64(&value, c->producer->id);
		link_put_u64(&value, c->number);
	}
	if (c->park)
		park_keep(c->park, &value);
	broker_keep(c->broker, STORE_CALL, buf_slice(&key), &value);
	buf_release(&key);
}

static void keep_node(struct table_node *n, void *arg)
{
	(void)arg;
	call_keep(TABLE_OF(n, struct call, node));
}

void call_keep_all(struct broker *b)
{
	table_each(&b->calls, keep_node, NULL);
}

static void unkeep(struct call *c)
{
	struct buf key;

	if (!c->kept_as)
		return;
	buf_init(&key, sizeof(uint64_t));
	link_put_u64(&key, c->kept_as);
	broker_unkeep(c->broker, STORE_CALL, buf_slice(&key));
	buf_release(&key);
	c->kept_as = 0;
}

bool call_restore(struct broker *b, struct slice key, struct slice value)
{
	bool bad = key.len != sizeof(uint64_t);
	struct slice id = link_get_bytes(&value, &bad);
	struct stream *s = stream_find(b, link_get_u64(&value, &bad));
	unsigned flags = link_get_u8(&value, &bad);
	uint16_t n = link_get_u16(&value, &bad);
	struct slice wills = link_get_bytes(&value, &bad);
	uint64_t producer = flags & KEPT_RUNS ? link_get_u64(&value, &bad) : 0;
	uint64_t number = flags & KEPT_RUNS ? link_get_u64(&value, &bad) : 0;
	struct session *session = bad ? NULL : session_find(b, id, NULL);
	struct producer *p = bad || !producer ? NULL : producer_restore(b, producer);
	struct call *c;

	if (!session || !s || s->session != session || (s->is_own ? s != session->own : s->call != NULL) ||
	    stream_is_over(s) ||
	    call_new(
		b, p, number, session, flags & KEPT_ON_SESSION_STREAM ? LINK_CALL_ON_SESSION_STREAM : 0, n, wills, &c))
		return false;
	c->kept_as = link_get_u64(&key, &bad);
	if (!s->is_own) {
		c->stream = s;
		s->call = c;
	}
	if (value.len > 0)
		park_restore(c, value);
	return true;
}

enum saved_flag { SAVED_ON_SESSION_STREAM = 1, SAVED_CANCELLED = 2, SAVED_PARK = 4 };

void call_save(const struct call *c, struct buf *out)
{
	link_put_u64(out, producer_id(c));
	link_put_u64(out, c->number);
	link_put_bytes(out, c->session ? c->session->id : SLICE(""));
	link_put_u64(out, c->stream ? c->stream->handle : 0);
	link_put_u64(out, c->kept_as);
	link_put_u8(out, (uint8_t)((c->on_session_stream ? SAVED_ON_SESSION_STREAM : 0) |
				   (c->is_cancelled ? SAVED_CANCELLED : 0) | (c->park ? SAVED_PARK : 0)));
	link_put_u16(out, c->ids_count);
	link_put_bytes(out, c->wills);
	if (c->park)
		park_keep(c->park, out);
}

int call_load(struct broker *b, struct slice in)
{
	bool bad = false;
	uint64_t producer = link_get_u64(&in, &bad), number = link_get_u64(&in, &bad);
	struct slice id = link_get_bytes(&in, &bad);
	uint64_t handle = link_get_u64(&in, &bad), kept_as = link_get_u64(&in, &bad);
	unsigned flags = link_get_u8(&in, &bad);
	uint16_t n = link_get_u16(&in, &bad);
	struct slice wills = link_get_bytes(&in, &bad);
	struct producer *p = bad || !producer ? NULL : producer_find(b, producer);
	struct session *session = bad || id.len == 0 ? NULL : session_find(b, id, NULL);
	struct stream *s = bad || !handle ? NULL : stream_find(b, handle);
	struct call *c;

	if (bad || (producer && !p) || (id.len && !session) || (handle && !s) || (p && call_find(b, p, number)) ||
	    (s && (s->is_own || s->call || stream_is_over(s))) || ((flags & SAVED_PARK) && !session) ||
	    call_new(
		b, p, number, session, flags & SAVED_ON_SESSION_STREAM ? LINK_CALL_ON_SESSION_STREAM : 0, n, wills, &c))
		return -1;
	c->kept_as = kept_as;
	c->is_cancelled = flags & SAVED_CANCELLED;
	c->stream = s;
	if (s)
		s->call = c;
	if (!(flags & SAVED_PARK))
		return in.len > 0 ? -1 : 0;
	park_restore(c, in);
	return c->park ? 0 : -1;
}

/* Those of all ids but this one, which may be empty. */
static void say_wills(const struct call *c, struct stream *s, struct slice but)
{
	struct slice in = c->wills;
	bool bad = false;

	for (unsigned i = 0; i < c->ids_count; i++) {
		struct slice id = link_get_bytes(&in, &bad), will = link_get_bytes(&in, &bad);

		if (will.len > 0 && !slice_eq(id, but))
			stream_say(s, will);
	}
}

static void close_with_stream(struct call *c, struct stream *s, const char *why)
{
	if (s && !s->is_own)
		stream_finish(s, why);
	call_close(c);
}

void call_cancel(struct call *c, struct slice id, const char *why)
{
	struct link_header h = {.type = LINK_CANCELLED, .corr = c->number};
	struct buf body;

	LOG(DEBUG, "call.cancelled", "producer=%016" PRIx64 " call=%" PRIu64 " why=\"%s\"", producer_id(c), c->number,
	    why);
	if (!c->producer) {
		struct stream *s = call_stream(c);

		if (s && id.len > 0)
			say_wills(c, s, id);
		if (s && !s->is_own)
			s->is_void = id.len == 0 || c->ids_count == 1;
		close_with_stream(c, s, why);
		return;
	}
	c->is_cancelled |= id.len == 0 || c->ids_count == 1;
	buf_init(&body, id.len + sizeof(uint32_t));
	link_put_bytes(&body, id);
	if (buf_check(&body, NULL) == 0)
		bus_send(c->producer, &h, SLICE(""), buf_slice(&body));
	buf_release(&body);
}

void call_end(struct call *c, const char *why)
{
	struct stream *s = call_stream(c);

	if (s) {
		LOG(INFO, "call.will", "producer=%016" PRIx64 " call=%" PRIu64 " stream=%" PRIu64 " why=\"%s\"",
		    producer_id(c), c->number, s->handle, why);
		say_wills(c, s, SLICE(""));
	}
	close_with_stream(c, s, why);
}

void call_end_with(struct call *c, struct slice event, const char *why)
{
	struct stream *s = call_stream(c);

	LOG(INFO, "call.end", "call=%" PRIu64 " stream=%" PRIu64 " why=\"%s\"", c->number, s ? s->handle : 0, why);
	if (s && event.len > 0)
		stream_say(s, event);
	close_with_stream(c, s, why);
}

void call_close(struct call *c)
{
	if (c->is_closed)
		return;
	c->is_closed = true;
	unkeep(c);
	park_stop(c->park);
	take(c);
	if (c->session) {
		*c->at_session = c->next_of_session;
		if (c->next_of_session)
			c->next_of_session->at_session = c->at_session;
		c->session->open_ids -= c->ids_count;
		c->session = NULL;
	}
	if (c->stream)
		c->stream->call = NULL;
	c->stream = NULL;
	loop_doom(&c->broker->loop, &c->doom, free_call);
}
