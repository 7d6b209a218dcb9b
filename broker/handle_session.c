#include "config.h"

#include "broker/call.h"
#include "broker/handle_priv.h"
#include "broker/park.h"
#include "broker/session.h"
#include "broker/stream.h"
#include "common/mem.h"
#include "common/banned.h"

/* What could not be kept is made anew by the next try. */
static void session_kept(struct broker *b, struct slice id, int status)
{
	struct session *s = session_find(b, id, NULL);

	if (s && status && s->version == 1)
		session_close(s, "the store could not keep it");
}

unsigned do_session_put(struct message *m)
{
	const struct cfg *cfg = m->broker->cfg;
	uint64_t version_expected = link_get_u64(&m->body, &m->bad);
	uint32_t idle_s = link_get_u32(&m->body, &m->bad);
	unsigned flags = link_get_u8(&m->body, &m->bad), nack;
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	struct slice blob = link_get_bytes(&m->body, &m->bad);
	struct slice owner = m->body.len > 0 ? link_get_bytes(&m->body, &m->bad) : SLICE("");
	struct session *s = session_find(m->broker, m->key, NULL);
	struct commit *commit;

	if (m->bad || m->body.len > 0 || !is_key(m->key) || owner.len > LINK_KEY_MAX)
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
	nack = version_expected ? session_update(s, version_expected, flags, idle_s, blob)
				: session_new(m->broker, m->key, principal, owner, flags, idle_s, blob, &s);
	if (!nack) {
		m->outcome->value = s->version;
		commit->after = session_kept;
	}
	return commit_settle(m, commit, nack);
}

unsigned do_session_del(struct message *m)
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
	return commit_settle(m, commit, 0);
}

unsigned do_call_begin(struct message *m)
{
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	unsigned flags = link_get_u8(&m->body, &m->bad), nack;
	uint16_t n = link_get_u16(&m->body, &m->bad);
	struct session *s = session_find(m->broker, m->key, &principal);
	struct commit *commit = NULL; /* of one that owes its answer on a stream from now on */
	struct call *call;

	if (m->bad || (m->outcome->by_ctl && flags))
		return LINK_NACK_BAD;
	if (!s || ((flags & LINK_CALL_ON_SESSION_STREAM) && !s->ends_with_conn))
		return LINK_NACK_NO_SESSION;
	if (n > 0 && !call_find(m->broker, m->producer, m->h->seq)) { /* else it was begun by the control channel */
		if (m->broker->draining)
			return LINK_NACK_BUSY;
		/* Answers are never dropped: who doesn't read them may not ask for more, or one would fill all logs. */
		if ((flags & LINK_CALL_ON_SESSION_STREAM) &&
		    s->own->undelivered_bytes > (uint64_t)m->broker->cfg->stream_log_max_bytes)
			return LINK_NACK_LIMIT;
		if (flags & LINK_CALL_ON_SESSION_STREAM && !(commit = commit_new(m)))
			return LINK_NACK_BUSY;
		nack = call_new(m->broker, m->producer, m->h->seq, s, flags, n, m->body, &call);
		if (nack)
			return commit ? commit_settle(m, commit, nack) : nack;
		call_keep(call);
	}
	session_touch(s);
	m->outcome->stream = s->own->handle;
	return commit ? commit_settle(m, commit, 0) : 0;
}

unsigned do_call_end(struct message *m)
{
	struct call *call = call_find(m->broker, m->producer, m->h->corr);

	if (call)
		call_end(call, "ended without an answer");
	return 0;
}

unsigned do_cancel(struct message *m)
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

/* The events of a PARK. NULL: no memory. To be freed. */
static struct slice *get_ask_events(const struct park_order *order)
{
	struct slice in = order->asks, *events = mem_alloc((size_t)order->asks_count + 1, sizeof(*events));
	bool bad = false;

	for (unsigned i = 0; events && i < order->asks_count; i++) {
		link_get_bytes(&in, &bad);
		events[i] = link_get_bytes(&in, &bad);
	}
	return events;
}

unsigned do_park(struct message *m)
{
	struct call *call = call_find(m->broker, m->producer, m->h->corr);
	struct stream *s = stream_find(m->broker, m->h->stream);
	struct park_order order;
	struct slice *events;
	struct park *park;
	unsigned nack;

	order.wait_ms = link_get_u32(&m->body, &m->bad);
	order.too_late = link_get_bytes(&m->body, &m->bad);
	order.head = link_get_bytes(&m->body, &m->bad);
	order.tail = link_get_bytes(&m->body, &m->bad);
	order.blob = link_get_bytes(&m->body, &m->bad);
	order.asks_count = link_get_u16(&m->body, &m->bad);
	order.asks = m->body;
	if (m->bad || order.asks_count == 0)
		return LINK_NACK_BAD;
	if (!call || !s || call->is_cancelled) /* the last: nobody will answer */
		return LINK_NACK_CLOSED;
	if (!call->session || s != call_stream(call))
		return LINK_NACK_BAD;
	nack = park_new(call, &order, &park);
	if (nack)
		return nack;
	events = get_ask_events(&order);
	nack = events ? append_events(m, s, events, order.asks_count, true, false) : LINK_NACK_BUSY;
	mem_free(events);
	if (nack == LATER)
		park_begin(call, park);
	else
		park_free(park);
	return nack;
}

unsigned do_answer(struct message *m)
{
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	struct slice ask_id = link_get_bytes(&m->body, &m->bad);
	struct slice answer = link_get_bytes(&m->body, &m->bad);
	struct session *session = session_find(m->broker, m->key, &principal);
	enum link_answer_state state = LINK_ANSWER_IGNORED;
	struct commit *commit;
	struct call *call;
	unsigned nack;

	if (m->bad || m->body.len > 0)
		return LINK_NACK_BAD;
	if (!session)
		return LINK_NACK_NO_SESSION;
	session_touch(session);
	call = park_find(session, ask_id);
	if (!call)
		return 0; /* m->outcome->value says IGNORED */
	/* Who took it up now would be cancelled as if the will had been said. The next broker has the question too. */
	if (m->broker->draining && broker_keeps(m->broker))
		return LINK_NACK_BUSY;
	commit = commit_new(m);
	nack = commit ? park_answer(call, ask_id, answer, m->producer, m->h->seq, &state) : LINK_NACK_BUSY;
	if (!nack) {
		m->outcome->value = state;
		m->outcome->stream = call_stream(call)->handle;
	}
	return commit_settle(m, commit, nack);
}
