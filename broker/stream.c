#include "config.h"

#include <inttypes.h>

#include "broker/call.h"
#include "broker/conn.h"
#include "broker/session.h"
#include "broker/share.h"
#include "broker/stream_priv.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define SHORT_ANSWER 4096 /* bytes; there are as many of them as there may be calls */

static const struct {
	const char *name;
	unsigned next;
} stream_states[STREAM__COUNT] = {
#define TO(state)          (1u << STREAM_##state)
#define STREAM(name, next) [STREAM_##name] = {#name, next},
#include "broker/stream_tbl.h"
#undef STREAM
#undef TO
};

bool stream_may_go(enum stream_state from, enum stream_state to)
{
	return stream_states[from].next & (1u << to);
}

const char *stream_state_name(enum stream_state state)
{
	return stream_states[state].name;
}

void stream_go(struct stream *s, enum stream_state to, const char *why)
{
	if (!stream_may_go(s->state, to))
		die(__FILE__, __LINE__, stream_states[to].name);
	LOG(DEBUG, "stream.state", "stream=%" PRIu64 " from=%s to=%s why=\"%s\"", s->handle,
	    stream_states[s->state].name, stream_states[to].name, why);
	s->state = to;
}

bool stream_is_over(const struct stream *s)
{
	return s->state == STREAM_FINISHED || s->state == STREAM_CLOSED;
}

static uint64_t keep_ms(const struct stream *s)
{
	return (uint64_t)s->broker->cfg->stream_keep_s * 1000;
}

uint32_t stream_now_s(const struct stream *s)
{
	return (uint32_t)(loop_now(&s->broker->loop) / 1000);
}

void stream_start_keep_timer(struct stream *s)
{
	uint64_t store_keep_ms = (uint64_t)s->broker->cfg->store_keep_s * 1000, ms = keep_ms(s);

	if (ms > store_keep_ms && s->state != STREAM_FINISHED)
		ms = store_keep_ms;
	loop_timer(&s->broker->loop, &s->keep_timer, ms > 1000 ? ms : 1000);
}

static void on_mark(struct wheel_timer *t)
{
	stream_keep(TABLE_OF(t, struct stream, mark_timer));
}

/* A later start tells what was forgotten from what is missing, and where the sequences of a stream without events are.
 */
static void keep_first(const struct stream *s, uint64_t first_seq_before)
{
	if (s->first_seq != first_seq_before)
		stream_keep(s);
}

static void free_stream(struct loop_doom *d)
{
	struct stream *s = TABLE_OF(d, struct stream, doom);

	mem_free(s->events);
	mem_free(s);
}

void stream_count_place(struct stream *s)
{
	bool has_place = s->state != STREAM_CLOSED && (s->conn || s->reserved);
	bool is_waiting = has_place && (s->is_own || s->is_listen);

	if (is_waiting && !s->is_counted) {
		s->broker->waiting_count++;
		share_take(s->owner, SHARE_WAITING, 1);
	} else if (!is_waiting && s->is_counted) {
		s->broker->waiting_count--;
		share_give(s->owner, SHARE_WAITING, 1);
	}
	if (has_place && !s->has_place)
		share_take(s->owner, SHARE_DESCRIPTORS, 1);
	else if (!has_place && s->has_place)
		share_give(s->owner, SHARE_DESCRIPTORS, 1);
	s->is_counted = is_waiting;
	s->has_place = has_place;
}

static void on_reserve_over(struct wheel_timer *t)
{
	struct stream *s = TABLE_OF(t, struct stream, reserve_timer);

	s->broker->fd_reserved -= s->reserved;
	s->reserved = 0;
	stream_count_place(s);
	if (s->is_modern && !s->conn)
		stream_hangup(s, "no connection came");
}

