#include "config.h"

#include "broker/bus.h"
#include "broker/call.h"
#include "broker/handle.h"
#include "broker/session.h"
#include "broker/stream.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define RETRY_MS          100  /* after NACK BUSY */
#define RETRY_DRAINING_MS 1000 /* by then there is another broker */

/* One message while it is handled. Each do_x() returns 0 (ACK), an enum link_nack, or LATER. */
struct message {
	struct broker *broker;
	struct producer *producer;
	const struct link_header *h;
	struct slice key, body;
	struct outcome *outcome;
	uint64_t credit; /* bytes that were spent for it */
	bool bad;        /* the body was too short */
};

#define LATER LINK_NACK__COUNT /* the store answers */

/* What waits for the store. It keeps names, not pointers: each of them may be gone by then. */
struct commit {
	struct store_op op;
	struct broker *broker;
	uint64_t producer, seq;
	uint64_t stream, first, last; /* 0: not of a stream */
	uint64_t credit;
};

static void send_answer(struct producer *p, const struct outcome *o, struct slice key)
{
	struct link_header h = {.type = o->state == OUTCOME_ACK ? LINK_ACK : LINK_NACK, .corr = o->seq};
	const struct session *s;
	unsigned nack = o->nack;
	struct buf body;

	if (!o->want_answer)
		return;
	buf_init(&body, SIZE_MAX / 2);
	if (h.type == LINK_ACK && o->type == LINK_CALL_BEGIN) {
		s = session_find(p->broker, key, NULL);
		if (s) {
			link_put_u64(&body, s->version);
			link_put_bytes(&body, s->blob);
		} else { /* a retry, and the session ended in between */
			h.type = LINK_NACK;
			nack = LINK_NACK_NO_SESSION;
		}
	} else if (h.type == LINK_ACK && (o->type == LINK_SESSION_PUT || o->type == LINK_ATTACH)) {
		link_put_u64(&body, o->value);
	}
	if (h.type == LINK_ACK) {
		h.stream = o->stream;
	} else {
		link_put_u16(&body, (uint16_t)nack);
		link_put_u32(&body, nack != LINK_NACK_BUSY ? 0 : p->broker->draining ? RETRY_DRAINING_MS : RETRY_MS);
		link_put_bytes(&body, slice_str(link_nack_name(nack)));
	}
	if (buf_check(&body, NULL) == 0) /* else the worker asks again */
		bus_send(p, &h, buf_slice(&body));
	buf_release(&body);
}

static void settle(struct producer *p, struct outcome *o, unsigned nack, struct slice key)
{
	o->state = nack ? OUTCOME_NACK : OUTCOME_ACK;
	o->nack = (uint16_t)nack;
	send_answer(p, o, key);
	if (nack == LINK_NACK_BUSY) /* it had no effect, so the next try with this sequence is not a repetition */
		*o = (struct outcome){0};
}

static void on_committed(struct store_op *op, int status)
{
	struct commit *c = TABLE_OF(op, struct commit, op);
	struct producer *p = producer_find(c->broker, c->producer);
	struct stream *s = c->stream ? stream_find(c->broker, c->stream) : NULL;
	struct outcome *o = p ? producer_find_seq(p, c->seq) : NULL;

	if (s && c->last >= c->first)
		stream_commit(s, c->first, c->last, status);
	if (p && c->credit)
		producer_return_credit(p, c->credit);
	if (o && o->state == OUTCOME_PENDING)
		settle(p, o, status ? LINK_NACK_BUSY : 0, SLICE(""));
	mem_free(c);
}

static struct commit *commit_new(struct message *m)
{
	struct commit *c = mem_alloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->op.done = on_committed;
	c->broker = m->broker;
	c->producer = m->producer->id;
	c->seq = m->h->seq;
	return c;
}

static bool is_key(struct slice key)
{
	return key.len > 0 && key.len <= LINK_KEY_MAX;
}

