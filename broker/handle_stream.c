#include "config.h"

#include "broker/call.h"
#include "broker/conn.h"
#include "broker/handle_priv.h"
#include "broker/session.h"
#include "broker/share.h"
#include "broker/stream.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

/* So many come back at once after a restart that the others would wait. */
static bool may_come(struct broker *b)
{
	return bucket_take(&b->adoptions, loop_now(&b->loop) * 1000, (uint64_t)b->cfg->stream_adopt_rate,
	    (uint64_t)b->cfg->stream_adopt_burst);
}

/* Whether the session, its owner and all together may have another stream. 0, or the NACK. */
static unsigned may_open(struct broker *b, const struct session *session, const struct owner *owner)
{
	static struct log_rate rate;
	unsigned dropped;

	if (session && session->streams_count >= (size_t)b->cfg->session_streams_max) {
		if (log_rate_ok(&rate, 1, 10000, &dropped))
			LOG(WARN, "limit.reached", "limit=session_streams_max max=%zu not_logged=%u",
			    session->streams_count, dropped);
		return LINK_NACK_LIMIT;
	}
	return share_has_room(b, owner, SHARE_STREAMS, b->stream_count, 1) ? 0 : LINK_NACK_LIMIT;
}

/* A new stream with a descriptor promised. 0 and *stream, or the NACK. */
static unsigned open_stream(
    struct broker *b, struct session *session, struct owner *owner, bool is_listen, struct stream **stream)
{
	struct stream *s;

	if (may_open(b, session, owner))
		return LINK_NACK_LIMIT;
	s = stream_new(b, session, owner, false);
	if (!s)
		return LINK_NACK_BUSY;
	s->is_listen = is_listen;
	if (stream_reserve(s)) {
		stream_close(s, "no descriptor");
		return LINK_NACK_LIMIT;
	}
	*stream = s;
	return 0;
}

unsigned do_open_stream(struct message *m)
{
	struct broker *b = m->broker;
	unsigned flags = link_get_u8(&m->body, &m->bad), nack = 0;
	uint16_t n = link_get_u16(&m->body, &m->bad);
	bool is_modern = flags & LINK_STREAM_MODERN, is_listen = flags & LINK_STREAM_LISTEN, begins = m->h->corr == 0;
	struct session *session = is_modern ? NULL : session_find(b, m->key, NULL);
	struct commit *commit = NULL;
	struct call *call = begins ? NULL : call_find(b, m->producer, m->h->corr);
	struct owner *owner;
	struct stream *s;

	if (m->bad || (!begins && (n > 0 || m->body.len > 0)) || m->key.len > LINK_KEY_MAX ||
	    (is_listen && (!is_modern || !begins)))
		return LINK_NACK_BAD;
	if (!is_modern && !session)
		return LINK_NACK_NO_SESSION;
	if (!begins && !call)
		return LINK_NACK_CLOSED;
	if (call && (call->stream || call->session != session))
		return LINK_NACK_BAD;
	if (b->draining || (is_listen && !may_come(b)))
		return LINK_NACK_BUSY;
	if (!is_modern && !(commit = commit_new(m)))
		return LINK_NACK_BUSY;
	if (begins) {
		nack = call_new(b, is_listen ? NULL : m->producer, m->h->seq, session, 0, n, m->body, &call);
		if (nack)
			return commit ? commit_settle(m, commit, nack) : nack;
	}
	if (session)
		owner = owner_hold(session->owner);
	else if (owner_join(b, m->key, &owner))
		nack = LINK_NACK_BUSY;
	nack = nack ? nack : open_stream(b, session, owner, is_listen, &s);
	owner_leave(&owner);
	if (nack) {
		if (begins)
			call_close(call);
		return commit ? commit_settle(m, commit, nack) : nack;
	}
	s->call = call;
	call->stream = s;
	m->outcome->stream = s->handle;
	call_keep(call);
	return commit ? commit_settle(m, commit, 0) : 0;
}