void stream_lose(struct stream *s, uint64_t seq, const char *why)
{
	bool owes = s->call && !s->is_own;

	if (seq < s->first_seq)
		return;
	LOG(ERROR, "stream.events_lost", "stream=%" PRIu64 " from=%" PRIu64 " to=%" PRIu64 " why=\"%s\"", s->handle,
	    s->first_seq, seq, why);
	stats_add(&s->broker->stats, STAT_LOST, seq + 1 - s->first_seq);
	if (s->conn && conn_cursor(s->conn) < seq) {
		if (owes)
			conn_skip(s->conn, seq);
		else
			conn_end(s->conn, STAT_CLOSE_FAILED);
	}
	while (s->first_seq <= seq)
		stream_drop_first(s);
	if (s->delivered_seq < seq)
		s->delivered_seq = seq;
	stream_keep(s);
	if (owes)
		call_end(s->call, why);
}

/* What nobody came for. Not while somebody reads, or is about to. */
static void trim_old(struct stream *s)
{
	uint64_t keep_s = (uint64_t)s->broker->cfg->store_keep_s, seq = s->delivered_seq;

	if (s->conn || s->reserved > 0)
		return;
	while (seq < s->ready_seq && stream_now_s(s) - stream_event_at(s, seq + 1)->since_s >= keep_s)
		seq++;
	if (seq > s->delivered_seq)
		stream_lose(s, seq, "nobody came for them");
}

/* The oldest events that were delivered long enough ago are not for resuming any more. Not while a client is on its way
 * (ATTACH told it a cursor), and not what the present connection replays. */
static void on_keep(struct wheel_timer *t)
{
	struct stream *s = TABLE_OF(t, struct stream, keep_timer);
	uint64_t upto = s->delivered_seq, keep_s = (uint64_t)s->broker->cfg->stream_keep_s, before = s->first_seq;

	if (s->state == STREAM_FINISHED && !s->conn && s->reserved == 0) {
		stream_close(s, "kept long enough");
		return;
	}
	if (s->conn && conn_cursor(s->conn) < upto)
		upto = conn_cursor(s->conn);
	while (s->reserved == 0 && s->first_seq <= upto &&
	       stream_now_s(s) - stream_event_at(s, s->first_seq)->since_s >= keep_s)
		stream_drop_first(s);
	keep_first(s, before);
	trim_old(s);
	if (stream_events_count(s) > 0 || s->state == STREAM_FINISHED)
		stream_start_keep_timer(s);
}

struct stream *stream_make(struct broker *b, struct session *session, struct owner *owner, bool is_own, uint64_t handle)
{
	struct stream *s = mem_alloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->broker = b;
	s->session = session;
	s->owner = owner_hold(owner);
	s->is_modern = !session;
	s->is_own = is_own;
	s->handle = handle;
	s->first_seq = 1;
	s->reserve_timer.fire = on_reserve_over;
	s->keep_timer.fire = on_keep;
	s->mark_timer.fire = on_mark;
	table_add(&b->streams, &s->node, table_hash_u64(&b->streams, s->handle, 0));
	if (session) {
		s->next = session->streams;
		s->at = &session->streams;
		if (s->next)
			s->next->at = &s->next;
		session->streams = s;
	}
	if (is_own)
		return s;
	b->stream_count++;
	share_take(s->owner, SHARE_STREAMS, 1);
	if (session)
		session->streams_count++;
	return s;
}

struct stream *stream_new(struct broker *b, struct session *session, struct owner *owner, bool is_own)
{
	struct stream *s;
	uint64_t handle;

	do
		handle = b->next_handle++ * 2 + (session ? 0 : 1);
	while (stream_find(b, handle));
	s = stream_make(b, session, owner, is_own, handle);
	if (s)
		stream_keep(s);
	return s;
}

struct stream *stream_find(struct broker *b, uint64_t handle)
{
	struct table_node *n = table_find(&b->streams, table_hash_u64(&b->streams, handle, 0));

	for (; n; n = table_find_next(n)) {
		struct stream *s = TABLE_OF(n, struct stream, node);

		if (s->handle == handle)
			return s;
	}
	return NULL;
}