static unsigned do_session_put(struct message *m)
{
	const struct cfg *cfg = m->broker->cfg;
	uint64_t version_expected = link_get_u64(&m->body, &m->bad);
	uint32_t idle_s = link_get_u32(&m->body, &m->bad);
	unsigned flags = link_get_u8(&m->body, &m->bad), nack;
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	struct slice blob = link_get_bytes(&m->body, &m->bad);
	struct session *s = session_find(m->broker, m->key, NULL);
	struct commit *commit;

	if (m->bad || m->body.len > 0 || !is_key(m->key))
		return LINK_NACK_BAD;
	if (blob.len > (size_t)cfg->session_blob_max_bytes)
		return LINK_NACK_TOO_BIG;
	if (version_expected == 0 && s)
		return LINK_NACK_VERSION;
	if (version_expected == 0 && m->broker->draining)
		return LINK_NACK_BUSY;
	if (version_expected != 0 && (!s || !slice_eq(s->principal, principal)))
		return LINK_NACK_NO_SESSION;
	commit = commit_new(m);
	if (!commit)
		return LINK_NACK_BUSY;
	nack = version_expected ? session_update(s, version_expected, idle_s, blob)
				: session_new(m->broker, m->key, principal, flags, idle_s, blob, &s);
	if (nack) {
		mem_free(commit);
		return nack;
	}
	m->outcome->value = s->version;
	m->broker->store->session_put(m->broker->store, m->key, principal, blob);
	m->broker->store->sync(m->broker->store, &commit->op);
	return LATER;
}

static unsigned do_session_del(struct message *m)
{
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	struct session *s = session_find(m->broker, m->key, &principal);
	struct commit *commit;

	if (m->bad || m->body.len > 0)
		return LINK_NACK_BAD;
	if (!s)
		return LINK_NACK_NO_SESSION;
	commit = commit_new(m);
	if (!commit)
		return LINK_NACK_BUSY;
	session_close(s, "deleted");
	m->broker->store->sync(m->broker->store, &commit->op);
	return LATER;
}

static unsigned do_call_begin(struct message *m)
{
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	unsigned flags = link_get_u8(&m->body, &m->bad), nack;
	uint16_t n = link_get_u16(&m->body, &m->bad);
	struct session *s = session_find(m->broker, m->key, &principal);
	struct call *call;

	if (m->bad)
		return LINK_NACK_BAD;
	if (!s)
		return LINK_NACK_NO_SESSION;
	if (n > 0) {
		if (m->broker->draining)
			return LINK_NACK_BUSY;
		/* Answers are never dropped: who doesn't read them may not ask for more, or one would fill all logs. */
		if ((flags & LINK_CALL_ON_SESSION_STREAM) &&
		    s->own->undelivered_bytes > (uint64_t)m->broker->cfg->stream_log_max_bytes)
			return LINK_NACK_LIMIT;
		nack = call_new(m->broker, m->producer, m->h->seq, s, flags, n, m->body, &call);
		if (nack)
			return nack;
	}
	session_touch(s);
	m->outcome->stream = s->own->handle;
	return 0;
}

static unsigned do_call_end(struct message *m)
{
	struct call *call = call_find(m->broker, m->producer, m->h->corr);

	if (call)
		call_end(call, "ended without an answer");
	return 0;
}

