#include "config.h"

#include <inttypes.h>

#include "broker/bus.h"
#include "broker/call.h"
#include "broker/producer.h"
#include "broker/session.h"
#include "broker/stream.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

static void free_call(struct loop_doom *d)
{
	struct call *c = TABLE_OF(d, struct call, doom);

	mem_free((char *)(uintptr_t)c->wills.p);
	mem_free(c);
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
	if (session && n > (size_t)b->cfg->session_calls_max - session->open_ids)
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
	c->producer = p;
	c->number = number;
	c->ids_count = n;
	c->on_session_stream = session && (flags & LINK_CALL_ON_SESSION_STREAM);
	c->next_of_producer = p->calls;
	c->at_producer = &p->calls;
	if (p->calls)
		p->calls->at_producer = &c->next_of_producer;
	p->calls = c;
	if (session) {
		c->session = session;
		c->next_of_session = session->calls;
		c->at_session = &session->calls;
		if (session->calls)
			session->calls->at_session = &c->next_of_session;
		session->calls = c;
		session->open_ids += n;
	}
	table_add(&b->calls, &c->node, table_hash_u64(&b->calls, p->id, number));
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

void call_cancel(struct call *c, struct slice id, const char *why)
{
	struct link_header h = {.type = LINK_CANCELLED, .corr = c->number};
	struct buf body;

	LOG(DEBUG, "call.cancelled", "producer=%016" PRIx64 " call=%" PRIu64 " why=\"%s\"", c->producer->id, c->number,
	    why);
	buf_init(&body, id.len + sizeof(uint32_t));
	link_put_bytes(&body, id);
	if (buf_check(&body, NULL) == 0)
		bus_send(c->producer, &h, buf_slice(&body));
	buf_release(&body);
}

/* Nobody waits for an acknowledgement of a will: a sync that only makes it ready. */
struct will_sync {
	struct store_op op;
	struct broker *broker;
	uint64_t handle, first, last;
};

static void on_will_synced(struct store_op *op, int status)
{
	struct will_sync *w = TABLE_OF(op, struct will_sync, op);
	struct stream *s = stream_find(w->broker, w->handle);

	if (s)
		stream_commit(s, w->first, w->last, status);
	mem_free(w);
}

static void append_wills(struct call *c, struct stream *s)
{
	struct broker *b = c->broker;
	struct will_sync *w = mem_alloc(1, sizeof(*w));
	struct slice in = c->wills;
	uint64_t first = s->last_seq + 1, last = s->last_seq;
	bool bad = false;

	for (unsigned i = 0; i < c->ids_count; i++) {
		struct slice will;

		link_get_bytes(&in, &bad);
		will = link_get_bytes(&in, &bad);
		if (will.len > 0 && stream_append(s, &will, 1, w != NULL, true, &last))
			LOG(ERROR, "call.will_lost", "stream=%" PRIu64 " bytes=%zu", s->handle, will.len);
	}
	if (!w || last < first) {
		mem_free(w);
		return;
	}
	*w = (struct will_sync){{NULL, false, on_will_synced}, b, s->handle, first, last};
	b->store->sync(b->store, &w->op);
}

void call_end(struct call *c, const char *why)
{
	struct stream *s = c->stream ? c->stream : c->on_session_stream && c->session ? c->session->own : NULL;

	if (s) {
		LOG(INFO, "call.will", "producer=%016" PRIx64 " call=%" PRIu64 " stream=%" PRIu64 " why=\"%s\"",
		    c->producer->id, c->number, s->handle, why);
		append_wills(c, s);
		if (!s->is_own)
			stream_finish(s, why);
	}
	call_close(c);
}

void call_close(struct call *c)
{
	if (!c->at_producer)
		return;
	*c->at_producer = c->next_of_producer;
	if (c->next_of_producer)
		c->next_of_producer->at_producer = c->at_producer;
	c->at_producer = NULL;
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
	table_remove(&c->broker->calls, &c->node);
	loop_doom(&c->broker->loop, &c->doom, free_call);
}