/* Makes room for len bytes by forgetting what was delivered, oldest first; what is being replayed goes last, and then
 * its connection ends: it would meet a gap. */
static bool make_room(struct stream *s, uint64_t len)
{
	uint64_t max = (uint64_t)s->broker->cfg->stream_log_max_bytes, before = s->first_seq;

	while (s->log_bytes + len > max && s->first_seq <= s->delivered_seq) {
		if (s->conn && conn_cursor(s->conn) < s->first_seq)
			conn_end(s->conn, STAT_CLOSE_SLOW);
		stream_drop_first(s);
	}
	keep_first(s, before);
	return s->log_bytes + len <= max;
}

/* Moves ready_seq on over all that may be sent, and tells the reader. */
static void make_ready(struct stream *s)
{
	uint64_t before = s->ready_seq;

	while (s->ready_seq < s->last_seq &&
	       (s->ready_seq < s->committed_seq || !stream_event_at(s, s->ready_seq + 1)->is_durable))
		s->ready_seq++;
	if (s->conn && s->ready_seq > before)
		conn_kick(s->conn);
}

/* stream_append(), and stream_append_joint() with joint. */
static unsigned append(struct stream *s, const struct slice *events, size_t count, bool is_durable, bool is_final,
    uint64_t *joint, uint64_t *last)
{
	struct broker *b = s->broker;
	uint64_t len = 0;

	*last = s->last_seq;
	if (stream_is_over(s))
		return LINK_NACK_CLOSED;
	if (b->store->is_stalled && !s->is_modern && !is_final) /* it would wait in memory, however long that takes */
		return LINK_NACK_BUSY;
	for (size_t i = 0; i < count; i++) {
		uint64_t cost = (uint64_t)events[i].len + STREAM_EVENT_COST;

		if (!is_final && cost > (uint64_t)b->cfg->stream_log_max_bytes)
			return LINK_NACK_TOO_BIG;
		len += cost;
	}
	if (!make_room(s, len) && !is_final) {
		if (s->conn && s->is_modern) {
			conn_end(s->conn, STAT_CLOSE_SLOW); /* and with it the stream */
			return LINK_NACK_CLOSED;
		}
		if (s->conn)
			conn_close(s->conn, STAT_CLOSE_SLOW);
		if (is_durable)
			return LINK_NACK_BUSY;
		LOG(DEBUG, "stream.event_dropped", "stream=%" PRIu64 " bytes=%" PRIu64, s->handle, len);
		return 0;
	}
	/* An answer is owed: it may go beyond its client's share, and a short one, such as a will, beyond all there is.
	 */
	if (!(is_final && len <= SHORT_ANSWER) &&
	    !share_has_room(b, is_final ? NULL : s->owner, SHARE_LOG_BYTES, b->log_bytes, len))
		return LINK_NACK_BUSY;
	if (stream_log_append(s, events, count, is_durable, joint))
		return LINK_NACK_BUSY;
	stats_add(&b->stats, STAT_APPENDED, count);
	stats_add(&b->stats, STAT_APPENDED_BYTES, len - count * STREAM_EVENT_COST);
	if (!s->is_modern && !wheel_is_running(&s->keep_timer))
		stream_start_keep_timer(s);
	*last = s->last_seq;
	make_ready(s);
	return 0;
}

unsigned stream_append(
    struct stream *s, const struct slice *events, size_t count, bool is_durable, bool is_final, uint64_t *last)
{
	return append(s, events, count, is_durable, is_final, NULL, last);
}

unsigned stream_append_joint(struct stream *s, struct stream_joint *event, uint64_t *last)
{
	uint64_t before = s->last_seq;
	unsigned nack = append(s, &event->bytes, 1, false, false, &event->position, last);

	if (*last == before) /* something may have ended because of it, and the event with that */
		event->position = 0;
	return nack;
}