static unsigned do_open_stream(struct message *m)
{
	struct broker *b = m->broker;
	unsigned flags = link_get_u8(&m->body, &m->bad), nack;
	uint16_t n = link_get_u16(&m->body, &m->bad);
	bool is_modern = flags & LINK_STREAM_MODERN, begins = m->h->corr == 0;
	struct session *session = is_modern ? NULL : session_find(b, m->key, NULL);
	struct call *call = begins ? NULL : call_find(b, m->producer, m->h->corr);
	struct stream *s;

	if (m->bad || (!begins && (n > 0 || m->body.len > 0)) || (is_modern && m->key.len > 0))
		return LINK_NACK_BAD;
	if (!is_modern && !session)
		return LINK_NACK_NO_SESSION;
	if (!begins && !call)
		return LINK_NACK_CLOSED;
	if (call && (call->stream || call->session != session))
		return LINK_NACK_BAD;
	if (b->draining)
		return LINK_NACK_BUSY;
	if (b->stream_count >= (size_t)b->cfg->stream_max)
		return LINK_NACK_LIMIT;
	if (begins) {
		nack = call_new(b, m->producer, m->h->seq, session, 0, n, m->body, &call);
		if (nack)
			return nack;
	}
	s = stream_new(b, session, false);
	if (!s || stream_reserve(s)) {
		nack = s ? LINK_NACK_LIMIT : LINK_NACK_BUSY;
		if (s)
			stream_close(s, "no descriptor");
		if (begins)
			call_close(call);
		return nack;
	}
	s->call = call;
	call->stream = s;
	m->outcome->stream = s->handle;
	return 0;
}

static unsigned do_attach(struct message *m)
{
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	struct slice id = link_get_bytes(&m->body, &m->bad);
	struct session *session = session_find(m->broker, m->key, &principal);
	struct stream *s;
	uint64_t cursor;
	unsigned nack;

	if (m->bad || m->body.len > 0)
		return LINK_NACK_BAD;
	if (!session)
		return LINK_NACK_NO_SESSION;
	session_touch(session);
	if (m->broker->draining)
		return LINK_NACK_BUSY;
	if (id.len == 0) {
		s = session->own;
		cursor = s->delivered_seq;
	} else {
		nack = stream_find_event_id(session, id, &s, &cursor);
		if (nack)
			return nack;
	}
	if (stream_reserve(s))
		return LINK_NACK_LIMIT;
	m->outcome->stream = s->handle;
	m->outcome->value = cursor;
	return 0;
}

/* The events of APPEND and FINISH as slices. NULL and *nack: BAD or BUSY. To be freed. */
static struct slice *get_events(struct message *m, unsigned *nack)
{
	size_t count = m->h->count;
	struct slice *events;

	*nack = LINK_NACK_BAD;
	if (count > m->body.len / sizeof(uint32_t))
		return NULL;
	events = mem_alloc(count + 1, sizeof(*events));
	if (!events) {
		*nack = LINK_NACK_BUSY;
		return NULL;
	}
	for (size_t i = 0; i < count; i++)
		events[i] = link_get_bytes(&m->body, &m->bad);
	if (!m->bad && m->body.len == 0)
		return events;
	mem_free(events);
	return NULL;
}

/* Appends the events of m to s and lets the store answer. LATER, or a nack with nothing done. */
static unsigned append(struct message *m, struct stream *s, bool is_durable, bool is_final)
{
	uint64_t first = s->last_seq + 1, last = s->last_seq;
	unsigned nack = 0;
	struct slice *events = get_events(m, &nack);
	struct commit *c;

	if (!events)
		return nack;
	c = commit_new(m);
	nack = c ? stream_append(s, events, m->h->count, is_durable, is_final, &last) : LINK_NACK_BUSY;
	mem_free(events);
	if (nack) {
		mem_free(c);
		return nack;
	}
	c->stream = s->handle;
	c->first = first;
	c->last = last;
	c->credit = m->credit;
	m->broker->store->sync(m->broker->store, &c->op);
	return LATER;
}

static unsigned do_append(struct message *m)
{
	struct stream *s = stream_find(m->broker, m->h->stream);

	if (!s)
		return LINK_NACK_CLOSED;
	return append(m, s, m->h->flags & LINK_DURABLE, false);
}

static unsigned do_finish(struct message *m)
{
	struct stream *s = stream_find(m->broker, m->h->stream);
	struct call *call = call_find(m->broker, m->producer, m->h->corr);
	unsigned nack;

	if (!call)
		return LINK_NACK_CLOSED;
	if (!s) { /* the client of a modern stream left, or the session ended */
		call_close(call);
		return LINK_NACK_CLOSED;
	}
	if (s->is_own ? s->session != call->session : s != call->stream)
		return LINK_NACK_BAD;
	nack = append(m, s, true, true);
	if (nack != LATER)
		return nack;
	if (!s->is_own)
		stream_finish(s, "answered");
	call_close(call);
	return LATER;
}