/* Where a client reads on: after the event id, or, without one, after what its session's own stream has delivered. */
static unsigned attach(struct broker *b, struct session *session, struct slice id, struct stream **s, uint64_t *cursor)
{
	unsigned nack;

	if (!session)
		return LINK_NACK_NO_SESSION;
	session_touch(session);
	if (b->draining || !may_come(b))
		return LINK_NACK_BUSY;
	if (id.len == 0) {
		*s = session->own;
		*cursor = session->own->delivered_seq;
	} else {
		nack = stream_find_event_id(session, id, s, cursor);
		if (nack)
			return nack;
	}
	return stream_reserve(*s) ? LINK_NACK_LIMIT : 0;
}

static enum stats_row resume_outcome(unsigned nack)
{
	switch (nack) {
	case 0:
		return STAT_RESUMED;
	case LINK_NACK_GAP:
		return STAT_RESUME_GAP;
	case LINK_NACK_DELIVERED:
		return STAT_RESUME_DELIVERED;
	case LINK_NACK_NO_SESSION:
		return STAT_RESUME_UNKNOWN;
	default:
		return STAT_RESUME_REFUSED;
	}
}

unsigned do_attach(struct message *m)
{
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	struct slice id = link_get_bytes(&m->body, &m->bad);
	struct stream *s = NULL;
	uint64_t cursor = 0;
	unsigned nack;

	if (m->bad || m->body.len > 0)
		return LINK_NACK_BAD;
	nack = attach(m->broker, session_find(m->broker, m->key, &principal), id, &s, &cursor);
	if (id.len > 0)
		stats_add(&m->broker->stats, resume_outcome(nack), 1);
	if (nack)
		return nack;
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

unsigned append_events(
    struct message *m, struct stream *s, const struct slice *events, size_t count, bool is_durable, bool is_final)
{
	uint64_t first = s->last_seq + 1, last = s->last_seq;
	struct commit *c;
	unsigned nack;

	if (s->is_modern) { /* nobody comes back for its events: they are as safe as they will ever be */
		nack = stream_append(s, events, count, is_durable, is_final, &last);
		if (!nack)
			stream_commit(s, first, last, 0);
		return nack;
	}
	c = commit_new(m);
	nack = c ? stream_append(s, events, count, is_durable, is_final, &last) : LINK_NACK_BUSY;
	if (!nack) {
		c->stream = s->handle;
		c->first = first;
		c->last = last;
		c->credit = m->credit;
	}
	return commit_settle(m, c, nack);
}

static unsigned append(struct message *m, struct stream *s, bool is_durable, bool is_final)
{
	unsigned nack = 0;
	struct slice *events = get_events(m, &nack);

	if (events)
		nack = append_events(m, s, events, m->h->count, is_durable, is_final);
	mem_free(events);
	return nack;
}

unsigned do_append(struct message *m)
{
	struct stream *s = stream_find(m->broker, m->h->stream);

	if (!s)
		return LINK_NACK_CLOSED;
	return append(m, s, m->h->flags & LINK_DURABLE, false);
}

unsigned do_finish(struct message *m)
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
	if (nack && nack != LATER)
		return nack;
	if (!s->is_own) {
		s->is_void = m->h->count == 0;
		stream_finish(s, s->is_void ? "nothing to answer" : "answered");
	}
	call_close(call);
	return nack;
}

unsigned do_close_conn(struct message *m)
{
	struct slice last = link_get_bytes(&m->body, &m->bad);
	struct stream *s = stream_find(m->broker, m->h->stream);

	if (m->bad || m->body.len > 0)
		return LINK_NACK_BAD;
	if (!s)
		return LINK_NACK_CLOSED;
	if (s->is_modern) /* it would not come again */
		return LINK_NACK_BAD;
	if (!s->conn)
		return s->reserved ? LINK_NACK_BUSY : 0; /* BUSY: its ADOPT may be on the way */
	return conn_end_after(s->conn, last) ? LINK_NACK_BUSY : 0;
}