void stream_commit(struct stream *s, uint64_t first, uint64_t last, int status)
{
	if (status) {
		LOG(ERROR, "stream.events_lost", "stream=%" PRIu64 " from=%" PRIu64 " to=%" PRIu64, s->handle, first,
		    last);
		for (uint64_t seq = first > s->first_seq ? first : s->first_seq; seq <= last; seq++)
			stream_event_at(s, seq)->is_lost = true;
	}
	if (last > s->committed_seq)
		s->committed_seq = last;
	make_ready(s);
}

struct said {
	struct store_op op;
	struct broker *broker;
	uint64_t handle, seq;
};

static void on_said(struct store_op *op, int status)
{
	struct said *said = TABLE_OF(op, struct said, op);
	struct stream *s = stream_find(said->broker, said->handle);

	if (s)
		stream_commit(s, said->seq, said->seq, status);
	mem_free(said);
}

void stream_say(struct stream *s, struct slice event)
{
	struct broker *b = s->broker;
	struct said *said = mem_alloc(1, sizeof(*said));
	uint64_t seq;

	if (stream_append(s, &event, 1, said || s->is_modern, true, &seq)) {
		LOG(ERROR, "stream.event_lost", "stream=%" PRIu64 " bytes=%zu", s->handle, event.len);
		mem_free(said);
	} else if (s->is_modern) {
		stream_commit(s, seq, seq, 0);
		mem_free(said);
	} else if (said) { /* else it is ready at once, durable or not: better than never */
		*said = (struct said){.op.done = on_said, .broker = b, .handle = s->handle, .seq = seq};
		b->store->sync(b->store, &said->op);
	}
}

static void unlink_call(struct stream *s)
{
	if (s->call)
		s->call->stream = NULL;
	s->call = NULL;
}

void stream_finish(struct stream *s, const char *why)
{
	if (stream_is_over(s))
		return;
	stream_go(s, STREAM_FINISHED, why);
	unlink_call(s);
	topic_forget(s);
	if (s->conn)
		conn_kick(s->conn);
	stream_keep(s);
	if (!s->is_modern)
		loop_timer(&s->broker->loop, &s->keep_timer, keep_ms(s));
	else if (!s->conn && s->reserved == 0)
		stream_close(s, "nobody is there to read it");
}

void stream_close(struct stream *s, const char *why)
{
	struct broker *b = s->broker;

	if (s->state == STREAM_CLOSED)
		return;
	stream_go(s, STREAM_CLOSED, why);
	unlink_call(s);
	topic_forget(s);
	table_remove(&b->streams, &s->node);
	if (s->conn)
		conn_end(s->conn, STAT_CLOSE_STREAM);
	if (s->at) {
		*s->at = s->next;
		if (s->next)
			s->next->at = s->at;
		s->at = NULL;
	}
	if (!s->is_own) {
		b->stream_count--;
		share_give(s->owner, SHARE_STREAMS, 1);
		if (s->session)
			s->session->streams_count--;
	}
	s->session = NULL;
	b->fd_reserved -= s->reserved;
	s->reserved = 0;
	stream_count_place(s);
	loop_untimer(&b->loop, &s->reserve_timer);
	loop_untimer(&b->loop, &s->keep_timer);
	loop_untimer(&b->loop, &s->mark_timer);
	while (stream_events_count(s) > 0)
		stream_drop_first(s);
	owner_leave(&s->owner);
	stream_keep(s);
	loop_doom(&b->loop, &s->doom, free_stream);
}

void stream_hangup(struct stream *s, const char *why)
{
	struct call *call = s->call;

	if (!s->is_modern || s->state == STREAM_CLOSED)
		return;
	stream_close(s, why);
	if (call)
		call_cancel(call, SLICE(""), why);
}