static unsigned do_cancel(struct message *m)
{
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	struct slice id = link_get_bytes(&m->body, &m->bad);
	struct session *session = session_find(m->broker, m->key, &principal);
	struct call *call;

	if (m->bad || m->body.len > 0)
		return LINK_NACK_BAD;
	if (!session)
		return LINK_NACK_NO_SESSION;
	call = call_find_id(session, id);
	if (call)
		call_cancel(call, id, "the client cancelled it");
	return 0;
}

static const struct {
	unsigned (*handle)(struct message *m);
	bool is_answered; /* always; else only with LINK_WANT_ACK */
	bool spends_credit;
} handlers[] = {
    [LINK_SESSION_PUT] = {do_session_put, true, false},
    [LINK_SESSION_DEL] = {do_session_del, true, false},
    [LINK_CALL_BEGIN] = {do_call_begin, true, false},
    [LINK_CALL_END] = {do_call_end, false, false},
    [LINK_OPEN_STREAM] = {do_open_stream, true, false},
    [LINK_ATTACH] = {do_attach, true, false},
    [LINK_APPEND] = {do_append, false, true},
    [LINK_FINISH] = {do_finish, false, true},
    [LINK_CANCEL] = {do_cancel, true, false},
};

/* The worker spent credit for the first try, and has it back whatever became of that: when it is committed, or here.
 * Every refusal counts, or what was granted would shrink until nothing could be sent. */
static unsigned handle_new(struct message *m)
{
	const struct link_header *h = m->h;
	bool is_granted = true;
	unsigned nack;

	if (handlers[h->type].spends_credit && !(h->flags & LINK_RETRY))
		m->credit = h->body_len;
	if (m->credit)
		is_granted = producer_spend_credit(m->producer, m->credit);
	if (h->deadline_ms && loop_now(&m->broker->loop) > h->deadline_ms)
		nack = LINK_NACK_EXPIRED;
	else
		nack = is_granted ? handlers[h->type].handle(m) : LINK_NACK_BUSY;
	if (nack != LATER && m->credit)
		producer_return_credit(m->producer, m->credit);
	return nack;
}

void handle_message(struct producer *p, const struct link_header *h, struct slice key, struct slice body)
{
	struct message m = {.broker = p->broker, .producer = p, .h = h, .key = key, .body = body};
	static struct log_rate rate;
	bool is_new;
	unsigned nack, dropped;

	if (h->type >= COUNT_OF(handlers) || !handlers[h->type].handle) {
		if (log_rate_ok(&rate, 5, 10000, &dropped))
			LOG(WARN, "link.misplaced", "pid=%u type=%s not_logged=%u", p->pid, link_type_name(h->type),
			    dropped);
		return;
	}
	m.outcome = producer_take_seq(p, h->seq, &is_new);
	if (!m.outcome) {
		struct outcome too_old = {.seq = h->seq, .want_answer = true};

		settle(p, &too_old, h->seq ? LINK_NACK_EXPIRED : LINK_NACK_BAD, key);
		return;
	}
	if (!is_new) { /* PENDING: the answer is on its way from the store */
		if (m.outcome->state != OUTCOME_PENDING)
			send_answer(p, m.outcome, key);
		return;
	}
	m.outcome->type = h->type;
	m.outcome->want_answer = handlers[h->type].is_answered || (h->flags & LINK_WANT_ACK);
	nack = handle_new(&m);
	if (nack == LATER)
		return;
	if (nack == LINK_NACK_BAD && log_rate_ok(&rate, 5, 10000, &dropped))
		LOG(WARN, "link.bad", "pid=%u type=%s not_logged=%u", p->pid, link_type_name(h->type), dropped);
	settle(p, m.outcome, nack, key);
}