static bool may_connect(const struct stream *s)
{
	struct broker *b = s->broker;

	if ((s->is_own || s->is_listen) && !s->is_counted &&
	    !share_has_room(b, s->owner, SHARE_WAITING, b->waiting_count, 1))
		return false;
	return s->has_place || share_has_room(b, s->owner, SHARE_DESCRIPTORS, b->fd_used + b->fd_reserved, 1);
}

int stream_reserve(struct stream *s)
{
	if (!may_connect(s) || !broker_fd_take(s->broker, 1))
		return -1;
	s->broker->fd_used--; /* as a promise it counts elsewhere */
	s->broker->fd_reserved++;
	s->reserved++;
	stream_count_place(s);
	loop_timer(&s->broker->loop, &s->reserve_timer, STREAM_RESERVE_MS);
	return 0;
}

bool stream_spend_reserve(struct stream *s)
{
	if (s->reserved == 0)
		return false;
	s->reserved--;
	s->broker->fd_reserved--;
	if (s->reserved == 0)
		loop_untimer(&s->broker->loop, &s->reserve_timer);
	stream_count_place(s);
	return true;
}

void stream_attach(struct stream *s, struct conn *conn)
{
	struct conn *older = s->conn;

	s->conn = conn; /* first: a stream that is over goes with its last connection */
	stream_count_place(s);
	if (older)
		conn_end(older, STAT_CLOSE_NEWER);
	if (s->state == STREAM_OPEN)
		stream_go(s, STREAM_LIVE, "adopted");
	if (s->session)
		session_conn_changed(s->session);
	conn_kick(conn);
}

void stream_detach(struct stream *s, struct conn *conn, const char *why)
{
	if (s->conn != conn)
		return;
	s->conn = NULL;
	stream_count_place(s);
	if (s->state == STREAM_CLOSED)
		return;
	if (s->session)
		session_conn_changed(s->session);
	if (s->is_modern) {
		stream_hangup(s, why);
		return;
	}
	if (s->state == STREAM_LIVE)
		stream_go(s, STREAM_OPEN, why);
	if (s->state == STREAM_FINISHED) {
		if (!s->session) /* nobody can ask for it again */
			stream_close(s, why);
		else
			loop_timer(&s->broker->loop, &s->keep_timer, keep_ms(s));
	}
}

void stream_delivered(struct stream *s, uint64_t seq)
{
	uint64_t now, before = s->first_seq;

	if (seq <= s->delivered_seq)
		return;
	now = now_us();
	for (uint64_t i = s->delivered_seq + 1; i <= seq; i++) {
		struct stream_event *e = stream_event_at(s, i);

		if (e->appended_us)
			histogram_add(&s->broker->stats.deliver, now - e->appended_us);
		stats_add(&s->broker->stats, STAT_DELIVERED, !e->is_lost);
		e->since_s = stream_now_s(s);
		s->undelivered_bytes -= stream_event_cost(e);
	}
	s->delivered_seq = seq;
	if (!s->is_modern && !wheel_is_running(&s->mark_timer) && broker_keeps(s->broker))
		loop_timer(&s->broker->loop, &s->mark_timer, STREAM_MARK_MS);
	if (s->is_modern || keep_ms(s) == 0) {
		while (s->first_seq <= s->delivered_seq)
			stream_drop_first(s);
		keep_first(s, before);
	} else if (!wheel_is_running(&s->keep_timer)) {
		loop_timer(&s->broker->loop, &s->keep_timer, keep_ms(s));
	}
}

void stream_fill_read(const struct stream *s, uint64_t *cursor, struct store_read *r, uint64_t *seqs)
{
	uint64_t len = 0, len_max = 65536; /* bytes; one event at least */

	r->count = 0;
	while (*cursor < s->ready_seq && r->count < STORE_READ_MAX && (r->count == 0 || len < len_max)) {
		const struct stream_event *e = stream_event_at(s, *cursor + 1);

		++*cursor;
		if (e->is_lost)
			continue;
		seqs[r->count] = *cursor;
		r->positions[r->count++] = e->position;
		len += e->len;
	}
}
